//! Authenticated denial of existence: the proofs of NSEC records (RFC 4035, section 5.4; RFC 6840, section 4) and of NSEC3
//! records (RFC 5155, section 8). Their signatures were checked before; this module trusts nothing but the bit maps.

use super::bitmap::TypeBitmap;
use super::nsec3::Hashed;
use super::{Budget, Reason, ede};
use crate::dns::name::Name;
use crate::dns::record::rdata::Nsec;
use crate::dns::record::{Record, Rtype};

/// The result of the check of a negative answer's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenialProof {
    /// The claim is proven.
    Proven,
    /// The claim is proven, but unsigned delegations may exist in the gap (opt-out, RFC 5155, section 6).
    OptOut,
    /// The claim is not proven: the records do not fit, or their check would cost too much.
    Unproven(Reason),
    /// The zone counts as unsigned (too many iterations, RFC 9276, section 3.2).
    Insecure(Reason),
}

impl DenialProof {
    fn missing(text: &str) -> DenialProof {
        DenialProof::Unproven(Reason::new(ede::NSEC_MISSING, text.to_owned()))
    }

    fn of(proven: bool, otherwise: &str) -> DenialProof {
        if proven { DenialProof::Proven } else { DenialProof::missing(otherwise) }
    }
}

/// The result for a delegation without DS records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// A delegation without DS: the names below it are unsigned.
    Unsigned,
    /// No delegation at this name.
    None,
}

/// The denial records of one answer, all of one zone.
#[derive(Debug)]
pub struct Evidence {
    zone: Name,
    nsec: Vec<NsecGap>,
    nsec3: Hashed,
}

