//! OpenVMS: `CII-MANUAL.TEX;1  213/216  29-JAN-1996 03:33:12  [ANONYMOU,ANONYMOUS]  (RWED,RWED,,)`. The columns come in
//! any order; a long name is on a separate line. Sizes are in blocks of 512 bytes, so the exact size stays unknown.

use super::month::month;
use super::time::{clock, day_of};
use super::{EntryType, ListedPlace, ListingEntry, ListingLine, Modified, Precision, REFUSED, decimal, split_words};

/// Parses one line; `held` is the name of an entry whose facts are on the next line, `last` the file listed before, `place`
/// the directory in the heading.
pub(super) fn parse_line(
    line: &[u8],
    held: &mut Option<Vec<u8>>,
    last: &mut Vec<u8>,
    place: &mut ListedPlace,
) -> ListingLine {
    let mut words = split_words(line).peekable();
    if let Some(name) = held.take() {
        // Another name: the facts of the previous one are missing.
        let another = words.peek().is_none_or(|word| parse_name(word).is_some());
        return match parse_facts(&name, words, last).filter(|_| !another) {
            Some(entry) => ListingLine::Entry(entry),
            None => ListingLine::Unknown,
        };
    }
    let Some(name) = words.next() else { return ListingLine::Nothing };
    if parse_name(name).is_none() {
        // `Directory DISK:[X]`, or the directory alone (MultiNet), recognized by its shape.
        let is_place = |word: &[u8]| word.contains(&b'[') && (word.ends_with(b"]") || word.ends_with(b"*.*;*"));
        let second = words.peek().copied().unwrap_or_default();
        if name.eq_ignore_ascii_case(b"Directory") && second.contains(&b'[') {
            return place.heading(second);
        }
        if second.is_empty() && name.windows(2).any(|pair| pair == b":[") && is_place(name) {
            return place.heading(name);
        }
        // `*.*;0   <%RMS-E-FNF, file not found>`: an empty directory.
        let empty = name.contains(&b'*') && is_message(second) && memchr::memmem::find(second, b"-FNF").is_some();
        let total = name.eq_ignore_ascii_case(b"Total")
            && second.eq_ignore_ascii_case(b"of")
            && split_words(line).nth(2).is_some_and(|count| decimal(count).is_some());
        let grand = name.eq_ignore_ascii_case(b"Grand") && second.eq_ignore_ascii_case(b"total");
        return if empty || total || grand { ListingLine::Nothing } else { ListingLine::Unknown };
    }
    if words.peek().is_none() {
        *held = Some(name.to_vec());
        return ListingLine::Nothing;
    }
    match parse_facts(name, words, last) {
        Some(entry) => ListingLine::Entry(entry),
        None => ListingLine::Unknown,
    }
}

/// True for a message code such as `%RMS-E-PRV,`, also in angle brackets.
fn is_message(word: &[u8]) -> bool {
    word.strip_prefix(b"<").unwrap_or(word).starts_with(b"%")
}

/// Parses `DISK:[DIR]NAME.EXT;version`: name and version.
fn parse_name(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = memchr::memrchr(b']', word).map_or(0, |at| at + 1);
    let word = word.get(start..)?;
    let semicolon = memchr::memrchr(b';', word)?;
    let (name, version) = word.split_at_checked(semicolon)?;
    let version = version.get(1..)?;
    (!name.is_empty() && !name.contains(&b'*') && version.len() <= 5 && decimal(version).is_some())
        .then_some((name, version))
}

fn parse_facts<'a>(name: &[u8], words: impl Iterator<Item = &'a [u8]>, last: &mut Vec<u8>) -> Option<ListingEntry> {
    let (base, version) = parse_name(name)?;
    let mut entry = match base.strip_suffix(b".DIR").or_else(|| base.strip_suffix(b".dir")) {
        Some(directory) if !directory.is_empty() => ListingEntry::new(directory, EntryType::Directory),
        // The newest version is listed first and gets the plain name; an older one keeps its number.
        _ if *last == base => ListingEntry::new([base, b";", version].concat(), EntryType::File),
        _ => ListingEntry::new(base, EntryType::File),
    };
    base.clone_into(last);
    entry.fact("version", version);
    let (mut day, mut time, mut dated) = (None, None, false);
    for word in words {
        if is_message(word)
            || (day.is_none() && (word.eq_ignore_ascii_case(b"insufficient") || word.eq_ignore_ascii_case(b"no")))
        {
            // `%RMS-E-PRV, insufficient privilege or file protection violation`: the file exists, but its facts are refused.
            entry.fact(REFUSED, word);
            return Some(entry);
        }
        if let Some(found) = parse_date(word) {
            day = found;
            dated = true;
        } else if let Some(found) = clock(word) {
            time = Some(found);
        } else if let Some(owner) = word.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
            let mut parts = owner.splitn(2, |byte| *byte == b',');
            let (first, second) = (parts.next()?, parts.next());
            // `[group,member]`; a single name is the owner.
            entry.owner = Some(second.unwrap_or(first).to_vec());
            entry.group = second.map(|_| first.to_vec());
        } else if word.starts_with(b"(") && word.ends_with(b")") {
            entry.fact("protection", word.get(1..word.len() - 1)?);
        } else if word.iter().all(|byte| *byte == b'*') {
            // The number of blocks is too large for the column.
        } else if let Some(used) = word.split(|byte| *byte == b'/').next().filter(|used| decimal(used).is_some()) {
            entry.fact("blocks", used);
        } else if entry.owner.is_none() {
            entry.owner = Some(word.to_vec());
        } else {
            return None;
        }
    }
    if let Some(day) = day {
        entry.modified = Some(match time {
            Some((hour, minute, second)) => Modified {
                seconds: day + i64::from(hour * 3600 + minute * 60 + second.unwrap_or(0).min(59)),
                precision: if second.is_some() { Precision::Second } else { Precision::Minute },
                utc: false,
            },
            None => Modified { seconds: day, precision: Precision::Day, utc: false },
        });
    }
    dated.then_some(entry)
}

/// Parses `29-JAN-1996`. `None`: not a date; `Some(None)`: the month is ambiguous (`15-JUI-2002` is June or July).
fn parse_date(word: &[u8]) -> Option<Option<i64>> {
    let mut parts = word.split(|byte| *byte == b'-');
    let (day, name, year) = (parts.next()?, parts.next()?, parts.next()?);
    let shape = super::small(day).is_some() && name.len() == 3 && year.len() == 4 && parts.next().is_none();
    if !shape || !name.iter().all(|byte| !byte.is_ascii_digit()) {
        return None;
    }
    let year = i64::try_from(decimal(year)?).ok()?;
    match month(name) {
        Some(month) => Some(Some(day_of(year, month, super::small(day)?)?)),
        None => Some(None),
    }
}
