//! ftpserve, as a process: what it says, who gets in, what a crash leaves, what hostile clients achieve.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{Server, binary, refusing, rounds, server, temp_dir, tool};
use crate::limits::connect;

/// A client that speaks line by line.
pub(crate) struct Client {
    control: BufReader<TcpStream>,
    at: SocketAddr,
}

impl Client {
    pub(crate) fn connect(at: SocketAddr) -> Client {
        Client::over(TcpStream::connect(at).unwrap(), at)
    }

    fn over(stream: TcpStream, at: SocketAddr) -> Client {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Client { control: BufReader::new(stream), at };
        client.expect(220);
        client
    }

    /// Anonymous, from this address of loopback.
    pub(crate) fn login_from(address: [u8; 4], at: SocketAddr) -> Client {
        Client::over(connect(address, at).into_inner(), at).logged_in("anonymous", "me@")
    }

    pub(crate) fn login(at: SocketAddr, user: &str, password: &str) -> Client {
        Client::connect(at).logged_in(user, password)
    }

    fn logged_in(self, user: &str, password: &str) -> Client {
        let mut client = self;
        client.ask(&format!("USER {user}"), 331);
        client.ask(&format!("PASS {password}"), 230);
        client.ask("TYPE I", 200);
        client
    }

    pub(crate) fn anonymous(server: &Server) -> Client {
        Client::login(server.addr, "anonymous", "me@")
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        self.control.get_mut().write_all(bytes).unwrap();
    }

    pub(crate) fn reply(&mut self) -> String {
        loop {
            let mut line = Vec::new();
            if self.control.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                return String::new();
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if line.len() > 3 && line.as_bytes()[3] == b' ' && line.as_bytes()[..3].iter().all(u8::is_ascii_digit) {
                return line;
            }
        }
    }

    /// True if the server has said nothing since its last reply that was read.
    pub(crate) fn is_silent(&self) -> bool {
        self.control.get_ref().set_nonblocking(true).unwrap();
        let read = self.control.get_ref().peek(&mut [0]);
        self.control.get_ref().set_nonblocking(false).unwrap();
        self.control.buffer().is_empty() && read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, code: u16) -> String {
        let line = self.reply();
        assert!(line.starts_with(&code.to_string()), "{line:?} instead of {code}");
        line
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str, code: u16) -> String {
        self.send(&format!("{line}\r\n"));
        self.expect(code)
    }

