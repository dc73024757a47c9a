//! Dates of mail (RFC 5322, section 3.3, with the old forms of 4.3), also in malformed variants: day, time and zone are
//! accepted in any position; words without meaning are skipped.

use jiff::Zoned;
use jiff::civil::{Date, Time};
use jiff::tz::{Offset, TimeZone};

/// The maximum length of a date in bytes.
pub const MAX_DATE_BYTES: usize = 256;

/// The maximum number of words in a date.
const MAX_WORDS: usize = 20;

/// The components found so far.
#[derive(Debug, Default)]
struct DateParts {
    day: Option<i8>,
    month: Option<i8>,
    year: Option<i16>,
    time: Option<Time>,
    /// Seconds east of UTC.
    zone: Option<i32>,
}

/// Parses the date of a Date field, a Received field or an mbox separator. A missing or unknown zone means UTC (RFC
/// 5322, section 4.3).
pub fn parse(text: &str) -> Option<Zoned> {
    if text.len() > MAX_DATE_BYTES {
        return None;
    }
    let text = without_comments(text).to_lowercase();
    // Tuesday in the Romance languages.
    let (weekday, rest) = text.split_once(',').unwrap_or_default();
    let text = if weekday.trim().trim_end_matches('.') == "mar" { rest } else { &text };
    let mut parts = DateParts::default();
    let separators = |letter: char| letter.is_whitespace() || letter == ',' || letter == '\0';
    for word in text.split(separators).filter(|word| !word.is_empty()).take(MAX_WORDS) {
        parts.word(word)?;
    }
    let date = Date::new(parts.year?, parts.month?, parts.day?).ok()?;
    let offset = Offset::from_seconds(parts.zone.unwrap_or_default()).unwrap_or(Offset::UTC);
    date.to_datetime(parts.time.unwrap_or_else(Time::midnight)).to_zoned(TimeZone::fixed(offset)).ok()
}

impl DateParts {
    /// Takes one word; `None` if the text cannot be a date.
    fn word(&mut self, word: &str) -> Option<()> {
        // "2025-08-14t14:15:52z".
        if let Some((date, time)) = word.split_once('t')
            && date.ends_with(|letter: char| letter.is_ascii_digit())
            && time.starts_with(|letter: char| letter.is_ascii_digit())
        {
            self.word(date)?;
            return self.word(time);
        }
        if self.time.is_some() && matches!(word, "am" | "pm" | "a.m." | "p.m.") {
            return self.half_of_day(word.starts_with('p'));
        }
        let first_is_digit = word.starts_with(|letter: char| letter.is_ascii_digit());
        if first_is_digit && word.contains(':') {
            return self.time_of_day(word);
        }
        // A zone stands behind the time; "-" in a word before it joins a date.
        if self.time.is_some() && self.zone.is_none() && !first_is_digit {
            self.zone = zone(word);
            if self.zone.is_some() {
                return Some(());
            }
        }
        let mark = |letter: char| matches!(letter, '-' | '/' | '.');
        let pieces: Vec<&str> = word.split(mark).filter(|piece| !piece.is_empty()).take(4).collect();
        match pieces.as_slice() {
            [hours, minutes, seconds]
                if first_is_digit && word.contains('.') && seconds.len() <= 2 && self.time.is_none() =>
            {
                self.time_of_day(&format!("{hours}:{minutes}:{seconds}"))
            }
            [year, month, day] if year.len() == 4 && is_number(year) && month_of(month).is_none() => {
                self.numbers(year, month, day)
            }
            // The order of day and month is known where dots join them, and nowhere else.
            [day, month, year] if word.contains('.') && is_number(month) => self.numbers(year, month, day),
            [_, _, _] if word.contains('/') && pieces.iter().all(|piece| is_number(piece)) => None,
            pieces => {
                for piece in pieces {
                    self.piece(piece);
                }
                Some(())
            }
        }
    }

    fn numbers(&mut self, year: &str, month: &str, day: &str) -> Option<()> {
        self.year = Some(year_of(year)?);
        self.month = Some(month.parse().ok()?);
        self.day = Some(day.parse().ok()?);
        Some(())
    }

