//! `ls -l` in its many dialects.

use super::month::month;
use super::time::{civil, clock, day_of, seconds, short_date, without_year};
use super::{EntryType, ListingEntry, ListingLine, Modified, Precision, decimal, entry_or_nothing, small};

/// Half a year: for older files `ls` prints the year instead of the clock time (POSIX, ls).
const HALF_A_YEAR: i64 = 15_778_476;

/// Parses one line of `ls -l`. Owner and group may be missing or hold spaces, so the parser searches for the date: a number
/// (the size) followed by a date. The name is everything after the one space that follows the date.
pub(super) fn parse_line(line: &[u8], now: i64) -> ListingLine {
    // `total 12`, `total 1.2M`, `total -9560322322989056`; `ls -a .` begins with `.:`.
    if line.len() > 6 && line.get(..6).is_some_and(|start| start.eq_ignore_ascii_case(b"total ")) {
        let rest = line.get(6..).unwrap_or_default().trim_ascii();
        let blocks = size_of(rest.strip_prefix(b"-").unwrap_or(rest), usize::MAX, false);
        return if blocks.is_some() { ListingLine::Nothing } else { ListingLine::Unknown };
    }
    if line == b".:" {
        return ListingLine::Nothing;
    }
    match parse_entry(line, now) {
        Some(entry) => entry_or_nothing(entry),
        None => ListingLine::Unknown,
    }
}

fn parse_entry(line: &[u8], now: i64) -> Option<ListingEntry> {
    let netware = parse_rights(line);
    let (entry_type, mode, device) = match netware {
        Some((entry_type, _)) => (entry_type, None, false),
        None => parse_mode(line)?,
    };
    let line = netware.map_or(line, |(_, rest)| rest);
    let words = words(line);
    // The mode is word 0. `-rw-r--r--  1 owner group size date name`: the date is at word 5, without a group at word 4, and
    // elsewhere where owner or group are missing or hold spaces. The usual places come first: a user may be called `may`.
    let usual: &[usize] = if netware.is_some() { &[3] } else { &[5, 4] };
    let found = usual.iter().copied().chain(2..words.len()).find_map(|at| {
        let size = size_of(words.get(at.checked_sub(1)?)?.text, at, device)?;
        // In an unusual place the size may be the year of a date that was not understood.
        let before = if usual.contains(&at) { at - 1 } else { at };
        if holds_unread_date(words.get(1..before)?) {
            return None;
        }
        // In `Dec 27 1989 8月 12 x`, 27 is not the size.
        let text = |at: usize| words.get(at).map(|word| word.text).unwrap_or_default();
        let by_year = four_digits(without_sign(text(at))).is_some();
        if by_year && month(text(at.saturating_sub(2))).is_some() && small(text(at - 1)).is_some() {
            return None;
        }
        let (modified, used) = parse_date(words.get(at..)?, now)?;
        // A user called `may`, a group 30, a size of 2048, and a date that was not understood.
        let behind = || {
            words.get(at + used - 1..at + used + 3).is_some_and(is_unread_date)
                || is_odd_date(text(at + used))
                || year_first(text(at + used), text(at + used + 1), text(at + used + 2)).is_some()
        };
        let doubtful = at < 5 && !usual.contains(&at) && behind();
        (!doubtful).then_some((at, size, modified, used))
    });
    let (at, size, modified, used) = found?;
    let last = words.get(at + used - 1)?;
    let mut name = line.get(last.end + 1..).unwrap_or_default();
    if words.get(at)?.text.get(4) == Some(&b'.') && used == 1 {
        // Servers that print dates with dots and without a time pad the column.
        name = name.strip_prefix(b"  ").unwrap_or(name);
    } else if netware.is_some() && words.get(at)?.start() > words.get(at - 1)?.end + 1 {
        // Old NetWare has wide gaps: several before the date and four before the name.
        name = name.strip_prefix(b"   ").unwrap_or(name);
    }
    let mut entry = ListingEntry::new(name, entry_type);
    entry.size = size.filter(|_| !device && entry_type != EntryType::Directory);
    entry.modified = modified;
    entry.mode = mode;
    let between = words.get(1..at - 1).unwrap_or_default();
    let first = words.first()?.text;
    if netware.is_some() {
        let owner: Vec<&[u8]> = between.iter().map(|word| word.text).collect();
        entry.owner = Some(owner.join(&b' ')).filter(|owner| !owner.is_empty());
        entry.fact("rights", first.strip_prefix(b"[").and_then(|rights| rights.strip_suffix(b"]"))?);
    } else {
        set_owner(&mut entry, between, device);
        // `drwxr-xr-x---+1464`: a long link count touches the mode.
        let touching = first.get(10..).unwrap_or_default();
        entry.links = entry.links.or(decimal(touching.strip_prefix(b"+").unwrap_or(touching)));
    }
    if entry_type == EntryType::Symlink {
        split_link(&mut entry, size);
    }
    Some(entry)
}

