//! smtpserve as the place of final delivery: which mailbox, what is recorded, who is told, what is refused.

use std::path::Path;

use applayer::net::tls::{ClientTls, ClientTlsOptions};

use crate::harness::{Server, server, tool};
use crate::smtp::{Talk, bob, done, files, mailboxes};

/// The texts of the files below `MAILBOX/new`, sorted.
fn texts(directory: &Path, mailbox: &str) -> Vec<String> {
    let new = files(directory, &format!("{mailbox}/new"));
    let mut texts: Vec<String> = new.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    texts.sort();
    texts
}

fn greeted(server: &Server) -> Talk {
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO alice.test", "250");
    talk
}

/// One message for several recipients.
fn send(talk: &mut Talk, recipients: &[&str], body: &str) -> String {
    talk.says("MAIL FROM:<alice@alice.test>", "250");
    recipients.iter().for_each(|to| talk.says(&format!("RCPT TO:<{to}>"), "250"));
    talk.says("DATA", "354");
    talk.send(body);
    talk.say(".")
}

#[test]
fn each_copy_says_for_whom_it_is() {
    let directory = mailboxes(&["bob", "eve"]);
    std::os::unix::fs::symlink("bob", directory.path().join("rob")).unwrap();
    let server = bob(directory.path(), &[]);
    let mut talk = greeted(&server);
    let body =
        "return-path: <ceo@bob.test>\r\n folded\r\nSubject: x\r\nReturn-Path: <x@y>\r\n\r\nReturn-Path: body\r\n";
    let to = ["bob@bob.test", "Bob@BOB.test", "rob@bob.test", "bob+ext@bob.test", "eve@bob.test"];
    assert!(send(&mut talk, &to, body).starts_with("250"));
    let found = texts(directory.path(), "bob");
    let [plain, detail] = &found[..] else { panic!("{found:?}") };
    let (detail, plain) = if plain.contains("bob+ext") { (plain, detail) } else { (detail, plain) };
    let head = "Return-Path: <alice@alice.test>\nX-Original-To: ";
    assert!(
        detail.starts_with(&format!("{head}bob+ext@bob.test\nDelivered-To: bob+ext@bob.test\nReceived: ")),
        "{detail}"
    );
    let all = "bob@bob.test\nX-Original-To: Bob@BOB.test\nX-Original-To: rob@bob.test\nDelivered-To: bob@bob.test\nReceived: ";
    assert!(plain.starts_with(&format!("{head}{all}")), "{plain}");
    for text in [detail, plain, &texts(directory.path(), "eve")[0]] {
        assert_eq!(text.to_lowercase().matches("return-path").count(), 2, "ours, and the body's\n{text}");
        assert!(text.ends_with("\nSubject: x\n\nReturn-Path: body\n") && !text.contains("folded"), "{text}");
    }
}

#[test]
fn lmtp_records_the_recipient_too() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &["--lmtp"]);
    let mut talk = Talk::to(server.addr);
    talk.says("LHLO a", "250");
    assert!(send(&mut talk, &["bob+a@bob.test", "bob+b@bob.test"], "Return-Path: <x>\r\n\r\nx\r\n").starts_with("250"));
    assert!(talk.reply().starts_with("250"));
    for (text, detail) in texts(directory.path(), "bob").iter().zip(["a", "b"]) {
        let head = format!("X-Original-To: bob+{detail}@bob.test\nDelivered-To: bob+{detail}@bob.test\nReceived: ");
        assert!(text.contains(&head) && text.ends_with("\n\nx\n") && !text.contains("<x>"), "{text}");
    }
}

