//! What clients can take from others: places, time and patience, at all three servers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{LIMIT, Run, Server, server, temp_dir, tool};

/// Slow clients, each with an address of its own.
const SLOW: usize = 2000;
/// What an honest client waits at most for a whole dialogue, on a machine that has much else to do. A silent client holds a
/// place for 10 seconds (DNS) to minutes.
const PATIENCE: Duration = Duration::from_secs(8);
/// A question for the addresses of `a.z.test`, behind its length.
const QUESTION: &[u8] = b"\0\x1a\0\x01\0\0\0\x01\0\0\0\0\0\0\x01a\x01z\x04test\0\0\x01\0\x01";

const SERVERS: [&str; 3] = ["ftpserve", "smtpserve", "dnsserve"];

/// A client with one of loopback's addresses.
pub(crate) fn connect(from: [u8; 4], to: SocketAddr) -> BufReader<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of loopback");
    socket.connect(&to.into()).expect("a connection");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).expect("a read limit");
    BufReader::new(stream)
}

/// The server in a directory that has what it serves.
fn serving(name: &str, dir: &Path) -> Run {
    let zone = "$ORIGIN z.test.\n$TTL 5\n@ SOA a b 1 2 3 4 5\n@ NS a\na A 192.0.2.1\n";
    std::fs::write(dir.join("z"), zone).unwrap();
    std::fs::create_dir_all(dir.join("mail/bob/cur")).unwrap();
    let run = server(name).dir(dir);
    match name {
        "ftpserve" => run.arg("mail"),
        "smtpserve" => run.args(["--domain", "a.test", "--mailboxes", "mail"]),
        _ => run.arg("z"),
    }
}

/// A whole dialogue, each line in its turn; the last word is "done", or what the server said instead.
fn dialogue(name: &str, mut stream: BufReader<TcpStream>) -> String {
    if name == "dnsserve" {
        let mut answer = [0; 28];
        let answered = stream.get_mut().write_all(QUESTION).and_then(|()| stream.read_exact(&mut answer));
        return answered.map_or_else(|error| error.to_string(), |()| "done".to_owned());
    }
    let lines: &[(&str, &str)] = match name {
        "ftpserve" => &[("USER anonymous", "331"), ("PASS x", "230"), ("CWD bob", "250")],
        _ => &[
            ("EHLO c.test", "250"),
            ("MAIL FROM:<>", "250"),
            ("RCPT TO:<bob@a.test>", "250"),
            ("DATA", "354"),
            ("Subject: x\r\n\r\nx\r\n.", "250"),
        ],
    };
    for (line, code) in [("", "220")].iter().chain(lines) {
        if !line.is_empty() && write!(stream.get_mut(), "{line}\r\n").is_err() {
            return format!("gone at {line}");
        }
        let reply = loop {
            let mut reply = String::new();
            match stream.read_line(&mut reply) {
                Ok(0) | Err(_) => return format!("gone at {line}"),
                Ok(_) if reply.as_bytes().get(3) == Some(&b' ') => break reply,
                Ok(_) => {}
            }
        };
        if !reply.starts_with(code) {
            return reply;
        }
    }
    "done".to_owned()
}

fn honest(name: &str, to: SocketAddr) {
    let begun = Instant::now();
    let said = dialogue(name, connect([127, 0, 0, 1], to));
    assert!(said == "done" && begun.elapsed() < PATIENCE, "{name}: {said} after {:?}", begun.elapsed());
}

/// The descriptors that this process may have, which has those of many clients.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

fn slow_address(number: usize) -> [u8; 4] {
    [127, 1 + (number / 62_500) as u8, (number / 250 % 250) as u8, 1 + (number % 250) as u8]
}

#[test]
fn thousands_of_slow_clients_keep_nobody_out() {
    raise_descriptor_limit();
    for name in SERVERS {
        let dir = temp_dir();
        let server = serving(name, dir.path()).start();
        let said: &[&[u8]] = match name {
            "ftpserve" => &[b"", b"NO", b"NOOP\r\nUSER anonymous\r\n", b"USER anonymous\r\nPASS x\r\n"],
            "smtpserve" => &[b"", b"EH", b"EHLO c\r\nNOOP\r\n", b"EHLO c\r\nMAIL FROM:<>\r\n"],
            _ => &[b"", b"\0", QUESTION, b"\0\x1d\0"],
        };
        let clients: Vec<_> = (0..SLOW)
            .map(|number| {
                let mut client = connect(slow_address(number), server.addr);
                // Who has lost his place already hears of it there.
                let _ = client.get_mut().write_all(said[number % said.len()]);
                client
            })
            .collect();
        honest(name, server.addr);
        // And while more of them come.
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut held = std::collections::VecDeque::new();
                for number in SLOW.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    held.push_back(connect(slow_address(number), server.addr));
                    held.drain(..held.len().saturating_sub(1000));
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
            let results = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                (0..5).for_each(|_| honest(name, server.addr));
            }));
            stop.store(true, Ordering::Relaxed);
            results.unwrap();
        });
        drop(clients);
    }
}

