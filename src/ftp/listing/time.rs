//! Times in listings and in MDTM and MFMT (RFC 3659, section 2.3): calendar arithmetic without a clock.

use serde::{Deserialize, Serialize};

use super::{decimal, small};

/// The precision of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Precision {
    /// To the day.
    Day,
    /// To the minute.
    Minute,
    /// To the second, or better.
    Second,
}

impl Precision {
    /// The name in JSON (`modified_precision`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Precision::Day => "day",
            Precision::Minute => "minute",
            Precision::Second => "second",
        }
    }

    /// The greatest difference, in seconds, between two equal times of this precision.
    pub const fn seconds(self) -> i64 {
        match self {
            Precision::Day => 86_400,
            Precision::Minute => 60,
            Precision::Second => 1,
        }
    }
}

/// The modification time of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modified {
    /// Seconds since 1970: in UTC if `utc` is true, else in the server's time zone, which LIST does not name.
    pub seconds: i64,
    /// The precision of `seconds`.
    pub precision: Precision,
    /// True when the time is known to be in UTC, as in MLSD and MDTM.
    pub utc: bool,
}

impl Modified {
    /// An exact time in UTC.
    pub const fn utc(seconds: i64) -> Modified {
        Modified { seconds, precision: Precision::Second, utc: true }
    }
}

/// Days in a month; month 1 to 12.
pub(super) fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Seconds since 1970 of a calendar time; `None` if that time does not exist.
pub(super) fn seconds(year: i64, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> Option<i64> {
    let real = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !real {
        return None;
    }
    // Days since 1970-01-01, years counted from March so that the leap day is the last one.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = i64::from((153 * shifted_month + 2) / 5 + day - 1);
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    Some(days * 86_400 + i64::from(hour * 3600 + minute * 60 + second.min(59)))
}

/// Year, month, day, hour, minute, second.
pub(super) fn civil(seconds: i64) -> (i64, u32, u32, u32, u32, u32) {
    let days = seconds.div_euclid(86_400) + 719_468;
    let clock = u32::try_from(seconds.rem_euclid(86_400)).unwrap_or(0);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = u32::try_from(day_of_year - (153 * shifted_month + 2) / 5 + 1).unwrap_or(1);
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), day, clock / 3600, clock / 60 % 60, clock % 60)
}

/// Midnight of a day.
pub(super) fn day_of(year: i64, month: u32, day: u32) -> Option<i64> {
    seconds(year, month, day, 0, 0, 0)
}

/// Parses a clock time: `5:52`, `05:52`, `05:52:22`, `05:52:22.123`; `00:0`; `24:00`, the end of the day.
pub(super) fn clock(text: &[u8]) -> Option<(u32, u32, Option<u32>)> {
    let mut parts = text.split(|byte| *byte == b':');
    let (hour, minute) = (small(parts.next()?)?, parts.next()?);
    let second = match parts.next() {
        Some(second) => Some(small(second.split(|byte| *byte == b'.').next()?)?),
        None => None,
    };
    let minute = small(minute)?;
    let fits = (hour < 24 || (hour == 24 && minute == 0 && second.unwrap_or(0) == 0)) && parts.next().is_none();
    (fits && minute < 60 && second.is_none_or(|second| second <= 60)).then_some((hour, minute, second))
}

/// Parses a date of three numbers: `11-23-26`, `11/23/2026` (month first, as Windows and IBM print it), `23.11.26` (day first),
/// `2026-11-23`, `99/12/31`. A first number that can only be the day proves for later lines that this server writes the day
/// first. `None`: not a date; `Some(None)`: an ambiguous date, which stays unknown.
pub(super) fn short_date(text: &[u8], day_first: &mut bool) -> Option<Option<i64>> {
    let separator = *text.iter().find(|byte| !byte.is_ascii_digit())?;
    let mut parts = text.split(|byte| *byte == separator);
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    if !matches!(separator, b'-' | b'/' | b'.') || parts.next().is_some() {
        return None;
    }
    let year_of = |text: &[u8]| {
        let value = i64::try_from(decimal(text)?).ok()?;
        match text.len() {
            4 => Some(value),
            // Servers that count years from 1900 print 126 for 2026.
            3 => Some(1900 + value),
            2 => Some(if value < 70 { 2000 + value } else { 1900 + value }),
            _ => None,
        }
    };
    let day = |year: &[u8], month: &[u8], day: &[u8]| day_of(year_of(year)?, small(month)?, small(day)?);
    if first.len() == 4 {
        return Some(Some(day(first, second, third)?));
    }
    let month_first = day(third, first, second);
    let by_day = day(third, second, first);
    // Only IBM i writes two digits of the year first, with slashes.
    let by_year = day(first, second, third).filter(|_| separator == b'/' && first.len() == 2 && third.len() == 2);
    match (month_first, by_day, by_year) {
        (_, Some(found), _) if *day_first || separator == b'.' => Some(Some(found)),
        (Some(found), _, _) => Some(Some(found)),
        (None, Some(found), None) => {
            *day_first = true;
            Some(Some(found))
        }
        (None, Some(_), Some(_)) => Some(None),
        (None, None, Some(found)) => Some(Some(found)),
        (None, None, None) => None,
    }
}

/// The time of a date without a year: the latest existing date that is not more than one day in the future (29 February goes
/// back to a leap year). One day is allowed because the server's zone may be ahead of UTC.
pub(super) fn without_year(now: i64, month: u32, day: u32, hour: u32, minute: u32) -> Option<i64> {
    let (this_year, ..) = civil(now);
    (0..=8).map(|back| this_year + 1 - back).find_map(|year| {
        let found = day_of(year, month, day)? + i64::from(hour * 3600 + minute * 60);
        (found <= now + 86_400).then_some(found)
    })
}

/// Parses `YYYYMMDDHHMMSS[.fraction]` in UTC (RFC 3659, section 2.3), as in MDTM, MFMT and the `modify` fact. The year `19100`
/// of some servers is read as 2000.
pub fn parse_mdtm(text: &[u8]) -> Option<i64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (stamp, fraction) = text.split_at_checked(digits)?;
    if !(fraction.is_empty() || fraction.first() == Some(&b'.')) {
        return None;
    }
    let (year, rest) = match stamp.len() {
        14 => (i64::try_from(decimal(stamp.get(..4)?)?).ok()?, stamp.get(4..)?),
        15 if stamp.starts_with(b"19") => (1900 + i64::try_from(decimal(stamp.get(2..5)?)?).ok()?, stamp.get(5..)?),
        _ => return None,
    };
    let mut pairs = rest.chunks_exact(2).map(|pair| decimal(pair).and_then(|value| u32::try_from(value).ok()));
    let mut next = || pairs.next().flatten();
    seconds(year, next()?, next()?, next()?, next()?, next()?)
}

/// Formats a time as `YYYYMMDDHHMMSS` (RFC 3659, section 2.3).
pub fn format_mdtm(seconds: i64) -> String {
    let (year, month, day, hour, minute, second) = civil(seconds);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// Formats a time as `2026-11-23T05:52:22Z`, the form of times in JSON (RFC 3339).
pub fn format_rfc3339(seconds: i64) -> String {
    let (year, month, day, hour, minute, second) = civil(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
