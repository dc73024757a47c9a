//! The executor of commands: a connection and the tally of their outcomes.

use crate::cli::exit::Tally;
use crate::cli::output::Output;
use crate::ftp::client::FtpClient;
use crate::ftp::path::FtpUrl;

/// Executes commands over one connection.
pub(super) struct Actor<'a> {
    pub(super) client: FtpClient,
    pub(super) out: &'a Output,
    pub(super) url: &'a FtpUrl,
    pub(super) dry_run: bool,
    pub(super) tally: Tally,
}
