//! The one output module: text or JSON Lines, escaping, whole records in batches, `--report`, closed pipes, the final
//! flush. stdout is data and nothing else; stderr is `tool: what: why`, one line a problem.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::args::OutputArgs;
use crate::cli::escape::{self, Escape};
use crate::cli::exit::{self, Exit};
use crate::cli::progress::{Bars, Progress};
use crate::fault::{Fault, Kind};
use crate::net::trace::{Direction, Trace};

/// A record leaves at the latest after this time.
const MAX_WAIT: Duration = Duration::from_millis(50);
/// A record that comes this long after the last flush leaves at once: nothing more seems to be ready.
const AT_ONCE_AFTER: Duration = Duration::from_millis(4);
/// Buffered records leave when they reach this size, in bytes.
const MAX_BATCH: usize = 64 * 1024;

/// Something that is printed as one line of text or one JSON object.
pub trait OutputRecord: Serialize {
    /// The object's `"type"`.
    const TYPE: &'static str;

    /// Writes the text form; a record that writes nothing prints nothing.
    fn text(&self, line: &mut TextLine);
}

/// One line of text output under construction.
#[derive(Debug)]
pub struct TextLine {
    bytes: Vec<u8>,
    escape: Escape,
    /// True when the line goes to a terminal that shows colours.
    colour: bool,
}

impl TextLine {
    /// Appends a field: a TAB before it unless it is the first, its bytes escaped.
    pub fn field(&mut self, bytes: impl AsRef<[u8]>) -> &mut TextLine {
        if !self.bytes.is_empty() {
            self.bytes.push(b'\t');
        }
        self.escaped(bytes)
    }

    /// Appends a peer's or user's bytes, escaped.
    pub fn escaped(&mut self, bytes: impl AsRef<[u8]>) -> &mut TextLine {
        escape::push(&mut self.bytes, bytes.as_ref(), self.escape);
        self
    }

    /// Appends layout as it is (newlines too). Never a peer's bytes.
    pub fn text(&mut self, layout: &str) -> &mut TextLine {
        self.bytes.extend_from_slice(layout.as_bytes());
        self
    }

    /// True when colours are wanted.
    pub fn colour(&self) -> bool {
        self.colour
    }
}

/// A handle to the tool's output; cheap to clone, usable from every task.
#[derive(Debug, Clone)]
pub struct Output(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tool: &'static str,
    json: bool,
    nul: bool,
    quiet: bool,
    verbose: bool,
    colour: bool,
    escape: Escape,
    records: Mutex<Batch>,
    /// Wakes the flusher when a record was buffered.
    buffered: Condvar,
    reporting: bool,
    serving: AtomicBool,
    bars: Bars,
}

/// Records that were made and did not leave yet.
#[derive(Debug)]
struct Batch {
    sink: Sink,
    bytes: Vec<u8>,
    last_flush: Option<Instant>,
    flusher_runs: bool,
    broken: Option<Broken>,
}

/// Why records cannot leave any more.
#[derive(Debug)]
struct Broken {
    pipe: bool,
    fault: Fault,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        let pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Broken { pipe, fault: Fault { kind: Kind::Io, ..Fault::local("output", &error) } }
    }
}

#[derive(Debug)]
enum Sink {
    Stdout,
    Report(File),
}

impl Batch {
    fn flush(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        self.write(&bytes);
        bytes.clear();
        self.bytes = bytes;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.last_flush = Some(Instant::now());
        if bytes.is_empty() || self.broken.is_some() {
            return;
        }
        let result = match &mut self.sink {
            Sink::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(bytes).and_then(|()| stdout.flush())
            }
            Sink::Report(file) => file.write_all(bytes),
        };
        if let Err(error) = result {
            self.broken = Some(error.into());
        }
    }
}

