//! Mailbox addresses as the envelope carries them (RFC 5321, section 4.1.2; UTF-8 by RFC 6531, section 3.3).

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest address taken. RFC 5321 asks for 256 octets (section 4.5.3.1.3); senders that encode the recipient into the
/// reverse-path (VERP, SRS) go beyond its 64 octets of local part, so only the whole is bounded.
pub const MAX_ADDRESS: usize = 512;

/// The longest domain (RFC 5321, section 4.5.3.1.2).
pub const MAX_DOMAIN: usize = 255;

/// The longest label of a domain name (RFC 1035, section 2.3.4).
pub const MAX_LABEL: usize = 63;

/// An address that passed the grammar: `local@domain`, kept as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    wire: String,
    at: usize,
}

/// Why a text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// Longer than [`MAX_ADDRESS`], [`MAX_DOMAIN`] or [`MAX_LABEL`].
    TooLong,
    /// No `@` outside quotes.
    NoDomain,
    /// The part before the `@` breaks the grammar.
    LocalPart,
    /// The part behind the `@` breaks the grammar.
    Domain,
    /// Outside ASCII, and SMTPUTF8 was not asked for.
    NeedsUtf8,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressError::TooLong => "address too long",
            AddressError::NoDomain => "address without domain",
            AddressError::LocalPart => "malformed local part of the address",
            AddressError::Domain => "malformed domain of the address",
            AddressError::NeedsUtf8 => "address outside ASCII without SMTPUTF8",
        })
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Parses `local@domain`; bytes outside ASCII only with `utf8`.
    pub fn parse(text: &str, utf8: bool) -> Result<Address, AddressError> {
        if text.len() > MAX_ADDRESS {
            return Err(AddressError::TooLong);
        }
        let at = local_part_end(text).ok_or(AddressError::LocalPart)?;
        let domain = match text.get(at..).and_then(|rest| rest.strip_prefix('@')) {
            Some(domain) => domain,
            None if at == text.len() => return Err(AddressError::NoDomain),
            None => return Err(AddressError::LocalPart),
        };
        check_domain(domain)?;
        if !utf8 && !text.is_ascii() {
            return Err(AddressError::NeedsUtf8);
        }
        Ok(Address { wire: text.to_owned(), at })
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.wire
    }

    /// The local part as it was written, with its quotes.
    pub fn local_wire(&self) -> &str {
        self.wire.get(..self.at).unwrap_or_default()
    }

    /// The local part as it is meant: without quotes and backslashes.
    pub fn local(&self) -> Cow<'_, str> {
        unquote(self.local_wire())
    }

    /// The domain as it was written; an address literal with its brackets.
    pub fn domain(&self) -> &str {
        self.wire.get(self.at + 1..).unwrap_or_default()
    }

    /// The IP address, if the domain is an address literal (RFC 5321, section 4.1.3).
    pub fn literal(&self) -> Option<IpAddr> {
        parse_literal(self.domain())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.wire)
    }
}

/// The domain of an address that was checked before; `None` for the null reverse-path and for a bare `postmaster`.
pub fn domain_of(address: &str) -> Option<&str> {
    let at = local_part_end(address)?;
    address.get(at..)?.strip_prefix('@')
}

/// A local part without quotes and backslashes: `"a\ b"` is `a b`.
pub fn unquote(local: &str) -> Cow<'_, str> {
    let Some(inner) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(local);
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

/// Where the local part ends: behind a dot-string or a quoted string (RFC 5321, section 4.1.2). `None` if the text starts
/// with neither.
fn local_part_end(text: &str) -> Option<usize> {
    if let Some(quoted) = text.strip_prefix('"') {
        let mut characters = quoted.char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '"' => return Some(index + 2),
                '\\' => {
                    let (_, escaped) = characters.next()?;
                    if escaped.is_control() {
                        return None;
                    }
                }
                _ if character.is_control() => return None,
                _ => {}
            }
        }
        return None;
    }
    let end = text.find(|character: char| !(is_atext(character) || character == '.')).unwrap_or(text.len());
    let local = text.get(..end)?;
    (!local.is_empty() && local.split('.').all(|atom| !atom.is_empty())).then_some(end)
}

