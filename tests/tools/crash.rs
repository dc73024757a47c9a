//! kill -9 at every step: what was promised is delivered or queued. Servers and runners are killed at a known point of the
//! dialogue by the peer they talk to. Short in the normal run, many rounds in `make soak`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use applayer::queue::sqlite::{Process, SqliteStore};
use applayer::queue::store::{Filter, QueueStore};

use crate::harness::{LIMIT, binary, memory_dir, rounds, server, tool};
use crate::queue::{Sink, block_on, enqueue};
use crate::random::{Random, first_seed};

/// The subjects of all that is queued; fails if a message cannot be read to its end.
pub(crate) fn queued_subjects(queue: &Path) -> BTreeMap<String, bool> {
    block_on(async {
        let store = SqliteStore::open(queue, Process::OneShot).unwrap();
        let mut subjects = BTreeMap::new();
        for entry in store.list(Filter::default(), None, 1_000_000).await.unwrap().entries {
            let body = store.content(entry.id).await.unwrap().expect("a body for each message");
            let mut text = String::new();
            body.open_at(0).read_to_string(&mut text).unwrap();
            assert_eq!(text.len() as u64, entry.size_bytes, "{} is whole", entry.id);
            assert!(text.ends_with("END\r\n"), "{} is whole", entry.id);
            let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default();
            let duplicate = entry.envelope.recipients.iter().any(|recipient| recipient.possible_duplicate);
            subjects.insert(subject.to_owned(), duplicate);
        }
        subjects
    })
}

pub(crate) fn body(subject: &str, size: usize) -> String {
    format!("Subject: {subject}\r\n\r\n{}END\r\n", "0123456789abcde\r\n".repeat(size / 17))
}

/// Sends messages over one connection until it breaks; each subject goes to `promised` as soon as its 250 was read.
pub(crate) fn submit(address: SocketAddr, client: usize, size: usize, promised: &mpsc::Sender<String>) -> Option<()> {
    submit_to(address, ["b@b.test", "bob@bob.test"], client, size, promised)
}

/// As [`submit`], to these recipients.
pub(crate) fn submit_to(
    address: SocketAddr,
    [first, second]: [&str; 2],
    client: usize,
    size: usize,
    promised: &mpsc::Sender<String>,
) -> Option<()> {
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
        let group = format!("MAIL FROM:<a@a.test>\r\nRCPT TO:<{first}>\r\nRCPT TO:<{second}>\r\nDATA\r\n");
        stream.write_all(group.as_bytes()).ok()?;
        (expect("250"), expect("250"), expect("250"), expect("354")).3?;
        stream.write_all(format!("{}.\r\n", body(&subject, size)).as_bytes()).ok()?;
        expect("250")?;
        promised.send(subject).ok()?;
    }
    None
}

#[test]
fn crash_of_smtpserve_loses_nothing_it_said_250_to() {
    for seed in rounds(4, 10).map(|round| first_seed() + round as u64) {
        let mut random = Random(seed);
        let (queue, mail) = (memory_dir(), memory_dir());
        for folder in ["tmp", "new", "cur"] {
            std::fs::create_dir_all(mail.path().join("bob").join(folder)).unwrap();
        }
        let smtpserve = server("smtpserve")
            .args(["--relay-from", "127.0.0.0/8", "--domain", "bob.test", "--queue-dir"])
            .arg(queue.path())
            .arg("--mailboxes")
            .arg(mail.path())
            .start();
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
        let mut delivered = BTreeSet::new();
        for file in std::fs::read_dir(mail.path().join("bob/new")).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(text.ends_with("\nEND\n"), "seed {seed}: half a message: {} bytes", text.len());
            delivered.insert(subject(&text));
        }
        let lost: Vec<_> = kept.iter().filter(|subject| !delivered.contains(*subject)).collect();
        assert!(lost.is_empty(), "seed {seed}: promised to the mailbox and lost: {lost:?}");
        // The next runner clears up what the dead server left, and nothing else.
        collect(queue.path());
        assert_eq!(queued_subjects(queue.path()), queued, "seed {seed}");
    }
}

/// What a runner does first; then no body may be without a message, and no owner without a process.
pub(crate) fn collect(queue: &Path) {
    block_on(async {
        let store = SqliteStore::open(queue, Process::OneShot).unwrap();
        store.recover(Vec::new()).await.unwrap();
        let counts = store.count(Filter::default()).await.unwrap();
        assert_eq!(counts.active, 0, "all leases of the dead are back");
    });
    let large = block_on(async {
        let store = SqliteStore::open(queue, Process::OneShot).unwrap();
        let entries = store.list(Filter::default(), None, 1_000_000).await.unwrap().entries;
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
    for seed in rounds(8, 10) {
        let point = POINTS[seed % POINTS.len()];
        let queue = memory_dir();
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

pub(crate) fn subject(data: &str) -> String {
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
