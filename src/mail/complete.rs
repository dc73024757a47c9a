//! A complete message as somebody else wrote it (`smtpsend -t`, a saved file): byte for byte but for line ends, save that
//! Bcc fields go and what every message must have is added. One bounded pass looks at it, a second one sends it.

use std::io::Read;

use super::address::{self, Mailbox};
use super::downgrade;
use super::header_line::{self, HeaderLine, HeaderLines};
use super::message::{MailMessage, Segment};
use super::transfer::{MAX_LINE_BYTES, canonical_text};
use crate::blob::Blob;
use crate::fault::{Fault, Kind};

/// Longest header section taken.
pub const MAX_HEADER_BYTES: usize = 1024 * 1024;
/// Most header fields taken.
pub const MAX_HEADER_FIELDS: usize = 20_000;

const SCAN_BYTES: usize = 64 * 1024;

/// A message whose header was read and whose body was looked at.
#[derive(Debug, Clone)]
pub struct Complete {
    fields: Vec<HeaderField>,
    blob: Blob,
    /// Where the body begins in the blob.
    body_at: u64,
    /// Bytes that sending bare LF as CRLF adds to the body.
    body_extra: u64,
    /// The body's last line has no line end.
    open_end: bool,
    body_8bit: bool,
    /// The first line longer than 998 bytes, if any.
    long_line: Option<u64>,
}

/// One header field as it was written: all its lines, line ends CRLF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderField {
    /// The name as written.
    pub name: String,
    /// Name, colon, value, line ends.
    pub raw: Vec<u8>,
}

impl HeaderField {
    /// The value, unfolded, without white space at its ends.
    pub fn value(&self) -> String {
        let value = self.raw.get(self.name.len()..).unwrap_or_default();
        let text = String::from_utf8_lossy(value);
        let text = text.split_once(':').map_or("", |(_, value)| value);
        text.replace("\r\n", "").trim().to_owned()
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl Complete {
    /// Reads a message. With `dot_ends`, a line that holds a lone dot ends it, as sendmail without `-i` has it.
    ///
    /// # Errors
    /// [`Kind::BadData`] for a message that breaks the limits or has a bare CR, [`Kind::Io`] when it cannot be read.
    pub fn read(blob: &Blob, dot_ends: bool) -> Result<Complete, Fault> {
        let mut scan = Scan::new(dot_ends);
        let mut reader = blob.open_at(0);
        let most = usize::try_from(blob.size_bytes()).unwrap_or(SCAN_BYTES).clamp(1, SCAN_BYTES);
        let mut buffer = vec![0; most];
        while !scan.ended {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => scan.feed(buffer.get(..count).unwrap_or_default())?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::local("message", &error)),
            }
        }
        scan.finish(blob)
    }

    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&HeaderField> {
        self.fields.iter().find(|field| field.is(name))
    }

    /// All fields, in their order.
    pub fn fields(&self) -> &[HeaderField] {
        &self.fields
    }

    /// The recipients that the header names: To, Cc and Bcc, or those of the latest Resent block if there is one
    /// (RFC 5322, section 3.6.6).
    ///
    /// # Errors
    /// [`Kind::BadData`] or [`Kind::Usage`], as [`address::parse_list`] gives it, for a field that cannot be read.
    pub fn recipients(&self) -> Result<Vec<Mailbox>, Fault> {
        let resent = self.fields.iter().any(|field| field.name.to_ascii_lowercase().starts_with("resent-"));
        let mut found = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        for field in &self.fields {
            let lower = field.name.to_ascii_lowercase();
            let name = if resent { lower.strip_prefix("resent-").unwrap_or_default() } else { lower.as_str() };
            if resent && !name.is_empty() {
                // A field that comes again begins an older block.
                if seen.iter().any(|known| known == name) {
                    break;
                }
                seen.push(name.to_owned());
            }
            if matches!(name, "to" | "cc" | "bcc") {
                let list = address::parse_list(&field.value()).map_err(|fault| fault.context(&field.name))?;
                found.extend(list);
            }
        }
        Ok(found)
    }

    /// Who sends it, as the header says: Resent-Sender, Resent-From, Sender, From; the first that holds an address.
    pub fn sender(&self) -> Option<Mailbox> {
        ["resent-sender", "resent-from", "sender", "from"].iter().find_map(|name| {
            let list = address::parse_list(&self.field(name)?.value()).ok()?;
            list.into_iter().next()
        })
    }

