//! Converts 8-bit messages to 7-bit, for a server without 8BITMIME (RFC 6152, section 3): 8-bit parts become
//! quoted-printable, raw letters in headers become encoded-words. Parts with bare CRs, NULs or long lines are
//! converted, too. Signed mail is never converted: the signature would break.

use std::io::{BufRead, BufReader, Read, Write};

use super::address::Mailbox;
use super::address_list::{self, AddressList};
use super::boundary::{self, OpenBoundaries};
use super::header;
use super::header_line::{self, HeaderLine, HeaderLines};
use super::parameter;
use super::scan::{self, HeaderCharset};
use super::transfer;
use crate::fault::{Enhanced, Fault, Kind};
use crate::smtp::address::unquote;
use crate::smtp::data::Content;

/// The maximum nesting of parts.
pub const MAX_DEPTH: usize = 100;
/// The maximum line length in a header or around parts, in bytes; longer lines in a body are converted in pieces of this size.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;
/// The maximum length of a header section in bytes.
pub const MAX_HEADER_BYTES: usize = 1024 * 1024;

/// Writes the same message in 7 bits. The message is read twice.
///
/// # Errors
/// [`Kind::Unsupported`] with 5.6.3 if the message must not or cannot be converted (RFC 3463, section 3.7); the kinds
/// of [`Fault::local`] if it cannot be read or written.
pub fn to_seven_bit(content: &dyn Content, out: &mut dyn Write) -> Result<(), Fault> {
    let mut survey = Survey::default();
    walk(content, &mut survey)?;
    let mut converter = Converter { needs: survey.needs, index: 0, coding: LeafCoding::Text, column: 0, out };
    walk(content, &mut converter)?;
    converter.end_base64()
}

fn cannot(why: &str) -> Fault {
    Fault::new(Kind::Unsupported, format!("the message has 8-bit bytes, the server takes 7-bit ones, and {why}"))
        .with_enhanced(Some(Enhanced::new(5, 6, 3)))
}

/// The callbacks of a pass over the message.
trait Pass {
    /// A header section, without its empty line; `leaf` counts parts that are not containers.
    fn header(&mut self, header: &[u8], nature: &Nature) -> Result<(), Fault>;
    /// One line of a leaf's body or around parts, with its CRLF. A piece of an overlong line comes without it.
    fn line(&mut self, line: &[u8], where_: LineContext) -> Result<(), Fault>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineContext {
    /// A leaf's body.
    Body,
    /// Before the first part, after the last, or a boundary.
    Around,
}

/// The kind of a part, as its header states it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Nature {
    Leaf,
    /// A multipart with these boundaries.
    Multipart(Vec<Vec<u8>>),
    /// A message of its own: another header follows.
    Nested,
}

/// Reads the message line by line and keeps track of the parts.
fn walk(content: &dyn Content, pass: &mut dyn Pass) -> Result<(), Fault> {
    let read = |error: std::io::Error| Fault::local("message", &error);
    let mut reader = BufReader::with_capacity(64 * 1024, content.open().map_err(read)?);
    let mut boundaries = OpenBoundaries::default();
    let mut level = 0usize;
    let mut depth = 0usize;
    let mut header: Option<(Vec<u8>, HeaderLines)> = Some(Default::default());
    let mut place = LineContext::Around;
    let mut line = Vec::new();
    // The line of the previous piece continues; a CR was held back, which may be part of its line end.
    let (mut goes_on, mut held_cr) = (false, false);
    loop {
        line.clear();
        line.extend(std::mem::take(&mut held_cr).then_some(b'\r'));
        (&mut reader).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line).map_err(read)?;
        let too_long = line.len() > MAX_LINE_BYTES;
        if too_long && (header.is_some() || place != LineContext::Body) {
            return Err(cannot("a line is too long"));
        }
        let end = line.is_empty();
        let delimiter = if end || goes_on { None } else { boundaries.delimiter(&line) };
        goes_on = too_long && !line.ends_with(b"\n");
        held_cr = goes_on && line.ends_with(b"\r");
        if held_cr {
            line.pop();
        }
        if let Some((collected, lines)) = header.as_mut() {
            let kind = if end || delimiter.is_some() { HeaderLine::Body } else { lines.line(&line) };
            let blank = kind == HeaderLine::Separator;
            if !blank && kind != HeaderLine::Body {
                if collected.len() + line.len() > MAX_HEADER_BYTES {
                    return Err(cannot("a header is too long"));
                }
                collected.extend_from_slice(&line);
                continue;
            }
            let nature = nature(collected)?;
            pass.header(collected, &nature)?;
            if blank || !end && delimiter.is_none() {
                pass.line(b"\r\n", LineContext::Around)?;
            }
            header = None;
            place = LineContext::Body;
            match nature {
                Nature::Leaf => {}
                Nature::Multipart(named) => {
                    boundaries.open(level, named);
                    level += 1;
                    place = LineContext::Around;
                }
                Nature::Nested => {
                    depth += 1;
                    header = Some(Default::default());
                }
            }
            if level + depth > MAX_DEPTH {
                return Err(cannot("its parts are nested too deeply"));
            }
            if blank {
                continue;
            }
        }
        if end {
            return Ok(());
        }
        match delimiter {
            Some((at, closing)) => {
                level = at + usize::from(!closing);
                boundaries.close(level);
                pass.line(&line, LineContext::Around)?;
                place = LineContext::Around;
                header = (!closing).then(Default::default);
            }
            None => pass.line(&line, place)?,
        }
    }
}

