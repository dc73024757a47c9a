//! DNS peers.

use std::path::Path;

use crate::harness::{Server, server, temp_dir, tool};
use crate::peers::{Daemon, Peer, Trial, Verdict, free_address, trial};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("dig", "asks dnsserve: the zone, TCP, transfer", dig_asks_dnsserve),
    trial("dig", "prints every record type as dnsq does", dig_prints_every_type),
    trial("dig", "prints whole answers as dnsq does", dig_prints_whole_answers),
    trial("kdig", "asks dnsserve, prints data as dnsq does", kdig_asks_dnsserve),
    trial("nsd", "answers dnsq", nsd_answers),
    trial("nsd", "answers as dnsserve does", nsd_and_dnsserve_agree),
    trial("nsd", "gives its zones, signed with TSIG", nsd_transfers),
    trial("knot", "answers as dnsserve does", knot_and_dnsserve_agree),
    trial("bind9", "answers as dnsserve does", bind_and_dnsserve_agree),
    trial("unbound", "resolves from dnsserve for dnsq", unbound_resolves),
];

pub(crate) fn data(name: &str) -> String {
    format!("{}/tests/data/dns/{name}", env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn example() -> Server {
    server("dnsserve")
        .args(["--listen", "127.0.0.1:0", "--allow-transfer", "127.0.0.1"])
        .arg(data("example.test.zone"))
        .arg(data("other.test.zone"))
        .start()
}

/// What `dnsq` prints for these words.
fn dnsq(addr: std::net::SocketAddr, words: &[&str]) -> String {
    tool("dnsq").arg(format!("@{addr}")).args(words).run().text().to_owned()
}

/// What `dig` prints for these words.
fn dig(peer: &Peer, addr: std::net::SocketAddr, words: &[&str]) -> String {
    let port = addr.port().to_string();
    let args = ["@127.0.0.1", "-p", &port, "+nocookie"].into_iter().chain(words.iter().copied());
    peer.run("dig", args).text().to_owned()
}

fn dig_asks_dnsserve(peer: &Peer) -> Verdict {
    let server = example();
    let short = |words: &[&str]| dig(peer, server.addr, &[words, &["+short"]].concat());
    assert_eq!(short(&["www.example.test"]), "192.0.2.10\n");
    assert_eq!(short(&["x.walias.example.test"]), "www.example.test.\n192.0.2.10\n");
    assert_eq!(short(&["+tcp", "example.test", "MX"]), "10 mail.example.test.\n");
    assert_eq!(short(&["big.example.test", "TXT"]).lines().count(), 20, "over TCP after truncation");
    let refused = dig(peer, server.addr, &["+noall", "+comments", "elsewhere.example"]);
    assert!(refused.contains("status: REFUSED"), "{refused}");
    let zone = dig(peer, server.addr, &["+noall", "+answer", "example.test", "AXFR"]);
    assert_eq!(zone.lines().filter(|line| line.contains("\tSOA\t")).count(), 2, "{zone}");
    assert!(zone.contains("\tDNAME\tother.test."), "{zone}");
    // Under a key: each message of a transfer, an answer that is too long for its signature, and what is said of a wrong one.
    let dir = temp_dir();
    let key = dir.path().join("key");
    std::fs::write(&key, "key \"k.test\" { algorithm hmac-sha256; secret \"c2VjcmV0\"; };").unwrap();
    let names: String = (0..5000).map(|number| format!("name-{number} TXT \"{number:0200}\"\n")).collect();
    let text = format!("$ORIGIN k.test.\n$TTL 5\n@ SOA a b 1 2 3 4 5\n@ NS a\na A 192.0.2.1\n{names}");
    std::fs::write(dir.path().join("z"), text).unwrap();
    let server =
        crate::harness::server("dnsserve").args(["--listen", "127.0.0.1:0", "-k", "key", "z"]).dir(dir.path()).start();
    let ask = |secret: &str, words: &[&str]| {
        dig(peer, server.addr, &[&["-y", &format!("hmac-sha256:k.test:{secret}")], words].concat())
    };
    let zone = ask("c2VjcmV0", &["k.test", "AXFR"]);
    assert!(!zone.contains("TSIG could not") && zone.contains("XFR size: 5004 records"), "{zone:.2000}");
    for words in [&["a.k.test"][..], &["name-7.k.test", "TXT", "+tcp"], &["name-7.k.test", "TXT", "+bufsize=512"]] {
        let answer = ask("c2VjcmV0", words);
        assert!(!answer.contains("TSIG could not") && answer.contains("status: NOERROR"), "{answer}");
    }
    assert!(ask("YW5vdGhlcg==", &["a.k.test"]).contains("NOTAUTH"));
    Verdict::Ok
}

/// The record samples as a zone; each at a name of its own. NSEC3 owners are hashes.
pub(crate) fn sample_zone() -> (Vec<(String, String)>, String) {
    let samples = std::fs::read_to_string(data("rdata.txt")).unwrap();
    let known = samples.split("\n# dig 9.18 prints").next().unwrap();
    let mut zone = String::from("$ORIGIN t.test.\n$TTL 300\n@ SOA a b 1 2 3 4 5\n");
    let mut names = Vec::new();
    for (number, line) in known.lines().filter(|line| !line.starts_with('#')).enumerate() {
        let (rtype, rdata) = line.split_once(' ').unwrap();
        if rtype == "SOA" {
            continue;
        }
        let label = if rtype == "NSEC3" { format!("{number:0>32}") } else { format!("r{number}") };
        zone.push_str(&format!("{label} {rtype} {rdata}\n"));
        names.push((format!("{label}.t.test."), rtype.to_owned()));
    }
    zone.push_str("unknown TYPE65280 \\# 3 ABCDEF\n");
    names.push(("unknown.t.test.".to_owned(), "TYPE65280".to_owned()));
    (names, zone)
}

fn dig_prints_every_type(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let (names, zone) = sample_zone();
    std::fs::write(dir.path().join("t.zone"), zone).unwrap();
    let server = server("dnsserve").args(["--listen", "127.0.0.1:0", "t.zone"]).dir(dir.path()).start();
    let mut different = Vec::new();
    for (name, rtype) in &names {
        for options in [
            &["+noall", "+answer"][..],
            &["+short"],
            &["+noall", "+ans", "+unknownformat"],
            &["+noall", "+answer", "+ttlunits", "+expandaaaa"],
            &["+noall", "+answer", "+multiline"],
            &["+noall", "+answer", "+multiline", "+nocrypto", "+norrcomments"],
            &["+noall", "+answer", "+multiline", "+ttlunits", "+nottlid", "+split=12"],
            &["+noall", "+answer", "+rrcomments"],
            &["+short", "+nocrypto", "+rrcomments"],
        ] {
            let words = [options, &[name, rtype]].concat();
            let (ours, theirs) = (dnsq(server.addr, &words), dig(peer, server.addr, &words));
            if ours != theirs {
                different.push(format!("{name} {rtype} {options:?}\nours   {ours:?}\ntheirs {theirs:?}"));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(names.len() > 90);
    Verdict::Ok
}

/// Without what differs from run to run: identifiers, times.
fn steady(text: &str) -> String {
    let changes = [";; Query time:", ";; WHEN:", "; <<>> DiG", "; (1 server found)", ";; global options:"];
    let changes = |line: &str| {
        changes.iter().any(|begin| line.starts_with(begin))
            || line.contains("_time: !!timestamp")
            || line.contains("  id: ")
    };
    let lines = text.lines().filter(|line| !changes(line));
    lines.map(|line| line.split(", id: ").next().unwrap()).collect::<Vec<_>>().join("\n").trim_start().to_owned()
}

fn dig_prints_whole_answers(peer: &Peer) -> Verdict {
    let server = example();
    for words in [
        &["www.example.test"][..],
        &["nothere.example.test", "+dnssec"],
        &["sub.example.test", "MX", "+norecurse"],
        &["a.b.old.example.test", "AAAA"],
        &["example.test", "MX", "+nsid", "+tcp"],
        &["elsewhere.example"],
        &["example.test", "MX", "+nocomments", "+noadditional"],
        &["example.test", "MX", "+noall", "+answer", "+additional", "+nottlid", "+nocl"],
        &["example.test", "AXFR", "+onesoa", "+noall", "+answer"],
        &["www.example.test", "+aaonly", "+zflag", "+raflag", "+ednsflags=0x40"],
        &["www.example.test", "+opcode=status"],
        &["www.example.test", "+qr", "+qid=77", "+noadflag"],
        &["www.example.test", "+multiline"],
        &["big.example.test", "TXT"],
        &["www.example.test", "+qr", "+ednsopt=nsid", "+ednsopt=65001:0102", "+ednsopt=9:00093a80", "+ednsopt=14:1234"],
        &["www.example.test", "+qr", "+keepalive", "+subnet=192.0.2.0/24", "+ednsopt=ede:0012666f6f"],
        &["www.example.test", "+yaml", "+qr", "+ednsopt=nsid", "+ednsopt=ede:0012666f6f", "+ednsopt=11:0069"],
        &["nothere.example.test", "+yaml", "+dnssec", "+noquestion"],
        &["example.test", "MX", "+yaml", "+tcp", "+nocomments"],
        &["-r", "www.example.test", "+short"],
        &["www.example.test", "+edns=1", "+noednsneg"],
        &["a-name-long-enough-to-reach-the-next-column.wild.example.test", "TXT", "+noedns"],
    ] {
        let with_command = [&["+nocmd"], words].concat();
        let (ours, theirs) = (dnsq(server.addr, words), dig(peer, server.addr, &with_command));
        assert_eq!(steady(&ours), steady(&theirs), "{words:?}");
    }
    Verdict::Ok
}

fn kdig_asks_dnsserve(peer: &Peer) -> Verdict {
    let server = example();
    let kdig = |words: &[&str]| {
        let address = format!("@127.0.0.1#{}", server.port());
        peer.run("kdig", [&[address.as_str(), "+short"], words].concat()).text().to_owned()
    };
    for words in [&["www.example.test"][..], &["example.test", "MX"], &["+tcp", "big.example.test", "TXT"]] {
        assert_eq!(kdig(words), dnsq(server.addr, &[words, &["+short"]].concat()), "{words:?}");
    }
    Verdict::Ok
}

/// NSD with both zones.
pub(crate) fn nsd(peer: &Peer, dir: &Path, more: &str) -> Daemon {
    // NSD knows no $GENERATE.
    let plain = tool_zone(dir);
    nsd_with(peer, dir, &[("example.test", &plain), ("other.test", &data("other.test.zone"))], more)
}

/// NSD with these zones, which it gives away; `more` goes into its server options.
pub(crate) fn nsd_with(peer: &Peer, dir: &Path, zones: &[(&str, &str)], more: &str) -> Daemon {
    let addr = free_address();
    let zones: String = zones
        .iter()
        .map(|(zone, file)| format!("zone:\n  name: {zone}\n  zonefile: {file}\n  provide-xfr: 127.0.0.1 NOKEY\n"))
        .collect();
    let config = format!(
        "server:\n  ip-address: 127.0.0.1\n  port: {}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"\"\n  database: \"\"\n  \
         pidfile: {1}/pid\n  xfrdfile: {1}/xfrd\n  xfrdir: {1}\n  zonelistfile: {1}/list\n  server-count: 1\n  verbosity: 1\n\
         \x20 rrl-ratelimit: 0\n  rrl-whitelist-ratelimit: 0\n{more}\
         remote-control:\n  control-enable: no\n{zones}",
        addr.port(),
        dir.display(),
    );
    let path = dir.join("nsd.conf");
    std::fs::write(&path, config).unwrap();
    let mut command = peer.command("nsd", dir);
    command.args(["-d", "-c"]).arg(&path);
    peer.start(command, addr)
}

/// Knot with these zones, which it gives away.
pub(crate) fn knot_with(peer: &Peer, dir: &Path, zones: &[(&str, &str)]) -> Daemon {
    let (addr, home) = (free_address(), dir.display());
    let zones: String =
        zones.iter().map(|(zone, file)| format!("- domain: {zone}\n  file: {file}\n  acl: all\n")).collect();
    let config = format!(
        "server:\n  listen: 127.0.0.1@{}\n  rundir: {home}\n  udp-workers: 1\n  tcp-workers: 1\ndatabase:\n  storage: {home}\n\
         log:\n- target: stderr\n  any: warning\nacl:\n- id: all\n  address: 127.0.0.1\n  action: transfer\n\
         template:\n- id: default\n  storage: {home}\n  semantic-checks: off\n  zonefile-sync: -1\n  journal-content: none\n\
         zone:\n{zones}",
        addr.port(),
    );
    let path = dir.join("knot.conf");
    std::fs::write(&path, config).unwrap();
    let mut command = peer.command("knotd", dir);
    command.arg("-c").arg(&path);
    peer.start(command, addr)
}

/// BIND with these zones, which it gives away; `more` goes into its options, and before them.
pub(crate) fn named(peer: &Peer, dir: &Path, zones: &[(&str, &str)], (more, before): (&str, &str)) -> Daemon {
    let (addr, home) = (free_address(), dir.display());
    let zones: String = zones
        .iter()
        .map(|(zone, file)| {
            format!("zone \"{zone}\" {{ type primary; file \"{file}\"; check-names ignore; check-mx ignore; }};\n")
        })
        .collect();
    let config = format!(
        "{before}\noptions {{ directory \"{home}\"; listen-on port {} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; pid-file none; \
         session-keyfile none; recursion no; allow-transfer {{ any; }}; notify no; dnssec-validation no; check-integrity no; \
         check-sibling no; {more} }};\ncontrols {{ }};\n{zones}",
        addr.port(),
    );
    let path = dir.join("named.conf");
    std::fs::write(&path, config).unwrap();
    let mut command = peer.command("named", dir);
    command.args(["-g", "-n", "1", "-c"]).arg(&path);
    peer.start(command, addr)
}

/// The example zone without $GENERATE, as our own server gives it away.
pub(crate) fn tool_zone(dir: &Path) -> String {
    let text = std::fs::read_to_string(data("example.test.zone")).unwrap();
    let (head, line) = text.rsplit_once("$GENERATE").unwrap();
    let template = line.trim().strip_prefix("1-20 ").unwrap().replace("\"\\\"", "\"").replace("\\\"\"", "\"");
    let records: Vec<String> = (1..=20).map(|number| template.replace('$', &number.to_string())).collect();
    let path = dir.join("example.zone");
    std::fs::write(&path, format!("{head}{}\n", records.join("\n"))).unwrap();
    path.to_str().unwrap().to_owned()
}

fn nsd_answers(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let nsd = nsd(peer, dir.path(), "");
    let ask = |words: &[&str]| tool("dnsq").arg(format!("@{}", nsd.addr)).args(words).run();
    assert_eq!(ask(&["--short", "www.example.test"]).silent_success().text(), "192.0.2.10\n");
    assert_eq!(ask(&["--short", "big.example.test", "TXT"]).silent_success().text().lines().count(), 20);
    ask(&["--short", "nothere.example.test"]).exits(1);
    ask(&["--short", "www.example.test", "MX"]).exits(1);
    ask(&["--short", "elsewhere.example"]).exits(69);
    ask(&["--mix-case", "--short", "--tcp", "alias.example.test"]).exits(0).prints("192.0.2.10");
    let record = &ask(&["--json", "--nsid", "example.test", "MX"]).silent_success().records()[0];
    assert_eq!(record["answers"][0]["rdata"], "10 mail.example.test.");
    Verdict::Ok
}

/// The transfer is the zone; with the right key only, and dig's is the same.
fn nsd_transfers(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let secret = "c2VjcmV0IGtleSBmb3IgdGVzdHM=";
    let key = dir.path().join("key");
    std::fs::write(&key, format!("key \"k.test\" {{ algorithm hmac-sha512; secret \"{secret}\"; }};\n")).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let addr = free_address();
    let config = format!(
        "server:\n  ip-address: 127.0.0.1\n  port: {}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"\"\n  database: \"\"\n  \
         pidfile: {1}/pid\n  xfrdfile: {1}/xfrd\n  xfrdir: {1}\n  zonelistfile: {1}/list\n  server-count: 1\n\
         remote-control:\n  control-enable: no\nkey:\n  name: k.test\n  algorithm: hmac-sha512\n  secret: \"{secret}\"\n\
         zone:\n  name: example.test\n  zonefile: {2}\n  provide-xfr: 127.0.0.1 k.test\n",
        addr.port(),
        dir.path().display(),
        tool_zone(dir.path()),
    );
    let path = dir.path().join("nsd.conf");
    std::fs::write(&path, config).unwrap();
    let mut command = peer.command("nsd", dir.path());
    command.args(["-d", "-c"]).arg(&path);
    let nsd = peer.start(command, addr);
    let ask = |words: &[&str]| tool("dnsq").arg(format!("@{}", nsd.addr)).args(words).run();
    let key = key.to_str().unwrap();
    let copy = dir.path().join("copy");
    ask(&["-k", key, "example.test", "AXFR", "-o", copy.to_str().unwrap()]).silent_success();
    let text = std::fs::read_to_string(&copy).unwrap();
    assert!(text.lines().count() >= 43 && text.contains("\tDNAME\tother.test."), "{text}");
    ask(&["example.test", "AXFR"]).exits(69);
    ask(&["-q", "-y", "hmac-sha512:k.test:d3Jvbmc=", "example.test", "AXFR"]).exits(77);
    assert_eq!(ask(&["-k", key, "--short", "www.example.test"]).silent_success().text(), "192.0.2.10\n");
    Verdict::Ok
}

/// Questions of every kind, answered by a peer and by dnsserve: code, flags and answer section are the same.
fn agree(addr: std::net::SocketAddr, pick_authority: bool) {
    let ours = example();
    for words in [
        &["www.example.test", "A"][..],
        &["WwW.ExAmPle.test", "A"],
        &["www.example.test", "MX"],
        &["nothere.example.test", "A"],
        &["ent.example.test", "A"],
        &["alias.example.test", "A"],
        &["dangling.example.test", "A"],
        &["away.example.test", "A"],
        &["a.wild.example.test", "TXT"],
        &["a.b.wild.example.test", "TXT"],
        &["a.wild.example.test", "A"],
        &["a.exists.wild.example.test", "TXT"],
        &["x.walias.example.test", "A"],
        &["sub.example.test", "A"],
        &["deep.x.sub.example.test", "A"],
        &["sub.example.test", "DS"],
        &["old.example.test", "DNAME"],
        &["old.example.test", "A"],
        &["example.test", "SOA"],
        &["big.example.test", "TXT"],
        &["_sip._tcp.example.test", "SRV"],
    ] {
        let ask = |addr: std::net::SocketAddr| {
            let done = tool("dnsq").arg(format!("@{addr}")).args(words).args(["--json", "--no-recurse"]).run();
            let record = done.records().remove(0);
            let mut sections = vec![record["status"].clone(), record["flags"].clone()];
            let negative = record["answers"].as_array().unwrap().is_empty();
            for name in if pick_authority && negative { &["answers", "authority"][..] } else { &["answers"] } {
                let mut records = record[*name].as_array().unwrap().clone();
                records.sort_by_key(ToString::to_string);
                sections.push(records.into());
            }
            serde_json::Value::from(sections).to_string().to_lowercase()
        };
        assert_eq!(ask(ours.addr), ask(addr), "{words:?}");
    }
}

fn nsd_and_dnsserve_agree(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    agree(nsd(peer, dir.path(), "").addr, true);
    Verdict::Ok
}

fn knot_and_dnsserve_agree(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    agree(knot(peer, dir.path()).addr, true);
    Verdict::Ok
}

/// Knot with the example zones.
pub(crate) fn knot(peer: &Peer, dir: &Path) -> Daemon {
    let plain = tool_zone(dir);
    knot_with(peer, dir, &[("example.test", &plain), ("other.test", &data("other.test.zone"))])
}

fn bind_and_dnsserve_agree(peer: &Peer) -> Verdict {
    let dir = temp_dir();
    let zones = [("example.test", &*data("example.test.zone")), ("other.test", &data("other.test.zone"))];
    agree(named(peer, dir.path(), &zones, ("minimal-responses yes;", "")).addr, true);
    Verdict::Ok
}

/// unbound, which asks dnsserve; `more` goes into its server options.
pub(crate) fn unbound(peer: &Peer, dir: &Path, authority: &Server, more: &str) -> Daemon {
    let (addr, home) = (free_address(), dir.display());
    let config = format!(
        "server:\n  interface: 127.0.0.1@{}\n  chroot: \"\"\n  username: \"\"\n  directory: \"{home}\"\n  pidfile: \"\"\n  \
         use-syslog: no\n  do-not-query-localhost: no\n  do-daemonize: no\n  local-zone: \"test.\" nodefault\n  \
         module-config: \"iterator\"\n{more}remote-control:\n  control-enable: no\n\
         stub-zone:\n  name: example.test\n  stub-addr: 127.0.0.1@{1}\nstub-zone:\n  name: other.test\n  stub-addr: 127.0.0.1@{1}\n",
        addr.port(),
        authority.port(),
    );
    let path = dir.join("unbound.conf");
    std::fs::write(&path, config).unwrap();
    let mut command = peer.command("unbound", dir);
    command.arg("-d").arg("-c").arg(&path);
    peer.start(command, addr)
}

fn unbound_resolves(peer: &Peer) -> Verdict {
    let (dir, authority) = (temp_dir(), example());
    let daemon = unbound(peer, dir.path(), &authority, "");
    let ask = |words: &[&str]| tool("dnsq").arg(format!("@{}", daemon.addr)).args(words).run();
    assert_eq!(ask(&["--short", "across.example.test"]).exits(0).text(), "www.other.test.\n198.51.100.1\n");
    assert_eq!(ask(&["--short", "big.example.test", "TXT"]).exits(0).text().lines().count(), 20);
    assert_eq!(
        ask(&["--short", "www.old.example.test", "A"]).exits(0).text(),
        "other.test.\nwww.other.test.\n198.51.100.1\n"
    );
    ask(&["--short", "nothere.example.test"]).exits(1);
    Verdict::Ok
}
