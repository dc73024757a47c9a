//! Reading one message's MIME structure (RFC 2045 to 2049) for showing and extracting: mail-parser behind our own type
//! and limits. Attachments come out byte for byte; text comes out as text.

use mail_parser::{Encoding, MessageParser, MimeHeaders, PartType};

use super::scan;
use super::transfer::{decode_base64, decode_quoted_printable};
use super::{flowed, html};
use crate::fault::{Fault, Kind};

/// Largest message read.
pub const MAX_MESSAGE_BYTES: usize = 512 * 1024 * 1024;
/// Most parts shown.
pub const MAX_PARTS: usize = 10_000;
/// Deepest nesting shown.
pub const MAX_DEPTH: usize = 100;

/// A message taken apart.
#[derive(Debug)]
pub struct Reading {
    raw: Vec<u8>,
    /// Header fields: name, and value as a person reads it.
    pub headers: Vec<(String, String)>,
    /// All parts that are not multiparts, in their order.
    pub parts: Vec<ReadPart>,
    /// The text body; made from the HTML if there is nothing else.
    pub text: String,
    /// The HTML body, if there is one.
    pub html: Option<String>,
}

/// One part of a message.
#[derive(Debug, Clone)]
pub struct ReadPart {
    /// Its place in the tree: `1`, `2.1` (as IMAP counts, RFC 9051, section 6.4.5.1).
    pub path: String,
    /// `type/subtype`, lower case.
    pub content_type: String,
    /// The charset of a text, if it says so.
    pub charset: Option<String>,
    /// `inline`, `attachment` …, lower case, if it says so.
    pub disposition: Option<String>,
    /// The file name, as it was sent: not safe to be used as it is ([`safe_file_name`]).
    pub name: Option<String>,
    /// The Content-ID without its brackets.
    pub content_id: Option<String>,
    /// True for what a reader saves: everything but the bodies that are shown.
    pub is_attachment: bool,
    encoding: Encoding,
    start: usize,
    end: usize,
}

impl Reading {
    /// Takes a message apart. Whatever is in it, this ends, in linear time. Text that was sent as format=flowed
    /// (RFC 3676) gets its paragraphs back.
    ///
    /// # Errors
    /// [`Kind::BadData`] for a message beyond the limits.
    pub fn parse(raw: Vec<u8>) -> Result<Reading, Fault> {
        Reading::parse_with(raw, true)
    }

    /// [`Reading::parse`], which leaves format=flowed as it was sent unless `reflow`.
    ///
    /// # Errors
    /// [`Kind::BadData`] for a message beyond the limits.
    pub fn parse_with(raw: Vec<u8>, reflow: bool) -> Result<Reading, Fault> {
        let header = scan::header_of(&raw)?;
        let headers = scan::fields(header)
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), scan::text(header, value)))
            .collect();
        let parsed = MessageParser::default().parse(&raw);
        let (mut parts, mut text, mut html) = (Vec::new(), String::new(), None);
        if let Some(message) = &parsed {
            // Depth first, without recursion: (part, path, depth).
            let mut waiting = vec![(0u32, String::new(), 0usize)];
            while let Some((id, path, depth)) = waiting.pop() {
                let Some(part) = message.part(id) else { continue };
                if let PartType::Multipart(children) = &part.body {
                    if depth >= MAX_DEPTH {
                        return Err(Fault::new(Kind::BadData, format!("parts nested deeper than {MAX_DEPTH}")));
                    }
                    for (index, child) in children.iter().enumerate().rev() {
                        let number = index + 1;
                        let path = if path.is_empty() { number.to_string() } else { format!("{path}.{number}") };
                        waiting.push((*child, path, depth + 1));
                    }
                    continue;
                }
                if parts.len() >= MAX_PARTS {
                    return Err(Fault::new(Kind::BadData, format!("more than {MAX_PARTS} parts")));
                }
                let path = if path.is_empty() { "1".to_owned() } else { path };
                let shown = message.text_body.contains(&id) || message.html_body.contains(&id);
                parts.push(describe(part, path, shown));
            }
            for part in message.text_bodies() {
                match &part.body {
                    PartType::Text(body) => match delsp(part).filter(|_| reflow) {
                        Some(delsp) => flowed::append(&mut text, &flowed::unflow(body, delsp)),
                        None => flowed::append(&mut text, body),
                    },
                    PartType::Html(body) => flowed::append(&mut text, &html::to_text(body)),
                    _ => {}
                }
            }
            let pages: Vec<&str> = message
                .html_bodies()
                .filter_map(|part| match &part.body {
                    PartType::Html(body) => Some(body.as_ref()),
                    _ => None,
                })
                .collect();
            html = (!pages.is_empty()).then(|| pages.concat());
        }
        Ok(Reading { headers, parts, text, html, raw })
    }

    /// The message as it is stored.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// A part's bytes, decoded: exactly what was attached.
    pub fn content(&self, part: &ReadPart) -> Vec<u8> {
        let bytes = self.raw.get(part.start..part.end).unwrap_or_default();
        match part.encoding {
            Encoding::Base64 => decode_base64(bytes),
            Encoding::QuotedPrintable => decode_quoted_printable(bytes),
            Encoding::None => bytes.to_vec(),
        }
    }
}

