//! `dnsq -f` against dig as the oracle, and against NSD.

use std::collections::BTreeSet;

use crate::dns::{data, nsd};
use crate::harness::{server, temp_dir, tool};
use crate::peers::{Peer, Trial, Verdict};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    Trial { peer: "dig", feature: "says of every class of answer what dnsq -f says", run: dig_says_the_same },
    Trial { peer: "nsd", feature: "answers dnsq -f, each name once", run: nsd_answers_all },
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

fn dig_says_the_same(peer: &Peer) -> Verdict {
    let server = server("dnsserve").arg(data("example.test.zone")).arg(data("other.test.zone")).start();
    let port = server.port().to_string();
    // Each many times and mixed, so that answers pass each other and groups are large.
    let asked: Vec<&str> = (0..QUESTIONS.len() * 20).map(|n| QUESTIONS[n * 7 % QUESTIONS.len()]).collect();
    let done = tool("dnsq")
        .arg(format!("@{}", server.addr))
        .args(["-f", "-", "--json", "--ordered", "--no-recurse"])
        .stdin(asked.join("\n"))
        .run();
    done.exits(69).says("REFUSED");
    let records = done.records();
    assert_eq!(records.len(), asked.len() + 1, "a record each, and the summary");
    for (question, found) in asked.iter().zip(&records).take(QUESTIONS.len()) {
        let (name, qtype) = question.split_once(' ').unwrap();
        // dig asks for ANY over TCP unless told otherwise, and there the answer is a fuller one (RFC 8482).
        let words = ["+notcp", "+nocookie", "+norecurse", "+noall", "+comments", "+answer", name, qtype];
        let args = ["@127.0.0.1", "-p", &port].into_iter().chain(words).collect::<Vec<_>>();
        let dig = peer.run("dig", args).text().to_owned();
        let status = dig.split("status: ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
        if found["type"] == "error" {
            assert_eq!((found["code"].as_u64(), status), (Some(5), "REFUSED"), "{question}");
            continue;
        }
        assert_eq!(found["status"], status, "{question}");
        let fields = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        let theirs: BTreeSet<String> =
            dig.lines().filter(|line| !line.starts_with(';') && !line.is_empty()).map(fields).collect();
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
    Verdict::Ok
}

fn nsd_answers_all(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let nsd = nsd(peer, dir.path());
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
    assert_eq!(summary["servers"][0]["truncated"], 200);
    Verdict::Ok
}
