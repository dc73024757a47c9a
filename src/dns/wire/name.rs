//! Domain names (RFC 1035, section 3.1): absolute, held in wire form, compared without regard to ASCII case.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::error::Malformed;
use super::walk::{self, MAX_LABEL_BYTES, MAX_NAME_BYTES};

/// An absolute domain name in uncompressed wire form. It keeps the case in which it was written.
#[derive(Clone)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The root, `.`.
    pub fn root() -> Name {
        Name(Box::new([0]))
    }

    /// Parses a name in presentation format: labels between dots, with `\.` and `\DDD` escapes. The name is absolute
    /// with or without the final dot (RFC 1035, section 5.1; RFC 4343, section 2.1).
    ///
    /// # Errors
    /// The text is not a valid name.
    pub fn parse(text: &str) -> Result<Name, NameError> {
        Name::parse_in(text.as_bytes(), Some(&Name::root()))
    }

    /// Parses a name of a zone file. `origin` completes a relative name, and `@` is the origin itself.
    ///
    /// # Errors
    /// The text is not a valid name, or it is relative and there is no origin.
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

    /// Reads the one name in `wire`, which must be uncompressed and end with the last byte.
    ///
    /// # Errors
    /// The bytes are not a valid name, or bytes follow it.
    pub fn from_wire(wire: &[u8]) -> Result<Name, Malformed> {
        let (name, used) = Name::read(wire, 0, wire.len(), false)?;
        if used == wire.len() { Ok(name) } else { Err(Malformed("bytes after the name")) }
    }

    /// Reads the name at `at` in `message`; its own bytes end before `end`. Returns it and the position after it.
    ///
    /// # Errors
    /// Those of [`walk::labels`].
    pub fn read(message: &[u8], at: usize, end: usize, pointers: bool) -> Result<(Name, usize), Malformed> {
        let mut wire = Vec::with_capacity(32);
        let after = read_into(message, at, end, pointers, &mut wire)?;
        Ok((Name(wire.into_boxed_slice()), after))
    }

    /// The wire form, root label included.
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The same name, borrowed.
    pub fn borrowed(&self) -> NameRef<'_> {
        NameRef(&self.0)
    }

    /// The labels from left to right, without the root.
    pub fn labels(&self) -> Labels<'_> {
        self.borrowed().labels()
    }

    /// The number of labels, without the root.
    pub fn label_count(&self) -> usize {
        self.borrowed().label_count()
    }

    /// True for `.`.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// The name without its first label; `None` for the root.
    pub fn parent(&self) -> Option<Name> {
        self.suffix(1)
    }

    /// The name without its first `skip` labels; `None` if it has fewer.
    pub fn suffix(&self, skip: usize) -> Option<Name> {
        self.borrowed().suffix(skip).map(NameRef::to_name)
    }

    /// True if this is `ancestor` or below it.
    pub fn is_in<'n>(&self, ancestor: impl Into<NameRef<'n>>) -> bool {
        self.borrowed().is_in(ancestor)
    }

    /// This name below another label: see [`NameRef::prepend`].
    ///
    /// # Errors
    /// The label or the name is too long.
    pub fn prepend(&self, label: &[u8]) -> Result<Name, NameError> {
        self.borrowed().prepend(label)
    }

    /// The name with the ancestor `from` replaced by `to`: see [`NameRef::rebase`].
    ///
    /// # Errors
    /// The name is not below `from`, or the new one is too long.
    pub fn rebase(&self, from: &Name, to: &Name) -> Result<Name, NameError> {
        self.borrowed().rebase(from.borrowed(), to)
    }

    /// True if the first label is `*` (RFC 4592, section 2.1.1).
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// The name in lower case, for keys and signatures (RFC 4034, section 6.2).
    #[must_use]
    pub fn to_lower(&self) -> Name {
        Name(self.0.to_ascii_lowercase().into_boxed_slice())
    }

    /// The name without the final dot, which is the form of host names in mail and TLS; the root stays `.`.
    pub fn to_host(&self) -> String {
        let text = self.to_string();
        if text == "." { text } else { text.trim_end_matches('.').to_owned() }
    }

    /// The name for the reverse look-up of an address (RFC 1035, section 3.5; RFC 3596, section 2.5).
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

/// A borrowed name in uncompressed wire form: a [`Name`], a part of one, or a part of a record's data. Only the methods
/// that return a [`Name`] allocate.
#[derive(Clone, Copy)]
pub struct NameRef<'a>(&'a [u8]);

