//! Signatures over record sets (RFC 4034, sections 3 and 6; RFC 4035, section 5.3), keys and digests. The caller
//! supplies the time and the work budget.

use super::crypto::{self, knows_algorithm};
use super::{Budget, Reason, ede};
use crate::dns::name::Name;
use crate::dns::record::rdata::{Dnskey, Rrsig, key_tag};
use crate::dns::record::{self, Record};
use crate::dns::wire::Malformed;
use crate::serial::Serial;

/// The maximum number of keys tried for one signature: real zones have one key per tag, seldom two (KeyTrap, CVE-2023-50387).
pub const MAX_KEYS_PER_TAG: usize = 4;
/// The maximum number of signatures checked for one record set.
pub const MAX_CHECKS_PER_SET: usize = 8;

/// True if a wildcard made the set's owner (RFC 4035, section 5.3.4).
pub(super) fn is_expanded(rrsig: &Rrsig<'_>, owner: &Name) -> bool {
    let count = owner.label_count();
    rrsig.labels < count && !(owner.is_wildcard() && rrsig.labels + 1 == count)
}

/// The signed data: the RRSIG without its signature, then the records in canonical form and order (RFC 4034, section
/// 3.1.8.1).
pub(super) fn signed_data(rrsig: &Rrsig<'_>, set: &[&Record]) -> Option<Vec<u8>> {
    let first = set.first()?;
    let surplus = first.name.label_count().checked_sub(rrsig.labels)?;
    let mut owner = first.name.suffix(surplus)?.to_lower();
    if surplus > 0 {
        owner = owner.prepend(b"*").ok()?;
    }
    let mut rdata: Vec<Vec<u8>> =
        set.iter().map(|record| record::canonical(record.rtype, &record.rdata)).collect::<Result<_, _>>().ok()?;
    rdata.sort();
    rdata.dedup();
    let mut data = rrsig.head.to_vec();
    data.extend_from_slice(rrsig.signer.to_name().to_lower().as_wire());
    for one in rdata {
        data.extend_from_slice(owner.as_wire());
        data.extend(first.rtype.0.to_be_bytes());
        data.extend(first.class.0.to_be_bytes());
        data.extend(rrsig.original_ttl.to_be_bytes());
        data.extend(u16::try_from(one.len()).ok()?.to_be_bytes());
        data.extend(one);
    }
    Some(data)
}

/// Checks the validity period in serial number arithmetic (RFC 4034, section 3.1.5). Times that cannot be compared do
/// not prove validity.
fn check_time(rrsig: &Rrsig<'_>, at: u64) -> Result<(), Reason> {
    let now = Serial(at as u32); // modulo 2^32 by definition
    let in_order = |earlier: Serial, later: Serial| earlier <= later;
    let (inception, expiration) = (time_text(rrsig.inception), time_text(rrsig.expiration));
    if !in_order(rrsig.inception, rrsig.expiration) {
        Err(Reason::new(ede::EXPIRED_BEFORE_VALID, format!("signature ends ({expiration}) before it begins")))
    } else if !in_order(now, rrsig.expiration) {
        Err(Reason::new(ede::EXPIRED, format!("signature expired at {expiration}")))
    } else if !in_order(rrsig.inception, now) {
        Err(Reason::new(ede::NOT_YET_VALID, format!("signature is not valid before {inception}")))
    } else {
        Ok(())
    }
}

/// Seconds since 1970 in the format of RFC 3339.
pub(super) fn time_text(seconds: Serial) -> String {
    jiff::Timestamp::from_second(seconds.0.into()).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// A stored DNSKEY record (RFC 4034, section 2).
#[derive(Debug, Clone)]
pub(super) struct ZoneKey {
    pub(super) flags: u16,
    pub(super) algorithm: u8,
    pub(super) tag: u16,
    protocol: u8,
    rdata: Vec<u8>,
}

impl ZoneKey {
    const ZONE: u16 = 0x0100;
    const REVOKED: u16 = 0x0080;

    pub(super) fn parse(rdata: &[u8]) -> Result<ZoneKey, Malformed> {
        let Dnskey { flags, protocol, algorithm, .. } = Dnskey::parse(rdata)?;
        Ok(ZoneKey { flags, algorithm, tag: key_tag(rdata), protocol, rdata: rdata.to_vec() })
    }

    /// The complete data of the record.
    pub(super) fn rdata(&self) -> &[u8] {
        &self.rdata
    }

    /// True for keys that may sign a zone: zone bit set, protocol 3, not revoked (RFC 4034, section 2.1; RFC 5011).
    pub(super) fn is_usable(&self) -> bool {
        self.flags & ZoneKey::ZONE != 0 && self.flags & ZoneKey::REVOKED == 0 && self.protocol == 3
    }

    /// True if the SEP bit is set, which marks keys that sign only keys.
    pub(super) fn is_entry_point(&self) -> bool {
        self.flags & 1 != 0
    }

    /// True if this is the digest of this key for this zone (RFC 4034, section 5.1.4).
    pub(super) fn has_digest(&self, zone: &Name, digest_type: u8, digest: &[u8]) -> bool {
        crypto::digest(digest_type, &[zone.to_lower().as_wire(), &self.rdata]).is_some_and(|own| own.as_ref() == digest)
    }

    fn verifies(&self, data: &[u8], signature: &[u8]) -> bool {
        Dnskey::parse(&self.rdata).is_ok_and(|key| crypto::verifies(&key, data, signature))
    }
}

/// Checks a set against the keys of a zone and returns the valid signature. The faults of the other signatures are
/// reported only if none is valid.
pub(super) fn check<'s, 'a>(
    set: &[&Record],
    signatures: &'s [Rrsig<'a>],
    keys: &[ZoneKey],
    at: u64,
    budget: &mut Budget,
) -> Result<&'s Rrsig<'a>, Reason> {
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
        if let Err(reason) = check_time(signature, at) {
            why = reason;
            continue;
        }
        let Some(data) = signed_data(signature, set) else { continue };
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
