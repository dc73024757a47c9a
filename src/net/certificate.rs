//! The fields of a certificate (RFC 5280, section 4.1), for operators and error messages. No verdict depends on them: webpki
//! decides whether a certificate is trusted, and refuses malformed ones. This reader is lenient, because operators mostly
//! inspect malformed certificates; an unreadable field is absent.

use std::fmt::Write as _;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::hex;
use crate::net::pin::CertificatePin;

pub(super) const BOOLEAN: u8 = 0x01;
const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// A time with a two-digit year.
const UTC_TIME: u8 = 0x17;
/// A time with a four-digit year.
const GENERALIZED_TIME: u8 = 0x18;
/// UTF-16, as in certificates of old Microsoft authorities.
const BMP_STRING: u8 = 0x1e;
/// The version field, absent in version 1.
pub(super) const VERSION: u8 = 0xa0;
/// The extensions, present in version 3 only.
pub(super) const EXTENSIONS: u8 = 0xa3;

/// The most names of a certificate, and parts of one name, that are reported.
const MAX_NAMES: usize = 1000;
/// The longest serial number that is reported; RFC 5280 allows 20 bytes.
const MAX_SERIAL: usize = 64;
/// The longest text of one name, in bytes; the rest is cut off.
const MAX_NAME_BYTES: usize = 1024;
/// The most certificates of a chain that are reported.
pub const MAX_CHAIN: usize = 32;

/// The contents of one certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject, the most specific part first (RFC 4514).
    pub subject: String,
    /// The issuer.
    pub issuer: String,
    /// True if both are the same bytes: self-signed, or made to look so.
    pub self_issued: bool,
    /// The names of the subjectAltName extension, as `DNS:…`, `IP:…` and the like; other kinds are left out.
    pub names: Vec<String>,
    /// True if it may sign other certificates (basicConstraints).
    pub authority: bool,
    /// Not valid before, in seconds since 1970.
    pub not_before: Option<i64>,
    /// Not valid after, in seconds since 1970.
    pub not_after: Option<i64>,
    /// The serial number, hexadecimal.
    pub serial: String,
    /// The public key's algorithm: a name, or an object identifier.
    pub key_type: String,
    /// The size of the public key.
    pub key_bits: Option<usize>,
    /// The signature algorithm: a name, or an object identifier.
    pub signature_algorithm: String,
    /// The digest of the whole certificate.
    pub pin: Option<CertificatePin>,
    /// The digest of its public key.
    pub key_pin: Option<CertificatePin>,
}

impl CertificateFacts {
    /// Reads a certificate. A damaged one yields the parts before the damage.
    pub fn read(certificate: &[u8]) -> CertificateFacts {
        let mut facts = CertificateFacts { pin: Some(CertificatePin::of(certificate)), ..CertificateFacts::default() };
        let _ = facts.fill(certificate);
        facts
    }

    fn fill(&mut self, mut certificate: &[u8]) -> Option<()> {
        let mut outer = inside(&mut certificate, SEQUENCE)?;
        let mut fields = inside(&mut outer, SEQUENCE)?;
        if fields.first() == Some(&VERSION) {
            element(&mut fields)?;
        }
        let (_, serial) = element(&mut fields)?;
        // A leading zero keeps a number positive.
        let serial = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
        self.serial = hex::lower(serial.get(..MAX_SERIAL).unwrap_or(serial));
        self.signature_algorithm = algorithm(inside(&mut fields, SEQUENCE)?).0;
        let issuer = inside(&mut fields, SEQUENCE)?;
        self.issuer = name(issuer);
        let mut validity = inside(&mut fields, SEQUENCE)?;
        self.not_before = time(element(&mut validity)?);
        self.not_after = element(&mut validity).and_then(time);
        let subject = inside(&mut fields, SEQUENCE)?;
        self.subject = name(subject);
        self.self_issued = subject == issuer;
        let rest = fields;
        let mut key = inside(&mut fields, SEQUENCE)?;
        self.key_pin = rest.get(..rest.len() - fields.len()).map(CertificatePin::of);
        let (key_type, bits) = algorithm(inside(&mut key, SEQUENCE)?);
        self.key_bits = bits.or_else(|| bits_of(inside(&mut key, BIT_STRING)?));
        self.key_type = key_type;
        while let Some((tag, mut content)) = element(&mut fields) {
            if tag == EXTENSIONS {
                self.extensions(inside(&mut content, SEQUENCE)?);
            }
        }
        Some(())
    }

