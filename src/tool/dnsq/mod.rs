//! `dnsq`: asks DNS servers anything, with dig's command line.

mod ask;
mod bulk;
mod compare;
mod dig;
mod foreign;
mod idn;
mod probe;
mod query;
mod records;
mod resume;
mod runner;
mod servers;
mod trace;
mod transfer;
mod validate;
mod words;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::args::OutputArgs;
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::Output;
use crate::cli::units;
use crate::cli::words::offered;
use crate::dns::client::{DnsClient, ExchangePolicy};
use crate::dns::exchange::MAX_TRIES;
use crate::dns::record::{Class, Rtype};
use crate::dns::template::Template;
use crate::fault::{Fault, Kind};
use crate::net::dial::Family;

pub(super) use foreign::WORDS as FOREIGN_WORDS;
use query::QueryArgs;
use runner::QuestionRunner;
use servers::EncryptionArgs;

/// The part of `--help` after the list of options.
const LONG_HELP: &str = "\
A server is an address or a name, with :PORT or #PORT, or a URL: udp:// tcp:// tls:// https:// quic://. The default is the \
servers in /etc/resolv.conf. dnsq(1) lists dig's +options that are supported.

Exit status of one question: 0 with data, 1 without data (the name or the type does not exist), 75 no answer in time or \
SERVFAIL, 69 refused, 76 malformed answer, 77 bogus or not trusted. Of several questions: 0 if every one was answered.";

/// Arguments of `dnsq`.
#[derive(Debug, clap::Parser)]
#[command(name = "dnsq", version, about = "Query DNS servers", after_long_help = LONG_HELP)]
pub struct Args {
    /// @SERVER, names, types and classes in any order, and dig's +options
    #[arg(value_name = "@SERVER|NAME|TYPE|CLASS|+OPTION")]
    #[arg(value_parser = offered(words::offer()), hide_possible_values = true)]
    words: Vec<String>,
    /// Query NAME even if it looks like a type; may be repeated
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Query this type; may be repeated
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    #[arg(value_parser = offered(Rtype::mnemonics()), hide_possible_values = true)]
    types: Vec<String>,
    /// Query this class: IN, CH, HS, NONE or ANY
    #[arg(short, long, value_name = "CLASS", default_value = "IN")]
    #[arg(value_parser = offered(Class::mnemonics()), hide_possible_values = true)]
    class: String,
    /// Query the name of an address (PTR); may be repeated
    #[arg(short = 'x', long = "reverse", value_name = "ADDR")]
    reverse: Vec<IpAddr>,
    /// Port of the servers
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// Print only the data, one record per line
    #[arg(long)]
    short: bool,
    /// Print JSON in the format of RFC 8427
    #[arg(long, conflicts_with_all = ["short", "json"])]
    json_rfc8427: bool,
    /// Print one line per answer record, with {name} {ttl} {class} {rtype} {rdata} {qname} {qtype} {status} {server} and the members
    /// of the data ({exchange}, {address} …)
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["short", "json", "json_rfc8427"])]
    format: Option<String>,
    /// Print international names in Unicode
    #[arg(long)]
    idn: bool,
    /// Write a transferred zone to FILE when it is complete; with -f the records as they arrive
    #[arg(short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Sign queries with this key (TSIG); it is visible in the process list
    #[arg(short = 'y', value_name = "[ALGORITHM:]NAME:KEY", conflicts_with_all = ["key_file", "file"])]
    tsig: Option<String>,
    /// Sign queries with the key in FILE, in BIND's format
    #[arg(short = 'k', long, value_name = "FILE", conflicts_with = "file")]
    key_file: Option<PathBuf>,
    /// dig's `-r` (no ~/.digrc) and `-m` (debugging of memory): there is neither.
    #[arg(short = 'r', short_alias = 'm', action = clap::ArgAction::Count, hide = true)]
    #[allow(dead_code, reason = "the flag changes nothing")]
    nothing: u8,
    /// dig's time in microseconds.
    #[arg(short = 'u', hide = true)]
    usec: bool,
    #[command(flatten)]
    query: QueryArgs,
    #[command(flatten)]
    transport: TransportArgs,
    #[command(flatten)]
    encryption: EncryptionArgs,
    #[command(flatten)]
    trace: trace::TraceArgs,
    #[command(flatten)]
    validate: validate::ValidateArgs,
    #[command(flatten)]
    compare: compare::CompareArgs,
    #[command(flatten)]
    probe: probe::ProbeArgs,
    #[command(flatten)]
    bulk: bulk::BulkArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// How servers are asked.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Transport")]
