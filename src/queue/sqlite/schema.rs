//! The tables, and the opening of a connection to them.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

use crate::queue::sqlite::columns;

/// The file of the database in the queue's directory.
pub(super) const DATABASE: &str = "queue.db";
/// The file of its log: committed data that is not yet in the database.
pub(super) const LOG: &str = "queue.db-wal";
/// The value of `user_version`; a later layout gets the next number and a step that leads to it (`upgrade.rs`).
pub(super) const VERSION: i64 = 2;
/// The value until the name of the new database is on the disk.
const UNNAMED: i64 = -1;
/// The number of log pages from which further commits are copied into the database.
const LOG_PAGES: u32 = 8000;
/// The number and the length of a writer's waits for another process's batch: first about as long as a batch takes, then
/// longer waits, a minute in all.
const SOON: (i32, Duration) = (50, Duration::from_micros(100));
const LATER: (i32, Duration) = (6000, Duration::from_millis(10));

/// Bodies have their own table, so that listing a million messages reads none of them. The index by destination holds only
/// queued recipients, the index by owner only active ones: both shrink to nothing with the work. A lane is a share of the
/// senders, so that a claim can take from each of them in turn.
const TABLES: &str = "
CREATE TABLE message (
  id INTEGER PRIMARY KEY,
  created INTEGER NOT NULL,
  sender TEXT NOT NULL,
  size INTEGER NOT NULL,
  flags INTEGER NOT NULL,
  ret TEXT,
  envid TEXT,
  file TEXT,
  open INTEGER NOT NULL
);
CREATE TABLE body (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE recipient (
  message INTEGER NOT NULL,
  n INTEGER NOT NULL,
  state INTEGER NOT NULL,
  domain TEXT NOT NULL,
  lane INTEGER NOT NULL,
  due INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  owner INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  flags INTEGER NOT NULL,
  address TEXT NOT NULL,
  notify TEXT,
  orcpt TEXT,
  route TEXT,
  last_at INTEGER,
  last_host TEXT,
  last_ip TEXT,
  last_kind TEXT,
  last_code INTEGER,
  last_enhanced TEXT,
  last_reply TEXT,
  PRIMARY KEY (message, n)
) WITHOUT ROWID;
CREATE INDEX recipient_due ON recipient (domain, lane, due) WHERE state = 0;
CREATE INDEX recipient_owner ON recipient (owner) WHERE state = 1;
CREATE INDEX recipient_held ON recipient (domain) WHERE state = 2;
CREATE TABLE attempt (
  message INTEGER NOT NULL,
  n INTEGER NOT NULL,
  number INTEGER NOT NULL,
  at INTEGER NOT NULL,
  host TEXT,
  ip TEXT,
  kind TEXT,
  code INTEGER,
  enhanced TEXT,
  reply TEXT NOT NULL,
  PRIMARY KEY (message, n, number)
) WITHOUT ROWID;
CREATE TABLE run (owner INTEGER PRIMARY KEY, boot TEXT NOT NULL);
CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 1), seen INTEGER NOT NULL);
";

/// Opens the database in `folder`.
pub(super) fn open(folder: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(folder.join(DATABASE), flags)?;
    connection.busy_handler(Some(wait))?;
    connection.set_prepared_statement_cache_capacity(64);
    // Plans do not depend on bound values: otherwise each new value causes the statement to be parsed again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    columns::add_functions(&connection)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    // The writer syncs the log itself (see writer.rs); copying it into the database syncs both.
    connection.pragma_update(None, "synchronous", "normal")?;
    // SQLite's temporary files would be in /tmp, which is outside a server's sandbox.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Makes an empty database at this path, complete and synced: only then it gets its name, so that no process ever sees a
/// partial one.
pub(super) fn make(path: &Path) -> rusqlite::Result<()> {
    // SQLite gives the log and the shared memory the mode of the database.
    let private = File::options().write(true).create_new(true).mode(0o600).open(path);
    private.map_err(|error| cannot_open(&error))?;
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "page_size", 4096)?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {UNNAMED}; COMMIT;"))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.close().map_err(|(_, error)| error)
}

/// Removes the files of a process that was killed while it made a database at this path.
pub(super) fn remove_unfinished(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn cannot_open(error: &std::io::Error) -> rusqlite::Error {
    let code = if error.kind() == std::io::ErrorKind::StorageFull { ffi::SQLITE_FULL } else { ffi::SQLITE_CANTOPEN };
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(error.to_string()))
}

/// Writes a value, so that the log is created.
pub(super) fn touch(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "user_version", UNNAMED)
}

/// Marks that the name of the database is on the disk: from now on it may be used.
pub(super) fn finish(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "user_version", VERSION)
}

/// Waits for another writing process; false if the wait was too long. SQLite's own handler begins with a millisecond,
/// several batches long: two busy processes would sleep most of the time.
fn wait(tries: i32) -> bool {
    std::thread::sleep(if tries < SOON.0 { SOON.1 } else { LATER.1 });
    tries < SOON.0 + LATER.0
}

/// Copies the log into the database and restarts it in the same blocks, if no other process is in the way.
pub(super) fn shorten(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    let busy = connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, i64>(0));
    connection.busy_handler(Some(wait))?;
    if busy? == 0 {
        // The first page of the new log ends the old one for later readers.
        finish(connection)?;
    }
    Ok(())
}

/// The result of [`layout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// The layout of this version.
    Ready,
    /// The layout of this version; its name may not be on the disk yet.
    Unnamed,
    /// Made by an earlier applayer.
    Older(i64),
    /// Made by a later applayer, or by another program.
    Foreign(i64),
}

/// Reads the layout of the database.
pub(super) fn layout(connection: &Connection) -> rusqlite::Result<Layout> {
    Ok(match connection.pragma_query_value(None, "user_version", |row| row.get(0))? {
        VERSION => Layout::Ready,
        UNNAMED => Layout::Unnamed,
        older @ 1..VERSION => Layout::Older(older),
        other => Layout::Foreign(other),
    })
}
