//! Carries messages over connections in a thread with its own async runtime, for event loops that use poll(2). The caller
//! submits a query with [`ConnectionPool::send`], waits until the [`Completions`] are readable, and takes them. The thread
//! starts with the first query. Each server has one connection: the pool opens it on demand, shares it between all queries,
//! and reopens it after the server closed it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{SetOnce, mpsc};

use super::Endpoint;
use super::connection::DnsConnection;
use crate::dns::transport::Transport;
use crate::fault::{Fault, Kind};

/// The time limit at shutdown for closing the connections.
const MAX_FAREWELL: Duration = Duration::from_millis(200);

/// A handle to the pool. Clones share its thread and its connections.
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

/// One submitted query.
#[derive(Debug)]
struct PooledQuery {
    endpoint: Arc<Endpoint>,
    wire: Vec<u8>,
    token: u64,
    limit: Duration,
    completions: Arc<Completions>,
}

/// The result of a query.
#[derive(Debug)]
pub struct Completion {
    /// The number that the caller passed to [`ConnectionPool::send`].
    pub token: u64,
    /// The answer, with the query's identifier.
    pub result: Result<Vec<u8>, UnansweredQuery>,
}

/// The reason why a query has no answer.
#[derive(Debug)]
pub struct UnansweredQuery {
    /// The fault.
    pub fault: Fault,
    /// True if there was a connection: the fault may concern this query alone.
    pub connected: bool,
}

impl From<UnansweredQuery> for Fault {
    fn from(unanswered: UnansweredQuery) -> Fault {
        unanswered.fault
    }
}

/// The queue of finished queries. Its descriptor is readable while the queue is not empty.
#[derive(Debug)]
pub struct Completions {
    eventfd: OwnedFd,
    queue: Mutex<VecDeque<Completion>>,
}

impl Completions {
    /// An empty queue.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Arc<Completions>> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Completions { eventfd, queue: Mutex::default() }))
    }

    /// Takes all completions out of the queue.
    pub fn take(&self) -> VecDeque<Completion> {
        // The descriptor is reset first: a completion that arrives in between makes it readable again.
        let _ = rustix::io::read(&self.eventfd, &mut [0; 8]);
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, completion: Completion) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(completion);
        // The counter cannot overflow: every read resets it.
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }
}

impl AsFd for Completions {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

impl ConnectionPool {
    /// A pool with `count` connections to each server, used in turn. Bulk look-ups need several, as each connection is one queue.
    pub fn with_connections(count: usize) -> ConnectionPool {
        ConnectionPool { thread: Arc::default(), connections: count.max(1) }
    }

    /// Submits a query without blocking. Its completion carries `token` and arrives within `limit`, connection setup included.
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
            let unanswered = UnansweredQuery { fault, connected: false };
            query.completions.put(Completion { token: query.token, result: Err(unanswered) });
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
        // The thread never sends: this wait ends with the thread, or at the time limit.
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(MAX_FAREWELL);
    }
}

/// The connection that a query uses.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ConnectionKey {
    address: SocketAddr,
    transport: Transport,
    host: String,
    number: usize,
}

/// A connection being opened. All queries that arrive in the meantime share it and its failure. It is a task of its own, which
/// continues when the query that started it times out.
type Opening = Arc<SetOnce<Result<DnsConnection, Fault>>>;

/// Connections by server, shared by all queries to it.
#[derive(Debug, Default)]
pub(crate) struct OpenConnections {
    open: Mutex<HashMap<ConnectionKey, Opening>>,
}

impl OpenConnections {
    /// Sends a query on the server's connection with this number. If that connection ends after it answered others, the query is
    /// sent again on a new one: servers limit queries, lifetime and idle time, so the query is not the cause. A connection that
    /// ended without any answer is replaced once. `limit` covers everything. A connection silent for all that time is abandoned.
    ///
    /// # Errors
    /// No connection, or no answer on it within `limit`.
    pub(crate) async fn ask(
        &self,
        endpoint: &Endpoint,
        query: &[u8],
        number: usize,
        limit: Duration,
    ) -> Result<Vec<u8>, UnansweredQuery> {
        let (address, transport) = (endpoint.address, endpoint.transport);
        let key = ConnectionKey { address, transport, host: endpoint.host.clone(), number };
        // The connection that the query was sent on, and the number of answers on it before.
        let mut last: Option<(Opening, u32)> = None;
        let asked = async {
            let mut fruitless = 0;
            loop {
                let opening = self.get(&key, endpoint, limit);
                let connection = opening.wait().await.as_ref().map_err(Clone::clone)?;
                last = Some((opening.clone(), connection.answered()));
                let fault = match connection.ask(query).await {
                    Ok(answer) => return Ok(answer),
                    Err(fault) => fault,
                };
                // Other queries may still receive their answers at this moment.
                tokio::task::yield_now().await;
                fruitless += u32::from(connection.answered() == 0 && !connection.is_draining());
                if fault.kind != Kind::Disconnected || connection.is_open() || fruitless > 1 {
                    return Err(fault.context(format_args!("{} over {}", endpoint.place(), transport.name())));
                }
            }
        };
        let fault = match tokio::time::timeout(limit, asked).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(fault)) => fault,
            Err(_) => {
                if let Some((opening, before)) = &last
                    && let Some(Ok(connection)) = opening.get()
                    && connection.answered() == *before
                {
                    connection.abandon();
                }
                let what = if last.is_some() { "no answer in time" } else { "no connection in time" };
                let late = io::Error::new(io::ErrorKind::TimedOut, what);
                Fault::network(format!("{} over {}", endpoint.place(), transport.name()), &late)
            }
        };
        Err(UnansweredQuery { fault, connected: last.is_some() })
    }

    /// The connection for a key: one that is open or being opened, otherwise a new one.
    fn get(&self, key: &ConnectionKey, endpoint: &Endpoint, limit: Duration) -> Opening {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = |opening: &&Opening| match opening.get() {
            None => true,
            Some(Ok(connection)) => connection.is_open(),
            Some(Err(_)) => false,
        };
        if let Some(opening) = open.get(key).filter(usable) {
            return opening.clone();
        }
        let opening = Opening::default();
        open.insert(key.clone(), opening.clone());
        let (opened, endpoint) = (opening.clone(), endpoint.clone());
        tokio::spawn(async move { opened.set(DnsConnection::open(&endpoint, limit).await) });
        opening
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
    // A peer that does not accept the close in time is dropped without one.
    let _ = tokio::time::timeout(MAX_FAREWELL, farewells).await;
}
