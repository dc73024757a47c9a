//! Outcomes of questions: each is written as one record, counted, and put into input order if wanted. The module also
//! tracks the progress, for a run that will be resumed.

use std::collections::VecDeque;

use super::api::{FinishedQuestion, OutcomeSink, QueryFailure, QuestionOutcome, Wildcards};
use super::write::{RecordStatus, RecordWriter, detail, kind_of};
use crate::fault::Kind;

/// The maximum number of records that wait for their turn with `--ordered`, over all loops: intake stalls when this
/// many questions follow the oldest open one.
pub const MAX_ORDERED: u64 = 8192;
/// Without order: the maximum distance from the oldest open question to the newest one.
pub const MAX_SPREAD: u64 = 1 << 20;
/// The maximum number of failures reported one by one; the others are only counted (each has its record).
pub const MAX_REPORTED: usize = 10;

/// The maximum length shown of a line without a question.
const MAX_SHOWN: usize = 80;

/// The counts of a run.
#[derive(Debug, Clone, Default)]
pub struct BulkCounts {
    /// Questions answered with data.
    pub answered: u64,
    /// Questions with a negative answer.
    pub negative: u64,
    /// Questions without an answer, and lines without a question, by kind.
    pub failed: Vec<(Kind, u64)>,
    /// The answers with data that a wildcard made.
    pub wildcards: u64,
    /// Tries beyond the first.
    pub retries: u64,
    /// The first failure that a retry will not fix.
    pub first_permanent: Option<Kind>,
}

impl BulkCounts {
    /// All failures.
    pub fn failures(&self) -> u64 {
        self.failed.iter().map(|(_, count)| count).sum()
    }

    /// All questions and bad lines that are done.
    pub fn done(&self) -> u64 {
        self.answered + self.negative + self.failures()
    }

    fn failure(&mut self, kind: Kind) {
        self.failures_of(kind, 1);
        if !kind.temporary() {
            self.first_permanent.get_or_insert(kind);
        }
    }

    /// Adds another loop's counts.
    pub fn add(&mut self, other: &BulkCounts) {
        self.answered += other.answered;
        self.negative += other.negative;
        self.wildcards += other.wildcards;
        self.retries += other.retries;
        for (kind, count) in &other.failed {
            self.failures_of(*kind, *count);
        }
        self.first_permanent = self.first_permanent.or(other.first_permanent);
    }

    fn failures_of(&mut self, kind: Kind, count: u64) {
        match self.failed.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, sum)) => *sum += count,
            None => self.failed.push((kind, count)),
        }
    }
}

/// A failure for stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedFailure {
    /// The question, or the line.
    pub target: String,
    /// The kind of failure.
    pub kind: Kind,
    /// The failure as a sentence.
    pub detail: String,
}

/// Receives the outcomes and turns them into records.
#[derive(Debug)]
pub struct Collector {
    writer: RecordWriter,
    /// Records that are ready to be written.
    pub ready: Vec<u8>,
    /// The counts so far.
    pub counts: BulkCounts,
    /// Failures to report; the caller removes them.
    pub reported: Vec<ReportedFailure>,
    reported_before: usize,
    order: RecordOrder,
}

/// A loop's progress in one block of the input since its last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockShare {
    /// The block's number.
    pub block: u64,
    /// With order: the number of bytes that belong to the block in the ready records.
    pub bytes: usize,
    /// The number of its questions, from the first on, that have their records.
    pub questions: u64,
    /// All its questions have their records.
    pub complete: bool,
}

/// A block in progress.
#[derive(Debug)]
struct OpenBlock {
    number: u64,
    /// The number of its first question, and of the one after its last, if its end was seen.
    first: u64,
    end: Option<u64>,
    /// With order: the end of its records within the ready ones.
    cut: Option<usize>,
}

