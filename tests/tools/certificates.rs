//! Certificates from the command line: pins, probes of servers, and how long certificates last.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};

use applayer::net::certificate::CertificateFacts;

use crate::dns_peers::{self, Dot, Identity, identity};
use crate::harness::{Done, Server, peer, server, temp_dir, tool};
use crate::queue::{enqueue, run};
use crate::tls_peer::{TlsConn, self_signed};

/// A server with this certificate that begins with TLS.
fn serving(name: &str, own: &Identity, dir: &Path, args: &[&str]) -> Server {
    server(name)
        .args(["--tls", "implicit", "--cert"])
        .arg(&own.ca)
        .arg("--key")
        .arg(&own.key)
        .args(args)
        .dir(dir)
        .start()
}

/// Both notations of both digests, as an error tells them and as users have them from elsewhere.
fn pins(own: &Identity) -> [String; 4] {
    let facts = CertificateFacts::read(&der(&own.ca));
    let (whole, key) = (facts.pin.unwrap(), facts.key_pin.unwrap());
    [whole.hex(), format!("sha256//{}", whole.base64()), key.hex().replace(':', "").to_lowercase(), own.pin.clone()]
}

fn der(pem: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(pem).unwrap();
    let base64: String = text.lines().skip(1).take_while(|line| !line.starts_with('-')).collect();
    applayer::mail::transfer::decode_base64(base64.as_bytes())
}

