//! One file over one data connection: receive and send, resume, and the proof that all of it arrived.

mod copy;
mod local;
mod range;
mod receive;
mod send;
mod stored;
mod verify;

pub use copy::ByteProgress;
pub use local::{LocalDir, Origin, PartFile};
pub use range::Range;
pub use receive::{Get, Got, fetch_ahead, fetch_part, fetch_range, fetch_to};
pub use send::{OpenFile, Put, PutDone, ReplaceMode, store, upload, upload_ahead};
pub use stored::PendingUpload;
pub use verify::Checks;

use crate::fault::{Fault, Kind};
use crate::ftp::client::FtpClient;
use crate::ftp::command::FtpCommand;

/// Ends the transfer of `command` after its bytes went wrong: the server's own explanation is worth more than ours, if it
/// comes soon. The connection is of no use afterwards.
async fn explain(client: &mut FtpClient, command: &FtpCommand, fault: Fault) -> Fault {
    // What failed here, on our disk or at our pipe, is no news of the server's.
    if matches!(fault.kind, Kind::Cancelled | Kind::CannotCreate | Kind::Io | Kind::Internal) {
        return client.abandon(fault);
    }
    match client.refusal().await {
        Some(reply) => reply.fault(command.verb(), Kind::Refused),
        None => client.abandon(fault),
    }
}
