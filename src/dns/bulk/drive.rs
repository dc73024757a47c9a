//! The driver: loops that share nothing but the input and the output ([`super::drive_loop`]), one or several. No runtime.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::Health;
use super::collect::{Counts, Told};
use super::drive_hub::Hub;
use super::drive_input::Input;
use super::drive_intake::Supply;
use super::drive_loop::{Loop, Report};
use super::terms::Options;
use super::wildcard::Wildcards;
use super::write::Form;
use crate::dns::client::Endpoint;
use crate::dns::record::Rtype;
use crate::fault::{Fault, Kind};

/// When no server said anything for so long, the run ends: whatever is left fails as unanswered.
pub const MAX_SILENCE: Duration = Duration::from_secs(60);
/// The length of a turn: longer ones cost answers their place in the sockets' buffers, shorter ones cost calls.
pub const TURN: Duration = Duration::from_micros(300);
/// Loops in one run.
pub const MAX_THREADS: usize = 64;

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The servers, each with the name that the user gave it.
    pub servers: Vec<(Arc<Endpoint>, String)>,
    /// The engine's part.
    pub options: Options,
    /// The types to ask for where a line names none.
    pub types: Vec<Rtype>,
    /// The class to ask in.
    pub class: u16,
    /// How records look.
    pub form: Form,
    /// What ends a record of text.
    pub end: u8,
    /// In the order of the input.
    pub ordered: bool,
    /// What to do with answers that a wildcard made.
    pub wildcards: Option<Wildcards>,
    /// So many questions are done already: they are read and passed over.
    pub skip: u64,
    /// A run that can be taken up again stops, rather than declaring what is left to have failed.
    pub resumable: bool,
    /// The end of the whole run.
    pub until: Option<Instant>,
    /// Length of a turn.
    pub turn: Duration,
    /// So many loops, each in a thread of its own, share the input, the rate and the windows.
    pub threads: usize,
}

/// What surrounds a run.
pub trait Surroundings {
    /// Takes whole records. When this returns they have left, and with them every question before `done_before`.
    fn records(&mut self, records: &[u8], done_before: u64) -> Result<(), Fault>;
    /// A failure to be told on stderr.
    fn told(&mut self, told: &Told);
    /// Shows how far it is.
    fn progress(&mut self, status: &Status<'_>);
}

/// How far a run is.
#[derive(Debug)]
pub struct Status<'a> {
    /// Bytes of input that became questions, and how many there are, if that is known.
    pub bytes: (u64, Option<u64>),
    /// The counts.
    pub counts: &'a Counts,
    /// Since the beginning.
    pub elapsed: Duration,
    /// Queries sent, and those that brought nothing.
    pub queries: (u64, u64),
    /// Questions in flight.
    pub in_flight: usize,
}

/// How a run ended.
#[derive(Debug)]
pub struct Summary {
    /// The counts.
    pub counts: Counts,
    /// Queries sent, windows and health of each server, in the order of the settings.
    pub servers: Vec<Health>,
    /// From beginning to end.
    pub elapsed: Duration,
    /// The input was not read to its end: time was up, or nobody answered.
    pub stopped: Option<&'static str>,
    /// Every question before this number is done and its record has left.
    pub done_before: u64,
}

/// Runs until the input is over and every question has its record.
pub fn run<S: Surroundings + Send>(settings: &Settings, input: Input, around: &mut S) -> Result<Summary, Fault> {
    let started = Instant::now();
    let threads = settings.threads.clamp(1, MAX_THREADS.min(settings.options.concurrency.max(1)));
    allow_descriptors();
    let supply = Mutex::new(Supply::new(input, settings));
    let hub = Hub::new(around, threads, settings.ordered, settings.skip);
    let run = |number| {
        // Each loop is made where it runs: its buffers stay there.
        let one = Loop::new(number, part(&settings.options, threads), settings, &supply, &hub, started);
        one.and_then(Loop::run).inspect_err(|_| hub.halt())
    };
    let run = &run;
    let reports = std::thread::scope(|scope| -> Result<Vec<Report>, Fault> {
        let others: Vec<_> = (1..threads).map(|number| scope.spawn(move || run(number))).collect();
        let mut reports = vec![run(0)];
        for other in others {
            reports.push(other.join().unwrap_or_else(|_| Err(Fault::new(Kind::Internal, "a thread broke down"))));
        }
        reports.into_iter().collect()
    })?;
    let mut summary = Summary {
        counts: Counts::default(),
        servers: vec![Health::default(); settings.servers.len()],
        elapsed: started.elapsed(),
        stopped: None,
        done_before: hub.done_before(),
    };
    for report in reports {
        summary.counts.add(&report.counts);
        summary.stopped = summary.stopped.or(report.stopped);
        for (sum, one) in summary.servers.iter_mut().zip(&report.servers) {
            sum.add(one);
        }
    }
    Ok(summary)
}

/// One loop's part of what all may do.
fn part(options: &Options, threads: usize) -> Options {
    Options {
        concurrency: (options.concurrency / threads).max(1),
        max_window: (options.max_window / threads as u32).max(1),
        rate: options.rate.map(|rate| rate / threads as f64),
        ..options.clone()
    }
}

/// Many servers need many sockets: as many descriptors as the system allows without asking.
fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Without it there are just fewer: opening them will tell.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
