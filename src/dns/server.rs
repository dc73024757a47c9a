//! The name server: serves [`super::answer`] over datagrams and connections, and forwards questions.

mod connection;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::answer::{self, AnswerAction, DnsResponse, LoggedQuery, OnwardQuestion, Zones};
use super::edns::{DEFAULT_UDP_SIZE, NO_REACHABLE_AUTHORITY};
use super::forward::Forwarder;
use super::message::{Flags, MAX_MESSAGE_BYTES, Message, Rcode};
use super::record::Rtype;
use super::transport::Transport;
use super::tsig::{TsigKeys, TsigSigner};
use crate::fault::{Fault, Kind, plain};
use crate::net::activation::ActivatedSockets;
use crate::net::admission::{Admission, ClientPlace};
use crate::net::asked::{AskedSocket, ControlRoom, DatagramPath};
use crate::net::cidr::Network;
use crate::net::clock::since_1970;
use crate::net::counters::{CountedConnection, Counter};
use crate::net::listen::{self, Listeners, Shutdown};
use crate::net::local::LocalNetworks;
use crate::net::reload::Reloaded;
use crate::net::session_id::SessionId;
use crate::net::stream::Stream;

/// The maximum number of attempts to find a port that is free for both TCP and UDP.
const MAX_PORT_TRIES: usize = 20;

/// One question and its answer, for the log.
#[derive(Debug)]
pub struct LoggedAnswer<'a> {
    /// The client, the server's address and the transport.
    pub asker: Asker,
    /// The query as received.
    pub query: &'a [u8],
    /// The response code.
    pub rcode: Rcode,
    /// True if the answer did not fit and has TC set.
    pub truncated: bool,
    /// The length of the response in bytes; for a transfer, of all its messages.
    pub size_bytes: usize,
    /// False for a transfer that was aborted.
    pub complete: bool,
}

/// The origin of a question.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// The client.
    pub client: SocketAddr,
    /// The server's own address and port; unspecified as far as the socket's address is.
    pub server: SocketAddr,
    /// The transport of the question.
    pub transport: Transport,
    /// The identifier of the connection; `None` for datagrams.
    pub session: Option<SessionId>,
}

/// A finished connection, for the log.
#[derive(Debug)]
pub struct AskedSession {
    /// The identifier of the connection.
    pub session: SessionId,
    /// The client.
    pub client: SocketAddr,
    /// The duration of the connection.
    pub elapsed: Duration,
    /// The reason for its end: `left` (the client closed), `idle`, `shutdown`, `displaced` (by another client), `closed` (no
    /// question, or too many), `refused` (too many connections), `ended` (by the server), or the kind of a fault.
    pub why: &'static str,
    /// The number of its questions.
    pub queries: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
}

/// A callback for every question that got a response.
pub type AnswerLog = dyn Fn(&LoggedAnswer<'_>) + Send + Sync;

/// A callback for every finished connection.
pub type SessionLog = dyn Fn(&AskedSession) + Send + Sync;

/// The zones that are served now. A query in progress keeps the zones that it started with.
pub type ServedZones = Reloaded<Zones>;

/// The configuration of a name server: its zones and its access rules.
pub struct NameServer {
    /// The zones for which the server is authoritative.
    pub zones: ServedZones,
    /// The forwarder for questions about other names, if any.
    pub forward: Option<Forwarder>,
    /// The client networks whose questions are forwarded; by default this host and the networks that it is in.
    pub forward_for: Option<Vec<Network>>,
    /// The networks that this host is in.
    pub local: LocalNetworks,
    /// The networks that may transfer zones, besides clients that sign with one of the keys.
    pub transfer_to: Vec<Network>,
    /// The keys that queries may be signed with; answers to them are signed too (RFC 8945).
    pub keys: Option<Reloaded<TsigKeys>>,
    /// The callback for every answered question.
    pub log: Option<Arc<AnswerLog>>,
    /// The callback for every finished connection.
    pub session_log: Option<Arc<SessionLog>>,
}

impl std::fmt::Debug for NameServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NameServer").field("zones", &self.zones.now().iter().count()).finish_non_exhaustive()
    }
}

/// TCP and UDP sockets on the same addresses and ports.
#[derive(Debug)]
pub struct Sockets {
    tcp: Listeners,
    udp: Vec<std::net::UdpSocket>,
}

