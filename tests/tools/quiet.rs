//! `-q` and `-qq`: what cron mails. The answer "no" has no words with `-q`, what is temporary none with `-qq`; records and statuses
//! stay as they are.

use std::path::Path;

use applayer::tool::ALL;

use crate::ftp_peer::ftp_peer;
use crate::harness::{Done, refusing, server, temp_dir, tool};
use crate::queue::enqueue;

/// Runs a tool as it is, with `-q` and with `-qq`; `words` says which of the three say something on stderr.
#[track_caller]
fn three_times(name: &str, args: &[&str], dir: &Path, status: i32, words: [bool; 3]) {
    let mut records: Option<Vec<String>> = None;
    for (flag, words) in ["--color=never", "-q", "-qq"].into_iter().zip(words) {
        let env = ("APPLAYER_QUEUE", dir.join("queue"));
        let done: Done = tool(name).args(args).arg(flag).env(env.0, env.1).dir(dir).run();
        done.exits(status);
        assert_eq!(!done.stderr.is_empty(), words, "{done}");
        if args.contains(&"--json") {
            let kinds = done.records().iter().map(|it| format!("{} {}", it["type"], it["kind"])).collect();
            assert_eq!(*records.get_or_insert_with(|| Clone::clone(&kinds)), kinds, "{done}");
        }
    }
}

/// Every verb that can answer "no": a word on stderr without `-q` or none, and never one with it.
#[test]
fn no_has_no_words_with_q() {
    let dir = temp_dir();
    std::fs::create_dir_all(dir.path().join("box/new")).unwrap();
    std::fs::create_dir_all(dir.path().join("box/cur")).unwrap();
    std::fs::create_dir_all(dir.path().join("box/tmp")).unwrap();
    std::fs::write(dir.path().join("box/new/1.x.y"), "Subject: x\n\nx\n").unwrap();
    std::fs::create_dir(dir.path().join("served")).unwrap();
    std::fs::write(dir.path().join("served/a.txt"), "a").unwrap();
    std::fs::write(dir.path().join("saved"), "-rw-r--r-- 1 u g 1 Jan  1  2020 a.txt\n").unwrap();
    enqueue(&dir.path().join("queue"), &[("a@a.test", &["b@b.test"], "Subject: x\r\n\r\nx\r\n")]);
    let ftp = server("ftpserve").args(["--write"]).arg(dir.path().join("served")).start();
    let zone = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dns/example.test.zone");
    let dns = server("dnsserve").arg(zone).start();
    let base = format!("ftp://{}/", ftp.addr);
    let glob = format!("ftp://{}/*.none", ftp.addr);
    let at = format!("@{}", dns.addr);
    for args in [
        &["ftpls", &glob][..],
        &["ftpls", "--older", "14d", &base],
        &["ftpls", "--name", "*.none", &base],
        &["ftpls", "--name", "*.none", "--json", &base],
        &["ftpls", "--parse", "saved", "--name", "*.none"],
        &["ftpget", &glob],
        &["ftpget", &glob, "--json"],
        &["ftpdo", &base, "rm", "*.none"],
        &["ftpdo", &base, "ls", "*.none"],
        &["ftpdo", &base, "get", "*.none"],
        &["ftpdo", &base, "chmod", "644", "*.none"],
        &["ftpdo", &base, "hash", "*.none"],
        &["dnsq", &at, "none.example.test", "A"],
        &["dnsq", &at, "none.example.test", "A", "--json"],
        &["dnsq", &at, "none.example.test", "A", "--short"],
        &["dnsq", &at, "example.test", "LOC", "--short"],
        &["mailread", "list", "-m", "box", "--from", "nobody"],
        &["mailread", "show", "-m", "box", "--from", "nobody"],
        &["mailread", "extract", "-m", "box", "--from", "nobody"],
        &["mailread", "extract", "-m", "box", "all"],
        &["mailread", "flag", "-m", "box", "--from", "nobody", "--add", "seen"],
        &["mailread", "reply", "-m", "box", "--from", "nobody"],
        &["mailq-ls", "--sender", "nobody@a.test"],
        &["mailq-run", "--sender", "nobody@a.test"],
        &["mailq-run", "-n", "--sender", "nobody@a.test"],
        &["mailq-edit", "hold", "--sender", "nobody@a.test"],
        &["mailq-edit", "retry", "0000000000000"],
        &["mailq-edit", "show", "0000000000000"],
    ] {
        let (name, args) = args.split_first().unwrap();
        let words = !tool(name)
            .args(args)
            .env("APPLAYER_QUEUE", dir.path().join("queue"))
            .dir(dir.path())
            .run()
            .stderr
            .is_empty();
        three_times(name, args, dir.path(), 1, [words, false, false]);
    }
}

