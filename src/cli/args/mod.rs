//! Argument groups that tools share: the same letter means the same thing everywhere.

mod confine;
mod net;
mod operate;
mod serve;

pub use confine::{ConfineArgs, appended_files, only_root_writes_beside};
pub use net::{LoginArgs, NetArgs, RetryArgs, TlsArgs, TrustArgs, proxy};
pub use operate::{Gauges, LogArgs, MetricsArgs, OperateArgs, gauge};
pub use serve::{ListenArgs, QueueArgs, ResolverArgs, ServeArgs, ServedUrl, print_password_hash, tell_ready};

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::parser::RawValues;
use clap::value_parser;

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
    /// Print JSON Lines: one object per record
    #[arg(long)]
    pub json: bool,
    /// Append records as JSON Lines to FILE (created with mode 0600, not through a link) or to an open descriptor, fd:N
    #[arg(long, value_name = "FILE|fd:N")]
    pub report: Option<OsString>,
    /// No progress, warnings or hints, and no words for the answer "no"; -qq: nor for temporary failures (75)
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "verbose")]
    pub quiet: u8,
    /// Show the dialogue with the peer on stderr, without secrets
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// End records with NUL and leave bytes unescaped
    #[arg(short = '0', long = "null", conflicts_with = "json")]
    pub nul: bool,
    /// When to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub color: Colour,
    // Both are read before the command line is parsed: see `options_file`.
    /// Read options from FILE, one per line, instead of the default files; - reads none
    #[arg(long, value_name = "FILE|-", help_heading = "Options files")]
    pub config: Option<PathBuf>,
    /// Print the options in force, each with its origin, and exit
    #[arg(long, help_heading = "Options files")]
    pub show_config: bool,
}

impl Colour {
    /// What arguments say that ask for help and so are not parsed to their end; the last word counts.
    pub fn named_in(arguments: &[OsString]) -> Colour {
        let words: Vec<&str> =
            arguments.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--").collect();
        let value = |(at, word): (usize, &&str)| {
            match word.strip_prefix("--color")? {
                "" => words.get(at + 1).copied(),
                rest => rest.strip_prefix('='),
            }
            .and_then(|value| <Colour as clap::ValueEnum>::from_str(value, false).ok())
        };
        words.iter().enumerate().filter_map(value).next_back().unwrap_or_default()
    }

    /// Whether colours are wanted on a stdout that is a `terminal` or not.
    pub fn is_wanted(self, terminal: bool) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        match self {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }
}

/// The argument that must be UTF-8 and is not, as usage names it, with its bytes: clap says only that there is one.
pub(super) fn not_utf8(command: fn() -> clap::Command, arguments: &[OsString]) -> Option<(String, OsString)> {
    let mut named = command();
    named.build();
    let takes_bytes = [value_parser!(OsString), value_parser!(PathBuf)].map(|parser| parser.type_id());
    let is_text =
        |arg: &&clap::Arg| arg.get_action().takes_values() && !takes_bytes.contains(&arg.get_value_parser().type_id());
    let texts: Vec<_> =
        named.get_arguments().filter(is_text).map(|arg| (arg.get_id().clone(), arg.to_string())).collect();
    // Read once more, as bytes. What stands in no value is a flag.
    let bytes = command().ignore_errors(true).mut_args(|arg| match texts.iter().any(|(id, _)| id == arg.get_id()) {
        true => arg.value_parser(value_parser!(OsString)),
        false => arg,
    });
    let matches = bytes.try_get_matches_from(arguments).ok();
    let odd = |values: RawValues<'_>| values.map(ToOwned::to_owned).find(|value: &OsString| value.to_str().is_none());
    let mut values = texts.into_iter().filter_map(|(id, usage)| {
        let values = matches.as_ref()?.try_get_raw(id.as_str()).ok().flatten()?;
        Some((usage, odd(values)?))
    });
    let flag =
        || arguments.iter().find(|word| word.to_str().is_none()).map(|word| ("argument".to_owned(), word.clone()));
    values.next().or_else(flag)
}

/// True when a question can be put to a person.
pub(crate) fn can_ask() -> bool {
    std::io::stderr().is_terminal() && PathBuf::from("/dev/tty").exists()
}
