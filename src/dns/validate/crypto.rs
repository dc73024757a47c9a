//! The algorithms of DNSSEC on ring: signatures (RFC 3110, 5702, 6605, 8080) and digests (RFC 4034, 4509, 6605). This
//! module handles only public keys and verification, so it has no secret data.

use ring::digest::{self, Digest};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::dns::record::rdata::Dnskey;

/// The longest RSA exponent and modulus (RFC 3110, section 2).
const MAX_RSA_BYTES: usize = 512;

/// The requirements of a signature algorithm (RFC 8624, section 3.1).
enum Verifier {
    Rsa(&'static RsaParameters),
    /// The key is a point without the byte that marks it as uncompressed (RFC 6605, section 4).
    Ecdsa(&'static dyn VerificationAlgorithm),
    Ed25519,
}

/// The verifier of an algorithm; `None` for unsupported algorithms.
fn verifier(algorithm: u8) -> Option<Verifier> {
    Some(match algorithm {
        5 | 7 => Verifier::Rsa(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY),
        8 => Verifier::Rsa(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
        10 => Verifier::Rsa(&RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY),
        13 => Verifier::Ecdsa(&ECDSA_P256_SHA256_FIXED),
        14 => Verifier::Ecdsa(&ECDSA_P384_SHA384_FIXED),
        15 => Verifier::Ed25519,
        _ => return None,
    })
}

/// True for supported algorithms.
pub(super) fn knows_algorithm(algorithm: u8) -> bool {
    verifier(algorithm).is_some()
}

/// True if the key made this signature of the data. The curve's code rejects an elliptic key of the wrong length.
pub(super) fn verifies(key: &Dnskey<'_>, data: &[u8], signature: &[u8]) -> bool {
    match verifier(key.algorithm) {
        Some(Verifier::Rsa(parameters)) => rsa_key(key.public_key)
            .is_some_and(|(n, e)| RsaPublicKeyComponents { n, e }.verify(parameters, data, signature).is_ok()),
        Some(Verifier::Ecdsa(curve)) => {
            let point = [&[4], key.public_key].concat();
            UnparsedPublicKey::new(curve, point).verify(data, signature).is_ok()
        }
        Some(Verifier::Ed25519) => UnparsedPublicKey::new(&ED25519, key.public_key).verify(data, signature).is_ok(),
        None => false,
    }
}

/// Modulus and exponent of an RSA key (RFC 3110, section 2): neither is empty, too long or begins with a zero.
fn rsa_key(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match key {
        [0, high @ 1..=255, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        [length @ 1..=255, rest @ ..] => (usize::from(*length), rest),
        _ => return None,
    };
    let (exponent, modulus) = rest.split_at_checked(length)?;
    let fits = |number: &[u8]| number.first().is_some_and(|first| *first != 0) && number.len() <= MAX_RSA_BYTES;
    (fits(exponent) && fits(modulus)).then_some((modulus, exponent))
}

/// The digest of these parts, of the type that a DS record names; `None` for unsupported types.
pub(super) fn digest(digest_type: u8, parts: &[&[u8]]) -> Option<Digest> {
    match digest_type {
        1 => Some(sha1(parts)),
        2 => Some(digest_with(&digest::SHA256, parts)),
        4 => Some(digest_with(&digest::SHA384, parts)),
        _ => None,
    }
}

/// The SHA-1 digest of these parts.
pub(super) fn sha1(parts: &[&[u8]]) -> Digest {
    digest_with(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts)
}

fn digest_with(algorithm: &'static digest::Algorithm, parts: &[&[u8]]) -> Digest {
    let mut context = digest::Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    context.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::name::Name;
    use crate::dns::record::rdata::{Ds, Rrsig};
    use crate::dns::record::words::{self, RdataWords};
    use crate::dns::record::{Class, Record, Rtype, parse};
    use crate::dns::validate::signature::{ZoneKey, signed_data};

    fn record(owner: &str, rtype: Rtype, text: &str) -> Record {
        let (words, root) = (words::split(text.as_bytes()).unwrap(), Name::root());
        let rdata = parse::rdata(rtype, &mut RdataWords::new(&words, Some(&root))).unwrap();
        Record { name: Name::parse(owner).unwrap(), rtype, class: Class::IN, ttl: 3600, rdata }
    }

    struct Vector {
        source: &'static str,
        key: &'static str,
        ds: Option<&'static str>,
        set: Record,
        rrsig: &'static str,
    }

    fn vectors() -> Vec<Vector> {
        vec![
            Vector {
                source: "RFC 5702, section 6.2",
                key: "256 3 10 AwEAAdHoNTOW+et86KuJOWRDp1pndvwb6Y83nSVXXyLA3DLroROUkN6X0O6pnWnjJQujX/AyhqFDxj13tOnD9u/1kTg7cV6rklMrZDtJCQ5PCl/D7QNPsgVsMu1J2Q8gpMpztNFLpPBz1bWXjDtaR7ZQBlZ3PFY12ZTSncorffcGmhOL",
                ds: None,
                set: record("www.example.net", Rtype::A, "192.0.2.91"),
                rrsig: "A 10 3 3600 20300101000000 20000101000000 3740 example.net. tsb4wnjRUDnB1BUi+t6TMTXThjVnG+eCkWqjvvjhzQL1d0YRoOe0CbxrVDYd0xDtsuJRaeUw1ep94PzEWzr0iGYgZBWm/zpq+9fOuagYJRfDqfReKBzMweOLDiNa8iP5g9vMhpuv6OPlvpXwm9Sa9ZXIbNl1MBGk0fthPgxdDLw=",
            },
            Vector {
                source: "RFC 6605, section 6.1",
                key: "257 3 13 GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==",
                ds: Some("55648 13 2 b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17"),
                set: record("www.example.net", Rtype::A, "192.0.2.1"),
                rrsig: "A 13 3 3600 20100909100439 20100812100439 55648 example.net. qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==",
            },
            Vector {
                source: "RFC 6605, section 6.2",
                key: "257 3 14 xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1w/egsXvSADtNJhyem5RCOpgQ6K8X1DRSEkrbYQ+OB+v8/uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40",
                ds: Some(
                    "10771 14 4 72d7b62976ce06438e9c0bf319013cf801f09ecc84b8d7e9495f27e305c6a9b0563a9b5f4d288405c3008a946df983d6",
                ),
                set: record("www.example.net", Rtype::A, "192.0.2.1"),
                rrsig: "A 14 3 3600 20100909102025 20100812102025 10771 example.net. /L5hDKIvGDyI1fcARX3z65qrmPsVz73QD1Mr5CEqOiLP95hxQouuroGCeZOvzFaxsT8Glr74hbavRKayJNuydCuzWTSSPdz7wnqXL5bdcJzusdnI0RSMROxxwGipWcJm",
            },
            Vector {
                source: "RFC 8080, section 6.1",
                key: "257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4=",
                ds: Some("3613 15 2 3aa5ab37efce57f737fc1627013fee07bdf241bd10f3b1964ab55c78e79a304b"),
                set: record("example.com", Rtype::MX, "10 mail.example.com."),
                rrsig: "MX 15 2 3600 1440021600 1438207200 3613 example.com. oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg==",
            },
        ]
    }

    #[test]
    fn signatures_and_digests_of_the_rfcs() {
        for Vector { source, key, ds, set, rrsig } in vectors() {
            let rrsig = record("x", Rtype::RRSIG, rrsig).rdata;
            let rrsig = Rrsig::parse(&rrsig).unwrap();
            let zone = rrsig.signer.to_name();
            let rdata = record("x", Rtype::DNSKEY, key).rdata;
            let (zone_key, key) = (ZoneKey::parse(&rdata).unwrap(), Dnskey::parse(&rdata).unwrap());
            assert_eq!((zone_key.tag, zone_key.algorithm), (rrsig.key_tag, rrsig.algorithm), "{source}");
            let data = signed_data(&rrsig, &[&set]).unwrap();
            assert!(verifies(&key, &data, rrsig.signature), "{source}");
            for at in 0..rrsig.signature.len() {
                let mut wrong = rrsig.signature.to_vec();
                wrong[at] ^= 1;
                assert!(!verifies(&key, &data, &wrong), "{source}: byte {at} changed");
                assert!(!verifies(&key, &data, &rrsig.signature[..at]), "{source}: cut at {at}");
            }
            assert!(!verifies(&key, &data[1..], rrsig.signature), "{source}: other data");
            for algorithm in (0..=255).filter(|algorithm| *algorithm != key.algorithm) {
                assert!(!verifies(&Dnskey { algorithm, ..key }, &data, rrsig.signature), "{source}: as {algorithm}");
            }
            for at in 0..key.public_key.len() {
                let cut = Dnskey { public_key: &key.public_key[..at], ..key };
                assert!(!verifies(&cut, &data, rrsig.signature), "{source}: key cut at {at}");
            }
            if let Some(ds) = ds {
                let ds = record("x", Rtype::DS, ds).rdata;
                let ds = Ds::parse(&ds).unwrap();
                assert!(zone_key.has_digest(&zone, ds.digest_type, ds.digest), "{source}");
                assert!(!zone_key.has_digest(&Name::root(), ds.digest_type, ds.digest), "{source}");
            }
        }
    }

    /// The key is too short, as for every validator with a modern library: the answer counts as bogus, never as secure.
    #[test]
    fn rsa_keys_below_1024_bits_are_refused() {
        let rdata = record(
            "x",
            Rtype::DNSKEY,
            "256 3 8 AwEAAcFcGsaxxdgiuuGmCkVImy4h99CqT7jwY3pexPGcnUFtR2Fh36BponcwtkZ4cAgtvd4Qs8PkxUdp6p/DlUmObdk=",
        )
        .rdata;
        let rrsig = record("x", Rtype::RRSIG, "A 8 3 3600 20300101000000 20000101000000 9033 example.net. kRCOH6u7l0QGy9qpC9l1sLncJcOKFLJ7GhiUOibu4teYp5VE9RncriShZNz85mwlMgNEacFYK/lPtPiVYP4bwg==").rdata;
        let (key, rrsig) = (Dnskey::parse(&rdata).unwrap(), Rrsig::parse(&rrsig).unwrap());
        let data = signed_data(&rrsig, &[&record("www.example.net", Rtype::A, "192.0.2.91")]).unwrap();
        assert!(!verifies(&key, &data, rrsig.signature), "RFC 5702, section 6.1, with its 512 bits");
    }

    #[test]
    fn rsa_keys_are_taken_apart() {
        let key = |parts: &[&[u8]]| rsa_key(&parts.concat()).map(|(n, e)| (n.len(), e.len()));
        assert_eq!(key(&[&[3, 1, 0, 1], &[9; 128]]), Some((128, 3)));
        assert_eq!(key(&[&[0, 1, 0], &[9; 256], &[9; 512]]), Some((512, 256)));
        for (parts, why) in [
            (&[&[][..]][..], "nothing"),
            (&[&[0]], "half a length"),
            (&[&[0, 0, 3, 1, 0, 1, 9]], "a long length that is none"),
            (&[&[3, 1, 0]], "exponent cut short"),
            (&[&[3, 1, 0, 1]], "no modulus"),
            (&[&[3, 0, 0, 1], &[9; 128]], "exponent with a leading zero"),
            (&[&[3, 1, 0, 1, 0], &[9; 128]], "modulus with a leading zero"),
            (&[&[3, 1, 0, 1], &[9; 513]], "modulus over 4096 bits"),
        ] {
            assert_eq!(key(parts), None, "{why}");
        }
    }
}
