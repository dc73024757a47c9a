//! Domain names (RFC 1035, section 3.1): absolute, held in wire form, compared without regard to ASCII case.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::wire::Malformed;

/// The longest name in wire form, with its root label (RFC 1035, section 2.3.4).
pub const MAX_NAME_BYTES: usize = 255;
/// The longest label (RFC 1035, section 2.3.4).
pub const MAX_LABEL_BYTES: usize = 63;
/// Compression pointers followed in one name: a name has at most 127 labels, so an honest one needs fewer.
pub const MAX_POINTERS: usize = 127;

/// An absolute domain name in uncompressed wire form. The case it was written in is kept.
#[derive(Clone)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The root, `.`.
    pub fn root() -> Name {
        Name(Box::new([0]))
    }

    /// Parses a name as people write it: labels between dots, `\.` and `\DDD` escapes, taken as absolute with or
    /// without the final dot (RFC 1035, section 5.1; RFC 4343, section 2.1).
    pub fn parse(text: &str) -> Result<Name, NameError> {
        Name::parse_in(text.as_bytes(), Some(&Name::root()))
    }

    /// Parses a name of a zone file: relative ones are completed with `origin`, `@` is the origin itself.
    pub fn parse_in(text: &[u8], origin: Option<&Name>) -> Result<Name, NameError> {
        if text == b"@" {
            return origin.cloned().ok_or(NameError::NoOrigin);
        }
        if text == b"." {
            return Ok(Name::root());
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut label_start = 0;
        wire.push(0);
        let mut bytes = text.iter().copied();
        let mut absolute = false;
        let close = |wire: &mut Vec<u8>, start: usize| -> Result<(), NameError> {
            let length = wire.len() - start - 1;
            if length == 0 {
                return Err(NameError::EmptyLabel);
            }
            let length = u8::try_from(length).ok().filter(|length| usize::from(*length) <= MAX_LABEL_BYTES);
            *wire.get_mut(start).ok_or(NameError::TooLong)? = length.ok_or(NameError::LabelTooLong)?;
            Ok(())
        };
        if text.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        while let Some(byte) = bytes.next() {
            absolute = false;
            match byte {
                b'.' => {
                    close(&mut wire, label_start)?;
                    label_start = wire.len();
                    wire.push(0);
                    absolute = true;
                }
                b'\\' => wire.push(unescape(&mut bytes).ok_or(NameError::BadEscape)?),
                other => wire.push(other),
            }
            if wire.len() > MAX_NAME_BYTES + 1 {
                return Err(NameError::TooLong);
            }
        }
        if !absolute {
            close(&mut wire, label_start)?;
            wire.extend_from_slice(&origin.ok_or(NameError::NoOrigin)?.0);
        }
        if wire.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong);
        }
        Ok(Name(wire.into_boxed_slice()))
    }

    /// The name that these wire bytes hold, without compression and with nothing after it.
    pub fn from_wire(wire: &[u8]) -> Result<Name, Malformed> {
        let (name, used) = Name::read(wire, 0, wire.len(), false)?;
        if used == wire.len() { Ok(name) } else { Err(Malformed("bytes after the name")) }
    }

    /// Reads the name at `at` in `message`, its own bytes ending before `end`; returns it and the place after it.
    /// Pointers only go backwards and are counted, so that no message can make this loop (RFC 1035, section 4.1.4).
    pub fn read(message: &[u8], at: usize, end: usize, pointers: bool) -> Result<(Name, usize), Malformed> {
        let mut wire = Vec::with_capacity(32);
        let after = read_into(message, at, end, pointers, &mut wire)?;
        Ok((Name(wire.into_boxed_slice()), after))
    }

    /// The wire form, root label included.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels from left to right, without the root.
    pub fn labels(&self) -> Labels<'_> {
        Labels { rest: &self.0 }
    }

    /// How many labels, the root not counted.
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// True for `.`.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The name without its first label; none for the root.
    pub fn parent(&self) -> Option<Name> {
        self.suffix(1)
    }

    /// The name without its first `skip` labels.
    pub fn suffix(&self, skip: usize) -> Option<Name> {
        let mut labels = self.labels();
        for _ in 0..skip {
            labels.next()?;
        }
        Some(Name(labels.rest.into()))
    }

    /// This name below another label: `*` and `example.com.` make `*.example.com.`.
    pub fn prepend(&self, label: &[u8]) -> Result<Name, NameError> {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length));
        let mut wire = vec![length.ok_or(NameError::LabelTooLong)?];
        wire.extend_from_slice(label);
        wire.extend_from_slice(&self.0);
        if wire.len() > MAX_NAME_BYTES { Err(NameError::TooLong) } else { Ok(Name(wire.into_boxed_slice())) }
    }

    /// True if this is `ancestor` or below it.
    pub fn is_in(&self, ancestor: &Name) -> bool {
        let (own, other) = (self.label_count(), ancestor.label_count());
        own >= other && self.suffix(own - other).is_some_and(|suffix| suffix == *ancestor)
    }

    /// The name with the ancestor `from` replaced by `to` (DNAME, RFC 6672, section 2.2).
    pub fn rebase(&self, from: &Name, to: &Name) -> Result<Name, NameError> {
        let keep = self.0.len().checked_sub(from.0.len()).filter(|_| self.is_in(from)).ok_or(NameError::NoOrigin)?;
        let mut wire = self.0.get(..keep).unwrap_or_default().to_vec();
        wire.extend_from_slice(&to.0);
        if wire.len() > MAX_NAME_BYTES { Err(NameError::TooLong) } else { Ok(Name(wire.into_boxed_slice())) }
    }

    /// True if the first label is `*` (RFC 4592, section 2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// The name in lower case, as a key and for signatures (RFC 4034, section 6.2).
    #[must_use]
    pub fn to_lower(&self) -> Name {
        Name(self.0.to_ascii_lowercase().into_boxed_slice())
    }

    /// Without the final dot, as mail and TLS want host names; the root stays `.`.
    pub fn to_host(&self) -> String {
        let text = self.to_string();
        if text == "." { text } else { text.trim_end_matches('.').to_owned() }
    }

    /// The name to ask for an address backwards (RFC 1035, section 3.5; RFC 3596, section 2.5).
    pub fn reverse(address: std::net::IpAddr) -> Name {
        let mut text = String::new();
        match address {
            std::net::IpAddr::V4(v4) => {
                for octet in v4.octets().iter().rev() {
                    text.push_str(&format!("{octet}."));
                }
                text.push_str("in-addr.arpa.");
            }
            std::net::IpAddr::V6(v6) => {
                for octet in v6.octets().iter().rev() {
                    text.push_str(&format!("{:x}.{:x}.", octet & 15, octet >> 4));
                }
                text.push_str("ip6.arpa.");
            }
        }
        Name::parse(&text).unwrap_or_else(|_| Name::root())
    }
}

