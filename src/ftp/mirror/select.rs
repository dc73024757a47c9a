//! The selection of files in a tree: `--include` and `--exclude` in the order of the command line, sizes and ages.

use std::time::Duration;

use regex::bytes::{Regex, RegexBuilder};

use crate::fault::{Fault, Kind};
use crate::ftp::glob::Glob;

/// The most memory that one compiled regular expression may take.
const MAX_REGEX: usize = 1 << 20;

/// One `--include` or `--exclude`.
#[derive(Debug, Clone)]
pub struct SelectRule {
    include: bool,
    /// The pattern ends in a slash: it matches directories, and thereby everything in them.
    directories: bool,
    pattern: RulePattern,
}

#[derive(Debug, Clone)]
enum RulePattern {
    Glob(Glob),
    Regex(Regex),
}

impl SelectRule {
    /// A rule from its pattern (see [`Glob::matches`]).
    ///
    /// # Errors
    /// As [`Glob::new`].
    pub fn new(pattern: &str, include: bool) -> Result<SelectRule, Fault> {
        let (inner, directories) = match pattern.strip_suffix('/') {
            Some(inner) if !inner.is_empty() => (inner, true),
            _ => (pattern, false),
        };
        Ok(SelectRule { include, directories, pattern: RulePattern::Glob(Glob::new(inner)?) })
    }

    /// A rule from a regular expression, which matches anywhere in a path below the root.
    ///
    /// # Errors
    /// `Usage` for an invalid regular expression, or one that is too large.
    pub fn regex(pattern: &str, include: bool) -> Result<SelectRule, Fault> {
        let built = RegexBuilder::new(pattern).size_limit(MAX_REGEX).dfa_size_limit(MAX_REGEX).build();
        let regex =
            built.map_err(|error| Fault::new(Kind::Usage, format!("regular expression {pattern:?}: {error}")))?;
        Ok(SelectRule { include, directories: false, pattern: RulePattern::Regex(regex) })
    }

    /// True when the rule matches this entry or a directory above it.
    fn means(&self, path: &[u8], is_directory: bool) -> bool {
        let ends = memchr::memchr_iter(b'/', path).map(|end| (end, true));
        let matches = |part: &[u8]| match &self.pattern {
            RulePattern::Glob(glob) => glob.matches(part),
            RulePattern::Regex(regex) => regex.is_match(part),
        };
        ends.chain([(path.len(), is_directory)])
            .any(|(end, directory)| (directory || !self.directories) && matches(path.get(..end).unwrap_or_default()))
    }
}

/// The known facts about a file, for decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Its modification time, seconds since 1970 (UTC).
    pub modified: Option<i64>,
}

/// All conditions; the default selects every file.
#[derive(Debug, Clone, Default)]
pub struct Select {
    /// The first rule that matches an entry decides. An entry without a match is selected unless there is an `--include`.
    pub rules: Vec<SelectRule>,
    /// Larger files are left out.
    pub max_size: Option<u64>,
    /// Smaller files are left out.
    pub min_size: Option<u64>,
    /// Younger files are left out: they may still be written.
    pub min_age: Option<Duration>,
    /// Older files are left out.
    pub max_age: Option<Duration>,
}

impl Select {
    /// True when the rules select a file of this path (relative to the root, without a leading slash).
    pub fn takes(&self, path: &[u8]) -> bool {
        self.decide(path, false).unwrap_or_else(|| !self.selects())
    }

    /// True when a directory is to be walked: no rule excludes it.
    pub fn enters(&self, path: &[u8]) -> bool {
        self.decide(path, true).unwrap_or(true)
    }

    /// True when there is an `--include`: then only directories with selected files are created.
    pub fn selects(&self) -> bool {
        self.rules.iter().any(|rule| rule.include)
    }

    /// True when a file's age matters.
    pub fn asks_age(&self) -> bool {
        self.min_age.is_some() || self.max_age.is_some()
    }

