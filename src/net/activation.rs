//! The service manager: the sockets that it opened for this process (sd_listen_fds(3)), and the notifications to it (sd_notify(3)).

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketType, ipproto, sockopt};

use crate::fault::{Fault, Kind};
use crate::net::sys::{self, Inherited};

/// True once the service manager was told that this process is ready.
static IS_READY: AtomicBool = AtomicBool::new(false);

/// The passed sockets: listening TCP sockets, and UDP sockets. Empty if none were passed.
#[derive(Debug, Default)]
pub struct ActivatedSockets {
    tcp: Vec<TcpListener>,
    /// The names of the TCP sockets (`FileDescriptorName=`); empty for one without.
    tcp_names: Vec<String>,
    udp: Vec<(i32, UdpSocket)>,
}

impl ActivatedSockets {
    /// Takes the descriptors of `LISTEN_FDS`, if `LISTEN_PID` names this process. Must be the first line of a server's
    /// `main`: a second call finds nothing, and a descriptor opened by the process itself is not a passed one.
    ///
    /// # Errors
    /// [`Kind::Config`] for an invalid count, and for a descriptor, by its number, that is neither a listening TCP socket
    /// nor a UDP socket of IPv4 or IPv6.
    pub fn take() -> Result<ActivatedSockets, Fault> {
        let wrong = |why: String| Fault::new(Kind::Config, format!("LISTEN_FDS: {why}"));
        let mut sockets = ActivatedSockets::default();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        for Inherited { number, fd } in sys::inherited().map_err(wrong)? {
            let name = names.next().unwrap_or_default().to_owned();
            let wrong = |why: String| wrong(format!("descriptor {number}: {why}"));
            let fd = fd.ok_or_else(|| wrong("not open, or opened by this process".to_owned()))?;
            match classify(&fd).map_err(|why| wrong(why.to_owned()))? {
                SocketType::STREAM => {
                    sockets.tcp.push(fd.into());
                    sockets.tcp_names.push(name);
                }
                _ => sockets.udp.push((number, fd.into())),
            }
        }
        Ok(sockets)
    }

    /// The TCP sockets, for a server that uses no others.
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

    /// As [`ActivatedSockets::tcp_only`], each with its name.
    ///
    /// # Errors
    /// Those of [`ActivatedSockets::tcp_only`].
    pub fn tcp_named(mut self) -> Result<Vec<(String, TcpListener)>, Fault> {
        let names = std::mem::take(&mut self.tcp_names);
        Ok(names.into_iter().zip(self.tcp_only()?).collect())
    }

    /// The TCP and the UDP sockets.
    pub fn tcp_and_udp(self) -> (Vec<TcpListener>, Vec<UdpSocket>) {
        (self.tcp, self.udp.into_iter().map(|(_, socket)| socket).collect())
    }
}

/// The kind of a passed socket, or why it is unusable; a usable one is prepared for tokio, and closed by exec.
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

/// Tells the service manager that this process is ready. If it asks for that (`WATCHDOG_USEC`), it is also told twice per
/// watchdog period that the runtime still runs. Needs a running tokio runtime.
///
/// # Errors
/// Those of the socket that `NOTIFY_SOCKET` names.
pub fn notify_ready() -> std::io::Result<()> {
    IS_READY.store(true, Ordering::Relaxed);
    notify("READY=1")?;
    let variable = |name| std::env::var(name).ok();
    let period =
        watchdog(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref(), std::process::id());
    if let Some(period) = period {
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(period / 2);
            loop {
                ticks.tick().await;
                // The service manager notices a failure by itself.
                let _ = notify("WATCHDOG=1");
            }
        });
    }
    Ok(())
}

/// Tells the service manager that the process ends after its pending work.
pub(super) fn notify_stopping() {
    // It notices the end anyway.
    let _ = notify("STOPPING=1");
}

/// Runs `reload` between the notifications of its begin and end; sends neither before the process is ready.
pub async fn notify_reload(reload: impl Future<Output = ()>) {
    if !IS_READY.load(Ordering::Relaxed) {
        return reload.await;
    }
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let begun = format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1000);
    // An unreachable service manager waits for neither message.
    let _ = notify(&begun);
    reload.await;
    let _ = notify("READY=1");
}

/// Sends `state` to the socket that `NOTIFY_SOCKET` names; a name that starts with `@` is abstract.
fn notify(state: &str) -> std::io::Result<()> {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => std::os::unix::net::SocketAddr::from_abstract_name(name)?,
        None => std::os::unix::net::SocketAddr::from_pathname(OsStr::new(&socket))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

/// The time after which the service manager considers this process hung (sd_watchdog_enabled(3)).
fn watchdog(period: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let period = period?.parse().ok().filter(|period| *period > 1)?;
    pid.is_none_or(|pid| pid.parse() == Ok(own_pid)).then(|| Duration::from_micros(period))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_is_meant_is_watched() {
        let second = Some(Duration::from_secs(1));
        for (period, pid, expected) in [
            (Some("1000000"), Some("7"), second),
            (Some("1000000"), None, second),
            (Some("1000000"), Some("8"), None),
            (Some("1000000"), Some(""), None),
            (Some("1"), None, None),
            (Some("-1"), None, None),
            (None, Some("7"), None),
        ] {
            assert_eq!(watchdog(period, pid, 7), expected, "{period:?} {pid:?}");
        }
    }
}
