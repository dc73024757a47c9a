//! mbox files (RFC 4155, in the mboxrd form): appending and writing; [`spans`] finds and reads the messages.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::fault::{Fault, Kind};

/// The maximum wait for a lock held by another process.
pub const LOCK_WAIT: Duration = Duration::from_secs(10);

pub mod spans;

/// The date format of a `From ` line, for strftime.
pub const DATE: &str = "%a %b %e %H:%M:%S %Y";

const SCAN_BYTES: usize = 256 * 1024;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Appends a message to an mbox, which is created if missing. When this returns, the message is on disk; if it fails,
/// the file is unchanged.
///
/// # Errors
/// [`Kind::Locked`] if another process keeps it locked, [`Kind::CannotCreate`] or [`Kind::Io`] if it cannot be written.
pub fn append(path: &Path, sender: &str, date: &str, content: &mut dyn Read) -> Result<(), Fault> {
    let problem = |error: std::io::Error| {
        let mut fault = Fault::local(path.display(), &error);
        if fault.kind == Kind::NoInput {
            fault.kind = Kind::CannotCreate;
        }
        fault
    };
    let _lock = DotLock::take(path)?;
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(problem)?;
    lock(&file, path)?;
    let before = file.seek(std::io::SeekFrom::End(0)).map_err(problem)?;
    let result = write_message(&mut file, before, sender, date, content).and_then(|()| file.sync_all());
    result.map_err(|error| {
        // A half-written message is removed again.
        let _ = file.set_len(before).and_then(|()| file.sync_all());
        problem(error)
    })
}

fn write_message(
    file: &mut File,
    before: u64,
    sender: &str,
    date: &str,
    content: &mut dyn Read,
) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    let mut out = std::io::BufWriter::with_capacity(SCAN_BYTES, &*file);
    if before > 0 {
        let mut end = [0; 2];
        let tail = file.read_at(&mut end, before.saturating_sub(2))?;
        let tail = end.get(..tail).unwrap_or_default();
        if !tail.ends_with(b"\n") {
            out.write_all(b"\n")?;
        }
        if tail != b"\n\n" {
            out.write_all(b"\n")?;
        }
    }
    write(&mut out, sender, date, content)?;
    out.flush()
}

/// Writes one message in mbox format: its `From ` line, LF line ends, `From ` lines quoted, an empty line.
///
/// # Errors
/// Errors from reading and writing.
pub fn write(out: &mut dyn Write, sender: &str, date: &str, content: &mut dyn Read) -> std::io::Result<()> {
    // White space in the sender would end it, readers take ASCII alone, and an mbox has no word for the null sender.
    let sender: String = sender.chars().map(|letter| if letter.is_ascii_graphic() { letter } else { '-' }).collect();
    let sender = if sender.is_empty() { "MAILER-DAEMON" } else { &sender };
    out.write_all(format!("From {sender} {date}\n").as_bytes())?;
    let mut quoting = Quoting::default();
    let mut buffer = vec![0; SCAN_BYTES];
    let mut piece = Vec::new();
    loop {
        let count = match content.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if count == 0 {
            break;
        }
        quoting.feed(buffer.get(..count).unwrap_or_default(), &mut piece);
        out.write_all(&piece)?;
        piece.clear();
    }
    quoting.finish(&mut piece);
    piece.push(b'\n');
    out.write_all(&piece)
}

/// Converts line ends to LF, and adds `>` before every `From ` and `>From ` line.
#[derive(Default)]
struct Quoting {
    line: Vec<u8>,
    /// The current line is too long to begin with `From `: the rest of it is copied.
    passing: bool,
}

impl Quoting {
    fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some(at) = memchr::memchr(b'\n', bytes) {
            self.line.extend_from_slice(bytes.get(..at).unwrap_or_default());
            self.end_line(out);
            bytes = bytes.get(at + 1..).unwrap_or_default();
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() > SCAN_BYTES {
            self.start_line(out);
            // The last byte may be the CR of a line end.
            let last = self.line.pop();
            out.append(&mut self.line);
            self.line.extend(last);
            self.passing = true;
        }
    }

    fn start_line(&self, out: &mut Vec<u8>) {
        if !self.passing && after_marks(&self.line).starts_with(b"From ") {
            out.push(b'>');
        }
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        self.start_line(out);
        out.extend_from_slice(self.line.strip_suffix(b"\r").unwrap_or(&self.line));
        out.push(b'\n');
        self.line.clear();
        self.passing = false;
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.line.is_empty() || self.passing {
            self.end_line(out);
        }
    }
}

