//! smtpserve, spoken to by hand.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{Done, Server, server, temp_dir, tool};

/// A client that sends lines and reads replies.
pub(crate) struct Talk(pub(crate) BufReader<TcpStream>);

impl Talk {
    pub(crate) fn to(address: SocketAddr) -> Talk {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut talk = Talk(BufReader::new(stream));
        assert!(talk.reply().starts_with("220 "));
        talk
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).expect("the server reads");
    }

    /// The last line of the next reply; empty when the connection is over.
    pub(crate) fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap_or(0) == 0 {
                return String::new();
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }

    pub(crate) fn say(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n"));
        self.reply()
    }

    #[track_caller]
    pub(crate) fn says(&mut self, line: &str, expected: &str) {
        let reply = self.say(line);
        assert!(reply.starts_with(expected), "{line}: {reply}, not {expected}");
    }

    #[track_caller]
    pub(crate) fn delivers(&mut self, to: &str, body: &str) -> String {
        self.says("MAIL FROM:<alice@alice.test>", "250");
        self.says(&format!("RCPT TO:<{to}>"), "250");
        self.says("DATA", "354");
        self.send(body);
        self.say(".")
    }
}

pub(crate) fn mailboxes(names: &[&str]) -> tempfile::TempDir {
    let directory = temp_dir();
    for name in names {
        std::fs::create_dir_all(directory.path().join(name)).unwrap();
    }
    directory
}

pub(crate) fn bob(directory: &Path, more: &[&str]) -> Server {
    let start = server("smtpserve").args(["--domain", "bob.test", "--mailboxes"]).arg(directory);
    start.args(["--json", "--queue-dir"]).arg(directory.join("queue")).args(more.iter().copied()).start()
}

/// Files below `MAILBOX/PLACE`.
pub(crate) fn files(directory: &Path, place: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join(place)).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// All that the server has printed once this is in it.
pub(crate) fn done(server: &Server, part: &str) -> Done {
    server.stdout.wait_for(part);
    Done {
        line: "smtpserve".into(),
        stdout: server.stdout.text().into_bytes(),
        stderr: server.stderr.text(),
        status: 0,
    }
}

#[test]
fn a_message_reaches_its_maildir() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &[]);
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO alice.test", "250");
    assert!(talk.delivers("Bob+shop@BOB.test", "Subject: hi\r\n\r\n..dot\r\nend\r\n").starts_with("250 2.0.0"));
    talk.says("QUIT", "221");
    let found = files(directory.path(), "bob/new");
    assert_eq!(found.len(), 1);
    let text = std::fs::read_to_string(&found[0]).unwrap();
    assert!(
        text.starts_with(
            "Return-Path: <alice@alice.test>\nX-Original-To: Bob+shop@BOB.test\nDelivered-To: bob+shop@bob.test\n\
             Received: from alice.test ([127.0.0.1])\n\tby bob.test"
        ),
        "{text}"
    );
    assert!(text.contains(" with ESMTP id ") && text.contains("\n\tfor <Bob+shop@BOB.test>;\n"), "{text}");
    assert!(text.ends_with("\nSubject: hi\n\n.dot\nend\n"), "{text}");
    assert!(files(directory.path(), "bob/tmp").is_empty());
    let done = done(&server, "\"type\":\"message\"");
    assert_eq!(done.records_of("message")[0]["recipients"][0], "Bob+shop@BOB.test");
    assert_eq!(server.stop(), 0);
}

#[test]
fn strangers_and_unknown_mailboxes_are_refused_at_rcpt() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &[]);
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO alice.test", "250");
    talk.says("MAIL FROM:<alice@alice.test>", "250");
    let refused = [
        ("eve@bob.test", "550 5.1.1"),
        ("bob@far.test", "550 5.7.1"),
        ("bob@[127.0.0.1]", "550 5.7.1"),
        ("..@bob.test", "553"),
        ("\"..\"@bob.test", "550 5.1.1"),
        ("\"../bob\"@bob.test", "550 5.1.1"),
        ("\".\"@bob.test", "550 5.1.1"),
        ("\"bob@far.test\"@bob.test", "550 5.1.1"),
        ("@far.test:eve@bob.test", "550 5.1.1"),
        ("bob%far.test@bob.test", "550 5.1.1"),
    ];
    for (address, code) in refused {
        talk.says(&format!("RCPT TO:<{address}>"), code);
    }
    talk.says("RCPT TO:<Postmaster>", "250");
    talk.says("RCPT TO:<bob@bob.test>", "250");
    talk.says("DATA", "354");
    talk.send("x\r\n");
    talk.says(".", "250");
    assert_eq!(files(directory.path(), "bob/new").len(), 1);
    assert_eq!(files(directory.path(), "postmaster/new").len(), 1);
    let done = done(&server, "\"type\":\"message\"");
    assert_eq!(done.records_of("refused").len(), refused.len() - 1, "all but the malformed one\n{done}");
}

