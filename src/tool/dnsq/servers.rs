//! The servers of `dnsq`: names and URLs, transports, certificates.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Args;
use crate::cli::args::{self, TrustArgs};
use crate::cli::output::Output;
use crate::dns::client::server::{ResolvConf, ServerName};
use crate::dns::client::{Endpoint, HttpTarget};
use crate::dns::transport::Transport;
use crate::fault::{Fault, Kind};
use crate::net::dial::{ATTEMPT_DELAY, Dialer};
use crate::net::literal;
use crate::net::proxy::ProxyChoice;
use crate::net::tls::ClientTls;
use crate::scope::with_port;

/// Encryption: whom to believe.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Encryption")]
pub(super) struct EncryptionArgs {
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    /// The transport for servers that were not named by URL (`+tcp`, `+tls`, `+https`, `+quic`).
    #[arg(skip)]
    pub(super) transport: Option<Transport>,
    /// The resource of `+https`.
    #[arg(skip)]
    pub(super) http: Option<HttpTarget>,
}

/// One address of a server, with the server's name as the user wrote it.
#[derive(Debug, Clone)]
pub(super) struct NamedServer {
    pub(super) name: String,
    pub(super) endpoint: Endpoint,
}

impl NamedServer {
    pub(super) fn address(&self) -> SocketAddr {
        self.endpoint.address
    }
}

/// The local address of `-b`, with dig's optional `#PORT`.
pub(super) fn local(text: &str) -> Result<SocketAddr, String> {
    let (address, port) = text.split_once('#').map_or((text, Ok(0)), |(address, port)| (address, port.parse()));
    Ok(with_port(literal::local(address)?, port.map_err(|_| "bad port")?))
}

/// The proxy for this transport.
///
/// # Errors
/// [`Kind::Usage`]: the command line names a proxy, but it carries no datagrams.
pub(super) fn proxy(given: &Args, transport: Transport) -> Result<Option<ProxyChoice>, Fault> {
    let flag = given.transport.proxy.as_deref();
    let carried = matches!(transport, Transport::Tcp | Transport::Tls | Transport::Https);
    // The proxy of the environment applies only to transports that it can carry.
    if !carried && flag.is_none() {
        return Ok(None);
    }
    let found = args::proxy(flag, transport.name())?;
    if !carried && found.is_some() {
        let fault = Fault::new(Kind::Usage, format!("--proxy: no proxy carries {}", transport.name()));
        return Err(fault.with_hint("--tcp, or a server with tcp://, tls:// or https://"));
    }
    Ok(found)
}

/// The servers in `named`, else those of the command line or of resolv.conf.
pub(super) fn servers(args: &Args, named: &[String], out: &Output) -> Result<Vec<NamedServer>, Fault> {
    let transport = match args.encryption.transport {
        Some(transport) => transport,
        None if args.transport.tcp => Transport::Tcp,
        None => Transport::Udp,
    };
    let mut names = Vec::new();
    for name in named {
        let mut server = ServerName::parse(name)?;
        // `--tcp` and `+tcp` apply only to servers without another transport than UDP.
        if server.transport == Some(Transport::Udp) && args.transport.tcp {
            server.transport = Some(Transport::Tcp);
        }
        names.push(server);
    }
    if names.is_empty() {
        let conf = resolv_conf(args)?;
        names = conf.servers.iter().map(|address| ServerName::of(*address)).collect();
    }
    let mut made: Option<ClientTls> = None;
    let mut tls = || {
        if made.is_none() {
            made = Some(ClientTls::new(&args.encryption.trust.options(out)?)?);
        }
        made.clone().ok_or_else(|| Fault::new(Kind::Internal, "no TLS"))
    };
    let dialer = Dialer {
        family: args.transport.family(),
        // The port, if one was chosen, is for the questions.
        bind: args.transport.bind.map(|bind| with_port(bind, 0)),
        ..Dialer::default()
    };
    let mut servers = Vec::new();
    for mut name in names {
        if let Some(http) = args.encryption.http.as_ref().filter(|_| name.transport.is_none()) {
            name.http = http.clone();
        }
        let way = name.transport.unwrap_or(transport);
        let port = name.port_or(args.port.unwrap_or(way.port()));
        name.proxy = proxy(args, way)?.and_then(|proxy| proxy.on_the_way(&name.host, port));
        let proxied = name.proxy.is_some();
        let mut endpoints = name.endpoints((args.port, transport), &mut tls)?;
        if !proxied {
            endpoints.retain(|endpoint| dialer.allows(endpoint.address));
            endpoints = first_to_answer(endpoints, &dialer, out)?;
            if args.bulk.is_wanted() {
                answering(&mut endpoints, &dialer);
            }
        }
        let named = |endpoint| NamedServer {
            name: name.host.clone(),
            endpoint: Endpoint { bind: args.transport.bind, ..endpoint },
        };
        servers.extend(endpoints.into_iter().map(named));
    }
    if servers.is_empty() {
        return Err(dialer.excluded().context("servers"));
    }
    Ok(servers)
}

