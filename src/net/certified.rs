//! The names in a client's certificate, as proof of who the client is.

use std::net::IpAddr;

use tokio_rustls::TlsStream;

use super::certificate::{
    BOOLEAN, EXTENSIONS, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, UTF8_STRING, VERSION, element, inside,
};
use super::stream::Stream;

/// The most names of a certificate that count.
const MAX_NAMES: usize = 100;
/// The longest name, in bytes.
const MAX_NAME: usize = 255;
const INTEGER: u8 = 0x02;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
/// The kinds of subjectAltName: rfc822Name and dNSName (RFC 5280, section 4.2.1.6).
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// The certificate that a client presented, verified in its handshake against the authorities of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedCertificate {
    names: Vec<String>,
}

/// Proof that a client has a verified certificate that names this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedUser {
    name: String,
    client: IpAddr,
}

impl VerifiedCertificate {
    /// The certificate of the client at the other end. A server's handshake asks for one only if it has authorities to verify it
    /// with ([`super::tls::ServerTlsOptions::client_ca`]), and fails unless they do.
    pub fn of(stream: &Stream) -> Option<VerifiedCertificate> {
        let Stream::Tls(tls) = stream else { return None };
        let TlsStream::Server(tls) = &**tls else { return None };
        let certificate = tls.get_ref().1.peer_certificates()?.first()?;
        // One that is malformed names nobody.
        Some(VerifiedCertificate { names: login_names(certificate).unwrap_or_default() })
    }

    /// The proof that it names this user: by the common name of its subject, or by a mail address or DNS name of
    /// subjectAltName. The names are compared byte by byte; nothing is a wildcard.
    pub fn certifies(&self, user: &str, client: IpAddr) -> Option<CertifiedUser> {
        self.names.iter().find(|name| *name == user).map(|name| CertifiedUser { name: name.clone(), client })
    }
}

impl CertifiedUser {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The address of the client.
    pub fn client(&self) -> IpAddr {
        self.client
    }
}

/// The names of a certificate that may be those of users; `None` if any part that leads to them is malformed.
pub fn login_names(mut certificate: &[u8]) -> Option<Vec<String>> {
    let mut outer = inside(&mut certificate, SEQUENCE)?;
    let mut fields = inside(&mut outer, SEQUENCE)?;
    // Only version 3 has subjectAltName. Serial number, signature algorithm, issuer, validity.
    inside(&mut fields, VERSION)?;
    inside(&mut fields, INTEGER)?;
    for _ in 0..3 {
        inside(&mut fields, SEQUENCE)?;
    }
    let subject = inside(&mut fields, SEQUENCE)?;
    let _public_key = inside(&mut fields, SEQUENCE)?;
    let mut names = Vec::new();
    while let Some((tag, content)) = element(&mut fields) {
        if tag == EXTENSIONS {
            alternatives(content, &mut names)?;
        }
    }
    names.extend(common_name(subject)?);
    (fields.is_empty() && names.len() <= MAX_NAMES).then_some(names)
}

/// The common name of a subject: the last one, which is the most specific.
fn common_name(mut subject: &[u8]) -> Option<Option<String>> {
    let mut found = None;
    while !subject.is_empty() {
        let mut set = inside(&mut subject, SET)?;
        while !set.is_empty() {
            let mut pair = inside(&mut set, SEQUENCE)?;
            let (id, (tag, value)) = (inside(&mut pair, OBJECT_IDENTIFIER)?, element(&mut pair)?);
            if id == COMMON_NAME && matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING) {
                found = Some(text(value)?);
            }
        }
    }
    Some(found)
}

fn alternatives(mut extensions: &[u8], names: &mut Vec<String>) -> Option<()> {
    let mut list = inside(&mut extensions, SEQUENCE)?;
    while !list.is_empty() {
        let mut extension = inside(&mut list, SEQUENCE)?;
        if inside(&mut extension, OBJECT_IDENTIFIER)? != SUBJECT_ALT_NAME {
            continue;
        }
        if extension.first() == Some(&BOOLEAN) {
            element(&mut extension)?;
        }
        let mut value = inside(&mut extension, OCTET_STRING)?;
        let mut found = inside(&mut value, SEQUENCE)?;
        while let Some((kind, bytes)) = element(&mut found) {
            if matches!(kind, EMAIL | DNS) {
                names.push(text(bytes)?);
            }
        }
        found.is_empty().then_some(())?;
    }
    Some(())
}

/// A name without control characters, which no user has.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let fits = (1..=MAX_NAME).contains(&text.len());
    (fits && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    #[test]
    fn names_are_exact_and_a_damaged_certificate_names_nobody() {
        let key = KeyPair::generate().unwrap();
        let made = |common: &[&str], others: Vec<SanType>| {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, "root");
            for name in common {
                params.distinguished_name.push(DnType::CommonName, *name);
            }
            params.subject_alt_names = others;
            params.self_signed(&key).unwrap().der().to_vec()
        };
        let others = vec![
            SanType::Rfc822Name("joe@a.test".try_into().unwrap()),
            SanType::DnsName("*.a.test".try_into().unwrap()),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
            SanType::URI("ann".try_into().unwrap()),
        ];
        let whole = made(&["Joe Döe"], others);
        assert_eq!(login_names(&whole).unwrap(), ["joe@a.test", "*.a.test", "Joe Döe"]);
        let certificate = VerifiedCertificate { names: login_names(&whole).unwrap() };
        let client = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(certificate.certifies("joe@a.test", client).map(|user| user.name), Some("joe@a.test".to_owned()));
        for other in ["", "joe", "JOE@a.test", "x.a.test", "Joe", "ann", "root", "192.0.2.1"] {
            assert_eq!(certificate.certifies(other, client), None, "{other}");
        }
        assert_eq!(login_names(&made(&["joe"], vec![])).unwrap(), ["joe"]);
        assert_eq!(login_names(&made(&[], vec![])).unwrap(), Vec::<String>::new());
        assert_eq!(login_names(&made(&["joe\0ann"], vec![])), None);
        for cut in 0..whole.len() {
            assert!(login_names(&whole[..cut]).is_none());
        }
    }
}
