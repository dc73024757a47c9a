//! UDP sockets to one server, shared by many questions. Each is connected, so that the kernel drops datagrams from other
//! addresses. Its port is random and abandoned after some questions, so that no attacker can learn it (RFC 5452, section 9.2).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::dns::client::endpoint::network_fault;
use crate::dns::transport::Transport;
use crate::fault::Fault;

/// The number of shared sockets; more are opened only if identifiers collide. Questions are spread over them at random.
const MAX_SHARED: usize = 16;
/// The maximum number of questions on one socket.
const MAX_QUESTIONS: usize = 256;

/// The receive buffer in bytes: more than a server may send to a client that announces [`crate::dns::edns::DEFAULT_UDP_SIZE`].
const MAX_DATAGRAM_BYTES: usize = 4096;

/// A message from the server, or the fault that prevents it.
pub(super) type Arrival = (Transport, Result<Vec<u8>, Fault>);

/// The sockets to one server.
#[derive(Debug)]
pub(super) struct SharedSockets {
    address: SocketAddr,
    open: Mutex<Vec<Arc<SharedSocket>>>,
}

#[derive(Debug)]
struct SharedSocket {
    socket: Arc<UdpSocket>,
    /// The receivers of answers, by identifier.
    waiting: Arc<Mutex<HashMap<u16, mpsc::Sender<Arrival>>>>,
    /// The number of further questions that the socket takes.
    left: Mutex<usize>,
    reader: tokio::task::AbortHandle,
}

impl Drop for SharedSocket {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// A claimed identifier on one of the sockets. Until it is dropped, late answers still arrive under it.
#[derive(Debug)]
pub(super) struct ClaimedId {
    socket: Arc<SharedSocket>,
    id: u16,
}

impl Drop for ClaimedId {
    fn drop(&mut self) {
        self.socket.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl ClaimedId {
    /// Sends a query, which must have this identifier.
    pub(super) async fn send(&self, query: &[u8]) -> io::Result<()> {
        self.socket.socket.send(query).await.map(drop)
    }
}

impl SharedSockets {
    pub(super) fn new(address: SocketAddr) -> SharedSockets {
        SharedSockets { address, open: Mutex::default() }
    }

    /// Claims this identifier on a socket where it is free: the one that `choice` selects if possible, otherwise a new one. Messages
    /// with that identifier go to `tell`.
    ///
    /// # Errors
    /// No descriptor, or no route to the server.
    pub(super) async fn claim(&self, id: u16, choice: u16, tell: mpsc::Sender<Arrival>) -> io::Result<ClaimedId> {
        let free = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = usize::from(choice) % MAX_SHARED;
            let found = open.get(turn).and_then(|socket| socket.claim(id, &tell));
            if found.as_ref().is_some_and(|(_, left)| *left == 0) {
                open.swap_remove(turn);
            }
            found
        };
        if let Some((claimed, _)) = free {
            return Ok(claimed);
        }
        let socket = Arc::new(SharedSocket::open(self.address).await?);
        let claimed = socket.claim(id, &tell).map(|(claimed, _)| claimed).ok_or(io::ErrorKind::AddrInUse)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() < MAX_SHARED {
            open.push(socket);
        }
        Ok(claimed)
    }
}

impl SharedSocket {
    async fn open(address: SocketAddr) -> io::Result<SharedSocket> {
        let any = if address.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let socket = Arc::new(UdpSocket::bind(SocketAddr::new(any, 0)).await?);
        socket.connect(address).await?;
        let waiting = Arc::<Mutex<HashMap<u16, mpsc::Sender<Arrival>>>>::default();
        let reader = tokio::spawn(read(socket.clone(), waiting.clone(), address)).abort_handle();
        Ok(SharedSocket { socket, waiting, left: Mutex::new(MAX_QUESTIONS), reader })
    }

    /// Claims the identifier; also returns the number of further questions. `None` if it is in use or the socket takes no more.
    fn claim(self: &Arc<SharedSocket>, id: u16, tell: &mpsc::Sender<Arrival>) -> Option<(ClaimedId, usize)> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if *left == 0 || waiting.contains_key(&id) {
            return None;
        }
        *left -= 1;
        waiting.insert(id, tell.clone());
        Some((ClaimedId { socket: self.clone(), id }, *left))
    }
}

/// Passes messages to their receivers, as long as the socket lives.
async fn read(socket: Arc<UdpSocket>, waiting: Arc<Mutex<HashMap<u16, mpsc::Sender<Arrival>>>>, address: SocketAddr) {
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        let received = socket.recv(&mut buffer).await;
        let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match received {
            Ok(length) => {
                let wire = buffer.get(..length).unwrap_or_default();
                let id = wire.first_chunk().copied().map(u16::from_be_bytes);
                if let Some(tell) = id.and_then(|id| waiting.get(&id)) {
                    // A receiver flooded with forged answers loses some of them.
                    let _ = tell.try_send((Transport::Udp, Ok(wire.to_vec())));
                }
            }
            // An ICMP error concerns the server: all waiting receivers get it.
            Err(error) => {
                for tell in waiting.values() {
                    let _ = tell.try_send((Transport::Udp, Err(network_fault(address, Transport::Udp, &error))));
                }
            }
        }
    }
}
