//! The served tree: client paths are resolved below the root and never leave it, uploads appear complete or not at all,
//! listings are generated piece by piece.

mod confine;
mod digest;
mod link;
mod list;
mod naming;
mod order;
mod quota;
mod rename;
mod tree;
mod upload;
mod wire;
mod worker;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, chmodat, fchmod, futimens, mkdirat, openat, statat,
    unlinkat, utimensat,
};
use rustix::io::Errno;

use self::confine::StoreRoot;
pub use self::link::{WorkerListing, WorkerTree, WorkerUpload};
pub use self::list::ListingLines;
use self::order::UploadOrder;
pub use self::quota::TreeQuota;
use self::quota::{FilesInPlace, released};
pub use self::tree::{FtpTree, TreeListing, TreeUpload};
pub use self::upload::StoreUpload;
pub use self::wire::{OpenedUpload, WorkerAnswer, WorkerRequest};
pub use self::worker::StoreWorker;
use super::listing::ListingEntry;
use super::session::{Right, RightRule, Rights, StoreAnswer, StoreOp, StoreRefusal, TreeRights};
use crate::blob::file::free_bytes;
use crate::fault::{Fault, Kind, plain};
use crate::ftp::session::path::matches;
use crate::net::pace::TransferPace;

/// The name prefix of uploads in progress, on file systems without unnamed files: clients can neither see nor access such names.
pub(crate) const TEMPORARY_PREFIX: &[u8] = b".ftpserve-upload.";
/// What survives a power cut after the 226 of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UploadSync {
    /// Whatever the system has written by then.
    #[default]
    Nothing,
    /// The bytes are on the disk before the file gets its name: no name ever shows a part, but the system may write the
    /// name later.
    Data,
    /// The bytes, the metadata and the name.
    Name,
}

impl UploadSync {
    /// Syncs what is to survive, but for the name.
    fn apply(self, file: &File) -> Result<(), StoreRefusal> {
        match self {
            UploadSync::Nothing => Ok(()),
            UploadSync::Data => file.sync_data(),
            UploadSync::Name => file.sync_all(),
        }
        .map_err(refusal)
    }
}

/// The limits and guarantees of uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadLimits {
    /// The largest file, in bytes.
    pub max_file: u64,
    /// The space that must stay free on the file system, in bytes.
    pub min_free: u64,
    /// What is on the disk, and not only in its cache, before 226 is sent.
    pub sync: UploadSync,
    /// APPE, and REST with STOR, may write into any file: growing logs, uploads to another server that were interrupted.
    pub append: bool,
}

impl UploadLimits {
    /// Checks that an upload of this many bytes is allowed and fits on the file system of `place`.
    fn room(&self, place: &impl AsFd, bytes: u64) -> Result<(), StoreRefusal> {
        if bytes > self.max_file {
            return Err(StoreRefusal::TooLarge);
        }
        let wanted = bytes.saturating_add(self.min_free);
        if wanted > 0 {
            let free = free_bytes(place).map_err(refusal)?;
            if free < wanted {
                return Err(StoreRefusal::Full);
            }
        }
        Ok(())
    }
}

impl Default for UploadLimits {
    fn default() -> UploadLimits {
        UploadLimits { max_file: u64::MAX, min_free: 0, sync: UploadSync::Nothing, append: false }
    }
}

/// A tree and the rights of a login in it.
#[derive(Debug, Clone)]
pub struct FtpStore {
    root: Arc<StoreRoot>,
    rights: TreeRights,
    limits: UploadLimits,
    /// The owner of uploads, who may resume those that were interrupted.
    owner: Arc<str>,
    /// `/proc` exists, so that an unnamed file can be linked to a name.
    unnamed_files: bool,
    /// The served directory, by the path that was given.
    named: Arc<Path>,
    /// The canonical path of this directory.
    base: Arc<Path>,
    /// The permission bits to clear on new files and directories; `None` for the umask of the process.
    umask: Option<u32>,
    /// The names that are hidden from listings, and those that are denied.
    names: Arc<NameRules>,
    share: Arc<StoreShare>,
    order: Arc<UploadOrder>,
}

/// The resources that all sessions of a user share.
#[derive(Debug, Default)]
pub struct StoreShare {
    quota: Option<Arc<TreeQuota>>,
    up: Option<Arc<TransferPace>>,
    down: Option<Arc<TransferPace>>,
}

