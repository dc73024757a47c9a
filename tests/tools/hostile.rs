//! smtpsend against servers that break off, lie, drip and never end: a defined outcome for each recipient, and the status
//! that says what to do next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Conn, Done, Peer, peer, tool};

/// A server that plays these steps to everybody: `<` reads a line, `.` reads up to a lone dot, `~` says one byte at a time
/// for ever, `*` repeats what follows for ever, `|` waits until the client has gone; anything else is said as it is.
pub(crate) fn script(steps: &'static [&'static str]) -> Peer {
    peer(move |mut conn: Conn| {
        for step in steps {
            let goes_on = match step.as_bytes() {
                b"<" => conn.line().is_some(),
                b"." => std::iter::from_fn(|| conn.line()).any(|line| line == "."),
                b"|" => {
                    conn.until_closed();
                    false
                }
                b"~" => {
                    while conn.send("2") {
                        std::thread::park_timeout(Duration::from_millis(100));
                    }
                    false
                }
                [b'*', again @ ..] => {
                    while conn.send(again) {}
                    false
                }
                said => conn.send(said),
            };
            if !goes_on {
                return;
            }
        }
    })
}

fn to(server: &Peer, url: &str, more: &[&str]) -> Done {
    let url = format!("{url}://{}", server.addr);
    let args = ["--from", "a@a.test", "--to", "b@b.test", "--subject", "x", "--body", "-", "--json", "--timeout", "2"];
    tool("smtpsend").args(["--server", &url]).args(args).args(more).stdin("text\n").run()
}

fn outcomes(done: &Done) -> Vec<String> {
    let records = done.records_of("recipient");
    records.iter().map(|record| record["outcome"].as_str().expect("an outcome").to_owned()).collect()
}

const EHLO: &str = "250-x.test\r\n250 PIPELINING\r\n";
const PLAIN: &str = "250 x.test\r\n";

