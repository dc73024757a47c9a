//! Checks for likely mistakes in a zone that can be served: the warnings of `dnsserve --check`. Each check has a name, so that
//! scripts can tell them apart.

use std::fmt;

use super::{NameNode, Set, Zone};
use crate::dns::name::{Name, NameRef};
use crate::dns::record::rdata::{Ds, Nsec3, Nsec3Param, Rrsig};
use crate::dns::record::{self, Rtype, atoms, special};
use crate::serial::Serial;

/// The maximum number of warnings about one zone.
pub const MAX_WARNINGS: usize = 1000;
/// The maximum size of a message without its header, in bytes (RFC 1035, section 4.2.2).
const MAX_SET_BYTES: usize = 65_535 - 12;
/// Bytes of a record without its data, with its owner name as a compression pointer.
const RECORD_BYTES: usize = 12;
/// Bytes of a hash (RFC 5155, section 11: SHA-1).
const HASH_BYTES: usize = 20;
const DAY: u32 = 86_400;

/// A likely mistake in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneWarning {
    /// The name of the check.
    pub check: &'static str,
    /// The owner name that it concerns.
    pub owner: Name,
    /// The finding.
    pub why: String,
}

impl fmt::Display for ZoneWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.owner, self.why)
    }
}

/// The warnings about a zone, by owner in canonical order. `now` is the time in seconds since 1970, modulo 2^32, for expired
/// signatures and for serials that are dates in the future.
pub fn warnings(zone: &Zone, now: u32) -> Vec<ZoneWarning> {
    let mut look = Look { zone, now, found: Vec::new() };
    look.apex();
    let mut nodes: Vec<(&Name, &NameNode)> = zone.nodes.iter().collect();
    nodes.sort_by_key(|(name, _)| *name);
    for (name, node) in nodes {
        look.node(name, node);
    }
    let mut hashed: Vec<(&Name, &NameNode)> = zone.hashed.iter().collect();
    hashed.sort_by_key(|(name, _)| *name);
    for (name, node) in hashed {
        look.hashed(name, node);
    }
    look.found
}

/// The target of a host name in the zone.
#[derive(Debug, PartialEq, Eq)]
enum TargetHost {
    Address,
    NoAddress,
    Alias,
    /// In another zone, which is not queried.
    Elsewhere,
}

struct Look<'z> {
    zone: &'z Zone,
    now: u32,
    found: Vec<ZoneWarning>,
}

