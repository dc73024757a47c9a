//! mailread, and what smtpsend composes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::harness::{Conn, Done, Peer, peer, temp_dir, tool};

/// What a small SMTP server took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) message: Vec<u8>,
}

/// A server that takes everything but what `answer` refuses: it is asked with each command line and may give the reply.
pub(crate) fn sink(
    answer: impl Fn(&str) -> Option<&'static str> + Send + Sync + 'static,
) -> (Peer, Arc<Mutex<Vec<Taken>>>) {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&taken);
    (peer(move |conn| converse(conn, &answer, &kept)), taken)
}

fn converse(mut conn: Conn, answer: &impl Fn(&str) -> Option<&'static str>, kept: &Mutex<Vec<Taken>>) {
    conn.send("220 sink.test ready\r\n");
    let mut current = Taken::default();
    while let Some(line) = conn.line() {
        let verb = line.split(' ').next().unwrap_or_default().to_uppercase();
        let address = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        if let Some(reply) = answer(&line) {
            conn.send(format!("{reply}\r\n"));
            continue;
        }
        match verb.as_str() {
            "EHLO" => conn.send("250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000000000\r\n"),
            "MAIL" => {
                current = Taken { sender: address(), ..Taken::default() };
                conn.send("250 2.1.0 ok\r\n")
            }
            "RCPT" => {
                current.recipients.push(address());
                conn.send("250 2.1.5 ok\r\n")
            }
            "DATA" if current.recipients.is_empty() => conn.send("554 5.5.1 no valid recipients\r\n"),
            "DATA" => {
                conn.send("354 go on\r\n");
                while let Some(line) = conn.line() {
                    if line == "." {
                        break;
                    }
                    let line = line.strip_prefix('.').unwrap_or(&line);
                    current.message.extend_from_slice(line.as_bytes());
                    current.message.extend_from_slice(b"\r\n");
                }
                kept.lock().unwrap().push(std::mem::take(&mut current));
                conn.send("250 2.0.0 taken\r\n")
            }
            "QUIT" => {
                conn.send("221 2.0.0 bye\r\n");
                return;
            }
            _ => conn.send("250 2.0.0 ok\r\n"),
        };
    }
}

pub(crate) fn send(server: &Peer, args: &[&str]) -> crate::harness::Run {
    tool("smtpsend").args(["--server", &format!("smtp://{}", server.addr)]).args(args)
}

/// A Maildir with these messages.
pub(crate) fn maildir(messages: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = temp_dir();
    let path = folder.path().join("box");
    for name in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(path.join(name)).unwrap();
    }
    for (index, message) in messages.iter().enumerate() {
        std::fs::write(path.join("new").join(format!("{}.x{index}.host", 1_700_000_000 + index)), message).unwrap();
    }
    (folder, path)
}

pub(crate) fn read(args: &[&str], mailbox: &Path) -> Done {
    tool("mailread").args(args).arg("-m").arg(mailbox).run()
}

#[test]
fn a_composed_message_arrives_with_its_envelope() {
    let (server, taken) = sink(|_| None);
    let done = send(
        &server,
        &["--from", "Älice <alice@a.test>", "--to", "Bob <bob@b.test>", "--bcc", "eve@e.test", "-s", "Grüße"],
    )
    .args(["--json", "--header", "X-Job: 7"])
    .stdin("Hällo\n")
    .run();
    done.exits(0);
    let outcomes: Vec<_> = done.records_of("recipient").iter().map(|record| record["outcome"].clone()).collect();
    assert_eq!(outcomes, ["delivered", "delivered"]);
    let taken = taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 1);
    assert_eq!(
        (taken[0].sender.as_str(), taken[0].recipients.join(" ").as_str()),
        ("alice@a.test", "bob@b.test eve@e.test")
    );
    let text = String::from_utf8(taken[0].message.clone()).unwrap();
    assert!(text.is_ascii() && !text.contains("eve"), "{text}");
    assert!(text.contains("X-Job: 7\r\n") && text.contains("\r\nH=C3=A4llo\r\n"), "{text}");
}

