//! `dnsq`: ask DNS servers anything, in dig's manner.

mod bulk;
mod format;
mod records;
mod transfer;
mod words;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::cli::args::OutputArgs;
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::Output;
use crate::cli::{self, units};
use crate::dns::client::server::{ResolvConf, ServerName};
use crate::dns::client::{Answer, Client, Policy, Transport};
use crate::dns::edns::{Edns, EdnsOption};
use crate::dns::exchange::MAX_TRIES;
use crate::dns::message::{Flags, Question, Rcode};
use crate::dns::name::Name;
use crate::dns::present;
use crate::dns::query::Query;
use crate::dns::record::{Class, Rtype};
use crate::dns::tsig::Key;
use crate::fault::{Fault, Kind};
use format::Template;
use records::{Full, Json, Rfc8427, Short};
use words::Plan;

/// Arguments of `dnsq`.
#[derive(Debug, clap::Parser)]
#[command(name = "dnsq", version, about = "Ask DNS servers anything")]
pub struct Args {
    /// @SERVER, names, types and classes in any order, and dig's +options
    #[arg(value_name = "@SERVER|NAME|TYPE|CLASS|+OPTION")]
    words: Vec<String>,
    /// Ask for NAME even if it looks like a type; may be repeated
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Ask for this type; may be repeated
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Ask in this class
    #[arg(short, long, value_name = "CLASS", default_value = "IN")]
    class: String,
    /// Ask for the name of an address (PTR); may be repeated
    #[arg(short = 'x', long = "reverse", value_name = "ADDR")]
    reverse: Vec<IpAddr>,
    /// Ask on this port
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// Print the data alone, one datum a line
    #[arg(long)]
    short: bool,
    /// Print JSON as RFC 8427 has it
    #[arg(long, conflicts_with_all = ["short", "json"])]
    json_rfc8427: bool,
    /// Print a line for each answer record, with {name} {ttl} {class} {rtype} {rdata} {qname} {qtype} {status} {server}; without -f also a member
    /// of the data ({exchange}, {address} …)
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["short", "json", "json_rfc8427"])]
    format: Option<String>,
    /// Print international names in their own letters
    #[arg(long, conflicts_with = "file")]
    idn: bool,
    /// Write a transferred zone to FILE, once it is complete
    #[arg(short, value_name = "FILE", conflicts_with = "file")]
    out: Option<PathBuf>,
    /// Sign queries with this key (TSIG); other users can see it in the list of processes
    #[arg(short = 'y', value_name = "[ALGORITHM:]NAME:KEY", conflicts_with_all = ["key_file", "file"])]
    tsig: Option<String>,
    /// Sign queries with the key in FILE, in BIND's form
    #[arg(short = 'k', long, value_name = "FILE", conflicts_with = "file")]
    key_file: Option<PathBuf>,
    #[command(flatten)]
    query: QueryArgs,
    #[command(flatten)]
    transport: TransportArgs,
    #[command(flatten)]
    bulk: bulk::BulkArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What stands in the query beside the question.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Query")]
pub struct QueryArgs {
    /// Ask for DNSSEC records too (DO)
    #[arg(long)]
    dnssec: bool,
    /// Do not ask for recursion (RD off)
    #[arg(long)]
    no_recurse: bool,
    /// Ask the resolver not to validate (CD)
    #[arg(long)]
    cd: bool,
    /// Ask whether the resolver validated (AD)
    #[arg(long)]
    ad: bool,
    /// Ask for the server's identity (RFC 5001)
    #[arg(long)]
    nsid: bool,
    /// Ask on behalf of this network, ADDRESS[/PREFIX] (RFC 7871)
    #[arg(long, value_name = "NET")]
    subnet: Option<String>,
    /// Send a cookie, a random one or HEX (RFC 7873)
    #[arg(long, value_name = "HEX", num_args = 0..=1, default_missing_value = "", require_equals = true)]
    cookie: Option<String>,
    /// Ask for the zone's expiry timer (RFC 7314)
    #[arg(long)]
    expire: bool,
    /// Ask how long the connection may stay idle (RFC 7828)
    #[arg(long)]
    keepalive: bool,
    /// Pad the query to a multiple of BYTES (RFC 7830)
    #[arg(long, value_name = "BYTES")]
    padding: Option<u16>,
    /// Send this EDNS option, CODE[:HEX]; may be repeated
    #[arg(long, value_name = "CODE[:HEX]")]
    ednsopt: Vec<String>,
    /// Announce that we take UDP answers of this size
    #[arg(long, value_name = "BYTES", default_value_t = crate::dns::edns::DEFAULT_UDP_SIZE)]
    bufsize: u16,
    /// Ask without EDNS
    #[arg(long)]
    no_edns: bool,
    /// Give letters random case, which the answer has to repeat (0x20)
    #[arg(long)]
    mix_case: bool,
}

