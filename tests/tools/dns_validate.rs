//! dnsq --validate over the signed hierarchy of `tests/data/dns/signed`, served by our own server at a fixed time.

use std::net::{SocketAddr, UdpSocket};

use applayer::dns::edns::Edns;
use applayer::dns::message::{Flags, Message};
use applayer::dns::name::Name;
use applayer::dns::record::{Class, Record, Rtype};

use crate::dns_trace::signed;
use crate::harness::{Done, Server, server, temp_dir, tool, udp_peer};

/// One server of every zone.
fn hierarchy() -> Server {
    let files = std::fs::read_dir(signed("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let zones = files.filter_map(|file| {
        let name = file.strip_suffix(".zone")?;
        Some(format!("--zone={}={}", if name == "root" { "." } else { name }, signed(&file)))
    });
    server("dnsserve").arg("--listen=127.0.0.1:0").args(zones).start()
}

fn validate(server: &Server, words: &[&str]) -> Done {
    let anchor = signed("anchor");
    let server = format!("@{}", server.addr);
    let words = [&[&server, "--validate", "--anchor", &anchor, "--at", "2026-06-01"], words].concat();
    tool("dnsq").args(words).run()
}

/// Stands between the asker and `server`, over UDP, and changes each answer.
fn between(server: &Server, lie: impl Fn(&mut Message) + Send + 'static) -> SocketAddr {
    let (socket, upstream) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    upstream.connect(server.addr).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            upstream.send(&buffer[..length]).unwrap();
            let length = upstream.recv(&mut buffer).unwrap();
            let mut message = Message::parse(&buffer[..length]).unwrap();
            lie(&mut message);
            socket.send_to(&message.compose(65_535), from).unwrap();
        }
    });
    address
}

/// Records that nobody signed, a response code that nobody signed, a question in another case: what is printed, and the
/// status, are those of the signed data.
#[test]
fn only_what_was_signed_is_printed() {
    let server = hierarchy();
    let liar = between(&server, |message| {
        let name = Name::parse("www.example.test").unwrap();
        let forged = Record { name, rtype: Rtype::TXT, class: Class::IN, ttl: 9, rdata: b"\x06forged".to_vec() };
        message.answer.insert(0, forged.clone());
        message.answer.push(Record { name: Name::parse("forged.test").unwrap(), ..forged });
        if message.question[0].rtype != Rtype::DNSKEY && message.question[0].rtype != Rtype::DS {
            message.flags.0 ^= 3;
        }
        message.question[0].name = Name::parse(&message.question[0].name.to_string().to_uppercase()).unwrap();
    });
    let anchor = signed("anchor");
    let words = |name: &str, rtype: &str, form: &str| {
        let at = format!("@{liar}");
        let words =
            [&at, "--validate", "--anchor", &anchor, "--at", "2026-06-01", form, "--bufsize", "4096", name, rtype];
        tool("dnsq").args(words).run()
    };
    for (name, rtype, status, short) in [
        ("www.example.test", "A", 0, "192.0.2.10\n"),
        (
            "_25._tcp.mail.example.test",
            "TLSA",
            0,
            "3 1 1 0D6FCE13243AA7AD0FCE13243AA7AD0FCE13243AA7AD0FCE13243AA7 AD0FCE13\n",
        ),
        ("nothere.example.test", "A", 1, ""),
        ("www.example.test", "MX", 1, ""),
    ] {
        let done = words(name, rtype, "--short");
        assert_eq!(done.exits(status).says("left out").text(), short, "{done}");
        let done = words(name, rtype, "--json");
        let verdict = &done.exits(status).records_of("validation")[0];
        let left_out = serde_json::json!(["forged.test. TXT", "www.example.test. TXT"]);
        assert_eq!((&verdict["security"], &verdict["left_out"]), (&"secure".into(), &left_out), "{done}");
        let gone = done.records_of("answer")[0]["status"] == "NXDOMAIN";
        assert_eq!(gone, name.starts_with("nothere"), "{done}");
    }
}

