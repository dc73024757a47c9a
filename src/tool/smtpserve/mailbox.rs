//! The Maildir of each recipient.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use unicode_normalization::UnicodeNormalization as _;

use crate::blob::file::BlobWriter;
use crate::fault::{Fault, Kind};
use crate::mail::maildir::owners::{OwnersMailboxes, StagedByOwner};
use crate::mail::maildir::quota::{self, MailboxLimit};
use crate::mail::maildir::{Delivered, FileIdentity, INNER, Maildir, Staged, is_safe_name};
use crate::net::reload::Reloaded;
use crate::net::sandbox::Sandbox;

use super::names::is_plain_name;
use super::quotas::QuotaTable;

/// The directory with the mailboxes.
#[derive(Debug)]
pub(super) struct Mailboxes {
    base: PathBuf,
    create: bool,
    /// The local domains, as A-labels in lower case. A directory with such a name is not a user's mailbox.
    domains: Reloaded<Vec<String>>,
    /// The directories that the helper knows, which was started with them.
    table: Vec<PathBuf>,
    quotas: QuotaTable,
    /// The mailbox directories as last seen. One that has since disappeared or become empty is not mounted.
    seen: Mutex<HashMap<PathBuf, SeenPlace>>,
    /// The helper that opens mailboxes as their owners, if these are not the server's user.
    owners: Option<Arc<OwnersMailboxes>>,
}

/// A message in a mailbox that is not yet visible.
pub(super) enum StagedMail {
    Own(Staged),
    Owners(StagedByOwner),
}

impl StagedMail {
    /// Makes the message visible. The errors are those of [`Staged::commit`] and [`StagedByOwner::commit`].
    pub(super) fn commit(self) -> Result<Delivered, Fault> {
        match self {
            StagedMail::Own(staged) => staged.commit(),
            StagedMail::Owners(staged) => staged.commit(),
        }
    }
}

/// A mailbox directory as last seen.
#[derive(Debug, Clone, Copy)]
struct SeenPlace {
    identity: FileIdentity,
    filled: bool,
}

impl SeenPlace {
    /// The current state of a directory; `None` if there is none.
    fn of(path: &Path) -> Result<Option<SeenPlace>, Fault> {
        let Some(identity) = FileIdentity::of(path).ok().filter(|_| path.is_dir()) else { return Ok(None) };
        let mut entries = std::fs::read_dir(path).map_err(|error| Fault::local(path.display(), &error))?;
        let empty = entries.all(|entry| entry.is_ok_and(|entry| entry.file_name() == "lost+found"));
        Ok(Some(SeenPlace { identity, filled: !empty }))
    }
}

/// A mailbox that exists, or will be created for its first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundMailbox {
    pub(super) path: PathBuf,
    /// The name that was found, with its `+detail`: the local part of the delivery address, in one spelling.
    pub(super) local: String,
    /// The text after the `+`, or an empty text.
    pub(super) detail: String,
}

impl Mailboxes {
    /// Opens the existing mailboxes in this directory, for these domains.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`] if the directory does not exist.
    pub(super) fn open(base: &Path, domains: &[String]) -> Result<Mailboxes, Fault> {
        std::fs::read_dir(base).map_err(|error| Fault::local(base.display(), &error))?;
        let own = domains.iter().map(|domain| base.join(domain));
        let mut seen = HashMap::new();
        for place in std::iter::once(base.to_owned()).chain(own) {
            if let Some(found) = SeenPlace::of(&place)? {
                seen.insert(place, found);
            }
        }
        let (table, domains) = (Mailboxes::table(base, domains), Reloaded::new(domains.to_vec()));
        let (base, quotas) = (base.to_owned(), QuotaTable::default());
        Ok(Mailboxes { base, create: false, domains, table, quotas, seen: Mutex::new(seen), owners: None })
    }

    /// Opens a directory in which mailboxes are created when mail arrives for them.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`] if the directory does not exist and cannot be created.
    pub(super) fn create(base: &Path, domains: &[String]) -> Result<Mailboxes, Fault> {
        std::fs::create_dir_all(base).map_err(|error| Fault::local(base.display(), &error))?;
        Ok(Mailboxes::open(base, domains)?.creating(true))
    }

