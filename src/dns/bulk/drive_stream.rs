//! One TCP connection to one server, beside the UDP sockets in the same loop: opened when there is something to send,
//! pipelined, never waited for (RFC 7766).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

/// The largest message, and its length before it (RFC 1035, section 4.2.2).
const MAX_FRAME: usize = 2 + 65_535;
/// Bytes read at a time.
const READ: usize = 32 * 1024;

/// The connection, or its absence.
#[derive(Debug)]
pub(super) struct Stream {
    peer: SocketAddr,
    bind: Option<IpAddr>,
    socket: Option<TcpStream>,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
}

impl Stream {
    /// No connection yet.
    pub(super) fn new(peer: SocketAddr, bind: Option<IpAddr>) -> Stream {
        Stream { peer, bind, socket: None, outgoing: Vec::new(), incoming: Vec::new() }
    }

    /// The socket, for the poller.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Puts a query behind those that are to leave. True if a connection was begun, which the poller has to know.
    pub(super) fn send(&mut self, query: &[u8]) -> io::Result<bool> {
        let begun = self.socket.is_none();
        if begun {
            self.socket = Some(connect(self.peer, self.bind)?);
        }
        let length = u16::try_from(query.len()).map_err(|_| ErrorKind::InvalidInput)?;
        self.outgoing.extend_from_slice(&length.to_be_bytes());
        self.outgoing.extend_from_slice(query);
        Ok(begun)
    }

    /// Writes what can be written now.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        while !self.outgoing.is_empty() {
            match socket.write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what has come and hands each whole message over. An error, the end included, means that the connection is
    /// gone: close it.
    pub(super) fn receive(&mut self, mut message: impl FnMut(&[u8])) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        let mut place = [0; READ];
        loop {
            let count = match socket.read(&mut place) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.incoming.extend_from_slice(place.get(..count).unwrap_or_default());
            let used = frames(&self.incoming, &mut message);
            self.incoming.drain(..used);
            debug_assert!(self.incoming.len() < MAX_FRAME);
        }
    }

    /// Drops the connection and everything that was under way on it.
    pub(super) fn close(&mut self) {
        self.socket = None;
        self.outgoing.clear();
        self.incoming.clear();
    }
}

/// Hands the whole messages over; how many bytes they took.
fn frames(bytes: &[u8], mut message: impl FnMut(&[u8])) -> usize {
    let mut used = 0;
    while let Some((length, rest)) = bytes.get(used..).and_then(|rest| rest.split_first_chunk::<2>()) {
        let length = usize::from(u16::from_be_bytes(*length));
        let Some(whole) = rest.get(..length) else { break };
        message(whole);
        used += 2 + length;
    }
    used
}

/// Begins a connection; its end comes as an event.
fn connect(peer: SocketAddr, bind: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(address) = bind {
        socket.bind(&SocketAddr::new(address, 0).into())?;
    }
    const EINPROGRESS: i32 = 115;
    match socket.connect(&peer.into()) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_split() {
        let bytes = b"\x00\x03abc\x00\x00\x00\x01d";
        let mut whole = Vec::new();
        assert_eq!(frames(bytes, |message| whole.push(message.to_vec())), bytes.len());
        assert_eq!(whole, [b"abc".to_vec(), b"".to_vec(), b"d".to_vec()]);
        for split in 0..bytes.len() {
            let mut found = Vec::new();
            let used = frames(&bytes[..split], |message| found.push(message.to_vec()));
            frames(&bytes[used..], |message| found.push(message.to_vec()));
            assert_eq!(found, whole, "split at {split}");
        }
    }
}
