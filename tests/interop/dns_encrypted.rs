//! DNS over TLS and HTTPS: plain questions, many questions, transfers, and who is believed, with real servers.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Instant;

use crate::dns::{data, example, named, nsd, unbound};
use crate::dns_peers::{Identity, identity};
use crate::harness::{Done, temp_dir, tool};
use crate::peers::{Peer, Trial, Verdict, free_address, trial};

/// One row a peer × feature.
pub(crate) const TRIALS: &[Trial] = &[
    trial("bind9", "answers dnsq over TLS and HTTPS, gives its zone over TLS", bind_encrypted),
    trial("unbound", "answers dnsq over TLS and HTTPS", unbound_encrypted),
    trial("nsd", "answers dnsq over TLS, gives its zone over TLS", nsd_encrypted),
    trial("knot", "answers dnsq over TLS and QUIC", knot_encrypted),
    trial("dnsdist", "answers dnsq over TLS and HTTPS", dnsdist_encrypted),
    trial("aioquic", "answers dnsq -f over QUIC", aioquic_bulk),
    trial("kdig", "asks over TLS and HTTPS what dnsq asks", kdig_encrypted),
    trial("dnsmasq", "answers dnsq: hosts, records, forwarding, EDNS", dnsmasq_answers),
];

fn dnsq(url: &str, words: &[&str]) -> Done {
    tool("dnsq").arg(format!("@{url}")).args(["--timeout", "30"]).args(words).run()
}

