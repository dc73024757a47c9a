//! The tree being served: whatever a client names is looked up below the root and never leaves it, uploads appear whole
//! or not at all, listings are made piece by piece.

mod confine;
mod digest;
mod list;
mod upload;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, mkdirat, renameat, statat, unlinkat};
use rustix::io::Errno;

use self::confine::StoreRoot;
pub use self::list::ListingLines;
pub use self::upload::StoreUpload;
use super::listing::ListingEntry;
use super::session::{Rights, StoreAnswer, StoreOp, StoreRefusal};
use crate::fault::{Fault, Kind, plain};

/// Names that begin so are uploads on their way, on file systems without unnamed files: clients neither see nor reach them.
pub(crate) const TEMPORARY_PREFIX: &[u8] = b".ftpserve-upload.";
/// The longest listing that STAT puts on the control connection, in bytes.
const MAX_STATUS_BYTES: usize = 1 << 20;

/// What uploads may take, and what is done for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadLimits {
    /// The largest file, in bytes.
    pub max_file: u64,
    /// Space that must stay free on the file system, in bytes.
    pub min_free: u64,
    /// 226 means: on the disk, not only in its cache.
    pub sync: bool,
    /// APPE, and REST with STOR, may write into any file: logs that grow, uploads that another server broke off.
    pub append: bool,
}

impl UploadLimits {
    /// Refuses an upload of so many bytes on the file system of `place`.
    fn room(&self, place: &impl AsFd, bytes: u64) -> Result<(), StoreRefusal> {
        if bytes > self.max_file {
            return Err(StoreRefusal::TooLarge);
        }
        let wanted = bytes.saturating_add(self.min_free);
        if wanted > 0 {
            let space = rustix::fs::fstatvfs(place).map_err(|error| refusal(error.into()))?;
            if space.f_bavail.saturating_mul(space.f_frsize) < wanted {
                return Err(StoreRefusal::Full);
            }
        }
        Ok(())
    }
}

impl Default for UploadLimits {
    fn default() -> UploadLimits {
        UploadLimits { max_file: u64::MAX, min_free: 0, sync: false, append: false }
    }
}

/// A tree and what a login may do in it.
#[derive(Debug, Clone)]
pub struct FtpStore {
    root: Arc<StoreRoot>,
    rights: Rights,
    limits: UploadLimits,
    /// Whose uploads are: who may continue those that broke off.
    owner: Arc<str>,
    /// `/proc` is there, so that an unnamed file can be given a name.
    unnamed_files: bool,
    /// The directory that is served, as the file system names it.
    base: Arc<Path>,
}

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivedFile {
    /// Its path in the file system.
    pub file: PathBuf,
    /// Its path below the directory that is served.
    pub below: PathBuf,
    /// Its size.
    pub size: u64,
}

impl FtpStore {
    /// The tree at `path`.
    ///
    /// # Errors
    /// The fault of the directory.
    pub fn open(path: &Path, rights: Rights, limits: UploadLimits) -> Result<FtpStore, Fault> {
        let root = StoreRoot::open(path).map_err(|error| {
            Fault { kind: Kind::NoInput, ..Fault::local(path.display(), &error) }
                .with_hint("name a directory that exists and may be read")
        })?;
        let unnamed_files = Path::new("/proc/self/fd").exists();
        let base = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into();
        Ok(FtpStore { root: Arc::new(root), rights, limits, owner: "".into(), unnamed_files, base })
    }

    /// The tree at `home` below this one, with these rights.
    ///
    /// # Errors
    /// The home cannot be opened below this tree.
    pub fn login(&self, home: Option<&str>, rights: Rights) -> Result<FtpStore, StoreRefusal> {
        let root = match home {
            None => self.root.clone(),
            Some(home) => {
                let path = super::session::path::resolve(b"/", home.as_bytes())?;
                Arc::new(self.root.below(&path).map_err(refusal)?)
            }
        };
        Ok(FtpStore { root, rights, ..self.clone() })
    }

    /// The same for this login: what it uploads is its own.
    pub fn owned_by(self, owner: &str) -> FtpStore {
        FtpStore { owner: owner.into(), ..self }
    }

    /// What this login may do.
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// Where a plain file of this tree is; `None` for what is none, and without `/proc`.
    pub fn arrived(&self, path: &[u8]) -> Option<ArrivedFile> {
        let (parent, name) = self.root.parent(path).ok()?;
        let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let directory = std::fs::read_link(format!("/proc/self/fd/{}", parent.as_raw_fd())).ok()?;
        let file = directory.join(OsStr::from_bytes(name));
        let below = file.strip_prefix(&self.base).ok()?.to_owned();
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        is_file.then(|| ArrivedFile { file, below, size: u64::try_from(stat.st_size).unwrap_or(0) })
    }

