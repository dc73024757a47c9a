//! Asks servers: sockets for [`super::exchange`].

mod plain;

pub mod server;

use std::net::{IpAddr, SocketAddr};

pub(crate) use plain::{connect, fault as network_fault};

pub use super::exchange::{Answer, Policy, Transport};
use super::query::Query;
use super::tsig::Key;
use crate::fault::Fault;
use crate::net::trace::Trace;

/// Asks one question at a time over UDP and TCP with blocking calls: a single question needs no runtime, and many run
/// in as many threads.
#[derive(Debug, Clone)]
pub struct Client {
    /// Where to ask, in this order.
    pub servers: Vec<SocketAddr>,
    /// How patient and how stubborn.
    pub policy: Policy,
    /// The address to send from.
    pub bind: Option<IpAddr>,
    /// Letters of the name get random case, which the answer has to repeat.
    pub mix_case: bool,
    /// Signs queries and verifies answers.
    pub key: Option<Key>,
    /// Says what goes to and fro.
    pub trace: Trace,
}

impl Client {
    /// A client for these servers with the usual patience.
    pub fn new(servers: Vec<SocketAddr>) -> Client {
        Client { servers, policy: Policy::default(), bind: None, mix_case: false, key: None, trace: Trace::default() }
    }

    /// Asks and waits for the answer, over UDP with a change to TCP if it was truncated, from one server after the other.
    pub fn ask(&self, query: &Query) -> Result<Answer, Fault> {
        plain::ask(self, query)
    }
}