impl StoreShare {
    /// The resources with this quota, and these limits of uploads and downloads in bytes per second.
    pub fn new(quota: Option<TreeQuota>, up: Option<NonZeroU64>, down: Option<NonZeroU64>) -> StoreShare {
        let pace = |rate: Option<NonZeroU64>| rate.map(|rate| Arc::new(TransferPace::new(rate)));
        StoreShare { quota: quota.map(Arc::new), up: pace(up), down: pace(down) }
    }

    /// The speed limit of uploads.
    pub fn up(&self) -> Option<Arc<TransferPace>> {
        self.up.clone()
    }

    /// The speed limit of downloads.
    pub fn down(&self) -> Option<Arc<TransferPace>> {
        self.down.clone()
    }
}

/// Patterns (`*` and `?`) of names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameRules {
    /// Names omitted from listings; a client that knows such a name may use it.
    pub hide: Vec<String>,
    /// Names that are neither listed nor accessible nor created, by any command.
    pub deny: Vec<String>,
}

impl NameRules {
    fn hides(&self, name: &[u8]) -> bool {
        self.hide.iter().chain(&self.deny).any(|pattern| matches(pattern.as_bytes(), name))
    }

    fn denies(&self, path: &[u8]) -> bool {
        !self.deny.is_empty()
            && path
                .split(|byte| *byte == b'/')
                .any(|name| !name.is_empty() && self.deny.iter().any(|pattern| matches(pattern.as_bytes(), name)))
    }
}

/// The location of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivedFile {
    /// Its path in the file system.
    pub file: PathBuf,
    /// Its path relative to the served directory.
    pub below: PathBuf,
    /// Its size.
    pub size: u64,
}

