//! The name sendmail, as programs call it: whose mail it is, what becomes of its header, that nothing a job prints loses the
//! mail, and that users without rights submit to the one queue of the machine.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::harness::{Done, Run, binary, temp_dir, tool};

/// A queue of its own, and a program that calls sendmail.
pub(crate) struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new() -> Host {
        Host { folder: temp_dir() }
    }

    pub(crate) fn queue(&self) -> PathBuf {
        self.folder.path().join("queue")
    }

    pub(crate) fn drop_dir(&self) -> PathBuf {
        self.folder.path().join("queue-drop")
    }

    pub(crate) fn run(&self, name: &str) -> Run {
        tool(name).env("APPLAYER_QUEUE", self.queue())
    }

    pub(crate) fn sendmail(&self, args: &[&str], message: impl Into<Vec<u8>>) -> Done {
        self.run("smtpsend").arg("--sendmail").args(args).stdin(message).run()
    }

    /// Sender, recipients and the message of everything in the queue, oldest first.
    pub(crate) fn queued(&self) -> Vec<(String, Vec<String>, Vec<u8>)> {
        let listed = self.run("mailq-ls").arg("--json").run();
        let mut found: Vec<(String, String, Vec<String>)> = Vec::new();
        for record in listed.exits(0).records() {
            let text = |name: &str| record[name].as_str().unwrap().to_owned();
            match found.last_mut().filter(|last| last.0 == text("queue_id")) {
                Some(last) => last.2.push(text("address")),
                None => found.push((text("queue_id"), text("sender"), vec![text("address")])),
            }
        }
        let shown = |id: &str| self.run("mailq-edit").args(["show", "--message", id]).run().exits(0).stdout.clone();
        found.into_iter().map(|(id, sender, recipients)| (sender, recipients, shown(&id))).collect()
    }
}

pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn user() -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let id = rustix::process::getuid().as_raw().to_string();
    let name = users.lines().find(|line| line.split(':').nth(2) == Some(&id)).and_then(|line| line.split(':').next());
    name.map_or_else(|| format!("uid{id}"), str::to_owned)
}

/// Every line legal for SMTP, none with what a server may refuse.
fn assert_legal(message: &[u8], what: &str) {
    let text = String::from_utf8_lossy(message);
    assert!(message.ends_with(b"\r\n"), "{what}: {text}");
    for line in message.strip_suffix(b"\r\n").unwrap().split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.len() <= 998, "{what}: a line of {} bytes", line.len());
        assert!(!line.contains(&b'\r') && !line.contains(&0), "{what}: {text}");
    }
    assert_eq!(message.windows(2).filter(|pair| pair == b"\r\n").count(), text.matches('\n').count(), "{what}");
}

