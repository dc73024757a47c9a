//! Standard input, and files that an argument or another file names, read whole: never more than the caller allows, whatever
//! the file says of its size.

use std::fs::{File, OpenOptions};
use std::io::{Error, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::blob::{Blob, file};
use crate::fault::{Fault, Kind};
use crate::net::sys;

/// Standard input, for the one who reads it in this run. Called before anything is sent or changed.
///
/// # Errors
/// `NoInput` if it is closed, or open for writing only: neither is an input without bytes.
pub fn stdin() -> Result<File, Fault> {
    let stdin = std::io::stdin();
    if !sys::stream_is_open(&stdin, OFlags::WRONLY) {
        return Err(Fault::new(Kind::NoInput, "stdin: closed, or not open for reading"));
    }
    stdin.as_fd().try_clone_to_owned().map(File::from).map_err(|error| Fault::local("stdin", &error))
}

/// As [`file::open`], and `-` is standard input.
///
/// # Errors
/// As [`file::open`] and [`stdin`].
pub fn open(path: &Path) -> Result<Blob, Fault> {
    if path == Path::new("-") { file::read_stream("stdin", stdin()?) } else { file::open(path) }
}

/// The whole of a file, a pipe or a device that the user names.
///
/// # Errors
/// `BadData` if it has more bytes than are allowed; its I/O fault if it cannot be read.
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, Fault> {
    let file = File::open(path).map_err(|error| Fault::local(path.display(), &error))?;
    read_from(path, file, max_bytes)
}

/// The whole content of a regular file that another file names; pipes, which could block, and devices are refused.
///
/// # Errors
/// As [`read`]; `BadData` if it is not a regular file.
pub fn read_regular(path: &Path, max_bytes: u64) -> Result<Vec<u8>, Fault> {
    let failed = |error: Error| Fault::local(path.display(), &error);
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Fault::new(Kind::BadData, format!("{}: not a regular file", path.display())));
    }
    read_from(path, file, max_bytes)
}

/// As [`read`], from an open file.
///
/// # Errors
/// As [`read`].
pub fn read_from(path: &Path, mut source: impl Read, max_bytes: u64) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let limit = max_bytes.saturating_add(1);
    source.by_ref().take(limit).read_to_end(&mut bytes).map_err(|error| Fault::local(path.display(), &error))?;
    if bytes.len() as u64 > max_bytes {
        return Err(Fault::new(Kind::BadData, format!("{}: larger than {max_bytes} bytes", path.display())));
    }
    Ok(bytes)
}
