//! The server on loopback sockets: correct clients and misbehaving ones.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;
use crate::ftp::session::Rights;
use crate::ftp::store::{FtpStore, UploadLimits};
use crate::net::admission::AdmissionLimits;
use crate::net::tls::{ClientTls, ClientTlsOptions, ServerTlsOptions};

mod tls;

struct Users {
    store: FtpStore,
    log: Mutex<Vec<String>>,
}

impl FtpService for Users {
    fn login<'a>(&'a self, _: IpAddr, user: &'a str, password: &'a str) -> BoxFuture<'a, LoginVerdict<FtpTree>> {
        let rights = match (user, password) {
            ("joe", "secret") => Rights::ALL,
            ("anonymous", _) => Rights::READ_ONLY,
            ("flood", _) => return Box::pin(async { LoginVerdict::TooMany }),
            _ => return Box::pin(async { LoginVerdict::Wrong }),
        };
        Box::pin(async move {
            let store = self.store.login(None, None, rights);
            store.map_or(LoginVerdict::Wrong, |store| LoginVerdict::Right(FtpTree::Local(store)))
        })
    }

    fn happened(&self, who: &FtpPeer<'_>, what: &Happening<'_>) {
        self.log.lock().unwrap().push(format!("{who:?} {what:?}"));
    }
}

struct Site {
    dir: tempfile::TempDir,
    address: SocketAddr,
    shutdown: Shutdown,
    service: Arc<Users>,
    server: tokio::task::JoinHandle<()>,
}

impl Site {
    fn start(change: impl FnOnce(&mut FtpServerOptions)) -> Site {
        Site::start_with(false, change)
    }

    fn start_with(implicit: bool, change: impl FnOnce(&mut FtpServerOptions)) -> Site {
        let dir = tempfile::tempdir().unwrap();
        let limits = UploadLimits { append: true, ..UploadLimits::default() };
        let store = FtpStore::open(dir.path(), Rights::ALL, limits).unwrap();
        let service = Arc::new(Users { store, log: Mutex::default() });
        let mut options = FtpServerOptions::default();
        change(&mut options);
        let listeners = Listeners::bind(&[], "127.0.0.1:0").unwrap();
        let address = *listeners.addresses().first().unwrap();
        let shutdown = Shutdown::manual();
        let (stop, heard) = (shutdown.clone(), service.clone());
        let admission = Admission::new(AdmissionLimits::of(500, 250));
        let server = tokio::spawn(async move {
            serve(vec![(listeners, implicit)], &admission, &stop, options, heard).await.unwrap();
        });
        Site { dir, address, shutdown, service, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    async fn connect(&self) -> Client {
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let mut client = Client { stream: BufReader::new(Stream::Plain(tcp)), at: self.address };
        client.expect(220).await;
        client
    }

    async fn login(&self) -> Client {
        let mut client = self.connect().await;
        client.ask("USER joe\r\nPASS secret\r\nTYPE I", &[331, 230, 200]).await;
        client
    }

    /// Waits until the server has finished this many uploads, successful or not.
    async fn uploads_seen(&self, count: usize) {
        let seen = || self.service.log.lock().unwrap().iter().filter(|line| line.contains("Upload")).count();
        while seen() < count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn end(self) {
        self.shutdown.drain();
        self.shutdown.end();
        self.server.await.unwrap();
    }
}

struct Client {
    stream: BufReader<Stream>,
    at: SocketAddr,
}

impl Client {
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The last line of the next reply; `None` at the end of the connection.
    async fn reply(&mut self) -> Option<String> {
        loop {
            let mut line = Vec::new();
            let read = self.stream.read_until(b'\n', &mut line).await.unwrap_or(0);
            if read == 0 {
                return None;
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if line.as_bytes().get(3) == Some(&b' ') && line.as_bytes().iter().take(3).all(u8::is_ascii_digit) {
                return Some(line);
            }
        }
    }

    #[track_caller]
    fn expect(&mut self, code: u16) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            let line = tokio::time::timeout(Duration::from_secs(20), self.reply()).await;
            let line = line.unwrap_or_else(|_| panic!("{caller}: no {code} came")).unwrap_or_default();
            assert!(line.starts_with(&code.to_string()), "{caller}: {line:?} instead of {code}");
            line
        }
    }

    async fn ask(&mut self, lines: &str, codes: &[u16]) -> String {
        self.send(&format!("{lines}\r\n")).await;
        let mut last = String::new();
        for code in codes {
            last = self.expect(*code).await;
        }
        last
    }

    async fn epsv(&mut self) -> SocketAddr {
        let reply = self.ask("EPSV", &[229]).await;
        SocketAddr::new(self.at.ip(), port(&reply))
    }

    async fn put(&mut self, name: &str, bytes: &[u8]) -> String {
        let address = self.epsv().await;
        self.send(&format!("STOR {name}\r\n")).await;
        self.expect(150).await;
        let mut data = TcpStream::connect(address).await.unwrap();
        data.write_all(bytes).await.unwrap();
        drop(data);
        self.expect(226).await
    }

    async fn get(&mut self, command: &str) -> Vec<u8> {
        let address = self.epsv().await;
        self.send(&format!("{command}\r\n")).await;
        let mut data = TcpStream::connect(address).await.unwrap();
        self.expect(150).await;
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).await.unwrap();
        self.expect(226).await;
        bytes
    }

    /// Upgrades to TLS after 234.
    async fn secure(self, tls: &ClientTls) -> Client {
        let stream = tls.connect(self.stream.into_inner(), "localhost").await.unwrap();
        Client { stream: BufReader::new(stream), at: self.at }
    }
}

fn port(reply: &str) -> u16 {
    crate::ftp::address::parse_epsv(reply.as_bytes()).unwrap()
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at / 256 + at) as u8).collect()
}

