//! A simulated network with a heap of packets and a virtual clock: its resolvers lose, delay, reorder, duplicate,
//! limit, refuse, lie and die. Every question must end exactly once, and the engine's state must stay consistent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Engine, Random, ResolverStats};
use crate::dns::bulk::Micros;
use crate::dns::bulk::api::{
    BulkOptions, FinishedQuestion, OutcomeSink, QueryFailure, QuerySender, QuestionOutcome, SocketId, SocketPlan,
};

/// The behaviour of a simulated resolver.
#[derive(Debug, Clone, Copy)]
struct Nature {
    delay: Micros,
    /// A random extra delay, so that answers overtake each other.
    jitter: Micros,
    /// Lost packets per thousand.
    loss: usize,
    doubles: usize,
    /// Answers to another question or with another ID, per thousand.
    lies: usize,
    servfail: usize,
    truncates: usize,
    /// The maximum number of answers per second; further queries are dropped or refused.
    limit: Option<(f64, bool)>,
    dead: bool,
    /// A period in which six of ten packets are lost.
    trouble: Option<(Micros, Micros)>,
}

const GOOD: Nature = Nature {
    delay: 10_000,
    jitter: 2_000,
    loss: 0,
    doubles: 0,
    lies: 0,
    servfail: 0,
    truncates: 0,
    limit: None,
    dead: false,
    trouble: None,
};

/// An answer in flight: its arrival time, its rank among those of the same time, its socket, its bytes.
type Packet = Reverse<(Micros, u64, u16, Vec<u8>)>;

struct Network {
    natures: Vec<Nature>,
    sockets_each: usize,
    random: Random,
    now: Micros,
    tokens: Vec<(f64, Micros)>,
    heap: BinaryHeap<Packet>,
    order: u64,
    sent: u64,
    ids_seen: Vec<u32>,
}

impl Network {
    fn chance(&mut self, in_thousand: usize) -> bool {
        in_thousand > 0 && self.random.below(1000) < in_thousand
    }
}

impl QuerySender for Network {
    fn send(&mut self, SocketId(socket): SocketId, query: &[u8]) {
        self.sent += 1;
        let count = self.natures.len();
        let udp = count * self.sockets_each;
        let stream = usize::from(socket) >= udp;
        let at = if stream { usize::from(socket) - udp } else { usize::from(socket) / self.sockets_each.max(1) };
        let nature = self.natures[at];
        self.ids_seen[usize::from(u16::from_be_bytes([query[0], query[1]]))] += 1;
        let now = self.now;
        let troubled = nature.trouble.is_some_and(|(begin, end)| (begin..end).contains(&now));
        if nature.dead || self.chance(nature.loss) || (troubled && self.chance(600)) {
            return;
        }
        let mut rcode = 0;
        if let Some((limit, refuses)) = nature.limit {
            let (tokens, since) = &mut self.tokens[at];
            *tokens = (*tokens + (self.now - *since) as f64 * limit / 1e6).min(limit / 10.0);
            *since = self.now;
            if *tokens < 1.0 {
                if !refuses {
                    return;
                }
                rcode = 5;
            } else {
                *tokens -= 1.0;
            }
        }
        let mut answer = query.to_vec();
        let with_edns = query[11] == 1;
        let question_end = query.len() - if with_edns { 11 } else { 0 };
        answer.truncate(question_end);
        answer[11] = 0;
        if self.chance(nature.servfail) {
            rcode = 2;
        }
        let truncated = !stream && self.chance(nature.truncates);
        answer[2] = 0x81 | if truncated { 2 } else { 0 };
        answer[3] = 0x80 | rcode;
        if rcode == 0 && !truncated {
            answer[7] = 1;
            answer.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01");
        }
        if self.chance(nature.lies) {
            let place = if self.chance(500) { 1 } else { 14 };
            answer[place] ^= 0x15;
        }
        for _ in 0..if self.chance(nature.doubles) { 2 } else { 1 } {
            let jitter = self.random.below(nature.jitter as usize + 1) as Micros;
            self.order += 1;
            self.heap.push(Reverse((self.now + nature.delay + jitter, self.order, socket, answer.clone())));
        }
    }
}

