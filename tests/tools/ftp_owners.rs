//! Users of the system at ftpserve: their passwords, whose files are whose, the process of each session, and the ends of all of them.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use tempfile::TempDir;

use crate::confine::{GROUP, USER, check_threads, is_root};
use crate::ftp_server::{Client, hash};
use crate::harness::{Run, Server, memory_dir, server, signal};
use crate::owners::{status, wait_for_end};

/// Hashes of "secret".
const SHA512: &str =
    "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";
const YESCRYPT: &str = "$y$j9T$abcdefghijklmnop$3dL1LkYnZM.OVXuVdnnaKVDlLYT92dRwOzDZ5XiVCe.";

const ALICE: u32 = 54401;
const BOB: u32 = 54402;
const SHARED: u32 = 54500;

/// The users, each with number, shell, and the fields of shadow(5) after the name.
fn users() -> Vec<(&'static str, u32, &'static str, String)> {
    let days = "19000:0:99999:7";
    vec![
        ("alice", ALICE, "/bin/sh", format!("{SHA512}:{days}:::")),
        ("bob", BOB, "", format!("{YESCRYPT}:{days}:::")),
        ("locked", 54403, "/bin/sh", format!("!{SHA512}:{days}:::")),
        ("old", 54404, "/bin/sh", format!("{SHA512}:{days}::10000:")),
        ("stale", 54405, "/bin/sh", format!("{SHA512}:1000:0:90:7:::")),
        ("shell", 54406, "/usr/sbin/nologin", format!("{SHA512}:{days}:::")),
        ("listed", 54407, "/bin/sh", format!("{SHA512}:{days}:::")),
        ("homeless", 54408, "/bin/sh", format!("{SHA512}:{days}:::")),
        ("low", 999, "/bin/sh", format!("{SHA512}:{days}:::")),
        ("toor", 0, "/bin/sh", format!("{SHA512}:{days}:::")),
        ("empty", 54409, "/bin/sh", format!(":{days}:::")),
    ]
}

/// Homes in a directory that everybody may enter, and a copy of /etc in which their users are.
struct Site {
    dir: TempDir,
    etc: TempDir,
}

impl Site {
    fn new() -> Option<Site> {
        let unshared = || Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|end| end.success());
        if !is_root() || !unshared() {
            eprintln!("skipped: no mount namespace");
            return None;
        }
        let site = Site { dir: memory_dir(), etc: memory_dir() };
        std::fs::set_permissions(site.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        assert!(Command::new("cp").args(["-a", "/etc"]).arg(site.etc.path()).status().unwrap().success());
        let add = |file: &str, lines: String| {
            let mut file = std::fs::OpenOptions::new().append(true).create(true).open(site.at_etc(file)).unwrap();
            file.write_all(lines.as_bytes()).unwrap();
        };
        for (name, uid, shell, shadow) in users() {
            let home = site.at(name);
            add("passwd", format!("{name}:x:{uid}:{uid}::{}:{shell}\n", home.display()));
            add("shadow", format!("{name}:{shadow}\n"));
            if name != "homeless" {
                owned(&home, uid, 0o700);
            }
        }
        add("group", format!("shared:x:{SHARED}:alice\n"));
        add("ftpusers", "# nobody of these\nroot\nlisted\n".to_owned());
        owned(&site.at("public"), USER, 0o755);
        Some(site)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn at_etc(&self, name: &str) -> PathBuf {
        self.etc.path().join("etc").join(name)
    }

    /// ftpserve with a user file of these lines, and this /etc.
    fn run(&self, lines: &str) -> Run {
        let mount = format!("mount --bind {} /etc && exec \"$0\" \"$@\"", self.at_etc("").display());
        let unshare = format!("exec unshare --mount --propagation private sh -c '{mount}' \"$0\" \"$@\"");
        let run = server("ftpserve").gives_up_root().shell(&unshare).args(["--json", "--write"]);
        let run = run.args(["--run-as", &format!("{USER}:{GROUP}")]);
        let run = if lines.is_empty() {
            run
        } else {
            let file = self.at_etc("ftpserve.users");
            std::fs::write(&file, lines).unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
            run.args(["--user-file", "/etc/ftpserve.users"])
        };
        run.arg(self.at("public"))
    }
}

/// A directory of this user and group.
fn owned(path: &Path, owner: u32, mode: u32) {
    std::fs::create_dir_all(path).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
}

/// A file of this user and group.
fn file(path: &Path, (user, group): (u32, u32), mode: u32, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    chown(path, Some(user), Some(group)).unwrap();
}

fn children(pid: u32) -> Vec<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap()).collect()
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().cast_unsigned()
}