    /// Sets whether missing mailboxes are created.
    pub(super) fn creating(self, create: bool) -> Mailboxes {
        Mailboxes { create, ..self }
    }

    /// Sets the helper that opens the mailboxes as their owners.
    pub(super) fn opened_by(self, owners: Option<Arc<OwnersMailboxes>>) -> Mailboxes {
        Mailboxes { owners, ..self }
    }

    /// Sets the limits of the mailboxes.
    pub(super) fn limited_by(self, quotas: QuotaTable) -> Mailboxes {
        Mailboxes { quotas, ..self }
    }

    /// The limit of a mailbox.
    pub(super) fn limit(&self, mailbox: &FoundMailbox, domain: &str) -> Option<MailboxLimit> {
        self.quotas.of(&mailbox.local, domain)
    }

    /// True if a message of this size is within the limit of the mailbox, or the mailbox does not exist yet.
    ///
    /// # Errors
    /// Those of [`quota::has_room`] and [`OwnersMailboxes::has_room`].
    pub(super) fn has_room(&self, path: &Path, limit: MailboxLimit, bytes: u64) -> Result<bool, Fault> {
        if path.symlink_metadata().is_err() {
            return Ok(limit.bytes == 0 || bytes <= limit.bytes);
        }
        match &self.owners {
            None => quota::has_room(path, limit, bytes),
            Some(owners) => {
                let (place, name) = self.entry(path)?;
                owners.has_room(place, name, limit, bytes)
            }
        }
    }

    /// Checks that these domains can be served from now on.
    ///
    /// # Errors
    /// [`Kind::Config`] for a domain whose directory the helper does not know.
    pub(super) fn may_serve(&self, domains: &[String]) -> Result<(), Fault> {
        let unknown = |place: &PathBuf| self.owners.is_some() && place.is_dir() && !self.table.contains(place);
        match Mailboxes::table(&self.base, domains).into_iter().find(unknown) {
            Some(place) => {
                let why =
                    format!("{}: the directory of a new domain, with mailboxes of several owners", place.display());
                Err(Fault::new(Kind::Config, why).with_hint("a restart serves it"))
            }
            None => Ok(()),
        }
    }

    /// Replaces the domains.
    pub(super) fn serve(&self, domains: &[String]) {
        self.domains.replace(domains.to_vec());
    }

    /// The directories that contain mailboxes: `DIR`, then those of the domains.
    pub(super) fn table(base: &Path, domains: &[String]) -> Vec<PathBuf> {
        std::iter::once(base.to_owned()).chain(domains.iter().map(|domain| base.join(domain))).collect()
    }

    /// Permits everything that mail is written to: the directory, and the targets of links in it and in the directories of domains.
    /// With a helper for the owners, the directory is only readable.
    pub(super) fn name_files(&self, sandbox: &mut Sandbox) {
        if self.owners.is_some() {
            return sandbox.read(&self.base);
        }
        let listed = |directory: PathBuf| std::fs::read_dir(directory).into_iter().flatten().flatten();
        let entries = self.table.iter().cloned().flat_map(listed);
        let links = entries.map(|entry| entry.path()).filter(|path| path.is_symlink());
        std::iter::once(self.base.clone()).chain(links).for_each(|place| sandbox.write(place));
    }