#[derive(Default)]
struct Ledger {
    done: Vec<u8>,
    answered: u64,
    failed: u64,
    slowest: Micros,
    most_tries: u8,
    failures: Vec<QueryFailure>,
}

impl OutcomeSink for Ledger {
    fn finished(&mut self, done: &FinishedQuestion<'_>) {
        let count = &mut self.done[done.number as usize];
        *count += 1;
        assert_eq!(*count, 1, "question {} ended twice", done.number);
        assert_eq!(done.question, question(done.number), "the question came back changed");
        self.slowest = self.slowest.max(done.elapsed);
        self.most_tries = self.most_tries.max(done.tries);
        match done.outcome {
            QuestionOutcome::Answered(walked) => {
                assert_eq!(walked.meaning(1), crate::dns::message::AnswerMeaning::Data);
                self.answered += 1;
            }
            QuestionOutcome::Failed(failure, _) => {
                self.failed += 1;
                if !self.failures.contains(&failure) {
                    self.failures.push(failure);
                }
            }
        }
    }
}

fn plan(sockets: usize) -> SocketPlan {
    SocketPlan { sockets, encrypted: false }
}

/// Question number `n`: names of 15 different lengths.
fn question(n: u64) -> Vec<u8> {
    let label = format!("{n:0width$}", width = 7 + (n % 15) as usize);
    let mut wire = vec![label.len() as u8];
    wire.extend_from_slice(label.as_bytes());
    wire.extend_from_slice(b"\x04test\x00\x00\x01\x00\x01");
    wire
}

struct Report {
    ledger: Ledger,
    stats: Vec<ResolverStats>,
    seconds: f64,
    sent: u64,
    ids_seen: Vec<u32>,
    /// The engine's memory, in bytes, after a tenth of the questions and at the end.
    memory: (usize, usize),
}

fn run(count: u64, natures: &[Nature], options: BulkOptions, seed: u64) -> Report {
    let sockets_each = 4;
    let mut engine = Engine::new(options, &vec![plan(sockets_each); natures.len()], Random::seeded(seed), 0);
    let mut network = Network {
        natures: natures.to_vec(),
        sockets_each,
        random: Random::seeded(seed + 1),
        now: 0,
        tokens: vec![(0.0, 0); natures.len()],
        heap: BinaryHeap::new(),
        order: 0,
        sent: 0,
        ids_seen: vec![0; 1 << 16],
    };
    let mut ledger = Ledger { done: vec![0; count as usize], ..Ledger::default() };
    let mut next = 0;
    let slack = 300;
    let mut memory = 0;
    let mut round = 0;
    while next < count || engine.unfinished() > 0 {
        // Each check looks at every slot.
        round += 1;
        if round % 256 == 0 {
            engine.assert_consistent();
        }
        while next < count && engine.room() > 0 {
            assert!(engine.ask(network.now, next, &question(next)));
            next += 1;
        }
        if memory == 0 && next >= count / 10 {
            memory = engine.memory();
        }
        engine.transmit(network.now, &mut ledger, &mut network);
        for socket in engine.take_rotations() {
            engine.rotated(socket);
        }
        let packet = network.heap.peek().map(|Reverse((time, ..))| *time);
        if engine.unfinished() == 0 {
            continue;
        }
        // The driver looks again after half a second, whatever it waits for.
        let wakes = [packet, engine.wake_at(network.now), Some(network.now + 500_000)];
        let wake = wakes.into_iter().flatten().min().unwrap_or(0);
        network.now = network.now.max(wake) + slack;
        while let Some(Reverse((time, ..))) = network.heap.peek()
            && *time <= network.now
        {
            let Some(Reverse((_, _, socket, answer))) = network.heap.pop() else { break };
            engine.receive(network.now, SocketId(socket), &answer, &mut ledger);
        }
        engine.tick(network.now, &mut ledger);
        assert!(network.now < 3_600_000_000 * 24, "the run does not end: {} left", engine.unfinished());
    }
    assert!(ledger.done.iter().all(|count| *count == 1), "every question ends once");
    assert_eq!(engine.active(), 0);
    let stats = engine.stats().collect();
    engine.assert_everything_is_free();
    let seconds = network.now as f64 / 1e6;
    let memory = (memory, engine.memory());
    Report { ledger, stats, seconds, sent: network.sent, ids_seen: network.ids_seen, memory }
}

