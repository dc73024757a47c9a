//! Messages that are queued for an account: mailq-run delivers them to the account's server, with its TLS and its login, and the
//! queue holds none of its secrets.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::harness::{Conn, Done, Peer, peer, refusing, temp_dir, tool};
use crate::queue::Sink;
use crate::tls_peer::{TlsConn, self_signed};

/// PLAIN of the user `me` with the password `sesame`.
const LOGIN: &str = "AUTH PLAIN AG1lAHNlc2FtZQ==";

/// A submission server inside TLS that wants the login; everything it hears.
fn relay(dir: &Path) -> (Peer, Arc<Mutex<Vec<String>>>) {
    let (pem, config) = self_signed("relay.test");
    std::fs::write(dir.join("ca.pem"), pem).unwrap();
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&heard);
    let peer = peer(move |mut conn: Conn| {
        let mut tls = TlsConn::new(&mut conn, &config);
        if tls.send("220 relay.test\r\n") {
            let answer = |line: &str| match line.split(' ').next().unwrap_or_default() {
                "EHLO" => Some("250-relay.test\r\n250 AUTH PLAIN".to_owned()),
                "AUTH" if line == LOGIN => Some("235 2.7.0 in".to_owned()),
                "AUTH" => Some("535 5.7.8 no".to_owned()),
                _ => None,
            };
            tls.serve(&answer, &mut |line| kept.lock().unwrap().push(line.to_owned()));
        }
    });
    (peer, heard)
}

fn write_accounts(dir: &Path, port: u16, password: &str) {
    let text = format!(
        "account work\nhost 127.0.0.1\nport {port}\ntls on\ntls_starttls off\ntls_trust_file {}\ntls_host_override relay.test\n\
         auth plain\nuser me\npasswordeval echo {password}\nfrom me@work.test\ndomain me.work.test\n",
        dir.join("ca.pem").display()
    );
    std::fs::write(dir.join("accounts"), text).unwrap();
}

/// In a directory with accounts and a queue.
fn run(dir: &Path, name: &str, args: &[&str]) -> Done {
    tool(name).env("APPLAYER_QUEUE", dir.join("queue")).args(args).dir(dir).stdin("Subject: x\n\nx\n").run()
}

#[test]
fn what_is_queued_for_an_account_goes_by_its_server() {
    let composed = ["--account", "work", "--accounts", "accounts", "--from", "me@work.test", "--to", "b@b.test"];
    let by_author = ["--accounts", "accounts", "--from", "me@work.test", "--to", "b@b.test", "--queue-on-failure"];
    let sendmail = ["--sendmail", "--account", "work", "--accounts", "accounts", "-i", "b@b.test"];
    for (args, extra) in [
        (&composed[..], "--queue"),
        (&composed, "--queue-on-failure"),
        (&by_author, "--partial"),
        (&sendmail, "--queue"),
        (&sendmail, "--queue-on-failure"),
    ] {
        let dir = temp_dir();
        let (server, heard) = relay(dir.path());
        // While it is queued nothing listens there.
        write_accounts(dir.path(), refusing().addr.port(), "sesame");
        let args: Vec<&str> = match args.split_first() {
            Some((first, rest)) if *first == "--sendmail" => [&["--sendmail", extra], rest].concat(),
            _ => [args, &[extra]].concat(),
        };
        run(dir.path(), "smtpsend", &args).exits(0);
        for file in std::fs::read_dir(dir.path().join("queue")).unwrap().map(|file| file.unwrap().path()) {
            let bytes = if file.is_file() { std::fs::read(&file).unwrap() } else { Vec::new() };
            assert!(!bytes.windows(6).any(|part| part == b"sesame"), "{} holds the password", file.display());
        }
        write_accounts(dir.path(), server.addr.port(), "sesame");
        let other = Sink::taking_all();
        let way = ["--accounts", "accounts", "--route", &other.route(), "--flush", "--json"];
        let plan = run(dir.path(), "mailq-run", &["-n", "--accounts", "accounts", "--json"]);
        let route = &plan.exits(0).records_of("route")[0];
        assert_eq!((&route["place"], &route["tls"]), (&server.addr.to_string().into(), &"implicit".into()), "{plan}");
        let done = run(dir.path(), "mailq-run", &way);
        let attempt = &done.exits(0).records_of("attempt")[0];
        assert_eq!((&attempt["outcome"], &attempt["tls"]["verified"]), (&"delivered".into(), &true.into()), "{done}");
        let heard = heard.lock().unwrap();
        let said =
            |line: &str| assert!(heard.iter().any(|it| it.starts_with(line)), "{args:?}: no {line} in {heard:?}");
        ["EHLO me.work.test", LOGIN, "MAIL FROM:<me@work.test>", "RCPT TO:<b@b.test>"].into_iter().for_each(said);
        assert!(other.mails().is_empty(), "the route for all others took it");
    }
}

