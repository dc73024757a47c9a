//! Reads a Maildir: listing, opening, flags. Reading changes nothing on disk and accepts any subset of `cur`, `new` and
//! `tmp`, so it works on a read-only file system and in another user's mailbox.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::{DIRECTORY, local};
use crate::fault::{Fault, Kind};

/// The maximum number of messages listed from one Maildir.
pub const MAX_LISTED: usize = 10_000_000;

/// A Maildir opened for reading. Its directories are held open: a link swapped in later has no effect.
#[derive(Debug)]
pub struct ReadableMaildir {
    path: PathBuf,
    root: OwnedFd,
    new: Option<OwnedFd>,
    cur: Option<OwnedFd>,
}

/// The folder of a message in a Maildir.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MaildirFolder {
    /// Delivered, not yet seen by any mail reader.
    New,
    /// Seen by a mail reader; has flags.
    Cur,
}

/// One message of a Maildir, by its file name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaildirItem {
    /// `new` or `cur`.
    pub place: MaildirFolder,
    /// The file name, flags included.
    pub name: OsString,
}

impl ReadableMaildir {
    /// Opens a directory that contains at least one of `cur`, `new` and `tmp`.
    ///
    /// # Errors
    /// [`Kind::NoInput`] if it contains none of them, the kinds of [`Fault::local`] if one cannot be opened.
    pub fn open(path: &Path) -> Result<ReadableMaildir, Fault> {
        let root = rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(|error| reading(path, error))?;
        let inner = |name: &str| open_folder(&root, name).map_err(|error| reading(path.join(name), error));
        let (new, cur) = (inner("new")?, inner("cur")?);
        if new.is_none() && cur.is_none() && !path.join("tmp").is_dir() {
            let fault = Fault::new(Kind::NoInput, format!("{}: not a Maildir", path.display()));
            return Err(fault.with_hint("a Maildir holds cur, new and tmp"));
        }
        Ok(ReadableMaildir { path: path.to_owned(), root, new, cur })
    }

    /// All messages in `new` and `cur`, ordered by the time in their names, then by name: a changed flag does not
    /// change the order. Messages are regular files, and links to them that `may_follow` accepts; their names do not
    /// begin with a dot.
    ///
    /// # Errors
    /// [`Kind::Io`] and the other kinds of [`Fault::local`].
    pub fn list(&self) -> Result<Vec<MaildirItem>, Fault> {
        let mut items = Vec::new();
        for (place, fd) in [(MaildirFolder::New, &self.new), (MaildirFolder::Cur, &self.cur)] {
            let Some(fd) = fd else { continue };
            let folder = self.folder(place);
            for entry in Dir::read_from(fd).map_err(|error| reading(&folder, error))? {
                let entry = entry.map_err(|error| reading(&folder, error))?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                let is_message = match entry.file_type() {
                    _ if name.as_bytes().starts_with(b".") => false,
                    FileType::RegularFile => true,
                    FileType::Symlink | FileType::Unknown => is_readable(fd, name),
                    _ => false,
                };
                if is_message && items.len() < MAX_LISTED {
                    items.push(MaildirItem { place, name: name.to_owned() });
                }
            }
        }
        items.sort_by(|one, other| {
            one.delivered_at().cmp(&other.delivered_at()).then_with(|| one.base().cmp(other.base()))
        });
        Ok(items)
    }

    /// Opens one message for reading.
    ///
    /// # Errors
    /// [`Kind::NoInput`] if the file is gone or is no longer a message, else the kinds of [`Fault::local`].
    pub fn open_item(&self, item: &MaildirItem) -> Result<File, Fault> {
        let problem = |error| reading(self.item_path(item), error);
        // A file that became a FIFO since the listing must not block.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = self.fd(item)?;
        match rustix::fs::openat(fd, &item.name, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Err(rustix::io::Errno::LOOP) => {}
            done => return done.map(File::from).map_err(problem),
        }
        let link = rustix::fs::statat(fd, &item.name, AtFlags::SYMLINK_NOFOLLOW).map_err(problem)?;
        let target = rustix::fs::openat(fd, &item.name, flags, Mode::empty()).map_err(problem)?;
        match may_follow(&link, &rustix::fs::fstat(&target).map_err(problem)?) {
            true => Ok(File::from(target)),
            false => {
                let path = self.item_path(item);
                Err(Fault::new(Kind::NoInput, format!("{}: the target of the link is not a message", path.display())))
            }
        }
    }