#[test]
fn one_refused_recipient_stops_the_message_unless_partial() {
    let (server, taken) = sink(|line| line.contains("nobody").then_some("550 5.1.1 no such user"));
    let args = ["--from", "a@a.test", "--to", "bob@b.test, nobody@b.test", "--body", "/dev/null", "--json"];
    let whole = send(&server, &args).run();
    whole.exits(67).says("smtpsend: nobody@b.test: RCPT: 550 5.1.1 no such user");
    assert!(taken.lock().unwrap().is_empty());
    let partial = send(&server, &args).arg("--partial").run();
    partial.exits(3);
    assert_eq!(taken.lock().unwrap()[0].recipients, ["bob@b.test"]);
    assert_eq!(partial.records_of("summary")[0]["delivered"], 1);
}

#[test]
fn what_is_not_now_is_tried_again_only_when_asked() {
    let (server, taken) = sink({
        let tries = Mutex::new(0);
        move |line| {
            let mut tries = tries.lock().unwrap();
            *tries += usize::from(line.starts_with("RCPT"));
            (line.starts_with("RCPT") && *tries < 3).then_some("450 4.2.0 later")
        }
    });
    let args = ["--from", "a@a.test", "--to", "b@b.test", "--body", "/dev/null", "--retry-delay", "0.01"];
    send(&server, &args).run().exits(75);
    assert!(taken.lock().unwrap().is_empty());
    send(&server, &args).args(["--retry", "2", "-q"]).run().silent_success();
    assert_eq!(taken.lock().unwrap().len(), 1);
}

#[test]
fn a_complete_message_leaves_as_it_came() {
    let (server, taken) = sink(|_| None);
    let message = "Received: by x\nTo: Bob <b@b.test>,\n\tc@b.test\nBcc: d@b.test\nSubject: =?utf-8?q?x?=\nFrom: a@a.test\n\
        Date: Mon, 23 Nov 2026 05:00:00 +0000\nMessage-ID: <1@a.test>\n\n.\n..dots\n trailing \nend";
    send(&server, &["-t", "-i", "-f", "<>"]).stdin(message).run().silent_success();
    let taken = taken.lock().unwrap().clone();
    assert_eq!(taken[0].sender, "");
    assert_eq!(taken[0].recipients, ["b@b.test", "c@b.test", "d@b.test"]);
    let expected = message.replace("Bcc: d@b.test\n", "").replace('\n', "\r\n") + "\r\n";
    assert_eq!(String::from_utf8(taken[0].message.clone()).unwrap(), expected);
}

#[test]
fn a_missing_author_is_added_and_a_bare_return_refused() {
    let (server, taken) = sink(|_| None);
    send(&server, &["-F", "Jörg X", "-f", "j@a.test", "b@b.test"]).stdin("Subject: x\n\ny\n").run().silent_success();
    let text = String::from_utf8(taken.lock().unwrap()[0].message.clone()).unwrap();
    assert!(text.contains("From: =?UTF-8?Q?J=C3=B6rg_X?= <j@a.test>\r\n"), "{text}");
    assert!(text.contains("\r\nDate: ") && text.contains("\r\nMessage-ID: <"), "{text}");
    send(&server, &["-t"]).stdin("To: b@b.test\n\nx\ry\n").run().exits(65).says("line 3: carriage return");
}

#[test]
fn nothing_is_injected_through_any_flag() {
    let (server, taken) = sink(|_| None);
    let evil = "x\r\nRCPT TO:<evil@e.test>";
    let good = ["--from", "a@a.test", "--to", "b@b.test", "--body", "/dev/null"];
    let quoted = format!("\"{evil}\" <a@a.test>");
    let attach = format!("/dev/null;name={evil}");
    let kind = format!("/dev/null;type=text/plain\r\nX: {evil}");
    let header = format!("X: {evil}");
    for extra in [
        ["--from", &quoted],
        ["--to", &quoted],
        ["--cc", evil],
        ["--bcc", evil],
        ["--reply-to", &quoted],
        ["--subject", evil],
        ["--header", &header],
        ["--header", "Bcc: evil@e.test"],
        ["--header", "A\r\nB: c"],
        ["--attach", &attach],
        ["--attach", &kind],
        ["--inline", &attach],
        ["--in-reply-to", evil],
        ["--helo", evil],
        ["--envid", evil],
        ["-f", evil],
    ] {
        let mut args: Vec<&str> = good.to_vec();
        if extra[0] == "--from" {
            args.drain(0..2);
        }
        args.extend(extra);
        let done = send(&server, &args).run();
        assert!([64, 65].contains(&done.status), "{extra:?}\n{done}");
    }
    send(&server, &["--from", "a@a.test", "--body", "/dev/null", evil]).run().exits(64);
    assert!(taken.lock().unwrap().is_empty());
}