#[test]
fn a_million_questions_over_a_bad_network() {
    let natures = [
        Nature { loss: 10, doubles: 10, jitter: 20_000, ..GOOD },
        Nature { loss: 20, truncates: 10, servfail: 5, delay: 30_000, ..GOOD },
        Nature { doubles: 20, lies: 5, delay: 2_000, jitter: 30_000, ..GOOD },
        Nature { limit: Some((3_000.0, true)), ..GOOD },
        Nature { limit: Some((2_000.0, false)), loss: 10, ..GOOD },
        Nature { lies: 1000, ..GOOD },
        Nature { dead: true, ..GOOD },
    ];
    let report = run(1_000_000, &natures, BulkOptions { concurrency: 7000, ..BulkOptions::default() }, 7);
    assert_eq!(report.ledger.failed, 0, "{:?}", report.ledger.failures);
    assert!(report.ledger.slowest < 30_000_000);
    assert!(report.sent < 1_100_000, "{} queries", report.sent);
    let least = report.ids_seen.iter().min().copied().unwrap_or(0);
    assert!(least > 0, "all 65,536 IDs are used, again and again");
    let (good, [_, _, liar, dead]) = report.stats.split_at(3) else { panic!("seven resolvers") };
    for stats in good {
        assert_eq!(stats.quarantined, 0, "{stats:?}");
        assert!(stats.window >= 700, "{stats:?}");
    }
    assert!(liar.quarantined > 0 && liar.answered == 0 && liar.sent < 3_000, "{liar:?}");
    assert!(report.stats[3].limited_to > 0 && report.stats[4].limited_to > 0, "{:?}", report.stats);
    assert!((1..20).contains(&dead.quarantined) && dead.sent < 3_000, "{dead:?}");
    assert_eq!(report.memory.0, report.memory.1, "what the engine holds does not grow");
}

/// One resolver, 30 ms away, 1 % loss: nothing is lost, and the rate is at least 90 % of what window and delay allow.
#[test]
fn loss_and_delay_do_not_slow_it_down() {
    let far = Nature { delay: 30_000, jitter: 0, loss: 10, ..GOOD };
    let report = run(200_000, &[far], BulkOptions::default(), 3);
    assert_eq!(report.ledger.failed, 0);
    let rate = 200_000.0 / report.seconds;
    let possible = 1000.0 / 0.030_3;
    assert!(rate > 0.9 * possible, "{rate:.0} of {possible:.0} a second");
}

/// The only resolver loses 1 %: at any port change of any socket, every question is answered soon.
#[test]
fn ports_change_while_packets_are_lost() {
    let lossy = Nature { delay: 1_000, jitter: 500, loss: 10, ..GOOD };
    for seed in 0..20 {
        let report = run(100_000, &[lossy], BulkOptions::default(), 100 + seed);
        assert_eq!(report.ledger.failed, 0, "seed {seed}");
        assert!(report.seconds < 2.0, "seed {seed}: {} s", report.seconds);
        assert!(report.stats[0].timed_out < 1_500, "seed {seed}: {:?}", report.stats);
    }
}

/// A question that waits for a rate limit has a deadline too.
#[test]
fn a_deadline_holds_in_line() {
    let options = BulkOptions { rate: Some(20.0), tries: 200, name_timeout: 2_000_000, ..BulkOptions::default() };
    let report = run(100, &[Nature { dead: true, ..GOOD }], options, 1);
    assert_eq!(report.ledger.failed, 100);
    assert!(report.ledger.slowest <= 2_600_000, "{}", report.ledger.slowest);
}

