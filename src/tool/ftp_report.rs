//! The output of ftpget and ftpput about transfers: one record per file, and a summary.

use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::{Serialize, Serializer};

use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::fault::Fault;
use crate::ftp::checksum::ChecksumAlgorithm;
use crate::ftp::listing::format_rfc3339;
use crate::ftp::mirror::{MirrorEvent, MirrorOutcome, MirrorReporter, MirroredFile};
use crate::millis::millis;
use crate::net::stream::TlsInfo;
use crate::tool::ftp_args::base64_unless_utf8;
use crate::tool::ftp_itemize::{DirectoryRecord, ItemLine, MirrorDirection, tell};

/// One file.
#[derive(Serialize)]
pub(super) struct TransferRecord {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_base64: Option<String>,
    /// `done`, `same` if no transfer was necessary, or `planned` in a dry run.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    transferred_bytes: u64,
    resumed_from_bytes: u64,
    retries: u32,
    elapsed_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_bytes_per_s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    changed: bool,
    /// True if a file of that name existed before; absent if this was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<bool>,
    #[serde(skip_serializing_if = "str::is_empty")]
    verified_by: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    algorithm: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reply: String,
    /// TLS of the data connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsMembers>,
    #[serde(skip)]
    direction: MirrorDirection,
}

/// The negotiated TLS parameters.
#[derive(Serialize)]
struct TlsMembers {
    version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cipher: Option<String>,
}

impl TransferRecord {
    /// The record of one file.
    pub(super) fn new(file: MirroredFile, outcome: MirrorOutcome, direction: MirrorDirection) -> TransferRecord {
        let MirroredFile { url, local, retries, transferred, replaces } = file;
        let seconds = transferred.elapsed.as_secs_f64();
        let rate = (transferred.bytes > 0 && seconds > 0.0).then(|| (transferred.bytes as f64 / seconds) as u64);
        let (algorithm, hash) = transferred.checksum.unzip();
        TransferRecord {
            url,
            local: (!local.as_os_str().is_empty()).then(|| local.to_string_lossy().into_owned()),
            local_base64: base64_unless_utf8(local.as_os_str().as_bytes()),
            status: outcome.as_str(),
            size_bytes: transferred.size,
            transferred_bytes: transferred.bytes,
            resumed_from_bytes: transferred.resumed_from,
            retries,
            elapsed_ms: millis(transferred.elapsed),
            rate_bytes_per_s: rate,
            modified: transferred.modified.map(format_rfc3339),
            mode: transferred.mode.map(|mode| format!("{mode:04o}")),
            changed: transferred.changed,
            replaces: replaces.map(|there| there.is_some()),
            verified_by: transferred.proof.as_str(),
            algorithm: algorithm.map(ChecksumAlgorithm::as_str),
            hash,
            reply: transferred.reply,
            tls: transferred.tls.map(|TlsInfo { version, cipher, .. }| TlsMembers { version, cipher }),
            direction,
        }
    }
}

impl OutputRecord for TransferRecord {
    const TYPE: &'static str = "transfer";

    /// Nothing on success; in a dry run, the source and the target.
    fn text(&self, line: &mut TextLine) {
        if self.status == MirrorOutcome::Planned.as_str() {
            let local = self.local.as_deref().unwrap_or("-");
            match self.direction {
                MirrorDirection::Get => line.text("get").field(&self.url).field(local),
                MirrorDirection::Put => line.text("put").field(local).field(&self.url),
            };
        }
    }
}

/// One entry that was skipped.
#[derive(Serialize)]
struct SkippedRecord {
    target: String,
    why: &'static str,
}

impl OutputRecord for SkippedRecord {
    const TYPE: &'static str = "skipped";
}

/// A change that is no transfer, done or planned.
#[derive(Serialize)]
struct ChangeRecord {
    target: String,
    /// The target of a move.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    status: &'static str,
}

/// The record `deleted`.
#[derive(Serialize)]
#[serde(transparent)]
struct DeletedRecord(ChangeRecord);

/// The record `moved`.
#[derive(Serialize)]
#[serde(transparent)]
struct MovedRecord(ChangeRecord);

impl ChangeRecord {
    fn text(&self, verb: &str, line: &mut TextLine) {
        if self.status == MirrorOutcome::Planned.as_str() {
            line.text(verb).field(&self.target);
            if let Some(to) = &self.to {
                line.field(to);
            }
        }
    }
}

impl OutputRecord for DeletedRecord {
    const TYPE: &'static str = "deleted";

    fn text(&self, line: &mut TextLine) {
        self.0.text("delete", line);
    }
}

impl OutputRecord for MovedRecord {
    const TYPE: &'static str = "moved";

    fn text(&self, line: &mut TextLine) {
        self.0.text("move", line);
    }
}

/// A symbolic link that the run created.
#[derive(Serialize)]
struct LinkRecord {
    url: String,
    local: String,
    leads_to: String,
    status: &'static str,
}

impl OutputRecord for LinkRecord {
    const TYPE: &'static str = "link";

    fn text(&self, line: &mut TextLine) {
        if self.status == MirrorOutcome::Planned.as_str() {
            line.text("link").field(&self.url).field(&self.local).field(&self.leads_to);
        }
    }
}

