//! Socket activation: the sockets that the service manager opened for this process (sd_listen_fds(3)).

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketType, ipproto, sockopt};

use crate::fault::{Fault, Kind};
use crate::net::sys::{self, Inherited};

/// The sockets that were passed: listening TCP sockets, and UDP sockets. Empty where nobody passed any.
#[derive(Debug, Default)]
pub struct ActivatedSockets {
    tcp: Vec<TcpListener>,
    udp: Vec<(i32, UdpSocket)>,
}

impl ActivatedSockets {
    /// Takes what `LISTEN_FDS` announces, if `LISTEN_PID` names this process. The first line of a server's `main`: a
    /// second call finds nothing, and a descriptor that the process opened itself is none that was passed.
    ///
    /// # Errors
    /// [`Kind::Config`] for a count that makes no sense, and for a descriptor that is no listening TCP socket and no UDP
    /// socket of IPv4 or IPv6, with its number.
    pub fn take() -> Result<ActivatedSockets, Fault> {
        let wrong = |why: String| Fault::new(Kind::Config, format!("LISTEN_FDS: {why}"));
        let mut sockets = ActivatedSockets::default();
        for Inherited { number, fd } in sys::inherited().map_err(wrong)? {
            let wrong = |why: String| wrong(format!("descriptor {number}: {why}"));
            let fd = fd.ok_or_else(|| wrong("not open, or opened by this process".to_owned()))?;
            match classify(&fd).map_err(|why| wrong(why.to_owned()))? {
                SocketType::STREAM => sockets.tcp.push(fd.into()),
                _ => sockets.udp.push((number, fd.into())),
            }
        }
        Ok(sockets)
    }

    /// The TCP sockets, for a server that has no use for others.
    ///
    /// # Errors
    /// [`Kind::Config`] if there is a UDP socket among them.
    pub fn tcp_only(self) -> Result<Vec<TcpListener>, Fault> {
        match self.udp.first() {
            None => Ok(self.tcp),
            Some((number, _)) => {
                let why = format!("LISTEN_FDS: descriptor {number}: a UDP socket, and this server speaks TCP");
                Err(Fault::new(Kind::Config, why))
            }
        }
    }

    /// The TCP and the UDP sockets.
    pub fn tcp_and_udp(self) -> (Vec<TcpListener>, Vec<UdpSocket>) {
        (self.tcp, self.udp.into_iter().map(|(_, socket)| socket).collect())
    }
}

/// Which of the two kinds a descriptor is, or why it is neither; one that is gets ready for tokio, and is closed by exec.
fn classify(fd: &OwnedFd) -> Result<SocketType, &'static str> {
    let unusable = |_| "its socket options cannot be read";
    let kind = match sockopt::socket_type(fd) {
        Err(Errno::NOTSOCK) => return Err("no socket"),
        kind => kind.map_err(unusable)?,
    };
    match sockopt::socket_domain(fd).map_err(unusable)? {
        AddressFamily::INET | AddressFamily::INET6 => {}
        AddressFamily::UNIX => return Err("a Unix socket; TCP and UDP are served"),
        _ => return Err("a socket of a family other than IPv4 and IPv6"),
    }
    let protocol = sockopt::socket_protocol(fd).map_err(unusable)?;
    match kind {
        SocketType::STREAM if protocol == Some(ipproto::TCP) => {
            if !sockopt::socket_acceptconn(fd).map_err(unusable)? {
                return Err("a TCP socket that does not listen (Accept=no is needed)");
            }
        }
        SocketType::DGRAM if protocol == Some(ipproto::UDP) => {
            let socket = UdpSocket::from(fd.try_clone().map_err(|_| "no descriptors left")?);
            if socket.peer_addr().is_ok() {
                return Err("a UDP socket that is connected");
            }
            if socket.local_addr().is_ok_and(|address: SocketAddr| address.port() == 0) {
                return Err("a UDP socket without a port");
            }
        }
        _ => return Err("a socket of a protocol other than TCP and UDP"),
    }
    let ready =
        rustix::io::ioctl_fionbio(fd, true).and_then(|()| rustix::io::fcntl_setfd(fd.as_fd(), FdFlags::CLOEXEC));
    ready.map(|()| kind).map_err(|_| "it cannot be made non-blocking")
}
