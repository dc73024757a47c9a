//! What a bulk run is told to do, whom it reports to, and how it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dns::bulk::api::{BulkOptions, Wildcards};
use crate::dns::bulk::collect::{BulkCounts, ReportedFailure};
use crate::dns::bulk::engine::ResolverStats;
use crate::dns::bulk::question::LineDefaults;
use crate::dns::bulk::write::RecordFormat;
use crate::dns::client::Endpoint;
use crate::fault::Fault;

/// Loops in one run.
pub const MAX_THREADS: usize = 64;

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct BulkSettings {
    /// The servers, each with the name that the user gave it.
    pub servers: Vec<(Arc<Endpoint>, String)>,
    /// The engine's part.
    pub options: BulkOptions,
    /// The types and the class to ask for where a line names none.
    pub defaults: LineDefaults,
    /// How records are written.
    pub format: RecordFormat,
    /// What ends a record of text.
    pub end: u8,
    /// Records leave in the order of the input.
    pub ordered: bool,
    /// What to do with answers that a wildcard made.
    pub wildcards: Option<Wildcards>,
    /// Questions that an earlier run has done: they are read and passed over.
    pub skip: u64,
    /// A run that can be taken up again stops, rather than declaring what is left to have failed.
    pub resumable: bool,
    /// The end of the whole run.
    pub until: Option<Instant>,
    /// Loops, each in a thread of its own, that share the input, the rate and the windows.
    pub threads: usize,
}

/// Receives the records, failures and progress of a run.
pub trait RunObserver {
    /// Writes whole records. On return they are written, and every question before number `done_before` is done.
    ///
    /// # Errors
    ///
    /// The fault of the output; it ends the run.
    fn records(&mut self, records: &[u8], done_before: u64) -> Result<(), Fault>;
    /// Receives a failure for stderr.
    fn report(&mut self, failure: &ReportedFailure);
    /// Shows the progress.
    fn progress(&mut self, progress: &BulkProgress<'_>);
}

/// How far a run is.
#[derive(Debug)]
pub struct BulkProgress<'a> {
    /// Bytes of input that became questions, and how many there are, if that is known.
    pub bytes: (u64, Option<u64>),
    /// The counts.
    pub counts: &'a BulkCounts,
    /// Since the beginning.
    pub elapsed: Duration,
    /// Queries sent, and those that brought nothing.
    pub queries: (u64, u64),
    /// Questions in flight.
    pub in_flight: usize,
}

/// How a run ended.
#[derive(Debug)]
pub struct BulkSummary {
    /// The counts.
    pub counts: BulkCounts,
    /// Queries sent, windows and health of each server, in the order of the settings.
    pub servers: Vec<ResolverStats>,
    /// From beginning to end.
    pub elapsed: Duration,
    /// The input was not read to its end: time was up, or nobody answered.
    pub stopped: Option<String>,
    /// Every question before this number is done and its record has left.
    pub done_before: u64,
}
