//! Detects names that exist only because of a wildcard (RFC 4592). Probes ask for random names below the parent of each
//! name that was found; a name whose every record also came in probes belongs to the wildcard.
//!
//! A wildcard may answer with some of many addresses, so the records of all probes count together. A few probes come first.
//! More follow as long as names have records that no probe returned and the last probes returned something new. Names are
//! evidence, too: a record that several of them have and no probe returned suggests that the wildcard has more records, and
//! extends the search. Only records from probes assign a name to the wildcard, so a real name is lost only if it has the
//! wildcard's own records. The test `rotating_answers` measures how many of the wildcard's names stay.

use std::collections::HashMap;

use super::api::{FinishedQuestion, OutcomeSink, QuestionOutcome, Wildcards};
use super::collect::Collector;
use super::engine::Random;
use super::text::{push_name, push_rdata};
use super::walk::ResponseView;
use super::write::RecordStatus;
use crate::dns::message::AnswerMeaning;
use crate::fnv::fnv1a;

/// The bit that marks the numbers of probe questions.
const PROBE: u64 = 1 << 63;
/// The maximum number of parents remembered; above it, they are forgotten and probed again.
pub const MAX_PARENTS: usize = 50_000;
/// The maximum number of records that wait for a probe: above it, no more names are taken in.
pub const MAX_HELD: usize = 20_000;
/// The length of a random label: 20 letters, some 94 bits.
const LABEL: usize = 20;
/// The number of first probes below each parent, and of those that follow at a time while names are unexplained.
const FIRST_PROBES: u32 = 3;
const MORE_PROBES: u32 = 8;
/// The number of consecutive probes without a new record that ends the search: if all answers were alike, if they
/// differ, and if names share records that no probe returned.
const ENOUGH: [u32; 3] = [8, 24, 96];
/// A record of this many names, which no probe returned, counts as shared.
const COMMON: u32 = 3;
/// The maximum number of probes below one parent.
const MAX_PROBES: u32 = 400;
/// The maximum number of records remembered below one parent.
const MAX_SEEN: usize = 2_000;

/// A filter between the engine and the collector that detects answers made by a wildcard.
#[derive(Debug)]
pub struct WildcardFilter {
    /// The receiver of the answers that pass.
    pub collector: Collector,
    mode: Option<Wildcards>,
    random: Random,
    /// The states by parent, type and class.
    parents: HashMap<Box<[u8]>, ParentState>,
    /// The numbers of probes to be asked, and the parent of each open probe.
    waiting: Vec<u64>,
    probes: HashMap<u64, Box<[u8]>>,
    next: u64,
    held: usize,
}

/// The state of one parent, for one type and class.
#[derive(Debug, Default)]
struct ParentState {
    /// The records from probes, sorted.
    seen: Vec<u64>,
    /// The number of probes requested, of those still unanswered, and of the last ones without a new record.
    asked: u32,
    outstanding: u32,
    quiet: u32,
    /// The probes returned different answers.
    rotates: bool,
    /// Names that wait for probes.
    held: Vec<HeldRecord>,
    /// Records of names that no probe returned, and the number of names with each.
    strange: HashMap<u64, u32>,
    /// Several names share one of the `strange` records.
    common: bool,
}

impl ParentState {
    /// True if probes returned every one of these records.
    fn explains(&self, records: &[u64]) -> bool {
        !records.is_empty() && records.iter().all(|record| self.seen.binary_search(record).is_ok())
    }

    /// Adds the records from a probe.
    fn learn(&mut self, records: &[u64]) {
        let (before, known) = (self.seen.len(), self.explains(records));
        for record in records {
            if let Err(at) = self.seen.binary_search(record)
                && self.seen.len() < MAX_SEEN
            {
                self.seen.insert(at, *record);
            }
        }
        self.rotates |= before > 0 && !records.is_empty() && (!known || records.len() < before);
        self.quiet += 1;
        if self.seen.len() > before {
            self.quiet = 0;
            let unseen = |record: &u64| self.seen.binary_search(record).is_err();
            self.common = self.strange.iter().any(|(record, names)| *names >= COMMON && unseen(record));
        }
    }

    /// Adds a name's records as evidence.
    fn wonder(&mut self, records: &[u64]) {
        for record in records {
            if self.seen.binary_search(record).is_err() && self.strange.len() < MAX_SEEN {
                let names = self.strange.entry(*record).or_default();
                *names += 1;
                self.common |= *names >= COMMON;
            }
        }
    }

