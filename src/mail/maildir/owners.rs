//! Mailboxes of several owners. The server may not open them, so a worker of the [`Helper`] does it as the owner. A request
//! names a directory by its index in a table, fixed before root was given up, and a mailbox name in it, never a path.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::thread::CapabilitySet;

use super::quota::{self, MailboxLimit};
use super::{DIRECTORY, Delivered, FileIdentity, Maildir, Staged, fill, is_safe_name, rename_to_new, unique_name};
use crate::fault::{Fault, Kind};
use crate::net::helper::{Helper, HelperAnswer, HelperTerms, become_owner};
use crate::net::privilege::UnixIdentity;
use crate::net::sandbox::Sandbox;

/// A request for one mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxRequest {
    /// The index of its directory in the table.
    pub place: u16,
    /// The mailbox name in that directory ([`is_safe_name`]).
    pub name: String,
    /// The requested action.
    pub act: MailboxAct,
}

/// An action on a mailbox, carried out as its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailboxAct {
    /// Check whether it is a mailbox ([`Maildir::find`]).
    Find,
    /// Create it, if that is allowed.
    Make,
    /// Open a nameless file in it, for an arriving message.
    Room,
    /// Create a file below `tmp`.
    Create,
    /// Move that file to `new` and sync the directory ([`Staged::commit`]).
    Commit(TemporaryFile),
    /// Remove that file.
    Discard(TemporaryFile),
    /// Check whether a message of this size is within the limit ([`quota::has_room`]).
    HasRoom(MailboxLimit, u64),
}

/// A file below `tmp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemporaryFile {
    name: String,
    identity: FileIdentity,
}

impl MailboxRequest {
    /// Encodes the request: the number of the action, the index of the directory, the length of the name, the name, then the
    /// temporary file, or the limit and the size.
    pub fn compose(&self) -> Vec<u8> {
        let (number, more) = match &self.act {
            MailboxAct::Find => (1, Vec::new()),
            MailboxAct::Make => (2, Vec::new()),
            MailboxAct::Room => (3, Vec::new()),
            MailboxAct::Create => (4, Vec::new()),
            MailboxAct::Commit(file) => (5, file.compose()),
            MailboxAct::Discard(file) => (6, file.compose()),
            MailboxAct::HasRoom(limit, bytes) => {
                (7, [limit.bytes, limit.messages, *bytes].map(u64::to_be_bytes).concat())
            }
        };
        let mut bytes = vec![number];
        bytes.extend(self.place.to_be_bytes());
        bytes.extend(u8::try_from(self.name.len()));
        bytes.extend(self.name.as_bytes());
        bytes.extend(more);
        bytes
    }

    /// Decodes a request. `None` for anything that [`MailboxRequest::compose`] does not produce from safe names.
    pub fn parse(bytes: &[u8]) -> Option<MailboxRequest> {
        let (number, bytes) = bytes.split_first()?;
        let (place, bytes) = bytes.split_first_chunk()?;
        let (length, bytes) = bytes.split_first()?;
        let (name, file) = bytes.split_at_checked(usize::from(*length))?;
        let act = match (number, file.is_empty()) {
            (1, true) => MailboxAct::Find,
            (2, true) => MailboxAct::Make,
            (3, true) => MailboxAct::Room,
            (4, true) => MailboxAct::Create,
            (5, false) => MailboxAct::Commit(TemporaryFile::parse(file)?),
            (6, false) => MailboxAct::Discard(TemporaryFile::parse(file)?),
            (7, false) => {
                let (words, []) = file.as_chunks::<8>() else { return None };
                let [bytes, messages, size] = <[[u8; 8]; 3]>::try_from(words).ok()?.map(u64::from_be_bytes);
                MailboxAct::HasRoom(MailboxLimit { bytes, messages }, size)
            }
            _ => return None,
        };
        Some(MailboxRequest { place: u16::from_be_bytes(*place), name: safe_name(name)?, act })
    }
}

impl TemporaryFile {
    fn compose(&self) -> Vec<u8> {
        let FileIdentity { device, inode } = self.identity;
        [&device.to_be_bytes(), &inode.to_be_bytes(), self.name.as_bytes()].concat()
    }