    fn extensions(&mut self, mut list: &[u8]) {
        while let Some(mut extension) = inside(&mut list, SEQUENCE) {
            let Some(id) = inside(&mut extension, OBJECT_IDENTIFIER) else { continue };
            if extension.first() == Some(&BOOLEAN) {
                let _ = element(&mut extension);
            }
            let Some(mut value) = inside(&mut extension, OCTET_STRING) else { continue };
            let Some(mut value) = inside(&mut value, SEQUENCE) else { continue };
            match id {
                // subjectAltName (RFC 5280, section 4.2.1.6).
                [0x55, 0x1d, 0x11] => {
                    while let Some(found) = element(&mut value).filter(|_| self.names.len() < MAX_NAMES) {
                        self.names.extend(alternative(found));
                    }
                }
                // basicConstraints (RFC 5280, section 4.2.1.9).
                [0x55, 0x1d, 0x13] => self.authority = inside(&mut value, BOOLEAN).is_some_and(|value| value != [0]),
                _ => {}
            }
        }
    }

    /// Whole days from `now` until the validity ends, rounded down; negative after the end.
    pub fn days_left(&self, now: i64) -> Option<i64> {
        self.not_after.map(|end| (end.saturating_sub(now)).div_euclid(86_400))
    }
}

/// The end of a certificate's validity, in seconds since 1970.
pub fn not_after(certificate: &[u8]) -> Option<i64> {
    CertificateFacts::read(certificate).not_after
}

/// A time of a certificate in RFC 3339; `None` outside the representable years.
pub fn rfc3339(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let text = match tag {
        // Years from 50 on are in the 20th century (RFC 5280, section 4.1.2.5.1).
        UTC_TIME if text.get(..2)? >= "50" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// A distinguished name as RFC 4514 writes it, with commas and the like escaped.
fn name(mut sets: &[u8]) -> String {
    let mut parts = Vec::new();
    while let Some(mut set) = inside(&mut sets, SET).filter(|_| parts.len() < MAX_NAMES) {
        while let Some(mut pair) = inside(&mut set, SEQUENCE) {
            let (id, value) = (inside(&mut pair, OBJECT_IDENTIFIER).unwrap_or_default(), element(&mut pair));
            let value = value.map_or(String::new(), |(tag, bytes)| text(tag, bytes));
            parts.push(format!("{}={}", attribute(id), escaped(&value)));
        }
    }
    parts.reverse();
    cut(parts.join(","), MAX_NAME_BYTES * 4)
}

/// A value with the special characters of a name escaped (RFC 4514, section 2.4).
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (at, letter) in value.char_indices() {
        let (first, last) = (at == 0, at + letter.len_utf8() == value.len());
        let special = matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';');
        if special || (letter == ' ' && (first || last)) || (letter == '#' && first) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// The characters of a string type; invalid bytes become U+FFFD.
fn text(tag: u8, bytes: &[u8]) -> String {
    let bytes = bytes.get(..MAX_NAME_BYTES).unwrap_or(bytes);
    match tag {
        BMP_STRING => {
            let units =
                bytes.chunks_exact(2).map(|pair| pair.iter().fold(0, |unit, byte| unit << 8 | u16::from(*byte)));
            char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        UTF8_STRING => String::from_utf8_lossy(bytes).into_owned(),
        // ASCII, or Latin-1, which some authorities wrote as T.61.
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
        },
    }
}

/// The beginning of a text: at most `most` bytes.
pub(super) fn cut(mut text: String, most: usize) -> String {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(end.unwrap_or(0));
    text
}

/// A name of the subjectAltName extension.
fn alternative((tag, bytes): (u8, &[u8])) -> Option<String> {
    let letters = || text(0, bytes);
    match tag {
        0x81 => Some(format!("email:{}", letters())),
        0x82 => Some(format!("DNS:{}", letters())),
        0x86 => Some(format!("URI:{}", letters())),
        0x87 => {
            let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
            let address = v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))?;
            Some(format!("IP:{address}"))
        }
        _ => None,
    }
}

