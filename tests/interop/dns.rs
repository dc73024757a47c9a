//! DNS peers: dig and kdig ask dnsserve; dnsq asks NSD.

use crate::harness::{Done, Server, server, temp_dir, tool};
use crate::peers::{Peer, Trial, Verdict};
use crate::servers;

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    Trial {
        peer: "dig",
        feature: "reads records of dnsserve: A, AAAA, MX, TXT, CNAME, wildcard",
        run: dig_reads_records,
    },
    Trial { peer: "dig", feature: "NXDOMAIN and NODATA of dnsserve carry the SOA", run: dig_negative },
    Trial { peer: "dig", feature: "a delegation of dnsserve has NS and glue", run: dig_delegation },
    Trial { peer: "dig", feature: "EDNS, truncation and TCP of dnsserve", run: dig_edns_and_tcp },
    Trial { peer: "kdig", feature: "reads records of dnsserve over UDP and TCP", run: kdig_reads_records },
    Trial { peer: "nsd", feature: "answers dnsq: short, full, JSON, several types", run: dnsq_asks_nsd },
    Trial { peer: "nsd", feature: "NXDOMAIN and NODATA end dnsq with 1", run: dnsq_negative_nsd },
    Trial { peer: "nsd", feature: "a large answer reaches dnsq by TCP", run: dnsq_tcp_nsd },
    Trial { peer: "dig", feature: "dnsq's full text has dig's answer lines", run: dnsq_prints_as_dig },
];

/// A zone with one of each.
const ZONE: &str = r#"$ORIGIN bob.test.
$TTL 300
@       IN SOA   ns hostmaster 7 3600 600 86400 60
        IN NS    ns
        IN MX    10 mail
        IN TXT   "v=spf1 mx -all" "second; string"
ns      IN A     127.0.0.1
mail    IN A     192.0.2.25
        IN AAAA  2001:db8::25
www     IN CNAME mail
*.wild  IN TXT   "any name"
sub     IN NS    ns.sub
ns.sub  IN A     192.0.2.53
"#;

/// [`ZONE`] and a name whose TXT answer is larger than a datagram.
fn zone() -> String {
    let mut text = ZONE.to_owned();
    for number in 0..40 {
        text.push_str(&format!("big IN TXT \"{number:02} {}\"\n", "x".repeat(100)));
    }
    text
}

/// dnsserve with [`zone`].
fn dnsserve() -> Server {
    let dir = temp_dir();
    let path = dir.path().join("bob.zone");
    std::fs::write(&path, zone()).unwrap();
    server("dnsserve").arg(&path).start()
}

fn ask(peer: &Peer, program: &str, server: &Server, args: &[&str]) -> Done {
    let (at, port) = (format!("@{}", server.addr.ip()), server.port().to_string());
    let done = peer.run(program, [&[at.as_str(), "-p", &port], args].concat());
    done.exits(0);
    done
}

fn short(peer: &Peer, program: &str, server: &Server, name: &str, rtype: &str) -> Vec<String> {
    let done = ask(peer, program, server, &["+short", name, rtype]);
    // kdig leaves an empty line when it asks again by TCP.
    let mut lines: Vec<String> = done.text().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    lines.sort();
    lines
}

fn dig_reads_records(peer: &Peer) -> Verdict {
    let server = dnsserve();
    for (name, rtype, wanted) in [
        ("mail.bob.test", "A", &["192.0.2.25"][..]),
        ("MAIL.Bob.Test", "AAAA", &["2001:db8::25"]),
        ("bob.test", "MX", &["10 mail.bob.test."]),
        ("bob.test", "TXT", &["\"v=spf1 mx -all\" \"second; string\""]),
        ("bob.test", "SOA", &["ns.bob.test. hostmaster.bob.test. 7 3600 600 86400 60"]),
        ("www.bob.test", "A", &["192.0.2.25", "mail.bob.test."]),
        ("a.b.wild.bob.test", "TXT", &["\"any name\""]),
    ] {
        assert_eq!(short(peer, "dig", &server, name, rtype), wanted, "{name} {rtype}");
    }
    let full = ask(peer, "dig", &server, &["bob.test", "MX"]);
    full.prints("status: NOERROR").prints("flags: qr aa");
    assert!(!full.text().contains("WARNING: Message parser reports malformed"), "\n{full}");
    Verdict::Ok
}

fn dig_negative(peer: &Peer) -> Verdict {
    let server = dnsserve();
    for (name, rtype, status) in
        [("nobody.bob.test", "A", "NXDOMAIN"), ("mail.bob.test", "MX", "NOERROR"), ("wild.bob.test", "TXT", "NOERROR")]
    {
        let done = ask(peer, "dig", &server, &[name, rtype]);
        done.prints(&format!("status: {status}")).prints("ANSWER: 0").prints("AUTHORITY: 1");
        // The TTL of a negative answer is the lesser of the SOA's own and its minimum (RFC 2308, section 5).
        done.prints("bob.test.\t\t60\tIN\tSOA");
    }
    ask(peer, "dig", &server, &["elsewhere.test", "A"]).prints("status: REFUSED");
    Verdict::Ok
}