/// Each of them has a thread of its own.
#[test]
fn stalled_downloads_keep_nobody_out() {
    raise_descriptor_limit();
    let dir = temp_dir();
    let server = serving("ftpserve", dir.path()).args(["--max-clients", "1000"]).start();
    std::fs::File::create(dir.path().join("mail/big")).unwrap().set_len(64 << 20).unwrap();
    let held: Vec<_> = (0..560)
        .map(|number| {
            let mut client = connect(slow_address(number), server.addr);
            client.get_mut().write_all(b"USER ftp\r\nPASS x\r\nTYPE I\r\nEPSV\r\n").unwrap();
            let mut line = String::new();
            while !line.starts_with("229 ") {
                line.clear();
                assert!(client.read_line(&mut line).unwrap() > 0);
            }
            let port = line.split('|').nth(3).unwrap().parse().unwrap();
            let data = connect(slow_address(number), SocketAddr::new(server.addr.ip(), port));
            client.get_mut().write_all(b"RETR big\r\n").unwrap();
            (client, data)
        })
        .collect();
    honest("ftpserve", server.addr);
    drop(held);
}

/// What the server has used of a processor so far.
fn cpu_time(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[test]
fn few_descriptors_are_few_places() {
    for name in SERVERS {
        let dir = temp_dir();
        let server = serving(name, dir.path()).shell("ulimit -n 64").start();
        server.stderr.wait_for("64 descriptors (ulimit -n) are enough for ");
        let held: Vec<_> = (0..200).map(|number| connect(slow_address(number), server.addr)).collect();
        honest(name, server.addr);
        let before = cpu_time(&server);
        std::thread::sleep(Duration::from_millis(500));
        let used = cpu_time(&server) - before;
        assert!(used < Duration::from_millis(250), "{name} has nothing to do: {used:?}");
        drop(held);
    }
}

/// The soft limit of descriptors is raised to the hard one, which the default of --max-clients fits in.
#[test]
fn a_low_soft_limit_is_raised() {
    let dir = temp_dir();
    let server = serving("ftpserve", dir.path()).shell("ulimit -Sn 64; ulimit -Hn 4096").start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().skip(3).take(2).collect::<Vec<_>>(), ["4096", "4096"]);
    assert!(!server.stderr.text().contains("descriptors"), "{server}");
    let check = |hard: u32| {
        let run = tool("ftpserve").arg("--check-config").arg(dir.path()).shell(&format!("ulimit -n {hard}")).run();
        run.exits(0);
        run
    };
    check(1024).says("--max-clients 500: 1024 descriptors (ulimit -n) are enough for 141");
    assert!(!check(4096).stderr.contains("descriptors"));
}

#[test]
fn an_address_connects_only_so_often() {
    for (name, word) in [("ftpserve", "421 Your"), ("smtpserve", "421 4.7.0 Your"), ("dnsserve", "")] {
        let dir = temp_dir();
        let server = serving(name, dir.path()).args(["--max-rate-per-address", "4"]).start();
        (0..2).for_each(|_| honest(name, server.addr));
        let mut said = String::new();
        connect([127, 0, 0, 1], server.addr).read_to_string(&mut said).unwrap();
        assert!(said.starts_with(word) && said.is_empty() == word.is_empty(), "{name}: {said}");
        assert_eq!(dialogue(name, connect([127, 0, 0, 2], server.addr)), "done", "{name}: another address");
    }
}

#[test]
fn who_is_refused_before_tls_hears_no_clear_text() {
    for name in ["ftpserve", "smtpserve"] {
        let dir = temp_dir();
        let args = ["--self-signed", "a.test", "--tls", "implicit", "--max-per-address", "1"];
        let server = serving(name, dir.path()).args(args).start();
        let _held = connect([127, 0, 0, 1], server.addr);
        let mut said = String::new();
        connect([127, 0, 0, 1], server.addr).read_to_string(&mut said).unwrap();
        assert_eq!(said, "", "{name}");
    }
}

