//! The questions under way, in one array that is allocated once; lists through it by index, so that nothing is
//! allocated for a question.
#![expect(clippy::indexing_slicing, reason = "every index is one of our own lists'; no peer can choose it")]

use crate::dns::bulk::api::QueryFailure;
use crate::dns::bulk::{MAX_QUESTION, Micros};

/// No slot.
pub(super) const NONE: u32 = u32::MAX;
/// At most so many tries of one question stay believable at once; with more, the oldest is forgotten.
pub(super) const MAX_SENT_QUERIES: usize = 4;

/// What a slot is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    /// It holds no question.
    Free,
    /// Not sent yet: in the list of its length.
    Waiting,
    /// Sent, in the timer wheel.
    Asked,
    /// Waiting in the timer wheel until it is asked again.
    Resting,
    /// In a resolver's list of questions to ask again.
    Queued,
}

/// One try: under which ID it left, from which socket, and when.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SentQuery {
    pub(super) socket: u16,
    pub(super) id: u16,
    /// The time of sending, cut to 32 bits: differences stay right for 71 minutes.
    pub(super) sent: u32,
}

/// One question under plan.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    next: u32,
    prev: u32,
    pub(super) state: SlotState,
    pub(super) tries: u8,
    /// The newest query is being waited for (and counted in its resolver's window).
    pub(super) live: bool,
    /// Something came under one of its IDs that was no answer to it.
    pub(super) mismatched: bool,
    /// UDP said "truncated": from here on over a stream.
    pub(super) stream: bool,
    pub(super) sent_count: u8,
    /// The resolver of the last try, or the one whose list the slot is in.
    pub(super) resolver: u16,
    pub(super) question_len: u16,
    /// The wheel's tick that the slot is listed under.
    pub(super) tick: u32,
    pub(super) sent_queries: [SentQuery; MAX_SENT_QUERIES],
    pub(super) failure: QueryFailure,
    /// When the wheel wakes it.
    pub(super) due: Micros,
    /// When the first try left.
    pub(super) first: Micros,
    pub(super) number: u64,
    pub(super) question: [u8; MAX_QUESTION],
}

impl Slot {
    /// The question as it stands in the packet: name, type, class.
    pub(super) fn question(&self) -> &[u8] {
        &self.question[..usize::from(self.question_len)]
    }

    pub(super) fn sent_queries(&self) -> &[SentQuery] {
        &self.sent_queries[..usize::from(self.sent_count)]
    }

    /// The newest try.
    pub(super) fn last_sent_query(&self) -> Option<SentQuery> {
        self.sent_queries().last().copied()
    }

    /// Adds a try; gives back the one that has to be forgotten for it.
    pub(super) fn push_sent_query(&mut self, query: SentQuery) -> Option<SentQuery> {
        let count = usize::from(self.sent_count);
        if count < MAX_SENT_QUERIES {
            self.sent_queries[count] = query;
            self.sent_count += 1;
            return None;
        }
        let oldest = self.sent_queries[0];
        self.sent_queries.copy_within(1.., 0);
        self.sent_queries[MAX_SENT_QUERIES - 1] = query;
        Some(oldest)
    }
}

/// A list of slots, first in, first out; a slot is in one list at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotList {
    head: u32,
    tail: u32,
    len: u32,
}

