//! The sockets behind the engine's socket numbers: queries of equal length are sent in groups, answers are received in
//! batches, and one poller serves all sockets. A separate thread runs the connections (TCP, TLS, HTTPS, QUIC).

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, epoll};
use rustix::time::Timespec;

use crate::dns::bulk::Micros;
use crate::dns::bulk::api::{OutcomeSink, QueryFailure, QuerySender, SocketId};
use crate::dns::bulk::engine::{Engine, MAX_GROUP};
use crate::dns::client::Endpoint;
use crate::dns::client::pool::{Completions, ConnectionPool, UnansweredQuery};
use crate::dns::transport::Transport;
use crate::fault::{Fault, Kind};
use crate::net::datagram::{DatagramReceiver, DatagramSender, Datagrams, RECEIVE_BATCH};

/// The maximum number of receive calls on one socket before the others get their turn.
const MAX_ROUNDS: usize = 64;
/// The maximum size of one send call, in bytes: the kernel takes at most a datagram's worth.
const MAX_GROUP_BYTES: usize = 60_000;
/// The maximum number of sockets per poll result.
const EVENTS: usize = 64;
/// The number of connections to each server, used in turn.
const CONNECTIONS: usize = 4;
/// The poller's key for the completions of the connections.
const COMPLETIONS: u64 = u64::MAX;

/// All sockets of one loop.
pub(super) struct SocketSet {
    poller: OwnedFd,
    all: Vec<OpenSocket>,
    sender: DatagramSender,
    receiver: DatagramReceiver,
    group: SendGroup,
    pool: ConnectionPool,
    completions: Arc<Completions>,
    /// The time limit for an answer over a connection, connecting included.
    limit: Duration,
    /// The last fault of a connection.
    pub(super) last_fault: Option<Fault>,
    /// Sockets that cannot reach their server.
    failed: Vec<(SocketId, QueryFailure)>,
    events: Vec<epoll::Event>,
}

#[derive(Debug)]
enum OpenSocket {
    Udp { peer: SocketAddr, bind: Option<SocketAddr>, socket: Option<Datagrams> },
    Connection(Arc<Endpoint>),
}

/// Queries of one length for one socket, sent together.
#[derive(Debug)]
struct SendGroup {
    bytes: Vec<u8>,
    socket: SocketId,
    length: usize,
}

impl SocketSet {
    /// Opens this number of UDP sockets for each server; connections are opened on demand. The numbering is that of the
    /// engine. An unreachable server is not an error here: its questions will fail.
    pub(super) fn open(
        servers: impl Iterator<Item = (Arc<Endpoint>, usize)> + Clone,
        limit: Duration,
        answer_size: usize,
    ) -> io::Result<SocketSet> {
        let mut sockets = SocketSet {
            poller: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            all: Vec::new(),
            sender: DatagramSender::default(),
            receiver: DatagramReceiver::new(answer_size),
            group: SendGroup { bytes: Vec::new(), socket: SocketId(0), length: 0 },
            pool: ConnectionPool::with_connections(CONNECTIONS),
            completions: Completions::new()?,
            limit,
            last_fault: None,
            failed: Vec::new(),
            events: Vec::with_capacity(EVENTS),
        };
        let completions = epoll::EventData::new_u64(COMPLETIONS);
        epoll::add(&sockets.poller, &*sockets.completions, completions, epoll::EventFlags::IN)?;
        for (server, each) in servers.clone() {
            for _ in 0..each {
                sockets.all.push(OpenSocket::Udp { peer: server.address, bind: server.bind, socket: None });
            }
        }
        for number in 0..sockets.all.len() {
            sockets.reopen(SocketId(number as u16))?;
        }
        sockets.all.extend(servers.map(|(server, _)| {
            let tcp = || Arc::new(Endpoint { transport: Transport::Tcp, ..Endpoint::clone(&server) });
            OpenSocket::Connection(if server.transport == Transport::Udp { tcp() } else { server.clone() })
        }));
        Ok(sockets)
    }

    /// Replaces a UDP socket by a new one, with a new port.
    pub(super) fn reopen(&mut self, id: SocketId) -> io::Result<()> {
        let Some(OpenSocket::Udp { peer, bind, socket }) = self.all.get_mut(usize::from(id.0)) else { return Ok(()) };
        *socket = match Datagrams::connect(*peer, *bind) {
            Ok(opened) => {
                epoll::add(&self.poller, &opened, epoll::EventData::new_u64(id.0.into()), epoll::EventFlags::IN)?;
                Some(opened)
            }
            // Out of descriptors, or an invalid local address: a local failure.
            Err(error) if matches!(error.raw_os_error(), Some(23 | 24)) => return Err(error),
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable && bind.is_some() => return Err(error),
            Err(_) => None,
        };
        Ok(())
    }

    /// The number of answers that the sockets of one server can buffer between two reads.
    pub(super) fn capacity(&self, each: usize) -> usize {
        let capacity = |lane: &OpenSocket| match lane {
            OpenSocket::Udp { socket: Some(socket), .. } => Some(socket.capacity()),
            _ => None,
        };
        self.all.iter().filter_map(capacity).min().map_or(usize::MAX, |one| one * each.max(1))
    }

