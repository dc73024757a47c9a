//! `ls -l` in its many dialects.

use super::month::month;
use super::time::{civil, clock, day_of, seconds, short_date, without_year};
use super::{EntryType, ListingEntry, ListingLine, Modified, Precision, decimal, entry_or_nothing, small};

/// Half a year: `ls` prints the year instead of the clock time for what is older (POSIX, ls).
const HALF_A_YEAR: i64 = 15_778_476;

/// One line of `ls -l`. Owner and group may be missing or hold spaces, so the date is looked for: a number (the size)
/// and then something that is a date. The name is everything after the one space that follows it.
pub(super) fn parse_line(line: &[u8], now: i64) -> ListingLine {
    if line.len() > 6 && line.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"total ")) {
        let rest = line.get(6..).unwrap_or_default().trim_ascii();
        return if decimal(rest).is_some() { ListingLine::Nothing } else { ListingLine::Unknown };
    }
    match parse_entry(line, now) {
        Some(entry) => entry_or_nothing(entry),
        None => ListingLine::Unknown,
    }
}

fn parse_entry(line: &[u8], now: i64) -> Option<ListingEntry> {
    let (entry_type, mode, device) = parse_mode(line)?;
    let words = words(line);
    // The mode is word 0. `-rw-r--r--  1 owner group size date name`: the date is at word 5, without a group at word 4, and
    // elsewhere where owner or group are missing or hold spaces. The usual places come first: a user may be called `may`.
    let found = [5, 4].into_iter().chain(2..words.len()).find_map(|at| {
        let size = size_of(words.get(at.checked_sub(1)?)?.text, at)?;
        // A time before the size is that of a date that was not understood: this one is part of a name.
        if words.get(1..at - 1)?.iter().any(|word| clock(word.text).is_some()) {
            return None;
        }
        let (modified, used) = parse_date(words.get(at..)?, now)?;
        Some((at, size, modified, used))
    });
    let (at, size, modified, used) = found?;
    let last = words.get(at + used - 1)?;
    let name = line.get(last.end + 1..).unwrap_or_default();
    // Who prints dates with dots and without a time fills the column up.
    let name = if words.get(at)?.text.get(4) == Some(&b'.') && used == 1 { name.trim_ascii_start() } else { name };
    let mut entry = ListingEntry::new(name, entry_type);
    entry.size = size.filter(|_| !device && entry_type != EntryType::Directory);
    entry.modified = modified;
    entry.mode = mode;
    set_owner(&mut entry, words.get(1..at - 1).unwrap_or_default(), device);
    // `drwxr-x---+1464`: a long link count touches the mode.
    let touching = words.first().and_then(|word| word.text.get(10..)).unwrap_or_default();
    entry.links = entry.links.or(decimal(touching.strip_prefix(b"+").unwrap_or(touching)));
    if entry_type == EntryType::Symlink {
        split_link(&mut entry, size);
    }
    Some(entry)
}

/// The size column: a number; `Some(None)` for `33.5k`, and for a column that touches the group (`longgroup123456`), which
/// are sizes, but nobody knows which.
fn size_of(word: &[u8], at: usize) -> Option<Option<u64>> {
    if let Some(size) = decimal(word) {
        return Some(Some(size));
    }
    let (last, rest) = word.split_last()?;
    let rounded = matches!(last, b'k' | b'K' | b'M' | b'G' | b'T')
        && rest.first().is_some_and(u8::is_ascii_digit)
        && rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let touching = at < 5 && last.is_ascii_digit() && word.first().is_some_and(u8::is_ascii_alphabetic);
    (rounded || touching).then_some(None)
}

/// `drwxr-xr-x`, with ACL marks `+ . @` after it: type, permission bits, whether it is a device.
fn parse_mode(line: &[u8]) -> Option<(EntryType, Option<u32>, bool)> {
    let (entry_type, device) = match line.first()? {
        b'-' | b'f' => (EntryType::File, false),
        b'd' => (EntryType::Directory, false),
        b'l' => (EntryType::Symlink, false),
        b'b' | b'c' => (EntryType::Other, true),
        b'p' | b's' | b'D' | b'P' | b'w' => (EntryType::Other, false),
        _ => return None,
    };
    // Small devices print the letters of two classes (`drwxr-x`): no mode.
    if line.get(7) == Some(&b' ') && line.get(1..7)?.iter().all(|letter| b"rwx-".contains(letter)) {
        return Some((entry_type, None, device));
    }
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
struct ListingWord<'a> {
    text: &'a [u8],
    end: usize,
}