    /// The reason why a file is left out by its size or age; `now` is in seconds since 1970. A file of unknown size or age is left
    /// out if there is such a condition.
    pub fn refuses(&self, facts: FileFacts, now: i64) -> Option<&'static str> {
        if self.max_size.is_some() || self.min_size.is_some() {
            match facts.size {
                None => return Some("its size is not known"),
                Some(size) if self.max_size.is_some_and(|max| size > max) => return Some("too large"),
                Some(size) if self.min_size.is_some_and(|min| size < min) => return Some("too small"),
                Some(_) => {}
            }
        }
        if self.asks_age() {
            let Some(modified) = facts.modified else { return Some("its age is not known") };
            let age = now.saturating_sub(modified);
            let seconds = |limit: Duration| i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
            if self.min_age.is_some_and(|min| age < seconds(min)) {
                return Some("too young");
            }
            if self.max_age.is_some_and(|max| age > seconds(max)) {
                return Some("too old");
            }
        }
        None
    }

    fn decide(&self, path: &[u8], is_directory: bool) -> Option<bool> {
        self.rules.iter().find(|rule| rule.means(path, is_directory)).map(|rule| rule.include)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(rules: &[&str]) -> Select {
        // `=` behind the sign: a regular expression.
        let rule = |text: &&str| {
            let (pattern, include) = (text.split_at(1).1, text.starts_with('+'));
            match pattern.strip_prefix('=') {
                Some(regex) => SelectRule::regex(regex, include).unwrap(),
                None => SelectRule::new(pattern, include).unwrap(),
            }
        };
        Select { rules: rules.iter().map(rule).collect(), ..Select::default() }
    }

    #[test]
    fn the_first_rule_decides() {
        // (rules, files taken, files left out)
        let table: &[(&[&str], &[&str], &[&str])] = &[
            (&[], &["a", "b/c"], &[]),
            (&["-*.tmp"], &["a", "b/c"], &["a.tmp", "b/c.tmp", "x.tmp/a"]),
            (&["+*.gz"], &["a.gz", "b/c.gz"], &["a", "b/c"]),
            (&["-secret*", "+*.gz"], &["a.gz"], &["secret.gz", "b/secret.gz", "a"]),
            (&["+*.gz", "-secret*"], &["a.gz", "secret.gz"], &["secret"]),
            (&["-.git"], &["a", "git"], &[".git", ".git/x", "a/.git/x"]),
            (&["-tmp/"], &["tmp", "a/tmp"], &["tmp/x", "a/tmp/y/z"]),
            (&["-/tmp"], &["a/tmp"], &["tmp", "tmp/x"]),
            (&["-a/b"], &["b", "x/a/b"], &["a/b", "a/b/c"]),
            (&["+docs/"], &["docs/a", "x/docs/a/b"], &["docs", "a"]),
            (&["+docs"], &["docs/a", "docs"], &["a"]),
            (&["-**/cache/**"], &["cache", "a"], &["cache/x", "a/cache/b/c"]),
            (&["+=\\.(csv|txt)$"], &["a.csv", "b/c.txt"], &["a.csv.gz", "a"]),
            (&["-=^tmp$"], &["a/tmp", "tmp2"], &["tmp", "tmp/x"]),
            (&["-=(?i)\\.BAK$", "+*.c"], &["a.c"], &["a.bak", "x.Bak/a.c", "a.h"]),
        ];
        for (rules, yes, no) in table {
            let filter = select(rules);
            yes.iter().for_each(|path| assert!(filter.takes(path.as_bytes()), "{rules:?} {path}"));
            no.iter().for_each(|path| assert!(!filter.takes(path.as_bytes()), "{rules:?} {path}"));
        }
        assert!(SelectRule::new("[", true).is_err());
        for bad in ["(", "a{1000}{1000}{1000}"] {
            assert_eq!(SelectRule::regex(bad, true).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }

    #[test]
    fn directories_are_looked_into_unless_excluded() {
        let filter = select(&["-tmp/", "-*.d", "+*.gz"]);
        assert!(filter.enters(b"a") && filter.enters(b"a/b") && filter.selects());
        assert!(
            !filter.enters(b"tmp") && !filter.enters(b"a/tmp") && !filter.enters(b"tmp/x") && !filter.enters(b"x.d")
        );
    }

    #[test]
    fn sizes_and_ages() {
        let filter = Select {
            max_size: Some(10),
            min_size: Some(2),
            min_age: Some(Duration::from_secs(60)),
            max_age: Some(Duration::from_secs(3600)),
            ..Select::default()
        };
        let refuses = |size: Option<u64>, modified: Option<i64>| filter.refuses(FileFacts { size, modified }, 10_000);
        assert_eq!(refuses(Some(10), Some(9_940)), None);
        assert_eq!(refuses(Some(2), Some(6_400)), None);
        assert_eq!(refuses(Some(11), Some(9_000)), Some("too large"));
        assert_eq!(refuses(Some(1), Some(9_000)), Some("too small"));
        assert_eq!(refuses(None, Some(9_000)), Some("its size is not known"));
        assert_eq!(refuses(Some(5), Some(9_941)), Some("too young"));
        assert_eq!(refuses(Some(5), Some(6_399)), Some("too old"));
        assert_eq!(refuses(Some(5), None), Some("its age is not known"));
        assert_eq!(Select::default().refuses(FileFacts { size: None, modified: None }, 0), None);
    }
}
