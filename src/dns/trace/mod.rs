//! Iterative resolution, step by step, from the root servers to the answer (RFC 1034, section 5.3.3). The state machine
//! is pure: it names the next server to ask, and receives the results and the time. [`drive`] has the sockets.

pub mod drive;
pub mod hints;

use std::net::IpAddr;
use std::time::Duration;

use super::message::{Flags, Message, Question, Rcode};
use super::name::Name;
use super::record::{Record, Rtype};
use crate::fault::{Fault, Kind};

/// The maximum number of questions in one trace.
pub const MAX_QUESTIONS: usize = 96;
/// The maximum number of aliases followed from the question to its data.
pub const MAX_ALIASES: usize = 12;
/// The maximum number of address look-ups for one referral without glue (NXNS, CVE-2020-8616).
pub const MAX_LOOKUPS: usize = 4;
/// The maximum depth of look-ups inside look-ups.
pub const MAX_DEPTH: usize = 4;
/// The maximum number of name servers taken from one referral.
pub const MAX_HOSTS: usize = 16;
/// The maximum number of addresses taken for one name server.
pub const MAX_ADDRESSES: usize = 8;
/// The maximum number of zones remembered, so that an alias or a look-up does not begin at the root again.
const MAX_CUTS: usize = 64;

/// A name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: Name,
    /// Its known addresses.
    pub addresses: Vec<IpAddr>,
}

impl Host {
    /// A server with these addresses.
    pub fn new(name: Name, addresses: Vec<IpAddr>) -> Host {
        Host { name, addresses }
    }
}

/// The next action of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceAction {
    /// Ask this question, and pass the result to [`DelegationTrace::answered`].
    Ask(TraceQuestion),
    /// The trace is over: see [`DelegationTrace::outcome`].
    Done,
}

/// One question to one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceQuestion {
    /// The number of the question, counted from 1.
    pub number: usize,
    /// 0 for the question itself, 1 for the address of a name server, and so on.
    pub depth: usize,
    /// The zone for which the server is asked.
    pub zone: Name,
    /// The server's name.
    pub server: Name,
    /// The server's address.
    pub address: IpAddr,
    /// The question, sent without recursion.
    pub question: Question,
}

/// The meaning of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A referral to a zone below: its servers, with the addresses that came as glue.
    Referral {
        /// The zone below.
        zone: Name,
        /// Its servers.
        servers: Vec<Host>,
    },
    /// The data.
    Data,
    /// The name is an alias of this one.
    Alias(Name),
    /// The name does not exist.
    NoName,
    /// The name has no data of this type.
    NoData,
    /// The server does not serve the zone that was delegated to it.
    Lame(String),
    /// There was no usable answer.
    Failed(Fault),
}

impl Finding {
    /// The name of the finding.
    pub fn name(&self) -> &'static str {
        match self {
            Finding::Referral { .. } => "referral",
            Finding::Data => "answer",
            Finding::Alias(_) => "alias",
            Finding::NoName => "no_name",
            Finding::NoData => "no_data",
            Finding::Lame(_) => "lame",
            Finding::Failed(_) => "failed",
        }
    }
}

/// The end of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceEnd {
    /// The data was found.
    Data,
    /// The name exists without data of this type.
    NoData,
    /// The name does not exist.
    NoName,
    /// The trace found no answer.
    Failed(Fault),
}

/// The state of one question on its way down the tree.
#[derive(Debug)]
struct Frame {
    question: Question,
    /// The name that was asked for first, before aliases.
    origin: Name,
    zone: Name,
    hosts: Vec<Candidate>,
    aliases: usize,
    /// The number of look-ups made for servers of the present zone.
    lookups: usize,
    /// The last fault in this zone.
    trouble: Option<Fault>,
}

impl Frame {
    fn new(question: Question, cuts: &[(Name, Vec<Host>)], families: &[Rtype]) -> Frame {
        let (origin, (zone, hosts)) = (question.name.clone(), closest(&question.name, cuts, families));
        Frame { question, origin, zone, hosts, aliases: 0, lookups: 0, trouble: None }
    }

