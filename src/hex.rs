//! Hexadecimal digits (RFC 4648, section 8).

const LOWER: &[u8; 16] = b"0123456789abcdef";
const UPPER: &[u8; 16] = b"0123456789ABCDEF";

/// Two lower-case digits per byte.
pub fn lower(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    push(bytes, LOWER, &mut text);
    text
}

/// Appends two lower-case digits per byte.
pub fn push_lower(bytes: &[u8], out: &mut String) {
    push(bytes, LOWER, out);
}

/// Appends two upper-case digits per byte.
pub fn push_upper(bytes: &[u8], out: &mut String) {
    push(bytes, UPPER, out);
}

fn push(bytes: &[u8], digits: &[u8; 16], out: &mut String) {
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.push(digits.get(usize::from(nibble)).map_or('0', |digit| char::from(*digit)));
        }
    }
}

/// The value of the first two characters as one byte, if both are digits (of either case).
pub fn byte(text: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    match text {
        [high, low, ..] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    }
}

/// The bytes of pairs of digits (of either case); `None` for any other text.
pub fn parse(text: &[u8]) -> Option<Vec<u8>> {
    text.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions() {
        let all: Vec<u8> = (0..=255).collect();
        let mut upper = String::new();
        push_upper(&all, &mut upper);
        assert_eq!(lower(&all), upper.to_ascii_lowercase());
        assert_eq!((lower(&[0, 0x9a, 0xff]).as_str(), upper.get(..6)), ("009aff", Some("000102")));
        assert_eq!(parse(upper.as_bytes()), Some(all.clone()));
        assert_eq!(parse(lower(&all).as_bytes()), Some(all));
        for bad in ["0", "0g", "g0", "001", "+1", " 1", "é"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
