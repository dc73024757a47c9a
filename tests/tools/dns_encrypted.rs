//! dnsq over TLS, HTTPS and QUIC.

use crate::dns_peers::{Dot, SecurePeer, answer_of, doh, doq, dot, zones};
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
    let not_http = dot(PLAIN);
    ask("https", &not_http, "", &["a.test"]).exits(76);
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
    assert!(errors.iter().all(|error| error["sent"] == 1), "{}", errors[0]);
}