impl Look<'_> {
    fn warn(&mut self, check: &'static str, owner: &Name, why: String) {
        if self.found.len() < MAX_WARNINGS {
            self.found.push(ZoneWarning { check, owner: owner.clone(), why });
        }
    }

    fn apex(&mut self) {
        let (zone, origin) = (self.zone, &self.zone.origin);
        let Some(apex) = zone.node(origin) else { return };
        if apex.set(Rtype::NS).is_none() {
            self.warn("no-ns", origin, "no NS record at the zone's apex".to_owned());
        }
        if apex.set(Rtype::DS).is_some() {
            let why = "DS record at the zone's apex: it belongs into the parent zone (RFC 4035, section 2.4)";
            self.warn("ds-at-apex", origin, why.to_owned());
        }
        for rtype in [Rtype::CDS, Rtype::CDNSKEY] {
            if apex.set(rtype).is_some() && !zone.is_signed() {
                self.warn("cds", origin, format!("{rtype} record in a zone without DNSKEY (RFC 7344, section 4.1)"));
            }
        }
        if apex.set(Rtype::NSEC3PARAM).is_some() && zone.hashed.is_empty() {
            self.warn("nsec3", origin, "NSEC3PARAM record in a zone without NSEC3".to_owned());
        }
        if record::names_in(Rtype::SOA, &zone.soa.rdata).get(1).is_some_and(|rname| rname.as_wire().contains(&b'@')) {
            self.warn("soa-mailbox", origin, "an @ in the SOA record's mailbox, where a dot is meant".to_owned());
        }
        let serial = zone.serial().0;
        if serial == 0 {
            self.warn("serial", origin, "serial 0".to_owned());
        }
        // YYYYMMDDnn.
        let date = special::parse_time(&format!("{}000000", serial / 100)).filter(|_| serial >= 1_990_010_100);
        if date.is_some_and(|date| Serial(date) > Serial(self.now.wrapping_add(DAY))) {
            self.warn("serial", origin, format!("serial {serial} is a date in the future"));
        }
    }

    fn node(&mut self, name: &Name, node: &NameNode) {
        let above = self.cut_above(name.borrowed());
        let is_apex = *name == self.zone.origin;
        if !node.sets.is_empty() && is_repeated(name.borrowed(), &self.zone.origin) {
            self.warn("repeated-origin", name, "the zone's name twice: a final dot is missing".to_owned());
        }
        if let Some((cut, rtype)) = above {
            let foreign = |set: &&Set| rtype == Rtype::DNAME || !matches!(set.rtype, Rtype::A | Rtype::AAAA);
            if let Some(set) = node.sets.iter().find(foreign) {
                let why = format!("{} record below the {rtype} record of {cut}, which hides it", set.rtype);
                self.warn("hidden", name, why);
            }
            return;
        }
        let delegates = !is_apex && node.set(Rtype::NS).is_some();
        if name.is_wildcard() && delegates {
            self.warn("wildcard-ns", name, "NS record of a wildcard (RFC 4592, section 4.2)".to_owned());
        }
        if delegates && node.set(Rtype::DNAME).is_some() {
            self.warn("hidden", name, "DNAME record at a delegation, which hides it".to_owned());
        }
        if !is_apex && !delegates && node.set(Rtype::DS).is_some() {
            self.warn("ds-without-ns", name, "DS record without NS record".to_owned());
        }
        for rtype in [Rtype::CDS, Rtype::CDNSKEY] {
            if !is_apex && node.set(rtype).is_some() {
                let why = format!("{rtype} record below the zone's apex (RFC 7344, section 4.1)");
                self.warn("cds", name, why);
            }
        }
        for set in &node.sets {
            self.set(name, set);
        }
    }

    fn set(&mut self, name: &Name, set: &Set) {
        let size: usize = set.rdata.iter().map(|rdata| RECORD_BYTES + rdata.len()).sum();
        if size + name.as_wire().len() + 4 > MAX_SET_BYTES {
            self.warn("set-size", name, format!("{} records of {size} bytes fit into no message", set.rtype));
        }
        let ends = |rdata: &Vec<u8>| Rrsig::parse(rdata).is_ok_and(|rrsig| rrsig.expiration < Serial(self.now));
        if let Some(covered) = set.covered.filter(|_| set.rdata.iter().all(ends)) {
            self.warn("expired", name, format!("the signature of its {covered} records has expired"));
        }
        for rdata in &set.rdata {
            if matches!(set.rtype, Rtype::DS | Rtype::CDS) && !Ds::parse(rdata).is_ok_and(|ds| has_digest_size(&ds)) {
                self.warn(
                    "ds-digest",
                    name,
                    format!("{} record with a digest of another size than its type's", set.rtype),
                );
            }
            let names = record::names_in(set.rtype, rdata);
            for target in names.iter().filter(|target| is_repeated(**target, &self.zone.origin)) {
                let why = format!("{} record names {target}: a final dot is missing", set.rtype);
                self.warn("repeated-origin", name, why);
            }
            let target = names.first().filter(|_| matches!(set.rtype, Rtype::NS | Rtype::MX | Rtype::SRV));
            let Some(target) = target.filter(|target| !target.to_name().is_root()) else { continue };
            match self.host(*target, (set.rtype == Rtype::NS).then_some(name)) {
                TargetHost::NoAddress => {
                    self.warn("no-address", name, format!("{} record names {target}, which has no address", set.rtype));
                }
                TargetHost::Alias => {
                    let why =
                        format!("{} record names {target}, which is an alias (RFC 2181, section 10.3)", set.rtype);
                    self.warn("alias-target", name, why);
                }
                TargetHost::Address | TargetHost::Elsewhere => {}
            }
        }
    }

    fn hashed(&mut self, owner: &Name, node: &NameNode) {
        let Some(set) = node.set(Rtype::NSEC3) else {
            return self.warn("nsec3", owner, "signature of a missing NSEC3 record".to_owned());
        };
        let label = owner.labels().next().and_then(atoms::from_base32);
        if label.is_none_or(|hash| hash.len() != HASH_BYTES) || owner.parent().as_ref() != Some(&self.zone.origin) {
            self.warn("nsec3", owner, "NSEC3 record whose owner is not a hash below the zone's apex".to_owned());
        }
        let apex = self.zone.node(&self.zone.origin);
        let params = apex.and_then(|apex| apex.set(Rtype::NSEC3PARAM)).map_or(&[][..], |set| set.rdata.as_slice());
        for nsec3 in set.rdata.iter().filter_map(|rdata| Nsec3::parse(rdata).ok()) {
            let own = (nsec3.param.algorithm, nsec3.param.iterations, nsec3.param.salt);
            let known = params.iter().filter_map(|rdata| Nsec3Param::parse(rdata).ok());
            let mut known = known.map(|param| (param.algorithm, param.iterations, param.salt));
            if own.0 != Nsec3Param::SHA1 || nsec3.param.flags > 1 || nsec3.next.len() != HASH_BYTES {
                self.warn("nsec3", owner, "NSEC3 record of a kind that RFC 5155 does not know".to_owned());
            } else if !known.any(|param| param == own) {
                self.warn("nsec3", owner, "NSEC3 record without an NSEC3PARAM record like it".to_owned());
            }
        }
    }

    /// The highest delegation or DNAME record above a name.
    fn cut_above(&self, name: NameRef<'_>) -> Option<(Name, Rtype)> {
        let mut found = None;
        let mut above = name.parent();
        while let Some(here) = above.filter(|here| here.is_in(&self.zone.origin)) {
            if let Some(node) = self.zone.node(here) {
                let is_apex = here.label_count() == self.zone.origin.label_count();
                let cuts = |rtype: Rtype| node.set(rtype).is_some() && !(is_apex && rtype == Rtype::NS);
                let rtype = [Rtype::NS, Rtype::DNAME].into_iter().find(|rtype| cuts(*rtype));
                found = rtype.map(|rtype| (here.to_name(), rtype)).or(found);
            }
            above = here.parent();
        }
        found
    }

    /// The target of a host name. `delegation` is the owner of the NS record that names it: a delegation needs the addresses of
    /// name servers below itself (RFC 1034, section 4.2.1).
    fn host(&self, host: NameRef<'_>, delegation: Option<&Name>) -> TargetHost {
        if !host.is_in(&self.zone.origin) {
            return TargetHost::Elsewhere;
        }
        let mut at = self.zone.node(host);
        let is_apex = host.label_count() == self.zone.origin.label_count();
        let own_cut = at.filter(|node| !is_apex && node.set(Rtype::NS).is_some()).map(|_| (host.to_name(), Rtype::NS));
        match self.cut_above(host).or(own_cut) {
            Some((_, Rtype::DNAME)) => return TargetHost::Alias,
            Some((cut, _)) if delegation != Some(&cut) => return TargetHost::Elsewhere,
            Some(_) => {}
            None => {
                // The wildcard below the closest encloser (RFC 4592, section 3.3.1).
                let mut above = host.parent();
                while let Some(here) = above.filter(|here| at.is_none() && here.is_in(&self.zone.origin)) {
                    if self.zone.node(here).is_some() {
                        at = here.prepend(b"*").ok().and_then(|wildcard| self.zone.node(&wildcard));
                        break;
                    }
                    above = here.parent();
                }
            }
        }
        let has = |rtype: Rtype| at.is_some_and(|node| node.set(rtype).is_some());
        if has(Rtype::CNAME) {
            TargetHost::Alias
        } else if has(Rtype::A) || has(Rtype::AAAA) {
            TargetHost::Address
        } else {
            TargetHost::NoAddress
        }
    }
}