impl Output {
    /// The output that the arguments ask for; opens the report.
    pub fn new(tool: &'static str, args: &OutputArgs) -> Result<Output, Fault> {
        let sink = match &args.report {
            Some(target) => Sink::Report(open_report(target)?),
            None => Sink::Stdout,
        };
        let terminal = io::stdout().is_terminal();
        let escape = match (args.nul, terminal) {
            (true, _) => Escape::Exact,
            (false, true) => Escape::Terminal,
            (false, false) => Escape::Fields,
        };
        let reporting = args.report.is_some();
        let batch = Batch { sink, bytes: Vec::new(), last_flush: None, flusher_runs: false, broken: None };
        Ok(Output(Arc::new(Inner {
            tool,
            json: args.json || reporting,
            nul: args.nul,
            quiet: args.quiet,
            verbose: args.verbose > 0,
            colour: args.colour(terminal),
            escape,
            records: Mutex::new(batch),
            buffered: Condvar::new(),
            reporting,
            serving: AtomicBool::new(false),
            bars: Bars::default(),
        })))
    }

    /// Prints a record. An error means that nobody can read any more: a one-off tool ends with it.
    pub fn emit<R: OutputRecord>(&self, record: &R) -> Result<(), Fault> {
        let bytes = if self.0.json {
            let mut bytes = json_line(R::TYPE, record)?;
            bytes.push(b'\n');
            bytes
        } else {
            let mut line = TextLine { bytes: Vec::new(), escape: self.0.escape, colour: self.0.colour };
            record.text(&mut line);
            if line.bytes.is_empty() {
                return Ok(());
            }
            line.bytes.push(if self.0.nul { 0 } else { b'\n' });
            line.bytes
        };
        self.write_record(&bytes)
    }

    /// Prints whole records that were rendered elsewhere, in the form of [`Output::json`]. When this returns they have left.
    pub fn emit_rendered(&self, records: &[u8]) -> Result<(), Fault> {
        let mut batch = self.batch();
        batch.flush();
        batch.write(records);
        self.outcome(batch)
    }

    /// Prints a failed item: a JSON object of type `error`, and one line on stderr with its hint. Does not count it:
    /// the caller's tally does.
    pub fn error(&self, target: &str, fault: &Fault) {
        if self.0.json {
            // A closed stdout is noticed by the next record or the final flush.
            let _ = self.emit(&ErrorRecord::new(target, fault));
        }
        self.tell(target, fault);
    }

    /// The line on stderr for a failed item whose record, if any, was printed already.
    pub fn tell(&self, target: &str, fault: &Fault) {
        let target = escape::terminal(target);
        let separator = if target.is_empty() { "" } else { ": " };
        self.message(&format!("{target}{separator}{}", escape::terminal(&fault.detail)), fault.hint);
    }

    /// A warning on stderr; silent with `-q`.
    pub fn warn(&self, text: &str) {
        if !self.0.quiet {
            self.message(&format!("warning: {}", escape::terminal(text)), None);
        }
    }

    /// The warning that something failed for now and is tried again after `wait`; `count` says which time of how many.
    pub fn warn_again(&self, what: &str, why: impl std::fmt::Display, wait: Duration, count: Option<(u32, u32)>) {
        let count = count.map_or(String::new(), |(attempt, most)| format!(" ({attempt}/{most})"));
        self.warn(&format!("{what}: {why}; trying again in {:.1} s{count}", wait.as_secs_f64()));
    }

    /// What the user could do, on stderr; silent with `-q`.
    pub fn hint(&self, text: &str) {
        if !self.0.quiet {
            self.stderr(&format!("hint: {}", escape::terminal(text)));
        }
    }

    /// A remark of `-v`: what was chosen and from where.
    pub fn note(&self, text: &str) {
        if self.0.verbose {
            self.stderr(&format!("* {}", escape::terminal(text)));
        }
    }

    /// The wire trace that `-v` asks for; silent otherwise.
    pub fn trace(&self) -> Trace {
        if !self.0.verbose {
            return Trace::default();
        }
        let out = self.clone();
        Trace::new(move |direction, line| {
            let mark = match direction {
                Direction::Sent => '>',
                Direction::Received => '<',
                Direction::Note => '*',
            };
            out.stderr(&format!("{mark} {}", escape::terminal(line)));
        })
    }