pub struct TransportArgs {
    /// Query over TCP
    #[arg(long)]
    tcp: bool,
    /// Accept a truncated answer, without a retry over TCP
    #[arg(long)]
    ignore_truncation: bool,
    /// Wait TIME for each answer [default: 5; 3 in bulk]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    timeout: Option<Duration>,
    /// Send a query N times over UDP [default: 3; 6 in bulk]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_TRIES)))]
    tries: Option<u32>,
    /// Give up each question after this time; in bulk, the whole run [default: 60; none in bulk]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    max_time: Option<Duration>,
    /// Query all servers at once; the first good answer wins
    #[arg(long)]
    race: bool,
    /// Accept SERVFAIL and other errors as the answer instead of trying the next server
    #[arg(long)]
    no_failover: bool,
    /// Takes BADCOOKIE as the answer (`+nobadcookie`).
    #[arg(skip)]
    no_bad_cookie: bool,
    /// Resolve names as the system does: the hosts file first, then short names with the search list
    #[arg(long)]
    search: bool,
    /// With --search: names with N dots are tried unchanged first [default: that of resolv.conf]
    #[arg(long, value_name = "N", requires = "search", value_parser = clap::value_parser!(u8).range(..16))]
    ndots: Option<u8>,
    /// Read servers and search list from FILE instead of /etc/resolv.conf
    #[arg(long, value_name = "FILE")]
    resolv_conf: Option<PathBuf>,
    /// With --search: read FILE instead of /etc/hosts
    #[arg(long, value_name = "FILE", requires = "search")]
    hosts: Option<PathBuf>,
    /// Query servers over IPv4 only
    #[arg(short = '4', long = "ipv4", conflicts_with = "ipv6")]
    ipv4: bool,
    /// Query servers over IPv6 only
    #[arg(short = '6', long = "ipv6")]
    ipv6: bool,
    /// Query from this local address (and port)
    #[arg(short = 'b', long, value_name = "ADDR[#PORT]", value_parser = servers::local)]
    bind: Option<SocketAddr>,
    /// Connect through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none`: no proxy. For TCP, TLS and
    /// HTTPS only
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,
}

impl Args {
    /// True if stdout gets output. With -o everything goes to the file, except the record of a transfer.
    fn prints(&self) -> bool {
        let to_stdout = self.out.as_deref().is_none_or(|file| file == Path::new("-"));
        to_stdout || (self.output.json && self.bulk.file.is_empty())
    }
}

crate::cli::tool!("dnsq", Args, guide crate::tool::guides::DNSQ, words &[foreign::WORDS], meanings foreign::MEANINGS, prints Args::prints, run run);

