//! What smtpsend composes and takes, delivered by other people's servers into mailboxes, and read there by Python's
//! `email` in its strict policy: every header, part and byte is what was meant.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{LIMIT, finish, server, temp_dir, tool};
use crate::peers::{Peer, Trial, Verdict, trial};
use crate::servers::{self, Served};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("postfix", "delivers what smtpsend meant, byte for byte", postfix),
    trial("opensmtpd", "delivers what smtpsend meant, byte for byte", opensmtpd),
    trial("exim4", "delivers what smtpsend meant, byte for byte", exim),
    trial("dovecot", "LMTP delivers what smtpsend meant, byte for byte", dovecot),
    trial("dovecot", "LMTP delivers what smtpserve --route passes on, byte for byte", dovecot_by_route),
    trial("aiosmtpd", "delivers what smtpsend meant, byte for byte", aiosmtpd),
    trial("postfix", "postalias finds in an alias file what smtpserve finds", postalias),
    trial("strace", "a list, a copy elsewhere and a program are on the disk before 250", synced_before_250),
    trial("postfix", "smtp-sink fails at every command in every way", sink_fails_everywhere),
    trial("postfix", "smtp-sink is slow", sink_is_slow),
    trial("postfix", "smtp-sink hides what it can", sink_hides),
];

const ROOT_ONLY: &str = "this server starts as root only";

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn postfix(peer: &Peer) -> Verdict {
    if !is_root() {
        return Verdict::NotApplicable(ROOT_ONLY);
    }
    let (server, mail) = servers::postfix(peer);
    everything_arrives(&format!("smtp://{}", server.addr()), &mail);
    Verdict::Ok
}

fn opensmtpd(peer: &Peer) -> Verdict {
    if !is_root() {
        return Verdict::NotApplicable(ROOT_ONLY);
    }
    let (server, mail) = servers::opensmtpd(peer);
    everything_arrives(&format!("smtp://{}", server.addr()), &mail);
    Verdict::Ok
}

fn exim(peer: &Peer) -> Verdict {
    if !is_root() {
        return Verdict::NotApplicable(ROOT_ONLY);
    }
    let (server, mail) = servers::exim(peer);
    everything_arrives(&format!("smtp://{}", server.addr()), &mail);
    Verdict::Ok
}

fn dovecot(peer: &Peer) -> Verdict {
    if !is_root() {
        return Verdict::NotApplicable(ROOT_ONLY);
    }
    let (server, mail) = servers::dovecot(peer);
    everything_arrives(&format!("lmtp://{}", server.addr()), &mail);
    Verdict::Ok
}

fn dovecot_by_route(peer: &Peer) -> Verdict {
    if !is_root() {
        return Verdict::NotApplicable(ROOT_ONLY);
    }
    let (dovecot, mail) = servers::dovecot(peer);
    let dir = temp_dir();
    let queue = dir.path().join("queue");
    let route = format!("b.test=lmtp://{}", dovecot.addr());
    let ours = server("smtpserve").args(["--route", &route, "--queue-dir"]).arg(&queue).start();
    let mut runner = tool("mailq-run").args(["--watch", "--queue-dir"]).arg(&queue).command(dir.path());
    let mut runner = runner.spawn().expect("mailq-run starts");
    let arrived = std::panic::catch_unwind(|| everything_arrives(&ours.url, &mail));
    runner.kill().and_then(|()| runner.wait()).expect("mailq-run ends");
    arrived.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Verdict::Ok
}

