//! `dnsq --trace`: from the root's servers down to the answer, step by step.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

use super::query::edns;
use super::read_file;
use super::runner::{QuestionResult, QuestionRunner, verdict};
use super::servers::{self, NamedServer};
use crate::cli::output::{OutputRecord, TextLine};
use crate::dns::client::ExchangePolicy;
use crate::dns::json;
use crate::dns::message::{Message, Question};
use crate::dns::name::Name;
use crate::dns::present;
use crate::dns::record::{Record, Rtype};
use crate::dns::trace::drive::{self, Manner, TraceStep};
use crate::dns::trace::{DelegationTrace, Finding, Host, TraceEnd, hints};
use crate::dns::transport::Transport;
use crate::fault::{Fault, Kind};
use crate::millis::millis;
use crate::net::dial::Family;

/// The flags of tracing.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Tracing")]
pub(super) struct TraceArgs {
    /// Resolve from the root servers (or from @SERVER) downwards, and print every step
    #[arg(long, conflicts_with_all = ["file", "validate", "compare", "json_rfc8427", "race"])]
    pub(super) trace: bool,
    /// Begin the trace at the servers in FILE, a root hints file
    #[arg(long, value_name = "FILE")]
    hints: Option<PathBuf>,
}

/// Checks that clap cannot make, because dig's `+trace` is a plain argument.
pub(super) fn check(args: &TraceArgs) -> Result<(), Fault> {
    if args.hints.is_some() && !args.trace {
        return Err(Fault::new(Kind::Usage, "--hints: only with --trace"));
    }
    Ok(())
}

/// Traces one question; prints every step.
pub(super) fn run(runner: &QuestionRunner<'_>, question: &Question) -> Result<QuestionResult, Fault> {
    let transport = &runner.args.transport;
    let families: &[Rtype] = match transport.family() {
        Family::V4 => &[Rtype::A],
        Family::V6 => &[Rtype::AAAA],
        Family::Any => &[Rtype::A, Rtype::AAAA],
    };
    let policy = ExchangePolicy { next_on_failure: false, race: false, ..runner.client.policy };
    let mut client = runner.client.clone();
    client.policy = policy;
    let edns = if runner.args.query.no_edns { None } else { Some(edns(&runner.args.query)?) };
    let port = runner.args.port.or(runner.servers.first().map(|server| server.address().port())).unwrap_or(53);
    let way = if transport.tcp { Transport::Tcp } else { Transport::Udp };
    let manner = Manner { client, port, transport: way, proxy: servers::proxy(runner.args, way)?, edns };
    let trace = DelegationTrace::new(question.clone(), start(runner)?, families, policy.deadline);
    // With --short and --format the answer alone is of interest.
    let steps = runner.out.json() || !(runner.args.short || runner.format.is_some());
    let mut each = |step: &TraceStep<'_>| if steps { runner.out.emit(&StepRecord::of(step, runner)) } else { Ok(()) };
    let (outcome, last) = drive::run(trace, &manner, &mut each)?;
    let result = match (outcome, last) {
        (TraceEnd::Failed(fault), _) => Err(fault),
        (_, None) => Err(Fault::new(Kind::Internal, "a trace without an end")),
        (_, Some((server, answer))) => {
            if !steps {
                runner.print(&answer, Some(&NamedServer { name: server.ip().to_string(), endpoint: server.into() }))?;
            }
            verdict(&answer, question.rtype)
        }
    };
    runner.complain(question, &result);
    Ok(result)
}

/// The servers at which the trace begins.
fn start(runner: &QuestionRunner<'_>) -> Result<Vec<Host>, Fault> {
    if let Some(path) = &runner.args.trace.hints {
        let text = read_file(path, hints::MAX_HINTS_BYTES)?;
        return hints::parse(&text).map_err(|why| Fault::new(Kind::BadData, format!("{}: {why}", path.display())));
    }
    if runner.servers.is_empty() {
        return Ok(hints::root());
    }
    let host = |server: &NamedServer| {
        let name = Name::parse(&server.name).unwrap_or_else(|_| Name::root());
        Host::new(name, vec![server.address().ip()])
    };
    Ok(runner.servers.iter().map(host).collect())
}

