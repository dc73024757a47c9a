//! Power cuts and failing disks. A process uses the queue while `tests/data/queue/iolog.c` records every write, sync and
//! unlink; the record is then replayed up to each point as a disk would hold it after a power cut there: with nothing
//! that was not synced, with an arbitrary part of it, and with all of it. What was promised before that point is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use applayer::blob::Blob;
use applayer::queue::entry::{AttemptResult, NewMessage, Time};
use applayer::queue::sqlite::{Process, SqliteStore, now};
use applayer::queue::store::{Claim, Filter, LeaseOutcome, QueueEdit, QueueStore, SettledLease, Settlement};

use crate::crash::{body, queued_subjects};
use crate::harness::{LIMIT, binary, memory_dir, rounds, temp_dir, tool};
use crate::queue::{block_on, delivered, enqueue, envelope};
use crate::random::Random;

/// The environment of the recorded process: its seed and the queue.
const ROLE: &str = "APPLAYER_TEST_POWER_ROLE";

/// The recorder, compiled once a run.
pub(crate) fn recorder() -> &'static Path {
    static LIBRARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = LIBRARY.get_or_init(|| {
        let folder = temp_dir();
        let library = folder.path().join("iolog.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/queue/iolog.c");
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
        assert!(compiled.expect("a C compiler, which SQLite needs too").success());
        (folder, library)
    });
    path
}

/// The recorded process; says each promise, and each step that takes one back, in a file beside the queue's.
#[test]
#[ignore = "the process that other tests start and kill"]
fn crash_power_driver() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (seed, queue) = role.split_once(' ').unwrap();
    let said = File::create(Path::new(queue).join("said")).unwrap();
    block_on(drive(Path::new(queue), Random(seed.parse().unwrap()), said));
}

async fn drive(queue: &Path, mut random: Random, mut said: File) {
    if random.0 == 0 {
        return promise_and_run(queue, said).await;
    }
    let mut say = |line: String| said.write_all(line.as_bytes()).unwrap();
    // With a failing disk each step may fail; what it promised before stands.
    let Ok(store) = SqliteStore::open(queue, Process::OneShot) else { return };
    for step in 0..120 {
        if step % 40 == 39 && store.recover(Vec::new()).await.is_err() {
            continue;
        }
        match random.below(6) {
            0..3 => {
                let subject = format!("{:x}", random.next());
                let size = [300, 30_000, 70_000][random.below(3) as usize];
                let Ok(mut writer) = store.new_body() else { continue };
                let Ok(()) = writer.write_all(body(&subject, size).as_bytes()) else { continue };
                let Ok(body) = writer.finish() else { continue };
                let message = NewMessage::new(envelope("a@a.test", &["b@b.test"]), body);
                if let Ok(ids) = store.enqueue(vec![message]).await {
                    say(format!("promised {} {subject}\n", ids[0]));
                }
            }
            3 | 4 => {
                let domain = "b.test".to_owned();
                let claim =
                    Claim { domain, due_until: Time(i64::MAX), now: now(), limit: 2, wanted: Filter::default() };
                for batch in store.claim(claim).await.unwrap_or_default().batches {
                    let lease = batch.envelope.recipients[0].lease.clone();
                    let later = LeaseOutcome::Deferred {
                        attempt: AttemptResult::default(),
                        due: now(),
                        possible_duplicate: true,
                        warned: false,
                    };
                    let outcome = if random.below(2) == 0 { later } else { delivered() };
                    if matches!(outcome, LeaseOutcome::Delivered(_)) {
                        say(format!("gone {}\n", batch.id));
                    }
                    let _ = store
                        .settle(vec![Settlement { leases: vec![SettledLease { lease, outcome }], reports: Vec::new() }])
                        .await;
                }
            }
            _ => {
                let Ok(page) = store.list(Filter::default(), None, 3).await else { continue };
                let Some(entry) = page.entries.last() else { continue };
                let change = if random.below(3) == 0 { QueueEdit::Remove } else { QueueEdit::Retry(now()) };
                if change == QueueEdit::Remove {
                    say(format!("gone {}\n", entry.id));
                }
                let _ = store.edit(Filter { ids: vec![entry.id], ..Filter::default() }, change).await;
            }
        }
    }
}

