//! smtpserve as a lab server: what it keeps and records, how it ends, and how it fails when told to.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Done, LIMIT, Server, address_in, binary, finish, server, temp_dir, tool};
use crate::smtp::Talk;

fn lab(args: &[&str]) -> Server {
    server("smtpserve").args(["--json"]).args(args).start()
}

/// Runs a server to its end while `visit` talks to it.
fn visited(args: &[&str], visit: impl FnOnce(SocketAddr)) -> Done {
    let directory = temp_dir();
    let file = directory.path().join("address");
    let run = tool("smtpserve").args(["--listen", "127.0.0.1:0", "--address-file"]).arg(&file).args(args);
    thread::scope(|scope| {
        let run = scope.spawn(|| run.run());
        while !file.exists() {
            assert!(!run.is_finished(), "{}", run.join().unwrap());
            thread::sleep(Duration::from_millis(5));
        }
        visit(address_in(std::fs::read_to_string(&file).unwrap().trim()).unwrap());
        run.join().unwrap()
    })
}

const MAIL: &str = "From: =?utf-8?q?J=C3=B6rg?= <app@a.test>\r\nTo: bob@b.test\r\nSubject: =?utf-8?b?SMOpbGxv?=\r\n\
    MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\
    Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
    Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe: https://a.test/confirm?token=3D1.\r\n.\r\n--b\r\n\
    Content-Type: text/html\r\n\r\n<a href=\"https://a.test/confirm?token=1\">x</a> <a href='https://b.test/?a=1&amp;b=2'>y</a>\r\n\
    --b--\r\n--m\r\nContent-Type: text/csv; name=t.csv\r\nContent-Transfer-Encoding: base64\r\n\r\nYSxi\r\n--m--\r\n";

/// A message as it travels: a dot before each line that begins with one.
fn stuffed(text: &str) -> String {
    text.replace("\r\n.", "\r\n..")
}

fn send(talk: &mut Talk, to: &str, text: &str) -> String {
    talk.says("MAIL FROM:<app@a.test>", "250");
    talk.says(&format!("RCPT TO:<{to}>"), "250");
    talk.says("DATA", "354");
    talk.send(stuffed(text));
    talk.say(".")
}

fn deliver(address: SocketAddr, text: &str) {
    let mut talk = Talk::to(address);
    talk.says("EHLO app.test", "250");
    assert!(send(&mut talk, "bob@b.test", text).starts_with("250 2.0.0 captured as "));
    talk.says("QUIT", "221");
}

#[test]
fn a_record_holds_what_a_test_asks_for() {
    let directory = temp_dir();
    let kept = directory.path().join("kept");
    let server = lab(&["--capture", kept.to_str().unwrap(), "--expect", "1"]);
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO app.test", "250");
    talk.says("AUTH PLAIN AGFsaWNlAHNlc2FtZQ==", "235");
    talk.says("MAIL FROM:<app@a.test> SIZE=900 BODY=8BITMIME RET=HDRS ENVID=q+2B1 AUTH=<>", "250");
    talk.says("RCPT TO:<bob@b.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob@old.test", "250");
    talk.says("RCPT TO:<anybody@[192.0.2.1]>", "250");
    talk.says("DATA", "354");
    talk.send(stuffed(MAIL));
    assert!(talk.say(".").starts_with("250"));
    talk.says("QUIT", "221");
    let text = server.stdout.to_its_end();
    assert_eq!(server.ends(), 0);
    assert!(!text.contains("sesame") && !text.contains("c2VzYW1l"), "a password: {text}");
    let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| records.iter().find(|record| record["type"] == kind).unwrap();
    assert_eq!((&of("login")["user"], &of("login")["accepted"]), (&"alice".into(), &true.into()));
    let mail = of("message");
    let expected = serde_json::json!({
        "sender": "app@a.test",
        "recipients": ["bob@b.test", "anybody@[192.0.2.1]"],
        "user": "alice",
        "mail": {"size_bytes": 900, "body": "8BITMIME", "smtputf8": false, "ret": "HDRS", "envid": "q+1", "auth": ""},
        "rcpt": [
            {"address": "bob@b.test", "notify": "SUCCESS,DELAY", "orcpt": "rfc822;Bob@old.test"},
            {"address": "anybody@[192.0.2.1]"},
        ],
        "from": [{"name": "J\u{f6}rg", "address": "app@a.test"}],
        "subject": "H\u{e9}llo",
        "text": "Gr\u{fc}\u{df}e: https://a.test/confirm?token=1.\n.",
        "links": ["https://a.test/confirm?token=1", "https://b.test/?a=1&b=2"],
        "size_bytes": MAIL.len(),
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&mail[name], value, "{name}");
    }
    let part = |at: usize| mail["parts"][at].clone();
    assert_eq!((&part(0)["content_type"], &part(0)["charset"]), (&"text/plain".into(), &"iso-8859-1".into()));
    assert_eq!((&part(2)["name"], &part(2)["size_bytes"]), (&"t.csv".into(), &3.into()));
    let file = Path::new(mail["files"][0].as_str().unwrap());
    assert_eq!(file.parent(), Some(kept.as_path()));
    assert_eq!(file.file_stem().unwrap().to_str(), mail["id"].as_str());
    assert_eq!(std::fs::read_to_string(file).unwrap(), MAIL, "exactly what was sent");
    assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 1);
    let summary = records.last().unwrap();
    assert_eq!(
        (&summary["type"], &summary["messages"], &summary["why"]),
        (&"summary".into(), &1.into(), &"complete".into())
    );
}

