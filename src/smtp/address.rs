//! Mail addresses (RFC 5321, section 4.1.2; UTF-8 by RFC 6531, section 3.3). Each address is parsed once, at the input,
//! and is a type from there on.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The longest accepted address, in bytes. RFC 5321 asks for 256 octets (section 4.5.3.1.3). Senders that encode the
/// recipient into the reverse-path (VERP, SRS) exceed its 64 octets of local part, so only the total length is limited.
pub const MAX_ADDRESS: usize = 512;

/// The longest domain (RFC 5321, section 4.5.3.1.2).
pub const MAX_DOMAIN: usize = 255;

/// The longest label of a domain name (RFC 1035, section 2.3.4).
pub const MAX_LABEL: usize = 63;

/// An address that passed one of two grammars, in its original spelling: `local@domain`, or a local part alone. With
/// either grammar, no character in it can end a command or a header field. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    text: Arc<str>,
    /// The length of the local part.
    at: usize,
}

/// The reason why a text is not a valid address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// Longer than [`MAX_ADDRESS`], [`MAX_DOMAIN`] or [`MAX_LABEL`].
    TooLong,
    /// No `@` outside quotes.
    NoDomain,
    /// Nothing before the `@`.
    NoLocalPart,
    /// A dot at an end of the local part, or two in a row.
    Dots,
    /// A character that a local part may contain only inside quotes, or not at all.
    Character(char),
    /// The quoted string before the `@` is not closed, or contains a control character.
    Quoted,
    /// The domain after the `@` breaks the grammar.
    Domain,
    /// The address literal after the `@` breaks the grammar (RFC 5321, section 4.1.3).
    Literal,
    /// The domain is not a valid internationalised name (RFC 5891).
    NotIdna,
    /// The address is outside ASCII, but SMTPUTF8 was not requested.
    NeedsUtf8,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::TooLong => "too long for an address",
            AddressError::NoDomain => "no domain",
            AddressError::NoLocalPart => "nothing before the @",
            AddressError::Dots => "the part before the @ begins or ends with a dot, or has two in a row",
            AddressError::Character(found) => return write!(f, "{found:?} before the @ needs quoting"),
            AddressError::Quoted => "the quoted part is not well formed",
            AddressError::Domain => "the part after the @ is not a domain",
            AddressError::Literal => "the address literal is not well formed: [192.0.2.1] or [IPv6:2001:db8::1]",
            AddressError::NotIdna => "the domain is not a valid internationalised name",
            AddressError::NeedsUtf8 => "outside ASCII without SMTPUTF8",
        })
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Parses by the strict grammar, for servers: `Mailbox` of RFC 5321, section 4.1.2. Bytes outside ASCII are allowed only with `utf8`.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str, utf8: bool) -> Result<Address, AddressError> {
        let address = Address::parse_lenient(text)?;
        let local = address.local_wire();
        if !local.starts_with('"') && local.split('.').any(str::is_empty) {
            return Err(AddressError::Dots);
        }
        check_domain(address.domain().ok_or(AddressError::NoDomain)?)?;
        if !utf8 && !text.is_ascii() {
            return Err(AddressError::NeedsUtf8);
        }
        Ok(address)
    }

    /// Parses by the lenient grammar, for clients: such mailboxes exist, and only their own server knows the rules. Beyond the
    /// strict grammar it accepts dots anywhere in the local part (`obs-local-part` of RFC 5322, section 4.4, and more), a local
    /// part alone, a domain with a final dot, any labels of letters, digits, `-` and `_`, and literals of unknown kinds.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse_lenient(text: &str) -> Result<Address, AddressError> {
        if text.len() > MAX_ADDRESS {
            return Err(AddressError::TooLong);
        }
        let at = local_part_end(text)?;
        let behind = text.get(at..).unwrap_or_default();
        match behind.strip_prefix('@') {
            Some(domain) => check_lenient_domain(domain)?,
            None if behind.is_empty() => {}
            None if text.starts_with('"') => return Err(AddressError::Quoted),
            None => return Err(behind.chars().next().map_or(AddressError::NoLocalPart, AddressError::Character)),
        }
        Ok(Address { text: text.into(), at })
    }

    /// The address with the same local part at another domain, which the lenient grammar checks.
    ///
    /// # Errors
    /// The rule that the domain breaks, or [`AddressError::TooLong`] for the whole address.
    pub fn with_domain(&self, domain: &str) -> Result<Address, AddressError> {
        check_lenient_domain(domain)?;
        let text = format!("{}@{domain}", self.local_wire());
        if text.len() > MAX_ADDRESS {
            return Err(AddressError::TooLong);
        }
        Ok(Address { text: text.into(), at: self.at })
    }

    /// The address with its domain in A-labels, which every server understands (RFC 5890, section 2.3.2.1).
    ///
    /// # Errors
    /// [`AddressError::NotIdna`], or the rule that the converted domain breaks.
    pub fn to_ascii_domain(&self) -> Result<Address, AddressError> {
        match self.domain() {
            Some(domain) if !domain.is_ascii() => {
                self.with_domain(&idna::domain_to_ascii(domain).map_err(|_| AddressError::NotIdna)?)
            }
            _ => Ok(self.clone()),
        }
    }

    /// The address with its domain in ASCII, if only its domain is international; `None` for others.
    pub fn with_ascii_domain(&self) -> Option<Address> {
        let international = self.local_wire().is_ascii() && !self.is_ascii();
        international.then(|| self.to_ascii_domain().ok()).flatten()
    }

    /// The address in its original spelling.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if the whole address is ASCII: a server without SMTPUTF8 can receive it.
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }

    /// The local part in its original spelling, with its quotes.
    pub fn local_wire(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// The decoded local part: without quotes and backslashes.
    pub fn local(&self) -> Cow<'_, str> {
        unquote(self.local_wire())
    }

    /// The domain in its original spelling (an address literal with its brackets); `None` for a local part alone.
    pub fn domain(&self) -> Option<&str> {
        self.text.get(self.at + 1..)
    }

    /// The domain as the key that groups mail by destination: [`canonical_domain`]; empty for a local part alone.
    pub fn destination(&self) -> String {
        self.domain().map_or_else(String::new, canonical_domain)
    }

    /// A key that is equal for all spellings of one mailbox: the local part without needless quotes, the domain as in
    /// [`Address::destination`]. The case of the local part stays: only its server may interpret it (RFC 5321, section 2.4).
    pub fn comparison_key(&self) -> String {
        format!("{}@{}", self.local(), self.destination())
    }
}

