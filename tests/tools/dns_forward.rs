//! `dnsserve --forward`: upstream servers that are slow, silent, dead or odd.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use applayer::dns::answer::{self, Zones};
use applayer::dns::edns::{Edns, EdnsOption};
use applayer::dns::message::{Flags, Message, Rcode};
use applayer::dns::name::Name;
use applayer::dns::query::Query;
use applayer::dns::record::Rtype;
use applayer::dns::zone::{Zone, ZoneSource};

use crate::dns::data;
use crate::harness::{Done, Server, server, tool};

const ZONE: &str = "$ORIGIN elsewhere.test.\n$TTL 60\n@ SOA a. h. 1 2 3 4 5\n@ NS ns\nns A 192.0.2.2\nwww A 192.0.2.99\n\
                    * TXT \"wild\"\n";
const SUB: &str =
    "$ORIGIN sub.example.test.\n$TTL 60\n@ SOA a. h. 1 2 3 4 5\n@ NS ns\nns A 192.0.2.53\nx A 192.0.2.54\n";

/// How an upstream server behaves.
#[derive(Default)]
struct Manner {
    silent: AtomicBool,
    delay: Duration,
    /// The question comes back in small letters by datagram.
    loses_case: bool,
    /// Its half of a cookie.
    cookie: Option<[u8; 8]>,
}

/// A running upstream server, by UDP and TCP.
struct Upstream {
    addr: SocketAddr,
    manner: Arc<Manner>,
    queries: Arc<Mutex<Vec<Message>>>,
}

impl Upstream {
    fn start(manner: Manner) -> Upstream {
        let (udp, tcp) = std::iter::repeat_with(|| TcpListener::bind("127.0.0.1:0").unwrap())
            .find_map(|tcp| Some((UdpSocket::bind(tcp.local_addr().unwrap()).ok()?, tcp)))
            .unwrap();
        let addr = udp.local_addr().unwrap();
        let (manner, queries) = (Arc::new(manner), Arc::<Mutex<Vec<Message>>>::default());
        let answers = {
            let (manner, queries) = (manner.clone(), queries.clone());
            Arc::new(move |query: &[u8], udp: bool| {
                let asked = Message::parse(query).unwrap();
                let cookie = asked.edns.as_ref().and_then(|edns| edns.option(EdnsOption::COOKIE)).cloned();
                queries.lock().unwrap().push(asked);
                if manner.silent.load(Ordering::SeqCst) {
                    return None;
                }
                let mut message = Message::parse(&answer::answer(&zones(), query, udp).response()?.wire).unwrap();
                if manner.loses_case && udp {
                    let name = message.question[0].name.to_string().to_lowercase();
                    message.question[0].name = Name::parse(&name).unwrap();
                }
                if let (Some(ours), Some(theirs)) = (manner.cookie, cookie) {
                    let data = [&theirs.data[..8], &ours].concat();
                    message.edns.as_mut().unwrap().options.push(EdnsOption::new(EdnsOption::COOKIE, data));
                }
                Some(message.compose(65_535))
            })
        };
        let by_connection = answers.clone();
        std::thread::spawn(move || {
            for mut stream in tcp.incoming().map_while(Result::ok) {
                let mut length = [0; 2];
                while stream.read_exact(&mut length).is_ok() {
                    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut query).unwrap();
                    let Some(wire) = by_connection(&query, false) else { break };
                    stream.write_all(&[&(wire.len() as u16).to_be_bytes()[..], &wire].concat()).unwrap();
                }
            }
        });
        let delay = manner.delay;
        std::thread::spawn(move || {
            let udp = Arc::new(udp);
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                let (udp, answers, query) = (udp.clone(), answers.clone(), buffer[..length].to_vec());
                let reply = move || {
                    std::thread::sleep(delay);
                    if let Some(wire) = answers(&query, true) {
                        udp.send_to(&wire, from).unwrap();
                    }
                };
                if delay.is_zero() { reply() } else { drop(std::thread::spawn(reply)) }
            }
        });
        Upstream { addr, manner, queries }
    }

    /// The names that were asked for, without probes.
    fn names(&self) -> Vec<String> {
        let queries = self.queries.lock().unwrap();
        let names = queries.iter().map(|query| query.question[0].name.to_string());
        names.filter(|name| name != ".").collect()
    }
}

fn zones() -> Zones {
    let mut zones = Zones::default();
    for text in [ZONE, SUB] {
        let source = ZoneSource { name: "upstream".to_owned(), text: text.as_bytes().to_vec() };
        zones.add(Zone::read(source, None, &mut |_| Err(String::new())).unwrap());
    }
    zones
}

fn forwarder(upstreams: &[&Upstream], args: &[&str]) -> Server {
    let mut run = server("dnsserve").args(["--listen", "127.0.0.1:0"]).args(args).arg(data("example.test.zone"));
    for upstream in upstreams {
        run = run.args(["--forward", &upstream.addr.to_string()]);
    }
    run.start()
}

fn ask(server: &Server, args: &[&str]) -> Done {
    tool("dnsq").arg(format!("@{}", server.addr)).args(args).run()
}

