//! Files and links in a local directory.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::ftp::transfer::LocalDir;

/// Where a local link leads; `None` if `name` is no link.
pub(super) fn read_link(dir: &LocalDir, name: &[u8]) -> Option<Vec<u8>> {
    rustix::fs::readlinkat(dir, OsStr::from_bytes(name), Vec::new()).ok().map(std::ffi::CString::into_bytes)
}

/// Makes a link under `name` in place of a file or a link, never of a directory.
pub(super) fn replace_by_link(dir: &LocalDir, name: &[u8], leads_to: &[u8]) -> io::Result<()> {
    // A file of its own until it is renamed: nobody else can be using the name, since it is never a part of a file.
    let temporary = [b".", name.get(..name.len().min(200)).unwrap_or(name), b".link.part"].concat();
    let (temporary, name) = (OsStr::from_bytes(&temporary), OsStr::from_bytes(name));
    let _ = rustix::fs::unlinkat(dir, temporary, AtFlags::empty());
    rustix::fs::symlinkat(OsStr::from_bytes(leads_to), dir, temporary)?;
    if let Err(errno) = rustix::fs::renameat(dir, temporary, dir, name) {
        let _ = rustix::fs::unlinkat(dir, temporary, AtFlags::empty());
        return Err(errno.into());
    }
    Ok(())
}

/// A file of this directory for reading, never through a link.
pub(super) fn open_file(dir: &LocalDir, name: &[u8]) -> io::Result<std::fs::File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, OsStr::from_bytes(name), flags, Mode::empty())?.into())
}
