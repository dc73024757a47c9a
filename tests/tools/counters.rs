//! The counters of servers and of the runner: over HTTP, and as a record.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::harness::{Captured, LIMIT, binary, signal, temp_dir, tool};
use crate::operate::{SERVERS, certificate, one, talk, until};
use crate::queue::{Sink, enqueue};

/// The body of a scrape.
fn scrape(to: SocketAddr, target: &str) -> (String, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    (head.to_owned(), body.to_owned())
}

/// What promtool checks: each family once, behind its HELP and TYPE, names and labels of the right characters, numbers.
#[track_caller]
fn assert_exposition(text: &str) {
    let (mut families, mut samples, mut family, mut kind) = (BTreeSet::new(), BTreeSet::new(), "", "");
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(!words.is_empty() && families.insert(name), "{name} stands twice");
            family = name;
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, is) = typed.split_once(' ').unwrap();
            assert_eq!(name, family, "HELP comes first");
            assert!(is == "gauge" || is == "counter" && name.ends_with("_total"), "{line}");
            kind = is;
        } else {
            let (sample, number) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            assert_eq!(name, family, "families are together");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
                let (key, value) = label.split_once("=\"").unwrap();
                assert!(key.bytes().all(|byte| byte.is_ascii_lowercase()) && value.ends_with('"'), "{line}");
            }
            let number: i64 = number.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(kind == "gauge" || number >= 0, "{line}");
            assert!(samples.insert(sample), "{sample} stands twice");
        }
    }
    assert!(samples.len() > 8);
}

#[test]
fn counters_are_served_and_printed() {
    for name in SERVERS {
        let dir = temp_dir();
        let (cert, _) = certificate("a.test");
        std::fs::write(dir.path().join("cert"), cert).unwrap();
        let mut run = one(name, dir.path()).args(["--metrics", "0", "--json"]);
        if name != "dnsserve" {
            run = run.args(["--cert", "cert"]);
        }
        if name == "smtpserve" {
            run = run.args(["--relay-from", "192.0.2.0/24", "--queue-dir", "queue"]);
        }
        let server = run.start();
        server.stdout.wait_for("/metrics\"");
        let text = server.stdout.text();
        let url = text.split('"').find(|part| part.ends_with("/metrics")).unwrap();
        let to = crate::harness::address_in(url).unwrap();
        let number = |sample: &str| {
            let (_, body) = scrape(to, "/metrics");
            assert_exposition(&body);
            let found = body.lines().find_map(|line| line.strip_prefix(&format!("applayer_{sample} ")));
            found.unwrap_or_else(|| panic!("no {sample} in {body}")).parse::<i64>().unwrap()
        };
        assert_eq!(number("connections_total"), 0);
        // A client that says nothing keeps nobody waiting.
        let _silent: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(to).unwrap()).collect();
        let (words, sample): (&[&str], _) = match name {
            "ftpserve" => (&["USER bob\r\nPASS x\r\nQUIT"], "logins_total{result=\"failed\"}"),
            "smtpserve" => (
                &["EHLO c.test", "MAIL FROM:<b@b.test>\r\nRCPT TO:<x@none.test>", "QUIT"],
                "refusals_total{reason=\"recipient\"}",
            ),
            _ => {
                let at = format!("@{}", server.addr);
                tool("dnsq").args([&at, "none.a.test", "A"]).run();
                tool("dnsq").args([&at, "none.a.test", "A", "--tcp"]).run();
                (&[], "queries_total{status=\"nxdomain\"}")
            }
        };
        if !words.is_empty() {
            talk(server.addr, words);
        }
        until(|| number("connections_open") == 0, "the end of the connection");
        assert_eq!(number(sample), if name == "dnsserve" { 2 } else { 1 });
        assert_eq!(number("connections_total"), 1);
        match name {
            "dnsserve" => assert_eq!(number("zones"), 1),
            "ftpserve" => assert_eq!(number("transfers_open"), 0),
            _ => assert_eq!(number("queue_recipients{state=\"queued\"}"), 0),
        }
        if name != "dnsserve" {
            assert!(number("certificate_not_after_seconds") > 1_700_000_000);
        }
        assert!(scrape(to, "/").0.starts_with("HTTP/1.1 404"));
        server.signal(Signal::USR1);
        server.stdout.wait_for("\"type\":\"counters\"");
        let text = server.stdout.text();
        let record = text.lines().find(|line| line.contains("\"counters\":{")).unwrap();
        let record: serde_json::Value = serde_json::from_str(record).unwrap();
        assert_eq!(record["counters"]["connections_total"], 1);
        assert_eq!(server.stop(), 0);
    }
    let far = one("dnsserve", temp_dir().path()).args(["--metrics", "[::]:9"]).run();
    far.exits(64).says("not for every interface");
}

