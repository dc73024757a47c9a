//! The local side: directories held open, and files that appear under their name only when they are complete.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::fault::{Fault, Kind};
use crate::fnv::fnv1a;
use crate::ftp::path::MAX_NAME;

/// The extended attribute of a `.part` file that remembers what it is a part of.
const ATTRIBUTE: &str = "user.applayer.remote";
/// The longest remembered text.
const MAX_MEMORY: usize = 2048;

/// A local directory, held open: names below it are looked up from here, so that nobody can move us elsewhere.
#[derive(Debug)]
pub struct LocalDir {
    fd: OwnedFd,
    path: PathBuf,
}

fn failed(path: &Path, errno: Errno) -> Fault {
    let fault = Fault::local(path.display(), &errno.into());
    match errno {
        Errno::LOOP | Errno::NOTDIR => Fault { kind: Kind::CannotCreate, ..fault },
        _ => fault,
    }
}

impl LocalDir {
    /// Opens a directory that the user named; symbolic links in it are followed.
    ///
    /// # Errors
    /// The fault of the directory.
    pub fn open(path: &Path) -> Result<Arc<LocalDir>, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(path, errno))?;
        Ok(Arc::new(LocalDir { fd, path: path.to_owned() }))
    }

    /// Creates a directory that the user named, with its parents, and opens it.
    ///
    /// # Errors
    /// The fault of the directory, or of one above it.
    pub fn create(path: &Path) -> Result<Arc<LocalDir>, Fault> {
        std::fs::create_dir_all(path).map_err(|error| Fault::creating(path.display(), &error))?;
        LocalDir::open(path)
    }

    /// Opens a directory below this one, made if it is not there.
    ///
    /// # Errors
    /// The fault of the directory. A symbolic link of that name is refused: it would lead outside the target
    /// (CVE-2014-4877).
    pub fn enter(&self, name: &[u8], create: bool) -> Result<Arc<LocalDir>, Fault> {
        let os = OsStr::from_bytes(name);
        let path = self.path.join(os);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut fd = rustix::fs::openat(&self.fd, os, flags, Mode::empty());
        if create && fd.as_ref().is_err_and(|errno| *errno == Errno::NOENT) {
            match rustix::fs::mkdirat(&self.fd, os, Mode::from(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(&path, errno)),
            }
            fd = rustix::fs::openat(&self.fd, os, flags, Mode::empty());
        }
        let fd = fd.map_err(|errno| failed(&path, errno))?;
        Ok(Arc::new(LocalDir { fd, path }))
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What stands under `name`: its size and modification time if it is a plain file, not following links.
    pub fn plain_file(&self, name: &[u8]) -> Option<(u64, i64)> {
        let stat = rustix::fs::statat(&self.fd, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        plain.then(|| (u64::try_from(stat.st_size).unwrap_or(0), stat.st_mtime))
    }

    /// True when anything stands under `name`.
    pub fn exists(&self, name: &[u8]) -> bool {
        rustix::fs::statat(&self.fd, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Makes everything written in this file system durable: once for many files.
    ///
    /// # Errors
    /// `Io` if the disk cannot keep it.
    pub fn sync_all(&self) -> Result<(), Fault> {
        rustix::fs::syncfs(&self.fd).map_err(|errno| Fault { kind: Kind::Io, ..failed(&self.path, errno) })
    }
}

impl AsFd for LocalDir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A file that is being received: `.NAME.part` in the target's directory, locked against a second run, renamed when it is
/// complete. What is dropped before that stays for resuming, unless it is empty.
#[derive(Debug)]
pub struct PartFile {
    dir: Arc<LocalDir>,
    name: Vec<u8>,
    part: Vec<u8>,
    file: File,
    committed: bool,
}

/// What a part remembers of its origin: it is continued only if the same is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The URL without a password.
    pub url: String,
    /// The remote size.
    pub size: u64,
    /// The remote modification time.
    pub modified: i64,
}

impl PartFile {
    /// Opens or creates the part of `name`.
    ///
    /// # Errors
    /// `Locked` where another run holds it; else the fault of the file.
    pub fn open(dir: &Arc<LocalDir>, name: &[u8]) -> Result<PartFile, Fault> {
        let part = part_name(name);
        let path = dir.path.join(OsStr::from_bytes(&part));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        loop {
            let fd = rustix::fs::openat(dir, OsStr::from_bytes(&part), flags, Mode::from(0o666));
            let fd = fd.map_err(|errno| {
                let fault = failed(&path, errno);
                match fault.kind {
                    Kind::Io | Kind::StorageFull => fault,
                    _ => Fault { kind: Kind::CannotCreate, ..fault },
                }
            })?;
            match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    let detail = format!("{}: another transfer holds it", path.display());
                    return Err(Fault::new(Kind::Locked, detail));
                }
                Err(errno) => return Err(failed(&path, errno)),
            }
            let stat = rustix::fs::fstat(&fd).map_err(|errno| failed(&path, errno))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(Fault::new(Kind::CannotCreate, format!("{}: not a plain file", path.display())));
            }
            // Between our open and our lock another run may have renamed the file away: then this is not the part any more.
            let now = rustix::fs::statat(dir, OsStr::from_bytes(&part), AtFlags::SYMLINK_NOFOLLOW);
            if now.is_ok_and(|now| now.st_ino == stat.st_ino && now.st_dev == stat.st_dev) {
                let (dir, name) = (dir.clone(), name.to_vec());
                return Ok(PartFile { dir, name, part, file: File::from(fd), committed: false });
            }
        }
    }

    /// True when an earlier or another run has left a part of `name`.
    pub fn is_there(dir: &LocalDir, name: &[u8]) -> bool {
        dir.exists(&part_name(name))
    }

    /// The file, positioned where the caller left it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the file will be.
    pub fn target(&self) -> PathBuf {
        self.dir.path.join(OsStr::from_bytes(&self.name))
    }

    /// Bytes that an earlier run left.
    ///
    /// # Errors
    /// The I/O fault of the file.
    pub fn length(&self) -> Result<u64, Fault> {
        self.file.metadata().map(|meta| meta.len()).map_err(|error| Fault::local(self.target().display(), &error))
    }

    /// What the earlier run noted.
    pub fn origin(&self) -> Option<Origin> {
        let mut buffer = [0u8; MAX_MEMORY];
        let noted = match rustix::fs::fgetxattr(&self.file, ATTRIBUTE, &mut buffer[..]) {
            Ok(length) => buffer.get(..length)?.to_vec(),
            Err(errno) if errno != Errno::NOTSUP => return None,
            Err(_) => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let file = rustix::fs::openat(&self.dir, self.beside(), flags, Mode::empty()).ok()?;
                let mut noted = Vec::new();
                File::from(file).take(MAX_MEMORY as u64).read_to_end(&mut noted).ok()?;
                // A note that was not written to its end is none.
                noted.strip_suffix(b"\n")?.to_vec()
            }
        };
        let mut fields = std::str::from_utf8(&noted).ok()?.splitn(3, ' ');
        let (size, modified) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Origin { size, modified, url: fields.next()?.to_owned() })
    }

    /// Notes where the bytes come from: in an attribute of the part or, where the file system keeps none, in a file beside
    /// it. Where neither can be written only resuming is lost.
    pub fn remember(&self, origin: &Origin) {
        let text = format!("{} {} {}", origin.size, origin.modified, origin.url);
        if text.len() >= MAX_MEMORY {
            return;
        }
        let kept = rustix::fs::fsetxattr(&self.file, ATTRIBUTE, text.as_bytes(), XattrFlags::empty());
        if kept == Err(Errno::NOTSUP) {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&self.dir, self.beside(), flags, Mode::from(0o666));
            let _ = file.map(|file| File::from(file).write_all(format!("{text}\n").as_bytes()));
        }
    }

    fn forget(&self) {
        if rustix::fs::fremovexattr(&self.file, ATTRIBUTE) == Err(Errno::NOTSUP) {
            let _ = rustix::fs::unlinkat(&self.dir, self.beside(), AtFlags::empty());
        }
    }

    /// `.NAME.from`: what a part comes from, where the file system keeps no attributes.
    fn beside(&self) -> PathBuf {
        let stem = self.part.strip_suffix(b"part").unwrap_or(&self.part);
        PathBuf::from(OsStr::from_bytes(&[stem, b"from"].concat()))
    }

    /// Throws away what is there.
    ///
    /// # Errors
    /// The I/O fault of the file.
    pub fn restart(&self) -> Result<(), Fault> {
        self.forget();
        let fault = |error| Fault::local(self.target().display(), &error);
        self.file.set_len(0).map_err(fault)?;
        rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Start(0)).map_err(|errno| fault(errno.into()))?;
        Ok(())
    }

    /// Goes to the end of what is there.
    ///
    /// # Errors
    /// The I/O fault of the file.
    pub fn append(&self) -> Result<(), Fault> {
        rustix::fs::seek(&self.file, rustix::fs::SeekFrom::End(0))
            .map(drop)
            .map_err(|errno| Fault::local(self.target().display(), &errno.into()))
    }

    /// Gives the file its name: complete, with its modification time, durable before the rename if `sync`. `replace`
    /// false never overwrites.
    ///
    /// # Errors
    /// The I/O fault of the file; `CannotCreate` if the name is taken and may not be replaced.
    pub fn commit(mut self, modified: Option<i64>, sync: bool, replace: bool) -> Result<(), Fault> {
        let target = self.target();
        let fault = |errno: Errno| {
            let fault = Fault::local(target.display(), &errno.into());
            Fault { kind: if fault.kind == Kind::NoInput { Kind::CannotCreate } else { fault.kind }, ..fault }
        };
        self.forget();
        if let Some(seconds) = modified {
            let stamp = Timespec { tv_sec: seconds, tv_nsec: 0 };
            let times = Timestamps { last_access: stamp, last_modification: stamp };
            rustix::fs::futimens(&self.file, &times).map_err(fault)?;
        }
        if sync {
            rustix::fs::fsync(&self.file).map_err(fault)?;
        }
        let (part, name) = (OsStr::from_bytes(&self.part), OsStr::from_bytes(&self.name));
        match replace {
            true => rustix::fs::renameat(&self.dir, part, &self.dir, name).map_err(fault)?,
            false => {
                rustix::fs::renameat_with(&self.dir, part, &self.dir, name, RenameFlags::NOREPLACE).map_err(fault)?
            }
        }
        self.committed = true;
        if sync {
            rustix::fs::fsync(&self.dir).map_err(fault)?;
        }
        Ok(())
    }

    /// Removes the part: there is nothing to resume.
    pub fn discard(mut self) {
        self.remove();
    }

    fn remove(&mut self) {
        if !self.committed {
            self.committed = true;
            self.forget();
            let _ = rustix::fs::unlinkat(&self.dir, OsStr::from_bytes(&self.part), AtFlags::empty());
        }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if self.file.metadata().is_ok_and(|meta| meta.len() == 0) {
            self.remove();
        }
    }
}

