//! UDP of a server: an answer leaves from the address that was asked (RFC 1123, section 4.1.3.5; RFC 2181, section 4.1). A
//! socket bound to one address does that by itself; for a wildcard socket the kernel would choose by its routes, so the
//! source address is given to it (packet information, ip(7) and ipv6(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::scope::canonical;

/// A UDP socket that receives questions and sends answers.
#[derive(Debug)]
pub struct AskedSocket {
    socket: UdpSocket,
    local: SocketAddr,
}

/// The source of a datagram, and the local address that it was sent to.
#[derive(Debug, Clone)]
pub struct DatagramPath {
    from: SocketAddr,
    local: SocketAddr,
    /// The kernel's control message with the local address, from a wildcard socket.
    told: Option<ControlMessageOwned>,
}

/// A buffer for control messages; one per receiving task.
#[derive(Debug)]
pub struct ControlRoom(Vec<u8>);

impl Default for ControlRoom {
    fn default() -> ControlRoom {
        // The packet information of either family is smaller.
        ControlRoom(nix::cmsg_space!([u64; 8]))
    }
}

impl DatagramPath {
    /// The client's address, unmapped if IPv4.
    pub fn client(&self) -> SocketAddr {
        canonical(self.from)
    }

    /// The local address that was asked.
    pub fn local(&self) -> SocketAddr {
        self.local
    }
}

impl AskedSocket {
    /// Takes a bound socket. Only a wildcard socket has the cost of control messages. Needs a running tokio runtime.
    ///
    /// # Errors
    /// The system's error.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<AskedSocket> {
        let local = socket.local_addr()?;
        if local.ip().is_unspecified() {
            match local.is_ipv4() {
                true => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
                false => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
            }
        }
        Ok(AskedSocket { socket: UdpSocket::from_std(socket)?, local })
    }

    /// Waits for a datagram; returns its length in bytes.
    ///
    /// # Errors
    /// The system's error.
    pub async fn receive(&self, buffer: &mut [u8], room: &mut ControlRoom) -> io::Result<(usize, DatagramPath)> {
        if !self.local.ip().is_unspecified() {
            let (length, from) = self.socket.recv_from(buffer).await?;
            return Ok((length, DatagramPath { from, local: self.local, told: None }));
        }
        self.socket.async_io(Interest::READABLE, || self.receive_now(buffer, room)).await
    }

    fn receive_now(&self, buffer: &mut [u8], room: &mut ControlRoom) -> io::Result<(usize, DatagramPath)> {
        let mut slices = [IoSliceMut::new(buffer)];
        let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let received = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut room.0), flags)?;
        let from = received.address.as_ref().and_then(socket_address);
        let from = from.ok_or_else(|| io::Error::other("a datagram from nowhere"))?;
        let told = received.cmsgs()?.find_map(|message| Some((asked_address(&message)?, message)));
        let port = self.local.port();
        let local = told.as_ref().map_or(self.local, |(address, _)| canonical(SocketAddr::new(*address, port)));
        Ok((received.bytes, DatagramPath { from, local, told: told.map(|(_, message)| message) }))
    }

    /// Sends an answer back on the path of a datagram.
    ///
    /// # Errors
    /// The system's error.
    pub async fn answer(&self, path: &DatagramPath, datagram: &[u8]) -> io::Result<()> {
        let Some(told) = &path.told else { return self.socket.send_to(datagram, path.from).await.map(drop) };
        self.socket.async_io(Interest::WRITABLE, || self.answer_now(path.from, told, datagram)).await
    }

    fn answer_now(&self, to: SocketAddr, told: &ControlMessageOwned, datagram: &[u8]) -> io::Result<()> {
        let (fd, to, slices) = (self.socket.as_raw_fd(), SockaddrStorage::from(to), [IoSlice::new(datagram)]);
        // The address alone: routes, or the scope of the client's address, decide the interface.
        match *told {
            ControlMessageOwned::Ipv4PacketInfo(mut info) => {
                info.ipi_ifindex = 0;
                sendmsg(fd, &slices, &[ControlMessage::Ipv4PacketInfo(&info)], MsgFlags::MSG_DONTWAIT, Some(&to))?
            }
            ControlMessageOwned::Ipv6PacketInfo(mut info) => {
                info.ipi6_ifindex = 0;
                sendmsg(fd, &slices, &[ControlMessage::Ipv6PacketInfo(&info)], MsgFlags::MSG_DONTWAIT, Some(&to))?
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        Ok(())
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddrV4::from(*address).into());
    v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddrV6::from(*address).into()))
}

/// The local address of a datagram, if an answer may come from it: a multicast address may not.
fn asked_address(message: &ControlMessageOwned) -> Option<IpAddr> {
    let address: IpAddr = match message {
        // For a broadcast this is the local address on that network.
        ControlMessageOwned::Ipv4PacketInfo(info) => Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into(),
        ControlMessageOwned::Ipv6PacketInfo(info) => Ipv6Addr::from(info.ipi6_addr.s6_addr).into(),
        _ => return None,
    };
    (!address.is_multicast() && !address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every combination of bound address and asked address on loopback; a connected client receives from no other address.
    #[tokio::test]
    async fn the_address_that_was_asked_answers() {
        for (bound, asked) in [
            ("127.0.0.2:0", "127.0.0.2"),
            ("0.0.0.0:0", "127.0.0.1"),
            ("0.0.0.0:0", "127.0.0.3"),
            ("[::]:0", "127.0.0.3"),
            ("[::]:0", "::1"),
            ("[::1]:0", "::1"),
        ] {
            let socket = std::net::UdpSocket::bind(bound).unwrap();
            socket.set_nonblocking(true).unwrap();
            let server = AskedSocket::new(socket).unwrap();
            let asked: IpAddr = asked.parse().unwrap();
            let any = if asked.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
            let client = UdpSocket::bind(any).await.unwrap();
            let to = SocketAddr::new(asked, server.local.port());
            client.connect(to).await.unwrap();
            client.send(b"question").await.unwrap();
            let (mut buffer, mut room) = ([0; 64], ControlRoom::default());
            let (length, path) = server.receive(&mut buffer, &mut room).await.unwrap();
            assert_eq!((&buffer[..length], path.local()), (&b"question"[..], to), "{bound}");
            assert_eq!(path.client(), client.local_addr().unwrap(), "{bound}");
            server.answer(&path, b"answer").await.unwrap();
            let heard = tokio::time::timeout(std::time::Duration::from_secs(10), client.recv(&mut buffer)).await;
            assert_eq!(heard.unwrap().unwrap(), 6, "{bound} {asked}");
        }
    }
}
