//! sendmail beside the queue: SMTP on standard input, sending at once, one relay for all; and smtpsend in the words of other tools.

use std::os::unix::fs::MetadataExt as _;

use crate::harness::{binary, temp_dir, tool};
use crate::sendmail::{Host, host_name};

#[test]
fn one_malformed_address_keeps_no_other_from_its_mail() {
    for (header, status, expected) in [
        ("To: root, @@bad, ops\nCc: c@b.test", 3, vec!["root@H", "ops@H", "c@b.test"]),
        ("To: a b c\nCc: root", 3, vec!["root@H"]),
        ("To: root, a@b@c", 3, vec!["root@H"]),
        ("To: root,, \"x <y@b.test>\nBcc: ops", 0, vec!["root@H", "y@b.test", "ops@H"]),
        ("To: \"unclosed <a@b.test>, root", 0, vec!["a@b.test", "root@H"]),
    ] {
        let host = Host::new();
        let done = host.sendmail(&["-t", "-i"], format!("From: root\n{header}\n\nx\n"));
        done.exits(status);
        assert_eq!(done.stderr.contains("To: "), status == 3, "{done}");
        let (_, recipients, _) = host.queued().pop().unwrap();
        let expected: Vec<_> = expected.iter().map(|it| it.replace("@H", &format!("@{}", host_name()))).collect();
        assert_eq!(recipients, expected, "{header}");
    }
    let host = Host::new();
    host.sendmail(&["-t", "-i"], "From: root\nTo: @@bad\n\nx\n").exits(65).says("@@bad");
    assert_eq!(host.queued(), []);
}

#[test]
fn smtp_on_standard_input_and_output() {
    let host = Host::new();
    // As programs do that send everything at once, with either line end, and as those do that wait for QUIT.
    let dialogue = "EHLO app\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<root>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nFrom: root\r\nSubject: one\r\n\r\n\
                    x\r\n..y\r\n.\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<c@b.test>\r\nDATA\r\nSubject: two\r\n\r\nz\r\n.\r\nQUIT\r\n";
    for flags in [&["-bs"][..], &["-bs", "-i"], &["-bs", "-odi", "-oem"]] {
        let done = host.sendmail(flags, dialogue);
        let stdout = String::from_utf8(done.exits(0).stdout.clone()).unwrap();
        let last = stdout.lines().filter(|line| line.as_bytes()[3] == b' ');
        let codes: Vec<&str> = last.map(|line| &line[..3]).collect();
        assert_eq!(codes.join(" "), "220 250 250 250 250 354 250 250 250 250 354 250 221", "{done}");
    }
    let queued = host.queued();
    assert_eq!(queued.len(), 6);
    let (sender, recipients, content) = &queued[0];
    assert_eq!(
        (sender.as_str(), recipients.clone()),
        ("a@a.test", vec![format!("root@{}", host_name()), "b@b.test".to_owned()])
    );
    let text = String::from_utf8(content.clone()).unwrap();
    assert!(text.contains(&format!("From: root@{}\r\n", host_name())) && text.ends_with("x\r\n.y\r\n"), "{text}");
    assert_eq!((queued[1].0.as_str(), queued[1].1.clone()), ("", vec!["c@b.test".to_owned()]));
    // Broken off: nothing of it stays. The program's mail goes into a drop directory too.
    host.sendmail(&["-bs"], "EHLO app\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\nSubject: x\r\n")
        .exits(0);
    assert_eq!(host.queued().len(), 6);
    let other = Host::new();
    std::fs::create_dir(other.drop_dir()).unwrap();
    other.sendmail(&["-bs"], dialogue).exits(0);
    assert!(other.drop_dir().join(rustix::process::geteuid().as_raw().to_string()).exists());
    host.sendmail(&["-bs", "--json"], dialogue).exits(64);
    host.sendmail(&["-bs", "root"], dialogue).exits(64);
}

