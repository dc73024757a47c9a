//! Scripted peers that speak TLS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::harness::Conn;

/// A certificate of its own making for this name, in PEM, and what a server does TLS with.
pub(crate) fn self_signed(name: &str) -> (String, Arc<ServerConfig>) {
    let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    (own.cert.pem(), Arc::new(config))
}

/// The server's side of a connection inside TLS.
pub(crate) struct TlsConn(BufReader<StreamOwned<ServerConnection, TcpStream>>);

impl TlsConn {
    /// The handshake comes with the first line.
    pub(crate) fn new(conn: &mut Conn, config: &Arc<ServerConfig>) -> TlsConn {
        let tcp = conn.stream().get_ref().try_clone().unwrap();
        let tls = ServerConnection::new(Arc::clone(config)).unwrap();
        TlsConn(BufReader::new(StreamOwned::new(tls, tcp)))
    }

    /// The next line without its line end; `None` at the end, or when there is no TLS.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line);
        matches!(read, Ok(count) if count > 0).then(|| line.trim_end().to_owned())
    }

    /// Sends text; false when the other side has gone.
    pub(crate) fn send(&mut self, text: &str) -> bool {
        let stream = self.0.get_mut();
        stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_ok()
    }

    /// Ends TLS when the other side has: what comes next is not inside TLS, and not read here.
    pub(crate) fn end(mut self) {
        self.until_closed();
        self.close();
    }

    /// Ends TLS without waiting.
    pub(crate) fn close(mut self) {
        let stream = self.0.get_mut();
        stream.conn.send_close_notify();
        drop(stream.flush());
    }

    /// Reads and forgets until the other side closes.
    pub(crate) fn until_closed(&mut self) {
        drop(std::io::copy(&mut self.0.by_ref(), &mut std::io::sink()));
    }

    /// A server that takes every message and answers commands by their first word; `answer` may know better. What it
    /// hears goes to `heard`.
    pub(crate) fn serve(&mut self, answer: &dyn Fn(&str) -> Option<String>, heard: &mut dyn FnMut(&str)) {
        let mut in_data = false;
        while let Some(line) = self.line() {
            heard(&line);
            let reply = match line.as_str() {
                "." => {
                    in_data = false;
                    "250 2.0.0 taken".to_owned()
                }
                _ if in_data => continue,
                "DATA" => {
                    in_data = true;
                    "354 go".to_owned()
                }
                _ => answer(&line).unwrap_or_else(|| "250 2.1.0 ok".to_owned()),
            };
            if !self.send(&format!("{reply}\r\n")) {
                return;
            }
        }
    }
}
