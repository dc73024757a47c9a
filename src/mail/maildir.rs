//! Maildir: durable delivery; [`reader`] has listing, reading and flags. A message is written below `tmp`, synced and
//! renamed into `new`, then the directory is synced. The message is either complete or absent, without any lock
//! (cr.yp.to/proto/maildir.html).

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};

use crate::fault::{Fault, Kind};

pub mod owners;
pub mod quota;
pub mod reader;
mod shared_sync;

/// The maximum length of the name of a mailbox directory (NAME_MAX of every usual file system).
pub const MAX_NAME_BYTES: usize = 255;

/// The subdirectories of every Maildir.
pub const INNER: [&str; 3] = ["cur", "new", "tmp"];

const COPY_BYTES: usize = 64 * 1024;
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A Maildir opened for delivery. Its directories are held open: a link swapped in later has no effect.
#[derive(Debug)]
pub struct Maildir {
    path: PathBuf,
    tmp: OwnedFd,
    new: OwnedFd,
}

/// Proof that a message was committed to a Maildir and synced: only [`Staged::commit`] creates one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    path: PathBuf,
    /// The length of the file on disk in bytes.
    pub size_bytes: u64,
}

impl Delivered {
    /// The path of the message file, below `new`.
    pub fn into_path(self) -> PathBuf {
        self.path
    }
}

/// A message written and synced below `tmp`, not yet visible. Dropping it removes the file. It holds no descriptor, so
/// that one message can be staged in any number of mailboxes.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    /// The identity of the file below `tmp`, even if the path leads elsewhere later.
    identity: FileIdentity,
    temporary: String,
    committed: bool,
}

/// The identity of a file or directory, whatever its names: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

impl From<rustix::fs::Stat> for FileIdentity {
    fn from(stat: rustix::fs::Stat) -> FileIdentity {
        FileIdentity { device: stat.st_dev, inode: stat.st_ino }
    }
}

impl FileIdentity {
    /// The identity of the file at this path, through links.
    ///
    /// # Errors
    /// The system's error: the file does not exist, or access is denied.
    pub fn of(path: &Path) -> std::io::Result<FileIdentity> {
        Ok(rustix::fs::stat(path)?.into())
    }
}

