//! Answers of an authoritative server: (zones, query bytes) -> response bytes (RFC 1034, section 4.3.2; wildcards by
//! RFC 4592, DNAME by RFC 6672, signed zones by RFC 4035, section 3.1). Pure functions: no sockets, no clock.

mod onward;
mod proof;
pub mod transfer;

pub use onward::{OnwardQuestion, UpstreamQuestion};

use std::collections::HashMap;
use std::sync::Arc;

use super::edns::{DEFAULT_UDP_SIZE, Edns};
use super::message::{Composer, DnsMessageReader, Flags, HEADER_BYTES, MAX_MESSAGE_BYTES, Message, Question, Rcode};
use super::name::{Name, NameKey, NameRef};
use super::record::rdata::{Mx, srv_target};
use super::record::{Class, Record, Rtype};
use super::tsig::{self, TsigKeys, TsigSigner};
use super::wire::Malformed;
use super::zone::{NameNode, Set, Zone};

/// The maximum number of aliases followed within the served zones for one question.
pub const MAX_ALIASES: usize = 12;
/// The UDP payload size that every client accepts, in bytes (RFC 1035, section 4.2.1).
const MIN_UDP_SIZE: u16 = 512;

/// The zones for which a server is authoritative.
#[derive(Debug, Clone, Default)]
pub struct Zones {
    /// `None` for a zone that could not be read: it does not answer, and its parent zone does not replace it.
    zones: HashMap<Name, Option<Arc<Zone>>>,
    /// The maximum number of labels in the name of a zone: longer names need no look-up.
    deepest: usize,
}

impl Zones {
    /// Adds a zone; false if a zone with that name exists.
    pub fn add(&mut self, zone: Zone) -> bool {
        self.insert(zone.origin().clone(), Some(Arc::new(zone)))
    }

    /// Adds the name of a zone that could not be read: questions about it fail with SERVFAIL. False if a zone with that name
    /// exists.
    pub fn add_broken(&mut self, name: Name) -> bool {
        self.insert(name, None)
    }

    /// Keeps the zones of `before` that could be read and are missing or broken here.
    pub fn keep_from(&mut self, before: &Zones) {
        for (name, zone) in before.zones.iter().filter(|(_, zone)| zone.is_some()) {
            if self.get(name).is_none() {
                self.deepest = self.deepest.max(name.label_count());
                self.zones.insert(name.clone(), zone.clone());
            }
        }
    }

    fn insert(&mut self, name: Name, zone: Option<Arc<Zone>>) -> bool {
        if self.zones.contains_key(&name) {
            return false;
        }
        self.deepest = self.deepest.max(name.label_count());
        self.zones.insert(name, zone);
        true
    }

    /// The entry of the closest zone that contains a name.
    fn closest(&self, name: NameRef<'_>) -> Option<&Option<Arc<Zone>>> {
        let first = name.suffix(name.label_count().saturating_sub(self.deepest));
        std::iter::successors(first, |name| name.parent()).find_map(|name| self.zones.get(&name as &dyn NameKey))
    }

    /// The closest zone that contains a name.
    pub fn find<'n>(&self, name: impl Into<NameRef<'n>>) -> Option<&Arc<Zone>> {
        self.closest(name.into())?.as_ref()
    }

    /// True if the closest zone that contains a name could not be read.
    pub fn is_broken<'n>(&self, name: impl Into<NameRef<'n>>) -> bool {
        self.closest(name.into()).is_some_and(Option::is_none)
    }

    /// The zone that answers a question. A DS record belongs to the parent of the zone that it delegates (RFC 4035, section 3.1.4.1).
    fn find_for(&self, name: &Name, rtype: Rtype) -> Option<&Arc<Zone>> {
        let own = self.find(name)?;
        let parent =
            (rtype == Rtype::DS && own.origin() == name).then(|| self.find(name.borrowed().parent()?)).flatten();
        Some(parent.unwrap_or(own))
    }

    /// The zone with exactly this name.
    pub fn get(&self, name: &Name) -> Option<&Arc<Zone>> {
        self.zones.get(name)?.as_ref()
    }

    /// All zones.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Zone>> {
        self.zones.values().flatten()
    }
}

