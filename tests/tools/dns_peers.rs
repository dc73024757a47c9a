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
    /// How many connections it took, and how many of them resumed an earlier session.
    pub(crate) connections: Arc<AtomicUsize>,
    pub(crate) resumed: Arc<AtomicUsize>,
    pin: String,
    _dir: TempDir,
    _runtime: Option<Runtime>,
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

/// Answers from the example zones; a name that begins with the label `huge` has 60 KB of texts.
pub(crate) fn answer_of(zones: &Zones, query: &[u8]) -> Vec<u8> {
    if !query[12..].starts_with(b"\x04huge") {
        return answer::answer(zones, query, false).response().unwrap().wire;
    }
    let question = query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
    let record = [&b"\xc0\x0c\0\x10\0\x01\0\0\0\x3c\0\xf0\xef"[..], &[b'x'; 239]].concat();
    let head = [&query[..2], b"\x84\0\0\x01\0\xee\0\0\0\0", &query[12..12 + question]].concat();
    [head, record.repeat(0xee)].concat()
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

/// `alpn` empty: it agrees on no protocol.
pub(crate) fn start<F, Fut>(alpn: &str, serve: F) -> SecurePeer
where
    F: Fn(Stream) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let runtime = Runtime::new().unwrap();
    let identity = identity();
    let tls = ServerTls::new(&ServerTlsOptions {
        certs: vec![(identity.ca.clone(), identity.key.clone())],
        alpn: Some(alpn.as_bytes().to_vec()).filter(|name| !name.is_empty()).into_iter().collect(),
        ..ServerTlsOptions::default()
    })
    .unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let addr = listener.local_addr().unwrap();
    let (connections, resumed): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
    let counts = (connections.clone(), resumed.clone());
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, serve, counts) = (tls.clone(), serve.clone(), counts.clone());
            tokio::spawn(async move {
                // A client that does not believe our certificate hangs up.
                let Ok(stream) = tls.accept(Stream::Plain(stream)).await else { return };
                counts.0.fetch_add(1, Ordering::SeqCst);
                counts.1.fetch_add(usize::from(stream.tls_info().unwrap().resumed), Ordering::SeqCst);
                serve(stream).await;
            });
        }
    });
    let Identity { ca, pin, dir, .. } = identity;
    SecurePeer { addr, ca, connections, resumed, pin, _dir: dir, _runtime: Some(runtime) }
}

/// DNS over TLS.
pub(crate) fn dot(how: Dot) -> SecurePeer {
    start("dot", move |stream| dot_on(stream, how))
}

pub(crate) async fn dot_on(mut stream: Stream, how: Dot) {
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
            // The client may have gone.
            let _ = stream.write_u16(answer.len() as u16).await;
            let _ = stream.write_all(&answer).await;
            let _ = stream.flush().await;
            answered += 1;
            if answered == how.answers {
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
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
                    let _ = incoming.flow_control().release_capacity(chunk.len());
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

/// What a peer with frames of its own does with the n-th question of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum H2Act {
    Answer,
    /// Answers it after the next one that is answered.
    Hold,
    /// RST_STREAM with this code.
    Reset(u8),
    /// GOAWAY with this code: this question and all after it are not looked at, those that it holds are answered.
    GoAway(u8),
    Close,
}

/// DNS over HTTPS, frame by frame (RFC 9113, section 4.1), with `streams` as SETTINGS_MAX_CONCURRENT_STREAMS. Answers come in the
/// order that the script makes; no answer is longer than a frame.
pub(crate) fn doh_by_frames(streams: u8, script: fn(usize) -> H2Act) -> SecurePeer {
    const END: u8 = 1;
    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }
    fn answer(stream: u32, query: &[u8]) -> Vec<u8> {
        // :status 200, and content-type by its number in the static table (RFC 7541, appendix A).
        let head = [&b"\x88\x0f\x10\x17"[..], b"application/dns-message"].concat();
        let body = answer_of(&zones(), query);
        [frame(1, 4, stream, &head), frame(0, END, stream, &body)].concat()
    }
    start("h2", move |mut stream| async move {
        let mut out = frame(4, 0, 0, &[0, 3, 0, 0, 0, streams]);
        let (mut asked, mut open, mut held, mut bodies) = (0, true, Vec::<(u32, Vec<u8>)>::new(), Vec::<u8>::new());
        let mut preface = [0; 24];
        if stream.read_exact(&mut preface).await.is_err() {
            return;
        }
        loop {
            if stream.write_all(&out).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            out.clear();
            let mut head = [0; 9];
            let first = stream.read(&mut head[..1]);
            match tokio::time::timeout(std::time::Duration::from_millis(100), first).await {
                Ok(Ok(1)) => {}
                Ok(_) => return,
                // No more questions come: what is held has its turn.
                Err(_) => {
                    out = held.drain(..).rev().flat_map(|(id, query)| answer(id, &query)).collect();
                    continue;
                }
            }
            if stream.read_exact(&mut head[1..]).await.is_err() {
                return;
            }
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).await.unwrap();
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match (head[3], head[4]) {
                (4, 0) => out = frame(4, 1, 0, &[]),
                (6, 0) => out = frame(6, 1, 0, &payload),
                (0, flags) if open => {
                    bodies.extend(&payload);
                    if flags & END == 0 {
                        continue;
                    }
                    let query = std::mem::take(&mut bodies);
                    let act = script(asked);
                    asked += 1;
                    match act {
                        H2Act::Hold => held.push((id, query)),
                        H2Act::Reset(code) => out = frame(3, 0, id, &[0, 0, 0, code]),
                        H2Act::Close => return,
                        H2Act::Answer => {
                            held.insert(0, (id, query));
                            out = held.drain(..).flat_map(|(id, query)| answer(id, &query)).collect();
                        }
                        H2Act::GoAway(code) => {
                            open = false;
                            let last = held.last().map_or(0, |(id, _)| *id);
                            out = frame(7, 0, 0, &[&last.to_be_bytes()[..], &[0, 0, 0, code]].concat());
                            out.extend(held.drain(..).flat_map(|(id, query)| answer(id, &query)));
                        }
                    }
                }
                _ => {}
            }
        }
    })
}

