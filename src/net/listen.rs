//! Listening sockets: binding, the limit on clients, and the drain at the end.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fault::{Fault, Kind, plain};
use crate::net::admission::{Admission, AdmissionRefusal, ClientPlace};
use crate::net::counters::Counter;
use crate::net::stream::Stream;
use crate::net::unix_socket::{SocketFile, UnixSocket};
use crate::net::{activation, literal};
use crate::scope::canonical;
use crate::secret::without_password;

/// The longest backlog of connections in the kernel.
const BACKLOG: i32 = 1024;
/// The pause when the process or the system is out of descriptors or memory.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);
/// After this time a shortage of descriptors no longer counts as brief: clients are told.
const SHORTAGE_PATIENCE: Duration = Duration::from_secs(1);
/// The time that a client has to say goodbye after it lost its place to another.
const GOODBYE_LIMIT: Duration = Duration::from_millis(250);
/// The time within which the tasks of clients end after they were stopped.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// The address of the clients of UNIX sockets, for the limits per address.
const UNIX_CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 0);

/// One or more bound listeners.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<std::net::TcpListener>,
    unix: Vec<UnixSocket>,
}

impl Listeners {
    /// Binds each of `addresses` (`HOST:PORT`, `[V6]:PORT`, `PORT`, or `:PORT` for all interfaces), or `default` if there
    /// are none. `[::]` serves IPv4 as well, unless an IPv4 address of the same port is also given, in either order. Needs
    /// no runtime: privileged work comes before the threads start.
    ///
    /// # Errors
    /// [`Kind::Usage`] for text that is not an address, [`Kind::CannotCreate`] for an address in use, [`Kind::AuthFailed`]
    /// for one that needs privileges, [`Kind::Config`] for one that is not local.
    pub fn bind(addresses: &[String], default: &str) -> Result<Listeners, Fault> {
        let default = [default.to_owned()];
        let wanted = if addresses.is_empty() { &default[..] } else { addresses };
        let parsed = wanted.iter().map(|text| parse_listen(text)).collect::<Result<Vec<_>, Fault>>()?;
        let of_v4 = |port| parsed.iter().any(|other| other.is_ipv4() && other.port() == port);
        let one = |address: &SocketAddr| bind_tcp(*address, !address.ip().is_unspecified() || of_v4(address.port()));
        Ok(Listeners { sockets: parsed.iter().map(one).collect::<Result<_, Fault>>()?, unix: Vec::new() })
    }

    /// Binds UDP sockets on the same addresses and ports, each for the same families.
    ///
    /// # Errors
    /// As [`Listeners::bind`].
    pub fn bind_udp_beside(&self) -> Result<Vec<std::net::UdpSocket>, Fault> {
        let beside = |tcp: &std::net::TcpListener| {
            let failed = |error| cannot_listen("UDP ", tcp.local_addr().ok(), &error);
            let address = tcp.local_addr().map_err(failed)?;
            // For an IPv4 socket the option does not exist.
            let only_v6 = SockRef::from(tcp).only_v6().unwrap_or(true);
            let socket = socket(address, Type::DGRAM, only_v6).map_err(failed)?;
            socket.bind(&address.into()).map_err(failed)?;
            Ok(socket.into())
        };
        self.sockets.iter().map(beside).collect()
    }

    /// Wraps the listeners passed by the service manager.
    pub fn activated(sockets: Vec<std::net::TcpListener>) -> Listeners {
        Listeners { sockets, unix: Vec::new() }
    }

    /// Wraps a UNIX socket. The handler's address of its clients is one of this host; the stream tells them apart.
    pub fn unix(socket: UnixSocket) -> Listeners {
        Listeners { sockets: Vec::new(), unix: vec![socket] }
    }

    /// The TCP listeners one by one, in their order.
    pub fn one_by_one(self) -> impl Iterator<Item = Listeners> {
        self.sockets.into_iter().map(|socket| Listeners::activated(vec![socket]))
    }

