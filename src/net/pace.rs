//! A speed limit that several connections share.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pieces per second: what moves at once is a fraction of the rate, so that the flow stays even.
const PIECES_PER_SECOND: u64 = 8;
/// The smallest piece.
const MIN_PIECE: usize = 512;

/// At most so many bytes a second, all connections together. Pure: the caller says when it is, and waits.
#[derive(Debug)]
pub struct TransferPace {
    rate: NonZeroU64,
    /// When everything that has passed is paid for.
    paid: Mutex<Option<Instant>>,
}

impl TransferPace {
    /// `rate` bytes a second.
    pub fn new(rate: NonZeroU64) -> TransferPace {
        TransferPace { rate, paid: Mutex::new(None) }
    }

    /// How many bytes may move at once, `most` at most.
    pub fn piece(&self, most: usize) -> usize {
        let share = usize::try_from(self.rate.get() / PIECES_PER_SECOND).unwrap_or(usize::MAX);
        share.clamp(MIN_PIECE.min(most), most)
    }

    /// Notes that `bytes` have passed; returns how long to wait before more may.
    pub fn passed(&self, bytes: u64, now: Instant) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate.get() as f64);
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        // Time in which nothing moved is not saved up.
        let until = paid.map_or(now, |paid| paid.max(now)) + cost;
        *paid = Some(until);
        until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_the_rate() {
        let pace = TransferPace::new(NonZeroU64::new(1000).unwrap());
        let start = Instant::now();
        assert_eq!(pace.passed(500, start), Duration::from_millis(500));
        assert_eq!(pace.passed(500, start), Duration::from_secs(1));
        let later = start + Duration::from_secs(10);
        assert_eq!(pace.passed(250, later), Duration::from_millis(250), "a pause earns nothing");
        assert_eq!(pace.passed(0, later), Duration::from_millis(250));
    }

    #[test]
    fn pieces_are_a_fraction_of_the_rate() {
        let piece = |rate: u64, most| TransferPace::new(NonZeroU64::new(rate).unwrap()).piece(most);
        assert_eq!(piece(80_000, 1 << 20), 10_000);
        assert_eq!(piece(1, 1 << 20), MIN_PIECE);
        assert_eq!(piece(1, 100), 100);
        assert_eq!(piece(u64::MAX, 4096), 4096);
    }
}