/// Caller, arguments, message; sender, recipients, lines that stand in the header. `ME` is the calling user at this host, `H`
/// this host.
type Caller = (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const CALLERS: &[Caller] = &[
    (
        "cron of Debian",
        &["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"],
        "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@h> job\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\nX-Cron-Env: <SHELL=/bin/sh>\n\nhello ü\n",
        "ME",
        &["root@H"],
        &["From: root@H (Cron Daemon)", "To: root@H", "Content-Transfer-Encoding: 8bit"],
    ),
    (
        "cronie",
        &["-FCronDaemon", "-i", "-odi", "-oem", "-oi", "-t", "-f", "root"],
        "From: \"(Cron Daemon)\" <root>\nTo: root\nSubject: Cron\n\nx\n",
        "root@H",
        &["root@H"],
        &["From: \"(Cron Daemon)\" <root@H>", "To: root@H"],
    ),
    (
        "anacron",
        &["-FAnacron", "-odi", "root"],
        "From: Anacron <root>\nTo: root\nSubject: Anacron job\n\nx\n",
        "ME",
        &["root@H"],
        &["From: Anacron <root@H>"],
    ),
    (
        "mdadm",
        &["-t"],
        "From: mdadm monitoring <root>\nTo: root\nSubject: DegradedArray event\n\nx\n",
        "ME",
        &["root@H"],
        &["From: mdadm monitoring <root@H>", "To: root@H"],
    ),
    (
        "systemd-cron",
        &["-i", "-B8BITMIME", "root"],
        "Date: Sun, 29 Nov 2026 00:00:00 +0000\nFrom: root (systemd-cron)\nTo: root\nSubject: [h] job\n\nx\n",
        "ME",
        &["root@H"],
        &["From: root@H (systemd-cron)"],
    ),
    (
        "smartd",
        &["-t", "-oi"],
        "From: smartd daemon <root>\nTo: root, ops@b.test\nSubject: SMART error\n\nx\n",
        "ME",
        &["root@H", "ops@b.test"],
        &["From: smartd daemon <root@H>", "To: root@H, ops@b.test"],
    ),
    (
        "logwatch",
        &["-t"],
        "To: root\nFrom: Logwatch\nSubject: Logwatch for h (Linux)\nAuto-Submitted: auto-generated\n\nx\n",
        "ME",
        &["root@H"],
        &["From: Logwatch@H"],
    ),
    (
        "apticron",
        &["-i", "--", "root", "ops"],
        "To: root\nTo: ops\nSubject: 1 update\n\nx\n",
        "ME",
        &["root@H", "ops@H"],
        &[],
    ),
    (
        "at",
        &["-i", "root"],
        "Subject: Output from your job        1\nTo: root\n\nx\n",
        "ME",
        &["root@H"],
        &["From: ME"],
    ),
    (
        "git send-email",
        &["-f", "dev@a.test", "-i", "list@b.test", "\"A, B\" <c@b.test>"],
        "From: Dev <dev@a.test>\nTo: list@b.test\nCc: \"A, B\" <c@b.test>\nSubject: [PATCH] x\n\nx\n",
        "dev@a.test",
        &["list@b.test", "c@b.test"],
        &["Cc: \"A, B\" <c@b.test>"],
    ),
    (
        "PHP mail()",
        &["-t", "-i", "-fwww@a.test"],
        "To: user@b.test\r\nSubject: x\nX-PHP-Originating-Script: 33:a.php\nReply-To: \"www-data\" <www-data>\n\nx\r\n",
        "www@a.test",
        &["user@b.test"],
        &["Reply-To: \"www-data\" <www-data@H>", "From: www@a.test"],
    ),
    (
        "PHP mail() without -f",
        &["-t", "-i"],
        "To: user@b.test\nFrom: \"www-data\" <www-data>\nSender: root\nBcc: ops\nSubject: x\n\nx\n",
        "ME",
        &["user@b.test", "ops@H"],
        &["From: \"www-data\" <www-data@H>", "Sender: root@H"],
    ),
    (
        "s-nail",
        &["-i", "-r", "me@a.test", "--", "b@b.test"],
        "To: b@b.test\nFrom: me\n\nx\n",
        "me@a.test",
        &["b@b.test"],
        &["From: me@H"],
    ),
    ("mutt", &["-oem", "-oi", "--", "b@b.test"], "From: Me <me@a.test>\nTo: b@b.test\n\nx\n", "ME", &["b@b.test"], &[]),
    (
        "fail2ban",
        &["-f", "fail2ban", "root"],
        "Subject: banned\nFrom: Fail2Ban <fail2ban>\nTo: root\n\nx\n",
        "fail2ban@H",
        &["root@H"],
        &["From: Fail2Ban <fail2ban@H>"],
    ),
    (
        "a gateway",
        &["-oMrUUCP", "-oMs192.0.2.1", "-ob5", "-Ac", "-oi", "-odq", "-f<>", "b@b.test"],
        "From: x\n\nx\n",
        "",
        &["b@b.test"],
        &["From: x@H"],
    ),
    ("mailx of old", &["-i", "-m", "root,ops"], "To: root\n\nx\n", "ME", &["root@H", "ops@H"], &[]),
    (
        "UUCP",
        &["-i", "root"],
        "From a!b Mon Jan  1 00:00:00 2026\n>From c Mon Jan  1 00:00:00 2026 remote from d\n>From e\nFrom: e!b\nTo: root\n\nx\n",
        "ME",
        &["root@H"],
        &["From: e!b@H"],
    ),
    ("no header", &["root"], "just text, no header\n", "ME", &["root@H"], &["From: ME"]),
    ("an empty message", &["root"], "", "ME", &["root@H"], &["From: ME"]),
    ("an empty line", &["root"], "\nSubject: of the body\n", "ME", &["root@H"], &["From: ME"]),
];

#[test]
fn every_caller_gets_its_mail_queued_with_whole_addresses() {
    let here = |text: &str| text.replace("ME", &format!("{}@H", user())).replace("@H", &format!("@{}", host_name()));
    for (caller, args, message, sender, recipients, lines) in CALLERS {
        let host = Host::new();
        // What the caller's environment says is no proof of who calls.
        let done = host.run("smtpsend").arg("--sendmail").args(*args).env("LOGNAME", "other").stdin(*message).run();
        done.silent_success();
        let (from, to, content) = host.queued().pop().unwrap_or_else(|| panic!("{caller}: {done}"));
        assert_eq!(from, here(sender), "{caller}");
        assert_eq!(to, recipients.iter().map(|it| here(it)).collect::<Vec<_>>(), "{caller}");
        assert_legal(&content, caller);
        let text = String::from_utf8(content).unwrap();
        let (header, _) = text.split_once("\r\n\r\n").unwrap();
        for line in *lines {
            assert!(header.lines().any(|found| found == here(line)), "{caller}: {line}: {header}");
        }
        for name in ["From:", "Date:", "Message-ID:"] {
            assert_eq!(header.lines().filter(|line| line.starts_with(name)).count(), 1, "{caller}: {name}: {header}");
        }
        assert!(!header.contains("From a!b") && !header.contains("Bcc"), "{caller}: {header}");
    }
}

/// The body as a reader decodes it.
fn decoded(message: &[u8]) -> Vec<u8> {
    let folder = temp_dir();
    let path = folder.path().join("message");
    std::fs::write(&path, message).unwrap();
    let done = tool("mailread").args(["show", "--json", "-m"]).arg(&path).arg("1").run();
    done.exits(0).records()[0]["text"].as_str().unwrap_or_default().as_bytes().to_vec()
}

#[test]
fn nothing_that_a_job_prints_loses_the_mail() {
    let long = format!("{}\n", "x".repeat(5000));
    let progress = (0..100_000).map(|at| format!("{at}\r")).collect::<String>();
    let binary: Vec<u8> = (0..=255u8).cycle().take(10_000).collect();
    let header = "From: root\nTo: root\nSubject: Cron\n";
    let typed = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n";
    let parts = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n10%\r20%\n--b\nContent-Type: text/html\n\n\
                 <p>\0ü</p>\n--b--\n";
    let signed = "DKIM-Signature: v=1; d=a.test\n\n10%\r20%\0\n";
    let unwrapped =
        format!("Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n{}\n", "QUJD".repeat(2000));
    let people = (0..200).map(|at| format!("user{at}@b.test")).collect::<Vec<_>>().join(",");
    let bodies: Vec<(&str, Vec<u8>, Option<&str>)> = vec![
        ("bare CR", b"\n10%\r50%\rdone\n".to_vec(), Some("10%\r50%\rdone")),
        ("CRCRLF", b"\r\r\n10%\r\r\n20%\r\r\n".to_vec(), Some("10%\n20%")),
        ("CRCRLF in the header", b"X-A: b\r\r\nX-C: d\r\r\n\r\r\nbody\r\r\n".to_vec(), Some("body")),
        ("a last CR", b"\nx\ny\r".to_vec(), Some("x\ny")),
        ("NUL", b"\na\0b\n".to_vec(), None),
        ("8-bit without MIME", "\nfertig: ü\n".into(), Some("fertig: ü")),
        ("8-bit of another charset", b"\nfertig: \xfc\n".to_vec(), None),
        ("8-bit in the header", "X-Job: Größe\n\nx\n".into(), Some("x")),
        ("a long line", format!("\n{long}").into(), Some(long.trim_end())),
        ("a long line with MIME", format!("{typed}\nü {long}").into(), None),
        ("a progress meter", format!("\n{progress}\n").into(), None),
        ("a binary", [b"\n".as_slice(), &binary].concat(), None),
        ("parts", parts.into(), None),
        ("a signature", signed.into(), None),
        ("base64 in one line", unwrapped.into(), None),
        (
            "a long header line",
            format!("X-Env: {}\nReferences: {}\nCc: {people}\n\nx\n", "y".repeat(3000), "<a@b> ".repeat(500)).into(),
            Some("x"),
        ),
        ("a bare CR in the header", b"X-A: b\rBcc: victim@b.test\n\nx\n".to_vec(), Some("x")),
        ("NUL in the header", b"X-A: \0b\n\nx\n".to_vec(), Some("x")),
        ("a header without end", format!("X-A: {}", "z".repeat(2_000_000)).into(), None),
        ("too many fields", "X-A: b\n".repeat(30_000).into(), None),
        ("no line end", b"\nx".to_vec(), Some("x")),
    ];
    for (what, rest, expected) in bodies {
        let host = Host::new();
        let done = host.sendmail(&["-i", "-FCronDaemon", "root"], [header.as_bytes(), &rest].concat());
        done.exits(0);
        let (_, recipients, content) = host.queued().pop().unwrap();
        assert_eq!(recipients.len(), 1, "{what}");
        assert_legal(&content, what);
        let end = content.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        assert!(content[..end].is_ascii(), "{what}");
        if let Some(expected) = expected {
            let shown = String::from_utf8(decoded(&content)).unwrap().replace("\r\n", "\n");
            assert_eq!(shown.trim_end_matches('\n'), expected, "{what}");
        }
        let text = String::from_utf8_lossy(&content[..end]).into_owned();
        if !content[end..].is_ascii() {
            assert!(
                text.contains("MIME-Version: 1.0") && text.contains("Content-Transfer-Encoding: 8bit"),
                "{what}: {text}"
            );
        }
        assert!(
            text.matches("MIME-Version").count() <= 1 && text.matches("Content-Transfer-Enc").count() <= 1,
            "{what}: {text}"
        );
    }
}

#[test]
fn natively_the_same_is_asked_for_by_name() {
    let cron = "From: root (Cron Daemon)\nTo: root\nSubject: x\n\n1%\r2%\n";
    let send = |args: &[&str]| tool("smtpsend").args(["-n", "-t"]).args(args).stdin(cron).run();
    send(&["--local-domain", "h.test"]).exits(65).says("carriage return");
    let done = send(&["--local-domain", "h.test", "--mend"]);
    done.exits(0).prints("From: root@h.test (Cron Daemon)\nTo: root@h.test\n").prints("1%=0D2%");
    send(&["--mend"]).exits(64).says("--local-domain");
    let composed =
        tool("smtpsend").args(["-n", "--from", "root", "--to", "ops", "--reply-to", "x", "--local-domain", "h.test"]);
    composed
        .stdin("x\n")
        .run()
        .exits(0)
        .prints("From: root@h.test\n")
        .prints("To: ops@h.test\n")
        .prints("Reply-To: x@h.test\n");
}

/// The queue belongs to another user: the drop directory is the way in. Without rights to test that as another user, a queue
/// that is not there yet stands for it.
#[test]
fn who_may_not_open_the_queue_submits_to_its_drop_directory() {
    let host = Host::new();
    std::fs::create_dir(host.drop_dir()).unwrap();
    host.sendmail(&["-i", "root"], "Subject: one\n\nx\n").silent_success();
    host.sendmail(&["-i", "-f", "a@a.test", "-N", "never", "-V", "id", "b@b.test", "c@b.test"], "Subject: two\n\nü\n")
        .silent_success();
    assert!(!host.queue().exists(), "only the drop directory was touched");
    let own = host.drop_dir().join(rustix::process::geteuid().as_raw().to_string());
    assert_eq!(std::fs::metadata(&own).unwrap().mode() & 0o7777, 0o700);
    for file in std::fs::read_dir(&own).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().mode() & 0o7777, 0o600);
    }
    // The user sees his own, in both forms.
    let listed = host.run("smtpsend").args(["--sendmail", "-bp"]).run();
    listed
        .exits(0)
        .prints("-Queue ID- --Size--")
        .prints("b@b.test")
        .prints("c@b.test")
        .prints("-- 1 Kbytes in 2 Requests.");
    let listed = host.run("mailq-ls").args(["--system-queue", "--json"]).run();
    assert_eq!(listed.exits(0).records().iter().filter(|record| record["state"] == "submitted").count(), 3);
    // The runner takes them up.
    let run = host.run("mailq-run").args(["--smarthost", "smtp://127.0.0.1:1", "--connect-timeout", "1"]).run();
    run.exits(0);
    let left: Vec<_> = std::fs::read_dir(&own).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["queued"], "{run}");
    assert_eq!(std::fs::read_dir(own.join("queued")).unwrap().count(), 2, "what the user still sees");
    let queued = host.queued();
    assert_eq!(queued.len(), 2);
    assert_eq!((queued[1].0.as_str(), queued[1].1.len()), ("a@a.test", 2));
    let text = String::from_utf8(queued[1].2.clone()).unwrap();
    let trace =
        format!("Received: by {} (applayer, from userid {});\r\n\t", host_name(), rustix::process::geteuid().as_raw());
    assert!(text.starts_with(&trace) && text.contains("Subject: two\r\n") && text.ends_with("\r\n\r\nü\r\n"), "{text}");
    assert_legal(&queued[0].2, "taken up");
    // What has left the queue is no longer seen.
    host.run("mailq-edit").args(["rm", "--newer-than", "1h"]).run().exits(0);
    host.run("mailq-run").run().exits(0);
    assert_eq!(std::fs::read_dir(&own).unwrap().count(), 0);
}

