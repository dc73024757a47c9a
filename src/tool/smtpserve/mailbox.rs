//! Which Maildir a recipient's mail goes into.

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

    /// The mailbox of `local@domain`: `DIR/DOMAIN/local` where DIR/DOMAIN is a directory, else `DIR/local`. The name as
    /// written is tried first, then in lower case, then both without `+detail`. `None`: no such mailbox.
    pub(super) fn find(&self, local: &str, domain: &str) -> Result<Option<Maildir>, Fault> {
        let own = self.base.join(domain);
        let base = if is_safe_name(domain) && own.is_dir() { own } else { self.base.clone() };
        let lower = local.to_lowercase();
        let names = [local, &lower, plain(local), plain(&lower)];
        for name in names {
            if let Some(maildir) = Maildir::find(&base, name)? {
                return Ok(Some(maildir));
            }
        }
        let name = plain(&lower);
        // RFC 5321, section 4.5.1: every domain has a postmaster.
        if (self.create || name == "postmaster") && is_safe_name(name) {
            return Maildir::create(&base.join(name)).map(Some);
        }
        Ok(None)
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
            found.map(|maildir| maildir.path().strip_prefix(base).unwrap().to_string_lossy().into_owned())
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
        assert!(creating.find("new+x", "bob.test").unwrap().unwrap().path().ends_with("new"));
        assert!(creating.find("../x", "bob.test").unwrap().is_none());
    }
}
