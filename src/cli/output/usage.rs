//! What clap made of the command line.

use std::io::{self, IsTerminal, Write};

use super::stderr;
use crate::cli::escape;
use crate::cli::exit::Exit;
use crate::fault::{Fault, Kind};

/// Prints what clap made of the command line: help and version on stdout, a mistake as one line on stderr.
pub fn print_parse_result(tool: &str, error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        let shown =
            if io::stdout().is_terminal() { error.render().ansi().to_string() } else { error.render().to_string() };
        let mut stdout = io::stdout().lock();
        return match stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Exit::OK,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::PIPE,
            Err(error) => {
                stderr::print_fault(tool, &Fault { kind: Kind::Io, ..Fault::local("stdout", &error) });
                Exit::from(Kind::Io)
            }
        };
    }
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or_default().trim_start_matches("error: ");
    let what: Vec<&str> = first.lines().map(str::trim).collect();
    stderr::print(&format!("{tool}: {}", escape::terminal(what.join(" "))));
    let tip = paragraphs.find_map(|paragraph| paragraph.trim().strip_prefix("tip: "));
    match tip {
        Some(tip) => stderr::print(&format!("hint: {}", escape::terminal(tip))),
        None => stderr::print(&format!("hint: {tool} --help lists the arguments")),
    }
    Exit::from(Kind::Usage)
}
