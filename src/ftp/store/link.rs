//! The server's side of a tree that a worker serves: it asks, and moves the bytes of files itself, through the descriptors that the
//! worker opened as the user.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{SendFlags, Shutdown, shutdown};
use tokio::task::block_in_place;

use super::order::{UploadOrder, UploadTurn};
use super::quota::QuotaShare;
use super::wire::{MAX_WORKER_MESSAGE, OpenedUpload, parse_piece};
use super::{ArrivedFile, StoreShare, UploadLimits, UploadSync, WorkerAnswer, WorkerRequest, digest, list};
use crate::fault::{Fault, Kind};
use crate::ftp::session::{ListingRequest, StoreAnswer, StoreOp, StoreRefusal, TreeRights, UploadMode};
use crate::net::helper::{receive, send};

/// The time after which a worker counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// The socket of a worker.
#[derive(Debug)]
struct WorkerLink {
    socket: Mutex<OwnedFd>,
    /// No answer comes any more.
    lost: AtomicBool,
}

/// A tree that a worker serves. Dropping the last copy ends the worker.
#[derive(Debug, Clone)]
pub struct WorkerTree {
    link: Arc<WorkerLink>,
    rights: TreeRights,
    limits: UploadLimits,
    share: Arc<StoreShare>,
}

fn odd() -> StoreRefusal {
    StoreRefusal::Failed("an answer of the user's process that is none".to_owned())
}

/// Anything but a plain file could block the server.
fn plain_file(file: OwnedFd) -> Result<File, StoreRefusal> {
    let file = File::from(file);
    if file.metadata().is_ok_and(|found| found.is_file()) { Ok(file) } else { Err(odd()) }
}

impl WorkerLink {
    /// The answer to a request. A worker that ended, hangs or breaks the protocol is never asked again.
    fn ask(&self, request: &WorkerRequest) -> Result<(Vec<u8>, Option<OwnedFd>), StoreRefusal> {
        let bytes = request.compose().ok_or(StoreRefusal::BadName)?;
        block_in_place(|| {
            let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
            let exchange = || {
                if self.lost.load(Ordering::SeqCst) {
                    return Err(Errno::PIPE);
                }
                send(&socket, &bytes, &[], SendFlags::NOSIGNAL)?;
                match receive(&socket, MAX_WORKER_MESSAGE)? {
                    Some((Ok(answer), files)) => Ok((answer, files.into_iter().next())),
                    _ => Err(Errno::PIPE),
                }
            };
            exchange().map_err(|errno| {
                self.lost.store(true, Ordering::SeqCst);
                // It ends as soon as it can.
                let _ = shutdown(&*socket, Shutdown::Both);
                StoreRefusal::Failed(match errno {
                    Errno::AGAIN => "the user's process does not answer: its disk hangs".to_owned(),
                    _ => "the user's process has ended".to_owned(),
                })
            })
        })
    }

    fn answer(&self, request: &WorkerRequest) -> Result<(WorkerAnswer, Option<OwnedFd>), StoreRefusal> {
        let (bytes, file) = self.ask(request)?;
        match WorkerAnswer::parse(&bytes).ok_or_else(odd)? {
            WorkerAnswer::Refused(refusal) => Err(refusal),
            answer => Ok((answer, file)),
        }
    }
}

impl WorkerTree {
    /// The tree behind this socket, with these rights and limits.
    ///
    /// # Errors
    /// The socket is none.
    pub fn new(socket: OwnedFd, rights: TreeRights, limits: UploadLimits) -> Result<WorkerTree, Errno> {
        for which in [Timeout::Send, Timeout::Recv] {
            set_socket_timeout(&socket, which, Some(PATIENCE))?;
        }
        let link = Arc::new(WorkerLink { socket: Mutex::new(socket), lost: AtomicBool::new(false) });
        Ok(WorkerTree { link, rights, limits, share: Arc::default() })
    }

    /// The fault that ends the session, once the worker is lost.
    pub(super) fn lost(&self) -> Option<Fault> {
        let lost = self.link.lost.load(Ordering::SeqCst);
        lost.then(|| Fault::new(Kind::Io, "the process that serves the user's files has ended, or hangs"))
    }

