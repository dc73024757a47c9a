//! Listening sockets: binding, the limit on clients, and the drain at the end.

use std::future::Future;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::fault::{Fault, Kind, plain};
use crate::net::stream::Stream;
use crate::net::{activation, literal};
use crate::scope::canonical;
use crate::secret::without_password;

/// Connections that the kernel may hold for us.
const BACKLOG: i32 = 1024;
/// How long to pause when the process ran out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One or more bound TCP listeners.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<std::net::TcpListener>,
}

impl Listeners {
    /// Binds each of `addresses` (`HOST:PORT`, `[V6]:PORT`, `PORT`, or `:PORT` for all interfaces), or `default` when
    /// there are none. `[::]` serves IPv4 as well, unless an IPv4 address of the same port is named beside it, in
    /// whichever order. Needs no runtime: what takes privileges comes before the threads start.
    ///
    /// # Errors
    /// [`Kind::Usage`] for text that is no address, [`Kind::CannotCreate`] for an address that is taken,
    /// [`Kind::AuthFailed`] for one that takes privileges, [`Kind::Config`] for one that is not ours.
    pub fn bind(addresses: &[String], default: &str) -> Result<Listeners, Fault> {
        let default = [default.to_owned()];
        let wanted = if addresses.is_empty() { &default[..] } else { addresses };
        let parsed = wanted.iter().map(|text| parse_listen(text)).collect::<Result<Vec<_>, Fault>>()?;
        let of_v4 = |port| parsed.iter().any(|other| other.is_ipv4() && other.port() == port);
        let one = |address: &SocketAddr| bind_tcp(*address, !address.ip().is_unspecified() || of_v4(address.port()));
        Ok(Listeners { sockets: parsed.iter().map(one).collect::<Result<_, Fault>>()? })
    }

    /// UDP sockets on the same addresses and ports, each for the same families.
    ///
    /// # Errors
    /// As [`Listeners::bind`].
    pub fn bind_udp_beside(&self) -> Result<Vec<std::net::UdpSocket>, Fault> {
        let beside = |tcp: &std::net::TcpListener| {
            let failed = |error| cannot_listen("UDP ", tcp.local_addr().ok(), &error);
            let address = tcp.local_addr().map_err(failed)?;
            // Of an IPv4 socket the question makes no sense.
            let only_v6 = SockRef::from(tcp).only_v6().unwrap_or(true);
            let socket = socket(address, Type::DGRAM, only_v6).map_err(failed)?;
            socket.bind(&address.into()).map_err(failed)?;
            Ok(socket.into())
        };
        self.sockets.iter().map(beside).collect()
    }

    /// The listeners that the service manager passed.
    pub fn activated(sockets: Vec<std::net::TcpListener>) -> Listeners {
        Listeners { sockets }
    }

    /// Where they really listen (port 0 was replaced by the system's choice).
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Accepts until the drain begins, at most `max_clients` at once (more wait in the kernel's queue), one task a
    /// connection; then waits for the connections that are open until the shutdown ends. Needs a running tokio runtime.
    ///
    /// # Errors
    /// [`Kind::Config`] for a socket that cannot be watched.
    pub async fn serve<F, Fut>(self, max_clients: usize, shutdown: &Shutdown, handler: F) -> Result<(), Fault>
    where
        F: Fn(Stream, SocketAddr) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let sockets: Vec<TcpListener> = self.sockets.into_iter().map(watched).collect::<Result<_, Fault>>()?;
        let handler = Arc::new(handler);
        let permits = Arc::new(Semaphore::new(max_clients.clamp(1, Semaphore::MAX_PERMITS)));
        let mut loops = JoinSet::new();
        for socket in sockets {
            let (handler, permits, shutdown) = (handler.clone(), permits.clone(), shutdown.clone());
            loops.spawn(async move { accept_loop(socket, handler, permits, shutdown).await });
        }
        while loops.join_next().await.is_some() {}
        Ok(())
    }
}

fn watched(socket: std::net::TcpListener) -> Result<TcpListener, Fault> {
    let wrong = |error| Fault::new(Kind::Config, format!("listening socket: {}", plain(&error)));
    TcpListener::from_std(socket).map_err(wrong)
}

