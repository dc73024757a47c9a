//! `dnsq --compare`: asks every authoritative server of a zone and reports those that disagree.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::query::edns;
use super::runner::{QuestionResult, QuestionRunner};
use crate::cli::output::{OutputRecord, TextLine};
use crate::dns::client::{DnsClient, Endpoint};
use crate::dns::edns::Edns;
use crate::dns::json;
use crate::dns::message::{Flags, Message, Question, Rcode};
use crate::dns::name::Name;
use crate::dns::query::Query;
use crate::dns::record::rdata::Soa;
use crate::dns::record::{Record, Rtype};
use crate::dns::resolve::{MAX_CNAMES, follow};
use crate::dns::transport::Transport;
use crate::fault::{Fault, Kind, PeerCode};
use crate::millis::millis;
use crate::net::dial::Family;
use crate::scope::host_of;
use crate::serial::Serial;

/// The most servers that are asked.
const MAX_SERVERS: usize = 64;

/// The flag of comparing.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Comparison")]
pub(super) struct CompareArgs {
    /// Query every authoritative server of the name's zone, and report those that disagree on the serial or the answer; with -f
    /// for each name of the file
    #[arg(long, conflicts_with_all = ["json_rfc8427", "format", "short", "race", "servers", "rate",
        "concurrency", "max_time_per_name", "ordered", "wildcards", "threads", "resume"])]
    pub(super) compare: bool,
}

/// One server of the zone.
#[derive(Debug, Clone)]
struct ZoneServer {
    name: Name,
    address: SocketAddr,
}

/// The part of an answer that must be the same on all servers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    serial: u32,
    rcode: u16,
    /// Owner in lower case, type and data, sorted. TTLs may differ.
    answer: Vec<(Vec<u8>, u16, Vec<u8>)>,
}

/// The outcome of a query to one server.
struct ServerReply {
    server: ZoneServer,
    elapsed: Duration,
    said: Result<(Said, Message), Fault>,
}

/// Compares the answers to one question. If an alias leads to another zone, it compares in that zone, too. The first verdict other
/// than agreement counts.
pub(super) fn run(runner: &QuestionRunner<'_>, question: &Question) -> Result<QuestionResult, Fault> {
    let mut question = question.clone();
    let mut verdict = Ok(());
    for _ in 0..=MAX_CNAMES {
        let (found, target) = match compare(runner, &question) {
            Ok((zone, replies)) => (report(runner, &question, &zone, &replies)?, target_elsewhere(&question, &replies)),
            Err(fault) => {
                let found = Err(fault);
                runner.complain(&question, &found);
                (found, None)
            }
        };
        verdict = verdict.and(found);
        let Some(target) = target else { return Ok(verdict) };
        question.name = target;
    }
    let endless = Err(Fault::new(Kind::LookupFailed, "CNAME chain without an end"));
    runner.complain(&question, &endless);
    Ok(verdict.and(endless))
}

/// The target of an alias that the zone's servers do not follow, according to most of them.
fn target_elsewhere(question: &Question, replies: &[ServerReply]) -> Option<Name> {
    let reference = reference(replies)?;
    let mut said = replies.iter().filter_map(|reply| reply.said.as_ref().ok());
    let (_, message) = said.find(|(said, _)| *said == reference)?;
    let (end, records) = follow(message, &question.name, question.rtype, &mut 0)?;
    let denied = message.authority.iter().any(|record| record.rtype == Rtype::SOA);
    (end != question.name && records.is_empty() && !denied).then_some(end)
}

