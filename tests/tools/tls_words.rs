//! TLS that fails, in words: certificates that no client believes and handshakes that come to nothing, told by every client in
//! sentences, with the kind that decides whether to try again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, KeyPair, NameConstraints,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, Stream};

use crate::harness::{Done, Peer, peer, temp_dir, tool};
use crate::queue::{enqueue, run};

/// The text of library errors: debug output, and names of variants.
const MARKS: &[&str] = &[
    "{",
    "}",
    "Other(",
    "OtherError",
    "DnsName(",
    "Context",
    "invalid peer",
    "UnknownIssuer",
    "received ",
    "Some(",
    "UNIX",
];

/// One client after the other tries the server with these arguments. `mailq-run` keeps its message where a server is to blame.
fn each_client(addr: SocketAddr, flags: &[&str]) -> Vec<(&'static str, Done)> {
    let dir = temp_dir();
    enqueue(dir.path(), &[("a@a.test", &["b@b.test"], "Subject: x\r\n\r\nx\r\n")]);
    let smarthost = format!("smtps://{addr}");
    let queue: Vec<&str> = [&["--smarthost", &smarthost, "--json"], flags].concat();
    let clients = [
        ("ftpls", tool("ftpls").args(flags).arg(format!("ftps://{addr}/")).run()),
        (
            "smtpsend",
            tool("smtpsend").args(flags).args(["--to", "b@b.test", "--server", &smarthost]).stdin("x\n").run(),
        ),
        ("dnsq", tool("dnsq").args(flags).arg(format!("@tls://{addr}")).arg("a.test").run()),
        ("mailq-run", run(dir.path(), &queue)),
    ];
    clients.into()
}

fn check(what: &str, addr: SocketAddr, flags: &[&str], status: i32, says: &str) {
    for (client, done) in each_client(addr, flags) {
        let told = format!("{}{}", done.stderr, done.text());
        // What is temporary is not the queue's own failure.
        let expected = if client == "mailq-run" && status == 75 { 0 } else { status };
        assert_eq!(done.status, expected, "{what}, {client}:\n{done}");
        assert!(told.contains(says), "{what}, {client} does not say {says:?}:\n{done}");
        let mark = MARKS.iter().find(|mark| done.stderr.contains(**mark));
        assert!(mark.is_none(), "{what}, {client} says {mark:?}:\n{done}");
        let insecure = done.stderr.find("--insecure").unwrap_or(usize::MAX);
        assert!(insecure == usize::MAX, "{what}, {client} advises to check nothing:\n{done}");
    }
}

