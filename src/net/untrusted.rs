//! The reasons why a certificate is not trusted, as sentences, with hints for the user.

use std::fmt;

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error, ExtendedKeyPurpose};

use crate::fault::{Fault, Kind};
use crate::net::certificate::{CertificateFacts, cut, rfc3339};

/// The most names of a certificate in a message.
const MAX_TOLD: usize = 5;
/// The longest text from a certificate in a message.
const MAX_TOLD_BYTES: usize = 250;

/// The reason why a server's certificate is not trusted. rustls carries it from the verifier to the caller of the handshake.
#[derive(Clone)]
pub(super) struct Untrusted {
    words: String,
    hint: String,
}

impl Untrusted {
    /// The verdict of a check on the shown certificate. `alone` says that a pin would suffice without removing other
    /// options.
    pub(super) fn new(error: &Error, shown: &CertificateDer<'_>, alone: bool) -> Untrusted {
        let facts = CertificateFacts::read(shown);
        let facts = CertificateFacts {
            subject: cut(facts.subject, MAX_TOLD_BYTES),
            issuer: cut(facts.issuer, MAX_TOLD_BYTES),
            ..facts
        };
        let words = match error {
            Error::InvalidCertificate(error) => certificate_words(error, Some(&facts)),
            _ => "the certificate cannot be checked".to_owned(),
        };
        let pin = facts.pin.map_or_else(String::new, |pin| pin.hex());
        let instead = if alone { "" } else { ", without --ca-cert and --tls-name" };
        let pin = format!("--pin sha256:{pin} accepts exactly this certificate{instead}");
        let hint = match error {
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                format!("--ca-cert FILE trusts its issuer; {pin}")
            }
            Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }) if !facts.names.is_empty() => {
                format!("--tls-name NAME checks another name; {pin}")
            }
            error if is_authority_as_server(error) => {
                format!("--ca-cert FILE with this very certificate trusts it; {pin}")
            }
            _ => pin,
        };
        Untrusted { words, hint }
    }

    /// The verdict if pins were given and none matches.
    pub(super) fn not_pinned(shown: &CertificateDer<'_>) -> Untrusted {
        let facts = CertificateFacts::read(shown);
        let certificate = facts.pin.map_or_else(String::new, |pin| pin.hex());
        let key =
            facts.key_pin.map_or_else(|| "cannot be read".to_owned(), |pin| format!("is sha256//{}", pin.base64()));
        Untrusted {
            words: format!("not what --pin names: the certificate is sha256:{certificate}, its key {key}"),
            hint: "the server's operator can tell whether its certificate is a new one; then --pin takes either digest"
                .to_owned(),
        }
    }

    /// The verdict if there are no trusted authorities.
    pub(super) fn no_authorities() -> Untrusted {
        Untrusted {
            words: "this system has no trusted authorities".to_owned(),
            hint: "the package ca-certificates brings them; --ca-cert FILE names one".to_owned(),
        }
    }

    /// The verdict as the fault of a handshake.
    pub(super) fn fault(&self) -> Fault {
        Fault::new(Kind::TlsUntrusted, format!("TLS: {}", self.words)).with_hint(self.hint.clone())
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Untrusted {}

/// webpki's own error, for those without a variant in rustls.
fn webpki_error(error: &CertificateError) -> Option<&webpki::Error> {
    match error {
        CertificateError::Other(other) => other.0.downcast_ref(),
        _ => None,
    }
}

/// True if a server shows a certificate that may sign others; `openssl req -x509` makes such by default. webpki reports this
/// only after the dates were found valid.
pub(super) fn is_authority_as_server(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(error) if webpki_error(error) == Some(&webpki::Error::CaUsedAsEndEntity))
}

