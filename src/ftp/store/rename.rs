//! Renames: within a file system by rename(2), to another file system by a copy that is complete and on the disk before the
//! source goes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use rustix::fs::{
    Access, AtFlags, FileType, FlockOperation, Mode, OFlags, Timespec, Timestamps, accessat, flock, futimens, openat,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::naming::{is_still, rename_new, same};
use super::upload::take_over;
use super::{FtpStore, StoreAnswer, UploadLimits, UploadSync, counted, from_errno, refusal};
use crate::ftp::session::StoreRefusal;

/// The bytes that are copied between two looks at the client.
const CARRY_BYTES: u64 = 8 << 20;

/// A name in an opened directory.
type PlacedName<'a> = (OwnedFd, &'a [u8]);

impl FtpStore {
    /// Renames `from` to `to`. `replace`: as rename(2); otherwise an existing target is kept.
    pub(super) fn rename(
        &self,
        from: &[u8],
        to: &[u8],
        replace: bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<StoreAnswer, StoreRefusal> {
        self.check(from)?;
        self.check(to)?;
        let (named_from, named_to) = (from, to);
        let (from, to) = (self.parent(from, None)?, self.parent(to, None)?);
        let replace = self.granted_rename(named_from, named_to, (&from.0, from.1), (&to.0, to.1))? && replace;
        let within = self.order.begin(&to.0, to.1)?.complete(|| {
            let names = self.held_names();
            let freed = if is_one_file(&from, &to) { 0 } else { counted(&names, &to.0, to.1) };
            let moved = match replace {
                true => renameat(&from.0, from.1, &to.0, to.1),
                false => rename_new((&from.0, from.1), (&to.0, to.1)),
            };
            match moved {
                Err(Errno::XDEV) => Ok(false),
                moved => moved.map_err(from_errno).map(|()| {
                    self.give(freed);
                    true
                }),
            }
        })?;
        if !within {
            self.carry(&from, &to, replace, go_on)?;
        }
        Ok(StoreAnswer::Done)
    }

    /// Moves a plain file to another file system, with owner, mode, attributes and times. The target appears whole, and the
    /// source goes when the target is on the disk.
    fn carry(
        &self,
        (source, name): &PlacedName<'_>,
        (parent, new_name): &PlacedName<'_>,
        replace: bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), StoreRefusal> {
        let stat = statat(source, *name, AtFlags::SYMLINK_NOFOLLOW).map_err(from_errno)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(StoreRefusal::OtherFileSystem);
        }
        match statat(parent, *new_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) if !replace => return Err(StoreRefusal::Exists),
            Ok(old) if FileType::from_raw_mode(old.st_mode) == FileType::Directory => {
                return Err(StoreRefusal::NotFile);
            }
            _ => {}
        }
        // The source can be removed: this is found before the copy.
        accessat(source, c".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).map_err(from_errno)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file: File = openat(source, *name, flags, Mode::empty()).map_err(from_errno)?.into();
        if let Err(Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            return Err(StoreRefusal::Busy);
        }
        UploadLimits { max_file: u64::MAX, ..self.limits }.room(parent, u64::try_from(stat.st_size).unwrap_or(0))?;
        let mut upload = self.fresh(parent.try_clone().map_err(refusal)?, new_name, replace)?;
        take_over(upload.file(), &stat, source, name)?;
        while io::copy(&mut (&file).take(CARRY_BYTES), &mut upload.file()).map_err(refusal)? > 0 {
            if !go_on() {
                return Err(refusal(io::ErrorKind::Interrupted.into()));
            }
        }
        let time = |tv_sec: i64, nanos: u64| Timespec { tv_sec, tv_nsec: nanos.cast_signed() };
        let times = Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
        };
        futimens(upload.file(), &times).map_err(from_errno)?;
        upload.must_sync(UploadSync::Name);
        upload.admit(self, 0)?;
        if !is_still(&file, source, name) {
            return Err(StoreRefusal::Moved);
        }
        upload.commit()?;
        // What was stored under the old name meanwhile stays.
        self.order.begin(source, name)?.alone(|| match is_still(&file, source, name) {
            true => unlinkat(source, *name, AtFlags::empty()).map_err(from_errno),
            false => Ok(()),
        })
    }
}

/// True if both names are names of one file: a rename then changes nothing.
fn is_one_file(from: &PlacedName<'_>, to: &PlacedName<'_>) -> bool {
    let stat = |(parent, name): &PlacedName<'_>| statat(parent, *name, AtFlags::SYMLINK_NOFOLLOW).ok();
    stat(from).zip(stat(to)).is_some_and(|(from, to)| same(&from, &to))
}
