//! mailq-run against the servers of [`crate::hostile`]: after each fault every recipient has a defined state, nothing is
//! lost, and what may come twice says so.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Conn, Done, peer, temp_dir, tool};
use crate::hostile::{LIES, TLS_LIES, cut, script};
use crate::queue::{Sink, enqueue};

const HELLO: &str = "Subject: hello\r\n\r\nhello\r\n";

fn run(queue: &Path, args: &[&str]) -> Done {
    let queue = ["--queue-dir".as_ref(), queue.as_os_str()];
    tool("mailq-run").args(queue).args(["--helo", "client.test", "--timeout", "2", "--json"]).args(args).run()
}

/// Address, outcome and whether it may come twice, of each attempt.
fn attempts(done: &Done) -> Vec<(String, String, bool)> {
    let attempt = |it: &serde_json::Value| {
        let text = |name: &str| it[name].as_str().unwrap().to_owned();
        (text("address"), text("outcome"), it["possible_duplicate"].as_bool().unwrap())
    };
    done.records_of("attempt").iter().map(attempt).collect()
}

/// Address, state and whether it may come twice, of everything in the queue that is not final.
fn waiting(queue: &Path) -> Vec<(String, String, bool)> {
    let done = tool("mailq-ls").arg("--json").arg("--queue-dir").arg(queue).run();
    let recipient = |it: &serde_json::Value| {
        let text = |name: &str| it[name].as_str().unwrap().to_owned();
        (text("address"), text("state"), it["possible_duplicate"].as_bool().unwrap_or(false))
    };
    done.exits(0).records_of("recipient").iter().map(recipient).collect()
}

fn row(address: &str, state: &str, twice: bool) -> (String, String, bool) {
    (address.to_owned(), state.to_owned(), twice)
}

#[test]
fn every_lie_leaves_a_defined_state() {
    std::thread::scope(|scope| {
        for (name, steps, _, outcome) in LIES {
            scope.spawn(move || {
                let (queue, server) = (temp_dir(), script(steps));
                enqueue(queue.path(), &[("a@a.test", &["b@b.test"], HELLO)]);
                let done = run(queue.path(), &["--route", &format!("b.test=smtp://{}", server.addr)]);
                assert!(!done.stderr.contains(['\x1b', '\0']), "{name}: {:?}", done.stderr);
                let (fate, twice) = match *outcome {
                    // A server that wants nobody says nothing about this recipient.
                    "refused" if *name == "does not want us" => ("deferred", false),
                    "refused" => ("failed", false),
                    "unknown" => ("deferred", true),
                    other => (other, false),
                };
                assert_eq!(attempts(&done), [row("b@b.test", fate, twice)], "{name}\n{done}");
                let left = match fate {
                    "deferred" => vec![row("b@b.test", "queued", twice)],
                    "failed" => vec![row("a@a.test", "queued", false)],
                    _ => Vec::new(),
                };
                assert_eq!(waiting(queue.path()), left, "{name}\n{done}");
                // The next try, at an honest server.
                let sink = Sink::taking_all();
                let done = run(queue.path(), &["--route", &sink.route(), "--flush"]);
                let again: Vec<_> = left.iter().map(|(to, _, twice)| row(to, "delivered", *twice)).collect();
                assert_eq!(attempts(&done), again, "{name}\n{done}");
                assert_eq!((sink.mails().len(), waiting(queue.path()).len()), (left.len(), 0), "{name}");
            });
        }
    });
}

#[test]
fn tls_that_is_taken_away_keeps_the_message() {
    std::thread::scope(|scope| {
        for (name, scheme, steps, _) in TLS_LIES {
            scope.spawn(move || {
                let (queue, server) = (temp_dir(), script(steps));
                enqueue(queue.path(), &[("a@a.test", &["b@b.test"], HELLO)]);
                let done = run(queue.path(), &["--route", &format!("b.test={scheme}://{}", server.addr)]);
                assert_eq!(attempts(&done), [row("b@b.test", "deferred", false)], "{name}\n{done}");
                assert_eq!(waiting(queue.path()), [row("b@b.test", "queued", false)], "{name}");
            });
        }
    });
}

