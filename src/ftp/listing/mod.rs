//! Directory listings of servers: parsing to [`ListingEntry`] and formatting.
//!
//! MLSD (RFC 3659, section 7) is exact. LIST has no standard (RFC 959, section 4.1.3): [`Lister`] knows the dialects that
//! servers print and detects the dialect of its input. An ambiguous value in a line (a date whose order of day and month is
//! unclear, a size in blocks) stays unknown: the parser does not guess.

mod as400;
mod dos;
mod eplf;
mod mlsd;
mod month;
mod mvs;
mod os2;
mod time;
mod unix;
mod vms;

pub use mlsd::{FactSet, format_mlsd, parse_facts};
pub use time::{Modified, Precision, format_mdtm, format_rfc3339, parse_mdtm};
pub use unix::format_unix;

use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Kind};

/// The longest listing line that is accepted; the caller's line splitter enforces it.
pub const MAX_LINE: usize = 8192;

/// The fact that marks an entry whose attributes the server refuses to report.
const REFUSED: &str = "refused";

/// The type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EntryType {
    /// A plain file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, socket or FIFO, or an entry of unknown type.
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

/// One entry of a directory. A value that the listing does not contain is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListingEntry {
    /// Its name as the server sent it: unchecked bytes. Check it with [`crate::ftp::path::check_name`] before it becomes a path.
    pub name: Vec<u8>,
    /// Its type.
    pub entry_type: EntryType,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Its modification time, with its precision.
    pub modified: Option<Modified>,
    /// Permission bits as in chmod(2), `0o7777` at most.
    pub mode: Option<u32>,
    /// Its owner: a name or a number.
    pub owner: Option<Vec<u8>>,
    /// Its group: a name or a number.
    pub group: Option<Vec<u8>>,
    /// The target of a symbolic link.
    pub link_target: Option<Vec<u8>>,
    /// Number of hard links.
    pub links: Option<u64>,
    /// MLSD's `perm` fact (RFC 3659, section 7.5.5).
    pub perm: Option<String>,
    /// MLSD's `unique` fact: the same value is the same file (RFC 3659, section 7.5.2).
    pub unique: Option<Vec<u8>>,
    /// Further values of the listing, by the server's own names in lower case: facts of MLSD without a field here, blocks and
    /// versions of VMS, data set attributes of MVS.
    pub facts: Vec<(String, Vec<u8>)>,
}

impl ListingEntry {
    /// An entry with a name and a type only.
    pub fn new(name: impl Into<Vec<u8>>, entry_type: EntryType) -> ListingEntry {
        ListingEntry {
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
            facts: Vec::new(),
        }
    }

    /// True when the server gives only its name and refuses its attributes: its type is then uncertain.
    pub fn refused(&self) -> bool {
        self.facts.iter().any(|(name, _)| name == REFUSED)
    }

    /// Adds a fact that has no field of its own.
    fn fact(&mut self, name: &str, value: &[u8]) {
        self.facts.push((name.to_ascii_lowercase(), value.to_vec()));
    }

    /// True for a directory.
    pub fn is_dir(&self) -> bool {
        self.entry_type == EntryType::Directory
    }
}

/// True for the message of `ls` that some servers send instead of the listing of a missing directory.
pub fn says_missing(line: &[u8]) -> bool {
    line.trim_ascii_end().ends_with(b": No such file or directory")
}

/// The format of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `type=file;size=1; name` (RFC 3659, section 7).
    Mlsd,
    /// `ls -l`, and NetWare's form of it.
    Unix,
    /// MS-DOS `dir`, as IIS prints it.
    Dos,
    /// Easily Parsed LIST Format (<https://cr.yp.to/ftp/list/eplf.html>).
    Eplf,
    /// OpenVMS `DIRECTORY`; a long name is on a separate line.
    Vms,
    /// z/OS (MVS): data sets.
    MvsDatasets,
    /// z/OS (MVS): members of a partitioned data set.
    MvsMembers,
    /// IBM i (OS/400).
    As400,
    /// OS/2.
    Os2,
}