/// What a power cut after the reply leaves: each member's file is synced before it gets its name, the directory after that, the queue
/// by its log, a program has ended, and the reply comes last. At no earlier point is a half-written message visible.
fn synced_before_250(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let at = |name: &str| dir.path().join(name);
    for mailbox in ["bob", "eve", "joe"] {
        std::fs::create_dir_all(at("mail").join(mailbox)).unwrap();
    }
    std::fs::write(at("aliases"), "list: bob, eve, joe, away@c.test, |/bin/true\n").unwrap();
    let mut command = peer.command("strace", dir.path());
    command.args(["-f", "-y", "-s", "40", "-e", "trace=fsync,fdatasync,renameat2,sendto,execve", "-o"]).arg(at("log"));
    let smtpserve = tool("smtpserve").args(["--domain", "b.test", "--alias-commands", "--aliases"]).arg(at("aliases"));
    let smtpserve = smtpserve.arg("--mailboxes").arg(at("mail")).arg("--queue-dir").arg(at("queue"));
    let addr = crate::peers::free_address();
    let smtpserve = smtpserve.args(["--listen", &addr.to_string()]).command(dir.path());
    command.arg(smtpserve.get_program()).args(smtpserve.get_args());
    crate::harness::stay_root(&mut command);
    let daemon = peer.start(command, addr);
    let args = ["--server", &format!("smtp://{addr}"), "--from", "x@a.test", "--to", "list@b.test", "-s", "x"];
    tool("smtpsend").args(args).stdin("x\n").run().exits(0);
    drop(daemon);
    let log = std::fs::read_to_string(at("log")).unwrap();
    let before: Vec<&str> = log.lines().take_while(|line| !line.contains("\"250 2.0.0 taken as")).collect();
    assert!(before.len() < log.lines().count(), "no reply in {log}");
    let find = |part: &str, from: usize| {
        let found = before.iter().skip(from).position(|line| line.contains(part));
        found.map(|at| at + from).unwrap_or_else(|| panic!("no {part} behind line {from} of\n{log}"))
    };
    for mailbox in ["bob", "eve", "joe"] {
        let file = find(&format!("/mail/{mailbox}/tmp/"), 0);
        assert!(before[file].contains(" fdatasync("), "{}", before[file]);
        let moved = find(&format!("/mail/{mailbox}/new>, \""), file + 1);
        assert!(before[moved].contains("renameat2("), "{}", before[moved]);
        find(&format!("/mail/{mailbox}/new>"), moved + 1);
    }
    let program = find("execve(\"/bin/true\"", 0);
    let process = before[program].split_whitespace().next().unwrap();
    find(&format!("{process} +++ exited with 0"), program);
    // The program comes after every step that may fail for lack of space, and before all that cannot be taken back.
    assert!(
        before.iter().take(program).filter(|line| line.contains("/tmp/") && line.contains(" fdatasync(")).count() >= 3
    );
    let queued = find("/queue/queue.db-wal>", program);
    let first = before.iter().position(|line| line.contains("renameat2(") && line.contains("/new>")).unwrap();
    assert!(program < queued && queued < first, "{program} {queued} {first}");
    Verdict::Ok
}

/// Each alias leads to the addresses that Postfix finds for it.
fn postalias(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let file = dir.path().join("aliases");
    let text = "# comment: x\n\
                first: a@c.test, b@c.test\n\
                Second:\ta@c.test ,\n  # between\n\tb+x@c.test,\n\n  c@c.test\n\
                third : \"with space\"@c.test\n\
                \"fourth\": d@c.test\n\
                fifth+detail: e@c.test\n\
                post-master.x_y: f@c.test,g@c.test\n";
    std::fs::write(&file, text).unwrap();
    std::fs::write(dir.path().join("main.cf"), "compatibility_level = 3.6\n").unwrap();
    let config = dir.path().to_string_lossy().into_owned();
    let map = format!("hash:{}", file.display());
    peer.run("postalias", ["-c", &config, &map]).exits(0);
    let start = server("smtpserve").args(["--domain", "b.test", "--json", "--aliases"]).arg(&file).arg("--queue-dir");
    let ours = start.arg(dir.path().join("queue")).start();
    let keys = ["first", "second", "third", "fourth", "fifth+detail", "post-master.x_y"];
    for key in keys {
        let found = peer.run("postalias", ["-c", &config, "-q", key, &map]);
        let theirs: Vec<&str> = found.text().trim().split(',').map(str::trim).collect();
        let args = ["--server", &ours.url, "--from", "x@a.test", "--to", &format!("{key}@b.test"), "-s", key];
        tool("smtpsend").args(args).stdin("x\n").run().exits(0);
        ours.stdout.wait_for(&format!("\"recipients\":[\"{key}@b.test\"]"));
        let printed = ours.stdout.text();
        let record = printed.lines().rfind(|line| line.contains("\"deliveries\"")).expect("a record with deliveries");
        let record: serde_json::Value = serde_json::from_str(record).unwrap();
        let deliveries = record["deliveries"].as_array().unwrap().iter();
        let ours: Vec<&str> = deliveries.map(|delivery| delivery["to"].as_str().unwrap()).collect();
        assert_eq!(ours, theirs, "{key}");
    }
    let unknown =
        tool("smtpsend").args(["--server", &ours.url, "--from", "x@a.test", "--to", "fifth@b.test", "-s", "x"]);
    unknown.stdin("x\n").run().exits(67);
    peer.run("postalias", ["-c", &config, "-q", "fifth", &map]).exits(1);
    Verdict::Ok
}

fn aiosmtpd(peer: &Peer) -> Verdict {
    let (server, mail) = servers::aiosmtpd(peer);
    everything_arrives(&format!("smtp://{}", server.addr()), &mail);
    Verdict::Ok
}

const SUBJECT: &str = "Grüße aus Köln — ein langer Betreff, der gefaltet werden muss: 数据 ☀ =?x?= Ende";

