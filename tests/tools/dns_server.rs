//! dnsserve's connections: transfers that nobody reads, answers out of order, places for everybody, zones read again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Run, Server, server, temp_dir, tool, udp_peer};

const AXFR: u16 = 252;

fn query(id: u16, name: &str, rtype: u16) -> Vec<u8> {
    let mut wire = id.to_be_bytes().to_vec();
    wire.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        wire.push(label.len() as u8);
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire.extend(rtype.to_be_bytes());
    wire.extend([0, 1]);
    wire
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// A connection whose client takes a few kilobytes before the server has to wait.
fn narrow(to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

fn message(stream: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).map(|()| message)
}

/// A zone of 60,000 addresses and a few more, with this serial.
fn big_zone(dir: &Path, serial: u32) {
    let text = format!(
        "$ORIGIN big.test.\n$TTL 60\n@ SOA ns host {serial} 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n\
         $GENERATE 1-60000 host-number-$ A 192.0.2.1\n"
    );
    std::fs::write(dir.join("big.zone"), text).unwrap();
}

fn big_server(dir: &Path) -> Run {
    big_zone(dir, 1);
    server("dnsserve").args(["--json", "--allow-transfer", "127.0.0.1", "big.zone"]).dir(dir)
}

/// Anonymous memory of the server, in kB.
fn memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim_end_matches(" kB").trim().parse().unwrap()
}

fn asker(server: &Server) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// The serial that the server gives for big.test.
fn serial(socket: &UdpSocket) -> u32 {
    socket.send(&query(7, "big.test", 6)).unwrap();
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer).expect("an answer in time");
    u32::from_be_bytes(answer[length - 20..length - 16].try_into().unwrap())
}

