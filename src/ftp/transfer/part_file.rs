//! Files that get their final name only when they are complete.
//!
//! [`crate::ftp::part`] names the unfinished file after its source, so that only data of the same source is ever appended. A
//! file that another user may have written is never continued. The final name goes to the inode that was written and
//! checked.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, SeekFrom, Stat, Timespec, Timestamps, fstat, openat,
    statat, unlinkat,
};
use rustix::io::Errno;

use super::local::{LocalDir, failed};
use crate::fault::{Fault, Kind};
use crate::ftp::part::{PartTag, may_be_cut, part_name};

/// Write permission for group and others.
const OTHERS_WRITE: u32 = 0o022;

/// A file that is being received, locked against a second run.
#[derive(Debug)]
pub struct PartFile {
    dir: Arc<LocalDir>,
    name: Vec<u8>,
    /// Its name until it is complete.
    part: Vec<u8>,
    file: File,
    stat: Stat,
    /// Its fate when it is dropped before it is complete.
    fate: PartFate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartFate {
    /// The same source can continue it: it is kept unless it is empty.
    Stays,
    /// Its source cannot be recognized later: it is deleted.
    Goes,
    /// It is the user's own file, which had this number of bytes.
    Own(u64),
    /// It has its final name, or is gone.
    Settled,
}

/// The attributes that a complete file gets along with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FinalState {
    /// The modification time.
    pub modified: Option<i64>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Sync the file before it gets the name.
    pub sync: bool,
    /// Replace an existing file of that name.
    pub replace: bool,
}

impl PartFile {
    /// The unfinished file of a source: the one from an earlier run, or a new one. A file that another user may have written or
    /// created is left alone.
    ///
    /// # Errors
    /// `Locked` if another run holds it; else the fault of the file.
    pub fn of_source(dir: &Arc<LocalDir>, name: &[u8], tag: &PartTag) -> Result<PartFile, Fault> {
        let part = part_name(name, tag);
        loop {
            let (made, new) = match create(dir, &part) {
                Err(Errno::EXIST) => (open(dir, &part), false),
                made => (made, true),
            };
            let fd = match made {
                Ok(fd) => fd,
                Err(errno) if new => return Err(uncreated(dir, &part, errno)),
                Err(Errno::NOENT) => continue,
                // A link, a directory, or a file without write permission.
                Err(_) => return PartFile::of_run(dir, name),
            };
            let stat = fstat(&fd).map_err(|errno| fault_at(dir, &part, errno))?;
            if !is_own(&stat) {
                return PartFile::of_run(dir, name);
            }
            lock(dir, &part, &fd)?;
            // Another run may have renamed the file between open and lock: then this is not the part any more.
            if !stands(dir, &part, &stat) {
                continue;
            }
            let found = PartFile::held(dir, name, part, fd, stat, PartFate::Stays);
            if new || stat.st_mode & OTHERS_WRITE == 0 {
                return Ok(found);
            }
            // Others may write to it: either new files here have that permission too, or another user changed it.
            let fresh = PartFile::of_run(dir, name)?;
            return Ok(if stat.st_mode & OTHERS_WRITE & !fresh.stat.st_mode == 0 { found } else { fresh });
        }
    }

    /// An unfinished file that is never continued.
    ///
    /// # Errors
    /// The fault of the file.
    pub fn of_run(dir: &Arc<LocalDir>, name: &[u8]) -> Result<PartFile, Fault> {
        let part = part_name(name, &PartTag::of_run()?);
        let fd = create(dir, &part).map_err(|errno| uncreated(dir, &part, errno))?;
        lock(dir, &part, &fd)?;
        let stat = fstat(&fd).map_err(|errno| fault_at(dir, &part, errno))?;
        Ok(PartFile::held(dir, name, part, fd, stat, PartFate::Goes))
    }

