//! UDP and TCP with blocking calls: the sockets of one exchange.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::Client;
use crate::dns::exchange::{Action, Answer, Exchange, Transport};
use crate::dns::message::MAX_MESSAGE_BYTES;
use crate::dns::query::Query;
use crate::dns::transfer::unix_time;
use crate::dns::tsig::Session;
use crate::fault::{Fault, Kind};
use crate::net::random;

/// One question from the first query to its answer.
pub(super) fn ask(client: &Client, query: &Query) -> Result<Answer, Fault> {
    if client.servers.is_empty() {
        return Err(Fault::new(Kind::Usage, "no server to ask"));
    }
    let mut random = vec![0; client.servers.len() * 2 + 32];
    random::fill(&mut random)?;
    let (for_ids, for_case) = random.split_at(client.servers.len() * 2);
    let ids = for_ids.chunks_exact(2).map(|pair| u16::from_ne_bytes(pair.try_into().unwrap_or_default())).collect();
    let mut query = query.clone();
    if client.mix_case {
        query.mix_case(for_case);
    }
    let mut exchange = Exchange::new(query, ids, client.policy);
    let sessions = vec![None; client.servers.len()];
    let buffer = vec![0; MAX_MESSAGE_BYTES];
    let mut sockets = Sockets { client, sessions, forged: None, open: Vec::new(), buffer };
    let start = Instant::now();
    loop {
        match exchange.poll(start.elapsed()) {
            Action::Send { server, transport, wire } => {
                let Some(&address) = client.servers.get(server) else { continue };
                client.trace.note(&format!("asking {address} over {}", transport.name()));
                let wire = sockets.sign(server, wire);
                let sent = if transport == Transport::Udp {
                    sockets.send(server, address, &wire)
                } else {
                    sockets.over_tcp(server, address, &wire, &mut exchange, start)
                };
                if let Err(error) = sent {
                    client.trace.note(&format!("{address}: {error}"));
                    exchange.failed(server, fault(address, transport, &error));
                }
            }
            Action::Wait { until } => sockets.wait(&mut exchange, until, start),
            Action::Done => break,
        }
    }
    let forged = sockets.forged;
    exchange.outcome().map_err(|mut fault| {
        if let Some(forged) = forged {
            return forged;
        }
        if fault.kind == Kind::TimedOut && !fault.detail.contains(&first(client)) {
            fault.detail = format!("{}: {}", first(client), fault.detail);
        }
        fault
    })
}

/// The servers in a few words, for a fault that concerns all of them.
fn first(client: &Client) -> String {
    match client.servers.as_slice() {
        [only] => only.to_string(),
        [first, ..] => format!("{first} and others"),
        [] => String::new(),
    }
}

/// A failed system call of a socket to this server.
pub(crate) fn fault(address: SocketAddr, transport: Transport, error: &io::Error) -> Fault {
    Fault::network(format!("{address} over {}", transport.name()), error)
}

/// The open sockets: connected, so that the kernel drops what comes from elsewhere; kept until the end, so that a late
/// answer still counts.
struct Sockets<'a> {
    client: &'a Client,
    /// What verifies the answers, by server.
    sessions: Vec<Option<Session>>,
    /// The last answer that was signed wrongly.
    forged: Option<Fault>,
    open: Vec<(usize, SocketAddr, UdpSocket)>,
    buffer: Vec<u8>,
}

impl Sockets<'_> {
    /// Signs a query if there is a key.
    fn sign(&mut self, server: usize, wire: Vec<u8>) -> Vec<u8> {
        let Some(key) = &self.client.key else { return wire };
        let (wire, session) = key.sign(&wire, unix_time());
        if let Some(slot) = self.sessions.get_mut(server) {
            *slot = Some(session);
        }
        wire
    }

    /// True if no signature was asked for or it is right. A wrong one is like no answer (RFC 8945, section 5.3).
    fn is_genuine(&mut self, server: usize, length: usize) -> bool {
        let Some(Some(session)) = self.sessions.get(server) else { return true };
        let verified = session.clone().verify(self.buffer.get(..length).unwrap_or_default(), unix_time());
        if let Err(fault) = verified {
            self.client.trace.note(&fault.detail);
            self.forged = Some(fault);
            return false;
        }
        true
    }

    fn send(&mut self, server: usize, address: SocketAddr, wire: &[u8]) -> io::Result<()> {
        if let Some((_, _, socket)) = self.open.iter().find(|(known, _, _)| *known == server) {
            return socket.send(wire).map(drop);
        }
        let socket = UdpSocket::bind(local(self.client.bind, address))?;
        socket.connect(address)?;
        socket.set_nonblocking(true)?;
        socket.send(wire)?;
        self.open.push((server, address, socket));
        Ok(())
    }

    /// Waits until a datagram came in on any socket or the time is over.
    fn wait(&mut self, exchange: &mut Exchange, until: Duration, start: Instant) {
        let left = until.saturating_sub(start.elapsed());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut polled: Vec<PollFd<'_>> =
            self.open.iter().map(|(_, _, socket)| PollFd::new(socket, PollFlags::IN)).collect();
        // An interrupted or failed poll comes back to the machine, which looks at the clock.
        let _ = rustix::event::poll(&mut polled, Some(&timeout));
        for at in 0..self.open.len() {
            let Some((server, address, socket)) = self.open.get(at) else { continue };
            let (server, address) = (*server, *address);
            match socket.recv(&mut self.buffer) {
                Ok(length) if !self.is_genuine(server, length) => {}
                Ok(length) => {
                    let wire = self.buffer.get(..length).unwrap_or_default();
                    if !exchange.received(server, Transport::Udp, wire, start.elapsed()) {
                        self.client
                            .trace
                            .note(&format!("{address}: {length} bytes that are no answer to this question"));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => exchange.failed(server, fault(address, Transport::Udp, &error)),
            }
        }
    }

    /// One query over a connection of its own (RFC 7766, section 8: length and message leave together).
    fn over_tcp(
        &mut self,
        server: usize,
        address: SocketAddr,
        wire: &[u8],
        exchange: &mut Exchange,
        start: Instant,
    ) -> io::Result<()> {
        let timeout = self.client.policy.timeout;
        let mut stream = connect(self.client.bind, address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let mut framed = u16::try_from(wire.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
        framed.extend_from_slice(wire);
        stream.write_all(&framed)?;
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let length = usize::from(u16::from_be_bytes(length));
        stream.read_exact(self.buffer.get_mut(..length).unwrap_or_default())?;
        if !self.is_genuine(server, length) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the signature is wrong"));
        }
        let answer = self.buffer.get(..length).unwrap_or_default();
        exchange.received(server, Transport::Tcp, answer, start.elapsed());
        Ok(())
    }
}

fn local(bind: Option<IpAddr>, peer: SocketAddr) -> SocketAddr {
    let any = || if peer.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    SocketAddr::new(bind.unwrap_or_else(any), 0)
}

/// Connects from a local address.
pub(crate) fn connect(bind: Option<IpAddr>, address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    if bind.is_none() {
        return TcpStream::connect_timeout(&address, timeout);
    }
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.bind(&local(bind, address).into())?;
    socket.connect_timeout(&address.into(), timeout)?;
    Ok(socket.into())
}
