//! Data connections: a listener for the client, or a connection to the client.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

use super::{DATA_CONNECT_LIMIT, FtpServerOptions};
use crate::ftp::session::TransferFailure;
use crate::net::stream::Stream;
use crate::net::tls::ServerTls;
use crate::scope::with_port;

/// The listen backlog of a data listener: the client's connection, and a few connections of others that are refused.
const BACKLOG: i32 = 8;

/// The ports that the system gives to connections without a port of their own (ip_local_port_range); its default if it does not say.
pub(super) fn system_ports() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = text.split_ascii_whitespace().map_while(|port| port.parse().ok());
    match (ports.next(), ports.next()) {
        (Some(first), Some(last)) if 0 < first && first <= last => first..=last,
        _ => 32768..=60999,
    }
}

/// Opens a listener on `address`, at a port of the range, chosen at random, since somebody else could occupy a predictable
/// port. The system's own choice (port 0) would leave out each port whose last connection is in TIME_WAIT: after some ten
/// thousand downloads within a minute there would be none left, and the search for one takes longer and longer.
pub(super) fn listen(address: SocketAddr, ports: &RangeInclusive<u16>) -> io::Result<TcpListener> {
    let count = u32::from(*ports.end()).saturating_sub(u32::from(*ports.start())) + 1;
    let start = getrandom::u32().map_err(io::Error::other)?;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for step in 0..count {
        let offset = start.wrapping_add(step) % count;
        let port = u16::try_from(u32::from(*ports.start()) + offset).map_err(io::Error::other)?;
        match bind(with_port(address, port)) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// A port may be bound again while its last connections are in TIME_WAIT.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The endpoint of a data connection.
pub(super) enum DataEndpoint {
    /// The client connects to this listener.
    Passive(TcpListener),
    /// The server connects to the first address, from the second.
    Active(SocketAddr, SocketAddr),
}

/// Establishes the data connection, within the time limit.
pub(super) async fn connect(
    endpoint: DataEndpoint,
    peer: IpAddr,
    tls: Option<&ServerTls>,
    options: &FtpServerOptions,
) -> Result<Stream, TransferFailure> {
    let made = async {
        let tcp = match endpoint {
            DataEndpoint::Passive(listener) => accept(&listener, peer).await,
            DataEndpoint::Active(target, local) => reach(target, local).await,
        };
        let tcp = tcp.map_err(|_| TransferFailure::NoConnection)?;
        let stream = Stream::Plain(tcp);
        let Some(tls) = tls else { return Ok(stream) };
        let stream = tls.accept(stream).await.map_err(|_| TransferFailure::Tls)?;
        if options.tls_reuse_required && !stream.tls_info().is_some_and(|info| info.resumed) {
            return Err(TransferFailure::NotResumed);
        }
        Ok(stream)
    };
    tokio::time::timeout(DATA_CONNECT_LIMIT, made).await.unwrap_or(Err(TransferFailure::NoConnection))
}

/// Accepts the client's connection and closes any number of others: only the client's address may use the data listener.
async fn accept(listener: &TcpListener, peer: IpAddr) -> io::Result<TcpStream> {
    loop {
        let (stream, address) = listener.accept().await?;
        if address.ip().to_canonical() == peer {
            return Ok(stream);
        }
    }
}

async fn reach(target: SocketAddr, local: SocketAddr) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if local.is_ipv4() == target.is_ipv4() {
        // The port is chosen for this target: one in TIME_WAIT with other targets is good. A failure only loses that.
        let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
        socket.bind(with_port(local, 0))?;
    }
    socket.connect(target).await
}

/// Stops a transfer from outside.
#[derive(Debug, Clone, Default)]
pub(super) struct Stop(Arc<Stopping>);

#[derive(Debug, Default)]
struct Stopping {
    stopped: AtomicBool,
    notify: Notify,
}

impl Stop {
    /// Stops the transfer in any state.
    pub(super) fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.notify.notify_one();
    }

    /// True after the stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    /// Waits for the stop.
    pub(super) async fn stopped(&self) {
        while !self.is_stopped() {
            self.0.notify.notified().await;
        }
    }
}
