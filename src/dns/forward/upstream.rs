//! One upstream server: the exchanges with it, and the probes that detect when it answers again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::health::UpstreamHealth;
use super::sockets::{Arrival, ClaimedId, SharedSockets};
use crate::dns::client::endpoint::{Endpoint, network_fault};
use crate::dns::client::pool::OpenConnections;
use crate::dns::edns::EdnsOption;
use crate::dns::exchange::{Exchange, ExchangeAction, ExchangeAnswer, ExchangePolicy};
use crate::dns::name::Name;
use crate::dns::query::Query;
use crate::dns::record::Rtype;
use crate::dns::transport::Transport;
use crate::fault::Fault;
use crate::net::random;

/// The time limit for a server that looks a name up.
const MAX_LOOKUP: Duration = Duration::from_secs(6);
/// The time limit for an answer of a dead server, and of a probe.
const MAX_REVIVAL: Duration = Duration::from_millis(1500);
/// The maximum number of datagrams to one server per question; each round waits twice as long as the one before.
const MAX_SENDINGS: u32 = 4;
/// The maximum number of queued messages per question.
const MAX_ARRIVALS: usize = 16;
/// The length of the client's part of a cookie (RFC 7873, section 4.1).
const CLIENT_COOKIE_BYTES: usize = 8;

/// A callback for the messages that a server died or answers again.
pub type ReportHealth = dyn Fn(&str) + Send + Sync;

/// One upstream server.
pub(super) struct Upstream {
    endpoint: Endpoint,
    health: Mutex<UpstreamHealth>,
    sockets: SharedSockets,
    connections: Arc<OpenConnections>,
    /// The client cookie, followed by the server cookie once the server sent one (RFC 7873, section 5).
    cookie: Mutex<Vec<u8>>,
    report: Arc<ReportHealth>,
}

impl Upstream {
    /// # Errors
    /// No randomness.
    pub(super) fn new(endpoint: Endpoint, report: Arc<ReportHealth>) -> Result<Upstream, Fault> {
        let mut cookie = vec![0; CLIENT_COOKIE_BYTES];
        random::fill(&mut cookie)?;
        Ok(Upstream {
            sockets: SharedSockets::new(endpoint.address),
            endpoint,
            health: Mutex::default(),
            connections: Arc::default(),
            cookie: Mutex::new(cookie),
            report,
        })
    }

    pub(super) fn is_dead(&self) -> bool {
        self.with_health(|health| health.is_dead())
    }

    /// The time to wait before the question also goes to the next server.
    pub(super) fn patience(&self) -> Duration {
        self.with_health(|health| health.patience())
    }