#[test]
fn who_asked_hears_of_a_delivery() {
    let directory = mailboxes(&["bob", "eve", "joe", "tim"]);
    let server = bob(directory.path(), &["--relay-from", "127.0.0.1"]);
    let mut talk = greeted(&server);
    talk.says("MAIL FROM:<alice@alice.test> RET=FULL ENVID=QQ1", "250");
    talk.says("RCPT TO:<bob@bob.test> NOTIFY=SUCCESS ORCPT=rfc822;Bob@old.test", "250");
    talk.says("RCPT TO:<eve@bob.test> NOTIFY=SUCCESS,FAILURE", "250");
    talk.says("RCPT TO:<joe@bob.test> NOTIFY=NEVER", "250");
    talk.says("RCPT TO:<tim@bob.test>", "250");
    talk.says("DATA", "354");
    talk.send("Subject: secret body\r\n\r\nnot returned\r\n");
    talk.says(".", "250");
    // Nobody is told of what has no sender, or of what did not ask.
    talk.says("MAIL FROM:<>", "250");
    talk.says("RCPT TO:<bob@bob.test> NOTIFY=SUCCESS", "250");
    talk.says("DATA", "354");
    talk.says(".", "250");
    assert!(talk.delivers("bob@bob.test", "x\r\n").starts_with("250"));
    let done = done(&server, "\"recipients\":[\"bob@bob.test\"]");
    let queue = directory.path().join("queue");
    let listed = tool("mailq-ls").arg("--json").arg("--queue-dir").arg(&queue).run();
    let queued = listed.exits(0).records_of("recipient");
    assert_eq!(queued.len(), 1, "{listed}");
    assert_eq!((queued[0]["sender"].as_str(), queued[0]["address"].as_str()), (Some(""), Some("alice@alice.test")));
    let id = done.records_of("message")[0]["notice_id"].as_str().unwrap().to_owned();
    let shown = tool("mailq-edit").args(["show", "--body", &id, "--queue-dir"]).arg(&queue).run();
    shown.exits(0);
    for part in [
        "Original-Envelope-Id: QQ1",
        "Original-Recipient: rfc822; Bob@old.test",
        "Final-Recipient: rfc822; bob@bob.test",
        "Final-Recipient: rfc822; eve@bob.test",
        "Action: delivered",
        "Subject: secret body",
    ] {
        shown.prints(part);
    }
    for part in ["joe@bob.test", "tim@bob.test", "not returned"] {
        assert!(!shown.text().contains(part), "{part}\n{shown}");
    }
}

#[test]
fn without_a_queue_no_notice_is_promised() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &[]);
    let mut talk = Talk::to(server.addr);
    talk.send("EHLO a\r\nQUIT\r\n");
    let mut offered = String::new();
    std::io::Read::read_to_string(&mut talk.0, &mut offered).unwrap();
    assert!(offered.contains("250-PIPELINING") && !offered.contains("DSN"), "{offered}");
    let mut talk = greeted(&server);
    talk.says("MAIL FROM:<a@a.test> RET=FULL", "555");
    talk.says("MAIL FROM:<a@a.test>", "250");
    talk.says("RCPT TO:<bob@bob.test> NOTIFY=SUCCESS", "555");
    talk.says("RCPT TO:<bob@bob.test>", "250");
}

#[test]
fn a_directory_that_is_away_is_no_reason_to_bounce() {
    let directory = mailboxes(&["mail/bob", "mail/other.test/bob"]);
    let (mail, away) = (directory.path().join("mail"), directory.path().join("away"));
    for create in [&[][..], &["--create"]] {
        let server = server("smtpserve")
            .args(["--domain", "bob.test", "--domain", "other.test", "--json", "--mailboxes"])
            .arg(&mail)
            .args(create)
            .start();
        let mut talk = greeted(&server);
        talk.says("MAIL FROM:<a@a.test>", "250");
        talk.says("RCPT TO:<bob@bob.test>", "250");
        std::fs::rename(&mail, &away).unwrap();
        let all = ["bob@bob.test", "nobody@bob.test", "postmaster", "bob@other.test", "new@other.test"];
        for to in all {
            talk.says(&format!("RCPT TO:<{to}>"), "451 4.2.0");
        }
        // What was taken before is not lost either.
        talk.says("DATA", "354");
        talk.says(".", "451");
        std::fs::create_dir(&mail).unwrap();
        talk.says("MAIL FROM:<a@a.test>", "250");
        for to in all {
            talk.says(&format!("RCPT TO:<{to}>"), "451 4.2.0");
        }
        assert_eq!(std::fs::read_dir(&mail).unwrap().count(), 0, "nothing is made below a mount point");
        std::fs::remove_dir(&mail).unwrap();
        std::fs::rename(&away, &mail).unwrap();
        talk.says("RCPT TO:<bob@bob.test>", "250");
        talk.says("RCPT TO:<nobody@bob.test>", if create.is_empty() { "550 5.1.1" } else { "250" });
        done(&server, "lookup_failed");
    }
}

