//! Every tool against what goes wrong: usage, a dead server, a refusing one, a silent one, bad data. Each case ends with
//! the documented status and one clear line on stderr, and prints nothing on stdout.

use applayer::tool::ALL;

use crate::harness::{Conn, Done, Run, hanging, peer, refusing, saying, temp_dir, tool, udp_peer};

/// The tools that talk to a server, each with the arguments that make it do so; `{}` is the address.
const CLIENTS: &[(&str, &[&str])] = &[
    ("ftpget", &["-o", "out", "ftp://{}/file"]),
    ("ftpput", &["input", "ftp://{}/file"]),
    ("ftpls", &["ftp://{}/"]),
    ("ftpdo", &["ftp://{}/file", "rm"]),
    (
        "smtpsend",
        &["--server", "smtp://{}", "--from", "a@a.test", "--to", "b@b.test", "--subject", "x", "--body", "input"],
    ),
    ("dnsq", &["--short", "@{}", "a.test", "A"]),
];

/// Bad input on the local side: arguments, what stdin holds, the status.
const BAD_INPUT: &[(&str, &[&str], &str, i32)] = &[
    ("ftpget", &["http://a.test/x"], "", 64),
    ("ftpget", &["not a url"], "", 64),
    ("ftpget", &[], "", 64),
    ("ftpput", &["input"], "", 64),
    ("ftpput", &["nowhere", "ftp://127.0.0.1:1/x"], "", 66),
    ("ftpls", &["ftp://127.0.0.1:99999/"], "", 64),
    ("ftpdo", &["ftp://127.0.0.1:1/x", "explode"], "", 64),
    ("ftpserve", &["nowhere"], "", 66),
    ("smtpsend", &["--server", "smtp://127.0.0.1:1", "-t", "-f", "a@a.test"], "To: b@b.test\n\na bare\rreturn\n", 65),
    ("smtpsend", &["--server", "smtp://127.0.0.1:1", "-t", "-f", "a@a.test"], "Subject: nobody\n\ntext\n", 64),
    ("smtpsend", &["--server", "smtp://127.0.0.1:1", "--to", "b@b.test", "--body", "nowhere"], "", 66),
    ("smtpserve", &["--listen", "127.0.0.1:0", "--mailboxes", "nowhere", "--domain", "a.test"], "", 66),
    ("smtpserve", &["--domain", "a.test", "--mailboxes", ".", "--cert", "nowhere"], "", 78),
    ("mailread", &["list", "-m", "nowhere"], "", 66),
    ("mailread", &["explode"], "", 64),
    ("mailq-run", &["--queue-dir", "input"], "", 78),
    ("mailq-ls", &["--queue-dir", "input"], "", 78),
    ("mailq-edit", &["hold"], "", 64),
    ("mailq-edit", &["explode", "x"], "", 64),
    ("dnsq", &["a..test"], "", 64),
    ("dnsq", &["@127.0.0.1:1", "a.test", "--qtype-that-is-none"], "", 64),
    ("dnsserve", &["--listen", "127.0.0.1:0", "nowhere"], "", 66),
    ("dnsserve", &["--listen", "127.0.0.1:0", "input"], "", 65),
    ("dnsserve", &[], "", 64),
];

/// Runs a tool of [`CLIENTS`] against `addr`.
fn client(name: &str, args: &[&str], addr: impl std::fmt::Display) -> Done {
    let addr = addr.to_string();
    with_input(tool(name).args(args.iter().map(|arg| arg.replace("{}", &addr))))
}

/// In a directory that holds `input`, a file that is neither a zone nor a queue.
fn with_input(run: Run) -> Done {
    let dir = temp_dir();
    std::fs::write(dir.path().join("input"), "just words\n").unwrap();
    let done = run.args(["--color", "never"]).dir(dir.path()).run();
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["input"], "something was left behind\n{done}");
    done
}

/// One clear line, perhaps a hint behind it, and no data.
#[track_caller]
fn one_clear_line(name: &str, done: &Done) {
    let mut lines = done.stderr.lines().filter(|line| !line.starts_with("hint:"));
    let first = lines.next().unwrap_or_else(|| panic!("not a word on stderr\n{done}"));
    assert!(first.starts_with(&format!("{name}: ")), "the line does not start with the tool\n{done}");
    assert!(first.len() > name.len() + 10, "the line says nothing\n{done}");
    assert_eq!(lines.next(), None, "more than one line\n{done}");
    assert_eq!(done.text(), "", "data on stdout\n{done}");
}

#[test]
fn a_dead_server_is_75() {
    for (name, args) in CLIENTS {
        let dead = refusing();
        let mut args = args.to_vec();
        if *name == "dnsq" {
            args.splice(0..0, ["--timeout", "0.2"]);
        }
        let done = client(name, &args, dead.addr);
        done.exits(75);
        one_clear_line(name, &done);
    }
}

#[test]
fn a_silent_server_is_75_within_the_timeout() {
    for (name, args) in CLIENTS {
        let silent = hanging();
        let silent_udp = udp_peer(|_| Vec::new());
        let addr = if *name == "dnsq" { silent_udp } else { silent.addr };
        let args = [&["--timeout", "0.3"], *args].concat();
        let done = client(name, &args, addr);
        done.exits(75);
        one_clear_line(name, &done);
    }
}

#[test]
fn garbage_is_76() {
    for (name, args) in CLIENTS.iter().filter(|(name, _)| *name != "dnsq") {
        let garbage = saying(b"\x16\x03\x01 no protocol of ours \xff\xfe\r\n\r\n");
        let done = client(name, args, garbage.addr);
        done.exits(76);
        one_clear_line(name, &done);
        assert!(!done.stderr.contains(['\u{16}', '\u{3}']), "control bytes reached the terminal\n{done}");
    }
}

