//! Reads header sections with a bounded scan, fast enough to list tens of thousands of messages, and decodes their
//! values (RFC 2047). Malformed input never makes it fail; it returns all that is readable.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::address_list::{self, AddressList};
use super::charset;
use super::date;
pub use super::encoded_word::decode_text as decode;
use super::encoded_word::unfold;
use super::header_line;
use super::parameter;
use crate::fault::{Fault, Kind};

/// The maximum length of a header section in bytes; the rest is ignored.
pub const MAX_HEADER_BYTES: usize = 1024 * 1024;
/// The maximum number of fields in one header.
pub const MAX_FIELDS: usize = 20_000;
/// The offset of the body, if these complete lines contain the end of the header.
pub fn header_end(bytes: &[u8]) -> Option<usize> {
    header_line::find_end(bytes).map(|end| end.body)
}

/// The fields of a header section within the limits: each name, and the raw value (folded, without its last line end).
pub fn fields(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    header_line::fields(header.get(..header.len().min(MAX_HEADER_BYTES)).unwrap_or_default()).take(MAX_FIELDS)
}

/// The values of the wanted fields, the first of each name, in the order of `wanted`.
pub fn pick<'a, const N: usize>(header: &'a [u8], wanted: [&str; N]) -> [Option<&'a [u8]>; N] {
    let mut found = [None; N];
    let mut missing = N;
    for (name, value) in fields(header) {
        for (slot, wanted) in found.iter_mut().zip(wanted) {
            if slot.is_none() && name.eq_ignore_ascii_case(wanted.as_bytes()) {
                *slot = Some(value);
                missing -= 1;
            }
        }
        if missing == 0 {
            break;
        }
    }
    found
}

/// The values of all fields with this name.
pub fn all<'a>(header: &'a [u8], wanted: &str) -> impl Iterator<Item = &'a [u8]> {
    fields(header).filter(move |(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes())).map(|(_, value)| value)
}

/// The addresses of all fields with this name.
pub fn addresses(header: &[u8], wanted: &str) -> AddressList {
    let (charset, mut list) = (HeaderCharset::of(header), AddressList::default());
    for value in all(header, wanted) {
        let more = address_list::read(&charset.utf8(value));
        list.mailboxes.extend(more.mailboxes);
        list.unparsed.extend(more.unparsed);
    }
    list
}

/// Decodes a value of this header with [`HeaderCharset::text`].
pub fn text(header: &[u8], value: &[u8]) -> String {
    HeaderCharset::of(header).text(value)
}

/// The charset of raw bytes in a header that are not UTF-8. Headers have no charset of their own; a program that writes
/// such bytes uses the charset of its text. Determined once, for the first such value.
#[derive(Debug)]
pub struct HeaderCharset<'a> {
    header: &'a [u8],
    label: OnceCell<String>,
    /// The charset to use if the header names none.
    other: &'a str,
}

impl<'a> HeaderCharset<'a> {
    /// The charset of this header.
    pub fn of(header: &'a [u8]) -> HeaderCharset<'a> {
        HeaderCharset::of_part(header, "")
    }

    /// The charset of a part's header, or `other` if it names none.
    pub(super) fn of_part(header: &'a [u8], other: &'a str) -> HeaderCharset<'a> {
        HeaderCharset { header, label: OnceCell::new(), other }
    }

    /// Decodes a value with [`decode`]; raw bytes that are not UTF-8 are in the charset of the message's text.
    pub fn text(&self, value: &[u8]) -> String {
        decode(&self.utf8(value))
    }

    /// A value with its raw bytes converted to UTF-8, if their charset is known.
    pub(super) fn utf8<'v>(&self, value: &'v [u8]) -> Cow<'v, [u8]> {
        let shifted = value.contains(&0x1b);
        if !shifted && str::from_utf8(value).is_ok() {
            return Cow::Borrowed(value);
        }
        let label = self.label.get_or_init(|| {
            let [kind] = pick(self.header, ["content-type"]);
            let label = kind.and_then(|kind| parameter::parse(kind).1.get("charset"));
            label.as_deref().unwrap_or(self.other).to_ascii_lowercase()
        });
        // Escape sequences are letters only in the charsets that shift; what takes several bytes a letter makes no header.
        let unfit = label.is_empty() || label.starts_with("ut") || label.starts_with("ucs");
        if unfit || shifted != label.starts_with("iso-2022") {
            return Cow::Borrowed(value);
        }
        Cow::Owned(charset::decode(label, value).into_bytes())
    }
}