/// The state of completion of the questions.
#[derive(Debug)]
struct RecordOrder {
    /// The oldest question that is not done.
    oldest: u64,
    /// One bit per question, in a ring from `oldest` on.
    done: Vec<u64>,
    spread: u64,
    /// With order: the record of each question after the oldest, by number modulo their count.
    waiting: Vec<Vec<u8>>,
    /// The blocks not reported as done, in the order of their questions.
    blocks: VecDeque<OpenBlock>,
}

impl RecordOrder {
    fn new(ordered: Option<u64>) -> RecordOrder {
        let spread = ordered.map_or(MAX_SPREAD, |most| most.clamp(1, MAX_ORDERED).next_multiple_of(64));
        let waiting = if ordered.is_some() { vec![Vec::new(); spread as usize] } else { Vec::new() };
        RecordOrder { oldest: 0, done: vec![0; (spread / 64) as usize], spread, waiting, blocks: VecDeque::new() }
    }

    fn bit(&mut self, number: u64) -> Option<(&mut u64, u64)> {
        let place = number % self.spread;
        Some((self.done.get_mut((place / 64) as usize)?, 1 << (place % 64)))
    }

    /// Marks a question done and advances past all that are done; their waiting records become ready.
    fn finish(&mut self, number: u64, ready: &mut Vec<u8>) {
        if let Some((word, bit)) = self.bit(number) {
            *word |= bit;
        }
        loop {
            let oldest = self.oldest;
            match self.bit(oldest) {
                Some((word, bit)) if *word & bit != 0 => *word &= !bit,
                _ => return,
            }
            let spread = self.spread;
            if let Some(record) = self.waiting.get_mut((oldest % spread) as usize) {
                ready.extend_from_slice(record);
                record.clear();
            }
            self.oldest += 1;
            if !self.waiting.is_empty() {
                self.cut(ready.len());
            }
        }
    }

    /// Records the end of the records of blocks that are now done.
    fn cut(&mut self, at: usize) {
        for block in self.blocks.iter_mut().filter(|block| block.cut.is_none()) {
            match block.end {
                Some(end) if end <= self.oldest => block.cut = Some(at),
                _ => return,
            }
        }
    }

    /// The progress of the blocks; blocks that are done are forgotten.
    fn shares(&mut self, ready: usize) -> Vec<BlockShare> {
        let (mut shares, mut begin) = (Vec::new(), 0);
        while let Some(block) = self.blocks.front().filter(|block| block.first <= self.oldest) {
            let complete = block.end.is_some_and(|end| end <= self.oldest);
            let questions = block.end.unwrap_or(self.oldest).min(self.oldest) - block.first;
            let end = block.cut.unwrap_or(ready);
            shares.push(BlockShare { block: block.number, bytes: end - begin, questions, complete });
            begin = end;
            if !complete {
                break;
            }
            self.blocks.pop_front();
        }
        shares
    }
}

impl Collector {
    /// A collector for questions numbered from 0 on. With order, `ordered` is the maximum number of waiting records.
    pub fn new(writer: RecordWriter, ordered: Option<u64>) -> Collector {
        Collector {
            writer,
            ready: Vec::with_capacity(512 * 1024),
            counts: BulkCounts::default(),
            reported: Vec::new(),
            reported_before: 0,
            order: RecordOrder::new(ordered),
        }
    }

    /// True if the question with this number may be taken in.
    pub fn has_room(&self, number: u64) -> bool {
        number < self.order.oldest + self.order.spread
    }

    /// The number before which every question has its record among those made ready.
    pub fn done_before(&self) -> u64 {
        self.order.oldest
    }

    /// Begins a block of the input, whose first question will have the number `first`.
    pub fn begin_block(&mut self, block: u64, first: u64) {
        self.order.blocks.push_back(OpenBlock { number: block, first, end: None, cut: None });
    }

    /// Ends the last block before the question with this number.
    pub fn end_block(&mut self, end: u64) {
        if let Some(block) = self.order.blocks.back_mut() {
            block.end = Some(end);
        }
        self.order.cut(self.ready.len());
    }

