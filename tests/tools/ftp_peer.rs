//! A scripted FTP server: a test says what it does its own way, the rest is as it should be.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::harness::{Conn, Peer, peer};

/// The usual greeting.
pub(crate) const READY: &str = "220 ready\r\n";
/// The usual beginning of a transfer.
pub(crate) const OPENING: &str = "150 here it comes\r\n";

/// The server, and what it heard.
pub(crate) struct FtpPeer {
    peer: Peer,
    heard: Arc<Mutex<Vec<String>>>,
}

impl FtpPeer {
    /// The URL of a path there.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("ftp://{}/{path}", self.peer.addr)
    }

    /// The commands of all connections so far.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// One control connection.
pub(crate) struct FtpSession {
    pub(crate) conn: Conn,
    /// Where the next data connection comes in.
    pub(crate) passive: Option<TcpListener>,
    /// What the script remembers of this connection.
    pub(crate) memory: u64,
    /// How many bytes may still be said.
    left: usize,
}

impl FtpSession {
    /// Says this; false when the client has gone, or when nothing may be said any more.
    pub(crate) fn say(&mut self, text: &str) -> bool {
        let count = text.len().min(self.left);
        self.left -= count;
        self.conn.send(&text.as_bytes()[..count]) && self.left > 0
    }

    /// Opens a passive port.
    pub(crate) fn listen(&mut self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        self.passive = Some(listener);
        port
    }

    /// The data connection, when `opening` was said.
    pub(crate) fn data(&mut self, opening: &str) -> Option<TcpStream> {
        let listener = self.passive.take()?;
        self.say(opening).then(|| listener.accept().unwrap().0)
    }
}

/// A server that answers as `own` says: by no reply where the usual one is right, by an empty one to hang up. Every path is
/// there, and nothing has data.
pub(crate) fn ftp_peer(own: impl Fn(&mut FtpSession, &str, &str) -> Option<String> + Send + Sync + 'static) -> FtpPeer {
    greeting_peer(READY, usize::MAX, own)
}

/// The same with another greeting, and with control connections that end after so many bytes.
pub(crate) fn greeting_peer(
    greeting: &'static str,
    left: usize,
    own: impl Fn(&mut FtpSession, &str, &str) -> Option<String> + Send + Sync + 'static,
) -> FtpPeer {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = heard.clone();
    let peer = peer(move |conn| {
        let mut session = FtpSession { conn, passive: None, memory: 0, left };
        let mut goes_on = session.say(greeting);
        while goes_on && let Some(line) = session.conn.line() {
            log.lock().unwrap().push(line.clone());
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            let reply = own(&mut session, verb, argument).unwrap_or_else(|| usual(&mut session, verb));
            goes_on = !reply.is_empty() && session.say(&reply) && verb != "QUIT";
        }
    });
    FtpPeer { peer, heard }
}

fn usual(session: &mut FtpSession, verb: &str) -> String {
    let reply = match verb {
        "USER" => "331 password\r\n",
        "PASS" => "230 in\r\n",
        "FEAT" => "211-Features:\r\n MLST type*;size*;\r\n SIZE\r\n REST STREAM\r\n211 End\r\n",
        "EPSV" => return format!("229 passive (|||{}|)\r\n", session.listen()),
        "PWD" => "257 \"/\" is it\r\n",
        "TYPE" | "OPTS" | "CWD" | "DELE" | "RMD" | "RNTO" | "MKD" | "SITE" | "MFMT" => "250 ok\r\n",
        "REST" | "RNFR" => "350 go on\r\n",
        "QUIT" => "221 bye\r\n",
        _ => "500 what?\r\n",
    };
    reply.to_owned()
}