    /// Continues in this zone, which these servers serve.
    fn enter(&mut self, zone: Name, hosts: Vec<Candidate>) {
        (self.zone, self.hosts, self.lookups, self.trouble) = (zone, hosts, 0, None);
    }
}

/// A server of the present zone.
#[derive(Debug, Clone)]
struct Candidate {
    host: Host,
    /// The number of addresses that were already asked.
    tried: usize,
    /// The address types that may still be looked up.
    lookups: Vec<Rtype>,
}

/// One trace.
#[derive(Debug)]
pub struct DelegationTrace {
    /// The current question.
    frame: Frame,
    /// The suspended questions. Each waits for the address of a server, which the next one looks up.
    waiting: Vec<Frame>,
    /// Zones and their servers, as learned from referrals; the starting point is first.
    cuts: Vec<(Name, Vec<Host>)>,
    families: Vec<Rtype>,
    deadline: Duration,
    asked: usize,
    pending: Option<TraceQuestion>,
    outcome: Option<TraceEnd>,
}

impl DelegationTrace {
    /// Creates a trace that starts at these root servers. `families`: the reachable address types, in order of
    /// preference; `deadline`: the time limit of the whole trace.
    pub fn new(question: Question, root: Vec<Host>, families: &[Rtype], deadline: Duration) -> DelegationTrace {
        let cuts = vec![(Name::root(), root)];
        let frame = Frame::new(question, &cuts, families);
        let (waiting, families) = (Vec::new(), families.to_vec());
        DelegationTrace { frame, waiting, cuts, families, deadline, asked: 0, pending: None, outcome: None }
    }

    /// The next action at this time since the beginning.
    pub fn next(&mut self, now: Duration) -> TraceAction {
        while self.outcome.is_none() {
            if now >= self.deadline {
                self.fail(Fault::new(Kind::TimedOut, "the time for the whole trace is over"));
                break;
            }
            if self.asked >= MAX_QUESTIONS {
                self.fail(Fault::new(Kind::LookupFailed, format!("more than {MAX_QUESTIONS} questions")));
                break;
            }
            if let Some(ask) = self.choose() {
                self.asked += 1;
                self.pending = Some(ask.clone());
                return TraceAction::Ask(ask);
            }
            if !self.look_up() {
                self.give_up();
            }
        }
        TraceAction::Done
    }

    /// Takes the result of the last question that [`DelegationTrace::next`] returned; returns its meaning.
    pub fn answered(&mut self, reply: Result<&Message, Fault>) -> Finding {
        let Some(ask) = self.pending.take() else {
            return Finding::Failed(Fault::new(Kind::Internal, "an answer to no question"));
        };
        let (found, addresses) = match reply {
            Ok(message) => (meaning(&ask, message), addresses(&message.answer, None)),
            Err(fault) => (Finding::Failed(fault), Vec::new()),
        };
        match &found {
            Finding::Referral { zone, servers } => self.descend(zone.clone(), servers.clone()),
            Finding::Alias(target) => self.alias(target.clone()),
            Finding::Data => self.finish(TraceEnd::Data, addresses),
            Finding::NoName => self.finish(TraceEnd::NoName, Vec::new()),
            Finding::NoData => self.finish(TraceEnd::NoData, Vec::new()),
            Finding::Lame(why) => {
                let what = format!("{} ({}) is lame for {}: {why}", ask.address, ask.server, ask.zone);
                self.frame.trouble = Some(Fault::new(Kind::LookupFailed, what));
            }
            Finding::Failed(fault) => self.frame.trouble = Some(fault.clone()),
        }
        found
    }

    /// The end of the trace; a fault if it is not finished.
    pub fn outcome(self) -> TraceEnd {
        self.outcome.unwrap_or_else(|| TraceEnd::Failed(Fault::new(Kind::Cancelled, "not finished")))
    }

    /// The number of questions asked.
    pub fn asked(&self) -> usize {
        self.asked
    }

