//! Traces through simulated networks: servers that answer, are silent, lame or hostile, and a clock that only they advance.

use std::collections::HashMap;

use super::*;
use crate::dns::answer::{Zones, answer};
use crate::dns::query::Query;
use crate::dns::zone::{Zone, ZoneSource};

/// A simulated server: takes a question; returns its answer and the time it takes, or `None` for silence.
type Server = Box<dyn Fn(&Question) -> Option<Message>>;

const PATIENCE: Duration = Duration::from_secs(5);

struct World {
    servers: HashMap<IpAddr, Server>,
    steps: Vec<String>,
    now: Duration,
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A server of these zones.
fn serves(files: &[&str]) -> Server {
    let mut zones = Zones::default();
    for text in files {
        let source = ZoneSource { name: "z".to_owned(), text: text.as_bytes().to_vec() };
        assert!(
            zones.add(
                Zone::read(source, Some(Name::root()), &mut |_| Err(String::new()))
                    .or_else(|_| {
                        let source = ZoneSource { name: "z".to_owned(), text: text.as_bytes().to_vec() };
                        Zone::read(source, None, &mut |_| Err(String::new()))
                    })
                    .unwrap()
            )
        );
    }
    Box::new(move |question| {
        let query = Query { flags: Flags::default(), ..Query::new(question.name.clone(), question.rtype) };
        Message::parse(&answer(&zones, &query.compose(1), true).response()?.wire).ok()
    })
}

const ROOT: &str = "$TTL 60\n. SOA a. h. 1 2 3 4 5\n. NS a.\na. A 10.0.0.1\ntest. NS ns.test.\nns.test. A 10.0.0.2\n\
                    far. NS ns.example.test.\n";
const TEST: &str = "$ORIGIN test.\n$TTL 60\n@ SOA a. h. 1 2 3 4 5\n@ NS ns\nns A 10.0.0.2\nexample NS ns.example\nexample NS silent\n\
                    ns.example A 10.0.0.3\nsilent A 10.0.0.9\nlame NS ns\nlame NS ns.example\nlost NS ns.lost\n\
                    self NS ns.other.self\n";
const EXAMPLE: &str = "$ORIGIN example.test.\n$TTL 60\n@ SOA a. h. 1 2 3 4 5\n@ NS ns\nns A 10.0.0.3\nwww A 192.0.2.1\n\
                       alias CNAME www\naway CNAME host.far.\nto-loop CNAME loop.far.\n";
const FAR: &str = "$ORIGIN far.\n$TTL 60\n@ SOA a. h. 1 2 3 4 5\n@ NS ns.example.test.\nhost A 192.0.2.2\n\
                   loop CNAME to-loop.example.test.\n";
const LAME: &str = "$ORIGIN lame.test.\n$TTL 60\n@ SOA a. h. 1 2 3 4 5\n@ NS ns.test.\nwww A 192.0.2.3\n";

fn world() -> World {
    let mut servers: HashMap<IpAddr, Server> = HashMap::new();
    servers.insert(address("10.0.0.1"), serves(&[ROOT]));
    servers.insert(address("10.0.0.2"), serves(&[TEST]));
    servers.insert(address("10.0.0.3"), serves(&[EXAMPLE, FAR, LAME]));
    World { servers, steps: Vec::new(), now: Duration::ZERO }
}

impl World {
    fn trace(&mut self, text: &str, rtype: Rtype) -> TraceEnd {
        let root = vec![Host::new(name("a"), vec![address("10.0.0.1"), address("::1")])];
        let question = Question::new(name(text), rtype);
        let mut trace = DelegationTrace::new(question, root, &[Rtype::A], Duration::from_secs(30));
        while let TraceAction::Ask(ask) = trace.next(self.now) {
            let reply = self.servers.get(&ask.address).and_then(|server| server(&ask.question));
            self.now += if reply.is_some() { Duration::from_millis(10) } else { PATIENCE };
            let silence = Fault::new(Kind::TimedOut, "no answer in time");
            let found = trace.answered(reply.as_ref().ok_or(silence));
            let (depth, question) = (">".repeat(ask.depth), &ask.question);
            self.steps.push(format!("{depth}{} {} {} {}", ask.zone, question.name, question.rtype, found.name()));
        }
        assert!(trace.asked() <= MAX_QUESTIONS);
        trace.outcome()
    }
}

#[test]
fn from_the_root_to_the_answer() {
    let mut world = world();
    assert_eq!(world.trace("www.example.test", Rtype::A), TraceEnd::Data);
    assert_eq!(
        world.steps,
        [
            ". www.example.test. A referral",
            "test. www.example.test. A referral",
            "example.test. www.example.test. A answer"
        ]
    );
    for (text, rtype, outcome) in [
        ("www.example.test", Rtype::MX, TraceEnd::NoData),
        ("nothere.example.test", Rtype::A, TraceEnd::NoName),
        ("nothere", Rtype::A, TraceEnd::NoName),
        ("alias.example.test", Rtype::A, TraceEnd::Data),
        ("example.test", Rtype::NS, TraceEnd::Data),
    ] {
        assert_eq!(super::tests::world().trace(text, rtype), outcome, "{text}");
    }
}

#[test]
fn an_alias_goes_elsewhere_and_a_server_without_glue_is_looked_up() {
    let mut world = world();
    assert_eq!(world.trace("away.example.test", Rtype::A), TraceEnd::Data);
    assert_eq!(
        world.steps[2..],
        [
            "example.test. away.example.test. A alias",
            ". host.far. A referral",
            // ns.example.test was glue for example.test; as a server of far it is asked for anew, where it is known best.
            ">example.test. ns.example.test. A answer",
            "far. host.far. A answer",
        ]
    );
    assert!(matches!(world.trace("to-loop.example.test", Rtype::A), TraceEnd::Failed(_)), "a loop of aliases ends");
}

#[test]
fn lame_and_silent_servers_are_passed_over() {
    let mut world = world();
    assert_eq!(world.trace("www.lame.test", Rtype::A), TraceEnd::Data);
    assert!(world.steps.contains(&"lame.test. www.lame.test. A lame".to_owned()), "{:?}", world.steps);

    // The only good server of example.test is silent: the fault is the time-out, after one wait a server.
    world.steps.clear();
    world.servers.remove(&address("10.0.0.3"));
    world.now = Duration::ZERO;
    let outcome = world.trace("www.example.test", Rtype::A);
    assert!(matches!(&outcome, TraceEnd::Failed(fault) if fault.kind == Kind::TimedOut), "{outcome:?}");
    assert!(world.now >= 2 * PATIENCE && world.now < 3 * PATIENCE);
}

#[test]
fn a_server_that_only_its_own_zone_knows_is_no_server() {
    let mut world = world();
    for text in ["www.lost.test", "www.self.test"] {
        let outcome = world.trace(text, Rtype::A);
        assert!(matches!(&outcome, TraceEnd::Failed(fault) if fault.kind == Kind::LookupFailed), "{outcome:?}");
    }
}

#[test]
fn the_deadline_is_for_everything() {
    let mut world = world();
    world.servers.clear();
    let hosts = (0..40).map(|n| Host::new(name("x"), vec![IpAddr::from([10, 9, 9, n])])).collect();
    let mut trace =
        DelegationTrace::new(Question::new(name("a"), Rtype::A), hosts, &[Rtype::A], Duration::from_secs(12));
    let mut now = Duration::ZERO;
    while let TraceAction::Ask(_) = trace.next(now) {
        now += PATIENCE;
        trace.answered(Err(Fault::new(Kind::TimedOut, "no answer in time")));
    }
    assert_eq!((now, trace.asked()), (Duration::from_secs(15), 3));
    assert!(matches!(trace.outcome(), TraceEnd::Failed(fault) if fault.kind == Kind::TimedOut));
}

/// NXNS: every referral names many servers without glue, in zones that refer further in the same way.
#[test]
fn hostile_referrals_end() {
    let refer = |question: &Question| {
        let child = question.name.clone();
        let ns = |n: u32| Record {
            name: child.clone(),
            rtype: Rtype::NS,
            class: crate::dns::record::Class::IN,
            ttl: 1,
            rdata: name(&format!("n{n}.{}x{n}.evil", child.label_count())).as_wire().to_vec(),
        };
        Some(Message { authority: (0..50).map(ns).collect(), ..Message::default() })
    };
    let mut world = world();
    world.servers.insert(address("10.0.0.1"), Box::new(refer));
    let outcome = world.trace("www.victim.test", Rtype::A);
    assert!(matches!(outcome, TraceEnd::Failed(_)));
    assert!(world.steps.len() <= MAX_QUESTIONS, "{}", world.steps.len());

    // Glue for names outside the authority of the referring zone is not accepted.
    let lie = |_: &Question| {
        let record = |owner: &str, rtype: Rtype, rdata: Vec<u8>| Record {
            name: name(owner),
            rtype,
            class: crate::dns::record::Class::IN,
            ttl: 1,
            rdata,
        };
        Some(Message {
            authority: vec![record("sub.example.test", Rtype::NS, name("ns.victim.test").as_wire().to_vec())],
            additional: vec![record("ns.victim.test", Rtype::A, vec![10, 6, 6, 6])],
            ..Message::default()
        })
    };
    let mut world = super::tests::world();
    world.servers.insert(address("10.0.0.3"), Box::new(lie));
    world.servers.insert(address("10.6.6.6"), Box::new(|_| panic!("the liar's address was asked")));
    assert!(matches!(world.trace("www.sub.example.test", Rtype::A), TraceEnd::Failed(_) | TraceEnd::NoName));
}