/// Many promises at once, then a run; each part ends with a line.
async fn promise_and_run(queue: &Path, mut said: File) {
    let mut say = |line: &str| said.write_all(line.as_bytes()).unwrap();
    let store = SqliteStore::open(queue, Process::LongRunning).unwrap();
    let enqueue = |subject: &str| {
        let body = Blob::memory(body(subject, 300).into_bytes());
        store.enqueue(vec![NewMessage::new(envelope("a@a.test", &["b@b.test"]), body)])
    };
    enqueue("first").await.unwrap();
    say("opened\n");
    // Each makes progress without being waited for.
    let answers: Vec<_> = (0..TOGETHER).map(|number| enqueue(&number.to_string())).collect();
    for answer in answers {
        answer.await.unwrap();
    }
    say("promised\n");
    let claim = || Claim {
        domain: "b.test".to_owned(),
        due_until: Time(i64::MAX),
        now: now(),
        limit: 1,
        wanted: Filter::default(),
    };
    let mut batches = store.claim(claim()).await.unwrap().batches;
    say("running\n");
    while let Some(batch) = batches.pop() {
        let leases = vec![SettledLease { lease: batch.envelope.recipients[0].lease.clone(), outcome: delivered() }];
        assert_eq!(store.settle(vec![Settlement { leases, reports: Vec::new() }]).await.unwrap(), [true]);
        batches.extend(store.claim(claim()).await.unwrap().batches);
    }
    say("delivered\n");
    store.sync().await.unwrap();
    say("rested\n");
}

/// Promises made at once.
const TOGETHER: usize = 64;

#[test]
fn only_promises_are_synced_and_those_made_together_share_one() {
    let folder = memory_dir();
    let (queue, log) = (folder.path().join("queue"), folder.path().join("log"));
    private_dir(&queue);
    record(0, &queue, &log, None);
    let mut syncs = vec![0];
    for operation in operations(&log) {
        match (operation.kind, operation.path.as_str()) {
            (b'W', "said") => syncs.push(0),
            (b'S', _) => *syncs.last_mut().unwrap() += 1,
            _ => {}
        }
    }
    let [_, promised, begun, delivered, rested, after] = syncs[..] else { panic!("{syncs:?}") };
    assert!((1..=TOGETHER / 4).contains(&promised), "{TOGETHER} promises with {promised} syncs");
    assert_eq!(begun, 1, "that a run has begun is known after a power cut");
    assert_eq!(delivered, 0, "leases and outcomes are not synced");
    assert_eq!((rested, after), (1, 0));
}

/// A directory as the queue makes it: what is said stands in it as well, and a queue that others can enter holds nothing else.
fn private_dir(path: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().mode(0o700).create(path).unwrap();
}

/// Runs the driver; its record is at the path.
fn record(seed: u64, queue: &Path, log: &Path, fail: Option<String>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["powercut::crash_power_driver", "--exact", "--ignored", "--test-threads=1"]);
    command.env(ROLE, format!("{seed} {}", queue.display()));
    command.env("LD_PRELOAD", recorder()).env("IOLOG_DIR", queue).env("IOLOG_FILE", log);
    if let Some(fail) = fail {
        command.env("IOLOG_FAIL", fail);
    }
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "the driver ended with {status}");
}

/// One operation of the record.
struct Operation {
    kind: u8,
    path: String,
    offset: u64,
    data: Vec<u8>,
}

fn operations(log: &Path) -> Vec<Operation> {
    let bytes = std::fs::read(log).unwrap();
    let mut rest = &bytes[..];
    let mut take = |count: usize| {
        let (head, tail) = rest.split_at(count);
        rest = tail;
        head.to_vec()
    };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let mut operations = Vec::new();
    let mut left = bytes.len();
    while left > 0 {
        let kind = take(1)[0];
        let name = number(&take(2)) as usize;
        let path = String::from_utf8(take(name)).unwrap();
        let offset = number(&take(8));
        let length = number(&take(4)) as usize;
        let data = take(length);
        left -= 15 + name + length;
        operations.push(Operation { kind, path, offset, data });
    }
    operations
}

/// A file as far as the disk is concerned.
#[derive(Default, Clone)]
struct OnDisk {
    /// What every power cut leaves.
    synced: Vec<u8>,
    /// What a power cut may leave or not: writes, and truncations (no data).
    pending: Vec<(u64, Option<Vec<u8>>)>,
    named: bool,
    unlinked: bool,
}

fn apply(bytes: &mut Vec<u8>, offset: u64, data: Option<&[u8]>) {
    let offset = offset as usize;
    match data {
        None => bytes.resize(offset, 0),
        Some(data) => {
            bytes.resize(bytes.len().max(offset + data.len()), 0);
            bytes[offset..offset + data.len()].copy_from_slice(data);
        }
    }
}

#[derive(Default)]
struct Disk(BTreeMap<String, OnDisk>);

/// What of the unsynced survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Survives {
    Nothing,
    Something,
    Everything,
}

