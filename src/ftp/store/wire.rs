//! The messages between a session and the worker that serves its tree: one request, one answer, each one message on a socket. Both
//! sides treat what they read as hostile. Paths and file contents are not checked here: the worker's store does that.

use serde::{Deserialize, Serialize};

use crate::ftp::session::{ListingRequest, StoreAnswer, StoreOp, StoreRefusal, UploadMode};

/// The longest message in bytes: two of the longest paths, or a piece of a listing.
pub(super) const MAX_WORKER_MESSAGE: usize = 64 << 10;

/// A request of a session to its worker. An `id` names an upload or a listing that an earlier answer opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerRequest {
    /// [`super::FtpStore::run`], for every operation but digests and listings.
    Run(StoreOp),
    /// [`super::FtpStore::send`]: the answer carries the open file.
    Send(Vec<u8>),
    /// [`super::FtpStore::receive`]: the answer carries the open file.
    Receive {
        /// The path.
        path: Vec<u8>,
        /// The storage mode.
        mode: UploadMode,
        /// An existing file may be replaced or changed.
        replace: bool,
    },
    /// So many bytes were written to an upload since the last request about it ([`super::StoreUpload::wrote`]).
    Wrote(u32, u64),
    /// The same, and the upload is complete ([`super::StoreUpload::commit`]).
    Commit(u32, u64),
    /// The same, and the upload was interrupted ([`super::StoreUpload::broke_off`]); `true`: the part is kept.
    BrokeOff(u32, u64, bool),
    /// [`super::FtpStore::list`], with the time in seconds since 1970.
    List(ListingRequest, i64),
    /// The next piece of a listing.
    Piece(u32),
    /// An upload or a listing ends without a result.
    Discard(u32),
    /// [`super::FtpStore::arrived`].
    Arrived(Vec<u8>),
    /// [`super::FtpStore::with_umask`].
    Umask(u32),
    /// The bytes of all files below the root, for a quota.
    Usage,
}

/// The answer of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkerAnswer {
    /// The result of an operation, and the bytes of files that it removed.
    Done(StoreAnswer, u64),
    /// The request is refused.
    Refused(StoreRefusal),
    /// A file was opened for sending; its size.
    Sending(u64),
    /// An upload was opened.
    Receiving(OpenedUpload),
    /// A listing was opened.
    Listing(u32),
    /// The bytes that may be written before the next [`WorkerRequest::Wrote`].
    Allowance(u64),
    /// The bytes that an interrupted upload left under its name.
    Kept(Option<u64>),
    /// The location of a plain file: its path, its path below the root, its size; `None` if there is no plain file.
    Arrived(Option<(Vec<u8>, Vec<u8>, u64)>),
    /// A number of bytes.
    Bytes(u64),
}

/// An opened upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedUpload {
    /// Its number.
    pub id: u32,
    /// The bytes that may be written before the next [`WorkerRequest::Wrote`].
    pub allowance: u64,
    /// The size of the file with all bytes received so far.
    pub position: u64,
    /// The size of the file that is written or replaced.
    pub before: u64,
    /// The file gets its name when it is complete.
    pub replaces: bool,
    /// The name that STOU chose.
    pub name: Option<Vec<u8>>,
    /// The target in the order of uploads: device and inode of the directory, and the name.
    pub target: (u64, u64, Vec<u8>),
}

/// The bytes of a message. `None` if it is too long.
fn compose(message: &impl Serialize) -> Option<Vec<u8>> {
    serde_json::to_vec(message).ok().filter(|bytes| bytes.len() <= MAX_WORKER_MESSAGE)
}

impl WorkerRequest {
    /// Encodes the request. `None` if it is too long.
    pub fn compose(&self) -> Option<Vec<u8>> {
        compose(self)
    }

    /// Decodes a request.
    pub fn parse(bytes: &[u8]) -> Option<WorkerRequest> {
        serde_json::from_slice(bytes).ok()
    }
}

impl WorkerAnswer {
    /// Encodes the answer. `None` if it is too long.
    pub fn compose(&self) -> Option<Vec<u8>> {
        compose(self)
    }

    /// Decodes an answer.
    pub fn parse(bytes: &[u8]) -> Option<WorkerAnswer> {
        serde_json::from_slice(bytes).ok()
    }
}

/// A piece of a listing begins with this byte, which begins no JSON.
const PIECE: u8 = b'+';
/// The last piece of a listing begins with this byte.
const LAST_PIECE: u8 = b'.';

/// Encodes a piece of a listing; `more` follow.
pub(super) fn compose_piece(more: bool, piece: &[u8]) -> Vec<u8> {
    [&[if more { PIECE } else { LAST_PIECE }], piece].concat()
}

/// Decodes a piece of a listing.
pub(super) fn parse_piece(bytes: &[u8]) -> Option<(bool, &[u8])> {
    match bytes.split_first()? {
        (&PIECE, piece) => Some((true, piece)),
        (&LAST_PIECE, piece) => Some((false, piece)),
        _ => None,
    }
}