    /// The next address of the present zone that was not asked yet; `None` if all were.
    fn choose(&mut self) -> Option<TraceQuestion> {
        let (number, depth) = (self.asked + 1, self.waiting.len());
        let (families, frame) = (&self.families, &mut self.frame);
        let candidate = frame.hosts.iter_mut().find(|candidate| candidate.tried < candidate.host.addresses.len())?;
        // Preferred families first.
        let rank = |address: &IpAddr| families.iter().position(|family| *family == family_of(*address));
        let mut order: Vec<IpAddr> = candidate.host.addresses.clone();
        order.sort_by_key(rank);
        let address = *order.get(candidate.tried)?;
        candidate.tried += 1;
        Some(TraceQuestion {
            number,
            depth,
            zone: frame.zone.clone(),
            server: candidate.host.name.clone(),
            address,
            question: frame.question.clone(),
        })
    }

    /// Starts the look-up of the address of a server of the present zone; false if no look-up is left.
    fn look_up(&mut self) -> bool {
        let frame = &mut self.frame;
        if self.waiting.len() >= MAX_DEPTH || frame.lookups >= MAX_LOOKUPS {
            return false;
        }
        let zone = frame.zone.clone();
        for candidate in frame.hosts.iter_mut().filter(|candidate| candidate.host.addresses.is_empty()) {
            // Only the zone's own servers know the address, and without glue they cannot be reached.
            if candidate.host.name.is_in(&zone) && !zone.is_root() {
                continue;
            }
            while !candidate.lookups.is_empty() {
                let question = Question::new(candidate.host.name.clone(), candidate.lookups.remove(0));
                let busy = frame.question == question || self.waiting.iter().any(|other| other.question == question);
                if !busy {
                    frame.lookups += 1;
                    let below = Frame::new(question, &self.cuts, &self.families);
                    self.waiting.push(std::mem::replace(frame, below));
                    return true;
                }
            }
        }
        false
    }

    /// Ends the question: no server is left to ask for the present zone.
    fn give_up(&mut self) {
        let nobody = || Fault::new(Kind::LookupFailed, format!("no server of {} has an address", self.frame.zone));
        let fault = self.frame.trouble.clone().unwrap_or_else(nobody);
        match self.waiting.pop() {
            Some(above) => self.frame = Frame { trouble: Some(fault), ..above },
            None => self.fail(fault),
        }
    }

    fn fail(&mut self, fault: Fault) {
        self.outcome.get_or_insert(TraceEnd::Failed(fault));
    }

    /// Ends the current question: its addresses go to the question that waits for it, or the whole trace ends.
    fn finish(&mut self, outcome: TraceEnd, addresses: Vec<IpAddr>) {
        let Some(above) = self.waiting.pop() else {
            self.outcome = Some(outcome);
            return;
        };
        // The name of the look-up may have been an alias: the server is the one that is waited for.
        let name = std::mem::replace(&mut self.frame, above).origin;
        let gone = outcome == TraceEnd::NoName;
        for candidate in self.frame.hosts.iter_mut().filter(|candidate| candidate.host.name == name) {
            candidate.host.addresses.extend(addresses.iter().take(MAX_ADDRESSES));
            if gone {
                candidate.lookups.clear();
            }
        }
    }

    fn descend(&mut self, zone: Name, servers: Vec<Host>) {
        self.frame.enter(zone.clone(), candidates(&servers, &self.families));
        if self.cuts.len() < MAX_CUTS && self.cuts.iter().all(|(known, _)| *known != zone) {
            self.cuts.push((zone, servers));
        }
    }

    fn alias(&mut self, target: Name) {
        let frame = &mut self.frame;
        frame.aliases += 1;
        if frame.aliases > MAX_ALIASES {
            let fault = Fault::new(Kind::LookupFailed, format!("more than {MAX_ALIASES} aliases, or a loop of them"));
            frame.hosts.clear();
            frame.trouble = Some(fault);
            return;
        }
        let (zone, hosts) = closest(&target, &self.cuts, &self.families);
        frame.question.name = target;
        frame.enter(zone, hosts);
    }
}

/// The closest known zone that contains the name, with its servers.
fn closest(name: &Name, cuts: &[(Name, Vec<Host>)], families: &[Rtype]) -> (Name, Vec<Candidate>) {
    let over = cuts.iter().filter(|(zone, _)| name.is_in(zone));
    let closest = over.max_by_key(|(zone, _)| zone.label_count());
    closest.map_or_else(|| (Name::root(), Vec::new()), |(zone, hosts)| (zone.clone(), candidates(hosts, families)))
}

