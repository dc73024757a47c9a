//! `xtext` (RFC 3461, section 4): the wire encoding of parameter values.

use std::fmt::Write as _;

use crate::hex;

/// Encodes: everything outside `!`..`~`, `+` and `=` becomes `+XX`.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'+' && byte != b'=' => encoded.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(encoded, "+{byte:02X}");
            }
        }
    }
    encoded
}

/// Decodes. `None` for malformed text, and for encoded control characters or bytes that are not UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => {
                let pair = [bytes.next()?, bytes.next()?];
                hex::byte(&pair).filter(|_| !pair.iter().any(u8::is_ascii_lowercase))?
            }
            b'=' => return None,
            _ => byte,
        });
    }
    let plain = String::from_utf8(plain).ok()?;
    (!plain.chars().any(char::is_control)).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_table() {
        for (plain, wire) in [("", ""), ("a+b=c", "a+2Bb+3Dc"), ("a b", "a+20b"), ("\u{fc}", "+C3+BC")] {
            assert_eq!(encode(plain), wire);
            assert_eq!(decode(wire).as_deref(), Some(plain));
        }
        for bad in ["+", "+4", "+4g", "+4b", "a=b", "+0D", "+FF"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