#[test]
fn a_dead_resolver_and_a_liar_are_benched() {
    let natures = [GOOD, Nature { dead: true, ..GOOD }, Nature { lies: 1000, ..GOOD }, GOOD];
    let report = run(300_000, &natures, BulkOptions { concurrency: 4000, ..BulkOptions::default() }, 5);
    assert_eq!(report.ledger.failed, 0);
    assert!(report.stats[1].quarantined > 0 && report.stats[2].quarantined > 0, "{:?}", report.stats);
    assert!(report.stats[1].sent < 1_000 && report.stats[2].sent < 2_000, "{:?}", report.stats);
    assert_eq!((report.stats[0].quarantined, report.stats[3].quarantined), (0, 0), "{:?}", report.stats);
}

#[test]
fn a_rate_limit_is_met() {
    for refuses in [false, true] {
        let limited = Nature { limit: Some((2_000.0, refuses)), delay: 1_000, jitter: 100, ..GOOD };
        let report = run(60_000, &[limited], BulkOptions { tries: 8, ..BulkOptions::default() }, 9);
        let rate = 60_000.0 / report.seconds;
        assert!(rate > 1_400.0, "refuses: {refuses}: {rate:.0} a second, {:?}", report.stats);
        assert!(report.sent < 90_000, "refuses: {refuses}: {} queries for 60,000 answers", report.sent);
        assert_eq!(report.ledger.failed, 0, "refuses: {refuses}: {:?}", report.ledger.failures);
    }
}

/// A server with heavy loss for a second or two is not asked slowly for long.
#[test]
fn trouble_is_soon_forgotten() {
    for (seed, last) in [(1, 300_000), (2, 1_000_000), (3, 2_000_000)] {
        let nature = Nature { trouble: Some((1_000_000, 1_000_000 + last)), ..GOOD };
        let report = run(400_000, &[nature], BulkOptions::default(), seed);
        assert_eq!(report.ledger.failed, 0, "{:?}", report.ledger.failures);
        let without = 400_000.0 * 0.011_3 / 1000.0;
        let lost = report.seconds - without - last as f64 / 1e6;
        assert!(lost < 3.0, "{lost} s more than {without} s for {last} µs of trouble: {:?}", report.stats);
    }
}

/// Questions with truncated answers that wait for a rate limit are asked again like all others.
#[test]
fn a_rate_loses_no_truncated_answer() {
    let options = BulkOptions { rate: Some(200.0), ..BulkOptions::default() };
    // Several come at once, and the rate allows one.
    let report = run(300, &[Nature { truncates: 900, jitter: 200_000, ..GOOD }], options, 6);
    assert_eq!((report.ledger.failed, report.ledger.answered), (0, 300));
    assert!(report.seconds < 5.0, "{} s", report.seconds);
}

/// With any number of tries: an answer within the stated time is taken.
#[test]
fn the_last_try_waits_its_time() {
    for try_timeout in [1_500_000, 5_000_000] {
        for tries in 1..=4 {
            for delay in [300_000, 900_000, 1_200_000, 2_500_000, 3_500_000, 4_900_000] {
                let options = BulkOptions { tries, try_timeout, name_timeout: 60_000_000, ..BulkOptions::default() };
                let report = run(20, &[Nature { delay, jitter: 1, ..GOOD }], options, 4);
                let answered = if delay < try_timeout { 20 } else { report.ledger.answered };
                assert_eq!(report.ledger.answered, answered, "{delay} {tries} {try_timeout}");
            }
        }
    }
}

#[test]
fn a_dead_server_ends_every_question() {
    let options = BulkOptions { tries: 3, try_timeout: 1_000_000, ..BulkOptions::default() };
    let report = run(2_000, &[Nature { dead: true, ..GOOD }], options, 1);
    assert_eq!((report.ledger.failed, report.ledger.answered), (2_000, 0));
    assert_eq!(report.ledger.failures, [QueryFailure::TimedOut]);
    assert!(report.ledger.slowest <= 30_100_000, "{}", report.ledger.slowest);
}

#[test]
fn lies_from_everybody_are_an_outcome() {
    let options = BulkOptions { tries: 2, ..BulkOptions::default() };
    let report = run(2_000, &[Nature { lies: 1000, ..GOOD }], options, 1);
    assert_eq!(report.ledger.failed, 2_000);
    assert!(report.ledger.failures.contains(&QueryFailure::Mismatched), "{:?}", report.ledger.failures);
}

