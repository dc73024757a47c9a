//! Hands questions on to other servers: identical ones are asked once, a server that does not answer is left for the next
//! before long and remembered.
//!
//! ```text
//!  mod        which questions are under way, and which server is asked when
//!  upstream   one server: exchanges with it, probes, cookies
//!  health     is it alive, and how fast (pure)
//!  sockets    UDP sockets that many questions share
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

/// Clients that may wait at once; more get SERVFAIL.
pub const MAX_FORWARDED: usize = 10_000;

/// What became of a question, for all who asked it.
type Forwarded = Result<Arc<ExchangeAnswer>, Fault>;

/// Hands questions on. Clones share everything.
#[derive(Clone)]
pub struct Forwarder {
    upstreams: Arc<[Arc<Upstream>]>,
    under_way: Arc<Mutex<HashMap<UpstreamQuestion, Vec<oneshot::Sender<Forwarded>>>>>,
    room: Arc<Semaphore>,
}

impl Forwarder {
    /// One that asks these servers, the first first. `report` is told when one dies and when it answers again.
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

    /// Asks, or waits for the answer if the same is being asked already: the more identical questions are under way, the
    /// easier one of them is answered by a forger (RFC 5452, section 5).
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
                        // Whoever went away needs no answer.
                        let _ = tell.send(came.clone());
                    }
                });
            }
        }
        told.await.unwrap_or_else(|_| Err(Fault::new(Kind::Internal, "a question was lost")))
    }

    /// Asks one server after the other: the next as soon as the last says that it cannot answer, or is slower than it uses to
    /// be. What an earlier one answers later still counts. Dead servers come last, all at once.
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
                // Goes on when another has answered: what the server does then says how it is.
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

/// False for codes that another server may better.
fn is_wanted(answer: &ExchangeAnswer) -> bool {
    answer.message.rcode().is_answer()
}
