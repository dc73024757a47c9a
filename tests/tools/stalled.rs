//! Servers whose output nobody reads: clients are answered all the same, and what was dropped is counted.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Done, LIMIT, Server, binary, memory_dir, server, temp_dir};
use crate::queue::{Sink, enqueue};
use crate::schema::assert_printed_records_match;

/// A client of FTP or SMTP: sends many lines at once and reads one reply after the other.
struct Talk(BufReader<TcpStream>);

impl Talk {
    fn to(server: &Server) -> Talk {
        let stream = TcpStream::connect(server.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut talk = Talk(BufReader::new(stream));
        talk.expect("220");
        talk
    }

    #[track_caller]
    fn says(&mut self, lines: &str, replies: &[&str]) {
        self.0.get_mut().write_all(lines.as_bytes()).unwrap();
        replies.iter().for_each(|reply| self.expect(reply));
    }

    #[track_caller]
    fn expect(&mut self, code: &str) {
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line);
            assert!(line.starts_with(code), "{line:?} instead of {code} ({read:?})");
            if line.as_bytes()[3] == b' ' {
                return;
            }
        }
    }
}

/// Asks for a long name that is not there; fails when no answer comes.
fn ask(socket: &UdpSocket, to: SocketAddr, id: u16) {
    let mut query = id.to_be_bytes().to_vec();
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in ["x".repeat(60), "y".repeat(60), "z".repeat(60), "example".to_owned(), "test".to_owned()] {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    socket.send_to(&query, to).unwrap();
    let mut answer = [0; 1500];
    let read = socket.recv(&mut answer).unwrap_or_else(|error| panic!("question {id}: {error}"));
    assert_eq!(answer[..2], id.to_be_bytes(), "{read} bytes");
}

fn asker() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

fn dns(flag: &str) -> crate::harness::Run {
    let zone = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dns/example.test.zone");
    server("dnsserve").args([zone, flag])
}

/// Reads on, and waits until as many records of these types came as `all` says, those included that were dropped.
#[track_caller]
fn adds_up(tool: &str, server: &Server, types: &[&str], all: u64) {
    server.read_on();
    let begun = Instant::now();
    loop {
        let mut stdout = server.stdout.text();
        stdout.truncate(stdout.rfind('\n').map_or(0, |end| end + 1));
        let done = Done { line: tool.to_owned(), stdout: stdout.into_bytes(), stderr: String::new(), status: 0 };
        let emitted: u64 = types.iter().map(|kind| done.records_of(kind).len() as u64).sum();
        let dropped: u64 = done.records_of("dropped").iter().map(|record| record["records"].as_u64().unwrap()).sum();
        if emitted + dropped == all {
            assert!(emitted > 0 && dropped > 0, "{emitted} emitted, {dropped} dropped");
            assert_eq!(done.records_of("dropped").len(), 1, "one gap");
            return assert_printed_records_match(&format!("{tool} \"--json\""), &done.stdout, 0);
        }
        assert!(begun.elapsed() < LIMIT, "{emitted} emitted and {dropped} dropped are not {all}");
        std::thread::yield_now();
    }
}

#[test]
fn dnsserve_answers_while_nobody_reads_its_records() {
    let (server, socket) = (dns("--json").stalled_readers().start(), asker());
    (0..6000).for_each(|id| ask(&socket, server.addr, id));
    adds_up("dnsserve", &server, &["query"], 6000);
    ask(&socket, server.addr, 1);
    adds_up("dnsserve", &server, &["query"], 6001);
    assert_eq!(server.stop(), 0);
}

#[test]
fn dnsserve_answers_while_nobody_reads_its_trace() {
    let (server, socket) = (dns("-v").stalled_readers().start(), asker());
    (0..6000).for_each(|id| ask(&socket, server.addr, id));
    server.read_on();
    server.stderr.wait_for(" lines are missing here: their reader is slow\n");
    let begun = Instant::now();
    loop {
        // The lines behind the gap may still come.
        let text = server.stderr.text();
        let count: usize = text
            .lines()
            .find_map(|line| line.split_once(" dnsserve: warning: ")?.1.split(' ').next()?.parse().ok())
            .unwrap();
        let lines = text.lines().filter(|line| line.contains(" udp ")).count();
        if lines + count == 6000 {
            break;
        }
        assert!(begun.elapsed() < LIMIT, "{lines} lines and {count} that are missing");
        std::thread::yield_now();
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_server_ends_although_its_reader_stalls() {
    let (server, socket) = (dns("--json").stalled_readers().start(), asker());
    (0..2000).for_each(|id| ask(&socket, server.addr, id));
    assert_eq!(server.stop(), 0);
}

#[test]
fn ftpserve_answers_while_nobody_reads() {
    let dir = memory_dir();
    let server = server("ftpserve").arg(dir.path()).args(["--write", "--json", "-v"]).stalled_readers().start();
    let mut talk = Talk::to(&server);
    talk.says("USER anonymous\r\nPASS x\r\n", &["331", "230"]);
    let mut path = String::new();
    for letter in ["a", "b", "c"] {
        path.push_str(&letter.repeat(250));
        talk.says(&format!("MKD {path}\r\n"), &["257"]);
        path.push('/');
    }
    for _ in 0..500 {
        talk.says(&format!("MKD {path}d\r\nRMD {path}d\r\n"), &["257", "250"]);
        talk.says(&format!("MKD {path}d\r\nRMD {path}d\r\n"), &["257", "250"]);
    }
    adds_up("ftpserve", &server, &["login", "change"], 2004);
    server.stderr.wait_for(" lines are missing here: their reader is slow\n");
}

#[test]
fn smtpserve_answers_while_nobody_reads() {
    let dir = memory_dir();
    let base = dir.path().to_str().unwrap();
    let args = ["--domain", "b.test", "--mailboxes", base, "--create", "--json", "-v"];
    let server = server("smtpserve").args(args).stalled_readers().start();
    let mut talk = Talk::to(&server);
    talk.says("EHLO c.test\r\n", &["250"]);
    let recipients = format!("RCPT TO:<bob+{}@b.test>\r\n", "x".repeat(56)).repeat(100);
    for _ in 0..200 {
        talk.says("MAIL FROM:<a@a.test>\r\n", &["250"]);
        talk.says(&recipients, &["250"; 100]);
        talk.says("DATA\r\n", &["354"]);
        talk.says("Subject: hello\r\n\r\nhello\r\n.\r\n", &["250"]);
    }
    assert_eq!(std::fs::read_dir(dir.path().join("bob/new")).unwrap().count(), 200);
    adds_up("smtpserve", &server, &["message"], 200);
    server.stderr.wait_for(" lines are missing here: their reader is slow\n");
}

#[test]
fn a_watching_runner_delivers_while_nobody_reads() {
    let (queue, peer) = (temp_dir(), Sink::taking_all());
    let recipients: Vec<String> = (0..500).map(|number| format!("{}{number}@b.test", "x".repeat(50))).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    enqueue(queue.path(), &[("a@a.test", &recipients, "Subject: hello\r\n\r\nhello\r\n")]);
    let mut command = Command::new(binary("mailq-run"));
    command.args(["--watch", "--json", "-v", "--route", &peer.route(), "--queue-dir"]).arg(queue.path());
    let mut runner = command.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    for number in 1..=3 {
        while peer.mails().iter().map(|mail| mail.to.len()).sum::<usize>() < number * recipients.len() {
            assert!(begun.elapsed() < LIMIT, "message {number} never came");
            std::thread::yield_now();
        }
        enqueue(queue.path(), &[("a@a.test", &recipients, "Subject: hello\r\n\r\nhello\r\n")]);
    }
    runner.kill().unwrap();
    runner.wait().unwrap();
}
