//! Outgoing connections: name to addresses, happy eyeballs (RFC 8305), proxies, TCP_NODELAY.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::fault::{Fault, Kind};
use crate::net::BoxFuture;
use crate::net::deadline::Limits;
use crate::net::literal;
use crate::net::proxy::Proxy;
use crate::net::stream::Stream;
use crate::net::sys;
use crate::scope;

/// How long one address may stay silent before the next one is tried beside it (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// No more addresses of one name than this are tried.
const MAX_ADDRESSES: usize = 16;
/// The connect limit where nothing else was said.
pub const DEFAULT_CONNECT: Duration = Duration::from_secs(15);

/// Which address families may be used.
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
    /// True when this address may be used.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }
}

/// Turns a host name into addresses. The system's resolver is one, the DNS library's another.
pub trait Resolve: Send + Sync + fmt::Debug {
    /// The addresses of `host` in the order of preference. An unknown name is [`Kind::NoHost`], trouble on the way is
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

/// The addresses that the system knows of a host, with port 0; those of `localhost` nobody is asked for. Blocks.
///
/// # Errors
/// [`Kind::NoHost`] if the name does not exist or has no address, [`Kind::LookupFailed`] if it may have one later.
pub fn system_addresses(host: &str) -> Result<Vec<SocketAddr>, Fault> {
    if let Some(own) = literal::loopback(host) {
        return Ok(own.map(|ip| SocketAddr::new(ip, 0)).into());
    }
    sys::addresses(host).map_err(|error| {
        let kind = if error.for_good { Kind::NoHost } else { Kind::LookupFailed };
        Fault::new(kind, format!("{host}: {}", error.reason))
    })
}

/// How connections are opened; cheap to clone.
#[derive(Debug, Clone)]
pub struct Dialer {
    /// Which address families may be used.
    pub family: Family,
    /// The local address to come from, and the port if it is not 0.
    pub bind: Option<SocketAddr>,
    /// The limit for look-up, connection and proxy handshake together.
    pub connect_timeout: Duration,
    /// The proxy to go through.
    pub proxy: Option<Proxy>,
    /// Who looks names up.
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
    /// [`Kind::TimedOut`] after the connect timeout; else what [`Fault::network`] makes of the attempt's error.
    pub async fn connect_addr(&self, address: SocketAddr) -> Result<Stream, Fault> {
        let limits = Limits::default().with_idle(self.connect_timeout);
        let what = format!("connecting to {address}");
        let stream = limits.io(&what, attempt(address, self.bind)).await?;
        Ok(Stream::Plain(stream))
    }

    /// The addresses of `host` that the family allows, with port 0.
    ///
    /// # Errors
    /// [`Kind::Usage`] without a name, [`Kind::Unreachable`] without an address of the family; else the resolver's fault.
    pub async fn lookup(&self, host: &str) -> Result<Vec<SocketAddr>, Fault> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut found = match literal::address(host)? {
            Some(literal) => vec![literal],
            None if host.is_empty() => return Err(Fault::new(Kind::Usage, "empty host name")),
            None => {
                let found = self.resolver.resolve(host).await?;
                found.into_iter().map(|ip| SocketAddr::new(ip.to_canonical(), 0)).collect()
            }
        };
        found.retain(|address| self.family.allows(address.ip()));
        found.retain(|address| self.bind.is_none_or(|bind| bind.is_ipv4() == address.is_ipv4()));
        let mut unique: Vec<SocketAddr> = Vec::with_capacity(found.len());
        for address in found {
            if !unique.contains(&address) {
                unique.push(address);
            }
        }
        if unique.is_empty() {
            return Err(Fault::new(Kind::Unreachable, format!("{host}: no address of the family asked for")));
        }
        Ok(interleave(unique))
    }

