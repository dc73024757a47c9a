//! Exchanges through simulated networks: servers that answer, are silent, slow, broken or impersonated, datagrams that get lost
//! or doubled, and a simulated clock. Each world is generated from a seed, so that a failure can be reproduced.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::dns::edns::{Edns, EdnsOption};
use crate::dns::message::Message;
use crate::dns::name::Name;
use crate::dns::record::{Class, Record, Rtype};

/// Worlds of each kind.
const WORLDS: u64 = 4000;
/// Steps after which an exchange counts as a loop.
const MAX_STEPS: u32 = 2000;

/// xorshift64*: the same numbers for the same seed, everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// The behaviour of a server on a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Temper {
    Good,
    Silent,
    /// SERVFAIL or REFUSED.
    Unwilling(u16),
    /// Truncated over UDP, whole over TCP.
    Long,
    /// Truncated over UDP, and TCP is closed.
    LongWithoutTcp,
    /// Knows no EDNS.
    Old,
    /// Requires its cookie.
    Cookies,
    /// The port is closed.
    Closed,
    /// Bytes that are no message, under the right identifier.
    Garbage,
}

const TEMPERS: [Temper; 12] = [
    Temper::Good,
    Temper::Good,
    Temper::Good,
    Temper::Silent,
    Temper::Unwilling(2),
    Temper::Unwilling(5),
    Temper::Long,
    Temper::LongWithoutTcp,
    Temper::Old,
    Temper::Cookies,
    Temper::Closed,
    Temper::Garbage,
];

/// An event at the client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Message { transport: bool, wire: Vec<u8> },
    Failure,
}

struct World {
    dice: Dice,
    now: Duration,
    servers: Vec<(Temper, Duration)>,
    /// The percentage of datagrams that get lost, in each direction.
    loss: u64,
    /// The number of forged datagrams per query.
    forged: u64,
    coming: BinaryHeap<Reverse<(Duration, usize, Event)>>,
}

/// The course of a simulated exchange.
struct Story {
    sends: Vec<(Duration, usize, Transport)>,
    mismatched: u32,
    end: Duration,
    outcome: Result<ExchangeAnswer, Fault>,
}

const GENUINE: [u8; 4] = [192, 0, 2, 1];
const FORGED: [u8; 4] = [203, 0, 113, 6];

fn question() -> Query {
    let cookie = EdnsOption::new(EdnsOption::COOKIE, b"ourcooki".to_vec());
    let edns = Some(Edns { options: vec![cookie], ..Edns::default() });
    Query { edns, ..Query::new(Name::parse("www.example.test").unwrap(), Rtype::A) }
}

/// The answer to a query, with this address.
fn answer_to(query: &[u8], address: [u8; 4]) -> Message {
    let mut message = Message::parse(query).expect("our own query");
    message.flags.set(Flags::QR, true);
    let name = message.question[0].name.clone();
    message.answer.push(Record { name, rtype: Rtype::A, class: Class::IN, ttl: 60, rdata: address.to_vec() });
    message
}

impl World {
    fn random(seed: u64) -> (World, ExchangePolicy) {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let servers = (0..1 + dice.below(4))
            .map(|_| {
                let temper = TEMPERS[dice.below(TEMPERS.len() as u64) as usize];
                (temper, Duration::from_millis(1 + dice.below(7000)))
            })
            .collect();
        let policy = ExchangePolicy {
            timeout: Duration::from_millis(1 + dice.below(6000)),
            tries: 1 + dice.below(4) as u32,
            deadline: Duration::from_millis(1 + dice.below(40_000)),
            ignore_truncation: dice.percent(10),
            race: dice.percent(50),
            next_on_failure: dice.percent(80),
            answer_bad_cookie: dice.percent(80),
            backoff: dice.percent(50),
        };
        let (loss, forged) = (dice.below(4) * 20, dice.below(4));
        (World { dice, now: Duration::ZERO, servers, loss, forged, coming: BinaryHeap::new() }, policy)
    }

