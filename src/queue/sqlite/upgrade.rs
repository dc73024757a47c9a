//! Upgrades from an earlier layout of the database to this one: a copy first, then all steps in one transaction.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{fault, owner, schema};
use crate::fault::{Fault, Kind};

/// The first step leads from layout 1 to 2, the next from 2 to 3, and so on. A released step never changes.
pub(super) const STEPS: &[&str] = &[
    // Senders take turns by lanes. Recipients that already wait share one lane.
    "ALTER TABLE recipient ADD COLUMN lane INTEGER NOT NULL DEFAULT 0;
     DROP INDEX recipient_due;
     CREATE INDEX recipient_due ON recipient (domain, lane, due) WHERE state = 0;
     CREATE INDEX recipient_held ON recipient (domain) WHERE state = 2;",
];

const _: () = assert!(STEPS.len() as i64 + 1 == schema::VERSION);

/// Copies the database to `queue.db.vN.bak`, and then upgrades it from layout `from` to this version's. A killed process
/// leaves either the old layout or the new one. The caller holds the lock of the set-up.
pub(super) fn upgrade(dir: &Path, connection: &mut Connection, from: i64) -> Result<(), Fault> {
    let sql = |error: rusqlite::Error| fault(&error).context(dir.display());
    let at = |error: io::Error| Fault::local(dir.display(), &error);
    if owner::any_lives(dir).map_err(at)? {
        let why = format!("{}: a process of an earlier version works on the queue", dir.display());
        return Err(
            Fault::new(Kind::Locked, why).with_hint("end the old mailq-run and smtpserve, then start the new ones")
        );
    }
    // From here on no other process writes: the copy holds the data that the steps start from.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    copy(dir, from)?;
    for step in STEPS.iter().skip(usize::try_from(from - 1).unwrap_or(usize::MAX)) {
        transaction.execute_batch(step).map_err(sql)?;
    }
    transaction.pragma_update(None, "user_version", schema::VERSION).map_err(sql)?;
    transaction.commit().map_err(sql)
}

/// Writes `queue.db.vN.bak`, whole and synced, and replaces that of an unfinished upgrade.
fn copy(dir: &Path, from: i64) -> Result<(), Fault> {
    let name = format!("{}.v{from}.bak", schema::DATABASE);
    let (copy, unfinished) = (dir.join(&name), dir.join(format!("{name}.new")));
    let at = |error: io::Error| Fault::creating(copy.display(), &error);
    let sql = |error: rusqlite::Error| fault(&error).context(copy.display());
    schema::remove_unfinished(&unfinished).map_err(at)?;
    let file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(at)?;
    let reading = schema::open(dir).map_err(sql)?;
    reading.execute("VACUUM INTO ?", [unfinished.to_string_lossy()]).map_err(sql)?;
    // Every version expects the log, which VACUUM leaves out.
    let connection = Connection::open(&unfinished).map_err(sql)?;
    connection.pragma_update(None, "journal_mode", "wal").map_err(sql)?;
    connection.close().map_err(|(_, error)| sql(error))?;
    file.sync_all().map_err(at)?;
    std::fs::rename(&unfinished, &copy).map_err(at)?;
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(at)
}