/// Appends the name at `at` to `wire`, uncompressed; returns the place after it in the message.
pub fn read_into(
    message: &[u8],
    at: usize,
    end: usize,
    pointers: bool,
    wire: &mut Vec<u8>,
) -> Result<usize, Malformed> {
    const CUT: Malformed = Malformed("name cut short");
    let begin = wire.len();
    let mut here = at;
    let mut limit = end;
    let mut after = None;
    let mut hops = 0;
    loop {
        let length = *message.get(here).filter(|_| here < limit).ok_or(CUT)?;
        match length {
            0 => {
                wire.push(0);
                if wire.len() - begin > MAX_NAME_BYTES {
                    return Err(Malformed("name longer than 255 bytes"));
                }
                return Ok(after.unwrap_or(here + 1));
            }
            1..=63 => {
                let next = here + 1 + usize::from(length);
                if next > limit {
                    return Err(CUT);
                }
                wire.extend_from_slice(message.get(here..next).ok_or(CUT)?);
                if wire.len() - begin >= MAX_NAME_BYTES {
                    return Err(Malformed("name longer than 255 bytes"));
                }
                here = next;
            }
            192..=255 => {
                if !pointers {
                    return Err(Malformed("compression where none is allowed"));
                }
                let low = *message.get(here + 1).filter(|_| here + 1 < limit).ok_or(CUT)?;
                let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                after.get_or_insert(here + 2);
                hops += 1;
                if target >= here || hops > MAX_POINTERS {
                    return Err(Malformed("compression pointer that does not go backwards"));
                }
                // A name that a pointer leads to may run up to where the pointer stood.
                limit = here;
                here = target;
            }
            _ => return Err(Malformed("unknown label type")),
        }
    }
}

