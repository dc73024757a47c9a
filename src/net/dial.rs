//! Outgoing connections: name resolution, happy eyeballs (RFC 8305), proxies, TCP_NODELAY.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::fault::{Fault, Kind};
use crate::net::BoxFuture;
use crate::net::deadline::Limits;
use crate::net::literal;
use crate::net::preference::by_preference;
use crate::net::proxy::Proxy;
use crate::net::stream::Stream;
use crate::net::sys;
use crate::scope::{host_of, with_port};

/// The delay before the next address is tried in parallel to a silent one (RFC 8305, section 5).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;
/// The default connect limit.
pub const DEFAULT_CONNECT: Duration = Duration::from_secs(15);

/// The allowed address families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Family {
    /// Both, IPv6 first.
    #[default]
    Any,
    /// IPv4 only (`-4`).
    V4,
    /// IPv6 only (`-6`).
    V6,
}

impl Family {
    /// The family selected by `-4` and `-6`.
    pub fn of_flags(ipv4: bool, ipv6: bool) -> Family {
        match (ipv4, ipv6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            _ => Family::Any,
        }
    }

    /// True if this address may be used.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }
}

/// Resolves a host name to addresses: the system's resolver or that of the DNS library.
pub trait Resolve: Send + Sync + fmt::Debug {
    /// The addresses of `host` in the order of preference. An unknown name is [`Kind::NoHost`]; a failed look-up is
    /// [`Kind::LookupFailed`].
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, Fault>>;
}

/// The system's own resolver, getaddrinfo(3).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, Fault>> {
        Box::pin(async move {
            let name = host.to_owned();
            let found = tokio::task::spawn_blocking(move || system_addresses(&name)).await;
            let found = found.unwrap_or_else(|_| Err(Fault::new(Kind::LookupFailed, format!("{host}: interrupted"))));
            found.map(|found| found.iter().map(SocketAddr::ip).collect::<Vec<IpAddr>>())
        })
    }
}

/// The addresses of a host from the system's resolver, with port 0; `localhost` needs no look-up. Blocks.
///
/// # Errors
/// [`Kind::NoHost`] if the name does not exist or has no address, [`Kind::LookupFailed`] if the look-up may succeed later.
pub fn system_addresses(host: &str) -> Result<Vec<SocketAddr>, Fault> {
    if let Some(own) = literal::loopback(host) {
        return Ok(own.map(|ip| SocketAddr::new(ip, 0)).into());
    }
    sys::addresses(host).map_err(|error| {
        let kind = if error.for_good { Kind::NoHost } else { Kind::LookupFailed };
        Fault::new(kind, format!("{host}: {}", error.reason))
    })
}

/// The settings for outgoing connections; cheap to clone.
#[derive(Debug, Clone)]
pub struct Dialer {
    /// The allowed address families.
    pub family: Family,
    /// The local address to connect from, and the local port if it is not 0.
    pub bind: Option<SocketAddr>,
    /// The limit for look-up, connection and proxy handshake together.
    pub connect_timeout: Duration,
    /// The proxy to connect through.
    pub proxy: Option<Proxy>,
    /// The resolver.
    pub resolver: Arc<dyn Resolve>,
}

impl Default for Dialer {
    fn default() -> Dialer {
        Dialer {
            family: Family::Any,
            bind: None,
            connect_timeout: DEFAULT_CONNECT,
            proxy: None,
            resolver: Arc::new(SystemResolver),
        }
    }
}

impl Dialer {
    /// Connects to `host` (a name or an address literal, IPv6 with or without brackets) and `port`, through the proxy
    /// if there is one.
    ///
    /// # Errors
    /// [`Kind::TimedOut`] after the connect timeout; else the fault of the look-up, of the last attempt or of the proxy.
    pub async fn connect(&self, host: &str, port: u16) -> Result<Stream, Fault> {
        let limits = Limits::default().with_idle(self.connect_timeout);
        limits.run(&format!("connecting to {host} port {port}"), self.connect_unbounded(host, port)).await
    }

