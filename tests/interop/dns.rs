//! DNS peers: dig and kdig ask dnsserve.

use crate::harness::{Done, Server, server, temp_dir};
use crate::peers::{Peer, Trial, Verdict};

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

/// dnsserve with [`ZONE`] and a name whose TXT answer is larger than a datagram.
fn dnsserve() -> Server {
    let dir = temp_dir();
    let path = dir.path().join("bob.zone");
    let mut text = ZONE.to_owned();
    for number in 0..40 {
        text.push_str(&format!("big IN TXT \"{number:02} {}\"\n", "x".repeat(100)));
    }
    std::fs::write(&path, text).unwrap();
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
