//! Lines on stderr: what every message of the process goes through, before there is an [`super::Output`] and after a panic too.

use std::io::{self, Write};
use std::sync::OnceLock;

use super::queue::{Notices, WriteQueue};
use crate::cli::escape;
use crate::fault::Fault;

/// The queue of a server, for which nobody waits.
static QUEUE: OnceLock<WriteQueue> = OnceLock::new();

/// The only function that writes to stderr. A closed stderr has nobody to tell.
pub(super) fn print(line: &str) {
    let mut whole = line.as_bytes().to_vec();
    whole.push(b'\n');
    match QUEUE.get() {
        Some(queue) => queue.push(&whole),
        None => drop(io::stderr().lock().write_all(&whole)),
    }
}

/// From here on nobody waits for the reader of stderr.
///
/// # Errors
///
/// When the system gives no thread or no descriptor.
pub(super) fn queue(tool: &'static str) -> io::Result<()> {
    let dropped =
        move |lines| format!("{tool}: warning: {lines} lines are missing here: their reader is slow\n").into_bytes();
    let notices = Notices { dropped: Box::new(dropped), failed: Box::new(drop) };
    // Queued once a process.
    let _ = QUEUE.set(WriteQueue::start("messages", io::stderr(), notices)?);
    Ok(())
}

/// Waits until every line left, though not long for a reader that stalls.
pub(super) fn finish() {
    if let Some(queue) = QUEUE.get() {
        queue.finish();
    }
}

/// Prints the fault of a run that has no output yet.
pub fn print_fault(tool: &str, fault: &Fault) {
    print(&format!("{tool}: {}", escape::terminal(&fault.detail)));
}

/// A panic is a bug of ours: one line that says where, and status 70.
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
