//! Pins: SHA-256 digests of a certificate, or of its public key (SubjectPublicKeyInfo, RFC 7469, section 2.4).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::hex;

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The SHA-256 digest of a certificate or of a public key. Nobody can make a certificate with the digest of a given key, so
/// one list serves both.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificatePin([u8; 32]);

impl CertificatePin {
    /// The pin of these bytes: a certificate, or a SubjectPublicKeyInfo, in DER.
    pub fn of(der: &[u8]) -> CertificatePin {
        let digest = ring::digest::digest(&ring::digest::SHA256, der);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        CertificatePin(bytes)
    }

    /// Pairs of upper-case digits with colons, as `openssl x509 -fingerprint` prints digests of certificates.
    pub fn hex(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }

    /// Base64, as `Public-Key-Pins` and curl's `--pinnedpubkey` write digests of keys.
    pub fn base64(&self) -> String {
        BASE64.encode(self.0)
    }
}

impl FromStr for CertificatePin {
    type Err = &'static str;

    /// Parses 64 hexadecimal digits, with or without colons, or base64; `sha256:`, `sha256/` or `sha256//` may precede either.
    fn from_str(text: &str) -> Result<CertificatePin, &'static str> {
        let head = text.get(..6).filter(|head| head.eq_ignore_ascii_case("sha256"));
        let digest = match head.and_then(|_| text.get(6..)) {
            Some(rest) => ["//", "/", ":"].iter().find_map(|mark| rest.strip_prefix(mark)).unwrap_or(text),
            None => text,
        };
        let digits: Vec<u8> = digest.bytes().filter(|byte| *byte != b':').collect();
        let bytes = match digits.len() {
            64 => hex::parse(&digits),
            _ => BASE64.decode(digest).ok(),
        };
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(CertificatePin).ok_or("not a SHA-256 digest: 64 hexadecimal digits, or 32 bytes in base64")
    }
}

impl fmt::Debug for CertificatePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_notations_come_back() {
        for der in [&b""[..], b"certificate", &[0xff; 300]] {
            let pin = CertificatePin::of(der);
            let (hex, base64) = (pin.hex(), pin.base64());
            let bare = hex.replace(':', "");
            for text in [
                hex.clone(),
                bare.to_lowercase(),
                format!("sha256:{hex}"),
                format!("SHA256:{bare}"),
                base64.clone(),
                base64.trim_end_matches('=').to_owned(),
                format!("sha256//{base64}"),
                format!("sha256/{base64}"),
            ] {
                assert_eq!(text.parse(), Ok(pin), "{text}");
            }
        }
        let bad = ["", "sha256//", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64), "sha1:AAAA", "sha256"];
        for text in bad {
            assert!(text.parse::<CertificatePin>().is_err(), "{text}");
        }
    }
}