/// Shows any certificate, fitting or not.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// A TLS server that does its part of the handshake and no more.
fn showing(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Peer {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let shown = Shown(Arc::new(CertifiedKey::new(chain, key)));
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![b"dot".to_vec()];
    let config = Arc::new(config);
    peer(move |mut conn| {
        let mut tls = ServerConnection::new(config.clone()).unwrap();
        let tcp = conn.stream().get_mut();
        drop(std::io::copy(&mut Stream::new(&mut tls, tcp), &mut std::io::sink()));
    })
}

/// An authority, the server's key, and what a good certificate for 127.0.0.1 is made of.
fn ground() -> (CertifiedIssuer<'static, KeyPair>, KeyPair, CertificateParams) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "Test Authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    leaf.distinguished_name = rcgen::DistinguishedName::new();
    leaf.distinguished_name.push(DnType::CommonName, "server");
    (authority, KeyPair::generate().unwrap(), leaf)
}

#[test]
fn certificates_that_nobody_believes_are_told_in_words() {
    let (authority, key, good) = ground();
    let dir = temp_dir();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let trusted = ["--ca-cert", ca.to_str().unwrap()];
    type Change = fn(&mut CertificateParams);
    let issued: &[(&str, Change, &str)] = &[
        (
            "expired",
            |it| it.not_after = rcgen::date_time_ymd(2020, 3, 4),
            "the certificate expired at 2020-03-04T00:00:00Z",
        ),
        ("not yet", |it| it.not_before = rcgen::date_time_ymd(4000, 1, 1), "not valid before 4000-01-01T00:00:00Z"),
        (
            "another name",
            |it| it.subject_alt_names = vec![rcgen::SanType::DnsName("x.test".try_into().unwrap())],
            "is for x.test, not for 127.0.0.1",
        ),
        (
            "no name",
            |it| it.subject_alt_names.clear(),
            "names no host: it has no subjectAltName, and its subject (CN=server)",
        ),
        (
            "an authority",
            |it| it.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            "an authority's (CA:TRUE), not a server's",
        ),
        (
            "for clients",
            |it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            "not for TLS servers (extended key usage)",
        ),
        (
            "a critical extension",
            |it| {
                let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                extension.set_criticality(true);
                it.custom_extensions = vec![extension];
            },
            "a critical extension that is not known here",
        ),
    ];
    for (what, change, says) in issued {
        let mut params = good.clone();
        change(&mut params);
        let made = params.signed_by(&key, &authority).unwrap();
        let server = showing(vec![made.der().clone()], &key);
        check(what, server.addr, &trusted, 77, says);
    }
    let by_the_way = |it: CertificateParams| it.signed_by(&key, &authority).unwrap().der().clone();
    let leaf = by_the_way(good.clone());
    // What stands behind the server's own certificate.
    let chained = |change: Change| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Middle");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let (key, der) = {
            let key = KeyPair::generate().unwrap();
            let der = params.signed_by(&key, &authority).unwrap().der().clone();
            (key, der)
        };
        (rcgen::Issuer::new(params, key), der)
    };
    let (no_authority, middle) = chained(|it| it.is_ca = IsCa::ExplicitNoCa);
    let by_no_authority = good.clone().signed_by(&key, &no_authority).unwrap().der().clone();
    let (bounded, bounded_der) = chained(|it| {
        it.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("only.test".to_owned())],
            excluded_subtrees: vec![GeneralSubtree::IpAddress(rcgen::CidrSubnet::V4([127, 0, 0, 0], [255, 0, 0, 0]))],
        });
    });
    let out_of_bounds = good.clone().signed_by(&key, &bounded).unwrap().der().clone();
    let forged = {
        let mut der = leaf.to_vec();
        *der.last_mut().unwrap() ^= 1;
        CertificateDer::from(der)
    };
    let cut = CertificateDer::from(leaf[..leaf.len() - 40].to_vec());
    let other_key = KeyPair::generate().unwrap();
    let own = good.clone().self_signed(&key).unwrap().der().clone();
    let own_authority = {
        let mut params = good.clone();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap().der().clone()
    };
    let pin = format!("sha256:{}", "00".repeat(32));
    for (what, chain, key, flags, says) in [
        ("unknown issuer", vec![leaf.clone()], &key, &[][..], "its issuer is CN=Test Authority"),
        ("self-signed", vec![own.clone()], &key, &[], "the certificate is self-signed (CN=server)"),
        ("self-signed, another trusted", vec![own], &key, &trusted, "the certificate is self-signed (CN=server)"),
        ("self-signed authority", vec![own_authority], &key, &[], "an authority's (CA:TRUE), not a server's"),
        ("signed by no authority", vec![by_no_authority, middle], &key, &trusted, "may not (CA:FALSE)"),
        ("out of bounds", vec![out_of_bounds, bounded_der], &key, &trusted, "may not sign this name"),
        ("forged", vec![forged], &key, &trusted, "a signature is wrong"),
        ("cut", vec![cut], &key, &trusted, "the certificate cannot be read"),
        ("no certificate at all", vec![CertificateDer::from(b"\x30\x00".to_vec())], &key, &trusted, "cannot be read"),
        ("another key", vec![leaf.clone()], &other_key, &trusted, "a signature is wrong"),
        ("none", vec![], &key, &trusted, "shows no certificate"),
        ("another pin", vec![leaf.clone()], &key, &["--pin", &pin], "not what --pin names: the certificate is sha256:"),
    ] {
        let server = showing(chain, key);
        check(what, server.addr, flags, 77, says);
    }
}