    fn calm(servers: &[(Temper, u64)]) -> World {
        let servers = servers.iter().map(|(temper, delay)| (*temper, Duration::from_millis(*delay))).collect();
        World { dice: Dice(1), now: Duration::ZERO, servers, loss: 0, forged: 0, coming: BinaryHeap::new() }
    }

    /// Sends a query, and schedules its consequences on the time line.
    fn send(&mut self, server: usize, transport: Transport, query: &[u8]) {
        let (temper, delay) = self.servers[server];
        let stream = transport != Transport::Udp;
        let lost = !stream && self.dice.percent(self.loss);
        for _ in 0..self.forged {
            let when = self.now + Duration::from_micros(self.dice.below(1_000_000));
            let wire = self.forge(query);
            self.coming.push(Reverse((when, server, Event::Message { transport: false, wire })));
        }
        if lost {
            return;
        }
        let Some(event) = react(temper, stream, query) else { return };
        let doubled = !stream && self.dice.percent(20);
        for copy in 0..=u32::from(doubled) {
            if stream || !self.dice.percent(self.loss) {
                self.coming.push(Reverse((self.now + delay * (copy + 1), server, event.clone())));
            }
        }
    }

    /// A forgery by an attacker who sees no query: a wrong identifier, or the right one by chance with another question.
    fn forge(&mut self, query: &[u8]) -> Vec<u8> {
        let mut message = answer_to(query, FORGED);
        match self.dice.below(5) {
            0 => message.question[0].rtype = Rtype::AAAA,
            1 => message.question[0].name = Name::parse("www.example.net").unwrap(),
            2 => message.question.clear(),
            3 => message.flags.set(Flags::QR, false),
            _ => message.id = message.id.wrapping_add(1 + self.dice.below(65_000) as u16),
        }
        message.compose(65_535)
    }

    fn run(mut self, policy: ExchangePolicy) -> Story {
        let ids: Vec<(u16, Transport)> =
            (0..self.servers.len()).map(|server| (1000 + server as u16, Transport::Udp)).collect();
        let mut exchange = Exchange::new(question(), &ids, policy);
        let mut sends = Vec::new();
        let mut mismatched = 0;
        for step in 0.. {
            assert!(step < MAX_STEPS, "does not end");
            match exchange.poll(self.now) {
                ExchangeAction::Send { server, transport, wire } => {
                    sends.push((self.now, server, transport));
                    self.send(server, transport, &wire);
                }
                ExchangeAction::Wait { until } => {
                    assert!(until > self.now, "waits for the past");
                    assert!(until <= policy.deadline, "waits beyond the deadline");
                    assert_eq!(exchange.poll(self.now), ExchangeAction::Wait { until }, "asking twice changes nothing");
                    match self.coming.pop() {
                        Some(Reverse((when, server, event))) if when <= until => {
                            self.now = self.now.max(when);
                            mismatched += u32::from(deliver(&mut exchange, server, event, self.now));
                        }
                        later => {
                            self.coming.extend(later);
                            self.now = until;
                        }
                    }
                }
                ExchangeAction::Done => break,
            }
        }
        assert_eq!(exchange.poll(self.now), ExchangeAction::Done, "over is over");
        let id = ids[0].0;
        let late = answer_to(&question().compose(id), FORGED).compose(65_535);
        assert!(!exchange.received(0, Transport::Udp, &late, self.now), "what comes after the end does not count");
        Story { sends, mismatched, end: self.now, outcome: exchange.outcome() }
    }
}