    /// The number of further probes to ask; `unexplained`: there is a name that they could explain.
    fn wanted(&self, unexplained: bool) -> u32 {
        if self.asked < FIRST_PROBES {
            return FIRST_PROBES - self.asked;
        }
        if self.seen.is_empty() || !unexplained {
            return 0;
        }
        let [alike, rotating, evident] = ENOUGH;
        let enough = if self.common {
            evident
        } else if self.rotates {
            rotating
        } else {
            alike
        };
        if self.quiet >= enough { 0 } else { MORE_PROBES.min(MAX_PROBES.saturating_sub(self.asked)) }
    }
}

#[derive(Debug)]
struct HeldRecord {
    number: u64,
    record: Vec<u8>,
    /// The name's own records, in the form of [`ParentState::seen`].
    records: Vec<u64>,
    retries: u64,
}

impl WildcardFilter {
    /// Creates the filter; without a mode it passes everything through.
    pub fn new(collector: Collector, mode: Option<Wildcards>, random: Random) -> WildcardFilter {
        WildcardFilter {
            collector,
            mode,
            random,
            parents: HashMap::new(),
            waiting: Vec::new(),
            probes: HashMap::new(),
            next: PROBE,
            held: 0,
        }
    }

    /// True if more names may be taken in.
    pub fn has_room(&self) -> bool {
        self.held < MAX_HELD
    }

    /// True if nothing waits for a probe.
    pub fn is_idle(&self) -> bool {
        self.held == 0 && self.waiting.is_empty()
    }

    /// Asks the waiting probes, by number and question, as long as `ask` accepts them.
    pub fn ask_probes(&mut self, mut ask: impl FnMut(u64, &[u8]) -> bool) {
        while let Some(number) = self.waiting.last().copied() {
            let Some(key) = self.probes.get(&number) else {
                self.waiting.pop();
                continue;
            };
            let mut question = Vec::with_capacity(1 + LABEL + key.len());
            question.push(LABEL as u8);
            question.extend((0..LABEL).map(|_| b'a' + self.random.below(26) as u8));
            question.extend_from_slice(key);
            if question.len() > super::MAX_QUESTION {
                self.waiting.pop();
                self.probed(number, &[]);
            } else if ask(number, &question) {
                self.waiting.pop();
            } else {
                return;
            }
        }
    }

    /// Stops all probes: names that wait for one count as real.
    pub fn end_probes(&mut self) {
        self.waiting.clear();
        self.probes.clear();
        for parent in self.parents.values_mut() {
            parent.outstanding = 0;
            // No more probes are asked for names that come from now on.
            parent.asked = MAX_PROBES;
        }
        for key in self.parents.keys().cloned().collect::<Vec<_>>() {
            self.settle(&key);
        }
    }

    /// Forgets the names that wait for probes: they stay open.
    pub fn forget_held(&mut self) {
        self.parents.clear();
        self.waiting.clear();
        self.probes.clear();
        self.held = 0;
    }

    /// Handles a name that was found: it is judged now, or waits for probes below its parent.
    fn found(&mut self, done: &FinishedQuestion<'_>, walked: &ResponseView<'_>, mode: Wildcards) {
        // The parent, with type and class: the probe's question without its first label.
        let skip = done.question.first().map_or(0, |length| usize::from(*length) + 1);
        let Some(key) = done.question.get(skip..).filter(|key| labels(key) >= 2) else {
            return self.collector.finished(done);
        };
        let key: Box<[u8]> = key.to_ascii_lowercase().into();
        if self.parents.len() >= MAX_PARENTS && !self.parents.contains_key(&key) {
            self.parents.retain(|_, parent| !parent.held.is_empty());
        }
        let records = own_records(walked, done.question);
        let parent = self.parents.entry(key.clone()).or_default();
        if parent.outstanding == 0 && parent.asked >= FIRST_PROBES && parent.seen.is_empty() {
            return self.collector.finished(done);
        }
        let held = HeldRecord {
            number: done.number,
            record: self.collector.render(done),
            records,
            retries: u64::from(done.tries.saturating_sub(1)),
        };
        if parent.explains(&held.records) {
            return release(&mut self.collector, held, true, mode);
        }
        parent.wonder(&held.records);
        parent.held.push(held);
        self.held += 1;
        self.settle(&key);
    }

    /// Handles the end of a probe, answered or not.
    fn probed(&mut self, number: u64, records: &[u64]) {
        let Some(key) = self.probes.remove(&number) else { return };
        let Some(parent) = self.parents.get_mut(&key) else { return };
        parent.outstanding = parent.outstanding.saturating_sub(1);
        parent.learn(records);
        self.settle(&key);
    }