/// Sends three messages and finds them whole in the mailbox.
fn everything_arrives(url: &str, mailbox: &Path) {
    let dir = temp_dir();
    let at = |name: &str| dir.path().join(name);
    let data: Vec<u8> = (0..3_000_000u32).map(|index| (index.wrapping_mul(index) >> 5) as u8).collect();
    let small = &data[..100_000];
    std::fs::write(at("Überblick \"1\".bin"), small).unwrap();
    std::fs::write(at("big.bin"), &data).unwrap();
    std::fs::write(at("löwe.png"), b"\x89PNG\r\n").unwrap();
    let text = format!("Grüße\n.\n..\nFrom here\n{}\n-- \nend \n", "lang ".repeat(400));
    let html = "<p>Grüße <img src=\"cid:löwe.png\"></p>\n";
    std::fs::write(at("text"), &text).unwrap();
    std::fs::write(at("page.html"), html).unwrap();
    let long = "word ".repeat(300);
    let composed = tool("smtpsend")
        .args(["--server", url, "--from", "\"Öztürk, Jörg\" <j@a.test>", "--to", "Bob <bob@b.test>", "-s", SUBJECT])
        .args(["--cc", "\"数据\" <carol@b.test>", "--bcc", "dave@b.test", "--reply-to", "r@a.test"])
        .args(["--in-reply-to", "<x@y.test>", "--body", "text", "--html", "page.html", "--inline", "löwe.png"])
        .args(["--attach", "Überblick \"1\".bin;type=application/x-thing", "--header"])
        .arg(format!("X-Long: {}", long.trim_end()))
        .dir(dir.path())
        .run();
    composed.exits(0);
    // The envelope had three recipients; the servers here have one mailbox for all.
    let copies = wait_for(mailbox, 1);
    let found = read(&copies[0]);
    let header = |name: &str| -> Vec<&str> {
        let all = found["header"].as_array().unwrap().iter();
        all.filter(|field| field[0] == name).map(|field| field[1].as_str().unwrap()).collect()
    };
    assert_eq!(found["defects"], serde_json::json!([]));
    assert_eq!(header("subject"), [SUBJECT]);
    assert_eq!(header("from"), ["\"Öztürk, Jörg\" <j@a.test>"]);
    assert_eq!((header("to"), header("cc")), (vec!["Bob <bob@b.test>"], vec!["数据 <carol@b.test>"]));
    assert_eq!((header("reply-to"), header("in-reply-to")), (vec!["r@a.test"], vec!["<x@y.test>"]));
    assert_eq!((header("references"), header("x-long")), (vec!["<x@y.test>"], vec![long.trim_end()]));
    assert_eq!((header("date").len(), header("message-id").len(), header("bcc").len()), (1, 1, 0));
    assert!(!std::fs::read_to_string(&copies[0]).unwrap().split("\n\n").next().unwrap().contains("\nBcc"));
    assert_eq!(found["types"][0], "multipart/mixed");
    let parts = &found["parts"];
    let crlf = |text: &str| text.replace('\n', "\r\n");
    // Quoted-printable keeps line ends as lines: they are the system's in a Maildir.
    let decoded = |part: &serde_json::Value| String::from_utf8(unhex(part[3].as_str().unwrap())).unwrap();
    assert_eq!(crlf(&decoded(&parts[0]).replace("\r\n", "\n")), crlf(&text));
    let id = found["ids"][2].as_str().unwrap().trim_matches(['<', '>']);
    assert_eq!(decoded(&parts[1]).replace("\r\n", "\n"), html.replace("cid:löwe.png", &format!("cid:{id}")));
    assert_eq!(parts[2], serde_json::json!(["image/png", "löwe.png", "inline", hex(b"\x89PNG\r\n")]));
    let thing = serde_json::json!(["application/x-thing", "Überblick \"1\".bin", "attachment", hex(small)]);
    assert!(parts[3] == thing, "the attachment arrived otherwise");
    empty(mailbox);
    // A large one, in chunks where they are offered.
    let args = ["--server", url, "--from", "j@a.test", "--to", "bob@b.test", "-s", "big", "--attach", "big.bin"];
    tool("smtpsend").args(args).dir(dir.path()).run().exits(0).silent_success();
    let found = read(&wait_for(mailbox, 1)[0]);
    let last = found["parts"].as_array().unwrap().last().unwrap();
    assert!(last[1] == "big.bin" && last[3] == hex(&data), "3 MB arrived otherwise");
    empty(mailbox);
    // A complete one, 8-bit, as it is.
    let body = "Grüße\r\n.\r\n..x\r\n\r\nFrom y\r\n \r\nEnde\r\n";
    let complete = format!(
        "From: j@a.test\r\nTo: bob@b.test\r\nDate: Mon, 23 Nov 2026 05:00:00 +0000\r\nMessage-ID: <1@a.test>\r\n\
         Subject: plain\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\n\r\n{body}"
    );
    tool("smtpsend").args(["--server", url, "-t", "-i"]).stdin(complete).run().exits(0).silent_success();
    let found = read(&wait_for(mailbox, 1)[0]);
    assert_eq!(found["defects"], serde_json::json!([]));
    let arrived = decoded(&found["parts"][0]).replace("\r\n", "\n");
    assert_eq!(arrived.trim_end_matches('\n'), body.replace("\r\n", "\n").trim_end_matches('\n'));
}

