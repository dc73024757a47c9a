//! Mailboxes compressed with gzip (RFC 1952), such as rotated files and archives.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use crate::blob::{Blob, file};
use crate::fault::{Fault, Kind};

/// The output size that is always allowed, in bytes, whatever the input.
pub const MAX_SMALL_BYTES: u64 = 64 * 1024 * 1024;
/// The output limit beyond that, as a multiple of the packed size: deflate reaches 1,032 with zeros, mail 3 to 50.
pub const MAX_RATIO: u64 = 200;

/// True if these first bytes of a file are a gzip header with deflate, its only method.
pub fn is_gzip(start: &[u8]) -> bool {
    start.starts_with(&[0x1f, 0x8b, 8])
}

/// Unpacks a blob; one that is not packed stays unchanged.
///
/// # Errors
/// [`Kind::BadData`] if the data is damaged, cut off, or exceeds the limits; the kinds of [`Fault::local`] if the blob
/// cannot be read or its content stored.
pub fn unpacked(what: &str, blob: Blob) -> Result<Blob, Fault> {
    let mut start = Vec::new();
    blob.open_at(0).take(3).read_to_end(&mut start).map_err(|error| Fault::local(what, &error))?;
    if !is_gzip(&start) {
        return Ok(blob);
    }
    let room = blob.size_bytes().saturating_mul(MAX_RATIO).max(MAX_SMALL_BYTES);
    let mut content = BoundedContent { decoder: MultiGzDecoder::new(blob.open_at(0)), room, problem: None };
    let stored = file::read_stream(what, &mut content);
    match content.problem {
        Some(problem) => Err(Fault::new(Kind::BadData, format!("{what}: {problem}"))),
        None => stored,
    }
}

/// The unpacked data, up to a limit. Errors in the packed data are kept apart from system errors.
struct BoundedContent<R> {
    decoder: MultiGzDecoder<R>,
    room: u64,
    problem: Option<&'static str>,
}

impl<R: Read> Read for BoundedContent<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer).inspect_err(|error| {
            self.problem = match error.kind() {
                io::ErrorKind::UnexpectedEof => Some("the packed data is cut off"),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Some("the packed data is damaged"),
                _ => None,
            };
        })?;
        match self.room.checked_sub(count as u64) {
            Some(room) => self.room = room,
            None => {
                self.problem = Some("the packed data grows out of all proportion");
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn content(bytes: Vec<u8>) -> Result<Vec<u8>, Fault> {
        unpacked("x", Blob::memory(bytes))?.read_all("x", usize::MAX)
    }

    #[test]
    fn members_are_joined_and_plain_files_pass() {
        let text: Vec<u8> = (0..3_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 27) as u8).collect();
        for size in [0, 1, 100_000, 3_000_000] {
            assert!(content(packed(&text[..size])).unwrap() == text[..size], "{size}");
        }
        assert_eq!(content([packed(b"one\n"), packed(b"two\n")].concat()).unwrap(), b"one\ntwo\n");
        for plain in [&b"From a"[..], b"", b"\x1f", b"\x1f\x8b\x00xxxx"] {
            assert_eq!(content(plain.to_vec()).unwrap(), plain);
        }
    }

    #[test]
    fn damage_is_told() {
        let whole = packed(b"a mailbox, once");
        for cut in 3..whole.len() {
            assert_eq!(content(whole[..cut].to_vec()).unwrap_err().kind, Kind::BadData, "cut at {cut}");
        }
        let mut changed = whole.clone();
        let crc = whole.len() - 8;
        changed[crc] ^= 1;
        assert_eq!(content(changed).unwrap_err().detail, "x: the packed data is damaged");
        assert_eq!(content([whole, b"rubbish behind".to_vec()].concat()).unwrap_err().kind, Kind::BadData);
    }

    #[test]
    fn what_grows_out_of_proportion_is_refused() {
        let zeros = packed(&[0; 2000]);
        let mut content = BoundedContent { decoder: MultiGzDecoder::new(&zeros[..]), room: 1999, problem: None };
        assert!(content.read_to_end(&mut Vec::new()).is_err());
        assert!(content.problem.is_some());
        let zeros = packed(&vec![0; (MAX_SMALL_BYTES + 1) as usize]);
        let fault = unpacked("x", Blob::memory(zeros)).unwrap_err();
        assert_eq!(
            (fault.kind, fault.detail.as_str()),
            (Kind::BadData, "x: the packed data grows out of all proportion")
        );
    }
}