    /// Connects to one address, without look-up or proxy (FTP data connections).
    ///
    /// # Errors
    /// [`Kind::TimedOut`] after the connect timeout; else the attempt's error, by [`Fault::network`].
    pub async fn connect_addr(&self, address: SocketAddr) -> Result<Stream, Fault> {
        let limits = Limits::default().with_idle(self.connect_timeout);
        let what = format!("connecting to {address}");
        let stream = limits.io(&what, attempt(address, self.bind)).await?;
        Ok(Stream::Plain(stream))
    }

    /// True for an address that `-4`, `-6` and the local address permit.
    pub fn allows(&self, address: SocketAddr) -> bool {
        self.family.allows(address.ip()) && self.bind.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4())
    }

    /// The fault of a peer without any permitted address: permanent.
    pub fn excluded(&self) -> Fault {
        let wanted = match (self.family, self.bind) {
            (Family::V4, _) => "IPv4",
            (Family::Any, Some(bind)) if bind.is_ipv4() => "IPv4",
            _ => "IPv6",
        };
        Fault::new(Kind::Usage, format!("no {wanted} address")).with_hint("-4, -6 and --bind choose the family")
    }

    /// The permitted addresses of `host`, with port 0, best first.
    ///
    /// # Errors
    /// [`Kind::Usage`] for an empty name, and if no address is permitted; else the resolver's fault.
    pub async fn lookup(&self, host: &str) -> Result<Vec<SocketAddr>, Fault> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = match literal::address(host)? {
            Some(literal) => vec![literal],
            None if host.is_empty() => return Err(Fault::new(Kind::Usage, "empty host name")),
            None => {
                let found = self.resolver.resolve(host).await?;
                found.into_iter().map(|ip| SocketAddr::new(ip.to_canonical(), 0)).collect()
            }
        };
        let mut unique: Vec<SocketAddr> = Vec::with_capacity(found.len());
        for address in found {
            if self.allows(address) && !unique.contains(&address) {
                unique.push(address);
            }
        }
        match unique.is_empty() {
            true => Err(self.excluded().context(host)),
            false => Ok(by_preference(unique, self.bind)),
        }
    }

    async fn connect_unbounded(&self, host: &str, port: u16) -> Result<Stream, Fault> {
        let Some(proxy) = &self.proxy else { return self.connect_name(host, port).await.map(Stream::Plain) };
        let mut stream = self.connect_name(&proxy.host, proxy.port).await.map_err(|fault| fault.context("proxy"))?;
        if proxy.wants_address() {
            // The proxy connects from its own address: `bind` does not restrict this look-up.
            let addresses = Dialer { bind: None, ..self.clone() }.lookup(host).await?;
            let first = addresses.first().map(|address| address.ip().to_string()).unwrap_or_default();
            proxy.handshake(&mut stream, &first, port).await?;
        } else {
            proxy.handshake(&mut stream, host, port).await?;
        }
        Ok(Stream::Plain(stream))
    }

    async fn connect_name(&self, host: &str, port: u16) -> Result<TcpStream, Fault> {
        let addresses: Vec<_> = self.lookup(host).await?.into_iter().map(|found| with_port(found, port)).collect();
        let shown = |address| {
            let ip = host_of(address);
            let shown = if host == ip || host.contains('%') { host.to_owned() } else { format!("{host} ({ip})") };
            format!("{shown} port {port}")
        };
        let mut race = AddressRace::default();
        self.race(&addresses, &shown, &mut race).await;
        let last = race.failed.pop().map(|(_, fault)| fault);
        let none = || Fault::new(Kind::Unreachable, format!("{host}: no address"));
        race.won.map(|(_, stream)| stream).ok_or_else(|| last.unwrap_or_else(none))
    }

    /// Connects to one of the addresses of one peer, without look-up or proxy, all within the connect timeout.
    pub async fn connect_any(&self, addresses: Vec<SocketAddr>) -> AddressRace {
        let limits = Limits::default().with_idle(self.connect_timeout);
        let shown = |address| format!("connecting to {address}");
        let addresses = by_preference(addresses, self.bind);
        let mut race = AddressRace::default();
        let raced = tokio::time::timeout(self.connect_timeout, self.race(&addresses, &shown, &mut race)).await;
        if raced.is_err() {
            let silent = std::mem::take(&mut race.silent);
            race.failed.extend(silent.into_iter().map(|(address, _)| (address, limits.silent(&shown(address)))));
        }
        race
    }

    /// As [`Dialer::connect_any`], for callers without a runtime.
    ///
    /// # Errors
    /// [`Kind::Io`] if no runtime can be started.
    pub fn connect_any_blocking(&self, addresses: Vec<SocketAddr>) -> Result<AddressRace, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(runtime.map_err(|error| Fault::local("starting the runtime", &error))?.block_on(self.connect_any(addresses)))
    }

    /// Happy eyeballs: the next address starts once the previous one failed or was silent for [`ATTEMPT_DELAY`]; the first
    /// connection wins and the others are dropped.
    async fn race(
        &self,
        addresses: &[SocketAddr],
        shown: &(dyn Fn(SocketAddr) -> String + Sync),
        race: &mut AddressRace,
    ) {
        let mut waiting = addresses.iter().take(MAX_ADDRESSES).copied();
        let mut running = JoinSet::new();
        loop {
            let started = waiting.next();
            if let Some(address) = started {
                let bind = self.bind;
                race.silent.push((address, Instant::now()));
                running.spawn(async move { (address, attempt(address, bind).await) });
            }
            let ended = match started.is_some() && waiting.len() > 0 {
                true => match tokio::time::timeout(ATTEMPT_DELAY, running.join_next()).await {
                    Ok(ended) => ended,
                    Err(_) => continue,
                },
                false => running.join_next().await,
            };
            match ended {
                Some(Ok((address, Ok(stream)))) => {
                    let lost = |(silent, since): &(_, Instant)| *silent != address && since.elapsed() >= ATTEMPT_DELAY;
                    let late = |silent| Fault::new(Kind::TimedOut, format!("{}: {address} was faster", shown(silent)));
                    let lost = race.silent.extract_if(.., |it| lost(it)).map(|(silent, _)| (silent, late(silent)));
                    race.failed.extend(lost);
                    race.won = Some((address, stream));
                    return;
                }
                Some(Ok((address, Err(error)))) => {
                    race.silent.retain(|(silent, _)| *silent != address);
                    race.failed.push((address, Fault::network(shown(address), &error)));
                }
                Some(Err(_)) => {}
                None => return,
            }
        }
    }
}