impl Dialect {
    /// The name in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Dialect::Mlsd => "mlsd",
            Dialect::Unix => "unix",
            Dialect::Dos => "dos",
            Dialect::Eplf => "eplf",
            Dialect::Vms => "vms",
            Dialect::MvsDatasets => "mvs",
            Dialect::MvsMembers => "mvs-members",
            Dialect::As400 => "as400",
            Dialect::Os2 => "os2",
        }
    }
}

/// The meaning of one line of a listing. The values are short-lived, one per line, so the size of an entry does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListingLine {
    /// An entry.
    Entry(ListingEntry),
    /// No entry: the directory itself or its parent, a heading, a total, an empty line, the first half of an entry.
    Nothing,
    /// A line that was not understood.
    Unknown,
    /// An entry whose name is not valid in the charset that the user named ([`crate::ftp::charset`]).
    Misfit {
        /// The name as the server sent it.
        name: Vec<u8>,
        /// The charset.
        charset: &'static str,
    },
}

impl ListingLine {
    /// The fault of a line that cannot be used; `detail` is the line, of which at most 200 bytes are shown, or the consequence of
    /// the fault, or empty.
    pub fn fault(&self, detail: &[u8]) -> Fault {
        let shown = String::from_utf8_lossy(detail.get(..200).unwrap_or(detail)).into_owned();
        let separator = if shown.is_empty() { "" } else { ": " };
        let why = match self {
            ListingLine::Misfit { name, charset } => {
                format!("{}: the name is not {charset} (--charset)", String::from_utf8_lossy(name))
            }
            _ => format!("not a listing line{separator}{shown}"),
        };
        Fault::new(Kind::BadData, why)
    }
}

/// The directory that a listing claims to show: only one was requested.
#[derive(Debug, Clone, Default)]
struct ListedPlace {
    first: Option<Vec<u8>>,
    /// A heading named another directory: the entries below it do not belong to the first one.
    strayed: bool,
}

impl ListedPlace {
    /// True if this directory is the first one that was named.
    fn same(&mut self, place: &[u8]) -> bool {
        *self.first.get_or_insert_with(|| place.to_vec()) == place
    }

    /// The meaning of a heading that names a directory.
    fn heading(&mut self, place: &[u8]) -> ListingLine {
        self.strayed = !self.same(place);
        if self.strayed { ListingLine::Unknown } else { ListingLine::Nothing }
    }
}

/// Parses a listing line by line. It prefers the dialect that last matched an entry.
#[derive(Debug, Clone)]
pub struct Lister {
    now: i64,
    dialect: Option<Dialect>,
    /// True once a date has proved that this server writes the day first.
    day_first: bool,
    /// The name of a VMS file whose facts are on the next line.
    held: Option<Vec<u8>>,
    /// The last file that was listed: its older versions follow on VMS, its members on IBM i.
    last: Vec<u8>,
    place: ListedPlace,
}

impl Lister {
    /// A parser for LIST output. `now` (seconds since 1970, UTC) determines the year of dates without a year.
    pub fn list(now: i64) -> Lister {
        let place = ListedPlace::default();
        Lister { now, dialect: None, day_first: false, held: None, last: Vec::new(), place }
    }

    /// A parser for MLSD output.
    pub fn mlsd() -> Lister {
        Lister::of(Dialect::Mlsd, 0)
    }

    /// A parser that expects this dialect from the first line.
    pub fn of(dialect: Dialect, now: i64) -> Lister {
        Lister { dialect: Some(dialect), ..Lister::list(now) }
    }