#[test]
fn every_client_takes_pins_of_certificates_and_keys() {
    let (own, dir) = (identity(), temp_dir());
    for name in ["tree", "mail/b"] {
        std::fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    std::fs::write(dir.path().join("tree/x"), "hi").unwrap();
    let ftp = serving("ftpserve", &own, dir.path(), &["--write", "tree"]);
    let smtp =
        serving("smtpserve", &own, dir.path(), &["--domain", "b.test", "--mailboxes", "mail", "--queue-dir", "q"]);
    let dns = dns_peers::dot(Dot { batch: 1, answers: 100 });
    let (ftp, smtp) = (format!("ftps://{}", ftp.addr), format!("smtps://{}", smtp.addr));
    let queue = temp_dir();
    let client = |name: &str, pin: &str| -> Done {
        let run = tool(name).args(["--pin", pin]).dir(dir.path());
        match name {
            "ftpls" => run.arg(&ftp).run(),
            "ftpget" => run.arg(format!("{ftp}/x")).args(["-o", "-"]).run(),
            "ftpput" => run.args(["tree/x", &format!("{ftp}/y")]).run(),
            "ftpdo" => run.args([&ftp, "pwd"]).run(),
            "smtpsend" => run.args(["--server", &smtp, "--to", "b@b.test"]).stdin("x\n").run(),
            _ => {
                enqueue(queue.path(), &[("a@a.test", &["b@b.test"], "Subject: x\r\n\r\nx\r\n")]);
                crate::queue::run(queue.path(), &["--smarthost", &smtp, "--pin", pin, "--flush"])
            }
        }
    };
    for name in ["ftpls", "ftpget", "ftpput", "ftpdo", "smtpsend", "mailq-run"] {
        for pin in pins(&own) {
            client(name, &pin).exits(0);
        }
        let refused = client(name, &format!("sha256:{}", "00".repeat(32)));
        refused.exits(77).says("not what --pin names");
        // What the message tells can be pasted.
        for mark in ["sha256:", "sha256//"] {
            let told = &refused.stderr[refused.stderr.find(mark).unwrap()..];
            let told = told.split([',', '\n', ' ']).next().unwrap();
            client(name, told).exits(0);
        }
        let wrong = tool(name).args(["--pin", "00"]).run();
        wrong.exits(64).says("64 hexadecimal digits, or 32 bytes in base64");
        tool(name).args(["--pin", &own.pin, "--insecure"]).run().exits(64).says("cannot be used with");
    }
    let asked =
        |pin: &str| tool("dnsq").args(["--pin", pin]).arg(format!("@tls://{}", dns.addr)).arg("www.example.test").run();
    let facts = CertificateFacts::read(&der(&dns.ca));
    asked(&facts.pin.unwrap().hex()).exits(0);
    asked(dns.pin()).exits(0);
    asked(&own.pin).exits(77).says("not what --pin names");
}

#[test]
fn a_pin_wants_tls_and_works_from_an_options_file() {
    let (own, dir) = (identity(), temp_dir());
    std::fs::create_dir_all(dir.path().join("mail/b")).unwrap();
    let smtp = |flags: &[&str]| {
        let args = ["--domain", "b.test", "--mailboxes", "mail", "--queue-dir", "q"];
        server("smtpserve").args(args).args(flags).dir(dir.path()).start()
    };
    let plain = smtp(&[]);
    let send = |to: &Server, flags: &[&str]| {
        let url = format!("smtp://{}", to.addr);
        tool("smtpsend")
            .args(["--server", &url, "--to", "b@b.test", "--json"])
            .args(flags)
            .stdin("x\n")
            .dir(dir.path())
            .run()
    };
    // smtp:// merely tries TLS, but whoever names a pin wants it.
    send(&plain, &[]).exits(0);
    send(&plain, &["--pin", &own.pin]).exits(77).says("does not offer STARTTLS");
    send(&plain, &["--pin", &own.pin, "--tls", "none"]).exits(0);
    let (cert, key) = (own.ca.to_str().unwrap(), own.key.to_str().unwrap());
    let offering = smtp(&["--cert", cert, "--key", key]);
    let file = dir.path().join("options");
    std::fs::write(&file, format!("# the relay's key\npin {}\n", own.pin)).unwrap();
    let done = send(&offering, &["--config", file.to_str().unwrap()]);
    assert_eq!(done.exits(0).records_of("recipient")[0]["tls_verified"], true, "{done}");
    // Beside --ca-cert or --tls-name it is one more condition.
    send(&offering, &["--pin", &own.pin, "--ca-cert", cert]).exits(0);
    send(&offering, &["--pin", &own.pin, "--ca-cert", cert, "--tls-name", "x.test"]).exits(77).says("not for x.test");
    send(&offering, &["--pin", &own.pin, "--mx"]).exits(64);
    let queue = temp_dir();
    enqueue(queue.path(), &[("a@a.test", &["b@b.test"], "Subject: x\r\n\r\nx\r\n")]);
    run(queue.path(), &["--pin", &own.pin]).exits(64).says("--smarthost");
    let ftp = server("ftpserve").arg(".").dir(dir.path()).start();
    let listed = tool("ftpls").args(["--pin", &own.pin]).arg(format!("ftp://{}", ftp.addr)).run();
    listed.exits(0).says("without TLS no certificate is checked");
}

/// The control connection shows the pinned certificate, data connections another one.
#[test]
fn data_connections_are_held_to_the_pin() {
    let ((_, control), (_, other)) = (self_signed("ftp.test"), self_signed("ftp.test"));
    for same in [true, false] {
        let (control, data) = (control.clone(), if same { control.clone() } else { other.clone() });
        let server = peer(move |mut conn| {
            let mut tls = TlsConn::new(&mut conn, &control);
            tls.send("220 ready\r\n");
            let mut passive: Option<TcpListener> = None;
            while let Some(line) = tls.line() {
                let reply = match line.split(' ').next().unwrap_or_default() {
                    "USER" => "331 password\r\n".to_owned(),
                    "PASS" => "230 in\r\n".to_owned(),
                    "EPSV" => {
                        let listener = passive.insert(TcpListener::bind("127.0.0.1:0").unwrap());
                        format!("229 passive (|||{}|)\r\n", listener.local_addr().unwrap().port())
                    }
                    "RETR" => {
                        tls.send("150 here\r\n");
                        let stream = passive.take().unwrap().accept().unwrap().0;
                        let mut conn = crate::scripted::Conn::new(stream);
                        let mut inner = TlsConn::new(&mut conn, &data);
                        inner.send("hi");
                        inner.close();
                        "226 done\r\n".to_owned()
                    }
                    "PBSZ" | "PROT" | "TYPE" => "200 ok\r\n".to_owned(),
                    _ => "500 what?\r\n".to_owned(),
                };
                if !tls.send(&reply) {
                    return;
                }
            }
        });
        let get = |pin: &str| {
            let url = format!("ftps://{}/x", server.addr);
            tool("ftpget").args(["--pin", pin, "--timeout", "5", "-o", "-"]).arg(url).run()
        };
        let told = get(&"00".repeat(32));
        let told = &told.exits(77).stderr[told.stderr.find("sha256:").unwrap()..];
        let pin = told.split(',').next().unwrap();
        let done = get(pin);
        if same {
            assert_eq!(done.exits(0).text(), "hi");
        } else {
            done.exits(77).says("not what --pin names");
            assert_eq!(done.text(), "", "{done}");
        }
    }
}

/// A certificate for 127.0.0.1 that ends after so many days, with its key in one file.
fn lasting(days: i64, dir: &Path) -> String {
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "mail.test".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "lasting");
    // Tomorrow's midnight is less than a day away.
    let end = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date();
    let end = end.checked_add(jiff::Span::new().days(days + 1)).unwrap();
    params.not_after = rcgen::date_time_ymd(end.year().into(), end.month() as u8, end.day() as u8);
    let key = rcgen::KeyPair::generate().unwrap();
    let path = dir.join(format!("lasting{days}.pem"));
    std::fs::write(&path, params.self_signed(&key).unwrap().pem() + &key.serialize_pem()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What the probes of ftpdo and smtpsend say of servers with such a certificate.
fn probes(cert: &str, dir: &Path, flags: &[&str]) -> [Done; 2] {
    std::fs::create_dir_all(dir.join("mail/b")).unwrap();
    let start = |name: &str, args: &[&str]| server(name).args(["--cert", cert]).args(args).dir(dir).start();
    let ftp = start("ftpserve", &["."]);
    let smtp = start("smtpserve", &["--domain", "b.test", "--mailboxes", "mail", "--queue-dir", "q"]);
    let submission = format!("submission://{}", smtp.addr);
    [
        tool("ftpdo").args(flags).args(["--json", &format!("ftpes://{}", ftp.addr), "probe"]).run(),
        tool("smtpsend").args(flags).args(["--json", "--probe", "--server", &submission]).run(),
    ]
}

#[test]
fn probes_tell_of_certificates_and_how_long_they_last() {
    let dir = temp_dir();
    let (cert, ended) = (lasting(10, dir.path()), lasting(-3, dir.path()));
    let trusting = ["--ca-cert", &cert];
    let facts = CertificateFacts::read(&der(Path::new(&cert)));
    for done in probes(&cert, dir.path(), &trusting) {
        let probe = &done.exits(0).records_of("probe")[0];
        let (tls, own) = (&probe["tls"], &probe["tls"]["certificates"][0]);
        assert!(probe["greeting"].as_str().unwrap().starts_with("220"), "{done}");
        assert_eq!(
            (&tls["version"], &tls["verified"], &tls["days_left"]),
            (&"TLSv1.3".into(), &true.into(), &10.into())
        );
        assert!(tls["cipher"].as_str().unwrap().starts_with("TLS_") && tls["untrusted"].is_null(), "{done}");
        assert_eq!((&own["subject"], &own["issuer"]), (&"CN=lasting".into(), &"CN=lasting".into()));
        assert_eq!(own["names"], serde_json::json!(["IP:127.0.0.1", "DNS:mail.test"]), "{done}");
        assert_eq!((&own["key_type"], &own["key_bits"]), (&"EC P-256".into(), &256.into()));
        assert_eq!(own["signature_algorithm"], "ECDSA-SHA256");
        assert_eq!(own["sha256"].as_str(), Some(facts.pin.unwrap().hex().as_str()));
        assert_eq!(own["key_sha256"].as_str(), Some(facts.key_pin.unwrap().base64().as_str()));
        assert_eq!(own["serial"].as_str(), Some(facts.serial.as_str()));
        assert!(own["not_after"].as_str().unwrap().ends_with("T00:00:00Z"), "{done}");
        assert_eq!(own["not_before"], "1975-01-01T00:00:00Z");
    }
    type Says = Option<&'static str>;
    let cases: &[(&str, &[&str], i32, Says)] = &[
        (&cert, &["--ca-cert", &cert, "--min-days", "10"], 0, None),
        (&cert, &["--ca-cert", &cert, "--min-days", "11"], 1, Some("10 days left, 11 wanted")),
        (&cert, &["--ca-cert", &cert, "--min-days", "11", "-q"], 1, None),
        (&cert, &["--min-days", "11"], 77, Some("the certificate is self-signed (CN=lasting)")),
        (&cert, &["--insecure", "-q", "--min-days", "10"], 0, None),
        (&cert, &["--insecure", "-q", "--min-days", "11"], 1, None),
        (&cert, &[], 77, Some("the certificate is self-signed (CN=lasting)")),
        (&ended, &["--ca-cert", &ended, "--min-days", "1"], 77, Some("the certificate expired at")),
        (&ended, &["--insecure", "--min-days", "0"], 1, Some("-3 days left, 0 wanted")),
    ];
    for (cert, flags, status, says) in cases {
        for done in probes(cert, dir.path(), flags) {
            let probe = &done.exits(*status).records_of("probe")[0];
            let trusted = flags.contains(&"--ca-cert") && *status != 77;
            assert_eq!(probe["tls"]["verified"], trusted, "{done}");
            assert_eq!(probe["tls"]["untrusted"].is_string(), !trusted, "{done}");
            if let Some(says) = says {
                done.says(says);
            } else {
                assert_eq!(done.stderr, "", "{done}");
            }
        }
    }
    let key = format!("sha256//{}", facts.key_pin.unwrap().base64());
    for done in probes(&cert, dir.path(), &["--pin", &key, "--min-days", "3"]) {
        assert_eq!(done.exits(0).records_of("probe")[0]["tls"]["verified"], true, "{done}");
    }
    let text = format!("{}", probes(&cert, dir.path(), &trusting)[0]);
    assert!(text.contains("protects_data"), "{text}");
    tool("smtpsend").args(["--min-days", "3"]).run().exits(64);
    tool("ftpdo").args(["--min-days", "3", "ftp://127.0.0.1:1", "pwd"]).run().exits(64).says("only with probe");
    tool("ftpdo").args(["ftp://127.0.0.1:1", "probe", "x"]).run().exits(64);
}

#[test]
fn a_probe_without_tls_has_no_certificate_that_could_last() {
    let dir = temp_dir();
    std::fs::create_dir_all(dir.path().join("mail/b")).unwrap();
    let ftp = server("ftpserve").arg(".").dir(dir.path()).start();
    let smtp =
        server("smtpserve").args(["--domain", "b.test", "--mailboxes", "mail", "--queue-dir", "q"]).dir(dir.path());
    let smtp = smtp.start();
    let (ftp, smtp) = (format!("ftp://{}", ftp.addr), format!("smtp://{}", smtp.addr));
    for args in [vec![ftp.as_str(), "probe"], vec!["--probe", "--server", &smtp]] {
        let name = if args[0].starts_with("ftp") { "ftpdo" } else { "smtpsend" };
        tool(name).args(&args).run().silent_success().prints("greeting\t220");
        tool(name).args(&args).args(["--min-days", "1"]).run().exits(77).says("no TLS, and so no certificate");
    }
    tool("dnsq").args(["--probe", "@127.0.0.1"]).run().exits(64).says("tls://");
}

/// Whoever has a password does not tell it where the certificate is not believed, though the probe goes on there.
#[test]
fn a_probe_of_a_server_that_is_not_believed_does_not_log_in() {
    for name in ["smtpsend", "ftpdo"] {
        let (_, config) = self_signed("mail.test");
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = heard.clone();
        let smtp = name == "smtpsend";
        let server = peer(move |mut conn| {
            let mut tls = TlsConn::new(&mut conn, &config);
            tls.send("220 mail.test\r\n");
            let answer = |line: &str| match line.split(' ').next().unwrap_or_default() {
                "EHLO" => Some("250-mail.test\r\n250 AUTH PLAIN".to_owned()),
                "FEAT" => Some("211-Features:\r\n UTF8\r\n211 End".to_owned()),
                "SYST" => Some("215 UNIX".to_owned()),
                _ => None,
            };
            tls.serve(&answer, &mut |line| log.lock().unwrap().push(line.to_owned()));
        });
        let (scheme, addr) = (if smtp { "smtps" } else { "ftps" }, server.addr);
        let url = format!("{scheme}://u@{addr}");
        let args = if smtp { vec!["--probe", "--from", "a@a.test", "--server", &url] } else { vec![&*url, "probe"] };
        let done = tool(name).args(["--password-command", "echo geheim"]).args(args).run();
        done.exits(77).says("the certificate is self-signed").prints("220 mail.test").prints("untrusted\t");
        let heard = heard.lock().unwrap().clone();
        let verbs: Vec<&str> = heard.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(verbs, if smtp { vec!["EHLO", "QUIT"] } else { vec!["FEAT", "SYST", "PBSZ", "PROT", "QUIT"] });
    }
}

#[test]
fn name_servers_are_probed_over_every_encrypted_transport() {
    let dot = dns_peers::dot(Dot { batch: 1, answers: 100 });
    let doh = dns_peers::doh(crate::dns_encrypted::http_answer);
    let doq = dns_peers::doq();
    for (scheme, addr, ca, alpn) in
        [("tls", dot.addr, &dot.ca, "dot"), ("https", doh.addr, &doh.ca, "h2"), ("quic", doq.addr, &doq.ca, "doq")]
    {
        let probe = |addr: SocketAddr, flags: &[&str]| {
            let url = format!("{scheme}://{addr}");
            tool("dnsq").args(["--probe", &url, "--json", "example.test", "SOA"]).args(flags).run()
        };
        let ca = ca.to_str().unwrap();
        let done = probe(addr, &["--ca-cert", ca, "--min-days", "700000"]);
        let record = &done.exits(0).records_of("probe")[0];
        assert_eq!(
            (record["transport"].as_str(), record["status"].as_str()),
            (Some(scheme), Some("NOERROR")),
            "{done}"
        );
        let tls = &record["tls"];
        assert_eq!((tls["alpn"].as_str(), tls["version"].as_str()), (Some(alpn), Some("TLSv1.3")), "{done}");
        assert_eq!(tls["verified"], true);
        assert_eq!(tls["certificates"][0]["names"], serde_json::json!(["DNS:dns.test", "IP:127.0.0.1"]), "{done}");
        probe(addr, &["--ca-cert", ca, "--min-days", "999999"]).exits(1).says("999999 wanted");
        let untrusted = probe(addr, &[]);
        let record = &untrusted.exits(77).says("the certificate is self-signed").records_of("probe")[0];
        assert_eq!((&record["tls"]["verified"], record["status"].as_str()), (&false.into(), Some("NOERROR")));
        probe(addr, &["--insecure", "-q"]).exits(0);
    }
    let url = format!("@tls://{}", dot.addr);
    let done = tool("dnsq").args(["--probe", &url, "--ca-cert"]).arg(&dot.ca).run();
    done.exits(0).prints("answer\t. NS").prints("alpn\tdot").prints("ends\t4096-01-01T00:00:00Z");
}

/// QUIC hands the errors of TLS on as numbers and texts; the words are the same all the same.
#[test]
fn quic_tells_of_certificates_in_the_same_words() {
    let doq = dns_peers::doq();
    let ask = |flags: &[&str]| {
        tool("dnsq").args(flags).arg("--ca-cert").arg(&doq.ca).arg(format!("@quic://{}", doq.addr)).arg("x.test").run()
    };
    ask(&["--tls-name", "other.test"]).exits(77).says("the certificate is for dns.test, 127.0.0.1, not for other.test");
    ask(&["--pin", &"00".repeat(32)]).exits(77).says("not what --pin names");
}
