//! Drives exchanges: one poll(2) loop for any number of questions, their UDP sockets, and the completions of the pool once
//! a question needs a connection.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::Type;

use super::endpoint::{Endpoint, network_fault, socket};
use super::pool::Completions;
use super::{DnsClient, MAX_AT_ONCE, OnOutcome};
use crate::dns::exchange::{Exchange, ExchangeAction, ExchangeAnswer};
use crate::dns::message::MAX_MESSAGE_BYTES;
use crate::dns::query::Query;
use crate::dns::transport::Transport;
use crate::dns::tsig::TsigSession;
use crate::fault::{Fault, Kind};
use crate::net::clock::since_1970;
use crate::net::random;

/// See [`DnsClient::ask_all`].
pub(super) fn ask_all(client: &DnsClient, queries: &[Query], each: &mut OnOutcome<'_>) -> Result<(), Fault> {
    if client.servers.is_empty() {
        return Err(Fault::new(Kind::Usage, "no server to ask"));
    }
    let mut drive = Drive { client, running: Vec::new(), completions: None, buffer: vec![0; MAX_MESSAGE_BYTES] };
    let mut next = queries.iter().cloned().enumerate();
    let at_once = if client.bind.is_some_and(|bind| bind.port() != 0) { 1 } else { MAX_AT_ONCE };
    // Until a server answers, no more than this many are sent: if no server answers these, none is reachable.
    let mut room = if at_once == 1 { usize::MAX } else { at_once };
    let mut dead = None;
    loop {
        while drive.running.len() < at_once && room > 0 {
            let Some((place, query)) = next.next() else { break };
            drive.running.push(InFlight::new(client, place, query)?);
            room -= 1;
        }
        let until = drive.act()?;
        let mut at = 0;
        let mut ended = false;
        while let Some(in_flight) = drive.running.get(at) {
            if !in_flight.done {
                at += 1;
                continue;
            }
            let in_flight = drive.running.swap_remove(at);
            let place = in_flight.place;
            if in_flight.learn(client) {
                room = usize::MAX;
            }
            let outcome = in_flight.outcome(client);
            dead = outcome.as_ref().err().cloned();
            match each(place, outcome) {
                ControlFlow::Continue(Some(query)) => drive.running.push(InFlight::new(client, place, query)?),
                ControlFlow::Continue(None) => {}
                ControlFlow::Break(()) => return Ok(()),
            }
            ended = true;
        }
        if drive.running.is_empty() && room == 0 {
            for (place, query) in next.by_ref() {
                let fault = dead.clone().unwrap_or_else(|| Fault::new(Kind::TimedOut, "no server answers"));
                match each(place, Err(fault)) {
                    ControlFlow::Continue(None) => {}
                    ControlFlow::Continue(Some(_)) => drive.running.push(InFlight::new(client, place, query)?),
                    ControlFlow::Break(()) => return Ok(()),
                }
            }
        }
        if drive.running.is_empty() && next.len() == 0 {
            return Ok(());
        }
        // Finished questions made room, and their successors must be sent.
        if !ended {
            drive.wait(until);
        }
    }
}

/// One question in flight, with its sockets. They are connected, so that the kernel drops datagrams from other addresses, and
/// stay open until the end, so that a late answer still counts.
struct InFlight {
    place: usize,
    exchange: Exchange,
    start: Instant,
    sockets: Vec<(usize, SocketAddr, UdpSocket)>,
    /// The TSIG sessions that verify the answers, by server.
    sessions: Vec<Option<TsigSession>>,
    /// By server: `None` if it was not asked, otherwise whether it answered.
    asked: Vec<Option<bool>>,
    /// The fault of the last answer with a wrong signature.
    forged: Option<Fault>,
    done: bool,
}

