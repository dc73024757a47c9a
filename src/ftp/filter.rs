//! Which entries of a listing are wanted: by name, type, size and time.

use crate::ftp::glob::Glob;
use crate::ftp::listing::{Entry, EntryType, Modified};

/// What an entry must be; an empty filter admits everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// One of these globs must match (a name, or with a `/` a whole path).
    pub include: Vec<Glob>,
    /// None of these may match; a directory that one matches is not entered.
    pub exclude: Vec<Glob>,
    /// One of these types.
    pub types: Vec<EntryType>,
    /// At least this many bytes.
    pub min_size: Option<u64>,
    /// At most this many bytes.
    pub max_size: Option<u64>,
    /// Modified at this time (seconds since 1970) or later.
    pub newer: Option<i64>,
    /// Modified at this time or earlier.
    pub older: Option<i64>,
}

impl Filter {
    /// True when the entry at this relative path is wanted. What the server does not tell cannot satisfy a bound.
    pub fn admits(&self, path: &[u8], entry: &Entry) -> bool {
        let included = self.include.is_empty() || self.include.iter().any(|glob| glob.matches(path));
        included
            && self.enters(path)
            && (self.types.is_empty() || self.types.contains(&entry.entry_type))
            && self.min_size.is_none_or(|least| entry.size.is_some_and(|size| size >= least))
            && self.max_size.is_none_or(|most| entry.size.is_some_and(|size| size <= most))
            && self.newer.is_none_or(|after| entry.modified.is_some_and(|time| last_second(&time) >= after))
            && self.older.is_none_or(|before| entry.modified.is_some_and(|time| time.seconds <= before))
    }

    /// True when a directory at this relative path is to be looked into.
    pub fn enters(&self, path: &[u8]) -> bool {
        !self.exclude.iter().any(|glob| glob.matches(path))
    }

    /// True when everything is admitted.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty()
            && self.exclude.is_empty()
            && self.types.is_empty()
            && self.bounds().iter().all(|bound| !bound)
    }

    fn bounds(&self) -> [bool; 4] {
        [self.min_size.is_some(), self.max_size.is_some(), self.newer.is_some(), self.older.is_some()]
    }
}

/// The latest second that a time of this precision can mean: a file of today's minute is not older than that minute.
fn last_second(time: &Modified) -> i64 {
    time.seconds.saturating_add(time.precision.seconds() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::listing::Precision;

    fn entry(size: u64, seconds: i64) -> Entry {
        let mut entry = Entry::new("x", EntryType::File);
        entry.size = Some(size);
        entry.modified = Some(Modified { seconds, precision: Precision::Minute, utc: true });
        entry
    }

    #[test]
    fn each_bound_alone() {
        let all = Filter::default();
        let file = entry(10, 6000);
        assert!(all.is_empty() && all.admits(b"a/x", &file) && all.admits(b"x", &Entry::new("x", EntryType::Other)));
        let glob = |text: &str| vec![Glob::new(text).unwrap()];
        for (filter, yes) in [
            (Filter { include: glob("*.txt"), ..all.clone() }, false),
            (Filter { include: glob("a/*"), ..all.clone() }, true),
            (Filter { exclude: glob("x"), ..all.clone() }, false),
            (Filter { exclude: glob("y"), ..all.clone() }, true),
            (Filter { types: vec![EntryType::File], ..all.clone() }, true),
            (Filter { types: vec![EntryType::Directory], ..all.clone() }, false),
            (Filter { min_size: Some(10), ..all.clone() }, true),
            (Filter { min_size: Some(11), ..all.clone() }, false),
            (Filter { max_size: Some(10), ..all.clone() }, true),
            (Filter { max_size: Some(9), ..all.clone() }, false),
            (Filter { newer: Some(6059), ..all.clone() }, true),
            (Filter { newer: Some(6060), ..all.clone() }, false),
            (Filter { older: Some(6000), ..all.clone() }, true),
            (Filter { older: Some(5999), ..all.clone() }, false),
        ] {
            assert_eq!(filter.admits(b"a/x", &file), yes, "{filter:?}");
            assert!(!filter.is_empty());
            let unknown = Entry::new("x", EntryType::File);
            let bounded = filter.bounds().iter().any(|bound| *bound);
            assert!(!(bounded && filter.admits(b"a/x", &unknown)), "{filter:?}");
        }
    }
}
