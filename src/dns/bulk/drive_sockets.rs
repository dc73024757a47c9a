//! The engine's lanes as sockets: groups of equal queries out, many answers in at once, one poller for all. What goes over
//! connections (TCP, TLS, HTTPS, QUIC) a courier carries, in a thread of its own.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, epoll};
use rustix::time::Timespec;

use super::Micros;
use super::engine::{Engine, MAX_GROUP};
use super::terms::{Failure, Outlet, Sink};
use crate::dns::client::Endpoint;
use crate::dns::client::courier::{Courier, Mailbox};
use crate::dns::exchange::Transport;
use crate::fault::Kind;
use crate::net::datagram::{Datagrams, RECEIVE_BATCH, Receiver, Sender};

/// Receives from one socket before the others get their turn.
const MAX_ROUNDS: usize = 64;
/// What leaves with one call is at most this: the kernel takes a datagram's worth.
const MAX_GROUP_BYTES: usize = 60_000;
/// Sockets that are reported at a time.
const EVENTS: usize = 64;
/// Connections to each server, used in turn.
const CONNECTIONS: usize = 4;
/// Stands for the mailbox among the lanes.
const MAILBOX: u64 = u64::MAX;

/// All lanes.
pub(super) struct Sockets {
    poller: OwnedFd,
    lanes: Vec<Lane>,
    sender: Sender,
    receiver: Receiver,
    group: Group,
    courier: Courier,
    mailbox: Arc<Mailbox>,
    /// How long an answer over a connection may take, connecting included.
    limit: Duration,
    /// Lanes that turned out to lead nowhere.
    failed: Vec<(u16, Failure)>,
    events: Vec<epoll::Event>,
}

#[derive(Debug)]
enum Lane {
    Udp { peer: SocketAddr, bind: Option<IpAddr>, socket: Option<Datagrams> },
    Connection(Arc<Endpoint>),
}

/// Queries of one length for one lane that will leave together.
#[derive(Debug)]
struct Group {
    bytes: Vec<u8>,
    lane: u16,
    length: usize,
}

impl Sockets {
    /// So many UDP sockets for every server, and a way over connections each that is not opened yet: the lanes as the
    /// engine numbers them. A server that cannot be reached at all is no error yet: its questions will fail.
    pub(super) fn open(
        servers: impl Iterator<Item = (Arc<Endpoint>, usize)> + Clone,
        limit: Duration,
        answer_size: usize,
    ) -> io::Result<Sockets> {
        let mut sockets = Sockets {
            poller: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            lanes: Vec::new(),
            sender: Sender::default(),
            receiver: Receiver::new(answer_size),
            group: Group { bytes: Vec::new(), lane: 0, length: 0 },
            courier: Courier::with_connections(CONNECTIONS),
            mailbox: Mailbox::new()?,
            limit,
            failed: Vec::new(),
            events: Vec::with_capacity(EVENTS),
        };
        let mailbox = epoll::EventData::new_u64(MAILBOX);
        epoll::add(&sockets.poller, &*sockets.mailbox, mailbox, epoll::EventFlags::IN)?;
        for (server, each) in servers.clone() {
            for _ in 0..each {
                sockets.lanes.push(Lane::Udp { peer: server.address, bind: server.bind, socket: None });
            }
        }
        for lane in 0..sockets.lanes.len() {
            sockets.reopen(lane as u16)?;
        }
        sockets.lanes.extend(servers.map(|(server, _)| {
            let tcp = || Arc::new(Endpoint { transport: Transport::Tcp, ..Endpoint::clone(&server) });
            Lane::Connection(if server.transport == Transport::Udp { tcp() } else { server.clone() })
        }));
        Ok(sockets)
    }

    /// Gives a UDP lane a new socket, with a new port.
    pub(super) fn reopen(&mut self, number: u16) -> io::Result<()> {
        let Some(Lane::Udp { peer, bind, socket }) = self.lanes.get_mut(usize::from(number)) else { return Ok(()) };
        *socket = match Datagrams::connect(*peer, *bind) {
            Ok(opened) => {
                epoll::add(&self.poller, &opened, epoll::EventData::new_u64(number.into()), epoll::EventFlags::IN)?;
                Some(opened)
            }
            // Out of descriptors, or a local address that is none: a failure of ours.
            Err(error) if matches!(error.raw_os_error(), Some(23 | 24)) => return Err(error),
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable && bind.is_some() => return Err(error),
            Err(_) => None,
        };
        Ok(())
    }

