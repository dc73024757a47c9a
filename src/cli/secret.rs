//! Sources of passwords: a file, a command, the terminal. Never an argument.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::cli::escape;
use crate::cli::input;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::secret::{Secret, without_url_password};

/// The longest secret that is read, in bytes: OAuth tokens are long, but not this long.
const MAX_SECRET: u64 = 64 * 1024;

/// The first line of `path`, or of stdin for `-`.
///
/// # Errors
///
/// `Config` if the first line is not a password; the I/O fault of the file.
pub fn from_file(out: &Output, path: &Path) -> Result<Secret, Fault> {
    if path == Path::new("-") {
        // Reads no byte beyond the line: the login at another server takes the next line.
        return first_line(BufReader::with_capacity(1, input::stdin()?), "stdin");
    }
    let failed = |error: std::io::Error| Fault::local(path.display(), &error);
    let file = File::open(path).map_err(failed)?;
    look_at(out, path, &file.metadata().map_err(failed)?)?;
    first_line(BufReader::new(file), &path.to_string_lossy())
}

/// The first line that `command` prints, run by `sh -c`.
///
/// # Errors
///
/// `Config` if the command fails or its first line is not a password.
pub fn from_command(command: &str) -> Result<Secret, Fault> {
    let failed = |why: String| Fault::new(Kind::Config, format!("password command: {why}"));
    let output = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    first_line(output.stdout.as_slice(), "password command")
}

/// Asks for a secret on the terminal, without echo.
///
/// # Errors
///
/// The I/O fault of the terminal.
pub fn from_terminal(prompt: &str) -> Result<Secret, Fault> {
    let ask = || {
        let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
        // Echo is off before the prompt is printed, so that an early answer is not shown.
        let silent = SilentTerminal::begin(terminal.try_clone()?)?;
        terminal.write_all(escape::terminal(prompt).as_bytes())?;
        let mut line = Vec::new();
        for byte in BufReader::new(terminal.take(MAX_SECRET)).bytes() {
            let byte = byte?;
            if byte == silent.interrupt() {
                drop(silent);
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT)?;
                return Err(io::ErrorKind::Interrupted.into());
            }
            line.push(byte);
            if byte == b'\n' {
                break;
            }
        }
        let line = String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData)?;
        match line.is_empty() {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned())),
        }
    };
    ask().map_err(|error: io::Error| Fault::local("terminal", &error))
}

/// A terminal that echoes only the end of the line, until this value is dropped. The interrupt character ends the line instead of the
/// process, which would leave the terminal silent.
struct SilentTerminal {
    terminal: File,
    before: Termios,
}

impl SilentTerminal {
    fn begin(terminal: File) -> io::Result<SilentTerminal> {
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.local_modes.insert(LocalModes::ECHONL);
        silent.special_codes[SpecialCodeIndex::VEOL] = before.special_codes[SpecialCodeIndex::VINTR];
        tcsetattr(&terminal, OptionalActions::Now, &silent)?;
        Ok(SilentTerminal { terminal, before })
    }

    fn interrupt(&self) -> u8 {
        self.before.special_codes[SpecialCodeIndex::VINTR]
    }
}

impl Drop for SilentTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Checks a file of passwords, keys or logins. A file that other users can change is refused; one that they can read causes a
/// warning. Pipes are accepted, and so is a file of root that only its group may read.
///
/// # Errors
///
/// `Config` if another user can change it.
pub fn look_at(out: &Output, path: &Path, file: &Metadata) -> Result<(), Fault> {
    only_ours(path, file)?;
    let (mode, owner) = (file.mode(), file.uid());
    if file.is_file() && (mode & 0o004 != 0 || (mode & 0o040 != 0 && owner != 0)) {
        out.warn(&format!("{}: others can read it; chmod 600 protects it", shown(path)));
    }
    Ok(())
}

/// Refuses a file that any user but root and the current one can change, as ssh(1) does: it decides our identity and our trust.
///
/// # Errors
///
/// `Config` if another user can change it.
pub fn only_ours(path: &Path, file: &Metadata) -> Result<(), Fault> {
    if !file.is_file() {
        return Ok(());
    }
    let (mode, owner, own) = (file.mode(), file.uid(), rustix::process::geteuid().as_raw());
    let fault = |why| Fault::new(Kind::Config, format!("{}: {why}", shown(path)));
    if owner != 0 && owner != own {
        return Err(fault("belongs to another user, who may change it").with_hint("chown changes its owner"));
    }
    if mode & 0o022 != 0 {
        return Err(fault("others may change it").with_hint("chmod 600 restricts it to its owner"));
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    without_url_password(&path.to_string_lossy()).into_owned()
}

/// As [`look_at`], for a file that other code reads; that code reports a missing file.
///
/// # Errors
///
/// As [`look_at`].
pub fn look_at_path(out: &Output, path: &Path) -> Result<(), Fault> {
    std::fs::metadata(path).map_or(Ok(()), |file| look_at(out, path, &file))
}

fn first_line(input: impl BufRead, what: &str) -> Result<Secret, Fault> {
    let mut line = Vec::new();
    input.take(MAX_SECRET + 1).read_until(b'\n', &mut line).map_err(|error| Fault::local(what, &error))?;
    let bad = |why: &str| Fault::new(Kind::Config, format!("{what}: {why}"));
    if line.len() as u64 > MAX_SECRET {
        return Err(bad("the first line is too long for a password"));
    }
    while matches!(line.last(), Some(b'\n' | b'\r')) {
        line.pop();
    }
    if line.is_empty() {
        return Err(bad("no password in the first line"));
    }
    if line.iter().any(|byte| matches!(byte, 0 | b'\r')) {
        return Err(bad("the password holds a control byte"));
    }
    String::from_utf8(line).map(Secret::new).map_err(|_| bad("the password is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts() {
        assert_eq!(first_line(&b"p w\r\nrest"[..], "x").unwrap().expose(), "p w");
        assert_eq!(first_line(&b"last"[..], "x").unwrap().expose(), "last");
        for bad in [&b""[..], b"\nx", b"a\0b\n", b"a\rb\n", b"\xff\n", &vec![b'x'; 70_000]] {
            assert_eq!(first_line(bad, "x").unwrap_err().kind, Kind::Config);
        }
    }

    #[test]
    fn commands_that_fail_are_said() {
        assert_eq!(from_command("printf 's\\n'").unwrap().expose(), "s");
        assert_eq!(from_command("exit 3").unwrap_err().detail, "password command: exit status: 3");
        assert_eq!(
            from_file(&Output::new("test", &Default::default()).unwrap(), Path::new("/nowhere/x")).unwrap_err().kind,
            Kind::NoInput
        );
    }
}
