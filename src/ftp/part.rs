//! The name of an unfinished file, composed and parsed: it belongs to one source and cannot be mistaken for a listed file.
//!
//! `.NAME.TAG.part`: the tag is a digest of everything that identifies the source, or of random bytes for a single run,
//! and ends in a checksum of its own. A listed file with such a name is always an unfinished file, never data.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use crate::fault::{Fault, Kind};
use crate::fnv::fnv1a;
use crate::ftp::path::MAX_NAME;

/// Letters of the digest in a tag: 80 bits, five per letter.
const DIGEST_LETTERS: usize = 16;
/// Checksum letters over the others: a name of other origin does not have them.
const CHECK_LETTERS: usize = 4;
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// `.` before the name, `.` between name and tag, and the suffix.
const AROUND: usize = 2 + DIGEST_LETTERS + CHECK_LETTERS + SUFFIX.len();
const SUFFIX: &[u8] = b".part";

/// The identity of an unfinished file: two sources, or two runs that must not collide, never share a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartTag([u8; DIGEST_LETTERS + CHECK_LETTERS]);

impl PartTag {
    /// The tag of a source: every field counts, and so do the boundaries between fields.
    pub fn of_source(fields: &[&[u8]]) -> PartTag {
        let mut text = Vec::new();
        for field in fields {
            text.extend_from_slice(&(field.len() as u64).to_be_bytes());
            text.extend_from_slice(field);
        }
        PartTag::of_bytes(digest(&SHA256, &text).as_ref())
    }

    /// A tag that no other run has: a file with it is never resumed.
    ///
    /// # Errors
    /// `Internal` if the system has no random bytes.
    pub fn of_run() -> Result<PartTag, Fault> {
        let mut bytes = [0; 32];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| Fault::new(Kind::Internal, "the system has no random bytes"))?;
        Ok(PartTag::of_bytes(&bytes))
    }

    fn of_bytes(bytes: &[u8]) -> PartTag {
        let mut tag = [0; DIGEST_LETTERS + CHECK_LETTERS];
        let (digest, check) = tag.split_at_mut(DIGEST_LETTERS);
        for (letter, byte) in digest.iter_mut().zip(bytes) {
            *letter = LETTERS.get(usize::from(byte & 31)).copied().unwrap_or(b'a');
        }
        check.copy_from_slice(&check_letters(digest));
        PartTag(tag)
    }
}

fn check_letters(digest: &[u8]) -> [u8; CHECK_LETTERS] {
    let sum = fnv1a(digest.iter().copied()).to_be_bytes();
    std::array::from_fn(|at| LETTERS.get(sum.get(at).map_or(0, |byte| usize::from(byte & 31))).copied().unwrap_or(b'a'))
}

/// The name of the unfinished file of `name`; a `name` that is too long is truncated.
pub fn part_name(name: &[u8], tag: &PartTag) -> Vec<u8> {
    [b".", whole_of(name), b".", &tag.0, SUFFIX].concat()
}

/// The part of a file's name that fits into the name of its unfinished file.
pub fn whole_of(name: &[u8]) -> &[u8] {
    match name.get(..MAX_NAME - AROUND) {
        // Servers that accept only UTF-8 refuse a truncated character.
        Some(cut) if std::str::from_utf8(name).is_ok() => match std::str::from_utf8(cut) {
            Ok(_) => cut,
            Err(error) => cut.get(..error.valid_up_to()).unwrap_or(cut),
        },
        Some(cut) => cut,
        None => name,
    }
}

/// True if the name of an unfinished file may hold only a truncated file name, which other files may share.
pub fn may_be_cut(part: &[u8]) -> bool {
    part.len() + 3 >= MAX_NAME
}

/// The parts of the name of an unfinished file, if `name` is one: the (possibly truncated) file name, and the tag.
pub fn unfinished(name: &[u8]) -> Option<(&[u8], PartTag)> {
    let inner = name.strip_prefix(b".")?.strip_suffix(SUFFIX)?;
    let (whole, tag) = inner.split_at_checked(inner.len().checked_sub(DIGEST_LETTERS + CHECK_LETTERS)?)?;
    let whole = whole.strip_suffix(b".").filter(|whole| !whole.is_empty())?;
    let tag = PartTag(tag.try_into().ok()?);
    let (digest, check) = tag.0.split_at(DIGEST_LETTERS);
    (digest.iter().all(|letter| LETTERS.contains(letter)) && check == check_letters(digest)).then_some((whole, tag))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_say_whose_they_are(name in proptest::collection::vec(1u8.., 1..=MAX_NAME), size in any::<u64>()) {
            let tag = PartTag::of_source(&[b"ftp://h/x", &size.to_be_bytes()]);
            let part = part_name(&name, &tag);
            prop_assert!(part.len() <= MAX_NAME);
            let (whole, found) = unfinished(&part).unwrap();
            prop_assert!(name.starts_with(whole) && found == tag);
            prop_assert_ne!(&part, &part_name(&name, &PartTag::of_source(&[b"ftp://h/x", &(!size).to_be_bytes()])));
            prop_assert_ne!(part, part_name(&name, &PartTag::of_run().unwrap()));
        }

        #[test]
        fn other_names_are_data(name in "[.]?[a-z.]{0,12}[.][a-z2-7]{20}[.]part") {
            prop_assert_eq!(unfinished(name.as_bytes()), None);
        }
    }

    #[test]
    fn no_character_is_cut() {
        for name in ["\u{e4}", "\u{65e5}", "\u{1f600}"].map(|one| format!("a{}", one.repeat(250 / one.len()))) {
            let part = part_name(name.as_bytes(), &PartTag::of_source(&[]));
            assert!(std::str::from_utf8(&part).is_ok() && may_be_cut(&part), "{name}");
        }
    }

    #[test]
    fn the_borders_of_fields_count() {
        assert_ne!(PartTag::of_source(&[b"ab", b"c"]), PartTag::of_source(&[b"a", b"bc"]));
        for name in [".x.part", "..part", ".part", "x", ".x.from", ".x.aaaaaaaaaaaaaaaaaaaa.part", ""] {
            assert_eq!(unfinished(name.as_bytes()), None, "{name}");
        }
    }
}
