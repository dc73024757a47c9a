//! The queue in a directory of a local file system: SQLite in WAL mode, one writer thread, group commit.
//!
//! ```text
//! queue.db, queue.db-wal   envelopes, states, bodies up to 64 KiB
//! queue.db.vN.bak          queue.db as it was before an upgrade from layout N
//! body/OWNER-N             larger bodies: synced and named before their row, removed after it
//! owners/OWNER             one locked file per process that holds leases or unfinished bodies
//! wake                     written to when a message is queued: runners watch it
//! setup                    locked while the database is made or upgraded
//! ```

mod columns;
mod owner;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod upgrade;
mod wake;
mod wal;
mod write;
mod writer;

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use crate::blob::Blob;
use crate::blob::file::BlobWriter;
use crate::fault::{Fault, Kind};
use crate::net::BoxFuture;
use crate::net::clock::unix_micros;
use crate::queue::entry::{AttemptResult, NewMessage, QueueId, Time};
use crate::queue::queue_dir;
use crate::queue::store::{
    Claim, Claimed, DomainAges, DueDestination, Edited, Filter, Lease, MAX_INLINE, QueueCounts, QueueEdit, QueuePage,
    QueueStore, Settlement,
};

use owner::Owner;
use wal::{Durable, Synced, Wal};
use writer::{Committed, QueueWriter};

/// The folder of bodies that are too large for the database.
const BODIES: &str = "body";

/// The kind of process that uses the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// A process with few messages: occasionally such a process shortens the log, because each reads it at its start.
    OneShot,
    /// A server or runner: copies the log into the database seldom, in large parts.
    LongRunning,
}

/// The queue in a directory.
#[derive(Debug)]
pub struct SqliteStore {
    shared: Arc<StoreShared>,
    reader: Mutex<Option<Connection>>,
    writer: QueueWriter,
    mended: Option<String>,
}

/// The part shared with the writer thread.
#[derive(Debug)]
struct StoreShared {
    dir: PathBuf,
    owner: OnceLock<Owner>,
    setting_up: Mutex<()>,
    last_id: AtomicI64,
    bodies: AtomicU64,
    /// The sender shard that a claim begins with.
    turn: AtomicUsize,
    /// Set once outcomes may be ahead of the disk: the record that reveals this after a power cut is then on the disk.
    run: tokio::sync::Mutex<Option<Durable<()>>>,
    wake: wake::Wake,
}

impl SqliteStore {
    /// Opens the queue in this directory, creating missing files.
    ///
    /// # Errors
    /// [`Kind::Config`] for a directory that is not a queue of this version, [`Kind::Locked`], [`Kind::CannotCreate`] or
    /// [`Kind::Io`] for the system's errors.
    pub fn open(dir: &Path, process: Process) -> Result<SqliteStore, Fault> {
        queue_dir::check_local(dir)?;
        let at = |error: io::Error| Fault::local(dir.display(), &error);
        let mended = queue_dir::protect(dir)?;
        let wal = Wal::new(dir).map_err(at)?;
        let connection = open_or_make(dir)?;
        let shared = StoreShared {
            dir: dir.to_owned(),
            owner: OnceLock::new(),
            setting_up: Mutex::new(()),
            last_id: AtomicI64::new(0),
            bodies: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            run: tokio::sync::Mutex::default(),
            wake: wake::Wake::open(dir).map_err(at)?,
        };
        let writer = QueueWriter::start(connection, wal, process).map_err(at)?;
        Ok(SqliteStore { shared: Arc::new(shared), reader: Mutex::new(None), writer, mended })
    }

    /// Opens the queue in this directory if it exists: reading and editing create nothing.
    ///
    /// # Errors
    /// Those of [`SqliteStore::open`].
    pub fn open_existing(dir: &Path, process: Process) -> Result<Option<SqliteStore>, Fault> {
        match dir.join(schema::DATABASE).try_exists() {
            Ok(true) => SqliteStore::open(dir, process).map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(Fault::local(dir.display(), &error)),
        }
    }

    /// The access that others had to the directory until this process removed it, as a message for the administrator.
    pub fn mended(&self) -> Option<&str> {
        self.mended.as_deref()
    }