    /// The file that already has the final name, to be continued in place; `None` if it is not the user's own plain file.
    ///
    /// # Errors
    /// `Locked` if another run holds it; else the fault of the file.
    pub fn own(dir: &Arc<LocalDir>, name: &[u8]) -> Result<Option<PartFile>, Fault> {
        let fd = match open(dir, name) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(fault_at(dir, name, errno)),
        };
        let stat = fstat(&fd).map_err(|errno| fault_at(dir, name, errno))?;
        if !is_own(&stat) {
            return Ok(None);
        }
        lock(dir, name, &fd)?;
        let stat = fstat(&fd).map_err(|errno| fault_at(dir, name, errno))?;
        let had = u64::try_from(stat.st_size).unwrap_or(0);
        Ok(Some(PartFile::held(dir, name, name.to_vec(), fd, stat, PartFate::Own(had))))
    }

    fn held(dir: &Arc<LocalDir>, name: &[u8], part: Vec<u8>, fd: OwnedFd, stat: Stat, fate: PartFate) -> PartFile {
        PartFile { dir: dir.clone(), name: name.to_vec(), part, file: File::from(fd), stat, fate }
    }

    /// The open file, at the position that the caller left.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The final path of the file.
    pub fn target(&self) -> PathBuf {
        path(&self.dir, &self.name)
    }

    /// The number of bytes from an earlier run.
    pub fn found(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    /// The time at which they were written, in seconds since 1970.
    pub fn written(&self) -> i64 {
        self.stat.st_mtime
    }

    /// False for the user's own file.
    pub fn is_part(&self) -> bool {
        !matches!(self.fate, PartFate::Own(_))
    }

    /// True when the present content can be continued, by the same command or by another one of the same user.
    pub fn can_be_continued(&self) -> bool {
        let length = self.file.metadata().map_or(0, |meta| meta.len());
        matches!(self.fate, PartFate::Stays | PartFate::Own(_)) && length > 0
    }

    /// Discards the present content.
    ///
    /// # Errors
    /// The I/O fault of the file.
    pub fn restart(&self) -> Result<(), Fault> {
        let fault = |error| Fault::local(self.target().display(), &error);
        self.file.set_len(0).map_err(fault)?;
        self.seek(SeekFrom::Start(0))
    }

    /// Seeks to the end of the present content.
    ///
    /// # Errors
    /// The I/O fault of the file.
    pub fn append(&self) -> Result<(), Fault> {
        self.seek(SeekFrom::End(0))
    }

    fn seek(&self, to: SeekFrom) -> Result<(), Fault> {
        rustix::fs::seek(&self.file, to).map(drop).map_err(|errno| Fault::local(self.target().display(), &errno.into()))
    }

    /// Gives the complete file its final state and its name.
    ///
    /// # Errors
    /// The I/O fault of the file; `CannotCreate` if the name is taken and must not be replaced, or if the part's name belongs to
    /// another file now.
    pub fn commit(mut self, state: FinalState) -> Result<(), Fault> {
        let target = self.target();
        let fault = |errno: Errno| {
            let fault = Fault::local(target.display(), &errno.into());
            Fault { kind: if fault.kind == Kind::NoInput { Kind::CannotCreate } else { fault.kind }, ..fault }
        };
        if let Some(mode) = state.mode {
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & 0o777)).map_err(fault)?;
        }
        if let Some(seconds) = state.modified {
            let stamp = Timespec { tv_sec: seconds, tv_nsec: 0 };
            let times = Timestamps { last_access: stamp, last_modification: stamp };
            rustix::fs::futimens(&self.file, &times).map_err(fault)?;
        }
        if state.sync {
            rustix::fs::fsync(&self.file).map_err(fault)?;
        }
        if !stands(&self.dir, &self.part, &self.stat) {
            let (part, detail) = (path(&self.dir, &self.part), "is not the file that was written any more");
            self.fate = PartFate::Settled;
            return Err(Fault::new(Kind::CannotCreate, format!("{}: {detail}", part.display())));
        }
        if self.part != self.name {
            let (part, name) = (OsStr::from_bytes(&self.part), OsStr::from_bytes(&self.name));
            let renamed = match state.replace {
                true => rustix::fs::renameat(&self.dir, part, &self.dir, name),
                false => rustix::fs::renameat_with(&self.dir, part, &self.dir, name, RenameFlags::NOREPLACE),
            };
            renamed.map_err(fault)?;
        }
        self.fate = PartFate::Settled;
        self.clear_up();
        if state.sync {
            rustix::fs::fsync(&self.dir).map_err(fault)?;
        }
        Ok(())
    }

    /// Removes other unfinished files of this name from earlier runs: those of an earlier version of the source, or of an unknown
    /// source.
    fn clear_up(&self) {
        // A truncated name may belong to another file.
        let left = self.dir.unfinished_of(&self.name).iter();
        for old in left.filter(|old| **old != self.part && !may_be_cut(old)) {
            let Ok(fd) = open(&self.dir, old) else { continue };
            let own = fstat(&fd)
                .is_ok_and(|stat| is_own(&stat) && lock(&self.dir, old, &fd).is_ok() && stands(&self.dir, old, &stat));
            if own {
                let _ = unlinkat(&self.dir, OsStr::from_bytes(old), AtFlags::empty());
            }
        }
    }

    /// Discards received data that cannot be continued: a part is deleted, and the user's own file gets its old length.
    pub fn discard(mut self) {
        match self.fate {
            PartFate::Own(had) => drop(self.file.set_len(had)),
            _ => self.fate = PartFate::Goes,
        }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        let empty = || self.file.metadata().is_ok_and(|meta| meta.len() == 0);
        let goes = self.fate == PartFate::Goes || (self.fate == PartFate::Stays && empty());
        if goes && stands(&self.dir, &self.part, &self.stat) {
            let _ = unlinkat(&self.dir, OsStr::from_bytes(&self.part), AtFlags::empty());
        }
    }
}

