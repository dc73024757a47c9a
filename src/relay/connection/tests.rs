use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use super::*;
use crate::net::BoxFuture;
use crate::net::tls::TlsMode;
use crate::relay::deliver::{DeliveryProof, NextHopSession, ReachedServer};
use crate::relay::policy;
use crate::relay::route::{HopEndpoint, Protocol};
use crate::smtp::data::MessageBlob;
use crate::smtp::transaction::{Accepted, Recipient};

fn delivered() -> RecipientOutcome<DeliveryProof> {
    RecipientOutcome::Delivered(DeliveryProof::Accepted(Accepted::simulated()))
}

/// A server's reply to the nth recipient of a transaction: code and enhanced code; 0 hangs up, 1 falls silent.
type Says = fn(usize) -> (u16, &'static str);

/// Servers that cannot be reached (`None`) or reply, with a record of their connections and transactions.
#[derive(Default)]
struct World {
    servers: Vec<Option<Says>>,
    seen: std::sync::Arc<Mutex<Vec<String>>>,
    known: Mutex<Vec<(String, bool)>>,
    excluded: Vec<String>,
}

impl ServerHealth for World {
    fn down(&self, _hop: &Hop) -> Option<Fault> {
        None
    }

    fn note(&self, hop: &Hop, failed: Option<&Fault>) {
        self.known.lock().unwrap().push((hop.endpoint.to_string(), failed.is_none()));
    }
}

impl Connector for World {
    fn excluded(&self, hop: &Hop) -> Option<Fault> {
        self.excluded.contains(&hop.name).then(|| Fault::new(Kind::Usage, "no IPv6 address"))
    }

    fn connect<'a>(&'a self, hops: &'a [Hop]) -> BoxFuture<'a, ReachedServer> {
        let mut reached = ReachedServer::default();
        for (place, hop) in hops.iter().enumerate() {
            if reached.connection.is_none() {
                reached.add(place, self.connect_one(hop));
            }
        }
        Box::pin(std::future::ready(reached))
    }
}

impl World {
    fn connect_one(&self, hop: &Hop) -> Result<NextHopConnection, Fault> {
        let IpAddr::V4(ip) = hop.address().unwrap().ip() else { unreachable!() };
        let index = usize::from(ip.octets()[3]);
        self.seen.lock().unwrap().push(format!("connect {index}"));
        let connection = self.servers[index].map(|says| NextHopConnection {
            session: Box::new(Server { index, says, open: true, seen: self.seen.clone() }),
            peer: NextHopFacts::default(),
        });
        connection.ok_or_else(|| Fault::new(Kind::ConnectRefused, "refused"))
    }
}

struct Server {
    index: usize,
    says: Says,
    open: bool,
    seen: std::sync::Arc<Mutex<Vec<String>>>,
}

impl NextHopSession for Server {
    fn is_open(&self) -> bool {
        self.open
    }

    fn send<'a>(
        &'a mut self,
        envelope: &'a Envelope,
        _content: &'a dyn Content,
        _options: &'a SendOptions<'_>,
    ) -> BoxFuture<'a, Vec<HopResult>> {
        self.seen.lock().unwrap().push(format!("{}: {}", self.index, envelope.recipients.len()));
        let mut results = Vec::new();
        for (at, recipient) in envelope.recipients.iter().enumerate() {
            let (code, enhanced) = (self.says)(at);
            let fault = match code {
                0 => Some(Fault::new(Kind::Disconnected, "gone")),
                1 => Some(Fault::new(Kind::TimedOut, "silent")),
                400..=499 => {
                    Some(Fault::new(Kind::PeerTemporary, "later").with_code(crate::fault::PeerCode::Reply(code)))
                }
                500..=599 => Some(Fault::new(Kind::Refused, "no").with_code(crate::fault::PeerCode::Reply(code))),
                _ => None,
            };
            self.open &= code > 1;
            results.push(HopResult {
                address: recipient.address.clone(),
                outcome: match code / 100 {
                    2 => delivered(),
                    5 => RecipientOutcome::Refused,
                    _ => RecipientOutcome::Deferred,
                },
                code: Some(code).filter(|code| *code > 1),
                enhanced: Enhanced::parse(enhanced),
                reply: String::new(),
                fault,
            });
        }
        Box::pin(std::future::ready(results))
    }

    fn times(&self) -> Times {
        Times::default()
    }

    fn quit(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.seen.lock().unwrap().push(format!("quit {}", self.index));
        Box::pin(std::future::ready(()))
    }
}

