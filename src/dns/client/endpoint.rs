//! One server and the way to it, and the sockets that lead there.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::dns::transport::Transport;
use crate::fault::{Fault, Kind};
use crate::net::tls::ClientTls;
use crate::scope::host_of;

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
    /// The address to connect from, and the port if it is not 0.
    pub bind: Option<SocketAddr>,
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
            host: host_of(address),
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

/// A socket to this peer with its local address, not connected yet. A port of the user's choice is used again and again.
pub(super) fn socket(bind: Option<SocketAddr>, peer: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(peer), kind, None)?;
    if let Some(bind) = bind {
        socket.set_reuse_address(bind.port() != 0)?;
        socket.bind(&bind.into())?;
    }
    Ok(socket)
}

/// Connects from a local address with blocking calls.
pub(crate) fn connect(bind: Option<SocketAddr>, address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let socket = socket(bind, address, Type::STREAM)?;
    socket.connect_timeout(&address.into(), timeout)?;
    Ok(socket.into())
}