#[test]
fn one_expected_message_is_what_is_printed() {
    let body = temp_dir();
    std::fs::write(body.path().join("note.txt"), "the token is 4711\n").unwrap();
    let done = visited(&["--capture", "-", "--expect", "1"], |address| {
        let run = tool("smtpsend").arg("--server").arg(format!("smtp://{address}")).args(["-s", "hi"]);
        let run =
            run.args(["--from", "a@a.test", "--to", "b@b.test", "--body"]).arg(body.path().join("note.txt")).run();
        run.silent_success();
    });
    done.exits(0).says("all mail is accepted and printed, none is delivered").prints("Subject: hi\r\n");
    assert!(done.text().ends_with("\r\n\r\nthe token is 4711\r\n"), "{done}");
    let both = visited(&["--capture", "-", "--expect", "2", "-q"], |address| {
        [1, 2].iter().for_each(|number| deliver(address, &format!("Subject: {number}\r\n\r\nFrom here\r\n")));
    });
    assert_eq!(both.exits(0).text().matches("From app@a.test ").count(), 2, "{both}");
    assert_eq!((both.text().matches("\n>From here\n").count(), both.stderr.as_str()), (2, ""), "{both}");
    let json =
        visited(&["--capture", "-", "--expect", "1", "--json"], |address| deliver(address, "Subject: j\r\n\r\nx\r\n"));
    assert_eq!(json.exits(0).records_of("message")[0]["subject"], "j");
}

#[test]
fn what_did_not_come_is_75() {
    let late = visited(&["--capture", "-", "--expect", "2", "--max-time", "0.3"], |address| {
        // It may come in time or too late.
        drop(TcpStream::connect(address));
    });
    late.exits(75).says("0 of 2 expected messages came");
    assert!(late.stdout.is_empty());
    visited(&["--capture", "-", "--max-time", "0.1"], |_| {}).exits(0);
    let server = lab(&["--capture", "-", "--expect", "2"]);
    deliver(server.addr, "Subject: one\r\n\r\nx\r\n");
    server.stdout.wait_for("\"message\"");
    let (out, err) = (server.stdout.clone(), server.stderr.clone());
    assert_eq!(server.stop(), 75);
    assert!(out.to_its_end().contains("\"messages\":1,\"expected\":2,\"why\":\"ended\""));
    assert!(err.to_its_end().contains("1 of 2 expected messages came"));
}

#[test]
fn no_more_than_expected() {
    let server = lab(&["--capture", "-", "--expect", "1"]);
    let [mut first, mut second] = [0; 2].map(|_| Talk::to(server.addr));
    for talk in [&mut first, &mut second] {
        talk.says("EHLO app.test", "250");
        talk.says("MAIL FROM:<>", "250");
        talk.says("RCPT TO:<bob>", "250");
        talk.says("DATA", "354");
        talk.send("Subject: x\r\n\r\nx\r\n");
    }
    assert!(first.say(".").starts_with("250"));
    assert!(second.say(".").starts_with("421 4.3.2"));
    first.says("MAIL FROM:<>", "421 4.3.2");
    let out = server.stdout.clone();
    assert_eq!(server.ends(), 0);
    assert_eq!(out.to_its_end().matches("\"type\":\"message\"").count(), 1);
}

