//! Handshakes in the memory of one process: trust, resumption, and the meaning of an end.

use super::*;
use rustls::client::ClientSessionStore as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Stream::Plain(near), Stream::Plain(listener.accept().await.unwrap().0))
}

async fn shake(client: &ClientTls, server: &ServerTls, host: &str) -> (Result<Stream, Fault>, bool) {
    let (near, far) = pair().await;
    let (client, server) = tokio::join!(client.connect(near, host), async {
        let mut stream = server.accept(far).await?;
        stream.write_all(b"hello").await.unwrap();
        stream.flush().await.unwrap();
        Ok::<_, Fault>(stream)
    });
    (client, server.is_ok())
}

fn trusting(server: &ServerTls, directory: &tempfile::TempDir) -> ClientTlsOptions {
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, server.certificate_pem()).unwrap();
    ClientTlsOptions { ca_cert: Some(path), ..ClientTlsOptions::default() }
}

fn server(name: &str) -> ServerTls {
    ServerTls::new(&ServerTlsOptions { self_signed: vec![name.into()], ..Default::default() }).unwrap()
}

#[tokio::test]
async fn names_and_issuers_are_checked() {
    let server = server("mail.test");
    let directory = tempfile::tempdir().unwrap();
    let options = trusting(&server, &directory);
    let client = ClientTls::new(&options).unwrap();
    let mut stream = shake(&client, &server, "mail.test").await.0.unwrap();
    let mut hello = [0; 5];
    stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(stream.tls_info().unwrap().version, "TLSv1.3");
    assert_eq!(shake(&client, &server, "other.test").await.0.unwrap_err().kind, Kind::TlsUntrusted);
    let named = ClientTlsOptions { tls_name: Some("mail.test".into()), ..options };
    assert!(shake(&ClientTls::new(&named).unwrap(), &server, "127.0.0.1").await.0.is_ok());
    let system = ClientTls::new(&ClientTlsOptions::default()).unwrap();
    assert_eq!(shake(&system, &server, "mail.test").await.0.unwrap_err().kind, Kind::TlsUntrusted);
    let careless = ClientTlsOptions { insecure: true, ..Default::default() };
    assert!(shake(&ClientTls::new(&careless).unwrap(), &server, "other.test").await.0.is_ok());
}

/// A matching pin of the certificate or of its key suffices; together with another name or authority to check, it is an
/// additional condition.
#[tokio::test]
async fn pins_are_of_certificates_and_keys() {
    let server = server("mail.test");
    let directory = tempfile::tempdir().unwrap();
    let trusting = trusting(&server, &directory);
    let shown = CertificateDer::from_pem_slice(server.certificate_pem().as_bytes()).unwrap();
    let key = ParsedCertificate::try_from(&shown).unwrap().subject_public_key_info();
    let [whole, key, none] = [&shown[..], &key, b"x"].map(CertificatePin::of);
    let with_ca = ClientTlsOptions { pins_alone: false, ..trusting };
    let alone = ClientTlsOptions { pins_alone: true, ..with_ca.clone() };
    let plain = ClientTlsOptions::default();
    for (options, pins, host, works) in [
        (&plain, vec![whole], "other.test", true),
        (&plain, vec![key], "other.test", true),
        (&plain, vec![none, key], "other.test", true),
        (&plain, vec![none], "mail.test", false),
        (&with_ca, vec![key], "mail.test", true),
        (&with_ca, vec![key], "other.test", false),
        (&with_ca, vec![none], "mail.test", false),
        (&alone, vec![whole], "other.test", true),
        (&alone, vec![none], "mail.test", false),
        (&ClientTlsOptions { insecure: true, ..plain.clone() }, vec![none], "mail.test", false),
    ] {
        let client = ClientTls::new(&ClientTlsOptions { pins: pins.clone(), ..options.clone() }).unwrap();
        let result = shake(&client, &server, host).await.0.map(|_| ()).map_err(|fault| fault.kind);
        assert_eq!(result, if works { Ok(()) } else { Err(Kind::TlsUntrusted) }, "{pins:?} {host}");
        assert_eq!(client.judge(host, &[shown.to_vec()]).is_ok(), works, "{pins:?} {host}");
        assert!(shake(&client.unchecked(), &server, host).await.0.is_ok());
        assert!(client.verifies() && !client.unchecked().verifies());
    }
}