fn candidates(hosts: &[Host], families: &[Rtype]) -> Vec<Candidate> {
    let candidate = |mut host: Host| {
        host.addresses.retain(|address| families.contains(&family_of(*address)));
        host.addresses.truncate(MAX_ADDRESSES);
        Candidate { host, tried: 0, lookups: families.to_vec() }
    };
    hosts.iter().take(MAX_HOSTS).cloned().map(candidate).collect()
}

/// The meaning of an answer from a server of this zone. Only records that the zone has authority over count.
fn meaning(ask: &TraceQuestion, message: &Message) -> Finding {
    let rcode = message.rcode();
    if !rcode.is_answer() {
        return Finding::Lame(rcode.to_string());
    }
    let mut name = ask.question.name.clone();
    let authoritative = message.flags.has(Flags::AA);
    let in_zone = |record: &&Record| record.name.is_in(&ask.zone);
    if authoritative {
        // Follow the aliases of the answer while the names are in the zone.
        for _ in 0..=MAX_ALIASES {
            let mut here = message.answer.iter().filter(in_zone).filter(|record| record.name == name);
            let wanted = |record: &Record| record.rtype == ask.question.rtype || ask.question.rtype == Rtype::ANY;
            if here.clone().any(wanted) {
                return Finding::Data;
            }
            match here.find(|record| record.rtype == Rtype::CNAME).and_then(Record::target) {
                Some(target) => name = target,
                None => break,
            }
        }
        if name != ask.question.name {
            let denied = message.authority.iter().any(|record| record.rtype == Rtype::SOA);
            return match rcode {
                _ if !name.is_in(&ask.zone) => Finding::Alias(name),
                Rcode::NXDOMAIN => Finding::NoName,
                _ if denied => Finding::NoData,
                _ => Finding::Alias(name),
            };
        }
        if rcode != Rcode::NOERROR {
            return Finding::NoName;
        }
    }
    if let Some(found) = referral(ask, message) {
        return found;
    }
    match (authoritative, rcode) {
        (true, _) => Finding::NoData,
        (false, Rcode::NXDOMAIN) => Finding::Lame("says that there is no such name, and is no authority".to_owned()),
        (false, _) if message.answer.is_empty() => Finding::Lame("neither an answer nor a referral".to_owned()),
        (false, _) => Finding::Lame("answers, and is no authority".to_owned()),
    }
}

/// A referral to the zone below, with glue as far as the zone may give it.
fn referral(ask: &TraceQuestion, message: &Message) -> Option<Finding> {
    let ns = |record: &&Record| record.rtype == Rtype::NS && ask.question.name.is_in(&record.name);
    let zone = message.authority.iter().find(ns)?.name.clone();
    if zone == ask.zone || !zone.is_in(&ask.zone) {
        // A zone's own NS records may accompany its answers as well.
        let upwards = !message.flags.has(Flags::AA);
        return upwards.then(|| Finding::Lame(format!("refers to {zone} instead of downwards")));
    }
    let mut servers: Vec<Host> = Vec::new();
    for name in message.authority.iter().filter(ns).filter(|record| record.name == zone).filter_map(Record::target) {
        if servers.len() >= MAX_HOSTS || servers.iter().any(|host| host.name == name) {
            continue;
        }
        let mut glue = if name.is_in(&ask.zone) { addresses(&message.additional, Some(&name)) } else { Vec::new() };
        glue.truncate(MAX_ADDRESSES);
        servers.push(Host::new(name, glue));
    }
    Some(Finding::Referral { zone, servers })
}

/// The addresses among records, all or those of one host.
fn addresses(records: &[Record], host: Option<&Name>) -> Vec<IpAddr> {
    records.iter().filter(|record| host.is_none_or(|host| record.name == *host)).filter_map(Record::address).collect()
}

fn family_of(address: IpAddr) -> Rtype {
    if address.is_ipv4() { Rtype::A } else { Rtype::AAAA }
}

#[cfg(test)]
mod tests;