#[test]
fn send_now_has_the_status_of_the_server() {
    let (server, taken) = crate::mail::sink(|line| line.contains("nobody").then_some("550 5.1.1 no such user"));
    let folder = temp_dir();
    let accounts = folder.path().join("accounts");
    let (host, port) = (server.addr.ip(), server.addr.port());
    std::fs::write(&accounts, format!("account default\nhost {host}\nport {port}\ntls off\nfrom me@example.org\n"))
        .unwrap();
    let accounts = accounts.display().to_string();
    let host = Host::new();
    let cron = "From: root (Cron Daemon)\nTo: root\nSubject: x\n\n1%\r2%\n";
    host.sendmail(&["--send-now", "--accounts", &accounts, "-i", "x@b.test"], cron).silent_success();
    host.sendmail(&["--account=default", "--accounts", &accounts, "-i", "-f", "a@a.test", "x@b.test"], cron)
        .silent_success();
    host.sendmail(&["--server", &server.addr.to_string(), "--tls", "none", "--masquerade", "m.test", "-t"], cron)
        .silent_success();
    let senders: Vec<String> = taken.lock().unwrap().iter().map(|message| message.sender.clone()).collect();
    assert_eq!(senders, ["me@example.org".to_owned(), "a@a.test".to_owned(), "root@m.test".to_owned()]);
    host.sendmail(&["--send-now", "--accounts", &accounts, "nobody@b.test"], cron).exits(67).says("no such user");
    let dead = ["--server", "127.0.0.1:1", "-f", "a@a.test", "x@b.test"];
    host.sendmail(&dead, cron).exits(75);
    assert!(!host.queue().exists(), "nothing was queued");
    host.sendmail(&[&["--queue-on-failure"], &dead[..]].concat(), cron).exits(0);
    assert_eq!(host.queued().len(), 1);
    host.sendmail(&["--send-nowhere", "x@b.test"], cron).exits(64).says("not known");
}

#[test]
fn one_relay_for_cron_and_hands() {
    let (server, taken) = crate::mail::sink(|_| None);
    let (host, home) = (Host::new(), temp_dir());
    let config = home.path().join(".config/applayer");
    std::fs::create_dir_all(&config).unwrap();
    let (address, port) = (server.addr.ip(), server.addr.port());
    std::fs::write(config.join("accounts"), format!("account default\nhost {address}\nport {port}\ntls off\n"))
        .unwrap();
    for runner in [&["mailq-run"][..], &["smtpsend", "--sendmail", "-q"], &["smtpsend", "--sendmail", "-q15m"]] {
        host.sendmail(&["-i", "x@b.test"], "Subject: x\n\nx\n").silent_success();
        host.run(runner[0]).args(&runner[1..]).home(home.path()).run().exits(0);
        assert_eq!(taken.lock().unwrap().drain(..).count(), 1, "{runner:?}");
    }
}

#[test]
fn a_probe_leaves_after_the_stage_that_was_named() {
    let (server, _) = crate::mail::sink(|_| None);
    let all = ["EHLO", "MAIL", "RCPT"];
    for (stage, said) in [
        ("connect", 0),
        ("banner", 0),
        ("ehlo", 1),
        ("HELO", 1),
        ("first-helo", 1),
        ("tls", 1),
        ("auth", 1),
        ("MAIL", 2),
        ("from", 2),
        ("rcpt", 3),
        ("to", 3),
    ] {
        let args =
            ["--quit-after", stage, "-v", "--ehlo", "me.test", "--from", "a@a.test", "--to", "b@b.test", "--server"];
        let done = tool("smtpsend").args(args).arg(server.addr.to_string()).run();
        done.exits(0).says("QUIT").prints("greeting\t220");
        for (at, verb) in all.iter().enumerate() {
            assert_eq!(done.stderr.contains(&format!("> {verb} ")), at < said, "{stage}: {verb}: {done}");
        }
        assert!(!done.stderr.contains("> DATA"), "{done}");
    }
    let server = server.addr.to_string();
    let probe = |protocol: &str, server: &str| {
        tool("smtpsend")
            .args(["-v", "--probe", "--protocol", protocol, "--server", server, "--connect-timeout", "2"])
            .run()
    };
    probe("smtp", &server).exits(0);
    probe("ESMTP", &server).exits(0);
    probe("esmtps", &server).exits(77).says("does not offer STARTTLS");
    probe("lmtp", &server).exits(0).says("> LHLO ");
    probe("smtp", &format!("smtp://{server}")).exits(64).says("scheme");
    probe("gopher", &server).exits(64).says("esmtps");
}