    /// Answers that the sockets of one server can hold between two looks.
    pub(super) fn capacity(&self, each: usize) -> usize {
        let capacity = |lane: &Lane| match lane {
            Lane::Udp { socket: Some(socket), .. } => Some(socket.capacity()),
            _ => None,
        };
        self.lanes.iter().filter_map(capacity).min().map_or(usize::MAX, |one| one * each.max(1))
    }

    /// Lets the last group leave.
    pub(super) fn flush(&mut self) {
        if self.group.bytes.is_empty() {
            return;
        }
        let number = self.group.lane;
        let sent = match self.lanes.get(usize::from(number)) {
            Some(Lane::Udp { socket: Some(socket), .. }) => {
                let group = &self.group;
                // An error may belong to an earlier datagram (ICMP): these are sent once more before they are given up.
                let sender = &mut self.sender;
                sender.send(socket, &group.bytes, group.length).or_else(|first| {
                    self.failed.push((number, failure(&first)));
                    sender.send(socket, &group.bytes, group.length)
                })
            }
            _ => Err(ErrorKind::NetworkUnreachable.into()),
        };
        if let Err(error) = sent {
            self.failed.push((number, failure(&error)));
        }
        self.group.bytes.clear();
    }

    /// Tells the engine about lanes that lead nowhere.
    pub(super) fn report_failures(&mut self, now: Micros, engine: &mut Engine, sink: &mut impl Sink) {
        for (lane, failure) in std::mem::take(&mut self.failed) {
            engine.lane_failed(now, lane, failure, sink);
        }
    }

    /// Waits until something can be read, here or from the other descriptor, or the time is over.
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
        // Interrupted or not: the caller looks at everything again.
        let _ = rustix::event::poll(polled.get_mut(..count).unwrap_or_default(), Some(&timeout));
    }

    /// Hands everything that has come to the engine.
    pub(super) fn receive(
        &mut self,
        clock: impl Fn() -> Micros,
        engine: &mut Engine,
        sink: &mut impl Sink,
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
                MAILBOX => self.open_mailbox(now, engine, sink),
                number => self.receive_lane(number as u16, now, engine, sink),
            }
        }
        self.events = events;
        Ok(())
    }

    fn receive_lane(&mut self, number: u16, now: Micros, engine: &mut Engine, sink: &mut impl Sink) {
        let Some(Lane::Udp { socket: Some(socket), .. }) = self.lanes.get(usize::from(number)) else { return };
        for _ in 0..MAX_ROUNDS {
            match self.receiver.receive(socket) {
                Ok(datagrams) => {
                    let count = datagrams.len();
                    datagrams.for_each(|datagram| engine.receive(now, number, datagram, sink));
                    if count < RECEIVE_BATCH {
                        return;
                    }
                }
                Err(error) => return engine.lane_failed(now, number, failure(&error), sink),
            }
        }
    }

    fn open_mailbox(&mut self, now: Micros, engine: &mut Engine, sink: &mut impl Sink) {
        for reply in self.mailbox.take() {
            let (lane, id) = ((reply.token >> 16) as u16, reply.token as u16);
            match reply.result {
                Ok(message) => engine.receive(now, lane, &message, sink),
                Err(fault) => engine.query_failed(now, lane, id, failure_of(fault.kind), sink),
            }
        }
    }
}

impl Outlet for Sockets {
    fn send(&mut self, lane: u16, query: &[u8]) {
        if let (Some(Lane::Connection(endpoint)), Some(id)) = (self.lanes.get(usize::from(lane)), query.first_chunk()) {
            let token = u64::from(lane) << 16 | u64::from(u16::from_be_bytes(*id));
            return self.courier.send(endpoint.clone(), query.to_vec(), token, self.limit, &self.mailbox);
        }
        let group = &self.group;
        let fits = group.lane == lane && group.length == query.len();
        let full = group.bytes.len() >= group.length * MAX_GROUP as usize;
        if !fits || full || group.bytes.len() + query.len() > MAX_GROUP_BYTES {
            self.flush();
            self.group.lane = lane;
            self.group.length = query.len();
        }
        self.group.bytes.extend_from_slice(query);
    }
}

/// What an error of a UDP socket means for the questions on its lane.
fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::ConnectRefused,
        _ => Failure::Unreachable,
    }
}

/// What a courier's fault means for its question.
fn failure_of(kind: Kind) -> Failure {
    match kind {
        Kind::TimedOut => Failure::TimedOut,
        Kind::ConnectRefused => Failure::ConnectRefused,
        Kind::Unreachable => Failure::Unreachable,
        Kind::Disconnected => Failure::Disconnected,
        other => Failure::Unfit(other),
    }
}
