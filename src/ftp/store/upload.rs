//! An upload in progress. A whole file has no name until it is complete: it is an unnamed file (`O_TMPFILE`) that
//! [`StoreUpload::commit`] links to its name, or, on file systems without unnamed files, a hidden file that is renamed.
//! If the upload ends early for any reason, the old file is unchanged. The kept part of an interrupted upload is marked
//! with its owner and size: APPE, and REST with STOR, resume only such a file, unless [`UploadLimits::append`] is set.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, Stat, Uid, XattrFlags, fchmod, fchown,
    fgetxattr, flistxattr, flock, fsetxattr, fstat, linkat, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::quota::QuotaShare;
use super::{FtpStore, TEMPORARY_PREFIX, UploadLimits, from_errno, refusal};
use crate::ftp::session::path::MAX_NAME;
use crate::ftp::session::{StoreRefusal, UploadMode};

/// The extended attribute of the kept part of an interrupted upload: its size and its owner.
const BROKEN: &str = "user.ftpserve.broken";
/// The longest value of this attribute.
const MAX_BROKEN: usize = 1024;
/// The most bytes of attribute names, and of one attribute value, that are copied from a replaced file: the kernel's limit.
const MAX_ATTRIBUTE_BYTES: usize = 64 << 10;
/// The number of names that STOU tries before it gives up.
const MAX_UNIQUE_TRIES: u32 = 1000;
/// The number of bytes after which the free space is checked again.
const FREE_CHECK_BYTES: u64 = 16 << 20;

/// A file being received.
#[derive(Debug)]
pub struct StoreUpload {
    file: File,
    target: UploadTarget,
    /// The size of the file with all bytes received so far.
    position: u64,
    checked: u64,
    /// The limits, and the owner.
    terms: Box<(UploadLimits, Arc<str>)>,
    quota: Option<Box<QuotaShare>>,
    /// The last bytes, which are written at the end.
    tail: Vec<u8>,
    /// All of it is on the disk.
    settled: bool,
}

#[derive(Debug)]
enum UploadTarget {
    /// Written in place; `before` is the size before the upload.
    InPlace { before: u64 },
    /// Gets this name at the end.
    New { parent: OwnedFd, name: Vec<u8>, temporary: Option<Vec<u8>>, replace: bool },
}

