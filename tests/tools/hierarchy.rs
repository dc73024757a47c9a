//! Hierarchies of zones by chance, signed here (RFC 4034, 5155, 6605), and what is true of each question: its data and how
//! far they may be relied upon. Nothing of the validator is used: the truth comes from the plan.

use std::collections::{BTreeMap, BTreeSet};

use applayer::dns::anchor::Anchors;
use applayer::dns::answer::{AnswerAction, Zones, answer};
use applayer::dns::edns::Edns;
use applayer::dns::message::{Flags, Message, Question, Rcode};
use applayer::dns::name::Name;
use applayer::dns::query::Query;
use applayer::dns::record::{Class, Record, Rtype};
use applayer::dns::validate::{MAX_ITERATIONS, Security};
use applayer::dns::zone::{Zone, ZoneSource};

use crate::random::Random;
use crate::signer::{Key, digest_of, nsec3_hash, rrsig, types};

/// The time to live of every set.
pub(crate) const TTL: u32 = 300;

type NameSets = BTreeMap<Rtype, BTreeSet<Vec<u8>>>;

/// How a zone hangs below its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Good,
    /// A DS record that cannot be checked beside the good one.
    GoodAndUnknown,
    /// Signed, and its parent does not say so.
    NoDs,
    Unsigned,
    UnknownAlgorithm,
    UnknownDigest,
    WrongDs,
    /// The parent says that it is signed, and it is not.
    Stripped,
    Expired,
}

#[derive(Debug)]
enum Denial {
    Nsec,
    Nsec3 { iterations: u16, salt: Vec<u8>, opt_out: bool },
}

#[derive(Debug)]
struct Plan {
    apex: Name,
    parent: Option<usize>,
    link: Link,
    denial: Denial,
    /// The first signs the keys, the last all else.
    keys: Vec<Key>,
    content: BTreeMap<Name, NameSets>,
}

/// What is true of a question.
#[derive(Debug)]
pub(crate) struct Truth {
    /// Of each step, from the question along the aliases.
    pub(crate) steps: Vec<Security>,
    pub(crate) rcode: Rcode,
    /// The name at the end of the aliases.
    pub(crate) name: Name,
    /// The sets of the answer.
    pub(crate) sets: BTreeSet<(Name, Rtype, Vec<u8>)>,
    /// The aliases that DNAME records make.
    pub(crate) made: BTreeSet<(Name, Rtype, Vec<u8>)>,
    /// A zone on the way wants too many hashes, so that what it denies cannot be told from what somebody took away.
    pub(crate) excessive: bool,
}

impl Truth {
    /// The whole is as good as its worst part.
    pub(crate) fn security(&self) -> Security {
        self.steps.iter().copied().max().unwrap_or(Security::Secure)
    }
}

/// Zones that are served, anchors and questions.
pub(crate) struct Hierarchy {
    plans: Vec<Plan>,
    zones: Zones,
    anchored: BTreeSet<usize>,
    /// The anchors as DS and DNSKEY records, one a line.
    pub(crate) anchor_text: String,
    pub(crate) questions: Vec<Question>,
}

fn pick<T: Copy>(random: &mut Random, list: &[T]) -> T {
    list[random.below(list.len() as u64) as usize]
}

fn chance(random: &mut Random, percent: u64) -> bool {
    random.below(100) < percent
}

/// `word`, a number by chance, below `above`.
fn below(random: &mut Random, word: &str, above: &Name) -> Name {
    above.prepend(format!("{word}{}", random.below(100)).as_bytes()).unwrap()
}

