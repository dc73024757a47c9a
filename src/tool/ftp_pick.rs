//! The filters for entries of a listing, similar to find(1). ftpls prints the matching entries, ftpdo's `rm` removes them.

use crate::cli::{clock, units, words};
use crate::fault::Fault;
use crate::ftp::glob::Glob;
use crate::ftp::listing::{EntryType, ListingEntry, Modified};

/// The arguments.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Choosing entries")]
pub(super) struct PickArgs {
    /// Only names that match this glob; with a / in it the path (repeatable: one must match)
    #[arg(long, value_name = "GLOB")]
    name: Vec<String>,
    /// Exclude names that match this glob, and directories with their contents (repeatable)
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Only files (f), directories (d), links (l) or others (o); `f,l` for several
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    #[arg(value_parser = words::listed(["f", "d", "l", "o"], parse_type), hide_possible_values = true)]
    types: Vec<EntryType>,
    /// Only entries of this size or larger
    #[arg(long, alias = "larger", value_name = "SIZE", value_parser = units::size)]
    min_size: Option<u64>,
    /// Only entries of this size or smaller
    #[arg(long, alias = "smaller", value_name = "SIZE", value_parser = units::size)]
    max_size: Option<u64>,
    /// Only entries modified at this time or later: 2026-11-23, 2026-11-23T05:52:22Z, @SECONDS, or 2d for two days ago
    #[arg(long, visible_alias = "newer-than", value_name = "TIME", value_parser = clock::moment)]
    newer: Option<i64>,
    /// Only entries modified at this time or earlier
    #[arg(long, visible_alias = "older-than", value_name = "TIME", value_parser = clock::moment)]
    older: Option<i64>,
}

fn parse_type(text: &str) -> Result<EntryType, ()> {
    match text {
        "f" | "file" => Ok(EntryType::File),
        "d" | "directory" => Ok(EntryType::Directory),
        "l" | "symlink" => Ok(EntryType::Symlink),
        "o" | "other" => Ok(EntryType::Other),
        _ => Err(()),
    }
}

impl PickArgs {
    /// The filter that the arguments describe.
    pub(super) fn pick(&self) -> Result<Pick, Fault> {
        let globs = |texts: &[String]| texts.iter().map(|text| Glob::new(text)).collect::<Result<Vec<Glob>, Fault>>();
        Ok(Pick {
            names: globs(&self.name)?,
            exclude: globs(&self.exclude)?,
            types: self.types.clone(),
            sizes: (self.min_size, self.max_size),
            times: (self.newer, self.older),
        })
    }
}

/// The conditions on an entry; without conditions it admits everything.
#[derive(Debug, Clone, Default)]
pub(super) struct Pick {
    names: Vec<Glob>,
    exclude: Vec<Glob>,
    types: Vec<EntryType>,
    sizes: (Option<u64>, Option<u64>),
    times: (Option<i64>, Option<i64>),
}

impl Pick {
    /// True if there is no condition.
    pub(super) fn is_empty(&self) -> bool {
        let lists = self.names.is_empty() && self.exclude.is_empty() && self.types.is_empty();
        lists && self.sizes == (None, None) && self.times == (None, None)
    }

    /// True if there is a condition on the time.
    pub(super) fn asks_time(&self) -> bool {
        self.times != (None, None)
    }

    /// True if there is a condition on the size.
    pub(super) fn asks_size(&self) -> bool {
        self.sizes != (None, None)
    }

    /// True if the entry at this relative path matches. An unknown time or size satisfies no bound.
    pub(super) fn admits(&self, path: &[u8], entry: &ListingEntry) -> bool {
        let may = |time: &Modified| (last_second(time), time.seconds);
        self.admits_by(path, entry, may)
    }

    /// [`Pick::admits`] for uses in which a mistake costs a file. A time satisfies a bound only if it does so in every time zone of the
    /// server, and for every second that its precision leaves open.
    pub(super) fn surely_admits(&self, path: &[u8], entry: &ListingEntry) -> bool {
        // Zones reach from 12 hours behind UTC to 14 hours before it.
        let must = |time: &Modified| match time.utc {
            true => (time.seconds, last_second(time)),
            false => (time.seconds.saturating_sub(14 * 3600), last_second(time).saturating_add(12 * 3600)),
        };
        self.admits_by(path, entry, must)
    }