    /// The actual listening addresses (the system's choice replaces port 0).
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Accepts until the drain begins, one task per connection, as long as clients are admitted; then waits for the open
    /// connections until the shutdown ends. A client that is not admitted gets the text of `refuse` (empty for protocols without
    /// one) and is closed. A client that loses its place to another learns it by [`ClientPlace::lost`] and is ended soon after.
    ///
    /// # Errors
    /// [`Kind::Io`] if a listening socket fails permanently.
    pub async fn serve<F, Fut, R>(
        self,
        admission: &Arc<Admission>,
        shutdown: &Shutdown,
        refuse: R,
        handler: F,
    ) -> Result<(), Fault>
    where
        F: Fn(Stream, SocketAddr, ClientPlace) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
        R: Fn(SocketAddr, AdmissionRefusal) -> &'static str + Send + Sync + 'static,
    {
        let tcp = self.sockets.into_iter().map(|socket| TcpListener::from_std(socket).map(Acceptor::Tcp));
        let unix = self.unix.into_iter();
        let unix =
            unix.map(|it| UnixListener::from_std(it.listener).map(|socket| Acceptor::Unix { socket, _file: it.file }));
        let wrong = |error| Fault::new(Kind::Config, format!("listening socket: {}", plain(&error)));
        let sockets: Vec<Acceptor> = tcp.chain(unix).collect::<Result<_, _>>().map_err(wrong)?;
        let (handler, refuse) = (Arc::new(handler), Arc::new(refuse));
        let mut loops = JoinSet::new();
        for socket in sockets {
            let (handler, refuse) = (handler.clone(), refuse.clone());
            let (admission, shutdown) = (admission.clone(), shutdown.clone());
            loops.spawn(async move { accept_loop(socket, &handler, &*refuse, &admission, &shutdown).await });
        }
        while let Some(ended) = loops.join_next().await {
            ended.map_err(|error| Fault::new(Kind::Internal, error.to_string()))??;
        }
        Ok(())
    }
}

/// A listening socket of the runtime. The file of a UNIX socket is removed with it.
enum Acceptor {
    Tcp(TcpListener),
    Unix { socket: UnixListener, _file: SocketFile },
}

impl Acceptor {
    async fn accept(&self) -> std::io::Result<(Stream, SocketAddr)> {
        match self {
            Acceptor::Tcp(socket) => {
                let (tcp, peer) = socket.accept().await?;
                Ok((Stream::Plain(tcp), canonical(peer)))
            }
            Acceptor::Unix { socket, .. } => Ok((Stream::Unix(socket.accept().await?.0), UNIX_CLIENT)),
        }
    }
}

async fn accept_loop<F, Fut, R>(
    socket: Acceptor,
    handler: &Arc<F>,
    refuse: &R,
    admission: &Arc<Admission>,
    shutdown: &Shutdown,
) -> Result<(), Fault>
where
    F: Fn(Stream, SocketAddr, ClientPlace) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
    R: Fn(SocketAddr, AdmissionRefusal) -> &'static str,
{
    let mut clients = JoinSet::new();
    let mut reserve = Reserve::default();
    loop {
        reserve.keep();
        let accepted = tokio::select! {
            accepted = async { admission.room().await; socket.accept().await } => accepted,
            () = shutdown.draining() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => {
                reserve.short_since = None;
                accepted
            }
            Err(error) => {
                if !reserve.turn_away(&socket, &error, refuse).await {
                    outlast("accept", &error).await?;
                }
                continue;
            }
        };
        match admission.admit(peer.ip(), std::time::Instant::now()) {
            // A socket that cannot be set up is already dead.
            Ok(guard) if stream.tcp().is_none_or(|tcp| tcp.set_nodelay(true).is_ok()) => {
                let handler = handler.clone();
                clients.spawn(async move {
                    let place = guard.place();
                    let lost = async {
                        place.lost().await;
                        tokio::time::sleep(GOODBYE_LIMIT).await;
                    };
                    tokio::select! {
                        () = handler(stream, peer, guard.place()) => {}
                        () = lost => {}
                    }
                });
            }
            Ok(_) => {}
            Err(refusal) => {
                say_refused(&stream, refuse(peer, refusal));
            }
        }
        while clients.try_join_next().is_some() {}
    }
    drop(socket);
    tokio::select! {
        () = async { while clients.join_next().await.is_some() {} } => {}
        // A client whose task hangs in a call of the file system cannot be stopped, and holds nobody up.
        () = shutdown.ended() => drop(tokio::time::timeout(STOP_LIMIT, clients.shutdown()).await),
    }
    Ok(())
}