fn nature(header: &[u8]) -> Result<Nature, Fault> {
    let [signature, smime] = scan::pick(header, ["dkim-signature", "arc-message-signature"]);
    if signature.is_some() || smime.is_some() {
        return Err(cannot("it is signed"));
    }
    let types = boundary::content_types(header, &HeaderCharset::of(header));
    let essence = types.first().map_or("", |(essence, _)| essence.as_str());
    if matches!(essence, "multipart/signed" | "multipart/encrypted") {
        return Err(cannot("it is signed"));
    }
    let named = boundary::boundaries(&types);
    if !named.is_empty() {
        return Ok(Nature::Multipart(named));
    }
    Ok(match essence {
        "message/rfc822" | "message/global" | "message/news" => Nature::Nested,
        _ => Nature::Leaf,
    })
}

/// The first pass: finds the leaves with 8-bit bytes.
#[derive(Debug, Default)]
struct Survey {
    needs: Vec<bool>,
}

impl Pass for Survey {
    fn header(&mut self, header: &[u8], nature: &Nature) -> Result<(), Fault> {
        if *nature == Nature::Leaf {
            self.needs.push(false);
        } else {
            let [encoding] = scan::pick(header, ["content-transfer-encoding"]);
            let encoding = encoding.map(scan::decode).unwrap_or_default().to_ascii_lowercase();
            if !matches!(encoding.as_str(), "" | "7bit" | "8bit" | "binary") {
                return Err(cannot("a part that holds parts is encoded"));
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], where_: LineContext) -> Result<(), Fault> {
        if where_ == LineContext::Body
            && let Some(last) = self.needs.last_mut()
        {
            let text = line.strip_suffix(b"\r\n").unwrap_or(line);
            *last |=
                !line.is_ascii() || text.len() > transfer::MAX_LINE_BYTES || memchr::memchr2(b'\r', 0, text).is_some();
        }
        Ok(())
    }
}

/// The second pass: writes the converted message.
struct Converter<'a> {
    needs: Vec<bool>,
    /// The number of leaves so far.
    index: usize,
    /// The encoding of the current leaf, if it is converted.
    coding: LeafCoding,
    /// The column in the current line of base64 output.
    column: usize,
    out: &'a mut dyn Write,
}

/// The transfer encoding of a leaf that is converted; the leaf keeps it if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeafCoding {
    Text,
    QuotedPrintable,
    Base64,
}

impl Converter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.out.write_all(bytes).map_err(|error| Fault::local("temporary file", &error))
    }

    fn converts(&self) -> bool {
        self.index > 0 && self.needs.get(self.index - 1).copied().unwrap_or_default()
    }

    /// Writes base64 in lines of standard length, and skips all characters between the digits.
    fn base64(&mut self, line: &[u8]) -> Result<(), Fault> {
        let mut letters: &[u8] = &line
            .iter()
            .copied()
            .filter(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte))
            .collect::<Vec<_>>();
        while !letters.is_empty() {
            let room = transfer::QP_LINE_BYTES - self.column;
            let (first, rest) = letters.split_at_checked(room).unwrap_or((letters, b""));
            self.write(first)?;
            self.column += first.len();
            letters = rest;
            if self.column == transfer::QP_LINE_BYTES {
                self.end_base64()?;
            }
        }
        Ok(())
    }

    fn end_base64(&mut self) -> Result<(), Fault> {
        match std::mem::take(&mut self.column) {
            0 => Ok(()),
            _ => self.write(b"\r\n"),
        }
    }
}