/// The helper is the one child of the server.
fn helper(server: &Server) -> Pid {
    let [helper] = children(server.pid())[..] else { panic!("{server}") };
    helper
}

/// The processes that serve sessions.
fn workers(server: &Server) -> Vec<Pid> {
    children(number(helper(server)))
}

fn refused(server: &Server, user: &str, password: &str) {
    let mut client = Client::connect(server.addr);
    client.ask(&format!("USER {user}"), 331);
    client.ask(&format!("PASS {password}"), 530);
}

#[test]
fn users_of_the_system_log_in_and_their_files_are_theirs() {
    let Some(site) = Site::new() else { return };
    file(&site.at("alice/group"), (0, SHARED), 0o640, b"shared");
    file(&site.at("alice/bobs"), (BOB, BOB), 0o600, b"private");
    owned(&site.at("alice/bobs-place"), BOB, 0o700);
    let server = site.run("").arg("--system-users").start();
    check_threads(&server, USER, GROUP, "the server");
    let of_helper = helper(&server);
    // CAP_DAC_READ_SEARCH, CAP_SETGID, CAP_SETUID; the user of the server.
    for (name, expected) in [("CapEff", "00000000000000c4"), ("CapPrm", "00000000000000c4"), ("NoNewPrivs", "1")] {
        assert_eq!(status(of_helper, name), expected, "{name}");
    }
    assert_eq!(workers(&server), []);
    let mut alice = Client::login(server.addr, "alice", "secret");
    let [worker] = workers(&server)[..] else { panic!("{server}") };
    for (name, expected) in [
        ("Uid", [ALICE; 4].map(|id| id.to_string()).join(" ")),
        ("Gid", [ALICE; 4].map(|id| id.to_string()).join(" ")),
        ("Groups", format!("{ALICE} {SHARED}")),
        ("CapInh", "0".repeat(16)),
        ("CapPrm", "0".repeat(16)),
        ("CapEff", "0".repeat(16)),
        ("CapBnd", "0".repeat(16)),
        ("CapAmb", "0".repeat(16)),
        ("NoNewPrivs", "1".to_owned()),
        ("Threads", "1".to_owned()),
    ] {
        assert_eq!(status(worker, name), expected, "{name}");
    }
    let held = std::fs::read_dir(format!("/proc/{}/fd", number(worker))).unwrap();
    let held: Vec<_> = held.map(|fd| std::fs::read_link(fd.unwrap().path()).unwrap()).collect();
    let is_other = |path: &&PathBuf| **path != Path::new("/dev/null") && **path != site.at("alice");
    assert_eq!(held.iter().filter(is_other).count(), 1, "its socket: {held:?}");
    assert!(alice.put("new", b"mine").starts_with("226"));
    assert!(alice.put("large", &vec![b'x'; 3_000_000]).starts_with("226"));
    alice.ask("MKD made", 257);
    for name in ["new", "large", "made"] {
        let found = site.at("alice").join(name).metadata().unwrap();
        assert_eq!((found.uid(), found.gid()), (ALICE, ALICE), "{name}");
    }
    assert_eq!(alice.get("RETR large").unwrap().len(), 3_000_000);
    assert_eq!(alice.get("RETR group").unwrap(), b"shared");
    assert!(alice.get("RETR bobs").unwrap_err().starts_with("550"));
    assert!(alice.put("bobs-place/x", b"x").starts_with("550"));
    alice.ask("SITE CHMOD 777 bobs", 550);
    alice.ask("CWD ../bob", 550);
    let record = format!("\"file\":\"{}\"", site.at("alice/new").display());
    server.stdout.wait_for(&record);
    // Another user meanwhile, and a second session of the first.
    let mut bob = Client::login(server.addr, "bob", "secret");
    assert!(bob.put("new", b"bob's").starts_with("226"));
    assert_eq!(site.at("bob/new").metadata().unwrap().uid(), BOB);
    let again = Client::login(server.addr, "alice", "secret");
    let all: Vec<_> = workers(&server).into_iter().map(|it| pidfd_open(it, PidfdFlags::empty()).unwrap()).collect();
    assert_eq!(all.len(), 3);
    alice.ask("QUIT", 221);
    bob.ask("REIN", 220);
    bob.ask("USER alice", 331);
    bob.ask("PASS secret", 230);
    assert_eq!(bob.get("RETR new").unwrap(), b"mine");
    drop((alice, again, bob));
    all.iter().for_each(wait_for_end);
    assert_eq!(server.stop(), 0);
}

