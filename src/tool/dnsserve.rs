//! `dnsserve`: serves DNS zones from zone files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

mod log;

use crate::cli;
use crate::cli::args::{ConfineArgs, ListenArgs, LogArgs, MetricsArgs, OperateArgs, OutputArgs, appended_files, gauge};
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::cli::reload::{Prepared, Reloader};
use crate::cli::{input, signals, units};
use crate::dns::answer::Zones;
use crate::dns::client::server::ServerName;
use crate::dns::forward::Forwarder;
use crate::dns::name::Name;
use crate::dns::server::{NameServer, ServedZones, Sockets};
use crate::dns::transport::Transport;
use crate::dns::tsig::TsigKeys;
use crate::dns::zone::{Zone, ZoneLimits, ZoneReading, ZoneSource, check};
use crate::fault::{Fault, Kind};
use crate::net::BoxFuture;
use crate::net::activation::ActivatedSockets;
use crate::net::cidr::Network;
use crate::net::counters::CountedConnection;
use crate::net::listen::{Listeners, Shutdown};
use crate::net::local::LocalNetworks;
use crate::net::reload::Reloaded;
use crate::net::sandbox::Sandbox;
use crate::net::tls::{ClientTls, ClientTlsOptions};
use crate::tool::dns_key;

/// Arguments of `dnsserve`.
#[derive(Debug, clap::Parser)]
#[command(name = "dnsserve", version, about = "Serve DNS zones from zone files")]
pub struct Args {
    /// Zone files; a zone is named by the owner of its SOA record (- reads stdin)
    #[arg(value_name = "ZONEFILE")]
    files: Vec<PathBuf>,
    /// Zone file whose relative names end in NAME; may be repeated
    #[arg(long, value_name = "NAME=FILE")]
    zone: Vec<String>,
    /// Forward queries for other names to this server; may be repeated
    #[arg(long, value_name = "ADDR")]
    forward: Vec<String>,
    /// Forward queries from this network (ADDRESS or ADDRESS/PREFIX) instead of those from this host and its networks; may be
    /// repeated
    #[arg(long, value_name = "NET", requires = "forward")]
    allow_forward: Vec<String>,
    /// Allow zone transfers to this network (ADDRESS or ADDRESS/PREFIX); the default is to no one
    #[arg(long, value_name = "NET")]
    allow_transfer: Vec<String>,
    /// Allow zone transfers to clients that sign with the key in FILE (TSIG, in BIND's form), and sign the answers; may be repeated
    #[arg(short = 'k', long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// Check the zone files, print a summary, errors and warnings, and exit
    #[arg(long)]
    check: bool,
    /// Serve no zone, and exit --check with 65, if a zone has an error or a warning
    #[arg(long)]
    strict: bool,
    /// Read at most SIZE bytes per zone, included files counted
    #[arg(long, value_name = "SIZE", value_parser = units::size, default_value = "1G")]
    max_zone_size: u64,
    /// Accept at most N records per zone
    #[arg(long, value_name = "N", default_value_t = ZoneLimits::default().records)]
    max_records: u64,
    /// Let $GENERATE create at most N records per zone
    #[arg(long, value_name = "N", default_value_t = ZoneLimits::default().generated)]
    max_generate: u64,
    /// Refuse $INCLUDE, for zone files from untrusted sources
    #[arg(long)]
    no_include: bool,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    operate: OperateArgs,
    #[command(flatten)]
    confine: ConfineArgs,
    #[command(flatten)]
    output: OutputArgs,
}

crate::cli::tool!("dnsserve", Args, guide crate::tool::guides::DNSSERVE, activated run);

fn run(args: Args, out: &Output, activated: ActivatedSockets) -> anyhow::Result<Exit> {
    if args.check {
        return Ok(read_zones(&args, out, &mut Vec::new())?.1.exit());
    }
    let operate = args.operate.clone();
    operate.verdict(out, serve(args, out, activated))
}

