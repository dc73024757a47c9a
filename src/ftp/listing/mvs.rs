//! z/OS (MVS): data sets and the members of partitioned data sets, each below its heading (z/OS Communications Server:
//! IP User's Guide, "LS"). Sizes are in tracks or records, never in bytes, so the size in bytes stays unknown.

use super::time::{clock, day_of};
use super::{EntryType, ListingEntry, ListingLine, Modified, Precision, decimal, small, split_words};

/// The dialect that a heading indicates.
pub(super) fn heading(line: &[u8]) -> Option<super::Dialect> {
    let mut words = split_words(line);
    match (words.next()?, words.next()?) {
        (b"Volume", b"Unit") => Some(super::Dialect::MvsDatasets),
        (b"Name", b"VV.MM" | b"Size") => Some(super::Dialect::MvsMembers),
        _ => None,
    }
}

/// Parses `WPTA01 3290   2004/03/04  1    3  FB      80  3125  PO  PAULB.ZOS.JCL`, `Migrated   NAME`, `V43525 Tape   NAME`.
pub(super) fn parse_dataset(line: &[u8]) -> ListingLine {
    let words: Vec<&[u8]> = split_words(line).collect();
    let Some((name, words)) = words.split_last() else { return ListingLine::Unknown };
    let name = name.strip_prefix(b"'").and_then(|rest| rest.strip_suffix(b"'")).unwrap_or(name);
    let proper = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b".$#@-".contains(byte);
    if name.is_empty() || !name.iter().all(proper) || words.is_empty() {
        return ListingLine::Unknown;
    }
    let mut entry = ListingEntry::new(name, EntryType::File);
    match words {
        [b"Pseudo", b"Directory"] => entry.entry_type = EntryType::Directory,
        [b"Migrated"] => entry.fact("volume", b"Migrated"),
        [b"ARCIVE", ..] => entry.fact("volume", b"ARCIVE"),
        [volume, b"Tape"] => {
            entry.fact("volume", volume);
            entry.fact("unit", b"Tape");
        }
        [volume, unit, b"VSAM"] => {
            entry.entry_type = EntryType::Other;
            entry.fact("volume", volume);
            entry.fact("unit", unit);
            entry.fact("dsorg", b"VSAM");
        }
        // Extents and tracks may touch (`213000`), so the columns are counted from both ends.
        [volume, unit, referred, .., recfm, lrecl, blksz, dsorg] if is_date(referred) => {
            if dsorg.starts_with(b"PO") || dsorg.starts_with(b"PDSE") {
                entry.entry_type = EntryType::Directory;
            }
            let names = ["volume", "unit", "referred", "recfm", "lrecl", "blksz", "dsorg"];
            for (name, value) in names.into_iter().zip([volume, unit, referred, recfm, lrecl, blksz, dsorg]) {
                entry.fact(name, value);
            }
        }
        // `GDG`, `User catalog connector`, `Error determining attributes`, `Not Mounted`: it exists, and no more is known.
        _ => {
            entry.entry_type = EntryType::Other;
            entry.fact("note", &words.join(&b' '));
        }
    }
    ListingLine::Entry(entry)
}

/// True for `2004/03/04`, or `**NONE**` for a data set that was never opened. It is the day of the last use, not of a change.
fn is_date(word: &[u8]) -> bool {
    word == b"**NONE**" || (word.len() == 10 && word.get(4) == Some(&b'/'))
}

/// Parses ` ADMIN     01.03 2002/12/11 2003/05/21 15:33   55    30     0  TSOUSR`, or a name alone; of a load module only the
/// name is used.
pub(super) fn parse_member(line: &[u8]) -> ListingLine {
    let mut words = split_words(line);
    let Some(name) = words.next() else { return ListingLine::Unknown };
    let proper = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"$#@{".contains(byte);
    if name.len() > 8 || !name.iter().all(proper) {
        return ListingLine::Unknown;
    }
    let mut entry = ListingEntry::new(name, EntryType::File);
    let rest: Vec<&[u8]> = words.collect();
    if let [version, created, changed, time, size, init, modified, id @ ..] = rest.as_slice()
        && version.contains(&b'.')
    {
        let (Some(day), Some((hour, minute, second))) = (date(changed), clock(time)) else {
            return ListingLine::Unknown;
        };
        entry.modified = Some(Modified {
            seconds: day + i64::from(hour * 3600 + minute * 60 + second.unwrap_or(0).min(59)),
            precision: if second.is_some() { Precision::Second } else { Precision::Minute },
            utc: false,
        });
        entry.owner = id.first().map(|id| id.to_vec());
        let names = ["version", "created", "records", "init", "mod"];
        for (name, value) in names.into_iter().zip([version, created, size, init, modified]) {
            entry.fact(name, value);
        }
    }
    ListingLine::Entry(entry)
}

/// Parses `2003/05/21`: seconds since 1970.
fn date(word: &[u8]) -> Option<i64> {
    let mut parts = word.split(|byte| *byte == b'/');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let year = decimal(year).filter(|_| year.len() == 4)?;
    day_of(i64::try_from(year).ok()?, small(month)?, small(day)?)
}
