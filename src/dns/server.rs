//! Sockets for [`super::answer`]: datagrams, connections (RFC 7766), transfers out, questions handed on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

use super::answer::{self, AnswerAction, DnsResponse, Zones};
use super::client::DnsClient;
use super::edns::DEFAULT_UDP_SIZE;
use super::message::{Composer, Flags, MAX_MESSAGE_BYTES, Message, Question, Rcode};
use super::query::Query;
use super::record::Rtype;
use super::record::rdata::Soa;
use super::transport::Transport;
use crate::fault::{Fault, Kind, plain};
use crate::net::activation::ActivatedSockets;
use crate::net::cidr::Network;
use crate::net::listen::{Listeners, Shutdown};
use crate::net::stream::Stream;

/// A connection may stay silent for this long (RFC 7766, section 6.2.3).
pub const MAX_TCP_IDLE: Duration = Duration::from_secs(10);
/// Sending one message may take this long: a client that does not read is let go.
const MAX_TCP_WRITE: Duration = Duration::from_secs(30);
/// Questions of one connection.
pub const MAX_TCP_QUERIES: u32 = 100_000;
/// Questions that are being forwarded at once; more get SERVFAIL.
pub const MAX_FORWARDED: usize = 256;
/// Messages of a transfer are filled up to here.
const TRANSFER_MESSAGE_BYTES: usize = 16_384;
/// How often a port that is free for TCP and taken for UDP is exchanged for another.
const MAX_PORT_TRIES: usize = 20;

/// One question as the log shows it.
#[derive(Debug)]
pub struct Logged<'a> {
    /// Who asked.
    pub client: SocketAddr,
    /// How it came.
    pub transport: Transport,
    /// What was asked, if it could be read.
    pub question: Option<&'a Question>,
    /// How it was answered.
    pub rcode: Rcode,
    /// The length of the response; of a transfer, of all its messages.
    pub size_bytes: usize,
}

/// Told about every question that got a response.
pub type Log = dyn Fn(&Logged<'_>) + Send + Sync;

/// What a name server serves, and to whom.
pub struct NameServer {
    /// The zones it answers for.
    pub zones: Zones,
    /// Where questions for other names go, if anywhere.
    pub forward: Option<DnsClient>,
    /// Who may transfer zones; nobody if empty.
    pub transfer_to: Vec<Network>,
    /// Told about every question.
    pub log: Option<Arc<Log>>,
}

impl std::fmt::Debug for NameServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NameServer").field("zones", &self.zones.iter().count()).finish_non_exhaustive()
    }
}

/// TCP and UDP sockets on the same addresses and ports.
#[derive(Debug)]
pub struct Sockets {
    tcp: Listeners,
    udp: Vec<UdpSocket>,
}

impl Sockets {
    /// The sockets that the service manager passed, else what `bind_tcp` binds and UDP on the same addresses; a free port
    /// (0) is one that is free for both. Where sockets of one kind alone were passed, the other kind is bound beside them.
    ///
    /// # Errors
    /// Those of `bind_tcp`; [`Kind::CannotCreate`] for a UDP port that is taken; [`Kind::Config`] for passed sockets that
    /// cannot be watched.
    pub fn bind(
        activated: ActivatedSockets,
        bind_tcp: impl Fn() -> Result<Listeners, Fault>,
    ) -> Result<Sockets, Fault> {
        let wrong = |error: std::io::Error| Fault::new(Kind::Config, format!("LISTEN_FDS: {}", plain(&error)));
        let (tcp, udp) = activated.tcp_and_udp();
        let udp = udp.into_iter().map(UdpSocket::from_std).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        if !tcp.is_empty() {
            let tcp = Listeners::activated(tcp)?;
            let beside = || tcp.addresses().into_iter().map(bind_udp).collect::<Result<_, Fault>>();
            let udp = if udp.is_empty() { beside()? } else { udp };
            return Ok(Sockets { tcp, udp });
        }
        if !udp.is_empty() {
            let addresses = udp.iter().filter_map(|socket| socket.local_addr().ok());
            let addresses: Vec<String> = addresses.map(|address| address.to_string()).collect();
            return Ok(Sockets { tcp: Listeners::bind(&addresses, "")?, udp });
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let tcp = bind_tcp()?;
            match tcp.addresses().into_iter().map(bind_udp).collect::<Result<Vec<_>, Fault>>() {
                Ok(udp) => return Ok(Sockets { tcp, udp }),
                Err(fault) if tries >= MAX_PORT_TRIES => return Err(fault),
                // With a fixed port this fails again and says so at the end.
                Err(_) => {}
            }
        }
    }

    /// Where they listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.addresses()
    }
}

fn bind_udp(address: SocketAddr) -> Result<UdpSocket, Fault> {
    let open = || -> std::io::Result<UdpSocket> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        UdpSocket::from_std(socket.into())
    };
    open().map_err(|error| Fault { kind: Kind::CannotCreate, ..Fault::local(format!("UDP {address}"), &error) })
}

