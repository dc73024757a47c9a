//! The clock of tools: the local time zone (without a lookup of its name), time stamps, and times on the command line.

use std::sync::OnceLock;

use jiff::Zoned;
use jiff::tz::TimeZone;

/// The file with the system's time zone (localtime(5)).
const LOCALTIME: &str = "/etc/localtime";

/// The time zone of `$TZ`, else of the system, read once per process. The name of the system's zone is not looked up: no tool
/// needs it, and the search reads the whole zone database, so that a start takes a few milliseconds instead of one.
pub fn zone() -> TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(find).clone()
}

fn find() -> TimeZone {
    if std::env::var_os("TZ").is_some() {
        return TimeZone::system();
    }
    let data = std::fs::read(LOCALTIME).ok();
    data.and_then(|data| TimeZone::tzif("localtime", &data).ok()).unwrap_or(TimeZone::UTC)
}

/// The current time in the local time zone.
pub fn now() -> Zoned {
    jiff::Timestamp::now().to_zoned(zone())
}

/// The current time in the format of records and logs: RFC 3339, UTC, with milliseconds.
pub fn stamp() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

/// Parses a time of the command line into seconds since 1970: `2026-11-23T05:52:22Z`; `2026-11-23 05:52` and `2026-11-23` in the
/// local zone; `@1795413142`; or a duration before now, such as `2d`.
///
/// # Errors
///
/// A message about the fault in the text.
pub fn moment(text: &str) -> Result<i64, String> {
    if let Ok(ago) = crate::cli::units::duration(text) {
        let ago = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
        return Ok(jiff::Timestamp::now().as_second().saturating_sub(ago));
    }
    if let Some(seconds) = text.strip_prefix('@').and_then(|seconds| seconds.parse::<i64>().ok()) {
        return Ok(seconds);
    }
    if let Ok(exact) = text.parse::<jiff::Timestamp>() {
        return Ok(exact.as_second());
    }
    let local = text.parse::<jiff::civil::DateTime>().ok().and_then(|time| time.to_zoned(zone()).ok());
    local.map(|time| time.timestamp().as_second()).ok_or_else(|| {
        format!("{text:?} is not a time; use 2026-11-23, 2026-11-23T05:52:22Z, @SECONDS, or 2d for two days ago")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(moment("2026-11-23T05:52:22Z"), Ok(1_795_413_142));
        assert_eq!(moment("@1795413142"), Ok(1_795_413_142));
        assert_eq!(moment("2026-11-23T06:52:22+01:00"), Ok(1_795_413_142));
        let midnight: jiff::civil::DateTime = "2026-11-23T00:00:00".parse().unwrap();
        assert_eq!(moment("2026-11-23"), Ok(midnight.to_zoned(zone()).unwrap().timestamp().as_second()));
        assert_eq!(moment("2026-11-23 05:52").unwrap() - moment("2026-11-23").unwrap(), 21_120);
        let now = jiff::Timestamp::now().as_second();
        assert!((now - 172_800 - moment("2d").unwrap()).abs() < 5);
        for bad in ["", "yesterday", "2026-13-01", "@x", "2026-02-29"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn agrees_with_the_named_zone() {
        let system = Zoned::now().with_time_zone(TimeZone::system());
        assert_eq!(now().offset(), system.offset());
    }
}
