//! The engine's lanes as sockets: groups of equal queries out, many answers in at once, one poller for all.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, epoll};
use rustix::time::Timespec;

use super::drive_stream::Stream;
use super::engine::{Engine, MAX_GROUP};
use super::terms::{Failure, Outlet, Sink};
use super::{MAX_QUERY, Micros};
use crate::net::datagram::{Datagrams, RECEIVE_BATCH, Receiver, Sender};

/// Receives from one socket before the others get their turn.
const MAX_ROUNDS: usize = 64;
/// Sockets that are reported at a time.
const EVENTS: usize = 64;

/// All lanes.
pub(super) struct Sockets {
    poller: OwnedFd,
    lanes: Vec<Lane>,
    sender: Sender,
    receiver: Receiver,
    bind: Option<IpAddr>,
    group: Group,
    /// Lanes that turned out to lead nowhere.
    failed: Vec<(u16, Failure)>,
    /// Streams that have something to send.
    dirty: Vec<u16>,
    events: Vec<epoll::Event>,
}

#[derive(Debug)]
enum Lane {
    Udp { peer: SocketAddr, socket: Option<Datagrams> },
    Tcp(Stream),
}

/// Queries of one length for one lane that will leave together.
#[derive(Debug)]
struct Group {
    bytes: Vec<u8>,
    lane: u16,
    length: usize,
}

impl Sockets {
    /// `each` UDP sockets for every server, and a stream each that is not opened yet: the lanes as the engine numbers
    /// them. A server that cannot be reached at all is no error yet: its questions will fail.
    pub(super) fn open(
        servers: &[SocketAddr],
        each: usize,
        bind: Option<IpAddr>,
        answer_size: usize,
    ) -> io::Result<Sockets> {
        let mut sockets = Sockets {
            poller: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            lanes: Vec::new(),
            sender: Sender::default(),
            receiver: Receiver::new(answer_size),
            bind,
            group: Group { bytes: Vec::with_capacity(MAX_GROUP as usize * MAX_QUERY), lane: 0, length: 0 },
            failed: Vec::new(),
            dirty: Vec::new(),
            events: Vec::with_capacity(EVENTS),
        };
        for server in servers {
            for _ in 0..each {
                sockets.lanes.push(Lane::Udp { peer: *server, socket: None });
            }
        }
        for lane in 0..sockets.lanes.len() {
            sockets.reopen(lane as u16)?;
        }
        sockets.lanes.extend(servers.iter().map(|server| Lane::Tcp(Stream::new(*server, bind))));
        Ok(sockets)
    }

    /// Gives a UDP lane a new socket, with a new port.
    pub(super) fn reopen(&mut self, number: u16) -> io::Result<()> {
        let Some(Lane::Udp { peer, socket }) = self.lanes.get_mut(usize::from(number)) else { return Ok(()) };
        *socket = match Datagrams::connect(*peer, self.bind) {
            Ok(opened) => {
                epoll::add(&self.poller, &opened, epoll::EventData::new_u64(number.into()), epoll::EventFlags::IN)?;
                Some(opened)
            }
            // Out of descriptors, or a local address that is none: a failure of ours.
            Err(error) if matches!(error.raw_os_error(), Some(23 | 24)) => return Err(error),
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable && self.bind.is_some() => return Err(error),
            Err(_) => None,
        };
        Ok(())
    }

    /// Lets the last group leave, and what streams have.
    pub(super) fn flush(&mut self) {
        self.flush_group();
        for number in std::mem::take(&mut self.dirty) {
            let Some(Lane::Tcp(stream)) = self.lanes.get_mut(usize::from(number)) else { continue };
            if let Err(error) = stream.flush() {
                stream.close();
                self.failed.push((number, failure(&error)));
            }
        }
    }

    fn flush_group(&mut self) {
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
    pub(super) fn wait(&self, other: Option<BorrowedFd<'_>>, longest: Duration) {
        let own = self.poller.as_fd();
        let mut polled = [PollFd::from_borrowed_fd(own, PollFlags::IN), PollFd::from_borrowed_fd(own, PollFlags::IN)];
        let mut count = 1;
        if let (Some(other), [_, second]) = (other, &mut polled) {
            *second = PollFd::from_borrowed_fd(other, PollFlags::IN);
            count = 2;
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(1),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        // Interrupted or not: the caller looks at everything again.
        let _ = rustix::event::poll(polled.get_mut(..count).unwrap_or_default(), Some(&timeout));
    }

    /// Hands everything that has come to the engine. True if anything had.
    pub(super) fn receive(
        &mut self,
        clock: impl Fn() -> Micros,
        engine: &mut Engine,
        sink: &mut impl Sink,
    ) -> io::Result<bool> {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.events.clear();
        match epoll::wait(&self.poller, rustix::buffer::spare_capacity(&mut self.events), Some(&at_once)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let now = clock();
        let events = std::mem::take(&mut self.events);
        for event in &events {
            let number = event.data.u64() as u16;
            match self.lanes.get_mut(usize::from(number)) {
                Some(Lane::Udp { socket: Some(socket), .. }) => {
                    for _ in 0..MAX_ROUNDS {
                        match self.receiver.receive(socket) {
                            Ok(datagrams) => {
                                let count = datagrams.len();
                                datagrams.for_each(|datagram| engine.receive(now, number, datagram, sink));
                                if count < RECEIVE_BATCH {
                                    break;
                                }
                            }
                            Err(error) => {
                                engine.lane_failed(now, number, failure(&error), sink);
                                break;
                            }
                        }
                    }
                }
                Some(Lane::Tcp(stream)) => {
                    let result = stream
                        .receive(|message| engine.receive(now, number, message, sink))
                        .and_then(|()| stream.flush());
                    if let Err(error) = result {
                        stream.close();
                        engine.lane_failed(now, number, failure(&error), sink);
                    }
                }
                _ => {}
            }
        }
        let any = !events.is_empty();
        self.events = events;
        Ok(any)
    }
}

impl Outlet for Sockets {
    fn send(&mut self, lane: u16, query: &[u8]) {
        if let Some(Lane::Tcp(stream)) = self.lanes.get_mut(usize::from(lane)) {
            let result = stream.send(query).and_then(|begun| match stream.socket() {
                Some(socket) if begun => {
                    let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
                    Ok(epoll::add(&self.poller, socket, epoll::EventData::new_u64(lane.into()), flags)?)
                }
                _ => Ok(()),
            });
            match result {
                Ok(()) if !self.dirty.contains(&lane) => self.dirty.push(lane),
                Ok(()) => {}
                Err(error) => self.failed.push((lane, failure(&error))),
            }
            return;
        }
        let group = &self.group;
        let fits = group.lane == lane && group.length == query.len();
        if !fits || group.bytes.len() >= group.length * MAX_GROUP as usize {
            self.flush_group();
            self.group.lane = lane;
            self.group.length = query.len();
        }
        self.group.bytes.extend_from_slice(query);
    }
}

/// What an error of a socket means for the questions on its lane.
fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionRefused => Failure::ConnectRefused,
        ErrorKind::TimedOut => Failure::TimedOut,
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::BrokenPipe
        | ErrorKind::ConnectionAborted => Failure::Disconnected,
        _ => Failure::Unreachable,
    }
}
