//! A complete message from another program (`smtpsend -t`, a saved file). It stays unchanged except for line ends: Bcc
//! fields are removed and required fields added. One bounded pass examines it, a second one sends it. Under the name
//! sendmail, no message is refused for its form: [`Complete::read_any`] accepts it, [`Complete::mend`] makes it legal.

mod first_pass;
mod mend;
mod qualify;

use std::io::Read;

use super::address::{self, Mailbox};
use super::address_list;
use super::downgrade;
use super::header_line;
use super::message::{MailMessage, Segment};
use super::transfer::canonical_text;
use crate::blob::Blob;
use crate::fault::Fault;

/// The maximum length of a header section in bytes.
pub const MAX_HEADER_BYTES: usize = 1024 * 1024;
/// The maximum number of header fields.
pub const MAX_HEADER_FIELDS: usize = 20_000;

use first_pass::Scan;
pub use mend::{Rewritten, rewrite};

const SCAN_BYTES: usize = 64 * 1024;

/// A message with a parsed header and an examined body.
#[derive(Debug, Clone)]
pub struct Complete {
    fields: Vec<HeaderField>,
    blob: Blob,
    /// The offset of the body in the blob.
    body_at: u64,
    /// The number of bytes added to the body by sending bare LF as CRLF.
    body_extra: u64,
    /// The last line of the body has no line end.
    open_end: bool,
    body_8bit: bool,
    /// The bytes above 127 in the body are UTF-8. Known only for a message read by [`Complete::read_any`].
    body_utf8: bool,
    /// The body has a bare CR, CRCRLF, NUL or a line longer than 998 bytes, which no message may have. Set by [`Complete::read_any`] only.
    body_irregular: bool,
    /// The number of the first line longer than 998 bytes, if any.
    long_line: Option<u64>,
}