impl Maildir {
    /// Opens an existing Maildir. Missing `cur`, `new` and `tmp` in an existing directory are created durably.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`] if a directory is missing or cannot be created, opened or synced.
    pub fn open(path: &Path) -> Result<Maildir, Fault> {
        let root = rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(|error| local(path, error))?;
        let mut made = false;
        let mut inner = |name: &str| -> Result<OwnedFd, Fault> {
            let open = || rustix::fs::openat(&root, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
            match open() {
                Ok(fd) => Ok(fd),
                Err(rustix::io::Errno::NOENT) => {
                    match rustix::fs::mkdirat(&root, name, Mode::RWXU) {
                        Ok(()) => made = true,
                        Err(rustix::io::Errno::EXIST) => {}
                        Err(error) => return Err(local(path.join(name), error)),
                    }
                    open().map_err(|error| local(path.join(name), error))
                }
                Err(error) => Err(local(path.join(name), error)),
            }
        };
        let maildir = Maildir { path: path.to_owned(), tmp: inner("tmp")?, new: inner("new")? };
        inner("cur")?;
        if made {
            rustix::fs::fsync(&root).map_err(|error| local(path, error))?;
        }
        Ok(maildir)
    }

    /// Opens a Maildir; first creates it and its parent directories if they are missing. New directories are on disk
    /// when this returns: otherwise a power cut could remove the mailbox with its message.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`] if a directory cannot be created, opened or synced.
    pub fn create(path: &Path) -> Result<Maildir, Fault> {
        make_directory(path).map_err(|error| Fault::local(path.display(), &error))?;
        Maildir::open(path)
    }

    /// The path of a local part's mailbox below `base`; creates nothing. `None` if the name cannot be a mailbox
    /// ([`is_safe_name`]), if it does not exist, or if it is not a directory that is or can become a Maildir: one with
    /// `cur`, `new` or `tmp`, or one without any directories except hidden ones.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`] if the path cannot be examined, including a link whose target is missing.
    pub fn find(base: &Path, local_part: &str) -> Result<Option<PathBuf>, Fault> {
        if !is_safe_name(local_part) {
            return Ok(None);
        }
        let path = base.join(local_part);
        let local = |error: std::io::Error| Fault::local(path.display(), &error);
        match std::fs::metadata(&path) {
            Ok(found) if !found.is_dir() => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.symlink_metadata().is_err() => {
                return Ok(None);
            }
            Err(error) => return Err(local(error)),
        }
        if INNER.iter().any(|name| path.join(name).is_dir()) {
            return Ok(Some(path));
        }
        for entry in std::fs::read_dir(&path).map_err(local)? {
            let entry = entry.map_err(local)?;
            if !entry.file_name().as_bytes().starts_with(b".") && entry.path().is_dir() {
                return Ok(None);
            }
        }
        Ok(Some(path))
    }

    /// True if a directory contains all three subdirectories of a Maildir.
    pub fn is_complete(path: &Path) -> bool {
        INNER.iter().all(|name| path.join(name).is_dir())
    }

    /// The path of the Maildir.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Delivers one message: `head` (trace fields such as Return-Path and Received), then `content`, stored with LF
    /// line ends. When this returns, the message and its directory entry are on disk.
    ///
    /// # Errors
    /// Those of [`Maildir::stage`] and [`Staged::commit`].
    pub fn deliver(&self, head: &[u8], content: &mut dyn Read) -> Result<Delivered, Fault> {
        self.stage(head, content)?.commit()
    }

    /// The first half of [`Maildir::deliver`]: every step that can fail for lack of space. With several mailboxes,
    /// stage all of them before the first commit.
    ///
    /// # Errors
    /// [`Kind::CannotCreate`] or [`Kind::Io`] if the message cannot be read or written; then no file remains.
    pub fn stage(&self, head: &[u8], content: &mut dyn Read) -> Result<Staged, Fault> {
        let (staged, file) = self.begin()?;
        fill(file, head, content).map_err(|error| writing(&self.path, error))?;
        Ok(staged)
    }

    /// Creates a new file below `tmp`, for [`fill`].
    fn begin(&self) -> Result<(Staged, File), Fault> {
        let temporary = unique_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.tmp, temporary.as_str(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| writing(self.path.join("tmp"), error.into()))?;
        let identity = rustix::fs::fstat(&fd).map_err(|error| writing(&self.path, error.into()))?.into();
        Ok((Staged { path: self.path.clone(), identity, temporary, committed: false }, File::from(fd)))
    }
}

/// Writes a message with LF instead of CRLF, and returns when it is on disk.
fn fill(mut file: File, head: &[u8], content: &mut dyn Read) -> std::io::Result<()> {
    write_with_lf(&mut file, head, content)?;
    file.sync_data()
}

/// Writes a message with LF instead of CRLF.
///
/// # Errors
/// Errors from reading and writing.
pub fn write_with_lf(file: &mut File, head: &[u8], content: &mut dyn Read) -> std::io::Result<()> {
    let mut lines = UnixLines::default();
    let mut out = Vec::with_capacity(COPY_BYTES + 1);
    lines.convert(head, &mut out);
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let count = match content.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        match buffer.get(..count) {
            Some(read) if count > 0 => lines.convert(read, &mut out),
            _ => lines.finish(&mut out),
        }
        file.write_all(&out)?;
        out.clear();
        if count == 0 {
            return Ok(());
        }
    }
}

