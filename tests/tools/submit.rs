//! smtpsend on its ways to a server: certificates, UNIX sockets, proxies, raw letters, and the names `sendmail` and
//! `mailq`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::harness::{Conn, Peer, binary, peer, server, temp_dir, tool};
use crate::mail::sink;
use crate::tls_peer::TlsConn;

/// A server inside TLS that wants a client certificate of this authority, offers EXTERNAL, and keeps what it hears.
fn external(dir: &Path) -> (Peer, Arc<Mutex<Vec<String>>>) {
    let made = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let (own, client) = (made("mail.b.test"), made("alice"));
    std::fs::write(dir.join("ca.pem"), own.cert.pem()).unwrap();
    std::fs::write(dir.join("client.pem"), client.cert.pem()).unwrap();
    std::fs::write(dir.join("client.key"), client.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(dir.join("client.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(client.cert.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = verifier.build().unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let (config, heard) = (Arc::new(config), Arc::new(Mutex::new(Vec::new())));
    let kept = Arc::clone(&heard);
    let peer = peer(move |mut conn: Conn| {
        let mut tls = TlsConn::new(&mut conn, &config);
        let answer = |line: &str| match line {
            line if line.starts_with("EHLO") => Some("250-x\r\n250 AUTH EXTERNAL PLAIN".to_owned()),
            line if line.starts_with("AUTH") => Some("235 2.7.0 you are who you are".to_owned()),
            _ => None,
        };
        if tls.send("220 x\r\n") {
            tls.serve(&answer, &mut |line| kept.lock().unwrap().push(line.to_owned()));
        }
    });
    (peer, heard)
}

#[test]
fn a_client_certificate_logs_in() {
    let dir = temp_dir();
    let (server, heard) = external(dir.path());
    let (host, port) = (server.addr.ip(), server.addr.port());
    let message = ["--from", "a@a.test", "--to", "b@b.test", "--body", "/dev/null"];
    let url = format!("smtps://{}", server.addr);
    let tls = ["--ca-cert", "ca.pem", "--tls-name", "mail.b.test"];
    let run = |args: &[&str]| {
        tool("smtpsend").args(["--server", &url]).args(tls).args(message).args(args).dir(dir.path()).run()
    };
    run(&["--cert", "client.pem", "--key", "client.key", "--auth", "external"]).exits(0).silent_success();
    assert!(heard.lock().unwrap().contains(&"AUTH EXTERNAL =".to_owned()), "{heard:?}");
    heard.lock().unwrap().clear();
    run(&["--cert", "client.pem", "--key", "client.key", "--auth", "external", "--user", "alice"]).exits(0);
    assert!(heard.lock().unwrap().contains(&"AUTH EXTERNAL YWxpY2U=".to_owned()), "{heard:?}");
    assert_ne!(run(&["--auth", "external"]).status, 0, "without a certificate nobody is let in");
    heard.lock().unwrap().clear();
    let accounts = format!(
        "account default\nhost {host}\nport {port}\nfrom a@a.test\ntls on\ntls_starttls off\ntls_trust_file {0}/ca.pem\n\
         tls_host_override mail.b.test\ntls_cert_file {0}/client.pem\ntls_key_file {0}/client.key\nauth external\nuser bob\n",
        dir.path().display()
    );
    std::fs::write(dir.path().join("accounts"), accounts).unwrap();
    let args = ["--accounts", "accounts", "--to", "b@b.test", "--body", "/dev/null"];
    tool("smtpsend").args(args).dir(dir.path()).run().exits(0).silent_success();
    assert!(heard.lock().unwrap().contains(&"AUTH EXTERNAL Ym9i".to_owned()), "{heard:?}");
}

/// An LMTP server on a UNIX socket that takes everybody but `later`; returns what it heard.
fn lmtp(path: &Path) -> Arc<Mutex<Vec<String>>> {
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut to, mut in_data) = (Vec::new(), false);
            stream.get_mut().write_all(b"220 x LMTP\r\n").unwrap();
            let mut line = String::new();
            while matches!({ line.clear(); stream.read_line(&mut line) }, Ok(count) if count > 0) {
                let text = line.trim_end().to_owned();
                kept.lock().unwrap().push(text.clone());
                let reply = match text.as_str() {
                    "." if in_data => {
                        in_data = false;
                        let each =
                            |to: &String| if to.contains("later") { "452 4.2.2 full\r\n" } else { "250 2.0.0 ok\r\n" };
                        to.drain(..).map(|to| each(&to)).collect()
                    }
                    _ if in_data => continue,
                    "DATA" => {
                        in_data = true;
                        "354 go\r\n".to_owned()
                    }
                    text if text.starts_with("LHLO") => "250-x\r\n250 PIPELINING\r\n".to_owned(),
                    text => {
                        to.extend(text.starts_with("RCPT").then(|| text.to_owned()));
                        "250 ok\r\n".to_owned()
                    }
                };
                if stream.get_mut().write_all(reply.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    heard
}

#[test]
fn lmtp_over_a_unix_socket_has_a_word_for_each_recipient() {
    let dir = temp_dir();
    let socket = dir.path().join("lmtp");
    let heard = lmtp(&socket);
    let url = format!("lmtp+unix:{}", socket.display());
    let to = ["--from", "a@a.test", "--to", "b@b.test, later@b.test, c@b.test", "--body", "/dev/null", "--json"];
    let done = tool("smtpsend").args(["--server", &url]).args(to).run();
    let outcomes: Vec<_> = done.exits(3).records_of("recipient").iter().map(|it| it["outcome"].to_string()).collect();
    assert_eq!(outcomes, ["\"delivered\"", "\"deferred\"", "\"delivered\""], "{done}");
    assert!(heard.lock().unwrap()[0].starts_with("LHLO "), "{heard:?}");
    // The same by an account, in msmtp's words.
    let accounts = format!("account default\nprotocol lmtp\nsocket {}\nfrom a@a.test\n", socket.display());
    std::fs::write(dir.path().join("accounts"), accounts).unwrap();
    let args = ["--accounts", "accounts", "--to", "b@b.test", "--body", "/dev/null"];
    tool("smtpsend").args(args).dir(dir.path()).run().exits(0).silent_success();
    tool("smtpsend")
        .args(["--server", "lmtp+unix:/nowhere/x", "--to", "b@b.test", "--body", "/dev/null"])
        .run()
        .exits(75);
}

#[test]
fn smtpserve_speaks_lmtp_with_a_word_for_each_mailbox() {
    let dir = temp_dir();
    for name in ["bob", "eve"] {
        std::fs::create_dir_all(dir.path().join("mail").join(name)).unwrap();
    }
    let server =
        server("smtpserve").args(["--domain", "b.test", "--mailboxes", "mail", "--lmtp", "-v"]).dir(dir.path()).start();
    let mut stream = BufReader::new(TcpStream::connect(server.addr).unwrap());
    let mut say = |line: &str, replies: usize| -> Vec<String> {
        stream.get_mut().write_all(line.as_bytes()).unwrap();
        let mut found = Vec::new();
        while found.len() < replies {
            let mut line = String::new();
            assert!(stream.read_line(&mut line).unwrap() > 0, "{found:?}");
            if line.as_bytes().get(3) == Some(&b' ') {
                found.push(line[..9].to_owned());
            }
        }
        found
    };
    say("", 1);
    say("LHLO x\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<bob@b.test>\r\nRCPT TO:<eve@b.test>\r\nDATA\r\n", 5);
    // One of the mailboxes vanishes before the message is there.
    std::fs::remove_dir_all(dir.path().join("mail/eve")).unwrap();
    assert_eq!(say("Subject: x\r\n\r\nx\r\n.\r\n", 2), ["250 2.0.0", "451 4.3.0"]);
    assert_eq!(std::fs::read_dir(dir.path().join("mail/bob/new")).unwrap().count(), 1);
    server.stdout.wait_for("\t<a@a.test>\tbob@b.test\t");
    server.stdout.wait_for("\trefused\tmessage\t<a@a.test>\t-\t127.0.0.1\t451 4.3.0");
}

#[test]
fn as_sendmail_and_mailq_it_is_found_by_its_name() {
    let dir = temp_dir();
    for name in ["sendmail", "mailq"] {
        std::os::unix::fs::symlink(binary("smtpsend"), dir.path().join(name)).unwrap();
    }
    // Relative links, as a package makes them, beside the real thing.
    let queue = dir.path().join("queue");
    let run = |name: &str, args: &[&str], input: &str| {
        let mut command = std::process::Command::new(dir.path().join(name));
        command.args(args).env_clear().env("APPLAYER_QUEUE", &queue).env("PATH", "/usr/bin:/bin");
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        crate::harness::finish(
            command,
            format!("{name} {args:?}"),
            Some(input.into()),
            std::time::Duration::from_secs(20),
        )
    };
    run("sendmail", &["-t", "-oi", "-fcron@a.test"], "To: b@b.test\nBcc: c@c.test\n\nx\n").silent_success();
    run(
        "sendmail",
        &["-i", "-r", "cron@a.test", "-N", "never", "-R", "hdrs", "-V", "id", "-B8BITMIME", "d@d.test"],
        "x\n",
    )
    .exits(0);
    let listed = run("mailq", &[], "");
    listed.exits(0).prints("b@b.test").prints("c@c.test").prints("d@d.test");
    run("sendmail", &["-bp"], "").exits(0).prints("b@b.test");
    run("sendmail", &["-bd"], "").exits(64);
}

#[test]
fn raw_letters_in_a_header_are_encoded_unless_signed() {
    let message = "From: a@a.test\nTo: b@b.test\nSubject: Grüße\n\nGrüße\n";
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let offering = |lines: &'static str| {
        let asked = Arc::clone(&asked);
        sink(move |line| {
            asked.lock().unwrap().push(line.to_owned());
            line.starts_with("EHLO").then_some(lines)
        })
    };
    let send = |server: &Peer, message: &str| crate::mail::send(server, &["-t"]).stdin(message).run();
    let mail = || asked.lock().unwrap().iter().rfind(|line| line.starts_with("MAIL")).cloned().unwrap();
    let all = "250-x\r\n250-8BITMIME\r\n250 SMTPUTF8";
    let signed = format!("DKIM-Signature: v=1; b=x\n{message}");
    let foreign = message.replace("To: b@b.test", "To: b@b.test\nCc: ü@b.test");
    // What is signed, and what has an address of such letters, needs a server that takes it as it is.
    for text in [&signed, &foreign] {
        let (server, taken) = offering(all);
        send(&server, text).silent_success();
        assert!(mail().ends_with(" BODY=8BITMIME SMTPUTF8"), "{}", mail());
        assert!(String::from_utf8(taken.lock().unwrap()[0].message.clone()).unwrap().contains("Subject: Grüße\r\n"));
    }
    let (server, taken) = offering(all);
    send(&server, message).silent_success();
    assert!(mail().ends_with(" BODY=8BITMIME"), "{}", mail());
    let text = String::from_utf8(taken.lock().unwrap()[0].message.clone()).unwrap();
    assert!(text.contains("Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n") && text.ends_with("\r\n\r\nGrüße\r\n"), "{text}");
    for (offer, eight) in [("250-x\r\n250 8BITMIME", true), ("250 x", false)] {
        let (server, taken) = offering(offer);
        send(&server, message).silent_success();
        assert!(!mail().contains("SMTPUTF8") && mail().contains("BODY=8BITMIME") == eight, "{}", mail());
        let text = String::from_utf8(taken.lock().unwrap()[0].message.clone()).unwrap();
        assert!(text.contains("Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n") && text.is_ascii() != eight, "{text}");
        assert!(eight || text.contains("quoted-printable") && text.ends_with("Gr=C3=BC=C3=9Fe\r\n"), "{text}");
        send(&server, &signed).exits(69).says("8-bit");
    }
    // Letters of an older charset ask for nothing that a server could offer.
    let (server, _) = offering("250-x\r\n250-8BITMIME\r\n250 SMTPUTF8");
    let latin = [b"From: a@a.test\nTo: b@b.test\nSubject: Gr\xfc\xdfe\n\nx\n".as_slice()].concat();
    crate::mail::send(&server, &["-t"]).stdin(latin).run().silent_success();
    assert!(mail().ends_with(" BODY=8BITMIME"), "{}", mail());
}

#[test]
fn the_queue_makes_seven_bits_for_a_server_that_takes_no_others() {
    let dir = temp_dir();
    let (server, taken) = sink(|line| line.starts_with("EHLO").then_some("250-x\r\n250 PIPELINING"));
    let queue = ["--queue-dir", "queue"];
    let message = "From: a@a.test\nTo: b@b.test\nSubject: Grüße\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
                   Content-Transfer-Encoding: 8bit\n\nGrüße\n";
    let signed = format!("DKIM-Signature: v=1; b=x\n{}", message.replace("To: b@", "To: signed@"));
    for text in [message, &signed] {
        tool("smtpsend").args(["--queue", "-t"]).args(queue).dir(dir.path()).stdin(text).run().silent_success();
    }
    let route = format!("*=smtp://{}", server.addr);
    let done = tool("mailq-run").args(queue).args(["--route", &route, "--json", "--tls", "none"]).dir(dir.path()).run();
    let taken = taken.lock().unwrap();
    let text: Vec<String> = taken.iter().map(|it| String::from_utf8(it.message.clone()).unwrap()).collect();
    let ours: Vec<&String> = text.iter().filter(|text| text.contains("To: b@b.test")).collect();
    assert_eq!(ours.len(), 1, "{text:?}\n{done}");
    assert!(ours[0].is_ascii() && ours[0].contains("Gr=C3=BC=C3=9Fe\r\n"), "{}", ours[0]);
    assert!(!text.iter().any(|text| text.contains("To: signed@") && !text.contains("5.6.3")), "{text:?}");
    assert!(done.text().contains("5.6.3"), "{done}");
}