    #[track_caller]
    pub(crate) fn data(&mut self) -> TcpStream {
        let reply = self.ask("EPSV", 229);
        let port = reply.split('|').nth(3).unwrap().parse().unwrap();
        let to = SocketAddr::new(self.at.ip(), port);
        match self.control.get_ref().local_addr().unwrap().ip() {
            IpAddr::V4(own) if own != to.ip() => connect(own.octets(), to).into_inner(),
            _ => TcpStream::connect(to).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn put(&mut self, name: &str, bytes: &[u8]) -> String {
        let mut data = self.data();
        self.send(&format!("STOR {name}\r\n"));
        let reply = self.reply();
        if !reply.starts_with("150") {
            return reply;
        }
        data.write_all(bytes).unwrap();
        drop(data);
        self.reply()
    }

    #[track_caller]
    pub(crate) fn get(&mut self, command: &str) -> Result<Vec<u8>, String> {
        let mut data = self.data();
        self.send(&format!("{command}\r\n"));
        let reply = self.reply();
        if !reply.starts_with("150") {
            return Err(reply);
        }
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        let reply = self.reply();
        if reply.starts_with("226") { Ok(bytes) } else { Err(reply) }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn hash(password: &str) -> String {
    let done = tool("ftpserve").arg("--hash-password").stdin(format!("{password}\n")).run();
    done.silent_success();
    done.text().trim().to_owned()
}

#[test]
fn by_default_strangers_look_and_download() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("file"), "hello").unwrap();
    let server = server("ftpserve").arg(dir.path()).start();
    assert!(server.url.starts_with("ftp://127.0.0.1:"), "{}", server.url);
    let mut client = Client::anonymous(&server);
    assert_eq!(client.get("RETR file").unwrap(), b"hello");
    assert_eq!(client.get("NLST").unwrap(), b"file\r\n");
    assert!(client.put("new", b"x").starts_with("550"));
    client.ask("DELE file", 550);
    client.ask("MKD x", 550);
    client.ask("QUIT", 221);
    server.stdout.wait_for("download\t/file\t5\tanonymous\t127.0.0.1\t226\n");
    assert_eq!(server.stop(), 0);
    assert_eq!(names(dir.path()), ["file"]);
}

#[test]
fn users_have_homes_and_rights() {
    let dir = temp_dir();
    for home in ["joe", "inbox", "shared"] {
        std::fs::create_dir(dir.path().join(home)).unwrap();
    }
    let hash = hash("s3cret");
    let users = dir.path().join("users");
    std::fs::write(
        &users,
        format!(
            "joe:{hash}:joe\nann:{hash}::read\nbox:{hash}:inbox:drop\nup:{hash}:shared:upload\nlost:{hash}:nowhere\n"
        ),
    )
    .unwrap();
    let server = server("ftpserve").args(["--write", "--anonymous", "--user-file"]).arg(&users).arg(dir.path()).start();
    let mut joe = Client::login(server.addr, "joe", "s3cret");
    assert!(joe.put("mine", b"joe's").starts_with("226"));
    assert_eq!(std::fs::read(dir.path().join("joe/mine")).unwrap(), b"joe's");
    assert!(joe.get("RETR ../users").is_err());
    assert!(joe.get("RETR /users").is_err());
    let mut ann = Client::login(server.addr, "ann", "s3cret");
    assert_eq!(ann.get("RETR joe/mine").unwrap(), b"joe's");
    assert!(ann.put("x", b"").starts_with("550"));
    let mut anonymous = Client::anonymous(&server);
    assert!(anonymous.put("x", b"").starts_with("550"), "beside users, anonymous never writes");
    let mut inbox = Client::login(server.addr, "box", "s3cret");
    assert!(inbox.put("letter", b"one").starts_with("226"));
    assert!(inbox.put("letter", b"two").starts_with("550"));
    assert!(inbox.get("LIST").is_err());
    assert!(inbox.get("RETR letter").is_err());
    let mut up = Client::login(server.addr, "up", "s3cret");
    assert!(up.put("file", b"one").starts_with("226"));
    assert!(up.put("file", b"two").starts_with("226"));
    assert!(up.get("RETR file").is_err());
    for (user, password) in [("joe", "wrong"), ("nobody", "s3cret"), ("lost", "s3cret"), ("anonymous2", "")] {
        let mut client = Client::connect(server.addr);
        client.ask(&format!("USER {user}"), 331);
        client.ask(&format!("PASS {password}"), 530);
    }
    assert_eq!(std::fs::read(dir.path().join("inbox/letter")).unwrap(), b"one");
}

#[test]
fn records_are_those_of_the_schema() {
    let dir = temp_dir();
    let server = server("ftpserve").args(["--json", "--write"]).arg(dir.path()).start();
    let mut client = Client::anonymous(&server);
    client.put("new", b"12345");
    client.ask("REST 2", 350);
    client.get("RETR new").unwrap();
    client.get("MLSD").unwrap();
    client.get("RETR missing").unwrap_err();
    client.ask("MKD d", 257);
    client.ask("RNFR new", 350);
    client.ask("RNTO d/n", 250);
    client.ask("DELE d/n", 250);
    client.ask("RMD d", 250);
    client.send_bytes(b"MKD caf\xe9\r\n");
    client.expect(257);
    client.ask("QUIT", 221);
    let mut bad = Client::connect(server.addr);
    bad.ask("USER joe", 331);
    bad.ask("PASS x", 530);
    server.stdout.wait_for("\"accepted\":false");
    let text = server.stdout.text();
    assert_eq!(server.stop(), 0);
    let printed = tool_output(&text);
    let mut records = printed.records();
    // When the session ends is a matter of its client's reader.
    records.retain(|record| !["session", "arrived"].contains(&record["type"].as_str().unwrap()));
    let kinds: Vec<_> = records.iter().map(|record| record["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "listening",
            "login",
            "transfer",
            "transfer",
            "transfer",
            "transfer",
            "change",
            "change",
            "change",
            "change",
            "change",
            "login"
        ],
        "{text}"
    );
    assert_eq!((&records[2]["direction"], &records[2]["size_bytes"]), (&"upload".into(), &5.into()));
    assert_eq!((&records[3]["resumed_from"], &records[3]["size_bytes"]), (&2.into(), &3.into()));
    assert_eq!((&records[5]["complete"], &records[5]["code"]), (&false.into(), &550.into()));
    assert_eq!(records[7]["to"], "/d/n");
    assert_eq!(records[10]["path_base64"], "L2NhZuk=");
    assert_eq!(records[11]["accepted"], false);
}

/// Text as if a tool had printed it.
fn tool_output(text: &str) -> crate::harness::Done {
    let mut command = std::process::Command::new("cat");
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    crate::harness::finish(command, "cat".to_owned(), Some(text.as_bytes().to_vec()), crate::harness::LIMIT)
}

#[test]
fn what_cannot_be_served_has_its_status() {
    let dir = temp_dir();
    let users = dir.path().join("users");
    std::fs::write(&users, format!("joe:{}\n", hash("x"))).unwrap();
    let run = |args: &[&str]| tool("ftpserve").args(["--listen", "127.0.0.1:0"]).args(args).run();
    let path = dir.path().to_str().unwrap();
    let user_file = users.to_str().unwrap();
    tool("ftpserve").run().exits(64);
    run(&["/nonexistent"]).exits(66).says("/nonexistent");
    run(&["--tls", "starttls", path]).exits(64).says("--cert");
    run(&["--write", "--drop-box", path]).exits(64);
    run(&["--anonymous", path]).exits(64);
    run(&["--pasv-ports", "9-1", path]).exits(64);
    run(&["--cert", "/nonexistent", path]).exits(78);
    run(&["--user-file", "/nonexistent", path]).exits(78);
    run(&["--greeting", "a\nb", path]).exits(64);
    let taken = refusing();
    let addr = taken.addr.to_string();
    tool("ftpserve").args(["--listen", &addr, path]).run().exits(73);
    tool("ftpserve").args(["--listen", "0.0.0.0:0", "--user-file", user_file, path]).run().exits(64).says("--cert");
}

#[test]
fn the_end_is_orderly() {
    let dir = temp_dir();
    let server = server("ftpserve").args(["--write", "--drain", "1"]).arg(dir.path()).start();
    let mut idle = Client::anonymous(&server);
    let mut busy = Client::anonymous(&server);
    let mut data = busy.data();
    busy.ask("STOR half", 150);
    data.write_all(b"half").unwrap();
    // The drain sends the idle away and gives up on the transfer after a second.
    assert_eq!(server.stop(), 0);
    idle.expect(421);
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_crash_leaves_whole_files_or_none() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("old"), "old").unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| at as u8).collect();
    for round in rounds(8, 10) {
        let server = server("ftpserve").arg("--write").arg(dir.path()).start();
        let mut client = Client::anonymous(&server);
        let mut data = client.data();
        client.ask("STOR old", 150);
        let end = bytes.len() * (round % 8) / 7;
        data.write_all(&bytes[..end]).unwrap();
        if round % 2 == 0 {
            drop(data);
        }
        server.kill();
        let found = std::fs::read(dir.path().join("old")).unwrap();
        assert!(found == b"old" || found == bytes[..end], "{} bytes", found.len());
        assert_eq!(names(dir.path()), ["old"], "nothing is left over");
        std::fs::write(dir.path().join("old"), "old").unwrap();
    }
}