#[test]
fn who_logged_in_may_relay_through_the_queue() {
    let directory = mailboxes(&["bob"]);
    let hash = tool("smtpserve").arg("--hash-password").stdin("s3cret\n").run();
    let users = directory.path().join("users");
    std::fs::write(&users, format!("tim:{}", hash.silent_success().text())).unwrap();
    let users = users.to_str().unwrap();
    let server = bob(directory.path(), &["--user-file", users, "--auth-in-clear"]);
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO tim.test", "250");
    talk.says("AUTH PLAIN AHRpbQB3cm9uZw==", "535");
    talk.says("AUTH PLAIN AHRpbQBzM2NyZXQ=", "235");
    talk.says("MAIL FROM:<tim@bob.test>", "250");
    talk.says("RCPT TO:<x@far.test> NOTIFY=NEVER", "250");
    talk.says("RCPT TO:<bob@bob.test>", "250");
    talk.says("DATA", "354");
    talk.send("Subject: both\r\n\r\nx\r\n");
    talk.says(".", "250");
    assert_eq!(files(directory.path(), "bob/new").len(), 1);
    let listed = tool("mailq-ls").arg("--json").arg("--queue-dir").arg(directory.path().join("queue")).run();
    listed.exits(0).prints("x@far.test");
    assert!(!listed.text().contains("bob@bob.test"), "{listed}");
    let done = done(&server, "\"type\":\"message\"");
    for (login, accepted) in done.records_of("login").iter().zip([false, true]) {
        assert_eq!(
            (&login["user"], &login["ip"], &login["accepted"]),
            (&"tim".into(), &"127.0.0.1".into(), &accepted.into())
        );
    }
    assert_eq!(done.records_of("login").len(), 2, "{done}");
    assert!(done.records_of("message")[0]["queue_id"].is_string(), "{done}");
}

#[test]
fn clients_of_a_trusted_network_may_relay() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &["--relay-from", "127.0.0.0/8"]);
    let mut talk = Talk::to(server.addr);
    talk.says("HELO a", "250");
    assert!(talk.delivers("x@far.test", "x\r\n").starts_with("250"));
    let other = bob(directory.path(), &["--relay-from", "192.0.2.0/24"]);
    let mut talk = Talk::to(other.addr);
    talk.says("HELO a", "250");
    talk.says("MAIL FROM:<>", "250");
    talk.says("RCPT TO:<x@far.test>", "550 5.7.1");
}

/// Every path below a directory, with the bytes of its files.
fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        // What is gone by now was no part of the tree.
        found.insert(path.clone(), std::fs::read(&path).unwrap_or_default());
        found.extend(tree(&path));
    }
    found
}

#[test]
fn a_question_makes_no_mailbox_and_a_message_makes_one() {
    let directory = mailboxes(&["mail/bob", "mail/sub.test"]);
    let mail = directory.path().join("mail");
    let server = server("smtpserve")
        .args(["--domain", "bob.test", "--domain", "sub.test", "--create", "--max-recipients", "6000", "--mailboxes"])
        .arg(&mail)
        .start();
    let before = tree(&mail);
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO a", "250");
    for domain in ["bob.test", "sub.test"] {
        talk.says("MAIL FROM:<a@a.test>", "250");
        for _ in 0..25 {
            let names = (0..100).map(|n| format!("RCPT TO:<box{n}@{domain}>\r\n"));
            talk.send(names.collect::<String>());
            (0..100).for_each(|_| assert!(talk.reply().starts_with("250")));
        }
        for known in ["bob", "Bob+shop", "postmaster"] {
            talk.says(&format!("RCPT TO:<{known}@{domain}>"), "250");
        }
        talk.says(&format!("VRFY bob@{domain}"), "252");
        talk.says(&format!("EXPN bob@{domain}"), "502");
        talk.says("RSET", "250");
    }
    assert_eq!(tree(&mail), before, "questions leave the directory as it was");
    talk.says("MAIL FROM:<a@a.test>", "250");
    talk.says("RCPT TO:<new@bob.test>", "250");
    talk.says("DATA", "354");
    talk.send("half a line\r\n".repeat(100_000));
    drop(talk);
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO a", "250");
    talk.says("MAIL FROM:<a@a.test>", "250");
    talk.says("RCPT TO:<gone@bob.test>", "250");
    talk.send("BDAT 10\r\n0123456789");
    assert!(talk.reply().starts_with("250"));
    talk.says("RSET", "250");
    assert_eq!(tree(&mail), before, "a message that is broken off makes nothing");
    assert!(talk.delivers("new+x@bob.test", "x\r\n").starts_with("250"));
    let made: Vec<PathBuf> =
        tree(&mail).into_keys().filter(|path| !before.contains_key(path) && path.is_dir()).collect();
    assert_eq!(made, ["new", "new/cur", "new/new", "new/tmp"].map(|name| mail.join(name)));
    assert_eq!(files(&mail, "new/new").len(), 1);
}

