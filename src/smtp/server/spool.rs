//! A message on its way in: small ones in memory, others in a file without a name, so that a server's memory does not
//! grow with its messages.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::smtp::data::Content;

/// What is kept in memory of one message by default.
pub const DEFAULT_MEMORY: usize = 256 * 1024;

/// Where messages are kept while they arrive.
#[derive(Debug, Clone)]
pub struct Spool {
    /// The directory for those that outgrow the memory.
    pub directory: PathBuf,
    /// The largest message in memory, in bytes.
    pub memory: usize,
}

impl Spool {
    /// A message that begins.
    pub fn start(&self) -> Spooled {
        Spooled { spool: self.clone(), memory: Vec::new(), file: None, size: 0, has_8bit: false }
    }
}

/// A message that is arriving.
#[derive(Debug)]
pub struct Spooled {
    spool: Spool,
    memory: Vec<u8>,
    file: Option<File>,
    size: u64,
    has_8bit: bool,
}

impl Spooled {
    /// Adds the next bytes.
    pub fn append(&mut self, data: &[u8]) -> io::Result<()> {
        self.size += data.len() as u64;
        self.has_8bit = self.has_8bit || !data.is_ascii();
        if let Some(file) = &mut self.file {
            return file.write_all(data);
        }
        if self.memory.len() + data.len() <= self.spool.memory {
            self.memory.extend_from_slice(data);
            return Ok(());
        }
        let mut file = tempfile::tempfile_in(&self.spool.directory)?;
        file.write_all(&std::mem::take(&mut self.memory))?;
        file.write_all(data)?;
        self.file = Some(file);
        Ok(())
    }

    /// The message is complete.
    pub fn finish(self) -> io::Result<Stored> {
        let place = match self.file {
            Some(file) => Place::File(Arc::new(file)),
            None => Place::Memory(Arc::from(self.memory)),
        };
        Ok(Stored { place, size: self.size, has_8bit: self.has_8bit })
    }
}

/// A complete message, kept until everybody dropped it. Not safe from a crash: whoever accepts it writes it down.
#[derive(Debug, Clone)]
pub struct Stored {
    place: Place,
    size: u64,
    has_8bit: bool,
}

#[derive(Debug, Clone)]
enum Place {
    Memory(Arc<[u8]>),
    File(Arc<File>),
}

impl Content for Stored {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn has_8bit(&self) -> bool {
        self.has_8bit
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Reader { place: self.place.clone(), at: 0 }))
    }

    fn in_memory(&self) -> Option<&[u8]> {
        match &self.place {
            Place::Memory(bytes) => Some(bytes),
            Place::File(_) => None,
        }
    }
}

/// Reads from a place of its own, so that several readers share one file.
struct Reader {
    place: Place,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &self.place {
            Place::File(file) => file.read_at(buffer, self.at)?,
            Place::Memory(bytes) => {
                let rest = usize::try_from(self.at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
                (&mut &*rest).read(buffer)?
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_file_give_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        for memory in [0, 1, 5, 6, 100] {
            let spool = Spool { directory: directory.path().to_owned(), memory };
            let mut message = spool.start();
            for piece in [b"ab".as_slice(), b"", b"c\xc3\xa4", b"e"] {
                message.append(piece).unwrap();
            }
            let stored = message.finish().unwrap();
            assert_eq!(stored.in_memory().is_some(), memory >= 6, "{memory}");
            assert_eq!((stored.size_bytes(), stored.has_8bit()), (6, true));
            for _ in 0..2 {
                let mut bytes = Vec::new();
                stored.open().unwrap().read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes, b"abc\xc3\xa4e");
            }
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "no name is left behind");
    }
}