    #[cfg(test)]
    pub(super) fn shorten_patience(&self, set: impl FnOnce(&OwnedFd)) {
        set(&self.link.socket.lock().unwrap());
    }

    pub(super) fn with_share(self, share: Arc<StoreShare>) -> WorkerTree {
        WorkerTree { share, ..self }
    }

    pub(super) fn share(&self) -> &StoreShare {
        &self.share
    }

    pub(super) fn rights(&self) -> &TreeRights {
        &self.rights
    }

    pub(super) fn set_umask(&self, mask: u32) {
        // A lost worker is found by the next operation.
        let _ = self.link.answer(&WorkerRequest::Umask(mask));
    }

    pub(super) fn usage(&self) -> Result<u64, StoreRefusal> {
        match self.link.answer(&WorkerRequest::Usage)? {
            (WorkerAnswer::Bytes(bytes), _) => Ok(bytes),
            _ => Err(odd()),
        }
    }

    pub(super) fn run(&self, op: StoreOp, now: i64, go_on: &dyn Fn() -> bool) -> Result<StoreAnswer, StoreRefusal> {
        match op {
            StoreOp::List(listing) => {
                let mut lines = self.list(listing, now)?;
                list::status(|text| lines.next_piece(text), go_on)
            }
            StoreOp::Digest { of, or, algorithm } => digest::answer(|path| self.send(path), (of, or), algorithm, go_on),
            op => match self.link.answer(&WorkerRequest::Run(op))? {
                (WorkerAnswer::Done(answer, freed), _) => {
                    self.share.quota.iter().for_each(|quota| quota.give(freed));
                    Ok(answer)
                }
                _ => Err(odd()),
            },
        }
    }

    pub(super) fn send(&self, path: &[u8]) -> Result<(File, u64), StoreRefusal> {
        match self.link.answer(&WorkerRequest::Send(path.to_vec()))? {
            (WorkerAnswer::Sending(size), Some(file)) => Ok((plain_file(file)?, size)),
            _ => Err(odd()),
        }
    }

    pub(super) fn receive(
        &self,
        path: &[u8],
        mode: UploadMode,
        replace: bool,
    ) -> Result<(WorkerUpload, Option<Vec<u8>>), StoreRefusal> {
        let request = WorkerRequest::Receive { path: path.to_vec(), mode, replace };
        let (WorkerAnswer::Receiving(mut opened), Some(file)) = self.link.answer(&request)? else {
            return Err(odd());
        };
        let name = opened.name.take();
        let (link, sync, file) = (self.link.clone(), self.limits.sync, plain_file(file)?);
        let mut quota = self.share.quota.as_ref().map(|quota| QuotaShare::new(quota, opened.before));
        if let Some(quota) = quota.as_mut().filter(|_| !opened.replaces) {
            quota.writes(&file);
        }
        // Other sessions of the user have workers of their own.
        let turn = UploadOrder::of_process().begin_at(std::mem::take(&mut opened.target));
        Ok((WorkerUpload { link, file, opened, uncounted: 0, quota, turn, sync, settled: false, ended: false }, name))
    }

    pub(super) fn list(&self, listing: ListingRequest, now: i64) -> Result<WorkerListing, StoreRefusal> {
        match self.link.answer(&WorkerRequest::List(listing, now))? {
            (WorkerAnswer::Listing(id), _) => Ok(WorkerListing { link: self.link.clone(), id, ended: false }),
            _ => Err(odd()),
        }
    }

    pub(super) fn arrived(&self, path: &[u8]) -> Option<ArrivedFile> {
        let answer = self.link.answer(&WorkerRequest::Arrived(path.to_vec())).ok()?;
        let (WorkerAnswer::Arrived(Some((file, below, size))), _) = answer else { return None };
        let path = |bytes: Vec<u8>| PathBuf::from(OsStr::from_bytes(&bytes));
        Some(ArrivedFile { file: path(file), below: path(below), size })
    }
}