impl Evidence {
    /// Takes the usable records.
    pub fn new<'a>(zone: &Name, records: impl Iterator<Item = &'a Record>) -> Evidence {
        let mut evidence = Evidence { zone: zone.clone(), nsec: Vec::new(), nsec3: Hashed::new(zone) };
        for record in records {
            match record.rtype {
                Rtype::NSEC => evidence.nsec.extend(NsecGap::parse(record)),
                Rtype::NSEC3 => evidence.nsec3.add(record),
                _ => {}
            }
        }
        evidence
    }

    /// True if there was no usable record.
    pub fn is_empty(&self) -> bool {
        self.nsec.is_empty() && self.nsec3.is_empty()
    }

    /// Proves that the name does not exist and that no wildcard matches it.
    pub fn no_name(&self, name: &Name, budget: &mut Budget) -> DenialProof {
        let gap = self.nsec.iter().find(|nsec| nsec.denies(name, &self.zone));
        let wildcard = gap.and_then(|gap| gap.closest_encloser(name).prepend(b"*").ok());
        if wildcard.is_some_and(|wildcard| self.nsec.iter().any(|nsec| nsec.denies(&wildcard, &self.zone))) {
            return DenialProof::Proven;
        }
        if self.nsec3.is_empty() {
            return DenialProof::missing("no NSEC record shows that neither the name nor a wildcard for it exists");
        }
        self.hashed(name, |hashed| {
            let found = hashed.enclose(name, budget)?;
            let Some((encloser, gap)) = found.filter(|(encloser, _)| encloser != name) else {
                return Ok(DenialProof::missing("no NSEC3 record shows that the name does not exist"));
            };
            let wildcard = encloser.prepend(b"*").ok();
            let denied = match wildcard {
                Some(wildcard) => hashed.covering(&wildcard, budget)?.is_some(),
                None => true, // longer than a name can be
            };
            Ok(match gap {
                _ if !denied => DenialProof::missing("no NSEC3 record shows that there is no wildcard"),
                Some(gap) if gap.opt_out => DenialProof::OptOut,
                Some(_) => DenialProof::Proven,
                None => DenialProof::missing("no NSEC3 record shows that the name does not exist"),
            })
        })
    }

    /// Proves that the name exists, or that a wildcard matches it, without this type.
    pub fn no_data(&self, name: &Name, rtype: Rtype, budget: &mut Budget) -> DenialProof {
        if let Some(nsec) = self.nsec.iter().find(|nsec| nsec.owner == *name) {
            return DenialProof::of(
                nsec.types.denies(rtype, &nsec.owner),
                "the NSEC record says that this type exists",
            );
        }
        if let Some(gap) = self.nsec.iter().find(|nsec| nsec.covers(name, &self.zone)) {
            if gap.next.is_in(name) {
                return DenialProof::Proven; // the name exists because something is below it
            }
            let wildcard = gap.closest_encloser(name).prepend(b"*").ok();
            let at_wildcard = wildcard.and_then(|wildcard| self.nsec.iter().find(|nsec| nsec.owner == wildcard));
            if at_wildcard.is_some_and(|nsec| nsec.types.denies(rtype, &nsec.owner)) {
                return DenialProof::Proven;
            }
        }
        if self.nsec3.is_empty() {
            return DenialProof::missing("no NSEC record shows that the name lacks this type");
        }
        self.hashed(name, |hashed| {
            if let Some(record) = hashed.matching(name, budget)? {
                let denied = record.types.denies(rtype, name);
                return Ok(DenialProof::of(denied, "the NSEC3 record says that this type exists"));
            }
            let Some((encloser, gap)) = hashed.enclose(name, budget)? else {
                return Ok(DenialProof::missing("no NSEC3 record shows which part of the name exists"));
            };
            if let Ok(wildcard) = encloser.prepend(b"*")
                && gap.is_some()
                && let Some(record) = hashed.matching(&wildcard, budget)?
            {
                let denied = record.types.denies(rtype, &wildcard);
                // A delegation without a signature may stand in the gap, closer than the wildcard (RFC 5155, section 9.2).
                return Ok(match gap {
                    Some(gap) if denied && gap.opt_out => DenialProof::OptOut,
                    _ => DenialProof::of(denied, "the NSEC3 record of the wildcard says that this type exists"),
                });
            }
            Ok(match gap {
                Some(gap) if gap.opt_out => DenialProof::OptOut,
                _ => DenialProof::missing("no NSEC3 record shows that the name lacks this type"),
            })
        })
    }

    /// Proves that no name closer exists than the wildcard, below an ancestor with `labels` labels, that made the answer.
    pub fn no_closer(&self, name: &Name, labels: usize, budget: &mut Budget) -> DenialProof {
        let gap = self.nsec.iter().find(|nsec| nsec.denies(name, &self.zone));
        if gap.is_some_and(|gap| gap.closest_encloser(name).label_count() <= labels) {
            return DenialProof::Proven;
        }
        let surplus = name.label_count().saturating_sub(labels + 1);
        let Some(next_closer) = name.suffix(surplus).filter(|_| !self.nsec3.is_empty()) else {
            return DenialProof::missing("nothing shows that the wildcard may stand for the name");
        };
        self.hashed(name, |hashed| {
            Ok(match hashed.covering(&next_closer, budget)? {
                Some(gap) if gap.opt_out => DenialProof::OptOut,
                Some(_) => DenialProof::Proven,
                None => DenialProof::missing("no NSEC3 record shows that the wildcard may stand for the name"),
            })
        })
    }

    /// Proves that the name has no DS (RFC 4035, section 5.2; RFC 5155, section 8.6); returns whether it is a delegation.
    ///
    /// # Errors
    /// The result of the proof, if it is not `Proven`.
    pub fn no_ds(&self, name: &Name, budget: &mut Budget) -> Result<Cut, DenialProof> {
        let cut = |types: &TypeBitmap| if types.has(Rtype::NS) { Cut::Unsigned } else { Cut::None };
        if let Some(nsec) = self.nsec.iter().find(|nsec| nsec.owner == *name) {
            let denied = nsec.types.denies(Rtype::DS, name);
            return if denied {
                Ok(cut(&nsec.types))
            } else {
                Err(DenialProof::missing("the NSEC record proves nothing here"))
            };
        }
        if self.nsec.iter().any(|nsec| nsec.covers(name, &self.zone)) {
            return Ok(Cut::None); // the name does not exist, or only as a part of longer ones
        }
        let mut found = None;
        let proof = self.hashed(name, |hashed| {
            if let Some(record) = hashed.matching(name, budget)? {
                if record.types.denies(Rtype::DS, name) {
                    found = Some(cut(&record.types));
                    return Ok(DenialProof::Proven);
                }
                return Ok(DenialProof::missing("the NSEC3 record proves nothing here"));
            }
            Ok(match hashed.enclose(name, budget)? {
                Some((_, Some(gap))) => {
                    found = Some(if gap.opt_out { Cut::Unsigned } else { Cut::None });
                    DenialProof::Proven
                }
                _ => DenialProof::missing("nothing shows that there is no DS record"),
            })
        });
        found.ok_or(proof)
    }

    /// Runs a proof about a name on the NSEC3 records; with more iterations than the limit the zone counts as unsigned.
    fn hashed(&self, name: &Name, prove: impl FnOnce(&Hashed) -> Result<DenialProof, Reason>) -> DenialProof {
        match self.nsec3.excess() {
            _ if !name.is_in(&self.zone) => DenialProof::missing("the NSEC3 records are of another zone"),
            Some(reason) => DenialProof::Insecure(reason),
            None => prove(&self.nsec3).unwrap_or_else(DenialProof::Unproven),
        }
    }
}

/// One stored NSEC record: a name that exists, and the gap after it (RFC 4034, section 4).
#[derive(Debug)]
struct NsecGap {
    owner: Name,
    next: Name,
    types: TypeBitmap,
}

impl NsecGap {
    fn parse(record: &Record) -> Option<NsecGap> {
        let Nsec { next, types } = Nsec::parse(&record.rdata).ok()?;
        Some(NsecGap { owner: record.name.clone(), next: next.to_name(), types: TypeBitmap::new(types) })
    }

    /// True if the name lies in the gap after the owner.
    fn covers(&self, name: &Name, zone: &Name) -> bool {
        if !name.is_in(zone) || *name <= self.owner || self.types.end_authority(&self.owner, name) {
            return false;
        }
        // The last record of a zone leads back to its top.
        *name < self.next || self.next <= self.owner
    }