#[test]
fn who_may_not_log_in_is_refused_with_a_reason() {
    let Some(site) = Site::new() else { return };
    let server = site.run("").arg("--system-users").start();
    for (user, reason) in [
        ("old", "the account has expired"),
        ("stale", "the password has expired"),
        ("shell", "the user's shell is not in /etc/shells"),
        ("listed", "the user is in /etc/ftpusers"),
        ("homeless", "the user's directory cannot be opened"),
    ] {
        refused(&server, user, "secret");
        server
            .stdout
            .wait_for(&format!("\"user\":\"{user}\",\"tls\":false,\"accepted\":false,\"reason\":\"{reason}\""));
    }
    // Those whose passwords nobody finds out: with the right one as with a wrong one.
    for (user, password) in [("low", "secret"), ("toor", "secret"), ("root", ""), ("locked", "secret"), ("empty", "")] {
        refused(&server, user, password);
    }
    refused(&server, "alice", "Secret");
    refused(&server, "nobody-there", "secret");
    // Nobody stays.
    let left = workers(&server).into_iter().filter_map(|it| pidfd_open(it, PidfdFlags::empty()).ok());
    left.for_each(|process| wait_for_end(&process));
    let accepted = server.stdout.text().matches("\"accepted\":true").count();
    assert_eq!(accepted, 0, "{server}");
    drop(server);
    let server =
        site.run("").args(["--system-users", "--min-uid", "999", "--system-root"]).arg(site.at("public")).start();
    let mut low = Client::login(server.addr, "low", "secret");
    assert!(low.put("x", b"x").starts_with("550"), "not low's directory");
    refused(&server, "toor", "secret");
}

/// A user of the user file with as= is that user of the system, with the terms of the line.
#[test]
fn a_virtual_user_is_a_user_of_the_system() {
    let Some(site) = Site::new() else { return };
    owned(&site.at("public/joe"), BOB, 0o700);
    let (hash, own) = (hash("joes"), hash("own"));
    let lines = format!(
        "joe:{hash}:joe:list,read,upload,delete,rename,mkdir,overwrite,append,as=bob,quota=1000\n\
         own:{own}::write\nfar:{hash}::as={ALICE}:{SHARED},root={}\nout:{hash}:joe:as=bob,net=192.0.2.0/24\n",
        site.at("alice").display()
    );
    let server = site.run(&lines).arg("--append").start();
    let mut joe = Client::login(server.addr, "joe", "joes");
    assert!(joe.put("one", &[b'1'; 600]).starts_with("226"));
    assert!(joe.put("two", &[b'2'; 401]).starts_with("552"));
    assert!(joe.put("two", &[b'2'; 400]).starts_with("226"));
    assert_eq!(site.at("public/joe/two").metadata().unwrap().uid(), BOB);
    // All sessions share the quota, and what is removed is free again.
    let mut other = Client::login(server.addr, "joe", "joes");
    assert!(other.put("three", b"3").starts_with("552"));
    joe.ask("RNFR one", 350);
    joe.ask("RNTO two", 250);
    assert!(other.put("three", &[b'3'; 401]).starts_with("552"));
    assert!(other.put("three", &[b'3'; 399]).starts_with("226"));
    let mut data = other.data();
    other.ask("APPE three", 150);
    data.write_all(b"xx").unwrap();
    drop(data);
    other.expect(552);
    assert_eq!(site.at("public/joe/three").metadata().unwrap().len(), 399);
    joe.ask("DELE two", 250);
    assert!(other.put("four", &[b'4'; 601]).starts_with("226"));
    // The others of the file are served as ever, and users of the system not at all.
    let mut client = Client::login(server.addr, "own", "own");
    assert!(client.put("mine", b"x").starts_with("226"));
    assert_eq!(site.at("public/mine").metadata().unwrap().uid(), USER);
    let mut far = Client::login(server.addr, "far", "joes");
    assert!(far.put("far", b"x").starts_with("226"));
    let found = site.at("alice/far").metadata().unwrap();
    assert_eq!((found.uid(), found.gid()), (ALICE, SHARED));
    refused(&server, "joe", "secret");
    refused(&server, "alice", "secret");
    refused(&server, "out", "joes");
    server.stdout.wait_for("\"reason\":\"the account is not for this network\"");
    assert_eq!(workers(&server).len(), 3);
}

