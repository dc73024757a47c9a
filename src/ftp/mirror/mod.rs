//! Whole trees, globs and lists of files: walk both sides, compare, spread the work over connections, and clean up at the
//! end.

mod compare;
mod get;
mod lazy_dir;
mod link;
mod pool;
mod put;
mod select;
mod sorted;
mod spool;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::fault::{Fault, Kind};
use crate::ftp::client::{FtpClientOptions, ListMethod};
use crate::ftp::path::FtpUrl;
use crate::ftp::transfer::{Checks, TransferProgress, Transferred};

pub use compare::Compare;
pub use get::{AfterFetch, FetchRoot, Wanted, get};
pub use link::{Ancestors, INSIDE_ITSELF};
pub use put::{FileMode, PutRequest, PutSource, put};
pub use select::{FileFacts, Select, SelectRule};
pub use sorted::Sorter;
pub use spool::{FieldReader, FieldWriter, Spool, SpoolReader, SpoolWriter, Spooled};

/// The greatest depth of a walk: it ends the walk at a server that lists a directory inside itself.
pub const MAX_DEPTH: usize = 100;
/// The most entries that one tree may have.
pub const MAX_TREE: u64 = 20_000_000;
/// The most simultaneous connections.
pub const MAX_CONNECTIONS: usize = 64;
/// The most symbolic links in the path to one directory that are followed.
pub const MAX_LINKS: usize = 16;

/// The result for one entry of a tree, or the planned action in a dry run.
#[derive(Debug, Clone)]
pub enum MirrorEvent {
    /// A file was transferred.
    Done(MirroredFile),
    /// A file is already the same on both sides.
    Same(MirroredFile),
    /// A dry run: the file would be transferred.
    Planned(MirroredFile),
    /// A symbolic link was created like the remote one.
    Linked {
        /// Its URL.
        url: String,
        /// Its local path.
        local: PathBuf,
        /// Its target.
        leads_to: Vec<u8>,
        /// The outcome.
        outcome: MirrorOutcome,
    },
    /// A directory was created on the receiving side; reported only with [`MirrorSettings::itemize`].
    Made {
        /// A URL or a local path.
        target: String,
        /// [`MirrorOutcome::Planned`] in a dry run.
        outcome: MirrorOutcome,
    },
    /// An entry was deleted: on the receiving side if the sending side does not have it, or at the source after it was fetched.
    Deleted {
        /// A URL or a local path.
        target: String,
        /// [`MirrorOutcome::Planned`] in a dry run.
        outcome: MirrorOutcome,
    },
    /// A file was moved at the source after it was fetched.
    Moved {
        /// Its old URL.
        from: String,
        /// Its new URL.
        to: String,
        /// [`MirrorOutcome::Planned`] in a dry run.
        outcome: MirrorOutcome,
    },
    /// An entry was left alone for a reason: a link, a device.
    Skipped {
        /// A URL or a local path.
        target: String,
        /// The reason.
        why: &'static str,
    },
    /// An entry was left out by the user's own rules.
    LeftOut {
        /// A URL or a local path.
        target: String,
        /// The reason.
        why: &'static str,
    },
    /// A temporary failure: the job is tried again.
    Again {
        /// A URL or a local path.
        target: String,
        /// The fault.
        fault: Fault,
        /// The wait before the retry.
        wait: Duration,
    },
    /// A permanent failure, or no retries are left.
    Failed {
        /// A URL or a local path.
        target: String,
        /// The fault.
        fault: Fault,
    },
}

/// Whether an action was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorOutcome {
    /// It was done.
    Done,
    /// Nothing had to be done.
    Same,
    /// It would be done: this is a dry run.
    Planned,
}

impl MirrorOutcome {
    /// The value in records (`status`).
    pub const fn as_str(self) -> &'static str {
        match self {
            MirrorOutcome::Done => "done",
            MirrorOutcome::Same => "same",
            MirrorOutcome::Planned => "planned",
        }
    }
}

/// One file that was transferred or found the same.
#[derive(Debug, Clone)]
pub struct MirroredFile {
    /// Its URL, without a password.
    pub url: String,
    /// Its local path.
    pub local: PathBuf,
    /// The number of retries.
    pub retries: u32,
    /// The result of its transfer.
    pub transferred: Transferred,
    /// The file that it replaces: `Some(None)` if there was none, `None` if that was not checked.
    pub replaces: Option<Option<FileFacts>>,
}

impl MirroredFile {
    /// A planned file of unknown size from a pipe.
    pub fn planned(url: String) -> MirroredFile {
        MirroredFile::untouched(url, PathBuf::new(), FileFacts { size: None, modified: None })
    }

    /// A file without a transfer.
    fn untouched(url: String, local: PathBuf, facts: FileFacts) -> MirroredFile {
        let transferred = Transferred { size: facts.size, modified: facts.modified, ..Transferred::default() };
        MirroredFile { url, local, retries: 0, transferred, replaces: None }
    }