    fn parse(bytes: &[u8]) -> Option<TemporaryFile> {
        let (device, bytes) = bytes.split_first_chunk()?;
        let (inode, name) = bytes.split_first_chunk()?;
        let identity = FileIdentity { device: u64::from_be_bytes(*device), inode: u64::from_be_bytes(*inode) };
        Some(TemporaryFile { name: safe_name(name)?, identity })
    }

    fn staged(self, path: PathBuf) -> Staged {
        Staged { path, identity: self.identity, temporary: self.name, committed: false }
    }
}

fn safe_name(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().filter(|name| is_safe_name(name)).map(str::to_owned)
}

/// The permissions of the helper, fixed before root is given up.
#[derive(Debug)]
pub struct MailboxTable {
    /// The directory of the mailboxes, then the domain directories in it, whether they exist or not.
    pub places: Vec<PathBuf>,
    /// The identity of the server: it owns a new mailbox if the system has no user of that name.
    pub server: UnixIdentity,
    /// Decides which names may be created.
    pub may_make: fn(&str, bool) -> bool,
    /// Mailboxes are created when mail arrives for them.
    pub create: bool,
    /// root may own a mailbox.
    pub root_too: bool,
}

impl MailboxTable {
    /// Checks the directory of the mailboxes, as each request does.
    ///
    /// # Errors
    /// [`Kind::Config`] if users other than root and the server could change its entries.
    pub fn check(&self) -> Result<(), Fault> {
        self.place(0).map(drop)
    }

    /// Carries out a request as the owner of the mailbox: this process, a worker, takes on the owner's identity.
    ///
    /// # Errors
    /// [`Kind::Protocol`] for a request that is invalid or not in this table; [`Kind::Config`] for a mailbox that is a
    /// link or root's; else the kinds of [`Fault::local`].
    pub fn act(&self, request: &[u8]) -> Result<HelperAnswer, Fault> {
        let request = MailboxRequest::parse(request).ok_or_else(|| Fault::new(Kind::Protocol, "no such request"))?;
        let place = self.place(request.place)?;
        let path = place.join(&request.name);
        if request.act == MailboxAct::Make {
            self.make(place, &path, &request.name)?;
            return Ok(HelperAnswer::default());
        }
        let found = path.symlink_metadata().map_err(|error| Fault::local(path.display(), &error))?;
        if found.is_symlink() {
            return Err(config(&path, "a link: of several owners' mailboxes each must be a directory"));
        }
        self.serve_as(&path, &UnixIdentity::of_file(&path, &found)?, CapabilitySet::empty())?;
        let bytes = |bytes: Vec<u8>| Ok(HelperAnswer::new(bytes, None));
        match request.act {
            MailboxAct::Find => bytes(vec![Maildir::find(place, &request.name)?.is_some().into()]),
            MailboxAct::Make => Ok(HelperAnswer::default()),
            MailboxAct::Room => {
                let room = Some(path.join("tmp")).filter(|tmp| tmp.is_dir()).unwrap_or(path);
                let file = tempfile::tempfile_in(&room).map_err(|error| Fault::local(room.display(), &error))?;
                Ok(HelperAnswer::new(Vec::new(), Some(file.into())))
            }
            MailboxAct::Create => {
                let (mut staged, file) = Maildir::open(&path)?.begin()?;
                // From here on the server is responsible for the file.
                staged.committed = true;
                let file_name = TemporaryFile { name: staged.temporary.clone(), identity: staged.identity };
                Ok(HelperAnswer::new(file_name.compose(), Some(file.into())))
            }
            MailboxAct::Commit(file) => {
                let Delivered { path, size_bytes } = file.staged(path).commit()?;
                bytes([&size_bytes.to_be_bytes(), path.as_os_str().as_bytes()].concat())
            }
            MailboxAct::Discard(file) => {
                drop(file.staged(path));
                bytes(Vec::new())
            }
            MailboxAct::HasRoom(limit, size) => bytes(vec![quota::has_room(&path, limit, size)?.into()]),
        }
    }

