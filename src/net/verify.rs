//! Whose certificates a client believes: one verifier with five kinds of trust.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::fault::{Fault, Kind};

/// The one crypto provider.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())).clone()
}

/// What makes a server's certificate good. Whatever it is, the server must prove that it holds the key.
#[derive(Debug)]
pub(super) enum Trust {
    /// The system's authorities, read when the first certificate comes in: a command without TLS never pays for them.
    System(OnceLock<Result<Arc<WebPkiServerVerifier>, String>>),
    /// These certificates: as authorities, or shown by the server itself.
    Files { chain: Arc<WebPkiServerVerifier>, certificates: Vec<CertificateDer<'static>> },
    /// The one certificate with this SHA-256 fingerprint, whoever issued it.
    Fingerprint([u8; 32]),
    /// A key with one of these SHA-256 digests, and what else is asked of the certificate.
    Pinned { pins: Vec<[u8; 32]>, and: Box<Trust> },
    /// Anything (`--insecure`).
    Anything,
}

impl Trust {
    /// The system's authorities.
    pub(super) fn system() -> Trust {
        Trust::System(OnceLock::new())
    }

    /// A key that one of the pins names, in a certificate that passes `and`.
    pub(super) fn pinned(pins: &[[u8; 32]], and: Trust) -> Trust {
        Trust::Pinned { pins: pins.to_vec(), and: Box::new(and) }
    }

    /// These certificates and no others.
    pub(super) fn files(certificates: Vec<CertificateDer<'static>>) -> Result<Trust, Fault> {
        let wrong = |error: &dyn std::fmt::Display| Fault::new(Kind::Config, format!("trusted certificates: {error}"));
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| wrong(&error))?;
        }
        Ok(Trust::Files { chain: chain_verifier(roots).map_err(|error| wrong(&error))?, certificates })
    }
}

fn chain_verifier(roots: RootCertStore) -> Result<Arc<WebPkiServerVerifier>, String> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|error| error.to_string())
}

fn system_verifier() -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    chain_verifier(roots)
}

/// webpki's error for a certificate that may sign others and is shown by a server, which `openssl req -x509` makes unless
/// told otherwise. Its dates were found good before that is said. rustls has no variant for this error and does not export
/// webpki's type, so that the name that `Debug` derives is all that tells them apart. It is compared whole: a release that
/// names it otherwise refuses such certificates.
fn is_authority_as_server(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::Other(other)) if format!("{:?}", other.0) == "CaUsedAsEndEntity")
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self {
            Trust::System(loaded) => match loaded.get_or_init(system_verifier) {
                Ok(chain) => chain.verify_server_cert(shown, intermediates, name, ocsp_response, now),
                Err(_) => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            },
            Trust::Files { chain, certificates } => {
                match chain.verify_server_cert(shown, intermediates, name, ocsp_response, now) {
                    // The user named this very certificate: that it could sign others as well does not matter.
                    Err(error) if is_authority_as_server(&error) && certificates.contains(shown) => {
                        verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
                        Ok(ServerCertVerified::assertion())
                    }
                    verdict => verdict,
                }
            }
            Trust::Fingerprint(wanted) => {
                let digest = ring::digest::digest(&ring::digest::SHA256, shown);
                if digest.as_ref() == wanted {
                    Ok(ServerCertVerified::assertion())
                } else {
                    Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
                }
            }
            // The server's own certificate counts: anybody may send those of authorities along (RFC 7858, section 4.2).
            Trust::Pinned { pins, and } => {
                let key = ParsedCertificate::try_from(shown)?.subject_public_key_info();
                let digest = ring::digest::digest(&ring::digest::SHA256, &key);
                if !pins.iter().any(|pin| digest.as_ref() == pin) {
                    return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
                }
                and.verify_server_cert(shown, intermediates, name, ocsp_response, now)
            }
            Trust::Anything => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(name: &str, authority: bool) -> CertificateDer<'static> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        if authority {
            parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        parameters.self_signed(&key).unwrap().der().clone()
    }

    fn believes(trusted: &CertificateDer<'static>, shown: &CertificateDer<'static>, name: &str, now: UnixTime) -> bool {
        let trust = Trust::files(vec![trusted.clone()]).unwrap();
        trust.verify_server_cert(shown, &[], &ServerName::try_from(name.to_owned()).unwrap(), &[], now).is_ok()
    }

    #[test]
    fn a_certificate_that_was_named_is_good_for_its_names_and_dates() {
        let now = UnixTime::now();
        for authority in [false, true] {
            let own = certificate("mail.test", authority);
            let other = certificate("mail.test", authority);
            assert!(believes(&own, &own, "mail.test", now), "authority: {authority}");
            assert!(!believes(&own, &own, "other.test", now), "another name, authority: {authority}");
            assert!(!believes(&own, &other, "mail.test", now), "another certificate, authority: {authority}");
            let long_ago = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
            assert!(!believes(&own, &own, "mail.test", long_ago), "before its time, authority: {authority}");
        }
    }
}
