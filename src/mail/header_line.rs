//! Finds the end of a header (RFC 5322, sections 2.1 and 4.2): every reader of messages uses this one rule, line by
//! line or at once. If two programs disagree here, the same line is a header to one and text to the other.

/// The role of a line in the header that it may belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderLine {
    /// The first line of a field; with the length of its name in bytes.
    Field(usize),
    /// A continuation of the previous field. A line of white space alone is one as well (RFC 5322, section 4.2).
    Continuation,
    /// An mbox separator before the first field; not part of the message.
    MboxFrom,
    /// The empty line after the header.
    Separator,
    /// A line that no header can contain: the header ended without an empty line, and this is the body's first line.
    Body,
}

/// Reads a header line by line.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeaderLines {
    in_fields: bool,
}

/// The ends of a header, as offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderEnd {
    /// The offset after the last field.
    pub fields: usize,
    /// The offset of the body: the same, or after the empty line.
    pub body: usize,
}

impl HeaderLines {
    /// Takes the next line, with or without its line end (LF, CRLF, or more CRs before the LF).
    pub fn line(&mut self, line: &[u8]) -> HeaderLine {
        let text = without_end(line);
        match text.first() {
            None => HeaderLine::Separator,
            Some(b' ' | b'\t') if self.in_fields => HeaderLine::Continuation,
            _ if !self.in_fields && (text.starts_with(b"From ") || text.starts_with(b">From ")) => HeaderLine::MboxFrom,
            _ => match name_length(text) {
                Some(length) => {
                    self.in_fields = true;
                    HeaderLine::Field(length)
                }
                None => HeaderLine::Body,
            },
        }
    }
}

/// The end of a message's header, if these complete lines contain it.
pub fn find_end(bytes: &[u8]) -> Option<HeaderEnd> {
    let mut lines = HeaderLines::default();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', bytes).map(|at| at + 1) {
        match lines.line(bytes.get(start..end).unwrap_or_default()) {
            HeaderLine::Separator => return Some(HeaderEnd { fields: start, body: end }),
            HeaderLine::Body => return Some(HeaderEnd { fields: start, body: start }),
            HeaderLine::Field(_) | HeaderLine::Continuation | HeaderLine::MboxFrom => start = end,
        }
    }
    None
}

/// The end of the header in a whole message, whose last line may lack its line end.
pub fn end_of(message: &[u8]) -> HeaderEnd {
    if let Some(end) = find_end(message) {
        return end;
    }
    let last = memchr::memrchr(b'\n', message).map_or(0, |at| at + 1);
    // The lines before it are header, so that only whether there were fields counts.
    let mut lines = HeaderLines { in_fields: fields(message.get(..last).unwrap_or_default()).next().is_some() };
    let tail = message.get(last..).unwrap_or_default();
    let fields = if !tail.is_empty() && lines.line(tail) == HeaderLine::Body { last } else { message.len() };
    HeaderEnd { fields, body: fields }
}

/// The fields of a header section: each name, and the raw value (folded, without its last line end).
pub fn fields(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    whole_fields(header).map(|(name, field)| (name, value_of(name, field)))
}

/// The fields of a header section: each name, and all lines of the field.
pub fn whole_fields(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let (mut rest, mut lines) = (header, HeaderLines::default());
    std::iter::from_fn(move || {
        loop {
            let mut ends = memchr::memchr_iter(b'\n', rest).map(|at| at + 1);
            let line_end = ends.next().unwrap_or(rest.len());
            let line = rest.get(..line_end).filter(|line| !line.is_empty())?;
            match lines.line(line) {
                HeaderLine::Field(length) => {
                    let folded = |end: &usize| matches!(rest.get(*end), Some(b' ' | b'\t'));
                    let end = std::iter::once(line_end).chain(ends).find(|end| !folded(end)).unwrap_or(rest.len());
                    let field;
                    (field, rest) = rest.split_at_checked(end)?;
                    return Some((field.get(..length)?, field));
                }
                HeaderLine::MboxFrom => rest = rest.get(line_end..)?,
                HeaderLine::Continuation | HeaderLine::Separator | HeaderLine::Body => return None,
            }
        }
    })
}

