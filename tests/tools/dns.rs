//! dnsq and dnsserve.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};

use crate::harness::{Done, Server, refusing, server, temp_dir, tool, udp_peer};

pub(crate) fn data(name: &str) -> String {
    format!("{}/tests/data/dns/{name}", env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn example() -> Server {
    server("dnsserve").arg(data("example.test.zone")).arg(data("other.test.zone")).start()
}

fn ask(server: &Server, args: &[&str]) -> Done {
    tool("dnsq").arg(format!("@{}", server.addr)).args(args).run()
}

#[test]
fn short_full_and_json() {
    let server = example();
    assert!(server.url.starts_with("dns://127.0.0.1:"), "{}", server.url);
    let done = ask(&server, &["--short", "example.test", "MX", "A"]);
    assert_eq!(done.exits(0).text(), "10 mail.example.test.\n");
    let full = ask(&server, &["example.test", "MX"]);
    full.silent_success()
        .prints(";; ->>HEADER<<- opcode: QUERY, status: NOERROR")
        .prints("\nexample.test.\t\t3600\tIN\tMX\t10 mail.example.test.\n")
        .prints("\nmail.example.test.\t3600\tIN\tA\t192.0.2.25\n")
        .prints(&format!(";; SERVER: 127.0.0.1#{}(127.0.0.1) (UDP)", server.port()));
    let json = ask(&server, &["--json", "example.test", "MX", "TXT", "nothere.example.test"]);
    json.silent_success();
    let records = json.records();
    assert_eq!(records.len(), 3);
    assert_eq!(records[0]["answers"][0]["data"]["exchange"], "mail.example.test.");
    assert_eq!(records[1]["answers"][0]["rdata"], "\"v=spf1 mx -all\"");
    assert_eq!(records[2]["status"], "NXDOMAIN");
    let by_url = tool("dnsq").arg(format!("@{}", server.url)).args(["--short", "www.example.test"]).run();
    assert_eq!(by_url.silent_success().text(), "192.0.2.10\n");
}

#[test]
fn a_servers_url_fixes_its_transport() {
    let server = example();
    for (scheme, transport) in [("udp", "udp"), ("dns", "udp"), ("tcp", "tcp")] {
        let done =
            tool("dnsq").arg(format!("@{scheme}://{}", server.addr)).args(["--json", "example.test", "MX"]).run();
        assert_eq!(done.silent_success().records()[0]["transport"], transport, "{scheme}");
    }
}

#[test]
fn exit_says_what_the_answer_was() {
    let server = example();
    for (args, status) in [
        (&["www.example.test"][..], 0),
        (&["alias.example.test"], 0),
        (&["away.example.test"], 0),
        (&["nothere.example.test"], 1),
        (&["www.example.test", "MX"], 1),
        (&["dangling.example.test"], 1),
        (&["www.example.test", "nothere.example.test"], 0),
        (&["elsewhere.example"], 69),
        (&["www.example.test", "elsewhere.example"], 69),
        (&["www.example.test", "+nosuch"], 64),
        (&["big.example.test", "TXT"], 0),
        (&["big.example.test", "TXT", "--tcp"], 0),
        (&["--ignore-truncation", "big.example.test", "TXT"], 75),
    ] {
        ask(&server, &[args, &["--short"]].concat()).exits(status);
    }
    let over_tcp = ask(&server, &["big.example.test", "TXT", "--json"]).records();
    assert_eq!(
        (over_tcp[0]["transport"].as_str(), over_tcp[0]["answers"].as_array().unwrap().len()),
        (Some("tcp"), 20)
    );
}

#[test]
fn servers_that_fail() {
    let dead = refusing();
    let silent = udp_peer(|_| Vec::new());
    let answer_with = |rcode: u8| {
        udp_peer(move |query| {
            let mut answer = query.to_vec();
            (answer[2], answer[3]) = (answer[2] | 0x80, rcode);
            vec![answer]
        })
    };
    let good = example();
    let run = |servers: &[std::net::SocketAddr], extra: &[&str]| {
        let servers = servers.iter().map(|addr| format!("@{addr}"));
        tool("dnsq")
            .args(servers)
            .args(["--short", "--timeout", "0.3", "--tries", "2", "www.example.test"])
            .args(extra)
            .run()
    };
    run(&[dead.addr], &[]).exits(75);
    run(&[silent], &[]).exits(75).says("no answer in time");
    run(&[answer_with(2)], &[]).exits(75).says("SERVFAIL");
    run(&[answer_with(5)], &[]).exits(69).says("REFUSED");
    run(&[answer_with(4)], &[]).exits(69).says("NOTIMP");
    let json = run(&[answer_with(5)], &["--json"]);
    assert_eq!(json.records_of("error")[0]["code"], 5);
    let garbage = udp_peer(|query| vec![[&query[..2], &[0x80, 0, 0xff, 0xff]].concat()]);
    run(&[garbage], &[]).exits(76);
    // Failover: the last server answers.
    for first in [silent, answer_with(2), answer_with(5), garbage, dead.addr] {
        assert_eq!(run(&[first, good.addr], &[]).exits(0).text(), "192.0.2.10\n");
    }
    assert_eq!(run(&[silent, good.addr], &["--race"]).exits(0).text(), "192.0.2.10\n");
    run(&[answer_with(2), good.addr], &["--no-failover"]).exits(75);
}

#[test]
fn strangers_answers_are_waited_past() {
    let peer = udp_peer(|query| {
        let answer = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut answer = query.to_vec();
            answer[2] |= 0x80;
            change(&mut answer);
            answer
        };
        vec![answer(&|a| a[0] ^= 1), answer(&|a| a[13] ^= 1), answer(&|a| a[2] &= 0x7f), answer(&|a| a[3] = 3)]
    });
    let done = tool("dnsq").arg(format!("@{peer}")).args(["--json", "abc.test"]).run();
    let record = &done.exits(1).records()[0];
    assert_eq!((record["status"].as_str(), record["mismatches"].as_u64()), (Some("NXDOMAIN"), Some(3)));
}

#[test]
fn what_a_server_sends_is_escaped() {
    // TXT "\033[31m" "\n" at a name with a BEL.
    let peer = udp_peer(|query| {
        let end = query.len() - 11;
        let mut answer = query[..end].to_vec();
        answer[2] |= 0x80;
        answer[7] = 1;
        answer[11] = 0;
        answer.extend(b"\x03a\x07b\x00\x00\x10\x00\x01\x00\x00\x00\x05\x00\x08\x05\x1b[31m\x01\n");
        vec![answer]
    });
    for args in [&["--short"][..], &["--json"], &["--json-rfc8427"], &[]] {
        let done = tool("dnsq").arg(format!("@{peer}")).args(["x.test", "TXT"]).args(args).run();
        done.silent_success().prints("\\");
        assert!(!done.text().contains(['\u{1b}', '\u{7}']), "{done}");
    }
}

#[test]
fn zone_files_that_are_wrong() {
    let dir = temp_dir();
    let serve = |text: &str, args: &[&str]| {
        std::fs::write(dir.path().join("z"), text).unwrap();
        tool("dnsserve").args(args).dir(dir.path()).run()
    };
    serve("$TTL 1\n@ SOA a b 1 2 3 4 5\n", &["z"]).exits(65).says("z:2: ").says("$ORIGIN sets one");
    serve("$ORIGIN a.\n$TTL 1\n@ SOA a b 1 2 3 4 5\nx A 1.2.3\n", &["z"])
        .exits(65)
        .says("z:4: A record of x.a.: address: bad address");
    serve("$INCLUDE none\n", &["z"]).exits(65).says("z:1: ").says("none");
    serve("$ORIGIN a.\n$TTL 1\n@ SOA a b 1 2 3 4 5\n", &["z", "z"]).exits(65).says("read already");
    serve("", &["--zone", "nonsense"]).exits(64);
    let good = serve("$TTL 1\n@ SOA a b 7 2 3 4 5\n@ NS a.\n", &["--check", "--strict", "--zone", "b.test=z"]);
    assert_eq!(good.silent_success().text(), "b.test.\t7\t2\n");
    let bad = "$TTL 1\n@ SOA a b 1 2 3 4 5\nx A 1.2.3\ny TXT \"a\nz MX mx\n@ NS a\n( x\n";
    serve(bad, &["--check", "--zone", "b.test=z"]).exits(65).says("z:3: ").says("z:4: ").says("z:5: ").says("z:7: ");
}

/// `--check` warns, and `--strict` makes that an error; with `--json` both are records.
#[test]
fn zone_files_that_are_odd() {
    let dir = temp_dir();
    let path = dir.path();
    std::fs::write(path.join("odd"), "$TTL 1\n@ SOA a b 7 2 3 4 5\n@ MX 10 mx\n").unwrap();
    std::fs::write(path.join("bad"), "$TTL 1\n@ SOA a b 7 2 3 4 5\n@ NS\n").unwrap();
    let serve = |args: &[&str]| tool("dnsserve").args(args).dir(path).run();
    let odd = serve(&["--check", "--json", "--zone", "b.test=odd"]);
    odd.exits(0).says("warning: odd: b.test.: no NS record").says("MX record names mx.b.test., which has no address");
    let records = odd.records();
    assert_eq!((records[0]["check"].as_str(), records[2]["warnings"].as_u64()), (Some("no-ns"), Some(2)));
    serve(&["--check", "--strict", "--zone", "b.test=odd"]).exits(65).says("2 warnings (--strict)");
    let both = serve(&["--check", "--json", "--zone", "c.test=bad", "--zone", "b.test=odd", "--zone", "d.test=none"]);
    both.exits(65).says("bad:3: ").says("none: ");
    assert_eq!(both.records_of("error").len(), 2);
    assert_eq!(both.records_of("zone")[0]["zone"], "b.test.");
}

/// One broken zone of several: the others are served, and nobody is told that its names do not exist.
#[test]
fn a_broken_zone_among_others() {
    let dir = temp_dir();
    let whole = "$TTL 1\n$ORIGIN e.test.\n@ SOA a b 7 2 3 4 5\n@ NS a.\nwww A 192.0.2.1\nto CNAME x.sub\n";
    std::fs::write(dir.path().join("e"), whole).unwrap();
    std::fs::write(dir.path().join("sub"), "$TTL 1\n$ORIGIN sub.e.test.\n@ SOA a b 7 2 3 4 5\nx A 1.2.3\n").unwrap();
    let args = ["--listen", "127.0.0.1:0", "--allow-transfer", "127.0.0.1", "e", "sub"];
    tool("dnsserve").args(["--strict"]).args(args).dir(dir.path()).run().exits(65).says("sub:4: ");
    tool("dnsserve").args(["sub"]).dir(dir.path()).run().exits(65);
    let server = server("dnsserve").args(args).dir(dir.path()).start();
    assert_eq!(ask(&server, &["--short", "www.e.test"]).exits(0).text(), "192.0.2.1\n");
    ask(&server, &["x.sub.e.test"]).exits(75).says("SERVFAIL");
    ask(&server, &["sub.e.test", "AXFR"]).exits(69);
    // The alias is told; what it leads to is not denied.
    let alias = ask(&server, &["--json", "to.e.test"]).records();
    assert_ne!(alias[0]["status"], "NXDOMAIN", "{alias:?}");
}

/// What a zone file of strangers may make us read and build.
#[test]
fn zone_files_that_want_too_much() {
    let dir = temp_dir();
    let path = dir.path();
    std::process::Command::new("mkfifo").arg(path.join("fifo")).status().unwrap();
    std::fs::create_dir(path.join("deep")).unwrap();
    std::fs::write(path.join("twice"), format!("{}\n{}", ";".repeat(300_000), "$INCLUDE twice\n".repeat(100))).unwrap();
    std::fs::write(path.join("deep/one"), "one A 192.0.2.1\n$INCLUDE two\n").unwrap();
    std::fs::write(path.join("deep/two"), "two A 192.0.2.2\n").unwrap();
    let head = "$TTL 1\n@ SOA a b 7 2 3 4 5\n@ NS a.\n";
    let check = |text: &str, args: &[&str]| {
        std::fs::write(path.join("z"), format!("{head}{text}")).unwrap();
        tool("dnsserve").args(["--check", "--zone", "b.test=z"]).args(args).dir(path).run()
    };
    check("$INCLUDE /dev/zero\n", &[]).exits(65).says("z:4: ").says("not a regular file");
    check("$INCLUDE fifo\n", &[]).exits(65).says("not a regular file");
    check("$INCLUDE deep\n", &[]).exits(65).says("not a regular file");
    check("$INCLUDE twice\n", &["--max-zone-size", "1M"]).exits(65).says("larger than is allowed");
    check("$INCLUDE deep/one\n", &["--no-include"]).exits(65).says("--no-include");
    assert_eq!(check("$INCLUDE deep/one\n", &[]).silent_success().text(), "b.test.\t7\t4\n");
    let bomb = "$GENERATE 0-4294967294 x$ A 192.0.2.1\n".repeat(300);
    check(&bomb, &["--max-generate", "1000"]).exits(65).says("z:4: ").says("z:303: ").says("than are allowed");
    let done = check("$GENERATE 0-69999 x$ A 192.0.2.1\n", &[]);
    assert_eq!(done.silent_success().text(), "b.test.\t7\t70002\n", "more than 65,536");
    check("$GENERATE 0-69999 x$ A 192.0.2.1\n", &["--max-records", "60000"]).exits(65).says("more records");
    tool("dnsserve").args(["--check", "/dev/zero", "--max-zone-size", "1M"]).run().exits(65).says("larger than");
}

#[test]
fn a_query_log_in_json() {
    let server = server("dnsserve").args(["--json", "--listen", "127.0.0.1:0"]).arg(data("other.test.zone")).start();
    ask(&server, &["--short", "www.other.test"]).exits(0);
    ask(&server, &["--short", "www.other.test", "AXFR", "--tcp"]).exits(69);
    ask(&server, &["--short", "www.other.test", "MX", "+dnssec", "+cdflag", "+norecurse"]).exits(1);
    server.stdout.wait_for("\"MX\"");
    let stdout = server.stdout.text();
    let status = server.stop();
    let mut lines: Vec<serde_json::Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.retain(|line| line["type"] != "session");
    assert_eq!((status, lines[0]["type"].as_str()), (0, Some("listening")));
    assert_eq!((lines[1]["name"].as_str(), lines[1]["status"].as_str()), (Some("www.other.test."), Some("NOERROR")));
    assert_eq!((lines[2]["qtype"].as_str(), lines[2]["status"].as_str()), (Some("AXFR"), Some("REFUSED")));
    assert_eq!((lines[1]["transport"].as_str(), lines[2]["transport"].as_str()), (Some("udp"), Some("tcp")));
    for (line, flags, dnssec_ok) in [(&lines[1], vec!["rd", "ad"], false), (&lines[3], vec!["ad", "cd"], true)] {
        assert_eq!((&line["flags"], &line["edns"]["dnssec_ok"]), (&flags.into(), &dnssec_ok.into()), "{line}");
        assert_eq!(
            (&line["qclass"], &line["opcode"], &line["server"]),
            (&"IN".into(), &"QUERY".into(), &lines[0]["url"].as_str().unwrap()[6..].into())
        );
        assert!(
            line["at"].as_str().unwrap().ends_with('Z') && line["client"].as_str().unwrap().starts_with("127.0.0.1:")
        );
    }
}

#[test]
fn a_server_takes_pipelined_and_broken_connections() {
    let server = example();
    let query = |id: u8, name: &[u8]| {
        let mut wire = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        wire.extend_from_slice(name);
        wire.extend([0, 0, 1, 0, 1]);
        [&(wire.len() as u16).to_be_bytes()[..], &wire].concat()
    };
    let name = b"\x03www\x07example\x04test";
    let mut stream = TcpStream::connect(server.addr).unwrap();
    stream.write_all(&[query(1, name), query(2, name), query(3, b"\x04none")].concat()).unwrap();
    let mut got = Vec::new();
    for _ in 0..3 {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).unwrap();
        got.push((answer[1], answer[3] & 15));
    }
    assert_eq!(got, [(1, 0), (2, 0), (3, 5)]);
    for broken in [&b""[..], b"\x00", b"\x00\x05ab", b"\x00\x00", b"\xff\xff"] {
        TcpStream::connect(server.addr).unwrap().write_all(broken).unwrap();
    }
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    for junk in [&b""[..], b"x", &[0xff; 12], &[0; 600]] {
        udp.send_to(junk, server.addr).unwrap();
    }
    ask(&server, &["--short", "www.example.test"]).silent_success();
}

