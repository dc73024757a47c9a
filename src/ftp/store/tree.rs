//! The tree of a session: served by this process, or by a worker that has become the session's user.

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::link::{WorkerListing, WorkerTree, WorkerUpload};
use super::{ArrivedFile, FtpStore, ListingLines, StoreShare, StoreUpload, refusal};
use crate::fault::Fault;
use crate::ftp::session::{ListingRequest, StoreAnswer, StoreOp, StoreRefusal, TreeRights, UploadMode};

/// A tree and the rights of a login in it. The methods are those of [`FtpStore`].
#[derive(Debug, Clone)]
pub enum FtpTree {
    /// With the rights of this process.
    Local(FtpStore),
    /// With the rights of the user.
    Worker(WorkerTree),
}

/// A file being received.
#[derive(Debug)]
pub struct TreeUpload {
    target: ReceivingFile,
    /// The last bytes, which are written at the end.
    tail: Vec<u8>,
}

/// See [`StoreUpload`].
#[derive(Debug)]
enum ReceivingFile {
    /// Of this process.
    Local(StoreUpload),
    /// Of a worker.
    Worker(Box<WorkerUpload>),
}

/// A listing in progress: see [`ListingLines`].
#[derive(Debug)]
pub enum TreeListing {
    /// Of this process.
    Local(ListingLines),
    /// Of a worker.
    Worker(WorkerListing),
}

impl FtpTree {
    /// See [`FtpStore::owned_by`]. A worker knows its user.
    pub fn owned_by(self, owner: &str) -> FtpTree {
        match self {
            FtpTree::Local(store) => FtpTree::Local(store.owned_by(owner)),
            worker @ FtpTree::Worker(_) => worker,
        }
    }

    /// See [`FtpStore::with_umask`].
    pub fn with_umask(self, umask: u32) -> FtpTree {
        match self {
            FtpTree::Local(store) => FtpTree::Local(store.with_umask(umask)),
            FtpTree::Worker(worker) => {
                worker.set_umask(umask);
                FtpTree::Worker(worker)
            }
        }
    }

    /// See [`FtpStore::with_share`].
    pub fn with_share(self, share: Arc<StoreShare>) -> FtpTree {
        match self {
            FtpTree::Local(store) => FtpTree::Local(store.with_share(share)),
            FtpTree::Worker(worker) => FtpTree::Worker(worker.with_share(share)),
        }
    }

    /// See [`FtpStore::share`].
    pub fn share(&self) -> &StoreShare {
        match self {
            FtpTree::Local(store) => store.share(),
            FtpTree::Worker(worker) => worker.share(),
        }
    }

    /// See [`FtpStore::rights`].
    pub fn rights(&self) -> &TreeRights {
        match self {
            FtpTree::Local(store) => store.rights(),
            FtpTree::Worker(worker) => worker.rights(),
        }
    }

    /// The fault that ends the session: nobody serves the tree any more.
    pub fn lost(&self) -> Option<Fault> {
        match self {
            FtpTree::Local(_) => None,
            FtpTree::Worker(worker) => worker.lost(),
        }
    }

    /// The bytes of all files in the tree.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn usage(&self) -> Result<u64, StoreRefusal> {
        match self {
            FtpTree::Local(store) => store.usage(),
            FtpTree::Worker(worker) => worker.usage(),
        }
    }

    /// See [`FtpStore::arrived`].
    pub fn arrived(&self, path: &[u8]) -> Option<ArrivedFile> {
        match self {
            FtpTree::Local(store) => store.arrived(path),
            FtpTree::Worker(worker) => worker.arrived(path),
        }
    }

    /// See [`FtpStore::send`].
    ///
    /// # Errors
    /// Those of [`FtpStore::send`]; [`StoreRefusal::Failed`] without a worker. The same applies to the following methods.
    pub fn send(&self, path: &[u8]) -> Result<(File, u64), StoreRefusal> {
        match self {
            FtpTree::Local(store) => store.send(path),
            FtpTree::Worker(worker) => worker.send(path),
        }
    }

    /// See [`FtpStore::run`].
    ///
    /// # Errors
    /// As above.
    pub fn run(&self, op: StoreOp, now: i64, go_on: &dyn Fn() -> bool) -> Result<StoreAnswer, StoreRefusal> {
        match self {
            FtpTree::Local(store) => store.run(op, now, go_on),
            FtpTree::Worker(worker) => worker.run(op, now, go_on),
        }
    }

    /// See [`FtpStore::receive`].
    ///
    /// # Errors
    /// As above.
    pub fn receive(
        &self,
        path: &[u8],
        mode: UploadMode,
        replace: bool,
    ) -> Result<(TreeUpload, Option<Vec<u8>>), StoreRefusal> {
        let (target, name) = match self {
            FtpTree::Local(store) => {
                let (upload, name) = store.receive(path, mode, replace)?;
                (ReceivingFile::Local(upload), name)
            }
            FtpTree::Worker(worker) => {
                let (upload, name) = worker.receive(path, mode, replace)?;
                (ReceivingFile::Worker(Box::new(upload)), name)
            }
        };
        Ok((TreeUpload { target, tail: Vec::new() }, name))
    }

    /// See [`FtpStore::list`].
    ///
    /// # Errors
    /// As above.
    pub fn list(&self, listing: ListingRequest, now: i64) -> Result<TreeListing, StoreRefusal> {
        match self {
            FtpTree::Local(store) => store.list(listing, now).map(TreeListing::Local),
            FtpTree::Worker(worker) => worker.list(listing, now).map(TreeListing::Worker),
        }
    }
}

