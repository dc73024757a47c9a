//! Mail peers: swaks, curl and msmtp submit to smtpserve; smtpsend and mailq-run deliver to Postfix's smtp-sink.

use std::path::Path;

use crate::harness::{Done, Server, server, temp_dir, tool};
use crate::peers::{Peer, Trial, Verdict, trial};
use crate::servers;

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("swaks", "delivers into a Maildir of smtpserve", swaks_delivers),
    trial("swaks", "STARTTLS and AUTH, then relays through smtpserve", swaks_relays),
    trial("swaks", "is refused by smtpserve without a login", swaks_is_refused),
    trial("curl", "submits to smtpserve", curl_submits),
    trial("msmtp", "submits to smtpserve with STARTTLS and AUTH", msmtp_submits),
    trial("postfix", "smtp-sink takes what smtpsend composes", sink_takes),
    trial("postfix", "smtp-sink refuses, defers and hangs up: smtpsend says which", sink_fails),
    trial("postfix", "smtp-sink without extensions gets 7-bit mail", sink_is_old),
    trial("postfix", "smtp-sink takes what mailq-run delivers", sink_takes_from_the_queue),
];

/// A user file for `alice` with the password `secret`.
fn users(dir: &Path) -> std::path::PathBuf {
    let hash = tool("smtpserve").arg("--hash-password").stdin("secret\n").run();
    let path = dir.join("users");
    std::fs::write(&path, format!("alice:{}\n", hash.exits(0).text().trim())).unwrap();
    path
}

/// smtpserve for bob.test with a mailbox for bob, a queue, and a login for alice.
fn smtpserve(dir: &Path) -> Server {
    std::fs::create_dir_all(dir.join("mail/bob")).unwrap();
    server("smtpserve")
        .args(["--domain", "bob.test", "--self-signed", "mail.bob.test"])
        .args(["--mailboxes".as_ref(), dir.join("mail").as_os_str()])
        .args(["--queue-dir".as_ref(), dir.join("queue").as_os_str()])
        .args(["--user-file".as_ref(), users(dir).as_os_str()])
        .args(["--cert-out".as_ref(), dir.join("cert.pem").as_os_str()])
        .start()
}

/// The one message in bob's mailbox, as it was received.
fn received(dir: &Path) -> String {
    let mailbox = dir.join("mail/bob");
    let shown = tool("mailread").args(["show", "--raw", "-m"]).arg(&mailbox).arg("1").run();
    let listed = tool("mailread").args(["list", "-m"]).arg(&mailbox).run();
    assert_eq!(listed.exits(0).text().lines().count(), 1, "\n{listed}");
    String::from_utf8_lossy(&shown.exits(0).stdout).into_owned()
}

fn queued(dir: &Path) -> Done {
    tool("mailq-ls").arg("--queue-dir").arg(dir.join("queue")).run()
}

fn swaks(peer: &Peer, server: &Server, args: &[&str]) -> Done {
    let port = server.port().to_string();
    let common = ["--server", "127.0.0.1", "--port", &port, "--from", "alice@alice.test", "--helo", "client.test"];
    peer.run("swaks", common.iter().chain(args).copied().collect::<Vec<_>>())
}

fn swaks_delivers(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let server = smtpserve(dir.path());
    swaks(peer, &server, &["--to", "bob@bob.test", "--body", "first line\n.a dot\nlast"]).exits(0);
    let message = received(dir.path());
    assert!(message.contains("\n.a dot") && message.starts_with("Return-Path: <alice@alice.test>"), "{message}");
    Verdict::Ok
}

fn swaks_relays(peer: &Peer) -> Verdict {
    for mechanism in ["PLAIN", "LOGIN"] {
        let dir = temp_dir();
        let server = smtpserve(dir.path());
        let login = ["-tls", "--auth", mechanism, "--auth-user", "alice", "--auth-password", "secret"];
        swaks(peer, &server, &[&login[..], &["--to", "carol@carol.test"]].concat()).exits(0);
        queued(dir.path()).exits(0).prints("carol@carol.test");
        let wrong = ["-tls", "--auth", mechanism, "--auth-user", "alice", "--auth-password", "wrong"];
        swaks(peer, &server, &[&wrong[..], &["--to", "carol@carol.test"]].concat()).exits(28);
    }
    Verdict::Ok
}

fn swaks_is_refused(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let server = smtpserve(dir.path());
    let done = swaks(peer, &server, &["--to", "carol@carol.test"]);
    // 24: no recipient was accepted.
    done.exits(24);
    assert!(done.text().contains("<** 550 5.7.1"), "\n{done}");
    swaks(peer, &server, &["--to", "nobody@bob.test"]).exits(24).prints("550 5.1.1");
    assert_eq!(queued(dir.path()).exits(0).text(), "");
    Verdict::Ok
}

fn curl_submits(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let server = smtpserve(dir.path());
    let message = "From: alice@alice.test\r\nTo: bob@bob.test\r\nSubject: x\r\n\r\n.dot\r\nGr\u{fc}\u{df}e\r\n";
    let url = format!("smtp://{}/client.test", server.addr);
    let args = ["-sS", "--mail-from", "alice@alice.test", "--mail-rcpt", "bob@bob.test", "-T", "-", &url];
    peer.feed("curl", args, Some(message.as_bytes())).exits(0);
    let kept = received(dir.path()).replace("\r\n", "\n");
    assert!(kept.ends_with("\n\n.dot\nGr\u{fc}\u{df}e\n"), "{kept}");
    Verdict::Ok
}

