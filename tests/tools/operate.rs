//! How servers are operated: logs with times that are opened again, reloads, counters, checks, the drain.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use applayer::net::tls::{BlockingTls, ClientTls, ClientTlsOptions};
use rustix::process::Signal;

use crate::harness::{LIMIT, Run, server, temp_dir, tool};
use crate::queue::{Sink, enqueue};

const SERVERS: [&str; 3] = ["ftpserve", "smtpserve", "dnsserve"];

/// A server of each kind in a directory: what it serves, or mailboxes, or a zone.
fn one(name: &str, dir: &Path) -> Run {
    let zone = "$ORIGIN a.test.\n$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";
    std::fs::write(dir.join("zone"), zone).unwrap();
    std::fs::create_dir_all(dir.join("served")).unwrap();
    let args: &[&str] = match name {
        "ftpserve" => &["served", "--write"],
        "smtpserve" => &["--domain", "a.test", "--mailboxes", "served", "--create"],
        _ => &["zone"],
    };
    server(name).args(args).dir(dir)
}

/// Says the lines, each after an answer, and reads on to the end, which the last line asks for.
fn talk(to: SocketAddr, lines: &[&str]) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    for line in lines {
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }
    stream.read_to_end(&mut Vec::new()).unwrap();
}

/// Reads on until this has come.
fn hear(stream: &mut impl Read, part: &str) -> String {
    let (mut heard, mut bytes) = (String::new(), [0; 4096]);
    while !heard.contains(part) {
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "{part:?} never came: {heard:?}");
        heard.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    heard
}

/// A session of some words: it is told of when it ends.
fn session(name: &str, to: SocketAddr) {
    match name {
        "dnsserve" => drop(TcpStream::connect(to).unwrap()),
        _ => talk(to, &["QUIT"]),
    }
}

fn until(mut holds: impl FnMut() -> bool, what: &str) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "{what} never came");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn has(path: &Path, part: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.contains(part))
}

/// TIME, session or a dash, what happened.
#[track_caller]
fn assert_log(text: &str) {
    assert!(text.ends_with('\n'), "{text:?}");
    for line in text.lines() {
        let fields: Vec<&str> = line.splitn(3, '\t').collect();
        let [at, session, what] = fields[..] else { panic!("{line:?}") };
        assert!(at.ends_with('Z') && at.parse::<jiff::Timestamp>().is_ok(), "{line:?}");
        assert!(session == "-" || session.contains('.'), "{line:?}");
        assert!(!what.is_empty(), "{line:?}");
    }
}

