//! Peers that say what a test has written for them.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::harness::LIMIT;

/// One connection of a scripted peer.
pub(crate) struct Conn {
    reader: BufReader<TcpStream>,
}

impl Conn {
    pub(crate) fn new(stream: TcpStream) -> Conn {
        stream.set_read_timeout(Some(LIMIT)).expect("a read limit");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Conn { reader: BufReader::new(stream) }
    }

    /// The next line without its line end; `None` at the end of the stream.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()),
        }
    }

    /// Sends bytes as they are; false when the other side has gone.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.reader.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Reads and forgets until the other side closes.
    pub(crate) fn until_closed(&mut self) {
        drop(std::io::copy(&mut self.reader, &mut std::io::sink()));
    }

    /// The stream itself, with the reader's buffer around it.
    pub(crate) fn stream(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.reader
    }
}

/// A scripted TCP peer on loopback: `script` runs once a connection, each in a thread of its own.
pub(crate) fn peer(script: impl Fn(Conn) + Send + Sync + 'static) -> Peer {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let addr = listener.local_addr().expect("its address");
    let stopped = Arc::new(AtomicBool::new(false));
    let script = Arc::new(script);
    let stop = Arc::clone(&stopped);
    let accepting = thread::spawn(move || {
        for stream in listener.incoming() {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            let script = Arc::clone(&script);
            if let Ok(stream) = stream {
                thread::spawn(move || script(Conn::new(stream)));
            }
        }
    });
    Peer { addr, stopped, accepting: Some(accepting) }
}

/// A peer that accepts, reads everything and never says a word.
pub(crate) fn hanging() -> Peer {
    peer(|mut conn| conn.until_closed())
}

/// A peer that says these bytes to everybody and hangs up.
pub(crate) fn saying(bytes: &'static [u8]) -> Peer {
    peer(move |mut conn| {
        conn.send(bytes);
        drop(conn.stream().get_ref().shutdown(std::net::Shutdown::Write));
        conn.until_closed();
    })
}

/// A scripted peer; dropping it stops accepting.
pub(crate) struct Peer {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    stopped: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits in accept.
        drop(TcpStream::connect(self.addr));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

/// A loopback port where nothing listens, for as long as the value lives: bound on TCP and UDP, so nobody else can take
/// it; connecting is refused, datagrams are never answered.
pub(crate) fn refusing() -> Refusing {
    for _ in 0..100 {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a loopback port");
        let addr = udp.local_addr().expect("its address");
        let tcp = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        if tcp.bind(&addr.into()).is_ok() {
            return Refusing { addr, _tcp: tcp, _udp: udp };
        }
    }
    panic!("no port that is free on TCP and UDP")
}

/// See [`refusing`].
pub(crate) struct Refusing {
    /// The address.
    pub(crate) addr: SocketAddr,
    _tcp: socket2::Socket,
    _udp: UdpSocket,
}

/// A scripted UDP peer: `script` maps a datagram to the datagrams that go back. TCP to the same port is refused.
pub(crate) fn udp_peer(script: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback port");
    let addr = socket.local_addr().expect("its address");
    socket.set_read_timeout(Some(LIMIT)).expect("a read limit");
    thread::spawn(move || {
        let mut buffer = [0; 65536];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            for answer in script(&buffer[..count]) {
                drop(socket.send_to(&answer, from));
            }
        }
    });
    addr
}