fn run(mut args: Args, out: &Output) -> anyhow::Result<Exit> {
    let from_files = args.bulk.is_wanted();
    if from_files && !args.compare.compare {
        return bulk::run(args, out);
    }
    let plan = if from_files { bulk::plan(&mut args)? } else { words::plan(&mut args)? };
    if let Some(address) = plan.address {
        out.hint(&format!("-x {address} asks for the name of this address"));
    }
    trace::check(&args.trace)?;
    let json = out.json() || args.json_rfc8427 || args.short || args.format.is_some();
    let long = args.trace.trace || args.validate.validate || args.compare.compare;
    if plan.show.yaml && (json || long || plan.serial.is_some() || plan.transfers()) {
        let what = "+yaml prints whole answers: not with --short, --format, JSON, transfers, --trace, --validate and --compare";
        return Err(Fault::new(Kind::Usage, what).into());
    }
    // A check that clap cannot make, because dig's `+trace` and `+nssearch` are plain arguments.
    let ways = [args.trace.trace, args.validate.validate, args.compare.compare, args.probe.probe];
    if ways.iter().filter(|way| **way).count() > 1 {
        let what = "--trace, --validate, --compare and --probe exclude each other";
        return Err(Fault::new(Kind::Usage, what).into());
    }
    // A trace begins at the root's servers unless others are named.
    let from_root = args.trace.trace && plan.servers.is_empty();
    // Zones come over TCP, whatever the server is asked over otherwise.
    args.transport.tcp |= plan.questions.iter().all(|question| matches!(question.rtype, Rtype::AXFR | Rtype::IXFR));
    let servers = if from_root { Vec::new() } else { servers::servers(&args, &plan.servers, out)? };
    if args.probe.probe {
        return probe::run(&args, &plan, &servers, out);
    }
    let client = DnsClient {
        servers: servers.iter().map(|server| server.endpoint.clone()).collect(),
        policy: policy(&args.transport),
        bind: args.transport.bind,
        mix_case: args.query.mix_case,
        id: args.query.qid,
        key: query::key(&args, out)?,
        trace: out.trace(),
        ..DnsClient::new(Vec::new())
    };
    let format = args.format.as_deref().map(template).transpose()?;
    let verdicts =
        QuestionRunner { args: &args, plan: &plan, servers: &servers, client: &client, format, out }.run()?;
    if let [verdict] = verdicts.as_slice() {
        return Ok(verdict.as_ref().map_or_else(|fault| Exit::from(fault.kind), |()| Exit::OK));
    }
    // Of several questions a negative answer is an answer.
    let mut tally = Tally::default();
    for verdict in &verdicts {
        match verdict {
            Err(fault) if fault.kind != Kind::Negative => tally.fault(fault),
            _ => tally.success(),
        }
    }
    Ok(tally.exit())
}

impl TransportArgs {
    /// The address family that `-4`, `-6` and the local address allow.
    fn family(&self) -> Family {
        let comes_from = |v4| self.bind.is_some_and(|bind| bind.is_ipv4() == v4);
        match (self.ipv4, self.ipv6) {
            (false, false) => Family::of_flags(comes_from(true), comes_from(false)),
            (ipv4, ipv6) => Family::of_flags(ipv4, ipv6),
        }
    }
}

fn policy(args: &TransportArgs) -> ExchangePolicy {
    ExchangePolicy {
        timeout: args.timeout.unwrap_or(Duration::from_secs(5)),
        tries: args.tries.unwrap_or(3),
        deadline: args.max_time.unwrap_or(Duration::from_secs(60)),
        ignore_truncation: args.ignore_truncation,
        race: args.race,
        next_on_failure: !args.no_failover,
        answer_bad_cookie: !args.no_bad_cookie,
        backoff: false,
    }
}

/// Parses a template; a malformed one is a usage error.
fn template(text: &str) -> Result<Template, Fault> {
    Template::parse(text).map_err(|why| Fault::new(Kind::Usage, format!("--format: {why}")))
}

/// Reads a file from the command line: at most `max_bytes` and one more byte, by which a larger file is noticed.
fn read_file(path: &Path, max_bytes: usize) -> Result<Vec<u8>, Fault> {
    use std::io::Read;
    let failed = |error: std::io::Error| Fault::local(path.display(), &error);
    let mut text = Vec::new();
    std::fs::File::open(path).map_err(failed)?.take(max_bytes as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    Ok(text)
}

/// Parses the mnemonic of a class; an unknown one is a usage error.
fn class(text: &str) -> Result<Class, Fault> {
    Class::parse(text).ok_or_else(|| Fault::new(Kind::Usage, format!("unknown class {text:?}")))
}
