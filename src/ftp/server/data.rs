//! Data connections: a listener for the client, or a connection to the client.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Opens a listener on `address`, at a port of the range (chosen at random, since somebody else could occupy a
/// predictable port).
pub(super) fn listen(address: SocketAddr, ports: Option<&RangeInclusive<u16>>) -> io::Result<TcpListener> {
    let Some(ports) = ports else { return bind(with_port(address, 0), false) };
    let count = u32::from(*ports.end()).saturating_sub(u32::from(*ports.start())) + 1;
    let start = getrandom::u32().map_err(io::Error::other)?;
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for step in 0..count {
        let offset = start.wrapping_add(step) % count;
        let port = u16::try_from(u32::from(*ports.start()) + offset).map_err(io::Error::other)?;
        match bind(with_port(address, port), true) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// `reuse`: allows ports of a short range to be bound again while their last connections are in TIME_WAIT.
fn bind(address: SocketAddr, reuse: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if reuse {
        socket.set_reuse_address(true)?;
    }
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
    /// A duplicate of the data socket, while a thread blocks on it.
    socket: std::sync::Mutex<Option<std::net::TcpStream>>,
}

impl Stop {
    /// Stops the transfer in any state.
    pub(super) fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.notify.notify_one();
        if let Ok(mut socket) = self.0.socket.lock()
            && let Some(socket) = socket.take()
        {
            // Wakes the thread; if the connection is gone already, so is the transfer.
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
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

    /// Stores the socket on which a thread is about to block.
    pub(super) fn holds(&self, socket: &std::net::TcpStream) -> io::Result<()> {
        let copy = socket.try_clone()?;
        if let Ok(mut held) = self.0.socket.lock() {
            *held = Some(copy);
        }
        // Stopped meanwhile: nothing would wake the thread any more.
        if self.is_stopped() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}