impl SlotList {
    pub(super) const EMPTY: SlotList = SlotList { head: NONE, tail: NONE, len: 0 };

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn head(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
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
            next: NONE,
            prev: NONE,
            state: SlotState::Free,
            tries: 0,
            live: false,
            mismatched: false,
            stream: false,
            sent_count: 0,
            resolver: 0,
            question_len: 0,
            tick: 0,
            sent_queries: [SentQuery::default(); MAX_SENT_QUERIES],
            failure: QueryFailure::TimedOut,
            due: 0,
            first: 0,
            number: 0,
            question: [0; MAX_QUESTION],
        };
        let mut slots = Slots { all: vec![empty; count], free: SlotList::EMPTY };
        let mut free = SlotList::EMPTY;
        for at in 0..count as u32 {
            slots.push_back(&mut free, at);
        }
        slots.free = free;
        slots
    }

    pub(super) fn free(&self) -> usize {
        self.free.len as usize
    }

    pub(super) fn capacity(&self) -> u32 {
        self.all.len() as u32
    }

    /// Takes a slot for a new question. The one freed last comes first: its memory is still warm.
    pub(super) fn take(&mut self, number: u64, question: &[u8]) -> Option<u32> {
        let mut free = self.free;
        let at = self.pop_back(&mut free)?;
        self.free = free;
        let slot = &mut self.all[at as usize];
        slot.state = SlotState::Waiting;
        slot.tries = 0;
        slot.live = false;
        slot.mismatched = false;
        slot.stream = false;
        slot.sent_count = 0;
        slot.number = number;
        slot.failure = QueryFailure::TimedOut;
        slot.question_len = question.len() as u16;
        slot.question[..question.len()].copy_from_slice(question);
        Some(at)
    }

    /// Gives a slot back. It must be in no list.
    pub(super) fn give_back(&mut self, at: u32) {
        self.all[at as usize].state = SlotState::Free;
        let mut free = self.free;
        self.push_back(&mut free, at);
        self.free = free;
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.all.capacity() * size_of::<Slot>()
    }

    pub(super) fn at(&self, at: u32) -> &Slot {
        &self.all[at as usize]
    }

    pub(super) fn at_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.all[at as usize]
    }

    pub(super) fn push_back(&mut self, list: &mut SlotList, at: u32) {
        let tail = list.tail;
        let slot = &mut self.all[at as usize];
        slot.next = NONE;
        slot.prev = tail;
        match tail {
            NONE => list.head = at,
            tail => self.all[tail as usize].next = at,
        }
        list.tail = at;
        list.len += 1;
    }

    pub(super) fn remove(&mut self, list: &mut SlotList, at: u32) {
        let (prev, next) = (self.all[at as usize].prev, self.all[at as usize].next);
        match prev {
            NONE => list.head = next,
            prev => self.all[prev as usize].next = next,
        }
        match next {
            NONE => list.tail = prev,
            next => self.all[next as usize].prev = prev,
        }
        list.len -= 1;
    }

    pub(super) fn pop_front(&mut self, list: &mut SlotList) -> Option<u32> {
        let at = list.head()?;
        self.remove(list, at);
        Some(at)
    }

    fn pop_back(&mut self, list: &mut SlotList) -> Option<u32> {
        let at = list.tail;
        if at == NONE {
            return None;
        }
        self.remove(list, at);
        Some(at)
    }
}

/// Timers in a wheel: one list of slots a tick. Setting and unsetting cost the same few writes at any number.
#[derive(Debug)]
pub(super) struct TimerWheel {
    lists: Vec<SlotList>,
    /// The next tick to be looked at.
    tick: u64,
    armed: u32,
}

/// One tick of the wheel: 2^10 µs, about a millisecond.
const TICK_BITS: u32 = 10;
/// Ticks in one turn of the wheel: 8.4 s. What is due later is listed at the far end, looked at there, and set again.
const TICKS: u64 = 8192;

impl TimerWheel {
    pub(super) fn new(now: Micros) -> TimerWheel {
        TimerWheel { lists: vec![SlotList::EMPTY; TICKS as usize], tick: now >> TICK_BITS, armed: 0 }
    }

    /// Lists the slot under its `due`; never earlier than the next tick.
    pub(super) fn set(&mut self, slots: &mut Slots, at: u32) {
        let slot = slots.at_mut(at);
        let tick = ((slot.due >> TICK_BITS) + 1).clamp(self.tick, self.tick + TICKS - 1);
        slot.tick = (tick % TICKS) as u32;
        let place = slot.tick as usize;
        slots.push_back(&mut self.lists[place], at);
        self.armed += 1;
    }

