//! Header fields as strangers write them, through the real command lines of smtpsend and mailread.

use std::path::Path;

use crate::harness::{Done, temp_dir, tool};
use crate::mail::{maildir, read, send, sink};

/// mailread on one message from stdin.
fn on(message: &[u8], args: &[&str]) -> Done {
    tool("mailread").args(args).args(["-m", "-"]).stdin(message).run()
}

#[test]
fn a_line_of_white_space_folds_and_no_recipient_is_lost() {
    for blank in [" ", "\t", " \t  ", " \n \n\t"] {
        let message = format!(
            "From: a@b.test\nTo: c@d.test,\n{blank}\n e@f.test\nBcc: g@h.test,\n{blank}\n i@j.test\nSubject: x\n\nbody\n"
        );
        for text in [message.clone(), message.replace('\n', "\r\n")] {
            let (server, taken) = sink(|_| None);
            send(&server, &["-t"]).stdin(text.as_bytes()).run().silent_success();
            let taken = taken.lock().unwrap()[0].clone();
            assert_eq!(taken.recipients, ["c@d.test", "e@f.test", "g@h.test", "i@j.test"], "{blank:?}");
            let sent = String::from_utf8(taken.message).unwrap();
            let (head, body) = sent.split_once("\r\n\r\n").unwrap();
            assert_eq!(body, "body\r\n");
            assert!(!sent.contains("g@h") && !sent.contains("i@j") && head.contains("Subject: x\r\n"), "{sent}");
            assert!(head.lines().all(|line| !line.trim().is_empty()), "{head:?}");
            let record = on(text.as_bytes(), &["list", "--json"]).records().remove(0);
            assert_eq!((record["subject"].as_str(), record["to"].as_array().unwrap().len()), (Some("x"), 2));
        }
    }
}

