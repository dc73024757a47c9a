//! `--exec-upload`: runs a program for each file that has arrived.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::Access;
use tokio::sync::watch;

use super::record::{ClientMembers, ExecRecord, FileMembers, PathMembers};
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::ftp::server::FtpPeer;
use crate::ftp::store::ArrivedFile;
use crate::millis::millis;
use crate::net::program::{ProgramCommand, ProgramEnd, ProgramHelper, ProgramResult};
use crate::net::session_id::SessionId;

/// The programs that run at once.
const AT_ONCE: usize = 4;
/// The files that may wait for their turn; for more no program is run.
const MAX_WAITING: usize = 1000;
/// The most lines of a program's output in a record.
const MAX_LINES: usize = 100;
/// The variables that a program gets.
const VARIABLES: &[&str] =
    &["UPLOAD_FILE", "UPLOAD_PATH", "UPLOAD_SIZE", "UPLOAD_USER", "UPLOAD_ADDRESS", "UPLOAD_SESSION"];

/// The command of the command line, checked.
///
/// # Errors
/// [`Kind::Usage`] for an open quote or no word; [`Kind::Config`] if there is no such program.
pub(super) fn command(text: &str, limit: Duration) -> Result<ProgramCommand, Fault> {
    let words = words(text).ok_or_else(|| Fault::new(Kind::Usage, "--exec-upload: a quote is not closed"))?;
    let Some((program, rest)) = words.split_first() else {
        return Err(Fault::new(Kind::Usage, "--exec-upload: no command"));
    };
    let found = find(program).ok_or_else(|| {
        let fault = Fault::new(Kind::Config, format!("--exec-upload: {program}: no such program"));
        fault.with_hint("the words of CMD are a program and its arguments; no shell reads them")
    })?;
    let words = std::iter::once(found.into_os_string()).chain(rest.iter().map(OsString::from)).collect();
    Ok(ProgramCommand { words, variables: VARIABLES, limit })
}

/// The path of a program: absolute, since the directory that it is started in may differ.
fn find(program: &str) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return std::path::absolute(program).ok().filter(is_program);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(is_program)
}

/// The words of a command: blanks separate them, single and double quotes and backslashes keep them together as in a shell.
/// Nothing is expanded. `None` if a quote is not closed.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (letter, Some(open)) if letter == open => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().push(letters.next()?),
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// The files that wait for their program, and the threads that run it.
pub(super) struct UploadHook {
    helper: ProgramHelper,
    waiting: Mutex<VecDeque<WaitingFile>>,
    more: Condvar,
    /// Files that wait, and programs that run.
    open: watch::Sender<usize>,
    out: Output,
}

/// A file that has arrived, and its client.
struct WaitingFile {
    session: SessionId,
    address: SocketAddr,
    user: String,
    tls: bool,
    path: Vec<u8>,
    file: ArrivedFile,
}

impl UploadHook {
    pub(super) fn new(helper: ProgramHelper, out: &Output) -> Arc<UploadHook> {
        let (waiting, more, open) = (Mutex::default(), Condvar::new(), watch::Sender::new(0));
        Arc::new(UploadHook { helper, waiting, more, open, out: out.clone() })
    }

    /// Starts the threads that wait for files.
    ///
    /// # Errors
    /// The kinds of [`Fault::local`] if the system gives no thread.
    pub(super) fn begin(self: &Arc<Self>) -> Result<(), Fault> {
        for _ in 0..AT_ONCE {
            let hook = self.clone();
            let thread = std::thread::Builder::new().name("exec-upload".to_owned());
            thread.spawn(move || hook.serve()).map_err(|error| Fault::local("threads of --exec-upload", &error))?;
        }
        Ok(())
    }

    /// Adds a file. Returns at once.
    pub(super) fn arrived(&self, who: &FtpPeer<'_>, path: &[u8], file: &ArrivedFile) {
        let FtpPeer { session, address, user, tls } = *who;
        let file =
            WaitingFile { session, address, user: user.to_owned(), tls, path: path.to_owned(), file: file.clone() };
        let mut waiting = self.waiting();
        if waiting.len() >= MAX_WAITING {
            drop(waiting);
            return self.tell(&file, Duration::ZERO, "crowded", Some("too many files wait for their program"), None);
        }
        self.open.send_modify(|open| *open += 1);
        waiting.push_back(file);
        self.more.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<WaitingFile>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        loop {
            let empty = self.more.wait_while(self.waiting(), |waiting| waiting.is_empty());
            let Some(file) = empty.unwrap_or_else(PoisonError::into_inner).pop_front() else { continue };
            self.run(&file);
            self.open.send_modify(|open| *open -= 1);
        }
    }

