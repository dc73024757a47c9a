//! One server and the way to it, and the sockets that lead there.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::dns::transport::Transport;
use crate::fault::{Fault, Kind};
use crate::net::tls::ClientTls;

/// One server and the way to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where it is.
    pub address: SocketAddr,
    /// What carries the messages.
    pub transport: Transport,
    /// The name its certificate must hold and HTTP requests are for: as the user wrote it.
    pub host: String,
    /// Where HTTP requests go.
    pub http: HttpTarget,
    /// Whom to believe; needed for encrypted transports.
    pub tls: Option<ClientTls>,
    /// The address to connect from.
    pub bind: Option<IpAddr>,
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
}

impl From<SocketAddr> for Endpoint {
    /// A server that is asked over UDP, and over TCP when an answer was truncated.
    fn from(address: SocketAddr) -> Endpoint {
        Endpoint {
            address,
            transport: Transport::Udp,
            host: address.ip().to_string(),
            http: HttpTarget::default(),
            tls: None,
            bind: None,
        }
    }
}

/// A failed system call of a socket to this server.
pub(crate) fn network_fault(address: SocketAddr, transport: Transport, error: &io::Error) -> Fault {
    Fault::network(format!("{address} over {}", transport.name()), error)
}

/// The local address for a socket to this peer, any port.
pub(crate) fn local(bind: Option<IpAddr>, peer: SocketAddr) -> SocketAddr {
    let any = || if peer.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    SocketAddr::new(bind.unwrap_or_else(any), 0)
}

/// Connects from a local address with blocking calls.
pub(crate) fn connect(bind: Option<IpAddr>, address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    if bind.is_none() {
        return TcpStream::connect_timeout(&address, timeout);
    }
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.bind(&local(bind, address).into())?;
    socket.connect_timeout(&address.into(), timeout)?;
    Ok(socket.into())
}
