//! Delivery along the route to one destination: its servers in order, the connection to the server that answered last, and
//! one message after another over it until every recipient has a result.

use std::time::{Duration, Instant};

use crate::fault::{Enhanced, Fault, Kind};
use crate::mail::trace::count_received;
use crate::relay::deliver::{
    Connector, Delivery, HopResult, NextHopConnection, NextHopFacts, ReachedServer, RecipientDelivery, RouteProgress,
    failed, for_good, undelivered,
};
use crate::relay::route::Hop;
use crate::smtp::client::{SendOptions, Times};
use crate::smtp::data::Content;
use crate::smtp::transaction::{Envelope, RecipientOutcome};

/// A message with more `Received` fields than this is in a mail loop (RFC 5321, section 6.3).
pub const MAX_RECEIVED: usize = 100;
/// The most sessions for one message on a route before the message is deferred.
pub const MAX_SESSIONS: usize = 5;
/// The most failed connections for one message on a route before the message is deferred.
pub const MAX_CONNECTS: usize = 10;

/// The health of servers, across all routes of a run.
pub trait ServerHealth: Send + Sync {
    /// The reason why this server must not be tried now.
    fn down(&self, hop: &Hop) -> Option<Fault>;
    /// Records that the server could not be reached or used, that it fell silent, or that it answered.
    fn note(&self, hop: &Hop, failed: Option<&Fault>);
}

/// A route to one destination, and the connection to the server that answered last.
pub struct RouteConnection {
    hops: Vec<Hop>,
    open: Option<(usize, NextHopConnection)>,
}

impl RouteConnection {
    /// A delivery route without a connection yet.
    pub fn new(hops: Vec<Hop>) -> RouteConnection {
        RouteConnection { hops, open: None }
    }

    /// True if a connection is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The server of the next new connection; `None` while one is open.
    pub fn goes_to(&self) -> Option<&Hop> {
        self.hops.first().filter(|_| self.open.is_none())
    }

    /// Delivers one message to the first server of the route that accepts it: over the open connection if there is one, else in
    /// order. After a server that cannot be reached or replies with a temporary failure, the next one is tried; recipients that one
    /// server settled are not offered to another. `options.next` is used only if the whole message goes to one server.
    pub async fn deliver(
        &mut self,
        connector: &dyn Connector,
        health: &dyn ServerHealth,
        envelope: &Envelope,
        content: &dyn Content,
        options: &SendOptions<'_>,
    ) -> Delivery {
        if goes_in_circles(content) {
            let detail = format!("more than {MAX_RECEIVED} Received fields: mail loop");
            let fault = Fault::new(Kind::Refused, detail).with_enhanced(Some(Enhanced::new(5, 4, 6)));
            return Delivery { progress: RouteProgress::Answered, ..undelivered(envelope, &fault) };
        }
        let mut attempt = DeliveryInProgress::new(envelope);
        let mut tried_afresh = false;
        let first = self.open.as_ref().map_or(0, |(index, _)| *index);
        let mut waiting: Vec<usize> = (first..self.hops.len()).collect();
        leave_out_excluded(&self.hops, connector, health, &mut waiting, &mut attempt);
        let (mut sessions, mut connects) = (0, 0);
        while !waiting.is_empty() && sessions < MAX_SESSIONS && connects < MAX_CONNECTS {
            let began = Instant::now();
            let reused = self.open.is_some();
            let (index, mut connection) = match self.open.take() {
                Some(open) => open,
                None => match connect(&self.hops, connector, health, &mut waiting, &mut attempt, &mut connects).await {
                    Some(connected) => {
                        attempt.connect = Some(began.elapsed());
                        connected
                    }
                    None => continue,
                },
            };
            let Some(hop) = self.hops.get(index) else { break };
            let rest = attempt.rest();
            let next = options.next.filter(|_| rest.recipients.len() == envelope.recipients.len());
            let options = SendOptions { next, ..options.clone() };
            sessions += 1;
            let results = connection.session.send(&rest, content, &options).await;
            attempt.times = connection.session.times();
            let broken = results.iter().any(|result| lost(result) && result.outcome == RecipientOutcome::Deferred);
            let trouble = results.iter().find(|result| fell_silent(result) || (!hop.by_mx && wants_login(result)));
            health.note(hop, trouble.and_then(|result| result.fault.as_ref()));
            attempt.reached(results, hop, &connection.peer);
            if connection.session.is_open() {
                self.open = Some((index, connection));
            } else if broken && reused && !tried_afresh {
                // The server had closed the idle connection: it gets the message over a new one.
                tried_afresh = true;
                continue;
            }
            if attempt.is_settled() || attempt.was_stopped() {
                break;
            }
            waiting.retain(|other| *other != index);
            // The last server of the route stays open for the next message.
            if waiting.is_empty() {
                break;
            }
            if let Some((_, connection)) = self.open.take() {
                connection.session.quit().await;
            }
        }
        attempt.into_delivery()
    }

