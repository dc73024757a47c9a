//! The output module of all tools: text or JSON Lines, escaping, whole records in batches, `--report`, closed pipes, the final
//! flush. stdout carries only data; stderr carries `tool: what: why`, one line per problem.

mod append;
mod log;
mod queue;
mod record;
mod severity;
mod sink;
mod stderr;
mod syslog;
mod usage;

pub use log::FormLog;
pub use record::{OutputRecord, SessionSpan, TextLine};
pub use severity::Severity;
pub use stderr::{hook_panics, print_fault};
pub use syslog::{FACILITIES, SyslogTarget};
pub use usage::{print_data, print_parse_result};

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cli::args::{LogArgs, OutputArgs};
use crate::cli::clock;
use crate::cli::escape::{self, Escape};
use crate::cli::exit::{self, Exit};
use crate::cli::progress::{self, Bar, Measure};
use crate::fault::{Fault, Kind, plain_words};
use crate::net::session_id::SessionId;
use crate::net::trace::{ProtocolTrace, TraceDirection};

use log::Log;
use queue::Notices;
use record::{DroppedRecord, ErrorRecord, RecordForm};
use sink::{BrokenOutput, RecordSink};

/// A handle to the tool's output; cheap to clone, usable from every task.
#[derive(Debug, Clone)]
pub struct Output(Arc<OutputState>);

#[derive(Debug)]
struct OutputState {
    tool: &'static str,
    form: RecordForm,
    /// The number of `-q`.
    quiet: u8,
    verbose: bool,
    reporting: bool,
    records: RecordSink,
    /// Records have a time stamp, in servers and other tools that run for long.
    stamped: bool,
    log: Log,
    /// [`Output::queue_all`] was called.
    serving: AtomicBool,
}

impl Output {
    /// Creates the output that the arguments describe, and opens the report.
    ///
    /// # Errors
    ///
    /// `Usage` or `CannotCreate` if the report cannot be opened.
    pub fn new(tool: &'static str, args: &OutputArgs) -> Result<Output, Fault> {
        Output::logged(tool, args, None)
    }

    /// As [`Output::new`], with a log.
    ///
    /// # Errors
    ///
    /// As [`Output::new`], and `CannotCreate` if the log cannot be opened.
    pub fn logged(tool: &'static str, args: &OutputArgs, log: Option<&LogArgs>) -> Result<Output, Fault> {
        let report = args.report.as_deref().map(append::open_report).transpose()?;
        let terminal = io::stdout().is_terminal();
        let escape = match (args.nul, terminal) {
            (true, _) => Escape::Exact,
            (false, true) => Escape::Terminal,
            (false, false) => Escape::Pipe,
        };
        let reporting = report.is_some();
        let json = args.json || reporting;
        Ok(Output(Arc::new(OutputState {
            tool,
            form: RecordForm { json, nul: args.nul, colour: !args.nul && args.color.is_wanted(terminal), escape },
            quiet: args.quiet,
            verbose: args.verbose > 0,
            reporting,
            records: RecordSink::new(report),
            stamped: log.is_some(),
            log: log.map_or(Ok(Log::default()), |args| Log::open(tool, args))?,
            serving: AtomicBool::new(false),
        })))
    }

    /// Prints a record.
    ///
    /// # Errors
    ///
    /// `Io` if the reader has gone, which ends a one-off tool. A server gets no such error.
    pub fn emit<R: OutputRecord>(&self, record: &R) -> Result<(), Fault> {
        self.emit_with(record, false)
    }

    /// As [`Output::emit`], but a server waits for its reader instead of dropping the record: for what the run is about.
    /// Blocks the thread.
    ///
    /// # Errors
    ///
    /// As [`Output::emit`].
    pub fn emit_patiently<R: OutputRecord>(&self, record: &R) -> Result<(), Fault> {
        self.emit_with(record, true)
    }

    fn emit_with<R: OutputRecord>(&self, record: &R, patient: bool) -> Result<(), Fault> {
        let state = &*self.0;
        let at = state.stamped.then(clock::stamp);
        if let Some(at) = at.as_ref().filter(|_| !state.log.is_off()) {
            let text = RecordForm { json: false, colour: false, escape: Escape::Terminal, ..state.form }.text(record);
            if !text.is_empty() {
                let word = if R::BARE { format!("{}\t", R::TYPE) } else { String::new() };
                let text = String::from_utf8_lossy(&text);
                state.log.line(at, record.session(), record.severity(), &format!("{word}{text}"));
            }
        }
        let for_people = state.quiet == 0 && (state.verbose || state.form.escape == Escape::Terminal);
        let elsewhere = !state.form.json && (!R::BARE && state.log.takes_text() || R::FOR_PEOPLE && !for_people);
        let bytes = if elsewhere { Vec::new() } else { state.form.render(record, at.as_deref())? };
        if bytes.is_empty() {
            return Ok(());
        }
        self.0.records.write(&bytes, patient).map_err(|broken| broken.fault)
    }