    /// A file that was transferred from a pipe, or into one: the file that it replaces is unknown.
    pub fn done(url: String, local: PathBuf, transferred: Transferred) -> MirroredFile {
        MirroredFile { url, local, retries: 0, transferred, replaces: None }
    }

    /// Adds the file that it replaces.
    fn replacing(self, there: Option<FileFacts>) -> MirroredFile {
        MirroredFile { replaces: Some(there), ..self }
    }
}

/// The callback for every event, as it happens, with the number of the root that it belongs to.
pub type MirrorReporter = Arc<dyn Fn(usize, MirrorEvent) + Send + Sync>;

/// The treatment of symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// They are left out and reported.
    #[default]
    Skip,
    /// Their target is transferred if it is inside the root.
    Follow,
    /// They are recreated as links if their target is inside the root.
    Keep,
}

/// The conditions for deleting entries on the receiving side that the sending side does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete {
    /// If there are more deletions than this, nothing is deleted.
    pub max: u64,
    /// Delete even if the sending side's directory is listed as empty.
    pub allow_empty: bool,
    /// Delete before the transfers if every listing is complete then; else after them, if every listing is complete by then.
    pub first: bool,
}

/// The planned deletions: at most one more than allowed.
struct DeletionPlan<T> {
    list: Vec<T>,
    rule: Delete,
}

impl<T> DeletionPlan<T> {
    fn new(rule: Delete) -> DeletionPlan<T> {
        DeletionPlan { list: Vec::new(), rule }
    }

    fn is_too_much(&self) -> bool {
        self.list.len() > self.rule.most()
    }

    fn add(&mut self, deletion: T) {
        if !self.is_too_much() {
            self.list.push(deletion);
        }
    }

    /// All deletions, or the fault why nothing is deleted.
    fn settle(self) -> Result<Vec<T>, Fault> {
        if !self.is_too_much() {
            return Ok(self.list);
        }
        let what = format!("more than {} deletions: nothing is deleted", self.rule.max);
        Err(Fault::new(Kind::Negative, what).with_hint("--max-delete N allows more, -n prints the deletions"))
    }
}

impl Delete {
    /// The number of allowed deletions.
    fn most(self) -> usize {
        usize::try_from(self.max).unwrap_or(usize::MAX)
    }

    /// Truncates `more` to one more than is still allowed after `noted` deletions; returns the new number.
    fn cap<T>(self, noted: usize, more: &mut Vec<T>) -> usize {
        more.truncate(self.most().saturating_add(1).saturating_sub(noted));
        noted + more.len()
    }
}

/// The reason why nothing is deleted in a tree.
const INCOMPLETE: &str = "nothing is deleted: a listing was not complete";
/// The reason why deleting stops.
const LIED: &str = "deleting stops: a listed entry does not exist";
/// The reason why nothing is deleted in a directory.
const EMPTY: &str = "nothing is deleted: the other side is empty (--allow-empty believes it)";

/// The most odd lines (not understood, or with an invalid name) of one listing that are reported; further ones are counted.
const MAX_ODD: usize = 20;

/// The fault that counts the further odd lines.
fn more_odd_lines(odd: usize) -> Fault {
    Fault::new(Kind::BadData, format!("{} more such lines are not shown", odd.saturating_sub(MAX_ODD)))
}

/// The path of the entry `name` in the directory `below`; both paths are relative to a root.
fn join(below: &[u8], name: &[u8]) -> Vec<u8> {
    if below.is_empty() { name.to_vec() } else { [below, b"/", name].concat() }
}

/// The settings for the transfer of trees.
#[derive(Clone)]
pub struct MirrorSettings {
    /// The server; each root has its own path.
    pub url: FtpUrl,
    /// How to connect.
    pub options: FtpClientOptions,
    /// The method of listing directories.
    pub list_method: ListMethod,
    /// The most connections; `None` chooses by round-trip time.
    pub connections: Option<usize>,
    /// The number of retries of a file after temporary failures.
    pub retries: u32,
    /// The wait before the first retry.
    pub retry_delay: Duration,
    /// Continue parts of an earlier run.
    pub resume: bool,
    /// The selection of files in trees and globs.
    pub select: Select,
    /// The comparison that decides whether a file of a tree is the same on both sides.
    pub compare: Compare,
    /// The treatment of symbolic links.
    pub links: Links,
    /// The checks beyond the comparison of sizes after a transfer.
    pub checks: Checks,
    /// Leave existing files alone.
    pub no_clobber: bool,
    /// Delete entries that the sending side does not have.
    pub delete: Option<Delete>,
    /// Only report what would be done.
    pub dry_run: bool,
    /// Find and report the file that each file replaces, and the directories that are created.
    pub itemize: bool,
    /// The present time, in seconds since 1970: ages are computed from it.
    pub now: i64,
    /// The callback for progress.
    pub progress: TransferProgress,
    /// The callback for events.
    pub report: MirrorReporter,
}