#[test]
fn a_server_that_drops_after_every_byte_loses_and_doubles_nothing() {
    let whole = "220 x\r\n250-x\r\n250-8BITMIME\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n250 2.0.0 taken\r\n";
    let refused = whole.find("550").unwrap() + "550 5.1.1 no\r\n".len();
    let before_go = whole.find("354").unwrap() + "354 go\r\n".len();
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for at in (part..=whole.len()).step_by(4) {
                    let queue = temp_dir();
                    let acknowledged = Arc::new(AtomicUsize::new(0));
                    let told = Arc::clone(&acknowledged);
                    let server = peer(move |mut conn| cut(&mut conn, at, &told));
                    enqueue(queue.path(), &[("a@a.test", &["b@b.test", "no@b.test"], HELLO)]);
                    let done = run(queue.path(), &["--route", &format!("b.test=smtp://{}", server.addr)]);
                    let taken = at == whole.len();
                    let twice = at >= before_go && !taken;
                    let one = row("b@b.test", if taken { "delivered" } else { "deferred" }, twice);
                    let two = row("no@b.test", if at >= refused { "failed" } else { "deferred" }, false);
                    assert_eq!(attempts(&done), [one, two], "cut after {at} bytes\n{done}");
                    assert_eq!(acknowledged.load(Ordering::SeqCst) == 1, taken, "cut after {at} bytes");
                    let sink = Sink::taking_all();
                    run(queue.path(), &["--route", &sink.route(), "--flush"]);
                    let mut arrived: Vec<String> = sink.mails().into_iter().flat_map(|mail| mail.to).collect();
                    arrived.sort();
                    let mut wanted = vec![if at >= refused { "a@a.test" } else { "no@b.test" }];
                    wanted.extend((!taken).then_some("b@b.test"));
                    wanted.sort_unstable();
                    assert_eq!(arrived, wanted, "cut after {at} bytes");
                    assert_eq!(waiting(queue.path()), [], "cut after {at} bytes");
                }
            });
        }
    });
}

#[test]
fn liars_hold_up_nobody_who_is_honest() {
    let queue = temp_dir();
    let sink = Sink::taking_all();
    let silent: Vec<_> = LIES.iter().filter(|lie| lie.1.last() == Some(&"|") || lie.1 == ["~"]).collect();
    let servers: Vec<_> = silent.iter().map(|lie| script(lie.1)).collect();
    let mut routes = vec!["--route".to_owned(), format!("good.test=smtp://{}", sink.peer.addr)];
    for (number, server) in servers.iter().enumerate() {
        routes.extend(["--route".to_owned(), format!("l{number}.test=smtp://{}", server.addr)]);
        for n in 0..3 {
            enqueue(queue.path(), &[("a@a.test", &[format!("r{n}@l{number}.test").as_str()], HELLO)]);
        }
    }
    for n in 0..20 {
        enqueue(queue.path(), &[("a@a.test", &[format!("r{n}@good.test").as_str()], HELLO)]);
    }
    let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
    let done = run(queue.path(), &routes);
    let records = done.records_of("attempt");
    let at = |wanted: &dyn Fn(&serde_json::Value) -> bool| records.iter().position(wanted);
    let late = at(&|it| it["kind"] == "timed_out").expect("somebody is silent");
    let last_good = records.iter().rposition(|it| it["address"].as_str().unwrap().ends_with("@good.test")).unwrap();
    assert!(last_good < late, "the honest are served before the first wait is over\n{done}");
    assert_eq!((sink.mails().len(), records.len()), (20, 20 + 3 * servers.len()), "{done}");
}

#[test]
fn a_server_that_stops_reading_a_large_message_is_given_up() {
    let slow = peer(|mut conn: Conn| {
        conn.send("220 x\r\n");
        for reply in ["250 x\r\n", "250 a\r\n", "250 b\r\n", "354 go\r\n"] {
            conn.line();
            conn.send(reply);
        }
        std::thread::park_timeout(Duration::from_secs(15));
    });
    let queue = temp_dir();
    let large = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(1 << 20));
    enqueue(queue.path(), &[("a@a.test", &["b@b.test"], &large)]);
    let done = run(queue.path(), &["--route", &format!("b.test=smtp://{}", slow.addr)]);
    assert_eq!(attempts(&done), [row("b@b.test", "deferred", false)], "{done}");
    let sink = Sink::taking_all();
    run(queue.path(), &["--route", &sink.route(), "--flush"]).exits(0);
    assert!(sink.mails()[0].data == large, "whole, and once");
}