/// Reads what follows a backslash: three digits, or one byte that stands for itself.
pub fn unescape(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let first = bytes.next()?;
    if !first.is_ascii_digit() {
        return Some(first);
    }
    let digits = [first, bytes.next()?, bytes.next()?];
    let mut value = 0u16;
    for digit in digits {
        value = value * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    u8::try_from(value).ok()
}

/// Writes a wire-form name as text, absolute, so that it survives zone files, shells and terminals (RFC 4343,
/// section 2.1): everything but printable ASCII as `\DDD`, and a backslash before what means something to a zone file.
pub fn write_text(wire: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    if wire.len() <= 1 {
        return out.write_char('.');
    }
    for label in (Labels { rest: wire }) {
        let plain = |byte: &u8| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'*' | b'/');
        if let (true, Ok(text)) = (label.iter().all(plain), std::str::from_utf8(label)) {
            out.write_str(text)?;
        } else {
            for &byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                        out.write_char('\\')?;
                        out.write_char(char::from(byte))?;
                    }
                    0x21..=0x7e => out.write_char(char::from(byte))?,
                    other => write!(out, "\\{other:03}")?,
                }
            }
        }
        out.write_char('.')?;
    }
    Ok(())
}

/// The labels of a name, from left to right.
#[derive(Debug, Clone)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.rest.split_first()?;
        if length == 0 {
            return None;
        }
        let (label, rest) = rest.split_at_checked(usize::from(length))?;
        self.rest = rest;
        Some(label)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut lower = [0; MAX_NAME_BYTES];
        for (to, from) in lower.iter_mut().zip(&self.0) {
            *to = from.to_ascii_lowercase();
        }
        state.write(lower.get(..self.0.len()).unwrap_or_default());
    }
}

/// The canonical order of DNSSEC: by labels from the right, each as lower-case bytes (RFC 4034, section 6.1). A name
/// stands directly before what is below it.
impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        let own: Vec<&[u8]> = self.labels().collect();
        let others: Vec<&[u8]> = other.labels().collect();
        let mut pairs = own.iter().rev().zip(others.iter().rev());
        pairs
            .find_map(|(a, b)| {
                let lower = |label: &[u8]| label.to_ascii_lowercase();
                Some(lower(a).cmp(&lower(b))).filter(|order| order.is_ne())
            })
            .unwrap_or_else(|| own.len().cmp(&others.len()))
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.0, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.0, f)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::parse(text)
    }
}