#[test]
fn hostile_files_in_the_drop_directory_are_set_apart() {
    let host = Host::new();
    std::fs::create_dir(host.drop_dir()).unwrap();
    host.sendmail(&["-i", "root"], "Subject: good\n\nx\n").silent_success();
    let own = host.drop_dir().join(rustix::process::geteuid().as_raw().to_string());
    let good = std::fs::read(std::fs::read_dir(&own).unwrap().next().unwrap().unwrap().path()).unwrap();
    let secret = host.folder.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    symlink(&secret, own.join("link")).unwrap();
    symlink(host.folder.path(), host.drop_dir().join("link")).unwrap();
    std::fs::hard_link(&secret, own.join("hard")).unwrap();
    std::fs::create_dir(own.join("directory")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, own.join("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    std::fs::File::create(own.join("huge")).unwrap().set_len(1 << 40).unwrap();
    std::fs::write(host.drop_dir().join("stray"), "x").unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    for (name, content) in [
        ("empty", String::new()),
        ("no-json", "hello\n\nx\r\n".to_owned()),
        ("half", text[..text.len() - 1].to_owned()),
        ("more", format!("{text}x")),
        ("version", text.replace("\"v\":1", "\"v\":2")),
        ("unknown", text.replace("{\"v\":1", "{\"route\":\"maildir:/root\",\"v\":1")),
        ("nobody", text.replace("\"address\":\"root@", "\"address\":\"root\\r\\nRCPT TO:<x>@")),
        ("relative", text.replace(&format!("\"address\":\"root@{}", host_name()), "\"address\":\"root")),
        ("smuggled", text.replace("\r\nx\r\n", "\n.\nxx")),
        ("open", "x".repeat(9 * 1024 * 1024)),
    ] {
        std::fs::write(own.join(name), content).unwrap();
    }
    std::fs::write(own.join("tmp.new"), "half").unwrap();
    std::fs::write(own.join("tmp.old"), "half").unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 24 * 3600);
    std::fs::File::options().write(true).open(own.join("tmp.old")).unwrap().set_modified(old).unwrap();
    let run = host.run("mailq-run").args(["--smarthost", "smtp://127.0.0.1:1", "--connect-timeout", "1"]).run();
    run.exits(0);
    for (name, why) in [
        ("link", "symbolic link"),
        ("hard", "hard links"),
        ("directory", "a directory"),
        ("fifo", "a FIFO"),
        ("huge", "too large"),
        ("empty", "envelope"),
        ("no-json", "malformed"),
        ("half", "not complete"),
        ("more", "not complete"),
        ("version", "version"),
        ("unknown", "malformed"),
        ("nobody", "malformed"),
        ("relative", "malformed"),
        ("smuggled", "bare line ends"),
        ("open", "envelope"),
        ("tmp.old", "never completed"),
    ] {
        let path = own.join(name).display().to_string();
        let line = run
            .stderr
            .lines()
            .find(|line| line.contains(&format!("{path}:")))
            .unwrap_or_else(|| panic!("{name}: {run}"));
        assert!(line.contains(why) && line.contains("set apart as"), "{name}: {line}");
    }
    run.says("stray: not a user's folder").says("queue-drop/link: not a user's folder");
    let mut left: Vec<_> = std::fs::read_dir(&own).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["queued", "tmp.new"], "what is under way stays, and what tells of the good one");
    assert_eq!(std::fs::read_dir(host.queue().join("apart")).unwrap().count(), 18);
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
    assert_eq!(host.queued().len(), 1, "the good one went on");
    // Once said is said.
    let again = host.run("mailq-run").args(["--smarthost", "smtp://127.0.0.1:1", "--connect-timeout", "1"]).run();
    assert!(!again.exits(0).stderr.contains("set apart"), "{again}");
}

