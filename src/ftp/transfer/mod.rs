//! One file over one data connection: receiving, sending, resuming, and the proof of completeness.

mod copy;
mod local;
mod part_file;
mod progress;
mod range;
mod receive;
mod resume;
mod send;
mod stored;
mod tap;
mod verify;

pub use local::LocalDir;
pub use part_file::{FinalState, PartFile};
pub use progress::{TransferProgress, TransferStep};
pub use range::Range;
pub use receive::{Get, fetch_ahead, fetch_part, fetch_range, fetch_to, refusal_of_named};
pub use resume::{SourceClaim, is_worth_resuming, source_tag};
pub(crate) use send::temporary_path;
pub use send::{OpenFile, Put, ReplaceMode, store, upload, upload_ahead};
pub use stored::PendingUpload;
pub use verify::Checks;

use std::time::Duration;

use crate::fault::{Fault, Kind};
use crate::ftp::checksum::ChecksumAlgorithm;
use crate::ftp::client::FtpClient;
use crate::ftp::command::FtpCommand;
use crate::net::stream::TlsInfo;

/// The proof that a transfer is complete, from the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proof {
    /// Nothing was transferred.
    #[default]
    Nothing,
    /// A 226 reply and a clean end of the data connection: the server reports no size.
    Reply,
    /// The sizes agree.
    Size,
    /// Size and modification time, requested again after the transfer, agree.
    SizeAndTime,
    /// The server's checksum agrees.
    Hash,
    /// The SHA-256 that the user gave agrees.
    Sha256,
}

impl Proof {
    /// The value in records (`verified_by`); empty if nothing was transferred.
    pub const fn as_str(self) -> &'static str {
        match self {
            Proof::Nothing => "",
            Proof::Reply => "reply",
            Proof::Size => "size",
            Proof::SizeAndTime => "size_and_time",
            Proof::Hash => "hash",
            Proof::Sha256 => "sha256",
        }
    }
}

/// The result of one transfer.
#[derive(Debug, Clone, Default)]
pub struct Transferred {
    /// The size of the whole file, if known.
    pub size: Option<u64>,
    /// The number of bytes on the wire.
    pub bytes: u64,
    /// The number of bytes from an earlier run.
    pub resumed_from: u64,
    /// The modification time (UTC) of the original, which the copy got.
    pub modified: Option<i64>,
    /// The permission bits that the copy got.
    pub mode: Option<u32>,
    /// The proof of completeness.
    pub proof: Proof,
    /// The file changed during the download; the copy is complete by the size that was requested afterwards.
    pub changed: bool,
    /// The checksum that was compared.
    pub checksum: Option<(ChecksumAlgorithm, String)>,
    /// The duration.
    pub elapsed: Duration,
    /// The final reply (code and text); empty if nothing was left to transfer.
    pub reply: String,
    /// The TLS parameters of the data connection.
    pub tls: Option<TlsInfo>,
}

/// Ends the transfer of `command` after its data connection failed. The server's explanation is preferred to the local one if
/// it comes soon; without one the connection is unusable afterwards.
async fn explain(client: &mut FtpClient, command: &FtpCommand, fault: Fault) -> Fault {
    // The server cannot explain a local failure: of the disk, of a pipe, or by a local deadline.
    use Kind::{Cancelled, CannotCreate, Internal, Io, StorageFull, TimedOut};
    if matches!(fault.kind, Cancelled | CannotCreate | StorageFull | Io | Internal | TimedOut) {
        return client.abandon(fault);
    }
    match client.refusal().await {
        Some(reply) => reply.fault(command.verb(), Kind::Refused),
        None => client.abandon(fault),
    }
}