/// True for `www.example.test.example.test.`: the origin was appended to a complete name. Origins of one label prove nothing.
fn is_repeated(name: NameRef<'_>, origin: &Name) -> bool {
    let count = origin.label_count();
    let Some(front) = name.label_count().checked_sub(2 * count).filter(|_| count > 1) else { return false };
    let middle = name.labels().skip(front).take(count);
    name.is_in(origin) && middle.zip(origin.labels()).all(|(a, b)| a.eq_ignore_ascii_case(b))
}

/// True if a digest has the length of its type (RFC 4034, RFC 4509, RFC 6605), or its type is unknown.
fn has_digest_size(ds: &Ds<'_>) -> bool {
    let size = match ds.digest_type {
        1 => 20,
        2 | 3 => 32,
        4 => 48,
        _ => return true,
    };
    ds.digest.len() == size
}

#[cfg(test)]
mod tests {
    use super::super::{ZoneLimits, ZoneSource};
    use super::*;

    const HEAD: &str = "$ORIGIN e.test.\n$TTL 1h\n@ SOA ns host 2026010101 2 3 4 5m\n";
    const NOW: u32 = 1_800_000_000; // 2027-01-15

    fn checks(text: &str) -> Vec<String> {
        let source = ZoneSource { name: "z".to_owned(), text: text.as_bytes().to_vec() };
        let reading = Zone::examine(source, None, ZoneLimits::default(), &mut |_| Err("no files".to_owned()));
        let found = warnings(&reading.zone.unwrap(), NOW);
        found.into_iter().map(|warning| format!("{} {}", warning.check, warning.owner)).collect()
    }