    /// The Message-ID, if there is one.
    pub fn message_id(&self) -> Option<String> {
        self.field("message-id").map(HeaderField::value).filter(|id| !id.is_empty())
    }

    /// Adds a field of ours behind the others unless one of this name is there. `line` is the whole field with CRLF.
    pub fn add_missing(&mut self, name: &str, line: String) {
        if self.field(name).is_none() {
            self.fields.push(HeaderField { name: name.to_owned(), raw: line.into_bytes() });
        }
    }

    /// True if the body holds a byte outside ASCII.
    pub fn body_8bit(&self) -> bool {
        self.body_8bit
    }

    /// True if a header field holds a byte outside ASCII.
    pub fn header_8bit(&self) -> bool {
        self.fields.iter().any(|field| !field.raw.is_ascii())
    }

    /// True if a header field that is sent holds letters outside ASCII in UTF-8: the message needs SMTPUTF8 (RFC 6532). Bytes
    /// of an older charset ask for nothing that a server could offer.
    pub fn header_utf8(&self) -> bool {
        let mut sent = self.fields.iter().filter(|field| !field.is("bcc") && !field.is("resent-bcc")).map(|it| &it.raw);
        sent.clone().any(|raw| !raw.is_ascii()) && sent.all(|raw| str::from_utf8(raw).is_ok())
    }

    /// Writes raw UTF-8 in header fields as encoded-words (RFC 2047), so that every server on the way takes the message. What
    /// is signed stays as it is, and so does a field with an address outside ASCII.
    pub fn encode_header(&mut self) {
        const SIGNATURES: &[&str] = &["dkim-signature", "domainkey-signature", "arc-message-signature", "arc-seal"];
        if SIGNATURES.iter().any(|name| self.field(name).is_some()) {
            return;
        }
        for field in self.fields.iter_mut().filter(|field| !field.raw.is_ascii() && str::from_utf8(&field.raw).is_ok())
        {
            let value = header_line::value_of(field.name.as_bytes(), &field.raw);
            if let Ok(encoded) = downgrade::seven_bit_field(&field.name, value) {
                field.raw = encoded.into_bytes();
            }
        }
    }

    /// The number of the first line that is longer than 998 bytes, which servers may break or refuse.
    pub fn long_line(&self) -> Option<u64> {
        self.long_line
    }

    /// The message without its Bcc and Resent-Bcc fields.
    pub fn into_message(self) -> MailMessage {
        let has_8bit = self.body_8bit || self.header_8bit();
        let mut head = Vec::new();
        for field in self.fields.iter().filter(|field| !field.is("bcc") && !field.is("resent-bcc")) {
            head.extend_from_slice(&field.raw);
        }
        head.extend_from_slice(b"\r\n");
        if let Some(bytes) = self.blob.in_memory() {
            // Small: one piece is sent with fewer copies than several.
            let body = bytes.get(usize::try_from(self.body_at).unwrap_or(usize::MAX)..).unwrap_or_default();
            if self.body_extra == 0 && !self.open_end {
                head.extend_from_slice(body);
            } else {
                head.extend_from_slice(&canonical_text(body));
            }
            return MailMessage::new(vec![Segment::Bytes(head)], has_8bit);
        }
        let mut segments = vec![Segment::Bytes(head)];
        if self.body_at < self.blob.size_bytes() {
            segments.push(match self.body_extra {
                0 => Segment::Exact(self.blob, self.body_at),
                extra => Segment::Lines(self.blob, self.body_at, extra),
            });
        }
        if self.open_end {
            segments.push(Segment::Bytes(b"\r\n".to_vec()));
        }
        MailMessage::new(segments, has_8bit)
    }
}

/// The first pass over a message, in pieces of any size.
struct Scan {
    dot_ends: bool,
    /// A lone dot was met; what follows is not part of the message.
    ended: bool,
    /// The header's lines until it is complete.
    header: Vec<u8>,
    lines: HeaderLines,
    fields: Vec<HeaderField>,
    in_body: bool,
    position: u64,
    body_at: u64,
    body_extra: u64,
    body_8bit: bool,
    line_number: u64,
    line_length: usize,
    /// The first two bytes of the current line.
    line_start: [u8; 2],
    last: u8,
    long_line: Option<u64>,
}

