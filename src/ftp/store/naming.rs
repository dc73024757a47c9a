//! Files and their names.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, RenameFlags, Stat, fstat, linkat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

/// True if both are of one file.
pub(super) fn same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// True if the name is still that of this file.
pub(super) fn is_still(file: &File, parent: &OwnedFd, name: &[u8]) -> bool {
    let named = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
    fstat(file).ok().zip(named.ok()).is_some_and(|(file, named)| same(&file, &named))
}

/// Renames to an unused name.
pub(super) fn rename_new(from: (&OwnedFd, &[u8]), to: (&OwnedFd, &[u8])) -> Result<(), Errno> {
    match renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        // The flag is not supported: linkat fails on an existing name too.
        Err(Errno::INVAL | Errno::NOSYS) => linkat(from.0, from.1, to.0, to.1, AtFlags::empty())
            .and_then(|()| unlinkat(from.0, from.1, AtFlags::empty())),
        result => result,
    }
}