/// What was once taken without end, at the real servers; the sessions' own tests have all commands.
#[test]
fn floods_of_commands_end() {
    let to = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@a.test>\r\n";
    for (name, before, flood, count) in [
        ("smtpserve", "EHLO c\r\n", "NOOP\r\n", 20_000),
        ("smtpserve", to, "BDAT 0\r\n", 20_000),
        ("smtpserve", to, "RCPT TO:<bob@a.test>\r\n", 20_000),
        ("smtpserve", "EHLO c\r\n", "MAIL FROM:<>\r\nRSET\r\n", 20_000),
        ("ftpserve", "", "NOOP\r\n", 20_000),
        ("ftpserve", "USER anonymous\r\nPASS x\r\n", "PWD\r\n", 20_000),
        ("ftpserve", "USER anonymous\r\nPASS x\r\n", "EPSV\r\n", 20_000),
        ("dnsserve", "", "\0\x0c\0\x01\0\0\0\0\0\0\0\0\0\0", 120_000),
    ] {
        let dir = temp_dir();
        let server = serving(name, dir.path()).start();
        let mut client = connect([127, 0, 0, 1], server.addr);
        let mut writer = client.get_ref().try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let all = [before.as_bytes(), flood.repeat(count).as_bytes()].concat();
            // The server ends it before all is sent.
            let _ = writer.write_all(&all);
        });
        let mut said = Vec::new();
        let _ = client.read_to_end(&mut said);
        sending.join().unwrap();
        let last = String::from_utf8_lossy(&said[said.len().saturating_sub(100)..]).into_owned();
        match name {
            "dnsserve" => assert!(said.len() <= 100_000 * 14, "{} bytes", said.len()),
            _ => assert!(said.len() < 200_000 && last.contains("421 "), "{flood:?}: {} bytes, {last}", said.len()),
        }
        honest(name, server.addr);
    }
}

/// What a client hears first: a line, or the answer to a question; empty if it is closed.
fn first_word(name: &str, client: &mut BufReader<TcpStream>) -> String {
    if name == "dnsserve" {
        let mut answer = [0; 28];
        let answered = client.get_mut().write_all(QUESTION).and_then(|()| client.read_exact(&mut answer));
        return answered.map_or(String::new(), |()| "answer".to_owned());
    }
    let mut line = String::new();
    let _ = client.read_line(&mut line);
    line
}

/// The limit is lowered behind the server's back: what it counted on is not there.
#[test]
fn who_finds_no_descriptor_is_told_and_closed() {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    for (name, refusal) in
        [("ftpserve", "421 Too many clients."), ("smtpserve", "421 4.7.0 Too many clients"), ("dnsserve", "")]
    {
        let dir = temp_dir();
        let server = serving(name, dir.path()).start();
        honest(name, server.addr);
        let pid = Pid::from_raw(server.pid().cast_signed());
        // No number is free above the one that it keeps for such a day: open /dev/null comes last.
        let mut open = std::collections::BTreeMap::new();
        for fd in std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap() {
            let path = fd.unwrap().path();
            let number: u64 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            open.insert(number, std::fs::read_link(path).unwrap_or_default());
        }
        let reserve = *open.iter().rfind(|(_, target)| target.as_path() == Path::new("/dev/null")).unwrap().0;
        let lowest = (reserve..).find(|number| !open.contains_key(number));
        let limit = getrlimit(Resource::Nofile);
        prlimit(pid, Resource::Nofile, Rlimit { current: lowest, ..limit }).unwrap();
        let mut held = Vec::new();
        let mut turned_away = 0;
        for number in 0..60 {
            let mut client = connect(slow_address(number), server.addr);
            let word = first_word(name, &mut client);
            match word.trim_end() == refusal {
                true => turned_away += 1,
                // A number below the limit was free.
                false => held.push(client),
            }
        }
        assert!(turned_away >= 40, "{name}: {turned_away}");
        let before = cpu_time(&server);
        std::thread::sleep(Duration::from_millis(500));
        let used = cpu_time(&server) - before;
        assert!(used < Duration::from_millis(250), "{name} has nothing to do: {used:?}");
        prlimit(pid, Resource::Nofile, limit).unwrap();
        honest(name, server.addr);
    }
}

/// Fast enough for --min-rate, for ever: the place is theirs until somebody needs it.
#[test]
fn who_is_slow_for_long_gives_way() {
    std::thread::scope(|scope| {
        scope.spawn(slow_mail_gives_way);
        scope.spawn(slow_download_gives_way);
    });
}

