//! Encoded-words (RFC 2047), correct or malformed: decoding of text that contains them.

use super::charset;
use super::transfer::decode_base64;

/// The maximum length of decoded text in bytes; the rest stays unchanged.
pub const MAX_DECODED_BYTES: usize = 1024 * 1024;

/// Decodes a header value to readable text: unfolds it, interprets raw 8-bit bytes once, decodes encoded-words.
pub fn decode_text(value: &[u8]) -> String {
    let text = unfold(value);
    if text.contains("=?") { decode_words(&text) } else { text }
}

/// A header value on one line (RFC 5322, section 2.2.3), without white space at its ends; encoded-words stay encoded.
/// Bytes that are not UTF-8 are decoded by [`charset::decode_unlabelled`].
pub fn unfold(value: &[u8]) -> String {
    let text = decode_piece(None, value);
    let text = if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], "") } else { text };
    text.trim_matches([' ', '\t']).to_owned()
}

/// Decodes a piece of a header value. It is the middle of a text, so that a byte order mark counts as a letter.
pub(super) fn decode_piece(label: Option<&str>, bytes: &[u8]) -> String {
    match (label, str::from_utf8(bytes)) {
        (None, Ok(text)) => text.to_owned(),
        (Some(label), Ok(text)) if label.eq_ignore_ascii_case("utf-8") => text.to_owned(),
        (None, Err(_)) => charset::decode_unlabelled(bytes),
        (Some(label), _) => charset::decode(label, bytes),
    }
}

/// Decodes the encoded-words in a text (RFC 2047, section 6). Adjacent words in one charset are joined before their
/// bytes are decoded: many mailers split inside a character.
pub fn decode_words(text: &str) -> String {
    let (text, tail) = text.split_at(floor_boundary(text, MAX_DECODED_BYTES));
    let mut out = String::with_capacity(text.len());
    let mut pending = PendingWords::default();
    let mut rest = text;
    // After the last `?=`, no search for the end of a word starts: each would run to the end of the text.
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
            let text = decode_piece(Some(self.charset), &bytes);
            // A line end that was encoded is no line end here, and nothing can be done with a NUL.
            out.extend(text.chars().filter(|letter| !matches!(letter, '\r' | '\n' | '\0')));
        }
    }
}

/// Parses `=?charset?encoding?text?=` into charset, decoded bytes, and the rest after it.
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
        "B" | "b" => decode_base64(payload.as_bytes()),
        _ => q_bytes(payload.as_bytes()),
    };
    Some((charset, bytes, after))
}

/// [`str::split_once`], with a count of the examined bytes for tests.
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
            assert_eq!(decode_text(raw.as_bytes()), expected, "{raw}");
        }
        assert_eq!(decode_text(b" caf\xe9 \x80 "), "café €");
    }

    thread_local! {
        /// The number of bytes examined by searches.
        pub(super) static SEARCHED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    #[test]
    fn hostile_values_take_linear_time() {
        for piece in ["=?utf-8?q?", "=?utf-8?q?x", "=?a?z?x", "=?", "?", "=?utf-8?b?AAAA?=", "=?utf-8?q?=?= ", "=?x"] {
            for end in ["", "?=", ">"] {
                let value = piece.repeat((MAX_DECODED_BYTES - 8) / piece.len()) + end;
                SEARCHED.set(0);
                let _ = decode_text(value.as_bytes());
                assert!(SEARCHED.get() <= 8 * value.len(), "{piece} … {end}: {} bytes searched", SEARCHED.get());
            }
        }
    }
}