#[test]
fn a_dry_run_prints_the_message_and_connects_nowhere() {
    let args = ["-n", "--from", "a@a.test", "--to", "b@b.test", "-s", "x"];
    let done = tool("smtpsend").args(args).stdin("text\n").run();
    done.silent_success().prints("Subject: x\n").prints("\n\ntext\n");
    assert!(!done.stdout.contains(&b'\r'));
    tool("smtpsend").args(args).arg("--json").stdin("text\n").run().exits(64);
}

#[test]
fn two_readers_of_stdin_and_mixed_modes_are_usage_errors() {
    let to = ["--server", "smtp://127.0.0.1:1", "--to", "b@b.test", "--from", "a@a.test"];
    for args in [
        &["--body", "-", "--html", "-"][..],
        &["--body", "-", "--user", "u", "--password-file", "-"],
        &["-t"],
        &["--queue"],
        &["--body", "/dev/null", "--header", "no colon"],
        &["--body", "/dev/null", "--attach", "/dev/null;colour=red"],
        &["--body", "/dev/null", "--notify", "sometimes"],
    ] {
        tool("smtpsend").args(to).args(args).run().exits(64);
    }
    tool("smtpsend").args(["--to", "b@b.test"]).run().exits(64).says("no destination");
}

#[test]
fn what_is_queued_is_on_disk() {
    let folder = temp_dir();
    let queue = folder.path().join("queue");
    let done = tool("smtpsend")
        .args(["--queue", "--from", "a@a.test", "--to", "b@b.test", "-s", "x", "--json", "--queue-dir"])
        .arg(&queue)
        .stdin("text\n")
        .run();
    done.silent_success();
    let record = &done.records_of("recipient")[0];
    assert_eq!((record["outcome"].as_str(), record["queue"].as_str()), (Some("queued"), queue.to_str()));
    assert!(record["queue_id"].is_string());
}

#[test]
fn the_list_is_one_line_a_message() {
    let (_folder, path) = maildir(&[
        "From: =?utf-8?q?J=C3=B6rg?= <j@x.test>\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nDate: Mon, 23 Nov 2026 05:00:00 +0000\n\nx\n",
        "From: b@x.test\nSubject: two\n\ttabs\nDate: Mon, 23 Nov 2026 06:00:00 +0100\nMessage-ID: <2@x.test>\n\ny\n",
    ]);
    let done = read(&["list"], &path);
    done.silent_success();
    assert_eq!(done.text(), "1\tN\t2026-11-23 05:00\tJörg\tGrüße\n2\tN\t2026-11-23 05:00\tb@x.test\ttwo\\ttabs\n");
    let json = read(&["list", "--json"], &path);
    assert_eq!(json.records()[1]["message_id"], "<2@x.test>");
    assert_eq!(json.records()[0]["from"][0]["name"], "Jörg");
    assert_eq!(read(&["list", "--from", "JÖRG"], &path).silent_success().text().lines().count(), 1);
    assert_eq!(read(&["list", "<2@x.test>"], &path).silent_success().text().lines().count(), 1);
    read(&["list", "--subject", "nothing like it"], &path).exits(1);
    read(&["list", "3"], &path).exits(66);
    read(&["list", "x"], &path).exits(64);
}

#[test]
fn flags_are_set_and_unread_follows() {
    let (_folder, path) = maildir(&["From: a@x.test\n\n1\n", "From: b@x.test\n\n2\n"]);
    read(&["flag", "1", "--add", "seen,flagged"], &path).silent_success();
    assert_eq!(read(&["list"], &path).text().lines().next().unwrap().split('\t').nth(1), Some("-FS"));
    assert!(read(&["list", "-u"], &path).text().starts_with("2\t"));
    read(&["flag", "2", "--add", "S", "-n"], &path).exits(0);
    let json = read(&["flag", "all", "--remove", "F", "--json"], &path);
    assert_eq!(json.records()[0]["flags"], "S");
    read(&["flag", "1", "--add", "wonderful"], &path).exits(64);
    read(&["flag", "1"], &path).exits(64);
}