/// The reaction of a server to a query; `None` for silence.
fn react(temper: Temper, stream: bool, query: &[u8]) -> Option<Event> {
    let mut message = answer_to(query, GENUINE);
    match temper {
        Temper::Good => {}
        Temper::Silent => return None,
        Temper::Unwilling(rcode) => {
            message.answer.clear();
            message.flags.0 |= rcode;
        }
        Temper::LongWithoutTcp if stream => return Some(Event::Failure),
        Temper::Long | Temper::LongWithoutTcp => message.flags.set(Flags::TC, !stream),
        Temper::Old if message.edns.is_none() => {}
        Temper::Old => {
            message.answer.clear();
            message.edns = None;
            message.flags.0 |= Rcode::FORMERR.0;
        }
        Temper::Cookies => {
            let ours = message.edns.as_mut().and_then(|edns| {
                edns.extended_rcode = 1;
                edns.option_mut(EdnsOption::COOKIE)
            });
            match ours {
                Some(cookie) if cookie.data == b"ourcooki" => {
                    cookie.data = b"ourcookiservers_".to_vec();
                    message.answer.clear();
                    message.flags.0 |= Rcode::BADCOOKIE.0 & 15;
                }
                _ => {
                    if let Some(edns) = &mut message.edns {
                        edns.extended_rcode = 0;
                    }
                }
            }
        }
        Temper::Closed => return Some(Event::Failure),
        Temper::Garbage => {
            let mut wire = message.compose(65_535);
            wire.truncate(20);
            return Some(Event::Message { transport: stream, wire });
        }
    }
    Some(Event::Message { transport: stream, wire: message.compose(65_535) })
}

/// Passes an event to the exchange. True if its message was ignored.
fn deliver(exchange: &mut Exchange, server: usize, event: Event, now: Duration) -> bool {
    match event {
        Event::Failure => {
            exchange.failed(server, Fault::new(Kind::ConnectRefused, "refused"));
            false
        }
        Event::Message { transport, wire } => {
            let before = exchange.mismatches;
            let transport = if transport { Transport::Tcp } else { Transport::Udp };
            exchange.received(server, transport, &wire, now);
            exchange.mismatches > before
        }
    }
}

#[test]
fn whatever_happens_it_ends_in_time_and_believes_no_forgery() {
    let mut ended = [0; 2];
    for seed in 0..WORLDS {
        let (world, policy) = World::random(seed);
        let (servers, loss) = (world.servers.clone(), world.loss);
        let story = std::panic::catch_unwind(|| world.run(policy))
            .unwrap_or_else(|_| panic!("seed {seed}: {servers:?}, {policy:?}"));
        let told = || format!("seed {seed}: {servers:?}, {policy:?}, {:?}", story.sends);
        assert!(story.end <= policy.deadline, "{}", told());
        // Each server: the tries, one over TCP after each, one without EDNS, one with its cookie.
        assert!(story.sends.len() <= servers.len() * 2 * policy.tries as usize + 2, "{}", told());
        let by_udp = story.sends.iter().filter(|(_, server, transport)| (*server, *transport) == (0, Transport::Udp));
        assert!(by_udp.count() <= policy.tries as usize + 2, "{}", told());
        match &story.outcome {
            Ok(answer) => {
                // A fallback answer has the counts of its arrival, which is before the end.
                let last_resort = !matches!(answer.message.rcode(), Rcode::NOERROR);
                let counts = (answer.mismatches, answer.sent as usize);
                let seen = (story.mismatched, story.sends.len());
                assert!(counts == seen || last_resort && counts <= seen, "{counts:?}, {seen:?}: {}", told());
                for record in &answer.message.answer {
                    assert_eq!(record.rdata, GENUINE, "{}", told());
                }
                assert!(story.sends.iter().any(|(_, server, _)| *server == answer.server));
            }
            Err(fault) => {
                let known = [Kind::TimedOut, Kind::ConnectRefused, Kind::Protocol];
                assert!(known.contains(&fault.kind), "{}: {fault:?}", told());
            }
        }
        // A good server that is reached in time is enough.
        let good = |(temper, delay): &(Temper, Duration)| *temper == Temper::Good && *delay < policy.timeout;
        let enough = policy.timeout * servers.len() as u32 * 2 < policy.deadline;
        if loss == 0 && enough && policy.next_on_failure && servers.iter().any(good) {
            let rcode = story.outcome.as_ref().map(|answer| answer.message.rcode());
            assert!(matches!(rcode, Ok(Rcode::NOERROR | Rcode::FORMERR | Rcode::BADCOOKIE)), "{}: {rcode:?}", told());
        }
        ended[usize::from(story.outcome.is_ok())] += 1;
    }
    assert!(ended.iter().all(|count| *count > WORLDS / 10), "worlds of both ends: {ended:?}");
}

