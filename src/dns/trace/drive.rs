//! The sockets of a trace.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Ask, Found, Next, Outcome, Trace};
use crate::dns::client::{Answer, Client, Endpoint, Transport};
use crate::dns::edns::Edns;
use crate::dns::message::Flags;
use crate::dns::query::Query;
use crate::fault::Fault;

/// One step that was made.
#[derive(Debug)]
pub struct Step<'a> {
    /// What was asked, and whom.
    pub ask: &'a Ask,
    /// Where, with the port.
    pub server: SocketAddr,
    /// What came back.
    pub answer: Option<&'a Answer>,
    /// What it means.
    pub found: &'a Found,
    /// Time for this step.
    pub elapsed: Duration,
}

/// How servers are asked.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Patience, local address and the like; its servers are not used.
    pub client: Client,
    /// The port of every server.
    pub port: u16,
    /// UDP, or TCP from the beginning.
    pub transport: Transport,
    /// What the OPT record says; none for plain DNS.
    pub edns: Option<Edns>,
}

/// Makes the trace; `each` is told every step. Gives the end, and the last answer if it was one about the question.
pub fn run(
    mut trace: Trace,
    manner: &Manner,
    each: &mut dyn FnMut(&Step<'_>) -> Result<(), Fault>,
) -> Result<(Outcome, Option<(SocketAddr, Answer)>), Fault> {
    let start = Instant::now();
    let whole = manner.client.policy.deadline;
    let (mut last, mut aliases) = (None, Vec::new());
    while let Next::Ask(ask) = trace.next(start.elapsed()) {
        let server = SocketAddr::new(ask.address, manner.port);
        let bind = manner.client.bind;
        let endpoint = Endpoint { transport: manner.transport, bind, ..Endpoint::from(server) };
        let mut client = Client { servers: vec![endpoint], ..manner.client.clone() };
        client.policy.deadline = whole.saturating_sub(start.elapsed());
        let query = Query {
            question: ask.question.clone(),
            flags: Flags::default(),
            edns: manner.edns.clone(),
            authority: None,
            padding: None,
        };
        let begin = Instant::now();
        let reply = client.ask(&query);
        let elapsed = begin.elapsed();
        let found = trace.answered(reply.as_ref().map(|answer| &answer.message).map_err(Fault::clone));
        each(&Step { ask: &ask, server, answer: reply.as_ref().ok(), found: &found, elapsed })?;
        if let (0, Ok(mut answer)) = (ask.depth, reply) {
            // What led here belongs to the answer, as a resolver would have it; what a zone says of others does not.
            if let Found::Alias(_) = found {
                aliases.extend(answer.message.answer.into_iter().filter(|record| record.name.is_in(&ask.zone)));
            } else {
                answer.message.answer.splice(0..0, aliases.iter().cloned());
                last = Some((server, answer));
            }
        }
    }
    let outcome = trace.outcome();
    let last = last.filter(|_| !matches!(outcome, Outcome::Failed(_)));
    Ok((outcome, last))
}