#[test]
fn large_messages_arrive_whole() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &["--max-size", "3M"]);
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO a", "250");
    let body: String = (0..40_000).map(|line| format!("line {line} of a long message\r\n")).collect();
    assert!(talk.delivers("bob@bob.test", &body).starts_with("250"));
    let text = std::fs::read_to_string(&files(directory.path(), "bob/new")[0]).unwrap();
    assert!(text.ends_with(&body.replace("\r\n", "\n")), "{} bytes arrived", text.len());
    assert!(talk.delivers("bob@bob.test", &body.repeat(3)).starts_with("552 5.3.4"));
    assert!(talk.delivers("bob@bob.test", "after\r\n").starts_with("250"));
    assert_eq!(files(directory.path(), "bob/new").len(), 2);
}

#[test]
fn a_message_is_written_once_where_it_stays() {
    let directory = mailboxes(&["bob", "eve"]);
    let queue = directory.path().join("queue");
    let server = server("smtpserve")
        .args(["--domain", "bob.test", "--relay-from", "127.0.0.1", "--max-size", "9M", "--mailboxes"])
        .arg(directory.path())
        .arg("--queue-dir")
        .arg(&queue)
        .env("TMPDIR", "/nonexistent")
        .start();
    let written = || -> u64 {
        let counters = std::fs::read_to_string(format!("/proc/{}/io", server.pid())).unwrap();
        counters.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().parse().unwrap()
    };
    let line = format!("{}\r\n", "x".repeat(62));
    let body = line.repeat(8 * 1024 * 16);
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO a", "250");
    // A mailbox has other line ends than what arrives: its copy is the second.
    for (recipients, times) in [
        (vec!["a@far.test"], 1),
        (vec!["a@far.test", "b@far.test"], 1),
        (vec!["a@far.test", "bob@bob.test"], 2),
        (vec!["bob@bob.test", "BOB@bob.test"], 2),
        (vec!["bob@bob.test", "eve@bob.test"], 3),
    ] {
        let before = written();
        talk.says("MAIL FROM:<a@a.test>", "250");
        recipients.iter().for_each(|to| talk.says(&format!("RCPT TO:<{to}>"), "250"));
        talk.says("DATA", "354");
        talk.send(&body);
        talk.says(".", "250");
        let (size, written) = (body.len() as u64, written() - before);
        assert!(written > size * times * 9 / 10 && written < size * times + size / 2, "{recipients:?}: {written}");
    }
    let queued = || files(&queue, "body").len();
    assert_eq!((queued(), files(directory.path(), "bob/new").len()), (3, 3));
    // What is broken off leaves nothing.
    let begin = |talk: &mut Talk| {
        talk.says("MAIL FROM:<a@a.test>", "250");
        talk.says("RCPT TO:<a@far.test>", "250");
    };
    begin(&mut talk);
    talk.send(format!("BDAT {}\r\n{body}", body.len()));
    assert!(talk.reply().starts_with("250"));
    assert_eq!(queued(), 4);
    talk.says("RSET", "250");
    assert_eq!(queued(), 3, "given up");
    begin(&mut talk);
    talk.says("DATA", "354");
    talk.send(&body);
    talk.send(&body);
    talk.says(".", "552");
    assert_eq!(queued(), 3, "too big");
    begin(&mut talk);
    talk.says("DATA", "354");
    talk.send(&body);
    drop(talk);
    let started = std::time::Instant::now();
    while queued() != 3 {
        assert!(started.elapsed() < Duration::from_secs(20), "a client that vanished leaves its file");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_message_that_goes_in_circles_is_refused() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &["--max-hops", "5"]);
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO a", "250");
    let hops = |count: usize| format!("{}\r\nx\r\n", "Received: from a by b\r\n".repeat(count));
    assert!(talk.delivers("bob@bob.test", &hops(4)).starts_with("250"));
    assert!(talk.delivers("bob@bob.test", &hops(5)).starts_with("554 5.4.6"));
    done(&server, "5.4.6");
}