impl FtpStore {
    /// Opens an upload; for [`UploadMode::Unique`] the chosen name is returned too.
    ///
    /// # Errors
    /// The refusal of the name rules, the limits or the file system.
    pub fn receive(
        &self,
        path: &[u8],
        mode: UploadMode,
        replace: bool,
    ) -> Result<(StoreUpload, Option<Vec<u8>>), StoreRefusal> {
        self.check(path)?;
        match mode {
            UploadMode::Whole => {
                let (parent, name) = self.parent(path)?;
                match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
                    // Follows a link, as APPE does: its target is replaced, if it is in the tree.
                    Ok(stat) if replace && FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                        let (parent, name) = self.root.behind(path).map_err(refusal)?;
                        self.check(&name)?;
                        self.check_place(&parent)?;
                        Ok((self.whole(parent, name, replace)?, None))
                    }
                    _ => Ok((self.whole(parent, name.to_vec(), replace)?, None)),
                }
            }
            UploadMode::Unique => {
                let (parent, suggested) = self.parent(path)?;
                for number in 0..=MAX_UNIQUE_TRIES {
                    let name = match number {
                        0 => suggested.to_vec(),
                        _ => [suggested, format!(".{number}").as_bytes()].concat(),
                    };
                    match statat(&parent, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                        Err(Errno::NOENT) => return Ok((self.whole(parent, name.clone(), false)?, Some(name))),
                        Ok(_) => {}
                        Err(error) => return Err(refusal(error.into())),
                    }
                }
                Err(StoreRefusal::Exists)
            }
            UploadMode::Append | UploadMode::At(_) => match self.in_place(path, mode) {
                // APPE creates a missing file (RFC 959, section 4.1.3), as STOR does.
                Err(StoreRefusal::NotFound) if mode == UploadMode::Append => {
                    let whole = self.receive(path, UploadMode::Whole, false);
                    // A dangling link occupies the name, but cannot be written to.
                    whole.map_err(|refusal| match refusal {
                        StoreRefusal::Exists => StoreRefusal::NotFound,
                        other => other,
                    })
                }
                opened => opened.map(|upload| (upload, None)),
            },
        }
    }

    fn whole(&self, parent: OwnedFd, name: Vec<u8>, replace: bool) -> Result<StoreUpload, StoreRefusal> {
        if name.len() > MAX_NAME {
            return Err(StoreRefusal::BadName);
        }
        let mut replaced = None;
        match statat(&parent, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) if !replace => return Err(StoreRefusal::Exists),
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile if stat.st_mode & 0o222 == 0 => return Err(StoreRefusal::Denied),
                FileType::RegularFile => replaced = Some(stat),
                _ => return Err(StoreRefusal::NotFile),
            },
            Err(Errno::NOENT) => {}
            Err(error) => return Err(refusal(error.into())),
        }
        let mode = Mode::from_raw_mode(0o666);
        let unnamed = match self.unnamed_files {
            true => openat(&parent, c".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode),
            false => Err(Errno::OPNOTSUPP),
        };
        let (file, temporary) = match unnamed {
            Ok(file) => (file, None),
            // The file system has no unnamed files (NFS, FAT), or the kernel takes the flag for a directory.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let temporary = temporary_name()?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                (openat(&parent, temporary.as_slice(), flags, mode).map_err(from_errno)?, Some(temporary))
            }
            Err(error) => return Err(refusal(error.into())),
        };
        let before = replaced.as_ref().map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
        match (replaced, self.umask) {
            (Some(stat), _) => take_over(&file, &stat, &parent, &name)?,
            (None, Some(mask)) => fchmod(&file, Mode::from_raw_mode(0o666 & !mask)).map_err(from_errno)?,
            (None, None) => {}
        }
        self.upload(file.into(), UploadTarget::New { parent, name, temporary, replace }, 0, before)
    }

    fn in_place(&self, path: &[u8], mode: UploadMode) -> Result<StoreUpload, StoreRefusal> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file: File = self.open_at(path, flags)?.into();
        let metadata = file.metadata().map_err(refusal)?;
        if !metadata.is_file() {
            return Err(StoreRefusal::NotFile);
        }
        // A file system without locks is no reason to refuse.
        if let Err(Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            return Err(StoreRefusal::Busy);
        }
        let position = match mode {
            UploadMode::At(offset) if offset > metadata.len() => return Err(StoreRefusal::BadOffset),
            UploadMode::At(offset) => offset,
            _ => metadata.len(),
        };
        if !self.limits.append && broken(&file).as_deref() != Some(mark(metadata.len(), &self.owner).as_bytes()) {
            return Err(StoreRefusal::NotBroken);
        }
        io::Seek::seek(&mut &file, io::SeekFrom::Start(position)).map_err(refusal)?;
        let before = metadata.len();
        self.upload(file, UploadTarget::InPlace { before }, position, before)
    }

    /// `before`: the size of the file that is written or replaced.
    fn upload(
        &self,
        file: File,
        target: UploadTarget,
        position: u64,
        before: u64,
    ) -> Result<StoreUpload, StoreRefusal> {
        let terms = Box::new((self.limits, self.owner.clone()));
        let quota = self.share.quota.as_ref().map(|quota| Box::new(QuotaShare::new(quota, before)));
        let mut upload =
            StoreUpload { file, target, position, checked: 0, terms, quota, tail: Vec::new(), settled: false };
        upload.check_free()?;
        Ok(upload)
    }
}