    /// A parser for a listing of unknown origin: LIST; or MLSD if the first line has facts, or if it has none (` name`) and no
    /// dialect of LIST matches it.
    pub fn saved(first: &[u8], now: i64) -> Lister {
        let facts = first.split(|byte| *byte == b' ').next().unwrap_or_default();
        let first_fact = facts.split(|byte| *byte == b';').next().unwrap_or_default();
        let with_facts = facts.len() < first.len() && !facts.starts_with(b"+") && first_fact.contains(&b'=');
        let without = facts.is_empty() && Lister::list(now).line(first) == ListingLine::Unknown;
        if with_facts || without { Lister::mlsd() } else { Lister::list(now) }
    }

    /// The dialect detected so far.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// Parses the next line, given without its line end.
    pub fn line(&mut self, line: &[u8]) -> ListingLine {
        match self.read(line) {
            ListingLine::Entry(_) if self.place.strayed => ListingLine::Unknown,
            other => other,
        }
    }

    fn read(&mut self, line: &[u8]) -> ListingLine {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            return ListingLine::Nothing;
        }
        if let Some(dialect) = self.dialect {
            let parsed = self.parse(dialect, line);
            if dialect == Dialect::Mlsd || parsed != ListingLine::Unknown {
                return parsed;
            }
        }
        if let Some(dialect) = mvs::heading(line) {
            self.dialect = Some(dialect);
            return ListingLine::Nothing;
        }
        const FOUND_BY_A_LINE: [Dialect; 6] =
            [Dialect::Unix, Dialect::Dos, Dialect::Eplf, Dialect::As400, Dialect::Os2, Dialect::Vms];
        let tried = self.dialect;
        for dialect in FOUND_BY_A_LINE.into_iter().filter(|dialect| tried != Some(*dialect)) {
            let parsed = self.parse(dialect, line);
            if let ListingLine::Entry(_) = parsed {
                self.dialect = Some(dialect);
            }
            // A name may look like a heading or a total of another dialect.
            let strange = matches!(dialect, Dialect::Vms | Dialect::Dos) && tried.is_some();
            let strange = strange && parsed == ListingLine::Nothing;
            if parsed != ListingLine::Unknown && !strange {
                return parsed;
            }
        }
        ListingLine::Unknown
    }

    /// Ends the listing: [`ListingLine::Unknown`] if the second half of an entry is missing.
    pub fn finish(&mut self) -> ListingLine {
        if self.held.take().is_some() { ListingLine::Unknown } else { ListingLine::Nothing }
    }

    fn parse(&mut self, dialect: Dialect, line: &[u8]) -> ListingLine {
        match dialect {
            Dialect::Mlsd => mlsd::parse_line(line),
            Dialect::Unix => unix::parse_line(line, self.now),
            Dialect::Dos => dos::parse_line(line, &mut self.day_first, &mut self.place),
            Dialect::Eplf => eplf::parse_line(line),
            Dialect::Vms => vms::parse_line(line, &mut self.held, &mut self.last, &mut self.place),
            Dialect::MvsDatasets => mvs::parse_dataset(line),
            Dialect::MvsMembers => mvs::parse_member(line),
            Dialect::As400 => as400::parse_line(line, &mut self.day_first, &mut self.last, &mut self.place),
            Dialect::Os2 => os2::parse_line(line, &mut self.day_first),
        }
    }
}

/// The entry, or [`ListingLine::Nothing`] for the names of the directory itself and of its parent.
fn entry_or_nothing(entry: ListingEntry) -> ListingLine {
    match entry.name.as_slice() {
        b"." | b".." if entry.is_dir() => ListingLine::Nothing,
        b"" => ListingLine::Unknown,
        _ => ListingLine::Entry(entry),
    }
}

/// The words of a line.
fn split_words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty())
}

/// The first word, and the rest behind it.
fn first_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    text.split_at_checked(end).filter(|(word, _)| !word.is_empty())
}

/// A number of one or two digits.
fn small(text: &[u8]) -> Option<u32> {
    decimal(text).filter(|_| text.len() <= 2).and_then(|value| u32::try_from(value).ok())
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
#[cfg(test)]
mod written;
