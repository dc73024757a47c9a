//! A local directory that is to be: opened, and made, when something first goes into it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::fault::{Fault, Kind};
use crate::ftp::transfer::LocalDir;

/// A directory below a local root. Names below the root are looked up from their parent, never through a link.
#[derive(Debug)]
pub(super) struct Place {
    parent: Option<(Arc<Place>, Vec<u8>)>,
    path: PathBuf,
    dir: OnceLock<Arc<LocalDir>>,
}

impl Place {
    /// A root that the user named.
    pub(super) fn root(path: PathBuf) -> Arc<Place> {
        Arc::new(Place { parent: None, path, dir: OnceLock::new() })
    }

    /// The directory `name` below this one. The name is checked already.
    pub(super) fn below(self: &Arc<Place>, name: &[u8]) -> Arc<Place> {
        let path = self.path.join(OsStr::from_bytes(name));
        Arc::new(Place { parent: Some((self.clone(), name.to_vec())), path, dir: OnceLock::new() })
    }

    /// Where it is, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it, for messages.
    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(name))
    }

    /// The directory, made with its parents if it is not there.
    pub(super) fn create(&self) -> Result<Arc<LocalDir>, Fault> {
        if let Some(dir) = self.dir.get() {
            return Ok(dir.clone());
        }
        let dir = match &self.parent {
            Some((parent, name)) => parent.create()?.enter(name, true)?,
            None => LocalDir::create(&self.path)?,
        };
        Ok(self.dir.get_or_init(|| dir).clone())
    }

    /// The directory if it is there.
    pub(super) fn find(&self) -> Result<Option<Arc<LocalDir>>, Fault> {
        if let Some(dir) = self.dir.get() {
            return Ok(Some(dir.clone()));
        }
        let found = match &self.parent {
            Some((parent, name)) => match parent.find()? {
                Some(parent) => parent.enter(name, false),
                None => return Ok(None),
            },
            None => LocalDir::open(&self.path),
        };
        match found {
            Ok(dir) => Ok(Some(self.dir.get_or_init(|| dir).clone())),
            Err(fault) if fault.kind == Kind::NoInput => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

/// Places of files that were named one by one: many go into the same directory.
#[derive(Default)]
pub(super) struct Places(HashMap<(PathBuf, Vec<Vec<u8>>), Arc<Place>>);

impl Places {
    /// The place of the directory that is `inside` another.
    pub(super) fn get(&mut self, dir: PathBuf, mut inside: Vec<Vec<u8>>) -> Arc<Place> {
        let key = (dir.clone(), inside.clone());
        if let Some(place) = self.0.get(&key) {
            return place.clone();
        }
        let place = match inside.pop() {
            Some(name) => self.get(dir, inside).below(&name),
            None => Place::root(dir),
        };
        self.0.entry(key).or_insert(place).clone()
    }
}

/// The name of the file that `.NAME.part` is a part of, here or at a server.
pub(super) fn part_of(name: &[u8]) -> Option<&[u8]> {
    name.strip_prefix(b".")?.strip_suffix(b".part").filter(|whole| !whole.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_when_needed_and_never_through_a_link() {
        let temp = tempfile::tempdir().unwrap();
        let root = Place::root(temp.path().join("in"));
        let deep = root.below(b"a").below(b"b");
        assert!(deep.find().unwrap().is_none() && !temp.path().join("in").exists());
        deep.create().unwrap();
        assert!(temp.path().join("in/a/b").is_dir() && root.find().unwrap().is_some());
        std::os::unix::fs::symlink(temp.path(), temp.path().join("in/out")).unwrap();
        let out = root.below(b"out");
        assert!(out.find().is_err() && out.below(b"x").create().is_err());
        assert!(!temp.path().join("x").exists());
    }

    #[test]
    fn parts_name_their_file() {
        for (name, whole) in [(".x.part", Some("x")), (".part", None), ("..part", None), ("x.part", None), (".x", None)]
        {
            assert_eq!(part_of(name.as_bytes()), whole.map(str::as_bytes), "{name}");
        }
    }
}
