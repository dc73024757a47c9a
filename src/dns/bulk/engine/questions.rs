//! The questions in progress and their states. A question is in exactly one list, which its state names. Taken from a
//! list, it is held by the caller, who puts it into the next list.
#![expect(clippy::indexing_slicing, reason = "lists are indexed by our own resolvers and by lengths that were checked")]

use super::slots::{Slot, SlotId, SlotList, SlotState, Slots};
use super::wheel::TimerWheel;
use crate::dns::bulk::api::ResolverId;
use crate::dns::bulk::{MAX_QUESTION, Micros};

/// A question that waited this long for others of its length goes first.
const MAX_WAIT_FOR_COMPANY: Micros = 20_000;

/// See the module.
#[derive(Debug)]
pub(super) struct QuestionTable {
    slots: Slots,
    wheel: TimerWheel,
    /// New questions, by length.
    new: Vec<SlotList>,
    new_count: usize,
    max_new: usize,
    /// Questions to ask again, for each resolver: over UDP (or its only connection), and over the connection after truncated answers.
    queues: Vec<[SlotList; 2]>,
    /// The number of questions asked at least once and not done.
    active: usize,
}

impl QuestionTable {
    pub(super) fn new(concurrency: usize, max_new: usize, resolvers: usize, now: Micros) -> QuestionTable {
        QuestionTable {
            slots: Slots::new(concurrency + max_new),
            wheel: TimerWheel::new(now),
            new: vec![SlotList::EMPTY; MAX_QUESTION + 1],
            new_count: 0,
            max_new,
            queues: vec![[SlotList::EMPTY; 2]; resolvers],
            active: 0,
        }
    }

    /// The number of questions that can be accepted.
    pub(super) fn room(&self) -> usize {
        self.slots.free().min(self.max_new.saturating_sub(self.new_count))
    }

    /// The number of questions that were not asked yet.
    pub(super) fn new_count(&self) -> usize {
        self.new_count
    }

    /// The number of questions asked and not done.
    pub(super) fn active(&self) -> usize {
        self.active
    }

    pub(super) fn at(&self, slot: SlotId) -> &Slot {
        self.slots.at(slot)
    }

    pub(super) fn at_mut(&mut self, slot: SlotId) -> &mut Slot {
        self.slots.at_mut(slot)
    }

    /// Every slot, whether it holds a question or not.
    pub(super) fn ids(&self) -> impl Iterator<Item = SlotId> + use<> {
        self.slots.ids()
    }

    /// Accepts a new question; false if there is no room, or it is too long.
    pub(super) fn accept(&mut self, now: Micros, number: u64, question: &[u8]) -> bool {
        if question.len() > MAX_QUESTION {
            return false;
        }
        let Some(slot) = self.slots.take(number, question) else { return false };
        let held = self.slots.at_mut(slot);
        held.state = SlotState::New;
        held.due = now + MAX_WAIT_FOR_COMPANY;
        self.slots.push_back(&mut self.new[question.len()], slot);
        self.new_count += 1;
        true
    }

    /// The most frequent length among new questions, unless questions of another length have waited too long.
    pub(super) fn best_length(&self, now: Micros) -> Option<usize> {
        let mut best = (0, None);
        for (length, list) in self.new.iter().enumerate() {
            let Some(head) = list.head() else { continue };
            if self.slots.at(head).due <= now {
                return Some(length);
            }
            if list.len() > best.0 {
                best = (list.len(), Some(length));
            }
        }
        best.1
    }

    /// Takes a new question of this length, held by the caller: its time begins now.
    pub(super) fn start(&mut self, length: usize, now: Micros) -> Option<SlotId> {
        let slot = self.new[length].head()?;
        self.take(slot, now);
        Some(slot)
    }

    /// Takes a question out of any list, held by the caller; returns its former state.
    pub(super) fn take(&mut self, slot: SlotId, now: Micros) -> SlotState {
        let held = self.slots.at_mut(slot);
        let before = std::mem::replace(&mut held.state, SlotState::InHand);
        match before {
            SlotState::New => {
                held.first = now;
                let length = held.question().len();
                self.slots.remove(&mut self.new[length], slot);
                self.new_count -= 1;
                self.active += 1;
            }
            SlotState::Asked | SlotState::Resting => self.wheel.unset(&mut self.slots, slot),
            SlotState::Queued => {
                let list = &mut self.queues[usize::from(held.resolver.0)][usize::from(held.over_connection)];
                self.slots.remove(list, slot);
            }
            SlotState::Free | SlotState::InHand => panic!("a question in hand is taken again: {before:?}"),
        }
        before
    }

    /// Takes the next question whose timer has expired, held by the caller; returns its former state, too.
    pub(super) fn pop_due(&mut self, now: Micros) -> Option<(SlotId, SlotState)> {
        let slot = self.wheel.pop(&mut self.slots, now)?;
        Some((slot, std::mem::replace(&mut self.slots.at_mut(slot).state, SlotState::InHand)))
    }

    /// Takes the next question that waits to be asked again, held by the caller.
    pub(super) fn pop_queued(&mut self, resolver: ResolverId, over_connection: bool) -> Option<SlotId> {
        let list = &mut self.queues[usize::from(resolver.0)][usize::from(over_connection)];
        let slot = self.slots.pop_front(list)?;
        self.slots.at_mut(slot).state = SlotState::InHand;
        Some(slot)
    }

