//! Files and links in a local directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::fault::Fault;
use crate::ftp::part::{PartTag, part_name};
use crate::ftp::transfer::LocalDir;

/// Where a local link leads; `None` if `name` is no link.
pub(super) fn read_link(dir: &LocalDir, name: &[u8]) -> Option<Vec<u8>> {
    rustix::fs::readlinkat(dir, OsStr::from_bytes(name), Vec::new()).ok().map(std::ffi::CString::into_bytes)
}

/// Makes a link under `name` in place of a file or a link, never of a directory.
pub(super) fn replace_by_link(dir: &LocalDir, name: &[u8], leads_to: &[u8]) -> Result<(), Fault> {
    // A name of its own: whatever has another one is somebody's.
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
