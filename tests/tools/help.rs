//! Help: `-h` is one screen, `--help` is everything, and a command line without arguments is answered with the screen.

use crate::docs::{commands, each_tool, long_flags};
use crate::harness::{Run, temp_dir, tool};

/// The most lines and columns of `-h`.
const SCREEN: (usize, usize) = (40, 80);

fn narrow(name: &str) -> Run {
    tool(name).env("COLUMNS", "80").env("APPLAYER_CONFIG", "-")
}

#[track_caller]
fn fits(name: &str, text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= SCREEN.1, "{name}: wider than {}: {line}", SCREEN.1);
    }
}

/// The examples of a help text, each a command line that its tool takes.
#[track_caller]
fn assert_examples(name: &str, command: fn() -> clap::Command, text: &str) {
    let (_, end) = text.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{name}: no examples\n{text}"));
    let (end, page) = end.trim_end().rsplit_once('\n').unwrap();
    let examples: Vec<_> = commands(end).filter(|(tool, _)| *tool == name).collect();
    assert_eq!(examples.len(), 3, "{name}: {examples:?}");
    for (_, words) in examples {
        let words = words.into_iter().take_while(|word| !word.starts_with(['<', '>']));
        let parsed = command().try_get_matches_from(std::iter::once(name.to_owned()).chain(words.clone()));
        assert!(parsed.is_ok(), "{name} {:?}: {}", words.collect::<Vec<_>>(), parsed.unwrap_err());
    }
    assert_eq!(page, format!("manual page: man {name}"));
}

#[test]
fn the_short_help_is_one_screen() {
    each_tool(|name, command| {
        let short = narrow(name).arg("-h").run();
        let short = short.exits(0).text();
        let lines = short.lines().count();
        assert!(lines <= SCREEN.0, "{name} -h has {lines} lines:\n{short}");
        assert!(short.contains("Usage: "), "{short}");
        fits(name, short);
        assert_examples(name, command, short);
    });
}

#[test]
fn the_long_help_is_everything() {
    each_tool(|name, command| {
        let long = narrow(name).arg("--help").run();
        let long = long.exits(0).text();
        fits(name, long);
        assert_examples(name, command, long);
        let command = command();
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let shown =
                argument.get_long().map(|flag| format!("--{flag}")).or(argument.get_short().map(|it| format!("-{it}")));
            let shown = shown.unwrap_or_else(|| argument.get_value_names().unwrap_or_default().concat());
            assert!(long.contains(&shown), "{name}: --help lacks {shown}");
        }
        assert!(long_flags(&command).len() > 10, "{name}: its options were not found");
    });
}

#[test]
fn no_arguments_are_answered_with_the_short_help() {
    each_tool(|name, _| {
        let home = temp_dir();
        let done = narrow(name).home(home.path()).run();
        match name {
            "mailq-ls" | "mailq-run" => _ = done.silent_success(),
            _ => {
                let short = narrow(name).arg("-h").run();
                assert_eq!((done.status, done.stdout.len()), (64, 0), "{done}");
                assert_eq!(done.stderr.trim_end(), short.text().trim_end(), "{name}");
            }
        }
    });
}