#[test]
fn large_messages_and_mailboxes_keep_every_byte() {
    let directory = temp_dir();
    let at = |name: &str| directory.path().join(name);
    let big = format!("Subject: big\r\n\r\n{}", "0123456789abcdef\r\n".repeat(20_000));
    let server = lab(&["--capture", at("kept").to_str().unwrap(), "--capture-sync"]);
    deliver(server.addr, &big);
    let file = std::fs::read_dir(at("kept")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), big);
    assert_eq!(server.stop(), 0);
    std::fs::create_dir(at("box")).unwrap();
    let server = lab(&["--capture", &format!("mbox:{}", at("box/all").display())]);
    [&big, "Subject: two\r\n\r\nFrom me\r\n"].iter().for_each(|text| deliver(server.addr, text));
    assert_eq!(server.stop(), 0);
    let raw = tool("mailread").args(["show", "--raw", "2", "-m"]).arg(at("box/all")).run();
    assert_eq!(raw.exits(0).text(), "Subject: two\n\nFrom me\n");
    let list = tool("mailread").args(["list", "--json", "-m"]).arg(at("box/all")).run();
    assert_eq!(list.exits(0).records()[0]["size_bytes"], big.replace('\r', "").len());
}

#[test]
fn records_wait_for_their_reader() {
    let server = server("smtpserve").args(["--json", "--capture", "-", "--expect", "40"]).stalled_readers().start();
    let text = format!("Subject: x\r\n\r\n{}", format!("{}\r\n", "x".repeat(70)).repeat(1500));
    let sent = AtomicUsize::new(0);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            (0..40).for_each(|_| {
                deliver(server.addr, &text);
                sent.fetch_add(1, Ordering::SeqCst);
            });
        });
        // The pipe and the queue are full long before the last message.
        while sent.load(Ordering::SeqCst) < 8 {
            assert!(!sender.is_finished());
            thread::yield_now();
        }
        server.read_on();
        sender.join().unwrap();
    });
    let out = server.stdout.clone();
    assert_eq!(server.ends(), 0);
    let out = out.to_its_end();
    assert_eq!((out.matches("\"type\":\"message\"").count(), out.matches("\"dropped\"").count()), (40, 0));
}

#[test]
fn wrong_command_lines_say_why() {
    for (args, why) in [
        (&["--capture", "-", "--domain", "x.test", "--mailboxes", "m"][..], "cannot be used with"),
        (&["--capture", "-", "--relay-from", "127.0.0.1"], "cannot be used with"),
        (&["--expect", "1"], "--capture"),
        (&["--capture", "-", "--expect", "0"], "expect"),
        (&["--capture", "-", "--seed", "1"], "--fail"),
        (&["--capture", "-", "--fail", "rcpt=x"], "needs an effect"),
        (&["--capture", "-", "--fail", "starttls,code=454"], "STARTTLS is not offered"),
        (&["--capture", ""], "a directory, mbox:FILE"),
    ] {
        tool("smtpserve").args(args).run().exits(64).says(why);
    }
    tool("smtpserve").args(["--capture", "/nowhere/at/all"]).run().exits(73).says("/nowhere/at/all");
}

#[test]
fn root_prints_as_nobody() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let server = server("smtpserve").args(["--json", "--capture", "-", "--expect", "1"]).gives_up_root().start();
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    assert!(status.contains("\nUid:\t65534\t65534\t65534\t65534\n"), "{status}");
    deliver(server.addr, "Subject: x\r\n\r\nx\r\n");
    assert_eq!(server.ends(), 0);
}

/// The examples for people who test with pytest, the shell or in a workflow.
#[test]
fn the_examples_pass() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let path = format!("{}:{}", binary("smtpserve").parent().unwrap().display(), std::env::var("PATH").unwrap());
    let python = Command::new("python3").arg("--version").output().is_ok_and(|done| done.status.success());
    for (program, script) in [("sh", "mail-test.sh"), ("python3", "test_mail.py")] {
        if program == "python3" && !python {
            eprintln!("not run without python3: {script}");
            continue;
        }
        let home = temp_dir();
        let mut command = Command::new(program);
        command.arg(examples.join(script)).env("PATH", &path).env("HOME", home.path()).current_dir(home.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let done = finish(command, format!("{program} {script}"), None, LIMIT);
        assert!(done.silent_success().text().ends_with(": passed\n"), "{done}");
    }
    let workflow = std::fs::read_to_string(examples.join("ci-workflow.yml")).unwrap();
    for script in ["mail-test.sh", "test_mail.py"] {
        assert!(workflow.contains(&format!("examples/{script}\n")), "{script}");
    }
}

