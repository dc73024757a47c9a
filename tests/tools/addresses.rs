//! Families of addresses: servers for both, IPv4 clients that come through IPv6 sockets, mail servers with several addresses,
//! and options that leave none.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use crate::activation::{SERVERS, ZONE, answers};
use crate::harness::{Run, Server, server, temp_dir, tool};

/// A port below those that the system gives away, free for TCP and UDP.
fn free_port() -> u16 {
    let is_free = |port: &u16| {
        ["0.0.0.0", "::"].iter().all(|ip| TcpListener::bind((*ip, *port)).and(UdpSocket::bind((*ip, *port))).is_ok())
    };
    std::iter::repeat_with(|| 20_000 + (getrandom::u32().unwrap() % 10_000) as u16).find(is_free).unwrap()
}

fn served(name: &str, dir: &std::path::Path, run: Run) -> Run {
    std::fs::create_dir_all(dir.join("mail")).unwrap();
    std::fs::write(dir.join("zone"), ZONE).unwrap();
    let run = run.dir(dir);
    match name {
        "ftpserve" => run.arg("mail"),
        "smtpserve" => run.args(["--domain", "a.test", "--create", "--mailboxes", "mail"]),
        _ => run.args(["--zone", "a.test=zone"]),
    }
}

fn listening(name: &str, dir: &std::path::Path, listen: &[String]) -> Server {
    let listen = listen.iter().flat_map(|address| ["--listen", address]);
    served(name, dir, server(name)).arg("--json").args(listen).start()
}

#[test]
fn ipv4_and_ipv6_are_served_beside_each_other() {
    for name in SERVERS {
        let dir = temp_dir();
        for listen in
            [&["0.0.0.0", "[::]"][..], &["[::]", "0.0.0.0"], &["127.0.0.1", "[::]"], &["[::]", "127.0.0.1"], &["[::]"]]
        {
            let port = free_port();
            let addresses: Vec<String> = listen.iter().map(|ip| format!("{ip}:{port}")).collect();
            let server = listening(name, dir.path(), &addresses);
            for ip in ["127.0.0.1", "::1"] {
                answers(name, SocketAddr::new(ip.parse().unwrap(), port));
            }
            // A socket for both families is one only where no other is named.
            let other = SocketAddr::new("127.0.0.2".parse().unwrap(), port);
            let reached = TcpStream::connect(other).is_ok();
            assert_eq!(reached, !addresses[..].iter().any(|it| it.starts_with("127")), "{name} {addresses:?}");
            assert_eq!(server.stop(), 0);
        }
        let two = ["0.0.0.0:0".to_owned(), "[::]:0".to_owned()];
        assert_eq!(listening(name, dir.path(), &two).stop(), 0);
    }
}

#[test]
fn an_address_in_use_is_no_matter_of_time() {
    for name in SERVERS {
        let dir = temp_dir();
        let taken = TcpListener::bind("[::]:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        for ip in ["127.0.0.1", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]"] {
            let run = served(name, dir.path(), tool(name)).args(["--listen", &format!("{ip}:{port}")]).run();
            run.exits(73).says("Address already in use");
        }
        let free = free_port();
        let twice = [free, free].map(|port| format!("127.0.0.1:{port}"));
        let run = served(name, dir.path(), tool(name)).args(["--listen", &twice[0], "--listen", &twice[1]]).run();
        run.exits(73).says("Address already in use");
    }
    let dir = temp_dir();
    let taken = UdpSocket::bind("[::]:0").unwrap();
    let listen = format!("[::]:{}", taken.local_addr().unwrap().port());
    let run = served("dnsserve", dir.path(), tool("dnsserve")).args(["--listen", &listen]).run();
    run.exits(73).says(&format!("listen on UDP {listen}: Address already in use"));
}

/// Sends the server what `client` says by IPv4 to a socket for both families; the server's records.
fn records_of(name: &str, args: &[&str], client: impl Fn(&str)) -> String {
    let dir = temp_dir();
    let server = served(name, dir.path(), server(name)).args(["--json", "--listen", "[::]:0"]).args(args).start();
    client(&format!("127.0.0.1:{}", server.port()));
    server.stdout.wait_for(":\"127.0.0.1");
    server.stdout.text()
}

