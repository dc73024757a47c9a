//! A message to be sent, in a few segments: bytes, or references to files that are encoded while they are read. Its
//! size is known before its first byte, it can be opened again, and memory use is constant.

use std::io::{self, Read};
use std::sync::Arc;

use super::transfer::{BASE64_LINE_INPUT, BASE64_LINE_OUTPUT, base64_lines, base64_size};
use crate::blob::{Blob, BlobReader};
use crate::smtp::data::Content;

/// The size of one read from a file before encoding, in bytes: a whole number of base64 lines.
const RAW_BYTES: usize = BASE64_LINE_INPUT * 1150;

/// A segment of a message.
#[derive(Debug, Clone)]
pub enum Segment {
    /// Bytes in their final form.
    Bytes(Vec<u8>),
    /// A blob as base64 in lines of 76 characters.
    Base64(Blob),
    /// A blob from this offset on, unchanged.
    Exact(Blob, u64),
    /// A blob from this offset on, with every bare LF sent as CRLF; the last number is how many bytes that adds.
    Lines(Blob, u64, u64),
}

impl Segment {
    fn size_bytes(&self) -> u64 {
        match self {
            Segment::Bytes(bytes) => bytes.len() as u64,
            Segment::Base64(blob) => base64_size(blob.size_bytes()),
            Segment::Exact(blob, from) => blob.size_bytes().saturating_sub(*from),
            Segment::Lines(blob, from, extra) => blob.size_bytes().saturating_sub(*from) + extra,
        }
    }
}

/// A message in canonical form: every line ends with CRLF. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct MailMessage {
    segments: Arc<[Segment]>,
    size_bytes: u64,
    has_8bit: bool,
}

impl MailMessage {
    /// Creates a message from these segments, in this order.
    pub fn new(segments: Vec<Segment>, has_8bit: bool) -> MailMessage {
        let size_bytes = segments.iter().map(Segment::size_bytes).sum();
        MailMessage { segments: segments.into(), size_bytes, has_8bit }
    }

    /// Opens a reader at the first byte.
    pub fn reader(&self) -> MessageReader {
        MessageReader {
            message: self.clone(),
            index: 0,
            reading: SegmentReading::Start,
            raw: Vec::new(),
            carry: Vec::new(),
        }
    }
}

impl Content for MailMessage {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn has_8bit(&self) -> bool {
        self.has_8bit
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.reader()))
    }

    fn in_memory(&self) -> Option<&[u8]> {
        match &*self.segments {
            [Segment::Bytes(bytes)] => Some(bytes),
            _ => None,
        }
    }
}

/// One pass over a [`MailMessage`].
#[derive(Debug)]
pub struct MessageReader {
    message: MailMessage,
    index: usize,
    reading: SegmentReading,
    /// The bytes of a file before they are encoded.
    raw: Vec<u8>,
    /// Encoded bytes that did not fit into the caller's buffer, in reverse order.
    carry: Vec<u8>,
}

/// The position in the current segment.
#[derive(Debug)]
enum SegmentReading {
    Start,
    Bytes(usize),
    Blob(BlobReader),
    Lines { blob: BlobReader, after_cr: bool },
}

impl Read for MessageReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.carry.is_empty() {
                let count = self.carry.len().min(buffer.len());
                for slot in buffer.iter_mut().take(count) {
                    *slot = self.carry.pop().unwrap_or_default();
                }
                return Ok(count);
            }
            let Some(segment) = self.message.segments.get(self.index) else { return Ok(0) };
            if matches!(self.reading, SegmentReading::Start) {
                self.reading = match segment {
                    Segment::Bytes(_) => SegmentReading::Bytes(0),
                    Segment::Base64(blob) => SegmentReading::Blob(blob.open_at(0)),
                    Segment::Exact(blob, from) => SegmentReading::Blob(blob.open_at(*from)),
                    Segment::Lines(blob, from, _) => {
                        SegmentReading::Lines { blob: blob.open_at(*from), after_cr: false }
                    }
                };
            }
            let count = match (segment, &mut self.reading) {
                (Segment::Bytes(bytes), SegmentReading::Bytes(position)) => {
                    let left = bytes.get(*position..).unwrap_or_default();
                    let count = left.len().min(buffer.len());
                    copy(left, buffer, count);
                    *position += count;
                    count
                }
                (Segment::Base64(_), SegmentReading::Blob(blob)) => {
                    let lines = (buffer.len() / BASE64_LINE_OUTPUT).clamp(1, RAW_BYTES / BASE64_LINE_INPUT);
                    let count = fill(blob, &mut self.raw, lines * BASE64_LINE_INPUT)?;
                    let raw = self.raw.get(..count).unwrap_or_default();
                    let needed = base64_size(count as u64) as usize;
                    match buffer.get_mut(..needed) {
                        Some(room) => base64_lines(raw, room),
                        None => {
                            self.carry.resize(needed, 0);
                            base64_lines(raw, &mut self.carry);
                            self.carry.reverse();
                            continue;
                        }
                    }
                }
                (_, SegmentReading::Blob(blob)) => blob.read(buffer)?,
                (_, SegmentReading::Lines { blob, after_cr }) => {
                    // Every byte may become two.
                    let wanted = (buffer.len() / 2).max(1);
                    let count = fill(blob, &mut self.raw, wanted)?;
                    let raw = self.raw.get(..count).unwrap_or_default();
                    let mut out = Out { buffer, used: 0, carry: &mut self.carry };
                    crlf(raw, after_cr, &mut out);
                    let used = out.used;
                    if used == 0 && count > 0 {
                        self.carry.reverse();
                        continue;
                    }
                    self.carry.reverse();
                    used
                }
                (_, _) => 0,
            };
            if count > 0 {
                return Ok(count);
            }
            self.index += 1;
            self.reading = SegmentReading::Start;
        }
    }
}

