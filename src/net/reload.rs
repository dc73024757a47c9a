//! Values that are replaced as a whole while in use, and files that are watched for changes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// A value that is replaced by newer ones: certificate, users, zones, keys. Each user of it keeps the value that he began with.
#[derive(Debug, Default)]
pub struct Reloaded<T>(Arc<RwLock<Arc<T>>>);

impl<T> Clone for Reloaded<T> {
    /// A handle to the same value: both see a replacement.
    fn clone(&self) -> Reloaded<T> {
        Reloaded(self.0.clone())
    }
}

impl<T> Reloaded<T> {
    /// Wraps the first value.
    pub fn new(value: T) -> Reloaded<T> {
        Reloaded(Arc::new(RwLock::new(Arc::new(value))))
    }

    /// The current value.
    pub fn now(&self) -> Arc<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the value.
    pub fn replace(&self, value: impl Into<Arc<T>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value.into();
    }
}

/// The marks of a file's change: device, inode, size, and the times of its content and of its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp(u64, u64, u64, (i64, i64), (i64, i64));

impl FileStamp {
    /// The stamp of the file with this name now, following links; `None` if there is none.
    pub fn of(path: &Path) -> Option<FileStamp> {
        let it = path.metadata().ok()?;
        let times = ((it.mtime(), it.mtime_nsec()), (it.ctime(), it.ctime_nsec()));
        Some(FileStamp(it.dev(), it.ino(), it.len(), times.0, times.1))
    }
}
