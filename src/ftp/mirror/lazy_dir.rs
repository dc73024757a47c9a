//! A local directory that is opened, and created if necessary, when the first entry is written to it.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crate::fault::{Fault, Kind};
use crate::ftp::transfer::LocalDir;

/// The most directories below one root that are held open. The others are looked up again from the root, so that a tree with
/// any number of directories needs few descriptors.
const MAX_OPEN: usize = 32;

/// A directory below a local root. Names below the root are looked up from their parent, never through a link.
#[derive(Debug)]
pub(super) struct LazyDir {
    path: PathBuf,
    dir: DirHandle,
    /// [`LazyDir::missing`] has returned it.
    named: AtomicBool,
    /// The open directories, shared by all directories below one root.
    open: Arc<Open>,
}

/// The handle that keeps a directory open.
#[derive(Debug)]
enum DirHandle {
    /// A root that the user named: it stays open as long as it is used.
    Root(OnceLock<Arc<LocalDir>>),
    /// A directory below another: it stays open while it is among the last ones used.
    Below { parent: Arc<LazyDir>, name: Vec<u8>, dir: Mutex<Weak<LocalDir>> },
}

/// The last directories used below one root.
#[derive(Debug, Default)]
struct Open(Mutex<VecDeque<Arc<LocalDir>>>);

impl Open {
    fn keep(&self, dir: Arc<LocalDir>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_OPEN {
            kept.pop_front();
        }
        kept.push_back(dir);
    }
}

impl LazyDir {
    /// A root that the user named.
    pub(super) fn root(path: PathBuf) -> Arc<LazyDir> {
        let dir = DirHandle::Root(OnceLock::new());
        Arc::new(LazyDir { path, dir, named: false.into(), open: Arc::default() })
    }

    /// The directory `name` below this one. The caller has checked the name.
    pub(super) fn below(self: &Arc<LazyDir>, name: &[u8]) -> Arc<LazyDir> {
        let path = self.path.join(OsStr::from_bytes(name));
        let dir = DirHandle::Below { parent: self.clone(), name: name.to_vec(), dir: Mutex::default() };
        Arc::new(LazyDir { path, dir, named: false.into(), open: self.open.clone() })
    }

    /// Its path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it, for messages.
    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(name))
    }

    /// The directory, created with its parents if it does not exist.
    pub(super) fn create(&self) -> Result<Arc<LocalDir>, Fault> {
        if let Some(dir) = self.held() {
            return Ok(dir);
        }
        let dir = match &self.dir {
            DirHandle::Below { parent, name, .. } => parent.create()?.enter(name, true)?,
            DirHandle::Root(_) => LocalDir::create(&self.path)?,
        };
        Ok(self.hold(dir))
    }

    /// The directory if it exists.
    pub(super) fn find(&self) -> Result<Option<Arc<LocalDir>>, Fault> {
        if let Some(dir) = self.held() {
            return Ok(Some(dir));
        }
        let found = match &self.dir {
            DirHandle::Below { parent, name, .. } => match parent.find()? {
                Some(parent) => parent.enter(name, false),
                None => return Ok(None),
            },
            DirHandle::Root(_) => LocalDir::open(&self.path),
        };
        match found {
            Ok(dir) => Ok(Some(self.hold(dir))),
            Err(fault) if fault.kind == Kind::NoInput => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The missing directories from the root to this one, which is last; each is returned only once.
    pub(super) fn missing(&self) -> Vec<PathBuf> {
        if !matches!(self.find(), Ok(None)) || self.named.swap(true, Ordering::Relaxed) {
            return Vec::new();
        }
        let mut missing = match &self.dir {
            DirHandle::Below { parent, .. } => parent.missing(),
            DirHandle::Root(_) => Vec::new(),
        };
        missing.push(self.path.clone());
        missing
    }

    fn held(&self) -> Option<Arc<LocalDir>> {
        match &self.dir {
            DirHandle::Root(dir) => dir.get().cloned(),
            DirHandle::Below { dir, .. } => dir.lock().unwrap_or_else(PoisonError::into_inner).upgrade(),
        }
    }

    fn hold(&self, found: Arc<LocalDir>) -> Arc<LocalDir> {
        match &self.dir {
            DirHandle::Root(dir) => dir.get_or_init(|| found).clone(),
            DirHandle::Below { dir, .. } => {
                *dir.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&found);
                self.open.keep(found.clone());
                found
            }
        }
    }
}

/// The directories for files that were named one by one: many share a directory.
#[derive(Default)]
pub(super) struct LazyDirs(HashMap<(PathBuf, Vec<Vec<u8>>), Arc<LazyDir>>);

impl LazyDirs {
    /// The directory `inside` another.
    pub(super) fn get(&mut self, dir: PathBuf, mut inside: Vec<Vec<u8>>) -> Arc<LazyDir> {
        let key = (dir.clone(), inside.clone());
        if let Some(place) = self.0.get(&key) {
            return place.clone();
        }
        let place = match inside.pop() {
            Some(name) => self.get(dir, inside).below(&name),
            None => LazyDir::root(dir),
        };
        self.0.entry(key).or_insert(place).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_when_needed_and_never_through_a_link() {
        let temp = tempfile::tempdir().unwrap();
        let root = LazyDir::root(temp.path().join("in"));
        let deep = root.below(b"a").below(b"b");
        assert!(deep.find().unwrap().is_none() && !temp.path().join("in").exists());
        assert_eq!(deep.missing(), ["in", "in/a", "in/a/b"].map(|path| temp.path().join(path)));
        assert_eq!(deep.missing(), Vec::<PathBuf>::new(), "each is named once");
        deep.create().unwrap();
        assert!(temp.path().join("in/a/b").is_dir() && root.find().unwrap().is_some());
        std::os::unix::fs::symlink(temp.path(), temp.path().join("in/out")).unwrap();
        let out = root.below(b"out");
        assert!(out.find().is_err() && out.below(b"x").create().is_err());
        assert!(!temp.path().join("x").exists());
    }

    #[test]
    fn few_directories_are_held_open() {
        let temp = tempfile::tempdir().unwrap();
        let root = LazyDir::root(temp.path().to_owned());
        let many: Vec<Arc<LazyDir>> = (0..MAX_OPEN * 2).map(|n| root.below(n.to_string().as_bytes())).collect();
        many.iter().for_each(|place| drop(place.create().unwrap()));
        assert_eq!(many.iter().filter(|place| place.held().is_some()).count(), MAX_OPEN);
        assert!(many[0].held().is_none() && many[0].find().unwrap().is_some() && many[0].create().is_ok());
        std::fs::remove_dir(temp.path().join("1")).unwrap();
        assert!(many[1].find().unwrap().is_none());
    }
}
