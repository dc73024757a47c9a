//! Whom the tools ask, and from where: addresses with zones, resolv.conf, local addresses with ports.

use std::net::UdpSocket;

use crate::dns::data;
use crate::harness::{Server, server, temp_dir, tool};

/// A name server on ::1.
fn on_six() -> Server {
    server("dnsserve").args(["--listen", "[::1]:0"]).arg(data("example.test.zone")).start()
}

/// The loopback interface's zone is 1, and `::1%lo` is `::1` by a longer name.
#[test]
fn zones_stand_wherever_an_address_does() {
    let server = on_six();
    let port = server.port();
    for word in [
        format!("@::1%lo#{port}"),
        format!("@::1%1#{port}"),
        format!("@[::1%lo]:{port}"),
        format!("@udp://[::1%25lo]:{port}"),
        format!("@tcp://[::1%lo]:{port}"),
    ] {
        let done = tool("dnsq").args([&word, "-b", "::1%lo", "--short", "www.example.test"]).run();
        assert_eq!(done.silent_success().text(), "192.0.2.10\n", "{word}");
    }
    let port = port.to_string();
    tool("dnsq").args(["@fe80::1%nosuch0", "-p", &port, "a.test"]).run().exits(75).says("no interface nosuch0");
    tool("dnsq").args(["@::1", "-b", "fe80::1%nosuch0", "a.test"]).run().exits(64).says("no interface nosuch0");
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("tree")).unwrap();
    std::fs::write(dir.path().join("tree/file"), "hello").unwrap();
    let ftp = crate::harness::server("ftpserve").args(["--listen", "[::1%lo]:0", "tree"]).dir(dir.path()).start();
    for host in ["[::1%25lo]", "[::1%lo]", "[::1%1]"] {
        for active in [&[][..], &["-A"]] {
            let url = format!("ftp://{host}:{}/file", ftp.port());
            let done = tool("ftpget").args([&url, "-o", "-", "--bind", "::1%lo"]).args(active).run();
            assert_eq!(done.exits(0).text(), "hello", "{url}");
        }
    }
    std::fs::create_dir_all(dir.path().join("mail/u")).unwrap();
    let smtp = crate::harness::server("smtpserve").args(["--listen", "[::1%lo]:0", "--domain", "a.test"]);
    let smtp = smtp.args(["--mailboxes", "mail"]).dir(dir.path()).start();
    let done = tool("smtpsend").args(["--server", &format!("[::1%25lo]:{}", smtp.port()), "--from", "x@a.test"]);
    done.args(["--to", "u@a.test", "--subject", "s", "--body", "-"]).stdin("x\n").run().exits(0);
}

/// A resolv.conf is asked as it says, or not at all.
#[test]
fn no_other_server_than_resolv_conf_says() {
    let server = on_six();
    let dir = temp_dir();
    let run = |text: &str, args: &[&str]| {
        std::fs::write(dir.path().join("conf"), text).unwrap();
        let port = server.port().to_string();
        let done = tool("dnsq").args(["--resolv-conf", "conf", "-p", &port, "--timeout", "1", "--tries", "1"]);
        done.args(args).stdin("www.example.test\n").dir(dir.path()).run()
    };
    for text in ["nameserver ::1%lo\n", "nameserver fe80::1%nosuch0\nnameserver bad\n nameserver ::1%1 # ours\n"] {
        assert_eq!(run(text, &["--short", "www.example.test"]).silent_success().text(), "192.0.2.10\n", "{text}");
    }
    // Somebody listens on 127.0.0.1 as well, unless another test has the port.
    let tempting = UdpSocket::bind(("127.0.0.1", server.port())).ok();
    for line in ["nameserver fe80::1%nosuch0", "nameserver ns.test", "nameserver", "nameserver 127.0.0.1.1"] {
        for args in [&["www.example.test"][..], &["-f", "-"], &["--json", "--compare", "example.test"]] {
            let done = run(&format!("search a.test\n{line}\n"), args);
            done.exits(78).says(&format!("conf: no usable name server: line 2: {line}"));
        }
    }
    if let Some(tempting) = tempting {
        tempting.set_nonblocking(true).unwrap();
        assert!(tempting.recv(&mut [0; 512]).is_err(), "somebody else was asked");
    }
}

#[test]
fn queries_leave_from_the_port_that_was_chosen() {
    let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = probe.local_addr().unwrap().port();
    drop(probe);
    let seen = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = seen.local_addr().unwrap();
    let peer = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        (0..3)
            .map(|_| {
                let (length, from) = seen.recv_from(&mut buffer).unwrap();
                (buffer[2], buffer[3]) = (buffer[2] | 0x80, 3);
                seen.send_to(&buffer[..length], from).unwrap();
                from
            })
            .collect::<Vec<_>>()
    });
    let from = format!("127.0.0.2#{port}");
    tool("dnsq").args([&format!("@{address}"), "-b", &from, "a.test", "b.test", "c.test"]).run().exits(0);
    let expected = format!("127.0.0.2:{port}").parse().unwrap();
    assert_eq!(peer.join().unwrap(), [expected; 3]);
    for bad in ["127.0.0.1#x", "127.0.0.1#", "nosuch", "127.0.0.1#70000"] {
        tool("dnsq").args(["-b", bad, "a.test"]).run().exits(64);
    }
    tool("dnsq").args([&format!("@{address}"), "-b", &from, "-f", "-"]).stdin("a").run().exits(64).says("-b");
}