#[test]
fn servfail_from_everybody_is_an_outcome() {
    let broken = Nature { servfail: 1000, ..GOOD };
    let report = run(2_000, &[broken, broken], BulkOptions::default(), 1);
    assert_eq!(report.ledger.failures, [QueryFailure::Rcode(2)]);
    assert_eq!(report.ledger.failed, 2_000);
}

#[test]
fn a_rate_is_kept() {
    let report = run(5_000, &[GOOD], BulkOptions { rate: Some(1_000.0), ..BulkOptions::default() }, 4);
    assert!((4.9..5.2).contains(&report.seconds), "{} s", report.seconds);
    assert_eq!(report.sent, 5_000);
}

#[test]
fn a_deadline_for_the_whole_question_holds() {
    let options = BulkOptions { tries: 200, name_timeout: 2_000_000, ..BulkOptions::default() };
    let report = run(100, &[Nature { dead: true, ..GOOD }], options, 1);
    assert_eq!(report.ledger.failed, 100);
    assert!(report.ledger.slowest <= 2_100_000, "{}", report.ledger.slowest);
}

#[test]
fn mixed_case_must_come_back() {
    struct Lower(Vec<(u16, Vec<u8>)>);
    impl QuerySender for Lower {
        fn send(&mut self, SocketId(socket): SocketId, query: &[u8]) {
            self.0.push((socket, query.to_vec()));
        }
    }
    struct Count(u32);
    impl OutcomeSink for Count {
        fn finished(&mut self, _: &FinishedQuestion<'_>) {
            self.0 += 1;
        }
    }
    let options = BulkOptions { mix_case: true, edns: None, ..BulkOptions::default() };
    let mut engine = Engine::new(options, &[plan(1)], Random::seeded(3), 0);
    let asked = b"\x10abcdefghijklmnop\x04test\x00\x00\x01\x00\x01";
    assert!(engine.ask(0, 0, asked));
    let (mut sent, mut count) = (Lower(Vec::new()), Count(0));
    engine.transmit(0, &mut count, &mut sent);
    let (socket, query) = sent.0[0].clone();
    assert_ne!(&query[12..], asked, "seed 3 mixes some letter");
    assert!(query[12..].eq_ignore_ascii_case(asked));
    let mut answer = query.clone();
    answer[2] |= 0x80;
    answer[12..].make_ascii_lowercase();
    engine.receive(10, SocketId(socket), &answer, &mut count);
    assert_eq!(count.0, 0, "an answer in another case is not believed");
    answer[12..].copy_from_slice(&query[12..]);
    engine.receive(10, SocketId(socket + 1), &answer, &mut count);
    assert_eq!(count.0, 0, "nor one from another socket");
    engine.receive(10, SocketId(socket), &answer, &mut count);
    assert_eq!(count.0, 1);
}

#[test]
fn giving_up_ends_what_was_taken_in() {
    let mut engine = Engine::new(BulkOptions::default(), &[plan(2); 2], Random::seeded(3), 0);
    let mut ledger = Ledger { done: vec![0; 500], ..Ledger::default() };
    struct Nowhere;
    impl QuerySender for Nowhere {
        fn send(&mut self, _: SocketId, _: &[u8]) {}
    }
    for n in 0..500 {
        assert!(engine.ask(0, n, &question(n)));
    }
    engine.transmit(0, &mut ledger, &mut Nowhere);
    engine.tick(1_500_000, &mut ledger);
    engine.transmit(1_500_000, &mut ledger, &mut Nowhere);
    assert_eq!(engine.silence(1_500_000), 1_500_000);
    engine.socket_failed(1_600_000, SocketId(0), QueryFailure::ConnectRefused, &mut ledger);
    engine.give_up(2_000_000, QueryFailure::TimedOut, &mut ledger);
    assert_eq!((ledger.failed, engine.unfinished()), (500, 0));
    engine.assert_everything_is_free();
}
