//! Listings, generated piece by piece: a directory of a million names takes no more memory than one of twenty thousand.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat, readlinkat, statat};

use super::upload::sweep;
use super::{FtpStore, NameRules, TEMPORARY_PREFIX, from_errno};
use crate::ftp::listing::{EntryType, ListingEntry, Modified, format_mlsd, format_unix};
use crate::ftp::session::path::matches;
use crate::ftp::session::{ListingFormat, ListingRequest, Right, Rights, StoreAnswer, StoreRefusal, TreeRights};

/// The longest listing of STAT on the control connection, in bytes.
const MAX_STATUS_BYTES: usize = 1 << 20;

/// The minimum length of a piece, in bytes.
const PIECE_BYTES: usize = 32 << 10;

/// The most names that are looked at for a piece, so that a pattern that matches nothing leaves room for others.
const MAX_PIECE_NAMES: usize = 2000;

/// The number of names that are sorted at once, so that memory does not grow with the size of a directory.
const SORTED_NAMES: usize = 20_000;

/// A listing in progress.
#[derive(Debug)]
pub struct ListingLines {
    listing: ListingRequest,
    rights: TreeRights,
    /// The path of the directory without links, if rules need it.
    place: Vec<u8>,
    names: Arc<NameRules>,
    now: i64,
    from: ListingSource,
}

#[derive(Debug)]
enum ListingSource {
    /// The sorted names in reverse order, and the directory that they come from.
    Directory {
        sorted: Vec<Vec<u8>>,
        dir: Dir,
        fd: OwnedFd,
    },
    File(Box<ListingEntry>),
    Done,
}

impl FtpStore {
    /// Opens a listing; `now` (seconds since 1970) determines the time format of LIST.
    ///
    /// # Errors
    /// The path does not exist, or is not visible.
    pub fn list(&self, listing: ListingRequest, now: i64) -> Result<ListingLines, StoreRefusal> {
        self.check(&listing.path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK;
        let directory = self.open_at(&listing.path, flags, Some(Right::List));
        let mut place = Vec::new();
        let from = match directory {
            Ok(fd) => {
                place = self.place_for_rules(&fd)?;
                let dir = Dir::read_from(&fd).map_err(from_errno)?;
                ListingSource::Directory { sorted: Vec::new(), dir, fd }
            }
            // A file lists as itself, but MLSD is for directories (RFC 3659, section 7.2.1).
            Err(StoreRefusal::NotDirectory) => {
                if matches!(listing.format, ListingFormat::Facts(_)) {
                    return Err(StoreRefusal::NotListed);
                }
                if listing.pattern.is_some() {
                    return Err(StoreRefusal::NotDirectory);
                }
                let mut entry = self.facts(&listing.path)?;
                entry.name.clone_from(&listing.shown);
                ListingSource::File(Box::new(entry))
            }
            Err(refusal) => return Err(refusal),
        };
        Ok(ListingLines { listing, rights: self.rights.clone(), place, names: self.names.clone(), now, from })
    }
}

impl ListingLines {
    /// Appends the next lines to `out`, each with its CRLF, or none if no name of many fits; false if there are no more.
    ///
    /// # Errors
    /// The rest of the directory cannot be read.
    pub fn next_piece(&mut self, out: &mut Vec<u8>) -> Result<bool, StoreRefusal> {
        let enough = out.len() + PIECE_BYTES;
        let mut names = 0;
        while out.len() < enough && names < MAX_PIECE_NAMES {
            names += 1;
            match std::mem::replace(&mut self.from, ListingSource::Done) {
                ListingSource::Done => return Ok(false),
                ListingSource::File(entry) => self.line(&entry, out),
                ListingSource::Directory { mut sorted, mut dir, fd } => {
                    if sorted.is_empty() {
                        sorted = next_names(&mut dir)?;
                    }
                    let Some(name) = sorted.pop() else { return Ok(false) };
                    self.found(&fd, &name, out);
                    self.from = ListingSource::Directory { sorted, dir, fd };
                }
            }
        }
        Ok(true)
    }

    fn found(&self, fd: &OwnedFd, name: &[u8], out: &mut Vec<u8>) {
        if name.starts_with(TEMPORARY_PREFIX) {
            return sweep(fd, name);
        }
        let hidden = name.starts_with(b".") && !self.listing.hidden;
        let unnameable = name.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        let pattern = self.listing.pattern.as_deref();
        if matches!(name, b"." | b"..")
            || self.names.hides(name)
            // A line end in a name would make a line of its own: such names cannot be asked for either.
            || unnameable
            || hidden && !pattern.is_some_and(|pattern| pattern.starts_with(b"."))
            || pattern.is_some_and(|pattern| !matches(pattern, name))
        {
            return;
        }
        if self.listing.format == ListingFormat::Names {
            return self.line(&ListingEntry::new(name, EntryType::Other), out);
        }
        // What vanished since readdir is not there.
        if let Ok(stat) = statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            let rights = match self.rights.has_rules() {
                true => self.rights.usable_at(&[&*self.place, b"/", name].concat()),
                false => self.rights.base(),
            };
            let mut entry = entry_of(name, &stat, rights);
            if entry.entry_type == EntryType::Symlink {
                // Where a link out of the tree leads is not the client's business.
                entry.link_target = readlinkat(fd, name, Vec::new())
                    .map(std::ffi::CString::into_bytes)
                    .ok()
                    .filter(|target| stays(&self.listing.path, target) && !target.iter().any(u8::is_ascii_control));
            }
            self.line(&entry, out);
        }
    }

