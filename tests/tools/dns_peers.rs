//! Scripted name servers inside TLS: DoT, DoH and DoQ on loopback, with a certificate for `dns.test` and 127.0.0.1.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use applayer::dns::answer::{self, Zones};
use applayer::dns::zone::{Zone, ZoneSource};
use applayer::net::stream::Stream;
use applayer::net::tls::{ServerTls, ServerTlsOptions};
use bytes::Bytes;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::harness::temp_dir;

/// A running peer; dropping it ends it.
pub(crate) struct SecurePeer {
    pub(crate) addr: SocketAddr,
    /// A file with the certificate to trust.
    pub(crate) ca: PathBuf,
    /// How many connections it took.
    pub(crate) connections: Arc<AtomicUsize>,
    pin: String,
    _dir: TempDir,
    _runtime: Runtime,
}

impl SecurePeer {
    /// The `--pin` of its key.
    pub(crate) fn pin(&self) -> &str {
        &self.pin
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// How a DoT peer treats a connection.
#[derive(Clone, Copy)]
pub(crate) struct Dot {
    /// It waits for so many queries and answers the last one first.
    pub(crate) batch: usize,
    /// It closes after so many answers.
    pub(crate) answers: usize,
}

/// A certificate and its key below a directory.
pub(crate) struct Identity {
    pub(crate) dir: TempDir,
    pub(crate) ca: PathBuf,
    pub(crate) key: PathBuf,
    /// The `--pin` of the key.
    pub(crate) pin: String,
    der: (Vec<u8>, Vec<u8>),
}

/// A new one for `dns.test` and 127.0.0.1.
pub(crate) fn identity() -> Identity {
    let made = rcgen::generate_simple_self_signed(["dns.test".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let dir = temp_dir();
    let (ca, key) = (dir.path().join("ca.pem"), dir.path().join("key.pem"));
    std::fs::write(&ca, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, &spki(&made.signing_key));
    let pin = format!("sha256//{}", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest));
    let der = (made.cert.der().to_vec(), made.signing_key.serialize_der());
    Identity { dir, ca, key, pin, der }
}

/// The SubjectPublicKeyInfo: PEM without its frame.
fn spki(key: &rcgen::KeyPair) -> Vec<u8> {
    let pem = key.public_key_pem();
    let inside: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, inside).unwrap()
}

/// Answers from the example zones.
pub(crate) fn answer_of(zones: &Zones, query: &[u8]) -> Vec<u8> {
    answer::answer(zones, query, false).response().unwrap().wire
}

pub(crate) fn zones() -> Zones {
    let mut zones = Zones::default();
    for name in ["example.test", "other.test"] {
        let path = format!("{}/tests/data/dns/{name}.zone", env!("CARGO_MANIFEST_DIR"));
        let source = ZoneSource { name: name.to_owned(), text: std::fs::read(path).unwrap() };
        zones.add(Zone::read(source, None, &mut |_| Err(String::new())).unwrap());
    }
    zones
}

fn start<F, Fut>(alpn: &str, serve: F) -> SecurePeer
where
    F: Fn(Stream) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let runtime = Runtime::new().unwrap();
    let identity = identity();
    let tls = ServerTls::new(&ServerTlsOptions {
        certs: vec![(identity.ca.clone(), identity.key.clone())],
        alpn: vec![alpn.as_bytes().to_vec()],
        ..ServerTlsOptions::default()
    })
    .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let addr = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, serve, count) = (tls.clone(), serve.clone(), count.clone());
            tokio::spawn(async move {
                // A client that does not believe our certificate hangs up.
                let Ok(stream) = tls.accept(Stream::Plain(stream)).await else { return };
                count.fetch_add(1, Ordering::SeqCst);
                serve(stream).await;
            });
        }
    });
    SecurePeer { addr, ca: identity.ca, connections, pin: identity.pin, _dir: identity.dir, _runtime: runtime }
}

/// DNS over TLS.
pub(crate) fn dot(how: Dot) -> SecurePeer {
    start("dot", move |mut stream| async move {
        let zones = zones();
        let mut answered = 0;
        let mut waiting: Vec<Vec<u8>> = Vec::new();
        while let Ok(length) = stream.read_u16().await {
            let mut query = vec![0; usize::from(length)];
            stream.read_exact(&mut query).await.unwrap();
            assert!(query.len().is_multiple_of(128), "padded to blocks: {}", query.len());
            waiting.push(query);
            if waiting.len() < how.batch {
                continue;
            }
            while let Some(query) = waiting.pop() {
                let answer = answer_of(&zones, &query);
                stream.write_u16(answer.len() as u16).await.unwrap();
                stream.write_all(&answer).await.unwrap();
                stream.flush().await.unwrap();
                answered += 1;
                if answered == how.answers {
                    let _ = stream.shutdown().await;
                    return;
                }
            }
        }
    })
}

/// What a DoH peer answers: status, content type, body.
pub(crate) type HttpScript = fn(&http::Request<()>, &[u8]) -> (u16, &'static str, Vec<u8>);

/// DNS over HTTPS.
pub(crate) fn doh(script: HttpScript) -> SecurePeer {
    start("h2", move |stream| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                let (head, mut incoming) = request.into_parts();
                let mut body = Vec::new();
                while let Some(Ok(chunk)) = incoming.data().await {
                    body.extend_from_slice(&chunk);
                }
                let (status, content_type, body) = script(&http::Request::from_parts(head, ()), &body);
                let head = http::Response::builder().status(status).header("content-type", content_type).body(());
                let mut stream = respond.send_response(head.unwrap(), false).unwrap();
                stream.reserve_capacity(body.len());
                stream.send_data(Bytes::from(body), true).unwrap();
            });
        }
    })
}

/// DNS over QUIC.
pub(crate) fn doq() -> SecurePeer {
    let runtime = Runtime::new().unwrap();
    let identity = identity();
    let chain = vec![rustls::pki_types::CertificateDer::from(identity.der.0)];
    let key = rustls::pki_types::PrivateKeyDer::try_from(identity.der.1).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = vec![b"doq".to_vec()];
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = runtime.block_on(async { quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap() });
    let addr = endpoint.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    runtime.spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else { return };
                count.fetch_add(1, Ordering::SeqCst);
                while let Ok((mut sending, mut receiving)) = connection.accept_bi().await {
                    tokio::spawn(async move {
                        let query = receiving.read_to_end(65_537).await.unwrap();
                        assert_eq!(query[..4], [0, query.len() as u8 - 2, 0, 0], "length, and identifier 0");
                        let answer = answer_of(&zones(), &query[2..]);
                        sending.write_all(&(answer.len() as u16).to_be_bytes()).await.unwrap();
                        sending.write_all(&answer).await.unwrap();
                        sending.finish().unwrap();
                    });
                }
            });
        }
    });
    SecurePeer { addr, ca: identity.ca, connections, pin: identity.pin, _dir: identity.dir, _runtime: runtime }
}