/// The action that answers a query.
#[derive(Debug, Clone)]
pub enum AnswerAction {
    /// Send this response.
    Send(DnsResponse),
    /// The query asks for a zone transfer; the server decides whether and how to make it.
    Transfer(Box<Message>),
    /// Another server has the answer or the rest of it, and the client desires recursion. The server may forward the question;
    /// otherwise it sends its own part.
    Elsewhere(Box<OnwardQuestion>),
    /// Send nothing: the message is no query. Answering a response would make a loop.
    Drop,
}

impl AnswerAction {
    /// The response of a server that neither forwards nor transfers; `None` for a dropped message.
    pub fn response(self) -> Option<DnsResponse> {
        match self {
            AnswerAction::Send(response) => Some(response),
            AnswerAction::Elsewhere(onward) => Some(onward.unforwarded()),
            AnswerAction::Transfer(message) => Some(refuse(&message, Rcode::REFUSED)),
            AnswerAction::Drop => None,
        }
    }
}

/// A response, with its code for the log.
#[derive(Debug, Clone)]
pub struct DnsResponse {
    /// The message.
    pub wire: Vec<u8>,
    /// Its response code.
    pub rcode: Rcode,
}

/// The parts of a query for the log, as far as the query can be read.
#[derive(Debug, Clone)]
pub struct LoggedQuery {
    /// Flags and operation.
    pub flags: Flags,
    /// The question.
    pub question: Option<Question>,
    /// The OPT record.
    pub edns: Option<Edns>,
}

impl LoggedQuery {
    /// Reads a query for the log.
    pub fn read(query: &[u8]) -> LoggedQuery {
        let flags = DnsMessageReader::new(query).map(|reader| reader.flags).unwrap_or_default();
        let read = ReadQuery::read(query).ok();
        let (question, edns) = read.map(|read| (read.question, read.edns)).unzip();
        LoggedQuery { flags, question, edns: edns.flatten() }
    }
}

/// A parsed query: the question and the records that concern the message as a whole.
struct ReadQuery<'q> {
    question: Question,
    edns: Option<Edns>,
    /// The SOA record of an IXFR (RFC 1995, section 3).
    soa: Option<Record>,
    /// Owner and data of the TSIG record.
    tsig: Option<(Name, &'q [u8])>,
}