const WITH_FILES: &str = "From: a@x.test\nSubject: files\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
    Content-Type: text/plain; charset=utf-8\n\nHällo \x1b[31m\n--b\nContent-Type: application/x; name=a.bin\n\
    Content-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=\"../../a.bin\"\n\nAAECAw0KDQ==\n--b\n\
    Content-Type: text/plain; charset=iso-8859-1\nContent-Disposition: attachment; filename*=utf-8''%C3%BC.txt\n\
    Content-Transfer-Encoding: quoted-printable\n\n=FC=\n\n--b--\n";

#[test]
fn attachments_come_out_byte_for_byte_and_overwrite_nothing() {
    let (folder, path) = maildir(&[WITH_FILES]);
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let args = ["extract", "1", "-o", out.to_str().unwrap()];
    let done = read(&args, &path);
    done.silent_success();
    assert_eq!(done.text(), format!("{0}/a.bin\n{0}/ü.txt\n", out.display()));
    assert_eq!(std::fs::read(out.join("a.bin")).unwrap(), b"\x00\x01\x02\x03\r\n\r");
    assert_eq!(std::fs::read(out.join("ü.txt")).unwrap(), b"\xfc");
    let again = read(&[&args[..], &["--json"]].concat(), &path);
    assert_eq!(again.records()[0]["path"], format!("{}/a-2.bin", out.display()));
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 4);
    let stdout = read(&["extract", "--part", "2", "-o", "-"], &path);
    assert_eq!(stdout.silent_success().stdout, b"\x00\x01\x02\x03\r\n\r");
    read(&["extract", "-o", "-"], &path).exits(64);
    read(&["extract", "--part", "9"], &path).exits(66);
    read(&["extract", "-o", "/dev/null/x"], &path).exits(73);
}

#[test]
fn shown_text_is_safe_and_raw_is_exact() {
    let (_folder, path) = maildir(&[WITH_FILES]);
    let done = read(&["show"], &path);
    done.silent_success().prints("Subject: files\n").prints("Hällo ␛[31m").prints("a.bin application/x, 7 bytes]");
    assert_eq!(read(&["show", "--raw"], &path).silent_success().text(), WITH_FILES);
    let json = read(&["show", "--json"], &path);
    assert_eq!(json.records()[0]["parts"].as_array().unwrap().len(), 3);
    read(&["show", "--add", "S"], &path).exits(64);
}

#[test]
fn a_reply_goes_straight_to_smtpsend() {
    let (_folder, path) = maildir(&["From: Jörg <j@x.test>\nSubject: Grüße\nMessage-ID: <1@x.test>\n\nHällo\n"]);
    let reply = read(&["reply"], &path);
    reply.silent_success();
    let (server, taken) = sink(|_| None);
    let mut text = reply.stdout.clone();
    text.extend_from_slice("Schön!\n".as_bytes());
    send(&server, &["-t", "-f", "bob@b.test"]).stdin(text).run().silent_success();
    let taken = taken.lock().unwrap()[0].clone();
    assert_eq!(taken.recipients, ["j@x.test"]);
    let text = String::from_utf8(taken.message).unwrap();
    assert!(
        text.contains("In-Reply-To: <1@x.test>\r\n") && text.contains("> Hällo\r\n") && text.ends_with("Schön!\r\n")
    );
}

#[test]
fn mailboxes_of_every_kind() {
    let mbox = "From a@x.test Mon Nov 23 05:00:00 2026\nFrom: a@x.test\nSubject: one\nStatus: RO\n\n>From me\n\n\
        From b@x.test Mon Nov 23 05:00:01 2026\nFrom: b@x.test\nSubject: two\n\ny\n\n";
    let done = tool("mailread").args(["list", "-m", "-", "-u"]).stdin(mbox).run();
    assert_eq!(done.silent_success().text(), "2\tN\t2026-11-23 05:00\tb@x.test\ttwo\n");
    let raw = tool("mailread").args(["show", "--raw", "1", "-m", "-"]).stdin(mbox).run();
    assert!(raw.silent_success().text().ends_with("\n\nFrom me\n"));
    let single = tool("mailread").args(["show", "-m", "-"]).stdin("Subject: x\n\nlone\n").run();
    single.silent_success().prints("lone");
    tool("mailread").args(["list", "-m", "-"]).stdin("").run().silent_success();
    tool("mailread").arg("list").run().exits(66);
    let (folder, path) = maildir(&["Subject: home\n\nx\n"]);
    tool("mailread").arg("list").env("MAIL", &path).run().silent_success().prints("home");
    std::fs::rename(&path, folder.path().join("Maildir")).unwrap();
    tool("mailread").arg("list").home(folder.path()).run().silent_success().prints("home");
    let (_folder, empty) = maildir(&[]);
    read(&["list"], &empty).silent_success();
    read(&["list", "-u"], &empty).exits(1);
}

