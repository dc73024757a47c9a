//! kill -9 at every step: what was promised is delivered or queued. Servers and runners are killed at a known point of the
//! dialogue by the peer they talk to; under load, processes that use the store as the tools do are killed anywhere.
//! Short in the normal run, thousands of rounds in `make soak`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use applayer::queue::entry::{Attempt, NewMessage, NewRecipient, QueueId, State, Time};
use applayer::queue::sqlite::{SqliteStore, Use, now};
use applayer::queue::store::{Change, Claim, Filter, Outcome, QueueStore, Settlement};

use crate::harness::{LIMIT, binary, rounds, server, temp_dir, tool};
use crate::queue::{Sink, block_on, enqueue};

/// A small generator, so that a round can be repeated from its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The first seed of a run; `APPLAYER_SEED` repeats one.
fn first_seed() -> u64 {
    std::env::var("APPLAYER_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// The subjects of all that is queued; fails if a message cannot be read to its end.
pub(crate) fn queued_subjects(queue: &Path) -> BTreeMap<String, bool> {
    block_on(async {
        let store = SqliteStore::open(queue, Use::Brief).unwrap();
        let mut subjects = BTreeMap::new();
        for entry in store.list(Filter::default(), None, 1_000_000).await.unwrap() {
            let body = store.content(entry.id).await.unwrap().expect("a body for each message");
            let mut text = String::new();
            body.open().unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text.len() as u64, entry.size_bytes, "{} is whole", entry.id);
            assert!(text.ends_with("END\r\n"), "{} is whole", entry.id);
            let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default();
            let duplicate = entry.recipients.iter().any(|recipient| recipient.possible_duplicate);
            subjects.insert(subject.to_owned(), duplicate);
        }
        subjects
    })
}

pub(crate) fn body(subject: &str, size: usize) -> String {
    format!("Subject: {subject}\r\n\r\n{}END\r\n", "0123456789abcde\r\n".repeat(size / 17))
}

/// Sends messages over one connection until it breaks; each subject goes to `promised` as soon as its 250 was read.
fn submit(address: SocketAddr, client: usize, size: usize, promised: &mpsc::Sender<String>) -> Option<()> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut expect = |code: &str| -> Option<()> {
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.get(3..4) == Some(" ") {
                assert!(line.starts_with(code), "{line:?}");
                return Some(());
            }
        }
    };
    expect("220")?;
    stream.write_all(b"EHLO client.test\r\n").ok()?;
    expect("250")?;
    for number in 0.. {
        let subject = format!("{client}-{number}");
        stream.write_all(b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n").ok()?;
        (expect("250"), expect("250"), expect("354")).2?;
        stream.write_all(format!("{}.\r\n", body(&subject, size)).as_bytes()).ok()?;
        expect("250")?;
        promised.send(subject).ok()?;
    }
    None
}

#[test]
fn crash_of_smtpserve_loses_nothing_it_said_250_to() {
    for seed in first_seed()..first_seed() + rounds(4) as u64 {
        let mut random = Random(seed);
        let queue = temp_dir();
        let smtpserve =
            server("smtpserve").args(["--relay-from", "127.0.0.0/8", "--queue-dir"]).arg(queue.path()).start();
        let (promise, promised) = mpsc::channel();
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (address, promise) = (smtpserve.addr, promise.clone());
                let size = if client == 0 { 100_000 } else { 2_000 };
                std::thread::spawn(move || {
                    let _ = submit(address, client, size, &promise);
                })
            })
            .collect();
        drop(promise);
        let wanted = random.below(30);
        let mut kept: Vec<String> = promised.iter().take(wanted as usize).collect();
        smtpserve.kill();
        kept.extend(promised.iter());
        for client in clients {
            client.join().unwrap();
        }
        let queued = queued_subjects(queue.path());
        let lost: Vec<_> = kept.iter().filter(|subject| !queued.contains_key(*subject)).collect();
        assert!(lost.is_empty(), "seed {seed}: promised and lost: {lost:?}");
        // The next runner clears up what the dead server left, and nothing else.
        collect(queue.path());
        assert_eq!(queued_subjects(queue.path()), queued, "seed {seed}");
    }
}