    /// Checks the messages, and moves each body to the storage for its size, unless it came from [`QueueStore::new_body`].
    fn adopt(&self, mut messages: Vec<NewMessage>) -> Result<Vec<NewMessage>, Fault> {
        for message in &mut messages {
            message.check()?;
            let in_place = match message.body.path() {
                None => message.body.in_memory().is_some_and(|bytes| bytes.len() <= MAX_INLINE),
                Some(path) => path.parent() == Some(&self.shared.dir.join(BODIES)),
            };
            if !in_place {
                let at = |error: io::Error| Fault::local(self.shared.dir.display(), &error);
                let mut body = self.new_body()?;
                io::copy(&mut message.body.open_at(0), &mut body).map_err(at)?;
                message.body = body.finish().map_err(at)?;
            }
        }
        Ok(messages)
    }

    /// Runs a query on this process's reading connection.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        let mut reader = lock(&self.reader);
        let connection = match reader.take() {
            Some(connection) => connection,
            None => schema::open(&self.shared.dir)
                .and_then(|connection| connection.pragma_update(None, "query_only", true).map(|()| connection))
                .map_err(|error| fault(&error))?,
        };
        let result = work(&connection).map_err(|error| fault(&error));
        *reader = Some(connection);
        result
    }
}

impl StoreShared {
    /// This process's owner number; its lock is taken at the first use.
    fn owner(&self) -> Result<u64, Fault> {
        if let Some(owner) = self.owner.get() {
            return Ok(owner.id);
        }
        let _one_at_a_time = lock(&self.setting_up);
        if let Some(owner) = self.owner.get() {
            return Ok(owner.id);
        }
        let owner = Owner::new(&self.dir).map_err(|error| Fault::local(self.dir.display(), &error))?;
        Ok(self.owner.get_or_init(|| owner).id)
    }

    fn body_path(&self, name: &str) -> PathBuf {
        self.dir.join(BODIES).join(name)
    }

    /// A new id: microseconds and ten random bits, rising within the process. The table's primary key guarantees uniqueness.
    fn next_id(&self) -> QueueId {
        let random = getrandom::u32().map_or(0, |bits| i64::from(bits & 1023));
        let candidate = QueueId::at_micros(unix_micros()).0 | random;
        let previous = self.last_id.fetch_max(candidate, Ordering::AcqRel);
        if previous < candidate {
            return QueueId(candidate);
        }
        QueueId(self.last_id.fetch_add(1024, Ordering::AcqRel).saturating_add(1024))
    }

    /// Removes the bodies of messages without rows.
    fn remove_bodies(&self, names: &[String], committed: &mut Committed<'_>) {
        if names.is_empty() {
            return;
        }
        if let Ok(synced) = committed.sync() {
            for name in names {
                // A body that cannot be removed is an orphan: the next runner collects it.
                let _ = self.remove_body(name, synced);
            }
        }
    }

    /// Removes a body without a row. A power cut must not restore the row without its body: the deletion of the row is synced.
    fn remove_body(&self, name: &str, _row_is_gone: &Synced) -> io::Result<()> {
        std::fs::remove_file(self.body_path(name))
    }

    /// Removes bodies without a message and with a dead owner, then the files of dead owners. In this order: the owner is
    /// proven dead first, so that none of its messages can appear after the look into the database.
    fn collect(&self, committed: &mut Committed<'_>) -> Result<(), Fault> {
        let at = |error: io::Error| Fault::local(self.dir.display(), &error);
        let mut candidates = Vec::new();
        for entry in std::fs::read_dir(self.dir.join(BODIES)).map_err(at)? {
            let name = entry.map_err(at)?.file_name().to_string_lossy().into_owned();
            let Some(owner) = name.split_once('-').and_then(|(owner, _)| owner.parse().ok()) else { continue };
            if self.owner.get().is_none_or(|own| own.id != owner) && owner::is_dead(&self.dir, owner) {
                candidates.push(name);
            }
        }
        if !candidates.is_empty() {
            let connection = schema::open(&self.dir).map_err(|error| fault(&error))?;
            let mut known =
                connection.prepare("SELECT 1 FROM message WHERE file = ?").map_err(|error| fault(&error))?;
            for name in candidates {
                if !known.exists([&name]).map_err(|error| fault(&error))? {
                    self.remove_body(&name, committed.sync()?).map_err(at)?;
                }
            }
        }
        owner::sweep(&self.dir).map_err(at)
    }
}

