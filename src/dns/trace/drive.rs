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

/// One step that was made.
#[derive(Debug)]
pub struct TraceStep<'a> {
    /// What was asked, and whom.
    pub ask: &'a TraceQuestion,
    /// Where, with the port.
    pub server: SocketAddr,
    /// What came back.
    pub answer: Option<&'a ExchangeAnswer>,
    /// What it means.
    pub found: &'a Finding,
    /// Time for this step.
    pub elapsed: Duration,
}

/// How servers are asked.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Timeouts, local address and the like; its servers are not used.
    pub client: DnsClient,
    /// The port of every server.
    pub port: u16,
    /// UDP, or TCP from the beginning.
    pub transport: Transport,
    /// What TCP connections go through.
    pub proxy: Option<ProxyChoice>,
    /// What the OPT record says; none for plain DNS.
    pub edns: Option<Edns>,
}

/// Makes the trace; `each` is told every step. Gives the end, and the last answer if it was one about the question.
///
/// # Errors
/// What `each` said.
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
            // What led here belongs to the answer, as a resolver would have it; what a zone says of others does not.
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
