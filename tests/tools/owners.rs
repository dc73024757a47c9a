//! Mailboxes of several owners: smtpserve gives up root, and a helper delivers as each owner. Looked at from outside.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::confine::{GROUP, USER, check_threads, is_root};
use crate::crash::submit;
use crate::harness::{LIMIT, Run, Server, memory_dir, rounds, server, signal, tool};
use crate::random::{Random, first_seed};
use crate::smtp::Talk;

const OWNERS: [(&str, u32); 3] = [("bob", 54331), ("eve", 54332), ("joe", 54333)];

/// Mailboxes of several owners in a directory of root's that everybody may enter.
fn mailboxes() -> tempfile::TempDir {
    let dir = memory_dir();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    OWNERS.iter().for_each(|(name, owner)| mailbox(&dir.path().join(name), *owner));
    dir
}

fn mailbox(path: &Path, owner: u32) {
    std::fs::create_dir_all(path).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o700)).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
}

fn serving(dir: &Path) -> Run {
    let run = server("smtpserve").gives_up_root().args(["--domain", "a.test", "--domain", "b.test", "-v"]);
    run.args(["--run-as", &format!("{USER}:{GROUP}"), "--mailboxes"]).arg(dir)
}

/// The helper is the one child of a server.
fn helper(server: &Server) -> Pid {
    let children = format!("/proc/{0}/task/{0}/children", server.pid());
    let children = std::fs::read_to_string(children).unwrap();
    let [child] = children.split_whitespace().collect::<Vec<_>>()[..] else { panic!("children: {children:?}") };
    Pid::from_raw(child.parse().unwrap()).unwrap()
}

pub(crate) fn status(pid: Pid, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} in {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Waits for the end of a process that is not our child.
pub(crate) fn wait_for_end(process: &std::os::fd::OwnedFd) {
    let limit = LIMIT.try_into().unwrap();
    assert_eq!(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)), Ok(1), "still there");
}

fn inside(mailbox: &Path, folder: &str) -> Vec<std::path::PathBuf> {
    let listed = std::fs::read_dir(mailbox.join(folder)).into_iter().flatten();
    listed.map(|entry| entry.unwrap().path()).collect()
}

fn send(server: &Server, to: &[&str], text: &str, status: i32) {
    let mut run = tool("smtpsend").args(["--server", &server.url, "--from", "x@a.test", "--subject", "s"]);
    for to in to {
        run = run.args(["--to", to]);
    }
    run.stdin(text).run().exits(status);
}

#[test]
fn mail_is_its_owners() {
    if !is_root() {
        return;
    }
    let dir = mailboxes();
    mailbox(&dir.path().join("b.test/bob"), 54334);
    std::fs::set_permissions(dir.path().join("b.test"), PermissionsExt::from_mode(0o755)).unwrap();
    chown(dir.path().join("b.test"), Some(USER), Some(GROUP)).unwrap();
    let server = serving(dir.path()).start();
    assert!(server.stderr.text().contains("several owners"), "{server}");
    check_threads(&server, USER, GROUP, "the server");
    // CAP_CHOWN, CAP_SETGID, CAP_SETUID; the user of the server; no way to more.
    let helper = helper(&server);
    for (name, expected) in [
        ("CapEff", "00000000000000c1"),
        ("CapPrm", "00000000000000c1"),
        ("CapInh", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Threads", "1"),
        ("Uid", &[USER.to_string().as_str(); 4].join(" ")),
        ("Groups", &GROUP.to_string()),
    ] {
        assert_eq!(status(helper, name), expected, "{name}");
    }
    let held = std::fs::read_dir(format!("/proc/{}/fd", helper.as_raw_nonzero())).unwrap();
    let mut held: Vec<String> =
        held.map(|fd| std::fs::read_link(fd.unwrap().path()).unwrap().to_string_lossy().into_owned()).collect();
    held.sort();
    let [null @ .., socket] = &held[..] else { panic!("{held:?}") };
    assert!(null == ["/dev/null"; 3] && socket.starts_with("socket:"), "{held:?}");
    // One for each, one for all, and one that does not stay in memory.
    send(&server, &["bob@a.test"], "one\n", 0);
    send(&server, &["bob@a.test", "EVE+x@a.test", "joe@a.test", "bob@b.test"], "all\n", 0);
    let large = "0123456789abcde\n".repeat(60_000);
    send(&server, &["eve@a.test"], &large, 0);
    send(&server, &["nobody@a.test"], "none\n", 67);
    let all = OWNERS.into_iter().chain([("b.test/bob", 54334)]);
    for ((name, owner), count) in all.zip([2, 2, 1, 1]) {
        let mailbox = dir.path().join(name);
        assert_eq!(inside(&mailbox, "new").len(), count, "{name}");
        for path in inside(&mailbox, "new").into_iter().chain(["new", "cur", "tmp"].map(|inner| mailbox.join(inner))) {
            let found = path.metadata().unwrap();
            let mode = if found.is_dir() { 0o700 } else { 0o600 };
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (owner, owner, mode), "{}", path.display());
        }
        assert!(inside(&mailbox, "tmp").is_empty(), "{name}");
    }
    let longest = inside(&dir.path().join("eve"), "new").into_iter().map(|file| file.metadata().unwrap().len()).max();
    assert!(longest.unwrap() > large.len() as u64);
    // Who serves cannot look into them.
    let mut look = Command::new("ls");
    look.arg(dir.path().join("bob/new")).uid(USER).gid(GROUP).stderr(std::process::Stdio::null());
    assert!(!look.status().unwrap().success());
    assert_eq!(server.stop(), 0);
}