/// One header field in its original form: all its lines, with CRLF line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderField {
    /// The name in its original spelling.
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

    /// Encodes raw letters outside ASCII as encoded-words (RFC 2047, 2231), where possible.
    fn encode(&mut self) {
        if self.raw.is_ascii() {
            return;
        }
        let value = header_line::value_of(self.name.as_bytes(), &self.raw);
        if let Ok(encoded) = downgrade::seven_bit_field(&self.name, value) {
            self.raw = encoded.into_bytes();
        }
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl Complete {
    /// Reads a message. With `dot_ends`, a line with a lone dot ends it, as in sendmail without `-i`.
    ///
    /// # Errors
    /// `Kind::BadData` for a message that exceeds the limits or has a bare CR, `Kind::Io` if it cannot be read.
    pub fn read(blob: &Blob, dot_ends: bool) -> Result<Complete, Fault> {
        Complete::scan(blob, Scan::new(dot_ends, false))
    }

    /// Reads a message of any form, as sendmail does. In the header, a bare CR becomes a space and NULs are removed.
    /// Header lines beyond the limits become part of the body. The body stays unchanged until [`Complete::mend`].
    ///
    /// # Errors
    /// `Kind::Io` if it cannot be read.
    pub fn read_any(blob: &Blob, dot_ends: bool) -> Result<Complete, Fault> {
        Complete::scan(blob, Scan::new(dot_ends, true))
    }

    fn scan(blob: &Blob, mut scan: Scan) -> Result<Complete, Fault> {
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

    /// The first field with this name.
    pub fn field(&self, name: &str) -> Option<&HeaderField> {
        self.fields.iter().find(|field| field.is(name))
    }

    /// All fields, in their order.
    pub fn fields(&self) -> &[HeaderField] {
        &self.fields
    }

    /// The recipients in the header: To, Cc and Bcc, or those of the latest Resent block if there is one (RFC 5322,
    /// section 3.6.6).
    ///
    /// # Errors
    /// `Kind::BadData` or `Kind::Usage` from [`address::parse_list`], for a field that cannot be parsed.
    pub fn recipients(&self) -> Result<Vec<Mailbox>, Fault> {
        let read =
            |field: &HeaderField| address::parse_list(&field.value()).map_err(|fault| fault.context(&field.name));
        Ok(self.recipient_fields().into_iter().map(read).collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// Like [`Complete::recipients`], but returns every readable address, and a fault for each unreadable one.
    pub fn readable_recipients(&self) -> (Vec<Mailbox>, Vec<Fault>) {
        let (mut found, mut malformed) = (Vec::new(), Vec::new());
        for field in self.recipient_fields() {
            let value = field.value();
            if let Ok(list) = address::parse_list(&value) {
                found.extend(list);
                continue;
            }
            let list = address_list::read(value.as_bytes());
            found.extend(list.mailboxes);
            for text in &list.unparsed {
                // A name without a domain is an address here.
                match address::parse_list(text) {
                    Ok(names) => found.extend(names),
                    Err(fault) => malformed.push(fault.context(&field.name)),
                }
            }
        }
        (found, malformed)
    }

    fn recipient_fields(&self) -> Vec<&HeaderField> {
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
                found.push(field);
            }
        }
        found
    }

    /// The sender in the header: the first of Resent-Sender, Resent-From, Sender and From that contains an address.
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

    /// Appends a field unless the header has one with this name. `line` is the whole field with CRLF.
    pub fn add_missing(&mut self, name: &str, line: String) {
        if self.field(name).is_none() {
            self.fields.push(HeaderField { name: name.to_owned(), raw: line.into_bytes() });
        }
    }

    /// True if the body contains a byte outside ASCII.
    pub fn body_8bit(&self) -> bool {
        self.body_8bit
    }

    /// True if a header field contains a byte outside ASCII.
    pub fn header_8bit(&self) -> bool {
        self.fields.iter().any(|field| !field.raw.is_ascii())
    }

    /// True if a header field to be sent contains letters outside ASCII in UTF-8: the message needs SMTPUTF8 (RFC
    /// 6532). For bytes in an older charset, no server extension would help.
    pub fn header_utf8(&self) -> bool {
        let mut sent = self.fields.iter().filter(|field| !field.is("bcc") && !field.is("resent-bcc")).map(|it| &it.raw);
        sent.clone().any(|raw| !raw.is_ascii()) && sent.all(|raw| str::from_utf8(raw).is_ok())
    }

    /// True if the header has a signature that a change of its fields would break.
    fn is_signed(&self) -> bool {
        const SIGNATURES: &[&str] = &["dkim-signature", "domainkey-signature", "arc-message-signature", "arc-seal"];
        SIGNATURES.iter().any(|name| self.field(name).is_some())
    }

    /// Encodes raw UTF-8 in header fields as encoded-words (RFC 2047), so that every server on the path accepts the
    /// message. A signed header stays unchanged, and so does a field with an address outside ASCII.
    pub fn encode_header(&mut self) {
        if self.is_signed() {
            return;
        }
        for field in self.fields.iter_mut().filter(|field| str::from_utf8(&field.raw).is_ok()) {
            field.encode();
        }
    }

    /// The number of the first line longer than 998 bytes; servers may break or refuse such lines.
    pub fn long_line(&self) -> Option<u64> {
        self.long_line
    }

    /// The header in the form that is sent, with its empty line.
    fn head(&self) -> Vec<u8> {
        let sent = self.fields.iter().filter(|field| !field.is("bcc") && !field.is("resent-bcc"));
        let mut head = sent.map(|field| field.raw.as_slice()).collect::<Vec<_>>().concat();
        head.extend_from_slice(b"\r\n");
        head
    }

    /// The message without its Bcc and Resent-Bcc fields.
    pub fn into_message(self) -> MailMessage {
        let has_8bit = self.body_8bit || self.header_8bit();
        let mut head = self.head();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Kind;
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
                let mut scan = Scan::new(false, false);
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
            read(text.as_bytes()).recipients().unwrap().into_iter().map(|mailbox| mailbox.address.to_string()).collect()
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
        let sender = |text: &str| read(text.as_bytes()).sender().map(|mailbox| mailbox.address.to_string());
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
