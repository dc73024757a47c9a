//! DNSSEC: verdicts of dnsq beside those of delv and unbound-host, over a hierarchy that BIND's tools sign for the run and
//! that our server or NSD serves.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::dns::{data, nsd_with};
use crate::harness::{Done, Server, finish, server, temp_dir, tool};
use crate::peers::{LIMIT, Peer, Trial, Verdict, trial};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("delv", "reaches dnsq's verdicts, served by dnsserve", delv_agrees),
    trial("unbound-host", "reaches dnsq's verdicts, served by dnsserve", unbound_agrees),
    trial("nsd", "serves a signed hierarchy to dnsq --validate", nsd_serves),
];

/// Questions and their verdicts.
const QUESTIONS: &[(&str, &str, &str)] = &[
    ("www.example.test", "A", "secure"),
    ("example.test", "MX", "secure"),
    ("_25._tcp.mail.example.test", "TLSA", "secure"),
    ("alias.example.test", "A", "secure"),
    ("to-hashed.example.test", "A", "secure"),
    ("to-insecure.example.test", "A", "insecure"),
    ("to-bogus.example.test", "A", "bogus"),
    ("www.old.example.test", "A", "secure"),
    ("x.wild.example.test", "TXT", "secure"),
    ("x.walias.example.test", "A", "secure"),
    ("nothere.example.test", "A", "secure"),
    ("www.example.test", "MX", "secure"),
    ("ent.example.test", "A", "secure"),
    ("x.wild.example.test", "A", "secure"),
    ("dangling.example.test", "A", "secure"),
    ("nothere.test", "A", "secure"),
    ("nothere", "A", "secure"),
    ("insecure.test", "DS", "secure"),
    ("www.hashed.test", "A", "secure"),
    ("nothere.hashed.test", "A", "secure"),
    ("a.b.nothere.hashed.test", "A", "secure"),
    ("www.hashed.test", "MX", "secure"),
    ("ent.hashed.test", "A", "secure"),
    ("x.wild.hashed.test", "TXT", "secure"),
    ("x.wild.hashed.test", "A", "secure"),
    ("sub.hashed.test", "DS", "secure"),
    ("www.optout.test", "A", "secure"),
    ("www.optout.test", "MX", "secure"),
    ("nothere.optout.test", "A", "insecure"),
    ("sub.optout.test", "DS", "insecure"),
    ("www.insecure.test", "A", "insecure"),
    ("nothere.insecure.test", "A", "insecure"),
    ("www.sub.example.test", "A", "insecure"),
    ("www.algorithm.test", "A", "insecure"),
    ("www.iterations.test", "A", "secure"),
    ("nothere.iterations.test", "A", "insecure"),
    ("www.bogus.test", "A", "bogus"),
    ("good.bogus.test", "A", "secure"),
    ("www.expired.test", "A", "bogus"),
    ("www.future.test", "A", "bogus"),
    ("www.stripped.test", "A", "bogus"),
    ("nothere.stripped.test", "A", "bogus"),
    ("www.mismatch.test", "A", "bogus"),
    ("www.unsigned.test", "A", "bogus"),
];

/// Peers of this age still work 120 iterations of NSEC3 off; we stop at 100 (RFC 9276 would stop at 0).
const OTHER_LIMIT: &str = "nothere.iterations.test";

/// delv marks denials from a gap with opt-out as validated; RFC 5155, section 9.2 forbids it.
const IN_A_GAP: [&str; 2] = ["nothere.optout.test", "sub.optout.test"];

const ZONES: &[&str] = &[
    "root",
    "test",
    "example.test",
    "hashed.test",
    "optout.test",
    "iterations.test",
    "bogus.test",
    "expired.test",
    "future.test",
    "stripped.test",
    "mismatch.test",
    "unsigned.test",
    "algorithm.test",
    "insecure.test",
    "sub.example.test",
];

/// The hierarchy, signed now by BIND's tools.
fn signed() -> TempDir {
    let bind = Peer::find("delv").unwrap_or_else(|why| panic!("BIND's tools sign the zones: {why}"));
    let dir = temp_dir();
    let mut command = bind.command("sh", dir.path());
    command.arg(data("signed/make.sh")).arg(dir.path());
    let line = format!("{command:?}");
    finish(command, line, None, LIMIT).exits(0);
    dir
}

fn zone_files(dir: &Path) -> impl Iterator<Item = (&'static str, String)> {
    let files = ZONES.iter().map(|zone| (if *zone == "root" { "." } else { zone }, format!("{zone}.zone")));
    files.map(|(zone, file)| (zone, dir.join(file).to_str().unwrap().to_owned()))
}

fn dnsserve(dir: &Path) -> Server {
    let zones = zone_files(dir).map(|(zone, file)| format!("--zone={zone}={file}"));
    server("dnsserve").arg("--listen=127.0.0.1:0").args(zones).start()
}

