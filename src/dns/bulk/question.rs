//! Lines of input into questions in wire form, without allocation for plain ASCII names.

use super::MAX_QUESTION;
use crate::dns::record::Rtype;
use crate::dns::wire::walk::{MAX_LABEL_BYTES, MAX_NAME_BYTES};

/// The longest line that may hold a question: a name whose every byte is escaped, and its types.
pub const MAX_LINE: usize = 4096;

/// One question as it stands in a packet: name, type, class.
#[derive(Debug, Clone)]
pub struct WireQuestion {
    bytes: [u8; MAX_QUESTION],
    length: usize,
}

impl Default for WireQuestion {
    fn default() -> WireQuestion {
        WireQuestion { bytes: [0; MAX_QUESTION], length: 0 }
    }
}

impl WireQuestion {
    /// The bytes.
    pub fn as_wire(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Sets type and class behind the name, in place of those that are there.
    pub fn set_type(&mut self, name: usize, rtype: Rtype, class: u16) {
        let [a, b] = rtype.0.to_be_bytes();
        let [c, d] = class.to_be_bytes();
        if let Some(place) = self.bytes.get_mut(name..name + 4) {
            place.copy_from_slice(&[a, b, c, d]);
            self.length = name + 4;
        }
    }

    /// Parses a name as people write it (see [`crate::dns::name::Name::parse`]); returns the length of its wire form.
    ///
    /// # Errors
    /// Why the text is no name.
    pub fn set_name(&mut self, text: &[u8]) -> Result<usize, &'static str> {
        if text == b"." {
            self.bytes[0] = 0;
            return Ok(1);
        }
        let (mut label, mut at) = (0, 1);
        let mut bytes = text.iter().copied();
        while let Some(mut byte) = bytes.next() {
            if byte == b'.' {
                self.close(label, at)?;
                label = at;
            } else if byte == b'\\' {
                byte = crate::dns::name::unescape(&mut bytes).ok_or("bad escape in name")?;
            } else if !(0x21..0x7f).contains(&byte) {
                return Err(if byte < 0x80 { "control character in name" } else { "name is not UTF-8" });
            }
            // The last place is for the root label.
            *self.bytes.get_mut(at).filter(|_| at < MAX_NAME_BYTES).ok_or("name longer than 255 bytes")? = byte;
            at += 1;
        }
        // A dot at the end leaves its own byte as the place of the root label.
        if label + 1 == at && label > 0 {
            at = label;
        } else {
            self.close(label, at)?;
        }
        *self.bytes.get_mut(at).filter(|_| at < MAX_NAME_BYTES).ok_or("name longer than 255 bytes")? = 0;
        Ok(at + 1)
    }

    /// Writes the length of the label whose bytes end before `at`.
    fn close(&mut self, label: usize, at: usize) -> Result<(), &'static str> {
        match at - label - 1 {
            0 => Err("empty label in name"),
            length if length > MAX_LABEL_BYTES => Err("label longer than 63 bytes"),
            length => {
                if let Some(place) = self.bytes.get_mut(label) {
                    *place = length as u8;
                }
                Ok(())
            }
        }
    }
}

/// The words of one line: a name, and perhaps types that replace those of the command line.
#[derive(Debug, PartialEq, Eq)]
pub struct LineWords<'a> {
    /// The name as written.
    pub name: &'a [u8],
    /// What follows it.
    pub types: &'a [u8],
}

/// Splits a line at its first blank; none for a line without anything. A final CR is part of the line end.
pub fn split(line: &[u8]) -> Option<LineWords<'_>> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return None;
    }
    // A backslash before a blank makes it part of the name.
    let mut escaped = false;
    let end = line.iter().position(|byte| {
        let blank = !escaped && matches!(byte, b' ' | b'\t');
        escaped = !escaped && *byte == b'\\';
        blank
    });
    let (name, types) = line.split_at(end.unwrap_or(line.len()));
    Some(LineWords { name, types: types.trim_ascii() })
}

/// The types that a line names, separated by blanks.
///
/// # Errors
/// A word that is no type.
pub fn types(text: &[u8], types: &mut Vec<Rtype>) -> Result<(), &'static str> {
    types.clear();
    for word in text.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()) {
        let rtype = std::str::from_utf8(word).ok().and_then(Rtype::parse).ok_or("unknown record type")?;
        types.push(rtype);
    }
    Ok(())
}

/// A name with letters beyond ASCII as its A-labels (RFC 5891); none if it is not UTF-8 or not allowed.
pub fn to_ascii(name: &[u8]) -> Option<String> {
    idna::domain_to_ascii(std::str::from_utf8(name).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::name::Name;

    fn wire(text: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut question = WireQuestion::default();
        let length = question.set_name(text)?;
        question.set_type(length, Rtype::A, 1);
        Ok(question.as_wire().to_vec())
    }

    #[test]
    fn names_are_what_the_full_parser_makes_of_them() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        let texts = [
            ".",
            "a",
            "a.",
            "example.com",
            "Example.COM.",
            "a\\.b.c",
            "\\000\\255.x",
            "*._tcp.x.",
            "a\\ b.c",
            "",
            "..",
            ".a",
            "a..b",
            "a.b..",
            "\\",
            "a\\2",
            "a\\256",
            &label,
            &longest,
            &format!("{longest}."),
            &format!("{longest}a"),
            &format!("{label}a"),
            &format!("{label}.{label}.{label}.{label}.{label}"),
            &"a.".repeat(127),
            &"a.".repeat(128),
        ];
        for text in texts {
            let expected = Name::parse(text).ok().map(|name| [name.as_wire(), &[0, 1, 0, 1]].concat());
            assert_eq!(wire(text.as_bytes()).ok(), expected, "{text:?}");
        }
        for bad in [&b"a b"[..], b"a\x00b", b"\x1b[31m", b"caf\xc3\xa9.test", b"\xff"] {
            assert!(wire(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert_eq!(to_ascii("café.test".as_bytes()).as_deref(), Some("xn--caf-dma.test"));
        assert_eq!(to_ascii(b"\xff"), None);
    }

    #[test]
    fn lines() {
        let line = |name: &'static str, types: &'static str| {
            Some(LineWords { name: name.as_bytes(), types: types.as_bytes() })
        };
        for (text, expected) in [
            ("a.test", line("a.test", "")),
            ("a.test\r", line("a.test", "")),
            ("  a.test \t MX  txt ", line("a.test", "MX  txt")),
            ("a\\ b.test A", line("a\\ b.test", "A")),
            ("", None),
            (" \t\r", None),
        ] {
            assert_eq!(split(text.as_bytes()), expected, "{text:?}");
        }
        let mut found = Vec::new();
        assert_eq!(types(b"MX  txt\tTYPE65280", &mut found), Ok(()));
        assert_eq!(found, [Rtype::MX, Rtype::TXT, Rtype(65280)]);
        assert!(types(b"A nosuch", &mut found).is_err());
        assert!(types(b"\xff", &mut found).is_err());
    }
}
