//! Data connections: a listener for the client to come to, or a connection to the client.

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

/// Connections that may wait at a data listener: the client's own, and a stranger or two that are turned away.
const BACKLOG: i32 = 8;

/// Opens a listener on `address`, at a port of the range (chosen at random: a port that can be foretold can be taken by
/// somebody else).
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

/// `reuse`: ports of a short range come round while their last connections are in TIME_WAIT.
fn bind(address: SocketAddr, reuse: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if reuse {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// How a data connection comes about.
pub(super) enum DataEndpoint {
    /// The client comes here.
    Passive(TcpListener),
    /// We go there, from this address.
    Active(SocketAddr, SocketAddr),
}

/// Makes the data connection, within its time.
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

/// Takes the client's connection and turns others away, however many: a data connection is no door for whoever finds it first.
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
    /// A second handle of the data socket, while a thread is blocked in it.
    socket: std::sync::Mutex<Option<std::net::TcpStream>>,
}

impl Stop {
    /// Stops the transfer, wherever it is.
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

    /// True once it was stopped.
    pub(super) fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    /// Returns when it is stopped.
    pub(super) async fn stopped(&self) {
        while !self.is_stopped() {
            self.0.notify.notified().await;
        }
    }

    /// Remembers the socket that a thread is about to block in.
    pub(super) fn holds(&self, socket: &std::net::TcpStream) -> io::Result<()> {
        let copy = socket.try_clone()?;
        if let Ok(mut held) = self.0.socket.lock() {
            *held = Some(copy);
        }
        // Stopped in between: nobody would wake the thread any more.
        if self.is_stopped() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}
