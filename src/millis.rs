//! Times in records.

use std::time::Duration;

/// A duration as in every `*_ms` field of a record: milliseconds, rounded to the microsecond.
pub fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
