//! IBM i (OS/400): `QSYS            77824 02/23/00 15:09:55 *DIR       QOpenSys/`, and `QPGMR  *MEM  FILE.MBR` without size
//! and time. The order of the date is the job's setting: what it could mean in more than one way stays unknown.

use super::time::{clock, short_date};
use super::{EntryType, ListingEntry, ListingLine, Modified, Precision, decimal, entry_or_nothing};

/// One line; `day_first` is what earlier lines proved.
pub(super) fn parse_line(line: &[u8], day_first: &mut bool) -> ListingLine {
    match parse_entry(line, day_first) {
        Some(entry) => entry_or_nothing(entry),
        None => ListingLine::Unknown,
    }
}

fn parse_entry(line: &[u8], day_first: &mut bool) -> Option<ListingEntry> {
    // The type is the first word with a star; the name is what follows, spaces included.
    let star = memchr::memmem::find(line, b" *")? + 1;
    let (facts, rest) = line.split_at_checked(star)?;
    let end = rest.iter().position(|byte| *byte == b' ')?;
    let (object, name) = rest.split_at_checked(end)?;
    let known = object.get(1..).is_some_and(|word| !word.is_empty() && word.iter().all(u8::is_ascii_uppercase));
    if !known {
        return None;
    }
    let name = name.trim_ascii();
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
    let (owner, rest) = words.split_first()?;
    entry.owner = Some(owner.to_vec());
    match rest {
        [] => {}
        [size, date, time] => {
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
    Some(entry)
}
