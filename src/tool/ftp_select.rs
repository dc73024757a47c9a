//! The arguments that choose files of trees and globs, shared by ftpget and ftpput.

use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::cli::units;
use crate::fault::Fault;
use crate::ftp::mirror::{Compare, Delete, Select, SelectRule};

/// The default of `--max-delete`: the most deletions of one run.
const MAX_DELETE: u64 = 1000;

/// Which files of trees and globs are meant, and when they are the same.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Choosing files (with -r and globs)")]
pub(super) struct SelectArgs {
    #[command(flatten)]
    rules: FilterRules,
    /// Skip larger files
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    max_size: Option<u64>,
    /// Skip smaller files
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    min_size: Option<u64>,
    /// Skip files modified within this time: they may still be written
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    min_age: Option<Duration>,
    /// Skip files modified longer ago
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    max_age: Option<Duration>,
    /// Transfer a file only if it is newer than the other side's, whatever the sizes (single files too)
    #[arg(long, short_alias = 'N', visible_alias = "update", aliases = ["only-newer", "timestamping"], conflicts_with = "size_only")]
    newer: bool,
    /// Files of the same size are the same, whatever their times (single files too)
    #[arg(long, alias = "ignore-time")]
    size_only: bool,
    /// Transfer unchanged files too
    #[arg(long, conflicts_with_all = ["newer", "size_only"])]
    always: bool,
}

impl SelectArgs {
    /// The selection.
    pub(super) fn select(&self) -> Result<Select, Fault> {
        let rules = self.rules.0.iter().map(|(pattern, id)| match *id {
            INCLUDE_REGEX | EXCLUDE_REGEX => SelectRule::regex(pattern, *id == INCLUDE_REGEX),
            _ => SelectRule::new(pattern, *id == INCLUDE),
        });
        Ok(Select {
            rules: rules.collect::<Result<_, _>>()?,
            max_size: self.max_size,
            min_size: self.min_size,
            min_age: self.min_age,
            max_age: self.max_age,
        })
    }

    /// The condition under which files of trees and globs count as the same.
    pub(super) fn compare(&self) -> Compare {
        match (self.newer, self.size_only, self.always) {
            (true, ..) => Compare::Newer,
            (_, true, _) => Compare::Size,
            (.., true) => Compare::Never,
            _ => Compare::SizeAndTime,
        }
    }

    /// [`SelectArgs::compare`] for files on the command line: they are always transferred unless a flag says otherwise.
    pub(super) fn compare_named(&self) -> Compare {
        if self.newer || self.size_only { self.compare() } else { Compare::Never }
    }
}

/// What the other side may lose.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Deleting (with -r)")]
pub(super) struct DeleteArgs {
    /// Delete files that the source does not have, after all transfers and only if every listing was complete
    #[arg(long, requires = "recursive")]
    delete: bool,
    /// Delete before the transfers; only if every listing is complete by then
    #[arg(long, requires = "delete")]
    delete_first: bool,
    /// Delete nothing if more than N files and directories would go
    #[arg(long, value_name = "N", default_value_t = MAX_DELETE)]
    max_delete: u64,
    /// Delete even if the source is an empty directory
    #[arg(long, requires = "delete")]
    allow_empty: bool,
}

impl DeleteArgs {
    /// The rule for deletions; `None` if nothing may be deleted.
    pub(super) fn rule(&self) -> Option<Delete> {
        let (max, allow_empty, first) = (self.max_delete, self.allow_empty, self.delete_first);
        self.delete.then_some(Delete { max, allow_empty, first })
    }
}

/// `--include`, `--exclude` and the like in the order of the command line: pattern and option.
#[derive(Debug, Clone, Default)]
struct FilterRules(Vec<(String, &'static str)>);

const INCLUDE: &str = "include";
const EXCLUDE: &str = "exclude";
const INCLUDE_REGEX: &str = "include-regex";
const EXCLUDE_REGEX: &str = "exclude-regex";

impl FromArgMatches for FilterRules {
    fn from_arg_matches(matches: &ArgMatches) -> Result<FilterRules, clap::Error> {
        let mut found: Vec<(usize, String, &'static str)> = Vec::new();
        for id in [INCLUDE, EXCLUDE, INCLUDE_REGEX, EXCLUDE_REGEX] {
            let values = matches.get_many::<String>(id).into_iter().flatten();
            let indices = matches.indices_of(id).into_iter().flatten();
            found.extend(indices.zip(values).map(|(index, value)| (index, value.clone(), id)));
        }
        found.sort();
        Ok(FilterRules(found.into_iter().map(|(_, value, id)| (value, id)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = FilterRules::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for FilterRules {
    fn augment_args(command: Command) -> Command {
        let rule = |id: &'static str, help: &'static str| {
            let value = if id.ends_with("regex") { "REGEX" } else { "GLOB" };
            let arg = Arg::new(id).long(id).value_name(value).action(ArgAction::Append).help(help);
            arg.value_parser(NonEmptyStringValueParser::new())
        };
        command
            .arg(rule(INCLUDE, "Include only names that match GLOB (repeatable; the first matching rule decides)"))
            .arg(rule(EXCLUDE, "Exclude names that match GLOB, and directories with their contents (repeatable)"))
            .arg(rule(INCLUDE_REGEX, "Include paths in which a regular expression matches anywhere (repeatable)"))
            .arg(rule(EXCLUDE_REGEX, "Exclude paths in which a regular expression matches anywhere (repeatable)"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        FilterRules::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Whole {
        #[command(flatten)]
        select: SelectArgs,
    }

    #[test]
    fn rules_keep_the_order_of_the_command_line() {
        let args = ["x", "--exclude", "a", "--include", "b", "--exclude=c", "--include", "d", "--exclude-regex", "^e"];
        let whole = Whole::parse_from(args);
        let found: Vec<(&str, &str)> = whole.select.rules.0.iter().map(|(text, id)| (text.as_str(), *id)).collect();
        let expected = [("a", EXCLUDE), ("b", INCLUDE), ("c", EXCLUDE), ("d", INCLUDE), ("^e", EXCLUDE_REGEX)];
        assert_eq!(found, expected);
        assert_eq!(whole.select.select().unwrap().rules.len(), 5);
        assert!(Whole::parse_from(["x", "--exclude-regex", "("]).select.select().is_err());
        assert!(Whole::parse_from(["x", "--include", "["]).select.select().is_err());
        assert!(Whole::try_parse_from(["x", "--include", ""]).is_err());
    }
}