async fn accept_loop<F, Fut>(socket: TcpListener, handler: Arc<F>, permits: Arc<Semaphore>, shutdown: Shutdown)
where
    F: Fn(Stream, SocketAddr) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut clients = JoinSet::new();
    loop {
        let permit = tokio::select! {
            permit = permits.clone().acquire_owned() => permit,
            () = shutdown.draining() => break,
        };
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = shutdown.draining() => break,
        };
        match accepted {
            Ok((tcp, peer)) => {
                // A socket that cannot be set up is already dead.
                if tcp.set_nodelay(true).is_ok() {
                    let handler = handler.clone();
                    clients.spawn(async move {
                        handler(Stream::Plain(tcp), canonical(peer)).await;
                        drop(permit);
                    });
                }
            }
            // A connection that died in the queue, or no descriptors left: neither ends a server.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        while clients.try_join_next().is_some() {}
    }
    drop(socket);
    tokio::select! {
        () = async { while clients.join_next().await.is_some() {} } => {}
        () = shutdown.ended() => clients.shutdown().await,
    }
}

/// Parses a `--listen` address: `HOST:PORT`, `[V6]:PORT`, `:PORT` or `PORT` (all interfaces).
///
/// # Errors
/// [`Kind::Usage`] for another form.
pub fn parse_listen(text: &str) -> Result<SocketAddr, Fault> {
    let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let bad =
        || Fault::new(Kind::Usage, format!("{:?} is no address to listen on (ADDRESS:PORT)", without_password(text)));
    if let Some(address) = literal::with_port(text)? {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return port.parse().map(|port| SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port)).map_err(|_| bad());
    }
    text.strip_prefix(':').unwrap_or(text).parse().map(|port| SocketAddr::new(any, port)).map_err(|_| bad())
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

/// The fault of an address that cannot be listened on; waiting does not cure it.
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

/// The end of a server: the first INT or TERM stops accepting and drains, the second or the drain's time ends it.
#[derive(Debug, Clone)]
pub struct Shutdown {
    phase: watch::Sender<Phase>,
}

impl Shutdown {
    /// A shutdown that only [`Shutdown::drain`] and [`Shutdown::end`] start: for tests and servers inside a program.
    pub fn manual() -> Shutdown {
        Shutdown { phase: watch::Sender::new(Phase::Running) }
    }

    /// A shutdown by INT and TERM; the drain takes at most `drain`. Needs a running tokio runtime.
    ///
    /// # Errors
    /// What [`Fault::local`] makes of the system's error.
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

    /// Stops accepting; what runs may finish.
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    #[test]
    fn listen_addresses() {
        for (text, expected) in [
            ("127.0.0.1:21", "127.0.0.1:21"),
            ("[::1]:25", "[::1]:25"),
            (":53", "[::]:53"),
            ("53", "[::]:53"),
            ("localhost:0", "127.0.0.1:0"),
        ] {
            assert_eq!(parse_listen(text).unwrap().to_string(), expected);
        }
        for bad in ["", "host:1", "1.2.3.4", "65536", "[::1]", "::1:5x"] {
            assert_eq!(parse_listen(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }

    #[tokio::test]
    async fn serves_up_to_the_limit_and_drains() {
        let listeners = Listeners::bind(&[], "127.0.0.1:0").unwrap();
        let address = *listeners.addresses().first().unwrap();
        let shutdown = Shutdown::manual();
        let most = Arc::new(AtomicUsize::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let (stop, seen, now) = (shutdown.clone(), most.clone(), open.clone());
        let server = tokio::spawn(async move {
            listeners
                .serve(2, &stop, move |mut stream, _| {
                    let (seen, now) = (seen.clone(), now.clone());
                    async move {
                        seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        let mut byte = [0; 1];
                        let _ = stream.read_exact(&mut byte).await;
                        now.fetch_sub(1, Ordering::SeqCst);
                        let _ = stream.write_all(&byte).await;
                    }
                })
                .await
        });
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        for client in &mut clients {
            client.write_all(b"x").await.unwrap();
        }
        for client in &mut clients {
            let mut byte = [0; 1];
            client.read_exact(&mut byte).await.unwrap();
        }
        assert!(most.load(Ordering::SeqCst) <= 2);
        let mut late = TcpStream::connect(address).await.unwrap();
        late.write_all(b"y").await.unwrap();
        let mut byte = [0; 1];
        late.read_exact(&mut byte).await.unwrap();
        shutdown.drain();
        server.await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn the_end_cuts_what_drags_on() {
        let listeners = Listeners::bind(&[], "127.0.0.1:0").unwrap();
        let address = *listeners.addresses().first().unwrap();
        let shutdown = Shutdown::manual();
        let stop = shutdown.clone();
        let server = tokio::spawn(async move { listeners.serve(2, &stop, |_stream, _| std::future::pending()).await });
        let mut client = TcpStream::connect(address).await.unwrap();
        shutdown.drain();
        shutdown.end();
        server.await.unwrap().unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
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
