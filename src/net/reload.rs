//! Values that are replaced as a whole while others use them, and files that are watched for changes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// A value of which there is a newer one at times: certificate, users, zones, keys. Who uses it keeps what he began with.
#[derive(Debug, Default)]
pub struct Reloaded<T>(Arc<RwLock<Arc<T>>>);

impl<T> Clone for Reloaded<T> {
    /// The same value: a replacement is seen by both.
    fn clone(&self) -> Reloaded<T> {
        Reloaded(self.0.clone())
    }
}

impl<T> Reloaded<T> {
    /// The first value.
    pub fn new(value: T) -> Reloaded<T> {
        Reloaded(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// That of now.
    pub fn now(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it is another.
    pub fn replace(&self, value: impl Into<Arc<T>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value.into();
    }
}

/// What tells whether a file has changed: device, inode, size and the times of its content and of its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp(u64, u64, u64, (i64, i64), (i64, i64));

impl FileStamp {
    /// The stamp of the file that has this name now, behind links; `None` if there is none.
    pub fn of(path: &Path) -> Option<FileStamp> {
        let it = path.metadata().ok()?;
        let times = ((it.mtime(), it.mtime_nsec()), (it.ctime(), it.ctime_nsec()));
        Some(FileStamp(it.dev(), it.ino(), it.len(), times.0, times.1))
    }
}
