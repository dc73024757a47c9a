//! Checksums of bytes in transit.

use std::sync::{Arc, Mutex, PoisonError};

use crate::ftp::checksum::{ChecksumAlgorithm, Digest};

/// Checksums computed locally.
pub(super) type LocalChecksums = Vec<(ChecksumAlgorithm, String)>;

/// Computes checksums of bytes in transit, for data that cannot be read again.
#[derive(Clone)]
pub(super) struct Tap(Arc<Mutex<Vec<Digest>>>);

impl Tap {
    pub(super) fn new(algorithms: &[ChecksumAlgorithm]) -> Tap {
        Tap(Arc::new(Mutex::new(algorithms.iter().copied().map(Digest::new).collect())))
    }

    pub(super) fn pass(&self, bytes: &[u8]) {
        let mut digests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        digests.iter_mut().for_each(|digest| digest.update(bytes));
    }

    pub(super) fn finish(self) -> LocalChecksums {
        finish(std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The checksums of all digests.
pub(super) fn finish(digests: Vec<Digest>) -> LocalChecksums {
    digests.into_iter().map(|digest| (digest.algorithm(), digest.finish())).collect()
}
