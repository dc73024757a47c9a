//! Zone files (RFC 1035, section 5), and the zones read from them, with the look-ups of an authoritative server.

pub mod check;
mod denial;
mod generate;
mod reader;

use std::collections::HashSet;
use std::fmt;

pub(crate) use denial::at_or_before;
pub use denial::{Denial, Hashes};
pub use reader::{Load, MAX_INCLUDE_DEPTH, ZoneEntry, ZoneLimits, ZoneReader, ZoneSource};

use indexmap::IndexMap;

use super::name::{Name, NameKey, NameRef};
use super::record::rdata::{Rrsig, Soa};
use super::record::{self, Class, Record, Rtype};
use crate::serial::Serial;
use denial::Index;

/// The maximum number of errors reported for one zone.
pub const MAX_ZONE_ERRORS: usize = 1000;

/// One authoritative zone in memory.
#[derive(Debug, Clone)]
pub struct Zone {
    origin: Name,
    soa: Record,
    soa_data: Soa,
    /// All names that exist, including empty non-terminals (RFC 4592, section 2.2.2), in canonical order.
    nodes: IndexMap<Name, NameNode>,
    /// NSEC3 records with their signatures, in canonical order. Their owners do not exist as names (RFC 5155, section 7.2.8).
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
    /// For RRSIG, the type that they cover: each covered type has its own set with its own TTL (RFC 4034, section 3).
    pub covered: Option<Rtype>,
    /// Their common time to live (RFC 2181, section 5.2): the smallest in the file.
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

/// An error in a zone file, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneError {
    /// The file.
    pub file: String,
    /// The line number, from 1; 0 for the zone as a whole.
    pub line: usize,
    /// The reason.
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

/// The result of reading a zone file.
#[derive(Debug)]
pub struct ZoneReading {
    /// The name of the zone, if the caller gave it or the file has an SOA record; a zone with errors may have one too.
    pub name: Option<Name>,
    /// The zone, or all errors found (at least one).
    pub zone: Result<Zone, Vec<ZoneError>>,
}

impl Zone {
    /// Reads a zone file and returns its first error, with the default limits. `origin` completes relative names until the file
    /// sets another origin; the owner of the SOA record is the name of the zone.
    ///
    /// # Errors
    /// The text is not a valid zone.
    pub fn read(source: ZoneSource, origin: Option<Name>, load: &mut Load<'_>) -> Result<Zone, ZoneError> {
        let file = source.name.clone();
        let reading = Zone::examine(source, origin, ZoneLimits::default(), load);
        let first = |errors: Vec<ZoneError>| errors.into_iter().next();
        reading.zone.map_err(|errors| first(errors).unwrap_or(ZoneError { file, line: 0, why: "no zone".to_owned() }))
    }

    /// Reads a zone file and continues after each error, to find all of them (at most [`MAX_ZONE_ERRORS`]).
    pub fn examine(source: ZoneSource, origin: Option<Name>, limits: ZoneLimits, load: &mut Load<'_>) -> ZoneReading {
        let file = source.name.clone();
        let whole = |why: String| ZoneError { file: file.clone(), line: 0, why };
        let mut reader = ZoneReader::with_limits(source, origin.clone(), limits);
        let mut early: Vec<ZoneEntry> = Vec::new();
        let mut zone: Option<Zone> = None;
        let mut errors = Vec::new();
        loop {
            if errors.len() >= MAX_ZONE_ERRORS {
                errors.truncate(MAX_ZONE_ERRORS);
                errors.push(whole("more errors: the rest was not read".to_owned()));
                break;
            }
            let entry = match reader.next(load) {
                Ok(None) => break,
                Ok(Some(entry)) => entry,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            match &mut zone {
                Some(zone) => errors.extend(zone.add(entry).err()),
                None if entry.record.rtype == Rtype::SOA => match Zone::empty(&entry) {
                    Ok(mut new) => {
                        let entries = std::iter::once(entry).chain(early.drain(..));
                        errors.extend(entries.filter_map(|entry| new.add(entry).err()));
                        zone = Some(new);
                    }
                    Err(error) => errors.push(error),
                },
                None => early.push(entry),
            }
        }
        let name = zone.as_ref().map(|zone| zone.origin.clone());
        match (&name, &origin) {
            (None, _) if errors.is_empty() => errors.push(whole("no SOA record".to_owned())),
            (Some(name), Some(wanted)) if name != wanted => {
                errors.push(whole(format!("the SOA record is of {name}, not of the zone asked for")));
            }
            _ => {}
        }
        let zone = match zone.filter(|_| errors.is_empty()) {
            Some(mut zone) => {
                zone.finish();
                Ok(zone)
            }
            None => Err(errors),
        };
        ZoneReading { name: origin.or(name), zone }
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
            && record.has_data(&self.soa.rdata)
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
                let only_one = matches!(record.rtype, Rtype::CNAME | Rtype::DNAME);
                if only_one && !set.rdata.first().is_some_and(|first| record.has_data(first)) {
                    return Err(entry.error(format!("{} has several {} records", record.name, record.rtype)));
                }
                set.ttl = set.ttl.min(record.ttl);
                set.rdata.push(record.rdata.clone());
            }
            None => {
                let (rtype, ttl) = (record.rtype, record.ttl);
                node.sets.push(Set { rtype, covered, ttl, rdata: vec![record.rdata.clone()] });
            }
        }
        self.records += 1;
        Ok(())
    }

