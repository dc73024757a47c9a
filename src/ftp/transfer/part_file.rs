//! Files that appear under their name only when they are complete.
//!
//! The unfinished file is named by [`crate::ftp::part`] after its source, so that nothing but the same source is ever put
//! behind it; one that somebody else may have written is never continued. What gets the name is the inode that was written
//! and checked.

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

/// Write permission of all but the owner.
const OTHERS_WRITE: u32 = 0o022;

/// A file that is being received, locked against a second run.
#[derive(Debug)]
pub struct PartFile {
    dir: Arc<LocalDir>,
    name: Vec<u8>,
    /// What it is called until it is complete.
    part: Vec<u8>,
    file: File,
    stat: Stat,
    /// What becomes of it when it is dropped before it is complete.
    fate: PartFate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartFate {
    /// The same source can continue it: it stays, unless it is empty.
    Stays,
    /// Nobody knows what it is the beginning of: it goes.
    Goes,
    /// It is the user's own file, which had so many bytes.
    Own(u64),
    /// It has its name, or is gone.
    Settled,
}

/// What a complete file gets along with its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FinalState {
    /// The modification time.
    pub modified: Option<i64>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Durable before it has the name.
    pub sync: bool,
    /// Whatever has the name already is replaced.
    pub replace: bool,
}

impl PartFile {
    /// The unfinished file of a source: the one that an earlier run has left, or a new one. One that another user may have
    /// written, or put there, is left alone.
    ///
    /// # Errors
    /// `Locked` where another run holds it; else the fault of the file.
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
                // A link, a directory, a file that is not ours to write.
                Err(_) => return PartFile::of_run(dir, name),
            };
            let stat = fstat(&fd).map_err(|errno| fault_at(dir, &part, errno))?;
            if !is_own(&stat) {
                return PartFile::of_run(dir, name);
            }
            lock(dir, &part, &fd)?;
            // Between our open and our lock another run may have renamed the file away: then this is not the part any more.
            if !stands(dir, &part, &stat) {
                continue;
            }
            let found = PartFile::held(dir, name, part, fd, stat, PartFate::Stays);
            if new || stat.st_mode & OTHERS_WRITE == 0 {
                return Ok(found);
            }
            // Others may write to it: they may to a new one too, or somebody has seen to that.
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

    /// The file that has the name already, to be continued where it stands; `None` if it is not the user's own plain file.
    ///
    /// # Errors
    /// `Locked` where another run holds it; else the fault of the file.
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

    /// The file, positioned where the caller left it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the file will be.
    pub fn target(&self) -> PathBuf {
        path(&self.dir, &self.name)
    }

    /// Bytes that an earlier run left.
    pub fn found(&self) -> u64 {
        u64::try_from(self.stat.st_size).unwrap_or(0)
    }

    /// When they were written.
    pub fn written(&self) -> i64 {
        self.stat.st_mtime
    }

    /// False for the user's own file.
    pub fn is_part(&self) -> bool {
        !matches!(self.fate, PartFate::Own(_))
    }

    /// True when what is there now can be continued: by the same command, or by another one of the user's.
    pub fn can_be_continued(&self) -> bool {
        let length = self.file.metadata().map_or(0, |meta| meta.len());
        matches!(self.fate, PartFate::Stays | PartFate::Own(_)) && length > 0
    }

    /// Throws away what is there.
    ///
    /// # Errors
    /// The I/O fault of the file.
    pub fn restart(&self) -> Result<(), Fault> {
        let fault = |error| Fault::local(self.target().display(), &error);
        self.file.set_len(0).map_err(fault)?;
        self.seek(SeekFrom::Start(0))
    }

    /// Goes to the end of what is there.
    ///
    /// # Errors
    /// The I/O fault of the file.
    pub fn append(&self) -> Result<(), Fault> {
        self.seek(SeekFrom::End(0))
    }

    fn seek(&self, to: SeekFrom) -> Result<(), Fault> {
        rustix::fs::seek(&self.file, to).map(drop).map_err(|errno| Fault::local(self.target().display(), &errno.into()))
    }

    /// Gives the file its name: complete, in its final state.
    ///
    /// # Errors
    /// The I/O fault of the file; `CannotCreate` if the name is taken and may not be replaced, or if something else stands
    /// where the file was written.
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

    /// Removes other beginnings of this file that earlier runs have left: of what the source was before, or of nobody knows
    /// what.
    fn clear_up(&self) {
        // A name that was cut may be another file's.
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

    /// What came is no beginning of anything: the part goes, and the user's own file is as it was.
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

/// A plain file of ours that has no other name.
fn is_own(stat: &Stat) -> bool {
    let plain = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    plain && stat.st_nlink == 1 && stat.st_uid == rustix::process::geteuid().as_raw()
}

/// True when the file still has the name.
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

    /// What an earlier run left, by who may have written it: continued, or left where it is and never touched.
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
                // Only root can give files away; for everybody else nothing is foreign here.
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