/// How a DoQ peer treats a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doq {
    /// Streams that the client may have open.
    pub(crate) streams: u32,
    /// After so many answers in all connections something happens, again and again.
    pub(crate) answers: usize,
    pub(crate) then: DoqEnd,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum DoqEnd {
    /// The connection is closed with this code of the application.
    Close(u32),
    /// The next stream is reset with this code.
    Reset(u32),
    /// The server begins anew without a word, and knows how to reset old connections (RFC 9000, section 10.3), or not.
    Restart(bool),
}

/// DNS over QUIC.
pub(crate) fn doq() -> SecurePeer {
    doq_that(Doq { streams: 100, answers: usize::MAX, then: DoqEnd::Close(0) })
}

pub(crate) fn doq_that(how: Doq) -> SecurePeer {
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
    let (connections, resumed): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
    tls.session_storage =
        Arc::new(CountedSessions(rustls::server::ServerSessionMemoryCache::new(256), resumed.clone()));
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_bidi_streams(how.streams.into());
    config.transport_config(Arc::new(transport));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let count = connections.clone();
    // It lives as long as the test: the socket stays when a server on it begins anew.
    std::thread::spawn(move || {
        for generation in 0_u64.. {
            // One thread: what is left of a generation says no farewell.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let seed = if matches!(how.then, DoqEnd::Restart(false)) { generation } else { 1 };
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &seed.to_be_bytes());
            let mut own = quinn::EndpointConfig::new(Arc::new(key));
            own.cid_generator(|| Box::new(PlainIds));
            let (socket, config, count) = (socket.try_clone().unwrap(), config.clone(), count.clone());
            runtime.block_on(async move {
                let tokio = Arc::new(quinn::TokioRuntime);
                let endpoint = quinn::Endpoint::new(own, Some(config), socket, tokio).unwrap();
                doq_generation(endpoint, count, how).await;
            });
        }
    });
    SecurePeer { addr, ca: identity.ca, connections, resumed, pin: identity.pin, _dir: identity.dir, _runtime: None }
}

/// Serves until it is time to begin anew.
async fn doq_generation(endpoint: quinn::Endpoint, count: Arc<AtomicUsize>, how: Doq) {
    let restart = Arc::new(tokio::sync::Notify::new());
    // Questions that came, and answers that arrived.
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let serve = async {
        while let Some(incoming) = endpoint.accept().await {
            let (count, restart, counts) = (count.clone(), restart.clone(), counts.clone());
            tokio::spawn(async move {
                let Ok(connection) = incoming.await else { return };
                count.fetch_add(1, Ordering::SeqCst);
                while let Ok((mut sending, mut receiving)) = connection.accept_bi().await {
                    let (connection, restart, counts) = (connection.clone(), restart.clone(), counts.clone());
                    tokio::spawn(async move {
                        let Ok(query) = receiving.read_to_end(65_537).await else { return };
                        assert_eq!(query[..4], [0, query.len() as u8 - 2, 0, 0], "length, and identifier 0");
                        let number = counts[0].fetch_add(1, Ordering::SeqCst);
                        if number % how.answers.saturating_add(1) == how.answers {
                            let earlier = number - number / (how.answers + 1);
                            while counts[1].load(Ordering::SeqCst) < earlier {
                                tokio::task::yield_now().await;
                            }
                            match how.then {
                                DoqEnd::Close(code) => connection.close(code.into(), b"enough"),
                                DoqEnd::Reset(code) => drop(sending.reset(code.into())),
                                DoqEnd::Restart(_) => {
                                    restart.notify_one();
                                    // The end of the stream would be a farewell.
                                    std::future::pending::<()>().await;
                                }
                            }
                            return;
                        }
                        let answer = answer_of(&zones(), &query[2..]);
                        // The connection may be over.
                        let _ = sending.write_all(&(answer.len() as u16).to_be_bytes()).await;
                        let _ = sending.write_all(&answer).await;
                        let _ = sending.finish();
                        let _ = sending.stopped().await;
                        counts[1].fetch_add(1, Ordering::SeqCst);
                    });
                }
            });
        }
    };
    tokio::select! {
        () = serve => {}
        () = restart.notified() => {}
    }
}

/// Connection IDs that the next generation of a server takes for its own, too.
struct PlainIds;

impl quinn::ConnectionIdGenerator for PlainIds {
    fn generate_cid(&mut self) -> quinn::ConnectionId {
        let mut id = [0; 8];
        getrandom::fill(&mut id).unwrap();
        quinn::ConnectionId::new(&id)
    }
    fn cid_len(&self) -> usize {
        8
    }
    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

/// Counts the sessions that are taken up again.
#[derive(Debug)]
struct CountedSessions(Arc<rustls::server::ServerSessionMemoryCache>, Arc<AtomicUsize>);

impl rustls::server::StoresServerSessions for CountedSessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.0.put(key, value)
    }
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key)
    }
    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let taken = self.0.take(key)?;
        self.1.fetch_add(1, Ordering::SeqCst);
        Some(taken)
    }
    fn can_cache(&self) -> bool {
        true
    }
}
