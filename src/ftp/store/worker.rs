//! The worker of a session: a process that has become the session's user and serves its tree on a socket. It holds every rule of the
//! tree itself (rights, names, limits), so that a server that was broken into gets no more than the session may.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::net::SendFlags;

use super::wire::{MAX_WORKER_MESSAGE, OpenedUpload, compose_piece};
use super::{FtpStore, ListingLines, StoreShare, StoreUpload, TreeQuota, WorkerAnswer, WorkerRequest};
use crate::fault::plain;
use crate::ftp::session::{StoreAnswer, StoreOp, StoreRefusal, UploadMode};
use crate::net::helper::{receive, send};

/// The most uploads and listings that are open at once. A session has one.
const MAX_HELD: usize = 4;
/// The bytes that may be written before the worker counts them: it checks the free space then.
const MAX_ALLOWANCE: u64 = 16 << 20;

/// The worker's side of a tree.
#[derive(Debug)]
pub struct StoreWorker {
    store: FtpStore,
    /// A quota without a limit, which counts the bytes that operations remove.
    ledger: Arc<TreeQuota>,
    held: Vec<(u32, Held)>,
    last_id: u32,
    /// The new file that the last upload stored: it belongs to this session, in a drop box as well.
    fresh: Option<Vec<u8>>,
}

/// The state between the requests about an upload or a listing.
#[derive(Debug)]
enum Held {
    /// An upload, with its path if it is a new file.
    Upload(StoreUpload, Option<Vec<u8>>),
    Listing(ListingLines),
}

/// The bytes of an answer, and the file that goes with it.
type Answer = (Vec<u8>, Option<OwnedFd>);

impl StoreWorker {
    /// A worker for this tree.
    pub fn new(store: FtpStore) -> StoreWorker {
        let ledger = Arc::new(TreeQuota::ledger());
        let share = StoreShare { quota: Some(ledger.clone()), ..StoreShare::default() };
        // The server orders the uploads of all workers.
        let store = FtpStore { order: Arc::default(), ..store.with_share(Arc::new(share)) };
        StoreWorker { store, ledger, held: Vec::new(), last_id: 0, fresh: None }
    }

    /// Serves requests until the other side closes the socket.
    pub fn serve(mut self, socket: &OwnedFd) {
        while let Ok(Some((request, _))) = receive(socket, MAX_WORKER_MESSAGE) {
            let request = request.ok().and_then(|bytes| WorkerRequest::parse(&bytes));
            let (bytes, file) = self.answer(request);
            let files: Vec<_> = file.iter().map(AsFd::as_fd).collect();
            if send(socket, &bytes, &files, SendFlags::NOSIGNAL).is_err() {
                return;
            }
        }
    }

    fn answer(&mut self, request: Option<WorkerRequest>) -> Answer {
        let answered = match request {
            Some(request) => self.act(request),
            None => Err(StoreRefusal::Failed("no such request".to_owned())),
        };
        let refused = |refusal| (WorkerAnswer::Refused(refusal).compose().unwrap_or_default(), None);
        answered.unwrap_or_else(refused)
    }

    /// Carries out a request. Anything may be asked for, in any order.
    fn act(&mut self, request: WorkerRequest) -> Result<Answer, StoreRefusal> {
        if !self.may(&request) {
            return Err(StoreRefusal::Denied);
        }
        let mut file = None;
        let answer = match request {
            WorkerRequest::Run(StoreOp::Digest { .. } | StoreOp::List(_)) => {
                return Err(StoreRefusal::Failed("digests and listings are opened".to_owned()));
            }
            WorkerRequest::Run(op) => self.run(op)?,
            WorkerRequest::Send(path) => {
                let (opened, size) = self.store.send(&path)?;
                file = Some(opened.into());
                WorkerAnswer::Sending(size)
            }
            WorkerRequest::Receive { path, mode, replace } => {
                let (upload, name) = self.store.receive(&path, mode, replace)?;
                let (position, before, replaces) = upload.sizes();
                let copy = upload.file().try_clone().map_err(|error| StoreRefusal::Failed(plain(&error)))?;
                file = Some(copy.into());
                let allowance = upload.allowance().min(MAX_ALLOWANCE);
                let new = (mode == UploadMode::Whole && !replace).then_some(path);
                self.fresh = None;
                let target = upload.key().clone();
                let id = self.hold(Held::Upload(upload, new))?;
                WorkerAnswer::Receiving(OpenedUpload { id, allowance, position, before, replaces, name, target })
            }
            WorkerRequest::Wrote(_, bytes) | WorkerRequest::Commit(_, bytes) | WorkerRequest::BrokeOff(_, bytes, _)
                if bytes > i64::MAX.cast_unsigned() =>
            {
                return Err(StoreRefusal::TooLarge);
            }
            WorkerRequest::Wrote(id, bytes) => {
                let allowance = self.upload(id).and_then(|(upload, _)| {
                    upload.wrote(bytes)?;
                    Ok(upload.allowance().min(MAX_ALLOWANCE))
                });
                WorkerAnswer::Allowance(allowance?)
            }
            WorkerRequest::Commit(id, bytes) => {
                self.upload(id)?.0.wrote(bytes)?;
                let before = self.ledger.used();
                if let Some(Held::Upload(upload, new)) = self.take(id) {
                    upload.commit()?;
                    self.fresh = new;
                }
                WorkerAnswer::Done(StoreAnswer::Done, before.saturating_sub(self.ledger.used()))
            }
            WorkerRequest::BrokeOff(id, bytes, keep) => {
                self.upload(id)?.0.wrote(bytes)?;
                let kept = match self.take(id) {
                    Some(Held::Upload(upload, _)) => upload.broke_off(keep),
                    _ => None,
                };
                WorkerAnswer::Kept(kept)
            }
            WorkerRequest::List(listing, now) => {
                // Arithmetic with any other time could overflow.
                let lines = self.store.list(listing, now.clamp(0, i64::from(u32::MAX)))?;
                WorkerAnswer::Listing(self.hold(Held::Listing(lines))?)
            }
            WorkerRequest::Piece(id) => {
                let found = self.held.iter_mut().find(|(held, _)| *held == id);
                let Some((_, Held::Listing(lines))) = found else { return Err(StoreRefusal::NotFound) };
                let mut piece = Vec::new();
                let more = lines.next_piece(&mut piece)?;
                if !more {
                    self.take(id);
                }
                return Ok((compose_piece(more, &piece), None));
            }
            WorkerRequest::Discard(id) => {
                self.take(id);
                WorkerAnswer::Done(StoreAnswer::Done, 0)
            }
            WorkerRequest::Arrived(path) => WorkerAnswer::Arrived(self.store.arrived(&path).map(|it| {
                let bytes = |path: &std::path::Path| path.as_os_str().as_bytes().to_vec();
                (bytes(&it.file), bytes(&it.below), it.size)
            })),
            WorkerRequest::Umask(mask) => {
                self.store = self.store.clone().with_umask(mask & 0o777);
                WorkerAnswer::Done(StoreAnswer::Done, 0)
            }
            WorkerRequest::Usage => WorkerAnswer::Bytes(self.store.usage()?),
        };
        let bytes = answer.compose().ok_or_else(|| StoreRefusal::Failed("too long an answer".to_owned()))?;
        Ok((bytes, file))
    }

