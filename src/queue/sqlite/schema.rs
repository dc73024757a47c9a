//! The tables, and how a connection to them is opened.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

/// The file of the database in the queue's directory.
pub(super) const DATABASE: &str = "queue.db";
/// Stands in `user_version`; a later layout gets the next number and a step that leads there.
const VERSION: i64 = 1;
/// How long a writer waits for another process's batch.
const BUSY: Duration = Duration::from_secs(60);

/// Bodies have a table of their own, so that listing a million messages reads none of them. Only queued recipients stand
/// in the index by destination, only active ones in the index by owner: both shrink to nothing with the work.
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
CREATE INDEX recipient_due ON recipient (domain, due) WHERE state = 0;
CREATE INDEX recipient_owner ON recipient (owner) WHERE state = 1;
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

/// Opens the database in `folder`, creating it when `create` says so. `pages` is the size of the log at which a commit
/// copies it into the database.
pub(super) fn open(folder: &Path, pages: u32) -> rusqlite::Result<Connection> {
    let connection = Connection::open(folder.join(DATABASE))?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.pragma_update(None, "wal_autocheckpoint", pages)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Lays the tables out if they are not there. The caller holds the queue's set-up lock.
pub(super) fn lay_out(connection: &Connection) -> rusqlite::Result<()> {
    if version(connection)? == VERSION {
        return Ok(());
    }
    connection.pragma_update(None, "page_size", 4096)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;"))
}

/// True when the tables are there in this version's layout; a layout from the future is an error.
pub(super) fn ready(connection: &Connection) -> rusqlite::Result<Layout> {
    Ok(match version(connection)? {
        0 => Layout::Missing,
        VERSION => Layout::Ready,
        other => Layout::Newer(other),
    })
}

/// What [`ready`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// No tables yet.
    Missing,
    /// This version's.
    Ready,
    /// Made by a later applayer.
    Newer(i64),
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
