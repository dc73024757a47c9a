//! The merger of all loops' output: it writes whole records and, with `--ordered`, in the order of the input. It tracks
//! the progress of the run and reports it. Each loop calls it about twenty times a second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::settings::{BulkProgress, RunObserver};
use crate::dns::bulk::Micros;
use crate::dns::bulk::collect::{BlockShare, BulkCounts, MAX_REPORTED, ReportedFailure};
use crate::fault::Fault;

/// With order: the maximum number of blocks per loop that are begun before the oldest one is done.
const MAX_AHEAD: u64 = 2;
/// The interval of the progress display.
const SHOW_EVERY: Micros = 200_000;

/// Merges the records of all loops.
pub(super) struct OutputMerger<'a, S> {
    state: Mutex<MergerState<'a, S>>,
    /// Blocks with this number and above must wait.
    block_limit: AtomicU64,
    ahead: u64,
    halted: AtomicBool,
    /// The time of the last valid answer to any loop.
    last_valid_answer: AtomicU64,
    /// True once a server has answered.
    pub(super) answered: AtomicBool,
}

struct MergerState<'a, S> {
    observer: &'a mut S,
    ordered: bool,
    /// The number of the oldest block that is not done, and the state of it and of those after it.
    oldest: u64,
    blocks: VecDeque<BlockState>,
    /// The number of questions in the blocks before the oldest.
    before: u64,
    /// With order: the records of blocks that wait for their turn.
    waiting: BTreeMap<u64, Vec<u8>>,
    reported: usize,
    loops: Vec<LoopProgress>,
    shown: Micros,
}

#[derive(Debug, Clone, Copy, Default)]
struct BlockState {
    questions: u64,
    complete: bool,
}

/// The progress of one loop.
#[derive(Debug, Clone, Default)]
pub(super) struct LoopProgress {
    pub(super) counts: BulkCounts,
    /// The number of queries sent, and of those without a result.
    pub(super) queries: (u64, u64),
    pub(super) in_flight: usize,
}

