//! `dnsserve`: serve DNS zones from zone files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::cli;
use crate::cli::args::{ListenArgs, OutputArgs};
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::cli::{input, units};
use crate::dns::answer::Zones;
use crate::dns::client::server::ServerName;
use crate::dns::client::{DnsClient, ExchangePolicy};
use crate::dns::name::Name;
use crate::dns::server::{Log, Logged, NameServer, Sockets};
use crate::dns::transport::Transport;
use crate::dns::zone::{Zone, ZoneLimits, ZoneReading, ZoneSource, check};
use crate::fault::{Fault, Kind};
use crate::net::activation::ActivatedSockets;
use crate::net::cidr::Network;
use crate::net::listen::{Listeners, Shutdown};
use crate::net::tls::{ClientTls, ClientTlsOptions};

/// Arguments of `dnsserve`.
#[derive(Debug, clap::Parser)]
#[command(name = "dnsserve", version, about = "Serve DNS zones from zone files")]
pub struct Args {
    /// Zone files; the zone's name is what its SOA record stands at (- reads stdin)
    #[arg(value_name = "ZONEFILE")]
    files: Vec<PathBuf>,
    /// A zone file whose relative names belong to NAME; may be repeated
    #[arg(long, value_name = "NAME=FILE")]
    zone: Vec<String>,
    /// Hand questions for other names to this server; may be repeated
    #[arg(long, value_name = "ADDR")]
    forward: Vec<String>,
    /// Let this network (ADDRESS or ADDRESS/PREFIX) transfer zones; nobody else may
    #[arg(long, value_name = "NET")]
    allow_transfer: Vec<String>,
    /// Read and check the zone files, say what they hold and what is wrong or odd in them, and end
    #[arg(long)]
    check: bool,
    /// Serve no zone, and end --check with 65, if one of the zones has an error or a warning
    #[arg(long)]
    strict: bool,
    /// Read at most this much for a zone, with all files that it includes
    #[arg(long, value_name = "SIZE", value_parser = units::size, default_value = "1G")]
    max_zone_size: u64,
    /// Take at most N records a zone
    #[arg(long, value_name = "N", default_value_t = ZoneLimits::default().records)]
    max_records: u64,
    /// Let $GENERATE make at most N records a zone
    #[arg(long, value_name = "N", default_value_t = ZoneLimits::default().generated)]
    max_generate: u64,
    /// Refuse $INCLUDE, for zone files of strangers
    #[arg(long)]
    no_include: bool,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    output: OutputArgs,
}

crate::cli::tool!("dnsserve", Args, activated run);

fn run(args: Args, out: &Output, activated: ActivatedSockets) -> anyhow::Result<Exit> {
    let (zones, tally) = read_zones(&args, out)?;
    let none_left = zones.iter().next().is_none() && args.forward.is_empty();
    if args.check || (tally.failed() > 0 && (args.strict || none_left)) {
        return Ok(tally.exit());
    }
    for zone in zones.iter() {
        out.note(&format!("zone {}: {} records, serial {}", zone.origin(), zone.record_count(), zone.serial()));
    }
    let transfer_to = args
        .allow_transfer
        .iter()
        .map(|text| {
            let wrong = |why| Fault::new(Kind::Usage, format!("--allow-transfer {text}: {why}"));
            text.parse::<Network>().map_err(wrong)
        })
        .collect::<Result<_, Fault>>()?;
    let server = NameServer { zones, forward: forward(&args)?, transfer_to, log: log(out) };
    cli::block_on_threads(async move {
        let shutdown = Shutdown::on_signals(args.listen.drain)?;
        let sockets = Sockets::bind(activated, || Listeners::bind(&args.listen.listen, "127.0.0.1:53"))?;
        args.listen.announce(out, "dns", &sockets.addresses())?;
        server.serve(sockets, args.listen.max_clients, &shutdown).await;
        Ok(Exit::OK)
    })
}

fn forward(args: &Args) -> Result<Option<DnsClient>, Fault> {
    if args.forward.is_empty() {
        return Ok(None);
    }
    let mut servers = Vec::new();
    let default = (None, Transport::Udp);
    for name in &args.forward {
        let mut tls = || ClientTls::new(&ClientTlsOptions::default());
        servers.extend(ServerName::parse(name)?.endpoints(default, &mut tls)?);
    }
    let policy = ExchangePolicy {
        timeout: Duration::from_secs(2),
        tries: 2,
        deadline: Duration::from_secs(8),
        ..ExchangePolicy::default()
    };
    Ok(Some(DnsClient { policy, servers, ..DnsClient::new(Vec::new()) }))
}