    /// `bounds` gives two seconds for a time: one to compare with the earliest allowed time, one to compare with the latest.
    fn admits_by(&self, path: &[u8], entry: &ListingEntry, bounds: impl Fn(&Modified) -> (i64, i64)) -> bool {
        let ((least, most), (after, before)) = (self.sizes, self.times);
        (self.names.is_empty() || self.names.iter().any(|glob| glob.matches(path)))
            && self.enters(path)
            && (self.types.is_empty() || self.types.contains(&entry.entry_type))
            && least.is_none_or(|least| entry.size.is_some_and(|size| size >= least))
            && most.is_none_or(|most| entry.size.is_some_and(|size| size <= most))
            && after.is_none_or(|after| entry.modified.is_some_and(|time| bounds(&time).0 >= after))
            && before.is_none_or(|before| entry.modified.is_some_and(|time| bounds(&time).1 <= before))
    }

    /// True if the directory at this relative path is to be listed.
    pub(super) fn enters(&self, path: &[u8]) -> bool {
        !self.exclude.iter().any(|glob| glob.matches(path))
    }
}

/// The latest second that a time of this precision can mean.
fn last_second(time: &Modified) -> i64 {
    time.seconds.saturating_add(time.precision.seconds() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::listing::Precision;

    #[test]
    fn each_bound_alone() {
        let mut file = ListingEntry::new("x", EntryType::File);
        file.size = Some(10);
        file.modified = Some(Modified { seconds: 6000, precision: Precision::Minute, utc: true });
        let unknown = ListingEntry::new("x", EntryType::File);
        let all = Pick::default();
        assert!(all.is_empty() && all.admits(b"a/x", &file) && all.admits(b"a/x", &unknown));
        let glob = |text: &str| vec![Glob::new(text).unwrap()];
        // (the filter, whether it admits the file, whether it needs what is not known of the other)
        for (pick, yes, needs) in [
            (Pick { names: glob("*.txt"), ..all.clone() }, false, false),
            (Pick { names: glob("a/*"), ..all.clone() }, true, false),
            (Pick { exclude: glob("x"), ..all.clone() }, false, false),
            (Pick { exclude: glob("y"), ..all.clone() }, true, false),
            (Pick { types: vec![EntryType::File], ..all.clone() }, true, false),
            (Pick { types: vec![EntryType::Directory], ..all.clone() }, false, false),
            (Pick { sizes: (Some(10), None), ..all.clone() }, true, true),
            (Pick { sizes: (Some(11), None), ..all.clone() }, false, true),
            (Pick { sizes: (None, Some(10)), ..all.clone() }, true, true),
            (Pick { sizes: (None, Some(9)), ..all.clone() }, false, true),
            (Pick { times: (Some(6059), None), ..all.clone() }, true, true),
            (Pick { times: (Some(6060), None), ..all.clone() }, false, true),
            (Pick { times: (None, Some(6000)), ..all.clone() }, true, true),
            (Pick { times: (None, Some(5999)), ..all.clone() }, false, true),
        ] {
            assert_eq!(pick.admits(b"a/x", &file), yes, "{pick:?}");
            assert!(!pick.is_empty());
            assert_eq!(pick.admits(b"a/x", &unknown), yes && !needs, "{pick:?}");
        }
    }
    #[test]
    fn what_costs_a_file_is_sure() {
        let day = 86_400;
        // (what is known of the time, the bound --older, whether it may be older, whether it surely is)
        for (precision, utc, before, may, surely) in [
            (Precision::Second, true, 10 * day, true, true),
            (Precision::Minute, true, 10 * day, true, false),
            (Precision::Minute, true, 10 * day + 59, true, true),
            (Precision::Day, true, 10 * day + 100, true, false),
            (Precision::Second, false, 10 * day + 3600, true, false),
            (Precision::Second, false, 11 * day, true, true),
            (Precision::Second, true, 10 * day - 1, false, false),
        ] {
            let mut file = ListingEntry::new("x", EntryType::File);
            file.modified = Some(Modified { seconds: 10 * day, precision, utc });
            let pick = Pick { times: (None, Some(before)), ..Pick::default() };
            assert_eq!(
                (pick.admits(b"x", &file), pick.surely_admits(b"x", &file)),
                (may, surely),
                "{precision:?} {utc}"
            );
        }
    }
}
