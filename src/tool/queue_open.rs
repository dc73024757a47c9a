//! How tools open the outgoing queue: what was mended is said, and a place that was named must be there to be read.

use std::path::{Path, PathBuf};

use crate::cli::args::QueueArgs;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::queue::queue_dir;
use crate::queue::sqlite::{Process, SqliteStore};

/// Opens the queue in this directory, creating what is missing.
///
/// # Errors
/// Those of [`SqliteStore::open`].
pub(super) fn open(dir: &Path, process: Process, out: &Output) -> Result<SqliteStore, Fault> {
    SqliteStore::open(dir, process).inspect(|store| said(store, out))
}

/// The same if there is a queue.
///
/// # Errors
/// Those of [`SqliteStore::open_existing`].
pub(super) fn open_existing(dir: &Path, process: Process, out: &Output) -> Result<Option<SqliteStore>, Fault> {
    Ok(SqliteStore::open_existing(dir, process)?.inspect(|store| said(store, out)))
}

/// The queue to be read or edited, and where it lies.
///
/// # Errors
/// [`Kind::NoInput`] for a directory that was named and is not there, else those of [`queue_dir::find`] and [`open_existing`].
pub(super) fn open_named(args: &QueueArgs, out: &Output) -> Result<(PathBuf, Option<SqliteStore>), Fault> {
    let dir = queue_dir::find(args.queue_dir.as_deref())?;
    check_named(args, &dir)?;
    let store = open_existing(&dir, Process::OneShot, out)?;
    Ok((dir, store))
}

/// A directory that was named for reading is there.
///
/// # Errors
/// [`Kind::NoInput`] if it is not.
pub(super) fn check_named(args: &QueueArgs, dir: &Path) -> Result<(), Fault> {
    match args.queue_dir.is_some() && matches!(dir.try_exists(), Ok(false)) {
        true => Err(Fault::new(Kind::NoInput, format!("{}: no such queue", dir.display()))),
        false => Ok(()),
    }
}

fn said(store: &SqliteStore, out: &Output) {
    if let Some(mended) = store.mended() {
        out.warn(mended);
    }
}
