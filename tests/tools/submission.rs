//! smtpserve for users: logins, their addresses, their limits, and what is done to their messages.

use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::dialogue::{Dialogue, user_file};
use crate::harness::{Done, Server, server, temp_dir, tool};
use crate::smtp::{done, files};

const USERS: &[(&str, &str)] = &[
    ("alice", ""),
    ("bob@bob.test", ""),
    ("carol", "address=carol@c.test,address=*@sales.test"),
    ("boss", "address=*"),
];

/// A submission server of bob.test with mailboxes, a queue and some users.
fn submission(dir: &Path, scram: bool, more: &[&str]) -> Server {
    user_file(&dir.join("users"), USERS, scram);
    std::fs::create_dir_all(dir.join("mail/bob")).unwrap();
    server("smtpserve")
        .dir(dir)
        .args([
            "--submission",
            "--user-file",
            "users",
            "--self-signed",
            "mail.test",
            "--cert-out",
            "cert.pem",
            "--json",
        ])
        .args(["--domain", "bob.test", "--mailboxes", "mail", "--queue-dir", "queue"])
        .args(more)
        .start()
}

/// A client inside TLS.
fn inside(address: SocketAddr) -> Dialogue {
    let mut client = Dialogue::to(address, false);
    client.says("EHLO c.test", "250");
    client.start_tls("EHLO c.test");
    client
}

fn user(address: SocketAddr, name: &str) -> Dialogue {
    let mut client = inside(address);
    let reply = client.log_in(name, "secret");
    assert!(reply.starts_with("235 "), "{reply}");
    client
}