/// The samples of a scrape, by name.
fn samples(to: SocketAddr) -> impl Fn(&str) -> i64 {
    let (_, body) = scrape(to, "/metrics");
    assert_exposition(&body);
    move |sample| {
        let found = body.lines().find_map(|line| line.strip_prefix(&format!("applayer_{sample} ")));
        found.unwrap_or_else(|| panic!("no {sample} in {body}")).parse().unwrap()
    }
}

#[test]
fn a_watching_runner_counts_too() {
    let queue = temp_dir();
    let peer = Sink::new(|line| {
        let says = |part: &str| line.contains(part);
        match line.starts_with("RCPT") {
            true if says("later") => Some("450 4.2.0 later".to_owned()),
            true if says("never") => Some("550 5.1.1 never".to_owned()),
            _ => None,
        }
    });
    let body = "Subject: hello\r\n\r\nhello\r\n";
    enqueue(queue.path(), &[("", &["one@b.test", "two@b.test", "later@b.test", "never@b.test"], body)]);
    let mut command = Command::new(binary("mailq-run"));
    command.args(["--watch", "--json", "--metrics", "0", "--route", &peer.route(), "--queue-dir"]).arg(queue.path());
    let mut runner = command.env_clear().stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let stdout = Captured::of(runner.stdout.take().unwrap());
    stdout.wait_for("/metrics\"");
    let text = stdout.text();
    let to = crate::harness::address_in(text.split('"').find(|part| part.ends_with("/metrics")).unwrap()).unwrap();
    until(|| samples(to)("attempts_total{result=\"held\"}") == 1, "the end of the attempts");
    let number = samples(to);
    for (sample, expected) in [
        ("attempts_total{result=\"delivered\"}", 2),
        ("attempts_total{result=\"deferred\"}", 1),
        ("attempts_total{result=\"failed\"}", 0),
        ("sent_bytes_total", body.len() as i64),
        ("queue_recipients{state=\"queued\"}", 1),
        ("queue_recipients{state=\"held\"}", 1),
    ] {
        assert_eq!(number(sample), expected, "{sample}");
    }
    assert!(number("connections_total") >= 1);
    let now = jiff::Timestamp::now().as_second();
    assert!((now..now + 600).contains(&number("queue_first_due_seconds")), "due in five minutes");
    signal(runner.id(), Signal::USR1);
    stdout.wait_for("\"type\":\"counters\"");
    signal(runner.id(), Signal::TERM);
    // Something was delivered, and something was not.
    assert_eq!(runner.wait().unwrap().code(), Some(3));
    let record = stdout.text();
    let record = record.lines().find(|line| line.contains("\"counters\":{")).unwrap();
    let record: serde_json::Value = serde_json::from_str(record).unwrap();
    assert_eq!(record["counters"]["attempts_total{result=\"delivered\"}"], 2);
    crate::schema::assert_printed_records_match("mailq-run \"--json\"", stdout.text().as_bytes(), 0);
}
