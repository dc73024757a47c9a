//! Our own deadlines: whatever the peer does or leaves undone, a run that ends by `--timeout` or `--max-time` says `timed_out` (75),
//! and what was transferred until then is counted.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::ftp_peer::{FtpSession, OPENING, ftp_peer};
use crate::harness::{Conn, Done, Run, memory_dir, peer, server, temp_dir, tool};

/// Both deadlines; a stalled peer meets the first, one that drips or is slow the second.
const LIMITS: [[&str; 2]; 2] = [["--timeout", "0.3"], ["--max-time", "0.3"]];

#[track_caller]
fn timed_out(what: &str, done: &Done) {
    done.exits(75);
    let kinds: Vec<_> = done.records_of("error").iter().map(|it| it["kind"].clone()).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| kind == "timed_out"), "{what}: {done}");
    assert!(done.records_of("error").iter().all(|it| it.get("code").is_none()), "{what}: {done}");
}

/// An FTP server that says nothing any more from one command on, and that says 426 when a data connection ends early.
fn stalls(session: &mut FtpSession, verb: &str, at: &str) -> Option<String> {
    if verb == at {
        session.conn.until_closed();
        return Some(String::new());
    }
    match verb {
        "SIZE" => Some("213 1000000\r\n".to_owned()),
        "RETR" | "MLSD" | "LIST" | "NLST" => {
            let mut data = session.data(OPENING)?;
            data.write_all(b"type=file;size=1; a\r\n").ok()?;
            gone(&mut data);
            Some("426 you have gone\r\n".to_owned())
        }
        "STOR" => {
            let mut data = session.data(OPENING)?;
            match at {
                "(data)" => session.conn.until_closed(),
                _ => gone(&mut data),
            }
            Some("226 whole\r\n".to_owned())
        }
        _ => None,
    }
}

/// Waits until the other side has closed.
fn gone(stream: &mut TcpStream) {
    let mut rest = [0; 4096];
    while matches!(stream.read(&mut rest), Ok(count) if count > 0) {}
}

#[test]
fn a_stalled_ftp_server_is_timed_out_in_every_phase() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("big"), vec![7; 16_000_000]).unwrap();
    let get: (&str, &[&str]) = ("ftpget", &["U/x", "-o", "x"]);
    let put: (&str, &[&str]) = ("ftpput", &["big", "U/x"]);
    let list: (&str, &[&str]) = ("ftpls", &["U/"]);
    let remove: (&str, &[&str]) = ("ftpdo", &["U/x", "rm"]);
    for (at, tools) in [
        ("USER", &[get, put, list, remove][..]),
        ("PASS", &[get, put, list, remove]),
        ("RETR", &[get]),
        ("(data)", &[get, put, list]),
        ("STOR", &[put]),
        ("RNFR", &[put]),
        ("RNTO", &[put]),
        ("DELE", &[remove]),
    ] {
        for (name, args) in tools {
            for limit in LIMITS {
                let server = ftp_peer(move |session, verb, _| stalls(session, verb, at));
                let args = args.iter().map(|arg| arg.replace('U', server.url("").trim_end_matches('/')));
                let done = tool(name).args(args).args(limit).arg("--json").dir(dir.path()).run();
                timed_out(&format!("{name} at {at} with {limit:?}"), &done);
            }
        }
    }
}

/// The dialogue up to a command, which is not answered.
fn mute_at(mut conn: Conn, at: &str) {
    let usual = [("EHLO", "250 x"), ("LHLO", "250 x"), ("MAIL", "250 ok"), ("RCPT", "250 ok"), ("DATA", "354 go")];
    if at == "greeting" || !conn.send("220 x\r\n") {
        return conn.until_closed();
    }
    while let Some(line) = conn.line() {
        let verb = line.split(' ').next().unwrap_or_default();
        match usual.iter().find(|(known, _)| *known == verb) {
            Some((known, reply)) if *known != at => drop(conn.send(format!("{reply}\r\n"))),
            _ => return conn.until_closed(),
        }
    }
}