impl Address {
    /// Builds an address from a decoded local part, which is quoted if necessary.
    ///
    /// # Errors
    /// The rule that the address would break.
    pub fn of(local: &str, domain: &str) -> Result<Address, AddressError> {
        if !local.contains(['"', '\\'])
            && let Ok(plain) = Address::parse(&format!("{local}@{domain}"), true)
        {
            return Ok(plain);
        }
        let escaped = local.replace('\\', "\\\\").replace('"', "\\\"");
        Address::parse(&format!("\"{escaped}\"@{domain}"), true)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq<&str> for Address {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// Tests write addresses as text.
#[cfg(test)]
impl<T: AsRef<str>> From<T> for Address {
    fn from(text: T) -> Address {
        let text = text.as_ref();
        Address::parse_lenient(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }
}

/// The recipient of notices about a message (RFC 5321, section 4.1.1.2).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: notices go to nobody. Notices themselves have this reverse-path.
    #[default]
    Null,
    /// The sender.
    Address(Address),
}

impl ReversePath {
    /// Parses the text between the angle brackets, by the lenient grammar.
    ///
    /// # Errors
    /// Those of [`Address::parse_lenient`].
    pub fn parse_lenient(text: &str) -> Result<ReversePath, AddressError> {
        if text.is_empty() { Ok(ReversePath::Null) } else { Address::parse_lenient(text).map(ReversePath::Address) }
    }

    /// The address; `None` for the null reverse-path.
    pub const fn address(&self) -> Option<&Address> {
        match self {
            ReversePath::Null => None,
            ReversePath::Address(address) => Some(address),
        }
    }

    /// The text between the angle brackets: empty for the null reverse-path.
    pub fn as_str(&self) -> &str {
        self.address().map_or("", Address::as_str)
    }
}

impl From<Address> for ReversePath {
    fn from(address: Address) -> ReversePath {
        ReversePath::Address(address)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Tests write reverse-paths as text.
#[cfg(test)]
impl<T: AsRef<str>> From<T> for ReversePath {
    fn from(text: T) -> ReversePath {
        let text = text.as_ref();
        ReversePath::parse_lenient(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }
}

/// Removes the quotes and backslashes of a quoted string: `"a\ b"` becomes `a b`. Other text is unchanged.
pub fn unquote(quoted: &str) -> Cow<'_, str> {
    let Some(inner) = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(quoted);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    Cow::Owned(plain)
}

/// The end of the local part: after atoms and dots, or after a quoted string (RFC 5321, section 4.1.2).
fn local_part_end(text: &str) -> Result<usize, AddressError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|character: char| !(is_atext(character) || character == '.')).unwrap_or(text.len());
        return if end == 0 && matches!(text.chars().next(), None | Some('@')) {
            Err(AddressError::NoLocalPart)
        } else {
            Ok(end)
        };
    };
    let mut escaped = false;
    for (index, character) in quoted.char_indices() {
        match character {
            _ if character.is_control() => break,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Ok(index + 2),
            _ => {}
        }
    }
    Err(AddressError::Quoted)
}

/// `atext` of RFC 5322, section 3.2.3, widened by RFC 6531, section 3.3.
pub fn is_atext(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(character) || is_letter_beyond_ascii(character)
}

/// `UTF8-non-ascii` of RFC 6531, except control characters and spaces, which would look like the end of an address.
fn is_letter_beyond_ascii(character: char) -> bool {
    !character.is_ascii() && !character.is_control() && !character.is_whitespace()
}

/// The underscore is not valid in a host name, but domains with it send mail and exist in the DNS.
fn is_of_label(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_') || is_letter_beyond_ascii(character)
}

/// Checks a domain by the lenient grammar.
fn check_lenient_domain(domain: &str) -> Result<(), AddressError> {
    if domain.len() > MAX_DOMAIN {
        return Err(AddressError::TooLong);
    }
    if let Some(literal) = domain.strip_prefix('[') {
        let other = literal.strip_suffix(']').is_some_and(is_other_literal);
        return if other || parse_literal(domain).is_some() { Ok(()) } else { Err(AddressError::Literal) };
    }
    let labels = domain.strip_suffix('.').unwrap_or(domain);
    let good = labels.split('.').all(|label| !label.is_empty() && label.chars().all(is_of_label));
    if good { Ok(()) } else { Err(AddressError::Domain) }
}

/// True for the inside of a literal of another kind, with a tag (RFC 5321, section 4.1.3), but not for an IPv6 address without its tag.
fn is_other_literal(inner: &str) -> bool {
    let (tag, content) = inner.split_once(':').unwrap_or_default();
    let good = inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-".contains(&byte));
    let named = tag.starts_with(|first: char| first.is_ascii_alphabetic()) && !tag.eq_ignore_ascii_case("IPv6");
    good && named && !content.is_empty() && inner.parse::<Ipv6Addr>().is_err()
}

/// Checks a domain name or address literal by the strict grammar, as after `@` and in EHLO.
///
/// # Errors
/// [`AddressError::TooLong`], [`AddressError::Domain`] or [`AddressError::Literal`].
pub fn check_domain(domain: &str) -> Result<(), AddressError> {
    if domain.len() > MAX_DOMAIN {
        return Err(AddressError::TooLong);
    }
    if domain.starts_with('[') {
        return parse_literal(domain).map(|_| ()).ok_or(AddressError::Literal);
    }
    for label in domain.split('.') {
        if label.is_empty() || label.starts_with('-') || label.ends_with('-') || !label.chars().all(is_of_label) {
            return Err(AddressError::Domain);
        }
        if label.is_ascii() && label.len() > MAX_LABEL {
            return Err(AddressError::TooLong);
        }
    }
    Ok(())
}

/// The address in `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321, section 4.1.3). An IPv4-mapped address becomes an IPv4 address.
pub fn parse_literal(domain: &str) -> Option<IpAddr> {
    let inner = domain.strip_prefix('[')?.strip_suffix(']')?;
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            Some(inner.get(5..)?.parse::<Ipv6Addr>().ok()?.to_canonical())
        }
        _ => inner.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// A key that is equal for all spellings of one domain: in lower case, without a final dot. The address in an address
/// literal (RFC 5321, section 4.1.3) is written as RFC 5952 says.
pub fn canonical_domain(domain: &str) -> String {
    match parse_literal(domain) {
        Some(IpAddr::V4(v4)) => format!("[{v4}]"),
        Some(IpAddr::V6(v6)) => format!("[ipv6:{v6}]"),
        None => domain.strip_suffix('.').unwrap_or(domain).to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses() {
        let table: [(&str, &str, &str); 14] = [
            ("bob@bob.test", "bob", "bob.test"),
            ("a.b-c+d=e@x.y", "a.b-c+d=e", "x.y"),
            ("!#$%&'*+-/=?^_`{|}~@x", "!#$%&'*+-/=?^_`{|}~", "x"),
            ("\"a b\"@x.test", "a b", "x.test"),
            ("\"a\\\"b\\\\c\"@x.test", "a\"b\\c", "x.test"),
            ("\"a@b\"@x.test", "a@b", "x.test"),
            ("\"\"@x.test", "", "x.test"),
            ("\"..\"@x.test", "..", "x.test"),
            ("u@[192.0.2.1]", "u", "[192.0.2.1]"),
            ("u@[IPv6:2001:db8::1]", "u", "[IPv6:2001:db8::1]"),
            ("u@[ipv6:::1]", "u", "[ipv6:::1]"),
            ("u@a_b.test", "u", "a_b.test"),
            ("j\u{f6}rg@m\u{fc}ller.test", "j\u{f6}rg", "m\u{fc}ller.test"),
            ("bounces+00112233445566778899aabbccddeeff-alice=example.test-list-of-something-long@lists.test", "", ""),
        ];
        for (text, local, domain) in table {
            let address = Address::parse(text, true).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.as_str(), text);
            if !domain.is_empty() {
                assert_eq!((address.local().as_ref(), address.domain()), (local, Some(domain)), "{text}");
            }
        }
    }

    #[test]
    fn what_the_strict_grammar_refuses_and_the_lenient_one_takes() {
        use AddressError::*;
        let long_label = format!("u@{}.test", "a".repeat(64));
        // The text, what the strict grammar says, and the parts that the lenient one finds.
        let table: [(&str, AddressError, &str, Option<&str>); 10] = [
            (".bob@x", Dots, ".bob", Some("x")),
            ("bob.@x", Dots, "bob.", Some("x")),
            ("a..b@x", Dots, "a..b", Some("x")),
            ("postmaster", NoDomain, "postmaster", None),
            ("\"a@b\"", NoDomain, "a@b", None),
            ("a@x.", Domain, "a", Some("x.")),
            ("a@-x", Domain, "a", Some("-x")),
            ("a@x-.test", Domain, "a", Some("x-.test")),
            ("a@[x-tag:abc]", Literal, "a", Some("[x-tag:abc]")),
            (&long_label, TooLong, "u", long_label.get(2..)),
        ];
        for (text, error, local, domain) in table {
            assert_eq!(Address::parse(text, true), Err(error), "{text:?}");
            let address = Address::parse_lenient(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((address.as_str(), address.local().as_ref(), address.domain()), (text, local, domain));
        }
        assert_eq!(Address::parse("j\u{f6}rg@x", false), Err(NeedsUtf8));
    }

    #[test]
    fn what_both_grammars_refuse() {
        use AddressError::*;
        let long_domain = format!("u@{}", ["abcdefg"; 33].join("."));
        let long = format!("{}@x", "u".repeat(MAX_ADDRESS - 1));
        let table: [(&str, AddressError); 37] = [
            ("", NoLocalPart),
            ("@x", NoLocalPart),
            ("bob@", Domain),
            ("a b@x", Character(' ')),
            ("a>@b", Character('>')),
            ("<a@b>", Character('<')),
            ("a\r\nRCPT@x", Character('\r')),
            ("a\0b@x", Character('\0')),
            ("a\u{85}b@c", Character('\u{85}')),
            ("a\u{2028}@c", Character('\u{2028}')),
            ("\"a\r\n\"@x", Quoted),
            ("\"a\\\r\"@x", Quoted),
            ("\"a@x", Quoted),
            ("\"a\"b@x", Quoted),
            ("a@b@c", Domain),
            ("a@x..y", Domain),
            ("a@x y", Domain),
            ("a@b\r", Domain),
            ("a@b>", Domain),
            ("a@b\u{a0}c", Domain),
            ("a@[", Literal),
            ("a@[1.2.3.4", Literal),
            ("a@[]", Literal),
            ("a@[\r]", Literal),
            ("a@[1.2.3]", Literal),
            ("a@[300.1.1.1]", Literal),
            ("a@[127.0.0.1:25]", Literal),
            ("a@[::1]", Literal),
            ("a@[2001:db8::1]", Literal),
            ("a@[fe80::1]", Literal),
            ("a@[abcd:0:0:0:0:0:0:1]", Literal),
            ("a@[IPv6:fe80::1%eth0]", Literal),
            ("a@[IPv6:127.0.0.1]", Literal),
            ("a@[ipv6:]", Literal),
            ("a@[x-tag:]", Literal),
            (&long_domain, TooLong),
            (&long, TooLong),
        ];
        for (text, error) in table {
            assert_eq!(
                (Address::parse(text, true), Address::parse_lenient(text)),
                (Err(error), Err(error)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn mail_is_grouped_by_domain() {
        for (address, destination) in [
            ("a@Bob.Test", "bob.test"),
            ("a@bob.test.", "bob.test"),
            ("\"a@b\"@[127.0.0.1]", "[127.0.0.1]"),
            ("a@[IPv6:::1]", "[ipv6:::1]"),
            ("a@[ipv6:0:0:0:0:0:0:0:1]", "[ipv6:::1]"),
            ("a@[IPv6:2001:DB8:0:0::1]", "[ipv6:2001:db8::1]"),
            ("a@[IPv6:::ffff:192.0.2.1]", "[192.0.2.1]"),
            ("a@[X-Tag:Abc]", "[x-tag:abc]"),
            ("postmaster", ""),
            ("a@B\u{dc}CHER.example", "b\u{fc}cher.example"),
        ] {
            assert_eq!(Address::from(address).destination(), destination, "{address}");
        }
    }

    #[test]
    fn one_mailbox_has_one_key() {
        for (one, other, same) in [
            ("u@B.Test.", "u@b.test", true),
            ("\"u\"@b.test", "u@b.test", true),
            ("u@[IPv6:::1]", "u@[ipv6:0:0:0:0:0:0:0:1]", true),
            ("U@b.test", "u@b.test", false),
            ("u@[IPv6:::1]", "u@[IPv6:::2]", false),
            ("\"a@b\"@c", "a@c", false),
            ("u", "u@b", false),
        ] {
            assert_eq!(
                Address::from(one).comparison_key() == Address::from(other).comparison_key(),
                same,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn the_null_reverse_path_is_no_address() {
        let null = ReversePath::parse_lenient("").unwrap();
        assert_eq!((&null, null.address(), null.as_str()), (&ReversePath::Null, None, ""));
        let some = ReversePath::parse_lenient("a@b").unwrap();
        assert_eq!(some.address().map(Address::as_str), Some("a@b"));
        assert!(ReversePath::parse_lenient("<>").is_err() && Address::parse_lenient("").is_err());
    }

    #[test]
    fn domains_become_ascii() {
        let ascii = |text: &str| Address::from(text).to_ascii_domain().map(|address| address.to_string());
        assert_eq!(ascii("x@b\u{fc}cher.example").as_deref(), Ok("x@xn--bcher-kva.example"));
        assert_eq!(ascii("x@Example.COM").as_deref(), Ok("x@Example.COM"));
        assert_eq!(ascii("gr\u{fc}n@gr\u{fc}n.example").as_deref(), Ok("gr\u{fc}n@xn--grn-ioa.example"));
        assert_eq!(ascii("x@\u{fffd}.example"), Err(AddressError::NotIdna));
        assert_eq!(ascii("x"), Ok("x".to_owned()));
        // Fullwidth letters become ASCII ones, which must not end the address.
        assert_eq!(ascii("x@\u{ff22}.test").as_deref(), Ok("x@b.test"));
        for bad in ["x@a\u{ff1e}b.test", "x@a\u{ff20}b.test"] {
            assert_eq!(ascii(bad), Err(AddressError::Domain), "{bad}");
        }
        assert_eq!(ascii("x@\u{ff3b}a.test"), Err(AddressError::Literal));
    }

    #[test]
    fn what_is_meant_is_written_rightly() {
        for (local, written) in [
            ("bob", Some("bob@x.test")),
            ("a..b.", Some("\"a..b.\"@x.test")),
            ("a b", Some("\"a b\"@x.test")),
            ("a@b", Some("\"a@b\"@x.test")),
            ("\"q\"", Some("\"\\\"q\\\"\"@x.test")),
            ("a\\b", Some("\"a\\\\b\"@x.test")),
            ("", Some("\"\"@x.test")),
            ("a\r\nb", None),
        ] {
            let address = Address::of(local, "x.test").ok();
            assert_eq!(address.as_ref().map(Address::as_str), written, "{local:?}");
            assert!(address.is_none_or(|address| address.local() == local));
        }
    }

    #[test]
    fn limits_are_exact() {
        let longest = format!("{}@x", "u".repeat(MAX_ADDRESS - 2));
        assert!(Address::parse(&longest, false).is_ok() && Address::parse_lenient(&longest).is_ok());
        assert_eq!(Address::parse_lenient(&format!("u{longest}")), Err(AddressError::TooLong));
        assert_eq!(Address::from("u".repeat(400)).with_domain(&"x.".repeat(60)), Err(AddressError::TooLong));
        let label = format!("u@{}", "a".repeat(MAX_LABEL));
        assert!(Address::parse(&label, false).is_ok());
        let domain = format!("u@{}.abcdefg", ["abcdefg"; 31].join("."));
        assert_eq!(domain.len() - 2, MAX_DOMAIN);
        assert!(Address::parse(&domain, false).is_ok());
    }

    #[test]
    fn literals() {
        assert_eq!(parse_literal("[192.0.2.1]"), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(parse_literal("[IPv6:::1]"), Some("::1".parse().unwrap()));
        for bad in ["192.0.2.1", "[192.0.2.1", "[IPv6:192.0.2.1]", "[x-tag:abc]", "[]"] {
            assert_eq!(parse_literal(bad), None, "{bad}");
        }
    }
}