impl Disk {
    fn step(&mut self, operation: &Operation) {
        match operation.kind {
            b'C' => {
                self.0.insert(operation.path.clone(), OnDisk::default());
            }
            b'R' => {
                let file = self.0.remove(&operation.path).unwrap_or_default();
                let path = String::from_utf8(operation.data.clone()).unwrap();
                self.0.insert(path, OnDisk { named: false, ..file });
            }
            b'D' => {
                let inside = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder) == operation.path;
                self.0.retain(|path, file| !(file.unlinked && inside(path)));
                self.0.iter_mut().filter(|(path, _)| inside(path)).for_each(|(_, file)| file.named = true);
            }
            kind => {
                let file = self.0.entry(operation.path.clone()).or_default();
                match kind {
                    b'W' => file.pending.push((operation.offset, Some(operation.data.clone()))),
                    b'T' => file.pending.push((operation.offset, None)),
                    b'U' => file.unlinked = true,
                    _ => {
                        for (offset, data) in std::mem::take(&mut file.pending) {
                            apply(&mut file.synced, offset, data.as_deref());
                        }
                    }
                }
            }
        }
    }

    /// Writes what a power cut leaves below `folder`.
    fn image(&self, folder: &Path, survives: Survives, random: &mut Random) {
        for part in ["body", "owners"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        for (path, file) in self.0.iter().filter(|(path, _)| !path.ends_with("-shm") && *path != "said") {
            let mut keep = |likely: bool| match survives {
                Survives::Nothing => false,
                Survives::Something => random.below(2) == 0,
                Survives::Everything => likely,
            };
            // An unlink may reach the disk at once, or late.
            if (!file.named && !keep(true)) || (file.unlinked && !keep(false)) {
                continue;
            }
            let mut bytes = file.synced.clone();
            for (offset, data) in &file.pending {
                if keep(true) {
                    apply(&mut bytes, *offset, data.as_deref());
                }
            }
            std::fs::write(folder.join(path), bytes).unwrap();
        }
    }

    /// What was said by now: subjects that must be there.
    fn promised(&self) -> BTreeSet<String> {
        let Some(said) = self.0.get("said") else { return BTreeSet::new() };
        let text: Vec<u8> = said.pending.iter().flat_map(|(_, data)| data.clone().unwrap_or_default()).collect();
        promised(&String::from_utf8(text).unwrap())
    }
}

fn promised(said: &str) -> BTreeSet<String> {
    let mut subjects = BTreeMap::new();
    for line in said.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["promised", id, subject] => {
                subjects.insert(id, subject.to_owned());
            }
            ["gone", id] => {
                subjects.remove(id);
            }
            _ => panic!("{line:?}"),
        }
    }
    subjects.into_values().collect()
}

/// Opens what is left as the next runner does, and looks for every promise.
fn check(image: &Path, promised: &BTreeSet<String>, story: &str) {
    block_on(async {
        let store = SqliteStore::open(image, Process::LongRunning).unwrap_or_else(|fault| panic!("{story}: {fault}"));
        store.recover(Vec::new()).await.unwrap_or_else(|fault| panic!("{story}: {fault}"));
    });
    let queued = queued_subjects(image);
    let lost: Vec<_> = promised.iter().filter(|subject| !queued.contains_key(*subject)).collect();
    assert!(lost.is_empty(), "{story}: lost {lost:?}");
}

#[test]
fn crash_of_the_power_at_any_moment_loses_no_promise() {
    for seed in rounds(1, 100).map(|round| round as u64 + 1) {
        let folder = memory_dir();
        let (queue, log) = (folder.path().join("queue"), folder.path().join("log"));
        private_dir(&queue);
        record(seed, &queue, &log, None);
        let operations = operations(&log);
        assert!(operations.iter().any(|operation| operation.kind == b'S'), "something was recorded");
        let mut disk = Disk::default();
        let mut random = Random(seed);
        let mut checked = 0;
        for (at, operation) in operations.iter().enumerate() {
            disk.step(operation);
            // Many of the moments after a promise, and some of the others.
            let chosen = random.below(if operation.path == "said" { 3 } else { 30 }) == 0;
            if !chosen {
                continue;
            }
            let promised = disk.promised();
            for survives in [Survives::Nothing, Survives::Something, Survives::Everything] {
                let image = memory_dir();
                disk.image(image.path(), survives, &mut random);
                check(image.path(), &promised, &format!("seed {seed}, operation {at}, {survives:?} unsynced survives"));
                checked += 1;
            }
        }
        assert!(checked > 50, "{checked} images");
    }
}