    /// What ends a record of text: a line feed, or NUL with `-0`.
    pub fn record_end(&self) -> u8 {
        if self.0.nul { 0 } else { b'\n' }
    }

    /// True when records are JSON.
    pub fn json(&self) -> bool {
        self.0.json
    }

    /// True when only errors are wanted on stderr.
    pub fn quiet(&self) -> bool {
        self.0.quiet
    }

    /// True with `-v`.
    pub fn verbose(&self) -> bool {
        self.0.verbose
    }

    /// A progress bar, where a terminal's stderr can show one.
    pub fn progress(&self, total: Option<u64>, label: &str) -> Progress {
        let wanted = !self.0.quiet && !self.0.verbose && io::stderr().is_terminal();
        if wanted { self.0.bars.start(&escape::terminal(label), total) } else { Progress::hidden() }
    }

    /// stdout for exact bytes (a payload). Records must then go elsewhere: `--json` without `--report` is an error.
    pub fn payload(&self) -> Result<io::Stdout, Fault> {
        if self.0.json && !self.0.reporting {
            let fault = Fault::new(Kind::Usage, "stdout carries the payload, so records need another place");
            return Err(fault.with_hint("--report FILE or --report fd:3 takes them"));
        }
        Ok(io::stdout())
    }

    /// A server keeps serving when nobody reads its records any more, and says so once.
    pub fn keep_serving(&self) {
        self.0.serving.store(true, Ordering::Relaxed);
    }

    /// An error if records cannot leave any more.
    pub fn check(&self) -> Result<(), Fault> {
        self.outcome(self.batch())
    }

    /// Lets every buffered record leave.
    pub fn flush(&self) -> Result<(), Fault> {
        let mut batch = self.batch();
        batch.flush();
        self.outcome(batch)
    }

    /// Prints why a run failed and returns its exit status.
    pub fn fail(&self, error: &anyhow::Error) -> Exit {
        if self.batch().broken.as_ref().is_some_and(|broken| broken.pipe) {
            return Exit::PIPE;
        }
        let fault = error.chain().find_map(|cause| cause.downcast_ref::<Fault>());
        let detail = format!("{error:#}");
        match fault {
            // A usage error is text on stderr only.
            Some(fault) if fault.kind == Kind::Usage => self.message(&escape::terminal(&detail), fault.hint),
            Some(fault) => self.error("", &Fault { detail, ..fault.clone() }),
            None => self.message(&escape::terminal(&detail), None),
        }
        exit::of_error(error)
    }

    /// The final flush: a status of success does not survive lost output.
    pub fn finish(&self, exit: Exit) -> Exit {
        let mut batch = self.batch();
        batch.flush();
        if batch.broken.is_none()
            && let Err(error) = io::stdout().flush()
        {
            batch.broken = Some(error.into());
        }
        match batch.broken.take() {
            None => exit,
            Some(_) if self.0.serving.load(Ordering::Relaxed) => exit,
            Some(Broken { pipe: true, .. }) => Exit::PIPE,
            Some(Broken { fault, .. }) => {
                drop(batch);
                self.message(&fault.detail, None);
                Exit::from(fault.kind)
            }
        }
    }

    fn write_record(&self, bytes: &[u8]) -> Result<(), Fault> {
        let mut batch = self.batch();
        batch.bytes.extend_from_slice(bytes);
        let quiet_for = batch.last_flush.map(|at| at.elapsed());
        if batch.bytes.len() >= MAX_BATCH || quiet_for.is_none_or(|quiet| quiet >= AT_ONCE_AFTER) {
            batch.flush();
        } else if !batch.flusher_runs {
            batch.flusher_runs = self.start_flusher();
            if !batch.flusher_runs {
                batch.flush();
            }
        } else {
            self.0.buffered.notify_one();
        }
        self.outcome(batch)
    }