#[test]
fn one_message_for_four_hundred_mailboxes_needs_few_descriptors() {
    let names: Vec<String> = (0..400).map(|number| format!("m{number}")).collect();
    let directory = mailboxes(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let server = server("smtpserve")
        .args(["--domain", "bob.test", "--mailboxes"])
        .arg(directory.path())
        .shell("ulimit -n 100")
        .start();
    let mut talk = greeted(&server);
    let to: Vec<String> = names.iter().map(|name| format!("{name}@bob.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let reply = send(&mut talk, &to, "Subject: x\r\n\r\nx\r\n");
    assert!(reply.starts_with("250"), "{reply}");
    assert!(names.iter().all(|name| files(directory.path(), &format!("{name}/new")).len() == 1));
}

#[test]
fn directories_of_domains_are_no_users() {
    for create in [&[][..], &["--create"]] {
        let directory = mailboxes(&["alice", "b.test/carol", "xn--bcher-kva.test/carol"]);
        let server = server("smtpserve")
            .args(["--domain", "a.test", "--domain", "B.test", "--domain", "b\u{fc}cher.test", "--mailboxes"])
            .arg(directory.path())
            .args(create)
            .start();
        let mut talk = greeted(&server);
        talk.says("MAIL FROM:<a@x.test> SMTPUTF8", "250");
        for local in ["b.test", "B.TEST", "b.test+x", "a.test", "xn--bcher-kva.test", "b\u{fc}cher.test", "\"b.test\""]
        {
            talk.says(&format!("RCPT TO:<{local}@a.test>"), "550 5.1.1");
        }
        talk.says("RCPT TO:<carol@b.test>", "250");
        talk.says("RCPT TO:<carol@b\u{fc}cher.test>", "250");
        talk.says("DATA", "354");
        talk.says(".", "250");
        assert!(!directory.path().join("b.test/new").exists() && !directory.path().join("a.test").exists());
        assert_eq!(texts(directory.path(), "xn--bcher-kva.test/carol").len(), 1);
    }
}

#[test]
fn one_name_has_one_mailbox_and_no_name_deceives() {
    let directory = mailboxes(&["x"]);
    let server = bob(directory.path(), &["--create"]);
    let mut talk = greeted(&server);
    for local in ["J\u{d6}rg", "jo\u{308}rg", "j\u{f6}rg+x"] {
        talk.says("MAIL FROM:<a@a.test> SMTPUTF8", "250");
        talk.says(&format!("RCPT TO:<{local}@bob.test>"), "250");
        talk.says("DATA", "354");
        talk.says(".", "250");
    }
    assert_eq!(texts(directory.path(), "j\u{f6}rg").len(), 3);
    talk.says("MAIL FROM:<a@a.test> SMTPUTF8", "250");
    for local in ["\u{202e}bob", "a\u{200b}b", "a\u{2066}b", "\u{feff}a", "a\u{a0}b", "\u{301}a"] {
        talk.says(&format!("RCPT TO:<{local}@bob.test>"), "550 5.1.1");
    }
    talk.says("RSET", "250");
    // A client's name is recorded without what could be taken for something else.
    talk.says("EHLO a\u{9b}31m\u{202e};(x", "250");
    assert!(talk.delivers("x@bob.test", "x\r\n").starts_with("250"));
    let text = &texts(directory.path(), "x")[0];
    assert!(text.contains("Received: from a?31m???x ([127.0.0.1])\n"), "{text}");
    assert_eq!(done(&server, "a?31m").records_of("message").last().unwrap()["helo"], "a?31m???x");
}

#[test]
fn forms_of_old_clients_are_taken_unless_syntax_is_strict() {
    let directory = mailboxes(&["bob", "a..b."]);
    let liberal = bob(directory.path(), &[]);
    let mut talk = Talk::to(liberal.addr);
    talk.says("EHLO (none)", "250");
    talk.says("MAIL FROM:scanner@printer.test", "250");
    for to in ["bob@bob.test", "<bob@bob.test.>", "bob", "Bob Jones <bob@bob.test>", "<a..b.@bob.test>"] {
        talk.says(&format!("RCPT TO:{to}"), "250");
    }
    talk.says("DATA", "354");
    talk.says(".", "250");
    assert!(texts(directory.path(), "a..b.")[0].contains("Delivered-To: \"a..b.\"@bob.test\n"));
    assert!(texts(directory.path(), "bob")[0].starts_with("Return-Path: <scanner@printer.test>\n"));
    let strict = bob(directory.path(), &["--strict-syntax"]);
    let mut talk = Talk::to(strict.addr);
    talk.says("EHLO (none)", "501");
    talk.says("EHLO a.test", "250");
    talk.says("MAIL FROM:scanner@printer.test", "501");
    talk.says("MAIL FROM:<scanner@printer.test>", "250");
    talk.says("RCPT TO:bob@bob.test", "501");
    talk.says("RCPT TO:<bob@bob.test.>", "553");
}

#[test]
fn a_web_page_cannot_post_a_mail() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &["--relay-from", "127.0.0.1", "--self-signed", "bob.test"]);
    for first in ["POST / HTTP/1.1", "CONNECT bob.test:25 HTTP/1.1", "get / HTTP/1.0", "<form>", "USER bob"] {
        let mut talk = Talk::to(server.addr);
        talk.send(format!(
            "{first}\r\nHost: x\r\n\r\nEHLO b\r\nMAIL FROM:<a@bob.test>\r\nRCPT TO:<x@far.test>\r\nDATA\r\n"
        ));
        assert!(talk.reply().starts_with("421 4.7.0"), "{first}");
        assert_eq!(talk.reply(), "", "{first}: the connection is over");
    }
    let listed = tool("mailq-ls").arg("--json").arg("--queue-dir").arg(directory.path().join("queue")).run();
    assert!(listed.exits(0).records_of("recipient").is_empty());
}

#[test]
fn a_lone_lf_is_refused_with_its_cure_or_normalized() {
    let directory = mailboxes(&["bob"]);
    let reject = bob(directory.path(), &[]);
    let mut talk = greeted(&reject);
    let reply = talk.delivers("bob@bob.test", "Subject: x\n\nx\r\n");
    assert!(reply.starts_with("554 5.6.0") && reply.contains("curl: add --crlf"), "{reply}");
    let normalize = bob(directory.path(), &["--newlines", "normalize", "--relay-from", "127.0.0.1"]);
    let mut talk = greeted(&normalize);
    // What ends a message for others: here it is text.
    let fake = "MAIL FROM:<admin@bob.test>\nRCPT TO:<bob@bob.test>\nDATA\nfake";
    let body = format!("Subject: x\n\none\n.\n{fake}\n.\r\n{fake}\r\n.\n{fake}\r\n");
    assert!(send(&mut talk, &["bob@bob.test", "x@far.test"], &body).starts_with("250"));
    talk.says("NOOP", "250");
    let found = texts(directory.path(), "bob");
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with(&format!("\nSubject: x\n\none\n\n{fake}\n\n{fake}\n\n{fake}\n")), "{}", found[0]);
    let mut talk = greeted(&normalize);
    assert!(talk.delivers("bob@bob.test", "a\rb\r\n").starts_with("554 5.6.0"), "a bare CR stays what it is");
    let mut talk = greeted(&normalize);
    assert!(talk.delivers("bob@bob.test", "a\0b\r\n").starts_with("554 5.6.0 NUL"));
    assert!(talk.delivers("bob@bob.test", "after\r\n").starts_with("250"));
}