impl NameServer {
    /// Serves until the shutdown.
    pub async fn serve(self, sockets: Sockets, max_clients: usize, shutdown: &Shutdown) {
        let server = Arc::new(self);
        let forwards = Arc::new(Semaphore::new(MAX_FORWARDED));
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        let mut tasks = tokio::task::JoinSet::new();
        for socket in sockets.udp {
            let socket = Arc::new(socket);
            for _ in 0..workers {
                let (server, socket, forwards) = (server.clone(), socket.clone(), forwards.clone());
                tasks.spawn(async move { server.datagrams(socket, forwards).await });
            }
        }
        let handler = {
            let (server, forwards) = (server.clone(), forwards.clone());
            move |stream: Stream, peer: SocketAddr| {
                let (server, forwards) = (server.clone(), forwards.clone());
                async move {
                    // A client that breaks its connection is not our trouble.
                    let _ = server.connection(stream, peer, forwards).await;
                }
            }
        };
        sockets.tcp.serve(max_clients, shutdown, handler).await;
        tasks.shutdown().await;
    }

    async fn datagrams(self: Arc<NameServer>, socket: Arc<UdpSocket>, forwards: Arc<Semaphore>) {
        let mut buffer = vec![0; MAX_MESSAGE_BYTES];
        loop {
            let Ok((length, peer)) = socket.recv_from(&mut buffer).await else {
                // An ICMP error of an earlier response, or no memory: neither ends a server.
                tokio::task::yield_now().await;
                continue;
            };
            let query = buffer.get(..length).unwrap_or_default();
            match answer::answer(&self.zones, query, true) {
                AnswerAction::Send(response) => self.send_datagram(&socket, peer, response).await,
                AnswerAction::Transfer(message) => {
                    let response = self.transfer_by_datagram(&message, peer);
                    self.send_datagram(&socket, peer, response).await;
                }
                AnswerAction::Elsewhere(refused) => {
                    if self.forward.is_none() {
                        self.send_datagram(&socket, peer, refused).await;
                        continue;
                    }
                    let (server, socket, query) = (self.clone(), socket.clone(), query.to_vec());
                    let forwards = forwards.clone();
                    tokio::spawn(async move {
                        let response = server.forwarded(query, refused, true, &forwards).await;
                        server.send_datagram(&socket, peer, response).await;
                    });
                }
                AnswerAction::Drop => {}
            }
        }
    }

    async fn send_datagram(&self, socket: &UdpSocket, peer: SocketAddr, response: DnsResponse) {
        let response = self.outgoing(response);
        debug_assert!(response.wire.len() <= usize::from(DEFAULT_UDP_SIZE), "{} bytes", response.wire.len());
        if response.wire.len() > usize::from(DEFAULT_UDP_SIZE) {
            return; // whatever went wrong: a name server is no weapon
        }
        // A datagram that cannot be sent is one that was lost.
        let _ = socket.send_to(&response.wire, peer).await;
        self.log(peer, Transport::Udp, response.question.as_ref(), response.rcode, response.wire.len());
    }

    /// One connection: questions one after the other, each answered before the next is read.
    async fn connection(&self, mut stream: Stream, peer: SocketAddr, forwards: Arc<Semaphore>) -> std::io::Result<()> {
        let transport = if stream.is_tls() { Transport::Tls } else { Transport::Tcp };
        let mut query = Vec::new();
        for _ in 0..MAX_TCP_QUERIES {
            let mut length = [0; 2];
            within(MAX_TCP_IDLE, stream.read_exact(&mut length)).await?;
            query.resize(usize::from(u16::from_be_bytes(length)), 0);
            within(MAX_TCP_IDLE, stream.read_exact(&mut query)).await?;
            let response = match answer::answer(&self.zones, &query, false) {
                AnswerAction::Send(response) => response,
                AnswerAction::Elsewhere(refused) if self.forward.is_none() => refused,
                AnswerAction::Elsewhere(refused) => self.forwarded(query.clone(), refused, false, &forwards).await,
                AnswerAction::Transfer(message) => match self.transfer(&message, peer) {
                    Ok(messages) => {
                        let mut size = 0;
                        for wire in messages {
                            size += wire.len();
                            send(&mut stream, &wire).await?;
                        }
                        self.log(peer, transport, message.question.first(), Rcode::NOERROR, size);
                        continue;
                    }
                    Err(rcode) => answer::refuse(&message, rcode),
                },
                AnswerAction::Drop => return Ok(()),
            };
            let response = self.outgoing(response);
            send(&mut stream, &response.wire).await?;
            self.log(peer, transport, response.question.as_ref(), response.rcode, response.wire.len());
        }
        Ok(())
    }

    /// RA is true of a server that forwards, whatever it answers (RFC 1035, section 4.1.1).
    fn outgoing(&self, mut response: DnsResponse) -> DnsResponse {
        if let (Some(byte), true) = (response.wire.get_mut(3), self.forward.is_some()) {
            *byte |= Flags::RA.to_be_bytes()[1];
        }
        response
    }

