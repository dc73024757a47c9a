//! The ways of mailq-run: routes, smarthosts and accounts, plans, selections, loops; and what mailq-edit shows and returns.

use std::collections::BTreeSet;
use std::path::Path;

use applayer::blob::Blob;
use applayer::queue::entry::{NewMessage, QueueId};

use crate::harness::{Done, peer, refusing, server, temp_dir, tool};
use crate::queue::{Sink, enqueue, enqueue_all, envelope, run};

const HELLO: &str = "Subject: hello\r\n\r\nhello\r\n";

fn edit(queue: &Path, args: &[&str]) -> Done {
    tool("mailq-edit").env("APPLAYER_QUEUE", queue).args(args).run()
}

/// dnsserve with these lines below `test.`; 127.0.0.1 is the address of `mx`.
fn names(dir: &Path, lines: &str) -> crate::harness::Server {
    let zone = dir.join("zone");
    let head = "$ORIGIN test.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 127.0.0.1\nmx A 127.0.0.1\n";
    std::fs::write(&zone, format!("{head}{lines}")).unwrap();
    server("dnsserve").arg(&zone).start()
}

#[test]
fn mail_goes_where_the_names_say() {
    let (queue, dir) = (temp_dir(), temp_dir());
    let dns = names(
        dir.path(),
        "bob MX 10 mx\nplain A 127.0.0.1\nnull MX 0 .\nxn--bcher-kva MX 5 mx\nloop MX 5 client.test.\nclient A 127.0.0.1\n\
         deadmx MX 5 nowhere\nlocal MX 5 own\nown A 127.0.0.99\n",
    );
    let sink = Sink::taking_all();
    let to = [
        "a@bob.test",
        "b@plain.test",
        "c@bücher.test",
        "d@null.test",
        "e@loop.test",
        "f@deadmx.test",
        "g@nx.test",
        "h@local.test",
        "i@elsewhere.example",
    ];
    let messages: Vec<(&str, &[&str], &str)> =
        to.iter().map(|to| ("a@a.test", std::slice::from_ref(to), HELLO)).collect();
    enqueue(queue.path(), &messages);
    let (port, resolver) = (sink.peer.addr.port().to_string(), dns.addr.to_string());
    let way = ["--mx-port", &port, "--resolver", &resolver, "--local", "127.0.0.99", "--json"];
    let plan = run(queue.path(), &[&way[..], &["-n"]].concat());
    // The first that has no way for good decides, in the order of the domains.
    plan.exits(68);
    let routes = plan.records_of("route");
    let found: Vec<_> =
        routes.iter().map(|it| (it["domain"].as_str().unwrap(), it["host"].as_str().unwrap())).collect();
    assert_eq!(found, [("bob.test", "mx.test"), ("bücher.test", "mx.test"), ("plain.test", "plain.test")]);
    assert!(routes.iter().all(|it| it["place"] == format!("127.0.0.1:{port}") && it["recipients"] == 1));
    let done = run(queue.path(), &way);
    let ends: Vec<String> = done
        .records_of("attempt")
        .iter()
        .map(|it| {
            let text = |name: &str| it[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", text("address"), text("outcome"), text("enhanced"))
        })
        .collect();
    let ends: BTreeSet<String> = ends.into_iter().collect();
    assert_eq!(
        ends,
        BTreeSet::from(
            [
                "a@bob.test delivered 2.0.0",
                "b@plain.test delivered 2.0.0",
                "d@null.test failed 5.1.10",
                "e@loop.test failed 5.4.6",
                "f@deadmx.test failed 5.1.2",
                "g@nx.test failed 5.1.2",
                "h@local.test failed 5.4.6",
                "i@elsewhere.example deferred 4.4.3",
                "c@bücher.test delivered 2.0.0",
            ]
            .map(str::to_owned)
        ),
        "{done}"
    );
    done.prints("mail host of deadmx.test").prints("looking up MX of elsewhere.example: REFUSED");
}

#[test]
fn a_server_that_greets_with_our_name_is_a_loop_and_loopback_is_not() {
    let (queue, dir) = (temp_dir(), temp_dir());
    let dns = names(dir.path(), "bob MX 10 mx\n");
    let ours = Sink::new(|line| (line == "greeting").then(|| "220 client.test ESMTP".to_owned()));
    enqueue(queue.path(), &[("a@a.test", &["b@bob.test"], HELLO)]);
    let (port, resolver) = (ours.peer.addr.port().to_string(), dns.addr.to_string());
    let done = run(queue.path(), &["--mx-port", &port, "--resolver", &resolver, "--json"]);
    done.exits(69).says("loops back");
    assert_eq!(done.records_of("attempt")[0]["enhanced"], "5.4.6");
    // A next hop that was named is meant, whatever it calls itself.
    enqueue(queue.path(), &[("a@a.test", &["b@bob.test"], HELLO)]);
    run(queue.path(), &["--route", &ours.route()]).silent_success();
    assert!(!ours.mails().is_empty());
}

#[test]
fn only_what_is_selected_is_planned_asked_for_and_tried() {
    let queue = temp_dir();
    let asked: std::sync::Arc<std::sync::Mutex<Vec<Vec<u8>>>> = Default::default();
    let kept = asked.clone();
    let dns = crate::harness::udp_peer(move |query| {
        kept.lock().unwrap().push(query.to_vec());
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        answer[3] = (answer[3] & 0xf0) | 5;
        vec![answer]
    });
    let resolver = dns.to_string();
    let ids = enqueue(
        queue.path(),
        &[
            ("a@a.test", &["b@one.test"], HELLO),
            ("a@a.test", &["c@two.test"], HELLO),
            ("x@x.test", &["d@three.test"], HELLO),
        ],
    );
    let names = || -> Vec<&'static str> {
        let asked = std::mem::take(&mut *asked.lock().unwrap());
        let holds = |query: &[u8], name: &str| query.windows(name.len()).any(|window| window == name.as_bytes());
        let all = ["one", "two", "three"];
        all.into_iter().filter(|name| asked.iter().any(|query| holds(query, name))).collect()
    };
    for (select, expected) in [
        (vec![ids[0].to_string()], vec!["one"]),
        (vec!["--domain".to_owned(), "two.test".to_owned()], vec!["two"]),
        (vec!["--sender".to_owned(), "x@x.test".to_owned()], vec!["three"]),
    ] {
        let select: Vec<&str> = select.iter().map(String::as_str).collect();
        run(queue.path(), &[&["-n", "--resolver", &resolver], &select[..]].concat()).exits(75);
        assert_eq!(names(), expected, "-n {select:?}");
        let done = run(queue.path(), &[&["--json", "--resolver", &resolver], &select[..]].concat());
        assert_eq!(done.exits(0).records_of("attempt").len(), 1, "{done}");
        assert_eq!(names(), expected, "{select:?}");
    }
    run(queue.path(), &["--sender", "nobody@x.test"]).exits(1);
    // A chosen next hop is part of the plan.
    edit(queue.path(), &["reroute", &ids[0].to_string(), "--to", "smtps://127.0.0.9"]).silent_success();
    let plan = run(queue.path(), &["-n", "--domain", "one.test"]);
    plan.silent_success().prints("127.0.0.9\t127.0.0.9:465\tsmtp\timplicit");
    run(queue.path(), &["--password-file", "-", "-"]).exits(64);
}

