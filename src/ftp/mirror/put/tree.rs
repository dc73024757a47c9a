//! The local side of an upload: what is in the tree, and what of it is meant.

use std::collections::HashSet;
use std::fs::{DirEntry, Metadata};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::fault::{Fault, Kind};
use crate::ftp::mirror::{FileFacts, Links, MAX_DEPTH, MAX_LINKS, MirrorEvent, MirrorSettings, join, link};
use crate::ftp::part::{part_name, unfinished};
use crate::ftp::path::{MAX_NAME, RemotePath};

/// A directory and the files in it that are to be stored.
#[derive(Debug)]
pub(super) struct LocalDirectory {
    pub(super) remote: RemotePath,
    /// Its path below the root.
    pub(super) below: Vec<u8>,
    pub(super) files: Vec<LocalFile>,
    /// Every name in it, whatever the rules say.
    pub(super) names: HashSet<Vec<u8>>,
    /// It is to be made: with an `--include` only those that files go into are.
    pub(super) made: bool,
    /// What the server said when it was not made.
    pub(super) refusal: Option<Fault>,
}

impl LocalDirectory {
    /// True when a remote name has its counterpart here.
    pub(super) fn holds(&self, name: &[u8]) -> bool {
        let begun = |(whole, tag): (&[u8], _)| {
            // A long name is cut in that of its part.
            let cut = whole.len() > MAX_NAME / 2 && self.names.iter().any(|whole| part_name(whole, &tag) == name);
            cut || self.names.contains(whole)
        };
        self.names.contains(name) || unfinished(name).is_some_and(begun)
    }
}

/// A file that is to be stored.
#[derive(Debug)]
pub(super) struct LocalFile {
    pub(super) path: PathBuf,
    pub(super) name: Vec<u8>,
    pub(super) facts: FileFacts,
    /// It is a symbolic link that is followed.
    pub(super) through_link: bool,
}

/// A local tree.
pub(super) struct LocalTree {
    /// Parents before their children; the root is the first.
    pub(super) directories: Vec<LocalDirectory>,
    pub(super) events: Vec<MirrorEvent>,
    /// Everything could be read.
    pub(super) complete: bool,
}

/// Walks a local tree.
pub(super) fn walk(settings: &MirrorSettings, local: &Path, remote: &RemotePath) -> Result<LocalTree, Fault> {
    let fault = |error: std::io::Error| Fault::local(local.display(), &error);
    let real = local.canonicalize().map_err(fault)?;
    // The root itself must be readable; what is below fails for itself.
    std::fs::read_dir(local).map_err(fault)?;
    let walked = LocalTree { directories: Vec::new(), events: Vec::new(), complete: true };
    let mut walker = Walker { settings, real, walked };
    walker.directory(local, remote, &[], 0, &mut Vec::new());
    let mut walked = walker.walked;
    if settings.select.selects() {
        only_with_files(&mut walked.directories);
    }
    Ok(walked)
}

/// Directories without files below them are not made.
fn only_with_files(directories: &mut [LocalDirectory]) {
    let mut needed: HashSet<Vec<u8>> = HashSet::new();
    for directory in directories.iter_mut().rev() {
        directory.made = !directory.files.is_empty() || needed.contains(&directory.below);
        if directory.made {
            let parent = memchr::memrchr(b'/', &directory.below).unwrap_or(0);
            needed.insert(directory.below.get(..parent).unwrap_or_default().to_vec());
        }
    }
}

/// A directory in another one.
struct Subdirectory {
    path: PathBuf,
    name: Vec<u8>,
    /// What the link leads to, if it is a link that is followed.
    linked: Option<(u64, u64)>,
}

struct Walker<'a> {
    settings: &'a MirrorSettings,
    /// The root without links in its path.
    real: PathBuf,
    walked: LocalTree,
}