#[test]
fn each_domain_gets_the_message_at_its_own_server() {
    let commands: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&commands);
    let (server, taken) = sink(move |line| {
        heard.lock().unwrap().push(line.to_owned());
        line.contains("<no@").then_some("550 5.1.1 nobody")
    });
    let folder = temp_dir();
    let zone = "$ORIGIN b.test.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ MX 10 mail\nmail A 127.0.0.1\n";
    std::fs::write(folder.path().join("b.zone"), zone).unwrap();
    std::fs::write(folder.path().join("c.zone"), zone.replace("b.test", "c.test")).unwrap();
    let dns = crate::harness::server("dnsserve").args(["b.zone", "c.zone"]).dir(folder.path()).start();
    let mx = |to: &str| {
        tool("smtpsend")
            .args(["--mx", "--mx-port", &server.addr.port().to_string(), "--resolver", &dns.addr.to_string()])
            .args(["--from", "a@a.test", "--body", "/dev/null", "--json"])
            .args(to.strip_suffix(" --partial").map(|_| "--partial"))
            .args(["--to", to.trim_end_matches(" --partial")])
            .run()
    };
    let done = mx("x@b.test, y@c.test, z@B.test");
    done.exits(0);
    assert_eq!(done.records_of("summary")[0]["delivered"], 3);
    assert_eq!(done.records_of("recipient")[0]["host"], "mail.b.test");
    let mut recipients: Vec<Vec<String>> = taken.lock().unwrap().iter().map(|it| it.recipients.clone()).collect();
    recipients.sort();
    assert_eq!(recipients, [vec!["x@b.test".to_owned(), "z@B.test".into()], vec!["y@c.test".into()]]);
    mx("x@nowhere.b.test").exits(68);
    // One that is refused, or has no server, keeps the message from everybody, unless --partial.
    let before = taken.lock().unwrap().len();
    for (other, status) in [("no@c.test", 67), ("y@nowhere.c.test", 68)] {
        commands.lock().unwrap().clear();
        let done = mx(&format!("x@b.test, {other}"));
        done.exits(status);
        let details: Vec<String> = done.records_of("recipient").iter().map(|it| it["outcome"].to_string()).collect();
        assert_eq!(details, ["\"deferred\"", "\"refused\""], "\n{done}");
        assert_eq!(done.records_of("recipient")[0]["detail"], format!("not sent: {other} was not accepted"));
        assert!(!commands.lock().unwrap().iter().any(|line| line == "DATA"), "{commands:?}");
    }
    assert_eq!(taken.lock().unwrap().len(), before);
    mx("x@b.test, y@nowhere.c.test --partial").exits(3);
    mx("no@c.test, x@b.test --partial").exits(3);
    assert_eq!(taken.lock().unwrap().len(), before + 2);
}

#[test]
fn eight_bits_become_seven_for_a_server_that_takes_no_others() {
    let (server, taken) = sink(|line| line.starts_with("EHLO").then_some("250-old.test\r\n250 SIZE"));
    let message = "Subject: Grüße\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
        Content-Transfer-Encoding: 8bit\nDate: x\nMessage-ID: <1@a.test>\nFrom: a@a.test\n\nHällo\n";
    send(&server, &["-f", "a@a.test", "b@b.test"]).stdin(message).run().silent_success();
    let text = String::from_utf8(taken.lock().unwrap()[0].message.clone()).unwrap();
    assert!(
        text.starts_with("Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n") && text.ends_with("\r\nH=C3=A4llo\r\n"),
        "{text}"
    );
    let signed = send(&server, &["b@b.test"]).stdin(format!("DKIM-Signature: v=1\n{message}")).run();
    signed.exits(69).says("it is signed");
    assert_eq!(taken.lock().unwrap().len(), 1);
}

