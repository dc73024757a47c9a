//! Queued records: in memory while they are few, else in a temporary file. A tree may have millions of entries; they are
//! processed in small batches.

use std::io::{self, BufReader, Read, Write};
use std::marker::PhantomData;

use super::FileFacts;
use crate::blob::file::BlobWriter;
use crate::blob::{Blob, BlobReader};
use crate::fault::Fault;
use crate::ftp::listing::{EntryType, ListingEntry, Modified, Precision};

/// The most bytes of records that stay in memory: several spools are open at a time.
const MAX_MEMORY: usize = 64 * 1024;
/// The number of records in a batch.
const BATCH: usize = 512;
const TYPES: [EntryType; 4] = [EntryType::File, EntryType::Directory, EntryType::Symlink, EntryType::Other];
const PRECISIONS: [Precision; 3] = [Precision::Second, Precision::Minute, Precision::Day];

/// A record for a spool: it consists of a number of fields.
pub trait Spooled: Sized {
    /// Writes its fields.
    fn write(&self, to: &mut FieldWriter);

    /// Reads the same fields in the same order.
    ///
    /// # Errors
    /// The I/O error of the system.
    fn read(from: &mut FieldReader) -> io::Result<Self>;
}

/// Collects the fields of one record.
#[derive(Debug, Default)]
pub struct FieldWriter(Vec<u8>);

impl FieldWriter {
    /// Adds a field; `None` differs from an empty field.
    pub fn bytes(&mut self, field: Option<&[u8]>) {
        // 0 for `None`, else the length plus one, seven bits per byte.
        let mut length = field.map_or(0, |field| field.len() + 1);
        while length > 0x7f {
            self.0.push(length as u8 | 0x80);
            length >>= 7;
        }
        self.0.push(length as u8);
        self.0.extend_from_slice(field.unwrap_or_default());
    }

    /// Adds a number as a field.
    pub fn number(&mut self, number: Option<u64>) {
        let bytes = number.unwrap_or_default().to_le_bytes();
        let length = bytes.len() - number.unwrap_or_default().leading_zeros() as usize / 8;
        self.bytes(number.and_then(|_| bytes.get(..length)));
    }

    /// Adds size and time.
    pub(super) fn facts(&mut self, facts: FileFacts) {
        self.number(facts.size);
        self.number(facts.modified.map(i64::cast_unsigned));
    }
}

/// Reads the fields of records.
#[derive(Debug)]
pub struct FieldReader {
    inner: BufReader<BlobReader>,
    position: u64,
}

impl FieldReader {
    /// The next field.
    ///
    /// # Errors
    /// The I/O error of the system.
    pub fn bytes(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (mut length, mut shift, mut byte) = (0usize, 0, [0x80]);
        while byte.iter().any(|byte| byte & 0x80 != 0) {
            self.inner.read_exact(&mut byte)?;
            self.position += 1;
            let [bits] = byte.map(|byte| usize::from(byte & 0x7f));
            length |= bits.checked_shl(shift).unwrap_or_default();
            shift += 7;
        }
        let Some(length) = length.checked_sub(1) else { return Ok(None) };
        let mut field = vec![0; length];
        self.inner.read_exact(&mut field)?;
        self.position += length as u64;
        Ok(Some(field))
    }

    /// The next field as a number.
    ///
    /// # Errors
    /// The I/O error of the system.
    pub fn number(&mut self) -> io::Result<Option<u64>> {
        let number = |bytes: Vec<u8>| bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Ok(self.bytes()?.map(number))
    }

    /// Size and time.
    pub(super) fn facts(&mut self) -> io::Result<FileFacts> {
        Ok(FileFacts { size: self.number()?, modified: self.number()?.map(u64::cast_signed) })
    }
}

fn failed(error: io::Error) -> Fault {
    Fault::local("a temporary file", &error)
}

/// Writes records.
#[derive(Debug)]
pub struct SpoolWriter<T> {
    blob: BlobWriter,
    record: PhantomData<fn(T)>,
}

impl<T: Spooled> Default for SpoolWriter<T> {
    fn default() -> SpoolWriter<T> {
        SpoolWriter { blob: BlobWriter::temporary().keeping(MAX_MEMORY), record: PhantomData }
    }
}

impl<T: Spooled> SpoolWriter<T> {
    /// Adds a record.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`] when the temporary file cannot be written.
    pub fn add(&mut self, record: &T) -> Result<(), Fault> {
        let mut fields = FieldWriter::default();
        record.write(&mut fields);
        self.blob.write_all(&fields.0).map_err(failed)
    }

    /// The spool of all records that were added.
    ///
    /// # Errors
    /// As [`SpoolWriter::add`].
    pub fn finish(self) -> Result<Spool<T>, Fault> {
        Ok(Spool { blob: self.blob.finish().map_err(failed)?, position: 0, record: PhantomData })
    }
}

/// A sequence of records from a position on. Cloning is cheap.
#[derive(Debug)]
pub struct Spool<T> {
    blob: Blob,
    position: u64,
    record: PhantomData<fn() -> T>,
}

impl<T> Clone for Spool<T> {
    fn clone(&self) -> Spool<T> {
        Spool { blob: self.blob.clone(), ..*self }
    }
}

impl<T: Spooled> Spool<T> {
    /// Reads the records one after the other.
    pub fn read(&self) -> SpoolReader<T> {
        let inner = BufReader::new(self.blob.open_at(self.position));
        SpoolReader { fields: FieldReader { inner, position: self.position }, spool: self.clone() }
    }

