//! Hashed denial (RFC 5155): the NSEC3 records of one zone with one set of parameters, and the bounded hashing that
//! finds names among them.

use super::bitmap::TypeBitmap;
use super::crypto::sha1;
use super::{Budget, Reason, ede};
use crate::dns::name::{Name, NameRef};
use crate::dns::record::rdata::{Nsec3, Nsec3Param};
use crate::dns::record::{Record, atoms};

/// The maximum number of iterations; a zone with more counts as unsigned (RFC 9276, section 3.2; CVE-2023-50868).
pub const MAX_ITERATIONS: u16 = 100;

/// One stored NSEC3 record: a name that exists, and the gap after it.
#[derive(Debug)]
pub(super) struct Nsec3Gap {
    hash: Vec<u8>,
    next: Vec<u8>,
    pub(super) opt_out: bool,
    pub(super) types: TypeBitmap,
}

/// The NSEC3 records of an answer that share zone and parameters (RFC 5155, section 8.2).
#[derive(Debug)]
pub(super) struct Hashed {
    zone: Name,
    iterations: u16,
    salt: Vec<u8>,
    records: Vec<Nsec3Gap>,
}

impl Hashed {
    pub(super) fn new(zone: &Name) -> Hashed {
        Hashed { zone: zone.clone(), iterations: 0, salt: Vec::new(), records: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Adds a record if it is usable: SHA-1, no unknown flags, directly below the zone's apex, and the same parameters
    /// as the records before.
    pub(super) fn add(&mut self, record: &Record) {
        const OPT_OUT: u8 = 1;
        let read = || {
            let Nsec3 { param: Nsec3Param { algorithm, flags, iterations, salt }, next, types } =
                Nsec3::parse(&record.rdata).ok()?;
            let hash = atoms::from_base32(record.name.labels().next()?)?;
            let ours = algorithm == Nsec3Param::SHA1
                && flags & !OPT_OUT == 0
                && record.name.parent().as_ref() == Some(&self.zone)
                && hash.len() == next.len();
            let nsec3 =
                Nsec3Gap { hash, next: next.to_vec(), opt_out: flags & OPT_OUT != 0, types: TypeBitmap::new(types) };
            ours.then_some((iterations, salt, nsec3))
        };
        let Some((iterations, salt, nsec3)) = read() else { return };
        if self.records.is_empty() {
            (self.iterations, self.salt) = (iterations, salt.to_vec());
        }
        if (self.iterations, self.salt.as_slice()) == (iterations, salt) {
            self.records.push(nsec3);
        }
    }

    /// The reason why the records may not be used at all, if there is one.
    pub(super) fn excess(&self) -> Option<Reason> {
        (self.iterations > MAX_ITERATIONS && !self.is_empty()).then(|| {
            let text =
                format!("NSEC3 of {} wants {} iterations, more than {MAX_ITERATIONS}", self.zone, self.iterations);
            Reason::new(ede::NSEC3_ITERATIONS, text)
        })
    }

    /// The record that matches the name.
    pub(super) fn matching(&self, name: &Name, budget: &mut Budget) -> Result<Option<&Nsec3Gap>, Reason> {
        if !name.is_in(&self.zone) || self.is_empty() {
            return Ok(None);
        }
        let hash = self.hash(name, budget)?;
        Ok(self.records.iter().find(|record| record.hash == hash))
    }

    /// The record whose gap covers the name's hash: the name does not exist.
    pub(super) fn covering(&self, name: &Name, budget: &mut Budget) -> Result<Option<&Nsec3Gap>, Reason> {
        if !name.is_in(&self.zone) || self.is_empty() {
            return Ok(None);
        }
        let hash = self.hash(name, budget)?;
        let inside = |record: &&Nsec3Gap| {
            let (from, to) = (&record.hash, &record.next);
            if from < to { *from < hash && hash < *to } else { (hash > *from || hash < *to) && hash != *from }
        };
        Ok(self.records.iter().find(inside))
    }

    /// The closest encloser of a name, and the record that denies the next closer name (`None` for the name itself).
    /// `None`: there is no proof (RFC 5155, section 8.3).
    pub(super) fn enclose(
        &self,
        name: &Name,
        budget: &mut Budget,
    ) -> Result<Option<(Name, Option<&Nsec3Gap>)>, Reason> {
        let depth = name.label_count().saturating_sub(self.zone.label_count());
        let mut below: Option<Name> = None;
        for skip in 0..=depth {
            let Some(candidate) = name.suffix(skip) else { return Ok(None) };
            if let Some(record) = self.matching(&candidate, budget)? {
                if record.types.end_authority(&candidate, name) {
                    return Ok(None);
                }
                let gap = match &below {
                    Some(next_closer) => match self.covering(next_closer, budget)? {
                        Some(gap) => Some(gap),
                        None => return Ok(None),
                    },
                    None => None,
                };
                return Ok(Some((candidate, gap)));
            }
            below = Some(candidate);
        }
        Ok(None)
    }

    fn hash(&self, name: &Name, budget: &mut Budget) -> Result<Vec<u8>, Reason> {
        budget.hash(u32::from(self.iterations) + 1)?;
        Ok(hash(name.borrowed(), self.iterations, &self.salt))
    }
}

/// The hash of a name (RFC 5155, section 5).
pub(crate) fn hash(name: NameRef<'_>, iterations: u16, salt: &[u8]) -> Vec<u8> {
    let mut digest = sha1(&[&name.as_wire().to_ascii_lowercase(), salt]);
    for _ in 0..iterations {
        digest = sha1(&[digest.as_ref(), salt]);
    }
    digest.as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 5155, appendix A.
    #[test]
    fn hashes_of_the_rfc() {
        for (name, expected) in [
            ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            ("*.w.example", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
            ("2T7B4G4VSA5SMI47K61MV5BV1A22BOJR.EXAMPLE", "kohar7mbb8dc2ce8a9qvl8hon4k53uhi"),
        ] {
            let hash = hash(Name::parse(name).unwrap().borrowed(), 12, &[0xaa, 0xbb, 0xcc, 0xdd]);
            assert_eq!(hash, atoms::from_base32(expected.as_bytes()).unwrap(), "{name}");
        }
    }
}