/// One step of a trace.
#[derive(Debug, Serialize)]
struct StepRecord {
    number: usize,
    depth: usize,
    zone: String,
    question: Value,
    server: Value,
    elapsed_ms: f64,
    /// The meaning of the answer.
    found: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    answers: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referral: Option<Value>,
    /// The target of an alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    /// The reason why the server gave no usable answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    #[serde(skip)]
    text: String,
}

impl StepRecord {
    fn of(step: &TraceStep<'_>, runner: &QuestionRunner<'_>) -> StepRecord {
        let (ask, message) = (step.ask, step.answer.map(|answer| &answer.message));
        let server = json!({
            "address": step.server.ip().to_string(),
            "port": step.server.port(),
            "name": ask.server.to_string(),
        });
        let (referral, alias, trouble) = match step.found {
            Finding::Referral { zone, servers } => (Some(referral(zone, servers)), None, None),
            Finding::Alias(target) => (None, Some(target.to_string()), None),
            Finding::Lame(why) => (None, None, Some(why.clone())),
            Finding::Failed(fault) => (None, None, Some(fault.detail.clone())),
            Finding::Data | Finding::NoName | Finding::NoData => (None, None, None),
        };
        StepRecord {
            number: ask.number,
            depth: ask.depth,
            zone: ask.zone.to_string(),
            question: json::question(&ask.question),
            server,
            elapsed_ms: millis(step.elapsed),
            found: step.found.name(),
            transport: step.answer.map(|answer| answer.transport.name()),
            status: message.map(|message| message.rcode().to_string()),
            flags: message.map(|message| message.flags.names()),
            size_bytes: step.answer.map(|answer| answer.wire.len()),
            answers: message.map(|message| message.answer.iter().map(json::record).collect()).unwrap_or_default(),
            referral,
            alias,
            trouble,
            text: text(step, runner),
        }
    }
}

fn referral(zone: &Name, servers: &[Host]) -> Value {
    let servers = servers.iter().map(|host| {
        let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
        json!({ "name": host.name.to_string(), "glue": !addresses.is_empty(), "addresses": addresses })
    });
    json!({ "zone": zone.to_string(), "servers": servers.collect::<Vec<_>>() })
}

/// The records of a step and a summary line, in the style of dig's `+trace`.
fn text(step: &TraceStep<'_>, runner: &QuestionRunner<'_>) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let ask = step.ask;
    if ask.depth > 0 {
        let _ = writeln!(out, ";; to find {} {}", ask.question.name, ask.question.rtype);
    }
    if let Some(answer) = step.answer {
        for record in telling(&answer.message, step.found) {
            present::write_record(record, &runner.plan.show, &mut out);
            out.push('\n');
        }
    }
    let server = format!("{}#{}({})", step.server.ip(), step.server.port(), ask.server);
    let elapsed = step.elapsed.as_secs_f64() * 1e3;
    match step.answer {
        Some(answer) => {
            let _ = write!(out, ";; Received {} bytes from {server} in {elapsed:.1} ms: ", answer.wire.len());
        }
        None => {
            let _ = write!(out, ";; Nothing from {server} in {elapsed:.1} ms: ");
        }
    }
    let _ = match step.found {
        Finding::Referral { zone, servers } => {
            let glue = servers.iter().filter(|host| !host.addresses.is_empty()).count();
            let plural = if servers.len() == 1 { "" } else { "s" };
            write!(out, "referral to {zone}, {} server{plural}, {glue} with glue", servers.len())
        }
        Finding::Data => write!(out, "answer"),
        Finding::Alias(target) => write!(out, "alias, on to {target}"),
        Finding::NoName => write!(out, "no such name"),
        Finding::NoData => write!(out, "no such data"),
        Finding::Lame(why) => write!(out, "lame for {}: {why}", ask.zone),
        Finding::Failed(fault) => write!(out, "{}", fault.detail),
    };
    out.push('\n');
    out
}

/// The records of the message that matter for a step.
fn telling<'m>(message: &'m Message, found: &Finding) -> Vec<&'m Record> {
    match found {
        Finding::Referral { .. } => message.authority.iter().chain(&message.additional).collect(),
        Finding::NoName | Finding::NoData => message.answer.iter().chain(&message.authority).collect(),
        _ => message.answer.iter().collect(),
    }
}

impl OutputRecord for StepRecord {
    const TYPE: &'static str = "step";

    fn text(&self, line: &mut TextLine) {
        line.text(&self.text);
    }
}