#[test]
fn what_could_be_somebody_elses_gets_nothing() {
    if !is_root() {
        return;
    }
    let dir = mailboxes();
    let at = |name: &str| dir.path().join(name);
    symlink("bob", at("rob")).unwrap();
    mailbox(&at("roots"), 0);
    mailbox(&at("b.test/bob"), 54334);
    std::fs::set_permissions(at("b.test"), PermissionsExt::from_mode(0o775)).unwrap();
    for (flags, taken) in [(&["--json"][..], false), (&["--json", "--i-know"], true)] {
        let server = serving(dir.path()).args(flags).start();
        let mut talk = Talk::to(server.addr);
        talk.says("EHLO x.test", "250");
        talk.says("MAIL FROM:<x@x.test>", "250");
        talk.says("RCPT TO:<rob@a.test>", "451 4.3.0");
        talk.says("RCPT TO:<bob@b.test>", "451 4.3.0");
        talk.says("RCPT TO:<roots@a.test>", if taken { "250" } else { "451 4.3.0" });
        for name in ["\"\"", "\".\"", "\"a/b\"", "\"../bob\"", "nobody", "b.test"] {
            talk.says(&format!("RCPT TO:<{name}@a.test>"), "550 5.1.1");
        }
        talk.says("RCPT TO:<joe@a.test>", "250");
        talk.says("DATA", "354");
        talk.says("x\r\n.", "250");
        server.stderr.wait_for("b.test: others may write there");
        server.stderr.wait_for("rob: a link");
        server.stdout.wait_for("\"code\":451,\"enhanced\":\"4.3.0\"");
        assert_eq!(inside(&at("roots"), "new").len(), usize::from(taken));
    }
    assert!(inside(&at("bob"), "new").is_empty() && inside(&at("b.test/bob"), "new").is_empty());
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    for flags in [&[][..], &["--check-config"]] {
        let run = tool("smtpserve").gives_up_root().args(["--listen", "127.0.0.1:0", "--run-as", "54321:54322"]);
        let run = run.args(["--domain", "a.test", "--mailboxes"]).arg(dir.path()).args(flags).run();
        run.exits(78).says("others may write there: chmod go-w");
    }
}

#[test]
fn a_mailbox_is_made_for_the_user_of_its_name() {
    if !is_root() {
        return;
    }
    let daemon = std::fs::read_to_string("/etc/passwd").unwrap();
    let daemon = daemon.lines().find_map(|line| line.strip_prefix("daemon:x:")?.split(':').next()?.parse().ok());
    let Some(daemon) = daemon else { return eprintln!("skipped: no user daemon") };
    for before in [true, false] {
        let dir = if before { mailboxes() } else { memory_dir() };
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let server = serving(dir.path()).arg("--create").start();
        send(&server, &["daemon@a.test", "Nobody-s+x@a.test"], "text\n", 0);
        send(&server, &["postmaster@b.test"], &"0123456789abcde\n".repeat(20_000), 0);
        send(&server, &["root@a.test"], "text\n", 75);
        for (name, owner) in [("daemon", daemon), ("nobody-s", USER), ("postmaster", USER)] {
            let mailbox = dir.path().join(name);
            let file = inside(&mailbox, "new").pop().unwrap_or_else(|| panic!("{name}"));
            for (path, mode) in [(&mailbox, 0o700), (&file, 0o600)] {
                let found = path.metadata().unwrap();
                assert_eq!((found.uid(), found.mode() & 0o777), (owner, mode), "{}", path.display());
            }
        }
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.len() == if before { 6 } else { 3 }, "{names:?}");
    }
}

/// The database of users is a new file with each user: one who is added while the server runs gets his mailbox.
#[test]
fn a_user_who_is_added_later_is_found() {
    let unshared = || Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
    if !is_root() || !unshared() {
        return eprintln!("skipped: no mount namespace");
    }
    let (dir, database) = (memory_dir(), memory_dir());
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copied = Command::new("cp").args(["-a", "/etc"]).arg(database.path()).status().unwrap();
    assert!(copied.success());
    let etc = database.path().join("etc");
    let mount = format!("mount --bind {} /etc && exec \"$0\" \"$@\"", etc.display());
    let unshare = format!("exec unshare --mount --propagation private sh -c '{mount}' \"$0\" \"$@\"");
    let server = serving(dir.path()).arg("--create").shell(&unshare).start();
    send(&server, &["early-s@a.test"], "text\n", 0);
    let users = std::fs::read_to_string(etc.join("passwd")).unwrap();
    std::fs::write(etc.join("passwd.new"), users + "late-s:x:54377:54377::/nonexistent:/bin/false\n").unwrap();
    std::fs::rename(etc.join("passwd.new"), etc.join("passwd")).unwrap();
    send(&server, &["late-s@a.test"], "text\n", 0);
    for (name, owner) in [("early-s", USER), ("late-s", 54377)] {
        let file = inside(&dir.path().join(name), "new").pop().unwrap();
        assert_eq!((file.metadata().unwrap().uid(), file.metadata().unwrap().gid() > 0), (owner, true), "{name}");
    }
}

