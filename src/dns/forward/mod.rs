//! Forwards questions to other servers. Identical questions are sent once. If a server does not answer soon, the next one is
//! asked and the failure is remembered.
//!
//! ```text
//!  mod        the pending questions, and the order of the servers
//!  upstream   one server: exchanges, probes, cookies
//!  health     its state and round trip time (pure)
//!  sockets    UDP sockets shared by many questions
//! ```

mod health;
mod sockets;
mod upstream;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::answer::UpstreamQuestion;
use super::client::endpoint::Endpoint;
use super::edns::Edns;
use super::exchange::ExchangeAnswer;
use super::query::Query;
use crate::fault::{Fault, Kind};
pub use upstream::ReportHealth;
use upstream::Upstream;

/// The maximum number of waiting clients; further clients get SERVFAIL.
pub const MAX_FORWARDED: usize = 10_000;

/// The result of a question, for all clients that asked it.
type Forwarded = Result<Arc<ExchangeAnswer>, Fault>;

/// Forwards questions to upstream servers. Clones share all state.
#[derive(Clone)]
pub struct Forwarder {
    upstreams: Arc<[Arc<Upstream>]>,
    under_way: Arc<Mutex<HashMap<UpstreamQuestion, Vec<oneshot::Sender<Forwarded>>>>>,
    room: Arc<Semaphore>,
}

impl Forwarder {
    /// A forwarder to these servers, in this order. `report` is called when a server dies and when it answers again.
    ///
    /// # Errors
    /// No randomness.
    pub fn new(servers: Vec<Endpoint>, report: Arc<ReportHealth>) -> Result<Forwarder, Fault> {
        let upstreams = servers.into_iter().map(|server| Upstream::new(server, report.clone()).map(Arc::new));
        Ok(Forwarder {
            upstreams: upstreams.collect::<Result<_, Fault>>()?,
            under_way: Arc::default(),
            room: Arc::new(Semaphore::new(MAX_FORWARDED)),
        })
    }

    /// Sends a question, or waits for the answer if an equal question is already pending: the more identical questions are
    /// pending, the easier a forger can answer one of them (RFC 5452, section 5).
    ///
    /// # Errors
    /// No server answered, or too many clients wait.
    pub async fn ask(&self, asked: &UpstreamQuestion) -> Forwarded {
        let Ok(_room) = self.room.try_acquire() else {
            return Err(Fault::new(Kind::PeerTemporary, "too many clients wait for answers"));
        };
        let (tell, told) = oneshot::channel();
        match self.under_way.lock().unwrap_or_else(PoisonError::into_inner).entry(asked.clone()) {
            Entry::Occupied(mut others) => others.get_mut().push(tell),
            Entry::Vacant(first) => {
                first.insert(vec![tell]);
                let (forwarder, asked) = (self.clone(), asked.clone());
                tokio::spawn(async move {
                    let came = forwarder.ask_upstreams(&asked).await.map(Arc::new);
                    let waiting = forwarder.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&asked);
                    for tell in waiting.unwrap_or_default() {
                        // A client that went away needs no answer.
                        let _ = tell.send(came.clone());
                    }
                });
            }
        }
        told.await.unwrap_or_else(|_| Err(Fault::new(Kind::Internal, "a question was lost")))
    }

    /// Asks one server after the other: the next as soon as the previous one fails or is slower than usual. A late answer of an
    /// earlier server still counts. Dead servers come last, all at once.
    async fn ask_upstreams(&self, asked: &UpstreamQuestion) -> Result<ExchangeAnswer, Fault> {
        let edns = Edns { dnssec_ok: asked.dnssec_ok, ..Edns::default() };
        let query = Query {
            question: asked.question.clone(),
            flags: asked.flags,
            edns: Some(edns),
            authority: None,
            padding: None,
            exact_case: false,
        };
        let (dead, alive): (Vec<_>, Vec<_>) = self.upstreams.iter().cloned().partition(|server| server.is_dead());
        let mut planned = alive.into_iter().chain(dead).peekable();
        let (tell, mut told) = mpsc::unbounded_channel();
        let (mut waiting, mut fault, mut fallback) = (0, None, None);
        loop {
            let mut patience = None;
            if let Some(upstream) = planned.next() {
                waiting += 1;
                patience = planned.peek().map(|next| match next.is_dead() && upstream.is_dead() {
                    true => std::time::Duration::ZERO,
                    false => upstream.patience(),
                });
                let (query, tell) = (query.clone(), tell.clone());
                // The task continues after another server has answered: its outcome updates the health.
                tokio::spawn(async move { tell.send(upstream.ask(query).await) });
            } else if waiting == 0 {
                let none = || Fault::new(Kind::TimedOut, "no server to ask");
                return fallback.ok_or_else(|| fault.unwrap_or_else(none));
            }
            let came = match patience {
                Some(patience) => tokio::time::timeout(patience, told.recv()).await,
                None => Ok(told.recv().await),
            };
            match came {
                Ok(Some(Ok(answer))) if is_wanted(&answer) => return Ok(answer),
                Ok(Some(outcome)) => {
                    waiting -= 1;
                    match outcome {
                        Ok(answer) => fallback = fallback.or(Some(answer)),
                        Err(failed) => fault = Some(failed),
                    }
                }
                Ok(None) | Err(_) => {}
            }
        }
    }
}

/// False for a response code that another server may improve on.
fn is_wanted(answer: &ExchangeAnswer) -> bool {
    answer.message.rcode().is_answer()
}
