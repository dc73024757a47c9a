//! The one writer of this process: a thread that takes whatever waits, does it in one transaction, and commits once for
//! all of them. A batch in which anybody promises something is synced; the others are not.

use std::sync::mpsc::{Receiver, Sender, channel};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::fault::{Fault, Kind};
use crate::queue::sqlite::fault;

/// No more jobs than this share a commit, so that the first of them does not wait for too many others.
const MAX_JOBS: usize = 256;

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
    pub(super) fn start(connection: Connection) -> std::io::Result<Writer> {
        let (jobs, waiting) = channel();
        std::thread::Builder::new().name("queue-writer".to_owned()).spawn(move || run(connection, &waiting))?;
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

fn run(mut connection: Connection, waiting: &Receiver<Job>) {
    let mut full = None;
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
        let result = transaction(&mut connection, &mut full, synced, jobs, &mut finishes);
        for finish in finishes {
            finish(result.clone());
        }
    }
}

/// One transaction for all jobs. A job that fails is undone alone and told so at once; the others share the result.
fn transaction(
    connection: &mut Connection,
    full: &mut Option<bool>,
    synced: bool,
    jobs: Vec<Job>,
    finishes: &mut Vec<Finish>,
) -> Result<(), Fault> {
    let begun = sync_level(connection, full, synced).and_then(|()| execute(connection, "BEGIN IMMEDIATE"));
    if let Err(error) = begun {
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

/// Sets whether commits are synced; the pragma runs only when that changes.
fn sync_level(connection: &Connection, full: &mut Option<bool>, synced: bool) -> rusqlite::Result<()> {
    if *full != Some(synced) {
        connection.pragma_update(None, "synchronous", if synced { "full" } else { "normal" })?;
        *full = Some(synced);
    }
    Ok(())
}

fn execute(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}
