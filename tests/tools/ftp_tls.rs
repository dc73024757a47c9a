//! FTP inside TLS, against a scripted server: data connections that it does not protect (PROT), and a control connection that
//! leaves TLS after the login (CCC).

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::harness::{Done, Peer, peer, temp_dir, tool};
use crate::tls_peer::{TlsConn, self_signed};

/// What the server does its own way.
#[derive(Clone, Copy)]
struct TlsManner {
    /// The reply to PROT P.
    prot: &'static str,
    ccc: Ccc,
}

#[derive(Clone, Copy, PartialEq)]
enum Ccc {
    Refused,
    Works,
    /// 200, and TLS goes on.
    StaysInTls,
    /// 200, and the connection is closed.
    HangsUp,
    /// 200, and more inside TLS.
    SaysMore,
}

/// A server of files in clear text data connections, and what it heard after `AUTH TLS`: `C` in clear text, `T` inside TLS.
fn tls_server(manner: TlsManner) -> (Peer, String, Arc<Mutex<Vec<String>>>) {
    let (pem, config) = self_signed("ftp.test");
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = heard.clone();
    let server = peer(move |mut conn| {
        conn.send("220 ready\r\n");
        assert_eq!(conn.line().as_deref(), Some("AUTH TLS"));
        conn.send("234 go\r\n");
        let mut tls = Some(TlsConn::new(&mut conn, &config));
        let mut passive: Option<TcpListener> = None;
        loop {
            let line = match &mut tls {
                Some(tls) => tls.line(),
                None => conn.line(),
            };
            let Some(line) = line else { return };
            log.lock().unwrap().push(format!("{} {line}", if tls.is_some() { 'T' } else { 'C' }));
            let mut say = |text: &str| match &mut tls {
                Some(tls) => tls.send(text),
                None => conn.send(text),
            };
            let reply = match line.split(' ').next().unwrap_or_default() {
                "USER" => "331 password\r\n".to_owned(),
                "PASS" => "230 in\r\n".to_owned(),
                "PROT" if line == "PROT P" => format!("{}\r\n", manner.prot),
                "EPSV" => {
                    let port = passive.insert(TcpListener::bind("127.0.0.1:0").unwrap()).local_addr().unwrap().port();
                    format!("229 passive (|||{port}|)\r\n")
                }
                "RETR" => {
                    say("150 here\r\n");
                    passive.take().unwrap().accept().unwrap().0.write_all(b"hi").unwrap();
                    "226 done\r\n".to_owned()
                }
                "CCC" if manner.ccc == Ccc::Refused => "534 no\r\n".to_owned(),
                "CCC" => {
                    say("200 as you like\r\n");
                    match manner.ccc {
                        Ccc::Works => tls.take().unwrap().end(),
                        Ccc::HangsUp => return,
                        Ccc::SaysMore => drop(say("220 psst\r\n")),
                        Ccc::StaysInTls | Ccc::Refused => {}
                    }
                    continue;
                }
                "PBSZ" | "PROT" | "TYPE" => "200 ok\r\n".to_owned(),
                _ => "500 what?\r\n".to_owned(),
            };
            say(&reply);
        }
    });
    (server, pem, heard)
}

/// Fetches a file in this way.
fn fetch(manner: TlsManner, flags: &[&str]) -> (Done, Vec<String>) {
    let (server, pem, heard) = tls_server(manner);
    let dir = temp_dir();
    std::fs::write(dir.path().join("ca.pem"), pem).unwrap();
    let done = tool("ftpget")
        .dir(dir.path())
        .args(["--ca-cert", "ca.pem", "--tls-name", "ftp.test", "--timeout", "2", "-o", "-"])
        .args(flags)
        .arg(format!("ftpes://{}/x", server.addr))
        .run();
    let heard = heard.lock().unwrap().clone();
    (done, heard)
}

#[test]
fn a_server_that_protects_no_data_is_told_and_taken_only_as_it_is() {
    for refusal in ["504 what?", "534 not here", "536 no such level", "502 no", "431 no resource"] {
        let manner = TlsManner { prot: refusal, ccc: Ccc::Refused };
        let (done, heard) = fetch(manner, &[]);
        let status = if refusal.starts_with('4') { [75, 77] } else { [77, 77] };
        assert!(status.contains(&done.status), "{refusal}: {done}");
        done.says("PROT P").says("--data-clear");
        assert!(!heard.iter().any(|line| line.contains("RETR")), "{refusal}: {heard:?}");
        let (done, heard) = fetch(manner, &["--data-clear"]);
        done.exits(0).says("files and listings are sent unencrypted");
        assert_eq!(done.text(), "hi");
        assert!(heard.contains(&"T PROT C".to_owned()) && heard.iter().all(|line| line.starts_with('T')), "{heard:?}");
    }
}

#[test]
fn the_control_connection_leaves_tls_properly_or_not_at_all() {
    let ccc = |ccc| fetch(TlsManner { prot: "504 no", ccc }, &["--data-clear", "--ccc"]);
    let (done, heard) = ccc(Ccc::Works);
    done.exits(0).says("commands and names are sent unencrypted");
    assert_eq!(done.text(), "hi");
    let at = heard.iter().position(|line| line == "T CCC").unwrap();
    assert!(heard[..at].iter().any(|line| line.starts_with("T PASS")), "{heard:?}");
    assert!(heard[at + 1..].iter().all(|line| line.starts_with("C ")), "{heard:?}");
    assert!(heard[at + 1..].iter().any(|line| line == "C RETR x"), "{heard:?}");
    let (done, heard) = ccc(Ccc::Refused);
    done.exits(77).says("CCC: 534").says("without --ccc");
    assert!(heard.iter().all(|line| line.starts_with('T')), "{heard:?}");
    for manner in [Ccc::StaysInTls, Ccc::HangsUp, Ccc::SaysMore] {
        let (done, heard) = ccc(manner);
        done.exits(76).says("does not end TLS");
        assert_eq!(heard.last().map(String::as_str), Some("T CCC"), "nothing goes in clear text: {heard:?}");
    }
    // Without the flag nothing of it.
    let (done, heard) = fetch(TlsManner { prot: "504 no", ccc: Ccc::Works }, &["--data-clear"]);
    assert!(done.status == 0 && heard.iter().all(|line| line.starts_with('T')), "{heard:?}");
}
