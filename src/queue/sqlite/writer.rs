//! The one writer of this process: a thread that takes whatever waits, does it in one transaction, and commits once for
//! all of them. A batch in which anybody promises something is synced; the others are not. The sync is ours, not SQLite's: one
//! fdatasync of the log, which costs less than its fsync, and none of the directory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::fault::{Fault, Kind};
use crate::queue::sqlite::{Use, fault, schema};

/// No more jobs than this share a commit, so that the first of them does not wait for too many others.
const MAX_JOBS: usize = 256;

/// One brief process in so many makes the log short again. Each of them reads all of the log when no other process has it open,
/// and none can know how much of it is in the database already: that is forgotten with the last process.
const SHORTEN_EVERY: u32 = 16;

/// Does a part of the transaction; what it returns is called with the fate of the commit.
type Work = Box<dyn FnOnce(&Connection) -> rusqlite::Result<Finish> + Send>;
/// Tells the caller how it ended.
type Finish = Box<dyn FnOnce(Result<(), Fault>) + Send>;

struct Job {
    work: Work,
    /// For the case that the work itself fails.
    refuse: Finish,
    synced: bool,
}

/// The writer thread, for as long as this lives.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Sender<Job>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection, log: Log, usage: Use) -> io::Result<Writer> {
        if usage == Use::Lasting {
            keep_idle_memory();
        }
        let (jobs, waiting) = channel();
        let body = move || run(connection, log, usage, &waiting);
        std::thread::Builder::new().name("queue-writer".to_owned()).spawn(body)?;
        Ok(Writer { jobs })
    }

    /// Has `work` done in the next transaction. `after` runs on the writer thread once the commit is done (and synced,
    /// if that was asked for), before the answer.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        synced: bool,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        after: impl FnOnce(&T) + Send + 'static,
    ) -> impl Future<Output = Result<T, Fault>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        // The answer is sent by whichever of the two closures is called.
        let answer = std::sync::Arc::new(std::sync::Mutex::new(Some(answer)));
        let refused = std::sync::Arc::clone(&answer);
        let reply = |to: &std::sync::Mutex<Option<oneshot::Sender<Result<T, Fault>>>>, result| {
            if let Some(sender) = to.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
                // The caller may have gone away: the work is done all the same.
                let _ = sender.send(result);
            }
        };
        let job = Job {
            work: Box::new(move |connection| {
                let value = work(connection)?;
                Ok(Box::new(move |committed: Result<(), Fault>| {
                    let result = committed.map(|()| {
                        after(&value);
                        value
                    });
                    reply(&answer, result);
                }) as Finish)
            }),
            refuse: Box::new(move |result: Result<(), Fault>| {
                if let Err(fault) = result {
                    reply(&refused, Err(fault));
                }
            }),
            synced,
        };
        let gone = self.jobs.send(job).is_err();
        async move {
            let ended = || Fault::new(Kind::Internal, "the queue's writer has ended");
            if gone {
                return Err(ended());
            }
            answered.await.unwrap_or_else(|_| Err(ended()))
        }
    }
}

/// glibc gives memory back to the kernel when 128 KiB lie idle at the end of a heap; with SQLite's page cache that is in every
/// other transaction, and it is taken again a moment later: a fifth of a runner's CPU time. The limit rises to twice the
/// largest block that was ever freed (mallopt(3), M_TRIM_THRESHOLD). To other allocators this is just an allocation.
fn keep_idle_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20)));
}

/// SQLite's log as far as syncs are concerned. Its locks are on other files: opening and closing this one drops none of them.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    file: Option<File>,
    /// The name of the log is on the disk.
    named: bool,
    /// A sync failed: the kernel may have forgotten what was not written, and a later sync would say nothing about it.
    broken: bool,
}

impl Log {
    /// To be made before the database is opened, which may create the log.
    pub(super) fn new(folder: &Path) -> io::Result<Log> {
        let named = folder.join(schema::LOG).try_exists()?;
        Ok(Log { folder: folder.to_owned(), file: None, named, broken: false })
    }

    /// Everything that was committed is on the disk when this returns.
    fn sync(&mut self, connection: &Connection) -> Result<(), Fault> {
        if self.broken {
            // The database gets all of it, from memory, and is synced; the log starts afresh.
            let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
            match busy.map_err(|error| fault(&error))? {
                0 => self.broken = false,
                _ => return Err(Fault::new(Kind::Io, "queue: an earlier sync of the log failed")),
            }
        }
        self.try_sync().map_err(|error| {
            self.broken = true;
            Fault::local(self.folder.join(schema::LOG).display(), &error)
        })
    }

    fn try_sync(&mut self) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(self.folder.join(schema::LOG))?,
        };
        self.file.insert(file).sync_data()?;
        if !self.named {
            File::open(&self.folder)?.sync_all()?;
            self.named = true;
        }
        Ok(())
    }
}

fn run(mut connection: Connection, mut log: Log, usage: Use, waiting: &Receiver<Job>) {
    while let Ok(first) = waiting.recv() {
        let mut jobs = vec![first];
        while jobs.len() < MAX_JOBS {
            match waiting.try_recv() {
                Ok(job) => jobs.push(job),
                Err(_) => break,
            }
        }
        let synced = jobs.iter().any(|job| job.synced);
        let mut finishes = Vec::with_capacity(jobs.len());
        let mut result = transaction(&mut connection, jobs, &mut finishes);
        if result.is_ok() && synced {
            result = log.sync(&connection);
            if result.is_ok() && usage == Use::Brief && getrandom::u32().is_ok_and(|bits| bits % SHORTEN_EVERY == 0) {
                // What fails now is done by another process.
                let _ = schema::shorten(&mut connection);
            }
        }
        for finish in finishes {
            finish(result.clone());
        }
    }
}

/// One transaction for all jobs. A job that fails is undone alone and told so at once; the others share the result.
fn transaction(connection: &mut Connection, jobs: Vec<Job>, finishes: &mut Vec<Finish>) -> Result<(), Fault> {
    if let Err(error) = execute(connection, "BEGIN IMMEDIATE") {
        finishes.extend(jobs.into_iter().map(|job| job.refuse));
        return Err(fault(&error));
    }
    let alone = jobs.len() == 1;
    let mut failed: Option<Fault> = None;
    for job in jobs {
        if let Some(fault) = &failed {
            (job.refuse)(Err(fault.clone()));
            continue;
        }
        let result = match alone {
            true => (job.work)(connection),
            false => execute(connection, "SAVEPOINT job").and_then(|()| (job.work)(connection)),
        };
        match result {
            Ok(finish) => {
                finishes.push(finish);
                if !alone && let Err(error) = execute(connection, "RELEASE job") {
                    failed = Some(fault(&error));
                }
            }
            Err(error) => {
                let told = fault(&error);
                (job.refuse)(Err(told.clone()));
                // A full disk or an I/O error may have ended the whole transaction.
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
        // Nothing of a failed batch stays; if even this fails, the next BEGIN says so.
        let _ = execute(connection, "ROLLBACK");
    }
    result
}

fn execute(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}