/// Sends these words before the connection is closed.
fn say_refused(stream: &Stream, words: &str) {
    Counter::RefusedPlaces.add(1);
    let socket = match stream {
        Stream::Plain(tcp) => tcp.as_fd(),
        Stream::Unix(unix) => unix.as_fd(),
        Stream::Tls(_) => return,
    };
    // The text fits into the empty buffer of a new socket; a client that does not read it loses nothing.
    let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
    let _ = rustix::net::send(socket, words.as_bytes(), flags);
}

/// A spare descriptor, given up for a client when none is left: the client is told and closed. Otherwise it would wait in
/// the backlog during the shortage and wake the listener repeatedly. A brief shortage, until clients that lost their places
/// leave, is waited out.
#[derive(Debug, Default)]
struct Reserve {
    file: Option<std::fs::File>,
    /// The start of the shortage.
    short_since: Option<std::time::Instant>,
}

impl Reserve {
    /// Reserves a descriptor again, if one is free.
    fn keep(&mut self) {
        if self.file.is_none() {
            self.file = std::fs::File::open("/dev/null").ok();
        }
    }

    /// True if a client was turned away after this error of accept(2).
    async fn turn_away<R>(&mut self, socket: &Acceptor, error: &std::io::Error, refuse: &R) -> bool
    where
        R: Fn(SocketAddr, AdmissionRefusal) -> &'static str,
    {
        let short = matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE));
        if !short || self.short_since.get_or_insert_with(std::time::Instant::now).elapsed() < SHORTAGE_PATIENCE {
            return false;
        }
        if self.file.take().is_none() {
            return false;
        }
        // Another thread may have been faster, and the client may have left.
        match tokio::time::timeout(Duration::ZERO, socket.accept()).await {
            Ok(Ok((stream, peer))) => say_refused(&stream, refuse(peer, AdmissionRefusal::Full)),
            _ => return false,
        }
        true
    }
}

/// Handles an error of a socket that serves many clients: an error of one client is ignored, a shortage causes a pause, any
/// other error is permanent.
///
/// # Errors
/// [`Kind::Io`] for a permanent error.
pub async fn outlast(what: &str, error: &std::io::Error) -> Result<(), Fault> {
    match Errno::from_io_error(error) {
        // Errors of one connection, or of the network about it (accept(2), ip(7)); a firewall causes PERM.
        Some(
            Errno::CONNABORTED
            | Errno::CONNREFUSED
            | Errno::CONNRESET
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
            | Errno::OPNOTSUPP
            | Errno::PERM
            | Errno::TIMEDOUT
            | Errno::MSGSIZE
            | Errno::INTR
            | Errno::AGAIN,
        ) => tokio::task::yield_now().await,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => tokio::time::sleep(SHORTAGE_PAUSE).await,
        _ => return Err(Fault { kind: Kind::Io, ..Fault::local(what, error) }),
    }
    Ok(())
}

/// Parses a `--listen` address: `HOST:PORT`, `[V6]:PORT`, or `PORT` of 127.0.0.1. Listening on all interfaces must be explicit.
///
/// # Errors
/// [`Kind::Usage`] for any other form.
pub fn parse_listen(text: &str) -> Result<SocketAddr, Fault> {
    let local = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let bad = || {
        Fault::new(Kind::Usage, format!("{:?} is not an address to listen on (ADDRESS:PORT)", without_password(text)))
    };
    if let Some(address) = literal::with_port(text)? {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return port.parse().map(local).map_err(|_| bad());
    }
    if text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()) {
        return Err(bad().with_hint("[::]:PORT is every interface, a port alone is one of 127.0.0.1"));
    }
    text.parse().map(local).map_err(|_| bad())
}

