//! The local side of `--delete`: what the server does not have goes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, Dir, FileType};

use super::Downloader;
use super::walk::ListedDirectory;
use crate::fault::{Fault, Kind};
use crate::ftp::mirror::lazy_dir::{LazyDir, begun_of};
use crate::ftp::mirror::{EMPTY, INCOMPLETE, MAX_DEPTH, MirrorEvent, MirrorOutcome, join};
use crate::ftp::transfer::LocalDir;

/// Something local that the server does not have.
struct LocalDeletion {
    root: usize,
    place: Arc<LazyDir>,
    name: Vec<u8>,
    directory: bool,
}

impl LocalDeletion {
    fn path(&self) -> PathBuf {
        self.place.path_of(&self.name)
    }
}

impl Downloader {
    /// Deletes what complete listings did not hold: all of it, or nothing if it is too much.
    pub(super) fn delete_extraneous(&self) {
        let Some(rule) = self.settings.delete else { return };
        let visited = std::mem::take(&mut self.ledger().visited);
        let Some(first) = visited.first() else { return };
        let (root, top) = (first.root, first.place.path().display().to_string());
        if self.incomplete.load(Ordering::Relaxed) {
            return self.report(root, MirrorEvent::Skipped { target: top, why: INCOMPLETE });
        }
        let mut deletions = Vec::new();
        for directory in &visited {
            let before = deletions.len();
            if let Err(fault) = self.extraneous(directory, &mut deletions) {
                deletions.truncate(before);
                let target = directory.place.path().display().to_string();
                self.report(directory.root, MirrorEvent::Failed { target, fault });
            }
            if deletions.len() > before && directory.names.is_empty() && !rule.allow_empty {
                deletions.truncate(before);
                let target = directory.place.path().display().to_string();
                self.report(directory.root, MirrorEvent::Skipped { target, why: EMPTY });
            }
        }
        if let Some(fault) = rule.refuses(deletions.len()) {
            return self.report(root, MirrorEvent::Failed { target: top, fault });
        }
        for entry in deletions {
            let target = entry.path().display().to_string();
            let event = match self.remove(&entry) {
                Ok(outcome) => MirrorEvent::Deleted { target, outcome },
                Err(fault) => MirrorEvent::Failed { fault, target },
            };
            self.report(entry.root, event);
        }
    }

    fn remove(&self, entry: &LocalDeletion) -> Result<MirrorOutcome, Fault> {
        if self.settings.dry_run {
            return Ok(MirrorOutcome::Planned);
        }
        let flags = if entry.directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        let Some(dir) = entry.place.find()? else { return Ok(MirrorOutcome::Same) };
        rustix::fs::unlinkat(&dir, OsStr::from_bytes(&entry.name), flags)
            .map_err(|errno| Fault::local("deleting", &errno.into()))?;
        Ok(MirrorOutcome::Done)
    }

    fn extraneous(&self, visited: &ListedDirectory, deletions: &mut Vec<LocalDeletion>) -> Result<(), Fault> {
        let Some(dir) = visited.place.find()? else { return Ok(()) };
        for (name, directory) in entries(&dir)? {
            // A part belongs to the file that it will be.
            let (meant, part) = match begun_of(&name) {
                Some(whole) if !directory && visited.names.contains(whole) => continue,
                Some(whole) => (whole.to_vec(), true),
                None => (name.clone(), false),
            };
            if visited.names.contains(&name) {
                continue;
            }
            let below = join(&visited.below, if part { &meant } else { &name });
            self.plan_deletion(visited.root, &visited.place, name, directory, &below, 0, deletions)?;
        }
        Ok(())
    }

    /// Adds an entry with all that is in it, children first; what the rules leave out is not touched, and so keeps the
    /// directories above it. True when all of it goes.
    #[allow(clippy::too_many_arguments, reason = "one step of a recursion")]
    fn plan_deletion(
        &self,
        root: usize,
        place: &Arc<LazyDir>,
        name: Vec<u8>,
        directory: bool,
        below: &[u8],
        depth: usize,
        deletions: &mut Vec<LocalDeletion>,
    ) -> Result<bool, Fault> {
        let select = &self.settings.select;
        if depth > MAX_DEPTH {
            return Err(Fault::new(Kind::Io, format!("more than {MAX_DEPTH} directories deep")));
        }
        let mut all = if directory { select.enters(below) } else { select.takes(below) };
        if directory && all {
            let inner = place.below(&name);
            // It went away meanwhile: then nothing of it is to go.
            let Some(dir) = inner.find()? else { return Ok(true) };
            for (child, is_directory) in entries(&dir)? {
                let path = join(below, &child);
                all &= self.plan_deletion(root, &inner, child, is_directory, &path, depth + 1, deletions)?;
            }
        }
        if all {
            deletions.push(LocalDeletion { root, place: place.clone(), name, directory });
        }
        Ok(all)
    }
}

/// The names in a directory and whether they are directories, in order.
fn entries(dir: &LocalDir) -> Result<Vec<(Vec<u8>, bool)>, Fault> {
    let fault = |errno: rustix::io::Errno| Fault::local(dir.path().display(), &errno.into());
    let mut found = Vec::new();
    for entry in Dir::read_from(dir).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat =
                    rustix::fs::statat(dir, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW).map_err(fault)?;
                FileType::from_raw_mode(stat.st_mode)
            }
            known => known,
        };
        found.push((name.to_vec(), kind == FileType::Directory));
    }
    found.sort();
    Ok(found)
}