#[test]
fn crash_of_the_disk_breaks_no_promise() {
    // ENOSPC, EIO and EROFS, from each of many moments on.
    for round in rounds(12, 10) {
        let folder = memory_dir();
        let (queue, log) = (folder.path().join("queue"), folder.path().join("log"));
        private_dir(&queue);
        let after = [20, 21, 22, 23, 25, 30, 40, 60, 90, 130, 200, 400][round % 12] + round / 12;
        let errno = [28, 5, 30][round % 3];
        // The file of promises must not fail itself: it is beside the queue's own files only by name.
        record(round as u64 + 1, &queue, &log, Some(format!("{after}:{errno}")));
        let said = std::fs::read_to_string(queue.join("said")).unwrap_or_default();
        check(&queue, &promised(&said), &format!("errno {errno} after {after} operations"));
    }
}

/// A failed sync holds no mail back: the same watching runner says so at once and delivers everything. Bodies in files are
/// removed after a sync, so that each message here costs at least one.
#[test]
fn one_failed_sync_holds_no_mail_back() {
    std::thread::scope(|scope| {
        for first in 1..=4 {
            scope.spawn(move || (first..=SYNCS).step_by(4).for_each(fail_sync));
        }
    });
}

/// Syncs of which each fails once.
const SYNCS: usize = 20;

/// The nth sync of a runner fails.
fn fail_sync(n: usize) {
    let (queue, folder) = (memory_dir(), memory_dir());
    let maildir = folder.path().join("box");
    std::fs::create_dir(&maildir).unwrap();
    let mut command = Command::new(binary("mailq-run"));
    command.args(["--watch", "--helo", "us.test", "--route", &format!("b.test=maildir:{}", maildir.display())]);
    command.arg("--queue-dir").arg(queue.path()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.env("LD_PRELOAD", recorder()).env("IOLOG_DIR", queue.path()).env("IOLOG_FAIL_SYNC", n.to_string());
    let count = || {
        block_on(async {
            let store = SqliteStore::open(queue.path(), Process::OneShot).unwrap();
            store.count(Filter::default()).await.unwrap()
        })
    };
    let mut runner = None;
    for number in 0..SYNCS {
        let text = body(&number.to_string(), 70_000);
        enqueue(queue.path(), &[("a@a.test", &["b@b.test"], &text)]);
        runner.get_or_insert_with(|| command.spawn().unwrap());
        let began = Instant::now();
        while count().messages > 0 {
            assert!(began.elapsed() < LIMIT, "sync {n}: message {number} is held back: {:?}", count());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let runner = runner.unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_child(&runner), rustix::process::Signal::TERM).unwrap();
    let done = runner.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    // Only the first sync is a promise: that the run has begun. Without the others a body stays for the next runner.
    let expected = if n == 1 { "queue.db-wal: Input/output error" } else { "" };
    assert_eq!(said.lines().count(), usize::from(n == 1), "sync {n}: {said}");
    assert!(said.contains(expected), "sync {n}: {said}");
    assert_eq!(done.status.code(), Some(if n == 1 { 74 } else { 0 }), "sync {n}");
    let delivered = std::fs::read_dir(maildir.join("new")).unwrap().count();
    assert_eq!(delivered, SYNCS, "sync {n}: each once");
    tool("mailq-run").arg("--queue-dir").arg(queue.path()).run().silent_success();
    assert_eq!(std::fs::read_dir(queue.path().join("body")).unwrap().count(), 0, "sync {n}: no body is left");
}

#[test]
fn a_kill_in_an_upgrade_leaves_the_old_layout_or_the_new_one() {
    let list = |queue: &Path| tool("mailq-ls").arg("--queue-dir").arg(queue);
    for count in 0.. {
        let queue = memory_dir();
        for name in ["body", "owners"] {
            std::fs::create_dir(queue.path().join(name)).unwrap();
        }
        let database = queue.path().join("queue.db");
        let old = rusqlite::Connection::open(&database).unwrap();
        old.execute_batch(include_str!("../data/queue/layout-1.sql")).unwrap();
        drop(old);
        let command = list(queue.path()).env("LD_PRELOAD", recorder()).env("IOLOG_DIR", queue.path());
        let killed = command.env("IOLOG_KILL", count.to_string()).run();
        let backup = queue.path().join("queue.db.v1.bak");
        let found = rusqlite::Connection::open(&database).unwrap();
        let version: i64 = found.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert!(version == 1 || version == 2 && backup.exists(), "killed after {count}: layout {version}");
        drop(found);
        list(queue.path()).run().exits(0).prints("x@one.test").prints("y@two.test");
        assert!(backup.exists() && !queue.path().join("queue.db.v1.bak.new").exists());
        if killed.status == 0 {
            assert!(version == 2 && count > 10, "{count} operations");
            break;
        }
    }
}
