//! The wire is cut after every byte that passes between the FTP clients' library and the server's, on the control
//! connection and on data connections, in both directions: each cut ends in a defined kind of fault, soon, and no file
//! appears under its name unless it is whole, here or there. A relay between the two counts the bytes and cuts.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use applayer::fault::{Fault, Kind};
use applayer::ftp::client::{FtpClient, FtpClientOptions, ListMethod};
use applayer::ftp::listing::ListingLine;
use applayer::ftp::path::FtpUrl;
use applayer::ftp::server::{self, FtpPeer, FtpService, Happening};
use applayer::ftp::session::Rights;
use applayer::ftp::store::{self, FtpStore, FtpTree};
use applayer::ftp::transfer::{Checks, FinalState, Get, LocalDir, OpenFile, Put, ReplaceMode, fetch_part, store};
use applayer::net::BoxFuture;
use applayer::net::admission::{Admission, AdmissionLimits};
use applayer::net::deadline::Limits;
use applayer::net::dial::Dialer;
use applayer::net::listen::{Listeners, Shutdown};
use applayer::net::login::LoginVerdict;
use applayer::net::tls::{ClientTls, ClientTlsOptions, ServerTls, ServerTlsOptions, TlsMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::harness::{rounds, temp_dir};

/// Where the client believes the server to be; the server itself listens on 127.0.0.1, at the same data ports.
const RELAY: &str = "127.0.0.2";
/// Data ports that the server may choose from.
const DATA_PORTS: u16 = 8;
/// A cut wire must be noticed within this time, whatever was under way.
const SOON: Duration = Duration::from_secs(20);

/// Anybody may do everything.
struct Open(FtpStore);

impl FtpService for Open {
    fn login<'a>(&'a self, _: IpAddr, _: &'a str, _: &'a str) -> BoxFuture<'a, LoginVerdict<FtpTree>> {
        Box::pin(async {
            let store = self.0.login(None, None, Rights::ALL);
            store.map_or(LoginVerdict::Wrong, |store| LoginVerdict::Right(FtpTree::Local(store)))
        })
    }

    fn happened(&self, _: &FtpPeer<'_>, _: &Happening<'_>) {}
}

/// Bytes that may still pass, and the news that none may any more.
struct Wire {
    left: AtomicI64,
    cut: watch::Sender<bool>,
    /// Ends by a reset instead of a FIN.
    reset: bool,
}

impl Wire {
    fn new(budget: i64, reset: bool) -> Arc<Wire> {
        Arc::new(Wire { left: AtomicI64::new(budget), cut: watch::channel(false).0, reset })
    }

    fn is_cut(&self) -> bool {
        *self.cut.borrow()
    }

    /// How many of `count` bytes may pass.
    fn pass(&self, count: usize) -> usize {
        let before = self.left.fetch_sub(count as i64, Ordering::SeqCst);
        if before <= count as i64 {
            self.cut.send_replace(true);
        }
        usize::try_from(before.clamp(0, count as i64)).unwrap()
    }

    /// One connection through the relay, to its end.
    async fn carry(self: Arc<Wire>, mut near: TcpStream, to: SocketAddr) {
        let Ok(mut far) = TcpStream::connect(to).await else { return };
        for socket in [&near, &far] {
            drop(socket.set_nodelay(true));
            if self.reset {
                drop(socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)));
            }
        }
        let (near_reader, near_writer) = near.split();
        let (far_reader, far_writer) = far.split();
        tokio::join!(self.pump(near_reader, far_writer), self.pump(far_reader, near_writer));
    }

    /// What was read before the cut is still passed on.
    async fn pump(&self, mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin) {
        let mut cut = self.cut.subscribe();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = tokio::select! {
                read = from.read(&mut buffer) => read.unwrap_or(0),
                _ = cut.wait_for(|cut| *cut) => return,
            };
            if count == 0 {
                drop(to.shutdown().await);
                return;
            }
            let allowed = self.pass(count);
            if to.write_all(&buffer[..allowed]).await.is_err() || allowed < count {
                return;
            }
        }
    }
}

/// Accepts at one address of the relay for as long as the run lasts.
async fn relay(listener: Arc<TcpListener>, to: SocketAddr, wire: Arc<Wire>) {
    let mut tasks = tokio::task::JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        if !wire.is_cut() {
            tasks.spawn(wire.clone().carry(near, to));
        }
    }
}

/// The relay's own side: the control port, and data ports with the numbers that the server will use.
struct Ports {
    control: Arc<TcpListener>,
    data: Vec<Arc<TcpListener>>,
}

impl Ports {
    async fn open() -> Ports {
        let control = Arc::new(TcpListener::bind((RELAY, 0)).await.unwrap());
        'first: loop {
            let first = TcpListener::bind((RELAY, 0)).await.unwrap();
            let port = first.local_addr().unwrap().port();
            let mut data = vec![Arc::new(first)];
            for step in 1..DATA_PORTS {
                match port.checked_add(step) {
                    Some(port) => match TcpListener::bind((RELAY, port)).await {
                        Ok(listener) => data.push(Arc::new(listener)),
                        Err(_) => continue 'first,
                    },
                    None => continue 'first,
                }
            }
            return Ports { control, data };
        }
    }

    fn range(&self) -> RangeInclusive<u16> {
        let port = |listener: &Arc<TcpListener>| listener.local_addr().unwrap().port();
        port(&self.data[0])..=port(&self.data[self.data.len() - 1])
    }
}

