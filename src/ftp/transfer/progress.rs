//! The progress of the transfers of a run, reported to a callback.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::ftp::path::RemotePath;

/// One step of a run of transfers. The sum of the bytes passed and the bytes from earlier runs, less the bytes lost, never
/// exceeds the total size of the files.
#[derive(Debug, Clone)]
pub enum TransferStep {
    /// A file is to be transferred; its size if known.
    Found(Option<u64>),
    /// The size of a file that was found without a size.
    Sized(u64),
    /// A file that was found with this size need not be transferred.
    Spared(Option<u64>),
    /// The transfer of a file begins, after the bytes of an earlier run.
    Begun {
        /// Its name on the server.
        name: Vec<u8>,
        /// The offset at which it is continued.
        from: u64,
    },
    /// This number of bytes passed.
    Passed(u64),
    /// An attempt failed: the next one counts its bytes again.
    Lost {
        /// The bytes of the attempt and of earlier runs.
        bytes: u64,
        /// The size that the attempt had reported.
        size: Option<u64>,
    },
    /// A file is complete.
    Ended,
}

/// The callback for every step.
pub type TransferProgress = Arc<dyn Fn(TransferStep) + Send + Sync>;

/// One attempt to transfer a file. If it is dropped without [`TransferAttempt::complete`], it is reported as lost.
pub(super) struct TransferAttempt {
    tell: TransferProgress,
    bytes: AtomicU64,
    size: Option<u64>,
    complete: AtomicBool,
}

impl TransferAttempt {
    /// Begins the transfer at the offset `from`; `size` is the file's size if it was not reported before.
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

    /// Reports that this number of bytes passed.
    pub(super) fn pass(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        (self.tell)(TransferStep::Passed(bytes));
    }

    /// Reports that all bytes passed.
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