    /// Finds the mailbox of `local@domain`, in `DIR/DOMAIN` if that is a directory, else in `DIR`. The name is tried as
    /// written, then in lower case, then both without `+detail`, each composed (NFC) before decomposed. `None` if there is no such
    /// mailbox. A mailbox that [`Mailboxes::maildir`] would create need not exist yet: finding it creates nothing.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`], and [`Kind::LookupFailed`] while the directory is missing: a mailbox that is not found may
    /// exist nevertheless.
    pub(super) fn find(&self, local: &str, domain: &str) -> Result<Option<FoundMailbox>, Fault> {
        let place = self.place(domain)?;
        let lower = local.to_lowercase();
        let (plain, detail) = split_detail(local);
        let (plain_lower, detail_lower) = split_detail(&lower);
        for (name, detail) in [(local, ""), (lower.as_str(), ""), (plain, detail), (plain_lower, detail_lower)] {
            let forms = match name.is_ascii() {
                true => vec![name.to_owned()],
                false => vec![name.nfc().collect(), name.nfd().collect(), name.to_owned()],
            };
            for form in forms {
                if !self.is_reserved(&place, &form)
                    && let Some(path) = self.look(&place, &form)?
                {
                    return Ok(Some(FoundMailbox::new(path, &name.nfc().collect::<String>(), detail)));
                }
            }
        }
        self.check(&place)?;
        let name: String = plain_lower.nfc().collect();
        let path = place.join(&name);
        let free = is_safe_name(&name) && !self.is_reserved(&place, &name) && path.symlink_metadata().is_err();
        Ok((free && may_make(&name, self.create)).then(|| FoundMailbox::new(path, &name, detail_lower)))
    }

