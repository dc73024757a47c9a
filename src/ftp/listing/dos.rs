//! MS-DOS `dir` as IIS and other Windows servers print it: `11-23-26  05:52AM       <DIR>          name`.

use super::first_word as word;
use super::time::short_date;
use super::{EntryType, ListedPlace, ListingEntry, ListingLine, Modified, Precision, decimal, entry_or_nothing};

/// Parses one line of a DOS listing; `day_first` is true if earlier lines proved that the day comes first.
pub(super) fn parse_line(line: &[u8], day_first: &mut bool, place: &mut ListedPlace) -> ListingLine {
    match parse_entry(line, day_first) {
        Some(entry) => entry_or_nothing(entry),
        None => parse_frame(line, place),
    }
}

/// Parses the lines that `dir` prints around entries: the volume, the directory, and the totals.
fn parse_frame(line: &[u8], place: &mut ListedPlace) -> ListingLine {
    let text = line.trim_ascii();
    if let Some(named) = text.strip_prefix(b"Directory of ") {
        return place.heading(named);
    }
    let mut words = super::split_words(text);
    let mut next = || words.next().unwrap_or_default();
    let (count, what, size) = (next(), next(), next());
    // `7 File(s)  2,763 bytes`, `9 Dir(s)  721,554,505,728 bytes free`, `2 Datei(en), 1.234 Bytes`.
    let what = what.strip_suffix(b",").unwrap_or(what);
    let counted = with_commas(count).is_some() && with_commas(size).is_some();
    let total = counted && what.ends_with(b")") && what.contains(&b'(');
    let volume = [&b"Volume in drive "[..], b"Volume Serial Number is "].iter().any(|start| text.starts_with(start));
    if total || volume { ListingLine::Nothing } else { ListingLine::Unknown }
}

/// Parses a number with commas or dots between groups of digits.
fn with_commas(text: &[u8]) -> Option<u64> {
    let digits: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b',' | b'.')).collect();
    decimal(&digits)
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
        other => (EntryType::File, Some(with_commas(other)?)),
    };
    // The size column ends right before one space and the name. IIS and cmd pad `<DIR>` to 15 columns, so that names are aligned
    // (FluentFTP#867); with less padding, a name begins at its first character that is not blank.
    const COLUMN: &[u8; 15] = b"               ";
    let name = match size {
        Some(_) => name.strip_prefix(b" ")?,
        None => name.strip_prefix(COLUMN.get(what.len()..)?).unwrap_or(name.trim_ascii_start()),
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

/// Parses `05:52AM`, `05:52PM`, `05:52P`, `17:52`.
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

/// Splits `name [target]`, the form of links in `dir`.
fn split_target(entry: &mut ListingEntry) {
    let Some(open) = memchr::memmem::rfind(&entry.name, b" [") else { return };
    let Some(target) = entry.name.get(open + 2..).and_then(|rest| rest.strip_suffix(b"]")) else { return };
    entry.link_target = Some(target.to_vec());
    entry.name.truncate(open);
}
