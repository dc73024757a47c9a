//! Reverses transfer encodings as found in practice: returns the decodable bytes, and whether there was any damage.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The minimum length in bytes at which a line with foreign bytes counts as damaged base64 rather than text …
const MIN_SUFFERED_BYTES: usize = 20;
/// … if at most one byte in this many is foreign.
const SUFFERED_SHARE: usize = 10;

/// The bytes of a decoded content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The bytes that could be decoded.
    pub bytes: Vec<u8>,
    /// The content violates its encoding, so that bytes may be missing or wrong.
    pub damaged: bool,
}

/// Base64 digits that are being converted to bytes.
#[derive(Default)]
struct Base64Run {
    out: Vec<u8>,
    bits: u32,
    count: u32,
    /// The last character was padding.
    padded: bool,
    /// Digits came after padding, or one digit was left over.
    irregular: bool,
}

impl Base64Run {
    /// Takes digits and padding; skips any other byte and returns false for it.
    fn push(&mut self, byte: u8) -> bool {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                // Padding ends a run; what follows begins anew.
                self.end();
                self.padded = true;
                return true;
            }
            _ => return false,
        };
        self.irregular |= std::mem::take(&mut self.padded);
        self.bits = self.bits << 6 | u32::from(value);
        self.count += 6;
        if self.count >= 8 {
            self.count -= 8;
            self.out.push((self.bits >> self.count & 0xff) as u8);
        }
        true
    }

    /// Takes a fully valid line at the start of a group; false for any other line.
    fn push_line(&mut self, line: &[u8]) -> bool {
        let before = self.out.len();
        if self.count != 0 || self.padded || STANDARD.decode_vec(line, &mut self.out).is_err() {
            self.out.truncate(before);
            return false;
        }
        self.padded = line.ends_with(b"=");
        true
    }

    fn end(&mut self) {
        // Six bits of a byte were there: the rest of it is lost.
        self.irregular |= self.count == 6;
        (self.bits, self.count) = (0, 0);
    }
}

/// Decodes base64 text leniently: line ends and foreign bytes are skipped, padding may be missing, and bits at the end
/// that do not fill a byte are dropped (RFC 2045, section 6.8).
pub fn decode_base64(text: &[u8]) -> Vec<u8> {
    let mut run = Base64Run { out: Vec::with_capacity(text.len() / 4 * 3 + 3), ..Base64Run::default() };
    for &byte in text {
        run.push(byte);
    }
    run.out
}

/// Decodes a base64 part. Lines that are not base64, such as a mailing list's footer, are left out. A content without
/// any base64 line was never encoded, and is returned unchanged.
pub fn base64_content(text: &[u8]) -> Decoded {
    let mut run = Base64Run { out: Vec::with_capacity(text.len() / 4 * 3 + 3), ..Base64Run::default() };
    let mut lines = Base64Lines::default();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() || lines.foreign_seen == 0 && run.push_line(line) {
            lines.note(line);
            continue;
        }
        if !lines.is_base64(line, run.padded) {
            lines.foreign_seen += 1;
            lines.after_base64 = false;
            if run.padded {
                break;
            }
            continue;
        }
        lines.note(line);
        for &byte in line {
            run.irregular |= !run.push(byte) && !byte.is_ascii_whitespace();
        }
    }
    run.end();
    if run.out.is_empty() && lines.foreign_seen > 0 {
        return Decoded { bytes: text.to_vec(), damaged: true };
    }
    Decoded { bytes: run.out, damaged: run.irregular || lines.foreign_seen > 0 }
}

/// Decides which lines of a content are base64.
#[derive(Default)]
struct Base64Lines {
    /// The length of the first line, and whether it contained blanks.
    first: Option<(usize, bool)>,
    /// The number of lines that were not base64.
    foreign_seen: usize,
    /// The previous line was base64.
    after_base64: bool,
}

impl Base64Lines {
    fn note(&mut self, line: &[u8]) {
        if !line.is_empty() {
            self.first.get_or_insert_with(|| (line.len(), has_blanks(line)));
            self.after_base64 = true;
        }
    }

    fn is_base64(&self, line: &[u8], padded: bool) -> bool {
        let digit = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        let (digits, blanks) = (line.iter().filter(digit).count(), has_blanks(line));
        let foreign = line.iter().filter(|byte| !byte.is_ascii_whitespace()).count() - digits;
        if foreign > 0 {
            let suffered = line.len() >= MIN_SUFFERED_BYTES && (line.len() - digits) * SUFFERED_SHARE <= line.len();
            return !padded && (suffered || self.after_base64 && is_marked_group(line));
        }
        let Some((width, first_blanks)) = self.first else { return true };
        let groups = !blanks && line.len().is_multiple_of(4);
        if padded {
            // One encoded content behind the other; words of a footer have other lengths.
            return groups && (line.len() == width && width >= MIN_SUFFERED_BYTES || line.ends_with(b"="));
        }
        if self.foreign_seen > 0 {
            let long = line.len() == width || groups && self.after_base64 && line.len() < width;
            return !blanks && width >= MIN_SUFFERED_BYTES && long;
        }
        !blanks || first_blanks
    }
}

/// True for whole groups of digits after quote marks or with NULs around them: the short last line of a content.
fn is_marked_group(mut line: &[u8]) -> bool {
    while let [b'>' | b' ' | 0, rest @ ..] | [rest @ .., 0] = line {
        line = rest;
    }
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    !line.is_empty() && line.len().is_multiple_of(4) && line.iter().all(digit)
}

fn has_blanks(line: &[u8]) -> bool {
    line.iter().any(u8::is_ascii_whitespace)
}

/// Decodes quoted-printable text (RFC 2045, section 6.7). White space at line ends was added in transit and is removed;
/// an `=` without two hexadecimal digits after it stands for itself. Line ends stay unchanged.
pub fn decode_quoted_printable(text: &[u8]) -> Vec<u8> {
    quoted_printable_content(text).bytes
}

/// Decodes a quoted-printable part like [`decode_quoted_printable`], and reports damage.
pub fn quoted_printable_content(text: &[u8]) -> Decoded {
    let mut out = Vec::with_capacity(text.len());
    let mut damaged = false;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let (content, end) = match line {
            [content @ .., b'\r', b'\n'] => (content, &b"\r\n"[..]),
            [content @ .., b'\n'] => (content, &b"\n"[..]),
            content => (content, &b""[..]),
        };
        let content = content.trim_ascii_end();
        let (mut rest, soft) = match content.strip_suffix(b"=") {
            Some(content) => (content, true),
            None => (content, false),
        };
        while let Some(at) = memchr::memchr(b'=', rest) {
            out.extend_from_slice(rest.get(..at).unwrap_or_default());
            rest = rest.get(at + 1..).unwrap_or_default();
            match crate::hex::byte(rest) {
                Some(byte) => {
                    out.push(byte);
                    rest = rest.get(2..).unwrap_or_default();
                }
                None => {
                    out.push(b'=');
                    damaged = true;
                }
            }
        }
        out.extend_from_slice(rest);
        if !soft {
            out.extend_from_slice(end);
        }
    }
    Decoded { bytes: out, damaged }
}