#[test]
fn a_smarthost_gets_the_login_of_an_account() {
    let (queue, dir) = (temp_dir(), temp_dir());
    let at = |name: &str| dir.path().join(name);
    let hash = tool("smtpserve").arg("--hash-password").stdin("secret\n").run();
    std::fs::write(at("users"), format!("alice:{}\n", hash.exits(0).text().trim())).unwrap();
    std::fs::create_dir_all(at("mail/bob")).unwrap();
    let smarthost = server("smtpserve")
        .args(["--domain", "bob.test", "--hostname", "relay.test", "--self-signed", "relay.test"])
        .args(["--mailboxes".as_ref(), at("mail").as_os_str(), "--queue-dir".as_ref(), at("next").as_os_str()])
        .args(["--user-file".as_ref(), at("users").as_os_str(), "--cert-out".as_ref(), at("cert.pem").as_os_str()])
        .start();
    let account = format!(
        "account work\nhost 127.0.0.1\nport {}\ntls on\ntls_trust_file {}\ntls_host_override relay.test\nauth login\n\
         user alice\npasswordeval echo secret\ndomain client.test\n",
        smarthost.port(),
        at("cert.pem").display()
    );
    std::fs::write(at("accounts"), account).unwrap();
    let accounts = at("accounts");
    let accounts = accounts.to_str().unwrap();
    enqueue(queue.path(), &[("a@a.test", &["x@elsewhere.test"], HELLO)]);
    let done = tool("mailq-run")
        .args(["--queue-dir".as_ref(), queue.path().as_os_str()])
        .args(["--account", "work", "--accounts", accounts, "--json"])
        .run();
    let attempt = &done.exits(0).records_of("attempt")[0];
    assert_eq!((&attempt["outcome"], &attempt["tls"]["verified"]), (&"delivered".into(), &true.into()), "{done}");
    for phase in ["connect_ms", "greeting_ms", "hello_ms", "tls_ms", "login_ms"] {
        assert!(attempt[phase].as_f64().is_some_and(|ms| ms > 0.0), "{phase}: {done}");
    }
    let relayed = tool("mailq-ls").arg("--queue-dir").arg(at("next")).run();
    relayed.silent_success().prints("x@elsewhere.test");
    // A wrong password is somebody's to repair: the message waits.
    std::fs::write(at("accounts"), std::fs::read_to_string(accounts).unwrap().replace("secret", "wrong")).unwrap();
    enqueue(queue.path(), &[("a@a.test", &["x@elsewhere.test"], HELLO)]);
    let way = ["--account", "work", "--accounts", accounts, "--json"];
    let done = run(queue.path(), &way);
    let attempt = &done.exits(77).says("AUTH LOGIN: 535").records_of("attempt")[0];
    assert_eq!((&attempt["outcome"], &attempt["kind"]), (&"deferred".into(), &"auth_failed".into()), "{done}");
    run(queue.path(), &["--account", "home", "--accounts", accounts]).exits(78);
    run(queue.path(), &["--account", "work", "--smarthost", "smtp://x"]).exits(64);
    run(queue.path(), &["--account", "work"]).exits(78).says("no accounts file");
}

