//! The quota for the total size of the files in a tree. The bytes on the disk are counted when the first session of a
//! tree begins, and tracked from then on: changes by other programs are seen by the next count.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat, fstat, statat};

use super::confine::StoreRoot;
use super::{FtpStore, FtpTree, refusal};
use crate::ftp::session::StoreRefusal;

/// The quota of a tree, which all its sessions share.
#[derive(Debug)]
pub struct TreeQuota {
    limit: u64,
    used: AtomicU64,
    /// Held while a name changes, so that the bytes of a file that loses its name are released once.
    names: Mutex<FilesInPlace>,
}

/// The files that uploads write in place, by device and inode: each such upload settles the account of its file when it ends.
pub(super) type FilesInPlace = HashSet<(u64, u64)>;

impl TreeQuota {
    /// Counts the bytes of the files of `tree`. This takes a lookup of each file.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn count(tree: &FtpTree, limit: u64) -> Result<TreeQuota, StoreRefusal> {
        Ok(TreeQuota { limit, used: AtomicU64::new(tree.usage()?), names: Mutex::default() })
    }

    /// A quota that forbids nothing and counts only.
    pub(super) fn ledger() -> TreeQuota {
        TreeQuota { limit: u64::MAX, used: AtomicU64::new(u64::MAX / 2), names: Mutex::default() }
    }

    /// The bytes in use.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }

    /// The free bytes, if `credit` bytes of those in use will be released.
    fn free(&self, credit: u64) -> u64 {
        self.limit.saturating_add(credit).saturating_sub(self.used())
    }

    fn take(&self, bytes: u64, credit: u64) -> Result<(), StoreRefusal> {
        let most = self.limit.saturating_add(credit);
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= most);
        let taken = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        taken.map(drop).map_err(|_| StoreRefusal::TooLarge)
    }

    pub(super) fn names(&self) -> MutexGuard<'_, FilesInPlace> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Releases bytes that are no longer on the disk.
    pub(super) fn give(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }
}

impl FtpStore {
    /// The bytes of all files in the tree.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn usage(&self) -> Result<u64, StoreRefusal> {
        bytes_below(&self.root).map_err(refusal)
    }
}

/// The share of an upload in a quota. The bytes it took are released when it is dropped, unless it was kept.
#[derive(Debug)]
pub(super) struct QuotaShare {
    quota: Arc<TreeQuota>,
    taken: u64,
    /// The size of the file before the upload: these bytes are released if it is replaced.
    before: u64,
}

impl QuotaShare {
    pub(super) fn new(quota: &Arc<TreeQuota>, before: u64) -> QuotaShare {
        QuotaShare { quota: quota.clone(), taken: 0, before }
    }

    /// The size of the file before the upload.
    pub(super) fn before(&self) -> u64 {
        self.before
    }

    /// The largest size that the file may reach. `replaces`: the bytes of the old file are released when the new one is complete.
    pub(super) fn most(&self, replaces: bool) -> u64 {
        let credit = if replaces { self.before } else { 0 };
        let own = if replaces { self.taken } else { self.taken.saturating_add(self.before) };
        own.saturating_add(self.quota.free(credit))
    }

    /// The file has grown to `size` bytes.
    pub(super) fn grew(&mut self, size: u64, replaces: bool) -> Result<(), StoreRefusal> {
        let (own, credit) = if replaces { (self.taken, self.before) } else { (self.taken + self.before, 0) };
        let more = size.saturating_sub(own);
        // Others, whose files will replace larger ones, may have taken more than the limit.
        if more > 0 {
            self.quota.take(more, credit)?;
        }
        self.taken += more;
        Ok(())
    }

    /// The upload writes this file in place.
    pub(super) fn writes(&mut self, file: &File) {
        if let Ok(stat) = fstat(file) {
            self.quota.names().insert((stat.st_dev, stat.st_ino));
        }
    }

    /// The upload of a file in place has ended: its size counts from now on, or nothing if it has no name any more.
    pub(super) fn settle(&mut self, file: &File) {
        let Ok(stat) = fstat(file) else { return };
        let mut names = self.quota.names();
        names.remove(&(stat.st_dev, stat.st_ino));
        let (counted, now) = (self.taken + self.before, if stat.st_nlink == 0 { 0 } else { size_of(&stat) });
        self.quota.give(counted.saturating_sub(now));
        self.quota.used.fetch_add(now.saturating_sub(counted), Ordering::SeqCst);
        self.taken = 0;
    }

    /// Runs `place`, which gives the new file its name. `replaced`: the size of the file that has the name now. It may be
    /// another one than at the start, and smaller.
    pub(super) fn place(
        &mut self,
        replaced: impl FnOnce(&FilesInPlace) -> u64,
        place: impl FnOnce() -> Result<(), StoreRefusal>,
    ) -> Result<(), StoreRefusal> {
        let quota = self.quota.clone();
        let names = quota.names();
        let replaced = replaced(&names);
        if replaced < self.before {
            quota.take(0, replaced)?;
        }
        place()?;
        quota.give(replaced);
        self.taken = 0;
        Ok(())
    }
}

impl QuotaShare {
    /// The new file has its name, and so many bytes of the file that had the name before are gone.
    pub(super) fn placed(&mut self, freed: u64) {
        self.quota.give(freed);
        self.taken = 0;
    }
}

impl Drop for QuotaShare {
    fn drop(&mut self) {
        self.quota.give(self.taken);
    }
}

/// The bytes that are released when the plain file with this name loses it.
pub(super) fn released(names: &FilesInPlace, parent: &OwnedFd, name: &[u8]) -> u64 {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok();
    stat.filter(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && !names.contains(&(stat.st_dev, stat.st_ino))
    })
    .as_ref()
    .map_or(0, size_of)
}

pub(super) fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// The total size of all files below a root, each name counted once; mounted file systems count, links do not.
fn bytes_below(root: &StoreRoot) -> std::io::Result<u64> {
    let (mut bytes, mut waiting) = (0u64, vec![b"/".to_vec()]);
    while let Some(path) = waiting.pop() {
        let directory = match root.open_at(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK) {
            // Removed since it was found.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path != b"/" => continue,
            opened => opened?,
        };
        for found in Dir::read_from(&directory)? {
            let found = found?;
            let name = found.file_name().to_bytes();
            let Ok(stat) = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => bytes = bytes.saturating_add(size_of(&stat)),
                FileType::Directory if !matches!(name, b"." | b"..") => {
                    let slash: &[u8] = if path.ends_with(b"/") { b"" } else { b"/" };
                    waiting.push([&path, slash, name].concat());
                }
                _ => {}
            }
        }
    }
    Ok(bytes)
}