#[test]
fn forwarding_hands_other_names_on() {
    let upstream = example();
    let server = server("dnsserve")
        .args(["--listen", "127.0.0.1:0", "--forward", &upstream.addr.to_string()])
        .arg(data("other.test.zone"))
        .start();
    assert_eq!(ask(&server, &["--short", "www.example.test"]).exits(0).text(), "192.0.2.10\n");
    assert_eq!(ask(&server, &["--short", "big.example.test", "TXT"]).exits(0).text().lines().count(), 20);
    ask(&server, &["--short", "www.example.test", "--no-recurse"]).exits(69);
    ask(&server, &["--short", "nothere.example.test"]).exits(1);
}

/// RFC 1995, section 2: the SOA alone for a client whose version is the same or newer, in the order of RFC 1982.
#[test]
fn an_incremental_transfer_depends_on_the_clients_serial() {
    let server = server("dnsserve")
        .args(["--listen", "127.0.0.1:0", "--allow-transfer", "127.0.0.1"])
        .arg(data("other.test.zone"))
        .start();
    const HALF: u32 = 1 << 31;
    const WHOLE: u32 = 5;
    for (serial, records, why) in [
        (0, WHOLE, "older"),
        (1, 1, "the same"),
        (2, 1, "newer"),
        (HALF, 1, "the newest that is newer"),
        (HALF + 1, WHOLE, "neither older nor newer"),
        (HALF + 2, WHOLE, "the oldest that is older"),
        (u32::MAX, WHOLE, "older, before it went round"),
    ] {
        let done = ask(&server, &["--json", "other.test", &format!("IXFR={serial}")]);
        assert_eq!(done.silent_success().records_of("transfer")[0]["records"], records, "{serial}: {why}");
    }
    // Without the client's SOA record, or with that of another zone, the query is malformed (section 3).
    let question = b"\x05other\x04test\x00\x00\xfb\x00\x01";
    let soa = [&b"\x01x\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x16"[..], &[0; 22]].concat();
    for (authority, records) in [(0, &[][..]), (1, &soa)] {
        let header = [0, 7, 0, 0, 0, 1, 0, 0, 0, authority, 0, 0];
        let query = [&header[..], question, records].concat();
        let mut stream = TcpStream::connect(server.addr).unwrap();
        stream.write_all(&[&(query.len() as u16).to_be_bytes()[..], &query].concat()).unwrap();
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!((&answer[2..4], answer[5] & 15), (&[0, 7][..], 1), "FORMERR with {authority} SOA records");
    }
}

