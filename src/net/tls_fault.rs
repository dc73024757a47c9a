//! The fault of a failed handshake: its kind and its text. The errors of rustls are told apart by their variants, since
//! their own texts are for programmers.

use std::io;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

use crate::fault::{Fault, Kind};
use crate::net::untrusted::{Untrusted, certificate_words};

const OLD_VERSION: &str = "the peer speaks neither TLS 1.2 nor TLS 1.3";
const NOTHING_IN_COMMON: &str = "no cipher, key exchange or signature algorithm in common";
const OUR_CERTIFICATE: &str = "--cert FILE and --key FILE show a certificate that the server accepts";

/// The fault of a handshake, or of a read after it: in TLS 1.3 a server refuses the client's certificate only then. `what`
/// names the operation, for errors outside TLS.
pub fn fault_of(what: &str, error: &io::Error) -> Fault {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => tls_fault(error),
        None => Fault::network(what, error),
    }
}

fn tls_fault(error: &Error) -> Fault {
    let (kind, words) = match error {
        Error::InvalidCertificate(error) => {
            let own = match error {
                rustls::CertificateError::Other(other) => other.0.downcast_ref::<Untrusted>(),
                _ => None,
            };
            match own {
                Some(untrusted) => return untrusted.fault(),
                None => return Fault::new(Kind::TlsUntrusted, format!("TLS: {}", certificate_words(error, None))),
            }
        }
        Error::NoCertificatesPresented => (Kind::TlsUntrusted, "the peer shows no certificate"),
        Error::AlertReceived(alert) => return alert_fault("TLS", *alert),
        Error::InvalidMessage(message) => (Kind::Protocol, message_words(message)),
        Error::PeerIncompatible(missing) => (Kind::Protocol, incompatible_words(missing)),
        Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::InvalidEncryptedClientHello(_) => (Kind::Protocol, "the peer breaks the rules of the handshake"),
        Error::DecryptError => (Kind::Protocol, "a record does not decrypt: damaged or changed on the way"),
        Error::PeerSentOversizedRecord => (Kind::Protocol, "the peer sent a record that is too long"),
        Error::NoApplicationProtocol => (Kind::Protocol, "no application protocol in common (ALPN)"),
        Error::UnsupportedNameType => (Kind::Usage, "not a name that a certificate can hold"),
        Error::FailedToGetCurrentTime | Error::FailedToGetRandomBytes => {
            (Kind::Internal, "the system gives no time or no random bytes")
        }
        _ => (Kind::Protocol, "the handshake failed"),
    };
    Fault::new(kind, format!("TLS: {words}"))
}

/// The reason why a local certificate and key are unusable.
pub(super) fn pair_words(error: &Error) -> String {
    match error {
        Error::InconsistentKeys(_) => "the key is not the certificate's".to_owned(),
        Error::InvalidCertificate(error) => certificate_words(error, None),
        _ => "the key is of a kind that is not supported".to_owned(),
    }
}

fn message_words(message: &InvalidMessage) -> &'static str {
    match message {
        InvalidMessage::InvalidContentType => "the peer does not speak TLS here",
        InvalidMessage::MessageTooLarge
        | InvalidMessage::HandshakePayloadTooLarge
        | InvalidMessage::CertificatePayloadTooLarge => "the peer sent a message that is too long",
        InvalidMessage::UnknownProtocolVersion => OLD_VERSION,
        _ => "the peer sent a malformed message",
    }
}

fn incompatible_words(missing: &PeerIncompatible) -> &'static str {
    use PeerIncompatible as P;
    match missing {
        P::ServerDoesNotSupportTls12Or13
        | P::ServerTlsVersionIsDisabledByOurConfig
        | P::SupportedVersionsExtensionRequired
        | P::Tls12NotOffered
        | P::Tls12NotOfferedOrEnabled
        | P::Tls13RequiredForQuic => OLD_VERSION,
        P::NoCipherSuitesInCommon
        | P::NoKxGroupsInCommon
        | P::NoSignatureSchemesInCommon
        | P::NoCertificateRequestSignatureSchemesInCommon
        | P::NoEcPointFormatsInCommon
        | P::NamedGroupsExtensionRequired
        | P::KeyShareExtensionRequired
        | P::SignatureAlgorithmsExtensionRequired => NOTHING_IN_COMMON,
        _ => "the peer lacks a part of TLS that is needed here",
    }
}

/// The fault for an alert from the peer; `layer` precedes its text.
pub(super) fn alert_fault(layer: &str, alert: AlertDescription) -> Fault {
    let (kind, words) = alert_meaning(alert);
    let fault = Fault::new(kind, format!("{layer}: {words} (alert {})", u8::from(alert)));
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => fault.with_hint(OUR_CERTIFICATE),
        _ => fault,
    }
}

/// The meaning of an alert (RFC 8446, section 6; RFC 5246, section 7.2): the peer distrusts or requests a certificate, has
/// an internal error, leaves, or finds no common parameters.
pub(super) fn alert_meaning(alert: AlertDescription) -> (Kind, &'static str) {
    use AlertDescription as A;
    match alert {
        A::CloseNotify => (Kind::Disconnected, "the peer ended TLS"),
        A::UserCanceled => (Kind::Disconnected, "the peer cancelled the handshake"),
        A::InternalError => (Kind::PeerTemporary, "the peer has trouble of its own"),
        A::CertificateRequired | A::NoCertificate => (Kind::TlsUntrusted, "the peer wants a certificate of ours"),
        A::CertificateExpired => (Kind::TlsUntrusted, "to the peer our certificate has expired"),
        A::CertificateRevoked => (Kind::TlsUntrusted, "to the peer our certificate is revoked"),
        A::UnknownCA => (Kind::TlsUntrusted, "the peer does not trust the issuer of our certificate"),
        A::AccessDenied => (Kind::TlsUntrusted, "the peer does not admit us with our certificate"),
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateUnknown
        | A::CertificateUnobtainable
        | A::BadCertificateStatusResponse
        | A::BadCertificateHashValue => (Kind::TlsUntrusted, "the peer does not accept our certificate"),
        A::NoApplicationProtocol => (Kind::Unsupported, "no application protocol in common (ALPN)"),
        A::HandshakeFailure | A::InsufficientSecurity => (Kind::Protocol, NOTHING_IN_COMMON),
        A::ProtocolVersion => (Kind::Protocol, OLD_VERSION),
        A::UnrecognisedName => (Kind::Protocol, "the peer does not serve this name"),
        A::UnexpectedMessage | A::IllegalParameter | A::DecodeError | A::MissingExtension | A::UnsupportedExtension => {
            (Kind::Protocol, "the peer did not understand our messages")
        }
        A::BadRecordMac | A::DecryptionFailed | A::DecryptError | A::RecordOverflow | A::DecompressionFailure => {
            (Kind::Protocol, "the peer could not decrypt or verify our messages")
        }
        _ => (Kind::Protocol, "the peer refused the handshake"),
    }
}
