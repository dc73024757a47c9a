//! dnsq over TLS, HTTPS and QUIC.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream, UdpSocket};

use crate::dns_peers::{
    Doq, DoqEnd, Dot, H2Act, SecurePeer, answer_of, doh, doh_by_frames, doq, doq_that, dot, start, zones,
};
use crate::harness::{Done, tool};

const PLAIN: Dot = Dot { batch: 1, answers: usize::MAX };

fn ask(scheme: &str, peer: &SecurePeer, path: &str, args: &[&str]) -> Done {
    let ca = peer.ca.to_str().unwrap();
    let server = format!("@{scheme}://{}{path}", peer.addr);
    tool("dnsq").arg(server).args(["--ca-cert", ca]).args(args).run()
}

pub(crate) fn http_answer(request: &http::Request<()>, body: &[u8]) -> (u16, &'static str, Vec<u8>) {
    const MEDIA: &str = "application/dns-message";
    if request.uri().path() != "/dns-query" {
        return (404, "text/plain", b"no such resource".to_vec());
    }
    let question = match request.method().as_str() {
        "GET" => {
            let query = request.uri().query().and_then(|query| query.strip_prefix("dns=")).unwrap();
            base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, query).unwrap()
        }
        _ => {
            assert_eq!(request.headers()["content-type"], MEDIA);
            body.to_vec()
        }
    };
    assert_eq!((&question[..2], question.len() % 128), (&[0, 0][..], 0), "identifier 0, padded");
    (200, MEDIA, answer_of(&zones(), &question))
}

#[test]
fn every_encrypted_transport_answers_many_questions_on_one_connection() {
    let (tls, https, quic) = (dot(PLAIN), doh(http_answer), doq());
    for (scheme, peer, path) in
        [("tls", &tls, ""), ("https", &https, ""), ("https", &https, "/dns-query{?dns}"), ("quic", &quic, "")]
    {
        let before = peer.connections();
        let names = ["www.example.test", "example.test", "MX", "TXT", "nothere.example.test", "www.other.test"];
        let done = ask(scheme, peer, path, &[&names[..], &["--json"]].concat());
        done.silent_success();
        let records = done.records();
        let seen: Vec<_> = records.iter().map(|record| record["answers"][0]["rdata"].as_str()).collect();
        assert_eq!(
            seen,
            [Some("192.0.2.10"), Some("10 mail.example.test."), Some("\"v=spf1 mx -all\""), None, Some("198.51.100.1")],
            "in the order of the questions: {done}"
        );
        assert!(records.iter().all(|record| record["transport"] == scheme), "{done}");
        assert_eq!(peer.connections() - before, 1, "{scheme}{path}");
    }
    let text = ask("tls", &tls, "", &["www.example.test"]);
    text.silent_success().prints(&format!(";; SERVER: 127.0.0.1#{}(127.0.0.1) (TLS)", tls.addr.port()));
}

#[test]
fn strict_unless_told_otherwise() {
    let (tls, https, quic) = (dot(PLAIN), doh(http_answer), doq());
    for (scheme, peer) in [("tls", &tls), ("https", &https), ("quic", &quic)] {
        let run = |args: &[&str]| {
            let server = format!("@{scheme}://{}", peer.addr);
            tool("dnsq").arg(server).args(["--short", "www.example.test", "--timeout", "20"]).args(args).run()
        };
        let ca = peer.ca.to_str().unwrap();
        let wrong = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        run(&[]).exits(77);
        run(&["--ca-cert", ca]).silent_success();
        run(&["--ca-cert", ca, "--tls-name", "dns.test"]).silent_success();
        run(&["--ca-cert", ca, "--tls-name", "other.test"]).exits(77);
        run(&["--pin", peer.pin()]).silent_success();
        run(&["--pin", wrong, "--pin", peer.pin()]).silent_success();
        run(&["--pin", wrong]).exits(77);
        run(&["--pin", wrong, "--ca-cert", ca]).exits(77);
        run(&["--pin", peer.pin(), "--tls-name", "other.test"]).exits(77);
        run(&["--insecure"]).exits(0).says("--insecure");
        run(&["--pin", "nonsense"]).exits(64);
    }
}

