//! `dnsserve`: serve DNS zones from zone files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

mod log;

use crate::cli;
use crate::cli::args::{ListenArgs, OutputArgs};
use crate::cli::exit::Exit;
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::cli::signals;
use crate::dns::answer::Zones;
use crate::dns::client::server::ServerName;
use crate::dns::forward::Forwarder;
use crate::dns::name::Name;
use crate::dns::server::{NameServer, ServedZones, Sockets};
use crate::dns::transport::Transport;
use crate::dns::tsig::TsigKeys;
use crate::dns::zone::{Zone, ZoneSource};
use crate::fault::{Fault, Kind};
use crate::net::activation::ActivatedSockets;
use crate::net::cidr::Network;
use crate::net::listen::{Listeners, Shutdown};
use crate::net::local::LocalNetworks;
use crate::net::tls::{ClientTls, ClientTlsOptions};
use crate::tool::dns_key;

/// The largest zone file that is read.
const MAX_ZONE_FILE_BYTES: u64 = 1 << 30;

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
    /// Forward the questions of this network (ADDRESS or ADDRESS/PREFIX) instead of those of this host and its networks; may be
    /// repeated
    #[arg(long, value_name = "NET", requires = "forward")]
    allow_forward: Vec<String>,
    /// Let this network (ADDRESS or ADDRESS/PREFIX) transfer zones; nobody else may
    #[arg(long, value_name = "NET")]
    allow_transfer: Vec<String>,
    /// Let whoever signs with the key in FILE (TSIG, in BIND's form) transfer zones, and sign the answers; may be repeated
    #[arg(short = 'k', long, value_name = "FILE")]
    key_file: Vec<PathBuf>,
    /// Read and check the zone files, say what they hold, and end
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    output: OutputArgs,
}

crate::cli::tool!("dnsserve", Args, activated run);

fn run(args: Args, out: &Output, activated: ActivatedSockets) -> anyhow::Result<Exit> {
    if args.check {
        let zones = read_zones(&args)?;
        let mut all: Vec<_> = zones.iter().collect();
        all.sort_by(|a, b| a.origin().cmp(b.origin()));
        for zone in all {
            out.emit(&CheckedZone::of(zone))?;
        }
        return Ok(Exit::OK);
    }
    let transfer_to = networks("--allow-transfer", &args.allow_transfer)?;
    let forward_for = networks("--allow-forward", &args.allow_forward)?;
    let keys = args.key_file.iter().map(|path| dns_key::read(path, out)).collect::<Result<_, Fault>>()?;
    let server = NameServer {
        zones: ServedZones::default(),
        forward: forward(&args, out)?,
        forward_for: Some(forward_for).filter(|networks| !networks.is_empty()),
        local: LocalNetworks::default(),
        transfer_to,
        keys: TsigKeys(keys),
        log: log::log(out),
    };
    let served = server.zones.clone();
    let args = Arc::new(args);
    cli::block_on_threads(async move {
        // Before the zones are read, which takes its time: no signal ends that.
        let (again, zones, says) = (args.clone(), served.clone(), out.clone());
        signals::outlive_habits(out, Some(Arc::new(move || reload(&again, &zones, &says))))?;
        let zones = read_zones(&args)?;
        for zone in zones.iter() {
            note(out, zone);
        }
        served.replace(zones);
        let shutdown = Shutdown::on_signals(args.listen.drain)?;
        let sockets = Sockets::bind(activated, || Listeners::bind(&args.listen.listen, "127.0.0.1:53"))?;
        args.listen.announce(out, "dns", &sockets.addresses())?;
        server.serve(sockets, args.listen.max_clients, args.listen.max_per_address, &shutdown).await;
        Ok(Exit::OK)
    })
}

fn note(out: &Output, zone: &Zone) {
    out.note(&format!("zone {}: {} records, serial {}", zone.origin(), zone.record_count(), zone.serial()));
}

/// Reads the zone files again and serves what is in them, or says what is wrong and goes on with what was read before.
fn reload(args: &Args, served: &ServedZones, out: &Output) {
    let zones = match args.files.iter().any(|file| file == Path::new("-")) {
        true => Err(Fault::new(Kind::Usage, "standard input cannot be read again")),
        false => read_zones(args),
    };
    match zones {
        Ok(zones) => {
            for zone in zones.iter() {
                note(out, zone);
                if out.json() {
                    // A closed stdout is reported by the output itself.
                    let _ = out.emit(&CheckedZone::of(zone));
                }
            }
            served.replace(zones);
        }
        Err(fault) => {
            let detail = format!("{}; the zones stay as they are", fault.detail);
            out.error("reload", &Fault { detail, ..fault });
        }
    }
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

fn read_zones(args: &Args) -> Result<Zones, Fault> {
    let mut zones = Zones::default();
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
    for (origin, file) in named {
        let zone = read_zone(file, origin)?;
        let name = zone.origin().clone();
        if !zones.add(zone) {
            let twice = Fault::new(Kind::BadData, format!("{}: the zone {name} was read already", file.display()));
            return Err(twice);
        }
    }
    Ok(zones)
}

fn read_zone(file: &Path, origin: Option<Name>) -> Result<Zone, Fault> {
    let text = if file == Path::new("-") { read_stdin()? } else { read_file(file)? };
    let directory = file.parent().unwrap_or(Path::new("")).to_owned();
    let mut load = |path: &str| {
        let path = directory.join(path);
        read_file(&path).map_err(|fault| fault.detail)
    };
    let source = ZoneSource { name: file.display().to_string(), text };
    Ok(Zone::read(source, origin, &mut load)?)
}

fn read_file(path: &Path) -> Result<Vec<u8>, Fault> {
    let failed = |error: std::io::Error| Fault::local(path.display(), &error);
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_ZONE_FILE_BYTES {
        return Err(Fault::new(Kind::BadData, format!("{}: larger than 1 GiB", path.display())));
    }
    std::fs::read(path).map_err(failed)
}

fn read_stdin() -> Result<Vec<u8>, Fault> {
    use std::io::Read;
    let mut text = Vec::new();
    let read = std::io::stdin().take(MAX_ZONE_FILE_BYTES).read_to_end(&mut text);
    read.map(|_| text).map_err(|error| Fault::local("stdin", &error))
}

/// One zone that was checked.
#[derive(Debug, Serialize)]
struct CheckedZone {
    zone: String,
    serial: u32,
    records: usize,
}

impl CheckedZone {
    fn of(zone: &Zone) -> CheckedZone {
        CheckedZone { zone: zone.origin().to_string(), serial: zone.serial().0, records: zone.record_count() }
    }
}

impl OutputRecord for CheckedZone {
    const TYPE: &'static str = "zone";

    fn text(&self, line: &mut TextLine) {
        line.field(&self.zone).field(self.serial.to_string()).field(self.records.to_string());
    }
}