    /// True if a block is done that [`Collector::shares`] has not returned.
    pub fn has_news(&self) -> bool {
        let oldest = self.order.blocks.front();
        oldest.is_some_and(|block| block.end.is_some_and(|end| end <= self.order.oldest))
    }

    /// The distribution of the ready records over blocks, and the blocks' progress. The caller removes the records.
    pub fn shares(&mut self) -> Vec<BlockShare> {
        self.order.shares(self.ready.len())
    }

    /// Stores the input form of a question's name, if it differs from the question.
    pub fn note_input(&mut self, number: u64, input: &[u8]) {
        self.writer.note_input(number, input);
    }

    /// Records a line without a question.
    pub fn bad_line(&mut self, number: u64, line: u64, text: &[u8], why: &'static str) {
        // The shown part of the line: enough to find it, not a megabyte.
        let shown = String::from_utf8_lossy(text.get(..MAX_SHOWN).unwrap_or(text)).into_owned();
        self.counts.failure(Kind::BadData);
        self.report(|| ReportedFailure {
            target: shown.clone(),
            kind: Kind::BadData,
            detail: format!("line {line}: {why}"),
        });
        self.record(number, |writer, out| writer.bad_line(line, &shown, why, out));
    }

    /// Records a question that was not asked.
    pub fn unasked(&mut self, number: u64, question: &[u8], failure: QueryFailure) {
        let outcome = QuestionOutcome::Failed(failure, None);
        let done = FinishedQuestion {
            number,
            question,
            resolver: None,
            over_connection: false,
            tries: 0,
            elapsed: 0,
            outcome,
        };
        self.finished(&done);
    }

    /// The record of a question that is not yet taken.
    pub fn render(&self, done: &FinishedQuestion<'_>) -> Vec<u8> {
        let mut record = Vec::new();
        self.writer.write(done, &mut record);
        record
    }

    /// The status that a question's record would have.
    pub fn status(&self, done: &FinishedQuestion<'_>) -> RecordStatus {
        self.writer.write(done, &mut Vec::new())
    }

    /// Takes a record that [`Collector::render`] made; the caller counts it.
    pub fn take_rendered(&mut self, number: u64, record: &[u8], wildcard: Option<Wildcards>) {
        self.record(number, |writer, out| match wildcard {
            None => out.extend_from_slice(record),
            Some(Wildcards::Mark) => writer.mark_wildcard(record, out),
            Some(Wildcards::Drop) => {}
        });
    }

    fn report(&mut self, failure: impl FnOnce() -> ReportedFailure) {
        if self.reported_before < MAX_REPORTED {
            self.reported_before += 1;
            self.reported.push(failure());
        }
    }

    /// Appends a record to the ready ones, or stores it until its turn.
    fn record<T>(&mut self, number: u64, write: impl FnOnce(&RecordWriter, &mut Vec<u8>) -> T) -> T {
        let place = (number % self.order.spread) as usize;
        let early = number != self.order.oldest;
        let value = match self.order.waiting.get_mut(place).filter(|_| early) {
            Some(waiting) => write(&self.writer, waiting),
            None => write(&self.writer, &mut self.ready),
        };
        self.writer.forget_input(number);
        self.order.finish(number, &mut self.ready);
        value
    }
}