#[test]
fn digs_and_kdigs_words_for_encryption() {
    let (tls, https, quic) = (dot(PLAIN), doh(http_answer), doq());
    let run = |peer: &SecurePeer, args: &[&str]| {
        let port = peer.addr.port().to_string();
        let ca = format!("+tls-ca={}", peer.ca.display());
        let base = ["@127.0.0.1", "-p", &port, &ca, "www.example.test", "--json"];
        let done = tool("dnsq").args(base).args(args).run();
        done.silent_success().records()[0]["transport"].as_str().unwrap().to_owned()
    };
    assert_eq!(run(&tls, &["+tls"]), "tls");
    assert_eq!(run(&tls, &["+tls", "+tls-hostname=dns.test"]), "tls");
    assert_eq!(run(&tls, &["+tls", &format!("+tls-pin={}", tls.pin().trim_start_matches("sha256//"))]), "tls");
    assert_eq!(run(&https, &["+https"]), "https");
    assert_eq!(run(&https, &["+https-get=dns-query"]), "https");
    assert_eq!(run(&https, &["+https=/dns-query"]), "https");
    assert_eq!(run(&quic, &["+quic"]), "quic");
    tool("dnsq").args(["@127.0.0.1", "+tls-hostname", "a.test"]).run().exits(64);
}

#[test]
fn answers_out_of_order_and_connections_that_end() {
    let names: Vec<String> = (1..=8).map(|number| format!("h{number}.wild.example.test")).collect();
    let words: Vec<&str> = names.iter().map(String::as_str).chain(["--json"]).collect();
    for how in [Dot { batch: 8, answers: usize::MAX }, Dot { batch: 1, answers: 1 }, Dot { batch: 2, answers: 3 }] {
        let peer = dot(how);
        let done = ask("tls", &peer, "", &words);
        let asked: Vec<String> = done
            .silent_success()
            .records()
            .iter()
            .map(|record| record["question"]["name"].as_str().unwrap().trim_end_matches('.').to_owned())
            .collect();
        assert_eq!(asked, names);
        assert!(how.answers > 8 || peer.connections() >= 8 / how.answers, "{} connections", peer.connections());
    }
    // One that ends without ever answering is not asked again and again.
    let peer = crate::harness::peer(drop);
    let done = tool("dnsq").args([&format!("@tcp://{}", peer.addr), "a.test", "b.test"]).run();
    done.exits(75).says("over tcp");
}

/// A race over connections: the first good answer wins, whoever else is silent, closed, not to be believed or without an answer.
#[test]
fn the_fastest_connection_wins() {
    let (tls, https, quic) = (dot(PLAIN), doh(http_answer), doq());
    let silent = crate::harness::hanging();
    let closing = crate::harness::peer(drop);
    let closed = crate::harness::refusing();
    let stranger = dot(PLAIN);
    for (scheme, good) in [("tls", &tls), ("https", &https), ("quic", &quic)] {
        let servers = [
            format!("@tcp://{}", silent.addr),
            format!("@tls://{}", silent.addr),
            format!("@https://{}", silent.addr),
            format!("@tcp://{}", closed.addr),
            format!("@tcp://{}", closing.addr),
            // Known by another certificate than the one to trust.
            format!("@tls://{}", stranger.addr),
            format!("@{scheme}://{}", good.addr),
        ];
        let ca = good.ca.to_str().unwrap();
        let words = ["--race", "--json", "--timeout", "20", "--ca-cert", ca, "www.example.test", "example.test", "MX"];
        let begin = std::time::Instant::now();
        let done = tool("dnsq").args(servers).args(words).run();
        assert!(begin.elapsed() < std::time::Duration::from_secs(15), "it waits for nobody");
        let records = done.silent_success().records();
        let seen: Vec<_> = records.iter().map(|record| record["transport"].as_str().unwrap()).collect();
        assert_eq!(seen, [scheme; 2], "{done}");
    }
    // Nobody answers: what went wrong last is told.
    let servers = [format!("@tcp://{}", closed.addr), format!("@tls://{}", stranger.addr)];
    let done = tool("dnsq").args(servers).args(["--race", "www.example.test", "--timeout", "20"]).run();
    assert!(matches!(done.status, 75 | 77), "{done}");
}