/// The connect time for each address of a server, before another server is the better choice.
const PER_ADDRESS: Duration = Duration::from_millis(500);

/// The addresses of one server with a connection-oriented transport: the first to answer is moved to the front (RFC 8305), and
/// those that failed by then are removed. If none answers in time, the list stays as it is.
fn first_to_answer(mut endpoints: Vec<Endpoint>, dialer: &Dialer, out: &Output) -> Result<Vec<Endpoint>, Fault> {
    if endpoints.len() < 2 || !endpoints.iter().all(connects) {
        return Ok(endpoints);
    }
    let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address).collect();
    let dialer =
        Dialer { connect_timeout: PER_ADDRESS * u32::try_from(addresses.len()).unwrap_or(1), ..dialer.clone() };
    let race = dialer.connect_any_blocking(addresses)?;
    let Some((first, _)) = race.won else { return Ok(endpoints) };
    for (address, fault) in &race.failed {
        out.trace().note(&fault.detail);
        endpoints.retain(|endpoint| endpoint.address != *address);
    }
    endpoints.sort_by_key(|endpoint| endpoint.address != first);
    Ok(endpoints)
}

fn connects(endpoint: &Endpoint) -> bool {
    !matches!(endpoint.transport, Transport::Udp | Transport::Quic)
}

/// Keeps the addresses that share the work of a bulk run: the first one, and all that answer within a head start.
fn answering(endpoints: &mut Vec<Endpoint>, dialer: &Dialer) {
    let dialer = Dialer { connect_timeout: ATTEMPT_DELAY, ..dialer.clone() };
    let answers = |address| dialer.connect_any_blocking(vec![address]).is_ok_and(|race| race.won.is_some());
    let first = endpoints.first().map(|endpoint| endpoint.address);
    endpoints.retain(|other| Some(other.address) == first || !connects(other) || answers(other.address));
}

/// The resolv.conf from the command line, else the system's.
pub(super) fn resolv_conf(args: &Args) -> Result<ResolvConf, Fault> {
    match &args.transport.resolv_conf {
        Some(path) if !path.exists() => Err(Fault::new(Kind::NoInput, format!("{}: does not exist", path.display()))),
        Some(path) => ResolvConf::load(path),
        None => ResolvConf::system(),
    }
}

/// Applies an encryption option of dig or kdig. Returns false for any other option.
pub(super) fn dig_option(name: &str, value: Option<&str>, on: bool, args: &mut EncryptionArgs) -> Result<bool, Fault> {
    let missing = || Fault::new(Kind::Usage, format!("+{name}: a value is missing"));
    let given = || value.ok_or_else(missing);
    let path = || given().map(|text| Some(PathBuf::from(Path::new(text))));
    match name {
        "tls" => args.transport = on.then_some(Transport::Tls),
        "quic" => args.transport = on.then_some(Transport::Quic),
        "https" | "https-post" | "https-get" => {
            args.transport = on.then_some(Transport::Https);
            let path = value.map_or_else(|| HttpTarget::default().path, str::to_owned);
            let path = if path.starts_with('/') { path } else { format!("/{path}") };
            args.http = Some(HttpTarget { path, get: name == "https-get" });
        }
        // Without a file: the system's certificates, which are trusted anyway.
        "tls-ca" if value.is_none() => {}
        "tls-ca" => args.trust.ca_cert = path()?,
        "tls-certfile" => args.trust.cert = path()?,
        "tls-keyfile" => args.trust.key = path()?,
        "tls-hostname" | "tls-sni" => args.trust.tls_name = Some(given()?.to_owned()),
        "tls-pin" => {
            let bad = |why| Fault::new(Kind::Usage, format!("+tls-pin: {why}"));
            args.trust.pin.push(given()?.parse().map_err(bad)?);
        }
        _ => return Ok(false),
    }
    Ok(true)
}
