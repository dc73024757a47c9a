//! The output for command lines that start no run: help, version, and mistakes.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::sink::check_stdout;
use super::stderr;
use crate::cli::args::{self, Colour};
use crate::cli::escape;
use crate::cli::exit::Exit;
use crate::cli::foreign::{self, ForeignWords};
use crate::fault::{Fault, Kind, plain_words};
use crate::secret::{without_password, without_url_password};

/// Prints clap's answer to a command line: help and version on stdout, a mistake as one line on stderr and a hint, which names the
/// equivalent here of another tool's word.
pub fn print_parse_result(
    tool: &str,
    error: &clap::Error,
    (command, arguments): (fn() -> clap::Command, &[OsString]),
    foreign: &[ForeignWords],
) -> Exit {
    if !error.use_stderr() {
        let text = error.render();
        let colour = Colour::named_in(arguments).is_wanted(io::stdout().is_terminal());
        return print_data(tool, &if colour { text.ansi().to_string() } else { text.to_string() });
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        stderr::print(error.render().to_string().trim_end());
        return Exit::from(Kind::Usage);
    }
    if error.kind() == ErrorKind::InvalidUtf8
        && let Some((name, value)) = args::not_utf8(command, arguments)
    {
        let value = escape::terminal(value.as_bytes());
        stderr::print(&format!("{tool}: {name}: not UTF-8: {}", without_url_password(&value)));
        return Exit::from(Kind::Usage);
    }
    let mut text = error.render().to_string();
    for given in error.context().filter_map(|(_, value)| match value {
        ContextValue::String(given) if given.contains(':') => Some(given),
        _ => None,
    }) {
        text = text.replace(given.as_str(), &without_password(given));
    }
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or_default().trim_start_matches("error: ");
    let first = plain_words(first);
    let what: Vec<&str> = first.lines().map(str::trim).collect();
    stderr::print(&format!("{tool}: {}", escape::terminal(what.join(" "))));
    let tip = paragraphs.find_map(|paragraph| paragraph.trim().strip_prefix("tip: "));
    let hint = match (foreign::word_here(error, arguments, foreign), suggested(error), tip) {
        (Some(ours), ..) => foreign::answer(ours),
        (None, Some(nearest), _) => format!("did you mean {nearest}?"),
        (None, None, Some(tip)) => escape::terminal(tip),
        (None, None, None) => format!("{tool} --help lists the arguments"),
    };
    stderr::print(&format!("hint: {hint}"));
    Exit::from(Kind::Usage)
}

/// The known word that clap finds nearest to the unknown one.
fn suggested(error: &clap::Error) -> Option<&str> {
    let kinds = [ContextKind::SuggestedValue, ContextKind::SuggestedArg];
    kinds.iter().find_map(|kind| match error.get(*kind)? {
        ContextValue::String(word) => Some(word.as_str()),
        _ => None,
    })
}

/// Prints a text that was requested instead of a run, such as the help.
pub fn print_data(tool: &str, text: &str) -> Exit {
    if let Err(fault) = check_stdout() {
        stderr::print_fault(tool, &fault);
        return Exit::from(fault.kind);
    }
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Exit::OK,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::PIPE,
        Err(error) => {
            stderr::print_fault(tool, &Fault { kind: Kind::Io, ..Fault::local("stdout", &error) });
            Exit::from(Kind::Io)
        }
    }
}
