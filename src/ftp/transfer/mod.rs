//! One file over one data connection: receive and send, resume, and the proof that all of it arrived.

mod copy;
mod local;
mod range;
mod receive;
mod send;
mod stored;
mod verify;

pub use copy::Progress;
pub use local::{LocalDir, Origin, Part};
pub use range::Range;
pub use receive::{Get, Got, fetch_ahead, fetch_part, fetch_range, fetch_to};
pub use send::{Put, PutDone, Replace, Source, store, upload, upload_ahead};
pub use stored::Stored;
pub use verify::Checks;

use crate::fault::{Fault, Kind};
use crate::ftp::client::Client;
use crate::ftp::command::Command;

/// Ends the transfer of `command` after its bytes went wrong: the server's own explanation is worth more than ours, if it
/// comes soon. The connection is of no use afterwards.
async fn explain(client: &mut Client, command: &Command, fault: Fault) -> Fault {
    // What failed here, on our disk or at our pipe, is no news of the server's.
    if matches!(fault.kind, Kind::Cancelled | Kind::CannotCreate | Kind::Io | Kind::Internal) {
        return client.abandon(fault);
    }
    match client.refusal().await {
        Some(reply) => reply.fault(command.verb(), Kind::Refused),
        None => client.abandon(fault),
    }
}
