//! The target of a symbolic link, and whether it is inside the tree or leads in a circle. The file system is not consulted,
//! because the answer must also hold for the receiving side.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::fault::{Fault, Kind};
use crate::ftp::client::ListingSummary;
use crate::ftp::listing::ListingEntry;

/// The reason why a link is refused.
pub(super) const LEAVES: &str = "a symbolic link that leads out of the tree";
/// The reason why a directory is not entered.
pub const INSIDE_ITSELF: &str = "directory loop";

/// A listing with several directories that is repeated on this many levels above belongs to a directory inside itself.
const MAX_SAME: usize = 8;

/// The directories above the present point of a walk. A server that shows a link to a directory as a directory lists an endless
/// tree, which doubles at each level with two such links. MLSD's `unique` fact (RFC 3659, section 7.5.2) reveals a directory
/// inside itself at once; its listings reveal it after some levels. A directory that was found this way is not walked again.
#[derive(Debug, Clone, Default)]
pub struct Ancestors(Arc<Ancestor>);

#[derive(Debug, Default)]
struct Ancestor {
    unique: Option<Vec<u8>>,
    /// The digest of its listing, after it was listed.
    digest: OnceLock<u64>,
    above: Option<Ancestors>,
    /// The digests of listings that were found inside themselves, anywhere in the tree.
    circles: Arc<Mutex<HashSet<u64>>>,
}

impl Ancestors {
    fn up(&self) -> impl Iterator<Item = &Ancestor> {
        std::iter::successors(Some(&*self.0), |at| at.above.as_ref().map(|above| &*above.0))
    }

    /// Adds a directory that is entered; `None` if the walk is already in it.
    pub fn with(&self, entry: &ListingEntry) -> Option<Ancestors> {
        let unique = entry.unique.clone().filter(|_| entry.is_dir());
        let inside = unique.is_some() && self.up().any(|at| at.unique == unique);
        let (above, circles) = (Some(self.clone()), self.0.circles.clone());
        (!inside).then(|| Ancestors(Arc::new(Ancestor { unique, digest: OnceLock::new(), above, circles })))
    }

    /// Records the listing of the directory that was entered last.
    ///
    /// # Errors
    /// `Protocol` for a listing that was found inside itself.
    pub fn listed(&self, summary: &ListingSummary) -> Result<(), Fault> {
        // A chain of directories ends at the greatest depth; only a branching tree becomes too large for a walk.
        if summary.directories < 2 { Ok(()) } else { self.listed_as(summary.digest) }
    }

    fn listed_as(&self, digest: u64) -> Result<(), Fault> {
        let digest = *self.0.digest.get_or_init(|| digest);
        let same = self.up().skip(1).filter(|at| at.digest.get() == Some(&digest)).count();
        let mut circles = self.0.circles.lock().unwrap_or_else(PoisonError::into_inner);
        if same >= MAX_SAME {
            circles.insert(digest);
        }
        match same > 0 && circles.contains(&digest) {
            true => Err(Fault::new(Kind::Protocol, format!("{INSIDE_ITSELF}: the same listing on many levels"))),
            false => Ok(()),
        }
    }
}

/// The target of a link in the directory `inside`, both relative to the root (`inside` is empty for the root itself); `None` if
/// the target is outside. `root` is the path of the root on the side of the link.
///
/// `..` is allowed only at the beginning: behind a name that is itself a link, it could lead anywhere.
pub(super) fn resolve(root: &[u8], inside: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if target.starts_with(b"/") {
        let below = match root {
            b"/" => target.get(1..)?,
            root if root.starts_with(b"/") => match target.strip_prefix(root)? {
                b"" => b"",
                below => below.strip_prefix(b"/")?,
            },
            // The root is relative to an unknown login directory.
            _ => return None,
        };
        return descend(Vec::new(), below);
    }
    let mut at: Vec<&[u8]> = components(inside).collect();
    let mut rest = target;
    loop {
        match rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len()) {
            2 if rest.starts_with(b"..") => {
                at.pop()?;
            }
            1 if rest.starts_with(b".") => {}
            0 if !rest.is_empty() => {}
            _ => break,
        }
        let next = rest.iter().position(|byte| *byte == b'/').map_or(rest.len(), |slash| slash + 1);
        rest = rest.get(next..).unwrap_or_default();
    }
    descend(at.join(&b'/'), rest)
}

