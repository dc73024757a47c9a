//! Rate limits for many keys: a table of bounded size that expires by itself.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The most keys of a table; beyond that the keys that used least of their rate are forgotten first.
const MAX_KEYS: usize = 65_536;

/// A number of turns at once for each key, and one more per interval: a leaky bucket, stored as one time (ITU-T I.371).
#[derive(Debug)]
pub struct RateTable<K> {
    burst: u32,
    every: Duration,
    /// The time at which all turns of a key are restored.
    full_at: HashMap<K, Instant>,
}

impl<K: Eq + Hash + Clone> RateTable<K> {
    /// A table with `burst` turns at once, and one more per interval.
    pub fn new(burst: u32, every: Duration) -> RateTable<K> {
        RateTable { burst, every, full_at: HashMap::new() }
    }

    /// A table with at most `turns` turns in any minute: half of them at once.
    pub fn per_minute(turns: u32) -> RateTable<K> {
        RateTable::per(turns, Duration::from_secs(60))
    }

    /// A table with at most `turns` turns in any such period: half of them at once.
    pub fn per(turns: u32, period: Duration) -> RateTable<K> {
        let burst = (turns / 2).max(1);
        RateTable::new(burst, period / turns.saturating_sub(burst).max(1))
    }

    /// The wait of this key for its next turn.
    pub fn wait(&self, key: &K, now: Instant) -> Duration {
        let used = self.full_at.get(key).map_or(Duration::ZERO, |full| full.saturating_duration_since(now));
        (used + self.every).saturating_sub(self.every * self.burst)
    }

    /// Takes a turn.
    pub fn take(&mut self, key: &K, now: Instant) {
        if self.full_at.len() >= MAX_KEYS && !self.full_at.contains_key(key) {
            self.full_at.retain(|_, full| *full > now);
            if self.full_at.len() > MAX_KEYS / 2 {
                forget_half(&mut self.full_at);
            }
        }
        let full = self.full_at.entry(key.clone()).or_insert(now);
        *full = (*full).max(now) + self.every;
    }

    /// Returns a turn.
    pub fn give_back(&mut self, key: &K, now: Instant) {
        if let Some(full) = self.full_at.get_mut(key) {
            match full.checked_sub(self.every).filter(|full| *full > now) {
                Some(earlier) => *full = earlier,
                None => drop(self.full_at.remove(key)),
            }
        }
    }
}

/// Removes the half of a table with the earliest times.
pub fn forget_half<K: Eq + Hash>(table: &mut HashMap<K, Instant>) {
    let mut times: Vec<Instant> = table.values().copied().collect();
    let mut left = times.len() / 2;
    if left < times.len() {
        let middle = *times.select_nth_unstable(left).1;
        // Of equal times at most half of the table is removed.
        table.retain(|_, time| {
            *time > middle || left == 0 || {
                left -= 1;
                false
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_minute_has_more_turns(turns in 1u32..50, steps in proptest::collection::vec(0u64..9_000, 1..400)) {
            let mut table = RateTable::per_minute(turns);
            let begin = Instant::now();
            let (mut now, mut taken) = (begin, Vec::new());
            for step in steps {
                now += Duration::from_millis(step);
                let wait = table.wait(&1, now);
                prop_assert!(wait <= Duration::from_secs(60));
                if wait == Duration::ZERO {
                    table.take(&1, now);
                    taken.push(now);
                }
                prop_assert_eq!(table.wait(&2, now), Duration::ZERO);
            }
            for (at, first) in taken.iter().enumerate() {
                let minute = taken[at..].iter().take_while(|time| time.duration_since(*first) < Duration::from_secs(60));
                prop_assert!(minute.count() <= turns as usize);
            }
        }
    }

    #[test]
    fn what_is_given_back_was_never_taken() {
        let mut table = RateTable::new(1, Duration::from_secs(9));
        let now = Instant::now();
        for _ in 0..100 {
            assert_eq!(table.wait(&"a", now), Duration::ZERO);
            table.take(&"a", now);
            assert_eq!(table.wait(&"a", now), Duration::from_secs(9));
            table.give_back(&"a", now);
        }
        assert!(table.full_at.is_empty());
    }

    #[test]
    fn the_table_stays_small_and_keeps_the_busiest() {
        let mut table = RateTable::new(3, Duration::from_secs(60));
        let now = Instant::now();
        (0..3).for_each(|_| table.take(&0, now));
        for key in 1..400_000 {
            table.take(&key, now);
            assert!(table.full_at.len() <= MAX_KEYS);
        }
        assert!(!table.wait(&0, now).is_zero());
        // Keys with all turns restored go first.
        let later = now + Duration::from_secs(100);
        (0..MAX_KEYS).for_each(|key| table.take(&(key + 1_000_000), later));
        assert!(table.full_at.len() <= MAX_KEYS && table.full_at.contains_key(&0));
    }
}