    /// [`Maildir::find`], by the helper if there is one.
    fn look(&self, place: &Path, name: &str) -> Result<Option<PathBuf>, Fault> {
        let Some(owners) = &self.owners else { return Maildir::find(place, name) };
        let path = place.join(name);
        if !is_safe_name(name) {
            return Ok(None);
        }
        // No helper is needed for a name that does not exist.
        match path.symlink_metadata() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(|error| Fault::local(path.display(), &error))?,
        };
        let (place, name) = self.entry(&path)?;
        Ok(owners.find(place, name)?.then_some(path))
    }

    /// The index in [`Mailboxes::table`] of the directory with this mailbox, and the mailbox's name in it.
    fn entry<'a>(&self, path: &'a Path) -> Result<(u16, &'a str), Fault> {
        let number = self.table.iter().position(|place| path.parent() == Some(place));
        let name = path.file_name().and_then(OsStr::to_str);
        let entry = number.and_then(|number| u16::try_from(number).ok()).zip(name);
        entry.ok_or_else(|| Fault::new(Kind::Internal, format!("{}: not in the table of owners", path.display())))
    }

    /// Opens the mailbox that [`Mailboxes::find`] found, when a message for it has arrived.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`], and [`Kind::LookupFailed`] while the directory of the mailboxes is missing.
    pub(super) fn maildir(&self, path: &Path) -> Result<Maildir, Fault> {
        if self.is_to_be_made(path)? {
            return Maildir::create(path);
        }
        Maildir::open(path)
    }

    /// True if the mailbox does not exist and may be created now.
    fn is_to_be_made(&self, path: &Path) -> Result<bool, Fault> {
        let name = path.file_name().and_then(OsStr::to_str);
        let new = name.is_some_and(|name| may_make(name, self.create)) && path.symlink_metadata().is_err();
        if let Some(place) = path.parent().filter(|_| new) {
            self.check(place)?;
        }
        Ok(new)
    }

    /// Creates the mailbox if it does not exist and may be created.
    fn make(&self, path: &Path) -> Result<(), Fault> {
        match &self.owners {
            None => self.maildir(path).map(drop),
            Some(owners) if self.is_to_be_made(path)? => {
                let (place, name) = self.entry(path)?;
                owners.make(place, name)
            }
            Some(_) => Ok(()),
        }
    }

    /// Stages a message in a mailbox, which is created if necessary.
    ///
    /// # Errors
    /// Those of [`Mailboxes::maildir`], [`Maildir::stage`] and [`OwnersMailboxes::stage`].
    pub(super) fn stage(&self, path: &Path, head: &[u8], content: &mut dyn Read) -> Result<StagedMail, Fault> {
        let Some(owners) = &self.owners else {
            return Ok(StagedMail::Own(self.maildir(path)?.stage(head, content)?));
        };
        self.make(path)?;
        let (place, name) = self.entry(path)?;
        Ok(StagedMail::Owners(owners.stage(place, name, head, content)?))
    }

    /// The identity of a mailbox's directory, which is the same for all of its names. The mailbox is created if necessary.
    ///
    /// # Errors
    /// Those of [`Mailboxes::maildir`].
    pub(super) fn identity(&self, path: &Path) -> Result<FileIdentity, Fault> {
        FileIdentity::of(path).or_else(|_| {
            self.make(path)?;
            FileIdentity::of(path).map_err(|error| Fault::local(path.display(), &error))
        })
    }

    /// The writer for an arriving message. If the message outgrows memory, it is written to a nameless file of the first mailbox
    /// that it is for.
    pub(super) fn room_for(self: &Arc<Self>, path: Option<&Path>, max_memory: usize) -> BlobWriter {
        if let (Some(owners), Some(path)) = (self.owners.clone(), path.map(Path::to_owned)) {
            let mailboxes = self.clone();
            let open = move || {
                mailboxes.make(&path)?;
                let (place, name) = mailboxes.entry(&path)?;
                owners.room(place, name)
            };
            return BlobWriter::nameless(
                move || open().map_err(|fault| std::io::Error::other(fault.detail)),
                max_memory,
            );
        }
        let mut of_mailbox = path.into_iter().flat_map(|path| [path.join("tmp"), path.to_owned()]);
        let directory = of_mailbox.find(|directory| directory.is_dir()).unwrap_or_else(|| self.base.clone());
        BlobWriter::anonymous(directory, max_memory)
    }

    /// The directory with the mailboxes of a domain.
    fn place(&self, domain: &str) -> Result<PathBuf, Fault> {
        let own = self.base.join(domain);
        if !is_safe_name(domain) {
            return Ok(self.base.clone());
        }
        match std::fs::metadata(&own) {
            Ok(found) if found.is_dir() => {
                if !self.seen().contains_key(&own)
                    && let Some(found) = SeenPlace::of(&own)?
                {
                    self.seen().insert(own.clone(), found);
                }
                Ok(own)
            }
            // It was there, or a link to it still is.
            _ if self.seen().contains_key(&own) || own.is_symlink() => Err(away(&own)),
            Ok(_) => Ok(self.base.clone()),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                Ok(self.base.clone())
            }
            Err(error) => Err(Fault::local(own.display(), &error)),
        }
    }

    /// Checks that a name missing from the directory does not exist. The mount point of an unmounted file system is empty, so an
    /// empty directory is trusted only if mailboxes may be created, and if it was the same and empty before.
    fn check(&self, place: &Path) -> Result<(), Fault> {
        let found = SeenPlace::of(place)?.ok_or_else(|| away(place))?;
        let known = self.seen().get(place).is_none_or(|before| !before.filled && before.identity == found.identity);
        let certain = found.filled || (self.create && known);
        if !certain {
            return Err(away(place));
        }
        self.seen().insert(place.to_owned(), found);
        Ok(())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, SeenPlace>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True for entries that are not mailboxes: the directory of a local domain, and, if the directory of the mailboxes is
    /// itself a Maildir, the subdirectories of that.
    fn is_reserved(&self, place: &Path, name: &str) -> bool {
        let is_domain = || idna::domain_to_ascii(name).is_ok_and(|name| self.domains.now().contains(&name));
        let is_inner =
            || INNER.contains(&name) && Maildir::is_complete(place) && !Maildir::is_complete(&place.join(name));
        (place == self.base && is_domain()) || is_inner()
    }
}

/// True if a mailbox with this name may be created. Every domain has a postmaster (RFC 5321, section 4.5.1).
pub(super) fn may_make(name: &str, create: bool) -> bool {
    (create && is_plain_name(name)) || name == "postmaster"
}

impl FoundMailbox {
    fn new(path: PathBuf, name: &str, detail: &str) -> FoundMailbox {
        let local = if detail.is_empty() { name.to_owned() } else { format!("{name}+{detail}") };
        FoundMailbox { path, local, detail: detail.to_lowercase().nfc().collect() }
    }
}

fn away(place: &Path) -> Fault {
    Fault::new(Kind::LookupFailed, format!("{}: the directory of the mailboxes is gone or empty", place.display()))
        .with_hint("mail is refused with 451 until it exists: is its file system mounted?")
}

