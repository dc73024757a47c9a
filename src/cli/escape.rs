//! Escaping for text output: one record stays one line, and a peer's bytes never steer a terminal.

/// How much has to be escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// For pipes and files: only what would break records apart (CR, LF, TAB, NUL) and the backslash itself.
    Fields,
    /// For terminals and stderr: every control character and every bidirectional override as well.
    Terminal,
    /// Nothing: exact bytes (`-0`).
    Exact,
}

/// Appends `bytes` to `line`, escaped.
pub fn push(line: &mut Vec<u8>, bytes: &[u8], how: Escape) {
    match how {
        Escape::Exact => line.extend_from_slice(bytes),
        Escape::Fields => push_fields(line, bytes),
        Escape::Terminal => push_terminal(line, bytes),
    }
}

/// `text` made safe for a terminal and for stderr.
pub fn terminal(text: impl AsRef<[u8]>) -> String {
    let mut line = Vec::new();
    push_terminal(&mut line, text.as_ref());
    String::from_utf8_lossy(&line).into_owned()
}

/// The escapes that every text output has; true if `byte` was one of them.
fn push_basic(line: &mut Vec<u8>, byte: u8) -> bool {
    let escaped: &[u8] = match byte {
        b'\\' => b"\\\\",
        b'\n' => b"\\n",
        b'\r' => b"\\r",
        b'\t' => b"\\t",
        0 => b"\\0",
        _ => return false,
    };
    line.extend_from_slice(escaped);
    true
}

fn push_fields(line: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        if !push_basic(line, *byte) {
            line.push(*byte);
        }
    }
}

fn push_terminal(line: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_ascii() && push_basic(line, character as u8) {
                continue;
            }
            if character.is_ascii_control() {
                line.extend_from_slice(format!("\\x{:02x}", character as u32).as_bytes());
            } else if character.is_control() || is_bidi_control(character) {
                line.extend_from_slice(format!("\\u{{{:x}}}", character as u32).as_bytes());
            } else {
                line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        for byte in chunk.invalid() {
            line.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
}

/// Characters that reorder or hide what a person sees (Unicode 6.3 bidi controls, zero-width characters, separators).
fn is_bidi_control(character: char) -> bool {
    matches!(character, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_strengths() {
        let input = b"a\tb\\c\x1b[31m\x00\xff\r\n\xc2\x9b\xe2\x80\xaex";
        let with = |how| {
            let mut line = Vec::new();
            push(&mut line, input, how);
            line
        };
        assert_eq!(with(Escape::Exact), input);
        assert_eq!(with(Escape::Fields), b"a\\tb\\\\c\x1b[31m\\0\xff\\r\\n\xc2\x9b\xe2\x80\xaex");
        assert_eq!(with(Escape::Terminal), b"a\\tb\\\\c\\x1b[31m\\0\\xff\\r\\n\\u{9b}\\u{202e}x");
        assert_eq!(terminal("h\u{e9}\u{2066}"), "h\u{e9}\\u{2066}");
    }
}
