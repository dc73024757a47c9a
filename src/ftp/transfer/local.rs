//! The local side: directories held open.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::fault::{Fault, Kind};
use crate::ftp::part::{unfinished, whole_of};

/// A local directory, held open: names below it are looked up from its descriptor, so that no rename can redirect the lookup.
#[derive(Debug)]
pub struct LocalDir {
    fd: OwnedFd,
    path: PathBuf,
    /// The unfinished files in it at the first lookup, by the name of the complete file.
    unfinished: OnceLock<HashMap<Vec<u8>, Vec<Vec<u8>>>>,
}

pub(super) fn failed(path: &Path, errno: Errno) -> Fault {
    let fault = Fault::local(path.display(), &errno.into());
    match errno {
        Errno::LOOP | Errno::NOTDIR => Fault { kind: Kind::CannotCreate, ..fault },
        _ => fault,
    }
}

impl LocalDir {
    fn held(fd: OwnedFd, path: PathBuf) -> Arc<LocalDir> {
        Arc::new(LocalDir { fd, path, unfinished: OnceLock::new() })
    }

    /// Opens a directory that the user named; symbolic links in it are followed.
    ///
    /// # Errors
    /// The fault of the directory.
    pub fn open(path: &Path) -> Result<Arc<LocalDir>, Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(path, errno))?;
        Ok(LocalDir::held(fd, path.to_owned()))
    }

    /// Creates a directory that the user named, with its parents, and opens it.
    ///
    /// # Errors
    /// The fault of the directory, or of one above it.
    pub fn create(path: &Path) -> Result<Arc<LocalDir>, Fault> {
        std::fs::create_dir_all(path).map_err(|error| Fault::creating(path.display(), &error))?;
        LocalDir::open(path)
    }

    /// Opens a directory below this one, and with `create` creates it if it does not exist.
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
        Ok(LocalDir::held(fd, path))
    }

    /// Its path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size and modification time of the plain file `name`; links are not followed.
    pub fn plain_file(&self, name: &[u8]) -> Option<(u64, i64)> {
        let stat = rustix::fs::statat(&self.fd, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        plain.then(|| (u64::try_from(stat.st_size).unwrap_or(0), stat.st_mtime))
    }

    /// True when an entry `name` exists.
    pub fn exists(&self, name: &[u8]) -> bool {
        rustix::fs::statat(&self.fd, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// The names of unfinished files of `name` from earlier runs, as of the first lookup in this directory: the directory is read
    /// once, not once per file.
    pub fn unfinished_of(&self, name: &[u8]) -> &[Vec<u8>] {
        let found = self.unfinished.get_or_init(|| {
            let mut found: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
            // If the directory cannot be read, downloads are only not resumed.
            for entry in Dir::read_from(self).into_iter().flatten().flatten() {
                let name = entry.file_name().to_bytes();
                if let Some((whole, _)) = unfinished(name) {
                    found.entry(whole.to_vec()).or_default().push(name.to_vec());
                }
            }
            found
        });
        found.get(whole_of(name)).map_or(&[], Vec::as_slice)
    }

    /// Makes everything written to this file system durable: one call for many files.
    ///
    /// # Errors
    /// `Io` if the file system cannot be synced.
    pub fn sync_all(&self) -> Result<(), Fault> {
        rustix::fs::syncfs(&self.fd).map_err(|errno| Fault { kind: Kind::Io, ..failed(&self.path, errno) })
    }
}

impl AsFd for LocalDir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_nowhere() {
        let temp = tempfile::tempdir().unwrap();
        let dir = LocalDir::create(&temp.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("/tmp", temp.path().join("a/b/out")).unwrap();
        assert_eq!(dir.enter(b"out", true).unwrap_err().kind, Kind::CannotCreate);
        assert!(dir.enter(b"new", false).is_err());
        assert!(dir.enter(b"new", true).is_ok());
    }
}
