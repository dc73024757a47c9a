//! Zone files (RFC 1035, section 5) and the zones made of them: what an authoritative server needs to look up.

mod denial;
mod generate;
mod reader;

use std::fmt;

pub(crate) use denial::at_or_before;
pub use denial::{Denial, Hashes};
pub use reader::{Load, MAX_INCLUDE_DEPTH, ZoneEntry, ZoneReader, ZoneSource};

use indexmap::IndexMap;

use super::name::{Name, NameKey, NameRef};
use super::record::rdata::{Rrsig, Soa};
use super::record::{Class, Record, Rtype};
use crate::serial::Serial;
use denial::Index;

/// One authoritative zone in memory.
#[derive(Debug, Clone)]
pub struct Zone {
    origin: Name,
    soa: Record,
    soa_data: Soa,
    /// Every name that exists, empty non-terminals too (RFC 4592, section 2.2.2), in canonical order.
    nodes: IndexMap<Name, NameNode>,
    /// NSEC3 records with their signatures, whose owners are no names of the zone (RFC 5155, section 7.2.8), likewise.
    hashed: IndexMap<Name, NameNode>,
    denial: Index,
    records: usize,
}

/// The records of one name.
#[derive(Debug, Clone, Default)]
pub struct NameNode {
    sets: Vec<Set>,
}

/// The records of one name and type.
#[derive(Debug, Clone)]
pub struct Set {
    /// Their type.
    pub rtype: Rtype,
    /// The type that they sign, for RRSIG: each type has its own, with its TTL (RFC 4034, section 3).
    pub covered: Option<Rtype>,
    /// Their common time to live (RFC 2181, section 5.2): the smallest that was written.
    pub ttl: u32,
    /// Their data.
    pub rdata: Vec<Vec<u8>>,
}

impl NameNode {
    /// The set of this type.
    pub fn set(&self, rtype: Rtype) -> Option<&Set> {
        self.sets.iter().find(|set| set.rtype == rtype)
    }

    /// The signatures of the set of this type.
    pub fn signatures(&self, covered: Rtype) -> Option<&Set> {
        self.sets.iter().find(|set| set.covered == Some(covered))
    }

    /// All sets.
    pub fn sets(&self) -> &[Set] {
        &self.sets
    }
}

/// Why a text is no zone: where, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneError {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 for the zone as a whole.
    pub line: usize,
    /// What is wrong there.
    pub why: String,
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.why),
            line => write!(f, "{}:{line}: {}", self.file, self.why),
        }
    }
}

impl std::error::Error for ZoneError {}

impl From<ZoneError> for crate::fault::Fault {
    fn from(error: ZoneError) -> Self {
        crate::fault::Fault::new(crate::fault::Kind::BadData, error.to_string())
    }
}

impl Zone {
    /// Reads a zone file. `origin` completes relative names until the file says otherwise; the zone is what the SOA
    /// record stands at.
    ///
    /// # Errors
    /// The text is no zone.
    pub fn read(source: ZoneSource, origin: Option<Name>, load: &mut Load<'_>) -> Result<Zone, ZoneError> {
        let file = source.name.clone();
        let whole = |why: String| ZoneError { file: file.clone(), line: 0, why };
        let wanted = origin.clone();
        let mut reader = ZoneReader::new(source, origin);
        let mut early: Vec<ZoneEntry> = Vec::new();
        let mut zone: Option<Zone> = None;
        while let Some(entry) = reader.next(load)? {
            match &mut zone {
                Some(zone) => zone.add(entry)?,
                None if entry.record.rtype == Rtype::SOA => {
                    let mut new = Zone::empty(&entry)?;
                    new.add(entry)?;
                    early.drain(..).try_for_each(|entry| new.add(entry))?;
                    zone = Some(new);
                }
                None => early.push(entry),
            }
        }
        let mut zone = zone.ok_or_else(|| whole("no SOA record".to_owned()))?;
        if wanted.as_ref().is_some_and(|wanted| *wanted != zone.origin) {
            return Err(whole(format!("the SOA record is of {}, not of the zone asked for", zone.origin)));
        }
        zone.check().map_err(whole)?;
        zone.nodes.sort_unstable_keys();
        zone.hashed.sort_unstable_keys();
        zone.denial = Index::of(&zone);
        Ok(zone)
    }

