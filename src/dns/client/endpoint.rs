//! One server with the settings to reach it, and the sockets to it.

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

/// One server with the settings to reach it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its address; unspecified if the proxy is to look `host` up.
    pub address: SocketAddr,
    /// The transport of the messages.
    pub transport: Transport,
    /// The name that its certificate must contain and that HTTP requests are addressed to, as the user wrote it.
    pub host: String,
    /// The target of HTTP requests.
    pub http: HttpTarget,
    /// TLS settings with the trusted certificates; required for encrypted transports.
    pub tls: Option<ClientTls>,
    /// The local address, and the local port if it is not 0.
    pub bind: Option<SocketAddr>,
    /// The proxy for TCP connections to it.
    pub proxy: Option<Proxy>,
}

/// The resource of a DoH server (RFC 8484, section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// Path of the URI.
    pub path: String,
    /// Sends the query in the URI (GET), where caches see it, instead of in the body (POST).
    pub get: bool,
}

impl Default for HttpTarget {
    fn default() -> HttpTarget {
        HttpTarget { path: "/dns-query".to_owned(), get: false }
    }
}

impl Endpoint {
    /// The TLS settings for an encrypted connection to this server.
    pub(crate) fn trust(&self) -> Result<&ClientTls, Fault> {
        self.tls.as_ref().ok_or_else(|| Fault::new(Kind::Internal, "encryption without certificates to believe in"))
    }

    /// The server and the port, as used in messages.
    pub(crate) fn place(&self) -> String {
        match self.address.ip().is_unspecified() {
            true => format!("{}:{}", self.host, self.address.port()),
            false => self.address.to_string(),
        }
    }

    /// Opens a TCP connection to the server within `limit`.
    ///
    /// # Errors
    /// The server or the proxy cannot be reached: the fault of the connection attempt.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<Stream, Fault> {
        let (bind, proxy) = (self.bind, self.proxy.clone());
        let dialer = Dialer { bind, proxy, connect_timeout: limit, ..Dialer::default() };
        match (&self.proxy, self.address.ip()) {
            (None, _) => dialer.connect_addr(self.address).await,
            (Some(_), ip) if ip.is_unspecified() => dialer.connect(&self.host, self.address.port()).await,
            (Some(_), ip) => dialer.connect(&ip.to_string(), self.address.port()).await,
        }
    }

    /// As [`Endpoint::connect`], with blocking calls.
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
    /// A server that is asked over UDP, and over TCP after a truncated answer.
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

/// The fault for a failed system call on a socket to this server.
pub(crate) fn network_fault(address: SocketAddr, transport: Transport, error: &io::Error) -> Fault {
    Fault::network(format!("{address} over {}", transport.name()), error)
}

/// An unconnected socket for this peer, bound to the local address. A port that the user chose is reused (SO_REUSEADDR).
pub(super) fn socket(bind: Option<SocketAddr>, peer: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(peer), kind, None)?;
    if let Some(bind) = bind {
        socket.set_reuse_address(bind.port() != 0)?;
        socket.bind(&bind.into())?;
    }
    Ok(socket)
}
