//! What a person sees on a terminal: progress bars at several widths, lines and records that stand alone, prompts, Ctrl-C.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;

use crate::harness::{LIMIT, Run, Server, address_in, server, temp_dir, tool};
use crate::queue::{Sink, enqueue};
use crate::terminal::{Screen, Terminal};

const WIDTHS: [u16; 3] = [40, 80, 132];
const LONG: &str = "a rather long name of a file \u{1b}[31mwith colours.bin";

/// A server with one large file and a tree.
fn ftp_server(dir: &Path) -> Server {
    std::fs::create_dir_all(dir.join("tree/deep")).unwrap();
    std::fs::write(dir.join(LONG), vec![b'x'; 3 << 20]).unwrap();
    for number in 0..12 {
        std::fs::write(dir.join(format!("tree/deep/file {number}")), vec![b'x'; 200 << 10]).unwrap();
    }
    server("ftpserve").args(["--write", "."]).dir(dir).start()
}

/// Lines that are a bar's.
#[track_caller]
fn bars(screen: &Screen) -> Vec<&String> {
    assert!(!screen.overflowed, "a line was wider than the terminal: {screen:?}");
    screen.drawn.iter().filter(|line| line.contains('%')).collect()
}

#[test]
fn progress_fits_the_terminal_and_leaves_nothing() {
    let (dir, to) = (temp_dir(), temp_dir());
    let server = ftp_server(dir.path());
    let url = |path: &str| format!("ftp://{}/{path}", server.addr);
    let name = "a%20rather%20long%20name%20of%20a%20file%20%1B%5B31mwith%20colours.bin";
    // (Our own server takes no control character in a name.)
    let local = to.path().join("a rather long name of an upload.bin");
    std::fs::copy(dir.path().join(LONG), &local).unwrap();
    for width in WIDTHS {
        let runs: [(&str, Vec<String>, &str); 4] = [
            ("ftpget", vec!["--rate".into(), "4M".into(), "-o".into(), format!("one-{width}"), url(name)], "/3.0M"),
            (
                "ftpget",
                vec!["--rate".into(), "3M".into(), "-r".into(), "-o".into(), width.to_string(), url("tree/")],
                "/2.3M",
            ),
            (
                "ftpput",
                vec!["--rate".into(), "4M".into(), local.display().to_string(), url(&format!("{width}/"))],
                "/3.0M",
            ),
            (
                "ftpput",
                ["-r", "--rate", "3M", dir.path().join("tree").to_str().unwrap(), &url(&format!("t{width}/"))]
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                "/2.3M",
            ),
        ];
        for (name, args, total) in runs {
            let (status, screen) = tool(name).args(&args).dir(to.path()).on_terminal(width).end();
            assert_eq!((status, screen.lines()), (0, Vec::<String>::new()), "{width} {name} {args:?}: {screen:?}");
            let bars = bars(&screen);
            let tree = args.iter().any(|arg| arg == "-r");
            let shows = |line: &&String| {
                let first = if tree { line.contains("/12 file ") } else { line.starts_with("a rath") };
                first && line.contains(total) && line.contains(':')
            };
            assert!(bars.iter().any(shows), "{width} {name}: {screen:?}");
            assert!(bars.iter().any(|line| line.contains("M/s ")) || tree && width == 40, "{screen:?}");
            assert!(width == 80 || bars.iter().any(|line| line.contains("[#")) == (width == 132), "{screen:?}");
        }
    }
}

