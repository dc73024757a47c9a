//! Carries messages over connections in a thread with a runtime of its own, for loops that wait with poll(2) and know no
//! runtime: put a query in with [`Courier::send`], wait until the [`Mailbox`] can be read, take replies out. Nothing is started
//! before the first query. Connections are pooled by server: opened when needed, shared by all questions, opened anew when
//! a server has closed them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{OnceCell, mpsc};

use super::connection::Connection;
use super::{Endpoint, Transport};
use crate::fault::{Fault, Kind};

/// How long the end may wait for farewells to leave.
const MAX_FAREWELL: Duration = Duration::from_millis(200);

/// A handle; clones use the same thread and connections.
#[derive(Debug, Clone)]
pub struct Courier {
    thread: Arc<OnceLock<Thread>>,
    connections: usize,
}

impl Default for Courier {
    fn default() -> Courier {
        Courier::with_connections(1)
    }
}

#[derive(Debug)]
struct Thread {
    jobs: Option<mpsc::UnboundedSender<Job>>,
    /// Disconnects when the thread has ended.
    ended: Mutex<std::sync::mpsc::Receiver<()>>,
}

/// One query on its way.
#[derive(Debug)]
struct Job {
    endpoint: Arc<Endpoint>,
    query: Vec<u8>,
    token: u64,
    limit: Duration,
    mailbox: Arc<Mailbox>,
}

/// What became of a query.
#[derive(Debug)]
pub struct Reply {
    /// The number that its sender gave it.
    pub token: u64,
    /// The answer, under the query's identifier.
    pub result: Result<Vec<u8>, Fault>,
}

/// Where replies arrive. Its descriptor can be read while some are there.
#[derive(Debug)]
pub struct Mailbox {
    bell: OwnedFd,
    replies: Mutex<VecDeque<Reply>>,
}

impl Mailbox {
    /// An empty one.
    pub fn new() -> io::Result<Arc<Mailbox>> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Mailbox { bell, replies: Mutex::default() }))
    }

    /// Everything that has come.
    pub fn take(&self) -> VecDeque<Reply> {
        // Silence the bell first: what comes in between rings it again.
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        std::mem::take(&mut *self.replies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, reply: Reply) {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner).push_back(reply);
        // The counter cannot run over: it is set back with each look.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Courier {
    /// A courier with so many connections to each server, used in turn: for bulk work, where one connection is one queue.
    pub fn with_connections(count: usize) -> Courier {
        Courier { thread: Arc::default(), connections: count.max(1) }
    }

    /// Sends a query off; its reply comes into the mailbox under `token`, within `limit` (connecting included). Never waits.
    pub fn send(&self, endpoint: Arc<Endpoint>, query: Vec<u8>, token: u64, limit: Duration, mailbox: &Arc<Mailbox>) {
        let job = Job { endpoint, query, token, limit, mailbox: mailbox.clone() };
        let thread = self.thread.get_or_init(|| Thread::start(self.connections));
        let refused = match &thread.jobs {
            Some(jobs) => jobs.send(job).err().map(|refused| refused.0),
            None => Some(job),
        };
        if let Some(job) = refused {
            let fault = Fault::new(Kind::Internal, "no thread for connections");
            job.mailbox.put(Reply { token: job.token, result: Err(fault) });
        }
    }
}

impl Thread {
    fn start(width: usize) -> Thread {
        let (jobs, queue) = mpsc::unbounded_channel();
        let (end, ended) = std::sync::mpsc::channel();
        let started = std::thread::Builder::new().name("connections".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                runtime.block_on(work(queue, width));
            }
            drop(end);
        });
        Thread { jobs: started.is_ok().then_some(jobs), ended: Mutex::new(ended) }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs = None;
        // The other side never sends: this ends when the thread does, or when it has taken too long.
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(MAX_FAREWELL);
    }
}

/// Which connection a query takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    address: SocketAddr,
    transport: Transport,
    host: String,
    lane: usize,
}

/// One opening, which everybody who came in the meantime shares, failure included.
type Opening = Arc<OnceCell<Result<Connection, Fault>>>;

#[derive(Debug)]
struct Pool {
    open: Mutex<HashMap<Key, Opening>>,
}

impl Pool {
    /// The connection for a key: one that stands or is being opened, otherwise a new one.
    fn get(&self, key: &Key) -> Opening {
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

async fn work(mut queue: mpsc::UnboundedReceiver<Job>, width: usize) {
    let pool = Arc::new(Pool { open: Mutex::default() });
    let mut turn = 0;
    while let Some(job) = queue.recv().await {
        let pool = pool.clone();
        turn += 1;
        let lane = turn % width;
        tokio::spawn(async move {
            let carried = tokio::time::timeout(job.limit, carry(&pool, &job, lane)).await;
            let result = carried.unwrap_or_else(|_| Err(Fault::new(Kind::TimedOut, "no answer in time")));
            job.mailbox.put(Reply { token: job.token, result });
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

/// Asks on the server's connection, and again on a new one if it ended after it had answered others: those are limited in
/// number, time or idleness, and the question had no part in it.
async fn carry(pool: &Pool, job: &Job, lane: usize) -> Result<Vec<u8>, Fault> {
    let endpoint = &job.endpoint;
    let key = Key { address: endpoint.address, transport: endpoint.transport, host: endpoint.host.clone(), lane };
    loop {
        let opening = pool.get(&key);
        let opened = opening.get_or_init(|| Connection::open(endpoint, job.limit)).await;
        let connection = opened.as_ref().map_err(Clone::clone)?;
        match connection.ask(&job.query).await {
            Err(fault) if fault.kind == Kind::Disconnected && !connection.is_open() && connection.answered() > 0 => {}
            Err(fault) => {
                return Err(fault.context(format_args!("{} over {}", endpoint.address, endpoint.transport.name())));
            }
            answered => return answered,
        }
    }
}
