//! A way to one destination: its servers in order, the connection to the one that answered last, and one message after
//! the other along it until every recipient has a word.

use std::time::{Duration, Instant};

use crate::fault::{Enhanced, Fault, Kind};
use crate::mail::trace::count_received;
use crate::relay::deliver::{
    Connector, Delivery, HopResult, NextHopConnection, NextHopFacts, RecipientDelivery, RouteProgress, failed,
    for_good, undelivered,
};
use crate::relay::route::Hop;
use crate::smtp::client::{SendOptions, Times};
use crate::smtp::data::Content;
use crate::smtp::transaction::{Envelope, RecipientOutcome};

/// A message with more `Received` fields than this goes round in circles (RFC 5321, section 6.3).
pub const MAX_RECEIVED: usize = 100;
/// Servers of one route that are asked about one message before it is deferred.
pub const MAX_SESSIONS: usize = 5;
/// Servers of one route that are waited for in vain for one message before it is deferred.
pub const MAX_CONNECTS: usize = 10;

/// Which servers of a route are worth trying now, across all routes of a run.
pub trait ServerHealth: Send + Sync {
    /// The reason why this server is not to be tried now.
    fn down(&self, hop: &Hop) -> Option<Fault>;
    /// The server could not be reached or used, or it fell silent, or it answered.
    fn note(&self, hop: &Hop, failed: Option<&Fault>);
}

/// A way to one destination: a route, and the connection to the server that answered last.
pub struct RouteConnection {
    hops: Vec<Hop>,
    open: Option<(usize, NextHopConnection)>,
}

impl RouteConnection {
    /// A lane along this route, without a connection yet.
    pub fn new(hops: Vec<Hop>) -> RouteConnection {
        RouteConnection { hops, open: None }
    }

    /// True when a connection is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The server that a new connection would go to; none while one is open.
    pub fn goes_to(&self) -> Option<&Hop> {
        self.hops.first().filter(|_| self.open.is_none())
    }

    /// Brings one message to the first server of the route that takes it: over the open connection if there is one, else
    /// by order. A server that cannot be reached or says "later" is followed by the next one; recipients that one server
    /// settled are not offered to another. `options.next` is used only where the whole message goes to one server.
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
        let mut index = self.open.as_ref().map_or(0, |(index, _)| *index);
        let (mut sessions, mut connects) = (0, 0);
        while let Some(hop) = self.hops.get(index).filter(|_| sessions < MAX_SESSIONS && connects < MAX_CONNECTS) {
            let began = Instant::now();
            let reused = self.open.is_some();
            let mut connection = match self.open.take() {
                Some((_, connection)) => connection,
                None => match connect(connector, health, hop, &mut connects).await {
                    Ok(connection) => {
                        attempt.connect = Some(began.elapsed());
                        connection
                    }
                    Err(fault) => {
                        attempt.unreached(hop, &fault);
                        // A loop or a missing domain is not cured by the next server.
                        if for_good(&fault) {
                            break;
                        }
                        index += 1;
                        // Each failed login may count against the account: no other address of that server gets it.
                        let same = |next: &Hop| (&next.name, &next.login) == (&hop.name, &hop.login);
                        while fault.kind == Kind::AuthFailed && self.hops.get(index).is_some_and(same) {
                            index += 1;
                        }
                        continue;
                    }
                },
            };
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
                // The server had closed the idle connection: the same server gets the message over a fresh one.
                tried_afresh = true;
                continue;
            }
            if attempt.is_settled() || attempt.was_stopped() {
                break;
            }
            // The last server of the route stays open for the next message.
            if self.hops.get(index + 1).is_none() {
                break;
            }
            if let Some((_, connection)) = self.open.take() {
                connection.session.quit().await;
            }
            index += 1;
        }
        attempt.into_delivery()
    }

    /// Says goodbye.
    pub async fn quit(self) {
        if let Some((_, connection)) = self.open {
            connection.session.quit().await;
        }
    }
}

async fn connect(
    connector: &dyn Connector,
    health: &dyn ServerHealth,
    hop: &Hop,
    connects: &mut usize,
) -> Result<NextHopConnection, Fault> {
    if let Some(fault) = health.down(hop) {
        return Err(fault);
    }
    let connected = connector.connect(hop).await;
    if let Err(fault) = &connected {
        *connects += 1;
        health.note(hop, Some(fault));
    }
    connected
}

/// True when the result is about the connection, not about the recipient.
fn lost(result: &HopResult) -> bool {
    result.code == Some(421)
        || (result.code.is_none()
            && result.outcome != RecipientOutcome::Stopped
            && result.fault.as_ref().is_some_and(Fault::temporary))
}

/// True when the server hung in the middle of the dialogue: others would wait for it as long.
fn fell_silent(result: &HopResult) -> bool {
    result.code.is_none() && result.fault.as_ref().is_some_and(|fault| fault.kind == Kind::TimedOut)
}

/// True when the server wants a login, or another one, before it takes mail.
fn wants_login(result: &HopResult) -> bool {
    result.fault.as_ref().is_some_and(|fault| fault.kind == Kind::AuthFailed)
}

/// A refusal that is a matter of time, or of how we came: the server itself calls it so by its enhanced code or says "too
/// many", it wants a login where the operator named it, or TLS, or trust, where TLS had just failed.
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

/// One message on its way along a route.
struct DeliveryInProgress<'a> {
    envelope: &'a Envelope,
    recipients: Vec<RecipientInProgress>,
    connect: Option<Duration>,
    times: Times,
    progress: RouteProgress,
}

struct RecipientInProgress {
    last: RecipientDelivery,
    /// Without a final word.
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

    /// No other server is asked after a stop by the lease's owner.
    fn was_stopped(&self) -> bool {
        self.recipients.iter().any(|recipient| recipient.last.result.outcome == RecipientOutcome::Stopped)
    }

    /// The envelope with the recipients that are still open.
    fn rest(&self) -> Envelope {
        let known = self.envelope.recipients.iter().zip(&self.recipients);
        let recipients = known.filter(|(_, known)| known.open).map(|(recipient, _)| recipient.clone()).collect();
        Envelope { recipients, ..self.envelope.clone() }
    }

    fn unreached(&mut self, hop: &Hop, fault: &Fault) {
        let fault = if fault.enhanced.is_some() {
            fault.clone()
        } else {
            fault.clone().with_enhanced(Some(Enhanced::new(4, 4, 1)))
        };
        let fault = fault.context(hop);
        let peer = NextHopFacts {
            host: Some(hop.name.clone()),
            endpoint: Some(hop.endpoint.to_string()),
            ..NextHopFacts::default()
        };
        // What a server said about a recipient stays.
        let known = self.envelope.recipients.iter().zip(&mut self.recipients);
        for (recipient, known) in known.filter(|(_, known)| known.open && known.last.result.code.is_none()) {
            known.last = RecipientDelivery { result: failed(&recipient.address, &fault), peer: peer.clone() };
        }
    }

    /// Takes what one server said.
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

/// True when the header shows that the message has gone through too many servers. What cannot be read fails when it is sent.
pub fn goes_in_circles(content: &dyn Content) -> bool {
    let count = match content.in_memory() {
        Some(bytes) => count_received(bytes),
        None => content.open().and_then(|reader| count_received(std::io::BufReader::new(reader))),
    };
    count.is_ok_and(|count| count > MAX_RECEIVED)
}

#[cfg(test)]
mod tests;