/// `.NAME.part`; a name so long that this would not fit is cut and told apart by a hash.
fn part_name(name: &[u8]) -> Vec<u8> {
    const AROUND: usize = ".".len() + ".part".len();
    const HASH: usize = 17;
    if name.len() + AROUND <= MAX_NAME {
        return [b".", name, b".part"].concat();
    }
    let hash = fnv1a(name.iter().copied());
    let kept = name.get(..MAX_NAME - AROUND - HASH).unwrap_or(name);
    [b".", kept, format!("-{hash:016x}").as_bytes(), b".part"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let temp = tempfile::tempdir().unwrap();
        let dir = LocalDir::open(temp.path()).unwrap();
        let part = PartFile::open(&dir, b"x").unwrap();
        part.file().write_all(b"hello").unwrap();
        assert!(!temp.path().join("x").exists());
        assert_eq!(PartFile::open(&dir, b"x").unwrap_err().kind, Kind::Locked);
        part.commit(Some(1_000_000_000), true, true).unwrap();
        assert_eq!(std::fs::read(temp.path().join("x")).unwrap(), b"hello");
        assert_eq!(dir.plain_file(b"x"), Some((5, 1_000_000_000)));
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
        let part = PartFile::open(&dir, b"x").unwrap();
        part.file().write_all(b"other").unwrap();
        assert_eq!(part.commit(None, false, false).unwrap_err().kind, Kind::CannotCreate);
        assert_eq!(std::fs::read(temp.path().join("x")).unwrap(), b"hello");
    }

    #[test]
    fn a_part_stays_and_remembers() {
        let temp = tempfile::tempdir().unwrap();
        let dir = LocalDir::open(temp.path()).unwrap();
        drop(PartFile::open(&dir, b"x").unwrap());
        assert!(!temp.path().join(".x.part").exists(), "an empty part is no use");
        let part = PartFile::open(&dir, b"x").unwrap();
        let origin = Origin { url: "ftp://h/a b".to_owned(), size: 10, modified: -5 };
        part.file().write_all(b"half").unwrap();
        part.remember(&origin);
        drop(part);
        let part = PartFile::open(&dir, b"x").unwrap();
        assert_eq!(part.length().unwrap(), 4);
        assert_eq!(part.origin(), Some(origin));
        part.restart().unwrap();
        assert_eq!((part.length().unwrap(), part.origin()), (0, None));
    }

    #[test]
    fn links_lead_nowhere() {
        let temp = tempfile::tempdir().unwrap();
        let dir = LocalDir::create(&temp.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("/tmp", temp.path().join("a/b/out")).unwrap();
        assert_eq!(dir.enter(b"out", true).unwrap_err().kind, Kind::CannotCreate);
        std::os::unix::fs::symlink("/tmp/applayer-never-written", temp.path().join("a/b/.x.part")).unwrap();
        assert_eq!(PartFile::open(&dir, b"x").unwrap_err().kind, Kind::CannotCreate);
        assert!(dir.enter(b"new", false).is_err());
        assert!(dir.enter(b"new", true).is_ok());
    }

    #[test]
    fn long_names_fit() {
        let long = [b'n'; MAX_NAME];
        assert_eq!(part_name(&long).len(), MAX_NAME);
        assert_ne!(part_name(&long), part_name(&[&long[..MAX_NAME - 1], b"m"].concat()));
        assert_eq!(part_name(&[b'n'; 249]).len(), MAX_NAME);
        assert_eq!(part_name(b"a"), b".a.part");
    }
}