#[test]
fn one_owner_needs_no_helper() {
    if !is_root() {
        return;
    }
    for (owner, user, create) in [(USER, USER, false), (USER, USER, true), (0, USER, false)] {
        let dir = memory_dir();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        chown(dir.path(), Some(owner), Some(owner)).unwrap();
        mailbox(&dir.path().join("bob"), user);
        mailbox(&dir.path().join(".snapshots"), 54331);
        let run = serving(dir.path()).args(create.then_some("--create"));
        let server = run.start();
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.pid())).unwrap();
        assert_eq!(children, "", "{server}");
        send(&server, &["bob@a.test"], "text\n", 0);
    }
}

/// Whoever dies takes the others along, and what was not promised is answered 451.
#[test]
fn server_and_helper_end_together() {
    if !is_root() {
        return;
    }
    let dir = mailboxes();
    let server = serving(dir.path()).args(["--drain", "5"]).start();
    let mut talk = Talk::to(server.addr);
    talk.says("EHLO x.test", "250");
    talk.says("MAIL FROM:<x@x.test>", "250");
    talk.says("RCPT TO:<bob@a.test>", "250");
    talk.says("RCPT TO:<eve@a.test>", "250");
    talk.says("DATA", "354");
    talk.send("Subject: x\r\n\r\n");
    let of_helper = pidfd_open(helper(&server), PidfdFlags::empty()).unwrap();
    signal(helper(&server).as_raw_nonzero().get().cast_unsigned(), Signal::KILL);
    wait_for_end(&of_helper);
    server.stderr.wait_for("the helper process has ended");
    talk.says("text\r\n.", "4");
    drop(talk);
    assert_eq!(server.ends(), 74);
    assert!(OWNERS.iter().all(|(name, _)| inside(&dir.path().join(name), "new").is_empty()));
    // INT and TERM are the server's to mind; its end is the helper's.
    for end in [Signal::KILL, Signal::TERM] {
        let server = serving(dir.path()).start();
        let helper = helper(&server);
        let of_helper = pidfd_open(helper, PidfdFlags::empty()).unwrap();
        for kind in [Signal::INT, Signal::TERM, Signal::HUP, Signal::USR1] {
            signal(helper.as_raw_nonzero().get().cast_unsigned(), kind);
        }
        send(&server, &["bob@a.test", "eve@a.test"], "text\n", 0);
        server.signal(end);
        wait_for_end(&of_helper);
    }
    assert_eq!(inside(&dir.path().join("bob"), "new").len(), 2);
}

/// kill -9 at any time, of the server or of its helper: a message that was promised is in both mailboxes.
#[test]
fn crash_loses_nothing_of_several_owners() {
    if !is_root() {
        return;
    }
    for (round, seed) in rounds(4, 10).map(|round| first_seed() + round as u64).enumerate() {
        let dir = mailboxes();
        let run = server("smtpserve").gives_up_root().args(["--domain", "bob.test", "--domain", "b.test", "--create"]);
        let server = run.args(["--run-as", &format!("{USER}:{GROUP}"), "--mailboxes"]).arg(dir.path()).start();
        let (promise, promised) = std::sync::mpsc::channel();
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (address, promise) = (server.addr, promise.clone());
                std::thread::spawn(move || {
                    submit(address, client, if client == 0 { 400_000 } else { 2_000 }, &promise);
                })
            })
            .collect();
        drop(promise);
        let wanted = Random(seed).below(30) as usize;
        let mut kept: Vec<String> = promised.iter().take(wanted).collect();
        match round % 2 {
            0 => server.kill(),
            _ => {
                signal(helper(&server).as_raw_nonzero().get().cast_unsigned(), Signal::KILL);
                drop(server);
            }
        }
        kept.extend(promised.iter());
        clients.into_iter().for_each(|client| drop(client.join()));
        for (name, owner) in [("bob", 54331), ("b", USER)] {
            let mut there = Vec::new();
            for file in inside(&dir.path().join(name), "new") {
                let text = std::fs::read_to_string(&file).unwrap();
                assert!(text.ends_with("\nEND\n"), "seed {seed}: half a message: {} bytes", text.len());
                assert_eq!(file.metadata().unwrap().uid(), owner);
                there.push(text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned());
            }
            let lost: Vec<_> = kept.iter().filter(|subject| !there.contains(subject)).collect();
            assert!(lost.is_empty(), "seed {seed}: promised to {name} and lost: {lost:?}");
        }
    }
}