impl<'q> ReadQuery<'q> {
    /// Accepts one question, no answers, one authority record for IXFR only, and OPT and TSIG in their places. The counts
    /// in the header reject anything else before it costs work.
    fn read(query: &'q [u8]) -> Result<ReadQuery<'q>, Malformed> {
        let mut reader = DnsMessageReader::new(query)?;
        let counts = reader.counts;
        if (counts.question, counts.answer) != (1, 0) || counts.authority > 1 || counts.additional > 2 {
            return Err(Malformed("more than one question"));
        }
        let question = reader.question()?;
        if (counts.authority == 1) != (question.rtype == Rtype::IXFR) {
            return Err(Malformed("an authority section that is not an IXFR's"));
        }
        let soa = match counts.authority {
            0 => None,
            _ => Some(reader.record()?.into_record(query)?).filter(|record| record.rtype == Rtype::SOA),
        };
        if soa.is_none() && question.rtype == Rtype::IXFR {
            return Err(Malformed("an IXFR without a SOA record"));
        }
        let (mut edns, mut tsig) = (None, None);
        for _ in 0..counts.additional {
            if tsig.is_some() {
                return Err(Malformed("a TSIG record that is not the last"));
            }
            let raw = reader.record()?;
            let rdata = query.get(raw.begin..raw.end).unwrap_or_default();
            match raw.rtype {
                Rtype::OPT if edns.is_some() || !raw.name.is_root() => {
                    return Err(Malformed("OPT record twice, or not at the root"));
                }
                Rtype::OPT => edns = Some(Edns::parse(raw.class.0, raw.ttl, rdata)?),
                Rtype::TSIG => tsig = Some((raw.name, rdata)),
                _ => {}
            }
        }
        Ok(ReadQuery { question, edns, soa, tsig })
    }
}

/// The maximum size of a UDP response in bytes, for a client with this OPT record.
pub(super) fn udp_limit(edns: Option<&Edns>) -> usize {
    usize::from(edns.map_or(MIN_UDP_SIZE, |edns| edns.udp_size.clamp(MIN_UDP_SIZE, DEFAULT_UDP_SIZE)))
}

/// Answers one message. `udp`: the message came in a datagram, so that the response must fit into the client's UDP size. A
/// malformed message is answered with the header alone: a response never repeats more of a query than its one question.
pub fn answer(zones: &Zones, query: &[u8], udp: bool) -> AnswerAction {
    let Some(header) = query.get(..HEADER_BYTES) else { return AnswerAction::Drop };
    let (id, flags) = match header {
        [a, b, c, d, ..] => (u16::from_be_bytes([*a, *b]), Flags(u16::from_be_bytes([*c, *d]))),
        _ => return AnswerAction::Drop,
    };
    if flags.has(Flags::QR) {
        return AnswerAction::Drop;
    }
    let mut response = Message { id, flags: Flags(flags.0 & (Flags::RD | Flags::CD | 0x7800)), ..Message::default() };
    response.flags.set(Flags::QR, true);
    let read = ReadQuery::read(query);
    let edns = read.as_ref().ok().and_then(|read| read.edns.as_ref());
    let limit = if udp { udp_limit(edns) } else { MAX_MESSAGE_BYTES };
    let dnssec_ok = edns.is_some_and(|edns| edns.dnssec_ok);
    response.edns = edns.map(|_| Edns { dnssec_ok, ..Edns::default() });
    let bad = match &read {
        _ if flags.opcode() != 0 => Some(Rcode::NOTIMP),
        Err(_) => Some(Rcode::FORMERR),
        Ok(read) if read.edns.as_ref().is_some_and(|edns| edns.version != 0) => Some(Rcode::BADVERS),
        Ok(_) => None,
    };
    let (None, Ok(ReadQuery { question, edns, soa, tsig })) = (bad, read) else {
        return AnswerAction::Send(finish(response, bad.unwrap_or(Rcode::FORMERR), (limit, 0)));
    };
    response.question = vec![question.clone()];
    if let Some((key, rdata)) = tsig {
        let mut refused = finish(response, Rcode::NOTAUTH, (limit, 0));
        return match tsig::append_bad_key(&mut refused.wire, &key, rdata) {
            Ok(()) => AnswerAction::Send(refused),
            Err(_) => AnswerAction::Send(refuse(&Message { id, flags, ..Message::default() }, Rcode::FORMERR)),
        };
    }
    match question.rtype {
        Rtype::AXFR | Rtype::IXFR => {
            let (question, authority) = (vec![question], soa.into_iter().collect());
            return AnswerAction::Transfer(Box::new(Message {
                id,
                flags,
                question,
                authority,
                edns,
                ..Message::default()
            }));
        }
        Rtype(0) | Rtype::OPT | Rtype::TSIG | Rtype::TKEY => {
            return AnswerAction::Send(finish(response, Rcode::FORMERR, (limit, 0)));
        }
        _ => {}
    }
    if !matches!(question.class, Class::IN | Class::ANY) {
        return AnswerAction::Send(finish(response, Rcode::REFUSED, (limit, 0)));
    }
    let mut build = ResponseBuilder { zones, response, dnssec_ok, udp, glue: 0, kept: 0 };
    let end = match zones.find_for(&question.name, question.rtype) {
        Some(zone) => build.resolve(zone.clone(), &question),
        None if zones.is_broken(&question.name) => AnswerEnd { rcode: Rcode::SERVFAIL, leads_to: None },
        None => AnswerEnd { rcode: Rcode::REFUSED, leads_to: Some(question.name.clone()) },
    };
    build.additional();
    let ResponseBuilder { response, glue, kept, .. } = build;
    match end.leads_to.filter(|_| flags.has(Flags::RD)) {
        Some(name) => AnswerAction::Elsewhere(Box::new(OnwardQuestion {
            upstream: UpstreamQuestion {
                question: Question { name, ..question },
                flags: Flags(flags.0 & (Flags::RD | Flags::CD | Flags::AD)),
                dnssec_ok,
            },
            response,
            rcode: end.rcode,
            room: (limit, glue),
            kept,
        })),
        None => AnswerAction::Send(finish(response, end.rcode, (limit, glue))),
    }
}

/// As [`answer`], for a server with TSIG keys; `now` is the time in seconds since 1970. Also returns the signer of the response.
/// A signed query is answered only if its signature is valid.
pub fn answer_signed(
    zones: &Zones,
    (keys, now): (&TsigKeys, u64),
    query: &[u8],
    udp: bool,
) -> (AnswerAction, Option<TsigSigner>) {
    // A response is not examined at all, not even its signature.
    let is_query = query.get(2).is_some_and(|flags| flags & 0x80 == 0);
    let is_signed = is_query && !keys.0.is_empty() && ReadQuery::read(query).is_ok_and(|read| read.tsig.is_some());
    let opened = is_signed.then(|| keys.open(query, now).ok().flatten()).flatten();
    let Some(opened) = opened else { return (answer(zones, query, udp), None) };
    let action = match opened.signer.is_proven() {
        true => answer(zones, &opened.query, udp),
        // The content of a query without a valid signature is ignored.
        false => AnswerAction::Send(refuse(&Message::parse(&opened.query).unwrap_or_default(), Rcode::NOTAUTH)),
    };
    (action, Some(opened.signer))
}

/// Signs a response. If it is then larger than `limit`, it is truncated to its question with TC set (RFC 8945, section 5.3).
pub fn sign(response: &mut DnsResponse, signer: &mut TsigSigner, now: u64, limit: usize) {
    if response.wire.len() + signer.size() > limit {
        let mut header = Message::parse(&response.wire).unwrap_or_default();
        header.flags.set(Flags::TC, true);
        (header.answer, header.authority, header.additional) = Default::default();
        response.wire = header.compose(limit);
    }
    signer.sign(&mut response.wire, now);
}

/// The response to a query with a response code and no records.
pub fn refuse(query: &Message, rcode: Rcode) -> DnsResponse {
    let mut response = Message { id: query.id, flags: Flags(query.flags.0 & Flags::RD), ..Message::default() };
    response.flags.set(Flags::QR, true);
    response.question = query.question.iter().take(1).cloned().collect();
    response.edns = query.edns.as_ref().map(|_| Edns::default());
    finish(response, rcode, (MIN_UDP_SIZE.into(), 0))
}

/// The response to an IXFR with only the zone's SOA record.
pub(super) fn with_soa(query: &Message, zone: &Zone) -> DnsResponse {
    let mut response = Message { id: query.id, flags: Flags(query.flags.0 & Flags::RD), ..Message::default() };
    response.flags.set(Flags::QR, true);
    response.flags.set(Flags::AA, true);
    response.question.clone_from(&query.question);
    response.answer.push(zone.soa().clone());
    response.edns = query.edns.as_ref().map(|_| Edns::default());
    finish(response, Rcode::NOERROR, (udp_limit(query.edns.as_ref()), 0))
}

fn finish(mut response: Message, rcode: Rcode, room: (usize, usize)) -> DnsResponse {
    response.flags.0 |= rcode.0 & 15;
    if let Some(edns) = &mut response.edns {
        edns.extended_rcode = (rcode.0 >> 4) as u8;
    }
    let (limit, needed) = room;
    DnsResponse { wire: response.compose_with(limit, needed), rcode }
}

struct ResponseBuilder<'a> {
    zones: &'a Zones,
    response: Message,
    dnssec_ok: bool,
    udp: bool,
    /// The number of additional records that a referral requires (RFC 9471).
    glue: usize,
    /// The number of authority records that belong to the answer; those after them are a referral.
    kept: usize,
}

