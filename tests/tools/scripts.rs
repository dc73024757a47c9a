//! Small options that scripts want: the first entries of a listing, a text on the command line, names as they were given, parts by type and
//! name.

use std::path::Path;

use crate::harness::{server, temp_dir, tool};

#[test]
fn a_listing_ends_after_so_many_entries() {
    let dir = temp_dir();
    for (name, size) in [("a", 1), ("b", 30), ("c", 2)] {
        std::fs::write(dir.path().join(name), vec![7; size]).unwrap();
    }
    let ftp = server("ftpserve").arg(dir.path()).start();
    let url = format!("ftp://{}/", ftp.addr);
    let list = |args: &[&str]| tool("ftpls").args(args).arg(&url).run();
    for (args, expected) in [
        (&["--limit", "1", "--sort", "size"][..], "b\n"),
        (&["--limit", "2", "-S"], "b\nc\n"),
        (&["--limit", "1", "--sort", "name", "--reverse"], "c\n"),
        (&["--limit", "9", "--sort", "name"], "a\nb\nc\n"),
        (&["--limit", "0"], ""),
        (&["--limit", "1", "--name", "c"], "c\n"),
    ] {
        assert_eq!(list(args).silent_success().text(), expected, "{args:?}");
    }
    assert_eq!(list(&["--limit", "2"]).silent_success().text().lines().count(), 2, "as the server lists");
    assert_eq!(list(&["--limit", "1", "--json"]).records_of("entry").len(), 1);
    list(&["--limit", "1", "--name", "*.none"]).exits(1);
    list(&["--limit", "1", "--du"]).exits(64);
    std::fs::write(dir.path().join("saved"), "-rw-r--r-- 1 u g 1 Jan  1  2020 a\n-rw-r--r-- 1 u g 9 Jan  1  2020 b\n")
        .unwrap();
    let parsed = tool("ftpls").args(["--parse", "saved", "--limit", "1", "-S"]).dir(dir.path()).run();
    assert_eq!(parsed.silent_success().text(), "b\n");
}

#[test]
fn a_text_on_the_command_line_is_the_body() {
    let (mail, taken) = crate::mail::sink(|_| None);
    let server = format!("smtp://{}", mail.addr);
    let send = |args: &[&str]| {
        tool("smtpsend").args(["--server", &server, "--from", "a@a.test", "--to", "b@b.test"]).args(args).run()
    };
    send(&["--text", "Hello\n.\nworld"]).silent_success();
    let text = String::from_utf8(taken.lock().unwrap().remove(0).message).unwrap();
    assert!(text.ends_with("\r\n\r\nHello\r\n.\r\nworld\r\n"), "{text:?}");
    send(&["--text", "x", "--html", "/dev/null"]).silent_success();
    assert!(String::from_utf8_lossy(&taken.lock().unwrap().remove(0).message).contains("multipart/alternative"));
    let dir = temp_dir();
    std::fs::write(dir.path().join("rows.csv"), "name,to\nAnn,ann@b.test\n").unwrap();
    let rows = dir.path().join("rows.csv").display().to_string();
    tool("smtpsend")
        .args(["--server", &server, "--from", "a@a.test", "--to", "{{to}}", "--text", "Hi {{name}}", "--merge", &rows])
        .run()
        .silent_success();
    let merged = taken.lock().unwrap().remove(0);
    assert_eq!(merged.recipients, ["ann@b.test"]);
    assert!(String::from_utf8(merged.message).unwrap().ends_with("\r\n\r\nHi Ann\r\n"));
    send(&["--text", "x", "--body", "/dev/null"]).exits(64);
    send(&["--text", "x", "-t"]).exits(64);
}

fn example() -> crate::harness::Server {
    server("dnsserve").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dns/example.test.zone")).start()
}

#[test]
fn bulk_records_have_the_name_as_it_was_given() {
    let dns = example();
    let lines = [
        "example.test",
        "example.test.",
        "Example.TEST",
        "b\u{fc}cher.example.test",
        "192.0.2.1 PTR",
        "-x 192.0.2.2",
        "*.example.test",
        "a\\032b.example.test",
        "q\"uote.example.test",
        "example.test MX TXT",
        ".",
    ];
    let expected = [
        "example.test",
        "example.test.",
        "Example.TEST",
        "b\u{fc}cher.example.test",
        "192.0.2.1",
        "192.0.2.2",
        "*.example.test",
        "a\\032b.example.test",
        "q\"uote.example.test",
        "example.test",
        "example.test",
        ".",
    ];
    let at = format!("@{}", dns.addr);
    for extra in [&[][..], &["--mix-case"], &["--threads", "2"], &["--wildcards", "mark"]] {
        let done = tool("dnsq")
            .args(["-f", "-", "--ordered", "--json", "--tries", "1", &at])
            .args(extra)
            .stdin(format!("{}\n", lines.join("\n")))
            .run();
        let inputs: Vec<String> = done
            .records()
            .iter()
            .filter(|it| it["type"] != "summary")
            .map(|it| it["input"].as_str().unwrap_or_else(|| panic!("{it}")).to_owned())
            .collect();
        assert_eq!(inputs, expected, "{extra:?}: {done}");
    }
}

