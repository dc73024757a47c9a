//! `dnsq -f` against dig as the oracle, and against NSD.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::dns::{data, example, knot, nsd, unbound};
use crate::harness::{temp_dir, tool};
use crate::peers::{Peer, Trial, Verdict, free_address, trial};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("dig", "says of dnsserve's answers what dnsq -f says", dnsserve_as_dig_sees_it),
    trial("nsd", "dig says of its answers what dnsq -f says", nsd_as_dig_sees_it),
    trial("knot", "dig says of its answers what dnsq -f says", knot_as_dig_sees_it),
    trial("unbound", "dig says of its answers what dnsq -f says", unbound_as_dig_sees_it),
    trial("nsd", "answers dnsq -f, each name once", nsd_answers_all),
    trial("nsd", "answers dnsq -f over TLS", nsd_answers_over_tls),
];

/// Questions of every class: data, aliases, wildcards, referrals, no data, no name, too large for UDP, refused.
const QUESTIONS: &[&str] = &[
    "www.example.test A",
    "WwW.ExAmPle.test A",
    "www.example.test MX",
    "nothere.example.test A",
    "ent.example.test A",
    "alias.example.test A",
    "dangling.example.test A",
    "away.example.test A",
    "across.example.test AAAA",
    "loop1.example.test A",
    "a.wild.example.test TXT",
    "a.exists.wild.example.test TXT",
    "x.walias.example.test A",
    "sub.example.test A",
    "sub.example.test DS",
    "x.old.example.test A",
    "old.example.test DNAME",
    "example.test SOA",
    "example.test MX",
    "example.test NS",
    "example.test ANY",
    "ns1.example.test AAAA",
    "big.example.test TXT",
    "_sip._tcp.example.test SRV",
    "a\\.b.example.test A",
    "elsewhere.example A",
];

/// Questions that a resolver without the Internet cannot answer, or answers each time in another way.
const NOT_FOR_RESOLVERS: &[&str] = &["away.", "sub.", "ANY", "elsewhere.", "old.example.test DNAME", "loop1."];

fn dnsserve_as_dig_sees_it(dig: &Peer) -> Verdict {
    dig_agrees(dig, example().addr, false)
}

fn nsd_as_dig_sees_it(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    dig_agrees(&Peer::find("dig").unwrap(), nsd(peer, dir.path(), "").addr, false)
}

fn knot_as_dig_sees_it(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    dig_agrees(&Peer::find("dig").unwrap(), knot(peer, dir.path()).addr, false)
}

fn unbound_as_dig_sees_it(peer: &Peer) -> Verdict {
    let (dir, authority) = (temp_dir(), example());
    dig_agrees(&Peer::find("dig").unwrap(), unbound(peer, dir.path(), &authority, "").addr, true)
}

/// A random sample of every class of answer, asked in bulk, many times and mixed, so that answers pass each other and groups
/// are large; dig is asked one question at a time. A resolver counts times to live down: they are left out then.
fn dig_agrees(dig: &Peer, addr: SocketAddr, resolver: bool) -> Verdict {
    let mut seed: u64 = u64::from(std::process::id());
    println!("seed {seed}");
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize
    };
    let mut sample: Vec<String> = QUESTIONS.iter().map(|question| (*question).to_owned()).collect();
    for _ in 0..8 {
        let label = format!("r{}", random() % 100_000);
        sample.push(format!("{label}.wild.example.test TXT"));
        sample.push(format!("{label}.example.test {}", ["A", "MX", "TYPE65280"][random() % 3]));
        sample.push(format!("{label}.walias.example.test AAAA"));
        sample.push(format!("{label}.old.example.test A"));
    }
    sample.retain(|question| !resolver || !NOT_FOR_RESOLVERS.iter().any(|not| question.contains(not)));
    let asked: Vec<&str> = (0..1_000).map(|_| sample[random() % sample.len()].as_str()).collect();
    let done = tool("dnsq")
        .arg(format!("@{addr}"))
        .args(["-f", "-", "--json", "--ordered"])
        .args(if resolver { &[][..] } else { &["--no-recurse"] })
        .stdin(asked.join("\n"))
        .run();
    let records = done.records();
    assert_eq!(records.len(), asked.len() + 1, "a record each, and the summary: {done}");
    let mut seen = BTreeSet::new();
    for (question, found) in asked.iter().zip(&records).filter(|(question, _)| seen.insert(**question)) {
        let (name, qtype) = question.split_once(' ').unwrap();
        // dig asks for ANY over TCP unless told otherwise, and there the answer is a fuller one (RFC 8482).
        let recursion = if resolver { "+recurse" } else { "+norecurse" };
        let words = ["+notcp", "+nocookie", recursion, "+noall", "+comments", "+answer", name, qtype];
        let port = addr.port().to_string();
        let args = ["@127.0.0.1", "-p", &port].into_iter().chain(words).collect::<Vec<_>>();
        let said = dig.run("dig", args).text().to_owned();
        let status = said.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        if found["type"] == "error" {
            let code = match status {
                "REFUSED" => 5,
                "SERVFAIL" => 2,
                other => panic!("{question}: {other}, but {found}"),
            };
            assert_eq!(found["code"].as_u64(), Some(code), "{question}");
            continue;
        }
        assert_eq!(found["status"], status, "{question}");
        let fields = |line: &str| {
            let mut fields: Vec<&str> = line.split_whitespace().collect();
            if resolver {
                fields.remove(1);
            }
            fields.join(" ")
        };
        let theirs: BTreeSet<String> =
            said.lines().filter(|line| !line.starts_with(';') && !line.is_empty()).map(fields).collect();
        let ours: BTreeSet<String> = found["answers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| {
                let text = |member: &str| record[member].as_str().unwrap().to_owned();
                fields(&format!(
                    "{} {} {} {} {}",
                    text("name"),
                    record["ttl"],
                    text("class"),
                    text("rtype"),
                    text("rdata")
                ))
            })
            .collect();
        assert_eq!(ours, theirs, "{question}");
    }
    assert!(seen.len() > sample.len() / 2, "a thousand questions bring nearly every class");
    Verdict::Ok
}

