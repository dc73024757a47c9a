//! The one writer of this process: a thread that takes all waiting jobs, runs them in one transaction, and commits once.
//! Each job gets its own result: a batch is synced only if one of its jobs requests that, and a failed sync is the fault of
//! those jobs, not of jobs that only needed the commit.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::fault::{Fault, Kind};
use crate::queue::sqlite::wal::{Durable, Synced, Wal};
use crate::queue::sqlite::{Process, fault, schema};

/// The most jobs in a commit, so that the first of them does not wait for too many others.
const MAX_JOBS: usize = 256;

/// One of this many short-lived processes shortens the log. Each of them reads all of the log if no other process has it
/// open, and none can know how much of it is already in the database: that knowledge ends with the last process.
const SHORTEN_EVERY: u32 = 16;

/// One part of a transaction.
trait WriteJob: Send {
    /// Runs the part; it is not committed yet.
    fn work(&mut self, db: &Connection) -> rusqlite::Result<()>;
    /// Gives the caller the result: the part or the whole transaction failed, or it is committed and may be synced.
    fn answer(self: Box<Self>, end: Result<&mut Committed<'_>, Fault>);
}

/// A committed batch, not synced until a job requests it.
pub(super) struct Committed<'a> {
    connection: &'a mut Connection,
    wal: &'a mut Wal,
    process: Process,
    synced: Option<Result<Synced, Fault>>,
}

impl Committed<'_> {
    /// Syncs the batch, once for all jobs that request it.
    pub(super) fn sync(&mut self) -> Result<&Synced, Fault> {
        let synced = match self.synced.take() {
            Some(known) => known,
            None => self.try_sync(),
        };
        self.synced.insert(synced).as_ref().map_err(Fault::clone)
    }

    fn try_sync(&mut self) -> Result<Synced, Fault> {
        let synced = self.wal.sync(self.connection)?;
        if self.process == Process::OneShot && getrandom::u32().is_ok_and(|bits| bits % SHORTEN_EVERY == 0) {
            // Another process repeats a failed attempt.
            let _ = schema::shorten(self.connection);
        }
        Ok(synced)
    }
}

struct PendingWrite<W, V, E, T> {
    work: Option<W>,
    value: Option<V>,
    ended: E,
    answer: oneshot::Sender<Result<T, Fault>>,
}

impl<W, V, E, T> WriteJob for PendingWrite<W, V, E, T>
where
    W: FnOnce(&Connection) -> rusqlite::Result<V> + Send,
    V: Send,
    E: FnOnce(V, &mut Committed<'_>) -> Result<T, Fault> + Send,
    T: Send,
{
    fn work(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if let Some(work) = self.work.take() {
            self.value = Some(work(db)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, end: Result<&mut Committed<'_>, Fault>) {
        let result = match (end, self.value) {
            (Ok(committed), Some(value)) => (self.ended)(value, committed),
            (Err(fault), _) => Err(fault),
            (Ok(_), None) => Err(Fault::new(Kind::Internal, "a job was committed that was not done")),
        };
        // The caller may have gone away: the work is done all the same.
        let _ = self.answer.send(result);
    }
}

/// The handle of the writer thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct QueueWriter {
    jobs: Sender<Box<dyn WriteJob>>,
}

impl QueueWriter {
    /// Starts the thread.
    pub(super) fn start(connection: Connection, wal: Wal, process: Process) -> io::Result<QueueWriter> {
        if process == Process::LongRunning {
            keep_idle_memory();
        }
        let (jobs, waiting) = channel();
        let body = move || run(connection, wal, process, &waiting);
        std::thread::Builder::new().name("queue-writer".to_owned()).spawn(body)?;
        Ok(QueueWriter { jobs })
    }

    /// Runs `work` in the next transaction. `ended` runs on the writer thread after the commit, before the answer.
    pub(super) fn commit<V: Send + 'static, T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<V> + Send + 'static,
        ended: impl FnOnce(V, &mut Committed<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> impl Future<Output = Result<T, Fault>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        let gone = self.jobs.send(Box::new(PendingWrite { work: Some(work), value: None, ended, answer })).is_err();
        async move {
            let ended = || Fault::new(Kind::Internal, "the queue's writer has ended");
            if gone {
                return Err(ended());
            }
            answered.await.unwrap_or_else(|_| Err(ended()))
        }
    }

    /// As [`QueueWriter::commit`]; the transaction is on the disk when this answers.
    pub(super) fn commit_durably<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<Durable<T>, Fault>> + Send + 'static {
        self.commit(work, |value, committed| Ok(Durable::new(value, committed.sync()?)))
    }
}

/// Keeps freed memory in the process. glibc returns memory to the kernel when 128 KiB lie idle at the end of a heap; with SQLite's page
/// cache that happens in every other transaction, and the memory is taken again soon after: a fifth of a runner's CPU time. Freeing a large
/// block raises the limit to twice its size (mallopt(3), M_TRIM_THRESHOLD). For other allocators this is an ordinary allocation.
fn keep_idle_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
}

fn run(mut connection: Connection, mut wal: Wal, process: Process, waiting: &Receiver<Box<dyn WriteJob>>) {
    while let Ok(first) = waiting.recv() {
        let mut jobs = vec![first];
        while jobs.len() < MAX_JOBS {
            match waiting.try_recv() {
                Ok(job) => jobs.push(job),
                Err(_) => break,
            }
        }
        let mut done = Vec::with_capacity(jobs.len());
        match transaction(&mut connection, jobs, &mut done) {
            Ok(()) => {
                let mut committed = Committed { connection: &mut connection, wal: &mut wal, process, synced: None };
                done.into_iter().for_each(|job| job.answer(Ok(&mut committed)));
            }
            Err(fault) => done.into_iter().for_each(|job| job.answer(Err(fault.clone()))),
        }
    }
}

/// Runs one transaction for all jobs. A failed job is undone alone and answered at once; the others, in `done`, share the result.
fn transaction(
    connection: &mut Connection,
    jobs: Vec<Box<dyn WriteJob>>,
    done: &mut Vec<Box<dyn WriteJob>>,
) -> Result<(), Fault> {
    if let Err(error) = execute(connection, "BEGIN IMMEDIATE") {
        *done = jobs;
        return Err(fault(&error));
    }
    let alone = jobs.len() == 1;
    let mut failed: Option<Fault> = None;
    for mut job in jobs {
        if let Some(fault) = &failed {
            job.answer(Err(fault.clone()));
            continue;
        }
        let result = match alone {
            true => job.work(connection),
            false => execute(connection, "SAVEPOINT job").and_then(|()| job.work(connection)),
        };
        match result {
            Ok(()) => {
                done.push(job);
                if !alone && let Err(error) = execute(connection, "RELEASE job") {
                    failed = Some(fault(&error));
                }
            }
            Err(error) => {
                let told = fault(&error);
                job.answer(Err(told.clone()));
                // A full disk or an I/O error may have rolled back the whole transaction.
                if alone || connection.is_autocommit() {
                    failed = Some(told);
                } else if let Err(error) =
                    execute(connection, "ROLLBACK TO job").and_then(|()| execute(connection, "RELEASE job"))
                {
                    failed = Some(fault(&error));
                }
            }
        }
    }
    let result = match failed {
        Some(fault) => Err(fault),
        None => execute(connection, "COMMIT").map_err(|error| fault(&error)),
    };
    if result.is_err() && !connection.is_autocommit() {
        // Nothing of a failed batch stays; if even the rollback fails, the next BEGIN reports it.
        let _ = execute(connection, "ROLLBACK");
    }
    result
}

fn execute(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}
