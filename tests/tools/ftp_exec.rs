//! `--exec-upload`: a program for each file that has arrived.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Signal;

use crate::ftp_server::Client;
use crate::harness::{LIMIT, Server, server, temp_dir, tool};

/// A program beside the served tree.
fn program(dir: &Path, script: &str) -> PathBuf {
    let path = dir.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

fn serve(dir: &Path, command: &str, args: &[&str]) -> Server {
    std::fs::create_dir_all(dir.join("tree")).unwrap();
    let run = server("ftpserve").args(["--json", "--write", "--exec-upload", command]).args(args);
    run.arg(dir.join("tree")).start()
}

/// Waits until this holds.
#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The program sees the whole file, once, with what it has to know, inside the sandbox of the server and outside of it.
#[test]
fn each_file_has_its_program_once() {
    for sandbox in [&[][..], &["--no-sandbox"]] {
        let dir = temp_dir();
        let script = "size=$(wc -c < \"$3\")\n\
             echo \"$#|$1|$2|$3|$UPLOAD_PATH|$UPLOAD_SIZE|$size|$UPLOAD_USER|$UPLOAD_ADDRESS|$NOTIFY_SOCKET|$(cat)\" >> \"$1\"\n\
             [ \"$UPLOAD_FILE\" = \"$3\" ] && [ -n \"$UPLOAD_SESSION\" ]";
        let (path, log) = (program(dir.path(), script), dir.path().join("log"));
        let command = format!("'{}' '{}' \"a 'b' $HOME\"", path.display(), log.display());
        let server = serve(dir.path(), &command, sandbox);
        let mut client = Client::anonymous(&server);
        let odd = "$(touch x); a'b\"c";
        for name in ["one", odd, "two.part"] {
            assert!(client.put(name, name.as_bytes()).starts_with("226"));
        }
        client.ask("RNFR two.part", 350);
        client.ask("RNTO two", 250);
        until("the program for one", || lines(&log).iter().any(|line| line.contains("|/one|")));
        client.ask("RNFR one", 350);
        client.ask("RNTO three", 250);
        until("three programs", || lines(&log).len() == 3);
        let tree = dir.path().join("tree");
        let line = |name: &str, size: usize| {
            let (log, file) = (log.display(), tree.join(name));
            format!("3|{log}|a 'b' $HOME|{}|/{name}|{size}|{size}|anonymous|127.0.0.1||", file.display())
        };
        let mut found = lines(&log);
        let mut expected = vec![line("one", 3), line(odd, odd.len()), line("two", 8)];
        // The programs run side by side.
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{server}");
        until("three records", || server.stdout.text().matches("\"type\":\"exec\"").count() == 3);
        assert!(!server.stdout.text().contains("\"ok\":false"), "{server}");
        assert_eq!(server.stop(), 0);
    }
}

#[test]
fn what_goes_wrong_is_a_record_with_the_output() {
    let dir = temp_dir();
    let script = "echo \"looking at $UPLOAD_PATH\"\nprintf 'tab\\there\\033[1m\\n' >&2\n\
         case $UPLOAD_PATH in */exit) exit 7;; */signal) kill -KILL $$;; */gone) rm \"$0\";; esac";
    let path = program(dir.path(), script);
    let server = serve(dir.path(), path.to_str().unwrap(), &[]);
    let mut client = Client::anonymous(&server);
    let ends = [
        ("good", "\"ok\":true,\"why\":\"exit\",\"exit_status\":0"),
        ("exit", "\"ok\":false,\"why\":\"exit\",\"exit_status\":7"),
        ("signal", "\"ok\":false,\"why\":\"signal\""),
        ("gone", "\"ok\":true,\"why\":\"exit\",\"exit_status\":0"),
        ("late", "\"ok\":false,\"why\":\"start\""),
    ];
    for (name, end) in ends {
        assert!(client.put(name, b"x").starts_with("226"));
        server.stdout.wait_for(&format!("/{name}\",{end}"));
    }
    server.stdout.wait_for("\"output\":[\"looking at /exit\",\"tab\\there\\u001b[1m\"]");
    assert_eq!(server.stop(), 0);
    // As text, nothing of it steers a terminal.
    let path = program(dir.path(), "printf 'a\\033[1m\\nb\\n'; exit 1");
    let run = server_as_text(dir.path(), &path);
    assert!(Client::anonymous(&run).put("text", b"x").starts_with("226"));
    run.stdout.wait_for("/text\tanonymous\t127.0.0.1\texit status 1\ta\\x1b[1m\tb\n");
}

fn server_as_text(dir: &Path, path: &Path) -> Server {
    server("ftpserve").args(["--write", "--exec-upload"]).arg(path).arg(dir.join("tree")).start()
}

/// At its limit a program ends with everything that it started, and no more than four run at once.
#[test]
fn programs_have_limits() {
    let dir = temp_dir();
    let pids = dir.path().join("pids");
    let path = program(dir.path(), &format!("sleep 1000 & echo $! >> '{}'\nwait", pids.display()));
    let server = serve(dir.path(), path.to_str().unwrap(), &["--exec-limit", "1s"]);
    let mut client = Client::anonymous(&server);
    assert!(client.put("slow", b"x").starts_with("226"));
    server.stdout.wait_for("\"ok\":false,\"why\":\"limit\"");
    // Killed before it wrote anything, on a slow machine.
    for pid in lines(&pids) {
        let status = format!("/proc/{pid}/stat");
        until("the program's child is gone", || {
            std::fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z"))
        });
    }
    assert_eq!(server.stop(), 0);

    let run = dir.path().join("run");
    std::fs::create_dir(&run).unwrap();
    let script = format!(
        "cd '{}'; : > running.$$; ls | grep -c running >> ../counts; until [ -e ../go ]; do sleep 0.01; done; rm running.$$",
        run.display()
    );
    let path = program(dir.path(), &script);
    let server = serve(dir.path(), path.to_str().unwrap(), &[]);
    let mut client = Client::anonymous(&server);
    for number in 0..12 {
        assert!(client.put(&format!("file{number}"), b"x").starts_with("226"), "uploads wait for no program");
    }
    until("four programs", || lines(&dir.path().join("counts")).len() == 4);
    std::fs::write(dir.path().join("go"), "").unwrap();
    until("all programs", || server.stdout.text().matches("\"type\":\"exec\"").count() == 12);
    let counts = lines(&dir.path().join("counts"));
    assert!(counts.len() == 12 && counts.iter().all(|count| count.parse::<u32>().unwrap() <= 4), "{counts:?}");
    assert_eq!(server.stop(), 0);
}

/// TERM waits for the programs of files that have arrived; a second one does not.
#[test]
fn a_drain_waits_for_programs() {
    for hurry in [false, true] {
        let dir = temp_dir();
        let script = format!("cd '{}'; echo >> begun; until [ -e go ]; do sleep 0.01; done", dir.path().display());
        let path = program(dir.path(), &script);
        let server = serve(dir.path(), path.to_str().unwrap(), &["--drain", "10m"]);
        let mut client = Client::anonymous(&server);
        for number in 0..6 {
            assert!(client.put(&format!("file{number}"), b"x").starts_with("226"));
        }
        drop(client);
        until("programs begin", || lines(&dir.path().join("begun")).len() == 4);
        server.signal(Signal::TERM);
        server.stderr.wait_for("6 programs open; waiting up to 600 s");
        if hurry {
            server.signal(Signal::TERM);
            server.stderr.wait_for("programs that still run: 4");
        }
        let go = dir.path().join("go");
        let (stdout, stderr) = (server.stdout.clone(), server.stderr.clone());
        match hurry {
            true => {
                assert_eq!(server.ends(), 0);
                assert_eq!(stdout.text().matches("\"why\":\"shutdown\"").count(), 2);
                // What still runs is let finish.
                std::fs::write(go, "").unwrap();
            }
            false => {
                std::fs::write(go, "").unwrap();
                assert_eq!(server.ends(), 0, "{}", stderr.text());
                assert_eq!(stdout.text().matches("\"ok\":true,\"why\":\"exit\"").count(), 6);
            }
        }
    }
}

/// The program has the server's user and none of root's rights, and the server itself starts none.
#[test]
fn programs_have_the_rights_of_the_server() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: not root");
    }
    let dir = temp_dir();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = program(dir.path(), "grep -E '^(Uid|CapEff|CapBnd|NoNewPrivs|SigBlk|SigIgn):' /proc/self/status");
    std::fs::create_dir(dir.path().join("tree")).unwrap();
    std::os::unix::fs::chown(dir.path().join("tree"), Some(54321), Some(54322)).unwrap();
    let server = serve(dir.path(), path.to_str().unwrap(), &["--run-as", "54321:54322"]);
    assert!(Client::anonymous(&server).put("file", b"x").starts_with("226"));
    let id = "\\t54321".repeat(4);
    server.stdout.wait_for(&format!("\"Uid:{id}\""));
    let none = "0000000000000000";
    for line in [format!("CapEff:\\t{none}"), format!("SigBlk:\\t{none}"), "NoNewPrivs:\\t1".to_owned()] {
        assert!(server.stdout.text().contains(&line), "{line}\n{server}");
    }
}