/// Each verdict, with its exit status and extended error.
#[test]
fn verdicts() {
    let server = hierarchy();
    for (name, rtype, security, status, ede) in [
        ("www.example.test", "A", "secure", 0, 0),
        ("to-hashed.example.test", "A", "secure", 0, 0),
        ("www.old.example.test", "A", "secure", 0, 0),
        ("x.wild.example.test", "TXT", "secure", 0, 0),
        ("x.wild.hashed.test", "TXT", "secure", 0, 0),
        ("nothere.example.test", "A", "secure", 1, 0),
        ("ent.example.test", "A", "secure", 1, 0),
        ("www.hashed.test", "MX", "secure", 1, 0),
        ("nothere.hashed.test", "A", "secure", 1, 0),
        ("insecure.test", "DS", "secure", 1, 0),
        ("www.insecure.test", "A", "insecure", 0, 0),
        ("to-insecure.example.test", "A", "insecure", 0, 0),
        ("nothere.optout.test", "A", "insecure", 1, 0),
        ("nothere.iterations.test", "A", "insecure", 1, 27),
        ("www.algorithm.test", "A", "insecure", 0, 1),
        ("www.bogus.test", "A", "bogus", 77, 6),
        ("to-bogus.example.test", "A", "bogus", 77, 6),
        ("www.expired.test", "A", "bogus", 77, 7),
        ("www.future.test", "A", "bogus", 77, 8),
        ("www.mismatch.test", "A", "bogus", 77, 9),
        ("www.unsigned.test", "A", "bogus", 77, 9),
        ("www.stripped.test", "A", "bogus", 77, 10),
    ] {
        let done = validate(&server, &["--json", name, rtype]);
        done.exits(status);
        let verdict = &done.records_of("validation")[0];
        assert_eq!(verdict["security"], security, "{done}");
        assert_eq!(verdict["ede"]["code"].as_u64().unwrap_or_default(), ede, "{done}");
        assert_eq!(done.records_of("answer").is_empty(), security == "bogus", "{done}");
        assert_eq!(done.records_of("error").len(), usize::from(status == 77), "{done}");
    }
}

#[test]
fn what_is_printed() {
    let server = hierarchy();
    validate(&server, &["www.example.test"])
        .silent_success()
        .prints("\nwww.example.test.\t300\tIN\tA\t192.0.2.10\n")
        .prints("\n;; VALIDATION: secure\n;; .: secure, keys ")
        .prints("\n;;   test.: secure, keys ")
        .prints("\n;;     example.test.: secure, keys ")
        .prints("\n;;       www.example.test. A: secure, signed by ")
        .prints(" until 2027-01-01T00:00:00Z\n");
    assert_eq!(validate(&server, &["--short", "www.example.test"]).silent_success().text(), "192.0.2.10\n");
    // Nothing bogus reaches a pipe, unless it was asked for.
    let bogus = validate(&server, &["--short", "www.bogus.test"]);
    bogus.exits(77).says("bogus: www.bogus.test. A: signature by key").says("(DNSSEC Bogus)");
    assert_eq!(bogus.text(), "");
    assert_eq!(validate(&server, &["--short", "--cd", "www.bogus.test"]).exits(77).text(), "192.0.2.67\n");
    // Several questions: one bogus answer decides.
    validate(&server, &["--short", "www.example.test", "www.bogus.test", "nothere.example.test"]).exits(77);
    // Over TCP and in a small message as well.
    validate(&server, &["--tcp", "--json", "nothere.hashed.test"]).exits(1);
    validate(&server, &["--bufsize", "512", "--json", "nothere.hashed.test"]).exits(1);
}

#[test]
fn anchors_and_times() {
    let server = hierarchy();
    let at = format!("@{}", server.addr);
    let run = |words: &[&str]| tool("dnsq").args([&[at.as_str(), "--validate", "--json"], words].concat()).run();
    let verdict = |done: &Done| done.records_of("validation")[0]["security"].as_str().unwrap().to_owned();
    let anchor = signed("anchor");
    let with_anchor = |time: &str| run(&["--anchor", &anchor, "--at", time, "www.example.test"]);
    assert_eq!(verdict(with_anchor("20261231235959").exits(0)), "secure");
    assert_eq!(verdict(with_anchor("2027-01-01T00:00:01Z").exits(77)), "bogus");
    assert_eq!(verdict(with_anchor("1767225599").exits(77)), "bogus");
    // The built-in keys are those of another root.
    assert_eq!(verdict(run(&["--at", "2026-06-01", "www.example.test"]).exits(77)), "bogus");
    let dir = temp_dir();
    let file = dir.path().join("anchor");
    let file = file.to_str().unwrap();
    let digest = std::fs::read_to_string(&anchor).unwrap();
    let fields: Vec<&str> = digest.split_whitespace().collect();
    for form in [
        format!("trust-anchors {{ . static-ds {} {} {} \"{}\"; }};\n", fields[3], fields[4], fields[5], fields[6]),
        format!("server:\n  trust-anchor: \"{}\"\n", digest.trim()).replace("server:\n", ""),
        format!(
            "<TrustAnchor><Zone>.</Zone><KeyDigest validFrom=\"2026-01-01T00:00:00+00:00\"><KeyTag>{}</KeyTag>\
             <Algorithm>{}</Algorithm><DigestType>{}</DigestType><Digest>{}</Digest></KeyDigest></TrustAnchor>",
            fields[3], fields[4], fields[5], fields[6]
        ),
    ] {
        std::fs::write(file, &form).unwrap();
        assert_eq!(
            verdict(run(&["--anchor", file, "--at", "2026-06-01", "www.example.test"]).exits(0)),
            "secure",
            "{form}"
        );
    }
    // An anchor for another part of the tree: nothing is known about this one.
    std::fs::write(file, digest.replacen(". IN", "other. IN", 1)).unwrap();
    let unknown = run(&["--anchor", file, "--at", "2026-06-01", "www.example.test"]);
    assert_eq!(verdict(unknown.exits(0).says("not known to be secure")), "indeterminate");
    std::fs::write(file, "nothing\n").unwrap();
    run(&["--anchor", file, "www.example.test"]).exits(65);
    run(&["--anchor", "/nonexistent", "www.example.test"]).exits(66);
    run(&["--at", "yesterday", "www.example.test"]).exits(64);
    tool("dnsq").args(["--anchor", file, "www.example.test"]).run().exits(64);
}