    /// Prints whole records that were rendered elsewhere, in the form of [`Output::json`]. A one-off tool has written them on return.
    ///
    /// # Errors
    ///
    /// As [`Output::emit`].
    pub fn emit_rendered(&self, records: &[u8]) -> Result<(), Fault> {
        self.0.records.write_through(records).map_err(|broken| broken.fault)
    }

    /// Sends the records of a one-off tool to a file instead of stdout.
    ///
    /// # Errors
    ///
    /// `Usage` if they go to a report.
    pub fn records_to(&self, file: std::fs::File) -> Result<(), Fault> {
        if self.0.reporting {
            return Err(Fault::new(Kind::Usage, "-o and --report both take the records"));
        }
        self.0.records.redirect(file);
        Ok(())
    }

    /// Prints a failed item: a JSON object of type `error` if records are JSON, and one line on stderr with its hint. The tally
    /// of the caller counts it.
    pub fn error(&self, target: &str, fault: &Fault) {
        self.session_error(None, target, fault);
    }

    /// As [`Output::error`], for a failure in a session.
    pub fn session_error(&self, session: Option<SessionId>, target: &str, fault: &Fault) {
        if self.0.form.json {
            // A closed stdout is noticed by the next record or the final flush.
            let _ = self.emit(&ErrorRecord::new(session, target, fault));
        }
        self.tell(target, fault);
    }

    /// Prints the fault that ended a client's session. Faults of the client, such as a lost connection, are common and only a note of
    /// `-v`; a fault on our side is an error.
    pub fn of_client(&self, session: Option<SessionId>, client: &str, fault: &Fault) {
        match fault.kind {
            Kind::Disconnected | Kind::TimedOut | Kind::Protocol | Kind::TlsUntrusted => {
                self.note(&format!("{client}: {fault}"));
            }
            _ => self.session_error(session, client, fault),
        }
    }

    /// Prints only the line on stderr for a failed item; its record, if any, was printed before.
    pub fn tell(&self, target: &str, fault: &Fault) {
        if self.reader_left() {
            return;
        }
        let target = escape::terminal(target);
        let separator = if target.is_empty() { "" } else { ": " };
        self.message(
            fault.kind,
            &format!("{target}{separator}{}", escape::terminal(&fault.detail)),
            fault.hint.as_deref(),
        );
    }

    /// Prints a warning on stderr; silent with `-q`.
    pub fn warn(&self, text: &str) {
        let text = escape::terminal(text);
        self.say(Severity::Warning, "warning", &text, !self.quiet(), &format!("{}: warning: {text}", self.0.tool));
    }

    /// Warns about a temporary failure that is retried after `wait`; `count` is the attempt and the maximum of attempts.
    pub fn warn_again(&self, what: &str, why: impl std::fmt::Display, wait: Duration, count: Option<(u32, u32)>) {
        let count = count.map_or(String::new(), |(attempt, most)| format!(" ({attempt}/{most})"));
        let why = why.to_string();
        let why = why.trim_end_matches('.');
        self.warn(&format!("{what}: {why}; trying again in {:.1} s{count}", wait.as_secs_f64()));
    }

    /// Prints a hint for the user on stderr; silent with `-q`.
    pub fn hint(&self, text: &str) {
        let text = escape::terminal(text);
        self.say(Severity::Info, "hint", &text, !self.quiet(), &format!("hint: {text}"));
    }

    /// Prints a note of `-v`: a choice and its origin.
    pub fn note(&self, text: &str) {
        if self.0.verbose {
            let text = escape::terminal(text);
            self.say(Severity::Info, "note", &text, true, &format!("* {text}"));
        }
    }

    /// The wire trace of `-v`; silent without it.
    pub fn trace(&self) -> ProtocolTrace {
        if !self.0.verbose {
            return ProtocolTrace::default();
        }
        let out = self.clone();
        ProtocolTrace::new(move |direction, line| {
            let mark = match direction {
                TraceDirection::Sent => '>',
                TraceDirection::Received => '<',
                TraceDirection::Note => '*',
            };
            let line = format!("{mark} {}", escape::terminal(line));
            out.say(Severity::Debug, "dialogue", &line, true, &line);
        })
    }

    /// The byte at the end of a text record: a line feed, or NUL with `-0`.
    pub fn record_end(&self) -> u8 {
        self.0.form.record_end()
    }

