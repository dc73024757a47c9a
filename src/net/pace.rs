//! A speed limit that several connections share.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pieces per second: each piece is a fraction of the rate, so that the flow stays even.
const PIECES_PER_SECOND: u64 = 8;
/// The smallest piece.
const MIN_PIECE: usize = 512;

/// A limit in bytes per second for all connections together. Pure: the caller supplies the time, and waits.
#[derive(Debug)]
pub struct TransferPace {
    rate: NonZeroU64,
    /// The time at which the transferred bytes are paid for.
    paid: Mutex<Option<Instant>>,
}

impl TransferPace {
    /// A pace of `rate` bytes per second.
    pub fn new(rate: NonZeroU64) -> TransferPace {
        TransferPace { rate, paid: Mutex::new(None) }
    }

    /// The number of bytes that may move at once, at most `most`.
    pub fn piece(&self, most: usize) -> usize {
        let share = usize::try_from(self.rate.get() / PIECES_PER_SECOND).unwrap_or(usize::MAX);
        share.clamp(MIN_PIECE.min(most), most)
    }

    /// Records that `bytes` have passed; returns the wait before more may pass.
    pub fn passed(&self, bytes: u64, now: Instant) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate.get() as f64);
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        // Idle time is not credited.
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