fn create(dir: &LocalDir, part: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, OsStr::from_bytes(part), flags, Mode::from(0o666))
}

fn open(dir: &LocalDir, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    openat(dir, OsStr::from_bytes(name), flags, Mode::empty())
}

fn lock(dir: &LocalDir, name: &[u8], fd: &OwnedFd) -> Result<(), Fault> {
    rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
        Errno::WOULDBLOCK => {
            Fault::new(Kind::Locked, format!("{}: another transfer holds it", path(dir, name).display()))
        }
        errno => fault_at(dir, name, errno),
    })
}

/// True for a plain file of the current user without further hard links.
fn is_own(stat: &Stat) -> bool {
    let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    plain && stat.st_nlink == 1 && stat.st_uid == rustix::process::geteuid().as_raw()
}

/// True when `name` still belongs to the file of `stat`.
fn stands(dir: &LocalDir, name: &[u8], stat: &Stat) -> bool {
    let now = statat(dir, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW);
    now.is_ok_and(|now| now.st_ino == stat.st_ino && now.st_dev == stat.st_dev)
}

fn path(dir: &LocalDir, name: &[u8]) -> PathBuf {
    dir.path().join(OsStr::from_bytes(name))
}

fn fault_at(dir: &LocalDir, name: &[u8], errno: Errno) -> Fault {
    failed(Path::new(&path(dir, name)), errno)
}

