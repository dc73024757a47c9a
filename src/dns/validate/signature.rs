//! Signatures over record sets (RFC 4034, sections 3 and 6; RFC 4035, section 5.3), keys and digests. Time and the work
//! that may be spent come in from outside.

use domain::base::iana::SecurityAlgorithm;
use domain::crypto::common::{DigestBuilder, DigestType, PublicKey};
use domain::rdata::Dnskey;

use super::{Budget, Reason, ede};
use crate::dns::name::Name;
use crate::dns::record::{self, Record, Rtype};
use crate::dns::wire::{Cursor, Malformed};

/// Keys tried for one signature: honest zones have one key a tag, seldom two (KeyTrap, CVE-2023-50387).
pub const MAX_KEYS_PER_TAG: usize = 4;
/// Signatures checked for one record set.
pub const MAX_CHECKS_PER_SET: usize = 8;

/// An RRSIG record taken apart.
#[derive(Debug, Clone)]
pub(super) struct Signature<'a> {
    pub(super) covered: Rtype,
    pub(super) algorithm: u8,
    pub(super) labels: usize,
    pub(super) expiration: u32,
    pub(super) inception: u32,
    pub(super) key_tag: u16,
    pub(super) signer: Name,
    original_ttl: u32,
    /// The fields before the signer's name, as they are signed.
    head: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Signature<'a> {
    pub(super) fn parse(rdata: &'a [u8]) -> Result<Signature<'a>, Malformed> {
        let mut cursor = Cursor::new(rdata);
        let covered = Rtype(cursor.u16()?);
        let (algorithm, labels) = (cursor.u8()?, usize::from(cursor.u8()?));
        let (original_ttl, expiration, inception) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        let key_tag = cursor.u16()?;
        let head = rdata.get(..cursor.position()).unwrap_or_default();
        let signer = cursor.name()?;
        let signature = cursor.rest();
        Ok(Signature {
            covered,
            algorithm,
            labels,
            expiration,
            inception,
            key_tag,
            signer,
            original_ttl,
            head,
            signature,
        })
    }

    /// True if the set's owner came out of a wildcard (RFC 4035, section 5.3.4).
    pub(super) fn is_expanded(&self, owner: &Name) -> bool {
        let count = owner.label_count();
        self.labels < count && !(owner.is_wildcard() && self.labels + 1 == count)
    }

    /// What was signed: the RRSIG without its signature, then the records in canonical form and order (RFC 4034,
    /// section 3.1.8.1).
    fn signed_data(&self, set: &[&Record]) -> Option<Vec<u8>> {
        let first = set.first()?;
        let surplus = first.name.label_count().checked_sub(self.labels)?;
        let mut owner = first.name.suffix(surplus)?.to_lower();
        if surplus > 0 {
            owner = owner.prepend(b"*").ok()?;
        }
        let mut rdata: Vec<Vec<u8>> =
            set.iter().map(|record| record::canonical(record.rtype, &record.rdata)).collect::<Result<_, _>>().ok()?;
        rdata.sort();
        rdata.dedup();
        let mut data = self.head.to_vec();
        data.extend_from_slice(self.signer.to_lower().as_wire());
        for one in rdata {
            data.extend_from_slice(owner.as_wire());
            data.extend(first.rtype.0.to_be_bytes());
            data.extend(first.class.0.to_be_bytes());
            data.extend(self.original_ttl.to_be_bytes());
            data.extend(u16::try_from(one.len()).ok()?.to_be_bytes());
            data.extend(one);
        }
        Some(data)
    }

    /// Validity in time, in the arithmetic of serial numbers (RFC 4034, section 3.1.5).
    fn check_time(&self, at: u64) -> Result<(), Reason> {
        let now = at as u32; // modulo 2^32 by definition
        let before = |a: u32, b: u32| (a.wrapping_sub(b) as i32) < 0;
        let (inception, expiration) = (time_text(self.inception), time_text(self.expiration));
        if before(self.expiration, self.inception) {
            Err(Reason::new(ede::EXPIRED_BEFORE_VALID, format!("signature ends ({expiration}) before it begins")))
        } else if before(self.expiration, now) {
            Err(Reason::new(ede::EXPIRED, format!("signature expired at {expiration}")))
        } else if before(now, self.inception) {
            Err(Reason::new(ede::NOT_YET_VALID, format!("signature is not valid before {inception}")))
        } else {
            Ok(())
        }
    }
}

/// Seconds since 1970 as RFC 3339 has them.
pub(super) fn time_text(seconds: u32) -> String {
    jiff::Timestamp::from_second(seconds.into()).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// A DNSKEY record (RFC 4034, section 2).
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) flags: u16,
    pub(super) algorithm: u8,
    pub(super) tag: u16,
    protocol: u8,
    rdata: Vec<u8>,
}

impl Key {
    const ZONE: u16 = 0x0100;
    const REVOKED: u16 = 0x0080;
    /// The length of flags, protocol and algorithm.
    const HEAD_BYTES: usize = 4;

