//! Asks servers: sockets for [`super::exchange`].
//!
//! ```text
//!  endpoint    one server and the way to it
//!  server      how people name servers; resolv.conf
//!  hosts       the hosts file
//!  connection  one TCP, TLS, HTTPS or QUIC connection that answers many questions at once (async)
//!  pool        a thread that carries messages over such connections, for callers with poll(2) and no runtime
//!  drive       the loop that moves exchanges on: UDP sockets, and the pool once a connection is needed
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

/// Questions that are under way at once when several are asked.
pub const MAX_AT_ONCE: usize = 32;

/// A server that did not answer is asked after the others for so long.
const MAX_AVOIDED: Duration = Duration::from_secs(30);

/// Servers that did not answer when they were last asked, so that this is found out once. Clones share what they know.
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

/// Told about every outcome; names a question to ask instead, or ends it all.
pub type OnOutcome<'a> = dyn FnMut(usize, Result<ExchangeAnswer, Fault>) -> ControlFlow<(), Option<Query>> + 'a;

/// Asks questions with blocking calls: over UDP by itself, over connections by the pool. Clones share their connections.
#[derive(Debug, Clone)]
pub struct DnsClient {
    /// Whom to ask, in this order.
    pub servers: Vec<Endpoint>,
    /// How patient and how stubborn.
    pub policy: ExchangePolicy,
    /// The address to send from, and the port if it is not 0: then one question is under way at a time.
    pub bind: Option<SocketAddr>,
    /// Letters of the name get random case, which the answer has to repeat.
    pub mix_case: bool,
    /// The identifier of every query; none: random ones.
    pub id: Option<u16>,
    /// Signs queries and verifies answers.
    pub key: Option<TsigKey>,
    /// Says what goes to and fro.
    pub trace: ProtocolTrace,
    /// Carries what does not go over UDP.
    pub pool: ConnectionPool,
    /// Whom to ask last.
    pub silent: SilentServers,
}

impl DnsClient {
    /// A client for these servers over UDP with the usual patience.
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

    /// Asks and waits for the answer: over UDP with a change to TCP if it was truncated, from one server after the other.
    ///
    /// # Errors
    /// No server answered: the fault of the last.
    pub fn ask(&self, query: &Query) -> Result<ExchangeAnswer, Fault> {
        let mut outcome = Err(Fault::new(Kind::Internal, "no outcome"));
        self.ask_all(std::slice::from_ref(query), &mut |_, result| {
            outcome = result;
            ControlFlow::Continue(None)
        })?;
        outcome
    }

    /// Asks several questions, up to [`MAX_AT_ONCE`] at a time; on a connection they are all under way together. `each`
    /// gets the place of a question and its outcome, in the order of arrival, and may name another question to ask
    /// instead (the next name of a search list) or break off. The result is about this host (no descriptors, no randomness).
    ///
    /// # Errors
    /// This host has no descriptors or no randomness.
    pub fn ask_all(&self, queries: &[Query], each: &mut OnOutcome<'_>) -> Result<(), Fault> {
        drive::ask_all(self, queries, each)
    }
}