/// Whether soft line ends take their space with them, of a part that has any (RFC 3676, section 4).
fn delsp(part: &mail_parser::MessagePart<'_>) -> Option<bool> {
    let kind =
        part.content_type().filter(|kind| kind.subtype().is_some_and(|kind| kind.eq_ignore_ascii_case("plain")))?;
    let says = |name, value| kind.attribute(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
    says("format", "flowed").then(|| says("delsp", "yes"))
}

fn describe(part: &mail_parser::MessagePart<'_>, path: String, shown: bool) -> ReadPart {
    let kind = part.content_type();
    let content_type = match kind {
        Some(kind) => format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("octet-stream")).to_ascii_lowercase(),
        None => match part.body {
            PartType::Message(_) => "message/rfc822".to_owned(),
            _ => "text/plain".to_owned(),
        },
    };
    let disposition = part.content_disposition().map(|disposition| disposition.ctype().to_ascii_lowercase());
    let name = part.attachment_name().map(|name| scan::decode(name.as_bytes()));
    ReadPart {
        path,
        charset: kind.and_then(|kind| kind.attribute("charset")).map(str::to_owned),
        is_attachment: !shown || disposition.as_deref() == Some("attachment"),
        content_type,
        disposition,
        name,
        content_id: part.content_id().map(str::to_owned),
        encoding: part.encoding,
        start: part.offset_body as usize,
        end: part.offset_end as usize,
    }
}

/// A file name that stays in its directory and shows what it is: no `/`, no `\`, no leading `.`, `~` or `-`, no control
/// characters and none that turn the direction of reading; 200 bytes at most, ending kept. `None` if nothing is left.
pub fn safe_file_name(name: &str) -> Option<String> {
    const MAX_BYTES: usize = 200;
    let hidden = |letter: char| {
        letter.is_control()
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}')
    };
    // Windows mailers send whole paths; only the last piece is a name.
    let last = name.rsplit(['/', '\\']).find(|piece| !piece.trim().is_empty())?;
    let clean: String = last.chars().filter(|letter| !hidden(*letter)).collect();
    let clean = clean.trim().trim_start_matches(['.', '~', '-', ' ']).trim_end_matches(['.', ' ']);
    if clean.is_empty() {
        return None;
    }
    if clean.len() <= MAX_BYTES {
        return Some(clean.to_owned());
    }
    let (stem, ending) = match clean.rsplit_once('.') {
        Some((stem, ending)) if ending.len() <= 20 => (stem, format!(".{ending}")),
        _ => (clean, String::new()),
    };
    let most = MAX_BYTES - ending.len();
    let cut = (0..=most.min(stem.len())).rev().find(|at| stem.is_char_boundary(*at)).unwrap_or(0);
    Some(format!("{}{ending}", stem.get(..cut).unwrap_or_default()))
}

