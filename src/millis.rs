//! Times in records.

use std::time::Duration;

/// A duration as every `*_ms` of a record has it: milliseconds, to the microsecond.
pub fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