    /// Takes a day, a month or a year; other words (names of days in any language, "at", "of") are ignored.
    fn piece(&mut self, piece: &str) {
        let digits = piece.strip_suffix("st").or_else(|| piece.strip_suffix("nd")).or_else(|| piece.strip_suffix("rd"));
        let digits = digits.or_else(|| piece.strip_suffix("th")).unwrap_or(piece);
        if is_number(digits) {
            let day = digits.parse().ok().filter(|day| digits.len() <= 2 && (1..=31).contains(day));
            if self.day.is_none() && day.is_some() {
                self.day = day;
            } else if self.year.is_none() {
                self.year = year_of(digits);
            }
        } else if self.month.is_none() || self.year.is_none() && self.time.is_none() {
            // Of two months the first is the name of a day.
            self.month = month_of(piece).or(self.month);
        }
    }

    /// `14:15`, `4:05:02.5`, `14:15:52+0200`.
    fn time_of_day(&mut self, word: &str) -> Option<()> {
        let end =
            word.find(|letter: char| !(letter.is_ascii_digit() || matches!(letter, ':' | '.'))).unwrap_or(word.len());
        let (clock, zone_word) = word.split_at_checked(end)?;
        let mut numbers = clock.split(':');
        let number = |text: Option<&str>| text.filter(|text| text.len() <= 2).and_then(|text| text.parse::<i8>().ok());
        let (hour, minute) = (number(numbers.next())?, number(numbers.next())?);
        let second = match numbers.next() {
            Some(text) => number(text.split('.').next())?,
            None => 0,
        };
        // A leap second has no place of its own (RFC 5322, section 3.3).
        self.time = Some(Time::new(hour, minute, if second == 60 { 59 } else { second }, 0).ok()?);
        match zone_word {
            "" => {}
            "am" | "pm" => self.half_of_day(zone_word == "pm")?,
            _ => self.zone = zone(zone_word),
        }
        Some(())
    }

    fn half_of_day(&mut self, after_noon: bool) -> Option<()> {
        // The 24-hour clock needs no such word, but some write it.
        let time = self.time.filter(|time| time.hour() <= 12);
        if let Some(time) = time {
            let hour = time.hour() % 12 + if after_noon { 12 } else { 0 };
            self.time = Some(time.with().hour(hour).build().ok()?);
        }
        Some(())
    }
}

/// Seconds east of UTC: `+0100`, `+01:00`, `+1`, `gmt+2`, the names of RFC 5322, section 4.3, and other common ones.
/// Any other name means UTC, and so does an impossible offset; a word that is neither name nor offset is not a zone.
fn zone(word: &str) -> Option<i32> {
    const HOURS: &[(&str, f32)] = &[
        ("est", -5.0),
        ("edt", -4.0),
        ("cst", -6.0),
        ("cdt", -5.0),
        ("mst", -7.0),
        ("mdt", -6.0),
        ("pst", -8.0),
        ("pdt", -7.0),
        ("ast", -4.0),
        ("adt", -3.0),
        ("nst", -3.5),
        ("ndt", -2.5),
        ("akst", -9.0),
        ("akdt", -8.0),
        ("hst", -10.0),
        ("brt", -3.0),
        ("wet", 0.0),
        ("west", 1.0),
        ("cet", 1.0),
        ("cest", 2.0),
        ("met", 1.0),
        ("mest", 2.0),
        ("mez", 1.0),
        ("mesz", 2.0),
        ("bst", 1.0),
        ("eet", 2.0),
        ("eest", 3.0),
        ("msk", 3.0),
        ("sast", 2.0),
        ("hkt", 8.0),
        ("jst", 9.0),
        ("kst", 9.0),
        ("aest", 10.0),
        ("aedt", 11.0),
        ("nzst", 12.0),
        ("nzdt", 13.0),
    ];
    let signed = ["gmt", "utc", "ut"].iter().find_map(|name| word.strip_prefix(name)).unwrap_or(word);
    if let Some((sign, digits)) = signed.strip_prefix('+').map(|rest| (1, rest)).or_else(|| {
        let minus = signed.strip_prefix('-').or_else(|| signed.strip_prefix('\u{2212}'));
        minus.map(|rest| (-1, rest))
    }) {
        let digits = digits.replace(':', "");
        let (hours, minutes) = match digits.len() {
            1 | 2 => (digits.as_str(), "0"),
            3 | 4 => digits.split_at_checked(digits.len() - 2)?,
            _ => return is_number(&digits).then_some(0),
        };
        let (hours, minutes) = (hours.parse::<i32>().ok()?, minutes.parse::<i32>().ok()?);
        return Some(if hours <= 23 && minutes < 60 { sign * (hours * 3600 + minutes * 60) } else { 0 });
    }
    let name = word.trim_end_matches('.');
    if let Some((_, hours)) = HOURS.iter().find(|(known, _)| *known == name) {
        #[expect(clippy::cast_possible_truncation, reason = "whole and half hours of a day")]
        return Some((hours * 3600.0) as i32);
    }
    (name.chars().all(char::is_alphabetic) && month_of(name).is_none()).then_some(0)
}