impl Hierarchy {
    /// One by chance, signed for `at`, in seconds since 1970, with one of these counts of iterations in each zone with NSEC3.
    pub(crate) fn new(random: &mut Random, at: u64, iterations: &[u16]) -> Hierarchy {
        let mut plans = vec![Plan::new(random, Name::root(), None, iterations)];
        for tld in ["alpha", "beta"] {
            let apex = below(random, tld, &Name::root());
            plans.push(Plan::new(random, apex, Some(0), iterations));
        }
        for _ in 0..3 + random.below(4) {
            let parent = 1 + random.below(plans.len() as u64 - 1) as usize;
            let mut above = plans[parent].apex.clone();
            if chance(random, 25) {
                above = below(random, "between", &above);
            }
            let apex = below(random, "zone", &above);
            if plans.iter().all(|plan| plan.apex != apex) && apex.label_count() < 6 {
                plans.push(Plan::new(random, apex, Some(parent), iterations));
            }
        }
        for zone in 0..plans.len() {
            fill(random, &mut plans, zone);
        }
        let mut anchored = BTreeSet::new();
        let signed = |zone: &usize| !plans[*zone].keys.is_empty() && plans[*zone].link != Link::Stripped;
        let signed: Vec<usize> = (0..plans.len()).filter(signed).collect();
        if chance(random, 85) {
            anchored.insert(0);
        }
        if anchored.is_empty() || chance(random, 25) {
            anchored.extend([pick(random, &signed), pick(random, &signed)]);
        }
        let mut anchor_text = String::new();
        for zone in &anchored {
            let Plan { apex, keys, .. } = &plans[*zone];
            let (rtype, rdata) = match chance(random, 50) {
                true => (Rtype::DS, digest_of(&keys[0], apex)),
                false => (Rtype::DNSKEY, keys[0].dnskey.clone()),
            };
            anchor_text.push_str(&format!("{}\n", record(apex, rtype, TTL, rdata)));
        }
        let mut zones = Zones::default();
        for plan in &plans {
            let text: String = plan.signed(at).iter().map(|record| format!("{record}\n")).collect();
            let source = ZoneSource { name: plan.apex.to_string(), text: text.into_bytes() };
            assert!(zones.add(Zone::read(source, Some(plan.apex.clone()), &mut |_| Err(String::new())).unwrap()));
        }
        let questions = questions(random, &plans);
        Hierarchy { plans, zones, anchored, anchor_text, questions }
    }

    pub(crate) fn anchors(&self) -> Anchors {
        Anchors::parse(self.anchor_text.as_bytes()).unwrap()
    }

