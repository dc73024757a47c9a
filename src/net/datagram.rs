//! UDP in batches: connected sockets, one call to send many datagrams of equal length, one call to receive many into fixed buffers.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, recvmmsg, sendmsg};
use rustix::net::{SendAncillaryBuffer, SendFlags};
use socket2::{Domain, Protocol, Socket, Type};

/// Datagrams received per call.
pub const RECEIVE_BATCH: usize = 64;
/// Datagrams sent per call (UDP_MAX_SEGMENTS was 64 in older kernels).
pub const SEND_BATCH: usize = 64;
/// The requested socket buffer size: room for many small answers between two reads.
const SOCKET_BUFFER: usize = 4 << 20;

/// A UDP socket connected to one peer: the kernel drops what others send.
#[derive(Debug)]
pub struct Datagrams {
    socket: OwnedFd,
}

impl Datagrams {
    /// A socket with a port of the system's choice (random, RFC 6056), connected to `peer`.
    ///
    /// # Errors
    /// The system's error, if no socket can be made or the local address does not exist.
    pub fn connect(peer: SocketAddr, bind: Option<SocketAddr>) -> io::Result<Datagrams> {
        let socket = Socket::new(Domain::for_address(peer), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        let any = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from(Ipv6Addr::UNSPECIFIED) };
        socket.bind(&bind.unwrap_or(SocketAddr::new(any, 0)).into())?;
        // Root may exceed the system's limit; other users get a smaller buffer.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER).is_err() {
            let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        }
        socket.connect(&peer.into())?;
        Ok(Datagrams { socket: socket.into() })
    }

    /// The socket, in non-blocking mode.
    pub(super) fn into_socket(self) -> std::net::UdpSocket {
        self.socket.into()
    }

    /// The number of small datagrams that the socket can hold before some are lost: each takes about a kilobyte of kernel memory.
    pub fn capacity(&self) -> usize {
        rustix::net::sockopt::socket_recv_buffer_size(&self.socket).unwrap_or(SOCKET_BUFFER) / 1024
    }

    /// Sends one datagram.
    ///
    /// # Errors
    /// The system's error: the buffer is full, or an earlier datagram was refused.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.socket, datagram, SendFlags::empty())?;
        Ok(())
    }

    /// Takes a pending error off the socket (a returned ICMP message).
    pub fn take_error(&self) -> Option<io::Error> {
        let pending = rustix::net::sockopt::socket_error(&self.socket).ok()?;
        pending.err().map(io::Error::from)
    }
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The method of sending a group of datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SendPath {
    /// The kernel cuts one buffer into datagrams of equal length (UDP_SEGMENT): one pass through its network code.
    Segments,
    /// One call for many datagrams.
    Many,
    /// One call per datagram.
    Single,
}

/// Gathers datagrams of equal length and sends them together, by the best method of the system.
#[derive(Debug)]
pub struct DatagramSender {
    path: SendPath,
}

impl Default for DatagramSender {
    fn default() -> DatagramSender {
        DatagramSender { path: SendPath::Segments }
    }
}

impl DatagramSender {
    /// Sends up to [`SEND_BATCH`] consecutive datagrams of `length` bytes each. Datagrams without room in the socket's
    /// buffer are dropped, as in the network. An error means that the peer is or was unreachable: it may be a late report
    /// about earlier datagrams.
    ///
    /// # Errors
    /// The system's error for an unreachable peer.
    pub fn send(&mut self, socket: &Datagrams, datagrams: &[u8], length: usize) -> io::Result<()> {
        if datagrams.len() <= length {
            return dropped(socket.send(datagrams));
        }
        if self.path == SendPath::Segments {
            match send_segments(socket, datagrams, length) {
                Err(error) if is_unsupported(&error) => self.path = SendPath::Many,
                result => return dropped(result),
            }
        }
        if self.path == SendPath::Many {
            match send_many(socket, datagrams, length) {
                Err(error) if is_unsupported(&error) => self.path = SendPath::Single,
                result => return dropped(result),
            }
        }
        datagrams.chunks(length).try_for_each(|datagram| dropped(socket.send(datagram)))
    }
}

/// True if the error says that UDP_SEGMENT is unsupported: by old kernels (EINVAL, ENOPROTOOPT) or by devices without checksums (EIO).
fn is_unsupported(error: &io::Error) -> bool {
    const EIO: i32 = 5;
    const EMSGSIZE: i32 = 90;
    const ENOPROTOOPT: i32 = 92;
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
        || matches!(error.raw_os_error(), Some(EIO | EMSGSIZE | ENOPROTOOPT))
}

/// Treats a full buffer as a loss, not as an error.
fn dropped(result: io::Result<()>) -> io::Result<()> {
    const ENOBUFS: i32 = 105;
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(ENOBUFS) => Ok(()),
        result => result,
    }
}

fn send_segments(socket: &Datagrams, datagrams: &[u8], length: usize) -> io::Result<()> {
    let size = u16::try_from(length).map_err(|_| ErrorKind::InvalidInput)?;
    let control = [ControlMessage::UdpGsoSegments(&size)];
    sendmsg::<()>(socket.socket.as_raw_fd(), &[IoSlice::new(datagrams)], &control, MsgFlags::empty(), None)?;
    Ok(())
}

