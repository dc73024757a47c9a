//! Easily Parsed LIST Format: `+i8388621.48594,m825718503,r,s280,` TAB `djb.html`, the output of anonftpd and publicfile
//! (<https://cr.yp.to/ftp/list/eplf.html>).

use super::mlsd::octal;
use super::{EntryType, ListingEntry, ListingLine, Modified, decimal, entry_or_nothing};

/// Parses one line of EPLF.
pub(super) fn parse_line(line: &[u8]) -> ListingLine {
    match parse_entry(line) {
        Some(entry) => entry_or_nothing(entry),
        None => ListingLine::Unknown,
    }
}

fn parse_entry(line: &[u8]) -> Option<ListingEntry> {
    let rest = line.strip_prefix(b"+")?;
    let tab = memchr::memchr(b'\t', rest)?;
    let (facts, name) = rest.split_at_checked(tab)?;
    let mut entry = ListingEntry::new(name.get(1..)?, EntryType::Other);
    for fact in facts.split(|byte| *byte == b',').filter(|fact| !fact.is_empty()) {
        match fact {
            b"/" => entry.entry_type = EntryType::Directory,
            b"r" => entry.entry_type = EntryType::File,
            [b's', size @ ..] => entry.size = decimal(size),
            // Seconds since 1970, UTC.
            [b'm', time @ ..] => entry.modified = decimal(time).and_then(|s| i64::try_from(s).ok()).map(Modified::utc),
            [b'i', id @ ..] => entry.unique = Some(id.to_vec()),
            [b'u', b'p', mode @ ..] => entry.mode = octal(mode),
            other => entry.fact("eplf", other),
        }
    }
    Some(entry)
}
