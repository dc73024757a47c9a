//! Arguments of what runs for long: where its log goes.

use std::path::PathBuf;

use crate::cli::output;

/// Where the log goes.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Append the log, one line of text per event, to FILE (made for its owner alone, no link); HUP opens it again
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Send the log to the local syslog daemon: daemon, mail, ftp, auth, local0 …
    #[arg(long, value_name = "FACILITY", num_args = 0..=1, require_equals = true, default_missing_value = "daemon",
        value_parser = output::facility)]
    pub syslog: Option<u8>,
}
