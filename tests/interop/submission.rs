//! Mail programs submit to smtpserve, and a mailer delivers through it by LMTP.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::dialogue::user_file;
use crate::harness::{LIMIT, Server, server, temp_dir, tool};
use crate::peers::{Peer, Trial, Verdict, trial};
use crate::servers;

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("msmtp", "submits with SCRAM-SHA-256, and TLS from the first byte", msmtp),
    trial("gsasl", "logs in with SCRAM-SHA-256 and SCRAM-SHA-256-PLUS", gsasl),
    trial("swaks", "submits with PLAIN and LOGIN, not without", swaks),
    trial("python3", "smtplib submits by STARTTLS and inside TLS", smtplib),
    trial("postfix", "delivers through smtpserve by lmtp:unix: and lmtp:inet:", postfix),
];

/// Both submission roles for alice, whose password is `secret`. The second port is the one inside TLS.
fn submission(dir: &Path) -> (Server, u16) {
    user_file(&dir.join("users"), &[("alice", "address=alice@alice.test")], true);
    let server = server("smtpserve")
        .dir(dir)
        .args(["--listen", "127.0.0.1:0=submission", "--listen", "127.0.0.1:0=submissions", "--address-file", "urls"])
        .args(["--user-file", "users", "--self-signed", "localhost", "--cert-out", "cert.pem", "--queue-dir", "queue"])
        .args(["--json"])
        .start();
    let urls = std::fs::read_to_string(dir.join("urls")).unwrap();
    let second = urls.lines().nth(1).and_then(crate::harness::address_in).expect("two addresses");
    (server, second.port())
}