/// A name, what the server does, and smtpsend's status and outcome.
pub(crate) type Lie = (&'static str, &'static [&'static str], i32, &'static str);

pub(crate) const LIES: &[Lie] = &[
    ("says nothing", &["|"], 75, "deferred"),
    ("hangs up at once", &[], 75, "deferred"),
    ("does not want us", &["554 5.7.1 go away\r\n"], 69, "refused"),
    ("comes later", &["421 4.3.2 later\r\n"], 75, "deferred"),
    ("speaks HTTP", &["HTTP/1.1 400 Bad Request\r\n\r\n"], 76, "deferred"),
    ("a code that is none", &["999 x\r\n"], 76, "deferred"),
    ("a line that never ends", &["*220 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"], 76, "deferred"),
    ("a greeting that never ends", &["*220-x\r\n"], 76, "deferred"),
    ("a drip", &["~"], 75, "deferred"),
    ("an EHLO reply that never ends", &["220 x\r\n", "<", "*250-SIZE 1\r\n"], 76, "deferred"),
    ("EHLO, then nothing", &["220 x\r\n", "<", EHLO, "|"], 75, "deferred"),
    ("codes that change within a reply", &["220 x\r\n", "<", "250-x\r\n500 y\r\n"], 76, "deferred"),
    ("a NUL in a reply", &["220 x\r\n", "<", PLAIN, "<", "550 5.1.8 \0\x1b[31m no\r\n", "<"], 69, "refused"),
    ("an escape in a reply", &["220 x\r\n", "<", PLAIN, "<", "550 5.1.8 \x1b[31m no\r\n", "<"], 69, "refused"),
    ("too small for us", &["220 x\r\n", "<", "250-x\r\n250 SIZE 10\r\n", "|"], 69, "refused"),
    (
        "354 to a refused recipient",
        &[
            "220 x\r\n",
            "<",
            EHLO,
            "<",
            "250 a\r\n",
            "<",
            "550 5.1.1 no\r\n",
            "<",
            "354 go on\r\n",
            ".",
            "554 5.5.1 nobody\r\n",
            "<",
            "221 x\r\n",
        ],
        67,
        "refused",
    ),
    ("250 to DATA", &["220 x\r\n", "<", EHLO, "<", "<", "<", "250 a\r\n250 b\r\n250 c\r\n", "|"], 76, "deferred"),
    ("334 to DATA", &["220 x\r\n", "<", EHLO, "<", "<", "<", "250 a\r\n250 b\r\n334 c\r\n", "|"], 76, "deferred"),
    (
        "MAIL answered twice",
        &["220 x\r\n", "<", EHLO, "<", "<", "<", "250 a\r\n250 a\r\n250 b\r\n354 c\r\n", "|"],
        76,
        "deferred",
    ),
    (
        "MAIL answered twice, step by step",
        &["220 x\r\n", "<", PLAIN, "<", "250 a\r\n250 a\r\n", "<", "250 b\r\n", "<", "354 c\r\n", "|"],
        76,
        "deferred",
    ),
    ("two greetings", &["220 x\r\n220 x\r\n", "<", PLAIN, "|"], 76, "deferred"),
    (
        "goodbye as an answer",
        &["220 x\r\n", "<", EHLO, "<", "<", "<", "250 a\r\n250 b\r\n354 c\r\n", ".", "221 bye\r\n", "|"],
        3,
        "unknown",
    ),
    ("354 to MAIL", &["220 x\r\n", "<", PLAIN, "<", "354 go on\r\n", "<", "250 x\r\n", "|"], 76, "deferred"),
    ("hangs up after MAIL", &["220 x\r\n", "<", EHLO, "<", "250 a\r\n"], 75, "deferred"),
    ("a reply too few", &["220 x\r\n", "<", EHLO, "<", "<", "<", "250 a\r\n250 b\r\n", "|"], 75, "deferred"),
    (
        "an answer before the message",
        &["220 x\r\n", "<", PLAIN, "<", "250 a\r\n", "<", "250 b\r\n", "<", "354 go on\r\n250 2.0.0 taken\r\n", "|"],
        76,
        "deferred",
    ),
    (
        "a refusal before the message",
        &["220 x\r\n", "<", PLAIN, "<", "250 a\r\n", "<", "250 b\r\n", "<", "354 go on\r\n552 5.3.4 too big\r\n", "|"],
        69,
        "refused",
    ),
    (
        "421 before the message",
        &["220 x\r\n", "<", PLAIN, "<", "250 a\r\n", "<", "250 b\r\n", "<", "354 go on\r\n421 4.3.2 ending\r\n", "|"],
        75,
        "deferred",
    ),
    (
        "no answer to the message",
        &["220 x\r\n", "<", EHLO, "<", "<", "<", "250 a\r\n250 b\r\n354 c\r\n", "."],
        3,
        "unknown",
    ),
    (
        "half an answer",
        &["220 x\r\n", "<", EHLO, "<", "<", "<", "250 a\r\n250 b\r\n354 c\r\n", ".", "250 2.0"],
        3,
        "unknown",
    ),
    (
        "garbage as an answer",
        &["220 x\r\n", "<", EHLO, "<", "<", "<", "250 a\r\n250 b\r\n354 c\r\n", ".", "ok\r\n"],
        3,
        "unknown",
    ),
    (
        "go on as an answer",
        &["220 x\r\n", "<", EHLO, "<", "<", "<", "250 a\r\n250 b\r\n354 c\r\n", ".", "354 more\r\n", "|"],
        3,
        "unknown",
    ),
    (
        "421 as an answer",
        &["220 x\r\n", "<", EHLO, "<", "<", "<", "250 a\r\n250 b\r\n354 c\r\n", ".", "421 4.3.2 no\r\n"],
        75,
        "deferred",
    ),
    (
        "an answer too many",
        &[
            "220 x\r\n",
            "<",
            EHLO,
            "<",
            "<",
            "<",
            "250 a\r\n250 b\r\n354 c\r\n",
            ".",
            "250 2.0.0 ok\r\n250 2.0.0 again\r\n",
            "<",
            "221 x\r\n",
        ],
        0,
        "delivered",
    ),
];

#[test]
fn every_lie_has_its_outcome() {
    std::thread::scope(|scope| {
        for (name, steps, status, outcome) in LIES {
            scope.spawn(move || {
                let server = script(steps);
                let done = to(&server, "smtp", &[]);
                assert_eq!((outcomes(&done), done.status), (vec![(*outcome).to_owned()], *status), "{name}\n{done}");
                assert!(!done.stderr.contains(['\x1b', '\0']), "{name}: {:?}", done.stderr);
            });
        }
    });
}

/// A name, the URL's scheme, what the server does, and smtpsend's status.
pub(crate) type TlsLie = (&'static str, &'static str, &'static [&'static str], i32);