impl<'a, S: RunObserver> OutputMerger<'a, S> {
    /// Creates a merger for this number of loops; `skip` questions are already done.
    pub(super) fn new(observer: &'a mut S, loops: usize, ordered: bool, skip: u64) -> OutputMerger<'a, S> {
        let ahead = if ordered && loops > 1 { MAX_AHEAD * loops as u64 } else { u64::MAX };
        OutputMerger {
            state: Mutex::new(MergerState {
                observer,
                ordered,
                oldest: 0,
                blocks: VecDeque::new(),
                before: skip,
                waiting: BTreeMap::new(),
                reported: 0,
                loops: vec![LoopProgress::default(); loops],
                shown: 0,
            }),
            block_limit: AtomicU64::new(ahead),
            ahead,
            halted: AtomicBool::new(false),
            last_valid_answer: AtomicU64::new(0),
            answered: AtomicBool::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, MergerState<'a, S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks below this number may be begun.
    pub(super) fn block_limit(&self) -> u64 {
        self.block_limit.load(Ordering::Relaxed)
    }

    /// Tells all loops to end, because one has failed.
    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    /// True if the loops must end.
    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Takes the time of one loop's last valid answer; returns the latest of all loops.
    pub(super) fn last_valid_answer(&self, at: Micros) -> Micros {
        self.last_valid_answer.fetch_max(at, Ordering::Relaxed).max(at)
    }

    /// The number before which every question is done and its record is written.
    pub(super) fn done_before(&self) -> u64 {
        self.state().done_before()
    }

    /// Takes the records of one loop, their distribution over its blocks, and its failures. On return the records are
    /// written or wait for their turn.
    ///
    /// # Errors
    ///
    /// The fault of the observer's output.
    pub(super) fn merge(
        &self,
        records: &[u8],
        shares: &[BlockShare],
        failures: &mut Vec<ReportedFailure>,
    ) -> Result<(), Fault> {
        let mut state = self.state();
        for failure in failures.drain(..) {
            if state.reported < MAX_REPORTED {
                state.reported += 1;
                state.observer.report(&failure);
            }
        }
        let ready = state.share(records, shares);
        let ready = ready.as_deref().unwrap_or(records);
        let done_before = state.done_before();
        let result = if ready.is_empty() { Ok(()) } else { state.observer.records(ready, done_before) };
        self.block_limit.store(state.oldest.saturating_add(self.ahead), Ordering::Relaxed);
        result
    }

    /// Shows the progress of all loops, if it is time.
    pub(super) fn show(&self, number: usize, progress: LoopProgress, bytes: (u64, Option<u64>), now: Micros) {
        let mut state = self.state();
        if let Some(known) = state.loops.get_mut(number) {
            *known = progress;
        }
        if now.saturating_sub(state.shown) < SHOW_EVERY {
            return;
        }
        state.shown = now;
        let mut sum = LoopProgress::default();
        for one in &state.loops {
            sum.counts.add(&one.counts);
            sum.queries = (sum.queries.0 + one.queries.0, sum.queries.1 + one.queries.1);
            sum.in_flight += one.in_flight;
        }
        state.observer.progress(&BulkProgress {
            bytes,
            counts: &sum.counts,
            elapsed: Duration::from_micros(now),
            queries: sum.queries,
            in_flight: sum.in_flight,
        });
    }
}

impl<S> MergerState<'_, S> {
    fn done_before(&self) -> u64 {
        self.before + self.blocks.front().map_or(0, |oldest| oldest.questions)
    }

    /// Stores the progress of blocks. With order: returns the records to write now instead of those passed in.
    fn share(&mut self, records: &[u8], shares: &[BlockShare]) -> Option<Vec<u8>> {
        let mut ready = Vec::new();
        let mut rest = records;
        for share in shares {
            if self.ordered {
                let (own, others) = rest.split_at_checked(share.bytes).unwrap_or((rest, &[]));
                rest = others;
                if share.block == self.oldest {
                    ready.extend_from_slice(own);
                } else {
                    self.waiting.entry(share.block).or_default().extend_from_slice(own);
                }
            }
            let ahead = share.block.saturating_sub(self.oldest) as usize;
            if self.blocks.len() <= ahead {
                self.blocks.resize(ahead + 1, BlockState::default());
            }
            if let Some(known) = self.blocks.get_mut(ahead) {
                *known = BlockState { questions: share.questions, complete: share.complete };
            }
            while let Some(oldest) = self.blocks.front().filter(|oldest| oldest.complete) {
                self.before += oldest.questions;
                self.blocks.pop_front();
                self.oldest += 1;
                if let Some(waited) = self.waiting.remove(&self.oldest) {
                    ready.extend_from_slice(&waited);
                }
            }
        }
        self.ordered.then_some(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorder(String, Vec<u64>, usize);

    impl RunObserver for Recorder {
        fn records(&mut self, records: &[u8], done_before: u64) -> Result<(), Fault> {
            self.0.push_str(std::str::from_utf8(records).unwrap());
            self.1.push(done_before);
            Ok(())
        }
        fn report(&mut self, _: &ReportedFailure) {
            self.2 += 1;
        }
        fn progress(&mut self, _: &BulkProgress<'_>) {}
    }

    fn share(block: u64, bytes: usize, questions: u64, complete: bool) -> BlockShare {
        BlockShare { block, bytes, questions, complete }
    }

    #[test]
    fn blocks_of_several_loops_leave_in_order() {
        let mut recorder = Recorder::default();
        let merger = OutputMerger::new(&mut recorder, 2, true, 10);
        assert_eq!(merger.block_limit(), 4);
        let none = &mut Vec::new();
        // The second loop is done with blocks 1 and 2 while the first is in the middle of block 0.
        merger.merge(b"ccdd", &[share(1, 2, 2, true), share(2, 2, 2, false)], none).unwrap();
        assert_eq!(merger.done_before(), 10);
        merger.merge(b"aa", &[share(0, 2, 2, false)], none).unwrap();
        assert_eq!(merger.done_before(), 12);
        merger.merge(b"b", &[share(0, 1, 3, true)], none).unwrap();
        assert_eq!((merger.done_before(), merger.block_limit()), (10 + 3 + 2 + 2, 2 + 4));
        merger.merge(b"ee", &[share(2, 2, 4, true)], none).unwrap();
        assert_eq!(merger.done_before(), 10 + 3 + 2 + 4);
        drop(merger);
        assert_eq!((recorder.0.as_str(), recorder.1.as_slice()), ("aabccddee", &[12, 17, 19][..]));
    }

    #[test]
    fn without_order_records_leave_at_once_and_what_is_done_is_known() {
        let mut recorder = Recorder::default();
        let merger = OutputMerger::new(&mut recorder, 2, false, 0);
        let failure =
            ReportedFailure { target: String::new(), kind: crate::fault::Kind::TimedOut, detail: String::new() };
        merger.merge(b"b", &[share(1, 0, 5, true)], &mut vec![failure.clone(); 8]).unwrap();
        assert_eq!((merger.done_before(), merger.block_limit()), (0, u64::MAX));
        merger.merge(b"a", &[share(0, 0, 3, true)], &mut vec![failure; 8]).unwrap();
        drop(merger);
        assert_eq!((recorder.0.as_str(), recorder.1.as_slice(), recorder.2), ("ba", &[0, 8][..], MAX_REPORTED));
    }
}
