//! dnsq --trace and --compare against servers of ours on addresses of their own.

use std::net::{TcpListener, UdpSocket};

use crate::harness::{Done, Server, server, temp_dir, tool, udp_peer};

/// A file of the signed hierarchy; `make.sh` beside it says what is in it.
pub(crate) fn signed(name: &str) -> String {
    format!("{}/tests/data/dns/signed/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A port that was free a moment ago for TCP and UDP on each of these addresses.
fn common_port(addresses: &[&str]) -> u16 {
    for _ in 0..50 {
        let first = TcpListener::bind((addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let tcp = addresses[1..].iter().map(|address| TcpListener::bind((*address, port)));
        let udp = addresses.iter().map(|address| UdpSocket::bind((*address, port)));
        let (tcp, udp): (Vec<_>, Vec<_>) = (tcp.collect(), udp.collect());
        if tcp.iter().all(Result::is_ok) && udp.iter().all(Result::is_ok) {
            return port;
        }
    }
    panic!("no port that is free on {addresses:?}");
}

fn serve(address: &str, port: u16, zones: &[&str]) -> Server {
    let zones = zones.iter().map(|zone| match *zone {
        "root" => format!("--zone=.={}", signed("root.zone")),
        zone => format!("--zone={zone}={}", signed(&format!("{zone}.zone"))),
    });
    server("dnsserve").arg(format!("--listen={address}:{port}")).args(zones).start()
}

pub(crate) struct World {
    pub(crate) port: u16,
    _servers: [Server; 3],
}

/// root -> test -> example.test and others, each level on its own address and the same port.
pub(crate) fn world() -> World {
    let addresses = ["127.0.0.11", "127.0.0.12", "127.0.0.13"];
    let port = common_port(&addresses);
    let leaves = ["example.test", "hashed.test", "insecure.test", "lame.test", "sub.example.test"];
    let servers = [
        serve(addresses[0], port, &["root"]),
        serve(addresses[1], port, &["test"]),
        serve(addresses[2], port, &leaves),
    ];
    World { port, _servers: servers }
}

impl World {
    pub(crate) fn trace(&self, words: &[&str]) -> Done {
        let port = self.port.to_string();
        tool("dnsq").args(["--trace", "-p", &port, "--hints", &signed("hints")]).args(words).run()
    }
}

#[test]
fn steps_from_the_root_to_the_answer() {
    let world = world();
    let text = world.trace(&["www.example.test"]);
    text.silent_success()
        .prints("\ntest.\t\t\t300\tIN\tNS\tns.test.\n".trim_start())
        .prints(&format!(" bytes from 127.0.0.11#{}(root-server.) in ", world.port))
        .prints(": referral to test., 1 server, 1 with glue\n")
        .prints("\nwww.example.test.\t300\tIN\tA\t192.0.2.10\n")
        .prints(": answer\n");
    let json = world.trace(&["--json", "www.example.test", "AAAA"]);
    json.silent_success();
    let steps = json.records();
    let zones: Vec<&str> = steps.iter().map(|step| step["zone"].as_str().unwrap()).collect();
    assert_eq!(zones, [".", "test.", "example.test."]);
    assert_eq!(steps[0]["referral"]["servers"][0]["addresses"][0], "127.0.0.12");
    assert_eq!(steps[2]["answers"][0]["rdata"], "2001:db8::10");
    let digs =
        tool("dnsq").args(["+trace", "+short", "@127.0.0.11", "-p", &world.port.to_string(), "www.example.test"]).run();
    assert_eq!(digs.silent_success().text(), "192.0.2.10\n", "from a server that was named");
    assert_eq!(world.trace(&["--tcp", "--json", "www.example.test"]).records()[0]["transport"], "tcp");
    // DNSSEC records are shown when they are asked for.
    world.trace(&["--dnssec", "www.example.test"]).silent_success().prints("\tRRSIG\tDS 13 ").prints("\tRRSIG\tA 13 ");
}

#[test]
fn aliases_lame_servers_and_servers_without_addresses() {
    let world = world();
    let found = |words: &[&str]| -> Vec<String> {
        let done = world.trace(&[&["--json"], words].concat());
        done.records_of("step").iter().map(|step| step["found"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found(&["www.lame.test"]), ["referral", "referral", "lame", "answer"]);
    assert_eq!(found(&["nothere.test"]), ["referral", "no_name"]);
    assert_eq!(found(&["www.example.test", "MX"]), ["referral", "referral", "no_data"]);
    assert_eq!(world.trace(&["--short", "to-hashed.example.test"]).text(), "www.hashed.test.\n192.0.2.11\n");
    world.trace(&["nothere.test"]).exits(1);
    world.trace(&["--short", "www.example.test", "MX"]).exits(1);
    let nowhere = world.trace(&["--json", "www.nowhere.test"]);
    nowhere.exits(75).says("no server of nowhere.test. has an address");
    let depths: Vec<u64> = nowhere.records_of("step").iter().map(|step| step["depth"].as_u64().unwrap()).collect();
    assert_eq!(depths, [0, 0, 1], "the look-up of the server is a step as well");
}

#[test]
fn silence_hints_and_usage() {
    let silent = udp_peer(|_| Vec::new());
    let dir = temp_dir();
    let hints = dir.path().join("hints");
    std::fs::write(&hints, ". NS a.\na. A 127.0.0.1\n").unwrap();
    let hints = hints.to_str().unwrap();
    let port = silent.port().to_string();
    let done = tool("dnsq")
        .args(["--trace", "--hints", hints, "-p", &port, "--timeout", "0.2", "--tries", "1", "--json", "x.test"])
        .run();
    done.exits(75);
    assert_eq!(done.records_of("step")[0]["found"], "failed");
    std::fs::write(hints, "nonsense\n").unwrap();
    tool("dnsq").args(["--trace", "--hints", hints, "x"]).run().exits(65).says("line 1");
    tool("dnsq").args(["--trace", "--hints", "/nonexistent", "x"]).run().exits(66);
    tool("dnsq").args(["--hints", hints, "x"]).run().exits(64);
    tool("dnsq").args(["--trace", "--validate", "x"]).run().exits(64);
    tool("dnsq").args(["--trace", "--compare", "x"]).run().exits(64);
}

/// Three servers of one zone, one of which lags behind, and one that is lame.
#[test]
fn compare_says_who_disagrees() {
    let dir = temp_dir();
    let zone = |serial: u32, address: &str, servers: &str| {
        format!(
            "$ORIGIN c.test.\n$TTL 60\n@ SOA ns1 h {serial} 2 3 4 5\n{servers}ns1 A 127.0.0.11\nns2 A 127.0.0.12\nns3 A 127.0.0.13\n\
             www A {address}\n"
        )
    };
    let two = "@ NS ns1\n@ NS ns2\n";
    let three = "@ NS ns1\n@ NS ns2\n@ NS ns3\n";
    let addresses = ["127.0.0.11", "127.0.0.12", "127.0.0.13"];
    let port = common_port(&addresses);
    let start = |address: &str, text: String| {
        let file = dir.path().join(format!("{address}.zone"));
        std::fs::write(&file, text).unwrap();
        server("dnsserve").arg(format!("--listen={address}:{port}")).arg(&file).start()
    };
    let compare = |words: &[&str]| {
        let port = port.to_string();
        tool("dnsq")
            .args(["--compare", "@127.0.0.11", "-p", &port, "--timeout", "0.5", "--tries", "1"])
            .args(words)
            .run()
    };
    let _first = start(addresses[0], zone(7, "192.0.2.1", two));
    {
        let _second = start(addresses[1], zone(7, "192.0.2.1", two));
        let done = compare(&["www.c.test"]);
        let expected = format!(
            "www.c.test.\tA\t127.0.0.11:{port}\tns1.c.test.\t7\tNOERROR\tagrees\n\
             www.c.test.\tA\t127.0.0.12:{port}\tns2.c.test.\t7\tNOERROR\tagrees\n"
        );
        assert_eq!(done.silent_success().text(), expected);
        let from_file = |text: &str, words: &[&str]| {
            let file = dir.path().join("names");
            std::fs::write(&file, text).unwrap();
            compare(&[&["-f", file.to_str().unwrap()], words].concat())
        };
        let several = from_file("# two names\nwww.c.test\nc.test SOA NS\n", &["--json"]);
        let asked: Vec<String> = several
            .exits(0)
            .records_of("server")
            .iter()
            .map(|it| {
                format!("{} {}", it["question"]["name"].as_str().unwrap(), it["question"]["qtype"].as_str().unwrap())
            })
            .collect();
        assert_eq!(
            asked.join(", "),
            ["www.c.test. A", "c.test. SOA", "c.test. NS"].map(|it| [it; 2].join(", ")).join(", ")
        );
        assert_eq!(several.records_of("comparison").len(), 3);
        from_file("", &[]).silent_success();
        from_file("www.c.test\nwww.c.test FROB\n", &[]).exits(65).says("line 2: neither a type nor a class: FROB");
        from_file("www.c.test\n", &["--ordered"]).exits(64);
        compare(&["nothere.c.test"]).silent_success().prints("\tNXDOMAIN\tagrees\n");
    }
    {
        let _second = start(addresses[1], zone(6, "192.0.2.9", two));
        compare(&["www.c.test"]).exits(1).prints("\tns2.c.test.\t6\tNOERROR\tdiffers: serial, answers\n");
        let done = compare(&["--json", "www.c.test"]);
        done.exits(1);
        let summary = &done.records_of("comparison")[0];
        assert_eq!((summary["agree"].as_bool(), summary["disagree"].as_u64()), (Some(false), Some(1)));
        assert_eq!((summary["serial"].as_u64(), summary["zone"].as_str()), (Some(7), Some("c.test.")));
    }
    // Silent: nobody listens on the second address now.
    let silent = compare(&["--json", "www.c.test"]);
    silent.exits(75);
    assert_eq!(silent.records_of("error").len(), 1);
    drop(_first);
    let _first = start(addresses[0], zone(7, "192.0.2.1", three));
    let _second = start(addresses[1], zone(7, "192.0.2.1", three));
    let lame = start(addresses[2], "$ORIGIN d.test.\n$TTL 60\n@ SOA a b 1 2 3 4 5\n".to_owned());
    compare(&["www.c.test"]).exits(1).says("lame: REFUSED");
    drop(lame);
}

#[test]
fn one_way_at_a_time() {
    for words in
        [["--trace", "--validate"], ["+trace", "--validate"], ["--compare", "+trace"], ["+nssearch", "--validate"]]
    {
        let done = tool("dnsq").args(["@127.0.0.1", "www.example.test"]).args(words).run();
        done.exits(64);
    }
}

/// An alias is compared where it stands, and what it means in the zone of its target.
#[test]
fn compare_follows_an_alias() {
    let dir = temp_dir();
    let addresses = ["127.0.0.21", "127.0.0.22"];
    let port = common_port(&addresses);
    let zones = [("a", "www CNAME web.b.test.\nend CNAME gone\n", 7), ("b", "web A 192.0.2.5\n", 8)];
    let mut servers = Vec::new();
    for ((zone, records, serial), address) in zones.into_iter().zip(addresses).rev() {
        let text =
            format!("$ORIGIN {zone}.test.\n$TTL 60\n@ SOA ns h {serial} 2 3 4 5\n@ NS ns\nns A {address}\n{records}");
        std::fs::write(dir.path().join(zone), text).unwrap();
        let server = server("dnsserve").arg(format!("--listen={address}:{port}")).arg(zone).dir(dir.path());
        let forward = format!("--forward={}:{port}", addresses[1]);
        servers.push(server.args((zone == "a").then_some(forward)).start());
    }
    let compare = |name: &str| {
        tool("dnsq").args(["--compare", "@127.0.0.21", "-p", &port.to_string(), "--tries", "1", name]).run()
    };
    let (first, second) = (
        format!("www.a.test.\tA\t127.0.0.21:{port}\tns.a.test.\t7\tNOERROR\tagrees\n"),
        format!("web.b.test.\tA\t127.0.0.22:{port}\tns.b.test.\t8\tNOERROR\tagrees\n"),
    );
    assert_eq!(compare("www.a.test").silent_success().text(), first + &second);
    assert_eq!(compare("end.a.test").silent_success().text().lines().count(), 1, "it ends in its own zone");
}