impl Staged {
    /// Makes the message visible, and returns when its directory entry is on disk.
    ///
    /// # Errors
    /// [`Kind::CannotCreate`] or [`Kind::Io`] if the file cannot be renamed or synced, or is no longer at its path.
    pub fn commit(mut self) -> Result<Delivered, Fault> {
        let maildir = Maildir::open(&self.path)?;
        let Maildir { tmp, new, path, .. } = &maildir;
        let found = rustix::fs::statat(tmp, &*self.temporary, AtFlags::SYMLINK_NOFOLLOW);
        let found = found.map_err(|error| writing(path, error.into()))?;
        if FileIdentity::from(found) != self.identity {
            return Err(writing(path, std::io::Error::other("another mailbox has taken the place of this one")));
        }
        let size_bytes = u64::try_from(found.st_size).unwrap_or_default();
        // ",S=" is the size that Dovecot and others read from the name instead of asking for the file's.
        let name = format!("{},S={size_bytes}", self.temporary);
        rename_to_new(tmp, self.temporary.as_ref(), new, name.as_ref()).map_err(|error| writing(path, error.into()))?;
        self.committed = true;
        shared_sync::sync_directory(new).map_err(|error| writing(path, error.into()))?;
        // A wrong sum of the quota is corrected from the messages; it is no reason to refuse one that is there.
        let _ = quota::add(path, size_bytes);
        Ok(Delivered { path: path.join("new").join(name), size_bytes })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.committed
            && let Ok(tmp) = rustix::fs::open(self.path.join("tmp"), DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
        {
            let _ = rustix::fs::unlinkat(&tmp, &*self.temporary, AtFlags::empty());
        }
    }
}

/// Renames a file without replacing an existing one of the new name.
fn rename_to_new(from: &OwnedFd, old: &OsStr, to: &OwnedFd, new: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        // Not every file system knows NOREPLACE; the names are unique all the same.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => rustix::fs::renameat(from, old, to, new),
        other => other,
    }
}

/// Creates a directory and its missing parents, each for its owner alone, and makes it durable by a sync of its parent.
fn make_directory(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && parent != path => {
            make_directory(parent)?;
            return make_directory(path);
        }
        done => done?,
    }
    File::open(parent)?.sync_all()
}

/// True if a local part may name a directory: no `/`, no leading `.`, no control characters, not empty, not too long.
pub fn is_safe_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && !name.starts_with('.')
        && !name.chars().any(|letter| letter == '/' || letter.is_control())
}

/// Converts CRLF to LF in pieces of any size; any other CR stays.
#[derive(Default)]
struct UnixLines {
    held_cr: bool,
}

impl UnixLines {
    fn convert(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if self.held_cr && !bytes.is_empty() {
            if bytes.first() != Some(&b'\n') {
                out.push(b'\r');
            }
            self.held_cr = false;
        }
        while let Some(at) = memchr::memchr(b'\r', bytes) {
            let (before, rest) = bytes.split_at(at);
            out.extend_from_slice(before);
            match rest.get(1) {
                Some(b'\n') => {}
                Some(_) => out.push(b'\r'),
                None => self.held_cr = true,
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
        out.extend_from_slice(bytes);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.held_cr) {
            out.push(b'\r');
        }
    }
}

/// `seconds.M<µs>P<pid>Q<count>R<random>.<host>`: unique on this host without a query to the file system.
fn unique_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = crate::net::clock::since_1970();
    let mut random = [0u8; 8];
    // Without randomness the other parts are still unique on one host, and O_EXCL finds the rest.
    let _ = getrandom::fill(&mut random);
    let host = rustix::system::uname().nodename().to_string_lossy().replace('/', "\\057").replace(':', "\\072");
    let host: String = host.chars().filter(|letter| !letter.is_control()).take(64).collect();
    format!(
        "{}.M{:06}P{}Q{}R{:016x}.{}",
        now.as_secs(),
        now.subsec_micros(),
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed),
        u64::from_ne_bytes(random),
        if host.is_empty() { "localhost" } else { &host }
    )
}

fn local(path: impl AsRef<Path>, error: rustix::io::Errno) -> Fault {
    Fault::local(path.as_ref().display(), &error.into())
}