#[test]
fn a_client_by_ipv4_is_one_everywhere() {
    let mail = |to: &'static str, status: i32| {
        move |at: &str| {
            let sent = tool("smtpsend").args(["--server", at, "--tls", "none", "--from", "a@b.test", "--to", to]);
            sent.args(["--body", "-"]).stdin("text\n").run().exits(status);
        }
    };
    let transfer = |status: i32| {
        move |at: &str| {
            tool("dnsq").args([&format!("@{at}"), "a.test", "AXFR"]).run().exits(status);
        }
    };
    let forward = |status: &'static str| {
        move |at: &str| {
            let asked = tool("dnsq").args([&format!("@{at}"), "b.test", "--json", "--tries", "1"]).run();
            assert!(asked.text().contains(status), "{asked}");
        }
    };
    // The networks that each option takes: those that hold the client, those that do not, those that are none.
    let yes = [
        "127.0.0.0/8",
        "::ffff:127.0.0.0/104",
        "::ffff:127.0.0.1",
        "[::ffff:127.0.0.1]/128",
        "0.0.0.0/0",
        "::ffff:0:0/96",
    ];
    let no = ["::1", "::/0", "::ffff:192.0.2.0/120", "10.0.0.0/8", "::ffff:127.0.0.2"];
    let none = ["::ffff:0:0/90", "::ffff:127.0.0.0/95", "127.0.0.0/33", "a.test", "fe80::1%lo"];
    // An empty answer to everything.
    let answer = |query: &[u8]| vec![[&query[..2], &[query[2] | 0x80], &query[3..]].concat()];
    let upstream = crate::harness::udp_peer(answer).to_string();
    for (name, option, extra) in [
        ("dnsserve", "--allow-transfer", None),
        ("dnsserve", "--allow-forward", Some(upstream.as_str())),
        ("smtpserve", "--relay-from", None),
    ] {
        for (networks, allowed) in [(&yes[..], true), (&no, false)] {
            for network in networks {
                let mut args = vec![option, network];
                args.extend(extra.into_iter().flat_map(|server| ["--forward", server]));
                let records = match (option, allowed) {
                    ("--allow-transfer", true) => records_of(name, &args, transfer(0)),
                    ("--allow-transfer", false) => records_of(name, &args, transfer(69)),
                    ("--allow-forward", true) => records_of(name, &args, forward("NOERROR")),
                    ("--allow-forward", false) => records_of(name, &args, forward("REFUSED")),
                    (_, true) => {
                        args.extend(["--queue-dir", "queue"]);
                        records_of(name, &args, mail("x@far.test", 0))
                    }
                    (_, false) => records_of(name, &args, mail("x@far.test", 69)),
                };
                assert!(!records.contains("::ffff:"), "{args:?}: {records}");
            }
        }
        for network in none {
            let dir = temp_dir();
            let run = served(name, dir.path(), tool(name)).args([option, network, "--listen", "127.0.0.1:0"]);
            run.args(extra.into_iter().flat_map(|server| ["--forward", server])).run().exits(64).says(option);
        }
    }
    let plain = r#""ip":"127.0.0.1""#;
    let list = |at: &str| {
        tool("ftpls").arg(format!("ftp://{at}/")).run().exits(0);
    };
    assert!(records_of("ftpserve", &[], list).contains(plain));
    assert!(records_of("smtpserve", &[], mail("x@a.test", 0)).contains(plain));
    for way in ["udp", "tcp"] {
        let ask = |at: &str| {
            tool("dnsq").arg(format!("@{way}://{at}")).arg("ns.a.test").run().exits(0);
        };
        assert!(records_of("dnsserve", &[], ask).contains(r#""client":"127.0.0.1:"#), "{way}");
    }
    // One limit for an address, whichever socket it comes through.
    for name in ["ftpserve", "smtpserve"] {
        let dir = temp_dir();
        let ports = [free_port(), free_port()];
        let listen = ["--listen", &format!("[::]:{}", ports[0]), "--listen", &format!("127.0.0.1:{}", ports[1])];
        let run = served(name, dir.path(), server(name)).args(["--max-per-address", "1"]).args(listen);
        let _server = run.start();
        let greeted = ports.map(|port| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let mut greeting = [0; 3];
            stream.read_exact(&mut greeting).unwrap();
            (stream, greeting)
        });
        assert_eq!(greeted.map(|(_, greeting)| greeting), [*b"220", *b"421"], "{name}");
    }
}

/// A listener that answers nobody: its queue is full, so that the first packet of each connection is dropped.
fn black_hole(at: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind(at).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let wait = Duration::from_millis(500);
    let fill = std::iter::from_fn(|| TcpStream::connect_timeout(&at, wait).ok()).collect();
    (listener, fill)
}

