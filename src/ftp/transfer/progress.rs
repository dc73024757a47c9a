//! How far the transfers of a run are, told to whoever shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::ftp::path::RemotePath;

/// One step of a run of transfers. The sum of what passed and what was there before, less what is lost, is never more than
/// the files hold.
#[derive(Debug, Clone)]
pub enum TransferStep {
    /// A file is to be transferred; its size where it is known.
    Found(Option<u64>),
    /// The size of a file that was found without one.
    Sized(u64),
    /// A file that was found with this size need not be transferred.
    Spared(Option<u64>),
    /// The bytes of a file begin to pass, after those of an earlier run.
    Begun {
        /// Its name at the server.
        name: Vec<u8>,
        /// Where it is continued.
        from: u64,
    },
    /// So many bytes passed.
    Passed(u64),
    /// An attempt failed: what it had is counted again by the next one.
    Lost {
        /// The bytes that passed and those of earlier runs.
        bytes: u64,
        /// The size that the attempt had told.
        size: Option<u64>,
    },
    /// A file is whole.
    Ended,
}

/// Told of every step.
pub type TransferProgress = Arc<dyn Fn(TransferStep) + Send + Sync>;

/// One attempt to pass the bytes of a file. Dropped without [`TransferAttempt::complete`], it is told as lost.
pub(super) struct TransferAttempt {
    tell: TransferProgress,
    bytes: AtomicU64,
    size: Option<u64>,
    complete: AtomicBool,
}

impl TransferAttempt {
    /// The bytes from `from` on begin to pass; `size` is the file's where nobody has told it before.
    pub(super) fn begin(
        tell: &TransferProgress,
        path: &RemotePath,
        size: Option<u64>,
        from: u64,
    ) -> Arc<TransferAttempt> {
        if let Some(size) = size {
            tell(TransferStep::Sized(size));
        }
        tell(TransferStep::Begun { name: path.name().unwrap_or_default().to_vec(), from });
        let (tell, bytes) = (tell.clone(), AtomicU64::new(from));
        Arc::new(TransferAttempt { tell, bytes, size, complete: AtomicBool::new(false) })
    }

    /// So many bytes passed.
    pub(super) fn pass(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        (self.tell)(TransferStep::Passed(bytes));
    }

    /// All bytes passed.
    pub(super) fn complete(&self) {
        if !self.complete.swap(true, Ordering::Relaxed) {
            (self.tell)(TransferStep::Ended);
        }
    }
}

impl Drop for TransferAttempt {
    fn drop(&mut self) {
        if !self.complete.load(Ordering::Relaxed) {
            let bytes = self.bytes.load(Ordering::Relaxed);
            (self.tell)(TransferStep::Lost { bytes, size: self.size });
        }
    }
}