#[test]
fn that_there_is_no_data_is_told_where_only_data_are_printed() {
    let dns = example();
    let at = format!("@{}", dns.addr);
    let ask = |args: &[&str]| tool("dnsq").arg(&at).args(args).run();
    ask(&["--short", "none.example.test"]).exits(1).says("dnsq: none.example.test. A: no such name\n");
    ask(&["--short", "example.test", "LOC"]).exits(1).says("dnsq: example.test. LOC: no data\n");
    ask(&["--format", "{rdata}", "example.test", "LOC"]).exits(1).says("no data");
    ask(&["--short", "-q", "none.example.test"]).exits(1);
    assert_eq!(ask(&["--short", "-q", "none.example.test"]).stderr, "");
    assert_eq!(ask(&["none.example.test"]).exits(1).stderr, "", "dig's output says it");
    let both = ask(&["--short", "none.example.test", "example.test", "SOA"]);
    both.exits(0).says("none.example.test. A: no such name");
}

#[test]
fn attachments_by_type_and_name_and_the_flag_of_what_was_extracted() {
    let dir = temp_dir();
    for folder in ["new", "cur", "tmp"] {
        std::fs::create_dir_all(dir.path().join("box").join(folder)).unwrap();
    }
    let part = |kind: &str, name: &str| {
        format!("--b\nContent-Type: {kind}\nContent-Disposition: attachment; filename={name}\n\n{name}\n")
    };
    let message = format!(
        "Message-ID: <1@a.test>\nSubject: Report\nContent-Type: multipart/mixed; boundary=b\n\n{}{}{}--b--\n",
        part("application/pdf", "One.PDF"),
        part("image/png", "two.png"),
        part("text/csv", "three.csv")
    );
    std::fs::write(dir.path().join("box/new/1.x.y"), &message).unwrap();
    std::fs::write(dir.path().join("box/new/2.x.y"), "Subject: Report\n\nnothing attached\n").unwrap();
    let run = |args: &[&str]| tool("mailread").args(["extract", "-m", "box"]).args(args).dir(dir.path()).run();
    for (args, expected) in [
        (&["--type", "application/pdf"][..], &["One.PDF"][..]),
        (&["--type", "image/*", "--type", "TEXT/CSV"], &["two.png", "three.csv"]),
        (&["--name", "*.pdf"], &["One.PDF"]),
        (&["--name", "t*", "--type", "image/*"], &["two.png"]),
    ] {
        let done = run(&[&["1", "-n", "--json"], args].concat());
        let records = done.exits(0).records_of("attachment");
        let names: Vec<_> = records.iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{args:?}");
        assert!(records.iter().all(|it| it["message_id"] == "<1@a.test>"), "{done}");
    }
    run(&["1", "--type", "video/*"]).exits(1);
    run(&["1", "--type", "image/*", "--part", "2"]).exits(64);
    tool("mailread").args(["list", "-m", "box", "--flag", "seen"]).dir(dir.path()).run().exits(64);
    run(&["1", "--flag", "sene"]).exits(64).says("unknown flag; did you mean seen?");
    // Only the message of which something was written is marked; the directory is made.
    run(&["-u", "--subject", "Report", "all", "--type", "application/*", "-o", "out/in", "--flag", "seen"]).exits(0);
    assert_eq!(std::fs::read_to_string(dir.path().join("out/in/One.PDF")).unwrap(), "One.PDF");
    let listed = tool("mailread").args(["list", "-m", "box", "--json"]).dir(dir.path()).run();
    let flags: Vec<_> =
        listed.records_of("message").iter().map(|it| it["flags"].as_str().unwrap().to_owned()).collect();
    assert_eq!(flags, ["S", ""]);
    for record in listed.records_of("message") {
        assert!(dir.path().join(record["path"].as_str().unwrap()).is_file(), "{record}");
    }
    run(&["-u", "--subject", "Report", "all", "--type", "application/*", "-o", "out", "--flag", "seen"]).exits(1);
    // An mbox has no flags: said before anything is written.
    std::fs::write(dir.path().join("one.mbox"), format!("From a@a.test Mon Nov 23 05:00:00 2026\n{message}")).unwrap();
    let mbox = ["extract", "-m", "one.mbox", "--flag", "seen", "-o", "not"];
    tool("mailread").args(mbox).dir(dir.path()).run().exits(69);
    assert!(!Path::new(&dir.path().join("not")).exists());
}

