//! kill -9 under load: processes that use the store as the tools do, several at once on one queue, die at a chosen write,
//! sync or unlink (`tests/data/queue/iolog.c` counts) or at any other moment, and are followed by new ones. What was promised
//! is queued or was passed on, and nothing is passed on twice without saying so.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use applayer::blob::Blob;
use applayer::queue::entry::{AttemptResult, NewMessage, RecipientState, Time};
use applayer::queue::sqlite::{Process, SqliteStore, now};
use applayer::queue::store::{
    Claim, DeliveryBatch, Filter, LeaseOutcome, QueueEdit, QueueStore, SettledLease, Settlement,
};

use crate::crash::{body, collect, queued_subjects};
use crate::harness::{LIMIT, memory_dir, rounds};
use crate::powercut::recorder;
use crate::random::{Random, first_seed};
use applayer::smtp::address::ReversePath;
use applayer::smtp::envelope::Envelope;

use crate::queue::{block_on, delivered, envelope, to};

/// The environment of a process of the test: what it does, its seed, the queue.
const ROLE: &str = "APPLAYER_TEST_CRASH_ROLE";
const ROLES: [&str; 6] = ["enqueue", "enqueue", "run", "run", "edit", "collect"];
/// Deaths on one queue before all is counted.
const DEATHS: usize = 40;

/// The other side of [`crash_of_anybody_under_load_loses_no_promise`]: not a test of its own. It says each step on stdout
/// before it takes responsibility away from the queue, and after the queue has taken it.
#[test]
#[ignore = "the process that other tests start and kill"]
fn crash_driver() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut parts = role.split(' ');
    let (role, seed) = (parts.next().unwrap(), parts.next().unwrap().parse().unwrap());
    let driver = Driver { queue: parts.next().unwrap().to_owned() };
    block_on(driver.drive(role, Random(seed)));
}

/// The process that is killed.
struct Driver {
    queue: String,
}

impl Driver {
    /// One write a line: what the parent reads is whole.
    fn say(&self, line: String) {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(format!("\n: {line}\n").as_bytes()).and_then(|()| stdout.flush()).unwrap();
    }

    /// The transition that is under way from now on.
    fn step(&self, transition: &str) {
        self.say(format!("step {transition}"));
    }

