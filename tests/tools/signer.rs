//! A signer for tests: keys, signatures, digests and hashes of DNSSEC, written from the RFCs beside the validator's.

use std::collections::BTreeSet;

use applayer::dns::name::Name;
use applayer::dns::record::Rtype;
use ring::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};

/// ring makes no RSA keys.
const RSA_KEY: &[u8] = include_bytes!("../data/dns/signer-rsa.pk8");

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A key of a zone.
pub(crate) struct Key {
    pub(crate) algorithm: u8,
    /// The data of its DNSKEY record.
    pub(crate) dnskey: Vec<u8>,
    tag: u16,
    pair: Pair,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key {} of algorithm {}", self.tag, self.algorithm)
    }
}

impl Key {
    /// A new key (RFC 5702, 6605, 8080); `entry_point`: it is the one that DS records name.
    pub(crate) fn new(algorithm: u8, entry_point: bool) -> Key {
        let random = SystemRandom::new();
        let ecdsa = |curve: &'static EcdsaSigningAlgorithm| {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(curve, pkcs8.as_ref(), &random).unwrap();
            (pair.public_key().as_ref()[1..].to_vec(), Pair::Ecdsa(pair))
        };
        let (public, pair) = match algorithm {
            13 => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            14 => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            15 => {
                let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
                (pair.public_key().as_ref().to_vec(), Pair::Ed25519(pair))
            }
            _ => {
                let pair = RsaKeyPair::from_pkcs8(RSA_KEY).unwrap();
                let public = rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                ([&[public.e.len() as u8], &public.e[..], &public.n].concat(), Pair::Rsa(pair))
            }
        };
        let dnskey = [&[1, u8::from(entry_point), 3, algorithm], &public[..]].concat();
        let sum: u32 = dnskey.iter().enumerate().map(|(at, byte)| u32::from(*byte) << (8 * (1 - at % 2))).sum();
        Key { algorithm, tag: (sum + (sum >> 16)) as u16, dnskey, pair }
    }

    fn sign(&self, data: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&random, data).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(data).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let padding = if self.algorithm == 8 { &RSA_PKCS1_SHA256 } else { &RSA_PKCS1_SHA512 };
                pair.sign(padding, &random, data, &mut signature).unwrap();
                signature
            }
        }
    }
}

/// The data of a DS record for a key, with SHA-256 (RFC 4509).
pub(crate) fn digest_of(key: &Key, zone: &Name) -> Vec<u8> {
    let digest = digest::digest(&SHA256, &[zone.as_wire(), &key.dnskey].concat());
    [&key.tag.to_be_bytes()[..], &[key.algorithm, 2], digest.as_ref()].concat()
}

/// The data of the RRSIG record of a set whose names are in lower case (RFC 4034, section 3.1).
pub(crate) fn rrsig(
    key: &Key,
    zone: &Name,
    owner: &Name,
    rtype: Rtype,
    ttl: u32,
    set: &BTreeSet<Vec<u8>>,
    (from, until): (u32, u32),
) -> Vec<u8> {
    let labels = owner.label_count() - usize::from(owner.is_wildcard());
    let mut head = [&rtype.0.to_be_bytes()[..], &[key.algorithm, labels as u8]].concat();
    [ttl, until, from].iter().for_each(|number| head.extend(number.to_be_bytes()));
    head.extend(key.tag.to_be_bytes());
    head.extend(zone.as_wire());
    let mut data = head.clone();
    for rdata in set {
        data.extend(owner.as_wire());
        data.extend(rtype.0.to_be_bytes());
        data.extend([0, 1]);
        data.extend(ttl.to_be_bytes());
        data.extend((rdata.len() as u16).to_be_bytes());
        data.extend(rdata);
    }
    head.extend(key.sign(&data));
    head
}

/// A bit map of types (RFC 4034, section 4.1.2); all are below 256.
pub(crate) fn types(types: impl Iterator<Item = Rtype>) -> Vec<u8> {
    let mut bits = [0u8; 32];
    types.for_each(|rtype| bits[usize::from(rtype.0 / 8)] |= 0x80 >> (rtype.0 % 8));
    let length = bits.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if length == 0 { Vec::new() } else { [&[0, length as u8], &bits[..length]].concat() }
}

/// The hash of a name in lower case (RFC 5155, section 5).
pub(crate) fn nsec3_hash(name: &Name, iterations: u16, salt: &[u8]) -> Vec<u8> {
    let hash = |data: &[u8]| digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &[data, salt].concat()).as_ref().to_vec();
    (0..iterations).fold(hash(name.as_wire()), |last, _| hash(&last))
}

/// RFC 4648, section 7, without padding; a hash has 160 bits, a multiple of five.
pub(crate) fn base32hex(bytes: &[u8]) -> String {
    let bit = |at: usize| usize::from(bytes[at / 8] >> (7 - at % 8) & 1);
    let letter =
        |at: usize| b"0123456789abcdefghijklmnopqrstuv"[(0..5).fold(0, |sum, bits| sum << 1 | bit(at * 5 + bits))];
    (0..bytes.len() * 8 / 5).map(|at| char::from(letter(at))).collect()
}
