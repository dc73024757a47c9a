//! Escaping for output: each record stays on one line, and bytes of a peer never control a terminal, even through a pipe.

use std::io::{self, Write};

use serde_json::ser::Formatter;

use crate::steering::steers;

/// The extent of escaping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// For pipes and files: escapes the backslash, control characters, and characters that reorder or hide text. Bytes that are
    /// not UTF-8 stay unchanged: file names need not be UTF-8, and scripts pass them on.
    Pipe,
    /// For terminals and stderr: also escapes bytes that are not UTF-8.
    Terminal,
    /// Escapes nothing: exact bytes (`-0`).
    Exact,
}

/// Appends `bytes` to `line`, escaped.
pub fn push(line: &mut Vec<u8>, bytes: &[u8], how: Escape) {
    if how == Escape::Exact {
        line.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => line.extend_from_slice(b"\\\\"),
                '\n' => line.extend_from_slice(b"\\n"),
                '\r' => line.extend_from_slice(b"\\r"),
                '\t' => line.extend_from_slice(b"\\t"),
                '\0' => line.extend_from_slice(b"\\0"),
                _ if character.is_ascii_control() => {
                    line.extend_from_slice(format!("\\x{:02x}", character as u32).as_bytes());
                }
                _ if steers(character) => {
                    line.extend_from_slice(format!("\\u{{{:x}}}", character as u32).as_bytes());
                }
                _ => line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        match how {
            Escape::Pipe => line.extend_from_slice(chunk.invalid()),
            _ => chunk.invalid().iter().for_each(|byte| line.extend_from_slice(format!("\\x{byte:02x}").as_bytes())),
        }
    }
}

/// `text` made safe for a terminal and for stderr.
pub fn terminal(text: impl AsRef<[u8]>) -> String {
    let mut line = Vec::new();
    push(&mut line, text.as_ref(), Escape::Terminal);
    String::from_utf8_lossy(&line).into_owned()
}

/// Compact JSON with a `\u` escape for every character that controls a terminal. A JSON parser restores the same text.
pub struct SafeJson;

impl Formatter for SafeJson {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut from = 0;
        for (at, character) in fragment.char_indices().filter(|(_, character)| steers(*character)) {
            writer.write_all(fragment.get(from..at).unwrap_or_default().as_bytes())?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            from = at + character.len_utf8();
        }
        writer.write_all(fragment.get(from..).unwrap_or_default().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize as _;

    use super::*;

    #[test]
    fn three_strengths() {
        let input = b"a\tb\\c\x1b[31m\x00\xff\r\n\xc2\x9b\xe2\x80\xaex\x7f\x9b";
        let with = |how| {
            let mut line = Vec::new();
            push(&mut line, input, how);
            line
        };
        assert_eq!(with(Escape::Exact), input);
        assert_eq!(with(Escape::Pipe), b"a\\tb\\\\c\\x1b[31m\\0\xff\\r\\n\\u{9b}\\u{202e}x\\x7f\x9b");
        assert_eq!(with(Escape::Terminal), b"a\\tb\\\\c\\x1b[31m\\0\\xff\\r\\n\\u{9b}\\u{202e}x\\x7f\\x9b");
        assert_eq!(terminal("h\u{e9}\u{2066}\u{200d}"), "h\u{e9}\\u{2066}\u{200d}");
    }

    #[test]
    fn json_steers_nothing_and_reads_back_the_same() {
        let all: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        let mut bytes = Vec::new();
        all.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, SafeJson)).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text.chars().any(steers));
        assert!(serde_json::from_str::<String>(&text).unwrap() == all);
        let mut bytes = Vec::new();
        "ü\u{9b}\u{202e}\u{7f}\u{e0041}"
            .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, SafeJson))
            .unwrap();
        assert_eq!(bytes, "\"ü\\u009b\\u202e\\u007f\\udb40\\udc41\"".as_bytes());
    }
}