fn serve(args: Args, out: &Output, activated: ActivatedSockets) -> anyhow::Result<Exit> {
    signals::hold_habits()?;
    let transfer_to = networks("--allow-transfer", &args.allow_transfer)?;
    let forward_for = networks("--allow-forward", &args.allow_forward)?;
    let keys = read_keys(&args, out)?.map(Reloaded::new);
    let server = NameServer {
        zones: ServedZones::default(),
        forward: forward(&args, out)?,
        forward_for: Some(forward_for).filter(|networks| !networks.is_empty()),
        local: LocalNetworks::default(),
        transfer_to,
        keys: keys.clone(),
        log: log::log(out),
        session_log: log::sessions(out),
    };
    let zone_files = zone_files(&args)?;
    let files: Vec<&Path> = zone_files.iter().map(|(_, file)| *file).filter(|file| *file != Path::new("-")).collect();
    let places = files.iter().filter_map(|file| std::path::absolute(file).ok());
    let places: Vec<PathBuf> =
        places.flat_map(|file| file.ancestors().take(2).map(Path::to_owned).collect::<Vec<_>>()).collect();
    if args.operate.check_config {
        args.confine.successor(&places)?;
        return match read_zones(&args, out, &mut Vec::new())?.1 {
            tally if tally.failed() > 0 => Ok(tally.exit()),
            _ => args.operate.healthy(out, &args.listen, None),
        };
    }
    let sockets = Sockets::bind(activated, || Listeners::bind(&args.listen.listen, "127.0.0.1:53"))?;
    let metrics = args.operate.metrics.bind(out)?;
    let appended = appended_files(&args.output, &args.log);
    let urls = args.listen.write_addresses("dns", sockets.addresses())?;
    let mut reloader = Reloader::new(out);
    // Zone files and their included files are read as the server's user, right below.
    reloader.name(&args.key_file);
    args.confine.give_up_root(out, (&appended, &reloader), &places)?;
    // As the server's user, who also reads them again later.
    let mut included = Vec::new();
    let (zones, tally) = read_zones(&args, out, &mut included)?;
    let none_left = zones.iter().next().is_none() && args.forward.is_empty();
    if tally.failed() > 0 && (args.strict || none_left) {
        return Ok(tally.exit());
    }
    for zone in zones.iter() {
        note(out, zone);
    }
    let mut sandbox = Sandbox::default();
    reloader.name(files);
    reloader.name(included);
    if !args.forward.is_empty() {
        sandbox.use_network();
    }
    args.confine.enclose(out, (&appended, &reloader), sandbox)?;
    let served = server.zones.clone();
    served.replace(zones);
    let args = Arc::new(args);
    add_parts(&mut reloader, &args, out, &served, keys);
    cli::block_on_threads(async move {
        signals::outlive_habits(out, Some(Arc::new(reloader)), args.operate.reload_every)?;
        let shutdown = Shutdown::on_signals(args.listen.drain)?;
        let open = || vec![(CountedConnection::open(), "connection")];
        signals::tell_of_drain(out, &shutdown, Some(args.listen.drain), open);
        urls.announce(out)?;
        let gauges = move || -> BoxFuture<'static, _> {
            let count = i64::try_from(served.now().iter().count()).unwrap_or(i64::MAX);
            Box::pin(async move { vec![gauge("zones", "Zones that are served", count)] })
        };
        MetricsArgs::serve(out, metrics, None, Box::new(gauges))?;
        let admission = args.listen.admission(out, 1, true);
        server.serve(sockets, &admission, &shutdown).await?;
        Ok(Exit::OK)
    })
}

fn note(out: &Output, zone: &Zone) {
    out.note(&format!("zone {}: {} records, serial {}", zone.origin(), zone.record_count(), zone.serial()));
}

fn read_keys(args: &Args, out: &Output) -> Result<Option<TsigKeys>, Fault> {
    let keys: Vec<_> = args.key_file.iter().map(|path| dns_key::read(path, out)).collect::<Result<_, Fault>>()?;
    Ok(Some(keys).filter(|keys| !keys.is_empty()).map(TsigKeys))
}

fn add_parts(
    reloader: &mut Reloader,
    args: &Arc<Args>,
    out: &Output,
    served: &ServedZones,
    keys: Option<Reloaded<TsigKeys>>,
) {
    let (again, says) = (args.clone(), out.clone());
    if let Some(keys) = keys {
        reloader.add("keys", move || {
            let (keys, new) = (keys.clone(), read_keys(&again, &says)?);
            Ok(Prepared::whole(move || new.into_iter().for_each(|new| keys.replace(new))))
        });
    }
    let (again, says, served) = (args.clone(), out.clone(), served.clone());
    reloader.add("zones", move || reread_zones(&again, &served, &says));
}