/// How servers are asked.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Transport")]
pub struct TransportArgs {
    /// Ask over TCP
    #[arg(long)]
    tcp: bool,
    /// Take a truncated answer as it is
    #[arg(long)]
    ignore_truncation: bool,
    /// Wait this long for each answer [default: 5; 3 in bulk]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    timeout: Option<Duration>,
    /// Send a query this often over UDP [default: 3; 6 in bulk]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_TRIES)))]
    tries: Option<u32>,
    /// End each question after this time; in bulk, the whole run [default: 60; none in bulk]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    max_time: Option<Duration>,
    /// Ask all servers at once; the first good answer wins
    #[arg(long)]
    race: bool,
    /// Take SERVFAIL and REFUSED as the answer instead of asking the next server
    #[arg(long)]
    no_failover: bool,
    /// Complete short names with the search list of /etc/resolv.conf
    #[arg(long)]
    search: bool,
    /// Ask servers by IPv4 only
    #[arg(short = '4', long = "ipv4", conflicts_with = "ipv6")]
    ipv4: bool,
    /// Ask servers by IPv6 only
    #[arg(short = '6', long = "ipv6")]
    ipv6: bool,
    /// Ask from this local address
    #[arg(short = 'b', long, value_name = "ADDR")]
    bind: Option<IpAddr>,
}

impl cli::Tool for Args {
    const NAME: &'static str = "dnsq";

    fn output(&self) -> &OutputArgs {
        &self.output
    }
}

/// Entry point.
pub fn main() -> ExitCode {
    cli::main::<Args>(run)
}

/// The command line, for manual page and completions.
pub fn command() -> clap::Command {
    <Args as clap::CommandFactory>::command()
}

fn run(mut args: Args, out: &Output) -> anyhow::Result<Exit> {
    if args.bulk.is_wanted() {
        return bulk::run(args, out);
    }
    let plan = words::plan(&mut args)?;
    let servers = servers(&args, &plan)?;
    let client = Client {
        policy: policy(&args.transport, plan.wants_tcp()),
        bind: args.transport.bind,
        mix_case: args.query.mix_case,
        key: key(&args, out)?,
        trace: out.trace(),
        ..Client::new(servers.iter().map(|(_, address)| *address).collect())
    };
    let format = args.format.as_deref().map(Template::parse).transpose()?;
    let job = Job { args: &args, plan: &plan, servers: &servers, client: &client, format, out };
    if let [question] = plan.questions.as_slice() {
        let verdict = job.ask(question)?;
        return Ok(verdict.map_or_else(|fault| Exit::from(fault.kind), |()| Exit::OK));
    }
    // Of several questions a negative answer is an answer.
    let mut tally = Tally::default();
    for question in &plan.questions {
        match job.ask(question)? {
            Err(fault) if fault.kind != Kind::Negative => tally.fault(&fault),
            _ => tally.success(),
        }
    }
    Ok(tally.exit())
}

fn policy(args: &TransportArgs, wants_tcp: bool) -> Policy {
    Policy {
        timeout: args.timeout.unwrap_or(Duration::from_secs(5)),
        tries: args.tries.unwrap_or(3),
        deadline: args.max_time.unwrap_or(Duration::from_secs(60)),
        tcp: args.tcp || wants_tcp,
        ignore_truncation: args.ignore_truncation,
        race: args.race,
        next_on_failure: !args.no_failover,
    }
}

/// The addresses to ask with the names the user gave them, from the command line or from resolv.conf.
fn servers(args: &Args, plan: &Plan) -> Result<Vec<(String, SocketAddr)>, Fault> {
    let mut servers = Vec::new();
    for name in &plan.servers {
        let server = ServerName::parse(name)?;
        if let Some(transport) =
            server.transport.filter(|transport| !matches!(transport, Transport::Udp | Transport::Tcp))
        {
            let what = format!("server {name}: {} is not supported", transport.name());
            return Err(Fault::new(Kind::Unsupported, what));
        }
        servers.extend(
            server.addresses(args.port.unwrap_or(53))?.into_iter().map(|address| (server.host.clone(), address)),
        );
    }
    if plan.servers.is_empty() {
        let conf = ResolvConf::system()?;
        let port = args.port.unwrap_or(53);
        servers
            .extend(conf.servers.iter().map(|address| (address.ip().to_string(), SocketAddr::new(address.ip(), port))));
    }
    servers.retain(|(_, address)| {
        (!args.transport.ipv4 || address.is_ipv4()) && (!args.transport.ipv6 || address.is_ipv6())
    });
    if servers.is_empty() {
        return Err(Fault::new(Kind::Usage, "no server with an address of this family"));
    }
    Ok(servers)
}