impl TreeUpload {
    /// See [`StoreUpload::file`].
    pub fn file(&self) -> &File {
        match &self.target {
            ReceivingFile::Local(upload) => upload.file(),
            ReceivingFile::Worker(upload) => upload.file(),
        }
    }

    /// See [`StoreUpload::is_in_place`].
    pub fn is_in_place(&self) -> bool {
        match &self.target {
            ReceivingFile::Local(upload) => upload.is_in_place(),
            ReceivingFile::Worker(upload) => upload.is_in_place(),
        }
    }

    /// See [`StoreUpload::waits_for_disk`].
    pub fn waits_for_disk(&self) -> bool {
        match &self.target {
            ReceivingFile::Local(upload) => upload.waits_for_disk(),
            ReceivingFile::Worker(upload) => upload.waits_for_disk(),
        }
    }

    /// Writes bytes and counts them.
    ///
    /// # Errors
    /// Those of the file and of [`StoreUpload::wrote`]; [`StoreRefusal::Failed`] without a worker. The same applies to the following
    /// methods.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreRefusal> {
        io::Write::write_all(&mut self.file(), bytes).map_err(refusal)?;
        self.wrote(bytes.len() as u64)
    }

    /// Leaves the last bytes to the end of the upload, which writes them: a small upload is one piece of work then.
    pub fn hold(&mut self, tail: Vec<u8>) {
        self.tail = tail;
    }

    fn write_tail(&mut self) -> Result<(), StoreRefusal> {
        let tail = std::mem::take(&mut self.tail);
        if tail.is_empty() { Ok(()) } else { self.write(&tail) }
    }

    pub(super) fn wrote(&mut self, bytes: u64) -> Result<(), StoreRefusal> {
        match &mut self.target {
            ReceivingFile::Local(upload) => upload.wrote(bytes),
            ReceivingFile::Worker(upload) => upload.wrote(bytes),
        }
    }

    /// See [`StoreUpload::settle`].
    ///
    /// # Errors
    /// As above.
    pub fn settle(&mut self) -> Result<(), StoreRefusal> {
        if self.is_in_place() || !self.waits_for_disk() {
            return Ok(());
        }
        self.write_tail()?;
        match &mut self.target {
            ReceivingFile::Local(upload) => upload.settle(),
            ReceivingFile::Worker(upload) => upload.settle(),
        }
    }

    /// See [`StoreUpload::commit`].
    ///
    /// # Errors
    /// As above.
    pub fn commit(mut self) -> Result<(), StoreRefusal> {
        if let Err(refusal) = self.write_tail() {
            self.refused();
            return Err(refusal);
        }
        match self.target {
            ReceivingFile::Local(upload) => upload.commit(),
            ReceivingFile::Worker(upload) => upload.commit(),
        }
    }

    /// See [`StoreUpload::refused`].
    pub fn refused(self) {
        match self.target {
            ReceivingFile::Local(upload) => upload.refused(),
            ReceivingFile::Worker(upload) => upload.refused(),
        }
    }

    /// See [`StoreUpload::broke_off`].
    pub fn broke_off(mut self, keep: bool) {
        if keep || self.is_in_place() {
            // What cannot be written is missing, as what never came.
            let _ = self.write_tail();
        }
        match self.target {
            ReceivingFile::Local(upload) => drop(upload.broke_off(keep)),
            ReceivingFile::Worker(upload) => upload.broke_off(keep),
        }
    }
}

impl TreeListing {
    /// See [`ListingLines::next_piece`].
    ///
    /// # Errors
    /// Those of [`ListingLines::next_piece`]; [`StoreRefusal::Failed`] without a worker.
    pub fn next_piece(&mut self, out: &mut Vec<u8>) -> Result<bool, StoreRefusal> {
        match self {
            TreeListing::Local(lines) => lines.next_piece(out),
            TreeListing::Worker(lines) => lines.next_piece(out),
        }
    }
}