/// What an earlier run brought counts for the share, not for the rate.
#[test]
fn a_continued_transfer_has_the_rate_of_this_run() {
    let (dir, to) = (temp_dir(), temp_dir());
    std::fs::write(dir.path().join("big"), vec![0; 64 << 20]).unwrap();
    let server = server("ftpserve").arg(".").dir(dir.path()).start();
    std::fs::write(to.path().join("big"), vec![0; 63 << 20]).unwrap();
    let run = tool("ftpget").args(["-c", "--rate", "1M"]).arg(format!("ftp://{}/big", server.addr));
    let (status, screen) = run.dir(to.path()).on_terminal(80).end();
    assert_eq!((status, screen.lines()), (0, Vec::new()));
    assert_eq!(std::fs::metadata(to.path().join("big")).unwrap().len(), 64 << 20);
    let bars: Vec<_> = bars(&screen).into_iter().filter(|line| line.contains("/64.0M")).collect();
    assert!(!bars.is_empty(), "{screen:?}");
    for line in bars {
        let field = |end: &str| line.split(' ').find_map(|word| word.strip_suffix(end)).unwrap().to_owned();
        assert!(field("%").parse::<u32>().unwrap() >= 98, "{line}");
        // Old bytes would make hundreds of megabytes a second.
        let rate = field("/s");
        let (number, unit) = rate.split_at(rate.len() - 1);
        assert!(unit != "M" || number.parse::<f64>().unwrap() < 20.0, "{line}");
    }
}

#[test]
fn no_bar_where_none_is_wanted() {
    let (dir, to) = (temp_dir(), temp_dir());
    let server = ftp_server(dir.path());
    let url = format!("ftp://{}/tree/", server.addr);
    let run = |args: &[&str]| tool("ftpget").args(["-r", "--rate", "4M"]).args(args).arg(&url).dir(to.path());
    for (args, lines) in [(&["-n", "-o", "n"][..], 12), (&["-q", "-o", "q"], 0), (&["--json", "-o", "j"], 13)] {
        let (status, screen) = run(args).on_terminal(200).end();
        assert_eq!((status, screen.drawn.len()), (0, 0), "{args:?}: {screen:?}");
        let starts = screen.lines().iter().filter(|line| line.starts_with("get\t") || line.starts_with('{')).count();
        assert_eq!(starts, lines, "{args:?}: {screen:?}");
    }
    let (_, screen) = run(&["-o", "dumb"]).env("TERM", "dumb").on_terminal(80).end();
    assert_eq!(screen.drawn.len(), 0);
    // Stdout elsewhere.
    let (status, screen) = run(&["--json", "-o", "f"]).shell("exec >records").on_terminal(80).end();
    assert_eq!((status, screen.lines().len()), (0, 0));
    assert!(!bars(&screen).is_empty());
    assert_eq!(std::fs::read_to_string(to.path().join("records")).unwrap().lines().count(), 13);
}

#[test]
fn messages_and_records_stand_alone() {
    let (dir, to) = (temp_dir(), temp_dir());
    let server = ftp_server(dir.path());
    for width in WIDTHS {
        // One is missing, and is told of while the others are on their way.
        let urls =
            ["tree/deep/file%201", "none", "tree/deep/file%202"].map(|path| format!("ftp://{}/{path}", server.addr));
        let run = tool("ftpget").args(["-j", "1", "--rate", "400k", "-o"]).arg(format!("m{width}/")).args(urls);
        let (status, screen) = run.dir(to.path()).on_terminal(width).end();
        let text = screen.lines().concat();
        let expected = format!("ftpget: ftp://{}/none: RETR: 550 No such file or directory.", server.addr);
        assert!(status == 66 && text.starts_with(&expected[..60]) && !text.contains('%'), "{width}: {screen:?}");
        let (status, screen) = dns_run(&to, width);
        let lines = screen.lines();
        assert!(status == 0 && lines.len() == 150, "{width}: {screen:?}");
        assert!(
            lines.iter().all(|line| line.starts_with('n') && line.ends_with(".test.\tA\tNOERROR\t192.0.2.1")),
            "{lines:?}"
        );
        assert!(bars(&screen).iter().any(|line| line.contains(" names, ")), "{screen:?}");
    }
}

