//! Reading header sections: our own bounded scan, fast enough to list tens of thousands of messages, and the decoding of
//! what stands in them (RFC 2047). What a stranger wrote never makes it fail; it shows what can be shown.

use super::address::{self, Mailbox};
pub use super::encoded_word::decode_text as decode;
use super::encoded_word::{decode_words, unfold};
use super::header_line;
use crate::fault::{Fault, Kind};

/// Longest header section looked at; what stands behind is not seen.
pub const MAX_HEADER_BYTES: usize = 1024 * 1024;
/// Most fields taken of one header.
pub const MAX_FIELDS: usize = 20_000;
/// Where the body begins, if that is within these complete lines.
pub fn header_end(bytes: &[u8]) -> Option<usize> {
    header_line::find_end(bytes).map(|end| end.body)
}

/// The fields of a header section within the bounds: name, and value as written (folded, without its last line end).
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

/// The mailboxes of an address field, names decoded. What cannot be read is left out.
pub fn mailboxes(value: &[u8]) -> Vec<Mailbox> {
    let mut list = address::parse_list(&unfold(value)).unwrap_or_default();
    for name in list.iter_mut().filter_map(|mailbox| mailbox.name.as_mut()) {
        if name.contains("=?") {
            *name = decode_words(name);
        }
    }
    list
}

/// The message identifiers in a value, in their order.
pub fn identifiers(value: &[u8]) -> Vec<String> {
    let text = unfold(value);
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some((_, tail)) = rest.split_once('<') {
        let Some((id, tail)) = tail.split_once('>') else { break };
        let id = format!("<{}>", id.trim());
        if super::header::is_message_id(&id) && found.len() < MAX_FIELDS {
            found.push(id);
        }
        rest = tail;
    }
    found
}

/// A Date field (RFC 5322, section 3.3, with the old zones).
pub fn date(value: &[u8]) -> Option<jiff::Zoned> {
    let text = unfold(value);
    // "Mon, 23 Nov 2026 05:00:00 +0000 (UTC)": the comment says nothing.
    let text = text.split('(').next().unwrap_or_default().trim();
    let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    parser.parse_zoned(text).ok()
}

/// The header section of a message, complete or [`Kind::BadData`].
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
    fn mailboxes_dates_identifiers() {
        let list = mailboxes(b" =?utf-8?q?J=C3=B6rg=2C_X?= <a@b>,\n \"Q, R\" <c@d>, e@f");
        let names: Vec<Option<&str>> = list.iter().map(|mailbox| mailbox.name.as_deref()).collect();
        assert_eq!(names, [Some("Jörg, X"), Some("Q, R"), None]);
        for (text, expected) in [
            ("Mon, 23 Nov 2026 05:00:00 +0000 (UTC)", Some("2026-11-23T05:00:00Z")),
            (" 23 Nov 2026 06:00 +0100", Some("2026-11-23T05:00:00Z")),
            ("Tue, 23 Nov 2026 05:00:00 GMT", Some("2026-11-23T05:00:00Z")),
            ("yesterday", None),
        ] {
            assert_eq!(date(text.as_bytes()).map(|date| date.timestamp().to_string()).as_deref(), expected, "{text}");
        }
        assert_eq!(identifiers(b"<a@b>\r\n <c@d> junk <bad> <e @f>"), ["<a@b>", "<c@d>"]);
    }
}
