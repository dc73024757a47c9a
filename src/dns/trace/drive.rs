//! The sockets of a trace.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{DelegationTrace, Finding, TraceAction, TraceEnd, TraceQuestion};
use crate::dns::client::{DnsClient, Endpoint, ExchangeAnswer};
use crate::dns::edns::Edns;
use crate::dns::message::Flags;
use crate::dns::query::Query;
use crate::dns::transport::Transport;
use crate::fault::Fault;
use crate::net::proxy::ProxyChoice;

/// One completed step.
#[derive(Debug)]
pub struct TraceStep<'a> {
    /// The question and the server.
    pub ask: &'a TraceQuestion,
    /// The server's address and port.
    pub server: SocketAddr,
    /// The answer, if one came.
    pub answer: Option<&'a ExchangeAnswer>,
    /// The meaning of the answer.
    pub found: &'a Finding,
    /// The duration of this step.
    pub elapsed: Duration,
}

/// The settings for questions to servers.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Timeouts, local address and the like; its servers are not used.
    pub client: DnsClient,
    /// The port of every server.
    pub port: u16,
    /// UDP, or TCP from the beginning.
    pub transport: Transport,
    /// The proxy for TCP connections.
    pub proxy: Option<ProxyChoice>,
    /// The content of the OPT record; `None` for plain DNS.
    pub edns: Option<Edns>,
}

/// Runs the trace; `each` receives every step. Returns the end, and the last answer if it was about the question.
///
/// # Errors
/// The fault that `each` returned.
pub fn run(
    mut trace: DelegationTrace,
    manner: &Manner,
    each: &mut dyn FnMut(&TraceStep<'_>) -> Result<(), Fault>,
) -> Result<(TraceEnd, Option<(SocketAddr, ExchangeAnswer)>), Fault> {
    let start = Instant::now();
    let whole = manner.client.policy.deadline;
    let (mut last, mut aliases) = (None, Vec::new());
    while let TraceAction::Ask(ask) = trace.next(start.elapsed()) {
        let server = SocketAddr::new(ask.address, manner.port);
        let bind = manner.client.bind;
        let proxy = manner.proxy.as_ref().and_then(|proxy| proxy.on_the_way(&server.ip().to_string(), manner.port));
        let endpoint = Endpoint { transport: manner.transport, bind, proxy, ..Endpoint::from(server) };
        let mut client = DnsClient { servers: vec![endpoint], ..manner.client.clone() };
        client.policy.deadline = whole.saturating_sub(start.elapsed());
        let query = Query {
            question: ask.question.clone(),
            flags: Flags::default(),
            edns: manner.edns.clone(),
            authority: None,
            padding: None,
            exact_case: false,
        };
        let begin = Instant::now();
        let reply = client.ask(&query);
        let elapsed = begin.elapsed();
        let found = trace.answered(reply.as_ref().map(|answer| &answer.message).map_err(Fault::clone));
        each(&TraceStep { ask: &ask, server, answer: reply.as_ref().ok(), found: &found, elapsed })?;
        if let (0, Ok(mut answer)) = (ask.depth, reply) {
            // The aliases that led here belong to the answer, as in a resolver; records about other zones do not.
            if let Finding::Alias(_) = found {
                aliases.extend(answer.message.answer.into_iter().filter(|record| record.name.is_in(&ask.zone)));
            } else {
                answer.message.answer.splice(0..0, aliases.iter().cloned());
                last = Some((server, answer));
            }
        }
    }
    let outcome = trace.outcome();
    let last = last.filter(|_| !matches!(outcome, TraceEnd::Failed(_)));
    Ok((outcome, last))
}