fn nsd_answers_all(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let nsd = nsd(peer, dir.path(), "");
    let names: String = (0..20_000)
        .map(|n| match n % 4 {
            0 => format!("n{n}.wild.example.test TXT\n"),
            1 => format!("none{n}.example.test\n"),
            2 => "alias.example.test\n".to_owned(),
            _ => {
                if n % 100 == 3 {
                    "big.example.test TXT\n".to_owned()
                } else {
                    "www.example.test\n".to_owned()
                }
            }
        })
        .collect();
    let run = |args: &[&str]| {
        let done = tool("dnsq").arg(format!("@{}", nsd.addr)).args(["-f", "-"]).args(args).stdin(names.clone()).run();
        done.silent_success();
        done
    };
    let ordered = run(&["--ordered", "--short"]);
    let asked = names.lines().map(|line| format!("{}.", line.split(' ').next().unwrap()));
    assert!(ordered.text().lines().map(|line| line.split('\t').next().unwrap()).eq(asked), "one line each, in order");
    assert_eq!(ordered.text().lines().filter(|line| line.contains("\"wild\"")).count(), 5_000);
    let json = run(&["--json", "--mix-case"]);
    let summary = &json.records_of("summary")[0];
    assert_eq!((summary["asked"].as_u64(), summary["answered"].as_u64()), (Some(20_000), Some(15_000)));
    // More where a busy machine was late: what is asked again is cut short again.
    assert!(summary["servers"][0]["truncated"].as_u64() >= Some(200), "{summary}");
    Verdict::Ok
}

/// NSD reads one message of a TLS record and looks at the others when more comes: none may be left waiting.
fn nsd_answers_over_tls(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let (addr, home) = (free_address(), dir.path());
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(home.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(home.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let config = format!(
        "server:\n  ip-address: 127.0.0.1\n  port: {0}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"\"\n  database: \"\"\n  \
         tls-service-key: {1}/key.pem\n  tls-service-pem: {1}/cert.pem\n  tls-port: {0}\n  pidfile: {1}/pid\n  \
         xfrdfile: {1}/xfrd\n  xfrdir: {1}\n  zonelistfile: {1}/list\n  server-count: 1\nremote-control:\n  control-enable: no\n\
         zone:\n  name: other.test\n  zonefile: {2}\n",
        addr.port(),
        home.display(),
        data("other.test.zone"),
    );
    std::fs::write(home.join("nsd.conf"), config).unwrap();
    let mut command = peer.command("nsd", home);
    command.args(["-d", "-c"]).arg(home.join("nsd.conf"));
    let daemon = peer.start(command, addr);
    let names: String = (0..5_000).map(|n| format!("www.other.test\nn{n}.other.test\n")).collect();
    let ca = home.join("cert.pem").display().to_string();
    let done = tool("dnsq")
        .arg(format!("@tls://{}", daemon.addr))
        .args(["--ca-cert", &ca, "-f", "-", "--json", "--tries", "1", "--timeout", "30"])
        .stdin(names)
        .run();
    let summary = &done.silent_success().records_of("summary")[0];
    assert_eq!((summary["answered"].as_u64(), summary["negative"].as_u64()), (Some(5_000), Some(5_000)), "{summary}");
    Verdict::Ok
}
