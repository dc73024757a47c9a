//! The destination of records. A one-off tool writes directly, at the speed of its reader; a server queues.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::append::AppendedFile;
use super::queue::{self, AT_ONCE_AFTER, MAX_BATCH, MAX_WAIT, Notices, WriteQueue};
use crate::cli::progress;
use crate::fault::{Fault, Kind};
use crate::net::sys;

/// Takes whole records in order. Direct until [`RecordSink::queue`], queued from then on.
#[derive(Debug)]
pub(super) struct RecordSink {
    direct: Arc<DirectSink>,
    queued: OnceLock<WriteQueue>,
}

#[derive(Debug)]
struct DirectSink {
    batch: Mutex<Batch>,
    /// Wakes the flusher when a record is buffered.
    buffered: Condvar,
}

/// Records that are not written yet.
#[derive(Debug)]
struct Batch {
    /// The report; without one, records go to stdout.
    report: Option<AppendedFile>,
    /// Records go to a terminal, where a progress bar may be.
    to_terminal: bool,
    bytes: Vec<u8>,
    last_write: Option<Instant>,
    flusher_runs: bool,
    broken: Option<BrokenOutput>,
}

/// The reason that records can no longer be written.
#[derive(Debug, Clone)]
pub(super) struct BrokenOutput {
    /// The reader has closed the pipe.
    pub(super) pipe: bool,
    pub(super) fault: Fault,
}

impl From<io::Error> for BrokenOutput {
    fn from(error: io::Error) -> BrokenOutput {
        let pipe = error.kind() == io::ErrorKind::BrokenPipe;
        BrokenOutput { pipe, fault: Fault { kind: Kind::Io, ..Fault::local("output", &error) } }
    }
}

/// Checks that stdout was open for writing when the process began.
///
/// # Errors
///
/// `Io` if it was not: the output would be lost without an error.
pub(super) fn check_stdout() -> Result<(), Fault> {
    static OPEN: OnceLock<bool> = OnceLock::new();
    match OPEN.get_or_init(|| sys::stream_is_open(io::stdout(), OFlags::RDONLY)) {
        true => Ok(()),
        false => Err(Fault::new(Kind::Io, "stdout: closed, or not open for writing")),
    }
}

impl RecordSink {
    /// A direct sink into the report, or to stdout.
    pub(super) fn new(report: Option<AppendedFile>) -> RecordSink {
        let to_terminal = report.as_ref().map_or_else(|| io::stdout().is_terminal(), AppendedFile::is_terminal);
        let batch =
            Batch { report, to_terminal, bytes: Vec::new(), last_write: None, flusher_runs: false, broken: None };
        let direct = DirectSink { batch: Mutex::new(batch), buffered: Condvar::new() };
        RecordSink { direct: Arc::new(direct), queued: OnceLock::new() }
    }

    /// Queues all records from here on, so that no caller waits for the reader.
    ///
    /// # Errors
    ///
    /// When the system gives no thread or no descriptor.
    pub(super) fn queue(&self, notices: Notices) -> io::Result<()> {
        let mut batch = self.direct.batch();
        batch.flush();
        let target: Box<dyn Write + Send> = match batch.report.take() {
            Some(report) => Box::new(report),
            None => Box::new(queue::own(io::stdout())?),
        };
        // A sink is switched to its queue only once.
        let _ = self.queued.set(WriteQueue::start("records", target, notices)?);
        Ok(())
    }

    /// Sends all later records of a direct sink to this file.
    pub(super) fn redirect(&self, file: File) {
        let mut batch = self.direct.batch();
        batch.flush();
        batch.to_terminal = file.is_terminal();
        batch.report = Some(file.into());
    }

    /// Takes a record; a queue that is full drops it unless the caller is `patient`.
    ///
    /// # Errors
    ///
    /// `Io` if records can no longer be written; never when queued.
    pub(super) fn write(&self, record: &[u8], patient: bool) -> Result<(), BrokenOutput> {
        match self.queued.get() {
            Some(queue) => queue.push(record, patient),
            None => return self.direct.write(record),
        }
        Ok(())
    }