#[test]
fn transfers_are_whole_or_not_there() {
    let dir = temp_dir();
    let server = server("dnsserve")
        .args(["--listen", "127.0.0.1:0", "--allow-transfer", "127.0.0.1"])
        .arg(data("example.test.zone"))
        .arg(data("other.test.zone"))
        .start();
    let text = ask(&server, &["other.test", "AXFR", "+nostats"]);
    let lines: Vec<&str> = text.silent_success().text().lines().collect();
    assert_eq!((lines.len(), lines[0]), (5, lines[4]), "{text}");
    let json = ask(&server, &["--json", "example.test", "AXFR"]);
    assert_eq!(json.records_of("transfer")[0]["records"], json.records_of("record").len());
    ask(&server, &["+nostats", "other.test", "IXFR=1"]).silent_success().prints("SOA");
    ask(&server, &["elsewhere.test", "AXFR"]).exits(69).says("NOTAUTH");
    // What was transferred can be served again.
    let file = dir.path().join("copy.zone");
    let path = file.to_str().unwrap();
    ask(&server, &["example.test", "AXFR", "-o", path]).silent_success();
    let again = tool("dnsserve").args(["--check", path]).run();
    assert_eq!(again.silent_success().text(), "example.test.\t2026112301\t44\n");

    // A server that hangs up in the middle leaves no file.
    let cut = crate::harness::peer(|mut conn| {
        let mut length = [0; 2];
        let stream = conn.stream();
        stream.read_exact(&mut length).unwrap();
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query).unwrap();
        query[2] |= 0x84;
        query[7] = 1;
        query.extend(b"\xc0\x0c\0\x06\0\x01\0\0\0\x05\0\x16\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05");
        conn.send([&(query.len() as u16).to_be_bytes()[..], &query, b"\x05"].concat());
    });
    let target = dir.path().join("cut.zone");
    let done =
        tool("dnsq").arg(format!("@{}", cut.addr)).args(["a.test", "AXFR", "-o", target.to_str().unwrap()]).run();
    done.exits(75).says("cut short after 1 records");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["copy.zone"], "{done}");
}