    #[test]
    fn what_is_seldom_meant() {
        let rest = "@ NS ns\nns A 192.0.2.1\n";
        let digest = "00".repeat(32);
        let signature = |until: &str| format!("A RRSIG A 8 3 300 {until} 20200101000000 1 e.test. AAAA\n");
        let key = "@ DNSKEY 256 3 8 AAAA\n";
        for (text, expected) in [
            (String::new(), &[][..]),
            ("@ MX 10 .\n_x._tcp SRV 0 0 0 .\n@ MX 10 mx.other.test.\n".to_owned(), &[]),
            ("@ MX 10 mx\n".to_owned(), &["no-address e.test."]),
            ("@ MX 10 mx\n* A 192.0.2.1\n".to_owned(), &[]),
            ("@ MX 10 mx.x\nx TXT a\n* A 192.0.2.1\n".to_owned(), &["no-address e.test."]),
            ("@ MX 10 mx\nmx TXT a\n* A 192.0.2.1\n".to_owned(), &["no-address e.test."]),
            ("_x._tcp SRV 0 0 1 www\nwww CNAME ns\n".to_owned(), &["alias-target _x._tcp.e.test."]),
            ("@ MX 10 a.d\nd DNAME other.test.\n".to_owned(), &["alias-target e.test."]),
            ("@ NS x.sub\nsub NS ns\n".to_owned(), &[]),
            ("sub NS ns.sub\n".to_owned(), &["no-address sub.e.test."]),
            ("sub NS sub\n".to_owned(), &["no-address sub.e.test."]),
            ("sub NS ns.sub\nns.sub AAAA ::1\n".to_owned(), &[]),
            ("sub NS ns.other\nother NS ns\n".to_owned(), &[]),
            ("sub NS ns\nx.sub TXT a\n".to_owned(), &["hidden x.sub.e.test."]),
            ("@ DNAME other.test.\n".to_owned(), &["alias-target e.test.", "hidden ns.e.test."]),
            ("sub NS ns\nsub DNAME other.test.\n".to_owned(), &["hidden sub.e.test."]),
            ("www.e.test A 192.0.2.1\n".to_owned(), &["repeated-origin www.e.test.e.test."]),
            ("www CNAME x.E.test\n".to_owned(), &["repeated-origin www.e.test."]),
            (format!("@ DS 1 8 2 {digest}\n"), &["ds-at-apex e.test."]),
            (format!("x DS 1 8 2 {digest}\n"), &["ds-without-ns x.e.test."]),
            ("x NS ns\nx DS 1 8 2 00\n".to_owned(), &["ds-digest x.e.test."]),
            ("* NS ns\n".to_owned(), &["wildcard-ns *.e.test."]),
            ("@ CDS 0 0 0 00\n".to_owned(), &["cds e.test."]),
            (format!("{key}x CDS 0 0 0 00\n"), &["cds x.e.test."]),
            (format!("{key}@ CDS 0 0 0 00\n"), &[]),
            (signature("20260101000000"), &["expired A.e.test."]),
            (signature("20280101000000"), &[]),
            (format!("x NSEC3 1 0 1 - {} A\n@ NSEC3PARAM 1 0 1 -\n", "0".repeat(32)), &["nsec3 x.e.test."]),
            (format!("{0} NSEC3 1 0 1 - {0} A\n@ NSEC3PARAM 1 0 1 -\n", "0".repeat(32)), &[]),
            (format!("{0} NSEC3 1 0 2 - {0} A\n@ NSEC3PARAM 1 0 1 -\n", "0".repeat(32)), &["nsec3 0"]),
            (format!("{0} NSEC3 9 0 1 - {0} A\n@ NSEC3PARAM 9 0 1 -\n", "0".repeat(32)), &["nsec3 0"]),
            ("@ NSEC3PARAM 1 0 1 -\n".to_owned(), &["nsec3 e.test."]),
            ((0..300).map(|number| format!("x TXT {number} {0:a<255}\n", "")).collect(), &["set-size x.e.test."]),
        ] {
            let found = checks(&format!("{HEAD}{rest}{text}"));
            assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
            assert!(
                found.iter().zip(expected).all(|(found, expected)| found.starts_with(expected)),
                "{text}: {found:?}"
            );
        }
        assert_eq!(checks(HEAD), ["no-ns e.test."]);
        let serial = |serial: &str| checks(&format!("{HEAD}{rest}").replace("2026010101", serial));
        assert_eq!(serial("0"), ["serial e.test."]);
        assert_eq!(serial("2027011601"), [""; 0]);
        assert_eq!(serial("2028010100"), ["serial e.test."]);
        assert_eq!(serial("4294967295"), [""; 0]);
        assert_eq!(checks(&format!("{HEAD}{rest}").replace("host", "host@e.test.")), ["soa-mailbox e.test."]);
    }
}