/// The short name of an attribute (RFC 4514, section 3), else its object identifier.
fn attribute(id: &[u8]) -> String {
    let known = match id {
        [0x55, 0x04, 0x03] => "CN",
        [0x55, 0x04, 0x05] => "serialNumber",
        [0x55, 0x04, 0x06] => "C",
        [0x55, 0x04, 0x07] => "L",
        [0x55, 0x04, 0x08] => "ST",
        [0x55, 0x04, 0x09] => "STREET",
        [0x55, 0x04, 0x0a] => "O",
        [0x55, 0x04, 0x0b] => "OU",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01] => "emailAddress",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => "DC",
        _ => return object_identifier(id),
    };
    known.to_owned()
}

/// An AlgorithmIdentifier: its name, and the size of its keys if that is part of it.
fn algorithm(mut content: &[u8]) -> (String, Option<usize>) {
    let id = inside(&mut content, OBJECT_IDENTIFIER).unwrap_or_default();
    let curve = || inside(&mut { content }, OBJECT_IDENTIFIER);
    let (known, bits) = match id {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last] => match last {
            0x01 => ("RSA", None),
            0x04 => ("RSA-MD5", None),
            0x05 => ("RSA-SHA1", None),
            0x0a => ("RSA-PSS", None),
            0x0b => ("RSA-SHA256", None),
            0x0c => ("RSA-SHA384", None),
            0x0d => ("RSA-SHA512", None),
            _ => return (object_identifier(id), None),
        },
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01] => match curve() {
            Some([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]) => ("EC P-256", Some(256)),
            Some([0x2b, 0x81, 0x04, 0x00, 0x22]) => ("EC P-384", Some(384)),
            Some([0x2b, 0x81, 0x04, 0x00, 0x23]) => ("EC P-521", Some(521)),
            Some(other) => return (format!("EC {}", object_identifier(other)), None),
            None => ("EC", None),
        },
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01] => ("ECDSA-SHA1", None),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02] => ("ECDSA-SHA256", None),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03] => ("ECDSA-SHA384", None),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04] => ("ECDSA-SHA512", None),
        [0x2b, 0x65, 0x70] => ("Ed25519", Some(256)),
        [0x2b, 0x65, 0x71] => ("Ed448", Some(456)),
        _ => return (object_identifier(id), None),
    };
    (known.to_owned(), bits)
}

/// The size of an RSA key, from its modulus (RFC 8017, appendix A.1.1).
fn bits_of(bit_string: &[u8]) -> Option<usize> {
    let mut key = bit_string.get(1..)?;
    let mut key = inside(&mut key, SEQUENCE)?;
    let (_, modulus) = element(&mut key)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - usize::try_from(first.leading_zeros()).ok()?)
}

/// An object identifier in dotted form (X.690, section 8.19); arcs beyond 64 bits are left out.
fn object_identifier(content: &[u8]) -> String {
    let (mut dotted, mut arc, mut first) = (String::new(), 0u64, true);
    for byte in content.get(..MAX_NAME_BYTES).unwrap_or(content) {
        arc = (arc << 7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            let _ = match first {
                true => write!(dotted, "{}.{}", (arc / 40).min(2), arc - 40 * (arc / 40).min(2)),
                false => write!(dotted, ".{arc}"),
            };
            (arc, first) = (0, false);
        }
    }
    dotted
}

