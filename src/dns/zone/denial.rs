//! Denial of existence in a signed zone: its NSEC records in canonical order, or its NSEC3 records in the order of their
//! hashes. Unsigned zones have neither, at no cost.

use super::Zone;
use crate::dns::name::{Name, NameRef};
use crate::dns::record::rdata::{Nsec3, Nsec3Param};
use crate::dns::record::{Rtype, atoms};
use crate::dns::validate::nsec3;

/// The maximum number of iterations of a served zone: each costs time per negative answer (RFC 5155, section 10.3 allowed no
/// more for any key size).
const MAX_SERVED_ITERATIONS: u16 = 2500;

/// The records with which a zone denies existence.
#[derive(Debug, Clone, Copy)]
pub enum Denial<'a> {
    /// No such records: the zone is unsigned.
    Unsigned,
    /// NSEC: its owner names in canonical order (RFC 4034, section 4).
    Nsec(&'a [Name]),
    /// NSEC3: its hashes in order (RFC 5155).
    Nsec3(&'a Hashes),
}

/// The NSEC3 records of a zone.
#[derive(Debug, Clone)]
pub struct Hashes {
    iterations: u16,
    salt: Vec<u8>,
    /// Hash and owner, sorted.
    owners: Vec<(Vec<u8>, Name)>,
}

/// The index for denial of existence, built once when the zone is read.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    nsec: Vec<Name>,
    nsec3: Option<Hashes>,
}

impl Index {
    pub(super) fn of(zone: &Zone) -> Index {
        let with_nsec = zone.nodes.iter().filter(|(_, node)| node.set(Rtype::NSEC).is_some());
        let mut nsec: Vec<Name> = with_nsec.map(|(name, _)| name.clone()).collect();
        nsec.sort();
        Index { nsec, nsec3: Hashes::of(zone) }
    }

    pub(super) fn get(&self) -> Denial<'_> {
        match &self.nsec3 {
            Some(hashes) => Denial::Nsec3(hashes),
            None if !self.nsec.is_empty() => Denial::Nsec(&self.nsec),
            None => Denial::Unsigned,
        }
    }
}

impl Hashes {
    /// Collects the complete NSEC3 chain, which is the one with the parameters of NSEC3PARAM (RFC 5155, section 4).
    fn of(zone: &Zone) -> Option<Hashes> {
        let params = zone.node(&zone.origin)?.set(Rtype::NSEC3PARAM)?.rdata.iter().find_map(|rdata| {
            let param = Nsec3Param::parse(rdata).ok()?;
            let usable = param.algorithm == Nsec3Param::SHA1 && param.flags == 0;
            (usable && param.iterations <= MAX_SERVED_ITERATIONS).then_some(param)
        })?;
        let with_params = |rdata: &Vec<u8>| {
            Nsec3::parse(rdata)
                .is_ok_and(|nsec3| (nsec3.param.iterations, nsec3.param.salt) == (params.iterations, params.salt))
        };
        let mut owners: Vec<(Vec<u8>, Name)> = zone
            .hashed
            .iter()
            .filter(|(_, node)| node.set(Rtype::NSEC3).is_some_and(|set| set.rdata.iter().any(with_params)))
            .filter_map(|(owner, _)| Some((atoms::from_base32(owner.labels().next()?)?, owner.clone())))
            .collect();
        owners.sort();
        (!owners.is_empty()).then_some(Hashes { iterations: params.iterations, salt: params.salt.to_vec(), owners })
    }

    /// The owner of the NSEC3 record that matches this name.
    pub fn matching(&self, name: NameRef<'_>) -> Option<&Name> {
        let hash = self.hash(name);
        let at = self.owners.binary_search_by(|(known, _)| known.cmp(&hash)).ok()?;
        self.owners.get(at).map(|(_, owner)| owner)
    }

    /// The owner of the NSEC3 record that covers this name's hash.
    pub fn covering(&self, name: NameRef<'_>) -> Option<&Name> {
        let hash = self.hash(name);
        let after = self.owners.partition_point(|(known, _)| *known <= hash);
        before(&self.owners, after).map(|(_, owner)| owner)
    }

    fn hash(&self, name: NameRef<'_>) -> Vec<u8> {
        nsec3::hash(name, self.iterations, &self.salt)
    }
}

/// The owner of the NSEC record that matches or covers this name.
pub(crate) fn at_or_before<'a>(names: &'a [Name], name: NameRef<'_>) -> Option<&'a Name> {
    before(names, names.partition_point(|known| known.borrowed() <= name))
}

/// The entry before an index, with wrap-around from the first to the last entry.
fn before<T>(entries: &[T], place: usize) -> Option<&T> {
    entries.get(place.checked_sub(1).unwrap_or(entries.len().checked_sub(1)?))
}
