//! ftpget and ftpput, killed or robbed of their server at a chosen byte of a data connection, again and again: the same
//! command continues, a file never appears half, and what is there in the end is what the source holds then.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::harness::{LIMIT, Server, binary, rounds, server, temp_dir, wait};
use crate::random::Random;

/// Where the relay listens; the server is at 127.0.0.1, with the same data ports.
const RELAY: &str = "127.0.0.2";
const DATA_PORTS: u16 = 6;

/// Carries the control and the data connections. When as many bytes as it was given have passed on data connections, it
/// says so and holds everything.
pub(crate) struct Relay {
    control: SocketAddr,
    data: (u16, u16),
    shared: Arc<Shared>,
    reached: mpsc::Receiver<()>,
}

struct Shared {
    /// The server's control port of today.
    server: Mutex<SocketAddr>,
    left: AtomicI64,
    /// How many clients and servers have been killed or have ended; and how many had when the bytes were allowed.
    deaths: AtomicI64,
    known_deaths: AtomicI64,
    reached: mpsc::Sender<()>,
}

impl Relay {
    pub(crate) fn start() -> Relay {
        let (listeners, first) = 'free: loop {
            let listener = TcpListener::bind((RELAY, 0)).unwrap();
            let first = listener.local_addr().unwrap().port();
            let mut listeners = vec![listener];
            for step in 1..DATA_PORTS {
                match first.checked_add(step).and_then(|port| TcpListener::bind((RELAY, port)).ok()) {
                    Some(listener) => listeners.push(listener),
                    None => continue 'free,
                }
            }
            break (listeners, first);
        };
        let control = TcpListener::bind((RELAY, 0)).unwrap();
        let (sender, reached) = mpsc::channel();
        let shared = Arc::new(Shared {
            server: Mutex::new(SocketAddr::from(([127, 0, 0, 1], 9))),
            left: AtomicI64::new(i64::MAX),
            deaths: AtomicI64::new(0),
            known_deaths: AtomicI64::new(0),
            reached: sender,
        });
        let address = control.local_addr().unwrap();
        for (listener, port) in listeners.into_iter().zip(first..).map(|(l, p)| (l, Some(p))).chain([(control, None)]) {
            let shared = shared.clone();
            thread::spawn(move || {
                for near in listener.incoming().map_while(Result::ok) {
                    // What a client left that was killed must not take the data port of the next one.
                    near.set_nonblocking(true).unwrap();
                    if near.peek(&mut [0]).is_ok_and(|count| count == 0) {
                        continue;
                    }
                    near.set_nonblocking(false).unwrap();
                    let to = *shared.server.lock().unwrap();
                    let Ok(far) = TcpStream::connect((to.ip(), port.unwrap_or(to.port()))) else { continue };
                    for (from, to) in [(&near, &far), (&far, &near)] {
                        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                        let shared = shared.clone();
                        thread::spawn(move || shared.pump(from, to, port.is_some()));
                    }
                }
            });
        }
        Relay { control: address, data: (first, first + DATA_PORTS - 1), shared, reached }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("ftp://{}/{path}", self.control)
    }

    /// A server behind the relay.
    pub(crate) fn serve(&self, root: &Path) -> Server {
        let ports = format!("{}-{}", self.data.0, self.data.1);
        let server = server("ftpserve").args(["--write", "--keep-partial", "--pasv-ports", &ports]).arg(root).start();
        *self.shared.server.lock().unwrap() = server.addr;
        server
    }

    /// So many bytes may pass from now on.
    pub(crate) fn allow(&self, bytes: i64) {
        while self.reached.try_recv().is_ok() {}
        self.shared.known_deaths.store(self.shared.deaths.load(Ordering::SeqCst), Ordering::SeqCst);
        self.shared.left.store(bytes, Ordering::SeqCst);
    }
}

impl Shared {
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, counted: bool) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let before = match counted {
                true => self.left.fetch_sub(count as i64, Ordering::SeqCst),
                false => i64::MAX,
            };
            let allowed = usize::try_from(before.clamp(0, count as i64)).unwrap();
            if to.write_all(&buffer[..allowed]).is_err() {
                break;
            }
            if allowed < count {
                let _ = self.reached.send(());
                // The rest goes nowhere. The end of a file is not the end of its sender, so it is held back until one side is dead.
                while matches!(from.read(&mut buffer), Ok(1..)) {}
                let (held, known) = (Instant::now(), self.known_deaths.load(Ordering::SeqCst));
                while self.deaths.load(Ordering::SeqCst) <= known && held.elapsed() < LIMIT {
                    thread::sleep(Duration::from_millis(1));
                }
                break;
            }
        }
        drop(to.shutdown(std::net::Shutdown::Both));
        drop(from.shutdown(std::net::Shutdown::Both));
    }
}