/// Every kind of question over one connection, and the certificate taken or not as it should be.
fn answers(url: &str, identity: &Identity) {
    let ca = identity.ca.to_str().unwrap();
    let names = ["www.example.test", "example.test", "MX", "nothere.example.test", "big.example.test", "TXT"];
    let done = dnsq(url, &[&names[..], &["--json", "--ca-cert", ca]].concat());
    let records = done.silent_success().records();
    let seen: Vec<_> = records.iter().map(|record| record["answers"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!(seen, [1, 1, 0, 20], "{url}: {done}");
    assert_eq!(records[0]["answers"][0]["rdata"], "192.0.2.10");
    assert_eq!(records[2]["status"], "NXDOMAIN");
    let scheme = url.split(':').next().unwrap();
    assert!(records.iter().all(|record| record["transport"] == scheme), "{done}");

    let run = |args: &[&str]| dnsq(url, &[&["--short", "www.example.test"], args].concat());
    let wrong = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    run(&[]).exits(77);
    run(&["--ca-cert", ca, "--tls-name", "dns.test"]).silent_success();
    run(&["--ca-cert", ca, "--tls-name", "other.test"]).exits(77);
    run(&["--pin", &identity.pin]).silent_success();
    run(&["--pin", wrong]).exits(77);
    run(&["--pin", wrong, "--ca-cert", ca]).exits(77);
    run(&["-q", "--insecure"]).silent_success();

    bulk(url, identity, "TXT");
}

/// 20,000 names: each has one record, and all are there.
fn bulk(url: &str, identity: &Identity, rtype: &str) {
    const NAMES: usize = 20_000;
    let ca = identity.ca.to_str().unwrap();
    let many: String = (0..NAMES).map(|number| format!("n{number}.wild.example.test\n")).collect();
    let begun = Instant::now();
    let done =
        tool("dnsq").arg(format!("@{url}")).args(["-f", "-", "--json", "--ca-cert", ca, rtype]).stdin(many).run();
    println!("{url}: {NAMES} names in {:.2} s", begun.elapsed().as_secs_f64());
    let mut names = HashSet::new();
    for record in done.silent_success().records_of("answer") {
        assert_eq!(record["status"], "NOERROR", "{url}: {record}");
        assert!(names.insert(record["question"]["name"].as_str().unwrap().to_owned()), "{url}: twice: {record}");
    }
    assert_eq!(names.len(), NAMES, "{url}");
}

/// The zone over TLS (RFC 9103) is the zone over TCP.
fn transfers(plain: SocketAddr, tls: SocketAddr, identity: &Identity) {
    let ca = identity.ca.to_str().unwrap();
    let words = ["example.test", "AXFR", "--ca-cert", ca, "+nostats"];
    let (over_tcp, over_tls) = (dnsq(&plain.to_string(), &words), dnsq(&format!("tls://{tls}"), &words));
    assert!(over_tcp.silent_success().text().lines().count() >= 43, "{over_tcp}");
    assert_eq!(over_tls.silent_success().text(), over_tcp.text());
    let done = dnsq(&format!("tls://{tls}"), &["example.test", "AXFR", "--json", "--ca-cert", ca]);
    assert_eq!(done.silent_success().records_of("transfer")[0]["transport"], "tls");
    dnsq(&format!("tls://{tls}"), &["example.test", "AXFR"]).exits(77);
}

/// BIND with TLS and HTTPS.
fn bind(peer: &Peer, identity: &Identity) -> (crate::peers::Daemon, SocketAddr, SocketAddr) {
    let (tls, https) = (free_address(), free_address());
    let (cert, key) = (identity.ca.display(), identity.key.display());
    let more = format!(
        "listen-on port {} tls own {{ 127.0.0.1; }}; listen-on port {} tls own http default {{ 127.0.0.1; }};",
        tls.port(),
        https.port()
    );
    let before = format!("tls own {{ cert-file \"{cert}\"; key-file \"{key}\"; }};");
    let zones = [("example.test", &*data("example.test.zone")), ("other.test", &data("other.test.zone"))];
    (named(peer, identity.dir.path(), &zones, (&more, &before)), tls, https)
}

fn bind_encrypted(peer: &Peer) -> Verdict {
    let identity = identity();
    let (daemon, tls, https) = bind(peer, &identity);
    answers(&format!("tls://{tls}"), &identity);
    answers(&format!("https://{https}/dns-query"), &identity);
    answers(&format!("https://{https}/dns-query{{?dns}}"), &identity);
    dnsq(&format!("https://{https}/elsewhere"), &["--insecure", "www.example.test"]).exits(69);
    transfers(daemon.addr, tls, &identity);
    Verdict::Ok
}

fn unbound_encrypted(peer: &Peer) -> Verdict {
    let (identity, authority) = (identity(), example());
    let (tls, https) = (free_address(), free_address());
    let more = format!(
        "  interface: 127.0.0.1@{0}\n  interface: 127.0.0.1@{1}\n  tls-port: {0}\n  https-port: {1}\n  \
         tls-service-key: {2}\n  tls-service-pem: {3}\n",
        tls.port(),
        https.port(),
        identity.key.display(),
        identity.ca.display()
    );
    let _daemon = unbound(peer, identity.dir.path(), &authority, &more);
    answers(&format!("tls://{tls}"), &identity);
    answers(&format!("https://{https}/dns-query"), &identity);
    answers(&format!("https://{https}/dns-query{{?dns}}"), &identity);
    Verdict::Ok
}

/// dnsdist in front of dnsserve.
fn dnsdist_encrypted(peer: &Peer) -> Verdict {
    let (identity, authority) = (identity(), example());
    let (plain, tls, https) = (free_address(), free_address(), free_address());
    let (cert, key) = (identity.ca.display(), identity.key.display());
    let config = format!(
        "setLocal('{plain}')\nsetACL('127.0.0.0/8')\nnewServer{{address='127.0.0.1:{}', healthCheckMode='up'}}\n\
         addTLSLocal('{tls}', '{cert}', '{key}')\naddDOHLocal('{https}', '{cert}', '{key}', '/dns-query')\n",
        authority.port()
    );
    let path = identity.dir.path().join("dnsdist.conf");
    std::fs::write(&path, config).unwrap();
    let mut command = peer.command("dnsdist", identity.dir.path());
    command.args(["--supervised", "--disable-syslog", "-C"]).arg(&path);
    let _daemon = peer.start(command, plain);
    answers(&format!("tls://{tls}"), &identity);
    answers(&format!("https://{https}/dns-query"), &identity);
    Verdict::Ok
}

fn aioquic_bulk(peer: &Peer) -> Verdict {
    let (identity, addr) = (identity(), free_address());
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/doq.py");
    let mut command = peer.command("python3", identity.dir.path());
    command
        .env("PYTHONPATH", peer.root().join("usr/lib/python3/dist-packages"))
        .arg(script)
        .arg(addr.port().to_string());
    command.args([&identity.ca, &identity.key]);
    let _daemon = peer.start(command, addr);
    bulk(&format!("quic://{addr}"), &identity, "A");
    Verdict::Ok
}

fn nsd_encrypted(peer: &Peer) -> Verdict {
    let identity = identity();
    let tls = free_address();
    let more = format!(
        "  ip-address: 127.0.0.1@{0}\n  tls-port: {0}\n  tls-service-key: {1}\n  tls-service-pem: {2}\n",
        tls.port(),
        identity.key.display(),
        identity.ca.display()
    );
    let daemon = nsd(peer, identity.dir.path(), &more);
    answers(&format!("tls://{tls}"), &identity);
    transfers(daemon.addr, tls, &identity);
    Verdict::Ok
}

fn knot_encrypted(peer: &Peer) -> Verdict {
    let version = peer.run("knotd", ["-V"]).text().to_owned();
    let minor = version.split("version 3.").nth(1).and_then(|rest| rest.split('.').next()?.trim().parse::<u32>().ok());
    if minor.is_some_and(|minor| minor < 4) {
        return Verdict::NotApplicable("listen-quic came with 3.3, listen-tls with 3.4");
    }
    let identity = identity();
    let (plain, tls, quic) = (free_address(), free_address(), free_address());
    let home = identity.dir.path();
    let config = format!(
        "server:\n  rundir: {home}\n  listen: 127.0.0.1@{}\n  listen-tls: 127.0.0.1@{}\n  listen-quic: 127.0.0.1@{}\n  \
         cert-file: {}\n  key-file: {}\ndatabase:\n  storage: {home}\nzone:\n- domain: example.test\n  file: {}\n",
        plain.port(),
        tls.port(),
        quic.port(),
        identity.ca.display(),
        identity.key.display(),
        crate::dns::tool_zone(home),
        home = home.display(),
    );
    std::fs::write(home.join("knot.conf"), config).unwrap();
    let mut command = peer.command("knotd", home);
    command.arg("-c").arg(home.join("knot.conf"));
    let _daemon = peer.start(command, plain);
    answers(&format!("tls://{tls}"), &identity);
    answers(&format!("quic://{quic}"), &identity);
    Verdict::Ok
}

/// kdig and dnsq ask the same encrypted server with the same words.
fn kdig_encrypted(peer: &Peer) -> Verdict {
    let Ok(bind9) = Peer::find("bind9") else { return Verdict::NotApplicable("needs bind9") };
    let identity = identity();
    let (_daemon, tls, https) = bind(&bind9, &identity);
    let ca = format!("+tls-ca={}", identity.ca.display());
    for (addr, way) in [(tls, &["+tls"][..]), (https, &["+https"]), (https, &["+https=/dns-query"])] {
        let port = addr.port().to_string();
        for question in [&["www.example.test"][..], &["example.test", "MX"], &["big.example.test", "TXT"]] {
            let words = [&["@127.0.0.1", "-p", &port, &ca, "+tls-hostname=dns.test", "+short"], way, question].concat();
            let ours = tool("dnsq").args(&words).run();
            // BIND turns sets of records round.
            let sorted = |done: &Done| {
                let mut lines: Vec<String> = done.text().lines().map(str::to_owned).collect();
                lines.sort();
                lines
            };
            assert_eq!(sorted(ours.silent_success()), sorted(&peer.run("kdig", &words)), "{words:?}");
        }
    }
    Verdict::Ok
}

/// dnsmasq answers from a hosts file and records of its own, and forwards the rest to dnsserve.
fn dnsmasq_answers(peer: &Peer) -> Verdict {
    let (dir, authority, addr) = (temp_dir(), example(), free_address());
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "192.0.2.77 box.lan box\n2001:db8::77 box.lan\n").unwrap();
    let mut command = peer.command("dnsmasq", dir.path());
    command.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file="]);
    command.args(["--bind-interfaces", "--listen-address=127.0.0.1", "--user=", "--group=", "--log-facility=-"]);
    command.args(["--txt-record=note.lan,a \"quoted\" word", "--mx-host=box.lan,mail.lan,10", "--local=/lan/"]);
    command.arg(format!("--port={}", addr.port())).arg(format!("--addn-hosts={}", hosts.display()));
    command.arg(format!("--server=/example.test/127.0.0.1#{}", authority.port()));
    let daemon = peer.start(command, addr);
    let ask = |words: &[&str]| dnsq(&daemon.addr.to_string(), words);
    let short = |words: &[&str]| ask(&[&["--short"], words].concat()).silent_success().text().to_owned();
    assert_eq!(short(&["box.lan", "A", "AAAA"]), "192.0.2.77\n2001:db8::77\n");
    assert_eq!(short(&["-x", "192.0.2.77"]), "box.lan.\n");
    assert_eq!(short(&["box.lan", "MX"]), "10 mail.lan.\n");
    assert_eq!(short(&["note.lan", "TXT"]), "\"a \\\"quoted\\\" word\"\n");
    assert_eq!(short(&["--tcp", "box.lan"]), "192.0.2.77\n");
    assert_eq!(short(&["--no-edns", "--mix-case", "www.example.test"]), "192.0.2.10\n");
    assert_eq!(short(&["big.example.test", "TXT"]).lines().count(), 20, "over TCP after truncation");
    ask(&["--short", "nothere.lan"]).exits(1);
    ask(&["--short", "nothere.example.test"]).exits(1);
    ask(&["--short", "elsewhere.example"]).exits(69);
    let record = &ask(&["--json", "--bufsize", "4096", "www.example.test"]).silent_success().records()[0];
    assert!(record["edns"]["udp_size_bytes"].as_u64().is_some_and(|size| size >= 1232), "{record}");
    Verdict::Ok
}
