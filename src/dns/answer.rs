//! The authoritative server's answers: (zones, query bytes) -> response bytes (RFC 1034, section 4.3.2; wildcards by
//! RFC 4592, DNAME by RFC 6672). Pure: no sockets, no clock.

use std::collections::HashMap;
use std::sync::Arc;

use super::edns::{DEFAULT_UDP_SIZE, Edns};
use super::message::{Flags, HEADER_BYTES, MAX_MESSAGE_BYTES, Message, Question, Rcode};
use super::name::Name;
use super::record::{Class, Record, Rtype};
use super::wire::Cursor;
use super::zone::{Node, Set, Zone};

/// Aliases followed inside our own zones for one question.
pub const MAX_ALIASES: usize = 12;
/// The smallest UDP payload that every client takes (RFC 1035, section 4.2.1).
const MIN_UDP_SIZE: u16 = 512;

/// The zones that a server answers for.
#[derive(Debug, Clone, Default)]
pub struct Zones {
    zones: HashMap<Name, Arc<Zone>>,
}

impl Zones {
    /// Adds a zone; false if there is one of that name.
    pub fn add(&mut self, zone: Zone) -> bool {
        let name = zone.origin().clone();
        if self.zones.contains_key(&name) {
            return false;
        }
        self.zones.insert(name, Arc::new(zone));
        true
    }

    /// The zone that a name belongs to: the longest that it is in.
    pub fn find(&self, name: &Name) -> Option<&Arc<Zone>> {
        let mut candidate = Some(name.clone());
        while let Some(name) = candidate {
            if let Some(zone) = self.zones.get(&name) {
                return Some(zone);
            }
            candidate = name.parent();
        }
        None
    }

    /// The zone of exactly this name.
    pub fn get(&self, name: &Name) -> Option<&Arc<Zone>> {
        self.zones.get(name)
    }

    /// All zones.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.zones.values()
    }
}

/// What came of a query.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Send this.
    Send(Response),
    /// A transfer of this zone was asked for: the server decides whether and how.
    Transfer(Box<Message>),
    /// Not for our zones, and recursion was desired: the server may forward it; else it sends the response.
    Elsewhere(Response),
    /// Say nothing: it was no query (RFC 1035 says nothing else; answering responses makes loops).
    Drop,
}

/// A response with what a log wants to know.
#[derive(Debug, Clone)]
pub struct Response {
    /// The message.
    pub wire: Vec<u8>,
    /// Its code.
    pub rcode: Rcode,
    /// What was asked, if it could be read.
    pub question: Option<Question>,
}

/// Answers one message. `udp`: it came in a datagram, so that the response must fit into what the client takes.
pub fn answer(zones: &Zones, query: &[u8], udp: bool) -> Reply {
    let Some(header) = query.get(..HEADER_BYTES) else { return Reply::Drop };
    let (id, flags) = match header {
        [a, b, c, d, ..] => (u16::from_be_bytes([*a, *b]), Flags(u16::from_be_bytes([*c, *d]))),
        _ => return Reply::Drop,
    };
    if flags.has(Flags::QR) {
        return Reply::Drop;
    }
    let mut response = Message { id, flags: Flags(flags.0 & (Flags::RD | Flags::CD | 0x7800)), ..Message::default() };
    response.flags.set(Flags::QR, true);
    let Ok(message) = Message::parse(query) else {
        return Reply::Send(finish(response, Rcode::FORMERR, MIN_UDP_SIZE.into(), None));
    };
    let limit = match &message.edns {
        _ if !udp => MAX_MESSAGE_BYTES,
        Some(edns) => usize::from(edns.udp_size.clamp(MIN_UDP_SIZE, DEFAULT_UDP_SIZE)),
        None => usize::from(MIN_UDP_SIZE),
    };
    let dnssec_ok = message.edns.as_ref().is_some_and(|edns| edns.dnssec_ok);
    response.edns = message.edns.as_ref().map(|_| Edns { dnssec_ok, ..Edns::default() });
    response.question.clone_from(&message.question);
    if message.edns.as_ref().is_some_and(|edns| edns.version != 0) {
        return Reply::Send(finish(response, Rcode::BADVERS, limit, None));
    }
    if flags.opcode() != 0 {
        return Reply::Send(finish(response, Rcode::NOTIMP, limit, None));
    }
    let [question] = message.question.as_slice() else {
        return Reply::Send(finish(response, Rcode::FORMERR, limit, None));
    };
    let question = question.clone();
    match question.rtype {
        Rtype::AXFR | Rtype::IXFR => return Reply::Transfer(Box::new(message)),
        Rtype(0) | Rtype::OPT | Rtype::TSIG | Rtype::TKEY => {
            return Reply::Send(finish(response, Rcode::FORMERR, limit, Some(question)));
        }
        _ => {}
    }
    if question.class != Class::IN {
        return Reply::Send(finish(response, Rcode::REFUSED, limit, Some(question)));
    }
    let Some(zone) = zones.find(&question.name) else {
        let refused = finish(response, Rcode::REFUSED, limit, Some(question));
        return if flags.has(Flags::RD) { Reply::Elsewhere(refused) } else { Reply::Send(refused) };
    };
    let mut build = Build { zones, response, dnssec_ok, udp };
    let rcode = build.resolve(zone.clone(), &question);
    build.additional();
    Reply::Send(finish(build.response, rcode, limit, Some(question)))
}