/// A peer that greets, and answers each command by `answer`; `None` hangs up.
fn answering(greeting: &'static str, answer: fn(&str) -> Option<&'static str>) -> crate::harness::Peer {
    peer(move |mut conn: Conn| {
        conn.send(greeting);
        while let Some(line) = conn.line() {
            match answer(&line) {
                Some(reply) => conn.send(reply),
                None => return,
            };
        }
    })
}

#[test]
fn a_peer_that_refuses_for_good() {
    for (name, args) in CLIENTS {
        let (wanted, done) = match *name {
            "dnsq" => {
                // The question comes back with rcode 5.
                let refusing = udp_peer(|query| {
                    let mut answer = query.to_vec();
                    answer[2] |= 0x80;
                    answer[3] = 5;
                    vec![answer]
                });
                (69, client(name, args, refusing))
            }
            "smtpsend" => {
                let peer = answering("554 no service here\r\n", |_| Some("554 go away\r\n"));
                (69, client(name, args, peer.addr))
            }
            _ => {
                let peer = answering("220 hello\r\n", |line| {
                    Some(if line.starts_with("USER") { "530 no\r\n" } else { "503 no\r\n" })
                });
                (77, client(name, args, peer.addr))
            }
        };
        done.exits(wanted);
        one_clear_line(name, &done);
    }
}

#[test]
fn a_peer_that_says_later_or_hangs_up_is_75() {
    for (name, args) in CLIENTS.iter().filter(|(name, _)| *name != "dnsq") {
        let later = saying(b"421 too busy, come back later\r\n");
        let done = client(name, args, later.addr);
        done.exits(75);
        one_clear_line(name, &done);
        let gone = answering("220 hello\r\n", |_| None);
        let done = client(name, args, gone.addr);
        done.exits(75);
        one_clear_line(name, &done);
    }
}

#[test]
fn bad_input_has_its_status_and_line() {
    for (name, args, stdin, status) in BAD_INPUT {
        let done = with_input(tool(name).args(*args).stdin(*stdin));
        done.exits(*status);
        one_clear_line(name, &done);
    }
}

#[test]
fn help_and_version_are_data() {
    for (name, command) in ALL {
        let short = tool(name).arg("-h").run();
        let long = tool(name).arg("--help").run();
        for done in [&short, &long] {
            done.silent_success().prints("Usage: ").prints(name);
        }
        // Words, since -h is set in columns and --help is not.
        let words = |done: &Done| String::from_utf8_lossy(&done.stdout).split_whitespace().count();
        assert!(words(&long) > words(&short), "--help says no more than -h\n{long}");
        let version = command().get_version().map(str::to_owned).expect("a version");
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        assert_eq!(tool(name).arg("-V").run().silent_success().text(), format!("{name} {version}\n"));
    }
}

#[test]
fn an_unknown_flag_is_64() {
    for (name, _) in ALL {
        let done = tool(name).arg("--no-such-flag").run();
        done.exits(64).says("--no-such-flag");
        one_clear_line(name, &done);
        let json = tool(name).args(["--json", "--no-such-flag"]).run();
        json.exits(64);
        assert_eq!(json.text(), "", "usage errors are text on stderr only\n{json}");
    }
}

#[test]
fn a_reader_that_went_away_is_141() {
    for (name, _) in ALL {
        let done = tool(name).arg("--help").closed_stdout().run();
        done.exits(141);
        assert_eq!(done.stderr, "", "EPIPE is quiet\n{done}");
    }
}

/// What is written as exact bytes ends as records do, and quietly.
#[test]
fn a_reader_of_exact_bytes_that_went_away_is_141() {
    let message = format!("From: a@b.test\nTo: c@d.test\n\n{}", "text\n".repeat(100_000));
    for line in [
        "mailread show --raw -m -",
        "mailread show --raw all -m -",
        "mailread extract --part 1 -o - -m -",
        "mailread reply -m -",
        "smtpsend -n -t",
    ] {
        let mut words = line.split(' ');
        let done = tool(words.next().unwrap()).args(words).stdin(message.clone()).closed_stdout().run();
        done.exits(141);
        assert_eq!(done.stderr, "", "{line}\n{done}");
    }
}

#[test]
fn a_full_disk_is_74() {
    for (name, _) in ALL {
        let done = tool(name).arg("--help").stdout_to("/dev/full").run();
        done.exits(74).says("No space left");
    }
    // More records than are held back: the run ends with the fault, and so does the final flush.
    let mbox = "From a@b.test Mon Jan  1 00:00:00 2026\nSubject: x\n\nx\n\n".repeat(5000);
    let done = tool("mailread").args(["list", "-m", "-"]).stdin(mbox).stdout_to("/dev/full").run();
    one_clear_line("mailread", done.exits(74));
}

#[test]
fn errors_are_objects_too() {
    for (name, args) in CLIENTS {
        let dead = refusing();
        let args = [&["--json", "--timeout", "0.2"], *args].concat();
        let done = client(name, &args, dead.addr);
        done.exits(75);
        let errors = done.records_of("error");
        assert_eq!(errors.len(), 1, "\n{done}");
        let error = &errors[0];
        assert_eq!(
            (&error["v"], &error["temporary"], &error["exit"]),
            (&1.into(), &true.into(), &75.into()),
            "\n{done}"
        );
        assert!(error["kind"].is_string() && error["detail"].is_string(), "\n{done}");
        assert!(done.stderr.starts_with(&format!("{name}: ")), "its line is printed as well\n{done}");
    }
}