/// The messages of the queue, whole.
fn queued(dir: &Path) -> Vec<String> {
    let listed = tool("mailq-ls").args(["--json", "--queue-dir"]).arg(dir.join("queue")).run();
    let mut ids: Vec<String> = Vec::new();
    for record in listed.exits(0).records_of("recipient") {
        let id = record["queue_id"].as_str().unwrap().to_owned();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let show = |id: &String| {
        let shown = tool("mailq-edit").args(["show", "--message", id, "--queue-dir"]).arg(dir.join("queue")).run();
        shown.exits(0).text().replace("\r\n", "\n")
    };
    ids.iter().map(show).collect()
}

#[test]
fn nothing_happens_before_tls_and_a_login() {
    let dir = temp_dir();
    let server = submission(dir.path(), false, &[]);
    let mut client = Dialogue::to(server.addr, false);
    let offer = client.says("EHLO c.test", "250");
    assert!(offer.contains("STARTTLS") && !offer.contains("AUTH"), "{offer}");
    for line in ["MAIL FROM:<a@b.test>", "AUTH PLAIN AGEAYg==", "VRFY bob", "RCPT TO:<bob@bob.test>", "DATA"] {
        client.says(line, "530 5.7.0 must issue a STARTTLS");
    }
    client.start_tls("EHLO c.test");
    for line in ["MAIL FROM:<a@b.test>", "VRFY bob", "EXPN bob", "RCPT TO:<bob@bob.test>", "DATA"] {
        client.says(line, "530 5.7.0 authentication required");
    }
    client.send("BDAT 3 LAST\r\nx\r\n");
    client.hears("503");
    client.says("NOOP", "250");
    let offer = client.says("EHLO c.test", "250");
    assert!(offer.contains("AUTH PLAIN LOGIN") && !offer.contains("SCRAM"), "{offer}");
    assert!(client.log_in("alice", "wrong").starts_with("535"));
    client.says("MAIL FROM:<alice@bob.test>", "530");
    assert!(client.log_in("alice", "secret").starts_with("235"));
    client.says("MAIL FROM:<alice@bob.test>", "250");
}

#[test]
fn a_user_sends_only_from_his_own_addresses() {
    let dir = temp_dir();
    let server = submission(dir.path(), false, &[]);
    let from = |address: &str| format!("From: {address}\r\n\r\nx\r\n");
    for (name, sender, author, refusal) in [
        ("alice", "alice@bob.test", "Alice <Alice+x@BOB.test>", ""),
        ("alice", "alice@bob.test", "alice", ""),
        ("alice", "", "alice@bob.test", ""),
        ("alice", "bob@bob.test", "alice@bob.test", "553 5.7.1"),
        ("alice", "alice@c.test", "alice@bob.test", "553 5.7.1"),
        ("alice", "alice@bob.test", "bob@bob.test", "553 5.7.1 <bob@bob.test>"),
        ("alice", "", "bob@bob.test", "553 5.7.1"),
        ("alice", "alice@bob.test", "alice@bob.test, bob@bob.test", "553 5.7.1"),
        ("alice", "alice@bob.test", "alice@bob.test <bob@bob.test>", "553 5.7.1"),
        ("alice", "alice@bob.test", "alice@bob.test\r\nFrom: bob@bob.test", "553 5.7.1"),
        ("alice", "alice@bob.test", "alice@bob.test\r\nfrom : bob@bob.test", "553 5.7.1"),
        ("alice", "alice@bob.test", "alice@bob.test\r\nSender: bob@bob.test", "553 5.7.1"),
        ("alice", "alice@bob.test", "alice@bob.test\r\nSender: alice@bob.test", ""),
        ("alice", "alice@bob.test", "Bob the boss", "553 5.7.1"),
        ("alice", "alice@bob.test", "nobody:;", "554 5.6.0"),
        ("bob@bob.test", "bob@bob.test", "bob@bob.test", ""),
        ("bob@bob.test", "alice@bob.test", "bob@bob.test", "553 5.7.1"),
        ("carol", "x@sales.test", "carol@c.test", ""),
        ("carol", "carol@bob.test", "carol@c.test", "553 5.7.1"),
        ("boss", "anyone@far.test", "someone@else.test", ""),
    ] {
        let reply = user(server.addr, name).sends(sender, "bob@bob.test", &from(author));
        let expected = if refusal.is_empty() { "250 2.0.0 taken" } else { refusal };
        assert!(reply.starts_with(expected), "{name} <{sender}> {author}: {reply}, not {expected}");
    }
    let refused = done(&server, "\"what\":\"message\"").records_of("refused");
    assert!(refused.iter().any(|it| it["what"] == "sender" && it["user"] == "alice" && it["role"] == "submission"));
    // The option lifts it for all.
    let dir = temp_dir();
    let server = submission(dir.path(), false, &["--any-sender"]);
    let reply = user(server.addr, "alice").sends("x@y.test", "bob@bob.test", "From: ceo@bob.test\r\n\r\nx\r\n");
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn what_a_message_lacks_is_added_and_bcc_goes() {
    let dir = temp_dir();
    let server = submission(dir.path(), false, &[]);
    let mut client = user(server.addr, "alice");
    let bare = "Subject: x\r\nTo: joe\r\nBcc: eve@far.test,\r\n\tmallory@far.test\r\n\r\nBcc: body\r\n..dot\r\n";
    assert!(client.sends("alice@bob.test", "joe@far.test", bare).starts_with("250"));
    let whole = "Date: Mon, 1 Jan 2029 00:00:00 +0000\r\nFrom: Alice <alice>\r\nMessage-ID: <1@x>\r\n\r\nx\r\n";
    assert!(client.sends("alice@bob.test", "bob@bob.test", whole).starts_with("250"));
    // A large one takes the way over the disk, by BDAT and without a line end.
    let big = format!("Subject: big\r\n\r\n{}end", "0123456789abcdef\r\n".repeat(100_000));
    for line in ["MAIL FROM:<alice@bob.test>", "RCPT TO:<joe@far.test>", "RCPT TO:<bob@bob.test>"] {
        client.says(line, "250");
    }
    client.send(format!("BDAT {} LAST\r\n{big}", big.len()));
    client.hears("250 2.0.0 taken");
    let messages = queued(dir.path());
    let (big_one, small): (Vec<_>, Vec<_>) = messages.iter().partition(|message| message.contains("Subject: big"));
    let small = small[0];
    assert!(small.contains("Received: from c.test ([127.0.0.1])\n\tby bob.test with ESMTPSA id "), "{small}");
    for part in [
        "\nTo: joe@bob.test\n",
        "\nFrom: <alice@bob.test>\n",
        "\nDate: ",
        "\nMessage-ID: <",
        "@bob.test>\n\nBcc: body\n.dot\n",
    ] {
        assert!(small.contains(part), "{part}\n{small}");
    }
    assert!(!small.contains("eve@") && !small.contains("mallory"), "{small}");
    assert!(big_one[0].contains("\nMessage-ID: ") && big_one[0].trim_end().ends_with("cdef\nend"));
    let texts: Vec<String> =
        files(&dir.path().join("mail"), "bob/new").iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let (big_copy, copy) =
        if texts[0].contains("Subject: big") { (&texts[0], &texts[1]) } else { (&texts[1], &texts[0]) };
    assert!(
        copy.ends_with(
            "\nDate: Mon, 1 Jan 2029 00:00:00 +0000\nFrom: Alice <alice@bob.test>\nMessage-ID: <1@x>\n\nx\n"
        ),
        "{copy}"
    );
    assert!(big_copy.len() > big.len() - 100_002 && big_copy.ends_with("end\n"));
    assert!(std::fs::read_dir(dir.path().join("mail/bob/tmp")).unwrap().next().is_none());
}

#[test]
fn limits_per_hour_count_across_sessions() {
    let dir = temp_dir();
    let server = submission(dir.path(), false, &["--max-messages-per-user", "4", "--max-recipients-per-user", "6"]);
    let send = |name: &str, sender: &str| user(server.addr, name).sends(sender, "bob@bob.test", "x: y\r\n\r\n");
    for _ in 0..2 {
        assert!(send("alice", "alice@bob.test").starts_with("250"));
    }
    let reply = send("alice", "alice@bob.test");
    assert!(reply.starts_with("450 4.7.1 too many messages: at most 4 per hour"), "{reply}");
    assert!(send("bob@bob.test", "bob@bob.test").starts_with("250"), "another user");
    let mut client = user(server.addr, "carol");
    client.says("MAIL FROM:<carol@c.test>", "250");
    for to in 0..3 {
        client.says(&format!("RCPT TO:<x{to}@far.test>"), "250");
    }
    client.says("RCPT TO:<x3@far.test>", "450 4.7.1 too many recipients");
    client.says("DATA", "354");
    client.says(".", "250");
}

/// smtpsend through the server, trace and all.
fn smtpsend(server: &Server, dir: &Path, user: &str, password: &str, more: &[&str]) -> Done {
    let url = format!("submission://127.0.0.1:{}", server.port());
    tool("smtpsend")
        .dir(dir)
        .args([
            "--server",
            &url,
            "--ca-cert",
            "cert.pem",
            "--tls-name",
            "mail.test",
            "--user",
            user,
            "--password-file",
            "-",
        ])
        .args(["--from", "alice@bob.test", "--to", "joe@far.test", "--subject", "x", "--text", "x", "-v"])
        .args(more)
        .stdin(format!("{password}\n"))
        .run()
}

#[test]
fn scram_proves_both_sides() {
    let dir = temp_dir();
    let server = submission(dir.path(), true, &[]);
    let offer = inside(server.addr).says("EHLO c.test", "250");
    assert!(offer.contains("AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"), "{offer}");
    // The best mechanism that both have, then each one by name.
    for mechanism in [None, Some("scram-sha-256"), Some("plain"), Some("login")] {
        let named: Vec<&str> = mechanism.into_iter().flat_map(|name| ["--auth", name]).collect();
        let sent = smtpsend(&server, dir.path(), "alice", "secret", &named);
        let said = format!("AUTH {}", mechanism.unwrap_or("scram-sha-256-plus").to_uppercase());
        sent.exits(0).says(&said);
    }
    assert_eq!(queued(dir.path()).len(), 4);
    for (user, password) in [("alice", "wrong"), ("nobody", "secret")] {
        smtpsend(&server, dir.path(), user, password, &["--auth", "scram-sha-256"]).exits(77).says("535");
    }
    let logins = done(&server, "\"user\":\"nobody\"").records_of("login");
    assert_eq!(logins.iter().filter(|login| login["accepted"] == true).count(), 4);
    assert_eq!(logins.iter().filter(|login| login["accepted"] == false).count(), 2);
}

#[test]
fn scram_names_no_user() {
    let dir = temp_dir();
    let challenge = |server: &Server, name: &str| {
        let mut client = inside(server.addr);
        let first = STANDARD.encode(format!("n,,n={name},r=abc"));
        let reply = client.says(&format!("AUTH SCRAM-SHA-256 {first}"), "334 ");
        let text = String::from_utf8(STANDARD.decode(&reply[4..]).unwrap()).unwrap();
        client.says("*", "501");
        client.says("NOOP", "250");
        let fields: Vec<String> = text.split(',').map(str::to_owned).collect();
        assert!(fields[0].starts_with("r=abc") && fields[0].len() > 20, "{text}");
        (fields[1].clone(), fields[2].clone())
    };
    let first = submission(dir.path(), true, &[]);
    let (alice, nobody) = (challenge(&first, "alice"), challenge(&first, "nobody"));
    assert_eq!((alice.0.len(), &alice.1), (nobody.0.len(), &nobody.1), "alike");
    assert_eq!(challenge(&first, "nobody"), nobody, "stable");
    assert_ne!(challenge(&first, "nobody2"), nobody);
    // A user more, at a HUP: the salt of a name without user stays.
    let users = std::fs::read_to_string(dir.path().join("users")).unwrap();
    let line = users.lines().next().unwrap().replace("alice:", "dave:");
    std::fs::write(dir.path().join("users"), format!("{users}{line}\n")).unwrap();
    first.signal(rustix::process::Signal::HUP);
    done(&first, "\"type\":\"reload\"");
    assert_eq!(challenge(&first, "nobody"), nobody);
    assert!(user(first.addr, "dave").sends("dave@bob.test", "bob@bob.test", "x: y\r\n\r\n").starts_with("250"));
    // A user without a verifier: nobody is led to a mechanism that fails.
    let argon = tool("smtpserve").arg("--hash-password").stdin("secret\n").run().text().trim().to_owned();
    std::fs::write(dir.path().join("users"), format!("{users}eve:{argon}\n")).unwrap();
    first.signal(rustix::process::Signal::HUP);
    user_can_log_in(&first, "eve");
    let offer = inside(first.addr).says("EHLO c.test", "250");
    assert!(offer.contains("AUTH PLAIN LOGIN"), "{offer}");
    inside(first.addr).says("AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPWFiYw==", "504");
}

/// Waits until the reload has brought this user.
fn user_can_log_in(server: &Server, name: &str) {
    let deadline = std::time::Instant::now() + crate::harness::LIMIT;
    while !inside(server.addr).log_in(name, "secret").starts_with("235") {
        assert!(std::time::Instant::now() < deadline, "{name} never came");
    }
}