/// The local part without its `+detail`, and the detail.
fn split_detail(local: &str) -> (&str, &str) {
    local.split_once('+').filter(|(name, _)| !name.is_empty()).unwrap_or((local, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains() -> Vec<String> {
        ["bob.test", "other.test", "xn--bcher-kva.test"].map(str::to_owned).to_vec()
    }

    fn directories(base: &Path, names: &[&str]) {
        names.iter().for_each(|name| std::fs::create_dir_all(base.join(name)).unwrap());
    }

    #[test]
    fn names_and_details() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path();
        directories(base, &["bob", "Eve", "list+all", "other.test/bob", "queue/body", "j\u{f6}rg", "o\u{308}re"]);
        let mailboxes = Mailboxes::open(base, &domains()).unwrap();
        let find = |local: &str, domain: &str| {
            let found = mailboxes.find(local, domain).unwrap()?;
            let path = found.path.strip_prefix(base).unwrap().to_string_lossy().into_owned();
            Some((path, found.local, found.detail))
        };
        let table = [
            ("bob", "bob.test", Some(("bob", "bob", ""))),
            ("BOB", "bob.test", Some(("bob", "bob", ""))),
            ("bob+shop", "bob.test", Some(("bob", "bob+shop", "shop"))),
            ("Bob+Shop+x", "bob.test", Some(("bob", "bob+shop+x", "shop+x"))),
            ("Eve", "bob.test", Some(("Eve", "Eve", ""))),
            ("Eve+Y", "bob.test", Some(("Eve", "Eve+Y", "y"))),
            ("list+all", "bob.test", Some(("list+all", "list+all", ""))),
            ("bob", "other.test", Some(("other.test/bob", "bob", ""))),
            ("postmaster", "bob.test", Some(("postmaster", "postmaster", ""))),
            ("j\u{f6}rg", "bob.test", Some(("j\u{f6}rg", "j\u{f6}rg", ""))),
            ("JO\u{308}RG+x", "bob.test", Some(("j\u{f6}rg", "j\u{f6}rg+x", "x"))),
            ("\u{d6}RE", "bob.test", Some(("o\u{308}re", "\u{f6}re", ""))),
            ("o\u{308}re", "bob.test", Some(("o\u{308}re", "\u{f6}re", ""))),
            ("eve", "bob.test", None),
            ("nobody", "bob.test", None),
            ("Eve", "other.test", None),
            ("+bob", "bob.test", None),
            ("..", "bob.test", None),
            ("../bob", "bob.test", None),
            (".", "bob.test", None),
            ("other.test/bob", "bob.test", None),
            ("", "bob.test", None),
            ("other.test", "bob.test", None),
            ("OTHER.test+x", "bob.test", None),
            ("queue", "bob.test", None),
        ];
        for (local, domain, expected) in table {
            let expected = expected.map(|(path, name, detail)| (path.to_owned(), name.to_owned(), detail.to_owned()));
            assert_eq!(find(local, domain), expected, "{local}@{domain}");
        }
        let creating = Mailboxes::create(base, &domains()).unwrap();
        let new = creating.find("new+x", "bob.test").unwrap().unwrap().path;
        assert!(new.ends_with("new") && !new.exists() && !base.join("postmaster").exists(), "a question makes nothing");
        creating.maildir(&new).unwrap();
        assert!(new.join("tmp").is_dir());
        let made = creating.find("KO\u{308}NIG", "bob.test").unwrap().unwrap().path;
        assert!(made.ends_with("k\u{f6}nig"));
        assert!(mailboxes.maildir(&base.join("gone")).is_err() && !base.join("gone").exists());
        let never =
            ["../x", "bob.test", "Other.Test", "b\u{fc}cher.test", "queue", "\u{202e}bob", "b\u{200b}b", " bob"];
        for name in never {
            assert_eq!(creating.find(name, "bob.test").unwrap(), None, "{name:?}");
        }
    }

    #[test]
    fn the_inside_of_a_maildir_is_no_mailbox() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path();
        directories(
            base,
            &["cur", "new", "tmp", "new/new", "bob", "other.test/tmp/cur", "other.test/tmp/new", "other.test/tmp/tmp"],
        );
        for mailboxes in [Mailboxes::open(base, &domains()).unwrap(), Mailboxes::create(base, &domains()).unwrap()] {
            for name in ["cur", "new", "tmp", "NEW+x"] {
                assert_eq!(mailboxes.find(name, "bob.test").unwrap(), None, "{name}");
            }
            assert!(mailboxes.find("bob", "bob.test").unwrap().is_some());
            assert!(mailboxes.find("tmp", "other.test").unwrap().is_some(), "a mailbox of this name");
        }
    }

    #[test]
    fn an_empty_directory_is_trusted_by_who_fills_it() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["nobody", "postmaster"] {
            assert!(Mailboxes::open(directory.path(), &domains()).unwrap().find(name, "bob.test").is_err());
            assert!(Mailboxes::create(directory.path(), &domains()).unwrap().find(name, "bob.test").unwrap().is_some());
        }
    }

    #[test]
    fn what_is_away_is_not_missing() {
        let directory = tempfile::tempdir().unwrap();
        let base = &directory.path().join("mail");
        directories(base, &["bob", "other.test/bob"]);
        std::os::unix::fs::symlink(directory.path().join("disk"), base.join("eve")).unwrap();
        for create in [false, true] {
            let open = if create { Mailboxes::create } else { Mailboxes::open };
            let mailboxes = open(base, &domains()).unwrap();
            let asked = |name: &str, domain: &str| {
                mailboxes.find(name, domain).map(|found| found.is_some()).map_err(|fault| fault.kind)
            };
            assert_eq!(asked("nobody", "bob.test"), Ok(create));
            assert!(asked("eve", "bob.test").is_err(), "a link that leads nowhere");
            // The disk of a domain, then that of all.
            let other = base.join("other.test");
            std::fs::rename(&other, directory.path().join("other")).unwrap();
            assert_eq!(asked("bob", "other.test"), Err(Kind::LookupFailed));
            std::fs::create_dir(&other).unwrap();
            assert_eq!(asked("bob", "other.test"), Err(Kind::LookupFailed), "an empty mount point");
            assert_eq!(asked("bob", "bob.test"), Ok(true));
            std::fs::remove_dir(&other).unwrap();
            std::fs::rename(directory.path().join("other"), &other).unwrap();
            assert_eq!(asked("bob", "other.test"), Ok(true));
            // A directory that came later counts from then on.
            let late = base.join("late.test");
            directories(&late, &["bob"]);
            assert_eq!(asked("bob", "late.test"), Ok(true));
            std::fs::remove_dir_all(&late).unwrap();
            assert_eq!(asked("bob", "late.test"), Err(Kind::LookupFailed));
            let away = directory.path().join("away");
            std::fs::rename(base, &away).unwrap();
            for name in ["bob", "nobody", "postmaster"] {
                assert_eq!(asked(name, "bob.test"), Err(Kind::LookupFailed));
                assert!(mailboxes.maildir(&base.join(name)).is_err() && !base.exists(), "nothing is made");
            }
            std::fs::create_dir(base).unwrap();
            for name in ["bob", "nobody", "postmaster"] {
                assert_eq!(asked(name, "bob.test"), Err(Kind::LookupFailed));
                assert!(mailboxes.maildir(&base.join(name)).is_err());
            }
            std::fs::write(base.join("x"), "").unwrap();
            assert_eq!(asked("nobody", "bob.test"), Ok(create), "another directory that holds something");
            std::fs::remove_file(base.join("x")).unwrap();
            assert_eq!(asked("nobody", "bob.test"), Err(Kind::LookupFailed), "the same directory that holds nothing");
            std::fs::remove_dir_all(base).unwrap();
            std::fs::rename(&away, base).unwrap();
            assert_eq!((asked("bob", "bob.test"), asked("nobody", "bob.test")), (Ok(true), Ok(create)), "it is back");
        }
    }
}
