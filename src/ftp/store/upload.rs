//! An upload in progress. A whole file has no name until it is complete: it is an unnamed file (`O_TMPFILE`) that
//! [`StoreUpload::commit`] links to its name, or, on file systems without unnamed files, a hidden file that is renamed.
//! If the upload ends early for any reason, the old file is unchanged. The kept part of an interrupted upload is marked
//! with its owner and size: APPE, and REST with STOR, resume only such a file, unless [`UploadLimits::append`] is set.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Uid, XattrFlags, fchmod, fchown, fgetxattr,
    flistxattr, flock, fremovexattr, fsetxattr, fstat, linkat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::naming::{is_still, rename_new};
use super::order::{UploadKey, UploadTurn};
use super::quota::{QuotaShare, released, size_of};

use super::{FtpStore, TEMPORARY_PREFIX, UploadLimits, UploadSync, from_errno, refusal};
use crate::ftp::session::path::MAX_NAME;
use crate::ftp::session::{Right, StoreRefusal, UploadMode};

/// The extended attribute of the kept part of an interrupted upload: its size and its owner.
const BROKEN: &str = "user.ftpserve.broken";
/// The longest value of this attribute.
const MAX_BROKEN: usize = 1024;
/// The attribute with the access control list of a file, acl(5).
pub(super) const ACCESS_LIST: &str = "system.posix_acl_access";
/// The most bytes of attribute names, and of one attribute value, that are copied from a replaced file: the kernel's limit.
const MAX_ATTRIBUTE_BYTES: usize = 64 << 10;
/// The number of names that STOU tries before it gives up.
const MAX_UNIQUE_TRIES: u32 = 1000;
/// The number of hidden names that an upload tries.
const MAX_HIDDEN_TRIES: u32 = 8;
/// The permission bits of a new file, before the umask.
const NEW_FILE: Mode = Mode::from_raw_mode(0o666);
/// The number of bytes after which the free space is checked again.
const FREE_CHECK_BYTES: u64 = 16 << 20;

/// A file being received.
#[derive(Debug)]
pub struct StoreUpload {
    file: File,
    /// The directory of the target.
    parent: OwnedFd,
    target: UploadTarget,
    /// The place in the order of uploads, and the name, which is no link.
    turn: Box<UploadTurn>,
    /// The size of the file with all bytes received so far.
    position: u64,
    checked: u64,
    /// The limits, and the owner.
    terms: Box<(UploadLimits, Arc<str>)>,
    quota: Option<Box<QuotaShare>>,
    /// All of it is on the disk.
    settled: bool,
}

