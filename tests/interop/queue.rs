//! The whole queue: `smtpsend --queue`, mailq-run, and other people's servers and readers. Messages arrive whole, refusals and
//! interruptions leave a defined state, and reports are what Python's `email` understands without a complaint.

use std::collections::BTreeMap;
use std::path::Path;

use crate::delivery::{messages, read, wait_for};
use crate::harness::{Done, temp_dir, tool};
use crate::peers::{Peer, Trial, Verdict, trial};
use crate::servers::{self, Served};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("postfix", "takes a queue over several connections", postfix),
    trial("opensmtpd", "takes a queue over several connections", opensmtpd),
    trial("exim4", "takes a queue over several connections", exim),
    trial("dovecot", "LMTP takes a queue over several connections", dovecot),
    trial("opensmtpd", "refuses; its words come back in a bounce", opensmtpd_refuses),
    trial("postfix", "smtp-sink fails at every command: a state for each recipient", sink_fails),
    trial("postfix", "smtp-sink hides what it can from the queue", sink_hides),
    trial("python3", "email reads bounces, warnings and receipts strictly", python_reads),
];

fn enqueue(queue: &Path, args: &[&str], body: &str) {
    let queue = ["--queue-dir".as_ref(), queue.as_os_str()];
    let message = ["--from", "alice@a.test", "--body", "-"];
    tool("smtpsend").arg("--queue").args(queue).args(message).args(args).stdin(body).run().exits(0);
}

fn run(queue: &Path, args: &[&str]) -> Done {
    let queue = ["--queue-dir".as_ref(), queue.as_os_str()];
    tool("mailq-run").args(queue).args(["--helo", "client.test", "--json"]).args(args).run()
}

/// Outcome and possible duplicate of each recipient, by address.
fn fates(done: &Done) -> BTreeMap<String, (String, bool)> {
    let attempt = |it: &serde_json::Value| {
        let outcome = it["outcome"].as_str().unwrap().to_owned();
        (it["address"].as_str().unwrap().to_owned(), (outcome, it["possible_duplicate"].as_bool().unwrap()))
    };
    done.records_of("attempt").iter().map(attempt).collect()
}

/// Recipients that wait, with their state.
fn waiting(queue: &Path) -> Vec<String> {
    let listed = tool("mailq-ls").arg("--queue-dir").arg(queue).args(["--json"]).run();
    let recipients = listed.exits(0).records_of("recipient");
    let twice = |it: &serde_json::Value| if it["possible_duplicate"] == true { " twice" } else { "" };
    recipients
        .iter()
        .map(|it| format!("{} {}{}", it["address"].as_str().unwrap(), it["state"].as_str().unwrap(), twice(it)))
        .collect()
}

const COUNT: usize = 40;

/// Forty small messages, a large one, an 8-bit one and one to three people, over up to five connections.
fn everything_arrives(url: &str, mailbox: &Path) {
    let dir = temp_dir();
    let queue = dir.path().join("queue");
    let large = "0123456789abcdef0123456789abcdef\n".repeat(30_000);
    let text = |n: usize| format!("number {n}\n.\n..two\nend\n");
    for n in 0..COUNT {
        enqueue(&queue, &["--to", &format!("user{n}@b.test"), "--subject", &format!("small {n}")], &text(n));
    }
    enqueue(&queue, &["--to", "user@b.test", "--subject", "large"], &large);
    enqueue(&queue, &["--to", "user@b.test", "--subject", "Grüße"], "Grüße\n");
    let three = "one@b.test, two@b.test, three@b.test";
    enqueue(&queue, &["--to", three, "--subject", "three"], "to three\n");
    let done = run(&queue, &["--route", &format!("b.test={url}"), "--per-destination", "5"]);
    let fates = fates(done.exits(0));
    assert_eq!(fates.len(), COUNT + 4, "{done}");
    assert!(fates.values().all(|fate| *fate == ("delivered".to_owned(), false)), "{done}");
    assert_eq!(waiting(&queue), Vec::<String>::new());
    // Three recipients in one mailbox are one copy or three.
    wait_for(mailbox, COUNT + 3);
    let mut subjects: BTreeMap<String, usize> = BTreeMap::new();
    for path in messages(mailbox) {
        let message = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).replace("\r\n", "\n");
        let (header, body) = message.split_once("\n\n").unwrap();
        let subject = header.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned();
        match subject.split_once(' ') {
            Some(("small", n)) => assert_eq!(body.trim_end(), text(n.parse().unwrap()).trim_end()),
            _ if subject == "large" => assert_eq!(body.trim_end(), large.trim_end()),
            _ => {}
        }
        *subjects.entry(subject).or_default() += 1;
    }
    assert!((1..=3).contains(&subjects.remove("three").unwrap()));
    assert_eq!(subjects.len(), COUNT + 2, "{subjects:?}");
    assert!(subjects.values().all(|count| *count == 1), "{subjects:?}");
}