impl<'a> NameRef<'a> {
    /// Reads the uncompressed name at `at`; returns it and the position after it.
    ///
    /// # Errors
    /// Those of [`walk::labels`].
    pub fn read(bytes: &'a [u8], at: usize) -> Result<(NameRef<'a>, usize), Malformed> {
        let after = walk::labels(bytes, at, bytes.len(), false, |_| ())?;
        Ok((NameRef(bytes.get(at..after).unwrap_or_default()), after))
    }

    /// The wire form, root label included.
    pub fn as_wire(self) -> &'a [u8] {
        self.0
    }

    /// The same name, owned.
    pub fn to_name(self) -> Name {
        Name(self.0.into())
    }

    /// The labels from left to right, without the root.
    pub fn labels(self) -> Labels<'a> {
        Labels { rest: self.0 }
    }

    /// The number of labels, without the root.
    pub fn label_count(self) -> usize {
        self.labels().count()
    }

    /// The name without its first `skip` labels; `None` if it has fewer.
    pub fn suffix(self, skip: usize) -> Option<NameRef<'a>> {
        let mut labels = self.labels();
        for _ in 0..skip {
            labels.next()?;
        }
        Some(NameRef(labels.rest))
    }

    /// The name without its first label; `None` for the root.
    pub fn parent(self) -> Option<NameRef<'a>> {
        self.suffix(1)
    }

    /// True if this is `ancestor` or below it.
    pub fn is_in<'n>(self, ancestor: impl Into<NameRef<'n>>) -> bool {
        let ancestor = ancestor.into();
        let mut labels = self.labels();
        while labels.rest.len() > ancestor.0.len() && labels.next().is_some() {}
        NameRef(labels.rest) == ancestor
    }

    /// This name below another label: `*` and `example.com.` make `*.example.com.`.
    ///
    /// # Errors
    /// The label or the name is too long.
    pub fn prepend(self, label: &[u8]) -> Result<Name, NameError> {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length));
        let mut wire = vec![length.ok_or(NameError::LabelTooLong)?];
        wire.extend_from_slice(label);
        wire.extend_from_slice(self.0);
        if wire.len() > MAX_NAME_BYTES { Err(NameError::TooLong) } else { Ok(Name(wire.into_boxed_slice())) }
    }

    /// The name with the ancestor `from` replaced by `to` (DNAME, RFC 6672, section 2.2).
    ///
    /// # Errors
    /// The name is not below `from`, or the new one is too long.
    pub fn rebase(self, from: NameRef<'_>, to: &Name) -> Result<Name, NameError> {
        let keep = self.0.len().checked_sub(from.0.len()).filter(|_| self.is_in(from)).ok_or(NameError::NoOrigin)?;
        let mut wire = self.0.get(..keep).unwrap_or_default().to_vec();
        wire.extend_from_slice(&to.0);
        if wire.len() > MAX_NAME_BYTES { Err(NameError::TooLong) } else { Ok(Name(wire.into_boxed_slice())) }
    }
}

impl<'a> From<&'a Name> for NameRef<'a> {
    fn from(name: &'a Name) -> NameRef<'a> {
        name.borrowed()
    }
}

/// Appends the name at `at` to `wire`, uncompressed; returns the position after it in the message.
///
/// # Errors
/// Those of [`walk::labels`].
pub fn read_into(
    message: &[u8],
    at: usize,
    end: usize,
    pointers: bool,
    wire: &mut Vec<u8>,
) -> Result<usize, Malformed> {
    let after = walk::labels(message, at, end, pointers, |label| wire.extend_from_slice(label))?;
    wire.push(0);
    Ok(after)
}

/// Reads the rest of an escape, after its backslash: three digits, or one byte that stands for itself.
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

/// Writes a wire-form name as absolute text that is safe in zone files, shells and terminals (RFC 4343, section 2.1): bytes
/// that are not printable ASCII become `\DDD`, and a backslash precedes characters that are special in a zone file.
///
/// # Errors
/// Those of `out`.
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

impl PartialEq for NameRef<'_> {
    fn eq(&self, other: &NameRef<'_>) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl Eq for NameRef<'_> {}

impl PartialEq<Name> for NameRef<'_> {
    fn eq(&self, other: &Name) -> bool {
        *self == other.borrowed()
    }
}