    /// Releases the names that can be judged, or asks for more probes.
    fn settle(&mut self, key: &[u8]) {
        let (Some(parent), Some(mode)) = (self.parents.get_mut(key), self.mode) else { return };
        if parent.outstanding > 0 {
            return;
        }
        let unexplained = parent.held.iter().any(|held| !parent.explains(&held.records));
        let wanted = parent.wanted(unexplained);
        if wanted == 0 {
            let held = std::mem::take(&mut parent.held);
            self.held -= held.len();
            for held in held {
                let wild = parent.explains(&held.records);
                release(&mut self.collector, held, wild, mode);
            }
            return;
        }
        parent.asked += wanted;
        parent.outstanding = wanted;
        for number in self.next..self.next + u64::from(wanted) {
            self.probes.insert(number, key.into());
            self.waiting.push(number);
        }
        self.next += u64::from(wanted);
    }
}

fn release(collector: &mut Collector, held: HeldRecord, wild: bool, mode: Wildcards) {
    collector.counts.retries += held.retries;
    if wild {
        collector.counts.wildcards += 1;
    }
    collector.counts.answered += 1;
    collector.take_rendered(held.number, &held.record, wild.then_some(mode));
}

impl OutcomeSink for WildcardFilter {
    fn finished(&mut self, done: &FinishedQuestion<'_>) {
        let Some(mode) = self.mode else { return self.collector.finished(done) };
        if done.number & PROBE != 0 {
            let records = match done.outcome {
                QuestionOutcome::Answered(walked) if is_found(walked, done.question) => {
                    own_records(walked, done.question)
                }
                _ => Vec::new(),
            };
            return self.probed(done.number, &records);
        }
        match done.outcome {
            QuestionOutcome::Answered(walked) if is_found(walked, done.question) => {
                // A record that cannot be written is a failure, not data.
                if matches!(self.collector.status(done), RecordStatus::Answered) {
                    return self.found(done, walked, mode);
                }
                self.collector.finished(done);
            }
            _ => self.collector.finished(done),
        }
    }
}

fn is_found(walked: &ResponseView<'_>, question: &[u8]) -> bool {
    let at = question.len().saturating_sub(4);
    let qtype = question.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |pair| u16::from_be_bytes(*pair));
    walked.meaning(qtype) == AnswerMeaning::Data
}

/// The number of labels of the name at the beginning, without the root.
fn labels(wire: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Some(length) = wire.get(at).filter(|length| **length != 0) {
        at += 1 + usize::from(*length);
        count += 1;
    }
    count
}

/// The records of the name itself, each as a hash that is independent of the owner name; sorted.
fn own_records(walked: &ResponseView<'_>, question: &[u8]) -> Vec<u64> {
    let message = walked.message();
    let (mut own, mut text, mut records) = (Vec::new(), Vec::new(), Vec::new());
    let _ = push_name(question, 0, question.len(), &mut own);
    for place in walked.answers().take(MAX_SEEN) {
        text.clear();
        let _ = push_name(message, place.owner, message.len(), &mut text);
        if !text.eq_ignore_ascii_case(&own) {
            continue;
        }
        text.clear();
        text.extend_from_slice(&place.rtype.to_be_bytes());
        push_rdata(message, &place, &mut text);
        records.push(fnv1a(text.iter().copied()));
    }
    records.sort_unstable();
    records.dedup();
    records
}

#[cfg(test)]
mod tests {
    use super::super::write::{RecordFormat, RecordWriter};
    use super::*;