/// Reads the zones; prints what is wrong with them, and with `--check` what they are.
fn read_zones(args: &Args, out: &Output) -> anyhow::Result<(Zones, Tally)> {
    let mut named: Vec<(Option<Name>, &Path)> = args.files.iter().map(|file| (None, file.as_path())).collect();
    for text in &args.zone {
        let (name, file) = text
            .split_once('=')
            .filter(|(_, file)| !file.is_empty())
            .ok_or_else(|| Fault::new(Kind::Usage, format!("--zone {text}: NAME=FILE expected")))?;
        let name = Name::parse(name).map_err(|error| Fault::new(Kind::Usage, format!("--zone {text}: {error}")))?;
        named.push((Some(name), Path::new(file)));
    }
    if named.is_empty() && args.forward.is_empty() {
        return Err(Fault::new(Kind::Usage, "no zone file")
            .with_hint("dnsserve ZONEFILE…, or --zone NAME=FILE")
            .into());
    }
    let (mut zones, mut tally) = (Zones::default(), Tally::default());
    let mut fail = |fault: Fault| {
        out.error("", &fault);
        tally.fault(&fault);
    };
    for (origin, file) in named {
        let (name, zone) = match read_zone(args, file, origin.clone()) {
            Ok(reading) => (reading.name, reading.zone.map_err(|errors| errors.into_iter().map(Fault::from).collect())),
            Err(fault) => (origin, Err(vec![fault])),
        };
        match zone {
            Ok(zone) => {
                let warnings = if args.check || args.strict { warn(out, file, &zone)? } else { 0 };
                if warnings > 0 && args.strict {
                    fail(Fault::new(Kind::BadData, format!("{}: {warnings} warnings (--strict)", file.display())));
                }
                let checked = CheckedZone::of(&zone, warnings);
                if !zones.add(zone) {
                    let why = format!("{}: the zone {} was read already", file.display(), checked.zone);
                    return Err(Fault::new(Kind::BadData, why).into());
                }
                if args.check {
                    out.emit(&checked)?;
                }
            }
            Err(faults) => {
                faults.into_iter().for_each(&mut fail);
                name.map(|name| zones.add_broken(name));
            }
        }
    }
    Ok((zones, tally))
}

fn read_zone(args: &Args, file: &Path, origin: Option<Name>) -> Result<ZoneReading, Fault> {
    let limit = args.max_zone_size;
    let text = match file.to_str() {
        Some("-") => input::read_from(Path::new("stdin"), std::io::stdin().lock(), limit)?,
        _ => input::read(file, limit)?,
    };
    let directory = file.parent().unwrap_or(Path::new("")).to_owned();
    let mut load = |path: &str| {
        if args.no_include {
            return Err("$INCLUDE is refused (--no-include)".to_owned());
        }
        input::read_regular(&directory.join(path), limit).map_err(|fault| fault.detail)
    };
    let source = ZoneSource { name: file.display().to_string(), text };
    let limits = ZoneLimits { bytes: limit, records: args.max_records, generated: args.max_generate };
    Ok(Zone::examine(source, origin, limits, &mut load))
}

/// Prints the warnings about a zone; how many there are.
fn warn(out: &Output, file: &Path, zone: &Zone) -> Result<usize, Fault> {
    let now = jiff::Timestamp::now().as_second() as u32; // modulo 2^32, as the times of signatures are
    let warnings = check::warnings(zone, now);
    for warning in &warnings {
        out.warn(&format!("{}: {warning}", file.display()));
        if out.json() {
            out.emit(&WarningRecord {
                file: file.display().to_string(),
                zone: zone.origin().to_string(),
                check: warning.check,
                owner: warning.owner.to_string(),
                detail: &warning.why,
            })?;
        }
    }
    Ok(warnings.len())
}

/// Every question is a record with `--json`, and a line with `-v`.
fn log(out: &Output) -> Option<Arc<Log>> {
    if !out.json() && !out.verbose() {
        return None;
    }
    let out = out.clone();
    Some(Arc::new(move |logged: &Logged<'_>| {
        let record = QuestionRecord {
            client: logged.client.to_string(),
            transport: logged.transport.name(),
            name: logged.question.map(|question| question.name.to_string()),
            qtype: logged.question.map(|question| question.rtype.to_string()),
            status: logged.rcode.to_string(),
            size_bytes: logged.size_bytes,
        };
        if out.json() {
            // A closed stdout is reported once by the output itself; serving goes on.
            let _ = out.emit(&record);
        } else {
            let what = record.name.as_deref().unwrap_or("?");
            let qtype = record.qtype.as_deref().unwrap_or("?");
            out.note(&format!("{} {} {what} {qtype} {}", record.client, record.transport, record.status));
        }
    }))
}

/// One question in the log.
#[derive(Debug, Serialize)]
struct QuestionRecord {
    client: String,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qtype: Option<String>,
    status: String,
    size_bytes: usize,
}

impl OutputRecord for QuestionRecord {
    const TYPE: &'static str = "query";
}

/// One zone that was checked.
#[derive(Debug, Serialize)]
struct CheckedZone {
    zone: String,
    serial: u32,
    records: usize,
    warnings: usize,
}

impl CheckedZone {
    fn of(zone: &Zone, warnings: usize) -> CheckedZone {
        let (serial, records) = (zone.serial().0, zone.record_count());
        CheckedZone { zone: zone.origin().to_string(), serial, records, warnings }
    }
}

impl OutputRecord for CheckedZone {
    const TYPE: &'static str = "zone";

    fn text(&self, line: &mut TextLine) {
        line.field(&self.zone).field(self.serial.to_string()).field(self.records.to_string());
    }
}

/// Something in a zone that is seldom meant.
#[derive(Debug, Serialize)]
struct WarningRecord<'a> {
    file: String,
    zone: String,
    check: &'static str,
    owner: String,
    detail: &'a str,
}

impl OutputRecord for WarningRecord<'_> {
    const TYPE: &'static str = "warning";
}