/// The summary of a run.
#[derive(Serialize)]
pub(super) struct TransferSummary {
    /// Files that were transferred, or would be in a dry run.
    files: u64,
    /// Files that were already the same.
    same: u64,
    /// Symbolic links that were created.
    links: u64,
    /// Files and directories that were deleted.
    deleted: u64,
    /// Sources that were moved.
    moved: u64,
    /// Entries that were skipped.
    skipped: u64,
    /// The number of failures.
    failed: u64,
    /// Bytes sent or received, including those of failed files.
    #[serde(serialize_with = "count")]
    transferred_bytes: Arc<AtomicU64>,
    /// True for a dry run: all other members say what would be done.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    /// The permanent failure that comes first on the command line.
    #[serde(skip)]
    permanent: Option<(usize, Fault)>,
    #[serde(serialize_with = "elapsed_ms", rename = "elapsed_ms")]
    started: Instant,
}

impl TransferSummary {
    /// A summary without any result.
    pub(super) fn new(dry_run: bool, transferred_bytes: Arc<AtomicU64>) -> TransferSummary {
        TransferSummary {
            files: 0,
            same: 0,
            links: 0,
            deleted: 0,
            moved: 0,
            skipped: 0,
            failed: 0,
            transferred_bytes,
            dry_run,
            permanent: None,
            started: Instant::now(),
        }
    }

    /// Counts one more file.
    pub(super) fn add(&mut self) {
        self.files += 1;
    }

    /// Prints and counts a failure of the argument with this position on the command line.
    pub(super) fn fail(&mut self, out: &Output, order: usize, target: &str, fault: &Fault) {
        self.failed += 1;
        if !fault.temporary() && self.permanent.as_ref().is_none_or(|(first, _)| order < *first) {
            self.permanent = Some((order, fault.clone()));
        }
        out.error(target, fault);
    }

    /// True when nothing failed.
    pub(super) fn succeeded(&self) -> bool {
        self.failed == 0
    }

    /// The exit status of the whole run. All operations of a run can be repeated without harm.
    pub(super) fn exit(&self) -> Exit {
        let mut tally = Tally::default();
        match (&self.permanent, self.failed) {
            (Some((_, fault)), _) => tally.fault(fault),
            (None, 0) => {}
            (None, _) => return Exit::TEMPORARY,
        }
        tally.exit()
    }
}

fn elapsed_ms<S: Serializer>(started: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(millis(started.elapsed()))
}

fn count<S: Serializer>(bytes: &Arc<AtomicU64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(bytes.load(Ordering::Relaxed))
}

impl OutputRecord for TransferSummary {
    const TYPE: &'static str = "summary";
}

/// A summary that the event callbacks of a run share.
pub(super) type SharedSummary = Arc<Mutex<TransferSummary>>;

/// Locks the summary, even if another holder panicked.
pub(super) fn lock(shared: &SharedSummary) -> MutexGuard<'_, TransferSummary> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A callback that prints and counts the events; `orders` has the position on the command line for each root.
pub(super) fn reporter(
    out: &Output,
    shared: &SharedSummary,
    (direction, itemize): (MirrorDirection, bool),
    orders: Vec<usize>,
) -> MirrorReporter {
    let (out, shared) = (out.clone(), shared.clone());
    Arc::new(move |root, event| {
        let mut summary = lock(&shared);
        let order = orders.get(root).copied().unwrap_or(root);
        let line = if itemize { ItemLine::of(&event, direction) } else { None };
        match event {
            MirrorEvent::Done(item) => {
                summary.add();
                tell(&out, itemize, line, &TransferRecord::new(item, MirrorOutcome::Done, direction));
            }
            MirrorEvent::Planned(item) => {
                summary.add();
                tell(&out, itemize, line, &TransferRecord::new(item, MirrorOutcome::Planned, direction));
            }
            MirrorEvent::Same(item) => {
                summary.same += 1;
                tell(&out, itemize, line, &TransferRecord::new(item, MirrorOutcome::Same, direction));
            }
            MirrorEvent::Linked { url, local, leads_to, outcome } => {
                summary.links += u64::from(outcome != MirrorOutcome::Same);
                let (local, leads_to) = (local.display().to_string(), String::from_utf8_lossy(&leads_to).into_owned());
                tell(&out, itemize, line, &LinkRecord { url, local, leads_to, status: outcome.as_str() });
            }
            MirrorEvent::Made { target, outcome } => {
                tell(&out, itemize, line, &DirectoryRecord { target, status: outcome.as_str() });
            }
            MirrorEvent::Deleted { target, outcome } => {
                summary.deleted += 1;
                let record = ChangeRecord { target, to: None, status: outcome.as_str() };
                tell(&out, itemize, line, &DeletedRecord(record));
            }
            MirrorEvent::Moved { from, to, outcome } => {
                summary.moved += 1;
                let record = ChangeRecord { target: from, to: Some(to), status: outcome.as_str() };
                tell(&out, itemize, line, &MovedRecord(record));
            }
            MirrorEvent::Skipped { target, why } => {
                summary.skipped += 1;
                out.warn(&format!("{target}: skipped: {why}"));
                tell(&out, itemize, line, &SkippedRecord { target, why });
            }
            MirrorEvent::LeftOut { target, why } => {
                summary.skipped += 1;
                tell(&out, itemize, line, &SkippedRecord { target, why });
            }
            MirrorEvent::Again { target, fault, wait } => {
                out.warn_again(&target, &fault, wait, None);
            }
            MirrorEvent::Failed { target, fault } => summary.fail(&out, order, &target, &fault),
        }
    })
}