/// The first words of a line: enough for mode, links, owner, group (with spaces in both) and date.
fn words(line: &[u8]) -> Vec<ListingWord<'_>> {
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
        words.push(ListingWord { text: rest.get(..length).unwrap_or_default(), end: start + length });
        at = start + length;
    }
    words
}

/// A date at the start of these words: the time, `None` where the date could be two, and how many words it took.
fn parse_date(words: &[ListingWord<'_>], now: i64) -> Option<(Option<Modified>, usize)> {
    let word = |at: usize| words.get(at).map(|word| word.text).unwrap_or_default();
    let local = |seconds: i64, precision| Some(Modified { seconds, precision, utc: false });
    // `2026-11-23 05:52` (GNU ls --time-style=long-iso), with seconds and zone `2026-11-23 05:52:22.000000000 +0100`;
    // `1999/10/12 17:12`, `24-04-2003 17:12`.
    if let (Some(day), Some((hour, minute, second))) = (long_date(word(0)), clock(word(1))) {
        let Some(day) = day else { return Some((None, 2)) };
        let time = day + i64::from(hour * 3600 + minute * 60 + second.unwrap_or(0).min(59));
        let precision = if second.is_some() { Precision::Second } else { Precision::Minute };
        // Only whole times have a zone; behind minutes it is a name that looks like one.
        return Some(match zone(word(2)).filter(|_| second.is_some()) {
            Some(offset) => (Some(Modified { seconds: time - offset, precision, utc: true }), 3),
            None => (local(time, precision), 2),
        });
    }
    // `01-jun-99`, without a time.
    if let Some(day) = dashed_day(word(0)).filter(|_| clock(word(1)).is_none()) {
        return Some((local(day, Precision::Day), 1));
    }
    if let Some((year, month, day)) = year_first(word(0), word(1), word(2)) {
        let midnight = day_of(year, month, day)?;
        return Some(match clock(word(3)) {
            Some((hour, minute, second)) => {
                let time = midnight + i64::from(hour * 3600 + minute * 60 + second.unwrap_or(0).min(59));
                let precision = if second.is_some() { Precision::Second } else { Precision::Minute };
                (local(time, precision), 4)
            }
            None => (local(midnight, Precision::Day), 3),
        });
    }
    // `2004.07.15`, without a time.
    // A time that is not read would be taken for the name.
    let time_like = word(1).first().is_some_and(u8::is_ascii_digit) && word(1).contains(&b':');
    if word(0).len() == 10 && word(0).get(4) == Some(&b'.') && !time_like {
        return Some((local(long_date(word(0))??, Precision::Day), 1));
    }
    let (month, day, used) = month_and_day(word(0), word(1))?;
    // `Nov 23 05:52`, `Nov 23  2025`, `Nov 23 05:52:22 2025`.
    let last = word(used).strip_suffix(b",").unwrap_or(word(used));
    if let Some((hour, minute, second)) = clock(last) {
        let year = decimal(word(used + 1)).filter(|_| word(used + 1).len() == 4 && second.is_some());
        if let (Some(year), Some(second)) = (year, second) {
            let found = seconds(i64::try_from(year).ok()?, month, day, hour, minute, second)?;
            return Some((local(found, Precision::Second), used + 2));
        }
        let found = without_year(now, month, day, hour, minute)?;
        return Some((local(found, Precision::Minute), used + 1));
    }
    let year = without_sign(last);
    let year = decimal(year).filter(|value| year.len() == 4 && (1900..=9999).contains(value))?;
    let found = day_of(i64::try_from(year).ok()?, month, day)?;
    // `Oct 08, 2002 09:47` (VShell). Without the comma and with one blank only the time may as well begin the name.
    if let Some((hour, minute, second)) = clock(word(used + 1)) {
        if word(used - 1).ends_with(b",") {
            let found = found + i64::from(hour * 3600 + minute * 60 + second.unwrap_or(0).min(59));
            let precision = if second.is_some() { Precision::Second } else { Precision::Minute };
            return Some((local(found, precision), used + 2));
        }
        let gap = words.get(used)?.end - words.get(used)?.text.len() - words.get(used - 1)?.end;
        if gap < 2 {
            return None;
        }
    }
    Some((local(found, Precision::Day), used + 1))
}

/// `2003 3M 20`, with signs of Chinese, Japanese or Korean behind the month and perhaps the others.
fn year_first(year: &[u8], month: &[u8], day: &[u8]) -> Option<(i64, u32, u32)> {
    let (year, bare) = (without_sign(year), without_sign(month));
    let signed = bare.len() < month.len() && year.len() == 4;
    signed.then_some((i64::try_from(decimal(year)?).ok()?, small(bare)?, small(without_sign(day))?))
}

/// Month and day, and how many words they took: `Nov 23`, `23 Nov`, `23. Nov.`, `09-26` (month first), and with the signs
/// for month and day of Chinese and Japanese behind the numbers, in any character set.
fn month_and_day(first: &[u8], second: &[u8]) -> Option<(u32, u32, usize)> {
    let number = |word: &[u8]| small(word.strip_suffix(b",").or_else(|| word.strip_suffix(b".")).unwrap_or(word));
    if let Some(found) = month(first) {
        return Some((found, number(second)?, 2));
    }
    if let Some(found) = month(second) {
        return Some((found, number(first)?, 2));
    }
    let (bare_first, bare_second) = (without_sign(first), without_sign(second));
    if bare_first.len() < first.len() && small(bare_second).is_some() {
        return Some((small(bare_first)?, small(bare_second)?, 2));
    }
    let (month, day) = (first.get(..2)?, first.get(3..5)?);
    (first.len() == 5 && first.get(2) == Some(&b'-')).then_some((small(month)?, small(day)?, 1))
}

/// A number without the non-ASCII sign behind it.
fn without_sign(word: &[u8]) -> &[u8] {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match word.get(digits) {
        Some(128..) => word.get(..digits).unwrap_or_default(),
        _ => word,
    }
}

/// A date of numbers with a year of four digits.
fn long_date(text: &[u8]) -> Option<Option<i64>> {
    let whole = text.len() == 10 && (text.iter().filter(|byte| byte.is_ascii_digit()).count() == 8);
    let year_first = text.get(..4)?.iter().all(u8::is_ascii_digit);
    if !whole {
        return None;
    }
    // Which of two small numbers is the month, nobody says.
    let doubtful = !year_first && text.get(..2).and_then(small)? <= 12 && text.get(3..5).and_then(small)? <= 12;
    let day = short_date(text, &mut false)?;
    Some(day.filter(|_| !doubtful || text.get(..2) == text.get(3..5)))
}

/// `01-jun-99`.
fn dashed_day(text: &[u8]) -> Option<i64> {
    let mut parts = text.split(|byte| *byte == b'-');
    let (day, name, year) = (parts.next()?, parts.next()?, parts.next()?);
    let value = i64::try_from(decimal(year)?).ok()?;
    let year = match year.len() {
        4 => value,
        2 if value < 70 => 2000 + value,
        2 => 1900 + value,
        _ => return None,
    };
    day_of(year, month(name)?, small(day)?)
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

/// Link count, owner and group are what stands between mode and size.
fn set_owner(entry: &mut ListingEntry, words: &[ListingWord<'_>], device: bool) {
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
fn split_link(entry: &mut ListingEntry, size: Option<u64>) {
    const ARROW: &[u8] = b" -> ";
    let splits: Vec<usize> = memchr::memmem::find_iter(&entry.name, ARROW).collect();
    let exact =
        splits.iter().find(|at| size.is_some() && u64::try_from(entry.name.len() - *at - ARROW.len()).ok() == size);
    let Some(&at) = exact.or(splits.first()) else { return };
    let target = entry.name.get(at + ARROW.len()..).unwrap_or_default().to_vec();
    entry.name.truncate(at);
    entry.link_target = Some(target);
}

/// One line as `ls -l` prints it, without its line end. Clients parse it, so it never varies: English months, UTC,
/// the clock for half a year around `now` and the year otherwise.
pub fn format_unix(entry: &ListingEntry, now: i64) -> Vec<u8> {
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
