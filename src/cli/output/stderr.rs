//! Lines on stderr: the path of every message of the process, also before there is an [`super::Output`] and after a panic.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use super::queue::{self, Notices, WriteQueue};
use super::severity::Severity;
use crate::cli::{clock, escape, progress};
use crate::fault::Fault;

/// The stderr of a server.
static SERVING: OnceLock<ServingStderr> = OnceLock::new();

struct ServingStderr {
    /// The queue of lines, so that no caller waits for the reader.
    queue: WriteQueue,
    tool: &'static str,
    journal: bool,
}

/// Prints a line; no other function prints lines on stderr. An error of stderr is ignored, since it cannot be reported.
pub(super) fn print(line: &str) {
    let mut whole = line.as_bytes().to_vec();
    whole.push(b'\n');
    match SERVING.get() {
        Some(serving) => serving.queue.push(&whole, false),
        None => drop(progress::above(|| io::stderr().lock().write_all(&whole))),
    }
}

/// The prefix of each line of a server: the time, or the severity if the journal reads stderr. Empty for a one-off tool.
pub(super) fn prefix(severity: Severity) -> String {
    match SERVING.get() {
        Some(serving) if serving.journal => format!("<{}>", severity as u8),
        Some(_) => format!("{} ", clock::stamp()),
        None => String::new(),
    }
}

/// Prints a warning of a thread without an [`super::Output`].
pub(super) fn warn(text: &str) {
    let tool = SERVING.get().map_or("", |serving| serving.tool);
    print(&format!("{}{tool}: warning: {}", prefix(Severity::Warning), escape::terminal(text)));
}

/// Queues all lines from here on, so that no caller waits for the reader of stderr.
///
/// # Errors
///
/// When the system gives no thread or no descriptor.
pub(super) fn queue(tool: &'static str) -> io::Result<()> {
    let dropped = move |lines| {
        let prefix = prefix(Severity::Warning);
        format!("{prefix}{tool}: warning: {lines} lines are missing here: their reader is slow\n").into_bytes()
    };
    let notices = Notices { dropped: Box::new(dropped), failed: Box::new(drop) };
    let queue = WriteQueue::start("messages", Box::new(queue::own(io::stderr())?), notices)?;
    // Queued once per process.
    let _ = SERVING.set(ServingStderr { queue, tool, journal: is_journal(io::stderr()) });
    Ok(())
}

/// True if the journal reads this stream (systemd.exec(5), `JOURNAL_STREAM`): it records the time itself and accepts a severity
/// in angle brackets before each line (sd-daemon(3)).
pub(super) fn is_journal(stream: impl AsFd) -> bool {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let named = named.as_deref().and_then(|text| text.split_once(':'));
    let open = rustix::fs::fstat(stream).ok().map(|stat| (stat.st_dev.to_string(), stat.st_ino.to_string()));
    named.zip(open).is_some_and(|(named, open)| named == (open.0.as_str(), open.1.as_str()))
}

/// Waits until every line is written, but only briefly for a reader that stalls.
pub(super) fn finish() {
    if let Some(serving) = SERVING.get() {
        serving.queue.finish();
    }
}

/// Prints the fault of a run that has no output yet.
pub fn print_fault(tool: &str, fault: &Fault) {
    print(&format!("{tool}: {}", escape::terminal(&fault.detail)));
}

/// Reports a panic, which is a bug, as one line with its location; the status is 70.
pub fn hook_panics(tool: &'static str) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
        let payload = panic.payload();
        let literal = payload.downcast_ref::<&str>().copied();
        let text = literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        print(&format!("{tool}: internal error at {place}: {}", escape::terminal(text)));
        print("hint: this is a bug in applayer; please report the line above");
    }));
}
