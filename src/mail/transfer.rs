//! Content transfer encodings (RFC 2045, section 6): the choice for a text, quoted-printable, base64 in lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

mod decode;

pub use decode::{Decoded, base64_content, decode_base64, decode_quoted_printable, quoted_printable_content};

/// The maximum length of a line in a message, without its line end (RFC 5322, section 2.1.1).
pub const MAX_LINE_BYTES: usize = 998;
/// The maximum length of a quoted-printable line, without its line end (RFC 2045, section 6.7).
pub const QP_LINE_BYTES: usize = 76;
/// Input bytes per base64 line of 76 characters (RFC 2045, section 6.8).
pub const BASE64_LINE_INPUT: usize = 57;
/// Output bytes per whole base64 line, line end included.
pub const BASE64_LINE_OUTPUT: usize = 78;

/// The transfer encoding of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// ASCII lines of at most 998 bytes, unencoded.
    SevenBit,
    /// For text that stays mostly readable.
    QuotedPrintable,
    /// For everything else.
    Base64,
}

impl Encoding {
    /// The value of Content-Transfer-Encoding.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::SevenBit => "7bit",
            Encoding::QuotedPrintable => "quoted-printable",
            Encoding::Base64 => "base64",
        }
    }

    /// The encoding for a text with canonical line ends: 7bit if possible, else the shorter of the other two.
    pub fn of_text(text: &[u8]) -> Encoding {
        let plain = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
        let mut fits = true;
        let mut escaped = 0usize;
        for line in lines(text) {
            fits &= line.len() <= MAX_LINE_BYTES && line.iter().all(|byte| plain(*byte));
            escaped += line.iter().filter(|byte| !plain(**byte) || **byte == b'=').count();
        }
        if fits {
            Encoding::SevenBit
        } else if text.len() + 2 * escaped <= base64_size(text.len() as u64) as usize {
            Encoding::QuotedPrintable
        } else {
            Encoding::Base64
        }
    }

    /// Encodes a text with canonical line ends in this encoding.
    pub fn encode_text(self, text: &[u8]) -> Vec<u8> {
        match self {
            Encoding::SevenBit => text.to_vec(),
            Encoding::QuotedPrintable => quoted_printable(text),
            Encoding::Base64 => {
                let mut out = vec![0; base64_size(text.len() as u64) as usize];
                let written = base64_lines(text, &mut out);
                out.truncate(written);
                out
            }
        }
    }
}

