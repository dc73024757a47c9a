//! Message IDs: drawn from a shuffled list of all 65,536, so that the next one cannot be guessed and none is used twice
//! at once. A look-up from (ID, socket) to the slot goes by index, without a hash.
#![expect(clippy::indexing_slicing, reason = "the tables have a place for every 16-bit ID")]

use super::slots::SlotId;
use crate::dns::bulk::api::SocketId;

/// Fills a block with randomness.
type Fill = Box<dyn FnMut(&mut [u8]) + Send>;

/// Randomness in blocks from an external source: the core itself has none.
pub struct Random {
    fill: Fill,
    block: Box<[u8; BLOCK]>,
    used: usize,
}

/// The number of bytes fetched at a time.
const BLOCK: usize = 4096;

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}

impl Random {
    /// Randomness from `fill`, which must be a CSPRNG wherever the acceptance of answers depends on it.
    pub fn new(fill: impl FnMut(&mut [u8]) + Send + 'static) -> Random {
        Random { fill: Box::new(fill), block: Box::new([0; BLOCK]), used: BLOCK }
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        if self.used >= BLOCK {
            (self.fill)(&mut self.block[..]);
            self.used = 0;
        }
        let bytes = self.block.get(self.used..self.used + 4).and_then(|bytes| bytes.try_into().ok());
        self.used += 4;
        bytes.map_or(0, u32::from_le_bytes)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        ((u64::from(self.bits()) * end as u64) >> 32) as usize
    }
}

#[cfg(test)]
impl Random {
    /// A small generator for tests only (xorshift).
    pub(in crate::dns::bulk) fn seeded(mut state: u64) -> Random {
        Random::new(move |block| {
            for byte in block {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = (state >> 32) as u8;
            }
        })
    }
}

const ALL: usize = 1 << 16;

/// The free IDs, and the holders of the others.
#[derive(Debug)]
pub(super) struct MessageIds {
    /// A ring; the free IDs begin at `head`.
    ring: Box<[u16]>,
    head: usize,
    free: usize,
    /// By ID: slot + 1 in the low half, socket in the high half; 0 = free.
    holders: Box<[u32]>,
}

impl MessageIds {
    pub(super) fn new(random: &mut Random) -> MessageIds {
        let mut ring: Box<[u16]> = (0..=u16::MAX).collect();
        for at in (1..ALL).rev() {
            ring.swap(at, random.below(at + 1));
        }
        MessageIds { ring, head: 0, free: ALL, holders: vec![0; ALL].into_boxed_slice() }
    }

    /// The next ID, now held by this slot on this socket; `None` if all are in use.
    pub(super) fn take(&mut self, socket: SocketId, slot: SlotId) -> Option<u16> {
        if self.free == 0 {
            return None;
        }
        let id = self.ring[self.head];
        self.holders[usize::from(id)] = (u32::from(socket.0) << 16) | (slot.0 + 1);
        self.head = (self.head + 1) % ALL;
        self.free -= 1;
        Some(id)
    }

    /// Takes an ID back and mixes it into the free ones, so that no sequence repeats.
    pub(super) fn release(&mut self, id: u16, random: &mut Random) {
        let holder = std::mem::take(&mut self.holders[usize::from(id)]);
        assert!(holder != 0, "a message ID is released once");
        let tail = (self.head + self.free) % ALL;
        self.free += 1;
        let other = (self.head + random.below(self.free)) % ALL;
        self.ring[tail] = id;
        self.ring.swap(tail, other);
    }

    /// The slot that holds the ID on this socket.
    pub(super) fn holder(&self, id: u16, socket: SocketId) -> Option<SlotId> {
        let holder = self.holders[usize::from(id)];
        (holder != 0 && holder >> 16 == u32::from(socket.0)).then(|| SlotId((holder & 0xffff) - 1))
    }

    pub(super) fn free(&self) -> usize {
        self.free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_id_is_out_once() {
        let mut random = Random::seeded(1);
        let mut ids = MessageIds::new(&mut random);
        let mut out = HashSet::new();
        for slot in 0..ALL as u32 {
            let slot = SlotId(slot % 1000);
            let id = ids.take(SocketId(7), slot).unwrap();
            assert!(out.insert(id));
            assert_eq!(ids.holder(id, SocketId(7)), Some(slot));
            assert_eq!(ids.holder(id, SocketId(8)), None, "another socket's answer is nobody's");
        }
        assert_eq!(ids.take(SocketId(7), SlotId(1)), None);
        for id in out {
            ids.release(id, &mut random);
            assert_eq!(ids.holder(id, SocketId(7)), None);
        }
        assert_eq!(ids.free(), ALL);
    }

    #[test]
    #[should_panic(expected = "released once")]
    fn an_id_released_twice_is_a_bug() {
        let mut random = Random::seeded(1);
        MessageIds::new(&mut random).release(3, &mut random);
    }

    #[test]
    fn the_order_does_not_come_round_again() {
        let mut random = Random::seeded(2);
        let mut ids = MessageIds::new(&mut random);
        let mut round = || -> Vec<u16> {
            (0..ALL)
                .map(|_| {
                    let id = ids.take(SocketId(0), SlotId(0)).unwrap();
                    ids.release(id, &mut random);
                    id
                })
                .collect()
        };
        let (first, second) = (round(), round());
        let same = first.iter().zip(&second).filter(|(a, b)| a == b).count();
        assert!(same < 50, "{same} of 65,536 came at the same place");
    }
}