#[test]
fn every_message_of_a_mailbox_goes_over_one_connection() {
    let connections = Arc::new(Mutex::new(0));
    let count = Arc::clone(&connections);
    let (server, taken) = sink(move |line| {
        *count.lock().unwrap() += usize::from(line.starts_with("EHLO"));
        line.contains("nobody").then_some("550 5.1.1 no")
    });
    let message =
        |number: usize, to: &str| format!("From: a@a.test\nTo: {to}\nBcc: c@c.test\nSubject: {number}\n\nx\n");
    let (folder, box_) = maildir(&[&message(1, "b@b.test"), &message(2, "nobody@b.test"), &message(3, "b@b.test")]);
    let mbox = format!(
        "From x Mon Nov 23 05:00:00 2026\n{}\n>From me\n\nFrom y Mon Nov 23 05:00:00 2026\n{}\n",
        message(4, "b@b.test"),
        message(5, "b@b.test")
    );
    std::fs::write(folder.path().join("mbox"), mbox).unwrap();
    let loose = folder.path().join("loose");
    std::fs::create_dir(&loose).unwrap();
    std::fs::write(loose.join("a.eml"), message(6, "b@b.test")).unwrap();
    std::fs::write(loose.join("b.eml"), "To: b@b.test\n\nbare\rreturn\n").unwrap();
    let run = |extra: &[&str]| {
        send(&server, &["--json", "--each"])
            .arg(&box_)
            .args(["--each", "mbox", "--each", "loose"])
            .args(extra)
            .dir(folder.path())
            .run()
    };
    let done = run(&[]);
    done.exits(3).says("loose/b.eml: line 3: carriage return");
    assert_eq!(*connections.lock().unwrap(), 1, "{done}");
    let subjects = |taken: &[Taken]| -> Vec<String> {
        let line = |it: &Taken| {
            String::from_utf8_lossy(&it.message).lines().find(|line| line.starts_with("Subject")).unwrap().to_owned()
        };
        taken.iter().map(line).collect()
    };
    let expected = ["Subject: 1", "Subject: 3", "Subject: 4", "Subject: 5", "Subject: 6"];
    assert_eq!(subjects(&taken.lock().unwrap()), expected);
    assert!(
        taken.lock().unwrap().iter().all(|it| it.recipients == ["b@b.test", "c@c.test"] && it.sender == "a@a.test")
    );
    assert!(done.records_of("recipient").iter().all(|it| it["source"].is_string()));
    taken.lock().unwrap().clear();
    run(&["--concurrency", "4"]).exits(3);
    let mut again = subjects(&taken.lock().unwrap());
    again.sort();
    assert_eq!(again, expected);
    let queue = folder.path().join("queue");
    let queued = tool("smtpsend").args(["--queue", "--json", "--queue-dir"]).arg(&queue).arg("--each").arg(&box_).run();
    queued.exits(0);
    assert_eq!(queued.records_of("summary")[0]["queued"], 6);
    send(&server, &["--each", "nowhere"]).run().exits(66);
    send(&server, &["--each", "x", "--to", "b@b.test"]).run().exits(64);
}

#[test]
fn a_copy_is_kept_of_what_was_sent() {
    let (server, _taken) = sink(|line| line.contains("nobody").then_some("550 5.1.1 no"));
    let folder = temp_dir();
    let run = |to: &str, mailbox: &str| {
        send(&server, &["--from", "a@a.test", "--to", to, "-s", "kept", "--save-to", mailbox])
            .dir(folder.path())
            .stdin("x\n")
            .run()
    };
    run("b@b.test", "Sent/").silent_success();
    run("b@b.test", "sent.mbox").silent_success();
    run("b@b.test", "sent.mbox").silent_success();
    run("nobody@b.test", "sent.mbox").exits(67);
    let count = |mailbox: &str| read(&["list"], &folder.path().join(mailbox)).text().lines().count();
    assert_eq!((count("Sent"), count("sent.mbox")), (1, 2));
    assert!(read(&["list"], &folder.path().join("Sent")).text().starts_with("1\t-S\t"));
    run("b@b.test", "/nonexistent/x").exits(3).says("--save-to");
}