    fn empty(entry: &ZoneEntry) -> Result<Zone, ZoneError> {
        if entry.record.class != Class::IN {
            return Err(entry.error(format!("class {}: only IN is served", entry.record.class)));
        }
        let soa_data = Soa::parse(&entry.record.rdata).map_err(|error| entry.error(format!("SOA data: {error}")))?;
        Ok(Zone {
            origin: entry.record.name.clone(),
            soa: entry.record.clone(),
            soa_data,
            nodes: IndexMap::new(),
            hashed: IndexMap::new(),
            denial: Index::default(),
            records: 0,
        })
    }

    fn add(&mut self, entry: ZoneEntry) -> Result<(), ZoneError> {
        let record = &entry.record;
        if !record.name.is_in(&self.origin) {
            return Err(entry.error(format!("{} is not in the zone {}", record.name, self.origin)));
        }
        if record.rtype.is_meta() {
            return Err(entry.error(format!("{} records do not stand in zones", record.rtype)));
        }
        if record.class != self.soa.class {
            return Err(entry.error(format!("class {} in a zone of class {}", record.class, self.soa.class)));
        }
        if record.rtype == Rtype::SOA
            && self.records > 0
            && record.name == self.origin
            && record.rdata == self.soa.rdata
        {
            return Ok(()); // a transfer ends with the SOA record it began with
        }
        if record.rtype == Rtype::SOA && (self.records > 0 || record.name != self.origin) {
            return Err(entry.error("a second SOA record".to_owned()));
        }
        let covered = match record.rtype {
            Rtype::RRSIG => match Rrsig::parse(&record.rdata) {
                Ok(rrsig) => Some(rrsig.covered),
                Err(error) => return Err(entry.error(format!("RRSIG data: {error}"))),
            },
            _ => None,
        };
        let is_hashed = record.rtype == Rtype::NSEC3 || covered == Some(Rtype::NSEC3);
        // Names between this one and the origin exist too.
        let mut above = record.name.parent().filter(|_| !is_hashed);
        while let Some(name) = above.filter(|name| name.is_in(&self.origin) && !self.nodes.contains_key(name)) {
            above = name.parent();
            self.nodes.insert(name, NameNode::default());
        }
        let nodes = if is_hashed { &mut self.hashed } else { &mut self.nodes };
        let node = nodes.entry(record.name.clone()).or_default();
        let alone = |rtype: Rtype| matches!(rtype, Rtype::CNAME);
        let beside_alias = |rtype: Rtype| matches!(rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::SIG | Rtype::CNAME);
        let clash = if alone(record.rtype) {
            node.sets.iter().any(|set| !beside_alias(set.rtype))
        } else {
            !beside_alias(record.rtype) && node.set(Rtype::CNAME).is_some()
        };
        if clash {
            return Err(entry.error(format!("{} has a CNAME record and other data", record.name)));
        }
        match node.sets.iter_mut().find(|set| set.rtype == record.rtype && set.covered == covered) {
            Some(set) => {
                if matches!(record.rtype, Rtype::CNAME | Rtype::DNAME) && set.rdata.first() != Some(&record.rdata) {
                    return Err(entry.error(format!("{} has several {} records", record.name, record.rtype)));
                }
                set.ttl = set.ttl.min(record.ttl);
                if !set.rdata.contains(&record.rdata) {
                    set.rdata.push(record.rdata.clone());
                }
            }
            None => {
                let (rtype, ttl) = (record.rtype, record.ttl);
                node.sets.push(Set { rtype, covered, ttl, rdata: vec![record.rdata.clone()] });
            }
        }
        self.records += 1;
        Ok(())
    }

    /// Checks what only the whole zone shows.
    fn check(&self) -> Result<(), String> {
        for (name, node) in &self.nodes {
            if let Some(set) = node.set(Rtype::DNAME)
                && set.rdata.iter().any(|rdata| Name::from_wire(rdata).is_err())
            {
                return Err(format!("{name}: DNAME data is not a name"));
            }
        }
        Ok(())
    }

    /// The zone's name.
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// Its SOA record.
    pub fn soa(&self) -> &Record {
        &self.soa
    }

    /// The SOA record as it stands in negative answers: its TTL is at most its MINIMUM (RFC 2308, section 3).
    pub fn negative_soa(&self) -> Record {
        let mut soa = self.soa.clone();
        soa.ttl = soa.ttl.min(self.soa_data.minimum);
        soa
    }

    /// The zone's serial number.
    pub fn serial(&self) -> Serial {
        self.soa_data.serial
    }