/// The response to a query that is answered with a code alone.
pub fn refuse(query: &Message, rcode: Rcode) -> Response {
    let mut response = Message { id: query.id, flags: Flags(query.flags.0 & Flags::RD), ..Message::default() };
    response.flags.set(Flags::QR, true);
    response.question.clone_from(&query.question);
    response.edns = query.edns.as_ref().map(|_| Edns::default());
    finish(response, rcode, MIN_UDP_SIZE.into(), query.question.first().cloned())
}

fn finish(mut response: Message, rcode: Rcode, limit: usize, question: Option<Question>) -> Response {
    response.flags.0 |= rcode.0 & 15;
    if let Some(edns) = &mut response.edns {
        edns.extended_rcode = (rcode.0 >> 4) as u8;
    }
    Response { wire: response.compose(limit), rcode, question }
}

struct Build<'a> {
    zones: &'a Zones,
    response: Message,
    dnssec_ok: bool,
    udp: bool,
}

impl Build<'_> {
    /// Walks from zone to zone along aliases; fills the sections and gives the code.
    fn resolve(&mut self, mut zone: Arc<Zone>, question: &Question) -> Rcode {
        let mut name = question.name.clone();
        for _ in 0..MAX_ALIASES {
            let next = match self.in_zone(&zone, &name, question.rtype) {
                Step::Done(rcode) => return rcode,
                Step::Alias(next) => next,
            };
            // A loop inside the answer has been shown; following it again shows nothing new.
            if self.response.answer.iter().any(|record| record.rtype == Rtype::CNAME && record.name == next) {
                return Rcode::NOERROR;
            }
            match self.zones.find(&next) {
                Some(found) => zone = found.clone(),
                None => return Rcode::NOERROR, // the client goes on from here
            }
            name = next;
        }
        Rcode::NOERROR
    }

    fn in_zone(&mut self, zone: &Zone, name: &Name, rtype: Rtype) -> Step {
        let depth = name.label_count() - zone.origin().label_count();
        // From the zone's top down to the name: a cut or a DNAME above it decides.
        let mut encloser = zone.origin().clone();
        for skip in (0..=depth).rev() {
            let Some(here) = name.suffix(skip) else { continue };
            let Some(node) = zone.node(&here) else { break };
            encloser.clone_from(&here);
            let cut = node.set(Rtype::NS).filter(|_| here != *zone.origin() && !(skip == 0 && rtype == Rtype::DS));
            if let Some(ns) = cut {
                return self.referral(zone, &here, node, ns);
            }
            if let Some(dname) = node.set(Rtype::DNAME).filter(|_| skip > 0) {
                return self.dname(&here, node, dname, name);
            }
        }
        self.authoritative();
        if let Some(node) = zone.node(name) {
            return self.node(zone, node, name, rtype);
        }
        let wildcard = encloser.prepend(b"*").ok().and_then(|name| zone.node(&name));
        match wildcard {
            Some(node) => self.node(zone, node, name, rtype),
            None => {
                self.response.authority.push(zone.negative_soa());
                Step::Done(Rcode::NXDOMAIN)
            }
        }
    }

    /// The name exists (or a wildcard stands for it): its data, an alias, or nothing of this type.
    fn node(&mut self, zone: &Zone, node: &Node, name: &Name, rtype: Rtype) -> Step {
        if rtype == Rtype::ANY {
            // RFC 8482: one set is enough over UDP, where a big answer would serve attackers; all over TCP.
            let sets = node.sets().iter().filter(|set| self.dnssec_ok || set.rtype != Rtype::RRSIG);
            let count = if self.udp { 1 } else { usize::MAX };
            let records: Vec<Record> = sets.take(count).flat_map(|set| set.records(name)).collect();
            if records.is_empty() {
                self.response.authority.push(zone.negative_soa());
            }
            self.response.answer.extend(records);
            return Step::Done(Rcode::NOERROR);
        }
        if let Some(set) = node.set(rtype) {
            self.answer(node, set, name);
            return Step::Done(Rcode::NOERROR);
        }
        if let Some(set) = node.set(Rtype::CNAME) {
            self.answer(node, set, name);
            return match set.rdata.first().and_then(|rdata| Name::from_wire(rdata).ok()) {
                Some(target) => Step::Alias(target),
                None => Step::Done(Rcode::SERVFAIL),
            };
        }
        self.response.authority.push(zone.negative_soa());
        Step::Done(Rcode::NOERROR)
    }

    fn answer(&mut self, node: &Node, set: &Set, owner: &Name) {
        self.response.answer.extend(set.records(owner));
        self.signatures(node, set.rtype, owner);
    }

    fn signatures(&mut self, node: &Node, rtype: Rtype, owner: &Name) {
        if self.dnssec_ok
            && let Some(set) = node.set(Rtype::RRSIG)
        {
            let covers = |record: &Record| Cursor::new(&record.rdata).u16() == Ok(rtype.0);
            self.response.answer.extend(set.records(owner).filter(covers));
        }
    }

    /// The zone ends here: name servers of the child and their addresses (RFC 1034, section 4.2.1).
    fn referral(&mut self, zone: &Zone, cut: &Name, node: &Node, ns: &Set) -> Step {
        self.response.authority.extend(ns.records(cut));
        if let Some(ds) = node.set(Rtype::DS).filter(|_| self.dnssec_ok) {
            self.response.authority.extend(ds.records(cut));
        }
        for server in ns.rdata.iter().filter_map(|rdata| Name::from_wire(rdata).ok()) {
            // Glue: also what stands below the cut, where we have no authority.
            if server.is_in(zone.origin()) {
                self.addresses(zone, &server);
            }
        }
        Step::Done(Rcode::NOERROR)
    }

    /// The name is below a DNAME: the DNAME itself, and the CNAME that follows from it (RFC 6672, section 3.2).
    fn dname(&mut self, owner: &Name, node: &Node, set: &Set, name: &Name) -> Step {
        self.authoritative();
        self.answer(node, set, owner);
        let target = set.rdata.first().and_then(|rdata| Name::from_wire(rdata).ok());
        let Some(next) = target.and_then(|target| name.rebase(owner, &target).ok()) else {
            return Step::Done(Rcode::YXDOMAIN);
        };
        self.response.answer.push(Record {
            name: name.clone(),
            rtype: Rtype::CNAME,
            class: Class::IN,
            ttl: set.ttl,
            rdata: next.as_wire().to_vec(),
        });
        Step::Alias(next)
    }

    /// The addresses of hosts that the answer names, as far as they are ours.
    fn additional(&mut self) {
        let hosts: Vec<Name> = self.response.answer.iter().filter_map(host_of).collect();
        for host in hosts {
            if let Some(zone) = self.zones.find(&host).cloned() {
                self.addresses(&zone, &host);
            }
        }
    }

    fn addresses(&mut self, zone: &Zone, host: &Name) {
        let Some(node) = zone.node(host) else { return };
        if self.response.additional.iter().any(|record| record.name == *host) {
            return;
        }
        for set in [Rtype::A, Rtype::AAAA].into_iter().filter_map(|rtype| node.set(rtype)) {
            self.response.additional.extend(set.records(host));
        }
    }

    /// AA is about the first name of the answer (RFC 1035, section 4.1.1).
    fn authoritative(&mut self) {
        self.response.flags.set(Flags::AA, true);
    }
}

enum Step {
    Done(Rcode),
    Alias(Name),
}

/// The host in the data of NS, MX and SRV.
fn host_of(record: &Record) -> Option<Name> {
    let mut cursor = Cursor::new(&record.rdata);
    let skip = match record.rtype {
        Rtype::NS => 0,
        Rtype::MX => 2,
        Rtype::SRV => 6,
        _ => return None,
    };
    cursor.take(skip).ok()?;
    cursor.name().ok()
}

#[cfg(test)]
mod tests;