fn after_marks(line: &[u8]) -> &[u8] {
    let marks = line.iter().take_while(|byte| **byte == b'>').count();
    line.get(marks..).unwrap_or_default()
}

/// Waits for the kernel's lock on an open file.
fn lock(file: &File, path: &Path) -> Result<(), Fault> {
    let end = Instant::now() + LOCK_WAIT;
    loop {
        let fcntl = rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive);
        match fcntl {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Fault::local(path.display(), &error.into())),
        }
        if Instant::now() > end {
            return Err(Fault::new(Kind::Locked, format!("{}: locked by another process", path.display())));
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

/// `NAME.lock` beside the file, which older programs check. If it cannot be created for lack of permission, the
/// kernel's lock must suffice.
struct DotLock(Option<PathBuf>);

impl DotLock {
    fn take(path: &Path) -> Result<DotLock, Fault> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let name = PathBuf::from(name);
        let end = Instant::now() + LOCK_WAIT;
        loop {
            match OpenOptions::new().write(true).create_new(true).mode(0o444).open(&name) {
                Ok(mut file) => {
                    let _ = writeln!(file, "{}", std::process::id());
                    return Ok(DotLock(Some(name)));
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(DotLock(None)),
                Err(error) => return Err(Fault::creating(name.display(), &error)),
            }
            if Instant::now() > end {
                return Err(Fault::new(Kind::Locked, format!("{}: locked by {}", path.display(), name.display()))
                    .with_hint("if no other program uses the mailbox, remove the .lock file"));
            }
            std::thread::sleep(LOCK_PAUSE);
        }
    }
}

impl Drop for DotLock {
    fn drop(&mut self) {
        if let Some(name) = &self.0 {
            let _ = std::fs::remove_file(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "Mon Nov 23 05:00:00 2026";

    #[test]
    fn what_is_appended_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("box");
        let bodies = ["A: 1\r\n\r\nFrom x\r\n>From y\r\n", "B: 2\r\n\r\nno end", "C: 3\r\n\r\n\r\n\r\n"];
        for body in bodies {
            append(&path, "a b@c", TIME, &mut body.as_bytes()).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(spans::tests::messages(&bytes), ["A: 1\n\nFrom x\n>From y\n", "B: 2\n\nno end\n", "C: 3\n\n\n\n"]);
        assert!(bytes.starts_with(b"From a-b@c Mon"));
        assert!(!path.with_extension("lock").exists() && !folder.path().join("box.lock").exists());
    }

    proptest::proptest! {
        /// Messages of any content read back in the same number and unchanged, with LF line ends.
        #[test]
        fn what_is_written_reads_back(
            messages in proptest::collection::vec(
                proptest::collection::vec("(From |>From |From|>|-|a@b|Mon Nov 23 05:00:00 2026|A: b|\r\n|\n|\n\n|x)", 0..12),
                0..6,
            ),
        ) {
            let messages: Vec<String> = messages.iter().map(|pieces| pieces.concat()).collect();
            let mut out = Vec::new();
            for message in &messages {
                write(&mut out, "x", TIME, &mut message.as_bytes()).unwrap();
            }
            let with_end = |text: String| if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" };
            let expected: Vec<String> = messages.iter().map(|message| with_end(message.replace("\r\n", "\n"))).collect();
            proptest::prop_assert_eq!(spans::tests::messages(&out), expected);
        }
    }

    #[test]
    fn long_lines_pass_and_keep_their_end() {
        let mut quoting = Quoting::default();
        let mut out = Vec::new();
        let line = format!("From {}\r\nFrom x\r\n", "y".repeat(SCAN_BYTES + 10));
        for piece in line.as_bytes().chunks(1000) {
            quoting.feed(piece, &mut out);
        }
        quoting.finish(&mut out);
        assert!(out == format!(">From {}\n>From x\n", "y".repeat(SCAN_BYTES + 10)).as_bytes());
    }

    #[test]
    fn a_failed_append_leaves_the_file_as_it_was() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(std::io::Error::other("broken"));
                }
                buffer[0] = b'x';
                Ok(1)
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("box");
        append(&path, "", TIME, &mut &b"A: 1\n\nx\n"[..]).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(append(&path, "", TIME, &mut Broken(false)).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
