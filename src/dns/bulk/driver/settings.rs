//! The settings of a bulk run, the observer of its output, and its summary.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dns::bulk::api::{BulkOptions, Wildcards};
use crate::dns::bulk::collect::{BulkCounts, ReportedFailure};
use crate::dns::bulk::engine::ResolverStats;
use crate::dns::bulk::question::LineDefaults;
use crate::dns::bulk::write::RecordFormat;
use crate::dns::client::Endpoint;
use crate::fault::Fault;

/// The maximum number of loops in one run.
pub const MAX_THREADS: usize = 64;

/// The settings of a run.
#[derive(Debug, Clone)]
pub struct BulkSettings {
    /// The servers, each with the name that the user gave it.
    pub servers: Vec<(Arc<Endpoint>, String)>,
    /// The engine's settings.
    pub options: BulkOptions,
    /// The types and the class for lines that name none.
    pub defaults: LineDefaults,
    /// The format of records.
    pub format: RecordFormat,
    /// The terminator of a text record.
    pub end: u8,
    /// Write records in the order of the input.
    pub ordered: bool,
    /// The treatment of answers that a wildcard made; `None`: wildcards are not detected.
    pub wildcards: Option<Wildcards>,
    /// The number of questions that an earlier run has done: they are read and skipped.
    pub skip: u64,
    /// The run can be resumed: on an early end it stops, and does not record the remaining questions as failed.
    pub resumable: bool,
    /// The time limit of the whole run.
    pub until: Option<Instant>,
    /// The number of loops, each in its own thread; they share the input, the rate and the windows.
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

/// The progress of a run.
#[derive(Debug)]
pub struct BulkProgress<'a> {
    /// The number of input bytes that became questions, and the total, if it is known.
    pub bytes: (u64, Option<u64>),
    /// The counts.
    pub counts: &'a BulkCounts,
    /// The time since the beginning.
    pub elapsed: Duration,
    /// The number of queries sent, and of those without a result.
    pub queries: (u64, u64),
    /// The number of questions in flight.
    pub in_flight: usize,
}

/// The summary of a finished run.
#[derive(Debug)]
pub struct BulkSummary {
    /// The counts.
    pub counts: BulkCounts,
    /// The query counts, window and health of each server, in the order of the settings.
    pub servers: Vec<ResolverStats>,
    /// The time from beginning to end.
    pub elapsed: Duration,
    /// The reason why the input was not read to its end: time was up, or no server answered.
    pub stopped: Option<String>,
    /// The number before which every question is done and its record is written.
    pub done_before: u64,
}