/// The text after the colon of a whole field, without its last line end.
pub fn value_of<'a>(name: &[u8], field: &'a [u8]) -> &'a [u8] {
    let value = field.get(name.len()..).unwrap_or_default().trim_ascii_start();
    without_end(value.strip_prefix(b":").unwrap_or(value))
}

/// The length of a field's name: visible ASCII before a colon. White space before the colon is accepted (RFC 5322,
/// section 4.5).
fn name_length(line: &[u8]) -> Option<usize> {
    let length = line.iter().position(|byte| !(b'!'..=b'~').contains(byte) || *byte == b':')?;
    let rest = line.get(length..).unwrap_or_default();
    let colon = rest.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    (length > 0 && colon == Some(&b':')).then_some(length)
}

fn without_end(line: &[u8]) -> &[u8] {
    let Some(mut text) = line.strip_suffix(b"\n") else { return line };
    while let Some(shorter) = text.strip_suffix(b"\r") {
        text = shorter;
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::blob::Blob;
    use crate::mail::complete::Complete;
    use crate::mail::read::Reading;
    use crate::mail::{downgrade, scan, trace};
    use crate::smtp::data::MessageBlob;

    /// Messages with odd headers, each with the names of its header fields and its body.
    const ODD: &[(&str, &[&str], &str)] = &[
        ("A: b\nC: d\n\nbody\n", &["A", "C"], "body\n"),
        ("A: b\n \n c\nC: d\n\nbody\n", &["A", "C"], "body\n"),
        ("A: b\n\t \t\nC: d\n\nbody\n", &["A", "C"], "body\n"),
        ("A: b\n \n \n\nbody\n", &["A"], "body\n"),
        ("A: b\n \nbody\n", &["A"], "body\n"),
        ("A: b\n\n \nbody\n", &["A"], " \nbody\n"),
        ("A: b\nbody\nC: d\n\nmore\n", &["A"], "body\nC: d\n\nmore\n"),
        ("A: b\nbody at a time: now\n", &["A"], "body at a time: now\n"),
        ("A: b\n--boundary\n\nx\n", &["A"], "--boundary\n\nx\n"),
        ("A: b\n: nameless\n", &["A"], ": nameless\n"),
        ("A : b\nC\t: d\n\nx\n", &["A", "C"], "x\n"),
        ("only text\n\nmore\n", &[], "only text\n\nmore\n"),
        (" indented\nA: b\n", &[], " indented\nA: b\n"),
        ("\nA: b\n", &[], "A: b\n"),
        ("From x Mon Jan  1 00:00:00 2026\nA: b\n\nx\n", &["A"], "x\n"),
        (">From x\nFrom y\nA: b\n\nx\n", &["A"], "x\n"),
        ("A: b\nFrom here on\n", &["A"], "From here on\n"),
        (
            "Received: a\n \n by b\nReceived : c\nreceived: d\ntext\nReceived: e\n",
            &["Received", "Received", "received"],
            "text\nReceived: e\n",
        ),
        ("A: b\nC: \u{fc}\nGr\u{fc}n: x\n", &["A", "C"], "Gr\u{fc}n: x\n"),
        ("A: b\n", &["A"], ""),
        ("A:\n", &["A"], ""),
        ("\n", &[], ""),
        ("", &[], ""),
    ];

    fn names<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<String> {
        fields.map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    /// All searches for the end of a header agree: if one took a header line for text, a Bcc could leak.
    #[test]
    fn every_reader_of_headers_agrees() {
        for (message, expected, body) in ODD {
            for text in [(*message).to_owned(), message.replace('\n', "\r\n")] {
                let body = if text.contains('\r') { body.replace('\n', "\r\n") } else { (*body).to_owned() };
                let bytes = text.as_bytes();
                let end = end_of(bytes);
                assert_eq!(bytes.get(end.body..).unwrap(), body.as_bytes(), "{text:?}");
                assert_eq!(find_end(bytes).unwrap_or(end), end, "{text:?}");
                assert_eq!(names(fields(bytes)), *expected, "{text:?}");
                assert_eq!(names(scan::fields(scan::header_of(bytes).unwrap())), *expected, "{text:?}");
                // mailread.
                let reading = Reading::parse(bytes.to_vec()).unwrap();
                let read: Vec<&str> = reading.headers.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(read, *expected, "{text:?}");
                assert_eq!(
                    reading.text.replace("\r\n", "\n").trim_end(),
                    body.replace("\r\n", "\n").trim_end(),
                    "{text:?}"
                );
                // The same as a part of another message.
                let outer = format!("Content-Type: multipart/digest; boundary=q\n\n--q\n\n{text}\n--q--\n");
                let outer = Reading::parse(outer.into_bytes()).unwrap();
                let inner = outer.content(outer.parts.first().unwrap()).bytes;
                assert_eq!(
                    inner.get(end_of(&inner).body..).unwrap().trim_ascii_end(),
                    body.trim_end().as_bytes(),
                    "{text:?}"
                );
                // smtpsend.
                let complete = Complete::read(&Blob::memory(bytes), false).unwrap();
                let taken: Vec<&str> = complete.fields().iter().map(|field| field.name.as_str()).collect();
                assert_eq!(taken, *expected, "{text:?}");
                let mut sent = Vec::new();
                let sendable = complete.into_message();
                sendable.reader().read_to_end(&mut sent).unwrap();
                let received = names(fields(&sent)).iter().filter(|name| name.eq_ignore_ascii_case("received")).count();
                let sent = String::from_utf8(sent).unwrap();
                let empty = sent.strip_prefix("\r\n").map(|rest| ("", rest));
                let (head, rest) = empty.or_else(|| sent.split_once("\r\n\r\n")).unwrap();
                assert_eq!(rest, body.replace("\r\n", "\n").replace('\n', "\r\n"), "{text:?}");
                assert_eq!(names(fields(head.as_bytes())), *expected, "{text:?}");
                assert!(head.lines().all(|line| !line.trim().is_empty()), "{head:?}: others end the header there");
                // A hop without 8BITMIME, the count of hops, the returned header.
                let mut seven = Vec::new();
                if downgrade::to_seven_bit(
                    &MessageBlob::from(text.replace("\r\n", "\n").replace('\n', "\r\n").into_bytes()),
                    &mut seven,
                )
                .is_ok()
                {
                    let seven = names(fields(&seven));
                    assert_eq!(
                        seven.get(..expected.len()),
                        Some(&expected.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()[..]),
                        "{text:?}"
                    );
                }
                assert_eq!(trace::count_received(bytes).unwrap(), received, "{text:?}");
            }
        }
    }

    #[test]
    fn line_ends_of_every_kind() {
        for text in ["A: b\n\nx", "A: b\r\n\r\nx", "A: b\r\r\n\r\r\nx", "A: b\r\n\nx", "A: b\n\r\nx"] {
            let end = end_of(text.as_bytes());
            assert_eq!(text.get(end.body..), Some("x"), "{text:?}");
            assert_eq!(fields(text.as_bytes()).collect::<Vec<_>>(), [(&b"A"[..], &b" b"[..])], "{text:?}");
        }
        assert_eq!(find_end(b"A: b\r\n"), None);
        assert_eq!(find_end(b"A: b\nC"), None, "the line may go on");
        for (text, body) in [("A: b\nC", 5), ("A: b\nC: d", 9), ("A: b\n c", 7), (" c", 0), ("From x", 6), ("\n", 1)] {
            assert_eq!(end_of(text.as_bytes()).body, body, "{text:?}");
        }
    }
}