fn month_of(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let word = word.trim_end_matches('.');
    let at = MONTHS
        .iter()
        .position(|month| word.len() >= 3 && (month.starts_with(word) || word == "sept" && *month == "september"))?;
    i8::try_from(at + 1).ok()
}

/// Two digits mean 1950 to 2049, three count from 1900 (RFC 5322, section 4.3).
fn year_of(digits: &str) -> Option<i16> {
    let year = digits.parse::<i16>().ok().filter(|_| is_number(digits))?;
    Some(match (digits.len(), year) {
        (1 | 2, ..=49) => 2000 + year,
        (1..=3, _) => 1900 + year,
        _ => year,
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The text without its parenthesised parts, closed or not.
fn without_comments(text: &str) -> String {
    let mut depth = 0u32;
    text.chars()
        .map(|letter| match letter {
            '(' => {
                depth += 1;
                ' '
            }
            ')' => {
                depth = depth.saturating_sub(1);
                ' '
            }
            _ if depth > 0 => ' ',
            letter => letter,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_the_standard_and_of_the_wild() {
        for (text, expected) in [
            ("Mon, 23 Nov 2026 05:00:00 +0000 (UTC)", "2026-11-23T05:00:00Z"),
            ("23 Nov 2026 06:00 +0100", "2026-11-23T05:00:00Z"),
            ("Tue, 23 Nov 2026 05:00:00 GMT", "2026-11-23T05:00:00Z"),
            ("Mon, 23 Nov 2026 05:00:60 -0000", "2026-11-23T05:00:59Z"),
            ("Mon , 23\tNov (a (nested) comment) 2026 05:00:00 EST", "2026-11-23T10:00:00Z"),
            ("Mon, 23 Nov 2026 05:00:00 +0000 (open", "2026-11-23T05:00:00Z"),
            // Old and wrong years.
            ("13 Feb 22 00:04 EST", "2022-02-13T05:04:00Z"),
            ("13 Feb 97 00:04 PDT", "1997-02-13T07:04:00Z"),
            ("13 Feb 101 00:04:00 Z", "2001-02-13T00:04:00Z"),
            // Days and months.
            ("Thu, 14 Aug 2025 4:05:02 +0000", "2025-08-14T04:05:02Z"),
            ("Thu Aug 14 14:15:52 2025", "2025-08-14T14:15:52Z"),
            ("Thu Aug  4 14:15:52 EDT 2025", "2025-08-04T18:15:52Z"),
            ("Thu Aug 14 14:15:52 2025 +0200", "2025-08-14T12:15:52Z"),
            ("Thu Aug 14 14:15:52 +0200 2025", "2025-08-14T12:15:52Z"),
            ("14 August 2025 14:15:52 +0000", "2025-08-14T14:15:52Z"),
            ("August 14, 2025 14:15:52", "2025-08-14T14:15:52Z"),
            ("Thursday, 14-Aug-25 14:15:52 GMT", "2025-08-14T14:15:52Z"),
            ("30-Mar-2017 14:15:52 +0100", "2017-03-30T13:15:52Z"),
            ("05-FEB-2021 22:05:02", "2021-02-05T22:05:02Z"),
            ("Sept. 3rd 2020 10:00", "2020-09-03T10:00:00Z"),
            ("Do, 14 Aug 2025 14:15:52 +0200", "2025-08-14T12:15:52Z"),
            ("\u{427}\u{442}, 14 Aug 2025 14:15:52 +0200", "2025-08-14T12:15:52Z"),
            ("Thu,14 Aug 2025 14:15:52 +0200", "2025-08-14T12:15:52Z"),
            ("14 Aug 2025", "2025-08-14T00:00:00Z"),
            ("14.08.2025 14:15:52", "2025-08-14T14:15:52Z"),
            // Times.
            ("Thu, 14 Aug 2025 15.42.05 +0000", "2025-08-14T15:42:05Z"),
            ("Thu, 14 Aug 2025 3:42:05 PM", "2025-08-14T15:42:05Z"),
            ("Thu, 14 Aug 2025 12:42:05AM +0000", "2025-08-14T00:42:05Z"),
            ("Thu, 14 Aug 2025 14:15:52.123456 +0000", "2025-08-14T14:15:52Z"),
            ("Thu, 14 Aug 2025 14:15:52 AM", "2025-08-14T14:15:52Z"),
            ("Thu, 14 Aug 2025 14:15:52 PM", "2025-08-14T14:15:52Z"),
            // A weekday that could be a month.
            ("mar., 14 aug 2025 14:15:52 +0000", "2025-08-14T14:15:52Z"),
            ("mar 14 Aug 2025 14:15:52 +0000", "2025-08-14T14:15:52Z"),
            ("mar Aug 14 14:15:52 2025", "2025-08-14T14:15:52Z"),
            ("Mar, 11 Mar 2025 14:15:52 +0000", "2025-03-11T14:15:52Z"),
            // Zones.
            ("Thu, 14 Aug 2025 14:15:52 +02:00", "2025-08-14T12:15:52Z"),
            ("Thu, 14 Aug 2025 14:15:52+0200", "2025-08-14T12:15:52Z"),
            ("Thu, 14 Aug 2025 14:15:52 +2", "2025-08-14T12:15:52Z"),
            ("Thu, 14 Aug 2025 14:15:52 GMT+0200", "2025-08-14T12:15:52Z"),
            ("Thu, 14 Aug 2025 14:15:52 -03:30", "2025-08-14T17:45:52Z"),
            ("Thu, 14 Aug 2025 14:15:52 NST", "2025-08-14T17:45:52Z"),
            ("Thu, 14 Aug 2025 14:15:52 CEST", "2025-08-14T12:15:52Z"),
            ("Thu, 14 Aug 2025 14:15:52 \"GMT\"", "2025-08-14T14:15:52Z"),
            ("Thu, 14 Aug 2025 14:15:52", "2025-08-14T14:15:52Z"),
            ("Thu, 14 Aug 2025 14:15:52 UTC", "2025-08-14T14:15:52Z"),
            ("Thu, 14 Aug 2025 14:15:52 Q", "2025-08-14T14:15:52Z"),
            ("Thu, 14 Aug 2025 14:15:52 Mitteleuropa", "2025-08-14T14:15:52Z"),
            ("Thu, 14 Aug 2025 14:15:52 +9999", "2025-08-14T14:15:52Z"),
            // ISO 8601.
            ("2025-08-14 14:15:52 +0000", "2025-08-14T14:15:52Z"),
            ("2025-08-14T14:15:52Z", "2025-08-14T14:15:52Z"),
            ("2025-08-14T14:15:52.5+02:00", "2025-08-14T12:15:52Z"),
            ("2025/08/14 14:15", "2025-08-14T14:15:00Z"),
        ] {
            assert_eq!(parse(text).map(|date| date.timestamp().to_string()).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(parse("Thu, 14 Aug 2025 14:15:52 +0200").map(|date| date.offset().seconds()), Some(7200));
    }

    proptest::proptest! {
        /// A date parsed from any form can also be written in the standard form.
        #[test]
        fn what_is_read_can_be_written(words in proptest::collection::vec("[0-9]{1,4}|[0-9]{2}:[0-9]{2}|aug|sept|[+-][0-9]{1,5}|[a-z]{1,4}|[-+.:/(), tz]|\\PC| ", 0..14)) {
            if let Some(date) = parse(&words.concat()) {
                let written = date.strftime("%a, %d %b %Y %H:%M:%S %z").to_string();
                proptest::prop_assert_eq!(parse(&written).map(|again| again.timestamp()), Some(date.timestamp()));
            }
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "yesterday",
            "mar., 14 août 2025 14:15:52 +0200",
            "14:15:52",
            "14 Aug",
            "Aug 2025",
            "31 Feb 2025 00:00:00",
            "14 Aug 2025 25:00:00",
            "14 Aug 2025 12:61:00",
            "03/04/2025 12:00",
            "32 Aug 2025",
            "14 Aug 99999",
            "14 Aug 2025 13:00:00:00:0x",
            "2025-13-01",
            "14 Aug 2025 1:",
            "14 Aug 2025 15:00 PM PM",
            &"1".repeat(MAX_DATE_BYTES + 1),
        ] {
            let found = parse(text);
            let allowed = ["14 Aug 2025 13:00:00:00:0x", "14 Aug 2025 15:00 PM PM"].contains(&text);
            assert!(found.is_none() || allowed, "{text}: {found:?}");
        }
    }
}
