//! Proxies, and what goes past them, in every tool; hosts that go by several names: addresses in other forms, localhost.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use crate::dns::{data, example};
use crate::dns_encrypted::http_answer;
use crate::dns_peers::{Dot, doh, dot};
use crate::ftp_get::Tree;
use crate::harness::{Conn, Peer, refusing, server, temp_dir, tool};
use crate::mail::sink;
use crate::queue::{Sink, enqueue, run};

/// A proxy for SOCKS5 and for HTTP CONNECT, with whatever login, and the places that it was asked for.
struct ProxyPeer {
    peer: Peer,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ProxyPeer {
    /// Everything leads to `goal`, or to the place that was asked for.
    fn new(goal: Option<SocketAddr>) -> ProxyPeer {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = asked.clone();
        let peer = crate::harness::peer(move |mut conn: Conn| {
            let stream = conn.stream();
            let Some(first) = stream.fill_buf().ok().and_then(|bytes| bytes.first().copied()) else { return };
            let Some(place) = (if first == 5 { by_socks(stream) } else { by_connect(stream) }) else { return };
            noted.lock().unwrap().push(place.clone());
            let to = goal.or_else(|| place.parse().ok());
            if let Some(other) = to.and_then(|to| TcpStream::connect(to).ok()) {
                carry(stream.get_ref(), &other);
            }
        });
        ProxyPeer { peer, asked }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.peer.addr)
    }

    /// The places since the last time.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn by_socks(stream: &mut BufReader<TcpStream>) -> Option<String> {
    fn take(stream: &mut BufReader<TcpStream>, count: u8) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count.into()];
        stream.read_exact(&mut bytes).ok().map(|()| bytes)
    }
    let hello = take(stream, 2)?;
    match take(stream, hello[1])?.contains(&2) {
        true => {
            stream.get_mut().write_all(&[5, 2]).ok()?;
            let user = take(stream, 2)?;
            take(stream, user[1])?;
            let password = take(stream, 1)?;
            take(stream, password[0])?;
            stream.get_mut().write_all(&[1, 0]).ok()?;
        }
        false => stream.get_mut().write_all(&[5, 0]).ok()?,
    }
    let host = match take(stream, 4)?[3] {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(take(stream, 4)?).ok()?).to_string(),
        4 => format!("[{}]", Ipv6Addr::from(<[u8; 16]>::try_from(take(stream, 16)?).ok()?)),
        _ => {
            let count = take(stream, 1)?;
            String::from_utf8(take(stream, count[0])?).ok()?
        }
    };
    let port = take(stream, 2)?;
    stream.get_mut().write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).ok()?;
    Some(format!("{host}:{}", u16::from_be_bytes([port[0], port[1]])))
}

fn by_connect(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first).ok()?;
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).ok().filter(|count| *count > 0)?;
    }
    stream.get_mut().write_all(b"HTTP/1.1 200 go\r\n\r\n").ok()?;
    first.strip_prefix("CONNECT ")?.strip_suffix(" HTTP/1.1\r\n").map(str::to_owned)
}