#[tokio::test]
async fn the_name_that_is_asked_for_chooses_the_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut certs = Vec::new();
    for names in [&["a.test"][..], &["b.test", "*.c.test"]] {
        let made = rcgen::generate_simple_self_signed(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let (made, file) = (made.unwrap(), at(names[0]));
        std::fs::write(&file, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
        certs.push((file.clone(), file));
    }
    let server = ServerTls::new(&ServerTlsOptions { certs, ..Default::default() }).unwrap();
    for (asked, trusted, works) in [
        ("a.test", "a.test", true),
        ("b.test", "b.test", true),
        ("x.c.test", "b.test", true),
        ("b.test", "a.test", false),
        ("unknown.test", "a.test", false),
        // An address sends no name: the first certificate is used, which does not hold it.
        ("127.0.0.1", "a.test", false),
    ] {
        let client = ClientTls::new(&ClientTlsOptions { ca_cert: Some(at(trusted)), ..Default::default() }).unwrap();
        assert_eq!(shake(&client, &server, asked).await.0.is_ok(), works, "{asked} {trusted}");
    }
    let first = ClientTlsOptions { ca_cert: Some(at("a.test")), tls_name: Some("a.test".into()), ..Default::default() };
    assert!(shake(&ClientTls::new(&first).unwrap(), &server, "127.0.0.1").await.0.is_ok());
}

#[tokio::test]
async fn sessions_resume_within_one_store_only() {
    let server = server("ftp.test");
    let directory = tempfile::tempdir().unwrap();
    let shared = ClientTls::new(&trusting(&server, &directory)).unwrap();
    let own = shared.own_sessions();
    for (client, resumed) in [(&own, false), (&own.clone(), true), (&shared.own_sessions(), false)] {
        let mut stream = shake(client, &server, "ftp.test").await.0.unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(stream.tls_info().unwrap().resumed, resumed);
    }
}

/// proftpd sends two tickets on a control connection and none on the data connections that resume it.
#[tokio::test]
async fn two_tickets_serve_any_number_of_connections() {
    let control = server("ftp.test").with_tickets(2);
    let directory = tempfile::tempdir().unwrap();
    let client = ClientTls::new(&trusting(&control, &directory)).unwrap().own_sessions();
    for connection in 0..20 {
        let server = if connection == 0 { control.clone() } else { control.with_tickets(0) };
        let mut stream = shake(&client, &server, "ftp.test").await.0.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        let info = stream.tls_info().unwrap();
        assert_eq!((info.version, info.resumed), ("TLSv1.3", connection > 0), "{connection}");
    }
}

/// The contents of a ticket, as rustls itself prints them: any new part must be reviewed in `sys::copy_of_ticket`.
#[tokio::test]
async fn a_ticket_holds_what_its_copy_takes_along() {
    let (server, directory) = (server("ftp.test").with_tickets(1), tempfile::tempdir().unwrap());
    let sessions = Arc::<ControlSessions>::default();
    let client = ClientTls::new(&trusting(&server, &directory)).unwrap().with_sessions(sessions.clone());
    shake(&client, &server, "ftp.test").await.0.unwrap().read_exact(&mut [0; 5]).await.unwrap();
    let name = ServerName::try_from("ftp.test").unwrap();
    let tickets = [(); 3].map(|()| format!("{:#?}", sessions.take_tls13_ticket(&name).unwrap()));
    assert!(tickets.iter().all(|ticket| *ticket == tickets[0]), "{tickets:?}");
    let field = |line: &str| Some(line.strip_prefix("    ")?.split_once(": ")?.0.to_owned());
    let fields: Vec<String> = tickets[0].lines().filter_map(field).filter(|name| !name.starts_with(' ')).collect();
    assert_eq!(fields, ["suite", "age_add", "max_early_data_size", "common", "quic_params"]);
}

#[tokio::test]
async fn a_peer_without_tls_is_a_protocol_fault() {
    let (near, far) = pair().await;
    let client = ClientTls::new(&ClientTlsOptions::default()).unwrap();
    let (result, _) = tokio::join!(client.connect(near, "a.test"), async {
        let Stream::Plain(mut tcp) = far else { unreachable!() };
        tcp.write_all(b"220 plain text here\r\n").await
    });
    assert_eq!(result.unwrap_err().kind, Kind::Protocol);
}

/// The fault kind of a handshake in which the peer answers with these bytes and closes.
async fn answered_by(bytes: &[u8]) -> Kind {
    let (near, far) = pair().await;
    let client = ClientTls::new(&ClientTlsOptions::default()).unwrap();
    let (result, ()) = tokio::join!(client.connect(near, "a.test"), async {
        let Stream::Plain(mut tcp) = far else { unreachable!() };
        // Read the whole hello: unread bytes would turn the end into a reset.
        let mut head = [0; 5];
        tcp.read_exact(&mut head).await.unwrap();
        let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        tcp.read_exact(&mut hello).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
    });
    result.unwrap_err().kind
}

#[tokio::test]
async fn an_alert_is_permanent_only_when_it_is_about_certificates() {
    for alert in 0..=255u8 {
        let expected = match alert {
            41..=46 | 48 | 49 | 111 | 113 | 114 | 116 => Kind::TlsUntrusted,
            80 => Kind::PeerTemporary,
            0 | 90 => Kind::Disconnected,
            120 => Kind::Unsupported,
            _ => Kind::Protocol,
        };
        assert_eq!(answered_by(&[21, 3, 3, 0, 2, 2, alert]).await, expected, "alert {alert}");
    }
    assert_eq!(answered_by(b"").await, Kind::Disconnected);
    assert_eq!(answered_by(b"\x16\x03\x03\x40\x00cut").await, Kind::Disconnected);
}

#[test]
fn unreadable_files_are_named() {
    let missing = ClientTlsOptions { ca_cert: Some("/nowhere/ca.pem".into()), ..Default::default() };
    let fault = ClientTls::new(&missing).unwrap_err();
    assert_eq!(fault.kind, Kind::Config);
    assert!(fault.detail.starts_with("/nowhere/ca.pem: "), "{}", fault.detail);
}