    /// Removes duplicate records (RFC 2181, section 5), sorts the names, and indexes the records for denial of existence.
    fn finish(&mut self) {
        for set in self.nodes.values_mut().chain(self.hashed.values_mut()).flat_map(|node| &mut node.sets) {
            if set.rdata.len() > 1 {
                let before = set.rdata.len();
                let mut seen = HashSet::new();
                set.rdata.retain(|rdata| seen.insert(record::comparable(set.rtype, rdata).into_owned()));
                self.records -= before - set.rdata.len();
            }
        }
        self.nodes.sort_unstable_keys();
        self.hashed.sort_unstable_keys();
        self.denial = Index::of(self);
    }

    /// The zone's name.
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// Its SOA record.
    pub fn soa(&self) -> &Record {
        &self.soa
    }

    /// The SOA record for negative answers: its TTL is at most its MINIMUM (RFC 2308, section 3).
    pub fn negative_soa(&self) -> Record {
        let mut soa = self.soa.clone();
        soa.ttl = soa.ttl.min(self.soa_data.minimum);
        soa
    }

    /// The zone's serial number.
    pub fn serial(&self) -> Serial {
        self.soa_data.serial
    }

    /// The node of a name; `None` if the name does not exist.
    pub fn node<'n>(&self, name: impl Into<NameRef<'n>>) -> Option<&NameNode> {
        self.nodes.get(&name.into() as &dyn NameKey)
    }

    /// True if the zone has DNSKEY records, which means that it should be signed.
    pub fn is_signed(&self) -> bool {
        self.node(&self.origin).is_some_and(|apex| apex.set(Rtype::DNSKEY).is_some())
    }

    /// The zone's records for denial of existence.
    pub fn denial(&self) -> Denial<'_> {
        self.denial.get()
    }

    /// The node of an NSEC3 record.
    pub fn hashed_node(&self, owner: &Name) -> Option<&NameNode> {
        self.hashed.get(owner)
    }

    /// The number of its records.
    pub fn record_count(&self) -> usize {
        self.records
    }

    /// The name at this index of the zone's canonical order; the owners of NSEC3 records come last.
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
    fn names_in_data_have_no_case() {
        let two = "x CNAME y.b.\nx CNAME Y.B.\nm MX 1 a\nm MX 1 A\nd DNAME a.\nd DNAME A.\n@ SOA NS HOST 1 2 3 4 300\n";
        let zone = read(&format!("{HEAD}{two}t TXT a\nt TXT A\n")).unwrap();
        assert_eq!(zone.record_count(), 6);
    }

    #[test]
    fn all_errors_are_found() {
        let text = "$ORIGIN a.\n@ 1 SOA a b 1 2 3 4 5\nx 1 A 1.2.3\n\ny 1 TXT \"a\nz. 1 A 1.2.3.4\n$NO\n)\n$GENERATE 1-3 x$ 1 A 1\n@ 1 NS\nq (\n";
        let source = ZoneSource { name: "z".to_owned(), text: text.as_bytes().to_vec() };
        let reading = Zone::examine(source, None, ZoneLimits::default(), &mut |_| Err("no files here".to_owned()));
        let lines: Vec<usize> = reading.zone.unwrap_err().iter().map(|error| error.line).collect();
        assert_eq!(lines, [3, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!(reading.name, Name::parse("a").ok());
        let many = "x\n".repeat(MAX_ZONE_ERRORS * 2);
        let source = ZoneSource { name: "z".to_owned(), text: many.into_bytes() };
        let reading = Zone::examine(source, None, ZoneLimits::default(), &mut |_| Err("no files here".to_owned()));
        let errors = reading.zone.unwrap_err();
        assert!(errors.len() <= MAX_ZONE_ERRORS + 2, "{}", errors.len());
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
                "SOA record of a.: bytes left over",
            ),
            ("$ORIGIN a.\n@ 1 SOA a b 1 2 3 4 5\n@ 1 ANY \\# 0\n", 3, "ANY records do not stand in zones"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!((error.line, error.why.as_str()), (line, why), "{text}");
        }
    }
}