#[test]
fn transfers_that_nobody_reads_cost_nobody_else_anything() {
    let dir = temp_dir();
    let server = big_server(dir.path()).start();
    let (socket, before) = (asker(&server), memory(&server));
    let soa = [&b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16"[..], &[0; 22]].concat();
    let mut ixfr = [&query(8, "big.test", 251)[..], &soa].concat();
    ixfr[9] = 1;
    let clients: Vec<TcpStream> = (0..90)
        .map(|number| {
            let mut stream = narrow(server.addr);
            stream
                .write_all(&framed(&if number % 2 == 0 { query(8, "big.test", AXFR) } else { ixfr.clone() }))
                .unwrap();
            stream
        })
        .collect();
    for _ in 0..200 {
        assert_eq!(serial(&socket), 1);
    }
    // Who reads gets the zone meanwhile.
    let whole = tool("dnsq").args([&format!("@{}", server.addr), "big.test", "AXFR", "--json"]).run();
    assert_eq!(whole.silent_success().records_of("transfer")[0]["records"], 60_004);
    let grown = memory(&server).saturating_sub(before);
    assert!(grown < 20_000, "{grown} kB for 90 transfers");
    // All of them are let go, which the log tells.
    let begun = Instant::now();
    while server.stdout.text().matches("\"complete\":false").count() < clients.len() {
        assert!(begun.elapsed() < Duration::from_secs(40), "{server}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    for mut client in clients {
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(rest.len() < 500_000, "{} bytes", rest.len());
    }
    assert_eq!(serial(&socket), 1);
}

#[test]
fn a_transfer_keeps_the_zone_that_it_began_with() {
    let dir = temp_dir();
    let server = big_server(dir.path()).start();
    let socket = asker(&server);
    let mut stream = narrow(server.addr);
    stream.write_all(&framed(&query(8, "big.test", AXFR))).unwrap();
    let first = message(&mut stream).unwrap();
    big_zone(dir.path(), 2);
    server.signal(Signal::HUP);
    server.stdout.wait_for("\"serial\":2");
    while serial(&socket) != 2 {}
    // A zone that is wrong changes nothing, and is said.
    std::fs::write(dir.path().join("big.zone"), "nonsense\n").unwrap();
    server.signal(Signal::HUP);
    server.stderr.wait_for("big.zone:1: ");
    server.stderr.wait_for("reload: a zone with an error stays as it was");
    assert_eq!(serial(&socket), 2);
    // The question of the same connection is answered between messages of the transfer, by the new zone.
    stream.write_all(&framed(&query(9, "big.test", 6))).unwrap();
    let (mut records, mut soas, mut last) = (0, Vec::new(), first);
    loop {
        let counted = u64::from(u16::from_be_bytes([last[6], last[7]]));
        if last[1] == 9 {
            soas.push(u32::from_be_bytes(last[last.len() - 20..last.len() - 16].try_into().unwrap()));
        } else {
            records += counted;
        }
        if records == 60_004 && !soas.is_empty() {
            break;
        }
        last = message(&mut stream).unwrap_or_else(|error| panic!("{records} records, {soas:?}: {error}"));
    }
    assert_eq!(soas, [2]);
}

#[test]
fn answers_of_one_connection_come_as_they_are_ready() {
    let dir = temp_dir();
    let (release, held) = mpsc::channel::<()>();
    let upstream = udp_peer(move |query| {
        held.recv().unwrap();
        let mut answer = query.to_vec();
        answer[2] |= 0x80;
        vec![answer]
    });
    std::fs::write(dir.path().join("z"), "$ORIGIN z.test.\n$TTL 5\n@ SOA a b 1 2 3 4 5\n@ NS a\na A 192.0.2.1\n")
        .unwrap();
    let server = server("dnsserve").args(["z", "--forward", &upstream.to_string()]).dir(dir.path()).start();
    let mut stream = TcpStream::connect(server.addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let questions: Vec<u8> = [(1, "slow.elsewhere.test"), (2, "a.z.test"), (3, "b.z.test")]
        .iter()
        .flat_map(|(id, name)| framed(&query(*id, name, 1)))
        .collect();
    stream.write_all(&questions).unwrap();
    // No more questions come: what was asked is answered all the same.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut ids = vec![message(&mut stream).unwrap()[1], message(&mut stream).unwrap()[1]];
    // For as long as the upstream may be asked again.
    for _ in 0..10 {
        let _ = release.send(());
    }
    ids.push(message(&mut stream).unwrap()[1]);
    assert_eq!(ids, [2, 3, 1]);
    assert!(message(&mut stream).is_err(), "the end");
}

#[test]
fn silent_clients_make_room() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("z"), "$ORIGIN z.test.\n$TTL 5\n@ SOA a b 1 2 3 4 5\n@ NS a\na A 192.0.2.1\n")
        .unwrap();
    let limits = |all: &str, each: &str| {
        server("dnsserve").args(["z", "--max-clients", all, "--max-per-address", each]).dir(dir.path()).start()
    };
    let server = limits("4", "100");
    let open = || {
        let stream = TcpStream::connect(server.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    };
    let silent: Vec<TcpStream> = (0..8).map(|_| open()).collect();
    let mut honest = open();
    honest.write_all(&framed(&query(1, "a.z.test", 1))).unwrap();
    assert_eq!(message(&mut honest).expect("an answer while others are silent")[1], 1);
    drop(silent);
    // One address has its places, and no more.
    let server = limits("100", "2");
    let open = || {
        let stream = TcpStream::connect(server.addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    };
    let mut held = [open(), open()];
    for stream in &mut held {
        stream.write_all(&framed(&query(1, "a.z.test", 1))).unwrap();
        message(stream).unwrap();
    }
    let mut third = open();
    assert!(!matches!(third.read(&mut [0; 1]), Ok(1..)), "closed");
}

/// Whoever has the key transfers the zone, and every answer under it is signed; nobody else does.
#[test]
fn transfers_under_a_key() {
    let dir = temp_dir();
    big_zone(dir.path(), 1);
    let key = |name: &str, secret: &str| {
        let text = format!("key \"k.test\" {{ algorithm hmac-sha512; secret \"{secret}\"; }};");
        std::fs::write(dir.path().join(name), text).unwrap();
        std::fs::set_permissions(dir.path().join(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    key("key", "c2VjcmV0");
    key("wrong", "YW5vdGhlcg==");
    let server = server("dnsserve").args(["-k", "key", "big.zone"]).dir(dir.path()).start();
    let ask = |args: &[&str]| tool("dnsq").arg(format!("@{}", server.addr)).args(args).dir(dir.path()).run();
    let whole = ask(&["-k", "key", "big.test", "AXFR", "--json"]);
    assert_eq!(whole.silent_success().records_of("transfer")[0]["records"], 60_004);
    ask(&["-k", "key", "ns.big.test", "--short"]).silent_success().prints("192.0.2.1");
    ask(&["-k", "key", "ns.big.test", "--short", "--tcp"]).silent_success().prints("192.0.2.1");
    ask(&["-k", "wrong", "big.test", "AXFR"]).exits(77).says("TSIG");
    ask(&["-k", "wrong", "ns.big.test"]).exits(77).says("TSIG");
    ask(&["big.test", "AXFR"]).exits(69).says("REFUSED");
}

#[test]
fn an_address_that_is_taken_is_73() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("z"), "$ORIGIN z.test.\n$TTL 5\n@ SOA a b 1 2 3 4 5\n").unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (name, taken) in [
        ("dnsserve", tcp.local_addr().unwrap()),
        ("dnsserve", udp.local_addr().unwrap()),
        ("ftpserve", tcp.local_addr().unwrap()),
        ("smtpserve", tcp.local_addr().unwrap()),
    ] {
        let rest: &[&str] = match name {
            "dnsserve" => &["z"],
            "ftpserve" => &["."],
            _ => &["--domain", "a.test", "--mailboxes", "."],
        };
        let done = tool(name).args(["--listen", &taken.to_string()]).args(rest).dir(dir.path()).run();
        done.exits(73).says("Address already in use");
    }
}

/// With several addresses the kernel's choice is another than the client's, who hears nobody but whom he asked.
#[test]
fn a_wildcard_server_answers_from_the_address_that_was_asked() {
    let dir = temp_dir();
    std::fs::write(
        dir.path().join("zone"),
        "$ORIGIN a.test.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n",
    )
    .unwrap();
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let server = server("dnsserve").args(["--listen", listen, "zone"]).dir(dir.path()).start();
        for asked in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
            let at = format!("@{asked}:{}", server.port());
            tool("dnsq").args([&at, "--short", "ns.a.test", "A"]).run().exits(0).prints("192.0.2.1");
        }
    }
    if !rustix::process::geteuid().is_root() {
        return eprintln!("IPv6 skipped: not root");
    }
    let script = "ip link set lo up && ip addr add ::2/128 dev lo && ip addr add 192.0.2.7/32 dev lo || exit 99
        \"$0\" --listen [::]:53 --address-file url zone & server=$!
        while [ ! -s url ] && kill -0 $server; do sleep 0.02; done
        for address in ::1 ::2 192.0.2.7 127.0.0.2; do \"$1\" @$address --short ns.a.test A || exit 1; done
        kill $server && wait $server";
    let mut command = std::process::Command::new("unshare");
    command
        .args(["--net", "sh", "-c", script])
        .arg(crate::harness::binary("dnsserve"))
        .arg(crate::harness::binary("dnsq"));
    command.current_dir(dir.path()).stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    crate::harness::stay_root(&mut command);
    let done = crate::harness::finish(command, "unshare --net".to_owned(), None, crate::harness::LIMIT);
    assert_eq!(done.exits(0).text().matches("192.0.2.1\n").count(), 4, "{done}");
}
