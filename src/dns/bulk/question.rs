//! Parses input lines into questions in wire form, without allocation for plain ASCII names.

use super::MAX_QUESTION;
use crate::dns::name::Name;
use crate::dns::record::{Class, Rtype};
use crate::dns::wire::walk::{MAX_LABEL_BYTES, MAX_NAME_BYTES};

/// The maximum length of a line with a question: a name whose every byte is escaped, and its types.
pub const MAX_LINE: usize = 4096;

/// One question in wire form: name, type, class.
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
    /// The wire form.
    pub fn as_wire(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Replaces the type and the class after the name.
    pub fn set_type(&mut self, name: usize, rtype: Rtype, class: u16) {
        let [a, b] = rtype.0.to_be_bytes();
        let [c, d] = class.to_be_bytes();
        if let Some(place) = self.bytes.get_mut(name..name + 4) {
            place.copy_from_slice(&[a, b, c, d]);
            self.length = name + 4;
        }
    }

    /// Sets a name in wire form; returns its length.
    pub fn set_wire(&mut self, name: &[u8]) -> usize {
        if let Some(place) = self.bytes.get_mut(..name.len()) {
            place.copy_from_slice(name);
        }
        name.len()
    }

    /// Parses a name in presentation format (see [`crate::dns::name::Name::parse`]); returns the length of its wire form.
    ///
    /// # Errors
    /// The reason why the text is not a valid name.
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

/// The defaults for lines that do not name type or class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineDefaults {
    /// The types; empty: A, and PTR for addresses after `-x`.
    pub types: Vec<Rtype>,
    /// The class.
    pub class: Class,
}

/// The content of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum ParsedLine<'a> {
    /// The line is empty or a comment.
    Nothing,
    /// The length of the name in wire form, and its class; and the name as the line writes it, unless that is the
    /// name's text in lower case without the final dot.
    Name(usize, Class, Option<&'a [u8]>),
    /// The invalid word, and the reason.
    Bad(&'a [u8], &'static str),
}

/// Parses a line in the style of dig's files: `NAME [TYPE|CLASS]...`, with `-x ADDRESS`, `-t TYPE`, `-c CLASS`, `-q
/// NAME`, and dig's display options, which have no effect here. `#` and `;` begin a comment. An address with type PTR
/// stands for its reverse name. `types` receives the types to ask for.
pub fn parse<'a>(
    line: &'a [u8],
    defaults: &LineDefaults,
    question: &mut WireQuestion,
    types: &mut Vec<Rtype>,
) -> ParsedLine<'a> {
    types.clear();
    if line.len() > MAX_LINE {
        return ParsedLine::Bad(line, "line too long");
    }
    let bad = |types: &mut Vec<Rtype>, word, why| {
        types.clear();
        ParsedLine::Bad(word, why)
    };
    let (mut name, mut reverse, mut class) = (None, false, defaults.class);
    let mut words = LineWords(line.trim_ascii());
    while let Some(word) = words.next() {
        // Names hold these letters where dig has options: what stands before the name is one if it is known.
        match (word, name) {
            ([b'#' | b';', ..], _) => break,
            ([b'@', ..], _) => return bad(types, word, "servers are named on the command line"),
            ([b'+', option @ ..], _) => {
                if !is_display_option(option) {
                    return bad(types, word, "this option is not for one line");
                }
            }
            (b"-x" | b"-q" | b"-t" | b"-c", _) => {
                let Some(value) = words.next() else { return bad(types, word, "a value is missing") };
                match (word, mnemonic(value)) {
                    (b"-t", Some(TypeOrClass::Type(rtype))) => types.push(rtype),
                    (b"-t", _) => return bad(types, value, "unknown type"),
                    (b"-c", _) => match text(value).and_then(Class::parse) {
                        Some(asked) => class = asked,
                        None => return bad(types, value, "unknown class"),
                    },
                    _ if name.is_some() => return bad(types, value, "a second name"),
                    _ => (name, reverse) = (Some(value), word == b"-x"),
                }
            }
            (_, None) => name = Some(word),
            (_, Some(_)) => match mnemonic(word) {
                Some(TypeOrClass::Type(rtype)) => types.push(rtype),
                Some(TypeOrClass::Class(asked)) => class = asked,
                None => return bad(types, word, "neither a type nor a class"),
            },
        }
    }
    let Some(name) = name else {
        return if types.is_empty() && class == defaults.class {
            ParsedLine::Nothing
        } else {
            bad(types, line, "no name")
        };
    };
    if types.is_empty() {
        types.extend_from_slice(&defaults.types);
    }
    if types.is_empty() {
        types.push(if reverse { Rtype::PTR } else { Rtype::A });
    }
    if reverse || types.contains(&Rtype::PTR) {
        match text(name).and_then(|text| text.parse().ok()) {
            Some(address) => {
                let length = question.set_wire(Name::reverse(address).as_wire());
                return ParsedLine::Name(length, class, Some(name));
            }
            None if reverse => return bad(types, name, "not an IP address"),
            None => {}
        }
    }
    let length = question.set_name(name).or_else(|why| {
        // Names beyond ASCII are rare: they may cost an allocation.
        let ascii = if name.is_ascii() { None } else { to_ascii(name) };
        question.set_name(ascii.ok_or(why)?.as_bytes())
    });
    match length {
        Ok(length) => ParsedLine::Name(length, class, Some(name).filter(|name| !is_plain(name))),
        Err(why) => bad(types, name, why),
    }
}

/// The words of a line; a blank after a backslash is part of a word.
struct LineWords<'a>(&'a [u8]);

