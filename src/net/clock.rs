//! The wall-clock time in the units of protocols and files.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time since the beginning of 1970 (UTC); zero if the clock is earlier.
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whole seconds since the beginning of 1970.
pub fn unix_seconds() -> i64 {
    i64::try_from(since_1970().as_secs()).unwrap_or(i64::MAX)
}

/// Microseconds since the beginning of 1970.
pub fn unix_micros() -> i64 {
    i64::try_from(since_1970().as_micros()).unwrap_or(i64::MAX)
}
