//! The DNS client: runs [`super::exchange`] over sockets.
//!
//! ```text
//!  endpoint    one server: address, transport, credentials
//!  server      the notation of servers; resolv.conf
//!  hosts       the hosts file
//!  connection  one TCP, TLS, HTTPS or QUIC connection with many concurrent queries (async)
//!  pool        a thread that runs such connections, for callers that use poll(2) and have no async runtime
//!  drive       the event loop of exchanges: UDP sockets, and the pool once a connection is needed
//! ```

mod drive;
mod stream;

pub mod connection;
pub mod endpoint;
pub mod hosts;
pub mod pool;
pub mod server;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use super::exchange::{ExchangeAnswer, ExchangePolicy};
use super::query::Query;
use super::transport::Transport;
use super::tsig::TsigKey;
use crate::fault::{Fault, Kind};
use crate::net::trace::ProtocolTrace;
pub use endpoint::{Endpoint, HttpTarget};
use pool::ConnectionPool;

/// The maximum number of concurrent queries in [`DnsClient::ask_all`].
pub const MAX_AT_ONCE: usize = 32;

/// The time for which a server that did not answer is asked after the others.
const MAX_AVOIDED: Duration = Duration::from_secs(30);

/// Servers that did not answer their last query. The client remembers them, to wait for each only once. Clones share the list.
#[derive(Debug, Clone, Default)]
pub struct SilentServers(Arc<Mutex<HashMap<(SocketAddr, Transport), Instant>>>);

impl SilentServers {
    fn contains(&self, server: &Endpoint) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(server.address, server.transport)).is_some_and(|since| since.elapsed() < MAX_AVOIDED)
    }

    fn learn(&self, server: &Endpoint, answers: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (server.address, server.transport);
        if answers {
            known.remove(&key);
        } else {
            known.insert(key, Instant::now());
        }
    }
}

/// A callback for every outcome. It may return a query to send instead, or end the whole run.
pub type OnOutcome<'a> = dyn FnMut(usize, Result<ExchangeAnswer, Fault>) -> ControlFlow<(), Option<Query>> + 'a;

/// A DNS client with blocking calls. It sends UDP itself and leaves connections to the pool. Clones share their connections.
#[derive(Debug, Clone)]
pub struct DnsClient {
    /// The servers, in the order in which they are asked.
    pub servers: Vec<Endpoint>,
    /// Timeouts and retries.
    pub policy: ExchangePolicy,
    /// The local address, and the local port if it is not 0. With a fixed port only one query is sent at a time.
    pub bind: Option<SocketAddr>,
    /// The letters of the query name get random case, which the answer must repeat.
    pub mix_case: bool,
    /// The identifier of every query; `None` for random identifiers.
    pub id: Option<u16>,
    /// The key that signs queries and verifies answers.
    pub key: Option<TsigKey>,
    /// Logs the messages sent and received.
    pub trace: ProtocolTrace,
    /// Carries all messages that do not use UDP.
    pub pool: ConnectionPool,
    /// The servers to ask last.
    pub silent: SilentServers,
}

impl DnsClient {
    /// A client for these servers over UDP with the default policy.
    pub fn new(servers: Vec<SocketAddr>) -> DnsClient {
        DnsClient {
            servers: servers.into_iter().map(Endpoint::from).collect(),
            policy: ExchangePolicy::default(),
            bind: None,
            mix_case: false,
            id: None,
            key: None,
            trace: ProtocolTrace::default(),
            pool: ConnectionPool::default(),
            silent: SilentServers::default(),
        }
    }

    /// Sends a query and waits for the answer. It uses UDP, repeats a truncated answer over TCP, and asks one server after the other.
    ///
    /// # Errors
    /// No server answered: the fault of the last server.
    pub fn ask(&self, query: &Query) -> Result<ExchangeAnswer, Fault> {
        let mut outcome = Err(Fault::new(Kind::Internal, "no outcome"));
        self.ask_all(std::slice::from_ref(query), &mut |_, result| {
            outcome = result;
            ControlFlow::Continue(None)
        })?;
        outcome
    }

    /// Sends several queries, up to [`MAX_AT_ONCE`] at a time; a connection carries them concurrently. `each` gets the index
    /// of a query and its outcome, in the order of arrival. It may return another query to send instead (the next name of a
    /// search list), or stop the run. The result reports faults of this host only (no descriptors, no randomness).
    ///
    /// # Errors
    /// This host has no descriptors or no randomness.
    pub fn ask_all(&self, queries: &[Query], each: &mut OnOutcome<'_>) -> Result<(), Fault> {
        drive::ask_all(self, queries, each)
    }
}