fn hostile_site(args: &[&str]) -> (TempDir, Server) {
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("served")).unwrap();
    std::fs::create_dir(dir.path().join("outside")).unwrap();
    std::fs::write(dir.path().join("outside/secret"), "secret").unwrap();
    let server = server("ftpserve").args(args).arg(dir.path().join("served")).start();
    (dir, server)
}

#[test]
fn no_name_leads_out_of_the_tree() {
    let (dir, server) = hostile_site(&["--write"]);
    let served = dir.path().join("served");
    symlink("../outside", served.join("up")).unwrap();
    symlink(dir.path().join("outside"), served.join("absolute")).unwrap();
    symlink("/proc/self/root", served.join("magic")).unwrap();
    symlink("../outside/secret", served.join("file")).unwrap();
    let mut client = Client::anonymous(&server);
    let outside = dir.path().join("outside/secret").display().to_string();
    for path in [
        "../outside/secret",
        "/../outside/secret",
        "up/secret",
        "absolute/secret",
        "file",
        "magic/etc/passwd",
        "./../../../../../../etc/passwd",
        "up/../../outside/secret",
        "..\\outside\\secret",
        "%2e%2e/outside/secret",
        outside.as_str(),
    ] {
        assert!(client.get(&format!("RETR {path}")).is_err(), "RETR {path}");
        for verb in ["SIZE", "MDTM", "MLST", "HASH", "DELE ", "CWD", "SITE CHMOD 777"] {
            if !(verb == "DELE " && path == "file") {
                client.send(&format!("{verb} {path}\r\n"));
                let reply = client.reply();
                assert!(reply.starts_with('5'), "{verb} {path}: {reply}");
            }
        }
        assert!(client.get(&format!("MLSD {path}")).is_err(), "MLSD {path}");
        assert!(!client.put(&format!("{path}/x"), b"evil").starts_with('2'), "STOR {path}/x");
    }
    client.ask("MKD up/evil", 550);
    client.ask("RNFR up/secret", 550);
    assert!(!client.put("up/evil", b"evil").starts_with('2'));
    assert_eq!(names(&dir.path().join("outside")), ["secret"]);
    assert_eq!(std::fs::read(dir.path().join("outside/secret")).unwrap(), b"secret");
}