    /// Ends the session with QUIT.
    pub async fn quit(self) {
        if let Some((_, connection)) = self.open {
            connection.session.quit().await;
        }
    }
}

/// Leaves out the servers that the user excluded; their faults are reported only if no other server is left.
fn leave_out_excluded(
    hops: &[Hop],
    connector: &dyn Connector,
    health: &dyn ServerHealth,
    waiting: &mut Vec<usize>,
    attempt: &mut DeliveryInProgress<'_>,
) {
    let hop_at = |index: &usize| hops.get(*index);
    let (left, out): (Vec<usize>, Vec<usize>) =
        waiting.iter().partition(|index| hop_at(index).is_some_and(|hop| connector.excluded(hop).is_none()));
    if let ([], Some(hop)) = (left.as_slice(), out.last().and_then(hop_at))
        && let Some(fault) = connector.excluded(hop)
    {
        health.note(hop, Some(&fault));
        attempt.unreached(&[(hop, fault)]);
    }
    *waiting = left;
}

/// Connects to the next server, at whichever of its addresses answers first, and removes the failed ones from the list: the
/// whole list after a permanent fault.
async fn connect(
    route: &[Hop],
    connector: &dyn Connector,
    health: &dyn ServerHealth,
    waiting: &mut Vec<usize>,
    attempt: &mut DeliveryInProgress<'_>,
    connects: &mut usize,
) -> Option<(usize, NextHopConnection)> {
    let next: Vec<(usize, &Hop)> = waiting.iter().filter_map(|index| Some((*index, route.get(*index)?))).collect();
    let (_, first) = *next.first()?;
    let (mut places, mut hops, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for (index, hop) in next.iter().take_while(|(_, hop)| *hop == first || hop.is_same_server(first)) {
        match health.down(hop) {
            Some(fault) => failed.push((*index, fault)),
            None if hops.len() < MAX_CONNECTS => {
                places.push(*index);
                hops.push((*hop).clone());
            }
            None => {}
        }
    }
    let reached = match hops.as_slice() {
        [] => ReachedServer::default(),
        hops => connector.connect(hops).await,
    };
    let at = |place: usize| places.get(place).copied();
    for (index, fault) in reached.failed.into_iter().filter_map(|(place, fault)| Some((at(place)?, fault))) {
        *connects += 1;
        if let Some(hop) = route.get(index) {
            health.note(hop, Some(&fault));
        }
        failed.push((index, fault));
    }
    waiting.retain(|index| failed.iter().all(|(failed, _)| failed != index));
    // The next server does not cure a loop or a missing domain.
    if failed.iter().any(|(_, fault)| for_good(fault)) {
        waiting.clear();
    }
    // Each failed login may count against the account: no other address of that server gets it.
    if failed.iter().any(|(_, fault)| fault.kind == Kind::AuthFailed) {
        let same = |hop: &Hop| (&hop.name, &hop.login) == (&first.name, &first.login);
        waiting.retain(|index| route.get(*index).is_some_and(|hop| !same(hop)));
    }
    let failed: Vec<_> = failed.into_iter().filter_map(|(at, fault)| Some((route.get(at)?, fault))).collect();
    attempt.unreached(&failed);
    reached.connection.and_then(|(place, connection)| Some((at(place)?, connection)))
}

/// True if the result concerns the connection, not the recipient.
fn lost(result: &HopResult) -> bool {
    result.code == Some(421)
        || (result.code.is_none()
            && result.outcome != RecipientOutcome::Stopped
            && result.fault.as_ref().is_some_and(Fault::temporary))
}

/// True if the server hung in the middle of the dialogue: other messages would wait as long.
fn fell_silent(result: &HopResult) -> bool {
    result.code.is_none() && result.fault.as_ref().is_some_and(|fault| fault.kind == Kind::TimedOut)
}

/// True if the server requires a login, or another one, before it accepts mail.
fn wants_login(result: &HopResult) -> bool {
    result.fault.as_ref().is_some_and(|fault| fault.kind == Kind::AuthFailed)
}

/// True for a refusal that is temporary or depends on the connection: the server says so by its enhanced code or says "too
/// many"; it requires a login although the operator named it; or it requires TLS or trust after TLS had failed.
fn for_now(result: &HopResult, hop: &Hop, peer: &NextHopFacts) -> bool {
    let says = result.enhanced.map(|code| (code.class, code.subject, code.detail));
    let too_many = result.code == Some(552) && matches!(says, Some((_, 5, 3)));
    let wants_tls = matches!(result.code, Some(523 | 530 | 538)) || matches!(says, Some((_, 7, _)));
    result.outcome == RecipientOutcome::Refused
        && (too_many
            || matches!(says, Some((4, _, _)))
            || (wants_login(result) && !hop.by_mx)
            || (wants_tls && peer.tls_failed.is_some()))
}

/// The delivery of one message along a route.
struct DeliveryInProgress<'a> {
    envelope: &'a Envelope,
    recipients: Vec<RecipientInProgress>,
    connect: Option<Duration>,
    times: Times,
    progress: RouteProgress,
}

