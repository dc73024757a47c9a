//! Where captured messages go: a directory with one file each, an mbox, or stdout.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use crate::blob::Blob;
use crate::blob::file::BlobWriter;
use crate::cli::output::PayloadWriter;
use crate::fault::Fault;
use crate::mail::mbox;
use crate::net::privilege::UnixIdentity;

/// The most bytes of an arriving message that are kept in memory.
const MAX_MEMORY: usize = 64 * 1024;

/// The destination that the command line names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum CaptureTarget {
    /// `-`: stdout.
    Stdout,
    /// A directory.
    Directory(PathBuf),
    /// `mbox:FILE`.
    Mbox(PathBuf),
}

impl FromStr for CaptureTarget {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<CaptureTarget, &'static str> {
        match (text, text.strip_prefix("mbox:")) {
            ("" | "mbox:", _) => Err("a directory, mbox:FILE, or - for stdout"),
            ("-", _) => Ok(CaptureTarget::Stdout),
            (_, Some(file)) => Ok(CaptureTarget::Mbox(file.into())),
            (directory, None) => Ok(CaptureTarget::Directory(directory.into())),
        }
    }
}

impl fmt::Display for CaptureTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            Some(path) => path.display().fmt(f),
            None => f.write_str("stdout"),
        }
    }
}

impl CaptureTarget {
    /// The directory or file.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            CaptureTarget::Stdout => None,
            CaptureTarget::Directory(path) | CaptureTarget::Mbox(path) => Some(path),
        }
    }

    /// Creates a missing directory; it belongs to `owner`, whom root becomes.
    ///
    /// # Errors
    /// The kinds of [`Fault::creating`].
    pub(super) fn make_directory(&self, owner: Option<&UnixIdentity>) -> Result<(), Fault> {
        let CaptureTarget::Directory(path) = self else { return Ok(()) };
        if path.is_dir() {
            return Ok(());
        }
        let make = || {
            DirBuilder::new().mode(0o700).create(path)?;
            owner.map_or(Ok(()), |owner| owner.own(File::open(path)?))
        };
        make().map_err(|error| Fault::creating(path.display(), &error))
    }
}

/// The open destination.
pub(super) enum CaptureStore {
    /// One file a message.
    Directory {
        path: PathBuf,
        /// Sync each message before it counts as kept.
        sync: bool,
    },
    /// Stdout: the messages themselves, or nothing if records hold them.
    Stdout {
        raw: Option<Mutex<RawOutput>>,
        /// For messages that outgrow memory while they arrive.
        room: TempDir,
    },
    /// All messages in one file; one writer at a time.
    Mbox { path: PathBuf, turn: Mutex<()> },
}

/// Messages on stdout.
pub(super) struct RawOutput {
    writer: PayloadWriter,
    /// There is only one message, printed exactly; several are an mbox.
    single: bool,
}

impl CaptureStore {
    /// Opens the destination; `raw` is stdout for messages themselves, with the fact that only one comes.
    ///
    /// # Errors
    /// The kinds of [`Fault::creating`] for a place that cannot be written.
    pub(super) fn open(
        target: CaptureTarget,
        raw: Option<(PayloadWriter, bool)>,
        sync: bool,
    ) -> Result<CaptureStore, Fault> {
        let store = match target {
            CaptureTarget::Directory(path) => CaptureStore::Directory { path, sync },
            CaptureTarget::Mbox(path) => CaptureStore::Mbox { path, turn: Mutex::default() },
            CaptureTarget::Stdout => {
                let room = TempDir::new()
                    .or_else(|_| TempDir::new_in("/var/tmp"))
                    .map_err(|error| Fault::creating("temporary directory", &error))?;
                CaptureStore::Stdout { raw: raw.map(|(writer, single)| RawOutput { writer, single }.into()), room }
            }
        };
        // Whether it can be written shows now, not at the first message.
        let directory = store.directory();
        tempfile::tempfile_in(directory).map_err(|error| {
            let fault = Fault::creating(directory.display(), &error);
            match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    fault.with_hint("root captures as nobody, unless --run-as USER names somebody (root: --i-know)")
                }
                _ => fault,
            }
        })?;
        Ok(store)
    }

    /// The directory where files are made.
    pub(super) fn directory(&self) -> &Path {
        match self {
            CaptureStore::Directory { path, .. } => path,
            CaptureStore::Stdout { room, .. } => room.path(),
            CaptureStore::Mbox { path, .. } => match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            },
        }
    }

    /// A writer for an arriving message.
    pub(super) fn writer(&self) -> BlobWriter {
        BlobWriter::anonymous(self.directory(), MAX_MEMORY)
    }

    /// Keeps a message, exactly as it was received; returns its file.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`].
    pub(super) fn keep(&self, id: &str, sender: &str, message: &Blob) -> Result<Option<PathBuf>, Fault> {
        match self {
            CaptureStore::Directory { path, sync } => {
                let file = path.join(format!("{id}.eml"));
                let unfinished = path.join(format!(".{id}.part"));
                let kept = write_file(&unfinished, message, *sync)
                    .and_then(|()| std::fs::rename(&unfinished, &file))
                    .and_then(|()| if *sync { File::open(path)?.sync_all() } else { Ok(()) });
                kept.map_err(|error| {
                    let _ = std::fs::remove_file(&unfinished);
                    Fault::local(file.display(), &error)
                })?;
                Ok(Some(file))
            }
            CaptureStore::Mbox { path, turn } => {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                mbox::append(path, sender, &date(), &mut message.open_at(0))?;
                Ok(Some(path.clone()))
            }
            CaptureStore::Stdout { raw, .. } => {
                if let Some(raw) = raw {
                    let mut raw = raw.lock().unwrap_or_else(PoisonError::into_inner);
                    raw.print(sender, message).map_err(|error| Fault::local("stdout", &error))?;
                }
                Ok(None)
            }
        }
    }
}

impl RawOutput {
    fn print(&mut self, sender: &str, message: &Blob) -> std::io::Result<()> {
        let mut content = message.open_at(0);
        match self.single {
            true => std::io::copy(&mut content, &mut self.writer).map(drop)?,
            false => mbox::write(&mut self.writer, sender, &date(), &mut content)?,
        }
        self.writer.flush()
    }
}

/// The time of the `From ` line.
fn date() -> String {
    jiff::Timestamp::now().strftime(mbox::DATE).to_string()
}

fn write_file(path: &Path, message: &Blob, sync: bool) -> std::io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    match message.in_memory() {
        Some(bytes) => file.write_all(bytes)?,
        None => std::io::copy(&mut message.open_at(0).by_ref(), &mut file).map(drop)?,
    }
    if sync { file.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_directory_an_mbox_or_stdout() {
        let parsed = |text: &str| text.parse::<CaptureTarget>();
        assert_eq!(parsed("-"), Ok(CaptureTarget::Stdout));
        assert_eq!(parsed("mbox:x/y"), Ok(CaptureTarget::Mbox("x/y".into())));
        assert_eq!(parsed("./mbox:x"), Ok(CaptureTarget::Directory("./mbox:x".into())));
        assert!(parsed("").is_err() && parsed("mbox:").is_err());
    }
}
