//! The example of RFC 3461, section 10: a message to six people at four hosts, some of whose servers report themselves and some
//! not, from the submission to the last report.

use std::sync::{Arc, Mutex};

use crate::harness::{Conn, Peer, peer, server, temp_dir, tool};
use crate::queue::Sink;

/// A server of the example: offers DSN or not, refuses who is told, and keeps the commands it got.
fn host(dsn: bool, refuses: &'static str) -> (Peer, Arc<Mutex<Vec<String>>>) {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&heard);
    let server = peer(move |mut conn: Conn| {
        conn.send("220 ready\r\n");
        while let Some(line) = conn.line() {
            let reply = match line.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" if dsn => "250-host\r\n250 DSN\r\n",
                "EHLO" => "250 host\r\n",
                "RCPT" if line.contains(refuses) => "550 error - no such recipient\r\n",
                "DATA" => {
                    conn.send("354 okay, send message\r\n");
                    while conn.line().is_some_and(|line| line != ".") {}
                    "250 message accepted\r\n"
                }
                _ => "250 okay\r\n",
            };
            if line.starts_with("MAIL") || line.starts_with("RCPT") {
                kept.lock().unwrap().push(line);
            }
            conn.send(reply);
        }
    });
    (server, heard)
}

#[test]
fn the_example_of_rfc_3461() {
    let queue = temp_dir();
    let example_org = server("smtpserve")
        .args(["--hostname", "Example.ORG", "--relay-from", "127.0.0.0/8", "--queue-dir"])
        .arg(queue.path())
        .start();
    // 10.1: the submission.
    let mut stream = std::io::BufReader::new(std::net::TcpStream::connect(example_org.addr).unwrap());
    for (line, code) in [
        ("", "220"),
        ("EHLO Example.ORG", "250"),
        ("MAIL FROM:<Alice@Example.ORG> RET=HDRS ENVID=QQ314159", "250"),
        ("RCPT TO:<Bob@Example.COM> NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM", "250"),
        ("RCPT TO:<Carol@Ivory.EDU> NOTIFY=FAILURE ORCPT=rfc822;Carol@Ivory.EDU", "250"),
        ("RCPT TO:<Dana@Ivory.EDU> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana@Ivory.EDU", "250"),
        ("RCPT TO:<Eric@Bombs.AF.MIL> NOTIFY=FAILURE ORCPT=rfc822;Eric@Bombs.AF.MIL", "250"),
        ("RCPT TO:<Fred@Bombs.AF.MIL> NOTIFY=NEVER", "250"),
        ("RCPT TO:<George@Tax-ME.GOV> NOTIFY=FAILURE ORCPT=rfc822;George@Tax-ME.GOV", "250"),
        ("DATA", "354"),
        ("Subject: hello\r\n\r\nhi\r\n.", "250"),
        ("QUIT", "221"),
    ] {
        use std::io::{BufRead as _, Write as _};
        if !line.is_empty() {
            stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        }
        let mut reply = String::new();
        while reply.get(3..4) != Some(" ") {
            reply.clear();
            stream.read_line(&mut reply).unwrap();
        }
        assert!(reply.starts_with(code), "{line}: {reply}");
    }
    // 10.2 to 10.5: the relaying. Example.COM and Bombs.AF.MIL report themselves, Ivory.EDU and Tax-ME.GOV do not.
    let (com, com_heard) = host(true, "nobody");
    let (ivory, ivory_heard) = host(false, "Carol@");
    let (bombs, bombs_heard) = host(true, "nobody");
    let (tax, tax_heard) = host(false, "George@");
    let alice = Sink::taking_all();
    let routes = [
        format!("example.com=smtp://{}", com.addr),
        format!("ivory.edu=smtp://{}", ivory.addr),
        format!("bombs.af.mil=smtp://{}", bombs.addr),
        format!("tax-me.gov=smtp://{}", tax.addr),
        format!("example.org=smtp://{}", alice.peer.addr),
    ];
    let routes: Vec<&str> = routes.iter().flat_map(|route| ["--route", route]).collect();
    let run = || tool("mailq-run").args(["--helo", "Example.ORG", "--queue-dir"]).arg(queue.path()).args(&routes).run();
    run().exits(3);
    let heard = |commands: &Mutex<Vec<String>>| commands.lock().unwrap().clone();
    assert_eq!(
        heard(&com_heard),
        [
            "MAIL FROM:<Alice@Example.ORG> RET=HDRS ENVID=QQ314159",
            "RCPT TO:<Bob@Example.COM> NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM",
        ]
    );
    assert_eq!(
        heard(&ivory_heard),
        ["MAIL FROM:<Alice@Example.ORG>", "RCPT TO:<Carol@Ivory.EDU>", "RCPT TO:<Dana@Ivory.EDU>"]
    );
    assert_eq!(
        heard(&bombs_heard),
        [
            "MAIL FROM:<Alice@Example.ORG> RET=HDRS ENVID=QQ314159",
            "RCPT TO:<Eric@Bombs.AF.MIL> NOTIFY=FAILURE ORCPT=rfc822;Eric@Bombs.AF.MIL",
            "RCPT TO:<Fred@Bombs.AF.MIL> NOTIFY=NEVER",
        ]
    );
    assert_eq!(heard(&tax_heard), ["MAIL FROM:<Alice@Example.ORG>", "RCPT TO:<George@Tax-ME.GOV>"]);
    // 10.6 and on: Alice hears of Carol (failed), Dana (relayed to where nobody reports) and George (failed); of Bob, Eric
    // and Fred their own servers report what is to be reported.
    run().silent_success();
    let mut reports: Vec<String> = alice
        .mails()
        .iter()
        .map(|mail| {
            assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("", ["Alice@Example.ORG".to_owned()].as_slice()));
            assert!(mail.data.contains("Reporting-MTA: dns; Example.ORG\r\nOriginal-Envelope-Id: QQ314159\r\n"));
            let fields = ["Original-Recipient: ", "Final-Recipient: ", "Action: ", "Status: ", "Diagnostic-Code: "];
            let value = |name: &&str| mail.data.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
            fields.iter().map(value).collect::<Vec<_>>().join(" | ")
        })
        .collect();
    reports.sort();
    assert_eq!(
        reports,
        [
            "rfc822; Carol@Ivory.EDU | rfc822; Carol@Ivory.EDU | failed | 5.0.0 | smtp; 550 error - no such recipient",
            "rfc822; Dana@Ivory.EDU | rfc822; Dana@Ivory.EDU | relayed | 2.0.0 | smtp; 250 message accepted",
            "rfc822; George@Tax-ME.GOV | rfc822; George@Tax-ME.GOV | failed | 5.0.0 | smtp; 550 error - no such recipient",
        ]
    );
    let left = tool("mailq-ls").arg("--queue-dir").arg(queue.path()).run();
    assert_eq!(left.silent_success().text(), "");
}

#[test]
fn small_senders_do_not_wait_for_a_large_one() {
    let queue = temp_dir();
    let sink = Sink::taking_all();
    let list = |count: usize| -> Vec<(&str, &[&str], &str)> {
        (0..count).map(|_| ("news@big.test", &["r@b.test"][..], "Subject: list\r\n\r\nx\r\n")).collect()
    };
    // In the middle of two thousand of one sender, five of another.
    crate::queue::enqueue(queue.path(), &list(1000));
    for n in 0..5 {
        let subject = format!("Subject: letter {n}\r\n\r\nx\r\n");
        crate::queue::enqueue(queue.path(), &[("alice@a.test", &["r@b.test"], &subject)]);
    }
    crate::queue::enqueue(queue.path(), &list(1000));
    tool("mailq-run").arg("--queue-dir").arg(queue.path()).args(["--route", &sink.route()]).run().exits(0);
    let mails = sink.mails();
    let last = mails.iter().rposition(|mail| mail.from == "alice@a.test").unwrap();
    assert_eq!(mails.len(), 2005);
    assert!(last < 200, "the fifth letter was number {last} of {}", mails.len());
}