/// One dialogue with both kinds of trees: nothing tells them apart but the owner.
#[test]
fn a_session_of_a_user_is_as_any_other() {
    let Some(site) = Site::new() else { return };
    let hash = hash("x");
    owned(&site.at("public/near"), USER, 0o700);
    owned(&site.at("public/away"), ALICE, 0o700);
    let lines = format!("near:{hash}:near:write\naway:{hash}:away:write,as=alice\n");
    let server = site.run(&lines).args(["--deny", "*.pem", "--hide", "*.bak", "--umask", "027"]).start();
    let said = ["near", "away"].map(|user| {
        let (mut client, mut said) = (Client::login(server.addr, user, "x"), Vec::new());
        let big = vec![b'b'; 700_000];
        for (name, bytes) in [("a", &b"hello"[..]), ("big", &big), ("n.bak", b""), ("k.pem", b""), ("no/way", b"")] {
            said.push(client.put(name, bytes));
        }
        for line in [
            "MKD d",
            "MKD d",
            "CWD d",
            "CWD a",
            "CWD ..",
            "CDUP",
            "SIZE a",
            "SIZE d",
            "SIZE none",
            "MDTM none",
            "MFMT 20260102030405 a",
            "MDTM a",
            "MFF Modify=20260102030406; big",
            "SITE CHMOD 604 a",
            "SITE CHMOD 600 none",
            "SITE UMASK 077",
            "HASH a",
            "OPTS HASH CRC32",
            "HASH big",
            "XMD5 a",
            "XCRC \"a\" 1 3",
            "XSHA256 d",
            "RANG 1 3",
            "XSHA1 none",
            "STAT a",
            "STAT none",
            "RNFR none",
            "RNFR a",
            "RNTO d",
            "RNFR a",
            "RNTO d/a",
            "RNFR d/a",
            "RNTO k.pem",
            "RNFR d/a",
            "RNTO big",
            "DELE d",
            "DELE none",
            "RMD d/a",
            "RMD big",
            "RMD d",
            "AVBL none",
            "DELE k.pem",
            "ALLO 100",
            "CWD /../..",
            "PWD",
            "DELE ../../near",
            "SIZE n.bak",
        ] {
            client.send(&format!("{line}\r\n"));
            said.push(format!("{line}: {}", client.reply()));
        }
        for command in
            ["RETR big", "RETR none", "RETR k.pem", "NLST", "LIST -a", "NLST d", "MLSD", "MLSD none", "LIST big"]
        {
            let got = client.get(command).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            said.push(format!("{command}: {got:?}"));
        }
        client.ask("REST 2", 350);
        said.push(format!("{:?}", client.get("RETR big")));
        for command in ["STOU", "APPE big", "STOR big", "APPE new", "STOR new"] {
            if command == "STOR big" {
                client.ask("REST 3", 350);
            }
            let mut data = client.data();
            client.send(&format!("{command}\r\n"));
            let mut reply = client.reply();
            if reply.starts_with("150") {
                data.write_all(b"more").unwrap();
                drop(data);
                reply = client.reply();
            }
            said.push(format!("{command}: {reply}"));
        }
        // A transfer that its client stops leaves nothing.
        let data = client.data();
        client.ask("STOR gone", 150);
        client.ask("ABOR", 426);
        client.expect(226);
        drop(data);
        said.push(format!("{:?}", client.get("NLST")));
        let modes: Vec<_> = ["big", "n.bak", "new"]
            .map(|name| site.at("public").join(user).join(name).metadata().map(|found| found.mode()).ok())
            .into_iter()
            .collect();
        said.push(format!("{modes:?}"));
        said
    });
    let plain = |line: &String| {
        let line = line.replace(&ALICE.to_string(), &USER.to_string()).replace(&GROUP.to_string(), &USER.to_string());
        let facts = line.split(';').filter(|fact| !["unique=", "modify="].iter().any(|name| fact.contains(name)));
        facts.collect::<Vec<_>>().join(";").replace("away", "near")
    };
    let [near, away] = said;
    for (one, other) in near.iter().zip(&away) {
        let minutes = |text: String| text.split(' ').filter(|word| !word.contains(':')).collect::<Vec<_>>().join(" ");
        assert_eq!(minutes(plain(one)), minutes(plain(other)));
    }
    assert_eq!(near.len(), away.len());
    assert!(near.iter().filter(|line| line.contains(": 550")).count() > 10, "{near:#?}");
}