/// Bytes that no other seed has.
pub(crate) fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9));
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn write(path: &Path, bytes: &[u8], seconds: u64) {
    std::fs::write(path, bytes).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

pub(crate) fn spawn(name: &str, args: &[&str], dir: &Path) -> Child {
    let mut command = Command::new(binary(name));
    command.args(args).current_dir(dir).env_clear().env("HOME", dir).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs a command until it ends or its bytes have passed; then it or the server is killed. Status and standard output
/// where it ended by itself.
pub(crate) fn until_killed(relay: &Relay, mut child: Child, victim: Option<Server>) -> Option<(i32, String)> {
    let ended = loop {
        if relay.reached.recv_timeout(Duration::from_millis(1)).is_ok() {
            break false;
        }
        if child.try_wait().unwrap().is_some() {
            break true;
        }
    };
    let robbed = victim.is_some();
    match victim {
        Some(server) if !ended => server.kill(),
        _ if !ended => child.kill().unwrap(),
        _ => {}
    }
    relay.shared.deaths.fetch_add(1, Ordering::SeqCst);
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let mut complaint = String::new();
    child.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
    let (status, hung) = wait(child, LIMIT);
    assert!(!hung, "hangs");
    if !ended && robbed {
        assert_eq!(status.code(), Some(75), "robbed of its server\n{complaint}");
    }
    ended.then(|| (status.code().unwrap(), format!("{said}{complaint}")))
}

pub(crate) fn seed() -> u64 {
    std::env::var("APPLAYER_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The file that JSON says was resumed.
fn resumed(said: &str) -> bool {
    said.contains("\"resumed_from_bytes\":") && !said.contains("\"resumed_from_bytes\":0")
}

#[test]
fn a_download_survives_any_crash_of_either_side() {
    let (root, work) = (temp_dir(), temp_dir());
    let relay = Relay::start();
    let mut random = Random(seed());
    let mut server = Some(relay.serve(root.path()));
    let (mut version, mut changed) = (0u64, false);
    let (mut whole, mut size) = (Vec::new(), 0);
    let (mut finished, mut continued) = (0, 0);
    let url = relay.url("x");
    for _ in rounds(40, 20) {
        if version == 0 || random.below(12) == 0 {
            version += 1;
            // Larger than what is not worth remembering, often cut in the middle.
            size = 300_000 + random.below(900_000);
            whole = content(version, size as usize);
            write(&root.path().join("x"), &whole, 1_600_000_000 + version);
            changed = true;
        }
        relay.allow(random.below(size * 3 / 2) as i64);
        let args: &[&str] = if random.below(4) == 0 { &["--json", "--retry", "0", &url] } else { &["--json", &url] };
        let child = spawn("ftpget", args, work.path());
        let rob = random.below(2) == 0;
        let ended = until_killed(&relay, child, if rob { server.take() } else { None });
        let there = std::fs::read(work.path().join("x")).ok();
        match &ended {
            Some((0, said)) => {
                assert!(there.as_deref() == Some(&whole[..]), "seed {}: {said}", seed());
                finished += 1;
                continued += usize::from(resumed(said));
                changed = false;
                std::fs::remove_file(work.path().join("x")).unwrap();
            }
            Some((status, said)) => panic!("seed {}: status {status}: {said}", seed()),
            // What stood there before stays until the new file is whole.
            None => assert!(there.is_none_or(|there| there == whole), "seed {}: half a file appeared", seed()),
        }
        if server.is_none() {
            server = Some(relay.serve(root.path()));
        }
    }
    relay.allow(i64::MAX);
    let (status, said) = until_killed(&relay, spawn("ftpget", &["--json", &url], work.path()), None).unwrap();
    assert_eq!(status, 0, "{said}");
    assert!(std::fs::read(work.path().join("x")).unwrap() == whole, "{said}");
    assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 1, "no part is left\n{said}");
    assert!(finished > 0 && continued > 0, "finished {finished}, continued {continued}, changed {changed}");
}

#[test]
fn an_upload_survives_any_crash_of_either_side() {
    let (root, work) = (temp_dir(), temp_dir());
    let relay = Relay::start();
    let mut random = Random(seed().wrapping_add(77));
    let mut server = Some(relay.serve(root.path()));
    let mut version = 0u64;
    let (mut whole, mut size) = (Vec::new(), 0);
    let (mut old, mut finished, mut continued) = (None::<Vec<u8>>, 0, 0);
    let url = relay.url("in/x");
    for _ in rounds(40, 20) {
        if version == 0 || random.below(12) == 0 {
            version += 1;
            size = 300_000 + random.below(900_000);
            whole = content(version + 1000, size as usize);
            // Its own time is old, as tar and rsync leave it; what counts is that it is here since now.
            write(&work.path().join("x"), &whole, 1_600_000_000 + version);
        }
        relay.allow(random.below(size * 3 / 2) as i64);
        let child = spawn("ftpput", &["--json", "x", &url], work.path());
        let rob = random.below(2) == 0;
        let ended = until_killed(&relay, child, if rob { server.take() } else { None });
        let there = std::fs::read(root.path().join("in/x")).ok();
        match &ended {
            Some((0, said)) => {
                assert!(there.as_deref() == Some(&whole[..]), "seed {}: {said}", seed());
                finished += 1;
                continued += usize::from(resumed(said));
                old = there;
            }
            Some((status, said)) => panic!("seed {}: status {status}: {said}", seed()),
            // All bytes may have passed before the end was cut off.
            None => assert!(there == old || there.as_deref() == Some(&whole[..]), "seed {}: half a file", seed()),
        }
        if server.is_none() {
            server = Some(relay.serve(root.path()));
        }
    }
    relay.allow(i64::MAX);
    let (status, said) = until_killed(&relay, spawn("ftpput", &["--json", "x", &url], work.path()), None).unwrap();
    assert_eq!(status, 0, "{said}");
    assert!(std::fs::read(root.path().join("in/x")).unwrap() == whole, "{said}");
    // Parts of the versions before are nobody's.
    let there = std::fs::read_dir(root.path().join("in")).unwrap().count() as u64;
    assert!(there <= version, "{there} of {version}\n{said}");
    assert!(finished > 0 && continued > 0, "finished {finished}, continued {continued}");
}

/// A tree, killed somewhere, is finished by the same command, and what had arrived does not travel again.
#[test]
fn a_mirror_survives_any_crash_of_either_side() {
    let (root, work) = (temp_dir(), temp_dir());
    let relay = Relay::start();
    let mut random = Random(seed().wrapping_add(5));
    let files: Vec<(String, Vec<u8>)> = (0..30u64)
        .map(|number| {
            let size = random.below(60_000) as usize + if number % 10 == 0 { 400_000 } else { 0 };
            (format!("d{}/f{number}", number % 3), content(number, size))
        })
        .collect();
    let total: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    for (name, bytes) in &files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path, bytes, 1_600_000_000);
    }
    let mut server = Some(relay.serve(root.path()));
    let url = relay.url("");
    for _ in rounds(3, 40) {
        let target = temp_dir();
        let (mut runs, mut travelled) = (0, 0u64);
        loop {
            relay.allow((random.below(total / 2) + 20_000) as i64);
            let child = spawn("ftpget", &["--json", "-j2", "-r", "-o", "t", &url], target.path());
            let rob = random.below(2) == 0;
            let ended = until_killed(&relay, child, if rob { server.take() } else { None });
            if server.is_none() {
                server = Some(relay.serve(root.path()));
            }
            runs += 1;
            assert!(runs < 200, "no progress");
            for (name, bytes) in &files {
                if let Ok(found) = std::fs::read(target.path().join("t").join(name)) {
                    assert!(found == *bytes, "half of {name} appeared");
                }
            }
            if let Some((status, said)) = ended {
                assert_eq!(status, 0, "{said}");
                for (name, _) in &files {
                    assert!(target.path().join("t").join(name).exists(), "{name} is missing after {runs} runs: {said}");
                }
                let summary: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
                travelled += summary["transferred_bytes"].as_u64().unwrap();
                assert!(runs == 1 || travelled < total, "all of it travelled again");
                break;
            }
        }
    }
    drop(work);
}