impl Pass for Converter<'_> {
    fn header(&mut self, header: &[u8], nature: &Nature) -> Result<(), Fault> {
        self.index += usize::from(*nature == Nature::Leaf);
        self.coding = LeafCoding::Text;
        let converts = *nature == Nature::Leaf && self.converts();
        let mut said = false;
        let mut typed = false;
        for (name, raw) in header_line::whole_fields(header) {
            let value = header_line::value_of(name, raw);
            // A field's name is ASCII.
            let name = str::from_utf8(name).unwrap_or_default();
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
            typed |= is("content-type");
            if is("content-transfer-encoding") {
                let value = scan::decode(value).to_ascii_lowercase();
                let eight = matches!(value.as_str(), "8bit" | "binary");
                self.coding = match value.as_str() {
                    "base64" => LeafCoding::Base64,
                    "quoted-printable" => LeafCoding::QuotedPrintable,
                    _ => LeafCoding::Text,
                };
                if self.coding != LeafCoding::Text {
                    said = true;
                } else if converts || eight {
                    let now = if converts { "quoted-printable" } else { "7bit" };
                    if !std::mem::replace(&mut said, true) {
                        self.write(format!("{name}: {now}\r\n").as_bytes())?;
                    }
                    continue;
                }
            }
            if raw.is_ascii() {
                self.write(raw)?;
            } else {
                self.write(seven_bit_field(name, value)?.as_bytes())?;
            }
        }
        if converts && !said {
            if !typed {
                self.write(b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n")?;
            }
            self.write(b"Content-Transfer-Encoding: quoted-printable\r\n")?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], where_: LineContext) -> Result<(), Fault> {
        match where_ {
            LineContext::Body if self.converts() => {
                let encoded = match self.coding {
                    LeafCoding::Base64 => return self.base64(line),
                    LeafCoding::QuotedPrintable => transfer::quoted_printable(&transfer::decode_quoted_printable(line)),
                    LeafCoding::Text => transfer::quoted_printable(line),
                };
                self.write(&encoded)?;
                // A soft line break: the line goes on.
                if encoded.ends_with(b"\n") { Ok(()) } else { self.write(b"=\r\n") }
            }
            _ if line.is_ascii() => {
                self.end_base64()?;
                self.write(line)
            }
            // Around parts there is nothing that a reader shows.
            _ => {
                self.end_base64()?;
                let plain: Vec<u8> = line.iter().map(|byte| if byte.is_ascii() { *byte } else { b'?' }).collect();
                self.write(&plain)
            }
        }
    }
}

