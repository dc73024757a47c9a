//! What smtpserve demands of clients that it does not know, and whom it takes a proxied client for.

use std::io::{BufReader, Write};
use std::net::TcpStream;

use crate::harness::LIMIT;
use crate::smtp::{Talk, bob, done, mailboxes};

#[test]
fn early_talkers_are_refused() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &["--greet-pause", "1h"]);
    let mut early = TcpStream::connect(server.addr).unwrap();
    early.write_all(b"EHLO a\r\n").unwrap();
    early.set_read_timeout(Some(LIMIT)).unwrap();
    let mut early = Talk(BufReader::new(early));
    assert!(early.reply().starts_with("554 5.5.1 you spoke before"));
    assert_eq!(early.reply(), "");
    let patient = bob(directory.path(), &["--greet-pause", "100ms"]);
    Talk::to(patient.addr).says("EHLO a", "250");
}

#[test]
fn names_of_our_own_and_bare_addresses_are_refused_by_flag() {
    let directory = mailboxes(&["bob"]);
    let refuses = |args: &[&str], name: &str, expected: &str| {
        let server = bob(directory.path(), args);
        let mut talk = Talk::to(server.addr);
        talk.says(&format!("EHLO {name}"), "250");
        talk.says("MAIL FROM:<a@a.test>", expected);
    };
    let both = ["--reject-helo", "own,literal"];
    refuses(&both, "Bob.Test.", "550 5.7.1 your name");
    refuses(&both, "localhost", "550 5.7.1 your name");
    refuses(&both, "192.0.2.1", "550 5.7.1 an address");
    refuses(&both, "[192.0.2.1]", "250");
    refuses(&both, "alice.test", "250");
    refuses(&[], "bob.test", "250");
    refuses(&["--reject-helo", "own", "--relay-from", "127.0.0.1"], "bob.test", "250");
}

#[test]
fn a_proxy_names_the_client() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &["--proxy-from", "127.0.0.0/8", "--relay-from", "192.0.2.0/24"]);
    let connect = |header: &[u8]| {
        let mut stream = TcpStream::connect(server.addr).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(header).unwrap();
        Talk(BufReader::new(stream))
    };
    let header = |last: u8| {
        let address = [192, 0, 2, last, 127, 0, 0, 1, 4, 5, 0, 25];
        [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &address].concat()
    };
    let mut talk = connect(&header(7));
    assert!(talk.reply().starts_with("220"));
    talk.says("EHLO a", "250");
    talk.says("MAIL FROM:<a@a.test>", "250");
    talk.says("RCPT TO:<far@far.test>", "250 2.1.5 recipient ok, will be relayed");
    talk.says("QUIT", "221");
    let done = done(&server, "\"session\",");
    assert_eq!(done.records_of("session")[0]["ip"], "192.0.2.7");
    // A client that sends no header cannot pass for the proxy.
    assert_eq!(connect(b"EHLO a\r\nMAIL FROM:<a@a.test>\r\n").reply(), "");
}

#[test]
fn the_number_of_recipients_is_offered() {
    let directory = mailboxes(&["bob"]);
    let server = bob(directory.path(), &["--max-recipients", "1"]);
    let mut talk = Talk::to(server.addr);
    talk.send("EHLO a\r\n");
    let mut offers = Vec::new();
    while offers.last().is_none_or(|line: &String| line.as_bytes()[3] == b'-') {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut talk.0, &mut line).unwrap();
        offers.push(line);
    }
    assert!(offers.iter().any(|line| line.trim_end().ends_with("LIMITS RCPTMAX=1")), "{offers:?}");
    talk.says("MAIL FROM:<a@a.test>", "250");
    talk.says("RCPT TO:<bob@bob.test>", "250");
    talk.says("RCPT TO:<bob@bob.test>", "452");
}
