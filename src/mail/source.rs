//! Bytes that can be read more than once: in memory, or a file held open and read by position. What comes by a pipe is
//! spooled first, in memory while it is small and in an unnamed temporary file otherwise.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::fault::{Fault, Kind};

/// More than this of a pipe goes to a temporary file instead of memory.
pub const MAX_SPOOL_MEMORY_BYTES: usize = 1024 * 1024;

/// A regular file of at most this size is read at once instead of being held open.
pub const MAX_SMALL_BYTES: u64 = 64 * 1024;

/// Bytes that can be opened again and again, each time from the start. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Source {
    bytes: Bytes,
    size_bytes: u64,
}

#[derive(Debug, Clone)]
enum Bytes {
    Memory(Arc<[u8]>),
    File(Arc<File>),
}

/// One reading of a [`Source`], from some position on.
#[derive(Debug)]
pub struct SourceReader {
    source: Source,
    position: u64,
}

impl Source {
    /// What is in memory already.
    pub fn memory(bytes: impl Into<Arc<[u8]>>) -> Source {
        let bytes = bytes.into();
        Source { size_bytes: bytes.len() as u64, bytes: Bytes::Memory(bytes) }
    }

    /// A file, or `-` for standard input. A small regular file is read, a larger one is held open (its size is fixed now),
    /// anything else is spooled.
    pub fn path(path: &Path) -> Result<Source, Fault> {
        if path == Path::new("-") {
            return Source::spool("standard input", std::io::stdin().lock());
        }
        let problem = |error: std::io::Error| {
            let mut fault = Fault::local(path.display(), &error);
            // It was to be read: whatever is in the way, the input is not there.
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
            return Source::spool(path.display(), file);
        }
        if found.len() <= MAX_SMALL_BYTES {
            // One byte more than there should be: the end shows without another call.
            let mut bytes = Vec::with_capacity(found.len() as usize + 1);
            (&mut file).take(MAX_SMALL_BYTES + 1).read_to_end(&mut bytes).map_err(problem)?;
            if bytes.len() as u64 <= MAX_SMALL_BYTES {
                return Ok(Source::memory(bytes));
            }
        }
        Ok(Source::file(file, found.len()))
    }

    /// The bytes themselves, if they are in memory.
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.bytes {
            Bytes::Memory(bytes) => bytes.get(..usize::try_from(self.size_bytes).unwrap_or(usize::MAX)),
            Bytes::File(_) => None,
        }
    }

    /// The first `size_bytes` bytes of an open regular file.
    pub fn file(file: File, size_bytes: u64) -> Source {
        Source { bytes: Bytes::File(Arc::new(file)), size_bytes }
    }

    /// Reads a stream to its end.
    pub fn spool(what: impl std::fmt::Display, mut stream: impl Read) -> Result<Source, Fault> {
        let mut spooler = Spooler::new();
        std::io::copy(&mut stream, &mut spooler)
            .and_then(|_| spooler.finish())
            .map_err(|error| Fault::local(&what, &error))
    }

    /// How many bytes a whole reading gives.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The same bytes, but not more than this many.
    #[must_use]
    pub fn cut(&self, size_bytes: u64) -> Source {
        Source { bytes: self.bytes.clone(), size_bytes: self.size_bytes.min(size_bytes) }
    }

    /// A new reading from this position on.
    pub fn open_at(&self, position: u64) -> SourceReader {
        SourceReader { source: self.clone(), position }
    }

    /// All bytes, if they are at most `limit`; larger is [`Kind::BadData`].
    pub fn read_all(&self, what: &str, limit: usize) -> Result<Vec<u8>, Fault> {
        if self.size_bytes > limit as u64 {
            return Err(Fault::new(Kind::BadData, format!("{what}: larger than {limit} bytes")));
        }
        let mut all = Vec::with_capacity(usize::try_from(self.size_bytes).unwrap_or_default());
        self.open_at(0).read_to_end(&mut all).map_err(|error| Fault::local(what, &error))?;
        Ok(all)
    }
}

/// Takes bytes to make a [`Source`] of: in memory while they are few, then in an unnamed temporary file.
#[derive(Debug)]
pub struct Spooler {
    memory: Vec<u8>,
    file: Option<std::io::BufWriter<File>>,
    size_bytes: u64,
}

impl Spooler {
    /// Nothing yet.
    #[allow(clippy::new_without_default, reason = "a spooler begins somewhere, it has no default")]
    pub fn new() -> Spooler {
        Spooler { memory: Vec::new(), file: None, size_bytes: 0 }
    }

    /// What was written.
    pub fn finish(self) -> std::io::Result<Source> {
        match self.file {
            None => Ok(Source::memory(self.memory)),
            Some(file) => {
                let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
                Ok(Source::file(file, self.size_bytes))
            }
        }
    }
}

impl Write for Spooler {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.file.is_none() && self.memory.len() + bytes.len() > MAX_SPOOL_MEMORY_BYTES {
            let mut file = std::io::BufWriter::with_capacity(64 * 1024, tempfile::tempfile()?);
            file.write_all(&std::mem::take(&mut self.memory))?;
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.write_all(bytes)?,
            None => self.memory.extend_from_slice(bytes),
        }
        self.size_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Read for SourceReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.source.size_bytes.saturating_sub(self.position);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(room) = buffer.get_mut(..wanted).filter(|room| !room.is_empty()) else {
            return Ok(0);
        };
        let count = match &self.source.bytes {
            Bytes::Memory(bytes) => {
                let from = usize::try_from(self.position).unwrap_or(usize::MAX);
                let available = bytes.get(from..).and_then(|tail| tail.get(..wanted)).unwrap_or_default();
                room.copy_from_slice(available);
                wanted
            }
            Bytes::File(file) => match file.read_at(room, self.position)? {
                0 => return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the file became shorter")),
                count => count,
            },
        };
        self.position += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_temporary_file_read_alike_and_again() {
        for size in [0, 1, MAX_SPOOL_MEMORY_BYTES, MAX_SPOOL_MEMORY_BYTES + 1, MAX_SPOOL_MEMORY_BYTES + 70_000] {
            let data: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
            let source = Source::spool("test", &data[..]).unwrap();
            assert_eq!(source.size_bytes(), size as u64);
            assert_eq!(matches!(source.bytes, Bytes::File(_)), size > MAX_SPOOL_MEMORY_BYTES);
            for _ in 0..2 {
                assert!(source.read_all("test", size).unwrap() == data);
            }
            let mut tail = Vec::new();
            source.open_at(size as u64 / 2).read_to_end(&mut tail).unwrap();
            assert!(tail == data[size / 2..]);
        }
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_and_growth_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        for size in [MAX_SMALL_BYTES as usize, MAX_SMALL_BYTES as usize + 1] {
            std::fs::write(&path, vec![b'x'; size]).unwrap();
            let source = Source::path(&path).unwrap();
            std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
            assert!(source.read_all("x", size).unwrap() == vec![b'x'; size]);
            std::fs::write(&path, b"012").unwrap();
            match source.in_memory() {
                Some(bytes) => assert!(bytes.len() == size && source.read_all("x", size).unwrap() == bytes),
                None => assert_eq!(source.read_all("x", size).unwrap_err().kind, Kind::Io),
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_input() {
        for path in ["/nonexistent/x", "/"] {
            assert_eq!(Source::path(Path::new(path)).unwrap_err().kind, Kind::NoInput);
        }
        let large = Source::memory(vec![0; 11]);
        assert_eq!(large.read_all("x", 10).unwrap_err().kind, Kind::BadData);
    }
}
