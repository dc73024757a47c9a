//! One server and the way to it, and the sockets that lead there.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::dns::transport::Transport;
use crate::fault::{Fault, Kind};
use crate::net::dial::Dialer;
use crate::net::proxy::Proxy;
use crate::net::stream::Stream;
use crate::net::tls::ClientTls;
use crate::scope::host_of;

/// One server and the way to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where it is; unspecified if a proxy is to look `host` up.
    pub address: SocketAddr,
    /// What carries the messages.
    pub transport: Transport,
    /// The name its certificate must hold and HTTP requests are for: as the user wrote it.
    pub host: String,
    /// Where HTTP requests go.
    pub http: HttpTarget,
    /// Whom to believe; needed for encrypted transports.
    pub tls: Option<ClientTls>,
    /// The address to connect from, and the port if it is not 0.
    pub bind: Option<SocketAddr>,
    /// What TCP connections to it go through.
    pub proxy: Option<Proxy>,
}

/// The resource of a DoH server (RFC 8484, section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// Path of the URI.
    pub path: String,
    /// The question goes into the URI (GET), where caches see it, instead of the body (POST).
    pub get: bool,
}

impl Default for HttpTarget {
    fn default() -> HttpTarget {
        HttpTarget { path: "/dns-query".to_owned(), get: false }
    }
}

impl Endpoint {
    /// Whom to believe on an encrypted way to this server.
    pub(crate) fn trust(&self) -> Result<&ClientTls, Fault> {
        self.tls.as_ref().ok_or_else(|| Fault::new(Kind::Internal, "encryption without certificates to believe in"))
    }

    /// The server and the port, as messages name them.
    pub(crate) fn place(&self) -> String {
        match self.address.ip().is_unspecified() {
            true => format!("{}:{}", self.host, self.address.port()),
            false => self.address.to_string(),
        }
    }

    /// A TCP connection to it, within the limit.
    ///
    /// # Errors
    /// What kept it, or the proxy, from being reached.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<Stream, Fault> {
        let (bind, proxy) = (self.bind, self.proxy.clone());
        let dialer = Dialer { bind, proxy, connect_timeout: limit, ..Dialer::default() };
        match (&self.proxy, self.address.ip()) {
            (None, _) => dialer.connect_addr(self.address).await,
            (Some(_), ip) if ip.is_unspecified() => dialer.connect(&self.host, self.address.port()).await,
            (Some(_), ip) => dialer.connect(&ip.to_string(), self.address.port()).await,
        }
    }

    /// The same with blocking calls.
    ///
    /// # Errors
    /// As [`Endpoint::connect`].
    pub(crate) fn connect_blocking(&self, limit: Duration) -> Result<TcpStream, Fault> {
        let failed = |error: io::Error| network_fault(self.address, Transport::Tcp, &error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let Stream::Plain(stream) = runtime.block_on(self.connect(limit))? else {
            return Err(Fault::new(Kind::Internal, "no plain connection"));
        };
        let stream = stream.into_std().map_err(failed)?;
        stream.set_nonblocking(false).map_err(failed)?;
        Ok(stream)
    }
}

impl From<SocketAddr> for Endpoint {
    /// A server that is asked over UDP, and over TCP when an answer was truncated.
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint {
            address,
            transport: Transport::Udp,
            host: host_of(address),
            http: HttpTarget::default(),
            tls: None,
            bind: None,
            proxy: None,
        }
    }
}

/// A failed system call of a socket to this server.
pub(crate) fn network_fault(address: SocketAddr, transport: Transport, error: &io::Error) -> Fault {
    Fault::network(format!("{address} over {}", transport.name()), error)
}

/// A socket to this peer with its local address, not connected yet. A port of the user's choice is used again and again.
pub(super) fn socket(bind: Option<SocketAddr>, peer: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(peer), kind, None)?;
    if let Some(bind) = bind {
        socket.set_reuse_address(bind.port() != 0)?;
        socket.bind(&bind.into())?;
    }
    Ok(socket)
}
