//! Logins at servers with some broken mechanisms, and at servers with surplus replies.

use tokio::task::JoinHandle;

use super::*;
use crate::net::stream::Stream;
use crate::net::tls::{ClientTls, ClientTlsOptions};
use crate::smtp::client::tests::{options, scripted};

/// A server inside TLS that plays a script (see [`scripted`]), and TLS settings that trust it.
async fn scripted_in_tls(script: &str) -> (Stream, ClientTls, JoinHandle<()>) {
    use crate::net::tls::{ServerTls, ServerTlsOptions};
    let names = vec!["x".to_owned()];
    let server = ServerTls::new(&ServerTlsOptions { self_signed: names, ..Default::default() }).unwrap();
    let trust = ClientTls::new(&ClientTlsOptions { insecure: true, ..Default::default() }).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    let (inner, played) = scripted(script);
    let task = tokio::spawn(async move {
        let mut outer = server.accept(Stream::Plain(far)).await.unwrap();
        let mut inner = inner;
        let _ = tokio::io::copy_bidirectional(&mut outer, &mut inner).await;
        // Whatever the script did not expect to hear fails here.
        played.await.unwrap();
    });
    (Stream::Plain(near), trust, task)
}

#[tokio::test]
async fn a_broken_mechanism_is_followed_by_another_inside_tls_only() {
    const PLAIN: &str = "C: AUTH PLAIN AHUAcA==\n";
    const LOGIN: &str = "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dQ==\nS: 334 UGFzc3dvcmQ6\nC: cA==\n";
    const CRAM: &str = "C: AUTH CRAM-MD5\n";
    let offer = |list: &str| format!("S: 220 mx\nC: EHLO alice.test\nS: 250-mx\nS: 250 AUTH {list}\n");
    let scram = |size: usize, says: &str| format!("B {size}\n{says}\n");
    // AUTH SCRAM-SHA-256 and AUTH SCRAM-SHA-1 with the initial response to a nonce of 24 letters.
    let (big, small) = ("AUTH SCRAM-SHA-256 ".len() + 44 + 2, "AUTH SCRAM-SHA-1 ".len() + 44 + 2);
    let malformed = "S: 334 AAAA\nC: *\nS: 501 off";
    let denied = "S: 334 ZT1vdGhlci1lcnJvcg==\nC: *\nS: 501 off";
    let goes_on = format!("{PLAIN}S: 235 in\nC: QUIT");
    let mut table: Vec<(String, Result<(), Kind>, &str)> = Vec::new();
    for first in [
        "S: 535 5.7.8 no",
        "S: 504 5.5.4 no",
        "S: 534 5.7.9 weak",
        "S: 554 no",
        "S: 454 4.7.0 broken",
        malformed,
        denied,
        "S: 334 !!\nC: *\nS: 501 off",
    ] {
        table.push((offer("SCRAM-SHA-256 PLAIN LOGIN") + &scram(big, first) + &goes_on, Ok(()), ""));
    }
    let (both, all) = (
        "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5",
        "AUTH SCRAM-SHA-256: 535 5.7.8 no; AUTH PLAIN: 535 5.7.8 no",
    );
    let wrong = offer(both) + &scram(big, "S: 535 5.7.8 no") + PLAIN + "S: 535 5.7.8 no";
    table.push((wrong, Err(Kind::AuthFailed), all));
    let unknown = offer(both)
        + &scram(big, "S: 504 no")
        + &scram(small, "S: 504 no")
        + PLAIN
        + "S: 504 no\n"
        + LOGIN
        + "S: 235 in\nC: QUIT";
    table.push((unknown, Ok(()), ""));
    table.push((offer("PLAIN LOGIN CRAM-MD5") + PLAIN + "S: 535 no", Err(Kind::AuthFailed), "AUTH PLAIN: 535 no"));
    table.push((
        offer("PLAIN CRAM-MD5") + PLAIN + "S: 501 what\n" + CRAM + "S: 535 no",
        Err(Kind::AuthFailed),
        "AUTH PLAIN: 501 what; AUTH CRAM-MD5: 535 no",
    ));
    table.push((
        offer("SCRAM-SHA-256 PLAIN") + &scram(big, "S: 421 bye"),
        Err(Kind::PeerTemporary),
        "AUTH SCRAM-SHA-256: 421 bye",
    ));
    table.push((
        offer("SCRAM-SHA-256 PLAIN") + &scram(big, "S: 235 in"),
        Err(Kind::AuthFailed),
        "AUTH SCRAM-SHA-256: the server took the login without proof that it knows the password",
    ));
    table.push((
        offer("SCRAM-SHA-256 PLAIN") + &scram(big, "S: 334 AAAA\nC: *\nS: 250 ok"),
        Err(Kind::Protocol),
        "AUTH SCRAM-SHA-256: malformed challenge",
    ));
    table.push((
        offer("SCRAM-SHA-256 PLAIN") + &scram(big, "S: 535 no") + PLAIN + "S: 454 later",
        Err(Kind::PeerTemporary),
        "AUTH SCRAM-SHA-256: 535 no; AUTH PLAIN: 454 later",
    ));
    table.push((offer("PLAIN") + PLAIN + "S: 334 \nC: AHUAcA==\nS: 235 in\nC: QUIT", Ok(()), ""));
    for (script, expected, detail) in table {
        let (stream, tls_client, server) = scripted_in_tls(&script).await;
        let login = Some(Login::new("u", "p"));
        let options = SmtpClientOptions { login, tls_client, tls: TlsMode::Implicit, ..options() };
        match (SmtpClient::open(stream, "x", &options).await, expected) {
            (Ok(client), Ok(())) => client.quit().await,
            (Err(fault), Err(kind)) => {
                assert_eq!((fault.kind, fault.detail.as_str()), (kind, detail), "{script}");
                assert_eq!(
                    fault.hint.is_some_and(|hint| hint.contains("--auth")),
                    !script.contains("AUTH PLAIN\n"),
                    "{script}"
                );
            }
            (found, _) => panic!("{script}: {:?}", found.map(|_| ())),
        }
        server.await.unwrap();
    }
    // Outside TLS, and where the user named the mechanism, there is one attempt.
    let script = offer("SCRAM-SHA-256 PLAIN LOGIN") + &scram(big, "S: 504 5.5.4 no");
    for mechanism in [None, Some(Mechanism::ScramSha256)] {
        let (stream, server) = scripted(&script);
        let login = Some(Login::new("u", "p"));
        let opened = SmtpClient::open(stream, "x", &SmtpClientOptions { login, mechanism, ..options() }).await;
        let fault = opened.map(|_| ()).unwrap_err();
        assert_eq!(fault.detail, "AUTH SCRAM-SHA-256: 504 5.5.4 no");
        assert_eq!(fault.hint.is_some(), mechanism.is_none());
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_reply_too_many_during_the_login_is_not_taken_for_the_next() {
    for behind in ["X 334 VXNlcm5hbWU6\\r\\n235 in\\r\\n", "X 334 VXNlcm5hbWU6\\r\\n334 UGFz\\r\\n"] {
        let script = format!("S: 220 mx\nC: EHLO alice.test\nS: 250-mx\nS: 250 AUTH LOGIN\nC: AUTH LOGIN\n{behind}");
        let (stream, server) = scripted(&script);
        let login = Some(Login::new("u", "p"));
        let opened = SmtpClient::open(stream, "x", &SmtpClientOptions { login, ..options() }).await;
        assert_eq!(opened.map(|_| ()).unwrap_err().kind, Kind::Protocol, "{behind}");
        server.await.unwrap();
    }
}
