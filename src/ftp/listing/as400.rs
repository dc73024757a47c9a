//! IBM i (OS/400): `QSYS            77824 02/23/00 15:09:55 *DIR       QOpenSys/`, and `QPGMR  *MEM  FILE.MBR` without size
//! and time. The order of the date is a setting of the job: an ambiguous date stays unknown.

use super::time::{clock, short_date};
use super::{EntryType, ListedPlace, ListingEntry, ListingLine, Modified, Precision, decimal, entry_or_nothing};

/// Parses one line; `day_first`: earlier lines proved that order, `file`: the last physical file, `place`: the listed directory.
pub(super) fn parse_line(
    line: &[u8],
    day_first: &mut bool,
    file: &mut Vec<u8>,
    place: &mut ListedPlace,
) -> ListingLine {
    match parse_entry(line, day_first, file, place) {
        Some(entry) => entry_or_nothing(entry),
        None => ListingLine::Unknown,
    }
}

fn parse_entry(line: &[u8], day_first: &mut bool, file: &mut Vec<u8>, place: &mut ListedPlace) -> Option<ListingEntry> {
    // The type is the first word with a star; the name is the rest of the line, spaces included.
    let star = memchr::memmem::find(line, b" *")? + 1;
    let (facts, rest) = line.split_at_checked(star)?;
    let end = rest.iter().position(|byte| *byte == b' ')?;
    let (object, name) = rest.split_at_checked(end)?;
    let known = object.get(1..).is_some_and(|word| !word.is_empty() && word.iter().all(u8::is_ascii_uppercase));
    if !known {
        return None;
    }
    // The type is padded to ten columns.
    const COLUMN: &[u8; 11] = b"           ";
    let name = COLUMN.get(object.len()..).and_then(|gap| name.strip_prefix(gap)).unwrap_or(name.trim_ascii_start());
    let name = name.trim_ascii_end();
    let folder = name.strip_suffix(b"/");
    let entry_type = match object {
        b"*DIR" | b"*DDIR" | b"*LIB" | b"*FLR" => EntryType::Directory,
        _ if folder.is_some() => EntryType::Directory,
        b"*STMF" | b"*DSTMF" | b"*MEM" | b"*FILE" | b"*DOC" => EntryType::File,
        b"*SYMLNK" => EntryType::Symlink,
        _ => EntryType::Other,
    };
    let mut entry = ListingEntry::new(folder.unwrap_or(name), entry_type);
    let words: Vec<&[u8]> = super::split_words(facts).collect();
    match words.as_slice() {
        [] | [_] if object == b"*MEM" => entry.owner = words.first().map(|owner| owner.to_vec()),
        // The owner is blank in anonymous sessions (IBM i, FTP: "LIST information in IBM i format").
        [owner @ .., size, date, time] if owner.len() < 2 => {
            entry.owner = owner.first().map(|owner| owner.to_vec());
            let size = decimal(size)?;
            entry.size = (entry_type == EntryType::File).then_some(size);
            let (hour, minute, second) = clock(time)?;
            entry.modified = short_date(date, day_first)?.map(|day| Modified {
                seconds: day + i64::from(hour * 3600 + minute * 60 + second.unwrap_or(0).min(59)),
                precision: if second.is_some() { Precision::Second } else { Precision::Minute },
                utc: false,
            });
        }
        _ => return None,
    }
    entry.fact("object", object);
    let whole = entry.name.clone();
    if object == b"*FILE" {
        whole.clone_into(file);
    }
    let Some(slash) = memchr::memrchr(b'/', &whole) else { return Some(entry) };
    let (parent, base) = (whole.get(..slash)?, whole.get(slash + 1..)?);
    let member = object == b"*MEM";
    if member && parent == file.as_slice() {
        // A member of the last physical file: it is one level down.
        let start = memchr::memrchr(b'/', parent).map_or(0, |at| at + 1);
        entry.name = whole.get(start..)?.to_vec();
    } else if member || whole.starts_with(b"/") {
        // The path of the listed directory, which for a member is its file.
        entry.name = base.to_vec();
        return place.same(parent).then_some(entry);
    }
    Some(entry)
}
