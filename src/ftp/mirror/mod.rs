//! Whole trees: walk both sides, decide, and spread the work over connections.

mod get;
mod pool;
mod put;
mod select;

use std::sync::Arc;
use std::time::Duration;

use crate::fault::Fault;
use crate::ftp::client::{Options, Way};
use crate::ftp::path::FtpUrl;
use crate::ftp::transfer::{Progress, Replace};

pub use get::get;
pub use put::put;
pub use select::{Facts, Rule, Select};

/// The deepest tree that is walked: a server that lists a directory inside itself ends here.
pub const MAX_DEPTH: usize = 100;
/// The most entries that one tree may have.
pub const MAX_TREE: u64 = 10_000_000;
/// The most connections at a time.
pub const MAX_CONNECTIONS: usize = 64;

/// What happened to one entry of a tree.
#[derive(Debug, Clone)]
pub enum Event {
    /// A file was transferred.
    Done(Item),
    /// A file is the same on both sides already.
    Same(Item),
    /// Left alone, and why: a link, a device.
    Skipped {
        /// Which.
        target: String,
        /// Why.
        why: &'static str,
    },
    /// Failed for good, or the retries are used up.
    Failed {
        /// Which.
        target: String,
        /// Why.
        fault: Fault,
    },
}

/// One file that was transferred or found the same.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its URL, without a password.
    pub url: String,
    /// Its local path.
    pub local: std::path::PathBuf,
    /// Its size.
    pub size: u64,
    /// Bytes that went over the wire.
    pub bytes: u64,
    /// Bytes of an earlier run.
    pub resumed_from: u64,
    /// How often it was tried again.
    pub retries: u32,
    /// The modification time that was kept.
    pub modified: Option<i64>,
    /// How completeness is known.
    pub verified_by: &'static str,
    /// How long it took.
    pub elapsed: Duration,
    /// The final reply's text.
    pub reply: String,
}

/// Told of every event, as it happens.
pub type Report = Arc<dyn Fn(Event) + Send + Sync>;

/// How a tree is transferred.
#[derive(Clone)]
pub struct Settings {
    /// The server and, as its path, the tree.
    pub url: FtpUrl,
    /// How to connect.
    pub options: Options,
    /// How directories are listed.
    pub way: Way,
    /// The most connections; `None` chooses by round trip.
    pub connections: Option<usize>,
    /// How often a file is tried again after a temporary failure.
    pub retries: u32,
    /// The first wait before that.
    pub retry_delay: Duration,
    /// Continue parts of an earlier run.
    pub resume: bool,
    /// How an upload takes its place.
    pub replace: Replace,
    /// Told of bytes.
    pub progress: Progress,
    /// Told of events.
    pub report: Report,
}