    /// Opens a file for sending, and its size.
    ///
    /// # Errors
    /// What is no plain file, not there, or not to be read.
    pub fn send(&self, path: &[u8]) -> Result<(File, u64), StoreRefusal> {
        self.check(path)?;
        // O_NONBLOCK: a FIFO must not hold us; it is refused below.
        let file: File =
            self.root.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).map_err(refusal)?.into();
        let metadata = file.metadata().map_err(refusal)?;
        if metadata.is_file() { Ok((file, metadata.len())) } else { Err(StoreRefusal::NotFile) }
    }

    /// Carries out one act. `go_on` is asked now and then during long ones.
    ///
    /// # Errors
    /// What the rights or the file system refuse.
    pub fn run(&self, op: StoreOp, now: i64, go_on: &dyn Fn() -> bool) -> Result<StoreAnswer, StoreRefusal> {
        match op {
            StoreOp::Directory(path) => {
                self.reach(&path, OFlags::PATH | OFlags::DIRECTORY)?;
                Ok(StoreAnswer::Done)
            }
            StoreOp::Exists(path) => {
                self.at_name(&path, |parent, name| statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|_| ()))
            }
            StoreOp::Room(path, bytes) => {
                let directory = self.reach(&path, OFlags::PATH | OFlags::DIRECTORY)?;
                self.limits.room(&directory, bytes).map(|()| StoreAnswer::Done)
            }
            StoreOp::Facts(path) => Ok(StoreAnswer::Entry(Box::new(self.facts(&path)?))),
            StoreOp::SetModified(path, seconds) => {
                let file = self.reach(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
                let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
                let times = Timestamps { last_access: time, last_modification: time };
                rustix::fs::futimens(&file, &times).map_err(|error| refusal(error.into()))?;
                Ok(StoreAnswer::Done)
            }
            StoreOp::SetMode(path, mode) => {
                let file = self.reach(&path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
                rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777)).map_err(|error| refusal(error.into()))?;
                Ok(StoreAnswer::Done)
            }
            StoreOp::Delete(path) => {
                self.at_name(&path, |parent, name| match unlinkat(parent, name, AtFlags::empty()) {
                    // What Linux says for a directory, and what POSIX would say.
                    Err(Errno::ISDIR | Errno::PERM) => Err(Errno::ISDIR),
                    result => result,
                })
            }
            StoreOp::MakeDirectory(path) => {
                self.at_name(&path, |parent, name| mkdirat(parent, name, Mode::from_raw_mode(0o777)))
            }
            StoreOp::RemoveDirectory(path) => {
                self.at_name(&path, |parent, name| unlinkat(parent, name, AtFlags::REMOVEDIR))
            }
            StoreOp::Rename(from, to, replace) => {
                self.check(&to)?;
                let (to_parent, to_name) = self.root.parent(&to).map_err(refusal)?;
                self.at_name(&from, |parent, name| match replace {
                    true => renameat(parent, name, &to_parent, to_name),
                    false => upload::rename_new((parent, name), (&to_parent, to_name)),
                })
            }
            StoreOp::List(listing) => {
                let mut lines = self.list(listing, now)?;
                let mut text = Vec::new();
                while lines.next_piece(&mut text)? && text.len() < MAX_STATUS_BYTES && go_on() {}
                let truncated = text.len() >= MAX_STATUS_BYTES;
                let whole = text.strip_suffix(b"\r\n").unwrap_or(&text);
                let mut lines: Vec<Vec<u8>> = if whole.is_empty() {
                    Vec::new()
                } else {
                    whole.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end().to_vec()).collect()
                };
                if truncated {
                    lines.push(b"(too many names for STAT: use MLSD)".to_vec());
                }
                Ok(StoreAnswer::Lines(lines))
            }
            StoreOp::Digest { path, algorithm, from, to } => {
                let (file, size) = self.send(&path)?;
                let end = to.map_or(size, |to| to.min(size));
                if from > end {
                    return Err(StoreRefusal::BadOffset);
                }
                let digest = digest::of(&file, algorithm, from, end, go_on).map_err(refusal)?;
                Ok(StoreAnswer::Digest(digest, end))
            }
        }
    }

    fn facts(&self, path: &[u8]) -> Result<ListingEntry, StoreRefusal> {
        let file = self.reach(path, OFlags::PATH)?;
        let stat = rustix::fs::fstat(&file).map_err(|error| refusal(error.into()))?;
        Ok(list::entry_of(path, &stat, self.rights))
    }

    fn reach(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, StoreRefusal> {
        self.check(path)?;
        self.root.open_at(path, flags).map_err(refusal)
    }

    fn at_name(
        &self,
        path: &[u8],
        act: impl FnOnce(&OwnedFd, &[u8]) -> Result<(), Errno>,
    ) -> Result<StoreAnswer, StoreRefusal> {
        self.check(path)?;
        let (parent, name) = self.root.parent(path).map_err(refusal)?;
        act(&parent, name).map(|()| StoreAnswer::Done).map_err(|error| refusal(error.into()))
    }

    /// Refuses the names of uploads on their way.
    fn check(&self, path: &[u8]) -> Result<(), StoreRefusal> {
        match path.split(|byte| *byte == b'/').any(|name| name.starts_with(TEMPORARY_PREFIX)) {
            true => Err(StoreRefusal::NotFound),
            false => Ok(()),
        }
    }
}

/// What the system's error means to a client. An escape looks like a name that is not there.
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