    fn run(&self, file: &WaitingFile) {
        let (path, size) = (file.file.file.as_os_str().as_bytes(), file.file.size.to_string());
        let (address, session) = (file.address.ip().to_string(), file.session.to_string());
        let values = [path, &file.path, size.as_bytes(), file.user.as_bytes(), address.as_bytes(), session.as_bytes()];
        let began = Instant::now();
        let result = self.helper.run(path, &values);
        let elapsed = began.elapsed();
        match &result {
            Ok(ended) => {
                let (why, detail) = match ended.end {
                    ProgramEnd::Exit(0) => ("exit", None),
                    ProgramEnd::Exit(status) => ("exit", Some(format!("exit status {status}"))),
                    ProgramEnd::Signal(signal) => ("signal", Some(format!("ended by signal {signal}"))),
                    ProgramEnd::Limit => ("limit", Some("killed at its time limit".to_owned())),
                };
                self.tell(file, elapsed, why, detail.as_deref(), Some(ended));
            }
            Err(fault) => self.tell(file, elapsed, "start", Some(&fault.detail), None),
        }
    }

    fn tell(
        &self,
        file: &WaitingFile,
        elapsed: Duration,
        why: &'static str,
        detail: Option<&str>,
        ended: Option<&ProgramResult>,
    ) {
        let WaitingFile { session, address, user, tls, .. } = file;
        let who = FtpPeer { session: *session, address: *address, user, tls: *tls };
        let lines = |output: &[u8]| {
            let text = String::from_utf8_lossy(output).into_owned();
            text.lines().take(MAX_LINES).map(str::to_owned).collect()
        };
        // A reader that left is reported by the output itself.
        let _ = self.out.emit(&ExecRecord {
            client: ClientMembers::from(&who),
            path: PathMembers::new(&file.path),
            file: FileMembers::new(file.file.file.as_os_str().as_bytes()),
            ok: detail.is_none(),
            why,
            exit_status: ended.and_then(|ended| match ended.end {
                ProgramEnd::Exit(status) => Some(status),
                ProgramEnd::Signal(_) | ProgramEnd::Limit => None,
            }),
            elapsed_ms: millis(elapsed),
            detail: detail.map(str::to_owned),
            output: ended.map_or_else(Vec::new, |ended| lines(&ended.output)),
        });
    }

    /// Files that wait, and programs that run.
    pub(super) fn open(&self) -> u64 {
        *self.open.borrow() as u64
    }

    /// Returns when no file waits and no program runs.
    pub(super) async fn drained(&self) {
        // `self` holds the sender, so the channel cannot close.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }

    /// Reports the files whose program is not run, since the server ends. Programs that run go on until their limit.
    pub(super) fn abandon(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        for file in &waiting {
            self.tell(file, Duration::ZERO, "shutdown", Some("the server ended first"), None);
        }
        let running = self.open.borrow().saturating_sub(waiting.len());
        if running > 0 {
            self.out.warn(&format!("--exec-upload: programs that still run: {running}"));
        }
    }
}

/// True if the program lies in the served directory.
pub(super) fn is_below(program: &ProgramCommand, tree: &Path) -> bool {
    let (program, tree) = (program.words.first().map(Path::new), tree.canonicalize());
    let program = program.and_then(|program| program.canonicalize().ok());
    program.zip(tree.ok()).is_some_and(|(program, tree)| program.starts_with(tree))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_commands() {
        for (text, expected) in [
            ("scan", &["scan"][..]),
            ("  scan  --to 'a b' \"c d\"e\\ f ", &["scan", "--to", "a b", "c de f"]),
            ("x '' \"\" \\'", &["x", "", "", "'"]),
            ("x '\\' \"\\\"$HOME\"", &["x", "\\", "\"$HOME"]),
            ("", &[]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        for open in ["'", "x \"a", "x\\"] {
            assert_eq!(words(open), None, "{open}");
        }
    }

    #[test]
    fn programs_are_found_at_the_start() {
        let limit = Duration::from_secs(1);
        assert_eq!(command("sh -c x", limit).unwrap().words.last(), Some(&"x".into()));
        assert!(command("sh -c x", limit).unwrap().words.first().is_some_and(|path| Path::new(path).is_absolute()));
        for (bad, kind) in [
            ("", Kind::Usage),
            ("'x", Kind::Usage),
            ("no-such-program-at-all x", Kind::Config),
            ("/etc/passwd", Kind::Config),
            ("/etc", Kind::Config),
        ] {
            assert_eq!(command(bad, limit).unwrap_err().kind, kind, "{bad}");
        }
    }
}