#[test]
fn an_account_that_cannot_be_used_keeps_its_mail_until_it_is_repaired() {
    let dir = temp_dir();
    let (server, heard) = relay(dir.path());
    write_accounts(dir.path(), server.addr.port(), "sesame");
    let args = ["--account", "work", "--accounts", "accounts", "--from", "me@work.test", "--to", "b@b.test", "--queue"];
    run(dir.path(), "smtpsend", &args).silent_success();
    let deferred = |says: &str, status: i32| {
        let done = run(dir.path(), "mailq-run", &["--accounts", "accounts", "--flush", "--json"]);
        let attempt = &done.records_of("attempt")[0];
        assert_eq!(attempt["outcome"], "deferred", "{done}");
        assert!(attempt["reply"].as_str().unwrap().contains(says), "{done}");
        done.exits(status).says(says);
    };
    let accounts = dir.path().join("accounts");
    std::fs::write(&accounts, "account other\nhost x\n").unwrap();
    deferred("no account work", 78);
    write_accounts(dir.path(), server.addr.port(), "wrong");
    deferred("535", 77);
    std::fs::set_permissions(&accounts, Permissions::from_mode(0o622)).unwrap();
    // A file that cannot be believed ends the run before anything is tried.
    let broken = |says: &str| {
        let done = run(dir.path(), "mailq-run", &["--accounts", "accounts", "--flush", "--json"]);
        assert!(done.exits(78).says(says).records_of("attempt").is_empty(), "{done}");
    };
    broken("others may change it");
    std::fs::remove_file(&accounts).unwrap();
    broken("No such file");
    write_accounts(dir.path(), server.addr.port(), "sesame");
    let done = run(dir.path(), "mailq-run", &["--accounts", "accounts", "--flush", "--json"]);
    assert_eq!(done.exits(0).records_of("attempt")[0]["outcome"], "delivered", "{done}");
    assert!(heard.lock().unwrap().iter().any(|line| line == LOGIN));
    // The account must be known when the message is queued.
    let unknown = ["--account", "none", "--accounts", "accounts", "--to", "b@b.test", "--queue"];
    run(dir.path(), "smtpsend", &unknown).exits(78).says("no account none");
}

#[test]
fn a_route_may_name_an_account() {
    let dir = temp_dir();
    let (server, heard) = relay(dir.path());
    write_accounts(dir.path(), server.addr.port(), "sesame");
    run(dir.path(), "smtpsend", &["--from", "me@work.test", "--to", "b@b.test", "--queue"]).silent_success();
    let way = ["--accounts", "accounts", "--route", "b.test=account:work", "--json"];
    let done = run(dir.path(), "mailq-run", &way);
    assert_eq!(done.exits(0).records_of("attempt")[0]["outcome"], "delivered", "{done}");
    assert!(heard.lock().unwrap().iter().any(|line| line == LOGIN));
}

#[test]
fn the_queue_of_the_machine_takes_no_account_of_a_user() {
    let dir = temp_dir();
    drop(relay(dir.path()));
    write_accounts(dir.path(), refusing().addr.port(), "sesame");
    std::fs::create_dir(dir.path().join("queue-drop")).unwrap();
    std::fs::set_permissions(dir.path().join("queue-drop"), Permissions::from_mode(0o1733)).unwrap();
    let account = ["--sendmail", "--account", "work", "--accounts", "accounts", "-i", "b@b.test"];
    let with = |extra: &str| run(dir.path(), "smtpsend", &[&account[..3], &[extra], &account[3..]].concat());
    with("--queue").exits(64).says("the machine's queue belongs to another user");
    with("--queue-on-failure").exits(0).says("uses its own relay");
}

#[test]
fn what_a_named_server_does_not_take_now_goes_to_that_server_later() {
    let dir = temp_dir();
    let dead = refusing();
    let (plain, user) = (format!("smtp://{}", dead.addr), format!("smtp://me:sesame@{}", dead.addr));
    let (lmtp, host) = (format!("lmtp://{}", dead.addr), dead.addr.to_string());
    let socket = format!("lmtp+unix:{}", dir.path().join("none").display());
    let starttls = format!("submission://{host}");
    let implicit = format!("smtps://{host}");
    for (server, extra, kept) in [
        (&plain, &[][..], Some(&plain)),
        (&plain, &["--tls", "starttls"], Some(&starttls)),
        (&plain, &["--tls", "implicit"], Some(&implicit)),
        (&starttls, &[], Some(&starttls)),
        (&implicit, &[], Some(&implicit)),
        (&host, &[], Some(&plain)),
        (&host, &["--protocol", "smtps"], Some(&implicit)),
        (&lmtp, &[], Some(&lmtp)),
        (&socket, &[], Some(&socket)),
        // The queue keeps no login, and no scheme requires TLS of LMTP.
        (&user, &["--tls", "none"], None),
        (&plain, &["--user", "me", "--password-command", "echo sesame", "--tls", "none"], None),
        (&lmtp, &["--tls", "starttls"], None),
    ] {
        let queue = temp_dir();
        let command = |name: &str| tool(name).env("APPLAYER_QUEUE", queue.path().join("queue")).dir(dir.path());
        let done = command("smtpsend")
            .args(["--queue-on-failure", "--from", "me@work.test", "--to", "b@b.test", "--server", server])
            .args(extra)
            .stdin("Subject: x\n\nx\n")
            .run();
        done.exits(0);
        assert_eq!(done.stderr.contains("mailq-run chooses the server"), kept.is_none(), "{done}");
        let listed = command("mailq-ls").arg("--json").run();
        let routes: Vec<_> = listed.exits(0).records_of("recipient").iter().map(|it| it["route"].clone()).collect();
        assert_eq!(routes, [kept.map_or(serde_json::Value::Null, |kept| kept.as_str().into())], "{done}{listed}");
    }
    // A server that refuses now gets the message later, and the route for all others does not.
    let first = AtomicBool::new(true);
    let server = Sink::new(move |line| {
        (line == "greeting" && first.swap(false, Ordering::Relaxed)).then(|| "421 4.3.2 later".to_owned())
    });
    let (url, other) = (format!("smtp://{}", server.peer.addr), Sink::taking_all());
    let args = ["--from", "me@work.test", "--to", "later@b.test", "--queue-on-failure", "--server", &url];
    run(dir.path(), "smtpsend", &args).exits(0).says("queued");
    run(dir.path(), "mailq-run", &["--route", &other.route(), "--flush"]).exits(0);
    assert_eq!((server.mails().len(), other.mails().len()), (1, 0));
}