    /// Builds a question for LABEL.x.test A and its answer with these addresses; without addresses, the name does not exist.
    fn message(label: &[u8], addresses: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut question = vec![label.len() as u8];
        question.extend_from_slice(label);
        question.extend_from_slice(b"\x01x\x04test\0\0\x01\0\x01");
        let rcode = if addresses.is_empty() { 0x83 } else { 0x80 };
        let mut answer = vec![0, 0, 0x81, rcode, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0];
        answer.extend_from_slice(&question);
        for address in addresses {
            answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, *address]);
        }
        (question, answer)
    }

    fn done(filter: &mut WildcardFilter, number: u64, label: &str, addresses: &[u8]) {
        let (question, answer) = message(label.as_bytes(), addresses);
        let walked = ResponseView::new(&answer, question.len()).unwrap();
        let outcome = QuestionOutcome::Answered(&walked);
        filter.finished(&FinishedQuestion {
            number,
            question: &question,
            resolver: None,
            over_connection: false,
            tries: 1,
            elapsed: 0,
            outcome,
        });
    }

    /// Answers probes until no more are asked; returns their number.
    fn answer_probes(filter: &mut WildcardFilter, mut addresses: impl FnMut() -> Vec<u8>) -> u32 {
        let mut count = 0;
        loop {
            let mut asked = Vec::new();
            filter.ask_probes(|number, question| {
                assert!(
                    question[1..21].iter().all(u8::is_ascii_lowercase)
                        && question[21..].starts_with(b"\x01x\x04test\0")
                );
                asked.push(number);
                true
            });
            if asked.is_empty() {
                return count;
            }
            for number in asked {
                count += 1;
                done(filter, number, "probeprobeprobeprobe", &addresses());
            }
        }
    }

    fn filter(mode: Option<Wildcards>) -> WildcardFilter {
        let collector = Collector::new(RecordWriter::new(RecordFormat::Short, b'\n', false, &[]), None);
        WildcardFilter::new(collector, mode, Random::seeded(1))
    }

    fn ready(filter: &WildcardFilter) -> String {
        String::from_utf8(filter.collector.ready.clone()).unwrap()
    }

    #[test]
    fn probes_decide_for_all_names_of_a_parent() {
        for (mode, expected) in [
            (
                Wildcards::Mark,
                "a.x.test.\t192.0.2.1\t;wildcard\nb.x.test.\t192.0.2.2\nc.x.test.\t192.0.2.1\t;wildcard\n",
            ),
            (Wildcards::Drop, "b.x.test.\t192.0.2.2\n"),
        ] {
            let mut filter = filter(Some(mode));
            done(&mut filter, 0, "a", &[1]);
            done(&mut filter, 1, "b", &[2]);
            assert_eq!(ready(&filter), "", "both wait");
            let [alike, ..] = ENOUGH;
            assert!(answer_probes(&mut filter, || vec![1]) <= alike + MORE_PROBES + 1);
            done(&mut filter, 2, "c", &[1]);
            assert_eq!(ready(&filter), expected);
            assert!(filter.is_idle());
            assert_eq!((filter.collector.counts.answered, filter.collector.counts.wildcards), (3, 2));
            assert_eq!(filter.collector.done_before(), 3);
        }
    }

    #[test]
    fn probes_without_an_answer_mark_nothing() {
        let mut filter = filter(Some(Wildcards::Drop));
        done(&mut filter, 0, "a", &[1]);
        assert_eq!(answer_probes(&mut filter, Vec::new), FIRST_PROBES);
        done(&mut filter, 1, "b", &[1]);
        assert_eq!(ready(&filter), "a.x.test.\t192.0.2.1\nb.x.test.\t192.0.2.1\n");
    }

    /// Wildcards that answer with `each` of `pool` addresses at random: of a hundred of their names fewer than one stays where
    /// they have up to 32 addresses, and no name is lost that has another address, alone or as one of twenty on one host.
    #[test]
    fn rotating_answers() {
        const JUNK: u64 = 200;
        for (pool, each) in [(1, 1), (2, 1), (4, 1), (8, 1), (8, 2), (16, 1), (32, 1), (32, 4)] {
            let (mut kept, mut probes, rounds) = (0, 0, 20);
            for seed in 0..rounds {
                let mut random = Random::seeded(seed);
                let mut pick = || -> Vec<u8> { (0..each).map(|_| 1 + random.below(pool) as u8).collect() };
                let mut filter = filter(Some(Wildcards::Drop));
                let mut number = 0;
                for (label, addresses) in (0..22).map(|real| (format!("real{real}"), vec![200 + (real / 20) as u8])) {
                    done(&mut filter, number, &label, &addresses);
                    number += 1;
                }
                for junk in 0..JUNK {
                    done(&mut filter, number, &format!("junk{junk}"), &pick());
                    number += 1;
                    // Answers come while names do.
                    if junk % 50 == 0 {
                        probes += answer_probes(&mut filter, &mut pick);
                    }
                }
                probes += answer_probes(&mut filter, &mut pick);
                assert!(filter.is_idle() && filter.collector.done_before() == number);
                let text = ready(&filter);
                assert_eq!(text.matches("real").count(), 22, "a real name was lost");
                kept += text.matches("junk").count() as u64;
            }
            assert!(kept * 100 < JUNK * rounds, "{pool} {each}: {kept} of {} stay", JUNK * rounds);
            assert!(probes <= rounds as u32 * MAX_PROBES, "{pool} {each}: {probes} probes");
        }
    }

    #[test]
    fn an_end_before_the_probe_leaves_nothing_waiting() {
        let mut ended = filter(Some(Wildcards::Drop));
        done(&mut ended, 0, "a", &[1]);
        ended.end_probes();
        assert_eq!((ready(&ended).as_str(), ended.is_idle()), ("a.x.test.\t192.0.2.1\n", true));
        let mut undone = filter(Some(Wildcards::Drop));
        done(&mut undone, 0, "a", &[1]);
        undone.forget_held();
        assert_eq!((ready(&undone).as_str(), undone.is_idle(), undone.collector.done_before()), ("", true, 0));
    }

    #[test]
    fn without_a_mode_nothing_waits() {
        let mut filter = filter(None);
        done(&mut filter, 0, "a", &[1]);
        assert_eq!(ready(&filter), "a.x.test.\t192.0.2.1\n");
    }
}