fn msmtp_submits(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let server = smtpserve(dir.path());
    let port = format!("--port={}", server.port());
    let tls = ["--tls=on", "--tls-starttls=on", "--tls-certcheck=off"];
    let login = ["--auth=plain", "--user=alice", "--passwordeval=echo secret"];
    let message = ["--file=/dev/null", "--host=localhost", &port, "--from=alice@alice.test", "carol@carol.test"];
    let args = tls.into_iter().chain(login).chain(message);
    peer.feed("msmtp", args, Some(b"Subject: x\n\ntext\n")).exits(0);
    queued(dir.path()).exits(0).prints("carol@carol.test");
    Verdict::Ok
}

/// smtpsend to the sink, one small message.
fn send(sink: &servers::Served, more: &[&str]) -> Done {
    let url = format!("smtp://{}", sink.addr());
    let message = ["--from", "alice@alice.test", "--to", "bob@bob.test", "--subject", "Grüße", "--body", "-"];
    tool("smtpsend").args(["--server", &url, "--json"]).args(message).args(more).stdin(".dot\nGrüße\n").run()
}

fn outcomes(done: &Done) -> Vec<String> {
    let records = done.records_of("recipient");
    records.iter().map(|record| record["outcome"].as_str().expect("an outcome").to_owned()).collect()
}

fn sink_takes(peer: &Peer) -> Verdict {
    let sink = servers::smtp_sink(peer, &[]);
    let dir = temp_dir();
    let file = dir.path().join("photo.bin");
    std::fs::write(&file, (0..200_000u32).map(|number| (number % 256) as u8).collect::<Vec<_>>()).unwrap();
    let done = send(&sink, &["--cc", "carol@bob.test", "--bcc", "dave@bob.test", "--attach", file.to_str().unwrap()]);
    assert_eq!(outcomes(done.exits(0)), ["delivered"; 3], "\n{done}");
    let messages = servers::sunk(&sink);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages[0].contains("Subject: =?") && messages[0].contains("photo.bin"), "{}", messages[0]);
    assert!(!messages[0].to_lowercase().contains("\nbcc:"), "Bcc left\n{}", messages[0]);
    for recipient in ["bob@bob.test", "carol@bob.test", "dave@bob.test"] {
        assert!(messages[0].contains(&format!("X-Rcpt-Args: <{recipient}>")), "{recipient}: {}", messages[0]);
    }
    Verdict::Ok
}

fn sink_fails(peer: &Peer) -> Verdict {
    // -f: permanent, -r: temporary, -q: hangs up.
    for (args, status, outcome) in [
        (["-f", "RCPT"], 69, Some("refused")),
        (["-r", "RCPT"], 75, Some("deferred")),
        (["-f", "MAIL"], 69, Some("refused")),
        (["-r", "DATA"], 75, Some("deferred")),
        (["-f", "."], 69, Some("refused")),
        (["-r", "."], 75, Some("deferred")),
        (["-q", "RCPT"], 75, Some("deferred")),
        (["-q", "."], 3, Some("unknown")),
    ] {
        let sink = servers::smtp_sink(peer, &args);
        let done = send(&sink, &[]);
        assert_eq!(done.exits(status).records_of("recipient").len(), 1, "{args:?}\n{done}");
        assert_eq!(outcomes(&done).first().map(String::as_str), outcome, "{args:?}\n{done}");
    }
    Verdict::Ok
}

fn sink_is_old(peer: &Peer) -> Verdict {
    // -8: no 8BITMIME, -p: no PIPELINING, -E: no enhanced codes; -e: no ESMTP at all.
    for args in [&["-8", "-p", "-E"][..], &["-e"]] {
        let sink = servers::smtp_sink(peer, args);
        assert_eq!(outcomes(send(&sink, &[]).exits(0)), ["delivered"]);
        let messages = servers::sunk(&sink);
        assert!(messages.len() == 1 && messages[0].is_ascii(), "{args:?}: {messages:?}");
    }
    Verdict::Ok
}

fn sink_takes_from_the_queue(peer: &Peer) -> Verdict {
    let sink = servers::smtp_sink(peer, &[]);
    let dir = temp_dir();
    let queue = dir.path().join("queue");
    let queue = queue.to_str().unwrap();
    for number in 0..5 {
        let to = format!("user{number}@bob.test");
        let message = ["--from", "alice@alice.test", "--to", &to, "--subject", "x", "--body", "-"];
        tool("smtpsend").args(["--queue", "--queue-dir", queue]).args(message).stdin("text\n").run().exits(0);
    }
    let route = format!("bob.test=smtp://{}", sink.addr());
    let done = tool("mailq-run").args(["--queue-dir", queue, "--json", "--route", &route]).run();
    assert_eq!(done.exits(0).records_of("attempt").len(), 5, "\n{done}");
    assert_eq!(queued(dir.path()).exits(0).text(), "");
    assert_eq!(servers::sunk(&sink).len(), 5);
    Verdict::Ok
}