#[test]
fn formats_and_international_names() {
    let dir = temp_dir();
    let zone = "$ORIGIN xn--bcher-kva.test.\n$TTL 5\n@ SOA a b 1 2 3 4 5\n@ MX 10 mail\nmail A 192.0.2.1\n";
    std::fs::write(dir.path().join("z"), zone).unwrap();
    let server = server("dnsserve").args(["--listen", "127.0.0.1:0", "z"]).dir(dir.path()).start();
    let line = ask(&server, &["b\u{fc}cher.test", "MX", "--format", "{preference}\\t{exchange} {{{ttl}}} {qtype}"]);
    assert_eq!(line.silent_success().text(), "10\tmail.xn--bcher-kva.test. {5} MX\n");
    let own = ask(&server, &["b\u{fc}cher.test", "MX", "--short", "--idn"]);
    assert_eq!(own.silent_success().text(), "10 mail.b\u{fc}cher.test.\n");
    ask(&server, &["x.test", "--format", "{nosuch}"]).exits(64).says("no field {nosuch}");
}

#[test]
fn unsigned_answers_to_signed_queries_do_not_count() {
    let server = example();
    let signed = ["-q", "-y", "k:c2VjcmV0", "--timeout", "0.2", "--tries", "1", "www.example.test", "--short"];
    ask(&server, &signed).exits(77).says("TSIG: the server says BADKEY");
    let unsigned = udp_peer(|query| vec![[&query[..2], &[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0], &query[12..34]].concat()]);
    tool("dnsq").arg(format!("@{unsigned}")).args(signed).run().exits(77).says("TSIG: the answer is not signed");
    ask(&server, &["-y", "nonsense", "www.example.test"]).exits(64);
}