fn bind_tcp(address: SocketAddr, only_v6: bool) -> Result<std::net::TcpListener, Fault> {
    let failed = |error| cannot_listen("", Some(address), &error);
    let socket = socket(address, Type::STREAM, only_v6).map_err(failed)?;
    socket.set_reuse_address(true).map_err(failed)?;
    socket.bind(&address.into()).map_err(failed)?;
    socket.listen(BACKLOG).map_err(failed)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, kind: Type, only_v6: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind.nonblocking(), None)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    Ok(socket)
}

/// The fault of an address that cannot be listened on; a retry does not help.
fn cannot_listen(protocol: &str, address: Option<SocketAddr>, error: &std::io::Error) -> Fault {
    let kind = match error.kind() {
        std::io::ErrorKind::AddrInUse => Kind::CannotCreate,
        std::io::ErrorKind::PermissionDenied => Kind::AuthFailed,
        _ => Kind::Config,
    };
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    Fault::new(kind, format!("listen on {protocol}{address}: {}", plain(error)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Draining,
    Ended,
}

/// The shutdown of a server: the first INT or TERM stops accepting and drains, the second one or the drain's time limit ends it.
#[derive(Debug, Clone)]
pub struct Shutdown {
    phase: watch::Sender<Phase>,
}

impl Shutdown {
    /// A shutdown started only by [`Shutdown::drain`] and [`Shutdown::end`]: for tests and for servers inside a program.
    pub fn manual() -> Shutdown {
        Shutdown { phase: watch::Sender::new(Phase::Running) }
    }

    /// A shutdown by INT and TERM; the drain takes at most `drain`. Needs a running tokio runtime.
    ///
    /// # Errors
    /// The system's error, by [`Fault::local`].
    pub fn on_signals(drain: Duration) -> Result<Shutdown, Fault> {
        use tokio::signal::unix::{SignalKind, signal};
        let shutdown = Shutdown::manual();
        let failed = |error: std::io::Error| Fault::local("signals", &error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let handle = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} }
            handle.drain();
            activation::notify_stopping();
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = tokio::time::sleep(drain) => {}
            }
            handle.end();
        });
        Ok(shutdown)
    }

    /// Stops accepting; running sessions may finish.
    pub fn drain(&self) {
        self.phase.send_if_modified(|phase| {
            let first = *phase == Phase::Running;
            if first {
                *phase = Phase::Draining;
            }
            first
        });
    }

    /// Ends everything.
    pub fn end(&self) {
        self.phase.send_replace(Phase::Ended);
    }

    /// Returns when the drain begins.
    pub async fn draining(&self) {
        self.reached(|phase| phase != Phase::Running).await;
    }

    /// Returns when everything must end.
    pub async fn ended(&self) {
        self.reached(|phase| phase == Phase::Ended).await;
    }

    async fn reached(&self, is: impl Fn(Phase) -> bool) {
        // `self` holds the sender, so the channel cannot close under us.
        let _ = self.phase.subscribe().wait_for(|phase| is(*phase)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::admission::{AdmissionLimits, Standing};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    #[test]
    fn listen_addresses() {
        for (text, expected) in [
            ("127.0.0.1:21", "127.0.0.1:21"),
            ("[::1]:25", "[::1]:25"),
            ("[::]:53", "[::]:53"),
            ("0.0.0.0:53", "0.0.0.0:53"),
            ("53", "127.0.0.1:53"),
            ("localhost:0", "127.0.0.1:0"),
        ] {
            assert_eq!(parse_listen(text).unwrap().to_string(), expected);
        }
        for bad in ["", "host:1", "1.2.3.4", "65536", ":53", ":x", "[::1]", "::1:5x"] {
            assert_eq!(parse_listen(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }

    /// Clients of several addresses, one each.
    async fn connect(from: u8, to: SocketAddr) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, from], 0))).unwrap();
        socket.connect(to).await.unwrap()
    }

    #[tokio::test]
    async fn serves_up_to_the_limit_and_drains() {
        let listeners = Listeners::bind(&[], "127.0.0.1:0").unwrap();
        let address = *listeners.addresses().first().unwrap();
        let shutdown = Shutdown::manual();
        let stop = shutdown.clone();
        let serve = |mut stream: Stream, _: SocketAddr, place: ClientPlace| async move {
            let mut byte = [0; 1];
            tokio::select! {
                read = stream.read_exact(&mut byte) => drop(read),
                () = place.lost() => byte = *b"-",
            }
            place.stands(Standing::Busy, true);
            let _ = stream.write_all(&byte).await;
            let _ = stream.read(&mut byte).await;
        };
        let server = tokio::spawn(async move {
            listeners.serve(&Admission::new(AdmissionLimits::of(2, 2)), &stop, |_, _| "full", serve).await
        });
        let says = async |stream: &mut TcpStream| {
            let mut text = [0; 4];
            let count = stream.read(&mut text).await.unwrap();
            String::from_utf8_lossy(&text[..count]).into_owned()
        };
        // The first two are silent: their places go to two busy clients, so that a fifth is refused.
        let mut clients = Vec::new();
        for from in 1..=4 {
            clients.push(connect(from, address).await);
            let (at, said) = if from < 3 { continue } else { (usize::from(from) - 1, "x") };
            assert_eq!(says(&mut clients[at - 2]).await, "-");
            clients[at].write_all(said.as_bytes()).await.unwrap();
            assert_eq!(says(&mut clients[at]).await, said);
        }
        assert_eq!(says(&mut connect(5, address).await).await, "full");
        shutdown.drain();
        drop(clients);
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn the_end_cuts_what_drags_on() {
        let listeners = Listeners::bind(&[], "127.0.0.1:0").unwrap();
        let address = *listeners.addresses().first().unwrap();
        let shutdown = Shutdown::manual();
        let stop = shutdown.clone();
        let serve = |_, _, _| std::future::pending();
        let server = tokio::spawn(async move {
            listeners.serve(&Admission::new(AdmissionLimits::of(2, 2)), &stop, |_, _| "", serve).await
        });
        let mut client = TcpStream::connect(address).await.unwrap();
        shutdown.drain();
        shutdown.end();
        server.await.unwrap().unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shortage_is_waited_for() {
        let begun = tokio::time::Instant::now();
        for (errno, pause) in [(Errno::MFILE, SHORTAGE_PAUSE), (Errno::CONNABORTED, Duration::ZERO)] {
            let before = begun.elapsed();
            outlast("accept", &errno.into()).await.unwrap();
            assert_eq!(begun.elapsed() - before, pause, "{errno}");
        }
        for errno in [Errno::BADF.into(), Errno::INVAL.into(), std::io::ErrorKind::InvalidData.into()] {
            assert_eq!(outlast("accept", &errno).await.unwrap_err().kind, Kind::Io);
        }
    }

    #[tokio::test]
    async fn an_error_that_stays_ends_the_server() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let listeners = Listeners::activated(vec![socket.try_clone().unwrap()]);
        rustix::net::shutdown(&socket, rustix::net::Shutdown::Both).unwrap();
        let serve = |_, _, _| std::future::pending();
        let fault = listeners
            .serve(&Admission::new(AdmissionLimits::of(2, 2)), &Shutdown::manual(), |_, _| "", serve)
            .await
            .unwrap_err();
        assert_eq!(fault.kind, Kind::Io, "{fault}");
    }

    #[tokio::test]
    async fn a_taken_port_is_said() {
        let listeners = Listeners::bind(&[], "127.0.0.1:0").unwrap();
        let taken = listeners.addresses().first().unwrap().to_string();
        let fault = Listeners::bind(&[taken], "127.0.0.1:0").unwrap_err();
        assert_eq!(fault.kind, Kind::CannotCreate);
        assert!(fault.detail.contains("Address already in use"), "{}", fault.detail);
    }
}