    /// The path of one message.
    pub fn item_path(&self, item: &MaildirItem) -> PathBuf {
        self.folder(item.place).join(&item.name)
    }

    /// The length of one message in bytes.
    ///
    /// # Errors
    /// [`Kind::NoInput`] if the message is gone, else the kinds of [`Fault::local`].
    pub fn size_bytes(&self, item: &MaildirItem) -> Result<u64, Fault> {
        let found = rustix::fs::statat(self.fd(item)?, &item.name, AtFlags::empty());
        found.map(|found| found.st_size as u64).map_err(|error| reading(self.item_path(item), error))
    }

    /// True if a message is a symbolic link: its name belongs to the program that made it, and holds no flags.
    pub fn is_link(&self, item: &MaildirItem) -> bool {
        let found =
            self.fd(item).ok().and_then(|fd| rustix::fs::statat(fd, &item.name, AtFlags::SYMLINK_NOFOLLOW).ok());
        found.is_some_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
    }

    /// Sets exactly these flags on a message (letters such as `S` seen, `R` replied, `F` flagged, `T` trashed). The
    /// message moves to `cur`, which is created if missing. Returns the message under its new name.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a flag that is not a letter, [`Kind::Unsupported`] for anything but a regular file, else the
    /// kinds of [`Fault::local`]. No existing file is replaced.
    pub fn set_flags(&self, item: &MaildirItem, flags: &str) -> Result<MaildirItem, Fault> {
        if !flags.bytes().all(|flag| flag.is_ascii_alphabetic()) {
            return Err(Fault::new(Kind::Usage, format!("{flags}: a Maildir flag is a letter")));
        }
        let problem = |error| local(self.item_path(item), error);
        let from = self.fd(item)?;
        let found = rustix::fs::statat(from, &item.name, AtFlags::SYMLINK_NOFOLLOW).map_err(problem)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            let path = self.item_path(item);
            return Err(Fault::new(Kind::Unsupported, format!("{}: not a regular file", path.display())));
        }
        let mut letters: Vec<u8> = flags.bytes().collect();
        letters.sort_unstable();
        letters.dedup();
        let mut name = item.base().as_bytes().to_vec();
        name.extend_from_slice(b":2,");
        name.extend_from_slice(&letters);
        let renamed = MaildirItem { place: MaildirFolder::Cur, name: OsString::from_vec(name) };
        if renamed == *item {
            return Ok(renamed);
        }
        let made;
        let cur = match &self.cur {
            Some(cur) => cur,
            None => {
                made = self.make_cur().map_err(|error| local(self.path.join("cur"), error))?;
                &made
            }
        };
        super::rename_to_new(from, &item.name, cur, &renamed.name).map_err(problem)?;
        Ok(renamed)
    }

    fn make_cur(&self) -> rustix::io::Result<OwnedFd> {
        match rustix::fs::mkdirat(&self.root, "cur", Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        rustix::fs::fsync(&self.root)?;
        open_folder(&self.root, "cur")?.ok_or(rustix::io::Errno::NOENT)
    }

    fn fd(&self, item: &MaildirItem) -> Result<&OwnedFd, Fault> {
        let fd = match item.place {
            MaildirFolder::New => &self.new,
            MaildirFolder::Cur => &self.cur,
        };
        fd.as_ref().ok_or_else(|| reading(self.item_path(item), rustix::io::Errno::NOENT))
    }

    fn folder(&self, place: MaildirFolder) -> PathBuf {
        self.path.join(match place {
            MaildirFolder::New => "new",
            MaildirFolder::Cur => "cur",
        })
    }
}

