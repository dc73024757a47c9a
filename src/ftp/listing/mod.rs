//! Directory listings: what servers print about files, to [`Entry`] and back.
//!
//! MLSD (RFC 3659, section 7) is exact. LIST has no standard (RFC 959, section 4.1.3): [`Lister`] knows the dialects that
//! servers print and finds out which one it reads.

mod dos;
mod mlsd;
mod time;
mod unix;

pub use mlsd::{FactSet, format_mlsd, parse_facts};
pub use time::{Modified, Precision, format_mdtm, format_rfc3339, parse_mdtm};
pub use unix::format_unix;

/// The longest listing line that is taken; the caller's line splitter holds it.
pub const MAX_LINE: usize = 8192;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryType {
    /// A plain file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, socket or FIFO, or what the server would not say.
    Other,
}

impl EntryType {
    /// The name in JSON (`entry_type`).
    pub const fn as_str(self) -> &'static str {
        match self {
            EntryType::File => "file",
            EntryType::Directory => "directory",
            EntryType::Symlink => "symlink",
            EntryType::Other => "other",
        }
    }
}

/// One entry of a directory. What the listing does not say is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name as the server wrote it: bytes, unchecked. See [`crate::ftp::path::check_name`] before it becomes a path.
    pub name: Vec<u8>,
    /// What it is.
    pub entry_type: EntryType,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// When it was modified, and how exactly that is known.
    pub modified: Option<Modified>,
    /// Permission bits as in chmod(2), `0o7777` at most.
    pub mode: Option<u32>,
    /// Its owner, name or number.
    pub owner: Option<Vec<u8>>,
    /// Its group, name or number.
    pub group: Option<Vec<u8>>,
    /// What a symbolic link points to.
    pub link_target: Option<Vec<u8>>,
    /// Number of hard links.
    pub links: Option<u64>,
    /// MLSD's `perm` fact (RFC 3659, section 7.5.5).
    pub perm: Option<String>,
    /// MLSD's `unique` fact: the same value is the same file (RFC 3659, section 7.5.2).
    pub unique: Option<Vec<u8>>,
}

impl Entry {
    /// An entry of which only name and type are known.
    pub fn new(name: impl Into<Vec<u8>>, entry_type: EntryType) -> Entry {
        Entry {
            name: name.into(),
            entry_type,
            size: None,
            modified: None,
            mode: None,
            owner: None,
            group: None,
            link_target: None,
            links: None,
            perm: None,
            unique: None,
        }
    }

    /// True for a directory.
    pub fn is_dir(&self) -> bool {
        self.entry_type == EntryType::Directory
    }
}

/// What a listing is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `type=file;size=1; name` (RFC 3659, section 7).
    Mlsd,
    /// `ls -l`.
    Unix,
    /// MS-DOS `dir`, as IIS prints it.
    Dos,
}

/// What one line of a listing is. Short-lived: one a line, so the size of an entry does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// An entry.
    Entry(Entry),
    /// The directory itself or its parent, a heading, a total, an empty line.
    Nothing,
    /// Not understood: reported, never guessed at.
    Unknown,
}

/// Reads a listing line by line. It keeps to the first dialect that made sense of a line.
#[derive(Debug, Clone)]
pub struct Lister {
    now: i64,
    dialect: Option<Dialect>,
}

impl Lister {
    /// A reader for LIST output. `now` (seconds since 1970, UTC) decides the year of dates that have none.
    pub fn list(now: i64) -> Lister {
        Lister { now, dialect: None }
    }

    /// A reader for MLSD output.
    pub fn mlsd() -> Lister {
        Lister { now: 0, dialect: Some(Dialect::Mlsd) }
    }

    /// The dialect found so far.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// Reads the next line, without its line end.
    pub fn line(&mut self, line: &[u8]) -> Line {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            return Line::Nothing;
        }
        if let Some(dialect) = self.dialect {
            let parsed = self.parse(dialect, line);
            if dialect == Dialect::Mlsd || parsed != Line::Unknown {
                return parsed;
            }
        }
        for dialect in [Dialect::Unix, Dialect::Dos] {
            let parsed = self.parse(dialect, line);
            if let Line::Entry(_) = parsed {
                self.dialect = Some(dialect);
            }
            if parsed != Line::Unknown {
                return parsed;
            }
        }
        Line::Unknown
    }

    fn parse(&self, dialect: Dialect, line: &[u8]) -> Line {
        match dialect {
            Dialect::Mlsd => mlsd::parse_line(line),
            Dialect::Unix => unix::parse_line(line, self.now),
            Dialect::Dos => dos::parse_line(line),
        }
    }
}

/// A name that stands for a directory itself or its parent is no entry.
fn entry_or_nothing(entry: Entry) -> Line {
    match entry.name.as_slice() {
        b"." | b".." if entry.is_dir() => Line::Nothing,
        b"" => Line::Unknown,
        _ => Line::Entry(entry),
    }
}

/// A decimal number of at most 19 digits.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

#[cfg(test)]
mod tests;