/// What a runner does first; then no body may be without a message, and no owner without a process.
fn collect(queue: &Path) {
    block_on(async {
        let store = SqliteStore::open(queue, Use::Brief).unwrap();
        store.recover().await.unwrap();
        let counts = store.count(Filter::default()).await.unwrap();
        assert_eq!(counts.active, 0, "all leases of the dead are back");
    });
    let large = block_on(async {
        let store = SqliteStore::open(queue, Use::Brief).unwrap();
        let entries = store.list(Filter::default(), None, 1_000_000).await.unwrap();
        entries.iter().filter(|entry| entry.size_bytes > 64 * 1024).count()
    });
    let count = |folder: &str| std::fs::read_dir(queue.join(folder)).unwrap().count();
    assert_eq!(count("body"), large, "a file for each large body, and no other");
    assert_eq!(count("owners"), 0, "no file of a dead owner");
}

/// The steps of a delivery at which the runner is killed, as its peer sees them: the line it has just received, or what
/// it has just sent.
const POINTS: [&str; 8] = ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "taken", "answered", "quit"];

#[test]
fn crash_of_mailq_run_at_every_step_of_a_delivery() {
    for seed in 0..rounds(8) {
        let point = POINTS[seed % POINTS.len()];
        let queue = temp_dir();
        let messages: Vec<String> =
            (0..5).map(|number| body(&number.to_string(), if number == 3 { 90_000 } else { 500 })).collect();
        let messages: Vec<(&str, &[&str], &str)> =
            messages.iter().map(|body| ("a@a.test", &["b@b.test"][..], body.as_str())).collect();
        enqueue(queue.path(), &messages);

        let (reached, told) = mpsc::channel();
        let reached = Mutex::new(Some(reached));
        let seen = Mutex::new(0);
        // The third time, so that messages before and behind it are under way.
        let at = if matches!(point, "greeting" | "EHLO" | "quit") { 1 } else { 3 };
        let stop = move || {
            let mut seen = seen.lock().unwrap();
            *seen += 1;
            if *seen == at
                && let Some(reached) = reached.lock().unwrap().take()
            {
                let _ = reached.send(());
                // Long enough to be killed; the connection then breaks.
                std::thread::sleep(Duration::from_millis(300));
            }
        };
        let first = Sink::new(move |line| {
            let here = match point {
                "taken" => line == ".",
                "answered" => line.starts_with("MAIL"),
                "quit" => line == "quit",
                point => line.starts_with(point),
            };
            if here {
                stop();
            }
            None
        });
        let mut runner = spawn_runner(queue.path(), &first);
        if point != "quit" {
            told.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{point}: never reached"));
        } else {
            while first.mails().len() < 5 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        runner.kill().unwrap();
        runner.wait().unwrap();
        let delivered: Vec<String> = first.mails().iter().map(|mail| subject(&mail.data)).collect();
        let queued = queued_subjects(queue.path());
        for number in 0..5 {
            let name = number.to_string();
            assert!(delivered.contains(&name) || queued.contains_key(&name), "{point}: message {name} is lost");
        }
        collect(queue.path());
        for (name, possible_duplicate) in queued_subjects(queue.path()) {
            let twice = delivered.contains(&name);
            assert!(!twice || possible_duplicate, "{point}: message {name} may come twice and nothing says so");
        }
        let second = Sink::taking_all();
        let done = tool("mailq-run")
            .args(["--flush", "--json", "--helo", "client.test", "--route", &second.route(), "--queue-dir"])
            .arg(queue.path())
            .run();
        done.exits(0);
        let all: BTreeSet<String> =
            first.mails().iter().chain(&second.mails()).map(|mail| subject(&mail.data)).collect();
        assert_eq!(all.len(), 5, "{point}: each message arrives at least once");
        assert!(queued_subjects(queue.path()).is_empty(), "{point}");
        let said = done.records_of("attempt").iter().filter(|attempt| attempt["possible_duplicate"] == true).count();
        let twice = second.mails().iter().filter(|mail| delivered.contains(&subject(&mail.data))).count();
        assert!(said >= twice, "{point}: {twice} repeated, {said} marked");
    }
}

fn subject(data: &str) -> String {
    data.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned()
}

fn spawn_runner(queue: &Path, sink: &Sink) -> Child {
    let mut command = Command::new(binary("mailq-run"));
    command
        .args(["--per-destination", "1", "--helo", "client.test", "--route", &sink.route(), "--queue-dir"])
        .arg(queue);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// What a process of the load test does; the parent runs this test binary with this in the environment.
const ROLE: &str = "APPLAYER_TEST_CRASH_ROLE";
const ROLES: [&str; 5] = ["enqueue", "enqueue", "run", "edit", "collect"];

/// The other side of [`crash_of_anybody_under_load_loses_no_promise`]: not a test of its own. It says each step on stdout
/// before it takes responsibility away from the queue, and after the queue has taken it.
#[test]
fn crash_driver() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut parts = role.split(' ');
    let (role, seed) = (parts.next().unwrap(), parts.next().unwrap().parse().unwrap());
    let queue = parts.next().unwrap().to_owned();
    let say = |line: String| {
        // One write a line: what the parent reads is whole.
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(format!("\n{line}\n").as_bytes()).and_then(|()| stdout.flush()).unwrap();
    };
    block_on(drive(role, Path::new(&queue), Random(seed), &say));
}

async fn drive(role: &str, queue: &Path, mut random: Random, say: &(dyn Fn(String) + Sync)) {
    let store = SqliteStore::open(queue, Use::Lasting).unwrap();
    for number in 0_u64.. {
        match role {
            "enqueue" => {
                let mut messages = Vec::new();
                for _ in 0..=random.below(3) {
                    let size = if random.below(4) == 0 { 70_000 } else { 300 };
                    let subject = format!("{:x}", random.next());
                    let mut spool = store.spool().unwrap();
                    spool.write_all(body(&subject, size).as_bytes()).unwrap();
                    let recipients: Vec<_> = (0..=random.below(2))
                        .map(|n| NewRecipient::new(format!("r{n}@d{}.test", random.below(3))))
                        .collect();
                    let count = recipients.len();
                    messages.push(((subject, count), NewMessage::new("a@a.test", recipients, spool.finish().unwrap())));
                }
                let (subjects, messages): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
                let ids = store.enqueue(messages).await.unwrap();
                for ((subject, count), id) in subjects.iter().zip(ids) {
                    say(format!("promised {id} {subject} {count}"));
                }
            }
            "run" => run_once(&store, &mut random, say).await,
            "edit" => {
                let entries = store.list(Filter::default(), None, 20).await.unwrap();
                let Some(entry) = entries.get(random.below(20) as usize) else { continue };
                let wanted = Filter { ids: vec![entry.id], ..Filter::default() };
                let change = match random.below(4) {
                    0 => Change::Hold,
                    1 => Change::Release(now()),
                    2 => Change::Retry(now()),
                    _ if number % 5 == 0 => {
                        for recipient in &entry.recipients {
                            say(format!("gone {} {}", entry.id, recipient.n));
                        }
                        Change::Remove
                    }
                    _ => Change::Release(now()),
                };
                store.edit(wanted, change).await.unwrap();
            }
            _ => {
                store.recover().await.unwrap();
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Claims some, and settles them in all ways; a delivery is said after the lease was asked for a last time, as the final
/// dot is sent.
async fn run_once(store: &SqliteStore, random: &mut Random, say: &(dyn Fn(String) + Sync)) {
    let claim = Claim {
        domain: format!("d{}.test", random.below(3)),
        due_until: Time(i64::MAX),
        now: now(),
        limit: 4,
        newest_first: false,
        wanted: Filter::default(),
    };
    for unit in store.claim(claim).await.unwrap() {
        let leases: Vec<_> = unit.recipients.iter().map(|recipient| recipient.lease.clone()).collect();
        let mut settlement = Settlement::default();
        let kind = random.below(5);
        if kind < 3 && !store.renew(leases.clone()).await.unwrap().iter().all(|held| *held) {
            continue;
        }
        for lease in leases {
            let outcome = match kind {
                0..3 => {
                    say(format!("gone {} {}", lease.message, lease.n));
                    Outcome::Delivered(Attempt::default())
                }
                3 => Outcome::Deferred {
                    attempt: Attempt::default(),
                    due: now(),
                    possible_duplicate: false,
                    warned: false,
                },
                _ => Outcome::Yielded,
            };
            settlement.outcomes.push((lease, outcome));
        }
        store.settle(vec![settlement]).await.unwrap();
    }
}

#[test]
fn crash_of_anybody_under_load_loses_no_promise() {
    for seed in first_seed()..first_seed() + rounds(10) as u64 {
        let queue = temp_dir();
        let mut random = Random(seed);
        let (line, lines) = mpsc::channel();
        let mut children: Vec<Child> =
            ROLES.iter().map(|role| spawn_driver(role, random.next(), queue.path(), &line)).collect();
        drop(line);
        let mut said: Vec<String> = Vec::new();
        let mut promises = 0;
        // One after the other dies, each after a few more promises; the last ones with nobody left to see it.
        while !children.is_empty() {
            let until = promises + random.below(8);
            while promises < until {
                let next = lines.recv_timeout(Duration::from_millis(200)).unwrap_or_default();
                if next.is_empty() && !said.is_empty() {
                    break;
                }
                promises += u64::from(next.starts_with("promised"));
                said.push(next);
            }
            let mut child = children.swap_remove(random.below(children.len() as u64) as usize);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        said.extend(lines.iter());

        let mut gone: BTreeSet<(String, u32)> = BTreeSet::new();
        let mut promised: BTreeMap<String, (String, u32)> = BTreeMap::new();
        for line in &said {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["promised", id, subject, count] => {
                    promised.insert(id.to_owned(), (subject.to_owned(), count.parse().unwrap()));
                }
                ["gone", id, n] => {
                    gone.insert((id.to_owned(), n.parse().unwrap()));
                }
                _ => {}
            }
        }
        collect(queue.path());
        let subjects = queued_subjects(queue.path());
        let left: BTreeMap<String, _> = block_on(async {
            let store = SqliteStore::open(queue.path(), Use::Brief).unwrap();
            let entries = store.list(Filter::default(), None, 1_000_000).await.unwrap();
            entries.into_iter().map(|entry| (entry.id.to_string(), entry)).collect()
        });
        for (id, (subject, count)) in &promised {
            match left.get(id) {
                None => {
                    let all = (0..*count).all(|n| gone.contains(&(id.clone(), n)));
                    assert!(all, "seed {seed}: {id} is lost");
                }
                Some(entry) => {
                    assert!(subjects.contains_key(subject), "seed {seed}: {id} has another body");
                    for recipient in &entry.recipients {
                        let ended = recipient.state.is_final();
                        let told = gone.contains(&(id.clone(), recipient.n));
                        assert!(!ended || told, "seed {seed}: {id} recipient {} is lost", recipient.n);
                        assert_ne!(recipient.state, State::Active, "seed {seed}: {id}");
                    }
                }
            }
            assert!(id.parse::<QueueId>().is_ok());
        }
        assert!(!promised.is_empty() || seed > 1, "the drivers did something");
    }
}

fn spawn_driver(role: &str, seed: u64, queue: &Path, line: &mpsc::Sender<String>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["crash::crash_driver", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, format!("{role} {seed} {}", queue.display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let line = line.clone();
    std::thread::spawn(move || {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            if text.starts_with("promised") || text.starts_with("gone") {
                drop(line.send(text));
            }
        }
    });
    child
}

#[test]
fn crash_rounds_are_the_same_from_the_same_seed() {
    let draw = |seed| {
        let mut random = Random(seed);
        (0..5).map(|_| random.below(1000)).collect::<Vec<_>>()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
    assert_eq!(Arc::new(POINTS).len(), 8);
}