#[test]
fn a_race_of_links_never_leads_out() {
    let (dir, server) = hostile_site(&["--write"]);
    let served = dir.path().join("served");
    std::fs::create_dir(served.join("a")).unwrap();
    std::fs::write(served.join("a/secret"), "inside").unwrap();
    symlink("../outside", served.join("b")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (a, b) = (served.join("a"), served.join("b"));
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                rustix::fs::renameat_with(rustix::fs::CWD, &a, rustix::fs::CWD, &b, exchange).unwrap();
            }
        });
        let mut client = Client::anonymous(&server);
        let mut found = 0;
        for number in 0..300 {
            if let Ok(bytes) = client.get("RETR a/secret") {
                assert_eq!(bytes, b"inside");
                found += 1;
            }
            client.put(&format!("a/up{}", number % 10), b"x");
            client.send(&format!("MKD a/d{}\r\nDELE a/up{}\r\n", number % 10, number % 10));
            client.reply();
            client.reply();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(found > 0, "the file was there at times");
    });
    assert_eq!(names(&dir.path().join("outside")), ["secret"]);
    assert_eq!(std::fs::read(dir.path().join("outside/secret")).unwrap(), b"secret");
}

#[test]
fn floods_of_names_and_commands() {
    let (dir, server) = hostile_site(&["--write"]);
    let mut client = Client::anonymous(&server);
    // 10,000 directories in one go, sent ahead.
    let mut sender = client.control.get_ref().try_clone().unwrap();
    let flood: String = (0..10_000).map(|number| format!("MKD directory-{number:05}\r\n")).collect();
    let sending = std::thread::spawn(move || sender.write_all(flood.as_bytes()).unwrap());
    for _ in 0..10_000 {
        client.expect(257);
    }
    sending.join().unwrap();
    let listing = client.get("MLSD").unwrap();
    assert_eq!(listing.iter().filter(|byte| **byte == b'\n').count(), 10_000);
    let listing = client.get("NLST *-0999?").unwrap();
    assert_eq!(listing.iter().filter(|byte| **byte == b'\n').count(), 10);
    // The worst pattern over the longest names is still quick (CVE-2011-0762).
    let begin = Instant::now();
    client.get(&format!("NLST {}b", "*-".repeat(100))).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10));
    // Lines without end, binary noise, and unknown commands: answered briefly, then the connection ends.
    for noise in [vec![b'A'; 10_000_000], b"\x16\x03\x01\x02\x00\r\n".repeat(100), b"XYZZY\r\n".repeat(1000)] {
        let mut client = Client::connect(server.addr);
        let mut sender = client.control.get_ref().try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            // The server may close before it is all sent.
            drop(sender.write_all(&noise));
            drop(sender.write_all(b"\r\nQUIT\r\n"));
        });
        let mut replies = Vec::new();
        drop(client.control.read_to_end(&mut replies));
        assert!(replies.len() < 2000, "{}", String::from_utf8_lossy(&replies));
        sending.join().unwrap();
    }
    client.ask("NOOP", 200);
    assert_eq!(names(&dir.path().join("outside")), ["secret"]);
}