/// The messages of a Maildir once there are so many.
pub(crate) fn wait_for(mailbox: &Path, count: usize) -> Vec<PathBuf> {
    let deadline = Instant::now() + crate::peers::LIMIT;
    loop {
        let files: Vec<PathBuf> = messages(mailbox).collect();
        if files.len() >= count {
            return files;
        }
        assert!(Instant::now() < deadline, "no message in {}", mailbox.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn messages(mailbox: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(mailbox.join("new")).into_iter().flatten().map(|entry| entry.unwrap().path())
}

/// Other copies of the same message may still come: the next one is told by being alone.
fn empty(mailbox: &Path) {
    let mut quiet = 0;
    while quiet < 10 {
        quiet += 1;
        for message in messages(mailbox) {
            std::fs::remove_file(message).unwrap();
            quiet = 0;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn read(message: &Path) -> serde_json::Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/read.py");
    let mut python = Command::new("python3");
    python.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let bytes = std::fs::read(message).unwrap();
    let done = finish(python, "python3 read.py".into(), Some(bytes), LIMIT);
    serde_json::from_str(done.exits(0).text()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// smtpsend to the sink: status, and the outcome of each of two recipients.
fn tell(sink: &Served, scheme: &str, more: &[&str]) -> (i32, Vec<String>) {
    let url = format!("{scheme}://{}", sink.addr());
    let message = ["--from", "a@a.test", "--to", "b@b.test, c@b.test", "--subject", "Grüße", "--body", "-", "--json"];
    let done = tool("smtpsend").args(["--server", &url]).args(message).args(more).stdin(".dot\nGrüße\n").run();
    let records = done.records_of("recipient");
    (done.status, records.iter().map(|record| record["outcome"].as_str().unwrap().to_owned()).collect())
}

fn sink_fails_everywhere(peer: &Peer) -> Verdict {
    // -f: 5xx, -r: 4xx, -q: hangs up, -Q: 421 and hangs up.
    for command in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        for switch in ["-f", "-r", "-q", "-Q"] {
            let expected = match (switch, command) {
                // What does not know EHLO may know HELO.
                ("-f", "EHLO") => (0, "delivered"),
                ("-f", _) => (69, "refused"),
                ("-q", ".") => (3, "unknown"),
                _ => (75, "deferred"),
            };
            let sink = servers::smtp_sink(peer, &[switch, command]);
            let (status, outcomes) = tell(&sink, "smtp", &[]);
            assert_eq!((status, outcomes), (expected.0, vec![expected.1.to_owned(); 2]), "{switch} {command}");
        }
    }
    Verdict::Ok
}

fn sink_is_slow(peer: &Peer) -> Verdict {
    let delivered = (0, vec!["delivered".to_owned(); 2]);
    // What was pipelined behind a delayed command it forgets, or answers first: no PIPELINING here (-p).
    for args in [&["-w", "1"][..], &["-p", "-W", "RCPT:1"], &["-p", "-W", "DATA:1"]] {
        assert_eq!(tell(&servers::smtp_sink(peer, args), "smtp", &["--timeout", "30"]), delivered, "{args:?}");
    }
    // The end of the message has ten minutes, whatever --timeout says (RFC 5321, section 4.5.3.2.6).
    assert_eq!(tell(&servers::smtp_sink(peer, &["-p", "-W", ".:6"]), "smtp", &["--timeout", "4"]), delivered);
    let late = tell(&servers::smtp_sink(peer, &["-p", "-W", "MAIL:3"]), "smtp", &["--timeout", "1"]);
    assert_eq!(late, (75, vec!["deferred".to_owned(); 2]));
    Verdict::Ok
}

fn sink_hides(peer: &Peer) -> Verdict {
    let delivered = (0, vec!["delivered".to_owned(); 2]);
    for args in [&["-8"][..], &["-p"], &["-E"], &["-e"], &["-N"], &["-a"], &["-8", "-p", "-E", "-N", "-a"]] {
        let sink = servers::smtp_sink(peer, args);
        assert_eq!(tell(&sink, "smtp", &["--notify", "success,failure", "--ret", "hdrs"]), delivered, "{args:?}");
        assert!(servers::sunk(&sink).iter().all(|message| message.is_ascii()), "{args:?}");
    }
    assert_eq!(tell(&servers::smtp_sink(peer, &["-L"]), "lmtp", &[]), delivered);
    Verdict::Ok
}
