//! A client of smtpserve that is typed by hand, over TCP, TLS or a UNIX socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use applayer::net::tls::{ClientTls, ClientTlsOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::harness::tool;

/// How long a reply may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// A connection, with the socket below its TLS.
pub(crate) struct Dialogue {
    wire: BufReader<Box<dyn Wire>>,
    tcp: Option<TcpStream>,
}

impl Dialogue {
    /// Connects from this address of the loopback network, without reading the greeting.
    fn raw(from: Ipv4Addr, to: SocketAddr) -> Dialogue {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&to.into()).expect("the server listens");
        let tcp = TcpStream::from(socket);
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        Dialogue { wire: BufReader::new(Box::new(tcp.try_clone().unwrap())), tcp: Some(tcp) }
    }

    /// Connects and reads the greeting, inside TLS if it is implicit.
    pub(crate) fn from(from: Ipv4Addr, to: SocketAddr, implicit: bool) -> Dialogue {
        let mut dialogue = Dialogue::raw(from, to);
        if implicit {
            dialogue.shake_hands();
        }
        dialogue.hears("220 ");
        dialogue
    }

    pub(crate) fn to(to: SocketAddr, implicit: bool) -> Dialogue {
        Dialogue::from(Ipv4Addr::LOCALHOST, to, implicit)
    }

    /// Connects to a UNIX socket and reads the greeting.
    pub(crate) fn unix(path: &Path) -> Dialogue {
        let stream = UnixStream::connect(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut dialogue = Dialogue { wire: BufReader::new(Box::new(stream)), tcp: None };
        dialogue.hears("220 ");
        dialogue
    }

    fn shake_hands(&mut self) {
        let client = ClientTls::new(&ClientTlsOptions { insecure: true, ..ClientTlsOptions::default() }).unwrap();
        let tcp = self.tcp.as_ref().expect("TLS is for TCP").try_clone().unwrap();
        self.wire = BufReader::new(Box::new(client.connect_blocking(tcp, "mail.test").expect("the TLS handshake")));
    }

    /// STARTTLS, and the greeting again.
    pub(crate) fn start_tls(&mut self, hello: &str) {
        self.says("STARTTLS", "220");
        self.shake_hands();
        self.says(hello, "250");
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.get_mut().write_all(bytes.as_ref()).expect("the server reads");
        self.wire.get_mut().flush().unwrap();
    }

    /// All lines of the next reply; empty when the connection is over.
    pub(crate) fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            if self.wire.read_line(&mut reply).unwrap_or(0) == 0 || reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply.trim_end().to_owned();
            }
        }
    }

    #[track_caller]
    pub(crate) fn hears(&mut self, expected: &str) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(expected), "{reply}, not {expected}");
        reply
    }

    pub(crate) fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.reply()
    }

    #[track_caller]
    pub(crate) fn says(&mut self, line: &str, expected: &str) -> String {
        let reply = self.say(line);
        assert!(reply.starts_with(expected), "{line}: {reply}, not {expected}");
        reply
    }

    /// AUTH PLAIN, and the reply.
    pub(crate) fn log_in(&mut self, user: &str, password: &str) -> String {
        self.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{password}"))))
    }

    /// One message to one recipient; the reply to its final dot, or the first refusal.
    pub(crate) fn sends(&mut self, from: &str, to: &str, message: &str) -> String {
        for line in [format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>"), "DATA".to_owned()] {
            let reply = self.say(&line);
            if !reply.starts_with(['2', '3']) {
                let _ = self.say("RSET");
                return reply;
            }
        }
        self.send(message);
        self.say(".")
    }
}

/// Writes a user file with these lines of name and terms, each with the password `secret`, as Argon2id or for SCRAM.
pub(crate) fn user_file(path: &Path, users: &[(&str, &str)], scram: bool) {
    let kind = if scram { "--hash-password=scram-sha-256" } else { "--hash-password" };
    let hash = tool("smtpserve").arg(kind).stdin("secret\n").run();
    let hash = hash.exits(0).text().trim().to_owned();
    let lines: String = users.iter().map(|(name, terms)| format!("{name}:{hash}::{terms}\n")).collect();
    std::fs::write(path, lines).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}
