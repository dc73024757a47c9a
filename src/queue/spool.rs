//! Bodies on their way into and out of the queue: small ones in memory, larger ones in a file, at any size with
//! constant memory.

use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bodies up to this size are kept in the store itself, larger ones in files.
pub const MAX_INLINE: usize = 64 * 1024;

/// The bytes of one message: CRLF line ends, not dot-stuffed. Cheap to clone.
#[derive(Debug, Clone)]
pub enum QueuedBody {
    /// Small: in memory.
    Bytes(Arc<[u8]>),
    /// Large: in a file.
    File(Arc<QueuedBodyFile>),
}

/// A body in a file. Not yet queued, it is removed with its last owner; [`QueuedBodyFile::keep`] ends that.
#[derive(Debug)]
pub struct QueuedBodyFile {
    path: PathBuf,
    size_bytes: u64,
    temporary: std::sync::atomic::AtomicBool,
}

impl QueuedBodyFile {
    /// A queued body.
    pub fn stored(path: PathBuf, size_bytes: u64) -> QueuedBodyFile {
        QueuedBodyFile { path, size_bytes, temporary: false.into() }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// It belongs to a queued message now: dropping it leaves the file alone.
    pub fn keep(&self) {
        self.temporary.store(false, std::sync::atomic::Ordering::Release);
    }
}

impl Drop for QueuedBodyFile {
    fn drop(&mut self) {
        if self.temporary.load(std::sync::atomic::Ordering::Acquire) {
            // A file that cannot be removed now is an orphan: the next runner collects it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl From<Vec<u8>> for QueuedBody {
    fn from(bytes: Vec<u8>) -> QueuedBody {
        QueuedBody::Bytes(bytes.into())
    }
}

impl QueuedBody {
    /// Size in bytes.
    pub fn size_bytes(&self) -> u64 {
        match self {
            QueuedBody::Bytes(bytes) => bytes.len() as u64,
            QueuedBody::File(file) => file.size_bytes,
        }
    }

    /// Reads it from the start; may be called again and again.
    ///
    /// # Errors
    /// The system's, when a file cannot be opened.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            QueuedBody::Bytes(bytes) => Box::new(Cursor::new(Arc::clone(bytes))),
            QueuedBody::File(file) => Box::new(File::open(&file.path)?),
        })
    }
}

/// Takes a body of any size: memory up to [`MAX_INLINE`], then a file in the queue's own directory, so that queueing it
/// copies nothing. Dropped without [`BodySpool::finish`], it leaves no trace.
pub struct BodySpool {
    new_path: Box<dyn Fn() -> io::Result<PathBuf> + Send>,
    memory: Vec<u8>,
    file: Option<(File, QueuedBodyFile)>,
}

impl BodySpool {
    /// A spool that asks for the name of its file, which must not exist, when one is needed.
    pub fn new(new_path: impl Fn() -> io::Result<PathBuf> + Send + 'static) -> BodySpool {
        BodySpool { new_path: Box::new(new_path), memory: Vec::new(), file: None }
    }

    /// The whole body. A file is on the disk, synced, before this returns.
    ///
    /// # Errors
    /// The system's, when the file cannot be synced.
    pub fn finish(self) -> io::Result<QueuedBody> {
        match self.file {
            None => Ok(QueuedBody::from(self.memory)),
            Some((file, mut body)) => {
                body.size_bytes = file.metadata()?.len();
                file.sync_all()?;
                Ok(QueuedBody::File(Arc::new(body)))
            }
        }
    }
}

impl std::fmt::Debug for BodySpool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("memory", &self.memory.len()).field("file", &self.file).finish_non_exhaustive()
    }
}

impl Write for BodySpool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() && self.memory.len() + bytes.len() > MAX_INLINE {
            let path = (self.new_path)()?;
            let mut file = create_private(&path)?;
            let body = QueuedBodyFile { path, size_bytes: 0, temporary: true.into() };
            file.write_all(&self.memory)?;
            self.memory = Vec::new();
            self.file = Some((file, body));
        }
        match &mut self.file {
            Some((file, _)) => file.write(bytes),
            None => {
                self.memory.extend_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A new file that only its owner may read.
fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool_at(path: &Path) -> BodySpool {
        let path = path.to_owned();
        BodySpool::new(move || Ok(path.clone()))
    }

    fn read(body: &QueuedBody) -> Vec<u8> {
        let mut bytes = Vec::new();
        body.open().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn small_stays_in_memory_and_large_goes_to_a_file() {
        let folder = tempfile::tempdir().unwrap();
        for (size, in_file) in [(0, false), (1, false), (MAX_INLINE, false), (MAX_INLINE + 1, true), (300_000, true)] {
            for piece in [1000, 8192, 70_000] {
                let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
                let path = folder.path().join("body");
                let mut spool = spool_at(&path);
                for part in bytes.chunks(piece) {
                    spool.write_all(part).unwrap();
                }
                let body = spool.finish().unwrap();
                assert_eq!(path.exists(), in_file, "{size}");
                assert_eq!(body.size_bytes(), size as u64);
                assert!(read(&body) == bytes && read(&body) == bytes, "{size}: reads twice the same");
                drop(body);
                assert!(!path.exists(), "{size}: a body that was not queued leaves no file");
            }
        }
    }

    #[test]
    fn a_kept_file_stays_and_an_unfinished_one_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("body");
        let mut spool = spool_at(&path);
        spool.write_all(&vec![b'x'; MAX_INLINE + 1]).unwrap();
        drop(spool);
        assert!(!path.exists());
        let mut spool = spool_at(&path);
        spool.write_all(&vec![b'x'; MAX_INLINE + 1]).unwrap();
        let body = spool.finish().unwrap();
        if let QueuedBody::File(file) = &body {
            file.keep();
        }
        drop(body);
        assert!(path.exists());
    }
}