#[test]
fn many_idle_connections_leave_room() {
    let (_dir, server) = hostile_site(&["--max-per-address", "50", "--max-clients", "101"]);
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(Client::connect(server.addr));
    }
    // One more from here is turned away at once, instead of waiting for ever.
    let mut answer = String::new();
    TcpStream::connect(server.addr).unwrap().read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("421 "), "{answer}");
    // Another address still gets in.
    let mut greeting = String::new();
    connect([127, 0, 0, 3], server.addr).read_line(&mut greeting).unwrap();
    assert!(greeting.starts_with("220 "), "{greeting}");
}

/// The data connection of a killed client ends like that of one that is done; the control connection follows. Nothing short
/// gets a name; with --keep-partial what came is kept, and continued by the same user alone.
#[test]
fn crash_of_a_client_stores_nothing_short() {
    let (dir, server) = hostile_site(&["--write"]);
    let (kept_dir, kept) = hostile_site(&["--write", "--keep-partial"]);
    let work = temp_dir();
    let whole: Vec<u8> = (0..400_000u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    std::fs::write(work.path().join("x"), &whole).unwrap();
    let mut left = 0;
    for round in rounds(40, 10) {
        for server in [&server, &kept] {
            let to = format!("ftp://{}/f{round}", server.addr);
            let mut client = Command::new(binary("ftpput"))
                .args(["-q", "--in-place", "--no-resume", "--rate", "2M", "x", &to])
                .current_dir(work.path())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(20 + round as u64 * 13 % 180));
            client.kill().unwrap();
            client.wait().unwrap();
        }
    }
    // Whoever comes now comes after the ends of all others.
    for server in [&server, &kept] {
        Client::anonymous(server).ask("NOOP", 200);
    }
    std::thread::sleep(Duration::from_millis(100));
    for name in names(&dir.path().join("served")) {
        let size = std::fs::metadata(dir.path().join("served").join(&name)).unwrap().len();
        assert_eq!(size, whole.len() as u64, "{name}");
    }
    for name in names(&kept_dir.path().join("served")) {
        let bytes = std::fs::read(kept_dir.path().join("served").join(&name)).unwrap();
        assert!(whole.starts_with(&bytes), "{name}");
        if bytes.len() < whole.len() {
            left += 1;
            let mut client = Client::anonymous(&kept);
            assert!(client.ask(&format!("SIZE {name}"), 213).ends_with(&bytes.len().to_string()));
            client.ask(&format!("REST {}", bytes.len()), 350);
            assert!(client.put(&name, &whole[bytes.len()..]).starts_with("226"), "{name}");
            assert!(std::fs::read(kept_dir.path().join("served").join(&name)).unwrap() == whole, "{name}");
            // Now it is whole, and nobody writes behind its end.
            let _data = client.data();
            client.ask(&format!("APPE {name}"), 554);
            client.ask("REST 5", 350);
            let _data = client.data();
            client.ask(&format!("STOR {name}"), 554);
        }
    }
    assert!(left > 0, "no client was killed in the middle");
}