#[test]
fn a_malformed_address_costs_no_other_one() {
    let message = "From: a@b.test\nTo: first@a.test, second@a.test third@a.test, fourth@a.test\n\
        Cc: mary@b.test , , jdoe@test . example, Pat Doe pat@a.test, \"open <o@a.test>\nSubject: x\n\nhi\n";
    for action in ["list", "show"] {
        let done = on(message.as_bytes(), &[action, "--json"]);
        let record = done.records().remove(0);
        let addresses = |field: &str| -> Vec<String> {
            record[field].as_array().unwrap().iter().map(|it| it["address"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(addresses("to"), ["first@a.test", "fourth@a.test"], "{action}");
        assert_eq!(addresses("cc"), ["mary@b.test", "jdoe@test.example", "pat@a.test", "o@a.test"], "{action}");
        assert_eq!(record["cc"][2]["name"], "Pat Doe");
        assert_eq!(record["unparsed"], serde_json::json!(["second@a.test third@a.test"]), "{action}");
    }
    let reply = on(message.as_bytes(), &["reply", "-a"]);
    reply.exits(0).says("second@a.test third@a.test: not an address; taken for second@a.test, third@a.test");
    for address in ["first", "second", "third", "fourth", "pat"] {
        assert_eq!(reply.text().matches(&format!("{address}@a.test")).count(), 1, "{address} in {}", reply.text());
    }
}

#[test]
fn an_answer_goes_to_everybody_else_once() {
    let home = temp_dir();
    std::fs::create_dir_all(home.path().join(".config/applayer")).unwrap();
    std::fs::write(home.path().join(".config/applayer/accounts"), "account work\nhost h.test\nfrom me@work.test\n")
        .unwrap();
    let reply = |message: &str, args: &[&str]| {
        tool("mailread").args(["reply", "-m", "-"]).args(args).home(home.path()).stdin(message).run()
    };
    let message = "From: a@b.test\nTo: Me <ME@work.test>, me@home.test, C <c@d.test>\nCc: c@D.test, e@f.test\n\nhi\n";
    let done = reply(message, &["-a", "--me", "*@home.test"]);
    done.silent_success();
    assert!(done.text().starts_with("To: a@b.test\nCc: C <c@d.test>, e@f.test\nSubject:"), "{}", done.text());
    let list = format!("Mail-Followup-To: list@l.test, me@work.test\n{message}");
    assert!(reply(&list, &["-a"]).silent_success().text().starts_with("To: list@l.test\nSubject:"));
    assert!(reply(&list, &[]).silent_success().text().starts_with("To: a@b.test\nSubject:"));
    // Who cannot be read is said, and nothing is made up.
    reply("From: Pat Doe\nSubject: x\n\nhi\n", &[]).exits(65).says("no address to reply to").says("Pat Doe");
    let pat = reply("From: Pat Doe pat@a.test\nMessage-ID: <a@b\n\tc>\n\nhi\n", &[]);
    pat.silent_success().prints("To: Pat Doe <pat@a.test>\n").prints("In-Reply-To: <a@bc>\n").prints("Pat Doe wrote:");
    reply("From: a@b.test\n\nx\n", &["--me", "a@b.test"]).silent_success().prints("To: a@b.test\n");
    tool("mailread")
        .args(["list", "--me", "a@b", "-m", "-"])
        .stdin("A: b\n")
        .run()
        .exits(64)
        .says("--me goes with reply");
}

#[test]
fn a_date_that_cannot_be_read_is_the_time_of_delivery() {
    let dated = |mailbox: &Path| {
        let done = read(&["list", "--json"], mailbox);
        let record = done.records().remove(0);
        let text = |field: &str| record[field].as_str().map(str::to_owned);
        (text("date"), text("date_source"))
    };
    let delivery = || Some("delivery".to_owned());
    let (_folder, path) = maildir(&["Date: someday\nSubject: x\n\nhi\n"]);
    assert_eq!(dated(&path), (Some("2023-11-14T22:13:20Z".to_owned()), delivery()));
    let (_folder, path) = maildir(&["Date: Thu Aug 14 14:15:52 2025\nSubject: x\n\nhi\n"]);
    assert_eq!(dated(&path), (Some("2025-08-14T14:15:52Z".to_owned()), None));
    let dir = temp_dir();
    for (content, expected) in [
        ("From x@y.test Thu Aug 14 14:15:52 2025\nSubject: x\n\nhi\n", Some("2025-08-14T14:15:52Z")),
        ("Received: from a by b; Thu, 14 Aug 2025 14:15:52 +0200\nSubject: x\n\nhi\n", Some("2025-08-14T12:15:52Z")),
        ("Subject: x\n\nhi\n", None),
    ] {
        let file = dir.path().join("box");
        std::fs::write(&file, content).unwrap();
        assert_eq!(dated(&file), (expected.map(str::to_owned), expected.and_then(|_| delivery())), "{content}");
        let shown = read(&["show", "--json"], &file);
        assert_eq!(shown.records()[0]["date"].as_str(), expected);
    }
}

#[test]
fn names_with_a_semicolon_are_attached_and_come_back() {
    let dir = temp_dir();
    for name in ["a;b.txt", "q\"uo;te.txt"] {
        std::fs::write(dir.path().join(name), "exact").unwrap();
    }
    for (attach, expected) in [
        ("a;b.txt", "a;b.txt"),
        ("\"a;b.txt\"", "a;b.txt"),
        ("\"a;b.txt\";type=text/plain", "a;b.txt"),
        ("\"a;b.txt\" ; name=\"semi;colon=\\\"x\\\".txt\";type=text/plain", "semi;colon=\"x\".txt"),
        ("\"q\\\"uo;te.txt\";name=Grüße;", "Grüße"),
        ("/dev/null;name=\"Übung;1\"", "Übung;1"),
    ] {
        let made = tool("smtpsend")
            .args(["-n", "--from", "a@b.test", "--to", "c@d.test", "--body", "/dev/null", "--attach", attach])
            .dir(dir.path())
            .run();
        made.exits(0);
        let record = on(&made.stdout, &["show", "--json"]).records().remove(0);
        let names: Vec<&str> =
            record["parts"].as_array().unwrap().iter().filter_map(|part| part["name"].as_str()).collect();
        assert_eq!(names, [expected], "{attach}");
    }
    for bad in ["\"a;b.txt", "\"a;b.txt\"x;type=a/b", "/dev/null;name=\"x", "/dev/null;size=1", "/dev/null;name"] {
        let done = tool("smtpsend")
            .args(["-n", "--from", "a@b.test", "--to", "c@d.test", "--body", "/dev/null", "--attach", bad])
            .dir(dir.path())
            .run();
        done.exits(64).says("needs quotes");
    }
}

#[test]
fn header_values_are_decoded_once_wherever_they_show() {
    let raw = [
        &b"From: J\xf6rg <j@x.test>\nTo: =?utf-8?q?Doe,_J=C3?= =?utf-8?q?=B6rg?= <d@x.test>\nSubject: "[..],
        b"\xb2\xe2\xca\xd4",
    ]
    .concat();
    let gb = [&raw[..], b"\nContent-Type: text/plain; charset=gb18030\n\nx\n"].concat();
    let record = on(&gb, &["list", "--json"]).records().remove(0);
    assert_eq!((record["subject"].as_str(), record["to"][0]["name"].as_str()), (Some("测试"), Some("Doe, Jörg")));
    on(&gb, &["list", "--subject", "测试"]).silent_success().prints("测试");
    on(&gb, &["show"]).silent_success().prints("Subject: 测试");
    on(&gb, &["reply", "-a"]).silent_success().prints("Subject: Re: =?UTF-8?B?5rWL6K+V?=\n");
}