/// The output: the caller's buffer, then the carry.
struct Out<'a> {
    buffer: &'a mut [u8],
    used: usize,
    carry: &'a mut Vec<u8>,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let room = self.buffer.get_mut(self.used..).unwrap_or_default();
        let count = bytes.len().min(room.len());
        copy(bytes, room, count);
        self.used += count;
        self.carry.extend_from_slice(bytes.get(count..).unwrap_or_default());
    }
}

fn crlf(raw: &[u8], after_cr: &mut bool, out: &mut Out<'_>) {
    let mut from = 0;
    for at in memchr::memchr_iter(b'\n', raw) {
        let before = if at == 0 { *after_cr } else { raw.get(at - 1) == Some(&b'\r') };
        out.put(raw.get(from..at).unwrap_or_default());
        out.put(if before { b"\n" } else { b"\r\n" });
        from = at + 1;
    }
    out.put(raw.get(from..).unwrap_or_default());
    if let Some(last) = raw.last() {
        *after_cr = *last == b'\r';
    }
}

/// Reads until `wanted` bytes are available or the blob ends.
fn fill(blob: &mut BlobReader, raw: &mut Vec<u8>, wanted: usize) -> io::Result<usize> {
    if raw.len() < wanted {
        raw.resize(wanted, 0);
    }
    let mut count = 0;
    while let Some(room) = raw.get_mut(count..wanted).filter(|room| !room.is_empty()) {
        match blob.read(room) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

fn copy(from: &[u8], to: &mut [u8], count: usize) {
    if let (Some(from), Some(to)) = (from.get(..count), to.get_mut(..count)) {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the whole message with a buffer of this size.
    fn read_by(message: &MailMessage, size: usize) -> Vec<u8> {
        let (mut reader, mut buffer, mut all) = (message.reader(), vec![0; size], Vec::new());
        loop {
            let count = reader.read(&mut buffer).unwrap();
            if count == 0 {
                return all;
            }
            all.extend_from_slice(&buffer[..count]);
        }
    }

    #[test]
    fn every_buffer_size_reads_the_same_bytes() {
        let data: Vec<u8> = (0..1000u32).map(|index| (index * 7 % 256) as u8).collect();
        let text = b"one\ntwo\r\n\n\r\nthree".to_vec();
        let message = MailMessage::new(
            vec![
                Segment::Bytes(b"Subject: x\r\n\r\n".to_vec()),
                Segment::Base64(Blob::memory(data.clone())),
                Segment::Bytes(Vec::new()),
                Segment::Lines(Blob::memory(text.clone()), 1, 2),
                Segment::Base64(Blob::memory(Vec::new())),
                Segment::Exact(Blob::memory(b"exact".to_vec()), 2),
            ],
            false,
        );
        let whole = read_by(&message, 100_000);
        assert_eq!(whole.len() as u64, message.size_bytes());
        assert!(whole.starts_with(b"Subject: x\r\n\r\nAAcO"));
        assert!(whole.ends_with(b"\r\nne\r\ntwo\r\n\r\n\r\nthreeact"), "{}", String::from_utf8_lossy(&whole));
        for size in (1..200).chain([1000, 4096, 65_536]) {
            assert!(read_by(&message, size) == whole, "buffer of {size}");
        }
    }

    #[test]
    fn large_files_are_encoded_exactly() {
        use base64::Engine as _;
        let data: Vec<u8> = (0..300_001u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let message = MailMessage::new(vec![Segment::Base64(Blob::memory(data.clone()))], false);
        let mut encoded = read_by(&message, 70_000);
        assert_eq!(encoded.len() as u64, message.size_bytes());
        encoded.retain(|byte| !byte.is_ascii_whitespace());
        assert!(base64::engine::general_purpose::STANDARD.decode(encoded).unwrap() == data);
    }
}
