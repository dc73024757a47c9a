//! Mailboxes of several owners: who serves may not open them, so a worker of the [`Helper`] does it as the owner. Requests name
//! a directory of a table that was made before root was given up, and a name in it, never a path.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::thread::CapabilitySet;

use super::{DIRECTORY, Delivered, FileIdentity, Maildir, Staged, fill, is_safe_name, rename_to_new, unique_name};
use crate::fault::{Fault, Kind};
use crate::net::helper::{Helper, HelperAnswer, become_owner};
use crate::net::privilege::UnixIdentity;
use crate::net::sandbox::Sandbox;

/// One thing to be done for one mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailboxRequest {
    /// Which directory of the table it lies in.
    pub place: u16,
    /// Its name there ([`is_safe_name`]).
    pub name: String,
    /// What is to be done.
    pub act: MailboxAct,
}

/// What is done for a mailbox, as its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailboxAct {
    /// Is it one ([`Maildir::find`])?
    Find,
    /// Make it, if it may be made.
    Make,
    /// Open a nameless file in it, for a message that arrives.
    Room,
    /// Make a file below `tmp`.
    Create,
    /// Move that file to `new` and sync the directory ([`Staged::commit`]).
    Commit(TemporaryFile),
    /// Remove that file.
    Discard(TemporaryFile),
}

/// A file below `tmp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemporaryFile {
    name: String,
    identity: FileIdentity,
}

impl MailboxRequest {
    /// The message: the number of the act, that of the place, the name behind its length, the temporary file.
    pub fn compose(&self) -> Vec<u8> {
        let (number, file) = match &self.act {
            MailboxAct::Find => (1, None),
            MailboxAct::Make => (2, None),
            MailboxAct::Room => (3, None),
            MailboxAct::Create => (4, None),
            MailboxAct::Commit(file) => (5, Some(file)),
            MailboxAct::Discard(file) => (6, Some(file)),
        };
        let mut bytes = vec![number];
        bytes.extend(self.place.to_be_bytes());
        bytes.extend(u8::try_from(self.name.len()));
        bytes.extend(self.name.as_bytes());
        bytes.extend(file.map(TemporaryFile::compose).unwrap_or_default());
        bytes
    }

    /// Reads a message. `None` for anything but what [`MailboxRequest::compose`] makes of safe names.
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

/// What the helper may do, fixed before root is given up.
#[derive(Debug)]
pub struct MailboxTable {
    /// The directory of the mailboxes, then those of domains in it, whether they are there or not.
    pub places: Vec<PathBuf>,
    /// Who serves: a mailbox that is made is his where the system has no user of its name.
    pub server: UnixIdentity,
    /// Which names may be made.
    pub may_make: fn(&str, bool) -> bool,
    /// Mailboxes are made as mail comes for them.
    pub create: bool,
    /// A mailbox may be root's.
    pub root_too: bool,
}

impl MailboxTable {
    /// Looks at the directory of the mailboxes, as each request does.
    ///
    /// # Errors
    /// [`Kind::Config`] when others than root and who serves could change what lies there.
    pub fn check(&self) -> Result<(), Fault> {
        self.place(0).map(drop)
    }

    /// Does what is requested as the owner of the mailbox, whom this process then is. In a worker.
    ///
    /// # Errors
    /// [`Kind::Protocol`] for what is no request of this table; [`Kind::Config`] for a mailbox that is a link or root's; else
    /// the kinds of [`Fault::local`].
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
        let bytes = |bytes: Vec<u8>| Ok(HelperAnswer { bytes, file: None });
        match request.act {
            MailboxAct::Find => bytes(vec![Maildir::find(place, &request.name)?.is_some().into()]),
            MailboxAct::Make => Ok(HelperAnswer::default()),
            MailboxAct::Room => {
                let room = Some(path.join("tmp")).filter(|tmp| tmp.is_dir()).unwrap_or(path);
                let file = tempfile::tempfile_in(&room).map_err(|error| Fault::local(room.display(), &error))?;
                Ok(HelperAnswer { bytes: Vec::new(), file: Some(file.into()) })
            }
            MailboxAct::Create => {
                let (mut staged, file) = Maildir::open(&path)?.begin()?;
                // From here on it is the server's.
                staged.committed = true;
                let file_name = TemporaryFile { name: staged.temporary.clone(), identity: staged.identity };
                Ok(HelperAnswer { bytes: file_name.compose(), file: Some(file.into()) })
            }
            MailboxAct::Commit(file) => {
                let Delivered { path, size_bytes } = file.staged(path).commit()?;
                bytes([&size_bytes.to_be_bytes(), path.as_os_str().as_bytes()].concat())
            }
            MailboxAct::Discard(file) => {
                drop(file.staged(path));
                bytes(Vec::new())
            }
        }
    }

    /// A directory of the table, in which only root and who serves can put something in the place of a mailbox.
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

    /// Makes the directory of a mailbox, durably, for the user of this name. It gets its name with its owner: a crash between
    /// leaves nothing that a later message would find.
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

/// The server's side: mailboxes that the helper opens.
#[derive(Debug)]
pub struct OwnersMailboxes {
    helper: Helper,
}

impl OwnersMailboxes {
    /// Starts the helper, which keeps to this table. Before the first thread, as root.
    ///
    /// # Errors
    /// Those of [`Helper::start`].
    pub fn start(table: MailboxTable, sandbox: Option<Sandbox>) -> Result<OwnersMailboxes, Fault> {
        let server = table.server.clone();
        Ok(OwnersMailboxes { helper: Helper::start(&server, sandbox, move |request| table.act(request))? })
    }

    /// The helper.
    pub fn helper(&self) -> &Helper {
        &self.helper
    }

    fn ask(&self, place: u16, name: &str, act: MailboxAct) -> Result<HelperAnswer, Fault> {
        self.helper.ask(&MailboxRequest { place, name: name.to_owned(), act }.compose())
    }

    fn open(&self, place: u16, name: &str, act: MailboxAct) -> Result<(Vec<u8>, File), Fault> {
        let answer = self.ask(place, name, act)?;
        let file = answer.file.map(File::from);
        file.map(|file| (answer.bytes, file)).ok_or_else(odd)
    }

    /// Is there a mailbox of this name, which something has ([`Maildir::find`])?
    ///
    /// # Errors
    /// Those of [`MailboxTable::act`] and [`Helper::ask`]; so for all that follow.
    pub fn find(&self, place: u16, name: &str) -> Result<bool, Fault> {
        Ok(self.ask(place, name, MailboxAct::Find)?.bytes == [1])
    }

    /// Makes a mailbox, unless there is one.
    ///
    /// # Errors
    /// As above.
    pub fn make(&self, place: u16, name: &str) -> Result<(), Fault> {
        self.ask(place, name, MailboxAct::Make).map(drop)
    }

    /// A nameless file in a mailbox.
    ///
    /// # Errors
    /// As above.
    pub fn room(&self, place: u16, name: &str) -> Result<File, Fault> {
        self.open(place, name, MailboxAct::Room).map(|(_, file)| file)
    }

    /// The first half of a delivery, as [`Maildir::stage`] is: the owner's file is written here.
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

/// A message written and synced below `tmp` in an owner's mailbox. Dropping it removes it.
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
        // The word of the worker in which the commit proved it.
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