/// The recipients in the queue.
fn queued(dir: &Path) -> Vec<String> {
    let listed = tool("mailq-ls").args(["--json", "--queue-dir"]).arg(dir.join("queue")).run();
    let mut all: Vec<String> =
        listed.exits(0).records_of("recipient").iter().map(|it| it["address"].as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

fn msmtp(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let (server, inside) = submission(dir.path());
    let trust = format!("--tls-trust-file={}", dir.path().join("cert.pem").display());
    for (port, starttls, auth, to) in [
        (server.port(), "on", "scram-sha-256", "a@far.test"),
        (inside, "off", "scram-sha-256", "b@far.test"),
        (inside, "off", "on", "c@far.test"),
        (server.port(), "on", "plain", "d@far.test"),
    ] {
        let (port, starttls) = (format!("--port={port}"), format!("--tls-starttls={starttls}"));
        let auth = format!("--auth={auth}");
        let args =
            ["--file=/dev/null", "--host=localhost", &port, "--tls=on", &starttls, &trust, &auth, "--user=alice"];
        let rest = ["--passwordeval=echo secret", "--from=alice@alice.test", to];
        peer.feed("msmtp", args.into_iter().chain(rest), Some(b"From: alice@alice.test\n\ntext\n")).exits(0);
    }
    assert_eq!(queued(dir.path()), ["a@far.test", "b@far.test", "c@far.test", "d@far.test"]);
    Verdict::Ok
}

fn gsasl(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let (server, _) = submission(dir.path());
    let at = format!("localhost:{}", server.port());
    for (mechanism, password, right) in [
        ("SCRAM-SHA-256", "secret", true),
        ("SCRAM-SHA-256-PLUS", "secret", true),
        ("SCRAM-SHA-256-PLUS", "wrong", false),
        ("SCRAM-SHA-256", "wrong", false),
    ] {
        let cert = dir.path().join("cert.pem").display().to_string();
        let args = ["--smtp", "--connect", &at, "--starttls", "--x509-ca-file", &cert];
        let login = ["--mechanism", mechanism, "--authentication-id", "alice", "--password", password, "--quiet"];
        // With a binding at hand gsasl refuses the mechanism without one.
        let unbound = (mechanism == "SCRAM-SHA-256").then_some("--no-cb");
        let done = peer.feed("gsasl", args.into_iter().chain(login).chain(unbound), Some(b""));
        assert_eq!(done.text().contains("\n235 ") || done.stderr.contains("\n235 "), right, "{mechanism}\n{done}");
    }
    server.stdout.wait_for("\"accepted\":false");
    let logins = server.stdout.text().matches("\"accepted\":true").count();
    assert_eq!(logins, 2, "{}", server.stdout.text());
    Verdict::Ok
}

fn swaks(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let (server, inside) = submission(dir.path());
    let send = |port: u16, more: &[&str]| {
        let port = port.to_string();
        let common = ["--server", "127.0.0.1", "--port", &port, "--from", "alice@alice.test", "--to", "x@far.test"];
        peer.run("swaks", common.iter().chain(more).copied().collect::<Vec<_>>())
    };
    let login = ["--auth-user", "alice", "--auth-password", "secret"];
    for mechanism in ["PLAIN", "LOGIN"] {
        send(server.port(), &[&["-tls", "--auth", mechanism][..], &login].concat()).exits(0);
        send(inside, &[&["--tls-on-connect", "--auth", mechanism][..], &login].concat()).exits(0);
    }
    // 23: MAIL was refused; 29: no TLS, no AUTH.
    send(server.port(), &["-tls"]).exits(23).prints("530 5.7.0 authentication required");
    send(server.port(), &[]).exits(23).prints("530 5.7.0");
    assert_eq!(queued(dir.path()).len(), 4);
    Verdict::Ok
}

fn smtplib(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let (server, inside) = submission(dir.path());
    let program = format!(
        "import smtplib, ssl\ncontext = ssl.create_default_context(cafile='{}')\n\
         first = smtplib.SMTP('localhost', {})\nfirst.starttls(context=context)\n\
         for client in (first, smtplib.SMTP_SSL('localhost', {inside}, context=context)):\n\
         \x20   client.login('alice', 'secret')\n\
         \x20   client.sendmail('alice@alice.test', ['x@far.test'], 'From: alice@alice.test\\r\\n\\r\\nx\\r\\n')\n\
         \x20   client.quit()\n",
        dir.path().join("cert.pem").display(),
        server.port()
    );
    peer.run("python3", ["-c", &program]).exits(0);
    assert_eq!(queued(dir.path()), ["x@far.test", "x@far.test"]);
    Verdict::Ok
}

fn postfix(peer: &Peer) -> Verdict {
    if !rustix::process::geteuid().is_root() {
        return Verdict::NotApplicable("this server starts as root only");
    }
    let dir = temp_dir();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for mailbox in ["bob", "eve"] {
        std::fs::create_dir_all(dir.path().join("mail").join(mailbox)).unwrap();
    }
    let socket = dir.path().join("lmtp");
    let ours = server("smtpserve")
        .dir(dir.path())
        .args(["--listen", "127.0.0.1:0=lmtp", "--listen", &socket.to_string_lossy(), "--socket-owner", "daemon"])
        .args(["--domain", "b.test", "--mailboxes", "mail"])
        .start();
    let found = |mailbox: &str| -> Vec<String> {
        let files = std::fs::read_dir(dir.path().join("mail").join(mailbox).join("new")).into_iter().flatten();
        files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    };
    for (number, transport) in
        [format!("lmtp:unix:{}", socket.display()), format!("lmtp:inet:[127.0.0.1]:{}", ours.port())].iter().enumerate()
    {
        let (theirs, _) = servers::postfix_with(peer, &[&format!("virtual_transport={transport}")]);
        let url = format!("smtp://{}", theirs.addr());
        let subject = format!("number {number}");
        tool("smtpsend")
            .args(["--server", &url, "--from", "alice@alice.test", "--to", "bob@b.test", "--to", "eve@b.test"])
            .args(["--to", "nobody@b.test", "--subject", &subject, "--text", ".dot\nGr\u{fc}\u{df}e"])
            .run()
            .exits(0);
        let deadline = Instant::now() + LIMIT;
        for mailbox in ["bob", "eve"] {
            while found(mailbox).len() <= number {
                assert!(Instant::now() < deadline, "{transport}: no mail for {mailbox}\n{}", ours.stdout.text());
                std::thread::sleep(Duration::from_millis(50));
            }
            let messages = found(mailbox);
            let message = messages.iter().find(|message| message.contains(&subject)).expect("the message");
            assert!(message.contains("with LMTP id ") && message.contains("from postfix.test"), "{message}");
            assert_eq!(messages.len(), number + 1, "once");
        }
        // The refusal of one recipient comes back to the sender, not the message of the others.
        ours.stdout.wait_for("nobody@b.test");
    }
    Verdict::Ok
}