#[test]
fn every_line_and_record_of_a_server_has_a_time() {
    for name in SERVERS {
        let dir = temp_dir();
        let server = one(name, dir.path()).args(["--log", "log", "--json", "-v"]).start();
        let words: &[&str] = match name {
            "ftpserve" => {
                let data = "USER bob\r\nPASS x\r\nUSER anonymous\r\nPASS x\r\nMKD d\r\nRMD none\r\nQUIT";
                talk(server.addr, &[data]);
                &["login refused\tbob", "login\tanonymous", "MKD\t/d", "refused\tRMD\t/none", "session\tquit", "note\t"]
            }
            "smtpserve" => {
                let mail = "MAIL FROM:<b@b.test>\r\nRCPT TO:<x@none.test>\r\nRCPT TO:<a@a.test>\r\nDATA";
                talk(server.addr, &["EHLO c.test", mail, "Subject: x\r\n\r\nx\r\n.", "QUIT"]);
                &["refused\trecipient\tx@none.test", "message\t", "session\tquit", "note\t"]
            }
            _ => {
                let at = format!("@{}", server.addr);
                tool("dnsq").args([&at, "ns.a.test", "A", "--tcp"]).run().exits(0);
                &["session\tleft\t1\t", "note\t"]
            }
        };
        let log = dir.path().join("log");
        for word in ["listening\t"].iter().chain(words) {
            until(|| has(&log, &format!("\t{word}")), &format!("{name}: {word:?}"));
        }
        assert_log(&std::fs::read_to_string(&log).unwrap());
        // Each record has a time by its schema; one session has one name.
        server.stdout.wait_for("\"type\":\"session\"");
        let records: Vec<serde_json::Value> =
            server.stdout.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let sessions: BTreeSet<&str> = records.iter().filter_map(|record| record["session"].as_str()).collect();
        assert_eq!(sessions.len(), 1, "{server}");
        if name != "dnsserve" {
            // Each line of the dialogue says whose it is.
            server.stderr.wait_for("> 127.0.0.1:");
        }
        for line in server.stderr.text().lines().filter(|line| !line.starts_with("* ")) {
            let (at, _) = line.split_once(' ').unwrap();
            assert!(at.parse::<jiff::Timestamp>().is_ok(), "{name}: {line:?}");
        }
        let mode = std::os::unix::fs::PermissionsExt::mode(&log.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(server.stop(), 0);
    }
}

#[test]
fn a_text_log_replaces_text_on_stdout_but_for_the_address() {
    for name in SERVERS {
        let dir = temp_dir();
        let server = one(name, dir.path()).args(["-q", "--log", "log"]).start();
        session(name, server.addr);
        until(|| has(&dir.path().join("log"), "\tsession\t"), name);
        assert_eq!(server.stdout.text(), format!("{}\n", server.url));
        if name == "dnsserve" {
            // A connection is nothing to speak of, unless somebody asked for a log.
            continue;
        }
        let plain = one(name, dir.path()).arg("-q").start();
        session(name, plain.addr);
        plain.stdout.wait_for("\tsession\t");
        let text = plain.stdout.text();
        assert_log(text.split_once('\n').unwrap().1);
    }
}

#[test]
fn logs_are_opened_again() {
    for name in SERVERS {
        let dir = temp_dir();
        let log = dir.path().join("log");
        let server = one(name, dir.path()).args(["--log", "log"]).start();
        for round in 1..=2 {
            session(name, server.addr);
            until(|| has(&log, "\tsession\t"), name);
            std::fs::rename(&log, log.with_extension(round.to_string())).unwrap();
            // The second time nobody tells of it: it is seen within a second.
            if round == 1 {
                server.signal(Signal::HUP);
                until(|| has(&log, "\treload\t"), name);
            }
        }
        let again = || {
            session(name, server.addr);
            has(&log, "\tsession\t")
        };
        until(again, name);
        // A link is not followed.
        std::fs::remove_file(&log).unwrap();
        std::os::unix::fs::symlink("elsewhere", &log).unwrap();
        server.signal(Signal::HUP);
        server.stderr.wait_for("cannot be opened again");
        assert!(!dir.path().join("elsewhere").exists());
        assert_eq!(server.stop(), 0);
    }
    tool("ftpserve").args([".", "--log", "/nowhere/log"]).run().exits(73).says("log /nowhere/log");
}

#[test]
fn a_runner_tells_of_each_delivery_in_its_log() {
    let (queue, peer, dir) = (temp_dir(), Sink::taking_all(), temp_dir());
    enqueue(queue.path(), &[("a@a.test", &["b@b.test"], "Subject: hello\r\n\r\nhello\r\n")]);
    let log = dir.path().join("log");
    let run = || {
        let run = tool("mailq-run").arg("--log").arg(&log).args(["--route", &peer.route(), "--queue-dir"]);
        let done = run.arg(queue.path()).run();
        done.exits(0);
        done
    };
    assert_eq!(run().text(), "", "a pipe has no words for people");
    run();
    let text = std::fs::read_to_string(&log).unwrap();
    assert_log(&text);
    for part in ["\tdelivered\t", "\tb@b.test\t", "\tsummary\t1 delivered\n", "\tsummary\t0 delivered\n"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn an_upload_arrives_once_under_its_final_name() {
    let dir = temp_dir();
    let server = one("ftpserve", dir.path()).args(["--json", "--xferlog", "xferlog"]).start();
    let url = |name: &str| format!("ftp://{}/{name}", server.addr);
    std::fs::write(dir.path().join("one"), "12345").unwrap();
    tool("ftpput").arg("one").arg(url("")).dir(dir.path()).run().exits(0);
    tool("ftpput").args(["--in-place", "one"]).arg(url("two")).dir(dir.path()).run().exits(0);
    talk(server.addr, &["USER anonymous\r\nPASS x\r\nRNFR two\r\nRNTO three\r\nDELE nothing\r\nQUIT"]);
    let begun = Instant::now();
    let records = loop {
        let text = server.stdout.text();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let records: Vec<serde_json::Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if records.iter().filter(|record| record["type"] == "session").count() == 3 {
            break records;
        }
        assert!(begun.elapsed() < LIMIT, "{server}");
        std::thread::yield_now();
    };
    let arrived: Vec<_> = records.iter().filter(|record| record["type"] == "arrived").collect();
    let names: Vec<_> = arrived.iter().map(|record| record["path"].as_str().unwrap()).collect();
    assert_eq!(names, ["/one", "/two"]);
    let file = dir.path().canonicalize().unwrap().join("served/one");
    assert_eq!((arrived[0]["file"].as_str(), arrived[0]["size_bytes"].as_u64()), (file.to_str(), Some(5)));
    assert_eq!(arrived[0]["served_path"], "one");
    let renamed = records.iter().find(|record| record["path"] == "/two" && record["type"] == "change").unwrap();
    assert_eq!((renamed["verb"].as_str(), renamed["to"].as_str()), (Some("RNTO"), Some("/three")));
    let log = dir.path().join("xferlog");
    until(|| has(&log, "two "), "the transfer log");
    let log = std::fs::read_to_string(log).unwrap();
    let line = log.lines().last().unwrap();
    let (at, rest) = line.split_at(24);
    assert!(jiff::civil::DateTime::strptime("%a %b %e %H:%M:%S %Y", at).is_ok(), "{line:?}");
    let two = dir.path().canonicalize().unwrap().join("served/two");
    let expected = format!(" 1 127.0.0.1 5 {} b _ i a anonymous ftp 0 * c", two.display());
    assert_eq!((rest, log.lines().count()), (expected.as_str(), 2));
    let refused = records.iter().find(|record| record["type"] == "refused").unwrap();
    assert_eq!((refused["verb"].as_str(), refused["code"].as_u64()), (Some("DELE"), Some(550)));
}

/// A certificate and its key in one file, and its fingerprint.
fn certificate(name: &str) -> (String, [u8; 32]) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, made.cert.der());
    (made.cert.pem() + &made.signing_key.serialize_pem(), digest.as_ref().try_into().unwrap())
}

fn handshake(to: SocketAddr, fingerprint: Option<[u8; 32]>) -> Result<BlockingTls, String> {
    let options = ClientTlsOptions { fingerprint, insecure: fingerprint.is_none(), ..ClientTlsOptions::default() };
    let tcp = TcpStream::connect(to).map_err(|error| error.to_string())?;
    tcp.set_read_timeout(Some(LIMIT)).unwrap();
    ClientTls::new(&options).unwrap().connect_blocking(tcp, "a.test").map_err(|fault| fault.to_string())
}

fn hash(password: &str) -> String {
    let line = format!("{password}\n");
    tool("ftpserve").arg("--hash-password").stdin(line).run().silent_success().text().trim().to_owned()
}

#[test]
fn certificates_and_users_are_read_again_under_load() {
    let [old, new] = ["one", "two"].map(hash);
    for name in ["ftpserve", "smtpserve"] {
        let dir = temp_dir();
        let write = |file: &str, text: &str| {
            // Others may not read them; replaced as certbot does.
            let fresh = dir.path().join(format!("{file}.new"));
            std::fs::write(&fresh, text).unwrap();
            std::fs::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            std::fs::rename(fresh, dir.path().join(file)).unwrap();
        };
        let (first, second, third) = (certificate("a.test"), certificate("a.test"), certificate("a.test"));
        write("cert", &first.0);
        write("users", &format!("bob:{old}\n"));
        let tls = ["--tls", "implicit", "--cert", "cert", "--user-file", "users", "--reload-every", "1", "--json"];
        let server = one(name, dir.path()).args(tls).args(["--max-per-address", "450"]).start();
        let login = |password: &str| {
            let mut tls = handshake(server.addr, None).unwrap();
            let mut heard = [0; 4096];
            let plain = applayer_base64(&format!("\0bob\0{password}"));
            let lines = match name {
                "ftpserve" => ["USER bob".to_owned(), format!("PASS {password}"), "NOOP".to_owned()],
                _ => ["EHLO c.test".to_owned(), format!("AUTH PLAIN {plain}"), "NOOP".to_owned()],
            };
            let mut last = String::new();
            for line in &lines[..2] {
                let _ = tls.read(&mut heard).unwrap();
                tls.write_all(format!("{line}\r\n").as_bytes()).unwrap();
                tls.flush().unwrap();
            }
            let count = tls.read(&mut heard).unwrap();
            last.push_str(&String::from_utf8_lossy(&heard[..count]));
            last.starts_with('2')
        };
        let mut held = handshake(server.addr, Some(first.1)).unwrap();
        assert!(login("one") && !login("two"));
        let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(std::sync::Mutex::new(Vec::new())));
        let load: Vec<_> = (0..4)
            .map(|_| {
                let (stop, failed, to) = (stop.clone(), failed.clone(), server.addr);
                std::thread::spawn(move || {
                    let mut count = 0;
                    while !stop.load(Ordering::Relaxed) {
                        if let Err(why) = handshake(to, None) {
                            failed.lock().unwrap().push(why);
                        }
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        write("users", &format!("bob:{new}\n"));
        write("cert", &second.0);
        server.signal(Signal::HUP);
        server.stdout.wait_for("\"type\":\"reload\"");
        until(|| handshake(server.addr, Some(second.1)).is_ok(), "the new certificate");
        until(|| login("two"), "the new password");
        assert!(!login("one"), "the old one is gone");
        // Half a renewal: everything stays.
        write("users", &format!("bob:{old}\n"));
        write("cert", "nonsense");
        server.signal(Signal::HUP);
        server.stdout.wait_for("\"ok\":false");
        server.stderr.wait_for("everything stays as it was");
        handshake(server.addr, Some(second.1)).unwrap();
        assert!(login("two"));
        // What is whole again is noticed without a word.
        write("cert", &third.0);
        until(|| handshake(server.addr, Some(third.1)).is_ok(), "the third certificate");
        server.stdout.wait_for("\"why\":\"changed\"");
        assert!(login("one"));
        stop.store(true, Ordering::Relaxed);
        let count: u32 = load.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(failed.lock().unwrap().is_empty() && count > 0, "{count}: {failed:?}");
        // The connection from before all this goes on.
        held.write_all(b"NOOP\r\n").unwrap();
        held.flush().unwrap();
        let code = if name == "ftpserve" { "\r\n200" } else { "\r\n250" };
        assert!(hear(&mut held, code).starts_with("220"), "{name}");
    }
}

fn applayer_base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn zones_and_keys_are_read_again_without_losing_a_query() {
    let dir = temp_dir();
    let key = |secret: &str| {
        let path = dir.path().join("key");
        std::fs::write(&path, format!("key \"k.\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    key("b25l");
    let server = one("dnsserve", dir.path()).args(["-k", "key", "--json"]).start();
    let at = format!("@{}", server.addr);
    let transfer = |secret: &str| {
        let key = format!("hmac-sha256:k:{secret}");
        let done = tool("dnsq").args([&at, "a.test", "AXFR", "-y", &key]).run();
        done.status == 0
    };
    assert!(transfer("b25l") && !transfer("dHdv"));
    key("dHdv");
    let zone = std::fs::read_to_string(dir.path().join("zone")).unwrap();
    let asking = {
        let at = at.clone();
        let names: String = "ns.a.test\n".repeat(3000);
        std::thread::spawn(move || tool("dnsq").args([at.as_str(), "-f", "-"]).stdin(names).run())
    };
    for serial in 2..6 {
        std::fs::write(dir.path().join("zone"), zone.replace(" 1 2 3", &format!(" {serial} 2 3"))).unwrap();
        server.signal(Signal::HUP);
        server.stdout.wait_for(&format!("\"serial\":{serial}"));
    }
    let done = asking.join().unwrap();
    assert_eq!(done.exits(0).text().matches("\tNOERROR\t").count(), 3000, "none is lost");
    until(|| transfer("dHdv"), "the new key");
    assert!(!transfer("b25l"));
    // A key that is wrong keeps the zones too.
    std::fs::write(dir.path().join("key"), "nonsense").unwrap();
    std::fs::write(dir.path().join("zone"), zone.replace(" 1 2 3", " 9 2 3")).unwrap();
    server.signal(Signal::HUP);
    server.stdout.wait_for("\"ok\":false");
    assert!(transfer("dHdv"));
    tool("dnsq").args([&at, "a.test", "SOA", "--short"]).run().exits(0).prints(" 5 2 3 4 5");
}

#[test]
fn a_configuration_is_checked_without_serving() {
    let dir = temp_dir();
    let (cert, _) = certificate("a.test");
    std::fs::write(dir.path().join("cert"), cert).unwrap();
    std::fs::set_permissions(dir.path().join("cert"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for file in ["bad", "users"] {
        std::fs::write(dir.path().join(file), if file == "bad" { "nonsense\n" } else { "" }).unwrap();
        std::fs::set_permissions(dir.path().join(file), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let table: &[(&str, &[&str], i32)] = &[
        ("ftpserve", &["served"], 0),
        ("ftpserve", &["served", "--cert", "cert", "--user-file", "users"], 0),
        ("ftpserve", &["served", "--cert", "bad"], 78),
        ("ftpserve", &["served", "--cert", "none"], 78),
        ("ftpserve", &["none"], 78),
        ("ftpserve", &["served", "--user-file", "bad"], 78),
        ("ftpserve", &["served", "--metrics", "0.0.0.0:9"], 64),
        ("ftpserve", &["served", "--listen", "nonsense"], 64),
        ("smtpserve", &["--domain", "a.test", "--mailboxes", "served", "--cert", "cert"], 0),
        ("smtpserve", &["--domain", "a.test", "--mailboxes", "fresh", "--create"], 0),
        ("smtpserve", &["--domain", "a.test", "--mailboxes", "none"], 78),
        ("smtpserve", &["--relay-from", "127.0.0.1", "--queue-dir", "queue"], 0),
        ("smtpserve", &["--relay-from", "127.0.0.1", "--queue-dir", "queue", "--user-file", "bad"], 78),
        ("dnsserve", &["zone"], 0),
        ("dnsserve", &["zone", "bad"], 78),
        ("dnsserve", &["zone", "-k", "bad"], 78),
        ("dnsserve", &["none"], 78),
    ];
    drop(one("dnsserve", dir.path()));
    for (name, args, status) in table {
        let before: BTreeSet<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        let listen: &[&str] = if args.contains(&"--listen") { &[] } else { &["--listen", &taken] };
        let run = |form: &[&str]| {
            let done = tool(name).args(*args).args(listen).arg("--check-config").args(form).dir(dir.path()).run();
            done.exits(*status);
            done
        };
        let record = run(&["--json"]);
        if *status != 64 {
            assert_eq!(record.records_of("health")[0]["ok"], *status == 0, "{record}");
        }
        let expires = record.records_of("health").first().is_some_and(|it| it["certificate_expires_at"].is_string());
        assert_eq!(expires, *status == 0 && args.contains(&"--cert"), "{record}");
        run(&[]);
        let after: BTreeSet<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(before, after, "{name} {args:?}: nothing is made");
    }
}

/// The body of a scrape.
fn scrape(to: SocketAddr, target: &str) -> (String, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    (head.to_owned(), body.to_owned())
}

/// What promtool checks: each family once, behind its HELP and TYPE, names and labels of the right characters, numbers.
#[track_caller]
fn assert_exposition(text: &str) {
    let (mut families, mut samples, mut family, mut kind) = (BTreeSet::new(), BTreeSet::new(), "", "");
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(!words.is_empty() && families.insert(name), "{name} stands twice");
            family = name;
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, is) = typed.split_once(' ').unwrap();
            assert_eq!(name, family, "HELP comes first");
            assert!(is == "gauge" || is == "counter" && name.ends_with("_total"), "{line}");
            kind = is;
        } else {
            let (sample, number) = line.rsplit_once(' ').unwrap();
            let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
            assert_eq!(name, family, "families are together");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
                let (key, value) = label.split_once("=\"").unwrap();
                assert!(key.bytes().all(|byte| byte.is_ascii_lowercase()) && value.ends_with('"'), "{line}");
            }
            let number: i64 = number.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(kind == "gauge" || number >= 0, "{line}");
            assert!(samples.insert(sample), "{sample} stands twice");
        }
    }
    assert!(samples.len() > 8);
}

#[test]
fn counters_are_served_and_printed() {
    for name in SERVERS {
        let dir = temp_dir();
        let (cert, _) = certificate("a.test");
        std::fs::write(dir.path().join("cert"), cert).unwrap();
        let mut run = one(name, dir.path()).args(["--metrics", "0", "--json"]);
        if name != "dnsserve" {
            run = run.args(["--cert", "cert"]);
        }
        if name == "smtpserve" {
            run = run.args(["--relay-from", "192.0.2.0/24", "--queue-dir", "queue"]);
        }
        let server = run.start();
        server.stdout.wait_for("/metrics\"");
        let text = server.stdout.text();
        let url = text.split('"').find(|part| part.ends_with("/metrics")).unwrap();
        let to = crate::harness::address_in(url).unwrap();
        let number = |sample: &str| {
            let (_, body) = scrape(to, "/metrics");
            assert_exposition(&body);
            let found = body.lines().find_map(|line| line.strip_prefix(&format!("applayer_{sample} ")));
            found.unwrap_or_else(|| panic!("no {sample} in {body}")).parse::<i64>().unwrap()
        };
        assert_eq!(number("connections_total"), 0);
        // A client that says nothing keeps nobody waiting.
        let _silent: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(to).unwrap()).collect();
        let (words, sample): (&[&str], _) = match name {
            "ftpserve" => (&["USER bob\r\nPASS x\r\nQUIT"], "logins_total{result=\"failed\"}"),
            "smtpserve" => (
                &["EHLO c.test", "MAIL FROM:<b@b.test>\r\nRCPT TO:<x@none.test>", "QUIT"],
                "refusals_total{reason=\"recipient\"}",
            ),
            _ => {
                let at = format!("@{}", server.addr);
                tool("dnsq").args([&at, "none.a.test", "A"]).run();
                tool("dnsq").args([&at, "none.a.test", "A", "--tcp"]).run();
                (&[], "queries_total{status=\"nxdomain\"}")
            }
        };
        if !words.is_empty() {
            talk(server.addr, words);
        }
        until(|| number("connections_open") == 0, "the end of the connection");
        assert_eq!(number(sample), if name == "dnsserve" { 2 } else { 1 });
        assert_eq!(number("connections_total"), 1);
        match name {
            "dnsserve" => assert_eq!(number("zones"), 1),
            "ftpserve" => assert_eq!(number("transfers_open"), 0),
            _ => assert_eq!(number("queue_recipients{state=\"queued\"}"), 0),
        }
        if name != "dnsserve" {
            assert!(number("certificate_not_after_seconds") > 1_700_000_000);
        }
        assert!(scrape(to, "/").0.starts_with("HTTP/1.1 404"));
        server.signal(Signal::USR1);
        server.stdout.wait_for("\"type\":\"counters\"");
        let text = server.stdout.text();
        let record = text.lines().find(|line| line.contains("\"counters\":{")).unwrap();
        let record: serde_json::Value = serde_json::from_str(record).unwrap();
        assert_eq!(record["counters"]["connections_total"], 1);
        assert_eq!(server.stop(), 0);
    }
    let far = one("dnsserve", temp_dir().path()).args(["--metrics", "[::]:9"]).run();
    far.exits(64).says("not for every interface");
}

#[test]
fn a_drain_says_what_it_waits_for_and_a_second_signal_ends_it() {
    for name in SERVERS {
        let dir = temp_dir();
        let server = one(name, dir.path()).arg("--log").arg(dir.path().join("log")).start();
        let mut busy = TcpStream::connect(server.addr).unwrap();
        busy.set_read_timeout(Some(LIMIT)).unwrap();
        let waits: &str = match name {
            "ftpserve" => {
                let size = 64 << 20;
                std::fs::File::create(dir.path().join("served/big")).unwrap().set_len(size).unwrap();
                busy.write_all(b"USER anonymous\r\nPASS x\r\nTYPE I\r\nEPSV\r\n").unwrap();
                let heard = hear(&mut busy, "|)");
                let port = heard.split("|||").nth(1).unwrap().split('|').next().unwrap();
                let data = TcpStream::connect((server.addr.ip(), port.parse().unwrap())).unwrap();
                busy.write_all(b"RETR big\r\n").unwrap();
                hear(&mut busy, "150 ");
                // Nobody reads it.
                std::mem::forget(data);
                "1 transfer, 1 connection open; waiting up to 30 s"
            }
            "smtpserve" => {
                let words = "EHLO c.test\r\nMAIL FROM:<b@b.test>\r\nRCPT TO:<a@a.test>\r\nDATA\r\n";
                busy.write_all(words.as_bytes()).unwrap();
                hear(&mut busy, "354 ");
                "1 connection open; waiting up to 30 s"
            }
            _ => "",
        };
        server.signal(Signal::TERM);
        if !waits.is_empty() {
            server.stderr.wait_for(waits);
            until(|| has(&dir.path().join("log"), "\twarning\t1 "), "the same in the log");
        }
        // The second signal ends it at once: the harness waits for ten seconds, the drain for thirty.
        assert_eq!(server.stop(), 0, "{name}");
    }
}