fn send_many(socket: &Datagrams, datagrams: &[u8], length: usize) -> io::Result<()> {
    let slices: Vec<[IoSlice<'_>; 1]> = datagrams.chunks(length).map(|it| [IoSlice::new(it)]).collect();
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
        slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut headers: Vec<_> =
        slices.iter().zip(&mut controls).map(|(slice, control)| rustix::net::MMsgHdr::new(slice, control)).collect();
    rustix::net::sendmmsg(&socket.socket, &mut headers, SendFlags::empty())?;
    Ok(())
}

/// Fixed buffers that receive many datagrams at once.
pub struct DatagramReceiver {
    headers: MultiHeaders<()>,
    buffer: Vec<u8>,
    size: usize,
    lengths: [usize; RECEIVE_BATCH],
}

impl std::fmt::Debug for DatagramReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DatagramReceiver({RECEIVE_BATCH} × {})", self.size)
    }
}

impl DatagramReceiver {
    /// Buffers for datagrams of up to `size` bytes.
    pub fn new(size: usize) -> DatagramReceiver {
        DatagramReceiver {
            headers: MultiHeaders::preallocate(RECEIVE_BATCH, None),
            buffer: vec![0; RECEIVE_BATCH * size],
            size,
            lengths: [0; RECEIVE_BATCH],
        }
    }

    /// Receives the waiting datagrams, at most [`RECEIVE_BATCH`]; none if none wait. Longer ones are truncated.
    ///
    /// # Errors
    /// The system's error, which may be about an earlier datagram.
    pub fn receive(&mut self, socket: &Datagrams) -> io::Result<impl ExactSizeIterator<Item = &[u8]>> {
        let mut chunks = self.buffer.chunks_exact_mut(self.size);
        let mut slices: [[IoSliceMut<'_>; 1]; RECEIVE_BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let mut count = 0;
        match recvmmsg(socket.socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(received) => {
                for (length, message) in self.lengths.iter_mut().zip(received) {
                    *length = message.bytes;
                    count += 1;
                }
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let (buffer, size) = (&self.buffer, self.size);
        Ok(self
            .lengths
            .iter()
            .take(count)
            .zip(buffer.chunks_exact(size))
            .map(|(length, datagram)| datagram.get(..*length).unwrap_or(datagram)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::Duration;

    /// Two connected ends on loopback.
    fn pair() -> (Datagrams, UdpSocket) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        (Datagrams::connect(server.local_addr().unwrap(), None).unwrap(), server)
    }

    fn wait_readable(socket: &Datagrams) {
        let mut polled = [rustix::event::PollFd::new(socket, rustix::event::PollFlags::IN)];
        let timeout = rustix::time::Timespec { tv_sec: 5, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut polled, Some(&timeout)).unwrap(), 1);
    }

    #[test]
    fn a_group_arrives_as_single_datagrams_on_every_path() {
        for path in [SendPath::Segments, SendPath::Many, SendPath::Single] {
            let (client, server) = pair();
            let mut sender = DatagramSender { path };
            let group: Vec<u8> = (0..SEND_BATCH).flat_map(|n| [n as u8; 40]).collect();
            sender.send(&client, &group, 40).unwrap();
            for n in 0..SEND_BATCH {
                let mut buffer = [0; 100];
                assert_eq!(server.recv(&mut buffer).unwrap(), 40, "{path:?}");
                assert_eq!(buffer[..40], [n as u8; 40]);
            }
            assert!(sender.path == path || path == SendPath::Segments);
        }
    }

    #[test]
    fn many_datagrams_come_in_at_once_and_in_order() {
        let (client, server) = pair();
        client.send(b"x").unwrap();
        let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
        let mut receiver = DatagramReceiver::new(32);
        assert_eq!(receiver.receive(&client).unwrap().len(), 0);
        for n in 0..RECEIVE_BATCH + 6 {
            server.send_to(&vec![n as u8; n % 40], from).unwrap();
        }
        wait_readable(&client);
        for range in [0..RECEIVE_BATCH, RECEIVE_BATCH..RECEIVE_BATCH + 6] {
            let got: Vec<Vec<u8>> = receiver.receive(&client).unwrap().map(<[u8]>::to_vec).collect();
            let expected: Vec<Vec<u8>> = range.map(|n| vec![n as u8; (n % 40).min(32)]).collect();
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn strangers_are_not_heard_and_a_closed_port_is_reported() {
        let (client, server) = pair();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send(b"x").unwrap();
        let (_, from) = server.recv_from(&mut [0; 8]).unwrap();
        stranger.send_to(b"lie", from).unwrap();
        server.send_to(b"truth", from).unwrap();
        wait_readable(&client);
        let mut receiver = DatagramReceiver::new(32);
        assert_eq!(receiver.receive(&client).unwrap().next(), Some(&b"truth"[..]));
        drop(server);
        client.send(b"x").unwrap();
        wait_readable(&client);
        let error = receiver.receive(&client).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}
