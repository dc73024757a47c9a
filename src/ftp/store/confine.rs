//! Opens names below a root and nowhere else. The kernel enforces the bounds (`openat2` with `RESOLVE_BENEATH`), since
//! a textual check cannot: between a check and its use somebody may replace a directory by a link.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlink, statat};
use rustix::io::Errno;

/// The number of attempts of a lookup that renames elsewhere in the tree disturb (`EAGAIN`, openat2(2)).
const MAX_RACES: usize = 32;

/// A directory that confines lookups.
#[derive(Debug)]
pub(super) struct StoreRoot {
    fd: OwnedFd,
    how: PathLookup,
}

/// The method of lookups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathLookup {
    /// By the kernel: links are followed as long as they stay below the root, except absolute links and the magic links
    /// of `/proc`.
    Beneath,
    /// Name by name, if the kernel has no openat2 (before 5.6) or a sandbox forbids it: no link is followed at all.
    NoLinks,
}

impl StoreRoot {
    /// Opens `path` as a root, even through links: the operator of the server chose it.
    pub(super) fn open(path: &std::path::Path) -> io::Result<StoreRoot> {
        let fd = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let how = match openat2(&fd, c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), BENEATH) {
            Ok(_) => PathLookup::Beneath,
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => PathLookup::NoLinks,
            Err(error) => return Err(error.into()),
        };
        Ok(StoreRoot { fd, how })
    }

    /// Opens the directory `path` below this root as a root of its own.
    pub(super) fn below(&self, path: &[u8]) -> io::Result<StoreRoot> {
        let fd = self.open_at(path, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(StoreRoot { fd, how: self.how })
    }

    #[cfg(test)]
    pub(super) fn with(mut self, how: PathLookup) -> StoreRoot {
        self.how = how;
        self
    }

    /// Opens an absolute, normalized path (see [`crate::ftp::session::path::resolve`]) below the root.
    pub(super) fn open_at(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        let relative = match path.strip_prefix(b"/").unwrap_or(path) {
            b"" => b".",
            relative => relative,
        };
        match self.how {
            PathLookup::Beneath => {
                for _ in 0..MAX_RACES {
                    match openat2(&self.fd, relative, flags, Mode::empty(), BENEATH) {
                        Err(Errno::AGAIN | Errno::INTR) => {}
                        result => return result.map_err(io::Error::from),
                    }
                }
                Err(Errno::AGAIN.into())
            }
            PathLookup::NoLinks => self.step_by_step(relative, flags),
        }
    }

    fn step_by_step(&self, relative: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let mut names = relative.split(|byte| *byte == b'/').peekable();
        let mut at = self.fd.try_clone()?;
        while let Some(name) = names.next() {
            if name == b".." || name.is_empty() {
                return Err(Errno::XDEV.into());
            }
            at = match names.peek() {
                Some(_) => {
                    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    openat(&at, name, step, Mode::empty())?
                }
                None => openat(&at, name, flags | OFlags::NOFOLLOW, Mode::empty())?,
            };
        }
        // With O_PATH even O_NOFOLLOW opens a link: the link itself.
        if flags.contains(OFlags::PATH) && FileType::from_raw_mode(fstat(&at)?.st_mode) == FileType::Symlink {
            return Err(Errno::LOOP.into());
        }
        Ok(at)
    }

    /// The directory that contains `path`, and the last name: for operations on the name itself, which follow no link.
    pub(super) fn parent<'a>(&self, path: &'a [u8]) -> io::Result<(OwnedFd, &'a [u8])> {
        let slash = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let (directory, name) = path.split_at(slash);
        let name = name.strip_prefix(b"/").unwrap_or(name);
        if name.is_empty() || name == b".." || name == b"." {
            return Err(Errno::BUSY.into());
        }
        Ok((self.open_at(directory, OFlags::PATH | OFlags::DIRECTORY)?, name))
    }
}

impl StoreRoot {
    /// The directory and the name of the target of the link at `path`, below the root: the kernel follows the link and
    /// reports the location.
    pub(super) fn behind(&self, path: &[u8]) -> io::Result<(OwnedFd, Vec<u8>)> {
        let target = self.open_at(path, OFlags::PATH)?;
        let below = self.place_of(&target)?;
        let (parent, name) = self.parent(&below)?;
        let (opened, named) = (fstat(&target)?, statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?);
        // Moved in between.
        if (opened.st_dev, opened.st_ino) != (named.st_dev, named.st_ino) {
            return Err(Errno::NOENT.into());
        }
        Ok((parent, name.to_vec()))
    }

