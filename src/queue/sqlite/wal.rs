//! Syncs of the write-ahead log, and the proof of a sync. This module syncs instead of SQLite: one fdatasync of the log
//! costs less than SQLite's fsync, and the directory is synced once instead of each time.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::fault::{Fault, Kind};
use crate::queue::sqlite::{fault, schema};

/// Proof that everything committed so far is on the disk. Only [`Wal::sync`] makes one.
#[derive(Debug)]
pub(super) struct Synced(());

/// The result of a transaction that is on the disk.
#[derive(Debug)]
pub(super) struct Durable<T>(T);

impl<T> Durable<T> {
    /// Wraps the value. The proof must be newer than the value's transaction.
    pub(super) fn new(value: T, _proof: &Synced) -> Durable<T> {
        Durable(value)
    }

    pub(super) fn into_inner(self) -> T {
        self.0
    }
}

/// SQLite's write-ahead log. SQLite's locks are on other files: opening and closing this one drops none of them.
#[derive(Debug)]
pub(super) struct Wal {
    folder: PathBuf,
    file: Option<File>,
    /// True if the name of the log is on the disk.
    named: bool,
    /// True after a failed sync: the kernel may have forgotten unwritten data, and a later sync would not report that.
    broken: bool,
}

impl Wal {
    /// Must be called before the database is opened, which may create the log.
    pub(super) fn new(folder: &Path) -> io::Result<Wal> {
        let named = folder.join(schema::LOG).try_exists()?;
        Ok(Wal { folder: folder.to_owned(), file: None, named, broken: false })
    }

    /// Syncs all committed data.
    pub(super) fn sync(&mut self, connection: &Connection) -> Result<Synced, Fault> {
        if self.broken {
            // The database gets all of it, from memory, and is synced; the log starts anew.
            let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
            match busy.map_err(|error| fault(&error))? {
                0 => self.broken = false,
                _ => return Err(Fault::new(Kind::Io, "queue: an earlier sync of the log failed")),
            }
        }
        match self.try_sync() {
            Ok(()) => Ok(Synced(())),
            Err(error) => {
                self.broken = true;
                Err(Fault::local(self.folder.join(schema::LOG).display(), &error))
            }
        }
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
