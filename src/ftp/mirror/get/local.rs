//! Files and links in a local directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::fault::Fault;
use crate::ftp::part::{PartTag, part_name};
use crate::ftp::transfer::LocalDir;

/// The target of a local link; `None` if `name` is not a link.
pub(super) fn read_link(dir: &LocalDir, name: &[u8]) -> Option<Vec<u8>> {
    rustix::fs::readlinkat(dir, OsStr::from_bytes(name), Vec::new()).ok().map(std::ffi::CString::into_bytes)
}

/// Creates a link `name`. It may replace a file or a link, but never a directory.
pub(super) fn replace_by_link(dir: &LocalDir, name: &[u8], leads_to: &[u8]) -> Result<(), Fault> {
    // A fresh name: a fixed one may belong to an existing file.
    let temporary = part_name(name, &PartTag::of_run()?);
    let (temporary, name) = (OsStr::from_bytes(&temporary), OsStr::from_bytes(name));
    let fault = |errno: Errno| Fault::local(dir.path().join(name).display(), &errno.into());
    rustix::fs::symlinkat(OsStr::from_bytes(leads_to), dir, temporary).map_err(fault)?;
    if let Err(errno) = rustix::fs::renameat(dir, temporary, dir, name) {
        let _ = rustix::fs::unlinkat(dir, temporary, AtFlags::empty());
        return Err(fault(errno));
    }
    Ok(())
}
