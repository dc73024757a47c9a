//! The order of the uploads to one name. Each upload gets a number when it starts; the one that started last wins whole, even if
//! an earlier one ends after it.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::fstat;

use super::from_errno;
use crate::ftp::session::StoreRefusal;

/// The uploads that run in this process, by their targets.
#[derive(Debug, Default)]
pub(super) struct UploadOrder {
    begun: AtomicU64,
    /// For each target the number of the last upload that is complete, as long as an upload to it runs.
    targets: Mutex<HashMap<UploadKey, Weak<Mutex<u64>>>>,
}

/// A name in a directory: device, inode, name.
pub(super) type UploadKey = (u64, u64, Vec<u8>);

/// The place of an upload, or of a rename to the name, in the order.
#[derive(Debug)]
pub(super) struct UploadTurn {
    order: Arc<UploadOrder>,
    key: UploadKey,
    number: u64,
    last: Arc<Mutex<u64>>,
}

/// The order of all uploads of this process.
static ORDER: LazyLock<Arc<UploadOrder>> = LazyLock::new(Arc::default);

impl UploadOrder {
    /// The order of all uploads of this process.
    pub(super) fn of_process() -> Arc<UploadOrder> {
        ORDER.clone()
    }

    /// Starts an upload to `name` in `directory`.
    pub(super) fn begin(self: &Arc<Self>, directory: &OwnedFd, name: &[u8]) -> Result<Box<UploadTurn>, StoreRefusal> {
        let stat = fstat(directory).map_err(from_errno)?;
        Ok(self.begin_at((stat.st_dev, stat.st_ino, name.to_vec())))
    }

    /// Starts an upload to this target.
    pub(super) fn begin_at(self: &Arc<Self>, key: UploadKey) -> Box<UploadTurn> {
        let mut targets = lock(&self.targets);
        let last = targets.get(&key).and_then(Weak::upgrade).unwrap_or_default();
        targets.insert(key.clone(), Arc::downgrade(&last));
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        Box::new(UploadTurn { order: self.clone(), key, number, last })
    }
}

impl UploadTurn {
    /// The target.
    pub(super) fn key(&self) -> &UploadKey {
        &self.key
    }

    /// Runs `place`, which gives the upload its name, while no other upload to this name does the same.
    ///
    /// # Errors
    /// [`StoreRefusal::Overtaken`] if an upload that started later is complete, and the errors of `place`.
    pub(super) fn complete<T>(&self, place: impl FnOnce() -> Result<T, StoreRefusal>) -> Result<T, StoreRefusal> {
        let mut last = lock(&self.last);
        if *last > self.number {
            return Err(StoreRefusal::Overtaken);
        }
        let placed = place()?;
        *last = self.number;
        Ok(placed)
    }

    /// The name of the target.
    pub(super) fn name(&self) -> &[u8] {
        &self.key.2
    }

    /// Runs `act` while no upload to this name is placed.
    pub(super) fn alone<T>(&self, act: impl FnOnce() -> T) -> T {
        let _last = lock(&self.last);
        act()
    }
}

impl Drop for UploadTurn {
    fn drop(&mut self) {
        let mut targets = lock(&self.order.targets);
        // Others upgrade under this lock only.
        if Arc::strong_count(&self.last) == 1 {
            targets.remove(&self.key);
        }
    }
}

/// A panic in between leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