impl QueueStore for SqliteStore {
    fn location(&self) -> String {
        self.shared.dir.display().to_string()
    }

    fn new_body(&self) -> Result<BlobWriter, Fault> {
        let number = self.shared.bodies.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&self.shared);
        let name = move || {
            let owner = shared.owner().map_err(|fault| io::Error::other(fault.detail))?;
            Ok(shared.body_path(&format!("{owner}-{number}")))
        };
        Ok(BlobWriter::named(name, MAX_INLINE))
    }

    fn enqueue(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<Vec<QueueId>, Fault>> {
        let messages = match self.adopt(messages) {
            Ok(messages) => messages,
            Err(fault) => return answered(Err(fault)),
        };
        let (shared, waker) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        let enqueued = self.writer.commit(
            move |db| write::enqueue(db, &shared, &messages),
            move |ids, committed| {
                let ids = Durable::new(ids, committed.sync()?);
                waker.wake.ring();
                Ok(ids)
            },
        );
        Box::pin(async { enqueued.await.map(Durable::into_inner) })
    }

    fn destinations(&self, after: Option<String>, wanted: Filter) -> BoxFuture<'_, Result<Vec<DueDestination>, Fault>> {
        answered(self.read(|db| read::destinations(db, after.as_deref(), &wanted)))
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, Fault>> {
        let shared = &self.shared;
        let owner = match shared.owner() {
            Ok(owner) => owner,
            Err(fault) => return answered(Err(fault)),
        };
        Box::pin(async move {
            let mut run = shared.run.lock().await;
            if run.is_none() {
                *run = Some(self.writer.commit_durably(move |db| write::begin_run(db, owner)).await?);
            }
            drop(run);
            let leasing = Arc::clone(shared);
            self.writer.commit(move |db| write::claim(db, &leasing, owner, &claim), |claimed, _| Ok(claimed)).await
        })
    }

    fn renew(&self, leases: Vec<Lease>) -> BoxFuture<'_, Result<Vec<bool>, Fault>> {
        answered(self.read(|db| leases.iter().map(|lease| write::holds(db, lease)).collect()))
    }

    fn settle(&self, mut settlements: Vec<Settlement>) -> BoxFuture<'_, Result<Vec<bool>, Fault>> {
        for settlement in &mut settlements {
            match self.adopt(std::mem::take(&mut settlement.reports)) {
                Ok(reports) => settlement.reports = reports,
                Err(fault) => return answered(Err(fault)),
            }
        }
        let (shared, after) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        Box::pin(self.writer.commit(
            move |db| write::settle(db, &shared, &settlements),
            move |settled, committed| {
                after.remove_bodies(&settled.files, committed);
                Ok(settled.done)
            },
        ))
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async {
            let mut run = self.shared.run.lock().await;
            if let (Some(_), Some(owner)) = (run.take(), self.shared.owner.get()) {
                let owner = owner.id;
                self.writer.commit_durably(move |db| write::end_run(db, owner)).await?;
            }
            Ok(())
        })
    }

    fn recover(&self, held: Vec<Lease>) -> BoxFuture<'_, Result<u64, Fault>> {
        let (shared, after) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        Box::pin(self.writer.commit(
            move |db| {
                let own = shared.owner.get().map(|owner| owner.id);
                write::recover(db, &shared.dir, own, &held)
            },
            move |recovered, committed| {
                // Bodies and owners that remain now are found again by the next runner.
                let _ = after.collect(committed);
                Ok(recovered)
            },
        ))
    }

    fn edit(&self, wanted: Filter, change: QueueEdit) -> BoxFuture<'_, Result<Edited, Fault>> {
        let waker = Arc::clone(&self.shared);
        let edited = self.writer.commit(
            move |db| write::edit(db, &wanted, &change),
            move |(edited, files), committed| {
                let edited = Durable::new(edited, committed.sync()?);
                waker.remove_bodies(&files, committed);
                waker.wake.ring();
                Ok(edited)
            },
        );
        Box::pin(async { edited.await.map(Durable::into_inner) })
    }

    fn list(&self, wanted: Filter, after: Option<QueueId>, limit: usize) -> BoxFuture<'_, Result<QueuePage, Fault>> {
        answered(self.read(|db| read::list(db, &wanted, after, limit)))
    }

    fn count(&self, wanted: Filter) -> BoxFuture<'_, Result<QueueCounts, Fault>> {
        answered(self.read(|db| read::count(db, &wanted)))
    }

    fn summary(&self, wanted: Filter, now: Time) -> BoxFuture<'_, Result<Vec<DomainAges>, Fault>> {
        answered(self.read(|db| read::summary(db, &wanted, now)))
    }

    fn content(&self, id: QueueId) -> BoxFuture<'_, Result<Option<Blob>, Fault>> {
        answered(self.read(|db| read::content(db, &self.shared.dir.join(BODIES), id)))
    }

    fn history(&self, id: QueueId) -> BoxFuture<'_, Result<Vec<(u32, AttemptResult)>, Fault>> {
        answered(self.read(|db| read::history(db, id)))
    }

    fn wait_for_work(&self, at_most: Duration) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.shared.wake.heard(at_most))
    }
}

