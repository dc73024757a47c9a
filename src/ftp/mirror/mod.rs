//! Whole trees, globs and lists of files: walk both sides, decide, spread the work over connections, and clean up when all
//! of it is done.

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

/// The deepest tree that is walked: a server that lists a directory inside itself ends here.
pub const MAX_DEPTH: usize = 100;
/// The most entries that one tree may have.
pub const MAX_TREE: u64 = 20_000_000;
/// The most connections at a time.
pub const MAX_CONNECTIONS: usize = 64;
/// The most symbolic links that are followed on the way to one directory.
pub const MAX_LINKS: usize = 16;

/// What happened to one entry of a tree, or what a dry run says would happen.
#[derive(Debug, Clone)]
pub enum MirrorEvent {
    /// A file was transferred.
    Done(MirroredFile),
    /// A file is the same on both sides already.
    Same(MirroredFile),
    /// A dry run: it would be transferred.
    Planned(MirroredFile),
    /// A symbolic link was made like the remote one.
    Linked {
        /// Its URL.
        url: String,
        /// Where it was made.
        local: PathBuf,
        /// Where it leads.
        leads_to: Vec<u8>,
        /// What became of it.
        outcome: MirrorOutcome,
    },
    /// A directory was made on the receiving side; told only where [`MirrorSettings::itemize`] says so.
    Made {
        /// A URL or a local path.
        target: String,
        /// [`MirrorOutcome::Planned`] in a dry run.
        outcome: MirrorOutcome,
    },
    /// Deleted on the receiving side because the sending side does not have it, or at the source because it was fetched.
    Deleted {
        /// A URL or a local path.
        target: String,
        /// [`MirrorOutcome::Planned`] in a dry run.
        outcome: MirrorOutcome,
    },
    /// Moved at the source because it was fetched.
    Moved {
        /// The URL that it had.
        from: String,
        /// The URL that it has.
        to: String,
        /// [`MirrorOutcome::Planned`] in a dry run.
        outcome: MirrorOutcome,
    },
    /// Left alone, and why: a link, a device.
    Skipped {
        /// Which.
        target: String,
        /// Why.
        why: &'static str,
    },
    /// Left alone as the user's own rules say, and why.
    LeftOut {
        /// Which.
        target: String,
        /// Why.
        why: &'static str,
    },
    /// Failed for now: it is tried again.
    Again {
        /// Which.
        target: String,
        /// Why.
        fault: Fault,
        /// How long is waited before.
        wait: Duration,
    },
    /// Failed for good, or the retries are used up.
    Failed {
        /// Which.
        target: String,
        /// Why.
        fault: Fault,
    },
}

/// Whether something was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirrorOutcome {
    /// It was.
    Done,
    /// It was like that already.
    Same,
    /// It would be: this is a dry run.
    Planned,
}

impl MirrorOutcome {
    /// The word in records (`status`).
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
    /// How often it was tried again.
    pub retries: u32,
    /// What is told of its transfer.
    pub transferred: Transferred,
    /// The file that it replaces, if there was one; unknown where nobody has looked.
    pub replaces: Option<Option<FileFacts>>,
}

impl MirroredFile {
    /// A file of unknown size that would come from a pipe.
    pub fn planned(url: String) -> MirroredFile {
        MirroredFile::untouched(url, PathBuf::new(), FileFacts { size: None, modified: None })
    }

    /// A file of which nothing was transferred.
    fn untouched(url: String, local: PathBuf, facts: FileFacts) -> MirroredFile {
        let transferred = Transferred { size: facts.size, modified: facts.modified, ..Transferred::default() };
        MirroredFile { url, local, retries: 0, transferred, replaces: None }
    }

    /// A file of which more is known than what it replaces: from a pipe, or into one.
    pub fn done(url: String, local: PathBuf, transferred: Transferred) -> MirroredFile {
        MirroredFile { url, local, retries: 0, transferred, replaces: None }
    }