#[test]
fn a_watching_runner_hears_of_submissions() {
    let (host, (peer, taken)) = (Host::new(), crate::mail::sink(|_| None));
    std::fs::create_dir(host.drop_dir()).unwrap();
    let smarthost = format!("smtp://{}", peer.addr);
    let mut command = std::process::Command::new(binary("mailq-run"));
    command.args(["--watch", "--tls", "none", "--smarthost", &smarthost, "--queue-dir"]).arg(host.queue());
    let mut runner = command.spawn().unwrap();
    let wake = host.drop_dir().join("wake");
    eventually("the runner's FIFO", || wake.exists());
    host.sendmail(&["-i", "root"], "Subject: direct\n\nx\n").silent_success();
    submit_as_another_user(&host);
    eventually("the deliveries", || taken.lock().unwrap().len() == 2);
    runner.kill().unwrap();
    runner.wait().unwrap();
}

/// A submission of this user as the tool writes it where the queue cannot be opened.
fn submit_as_another_user(host: &Host) {
    let other = Host::new();
    std::fs::create_dir(other.drop_dir()).unwrap();
    other.sendmail(&["-i", "root"], "Subject: submitted\n\nx\n").silent_success();
    let user = rustix::process::geteuid().as_raw().to_string();
    let from = std::fs::read_dir(other.drop_dir().join(&user)).unwrap().next().unwrap().unwrap();
    std::fs::create_dir_all(host.drop_dir().join(&user)).unwrap();
    std::fs::copy(from.path(), host.drop_dir().join(&user).join(from.file_name())).unwrap();
    std::fs::write(host.drop_dir().join("wake"), "\n").unwrap();
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < until, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn addresses_of_this_host_follow_the_administrators_rules() {
    let folder = temp_dir();
    let aliases = folder.path().join("aliases");
    std::fs::write(&aliases, "# as in /etc\npostmaster: root\nroot: admin@b.test,\n\tops@b.test\n").unwrap();
    let message = "From: Cron <root>\nTo: root, me@h.test, x@far.test\nSubject: x\n\nx\n";
    let (server, taken) = crate::mail::sink(|_| None);
    let sent = |args: &[&str]| {
        let base = ["--tls", "none", "--local-domain", "h.test", "-f", "root"];
        // A server without a scheme.
        tool("smtpsend")
            .arg("--server")
            .arg(server.addr.to_string())
            .args(base)
            .args(args)
            .stdin(message)
            .run()
            .silent_success();
        let taken = taken.lock().unwrap().pop().unwrap();
        (taken.sender.clone(), taken.recipients.clone(), String::from_utf8(taken.message).unwrap())
    };
    let file = aliases.display().to_string();
    let (sender, recipients, text) = sent(&["-t", "--aliases", &file, "--masquerade", "example.org"]);
    assert_eq!(
        (sender.as_str(), recipients.join(" ").as_str()),
        ("root@example.org", "admin@b.test ops@b.test me@h.test x@far.test")
    );
    assert!(text.contains("From: Cron <root@example.org>\r\nTo: root@h.test, me@h.test, x@far.test\r\n"), "{text}");
    let (_, recipients, _) = sent(&["-t", "--admin-address", "boss@example.org"]);
    assert_eq!(recipients, ["boss@example.org", "x@far.test"]);
    let (_, recipients, _) = sent(&["--aliases", &file, "--admin-address", "boss@example.org", "postmaster", "else"]);
    assert_eq!(recipients, ["admin@b.test", "ops@b.test", "boss@example.org"]);
    std::fs::write(&aliases, "root: a@b.test\nbin: |/bin/cat\n").unwrap();
    let refused = tool("smtpsend").args(["-n", "-f", "a@a.test", "root", "--aliases", &file]).stdin(message).run();
    refused.exits(78).says("line 2").says("program");
}

#[test]
fn smarthosts_are_tried_in_turn() {
    let (server, taken) = crate::mail::sink(|_| None);
    let good = format!("smtp://{}", server.addr);
    let dead = "smtp://127.0.0.1:1";
    for ways in [
        ["--smarthost", dead, "--smarthost", &good],
        ["--smarthost", "smtp://nowhere.invalid", "--smarthost", &good],
        ["--route", &format!("*={dead}"), "--route", &format!("*={good}")],
        ["--route", &format!("b.test={dead}"), "--route", &format!("b.test={good}")],
        ["--route", &format!("*={good}"), "--smarthost", dead],
    ] {
        let host = Host::new();
        host.sendmail(&["-i", "x@b.test"], "Subject: x\n\nx\n").silent_success();
        let run =
            host.run("mailq-run").args(["--tls", "none", "--resolver", "127.0.0.1:1", "--strict"]).args(ways).run();
        run.silent_success();
        assert_eq!(taken.lock().unwrap().drain(..).count(), 1, "{run}");
    }
}

#[test]
fn without_a_queue_of_the_machine_it_is_loud() {
    let folder = temp_dir();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let sent = tool("smtpsend")
        .args(["--sendmail", "-i", "root"])
        .env("APPLAYER_QUEUE", &file)
        .home(folder.path())
        .stdin("x\n")
        .run();
    sent.exits(78).says("install-sendmail");
    assert!(!folder.path().join(".local").exists(), "no queue of the user was made");
    // Set and empty is unset.
    tool("mailq-ls").env("APPLAYER_QUEUE", "").home(folder.path()).run().silent_success();
    let named = folder.path().join("not/there");
    tool("mailq-ls").arg("--queue-dir").arg(&named).run().exits(66).says("no such queue");
    tool("mailq-edit").args(["hold", "--domain", "b.test", "--queue-dir"]).arg(&named).run().exits(66);
}

#[test]
fn the_queue_is_private_whatever_made_it() {
    let modes = |dir: &Path| {
        for entry in std::fs::read_dir(dir).unwrap() {
            let found = entry.unwrap();
            let mode = found.metadata().unwrap().mode() & 0o7777;
            let right = if found.path().is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, right, "{}", found.path().display());
        }
        assert_eq!(std::fs::metadata(dir).unwrap().mode() & 0o7777, 0o700);
    };
    let large = format!("Subject: x\n\n{}", "0123456789\n".repeat(20_000));
    for made in [None, Some(0o755), Some(0o777)] {
        let host = Host::new();
        if let Some(mode) = made {
            std::fs::create_dir(host.queue()).unwrap();
            std::fs::set_permissions(host.queue(), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let queue = |message: &str| {
            let args = ["--queue", "-f", "a@a.test", "b@b.test"];
            host.run("smtpsend").args(args).shell("umask 0").stdin(message).run()
        };
        let done = queue(&large);
        done.exits(0);
        assert_eq!(done.stderr.contains("its mode is 700 now"), made.is_some(), "{done}");
        modes(&host.queue());
        modes(&host.queue().join("body"));
        let run = host
            .run("mailq-run")
            .shell("umask 0")
            .args(["--smarthost", "smtp://127.0.0.1:1", "--connect-timeout", "1"])
            .run();
        run.exits(0);
        modes(&host.queue());
        // Made by an older version, or by hand.
        for name in ["queue.db", "queue.db-wal"] {
            std::fs::set_permissions(host.queue().join(name), std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        queue("Subject: y\n\nx\n").silent_success();
        modes(&host.queue());
    }
    let host = Host::new();
    std::fs::create_dir(host.queue()).unwrap();
    std::fs::set_permissions(host.queue(), std::fs::Permissions::from_mode(0o1777)).unwrap();
    let refused = host.run("smtpsend").args(["--queue", "-f", "a@a.test", "b@b.test"]).stdin("Subject: x\n\nx\n").run();
    refused.exits(78).says("chmod 700");
    assert_eq!(std::fs::read_dir(host.queue()).unwrap().count(), 0);
}
