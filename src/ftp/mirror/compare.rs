//! The comparison of a file on both sides: a file that is the same is not transferred.

use super::select::FileFacts;

/// The condition under which two files count as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compare {
    /// Same size and same modification time.
    #[default]
    SizeAndTime,
    /// Same size.
    Size,
    /// The source is not newer.
    Newer,
    /// Never the same: always transfer.
    Never,
}

/// The receiving side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReceiverFacts {
    pub(super) facts: FileFacts,
    /// It keeps the times that are set. A server that does not keep them shows the time of the upload, which is later.
    pub(super) keeps_times: bool,
}

impl Compare {
    /// True when the modification times decide, after the sizes were compared.
    pub(super) fn asks_time(self, source: FileFacts, there: FileFacts) -> bool {
        match self {
            Compare::SizeAndTime => source.size.is_some() && source.size == there.size,
            Compare::Newer => true,
            Compare::Size | Compare::Never => false,
        }
    }

    /// True when the file need not be transferred. `text`: line ends are converted, so sizes cannot be compared.
    pub(super) fn same(self, source: FileFacts, there: ReceiverFacts, text: bool) -> bool {
        let sizes = text || (source.size.is_some() && source.size == there.facts.size);
        let times = source.modified.zip(there.facts.modified);
        match self {
            Compare::SizeAndTime => {
                sizes && times.is_some_and(|(ours, theirs)| ours == theirs || (ours < theirs && !there.keeps_times))
            }
            Compare::Size => sizes && !text,
            Compare::Newer => times.is_some_and(|(ours, theirs)| ours <= theirs),
            Compare::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same() {
        let facts = |size: u64, modified: Option<i64>| FileFacts { size: Some(size), modified };
        let same = |compare: Compare, source: FileFacts, there: FileFacts, keeps_times: bool, text: bool| {
            compare.same(source, ReceiverFacts { facts: there, keeps_times }, text)
        };
        let (old, new) = (Some(100), Some(200));
        let table = [
            // source, there, then: size and time (times kept, not kept), size, newer
            (facts(1, old), facts(1, old), [true, true, true, true]),
            (facts(1, new), facts(1, old), [false, false, true, false]),
            (facts(1, old), facts(1, new), [false, true, true, true]),
            (facts(1, old), facts(2, old), [false, false, false, true]),
            (facts(1, None), facts(1, old), [false, false, true, false]),
            (facts(1, old), facts(1, None), [false, false, true, false]),
            (FileFacts { size: None, modified: old }, facts(1, old), [false, false, false, true]),
        ];
        for (source, there, wanted) in table {
            let found = [
                same(Compare::SizeAndTime, source, there, true, false),
                same(Compare::SizeAndTime, source, there, false, false),
                same(Compare::Size, source, there, true, false),
                same(Compare::Newer, source, there, true, false),
            ];
            assert_eq!(found, wanted, "{source:?} {there:?}");
            assert!(!same(Compare::Never, source, there, true, false));
        }
        assert!(same(Compare::SizeAndTime, facts(1, old), facts(2, old), true, true), "text: only the time counts");
        assert!(!same(Compare::Size, facts(1, old), facts(1, old), true, true), "text has no size to compare");
    }
}