#[test]
fn a_warning_is_sent_once_and_returned_mail_names_its_first_address() {
    let queue = temp_dir();
    let dead = refusing();
    let route = format!("b.test=smtp://{}", dead.addr);
    let mut envelope = envelope("a@a.test", &["b@b.test", "c@b.test"]);
    envelope.recipients[0].notify = "DELAY".parse().ok();
    envelope.recipients[1].notify = "FAILURE".parse().ok();
    let message = NewMessage::new(envelope, Blob::memory(HELLO.as_bytes().to_vec()));
    let id = enqueue_all(queue.path(), vec![message])[0].to_string();
    let sink = Sink::taking_all();
    let to_us = format!("a.test=smtp://{}", sink.peer.addr);
    for _ in 0..3 {
        let way = ["--route", &route, "--route", &to_us, "--flush", "--warn-after", "1ms"];
        run(queue.path(), &way).silent_success();
    }
    assert_eq!(sink.mails().len(), 1, "one warning");
    let warning = &sink.mails()[0].data;
    assert!(warning.contains("Action: delayed") && warning.contains("Will-Retry-Until: "), "{warning}");
    assert!(
        warning.contains("b@b.test") && !warning.contains("c@b.test"),
        "who did not ask for DELAY gets none\n{warning}"
    );
    edit(queue.path(), &["readdress", &id, "--recipient", "c@b.test", "--to", "d@d.test"]).silent_success();
    edit(queue.path(), &["bounce", &id, "--domain", "d.test", "--helo", "mail.a.test"]).silent_success();
    run(queue.path(), &["--route", &to_us, "--domain", "a.test"]).silent_success();
    let report = &sink.mails()[1].data;
    for part in
        ["Reporting-MTA: dns; mail.a.test", "Original-Recipient: rfc822; c@b.test", "Final-Recipient: rfc822; d@d.test"]
    {
        assert!(report.contains(part), "{part} in {report}");
    }
}