/// `atext` of RFC 5322, section 3.2.3, widened by RFC 6531.
fn is_atext(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(character)
        || (!character.is_ascii() && !character.is_control())
}

/// An address whose domain alone is international, in the form that every server understands (RFC 5890, section 2.3.2.1);
/// `None` for others.
pub fn with_ascii_domain(address: &str) -> Option<String> {
    let (mailbox, domain) = address.rsplit_once('@')?;
    let fits = mailbox.is_ascii() && !domain.is_ascii();
    Some(format!("{mailbox}@{}", idna::domain_to_ascii(domain).ok().filter(|_| fits)?))
}

/// Checks a domain name or address literal, as after `@` and in EHLO.
pub fn check_domain(domain: &str) -> Result<(), AddressError> {
    if domain.len() > MAX_DOMAIN {
        return Err(AddressError::TooLong);
    }
    if domain.starts_with('[') {
        return parse_literal(domain).map(|_| ()).ok_or(AddressError::Domain);
    }
    for label in domain.split('.') {
        // The underscore is no host name, but such names send mail and exist in the DNS.
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || (!c.is_ascii() && !c.is_control());
        if label.is_empty() || label.starts_with('-') || label.ends_with('-') || !label.chars().all(allowed) {
            return Err(AddressError::Domain);
        }
        if label.is_ascii() && label.len() > MAX_LABEL {
            return Err(AddressError::TooLong);
        }
    }
    Ok(())
}

/// The address inside `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321, section 4.1.3).
pub fn parse_literal(domain: &str) -> Option<IpAddr> {
    let inner = domain.strip_prefix('[')?.strip_suffix(']')?;
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner.get(5..)?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => inner.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
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
                assert_eq!((address.local().as_ref(), address.domain()), (local, domain), "{text}");
                assert_eq!(domain_of(text), Some(domain));
            }
        }
    }

    #[test]
    fn bad_addresses() {
        use AddressError::*;
        let long_label = format!("u@{}.test", "a".repeat(64));
        let long_domain = format!("u@{}", ["abcdefg"; 33].join("."));
        let long = format!("{}@x", "u".repeat(MAX_ADDRESS - 1));
        let table: [(&str, AddressError); 24] = [
            ("", LocalPart),
            ("bob", NoDomain),
            ("@x", LocalPart),
            ("bob@", Domain),
            (".bob@x", LocalPart),
            ("bob.@x", LocalPart),
            ("a..b@x", LocalPart),
            ("a b@x", LocalPart),
            ("a\r\nRCPT@x", LocalPart),
            ("a\0b@x", LocalPart),
            ("\"a\r\n\"@x", LocalPart),
            ("\"a\\\r\"@x", LocalPart),
            ("\"a@x", LocalPart),
            ("\"a\"b@x", LocalPart),
            ("a@b@c", Domain),
            ("a@x..y", Domain),
            ("a@x.", Domain),
            ("a@-x", Domain),
            ("a@x y", Domain),
            ("a@[1.2.3]", Domain),
            ("a@[::1]", Domain),
            (&long_label, TooLong),
            (&long_domain, TooLong),
            (&long, TooLong),
        ];
        for (text, error) in table {
            assert_eq!(Address::parse(text, true), Err(error), "{text:?}");
        }
        assert_eq!(Address::parse("j\u{f6}rg@x", false), Err(NeedsUtf8));
    }

    #[test]
    fn limits_are_exact() {
        let longest = format!("{}@x", "u".repeat(MAX_ADDRESS - 2));
        assert!(Address::parse(&longest, false).is_ok());
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