/// Why a text is no domain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// Two dots in a row, a dot in front, or nothing at all.
    EmptyLabel,
    /// A label over 63 bytes.
    LabelTooLong,
    /// A name over 255 bytes.
    TooLong,
    /// A backslash followed by what is no escape.
    BadEscape,
    /// A relative name where no origin is known.
    NoOrigin,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameError::EmptyLabel => "empty label in name",
            NameError::LabelTooLong => "label longer than 63 bytes",
            NameError::TooLong => "name longer than 255 bytes",
            NameError::BadEscape => "bad escape in name",
            NameError::NoOrigin => "relative name without an origin",
        })
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back() {
        for text in [".", "example.com.", "a\\.b.example.", "\\001\\255x.test.", "*.x.test.", "a\\\"b\\;\\@\\$.test."] {
            assert_eq!(Name::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Name::parse("example.com").unwrap().to_string(), "example.com.");
        assert_eq!(Name::parse("a b.test").unwrap().to_string(), "a\\032b.test.");
    }

    #[test]
    fn limits_are_exact() {
        let label = "a".repeat(63);
        assert!(Name::parse(&label).is_ok());
        assert_eq!(Name::parse(&"a".repeat(64)), Err(NameError::LabelTooLong));
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(Name::parse(&longest).unwrap().as_wire().len(), MAX_NAME_BYTES);
        assert_eq!(Name::parse(&format!("{longest}a")), Err(NameError::TooLong));
        for bad in ["", "..", "a..b", ".a"] {
            assert_eq!(Name::parse(bad), Err(NameError::EmptyLabel), "{bad}");
        }
        for bad in ["a\\", "a\\25", "a\\256", "a\\2x6"] {
            assert_eq!(Name::parse(bad), Err(NameError::BadEscape), "{bad}");
        }
    }

    #[test]
    fn pointers_only_go_backwards() {
        let message = b"\x03www\x07example\x00\x01a\xc0\x04\xc0\x0f\xc0\x15";
        let (name, after) = Name::read(message, 13, message.len(), true).unwrap();
        assert_eq!((name.to_string().as_str(), after), ("a.example.", 17));
        assert!(Name::read(message, 13, message.len(), false).is_err(), "no pointers allowed");
        assert!(Name::read(b"\xc0\x00", 0, 2, true).is_err(), "to itself");
        assert!(Name::read(b"\xc0\x05\x00\x00\x00\x00", 0, 6, true).is_err(), "forwards");
        assert!(Name::read(b"\x01a\xc0\x00", 0, 4, true).is_err(), "into its own beginning");
        assert!(Name::read(b"\x41a\x00", 0, 3, true).is_err(), "unknown label type");
        assert!(Name::read(b"\x05ab", 0, 3, true).is_err(), "cut short");
        let long = [[63u8; 64].concat_twice(), vec![0]].concat();
        assert!(Name::read(&long, 0, long.len(), true).is_err(), "too long");
    }

    trait ConcatTwice {
        fn concat_twice(&self) -> Vec<u8>;
    }
    impl ConcatTwice for [u8; 64] {
        fn concat_twice(&self) -> Vec<u8> {
            self.repeat(4)
        }
    }

    #[test]
    fn canonical_order_of_rfc_4034() {
        let sorted = [
            "example.",
            "a.example.",
            "yljkjljk.a.example.",
            "Z.a.example.",
            "zABC.a.EXAMPLE.",
            "z.example.",
            "\\001.z.example.",
            "*.z.example.",
            "\\200.z.example.",
        ];
        let names: Vec<Name> = sorted.iter().map(|text| Name::parse(text).unwrap()).collect();
        let mut shuffled = names.clone();
        shuffled.reverse();
        shuffled.sort();
        assert_eq!(shuffled, names);
    }

    #[test]
    fn relations() {
        let name = |text: &str| Name::parse(text).unwrap();
        assert!(name("A.Example.COM").is_in(&name("example.com")));
        assert!(name("x").is_in(&Name::root()));
        assert!(!name("notexample.com").is_in(&name("example.com")));
        assert_eq!(
            name("a.b.old.test").rebase(&name("old.test"), &name("new.example")).unwrap(),
            name("a.b.new.example")
        );
        assert_eq!(Name::reverse("192.0.2.1".parse().unwrap()), name("1.2.0.192.in-addr.arpa"));
        assert!(Name::reverse("2001:db8::1".parse().unwrap()).to_string().starts_with("1.0.0.0.0."));
        assert_eq!(Name::parse_in(b"a", Some(&name("b.c"))).unwrap(), name("a.b.c"));
        assert_eq!(Name::parse_in(b"a", None), Err(NameError::NoOrigin));
    }
}