const ROOT_ONLY: &str = "this server starts as root only";

fn with(peer: &Peer, scheme: &str, start: fn(&Peer) -> (Served, std::path::PathBuf)) -> Verdict {
    if !rustix::process::geteuid().is_root() {
        return Verdict::NotApplicable(ROOT_ONLY);
    }
    let (server, mailbox) = start(peer);
    everything_arrives(&format!("{scheme}://{}", server.addr()), &mailbox);
    Verdict::Ok
}

fn postfix(peer: &Peer) -> Verdict {
    with(peer, "smtp", servers::postfix)
}

fn opensmtpd(peer: &Peer) -> Verdict {
    with(peer, "smtp", servers::opensmtpd)
}

fn exim(peer: &Peer) -> Verdict {
    with(peer, "smtp", servers::exim)
}

fn dovecot(peer: &Peer) -> Verdict {
    with(peer, "lmtp", servers::dovecot)
}

/// An empty Maildir, and the route that leads there.
fn home(dir: &Path) -> String {
    for folder in ["tmp", "new", "cur"] {
        std::fs::create_dir_all(dir.join("home").join(folder)).unwrap();
    }
    format!("a.test=maildir:{}", dir.join("home").display())
}

/// The reports that have come home, read by Python without a defect.
fn reports(dir: &Path) -> Vec<serde_json::Value> {
    let found: Vec<_> = messages(&dir.join("home")).map(|path| read(&path)).collect();
    for report in &found {
        assert_eq!(report["defects"], serde_json::json!([]), "{report:#}");
        assert_eq!(report["types"][0], "multipart/report");
    }
    found
}

/// The fields of one group of a report's status.
fn group(report: &serde_json::Value, at: usize) -> BTreeMap<String, String> {
    let fields = report["status"][at].as_array().unwrap_or_else(|| panic!("no group {at} in {report:#}")).iter();
    fields.map(|field| (field[0].as_str().unwrap().to_owned(), field[1].as_str().unwrap().to_owned())).collect()
}

fn opensmtpd_refuses(peer: &Peer) -> Verdict {
    if !rustix::process::geteuid().is_root() {
        return Verdict::NotApplicable(ROOT_ONLY);
    }
    let (server, _) = servers::opensmtpd(peer);
    let dir = temp_dir();
    let (queue, home) = (dir.path().join("queue"), home(dir.path()));
    enqueue(&queue, &["--to", "x@elsewhere.test, y@b.test", "--partial", "--subject", "no"], "text\n");
    let way = format!("*=smtp://{}", server.addr());
    let done = run(&queue, &["--route", &home, "--route", &way]);
    assert_eq!(fates(done.exits(3))["x@elsewhere.test"].0, "failed", "{done}");
    run(&queue, &["--route", &home, "--route", &way]).exits(0);
    let found = reports(dir.path());
    assert_eq!(found.len(), 1);
    let status = group(&found[0], 1);
    assert_eq!((status["action"].as_str(), status["final-recipient"].as_str()), ("failed", "rfc822; x@elsewhere.test"));
    assert!(status["diagnostic-code"].starts_with("smtp; 550 "), "{status:?}");
    assert!(status["status"].starts_with("5."), "{status:?}");
    Verdict::Ok
}