fn with_tls(options: &mut FtpServerOptions) {
    let made = ServerTlsOptions { self_signed: vec!["localhost".to_owned()], ..ServerTlsOptions::default() };
    options.tls = Some(ServerTls::new(&made).unwrap());
}

fn client_tls() -> ClientTls {
    ClientTls::new(&ClientTlsOptions { insecure: true, ..ClientTlsOptions::default() }).unwrap().own_sessions()
}

const SIZES: [usize; 7] = [0, 1, 4096, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 5_000_001];

#[tokio::test(flavor = "multi_thread")]
async fn files_come_back_as_they_went() {
    let site = Site::start(|_| {});
    let mut client = site.login().await;
    for size in SIZES {
        let bytes = pattern(size);
        client.put("file", &bytes).await;
        assert!(std::fs::read(site.path("file")).unwrap() == bytes, "{size} up");
        assert!(client.get("RETR file").await == bytes, "{size} down");
        let from = size / 3;
        client.ask(&format!("REST {from}"), &[350]).await;
        assert!(client.get("RETR file").await == bytes[from..], "{size} from {from}");
        if size > 4 {
            client.ask(&format!("RANG 1 {}", size - 2), &[350]).await;
            assert!(client.get("RETR file").await == bytes[1..size - 1], "{size} range");
        }
        client.ask(&format!("REST {from}"), &[350]).await;
        client.put("file", &bytes[from..]).await;
        assert!(std::fs::read(site.path("file")).unwrap() == bytes, "{size} resumed");
    }
    std::fs::write(site.path("text"), "one\ntwo\n").unwrap();
    client.ask("TYPE A", &[200]).await;
    assert_eq!(client.get("RETR text").await, b"one\r\ntwo\r\n");
    client.put("back", b"one\r\ntwo\r\n").await;
    assert_eq!(std::fs::read(site.path("back")).unwrap(), b"one\ntwo\n");
    assert_eq!(client.get("NLST").await.len(), "text\r\nfile\r\nback\r\n".len());
    client.ask("QUIT", &[221]).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn active_connections_come_from_the_server() {
    let site = Site::start(|_| {});
    let mut client = site.login().await;
    let bytes = pattern(600_000);
    std::fs::write(site.path("file"), &bytes).unwrap();
    for kind in ["PORT", "EPRT"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let argument = match (kind, address) {
            ("PORT", SocketAddr::V4(address)) => crate::ftp::address::format_port(address),
            _ => crate::ftp::address::format_eprt(address),
        };
        client.ask(&format!("{kind} {argument}"), &[200]).await;
        client.ask("RETR file", &[150]).await;
        let mut received = Vec::new();
        listener.accept().await.unwrap().0.read_to_end(&mut received).await.unwrap();
        client.expect(226).await;
        assert!(received == bytes, "{kind}");
    }
    // Nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    client.ask(&format!("EPRT {}", crate::ftp::address::format_eprt(gone)), &[200]).await;
    client.ask("RETR file", &[150, 425]).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_connects_to_nobody_else() {
    let site = Site::start(|_| {});
    let mut client = site.login().await;
    // A victim on another address and on a privileged port: the bounce attack (CVE-1999-0017).
    let victim = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let SocketAddr::V4(address) = victim.local_addr().unwrap() else { panic!("IPv4") };
    client.ask(&format!("PORT {}", crate::ftp::address::format_port(address)), &[504]).await;
    client.ask("PORT 127,0,0,1,0,25", &[504]).await;
    client.ask("LIST", &[425]).await;
    assert!(tokio::time::timeout(Duration::from_millis(100), victim.accept()).await.is_err());
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_get_the_data_connection() {
    let site = Site::start(|_| {});
    std::fs::write(site.path("file"), "for joe alone").unwrap();
    let mut client = site.login().await;
    let address = client.epsv().await;
    let mut thieves = Vec::new();
    for _ in 0..4 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        thieves.push(socket.connect(address).await.unwrap());
    }
    client.ask("RETR file", &[150]).await;
    for _ in 0..100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        thieves.push(socket.connect(address).await.unwrap());
    }
    let mut data = TcpStream::connect(address).await.unwrap();
    let mut text = String::new();
    data.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "for joe alone");
    client.expect(226).await;
    for mut thief in thieves {
        let mut bytes = Vec::new();
        // Closed or reset, but never a byte.
        let _ = thief.read_to_end(&mut bytes).await;
        assert!(bytes.is_empty());
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_off_leaves_no_partial_file() {
    let site = Site::start(|_| {});
    std::fs::write(site.path("old"), "old").unwrap();
    // The control connection ends after every byte of a session, with and without a data connection.
    let script = b"USER joe\r\nPASS secret\r\nTYPE I\r\nEPSV\r\nSTOR old\r\n";
    for end in 0..=script.len() {
        for with_data in [false, true] {
            let tcp = TcpStream::connect(site.address).await.unwrap();
            let mut client = Client { stream: BufReader::new(Stream::Plain(tcp)), at: site.address };
            client.stream.write_all(&script[..end]).await.unwrap();
            if end == script.len() {
                let mut data = None;
                for code in [220, 331, 230, 200, 229, 150] {
                    let line = client.expect(code).await;
                    if code == 229 && with_data {
                        data = Some(TcpStream::connect(SocketAddr::new(site.address.ip(), port(&line))).await.unwrap());
                    }
                }
                if let Some(data) = &mut data {
                    data.write_all(b"half a file").await.unwrap();
                }
                // The process dies: the kernel closes its sockets, the control connection first.
                drop(client);
                drop(data);
            }
        }
    }
    site.uploads_seen(2).await;
    assert_eq!(std::fs::read(site.path("old")).unwrap(), b"old");
    assert_eq!(site.names(), ["old"]);
    site.login().await.ask("NOOP", &[200]).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_an_upload_is_not_a_file() {
    // QUIT sent ahead changes nothing: the client that said it is gone, too.
    for (sent, keep) in
        [("STOR new", false), ("STOR new", true), ("STOR new\r\nQUIT", false), ("STOR new\r\nQUIT", true)]
    {
        let site = Site::start(|options| options.keep_partial = keep);
        for round in 0..20 {
            let mut client = site.login().await;
            let address = client.epsv().await;
            client.ask(sent, &[150]).await;
            let mut data = TcpStream::connect(address).await.unwrap();
            data.write_all(&pattern(if round % 2 == 0 { 10 } else { 1_000_000 })).await.unwrap();
            // As when the client is killed: the data connection ends like that of a whole file.
            drop(client);
            drop(data);
        }
        site.uploads_seen(20).await;
        let log = site.service.log.lock().unwrap().join("\n");
        assert!(!log.contains("code: 226"), "{sent:?}: {log}");
        match keep {
            false => assert_eq!(site.names(), [""; 0]),
            true => assert_eq!(site.names(), ["new"]),
        }
        site.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_side_behind_quit_is_still_there() {
    // As `nc -N` does: it reads to the end.
    let site = Site::start(|_| {});
    for size in [0, 10, 1_000_000] {
        let mut client = site.login().await;
        let address = client.epsv().await;
        client.ask("STOR new\r\nQUIT", &[150]).await;
        client.stream.shutdown().await.unwrap();
        let mut data = TcpStream::connect(address).await.unwrap();
        data.write_all(&pattern(size)).await.unwrap();
        drop(data);
        for code in [150, 226, 221] {
            client.expect(code).await;
        }
        assert!(std::fs::read(site.path("new")).unwrap() == pattern(size), "{size}");
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_quit_is_answered_to_its_end() {
    // As `printf … | nc` sends it: everything at once, then the end of the client's side.
    let site = Site::start(|_| {});
    std::fs::write(site.path("file"), "12345").unwrap();
    let mut client = site.connect().await;
    client.send("USER joe\r\nPASS secret\r\nTYPE I\r\nSIZE file\r\nSTAT /\r\nHASH file\r\nQUIT\r\n").await;
    client.stream.shutdown().await.unwrap();
    for code in [331, 230, 200, 213, 213, 213, 221] {
        client.expect(code).await;
    }
    assert_eq!(client.reply().await, None);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_ahead_is_answered_in_order() {
    let site = Site::start(|_| {});
    let bytes = pattern(2_000_000);
    std::fs::write(site.path("file"), &bytes).unwrap();
    let mut client = site.connect().await;
    // Login in one packet.
    client.ask("USER joe\r\nPASS secret\r\nFEAT\r\nTYPE I\r\nEPSV", &[331, 230, 211, 200, 229]).await;
    // 200 SIZE in one packet.
    client.ask(&vec!["SIZE file"; 200].join("\r\n"), &[213; 200]).await;
    // 10 x (EPSV, RETR) at once.
    client.send(&"EPSV\r\nRETR file\r\n".repeat(10)).await;
    for _ in 0..10 {
        let address = SocketAddr::new(client.at.ip(), port(&client.expect(229).await));
        let mut data = TcpStream::connect(address).await.unwrap();
        client.expect(150).await;
        let mut received = Vec::new();
        data.read_to_end(&mut received).await.unwrap();
        assert!(received == bytes);
        client.expect(226).await;
    }
    // 10 x (EPSV, STOR) at once.
    for number in 0..10 {
        client.send(&format!("EPSV\r\nSTOR up{number}\r\n")).await;
    }
    for number in 0..10 {
        let address = SocketAddr::new(client.at.ip(), port(&client.expect(229).await));
        let mut data = TcpStream::connect(address).await.unwrap();
        client.expect(150).await;
        data.write_all(&bytes[..1000 * number]).await.unwrap();
        drop(data);
        client.expect(226).await;
        assert_eq!(std::fs::metadata(site.path(&format!("up{number}"))).unwrap().len(), 1000 * number as u64);
    }
    // EPSV while a download runs; EPSV and STOR right after an upload's end, before its 226.
    let address = client.epsv().await;
    client.ask("RETR file", &[150]).await;
    let mut data = TcpStream::connect(address).await.unwrap();
    client.send("EPSV\r\n").await;
    let mut received = Vec::new();
    data.read_to_end(&mut received).await.unwrap();
    client.expect(226).await;
    let address = SocketAddr::new(client.at.ip(), port(&client.expect(229).await));
    client.ask("STOR a", &[150]).await;
    let mut data = TcpStream::connect(address).await.unwrap();
    data.write_all(b"a").await.unwrap();
    drop(data);
    client.send("EPSV\r\nSTOR b\r\n").await;
    client.expect(226).await;
    let address = SocketAddr::new(client.at.ip(), port(&client.expect(229).await));
    client.expect(150).await;
    drop(TcpStream::connect(address).await.unwrap());
    client.expect(226).await;
    assert_eq!(std::fs::read(site.path("a")).unwrap(), b"a");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abor_stops_transfers_of_every_kind() {
    let site = Site::start(|_| {});
    std::fs::write(site.path("file"), pattern(60_000_000)).unwrap();
    let mut client = site.login().await;
    for command in ["RETR file", "STOR up", "LIST"] {
        // Before the data connection, while it stands still, and as TELNET clients send it: RFC 959, BSD's ftp, Python's ftplib.
        for (connect, urgent, plain) in [
            (false, &b""[..], &b"ABOR\r\n"[..]),
            (true, b"", b"ABOR\r\n"),
            (true, b"", b"\xff\xf4\xff\xf2ABOR\r\n"),
            (true, b"\xff\xf4\xff\xf2", b"ABOR\r\n"),
            (true, b"\xff\xf4\xff", b"\xf2ABOR\r\n"),
            (true, b"ABOR\r\n", b""),
        ] {
            if command == "LIST" && connect {
                continue;
            }
            let address = client.epsv().await;
            client.ask(command, &[150]).await;
            let mut data = if connect { Some(TcpStream::connect(address).await.unwrap()) } else { None };
            if let (Some(data), "STOR up") = (&mut data, command) {
                data.write_all(&pattern(1_000_000)).await.unwrap();
            }
            if !urgent.is_empty() {
                let tcp = client.stream.get_ref().tcp().unwrap();
                assert_eq!(socket2::SockRef::from(tcp).send_out_of_band(urgent).unwrap(), urgent.len());
            }
            client.stream.write_all(plain).await.unwrap();
            client.expect(426).await;
            client.expect(226).await;
        }
    }
    assert_eq!(site.names(), ["file"]);
    client.ask("NOOP", &[200]).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_ends_with_its_client() {
    let site = Site::start(|_| {});
    std::fs::write(site.path("small"), "x").unwrap();
    std::fs::File::create(site.path("big")).unwrap().set_len(1 << 40).unwrap();
    let mut client = site.login().await;
    client.ask("HASH big\r\nSTAT\r\nABOR", &[451, 211, 226]).await;
    // More than are worked on at once.
    for _ in 0..2 * MAX_DIGESTS {
        site.login().await.send("HASH big\r\n").await;
    }
    client.ask("HASH small", &[213]).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_announced_size_tells_whole_from_short() {
    let site = Site::start(|_| {});
    site.login().await.ask("ALLO 9000000000000000000", &[452]).await;
    for (size, stored) in [(10, true), (9, false)] {
        for _ in 0..10 {
            let mut client = site.login().await;
            client.ask("ALLO 10", &[202]).await;
            let address = client.epsv().await;
            client.ask("STOR new", &[150]).await;
            let mut data = TcpStream::connect(address).await.unwrap();
            data.write_all(&pattern(size)).await.unwrap();
            drop(data);
            if stored {
                client.expect(226).await;
            }
        }
        assert_eq!(site.path("new").exists(), stored);
        let _ = std::fs::remove_file(site.path("new"));
    }
    site.uploads_seen(20).await;
    assert_eq!(site.names(), [""; 0]);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_stands_still_ends() {
    let site = Site::start(|options| options.data_limits.idle = Duration::from_millis(100));
    std::fs::write(site.path("file"), pattern(60_000_000)).unwrap();
    let mut client = site.login().await;
    for command in ["RETR file", "STOR up"] {
        let address = client.epsv().await;
        client.ask(command, &[150]).await;
        let _data = TcpStream::connect(address).await.unwrap();
        client.expect(426).await;
    }
    assert_eq!(site.names(), ["file"]);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_ends() {
    let site = Site::start(|_| {});
    let mut client = site.connect().await;
    client
        .ask("USER joe\r\nPASS a\r\nUSER nobody\r\nPASS b\r\nUSER joe\r\nPASS c", &[331, 530, 331, 530, 331, 530])
        .await;
    assert_eq!(client.reply().await, None);
    site.connect().await.ask("USER flood\r\nPASS a", &[331, 421]).await;
    let log = site.service.log.lock().unwrap().join("\n");
    assert_eq!(log.matches("accepted: false").count(), 4, "{log}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passive_ports_stay_in_their_range() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let only = free.local_addr().unwrap().port();
    drop(free);
    let site = Site::start(|options| options.passive_ports = only..=only);
    std::fs::write(site.path("file"), "x").unwrap();
    let (mut first, mut second) = (site.login().await, site.login().await);
    assert_eq!(first.epsv().await.port(), only);
    second.ask("EPSV", &[425]).await;
    // The same port again and again, though its last connection is still in TIME_WAIT.
    for _ in 0..5 {
        assert_eq!(first.get("RETR file").await, b"x");
    }
    first.ask("QUIT", &[221]).await;
    assert_eq!(first.reply().await, None);
    assert_eq!(second.get("RETR file").await, b"x");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_sent_away() {
    let limit = Duration::from_millis(300);
    let site = Site::start(|options| (options.login_limit, options.idle) = (limit, limit));
    let mut client = site.connect().await;
    client.expect(421).await;
    assert_eq!(client.reply().await, None);
    // Commands do not prolong the time for the login.
    let mut client = site.connect().await;
    let begin = std::time::Instant::now();
    loop {
        client.send("NOOP\r\n").await;
        match client.reply().await {
            Some(line) if line.starts_with("200") => assert!(begin.elapsed() < limit * 20, "still there"),
            Some(line) if line.starts_with("421") => break,
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(limit / 10).await;
    }
    // Behind the login, a drip of bytes that never makes a command does not prolong it either.
    let mut client = site.login().await;
    let begin = std::time::Instant::now();
    let gone = loop {
        let written = client.stream.write_all(b"N").await;
        if let Ok(line) = tokio::time::timeout(limit / 10, client.reply()).await {
            break line;
        }
        assert!(written.is_ok() && begin.elapsed() < limit * 20, "still there");
    };
    assert!(gone.unwrap().starts_with("421"));
    // A transfer is no idleness.
    std::fs::write(site.path("file"), "x").unwrap();
    let mut client = site.login().await;
    let address = client.epsv().await;
    client.ask("STOR up", &[150]).await;
    let mut data = TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(limit * 2).await;
    data.write_all(b"late").await.unwrap();
    drop(data);
    client.expect(226).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_dropped() {
    let site = Site::start(|options| options.data_limits.idle = Duration::from_millis(200));
    let tcp = TcpStream::connect(site.address).await.unwrap();
    let mut client = Client { stream: BufReader::new(Stream::Plain(tcp)), at: site.address };
    let flood = "HELP\r\n".repeat(10_000);
    let mut sent = 0;
    // The replies fill every buffer on the way; then the server gives up.
    while client.stream.write_all(flood.as_bytes()).await.is_ok() {
        sent += flood.len();
        assert!(sent < 1 << 30, "it takes everything");
    }
    site.login().await.ask("NOOP", &[200]).await;
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_transfers_finish_and_sends_the_others_away() {
    let site = Site::start(|_| {});
    let mut idle = site.login().await;
    let mut busy = site.login().await;
    let address = busy.epsv().await;
    busy.ask("STOR file", &[150]).await;
    let mut data = TcpStream::connect(address).await.unwrap();
    site.shutdown.drain();
    idle.expect(421).await;
    data.write_all(b"whole").await.unwrap();
    drop(data);
    busy.expect(226).await;
    busy.expect(421).await;
    let Site { dir, server, .. } = site;
    server.await.unwrap();
    assert_eq!(std::fs::read(Path::join(dir.path(), "file")).unwrap(), b"whole");
}