    /// The answer of an honest server of all zones.
    pub(crate) fn serve(&self, question: &Question) -> Message {
        let edns = Some(Edns { dnssec_ok: true, ..Edns::default() });
        let (question, flags) = (question.clone(), Flags(Flags::CD));
        let query = Query { question, flags, edns, authority: None, padding: None, exact_case: false };
        match answer(&self.zones, &query.compose(1), false) {
            AnswerAction::Send(response) => Message::parse(&response.wire).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The plan in words.
    pub(crate) fn text(&self) -> String {
        let line = |plan: &Plan| {
            let algorithms: Vec<u8> = plan.keys.iter().map(|key| key.algorithm).collect();
            format!("{} {:?} {:?} {algorithms:?}\n", plan.apex, plan.link, plan.denial)
        };
        self.plans.iter().map(line).collect::<String>() + &self.anchor_text
    }

    /// The zone that a question belongs to: DS belongs to the parent.
    fn zone_of(&self, name: &Name, rtype: Rtype) -> usize {
        let holds =
            |plan: &Plan| name.is_in(&plan.apex) && (rtype != Rtype::DS || *name != plan.apex || name.is_root());
        let zones = (0..self.plans.len()).filter(|zone| holds(&self.plans[*zone]));
        zones.max_by_key(|zone| self.plans[*zone].apex.label_count()).unwrap()
    }

    /// The zone and those above it, up to the closest that is anchored.
    fn up_to_anchor(&self, zone: usize) -> impl Iterator<Item = usize> {
        let parent = |zone: &usize| self.plans[*zone].parent.filter(|_| !self.anchored.contains(zone));
        std::iter::successors(Some(zone), parent)
    }

    /// How far a zone may be relied upon, from the closest anchor down.
    fn trust(&self, zone: usize) -> Security {
        let plan = &self.plans[zone];
        let own = if plan.link == Link::Expired { Security::Bogus } else { Security::Secure };
        if self.anchored.contains(&zone) {
            return own;
        }
        let Some(parent) = plan.parent else { return Security::Indeterminate };
        match self.trust(parent) {
            Security::Secure => match plan.link {
                Link::Good | Link::GoodAndUnknown => Security::Secure,
                Link::NoDs | Link::Unsigned | Link::UnknownAlgorithm | Link::UnknownDigest => Security::Insecure,
                Link::WrongDs | Link::Stripped | Link::Expired => Security::Bogus,
            },
            other => other,
        }
    }

    /// What is true of a question (RFC 1034, section 4.3.2; RFC 4592; RFC 6672; RFC 5155, section 9.2).
    pub(crate) fn truth(&self, question: &Question) -> Truth {
        let (mut name, rtype) = (question.name.clone(), question.rtype);
        let mut truth = Truth {
            steps: Vec::new(),
            rcode: Rcode::NOERROR,
            name: name.clone(),
            sets: BTreeSet::new(),
            made: BTreeSet::new(),
            excessive: false,
        };
        loop {
            truth.name = name.clone();
            let zone = self.zone_of(&name, rtype);
            let (plan, trust) = (&self.plans[zone], self.trust(zone));
            truth.excessive |= self.up_to_anchor(zone).any(|zone| self.plans[zone].is_excessive());
            let insecure_if =
                |unknown: bool| if unknown && trust == Security::Secure { Security::Insecure } else { trust };
            // A gap with opt-out proves nothing of what may be in it.
            let gap = insecure_if(plan.opts_out() || plan.is_excessive());
            let above = std::iter::successors(name.parent(), Name::parent).take_while(|name| name.is_in(&plan.apex));
            let dname =
                above.clone().find(|name| plan.content.get(name).is_some_and(|s| s.contains_key(&Rtype::DNAME)));
            if let Some(owner) = dname {
                let rdata = plan.content[&owner][&Rtype::DNAME].first().unwrap();
                let next = name.rebase(&owner, &Name::from_wire(rdata).unwrap()).unwrap();
                truth.sets.insert((owner, Rtype::DNAME, rdata.clone()));
                truth.made.insert((name, Rtype::CNAME, next.as_wire().to_vec()));
                truth.steps.push(trust);
                name = next;
                continue;
            }
            let exists = |name: &Name| plan.content.keys().any(|known| known.is_in(name));
            let (node, security) = if exists(&name) {
                let has = |sets: &NameSets| sets.contains_key(&rtype) || sets.contains_key(&Rtype::CNAME);
                let empty = !plan.content.get(&name).is_some_and(has);
                let unknown = empty && (plan.is_excessive() || !plan.proves(&name));
                (plan.content.get(&name), insecure_if(unknown))
            } else {
                let encloser = above.clone().find(exists).unwrap();
                let wildcard = plan.content.get(&encloser.prepend(b"*").unwrap());
                if wildcard.is_none() {
                    truth.rcode = Rcode::NXDOMAIN;
                }
                (wildcard, gap)
            };
            truth.steps.push(security);
            let set = |rtype| node.and_then(|sets| Some((rtype, sets.get(&rtype)?)));
            let Some((found, set)) = set(rtype).or_else(|| set(Rtype::CNAME)) else { return truth };
            truth.sets.extend(set.iter().map(|rdata| (name.clone(), found, rdata.clone())));
            if found == rtype {
                return truth;
            }
            name = Name::from_wire(set.first().unwrap()).unwrap();
        }
    }
}

fn record(name: &Name, rtype: Rtype, ttl: u32, rdata: Vec<u8>) -> Record {
    Record { name: name.clone(), rtype, class: Class::IN, ttl, rdata }
}

impl Plan {
    fn new(random: &mut Random, apex: Name, parent: Option<usize>, iterations: &[u16]) -> Plan {
        let link = match (parent, random.below(100)) {
            (None, _) | (_, 0..=51) => Link::Good,
            (_, 52..=57) => Link::GoodAndUnknown,
            (_, 58..=67) => Link::NoDs,
            (_, 68..=79) => Link::Unsigned,
            (_, 80..=84) => Link::UnknownAlgorithm,
            (_, 85..=88) => Link::UnknownDigest,
            (_, 89..=92) => Link::WrongDs,
            (_, 93..=96) => Link::Stripped,
            _ => Link::Expired,
        };
        let salt = (0..random.below(5)).map(|_| random.next() as u8).collect();
        let denial = match random.below(3) {
            0 => Denial::Nsec,
            kind => Denial::Nsec3 { iterations: pick(random, iterations), salt, opt_out: kind == 2 },
        };
        let algorithm = pick(random, &[13, 13, 13, 13, 14, 15, 15, 8, 10]);
        let count = if matches!(link, Link::Unsigned | Link::Stripped) { 0 } else { 1 + random.below(2) };
        let keys = (0..count).map(|number| Key::new(algorithm, number == 0)).collect();
        Plan { apex, parent, link, denial, keys, content: BTreeMap::new() }
    }

    fn put(&mut self, name: &Name, rtype: Rtype, rdata: Vec<u8>) {
        self.content.entry(name.clone()).or_default().entry(rtype).or_default().insert(rdata);
    }

    /// True if there is anything at this name that is signed, or below it: then NSEC3 with opt-out has a record of it.
    fn is_proven(&self, name: &Name) -> bool {
        let signed = |(owner, sets): (&Name, &NameSets)| {
            owner.is_in(name)
                && (*owner == self.apex || !sets.contains_key(&Rtype::NS) || sets.contains_key(&Rtype::DS))
        };
        self.content.iter().any(signed)
    }

    /// True if its denials want more hashes than are worked off: then they count as those of an unsigned zone.
    fn is_excessive(&self) -> bool {
        matches!(self.denial, Denial::Nsec3 { iterations, .. } if iterations > MAX_ITERATIONS)
    }

    fn opts_out(&self) -> bool {
        !self.keys.is_empty() && matches!(self.denial, Denial::Nsec3 { opt_out: true, .. })
    }

    /// True if a denial record stands at this name.
    fn proves(&self, name: &Name) -> bool {
        !self.opts_out() || self.is_proven(name)
    }

    /// All records: the plan's, and what signing adds.
    fn signed(&self, at: u64) -> Vec<Record> {
        let Plan { apex, keys, content, .. } = self;
        let mut sets = content.clone();
        let mut records = Vec::new();
        // What stands at a cut is the child's, save DS and the denial.
        let is_cut = |name: &Name, sets: &NameSets| name != apex && sets.contains_key(&Rtype::NS);
        if keys.is_empty() {
            for (name, sets) in &sets {
                let all = sets.iter().flat_map(|(rtype, set)| set.iter().map(move |rdata| (*rtype, rdata)));
                records.extend(all.map(|(rtype, rdata)| record(name, rtype, TTL, rdata.clone())));
            }
            return records;
        }
        match &self.denial {
            Denial::Nsec => {
                let names: Vec<&Name> = content.keys().collect();
                for (at, name) in names.iter().enumerate() {
                    let next = names.get(at + 1).unwrap_or(&apex);
                    let present = content[*name].keys().copied().chain([Rtype::NSEC, Rtype::RRSIG]);
                    let rdata = [next.as_wire(), &types(present)].concat();
                    sets.get_mut(*name).unwrap().insert(Rtype::NSEC, BTreeSet::from([rdata]));
                }
            }
            Denial::Nsec3 { iterations, salt, opt_out } => {
                let above = |name: &Name| std::iter::successors(Some(name.clone()), Name::parent);
                let names: BTreeSet<Name> = content.keys().flat_map(above).filter(|name| name.is_in(apex)).collect();
                let names = names.into_iter().filter(|name| !opt_out || self.is_proven(name));
                let hashed: BTreeMap<Vec<u8>, Name> =
                    names.map(|name| (nsec3_hash(&name, *iterations, salt), name)).collect();
                let hashes: Vec<&Vec<u8>> = hashed.keys().collect();
                let param = [&[1, 0][..], &iterations.to_be_bytes(), &[salt.len() as u8], salt].concat();
                for (at, hash) in hashes.iter().enumerate() {
                    let name = &hashed[*hash];
                    let here = content.get(name).cloned().unwrap_or_default();
                    let own = (name == apex).then_some(Rtype::NSEC3PARAM);
                    let signed = !here.is_empty() && (!is_cut(name, &here) || here.contains_key(&Rtype::DS));
                    let present = here.keys().copied().chain(own).chain(signed.then_some(Rtype::RRSIG));
                    let next = hashes.get(at + 1).unwrap_or(&hashes[0]);
                    let mut rdata = [&param[..], &[next.len() as u8], next, &types(present)].concat();
                    rdata[1] = u8::from(*opt_out);
                    let owner = apex.prepend(crate::signer::base32hex(hash).as_bytes()).unwrap();
                    sets.entry(owner).or_default().insert(Rtype::NSEC3, BTreeSet::from([rdata]));
                }
                sets.get_mut(apex).unwrap().insert(Rtype::NSEC3PARAM, BTreeSet::from([param]));
            }
        }
        let (from, until) = if self.link == Link::Expired { (at - 7200, at - 3600) } else { (at - 3600, at + 86_400) };
        for (name, sets) in &sets {
            for (rtype, set) in sets {
                records.extend(set.iter().map(|rdata| record(name, *rtype, TTL, rdata.clone())));
                if !is_cut(name, sets) || matches!(*rtype, Rtype::DS | Rtype::NSEC) {
                    let key = if *rtype == Rtype::DNSKEY { keys.first() } else { keys.last() }.unwrap();
                    let rdata = rrsig(key, apex, name, *rtype, TTL, set, (from as u32, until as u32));
                    records.push(record(name, Rtype::RRSIG, TTL, rdata));
                }
            }
        }
        records
    }
}

/// Puts data, aliases and delegations into a zone. Aliases lead to zones that come later, so that none goes in a circle.
fn fill(random: &mut Random, plans: &mut [Plan], zone: usize) {
    let apex = plans[zone].apex.clone();
    let later = &plans[zone + 1..];
    let mut targets: Vec<Name> = later.iter().map(|plan| plan.apex.clone()).collect();
    for (word, plan) in
        ["nope", "host", "x.y.wild", "x.walias", "alias", "ent", "in.old"].iter().zip(later.iter().cycle())
    {
        targets.push(Name::parse(&format!("{word}.{}", plan.apex)).unwrap());
    }
    targets.extend(["host", "nope", "ent", "x.wild"].map(|word| Name::parse_in(word.as_bytes(), Some(&apex)).unwrap()));
    let text = |random: &mut Random| {
        let text = format!("t{}", random.below(1000));
        [&[text.len() as u8], text.as_bytes()].concat()
    };
    let delegations: Vec<(Name, Link, Vec<Vec<u8>>)> = later
        .iter()
        .filter(|plan| plan.parent == Some(zone))
        .map(|plan| {
            let mut ds = plan.keys.first().map_or_else(|| vec![0; 36], |key| digest_of(key, &plan.apex));
            let unknown = [&ds[..2], &[253, 2], &[7; 32]].concat();
            let all = match plan.link {
                Link::Good | Link::Expired => vec![ds],
                Link::GoodAndUnknown => vec![ds, unknown],
                Link::NoDs | Link::Unsigned => Vec::new(),
                Link::UnknownAlgorithm => vec![unknown],
                Link::UnknownDigest => {
                    ds[3] = 200;
                    vec![ds]
                }
                Link::WrongDs | Link::Stripped => {
                    (ds[2], ds[3]) = (13, 2);
                    *ds.last_mut().unwrap() ^= 1;
                    vec![ds]
                }
            };
            (plan.apex.clone(), plan.link, all)
        })
        .collect();
    let server = Name::parse("ns.nowhere").unwrap();
    let plan = &mut plans[zone];
    let serial = [server.as_wire(), server.as_wire(), &[0; 15], &[60, 0, 0, 0, 60]].concat();
    plan.put(&apex, Rtype::SOA, serial);
    plan.put(&apex, Rtype::NS, server.as_wire().to_vec());
    for key in plan.keys.iter().map(|key| key.dnskey.clone()).collect::<Vec<_>>() {
        plan.put(&apex, Rtype::DNSKEY, key);
    }
    for (child, _, ds) in delegations {
        plan.put(&child, Rtype::NS, server.as_wire().to_vec());
        ds.into_iter().for_each(|rdata| plan.put(&child, Rtype::DS, rdata));
    }
    let at = |text: &str| Name::parse_in(text.as_bytes(), Some(&apex)).unwrap();
    for _ in 0..=random.below(2) {
        plan.put(&at("host"), Rtype::A, vec![192, 0, 2, random.next() as u8]);
    }
    if chance(random, 70) {
        plan.put(&at("host"), Rtype::TXT, text(random));
    }
    if chance(random, 50) {
        plan.put(&apex, Rtype::TXT, text(random));
    }
    if chance(random, 70) {
        let owner = below(random, "a", &at("ent"));
        plan.put(&owner, Rtype::A, vec![192, 0, 2, 20]);
    }
    if chance(random, 70) {
        plan.put(&at("*.wild"), Rtype::TXT, text(random));
        if chance(random, 50) {
            plan.put(&at("host.wild"), Rtype::A, vec![192, 0, 2, 30]);
        }
    }
    // The root's aliases would hide whole domains.
    for (owner, rtype, percent) in [
        ("*.walias", Rtype::CNAME, 60),
        ("alias", Rtype::CNAME, 70),
        ("second", Rtype::CNAME, 50),
        ("old", Rtype::DNAME, 60),
    ] {
        let target = pick(random, &(0..targets.len()).collect::<Vec<_>>());
        // Below a DNAME within its own zone everything would be renamed without an end.
        let fits = rtype != Rtype::DNAME || !targets[target].is_in(&at(owner));
        if chance(random, percent) && fits && !apex.is_root() {
            plan.put(&at(owner), rtype, targets[target].as_wire().to_vec());
        }
    }
}

/// Questions for what is there, for what is not, and for what is between.
fn questions(random: &mut Random, plans: &[Plan]) -> Vec<Question> {
    const TYPES: [Rtype; 6] = [Rtype::A, Rtype::TXT, Rtype::MX, Rtype::DS, Rtype::CNAME, Rtype::NS];
    let mut questions = Vec::new();
    for plan in plans {
        for (name, sets) in &plan.content {
            questions.extend(sets.keys().map(|rtype| Question::new(name.clone(), *rtype)));
            questions.push(Question::new(name.clone(), pick(random, &TYPES)));
        }
        for text in [
            "nope",
            "zzz",
            "a.b.nope",
            "nope.ent",
            "nope.host",
            "ent",
            "between7",
            "x.wild",
            "x.y.wild",
            "host.wild",
            "a.host.wild",
            "wild",
            "x.walias",
            "x.y.walias",
            "host.old",
            "nope.old",
            "alias",
            "second",
        ] {
            let name = Name::parse_in(text.as_bytes(), Some(&plan.apex)).unwrap();
            questions.push(Question::new(name.clone(), pick(random, &TYPES[..4])));
            questions.push(Question::new(name, pick(random, &TYPES[..2])));
        }
    }
    questions.retain(|question| question.rtype != Rtype::DS || !question.name.is_root());
    let mut seen = BTreeSet::new();
    questions.retain(|question| seen.insert((question.name.clone(), question.rtype)));
    questions
}