impl InFlight {
    fn new(client: &DnsClient, place: usize, mut query: Query) -> Result<InFlight, Fault> {
        let mut random = vec![0; client.servers.len() * 2 + 32];
        random::fill(&mut random)?;
        let (for_ids, for_case) = random.split_at(client.servers.len() * 2);
        let ids = for_ids
            .chunks_exact(2)
            .map(|pair| client.id.unwrap_or_else(|| u16::from_ne_bytes(pair.try_into().unwrap_or_default())));
        let servers: Vec<(u16, Transport)> = ids.zip(client.servers.iter().map(|server| server.transport)).collect();
        if client.mix_case {
            query.mix_case(for_case);
        }
        let mut exchange = Exchange::new(query, &servers, client.policy);
        if client.servers.len() > 1 {
            let silent: Vec<bool> = client.servers.iter().map(|server| client.silent.contains(server)).collect();
            exchange.ask_last(|server| silent.get(server).copied().unwrap_or_default());
        }
        Ok(InFlight {
            place,
            exchange,
            start: Instant::now(),
            sockets: Vec::new(),
            sessions: vec![None; client.servers.len()],
            asked: vec![None; client.servers.len()],
            forged: None,
            done: false,
        })
    }

    /// Signs a query if there is a key.
    fn sign(&mut self, client: &DnsClient, server: usize, wire: Vec<u8>) -> Vec<u8> {
        let Some(key) = &client.key else { return wire };
        let (wire, session) = key.sign(&wire, since_1970().as_secs());
        if let Some(slot) = self.sessions.get_mut(server) {
            *slot = Some(session);
        }
        wire
    }

    /// Takes a message from a server if it needs no signature or its signature is valid. An invalid signature counts as no answer
    /// (RFC 8945, section 5.3).
    fn received(&mut self, client: &DnsClient, server: usize, transport: Transport, wire: &[u8]) {
        let address = client.servers.get(server).map(|server| server.address);
        if let Some(Some(session)) = self.sessions.get(server)
            && let Err(fault) = session.clone().verify(wire, since_1970().as_secs())
        {
            client.trace.note(&fault.detail);
            self.forged = Some(fault.clone());
            if transport != Transport::Udp {
                self.exchange.failed(server, fault);
            }
            return;
        }
        if !self.exchange.received(server, transport, wire, self.start.elapsed()) {
            let from = address.map(|address| address.to_string()).unwrap_or_default();
            client.trace.note(&format!("{from}: {} bytes that do not answer this question", wire.len()));
        } else if let Some(asked) = self.asked.get_mut(server) {
            *asked = Some(true);
        }
    }

    /// Records which servers answered and which did not. True if any server answered.
    fn learn(&self, client: &DnsClient) -> bool {
        for (server, asked) in client.servers.iter().zip(&self.asked) {
            // In a race the first answer ends the wait for all others.
            if let Some(answers) = asked.filter(|answers| *answers || !client.policy.race) {
                client.silent.learn(server, answers);
            }
        }
        self.asked.contains(&Some(true))
    }

    fn send(&mut self, client: &DnsClient, server: usize, address: SocketAddr, wire: &[u8]) -> io::Result<()> {
        if let Some((_, _, socket)) = self.sockets.iter().find(|(known, _, _)| *known == server) {
            return socket.send(wire).map(drop);
        }
        let socket = socket(client.bind, address, Type::DGRAM)?;
        socket.connect(&address.into())?;
        let socket = UdpSocket::from(socket);
        socket.set_nonblocking(true)?;
        socket.send(wire)?;
        self.sockets.push((server, address, socket));
        Ok(())
    }

