//! Servers whose words end after any byte: a clear error in the words of users (the harness looks at each), and never an
//! answer.

use std::io::Read;

use crate::harness::{Done, peer, tool};

/// What Rust's library says of its errors, and a user must never read: no tool prints it in any test.
const PHRASES_OF_THE_LIBRARY: &[&str] = &[
    "failed to fill whole buffer",
    "unexpected end of file",
    "early eof",
    "failed to write whole buffer",
    "did not contain valid",
    "invalid utf-8 sequence",
    "found in string",
    "float literal",
    "from empty string",
    "to fit in target type",
    "address syntax",
    "deadline has elapsed",
    "(os error",
    "channel closed",
    "called `",
];

/// What every run of a tool in these tests is asked.
#[track_caller]
pub(crate) fn says_nothing_of_the_library(done: &Done) {
    for phrase in PHRASES_OF_THE_LIBRARY {
        assert!(!done.stderr.contains(phrase), "{phrase:?} is not for users\n{done}");
    }
}

/// dnsq over TCP, and a transfer: the answer ends after each of its bytes.
#[test]
fn dns_over_a_stream_that_ends() {
    for (words, records) in [(&["a.test", "A"][..], 1usize), (&["a.test", "AXFR"], 2)] {
        let frame = move |query: &[u8]| {
            let question = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let mut answer = query[..question].to_vec();
            answer[2] |= 0x84;
            answer[6..12].copy_from_slice(&[0, records as u8, 0, 0, 0, 0]);
            for _ in 0..records {
                answer.extend(b"\xc0\x0c\0\x06\0\x01\0\0\0\x3c\0\x16\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
            }
            [&(answer.len() as u16).to_be_bytes()[..], &answer].concat()
        };
        let whole = frame(&[&[0; 5][..], &[1], &[0; 6], b"\x01a\x04test\0\0\x01\0\x01"].concat()).len();
        for length in (0..whole).step_by(5) {
            let server = peer(move |mut conn| {
                let mut head = [0; 2];
                if conn.stream().read_exact(&mut head).is_ok() {
                    let mut query = vec![0; usize::from(u16::from_be_bytes(head))];
                    conn.stream().read_exact(&mut query).unwrap();
                    conn.send(&frame(&query)[..length]);
                }
            });
            let done =
                tool("dnsq").arg(format!("@tcp://{}", server.addr)).args(["-v", "--tries", "1"]).args(words).run();
            assert!(matches!(done.status, 75 | 76), "{length} bytes: {done}");
            assert!(!done.text().contains("IN"), "{length} bytes: {done}");
        }
    }
}

/// Greetings and replies that end after any byte, to every client, in plain text and where TLS is expected.
#[test]
fn dialogues_that_end() {
    const FTP: &[u8] = b"220 hi\r\n230 in\r\n215 UNIX\r\n211-x\r\n MLST\r\n211 end\r\n200 ok\r\n200 ok\r\n257 \"/\"\r\n229 (|||1|)\r\n";
    const SMTP: &[u8] = b"220 a.test\r\n250-a.test\r\n250 SIZE 9\r\n250 ok\r\n250 ok\r\n354 go\r\n";
    const TLS: &[u8] =
        b"\x16\x03\x03\0\x3a\x02\0\0\x36\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0\x13\x01\0\0\x0e\0\x2b\0\x02\x03\x04";
    for (said, step) in [(FTP, 7), (SMTP, 5), (TLS, 13)] {
        for length in (0..said.len()).step_by(step) {
            let server = peer(move |mut conn| {
                conn.send(&said[..length]);
            });
            let at = server.addr;
            let mail = |scheme: &str| {
                format!("smtpsend --server {scheme}://{at} --from a@a.test --to b@b.test --subject s --body -")
            };
            let runs = match said {
                FTP => vec![format!("ftpls ftp://{at}/"), format!("ftpget ftp://{at}/x -o -")],
                SMTP => vec![mail("smtp") + " --tls none"],
                _ => vec![
                    format!("ftpls ftps://{at}/"),
                    mail("smtps"),
                    format!("dnsq @tls://{at} a.test"),
                    format!("dnsq @https://{at} a.test"),
                    format!("dnsq @tls://{at} a.test AXFR"),
                ],
            };
            for run in runs {
                let words: Vec<&str> = run.split(' ').collect();
                let done = tool(words[0]).args(&words[1..]).arg("-v").stdin("x\n").run();
                assert!(matches!(done.status, 3 | 69 | 75 | 76), "{length} bytes: {done}");
            }
        }
    }
}

/// Arguments that no parser takes.
#[test]
fn arguments_that_are_none() {
    for words in [
        &["dnsq", "-p", "x", "a"][..],
        &["dnsq", "-p", "70000", "a"],
        &["dnsq", "-x", "300.1.1.1"],
        &["dnsq", "-b", "x", "a"],
        &["dnsq", "--bufsize", "", "a"],
        &["ftpls", "--bind", "1.2.3", "ftp://127.0.0.1/"],
        &["smtpsend", "--timeout", "soon"],
        &["dnsserve", "--listen", "nowhere"],
        &["mailq-run", "--resolver", "x"],
    ] {
        tool(words[0]).args(&words[1..]).run().exits(64);
    }
}