/// What dnsq makes of a question, with the anchor in `dir`.
fn dnsq(addr: SocketAddr, dir: &Path, name: &str, rtype: &str) -> String {
    let anchor = dir.join("anchor");
    let done = tool("dnsq")
        .arg(format!("@{addr}"))
        .args(["--validate", "--json", "--anchor"])
        .arg(&anchor)
        .args([name, rtype])
        .run();
    done.records_of("validation")[0]["security"].as_str().unwrap().to_owned()
}

fn run(mut command: Command, args: &[&str]) -> Done {
    command.args(args);
    let line = format!("{command:?}");
    finish(command, line, None, LIMIT)
}

/// An anchor, a DS or DNSKEY record, as BIND's programs want it.
pub(crate) fn bind_anchor(record: &str) -> String {
    let fields: Vec<&str> = record.split_whitespace().collect();
    let kind = if fields[3] == "DS" { "static-ds" } else { "static-key" };
    let (numbers, data) = (fields[4..7].join(" "), fields[7..].concat());
    format!("trust-anchors {{ {} {kind} {numbers} \"{data}\"; }};\n", fields[0])
}

/// The verdict that delv prints.
pub(crate) fn delv_says(done: &Done) -> Option<&'static str> {
    let text = format!("{}{}", done.text(), done.stderr);
    // A denial "fails" by the name of its cache entry.
    if text.lines().any(|line| line.contains("resolution failed") && !line.contains("ncache")) {
        return Some("bogus");
    }
    let marks = [("unsigned answer", "insecure"), ("fully validated", "secure")];
    marks.iter().find(|(mark, _)| text.contains(mark)).map(|(_, verdict)| *verdict)
}

/// The verdict that unbound-host prints.
pub(crate) fn unbound_says(done: &Done) -> Option<&'static str> {
    let marks = [("(BOGUS", "bogus"), ("SERVFAIL", "bogus"), ("(insecure)", "insecure"), ("(secure)", "secure")];
    marks.iter().find(|(mark, _)| done.text().contains(mark)).map(|(_, verdict)| *verdict)
}

/// What unbound-host has to know: the anchors, one a line, and the server.
pub(crate) fn unbound_config(anchors: &str, port: u16) -> String {
    let anchors: String =
        anchors.lines().map(|line| format!(" trust-anchor: \"{}\"\n", line.replace('\t', " "))).collect();
    format!(
        "server:\n local-zone: \"test.\" nodefault\n do-not-query-localhost: no\n module-config: \"validator iterator\"\n\
         {anchors} use-syslog: no\n chroot: \"\"\n username: \"\"\nforward-zone:\n name: \".\"\n forward-addr: 127.0.0.1@{port}\n"
    )
}

fn delv_agrees(peer: &Peer) -> Verdict {
    let dir = signed();
    let server = dnsserve(dir.path());
    let anchor = std::fs::read_to_string(dir.path().join("anchor")).unwrap();
    let keys = dir.path().join("bind.keys");
    std::fs::write(&keys, bind_anchor(&anchor.replacen(". IN", ". 0 IN", 1))).unwrap();
    let port = server.port().to_string();
    for (name, rtype, ours) in QUESTIONS {
        assert_eq!(dnsq(server.addr, dir.path(), name, rtype), *ours, "{name} {rtype}");
        let args = ["@127.0.0.1", "-p", &port, "-a", keys.to_str().unwrap(), "+root=.", name, rtype];
        let done = run(peer.command("delv", dir.path()), &args);
        let theirs = delv_says(&done);
        let excused = (*name == OTHER_LIMIT || IN_A_GAP.contains(name)) && theirs == Some("secure");
        assert!(theirs == Some(ours) || excused, "{name} {rtype}: {ours}, delv {theirs:?}\n{done}");
    }
    Verdict::Ok
}

fn unbound_agrees(peer: &Peer) -> Verdict {
    let dir = signed();
    let server = dnsserve(dir.path());
    let config = dir.path().join("unbound.conf");
    let anchor = std::fs::read_to_string(dir.path().join("anchor")).unwrap();
    std::fs::write(&config, unbound_config(&anchor, server.port())).unwrap();
    for (name, rtype, ours) in QUESTIONS {
        assert_eq!(dnsq(server.addr, dir.path(), name, rtype), *ours, "{name} {rtype}");
        let args = ["-C", config.to_str().unwrap(), "-v", "-t", rtype, name];
        let done = run(peer.command("unbound-host", dir.path()), &args);
        let theirs = unbound_says(&done);
        let excused = *name == OTHER_LIMIT && theirs == Some("secure");
        assert!(theirs == Some(ours) || excused, "{name} {rtype}: {ours}, unbound-host {theirs:?}\n{done}");
    }
    Verdict::Ok
}

fn nsd_serves(peer: &Peer) -> Verdict {
    let dir = signed();
    let files: Vec<(&str, String)> = zone_files(dir.path()).collect();
    let zones: Vec<(&str, &str)> = files.iter().map(|(zone, file)| (*zone, file.as_str())).collect();
    let nsd = nsd_with(peer, dir.path(), &zones, "");
    for (name, rtype, ours) in QUESTIONS {
        assert_eq!(dnsq(nsd.addr, dir.path(), name, rtype), *ours, "{name} {rtype}");
    }
    Verdict::Ok
}
