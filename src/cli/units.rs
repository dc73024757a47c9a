//! Durations, sizes and rates on the command line. A number without a unit is in seconds or bytes.

use std::time::Duration;

/// Parses `30`, `1.5s`, `500ms`, `10m`, `2h`, `1d`, `1w` and sums such as `1h30m`. At most 100 years.
///
/// # Errors
///
/// A message about the fault in the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: f64 = 100.0 * 366.0 * 86_400.0;
    let bad = || format!("{text:?} is not a duration; use 30, 1.5s, 500ms, 10m, 2h or 1d");
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit, after) = split(rest).ok_or_else(bad)?;
        let factor = match unit {
            "" | "s" => 1.0,
            "ms" => 0.001,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            _ => return Err(bad()),
        };
        seconds += number * factor;
        rest = after;
    }
    if text.is_empty() || seconds > LONGEST {
        return Err(bad());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| bad())
}

/// Parses `4096`, `64K`, `4M`, `1.5G`, `2T`, also `KiB`, `MiB` …: powers of 1024, in bytes.
///
/// # Errors
///
/// A message about the fault in the text.
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is not a size; use 4096, 64K, 4M or 1G");
    let (number, unit, after) = split(text).ok_or_else(bad)?;
    let power = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 1,
        "m" | "mib" => 2,
        "g" | "gib" => 3,
        "t" | "tib" => 4,
        _ => return Err(bad()),
    };
    let bytes = number * 1024f64.powi(power);
    // Above 2^53 a float no longer counts single bytes.
    if !after.is_empty() || bytes > 9_007_199_254_740_992.0 {
        return Err(bad());
    }
    Ok(bytes as u64)
}

/// Parses a rate such as `100/1h` or `5/s` into the time between two events.
///
/// # Errors
///
/// A message about the fault in the text.
pub fn interval(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a rate; use 100/1h or 5/s");
    let (count, time) = text.split_once('/').ok_or_else(bad)?;
    let count: u32 = count.parse().ok().filter(|count| *count > 0).ok_or_else(bad)?;
    let time = match time.chars().next().ok_or_else(bad)? {
        first if first.is_ascii_digit() => time.to_owned(),
        _ => format!("1{time}"),
    };
    Ok(duration(&time)? / count)
}

/// Splits off a leading number and the letters after it.
fn split(text: &str) -> Option<(f64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(digits)?;
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at_checked(letters)?;
    let number: f64 = number.parse().ok()?;
    number.is_finite().then_some((number, unit, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0", 0),
            ("30", 30_000),
            ("1.5s", 1500),
            ("500ms", 500),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text).unwrap().as_millis(), millis, "{text}");
        }
        for bad in ["", "x", "-1", "1x", "1 s", "1e9", "999999w", ".", "1..2", "s"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("64K", 65_536), ("4M", 4_194_304), ("1.5k", 1536), ("1GiB", 1 << 30)] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "-1", "1X", "1K1", "9999999T", "K"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates() {
        for (text, seconds) in [("100/1h", 36.0), ("5/s", 0.2), ("1/30", 30.0), ("60/m", 1.0)] {
            assert_eq!(interval(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for bad in ["", "5", "0/s", "x/s", "5/", "5/x", "-1/s"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