#[test]
fn words_of_other_tools_are_answered_with_ours() {
    for (words, ours) in [
        // msmtp
        ("-C file", "--accounts"),
        ("--file=x", "--accounts"),
        ("-a work", "--account"),
        ("--host=mail.test", "--server"),
        ("--port 25", "--server HOST:PORT"),
        ("--serverinfo", "--probe"),
        ("-P", "--dry-run"),
        ("-d", "-v"),
        ("--tls-starttls=on", "--tls starttls"),
        ("--passwordeval x", "--password-command"),
        ("--read-recipients", "-t"),
        // swaks
        ("--au me", "--user"),
        ("--auth-password x", "--password-file"),
        ("--header-Subject x", "--header"),
        ("--h-From x", "--header"),
        ("--add-header X:y", "--header"),
        ("--tlsc", "smtps://"),
        ("--li 127.0.0.1", "--bind"),
        ("--drop-after mail", "--quit-after"),
        // mailx
        ("-c a@b", "--cc"),
        ("-b a@b", "--bcc"),
        ("-r a@b", "-f"),
        // nullmailer, ssmtp
        ("--pass=x", "--password-file"),
        ("--starttls", "--tls starttls"),
        ("-au me", "--user"),
        // curl
        ("--mail-from a@b", "-f"),
        ("--mail-rcpt a@b", "RECIPIENT"),
        ("-T file", "stdin"),
        ("--upload-file x", "stdin"),
        ("--ssl-reqd", "--tls starttls"),
        ("--cacert x", "--ca-cert"),
        ("-k", "--insecure"),
    ] {
        let done = tool("smtpsend").args(words.split(' ')).run();
        let hint = done.exits(64).stderr.lines().find(|line| line.starts_with("hint: here it is")).map(str::to_owned);
        assert!(hint.is_some_and(|hint| hint.contains(ours)), "{words}: {done}");
    }
    // What nobody knows has no such hint.
    let done = tool("smtpsend").arg("--no-such-word").run();
    assert!(!done.exits(64).stderr.contains("here it is"), "{done}");
}

#[test]
fn a_directory_for_temporary_files_that_is_not_there_loses_no_mail() {
    let host = Host::new();
    let large = format!("Subject: x\n\n{}", "0123456789\n".repeat(2_000_000));
    let run = |large: String| {
        host.run("smtpsend").args(["--sendmail", "-i", "root"]).env("TMPDIR", "/nonexistent").stdin(large).run()
    };
    run(large.clone()).silent_success();
    run(large.replace('5', "\r")).silent_success();
    assert_eq!(host.queued().len(), 2);
}

#[test]
fn aliases_hold_for_every_name_of_this_host() {
    let host = Host::new();
    let aliases = host.queue().with_file_name("aliases");
    std::fs::write(&aliases, "root: admin@b.test, root@backup.test\npostmaster: root\nops: ops@localhost\n").unwrap();
    let (file, here) = (aliases.display().to_string(), host_name());
    let named = format!("Root@{here}");
    let recipients =
        ["root", "root@localhost", &named, "postmaster@LOCALHOST", "root@far.test", "ops@localhost", "other@localhost"];
    host.sendmail(&[&["--aliases", &file, "-i"], &recipients[..]].concat(), "Subject: x\n\nx\n").silent_success();
    let expected = ["admin@b.test", "root@backup.test", "root@far.test", "ops@localhost", "other@localhost"];
    assert_eq!(host.queued()[0].1, expected);
    let nowhere = host.queue().with_file_name("nowhere").display().to_string();
    tool("mailq-run").args(["--queue-dir", &nowhere]).run().exits(66).says("no such queue");
}

#[test]
fn no_umask_makes_a_queue_that_its_owner_cannot_open() {
    for mask in ["0", "022", "0277", "0777"] {
        let folder = temp_dir();
        let queue = folder.path().join("queue");
        let script = format!("umask {mask}; printf 'Subject: x\\n\\nx\\n' | exec \"$0\" --sendmail -i root");
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(script).arg(binary("smtpsend")).env("APPLAYER_QUEUE", &queue);
        assert!(shell.status().unwrap().success(), "umask {mask}");
        for entry in std::fs::read_dir(&queue).unwrap() {
            let found = entry.unwrap().metadata().unwrap();
            assert_eq!(found.mode() & 0o777, if found.is_dir() { 0o700 } else { 0o600 }, "umask {mask}");
        }
        assert_eq!(std::fs::metadata(&queue).unwrap().mode() & 0o777, 0o700, "umask {mask}");
    }
}