/// The results of the race between the addresses of one peer.
#[derive(Debug, Default)]
pub struct AddressRace {
    /// The addresses that failed, or were silent while another answered, in this order.
    pub failed: Vec<(SocketAddr, Fault)>,
    /// The address that answered first.
    pub won: Option<(SocketAddr, TcpStream)>,
    /// The addresses with a pending attempt.
    silent: Vec<(SocketAddr, Instant)>,
}

/// One TCP connection with TCP_NODELAY: small writes must not wait for delayed acknowledgements.
async fn attempt(address: SocketAddr, bind: Option<SocketAddr>) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bind) = bind {
        // The last connection from a port of the user's choice may be in TIME_WAIT.
        socket.set_reuseaddr(bind.port() != 0)?;
        socket.bind(bind)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[derive(Debug)]
    struct Fixed(Vec<IpAddr>);

    impl Resolve for Fixed {
        fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, Fault>> {
            Box::pin(async { Ok(self.0.clone()) })
        }
    }

    fn dialer(addresses: &[&str]) -> Dialer {
        let fixed = Fixed(addresses.iter().map(|text| text.parse().unwrap()).collect());
        Dialer { resolver: Arc::new(fixed), ..Dialer::default() }
    }

    #[tokio::test]
    async fn a_dead_first_address_does_not_hurt() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = dialer(&["127.0.0.9", "127.0.0.1"]).connect("two.test", port).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip().to_string(), "127.0.0.1");
    }

    /// A listener with a full queue, which answers no client.
    fn black_hole(ip: &str) -> (std::net::TcpListener, Vec<std::net::TcpStream>) {
        let listener = std::net::TcpListener::bind((ip, 0)).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let wait = Duration::from_millis(200);
        let fill = std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&address, wait).ok()).collect();
        (listener, fill)
    }

    #[tokio::test]
    async fn a_silent_address_costs_its_head_start() {
        let (hole, _fill, listener) = loop {
            let (hole, fill) = black_hole("127.0.0.9");
            // Another test may have the port.
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", hole.local_addr().unwrap().port())).await {
                break (hole, fill, listener);
            }
        };
        let [silent, answers] = [hole.local_addr().unwrap(), listener.local_addr().unwrap()];
        let began = Instant::now();
        let race = Dialer::default().connect_any(vec![silent, answers]).await;
        assert_eq!(race.won.map(|(address, _)| address), Some(answers));
        assert_eq!(
            race.failed.iter().map(|(address, fault)| (*address, fault.kind)).collect::<Vec<_>>(),
            [(silent, Kind::TimedOut)]
        );
        assert!(began.elapsed() >= ATTEMPT_DELAY);
        let hasty = Dialer { connect_timeout: Duration::from_millis(20), ..Dialer::default() };
        let race = hasty.connect_any(vec![silent]).await;
        assert!(race.won.is_none() && race.failed[0].1.detail.contains("no answer within 0.02 s"));
    }

    #[tokio::test]
    async fn refused_names_host_address_and_port() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let fault = dialer(&["127.0.0.1"]).connect("gone.test", port).await.unwrap_err();
        assert_eq!(fault.kind, Kind::ConnectRefused);
        assert_eq!(fault.detail, format!("gone.test (127.0.0.1) port {port}: Connection refused"));
        let both = dialer(&["127.0.0.1", "127.0.0.2"]).connect("gone.test", port).await.unwrap_err();
        assert_eq!(both.kind, Kind::ConnectRefused);
    }

    /// The result must not depend on the system's resolver, which is not asked.
    #[tokio::test]
    async fn localhost_is_this_host() {
        for name in ["localhost", "LOCALHOST.", "a.b.localhost"] {
            let found = Dialer::default().lookup(name).await.unwrap();
            assert_eq!(found, ["[::1]:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()], "{name}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = Dialer::default().connect("x.localhost", port).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip().to_string(), "127.0.0.1");
    }

    #[tokio::test]
    async fn families_are_kept() {
        let six = Dialer { family: Family::V6, ..dialer(&["127.0.0.1"]) };
        assert_eq!(six.connect("four.test", 9).await.unwrap_err().kind, Kind::Usage);
        let mixed = dialer(&["::1", "::2", "127.0.0.1"]).lookup("x").await.unwrap();
        let shown: Vec<String> = mixed.iter().map(|address| address.ip().to_string()).collect();
        assert_eq!(shown, ["::1", "127.0.0.1", "::2"]);
        let mapped = dialer(&["::ffff:192.0.2.1", "192.0.2.1"]).lookup("x").await.unwrap();
        assert_eq!(mapped, ["192.0.2.1:0".parse().unwrap()], "one address, an IPv4 one");
        let far = Dialer { bind: Some("[::1]:0".parse().unwrap()), ..dialer(&["127.0.0.1", "::ffff:127.0.0.1"]) };
        assert_eq!(far.lookup("four.test").await.unwrap_err().kind, Kind::Usage);
        for (literal, found) in [("[::1]", "[::1]:0"), ("::1%lo", "[::1%1]:0"), ("[fe80::1%lo]", "[fe80::1%1]:0")] {
            assert_eq!(dialer(&[]).lookup(literal).await.unwrap(), [found.parse().unwrap()], "{literal}");
        }
        assert_eq!(dialer(&[]).lookup("fe80::1%nosuch0").await.unwrap_err().kind, Kind::Unreachable);
    }
}