impl Walker<'_> {
    fn directory(
        &mut self,
        local: &Path,
        remote: &RemotePath,
        below: &[u8],
        depth: usize,
        above: &mut Vec<(u64, u64)>,
    ) {
        let target = || local.display().to_string();
        if depth > MAX_DEPTH {
            let fault = Fault::new(Kind::Usage, format!("more than {MAX_DEPTH} directories deep"));
            return self.failed(target(), fault);
        }
        let listed = std::fs::read_dir(local).and_then(Iterator::collect::<Result<Vec<DirEntry>, _>>);
        let mut entries = match listed {
            Ok(entries) => entries,
            Err(error) => return self.failed(target(), Fault::local("directory", &error)),
        };
        entries.sort_by_key(DirEntry::file_name);
        let names = entries.iter().map(|entry| entry.file_name().into_vec()).collect();
        let (remote, below) = (remote.clone(), below.to_vec());
        let mut directory = LocalDirectory { remote, below, files: Vec::new(), names, made: true, refusal: None };
        let mut inside = Vec::new();
        entries.iter().for_each(|entry| self.entry(&mut directory, entry, above, &mut inside));
        let (remote, below) = (directory.remote.clone(), directory.below.clone());
        self.walked.directories.push(directory);
        for Subdirectory { path, name, linked } in inside {
            above.extend(linked);
            self.directory(&path, &remote.join(&name), &join(&below, &name), depth + 1, above);
            above.truncate(above.len() - usize::from(linked.is_some()));
        }
    }

    /// Looks at one entry of a directory; one that is to be walked goes into `inside`.
    fn entry(
        &mut self,
        directory: &mut LocalDirectory,
        entry: &DirEntry,
        above: &[(u64, u64)],
        inside: &mut Vec<Subdirectory>,
    ) {
        let name = entry.file_name().into_vec();
        let (below, path) = (join(&directory.below, &name), entry.path());
        let target = path.display().to_string();
        let select = &self.settings.select;
        let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let wanted = (select.takes(&below), select.enters(&below));
        if wanted == (false, false) {
            return;
        }
        if unfinished(&name).is_some() {
            return self.walked.events.push(MirrorEvent::Skipped { target, why: "an unfinished file, not data" });
        }
        // It is all known, so this is no reason to delete nothing.
        if let Err(fault) = self.settings.options.sendable(&directory.remote.join(&name)) {
            return self.walked.events.push(MirrorEvent::Failed { target, fault });
        }
        let meta = match link {
            true if self.settings.links == Links::Follow => match self.followed(&path) {
                Ok(meta) => meta,
                Err(fault) => return self.walked.events.push(MirrorEvent::Failed { target, fault }),
            },
            true => return self.walked.events.push(MirrorEvent::Skipped { target, why: "a symbolic link" }),
            false => match entry.metadata() {
                Ok(meta) => meta,
                // It went away between two system calls: then it is not there.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
                Err(error) => return self.failed(target, Fault::local("file", &error)),
            },
        };
        if meta.is_dir() {
            let identity = (meta.dev(), meta.ino());
            if link && (above.contains(&identity) || above.len() >= MAX_LINKS || self.is_above(&path, &meta)) {
                let why = "a symbolic link that leads in a circle";
                return self.walked.events.push(MirrorEvent::Skipped { target, why });
            }
            if wanted.1 {
                inside.push(Subdirectory { path, name, linked: link.then_some(identity) });
            }
        } else if meta.is_file() {
            let facts = FileFacts { size: Some(meta.len()), modified: Some(meta.mtime()) };
            if !wanted.0 {
                return;
            }
            if let Some(why) = select.refuses(facts, self.settings.now) {
                return self.walked.events.push(MirrorEvent::LeftOut { target, why });
            }
            directory.files.push(LocalFile { path, name, facts, through_link: link });
        } else if wanted.0 {
            self.walked.events.push(MirrorEvent::Skipped { target, why: "neither file nor directory" });
        }
    }

    /// What a link leads to, if that is inside the root.
    fn followed(&self, path: &Path) -> Result<Metadata, Fault> {
        let fault = |error: std::io::Error| Fault::local("symbolic link", &error);
        let real = path.canonicalize().map_err(fault)?;
        if !real.starts_with(&self.real) {
            return Err(Fault::new(Kind::BadData, link::LEAVES));
        }
        std::fs::metadata(&real).map_err(fault)
    }

    /// True when a link leads to a directory that it is in.
    fn is_above(&self, path: &Path, meta: &Metadata) -> bool {
        let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
        let same = |up: &Path| std::fs::metadata(up).is_ok_and(|up| (up.dev(), up.ino()) == (meta.dev(), meta.ino()));
        parent.is_some_and(|parent| parent.ancestors().any(same))
    }

    fn failed(&mut self, target: String, fault: Fault) {
        self.walked.complete = false;
        self.walked.events.push(MirrorEvent::Failed { target, fault });
    }
}