impl FtpStore {
    /// The tree at `path`.
    ///
    /// # Errors
    /// The directory cannot be opened.
    pub fn open(path: &Path, rights: Rights, limits: UploadLimits) -> Result<FtpStore, Fault> {
        let root = StoreRoot::open(path).map_err(|error| {
            Fault { kind: Kind::NoInput, ..Fault::local(path.display(), &error) }
                .with_hint("name a directory that exists and may be read")
        })?;
        let unnamed_files = Path::new("/proc/self/fd").exists();
        let base = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into();
        // Absolute, so that a later change of the working directory has no effect.
        let named = std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).into();
        Ok(FtpStore {
            root: Arc::new(root),
            rights: rights.into(),
            limits,
            owner: "".into(),
            unnamed_files,
            named,
            base,
            umask: None,
            names: Arc::default(),
            share: Arc::default(),
            order: UploadOrder::of_process(),
        })
    }

    /// The tree at `home` below this one, or below another `root`, with these rights. The directory is opened again, so
    /// that later mounts and changed links take effect.
    ///
    /// # Errors
    /// The directory cannot be opened, or lies outside this tree.
    pub fn login(&self, root: Option<&Path>, home: Option<&str>, rights: Rights) -> Result<FtpStore, StoreRefusal> {
        let named: Arc<Path> = root.map_or_else(|| self.named.clone(), Arc::from);
        let top = StoreRoot::open(&named).map_err(refusal)?;
        let root = match home {
            None => top,
            Some(home) => {
                let path = super::session::path::resolve(b"/", home.as_bytes())?;
                top.below(&path).map_err(refusal)?
            }
        };
        let base = named.canonicalize().map_or_else(|_| named.clone(), Arc::from);
        Ok(FtpStore { root: Arc::new(root), rights: rights.into(), named, base, ..self.clone() })
    }

    /// This tree for a login: its uploads belong to `owner`.
    pub fn owned_by(self, owner: &str) -> FtpStore {
        FtpStore { owner: owner.into(), ..self }
    }

    /// This tree with this mask for the permission bits of new files and directories, instead of the process's umask.
    pub fn with_umask(self, umask: u32) -> FtpStore {
        FtpStore { umask: Some(umask), ..self }
    }

    /// This tree with the resources that it shares with other sessions of its user.
    pub fn with_share(self, share: Arc<StoreShare>) -> FtpStore {
        FtpStore { share, ..self }
    }

    /// The resources that it shares with other sessions of its user.
    pub fn share(&self) -> &StoreShare {
        &self.share
    }

    /// This tree with rules for names.
    pub fn with_names(self, names: NameRules) -> FtpStore {
        FtpStore { names: Arc::new(names), ..self }
    }

    /// This tree with rules for directories, beside the rights of the login.
    pub fn with_rules(self, rules: impl IntoIterator<Item = RightRule>) -> FtpStore {
        FtpStore { rights: TreeRights::new(self.rights.base(), rules), ..self }
    }

    /// The canonical path of its root, for a sandbox.
    pub fn path(&self) -> PathBuf {
        std::fs::read_link(format!("/proc/self/fd/{}", self.root.as_fd().as_raw_fd()))
            .unwrap_or_else(|_| self.base.to_path_buf())
    }

    /// The limits of uploads.
    pub fn limits(&self) -> UploadLimits {
        self.limits
    }

    /// The rights of this login.
    pub fn rights(&self) -> &TreeRights {
        &self.rights
    }

    /// The location of a plain file in this tree; `None` for anything else, and without `/proc`.
    pub fn arrived(&self, path: &[u8]) -> Option<ArrivedFile> {
        let (parent, name) = self.root.parent(path).ok()?;
        let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let directory = std::fs::read_link(format!("/proc/self/fd/{}", parent.as_raw_fd())).ok()?;
        let file = directory.join(OsStr::from_bytes(name));
        let below = file.strip_prefix(&self.base).ok()?.to_owned();
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        is_file.then(|| ArrivedFile { file, below, size: u64::try_from(stat.st_size).unwrap_or(0) })
    }

    /// Opens a file for sending, and returns its size.
    ///
    /// # Errors
    /// The path is not a plain file, does not exist, or is not readable.
    pub fn send(&self, path: &[u8]) -> Result<(File, u64), StoreRefusal> {
        self.check(path)?;
        // O_NONBLOCK: opening a FIFO must not block; it is refused below.
        let file: File =
            self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY, Some(Right::Read))?.into();
        let metadata = file.metadata().map_err(refusal)?;
        if metadata.is_file() { Ok((file, metadata.len())) } else { Err(StoreRefusal::NotFile) }
    }

    /// Runs one operation. Long operations call `go_on` repeatedly and end when it returns false.
    ///
    /// # Errors
    /// The refusal of the name rules, the limits or the file system.
    pub fn run(&self, op: StoreOp, now: i64, go_on: &dyn Fn() -> bool) -> Result<StoreAnswer, StoreRefusal> {
        match op {
            StoreOp::Directory(path) => {
                self.reach(&path, OFlags::PATH | OFlags::DIRECTORY, None)?;
                Ok(StoreAnswer::Done)
            }
            StoreOp::Exists(path) => {
                let exists =
                    |parent: &OwnedFd, name: &[u8]| statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|_| ());
                self.at_name(&path, Right::Rename, exists)
            }
            StoreOp::Room(path, bytes) => {
                let directory = self.reach(&path, OFlags::PATH | OFlags::DIRECTORY, Some(Right::Upload))?;
                self.limits.room(&directory, bytes).map(|()| StoreAnswer::Done)
            }
            StoreOp::Facts(path) => Ok(StoreAnswer::Entry(Box::new(self.facts(&path)?))),
            StoreOp::SetFacts { path, modified, mode } => self.set_facts(&path, modified, mode),
            StoreOp::Available(path) => {
                let place = self.reach(&path, OFlags::PATH, Some(Right::List))?;
                free_bytes(&place).map(StoreAnswer::Bytes).map_err(refusal)
            }
            StoreOp::Delete(path) => self.at_name(&path, Right::Delete, |parent, name| {
                let names = self.held_names();
                let size = counted(&names, parent, name);
                match unlinkat(parent, name, AtFlags::empty()) {
                    // EISDIR is the error of Linux for a directory, EPERM that of POSIX.
                    Err(Errno::ISDIR | Errno::PERM) => Err(Errno::ISDIR),
                    result => result.map(|()| self.give(size)),
                }
            }),
            StoreOp::MakeDirectory(path) => {
                self.at_name(&path, Right::Mkdir, |parent, name| {
                    mkdirat(parent, name, Mode::from_raw_mode(0o777))?;
                    let Some(mask) = self.umask else { return Ok(()) };
                    // Whoever moves another directory here in between owns both.
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let made = openat(parent, name, flags, Mode::empty())?;
                    fchmod(&made, Mode::from_raw_mode(0o777 & !mask))
                })
            }
            StoreOp::RemoveDirectory(path) => {
                self.at_name(&path, Right::Delete, |parent, name| match unlinkat(parent, name, AtFlags::REMOVEDIR) {
                    Err(Errno::NOTEMPTY) if upload::sweep_all(parent, name)? => {
                        unlinkat(parent, name, AtFlags::REMOVEDIR)
                    }
                    result => result,
                })
            }
            StoreOp::Rename(from, to, replace) => self.rename(&from, &to, replace, go_on),
            StoreOp::List(listing) => {
                let mut lines = self.list(listing, now)?;
                list::status(|text| lines.next_piece(text), go_on)
            }
            StoreOp::Digest { of, or, algorithm } => digest::answer(|path| self.send(path), (of, or), algorithm, go_on),
        }
    }

    /// Sets a time and permission bits, also on files that cannot be opened, so that `CHMOD 000` can be undone.
    fn set_facts(&self, path: &[u8], modified: Option<i64>, mode: Option<u32>) -> Result<StoreAnswer, StoreRefusal> {
        // Without /proc only a file that can be opened is addressable other than by its path, which may lead elsewhere later.
        let flags = if self.unnamed_files { OFlags::PATH } else { OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY };
        let file = self.reach(path, flags, Some(Right::Overwrite))?;
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        if let Some(seconds) = modified {
            let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
            let times = Timestamps { last_access: time, last_modification: time };
            match self.unnamed_files {
                true => utimensat(CWD, name.as_str(), &times, AtFlags::empty()),
                false => futimens(&file, &times),
            }
            .map_err(from_errno)?;
        }
        if let Some(mode) = mode.map(|mode| Mode::from_raw_mode(mode & 0o777)) {
            match self.unnamed_files {
                true => chmodat(CWD, name.as_str(), mode, AtFlags::empty()),
                false => fchmod(&file, mode),
            }
            .map_err(from_errno)?;
        }
        Ok(StoreAnswer::Done)
    }

    fn facts(&self, path: &[u8]) -> Result<ListingEntry, StoreRefusal> {
        let file = self.reach(path, OFlags::PATH, Some(Right::List))?;
        let stat = rustix::fs::fstat(&file).map_err(|error| refusal(error.into()))?;
        let rights = self.rights.usable_at(&self.place_for_rules(&file)?);
        Ok(list::entry_of(path, &stat, rights))
    }

    fn reach(&self, path: &[u8], flags: OFlags, right: Option<Right>) -> Result<OwnedFd, StoreRefusal> {
        self.check(path)?;
        self.open_at(path, flags, right)
    }

    /// Opens a path below the root. The target of links must be allowed too, and grant the right, which the caller has found at
    /// the path itself.
    fn open_at(&self, path: &[u8], flags: OFlags, right: Option<Right>) -> Result<OwnedFd, StoreRefusal> {
        let opened = self.root.open_at(path, flags).map_err(refusal)?;
        self.check_place(&opened)?;
        self.granted(path, right, || self.place_for_rules(&opened))?;
        Ok(opened)
    }

    /// The directory that contains a path, and the last name.
    fn parent<'a>(&self, path: &'a [u8], right: Option<Right>) -> Result<(OwnedFd, &'a [u8]), StoreRefusal> {
        let (parent, name) = self.root.parent(path).map_err(refusal)?;
        self.check_place(&parent)?;
        self.granted(path, right, || self.place_in(&parent, name))?;
        Ok((parent, name))
    }

    /// Refuses a path that links lead to a directory whose rule lacks the right.
    fn granted(
        &self,
        path: &[u8],
        right: Option<Right>,
        place: impl FnOnce() -> Result<Vec<u8>, StoreRefusal>,
    ) -> Result<(), StoreRefusal> {
        let Some(right) = right.filter(|_| self.rights.has_rules()) else { return Ok(()) };
        if self.rights.grants_behind(path, &place()?, right) { Ok(()) } else { Err(StoreRefusal::Denied) }
    }

    /// As [`FtpStore::granted`], for both ends of a rename: true if it may replace a file.
    fn granted_rename(
        &self,
        from: &[u8],
        to: &[u8],
        (parent, name): (&OwnedFd, &[u8]),
        (to_parent, to_name): (&OwnedFd, &[u8]),
    ) -> Result<bool, StoreRefusal> {
        if !self.rights.has_rules() {
            return Ok(true);
        }
        let (from_place, to_place) = (self.place_in(parent, name)?, self.place_in(to_parent, to_name)?);
        match (from_place.as_slice(), to_place.as_slice()) == (from, to) {
            true => Ok(true),
            false => self.rights.rename(&from_place, &to_place, false).ok_or(StoreRefusal::Denied),
        }
    }

    /// The path of a descriptor without links; empty if no rule needs it.
    fn place_for_rules(&self, opened: &OwnedFd) -> Result<Vec<u8>, StoreRefusal> {
        if self.rights.has_rules() { self.root.place_of(opened).map_err(refusal) } else { Ok(Vec::new()) }
    }

    fn place_in(&self, parent: &OwnedFd, name: &[u8]) -> Result<Vec<u8>, StoreRefusal> {
        Ok([&*self.place_for_rules(parent)?, b"/", name].concat())
    }

    fn check_place(&self, opened: &OwnedFd) -> Result<(), StoreRefusal> {
        if self.names.deny.is_empty() {
            return Ok(());
        }
        let below = self.root.place_of(opened).map_err(refusal)?;
        if self.names.denies(&below) { Err(StoreRefusal::Denied) } else { Ok(()) }
    }

    fn at_name(
        &self,
        path: &[u8],
        right: Right,
        act: impl FnOnce(&OwnedFd, &[u8]) -> Result<(), Errno>,
    ) -> Result<StoreAnswer, StoreRefusal> {
        self.check(path)?;
        let (parent, name) = self.parent(path, Some(right))?;
        act(&parent, name).map(|()| StoreAnswer::Done).map_err(|error| refusal(error.into()))
    }

    /// While it is held, no other session of a user with a quota changes which file a name has.
    fn held_names(&self) -> HeldNames<'_> {
        self.share.quota.as_ref().map(|quota| quota.names())
    }

    fn give(&self, bytes: u64) {
        if let Some(quota) = &self.share.quota {
            quota.give(bytes);
        }
    }

    /// Refuses the names of uploads in progress, and denied names.
    fn check(&self, path: &[u8]) -> Result<(), StoreRefusal> {
        if self.names.denies(path) {
            return Err(StoreRefusal::Denied);
        }
        match path.split(|byte| *byte == b'/').any(|name| name.starts_with(TEMPORARY_PREFIX)) {
            true => Err(StoreRefusal::NotFound),
            false => Ok(()),
        }
    }
}