/// The end of the walk through the served zones.
struct AnswerEnd {
    rcode: Rcode,
    /// The name that other servers have data for: outside the served zones, or below a delegation.
    leads_to: Option<Name>,
}

impl ResponseBuilder<'_> {
    /// Follows aliases from zone to zone and fills the sections.
    fn resolve(&mut self, mut zone: Arc<Zone>, question: &Question) -> AnswerEnd {
        let mut name = question.name.clone();
        for _ in 0..MAX_ALIASES {
            self.kept = self.response.authority.len();
            let next = match self.in_zone(&zone, name.borrowed(), question.rtype) {
                ZoneStep::Done(rcode) => return AnswerEnd { rcode, leads_to: None },
                ZoneStep::Referral => return AnswerEnd { rcode: Rcode::NOERROR, leads_to: Some(name) },
                ZoneStep::Alias(next) => next,
            };
            // The answer already shows the loop; following it again adds nothing.
            if self.response.answer.iter().any(|record| record.rtype == Rtype::CNAME && record.name == next) {
                return AnswerEnd { rcode: Rcode::NOERROR, leads_to: None };
            }
            match self.zones.find_for(&next, question.rtype) {
                Some(found) => zone = found.clone(),
                None if self.zones.is_broken(&next) => return AnswerEnd { rcode: Rcode::SERVFAIL, leads_to: None },
                None => {
                    self.kept = self.response.authority.len();
                    return AnswerEnd { rcode: Rcode::NOERROR, leads_to: Some(next) };
                }
            }
            name = next;
        }
        AnswerEnd { rcode: Rcode::NOERROR, leads_to: None }
    }

    fn in_zone(&mut self, zone: &Zone, name: NameRef<'_>, rtype: Rtype) -> ZoneStep {
        let depth = name.label_count() - zone.origin().label_count();
        // From the zone's top down to the name: a cut or a DNAME above it decides.
        let mut encloser = zone.origin().borrowed();
        for skip in (0..=depth).rev() {
            let Some(here) = name.suffix(skip) else { continue };
            let Some(node) = zone.node(here) else { break };
            encloser = here;
            let cut = node.set(Rtype::NS).filter(|_| here != *zone.origin() && !(skip == 0 && rtype == Rtype::DS));
            if let Some(ns) = cut {
                return self.referral(zone, here, node, ns);
            }
            if let Some(dname) = node.set(Rtype::DNAME).filter(|_| skip > 0) {
                return self.dname(here, node, dname, name, rtype);
            }
        }
        self.authoritative();
        if let Some(node) = zone.node(name) {
            return self.node(zone, node, name, rtype, None);
        }
        let wildcard = encloser.prepend(b"*").ok().and_then(|name| zone.node(&name));
        match wildcard {
            Some(node) => self.node(zone, node, name, rtype, Some(encloser)),
            None => {
                self.negative_soa(zone);
                self.prove_no_name(zone, name, encloser);
                ZoneStep::Done(Rcode::NXDOMAIN)
            }
        }
    }

    /// Answers for a name that exists (or that the wildcard below `encloser` matches): its data, an alias, or no data of this type.
    fn node(
        &mut self,
        zone: &Zone,
        node: &NameNode,
        name: NameRef<'_>,
        rtype: Rtype,
        encloser: Option<NameRef<'_>>,
    ) -> ZoneStep {
        let exact = node.set(rtype).is_some() || (rtype == Rtype::ANY && !node.sets().is_empty());
        let alias = node.set(Rtype::CNAME).filter(|_| !exact);
        if let Some(encloser) = encloser.filter(|_| exact || alias.is_some()) {
            self.prove_no_closer(zone, name, encloser);
        }
        if rtype == Rtype::ANY && exact {
            // RFC 8482: one set is enough over UDP, where a large answer would help attackers; over TCP all sets.
            let data = node.sets().iter().filter(|set| set.covered.is_none());
            for set in data.take(if self.udp { 1 } else { usize::MAX }) {
                self.answer(node, set, name);
            }
            return ZoneStep::Done(Rcode::NOERROR);
        }
        if rtype == Rtype::RRSIG && exact {
            // As with ANY: over UDP the signatures of one set, over TCP all.
            let signatures = node.sets().iter().filter(|set| set.covered.is_some());
            let count = if self.udp { 1 } else { usize::MAX };
            self.response.answer.extend(signatures.take(count).flat_map(|set| set.records(name)));
            return ZoneStep::Done(Rcode::NOERROR);
        }
        if let Some(set) = node.set(rtype) {
            self.answer(node, set, name);
            return ZoneStep::Done(Rcode::NOERROR);
        }
        if let Some(set) = alias {
            self.answer(node, set, name);
            return match set.rdata.first().and_then(|rdata| Name::from_wire(rdata).ok()) {
                Some(target) => ZoneStep::Alias(target),
                None => ZoneStep::Done(Rcode::SERVFAIL),
            };
        }
        self.negative_soa(zone);
        match encloser {
            Some(encloser) => self.prove_no_wildcard_data(zone, name, encloser),
            None => self.prove_no_data(zone, name),
        }
        ZoneStep::Done(Rcode::NOERROR)
    }

    fn answer(&mut self, node: &NameNode, set: &Set, owner: NameRef<'_>) {
        let signed = self.signed(node, set);
        self.response.answer.extend(signed.flat_map(|set| set.records(owner)));
    }

    /// A set, with its signatures if the client asked for DNSSEC records.
    fn signed<'n>(&self, node: &'n NameNode, set: &'n Set) -> impl Iterator<Item = &'n Set> + use<'n> {
        let signatures = node.signatures(set.rtype).filter(|_| self.dnssec_ok);
        std::iter::once(set).chain(signatures)
    }

    /// Adds the SOA record that limits negative caching of the answer, with its signatures.
    fn negative_soa(&mut self, zone: &Zone) {
        let soa = zone.negative_soa();
        let node = zone.node(zone.origin()).filter(|_| self.dnssec_ok);
        if let Some(signatures) = node.and_then(|node| node.signatures(Rtype::SOA)) {
            let records = signatures.records(zone.origin());
            self.response.authority.extend(records.map(|record| Record { ttl: soa.ttl, ..record }));
        }
        self.response.authority.insert(0, soa);
    }

    /// Adds the referral at a zone cut: the child's name servers and their addresses (RFC 1034, section 4.2.1).
    fn referral(&mut self, zone: &Zone, cut: NameRef<'_>, node: &NameNode, ns: &Set) -> ZoneStep {
        self.response.authority.extend(ns.records(cut));
        match node.set(Rtype::DS) {
            Some(ds) if self.dnssec_ok && zone.is_signed() => {
                let signed = self.signed(node, ds);
                self.response.authority.extend(signed.flat_map(|set| set.records(cut)));
            }
            Some(_) => {}
            None => self.prove_no_data(zone, cut),
        }
        for (server, _) in ns.rdata.iter().filter_map(|rdata| NameRef::read(rdata, 0).ok()) {
            // Glue: addresses below the cut, outside our authority, which the client cannot find otherwise.
            if server.is_in(cut) {
                self.addresses(zone, server);
            }
        }
        self.glue = self.response.additional.len();
        for (server, _) in ns.rdata.iter().filter_map(|rdata| NameRef::read(rdata, 0).ok()) {
            if server.is_in(zone.origin()) {
                self.addresses(zone, server);
            }
        }
        ZoneStep::Referral
    }

    /// Answers for a name below a DNAME: the DNAME itself and the CNAME synthesized from it (RFC 6672, section 3.2). That CNAME
    /// is the whole answer to a question for CNAME.
    fn dname(&mut self, owner: NameRef<'_>, node: &NameNode, set: &Set, name: NameRef<'_>, rtype: Rtype) -> ZoneStep {
        self.authoritative();
        self.answer(node, set, owner);
        let target = set.rdata.first().and_then(|rdata| Name::from_wire(rdata).ok());
        let Some(next) = target.and_then(|target| name.rebase(owner, &target).ok()) else {
            return ZoneStep::Done(Rcode::YXDOMAIN);
        };
        self.response.answer.push(Record {
            name: name.to_name(),
            rtype: Rtype::CNAME,
            class: Class::IN,
            ttl: set.ttl,
            rdata: next.as_wire().to_vec(),
        });
        match rtype {
            Rtype::CNAME | Rtype::ANY => ZoneStep::Done(Rcode::NOERROR),
            _ => ZoneStep::Alias(next),
        }
    }

    /// Adds the addresses of hosts named in the answer, if they are in the served zones.
    fn additional(&mut self) {
        let answer = std::mem::take(&mut self.response.answer);
        for host in answer.iter().filter_map(host_of) {
            if let Some(zone) = self.zones.find(host) {
                self.addresses(zone, host);
            }
        }
        self.response.answer = answer;
    }

    fn addresses(&mut self, zone: &Zone, host: NameRef<'_>) {
        let Some(node) = zone.node(host) else { return };
        if self.response.additional.iter().any(|record| host == record.name) {
            return;
        }
        for set in [Rtype::A, Rtype::AAAA].into_iter().filter_map(|rtype| node.set(rtype)) {
            let signed = self.signed(node, set);
            self.response.additional.extend(signed.flat_map(|set| set.records(host)));
        }
    }

    /// Sets AA, which applies to the first name of the answer (RFC 1035, section 4.1.1).
    fn authoritative(&mut self) {
        self.response.flags.set(Flags::AA, true);
    }
}

enum ZoneStep {
    Done(Rcode),
    /// The name is at or below a zone cut.
    Referral,
    Alias(Name),
}

/// The host name in the data of an NS, MX or SRV record.
fn host_of(record: &Record) -> Option<NameRef<'_>> {
    match record.rtype {
        Rtype::NS => NameRef::read(&record.rdata, 0).map(|(name, _)| name).ok(),
        Rtype::MX => Mx::parse(&record.rdata).map(|mx| mx.exchange).ok(),
        Rtype::SRV => srv_target(&record.rdata).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