fn sink_fails(peer: &Peer) -> Verdict {
    let to = ["b@b.test", "c@b.test"];
    // -f: 5xx, -r: 4xx, -q: hangs up, -Q: 421 and hangs up.
    for command in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        for switch in ["-f", "-r", "-q", "-Q"] {
            let (fate, twice) = match (switch, command) {
                // What does not know EHLO may know HELO; who wants nobody says nothing about these recipients.
                ("-f", "EHLO") => ("delivered", false),
                ("-f", "CONNECT") => ("deferred", false),
                ("-f", _) => ("failed", false),
                ("-q", ".") => ("deferred", true),
                _ => ("deferred", false),
            };
            let dir = temp_dir();
            let queue = dir.path().join("queue");
            enqueue(&queue, &["--to", "b@b.test, c@b.test", "--subject", "x"], ".dot\ntext\n");
            let sink = servers::smtp_sink(peer, &[switch, command]);
            let done = run(&queue, &["--route", &format!("b.test=smtp://{}", sink.addr())]);
            let expected: BTreeMap<_, _> = to.iter().map(|to| ((*to).to_owned(), (fate.to_owned(), twice))).collect();
            assert_eq!(fates(&done), expected, "{switch} {command}\n{done}");
            let state = match fate {
                "deferred" if twice => vec!["b@b.test queued twice", "c@b.test queued twice"],
                "deferred" => vec!["b@b.test queued", "c@b.test queued"],
                "failed" => vec!["alice@a.test queued"],
                _ => vec![],
            };
            assert_eq!(waiting(&queue), state, "{switch} {command}\n{done}");
            // Afterwards another server gets the message, or its sender the report, once.
            let sink = servers::smtp_sink(peer, &[]);
            run(&queue, &["--flush", "--route", &format!("*=smtp://{}", sink.addr())]).exits(0);
            assert_eq!(servers::sunk(&sink).len(), usize::from(fate != "delivered"), "{switch} {command}");
            assert_eq!(waiting(&queue), Vec::<String>::new(), "{switch} {command}");
        }
    }
    Verdict::Ok
}

fn sink_hides(peer: &Peer) -> Verdict {
    for args in [&[][..], &["-8"], &["-p"], &["-E"], &["-e"], &["-N"], &["-a"], &["-8", "-p", "-E", "-N", "-a"]] {
        let dir = temp_dir();
        let (queue, home) = (dir.path().join("queue"), home(dir.path()));
        for n in 0..5 {
            let to = format!("b{n}@b.test, c{n}@b.test");
            enqueue(&queue, &["--to", &to, "--subject", "Grüße", "--notify", "success"], ".dot\nGrüße\n");
        }
        let sink = servers::smtp_sink(peer, args);
        let done = run(&queue, &["--route", &format!("b.test=smtp://{}", sink.addr())]);
        let fates = fates(done.exits(0));
        assert!(fates.len() == 10 && fates.values().all(|fate| fate.0 == "delivered"), "{args:?}\n{done}");
        let narrow = args.iter().any(|switch| ["-8", "-e"].contains(switch));
        assert!(!narrow || servers::sunk(&sink).iter().all(|message| message.is_ascii()), "{args:?}");
        // Who does not report success itself has it reported for it.
        run(&queue, &["--route", &home]).exits(0);
        let relayed = args.iter().any(|switch| ["-N", "-e"].contains(switch));
        let found = reports(dir.path());
        assert_eq!(found.len(), if relayed { 5 } else { 0 }, "{args:?}\n{done}");
        assert!(found.iter().all(|report| group(report, 2)["action"] == "relayed"), "{args:?}");
    }
    Verdict::Ok
}