/// The names of a tree with a quota, while no other session changes them.
type HeldNames<'a> = Option<MutexGuard<'a, FilesInPlace>>;

/// The bytes that the quota gets back when a name is removed or replaced.
fn counted(names: &HeldNames<'_>, parent: &OwnedFd, name: &[u8]) -> u64 {
    names.as_ref().map_or(0, |names| released(names, parent, name))
}

fn from_errno(error: Errno) -> StoreRefusal {
    refusal(error.into())
}

/// The refusal for an error of the system. An escape from the tree looks like a name that does not exist.
fn refusal(error: io::Error) -> StoreRefusal {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::XDEV | Errno::LOOP) => StoreRefusal::NotFound,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::BUSY | Errno::TXTBSY) => StoreRefusal::Denied,
        Some(Errno::EXIST) => StoreRefusal::Exists,
        Some(Errno::NOTDIR) => StoreRefusal::NotDirectory,
        Some(Errno::ISDIR | Errno::NXIO) => StoreRefusal::NotFile,
        Some(Errno::NOTEMPTY) => StoreRefusal::NotEmpty,
        Some(Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ) => StoreRefusal::BadName,
        Some(Errno::NOSPC) => StoreRefusal::Full,
        Some(Errno::DQUOT | Errno::FBIG) => StoreRefusal::TooLarge,
        _ => StoreRefusal::Failed(plain(&error)),
    }
}

#[cfg(test)]
mod tests;