/// Asks for `count` names at once: how many answers of each code came, and the time until the last.
fn burst(server: &Server, count: usize, name: impl Fn(usize) -> String) -> (Vec<(Rcode, usize)>, Duration) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let start = Instant::now();
    for id in 0..count {
        let query = Query::new(Name::parse(&name(id)).unwrap(), Rtype::TXT);
        socket.send(&query.compose(id as u16)).unwrap();
        if id % 20 == 19 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let mut codes: Vec<(Rcode, usize)> = Vec::new();
    let mut buffer = [0; 1500];
    for _ in 0..count {
        let Ok(length) = socket.recv(&mut buffer) else { break };
        let rcode = Message::parse(&buffer[..length]).unwrap().rcode();
        match codes.iter_mut().find(|(known, _)| *known == rcode) {
            Some((_, count)) => *count += 1,
            None => codes.push((rcode, 1)),
        }
    }
    (codes, start.elapsed())
}

/// What leads out of our zones is completed: aliases, names below a delegation, and what is not ours at all.
#[test]
fn what_our_zones_do_not_end_is_completed() {
    let upstream = Upstream::start(Manner::default());
    let server = forwarder(&[&upstream], &[]);
    for (args, answer) in [
        (&["away.example.test"][..], "www.elsewhere.test.\n192.0.2.99\n"),
        (&["AWAY.Example.test", "--tcp"], "www.elsewhere.test.\n192.0.2.99\n"),
        (&["x.sub.example.test"], "192.0.2.54\n"),
        (&["WwW.Elsewhere.TEST"], "192.0.2.99\n"),
        (&["www.example.test"], "192.0.2.10\n"),
        (&["away.example.test", "CNAME"], "www.elsewhere.test.\n"),
        (&["away.example.test", "--no-recurse"], "www.elsewhere.test.\n"),
    ] {
        let done = ask(&server, &[&["--short"], args].concat());
        assert_eq!(done.silent_success().text(), answer, "{args:?}");
    }
    let record = |args: &[&str]| ask(&server, &[&["--json"], args].concat()).records().remove(0);
    let away = record(&["away.example.test", "AAAA"]);
    assert_eq!(away["status"], "NOERROR");
    assert_eq!(away["answers"].as_array().unwrap().len(), 1, "{away}");
    assert_eq!(away["authority"][0]["name"], "elsewhere.test.", "{away}");
    assert_eq!(record(&["no.such.sub.example.test"])["status"], "NXDOMAIN");
    let asked = record(&["WwW.Elsewhere.TEST"]);
    assert_eq!(asked["answers"][0]["name"], "WwW.Elsewhere.TEST.", "the client's own letters");
    assert_eq!(record(&["ns.sub.example.test", "--no-recurse"])["answers"], serde_json::json!([]), "a referral");
}

/// Codes and flags of what is passed on: those about the name go through, those between two servers do not.
#[test]
fn the_code_is_the_upstreams_where_it_is_about_the_name() {
    let mut onward = match answer::answer(&zones(), &query_for("out.test").compose(7), true) {
        answer::AnswerAction::Elsewhere(onward) => onward,
        other => panic!("{other:?}"),
    };
    onward.upstream.flags.set(Flags::AD, true);
    for (code, expected) in [(0, 0), (1, 2), (2, 2), (3, 3), (4, 2), (5, 5), (6, 6), (8, 2), (9, 2), (16, 2), (23, 2)] {
        let edns = Edns {
            extended_rcode: (code >> 4) as u8,
            options: vec![
                EdnsOption::new(EdnsOption::COOKIE, vec![7; 16]),
                EdnsOption::new(EdnsOption::EXTENDED_ERROR, vec![0, 6]),
            ],
            ..Edns::default()
        };
        let flags = Flags(Flags::QR | Flags::AD | Flags::AA | code & 15);
        let upstream = Message { flags, edns: Some(edns), ..Message::default() };
        let sent = Message::parse(&onward.clone().completed(&upstream).wire).unwrap();
        assert_eq!((sent.rcode(), sent.id), (Rcode(expected), 7), "{code}");
        assert!(sent.flags.has(Flags::AD) && !sent.flags.has(Flags::AA));
        let options = sent.edns.unwrap().options;
        assert!(matches!(&options[..], [error] if error.code == EdnsOption::EXTENDED_ERROR), "{options:?}");
    }
}

fn query_for(name: &str) -> Query {
    Query::new(Name::parse(name).unwrap(), Rtype::A)
}