#[test]
fn a_stalled_mail_server_is_timed_out_in_every_phase() {
    for at in ["greeting", "EHLO", "MAIL", "RCPT", "DATA"] {
        for limit in LIMITS {
            let server = peer(move |conn| mute_at(conn, at));
            let args = ["--from", "a@a.test", "--to", "b@b.test", "--text", "x", "--json", "--server"];
            let done = tool("smtpsend").args(args).arg(format!("smtp://{}", server.addr)).args(limit).run();
            timed_out(&format!("smtpsend at {at} with {limit:?}"), &done);
            let queue = temp_dir();
            crate::queue::enqueue(queue.path(), &[("a@a.test", &["b@b.test"], "Subject: x\r\n\r\nx\r\n")]);
            let route = format!("*=smtp://{}", server.addr);
            let done = crate::queue::run(queue.path(), &["--route", &route, "--json", limit[0], limit[1]]);
            assert_eq!(done.records_of("attempt")[0]["kind"], "timed_out", "{at} {limit:?}: {done}");
        }
    }
    // After the final dot nobody knows whether the message was taken: that is no deadline's matter.
    let server = crate::queue::Sink::new(|line| {
        (line == ".").then(|| {
            std::thread::park_timeout(std::time::Duration::from_secs(2));
            String::new()
        })
    });
    let args = ["--from", "a@a.test", "--to", "b@b.test", "--text", "x", "--json", "--timeout", "0.3", "--server"];
    let done = tool("smtpsend").args(args).arg(format!("smtp://{}", server.peer.addr)).run();
    assert_eq!(done.exits(3).records_of("error")[0]["kind"], "unknown", "{done}");
}

#[test]
fn a_silent_name_server_is_timed_out_over_every_transport() {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = crate::harness::hanging();
    for (server, extra) in [
        (format!("@{}", udp.local_addr().unwrap()), &[][..]),
        (format!("@{}", tcp.addr), &["--tcp"]),
        (format!("@tls://{}", tcp.addr), &["--insecure"]),
        (format!("@https://{}/dns-query", tcp.addr), &["--insecure"]),
        (format!("@quic://{}", udp.local_addr().unwrap()), &["--insecure"]),
    ] {
        for limit in LIMITS {
            let run = |args: &[&str]| -> Done {
                tool("dnsq").arg(&server).args(args).args(extra).args(["--tries", "1", "--json"]).args(limit).run()
            };
            timed_out(&format!("{server} with {limit:?}"), &run(&["a.test"]));
        }
    }
}

/// A server that sends half a file and then what it likes: the bytes are counted although the file failed.
#[test]
fn what_failed_files_transferred_is_counted() {
    let (served, here) = (memory_dir(), temp_dir());
    std::fs::write(served.path().join("big"), vec![7; 4_000_000]).unwrap();
    std::fs::write(here.path().join("big"), vec![7; 4_000_000]).unwrap();
    std::fs::create_dir(served.path().join("in")).unwrap();
    let ftp = server("ftpserve").arg("--write").arg("--no-sandbox").arg(served.path()).start();
    let url = |path: &str| format!("ftp://{}/{path}", ftp.addr);
    let run = |name: &str, args: &[&str]| -> Run {
        tool(name).args(args).args(["--rate", "1M", "--max-time", "0.8", "--json"]).dir(here.path())
    };
    for done in [run("ftpget", &[&url("big"), "-o", "got"]).run(), run("ftpput", &["big", &url("in/big")]).run()] {
        timed_out("a slow transfer", &done);
        let summary = &done.records_of("summary")[0];
        let bytes = summary["transferred_bytes"].as_u64().unwrap();
        assert!((100_000..4_000_000).contains(&bytes), "{done}");
        assert_eq!((&summary["files"], &summary["failed"]), (&0.into(), &1.into()), "{done}");
    }
}