/// The next client gets no place at first, and then it does.
fn gets_a_place_in_the_end(name: &str, server: &Server) {
    let begun = Instant::now();
    let mut client = connect([127, 0, 0, 1], server.addr);
    assert!(first_word(name, &mut client).starts_with("421 "), "{server}");
    while !first_word(name, &mut connect([127, 0, 0, 1], server.addr)).starts_with("220 ") {
        assert!(begun.elapsed() < LIMIT, "{server}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn slow_mail_gives_way() {
    let dir = temp_dir();
    let limits = ["--max-clients", "1", "--timeout", "2", "--min-rate", "100"];
    let server = serving("smtpserve", dir.path()).args(limits).start();
    let mut slow = connect([127, 0, 0, 2], server.addr);
    let mut writer = slow.get_ref().try_clone().unwrap();
    writer.write_all(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<bob@a.test>\r\nDATA\r\n").unwrap();
    let mut line = String::new();
    while !line.starts_with("354 ") {
        line.clear();
        assert!(slow.read_line(&mut line).unwrap() > 0);
    }
    // Ten times the rate that is asked for, until it is told to go.
    let dripping = std::thread::spawn(move || {
        while writer.write_all(&[b'x'; 48]).and_then(|()| writer.write_all(b"\r\n")).is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    gets_a_place_in_the_end("smtpserve", &server);
    line.clear();
    slow.read_line(&mut line).unwrap();
    assert!(line.starts_with("421 4.3.2 "), "{line} {server}");
    drop(slow);
    dripping.join().unwrap();
}

fn slow_download_gives_way() {
    let dir = temp_dir();
    let limits = ["--max-clients", "1", "--idle", "1", "--min-rate", "100"];
    let server = serving("ftpserve", dir.path()).args(limits).start();
    std::fs::File::create(dir.path().join("mail/big")).unwrap().set_len(1 << 30).unwrap();
    let mut slow = connect([127, 0, 0, 2], server.addr);
    let mut control = slow.get_ref().try_clone().unwrap();
    control.write_all(b"USER ftp\r\nPASS x\r\nTYPE I\r\nEPSV\r\n").unwrap();
    let mut line = String::new();
    let mut hear = |code: &str| {
        line.clear();
        while !line.starts_with(code) {
            line.clear();
            assert!(slow.read_line(&mut line).unwrap() > 0, "{code} never came");
        }
        line.clone()
    };
    let port = hear("229 ").split('|').nth(3).unwrap().parse().unwrap();
    let mut data = connect([127, 0, 0, 2], SocketAddr::new(server.addr.ip(), port));
    control.write_all(b"RETR big\r\n").unwrap();
    hear("150 ");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut some = [0; 4096];
            while !stop.load(Ordering::Relaxed) && matches!(data.read(&mut some), Ok(1..)) {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        gets_a_place_in_the_end("ftpserve", &server);
        stop.store(true, Ordering::Relaxed);
    });
    assert!(hear("421 ").contains("Others need this place"), "{server}");
}

/// Nothing at all, and a byte a second of a ClientHello: neither is let wait for the end of the handshake.
#[test]
fn a_handshake_ends_in_time() {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let stalls = |name: &str, drips: bool| {
        let dir = temp_dir();
        let server = serving(name, dir.path()).args(["--self-signed", "a.test", "--tls", "implicit", "--json"]).start();
        let mut client = connect([127, 0, 0, 1], server.addr);
        let mut writer = client.get_ref().try_clone().unwrap();
        let begun = Instant::now();
        let dripping = std::thread::spawn(move || {
            for byte in hello.iter().cycle().take(if drips { 60 } else { 0 }) {
                if writer.write_all(&[*byte]).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        let mut said = Vec::new();
        let _ = client.read_to_end(&mut said);
        let took = begun.elapsed();
        assert!((9..30).contains(&took.as_secs()), "{name}: {took:?} {server}");
        assert!(!said.starts_with(b"220"), "{name}: no word in clear text");
        server.stdout.wait_for("\"why\":\"timed_out\"");
        drop(client);
        dripping.join().unwrap();
    };
    std::thread::scope(|scope| {
        for name in ["ftpserve", "smtpserve"] {
            for drips in [false, true] {
                scope.spawn(move || stalls(name, drips));
            }
        }
    });
}

/// Replies and answers, as many as may be asked for, and the contents of a file: whoever reads none of it is let go.
#[test]
fn who_reads_nothing_is_let_go() {
    let reads_nothing = |name: &'static str| {
        let dir = temp_dir();
        let mut run = serving(name, dir.path()).args(["--json", "--log", "log"]);
        if name != "dnsserve" {
            run = run.args(["--timeout", "1"]);
        }
        let server = run.start();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&server.addr.into()).unwrap();
        let mut client = TcpStream::from(socket);
        let flood: Vec<u8> = match name {
            "ftpserve" => b"USER ftp\r\nPASS x\r\n".iter().chain(&b"HELP\r\n".repeat(1_000_000)).copied().collect(),
            "smtpserve" => b"EHLO c\r\n".repeat(1_000_000),
            _ => QUESTION.repeat(1_000_000),
        };
        let begun = Instant::now();
        let _ = client.write_all(&flood);
        server.stdout.wait_for("\"type\":\"session\"");
        assert!(begun.elapsed() < Duration::from_secs(40), "{name}");
        honest(name, server.addr);
    };
    std::thread::scope(|scope| {
        for name in SERVERS {
            scope.spawn(move || reads_nothing(name));
        }
    });
}
