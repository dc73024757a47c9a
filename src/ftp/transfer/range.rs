//! Byte ranges of files.

use std::str::FromStr;

/// A range of bytes of a file, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// From the first byte to the last one, or to the end of the file.
    From {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: Option<u64>,
    },
    /// This number of bytes at the end.
    Last(u64),
}

impl FromStr for Range {
    type Err = String;

    /// As in curl and HTTP: `0-99`, `100-`, `-100`.
    fn from_str(text: &str) -> Result<Range, String> {
        let bad = || "bytes counted from 0: 0-99, 100-, or -100 for the last hundred".to_owned();
        let (first, last) = text.split_once('-').ok_or_else(bad)?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u64>().ok().filter(|_| digits).ok_or_else(bad)
        };
        match (first, last) {
            ("", last) => number(last).and_then(|count| if count > 0 { Ok(Range::Last(count)) } else { Err(bad()) }),
            (first, "") => Ok(Range::From { first: number(first)?, last: None }),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last { Err(bad()) } else { Ok(Range::From { first, last: Some(last) }) }
            }
        }
    }
}

impl Range {
    /// The first byte and the greatest number of bytes, in a file of `size` bytes. `None`: no byte of the file is in the range, or
    /// its first byte cannot be computed without the size.
    pub fn within(&self, size: Option<u64>) -> Option<(u64, u64)> {
        match (*self, size) {
            (Range::From { first, last }, size) => {
                let count = last.map_or(u64::MAX, |last| (last - first).saturating_add(1));
                match size {
                    Some(size) if first >= size => None,
                    Some(size) => Some((first, count.min(size - first))),
                    None => Some((first, count)),
                }
            }
            (Range::Last(_), None | Some(0)) => None,
            (Range::Last(count), Some(size)) => Some((size.saturating_sub(count), count.min(size))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant() {
        let range = |text: &str| text.parse::<Range>().unwrap();
        for (text, size, wanted) in [
            ("0-0", Some(10), Some((0, 1))),
            ("0-99", Some(10), Some((0, 10))),
            ("3-5", Some(10), Some((3, 3))),
            ("3-5", None, Some((3, 3))),
            ("9-", Some(10), Some((9, 1))),
            ("10-", Some(10), None),
            ("0-", Some(0), None),
            ("0-", None, Some((0, u64::MAX))),
            ("0-18446744073709551615", None, Some((0, u64::MAX))),
            ("-4", Some(10), Some((6, 4))),
            ("-40", Some(10), Some((0, 10))),
            ("-4", Some(0), None),
            ("-4", None, None),
        ] {
            assert_eq!(range(text).within(size), wanted, "{text} of {size:?}");
        }
        for bad in ["", "-", "5", "5-3", "-0", "a-b", "1-2-3", "+1-2", "1-18446744073709551616", " 1-2"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }
}
