//! The entries of one listing, in memory while they are few, else in a temporary file: a directory may have millions, and
//! they are looked at a few at a time.

use std::io::{self, BufReader, Read, Write};

use crate::blob::file::BlobWriter;
use crate::blob::{Blob, BlobReader};
use crate::fault::Fault;
use crate::ftp::listing::{EntryType, ListingEntry, Modified};

/// Bytes of entries that stay in memory: several listings are open at a time.
const MAX_MEMORY: usize = 64 * 1024;
/// Entries that are looked at together.
const BATCH: usize = 512;
const TYPES: [EntryType; 4] = [EntryType::File, EntryType::Directory, EntryType::Symlink, EntryType::Other];

/// Takes entries: of each what a download has to know.
pub(super) struct EntryWriter(BlobWriter);

/// What was taken, from some entry on. Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Entries {
    blob: Blob,
    position: u64,
}

fn failed(error: io::Error) -> Fault {
    Fault::local("the temporary file of a listing", &error)
}

impl EntryWriter {
    pub(super) fn new() -> EntryWriter {
        EntryWriter(BlobWriter::temporary().keeping(MAX_MEMORY))
    }

    pub(super) fn add(&mut self, entry: &ListingEntry) -> Result<(), Fault> {
        let kind = TYPES.iter().position(|kind| *kind == entry.entry_type).map_or(0, |at| at as u8);
        let number = |number: u64| number.to_le_bytes().to_vec();
        let time =
            entry.modified.filter(|modified| modified.utc).map(|modified| number(modified.seconds.cast_unsigned()));
        let (size, name) = (entry.size.map(number), Some(entry.name.clone()));
        let mut bytes = vec![kind];
        for field in [name, size, time, entry.link_target.clone(), entry.unique.clone()] {
            // A line has no more than MAX_LINE bytes; 0: there is no such field.
            let length = field.as_ref().map_or(0, |field| field.len() as u16 + 1);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&field.unwrap_or_default());
        }
        self.0.write_all(&bytes).map_err(failed)
    }

    pub(super) fn finish(self) -> Result<Entries, Fault> {
        Ok(Entries { blob: self.0.finish().map_err(failed)?, position: 0 })
    }
}

impl Entries {
    /// The next entries, and what is left behind them, if anything is.
    pub(super) fn batch(&self) -> Result<(Vec<ListingEntry>, Option<Entries>), Fault> {
        let mut reader = Reader { inner: BufReader::new(self.blob.open_at(self.position)), position: self.position };
        let mut batch = Vec::new();
        while batch.len() < BATCH && reader.position < self.blob.size_bytes() {
            batch.push(reader.entry().map_err(failed)?);
        }
        let left = reader.position < self.blob.size_bytes();
        Ok((batch, left.then(|| Entries { blob: self.blob.clone(), position: reader.position })))
    }
}

struct Reader {
    inner: BufReader<BlobReader>,
    position: u64,
}

impl Reader {
    fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.inner.read_exact(&mut bytes)?;
        self.position += count as u64;
        Ok(bytes)
    }

    fn field(&mut self) -> io::Result<Option<Vec<u8>>> {
        let length = self.bytes(2)?.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
        length.checked_sub(1).map(|length| self.bytes(length)).transpose()
    }

    fn entry(&mut self) -> io::Result<ListingEntry> {
        let kind = self.bytes(1)?.first().and_then(|kind| TYPES.get(usize::from(*kind))).copied();
        let name = self.field()?.unwrap_or_default();
        let mut number =
            || Ok::<_, io::Error>(self.field()?.and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes));
        let (size, time) = (number()?, number()?);
        let modified = time.map(|seconds| Modified::utc(seconds.cast_signed()));
        let (link_target, unique) = (self.field()?, self.field()?);
        let entry = ListingEntry::new(name, kind.unwrap_or(EntryType::Other));
        Ok(ListingEntry { size, modified, link_target, unique, ..entry })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let entry = |n: usize| ListingEntry {
            size: Some(n as u64).filter(|_| n & 1 > 0),
            modified: Some(Modified::utc(-(n as i64))).filter(|_| n & 2 > 0),
            link_target: Some(vec![b'x'; n % 7]).filter(|_| n & 4 > 0),
            unique: Some(n.to_string().into_bytes()).filter(|_| n & 8 > 0),
            ..ListingEntry::new(format!("{n}\n").repeat(n % 9 + 1), TYPES[n % 4])
        };
        // None, few in memory, and many in a file.
        for count in [0, 1, BATCH, 3 * BATCH + 1] {
            let mut writer = EntryWriter::new();
            (0..count).for_each(|n| writer.add(&entry(n)).unwrap());
            assert_eq!(writer.0.is_in_memory(), count <= BATCH, "{count}");
            let (mut left, mut found) = (Some(writer.finish().unwrap()), Vec::new());
            while let Some(entries) = left {
                let (batch, rest) = entries.batch().unwrap();
                assert!(batch.len() == BATCH || rest.is_none());
                found.extend(batch);
                left = rest;
            }
            assert_eq!(found, (0..count).map(entry).collect::<Vec<_>>(), "{count}");
        }
    }
}