/// One dialogue to its end, as the codes of its replies; `-` is the end of the connection. After a refusal comes QUIT.
fn dialogue(address: SocketAddr, name: &str, phase: &str) -> Vec<String> {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut talk = Talk(BufReader::new(stream));
    let mut replies = Vec::new();
    let hello = format!("EHLO {name}");
    let mut steps = vec!["", &hello, "AUTH PLAIN AGFsaWNlAHNlc2FtZQ==", "MAIL FROM:<a@a.test>", "RCPT TO:<b@b.test>"];
    steps.extend(["DATA", "Subject: x\r\n\r\nx\r\n.", "QUIT", "NOOP"]);
    if phase == "starttls" {
        steps[2] = "STARTTLS";
    }
    for step in steps {
        if !step.is_empty() {
            // The server may be gone.
            let _ = talk.0.get_mut().write_all(format!("{step}\r\n").as_bytes());
        }
        let reply = talk.reply();
        let (over, refused) = (reply.is_empty(), reply.starts_with(['4', '5']));
        replies.push(if over { "-".to_owned() } else { reply });
        if over || step == "STARTTLS" && !refused {
            return replies;
        }
        if refused {
            let _ = talk.0.get_mut().write_all(b"QUIT\r\n");
            let reply = talk.reply();
            replies.push(if reply.is_empty() { "-".to_owned() } else { reply });
            return replies;
        }
    }
    replies
}

fn codes(replies: &[String]) -> String {
    let codes: Vec<&str> = replies.iter().map(|reply| reply.get(..3).unwrap_or(reply)).collect();
    codes.join(" ")
}

/// The phases with the codes before and at each, when nothing fails, and those after it.
const DIALOGUES: [(&str, &str, &str, &str); 11] = [
    ("connect", "", "", "220 250 235 250 250 354 250 221 -"),
    ("banner", "", "220", " 250 235 250 250 354 250 221 -"),
    ("helo", "220 ", "250", " 235 250 250 354 250 221 -"),
    ("starttls", "220 250 ", "220", ""),
    ("auth", "220 250 ", "235", " 250 250 354 250 221 -"),
    ("mail", "220 250 235 ", "250", " 250 354 250 221 -"),
    ("rcpt", "220 250 235 250 ", "250", " 354 250 221 -"),
    ("data", "220 250 235 250 250 ", "354", " 250 221 -"),
    ("body", "220 250 235 250 250 354 ", "", "250 221 -"),
    ("dot", "220 250 235 250 250 354 ", "250", " 221 -"),
    ("quit", "220 250 235 250 250 354 250 ", "221", " -"),
];

/// Every phase with every effect that it can have: its rule, what the first and the second dialogue hear.
fn fail_rows() -> Vec<(&'static str, String, String, String)> {
    let mut rows = Vec::new();
    for (phase, before, usual, after) in DIALOGUES {
        let well = format!("{before}{usual}{after}");
        let quits = match phase {
            "banner" => "-",
            "quit" => "451",
            _ => "221",
        };
        let dropped = format!("{before}-");
        let mut row = |effect: &str, first: &str, second: &str| {
            rows.push((phase, effect.to_owned(), first.to_owned(), second.to_owned()));
        };
        row("drop", &dropped, &dropped);
        row("delay=200ms", &well, &well);
        row("drop,after=1", &well, &dropped);
        row("drop,times=1", &dropped, &well);
        row("drop,percent=50", "", "");
        if !usual.is_empty() {
            let refused = format!("{before}451 {quits}");
            row("code=451", &refused, &refused);
            row("text=4.7.1 not now\\, sorry,code=451", &refused, &refused);
            row("code=451,after=1", &well, &refused);
            row("code=451,delay=200ms", &refused, &refused);
            row("code=421", &format!("{before}421 -"), &format!("{before}421 -"));
            if phase != "quit" {
                let closed = match phase {
                    "starttls" => well.clone(),
                    _ => format!("{before}{usual} -"),
                };
                row("close", &closed, &closed);
            }
        }
    }
    rows
}

