//! The owners of leases and unfinished bodies: one locked file per process. The kernel drops the lock with the process, so
//! death is proven, never guessed from a clock.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The folder of owners in the queue's directory.
pub(super) const FOLDER: &str = "owners";

/// This process as an owner, for its lifetime.
#[derive(Debug)]
pub(super) struct Owner {
    /// Its number: positive, random.
    pub(super) id: u64,
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Owner {
    /// Creates a new owner in the queue's directory.
    pub(super) fn new(queue: &Path) -> io::Result<Owner> {
        loop {
            let id = getrandom::u64().map_err(io::Error::other)? >> 1;
            let path = queue.join(FOLDER).join(id.to_string());
            let file = match File::options().write(true).create_new(true).mode(0o600).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            };
            flock(&file, FlockOperation::LockExclusive)?;
            // A collector may have locked and removed the file between its creation and our lock.
            if rustix::fs::fstat(&file)?.st_nlink > 0 {
                return Ok(Owner { id, path, _file: file });
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Left behind, it would be found unlocked and removed by the next collector.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// True if the owner is proven dead: its file is missing or unlocked. An owner whose file cannot be checked counts as alive.
pub(super) fn is_dead(queue: &Path, id: u64) -> bool {
    match File::open(queue.join(FOLDER).join(id.to_string())) {
        Ok(file) => is_free(&file),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// True if a process holds leases or unfinished bodies.
pub(super) fn any_lives(queue: &Path) -> io::Result<bool> {
    for entry in std::fs::read_dir(queue.join(FOLDER))? {
        if File::open(entry?.path()).is_ok_and(|file| !is_free(&file)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True if no owner holds this file. The check takes a shared lock: two concurrent checks, or a forked child that holds the
/// file until it executes a program, must not pass for the owner.
fn is_free(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockShared).is_ok()
}

/// Removes the files of dead owners.
pub(super) fn sweep(queue: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(queue.join(FOLDER))? {
        let path = entry?.path();
        let Ok(file) = File::open(&path) else { continue };
        if is_free(&file) {
            // Removed under the lock: a process that creates it at this moment notices that its file no longer has a name.
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_lives_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
        let owner = Owner::new(folder.path()).unwrap();
        let other = Owner::new(folder.path()).unwrap();
        assert!(!is_dead(folder.path(), owner.id));
        sweep(folder.path()).unwrap();
        assert!(!is_dead(folder.path(), owner.id), "a sweep leaves the living alone");
        let id = owner.id;
        drop(owner);
        assert!(is_dead(folder.path(), id));
        assert!(!is_dead(folder.path(), other.id));
        assert!(is_dead(folder.path(), 42), "nobody ever had this number");
    }

    #[test]
    fn a_file_without_a_lock_is_dead_and_swept_whoever_asks_beside() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
        let path = folder.path().join(FOLDER).join("7");
        for beside in [false, true] {
            std::fs::write(&path, b"").unwrap();
            let _asking = beside.then(|| File::open(&path).unwrap()).inspect(|file| assert!(is_free(file)));
            assert!(is_dead(folder.path(), 7));
            sweep(folder.path()).unwrap();
            assert!(!path.exists());
        }
    }
}