    /// The current SOA for an IXFR, which the client takes as a call to come by TCP (RFC 1995, section 2). AXFR is for
    /// connections alone (RFC 5936, section 4.2).
    fn transfer_by_datagram(&self, query: &Message, peer: SocketAddr) -> DnsResponse {
        let question = query.question.first().filter(|question| question.rtype == Rtype::IXFR);
        let Some(question) = question else { return answer::refuse(query, Rcode::FORMERR) };
        match self.zones.get(&question.name) {
            _ if !self.may_transfer(peer) => answer::refuse(query, Rcode::REFUSED),
            None => answer::refuse(query, Rcode::NOTAUTH),
            Some(zone) => answer::with_soa(query, zone),
        }
    }

    fn may_transfer(&self, peer: SocketAddr) -> bool {
        self.transfer_to.iter().any(|network| network.contains(peer.ip()))
    }

    /// The messages of a zone transfer (RFC 5936, section 2.2), or why there is none. An IXFR gets the whole zone, or the
    /// SOA alone if the client's version is the same or newer (RFC 1995, section 2). If neither is newer than the other
    /// (RFC 1982, section 3.2) the client gets the zone, as from BIND and Knot.
    fn transfer(&self, query: &Message, peer: SocketAddr) -> Result<impl Iterator<Item = Vec<u8>>, Rcode> {
        let question = query.question.first().ok_or(Rcode::FORMERR)?.clone();
        if !self.may_transfer(peer) {
            return Err(Rcode::REFUSED);
        }
        let zone = self.zones.get(&question.name).ok_or(Rcode::NOTAUTH)?;
        let is_current = question.rtype == Rtype::IXFR && {
            let soa = query.authority.iter().find(|record| record.rtype == Rtype::SOA && record.name == question.name);
            soa.and_then(|soa| Soa::parse(&soa.rdata).ok()).ok_or(Rcode::FORMERR)?.serial >= zone.serial()
        };
        let mut records = if is_current { Vec::new() } else { zone.records() };
        records.push(zone.soa().clone());
        let mut records = records.into_iter().peekable();
        let (id, mut flags) = (query.id, query.flags);
        flags.0 &= Flags::RD;
        flags.set(Flags::QR, true);
        flags.set(Flags::AA, true);
        Ok(std::iter::from_fn(move || {
            records.peek()?;
            let mut composer = Composer::new(id, flags);
            composer.question(&question);
            while let Some(record) = records.peek() {
                let empty = composer.size() < 300;
                let limit = if empty { MAX_MESSAGE_BYTES } else { TRANSFER_MESSAGE_BYTES };
                if !composer.record(1, record, limit) {
                    break;
                }
                records.next();
            }
            Some(composer.finish(&[]))
        }))
    }

    /// Hands a question on and gives the answer back under the client's identifier.
    async fn forwarded(&self, query: Vec<u8>, refused: DnsResponse, udp: bool, forwards: &Semaphore) -> DnsResponse {
        let (Ok(message), Some(client)) = (Message::parse(&query), self.forward.clone()) else { return refused };
        let Some(question) = message.question.first().cloned() else { return refused };
        let Ok(_permit) = forwards.try_acquire() else { return answer::refuse(&message, Rcode::SERVFAIL) };
        let mut onward = Query::new(question.name.clone(), question.rtype);
        onward.question.class = question.class;
        onward.flags = Flags(message.flags.0 & (Flags::RD | Flags::CD | Flags::AD));
        if let (Some(edns), Some(asked)) = (&mut onward.edns, &message.edns) {
            edns.dnssec_ok = asked.dnssec_ok;
        }
        let answer = tokio::task::spawn_blocking(move || client.ask(&onward)).await;
        let Ok(Ok(answer)) = answer else { return answer::refuse(&message, Rcode::SERVFAIL) };
        let mut reply = answer.message;
        reply.id = message.id;
        reply.flags.set(Flags::AA, false);
        let limit = if udp { answer::udp_limit(message.edns.as_ref()) } else { MAX_MESSAGE_BYTES };
        let rcode = reply.rcode();
        reply.edns = reply.edns.filter(|_| message.edns.is_some());
        DnsResponse { wire: reply.compose(limit), rcode, question: Some(question) }
    }

    fn log(&self, client: SocketAddr, transport: Transport, question: Option<&Question>, rcode: Rcode, size: usize) {
        if let Some(log) = &self.log {
            log(&Logged { client, transport, question, rcode, size_bytes: size });
        }
    }
}

async fn send(stream: &mut Stream, wire: &[u8]) -> std::io::Result<()> {
    let length = u16::try_from(wire.len()).map_err(|_| std::io::ErrorKind::InvalidData)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(wire);
    within(MAX_TCP_WRITE, async {
        stream.write_all(&framed).await?;
        stream.flush().await
    })
    .await
}

async fn within<T>(limit: Duration, work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}