/// Converts line ends of any kind to CRLF; a text that is not empty ends with one. A CR without a following LF is a
/// character of the text and stays.
pub fn canonical_text(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 32 + 2);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let ended = line.strip_suffix(b"\n").map(|text| text.strip_suffix(b"\r").unwrap_or(text));
        out.extend_from_slice(ended.unwrap_or(line));
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Encodes a text with canonical line ends as quoted-printable (RFC 2045, section 6.7). Lines that begin with `From `
/// or consist of a dot are escaped too: mbox files and old gateways change them.
pub fn quoted_printable(text: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len() + text.len() / 4);
    let mut rest = text;
    while !rest.is_empty() {
        let (line, end) = match memchr::memmem::find(rest, b"\r\n") {
            Some(at) => (rest.get(..at).unwrap_or_default(), true),
            None => (rest, false),
        };
        rest = rest.get(line.len() + if end { 2 } else { 0 }..).unwrap_or_default();
        let mut column = 0;
        for (index, &byte) in line.iter().enumerate() {
            let last = index + 1 == line.len();
            let first_trap = index == 0 && (line.starts_with(b"From ") || line == b".");
            let literal = match byte {
                b'=' => false,
                b' ' | b'\t' => !last,
                b'!'..=b'~' => !first_trap,
                _ => false,
            };
            let width = if literal { 1 } else { 3 };
            // Room for the soft line break's "=", unless this is what ends the line.
            let limit = if last && end { QP_LINE_BYTES } else { QP_LINE_BYTES - 1 };
            if column + width > limit {
                out.extend_from_slice(b"=\r\n");
                column = 0;
            }
            if literal {
                out.push(byte);
            } else {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.extend_from_slice(&[b'=', digit(byte >> 4), digit(byte & 15)]);
            }
            column += width;
        }
        if end {
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

/// The size of `size_bytes` bytes in base64, in lines of 76 characters, each with CRLF.
pub fn base64_size(size_bytes: u64) -> u64 {
    let whole = size_bytes / BASE64_LINE_INPUT as u64;
    let rest = size_bytes % BASE64_LINE_INPUT as u64;
    whole * BASE64_LINE_OUTPUT as u64 + if rest == 0 { 0 } else { rest.div_ceil(3) * 4 + 2 }
}

/// Encodes `input` as base64 lines into `out`, which must have [`base64_size`] bytes; returns the number of bytes written.
/// The output of pieces can be joined if every piece but the last is a multiple of [`BASE64_LINE_INPUT`] bytes.
pub fn base64_lines(input: &[u8], out: &mut [u8]) -> usize {
    let mut written = 0;
    for line in input.chunks(BASE64_LINE_INPUT) {
        let Some(room) = out.get_mut(written..) else { break };
        let Ok(count) = STANDARD.encode_slice(line, room) else { break };
        let Some(end) = room.get_mut(count..count + 2) else { break };
        end.copy_from_slice(b"\r\n");
        written += count + 2;
    }
    written
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quoted_printable_round_trips(lines in prop::collection::vec("[\\x01-\\x09\\x0b\\x0c\\x0e-\\x7fäß€ =.]{0,120}", 0..6), end in any::<bool>()) {
            let mut text = lines.join("\r\n");
            if end { text.push_str("\r\n"); }
            let encoded = quoted_printable(text.as_bytes());
            prop_assert_eq!(decode_quoted_printable(&encoded), text.as_bytes());
            for line in encoded.split(|byte| *byte == b'\n') {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                prop_assert!(line.len() <= QP_LINE_BYTES);
                prop_assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')));
                prop_assert!(!line.ends_with(b" ") && !line.ends_with(b"\t"));
            }
        }

        #[test]
        fn base64_round_trips(data in prop::collection::vec(any::<u8>(), 0..300)) {
            let encoded = Encoding::Base64.encode_text(&data);
            prop_assert_eq!(encoded.len() as u64, base64_size(data.len() as u64));
            let joined: Vec<u8> = encoded.iter().copied().filter(|byte| !b"\r\n".contains(byte)).collect();
            prop_assert_eq!(&STANDARD.decode(joined).unwrap(), &data);
            prop_assert_eq!(decode_base64(&encoded), data);
            prop_assert!(encoded.split(|byte| *byte == b'\n').all(|line| line.len() <= 77));
        }
    }

    #[test]
    fn the_encoding_follows_the_content() {
        let long = |count: usize| format!("{}\r\n", "x".repeat(count)).into_bytes();
        for (text, expected) in [
            (b"".to_vec(), Encoding::SevenBit),
            (b"plain\ttext\r\n".to_vec(), Encoding::SevenBit),
            (long(998), Encoding::SevenBit),
            (long(999), Encoding::QuotedPrintable),
            ("Grüße aus Köln, hier ist alles gut\r\n".into(), Encoding::QuotedPrintable),
            ("Привет, как дела?\r\n".into(), Encoding::Base64),
            (b"a NUL \0 in a long enough text\r\n".to_vec(), Encoding::QuotedPrintable),
            (b"progress 1%\rprogress 2%\r\n".to_vec(), Encoding::QuotedPrintable),
        ] {
            assert_eq!(Encoding::of_text(&text), expected, "{:?}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn examples_of_quoted_printable() {
        for (text, expected) in [
            ("a=b\r\n", "a=3Db\r\n"),
            ("trailing \r\n", "trailing=20\r\n"),
            ("From here\r\n.\r\n", "=46rom here\r\n=2E\r\n"),
            ("no end", "no end"),
            ("ü", "=C3=BC"),
        ] {
            assert_eq!(String::from_utf8(quoted_printable(text.as_bytes())).unwrap(), expected);
        }
        let soft = quoted_printable("x".repeat(77).as_bytes());
        assert_eq!(soft, format!("{}=\r\n{}", "x".repeat(75), "xx").into_bytes());
        assert_eq!(quoted_printable(format!("{}\r\n", "x".repeat(76)).as_bytes()).len(), 78);
    }

    #[test]
    fn decoding_takes_what_is_met() {
        for (text, expected) in
            [("aGk=", "hi"), ("aGk", "hi"), ("a G\r\nk = =", "hi"), ("aGk=aGk=", "hihi"), ("a", ""), ("", "")]
        {
            assert_eq!(decode_base64(text.as_bytes()), expected.as_bytes(), "{text}");
        }
        for (text, expected) in [
            ("a=3Db", "a=b"),
            ("soft=\r\nbreak=  \nx", "softbreakx"),
            ("white  \r\nspace\t\n", "white\r\nspace\n"),
            ("=zz =4", "=zz =4"),
            ("=c3=bc", "ü"),
            ("=", ""),
        ] {
            assert_eq!(decode_quoted_printable(text.as_bytes()), expected.as_bytes(), "{text}");
        }
    }

    /// Contents with irregularities found in real mail: the decoded bytes, and whether damage is reported.
    #[test]
    fn damaged_contents() {
        // 57 bytes make one whole line.
        let line = STANDARD.encode([b'x'; 57]);
        let whole = format!("{line}\r\n{line}\r\naGk=\r\n");
        let bytes = format!("{}hi", "x".repeat(114));
        let spoilt = whole.replacen("eHh4", "e!Hh4", 1);
        let quoted = whole.replacen(&line, &format!("> from the archive\n{line}"), 1);
        for (text, expected, damaged) in [
            (whole.as_str(), bytes.as_str(), false),
            ("", "", false),
            ("aGk", "hi", false),
            ("a G k =", "hi", false),
            ("aGkg\n\naGk=\n", "hi hi", false),
            (" aGk=\n", "hi", false),
            ("aGk=\n\n____\nBob mailing list\nlist@a.test\n", "hi", true),
            ("aGk=\nlist\n", "hi", true),
            ("aGkh\n-- \nlist\nBerlin\nsome more\n", "hi!", true),
            ("aGkh\nThe list\n", "hi!", true),
            ("aGk=aGk=", "hihi", true),
            ("aGk=\naGk=\n", "hihi", true),
            ("aGkhh", "hi!", true),
            (&spoilt, &bytes, true),
            (&quoted, &bytes, true),
            (&whole.replace("\r\n", "\r\n> "), &bytes, true),
            (&whole.replace("\r\n", "\0\r\n"), &bytes, true),
            (&format!("{whole}> list\n"), &bytes, true),
            ("This was never encoded.\nReally.\n", "This was never encoded.\nReally.\n", true),
        ] {
            let found = base64_content(text.as_bytes());
            assert_eq!(
                (String::from_utf8(found.bytes).unwrap().as_str(), found.damaged),
                (expected, damaged),
                "{text:?}"
            );
        }
        for (text, expected, damaged) in [
            ("=C3=BC=\n x \n", "ü x\n", false),
            ("=c3=bc", "ü", false),
            ("soft=", "soft", false),
            ("a=zz", "a=zz", true),
            ("cut =C", "cut =C", true),
            ("50% = half", "50% = half", true),
        ] {
            let found = quoted_printable_content(text.as_bytes());
            assert_eq!(
                (String::from_utf8(found.bytes).unwrap().as_str(), found.damaged),
                (expected, damaged),
                "{text:?}"
            );
        }
    }

    #[test]
    fn line_ends_become_crlf() {
        for (text, expected) in [
            ("", ""),
            ("a", "a\r\n"),
            ("a\nb\r\n\nc\rd", "a\r\nb\r\n\r\nc\rd\r\n"),
            ("\n", "\r\n"),
            ("a\r", "a\r\r\n"),
            ("a\r\r\n", "a\r\r\n"),
            ("\r", "\r\r\n"),
        ] {
            assert_eq!(canonical_text(text.as_bytes()), expected.as_bytes(), "{text:?}");
        }
    }
}