/// An upload that a worker opened. The quota is counted here, since all sessions of a user share it.
#[derive(Debug)]
pub struct WorkerUpload {
    link: Arc<WorkerLink>,
    file: File,
    opened: OpenedUpload,
    /// Written bytes that the worker does not know of.
    uncounted: u64,
    quota: Option<QuotaShare>,
    turn: Box<UploadTurn>,
    sync: UploadSync,
    /// The data is on the disk.
    settled: bool,
    /// The worker has forgotten the upload.
    ended: bool,
}

impl WorkerUpload {
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn wrote(&mut self, bytes: u64) -> Result<(), StoreRefusal> {
        let OpenedUpload { id, replaces, .. } = self.opened;
        self.opened.position += bytes;
        self.uncounted += bytes;
        if let Some(quota) = &mut self.quota
            && let Err(refused) = quota.grew(self.opened.position, replaces)
        {
            self.take_back();
            return Err(refused);
        }
        if self.uncounted >= self.opened.allowance {
            match self.link.answer(&WorkerRequest::Wrote(id, std::mem::take(&mut self.uncounted)))? {
                (WorkerAnswer::Allowance(allowance), _) => self.opened.allowance = allowance,
                _ => return Err(odd()),
            }
        }
        Ok(())
    }

    pub(super) fn is_in_place(&self) -> bool {
        !self.opened.replaces
    }

    pub(super) fn waits_for_disk(&self) -> bool {
        self.sync != UploadSync::Nothing
    }

    /// What takes long happens here: a worker that does not answer counts as hung.
    pub(super) fn settle(&mut self) -> Result<(), StoreRefusal> {
        self.sync.apply(&self.file)?;
        self.settled = true;
        Ok(())
    }

    pub(super) fn commit(mut self) -> Result<(), StoreRefusal> {
        if !self.settled {
            self.settle()?;
        }
        let request = WorkerRequest::Commit(self.opened.id, self.uncounted);
        let done = self.turn.complete(|| self.link.answer(&request));
        if let Ok((WorkerAnswer::Done(_, freed), _)) = &done {
            self.end(*freed);
        } else {
            self.take_back();
        }
        done.map(drop)
    }

    pub(super) fn refused(self) {
        self.take_back();
    }

    /// Discards the data that was appended.
    fn take_back(&self) {
        if self.is_in_place() {
            let _ = self.file.set_len(self.opened.before);
        }
    }

    pub(super) fn broke_off(mut self, keep: bool) {
        let request = WorkerRequest::BrokeOff(self.opened.id, self.uncounted, keep);
        if let Ok((WorkerAnswer::Kept(kept), _)) = self.link.answer(&request) {
            match kept {
                Some(_) => self.end(0),
                None => self.ended = true,
            }
        }
    }

    /// The file has its name, and so many bytes of the file that had the name before are gone.
    fn end(&mut self, freed: u64) {
        self.ended = true;
        if let Some(quota) = self.quota.as_mut().filter(|_| self.opened.replaces) {
            quota.placed(freed);
        }
    }
}

impl Drop for WorkerUpload {
    fn drop(&mut self) {
        if let Some(quota) = self.quota.as_mut().filter(|_| !self.opened.replaces) {
            quota.settle(&self.file);
        }
        if !self.ended {
            let _ = self.link.answer(&WorkerRequest::Discard(self.opened.id));
        }
    }
}

/// A listing that a worker generates.
#[derive(Debug)]
pub struct WorkerListing {
    link: Arc<WorkerLink>,
    id: u32,
    /// The worker has forgotten the listing.
    ended: bool,
}

impl WorkerListing {
    pub(super) fn next_piece(&mut self, out: &mut Vec<u8>) -> Result<bool, StoreRefusal> {
        if self.ended {
            return Ok(false);
        }
        let (bytes, _) = self.link.ask(&WorkerRequest::Piece(self.id))?;
        match (parse_piece(&bytes), WorkerAnswer::parse(&bytes)) {
            (Some((more, piece)), _) => {
                out.extend_from_slice(piece);
                self.ended = !more;
                Ok(more)
            }
            (None, Some(WorkerAnswer::Refused(refusal))) => Err(refusal),
            _ => Err(odd()),
        }
    }
}

impl Drop for WorkerListing {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.link.answer(&WorkerRequest::Discard(self.id));
        }
    }
}
