//! Names that exist only because of a wildcard (RFC 4592): for the parent of each name that was found, a name that nobody
//! can have made up is asked for once; answers that look like that name's are the wildcard's.

use std::collections::HashMap;

use super::api::{FinishedQuestion, OutcomeSink, QuestionOutcome, Wildcards};
use super::collect::Collector;
use super::engine::Random;
use super::text::{push_name, push_rdata};
use super::walk::ResponseView;
use super::write::RecordStatus;
use crate::dns::message::AnswerMeaning;
use crate::fnv::fnv1a;

/// Questions with this bit in their number are probes.
const PROBE: u64 = 1 << 63;
/// Parents that are remembered; beyond that they are forgotten and probed again.
pub const MAX_PARENTS: usize = 50_000;
/// Records that wait for a probe: beyond that no more names are taken in.
pub const MAX_HELD: usize = 20_000;
/// A made-up label: 20 letters, some 94 bits.
const LABEL: usize = 20;

/// Stands between the engine and the collector: finds the answers that a wildcard made.
#[derive(Debug)]
pub struct WildcardFilter {
    /// Takes what passes.
    pub collector: Collector,
    mode: Option<Wildcards>,
    random: Random,
    /// By parent and type.
    parents: HashMap<Box<[u8]>, ParentState>,
    /// Probes that have to be asked still, and those that were.
    waiting: Vec<u64>,
    probes: HashMap<u64, Box<[u8]>>,
    next: u64,
    held: usize,
}

#[derive(Debug)]
enum ParentState {
    /// The probe's answer as a fingerprint; none if there is no wildcard.
    Known(Option<u64>),
    /// Records that wait for the probe.
    Probing(Vec<HeldRecord>),
}

#[derive(Debug)]
struct HeldRecord {
    number: u64,
    record: Vec<u8>,
    fingerprint: u64,
    retries: u64,
}

impl WildcardFilter {
    /// A filter that lets everything pass, unless there is something to do with wildcards.
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