    /// A thread that lets buffered records leave in time; it ends with the process.
    fn start_flusher(&self) -> bool {
        let inner = Arc::downgrade(&self.0);
        std::thread::Builder::new().name("flush".to_owned()).spawn(move || flush_in_time(&inner)).is_ok()
    }

    /// What became of the records so far.
    fn outcome(&self, mut batch: MutexGuard<'_, Batch>) -> Result<(), Fault> {
        let Some(broken) = &batch.broken else { return Ok(()) };
        let fault = broken.fault.clone();
        if !self.0.serving.load(Ordering::Relaxed) {
            return Err(fault);
        }
        // Said once: from here on records go nowhere.
        if let Ok(null) = File::options().write(true).open("/dev/null") {
            batch.sink = Sink::Report(null);
            batch.broken = None;
            drop(batch);
            self.warn(&format!("{fault}; serving goes on without records"));
        }
        Ok(())
    }

    fn batch(&self) -> MutexGuard<'_, Batch> {
        self.0.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn message(&self, text: &str, hint: Option<&str>) {
        self.stderr(&format!("{}: {text}", self.0.tool));
        if let Some(hint) = hint {
            self.hint(hint);
        }
    }

    fn stderr(&self, line: &str) {
        self.0.bars.hidden_while(|| print_stderr(line));
    }
}

fn flush_in_time(inner: &Weak<Inner>) {
    while let Some(inner) = inner.upgrade() {
        let batch = inner.records.lock().unwrap_or_else(PoisonError::into_inner);
        if batch.bytes.is_empty() {
            let waited = inner.buffered.wait_timeout(batch, Duration::from_secs(3600));
            drop(waited);
        } else {
            drop(batch);
            std::thread::sleep(MAX_WAIT / 2);
            inner.records.lock().unwrap_or_else(PoisonError::into_inner).flush();
        }
    }
}

/// `{"type":…,"v":1,…}` and the record's own members.
fn json_line<R: Serialize>(record_type: &'static str, record: &R) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    struct Whole<'a, R> {
        r#type: &'static str,
        v: u8,
        #[serde(flatten)]
        record: &'a R,
    }
    serde_json::to_vec(&Whole { r#type: record_type, v: 1, record })
        .map_err(|error| Fault::new(Kind::Internal, format!("JSON: {error}")))
}

/// A failed item.
#[derive(Debug, Serialize)]
struct ErrorRecord<'a> {
    kind: &'static str,
    temporary: bool,
    exit: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enhanced: Option<String>,
    detail: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    target: &'a str,
}

impl<'a> ErrorRecord<'a> {
    fn new(target: &'a str, fault: &'a Fault) -> ErrorRecord<'a> {
        ErrorRecord {
            kind: fault.kind.as_str(),
            temporary: fault.temporary(),
            exit: fault.exit(),
            code: fault.code,
            enhanced: fault.enhanced.map(|code| code.to_string()),
            detail: &fault.detail,
            target,
        }
    }
}

impl OutputRecord for ErrorRecord<'_> {
    const TYPE: &'static str = "error";

    fn text(&self, _: &mut TextLine) {}
}

/// Opens `FILE` (created or emptied) or `fd:N` (an open descriptor of ours).
fn open_report(target: &str) -> Result<File, Fault> {
    let result = match target.strip_prefix("fd:") {
        Some(number) if number.parse::<u16>().is_ok() => File::options().append(true).open(format!("/dev/fd/{number}")),
        Some(_) => return Err(Fault::new(Kind::Usage, format!("--report {target}: no descriptor number"))),
        None => File::create(target),
    };
    result.map_err(|error| Fault { kind: Kind::CannotCreate, ..Fault::local(format!("report {target}"), &error) })
}

/// Prints the fault of a run that has no output yet.
pub fn print_fault(tool: &str, fault: &Fault) {
    print_stderr(&format!("{tool}: {}", escape::terminal(&fault.detail)));
}

