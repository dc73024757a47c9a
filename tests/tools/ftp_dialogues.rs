//! What graphical clients say, command for command, played against the server over real sockets (`tests/data/ftp/clients`).
//!
//! Lines of a transcript: `C: command`; `S: CODE [TEXT]`, the end of the reply, whose last line begins so; `S+ TEXT`, a line of the
//! reply before; `T: control`, the TLS handshake; `T: data`, the same on the data connection, with the session of the control
//! connection; `D: open`, the data connection to the port of the last reply; `D> TEXT`, a line sent on it; `D: end`; `D< TEXT`, a line
//! that comes on it; `F: NAME TEXT`, a line of a file of the served tree. `DATE` in a line is any time of MLSD, `TAIL` the
//! middle of a line of LIST: links, owner, group, size and time.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::harness::{LIMIT, server, temp_dir};

/// One end of a connection, in clear text or in TLS.
enum Wire {
    Clear(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Wire {
    fn open(to: SocketAddr) -> Wire {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Wire::Clear(stream)
    }

    /// The handshake is complete when this returns.
    fn secure(self, config: &Arc<ClientConfig>) -> Wire {
        let Wire::Clear(mut stream) = self else { panic!("TLS runs") };
        let mut tls = ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost").unwrap()).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).unwrap();
        }
        Wire::Tls(Box::new(StreamOwned::new(tls, stream)))
    }

    /// Ends what is sent: a file is whole.
    fn end(&mut self) {
        match self {
            Wire::Clear(stream) => stream.shutdown(std::net::Shutdown::Write).unwrap(),
            Wire::Tls(tls) => {
                tls.conn.send_close_notify();
                tls.flush().unwrap();
            }
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Wire::Clear(stream) => stream.read(buffer),
            Wire::Tls(tls) => tls.read(buffer),
        }
    }
}

struct Dialogue {
    control: Option<BufReader<Wire>>,
    data: Option<BufReader<Wire>>,
    /// Something was sent on it.
    sends: bool,
    at: SocketAddr,
    tls: Arc<ClientConfig>,
    /// The lines of the last reply.
    reply: Vec<String>,
}

impl Dialogue {
    fn say(&mut self, bytes: &[u8]) {
        match self.control.as_mut().unwrap().get_mut() {
            Wire::Clear(stream) => stream.write_all(bytes).unwrap(),
            Wire::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()).unwrap(),
        }
    }

    /// Reads a whole reply.
    fn hear(&mut self) {
        self.reply.clear();
        loop {
            let line = line(self.control.as_mut().unwrap());
            assert!(!line.is_empty(), "the connection ended behind {:?}", self.reply);
            let code = line.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()));
            let last = code.is_some() && line.as_bytes().get(3).is_none_or(|byte| *byte == b' ');
            self.reply.push(line);
            if last {
                return;
            }
        }
    }

    /// The address that the last reply to PASV or EPSV named.
    fn data_address(&self) -> SocketAddr {
        let text = self.reply.last().unwrap();
        let inside = text.split(['(', ')']).nth(1).unwrap();
        let port = match text.starts_with("229") {
            true => inside.trim_matches('|').parse().unwrap(),
            false => {
                let numbers: Vec<u16> = inside.split(',').map(|number| number.parse().unwrap()).collect();
                assert_eq!(numbers[..4], [127, 0, 0, 1]);
                numbers[4] * 256 + numbers[5]
            }
        };
        SocketAddr::new(self.at.ip(), port)
    }

    fn play(&mut self, line: &str, root: &Path) {
        let (kind, rest) = line.split_at(2);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        match kind {
            "C:" => self.say(format!("{rest}\r\n").as_bytes()),
            "S:" => {
                self.hear();
                assert!(self.reply.last().unwrap().starts_with(rest), "{:?} instead of {rest:?}", self.reply);
            }
            // Behind the reply that it is a part of.
            "S+" => assert!(self.reply.iter().any(|line| alike(rest, line)), "{rest:?} is not in {:?}", self.reply),
            "T:" if rest == "control" => {
                let wire = self.control.take().unwrap().into_inner();
                self.control = Some(BufReader::new(wire.secure(&self.tls)));
            }
            "T:" => {
                let wire = self.data.take().unwrap().into_inner();
                self.data = Some(BufReader::new(wire.secure(&self.tls)));
            }
            "D:" if rest == "open" => self.data = Some(BufReader::new(Wire::open(self.data_address()))),
            "D:" => {
                let mut data = self.data.take().unwrap();
                // A file that is received ends with the server.
                if std::mem::take(&mut self.sends) {
                    data.get_mut().end();
                }
                let mut more = Vec::new();
                data.read_to_end(&mut more).unwrap();
                assert!(more.is_empty(), "{:?}", String::from_utf8_lossy(&more));
            }
            "D>" => {
                self.sends = true;
                let text = format!("{rest}\n");
                match self.data.as_mut().unwrap().get_mut() {
                    Wire::Clear(stream) => stream.write_all(text.as_bytes()).unwrap(),
                    Wire::Tls(tls) => tls.write_all(text.as_bytes()).unwrap(),
                }
            }
            "D<" => {
                let found = crate::ftp_dialogues::line(self.data.as_mut().unwrap());
                assert!(alike(rest, &found), "{found:?} instead of {rest:?}");
            }
            "F:" => {
                let (name, text) = rest.split_once(' ').unwrap();
                let found = std::fs::read_to_string(root.join(name)).unwrap();
                assert!(found.lines().any(|line| line == text), "{name}: {found:?}");
            }
            _ => panic!("no line of a transcript: {line}"),
        }
    }
}