#[derive(Debug)]
enum UploadTarget {
    /// Written in place; `before` is the size before the upload.
    InPlace { before: u64 },
    /// Gets its name at the end. Until then it has the name `temporary`, or none.
    New { temporary: Option<Vec<u8>>, replace: bool },
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
                let (parent, name) = self.target(path, replace, (Right::Upload, Right::Overwrite))?;
                Ok((self.whole(parent, name, replace)?, None))
            }
            UploadMode::Unique => {
                let (parent, suggested) = self.parent(path, Some(Right::Upload))?;
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
        let before = replaced.as_ref().map_or(0, size_of);
        let mut upload = self.fresh(parent, &name, replace)?;
        match (replaced, self.umask) {
            (Some(stat), _) => take_over(&upload.file, &stat, &upload.parent, &name)?,
            (None, Some(mask)) => fchmod(&upload.file, Mode::from_raw_mode(0o666 & !mask)).map_err(from_errno)?,
            (None, None) => {}
        }
        upload.admit(self, before)?;
        Ok(upload)
    }

    /// The directory and the name that an upload to `path` is about. Through a link, if there is to be one, it is about the
    /// link's target in the tree. `rights`: what a new name needs, and what a file that is there needs, behind links too.
    fn target(&self, path: &[u8], through: bool, rights: (Right, Right)) -> Result<(OwnedFd, Vec<u8>), StoreRefusal> {
        let (parent, name) = self.parent(path, Some(rights.0))?;
        let found = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok() && through {
            self.granted(path, Some(rights.1), || self.place_in(&parent, name))?;
        }
        match found {
            Ok(stat) if through && FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                let (parent, name) = self.root.behind(path).map_err(refusal)?;
                self.check(&name)?;
                self.check_place(&parent)?;
                self.granted(path, Some(rights.1), || self.place_in(&parent, &name))?;
                Ok((parent, name))
            }
            _ => Ok((parent, name.to_vec())),
        }
    }

    /// A new file for `name` in `parent`, without limits.
    pub(super) fn fresh(&self, parent: OwnedFd, name: &[u8], replace: bool) -> Result<StoreUpload, StoreRefusal> {
        let turn = self.order.begin(&parent, name)?;
        let unnamed = match self.unnamed_files {
            true => openat(&parent, c".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, NEW_FILE),
            false => Err(Errno::OPNOTSUPP),
        };
        let (file, temporary) = match unnamed {
            Ok(file) => (file, None),
            // The file system has no unnamed files (NFS, FAT), or the kernel takes the flag for a directory.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => hidden_file(&parent)?,
            Err(error) => return Err(refusal(error.into())),
        };
        let target = UploadTarget::New { temporary, replace };
        let terms = Box::new((self.limits, self.owner.clone()));
        Ok(StoreUpload {
            file: file.into(),
            parent,
            target,
            turn,
            position: 0,
            checked: 0,
            terms,
            quota: None,
            settled: false,
        })
    }

    fn in_place(&self, path: &[u8], mode: UploadMode) -> Result<StoreUpload, StoreRefusal> {
        let (parent, name) = self.target(path, true, (Right::Append, Right::Append))?;
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file: File = openat(&parent, name.as_slice(), flags, Mode::empty()).map_err(from_errno)?.into();
        // A file system without locks is no reason to refuse.
        if let Err(Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            return Err(StoreRefusal::Busy);
        }
        // After the lock: the upload before may just have ended.
        let metadata = file.metadata().map_err(refusal)?;
        if !metadata.is_file() {
            return Err(StoreRefusal::NotFile);
        }
        let before = metadata.len();
        let position = match mode {
            UploadMode::At(offset) if offset > before => return Err(StoreRefusal::BadOffset),
            UploadMode::At(offset) => offset,
            _ => before,
        };
        if !self.limits.append && broken(&file).as_deref() != Some(mark(before, &self.owner).as_bytes()) {
            return Err(StoreRefusal::NotBroken);
        }
        io::Seek::seek(&mut &file, io::SeekFrom::Start(position)).map_err(refusal)?;
        let turn = self.order.begin(&parent, &name)?;
        let target = UploadTarget::InPlace { before };
        let terms = Box::new((self.limits, self.owner.clone()));
        let mut upload =
            StoreUpload { file, parent, target, turn, position, checked: 0, terms, quota: None, settled: false };
        upload.admit(self, before)?;
        Ok(upload)
    }
}

/// Copies the metadata of the file `name`, which is replaced or moved: group and owner as far as the system permits,
/// extended attributes (access control lists are among them), permission bits.
pub(super) fn take_over(file: &File, old: &Stat, parent: &OwnedFd, name: &[u8]) -> Result<(), StoreRefusal> {
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
    // A directory with a default list gives one to each new file.
    let _ = fremovexattr(file, ACCESS_LIST);
    // A file that is writable but not readable does not pass on its attributes.
    if let Ok(old_file) = openat(parent, name, flags, Mode::empty()) {
        copy_attributes(&old_file, file);
    }
    // At the end: changing the owner takes bits away.
    fchmod(file, Mode::from_raw_mode(old.st_mode & 0o777)).map_err(from_errno)
}

