//! Which Maildir a recipient's mail goes into.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::fault::Fault;
use crate::mail::maildir::{Maildir, is_safe_name};

/// The directory of the mailboxes.
#[derive(Debug)]
pub(super) struct Mailboxes {
    base: PathBuf,
    create: bool,
}

impl Mailboxes {
    /// The mailboxes that exist in this directory.
    pub(super) fn open(base: &Path) -> Result<Mailboxes, Fault> {
        std::fs::read_dir(base).map_err(|error| Fault::local(base.display(), &error))?;
        Ok(Mailboxes { base: base.to_owned(), create: false })
    }

    /// Mailboxes are made in this directory as mail comes for them.
    pub(super) fn create(base: &Path) -> Result<Mailboxes, Fault> {
        std::fs::create_dir_all(base).map_err(|error| Fault::local(base.display(), &error))?;
        Ok(Mailboxes { base: base.to_owned(), create: true })
    }

    /// Where the mailbox of `local@domain` lies: `DIR/DOMAIN/local` where DIR/DOMAIN is a directory, else `DIR/local`. The
    /// name as written is tried first, then in lower case, then both without `+detail`. `None`: no such mailbox. A mailbox
    /// that [`Mailboxes::maildir`] would make need not exist yet: a question makes nothing.
    pub(super) fn find(&self, local: &str, domain: &str) -> Result<Option<PathBuf>, Fault> {
        let own = self.base.join(domain);
        let base = if is_safe_name(domain) && own.is_dir() { own } else { self.base.clone() };
        let lower = local.to_lowercase();
        for name in [local, &lower, plain(local), plain(&lower)] {
            if let Some(path) = Maildir::find(&base, name)? {
                return Ok(Some(path));
            }
        }
        let name = plain(&lower);
        Ok((is_safe_name(name) && self.may_make(name)).then(|| base.join(name)))
    }

    /// Opens the mailbox that [`Mailboxes::find`] found, for a message that is there.
    pub(super) fn maildir(&self, path: &Path) -> Result<Maildir, Fault> {
        let may_make = path.file_name().and_then(OsStr::to_str).is_some_and(|name| self.may_make(name));
        if may_make { Maildir::create(path) } else { Maildir::open(path) }
    }

    /// A directory for a nameless file, where the message for this mailbox may be written as it arrives.
    pub(super) fn room_for(&self, path: Option<&Path>) -> PathBuf {
        let mut of_mailbox = path.into_iter().flat_map(|path| [path.join("tmp"), path.to_owned()]);
        of_mailbox.find(|directory| directory.is_dir()).unwrap_or_else(|| self.base.clone())
    }

    /// RFC 5321, section 4.5.1: every domain has a postmaster.
    fn may_make(&self, name: &str) -> bool {
        self.create || name == "postmaster"
    }
}

/// The local part without its `+detail`.
fn plain(local: &str) -> &str {
    match local.split_once('+') {
        Some((name, _)) if !name.is_empty() => name,
        _ => local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_details() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path();
        for name in ["bob", "Eve", "list+all", "other.test/bob"] {
            std::fs::create_dir_all(base.join(name)).unwrap();
        }
        let mailboxes = Mailboxes::open(base).unwrap();
        let find = |local: &str, domain: &str| {
            let found = mailboxes.find(local, domain).unwrap();
            found.map(|path| path.strip_prefix(base).unwrap().to_string_lossy().into_owned())
        };
        let table = [
            ("bob", "bob.test", Some("bob")),
            ("BOB", "bob.test", Some("bob")),
            ("bob+shop", "bob.test", Some("bob")),
            ("Bob+Shop+x", "bob.test", Some("bob")),
            ("Eve", "bob.test", Some("Eve")),
            ("list+all", "bob.test", Some("list+all")),
            ("bob", "other.test", Some("other.test/bob")),
            ("postmaster", "bob.test", Some("postmaster")),
            ("eve", "bob.test", None),
            ("nobody", "bob.test", None),
            ("Eve", "other.test", None),
            ("+bob", "bob.test", None),
            ("..", "bob.test", None),
            ("../bob", "bob.test", None),
            (".", "bob.test", None),
            ("other.test/bob", "bob.test", None),
            ("", "bob.test", None),
        ];
        for (local, domain, expected) in table {
            assert_eq!(find(local, domain).as_deref(), expected, "{local}@{domain}");
        }
        let creating = Mailboxes::create(base).unwrap();
        let new = creating.find("new+x", "bob.test").unwrap().unwrap();
        assert!(new.ends_with("new") && !new.exists() && !base.join("postmaster").exists(), "a question makes nothing");
        assert!(creating.find("../x", "bob.test").unwrap().is_none());
        creating.maildir(&new).unwrap();
        assert!(new.join("tmp").is_dir());
        assert!(mailboxes.maildir(&base.join("gone")).is_err() && !base.join("gone").exists());
    }
}