/// Prints what clap made of the command line: help and version on stdout, a mistake as one line on stderr.
pub fn print_parse_result(tool: &str, error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        let shown =
            if io::stdout().is_terminal() { error.render().ansi().to_string() } else { error.render().to_string() };
        let mut stdout = io::stdout().lock();
        return match stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Exit::OK,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::PIPE,
            Err(error) => {
                print_fault(tool, &Fault { kind: Kind::Io, ..Fault::local("stdout", &error) });
                Exit::from(Kind::Io)
            }
        };
    }
    let text = error.render().to_string();
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or_default().trim_start_matches("error: ");
    let what: Vec<&str> = first.lines().map(str::trim).collect();
    print_stderr(&format!("{tool}: {}", escape::terminal(what.join(" "))));
    let tip = paragraphs.find_map(|paragraph| paragraph.trim().strip_prefix("tip: "));
    match tip {
        Some(tip) => print_stderr(&format!("hint: {}", escape::terminal(tip))),
        None => print_stderr(&format!("hint: {tool} --help lists the arguments")),
    }
    Exit::from(Kind::Usage)
}

/// A panic is a bug of ours: one line that says where, and status 70.
pub fn hook_panics(tool: &'static str) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
        let payload = panic.payload();
        let literal = payload.downcast_ref::<&str>().copied();
        let text = literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        print_stderr(&format!("{tool}: internal error at {place}: {}", escape::terminal(text)));
        print_stderr("hint: this is a bug in applayer; please report the line above");
    }));
}

/// The only place that writes to stderr. A closed stderr has nobody to tell.
fn print_stderr(line: &str) {
    let mut whole = line.as_bytes().to_vec();
    whole.push(b'\n');
    let _ = io::stderr().lock().write_all(&whole);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Enhanced;

    #[derive(Serialize)]
    struct Sample {
        name: String,
        size_bytes: Option<u64>,
    }

    impl OutputRecord for Sample {
        const TYPE: &'static str = "entry";

        fn text(&self, line: &mut TextLine) {
            line.field(&self.name).field("x");
        }
    }

    fn args(report: &std::path::Path) -> OutputArgs {
        OutputArgs { report: Some(report.to_string_lossy().into_owned()), ..OutputArgs::default() }
    }

    #[test]
    fn records_and_errors_are_json_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report");
        let out = Output::new("test", &args(&path)).unwrap();
        out.emit(&Sample { name: "a\n\u{1b}".into(), size_bytes: Some(3) }).unwrap();
        let fault = Fault::new(Kind::NoUser, "who?").with_code(550).with_enhanced(Some(Enhanced::new(5, 1, 1)));
        out.emit(&ErrorRecord::new("bob@b.test", &fault)).unwrap();
        assert_eq!(out.finish(Exit::OK), Exit::OK);
        let text = std::fs::read_to_string(&path).unwrap();
        let expected = concat!(
            r#"{"type":"entry","v":1,"name":"a\n\u001b","size_bytes":3}"#,
            "\n",
            r#"{"type":"error","v":1,"kind":"no_user","temporary":false,"exit":67,"code":550,"enhanced":"5.1.1","detail":"who?","target":"bob@b.test"}"#,
            "\n"
        );
        assert_eq!(text, expected);
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
    fn text_fields_are_escaped() {
        let mut line = TextLine { bytes: Vec::new(), escape: Escape::Terminal, colour: false };
        Sample { name: "a\tb\u{1b}".into(), size_bytes: None }.text(&mut line);
        assert_eq!(line.bytes, b"a\\tb\\x1b\tx");
    }

    #[test]
    fn the_report_must_be_writable() {
        let missing = OutputArgs { report: Some("/nowhere/x".into()), ..OutputArgs::default() };
        assert_eq!(Output::new("test", &missing).unwrap_err().kind, Kind::CannotCreate);
        let odd = OutputArgs { report: Some("fd:x".into()), ..OutputArgs::default() };
        assert_eq!(Output::new("test", &odd).unwrap_err().kind, Kind::Usage);
    }
}
