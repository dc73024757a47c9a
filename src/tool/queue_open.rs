//! Opens the outgoing queue for the tools. Repairs are reported, and a queue that the user names for reading must exist.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::args::{Gauges, QueueArgs, gauge};
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::net::counters::Gauge;
use crate::queue::queue_dir;
use crate::queue::sqlite::{Process, SqliteStore};
use crate::queue::store::{Filter, QueueStore};

/// Opens the queue in this directory and creates missing parts.
///
/// # Errors
/// Those of [`SqliteStore::open`].
pub(super) fn open(dir: &Path, process: Process, out: &Output) -> Result<SqliteStore, Fault> {
    SqliteStore::open(dir, process).inspect(|store| said(store, out))
}

/// Opens the queue in this directory if it exists.
///
/// # Errors
/// Those of [`SqliteStore::open_existing`].
pub(super) fn open_existing(dir: &Path, process: Process, out: &Output) -> Result<Option<SqliteStore>, Fault> {
    Ok(SqliteStore::open_existing(dir, process)?.inspect(|store| said(store, out)))
}

/// Opens the queue for reading or editing. Returns it with its directory.
///
/// # Errors
/// [`Kind::NoInput`] if the directory of the command line does not exist, else those of [`queue_dir::find`] and [`open_existing`].
pub(super) fn open_named(args: &QueueArgs, out: &Output) -> Result<(PathBuf, Option<SqliteStore>), Fault> {
    let dir = queue_dir::find(args.queue_dir.as_deref())?;
    check_named(args, &dir)?;
    let store = open_existing(&dir, Process::OneShot, out)?;
    Ok((dir, store))
}

/// Checks that the queue directory of the command line exists.
///
/// # Errors
/// [`Kind::NoInput`] if it does not.
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

/// The gauges of a queue for `--metrics`.
pub(super) fn gauges(queue: Option<Arc<dyn QueueStore>>) -> Gauges {
    Box::new(move || {
        let queue = queue.clone();
        Box::pin(async move {
            let Some(queue) = queue else { return Vec::new() };
            // A queue that cannot be read now has no gauges.
            depth(&*queue).await.unwrap_or_default()
        })
    })
}

/// The number of recipients by state, and the earliest due time of a queued recipient.
async fn depth(queue: &dyn QueueStore) -> Result<Vec<Gauge>, Fault> {
    let counts = queue.count(Filter::default()).await?;
    let states = [("queued", counts.queued), ("active", counts.active), ("held", counts.held)];
    let state = |(state, count): (&str, u64)| Gauge {
        labels: format!("state=\"{state}\""),
        ..gauge("queue_recipients", "Recipients in the outgoing queue", count.cast_signed())
    };
    let mut gauges = states.map(state).to_vec();
    let (mut first, mut after) = (None, None);
    loop {
        let found = queue.destinations(after, Filter::default()).await?;
        let Some(last) = found.last() else { break };
        after = Some(last.domain.clone());
        first = found.iter().map(|destination| destination.due).chain(first).min();
    }
    let help = "When the first queued recipient is due, in seconds since 1970";
    gauges.extend(first.map(|due| gauge("queue_first_due_seconds", help, due.0 / 1_000)));
    Ok(gauges)
}
