//! Asks servers: sockets for [`super::exchange`].
//!
//! ```text
//!  server      how people name servers; resolv.conf
//!  hosts       the hosts file
//!  connection  one TCP, TLS, HTTPS or QUIC connection that answers many questions at once (async)
//!  courier     a thread that carries messages over such connections, for callers with poll(2) and no runtime
//!  drive       the loop that moves exchanges on: UDP sockets, and a courier once a connection is needed
//! ```

mod drive;
mod stream;

pub mod connection;
pub mod courier;
pub mod hosts;
pub mod server;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::time::Duration;

pub use super::exchange::{Answer, Policy, Transport};
use super::query::Query;
use super::tsig::Key;
use crate::fault::{Fault, Kind};
use crate::net::tls::ClientTls;
use crate::net::trace::Trace;
use courier::Courier;

/// Questions that are under way at once when several are asked.
pub const MAX_AT_ONCE: usize = 32;

/// Told about every outcome; names a question to ask instead, or ends it all.
pub type Each<'a> = dyn FnMut(usize, Result<Answer, Fault>) -> ControlFlow<(), Option<Query>> + 'a;

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

/// Asks questions with blocking calls: over UDP by itself, over connections by a courier. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    /// Whom to ask, in this order.
    pub servers: Vec<Endpoint>,
    /// How patient and how stubborn.
    pub policy: Policy,
    /// The address to send from.
    pub bind: Option<IpAddr>,
    /// Letters of the name get random case, which the answer has to repeat.
    pub mix_case: bool,
    /// Signs queries and verifies answers.
    pub key: Option<Key>,
    /// Says what goes to and fro.
    pub trace: Trace,
    /// Carries what does not go over UDP.
    pub courier: Courier,
}

impl Client {
    /// A client for these servers over UDP with the usual patience.
    pub fn new(servers: Vec<SocketAddr>) -> Client {
        Client {
            servers: servers.into_iter().map(Endpoint::from).collect(),
            policy: Policy::default(),
            bind: None,
            mix_case: false,
            key: None,
            trace: Trace::default(),
            courier: Courier::default(),
        }
    }

    /// Asks and waits for the answer: over UDP with a change to TCP if it was truncated, from one server after the other.
    pub fn ask(&self, query: &Query) -> Result<Answer, Fault> {
        let mut outcome = Err(Fault::new(Kind::Internal, "no outcome"));
        self.ask_all(std::slice::from_ref(query), &mut |_, result| {
            outcome = result;
            ControlFlow::Continue(None)
        })?;
        outcome
    }

    /// Asks several questions, up to [`MAX_AT_ONCE`] at a time; on a connection they are all under way together. `each`
    /// gets the place of a question and its outcome, in the order of arrival, and may name another question to ask
    /// instead (the next name of a search list) or break off. The result is about this host (no descriptors, no randomness).
    pub fn ask_all(&self, queries: &[Query], each: &mut Each<'_>) -> Result<(), Fault> {
        drive::ask_all(self, queries, each)
    }
}

/// A failed system call of a socket to this server.
pub(crate) fn network_fault(address: SocketAddr, transport: Transport, error: &io::Error) -> Fault {
    Fault::network(format!("{address} over {}", transport.name()), error)
}

/// The local address for a socket to this peer, any port.
fn local(bind: Option<IpAddr>, peer: SocketAddr) -> SocketAddr {
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