#[test]
fn what_http_says_is_no_answer() {
    for (script, status, says) in [
        (
            (|_, _| (200, "text/html", b"<html>".to_vec())) as crate::dns_peers::HttpScript,
            76,
            "instead of a DNS message",
        ),
        (|_, _| (200, "application/dns-message", vec![0; 70_000]), 76, "longer than"),
        (|_, _| (200, "application/dns-message", b"\0\0short".to_vec()), 76, "shorter than a header"),
        (|_, _| (200, "application/dns-message", Vec::new()), 76, "shorter than a header"),
        (|_, _| (404, "text/plain", Vec::new()), 69, "HTTP status 404"),
        (|_, _| (302, "text/plain", Vec::new()), 69, "HTTP status 302"),
        (|_, _| (403, "text/plain", Vec::new()), 77, "HTTP status 403"),
        (|_, _| (429, "text/plain", Vec::new()), 75, "HTTP status 429"),
        (|_, _| (500, "text/plain", Vec::new()), 75, "HTTP status 500"),
    ] {
        let peer = doh(script);
        let done = ask("https", &peer, "", &["a.test", "--json", "--timeout", "20"]);
        done.exits(status).says(says);
    }
}

/// Many names over each transport: every one has its record, over few connections, even if the server ends them after some
/// answers; a certificate that is not believed fails each name at once, for good.
#[test]
fn bulk_runs_over_pooled_connections() {
    let names: String = (0..600).map(|n| format!("n{n}.wild.example.test TXT\nnone{n}.example.test\n")).collect();
    let run = |scheme: &str, peer: &SecurePeer, args: &[&str]| {
        let server = format!("@{scheme}://{}", peer.addr);
        tool("dnsq").arg(server).args(["-f", "-", "--json"]).args(args).stdin(names.clone()).run()
    };
    let (short, https, quic) = (dot(Dot { batch: 1, answers: 100 }), doh(http_answer), doq());
    for (scheme, peer, most) in
        [("tls", &dot(PLAIN), 4), ("tls", &short, 600), ("https", &https, 4), ("quic", &quic, 4)]
    {
        let done = run(scheme, peer, &["--ca-cert", peer.ca.to_str().unwrap()]);
        let summary = &done.silent_success().records_of("summary")[0];
        let counts = (summary["answered"].as_u64(), summary["negative"].as_u64());
        assert_eq!(counts, (Some(600), Some(600)), "{scheme}: {summary}");
        assert_eq!(summary["servers"][0]["transport"], scheme);
        assert!(done.records_of("answer").iter().all(|answer| answer["transport"] == scheme));
        assert!((1..=most).contains(&peer.connections()), "{scheme}: {} connections", peer.connections());
    }
    let stranger = run("tls", &short, &[]);
    let errors = stranger.exits(77).records_of("error");
    assert_eq!(errors.len(), 1200);
    assert!(errors.iter().all(|error| error["sent"].as_u64() <= Some(1)), "{}", errors[0]);
    stranger.says("no server answers: ").says("certificate");
    assert!(short.connections() < 700, "found out once: {}", short.connections());
}

/// Each name, and how many records it has.
fn names_of(done: &Done) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for record in done.records_of("answer") {
        assert_eq!(record["status"], "NOERROR", "{record}");
        let name = record["question"]["name"].as_str().unwrap().trim_end_matches('.').to_owned();
        *names.entry(name).or_default() += 1;
    }
    names
}

/// Whatever a server does to connections and streams: each name has one record and one answer, alone and in bulk.
#[test]
fn every_name_has_one_answer_whatever_the_server_does() {
    let bulk = |count: usize| -> Vec<String> { (0..count).map(|n| format!("n{n}.wild.example.test")).collect() };
    let frames = |streams, script| ("https", doh_by_frames(streams, script));
    let quic = |streams, answers, then| ("quic", doq_that(Doq { streams, answers, then }));
    let peers = [
        ("tls", dot(Dot { batch: 1, answers: 1 })),
        ("tls", dot(Dot { batch: 1, answers: 16 })),
        ("tls", start("", |stream| crate::dns_peers::dot_on(stream, PLAIN))),
        // Out of order.
        frames(100, |n| if n % 4 == 3 { H2Act::Answer } else { H2Act::Hold }),
        // One at a time.
        frames(1, |_| H2Act::Answer),
        // Streams of which none above the last was looked at.
        frames(100, |n| if n < 3 { H2Act::Hold } else { H2Act::GoAway(0) }),
        frames(100, |n| if n % 40 < 38 { H2Act::Answer } else { H2Act::GoAway(11) }),
        // Streams that it did not look at, before it is itself again.
        frames(100, |n| if n < 2 { H2Act::Reset(7) } else { H2Act::Answer }),
        frames(100, |n| if n < 20 { H2Act::Answer } else { H2Act::Close }),
        quic(1, usize::MAX, DoqEnd::Close(0)),
        quic(2, 20, DoqEnd::Close(0)),
        quic(100, 50, DoqEnd::Close(4)),
        quic(100, 50, DoqEnd::Restart(true)),
    ];
    for (row, (scheme, peer)) in peers.iter().enumerate() {
        for names in [bulk(8), bulk(100)] {
            let words: Vec<&str> = names.iter().map(String::as_str).chain(["--json", "--timeout", "20"]).collect();
            let single = ask(scheme, peer, "", &words);
            let lines = names.join(" TXT\n") + " TXT\n";
            let ca = peer.ca.to_str().unwrap();
            let server = format!("@{scheme}://{}", peer.addr);
            let limits = ["-f", "-", "--json", "--timeout", "20", "--max-time-per-name", "60"];
            let bulk = tool("dnsq").args([&server, "--ca-cert", ca]).args(limits).stdin(lines).run();
            let expected: BTreeMap<String, usize> = names.iter().map(|name| (name.clone(), 1)).collect();
            for done in [&single, &bulk] {
                assert_eq!(names_of(done.silent_success()), expected, "row {row}, {scheme}");
            }
        }
    }
}

