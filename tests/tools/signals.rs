//! No signal that a habit sends ends a server.

use std::process::Stdio;
use std::time::Instant;

use rustix::process::Signal;

use crate::harness::{Captured, LIMIT, binary, server, signal, temp_dir};
use crate::queue::{Sink, enqueue};

/// What operators of other servers send to reload, rotate, count and look, and what a closed pipe or a timer sends.
const HABITS: [Signal; 5] = [Signal::HUP, Signal::USR1, Signal::USR2, Signal::ALARM, Signal::PIPE];

#[test]
fn servers_outlive_the_signals_of_other_servers() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("z"), "$ORIGIN z.test.\n$TTL 5\n@ SOA a b 1 2 3 4 5\n").unwrap();
    let table: [(&str, &[&str], &str); 3] = [
        ("dnsserve", &["-v", "z"], "zone z.test.: 1 records, serial 2"),
        ("ftpserve", &["."], "\treload"),
        ("smtpserve", &["--domain", "a.test", "--mailboxes", "."], "\treload"),
    ];
    for (name, args, word) in table {
        let server = server(name).args(args).dir(dir.path()).start();
        std::fs::write(dir.path().join("z"), "$ORIGIN z.test.\n$TTL 5\n@ SOA a b 2 2 3 4 5\n").unwrap();
        for kind in HABITS.into_iter().rev() {
            server.signal(kind);
        }
        let says = if word.starts_with('\t') { &server.stdout } else { &server.stderr };
        says.wait_for(word);
        assert_eq!(server.stop(), 0, "{name}");
    }
}

#[test]
fn a_watching_runner_outlives_them_too() {
    let (queue, peer) = (temp_dir(), Sink::taking_all());
    let mail = || enqueue(queue.path(), &[("a@a.test", &["b@b.test"], "Subject: hello\r\n\r\nhello\r\n")]);
    let delivered = |count: usize| {
        let begun = Instant::now();
        while peer.mails().len() < count {
            assert!(begun.elapsed() < LIMIT, "message {count} never came");
            std::thread::yield_now();
        }
    };
    mail();
    let mut command = std::process::Command::new(binary("mailq-run"));
    command.args(["--watch", "-v", "--route", &peer.route(), "--queue-dir"]).arg(queue.path()).env_clear();
    let mut runner = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = Captured::of(runner.stderr.take().unwrap());
    delivered(1);
    HABITS.into_iter().rev().for_each(|kind| signal(runner.id(), kind));
    stderr.wait_for("HUP: log and report reopened");
    mail();
    delivered(2);
    signal(runner.id(), Signal::TERM);
    assert_eq!(runner.wait().unwrap().code(), Some(0));
}
