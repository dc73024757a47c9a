//! One file over one data connection: receive and send, resume, and the proof that all of it arrived.

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

/// How it is known that a transfer is complete; the strongest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proof {
    /// Nothing was transferred.
    #[default]
    Nothing,
    /// 226 and a clean end: the server tells no size.
    Reply,
    /// The sizes agree.
    Size,
    /// Size and time, asked for again afterwards, agree.
    SizeAndTime,
    /// The server's checksum.
    Hash,
    /// The SHA-256 that the user gave.
    Sha256,
}

impl Proof {
    /// The word in records (`verified_by`); empty where nothing was transferred.
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

/// What is told of one transfer.
#[derive(Debug, Clone, Default)]
pub struct Transferred {
    /// The size of the whole file, where it is known.
    pub size: Option<u64>,
    /// Bytes that went over the wire.
    pub bytes: u64,
    /// Bytes of an earlier run.
    pub resumed_from: u64,
    /// The modification time (UTC) that the copy has of the original.
    pub modified: Option<i64>,
    /// The permission bits that the copy was given.
    pub mode: Option<u32>,
    /// How completeness is known.
    pub proof: Proof,
    /// It changed while it was fetched: what came is whole by the size that was asked for afterwards.
    pub changed: bool,
    /// The checksum that was compared.
    pub checksum: Option<(ChecksumAlgorithm, String)>,
    /// How long it took.
    pub elapsed: Duration,
    /// The final reply's text; empty when nothing was left to be transferred.
    pub reply: String,
    /// What TLS settled on the data connection.
    pub tls: Option<TlsInfo>,
}

/// Ends the transfer of `command` after its bytes went wrong: the server's own explanation is worth more than ours, if it
/// comes soon. The connection is of no use afterwards.
async fn explain(client: &mut FtpClient, command: &FtpCommand, fault: Fault) -> Fault {
    // What failed here, on our disk, at our pipe or by our own deadline, is no news of the server's.
    use Kind::{Cancelled, CannotCreate, Internal, Io, StorageFull, TimedOut};
    if matches!(fault.kind, Cancelled | CannotCreate | StorageFull | Io | Internal | TimedOut) {
        return client.abandon(fault);
    }
    match client.refusal().await {
        Some(reply) => reply.fault(command.verb(), Kind::Refused),
        None => client.abandon(fault),
    }
}
