//! One blob: the bytes of a message or of an attached file, in memory or elsewhere, which can be read repeatedly from any
//! position. [`Backing`] hides the source of the bytes outside memory, so code that names a blob does no I/O. [`mod@file`] holds
//! the files of this system and the writer.

pub mod file;

use std::fmt::Debug;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::fault::{Fault, Kind};

/// Bytes outside memory.
pub trait Backing: Debug + Send + Sync {
    /// Reads at a position; returns 0 at the end.
    ///
    /// # Errors
    /// The system's error.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// The file's name, if it has one.
    fn path(&self) -> Option<&Path>;

    /// Keeps the file after the blob is dropped.
    fn keep(&self);
}

/// Bytes of known length. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Blob {
    bytes: BlobBytes,
    size_bytes: u64,
}

#[derive(Debug, Clone)]
enum BlobBytes {
    Memory(Arc<[u8]>),
    Outside(Arc<dyn Backing>),
}

/// A reader of a [`Blob`], from a position on.
#[derive(Debug)]
pub struct BlobReader {
    blob: Blob,
    position: u64,
}

impl Blob {
    /// A blob of bytes that are already in memory.
    pub fn memory(bytes: impl Into<Arc<[u8]>>) -> Blob {
        let bytes = bytes.into();
        Blob { size_bytes: bytes.len() as u64, bytes: BlobBytes::Memory(bytes) }
    }

    /// The first `size_bytes` bytes of a backing outside memory.
    pub fn outside(backing: Arc<dyn Backing>, size_bytes: u64) -> Blob {
        Blob { bytes: BlobBytes::Outside(backing), size_bytes }
    }

    /// The bytes themselves, if they are in memory.
    pub fn in_memory(&self) -> Option<&[u8]> {
        match &self.bytes {
            BlobBytes::Memory(bytes) => bytes.get(..usize::try_from(self.size_bytes).unwrap_or(usize::MAX)),
            BlobBytes::Outside(_) => None,
        }
    }

    /// The name of the file that holds the bytes; `None` in memory or in a file without a name.
    pub fn path(&self) -> Option<&Path> {
        match &self.bytes {
            BlobBytes::Memory(_) => None,
            BlobBytes::Outside(backing) => backing.path(),
        }
    }

    /// Hands the file over to another owner: dropping the blob no longer removes it.
    pub fn keep(&self) {
        if let BlobBytes::Outside(backing) = &self.bytes {
            backing.keep();
        }
    }

    /// The number of bytes that a whole read returns.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The same bytes, cut to at most `size_bytes`.
    #[must_use]
    pub fn cut(&self, size_bytes: u64) -> Blob {
        Blob { bytes: self.bytes.clone(), size_bytes: self.size_bytes.min(size_bytes) }
    }

    /// A new reader from this position on.
    pub fn open_at(&self, position: u64) -> BlobReader {
        BlobReader { blob: self.clone(), position }
    }

    /// All bytes, if they are at most `limit`.
    ///
    /// # Errors
    /// [`Kind::BadData`] for a larger blob, the kinds of [`Fault::local`] if it cannot be read.
    pub fn read_all(&self, what: &str, limit: usize) -> Result<Vec<u8>, Fault> {
        if self.size_bytes > limit as u64 {
            return Err(Fault::new(Kind::BadData, format!("{what}: larger than {limit} bytes")));
        }
        let mut all = Vec::with_capacity(usize::try_from(self.size_bytes).unwrap_or_default());
        self.open_at(0).read_to_end(&mut all).map_err(|error| Fault::local(what, &error))?;
        Ok(all)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.blob.size_bytes.saturating_sub(self.position);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(room) = buffer.get_mut(..wanted).filter(|room| !room.is_empty()) else {
            return Ok(0);
        };
        let count = match &self.blob.bytes {
            BlobBytes::Memory(bytes) => {
                let from = usize::try_from(self.position).unwrap_or(usize::MAX);
                let available = bytes.get(from..).and_then(|tail| tail.get(..wanted)).unwrap_or_default();
                room.copy_from_slice(available);
                wanted
            }
            BlobBytes::Outside(backing) => match backing.read_at(room, self.position)? {
                0 => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter")),
                count => count,
            },
        };
        self.position += count as u64;
        Ok(count)
    }
}