    /// A directory of the table, in which only root and the server can replace a mailbox.
    fn place(&self, number: u16) -> Result<&Path, Fault> {
        let place = self.places.get(usize::from(number)).ok_or_else(|| Fault::new(Kind::Protocol, "no such place"))?;
        let looked = |found: std::io::Result<Metadata>| found.map_err(|error| Fault::local(place.display(), &error));
        if number > 0 {
            self.place(0)?;
        }
        // The directory that was named may be reached by a link, one that lies in it may not.
        let found = looked(if number > 0 { place.symlink_metadata() } else { place.metadata() })?;
        if !found.is_dir() {
            return Err(config(place, "no directory, and mailboxes of several owners lie in one"));
        }
        if !(found.uid() == 0 || self.server.owns(&found)) {
            return Err(config(place, "of several owners' mailboxes, the directory must belong to root or --run-as"));
        }
        match found.mode() & 0o022 {
            0 => Ok(place),
            _ => Err(config(place, "others may write there: chmod go-w, as there are mailboxes of several owners")),
        }
    }

    fn serve_as(&self, path: &Path, user: &UnixIdentity, kept: CapabilitySet) -> Result<(), Fault> {
        match user.is_root() && !self.root_too {
            true => Err(config(path, "a mailbox of root's; --i-know takes mail for it")),
            false => become_owner(user, kept),
        }
    }

    /// Creates the directory of a mailbox, durably, for the user of this name. It gets its final name only after its
    /// owner: a crash in between leaves nothing that a later message would find.
    fn make(&self, place: &Path, path: &Path, name: &str) -> Result<(), Fault> {
        if !(self.may_make)(name, self.create) {
            return Err(Fault::new(Kind::Protocol, "no mailbox that may be made"));
        }
        if path.symlink_metadata().is_ok() {
            return Ok(());
        }
        let heir = UnixIdentity::of_name(name)?.unwrap_or_else(|| self.server.clone());
        if heir.is_root() && !self.root_too {
            return Err(config(path, "a mailbox of root's; --i-know takes mail for it"));
        }
        let maker = UnixIdentity::owner_of(place)?;
        become_owner(&maker, CapabilitySet::CHOWN)?;
        let temporary = format!(".{}", unique_name());
        let hand_over = || -> std::io::Result<()> {
            let place = rustix::fs::open(place, DIRECTORY, Mode::empty())?;
            let made = rustix::fs::openat(&place, &*temporary, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
            let made = File::from(made);
            if !maker.owns(&made.metadata()?) {
                return Err(std::io::Error::other("another directory has taken its place"));
            }
            heir.own(&made)?;
            match rename_to_new(&place, temporary.as_ref(), &place, name.as_ref()) {
                Err(rustix::io::Errno::EXIST) => {
                    rustix::fs::unlinkat(&place, &*temporary, rustix::fs::AtFlags::REMOVEDIR)?
                }
                done => done?,
            }
            Ok(rustix::fs::fsync(&place)?)
        };
        let made = DirBuilder::new()
            .mode(0o700)
            .create(place.join(&temporary))
            .and_then(|()| hand_over().inspect_err(|_| drop(std::fs::remove_dir(place.join(&temporary)))));
        made.map_err(|error| Fault::creating(path.display(), &error))
    }
}

fn config(path: &Path, why: &str) -> Fault {
    Fault::new(Kind::Config, format!("{}: {why}", path.display()))
}

/// The server's side of the mailboxes that the helper opens.
#[derive(Debug)]
pub struct OwnersMailboxes {
    helper: Arc<Helper>,
}

impl OwnersMailboxes {
    /// Starts the helper with this table. Must be called as root, before the first thread starts.
    ///
    /// # Errors
    /// Those of [`Helper::start`].
    pub fn start(table: MailboxTable, sandbox: Option<Sandbox>) -> Result<OwnersMailboxes, Fault> {
        let server = table.server.clone();
        let helper = Helper::start(&server, HelperTerms::MAILBOXES, sandbox, move |request| table.act(request))?;
        Ok(OwnersMailboxes { helper: Arc::new(helper) })
    }