/// A bulk run with its records on the same terminal.
fn dns_run(dir: &tempfile::TempDir, width: u16) -> (i32, Screen) {
    let names: String = (0..150).map(|number| format!("n{number}.test\n")).collect();
    std::fs::write(dir.path().join("names"), names).unwrap();
    std::fs::write(dir.path().join("test.zone"), "$ORIGIN test.\n$TTL 5\n@ SOA a b 1 2 3 4 5\n* A 192.0.2.1\n")
        .unwrap();
    let server = server("dnsserve").arg("test.zone").dir(dir.path()).start();
    let run = tool("dnsq").arg(format!("@{}", server.addr)).args(["-f", "names", "--rate", "200"]).dir(dir.path());
    run.on_terminal(width).end()
}

#[test]
fn a_queue_run_has_a_line_for_each_delivery() {
    let (queue, peer) = (temp_dir(), Sink::taking_all());
    let mail = || {
        let recipients = ["b@b.test", "c@b.test"];
        enqueue(queue.path(), &[("a@a.test", &recipients, "Subject: hello\r\n\r\nhello\r\n")]);
    };
    let run = |args: &[&str]| {
        mail();
        tool("mailq-run").args(["--route", &peer.route(), "--queue-dir"]).arg(queue.path()).args(args)
    };
    let (status, screen) = run(&[]).on_terminal(200).end();
    let lines = screen.lines();
    assert!(status == 0 && lines.len() == 3 && !screen.overflowed, "{screen:?}");
    for (line, address) in lines.iter().zip(["b@b.test", "c@b.test"]) {
        // TABs are not modelled: the fields in their order.
        let parts = ["delivered", address, "127.0.0.1", "250"];
        assert!(parts.iter().all(|part| line.contains(part)), "{line:?}");
    }
    assert!(lines[2].contains("summary") && lines[2].ends_with("2 delivered"), "{lines:?}");
    assert_eq!(run(&["-q"]).on_terminal(80).end().1.lines(), Vec::<String>::new());
    // Cron sees nothing unless it asks.
    let quiet = run(&[]).run();
    assert_eq!((quiet.status, quiet.text(), quiet.stderr.as_str()), (0, "", ""));
    let asked = run(&["-v"]).run();
    assert_eq!(asked.exits(0).text().lines().count(), 3);
    asked.prints("\tc@b.test\t").prints("summary\t2 delivered\n");
}

/// The address in the first line of a server on a terminal.
fn address_of(terminal: &Terminal) -> SocketAddr {
    terminal.shown.wait_for("\n");
    address_in(&terminal.screen().lines()[0]).unwrap()
}

/// Connections of a client that is in the middle of something.
fn busy(name: &str, server: SocketAddr, silent: &UdpSocket) -> Vec<TcpStream> {
    let mut control = TcpStream::connect(server).unwrap();
    let mut heard = String::new();
    let mut hear = |control: &mut TcpStream, part: &str| {
        let mut bytes = [0; 512];
        while !heard.contains(part) {
            let count = control.read(&mut bytes).unwrap();
            assert!(count > 0, "{part:?} never came: {heard:?}");
            heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        heard.clone()
    };
    match name {
        "ftpserve" => {
            control.write_all(b"USER anonymous\r\nPASS x\r\nEPSV\r\n").unwrap();
            let text = hear(&mut control, "|)");
            let port = text.rsplit('|').nth(1).unwrap().parse().unwrap();
            let data = TcpStream::connect((server.ip(), port)).unwrap();
            control.write_all(b"RETR big\r\n").unwrap();
            hear(&mut control, "150 ");
            vec![control, data]
        }
        "smtpserve" => {
            hear(&mut control, "220 ");
            vec![control]
        }
        // A question that is handed on to a name server that says nothing.
        _ => {
            let question = b"\0\x18\0\x07\x01\0\0\x01\0\0\0\0\0\0\x01y\x04test\0\0\x06\0\x01";
            control.write_all(question).unwrap();
            silent.recv_from(&mut [0; 512]).unwrap();
            vec![control]
        }
    }
}

/// Ctrl-C says what is waited for, and once more ends at once.
#[test]
fn ctrl_c_says_what_it_waits_for() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("z"), "$ORIGIN z.test.\n$TTL 5\n@ SOA a b 1 2 3 4 5\n").unwrap();
    std::fs::File::create(dir.path().join("big")).unwrap().set_len(1 << 30).unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.set_read_timeout(Some(LIMIT)).unwrap();
    let upstream = silent.local_addr().unwrap().to_string();
    let servers: [(&str, &[&str]); 3] = [
        ("ftpserve", &["."]),
        ("smtpserve", &["--domain", "a.test", "--mailboxes", "."]),
        ("dnsserve", &["--forward", &upstream, "z"]),
    ];
    for (name, args) in servers {
        let run = server(name).args(["--listen", "127.0.0.1:0"]).args(args).dir(dir.path());
        let mut terminal = run.on_terminal(200);
        let client = busy(name, address_of(&terminal), &silent);
        terminal.press("\x03");
        terminal.shown.wait_for("1 connection open; waiting up to 30 s, Ctrl-C or TERM again ends at once");
        let transfer = terminal.shown.text().contains("warning: 1 transfer, 1 connection open");
        assert_eq!(transfer, name == "ftpserve", "{}", terminal.shown);
        terminal.press("\x03");
        let (_, screen) = terminal.end();
        assert!(!screen.overflowed, "{name}: {screen:?}");
        drop(client);
    }
}