    fn line(&self, entry: &ListingEntry, out: &mut Vec<u8>) {
        match self.listing.format {
            ListingFormat::Long => out.extend_from_slice(&format_unix(entry, self.now)),
            ListingFormat::Facts(facts) => out.extend_from_slice(&format_mlsd(entry, facts)),
            ListingFormat::Names => {
                let shown = self.listing.shown.as_slice();
                if !shown.is_empty() && entry.name != shown {
                    out.extend_from_slice(shown);
                    if !shown.ends_with(b"/") {
                        out.push(b'/');
                    }
                }
                out.extend_from_slice(&entry.name);
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// True if the target of a link in this directory is relative, and never above the root.
fn stays(directory: &[u8], target: &[u8]) -> bool {
    let mut depth = directory.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).count();
    !target.starts_with(b"/")
        && target.split(|byte| *byte == b'/').all(|name| match name {
            b"" | b"." => true,
            b".." => depth.checked_sub(1).map(|less| depth = less).is_some(),
            _ => {
                depth += 1;
                true
            }
        })
}

/// The lines of a listing for STAT; `next_piece` as [`ListingLines::next_piece`].
pub(super) fn status(
    mut next_piece: impl FnMut(&mut Vec<u8>) -> Result<bool, StoreRefusal>,
    go_on: &dyn Fn() -> bool,
) -> Result<StoreAnswer, StoreRefusal> {
    let mut text = Vec::new();
    while next_piece(&mut text)? && text.len() < MAX_STATUS_BYTES && go_on() {}
    let truncated = text.len() >= MAX_STATUS_BYTES;
    let whole = text.strip_suffix(b"\r\n").unwrap_or(&text);
    let mut lines: Vec<Vec<u8>> = if whole.is_empty() {
        Vec::new()
    } else {
        whole.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end().to_vec()).collect()
    };
    if truncated {
        lines.push(b"(too many names for STAT: use MLSD)".to_vec());
    }
    Ok(StoreAnswer::Lines(lines))
}

/// The next names of a directory, in reverse order.
fn next_names(dir: &mut Dir) -> Result<Vec<Vec<u8>>, StoreRefusal> {
    let mut names = Vec::new();
    while names.len() < SORTED_NAMES {
        match dir.read() {
            None => break,
            Some(Err(error)) => return Err(from_errno(error)),
            Some(Ok(found)) => names.push(found.file_name().to_bytes().to_vec()),
        }
    }
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names)
}

/// A listing entry from the result of stat(2).
pub(super) fn entry_of(name: &[u8], stat: &Stat, rights: Rights) -> ListingEntry {
    let entry_type = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryType::File,
        FileType::Directory => EntryType::Directory,
        FileType::Symlink => EntryType::Symlink,
        _ => EntryType::Other,
    };
    let mut entry = ListingEntry::new(name, entry_type);
    entry.size = (entry_type == EntryType::File).then(|| u64::try_from(stat.st_size).unwrap_or(0));
    entry.modified = Some(Modified::utc(stat.st_mtime));
    entry.mode = Some(stat.st_mode & 0o7777);
    entry.owner = Some(stat.st_uid.to_string().into_bytes());
    entry.group = Some(stat.st_gid.to_string().into_bytes());
    entry.links = Some(stat.st_nlink);
    entry.unique = Some(format!("{:x}g{:x}", stat.st_dev, stat.st_ino).into_bytes());
    entry.perm = Some(perm(entry_type, rights));
    entry
}

/// The `perm` fact of an entry for this login (RFC 3659, section 7.5.5).
fn perm(entry_type: EntryType, rights: Rights) -> String {
    let letters: &[(char, bool)] = match entry_type {
        EntryType::File => &[
            ('a', rights.append),
            ('d', rights.delete),
            ('f', rights.rename),
            ('r', rights.read),
            ('w', rights.overwrite),
        ],
        EntryType::Directory => &[
            ('c', rights.upload),
            ('d', rights.delete),
            ('e', true),
            ('f', rights.rename),
            ('l', rights.list),
            ('m', rights.mkdir),
            ('p', rights.delete),
        ],
        EntryType::Symlink | EntryType::Other => &[('d', rights.delete), ('f', rights.rename)],
    };
    letters.iter().filter(|(_, allowed)| *allowed).map(|(letter, _)| letter).collect()
}