/// Appends the components of `below`, none of which may be `..`.
fn descend(mut path: Vec<u8>, below: &[u8]) -> Option<Vec<u8>> {
    for name in components(below).filter(|name| *name != b".") {
        if name == b".." || name.contains(&0) {
            return None;
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    Some(path)
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// True when `above` is `path` itself or a directory above it: entering it from there would never end.
pub(super) fn contains(above: &[u8], path: &[u8]) -> bool {
    above.is_empty() || path == above || (path.starts_with(above) && path.get(above.len()) == Some(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_and_outside() {
        let table: &[(&str, &str, &str, Option<&str>)] = &[
            ("pub", "", "x", Some("x")),
            ("pub", "a/b", "x/y", Some("a/b/x/y")),
            ("pub", "a/b", "../x", Some("a/x")),
            ("pub", "a/b", "../..", Some("")),
            ("pub", "a/b", "../../", Some("")),
            ("pub", "a/b", "./../x/./y/", Some("a/x/y")),
            ("pub", "a/b", ".", Some("a/b")),
            ("pub", "a/b", "../../..", None),
            ("pub", "", "..", None),
            ("pub", "a", "../../x", None),
            ("pub", "a", "x/../y", None),
            ("pub", "a", "x/../../..", None),
            ("pub", "a", "/etc/passwd", None),
            ("pub", "a", "/pub/x", None),
            ("/pub", "a", "/pub/x", Some("x")),
            ("/pub", "a", "/pub", Some("")),
            ("/pub", "a", "/public/x", None),
            ("/pub", "a", "/pub/../etc", None),
            ("/", "a", "/x/y", Some("x/y")),
            ("pub", "a", "..x/..y", Some("a/..x/..y")),
            ("pub", "a", ".//x", Some("a/x")),
            ("pub", "a", "x\0y", None),
        ];
        for (root, inside, target, wanted) in table {
            let found = resolve(root.as_bytes(), inside.as_bytes(), target.as_bytes());
            assert_eq!(found.as_deref(), wanted.map(str::as_bytes), "{root} {inside} {target}");
        }
    }

    #[test]
    fn a_directory_inside_itself() {
        let directory = |unique: Option<&[u8]>| {
            let unique = unique.map(<[u8]>::to_vec);
            ListingEntry { unique, ..ListingEntry::new("x", crate::ftp::listing::EntryType::Directory) }
        };
        let top = Ancestors::default().with(&directory(Some(b"1"))).unwrap();
        let inner = top.with(&directory(None)).unwrap().with(&directory(Some(b"2"))).unwrap();
        assert!(inner.with(&directory(Some(b"1"))).is_none() && inner.with(&directory(Some(b"2"))).is_none());
        assert!(inner.with(&directory(Some(b"3"))).is_some() && top.with(&directory(Some(b"2"))).is_some());
        let file = ListingEntry {
            unique: Some(b"1".to_vec()),
            ..ListingEntry::new("x", crate::ftp::listing::EntryType::File)
        };
        assert!(top.with(&file).is_some(), "two names of a file are no circle");
    }

    #[test]
    fn a_listing_inside_itself() {
        let entry = ListingEntry::new("x", crate::ftp::listing::EntryType::Directory);
        let top = Ancestors::default();
        let mut at = top.clone();
        let levels = (0..)
            .take_while(|_| {
                at.listed_as(7).is_ok() && {
                    at = at.with(&entry).unwrap();
                    true
                }
            })
            .count();
        assert_eq!(levels, MAX_SAME);
        // Known from now on everywhere in this tree, and nowhere else.
        let beside = top.with(&entry).unwrap();
        assert!(beside.listed_as(7).is_err() && beside.with(&entry).unwrap().listed_as(8).is_ok());
        assert!(Ancestors::default().listed_as(7).is_ok());
    }

    #[test]
    fn circles() {
        for (above, path, wanted) in [
            ("", "", true),
            ("", "a", true),
            ("a", "a", true),
            ("a", "a/b", true),
            ("a", "ab", false),
            ("a/b", "a", false),
        ] {
            assert_eq!(contains(above.as_bytes(), path.as_bytes()), wanted, "{above} {path}");
        }
    }
}
