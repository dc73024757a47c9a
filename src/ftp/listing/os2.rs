//! OS/2: `     0           DIR   05-12-97   16:44  LANGUAGE`, `149473      A          11-17-98   16:07  POPUPLOG.OS2`.

use super::time::{clock, short_date};
use super::{EntryType, ListingEntry, ListingLine, Modified, Precision, decimal, entry_or_nothing, first_word};

/// Parses one line; `day_first` is true if earlier lines proved that the day comes first.
pub(super) fn parse_line(line: &[u8], day_first: &mut bool) -> ListingLine {
    match parse_entry(line, day_first) {
        Some(entry) => entry_or_nothing(entry),
        None => ListingLine::Unknown,
    }
}

fn parse_entry(line: &[u8], day_first: &mut bool) -> Option<ListingEntry> {
    let (size, mut rest) = first_word(line)?;
    let size = decimal(size)?;
    let (mut entry_type, mut attributes) = (EntryType::File, Vec::new());
    // Read-only, hidden, system, archive; `DIR` is among them.
    let date = loop {
        let (word, after) = first_word(rest)?;
        rest = after;
        match word {
            b"DIR" => entry_type = EntryType::Directory,
            _ if word.iter().all(|letter| b"RHSA".contains(letter)) => attributes.extend_from_slice(word),
            _ => break word,
        }
    };
    let day = short_date(date, day_first)?;
    let (time, name) = first_word(rest)?;
    let (hour, minute, None) = clock(time)? else { return None };
    let name = name.strip_prefix(b"  ").or(name.strip_prefix(b" "))?;
    let mut entry = ListingEntry::new(name, entry_type);
    entry.size = (entry_type == EntryType::File).then_some(size);
    entry.modified = day.map(|day| Modified {
        seconds: day + i64::from(hour * 3600 + minute * 60),
        precision: Precision::Minute,
        utc: false,
    });
    if !attributes.is_empty() {
        entry.fact("attributes", &attributes);
    }
    Some(entry)
}