/// Reads the zone files again. A zone with an error stays as it was; with `--strict` one error keeps all zones as they were.
fn reread_zones(args: &Args, served: &ServedZones, out: &Output) -> Result<Prepared, Fault> {
    if args.files.iter().any(|file| file == Path::new("-")) {
        return Err(Fault::new(Kind::Usage, "standard input cannot be read again"));
    }
    let (mut zones, tally) = read_zones(args, out, &mut Vec::new())?;
    if args.strict && tally.failed() > 0 {
        return Err(Fault::new(Kind::BadData, "a zone has an error or a warning (--strict)"));
    }
    for zone in zones.iter() {
        note(out, zone);
        if out.json() {
            // A closed stdout is reported by the output itself.
            let _ = out.emit(&CheckedZone::of(zone, 0));
        }
    }
    let but = (tally.failed() > 0).then(|| "a zone with an error stays as it was".to_owned());
    if let Some(but) = &but {
        zones.keep_from(&served.now());
        out.warn(&format!("reload: {but}"));
    }
    let served = served.clone();
    Ok(Prepared { replace: Box::new(move || served.replace(zones)), but })
}

fn networks(flag: &str, texts: &[String]) -> Result<Vec<Network>, Fault> {
    let parse =
        |text: &String| text.parse::<Network>().map_err(|why| Fault::new(Kind::Usage, format!("{flag} {text}: {why}")));
    texts.iter().map(parse).collect()
}

fn forward(args: &Args, out: &Output) -> Result<Option<Forwarder>, Fault> {
    if args.forward.is_empty() {
        return Ok(None);
    }
    let mut servers = Vec::new();
    let default = (None, Transport::Udp);
    for name in &args.forward {
        let mut tls = || ClientTls::new(&ClientTlsOptions::default());
        servers.extend(ServerName::parse(name)?.endpoints(default, &mut tls)?);
    }
    let out = out.clone();
    Forwarder::new(servers, Arc::new(move |what: &str| out.warn(&format!("--forward: {what}")))).map(Some)
}

/// The zone files, each with the zone's name if the command line has it.
fn zone_files(args: &Args) -> Result<Vec<(Option<Name>, &Path)>, Fault> {
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
        return Err(Fault::new(Kind::Usage, "no zone file").with_hint("dnsserve ZONEFILE…, or --zone NAME=FILE"));
    }
    Ok(named)
}

/// Reads the zones and prints their errors and warnings, with `--check` also a record per zone. `included` gets the files that they
/// include.
fn read_zones(args: &Args, out: &Output, included: &mut Vec<PathBuf>) -> Result<(Zones, Tally), Fault> {
    let (mut zones, mut tally) = (Zones::default(), Tally::default());
    let mut fail = |fault: Fault| {
        out.error("", &fault);
        tally.fault(&fault);
    };
    for (origin, file) in zone_files(args)? {
        let (name, zone) = match read_zone(args, file, origin.clone(), included) {
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
                    return Err(Fault::new(Kind::BadData, why));
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

fn read_zone(
    args: &Args,
    file: &Path,
    origin: Option<Name>,
    included: &mut Vec<PathBuf>,
) -> Result<ZoneReading, Fault> {
    let limit = args.max_zone_size;
    let text = match file.to_str() {
        Some("-") => input::read_from(Path::new("stdin"), input::stdin()?, limit)?,
        _ => input::read(file, limit)?,
    };
    let directory = file.parent().unwrap_or(Path::new("")).to_owned();
    let mut load = |path: &str| {
        if args.no_include {
            return Err("$INCLUDE is refused (--no-include)".to_owned());
        }
        included.push(directory.join(path));
        input::read_regular(&directory.join(path), limit).map_err(|fault| fault.detail)
    };
    let source = ZoneSource { name: file.display().to_string(), text };
    let limits = ZoneLimits { bytes: limit, records: args.max_records, generated: args.max_generate };
    Ok(Zone::examine(source, origin, limits, &mut load))
}

/// Prints the warnings about a zone and returns their number.
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
    const BARE: bool = true;

    fn text(&self, line: &mut TextLine) {
        line.field(&self.zone).field(self.serial.to_string()).field(self.records.to_string());
    }
}

/// A property of a zone that is probably a mistake.
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
