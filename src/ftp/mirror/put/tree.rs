//! The local side of an upload: the entries of a directory, and which of them are selected.

use std::fs::{DirEntry, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::fault::{Fault, Kind};
use crate::ftp::mirror::sorted::Sorter;
use crate::ftp::mirror::spool::{FieldReader, FieldWriter, Spool, Spooled};
use crate::ftp::mirror::{FileFacts, Links, MAX_DEPTH, MAX_LINKS, MirrorEvent, MirrorSettings, join, link};
use crate::ftp::part::unfinished;
use crate::ftp::path::RemotePath;

/// A local directory whose contents are to be stored.
#[derive(Debug)]
pub(super) struct LocalDirectory {
    pub(super) root: usize,
    /// Text mode: line ends are converted.
    pub(super) ascii: bool,
    pub(super) local: PathBuf,
    pub(super) remote: RemotePath,
    /// Its path below the root.
    pub(super) below: Vec<u8>,
    pub(super) parent: Option<Arc<LocalDirectory>>,
    /// The result of creating the remote directory; with an `--include` only directories for selected files are created.
    pub(super) made: OnceLock<Made>,
    /// The path of the root with links resolved.
    real: Arc<Path>,
    depth: usize,
    /// Device and inode of the directories that links led to on the path to this one.
    followed: Vec<(u64, u64)>,
}

/// The result of creating a remote directory.
#[derive(Debug)]
pub(super) enum Made {
    /// It is new, and so empty.
    Fresh,
    /// It exists already, or cannot be created; the fault is the server's refusal, if it was asked.
    There(Option<Fault>),
}

/// One name in a local directory. The order is by name; for the same name, entries to send come before others.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LocalName {
    pub(super) name: Vec<u8>,
    pub(super) meant: LocalMeaning,
}

/// The action for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LocalMeaning {
    /// A file that is to be stored.
    File {
        size: u64,
        modified: i64,
        /// It is a symbolic link to follow.
        through_link: bool,
    },
    /// A directory that is to be walked; device and inode of the target, if it is a symbolic link to follow.
    Directory(Option<(u64, u64)>),
    /// No action: the rules leave it out, or it cannot be sent.
    Nothing,
}

impl Spooled for LocalName {
    fn write(&self, to: &mut FieldWriter) {
        to.bytes(Some(&self.name));
        let (kind, one, other) = match self.meant {
            LocalMeaning::File { size, modified, through_link } => {
                (u64::from(through_link), Some(size), Some(modified.cast_unsigned()))
            }
            LocalMeaning::Directory(linked) => (2, linked.map(|linked| linked.0), linked.map(|linked| linked.1)),
            LocalMeaning::Nothing => (3, None, None),
        };
        [Some(kind), one, other].into_iter().for_each(|number| to.number(number));
    }

    fn read(from: &mut FieldReader) -> io::Result<LocalName> {
        let name = from.bytes()?.unwrap_or_default();
        let meant = match (from.number()?, from.number()?, from.number()?) {
            (Some(kind @ (0 | 1)), Some(size), Some(modified)) => {
                LocalMeaning::File { size, modified: modified.cast_signed(), through_link: kind == 1 }
            }
            (Some(2), device, inode) => LocalMeaning::Directory(device.zip(inode)),
            _ => LocalMeaning::Nothing,
        };
        Ok(LocalName { name, meant })
    }
}

/// The contents of a local directory.
#[derive(Debug, Clone)]
pub(super) struct LocalContents {
    /// Every name in it, even those that the rules leave out.
    pub(super) names: Spool<LocalName>,
    /// How many of them are files to be stored.
    pub(super) files: u64,
}

impl LocalDirectory {
    /// A directory that the user named.
    ///
    /// # Errors
    /// The system's error if it cannot be read.
    pub(super) fn top(root: usize, local: PathBuf, remote: RemotePath, ascii: bool) -> Result<LocalDirectory, Fault> {
        let fault = |error: io::Error| Fault::local(local.display(), &error);
        let real = local.canonicalize().map_err(fault)?.into();
        std::fs::read_dir(&local).map_err(fault)?;
        let (below, followed) = (Vec::new(), Vec::new());
        let made = OnceLock::new();
        Ok(LocalDirectory { root, ascii, local, remote, below, parent: None, made, real, depth: 0, followed })
    }

    /// The directory `name` in this one.
    pub(super) fn enter(self: &Arc<LocalDirectory>, name: &[u8], linked: Option<(u64, u64)>) -> LocalDirectory {
        LocalDirectory {
            root: self.root,
            ascii: self.ascii,
            local: self.path_of(name),
            remote: self.remote.join(name),
            below: join(&self.below, name),
            parent: Some(self.clone()),
            made: OnceLock::new(),
            real: self.real.clone(),
            depth: self.depth + 1,
            followed: self.followed.iter().copied().chain(linked).collect(),
        }
    }

