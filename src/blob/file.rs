//! Blobs in files: existing files, and the writer that accepts any number of bytes with constant memory.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::{Backing, Blob};
use crate::fault::{Fault, Kind};

/// The most bytes of a pipe that are kept in memory; more go to a temporary file.
pub const MAX_MEMORY_BYTES: usize = 1024 * 1024;

/// A regular file of at most this size is read at once instead of being held open.
pub const MAX_SMALL_BYTES: u64 = 64 * 1024;

const BUFFER_BYTES: usize = 64 * 1024;

/// The interval, in written bytes, of the check for free space.
const LOOK_EVERY_BYTES: u64 = 1024 * 1024;

/// A file that holds a blob. A named file is opened at the first read.
#[derive(Debug)]
struct BlobFile {
    file: OnceLock<File>,
    path: Option<PathBuf>,
    /// True if the file is removed with its last owner.
    temporary: AtomicBool,
}

impl BlobFile {
    fn held(file: File) -> BlobFile {
        BlobFile { file: file.into(), path: None, temporary: false.into() }
    }
}

impl Backing for BlobFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        match (self.file.get(), &self.path) {
            (None, Some(path)) => {
                let file = File::open(path)?;
                self.file.get_or_init(|| file).read_at(buffer, position)
            }
            (None, None) => Ok(0),
            (Some(file), _) => file.read_at(buffer, position),
        }
    }

    fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn keep(&self) {
        self.temporary.store(false, Ordering::Release);
    }
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        if let Some(path) = self.path.as_ref().filter(|_| self.temporary.load(Ordering::Acquire)) {
            // A file that cannot be removed now is an orphan: the owner of the directory collects it.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A blob in a file with a permanent name, such as the body of a queued message.
pub fn named(path: PathBuf, size_bytes: u64) -> Blob {
    let file = BlobFile { file: OnceLock::new(), path: Some(path), temporary: false.into() };
    Blob::outside(Arc::new(file), size_bytes)
}

/// Opens a file as a blob. A small regular file is read at once, a larger one is held open (its size is fixed now), any
/// other kind is read to its end and stored.
///
/// # Errors
/// [`Kind::NoInput`] if there is no such file, else the kinds of [`Fault::local`].
pub fn open(path: &Path) -> Result<Blob, Fault> {
    let problem = |error: io::Error| {
        let mut fault = Fault::local(path.display(), &error);
        // The file is an input: whatever the obstacle, the input is missing.
        if fault.kind == Kind::CannotCreate {
            fault.kind = Kind::NoInput;
        }
        fault
    };
    let mut file = File::open(path).map_err(problem)?;
    let found = file.metadata().map_err(problem)?;
    if found.is_dir() {
        return Err(Fault::new(Kind::NoInput, format!("{}: Is a directory", path.display())));
    }
    if !found.is_file() {
        return read_stream(path.display(), file);
    }
    if found.len() <= MAX_SMALL_BYTES {
        // One byte more than expected: so the end shows without another call.
        let mut bytes = Vec::with_capacity(found.len() as usize + 1);
        (&mut file).take(MAX_SMALL_BYTES + 1).read_to_end(&mut bytes).map_err(problem)?;
        if bytes.len() as u64 <= MAX_SMALL_BYTES {
            return Ok(Blob::memory(bytes));
        }
    }
    Ok(Blob::outside(Arc::new(BlobFile::held(file)), found.len()))
}

/// Reads a stream to its end into a blob.
///
/// # Errors
/// The kinds of [`Fault::local`].
pub fn read_stream(what: impl std::fmt::Display, mut stream: impl Read) -> Result<Blob, Fault> {
    let mut writer = BlobWriter::temporary();
    io::copy(&mut stream, &mut writer).and_then(|_| writer.finish()).map_err(|error| Fault::local(&what, &error))
}

/// The space available to users on the file system of a file or directory, in bytes.
///
/// # Errors
/// The system's error.
pub fn free_bytes(place: impl AsFd) -> io::Result<u64> {
    let space = rustix::fs::fstatvfs(place)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// The destination of a blob that exceeds the memory limit.
enum Overflow {
    /// A file without a name: it vanishes with the process, however that ends.
    Anonymous(Box<dyn Fn() -> io::Result<File> + Send>),
    /// A new file, named when it is needed.
    Named(Box<dyn Fn() -> io::Result<PathBuf> + Send>),
}

/// Receives the bytes of a blob: in memory while they are few, then in a file that only its owner may read. Dropped without
/// [`BlobWriter::finish`], it leaves no file behind.
pub struct BlobWriter {
    overflow: Overflow,
    max_memory: usize,
    memory: Vec<u8>,
    file: Option<(BufWriter<File>, Option<BlobFile>)>,
    size_bytes: u64,
    /// Space that must stay free on the file system of the file, in bytes.
    min_free: u64,
    /// The number of written bytes at which the free space is checked next.
    look_at: u64,
}

impl BlobWriter {
    /// A writer that puts a blob of more than `max_memory` bytes into a file without a name in this directory. It does not survive a crash.
    pub fn anonymous(directory: impl Into<PathBuf>, max_memory: usize) -> BlobWriter {
        let directory = directory.into();
        BlobWriter::nameless(move || tempfile::tempfile_in(&directory), max_memory)
    }

    /// As [`BlobWriter::anonymous`], in a file without a name that `open` makes when it is needed.
    pub fn nameless(open: impl Fn() -> io::Result<File> + Send + 'static, max_memory: usize) -> BlobWriter {
        BlobWriter::new(Overflow::Anonymous(Box::new(open)), max_memory)
    }

    /// An anonymous blob in the directory of temporary files, for one-off tools: `$TMPDIR` if it exists, else the first
    /// existing one of the usual directories.
    pub fn temporary() -> BlobWriter {
        let usual = ["/tmp", "/var/tmp"].map(PathBuf::from);
        let is_there = |directory: &PathBuf| {
            directory.is_dir() && rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok()
        };
        let directory = std::iter::once(std::env::temp_dir()).chain(usual).find(is_there);
        BlobWriter::anonymous(directory.unwrap_or_else(std::env::temp_dir), MAX_MEMORY_BYTES)
    }

    /// The same writer, with at most `max_memory` bytes in memory.
    #[must_use]
    pub fn keeping(self, max_memory: usize) -> BlobWriter {
        BlobWriter { max_memory, ..self }
    }

    /// The same writer, whose file stops growing when less than this is free: the error is that of a full disk.
    #[must_use]
    pub fn leaving_free(self, min_free: u64) -> BlobWriter {
        BlobWriter { min_free, ..self }
    }

    /// A writer that puts a blob of more than `max_memory` bytes into a new file, which `name` names when it is needed. The
    /// file is removed with the blob unless [`Blob::keep`] was called.
    pub fn named(name: impl Fn() -> io::Result<PathBuf> + Send + 'static, max_memory: usize) -> BlobWriter {
        BlobWriter::new(Overflow::Named(Box::new(name)), max_memory)
    }

    fn new(overflow: Overflow, max_memory: usize) -> BlobWriter {
        let (memory, file, size_bytes, min_free, look_at) = (Vec::new(), None, 0, 0, 0);
        BlobWriter { overflow, max_memory, memory, file, size_bytes, min_free, look_at }
    }

    /// The number of written bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// True while there is no file: then [`BlobWriter::finish`] does not wait for the disk.
    pub fn is_in_memory(&self) -> bool {
        self.file.is_none()
    }

    /// Returns the whole blob. A named file is synced before this returns; its directory is not.
    ///
    /// # Errors
    /// The system's error for the last bytes or the sync.
    pub fn finish(self) -> io::Result<Blob> {
        let Some((writer, named)) = self.file else { return Ok(Blob::memory(self.memory)) };
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        let backing = match named {
            None => BlobFile::held(file),
            Some(mut named) => {
                file.sync_all()?;
                named.file = file.into();
                named
            }
        };
        Ok(Blob::outside(Arc::new(backing), self.size_bytes))
    }

    fn create(&self) -> io::Result<(BufWriter<File>, Option<BlobFile>)> {
        let (file, named) = match &self.overflow {
            Overflow::Anonymous(open) => (open()?, None),
            Overflow::Named(name) => {
                let path = name()?;
                let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
                (file, Some(BlobFile { file: OnceLock::new(), path: Some(path), temporary: true.into() }))
            }
        };
        Ok((BufWriter::with_capacity(BUFFER_BYTES, file), named))
    }
}

impl std::fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobWriter")
            .field("size_bytes", &self.size_bytes)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() && self.memory.len() + bytes.len() > self.max_memory {
            let (file, _) = self.file.insert(self.create()?);
            file.write_all(&std::mem::take(&mut self.memory))?;
        }
        match &mut self.file {
            Some((file, _)) => {
                if self.min_free > 0 && self.size_bytes >= self.look_at {
                    self.look_at = self.size_bytes + LOOK_EVERY_BYTES;
                    if free_bytes(file.get_ref())? < self.min_free {
                        return Err(io::ErrorKind::StorageFull.into());
                    }
                }
                file.write_all(bytes)?;
            }
            None => self.memory.extend_from_slice(bytes),
        }
        self.size_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 100_000;

    fn read(blob: &Blob) -> Vec<u8> {
        blob.read_all("test", usize::MAX).unwrap()
    }

    #[test]
    fn memory_and_files_read_alike_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("body");
        for (size, piece, is_named) in [0, 1, LIMIT, LIMIT + 1, LIMIT + 270_000]
            .into_iter()
            .flat_map(|size| [1000, 8192, 70_000].map(|piece| (size, piece)))
            .flat_map(|(size, piece)| [false, true].map(|is_named| (size, piece, is_named)))
        {
            let data: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            let name = path.clone();
            let mut writer = match is_named {
                true => BlobWriter::named(move || Ok(name.clone()), LIMIT),
                false => BlobWriter::anonymous(folder.path(), LIMIT),
            };
            data.chunks(piece).for_each(|part| writer.write_all(part).unwrap());
            assert_eq!(writer.is_in_memory(), size <= LIMIT);
            let blob = writer.finish().unwrap();
            assert_eq!((blob.size_bytes(), blob.in_memory().is_some()), (size as u64, size <= LIMIT));
            assert!(read(&blob) == data && read(&blob) == data, "{size}");
            let mut tail = Vec::new();
            blob.cut(size as u64 - 1.min(size as u64)).open_at(size as u64 / 2).read_to_end(&mut tail).unwrap();
            assert!(tail == data[size / 2..size - 1.min(size)]);
            assert_eq!(path.exists(), is_named && size > LIMIT);
            assert_eq!(blob.path().is_some(), path.exists());
            drop(blob);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{size}: no name is left behind");
        }
    }

    #[test]
    fn a_kept_file_stays_and_an_unfinished_one_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("body");
        let start = || {
            let name = path.clone();
            let mut writer = BlobWriter::named(move || Ok(name.clone()), 10);
            writer.write_all(b"more than ten bytes").unwrap();
            assert!(path.exists());
            writer
        };
        drop(start());
        assert!(!path.exists());
        let blob = start().finish().unwrap();
        blob.keep();
        drop(blob);
        assert!(path.exists());
        let stored = named(path.clone(), 19);
        assert_eq!(read(&stored), b"more than ten bytes");
        let name = path.clone();
        let taken = BlobWriter::named(move || Ok(name.clone()), 0).write_all(b"x");
        assert!(taken.is_err() && read(&stored).len() == 19, "a name that is taken is not overwritten");
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_and_growth_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for size in [MAX_SMALL_BYTES as usize, MAX_SMALL_BYTES as usize + 1] {
            std::fs::write(&path, vec![b'x'; size]).unwrap();
            let blob = open(&path).unwrap();
            std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
            assert!(blob.read_all("x", size).unwrap() == vec![b'x'; size]);
            std::fs::write(&path, b"012").unwrap();
            match blob.in_memory() {
                Some(bytes) => assert!(bytes.len() == size && blob.read_all("x", size).unwrap() == bytes),
                None => assert_eq!(blob.read_all("x", size).unwrap_err().kind, Kind::Io),
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_input() {
        for path in ["/nonexistent/x", "/"] {
            assert_eq!(open(Path::new(path)).unwrap_err().kind, Kind::NoInput);
        }
        let large = Blob::memory(vec![0; 11]);
        assert_eq!(large.read_all("x", 10).unwrap_err().kind, Kind::BadData);
    }
}