    /// The node of a name; none if the name does not exist.
    pub fn node<'n>(&self, name: impl Into<NameRef<'n>>) -> Option<&NameNode> {
        self.nodes.get(&name.into() as &dyn NameKey)
    }

    /// True if the zone has keys: then it is meant to be signed.
    pub fn is_signed(&self) -> bool {
        self.node(&self.origin).is_some_and(|apex| apex.set(Rtype::DNSKEY).is_some())
    }

    /// How the zone proves that something is not there.
    pub fn denial(&self) -> Denial<'_> {
        self.denial.get()
    }

    /// The node of an NSEC3 record.
    pub fn hashed_node(&self, owner: &Name) -> Option<&NameNode> {
        self.hashed.get(owner)
    }

    /// How many records were read.
    pub fn record_count(&self) -> usize {
        self.records
    }

    /// The name at this place of the zone's canonical order; those of NSEC3 records come last.
    pub fn at(&self, place: usize) -> Option<(&Name, &NameNode)> {
        self.nodes.get_index(place).or_else(|| self.hashed.get_index(place.checked_sub(self.nodes.len())?))
    }
}

impl Set {
    /// The records of the set with this owner.
    pub fn records<'s>(&'s self, owner: impl Into<NameRef<'s>>) -> impl Iterator<Item = Record> {
        let owner = owner.into();
        self.rdata.iter().map(move |rdata| Record {
            name: owner.to_name(),
            rtype: self.rtype,
            class: Class::IN,
            ttl: self.ttl,
            rdata: rdata.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Zone, ZoneError> {
        let source = ZoneSource { name: "z".to_owned(), text: text.as_bytes().to_vec() };
        Zone::read(source, None, &mut |_| Err("no files here".to_owned()))
    }

    const HEAD: &str = "$ORIGIN example.test.\n$TTL 1h\n@ SOA ns host 1 2 3 4 5m\n";

    #[test]
    fn a_zone_and_its_tree() {
        let zone =
            read(&format!("{HEAD}@ NS ns\nns A 192.0.2.1\na.b.c TXT x\nns 60 A 192.0.2.2\nns A 192.0.2.1\n")).unwrap();
        assert_eq!(zone.origin().to_string(), "example.test.");
        assert_eq!((zone.serial(), zone.negative_soa().ttl), (Serial(1), 300));
        let name = |text: &str| Name::parse(text).unwrap();
        assert!(zone.node(&name("b.c.example.test")).unwrap().sets().is_empty(), "an empty non-terminal");
        assert!(zone.node(&name("x.example.test")).is_none());
        let set = zone.node(&name("NS.example.test")).unwrap().set(Rtype::A).unwrap();
        assert_eq!((set.rdata.len(), set.ttl), (2, 60), "duplicates are dropped, the smallest TTL counts");
        let order: Vec<String> = (0..).map_while(|place| Some(zone.at(place)?.0.to_string())).collect();
        assert_eq!(order, ["", "c.", "b.c.", "a.b.c.", "ns."].map(|below| format!("{below}example.test.")));
    }

    #[test]
    fn what_is_no_zone() {
        for (text, line, why) in [
            ("", 0, "no SOA record"),
            ("$ORIGIN a.\n@ 1 SOA a b 1 2 3 4 5\nx.b. 1 A 1.2.3.4\n", 3, "x.b. is not in the zone a."),
            ("$ORIGIN a.\n@ 1 SOA a b 1 2 3 4 5\n@ 1 SOA a b 2 2 3 4 5\n", 3, "a second SOA record"),
            (
                "$ORIGIN a.\n@ 1 SOA a b 1 2 3 4 5\nx 1 CNAME y\nx 1 A 1.2.3.4\n",
                4,
                "x.a. has a CNAME record and other data",
            ),
            (
                "$ORIGIN a.\n@ 1 SOA a b 1 2 3 4 5\nx 1 A 1.2.3.4\nx 1 CNAME y\n",
                4,
                "x.a. has a CNAME record and other data",
            ),
            ("$ORIGIN a.\n@ 1 SOA a b 1 2 3 4 5\nx 1 CNAME y\nx 1 CNAME z\n", 4, "x.a. has several CNAME records"),
            ("$ORIGIN a.\n@ 1 CH SOA a b 1 2 3 4 5\n", 2, "class CH: only IN is served"),
            (
                "$ORIGIN a.\n@ 1 SOA \\# 23 0000000000010000000200000003000000040000000599\n",
                2,
                "SOA data: bytes left over",
            ),
            ("$ORIGIN a.\n@ 1 SOA a b 1 2 3 4 5\n@ 1 ANY \\# 0\n", 3, "ANY records do not stand in zones"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!((error.line, error.why.as_str()), (line, why), "{text}");
        }
    }
}