/// Copies the metadata of the file to be replaced: group and owner as far as the system permits, extended attributes
/// (access control lists are among them), permission bits.
fn take_over(file: &OwnedFd, old: &Stat, parent: &OwnedFd, name: &[u8]) -> Result<(), StoreRefusal> {
    let (uid, gid) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
    let new = fstat(file).map_err(from_errno)?;
    if new.st_gid != old.st_gid {
        // The old group is not kept if this process is not a member of it.
        let _ = fchown(file, None, Some(gid));
    }
    if new.st_uid != old.st_uid {
        let _ = fchown(file, Some(uid), None);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // A file that is writable but not readable does not pass on its attributes.
    if let Ok(old_file) = openat(parent, name, flags, Mode::empty()) {
        copy_attributes(&old_file, file);
    }
    // At the end: changing the owner takes bits away.
    fchmod(file, Mode::from_raw_mode(old.st_mode & 0o777)).map_err(from_errno)
}

/// Copies the extended attributes that the file system permits to set.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) {
    let mut names = vec![0u8; MAX_ATTRIBUTE_BYTES];
    let Ok(length) = flistxattr(from, names.as_mut_slice()) else { return };
    let mut value = vec![0u8; MAX_ATTRIBUTE_BYTES];
    for name in names.get(..length).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name != BROKEN.as_bytes()
            && let Ok(length) = fgetxattr(from, name, value.as_mut_slice())
        {
            let _ = fsetxattr(to, name, value.get(..length).unwrap_or_default(), XattrFlags::empty());
        }
    }
}

impl StoreUpload {
    /// True if the bytes are in the file that others see as soon as they are written.
    pub fn is_in_place(&self) -> bool {
        !self.replaces()
    }

    /// Writes bytes and counts them.
    ///
    /// # Errors
    /// The file is too large, the quota is exceeded, or the disk is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreRefusal> {
        io::Write::write_all(&mut self.file, bytes).map_err(refusal)?;
        self.wrote(bytes.len() as u64)
    }

    /// Leaves the last bytes to the end of the upload, which writes them: a small upload is one piece of work then.
    pub fn hold(&mut self, tail: Vec<u8>) {
        self.tail = tail;
    }

    /// True if the end of this upload waits for the disk.
    pub fn waits_for_disk(&self) -> bool {
        self.terms.0.sync
    }

    /// Brings a new file that is complete to the disk, as far as it was asked for, before it gets its name.
    ///
    /// # Errors
    /// As [`StoreUpload::write`].
    pub fn settle(&mut self) -> Result<(), StoreRefusal> {
        if self.replaces() && self.terms.0.sync {
            self.write_tail()?;
            self.file.sync_all().map_err(refusal)?;
            self.settled = true;
        }
        Ok(())
    }

    fn write_tail(&mut self) -> Result<(), StoreRefusal> {
        let tail = std::mem::take(&mut self.tail);
        if tail.is_empty() { Ok(()) } else { self.write(&tail) }
    }

    /// Counts written bytes.
    ///
    /// # Errors
    /// The file is too large, the quota is exceeded, or the disk is too full.
    fn wrote(&mut self, bytes: u64) -> Result<(), StoreRefusal> {
        self.position += bytes;
        self.checked += bytes;
        let replaces = self.replaces();
        let fits = match &mut self.quota {
            _ if self.position > self.terms.0.max_file => Err(StoreRefusal::TooLarge),
            Some(quota) => quota.grew(self.position, replaces),
            None => Ok(()),
        };
        if let (Err(refusal), UploadTarget::InPlace { before }) = (&fits, &self.target) {
            // All appended data is discarded; if the file cannot be truncated, a later upload finds that data.
            self.file.set_len(*before).map_err(|_| refusal.clone())?;
        }
        fits?;
        if self.checked >= FREE_CHECK_BYTES { self.check_free() } else { Ok(()) }
    }

    fn replaces(&self) -> bool {
        matches!(self.target, UploadTarget::New { .. })
    }

    fn check_free(&mut self) -> Result<(), StoreRefusal> {
        self.checked = 0;
        self.terms.0.room(&self.file, 0)
    }

    /// Completes the upload: the file gets its name.
    ///
    /// # Errors
    /// The file cannot get its name. Errors that the system deferred until now (a full disk behind a cache) are
    /// reported here too, before 226 is sent.
    pub fn commit(mut self) -> Result<(), StoreRefusal> {
        self.write_tail()?;
        if !self.replaces() {
            self.file.set_len(self.position).map_err(refusal)?;
            // It is no error if the attribute does not exist.
            let _ = rustix::fs::fremovexattr(&self.file, BROKEN);
        }
        self.place()?;
        self.keep_share(self.position);
        Ok(())
    }

    fn keep_share(&mut self, size: u64) {
        let replaces = self.replaces();
        if let Some(quota) = &mut self.quota {
            quota.keep(size, replaces);
        }
    }

    /// Links a new file to its name, or renames it.
    fn place(&mut self) -> Result<(), StoreRefusal> {
        if self.terms.0.sync && !self.settled {
            self.file.sync_all().map_err(refusal)?;
        }
        let UploadTarget::New { parent, name, temporary, replace } = &mut self.target else { return Ok(()) };
        match temporary.take() {
            Some(temporary) => rename(parent, &temporary, name, *replace),
            None => link(&self.file, parent, name, *replace),
        }?;
        if self.terms.0.sync {
            let directory = openat(&*parent, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            directory.and_then(rustix::fs::fsync).map_err(from_errno)?;
        }
        Ok(())
    }

    /// Ends an interrupted upload; the kept part may be resumed. A whole file is kept under its name only if `keep` is
    /// true and the name is unused; data written in place stays in any case.
    pub fn broke_off(mut self, keep: bool) {
        if let UploadTarget::New { replace, .. } = &mut self.target {
            if !keep {
                return;
            }
            *replace = false;
        }
        // What cannot be written is missing, as what never came.
        let _ = self.write_tail();
        // A failure here breaks no promise: such a file is not resumed.
        let size = self.file.metadata().map_or(0, |metadata| metadata.len());
        let value = mark(size, &self.terms.1);
        let _ = fsetxattr(&self.file, BROKEN, value.as_bytes(), XattrFlags::empty());
        if !self.replaces() || self.place().is_ok() {
            self.keep_share(size);
        }
    }
}