#[test]
fn a_chain_that_cannot_be_fetched_is_not_bogus() {
    // A server of the leaf alone: it refuses what the chain needs.
    let leaf = server("dnsserve")
        .arg("--listen=127.0.0.1:0")
        .arg(format!("--zone=example.test={}", signed("example.test.zone")))
        .start();
    let done = validate(&leaf, &["--json", "www.example.test"]);
    done.exits(75);
    let verdict = &done.records_of("validation")[0];
    assert_eq!((verdict["security"].as_str(), verdict["ede"]["code"].as_u64()), (Some("indeterminate"), Some(22)));
}

/// A server that answers each question with this code, with an OPT record or without; none: it says nothing.
fn failing(code: Option<u16>, has_edns: bool) -> SocketAddr {
    udp_peer(move |query| {
        let Some(code) = code else { return Vec::new() };
        let mut message = Message::parse(query).unwrap();
        message.flags.set(Flags::QR, true);
        message.flags.0 |= code & 15;
        message.edns = has_edns.then(|| Edns { extended_rcode: (code >> 4) as u8, ..Edns::default() });
        vec![message.compose(512)]
    })
}

/// One rule for what is no answer, whoever asks: the status says whether it may go over, and the next server is asked. Who hands
/// questions on answers SERVFAIL: FORMERR and the like are about its own message.
#[test]
fn codes_that_answer_nothing() {
    let (good, dir, anchor) = (hierarchy(), temp_dir(), signed("anchor"));
    let list = dir.path().join("list");
    std::fs::write(&list, "www.example.test\n").unwrap();
    let question = ["www.example.test"];
    let validated = ["--validate", "--anchor", &anchor, "--at", "2026-06-01", question[0]];
    let listed = ["-f", list.to_str().unwrap()];
    for (code, has_edns, status) in [
        (Some(2), true, 75),
        (Some(1), false, 69),
        (Some(1), true, 69),
        (Some(4), false, 69),
        (Some(4), true, 69),
        (Some(5), true, 69),
        (Some(16), true, 69),
        (None, false, 75),
    ] {
        let bad = failing(code, has_edns);
        for (servers, status, text) in [(vec![bad], status, ""), (vec![bad, good.addr], 0, "192.0.2.10")] {
            let upstream = servers.iter().map(|addr| format!("--forward={addr}"));
            let forwarder = server("dnsserve").arg("--listen=127.0.0.1:0").args(upstream).start();
            let direct: Vec<String> = servers.iter().map(|addr| format!("@{addr}")).collect();
            let through = [format!("@{}", forwarder.addr)];
            let handed_on = if status == 0 || code == Some(5) { status } else { 75 };
            for (servers, words, limits, status) in [
                (&direct[..], &question[..], ["--timeout=0.4", "--tries=2"], status),
                (&direct, &listed, ["--timeout=0.4", "--tries=2"], status),
                (&direct, &validated, ["--timeout=0.4", "--tries=2"], status),
                (&through, &question, ["--timeout=9", "--tries=1"], handed_on),
            ] {
                let done = tool("dnsq").args(servers).args(words).args(limits).arg("--short").run();
                assert!(done.exits(status).text().contains(text), "{code:?} {has_edns}: {done}");
            }
        }
    }
}