/// The answering server, its transport, the time in milliseconds, and the number of queries.
type End = (usize, Transport, u64, usize);

/// A description, the client's policy, the servers, the expected end.
type Known<'a> = (&'a str, ExchangePolicy, &'a [(Temper, u64)], Option<End>);

#[test]
fn known_worlds_end_as_they_should() {
    use Temper::*;
    let usual = ExchangePolicy::default();
    let race = ExchangePolicy { race: true, ..usual };
    let table: &[Known<'_>] = &[
        ("the first answers", usual, &[(Good, 20), (Good, 10)], Some((0, Transport::Udp, 20, 1))),
        ("the first is silent", usual, &[(Silent, 0), (Good, 10)], Some((1, Transport::Udp, 5010, 2))),
        ("the first is closed", usual, &[(Closed, 1), (Good, 10)], Some((1, Transport::Udp, 11, 2))),
        ("the first fails", usual, &[(Unwilling(2), 3), (Good, 10)], Some((1, Transport::Udp, 13, 2))),
        (
            "slower than patience, yet it counts",
            usual,
            &[(Good, 5500), (Silent, 0)],
            Some((0, Transport::Udp, 5500, 2)),
        ),
        ("all fail", usual, &[(Unwilling(5), 3), (Unwilling(2), 4)], Some((0, Transport::Udp, 7, 2))),
        ("truncated", usual, &[(Long, 10)], Some((0, Transport::Tcp, 20, 2))),
        ("truncated, no TCP, the next", usual, &[(LongWithoutTcp, 10), (Good, 10)], Some((1, Transport::Udp, 30, 3))),
        ("no EDNS", usual, &[(Old, 10)], Some((0, Transport::Udp, 20, 2))),
        ("a cookie", usual, &[(Cookies, 10)], Some((0, Transport::Udp, 20, 2))),
        ("garbage, then the next", usual, &[(Garbage, 10), (Good, 10)], Some((1, Transport::Udp, 20, 2))),
        ("the fastest", race, &[(Good, 30), (Silent, 0), (Good, 10)], Some((2, Transport::Udp, 10, 3))),
        ("the fastest good", race, &[(Unwilling(2), 1), (Closed, 2), (Good, 30)], Some((2, Transport::Udp, 30, 3))),
        ("a truncated one loses", race, &[(Long, 10), (Good, 15)], Some((1, Transport::Udp, 15, 3))),
        ("a truncated one wins", race, &[(Long, 10), (Good, 50)], Some((0, Transport::Tcp, 20, 3))),
        ("nobody", race, &[(Silent, 0), (Silent, 0)], None),
        ("nobody, one by one", usual, &[(Silent, 0), (Silent, 0)], None),
    ];
    for (what, policy, servers, end) in table {
        let story = World::calm(servers).run(*policy);
        let millis = story.end.as_millis() as u64;
        let found = story.outcome.ok().map(|answer| (answer.server, answer.transport, millis, story.sends.len()));
        assert_eq!(found, *end, "{what}");
        if end.is_none() {
            // Each round of a race takes one wait, not one per server.
            assert_eq!((millis, story.sends.len()), (if policy.race { 15_000 } else { 30_000 }, 6), "{what}");
        }
    }
}