struct RecipientInProgress {
    last: RecipientDelivery,
    /// True if there is no final result yet.
    open: bool,
}

impl<'a> DeliveryInProgress<'a> {
    fn new(envelope: &'a Envelope) -> DeliveryInProgress<'a> {
        let fault = Fault::new(Kind::Unreachable, "no server to try").with_enhanced(Some(Enhanced::new(4, 4, 1)));
        let Delivery { recipients, connect, times, progress } = undelivered(envelope, &fault);
        let recipients = recipients.into_iter().map(|last| RecipientInProgress { last, open: true }).collect();
        DeliveryInProgress { envelope, recipients, connect, times, progress }
    }

    fn into_delivery(self) -> Delivery {
        let DeliveryInProgress { recipients, connect, times, progress, .. } = self;
        let recipients = recipients.into_iter().map(|recipient| recipient.last).collect();
        Delivery { recipients, connect, times, progress }
    }

    fn is_settled(&self) -> bool {
        self.recipients.iter().all(|recipient| !recipient.open)
    }

    /// True if the lease's owner stopped the delivery: no other server is tried.
    fn was_stopped(&self) -> bool {
        self.recipients.iter().any(|recipient| recipient.last.result.outcome == RecipientOutcome::Stopped)
    }

    /// The envelope with the recipients that are still open.
    fn rest(&self) -> Envelope {
        let known = self.envelope.recipients.iter().zip(&self.recipients);
        let recipients = known.filter(|(_, known)| known.open).map(|(recipient, _)| recipient.clone()).collect();
        Envelope { recipients, ..self.envelope.clone() }
    }

    /// Records the faults of one server's addresses. The last one counts, and names the others.
    fn unreached(&mut self, faults: &[(&Hop, Fault)]) {
        let Some(((hop, last), others)) = faults.split_last() else { return };
        let mut fault = last.clone().context(hop);
        fault.enhanced = fault.enhanced.or(Some(Enhanced::new(4, 4, 1)));
        for (hop, other) in others.iter().rev() {
            fault.detail = format!("{hop}: {}; {}", other.detail, fault.detail);
        }
        let peer = NextHopFacts {
            host: Some(hop.name.clone()),
            endpoint: Some(hop.endpoint.to_string()),
            ..NextHopFacts::default()
        };
        // A server's reply about a recipient is kept.
        let known = self.envelope.recipients.iter().zip(&mut self.recipients);
        for (recipient, known) in known.filter(|(_, known)| known.open && known.last.result.code.is_none()) {
            known.last = RecipientDelivery { result: failed(&recipient.address, &fault), peer: peer.clone() };
        }
    }

    /// Records the results of one server.
    fn reached(&mut self, results: Vec<HopResult>, hop: &Hop, peer: &NextHopFacts) {
        let answered = results.iter().any(|result| !lost(result) && result.outcome != RecipientOutcome::Unknown);
        self.progress = match self.progress {
            RouteProgress::Answered => RouteProgress::Answered,
            _ if answered => RouteProgress::Answered,
            _ => RouteProgress::Broken,
        };
        for (recipient, mut result) in self.recipients.iter_mut().filter(|recipient| recipient.open).zip(results) {
            if for_now(&result, hop, peer) {
                result.outcome = RecipientOutcome::Deferred;
            }
            recipient.open = matches!(result.outcome, RecipientOutcome::Deferred | RecipientOutcome::Stopped);
            recipient.last = RecipientDelivery { result, peer: peer.clone() };
        }
    }
}

/// True if the header shows that the message has passed too many servers. An unreadable message fails when it is sent.
pub fn goes_in_circles(content: &dyn Content) -> bool {
    let count = match content.in_memory() {
        Some(bytes) => count_received(bytes),
        None => content.open().and_then(|reader| count_received(std::io::BufReader::new(reader))),
    };
    count.is_ok_and(|count| count > MAX_RECEIVED)
}

#[cfg(test)]
mod tests;