/// What is about one stream, or passes, is said as such; what a server cannot do at all is 69, and why.
#[test]
fn ends_of_streams_and_protocols_have_their_status() {
    let frames = |script| ("https", doh_by_frames(100, script));
    let plain = |alpn| {
        start(alpn, |mut stream| async move {
            use tokio::io::AsyncWriteExt;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = stream.shutdown().await;
        })
    };
    let reset = |code| ("quic", doq_that(Doq { streams: 100, answers: 0, then: DoqEnd::Reset(code) }));
    let close = |code| ("quic", doq_that(Doq { streams: 100, answers: 0, then: DoqEnd::Close(code) }));
    for (row, ((scheme, peer), status, says)) in [
        (frames(|_| H2Act::Reset(7)), 75, "refused stream"),
        (frames(|_| H2Act::Reset(2)), 75, "internal error"),
        (frames(|_| H2Act::Reset(11)), 75, "excessive load"),
        (frames(|_| H2Act::Reset(13)), 69, "HTTP/1.1"),
        (frames(|_| H2Act::Reset(1)), 76, "protocol error"),
        (frames(|_| H2Act::GoAway(0)), 75, "over https"),
        (frames(|_| H2Act::Close), 75, "over https"),
        (("https", plain("http/1.1")), 69, "the server does not speak HTTP/2"),
        (("https", plain("")), 69, "the server does not speak HTTP/2"),
        (("tls", plain("http/1.1")), 69, "the server does not speak DNS over TLS"),
        (reset(4), 75, "over quic"),
        (close(2), 75, "over quic"),
    ]
    .into_iter()
    .enumerate()
    {
        let done = ask(scheme, &peer, "", &["a.test", "--timeout", "20"]);
        assert_eq!(done.status, status, "row {row}: {done}");
        done.says(says);
        assert!(peer.connections() <= 2, "row {row}: {} connections", peer.connections());
    }
}

/// A thousand questions on one connection, and answers of 60 KB.
#[test]
fn one_connection_carries_a_thousand_questions_and_large_answers() {
    let names: Vec<String> = (0..1000).map(|n| format!("n{n}.wild.example.test")).collect();
    for (scheme, peer) in [("tls", dot(PLAIN)), ("https", doh(http_answer)), ("quic", doq())] {
        let words: Vec<&str> = names.iter().flat_map(|name| [name.as_str(), "TXT"]).chain(["--json"]).collect();
        let done = ask(scheme, &peer, "", &words);
        assert_eq!(names_of(done.silent_success()).len(), 1000, "{scheme}");
        assert_eq!(peer.connections(), 1, "{scheme}");
        let lines: String = (0..200).map(|n| format!("huge.n{n}.test TXT\n")).collect();
        let (server, ca) = (format!("@{scheme}://{}", peer.addr), peer.ca.to_str().unwrap());
        let done = tool("dnsq").args([&server, "-f", "-", "--json", "--ca-cert", ca]).stdin(lines).run();
        let answers = done.silent_success().records_of("answer");
        assert_eq!(answers.len(), 200, "{scheme}");
        assert!(answers.iter().all(|answer| answer["answers"].as_array().unwrap().len() == 0xee), "{scheme}");
    }
}