    /// The path of the entry `name` in it.
    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.local.join(std::ffi::OsStr::from_bytes(name))
    }

    /// Reads the directory. Entries that cannot be sent are reported.
    ///
    /// # Errors
    /// The I/O error of the system.
    pub(super) fn read(
        &self,
        settings: &MirrorSettings,
        tell: &mut dyn FnMut(MirrorEvent),
    ) -> Result<LocalContents, Fault> {
        if self.depth > MAX_DEPTH {
            return Err(Fault::new(Kind::Usage, format!("more than {MAX_DEPTH} directories deep")));
        }
        let fault = |error: io::Error| Fault::local("directory", &error);
        let (mut names, mut files) = (Sorter::default(), 0);
        for entry in std::fs::read_dir(&self.local).map_err(fault)? {
            let entry = entry.map_err(fault)?;
            let name = entry.file_name().into_vec();
            let meant = match self.meaning(settings, &name, &entry) {
                Ok(meant) => meant,
                Err(event) => {
                    event.into_iter().for_each(|event| tell(*event));
                    LocalMeaning::Nothing
                }
            };
            files += u64::from(matches!(meant, LocalMeaning::File { .. }));
            // The final name of a part counts as present, too.
            if let Some((whole, _)) = unfinished(&name) {
                names.add(LocalName { name: whole.to_vec(), meant: LocalMeaning::Nothing })?;
            }
            names.add(LocalName { name, meant })?;
        }
        Ok(LocalContents { names: names.finish()?, files })
    }

    /// The action for an entry. The error means no action, with the event to report if there is one.
    fn meaning(
        &self,
        settings: &MirrorSettings,
        name: &[u8],
        entry: &DirEntry,
    ) -> Result<LocalMeaning, Option<Box<MirrorEvent>>> {
        let (below, path) = (join(&self.below, name), entry.path());
        let target = || path.display().to_string();
        let skipped = |why| Some(Box::new(MirrorEvent::Skipped { target: target(), why }));
        let failed = |fault| Some(Box::new(MirrorEvent::Failed { target: target(), fault }));
        let select = &settings.select;
        let wanted = (select.takes(&below), select.enters(&below));
        if wanted == (false, false) {
            return Err(None);
        }
        if unfinished(name).is_some() {
            return Err(skipped("an unfinished file, not data"));
        }
        settings.options.sendable(&self.remote.join(name)).map_err(failed)?;
        let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let meta = match link {
            true if settings.links == Links::Follow => self.followed(&path).map_err(failed)?,
            true => return Err(skipped("a symbolic link")),
            false => match entry.metadata() {
                Ok(meta) => meta,
                // It disappeared between two system calls.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(None),
                Err(error) => return Err(failed(Fault::local("file", &error))),
            },
        };
        if meta.is_dir() {
            let identity = (meta.dev(), meta.ino());
            let around = || self.followed.contains(&identity) || self.followed.len() >= MAX_LINKS;
            if link && (around() || is_above(&path, &meta)) {
                return Err(skipped("a symbolic link that leads in a circle"));
            }
            return if wanted.1 { Ok(LocalMeaning::Directory(link.then_some(identity))) } else { Err(None) };
        }
        if !wanted.0 {
            return Err(None);
        }
        if !meta.is_file() {
            return Err(skipped("neither file nor directory"));
        }
        let (size, modified) = (meta.len(), meta.mtime());
        let facts = FileFacts { size: Some(size), modified: Some(modified) };
        match select.refuses(facts, settings.now) {
            Some(why) => Err(Some(Box::new(MirrorEvent::LeftOut { target: target(), why }))),
            None => Ok(LocalMeaning::File { size, modified, through_link: link }),
        }
    }

    /// The target of a link, if it is inside the root.
    fn followed(&self, path: &Path) -> Result<Metadata, Fault> {
        let fault = |error: io::Error| Fault::local("symbolic link", &error);
        let real = path.canonicalize().map_err(fault)?;
        if !real.starts_with(&self.real) {
            return Err(Fault::new(Kind::BadData, link::LEAVES));
        }
        std::fs::metadata(&real).map_err(fault)
    }
}

/// True when a link leads to a directory above it.
fn is_above(path: &Path, meta: &Metadata) -> bool {
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    let same = |up: &Path| std::fs::metadata(up).is_ok_and(|up| (up.dev(), up.ino()) == (meta.dev(), meta.ino()));
    parent.is_some_and(|parent| parent.ancestors().any(same))
}