    pub(super) fn parse(rdata: &[u8]) -> Result<Key, Malformed> {
        let mut cursor = Cursor::new(rdata);
        let (flags, protocol, algorithm) = (cursor.u16()?, cursor.u8()?, cursor.u8()?);
        Ok(Key { flags, algorithm, tag: key_tag(rdata), protocol, rdata: rdata.to_vec() })
    }

    /// The whole data of the record.
    pub(super) fn rdata(&self) -> &[u8] {
        &self.rdata
    }

    /// True for keys that may sign a zone: the zone bit, the one protocol, not revoked (RFC 4034, section 2.1; RFC 5011).
    pub(super) fn is_usable(&self) -> bool {
        self.flags & Key::ZONE != 0 && self.flags & Key::REVOKED == 0 && self.protocol == 3
    }

    /// True with the bit that marks keys which only sign keys.
    pub(super) fn is_entry_point(&self) -> bool {
        self.flags & 1 != 0
    }

    /// True if this is the digest of this key for this zone (RFC 4034, section 5.1.4).
    pub(super) fn has_digest(&self, zone: &Name, digest_type: u8, digest: &[u8]) -> bool {
        let kind = match digest_type {
            1 => DigestType::Sha1,
            2 => DigestType::Sha256,
            4 => DigestType::Sha384,
            _ => return false,
        };
        let mut builder = DigestBuilder::new(kind);
        builder.update(zone.to_lower().as_wire());
        builder.update(&self.rdata);
        builder.finish().as_ref() == digest
    }

    fn verifies(&self, data: &[u8], signature: &[u8]) -> bool {
        let material = self.rdata.get(Key::HEAD_BYTES..).unwrap_or_default();
        // An elliptic key of the wrong length is refused by the curve's code, an RSA key by its exponent and size.
        let key = Dnskey::new(self.flags, self.protocol, SecurityAlgorithm::from(self.algorithm), material);
        let key = key.ok().and_then(|key| PublicKey::from_dnskey(&key).ok());
        key.is_some_and(|key| key.verify(data, signature).is_ok())
    }
}

/// The tag that signatures and digests name a key by (RFC 4034, appendix B).
pub(super) fn key_tag(rdata: &[u8]) -> u16 {
    let sum: u32 = rdata
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
            [high] => u32::from(*high) << 8,
            _ => 0,
        })
        .fold(0, u32::wrapping_add);
    (sum.wrapping_add(sum >> 16) & 0xffff) as u16
}

/// True for the algorithms we can check: RSA, ECDSA, Ed25519 (RFC 8624, section 3.1).
pub(super) fn knows_algorithm(algorithm: u8) -> bool {
    matches!(algorithm, 5 | 7 | 8 | 10 | 13 | 14 | 15)
}

/// Checks a set against the keys of a zone; gives the signature that is right. What is wrong with the others is told
/// only if none is.
pub(super) fn check<'s, 'a>(
    set: &[&Record],
    signatures: &'s [Signature<'a>],
    keys: &[Key],
    at: u64,
    budget: &mut Budget,
) -> Result<&'s Signature<'a>, Reason> {
    let mut why = Reason::new(ede::RRSIGS_MISSING, "no signature".to_owned());
    let mut checks = 0;
    for signature in signatures {
        let owner = set.first().map_or_else(Name::root, |record| record.name.clone());
        if signature.labels > owner.label_count() {
            why = Reason::new(ede::BOGUS, "signature counts more labels than the name has".to_owned());
            continue;
        }
        if !knows_algorithm(signature.algorithm) {
            let text = format!("signature algorithm {} is not supported", signature.algorithm);
            why = Reason::new(ede::UNSUPPORTED_ALGORITHM, text);
            continue;
        }
        let matching = keys.iter().filter(|key| key.tag == signature.key_tag && key.algorithm == signature.algorithm);
        let mut matching = matching.filter(|key| key.is_usable()).take(MAX_KEYS_PER_TAG).peekable();
        if matching.peek().is_none() {
            let text = format!("{} has no usable key {}", signature.signer, signature.key_tag);
            why = Reason::new(ede::DNSKEY_MISSING, text);
            continue;
        }
        if let Err(reason) = signature.check_time(at) {
            why = reason;
            continue;
        }
        let Some(data) = signature.signed_data(set) else { continue };
        for key in matching {
            checks += 1;
            if checks > MAX_CHECKS_PER_SET {
                let text = format!("more than {MAX_CHECKS_PER_SET} signatures to check for one set");
                return Err(Reason::new(ede::BOGUS, text));
            }
            budget.check()?;
            if key.verifies(&data, signature.signature) {
                return Ok(signature);
            }
            budget.failed()?;
            let text = format!("signature by key {} of {} is wrong", key.tag, signature.signer);
            why = Reason::new(ede::BOGUS, text);
        }
    }
    Err(why)
}