/// Parses `d [RWCEAFMS]` of NetWare, with or without the space: the type, and the rest of the line from the rights on.
fn parse_rights(line: &[u8]) -> Option<(EntryType, &[u8])> {
    let (letter, rest) = line.split_first()?;
    let entry_type = match letter {
        b'-' => EntryType::File,
        b'd' => EntryType::Directory,
        _ => return None,
    };
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let inside = rest.strip_prefix(b"[")?;
    let (letters, _) = inside.split_at_checked(memchr::memchr(b']', inside)?)?;
    let proper = !letters.is_empty() && letters.iter().all(|letter| b"RWCEAFMS-".contains(letter));
    (proper && inside.get(letters.len() + 1) == Some(&b' ')).then_some((entry_type, rest))
}

/// True when some of these words look like a size and a date in an unknown format: a date found behind them is part of the
/// name.
fn holds_unread_date(words: &[ListingWord<'_>]) -> bool {
    words.iter().any(|word| is_odd_date(word.text)) || words.windows(4).any(is_unread_date)
}

/// True for a word like a date or time in an unknown format: `2:30PM`, `32-foo-1999`, `2004.13.15`.
fn is_odd_date(word: &[u8]) -> bool {
    if !starts_with_digit(word) || decimal(word).is_some() {
        return false;
    }
    let mut parts = word.split(|byte| matches!(byte, b'-' | b'/' | b'.'));
    let three = parts.by_ref().take(3).filter(|part| !part.is_empty()).count() == 3;
    word.contains(&b':') || (three && parts.next().is_none())
}

/// True for a size and something like a date: `7 foo 23 2025`, `7 23 foo 05h52`, `7 3 40 2025`, `7 2025 foo 23`.
fn is_unread_date(words: &[ListingWord<'_>]) -> bool {
    let [size, one, other, last] = words else { return false };
    let (one, other, last) = (one.text, other.text, last.text);
    let day = |word: &[u8]| {
        small(without_sign(word.strip_suffix(b",").or(word.strip_suffix(b".")).unwrap_or(word))).is_some()
    };
    let year = |word: &[u8]| four_digits(without_sign(word)).is_some();
    // A device's number ends with a comma.
    let more = starts_with_digit(last) && !last.ends_with(b",");
    let named = (day(one) && !starts_with_digit(other)) || (day(other) && !starts_with_digit(one));
    let by_year = year(one) && ((day(other) && more) || (!starts_with_digit(other) && day(last)));
    decimal(size.text).is_some() && ((named && more) || by_year || (day(one) && day(other) && year(last)))
}

fn starts_with_digit(word: &[u8]) -> bool {
    word.first().is_some_and(u8::is_ascii_digit)
}

/// A year of four digits, from 1900 on.
fn four_digits(text: &[u8]) -> Option<i64> {
    let year = decimal(text).filter(|value| text.len() == 4 && (1900..=9999).contains(value))?;
    i64::try_from(year).ok()
}

/// Parses the size column: a number. `Some(None)` for sizes that are not known exactly, such as `33.5k` and a column that
/// touches the group (`longgroup123456`), and for the two numbers of a device.
fn size_of(word: &[u8], at: usize, device: bool) -> Option<Option<u64>> {
    if let Some(size) = decimal(word) {
        return Some(Some(size));
    }
    let (last, rest) = word.split_last()?;
    let rounded = matches!(last, b'k' | b'K' | b'M' | b'G' | b'T')
        && rest.first().is_some_and(u8::is_ascii_digit)
        && rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
    let touching = at < 5 && last.is_ascii_digit() && word.first().is_some_and(u8::is_ascii_alphabetic);
    let numbers = device && word.split(|byte| *byte == b',').all(|number| decimal(number).is_some());
    (rounded || touching || numbers).then_some(None)
}

/// Parses `drwxr-xr-x`, perhaps followed by an ACL mark (`+ . @`): the type, the permission bits, and whether it is a device.
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

/// A word and the position of its end in the line.
struct ListingWord<'a> {
    text: &'a [u8],
    end: usize,
}

impl ListingWord<'_> {
    fn start(&self) -> usize {
        self.end - self.text.len()
    }
}

/// The first words of a line: enough for mode, links, owner and group (both with spaces) and date.
fn words(line: &[u8]) -> Vec<ListingWord<'_>> {
    const MAX_WORDS: usize = 32;
    let mut words = Vec::with_capacity(MAX_WORDS / 2);
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