#[test]
fn a_message_is_shown_in_its_parts() {
    let queue = temp_dir();
    let large = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(10_000));
    let ids =
        enqueue(queue.path(), &[("a@a.test", &["b@b.test"], &large), ("a@a.test", &["b@b.test"], "\r\nno header\r\n")]);
    let show = |id: QueueId, what: &str| edit(queue.path(), &["show", &id.to_string(), what]);
    assert_eq!(show(ids[0], "--message").silent_success().text(), large);
    assert_eq!(show(ids[0], "--header").silent_success().text(), "Subject: large\r\n");
    assert_eq!(show(ids[0], "--body").silent_success().text(), large.split_once("\r\n\r\n").unwrap().1);
    assert_eq!(show(ids[1], "--header").silent_success().text(), "");
    assert_eq!(show(ids[1], "--body").silent_success().text(), "no header\r\n");
    let id = ids[0].to_string();
    edit(queue.path(), &["show", &id, "--body", "--header"]).exits(64);
    edit(queue.path(), &["hold", &id, "--body"]).exits(64);
    edit(queue.path(), &["hold", &id, "--bounce-to", "x@x.test"]).exits(64);
    edit(queue.path(), &["show", &id, "--body", "--json"]).exits(64).says("another place");
}

#[test]
fn what_has_no_sender_goes_to_the_postmaster_once() {
    let queue = temp_dir();
    let nobody = Sink::new(|line| line.starts_with("RCPT").then(|| "550 5.1.1 no such user".to_owned()));
    enqueue(queue.path(), &[("", &["b@b.test"], HELLO)]);
    let done = run(queue.path(), &["--route", &nobody.route(), "--bounce-to", "postmaster@a.test"]);
    done.exits(69).says("returned to its sender");
    // The report about the report has nobody left to tell.
    run(queue.path(), &["--route", &nobody.route(), "--bounce-to", "postmaster@a.test"]).exits(69);
    let left = tool("mailq-ls").env("APPLAYER_QUEUE", queue.path()).run();
    assert_eq!(left.silent_success().text(), "");
}

#[test]
fn editing_and_listing_beside_runners_loses_and_doubles_nothing() {
    let queue = temp_dir();
    let sink = Sink::taking_all();
    let messages: Vec<(String, String)> =
        (0..120).map(|n| (format!("r{n}@d{}.test", n % 6), format!("Subject: {n}\r\n\r\nx\r\n"))).collect();
    for (to, body) in &messages {
        enqueue(queue.path(), &[("a@a.test", &[to.as_str()], body)]);
    }
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..6 {
                    run(queue.path(), &["--route", &sink.route(), "--rate", "200/s"]).exits(0);
                }
            });
        }
        scope.spawn(|| {
            for round in 0..6 {
                let domain = format!("d{round}.test");
                // What a runner is trying right now cannot be changed (75), what is gone neither (1).
                for verb in ["hold", "release", "retry"] {
                    let done = edit(queue.path(), &[verb, "--domain", &domain]);
                    assert!([0, 1, 75].contains(&done.status), "{done}");
                }
            }
        });
        scope.spawn(|| {
            for _ in 0..10 {
                for args in [&["--json"][..], &["--summary"], &["--count"]] {
                    tool("mailq-ls").env("APPLAYER_QUEUE", queue.path()).args(args).run().exits(0);
                }
            }
        });
    });
    edit(queue.path(), &["release", "--state", "held"]);
    run(queue.path(), &["--route", &sink.route(), "--flush"]).exits(0);
    let mut subjects: Vec<String> =
        sink.mails().iter().map(|mail| mail.data.lines().next().unwrap().to_owned()).collect();
    subjects.sort();
    let mut wanted: Vec<String> = (0..120).map(|n| format!("Subject: {n}")).collect();
    wanted.sort();
    assert_eq!(subjects, wanted);
    assert_eq!(tool("mailq-ls").env("APPLAYER_QUEUE", queue.path()).run().silent_success().text(), "");
}