    /// The next batch of records, and the rest if there is one.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`] when the temporary file cannot be read.
    pub fn batch(&self) -> Result<(Vec<T>, Option<Spool<T>>), Fault> {
        let mut reader = self.read();
        let batch = reader.by_ref().take(BATCH).collect::<Result<Vec<T>, Fault>>()?;
        let left = reader.left();
        Ok((batch, (!left.is_empty()).then_some(left)))
    }

    /// True when nothing is left.
    pub fn is_empty(&self) -> bool {
        self.position >= self.blob.size_bytes()
    }
}

/// One reading of a [`Spool`].
#[derive(Debug)]
pub struct SpoolReader<T> {
    fields: FieldReader,
    spool: Spool<T>,
}

impl<T: Spooled> SpoolReader<T> {
    /// The records behind the last one that was read.
    pub fn left(&self) -> Spool<T> {
        Spool { position: self.fields.position, ..self.spool.clone() }
    }
}

impl<T: Spooled> Iterator for SpoolReader<T> {
    type Item = Result<T, Fault>;

    fn next(&mut self) -> Option<Result<T, Fault>> {
        let over = self.fields.position >= self.spool.blob.size_bytes();
        (!over).then(|| T::read(&mut self.fields).map_err(failed))
    }
}

/// A name, and whether it names a directory.
impl Spooled for (Vec<u8>, bool) {
    fn write(&self, to: &mut FieldWriter) {
        to.bytes(Some(&self.0));
        to.number(self.1.then_some(1));
    }

    fn read(from: &mut FieldReader) -> io::Result<(Vec<u8>, bool)> {
        Ok((from.bytes()?.unwrap_or_default(), from.number()?.is_some()))
    }
}

impl Spooled for ListingEntry {
    fn write(&self, to: &mut FieldWriter) {
        to.bytes(Some(&self.name));
        to.number(TYPES.iter().position(|kind| *kind == self.entry_type).map(|at| at as u64));
        to.number(self.size);
        to.number(self.modified.map(|modified| modified.seconds.cast_unsigned()));
        let precision = |modified: Modified| PRECISIONS.iter().position(|known| *known == modified.precision);
        to.number(self.modified.and_then(precision).map(|at| at as u64));
        to.number(self.modified.filter(|modified| modified.utc).map(|_| 1));
        to.number(self.mode.map(u64::from));
        to.number(self.links);
        for field in [&self.owner, &self.group, &self.link_target, &self.unique] {
            to.bytes(field.as_deref());
        }
        to.bytes(self.perm.as_ref().map(String::as_bytes));
        to.number(Some(self.facts.len() as u64));
        for (name, value) in &self.facts {
            to.bytes(Some(name.as_bytes()));
            to.bytes(Some(value));
        }
    }

    fn read(from: &mut FieldReader) -> io::Result<ListingEntry> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let name = from.bytes()?.unwrap_or_default();
        let entry_type = from.number()?.and_then(|at| TYPES.get(usize::try_from(at).ok()?)).copied();
        let (size, seconds) = (from.number()?, from.number()?.map(u64::cast_signed));
        let precision = from.number()?.and_then(|at| PRECISIONS.get(usize::try_from(at).ok()?)).copied();
        let utc = from.number()?.is_some();
        let modified = seconds.zip(precision).map(|(seconds, precision)| Modified { seconds, precision, utc });
        let mode = from.number()?.and_then(|mode| u32::try_from(mode).ok());
        let links = from.number()?;
        let (owner, group, link_target, unique) = (from.bytes()?, from.bytes()?, from.bytes()?, from.bytes()?);
        let perm = from.bytes()?.map(text);
        let mut facts = Vec::new();
        for _ in 0..from.number()?.unwrap_or_default() {
            facts.push((text(from.bytes()?.unwrap_or_default()), from.bytes()?.unwrap_or_default()));
        }
        let entry_type = entry_type.unwrap_or(EntryType::Other);
        let entry = ListingEntry {
            name,
            entry_type,
            size,
            modified,
            mode,
            owner,
            group,
            link_target,
            links,
            perm,
            unique,
            facts,
        };
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let entry = |n: usize| ListingEntry {
            size: Some(n as u64).filter(|_| n & 1 > 0),
            modified: Some(Modified { seconds: -(n as i64), precision: PRECISIONS[n % 3], utc: !n.is_multiple_of(5) })
                .filter(|_| n & 2 > 0),
            link_target: Some(vec![b'x'; n % 7]).filter(|_| n & 4 > 0),
            unique: Some(n.to_string().into_bytes()).filter(|_| n & 8 > 0),
            mode: Some(n as u32).filter(|_| n & 16 > 0),
            owner: Some(b"joe".to_vec()).filter(|_| n & 32 > 0),
            perm: Some("adfr".to_owned()).filter(|_| n & 64 > 0),
            facts: vec![("charset".to_owned(), b"x".to_vec()); n % 3],
            ..ListingEntry::new(format!("{n}\n").repeat(n % 99 + 1), TYPES[n % 4])
        };
        // None, few in memory, and many in a file.
        for count in [0, 1, BATCH, 3 * BATCH + 1] {
            let mut writer = SpoolWriter::default();
            (0..count).for_each(|n| writer.add(&entry(n)).unwrap());
            assert_eq!(writer.blob.is_in_memory(), count < BATCH, "{count}");
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
