//! Digests of files, for HASH and its older relatives.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};

use crate::ftp::session::Algorithm;

const BUFFER_BYTES: usize = 128 << 10;

/// The digest of the bytes from `from` up to `end`, in lower-case hexadecimal.
pub(super) fn of(
    file: &File,
    algorithm: Algorithm,
    from: u64,
    end: u64,
    go_on: &dyn Fn() -> bool,
) -> io::Result<String> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = from;
    let mut state = State::new(algorithm);
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

enum State {
    Crc32(u32),
    Sha(Box<Context>),
}

impl State {
    fn new(algorithm: Algorithm) -> State {
        match algorithm {
            Algorithm::Crc32 => State::Crc32(!0),
            Algorithm::Sha1 => State::Sha(Box::new(Context::new(&SHA1_FOR_LEGACY_USE_ONLY))),
            Algorithm::Sha256 => State::Sha(Box::new(Context::new(&SHA256))),
            Algorithm::Sha512 => State::Sha(Box::new(Context::new(&SHA512))),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            State::Sha(context) => context.update(bytes),
            State::Crc32(crc) => {
                for byte in bytes {
                    let index = usize::from((*crc as u8) ^ byte);
                    *crc = (*crc >> 8) ^ CRC_TABLE.get(index).copied().unwrap_or(0);
                }
            }
        }
    }

    fn finish(self) -> String {
        match self {
            State::Crc32(crc) => format!("{:08x}", !crc),
            State::Sha(context) => context.finish().as_ref().iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }),
        }
    }
}

/// CRC-32 (ISO 3309, polynomial reversed), one byte at a time.
static CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        #[allow(clippy::indexing_slicing, reason = "checked when it is compiled")]
        {
            table[index] = value;
        }
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"x123456789y").unwrap();
        for (algorithm, digest) in [
            (Algorithm::Crc32, "cbf43926"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (Algorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ] {
            assert_eq!(of(&file, algorithm, 1, 10, &|| true).unwrap(), digest);
        }
        assert_eq!(of(&file, Algorithm::Sha512, 0, 0, &|| true).unwrap().len(), 128);
        assert!(of(&file, Algorithm::Crc32, 0, 12, &|| true).is_err(), "beyond the end");
        assert!(of(&file, Algorithm::Crc32, 0, 11, &|| false).is_err(), "stopped");
    }
}