impl Scan {
    fn new(dot_ends: bool) -> Scan {
        Scan {
            dot_ends,
            ended: false,
            header: Vec::new(),
            lines: HeaderLines::default(),
            fields: Vec::new(),
            in_body: false,
            position: 0,
            body_at: 0,
            body_extra: 0,
            body_8bit: false,
            line_number: 1,
            line_length: 0,
            line_start: [0; 2],
            last: b'\n',
            long_line: None,
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() && !self.ended {
            let end = memchr::memchr2(b'\n', b'\r', bytes);
            let (text, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if !text.is_empty() {
                self.text(text)?;
            }
            let Some((&special, rest)) = rest.split_first() else { return Ok(()) };
            bytes = rest;
            if self.last == b'\r' && special != b'\n' {
                return Err(self.bare_cr());
            }
            if special == b'\n' {
                self.line_end()?;
                if self.ended {
                    return Ok(());
                }
            }
            self.last = special;
            self.position += 1;
            if special == b'\n' && self.in_body && self.body_at == u64::MAX {
                self.body_at = self.position;
            }
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8]) -> Result<(), Fault> {
        if self.last == b'\r' {
            return Err(self.bare_cr());
        }
        for (slot, byte) in self.line_start.iter_mut().skip(self.line_length).zip(text) {
            *slot = *byte;
        }
        self.line_length += text.len();
        if self.in_body {
            self.body_8bit |= !text.is_ascii();
        } else {
            if self.header.len() + text.len() > MAX_HEADER_BYTES {
                return Err(Fault::new(Kind::BadData, format!("header longer than {MAX_HEADER_BYTES} bytes")));
            }
            self.header.extend_from_slice(text);
        }
        self.last = b'x';
        self.position += text.len() as u64;
        Ok(())
    }

    /// A line is complete; its LF was not counted yet.
    fn line_end(&mut self) -> Result<(), Fault> {
        let bare = self.last != b'\r';
        if self.dot_ends && self.line_length == 1 && self.line_start.first() == Some(&b'.') {
            // The blob is cut before the dot.
            self.position -= if bare { 1 } else { 2 };
            self.ended = true;
            return Ok(());
        }
        if self.line_length > MAX_LINE_BYTES && self.long_line.is_none() {
            self.long_line = Some(self.line_number);
        }
        if self.in_body {
            self.body_extra += u64::from(bare);
        } else {
            self.header_line(bare)?;
        }
        self.line_number += 1;
        self.line_length = 0;
        Ok(())
    }

    /// Takes the line that `header` holds: a field, a continuation, the empty line, or already body.
    fn header_line(&mut self, bare: bool) -> Result<(), Fault> {
        let line = std::mem::take(&mut self.header);
        match self.lines.line(&line) {
            HeaderLine::Separator => {
                self.in_body = true;
                // Known once the LF is counted.
                self.body_at = u64::MAX;
                return Ok(());
            }
            HeaderLine::Continuation => {
                // Where other programs would end the header, a line of white space alone must not be written.
                if let Some(field) = self.fields.last_mut().filter(|_| !line.trim_ascii().is_empty()) {
                    field.raw.extend_from_slice(&line);
                    field.raw.extend_from_slice(b"\r\n");
                }
                return self.check_header();
            }
            HeaderLine::Field(length) => {
                let name = String::from_utf8_lossy(line.get(..length).unwrap_or_default()).into_owned();
                let mut raw = line;
                raw.extend_from_slice(b"\r\n");
                self.fields.push(HeaderField { name, raw });
                let count = self.fields.len();
                if count > MAX_HEADER_FIELDS {
                    return Err(Fault::new(Kind::BadData, format!("more than {MAX_HEADER_FIELDS} header fields")));
                }
                return self.check_header();
            }
            HeaderLine::MboxFrom => return Ok(()),
            HeaderLine::Body => {}
        }
        // No field and no empty line: the body begins here, as with sendmail.
        self.in_body = true;
        self.body_8bit |= !line.is_ascii();
        self.body_at = self.position - line.len() as u64 - u64::from(!bare);
        self.body_extra += u64::from(bare);
        Ok(())
    }

    fn check_header(&self) -> Result<(), Fault> {
        if self.position > MAX_HEADER_BYTES as u64 {
            return Err(Fault::new(Kind::BadData, format!("header longer than {MAX_HEADER_BYTES} bytes")));
        }
        Ok(())
    }

    fn bare_cr(&self) -> Fault {
        Fault::new(Kind::BadData, format!("line {}: carriage return without line feed", self.line_number))
    }

    fn finish(mut self, blob: &Blob) -> Result<Complete, Fault> {
        if self.last == b'\r' && !self.ended {
            return Err(self.bare_cr());
        }
        let mut open_end = false;
        if self.line_length > 0 && !self.ended {
            if self.dot_ends && self.line_length == 1 && self.line_start.first() == Some(&b'.') {
                self.position -= 1;
            } else {
                open_end = true;
                if self.line_length > MAX_LINE_BYTES && self.long_line.is_none() {
                    self.long_line = Some(self.line_number);
                }
                if !self.in_body {
                    // As if an LF followed: the line is sent with one.
                    self.header_line(true)?;
                    self.body_extra = 0;
                    open_end = self.in_body;
                }
            }
        }
        if !self.in_body {
            self.body_at = self.position;
        }
        Ok(Complete {
            fields: self.fields,
            body_at: self.body_at.min(self.position),
            body_extra: self.body_extra,
            open_end,
            body_8bit: self.body_8bit,
            long_line: self.long_line,
            blob: blob.cut(self.position),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::data::Content;

    fn read(text: &[u8]) -> Complete {
        Complete::read(&Blob::memory(text), false).unwrap()
    }

    fn sent(complete: Complete) -> String {
        let (message, mut bytes) = (complete.into_message(), Vec::new());
        message.reader().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, message.size_bytes());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn only_line_ends_and_bcc_change() {
        for (text, expected) in [
            ("A: b\n\nbody\n", "A: b\r\n\r\nbody\r\n"),
            ("A: b\r\n\r\nbody\r\n", "A: b\r\n\r\nbody\r\n"),
            ("A: b\n\nno end", "A: b\r\n\r\nno end\r\n"),
            ("A: b\r\n\r\nmixed\nends\r\n", "A: b\r\n\r\nmixed\r\nends\r\n"),
            ("A: b\n", "A: b\r\n\r\n"),
            ("A: b", "A: b\r\n\r\n"),
            ("A: b\n\n", "A: b\r\n\r\n"),
            ("", "\r\n"),
            ("\nbody\n", "\r\nbody\r\n"),
            ("A: b\n c\n\td\n\nx\n", "A: b\r\n c\r\n\td\r\n\r\nx\r\n"),
            ("Bcc: x@y,\n z@w\nA: b\nBCC: q\nResent-Bcc: r\n\nBcc: body\n", "A: b\r\n\r\nBcc: body\r\n"),
            ("A: b\nnot a field\nmore\n", "A: b\r\n\r\nnot a field\r\nmore\r\n"),
            ("A: b\nnot a field", "A: b\r\n\r\nnot a field\r\n"),
            ("From x Mon Jan 1\nA: b\n\nFrom y\n", "A: b\r\n\r\nFrom y\r\n"),
            ("A: b\n\n.\n..\n", "A: b\r\n\r\n.\r\n..\r\n"),
            ("A : b\n\nx", "A : b\r\n\r\nx\r\n"),
            (" folded first\n", "\r\n folded first\r\n"),
            ("A: b\n \nx\n", "A: b\r\n\r\nx\r\n"),
            ("A: b,\n \t\n c\nBcc: x@y,\n \n z@w\n\nx\n", "A: b,\r\n c\r\n\r\nx\r\n"),
        ] {
            assert_eq!(sent(read(text.as_bytes())), expected, "{text:?}");
        }
    }

    #[test]
    fn every_split_scans_alike() {
        let text: &[u8] = b"From x\r\nA: b\r\n c\nBcc: x@y\n\nb\xc3\xbcdy\r\nmore\n\n.\nend";
        let blob = Blob::memory(text);
        let whole = sent(read(text));
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut scan = Scan::new(false);
                for piece in [&text[..first], &text[first..second], &text[second..]] {
                    scan.feed(piece).unwrap();
                }
                assert_eq!(sent(scan.finish(&blob).unwrap()), whole, "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_lone_dot_ends_only_when_asked() {
        for text in ["A: b\n\nx\n.\nrest\n", "A: b\r\n\r\nx\r\n.\r\nrest", "A: b\n\nx\n."] {
            let cut = Complete::read(&Blob::memory(text.as_bytes()), true).unwrap();
            assert_eq!(sent(cut), "A: b\r\n\r\nx\r\n", "{text:?}");
            assert!(sent(read(text.as_bytes())).contains("\r\n.\r\n"));
        }
        let header_only = Complete::read(&Blob::memory(&b"A: b\n.\nX: y\n"[..]), true).unwrap();
        assert_eq!(sent(header_only), "A: b\r\n\r\n");
    }

    #[test]
    fn a_bare_carriage_return_names_its_line() {
        for (text, line) in [("A: b\rc\n\n", 1), ("A: b\n\nx\ry\n", 3), ("A: b\n\nx\r", 3), ("A: b\r\r\n\n", 1)] {
            let fault = Complete::read(&Blob::memory(text.as_bytes()), false).unwrap_err();
            assert_eq!((fault.kind, fault.detail.contains(&format!("line {line}:"))), (Kind::BadData, true), "{fault}");
        }
    }

    #[test]
    fn recipients_and_sender_come_from_the_header() {
        let addresses = |text: &str| -> Vec<String> {
            read(text.as_bytes()).recipients().unwrap().into_iter().map(|mailbox| mailbox.address).collect()
        };
        assert_eq!(
            addresses("To: a@b,\n C <c@d>\nCc: e@f\nBcc: g@h\nto: i@j\n\n"),
            ["a@b", "c@d", "e@f", "g@h", "i@j"]
        );
        assert_eq!(
            addresses("Resent-To: n@w\nResent-Bcc: m@w\nResent-From: x@y\nResent-To: o@l\nTo: a@b\n\n"),
            ["n@w", "m@w"]
        );
        assert!(read(b"To: a b c\n\n").recipients().is_err());
        let sender = |text: &str| read(text.as_bytes()).sender().map(|mailbox| mailbox.address);
        assert_eq!(sender("From: A <a@b>\n\n").as_deref(), Some("a@b"));
        assert_eq!(sender("From: a@b\nSender: s@b\n\n").as_deref(), Some("s@b"));
        assert_eq!(sender("X: y\n\n"), None);
    }

    #[test]
    fn missing_fields_are_added_once() {
        let mut complete = read(b"Date: today\n\nx\n");
        complete.add_missing("Date", "Date: ours\r\n".into());
        complete.add_missing("Message-ID", "Message-ID: <1@x>\r\n".into());
        assert_eq!(complete.message_id().as_deref(), Some("<1@x>"));
        assert_eq!(sent(complete), "Date: today\r\nMessage-ID: <1@x>\r\n\r\nx\r\n");
    }

    #[test]
    fn long_lines_and_eight_bit_are_noticed() {
        let long = |count: usize| format!("A: b\n\nx\n{}\n", "y".repeat(count));
        assert_eq!(read(long(998).as_bytes()).long_line(), None);
        assert_eq!(read(long(999).as_bytes()).long_line(), Some(4));
        let both = read("A: ü\n\nü\n".as_bytes());
        assert!(both.header_8bit() && both.body_8bit());
        let none = read(b"A: b\n\nc\n");
        assert!(!none.header_8bit() && !none.body_8bit() && !none.into_message().has_8bit());
    }

    #[test]
    fn raw_letters_are_encoded_where_nothing_forbids_it() {
        let encoded = |text: &str| {
            let mut complete = read(text.as_bytes());
            complete.encode_header();
            (complete.header_utf8(), sent(complete))
        };
        let text = "From: J\u{f6}rg <a@b>, c@d (\u{dc})\nSubject : \u{fc}\n x\nX: y\nContent-Type: text/plain; name=\"\u{fc};\"\n\n\u{fc}\n";
        assert_eq!(
            encoded(text),
            (
                false,
                "From: =?UTF-8?Q?J=C3=B6rg?= <a@b>, =?UTF-8?Q?=C3=9C?= <c@d>\r\nSubject: =?UTF-8?Q?=C3=BC?= x\r\nX: y\r\n\
                 Content-Type: text/plain; name*=UTF-8''%C3%BC%3B\r\n\r\n\u{fc}\r\n"
                    .to_owned()
            )
        );
        for kept in ["DKIM-Signature: v=1\nSubject: \u{fc}\n\n", "To: \u{fc}@b.test\n\n", "To: \u{fc} b c\n\n"] {
            assert_eq!(encoded(kept), (true, kept.replace('\n', "\r\n")));
        }
    }

    #[test]
    fn the_header_is_bounded() {
        let of = |count: usize| format!("A: {}\n\nx\n", "y".repeat(count));
        assert!(Complete::read(&Blob::memory(of(MAX_HEADER_BYTES - 10).into_bytes()), false).is_ok());
        assert!(Complete::read(&Blob::memory(of(MAX_HEADER_BYTES + 1).into_bytes()), false).is_err());
        let many = "A: b\n".repeat(MAX_HEADER_FIELDS + 1);
        assert!(Complete::read(&Blob::memory(many.into_bytes()), false).is_err());
    }
}