#[test]
fn every_phase_fails_in_every_way() {
    let rows = fail_rows();
    let rule = |row: usize| {
        let (phase, effect, ..) = &rows[row];
        match *phase {
            "connect" | "banner" => format!("{phase},{effect}"),
            "helo" => format!("helo=row{row},{effect}"),
            _ => format!("helo=row{row},{phase},{effect}"),
        }
    };
    let start = |rules: &[String]| {
        let rules = rules.iter().flat_map(|rule| ["--fail", rule]);
        server("smtpserve").args(["--json", "--capture", "-", "--self-signed", "x", "--seed", "7"]).args(rules).start()
    };
    // Rules about names share a server; where no name is known, each has its own.
    let (alone, shared): (Vec<usize>, Vec<usize>) =
        (0..rows.len()).partition(|row| matches!(rows[*row].0, "connect" | "banner"));
    let shared_rules: Vec<String> = shared.iter().map(|row| rule(*row)).collect();
    let pair = [0; 2].map(|_| start(&shared_rules));
    let check = |servers: &[Server; 2], row: usize| {
        let (phase, effect, first, second) = &rows[row];
        let talk = |server: &Server| dialogue(server.addr, &format!("row{row}"), phase);
        if effect.contains("percent") {
            let series = servers.each_ref().map(|server| (0..16).map(|_| codes(&talk(server))).collect::<Vec<_>>());
            assert_eq!(series[0], series[1], "{phase},{effect}: one seed, one series");
            let failed = series[0].iter().filter(|codes| !codes.contains("221") && !codes.ends_with("220")).count();
            assert!((3..14).contains(&failed), "{phase},{effect}: {failed} of 16");
            return;
        }
        for expected in [first, second] {
            let began = Instant::now();
            let replies = talk(&servers[0]);
            assert_eq!(codes(&replies), *expected, "{}", rule(row));
            if effect.contains("delay") {
                assert!(began.elapsed() >= Duration::from_millis(200), "{}: {:?}", rule(row), began.elapsed());
            }
            if effect.contains("sorry") {
                assert!(replies.iter().any(|reply| reply == "451 4.7.1 not now, sorry"), "{replies:?}");
            }
        }
    };
    shared.iter().for_each(|row| check(&pair, *row));
    for row in alone {
        check(&[0; 2].map(|_| start(&[rule(row)])), row);
    }
    pair[0].stdout.wait_for("\"type\":\"fail\"");
}

#[test]
fn a_closed_session_ends_after_its_reply() {
    let server = lab(&["--capture", "-", "--self-signed", "x", "--fail", "helo=tls,starttls,close"]);
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO tls", "250");
    talk.says("STARTTLS", "220");
    assert_eq!(talk.reply(), "", "no handshake");
    let mut pipelined = Talk::to(server.addr);
    pipelined.send("EHLO a\r\nQUIT\r\nNOOP\r\n");
    assert!(pipelined.reply().starts_with("250") && pipelined.reply().starts_with("221"));
}

#[test]
fn chunks_and_lmtp_fail_as_well() {
    let server =
        lab(&["--capture", "-", "--lmtp", "--fail", "rcpt=eve@*,data,code=451", "--fail", "rcpt=joe@*,dot,code=554"]);
    let mut talk = Talk::to(server.addr);
    talk.says("LHLO a", "250");
    let begin = |talk: &mut Talk, to: &[&str]| {
        talk.says("MAIL FROM:<a@a.test>", "250");
        to.iter().for_each(|to| talk.says(&format!("RCPT TO:<{to}>"), "250"));
    };
    begin(&mut talk, &["eve@b.test"]);
    talk.send("BDAT 5\r\n");
    talk.says("QUI", "451 4.0.0");
    talk.says("RSET", "250");
    begin(&mut talk, &["bob@b.test", "joe@b.test"]);
    talk.send("BDAT 17 LAST\r\nSubject: x\r\n\r\nx\r\n");
    assert_eq!([talk.reply(), talk.reply()].map(|reply| reply[..3].to_owned()), ["554", "554"]);
    begin(&mut talk, &["bob@b.test", "tim@b.test"]);
    talk.send("BDAT 17 LAST\r\nSubject: x\r\n\r\nx\r\n");
    assert_eq!([talk.reply(), talk.reply()].map(|reply| reply[..3].to_owned()), ["250", "250"]);
    talk.says("QUIT", "221");
}