/// A failure during delivery. A missing or obstructed path is this host's problem, so `NoInput` becomes `CannotCreate`.
fn writing(path: impl AsRef<Path>, error: std::io::Error) -> Fault {
    let mut fault = Fault::local(path.as_ref().display(), &error);
    if fault.kind == Kind::NoInput {
        fault.kind = Kind::CannotCreate;
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty(path: &Path) -> usize {
        std::fs::read_dir(path).unwrap().count()
    }

    #[test]
    fn delivers_with_unix_line_ends_and_leaves_nothing_in_tmp() {
        let home = tempfile::tempdir().unwrap();
        let maildir = Maildir::create(&home.path().join("box")).unwrap();
        let mut content: &[u8] = b"Subject: x\r\n\r\none\rtwo\r\n\r";
        let done = maildir.deliver(b"Return-Path: <a@b>\r\n", &mut content).unwrap();
        let stored = std::fs::read(&done.path).unwrap();
        assert_eq!(stored, b"Return-Path: <a@b>\nSubject: x\n\none\rtwo\n\r");
        assert_eq!(done.size_bytes, stored.len() as u64);
        assert_eq!(empty(&maildir.path().join("tmp")), 0);
        let reader = reader::ReadableMaildir::open(maildir.path()).unwrap();
        let items = reader.list().unwrap();
        assert_eq!(items.len(), 1);
        assert!(items[0].is_unread());
        assert_eq!(reader.item_path(&items[0]), done.path);
    }

    #[test]
    fn every_split_converts_line_ends_alike() {
        let input = b"a\r\nb\rc\r\r\n\nd\r";
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let (mut lines, mut out) = (UnixLines::default(), Vec::new());
                for piece in [&input[..first], &input[first..second], &input[second..]] {
                    lines.convert(piece, &mut out);
                }
                lines.finish(&mut out);
                assert_eq!(out, b"a\nb\rc\r\n\nd\r", "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn a_content_that_fails_leaves_nothing() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("broken"))
            }
        }
        let home = tempfile::tempdir().unwrap();
        let maildir = Maildir::create(home.path()).unwrap();
        assert_eq!(maildir.deliver(b"", &mut Broken).unwrap_err().kind, Kind::Io);
        drop(maildir.stage(b"", &mut &b"x"[..]).unwrap());
        assert_eq!(empty(&home.path().join("tmp")) + empty(&home.path().join("new")), 0);
    }

    #[test]
    fn names_never_leave_the_base() {
        for bad in ["", ".", "..", "../x", "a/b", ".hidden", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(!is_safe_name(bad), "{bad:?}");
            assert!(Maildir::find(Path::new("/tmp"), bad).unwrap().is_none());
        }
        for good in ["bob", "a+b", "a..b", "-x", "grüße", &"x".repeat(255)] {
            assert!(is_safe_name(good), "{good:?}");
        }
        let home = tempfile::tempdir().unwrap();
        assert!(Maildir::find(home.path(), "bob").unwrap().is_none());
        std::fs::create_dir(home.path().join("bob")).unwrap();
        assert!(Maildir::find(home.path(), "bob").unwrap().is_some());
        std::fs::create_dir(home.path().join("bob/.Sent")).unwrap();
        assert!(Maildir::find(home.path(), "bob").unwrap().is_some());
        std::fs::create_dir(home.path().join("bob/eve")).unwrap();
        assert!(Maildir::find(home.path(), "bob").unwrap().is_none(), "a directory of mailboxes");
        std::fs::create_dir(home.path().join("bob/tmp")).unwrap();
        assert!(Maildir::find(home.path(), "bob").unwrap().is_some());
        std::os::unix::fs::symlink("away", home.path().join("eve")).unwrap();
        assert!(Maildir::find(home.path(), "eve").is_err(), "away is not the same as never there");
    }

    #[test]
    fn what_is_staged_holds_no_descriptor_and_goes_into_its_own_mailbox() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("box");
        let staged: Vec<Staged> =
            (0..4).map(|_| Maildir::create(&path).unwrap().stage(b"", &mut &b"x"[..]).unwrap()).collect();
        let held =
            std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        assert_eq!(held.filter(|file| file.starts_with(home.path())).count(), 0);
        std::fs::rename(&path, home.path().join("old")).unwrap();
        Maildir::create(&path).unwrap();
        for (number, staged) in staged.into_iter().enumerate() {
            let other = path.join("tmp").join(&staged.temporary);
            if number % 2 == 0 {
                std::fs::write(other, "another").unwrap();
            }
            assert!(staged.commit().is_err());
        }
        assert_eq!(empty(&path.join("new")), 0);
        let mode = std::fs::metadata(&path).unwrap().permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);
    }

    #[test]
    fn a_link_in_place_of_new_is_refused() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("elsewhere")).unwrap();
        std::fs::create_dir(home.path().join("box")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", home.path().join("box/new")).unwrap();
        assert!(Maildir::open(&home.path().join("box")).is_err());
    }
}
