//! Whose rights the servers have, and what they cannot reach: looked at from outside, in `/proc` and through their protocols.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{LIMIT, Run, Server, binary, finish, server, temp_dir, tool};

const SERVERS: [&str; 3] = ["ftpserve", "smtpserve", "dnsserve"];

/// Numbers that no user of the system has.
pub(crate) const USER: u32 = 54321;
pub(crate) const GROUP: u32 = 54322;

const ZONE: &str = "$ORIGIN a.test.\n@ 60 SOA ns hostmaster 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\n";

pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: not root");
    }
    root
}

/// What the three servers serve, below a directory that everybody may enter.
fn site(owner: Option<(u32, u32)>) -> tempfile::TempDir {
    let dir = temp_dir();
    let at = |name: &str| dir.path().join(name);
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["tree", "mail", "mail/bob", "mail/bob/new", "zones", "queue"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    std::fs::set_permissions(at("queue"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(at("zones/zone"), ZONE).unwrap();
    if let Some((user, group)) = owner {
        for name in ["tree", "mail", "mail/bob", "mail/bob/new", "zones", "zones/zone", "queue"] {
            chown(at(name), Some(user), Some(group)).unwrap();
        }
    }
    dir
}

fn serving(name: &str, dir: &Path, run: Run) -> Run {
    match name {
        "ftpserve" => run.args(["--write", "tree"]).dir(dir),
        "smtpserve" => run
            .args(["--domain", "a.test", "--mailboxes", "mail", "--relay-from", "127.0.0.1", "--queue-dir", "queue"])
            .dir(dir),
        _ => run.arg("zones/zone").dir(dir),
    }
}

/// Every thread has these rights and no more.
pub(crate) fn check_threads(server: &Server, user: u32, group: u32, what: &str) {
    let tasks = format!("/proc/{}/task", server.pid());
    let mut count = 0;
    for task in std::fs::read_dir(tasks).unwrap() {
        let Ok(status) = std::fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_else(|| panic!("{name} in {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(field("Uid"), [user; 4].map(|id| id.to_string()).join(" "), "{what}");
        assert_eq!(field("Gid"), [group; 4].map(|id| id.to_string()).join(" "), "{what}");
        assert_eq!(field("Groups"), group.to_string(), "{what}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(set), "0".repeat(16), "{what}: {set}");
        }
        assert_eq!(field("NoNewPrivs"), "1", "{what}");
        count += 1;
    }
    assert!(count > 1, "{what}: {count} threads");
}

#[test]
fn root_becomes_the_owner_of_what_is_served_or_who_is_named() {
    if !is_root() {
        return;
    }
    for name in SERVERS {
        for (owner, run_as, expected) in [
            (Some((USER, GROUP)), None, (USER, GROUP)),
            (Some((USER, GROUP)), Some("54321:54399"), (USER, 54399)),
            (None, Some("54321:54322"), (USER, GROUP)),
        ] {
            let dir = site(owner);
            if owner.is_none() {
                // Root's, and open to those who serve.
                for place in ["tree", "mail", "mail/bob", "mail/bob/new"] {
                    std::fs::set_permissions(dir.path().join(place), std::fs::Permissions::from_mode(0o777)).unwrap();
                }
                chown(dir.path().join("queue"), Some(USER), Some(GROUP)).unwrap();
            }
            let mut run = serving(name, dir.path(), server(name).gives_up_root());
            if let Some(user) = run_as {
                run = run.args(["--run-as", user]);
            }
            let server = run.start();
            check_threads(&server, expected.0, expected.1, &format!("{name} {run_as:?}"));
            let owned = |path: &Path| {
                let found = std::fs::metadata(path).unwrap();
                assert_eq!((found.uid(), found.gid()), expected, "{}", path.display());
            };
            match name {
                "ftpserve" => {
                    let url = format!("{}/sent", server.url);
                    tool("ftpput").stdin("x").args(["-q", "-", &url]).run().exits(0);
                    owned(&dir.path().join("tree/sent"));
                }
                "smtpserve" => {
                    send(&server.url, "bob@a.test", 0);
                    send(&server.url, "carol@elsewhere.test", 0);
                    let new = dir.path().join("mail/bob/new");
                    owned(&std::fs::read_dir(new).unwrap().next().unwrap().unwrap().path());
                    owned(&dir.path().join("queue/queue.db"));
                }
                _ => {
                    tool("dnsq").args([&format!("@{}", server.addr), "--short", "ns.a.test"]).run().prints("192.0.2.1");
                }
            }
            assert_eq!(server.stop(), 0);
        }
    }
}

fn send(url: &str, to: &str, status: i32) {
    let run = tool("smtpsend").args(["--server", url, "--from", "x@a.test", "--to", to, "--subject", "s"]);
    run.stdin("text\n").run().exits(status);
}

#[test]
fn nobody_serves_as_root_by_accident() {
    if !is_root() {
        return;
    }
    let dir = site(None);
    for name in SERVERS {
        for (flags, status, why) in [
            (&[][..], 64, "--run-as USER"),
            (&["--run-as", "root"], 64, "--i-know"),
            (&["--run-as", "0:54321"], 64, "--i-know"),
            (&["--run-as", "no-such-user"], 78, "no such user"),
            (&["--run-as", "root:no-such-group", "--i-know"], 78, "no such group"),
            (&["--run-as", "54321"], 78, "UID:GID"),
            (&["--i-know"], 64, "--run-as"),
        ] {
            for check in [&[][..], &["--check-config"]] {
                let run = serving(name, dir.path(), tool(name).gives_up_root()).args(["--listen", "127.0.0.1:0"]);
                run.args(flags).args(check).run().exits(status).says(why);
            }
        }
    }
}

/// Who is not root keeps his rights and cannot become somebody else.
#[test]
fn only_root_becomes_somebody_else() {
    let dir = site(is_root().then_some((USER, GROUP)));
    for name in SERVERS {
        let mut command = Command::new(binary(name));
        command.env_clear().env("HOME", dir.path()).current_dir(dir.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).args(["--listen", "127.0.0.1:0", "--run-as", "daemon"]);
        match name {
            "smtpserve" => command.args(["--domain", "a.test", "--mailboxes", "mail"]),
            "ftpserve" => command.arg("tree"),
            _ => command.arg("zones/zone"),
        };
        if is_root() {
            command.uid(USER).gid(GROUP);
        }
        finish(command, name.to_owned(), None, LIMIT).exits(64).says("only root can become another user");
    }
}

/// A link that appears after the start leads nowhere, whatever the user may read: the kernel keeps the bounds.
#[test]
fn what_was_not_named_is_out_of_reach() {
    for (flag, reached) in [("-v", false), ("--no-sandbox", true)] {
        let dir = site(None);
        let at = |name: &str| dir.path().join(name);
        let server = |name: &str| serving(name, dir.path(), server(name)).arg(flag).start();
        let mail = server("smtpserve");
        if mail.stderr.text().contains("no sandbox") {
            return eprintln!("skipped: this kernel has no Landlock that would do");
        }
        std::fs::create_dir_all(at("outside/new")).unwrap();
        symlink(at("outside"), at("mail/eve")).unwrap();
        send(&mail.url, "bob@a.test", 0);
        send(&mail.url, "eve@a.test", if reached { 0 } else { 75 });
        assert_eq!(std::fs::read_dir(at("outside/new")).unwrap().count(), usize::from(reached));
        let names = server("dnsserve");
        std::fs::write(at("outside/more"), "more 60 A 192.0.2.2\n").unwrap();
        std::fs::write(at("zones/zone"), format!("{ZONE}$INCLUDE ../outside/more\n")).unwrap();
        names.signal(rustix::process::Signal::HUP);
        let asked = || {
            let run = tool("dnsq").args([&format!("@{}", names.addr), "--short", "more.a.test"]).run();
            run.text().contains("192.0.2.2")
        };
        if reached {
            let begun = std::time::Instant::now();
            while !asked() {
                assert!(begun.elapsed() < LIMIT, "the zone was not read again");
            }
        } else {
            names.stderr.wait_for("stays as it was");
            assert!(names.stderr.text().contains("ermission denied"), "{names}");
            assert!(!asked());
        }
    }
}

/// Root's last deeds: files where only root writes are written, and who serves can go on with the log or hears that he cannot.
#[test]
fn what_only_root_can_open_is_opened_before_root_is_given_up() {
    if !is_root() {
        return;
    }
    for name in SERVERS {
        let dir = site(Some((USER, GROUP)));
        let at = |name: &str| dir.path().join(name);
        let mode = |name: &str, mode: u32| {
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for folder in ["run", "shut", "theirs"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        mode("theirs", 0o777);
        for log in ["run/old", "theirs/old", "theirs/linked", "theirs/log"] {
            std::fs::write(at(log), if log == "theirs/log" { "" } else { "old\n" }).unwrap();
            mode(log, 0o600);
        }
        std::fs::hard_link(at("theirs/linked"), at("run/linked")).unwrap();
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        std::fs::write(at("shut/cert"), made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
        mode("shut/cert", 0o600);
        mode("shut", 0o700);
        let owner = |name: &str| std::fs::metadata(at(name)).unwrap().uid();
        for (log, given) in [
            ("run/old", true),
            ("run/new", true),
            ("theirs/log", true),
            ("theirs/old", false),
            ("theirs/linked", false),
        ] {
            let run = serving(name, dir.path(), server(name).gives_up_root());
            let mut run = run.args(["--address-file", "run/url", "--log", log]);
            if name != "dnsserve" {
                run = run.args(["--cert", "shut/cert"]);
            }
            mode("run", 0o755);
            let server = run.start();
            check_threads(&server, USER, GROUP, name);
            assert_eq!(std::fs::read_to_string(at("run/url")).unwrap(), format!("{}\n", server.url), "{name}");
            assert_eq!(owner(log), if given { USER } else { 0 }, "{name} {log}");
            assert_eq!(owner("run/url"), 0, "{name}");
            let stderr = server.stderr.clone();
            if name != "dnsserve" {
                stderr.wait_for(&format!("shut/cert: {USER}:{GROUP} cannot read it again"));
            }
            let words = format!("{log}: {USER}:{GROUP} cannot open it again");
            if !given {
                stderr.wait_for(&words);
            }
            assert_eq!(server.stop(), 0);
            assert_eq!(stderr.text().contains(&words), !given, "{name} {stderr}");
        }
    }
}

/// A home of somebody else's is served, with the rights of who serves: that is said at the start.
#[test]
fn a_home_of_another_user_is_named() {
    if !is_root() {
        return;
    }
    let dir = site(Some((USER, GROUP)));
    let hash = tool("ftpserve").arg("--hash-password").stdin("secret\n").run().text().trim().to_owned();
    for (name, owner) in [("alice", 54331), ("bob", USER), ("carol", 0)] {
        std::fs::create_dir(dir.path().join("tree").join(name)).unwrap();
        chown(dir.path().join("tree").join(name), Some(owner), Some(owner)).unwrap();
    }
    let line = |name: &str| format!("{name}:{hash}:/{name}\n");
    let users = dir.path().join("users");
    std::fs::write(&users, ["alice", "bob", "carol", "gone"].map(line).concat()).unwrap();
    std::fs::set_permissions(&users, std::fs::Permissions::from_mode(0o640)).unwrap();
    chown(&users, Some(0), Some(GROUP)).unwrap();
    let server = serving("ftpserve", dir.path(), server("ftpserve").gives_up_root()).arg("--user-file").arg(&users);
    let server = server.start();
    let said = server.stderr.text();
    let told: Vec<&str> = said.lines().filter(|line| line.contains("belongs to")).collect();
    let expected =
        "ftpserve: warning: alice: home /alice belongs to 54331:54331; it is served with the rights of user 54321";
    assert_eq!(told, [expected], "{server}");
}
