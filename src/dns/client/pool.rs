//! Carries messages over connections in a thread with a runtime of its own, for loops that wait with poll(2) and know no
//! runtime: put a query in with [`ConnectionPool::send`], wait until the [`Completions`] can be read, take them out. Nothing is started
//! before the first query. There is one connection a server: opened when needed, shared by all questions, opened anew when
//! a server has closed them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{OnceCell, mpsc};

use super::Endpoint;
use super::connection::DnsConnection;
use crate::dns::transport::Transport;
use crate::fault::{Fault, Kind};

/// How long the end may wait for farewells to leave.
const MAX_FAREWELL: Duration = Duration::from_millis(200);

/// A handle; clones use the same thread and connections.
#[derive(Debug, Clone)]
pub struct ConnectionPool {
    thread: Arc<OnceLock<PoolThread>>,
    connections: usize,
}

impl Default for ConnectionPool {
    fn default() -> ConnectionPool {
        ConnectionPool::with_connections(1)
    }
}

#[derive(Debug)]
struct PoolThread {
    queries: Option<mpsc::UnboundedSender<PooledQuery>>,
    /// Disconnects when the thread has ended.
    ended: Mutex<std::sync::mpsc::Receiver<()>>,
}

/// One query on its way.
#[derive(Debug)]
struct PooledQuery {
    endpoint: Arc<Endpoint>,
    wire: Vec<u8>,
    token: u64,
    limit: Duration,
    completions: Arc<Completions>,
}

/// What became of a query.
#[derive(Debug)]
pub struct Completion {
    /// The number that its sender gave it.
    pub token: u64,
    /// The answer, under the query's identifier.
    pub result: Result<Vec<u8>, Fault>,
}

/// Queries that are over. Its descriptor can be read while there are some.
#[derive(Debug)]
pub struct Completions {
    eventfd: OwnedFd,
    queue: Mutex<VecDeque<Completion>>,
}

impl Completions {
    /// An empty one.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Arc<Completions>> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Completions { eventfd, queue: Mutex::default() }))
    }

    /// Everything that has come.
    pub fn take(&self) -> VecDeque<Completion> {
        // The descriptor is reset first: what comes in between makes it readable again.
        let _ = rustix::io::read(&self.eventfd, &mut [0; 8]);
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, completion: Completion) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(completion);
        // The counter cannot run over: it is set back with each look.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }
}

impl AsFd for Completions {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

impl ConnectionPool {
    /// A pool with so many connections to each server, used in turn: for bulk work, where one connection is one queue.
    pub fn with_connections(count: usize) -> ConnectionPool {
        ConnectionPool { thread: Arc::default(), connections: count.max(1) }
    }

    /// Sends a query off; its completion comes under `token`, within `limit` (connecting included). Never waits.
    pub fn send(
        &self,
        endpoint: Arc<Endpoint>,
        query: Vec<u8>,
        token: u64,
        limit: Duration,
        completions: &Arc<Completions>,
    ) {
        let query = PooledQuery { endpoint, wire: query, token, limit, completions: completions.clone() };
        let thread = self.thread.get_or_init(|| PoolThread::start(self.connections));
        let refused = match &thread.queries {
            Some(queries) => queries.send(query).err().map(|refused| refused.0),
            None => Some(query),
        };
        if let Some(query) = refused {
            let fault = Fault::new(Kind::Internal, "no thread for connections");
            query.completions.put(Completion { token: query.token, result: Err(fault) });
        }
    }
}

impl PoolThread {
    fn start(width: usize) -> PoolThread {
        let (queries, queue) = mpsc::unbounded_channel();
        let (end, ended) = std::sync::mpsc::channel();
        let started = std::thread::Builder::new().name("connections".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                runtime.block_on(work(queue, width));
            }
            drop(end);
        });
        PoolThread { queries: started.is_ok().then_some(queries), ended: Mutex::new(ended) }
    }
}

impl Drop for PoolThread {
    fn drop(&mut self) {
        self.queries = None;
        // The other side never sends: this ends when the thread does, or when it has taken too long.
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(MAX_FAREWELL);
    }
}

/// Which connection a query takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ConnectionKey {
    address: SocketAddr,
    transport: Transport,
    host: String,
    number: usize,
}

/// One opening, which everybody who came in the meantime shares, failure included.
type Opening = Arc<OnceCell<Result<DnsConnection, Fault>>>;

/// Connections by server, shared by all who ask there.
#[derive(Debug, Default)]
pub(crate) struct OpenConnections {
    open: Mutex<HashMap<ConnectionKey, Opening>>,
}

impl OpenConnections {
    /// Asks on the server's connection of this number, and again on a new one if it ended after it had answered others:
    /// those are limited in number, time or idleness, and the question had no part in it. `limit` is for all of it.
    ///
    /// # Errors
    /// No connection, or no answer on it within the limit.
    pub(crate) async fn ask(
        &self,
        endpoint: &Endpoint,
        query: &[u8],
        number: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, Fault> {
        let (address, transport) = (endpoint.address, endpoint.transport);
        let key = ConnectionKey { address, transport, host: endpoint.host.clone(), number };
        let asked = async {
            loop {
                let opening = self.get(&key);
                let opened = opening.get_or_init(|| DnsConnection::open(endpoint, limit)).await;
                let connection = opened.as_ref().map_err(Clone::clone)?;
                match connection.ask(query).await {
                    Err(fault)
                        if fault.kind == Kind::Disconnected && !connection.is_open() && connection.answered() > 0 => {}
                    Err(fault) => {
                        return Err(fault.context(format_args!("{} over {}", endpoint.place(), transport.name())));
                    }
                    answered => return answered,
                }
            }
        };
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
            let late = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
            Err(Fault::network(format!("{} over {}", endpoint.place(), transport.name()), &late))
        })
    }

    /// The connection for a key: one that stands or is being opened, otherwise a new one.
    fn get(&self, key: &ConnectionKey) -> Opening {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = |opening: &Opening| match opening.get() {
            None => true,
            Some(Ok(connection)) => connection.is_open(),
            Some(Err(_)) => false,
        };
        match open.get(key).filter(|opening| usable(opening)) {
            Some(opening) => opening.clone(),
            None => {
                let opening = Opening::default();
                open.insert(key.clone(), opening.clone());
                opening
            }
        }
    }
}

async fn work(mut queue: mpsc::UnboundedReceiver<PooledQuery>, width: usize) {
    let pool = Arc::new(OpenConnections::default());
    let mut turn = 0;
    while let Some(query) = queue.recv().await {
        let pool = pool.clone();
        turn += 1;
        let number = turn % width;
        tokio::spawn(async move {
            let result = pool.ask(&query.endpoint, &query.wire, number, query.limit).await;
            query.completions.put(Completion { token: query.token, result });
        });
    }
    let open: Vec<Opening> =
        pool.open.lock().unwrap_or_else(PoisonError::into_inner).drain().map(|(_, opening)| opening).collect();
    let farewells = async {
        for opening in open {
            if let Some(Ok(connection)) = opening.get() {
                connection.close().await;
            }
        }
    };
    // Whoever does not listen to a farewell gets none.
    let _ = tokio::time::timeout(MAX_FAREWELL, farewells).await;
}