#[test]
fn ctrl_c_on_a_queue_run_does_too() {
    let (queue, silent) = (temp_dir(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    enqueue(queue.path(), &[("a@a.test", &["b@b.test"], "Subject: hello\r\n\r\nhello\r\n")]);
    let route = format!("*=smtp://{}", silent.local_addr().unwrap());
    for watch in [&["--watch"][..], &[]] {
        let run: Run =
            tool("mailq-run").args(["--flush", "--route", &route, "--queue-dir"]).arg(queue.path()).args(watch);
        let mut terminal = run.on_terminal(200);
        let (connection, _) = silent.accept().unwrap();
        terminal.press("\x03");
        terminal.shown.wait_for("1 delivery open; Ctrl-C or TERM again ends at once");
        terminal.press("\x03");
        let (status, _) = terminal.end();
        assert_ne!(status, 0, "something was left undone");
        drop(connection);
    }
}

/// A question has words, and what is typed is not shown.
#[test]
fn passwords_are_asked_for_in_words_and_not_shown() {
    for name in ["ftpserve", "smtpserve"] {
        for (again, status) in [("s3cret\n", 0), ("another\n", 65)] {
            let mut terminal = tool(name).arg("--hash-password").on_terminal(200);
            terminal.shown.wait_for("password to hash: ");
            terminal.press("s3cret\n");
            terminal.shown.wait_for("the same again: ");
            terminal.press(again);
            let (found, screen) = terminal.end();
            let text = screen.lines().concat();
            assert!(found == status && !text.contains("s3cret") && !text.contains("another"), "{name}: {screen:?}");
            assert_eq!(text.contains("$argon2"), status == 0, "{screen:?}");
        }
    }
    // Ctrl-C ends the tool and gives the echo back.
    let mut terminal = tool("ftpserve").arg("--hash-password").on_terminal(200);
    terminal.shown.wait_for("password to hash: ");
    assert!(!terminal.echoes());
    terminal.press("s3\x03");
    terminal.wait();
    assert!(terminal.echoes());
    assert_ne!(terminal.end().0, 0);
    let dir = temp_dir();
    let hash = tool("ftpserve").arg("--hash-password").stdin("s3cret\n").run();
    std::fs::write(dir.path().join("users"), format!("bob:{}\n", hash.text().trim())).unwrap();
    std::fs::set_permissions(dir.path().join("users"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let server = server("ftpserve").args(["--user-file", "users", "."]).dir(dir.path()).start();
    let mut terminal =
        tool("ftpls").args(["--tls", "none"]).arg(format!("ftp://bob@{}/", server.addr)).on_terminal(200);
    terminal.shown.wait_for("password for bob at 127.0.0.1: ");
    terminal.press("s3cret\n");
    let (status, screen) = terminal.end();
    let text = screen.lines().concat();
    assert!(status == 0 && text.contains("users") && !text.contains("s3cret"), "{screen:?}");
}
