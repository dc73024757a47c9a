//! Machine listings: MLSD and MLST (RFC 3659, section 7).

use serde::{Deserialize, Serialize};

use super::{EntryType, ListingEntry, ListingLine, Modified, decimal, entry_or_nothing, format_mdtm, parse_mdtm};

/// The facts that a server sends; a client selects them with `OPTS MLST` (RFC 3659, section 7.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactSet {
    /// `type`.
    pub entry_type: bool,
    /// `size`.
    pub size: bool,
    /// `modify`.
    pub modify: bool,
    /// `perm`.
    pub perm: bool,
    /// `unique`.
    pub unique: bool,
    /// `UNIX.mode`.
    pub unix_mode: bool,
}

impl Default for FactSet {
    /// All facts.
    fn default() -> FactSet {
        FactSet { entry_type: true, size: true, modify: true, perm: true, unique: true, unix_mode: true }
    }
}

/// Parses one line of MLSD output.
pub(super) fn parse_line(line: &[u8]) -> ListingLine {
    let Some((facts, name)) = split(line) else { return ListingLine::Unknown };
    match parse_facts(facts, name) {
        Some(entry) => entry_or_nothing(entry),
        // `cdir` and `pdir`: the directory itself and its parent.
        None => ListingLine::Nothing,
    }
}

/// `facts SP name`: the name is everything after the first space, spaces included.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = memchr::memchr(b' ', line)?;
    let (facts, name) = line.split_at_checked(space)?;
    (facts.is_empty() || facts.contains(&b'=')).then(|| (facts, name.get(1..).unwrap_or_default()))
}

/// The entry that these facts describe; `None` for `cdir` and `pdir`. In MLST the name may be a whole path.
pub fn parse_facts(facts: &[u8], name: &[u8]) -> Option<ListingEntry> {
    let mut entry = ListingEntry::new(name, EntryType::Other);
    for fact in facts.split(|byte| *byte == b';') {
        let Some(equals) = memchr::memchr(b'=', fact) else { continue };
        let (key, value) = (fact.get(..equals).unwrap_or_default(), fact.get(equals + 1..).unwrap_or_default());
        let is = |name: &str| key.eq_ignore_ascii_case(name.as_bytes());
        if is("type") {
            set_type(&mut entry, value)?;
        } else if is("size") || (is("sizd") && entry.size.is_none()) {
            entry.size = decimal(value);
        } else if is("modify") {
            entry.modified = parse_mdtm(value).map(Modified::utc);
        } else if is("perm") {
            entry.perm = Some(String::from_utf8_lossy(value).into_owned());
        } else if is("unique") {
            entry.unique = Some(value.to_vec());
        } else if is("unix.mode") {
            entry.mode = octal(value);
        } else if is("unix.ownername") || (is("unix.owner") || is("unix.uid")) && entry.owner.is_none() {
            entry.owner = Some(value.to_vec());
        } else if is("unix.groupname") || (is("unix.group") || is("unix.gid")) && entry.group.is_none() {
            entry.group = Some(value.to_vec());
        } else {
            entry.fact(&String::from_utf8_lossy(key), value);
        }
    }
    Some(entry)
}

/// The `type` fact (RFC 3659, section 7.5.1); links are `OS.unix=slink:target` or `OS.unix=symlink`.
fn set_type(entry: &mut ListingEntry, value: &[u8]) -> Option<()> {
    let lower = value.to_ascii_lowercase();
    entry.entry_type = match lower.as_slice() {
        b"cdir" | b"pdir" => return None,
        b"file" => EntryType::File,
        b"dir" => EntryType::Directory,
        other if other.starts_with(b"os.unix=slink") || other.starts_with(b"os.unix=symlink") => {
            let colon = memchr::memchr(b':', value);
            entry.link_target =
                colon.and_then(|at| value.get(at + 1..)).map(<[u8]>::to_vec).filter(|path| !path.is_empty());
            EntryType::Symlink
        }
        _ => EntryType::Other,
    };
    Some(())
}

/// Permission bits in octal.
pub(super) fn octal(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 7 {
        return None;
    }
    let value = text
        .iter()
        .try_fold(0u32, |value, byte| matches!(byte, b'0'..=b'7').then(|| value * 8 + u32::from(byte - b'0')))?;
    Some(value & 0o7777)
}

/// Formats one line of MLSD or MLST output without its line end; MLST puts a space before it (RFC 3659, section 7.2).
pub fn format_mlsd(entry: &ListingEntry, facts: FactSet) -> Vec<u8> {
    let mut line = Vec::with_capacity(96 + entry.name.len());
    let mut fact = |name: &str, value: &[u8]| {
        line.extend_from_slice(name.as_bytes());
        line.push(b'=');
        line.extend(
            value.iter().map(|byte| if matches!(byte, b';' | b' ' | b'\r' | b'\n' | 0) { b'_' } else { *byte }),
        );
        line.push(b';');
    };
    if facts.entry_type {
        match (entry.entry_type, entry.name.as_slice(), &entry.link_target) {
            (EntryType::Directory, b".", _) => fact("type", b"cdir"),
            (EntryType::Directory, b"..", _) => fact("type", b"pdir"),
            (EntryType::Directory, ..) => fact("type", b"dir"),
            (EntryType::File, ..) => fact("type", b"file"),
            // A fact cannot hold a target with a `;` or a space.
            (EntryType::Symlink, _, Some(target)) if !target.iter().any(|byte| matches!(byte, b';' | b' ')) => {
                fact("type", &[b"OS.unix=slink:", target.as_slice()].concat());
            }
            (EntryType::Symlink, ..) => fact("type", b"OS.unix=symlink"),
            (EntryType::Other, ..) => fact("type", b"OS.unix=other"),
        }
    }
    if let (true, Some(size)) = (facts.size, entry.size) {
        fact("size", size.to_string().as_bytes());
    }
    if let (true, Some(modified)) = (facts.modify, entry.modified) {
        fact("modify", format_mdtm(modified.seconds).as_bytes());
    }
    if let (true, Some(perm)) = (facts.perm, &entry.perm) {
        fact("perm", perm.as_bytes());
    }
    if let (true, Some(unique)) = (facts.unique, &entry.unique) {
        fact("unique", unique);
    }
    if let (true, Some(mode)) = (facts.unix_mode, entry.mode) {
        fact("UNIX.mode", format!("{mode:04o}").as_bytes());
    }
    line.push(b' ');
    line.extend_from_slice(&entry.name);
    line
}
