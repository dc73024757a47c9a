//! The local side of `--delete`: deletes local entries that the server does not have.

use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, Dir, FileType};

use super::{Downloader, Ledger};
use crate::fault::{Fault, Kind};
use crate::ftp::client::WholeListing;
use crate::ftp::mirror::lazy_dir::LazyDir;
use crate::ftp::mirror::sorted::Sorter;
use crate::ftp::mirror::spool::Spool;
use crate::ftp::mirror::{
    DeletionPlan, EMPTY, INCOMPLETE, MAX_DEPTH, MirrorEvent, MirrorOutcome, MirrorSettings, join,
};
use crate::ftp::part::{may_be_cut, unfinished};
use crate::ftp::transfer::LocalDir;

/// The hashes of the names in a local directory: those of names in the server's listing are struck out. Two names with the same
/// hash protect each other, so that no entry is deleted wrongly.
pub(super) struct LocalNames(Vec<u64>);

/// The lowest bit of a hash marks it as struck out.
const LISTED: u64 = 1;

impl LocalNames {
    /// All names that are present now.
    pub(super) fn of(place: &LazyDir) -> Result<LocalNames, Fault> {
        let mut hashes = Vec::new();
        if let Some(dir) = place.find()? {
            each_entry(&dir, |name, _| {
                hashes.push(hash(name));
                hashes.extend(Some(meant(name)).filter(|meant| *meant != name).map(hash));
                Ok(())
            })?;
        }
        hashes.sort_unstable();
        hashes.dedup();
        Ok(LocalNames(hashes))
    }

    /// Records that the server has a file or directory of this name.
    pub(super) fn strike(&mut self, name: &[u8]) {
        if let Ok(at) = self.0.binary_search_by_key(&hash(name), |found| found & !LISTED)
            && let Some(found) = self.0.get_mut(at)
        {
            *found |= LISTED;
        }
    }

    fn is_listed(&self, name: &[u8]) -> bool {
        let found = self.0.binary_search_by_key(&hash(name), |found| found & !LISTED);
        // A name that was not there at the beginning is left alone.
        found.ok().and_then(|at| self.0.get(at)).is_none_or(|found| found & LISTED != 0)
    }
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish() & !LISTED
}

/// The file that a name belongs to: for a part, the final name.
fn meant(name: &[u8]) -> &[u8] {
    unfinished(name).map_or(name, |(whole, _)| whole)
}

/// A local directory with entries that are not on the server.
pub(super) struct ListedDirectory {
    pub(super) root: usize,
    pub(super) below: Vec<u8>,
    pub(super) place: Arc<LazyDir>,
    /// Names, and whether they are directories.
    pub(super) extraneous: Vec<(Vec<u8>, bool)>,
    /// The remote directory is empty.
    pub(super) empty: bool,
}

impl Ledger {
    /// Records the local entries that are not in the complete listing and may be deleted by the rules.
    pub(super) fn note(
        &mut self,
        settings: &MirrorSettings,
        mut listed: ListedDirectory,
        local: &LocalNames,
        _whole: WholeListing,
    ) -> Result<(), Fault> {
        let (Some(rule), Some(dir)) = (settings.delete, listed.place.find()?) else { return Ok(()) };
        // One entry is enough if an empty listing is not trusted, or beyond the allowed number.
        let believed = !listed.empty || rule.allow_empty;
        let most = if believed { rule.most().saturating_add(1).saturating_sub(self.extraneous) } else { 1 };
        each_entry(&dir, |name, is_directory| {
            if listed.extraneous.len() >= most || local.is_listed(name) {
                return Ok(());
            }
            let directory = is_directory()?;
            let below = join(&listed.below, if directory { name } else { meant(name) });
            let goes = if directory { settings.select.enters(&below) } else { settings.select.takes(&below) };
            // A part belongs to its final file.
            if goes && (directory || may_be_cut(name) || !local.is_listed(meant(name))) {
                listed.extraneous.push((name.to_vec(), directory));
            }
            Ok(())
        })?;
        listed.extraneous.sort();
        self.extraneous += if believed { listed.extraneous.len() } else { 0 };
        self.visited.extend(Some(listed).filter(|listed| !listed.extraneous.is_empty()));
        Ok(())
    }
}