/// A scripted server's refusal, a dead one, a Maildir: one report of each kind, and of letters outside ASCII.
fn python_reads(_: &Peer) -> Verdict {
    let dir = temp_dir();
    let (queue, home) = (dir.path().join("queue"), home(dir.path()));
    let boxes = dir.path().join("box");
    for folder in ["tmp", "new", "cur"] {
        std::fs::create_dir_all(boxes.join(folder)).unwrap();
    }
    let refusing = crate::harness::peer(|mut conn| {
        conn.send("220 mx.b.test\r\n");
        while let Some(line) = conn.line() {
            let reply = match line.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" => "250-mx.b.test\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n",
                "RCPT" => "550-5.1.1 no such user here: gar nicht\r\n550 5.1.1 see https://b.test/why\r\n",
                _ => "250 ok\r\n",
            };
            conn.send(reply);
        }
    });
    let dead = crate::harness::refusing();
    let routes = [
        home,
        format!("b.test=smtp://{}", refusing.addr),
        format!("dead.test=smtp://{}", dead.addr),
        format!("box.test=maildir:{}", boxes.display()),
    ];
    let mut way: Vec<&str> = routes.iter().flat_map(|route| ["--route", route]).collect();
    way.extend(["--flush", "--warn-after", "1ms"]);
    let subject = "Grüße — a long subject that has to be folded into several lines of the header, 数据 ☀ and so on";
    let envid = ["--envid", "QQ+314 159", "--subject", subject];
    enqueue(&queue, &[&envid[..], &["--to", "x@b.test, y@b.test"]].concat(), "text\n");
    enqueue(&queue, &[&envid[..], &["--to", "full@b.test", "--ret", "full"]].concat(), "Grüße\n--=_\n.\n");
    enqueue(&queue, &[&envid[..], &["--to", "later@dead.test"]].concat(), "text\n");
    enqueue(&queue, &[&envid[..], &["--to", "bob@box.test", "--notify", "success"]].concat(), "text\n");
    enqueue(&queue, &["--to", "jürgen@b.test", "--subject", subject, "--header", "X-Loewe: Löwe"], "Grüße\n");
    run(&queue, &way);
    run(&queue, &way);
    // The third attempt is the last.
    way.extend(["--expire", "0"]);
    run(&queue, &way);
    run(&queue, &way);
    assert_eq!(waiting(&queue), Vec::<String>::new());
    let mut found: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    for report in reports(dir.path()) {
        let global = report["types"].as_array().unwrap().contains(&"message/global-delivery-status".into());
        let name = match global {
            true => "global".to_owned(),
            false => format!("{} {}", group(&report, 1)["action"], group(&report, 1)["final-recipient"]),
        };
        assert!(found.insert(name, report).is_none());
    }
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "delayed rfc822; later@dead.test",
            "delivered rfc822; bob@box.test",
            "failed rfc822; full@b.test",
            "failed rfc822; later@dead.test",
            "failed rfc822; x@b.test",
            "global",
        ]
    );
    let failed = &found["failed rfc822; x@b.test"];
    let types: Vec<&str> = failed["types"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(types[..3], ["multipart/report", "text/plain", "message/delivery-status"]);
    assert_eq!(types.last(), Some(&"text/rfc822-headers"));
    let about = group(failed, 0);
    assert_eq!(
        (about["reporting-mta"].as_str(), about["original-envelope-id"].as_str()),
        ("dns; client.test", "QQ+314 159")
    );
    for (at, to) in [(1, "x@b.test"), (2, "y@b.test")] {
        let status = group(failed, at);
        assert_eq!(
            (status["final-recipient"].as_str(), status["status"].as_str()),
            (format!("rfc822; {to}").as_str(), "5.1.1")
        );
        assert!(status["diagnostic-code"].contains("see https://b.test/why"), "{status:?}");
        assert_eq!(status["remote-mta"], "dns; 127.0.0.1");
    }
    let returned = &found["failed rfc822; full@b.test"]["types"];
    assert!(returned.as_array().unwrap().contains(&"message/rfc822".into()), "{returned}");
    let delayed = group(&found["delayed rfc822; later@dead.test"], 1);
    assert!(delayed.contains_key("will-retry-until") && delayed["status"].starts_with("4."), "{delayed:?}");
    assert_eq!(group(&found["delivered rfc822; bob@box.test"], 1)["status"], "2.0.0");
    // Python reads this one as a message: its second group is the body.
    let status = found["global"]["parts"][1][3].as_str().unwrap();
    let status = String::from_utf8(crate::delivery::unhex(status)).unwrap();
    assert!(status.contains("Final-Recipient: utf-8; jürgen@b.test"), "{status}");
    Verdict::Ok
}