    /// The number of questions that wait to be asked again.
    pub(super) fn queued(&self, resolver: ResolverId, over_connection: bool) -> u32 {
        self.queues[usize::from(resolver.0)][usize::from(over_connection)].len()
    }

    /// Changes the state of a held question.
    fn put(&mut self, slot: SlotId, state: SlotState) -> &mut Slot {
        let held = self.slots.at_mut(slot);
        assert!(held.state == SlotState::InHand, "a question is put into two lists: {:?}", held.state);
        held.state = state;
        held
    }

    /// Puts a held question into the wheel: it was sent to a resolver, and its answer is late after `due`.
    pub(super) fn put_asked(&mut self, slot: SlotId, resolver: ResolverId, due: Micros) {
        let held = self.put(slot, SlotState::Asked);
        (held.resolver, held.due) = (resolver, due);
        self.wheel.set(&mut self.slots, slot);
    }

    /// Puts a held question to rest until `due`.
    pub(super) fn put_to_rest(&mut self, slot: SlotId, due: Micros) {
        self.put(slot, SlotState::Resting).due = due;
        self.wheel.set(&mut self.slots, slot);
    }

    /// Puts a held question into the queue of a resolver, to be asked again.
    pub(super) fn put_in_queue(&mut self, slot: SlotId, resolver: ResolverId, over_connection: bool) {
        let held = self.put(slot, SlotState::Queued);
        (held.resolver, held.over_connection) = (resolver, over_connection);
        let list = &mut self.queues[usize::from(resolver.0)][usize::from(over_connection)];
        self.slots.push_back(list, slot);
    }

    /// Frees a held question that is done.
    pub(super) fn put_away(&mut self, slot: SlotId) {
        self.put(slot, SlotState::Free);
        self.slots.give_back(slot);
        self.active -= 1;
    }

    /// A time before which no timer is due; `None` if no timer is set.
    pub(super) fn next_due(&self) -> Option<Micros> {
        self.wheel.next_due()
    }
}

#[cfg(test)]
impl QuestionTable {
    /// The size of everything that could grow, in bytes.
    pub(super) fn memory(&self) -> usize {
        let lists = self.new.capacity() + 2 * self.queues.capacity();
        self.slots.memory() + self.wheel.memory() + lists * size_of::<SlotList>()
    }

    /// Checks that every question is in the list that its state names, and that the counts are right.
    pub(super) fn assert_consistent(&self) {
        let count = |states: &[SlotState]| self.ids().filter(|slot| states.contains(&self.at(*slot).state)).count();
        let listed = |lists: &[SlotList]| lists.iter().map(|list| list.len() as usize).sum::<usize>();
        self.wheel.assert_consistent();
        assert_eq!(count(&[SlotState::Free]), self.slots.free(), "free slots");
        assert_eq!(count(&[SlotState::InHand]), 0, "questions dropped on the floor");
        assert_eq!((count(&[SlotState::New]), self.new_count), (listed(&self.new), listed(&self.new)), "new");
        let timed = count(&[SlotState::Asked, SlotState::Resting]);
        assert_eq!(timed, self.wheel.armed() as usize, "questions in the wheel");
        let queued = count(&[SlotState::Queued]);
        assert_eq!(queued, listed(self.queues.as_flattened()), "questions in queues");
        assert_eq!(self.active, timed + queued, "active questions");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_hand() -> (QuestionTable, SlotId) {
        let mut questions = QuestionTable::new(1, 1, 2, 0);
        assert!(questions.accept(0, 7, b"\0\0\x01\0\x01"));
        let slot = questions.start(5, 10).unwrap();
        (questions, slot)
    }

    #[test]
    fn a_question_is_in_one_list_at_a_time() {
        let (mut questions, slot) = in_hand();
        questions.put_asked(slot, ResolverId(1), 5_000);
        questions.assert_consistent();
        assert_eq!(questions.take(slot, 20), SlotState::Asked);
        questions.put_in_queue(slot, ResolverId(0), true);
        questions.assert_consistent();
        assert_eq!((questions.queued(ResolverId(0), true), questions.pop_queued(ResolverId(1), true)), (1, None));
        assert_eq!(questions.pop_queued(ResolverId(0), true), Some(slot));
        questions.put_to_rest(slot, 30);
        assert_eq!(questions.pop_due(5_000), Some((slot, SlotState::Resting)));
        assert_eq!((questions.at(slot).first, questions.active(), questions.new_count()), (10, 1, 0));
        questions.put_away(slot);
        questions.assert_consistent();
        assert_eq!((questions.room(), questions.active()), (1, 0));
    }

    #[test]
    #[should_panic(expected = "two lists")]
    fn a_question_in_two_lists_is_a_bug() {
        let (mut questions, slot) = in_hand();
        questions.put_in_queue(slot, ResolverId(0), false);
        questions.put_to_rest(slot, 30);
    }

    #[test]
    #[should_panic(expected = "taken again")]
    fn a_question_taken_twice_is_a_bug() {
        let (mut questions, slot) = in_hand();
        questions.take(slot, 20);
    }
}
