//! What smtpsend and mailq-run do alike at a server that is not as it should be: TLS that does not come about, a mechanism
//! of AUTH that does not work, fewer recipients than a message has; and what mailq-run says of a server that the operator
//! named and that cannot be used.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::harness::{Captured, Conn, Done, Peer, binary, peer, temp_dir, tool};
use crate::queue::{Sink, enqueue};
use crate::tls_peer::{TlsConn, self_signed};

const HELLO: &str = "Subject: hello\r\n\r\nhello\r\n";

fn run(queue: &Path, args: &[&str]) -> Done {
    let common = ["--helo", "client.test", "--timeout", "2", "--json"];
    tool("mailq-run").arg("--queue-dir").arg(queue).args(common).args(args).run()
}

fn send(args: &[&str]) -> Done {
    let message = ["--from", "a@a.test", "--subject", "x", "--body", "-", "--json", "--timeout", "2"];
    tool("smtpsend").args(message).args(args).stdin("text\n").run()
}

/// What a server does when it hears STARTTLS.
#[derive(Debug, Clone, Copy)]
enum Breaks {
    /// Says this and closes.
    Says(&'static str),
    /// 220, hears the hello, sends these bytes, closes.
    Answers(&'static [u8]),
    /// 220, and closes with the hello unread: a reset.
    Resets,
    /// Says this and then nothing.
    Hangs(&'static str),
    /// TLS, and then this to EHLO; nothing closes.
    InTls(&'static str),
    /// TLS, and then nothing.
    HangsInTls,
    /// Says this and goes on in clear text.
    GoesOn(&'static str),
}

/// A server whose TLS breaks. Counts its connections, and messages that it took in clear text.
struct Broken {
    peer: Peer,
    connections: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
}

fn broken(breaks: Breaks) -> Broken {
    let (connections, taken): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
    let (counted, kept) = (Arc::clone(&connections), Arc::clone(&taken));
    let (_, config) = self_signed("mx.test");
    let peer = peer(move |mut conn: Conn| {
        counted.fetch_add(1, Ordering::SeqCst);
        conn.send("220 mx.test\r\n");
        let mut in_data = false;
        while let Some(line) = conn.line() {
            let reply = match line.as_str() {
                "." => {
                    in_data = false;
                    kept.fetch_add(1, Ordering::SeqCst);
                    "250 2.0.0 taken\r\n"
                }
                _ if in_data => continue,
                "STARTTLS" => match breaks {
                    Breaks::GoesOn(said) => said,
                    other => return break_off(&mut conn, other, &config),
                },
                "DATA" => {
                    in_data = true;
                    "354 go\r\n"
                }
                line if line.starts_with("EHLO") => "250-mx.test\r\n250 STARTTLS\r\n",
                _ => "250 ok\r\n",
            };
            conn.send(reply);
        }
    });
    Broken { peer, connections, taken }
}

fn break_off(conn: &mut Conn, breaks: Breaks, config: &Arc<rustls::ServerConfig>) {
    match breaks {
        Breaks::GoesOn(said) | Breaks::Says(said) => drop(conn.send(said)),
        Breaks::Answers(bytes) => {
            conn.send("220 go\r\n");
            let mut head = [0; 5];
            conn.stream().read_exact(&mut head).unwrap();
            let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
            conn.stream().read_exact(&mut hello).unwrap();
            conn.send(bytes);
        }
        Breaks::Resets => {
            conn.send("220 go\r\n");
            // Wait for the hello, and leave it.
            let _ = conn.stream().get_ref().peek(&mut [0]);
        }
        Breaks::Hangs(said) => {
            conn.send(said);
            conn.until_closed();
        }
        Breaks::InTls(_) | Breaks::HangsInTls => {
            conn.send("220 go\r\n");
            let mut tls = TlsConn::new(conn, config);
            tls.line();
            match breaks {
                Breaks::InTls(said) => drop(tls.send(said)),
                _ => tls.until_closed(),
            }
        }
    }
}

/// Everything that can go wrong between STARTTLS and the first answer inside TLS; the status of smtpsend where TLS is
/// required, and whether the dialogue goes on in clear text over the same connection.
const BREAKS: &[(Breaks, i32, bool)] = &[
    (Breaks::Says(""), 75, false),
    (Breaks::Says("220 go\r\n"), 75, false),
    (Breaks::Says("421 4.3.2 not now\r\n"), 75, false),
    (Breaks::Says("250 ok\r\n"), 76, false),
    (Breaks::Says("220 go\r\n250 injected\r\n"), 76, false),
    (Breaks::Answers(b""), 75, false),
    (Breaks::Answers(b"\x16\x03\x03\x00\x50half of a hello"), 75, false),
    (Breaks::Answers(b"550 I do not speak TLS\r\n"), 76, false),
    // handshake_failure, protocol_version, internal_error, close_notify, unknown_ca
    (Breaks::Answers(b"\x15\x03\x03\x00\x02\x02\x28"), 76, false),
    (Breaks::Answers(b"\x15\x03\x03\x00\x02\x02\x46"), 76, false),
    (Breaks::Answers(b"\x15\x03\x03\x00\x02\x02\x50"), 75, false),
    (Breaks::Answers(b"\x15\x03\x03\x00\x02\x01\x00"), 75, false),
    (Breaks::Answers(b"\x15\x03\x03\x00\x02\x02\x30"), 77, false),
    (Breaks::Resets, 75, false),
    (Breaks::Hangs(""), 75, false),
    (Breaks::Hangs("220 go\r\n"), 75, false),
    (Breaks::InTls(""), 75, false),
    (Breaks::InTls("421 4.3.0 no\r\n"), 75, false),
    (Breaks::InTls("what?\r\n"), 76, false),
    (Breaks::HangsInTls, 75, false),
    (Breaks::GoesOn("454 4.7.0 TLS not available\r\n"), 75, true),
    (Breaks::GoesOn("502 5.5.1 not implemented\r\n"), 69, true),
];

#[test]
fn opportunistic_tls_that_breaks_is_done_without_once_and_recorded() {
    std::thread::scope(|scope| {
        for (breaks, _, goes_on) in BREAKS {
            scope.spawn(move || {
                let broken = broken(*breaks);
                let port = broken.peer.addr.port().to_string();
                let queue = temp_dir();
                enqueue(queue.path(), &[("a@a.test", &["b@[127.0.0.1]"], HELLO)]);
                let queued = run(queue.path(), &["--mx-port", &port]);
                let direct = send(&["--mx", "--mx-port", &port, "--to", "b@[127.0.0.1]"]);
                for (done, kind) in [(queued, "attempt"), (direct, "recipient")] {
                    let record = &done.exits(0).records_of(kind)[0];
                    assert_eq!(record["outcome"], "delivered", "{breaks:?}\n{done}");
                    assert!(record["tls_failed"].as_str().is_some_and(|why| why.contains("TLS") || !goes_on), "{done}");
                    assert_eq!(
                        (&record["tls"], &record["tls_version"]),
                        (&serde_json::Value::Null, &serde_json::Value::Null)
                    );
                }
                assert_eq!(broken.taken.load(Ordering::SeqCst), 2, "{breaks:?}");
                let each = if *goes_on { 1 } else { 2 };
                assert_eq!(broken.connections.load(Ordering::SeqCst), 2 * each, "once again, no more: {breaks:?}");
            });
        }
    });
}

#[test]
fn tls_that_is_required_is_never_done_without() {
    std::thread::scope(|scope| {
        for (breaks, status, goes_on) in BREAKS {
            scope.spawn(move || {
                let broken = broken(*breaks);
                let (port, addr) = (broken.peer.addr.port().to_string(), broken.peer.addr);
                let mx = ["--mx", "--mx-port", &port, "--to", "b@[127.0.0.1]", "--tls", "starttls"];
                let done = send(&mx);
                assert_eq!(done.status, *status, "{breaks:?}\n{done}");
                done.says("hint: --tls none");
                // A named server: STARTTLS refused in so many words is the same as not offered, all else is no reason to
                // go in clear text. `--insecure` keeps its certificate out of it.
                let named = format!("smtp://{addr}");
                let done = send(&["--server", &named, "--insecure", "--to", "b@b.test"]);
                assert_eq!(done.status, if *goes_on { 0 } else { *status }, "{breaks:?}\n{done}");
                if *goes_on {
                    let probe = tool("smtpsend").args(["--server", &named, "--probe", "--insecure", "--json"]).run();
                    let failed = &probe.exits(0).records_of("probe")[0]["tls_failed"];
                    assert!(failed.as_str().is_some_and(|why| why.starts_with("STARTTLS: ")), "{probe}");
                } else {
                    done.says("hint: --tls none");
                }
                let strict = format!("submission://{addr}");
                let done = send(&["--server", &strict, "--insecure", "--to", "b@b.test"]);
                assert_eq!(done.status, *status, "{breaks:?}\n{done}");
                let queue = temp_dir();
                for (n, args) in [
                    &["--mx-port", &port, "--tls", "starttls"][..],
                    &["--insecure", "--smarthost", &strict],
                    &["--insecure", "--smarthost", &named],
                ]
                .into_iter()
                .enumerate()
                {
                    enqueue(queue.path(), &[("a@a.test", &["b@[127.0.0.1]"], HELLO)]);
                    let done = run(queue.path(), args);
                    let expected = if n == 2 && *goes_on { "delivered" } else { "deferred" };
                    assert_eq!(done.records_of("attempt")[0]["outcome"], expected, "{breaks:?} {args:?}\n{done}");
                }
                let clear = broken.taken.load(Ordering::SeqCst);
                assert_eq!(clear, if *goes_on { 2 } else { 0 }, "{breaks:?}");
            });
        }
    });
    // TLS from the first byte.
    let clear = crate::hostile::script(&["220 x\r\n", "|"]);
    let done = send(&["--server", &format!("smtps://{}", clear.addr), "--to", "b@b.test"]);
    done.exits(76).says("submission://");
}

#[test]
fn who_wants_tls_after_it_broke_loses_no_mail() {
    let queue = temp_dir();
    let sink = Sink::new(|line| match line.split(' ').next().unwrap_or_default() {
        "EHLO" => Some("250-x\r\n250 STARTTLS".to_owned()),
        "STARTTLS" => Some(String::new()),
        "MAIL" | "RCPT" | "DATA" => Some("530 5.7.0 must issue a STARTTLS command first".to_owned()),
        _ => None,
    });
    enqueue(queue.path(), &[("a@a.test", &["b@[127.0.0.1]"], HELLO)]);
    let done = run(queue.path(), &["--mx-port", &sink.peer.addr.port().to_string()]);
    let attempt = &done.exits(0).records_of("attempt")[0];
    assert_eq!((&attempt["outcome"], &attempt["code"]), (&"deferred".into(), &530.into()), "{done}");
}

/// A submission server inside TLS, `x`, that offers these mechanisms and answers AUTH; it writes down its AUTH lines, and its
/// certificate in `dir`.
fn submission(dir: &Path, offers: &'static str, auth: fn(&str) -> &'static str) -> (Peer, Arc<Mutex<Vec<String>>>) {
    let (pem, config) = self_signed("x");
    std::fs::write(dir.join("ca.pem"), pem).unwrap();
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&heard);
    let peer = peer(move |mut conn: Conn| {
        let mut tls = TlsConn::new(&mut conn, &config);
        if tls.send("220 x\r\n") {
            let answer = |line: &str| match line.split(' ').next().unwrap_or_default() {
                "EHLO" => Some(format!("250-x\r\n250 AUTH {offers}")),
                "AUTH" => Some(auth(line).to_owned()),
                _ => None,
            };
            tls.serve(&answer, &mut |line| {
                if line.starts_with("AUTH") {
                    kept.lock().unwrap().push(line.split(' ').nth(1).unwrap_or_default().to_owned());
                }
            });
        }
    });
    (peer, heard)
}

/// saslauthd behind a server that offers more than it can do: it knows no SCRAM, and one password.
fn saslauthd(line: &str) -> &'static str {
    if line == "AUTH PLAIN AHUAcmlnaHQ=" { "235 2.7.0 in" } else { "535 5.7.8 authentication failed" }
}

const OFFER: &str = "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5";

#[test]
fn a_broken_mechanism_is_followed_by_the_next_one() {
    let dir = temp_dir();
    let (server, heard) = submission(dir.path(), OFFER, saslauthd);
    let url = format!("smtps://u@{}", server.addr);
    let ca = dir.path().join("ca.pem");
    let tls = ["--tls-name", "x", "--ca-cert", ca.to_str().unwrap()];
    let login = |password| ["--password-command", password];
    let heard = || std::mem::take(&mut *heard.lock().unwrap());
    let to = ["--server", &url, "--to", "b@b.test"];
    send(&[&to[..], &tls, &login("echo right")].concat()).exits(0);
    assert_eq!(heard(), ["SCRAM-SHA-256", "PLAIN"]);
    let wrong = send(&[&to[..], &tls, &login("echo wrong")].concat());
    wrong.exits(77).says("AUTH SCRAM-SHA-256: 535").says("AUTH PLAIN: 535").says("hint: --auth");
    assert_eq!(heard(), ["SCRAM-SHA-256", "PLAIN"], "twice and no more: accounts are locked for less");
    send(&[&to[..], &tls, &login("echo right"), &["--auth", "scram-sha-1"]].concat()).exits(77);
    assert_eq!(heard(), ["SCRAM-SHA-1"]);
    // The queue: its first pass says it, once for all that waits, and does not knock again and again.
    let queue = temp_dir();
    let to: Vec<String> = (0..30).map(|n| format!("b@d{n}.test")).collect();
    let messages: Vec<(&str, Vec<&str>, &str)> = to.iter().map(|to| ("a@a.test", vec![to.as_str()], HELLO)).collect();
    let messages: Vec<(&str, &[&str], &str)> = messages.iter().map(|(a, b, c)| (*a, b.as_slice(), *c)).collect();
    enqueue(queue.path(), &messages);
    let smarthost = ["--smarthost", &url];
    let done = run(queue.path(), &[&smarthost[..], &tls, &login("echo wrong")].concat());
    done.exits(77).says("AUTH PLAIN: 535").says("hint: --auth");
    assert_eq!(done.stderr.matches("535 5.7.8").count(), 2, "one line\n{done}");
    let outcomes = done.records_of("attempt");
    assert!(outcomes.len() == 30 && outcomes.iter().all(|it| it["outcome"] == "deferred"), "{done}");
    assert!(heard().len() <= 4, "two connections at most find it out\n{done}");
    let auth = ["--auth", "plain", "--flush"];
    let done = run(queue.path(), &[&smarthost[..], &tls, &login("echo right"), &auth].concat());
    assert_eq!(done.exits(0).records_of("summary")[0]["delivered"], 30, "{done}");
    assert!(heard().iter().all(|name| name == "PLAIN"));
}

#[test]
fn a_named_server_that_cannot_be_used_is_no_secret() {
    let dir = temp_dir();
    let (server, _) = submission(dir.path(), "PLAIN", saslauthd);
    let silent_names = {
        let zone = dir.path().join("zone");
        std::fs::write(&zone, "$ORIGIN test.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 127.0.0.1\n").unwrap();
        crate::harness::server("dnsserve").arg(&zone).start()
    };
    let plain = Sink::taking_all();
    let wants_login = Sink::new(|line| {
        let refused = ["MAIL", "RCPT", "DATA"].iter().any(|verb| line.starts_with(verb));
        refused.then(|| "530 5.7.0 authentication required".to_owned())
    });
    let unwanted = Sink::new(|line| (line == "greeting").then(|| "554 5.7.1 no service for you".to_owned()));
    let ca = dir.path().join("ca.pem");
    let trust = ["--ca-cert", ca.to_str().unwrap(), "--tls-name", "x"];
    let (tls, password) = (format!("smtps://u@{}", server.addr), ["--password-command", "echo wrong"]);
    let resolver = silent_names.addr.to_string();
    let at = |scheme: &str, addr: std::net::SocketAddr| format!("{scheme}://{addr}");
    let submission = at("submission", plain.peer.addr);
    let (login, unwanted) = (at("smtp", wants_login.peer.addr), at("smtp", unwanted.peer.addr));
    for (what, args, status, says) in [
        ("wrong password", [&["--smarthost", &tls][..], &trust, &password].concat(), 77, "535 5.7.8"),
        (
            "wrong certificate",
            [&["--smarthost", &tls][..], &password].concat(),
            77,
            "TLS: the certificate is self-signed",
        ),
        (
            "wrong name",
            [&["--smarthost", &tls][..], &trust[..2], &password].concat(),
            77,
            "TLS: the certificate is for x, not for 127.0.0.1",
        ),
        ("no TLS there", vec!["--smarthost", &submission], 77, "does not offer STARTTLS"),
        ("misspelt", vec!["--smarthost", "smtp://relya.test", "--resolver", &resolver], 68, "address of relya.test"),
        ("no folder", vec!["--route", "*=maildir:/nonexistent/box"], 66, "/nonexistent/box: No such file"),
        ("refuses us", vec!["--smarthost", &unwanted], 69, "no service for you"),
        ("by a rule", [&["--route", &format!("b.test={tls}")][..], &trust, &password].concat(), 77, "535 5.7.8"),
    ] {
        let queue = temp_dir();
        enqueue(queue.path(), &[("a@a.test", &["b@b.test", "c@c.test"], HELLO), ("a@a.test", &["d@b.test"], HELLO)]);
        let args = if what == "by a rule" { [args, vec!["--domain", "b.test"]].concat() } else { args };
        let done = run(queue.path(), &args);
        assert_eq!(done.status, status, "{what}\n{done}");
        assert_eq!(done.stderr.matches(says).count(), 1, "one line: {what}\n{done}");
        assert_eq!(done.records_of("error").len(), 1, "{what}\n{done}");
        assert!(done.records_of("attempt").iter().all(|it| it["outcome"] == "deferred"), "{what}\n{done}");
        let quiet = run(queue.path(), &[&args[..], &["--flush", "-q"]].concat());
        assert_eq!(quiet.stderr.matches(says).count(), 1, "{what}: an error stays\n{quiet}");
    }
    // A server that wants a login returns nobody's mail.
    let queue = temp_dir();
    enqueue(queue.path(), &[("a@a.test", &["b@b.test"], HELLO)]);
    let done = run(queue.path(), &["--smarthost", &login]);
    assert_eq!(done.exits(77).says("530").records_of("attempt")[0]["outcome"], "deferred", "{done}");
    // What is temporary stays within the schedule, and what the DNS chose is not the operator's to repair.
    let away = crate::harness::refusing();
    let done = run(queue.path(), &["--flush", "--smarthost", &at("smtp", away.addr)]);
    assert_eq!((done.status, done.stderr.as_str()), (0, ""), "{done}");
    let mx = ["--flush", "--mx-port", &plain.peer.addr.port().to_string(), "--tls", "starttls"];
    enqueue(queue.path(), &[("a@a.test", &["b@[127.0.0.1]"], HELLO)]);
    let done = run(queue.path(), &[&mx[..], &["--domain", "[127.0.0.1]"]].concat());
    assert_eq!((done.status, done.stderr.as_str()), (0, ""), "{done}");
}

#[test]
fn a_watching_runner_says_it_at_once_and_once() {
    let (dir, queue) = (temp_dir(), temp_dir());
    let (server, heard) = submission(dir.path(), "PLAIN", saslauthd);
    enqueue(queue.path(), &[("a@a.test", &["b@b.test"], HELLO)]);
    let mut command = Command::new(binary("mailq-run"));
    command.args(["--watch", "--helo", "us.test", "--json", "--smarthost", &format!("smtps://u@{}", server.addr)]);
    command.args(["--tls-name", "x", "--password-command", "echo wrong", "--ca-cert"]).arg(dir.path().join("ca.pem"));
    command.arg("--queue-dir").arg(queue.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut runner = command.spawn().unwrap();
    let out = Captured::of(runner.stdout.take().unwrap());
    let errors = Captured::of(runner.stderr.take().unwrap());
    errors.wait_for("AUTH PLAIN: 535 5.7.8");
    for n in 0..3 {
        let to = format!("c{n}@c{n}.test");
        enqueue(queue.path(), &[("a@a.test", &[&to], HELLO)]);
        out.wait_for(&format!("\"address\":\"{to}\""));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&runner), rustix::process::Signal::TERM).unwrap();
    assert_eq!(runner.wait().unwrap().code(), Some(77), "{errors}");
    assert_eq!(errors.text().matches("535 5.7.8").count(), 1, "{errors}");
    assert_eq!(heard.lock().unwrap().len(), 1, "four messages, one login");
}

/// A server that takes so many recipients in one transaction and says this to the rest.
fn narrow(most: usize, more: &'static str, pipelining: bool) -> Sink {
    let count = AtomicUsize::new(0);
    Sink::new(move |line| {
        match line.split(' ').next().unwrap_or_default() {
            "MAIL" => count.store(0, Ordering::SeqCst),
            "EHLO" if !pipelining => return Some("250 narrow.test".to_owned()),
            "RCPT" if line.contains("<no@") => return Some("550 5.1.1 no such user".to_owned()),
            "RCPT" if count.fetch_add(1, Ordering::SeqCst) >= most => return Some(more.to_owned()),
            _ => {}
        }
        None
    })
}

#[test]
fn more_recipients_than_the_server_takes_come_in_further_transactions() {
    let to: Vec<String> = (0..8).map(|n| format!("r{n}@b.test")).collect();
    let all: Vec<&str> = to.iter().map(String::as_str).collect();
    for more in ["452 4.5.3 too many recipients", "452 too many", "552 Too many recipients", "552 5.5.3 too many"] {
        for partial in [&[][..], &["--partial"]] {
            let sink = narrow(3, more, true);
            let done = send(
                &[&["--server", &format!("smtp://{}", sink.peer.addr), "--to", &all.join(", ")][..], partial].concat(),
            );
            assert_eq!(done.exits(0).records_of("summary")[0]["delivered"], 8, "{more} {partial:?}\n{done}");
            let mails = sink.mails();
            assert_eq!(mails.iter().map(|mail| mail.to.len()).collect::<Vec<_>>(), [3, 3, 2], "{more}");
            assert_eq!(mails.iter().flat_map(|mail| mail.to.clone()).collect::<Vec<_>>(), to, "{more}");
        }
        let (sink, queue) = (narrow(3, more, true), temp_dir());
        enqueue(queue.path(), &[("a@a.test", &all, HELLO)]);
        let done = run(queue.path(), &["--route", &sink.route()]);
        assert_eq!(done.exits(0).records_of("summary")[0]["delivered"], 8, "{more}\n{done}");
        assert_eq!(sink.mails().len(), 3, "{more}");
        // Several messages over one connection.
        let (sink, dir) = (narrow(3, more, true), temp_dir());
        for n in 0..3 {
            let text = format!("From: a@a.test\nTo: {}\nSubject: {n}\n\nx\n", all.join(", "));
            std::fs::write(dir.path().join(n.to_string()), text).unwrap();
        }
        let server = format!("smtp://{}", sink.peer.addr);
        let each = ["--each", dir.path().to_str().unwrap(), "--server", &server, "--json"];
        let done = tool("smtpsend").args(each).run();
        assert_eq!(done.exits(0).records_of("summary")[0]["delivered"], 24, "{more}\n{done}");
        assert_eq!((sink.mails().len(), *sink.connections.lock().unwrap()), (9, 1), "{more}");
    }
    // All or nothing holds for what the server says before the first message goes out.
    let sink = narrow(3, "452 4.5.3 too many", false);
    let server = format!("smtp://{}", sink.peer.addr);
    let done = send(&["--server", &server, "--to", "r1@b.test, no@b.test, r2@b.test, r3@b.test, r4@b.test"]);
    assert_eq!((done.exits(67).records_of("recipient").len(), sink.mails().len()), (5, 0), "{done}");
    let done = send(&["--server", &server, "--to", "r1@b.test, r2@b.test, r3@b.test, r4@b.test, no@b.test"]);
    done.exits(3).says("no such user");
    let outcomes: Vec<_> = done.records_of("recipient").iter().map(|it| it["outcome"].clone()).collect();
    assert_eq!(outcomes, ["delivered", "delivered", "delivered", "deferred", "refused"], "{done}");
    assert_eq!(sink.mails().len(), 1, "{done}");
}

#[test]
fn smarthosts_are_tried_in_turn() {
    let dir = temp_dir();
    let (broken, _) = submission(dir.path(), "PLAIN", saslauthd);
    let away = crate::harness::refusing();
    let later = Sink::new(|line| line.starts_with("RCPT").then(|| "451 4.3.0 later".to_owned()));
    let good = Sink::taking_all();
    let queue = temp_dir();
    let ca = dir.path().join("ca.pem");
    let login = ["--ca-cert", ca.to_str().unwrap(), "--tls-name", "x", "--password-command", "echo wrong"];
    let urls = [
        format!("smtps://u@{}", broken.addr),
        away.addr.to_string(),
        later.peer.addr.to_string(),
        good.peer.addr.to_string(),
    ];
    let smarthosts: Vec<&str> = urls.iter().flat_map(|url| ["--smarthost", url.as_str()]).collect();
    for status in [77, 0] {
        enqueue(queue.path(), &[("a@a.test", &["b@b.test", "c@c.test"], HELLO)]);
        let args = if status == 0 { &smarthosts[2..] } else { &smarthosts[..] };
        let done = run(queue.path(), &[args, &login].concat());
        assert_eq!(done.exits(status).records_of("summary")[0]["delivered"], 2, "{done}");
    }
    assert_eq!(good.mails().len(), 4);
    // The same with routes of one pattern.
    let routes: Vec<String> = urls[1..].iter().map(|url| format!("b.test={url}")).collect();
    let routes: Vec<&str> = routes.iter().flat_map(|route| ["--route", route.as_str()]).collect();
    enqueue(queue.path(), &[("a@a.test", &["b@b.test"], HELLO)]);
    assert_eq!(run(queue.path(), &routes).exits(0).records_of("summary")[0]["delivered"], 1);
    let done = tool("mailq-run").args(&smarthosts).args(["--user", "u", "--password-file", "-"]).stdin("p\n").run();
    done.exits(64).says("one --smarthost");
}

#[test]
fn a_limit_that_the_server_announces_is_kept() {
    let sink = Sink::new(|line| {
        line.starts_with("EHLO").then(|| "250-x\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=9 RCPTMAX=2".to_owned())
    });
    let server = sink.peer.addr.to_string();
    send(&["--server", &server, "--to", "r1@b.test, r2@b.test, r3@b.test, r4@b.test, r5@b.test"]).exits(0);
    assert_eq!(sink.mails().iter().map(|mail| mail.to.len()).collect::<Vec<_>>(), [2, 2, 1]);
}
