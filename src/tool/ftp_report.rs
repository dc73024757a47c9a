//! What ftpget and ftpput say about transfers: one record a file, and a summary.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Serialize, Serializer};

use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, Record, TextLine};
use crate::fault::Fault;
use crate::ftp::listing::format_rfc3339;
use crate::ftp::mirror::{Event, Item, Report};
use crate::ftp::transfer::{Got, PutDone};

/// One file.
#[derive(Serialize)]
pub(super) struct TransferRecord {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<String>,
    /// `done`, or `same` where nothing was to be done.
    status: &'static str,
    size_bytes: u64,
    transferred_bytes: u64,
    resumed_from_bytes: u64,
    retries: u32,
    elapsed_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_bytes_per_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    verified_by: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    reply: String,
}

impl TransferRecord {
    /// A single download.
    pub(super) fn got(url: String, local: Option<&Path>, got: &Got, retries: u32) -> TransferRecord {
        let item = Item {
            url,
            local: local.unwrap_or(Path::new("")).to_owned(),
            size: got.size,
            bytes: got.bytes,
            resumed_from: got.resumed_from,
            retries,
            modified: got.modified,
            verified_by: got.verified_by,
            elapsed: got.elapsed,
            reply: got.reply.clone(),
        };
        TransferRecord::new(item, "done")
    }

    /// A single upload.
    pub(super) fn put(
        url: String,
        local: Option<&Path>,
        done: &PutDone,
        modified: Option<i64>,
        retries: u32,
    ) -> TransferRecord {
        let item = Item {
            url,
            local: local.unwrap_or(Path::new("")).to_owned(),
            size: done.resumed_from + done.bytes,
            bytes: done.bytes,
            resumed_from: done.resumed_from,
            retries,
            modified: modified.filter(|_| done.time_kept),
            verified_by: done.verified_by,
            elapsed: done.elapsed,
            reply: done.reply.clone(),
        };
        TransferRecord::new(item, "done")
    }

    fn new(item: Item, status: &'static str) -> TransferRecord {
        let seconds = item.elapsed.as_secs_f64();
        let rate = (item.bytes > 0 && seconds > 0.0).then(|| (item.bytes as f64 / seconds) as u64);
        let local = (!item.local.as_os_str().is_empty()).then(|| item.local.to_string_lossy().into_owned());
        TransferRecord {
            url: item.url,
            local,
            status,
            size_bytes: item.size,
            transferred_bytes: item.bytes,
            resumed_from_bytes: item.resumed_from,
            retries: item.retries,
            elapsed_ms: u64::try_from(item.elapsed.as_millis()).unwrap_or(u64::MAX),
            rate_bytes_per_s: rate,
            modified: item.modified.map(format_rfc3339),
            verified_by: item.verified_by,
            reply: item.reply,
        }
    }
}

impl Record for TransferRecord {
    const TYPE: &'static str = "transfer";

    /// Silent on success.
    fn text(&self, _line: &mut TextLine) {}
}

/// One entry that was left alone.
#[derive(Serialize)]
struct SkippedRecord {
    target: String,
    why: &'static str,
}

impl Record for SkippedRecord {
    const TYPE: &'static str = "skipped";

    fn text(&self, _line: &mut TextLine) {}
}

/// The whole run.
#[derive(Serialize)]
pub(super) struct Summary {
    /// Files that were transferred.
    pub(super) files: u64,
    /// Files that were the same already.
    pub(super) same: u64,
    /// Entries that were left alone.
    pub(super) skipped: u64,
    /// What failed.
    pub(super) failed: u64,
    /// Bytes that went over the wire.
    pub(super) transferred_bytes: u64,
    #[serde(skip)]
    tally: Tally,
    #[serde(serialize_with = "elapsed_ms", rename = "elapsed_ms")]
    started: Instant,
}

impl Summary {
    /// Nothing done yet.
    pub(super) fn new() -> Summary {
        Summary {
            files: 0,
            same: 0,
            skipped: 0,
            failed: 0,
            transferred_bytes: 0,
            tally: Tally::default(),
            started: Instant::now(),
        }
    }

    /// One more file.
    pub(super) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.transferred_bytes += bytes;
    }

    /// Prints and counts a failure.
    pub(super) fn fail(&mut self, out: &Output, target: &str, fault: &Fault) {
        self.failed += 1;
        self.tally.fault(fault);
        out.error(target, fault);
    }

    /// The status of the whole run.
    pub(super) fn exit(&self) -> Exit {
        self.tally.exit()
    }
}

fn elapsed_ms<S: Serializer>(started: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX))
}

impl Record for Summary {
    const TYPE: &'static str = "summary";

    fn text(&self, _line: &mut TextLine) {}
}

/// A summary that the event callbacks of a tree share.
pub(super) type Shared = Arc<Mutex<Summary>>;

/// The summary, whatever happened to another holder.
pub(super) fn lock(shared: &Shared) -> MutexGuard<'_, Summary> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A callback that prints and counts what happens to the entries of a tree.
pub(super) fn reporter(out: &Output, shared: &Shared) -> Report {
    let (out, shared) = (out.clone(), shared.clone());
    Arc::new(move |event| {
        let mut summary = lock(&shared);
        // A record that cannot leave (a closed pipe) is noticed by the final flush.
        match event {
            Event::Done(item) => {
                summary.add(item.bytes);
                drop(out.emit(&TransferRecord::new(item, "done")));
            }
            Event::Same(item) => {
                summary.same += 1;
                drop(out.emit(&TransferRecord::new(item, "same")));
            }
            Event::Skipped { target, why } => {
                summary.skipped += 1;
                out.warn(&format!("{target}: skipped: {why}"));
                drop(out.emit(&SkippedRecord { target, why }));
            }
            Event::Failed { target, fault } => summary.fail(&out, &target, &fault),
        }
    })
}