#[test]
fn a_drop_box_takes_what_ftpput_sends() {
    let (served, here) = (temp_dir(), temp_dir());
    std::fs::write(here.path().join("o1.xml"), "<order/>").unwrap();
    let hash = tool("ftpserve").arg("--hash-password").stdin("x\n").run();
    std::fs::write(here.path().join("users"), format!("me:{}\n", hash.text().trim())).unwrap();
    let ftp = server("ftpserve")
        .args(["--drop-box", "--user-file"])
        .arg(here.path().join("users"))
        .arg(served.path())
        .start();
    let url = format!("ftp://me:x@{}/", ftp.addr);
    tool("ftpput").args(["-q", "o1.xml", &url]).dir(here.path()).run().exits(0);
    let names: Vec<_> = std::fs::read_dir(served.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, ["o1.xml"], "under its final name alone");
    tool("ftpput").args(["-q", "--in-place", "o1.xml", &format!("{url}o2.xml")]).dir(here.path()).run().exits(0);
    // A name that is taken stays as it is, and nothing half stays behind.
    std::fs::write(here.path().join("o1.xml"), "<another/>").unwrap();
    tool("ftpput").args(["-q", "o1.xml", &url]).dir(here.path()).run().exits(69);
    assert_eq!(std::fs::read_to_string(served.path().join("o1.xml")).unwrap(), "<order/>");
    assert_eq!(std::fs::read_dir(served.path()).unwrap().count(), 2, "no part is left");
    // What another session stored is nobody's to rename or to remove.
    for args in [&["mv", "x"][..], &["rm"]] {
        assert_ne!(tool("ftpdo").arg(format!("{url}o1.xml")).args(args).run().status, 0, "{args:?}");
    }
    assert!(served.path().join("o1.xml").exists());
}

#[test]
fn a_missing_folder_of_a_route_is_no_lock() {
    let queue = temp_dir();
    crate::queue::enqueue(queue.path(), &[("a@a.test", &["b@b.test"], "Subject: x\r\n\r\nx\r\n")]);
    let route = format!("*=maildir:{}", queue.path().join("none").display());
    let done = crate::queue::run(queue.path(), &["--route", &route, "--json"]);
    let attempt = &done.exits(66).records_of("attempt")[0];
    assert_eq!((&attempt["kind"], &attempt["outcome"]), (&"no_input".into(), &"deferred".into()), "{done}");
}

#[test]
fn records_of_transfers_tell_what_tls_settled() {
    let (served, here) = (temp_dir(), temp_dir());
    std::fs::write(served.path().join("a"), "a").unwrap();
    std::fs::write(here.path().join("b"), "b").unwrap();
    let ftp = server("ftpserve").args(["--write", "--self-signed", "ftp.test"]).arg(served.path()).start();
    let run = |name: &str, scheme: &str, args: &[&str]| {
        let args = args.iter().map(|arg| arg.replace('U', &format!("{scheme}://{}/", ftp.addr)));
        tool(name).args(args).args(["-q", "--insecure", "--json"]).dir(here.path()).run()
    };
    for (name, args) in [("ftpget", &["U".to_owned() + "a"]), ("ftpput", &["b".to_owned()])] {
        let args: Vec<&str> = args.iter().map(String::as_str).chain((name == "ftpput").then_some("Ub")).collect();
        let inside = run(name, "ftpes", &args);
        let tls = &inside.exits(0).records_of("transfer")[0]["tls"];
        assert_eq!(tls["version"], "TLSv1.3", "{inside}");
        assert!(tls["cipher"].as_str().unwrap().starts_with("TLS_"), "{inside}");
        let args: Vec<&str> = args.into_iter().chain(["--no-resume"]).collect();
        let plain = run(name, "ftp", &args);
        assert!(plain.exits(0).records_of("transfer")[0].get("tls").is_none(), "{plain}");
    }
}