impl Sockets {
    /// The sockets that the service manager passed, otherwise those that `bind_tcp` binds, with UDP on the same addresses. Port 0
    /// selects a port that is free for both. If only TCP or only UDP sockets were passed, the others are bound to match them.
    ///
    /// # Errors
    /// Those of `bind_tcp`; [`Kind::CannotCreate`] for a UDP port in use.
    pub fn bind(
        activated: ActivatedSockets,
        bind_tcp: impl Fn() -> Result<Listeners, Fault>,
    ) -> Result<Sockets, Fault> {
        let (tcp, udp) = activated.tcp_and_udp();
        if !tcp.is_empty() {
            let tcp = Listeners::activated(tcp);
            let udp = if udp.is_empty() { tcp.bind_udp_beside()? } else { udp };
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
            match tcp.bind_udp_beside() {
                Ok(udp) => return Ok(Sockets { tcp, udp }),
                Err(fault) if tries >= MAX_PORT_TRIES => return Err(fault),
                // With a fixed port this fails again, and the last attempt returns the fault.
                Err(_) => {}
            }
        }
    }

    /// The addresses on which they listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.addresses()
    }
}

impl NameServer {
    /// Serves until shutdown, with the connections that `admission` accepts.
    ///
    /// # Errors
    /// [`Kind::Io`] if a socket fails permanently; [`Kind::Config`] for a socket that cannot be polled.
    pub async fn serve(self, sockets: Sockets, admission: &Arc<Admission>, shutdown: &Shutdown) -> Result<(), Fault> {
        let wrong = |error: std::io::Error| Fault::new(Kind::Config, format!("UDP socket: {}", plain(&error)));
        let udp = sockets.udp.into_iter().map(AskedSocket::new).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        let server = Arc::new(ServingState {
            server: self,
            transfers: Semaphore::new(workers.div_ceil(2)),
            admission: admission.clone(),
            shutdown: shutdown.clone(),
        });
        let mut tasks = tokio::task::JoinSet::new();
        for socket in udp {
            let socket = Arc::new(socket);
            for _ in 0..workers {
                let (server, socket) = (server.clone(), socket.clone());
                tasks.spawn(async move { server.datagrams(socket).await });
            }
        }
        let handler = move |stream: Stream, peer: SocketAddr, place: ClientPlace| {
            let server = server.clone();
            async move {
                let mut ending = EndingConnection::begin(&server.server, peer);
                // A client that breaks its connection is no error of the server.
                connection::serve(&server, stream, place, &mut ending.session).await;
            }
        };
        // DNS has no message for a client that is not admitted.
        let connections = sockets.tcp.serve(admission, shutdown, |_, _| "", handler);
        tokio::select! {
            ended = connections => ended,
            Some(ended) = tasks.join_next() => {
                ended.unwrap_or_else(|error| Err(Fault::new(Kind::Internal, error.to_string())))
            }
        }
    }

    fn may_transfer(&self, peer: SocketAddr, signer: Option<&TsigSigner>) -> bool {
        signer.is_some_and(TsigSigner::is_proven) || self.transfer_to.iter().any(|network| network.contains(peer.ip()))
    }

    fn answer(&self, query: &[u8], udp: bool) -> (AnswerAction, Option<TsigSigner>) {
        let (keys, none) = (self.keys.as_ref().map(Reloaded::now), TsigKeys::default());
        let keys = keys.as_deref().unwrap_or(&none);
        answer::answer_signed(&self.zones.now(), (keys, since_1970().as_secs()), query, udp)
    }

    /// The forwarder for this client's questions; `None` if the client is not allowed to use it.
    fn forwarder(&self, client: SocketAddr) -> Option<Forwarder> {
        let allowed = match &self.forward_for {
            Some(networks) => networks.iter().any(|network| network.contains(client.ip())),
            None => self.forward.is_some() && self.local.contains(client.ip()),
        };
        self.forward.clone().filter(|_| allowed)
    }

    /// Finishes a response: sets RA if the server forwards at all (RFC 1035, section 4.1.1), signs it and logs it.
    fn outgoing(
        &self,
        asker: Asker,
        query: &[u8],
        mut response: DnsResponse,
        signer: Option<TsigSigner>,
    ) -> DnsResponse {
        if let (Some(byte), true) = (response.wire.get_mut(3), self.forward.is_some()) {
            *byte |= Flags::RA.to_be_bytes()[1];
        }
        if let Some(mut signer) = signer {
            let limit = match asker.transport {
                Transport::Udp => answer::udp_limit(LoggedQuery::read(query).edns.as_ref()),
                _ => MAX_MESSAGE_BYTES,
            };
            answer::sign(&mut response, &mut signer, since_1970().as_secs(), limit);
        }
        self.log(asker, query, &response);
        response
    }

    fn log(&self, asker: Asker, query: &[u8], response: &DnsResponse) {
        match response.rcode {
            Rcode::NOERROR => Counter::QueriesNoError,
            Rcode::NXDOMAIN => Counter::QueriesNoName,
            Rcode::SERVFAIL => Counter::QueriesFailed,
            Rcode::REFUSED => Counter::QueriesRefused,
            _ => Counter::QueriesOther,
        }
        .add(1);
        Counter::BytesSent.add(response.wire.len() as u64);
        if let Some(log) = &self.log {
            let truncated = response.wire.get(2).is_some_and(|flags| flags & Flags::TC.to_be_bytes()[0] != 0);
            let (rcode, size_bytes) = (response.rcode, response.wire.len());
            log(&LoggedAnswer { asker, query, rcode, truncated, size_bytes, complete: true });
        }
    }
}