    /// True from [`Output::queue_all`] on.
    fn is_serving(&self) -> bool {
        self.0.serving.load(Ordering::Relaxed)
    }

    /// True with `--log` or `--syslog`.
    pub fn has_log(&self) -> bool {
        !self.0.log.is_off()
    }

    /// The tool's name.
    pub fn tool(&self) -> &'static str {
        self.0.tool
    }

    /// True when records are JSON.
    pub fn json(&self) -> bool {
        self.0.form.json
    }

    /// True when only errors are wanted on stderr.
    pub fn quiet(&self) -> bool {
        self.0.quiet > 0
    }

    /// True with `-v`.
    pub fn verbose(&self) -> bool {
        self.0.verbose
    }

    /// A progress bar; hidden with `-q` or `-v`, if stderr cannot show one, or if JSON goes to the same terminal.
    pub fn progress(&self, label: &str, measure: Measure) -> Bar {
        let json_beside = self.0.form.json && !self.0.reporting && io::stdout().is_terminal();
        let wanted = !self.quiet() && !self.0.verbose && !json_beside && progress::is_possible();
        if wanted { Bar::start(label, measure) } else { Bar::hidden() }
    }

    /// Checks stdout before a run that prints, so that a run whose output would be lost does not begin.
    ///
    /// # Errors
    ///
    /// `Io` if records go to stdout and it is closed.
    pub fn will_print(&self) -> Result<(), Fault> {
        if self.0.reporting { Ok(()) } else { self.check_stdout() }
    }

    fn check_stdout(&self) -> Result<(), Fault> {
        let lose = |fault: &Fault| {
            if !self.0.reporting {
                self.0.records.lose(fault)
            }
        };
        sink::check_stdout().inspect_err(lose)
    }

    /// A writer of exact bytes (a payload) to stdout. Records must then go elsewhere.
    ///
    /// # Errors
    ///
    /// `Usage` for `--json` without `--report`; `Io` if stdout is closed; the fault of output that was lost before.
    pub fn payload(&self) -> Result<PayloadWriter, Fault> {
        if self.0.form.json && !self.0.reporting {
            let fault = Fault::new(Kind::Usage, "stdout carries the payload, so records need another place");
            return Err(fault.with_hint("--report FILE or --report fd:3 takes them"));
        }
        self.check_stdout()?;
        // Records that were printed before come first.
        self.0.records.finish().map_err(|broken| broken.fault)?;
        Ok(PayloadWriter(self.clone()))
    }

    /// Queues all output; a server calls it before it serves. From here on no caller waits for the readers of stdout, the
    /// report and stderr: records and lines go through bounded queues, and those without room are counted and dropped.
    /// A reader that has gone is reported once.
    ///
    /// # Errors
    ///
    /// `Io` if the system gives no thread or no descriptor.
    pub fn queue_all(&self) -> Result<(), Fault> {
        let stamped = self.0.stamped;
        let notices = |form: RecordForm, what: &'static str| {
            let out = self.clone();
            let render = move |records| {
                let at = stamped.then(clock::stamp);
                form.render(&DroppedRecord { records }, at.as_deref()).unwrap_or_default()
            };
            let failed = move |error: io::Error| {
                let fault = BrokenOutput::from(error).fault;
                let text = escape::terminal(format!("{what}{fault}; serving goes on without records"));
                // Not written to the log, which may be the failed output.
                out.stderr(Severity::Warning, &format!("{}: warning: {text}", out.0.tool));
            };
            Notices { dropped: Box::new(render), failed: Box::new(failed) }
        };
        let text = RecordForm { json: false, nul: false, ..self.0.form };
        let queued = stderr::queue(self.0.tool)
            .and_then(|()| self.0.records.queue(notices(self.0.form, "")))
            .and_then(|()| self.0.log.queue(|name| notices(text, name)));
        self.0.serving.store(true, Ordering::Relaxed);
        queued.map_err(|error| Fault { kind: Kind::Io, ..Fault::local("starting the output", &error) })
    }

    /// Reopens the log and the report before the next line if they were moved: the effect of HUP after a rotation.
    pub fn reopen(&self) {
        append::reopen_all();
    }

    /// Checks whether records can still be written.
    ///
    /// # Errors
    ///
    /// As [`Output::emit`].
    pub fn check(&self) -> Result<(), Fault> {
        self.0.records.check().map_err(|broken| broken.fault)
    }

    /// Prints why a run failed and returns its exit status.
    pub fn fail(&self, error: &anyhow::Error) -> Exit {
        if self.reader_left() {
            return Exit::PIPE;
        }
        let fault = error.chain().find_map(|cause| cause.downcast_ref::<Fault>());
        // The final flush reports lost output.
        if self.check().is_err_and(|lost| fault == Some(&lost)) {
            return exit::of_error(error);
        }
        let detail = plain_words(&format!("{error:#}"));
        match fault {
            // A usage error is text on stderr only.
            Some(fault) if fault.kind == Kind::Usage => {
                self.message(fault.kind, &escape::terminal(&detail), fault.hint.as_deref())
            }
            Some(fault) => self.error("", &Fault { detail, ..fault.clone() }),
            None => self.message(Kind::Internal, &escape::terminal(&detail), None),
        }
        exit::of_error(error)
    }

    /// The final flush. If the output of a one-off tool is lost, the status of that replaces `exit`. A server waits only briefly
    /// for a reader that stalls.
    pub fn finish(&self, exit: Exit) -> Exit {
        let exit = match self.0.records.finish() {
            Ok(0) => exit,
            Ok(lost) => {
                self.warn(&format!("up to {lost} records were not written: their reader stalls"));
                exit
            }
            Err(BrokenOutput { pipe: true, .. }) => Exit::PIPE,
            Err(BrokenOutput { fault, .. }) => {
                self.message(fault.kind, &fault.detail, None);
                Exit::from(fault.kind)
            }
        };
        self.0.log.finish();
        stderr::finish();
        exit
    }

    /// True if the reader of stdout has gone, which is not reported as a failure.
    fn reader_left(&self) -> bool {
        self.0.records.check().is_err_and(|broken| broken.pipe)
    }

    /// Prints an error. `-q` hides the answer "no", `-qq` also temporary failures.
    fn message(&self, kind: Kind, text: &str, hint: Option<&str>) {
        let wanted = match self.0.quiet {
            0 => true,
            1 => kind != Kind::Negative,
            _ => kind != Kind::Negative && !kind.temporary(),
        };
        self.say(Severity::Error, "error", text, wanted, &format!("{}: {text}", self.0.tool));
        if let Some(hint) = hint {
            self.hint(hint);
        }
    }

    /// Writes a line to the log, and one to stderr if it is `wanted` there.
    fn say(&self, severity: Severity, word: &str, text: &str, wanted: bool, line: &str) {
        if !self.0.log.is_off() {
            self.0.log.line(&clock::stamp(), None, severity, &format!("{word}\t{text}"));
        }
        if wanted {
            self.stderr(severity, line);
        }
    }

    fn stderr(&self, severity: Severity, line: &str) {
        let line = format!("{}{line}", stderr::prefix(severity));
        stderr::print(&line);
    }
}