fn uncreated(dir: &LocalDir, name: &[u8], errno: Errno) -> Fault {
    let fault = fault_at(dir, name, errno);
    match fault.kind {
        Kind::Io | Kind::StorageFull => fault,
        _ => Fault { kind: Kind::CannotCreate, ..fault },
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn tag(size: u8) -> PartTag {
        PartTag::of_source(&[b"ftp://h/x", &[size]])
    }

    fn names(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    const STATE: FinalState = FinalState { modified: Some(1_000_000_000), mode: None, sync: true, replace: true };

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let temp = tempfile::tempdir().unwrap();
        let dir = LocalDir::open(temp.path()).unwrap();
        let part = PartFile::of_source(&dir, b"x", &tag(1)).unwrap();
        part.file().write_all(b"hello").unwrap();
        assert!(!temp.path().join("x").exists());
        assert_eq!(PartFile::of_source(&dir, b"x", &tag(1)).unwrap_err().kind, Kind::Locked);
        part.commit(FinalState { mode: Some(0o4640), ..STATE }).unwrap();
        assert_eq!(std::fs::read(temp.path().join("x")).unwrap(), b"hello");
        assert_eq!(dir.plain_file(b"x"), Some((5, 1_000_000_000)));
        assert_eq!((temp.path().join("x").metadata().unwrap().mode() & 0o7777, names(temp.path())), (0o640, 1));
        let part = PartFile::of_run(&dir, b"x").unwrap();
        part.file().write_all(b"other").unwrap();
        assert_eq!(part.commit(FinalState { replace: false, ..STATE }).unwrap_err().kind, Kind::CannotCreate);
        assert_eq!((std::fs::read(temp.path().join("x")).unwrap(), names(temp.path())), (b"hello".to_vec(), 1));
    }

    /// A part from an earlier run is continued or left untouched, depending on who may have written it.
    #[test]
    fn only_own_parts_are_continued() {
        let at = |dir: &Path| dir.join(OsStr::from_bytes(&part_name(b"x", &tag(1))));
        type Prepare = fn(&Path, &Path);
        let rows: [(&str, bool, Prepare); 8] = [
            ("plain", true, |_, _| ()),
            ("empty", false, |part, _| std::fs::write(part, "").unwrap()),
            ("linked", false, |part, other| std::fs::hard_link(part, other).unwrap()),
            ("a link", false, |part, other| {
                std::fs::rename(part, other).unwrap();
                symlink(other, part).unwrap();
            }),
            ("a directory", false, |part, _| {
                std::fs::remove_file(part).unwrap();
                std::fs::create_dir(part).unwrap();
            }),
            ("a FIFO", false, |part, _| {
                std::fs::remove_file(part).unwrap();
                rustix::fs::mknodat(rustix::fs::CWD, part, FileType::Fifo, Mode::from(0o600), 0).unwrap();
            }),
            ("writable", false, |part, _| {
                std::fs::set_permissions(part, std::fs::Permissions::from_mode(0o666)).unwrap();
            }),
            ("foreign", false, |part, _| {
                // Only root can change the owner of a file; for other users the part is emptied instead.
                if std::os::unix::fs::chown(part, Some(65534), None).is_err() {
                    std::fs::write(part, "").unwrap();
                }
            }),
        ];
        for (what, continued, prepare) in rows {
            let temp = tempfile::tempdir().unwrap();
            let dir = LocalDir::open(temp.path()).unwrap();
            let part = PartFile::of_source(&dir, b"x", &tag(1)).unwrap();
            part.file().write_all(b"half").unwrap();
            assert!(part.can_be_continued());
            drop(part);
            assert_eq!(dir.unfinished_of(b"x").len(), 1);
            prepare(&at(temp.path()), &temp.path().join("other"));
            let part = PartFile::of_source(&dir, b"x", &tag(1)).unwrap();
            assert_eq!(part.found(), if continued { 4 } else { 0 }, "{what}");
            part.restart().unwrap();
            part.file().write_all(b"whole").unwrap();
            part.commit(STATE).unwrap();
            let found = temp.path().join("x").symlink_metadata().unwrap();
            assert!(found.is_file() && found.uid() == rustix::process::geteuid().as_raw(), "{what}");
            assert_eq!(std::fs::read(temp.path().join("x")).unwrap(), b"whole", "{what}");
            let other = std::fs::read(temp.path().join("other"));
            assert!(other.is_err() || other.unwrap() == b"half", "{what}");
        }
    }

    #[test]
    fn what_is_renamed_was_written_and_other_beginnings_go() {
        let temp = tempfile::tempdir().unwrap();
        let dir = LocalDir::open(temp.path()).unwrap();
        for part in [PartFile::of_source(&dir, b"x", &tag(2)), PartFile::of_source(&dir, b"xy", &tag(2))] {
            part.unwrap().file().write_all(b"older").unwrap();
        }
        let busy = PartFile::of_source(&dir, b"x", &tag(3)).unwrap();
        busy.file().write_all(b"busy").unwrap();
        let part = PartFile::of_source(&dir, b"x", &tag(1)).unwrap();
        let own = temp.path().join(OsStr::from_bytes(&part.part));
        part.file().write_all(b"ours").unwrap();
        std::fs::rename(&own, temp.path().join("away")).unwrap();
        std::fs::write(&own, "planted").unwrap();
        assert_eq!(part.commit(STATE).unwrap_err().kind, Kind::CannotCreate);
        assert!(!temp.path().join("x").exists() && own.exists());
        std::fs::remove_file(&own).unwrap();
        PartFile::of_source(&dir, b"x", &tag(1)).unwrap().commit(STATE).unwrap();
        // x, away, the beginning of xy, and what is being written.
        assert_eq!(names(temp.path()), 4);
        busy.commit(STATE).unwrap();
        assert_eq!((std::fs::read(temp.path().join("x")).unwrap(), names(temp.path())), (b"busy".to_vec(), 3));
    }

    #[test]
    fn the_users_own_file_is_continued_in_place() {
        let temp = tempfile::tempdir().unwrap();
        let dir = LocalDir::open(temp.path()).unwrap();
        let path = temp.path().join("x");
        assert!(PartFile::own(&dir, b"x").unwrap().is_none());
        std::fs::write(&path, "half").unwrap();
        for (end, content) in [("discarded", "half"), ("dropped", "half and"), ("committed", "half and and")] {
            let part = PartFile::own(&dir, b"x").unwrap().unwrap();
            part.append().unwrap();
            part.file().write_all(b" and").unwrap();
            match end {
                "discarded" => part.discard(),
                "dropped" => drop(part),
                _ => part.commit(STATE).unwrap(),
            }
            assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), names(temp.path())), (content, 1), "{end}");
        }
        std::fs::hard_link(&path, temp.path().join("y")).unwrap();
        assert!(PartFile::own(&dir, b"x").unwrap().is_none());
    }
}
