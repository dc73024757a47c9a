//! Reads whole inputs: standard input, and files that an argument or another file names. The limit of the caller holds whatever
//! size the file reports.

use std::fs::{File, OpenOptions};
use std::io::{Error, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::blob::{Blob, file};
use crate::fault::{Fault, Kind};
use crate::net::sys;

/// Standard input, for its only reader in this run. Called before anything is sent or changed.
///
/// # Errors
/// `NoInput` if it is closed, or open for writing only: neither counts as an empty input.
pub fn stdin() -> Result<File, Fault> {
    let stdin = std::io::stdin();
    if !sys::stream_is_open(&stdin, OFlags::WRONLY) {
        return Err(Fault::new(Kind::NoInput, "stdin: closed, or not open for reading"));
    }
    stdin.as_fd().try_clone_to_owned().map(File::from).map_err(|error| Fault::local("stdin", &error))
}

/// Opens a file as [`file::open`] does; `-` is standard input.
///
/// # Errors
/// As [`file::open`] and [`stdin`].
pub fn open(path: &Path) -> Result<Blob, Fault> {
    if path == Path::new("-") { file::read_stream("stdin", stdin()?) } else { file::open(path) }
}

/// Reads the whole content of a file, a pipe or a device that the user names.
///
/// # Errors
/// `BadData` if it is longer than `max_bytes`; its I/O fault if it cannot be read.
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, Fault> {
    let file = File::open(path).map_err(|error| Fault::local(path.display(), &error))?;
    read_from(path, file, max_bytes)
}

/// Reads the whole content of a regular file that another file names. Pipes, which could block, and devices are refused.
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

/// Reads an open file as [`read`] does; `path` is its name in messages.
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