/// FileZilla and WinSCP after a cut connection, command by command: both look at the size that is there, the one goes on with
/// REST and STOR, the other with APPE.
#[test]
fn graphical_clients_continue_what_was_cut() {
    let (dir, server) = hostile_site(&["--write", "--keep-partial"]);
    let served = dir.path().join("served");
    let whole: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let begin = |commands: &[(&str, u16)]| {
        let mut client = Client::connect(server.addr);
        for (command, code) in [("USER anonymous", 331), ("PASS me@", 230), ("SYST", 215), ("FEAT", 211)] {
            client.ask(command, code);
        }
        for (command, code) in commands {
            client.ask(command, *code);
        }
        client
    };
    let filezilla = || begin(&[("OPTS UTF8 ON", 200), ("CLNT FileZilla", 200), ("PWD", 257), ("TYPE I", 200)]);
    let winscp = || begin(&[("OPTS UTF8 ON", 200), ("PWD", 257), ("CWD /", 250), ("TYPE I", 200)]);
    for (name, start, way) in [("f", &filezilla as &dyn Fn() -> Client, "STOR"), ("w", &winscp, "APPE")] {
        let came = loop {
            let mut client = start();
            client.ask("ALLO 300000", 202);
            let mut data = client.data();
            client.ask(&format!("STOR {name}"), 150);
            data.write_all(&whole[..200_000]).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            drop((data, client));
            let deadline = Instant::now() + Duration::from_secs(20);
            while !served.join(name).exists() {
                assert!(Instant::now() < deadline, "{server}");
                std::thread::sleep(Duration::from_millis(5));
            }
            // What the server had not read when its client was gone is not kept.
            match std::fs::metadata(served.join(name)).unwrap().len() as usize {
                0 => std::fs::remove_file(served.join(name)).unwrap(),
                came => break came,
            }
        };
        // Written by somebody else, no upload of ours, and as large.
        std::fs::write(served.join("old"), &whole[..came]).unwrap();
        for (name, code) in [(name, "226"), ("old", "554")] {
            let mut client = start();
            let listing = String::from_utf8(client.get("MLSD").unwrap()).unwrap();
            let line = listing.lines().find(|line| line.ends_with(&format!("; {name}"))).unwrap();
            assert!(line.to_ascii_lowercase().contains(&format!("size={came};")), "{line}");
            client.ask(&format!("SIZE {name}"), 213);
            client.ask(&format!("MDTM {name}"), 213);
            let mut data = client.data();
            if way == "STOR" {
                client.ask(&format!("REST {came}"), 350);
            }
            client.send(&format!("{way} {name}\r\n"));
            let mut reply = client.reply();
            if reply.starts_with("150") {
                data.write_all(&whole[came..]).unwrap();
                drop(data);
                reply = client.reply();
            }
            assert!(reply.starts_with(code), "{way} {name}: {reply}");
            if code == "226" {
                client.ask(&format!("MFMT 20200229120000 {name}"), 213);
            }
        }
        assert!(std::fs::read(served.join(name)).unwrap() == whole, "{name}");
        assert!(std::fs::read(served.join("old")).unwrap() == whole[..came], "{name}");
    }
}

#[test]
fn uploads_do_not_fill_the_disk() {
    let (dir, server) = hostile_site(&["--write", "--append", "--max-file-size", "1M"]);
    let mut client = Client::anonymous(&server);
    assert!(client.put("fits", &vec![1; 1 << 20]).starts_with("226"));
    client.ask("ALLO 1048577", 552);
    client.ask("ALLO 1048576", 202);
    let mut data = client.data();
    client.ask("STOR toolarge", 150);
    let chunk = vec![1; 64 << 10];
    while data.write_all(&chunk).is_ok() {}
    client.expect(552);
    let mut data = client.data();
    client.ask("APPE fits", 150);
    drop(data.write_all(&[1; 10]));
    drop(data);
    client.expect(552);
    assert_eq!(names(&dir.path().join("served")), ["fits"]);
}