/// Copies the extended attributes that the file system permits to set.
fn copy_attributes(from: &OwnedFd, to: &File) {
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
    /// Applies the quota and checks the free space. `before`: the size of the file that is written or replaced.
    pub(super) fn admit(&mut self, store: &FtpStore, before: u64) -> Result<(), StoreRefusal> {
        self.quota = store.share.quota.as_ref().map(|quota| Box::new(QuotaShare::new(quota, before)));
        if let (UploadTarget::InPlace { .. }, Some(quota)) = (&self.target, &mut self.quota) {
            quota.writes(&self.file);
        }
        self.check_free()
    }

    /// Raises what is on the disk before the file gets its name.
    pub(super) fn must_sync(&mut self, sync: UploadSync) {
        self.terms.0.sync = sync;
    }

    /// The file to write to, at its position.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// True if the bytes are in the file that others see as soon as they are written.
    pub fn is_in_place(&self) -> bool {
        !self.replaces()
    }

    /// True if the end of this upload waits for the disk.
    pub fn waits_for_disk(&self) -> bool {
        self.terms.0.sync != UploadSync::Nothing
    }

    /// Brings a new file that is complete to the disk, as far as it was asked for, before it gets its name.
    ///
    /// # Errors
    /// The file cannot be synced.
    pub fn settle(&mut self) -> Result<(), StoreRefusal> {
        if self.replaces() && self.waits_for_disk() {
            self.sync()?;
            self.settled = true;
        }
        Ok(())
    }

    /// The target in the order of uploads.
    pub(super) fn key(&self) -> &UploadKey {
        self.turn.key()
    }

    /// The number of bytes that may be written before [`StoreUpload::wrote`] must be called.
    pub(super) fn allowance(&self) -> u64 {
        let quota = self.quota.as_ref().map_or(u64::MAX, |quota| quota.most(self.replaces()));
        self.terms.0.max_file.min(quota).saturating_sub(self.position).saturating_add(1)
    }

    /// Counts written bytes.
    ///
    /// # Errors
    /// The file is too large, the quota is exceeded, or the disk is too full.
    pub(super) fn wrote(&mut self, bytes: u64) -> Result<(), StoreRefusal> {
        self.position += bytes;
        self.checked += bytes;
        let replaces = self.replaces();
        let fits = match &mut self.quota {
            _ if self.position > self.terms.0.max_file => Err(StoreRefusal::TooLarge),
            Some(quota) => quota.grew(self.position, replaces),
            None => Ok(()),
        };
        if fits.is_err() {
            self.take_back();
        }
        fits?;
        if self.checked >= FREE_CHECK_BYTES { self.check_free() } else { Ok(()) }
    }

    fn replaces(&self) -> bool {
        matches!(self.target, UploadTarget::New { .. })
    }

    /// The size with all bytes received so far; the size of the file that is written or replaced, if a quota counts it; true
    /// if a new file gets its name at the end.
    pub(super) fn sizes(&self) -> (u64, u64, bool) {
        (self.position, self.quota.as_ref().map_or(0, |quota| quota.before()), self.replaces())
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
        if self.replaces() {
            return self.place();
        }
        let done = self.end_in_place();
        if done.is_err() {
            self.take_back();
        }
        done
    }

    fn end_in_place(&self) -> Result<(), StoreRefusal> {
        self.turn.complete(|| {
            // The bytes would go with the file that had the name before.
            if !is_still(&self.file, &self.parent, self.turn.name()) {
                return Err(StoreRefusal::Moved);
            }
            self.file.set_len(self.position).map_err(refusal)?;
            self.sync()
        })?;
        // It is no error if the attribute does not exist.
        let _ = fremovexattr(&self.file, BROKEN);
        Ok(())
    }

    /// Ends an upload that a limit or an error of the system has stopped: nothing of it stays.
    pub fn refused(self) {
        self.take_back();
    }

    /// Discards the data that was appended; if the file cannot be truncated, a later upload finds that data.
    fn take_back(&self) {
        if let UploadTarget::InPlace { before } = self.target
            && self.file.metadata().is_ok_and(|metadata| metadata.len() > before)
        {
            let _ = self.file.set_len(before);
        }
    }

    fn sync(&self) -> Result<(), StoreRefusal> {
        self.terms.0.sync.apply(&self.file)
    }

    /// Links a new file to its name, or renames it.
    fn place(&mut self) -> Result<(), StoreRefusal> {
        if !self.settled {
            self.sync()?;
        }
        let UploadTarget::New { temporary, replace } = &mut self.target else { return Ok(()) };
        let (file, parent, name, quota) = (&self.file, &self.parent, self.turn.name(), &mut self.quota);
        self.turn.complete(|| {
            let mut place = || match temporary.take() {
                Some(temporary) => rename(parent, &temporary, name, *replace),
                None => link(file, parent, name, *replace),
            };
            match quota {
                Some(quota) => quota.place(|names| released(names, parent, name), place),
                None => place(),
            }
        })?;
        if self.terms.0.sync == UploadSync::Name {
            let directory = openat(parent, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
            File::from(directory.map_err(from_errno)?).sync_all().map_err(refusal)?;
        }
        Ok(())
    }

    /// Ends an interrupted upload; the kept part may be resumed. A whole file is kept under its name only if `keep` is
    /// true and the name is unused; data written in place stays in any case. Returns the size of what was kept.
    pub fn broke_off(mut self, keep: bool) -> Option<u64> {
        if let UploadTarget::New { replace, .. } = &mut self.target {
            if !keep {
                return None;
            }
            *replace = false;
        }
        // A failure here breaks no promise: such a file is not resumed.
        let size = self.file.metadata().map_or(0, |metadata| metadata.len());
        // Some bytes may have been written and not counted.
        if self.wrote(size.saturating_sub(self.position)).is_err() {
            return None;
        }
        let value = mark(size, &self.terms.1);
        let _ = fsetxattr(&self.file, BROKEN, value.as_bytes(), XattrFlags::empty());
        let kept = !self.replaces() || self.place().is_ok();
        kept.then_some(size)
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
        if let (UploadTarget::InPlace { .. }, Some(quota)) = (&self.target, &mut self.quota) {
            quota.settle(&self.file);
        }
        if let UploadTarget::New { temporary: Some(temporary), .. } = &self.target {
            // Only this upload uses the name; there is nobody to whom a failure could be reported.
            let _ = unlinkat(&self.parent, temporary.as_slice(), AtFlags::empty());
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
    // Nobody takes it for abandoned.
    let _ = flock(file, FlockOperation::NonBlockingLockExclusive);
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

/// A new file with a hidden name, locked as long as the upload runs.
fn hidden_file(parent: &OwnedFd) -> Result<(OwnedFd, Option<Vec<u8>>), StoreRefusal> {
    for _ in 0..MAX_HIDDEN_TRIES {
        let name = temporary_name()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(parent, name.as_slice(), flags, NEW_FILE).map_err(from_errno)?;
        // Between both calls it looks abandoned. A file system without locks is no reason to refuse.
        let swept = matches!(flock(&file, FlockOperation::NonBlockingLockExclusive), Err(Errno::WOULDBLOCK));
        if !swept && fstat(&file).map_err(from_errno)?.st_nlink > 0 {
            return Ok((file, Some(name)));
        }
    }
    Err(StoreRefusal::Busy)
}

/// Removes a hidden file whose upload has died with its server: nobody locks it.
pub(super) fn sweep(parent: &impl AsFd, name: &[u8]) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = openat(parent, name, flags, Mode::empty()) else { return };
    let (own, root) = (geteuid(), geteuid().is_root());
    let ours = |stat: Stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && (root || stat.st_uid == own.as_raw())
    };
    if fstat(&file).is_ok_and(ours) && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        let _ = unlinkat(parent, name, AtFlags::empty());
    }
}

/// Removes all such files of a directory; true if it held nothing else.
pub(super) fn sweep_all(parent: &OwnedFd, name: &[u8]) -> Result<bool, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty())?;
    for found in Dir::read_from(&directory)? {
        let found = found?;
        match found.file_name().to_bytes() {
            b"." | b".." => {}
            name if name.starts_with(TEMPORARY_PREFIX) => sweep(&directory, name),
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn temporary_name() -> Result<Vec<u8>, StoreRefusal> {
    let number = getrandom::u64().map_err(|error| StoreRefusal::Failed(error.to_string()))?;
    Ok([TEMPORARY_PREFIX, format!("{number:016x}").as_bytes()].concat())
}
