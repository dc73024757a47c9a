//! Reading header sections: our own bounded scan, fast enough to list tens of thousands of messages, and the decoding of
//! what stands in them (RFC 2047). What a stranger wrote never makes it fail; it shows what can be shown.

use super::address::{self, Mailbox};
use crate::fault::{Fault, Kind};

/// Longest header section looked at; what stands behind is not seen.
pub const MAX_HEADER_BYTES: usize = 1024 * 1024;
/// Most fields taken of one header.
pub const MAX_FIELDS: usize = 20_000;
/// Longest value decoded; the rest of it is shown as it is.
const MAX_DECODED_BYTES: usize = 256 * 1024;

/// Where the header ends: the offset behind its empty line. `None` if it is not in these bytes.
pub fn header_end(bytes: &[u8]) -> Option<usize> {
    if bytes.starts_with(b"\n") {
        return Some(1);
    }
    if bytes.starts_with(b"\r\n") {
        return Some(2);
    }
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match bytes.get(at + 1..) {
        Some([b'\n', ..]) => Some(at + 2),
        Some([b'\r', b'\n', ..]) => Some(at + 3),
        _ => None,
    })
}

/// The fields of a header section: name, and value as written (folded, without its last line end).
pub fn fields(header: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = header.get(..header.len().min(MAX_HEADER_BYTES)).unwrap_or_default();
    std::iter::from_fn(move || {
        loop {
            let field;
            (field, rest) = split_field(rest)?;
            let Some(colon) = memchr::memchr(b':', field) else { continue };
            let (name, value) = field.split_at(colon);
            let value = value.get(1..).unwrap_or_default();
            let value = value.strip_suffix(b"\n").unwrap_or(value);
            let value = value.strip_suffix(b"\r").unwrap_or(value);
            return Some((name.trim_ascii_end(), value));
        }
    })
    .take(MAX_FIELDS)
}

/// The first field with its continuation lines, and the rest; `None` at the end or at the empty line.
fn split_field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if bytes.is_empty() || bytes.starts_with(b"\n") || bytes.starts_with(b"\r\n") {
        return None;
    }
    for at in memchr::memchr_iter(b'\n', bytes) {
        if !matches!(bytes.get(at + 1), Some(b' ' | b'\t')) {
            return bytes.split_at_checked(at + 1);
        }
    }
    Some((bytes, b""))
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

/// A value as a person reads it: unfolded, encoded-words decoded, bytes that are not UTF-8 read as Windows-1252.
pub fn decode(value: &[u8]) -> String {
    let text = unfold(value);
    if text.contains("=?") { decode_words(&text) } else { text }
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
    while let Some((_, tail)) = split_once(rest, "<") {
        let Some((id, tail)) = split_once(tail, ">") else { break };
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
    let end = header_end(message).unwrap_or(message.len());
    if end > MAX_HEADER_BYTES {
        return Err(Fault::new(Kind::BadData, format!("header longer than {MAX_HEADER_BYTES} bytes")));
    }
    Ok(message.get(..end).unwrap_or_default())
}

fn unfold(value: &[u8]) -> String {
    let text = match str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) => value.iter().map(|byte| windows_1252(*byte)).collect(),
    };
    let text = if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], "") } else { text };
    text.trim_matches([' ', '\t']).to_owned()
}

fn windows_1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => HIGH.get(usize::from(byte - 0x80)).copied().unwrap_or('\u{fffd}'),
        _ => char::from(byte),
    }
}

/// Decodes the encoded-words of a text (RFC 2047, section 6). Neighbours of one charset are joined before their bytes
/// become characters: many mailers cut inside a character.
fn decode_words(text: &str) -> String {
    let (text, tail) = text.split_at(floor_boundary(text, MAX_DECODED_BYTES));
    let mut out = String::with_capacity(text.len());
    let mut pending = PendingWords::default();
    let mut rest = text;
    // Behind the last end no word is searched for its end: each search would go to the end of the text.
    let last_end = text.rfind("?=").unwrap_or_default();
    while let Some((between, _)) = split_once(rest, "=?") {
        let word = rest.get(between.len()..).unwrap_or_default();
        if text.len() - word.len() >= last_end {
            break;
        }
        match encoded_word(word) {
            Some((charset, bytes, after)) => {
                // White space between two encoded-words is not part of the text.
                if !(between.is_empty() || pending.active && between.trim().is_empty()) {
                    pending.flush(&mut out);
                    out.push_str(between);
                }
                pending.push(charset, bytes, &mut out);
                rest = after;
            }
            None => {
                pending.flush(&mut out);
                out.push_str(between);
                out.push_str("=?");
                rest = word.get(2..).unwrap_or_default();
            }
        }
    }
    pending.flush(&mut out);
    out.push_str(rest);
    out.push_str(tail);
    out
}

#[derive(Default)]
struct PendingWords<'a> {
    active: bool,
    charset: &'a str,
    bytes: Vec<u8>,
}

impl<'a> PendingWords<'a> {
    fn push(&mut self, charset: &'a str, bytes: Vec<u8>, out: &mut String) {
        if self.active && !self.charset.eq_ignore_ascii_case(charset) {
            self.flush(out);
        }
        (self.active, self.charset) = (true, charset);
        self.bytes.extend_from_slice(&bytes);
    }

