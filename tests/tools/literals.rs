//! Address literals in mail: one address has many spellings (RFC 5321, section 4.1.3; RFC 4291, section 2.2), and each of them means it.

use std::path::Path;

use crate::harness::{Done, server, temp_dir, tool};
use crate::mail::{send, sink};
use crate::queue::{Sink, run};
use crate::smtp::{Talk, files, mailboxes};

/// Spellings of two addresses.
const SPELLINGS: [&[&str]; 2] = [
    &["[IPv6:::1]", "[IPv6:0:0:0:0:0:0:0:1]", "[ipv6:0::0001]", "[IPV6:::0.0.0.1]"],
    &["[127.0.0.1]", "[IPv6:::ffff:127.0.0.1]", "[ipv6:0:0:0:0:0:FFFF:7F00:1]"],
];

const MALFORMED: [&str; 7] = [
    "[::1]",
    "[2001:db8::1]",
    "[300.1.1.1]",
    "[127.0.0.1:25]",
    "[IPv6:fe80::1%eth0]",
    "[IPv6:127.0.0.1]",
    "[127.0.0.1",
];

fn edit(queue: &Path, args: &[&str]) -> Done {
    tool("mailq-edit").arg("--queue-dir").arg(queue).args(args).run()
}

fn list(queue: &Path, args: &[&str]) -> Vec<serde_json::Value> {
    tool("mailq-ls").arg("--queue-dir").arg(queue).arg("--json").args(args).run().exits(0).records_of("recipient")
}

#[test]
fn a_server_takes_mail_for_its_address_however_it_is_written() {
    for [ours, others] in [[0, 1], [1, 0]].map(|order| order.map(|at| SPELLINGS[at])) {
        for named in ours {
            let directory = mailboxes(&["u"]);
            let domain = ["--domain", named, "--mailboxes"];
            let server = server("smtpserve").args(domain).arg(directory.path()).start();
            let mut talk = Talk::to(server.addr);
            talk.says("EHLO alice.test", "250");
            for spelled in ours {
                talk.delivers(&format!("u@{spelled}"), "Subject: x\r\n\r\n");
            }
            assert_eq!(files(directory.path(), "u/new").len(), ours.len(), "{named}");
            talk.says("MAIL FROM:<alice@alice.test>", "250");
            others.iter().for_each(|spelled| talk.says(&format!("RCPT TO:<u@{spelled}>"), "550"));
            // Reply 501 where even the path has no end.
            MALFORMED.iter().for_each(|spelled| talk.says(&format!("RCPT TO:<u@{spelled}>"), "5"));
        }
    }
    for bad in MALFORMED {
        tool("smtpserve").args(["--domain", bad, "--mailboxes", ".", "--listen", "127.0.0.1:0"]).run().exits(64);
    }
}

#[test]
fn what_is_malformed_is_refused_at_once() {
    let dir = temp_dir();
    let queue = ["--queue", "--queue-dir", "q", "--body", "/dev/null"];
    let nobody = ["--server", "smtp://127.0.0.1:1", "--body", "/dev/null"];
    for literal in MALFORMED {
        let bad = format!("u@{literal}");
        for way in [&queue, &nobody[..]] {
            let send = || tool("smtpsend").dir(dir.path()).args(way);
            send().args(["--from", "a@a.test", "--to", &bad]).run().exits(64).says("literal");
            send().args(["--from", &bad, "--to", "b@b.test"]).run().exits(64).says("literal");
        }
        let message = format!("From: a@a.test\nTo: {bad}\n\nx\n");
        let sent = tool("smtpsend").dir(dir.path()).args(["--queue", "--queue-dir", "q", "-t"]).stdin(message).run();
        sent.exits(65).says("literal");
        edit(dir.path(), &["readdress", "--all", "--to", &bad]).exits(64);
    }
    assert!(!dir.path().join("q").exists() || list(&dir.path().join("q"), &[]).is_empty());
}

#[test]
fn who_is_named_twice_gets_one_copy() {
    let (server, taken) = sink(|_| None);
    let dir = temp_dir();
    let relay = crate::harness::server("smtpserve").args(["--relay-from", "127.0.0.0/8", "--queue-dir", "q"]);
    let relay = relay.dir(dir.path()).start();
    for (number, spellings) in SPELLINGS.into_iter().enumerate() {
        let to: Vec<String> = spellings.iter().map(|spelled| format!("u@{spelled}")).collect();
        let named: Vec<&str> =
            to.iter().flat_map(|to| ["--to", to]).chain(["--from", "a@a.test", "--body", "/dev/null"]).collect();
        send(&server, &named).run().silent_success();
        assert_eq!(taken.lock().unwrap()[number].recipients, to[..1], "as it was written first");
        let queued = tool("smtpsend").dir(dir.path()).args(["--queue", "--queue-dir", "own"]).args(&named).run();
        queued.silent_success();
        assert_eq!(list(&dir.path().join("own"), &[]).len(), number + 1);
        let mut talk = Talk::to(relay.addr);
        talk.says("EHLO alice.test", "250");
        talk.says("MAIL FROM:<a@a.test>", "250");
        to.iter().for_each(|to| talk.says(&format!("RCPT TO:<{to}>"), "250"));
        talk.says("RCPT TO:<v@b.test>", "250");
        talk.says("DATA", "354");
        talk.says("Subject: x\r\n\r\n.", "250");
        assert_eq!(list(&dir.path().join("q"), &[]).len(), 2 * (number + 1));
    }
}

/// Selections, routes and edits name a mailbox or a destination in a spelling of their own.
#[test]
fn the_queue_knows_an_address_by_any_spelling() {
    for spellings in SPELLINGS {
        for spelled in spellings {
            let (dir, sink) = (temp_dir(), Sink::taking_all());
            let queue = &dir.path().join("q");
            let (literal, sender) = (spellings[0], format!("s@{}", spellings[1]));
            let words = [
                "--from",
                &sender,
                "--to",
                &format!("u@{literal}"),
                "--to",
                &format!("v@{literal}"),
                "--to",
                "w@b.test",
            ];
            let queued =
                tool("smtpsend").args(["--queue", "--body", "/dev/null", "--queue-dir"]).arg(queue).args(words).run();
            queued.silent_success();
            let of = |option: &str, value: &str| {
                let found = list(queue, &[option, value]);
                found.iter().map(|it| it["address"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(of("--recipient", &format!("U@{spelled}")), [format!("u@{literal}")], "shown as it was written");
            assert_eq!(of("--recipient", &format!("<\"u\"@{spelled}>")).len(), 1);
            assert_eq!(of("--domain", spelled).len(), 2, "{spelled}");
            assert_eq!(of("--sender", &format!("s@{spelled}")).len(), 3);
            for other in SPELLINGS.iter().flat_map(|others| others.iter()).filter(|it| !spellings.contains(it)) {
                let none = tool("mailq-ls").arg("--queue-dir").arg(queue).args(["--domain", other]).run();
                assert_eq!(none.status, 1, "{none}");
            }
            edit(queue, &["hold", "--recipient", &format!("u@{spelled}")]).exits(0);
            let route = format!("{spelled}={}", sink.route().split_once('=').unwrap().1);
            run(queue, &["--route", &route, "--domain", spelled]).silent_success();
            edit(queue, &["release", "--domain", spelled]).exits(0);
            run(queue, &["--route", &route, "--domain", spelled]).silent_success();
            let to: Vec<Vec<String>> = sink.mails().into_iter().map(|mail| mail.to).collect();
            assert_eq!(to, [[format!("v@{literal}")], [format!("u@{literal}")]], "{spelled}");
        }
    }
}