    fn with_health<T>(&self, look: impl FnOnce(&mut UpstreamHealth) -> T) -> T {
        look(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a question, and records whether the server answered.
    ///
    /// # Errors
    /// The server did not answer.
    pub(super) async fn ask(self: &Arc<Upstream>, query: Query) -> Result<ExchangeAnswer, Fault> {
        let limit = if self.is_dead() { MAX_REVIVAL } else { MAX_LOOKUP };
        let asked = self.exchange(query, limit).await;
        match &asked {
            Ok(answer) => self.answered(answer),
            Err(_) => {
                if self.with_health(UpstreamHealth::unanswered) {
                    let upstream = Arc::downgrade(self);
                    tokio::spawn(async move {
                        // Ends with the forwarder.
                        while let Some(pause) = match upstream.upgrade() {
                            Some(upstream) => upstream.probe().await,
                            None => None,
                        } {
                            tokio::time::sleep(pause).await;
                        }
                    });
                }
            }
        }
        asked
    }

    fn answered(&self, answer: &ExchangeAnswer) {
        let round_trip = (answer.sent == 1).then_some(answer.elapsed);
        if self.with_health(|health| health.answered(round_trip)) {
            (self.report)(&format!("{} answers again", self.endpoint.address));
        }
    }

    /// Sends a query that every server answers, at least with REFUSED. Returns the pause until the next probe; `None` if it answered.
    async fn probe(&self) -> Option<Duration> {
        match self.exchange(Query::new(Name::root(), Rtype::NS), MAX_REVIVAL).await {
            Ok(answer) => {
                self.answered(&answer);
                None
            }
            Err(fault) => {
                let (was_dead, pause) = self.with_health(|health| (health.is_dead(), health.probe_failed()));
                if pause.is_some() && !was_dead {
                    (self.report)(&format!("{} does not answer: {}", self.endpoint.address, fault.detail));
                }
                pause
            }
        }
    }

    /// Runs one exchange with the server.
    async fn exchange(&self, mut query: Query, limit: Duration) -> Result<ExchangeAnswer, Fault> {
        let mut random = [0; 36];
        random::fill(&mut random)?;
        let [id @ .., a, b, c, d] = &random;
        query.mix_case(id);
        let (id, choice) = (u16::from_ne_bytes([*a, *b]), u16::from_ne_bytes([*c, *d]));
        if let Some(edns) = &mut query.edns {
            let cookie = self.cookie.lock().unwrap_or_else(PoisonError::into_inner).clone();
            edns.options.push(EdnsOption::new(EdnsOption::COOKIE, cookie));
        }
        let policy = ExchangePolicy {
            timeout: self.patience(),
            tries: MAX_SENDINGS,
            deadline: limit,
            backoff: true,
            ..ExchangePolicy::default()
        };
        let mut exchange = Exchange::new(query, &[(id, self.endpoint.transport)], policy);
        let start = Instant::now();
        let (tell, mut arrivals) = mpsc::channel(MAX_ARRIVALS);
        let mut claimed = None;
        loop {
            match exchange.poll(start.elapsed()) {
                ExchangeAction::Send { transport: Transport::Udp, wire, .. } => {
                    if let Err(error) = self.send(&mut claimed, (id, choice), &tell, &wire).await {
                        exchange.failed(0, network_fault(self.endpoint.address, Transport::Udp, &error));
                    }
                }
                ExchangeAction::Send { transport, wire, .. } => self.send_by_connection(transport, wire, &tell, limit),
                ExchangeAction::Wait { until } => {
                    match tokio::time::timeout(until.saturating_sub(start.elapsed()), arrivals.recv()).await {
                        Ok(Some((transport, Ok(wire)))) => {
                            exchange.received(0, transport, &wire, start.elapsed());
                        }
                        Ok(Some((_, Err(fault)))) => exchange.failed(0, fault),
                        Ok(None) | Err(_) => {}
                    }
                }
                ExchangeAction::Done => break,
            }
        }
        let answer = exchange.outcome()?;
        self.keep_cookie(&answer);
        Ok(answer)
    }

    async fn send(
        &self,
        claimed: &mut Option<ClaimedId>,
        (id, choice): (u16, u16),
        tell: &mpsc::Sender<Arrival>,
        wire: &[u8],
    ) -> std::io::Result<()> {
        let claimed = match claimed {
            Some(claimed) => claimed,
            None => claimed.insert(self.sockets.claim(id, choice, tell.clone()).await?),
        };
        claimed.send(wire).await
    }

    fn send_by_connection(&self, transport: Transport, wire: Vec<u8>, tell: &mpsc::Sender<Arrival>, limit: Duration) {
        let endpoint = Endpoint { transport, ..self.endpoint.clone() };
        let (connections, tell) = (self.connections.clone(), tell.clone());
        tokio::spawn(async move {
            let came = connections.ask(&endpoint, &wire, 0, limit).await.map_err(Fault::from);
            // No receiver is left once another server has answered.
            let _ = tell.send((transport, came)).await;
        });
    }

    /// Stores the cookie of an answer. The exchange has already verified that its client part is ours.
    fn keep_cookie(&self, answer: &ExchangeAnswer) {
        let edns = answer.message.edns.as_ref();
        if let Some(theirs) = edns.and_then(|edns| edns.option(EdnsOption::COOKIE))
            && (16..=40).contains(&theirs.data.len())
        {
            self.cookie.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&theirs.data);
        }
    }
}