/// Text that cannot steer a terminal: control characters but line feed and tab, and those that turn the direction of
/// reading, become visible. Line ends become LF.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\r' => {}
            '\n' | '\t' => out.push(letter),
            '\0'..='\x1f' => out.push(char::from_u32(0x2400 + u32::from(letter)).unwrap_or('\u{fffd}')),
            '\x7f' => out.push('\u{2421}'),
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push('\u{fffd}')
            }
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &[u8] = b"Subject: =?utf-8?q?=C3=BC?=\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
        Content-Type: multipart/alternative; boundary=c\n\n--c\n\nplain\n--c\nContent-Type: text/html\n\n<p>html</p>\n--c--\n\
        --b\nContent-Type: text/csv; charset=iso-8859-1; name=x.csv\nContent-Disposition: attachment; filename=\"../x.csv\"\n\
        Content-Transfer-Encoding: base64\n\n5Dti\n--b\nContent-Type: application/octet-stream\n\nraw\n\n--b--\n";

    #[test]
    fn parts_and_bodies() {
        let reading = Reading::parse(MIXED.to_vec()).unwrap();
        assert_eq!(reading.header("subject"), Some("ü"));
        let found: Vec<(&str, &str, bool)> = reading
            .parts
            .iter()
            .map(|part| (part.path.as_str(), part.content_type.as_str(), part.is_attachment))
            .collect();
        assert_eq!(
            found,
            [
                ("1.1", "text/plain", false),
                ("1.2", "text/html", false),
                ("2", "text/csv", true),
                ("3", "application/octet-stream", true)
            ]
        );
        assert_eq!(reading.text.trim(), "plain");
        assert_eq!(reading.html.as_deref().map(str::trim), Some("<p>html</p>"));
        assert_eq!(reading.content(&reading.parts[2]), b"\xe4;b", "exact bytes, not the charset's characters");
        assert_eq!(reading.content(&reading.parts[3]), b"raw\n");
        assert_eq!(reading.parts[2].name.as_deref().and_then(safe_file_name).as_deref(), Some("x.csv"));
    }

    #[test]
    fn a_message_of_one_part() {
        for (raw, text) in [
            (&b"A: b\n\nhello\n"[..], "hello\n"),
            (b"Content-Type: text/html\n\n<b>x</b> y", "x y\n"),
            (b"A: b\n", ""),
            (b"", ""),
        ] {
            assert_eq!(Reading::parse(raw.to_vec()).unwrap().text, text);
        }
        let lone = Reading::parse(b"Content-Type: image/png\nContent-Transfer-Encoding: base64\n\niVBORw==\n".to_vec())
            .unwrap();
        assert_eq!((lone.parts[0].path.as_str(), lone.content(&lone.parts[0])), ("1", b"\x89PNG".to_vec()));
    }

    #[test]
    fn bombs_are_refused_or_read_in_bounds() {
        let mut deep = String::new();
        for depth in 0..MAX_DEPTH + 10 {
            deep += &format!("Content-Type: multipart/mixed; boundary=b{depth}\n\n--b{depth}\n");
        }
        assert_eq!(Reading::parse(deep.into_bytes()).unwrap_err().kind, Kind::BadData);
        let many = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(MAX_PARTS + 1));
        assert_eq!(Reading::parse(many.into_bytes()).unwrap_err().kind, Kind::BadData);
        let header = format!("A: {}\n\n", "x".repeat(scan::MAX_HEADER_BYTES));
        assert_eq!(Reading::parse(header.into_bytes()).unwrap_err().kind, Kind::BadData);
    }

    /// The examples of RFC 2231, sections 3, 4 and 4.1, as names of files; then our own way of writing them, back again.
    #[test]
    fn names_as_rfc_2231_writes_them() {
        let name = |disposition: &str| {
            let raw = format!("Content-Type: application/x-stuff\n{disposition}\n\nx\n");
            Reading::parse(raw.into_bytes()).unwrap().parts[0].name.clone()
        };
        for (parameters, expected) in [
            (
                "filename*0=\"ftp://\";\n filename*1=\"cs.utk.edu/pub/moose/bulk-mailer/bulk-mailer.tar\"",
                "ftp://cs.utk.edu/pub/moose/bulk-mailer/bulk-mailer.tar",
            ),
            ("filename*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A", "This is ***fun***"),
            (
                "filename*0*=us-ascii'en'This%20is%20even%20more%20;\n filename*1*=%2A%2A%2Afun%2A%2A%2A%20;\n \
                 filename*2=\"isn't it!\"",
                "This is even more ***fun*** isn't it!",
            ),
            ("filename*=iso-8859-1''Gr%FC%DFe", "Grüße"),
        ] {
            let found = name(&format!("Content-Disposition: attachment;\n {parameters}"));
            assert_eq!(found.as_deref(), Some(expected), "{parameters}");
        }
        for own in ["plain.txt", "a b;c=\"d\".txt", "Grüße an alle.pdf", &"長い名前".repeat(30), &"x".repeat(200)]
        {
            let field = crate::mail::header::with_parameters("Content-Disposition", "attachment", &[("filename", own)]);
            assert_eq!(name(field.unwrap().trim_end()).as_deref(), Some(own));
        }
    }

    #[test]
    fn file_names_stay_where_they_belong() {
        for (name, expected) in [
            ("photo.jpg", Some("photo.jpg")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\Users\\x\\a.doc", Some("a.doc")),
            (".bashrc", Some("bashrc")),
            ("..", None),
            ("", None),
            ("/", None),
            ("~root", Some("root")),
            ("-rf", Some("rf")),
            ("a\0b\nc\x1b[31m.txt", Some("abc[31m.txt")),
            ("gpj.\u{202e}exe", Some("gpj.exe")),
            ("a b.txt ", Some("a b.txt")),
            ("dir/", Some("dir")),
        ] {
            assert_eq!(safe_file_name(name).as_deref(), expected, "{name:?}");
        }
        let long = safe_file_name(&format!("{}.pdf", "ü".repeat(300))).unwrap();
        assert!(long.len() <= 200 && long.ends_with("ü.pdf"));
    }

    #[test]
    fn shown_text_cannot_steer() {
        assert_eq!(printable("a\x1b[31m\r\nb\tc\u{9b}\u{202e}\x7f"), "a␛[31m\nb\tc\u{fffd}\u{fffd}␡");
    }
}
