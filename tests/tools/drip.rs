//! Peers that drip: each byte comes well within the idle limit, all of them far too slowly. Both sides let go of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::ftp_peer::{FtpSession, OPENING, ftp_peer};
use crate::harness::{server, temp_dir, tool};

/// Between two bytes of a drip; the pace is the point.
const PACE: Duration = Duration::from_millis(40);
/// As many drops as fall in four seconds: whoever still listens then does not watch the rate.
const DROPS: usize = 100;
/// What the tools are told: 0.4 s of patience, of which a dripped byte gives back one millisecond.
const LIMITS: [&str; 4] = ["--timeout", "0.4", "--min-rate", "1000"];

/// Drips `byte` until the other side has gone; false if it never goes.
fn drip(stream: &mut TcpStream, byte: u8) -> bool {
    for _ in 0..DROPS {
        if stream.write_all(&[byte]).is_err() {
            return true;
        }
        thread::sleep(PACE);
    }
    false
}

fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    BufReader::new(stream)
}

/// Sends a line, unless it is empty, and reads a reply to its last line.
fn ask(stream: &mut BufReader<TcpStream>, line: &str) -> String {
    if !line.is_empty() {
        stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }
    loop {
        let mut reply = String::new();
        if stream.read_line(&mut reply).unwrap_or(0) == 0 || reply.as_bytes().get(3) == Some(&b' ') {
            return reply;
        }
    }
}

#[test]
fn smtpserve_lets_go_of_a_client_that_drips() {
    let (boxes, home) = (temp_dir(), temp_dir());
    std::fs::create_dir(boxes.path().join("bob")).unwrap();
    let mailboxes = boxes.path().to_str().unwrap();
    let server = server("smtpserve")
        .args(["--domain", "bob.test", "--mailboxes", mailboxes])
        .args(LIMITS)
        .home(home.path())
        .start();
    for whole_commands in [false, true] {
        let mut client = connect(server.addr);
        ask(&mut client, "");
        if whole_commands {
            for (line, code) in [
                ("EHLO a.test", "250"),
                ("MAIL FROM:<a@a.test>", "250"),
                ("RCPT TO:<bob@bob.test>", "250"),
                ("DATA", "354"),
            ] {
                let reply = ask(&mut client, line);
                assert!(reply.starts_with(code), "{line}: {reply}");
            }
        }
        assert!(drip(client.get_mut(), b'x'), "the connection is still open");
    }
    // One that says whole commands, each within the limit, is no drip.
    let mut client = connect(server.addr);
    ask(&mut client, "");
    for _ in 0..15 {
        assert!(ask(&mut client, "NOOP").starts_with("250"));
        thread::sleep(PACE);
    }
    assert!(ask(&mut client, "QUIT").starts_with("221"));
    assert_eq!(server.stop(), 0);
}

#[test]
fn ftpserve_breaks_off_an_upload_that_drips() {
    let (root, etc) = (temp_dir(), temp_dir());
    let hash = tool("ftpserve").arg("--hash-password").stdin("secret\n").run();
    let users = etc.path().join("users");
    std::fs::write(&users, format!("alice:{}", hash.text())).unwrap();
    let server = server("ftpserve").arg("--write").arg("--user-file").arg(&users).args(LIMITS).arg(root.path()).start();
    let mut client = connect(server.addr);
    ask(&mut client, "");
    for line in ["USER alice", "PASS secret"] {
        ask(&mut client, line);
    }
    let reply = ask(&mut client, "EPSV");
    let port = reply.split('|').nth(3).unwrap().parse().unwrap();
    let mut data = TcpStream::connect(SocketAddr::new(server.addr.ip(), port)).unwrap();
    let reply = ask(&mut client, "STOR x");
    assert!(reply.starts_with("150"), "{reply}");
    assert!(drip(&mut data, b'x'), "the data connection is still open");
    let reply = ask(&mut client, "");
    assert!(reply.starts_with("426"), "{reply}");
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0, "nothing half is left");
    assert_eq!(server.stop(), 0);
}

fn ended(gone: bool) -> String {
    if gone { "426 the client has gone\r\n".to_owned() } else { "226 every drop\r\n".to_owned() }
}

/// An FTP server whose data connections drip.
fn dripping(session: &mut FtpSession, verb: &str, path: &str) -> Option<String> {
    match verb {
        "SIZE" if path == "x" => Some("213 1000000\r\n".to_owned()),
        "RETR" => Some(ended(drip(&mut session.data(OPENING)?, b'x'))),
        "STOR" => {
            let mut data = session.data(OPENING)?;
            let gone = (0..DROPS).any(|_| {
                thread::sleep(PACE);
                !matches!(data.read(&mut [0]), Ok(1))
            });
            Some(ended(gone))
        }
        _ => None,
    }
}

#[test]
fn the_ftp_clients_give_up_a_server_that_drips() {
    let server = ftp_peer(dripping);
    let (work, url) = (temp_dir(), server.url("x"));
    let done = tool("ftpget").args(LIMITS).arg(&url).dir(work.path()).run();
    done.exits(75).says("slower than 1000 bytes per second");
    assert!(!work.path().join("x").exists());
    // More than the kernel's buffers hold.
    std::fs::write(work.path().join("big"), vec![7; 32 << 20]).unwrap();
    let other = server.url("y");
    tool("ftpput").args(LIMITS).args(["--in-place", "big", &other]).dir(work.path()).run().exits(75);
    // Where only silence counts, the drip is awaited to its end.
    let done = tool("ftpget").args(["--timeout", "0.4", "--min-rate", "0"]).arg(&url).dir(work.path()).run();
    done.exits(75).says("1000000");
}