pub(crate) const TLS_LIES: &[TlsLie] = &[
    ("stripped", "submission", &["220 x\r\n", "<", PLAIN, "|"], 77),
    ("refused", "submission", &["220 x\r\n", "<", "250-x\r\n250 STARTTLS\r\n", "<", "454 4.7.0 not now\r\n", "|"], 75),
    (
        "refused for good",
        "submission",
        &["220 x\r\n", "<", "250-x\r\n250 STARTTLS\r\n", "<", "554 5.7.0 no\r\n", "|"],
        69,
    ),
    (
        "injected",
        "smtp",
        &["220 x\r\n", "<", "250-x\r\n250 STARTTLS\r\n", "<", "220 go\r\n250-x\r\n250 AUTH PLAIN\r\n", "|"],
        76,
    ),
    (
        "no TLS behind it",
        "submission",
        &["220 x\r\n", "<", "250-x\r\n250 STARTTLS\r\n", "<", "220 go\r\n", "<", "550 x\r\n", "|"],
        76,
    ),
    ("hangs up", "submission", &["220 x\r\n", "<", "250-x\r\n250 STARTTLS\r\n", "<", "220 go\r\n"], 75),
    ("says nothing", "submission", &["220 x\r\n", "<", "250-x\r\n250 STARTTLS\r\n", "<", "220 go\r\n", "|"], 75),
    ("not TLS at all", "smtps", &["220 x\r\n", "|"], 76),
];

#[test]
fn tls_that_is_taken_away_or_injected_into_is_noticed() {
    for (name, scheme, steps, status) in TLS_LIES {
        let server = script(steps);
        let done = to(&server, scheme, &[]);
        let one_of = [*status, if *status == 76 { 77 } else { *status }];
        assert!(one_of.contains(&done.status), "{name}\n{done}");
        assert!(["deferred", "refused"].contains(&outcomes(&done)[0].as_str()), "{name}\n{done}");
    }
    // A password goes nowhere without TLS, whatever the server offers before it.
    let server = script(&["220 x\r\n", "<", "250-x\r\n250 AUTH PLAIN LOGIN\r\n", "|"]);
    let url = format!("smtp://u@{}", server.addr);
    let args = [
        "--server",
        &url,
        "--password-command",
        "echo p",
        "--from",
        "a@a.test",
        "--to",
        "b@b.test",
        "--body",
        "/dev/null",
    ];
    tool("smtpsend").args(args).run().exits(77).says("STARTTLS");
}

#[test]
fn a_login_that_never_ends_does_end() {
    let server = script(&["220 x\r\n", "<", "250-x\r\n250 AUTH PLAIN LOGIN SCRAM-SHA-256\r\n", "<", "*334 AAAA\r\n"]);
    for mechanism in ["plain", "login", "scram-sha-256"] {
        let url = format!("smtp://u@{}", server.addr);
        let args = ["--server", &url, "--tls", "none", "--auth", mechanism, "--password-command", "echo p"];
        let message = ["--from", "a@a.test", "--to", "b@b.test", "--body", "/dev/null", "--json"];
        let done = tool("smtpsend").args(args).args(message).run();
        assert_eq!((done.exits(76).status, outcomes(&done)), (76, vec!["deferred".to_owned()]), "{mechanism}");
    }
}