/// `--bind` of every client: the server sees that address, on FTP's data connections too.
#[test]
fn connections_come_from_the_address_that_was_bound() {
    let echo = peer(|mut conn| {
        let from = conn.stream().get_ref().peer_addr().unwrap().ip();
        conn.send(format!("421 4.3.2 seen from {from}\r\n"));
        conn.until_closed();
    });
    let (queue, root) = (temp_dir(), temp_dir());
    let bound = ["--bind", "127.0.0.9"];
    enqueue(queue.path(), &[("a@a.test", &["b@bob.test"], HELLO)]);
    let route = format!("*=smtp://{}", echo.addr);
    run(queue.path(), &[&bound[..], &["--route", &route, "--json"]].concat()).prints("seen from 127.0.0.9");
    let to = format!("smtp://{}", echo.addr);
    let message = ["--from", "a@a.test", "--to", "b@b.test", "--subject", "x", "--body", "/dev/null"];
    tool("smtpsend").args(bound).args(["--server", &to]).args(message).run().exits(75).says("seen from 127.0.0.9");
    let url = format!("ftp://{}/x", echo.addr);
    tool("ftpls").args(bound).arg(&url).run().exits(75).says("seen from 127.0.0.9");
    // ftpserve takes data connections only from where the control connection comes from.
    std::fs::write(root.path().join("file"), "text").unwrap();
    let ftp = server("ftpserve").arg(root.path()).start();
    let url = format!("ftp://{}/file", ftp.addr);
    assert_eq!(tool("ftpget").args(bound).args(["-q", "-o", "-", &url]).run().exits(0).text(), "text");
}

#[test]
fn a_damaged_row_is_named_and_held_and_the_rest_of_the_queue_goes_on() {
    let queue = temp_dir();
    let messages: [(&str, &[&str], &str); 2] =
        [("a@a.test", &["b@b.test", "c@b.test"], HELLO), ("", &["d@b.test"], HELLO)];
    let ids = enqueue(queue.path(), &messages);
    let database = rusqlite::Connection::open(queue.path().join("queue.db")).unwrap();
    database.execute("UPDATE recipient SET notify = 'NEVERMORE' WHERE message = ? AND n = 1", [ids[0].0]).unwrap();
    let sink = Sink::taking_all();
    let said = format!("queue entry {}, recipient 1: NOTIFY \"NEVERMORE\"", ids[0]);
    let list = |args: &[&str]| tool("mailq-ls").arg("--queue-dir").arg(queue.path()).args(args).run();
    let listed = list(&["--json"]);
    listed.exits(65).says(&said).prints("b@b.test").prints("d@b.test").prints("\"kind\":\"bad_data\"");
    run(queue.path(), &["-n", "--route", &sink.route()]).exits(65).says(&said).prints("b.test");
    let id = ids[0].to_string();
    edit(queue.path(), &["show", &id]).exits(65).says(&said).prints("b@b.test");
    run(queue.path(), &["--route", &sink.route()]).exits(65).says(&said);
    assert_eq!(sink.mails().len(), 2, "the others are delivered");
    run(queue.path(), &["--route", &sink.route()]).silent_success();
    list(&["--count"]).exits(0).prints("1 held");
    edit(queue.path(), &["bounce", &id]).exits(65).says(&said);
    edit(queue.path(), &["hold", "-n", &id]).exits(65).says(&said);
    edit(queue.path(), &["release", &id]).silent_success();
    edit(queue.path(), &["hold", &id]).silent_success();
    database.execute("UPDATE recipient SET notify = 'NEVER'", []).unwrap();
    list(&[]).exits(0).prints("c@b.test").prints(&said);
    edit(queue.path(), &["release", &id]).silent_success();
    run(queue.path(), &["--route", &sink.route()]).silent_success();
    assert_eq!(sink.mails().len(), 3, "mended, it goes");
}