/// The mark of an interrupted upload.
fn mark(size: u64, owner: &str) -> String {
    format!("{size} {owner}")
}

/// The mark on a file, if any.
fn broken(file: &File) -> Option<Vec<u8>> {
    let mut value = [0u8; MAX_BROKEN];
    let length = fgetxattr(file, BROKEN, &mut value[..]).ok()?;
    value.get(..length).map(<[u8]>::to_vec)
}

impl Drop for StoreUpload {
    fn drop(&mut self) {
        if let UploadTarget::New { parent, temporary: Some(temporary), .. } = &self.target {
            // Only this upload uses the name; there is nobody to whom a failure could be reported.
            let _ = unlinkat(parent, temporary.as_slice(), AtFlags::empty());
        }
    }
}

/// Links an unnamed file to its name. If the name exists, it uses a hidden name and a rename, so that at every instant
/// either the old file or the new one exists.
fn link(file: &File, parent: &OwnedFd, name: &[u8], replace: bool) -> Result<(), StoreRefusal> {
    let unnamed = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    match linkat(CWD, unnamed.as_str(), parent, name, AtFlags::SYMLINK_FOLLOW) {
        Err(Errno::EXIST) if replace => {}
        result => return result.map_err(from_errno),
    }
    let temporary = temporary_name()?;
    linkat(CWD, unnamed.as_str(), parent, temporary.as_slice(), AtFlags::SYMLINK_FOLLOW).map_err(from_errno)?;
    rename(parent, &temporary, name, true)
}

fn rename(parent: &OwnedFd, temporary: &[u8], name: &[u8], replace: bool) -> Result<(), StoreRefusal> {
    let result = match replace {
        true => renameat(parent, temporary, parent, name),
        false => rename_new((parent, temporary), (parent, name)),
    };
    result.map_err(|error| {
        let _ = unlinkat(parent, temporary, AtFlags::empty());
        from_errno(error)
    })
}

/// Renames to an unused name.
pub(super) fn rename_new(from: (&OwnedFd, &[u8]), to: (&OwnedFd, &[u8])) -> Result<(), Errno> {
    match renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        // The flag is not supported: linkat fails on an existing name too.
        Err(Errno::INVAL | Errno::NOSYS) => linkat(from.0, from.1, to.0, to.1, AtFlags::empty())
            .and_then(|()| unlinkat(from.0, from.1, AtFlags::empty())),
        result => result,
    }
}

fn temporary_name() -> Result<Vec<u8>, StoreRefusal> {
    let number = getrandom::u64().map_err(|error| StoreRefusal::Failed(error.to_string()))?;
    Ok([TEMPORARY_PREFIX, format!("{number:016x}").as_bytes()].concat())
}