    /// True if the record shows that the name does not exist at all: a name with names below it does exist.
    fn denies(&self, name: &Name, zone: &Name) -> bool {
        self.covers(name, zone) && !self.next.is_in(name)
    }

    /// The longest existing ancestor of a name in the gap: the longest common ancestor with one of the gap's ends.
    fn closest_encloser(&self, name: &Name) -> Name {
        let common = |other: &Name| {
            (0..=name.label_count())
                .filter_map(|skip| name.suffix(skip))
                .find(|suffix| other.is_in(suffix))
                .unwrap_or_else(Name::root)
        };
        let (with_owner, with_next) = (common(&self.owner), common(&self.next));
        if with_owner.label_count() > with_next.label_count() { with_owner } else { with_next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::record::{Class, parse, words};

    fn record(owner: &str, rtype: Rtype, text: &str) -> Record {
        let words = words::split(text.as_bytes()).unwrap();
        let root = Name::root();
        let rdata = parse::rdata(rtype, &mut words::RdataWords::new(&words, Some(&root))).unwrap();
        Record { name: name(owner), rtype, class: Class::IN, ttl: 1, rdata }
    }

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn evidence(lines: &[(&str, &str)]) -> Evidence {
        let records: Vec<Record> = lines.iter().map(|(owner, text)| record(owner, Rtype::NSEC, text)).collect();
        Evidence::new(&name("z"), records.iter())
    }

    /// z: apex, a, *.w, x.e, sub (delegation), d (DNAME), last.
    fn zone() -> Evidence {
        evidence(&[
            ("z", "a.z NS SOA RRSIG NSEC DNSKEY"),
            ("a.z", "d.z A RRSIG NSEC"),
            ("d.z", "x.e.z DNAME RRSIG NSEC"),
            ("x.e.z", "sub.z CNAME RRSIG NSEC"),
            ("sub.z", "*.w.z NS RRSIG NSEC"),
            ("*.w.z", "z TXT RRSIG NSEC"),
        ])
    }

    #[test]
    fn nsec_denies_names() {
        let mut budget = Budget::default();
        for (text, proven) in [
            ("b.z", true),
            ("a.z", false),
            ("e.z", false),         // exists: x.e is below it
            ("y.e.z", true),        // closest encloser e.z
            ("below.sub.z", false), // not ours to say
            ("below.d.z", false),   // renamed
            ("zz.z", true),         // after the last
            ("q.w.z", false),       // the wildcard stands for it
            ("other", false),
        ] {
            assert_eq!(zone().no_name(&name(text), &mut budget) == DenialProof::Proven, proven, "{text}");
        }
        // The gap alone is not enough: a wildcard could stand for the name.
        let alone = evidence(&[("a.z", "d.z A RRSIG NSEC")]);
        assert!(matches!(alone.no_name(&name("b.z"), &mut budget), DenialProof::Unproven(_)));
    }

    #[test]
    fn nsec_denies_types() {
        let mut budget = Budget::default();
        for (text, rtype, proven) in [
            ("a.z", Rtype::MX, true),
            ("a.z", Rtype::A, false),
            ("e.z", Rtype::A, true),    // an empty non-terminal
            ("x.e.z", Rtype::A, false), // there is a CNAME
            ("sub.z", Rtype::A, false), // the parent does not know
            ("sub.z", Rtype::DS, true),
            ("z", Rtype::DS, false),   // the child does not know
            ("q.w.z", Rtype::A, true), // the wildcard has no A
            ("q.w.z", Rtype::TXT, false),
            ("b.z", Rtype::A, false), // does not exist: that is another claim
        ] {
            assert_eq!(
                zone().no_data(&name(text), rtype, &mut budget) == DenialProof::Proven,
                proven,
                "{text} {rtype}"
            );
        }
    }

    #[test]
    fn wildcards_and_delegations() {
        let mut budget = Budget::default();
        assert_eq!(zone().no_closer(&name("q.w.z"), 2, &mut budget), DenialProof::Proven);
        assert_eq!(zone().no_closer(&name("b.z"), 1, &mut budget), DenialProof::Proven);
        assert!(matches!(zone().no_closer(&name("y.e.z"), 1, &mut budget), DenialProof::Unproven(_)), "e.z is closer");
        assert!(matches!(zone().no_closer(&name("a.z"), 1, &mut budget), DenialProof::Unproven(_)), "exists itself");
        let cut = |text: &str, budget: &mut Budget| zone().no_ds(&name(text), budget).ok();
        assert_eq!(cut("sub.z", &mut budget), Some(Cut::Unsigned));
        assert_eq!(cut("a.z", &mut budget), Some(Cut::None));
        assert_eq!(cut("e.z", &mut budget), Some(Cut::None));
        assert_eq!(cut("b.z", &mut budget), Some(Cut::None));
        assert_eq!(cut("below.sub.z", &mut budget), None);
        assert_eq!(cut("z", &mut budget), None);
    }
}
