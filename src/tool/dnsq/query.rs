//! The parts of `dnsq`'s queries besides the question: flags, EDNS options, the key.

use std::net::IpAddr;

use super::Args;
use crate::cli::output::Output;
use crate::dns::edns::{Edns, EdnsOption};
use crate::dns::message::{Flags, Question};
use crate::dns::query::Query;
use crate::dns::tsig::TsigKey;
use crate::fault::{Fault, Kind};
use crate::tool::dns_key;

/// What stands in the query beside the question.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Query")]
pub(super) struct QueryArgs {
    /// Request DNSSEC records (DO)
    #[arg(long)]
    pub(super) dnssec: bool,
    /// Do not request recursion (RD off)
    #[arg(long)]
    pub(super) no_recurse: bool,
    /// Request no validation by the resolver (CD)
    #[arg(long)]
    pub(super) cd: bool,
    /// Request the resolver's verdict (AD); the default, off with +noadflag
    #[arg(long)]
    pub(super) ad: bool,
    /// Request the server's identity (RFC 5001)
    #[arg(long)]
    pub(super) nsid: bool,
    /// Query on behalf of this network, ADDRESS[/PREFIX] (RFC 7871)
    #[arg(long, value_name = "NET")]
    pub(super) subnet: Option<String>,
    /// Send a cookie, random or HEX (RFC 7873)
    #[arg(long, value_name = "HEX", num_args = 0..=1, default_missing_value = "", require_equals = true)]
    pub(super) cookie: Option<String>,
    /// Request the zone's expiry timer (RFC 7314)
    #[arg(long)]
    pub(super) expire: bool,
    /// Request the idle timeout of the connection (RFC 7828)
    #[arg(long)]
    pub(super) keepalive: bool,
    /// Pad the query to a multiple of BYTES (RFC 7830) [default: 128 on encrypted transports, 0 = never]
    #[arg(long, value_name = "BYTES")]
    pub(super) padding: Option<u16>,
    /// Send this EDNS option, by number or by dig's name for it; may be repeated
    #[arg(long, value_name = "CODE|NAME[:HEX]")]
    pub(super) ednsopt: Vec<String>,
    /// Announce this size for UDP answers
    #[arg(long, value_name = "BYTES", default_value_t = crate::dns::edns::DEFAULT_UDP_SIZE)]
    pub(super) bufsize: u16,
    /// Query without EDNS
    #[arg(long)]
    pub(super) no_edns: bool,
    /// Randomize the case of letters, which the answer must repeat (0x20)
    #[arg(long)]
    pub(super) mix_case: bool,
    /// More bits of the header (`+aaflag`, `+opcode=` ...).
    #[arg(skip)]
    pub(super) flags: Flags,
    /// `+noadflag`.
    #[arg(skip)]
    pub(super) no_ad: bool,
    /// `+qid=`.
    #[arg(skip)]
    pub(super) qid: Option<u16>,
    /// `+edns=VERSION`.
    #[arg(skip)]
    pub(super) edns_version: u8,
    /// `+ednsflags=BITS`.
    #[arg(skip)]
    pub(super) edns_flags: u16,
}

/// The flags and the opcode of the header.
pub(super) fn flags(args: &QueryArgs) -> Flags {
    let mut flags = args.flags;
    flags.set(Flags::RD, !args.no_recurse);
    flags.set(Flags::CD, args.cd);
    flags.set(Flags::AD, args.ad || !args.no_ad);
    flags
}

/// The query for a question.
pub(super) fn query(args: &Args, question: &Question) -> Result<Query, Fault> {
    let args = &args.query;
    let edns = if args.no_edns { None } else { Some(edns(args)?) };
    Ok(Query {
        question: question.clone(),
        flags: flags(args),
        edns,
        authority: None,
        padding: args.padding,
        exact_case: false,
    })
}

/// The TSIG key, if the command line names one.
pub(super) fn key(args: &Args, out: &Output) -> Result<Option<TsigKey>, Fault> {
    let parsed = match (&args.tsig, &args.key_file) {
        (Some(text), _) => {
            out.warn("the key is visible in the process list; -k FILE hides it");
            TsigKey::parse(text).map_err(|why| Fault::new(Kind::Usage, format!("-y: {why}")))
        }
        (None, Some(path)) => dns_key::read(path, out),
        (None, None) => return Ok(None),
    };
    parsed.map(Some)
}

/// The EDNS options of the command line.
pub(super) fn edns(args: &QueryArgs) -> Result<Edns, Fault> {
    let usage = |text: String| Fault::new(Kind::Usage, text);
    let mut edns = Edns {
        udp_size: args.bufsize,
        dnssec_ok: args.dnssec,
        version: args.edns_version,
        other_flags: args.edns_flags & 0x7fff,
        ..Edns::default()
    };
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
        let code =
            EdnsOption::code_of(code).ok_or_else(|| usage(format!("--ednsopt {text}: no EDNS option {code}")))?;
        add(code, hex(data)?);
    }
    Ok(edns)
}

fn hex(text: &str) -> Result<Vec<u8>, Fault> {
    crate::dns::record::atoms::from_hex(text.as_bytes())
        .map_err(|error| Fault::new(Kind::Usage, format!("{text:?}: {error}")))
}