    /// Asks the probes that wait, as long as `ask` takes them: number and question.
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
                self.probed(number, None);
            } else if ask(number, &question) {
                self.waiting.pop();
            } else {
                return;
            }
        }
    }

    /// Asks no more probes: what waits for one is no wildcard's, as far as is known.
    pub fn end_probes(&mut self) {
        for number in std::mem::take(&mut self.waiting) {
            self.probed(number, None);
        }
    }

    /// Forgets the names that wait for probes: they are not done.
    pub fn forget_held(&mut self) {
        self.parents.retain(|_, parent| matches!(parent, ParentState::Known(_)));
        self.waiting.clear();
        self.probes.clear();
        self.held = 0;
    }

    /// A name was found: its record is compared now, or waits for the probe of its parent.
    fn found(&mut self, done: &FinishedQuestion<'_>, walked: &ResponseView<'_>, mode: Wildcards) {
        // The parent, with type and class: the probe's question without its first label.
        let skip = done.question.first().map_or(0, |length| usize::from(*length) + 1);
        let Some(key) = done.question.get(skip..).filter(|key| labels(key) >= 2) else {
            return self.collector.finished(done);
        };
        let key: Box<[u8]> = key.to_ascii_lowercase().into();
        let fingerprint = fingerprint(walked, done.question);
        if self.parents.len() >= MAX_PARENTS && !self.parents.contains_key(&key) {
            self.parents.retain(|_, parent| matches!(parent, ParentState::Probing(_)));
        }
        let held = |collector: &Collector| HeldRecord {
            number: done.number,
            record: collector.render(done),
            fingerprint,
            retries: u64::from(done.tries.saturating_sub(1)),
        };
        match self.parents.get_mut(&key) {
            Some(ParentState::Known(wildcard)) if *wildcard != Some(fingerprint) => self.collector.finished(done),
            Some(ParentState::Known(_)) => {
                let held = held(&self.collector);
                release(&mut self.collector, held, true, mode);
            }
            Some(ParentState::Probing(waiting)) => {
                waiting.push(held(&self.collector));
                self.held += 1;
            }
            None => {
                self.parents.insert(key.clone(), ParentState::Probing(vec![held(&self.collector)]));
                self.held += 1;
                self.probes.insert(self.next, key);
                self.waiting.push(self.next);
                self.next += 1;
            }
        }
    }

    /// The probe's answer is there, or there is none.
    fn probed(&mut self, number: u64, wildcard: Option<u64>) {
        let (Some(key), Some(mode)) = (self.probes.remove(&number), self.mode) else { return };
        let Some(ParentState::Probing(waiting)) = self.parents.insert(key, ParentState::Known(wildcard)) else {
            return;
        };
        self.held -= waiting.len();
        for held in waiting {
            let wild = wildcard == Some(held.fingerprint);
            release(&mut self.collector, held, wild, mode);
        }
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
            let wildcard = match done.outcome {
                QuestionOutcome::Answered(walked) if is_found(walked, done.question) => {
                    Some(fingerprint(walked, done.question))
                }
                _ => None,
            };
            return self.probed(done.number, wildcard);
        }
        match done.outcome {
            QuestionOutcome::Answered(walked) if is_found(walked, done.question) => {
                // What cannot be written is a failure, not a find.
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

/// Labels of the name at the beginning, the root not counted.
fn labels(wire: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Some(length) = wire.get(at).filter(|length| **length != 0) {
        at += 1 + usize::from(*length);
        count += 1;
    }
    count
}

/// What the records of the name itself say, whatever their order and the name: alike for all names of one wildcard.
fn fingerprint(walked: &ResponseView<'_>, question: &[u8]) -> u64 {
    let message = walked.message();
    let mut own = Vec::new();
    let _ = push_name(question, 0, question.len(), &mut own);
    let (mut text, mut sum) = (Vec::new(), 0u64);
    for place in walked.answers() {
        text.clear();
        let _ = push_name(message, place.owner, message.len(), &mut text);
        if !text.eq_ignore_ascii_case(&own) {
            continue;
        }
        text.clear();
        text.extend_from_slice(&place.rtype.to_be_bytes());
        push_rdata(message, &place, &mut text);
        // A sum, so that the order of the records does not matter.
        sum = sum.wrapping_add(fnv1a(text.iter().copied()));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::write::{RecordFormat, RecordWriter};
    use super::*;

    /// A question for LABEL.x.test A and its answer with this address.
    fn message(label: &str, address: u8) -> (Vec<u8>, Vec<u8>) {
        let mut question = vec![label.len() as u8];
        question.extend_from_slice(label.as_bytes());
        question.extend_from_slice(b"\x01x\x04test\0\0\x01\0\x01");
        let mut answer = vec![0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        answer.extend_from_slice(&question);
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, address]);
        (question, answer)
    }

    fn done(filter: &mut WildcardFilter, number: u64, label: &str, address: u8) {
        let (question, answer) = message(label, address);
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

    fn filter(mode: Option<Wildcards>) -> WildcardFilter {
        let collector = Collector::new(RecordWriter::new(RecordFormat::Short, b'\n', false, &[]), None);
        WildcardFilter::new(collector, mode, Random::seeded(1))
    }

    fn ready(filter: &WildcardFilter) -> String {
        String::from_utf8(filter.collector.ready.clone()).unwrap()
    }

    #[test]
    fn one_probe_a_parent_decides_for_all_its_names() {
        for (mode, expected) in [
            (
                Wildcards::Mark,
                "a.x.test.\t192.0.2.1\t;wildcard\nb.x.test.\t192.0.2.2\nc.x.test.\t192.0.2.1\t;wildcard\n",
            ),
            (Wildcards::Drop, "b.x.test.\t192.0.2.2\n"),
        ] {
            let mut filter = filter(Some(mode));
            done(&mut filter, 0, "a", 1);
            done(&mut filter, 1, "b", 2);
            assert_eq!(ready(&filter), "", "both wait");
            let mut asked = Vec::new();
            filter.ask_probes(|number, question| {
                asked.push((number, question.to_vec()));
                true
            });
            let [(number, question)] = asked.as_slice() else { panic!("{asked:?}") };
            assert!(
                question[1..21].iter().all(u8::is_ascii_lowercase) && question[21..].starts_with(b"\x01x\x04test\0")
            );
            done(&mut filter, *number, "probeprobeprobeprobe", 1);
            done(&mut filter, 2, "c", 1);
            assert_eq!(ready(&filter), expected);
            assert!(filter.is_idle());
            assert_eq!((filter.collector.counts.answered, filter.collector.counts.wildcards), (3, 2));
            assert_eq!(filter.collector.done_before(), 3);
        }
    }

    #[test]
    fn a_probe_without_an_answer_marks_nothing() {
        let mut filter = filter(Some(Wildcards::Drop));
        done(&mut filter, 0, "a", 1);
        filter.ask_probes(|_, _| true);
        filter.probed(PROBE, None);
        assert_eq!(ready(&filter), "a.x.test.\t192.0.2.1\n");
    }

    #[test]
    fn an_end_before_the_probe_leaves_nothing_waiting() {
        let mut ended = filter(Some(Wildcards::Drop));
        done(&mut ended, 0, "a", 1);
        ended.end_probes();
        assert_eq!((ready(&ended).as_str(), ended.is_idle()), ("a.x.test.\t192.0.2.1\n", true));
        let mut undone = filter(Some(Wildcards::Drop));
        done(&mut undone, 0, "a", 1);
        undone.forget_held();
        assert_eq!((ready(&undone).as_str(), undone.is_idle(), undone.collector.done_before()), ("", true, 0));
    }

    #[test]
    fn without_a_mode_nothing_waits() {
        let mut filter = filter(None);
        done(&mut filter, 0, "a", 1);
        assert_eq!(ready(&filter), "a.x.test.\t192.0.2.1\n");
    }
}