    fn run(&mut self, op: StoreOp) -> Result<WorkerAnswer, StoreRefusal> {
        // A new file of this session stays its own under a new name.
        let renamed = match &op {
            StoreOp::Rename(from, to, _) if self.fresh.as_ref() == Some(from) => Some(to.clone()),
            _ => None,
        };
        let before = self.ledger.used();
        let answer = self.store.run(op, 0, &|| true)?;
        self.fresh = renamed.or(self.fresh.take());
        Ok(WorkerAnswer::Done(answer, before.saturating_sub(self.ledger.used())))
    }

    /// The rights that the session's commands need ([`crate::ftp::session`] checks them before it asks).
    fn may(&self, request: &WorkerRequest) -> bool {
        let rights = self.store.rights();
        let at = |path: &[u8]| rights.at(path);
        let own = |path: &[u8]| at(path).upload && self.fresh.as_deref() == Some(path);
        match request {
            WorkerRequest::Run(op) => match op {
                StoreOp::Directory(_) => true,
                StoreOp::Exists(path) => at(path).rename || own(path),
                StoreOp::Room(path, _) => at(path).upload,
                StoreOp::Facts(path) | StoreOp::Available(path) => at(path).list,
                StoreOp::List(listing) => at(&listing.path).list,
                StoreOp::SetFacts { path, .. } => at(path).overwrite,
                StoreOp::Delete(path) => (at(path).delete || own(path)) && !rights.pins(path),
                StoreOp::MakeDirectory(path) => at(path).mkdir,
                StoreOp::RemoveDirectory(path) => at(path).delete && !rights.pins(path),
                StoreOp::Rename(from, to, replace) => {
                    rights.rename(from, to, own(from)).is_some_and(|may_replace| may_replace || !replace)
                }
                StoreOp::Digest { of, .. } => at(&of.path).read,
            },
            WorkerRequest::Send(path) => at(path).read,
            WorkerRequest::Receive { path, mode, replace } => {
                let mode = match mode {
                    UploadMode::Whole | UploadMode::Unique => at(path).upload,
                    UploadMode::Append | UploadMode::At(_) => at(path).append,
                };
                mode && (!replace || at(path).overwrite)
            }
            WorkerRequest::List(listing, _) => at(&listing.path).list,
            // Those that continue an earlier one, and those that reveal and change nothing of the tree.
            WorkerRequest::Wrote(..)
            | WorkerRequest::Commit(..)
            | WorkerRequest::BrokeOff(..)
            | WorkerRequest::Piece(_)
            | WorkerRequest::Discard(_)
            | WorkerRequest::Arrived(_)
            | WorkerRequest::Umask(_)
            | WorkerRequest::Usage => true,
        }
    }

    fn hold(&mut self, held: Held) -> Result<u32, StoreRefusal> {
        if self.held.len() >= MAX_HELD {
            return Err(StoreRefusal::Crowded);
        }
        self.last_id = self.last_id.wrapping_add(1);
        self.held.push((self.last_id, held));
        Ok(self.last_id)
    }

    fn take(&mut self, id: u32) -> Option<Held> {
        let at = self.held.iter().position(|(held, _)| *held == id)?;
        Some(self.held.swap_remove(at).1)
    }

    fn upload(&mut self, id: u32) -> Result<(&mut StoreUpload, &Option<Vec<u8>>), StoreRefusal> {
        match self.held.iter_mut().find(|(held, _)| *held == id) {
            Some((_, Held::Upload(upload, new))) => Ok((upload, new)),
            _ => Err(StoreRefusal::NotFound),
        }
    }
}
