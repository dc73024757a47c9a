//! Servers that demand TLS, and clients' certificates inside it: before that nothing is done.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use crate::harness::{LIMIT, Server, server, temp_dir, tool};

/// A certificate of its own making and its key in one file.
fn identity(dir: &Path, name: &str) -> PathBuf {
    let mut made = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    made.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().unwrap();
    let file = dir.join(format!("{name}.pem"));
    std::fs::write(&file, made.self_signed(&key).unwrap().pem() + &key.serialize_pem()).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    file
}

/// The code of each reply to these lines, in clear text, the greeting first; 0 where the connection ends.
fn codes(server: SocketAddr, lines: &[&str]) -> Vec<u16> {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut reader = BufReader::new(stream);
    let mut code = || loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(count @ 1..) if count > 3 && line.as_bytes()[3] == b' ' => {
                if let Ok(code) = line[..3].parse() {
                    break (code, reader.get_ref().try_clone().unwrap());
                }
            }
            Ok(1..) => {}
            Ok(0) | Err(_) => break (0, reader.get_ref().try_clone().unwrap()),
        }
    };
    let (mut found, mut stream) = (Vec::new(), None::<TcpStream>);
    for line in std::iter::once(&"").chain(lines) {
        if let Some(stream) = &mut stream {
            let _ = stream.write_all(format!("{line}\r\n").as_bytes());
        }
        let (number, writer) = code();
        found.push(number);
        stream = Some(writer);
    }
    found
}

const SMTP: &[(&str, u16)] = &[
    ("NOOP", 250),
    ("EHLO a.test", 250),
    ("HELO a.test", 530),
    ("MAIL FROM:<x@a.test>", 530),
    ("RCPT TO:<bob@a.test>", 530),
    ("DATA", 530),
    ("BDAT 0 LAST", 503),
    ("AUTH PLAIN AGJvYgBz", 530),
    ("VRFY bob", 530),
    ("EXPN all", 530),
    ("HELP", 530),
    ("RSET", 530),
    ("QUIT", 221),
];

const FTP: &[(&str, u16)] = &[
    ("NOOP", 200),
    ("FEAT", 211),
    ("USER anonymous", 530),
    ("PASS x", 530),
    ("ACCT x", 530),
    ("SYST", 530),
    ("HELP", 530),
    ("STAT", 530),
    ("OPTS UTF8 ON", 530),
    ("PBSZ 0", 530),
    ("PROT P", 530),
    ("CCC", 530),
    ("REIN", 530),
    ("TYPE I", 530),
    ("EPSV", 530),
    ("PORT 127,0,0,1,200,1", 530),
    ("LIST", 530),
    ("RETR file", 530),
    ("STOR file", 530),
    ("DELE file", 530),
    ("SITE CHMOD 777 file", 530),
    ("QUIT", 221),
];

fn nothing_in_clear(server: &Server, table: &[(&str, u16)]) {
    let lines: Vec<&str> = table.iter().map(|(line, _)| *line).collect();
    let found = codes(server.addr, &lines);
    assert_eq!(found[0], 220);
    for ((line, expected), found) in table.iter().zip(&found[1..]) {
        assert_eq!(found, expected, "{line}");
    }
}

fn smtpserve(dir: &Path, flags: &[&str]) -> Server {
    std::fs::create_dir_all(dir.join("mail/bob/new")).unwrap();
    let run = server("smtpserve").dir(dir).args(["--domain", "a.test", "--mailboxes", "mail", "--cert", "a.test.pem"]);
    run.args(flags).start()
}

fn smtpsend(server: &Server, dir: &Path, flags: &[&str]) -> i32 {
    let run = tool("smtpsend").dir(dir).args(["-q", "--server", &server.url, "--ca-cert", "a.test.pem"]).stdin("x\n");
    let run = run.args(["--tls-name", "a.test", "--from", "x@a.test", "--to", "bob@a.test", "--subject", "s"]);
    run.args(flags).run().status
}