/// A writer of exact bytes to stdout. A reader that goes away ends the run, as with records.
#[derive(Debug)]
pub struct PayloadWriter(Output);

impl io::Write for PayloadWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).inspect_err(|error| self.0.0.records.note_reader(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().inspect_err(|error| self.0.0.records.note_reader(error))
    }
}

#[cfg(test)]
mod tests {
    use super::record::tests::Sample;
    use super::*;
    use std::time::Instant;

    fn args(report: &std::path::Path) -> OutputArgs {
        OutputArgs { report: Some(report.into()), ..OutputArgs::default() }
    }

    #[test]
    fn a_burst_leaves_in_time_and_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report");
        let out = Output::new("test", &args(&path)).unwrap();
        for number in 0..1000 {
            out.emit(&Sample { name: number.to_string(), size_bytes: None }).unwrap();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::read_to_string(&path).unwrap().lines().count() < 1000 {
            assert!(Instant::now() < deadline, "buffered records never left");
            std::thread::yield_now();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let names: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["name"].as_str().unwrap().to_owned())
            .collect();
        assert!(names.iter().enumerate().all(|(at, name)| *name == at.to_string()));
    }

    #[test]
    fn a_full_disk_is_status_74() {
        let out = Output::new("test", &args(std::path::Path::new("/dev/full"))).unwrap();
        assert!(out.emit(&Sample { name: "x".into(), size_bytes: None }).is_err());
        assert_eq!(out.finish(Exit::OK).code(), 74);
    }

    #[test]
    fn the_report_must_be_writable() {
        let missing = OutputArgs { report: Some("/nowhere/x".into()), ..OutputArgs::default() };
        assert_eq!(Output::new("test", &missing).unwrap_err().kind, Kind::CannotCreate);
        let odd = OutputArgs { report: Some("fd:x".into()), ..OutputArgs::default() };
        assert_eq!(Output::new("test", &odd).unwrap_err().kind, Kind::Usage);
    }
}