fn compare(runner: &QuestionRunner<'_>, question: &Question) -> Result<(Name, Vec<ServerReply>), Fault> {
    let zone = zone_of(runner.client, question)?;
    let servers = servers(runner, &zone)?;
    let edns = if runner.args.query.no_edns { None } else { Some(edns(&runner.args.query)?) };
    let transport = &runner.args.transport;
    let way = if transport.tcp { Transport::Tcp } else { Transport::Udp };
    let proxy = super::servers::proxy(runner.args, way)?;
    // All at once: a silent server does not delay the others.
    let replies = std::thread::scope(|scope| {
        let ask = |server: ZoneServer| {
            let (zone, edns, proxy) = (&zone, &edns, &proxy);
            scope.spawn(move || {
                let (address, bind) = (server.address, transport.bind);
                let proxy = proxy.as_ref().and_then(|it| it.on_the_way(&address.ip().to_string(), address.port()));
                let endpoint = Endpoint { transport: way, bind, proxy, ..Endpoint::from(address) };
                let client = DnsClient { servers: vec![endpoint], ..runner.client.clone() };
                let begin = Instant::now();
                let said = said(&client, zone, question, edns.as_ref());
                ServerReply { server, elapsed: begin.elapsed(), said }
            })
        };
        let threads: Vec<_> = servers.into_iter().map(ask).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    Ok((zone, replies))
}

/// The zone that contains the name, according to the resolver.
fn zone_of(client: &DnsClient, question: &Question) -> Result<Name, Fault> {
    let query = Query::new(question.name.clone(), Rtype::SOA);
    let answer = client.ask(&query)?;
    let message = &answer.message;
    let soa = message.answer.iter().chain(&message.authority).find(|record| record.rtype == Rtype::SOA);
    match soa {
        Some(soa) if question.name.is_in(&soa.name) => Ok(soa.name.clone()),
        // The name is an alias into another zone: its own zone is further up.
        _ => match question.name.parent() {
            Some(parent) if matches!(message.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN) => {
                zone_of(client, &Question { name: parent, ..question.clone() })
            }
            _ => {
                let what = format!("zone of {}: {}", question.name, message.rcode());
                Err(Fault::new(Kind::LookupFailed, what).with_code(PeerCode::Rcode(message.rcode().0)))
            }
        },
    }
}

/// The zone's servers with their addresses.
fn servers(runner: &QuestionRunner<'_>, zone: &Name) -> Result<Vec<ZoneServer>, Fault> {
    let port = runner.args.port.unwrap_or(53);
    let family = runner.args.transport.family();
    let answer = runner.client.ask(&Query::new(zone.clone(), Rtype::NS))?;
    let names: Vec<Name> =
        answer.message.answer.iter().filter(|record| record.rtype == Rtype::NS).filter_map(Record::target).collect();
    let mut found: Vec<ZoneServer> = Vec::new();
    for name in names {
        let known = |rtype: Rtype, records: &[Record]| -> Vec<IpAddr> {
            let own = records.iter().filter(|record| record.rtype == rtype && record.name == name);
            own.filter_map(Record::address).collect()
        };
        for (rtype, wanted) in [(Rtype::A, family != Family::V6), (Rtype::AAAA, family != Family::V4)] {
            if !wanted {
                continue;
            }
            let mut addresses = known(rtype, &answer.message.additional);
            if addresses.is_empty() {
                addresses = match runner.client.ask(&Query::new(name.clone(), rtype)) {
                    Ok(answer) => answer.message.answer.iter().filter_map(Record::address).collect(),
                    Err(fault) => {
                        runner.out.warn(&format!("address of {name}: {}", fault.detail));
                        continue;
                    }
                };
            }
            for address in addresses {
                let address = SocketAddr::new(address, port);
                if found.iter().all(|server| server.address != address) {
                    found.push(ZoneServer { name: name.clone(), address });
                }
            }
        }
    }
    if found.is_empty() {
        return Err(Fault::new(Kind::LookupFailed, format!("{zone} has no server with an address")));
    }
    if found.len() > MAX_SERVERS {
        runner.out.warn(&format!("{} servers; the first {MAX_SERVERS} are asked", found.len()));
        found.truncate(MAX_SERVERS);
    }
    Ok(found)
}

/// Asks one server for the SOA serial and for its authoritative answer.
fn said(client: &DnsClient, zone: &Name, question: &Question, edns: Option<&Edns>) -> Result<(Said, Message), Fault> {
    let ask = |question: Question| -> Result<Message, Fault> {
        let query = Query {
            question,
            flags: Flags::default(),
            edns: edns.cloned(),
            authority: None,
            padding: None,
            exact_case: false,
        };
        let message = client.ask(&query)?.message;
        if !message.flags.has(Flags::AA) && !is_referral(&message) {
            let what = format!("lame: {}, and no authority for {zone}", message.rcode());
            return Err(Fault::new(Kind::Refused, what).with_code(PeerCode::Rcode(message.rcode().0)));
        }
        Ok(message)
    };
    let soa = ask(Question::new(zone.clone(), Rtype::SOA))?;
    let serial = soa
        .answer
        .iter()
        .find(|record| record.rtype == Rtype::SOA && record.name == *zone)
        .and_then(|soa| Some(Soa::parse(&soa.rdata).ok()?.serial.0));
    let serial = serial.ok_or_else(|| Fault::new(Kind::Refused, format!("lame: no SOA of {zone}")))?;
    let message = ask(question.clone())?;
    let mut answer: Vec<_> = message
        .answer
        .iter()
        .map(|record| (record.name.to_lower().as_wire().to_vec(), record.rtype.0, record.rdata.clone()))
        .collect();
    answer.sort();
    Ok((Said { serial, rcode: message.rcode().0, answer }, message))
}

/// True for a referral: the name lies below a zone cut, and the server names the servers of the child zone.
fn is_referral(message: &Message) -> bool {
    message.rcode() == Rcode::NOERROR && message.authority.iter().any(|record| record.rtype == Rtype::NS)
}

/// The most frequent answer among those with the newest serial.
fn reference(replies: &[ServerReply]) -> Option<Said> {
    let mut counts: BTreeMap<&Said, usize> = BTreeMap::new();
    for (said, _) in replies.iter().filter_map(|reply| reply.said.as_ref().ok()) {
        *counts.entry(said).or_default() += 1;
    }
    let newest = counts.keys().map(|said| said.serial).reduce(|a, b| if Serial(b) > Serial(a) { b } else { a })?;
    let best = counts.into_iter().filter(|(said, _)| said.serial == newest).max_by_key(|(_, count)| *count);
    best.map(|(said, _)| said.clone())
}

fn report(
    runner: &QuestionRunner<'_>,
    question: &Question,
    zone: &Name,
    replies: &[ServerReply],
) -> Result<QuestionResult, Fault> {
    let reference = reference(replies);
    let (mut disagree, mut lame, mut silent) = (0, 0, None);
    for reply in replies {
        let server = format!("{} ({})", reply.server.address, reply.server.name);
        match &reply.said {
            Ok((said, message)) => {
                let agrees = Some(said) == reference.as_ref();
                disagree += usize::from(!agrees);
                runner.out.emit(&Compared::of(question, reply, said, message, reference.as_ref()))?;
            }
            Err(fault) => {
                if fault.temporary() {
                    silent.get_or_insert(fault.clone());
                } else {
                    lame += 1;
                }
                runner.out.error(&format!("{} {}: {server}", question.name, question.rtype), fault);
            }
        }
    }
    let answered = replies.iter().filter(|reply| reply.said.is_ok()).count();
    let agree = disagree == 0 && lame == 0 && silent.is_none();
    runner.out.emit(&ComparisonRecord {
        zone: zone.to_string(),
        name: question.name.to_string(),
        qtype: question.rtype.to_string(),
        servers: replies.len(),
        answered,
        disagree: disagree + lame,
        agree,
        serial: reference.map(|said| said.serial),
    })?;
    Ok(match silent {
        _ if disagree + lame > 0 => Err(Fault::new(Kind::Negative, "servers disagree")),
        Some(fault) => Err(fault),
        None => Ok(()),
    })
}

/// The answer of one server.
#[derive(Debug, Serialize)]
struct Compared {
    question: Value,
    server: Value,
    serial: u32,
    status: String,
    answers: Vec<Value>,
    agrees: bool,
    /// The members that differ from the other servers: `serial`, `status`, `answers`.
    differs: Vec<&'static str>,
    elapsed_ms: f64,
    #[serde(skip)]
    shown: [String; 4],
}

impl Compared {
    fn of(
        question: &Question,
        reply: &ServerReply,
        said: &Said,
        message: &Message,
        reference: Option<&Said>,
    ) -> Compared {
        let mut differs = Vec::new();
        if let Some(reference) = reference {
            let differences = [
                ("serial", said.serial != reference.serial),
                ("status", said.rcode != reference.rcode),
                ("answers", said.answer != reference.answer),
            ];
            differs.extend(differences.into_iter().filter(|(_, differ)| *differ).map(|(what, _)| what));
        }
        let address = reply.server.address;
        Compared {
            question: json::question(question),
            server: json!({
                "address": host_of(address),
                "port": address.port(),
                "name": reply.server.name.to_string(),
            }),
            serial: said.serial,
            status: message.rcode().to_string(),
            answers: message.answer.iter().map(json::record).collect(),
            agrees: differs.is_empty(),
            differs,
            elapsed_ms: millis(reply.elapsed),
            shown: [
                question.name.to_string(),
                question.rtype.to_string(),
                address.to_string(),
                reply.server.name.to_string(),
            ],
        }
    }
}

impl OutputRecord for Compared {
    const TYPE: &'static str = "server";

    fn text(&self, line: &mut TextLine) {
        self.shown.iter().for_each(|field| _ = line.field(field));
        line.field(self.serial.to_string()).field(&self.status);
        if self.agrees {
            line.field("agrees");
        } else {
            line.field(format!("differs: {}", self.differs.join(", ")));
        }
    }
}

/// The result of a comparison.
#[derive(Debug, Serialize)]
struct ComparisonRecord {
    zone: String,
    name: String,
    qtype: String,
    servers: usize,
    answered: usize,
    disagree: usize,
    agree: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<u32>,
}

impl OutputRecord for ComparisonRecord {
    const TYPE: &'static str = "comparison";
}