impl OutcomeSink for Collector {
    fn finished(&mut self, done: &FinishedQuestion<'_>) {
        self.counts.retries += u64::from(done.tries.saturating_sub(1));
        match self.record(done.number, |writer, out| writer.write(done, out)) {
            RecordStatus::Answered => self.counts.answered += 1,
            RecordStatus::Negative => self.counts.negative += 1,
            RecordStatus::Failed(kind) => {
                self.counts.failure(kind);
                let failure = match done.outcome {
                    QuestionOutcome::Failed(failure, _) if kind_of(failure) == kind => failure,
                    _ if kind == Kind::Incomplete => QueryFailure::Truncated,
                    _ => QueryFailure::Malformed,
                };
                self.report(|| {
                    let mut name = Vec::new();
                    let _ = super::text::push_name(done.question, 0, done.question.len(), &mut name);
                    let target = String::from_utf8_lossy(&name).into_owned();
                    ReportedFailure { target, kind, detail: detail(failure).to_owned() }
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::write::RecordFormat;
    use super::*;

    fn collector(ordered: bool) -> Collector {
        Collector::new(RecordWriter::new(RecordFormat::Short, b'\n', false, &[]), ordered.then_some(MAX_ORDERED))
    }

    fn fail(collector: &mut Collector, number: u64) {
        let question = [&[1, b'a' + number as u8][..], b"\0\0\x01\0\x01"].concat();
        collector.unasked(number, &question, QueryFailure::TimedOut);
    }

    fn ready(collector: &mut Collector) -> String {
        String::from_utf8(std::mem::take(&mut collector.ready)).unwrap().replace("\t;TIMEOUT\n", " ")
    }

    #[test]
    fn order_is_restored_and_what_is_done_is_known() {
        let mut ordered = collector(true);
        for number in [1, 3, 2] {
            fail(&mut ordered, number);
        }
        assert_eq!((ready(&mut ordered).as_str(), ordered.done_before()), ("", 0));
        fail(&mut ordered, 0);
        assert_eq!((ready(&mut ordered).as_str(), ordered.done_before()), ("a. b. c. d. ", 4));
        assert!(ordered.has_room(4 + MAX_ORDERED - 1) && !ordered.has_room(4 + MAX_ORDERED));
        let mut unordered = collector(false);
        for number in [1, 3, 0] {
            fail(&mut unordered, number);
        }
        assert_eq!((ready(&mut unordered).as_str(), unordered.done_before()), ("b. d. a. ", 2));
        assert_eq!(unordered.counts.failures(), 3);
    }

    /// Records are distributed over the blocks that they belong to, empty blocks included.
    #[test]
    fn blocks_know_how_far_they_are() {
        let mut ordered = collector(true);
        let share = |block, bytes, questions, complete| BlockShare { block, bytes, questions, complete };
        ordered.begin_block(3, 0);
        fail(&mut ordered, 1);
        assert_eq!((ordered.shares(), ordered.has_news()), (vec![share(3, 0, 0, false)], false));
        ordered.end_block(2);
        ordered.begin_block(7, 2);
        ordered.end_block(2);
        ordered.begin_block(8, 2);
        fail(&mut ordered, 2);
        assert!(!ordered.has_news());
        fail(&mut ordered, 0);
        assert!(ordered.has_news());
        let length = ordered.ready.len() / 3;
        let expected = [share(3, 2 * length, 2, true), share(7, 0, 0, true), share(8, length, 1, false)];
        assert_eq!(ordered.shares(), expected);
        ordered.ready.clear();
        fail(&mut ordered, 3);
        ordered.end_block(4);
        assert_eq!((ordered.shares(), ordered.has_news()), (vec![share(8, length, 2, true)], false));
        assert_eq!(ordered.shares(), []);
    }

    #[test]
    fn order_holds_round_the_ring() {
        let mut ordered = collector(true);
        let question = b"\x01a\0\0\x01\0\x01";
        for block in 0..3 * MAX_ORDERED / 4 {
            for number in [3, 2, 1, 0] {
                ordered.unasked(block * 4 + number, question, QueryFailure::TimedOut);
            }
            assert_eq!(ordered.done_before(), block * 4 + 4);
        }
        assert_eq!(ready(&mut ordered).len() as u64, 3 * MAX_ORDERED * 3);
    }

    #[test]
    fn bad_lines_count_and_few_are_reported() {
        let mut collector = collector(false);
        for line in 0..50 {
            collector.bad_line(line, line + 1, &[0xff; 1000], "name is not UTF-8");
        }
        assert_eq!(collector.counts.first_permanent, Some(Kind::BadData));
        assert_eq!(
            (collector.counts.done(), collector.reported.len(), collector.done_before()),
            (50, MAX_REPORTED, 50)
        );
        assert!(collector.ready.len() < 50 * 400);
    }
}