/// What the two sides have.
struct Bench {
    ports: Ports,
    served: tempfile::TempDir,
    local: tempfile::TempDir,
    tls: Option<(ServerTls, ClientTls)>,
    /// A cut is a reset, never a FIN: nothing but 226 says that a listing in clear text was all, so a wire that closes
    /// its data connection properly, half-way, and then passes 226 on cannot be found out.
    resets: bool,
}

impl Bench {
    async fn new(secure: bool) -> Bench {
        let tls = secure.then(|| {
            let names = vec![RELAY.to_owned()];
            let server = ServerTls::new(&ServerTlsOptions { self_signed: names, ..Default::default() }).unwrap();
            let client = ClientTls::new(&ClientTlsOptions { insecure: true, ..Default::default() }).unwrap();
            (server, client)
        });
        Bench { ports: Ports::open().await, served: temp_dir(), local: temp_dir(), tls, resets: false }
    }

    /// One dialogue over a wire that is cut after `budget` bytes. The server has ended when this returns. The second
    /// value: whether the wire was cut.
    async fn run<T>(
        &self,
        budget: i64,
        dialogue: impl AsyncFnOnce(&FtpUrl, &FtpClientOptions) -> Result<T, Fault>,
    ) -> (Result<T, Fault>, bool) {
        let wire = Wire::new(budget, self.resets || budget % 2 == 1);
        let listeners = Listeners::bind(&[], "127.0.0.1:0").unwrap();
        let server = listeners.addresses()[0];
        let shutdown = Shutdown::manual();
        let options = server::FtpServerOptions {
            passive_ports: self.ports.range(),
            tls: self.tls.as_ref().map(|(server, _)| server.clone()),
            tls_required: self.tls.is_some(),
            ..server::FtpServerOptions::default()
        };
        let tree = FtpStore::open(self.served.path(), Rights::ALL, store::UploadLimits::default()).unwrap();
        let stop = shutdown.clone();
        let serving = tokio::spawn(async move {
            let admission = Admission::new(AdmissionLimits::of(100, 50));
            server::serve(vec![(listeners, false)], &admission, &stop, options, Arc::new(Open(tree))).await.unwrap();
        });
        let mut relays = tokio::task::JoinSet::new();
        relays.spawn(relay(self.ports.control.clone(), server, wire.clone()));
        for listener in &self.ports.data {
            let port = listener.local_addr().unwrap().port();
            relays.spawn(relay(listener.clone(), SocketAddr::new(server.ip(), port), wire.clone()));
        }
        let port = self.ports.control.local_addr().unwrap().port();
        let url = FtpUrl::parse(&format!("ftp://{RELAY}:{port}/x")).unwrap();
        let mut options = FtpClientOptions::new(Dialer::default());
        options.limits = Limits { idle: SOON, ..Limits::default() };
        if let Some((_, client)) = &self.tls {
            options.tls = TlsMode::Starttls;
            options.tls_client = Some(client.clone());
        }
        let result = tokio::time::timeout(SOON, dialogue(&url, &options)).await;
        relays.shutdown().await;
        shutdown.drain();
        shutdown.end();
        serving.await.unwrap();
        let result = result.unwrap_or_else(|_| panic!("cut after {budget} bytes: hangs"));
        (result, wire.is_cut())
    }

    /// Runs the dialogue with the wire cut after 1, 1 + step, … bytes until it is long enough; `check` looks at what is
    /// there after each. Every failure must be one that another attempt may overcome.
    async fn cut_everywhere<T>(
        &self,
        step: usize,
        dialogue: impl AsyncFn(&FtpUrl, &FtpClientOptions) -> Result<T, Fault>,
        check: impl Fn(Result<T, Fault>, &str),
    ) {
        for budget in (1..).step_by(step) {
            let (result, cut) = self.run(budget, &dialogue).await;
            if let Err(fault) = &result {
                assert!(cut, "with {budget} bytes to spare: {fault}");
                let defined = matches!(fault.kind, Kind::Disconnected | Kind::Incomplete | Kind::PeerTemporary);
                assert!(defined && fault.temporary(), "cut after {budget} bytes: {:?}: {fault}", fault.kind);
            }
            check(result, &format!("cut after {budget} bytes"));
            if !cut {
                assert!(budget > 300, "the dialogue of {budget} bytes cannot have been all");
                return;
            }
        }
    }
}

/// Whole or not there at all.
fn whole_or_absent(path: &Path, content: &[u8], what: &str) -> bool {
    match std::fs::read(path) {
        Ok(found) => {
            assert!(found == content, "{what}: {} of {} bytes in {}", found.len(), content.len(), path.display());
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{what}");
            false
        }
    }
}

