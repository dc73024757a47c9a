//! `ls -l` in its many dialects.

use super::time::{civil, month, seconds, without_year};
use super::{Entry, EntryType, Line, Modified, Precision, decimal, entry_or_nothing};

/// Half a year: `ls` prints the year instead of the clock time for what is older (POSIX, ls).
const HALF_A_YEAR: i64 = 15_778_476;

/// One line of `ls -l`. Owner and group may be missing or hold spaces, so the date is looked for: a number (the size)
/// and then something that is a date. The name is everything after the one space that follows it.
pub(super) fn parse_line(line: &[u8], now: i64) -> Line {
    if line.len() > 6 && line.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"total ")) {
        let rest = line.get(6..).unwrap_or_default().trim_ascii();
        return if decimal(rest).is_some() { Line::Nothing } else { Line::Unknown };
    }
    match parse_entry(line, now) {
        Some(entry) => entry_or_nothing(entry),
        None => Line::Unknown,
    }
}

fn parse_entry(line: &[u8], now: i64) -> Option<Entry> {
    let (entry_type, mode, device) = parse_mode(line)?;
    let words = words(line);
    // The mode is word 0. `-rw-r--r--  1 owner group size date name`: the date starts at word 5 at the earliest usual
    // place, at word 2 if only mode, size and date are there.
    for at in 2..words.len() {
        let Some(size) = words.get(at - 1).and_then(|word| decimal(word.text)) else { continue };
        let Some((modified, used)) = parse_date(words.get(at..)?, now) else { continue };
        let last = words.get(at + used - 1)?;
        let name = line.get(last.end + 1..).unwrap_or_default();
        let mut entry = Entry::new(name, entry_type);
        entry.size = (!device && entry_type != EntryType::Directory).then_some(size);
        entry.modified = Some(modified);
        entry.mode = mode;
        set_owner(&mut entry, words.get(1..at - 1).unwrap_or_default(), device);
        if entry_type == EntryType::Symlink {
            split_link(&mut entry, size);
        }
        return Some(entry);
    }
    None
}

/// `drwxr-xr-x`, with ACL marks `+ . @` after it: type, permission bits, whether it is a device.
fn parse_mode(line: &[u8]) -> Option<(EntryType, Option<u32>, bool)> {
    let (entry_type, device) = match line.first()? {
        b'-' => (EntryType::File, false),
        b'd' => (EntryType::Directory, false),
        b'l' => (EntryType::Symlink, false),
        b'b' | b'c' => (EntryType::Other, true),
        b'p' | b's' | b'D' | b'P' | b'w' => (EntryType::Other, false),
        _ => return None,
    };
    let letters = line.get(1..10)?;
    let mut mode = 0u32;
    for (at, letter) in letters.iter().enumerate() {
        let bit = 1 << (8 - at);
        let special = 0o4000 >> (at / 3);
        match (at % 3, letter) {
            (_, b'-') => {}
            (0, b'r') | (1, b'w') | (2, b'x') => mode |= bit,
            (2, b's' | b't') => mode |= bit | special,
            (2, b'S' | b'T' | b'l' | b'L') => mode |= special,
            _ => return None,
        }
    }
    let after = line.get(10..).unwrap_or_default();
    let after = after.strip_prefix(b"+").or_else(|| after.strip_prefix(b".")).or_else(|| after.strip_prefix(b"@"));
    let rest = after.unwrap_or(line.get(10..).unwrap_or_default());
    (rest.first() == Some(&b' ') || rest.first().is_some_and(u8::is_ascii_digit)).then_some((
        entry_type,
        Some(mode),
        device,
    ))
}

/// A word and where it ends in its line.
struct Word<'a> {
    text: &'a [u8],
    end: usize,
}