/// The fault of a peer's certificate, as a sentence.
pub(super) fn certificate_words(error: &CertificateError, facts: Option<&CertificateFacts>) -> String {
    use CertificateError as C;
    let at = |time: UnixTime| i64::try_from(time.as_secs()).ok().and_then(rfc3339).unwrap_or_default();
    let words = match error {
        C::ExpiredContext { not_after, .. } => return format!("the certificate expired at {}", at(*not_after)),
        C::NotValidYetContext { not_before, .. } => {
            return format!("the certificate is not valid before {}", at(*not_before));
        }
        C::NotValidForNameContext { expected, .. } => return other_name(expected, facts),
        C::UnknownIssuer => return unknown_issuer(facts),
        C::InvalidPurposeContext { required: ExtendedKeyPurpose::ServerAuth, .. } => {
            "the certificate is not for TLS servers (extended key usage)"
        }
        C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
            "the certificate is for other purposes (extended key usage)"
        }
        C::Expired => "the certificate ends before it begins",
        C::NotValidYet => "the certificate is not valid yet",
        C::NotValidForName => "the certificate is for another name",
        C::BadEncoding => "the certificate cannot be read",
        C::BadSignature => "a signature is wrong: the certificate is forged or damaged, or the peer lacks its key",
        C::UnsupportedSignatureAlgorithmContext { .. } | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the certificate is signed with an algorithm that is not supported here, such as SHA-1"
        }
        C::UnhandledCriticalExtension => "the certificate has a critical extension that is not known here",
        C::Revoked => "the certificate is revoked",
        C::UnknownRevocationStatus | C::ExpiredRevocationList | C::ExpiredRevocationListContext { .. } => {
            "it is not known whether the certificate is revoked"
        }
        C::InvalidOcspResponse => "the server's OCSP answer is not valid",
        _ => match webpki_error(error) {
            Some(error) => webpki_words(error),
            None => "the certificate is not accepted",
        },
    };
    words.to_owned()
}

fn webpki_words(error: &webpki::Error) -> &'static str {
    use webpki::Error as W;
    match error {
        W::CaUsedAsEndEntity => "the certificate is an authority's (CA:TRUE), not a server's",
        W::EndEntityUsedAsCa => "a certificate of the chain has signed another and may not (CA:FALSE)",
        W::NameConstraintViolation => "an authority of the chain may not sign this name",
        W::PathLenConstraintViolated => "the chain is longer than one of its authorities allows",
        W::MaximumPathDepthExceeded
        | W::MaximumPathBuildCallsExceeded
        | W::MaximumSignatureChecksExceeded
        | W::MaximumNameConstraintComparisonsExceeded => "the chain is too long to be checked",
        W::UnsupportedCertVersion => "the certificate is not of version 3",
        W::UnsupportedCriticalExtension => "the certificate has a critical extension that is not known here",
        W::SignatureAlgorithmMismatch => "the certificate names two algorithms for its one signature",
        W::InvalidSerialNumber => "the certificate's serial number is not valid",
        _ => "the certificate is malformed",
    }
}

fn other_name(expected: &ServerName<'_>, facts: Option<&CertificateFacts>) -> String {
    let expected = expected.to_str();
    let Some(facts) = facts else { return format!("the certificate is not for {expected}") };
    let names: Vec<String> = facts
        .names
        .iter()
        .filter_map(|name| name.strip_prefix("DNS:").or_else(|| name.strip_prefix("IP:")))
        .take(MAX_TOLD + 1)
        .map(|name| cut(name.to_owned(), MAX_TOLD_BYTES))
        .collect();
    match names.as_slice() {
        [] => format!(
            "the certificate names no host: it has no subjectAltName, and its subject ({}) does not count",
            facts.subject
        ),
        names if names.len() > MAX_TOLD => {
            format!("the certificate is for {} and others, not for {expected}", names.join(", "))
        }
        names => format!("the certificate is for {}, not for {expected}", names.join(", ")),
    }
}

fn unknown_issuer(facts: Option<&CertificateFacts>) -> String {
    match facts {
        Some(facts) if facts.self_issued => {
            format!("the certificate is self-signed ({}) and not among the trusted ones", facts.subject)
        }
        Some(facts) => format!("no trusted authority stands behind the certificate; its issuer is {}", facts.issuer),
        None => "no trusted authority stands behind the certificate".to_owned(),
    }
}
