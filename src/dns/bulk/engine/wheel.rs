//! Timers in a wheel: one list of slots per tick. The cost of setting and unsetting a timer is constant.
#![expect(clippy::indexing_slicing, reason = "ticks are taken modulo the number of lists")]

use super::slots::{SlotId, SlotList, Slots};
use crate::dns::bulk::Micros;

/// One tick of the wheel: 2^10 µs, about a millisecond.
const TICK_BITS: u32 = 10;
/// The number of ticks in one turn of the wheel: 8.4 s. A later timer is listed at the far end and set again from there.
const TICKS: u64 = 8192;

/// See the module.
#[derive(Debug)]
pub(super) struct TimerWheel {
    lists: Vec<SlotList>,
    /// The next tick to process.
    tick: u64,
    armed: u32,
}

impl TimerWheel {
    pub(super) fn new(now: Micros) -> TimerWheel {
        TimerWheel { lists: vec![SlotList::EMPTY; TICKS as usize], tick: now >> TICK_BITS, armed: 0 }
    }

    /// Lists the slot under its `due`, but never earlier than the next tick.
    pub(super) fn set(&mut self, slots: &mut Slots, at: SlotId) {
        self.set_from(self.tick, slots, at);
    }

    fn set_from(&mut self, earliest: u64, slots: &mut Slots, at: SlotId) {
        let slot = slots.at_mut(at);
        let tick = ((slot.due >> TICK_BITS) + 1).clamp(earliest, self.tick + TICKS - 1) % TICKS;
        slot.tick = tick as u32;
        slots.push_back(&mut self.lists[tick as usize], at);
        self.armed += 1;
    }

    pub(super) fn unset(&mut self, slots: &mut Slots, at: SlotId) {
        let tick = slots.at(at).tick as usize;
        slots.remove(&mut self.lists[tick], at);
        self.armed -= 1;
    }

    /// Removes the next slot that is due at `now` from the wheel and returns it.
    pub(super) fn pop(&mut self, slots: &mut Slots, now: Micros) -> Option<SlotId> {
        let end = now >> TICK_BITS;
        if self.armed == 0 {
            self.tick = self.tick.max(end);
            return None;
        }
        while self.tick <= end {
            let Some(at) = slots.pop_front(&mut self.lists[(self.tick % TICKS) as usize]) else {
                self.tick += 1;
                continue;
            };
            self.armed -= 1;
            if slots.at(at).due <= now {
                return Some(at);
            }
            // Set beyond the far end, or due later within this very tick: set again, behind this tick.
            self.set_from(self.tick + 1, slots, at);
        }
        None
    }

    /// A time before which no timer is due, at most one turn of the wheel ahead; `None` if no timer is set.
    pub(super) fn next_due(&self) -> Option<Micros> {
        if self.armed == 0 {
            return None;
        }
        let tick = (self.tick..self.tick + TICKS).find(|tick| !self.lists[(tick % TICKS) as usize].is_empty())?;
        Some(tick << TICK_BITS)
    }
}

#[cfg(test)]
impl TimerWheel {
    /// The number of slots in the wheel.
    pub(super) fn armed(&self) -> u32 {
        self.armed
    }

    pub(super) fn memory(&self) -> usize {
        self.lists.capacity() * size_of::<SlotList>()
    }

    /// Checks that the lists hold as many slots as are armed.
    pub(super) fn assert_consistent(&self) {
        assert_eq!(self.lists.iter().map(SlotList::len).sum::<u32>(), self.armed, "timers leaked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            wheel.assert_consistent();
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
