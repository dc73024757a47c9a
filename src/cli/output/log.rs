//! The log of servers and of mailq-run: `--log FILE` and `--syslog`. A line of the log is the time, the session (or a dash)
//! and the event, separated by TABs.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::append::AppendedFile;
use super::queue::{Notices, WriteQueue};
use super::severity::Severity;
use super::syslog::{SYSLOG_SOCKET, SyslogSocket, SyslogTarget};
use crate::cli::args::LogArgs;
use crate::fault::Fault;
use crate::net::session_id::SessionId;

/// The requested log: a file, the syslog daemon, or both.
#[derive(Debug, Default)]
pub(super) struct Log {
    app: &'static str,
    file: Option<LogSink>,
    syslog: Option<(SyslogTarget, LogSink)>,
}

/// A target of lines, which are written directly, and queued from [`Log::queue`] on.
struct LogSink {
    direct: Mutex<Option<Box<dyn Write + Send>>>,
    queued: OnceLock<WriteQueue>,
}

impl Log {
    /// Opens the log.
    ///
    /// # Errors
    ///
    /// `CannotCreate` for a file that cannot be opened.
    pub(super) fn open(app: &'static str, args: &LogArgs) -> Result<Log, Fault> {
        let file = args.log.as_deref().map(|path| AppendedFile::open("log", path)).transpose()?;
        let syslog = args.syslog.map(|target| (target, LogSink::new(SyslogSocket::at(SYSLOG_SOCKET))));
        Ok(Log { app, file: file.map(LogSink::new), syslog })
    }

    /// True if text goes to a file instead of stdout.
    pub(super) fn takes_text(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn is_off(&self) -> bool {
        self.file.is_none() && self.syslog.is_none()
    }

    /// Writes one line; `text` is already escaped, and TABs separate its fields.
    pub(super) fn line(&self, at: &str, session: Option<SessionId>, severity: Severity, text: &str) {
        let session = session.map(|id| id.to_string());
        if let Some(file) = &self.file {
            let session = session.as_deref().unwrap_or("-");
            file.write(format!("{at}\t{session}\t{text}\n").as_bytes());
        }
        if let Some((target, sink)) = &self.syslog {
            let message = target.message(self.app, session.as_deref(), severity, text);
            sink.write(format!("{message}\n").as_bytes());
        }
    }

    /// Queues all lines from here on, so that no caller waits for the disk or the daemon.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(super) fn queue(&self, notices: impl Fn(&'static str) -> Notices) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.queue("log", notices("log"))?;
        }
        if let Some((_, sink)) = &self.syslog {
            sink.queue("syslog", notices("syslog"))?;
        }
        Ok(())
    }

    /// Waits until every line is written, but only for a short time.
    pub(super) fn finish(&self) {
        let sinks = self.file.iter().chain(self.syslog.iter().map(|(_, sink)| sink));
        for queue in sinks.filter_map(|sink| sink.queued.get()) {
            queue.finish();
        }
    }
}

/// An additional log in another format, such as the transfer log of wu-ftpd.
#[derive(Debug)]
pub struct FormLog(LogSink);

impl FormLog {
    /// Opens a file for appending, as the log is opened: never through a symbolic link.
    ///
    /// # Errors
    ///
    /// `CannotCreate`.
    pub fn open(what: &str, path: &Path) -> Result<FormLog, Fault> {
        AppendedFile::open(what, path).map(|file| FormLog(LogSink::new(file)))
    }

    /// Appends a line. Callers never wait for the disk once the output is queued ([`super::Output::queue_all`]).
    pub fn line(&self, out: &super::Output, line: &str) {
        if self.0.queued.get().is_none() && out.is_serving() {
            // The format has no line for dropped records; a failed write is reported on stderr.
            let failed = {
                let out = out.clone();
                move |error: io::Error| out.warn(&Fault::local("transfer log", &error).detail)
            };
            let notices = Notices { dropped: Box::new(|_| Vec::new()), failed: Box::new(failed) };
            let _ = self.0.queue("form log", notices);
        }
        self.0.write(format!("{line}\n").as_bytes());
    }
}

impl LogSink {
    fn new(target: impl Write + Send + 'static) -> LogSink {
        LogSink { direct: Mutex::new(Some(Box::new(target))), queued: OnceLock::new() }
    }

    fn write(&self, line: &[u8]) {
        if self.queued.get().is_none() {
            let mut direct = self.direct.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(target) = direct.as_mut() {
                // The failure of a start is also reported on stderr.
                let _ = target.write_all(line);
                return;
            }
        }
        if let Some(queue) = self.queued.get() {
            queue.push(line, false);
        }
    }

    fn queue(&self, name: &str, notices: Notices) -> io::Result<()> {
        // The lock is held until the queue exists, so that a line finds one of the two.
        let mut direct = self.direct.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = direct.take() {
            let _ = self.queued.set(WriteQueue::start(name, target, notices)?);
        }
        Ok(())
    }
}

impl std::fmt::Debug for LogSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogSink")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_syslog_daemon_gets_one_message_per_line_and_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let target = SyslogTarget::parse("mail").unwrap();
        let log = Log { app: "test", file: None, syslog: Some((target, LogSink::new(SyslogSocket::at(&path)))) };
        let heard = |daemon: &UnixDatagram| {
            daemon.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut bytes = [0; 8192];
            let count = daemon.recv(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes[..count]).into_owned()
        };
        log.line("T", None, Severity::Error, "error\tnobody listens yet");
        let daemon = UnixDatagram::bind(&path).unwrap();
        log.line("T", None, Severity::Notice, "login refused\tbob\t192.0.2.1");
        assert!(heard(&daemon).ends_with(": login refused bob 192.0.2.1"));
        drop(daemon);
        std::fs::remove_file(&path).unwrap();
        let daemon = UnixDatagram::bind(&path).unwrap();
        let session = SessionId::next();
        log.line("T", Some(session), Severity::Info, "one line");
        assert!(heard(&daemon).ends_with(&format!("]: {session}: one line")));
    }
}