/// A server that is dead costs the first questions some time, and those after it none; once it lives it is asked again.
#[test]
fn a_dead_server_is_remembered_until_it_answers() {
    let manner = Manner { silent: true.into(), ..Manner::default() };
    let (silent, good) = (Upstream::start(manner), Upstream::start(Manner::default()));
    let server = forwarder(&[&silent, &good], &[]);
    let (codes, took) = burst(&server, 600, |id| format!("n{id}.elsewhere.test"));
    assert_eq!(codes, [(Rcode::NOERROR, 600)], "{took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    server.stderr.wait_for("does not answer");
    let before = silent.names().len();
    let (codes, took) = burst(&server, 100, |id| format!("m{id}.elsewhere.test"));
    assert_eq!(codes, [(Rcode::NOERROR, 100)]);
    assert!(took < Duration::from_millis(900), "{took:?}");
    assert_eq!(silent.names().len(), before, "nothing but probes");
    silent.manner.silent.store(false, Ordering::SeqCst);
    server.stderr.wait_for("answers again");
    ask(&server, &["--short", "alive.elsewhere.test", "TXT"]).silent_success();
    assert!(silent.names().iter().any(|name| name.eq_ignore_ascii_case("alive.elsewhere.test.")));
}

/// Where no server lives every client hears so, soon and with the reason, and the first that lives is found.
#[test]
fn nobody_waits_for_ever_when_all_are_dead() {
    let upstream = Upstream::start(Manner { silent: true.into(), ..Manner::default() });
    let server = forwarder(&[&upstream], &[]);
    ask(&server, &["first.elsewhere.test", "--timeout", "9"]).exits(75);
    server.stderr.wait_for("does not answer");
    let (codes, took) = burst(&server, 600, |id| format!("n{id}.elsewhere.test"));
    assert_eq!(codes, [(Rcode::SERVFAIL, 600)], "{took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    ask(&server, &["again.elsewhere.test"]).exits(75).prints("EDE: 22 (No Reachable Authority)");
    ask(&server, &["--short", "www.example.test"]).silent_success();
    upstream.manner.silent.store(false, Ordering::SeqCst);
    let (codes, _) = burst(&server, 10, |id| format!("m{id}.elsewhere.test"));
    assert_eq!(codes, [(Rcode::NOERROR, 10)], "whoever asks finds that it lives");
}

/// The same question of many clients is one question to the server.
#[test]
fn identical_questions_are_asked_once() {
    let upstream = Upstream::start(Manner { delay: Duration::from_millis(150), ..Manner::default() });
    let server = forwarder(&[&upstream], &[]);
    let (codes, _) = burst(&server, 200, |id| ["same.elsewhere.test", "SAME.elsewhere.test"][id % 2].to_owned());
    assert_eq!(codes, [(Rcode::NOERROR, 200)]);
    assert!(upstream.names().len() <= 2, "{:?}", upstream.names());
}

/// What makes answers hard to forge: letters of random case that must come back, cookies, ports of many sockets.
#[test]
fn answers_are_hard_to_forge() {
    let upstream = Upstream::start(Manner { cookie: Some(*b"servers_"), ..Manner::default() });
    let server = forwarder(&[&upstream], &[]);
    let name = |id: usize| format!("a-name-of-many-letters-{id}.elsewhere.test");
    ask(&server, &["--short", &name(900), "TXT"]).silent_success();
    let (codes, _) = burst(&server, 20, name);
    assert_eq!(codes, [(Rcode::NOERROR, 20)]);
    let queries = upstream.queries.lock().unwrap();
    for query in queries.iter() {
        let name = query.question[0].name.to_string();
        assert!(name != name.to_lowercase() && name != name.to_uppercase(), "{name}");
    }
    let cookies: Vec<_> = queries
        .iter()
        .map(|query| query.edns.as_ref().unwrap().option(EdnsOption::COOKIE).unwrap().data.clone())
        .collect();
    assert_eq!(cookies[0].len(), 8);
    assert!(cookies[1..].iter().all(|cookie| *cookie == [&cookies[0][..], b"servers_"].concat()), "{cookies:?}");
}

/// A server that does not keep the case of a name is asked by connection: there nobody can forge.
#[test]
fn a_server_that_loses_the_case_is_asked_by_connection() {
    let upstream = Upstream::start(Manner { loses_case: true, ..Manner::default() });
    let server = forwarder(&[&upstream], &[]);
    assert_eq!(ask(&server, &["--short", "www.elsewhere.test"]).silent_success().text(), "192.0.2.99\n");
}

/// Strangers have nothing looked up; our own zones are for all.
#[test]
fn questions_are_forwarded_for_those_who_may() {
    let upstream = Upstream::start(Manner::default());
    for (allowed, exit) in [(&[][..], 0), (&["127.0.0.0/8"], 0), (&["192.0.2.0/24"], 69), (&["::/0", "127.0.0.1"], 0)] {
        let args: Vec<&str> = allowed.iter().flat_map(|network| ["--allow-forward", network]).collect();
        let server = forwarder(&[&upstream], &args);
        for transport in [&[][..], &["--tcp"]] {
            ask(&server, &[&["--short", "www.elsewhere.test"], transport].concat()).exits(exit);
            ask(&server, &[&["--short", "www.example.test"], transport].concat()).silent_success();
            let away = ask(&server, &[&["--short", "away.example.test"], transport].concat());
            assert_eq!(away.silent_success().text().lines().count(), if exit == 0 { 2 } else { 1 });
        }
    }
    let wrong = tool("dnsserve").args(["--forward", "127.0.0.1", "--allow-forward", "10.0.0.0/99"]).run();
    wrong.exits(64).says("--allow-forward 10.0.0.0/99");
}