/// Encodes a field whose value has raw letters outside ASCII, by RFC 2047 and 2231.
///
/// # Errors
/// [`Kind::Unsupported`] with 5.6.3 if an address is outside ASCII or cannot be parsed.
pub fn seven_bit_field(name: &str, raw: &[u8]) -> Result<String, Fault> {
    let lower = name.to_ascii_lowercase();
    if matches!(lower.as_str(), "content-type" | "content-disposition") {
        let (essence, parameters) = parameter::parse(raw);
        let texts: Vec<String> = parameters.names().map(|name| parameters.get(name).unwrap_or_default()).collect();
        let pairs: Vec<(&str, &str)> = parameters.names().zip(texts.iter().map(String::as_str)).collect();
        if essence.is_ascii() && pairs.iter().all(|(name, _)| name.is_ascii()) {
            return header::with_parameters(name, &essence, &pairs);
        }
    }
    const PEOPLE: &[&str] = &["from", "to", "cc", "sender", "reply-to", "mail-followup-to", "mail-reply-to"];
    if PEOPLE.contains(&lower.strip_prefix("resent-").unwrap_or(&lower)) {
        let list = address_list::read(raw);
        if list == AddressList::default() {
            let text = scan::decode(raw);
            let group = text.split(':').next().unwrap_or_default().trim();
            return header::empty_group(name, &unquote(group));
        }
        let mailboxes = list.mailboxes.into_iter().map(Mailbox::to_ascii_domain).collect::<Result<Vec<_>, Fault>>();
        return match mailboxes {
            Ok(list_ascii) if list.unparsed.is_empty() && list_ascii.iter().all(|it| it.address.is_ascii()) => {
                header::addresses(name, &list_ascii)
            }
            _ => Err(cannot("an address is outside ASCII")),
        };
    }
    let value: String = scan::decode(raw).chars().filter(|letter| *letter != '\0').collect();
    header::unstructured(name, &value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::data::MessageBlob;

    fn convert(text: &str) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        to_seven_bit(&MessageBlob::from(text.replace('\n', "\r\n").into_bytes()), &mut out).map(|()| out)
    }

    fn seven(text: &str) -> String {
        let bytes = convert(text).unwrap();
        assert!(bytes.is_ascii());
        String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
    }

    #[test]
    fn what_is_seven_bit_stays_as_it_is() {
        for text in [
            "A: b\n c\n\nbody\n",
            "Content-Type: multipart/mixed; boundary=\"b\"\n\npre\n--b\n\nx\n--b\nA: b\n\ny\n--b--\npost\n",
            "A: b\n\n",
            "A: b\n",
        ] {
            assert_eq!(seven(text), text);
        }
    }

    #[test]
    fn parts_that_need_it_are_encoded() {
        let text = "Subject: Grüße\nFrom: Jörg <j@x.test>\nContent-Type: multipart/mixed; boundary=b\n\
            Content-Transfer-Encoding: 8bit\n\npräambel\n--b\nContent-Type: text/plain; charset=utf-8\n\
            Content-Transfer-Encoding: 8bit\n\nHällo = \n--b\nContent-Type: text/plain; name=\"ü.txt\"\n\nplain = x\n--b\n\
            Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nSubject: innen ü\n\nü\n--b--\nnach\n";
        assert_eq!(
            seven(text),
            "Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\nFrom: =?UTF-8?Q?J=C3=B6rg?= <j@x.test>\n\
             Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 7bit\n\npr??ambel\n--b\n\
             Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nH=C3=A4llo =3D=20\n--b\n\
             Content-Type: text/plain; name*=UTF-8''%C3%BC.txt\n\nplain = x\n--b\nContent-Type: message/rfc822\n\
             Content-Transfer-Encoding: 7bit\n\nSubject: innen =?UTF-8?Q?=C3=BC?=\nMIME-Version: 1.0\n\
             Content-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC\n--b--\nnach\n"
        );
    }

    #[test]
    fn a_field_of_addresses_is_never_emptied() {
        for (value, expected) in [
            ("Verborgene Empfänger:;", "=?UTF-8?Q?Verborgene_Empf=C3=A4nger?= :;"),
            ("\"Gäste\": ;", "=?UTF-8?Q?G=C3=A4ste?= :;"),
            ("Gäste: a@x.test;", "a@x.test"),
        ] {
            assert_eq!(seven(&format!("To: {value}\n\nx\n")), format!("To: {expected}\n\nx\n"));
        }
    }

    #[test]
    fn signed_mail_and_bombs_are_refused() {
        let deep: String = (0..MAX_DEPTH + 2).map(|_| "Content-Type: message/rfc822\n\n").collect();
        for text in [
            "DKIM-Signature: v=1\n\nü\n",
            "Content-Type: multipart/signed; boundary=b\n\n--b\n\nü\n--b--\n",
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/signed; boundary=c\n\nü\n--b--\n",
            "To: ü@x.test\n\nx\n",
            "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nü\n",
            &deep,
            &format!("A: {}ü\n\n", "x".repeat(MAX_LINE_BYTES)),
            &format!("A: {}\n\n", "x\n ".repeat(MAX_HEADER_BYTES / 3)),
        ] {
            let fault = convert(text).unwrap_err();
            assert_eq!((fault.kind, fault.enhanced), (Kind::Unsupported, Some(Enhanced::new(5, 6, 3))), "{fault}");
        }
    }

    #[test]
    fn long_lines_are_broken_as_well() {
        for (count, end) in
            [(5000, "\n"), (MAX_LINE_BYTES, "\n"), (MAX_LINE_BYTES - 1, "\rx\n"), (MAX_LINE_BYTES - 3, "\n")]
        {
            let long = format!("A: b\n\nü{}{end}y\n", "x".repeat(count));
            let short = seven(&long);
            assert!(short.lines().all(|line| line.len() <= 76), "{count}");
            let (_, body) = short.split_once("\n\n").unwrap();
            assert_eq!(transfer::decode_quoted_printable(body.as_bytes()), long.as_bytes()[6..], "{count}");
        }
    }

    #[test]
    fn what_is_encoded_stays_so_and_gets_legal_lines() {
        let data: Vec<u8> = (0..3000u32).map(|at| (at * 7 % 256) as u8).collect();
        let unbroken: String = {
            let encoded = transfer::Encoding::Base64.encode_text(&data);
            encoded.iter().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| char::from(*byte)).collect()
        };
        let printable = format!("{}=C3=BC", "x=3D".repeat(600));
        let text = format!(
            "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n{unbroken}\n--b\n\
             Content-Transfer-Encoding: Quoted-Printable\n\n{printable}\nsoft=\nline\n--b\n\none\rtwo\0\n--b--\n"
        );
        let mended = seven(&text);
        assert!(mended.lines().all(|line| line.len() <= 76), "{mended}");
        let parts: Vec<&str> = mended.split("--b").collect();
        let body = |index: usize| parts[index].split_once("\n\n").unwrap().1.as_bytes();
        assert_eq!(transfer::decode_base64(body(1)), data);
        let decoded = transfer::decode_quoted_printable(body(2));
        assert_eq!(String::from_utf8(decoded).unwrap(), format!("{}ü\nsoftline\n", "x=".repeat(600)));
        assert!(
            parts[1].contains("Encoding: base64\n") && parts[2].contains("Encoding: Quoted-Printable\n"),
            "{mended}"
        );
        assert!(parts[3].ends_with("Encoding: quoted-printable\n\none=0Dtwo=00\n"), "{mended}");
    }
}