    fn flush(&mut self, out: &mut String) {
        if std::mem::take(&mut self.active) {
            let bytes = std::mem::take(&mut self.bytes);
            let text = charset_text(self.charset, &bytes);
            // A line end that was encoded is no line end here.
            out.extend(text.chars().filter(|letter| !matches!(letter, '\r' | '\n')));
        }
    }
}

/// Bytes of a named charset as text.
pub fn charset_text(charset: &str, bytes: &[u8]) -> String {
    let plain =
        ["utf-8", "utf8", "us-ascii", "ascii", "unknown-8bit"].iter().any(|name| charset.eq_ignore_ascii_case(name));
    if !plain && let Some(decoder) = mail_parser::decoders::charsets::map::charset_decoder(charset.as_bytes()) {
        return decoder(bytes);
    }
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) if plain => String::from_utf8_lossy(bytes).into_owned(),
        Err(_) => bytes.iter().map(|byte| windows_1252(*byte)).collect(),
    }
}

/// `=?charset?encoding?text?=`: charset, decoded bytes, and what follows.
fn encoded_word(text: &str) -> Option<(&str, Vec<u8>, &str)> {
    let inner = text.strip_prefix("=?")?;
    let (charset, inner) = split_once(inner, "?")?;
    let (encoding, inner) = split_once(inner, "?")?;
    let token = |text: &str| !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic());
    // Only what begins as a word is searched for the word's end.
    if !token(charset) || !matches!(encoding, "B" | "b" | "Q" | "q") {
        return None;
    }
    let (payload, after) = split_once(inner, "?=")?;
    // A language may follow the charset (RFC 2231, section 5).
    let charset = charset.split('*').next().unwrap_or_default();
    let bytes = match encoding {
        "B" | "b" => super::transfer::decode_base64(payload.as_bytes()),
        _ => q_bytes(payload.as_bytes()),
    };
    Some((charset, bytes, after))
}

/// [`str::split_once`], which tests count by the bytes that it looks at.
fn split_once<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let found = text.split_once(mark);
    #[cfg(test)]
    tests::SEARCHED.set(tests::SEARCHED.get() + found.map_or(text.len(), |(before, _)| before.len() + mark.len()));
    found
}

fn q_bytes(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    let mut rest = payload;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'_' => out.push(b' '),
            b'=' => match crate::hex::byte(tail) {
                Some(byte) => {
                    out.push(byte);
                    rest = tail.get(2..).unwrap_or_default();
                }
                None => out.push(b'='),
            },
            other => out.push(other),
        }
    }
    out
}

fn floor_boundary(text: &str, most: usize) -> usize {
    (0..=text.len().min(most)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_header() {
        let header = b"From x\nA: 1\r\nB : 2\n 3\r\n\t4\nbroken\nC:\n\nD: body\n";
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
    fn encoded_words_of_rfc_2047_and_of_the_wild() {
        for (raw, expected) in [
            ("=?ISO-8859-1?Q?a?=", "a"),
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=  \r\n  =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a_b?=", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
            ("=?US-ASCII?Q?Keith_Moore?= <x@y>", "Keith Moore <x@y>"),
            ("=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=", "If you can read this yo"),
            ("=?utf-8?b?R3LDvMOf?= =?UTF-8?B?ZQ==?=", "Grüße"),
            ("=?utf-8?q?cut_=C3?= =?utf-8?q?=BC_here?=", "cut ü here"),
            ("=?utf-8*de?q?=C3=BC?=", "ü"),
            ("=?windows-1252?q?=80?=", "€"),
            ("plain =?broken", "plain =?broken"),
            ("=?utf-8?x?y?=", "=?utf-8?x?y?="),
            ("=?utf-8?q?new=0D=0Aline?=", "newline"),
            ("=?utf-8?q?=zz=?=", "=zz="),
            ("=?utf-8?q?unknown?= =?nonsense-charset?q?=E4?=", "unknownä"),
            ("Re: =?utf-8?q?=C3=BC?= x", "Re: ü x"),
        ] {
            assert_eq!(decode(raw.as_bytes()), expected, "{raw}");
        }
        assert_eq!(decode(b" caf\xe9 \x80 "), "café €");
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

    thread_local! {
        /// The bytes that searches looked at.
        pub(super) static SEARCHED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    #[test]
    fn hostile_values_take_linear_time() {
        for piece in [
            "=?utf-8?q?",
            "=?utf-8?q?x",
            "=?a?z?x",
            "=?",
            "?",
            "=?utf-8?b?AAAA?=",
            "<",
            "<x",
            "(",
            "=?utf-8?q?=?= ",
            "=?x",
        ] {
            for end in ["", "?=", ">"] {
                let value = piece.repeat((MAX_DECODED_BYTES - 8) / piece.len()) + end;
                SEARCHED.set(0);
                let _ = (decode(value.as_bytes()), mailboxes(value.as_bytes()), identifiers(value.as_bytes()));
                assert!(SEARCHED.get() <= 8 * value.len(), "{piece} … {end}: {} bytes searched", SEARCHED.get());
            }
        }
    }
}
