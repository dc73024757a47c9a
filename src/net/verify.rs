//! The trust of a client in certificates: one verifier with four kinds of trust.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};

use crate::fault::{Fault, Kind};
use crate::net::pin::CertificatePin;
use crate::net::untrusted::{Untrusted, is_authority_as_server};

/// The one crypto provider.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())).clone()
}

/// The condition for trusting a server's certificate. In any case the server must prove that it holds the key.
#[derive(Debug)]
pub(super) enum Trust {
    /// The system's authorities, read when the first certificate arrives: a command without TLS never pays for them.
    System(OnceLock<Option<Arc<WebPkiServerVerifier>>>),
    /// These certificates: as authorities, or as the server's own certificate.
    Files { chain: Arc<WebPkiServerVerifier>, certificates: Vec<CertificateDer<'static>> },
    /// A certificate or key with one of these digests, and a further condition on the certificate.
    Pinned { pins: Vec<CertificatePin>, and: Option<Box<Trust>> },
}

impl Trust {
    /// The system's authorities.
    pub(super) fn system() -> Trust {
        Trust::System(OnceLock::new())
    }

    /// These certificates and no others.
    pub(super) fn files(certificates: Vec<CertificateDer<'static>>) -> Result<Trust, Fault> {
        let wrong = |error: &dyn std::fmt::Display| Fault::new(Kind::Config, format!("trusted certificates: {error}"));
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|_| wrong(&"one of them cannot be an authority"))?;
        }
        let chain = chain_verifier(roots).ok_or_else(|| wrong(&"there is none"))?;
        Ok(Trust::Files { chain, certificates })
    }

    /// Checks whether the certificate that a server shows for a name is trusted now.
    pub(super) fn judge(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Untrusted> {
        let by_chain =
            |chain: &WebPkiServerVerifier| chain.verify_server_cert(shown, intermediates, name, &[], now).map(|_| ());
        match self {
            Trust::System(loaded) => match loaded.get_or_init(system_verifier) {
                Some(chain) => by_chain(chain).map_err(|error| Untrusted::new(&error, shown, true)),
                None => Err(Untrusted::no_authorities()),
            },
            Trust::Files { chain, certificates } => {
                let verdict = match by_chain(chain) {
                    // The user named this certificate: it does not matter that it could sign others as well.
                    Err(error) if is_authority_as_server(&error) && certificates.contains(shown) => {
                        ParsedCertificate::try_from(shown).and_then(|parsed| verify_server_name(&parsed, name))
                    }
                    verdict => verdict,
                };
                verdict.map_err(|error| Untrusted::new(&error, shown, false))
            }
            // The server's own certificate counts: anyone may send authorities' certificates along (RFC 7858, section 4.2).
            // The key is the one that webpki reads, which also verifies the handshake's signature.
            Trust::Pinned { pins, and } => {
                let key =
                    ParsedCertificate::try_from(shown).map(|it| CertificatePin::of(&it.subject_public_key_info()));
                if !pins.contains(&CertificatePin::of(shown)) && !key.is_ok_and(|key| pins.contains(&key)) {
                    return Err(Untrusted::not_pinned(shown));
                }
                and.as_ref().map_or(Ok(()), |and| and.judge(shown, intermediates, name, now))
            }
        }
    }
}

fn chain_verifier(roots: RootCertStore) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()
}

fn system_verifier() -> Option<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    chain_verifier(roots)
}

/// Checks certificates in handshakes.
#[derive(Debug)]
pub(super) struct HandshakeVerifier {
    trust: Arc<Trust>,
    /// False: every certificate is accepted (`--insecure`).
    checks: bool,
    /// The reasons why the last certificate of each name was refused: QUIC passes TLS errors on as texts only.
    refused: Mutex<HashMap<String, Untrusted>>,
}

impl HandshakeVerifier {
    pub(super) fn new(trust: Arc<Trust>, checks: bool) -> HandshakeVerifier {
        HandshakeVerifier { trust, checks, refused: Mutex::default() }
    }

    /// The reason why the last certificate of this name was refused.
    pub(super) fn refusal(&self, name: &ServerName<'_>) -> Option<Untrusted> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).get(&*name.to_str()).cloned()
    }
}

impl ServerCertVerifier for HandshakeVerifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.checks {
            return Ok(ServerCertVerified::assertion());
        }
        let verdict = self.trust.judge(shown, intermediates, name, now);
        verdict.map(|()| ServerCertVerified::assertion()).map_err(|why| {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.insert(name.to_str().into_owned(), why.clone());
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
        })
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
        trust.judge(shown, &[], &ServerName::try_from(name.to_owned()).unwrap(), now).is_ok()
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