    async fn drive(&self, role: &str, mut random: Random) {
        self.step("open");
        let store = SqliteStore::open(Path::new(&self.queue), Process::LongRunning).unwrap();
        loop {
            match role {
                "enqueue" => self.enqueue(&store, &mut random).await,
                "run" => self.run(&store, &mut random).await,
                "edit" => self.edit(&store, &mut random).await,
                _ => {
                    self.step("recover");
                    store.recover(Vec::new()).await.unwrap();
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }

    async fn enqueue(&self, store: &SqliteStore, random: &mut Random) {
        self.step("enqueue");
        let mut messages = Vec::new();
        for _ in 0..=random.below(3) {
            let size = if random.below(4) == 0 { 70_000 } else { 300 };
            let subject = format!("{:x}", random.next());
            let mut writer = store.new_body().unwrap();
            writer.write_all(body(&subject, size).as_bytes()).unwrap();
            let recipients = (0..=random.below(2)).map(|n| to(format!("r{n}@d{}.test", random.below(3)))).collect();
            let envelope = Envelope { recipients, ..envelope("a@a.test", &[]) };
            let count = envelope.recipients.len();
            messages.push(((subject, count), NewMessage::new(envelope, writer.finish().unwrap())));
        }
        let (subjects, messages): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        let ids = store.enqueue(messages).await.unwrap();
        for ((subject, count), id) in subjects.iter().zip(ids) {
            self.say(format!("promised {id} {subject} {count}"));
        }
    }

    async fn edit(&self, store: &SqliteStore, random: &mut Random) {
        self.step("list");
        let entries = store.list(Filter::default(), None, 20).await.unwrap().entries;
        // Reports are left alone: they are followed by their subject.
        let Some(entry) =
            entries.get(random.below(20) as usize).filter(|entry| entry.envelope.sender != ReversePath::Null)
        else {
            return;
        };
        let (name, change) = match random.below(10) {
            0..3 => ("hold", QueueEdit::Hold),
            3..6 => ("release", QueueEdit::Release(now())),
            6..9 => ("retry", QueueEdit::Retry(now())),
            _ => ("remove", QueueEdit::Remove),
        };
        self.step(name);
        if change == QueueEdit::Remove {
            for recipient in &entry.envelope.recipients {
                self.say(format!("removed {} {}", entry.id, recipient.n));
            }
        }
        let wanted = Filter { ids: vec![entry.id], ..Filter::default() };
        store.edit(wanted, change).await.unwrap();
    }

    /// Claims some, and settles them in all ways; a delivery is said after the lease was asked for a last time, as the
    /// final dot is sent.
    async fn run(&self, store: &SqliteStore, random: &mut Random) {
        self.step("claim");
        let claim = Claim {
            domain: format!("d{}.test", random.below(3)),
            due_until: Time(i64::MAX),
            now: now(),
            limit: 4,
            wanted: Filter::default(),
        };
        for batch in store.claim(claim).await.unwrap().batches {
            let leases: Vec<_> = batch.envelope.recipients.iter().map(|recipient| recipient.lease.clone()).collect();
            let kind =
                ["deliver", "deliver", "deliver", "defer", "yield", "fail", "quarantine"][random.below(7) as usize];
            // A report that fails would be followed by nothing.
            let kind = if batch.envelope.sender == ReversePath::Null && kind == "fail" { "deliver" } else { kind };
            self.step("renew");
            if kind == "deliver" && !store.renew(leases).await.unwrap().iter().all(|held| *held) {
                continue;
            }
            self.settle(store, &batch, kind, random).await;
        }
    }

    async fn settle(&self, store: &SqliteStore, batch: &DeliveryBatch, kind: &'static str, random: &mut Random) {
        self.step(kind);
        let mut settlement = Settlement::default();
        for recipient in &batch.envelope.recipients {
            let (lease, attempt) = (recipient.lease.clone(), AttemptResult::default());
            let outcome = match kind {
                "deliver" => {
                    let mut text = String::new();
                    // The operator may have removed it by now.
                    let Ok(_) = batch.body.open_at(0).take(100).read_to_string(&mut text) else { return };
                    let subject = crate::crash::subject(&text);
                    let twice = u8::from(recipient.possible_duplicate);
                    self.say(format!("sent {} {} {subject} {twice}", lease.message, lease.n));
                    delivered()
                }
                "defer" => {
                    let possible_duplicate = recipient.possible_duplicate;
                    LeaseOutcome::Deferred { attempt, due: now(), possible_duplicate, warned: false }
                }
                "fail" => {
                    let subject = format!("{:x}", random.next());
                    let report = Blob::memory(body(&subject, 300).into_bytes());
                    settlement.reports.push(NewMessage::new(envelope("", &["r0@d0.test"]), report));
                    self.say(format!("fails {} {} {subject}", lease.message, lease.n));
                    LeaseOutcome::Failed(attempt)
                }
                "quarantine" => LeaseOutcome::Quarantined(attempt),
                _ => LeaseOutcome::Yielded,
            };
            settlement.leases.push(SettledLease { lease, outcome });
        }
        store.settle(vec![settlement]).await.unwrap();
    }
}

/// What all processes said of one queue, and what must follow from it.
#[derive(Default)]
struct Story {
    /// By queue id: subject and number of recipients.
    promised: BTreeMap<String, (String, u32)>,
    sent: BTreeSet<(String, u32)>,
    sent_subjects: BTreeSet<String>,
    /// Sent by a runner that did not know of an earlier time.
    first: BTreeMap<(String, u32), u32>,
    removed: BTreeSet<(String, u32)>,
    /// The report of a failure that may or may not have been settled.
    fails: BTreeMap<(String, u32), Vec<String>>,
}

impl Story {
    fn hear(&mut self, line: &str) {
        let key = |id: &str, n: &str| (id.to_owned(), n.parse::<u32>().unwrap());
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["promised", id, subject, count] => {
                self.promised.insert(id.to_owned(), (subject.to_owned(), count.parse().unwrap()));
            }
            ["sent", id, n, subject, twice] => {
                self.sent.insert(key(id, n));
                self.sent_subjects.insert(subject.to_owned());
                *self.first.entry(key(id, n)).or_default() += u32::from(twice == "0");
            }
            ["removed", id, n] => drop(self.removed.insert(key(id, n))),
            ["fails", id, n, subject] => self.fails.entry(key(id, n)).or_default().push(subject.to_owned()),
            _ => {}
        }
    }

    /// Looks for every promise in what is left.
    fn check(&self, queue: &Path, seed: u64) {
        collect(queue);
        let subjects = queued_subjects(queue);
        let left: BTreeMap<String, _> = block_on(async {
            let store = SqliteStore::open(queue, Process::OneShot).unwrap();
            let entries = store.list(Filter::default(), None, 1_000_000).await.unwrap().entries;
            entries.into_iter().map(|entry| (entry.id.to_string(), entry)).collect()
        });
        // A recipient that is no longer there was sent, removed, or its report is there or was sent.
        let ended = |key: &(String, u32)| {
            let reported = |subject: &String| subjects.contains_key(subject) || self.sent_subjects.contains(subject);
            self.sent.contains(key)
                || self.removed.contains(key)
                || self.fails.get(key).is_some_and(|reports| reports.iter().any(reported))
        };
        for (id, (subject, count)) in &self.promised {
            let Some(entry) = left.get(id) else {
                for n in 0..*count {
                    assert!(ended(&(id.clone(), n)), "seed {seed}: {id} is lost");
                }
                continue;
            };
            assert!(subjects.contains_key(subject), "seed {seed}: {id} has another body");
            assert_eq!(entry.envelope.recipients.len(), *count as usize, "seed {seed}: {id}");
            for recipient in &entry.envelope.recipients {
                let key = (id.clone(), recipient.n);
                assert_ne!(recipient.state, RecipientState::Active, "seed {seed}: {id}");
                if recipient.state.is_final() {
                    assert!(ended(&key), "seed {seed}: {id} recipient {} is lost", recipient.n);
                } else {
                    let silent = self.sent.contains(&key) && !recipient.possible_duplicate;
                    assert!(!silent, "seed {seed}: {id} recipient {} may go twice and nothing says so", recipient.n);
                }
            }
        }
        for ((id, n), times) in &self.first {
            assert!(*times <= 1, "seed {seed}: {id} recipient {n} was sent {times} times as if for the first time");
        }
    }
}

/// One process, and what it does at the moment.
struct Running {
    child: Child,
    role: &'static str,
    step: String,
    /// The parent kills it after so many lines; otherwise it dies at a step of its own.
    lines_left: Option<u64>,
}

/// What comes from the process in a slot: a line, or its end.
type Heard = (usize, Option<String>);

#[test]
fn crash_of_anybody_under_load_loses_no_promise() {
    let mut deaths = rounds(2 * DEATHS, 1).peekable();
    let mut seed = first_seed();
    let mut died_in: BTreeMap<String, usize> = BTreeMap::new();
    let mut promises = 0;
    while deaths.peek().is_some() {
        let queue = memory_dir();
        let mut random = Random(seed);
        let (line, lines) = mpsc::channel();
        let start = |slot: usize, random: &mut Random| start(slot, ROLES[slot], random, queue.path(), &line);
        let mut running: Vec<Running> = (0..ROLES.len()).map(|slot| start(slot, &mut random)).collect();
        let mut story = Story::default();
        for _ in deaths.by_ref().take(DEATHS) {
            let slot = next_death(&lines, &mut running, &mut story);
            *died_in.entry(running[slot].step.clone()).or_default() += 1;
            running[slot] = start(slot, &mut random);
        }
        // The last ones die with nobody left to see it.
        for one in &mut running {
            one.child.kill().unwrap();
        }
        drop(line);
        for (_, line) in lines {
            line.iter().for_each(|line| story.hear(line));
        }
        for one in &mut running {
            one.child.wait().unwrap();
        }
        promises += story.promised.len();
        story.check(queue.path(), seed);
        seed += 1;
    }
    let steps = ["enqueue", "claim", "deliver", "defer", "yield", "fail", "hold", "release", "retry", "recover"];
    assert!(promises > 0, "the drivers did something");
    let total: usize = died_in.values().sum();
    if total >= 2000 {
        for step in steps.into_iter().chain(["open", "quarantine", "remove", "renew"]) {
            assert!(died_in.contains_key(step), "nobody died in {step}: {died_in:?}");
        }
    }
    eprintln!("{total} processes killed while they did this: {died_in:?}");
}

/// Waits for somebody to die; the slot.
fn next_death(lines: &mpsc::Receiver<Heard>, running: &mut [Running], story: &mut Story) -> usize {
    loop {
        let (slot, line) = lines.recv_timeout(LIMIT).expect("somebody dies");
        let one = &mut running[slot];
        let Some(line) = line else {
            let status = one.child.wait().unwrap();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{}: {status}", one.role);
            return slot;
        };
        story.hear(&line);
        if let Some(step) = line.strip_prefix("step ") {
            step.clone_into(&mut one.step);
        }
        if let Some(left) = &mut one.lines_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                // It may have died by itself.
                let _ = one.child.kill();
            }
        }
    }
}

fn start(slot: usize, role: &'static str, random: &mut Random, queue: &Path, heard: &mpsc::Sender<Heard>) -> Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["crash_store::crash_driver", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, format!("{role} {} {}", random.next(), queue.display()));
    let lines_left = (random.below(4) == 0).then(|| 1 + random.below(60));
    if lines_left.is_none() {
        // Few operations at first and for a collector, which has little to do.
        let most = if role == "collect" { 20 } else { [10, 100, 400][random.below(3) as usize] };
        command.env("LD_PRELOAD", recorder()).env("IOLOG_DIR", queue);
        command.env("IOLOG_KILL", random.below(most).to_string());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let heard = heard.clone();
    std::thread::spawn(move || {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(line) = text.strip_prefix(": ") {
                drop(heard.send((slot, Some(line.to_owned()))));
            }
        }
        drop(heard.send((slot, None)));
    });
    Running { child, role, step: "start".to_owned(), lines_left }
}