    /// The same where it is known what it replaces.
    fn replacing(self, there: Option<FileFacts>) -> MirroredFile {
        MirroredFile { replaces: Some(there), ..self }
    }
}

/// Told of every event, as it happens, with the number of the root that it belongs to.
pub type MirrorReporter = Arc<dyn Fn(usize, MirrorEvent) + Send + Sync>;

/// What is done about symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// They are left out, and that is said.
    #[default]
    Skip,
    /// What they point to is transferred, if it is inside the root.
    Follow,
    /// They are made again as links, if they stay inside the root.
    Keep,
}

/// When the receiving side may lose what the sending side does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delete {
    /// If more than this would go, nothing goes.
    pub max: u64,
    /// Believe a directory that is listed as empty.
    pub allow_empty: bool,
    /// Before anything is transferred, if every listing is complete then; else afterwards, if it is by then.
    pub first: bool,
}

/// Deletions that are planned: one more than may be is enough.
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

    /// All of them, or why nothing goes.
    fn settle(self) -> Result<Vec<T>, Fault> {
        if !self.is_too_much() {
            return Ok(self.list);
        }
        let what = format!("more than {} deletions: nothing is deleted", self.rule.max);
        Err(Fault::new(Kind::Negative, what).with_hint("--max-delete N allows more, -n prints the deletions"))
    }
}

impl Delete {
    /// How many deletions may be.
    fn most(self) -> usize {
        usize::try_from(self.max).unwrap_or(usize::MAX)
    }

    /// Takes as many of these into account as can matter, where so many are noted already.
    fn cap<T>(self, noted: usize, more: &mut Vec<T>) -> usize {
        more.truncate(self.most().saturating_add(1).saturating_sub(noted));
        noted + more.len()
    }
}

/// Why nothing is deleted in a tree.
const INCOMPLETE: &str = "nothing is deleted: a listing was not complete";
/// Why nothing more is deleted.
const LIED: &str = "deleting stops: a listed entry does not exist";
/// Why nothing is deleted in a directory.
const EMPTY: &str = "nothing is deleted: the other side is empty (--allow-empty believes it)";

/// Lines that make no sense, and names that cannot be, of which each is told; the others of one listing are counted.
const MAX_ODD: usize = 20;

/// What is told of the others.
fn more_odd_lines(odd: usize) -> Fault {
    Fault::new(Kind::BadData, format!("{} more such lines are not shown", odd.saturating_sub(MAX_ODD)))
}

/// The path below a root of what is called `name` in the directory `below` it.
fn join(below: &[u8], name: &[u8]) -> Vec<u8> {
    if below.is_empty() { name.to_vec() } else { [below, b"/", name].concat() }
}

/// How a tree is transferred.
#[derive(Clone)]
pub struct MirrorSettings {
    /// The server; each root has its own path.
    pub url: FtpUrl,
    /// How to connect.
    pub options: FtpClientOptions,
    /// How directories are listed.
    pub list_method: ListMethod,
    /// The most connections; `None` chooses by round trip.
    pub connections: Option<usize>,
    /// How often a file is tried again after a temporary failure.
    pub retries: u32,
    /// The first wait before that.
    pub retry_delay: Duration,
    /// Continue parts of an earlier run.
    pub resume: bool,
    /// Which files of trees and globs are meant.
    pub select: Select,
    /// When a file of a tree is the same on both sides.
    pub compare: Compare,
    /// What is done about symbolic links.
    pub links: Links,
    /// What is compared besides sizes when a file was transferred.
    pub checks: Checks,
    /// Leave files alone that are there already.
    pub no_clobber: bool,
    /// Delete what the sending side does not have.
    pub delete: Option<Delete>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// It is asked and told what each file replaces and which directories are made.
    pub itemize: bool,
    /// The present, seconds since 1970: what ages are counted from.
    pub now: i64,
    /// Told of bytes.
    pub progress: TransferProgress,
    /// Told of events.
    pub report: MirrorReporter,
}