#[test]
fn lmtp_answers_each_recipient() {
    let directory = mailboxes(&["bob", "eve"]);
    let server = bob(directory.path(), &["--lmtp"]);
    assert!(server.url.starts_with("lmtp://"), "{}", server.url);
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO a", "500");
    talk.says("LHLO a", "250");
    talk.says("MAIL FROM:<>", "250");
    talk.says("RCPT TO:<bob@bob.test>", "250");
    talk.says("RCPT TO:<eve@bob.test>", "250");
    talk.says("RCPT TO:<nobody@bob.test>", "550");
    talk.says("DATA", "354");
    talk.send("x\r\n");
    talk.says(".", "250");
    assert!(talk.reply().starts_with("250"));
    talk.says("NOOP", "250");
    assert_eq!(files(directory.path(), "eve/new").len(), 1);
}

#[test]
fn a_client_that_vanishes_after_any_byte_leaves_nothing_half_written() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &[]);
    let dialogue =
        b"EHLO a\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<bob@bob.test>\r\nDATA\r\nSubject: x\r\n\r\nbody\r\n.\r\n";
    for cut in 0..dialogue.len() {
        let mut talk = Talk::to(server.addr);
        talk.send(&dialogue[..cut]);
    }
    let mut talk = Talk::to(server.addr);
    talk.send(dialogue);
    let codes: Vec<String> = (0..5).map(|_| talk.reply()[..3].to_owned()).collect();
    assert_eq!(codes, ["250", "250", "250", "354", "250"]);
    assert_eq!(files(directory.path(), "bob/new").len(), 1, "only the complete one");
    assert!(files(directory.path(), "bob/tmp").is_empty());
    assert_eq!(server.stop(), 0);
}

#[test]
fn term_drains_and_says_goodbye() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &[]);
    let mut idle = Talk::to(server.addr);
    idle.says("EHLO a", "250");
    let mut busy = Talk::to(server.addr);
    busy.says("EHLO a", "250");
    busy.says("MAIL FROM:<>", "250");
    busy.says("RCPT TO:<bob@bob.test>", "250");
    busy.says("DATA", "354");
    let stopping = std::thread::spawn(move || server.stop());
    assert!(idle.reply().starts_with("421 4.3.2"));
    busy.send("x\r\n");
    busy.says(".", "250");
    assert!(busy.reply().starts_with("421"), "no new message during the drain");
    assert_eq!(stopping.join().unwrap(), 0);
    assert_eq!(files(directory.path(), "bob/new").len(), 1);
}

#[test]
fn a_smuggler_hears_why_and_is_cut_off() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &[]);
    for ending in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r"] {
        let mut talk = Talk::to(server.addr);
        talk.send("EHLO a\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<bob@bob.test>\r\nDATA\r\n");
        (0..4).for_each(|_| drop(talk.reply()));
        let second = "MAIL FROM:<admin@bob.test>\r\nRCPT TO:<bob@bob.test>\r\nDATA\r\nfake\r\n.\r\n";
        talk.send(format!("one{ending}{second}"));
        assert!(talk.reply().starts_with("554 5.6.0"), "{ending:?}");
        let mut rest = Vec::new();
        let _ = talk.0.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{ending:?}: {}", String::from_utf8_lossy(&rest));
    }
    assert!(files(directory.path(), "bob/new").is_empty());
}

#[test]
fn a_command_line_that_cannot_work_is_refused_at_start() {
    let run = |args: &[&str]| tool("smtpserve").args(args.iter().copied()).run();
    run(&["--lmtp"]).exits(64).says("no mail would be accepted");
    run(&["--domain", "bob.test"]).exits(64).says("--mailboxes");
    run(&["--domain", "bob..test", "--mailboxes", "/"]).exits(64).says("not a domain name");
    run(&["--domain", "bob.test", "--mailboxes", "/nowhere"]).exits(66);
    run(&["--relay-from", "300.0.0.0/8"]).exits(64);
    run(&["--relay-from", "127.0.0.1", "--tls", "implicit", "--queue-dir", "q"]).exits(64).says("--self-signed");
    run(&["--user-file", "/nowhere"]).exits(78);
    tool("smtpserve").arg("--hash-password").stdin("\n").run().exits(65);
}