impl<'a> Iterator for LineWords<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0.trim_ascii_start();
        let mut escaped = false;
        let end = rest.iter().position(|byte| {
            let blank = !escaped && matches!(byte, b' ' | b'\t');
            escaped = !escaped && *byte == b'\\';
            blank
        });
        let (word, rest) = rest.split_at(end.unwrap_or(rest.len()));
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

enum TypeOrClass {
    Type(Rtype),
    Class(Class),
}

/// True for a name in lower case that needs no escapes and has no final dot.
fn is_plain(name: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    name.iter().all(plain) && !name.ends_with(b".")
}

/// A type or a class; ANY is a type, as in dig.
fn mnemonic(word: &[u8]) -> Option<TypeOrClass> {
    let word = text(word)?;
    Rtype::parse(word).map(TypeOrClass::Type).or_else(|| Class::parse(word).map(TypeOrClass::Class))
}

fn text(word: &[u8]) -> Option<&str> {
    std::str::from_utf8(word).ok()
}

/// True for dig options that change only dig's output.
fn is_display_option(option: &[u8]) -> bool {
    const NAMES: &[&str] = &[
        "short",
        "all",
        "answer",
        "authority",
        "additional",
        "question",
        "comments",
        "cmd",
        "stats",
        "multiline",
        "rrcomments",
        "ttlid",
        "ttlunits",
        "class",
        "crypto",
        "split",
        "identify",
        "qr",
    ];
    text(option).is_some_and(|option| NAMES.contains(&option.strip_prefix("no").unwrap_or(option)))
}

/// Converts a name with non-ASCII letters to A-labels (RFC 5891); `None` if it is not UTF-8 or not allowed.
pub fn to_ascii(name: &[u8]) -> Option<String> {
    idna::domain_to_ascii(std::str::from_utf8(name).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let none = LineDefaults { types: Vec::new(), class: Class::IN };
        let mx = LineDefaults { types: vec![Rtype::MX], ..none.clone() };
        let read = |line: &[u8], defaults: &LineDefaults| {
            let (mut question, mut types) = (WireQuestion::default(), Vec::new());
            match parse(line, defaults, &mut question, &mut types) {
                ParsedLine::Nothing => String::new(),
                ParsedLine::Bad(word, why) => {
                    assert!(types.is_empty());
                    format!("{why}: {}", word.escape_ascii())
                }
                ParsedLine::Name(length, class, _) => {
                    question.set_type(length, Rtype::A, class.0);
                    let (name, _) = Name::read(question.as_wire(), 0, question.as_wire().len(), false).unwrap();
                    let types: Vec<String> = types.iter().map(ToString::to_string).collect();
                    format!("{name} {class} {}", types.join(" "))
                }
            }
        };
        for (line, expected) in [
            ("a.test", "a.test. IN A"),
            ("a.test\r", "a.test. IN A"),
            ("  a.test \t MX  txt ", "a.test. IN MX TXT"),
            ("a\\ b.test AAAA", "a\\032b.test. IN AAAA"),
            ("a.test IN MX", "a.test. IN MX"),
            ("version.bind CH TXT", "version.bind. CH TXT"),
            ("version.bind TXT CH", "version.bind. CH TXT"),
            ("a.test any TYPE65280 CLASS9", "a.test. CLASS9 ANY TYPE65280"),
            ("-t MX -c CH a.test", "a.test. CH MX"),
            ("-q -t TXT", "-t. IN TXT"),
            ("-q mx -t TXT", "mx. IN TXT"),
            ("a.test MX +short", "a.test. IN MX"),
            ("+noall +answer a.test", "a.test. IN A"),
            ("a.test +dnssec", "this option is not for one line: +dnssec"),
            ("a.test @192.0.2.1", "servers are named on the command line: @192.0.2.1"),
            ("-x 192.0.2.1", "1.2.0.192.in-addr.arpa. IN PTR"),
            ("-x 192.0.2.1 TXT +short", "1.2.0.192.in-addr.arpa. IN TXT"),
            ("-x 192.0.2", "not an IP address: 192.0.2"),
            ("-x", "a value is missing: -x"),
            ("192.0.2.1 PTR", "1.2.0.192.in-addr.arpa. IN PTR"),
            ("192.0.2.1 IN PTR", "1.2.0.192.in-addr.arpa. IN PTR"),
            ("192.0.2.1", "192.0.2.1. IN A"),
            ("2001:db8::1 ptr", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. IN PTR"),
            ("a.test PTR", "a.test. IN PTR"),
            ("bücher.test", "xn--bcher-kva.test. IN A"),
            ("# a comment", ""),
            ("; another", ""),
            ("a.test MX # a comment", "a.test. IN MX"),
            ("a.test ;MX", "a.test. IN A"),
            ("\\#x.test", "#x.test. IN A"),
            ("", ""),
            (" \t\r", ""),
            ("a..b MX", "empty label in name: a..b"),
            ("a NOSUCH MX", "neither a type nor a class: NOSUCH"),
            ("-t NOSUCH a", "unknown type: NOSUCH"),
            ("-c IN -c NOSUCH a", "unknown class: NOSUCH"),
            ("a -q b", "a second name: b"),
            ("-t MX", "no name: -t MX"),
            ("-odd.test", "-odd.test. IN A"),
        ] {
            assert_eq!(read(line.as_bytes(), &none), expected, "{line:?}");
        }
        assert_eq!(read(b"a.test", &mx), "a.test. IN MX");
        assert_eq!(read(b"a.test TXT", &mx), "a.test. IN TXT");
        assert_eq!(read(b"-x 192.0.2.1", &mx), "1.2.0.192.in-addr.arpa. IN MX");
        assert!(read(b"a \xff", &none).starts_with("neither"));
        assert!(read(&[b'a'; MAX_LINE + 1], &none).starts_with("line too long"));
    }
}
