//! Help in the same form for every tool: `-h` is one screen, `--help` is everything, and both end with examples and the manual page.

use clap::builder::Resettable;
use clap::{Arg, Command};

/// The parts of a tool's help that do not come from its arguments.
#[derive(Debug, Clone, Copy)]
pub struct HelpGuide {
    /// The options that `-h` shows, by their names in the type of the arguments, separated by spaces.
    pub options: &'static str,
    /// Three examples, each a purpose and a command line.
    pub examples: &'static [(&'static str, &'static str)],
    /// Whether the tool needs arguments: a command line without any prints `-h` on stderr, with status 64.
    pub needs_arguments: bool,
}

/// Adds the help of the guide to a command, for `--help` (`whole`) or `-h`.
pub fn guided(command: Command, guide: &HelpGuide, whole: bool) -> Command {
    let header = *command.get_styles().get_header();
    let mut end = format!("{header}Examples:{header:#}");
    for (purpose, line) in guide.examples {
        end.push_str(&format!("\n  # {purpose}\n  {line}"));
    }
    end.push_str(&format!("\n\nmanual page: man {}", command.get_name()));
    let long = match command.get_after_long_help() {
        Some(more) => format!("{more}\n\n{end}"),
        None => end.clone(),
    };
    let command = command.after_help(end).after_long_help(long).arg_required_else_help(guide.needs_arguments);
    if whole { command } else { command.mut_args(|arg| brief(arg, guide)) }
}

/// An argument as `-h` shows it: without a heading, and with the first clause of its help text.
fn brief(arg: Arg, guide: &HelpGuide) -> Arg {
    let shown = arg.is_positional() || guide.options.split(' ').any(|id| arg.get_id() == id);
    let clause = arg.get_help().map(|help| help.to_string().split("; ").next().unwrap_or_default().to_owned());
    let arg = arg.hide_short_help(!shown).help_heading(Resettable::Reset);
    match clause {
        Some(clause) => arg.help(clause),
        None => arg,
    }
}