/// A local entry that the server does not have.
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
    /// Deletes the entries that complete listings did not contain: all of them, or none if there are too many.
    pub(super) fn delete_extraneous(&self) {
        let Some(rule) = self.settings.delete else { return };
        let (top, visited) = {
            let mut ledger = self.ledger();
            (ledger.top.take(), std::mem::take(&mut ledger.visited))
        };
        let Some((root, top)) = top else { return };
        if self.incomplete.load(Ordering::Relaxed) {
            return self.report(root, MirrorEvent::Skipped { target: top, why: INCOMPLETE });
        }
        let mut plan = DeletionPlan::new(rule);
        for directory in visited {
            let target = directory.place.path().display().to_string();
            if directory.empty && !rule.allow_empty {
                self.report(directory.root, MirrorEvent::Skipped { target, why: EMPTY });
                continue;
            }
            let before = plan.list.len();
            if let Err(fault) = self.extraneous(&directory, &mut plan) {
                plan.list.truncate(before);
                self.report(directory.root, MirrorEvent::Failed { target, fault });
            }
        }
        let deletions = match plan.settle() {
            Ok(deletions) => deletions,
            Err(fault) => return self.report(root, MirrorEvent::Failed { target: top, fault }),
        };
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

    fn extraneous(&self, listed: &ListedDirectory, plan: &mut DeletionPlan<LocalDeletion>) -> Result<(), Fault> {
        for (name, directory) in &listed.extraneous {
            let below = join(&listed.below, if *directory { name } else { meant(name) });
            self.plan_deletion(listed.root, &listed.place, name.clone(), *directory, &below, 0, plan)?;
        }
        Ok(())
    }

    /// Adds an entry with its contents, children first. Entries that the rules leave out stay, and so do the directories above
    /// them. True when the whole entry is to be deleted.
    #[allow(clippy::too_many_arguments, reason = "one step of a recursion")]
    fn plan_deletion(
        &self,
        root: usize,
        place: &Arc<LazyDir>,
        name: Vec<u8>,
        directory: bool,
        below: &[u8],
        depth: usize,
        plan: &mut DeletionPlan<LocalDeletion>,
    ) -> Result<bool, Fault> {
        let select = &self.settings.select;
        if depth > MAX_DEPTH {
            return Err(Fault::new(Kind::Io, format!("more than {MAX_DEPTH} directories deep")));
        }
        let mut all = if directory { select.enters(below) } else { select.takes(below) };
        if directory && all {
            let inner = place.below(&name);
            // It has disappeared meanwhile: nothing in it is to be deleted.
            let Some(dir) = inner.find()? else { return Ok(true) };
            for entry in entries(&dir)?.read() {
                if plan.is_too_much() {
                    return Ok(false);
                }
                let (child, is_directory) = entry?;
                let path = join(below, &child);
                all &= self.plan_deletion(root, &inner, child, is_directory, &path, depth + 1, plan)?;
            }
        }
        if all {
            plan.add(LocalDeletion { root, place: place.clone(), name, directory });
        }
        Ok(all)
    }
}

/// The names in a directory, sorted, and whether each is a directory.
fn entries(dir: &LocalDir) -> Result<Spool<(Vec<u8>, bool)>, Fault> {
    let mut found = Sorter::default();
    each_entry(dir, |name, is_directory| found.add((name.to_vec(), is_directory()?)))?;
    found.finish()
}

/// Calls `each` with every name in a directory, and with a function that tells whether it is a directory.
fn each_entry(
    dir: &LocalDir,
    mut each: impl FnMut(&[u8], &dyn Fn() -> Result<bool, Fault>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let fault = |errno: rustix::io::Errno| Fault::local(dir.path().display(), &errno.into());
    for entry in Dir::read_from(dir).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let is_directory = || match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(dir, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW);
                Ok(FileType::from_raw_mode(stat.map_err(fault)?.st_mode) == FileType::Directory)
            }
            known => Ok(known == FileType::Directory),
        };
        each(name, &is_directory)?;
    }
    Ok(())
}