#[test]
fn tls_for_another_application_protocol_is_refused() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &["--self-signed", "bob.test", "--tls", "implicit"]);
    for (protocols, taken) in [
        (&[][..], true),
        (&["smtp"], true),
        (&["h2", "smtp"], true),
        (&["lmtp"], true),
        (&["esmtp"], true),
        (&["http/1.1"], false),
        (&["h2", "http/1.1"], false),
        (&["ftp"], false),
    ] {
        let client = ClientTls::new(&ClientTlsOptions { insecure: true, ..ClientTlsOptions::default() }).unwrap();
        let stream = std::net::TcpStream::connect(server.addr).unwrap();
        let shaken = client.with_alpn(protocols).connect_blocking(stream, "bob.test");
        // With TLS 1.3 the client is done before the server has looked at what it offers.
        let greeted =
            shaken.is_ok_and(|mut tls| std::io::Read::read(&mut tls, &mut [0; 4]).is_ok_and(|read| read == 4));
        assert_eq!(greeted, taken, "{protocols:?}");
    }
}

#[test]
fn one_address_gets_only_so_many_connections() {
    use std::io::BufRead;
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &["--max-per-address", "1"]);
    let _held = greeted(&server);
    let mut line = String::new();
    let second = std::net::TcpStream::connect(server.addr).unwrap();
    std::io::BufReader::new(second).read_line(&mut line).unwrap();
    assert!(line.starts_with("421 4.7.0 "), "{line}");
}

/// Without --json each message has a line on stdout: id, size, sender, recipients, user and address.
#[test]
fn each_message_is_a_line_of_text() {
    let directory = mailboxes(&["bob", "eve"]);
    let start = server("smtpserve").args(["--domain", "bob.test", "--mailboxes"]).arg(directory.path());
    let server = start.arg("--queue-dir").arg(directory.path().join("queue")).start();
    let mut talk = greeted(&server);
    assert!(send(&mut talk, &["bob@bob.test", "eve@bob.test"], "Subject: x\r\n\r\nx\r\n").starts_with("250"));
    server.stdout.wait_for("127.0.0.1\n");
    let text = server.stdout.text();
    let line = text.lines().find(|line| line.contains("\tmessage\t")).unwrap();
    let fields: Vec<&str> = line.split('\t').skip(2).collect();
    let [word, id, size, rest @ ..] = &fields[..] else { panic!("{line:?}") };
    assert!(*word == "message" && !id.is_empty() && size.parse::<u64>().unwrap() >= 15, "{line:?}");
    assert_eq!(rest, ["<alice@alice.test>", "bob@bob.test,eve@bob.test", "-", "127.0.0.1"]);
}