fn dig_delegation(peer: &Peer) -> Verdict {
    let server = dnsserve();
    let done = ask(peer, "dig", &server, &["+norecurse", "host.sub.bob.test", "A"]);
    done.prints("status: NOERROR").prints("ANSWER: 0");
    assert!(!done.text().contains("flags: qr aa"), "a referral is not authoritative\n{done}");
    assert!(done.text().contains("ns.sub.bob.test."), "\n{done}");
    done.prints("192.0.2.53");
    Verdict::Ok
}

fn dig_edns_and_tcp(peer: &Peer) -> Verdict {
    let server = dnsserve();
    ask(peer, "dig", &server, &["bob.test", "MX"]).prints("EDNS: version: 0");
    let cut = ask(peer, "dig", &server, &["+ignore", "+noedns", "big.bob.test", "TXT"]);
    assert!(cut.text().lines().any(|line| line.contains("flags:") && line.contains(" tc")), "\n{cut}");
    // Without +ignore dig asks again by TCP.
    assert_eq!(short(peer, "dig", &server, "big.bob.test", "TXT").len(), 40);
    ask(peer, "dig", &server, &["+tcp", "bob.test", "MX"]).prints("10 mail.bob.test.").prints("(TCP)");
    ask(peer, "dig", &server, &["+edns=1", "+noednsnegotiation", "bob.test", "MX"]).prints("status: BADVERS");
    Verdict::Ok
}

fn kdig_reads_records(peer: &Peer) -> Verdict {
    let server = dnsserve();
    assert_eq!(short(peer, "kdig", &server, "bob.test", "MX"), ["10 mail.bob.test."]);
    assert_eq!(short(peer, "kdig", &server, "big.bob.test", "TXT").len(), 40);
    let done = ask(peer, "kdig", &server, &["+tcp", "+json", "www.bob.test", "A"]);
    done.prints("192.0.2.25");
    Verdict::Ok
}

fn nsd(peer: &Peer) -> (servers::Served, String) {
    let served = servers::nsd(peer, &[("bob.test", &zone())]);
    let at = format!("@{}", served.addr());
    (served, at)
}

fn dnsq_asks_nsd(peer: &Peer) -> Verdict {
    let (_nsd, at) = nsd(peer);
    let short = |args: &[&str]| tool("dnsq").args(["--short", &at]).args(args).run();
    assert_eq!(short(&["bob.test", "MX"]).silent_success().text(), "10 mail.bob.test.\n");
    assert_eq!(short(&["mail.bob.test", "A", "AAAA"]).silent_success().text(), "192.0.2.25\n2001:db8::25\n");
    assert_eq!(short(&["www.bob.test"]).silent_success().text(), "mail.bob.test.\n192.0.2.25\n");
    tool("dnsq").args([&at, "bob.test", "SOA"]).run().silent_success().prints("status: NOERROR");
    let json = tool("dnsq").args(["--json", &at, "bob.test", "MX"]).run();
    let answers = json.exits(0).records_of("answer");
    assert_eq!(answers.len(), 1, "\n{json}");
    Verdict::Ok
}

fn dnsq_negative_nsd(peer: &Peer) -> Verdict {
    let (_nsd, at) = nsd(peer);
    for (name, rtype) in [("nobody.bob.test", "A"), ("mail.bob.test", "MX")] {
        let done = tool("dnsq").args(["--short", &at, name, rtype]).run();
        assert_eq!(done.exits(1).text(), "", "\n{done}");
    }
    tool("dnsq").args(["--short", &at, "elsewhere.test", "A"]).run().exits(69);
    Verdict::Ok
}

fn dnsq_tcp_nsd(peer: &Peer) -> Verdict {
    let (_nsd, at) = nsd(peer);
    let done = tool("dnsq").args(["--short", &at, "big.bob.test", "TXT"]).run();
    assert_eq!(done.silent_success().text().lines().count(), 40, "\n{done}");
    Verdict::Ok
}

fn dnsq_prints_as_dig(peer: &Peer) -> Verdict {
    let server = dnsserve();
    for (name, rtype) in [("bob.test", "MX"), ("bob.test", "TXT"), ("www.bob.test", "A"), ("nobody.bob.test", "A")] {
        let records = |done: &Done| -> Vec<String> {
            let lines = done.text().lines().filter(|line| !line.starts_with(';') && !line.is_empty());
            lines.map(str::to_owned).collect()
        };
        let theirs = ask(peer, "dig", &server, &[name, rtype]);
        let ours = tool("dnsq").args([&format!("@{}", server.addr), name, rtype]).run();
        assert_eq!(records(&ours), records(&theirs), "\n{ours}{theirs}");
    }
    Verdict::Ok
}