fn world(servers: &[Option<Says>]) -> (World, RouteConnection) {
    let names: Vec<String> = (0..servers.len()).map(|index| index.to_string()).collect();
    world_of(servers, &names.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Addresses, and the name of each one's server.
fn world_of(servers: &[Option<Says>], names: &[&str]) -> (World, RouteConnection) {
    let hop = |index: usize| Hop {
        name: names[index].to_owned(),
        endpoint: HopEndpoint::Address(SocketAddr::from(([192, 0, 2, index as u8], 25))),
        protocol: Protocol::Smtp,
        policy: policy::for_mx(TlsMode::Try),
        login: None,
        mechanism: None,
        by_mx: true,
        account: None,
    };
    let route = RouteConnection::new((0..servers.len()).map(hop).collect());
    (World { servers: servers.to_vec(), ..World::default() }, route)
}

async fn deliver(
    world: &World,
    route: &mut RouteConnection,
    count: usize,
    body: &str,
) -> (Delivery, Vec<RecipientOutcome<DeliveryProof>>) {
    let recipients = (0..count).map(|n| Recipient::new(format!("r{n}@b.test"))).collect();
    let envelope = Envelope { sender: "a@a.test".into(), recipients, ..Envelope::default() };
    let content = MessageBlob::from(body.as_bytes().to_vec());
    let delivery = route.deliver(world, world, &envelope, &content, &SendOptions::default()).await;
    let outcomes = delivery.recipients.iter().map(|one| one.result.outcome.clone()).collect();
    (delivery, outcomes)
}

fn seen(world: &World) -> Vec<String> {
    std::mem::take(&mut world.seen.lock().unwrap())
}

#[tokio::test]
async fn a_refusal_that_is_a_matter_of_time_is_a_deferral() {
    let table: [(Says, RecipientOutcome<DeliveryProof>); 7] = [
        (|_| (550, "5.1.1"), RecipientOutcome::Refused),
        (|_| (550, ""), RecipientOutcome::Refused),
        (|_| (550, "4.2.1"), RecipientOutcome::Deferred),
        (|_| (450, "5.2.1"), RecipientOutcome::Deferred),
        (|_| (552, "5.2.2"), RecipientOutcome::Refused),
        (|_| (552, "5.5.3"), RecipientOutcome::Deferred),
        (|_| (530, "5.7.0"), RecipientOutcome::Refused),
    ];
    for (index, (says, expected)) in table.into_iter().enumerate() {
        let (world, mut route) = world(&[Some(says)]);
        assert_eq!(deliver(&world, &mut route, 1, "").await.1, [expected], "{index}");
    }
}

#[tokio::test]
async fn the_next_server_follows_and_the_last_stays_open() {
    let (later, mut route) = world(&[None, Some(|_| (451, "4.3.0")), Some(|_| (450, "4.7.1"))]);
    let (delivery, outcomes) = deliver(&later, &mut route, 1, "").await;
    assert_eq!((outcomes, delivery.progress), (vec![RecipientOutcome::Deferred], RouteProgress::Answered));
    assert_eq!(seen(&later), ["connect 0", "connect 1", "1: 1", "quit 1", "connect 2", "2: 1"]);
    assert!(route.is_open() && route.goes_to().is_none());
    deliver(&later, &mut route, 1, "").await;
    assert_eq!(seen(&later), ["2: 1"], "the open connection carries the next message");
    let dead: Vec<Option<Says>> = vec![None; 25];
    let (dead, mut route) = world(&dead);
    let (delivery, _) = deliver(&dead, &mut route, 1, "").await;
    assert_eq!((seen(&dead).len(), delivery.progress), (MAX_CONNECTS, RouteProgress::Unreached));
    let talkers: Vec<Option<Says>> = vec![Some(|_| (451, "4.3.0")); 25];
    let (talkers, mut route) = world(&talkers);
    deliver(&talkers, &mut route, 1, "").await;
    assert_eq!(seen(&talkers).iter().filter(|what| what.starts_with("connect")).count(), MAX_SESSIONS);
}

#[tokio::test]
async fn silence_is_remembered_and_a_hang_up_is_not() {
    let table: [(Says, bool); 2] = [(|_| (0, ""), true), (|_| (1, ""), false)];
    for (says, alive) in table {
        let (world, mut route) = world(&[Some(says)]);
        let (delivery, outcomes) = deliver(&world, &mut route, 2, "").await;
        assert_eq!((outcomes, delivery.progress), (vec![RecipientOutcome::Deferred; 2], RouteProgress::Broken));
        assert_eq!(world.known.lock().unwrap().last().unwrap().1, alive);
        assert!(!route.is_open());
    }
}

#[tokio::test]
async fn a_message_that_goes_in_circles_is_refused_here() {
    let (world, mut route) = world(&[Some(|_| (250, ""))]);
    let round = |count: usize| format!("{}\r\nbody\r\n", "Received: from x by y\r\n".repeat(count));
    assert_eq!(deliver(&world, &mut route, 1, &round(MAX_RECEIVED)).await.1, [delivered()]);
    let (delivery, outcomes) = deliver(&world, &mut route, 1, &round(MAX_RECEIVED + 1)).await;
    assert_eq!(outcomes, [RecipientOutcome::Refused]);
    assert_eq!(delivery.recipients[0].result.enhanced, Enhanced::parse("5.4.6"));
}

#[tokio::test]
async fn the_addresses_of_one_server_are_tried_together() {
    let (takes, later): (Says, Says) = (|_| (250, ""), |_| (451, "4.3.0"));
    let words = |delivery: &Delivery| delivery.recipients[0].result.reply.clone();
    // The failed ones are not tried again for this message, and the next server of the route follows.
    let names = ["a", "a", "a", "b", "b"];
    let (world, mut route) = world_of(&[None, Some(later), None, None, Some(takes)], &names);
    let (_, outcomes) = deliver(&world, &mut route, 1, "").await;
    assert_eq!(outcomes, [delivered()]);
    let steps = ["connect 0", "connect 1", "1: 1", "quit 1", "connect 2", "connect 3", "connect 4", "4: 1"];
    assert_eq!(seen(&world), steps);
    let known = ["0:25 false", "1:25 true", "2:25 false", "3:25 false", "4:25 true"].map(|it| format!("192.0.2.{it}"));
    let noted: Vec<_> = world.known.lock().unwrap().iter().map(|(at, alive)| format!("{at} {alive}")).collect();
    assert_eq!(noted, known);
    // The record names every address.
    let (world, mut route) = world_of(&[None, None], &["a", "a"]);
    let (delivery, _) = deliver(&world, &mut route, 1, "").await;
    assert_eq!(words(&delivery), "a (192.0.2.0:25): refused; a (192.0.2.1:25): refused");
    // An excluded server is not an attempt, and not a reason to return mail.
    let (mut world, mut route) = world_of(&[Some(takes), None, Some(takes)], &["six", "a", "six"]);
    world.excluded = vec!["six".to_owned()];
    let (delivery, outcomes) = deliver(&world, &mut route, 1, "").await;
    assert_eq!((outcomes, seen(&world).as_slice()), (vec![RecipientOutcome::Deferred], &["connect 1".to_owned()][..]));
    assert_eq!(words(&delivery), "a (192.0.2.1:25): refused");
    let (mut later, mut open) = world_of(&[Some(later), Some(takes)], &["a", "six"]);
    later.excluded = vec!["six".to_owned()];
    for steps in [&["connect 0", "0: 1"][..], &["0: 1"]] {
        deliver(&later, &mut open, 1, "").await;
        assert_eq!(seen(&later), steps);
    }
    world.excluded.push("a".to_owned());
    let (delivery, outcomes) = deliver(&world, &mut route, 1, "").await;
    assert_eq!((outcomes, seen(&world).len()), (vec![RecipientOutcome::Deferred], 0));
    assert_eq!(delivery.recipients[0].result.fault.as_ref().unwrap().kind, Kind::Usage);
    assert_eq!(delivery.progress, RouteProgress::Unreached);
}
