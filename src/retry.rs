//! Back-off: the wait before the next attempt. Pure; the caller brings the random number.

use std::time::Duration;

/// The longest wait between two attempts of a one-off tool.
pub const MAX_DELAY: Duration = Duration::from_secs(3600);

/// The wait before attempt `attempt + 1` (the first failed attempt is 1): `base` doubled for each failed attempt after the
/// first, at most [`MAX_DELAY`], then spread over 75 % to 125 % by `jitter` (0.0 to 1.0, from the caller's random source),
/// so that many clients do not retry in step. A longer `hint` from the peer wins.
pub fn delay(attempt: u32, base: Duration, hint: Option<Duration>, jitter: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(31);
    let grown = base.saturating_mul(1u32 << doublings).min(MAX_DELAY);
    let jitter = if jitter.is_finite() { jitter.clamp(0.0, 1.0) } else { 0.5 };
    let spread = grown.mul_f64(0.75 + jitter * 0.5);
    spread.max(hint.unwrap_or_default().min(MAX_DELAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_and_is_capped() {
        let second = Duration::from_secs(1);
        let waits: Vec<u64> = (1..=14).map(|attempt| delay(attempt, second, None, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]);
        assert_eq!(delay(u32::MAX, second, None, 0.5), MAX_DELAY);
    }

    #[test]
    fn jitter_and_hint() {
        let base = Duration::from_secs(8);
        assert_eq!(delay(1, base, None, 0.0), Duration::from_secs(6));
        assert_eq!(delay(1, base, None, 1.0), Duration::from_secs(10));
        assert_eq!(delay(1, base, None, f64::NAN), base);
        assert_eq!(delay(1, base, Some(Duration::from_secs(30)), 0.0), Duration::from_secs(30));
        assert_eq!(delay(1, base, Some(Duration::from_secs(1)), 0.0), Duration::from_secs(6));
    }
}