    /// Sends the last group.
    pub(super) fn flush(&mut self) {
        if self.group.bytes.is_empty() {
            return;
        }
        let id = self.group.socket;
        let sent = match self.all.get(usize::from(id.0)) {
            Some(OpenSocket::Udp { socket: Some(socket), .. }) => {
                let group = &self.group;
                // An error may belong to an earlier datagram (ICMP), so these are sent once more before they count as lost.
                let sender = &mut self.sender;
                sender.send(socket, &group.bytes, group.length).or_else(|first| {
                    self.failed.push((id, failure(&first)));
                    sender.send(socket, &group.bytes, group.length)
                })
            }
            _ => Err(ErrorKind::NetworkUnreachable.into()),
        };
        if let Err(error) = sent {
            self.failed.push((id, failure(&error)));
        }
        self.group.bytes.clear();
    }

    /// Reports the sockets that cannot reach their server to the engine.
    pub(super) fn report_failures(&mut self, now: Micros, engine: &mut Engine, sink: &mut impl OutcomeSink) {
        for (id, failure) in std::mem::take(&mut self.failed) {
            engine.socket_failed(now, id, failure, sink);
        }
    }

    /// Waits until a socket or the other descriptor is readable, or the time is over.
    pub(super) fn wait(&self, other: Option<&File>, longest: Duration) {
        let own = self.poller.as_fd();
        let mut polled = [PollFd::from_borrowed_fd(own, PollFlags::IN), PollFd::from_borrowed_fd(own, PollFlags::IN)];
        let mut count = 1;
        if let (Some(other), [_, second]) = (other, &mut polled) {
            *second = PollFd::new(other, PollFlags::IN);
            count = 2;
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        // The caller checks everything again, even after an interrupt.
        let _ = rustix::event::poll(polled.get_mut(..count).unwrap_or_default(), Some(&timeout));
    }

    /// Passes all received messages to the engine.
    pub(super) fn receive(
        &mut self,
        clock: impl Fn() -> Micros,
        engine: &mut Engine,
        sink: &mut impl OutcomeSink,
    ) -> io::Result<()> {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.events.clear();
        match epoll::wait(&self.poller, rustix::buffer::spare_capacity(&mut self.events), Some(&at_once)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let now = clock();
        let events = std::mem::take(&mut self.events);
        for event in &events {
            match event.data.u64() {
                COMPLETIONS => self.take_completions(now, engine, sink),
                number => self.receive_on(SocketId(number as u16), now, engine, sink),
            }
        }
        self.events = events;
        Ok(())
    }

    fn receive_on(&mut self, id: SocketId, now: Micros, engine: &mut Engine, sink: &mut impl OutcomeSink) {
        let Some(OpenSocket::Udp { socket: Some(socket), .. }) = self.all.get(usize::from(id.0)) else { return };
        for _ in 0..MAX_ROUNDS {
            match self.receiver.receive(socket) {
                Ok(datagrams) => {
                    let count = datagrams.len();
                    datagrams.for_each(|datagram| engine.receive(now, id, datagram, sink));
                    if count < RECEIVE_BATCH {
                        return;
                    }
                }
                Err(error) => return engine.socket_failed(now, id, failure(&error), sink),
            }
        }
    }

    fn take_completions(&mut self, now: Micros, engine: &mut Engine, sink: &mut impl OutcomeSink) {
        for completion in self.completions.take() {
            let (socket, id) = (SocketId((completion.token >> 16) as u16), completion.token as u16);
            match completion.result {
                Ok(message) => engine.receive(now, socket, &message, sink),
                Err(UnansweredQuery { fault, connected }) => {
                    engine.query_failed(now, (socket, id), failure_of(fault.kind), connected, sink);
                    self.last_fault = Some(fault);
                }
            }
        }
    }
}

impl QuerySender for SocketSet {
    fn send(&mut self, socket: SocketId, query: &[u8]) {
        if let (Some(OpenSocket::Connection(endpoint)), Some(id)) =
            (self.all.get(usize::from(socket.0)), query.first_chunk())
        {
            let token = u64::from(socket.0) << 16 | u64::from(u16::from_be_bytes(*id));
            return self.pool.send(endpoint.clone(), query.to_vec(), token, self.limit, &self.completions);
        }
        let group = &self.group;
        let fits = group.socket == socket && group.length == query.len();
        let full = group.bytes.len() >= group.length * MAX_GROUP as usize;
        if !fits || full || group.bytes.len() + query.len() > MAX_GROUP_BYTES {
            self.flush();
            self.group.socket = socket;
            self.group.length = query.len();
        }
        self.group.bytes.extend_from_slice(query);
    }
}

/// The failure of the questions in progress on a UDP socket with this error.
fn failure(error: &io::Error) -> QueryFailure {
    match error.kind() {
        ErrorKind::ConnectionRefused => QueryFailure::ConnectRefused,
        _ => QueryFailure::Unreachable,
    }
}

/// The failure of a question whose connection had this fault.
fn failure_of(kind: Kind) -> QueryFailure {
    match kind {
        Kind::TimedOut => QueryFailure::TimedOut,
        Kind::ConnectRefused => QueryFailure::ConnectRefused,
        Kind::Unreachable => QueryFailure::Unreachable,
        Kind::Disconnected => QueryFailure::Disconnected,
        other => QueryFailure::Unfit(other),
    }
}