#[cfg(test)]
thread_local! {
    /// The number of hashed name bytes: the cost of name look-ups, for tests that bound it.
    pub(crate) static HASHED_BYTES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Hash for NameRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        #[cfg(test)]
        HASHED_BYTES.set(HASHED_BYTES.get() + self.0.len());
        let mut lower = [0; MAX_NAME_BYTES];
        for (to, from) in lower.iter_mut().zip(self.0) {
            *to = from.to_ascii_lowercase();
        }
        state.write(lower.get(..self.0.len()).unwrap_or_default());
    }
}

/// The canonical order of DNSSEC: by labels from the right, each as lower-case bytes (RFC 4034, section 6.1). A name
/// sorts directly before the names below it.
impl Ord for NameRef<'_> {
    fn cmp(&self, other: &NameRef<'_>) -> Ordering {
        let (own, others) = (self.label_count(), other.label_count());
        let (mut left, mut right) = (self.labels(), other.labels());
        // The extra labels of the longer name are at its left end.
        for _ in others..own {
            left.next();
        }
        for _ in own..others {
            right.next();
        }
        let compare =
            |(a, b): (&[u8], &[u8])| a.iter().map(u8::to_ascii_lowercase).cmp(b.iter().map(u8::to_ascii_lowercase));
        // The last pair of labels that differ decides.
        left.zip(right).map(compare).filter(|order| order.is_ne()).last().unwrap_or_else(|| own.cmp(&others))
    }
}

impl PartialOrd for NameRef<'_> {
    fn partial_cmp(&self, other: &NameRef<'_>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.borrowed() == other.borrowed()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        self.borrowed().cmp(&other.borrowed())
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The key type for searches in a map of [`Name`]s: a `NameRef` as `&dyn NameKey`, so that a search allocates nothing.
pub trait NameKey {
    /// The name.
    fn key(&self) -> NameRef<'_>;
}

impl NameKey for Name {
    fn key(&self) -> NameRef<'_> {
        self.borrowed()
    }
}

impl NameKey for NameRef<'_> {
    fn key(&self) -> NameRef<'_> {
        *self
    }
}

impl<'a> Borrow<dyn NameKey + 'a> for Name {
    fn borrow(&self) -> &(dyn NameKey + 'a) {
        self
    }
}

impl PartialEq for dyn NameKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for dyn NameKey + '_ {}

impl Hash for dyn NameKey + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Display for NameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(self.0, f)
    }
}

impl fmt::Debug for NameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(self.0, f)
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

/// The reason why a text is not a valid domain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// Two dots in a row, a leading dot, or an empty text.
    EmptyLabel,
    /// A label over 63 bytes.
    LabelTooLong,
    /// A name over 255 bytes.
    TooLong,
    /// A backslash without a valid escape.
    BadEscape,
    /// A relative name without an origin.
    NoOrigin,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameError::EmptyLabel => "empty label in name",
            NameError::LabelTooLong => "label longer than 63 bytes",
            NameError::TooLong => "name longer than 255 bytes",
            NameError::BadEscape => "bad escape in name",
            NameError::NoOrigin => "relative name without an origin ($ORIGIN sets one)",
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

    /// A literal implementation of RFC 4034, section 6.1.
    fn canonical(name: &Name) -> Vec<Vec<u8>> {
        let mut labels: Vec<Vec<u8>> = name.labels().map(<[u8]>::to_ascii_lowercase).collect();
        labels.reverse();
        labels
    }

    proptest::proptest! {
        #[test]
        fn order_and_ancestry_are_those_of_the_labels(a in "([a-bA-B]{1,2}[.]){0,4}", b in "([a-bA-B]{1,2}[.]){0,4}") {
            let name = |text: &str| Name::parse(if text.is_empty() { "." } else { text }).unwrap();
            let (a, b) = (name(&a), name(&b));
            proptest::prop_assert_eq!(a.cmp(&b), canonical(&a).cmp(&canonical(&b)), "{} {}", a, b);
            proptest::prop_assert_eq!(a == b, canonical(&a) == canonical(&b));
            proptest::prop_assert_eq!(a.is_in(&b), canonical(&a).starts_with(&canonical(&b)), "{} {}", a, b);
            let map = std::collections::HashMap::from([(a.clone(), ())]);
            proptest::prop_assert_eq!(map.contains_key(&b.borrowed() as &dyn NameKey), a == b);
        }
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
