//! Output without waiting: a bounded queue, and a thread that writes. Servers pass records and stderr lines to it, so that
//! no client waits for their readers; lines that find the queue full are counted and dropped (as in dnstap).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::net::counters::Counter;

/// A record leaves at the latest after this time.
pub(super) const MAX_WAIT: Duration = Duration::from_millis(50);
/// A record that comes this long after the last write leaves at once: nothing more seems to be ready.
pub(super) const AT_ONCE_AFTER: Duration = Duration::from_millis(4);
/// Records leave when this much of them is buffered, in bytes.
pub(super) const MAX_BATCH: usize = 64 * 1024;
/// What may wait for the writing thread, in bytes.
const MAX_QUEUED: usize = 1024 * 1024;
/// How long the end of the process waits for a reader that stalls.
const MAX_LAST_WAIT: Duration = Duration::from_secs(2);

/// Writes to one file, pipe or socket by a thread of its own.
#[derive(Debug, Clone)]
pub(super) struct WriteQueue(Arc<QueueState>);

#[derive(Debug, Default)]
struct QueueState {
    backlog: Mutex<Backlog>,
    /// Something was queued, or a write ended.
    changed: Condvar,
}

/// Whole records that wait for the thread. Records are dropped from the moment when one finds no room until the thread
/// takes everything: what is missing is one gap, and its count stands where it begins.
#[derive(Debug, Default)]
struct Backlog {
    bytes: Vec<u8>,
    records: u64,
    dropped: u64,
    /// Records that the thread is writing.
    writing: u64,
    /// Nobody can read any more.
    failed: bool,
}

/// What the writing thread has to say by itself.
pub(super) struct Notices {
    /// The record that says how many are missing.
    pub(super) dropped: Box<dyn Fn(u64) -> Vec<u8> + Send>,
    /// Called when a write fails and the one before it did not. Whatever comes after the reader of a pipe has gone is
    /// forgotten; else the next records are tried again.
    pub(super) failed: Box<dyn Fn(io::Error) + Send>,
}

impl WriteQueue {
    /// Starts the thread; it ends with the process.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn start(name: &str, target: Box<dyn Write + Send>, notices: Notices) -> io::Result<WriteQueue> {
        let queued = Arc::new(QueueState::default());
        let shared = queued.clone();
        std::thread::Builder::new().name(name.to_owned()).spawn(move || shared.write_all(target, notices))?;
        Ok(WriteQueue(queued))
    }

    /// Takes a whole record, or counts it as dropped. Never waits for the reader.
    pub(super) fn push(&self, record: &[u8]) {
        let mut backlog = self.0.backlog();
        if record.is_empty() || backlog.failed {
            return;
        }
        let full = !backlog.bytes.is_empty() && backlog.bytes.len() + record.len() > MAX_QUEUED;
        if full || backlog.dropped > 0 {
            backlog.dropped += 1;
            Counter::RecordsDropped.add(1);
            return;
        }
        let was_empty = backlog.bytes.is_empty();
        backlog.bytes.extend_from_slice(record);
        backlog.records += 1;
        if was_empty || backlog.bytes.len() >= MAX_BATCH {
            self.0.changed.notify_all();
        }
    }

    /// Waits until everything was written, though not long for a reader that stalls; returns how many records were lost.
    pub(super) fn finish(&self) -> u64 {
        let backlog = self.0.backlog();
        let pending = |backlog: &mut Backlog| !backlog.failed && backlog.left() > 0;
        let waited = self.0.changed.wait_timeout_while(backlog, MAX_LAST_WAIT, pending);
        let (backlog, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if backlog.failed { 0 } else { backlog.left() }
    }
}

impl Backlog {
    fn left(&self) -> u64 {
        self.records + self.dropped + self.writing
    }
}

impl QueueState {
    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: records leave at once when none left lately, else in batches.
    fn write_all(&self, mut target: Box<dyn Write + Send>, notices: Notices) {
        let mut written_at: Option<Instant> = None;
        // Records that went into writes that failed.
        let mut lost = 0;
        loop {
            let empty = |backlog: &mut Backlog| backlog.bytes.is_empty();
            let waited = self.changed.wait_while(self.backlog(), empty);
            let mut backlog = waited.unwrap_or_else(PoisonError::into_inner);
            if written_at.is_some_and(|at| at.elapsed() < AT_ONCE_AFTER) {
                let small = |backlog: &mut Backlog| backlog.bytes.len() < MAX_BATCH;
                let waited = self.changed.wait_timeout_while(backlog, MAX_WAIT / 2, small);
                (backlog, _) = waited.unwrap_or_else(PoisonError::into_inner);
            }
            let mut bytes = std::mem::take(&mut backlog.bytes);
            if lost > 0 {
                bytes.splice(0..0, (notices.dropped)(lost));
            }
            if backlog.dropped > 0 {
                bytes.extend_from_slice(&(notices.dropped)(backlog.dropped));
            }
            let count = backlog.left();
            backlog.writing = count;
            (backlog.records, backlog.dropped) = (0, 0);
            drop(backlog);
            let result = target.write_all(&bytes);
            written_at = Some(Instant::now());
            let mut backlog = self.backlog();
            backlog.writing = 0;
            backlog.failed = result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
            let over = backlog.failed;
            self.changed.notify_all();
            drop(backlog);
            match result {
                Ok(()) => lost = 0,
                Err(error) => {
                    Counter::RecordsDropped.add(count);
                    if lost == 0 {
                        (notices.failed)(error);
                    }
                    lost += count;
                }
            }
            if over {
                return;
            }
        }
    }
}

/// A descriptor of our own: std's handles have locks, which a write that stalls would hold.
pub(super) fn own(target: impl AsFd) -> io::Result<File> {
    Ok(File::from(target.as_fd().try_clone_to_owned()?))
}
