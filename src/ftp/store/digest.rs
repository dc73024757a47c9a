//! Digests of files, for HASH and the older checksum commands.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::refusal;
use crate::ftp::checksum::{ChecksumAlgorithm, Digest};
use crate::ftp::session::{DigestRange, StoreAnswer, StoreRefusal};

const BUFFER_BYTES: usize = 128 << 10;

/// The answer to a request for a digest; `send` as [`super::FtpStore::send`].
pub(super) fn answer(
    send: impl Fn(&[u8]) -> Result<(File, u64), StoreRefusal>,
    (of, or): (DigestRange, Option<DigestRange>),
    algorithm: ChecksumAlgorithm,
    go_on: &dyn Fn() -> bool,
) -> Result<StoreAnswer, StoreRefusal> {
    let ((file, size), DigestRange { from, to, .. }) = match (send(&of.path), or) {
        (Err(StoreRefusal::NotFound), Some(or)) => (send(&or.path)?, or),
        (opened, _) => (opened?, of),
    };
    let end = to.map_or(size, |to| to.min(size));
    if from > end {
        return Err(StoreRefusal::BadOffset);
    }
    let digest = self::of(&file, algorithm, from, end, go_on).map_err(refusal)?;
    Ok(StoreAnswer::Digest(digest, end))
}

/// The digest of the bytes from `from` up to `end`, in lower-case hexadecimal.
pub(super) fn of(
    file: &File,
    algorithm: ChecksumAlgorithm,
    from: u64,
    end: u64,
    go_on: &dyn Fn() -> bool,
) -> io::Result<String> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = from;
    let mut state = Digest::new(algorithm);
    while at < end {
        if !go_on() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let wanted = usize::try_from(end - at).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        let read = match file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        state.update(buffer.get(..read).unwrap_or_default());
        at += read as u64;
    }
    Ok(state.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_ranges() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"x123456789y").unwrap();
        assert_eq!(of(&file, ChecksumAlgorithm::Crc32, 1, 10, &|| true).unwrap(), "cbf43926");
        assert_eq!(of(&file, ChecksumAlgorithm::Sha512, 0, 0, &|| true).unwrap().len(), 128);
        assert!(of(&file, ChecksumAlgorithm::Crc32, 0, 12, &|| true).is_err(), "beyond the end");
        assert!(of(&file, ChecksumAlgorithm::Crc32, 0, 11, &|| false).is_err(), "stopped");
    }
}