fn line(stream: &mut impl BufRead) -> String {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line).unwrap();
    String::from_utf8(line).unwrap().trim_end_matches(['\r', '\n']).to_owned()
}

/// True if the text is the pattern, whose `DATE` is 14 digits and whose `TAIL` is any text.
fn alike(pattern: &str, text: &str) -> bool {
    if let Some((head, tail)) = pattern.split_once("TAIL") {
        return text.starts_with(head) && text.ends_with(tail);
    }
    let Some((head, tail)) = pattern.split_once("DATE") else { return pattern == text };
    let rest = text.strip_prefix(head).and_then(|rest| rest.split_at_checked(14));
    rest.is_some_and(|(date, rest)| date.bytes().all(|byte| byte.is_ascii_digit()) && rest == tail)
}

#[test]
fn graphical_clients_have_their_dialogues() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ftp/clients");
    let mut played = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let transcript = std::fs::read_to_string(&path).unwrap();
        let dir = temp_dir();
        let root = dir.path().join("served");
        std::fs::create_dir_all(root.join("docs")).unwrap();
        std::fs::write(root.join("docs/a b.txt"), "spaces\n").unwrap();
        std::fs::write(root.join("hello.txt"), "hello\nworld\n").unwrap();
        let cert = dir.path().join("cert.pem");
        let implicit = path.to_string_lossy().contains("implicit");
        let tls = if implicit { "implicit" } else { "try" };
        let site =
            server("ftpserve").args(["--write", "--append", "--tls", tls, "--self-signed", "localhost", "--cert-out"]);
        let site = site.arg(&cert).arg(&root).start();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&cert).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        let (tls, control) = (Arc::new(config.with_no_client_auth()), Some(BufReader::new(Wire::open(site.addr))));
        let mut dialogue = Dialogue { control, data: None, sends: false, at: site.addr, tls, reply: Vec::new() };
        for (number, line) in transcript.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // A failure says where.
            eprintln!("{}:{}: {line}", path.display(), number + 1);
            dialogue.play(line, &root);
        }
        played += 1;
        assert_eq!(site.stop(), 0, "{}", path.display());
    }
    assert!(played >= 4, "{played} transcripts");
}

#[test]
fn patterns_of_lines() {
    assert!(alike("type=file;modify=DATE; x", "type=file;modify=20260101000000; x") && alike("x", "x"));
    assert!(!alike("modify=DATE; x", "modify=2026010100000; x") && !alike("DATE", "2026") && !alike("x", "xy"));
    assert!(
        alike("-rw TAIL a b", "-rw 1 0 0 Nov 29 11:00 a b") && !alike("-rw TAIL a b", "-rw 1 0 0 Nov 29 11:00 a c")
    );
}