/// Opens the database, creates it if missing, and upgrades an earlier version: one process at a time does that.
fn open_or_make(dir: &Path) -> Result<Connection, Fault> {
    let at = |error: io::Error| Fault::local(dir.display(), &error);
    let sql = |error: rusqlite::Error| fault(&error).context(dir.display());
    let database = dir.join(schema::DATABASE);
    let mut setting_up = None;
    loop {
        if database.try_exists().map_err(at)? {
            let mut connection = schema::open(dir).map_err(sql)?;
            match schema::layout(&connection).map_err(sql)? {
                schema::Layout::Ready => return Ok(connection),
                schema::Layout::Foreign(version) => {
                    let known = schema::VERSION;
                    let detail =
                        format!("{}: the queue has layout {version}, this applayer knows 1 to {known}", dir.display());
                    let hint = match version > known {
                        true => "a later version of applayer made it: use that one",
                        false => "another program made it",
                    };
                    return Err(Fault::new(Kind::Config, detail).with_hint(hint));
                }
                schema::Layout::Older(version) if setting_up.is_some() => {
                    upgrade::upgrade(dir, &mut connection, version)?;
                    return Ok(connection);
                }
                schema::Layout::Unnamed if setting_up.is_some() => {
                    // The log has a name from its first page on. The names of the directory and of its files are made
                    // durable before anything is promised.
                    schema::touch(&connection).map_err(sql)?;
                    queue_dir::sync_names(dir)?;
                    schema::finish(&connection).map_err(sql)?;
                    return Ok(connection);
                }
                schema::Layout::Unnamed | schema::Layout::Older(_) => {}
            }
        } else if setting_up.is_some() {
            let unfinished = dir.join("queue.db.new");
            schema::remove_unfinished(&unfinished).map_err(at)?;
            schema::make(&unfinished).map_err(sql)?;
            std::fs::rename(&unfinished, &database).map_err(at)?;
            continue;
        }
        for folder in [dir.to_owned(), dir.join(BODIES), dir.join(owner::FOLDER)] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(at)?;
        }
        let lock = queue_dir::open_private(&dir.join("setup")).map_err(at)?;
        lock.lock().map_err(at)?;
        setting_up = Some(lock);
    }
}

/// A future that is already completed with this answer.
fn answered<T: Send + 'static>(answer: Result<T, Fault>) -> BoxFuture<'static, Result<T, Fault>> {
    Box::pin(std::future::ready(answer))
}

/// SQLite's error as a fault: a full disk, a lock, damage.
fn fault(error: &rusqlite::Error) -> Fault {
    use rusqlite::ErrorCode as Code;
    // Writing a body to its own file failed within the transaction.
    if let rusqlite::Error::ToSqlConversionFailure(why) = error
        && let Some(why) = why.downcast_ref::<std::io::Error>()
    {
        return Fault::local("queue", why);
    }
    let kind = match error.sqlite_error_code() {
        Some(Code::DatabaseBusy | Code::DatabaseLocked) => Kind::Locked,
        Some(Code::DiskFull) => Kind::StorageFull,
        Some(Code::ReadOnly | Code::PermissionDenied | Code::CannotOpen) => Kind::CannotCreate,
        Some(Code::SystemIoFailure) => Kind::Io,
        Some(Code::DatabaseCorrupt | Code::NotADatabase) => Kind::Config,
        _ => Kind::Internal,
    };
    Fault::new(kind, format!("queue: {error}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The current time in the queue's time type.
pub fn now() -> Time {
    Time(unix_micros() / 1000)
}