/// The message identifiers in a value, in their order.
pub fn identifiers(value: &[u8]) -> Vec<String> {
    let text = unfold(value);
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some((_, tail)) = rest.split_once('<') {
        let Some((id, tail)) = tail.split_once('>') else { break };
        // White space in it is that of RFC 5322, section 4.5.4, or of a fold in the wrong place.
        let id: String = format!("<{id}>").split_whitespace().collect();
        if super::header::is_message_id(&id) && found.len() < MAX_FIELDS {
            found.push(id);
        }
        rest = tail;
    }
    found
}

/// Parses a Date field with [`date::parse`].
pub fn date(value: &[u8]) -> Option<jiff::Zoned> {
    date::parse(&unfold(value))
}

/// The complete header section of a message.
///
/// # Errors
/// [`Kind::BadData`] for a header beyond [`MAX_HEADER_BYTES`].
pub fn header_of(message: &[u8]) -> Result<&[u8], Fault> {
    let end = header_line::end_of(message).body;
    if end > MAX_HEADER_BYTES {
        return Err(Fault::new(Kind::BadData, format!("header longer than {MAX_HEADER_BYTES} bytes")));
    }
    Ok(message.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_header() {
        let header = b"From x\nA: 1\r\nB : 2\n 3\r\n\t4\nC:\n\nD: body\n";
        let found: Vec<(String, String)> = fields(header)
            .map(|(name, value)| (String::from_utf8_lossy(name).into(), String::from_utf8_lossy(value).into()))
            .collect();
        let expected = [("A", " 1"), ("B", " 2\n 3\r\n\t4"), ("C", "")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(
            pick(header, ["c", "b", "zz"]).map(|value| value.map(decode)),
            [Some(String::new()), Some("2 3\t4".into()), None]
        );
        assert_eq!(header_end(header), Some(header.len() - 8));
        assert_eq!(header_end(b"A: b\n"), None);
        assert_eq!(header_end(b"\r\nx"), Some(2));
    }

    #[test]
    fn raw_bytes_are_read_once_in_the_charset_of_the_text() {
        let raw = |header: &[u8]| {
            let [subject] = pick(header, ["subject"]);
            text(header, subject.unwrap())
        };
        let (gb, shifted) = (b"\xb2\xe2\xca\xd4", b"\x1b$B$\"\x1b(B");
        for (subject, kind, expected) in [
            (&gb[..], "text/plain; charset=gb18030", "\u{6d4b}\u{8bd5}"),
            (b"=?utf-8?q?=C3=BC?= \xfc", "text/plain; charset=iso-8859-1", "\u{fc} \u{fc}"),
            ("\u{fc}".as_bytes(), "text/plain; charset=iso-8859-1", "\u{fc}"),
            (b"\xfc", "text/plain; charset=utf-8", "\u{fc}"),
            (b"\xfc", "text/plain", "\u{fc}"),
            (shifted, "text/plain; charset=ISO-2022-JP", "\u{3042}"),
            (shifted, "text/plain; charset=us-ascii", "\u{1b}$B$\"\u{1b}(B"),
        ] {
            let header = [b"Subject: ", subject, b"\nContent-Type: ", kind.as_bytes(), b"\n\n"].concat();
            assert_eq!(raw(&header), expected, "{kind}");
        }
    }

    #[test]
    fn addresses_of_all_fields_and_identifiers() {
        let list = addresses(
            b"To: =?utf-8?q?J=C3=B6rg=2C_X?= <a@b>,\n \"Q, R\" <c@d>\nCc: no\nto: e@f, g h\n\nTo: i@j\n",
            "to",
        );
        let names: Vec<Option<&str>> = list.mailboxes.iter().map(|mailbox| mailbox.name.as_deref()).collect();
        assert_eq!(names, [Some("J\u{f6}rg, X"), Some("Q, R"), None]);
        assert_eq!(list.unparsed, ["g h"]);
        assert_eq!(identifiers(b"<a@b>\r\n <c@d> junk <bad> <e\r\n\t@f>"), ["<a@b>", "<c@d>", "<e@f>"]);
    }
}
