//! MS-DOS `dir` as IIS and other Windows servers print it: `11-23-26  05:52AM       <DIR>          name`.

use super::time::short_date;
use super::{EntryType, ListingEntry, ListingLine, Modified, Precision, decimal, entry_or_nothing};

/// One line of a DOS listing; `day_first` is what earlier lines proved.
pub(super) fn parse_line(line: &[u8], day_first: &mut bool) -> ListingLine {
    match parse_entry(line, day_first) {
        Some(entry) => entry_or_nothing(entry),
        None => ListingLine::Unknown,
    }
}

fn parse_entry(line: &[u8], day_first: &mut bool) -> Option<ListingEntry> {
    let (date, rest) = word(line)?;
    let day = short_date(date, day_first)?;
    let (time, mut rest) = word(rest)?;
    let mut clock = time.to_ascii_uppercase();
    // `01:30 PM` with a space is printed by some servers.
    if let Some((half, after)) = word(rest)
        && (half.eq_ignore_ascii_case(b"AM") || half.eq_ignore_ascii_case(b"PM"))
    {
        clock.extend(half.to_ascii_uppercase());
        rest = after;
    }
    let (hour, minute) = parse_clock(&clock)?;
    let (what, name) = word(rest)?;
    let (entry_type, size) = match what.to_ascii_uppercase().as_slice() {
        b"<DIR>" => (EntryType::Directory, None),
        b"<JUNCTION>" | b"<SYMLINK>" | b"<SYMLINKD>" => (EntryType::Symlink, None),
        other => {
            let digits: Vec<u8> = other.iter().copied().filter(|byte| !matches!(byte, b',' | b'.')).collect();
            (EntryType::File, Some(decimal(&digits)?))
        }
    };
    // The size column ends right before one space and the name; after <DIR> the gap is padding.
    let name = match size {
        Some(_) => name.strip_prefix(b" ")?,
        None => name.trim_ascii_start(),
    };
    let mut entry = ListingEntry::new(name, entry_type);
    entry.size = size;
    entry.modified = day.map(|day| Modified {
        seconds: day + i64::from(hour * 3600 + minute * 60),
        precision: Precision::Minute,
        utc: false,
    });
    if entry_type == EntryType::Symlink {
        split_target(&mut entry);
    }
    Some(entry)
}

/// The first word, and what follows it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    text.split_at_checked(end).filter(|(word, _)| !word.is_empty())
}

/// `05:52AM`, `05:52PM`, `05:52P`, `17:52`.
fn parse_clock(text: &[u8]) -> Option<(u32, u32)> {
    let (digits, half) = match text.iter().position(u8::is_ascii_alphabetic) {
        Some(at) => text.split_at_checked(at)?,
        None => (text, &b""[..]),
    };
    let colon = memchr::memchr(b':', digits)?;
    let hour = u32::try_from(decimal(digits.get(..colon)?)?).ok()?;
    let minute = u32::try_from(decimal(digits.get(colon + 1..)?)?).ok()?;
    let hour = match half {
        b"" => hour,
        b"AM" | b"A" if (1..=12).contains(&hour) => hour % 12,
        b"PM" | b"P" if (1..=12).contains(&hour) => hour % 12 + 12,
        _ => return None,
    };
    (hour < 24 && minute < 60).then_some((hour, minute))
}

/// `name [target]`, as `dir` prints links.
fn split_target(entry: &mut ListingEntry) {
    let Some(open) = memchr::memmem::rfind(&entry.name, b" [") else { return };
    let Some(target) = entry.name.get(open + 2..).and_then(|rest| rest.strip_suffix(b"]")) else { return };
    entry.link_target = Some(target.to_vec());
    entry.name.truncate(open);
}