    /// The path of a descriptor below the root, without links, as reported by the kernel.
    pub(super) fn place_of(&self, opened: &OwnedFd) -> io::Result<Vec<u8>> {
        let place = |fd: &OwnedFd| readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new());
        let (top, found) = (place(&self.fd)?.into_bytes(), place(opened)?.into_bytes());
        let below = if top == b"/" { Some(found.as_slice()) } else { found.strip_prefix(top.as_slice()) };
        below.map(<[u8]>::to_vec).ok_or_else(|| Errno::XDEV.into())
    }
}

impl AsFd for StoreRoot {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn read(root: &StoreRoot, path: &str) -> io::Result<String> {
        let file = root.open_at(path.as_bytes(), OFlags::RDONLY)?;
        io::read_to_string(std::fs::File::from(file))
    }

    #[test]
    fn nothing_outside_is_reached() {
        let place = tempfile::tempdir().unwrap();
        let outside = place.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("secret"), "secret").unwrap();
        let inside = place.path().join("inside");
        std::fs::create_dir_all(inside.join("dir")).unwrap();
        std::fs::write(inside.join("dir/file"), "file").unwrap();
        symlink("/etc/passwd", inside.join("absolute")).unwrap();
        symlink("../outside/secret", inside.join("up")).unwrap();
        symlink("../outside", inside.join("updir")).unwrap();
        symlink("/proc/self/cwd", inside.join("magic")).unwrap();
        symlink("dir/file", inside.join("good")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();
        symlink(&inside, place.path().join("door")).unwrap();
        for how in [PathLookup::Beneath, PathLookup::NoLinks] {
            let root = StoreRoot::open(&place.path().join("door")).unwrap().with(how);
            assert_eq!(read(&root, "/dir/file").unwrap(), "file", "{how:?}");
            for path in
                ["/absolute", "/up", "/updir/secret", "/magic/Cargo.toml", "/loop", "/../outside/secret", "/dir/../up"]
            {
                assert!(read(&root, path).is_err(), "{path} {how:?}");
                assert!(root.open_at(path.as_bytes(), OFlags::PATH).is_err(), "{path} {how:?}");
            }
            assert_eq!(read(&root, "/good").is_ok(), how == PathLookup::Beneath);
            assert!(root.parent(b"/updir/x").is_err(), "{how:?}");
            assert!(root.parent(b"/").is_err());
            assert_eq!(root.parent(b"/dir/x").unwrap().1, b"x");
            let below = root.below(b"/dir").unwrap();
            assert_eq!(read(&below, "/file").unwrap(), "file");
            assert!(read(&below, "/../good").is_err());
        }
    }

    #[test]
    fn a_race_of_links_never_gets_out() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("outside")).unwrap();
        std::fs::write(place.path().join("outside/f"), "out").unwrap();
        let inside = place.path().join("inside");
        std::fs::create_dir_all(inside.join("a")).unwrap();
        std::fs::write(inside.join("a/f"), "in").unwrap();
        symlink("../outside", inside.join("b")).unwrap();
        for how in [PathLookup::Beneath, PathLookup::NoLinks] {
            let stop = std::sync::atomic::AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // Swaps the directory and the link that leads out, again and again.
                    let (a, b) = (inside.join("a"), inside.join("b"));
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        rustix::fs::renameat_with(CWD, &a, CWD, &b, rustix::fs::RenameFlags::EXCHANGE).unwrap();
                    }
                });
                let root = StoreRoot::open(&inside).unwrap().with(how);
                let (mut tries, mut found, mut missed) = (0, 0, 0);
                while (tries < 2000 || found == 0 || missed == 0) && tries < 1_000_000 {
                    tries += 1;
                    match read(&root, "/a/f") {
                        Ok(text) => {
                            assert_eq!(text, "in", "{how:?}");
                            found += 1;
                        }
                        Err(_) => missed += 1,
                    }
                }
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
                assert!(found > 0 && missed > 0, "{how:?}: there at times, and not at others");
            });
        }
    }
}