    /// The helper.
    pub fn helper(&self) -> Arc<Helper> {
        self.helper.clone()
    }

    fn ask(&self, place: u16, name: &str, act: MailboxAct) -> Result<HelperAnswer, Fault> {
        self.helper.ask(&MailboxRequest { place, name: name.to_owned(), act }.compose())
    }

    fn open(&self, place: u16, name: &str, act: MailboxAct) -> Result<(Vec<u8>, File), Fault> {
        let answer = self.ask(place, name, act)?;
        let file = answer.file.map(File::from);
        file.map(|file| (answer.bytes, file)).ok_or_else(odd)
    }

    /// True if a mailbox of this name exists ([`Maildir::find`]).
    ///
    /// # Errors
    /// Those of [`MailboxTable::act`] and [`Helper::ask`]; the same applies to the following methods.
    pub fn find(&self, place: u16, name: &str) -> Result<bool, Fault> {
        Ok(self.ask(place, name, MailboxAct::Find)?.bytes == [1])
    }

    /// True if a message of this size is within the limit of a mailbox.
    ///
    /// # Errors
    /// As above, and those of [`quota::has_room`].
    pub fn has_room(&self, place: u16, name: &str, limit: MailboxLimit, bytes: u64) -> Result<bool, Fault> {
        Ok(self.ask(place, name, MailboxAct::HasRoom(limit, bytes))?.bytes == [1])
    }

    /// Creates a mailbox unless it exists.
    ///
    /// # Errors
    /// As above.
    pub fn make(&self, place: u16, name: &str) -> Result<(), Fault> {
        self.ask(place, name, MailboxAct::Make).map(drop)
    }

    /// Opens a nameless file in a mailbox.
    ///
    /// # Errors
    /// As above.
    pub fn room(&self, place: u16, name: &str) -> Result<File, Fault> {
        self.open(place, name, MailboxAct::Room).map(|(_, file)| file)
    }

    /// The first half of a delivery, like [`Maildir::stage`]: it writes the owner's file.
    ///
    /// # Errors
    /// As above, and those of [`Maildir::stage`].
    pub fn stage(
        self: &Arc<Self>,
        place: u16,
        name: &str,
        head: &[u8],
        content: &mut dyn Read,
    ) -> Result<StagedByOwner, Fault> {
        let (bytes, file) = self.open(place, name, MailboxAct::Create)?;
        let temporary = TemporaryFile::parse(&bytes).ok_or_else(odd)?;
        let staged = StagedByOwner { owners: self.clone(), place, name: name.to_owned(), temporary, committed: false };
        fill(file, head, content).map_err(|error| super::writing(name, error))?;
        Ok(staged)
    }
}

fn odd() -> Fault {
    Fault::new(Kind::Internal, "an answer of the helper process that is none")
}

/// A message written and synced below `tmp` in an owner's mailbox. Dropping it removes the file.
#[derive(Debug)]
pub struct StagedByOwner {
    owners: Arc<OwnersMailboxes>,
    place: u16,
    name: String,
    temporary: TemporaryFile,
    committed: bool,
}

impl StagedByOwner {
    /// Makes the message visible: [`Staged::commit`] by the owner.
    ///
    /// # Errors
    /// Those of [`Staged::commit`] and [`Helper::ask`].
    pub fn commit(mut self) -> Result<Delivered, Fault> {
        let answer = self.owners.ask(self.place, &self.name, MailboxAct::Commit(self.temporary.clone()))?;
        self.committed = true;
        // The worker committed the message: its reply stands for the proof.
        let (size, path) = answer.bytes.split_first_chunk().ok_or_else(odd)?;
        Ok(Delivered { path: PathBuf::from(OsStr::from_bytes(path)), size_bytes: u64::from_be_bytes(*size) })
    }
}

impl Drop for StagedByOwner {
    fn drop(&mut self) {
        if !self.committed {
            // Without a helper the file stays, as after a crash; readers of Maildirs remove what is old below tmp.
            let _ = self.owners.ask(self.place, &self.name, MailboxAct::Discard(self.temporary.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