    /// Takes many records; a direct sink has written them on return.
    ///
    /// # Errors
    ///
    /// As [`RecordSink::write`].
    pub(super) fn write_through(&self, records: &[u8]) -> Result<(), BrokenOutput> {
        match self.queued.get() {
            Some(queue) => queue.push(records, false),
            None => {
                let mut batch = self.direct.batch();
                batch.flush();
                batch.write(records);
                return batch.result();
            }
        }
        Ok(())
    }

    /// Checks whether records can still be written; a queue reports a failure itself.
    ///
    /// # Errors
    ///
    /// As [`RecordSink::write`].
    pub(super) fn check(&self) -> Result<(), BrokenOutput> {
        self.direct.batch().result()
    }

    /// Notes the reason that stdout takes no records.
    pub(super) fn lose(&self, fault: &Fault) {
        self.direct.batch().broken.get_or_insert_with(|| BrokenOutput { pipe: false, fault: fault.clone() });
    }

    /// Notes that the reader of stdout has gone if this error of stdout is a broken pipe.
    pub(super) fn note_reader(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::BrokenPipe {
            self.direct.batch().broken.get_or_insert_with(|| BrokenOutput::from(io::Error::from(error.kind())));
        }
    }

    /// The final flush; returns the number of records that a queue loses to a reader that stalls.
    ///
    /// # Errors
    ///
    /// As [`RecordSink::write`].
    pub(super) fn finish(&self) -> Result<u64, BrokenOutput> {
        if let Some(queue) = self.queued.get() {
            return Ok(queue.finish());
        }
        let mut batch = self.direct.batch();
        batch.flush();
        batch.result()?;
        io::stdout().flush()?;
        Ok(0)
    }
}

impl DirectSink {
    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(self: &Arc<DirectSink>, record: &[u8]) -> Result<(), BrokenOutput> {
        let mut batch = self.batch();
        batch.bytes.extend_from_slice(record);
        let quiet_for = batch.last_write.map(|at| at.elapsed());
        if batch.bytes.len() >= MAX_BATCH || quiet_for.is_none_or(|quiet| quiet >= AT_ONCE_AFTER) {
            batch.flush();
        } else if !batch.flusher_runs {
            batch.flusher_runs = self.start_flusher();
            if !batch.flusher_runs {
                batch.flush();
            }
        } else {
            self.buffered.notify_one();
        }
        batch.result()
    }

    /// Starts the thread that writes buffered records in time; it ends with the process.
    fn start_flusher(self: &Arc<DirectSink>) -> bool {
        let sink = Arc::downgrade(self);
        std::thread::Builder::new().name("flush".to_owned()).spawn(move || flush_in_time(&sink)).is_ok()
    }
}

fn flush_in_time(sink: &Weak<DirectSink>) {
    while let Some(sink) = sink.upgrade() {
        let batch = sink.batch();
        if batch.bytes.is_empty() {
            let waited = sink.buffered.wait_timeout(batch, Duration::from_secs(3600));
            drop(waited);
        } else {
            drop(batch);
            std::thread::sleep(MAX_WAIT / 2);
            sink.batch().flush();
        }
    }
}

impl Batch {
    fn flush(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.write(&bytes);
        bytes.clear();
        self.bytes = bytes;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.last_write = Some(Instant::now());
        if bytes.is_empty() || self.broken.is_some() {
            return;
        }
        if self.report.is_none()
            && let Err(fault) = check_stdout()
        {
            self.broken = Some(BrokenOutput { pipe: false, fault });
            return;
        }
        let report = &mut self.report;
        let mut write = || match report {
            Some(report) => report.write_all(bytes),
            None => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush())
            }
        };
        let result = if self.to_terminal { progress::above(write) } else { write() };
        self.broken = result.err().map(BrokenOutput::from);
    }

    fn result(&self) -> Result<(), BrokenOutput> {
        self.broken.clone().map_or(Ok(()), Err)
    }
}