/// Parses a date at the start of these words: the time (`None` if the date is ambiguous), and the number of words in it.
fn parse_date(words: &[ListingWord<'_>], now: i64) -> Option<(Option<Modified>, usize)> {
    let word = |at: usize| words.get(at).map(|word| word.text).unwrap_or_default();
    let local = |seconds: i64, precision| Some(Modified { seconds, precision, utc: false });
    // `2026-11-23 05:52` (GNU ls --time-style=long-iso), with seconds and zone `2026-11-23 05:52:22.000000000 +0100`;
    // `1999/10/12 17:12`, `24-04-2003 17:12`.
    // A date with dots and a gap behind it has no time.
    let gap = || matches!(words, [first, second, ..] if second.start() > first.end + 1);
    let alone = word(0).get(4) == Some(&b'.') && gap();
    if let (Some(day), Some((hour, minute, second)), false) = (long_date(word(0)), clock(word(1)), alone) {
        let Some(day) = day else { return Some((None, 2)) };
        let time = day + i64::from(hour * 3600 + minute * 60 + second.unwrap_or(0).min(59));
        let precision = if second.is_some() { Precision::Second } else { Precision::Minute };
        // Only a time with seconds has a zone; behind a time without seconds, the word belongs to the name.
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
        // A time behind the date may also be the start of the name.
        let found = day_of(year, month, day).filter(|_| clock(word(3)).is_none())?;
        return Some((local(found, Precision::Day), 3));
    }
    // `2004.07.15`, without a time.
    // A time that is not recognized would become part of the name.
    let time_like = word(1).first().is_some_and(u8::is_ascii_digit) && word(1).contains(&b':');
    if word(0).len() == 10 && word(0).get(4) == Some(&b'.') && !time_like {
        return Some((local(long_date(word(0))??, Precision::Day), 1));
    }
    // `3 29 03:26`, the month first: if both numbers may be months, the date is ambiguous.
    if let (Some(month), Some(day)) = (small(word(0)), small(word(1)))
        && (clock(word(2)).is_some() || four_digits(word(2)).is_some())
        && month != day
        && (1..=12).contains(&month)
        && (1..=12).contains(&day)
    {
        return Some((None, 3));
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
    let last = if starts_with_digit(word(0)) { without_sign(last) } else { last };
    let found = day_of(four_digits(last)?, month, day)?;
    // `Oct 08, 2002 09:47` (VShell). Without the comma and with only one blank, the time may also be the start of the name.
    if let Some((hour, minute, second)) = clock(word(used + 1)) {
        if word(used - 1).ends_with(b",") {
            let found = found + i64::from(hour * 3600 + minute * 60 + second.unwrap_or(0).min(59));
            let precision = if second.is_some() { Precision::Second } else { Precision::Minute };
            return Some((local(found, precision), used + 2));
        }
        if words.get(used)?.start() - words.get(used - 1)?.end < 2 {
            return None;
        }
    }
    Some((local(found, Precision::Day), used + 1))
}

/// Parses `2003 3M 20`, with a Chinese, Japanese or Korean sign behind the month and perhaps behind the other numbers.
fn year_first(year: &[u8], month: &[u8], day: &[u8]) -> Option<(i64, u32, u32)> {
    let (year, bare) = (without_sign(year), without_sign(month));
    let signed = bare.len() < month.len() && year.len() == 4;
    signed.then_some((i64::try_from(decimal(year)?).ok()?, small(bare)?, small(without_sign(day))?))
}

/// Parses month and day, and counts their words: `Nov 23`, `23 Nov`, `23. Nov.`, `09-26` and `9 26` (month first), also with
/// the Chinese or Japanese signs for month and day behind the numbers, in any character set.
fn month_and_day(first: &[u8], second: &[u8]) -> Option<(u32, u32, usize)> {
    let number = |word: &[u8]| small(word.strip_suffix(b",").or_else(|| word.strip_suffix(b".")).unwrap_or(word));
    if let Some(found) = month(first) {
        return Some((found, number(second)?, 2));
    }
    if let Some(found) = month(second) {
        return Some((found, number(first)?, 2));
    }
    let (bare_first, bare_second) = (without_sign(first), without_sign(second));
    if let (Some(month), Some(day)) = (small(bare_first), small(bare_second)) {
        return Some((month, day, 2));
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
    // If both numbers may be months, their order is unknown.
    let doubtful = !year_first && text.get(..2).and_then(small)? <= 12 && text.get(3..5).and_then(small)? <= 12;
    let day = short_date(text, &mut false)?;
    Some(day.filter(|_| !doubtful || text.get(..2) == text.get(3..5)))
}

/// Parses `01-jun-99`.
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

/// Parses a zone such as `+0100`: the offset in seconds.
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

/// Sets link count, owner and group from the words between mode and size.
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

/// Splits `name -> target`. Both may contain ` -> `; if the server reports the size of the link, that is the length of the
/// target and determines the split.
fn split_link(entry: &mut ListingEntry, size: Option<u64>) {
    const ARROW: &[u8] = b" -> ";
    let windows = entry.name.windows(ARROW.len()).enumerate();
    let splits: Vec<usize> = windows.filter(|(_, window)| *window == ARROW).map(|(at, _)| at).collect();
    // Servers print 0 if they do not know the size.
    let size = size.filter(|size| *size > 0);
    let exact =
        splits.iter().find(|at| size.is_some() && u64::try_from(entry.name.len() - *at - ARROW.len()).ok() == size);
    let Some(&at) = exact.or(splits.first()) else { return };
    let target = entry.name.get(at + ARROW.len()..).unwrap_or_default().to_vec();
    entry.name.truncate(at);
    entry.link_target = Some(target);
}

/// Formats one line like `ls -l`, without its line end. Clients parse it, so the format is fixed: English months, UTC, the
/// clock time for the half year before `now` (and one hour after it), and the year otherwise.
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
    let when = if stamp > now.saturating_sub(HALF_A_YEAR) && stamp <= now.saturating_add(3600) {
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
