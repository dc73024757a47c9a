//! Files to which a server appends records while it runs: whole lines, never through a symbolic link. A file that was moved is
//! reopened before its next line, if [`LOOK_EVERY`] has passed or [`reopen_all`] was called.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::stderr;
use crate::fault::{Fault, Kind, plain};
use crate::secret::without_url_password;

/// The interval of checks whether a path still names the open file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The number of calls of [`reopen_all`].
static REOPENED: AtomicU64 = AtomicU64::new(0);

/// Makes every appended file check its path before its next line, and reopen if it was moved: the effect of HUP after a rotation.
pub(super) fn reopen_all() {
    REOPENED.fetch_add(1, Ordering::Relaxed);
}

/// An open file, and its path unless the caller passed an open descriptor.
#[derive(Debug)]
pub(super) struct AppendedFile {
    file: File,
    path: Option<PathBuf>,
    looked: Instant,
    reopened: u64,
    /// The last byte that was written was not a line feed.
    in_line: bool,
    /// The last write failed.
    failed: bool,
    /// A failure to reopen the file was reported.
    told: bool,
}

impl AppendedFile {
    /// Opens `FILE` for appending. A new file is accessible only to its owner; a symbolic link is not followed.
    ///
    /// # Errors
    ///
    /// `CannotCreate`; `what` is the purpose of the file in the message.
    pub(super) fn open(what: &str, path: &Path) -> Result<AppendedFile, Fault> {
        let file = open_at(path).map_err(|error| {
            let shown = path.to_string_lossy();
            let shown = without_url_password(&shown);
            if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
                let why = format!("{what} {shown}: a symbolic link, which is not followed");
                return Fault::new(Kind::CannotCreate, why).with_hint("name the target of the link");
            }
            Fault::creating(format!("{what} {shown}"), &error)
        })?;
        Ok(AppendedFile { path: Some(path.to_owned()), ..AppendedFile::from(file) })
    }

    /// True for a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.file.is_terminal()
    }

    /// Reopens the file if its path now names another file or none. On failure the old file stays in use.
    fn follow(&mut self) {
        let Some(path) = &self.path else { return };
        let asked = REOPENED.load(Ordering::Relaxed);
        if self.reopened == asked && self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        (self.reopened, self.looked) = (asked, Instant::now());
        let same = |(a, b): (std::fs::Metadata, std::fs::Metadata)| (a.dev(), a.ino()) == (b.dev(), b.ino());
        let moved = !path.symlink_metadata().ok().zip(self.file.metadata().ok()).is_some_and(same);
        if !moved {
            return;
        }
        match open_at(path) {
            Ok(file) => (self.file, self.told, self.in_line) = (file, false, false),
            Err(error) if !self.told => {
                self.told = true;
                let why = plain(&error);
                stderr::warn(&format!("{}: cannot be reopened: {why}", path.display()));
            }
            Err(_) => {}
        }
    }
}

impl From<File> for AppendedFile {
    fn from(file: File) -> AppendedFile {
        let (looked, reopened) = (Instant::now(), REOPENED.load(Ordering::Relaxed));
        AppendedFile { file, path: None, looked, reopened, in_line: false, failed: false, told: false }
    }
}

impl Write for AppendedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.in_line || self.failed {
            self.follow();
        }
        if self.failed && self.in_line {
            // A line that a full disk cut off stays separate from the next one.
            self.file.write_all(b"\n")?;
            (self.in_line, self.failed) = (false, false);
        }
        let written = self.file.write(bytes);
        self.failed = written.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        let written = written?;
        if let Some(last) = bytes.get(..written).and_then(<[u8]>::last) {
            self.in_line = *last != b'\n';
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open_at(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    File::options().append(true).create(true).mode(0o600).custom_flags(flags).open(path)
}

/// Opens `FILE` as [`AppendedFile::open`] does, or `fd:N` (an open descriptor of this process).
///
/// # Errors
///
/// `Usage` if `fd:` is not followed by a number, `CannotCreate` if the file cannot be opened.
pub(super) fn open_report(target: &OsStr) -> Result<AppendedFile, Fault> {
    let text = target.to_str().unwrap_or_default();
    let links = [("/dev/stdout", "1"), ("/dev/stderr", "2")];
    let linked = links.iter().find(|(path, _)| *path == text).map(|(_, number)| *number);
    match text.strip_prefix("fd:").or(text.strip_prefix("/dev/fd/")).or(linked) {
        Some(number) if number.parse::<u16>().is_ok() => {
            let opened = File::options().append(true).open(format!("/dev/fd/{number}"));
            let failed = |error| Fault::creating(format!("report {}", without_url_password(text)), &error);
            opened.map(AppendedFile::from).map_err(failed)
        }
        Some(_) => Err(Fault::new(Kind::Usage, format!("--report {text}: not a descriptor number"))),
        None => AppendedFile::open("report", Path::new(target)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_is_opened_again_between_lines() {
        let directory = tempfile::tempdir().unwrap();
        let [path, old] = ["log", "log.1"].map(|name| directory.path().join(name));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let mut file = AppendedFile::open("log", &path).unwrap();
        file.write_all(b"one\nhal").unwrap();
        std::fs::rename(&path, &old).unwrap();
        reopen_all();
        file.write_all(b"f\n").unwrap();
        assert_eq!((read(&old), path.exists()), ("one\nhalf\n".to_owned(), false), "a line stays whole");
        file.write_all(b"two\n").unwrap();
        assert_eq!((read(&old), read(&path)), ("one\nhalf\n".to_owned(), "two\n".to_owned()));
        std::fs::remove_file(&path).unwrap();
        file.looked -= LOOK_EVERY;
        file.write_all(b"three\n").unwrap();
        assert_eq!(read(&path), "three\n", "it is looked for without being told");
        std::fs::rename(&path, directory.path().join("log.2")).unwrap();
        std::os::unix::fs::symlink(&old, &path).unwrap();
        reopen_all();
        file.write_all(b"four\n").unwrap();
        assert_eq!(read(&directory.path().join("log.2")), "three\nfour\n", "no link is followed, and no line lost");
        let mode = std::os::unix::fs::PermissionsExt::mode(&old.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}