/// The server's side of a dialogue with two recipients, one refused, cut off after so many of its bytes.
pub(crate) fn cut(conn: &mut Conn, mut left: usize, acknowledged: &AtomicUsize) {
    let mut in_data = false;
    let mut say = |conn: &mut Conn, text: &str| {
        let now = left.min(text.len());
        left -= now;
        conn.send(&text[..now]) && now == text.len()
    };
    if !say(conn, "220 x\r\n") {
        return;
    }
    while let Some(line) = conn.line() {
        let reply = match line.as_str() {
            "." if in_data => {
                in_data = false;
                "250 2.0.0 taken\r\n"
            }
            _ if in_data => continue,
            line if line.starts_with("EHLO") => "250-x\r\n250-8BITMIME\r\n250 PIPELINING\r\n",
            line if line.contains("<no@") => "550 5.1.1 no\r\n",
            "DATA" => {
                in_data = true;
                "354 go\r\n"
            }
            _ => "250 ok\r\n",
        };
        let whole = say(conn, reply);
        if reply.starts_with("250 2.0.0") && whole {
            acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        if !whole {
            return;
        }
    }
}

#[test]
fn a_server_that_drops_after_every_byte_never_makes_a_liar_of_us() {
    let whole = "220 x\r\n250-x\r\n250-8BITMIME\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n250 2.0.0 taken\r\n";
    let before_go = whole.find("354").unwrap();
    std::thread::scope(|scope| {
        for half in 0..2 {
            scope.spawn(move || {
                for at in (half..=whole.len()).step_by(2) {
                    let acknowledged = Arc::new(AtomicUsize::new(0));
                    let told = Arc::clone(&acknowledged);
                    let server = peer(move |mut conn| cut(&mut conn, at, &told));
                    let done = to(&server, "smtp", &["--to", "no@b.test", "--partial", "--tls", "none"]);
                    let found = outcomes(&done);
                    assert_eq!(found.len(), 2, "{at}\n{done}");
                    let expected = if at == whole.len() {
                        "delivered"
                    } else if at >= before_go + "354 go\r\n".len() {
                        "unknown"
                    } else {
                        "deferred"
                    };
                    assert_eq!(found[0], expected, "cut after {at} bytes\n{done}");
                    assert!(["refused", "deferred"].contains(&found[1].as_str()), "cut after {at} bytes\n{done}");
                    assert!((acknowledged.load(Ordering::SeqCst) == 1) == (expected == "delivered"));
                }
            });
        }
    });
}

#[test]
fn a_server_that_stops_reading_is_given_up() {
    // A reader that sleeps: the socket's buffers fill up.
    let slow = peer(|mut conn: Conn| {
        conn.send("220 x\r\n");
        for reply in ["250 x\r\n", "250 a\r\n", "250 b\r\n", "354 go\r\n"] {
            conn.line();
            conn.send(reply);
        }
        std::thread::park_timeout(Duration::from_secs(15));
    });
    let dir = crate::harness::temp_dir();
    std::fs::write(dir.path().join("big"), vec![0; 64 << 20]).unwrap();
    let began = Instant::now();
    let url = format!("smtp://{}", slow.addr);
    let args =
        ["--server", &url, "--from", "a@a.test", "--to", "b@b.test", "--attach", "big", "--timeout", "1", "--json"];
    let done = tool("smtpsend").args(args).dir(dir.path()).run();
    assert_eq!(outcomes(done.exits(75)), ["deferred"]);
    assert!(began.elapsed() < Duration::from_secs(12), "{done}");
}