#[test]
fn without_a_certificate_of_his_a_client_gets_nothing() {
    let home = temp_dir();
    let dir = home.path();
    for name in ["a.test", "friend.test", "stranger.test"] {
        identity(dir, name);
    }
    std::fs::create_dir(dir.join("tree")).unwrap();
    std::fs::write(dir.join("tree/file"), "content").unwrap();
    let clients = [(&["--cert", "friend.test.pem"][..], 0), (&["--cert", "stranger.test.pem"], 77), (&[], 77)];
    for (tls, how) in
        [(&[][..], "starttls"), (&["--tls", "required"], "starttls"), (&["--tls", "implicit"], "implicit")]
    {
        let server = smtpserve(dir, &[tls, &["--client-ca", "friend.test.pem"]].concat());
        if how == "starttls" {
            nothing_in_clear(&server, SMTP);
            assert_ne!(smtpsend(&server, dir, &["--tls", "none"]), 0);
        }
        for (flags, status) in clients {
            let found = smtpsend(&server, dir, &[flags, &["--tls", how]].concat());
            assert_eq!(found, status, "smtpserve {tls:?} {flags:?}\n{server}");
        }
    }
    for (tls, how) in
        [(&[][..], "starttls"), (&["--tls", "starttls"], "starttls"), (&["--tls", "implicit"], "implicit")]
    {
        let run =
            server("ftpserve").dir(dir).args(["--write", "--cert", "a.test.pem", "--client-ca", "friend.test.pem"]);
        let server = run.args(tls).arg("tree").start();
        let plain = format!("ftp://{}/file", server.addr);
        if how == "starttls" {
            assert!(server.url.starts_with("ftpes://"), "{}", server.url);
            nothing_in_clear(&server, FTP);
            assert_ne!(tool("ftpget").args(["-q", "-o", "-", "--tls", "none", &plain]).run().status, 0);
        }
        for (flags, status) in clients {
            let run =
                tool("ftpget").dir(dir).args(["-q", "-o", "-", "--ca-cert", "a.test.pem", "--tls-name", "a.test"]);
            let done = run.args(flags).arg(format!("{}/file", server.url)).run();
            assert_eq!(
                (done.status, done.text() == "content"),
                (status, status == 0),
                "ftpserve {tls:?}\n{done}{server}"
            );
        }
    }
}

#[test]
fn tls_can_be_demanded_without_certificates() {
    let home = temp_dir();
    let dir = home.path();
    identity(dir, "a.test");
    let server = smtpserve(dir, &["--tls", "required"]);
    nothing_in_clear(&server, SMTP);
    assert_eq!(smtpsend(&server, dir, &["--tls", "starttls"]), 0);
}

/// The name that a client asks for chooses among certificates.
#[test]
fn one_server_has_the_certificates_of_several_names() {
    let home = temp_dir();
    let dir = home.path();
    for name in ["a.test", "b.test"] {
        identity(dir, name);
    }
    let server = smtpserve(dir, &["--cert", "b.test.pem"]);
    for (name, trusted, status) in
        [("a.test", "a.test", 0), ("b.test", "b.test", 0), ("b.test", "a.test", 77), ("c.test", "a.test", 77)]
    {
        let run =
            tool("smtpsend").dir(dir).args(["-q", "--server", &server.url, "--tls", "starttls", "--tls-name", name]);
        let run = run.args(["--ca-cert", &format!("{trusted}.pem"), "--from", "x@a.test", "--to", "bob@a.test"]);
        run.args(["--subject", "s"]).stdin("x\n").run().exits(status);
    }
}

#[test]
fn what_cannot_work_is_said_at_the_start() {
    let home = temp_dir();
    let dir = home.path();
    for name in ["a.test", "b.test"] {
        identity(dir, name);
    }
    for (name, own) in [("ftpserve", &["."][..]), ("smtpserve", &["--domain", "a.test", "--mailboxes", "."])] {
        for (flags, why) in [
            (&["--client-ca", "a.test.pem"][..], "--client-ca needs --cert"),
            (&["--cert", "a.test.pem", "--cert", "b.test.pem", "--key", "a.test.pem"], "one for each --cert"),
            (&["--key", "a.test.pem"], "--cert"),
        ] {
            let run = tool(name).dir(dir).args(["--listen", "127.0.0.1:0"]).args(own).args(flags);
            run.run().exits(64).says(why);
        }
    }
    let run = tool("smtpserve").dir(dir).args(["--domain", "a.test", "--mailboxes", ".", "--tls", "required"]);
    run.run().exits(64).says("need --cert");
    std::fs::set_permissions(dir.join("a.test.pem"), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    for name in ["--cert", "--user-file"] {
        let run = tool("ftpserve").dir(dir).args(["--listen", "127.0.0.1:0", ".", name, "a.test.pem"]);
        run.run().exits(78).says("others may change it");
    }
}