/// Logs a connection when it ends, for whatever reason.
struct EndingConnection {
    log: Option<Arc<SessionLog>>,
    session: AskedSession,
    started: Instant,
    _counted: CountedConnection,
}

impl EndingConnection {
    fn begin(server: &NameServer, client: SocketAddr) -> EndingConnection {
        let (session, started, elapsed, why) = (SessionId::next(), Instant::now(), Duration::ZERO, "ended");
        let session = AskedSession { session, client, elapsed, why, queries: 0, received: 0, sent: 0 };
        EndingConnection { log: server.session_log.clone(), session, started, _counted: CountedConnection::begin() }
    }
}

impl Drop for EndingConnection {
    fn drop(&mut self) {
        self.session.elapsed = self.started.elapsed();
        if let Some(log) = &self.log {
            log(&self.session);
        }
    }
}

/// The state that all sockets of a server share.
struct ServingState {
    server: NameServer,
    /// Permits for the threads that build transfer messages: without a permit a transfer waits.
    transfers: Semaphore,
    admission: Arc<Admission>,
    shutdown: Shutdown,
}

impl ServingState {
    /// Answers datagrams until the socket fails permanently.
    async fn datagrams(self: Arc<ServingState>, socket: Arc<AskedSocket>) -> Result<(), Fault> {
        let (mut buffer, mut room) = (vec![0; MAX_MESSAGE_BYTES], ControlRoom::default());
        loop {
            let (length, path) = match socket.receive(&mut buffer, &mut room).await {
                Ok(received) => received,
                Err(error) => {
                    listen::outlast("UDP", &error).await?;
                    continue;
                }
            };
            let (client, server) = (path.client(), path.local());
            let asker = Asker { client, server, transport: Transport::Udp, session: None };
            let query = buffer.get(..length).unwrap_or_default();
            Counter::BytesReceived.add(length as u64);
            let (action, signer) = self.server.answer(query, true);
            let response = match action {
                AnswerAction::Send(response) => response,
                AnswerAction::Transfer(message) => {
                    self.transfer_by_datagram(&message, self.server.may_transfer(client, signer.as_ref()))
                }
                AnswerAction::Elsewhere(onward) => {
                    let Some(forwarder) = self.server.forwarder(client) else {
                        self.send_datagram((&socket, &path), asker, query, onward.unforwarded(), signer).await;
                        continue;
                    };
                    let (state, socket, query) = (self.clone(), socket.clone(), query.to_vec());
                    tokio::spawn(async move {
                        let response = forwarded(&forwarder, *onward).await;
                        state.send_datagram((&socket, &path), asker, &query, response, signer).await;
                    });
                    continue;
                }
                AnswerAction::Drop => continue,
            };
            self.send_datagram((&socket, &path), asker, query, response, signer).await;
        }
    }

    async fn send_datagram(
        &self,
        (socket, path): (&AskedSocket, &DatagramPath),
        asker: Asker,
        query: &[u8],
        response: DnsResponse,
        signer: Option<TsigSigner>,
    ) {
        let response = self.server.outgoing(asker, query, response, signer);
        debug_assert!(response.wire.len() <= usize::from(DEFAULT_UDP_SIZE), "{} bytes", response.wire.len());
        if response.wire.len() > usize::from(DEFAULT_UDP_SIZE) {
            return; // whatever went wrong: a name server is no weapon
        }
        // A datagram that cannot be sent counts as lost.
        let _ = socket.answer(path, &response.wire).await;
    }

    /// Answers an IXFR with the current SOA, which tells the client to retry over TCP (RFC 1995, section 2). AXFR is allowed on
    /// connections only (RFC 5936, section 4.2).
    fn transfer_by_datagram(&self, query: &Message, allowed: bool) -> DnsResponse {
        let question = query.question.first().filter(|question| question.rtype == Rtype::IXFR);
        let Some(question) = question else { return answer::refuse(query, Rcode::FORMERR) };
        match self.server.zones.now().get(&question.name) {
            _ if !allowed => answer::refuse(query, Rcode::REFUSED),
            None => answer::refuse(query, Rcode::NOTAUTH),
            Some(zone) => answer::with_soa(query, zone),
        }
    }
}

/// Forwards a question; the response has the client's identifier.
async fn forwarded(forwarder: &Forwarder, onward: OnwardQuestion) -> DnsResponse {
    match forwarder.ask(&onward.upstream).await {
        Ok(answer) => onward.completed(&answer.message),
        Err(_) => onward.failed(NO_REACHABLE_AUTHORITY),
    }
}