#[test]
fn names_as_the_system_sees_them() {
    let dir = temp_dir();
    let zone =
        "$ORIGIN corp.test.\n$TTL 5\n@ SOA a b 1 2 3 4 5\nweb A 192.0.2.1\na.b A 192.0.2.2\nshadowed A 192.0.2.3\n";
    std::fs::write(dir.path().join("z"), zone).unwrap();
    std::fs::write(dir.path().join("hosts"), "198.51.100.9 shadowed # ours\n::1 six\n").unwrap();
    let conf = "nameserver 127.0.0.1\nsearch none.test corp.test\noptions ndots:2\n";
    std::fs::write(dir.path().join("resolv.conf"), conf).unwrap();
    let server = server("dnsserve").args(["--listen", "127.0.0.1:0", "z"]).dir(dir.path()).start();
    let run = |args: &[&str]| {
        let files = ["--search", "--resolv-conf", "resolv.conf", "--hosts", "hosts", "-p"];
        tool("dnsq").args(files).arg(server.port().to_string()).args(args).dir(dir.path()).run()
    };
    // The server refuses other zones than its own: the last domain of the list is the one that answers.
    let short = |args: &[&str]| run(&[args, &["--short", "@127.0.0.1"]].concat());
    assert_eq!(short(&["web.corp.test."]).exits(0).text(), "192.0.2.1\n");
    std::fs::write(dir.path().join("resolv.conf"), conf.replace("none.test ", "gone.corp.test ")).unwrap();
    assert_eq!(short(&["web"]).exits(0).text(), "192.0.2.1\n");
    assert_eq!(short(&["a.b"]).exits(0).text(), "192.0.2.2\n", "one dot is less than two");
    assert_eq!(short(&["web.", "web"]).exits(69).text(), "192.0.2.1\n", "a final dot is final");
    assert_eq!(short(&["shadowed", "web", "six", "AAAA"]).exits(0).text(), "198.51.100.9\n192.0.2.1\n::1\n");
    assert_eq!(short(&["-x", "198.51.100.9"]).exits(0).text(), "shadowed.\n");
    short(&["--ndots", "0", "web"]).exits(69);
    let json = run(&["shadowed", "--json"]);
    json.silent_success();
    assert_eq!(json.records()[0].get("server"), None);
    run(&["shadowed"]).silent_success().prints(";; SERVER: hosts file");
    run(&["web", "--short"]).silent_success();
    tool("dnsq").args(["--search", "--resolv-conf", "none", "web"]).dir(dir.path()).run().exits(66);
}

