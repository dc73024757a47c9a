//! Output without waiting: a bounded queue, and a thread that writes. Servers pass records and stderr lines to it, so that
//! no client waits for their readers. If the queue is full, lines are counted and dropped (as in dnstap).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::net::counters::Counter;

/// The longest time until a record is written.
pub(super) const MAX_WAIT: Duration = Duration::from_millis(50);
/// A record that comes this long after the last write is written at once, since no other record seems to be ready.
pub(super) const AT_ONCE_AFTER: Duration = Duration::from_millis(4);
/// The size of the buffer, in bytes, at which records are written.
pub(super) const MAX_BATCH: usize = 64 * 1024;
/// The most bytes that wait for the writing thread.
const MAX_QUEUED: usize = 1024 * 1024;
/// The longest wait for a reader that stalls at the end of the process.
const MAX_LAST_WAIT: Duration = Duration::from_secs(2);

/// A queue to one file, pipe or socket, with its own writing thread.
#[derive(Debug, Clone)]
pub(super) struct WriteQueue(Arc<QueueState>);

#[derive(Debug, Default)]
struct QueueState {
    backlog: Mutex<Backlog>,
    /// Something was queued, or a write ended.
    changed: Condvar,
}

/// Whole records that wait for the thread. After the first record without room, all records are dropped until the thread takes
/// the backlog. So the missing records are one gap, and their count is written where the gap begins.
#[derive(Debug, Default)]
struct Backlog {
    bytes: Vec<u8>,
    records: u64,
    dropped: u64,
    /// Records that the thread is writing.
    writing: u64,
    /// The reader has closed the pipe.
    failed: bool,
}

/// The messages of the writing thread itself.
pub(super) struct Notices {
    /// Renders the record with the number of missing records.
    pub(super) dropped: Box<dyn Fn(u64) -> Vec<u8> + Send>,
    /// Called when a write fails and the one before it did not. After a closed pipe, all later records are discarded; after
    /// another failure, the thread tries to write the next records.
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

    /// Takes a whole record, or counts it as dropped. Waits for the reader only if `patient`.
    pub(super) fn push(&self, record: &[u8], patient: bool) {
        let full = |backlog: &mut Backlog| patient && !backlog.failed && backlog.is_full(record.len());
        let waited = self.0.changed.wait_while(self.0.backlog(), full);
        let mut backlog = waited.unwrap_or_else(PoisonError::into_inner);
        if record.is_empty() || backlog.failed {
            return;
        }
        if backlog.is_full(record.len()) {
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

    /// Waits until everything is written, but only briefly for a reader that stalls; returns the number of lost records.
    pub(super) fn finish(&self) -> u64 {
        let backlog = self.0.backlog();
        let pending = |backlog: &mut Backlog| !backlog.failed && backlog.left() > 0;
        let waited = self.0.changed.wait_timeout_while(backlog, MAX_LAST_WAIT, pending);
        let (backlog, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if backlog.failed { 0 } else { backlog.left() }
    }
}

impl Backlog {
    fn is_full(&self, bytes: usize) -> bool {
        self.dropped > 0 || !self.bytes.is_empty() && self.bytes.len() + bytes > MAX_QUEUED
    }

    fn left(&self) -> u64 {
        self.records + self.dropped + self.writing
    }
}

impl QueueState {
    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop of the thread: records are written at once if the last write is not recent, else in batches.
    fn write_all(&self, mut target: Box<dyn Write + Send>, notices: Notices) {
        let mut written_at: Option<Instant> = None;
        // The number of records in failed writes.
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

/// A duplicate of the descriptor: the handles of std have locks, which a stalled write would hold.
pub(super) fn own(target: impl AsFd) -> io::Result<File> {
    Ok(File::from(target.as_fd().try_clone_to_owned()?))
}