/// The content of the next element, if it has this tag.
pub(super) fn inside<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    element(input).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// Takes the next element: its tag and content (X.690, sections 8.1.2 and 8.1.3, definite lengths).
pub(super) fn element<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, rest) = input.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some((*tag, content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, SanType};

    #[test]
    fn the_end_is_found_in_both_forms_of_time_and_nothing_panics() {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        for (year, end) in [(2049, 2_493_072_000), (2050, 2_524_608_000), (4096, 67_090_118_400)] {
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let made = params.self_signed(&key).unwrap();
            let der = made.der();
            assert_eq!(not_after(der), Some(end), "{year}");
            for cut in 0..der.len() {
                let facts = CertificateFacts::read(&der[..cut]);
                assert_eq!(facts.not_after, None, "nothing is taken of an element that is cut");
                let mut broken = der.to_vec();
                broken[cut] ^= 0x55;
                let _ = CertificateFacts::read(&broken);
            }
        }
    }

    #[test]
    fn a_certificate_tells_what_it_was_made_of() {
        for (algorithm, key_type, bits, signed) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, "EC P-256", 256, "ECDSA-SHA256"),
            (&rcgen::PKCS_ECDSA_P384_SHA384, "EC P-384", 384, "ECDSA-SHA384"),
            (&rcgen::PKCS_ED25519, "Ed25519", 256, "Ed25519"),
        ] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::CountryName, "DE");
            params.distinguished_name.push(DnType::OrganizationName, "Böse, \"GmbH\"");
            params.distinguished_name.push(DnType::CommonName, "mail.test");
            params.subject_alt_names = vec![
                SanType::DnsName("*.mail.test".try_into().unwrap()),
                SanType::IpAddress("192.0.2.1".parse().unwrap()),
                SanType::IpAddress("2001:db8::1".parse().unwrap()),
                SanType::Rfc822Name("post@mail.test".try_into().unwrap()),
            ];
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            (params.not_before, params.not_after) =
                (rcgen::date_time_ymd(2020, 2, 29), rcgen::date_time_ymd(2051, 1, 1));
            params.serial_number = Some(vec![0x01, 0xab].into());
            let made = params.self_signed(&key).unwrap();
            let facts = CertificateFacts::read(made.der());
            assert_eq!(facts.subject, "CN=mail.test,O=Böse\\, \\\"GmbH\\\",C=DE");
            assert!(facts.issuer == facts.subject && facts.self_issued && facts.authority);
            let names = ["DNS:*.mail.test", "IP:192.0.2.1", "IP:2001:db8::1", "email:post@mail.test"];
            assert_eq!(facts.names, names);
            assert_eq!(rfc3339(facts.not_before.unwrap()).as_deref(), Some("2020-02-29T00:00:00Z"));
            assert_eq!(rfc3339(facts.not_after.unwrap()).as_deref(), Some("2051-01-01T00:00:00Z"));
            assert_eq!((facts.key_type.as_str(), facts.key_bits), (key_type, Some(bits)));
            assert_eq!((facts.serial.as_str(), facts.signature_algorithm.as_str()), ("01ab", signed));
            let parsed = rustls::server::ParsedCertificate::try_from(made.der()).unwrap();
            assert_eq!(facts.key_pin, Some(CertificatePin::of(&parsed.subject_public_key_info())));
            let end = facts.not_after.unwrap();
            assert_eq!([end, end - 1, end - 86_400, end + 1].map(|now| facts.days_left(now).unwrap()), [0, 0, 1, -1]);
        }
        let cases =
            [("a=b", "a=b"), (" a ", "\\ a\\ "), ("#a#", "\\#a#"), (" ", "\\ "), ("<a;b>", "\\<a\\;b\\>"), ("", "")];
        for (value, shown) in cases {
            assert_eq!(escaped(value), shown);
        }
        assert_eq!(object_identifier(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d]), "1.2.840.113549");
        assert_eq!(
            (object_identifier(&[0x55, 0x04, 0x29]).as_str(), object_identifier(&[])),
            ("2.5.4.41", String::new())
        );
    }
}