/// The first words of a line: enough for mode, links, owner, group (with spaces in both) and date.
fn words(line: &[u8]) -> Vec<Word<'_>> {
    const MAX_WORDS: usize = 16;
    let mut words = Vec::with_capacity(MAX_WORDS);
    let mut at = 0;
    while words.len() < MAX_WORDS {
        let Some(skip) = line.get(at..).and_then(|rest| rest.iter().position(|byte| *byte != b' ' && *byte != b'\t'))
        else {
            break;
        };
        let start = at + skip;
        let rest = line.get(start..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == b' ' || *byte == b'\t').unwrap_or(rest.len());
        words.push(Word { text: rest.get(..length).unwrap_or_default(), end: start + length });
        at = start + length;
    }
    words
}

/// A date at the start of these words: the time and how many words it took.
fn parse_date(words: &[Word<'_>], now: i64) -> Option<(Modified, usize)> {
    let word = |at: usize| words.get(at).map(|word| word.text).unwrap_or_default();
    // `2026-11-23 05:52` (GNU ls --time-style=long-iso), with seconds and zone `2026-11-23 05:52:22.000000000 +0100`.
    if let Some((year, month, day)) = iso_date(word(0)) {
        let (hour, minute, second) = clock(word(1))?;
        let local = seconds(year, month, day, hour, minute, second.unwrap_or(0))?;
        let precision = if second.is_some() { Precision::Second } else { Precision::Minute };
        return Some(match zone(word(2)) {
            Some(offset) => (Modified { seconds: local - offset, precision, utc: true }, 3),
            None => (Modified { seconds: local, precision, utc: false }, 2),
        });
    }
    // `Nov 23 05:52`, `Nov 23  2025`, `Nov 23 05:52:22 2025`, and day before month in some locales.
    let (month, day) = match (month(word(0)), month(word(1))) {
        (Some(month), _) => (month, small(word(1).strip_suffix(b",").unwrap_or(word(1)))?),
        (None, Some(month)) => (month, small(word(0).strip_suffix(b".").unwrap_or(word(0)))?),
        (None, None) => return None,
    };
    if let Some((hour, minute, second)) = clock(word(2)) {
        let year = decimal(word(3)).filter(|_| word(3).len() == 4 && second.is_some());
        if let (Some(year), Some(second)) = (year, second) {
            let found = seconds(i64::try_from(year).ok()?, month, day, hour, minute, second)?;
            return Some((Modified { seconds: found, precision: Precision::Second, utc: false }, 4));
        }
        let found = without_year(now, month, day, hour, minute)?;
        return Some((Modified { seconds: found, precision: Precision::Minute, utc: false }, 3));
    }
    let year = decimal(word(2)).filter(|year| word(2).len() == 4 && (1900..=9999).contains(year))?;
    let found = seconds(i64::try_from(year).ok()?, month, day, 0, 0, 0)?;
    Some((Modified { seconds: found, precision: Precision::Day, utc: false }, 3))
}

fn iso_date(text: &[u8]) -> Option<(i64, u32, u32)> {
    let mut parts = text.split(|byte| *byte == b'-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if year.len() != 4 || month.len() != 2 || day.len() != 2 || parts.next().is_some() {
        return None;
    }
    Some((i64::try_from(decimal(year)?).ok()?, small(month)?, small(day)?))
}

/// `5:52`, `05:52`, `05:52:22`, `05:52:22.123`.
fn clock(text: &[u8]) -> Option<(u32, u32, Option<u32>)> {
    let mut parts = text.split(|byte| *byte == b':');
    let (hour, minute) = (small(parts.next()?)?, parts.next()?);
    let second = match parts.next() {
        Some(second) => Some(small(second.split(|byte| *byte == b'.').next()?)?),
        None => None,
    };
    let fits = minute.len() == 2 && hour < 24 && parts.next().is_none();
    let minute = small(minute)?;
    (fits && minute < 60 && second.is_none_or(|second| second <= 60)).then_some((hour, minute, second))
}

/// `+0100` in seconds.
fn zone(text: &[u8]) -> Option<i64> {
    let (sign, digits) = text.split_first()?;
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let value = i64::try_from(decimal(digits).filter(|_| digits.len() == 4)?).ok()?;
    Some(sign * (value / 100 * 3600 + value % 100 * 60))
}

fn small(text: &[u8]) -> Option<u32> {
    decimal(text).filter(|_| text.len() <= 2).and_then(|value| u32::try_from(value).ok())
}

/// Link count, owner and group are what stands between mode and size.
fn set_owner(entry: &mut Entry, words: &[Word<'_>], device: bool) {
    let mut words: Vec<&[u8]> = words.iter().map(|word| word.text).collect();
    if device && words.last().is_some_and(|word| word.ends_with(b",")) {
        words.pop();
    }
    let mut words = words.into_iter();
    let mut first = words.next();
    if let Some(links) = first.and_then(decimal) {
        entry.links = Some(links);
        first = words.next();
    }
    entry.owner = first.map(<[u8]>::to_vec);
    let rest: Vec<&[u8]> = words.collect();
    entry.group = (!rest.is_empty()).then(|| rest.join(&b' '));
}

/// `name -> target`. Both may hold ` -> `; the size of a link is the length of its target, which settles it where the
/// server says so.
fn split_link(entry: &mut Entry, size: u64) {
    const ARROW: &[u8] = b" -> ";
    let splits: Vec<usize> = memchr::memmem::find_iter(&entry.name, ARROW).collect();
    let exact = splits.iter().find(|at| u64::try_from(entry.name.len() - *at - ARROW.len()).ok() == Some(size));
    let Some(&at) = exact.or(splits.first()) else { return };
    let target = entry.name.get(at + ARROW.len()..).unwrap_or_default().to_vec();
    entry.name.truncate(at);
    entry.link_target = Some(target);
}

/// One line as `ls -l` prints it, without its line end. Clients parse it, so it never varies: English months, UTC,
/// the clock for half a year around `now` and the year otherwise.
pub fn format_unix(entry: &Entry, now: i64) -> Vec<u8> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (letter, usual) = match entry.entry_type {
        EntryType::File => ('-', 0o644),
        EntryType::Directory => ('d', 0o755),
        EntryType::Symlink => ('l', 0o777),
        EntryType::Other => ('p', 0o644),
    };
    let mode = format_mode(letter, entry.mode.unwrap_or(usual));
    let stamp = entry.modified.map_or(0, |modified| modified.seconds);
    let (year, month, day, hour, minute, _) = civil(stamp);
    let month = MONTHS.get(usize::try_from(month).unwrap_or(1).saturating_sub(1)).copied().unwrap_or("Jan");
    let when = if stamp > now - HALF_A_YEAR && stamp <= now + 3600 {
        format!("{month} {day:2} {hour:02}:{minute:02}")
    } else {
        format!("{month} {day:2}  {year:04}")
    };
    let words = |text: &Option<Vec<u8>>| match text {
        Some(text) => String::from_utf8_lossy(text).replace(char::is_whitespace, "_"),
        None => "ftp".to_owned(),
    };
    let (owner, group) = (words(&entry.owner), words(&entry.group));
    let (links, size) = (entry.links.unwrap_or(1), entry.size.unwrap_or(0));
    let mut line = format!("{mode} {links:3} {owner:<8} {group:<8} {size:12} {when} ").into_bytes();
    line.extend_from_slice(&entry.name);
    if let (EntryType::Symlink, Some(target)) = (entry.entry_type, &entry.link_target) {
        line.extend_from_slice(b" -> ");
        line.extend_from_slice(target);
    }
    line
}

fn format_mode(letter: char, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(letter);
    for class in 0..3 {
        let bits = mode >> (6 - 3 * class) & 7;
        let special = mode & (0o4000 >> class) != 0;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, special, class) {
            (true, false, _) => 'x',
            (false, false, _) => '-',
            (true, true, 2) => 't',
            (false, true, 2) => 'T',
            (true, true, _) => 's',
            (false, true, _) => 'S',
        });
    }
    text
}
