//! Where the loops of a run meet: records leave here whole and, if wanted, in the order of the input; how far everything
//! is done; progress. Loops come here some twenty times a second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Micros;
use super::collect::{Counts, MAX_TOLD, Share, Told};
use super::drive::{Status, Surroundings};
use crate::fault::Fault;

/// With order, so many blocks a loop may be begun before the oldest one is done.
const MAX_AHEAD: u64 = 2;
/// How often progress is shown.
const SHOW_EVERY: Micros = 200_000;

/// See the module.
pub(super) struct Hub<'a, S> {
    inner: Mutex<Inner<'a, S>>,
    /// Blocks from this number on must wait.
    end: AtomicU64,
    ahead: u64,
    halted: AtomicBool,
    /// When any loop heard something that can be believed.
    heard: AtomicU64,
}

struct Inner<'a, S> {
    around: &'a mut S,
    ordered: bool,
    /// The number of the oldest block that is not done, and what is known of it and those behind it.
    oldest: u64,
    blocks: VecDeque<Progress>,
    /// Questions of the blocks before the oldest.
    before: u64,
    /// With order: records of blocks whose turn has not come.
    waiting: BTreeMap<u64, Vec<u8>>,
    told: usize,
    loops: Vec<Standing>,
    shown: Micros,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    questions: u64,
    complete: bool,
}

/// How far one loop is.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    pub(super) counts: Counts,
    /// Queries sent, and those that brought nothing.
    pub(super) queries: (u64, u64),
    pub(super) in_flight: usize,
}

impl<'a, S: Surroundings> Hub<'a, S> {
    /// A hub for so many loops; `skip` questions are done already.
    pub(super) fn new(around: &'a mut S, loops: usize, ordered: bool, skip: u64) -> Hub<'a, S> {
        let ahead = if ordered && loops > 1 { MAX_AHEAD * loops as u64 } else { u64::MAX };
        Hub {
            inner: Mutex::new(Inner {
                around,
                ordered,
                oldest: 0,
                blocks: VecDeque::new(),
                before: skip,
                waiting: BTreeMap::new(),
                told: 0,
                loops: vec![Standing::default(); loops],
                shown: 0,
            }),
            end: AtomicU64::new(ahead),
            ahead,
            halted: AtomicBool::new(false),
            heard: AtomicU64::new(0),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<'a, S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks below this number may be begun.
    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Ends all loops: one has failed.
    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    /// True if the loops are to end.
    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// A loop heard something at this time; when any loop last did.
    pub(super) fn heard(&self, at: Micros) -> Micros {
        self.heard.fetch_max(at, Ordering::Relaxed).max(at)
    }

    /// Every question before this number is done and its record has left.
    pub(super) fn done_before(&self) -> u64 {
        self.inner().done_before()
    }

    /// Takes a loop's records, how they are shared out among its blocks, and its failures. When this returns they have
    /// left, or wait for their turn.
    pub(super) fn take(&self, records: &[u8], shares: &[Share], told: &mut Vec<Told>) -> Result<(), Fault> {
        let mut inner = self.inner();
        for told in told.drain(..) {
            if inner.told < MAX_TOLD {
                inner.told += 1;
                inner.around.told(&told);
            }
        }
        let ready = inner.share(records, shares);
        let ready = ready.as_deref().unwrap_or(records);
        let done_before = inner.done_before();
        let result = if ready.is_empty() { Ok(()) } else { inner.around.records(ready, done_before) };
        self.end.store(inner.oldest.saturating_add(self.ahead), Ordering::Relaxed);
        result
    }

    /// Shows how far all loops are, if it is time.
    pub(super) fn show(&self, number: usize, standing: Standing, bytes: (u64, Option<u64>), now: Micros) {
        let mut inner = self.inner();
        if let Some(place) = inner.loops.get_mut(number) {
            *place = standing;
        }
        if now.saturating_sub(inner.shown) < SHOW_EVERY {
            return;
        }
        inner.shown = now;
        let mut sum = Standing::default();
        for one in &inner.loops {
            sum.counts.add(&one.counts);
            sum.queries = (sum.queries.0 + one.queries.0, sum.queries.1 + one.queries.1);
            sum.in_flight += one.in_flight;
        }
        inner.around.progress(&Status {
            bytes,
            counts: &sum.counts,
            elapsed: Duration::from_micros(now),
            queries: sum.queries,
            in_flight: sum.in_flight,
        });
    }
}

impl<S> Inner<'_, S> {
    fn done_before(&self) -> u64 {
        self.before + self.blocks.front().map_or(0, |oldest| oldest.questions)
    }

    /// Notes how far blocks are. With order: the records that may leave now, in place of those that came.
    fn share(&mut self, records: &[u8], shares: &[Share]) -> Option<Vec<u8>> {
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
            let place = share.block.saturating_sub(self.oldest) as usize;
            if self.blocks.len() <= place {
                self.blocks.resize(place + 1, Progress::default());
            }
            if let Some(known) = self.blocks.get_mut(place) {
                *known = Progress { questions: share.questions, complete: share.complete };
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
    struct Paper(String, Vec<u64>, usize);

    impl Surroundings for Paper {
        fn records(&mut self, records: &[u8], done_before: u64) -> Result<(), Fault> {
            self.0.push_str(std::str::from_utf8(records).unwrap());
            self.1.push(done_before);
            Ok(())
        }
        fn told(&mut self, _: &Told) {
            self.2 += 1;
        }
        fn progress(&mut self, _: &Status<'_>) {}
    }

    fn share(block: u64, bytes: usize, questions: u64, complete: bool) -> Share {
        Share { block, bytes, questions, complete }
    }

    #[test]
    fn blocks_of_several_loops_leave_in_order() {
        let mut paper = Paper::default();
        let hub = Hub::new(&mut paper, 2, true, 10);
        assert_eq!(hub.end(), 4);
        let none = &mut Vec::new();
        // The second loop is done with blocks 1 and 2 while the first is in the middle of block 0.
        hub.take(b"ccdd", &[share(1, 2, 2, true), share(2, 2, 2, false)], none).unwrap();
        assert_eq!(hub.done_before(), 10);
        hub.take(b"aa", &[share(0, 2, 2, false)], none).unwrap();
        assert_eq!(hub.done_before(), 12);
        hub.take(b"b", &[share(0, 1, 3, true)], none).unwrap();
        assert_eq!((hub.done_before(), hub.end()), (10 + 3 + 2 + 2, 2 + 4));
        hub.take(b"ee", &[share(2, 2, 4, true)], none).unwrap();
        assert_eq!(hub.done_before(), 10 + 3 + 2 + 4);
        drop(hub);
        assert_eq!((paper.0.as_str(), paper.1.as_slice()), ("aabccddee", &[12, 17, 19][..]));
    }

    #[test]
    fn without_order_records_leave_at_once_and_what_is_done_is_known() {
        let mut paper = Paper::default();
        let hub = Hub::new(&mut paper, 2, false, 0);
        let told = Told { target: String::new(), kind: crate::fault::Kind::TimedOut, detail: String::new() };
        hub.take(b"b", &[share(1, 0, 5, true)], &mut vec![told.clone(); 8]).unwrap();
        assert_eq!((hub.done_before(), hub.end()), (0, u64::MAX));
        hub.take(b"a", &[share(0, 0, 3, true)], &mut vec![told; 8]).unwrap();
        drop(hub);
        assert_eq!((paper.0.as_str(), paper.1.as_slice(), paper.2), ("ba", &[0, 8][..], MAX_TOLD));
    }
}