#[test]
fn what_cannot_be_delivered_now_goes_into_the_queue() {
    let (server, taken) = sink(|line| {
        let refused = line.contains("nobody").then_some("550 5.1.1 no");
        refused.or_else(|| line.contains("later").then_some("450 4.2.0 later"))
    });
    let folder = temp_dir();
    let run = |to: &str, extra: &[&str]| {
        send(&server, &["--from", "a@a.test", "--body", "/dev/null", "--json", "--queue-on-failure", "--queue-dir"])
            .arg(folder.path().join("queue"))
            .args(["--to", to])
            .args(extra)
            .run()
    };
    let done = run("later@b.test, b@b.test", &[]);
    done.exits(0);
    assert_eq!(done.records_of("summary")[0]["queued"], 2);
    run("later@b.test, nobody@b.test", &[]).exits(67);
    let partly = run("later@b.test, nobody@b.test, b@b.test", &["--partial"]);
    partly.exits(3);
    let summary = &partly.records_of("summary")[0];
    assert_eq!((&summary["queued"], &summary["refused"], &summary["delivered"]), (&1.into(), &1.into(), &1.into()));
    assert_eq!(taken.lock().unwrap().len(), 1);
    let dead = crate::harness::refusing();
    let queued = tool("smtpsend")
        .args([
            "--server",
            &format!("smtp://{}", dead.addr),
            "--from",
            "a@a.test",
            "--to",
            "b@b.test",
            "--queue-on-failure",
        ])
        .args(["--body", "/dev/null", "--queue-dir"])
        .arg(folder.path().join("queue"))
        .run();
    queued.exits(0).says("queued");
}

#[test]
fn programs_that_call_sendmail_are_understood() {
    let folder = temp_dir();
    let queue = folder.path().join("queue");
    let run = |args: &[&str], message: &str| {
        tool("smtpsend").arg("--sendmail").args(args).env("APPLAYER_QUEUE", &queue).stdin(message).run()
    };
    run(&["-oi", "-t", "-fcron@a.test"], "To: root, b@b.test\nSubject: x\n\nx\n.\ny\n").silent_success();
    run(&["-odi", "-oem", "c@c.test"], "Subject: x\n\nbefore\n.\nafter\n").silent_success();
    let listed = tool("mailq-ls").env("APPLAYER_QUEUE", &queue).run();
    listed.silent_success().prints("cron@a.test").prints("root@").prints("b@b.test").prints("c@c.test");
    run(&["-bd"], "").exits(64);
    let sizes: Vec<_> = {
        let json = tool("mailq-ls").arg("--json").env("APPLAYER_QUEUE", &queue).run();
        json.exits(0).records().iter().filter_map(|it| it["size_bytes"].as_u64()).collect()
    };
    assert!(!sizes.is_empty(), "{listed}");
}

#[test]
fn an_editor_writes_the_message_and_no_change_sends_nothing() {
    let (server, taken) = sink(|_| None);
    let run = |editor: &str| {
        send(&server, &["--edit", "--from", "a@a.test", "--to", "b@b.test", "-s", "draft"]).env("EDITOR", editor).run()
    };
    run("true").exits(75).says("nothing was changed");
    run("false").exits(75).says("failed");
    assert!(taken.lock().unwrap().is_empty());
    run("sh -c 'printf \"To: c@c.test\\nSubject: Grüße\\n\\nneu\\n\" > \"$1\"' editor").silent_success();
    let taken = taken.lock().unwrap().remove(0);
    assert_eq!(taken.recipients, ["c@c.test"]);
    let text = String::from_utf8(taken.message).unwrap();
    assert!(text.contains("Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n") && text.ends_with("\r\nneu\r\n"), "{text}");
}

#[test]
fn a_probe_asks_and_sends_nothing() {
    let (server, taken) = sink(|line| line.contains("nobody").then_some("550 5.1.1 no such user"));
    let done = send(&server, &["--probe", "--from", "a@a.test", "--to", "b@b.test, nobody@b.test", "--json"]).run();
    done.exits(67).says("nobody@b.test: RCPT: 550");
    let probe = &done.records_of("probe")[0];
    assert!(probe["capabilities"].as_array().unwrap().contains(&"PIPELINING".into()), "{done}");
    let accepted: Vec<_> = done.records_of("probe_answer").iter().map(|it| it["accepted"].clone()).collect();
    assert_eq!(accepted, [true, true, false]);
    assert!(taken.lock().unwrap().is_empty());
    send(&server, &["--probe"]).run().silent_success().prints("offers\t8BITMIME");
    tool("smtpsend").arg("--probe").run().exits(64);
}