struct Job<'a> {
    args: &'a Args,
    plan: &'a Plan,
    servers: &'a [(String, SocketAddr)],
    client: &'a Client,
    format: Option<Template>,
    out: &'a Output,
}

impl Job<'_> {
    /// Asks, prints, and says what the answer means for the exit status. The outer error is one of output.
    fn ask(&self, question: &Question) -> Result<Result<(), Fault>, Fault> {
        if matches!(question.rtype, Rtype::AXFR | Rtype::IXFR) {
            return transfer::run(self, question);
        }
        let mut result = Err(Fault::new(Kind::Usage, "no name to ask for"));
        for candidate in self.candidates(question)? {
            result = self.client.ask(&self.query(&candidate)?);
            match &result {
                Ok(answer) if answer.message.rcode() == Rcode::NXDOMAIN => {}
                _ => break,
            }
        }
        let target = format!("{} {}", question.name, question.rtype);
        match result {
            Ok(answer) => {
                self.print(&answer)?;
                let verdict = verdict(&answer, question.rtype);
                match &verdict {
                    Err(fault) if fault.kind != Kind::Negative => self.out.error(&target, fault),
                    _ => {}
                }
                Ok(verdict)
            }
            Err(fault) => {
                self.out.error(&target, &fault);
                Ok(Err(fault))
            }
        }
    }

    /// The names to try for a question: itself, or with the search list in the order of resolv.conf(5).
    fn candidates(&self, question: &Question) -> Result<Vec<Question>, Fault> {
        let mut names = vec![question.name.clone()];
        if self.args.transport.search && !self.plan.is_absolute(&question.name) {
            let conf = ResolvConf::system()?;
            let longer = conf.search.iter().filter_map(|domain| {
                let mut name = domain.clone();
                let labels: Vec<&[u8]> = question.name.labels().collect();
                for label in labels.into_iter().rev() {
                    name = name.prepend(label).ok()?;
                }
                Some(name)
            });
            let dots = question.name.label_count().saturating_sub(1);
            let at = if dots >= usize::from(conf.ndots) { 1 } else { 0 };
            names.splice(at..at, longer.collect::<Vec<Name>>());
        }
        Ok(names.into_iter().map(|name| Question { name, ..question.clone() }).collect())
    }

    fn query(&self, question: &Question) -> Result<Query, Fault> {
        let args = &self.args.query;
        let mut flags = Flags::default();
        flags.set(Flags::RD, !args.no_recurse);
        flags.set(Flags::CD, args.cd);
        flags.set(Flags::AD, args.ad);
        let edns = if args.no_edns { None } else { Some(edns(args)?) };
        let mut query = Query { question: question.clone(), flags, edns, authority: None };
        if let (Some(block), Some(edns)) = (args.padding.filter(|block| *block > 0), &mut query.edns) {
            edns.options.push(EdnsOption::new(EdnsOption::PADDING, Vec::new()));
            let block = usize::from(block);
            let length = query.compose(0).len();
            let missing = length.next_multiple_of(block) - length;
            if let Some(option) = query.edns.as_mut().and_then(|edns| edns.options.last_mut()) {
                option.data.resize(missing, 0);
            }
        }
        Ok(query)
    }

    fn print(&self, answer: &Answer) -> Result<(), Fault> {
        let (name, address) = self
            .servers
            .get(answer.server)
            .ok_or_else(|| Fault::new(Kind::Internal, "an answer from a server that was not asked"))?;
        if self.args.json_rfc8427 {
            return self.out.emit(&Rfc8427::of(&answer.message));
        }
        if self.out.json() {
            return self.out.emit(&Json::of(answer, *address, name));
        }
        let shown = |text: String| if self.args.idn { unicode(&text) } else { text };
        let lines: Vec<String> = match &self.format {
            Some(template) => {
                let server = address.to_string();
                answer.message.answer.iter().map(|record| template.line(record, answer, &server)).collect()
            }
            None if self.args.short => present::short(&answer.message, self.plan.show.style),
            None => return self.out.emit(&Full::of(answer, &self.plan.show, *address, name, shown)),
        };
        lines.into_iter().try_for_each(|line| self.out.emit(&Short { line: shown(line) }))
    }
}

/// International names in the words of a text in their own letters; what is no valid one stays as it is.
fn unicode(text: &str) -> String {
    let word = |word: &str| {
        if !word.to_ascii_lowercase().contains("xn--") {
            return word.to_owned();
        }
        let (shown, result) = idna::domain_to_unicode(word);
        if result.is_ok() && !shown.chars().any(char::is_control) { shown } else { word.to_owned() }
    };
    text.split_inclusive([' ', '\t', '\n'])
        .map(|piece| {
            let end = piece.trim_end_matches([' ', '\t', '\n']).len();
            let (name, blanks) = piece.split_at_checked(end).unwrap_or((piece, ""));
            word(name) + blanks
        })
        .collect()
}

