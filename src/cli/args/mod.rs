//! Argument groups that tools share: the same letter means the same thing everywhere.

mod net;
mod operate;
mod serve;

pub use net::{LoginArgs, NetArgs, RetryArgs, TlsArgs, TrustArgs};
pub use operate::{Gauges, LogArgs, OperateArgs, gauge};
pub use serve::{ListenArgs, QueueArgs, ResolverArgs, ServeArgs, print_password_hash};

use std::io::IsTerminal;
use std::path::PathBuf;

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How to print.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Print JSON Lines: one object a record
    #[arg(long)]
    pub json: bool,
    /// Append records as JSON Lines to FILE (made for its owner alone, no link) or to an open descriptor, fd:N
    #[arg(long, value_name = "FILE|fd:N")]
    pub report: Option<String>,
    /// No progress, warnings or hints; errors stay
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Show the dialogue with the peer on stderr, without secrets
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// End records with NUL and leave bytes unescaped
    #[arg(short = '0', long = "null", conflicts_with = "json")]
    pub nul: bool,
    /// When to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub color: Colour,
}

impl OutputArgs {
    /// Whether colours are wanted on a stdout that is a `terminal` or not.
    pub fn colour(&self, terminal: bool) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }
}

/// True when a question can be put to a person.
pub(crate) fn can_ask() -> bool {
    std::io::stderr().is_terminal() && PathBuf::from("/dev/tty").exists()
}
