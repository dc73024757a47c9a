//! The driver: one or several event loops that share only the input and the output. It uses no async runtime.

mod event_loop;
pub mod input;
mod merger;
mod reader;
pub mod settings;
mod sockets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;

use super::api::BulkOptions;
use super::collect::BulkCounts;
use super::engine::ResolverStats;
use crate::fault::{Fault, Kind};
use event_loop::{EventLoop, LoopReport};
use input::Input;
use merger::OutputMerger;
use reader::SharedInput;
use settings::{BulkSettings, BulkSummary, MAX_THREADS, RunObserver};

/// Runs until the input has ended and every question has its record.
///
/// # Errors
///
/// The fault that ended a loop: of the input, the observer or the opening of sockets; [`Kind::Internal`] if a loop panicked.
pub fn run<O: RunObserver + Send>(
    settings: &BulkSettings,
    input: Input,
    observer: &mut O,
) -> Result<BulkSummary, Fault> {
    let started = Instant::now();
    let threads = settings.threads.clamp(1, MAX_THREADS.min(settings.options.concurrency.max(1)));
    let input = Mutex::new(SharedInput::new(input, settings));
    let merger = OutputMerger::new(observer, threads, settings.ordered, settings.skip);
    let run = |number| {
        let options = share_of(&settings.options, threads);
        // Each loop is made in its own thread, where its buffers stay.
        let event_loop = || EventLoop::new(number, options, settings, &input, &merger, started)?.run();
        let panicked = |_| Err(Fault::new(Kind::Internal, "a loop of the bulk run panicked"));
        // The end of one loop ends the others, since they would wait for the blocks that it has begun.
        catch_unwind(AssertUnwindSafe(event_loop)).unwrap_or_else(panicked).inspect_err(|_| merger.halt())
    };
    let run = &run;
    let reports = std::thread::scope(|scope| -> Result<Vec<LoopReport>, Fault> {
        let others: Vec<_> = (1..threads).map(|number| scope.spawn(move || run(number))).collect();
        let mut reports = vec![run(0)];
        for other in others {
            reports.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        reports.into_iter().collect()
    })?;
    let mut summary = BulkSummary {
        counts: BulkCounts::default(),
        servers: vec![ResolverStats::default(); settings.servers.len()],
        elapsed: started.elapsed(),
        stopped: None,
        done_before: merger.done_before(),
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

/// The limits of one loop: its share of the run's limits.
fn share_of(options: &BulkOptions, threads: usize) -> BulkOptions {
    BulkOptions {
        concurrency: (options.concurrency / threads).max(1),
        max_window: (options.max_window / threads as u32).max(1),
        rate: options.rate.map(|rate| rate / threads as f64),
        ..options.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::settings::BulkProgress;
    use super::*;
    use crate::dns::bulk::collect::ReportedFailure;
    use crate::dns::bulk::question::LineDefaults;
    use crate::dns::bulk::write::RecordFormat;
    use crate::dns::client::Endpoint;
    use crate::dns::record::Class;

    /// An observer that panics on the first records.
    struct PanickingObserver;

    impl RunObserver for PanickingObserver {
        fn records(&mut self, _: &[u8], _: u64) -> Result<(), Fault> {
            panic!("on purpose")
        }
        fn report(&mut self, _: &ReportedFailure) {}
        fn progress(&mut self, _: &BulkProgress<'_>) {}
    }

    /// A broken invariant ends the whole run with any number of loops, and no loop hangs.
    #[test]
    fn a_panic_in_a_loop_ends_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names");
        // No line holds a name, so nothing is sent.
        std::fs::write(&path, "a..b\n".repeat(100_000)).unwrap();
        let address: std::net::SocketAddr = "127.0.0.1:9".parse().unwrap();
        for threads in [1, 4] {
            let settings = BulkSettings {
                servers: vec![(std::sync::Arc::new(Endpoint::from(address)), "discard".to_owned())],
                options: BulkOptions::default(),
                defaults: LineDefaults { types: Vec::new(), class: Class::IN },
                format: RecordFormat::Text,
                end: b'\n',
                ordered: true,
                wildcards: None,
                skip: 0,
                resumable: false,
                until: None,
                threads,
            };
            let input = Input::new(vec![input::NameSource::File(path.clone())]).unwrap();
            assert_eq!(run(&settings, input, &mut PanickingObserver).unwrap_err().kind, Kind::Internal, "{threads}");
        }
    }
}