/// The key to sign with, if one was named.
fn key(args: &Args, out: &Output) -> Result<Option<Key>, Fault> {
    let parsed = match (&args.tsig, &args.key_file) {
        (Some(text), _) => {
            out.warn("the key is visible in the list of processes: -k FILE is not");
            Key::parse(text).map_err(|why| Fault::new(Kind::Usage, format!("-y: {why}")))
        }
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| Fault::local(path.display(), &error))?;
            Key::from_file(&text).map_err(|why| Fault::new(Kind::BadData, format!("{}: {why}", path.display())))
        }
        (None, None) => return Ok(None),
    };
    parsed.map(Some)
}

/// The options that the arguments ask for.
fn edns(args: &QueryArgs) -> Result<Edns, Fault> {
    let usage = |text: String| Fault::new(Kind::Usage, text);
    let mut edns = Edns { udp_size: args.bufsize, dnssec_ok: args.dnssec, ..Edns::default() };
    let mut add = |code, data| edns.options.push(EdnsOption::new(code, data));
    if args.nsid {
        add(EdnsOption::NSID, Vec::new());
    }
    if let Some(text) = &args.subnet {
        let (address, prefix) = text.split_once('/').map_or((text.as_str(), None), |(a, p)| (a, Some(p)));
        let address = if address == "0" { "0.0.0.0" } else { address };
        let address: IpAddr = address.parse().map_err(|_| usage(format!("--subnet {text}: bad address")))?;
        let full = if text == "0" {
            0
        } else if address.is_ipv4() {
            32
        } else {
            128
        };
        let prefix = prefix.map_or(Ok(full), str::parse).map_err(|_| usage(format!("--subnet {text}: bad prefix")))?;
        let option = EdnsOption::client_subnet(address, prefix);
        add(option.code, option.data);
    }
    if let Some(text) = &args.cookie {
        let mut cookie = [0; 8];
        crate::net::random::fill(&mut cookie)?;
        let data = if text.is_empty() { cookie.to_vec() } else { hex(text)? };
        add(EdnsOption::COOKIE, data);
    }
    if args.expire {
        add(EdnsOption::EXPIRE, Vec::new());
    }
    if args.keepalive {
        add(EdnsOption::KEEPALIVE, Vec::new());
    }
    for text in &args.ednsopt {
        let (code, data) = text.split_once(':').unwrap_or((text, ""));
        let code = code.parse().map_err(|_| usage(format!("--ednsopt {text}: CODE[:HEX] expected")))?;
        add(code, hex(data)?);
    }
    Ok(edns)
}

fn hex(text: &str) -> Result<Vec<u8>, Fault> {
    crate::dns::record::parse::hex(text.as_bytes())
        .map_err(|error| Fault::new(Kind::Usage, format!("{text:?}: {error}")))
}

/// What an answer means for a script: data, no data, or a server that did not answer the question.
fn verdict(answer: &Answer, rtype: Rtype) -> Result<(), Fault> {
    let message = &answer.message;
    let rcode = message.rcode();
    let fault = |kind, text: &str| Err(Fault::new(kind, text).with_code(rcode.0));
    match rcode {
        Rcode::NOERROR => {
            let typed = message.answer.iter().any(|record| record.rtype == rtype || rtype == Rtype::ANY);
            // An alias whose end the server does not know is data; one that ends in an SOA has none (RFC 2308).
            let denied = message.authority.iter().any(|record| record.rtype == Rtype::SOA);
            if typed || (!message.answer.is_empty() && !denied) { Ok(()) } else { fault(Kind::Negative, "no data") }
        }
        Rcode::NXDOMAIN | Rcode::YXDOMAIN => fault(Kind::Negative, "no such name"),
        Rcode::SERVFAIL => fault(Kind::PeerTemporary, &with_words(answer, "SERVFAIL")),
        other => fault(Kind::Refused, &with_words(answer, &other.to_string())),
    }
}

/// The code with the extended error's words, if the server sent some.
fn with_words(answer: &Answer, code: &str) -> String {
    let options = answer.message.edns.iter().flat_map(|edns| &edns.options);
    let words: Vec<String> =
        options.filter(|option| option.code == EdnsOption::EXTENDED_ERROR).map(EdnsOption::value).collect();
    if words.is_empty() { code.to_owned() } else { format!("{code}: {}", words.join("; ")) }
}

/// A class by mnemonic, as a usage error if there is none.
fn class(text: &str) -> Result<Class, Fault> {
    Class::parse(text).ok_or_else(|| Fault::new(Kind::Usage, format!("unknown class {text:?}")))
}