/// kill -9 of a worker is the end of its own session, whatever it did.
#[test]
fn a_killed_worker_ends_its_session_alone() {
    let Some(site) = Site::new() else { return };
    let server = site.run("").arg("--system-users").start();
    let mut alice = Client::login(server.addr, "alice", "secret");
    let [of_alice] = workers(&server)[..] else { panic!("{server}") };
    let mut bob = Client::login(server.addr, "bob", "secret");
    let ended = pidfd_open(of_alice, PidfdFlags::empty()).unwrap();
    let mut data = alice.data();
    alice.ask("STOR half", 150);
    data.write_all(&[b'x'; 1000]).unwrap();
    signal(number(of_alice), Signal::KILL);
    wait_for_end(&ended);
    drop(data);
    alice.expect(451);
    alice.expect(421);
    assert_eq!(alice.reply(), "", "closed");
    server.stdout.wait_for("\"kind\":\"io\"");
    assert!(!site.at("alice/half").exists());
    assert!(bob.put("x", b"x").starts_with("226"));
    let mut alice = Client::login(server.addr, "alice", "secret");
    let idle = workers(&server).into_iter().max_by_key(|pid| pid.as_raw_nonzero()).unwrap();
    let ended = pidfd_open(idle, PidfdFlags::empty()).unwrap();
    signal(number(idle), Signal::KILL);
    wait_for_end(&ended);
    alice.ask("MKD x", 451);
    alice.expect(421);
    assert!(bob.put("x", b"y").starts_with("226"));
    assert_eq!(server.stop(), 0);
}

/// Without the helper nobody logs in; sessions go on until the server has drained.
#[test]
fn server_and_helper_end_together_and_sessions_are_finished() {
    let Some(site) = Site::new() else { return };
    let server = site.run("").args(["--system-users", "--drain", "50"]).start();
    let mut alice = Client::login(server.addr, "alice", "secret");
    let worker = pidfd_open(workers(&server)[0], PidfdFlags::empty()).unwrap();
    let mut data = alice.data();
    alice.ask("STOR whole", 150);
    data.write_all(b"one ").unwrap();
    signal(number(helper(&server)), Signal::KILL);
    server.stderr.wait_for("the helper process has ended");
    data.write_all(b"two").unwrap();
    drop(data);
    alice.expect(226);
    alice.expect(421);
    drop(alice);
    wait_for_end(&worker);
    assert_eq!(server.ends(), 74);
    assert_eq!(std::fs::read(site.at("alice/whole")).unwrap(), b"one two");
    // The server's end is that of its helper and of its workers, which heed no signal.
    for end in [Signal::KILL, Signal::TERM] {
        let server = site.run("").args(["--system-users", "--drain", "0"]).start();
        let mut alice = Client::login(server.addr, "alice", "secret");
        let worker = workers(&server)[0];
        for kind in [Signal::INT, Signal::TERM, Signal::HUP, Signal::USR1] {
            signal(number(worker), kind);
        }
        alice.ask("SIZE whole", 213);
        let all = [helper(&server), worker].map(|pid| pidfd_open(pid, PidfdFlags::empty()).unwrap());
        server.signal(end);
        all.iter().for_each(wait_for_end);
    }
}

#[test]
fn what_cannot_work_is_said_at_the_start() {
    let Some(site) = Site::new() else { return };
    let hash = hash("x");
    let check = |lines: &str, args: &[&str], status: i32, says: &str| {
        let run = site.run(lines).args(["--listen", "127.0.0.1:0", "--check-config"]).args(args);
        let done = run.run();
        done.exits(status);
        done.says(says);
    };
    check(&format!("joe:{hash}::as=bob\n"), &[], 0, "");
    check("", &["--system-users"], 0, "");
    for (named, says) in [
        ("nobody-there", "joe: as=nobody-there: no such user"),
        ("root", "as=root: root, or below --min-uid 1000"),
        ("low", "as=low: root, or below --min-uid 1000"),
        ("0:54500", "as=0:54500: root"),
        ("", "\"as=\": no user of the system"),
    ] {
        check(&format!("joe:{hash}::as={named}\n"), &[], 78, says);
    }
    check("", &["--system-users", "--system-root", "/nowhere"], 78, "--system-root /nowhere: no such directory");
    check("", &["--anonymous"], 64, "--anonymous needs --user-file or --system-users");
    std::fs::set_permissions(site.at_etc(""), PermissionsExt::from_mode(0o775)).unwrap();
    check(&format!("joe:{hash}::as=bob\n"), &[], 78, "only root may write the user file");
    std::fs::set_permissions(site.at_etc(""), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::remove_file(site.at_etc("shadow")).unwrap();
    check("", &["--system-users"], 78, "/etc/shadow: not there");
}