/// Without its helper the server serves on, and says for each file that no program runs.
#[test]
fn a_lost_helper_is_told_and_costs_no_upload() {
    let dir = temp_dir();
    let path = program(dir.path(), "");
    let server = serve(dir.path(), path.to_str().unwrap(), &[]);
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.pid())).unwrap();
    let helper: Vec<u32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    let [helper] = helper[..] else { panic!("one helper: {children}") };
    assert_eq!(std::fs::read_to_string(format!("/proc/{helper}/comm")).unwrap(), "programs\n");
    crate::harness::signal(helper, Signal::KILL);
    until("the helper is gone", || {
        std::fs::read_to_string(format!("/proc/{helper}/stat")).map_or(true, |stat| stat.contains(") Z"))
    });
    assert!(Client::anonymous(&server).put("file", b"x").starts_with("226"));
    server.stdout.wait_for("\"why\":\"start\",\"elapsed_ms\":");
    server.stdout.wait_for("\"detail\":\"the helper process has ended\"");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_program_that_is_not_there_is_said_at_the_start() {
    let dir = temp_dir();
    let tree = dir.path().to_str().unwrap();
    for (command, status, why) in [
        ("no-such-program-at-all", 78, "no such program"),
        ("/etc/passwd x", 78, "no such program"),
        ("sh 'x", 64, "a quote is not closed"),
        ("", 64, "no command"),
    ] {
        for check in [&[][..], &["--check-config"]] {
            let run = tool("ftpserve").args(["--listen", "127.0.0.1:0", "--exec-upload", command]).args(check);
            run.arg(tree).run().exits(status).says(why);
        }
    }
    tool("ftpserve").args(["--exec-limit", "1s", tree]).run().exits(64);
    let path = program(dir.path(), "");
    let run = tool("ftpserve").args(["--check-config", "--exec-upload"]).arg(&path).arg(tree);
    run.run().exits(0).says("lies in the served directory");
}