#[test]
fn a_transfer_ends_when_time_is_up() {
    let silent = crate::harness::hanging();
    for (args, says) in [(["--max-time", "0.3"], "time is up"), (["--timeout", "0.3"], "no answer in time")] {
        let done = tool("dnsq").args([&format!("@{}", silent.addr), "a.test", "AXFR"]).args(args).run();
        done.exits(75).says(says);
    }
}

/// What dig's text has beside the answer; the rest stands beside dig itself in the interop tests.
#[test]
fn words_of_dig() {
    let server = example();
    ask(&server, &["big.example.test", "TXT"])
        .silent_success()
        .prints(";; Truncated, retrying in TCP mode.\n;; Got answer:");
    let quiet = ask(&server, &["big.example.test", "TXT", "--tcp"]);
    assert!(!quiet.text().contains("Truncated"));
    let sent = ask(&server, &["www.example.test", "+qr", "+qid=77", "-u"]);
    sent.silent_success()
        .prints(";; Sending:\n;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 77\n;; flags: rd ad;");
    sent.prints(";; QUERY SIZE: 45\n\n;; Got answer:\n").prints(" usec\n");
    let no_ad = ask(&server, &["www.example.test", "+qr", "+noadflag"]);
    no_ad.silent_success().prints(";; flags: rd;");
    ask(&server, &["www.example.test", "+yaml"]).silent_success().prints("- 'www.example.test. 3600 IN A 192.0.2.10'");
    ask(&server, &["-t", "IXFR=1", "example.test"]).exits(69);
    for bad in [&["+yaml", "--json"][..], &["+yaml", "AXFR"], &["+ednsopt=nosuch"], &["+qid=x"], &["-f", "-", "+yaml"]]
    {
        ask(&server, &[&["example.test"], bad].concat()).exits(64);
    }
    let dir = temp_dir();
    let zone = "k.test. 60 SOA a. b. 1 2 3 4 5\nk.test. 60 DNSKEY 257 3 13 AQ==\n";
    std::fs::write(dir.path().join("z"), zone).unwrap();
    let keys = crate::harness::server("dnsserve").arg("z").dir(dir.path()).start();
    let json = ask(&keys, &["k.test", "DNSKEY", "--json"]);
    assert_eq!(json.silent_success().records()[0]["answers"][0]["data"]["key_tag"], 1294);
    assert_eq!(ask(&keys, &["k.test", "DNSKEY", "+short", "+nocrypto"]).text(), "257 3 13 [key id = 1294]\n");
    assert_eq!(ask(&keys, &["k.test", "DNSKEY", "--format", "{key_tag}"]).text(), "1294\n");
}