/// A failure to read. An obstructed path means that the input is missing, so `CannotCreate` becomes `NoInput`.
fn reading(path: impl AsRef<Path>, error: rustix::io::Errno) -> Fault {
    let mut fault = local(path, error);
    if fault.kind == Kind::CannotCreate {
        fault.kind = Kind::NoInput;
    }
    fault
}

fn open_folder(root: &OwnedFd, name: &str) -> rustix::io::Result<Option<OwnedFd>> {
    match rustix::fs::openat(root, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Checks entries whose type the directory listing does not settle: links, and all entries on file systems without types.
fn is_readable(fd: &OwnedFd, name: &OsStr) -> bool {
    let Ok(found) = rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => true,
        FileType::Symlink => {
            rustix::fs::statat(fd, name, AtFlags::empty()).is_ok_and(|target| may_follow(&found, &target))
        }
        _ => false,
    }
}

/// Links to regular files are messages: programs that collect search results create them. The owner of a mailbox must
/// not lead a reader with more rights to another user's file, so the link's owner must own the target as well, or be
/// the reader or root.
fn may_follow(link: &Stat, target: &Stat) -> bool {
    let trusted =
        link.st_uid == target.st_uid || link.st_uid == 0 || link.st_uid == rustix::process::geteuid().as_raw();
    trusted && FileType::from_raw_mode(target.st_mode) == FileType::RegularFile
}

impl MaildirItem {
    /// The name without its flags.
    pub fn base(&self) -> &OsStr {
        let bytes = self.name.as_bytes();
        let end = memchr::memmem::find(bytes, b":2,").unwrap_or(bytes.len());
        OsStr::from_bytes(bytes.get(..end).unwrap_or(bytes))
    }

    /// The flag letters after `:2,`.
    pub fn flags(&self) -> String {
        let bytes = self.name.as_bytes();
        let start = memchr::memmem::find(bytes, b":2,").map_or(bytes.len(), |at| at + 3);
        let letters = bytes.get(start..).unwrap_or_default();
        letters.iter().filter(|letter| letter.is_ascii_alphabetic()).map(|letter| char::from(*letter)).collect()
    }

    /// True if no mail reader has marked it seen.
    pub fn is_unread(&self) -> bool {
        self.place == MaildirFolder::New || !self.flags().contains('S')
    }

    /// The time of delivery in seconds since 1970, from the name; 0 if the name does not begin with a number.
    pub fn delivered_at(&self) -> u64 {
        self.name
            .as_bytes()
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .fold(0u64, |seconds, digit| seconds.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Maildir;
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let names = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn flags_move_to_cur_are_sorted_and_replace_nothing() {
        let home = tempfile::tempdir().unwrap();
        let maildir = Maildir::create(home.path()).unwrap();
        maildir.deliver(b"", &mut &b"x\r\n"[..]).unwrap();
        std::fs::remove_dir(home.path().join("cur")).unwrap();
        let maildir = ReadableMaildir::open(home.path()).unwrap();
        let item = maildir.list().unwrap().remove(0);
        assert_eq!(names(home.path()), ["new", "tmp"]);
        let seen = maildir.set_flags(&item, "SFS").unwrap();
        assert_eq!((seen.place, seen.flags().as_str(), seen.is_unread()), (MaildirFolder::Cur, "FS", false));
        let maildir = ReadableMaildir::open(home.path()).unwrap();
        assert_eq!(maildir.list().unwrap(), vec![seen.clone()]);
        let none = maildir.set_flags(&seen, "").unwrap();
        assert_eq!(none.flags(), "");
        assert_eq!(maildir.set_flags(&none, "S/../x").unwrap_err().kind, Kind::Usage);
        std::fs::write(maildir.item_path(&seen), b"another").unwrap();
        assert_eq!(maildir.set_flags(&none, "FS").unwrap_err().kind, Kind::CannotCreate);
        assert_eq!(std::fs::read(maildir.item_path(&seen)).unwrap(), b"another");
    }

    #[test]
    fn only_files_and_links_to_them_are_messages() {
        let home = tempfile::tempdir().unwrap();
        let (cur, outside) = (home.path().join("cur"), home.path().join("outside"));
        std::fs::create_dir(&cur).unwrap();
        for name in ["1.file", ".hidden:2,S", "../outside"] {
            std::fs::write(cur.join(name), "x: y\n").unwrap();
        }
        std::fs::create_dir(cur.join("2.folder")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, cur.join("3.fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for (name, target) in [
            ("4.link:2,F", outside.as_path()),
            ("5.nowhere", Path::new("x")),
            ("6.folder", &cur),
            ("7.loop", Path::new("7.loop")),
        ] {
            std::os::unix::fs::symlink(target, cur.join(name)).unwrap();
        }
        let before = names(&cur);
        let maildir = ReadableMaildir::open(home.path()).unwrap();
        let items = maildir.list().unwrap();
        let found: Vec<&str> = items.iter().map(|item| item.name.to_str().unwrap()).collect();
        assert_eq!(found, ["1.file", "4.link:2,F"]);
        assert_eq!(items.iter().map(|item| maildir.is_link(item)).collect::<Vec<_>>(), [false, true]);
        for item in &items {
            assert_eq!(std::io::read_to_string(maildir.open_item(item).unwrap()).unwrap(), "x: y\n");
            assert_eq!(maildir.size_bytes(item).unwrap(), 5);
        }
        for name in before.iter().filter(|name| *name != "1.file") {
            let item = MaildirItem { place: MaildirFolder::Cur, name: name.into() };
            let result = maildir.set_flags(&item, "S");
            assert!(result.is_err_and(|fault| fault.kind == Kind::Unsupported) || name.starts_with('.'), "{name}");
        }
        let swapped = MaildirItem { place: MaildirFolder::Cur, name: "6.folder".into() };
        assert_eq!(maildir.open_item(&swapped).unwrap_err().kind, Kind::NoInput);
        assert_eq!(names(home.path()), ["cur", "outside"], "reading makes nothing");
    }

    #[test]
    fn links_of_one_owner_do_not_open_files_of_another() {
        let home = tempfile::tempdir().unwrap();
        let stat = |uid| {
            let mut stat = rustix::fs::stat(home.path()).unwrap();
            (stat.st_uid, stat.st_mode) = (uid, FileType::RegularFile.as_raw_mode());
            stat
        };
        let me = rustix::process::geteuid().as_raw();
        let stranger = me + 1000;
        for (link, target, expected) in [
            (stranger, stranger, true),
            (me, stranger, true),
            (0, me, true),
            (stranger, me, false),
            (stranger, 0, false),
        ] {
            assert_eq!(may_follow(&stat(link), &stat(target)), expected, "{link} {target}");
        }
        let mut folder = stat(me);
        folder.st_mode = FileType::Directory.as_raw_mode();
        assert!(!may_follow(&stat(me), &folder));
    }

    #[test]
    fn any_of_the_three_folders_makes_a_maildir() {
        for present in [&["cur"][..], &["new"], &["tmp"], &["cur", "tmp"], &["cur", "new"]] {
            let home = tempfile::tempdir().unwrap();
            present.iter().for_each(|name| std::fs::create_dir(home.path().join(name)).unwrap());
            assert!(ReadableMaildir::open(home.path()).unwrap().list().unwrap().is_empty());
            assert_eq!(names(home.path()), present);
        }
        let home = tempfile::tempdir().unwrap();
        assert_eq!(ReadableMaildir::open(home.path()).unwrap_err().kind, Kind::NoInput);
        assert_eq!(ReadableMaildir::open(&home.path().join("x")).unwrap_err().kind, Kind::NoInput);
    }
}