fn multi_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn get(url: &FtpUrl, options: &FtpClientOptions, dir: &Path) -> Result<(), Fault> {
    let mut client = FtpClient::open(url, options).await?;
    let get = Get {
        path: &url.path,
        url: url.to_string(),
        ascii: false,
        size: None,
        modified: None,
        resume: true,
        again: false,
        adopt: false,
        checks: Checks::default(),
        progress: Arc::new(|_| {}),
    };
    let (got, part) = fetch_part(&mut client, &get, &LocalDir::open(dir)?, b"x").await?;
    part.commit(FinalState { modified: got.modified, mode: None, sync: true, replace: true })?;
    client.quit().await;
    Ok(())
}

async fn put(url: &FtpUrl, options: &FtpClientOptions, file: &std::fs::File, size: u64) -> Result<(), Fault> {
    let mut client = FtpClient::open(url, options).await?;
    let put = Put {
        tag: applayer::ftp::part::PartTag::of_run().unwrap(),
        path: &url.path,
        replace: ReplaceMode::TempAndRename,
        ascii: false,
        resume: true,
        mode: None,
        checks: Checks::default(),
        progress: Arc::new(|_| {}),
    };
    store(&mut client, &put, &OpenFile { file, size: Some(size), modified: Some(1_000_000_000) }).await?;
    client.quit().await;
    Ok(())
}

fn downloads(secure: bool, content: &[u8], step: usize) {
    multi_thread().block_on(async {
        let bench = Bench::new(secure).await;
        std::fs::write(bench.served.path().join("x"), content).unwrap();
        let path = bench.local.path().join("x");
        let check = |result: Result<(), Fault>, what: &str| {
            let there = whole_or_absent(&path, content, what);
            assert!(there || result.is_err(), "{what}: success without a file");
            if there {
                std::fs::remove_file(&path).unwrap();
            }
        };
        bench.cut_everywhere(step, async |url, options| get(url, options, bench.local.path()).await, check).await;
    });
}

fn uploads(secure: bool, content: &[u8], step: usize) {
    multi_thread().block_on(async {
        let bench = Bench::new(secure).await;
        let source = bench.local.path().join("source");
        std::fs::write(&source, content).unwrap();
        let path = bench.served.path().join("x");
        let check = |result: Result<(), Fault>, what: &str| {
            let there = whole_or_absent(&path, content, what);
            assert!(there || result.is_err(), "{what}: success without a file");
            if there {
                std::fs::remove_file(&path).unwrap();
            }
        };
        let dialogue = async |url: &FtpUrl, options: &FtpClientOptions| {
            let file = std::fs::File::open(&source).unwrap();
            put(url, options, &file, content.len() as u64).await
        };
        bench.cut_everywhere(step, dialogue, check).await;
    });
}

fn listings(secure: bool, step: usize) {
    multi_thread().block_on(async {
        let bench = Bench { resets: !secure, ..Bench::new(secure).await };
        for name in ["a", "b", "c d"] {
            let mut file = std::fs::File::create(bench.served.path().join(name)).unwrap();
            file.write_all(name.as_bytes()).unwrap();
        }
        let dialogue = async |url: &FtpUrl, options: &FtpClientOptions| {
            let mut client = FtpClient::open(url, options).await?;
            let mut names = Vec::new();
            let mut each = |line: ListingLine, _: &[u8]| {
                if let ListingLine::Entry(entry) = line {
                    names.push(entry.name);
                }
                Ok(())
            };
            client.list(&url.path.parent().unwrap_or_default(), ListMethod::Auto, false, &mut each).await?.uncut()?;
            client.quit().await;
            names.sort();
            Ok(names)
        };
        // What was printed before the cut is no harm; only a success must be all of it.
        let check = |result: Result<Vec<Vec<u8>>, Fault>, what: &str| {
            if let Ok(names) = result {
                assert_eq!(names, [b"a".to_vec(), b"b".to_vec(), b"c d".to_vec()], "{what}");
            }
        };
        bench.cut_everywhere(step, dialogue, check).await;
    });
}

/// Every byte of a dialogue inside TLS is some six thousand handshakes: `make soak` does it.
fn tls_step() -> usize {
    if rounds(1, 1).count() > 1 { 1 } else { 23 }
}

#[test]
fn a_download_is_cut_after_every_byte() {
    downloads(false, b"some hundred bytes are enough here", 1);
}

#[test]
fn a_large_download_is_cut_here_and_there() {
    downloads(false, &vec![b'x'; 700_000], 29_989);
}

#[test]
fn a_download_in_tls_is_cut() {
    downloads(true, b"some hundred bytes are enough here", tls_step());
}

#[test]
fn an_upload_is_cut_after_every_byte() {
    uploads(false, b"some hundred bytes are enough here", 1);
}

#[test]
fn a_large_upload_is_cut_here_and_there() {
    uploads(false, &vec![b'x'; 700_000], 29_989);
}

#[test]
fn an_upload_in_tls_is_cut() {
    uploads(true, b"some hundred bytes are enough here", tls_step());
}

#[test]
fn a_listing_is_cut_after_every_byte() {
    listings(false, 1);
}

#[test]
fn a_listing_in_tls_is_cut() {
    listings(true, tls_step());
}