    async fn connect_unbounded(&self, host: &str, port: u16) -> Result<Stream, Fault> {
        let Some(proxy) = &self.proxy else {
            let addresses = self.lookup(host).await?;
            return Ok(Stream::Plain(self.race(host, port, &addresses).await?));
        };
        let near = self.lookup(&proxy.host).await.map_err(|fault| fault.context("proxy"))?;
        let mut stream = self.race(&proxy.host, proxy.port, &near).await.map_err(|fault| fault.context("proxy"))?;
        if proxy.wants_address() {
            let addresses = self.lookup(host).await?;
            let first = addresses.first().map(|address| address.ip().to_string()).unwrap_or_default();
            proxy.handshake(&mut stream, &first, port).await?;
        } else {
            proxy.handshake(&mut stream, host, port).await?;
        }
        Ok(Stream::Plain(stream))
    }

    /// Happy eyeballs: the next address starts when the one before failed or stayed silent for [`ATTEMPT_DELAY`]; the
    /// first connection wins and the others are dropped.
    async fn race(&self, host: &str, port: u16, addresses: &[SocketAddr]) -> Result<TcpStream, Fault> {
        let mut waiting = addresses.iter().take(MAX_ADDRESSES).map(|address| scope::with_port(*address, port));
        let failed = |address: SocketAddr, error: &std::io::Error| {
            let ip = scope::host_of(address);
            let shown = if host == ip || host.contains('%') {
                format!("{host} port {port}")
            } else {
                format!("{host} ({ip}) port {port}")
            };
            Fault::network(shown, error)
        };
        // One address, the common case, needs no task of its own.
        if addresses.len() == 1
            && let Some(address) = waiting.next()
        {
            return attempt(address, self.bind).await.map_err(|error| failed(address, &error));
        }
        let mut running = JoinSet::new();
        let mut last = Fault::new(Kind::Unreachable, format!("{host}: no address"));
        loop {
            let more = match waiting.next() {
                Some(address) => {
                    let bind = self.bind;
                    running.spawn(async move { (address, attempt(address, bind).await) });
                    true
                }
                None => false,
            };
            let next = if more && waiting.len() > 0 {
                match tokio::time::timeout(ATTEMPT_DELAY, running.join_next()).await {
                    Ok(next) => next,
                    Err(_) => continue,
                }
            } else {
                running.join_next().await
            };
            match next {
                Some(Ok((_, Ok(stream)))) => return Ok(stream),
                Some(Ok((address, Err(error)))) => last = failed(address, &error),
                Some(Err(_)) => {}
                None => return Err(last),
            }
        }
    }
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

/// Alternates the families, keeping the order within each and the family of the first (RFC 8305, section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (a, b): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses.into_iter().partition(|ip| ip.is_ipv4() == first_is_v4);
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    let mut mixed = Vec::new();
    loop {
        let pair = [a.next(), b.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
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

    /// The system is not asked, so that it does not matter what it would say.
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
        assert_eq!(six.connect("four.test", 9).await.unwrap_err().kind, Kind::Unreachable);
        let mixed = dialer(&["::1", "::2", "127.0.0.1"]).lookup("x").await.unwrap();
        let shown: Vec<String> = mixed.iter().map(|address| address.ip().to_string()).collect();
        assert_eq!(shown, ["::1", "127.0.0.1", "::2"]);
        let mapped = dialer(&["::ffff:192.0.2.1", "192.0.2.1"]).lookup("x").await.unwrap();
        assert_eq!(mapped, ["192.0.2.1:0".parse().unwrap()], "one address, an IPv4 one");
        for (literal, found) in [("[::1]", "[::1]:0"), ("::1%lo", "[::1%1]:0"), ("[fe80::1%lo]", "[fe80::1%1]:0")] {
            assert_eq!(dialer(&[]).lookup(literal).await.unwrap(), [found.parse().unwrap()], "{literal}");
        }
        assert_eq!(dialer(&[]).lookup("fe80::1%nosuch0").await.unwrap_err().kind, Kind::Unreachable);
    }
}