    pub(super) fn unset(&mut self, slots: &mut Slots, at: u32) {
        let place = slots.at(at).tick as usize;
        slots.remove(&mut self.lists[place], at);
        self.armed -= 1;
    }

    /// The next slot that is due at `now`, taken out of the wheel.
    pub(super) fn pop(&mut self, slots: &mut Slots, now: Micros) -> Option<u32> {
        let end = now >> TICK_BITS;
        if self.armed == 0 {
            self.tick = self.tick.max(end);
            return None;
        }
        while self.tick <= end {
            let place = (self.tick % TICKS) as usize;
            if let Some(at) = slots.pop_front(&mut self.lists[place]) {
                self.armed -= 1;
                if slots.at(at).due <= now {
                    return Some(at);
                }
                // Set beyond the far end, or due later within this very tick: set again, behind this tick.
                let due = slots.at(at).due;
                let tick = ((due >> TICK_BITS) + 1).clamp(self.tick + 1, self.tick + TICKS - 1);
                slots.at_mut(at).tick = (tick % TICKS) as u32;
                let place = (tick % TICKS) as usize;
                slots.push_back(&mut self.lists[place], at);
                self.armed += 1;
                continue;
            }
            self.tick += 1;
        }
        None
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.lists.capacity() * size_of::<SlotList>()
    }

    /// A time before which no timer is due, at most a turn of the wheel ahead; none if no timer is set.
    pub(super) fn next_due(&self) -> Option<Micros> {
        if self.armed == 0 {
            return None;
        }
        let tick = (self.tick..self.tick + TICKS).find(|tick| !self.lists[(tick % TICKS) as usize].is_empty())?;
        Some(tick << TICK_BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_keep_order_and_lose_nothing() {
        let mut slots = Slots::new(5);
        let taken: Vec<u32> = (0..5).map(|n| slots.take(n, b"\0\0\x01\0\x01").unwrap()).collect();
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

    #[test]
    fn tickets_forget_the_oldest() {
        let mut slots = Slots::new(1);
        let at = slots.take(0, b"").unwrap();
        for id in 0..6 {
            let forgotten = slots.at_mut(at).push_sent_query(SentQuery { socket: 0, id, sent: 0 });
            assert_eq!(forgotten.map(|query| query.id), id.checked_sub(4));
        }
        assert_eq!(slots.at(at).sent_queries().iter().map(|query| query.id).collect::<Vec<_>>(), [2, 3, 4, 5]);
    }

    #[test]
    fn every_timer_fires_once_and_never_early() {
        let mut slots = Slots::new(200);
        let mut wheel = TimerWheel::new(5_000_000);
        let dues: Vec<Micros> = (0..200).map(|n| 5_000_000 + n * n * 1_777 % 60_000_000).collect();
        for due in &dues {
            let at = slots.take(0, b"").unwrap();
            slots.at_mut(at).due = *due;
            wheel.set(&mut slots, at);
        }
        let mut now = 5_000_000;
        let mut fired = 0;
        while let Some(next) = wheel.next_due() {
            now = next.max(now) + 700;
            while let Some(at) = wheel.pop(&mut slots, now) {
                let due = slots.at(at).due;
                assert!(due <= now, "{due} fired at {now}");
                assert!(now - due < 5_000, "{due} fired late at {now}");
                fired += 1;
            }
        }
        assert_eq!(fired, 200);
    }

    #[test]
    fn an_idle_wheel_can_jump() {
        let mut slots = Slots::new(1);
        let mut wheel = TimerWheel::new(0);
        assert_eq!((wheel.pop(&mut slots, 1 << 40), wheel.next_due()), (None, None));
        let at = slots.take(0, b"").unwrap();
        slots.at_mut(at).due = (1 << 40) + 3_000;
        wheel.set(&mut slots, at);
        assert_eq!(wheel.pop(&mut slots, (1 << 40) + 1_000), None);
        assert_eq!(wheel.pop(&mut slots, (1 << 40) + 6_000), Some(at));
    }
}