    /// Reads the datagrams on its sockets.
    fn receive(&mut self, client: &DnsClient, buffer: &mut [u8]) {
        for at in 0..self.sockets.len() {
            let Some((server, address, socket)) = self.sockets.get(at) else { continue };
            let (server, address) = (*server, *address);
            match socket.recv(buffer) {
                Ok(length) => {
                    self.received(client, server, Transport::Udp, buffer.get(..length).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => self.exchange.failed(server, network_fault(address, Transport::Udp, &error)),
            }
        }
    }

    fn outcome(self, client: &DnsClient) -> Result<ExchangeAnswer, Fault> {
        let silent = self.exchange.is_silent();
        self.exchange.outcome().map_err(|fault| match self.forged {
            Some(forged) => forged,
            None if silent => fault.context(first(client)),
            None => fault,
        })
    }
}

/// A short name of all servers, for a fault that concerns all of them.
fn first(client: &DnsClient) -> String {
    match client.servers.as_slice() {
        [only] => only.place(),
        [first, ..] => format!("{} and others", first.place()),
        [] => String::new(),
    }
}

struct Drive<'a> {
    client: &'a DnsClient,
    running: Vec<InFlight>,
    completions: Option<Arc<Completions>>,
    buffer: Vec<u8>,
}

impl Drive<'_> {
    /// Performs the pending actions of all exchanges. Returns the time until the next one is due.
    fn act(&mut self) -> Result<Duration, Fault> {
        let mut longest = Duration::MAX;
        for in_flight in &mut self.running {
            loop {
                match in_flight.exchange.poll(in_flight.start.elapsed()) {
                    ExchangeAction::Send { server, transport, wire } => {
                        let Some(endpoint) = self.client.servers.get(server) else { continue };
                        let address = endpoint.address;
                        if let Some(asked) = in_flight.asked.get_mut(server) {
                            asked.get_or_insert(false);
                        }
                        self.client.trace.note(&format!("asking {} over {}", endpoint.place(), transport.name()));
                        let wire = in_flight.sign(self.client, server, wire);
                        if transport == Transport::Udp {
                            if let Err(error) = in_flight.send(self.client, server, address, &wire) {
                                let fault = network_fault(address, transport, &error);
                                self.client.trace.note(&fault.detail);
                                in_flight.exchange.failed(server, fault);
                            }
                            continue;
                        }
                        let endpoint = Endpoint { transport, bind: self.client.bind, ..endpoint.clone() };
                        let token = token(in_flight.place, server);
                        let limit = self.client.policy.timeout;
                        let completions = completions(&mut self.completions)?;
                        self.client.pool.send(Arc::new(endpoint), wire, token, limit, completions);
                    }
                    ExchangeAction::Wait { until } => {
                        longest = longest.min(until.saturating_sub(in_flight.start.elapsed()));
                        break;
                    }
                    ExchangeAction::Done => {
                        in_flight.done = true;
                        break;
                    }
                }
            }
        }
        Ok(longest)
    }

    /// Waits for messages until the time is over, and passes each to its exchange.
    fn wait(&mut self, longest: Duration) {
        let timeout = Timespec {
            tv_sec: i64::try_from(longest.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(longest.subsec_nanos()),
        };
        let sockets =
            self.running.iter().flat_map(|in_flight| in_flight.sockets.iter().map(|(_, _, socket)| socket.as_fd()));
        let all: Vec<BorrowedFd<'_>> =
            sockets.chain(self.completions.iter().map(|completions| completions.as_fd())).collect();
        let mut polled: Vec<PollFd<'_>> = all.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        // After an interrupted or failed poll the state machine looks at the clock again.
        let _ = rustix::event::poll(&mut polled, Some(&timeout));
        for in_flight in &mut self.running {
            in_flight.receive(self.client, &mut self.buffer);
        }
        for completion in self.completions.iter().flat_map(|completions| completions.take()) {
            let (place, server) = of_token(completion.token);
            let Some(in_flight) = self.running.iter_mut().find(|in_flight| in_flight.place == place) else { continue };
            let Some(endpoint) = self.client.servers.get(server) else { continue };
            // A completion for a UDP server came over TCP, after a truncated answer.
            let transport = if endpoint.transport == Transport::Udp { Transport::Tcp } else { endpoint.transport };
            match completion.result {
                Ok(wire) => in_flight.received(self.client, server, transport, &wire),
                Err(unanswered) => {
                    self.client.trace.note(&unanswered.fault.detail);
                    in_flight.exchange.failed(server, unanswered.fault);
                }
            }
        }
    }
}

fn completions(slot: &mut Option<Arc<Completions>>) -> Result<&Arc<Completions>, Fault> {
    if slot.is_none() {
        *slot = Some(Completions::new().map_err(|error| Fault::local("eventfd", &error))?);
    }
    slot.as_ref().ok_or_else(|| Fault::new(Kind::Internal, "no completions"))
}

/// The index of the question and of the server in one number.
fn token(place: usize, server: usize) -> u64 {
    (place as u64) << 16 | (server as u64 & 0xffff)
}

fn of_token(token: u64) -> (usize, usize) {
    ((token >> 16) as usize, (token & 0xffff) as usize)
}