/// A connection that follows another one takes its session up, as the server sees it.
#[test]
fn later_connections_resume_the_session() {
    for (scheme, peer) in [
        ("tls", dot(Dot { batch: 1, answers: 1 })),
        ("https", doh_by_frames(100, |n| if n == 0 { H2Act::Answer } else { H2Act::GoAway(0) })),
        ("quic", doq_that(Doq { streams: 100, answers: 1, then: DoqEnd::Close(0) })),
    ] {
        let names: Vec<String> = (0..6).map(|n| format!("n{n}.wild.example.test")).collect();
        let words: Vec<&str> = names.iter().flat_map(|name| [name.as_str(), "TXT"]).chain(["--json"]).collect();
        assert_eq!(names_of(ask(scheme, &peer, "", &words).silent_success()).len(), 6);
        let resumed = peer.resumed.load(std::sync::atomic::Ordering::SeqCst);
        assert!(peer.connections() > 2 && resumed + 1 >= peer.connections(), "{scheme}: {resumed}");
    }
}

/// A server that begins anew and knows nothing of old connections: nothing comes on them any more, so they are given up.
#[test]
fn connections_that_fall_silent_are_given_up() {
    let peer = doq_that(Doq { streams: 100, answers: 30, then: DoqEnd::Restart(false) });
    let lines: String = (0..100).map(|n| format!("n{n}.wild.example.test TXT\n")).collect();
    let (server, ca) = (format!("@quic://{}", peer.addr), peer.ca.to_str().unwrap());
    let limits = ["-f", "-", "--json", "--timeout", "1", "--tries", "60", "--max-time-per-name", "60"];
    let done = tool("dnsq").args([&server, "--ca-cert", ca]).args(limits).stdin(lines).run();
    assert_eq!(names_of(done.silent_success()).len(), 100);
}

/// That nobody is there is found out once, whatever the transport: the first questions have their tries, all others fail at
/// once, with the same reason. Another server takes over.
#[test]
fn a_dead_server_is_found_out_once() {
    let names: String = (0..5_000).map(|n| format!("n{n}.wild.example.test TXT\n")).collect();
    let run = |servers: &[String], args: &[&str]| {
        let limits = ["-f", "-", "--json", "--tries", "2"];
        tool("dnsq").args(servers).args(limits).args(args).stdin(names.clone()).run()
    };
    // A port that is bound and not listened on refuses, and nobody else gets it.
    let closed = TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Its queue is full: further connections get no answer.
    let full = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let filled: Vec<_> = (0..2)
        .map(|_| TcpStream::connect_timeout(&full.local_addr().unwrap(), std::time::Duration::from_millis(200)))
        .collect();
    let (silent, full) = (silent.local_addr().unwrap(), (full.local_addr().unwrap(), &full));
    let mute = crate::harness::hanging();
    let mut rows: Vec<(String, &str)> = Vec::new();
    for scheme in ["udp", "tcp", "tls", "https", "quic"] {
        rows.push((format!("@{scheme}://{closed}"), "connect_refused"));
        let hole = if matches!(scheme, "udp" | "quic") { silent } else { full.0 };
        rows.push((format!("@{scheme}://{hole}"), "timed_out"));
    }
    rows.extend(["tcp", "tls", "https"].map(|scheme| (format!("@{scheme}://{}", mute.addr), "timed_out")));
    for (server, kind) in &rows {
        let done = run(std::slice::from_ref(server), &["-q", "--timeout", "1"]);
        let errors = done.exits(75).records_of("error");
        assert_eq!(errors.len(), 5_000, "{server}");
        assert!(errors.iter().all(|error| error["kind"] == *kind), "{server}: {done}");
        let asked = errors.iter().filter(|error| error["sent"] != 0).count();
        assert!((1..=1_500).contains(&asked), "{server}: {asked} were asked");
        assert_eq!(done.records_of("summary")[0]["complete"], false);
    }
    drop(filled);
    // Nine of ten are not there.
    let good = doq();
    let servers: Vec<String> = rows
        .iter()
        .filter(|row| row.1 == "connect_refused")
        .map(|row| row.0.clone())
        .chain([format!("@quic://{}", good.addr)])
        .collect();
    let done = run(&servers, &["--timeout", "20", "--ca-cert", good.ca.to_str().unwrap()]);
    assert_eq!(names_of(done.silent_success()).len(), 5_000);
    // One question on the command line ends as soon.
    let done = tool("dnsq").args([&format!("@quic://{closed}"), "--timeout", "60", "a.test"]).run();
    done.exits(75).says("Connection refused");
}
