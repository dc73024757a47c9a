//! The array of questions in progress, allocated once, and lists through it by index, so that no question needs an
//! allocation. [`super::questions`] decides which list a slot is in.
#![expect(clippy::indexing_slicing, reason = "every index is one that this array gave out; no peer can choose it")]

use super::sent::SentQueries;
use crate::dns::bulk::api::{QueryFailure, ResolverId};
use crate::dns::bulk::{MAX_QUESTION, Micros};

/// A slot's index in the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotId(pub(super) u32);

impl SlotId {
    /// The end of a list.
    const NONE: SlotId = SlotId(u32::MAX);

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// The state of a slot; each state except the first and the last corresponds to one list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    /// The slot holds no question.
    Free,
    /// Not asked yet: in the list of its length.
    New,
    /// Asked: in the timer wheel until its answer is late.
    Asked,
    /// In the timer wheel until it is asked again.
    Resting,
    /// In a resolver's list of questions to ask again.
    Queued,
    /// In no list: the caller holds it and puts it into one of the other states.
    InHand,
}

/// One question in progress.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    next: SlotId,
    prev: SlotId,
    /// Only [`super::questions`] sets it, together with the list that the slot is in.
    pub(super) state: SlotState,
    pub(super) tries: u8,
    /// A packet with one of its IDs did not answer it.
    pub(super) mismatched: bool,
    /// A server rejected EDNS: from now on it is asked without.
    pub(super) without_edns: bool,
    /// A UDP answer was truncated: from now on it is asked over a connection. Only [`super::questions`] sets it.
    pub(super) over_connection: bool,
    /// The resolver of the last try, or the one whose list the slot is in. Only [`super::questions`] sets it.
    pub(super) resolver: ResolverId,
    question_len: u16,
    /// The tick under which the timer wheel lists it.
    pub(super) tick: u32,
    pub(super) sent: SentQueries,
    /// The most informative failure so far.
    pub(super) failure: QueryFailure,
    /// The time of its timer; for a new question, the time from which it no longer waits for others of its length.
    pub(super) due: Micros,
    /// The time of the first try.
    pub(super) first: Micros,
    pub(super) number: u64,
    question: [u8; MAX_QUESTION],
}

impl Slot {
    /// The question in wire form: name, type, class.
    pub(super) fn question(&self) -> &[u8] {
        &self.question[..usize::from(self.question_len)]
    }

    /// The bytes of the question's name.
    pub(super) fn name_mut(&mut self) -> &mut [u8] {
        &mut self.question[..usize::from(self.question_len).saturating_sub(4)]
    }
}

/// A list of slots, first in, first out; a slot is in one list at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotList {
    head: SlotId,
    tail: SlotId,
    len: u32,
}

impl SlotList {
    pub(super) const EMPTY: SlotList = SlotList { head: SlotId::NONE, tail: SlotId::NONE, len: 0 };

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn head(&self) -> Option<SlotId> {
        (self.head != SlotId::NONE).then_some(self.head)
    }
}

/// All slots.
#[derive(Debug)]
pub(super) struct Slots {
    all: Vec<Slot>,
    free: SlotList,
}

impl Slots {
    pub(super) fn new(count: usize) -> Slots {
        let empty = Slot {
            next: SlotId::NONE,
            prev: SlotId::NONE,
            state: SlotState::Free,
            tries: 0,
            mismatched: false,
            without_edns: false,
            over_connection: false,
            resolver: ResolverId(0),
            question_len: 0,
            tick: 0,
            sent: SentQueries::default(),
            failure: QueryFailure::TimedOut,
            due: 0,
            first: 0,
            number: 0,
            question: [0; MAX_QUESTION],
        };
        let mut slots = Slots { all: vec![empty; count], free: SlotList::EMPTY };
        let mut free = SlotList::EMPTY;
        for slot in slots.ids() {
            slots.push_back(&mut free, slot);
        }
        slots.free = free;
        slots
    }

    pub(super) fn free(&self) -> usize {
        self.free.len as usize
    }

    /// Every slot.
    pub(super) fn ids(&self) -> impl Iterator<Item = SlotId> + use<> {
        (0..self.all.len() as u32).map(SlotId)
    }

    /// Takes a slot for a new question. The last one freed is used first: its memory is still in the cache.
    pub(super) fn take(&mut self, number: u64, question: &[u8]) -> Option<SlotId> {
        let at = (self.free.tail != SlotId::NONE).then_some(self.free.tail)?;
        let mut free = self.free;
        self.remove(&mut free, at);
        self.free = free;
        let slot = &mut self.all[at.index()];
        slot.state = SlotState::InHand;
        slot.tries = 0;
        slot.mismatched = false;
        slot.without_edns = false;
        slot.over_connection = false;
        slot.sent = SentQueries::default();
        slot.number = number;
        slot.failure = QueryFailure::TimedOut;
        slot.question_len = question.len() as u16;
        slot.question[..question.len()].copy_from_slice(question);
        Some(at)
    }

    /// Gives a slot back. It must be in no list.
    pub(super) fn give_back(&mut self, at: SlotId) {
        self.all[at.index()].state = SlotState::Free;
        let mut free = self.free;
        self.push_back(&mut free, at);
        self.free = free;
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.all.capacity() * size_of::<Slot>()
    }

    pub(super) fn at(&self, at: SlotId) -> &Slot {
        &self.all[at.index()]
    }

    pub(super) fn at_mut(&mut self, at: SlotId) -> &mut Slot {
        &mut self.all[at.index()]
    }

    pub(super) fn push_back(&mut self, list: &mut SlotList, at: SlotId) {
        let tail = list.tail;
        let slot = &mut self.all[at.index()];
        slot.next = SlotId::NONE;
        slot.prev = tail;
        match tail {
            SlotId::NONE => list.head = at,
            tail => self.all[tail.index()].next = at,
        }
        list.tail = at;
        list.len += 1;
    }

    pub(super) fn remove(&mut self, list: &mut SlotList, at: SlotId) {
        let (prev, next) = (self.all[at.index()].prev, self.all[at.index()].next);
        match prev {
            SlotId::NONE => list.head = next,
            prev => self.all[prev.index()].next = next,
        }
        match next {
            SlotId::NONE => list.tail = prev,
            next => self.all[next.index()].prev = prev,
        }
        list.len -= 1;
    }

    pub(super) fn pop_front(&mut self, list: &mut SlotList) -> Option<SlotId> {
        let at = list.head()?;
        self.remove(list, at);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_order_and_lose_nothing() {
        let mut slots = Slots::new(5);
        let taken: Vec<SlotId> = (0..5).map(|n| slots.take(n, b"\0\0\x01\0\x01").unwrap()).collect();
        assert_eq!(slots.take(9, b""), None);
        let mut list = SlotList::EMPTY;
        for at in &taken {
            slots.push_back(&mut list, *at);
        }
        slots.remove(&mut list, taken[2]);
        slots.remove(&mut list, taken[0]);
        slots.remove(&mut list, taken[4]);
        assert_eq!(slots.pop_front(&mut list), Some(taken[1]));
        assert_eq!(slots.pop_front(&mut list), Some(taken[3]));
        assert_eq!((slots.pop_front(&mut list), list.len()), (None, 0));
        slots.give_back(taken[3]);
        assert_eq!(
            slots.take(10, b"x").map(|at| (at, slots.at(at).question().to_vec())),
            Some((taken[3], b"x".to_vec()))
        );
    }
}