#[test]
fn the_addresses_of_a_mail_server_race() {
    let dir = temp_dir();
    let zone = "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns\nns 60 A 127.0.0.1\n@ 60 MX 1 two\n\
                two 60 A 127.0.0.9\ntwo 60 A 127.0.0.1\nnone 60 MX 1 dead\ndead 60 A 127.0.0.9\ndead 60 A 127.0.0.8\n";
    std::fs::write(dir.path().join("names"), zone).unwrap();
    let dns = server("dnsserve").args(["--listen", "127.0.0.1:0", "--zone", "a.test=names"]).dir(dir.path()).start();
    let resolver = format!("127.0.0.1:{}", dns.port());
    let listen = format!("127.0.0.1:{}", free_port());
    let smtp = served("smtpserve", dir.path(), server("smtpserve")).args(["--listen", &listen]).start();
    let port = smtp.port().to_string();
    let _hole = black_hole(SocketAddr::from(([127, 0, 0, 9], smtp.port())));
    // Whoever waits for the black hole waits for longer than a test may take.
    let patient = ["--connect-timeout", "5m"];
    let way = ["--mx-port", &port, "--resolver", &resolver, "--json"];
    let compose = || tool("smtpsend").dir(dir.path()).args(["--from", "a@b.test", "--body", "-"]).stdin("text\n");
    let sent = compose().args(["--mx", "--to", "x@a.test"]).args(way).args(patient).run();
    let record = &sent.exits(0).records_of("recipient")[0];
    assert_eq!(record["ip"], "127.0.0.1");
    assert!(record["times_ms"]["connect"].as_f64().unwrap() >= 250.0, "{record}");
    for _ in 0..3 {
        compose().args(["--queue", "--queue-dir", "queue", "--to", "x@a.test"]).run().exits(0);
    }
    let run =
        |args: &[&str]| tool("mailq-run").dir(dir.path()).args(["--queue-dir", "queue"]).args(way).args(args).run();
    let delivered = run(&patient);
    let records = delivered.exits(0).records_of("attempt");
    assert!(records.len() == 3 && records.iter().all(|it| it["ip"] == "127.0.0.1"), "{delivered}");
    // Each address that was tried is in the record.
    compose().args(["--queue", "--queue-dir", "queue", "--to", "x@none.a.test"]).run().exits(0);
    let deferred = run(&["--connect-timeout", "1s"]);
    let reply = deferred.exits(0).records_of("attempt")[0]["reply"].as_str().unwrap().to_owned();
    let hop = |ip: &str| format!("dead.a.test ({ip}:{port}): connecting to {ip}:{port}: ");
    for part in [hop("127.0.0.9") + "no answer within 1 s", hop("127.0.0.8") + "Connection refused"] {
        assert!(reply.contains(&part), "{reply}");
    }
    // What leaves no address is no reason to return mail, and one to say so.
    for option in [&["-6"][..], &["--bind", "::1"]] {
        let left = run(&[&["--flush"], option].concat());
        let record = &left.exits(0).records_of("attempt")[0];
        assert_eq!((&record["outcome"], &record["kind"]), (&"deferred".into(), &"usage".into()));
        let named = run(&[&["--flush", "--route", "*=127.0.0.1"], option].concat());
        named.exits(64).says("no IPv6 address");
        compose().args(["--mx", "--to", "x@a.test"]).args(way).args(option).run().exits(64).says("no IPv6 address");
    }
}

#[test]
fn options_that_leave_no_address_are_usage_errors() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("body"), "text\n").unwrap();
    for (name, args) in [
        ("ftpget", &["ftp://HOST/f"][..]),
        ("ftpls", &["ftp://HOST/"]),
        ("ftpput", &["body", "ftp://HOST/"]),
        ("ftpdo", &["ftp://HOST/", "pwd"]),
        ("smtpsend", &["--server", "smtp://HOST", "--from", "a@a.test", "--to", "b@a.test", "--body", "body"]),
        ("dnsq", &["@udp://HOST", "a.test"]),
        ("dnsq", &["@tcp://HOST", "a.test"]),
        ("dnsq", &["@HOST", "a.test", "AXFR"]),
        ("dnsq", &["@HOST", "-f", "body"]),
        ("dnsq", &["@HOST", "--trace", "a.test"]),
    ] {
        for (host, options) in [
            ("[::1]", &["-4"][..]),
            ("[::1]", &["--bind", "127.0.0.1"]),
            ("127.0.0.1", &["-6"]),
            ("127.0.0.1", &["--bind", "::1"]),
            ("[::ffff:127.0.0.1]", &["-6"]),
        ] {
            let args = args.iter().map(|arg| arg.replace("HOST", host));
            let run = tool(name).dir(dir.path()).args(args).args(options).run();
            let wanted = if host == "[::1]" { "no IPv4 address" } else { "no IPv6 address" };
            run.exits(64).says(wanted);
        }
    }
}

/// Every interface is served only where that is written.
#[test]
fn a_port_alone_is_one_of_loopback() {
    let dir = temp_dir();
    for name in ["ftpserve", "smtpserve", "dnsserve"] {
        let server = served(name, dir.path(), server(name)).args(["--listen=0"]).start();
        assert_eq!(server.addr.ip().to_string(), "127.0.0.1", "{name}");
        let refused = served(name, dir.path(), tool(name)).args(["--listen", ":0"]).run();
        refused.exits(64).says("\":0\" is not an address to listen on").says("hint: [::]:PORT is every interface");
    }
}