/// Answers with these bytes when the whole hello has come, and goes: bytes left unread would turn the end into a reset.
fn answering(bytes: Vec<u8>) -> Peer {
    peer(move |mut conn| {
        let tcp: &mut TcpStream = conn.stream().get_mut();
        let mut head = [0; 5];
        let whole = tcp.read_exact(&mut head).and_then(|()| {
            let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
            tcp.read_exact(&mut hello)
        });
        if whole.is_ok() {
            drop(tcp.write_all(&bytes));
            drop(tcp.shutdown(std::net::Shutdown::Write));
            drop(std::io::copy(tcp, &mut std::io::sink()));
        }
    })
}

#[test]
fn handshakes_that_fail_are_told_in_words() {
    let alert = |number: u8| vec![21, 3, 3, 0, 2, 2, number];
    let server_hello = |version: [u8; 2], cipher: [u8; 2]| {
        let body = [&version[..], &[7; 32], &[0], &cipher, &[0, 0, 0]].concat();
        let hello = [&[2, 0, 0, body.len() as u8][..], &body].concat();
        [&[22, 3, 3, 0, hello.len() as u8][..], &hello].concat()
    };
    for (what, bytes, status, says) in [
        ("plain text", b"220 mail.test ESMTP\r\n".to_vec(), 76, "does not speak TLS here"),
        ("HTTP", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), 76, "does not speak TLS here"),
        ("nothing", vec![], 75, "the peer closed the connection"),
        ("a cut record", b"\x16\x03\x03\x40\x00cut".to_vec(), 75, "the peer closed the connection"),
        ("a long record", [&b"\x16\x03\x03\xff\xff"[..], &[0; 4000]].concat(), 76, "too long"),
        ("an old server", server_hello([3, 1], [0, 0x2f]), 76, "neither TLS 1.2 nor TLS 1.3"),
        ("a cipher not offered", server_hello([3, 3], [0, 0x2f]), 76, "breaks the rules of the handshake"),
        (
            "a hello of garbage",
            b"\x16\x03\x03\x00\x08\x02\x00\x00\x04\xff\xff\xff\xff".to_vec(),
            76,
            "malformed message",
        ),
        ("data too soon", b"\x17\x03\x03\x00\x01x".to_vec(), 76, "breaks the rules of the handshake"),
        ("close_notify", alert(0), 75, "the peer ended TLS"),
        ("unexpected_message", alert(10), 76, "did not understand our messages (alert 10)"),
        ("bad_record_mac", alert(20), 76, "could not decrypt or verify our messages (alert 20)"),
        ("handshake_failure", alert(40), 76, "no cipher, key exchange or signature algorithm in common (alert 40)"),
        ("bad_certificate", alert(42), 77, "does not accept our certificate (alert 42)"),
        ("certificate_expired", alert(45), 77, "to the peer our certificate has expired (alert 45)"),
        ("unknown_ca", alert(48), 77, "does not trust the issuer of our certificate (alert 48)"),
        ("access_denied", alert(49), 77, "does not admit us with our certificate (alert 49)"),
        ("protocol_version", alert(70), 76, "neither TLS 1.2 nor TLS 1.3 (alert 70)"),
        ("internal_error", alert(80), 75, "has trouble of its own (alert 80)"),
        ("user_canceled", alert(90), 75, "cancelled the handshake (alert 90)"),
        ("unrecognized_name", alert(112), 76, "does not serve this name (alert 112)"),
        ("certificate_required", alert(116), 77, "wants a certificate of ours (alert 116)"),
        ("no_application_protocol", alert(120), 69, "no application protocol in common (ALPN) (alert 120)"),
        ("an unknown alert", alert(200), 76, "refused the handshake (alert 200)"),
    ] {
        let server = answering(bytes);
        check(what, server.addr, &[], status, says);
    }
}