/// What `|| [ $? -eq 75 ]` lets pass in a crontab prints nothing with `-qq`; what is for good always has words.
#[test]
fn what_is_temporary_has_no_words_with_qq() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("input"), "x\n").unwrap();
    std::fs::create_dir(dir.path().join("queue")).unwrap();
    let dead = refusing();
    let url = format!("ftp://{}/x", dead.addr);
    let smtp = format!("smtp://{}", dead.addr);
    let at = format!("@{}", dead.addr);
    let mail = ["--server", &smtp, "--from", "a@a.test", "--to", "b@b.test", "--body", "input"];
    for args in [
        &["ftpget", &url][..],
        &["ftpget", &url, "--json"],
        &["ftpget", "-r", &url, "--retry", "1", "--retry-delay", "0"],
        &["ftpput", "input", &url],
        &["ftpls", &url],
        &["ftpdo", &url, "rm"],
        &["dnsq", &at, "--tries", "1", "--timeout", "0.3", "a.test"],
        &["dnsq", &at, "--tries", "1", "--timeout", "0.3", "a.test", "--json"],
        &["dnsq", &at, "--tries", "1", "--timeout", "0.3", "--compare", "a.test"],
        &[&["smtpsend"], &mail[..]].concat(),
        &[&["smtpsend", "--retry", "1", "--retry-delay", "0", "--json"], &mail[..]].concat(),
        &["smtpsend", "--probe", "--server", &smtp],
    ] {
        let (name, args) = args.split_first().unwrap();
        three_times(name, args, dir.path(), 75, [true, true, false]);
    }
    for args in [
        &["ftpput", "missing", &url][..],
        &["mailread", "list", "-m", "missing"],
        &["mailq-ls", "--queue-dir", "missing"],
        &["mailq-run", "--queue-dir", "missing"],
        &["mailq-edit", "hold", "--queue-dir", "missing", "--sender", "x@x.test"],
        &["ftpserve", "missing"],
        &["smtpserve", "--domain", "a.test", "--mailboxes", "missing"],
        &["dnsserve", "missing"],
    ] {
        let (name, args) = args.split_first().unwrap();
        three_times(name, args, dir.path(), 66, [true, true, true]);
    }
    let refuses = ftp_peer(|_, verb, _| matches!(verb, "DELE" | "RMD").then(|| "550 no\r\n".to_owned()));
    three_times("ftpdo", &[&refuses.url("x"), "rm"], dir.path(), 69, [true, true, true]);
}

/// Each tool takes the flag twice, and says so in the same words.
#[test]
fn every_tool_knows_qq() {
    for (name, command) in ALL {
        let command = command();
        let quiet = command.get_arguments().find(|arg| arg.get_id() == "quiet").unwrap();
        assert!(quiet.get_help().unwrap().to_string().contains("-qq"), "{name}");
        tool(name).args(["-qq", "--version"]).run().exits(0);
        tool(name).args(["-q", "-v", "--no-such"]).run().exits(64);
    }
}