/// Carries bytes both ways until both sides have ended.
fn carry(one: &TcpStream, other: &TcpStream) {
    std::thread::scope(|scope| {
        for (mut from, mut to) in [(one, other), (other, one)] {
            scope.spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
}

#[test]
fn mail_by_flag_environment_and_account() {
    let (server, taken) = sink(|_| None);
    let proxy = ProxyPeer::new(Some(server.addr));
    let message =
        ["--server", "smtp://mail.far.test:2525", "--from", "a@a.test", "--to", "b@b.test", "--body", "/dev/null"];
    let send = || tool("smtpsend").args(message);
    send().args(["--proxy", &proxy.url("socks5h")]).run().silent_success();
    send().args(["--proxy", &proxy.url("http")]).run().silent_success();
    send().env("all_proxy", proxy.url("socks5h")).run().silent_success();
    send().env("smtp_proxy", proxy.url("http")).run().silent_success();
    let (dir, addr) = (temp_dir(), proxy.peer.addr);
    let account = format!(
        "account default\nhost mail.far.test\nport 2525\nfrom a@a.test\nproxy_host {}\nproxy_port {}\n",
        addr.ip(),
        addr.port()
    );
    std::fs::write(dir.path().join("accounts"), account).unwrap();
    let by_account = ["--accounts", "accounts", "--to", "b@b.test", "--body", "/dev/null"];
    tool("smtpsend").args(by_account).dir(dir.path()).run().silent_success();
    assert_eq!(taken.lock().unwrap().len(), 5);
    assert_eq!(proxy.asked(), ["mail.far.test:2525"; 5]);
    let nobody = refusing();
    send().args(["--proxy", &format!("socks5://{}", nobody.addr)]).run().exits(75);
    // Nor does anything go past a proxy in silence.
    let by_mx = ["--mx", "--from", "a@a.test", "--to", "b@[127.0.0.1]", "--body", "/dev/null"];
    tool("smtpsend").args(by_mx).args(["--proxy", &proxy.url("http")]).run().exits(64).says("reached directly");
    assert!(proxy.asked().is_empty());
}

/// The server would have to come to the proxy's client: nobody is asked to try.
#[test]
fn active_mode_and_a_proxy_exclude_each_other() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("f"), "").unwrap();
    let proxy = ProxyPeer::new(None);
    for (name, words) in [
        ("ftpls", &["ftp://127.0.0.1:1/"][..]),
        ("ftpget", &["ftp://127.0.0.1:1/f", "-o", "-"]),
        ("ftpget", &["-r", "ftp://127.0.0.1:1/", "-o", "t"]),
        ("ftpput", &["f", "ftp://127.0.0.1:1/"]),
        ("ftpdo", &["ftp://127.0.0.1:1/", "pwd"]),
    ] {
        let run = || tool(name).dir(dir.path()).arg("-A").args(words);
        for scheme in ["socks5h", "socks5", "http"] {
            run().args(["--proxy", &proxy.url(scheme)]).run().exits(64).says("--active").says("--proxy none");
            run().env("all_proxy", proxy.url(scheme)).run().exits(64).says("--active");
        }
        run().env("all_proxy", proxy.url("http")).args(["--proxy", "none"]).run().exits(75);
        run().env("ALL_PROXY", proxy.url("http")).env("NO_PROXY", "127.0.0.0/8").run().exits(75);
    }
    assert!(proxy.asked().is_empty(), "nothing was connected");
}

/// The proxy is on this host, and the server need not be.
#[test]
fn a_password_in_clear_text_through_a_proxy_is_warned_about() {
    let dir = temp_dir();
    Tree::new(&dir.path().join("tree")).file("f", "x");
    let users = tool("ftpserve").arg("--hash-password").stdin("S3CRET\n").run();
    std::fs::write(dir.path().join("users"), format!("u:{}", users.exits(0).text())).unwrap();
    let ftp = server("ftpserve").args(["--user-file", "users", "tree"]).dir(dir.path()).start();
    std::fs::write(dir.path().join("password"), "S3CRET\n").unwrap();
    let proxy = ProxyPeer::new(None);
    let url = format!("ftp://u@127.0.0.1:{}/", ftp.port());
    let list = || tool("ftpls").dir(dir.path()).args([&url, "--password-file", "password"]);
    assert!(!list().run().exits(0).stderr.contains("unencrypted"));
    list().args(["--proxy", &proxy.url("http")]).run().exits(0).says("unencrypted");
}

/// Each tool reaches its server past a proxy that nobody could use.
#[test]
fn no_proxy_is_read_alike_by_every_tool() {
    let dir = temp_dir();
    Tree::new(&dir.path().join("tree")).file("f", "x");
    let ftp = server("ftpserve").args(["--listen", "127.0.0.1:0", "tree"]).dir(dir.path()).start();
    let (mail, _) = sink(|_| None);
    let dns = example();
    let dead = refusing();
    let url = format!("ftp://127.0.0.1:{}/", ftp.port());
    let (smtp, at) = (format!("smtp://{}", mail.addr), format!("@tcp://{}", dns.addr));
    let words: [(&str, Vec<&str>); 4] = [
        ("ftpls", vec![&url]),
        ("ftpdo", vec![&url, "pwd"]),
        ("smtpsend", vec!["--server", &smtp, "--from", "a@a.test", "--to", "b@b.test", "--body", "/dev/null"]),
        ("dnsq", vec![&at, "www.example.test"]),
    ];
    for (name, words) in &words {
        let run = |list: &str| {
            let run = tool(name).args(words).env("all_proxy", format!("socks5h://u:S3CRET@{}", dead.addr));
            let done = run.env("no_proxy", list).run();
            assert!(!done.stderr.contains("S3CRET"), "{done}");
            done
        };
        for past in ["*", "127.0.0.1", "a.test, 127.0.0.0/8", "::ffff:127.0.0.1", "[::ffff:127.0.0.0]/104"] {
            assert_eq!(run(past).status, 0, "{name} {past}: {}", run(past));
        }
        for through in ["", "127.0.0.2", "::1", "0.0.1", "127.0.0.1:1"] {
            run(through).exits(75).says("proxy");
        }
    }
    let port = format!("x.test 127.0.0.1:{}", dns.port());
    let socks = format!("socks5://{}", dead.addr);
    tool("dnsq").args([&at, "www.example.test"]).env("tcp_proxy", socks).env("no_proxy", port).run().exits(0);
}

#[test]
fn dnsq_goes_through() {
    let (plain, tls, https) = (example(), dot(Dot { batch: 1, answers: usize::MAX }), doh(http_answer));
    for (scheme, goal, ca) in
        [("tcp", plain.addr, None), ("tls", tls.addr, Some(&tls.ca)), ("https", https.addr, Some(&https.ca))]
    {
        let proxy = ProxyPeer::new(Some(goal));
        let ca = ca.map(|ca| format!("--ca-cert={}", ca.display()));
        let dnsq =
            |server: &str, words: &[&str]| tool("dnsq").arg(format!("@{scheme}://{server}")).args(&ca).args(words);
        let (address, words) = (goal.to_string(), ["www.example.test", "example.test", "MX", "--json"]);
        for by in ["socks5", "socks5h", "http"] {
            let done = dnsq(&address, &words).args(["--proxy", &proxy.url(by)]).run();
            let records = done.silent_success().records();
            assert_eq!(records[0]["answers"][0]["rdata"], "192.0.2.10", "{done}");
            assert_eq!(
                (&records[1]["transport"], &records[1]["server"]["address"]),
                (&scheme.into(), &"127.0.0.1".into())
            );
            assert_eq!(proxy.asked(), [address.as_str()], "one connection {scheme} {by}");
        }
        // A name is the proxy's affair, where it takes one.
        for by in ["socks5h", "http"] {
            let done = dnsq("dns.test:99", &["www.example.test"]).env("all_proxy", proxy.url(by)).run();
            done.silent_success().prints("192.0.2.10").prints(";; SERVER: 0.0.0.0#99(dns.test) (");
            assert_eq!(proxy.asked(), ["dns.test:99"], "{scheme} {by}");
        }
        dnsq("dns.test", &["a.test"]).args(["--proxy", &proxy.url("socks5")]).run().exits(68);
        let names: String = (0..300).map(|n| format!("h{n}.wild.example.test\n")).collect();
        let bulk =
            dnsq("dns.test:99", &["-f", "-", "--json"]).stdin(names).args(["--proxy", &proxy.url("socks5h")]).run();
        assert_eq!(bulk.exits(0).records_of("answer").len(), 300, "{bulk}");
        let asked = proxy.asked();
        assert!(!asked.is_empty() && asked.iter().all(|place| place == "dns.test:99"), "{asked:?}");
        // What the proxy asks for is shown nowhere.
        let (dead, log) = (refusing(), proxy.peer.addr);
        for (at, status) in [(log, 0), (dead.addr, 75)] {
            for by in ["socks5h", "http"] {
                let url = format!("{by}://us%65r:S3CRET@{at}");
                let done = dnsq("dns.test:99", &["-v", "--json", "www.example.test"]).args(["--proxy", &url]).run();
                done.exits(status);
                assert!(!format!("{done}").replace(&url, "").contains("S3CRET"), "{done}");
            }
        }
    }
}

#[test]
fn transfers_traces_and_verdicts_go_through_as_well() {
    let plain = server("dnsserve").args(["--allow-transfer", "127.0.0.0/8"]).arg(data("example.test.zone")).start();
    let proxy = ProxyPeer::new(None);
    let (at, socks) = (format!("@{}", plain.addr), proxy.url("socks5h"));
    for words in [&["example.test", "AXFR"][..], &["example.test", "IXFR=1"]] {
        for run in [tool("dnsq").args(["--proxy", &socks]), tool("dnsq").env("all_proxy", &socks)] {
            run.arg(&at).args(words).run().exits(0).prints("mail.example.test.");
            assert_eq!(proxy.asked(), [plain.addr.to_string()], "{words:?}");
        }
    }
    let dead = refusing();
    let refused =
        tool("dnsq").args([&at, "example.test", "AXFR", "--proxy", &format!("http://u:S3CRET@{}", dead.addr)]).run();
    refused.exits(75).says("proxy");
    assert!(!refused.stderr.contains("S3CRET"), "{refused}");
    let world = crate::dns_trace::world();
    world.trace(&["--tcp", "--proxy", &socks, "www.example.test"]).silent_success();
    let steps = ["127.0.0.11", "127.0.0.12", "127.0.0.13"].map(|address| format!("{address}:{}", world.port));
    assert_eq!(proxy.asked(), steps);
    let compared =
        ["--compare", "--tcp", "--proxy", &socks, "-p", &plain.port().to_string(), "example.test"].map(str::to_owned);
    let done = tool("dnsq").arg(&at).args(compared).run();
    assert!(!proxy.asked().is_empty(), "{done}");
    let anchor = crate::dns_trace::signed("anchor");
    let signed = crate::dns_trace::signed("root.zone");
    let root = server("dnsserve").arg(format!("--zone=.={signed}")).start();
    let way = ["--validate", "--tcp", "--at", "2026-06-01", "--anchor", &anchor, "--proxy", &socks, ".", "SOA"];
    tool("dnsq").arg(format!("@{}", root.addr)).args(way).run().prints("VALIDATION: secure");
    assert!(!proxy.asked().is_empty());
}

/// A proxy that was asked for is used or the run ends; one of the environment is for what can go through it.
#[test]
fn datagrams_go_past_a_proxy_that_was_not_asked_for() {
    let (plain, proxy, dir) = (example(), ProxyPeer::new(None), temp_dir());
    let addr = plain.addr.to_string();
    let world = crate::dns_trace::world();
    for words in [
        [format!("@{addr}").as_str(), "www.example.test"].as_slice(),
        &[&format!("@udp://{addr}"), "www.example.test"],
        &[&format!("@{addr}"), "-f", "-"],
    ] {
        let dnsq = || tool("dnsq").args(words).stdin("www.example.test\n");
        dnsq().env("all_proxy", proxy.url("socks5h")).run().exits(0);
        dnsq().args(["--proxy", &proxy.url("socks5h")]).run().exits(64).says("hint: --tcp");
        dnsq().args(["--proxy", "none"]).run().exits(0);
    }
    world.trace(&["www.example.test", "--proxy", &proxy.url("http")]).exits(64).says("hint: --tcp");
    tool("dnsq").args([&format!("@quic://{addr}"), "a.test", "--proxy", &proxy.url("http")]).run().exits(64);
    // An answer that was truncated comes from where it was asked for.
    let texts: String = (0..40).map(|n| format!("@ TXT {n:0100}\n")).collect();
    let zone = dir.path().join("zone");
    std::fs::write(
        &zone,
        format!("$ORIGIN big.test.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 127.0.0.1\n{texts}"),
    )
    .unwrap();
    let big = server("dnsserve").arg(&zone).start();
    for form in [&["--json"][..], &["--json", "-f", "-"]] {
        let words = if form.len() == 1 { &["big.test", "TXT"][..] } else { &["TXT"] };
        let run = tool("dnsq").arg(format!("@{}", big.addr)).args(form).args(words).stdin("big.test\n");
        let done = run.env("all_proxy", proxy.url("http")).run();
        assert_eq!(done.exits(0).records_of("answer")[0]["transport"], "tcp", "{done}");
    }
    tool("dnsq").args([&format!("@{addr}"), "a.test", "--proxy", "gopher://u:S3CRET@h"]).run().exits(64);
    assert!(proxy.asked().is_empty());
}

/// An IPv4 address in IPv6's form is what it is, on the control connection and in what is said there.
#[test]
fn mapped_addresses_are_ipv4_addresses() {
    let dir = temp_dir();
    Tree::new(&dir.path().join("tree")).file("f", "x");
    for listen in ["127.0.0.1:0", "[::]:0"] {
        let ftp = server("ftpserve").args(["--write", "--listen", listen, "tree"]).dir(dir.path()).start();
        for host in ["[::ffff:127.0.0.1]", "[0:0:0:0:0:ffff:7f00:1]", "127.0.0.1"] {
            let url = format!("ftp://{host}:{}/", ftp.port());
            for (words, said) in [
                (&["-A"][..], "EPRT |1|127.0.0.1|"),
                (&["-A", "--disable-eprt"], "PORT 127,0,0,1,"),
                (&["-A", "--bind", "::ffff:127.0.0.1"], "EPRT |1|127.0.0.1|"),
                (&[], "EPSV"),
                (&["--disable-epsv"], "PASV"),
            ] {
                tool("ftpls").args([&url, "-v"]).args(words).run().exits(0).says(said);
                tool("ftpget")
                    .args([&format!("{url}f"), "-o", "-", "-v"])
                    .args(words)
                    .run()
                    .exits(0)
                    .says(said)
                    .prints("x");
                tool("ftpput")
                    .args(["tree/f", &format!("{url}g"), "-v"])
                    .args(words)
                    .dir(dir.path())
                    .run()
                    .exits(0)
                    .says(said);
                tool("ftpdo").args(["-v", &url, "rm", "g"]).args(words).run().exits(0);
            }
        }
    }
    let dns = example();
    let at = format!("@[::ffff:127.0.0.1]:{}", dns.port());
    tool("dnsq")
        .args([&at, "www.example.test"])
        .run()
        .exits(0)
        .prints(&format!(";; SERVER: 127.0.0.1#{}(", dns.port()));
}

/// RFC 6761, section 6.3: whatever the hosts file says. No file names these.
#[test]
fn localhost_and_what_lies_below_it_is_this_host() {
    let dir = temp_dir();
    Tree::new(&dir.path().join("tree")).file("f", "x");
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let ftp = server("ftpserve").args(["--listen", listen, "tree"]).dir(dir.path()).start();
        let dns = server("dnsserve").args(["--listen", listen]).arg(data("example.test.zone")).start();
        for host in ["localhost", "LocalHost.", "a.b.localhost"] {
            let url = format!("ftp://{host}:{}/f", ftp.port());
            tool("ftpget").args([&url, "-o", "-"]).run().exits(0).prints("x");
            for scheme in ["udp", "tcp"] {
                let at = format!("@{scheme}://{host}:{}", dns.port());
                tool("dnsq").args([&at, "--short", "www.example.test"]).run().exits(0).prints("192.0.2.10");
            }
        }
    }
    // Mail: no server is asked for names of this host, not even for their mail exchangers.
    let (queue, sink, dead) = (temp_dir(), Sink::taking_all(), refusing());
    let port = sink.peer.addr.port();
    let message = ["--from", "a@a.test", "--body", "/dev/null", "--to", "b@b.test"];
    let server = format!("smtp://mail.localhost:{port}");
    tool("smtpsend").args(message).args(["--server", &server]).run().silent_success();
    let by_mx = ["--mx", "--mx-port", &port.to_string(), "--resolver", &dead.addr.to_string()].map(str::to_owned);
    tool("smtpsend").args(&message[..4]).args(["--to", "c@mx.localhost"]).args(&by_mx).run().silent_success();
    enqueue(queue.path(), &[("a@a.test", &["d@localhost", "e@mx.localhost"], "Subject: x\r\n\r\n")]);
    let way: Vec<&str> = by_mx[1..].iter().map(String::as_str).collect();
    run(queue.path(), &way).silent_success();
    let taken: Vec<String> = sink.mails().into_iter().flat_map(|mail| mail.to).collect();
    assert_eq!(taken.len(), 4, "{taken:?}");
}
