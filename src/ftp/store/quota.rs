//! The quota for the total size of the files in a tree. The bytes on the disk are counted when the first session of a
//! tree begins, and tracked from then on: changes by other programs are seen by the next count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, OFlags, statat};

use super::confine::StoreRoot;
use super::{FtpStore, refusal};
use crate::ftp::session::StoreRefusal;

/// The quota of a tree, which all its sessions share.
#[derive(Debug)]
pub struct TreeQuota {
    limit: u64,
    used: AtomicU64,
}

impl TreeQuota {
    /// Counts the bytes of the files below the root of `store`. This takes a lookup of each file.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn count(store: &FtpStore, limit: u64) -> Result<TreeQuota, StoreRefusal> {
        Ok(TreeQuota { limit, used: AtomicU64::new(bytes_below(&store.root).map_err(refusal)?) })
    }

    fn take(&self, bytes: u64, credit: u64) -> Result<(), StoreRefusal> {
        let most = self.limit.saturating_add(credit);
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= most);
        let taken = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
        taken.map(drop).map_err(|_| StoreRefusal::TooLarge)
    }

    /// Releases bytes that are no longer on the disk.
    pub(super) fn give(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
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

    /// The file has grown to `size` bytes.
    pub(super) fn grew(&mut self, size: u64, replaces: bool) -> Result<(), StoreRefusal> {
        let (own, credit) = if replaces { (self.taken, self.before) } else { (self.taken + self.before, 0) };
        let more = size.saturating_sub(own);
        self.quota.take(more, credit)?;
        self.taken += more;
        Ok(())
    }

    /// The file is kept, with this size.
    pub(super) fn keep(&mut self, size: u64, replaces: bool) {
        let counted = self.taken + self.before;
        let stays = size.min(counted);
        let gone = if replaces { self.before } else { counted - stays };
        self.quota.give(gone);
        self.taken = 0;
    }
}

impl Drop for QuotaShare {
    fn drop(&mut self) {
        self.quota.give(self.taken);
    }
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
                FileType::RegularFile => bytes = bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0)),
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
