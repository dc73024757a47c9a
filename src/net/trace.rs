//! The wire trace of `-v`: the dialogue in both directions. Secrets never reach the sink; only this module removes them.

use std::fmt;
use std::sync::Arc;

/// The direction of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceDirection {
    /// From us to the peer.
    Sent,
    /// From the peer to us.
    Received,
    /// Neither: a decision and its reason.
    Note,
}

type TraceSink = dyn Fn(TraceDirection, &[u8]) + Send + Sync;

/// A handle to the trace; cheap to clone, silent by default. The sink escapes its output.
#[derive(Clone, Default)]
pub struct ProtocolTrace(Option<Arc<TraceSink>>);

impl ProtocolTrace {
    /// A trace that hands every line (without its line end) to `sink`.
    pub fn new(sink: impl Fn(TraceDirection, &[u8]) + Send + Sync + 'static) -> ProtocolTrace {
        ProtocolTrace(Some(Arc::new(sink)))
    }

    /// True if there is a sink: lets callers skip work.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The same trace for one of several peers: each line names the peer.
    #[must_use]
    pub fn of(&self, peer: impl fmt::Display) -> ProtocolTrace {
        let Some(sink) = self.0.clone() else { return ProtocolTrace::default() };
        let who = format!("{peer} ");
        ProtocolTrace::new(move |direction, line| sink(direction, &[who.as_bytes(), line].concat()))
    }

    /// A line that was sent.
    pub fn sent(&self, line: &[u8]) {
        self.emit(TraceDirection::Sent, line);
    }

    /// A line that was sent and holds a secret: only `verb` is shown, followed by `***`.
    pub fn sent_secret(&self, verb: &str) {
        if self.is_on() {
            let shown = if verb.is_empty() { "***".to_owned() } else { format!("{verb} ***") };
            self.emit(TraceDirection::Sent, shown.as_bytes());
        }
    }

    /// A line that was received.
    pub fn received(&self, line: &[u8]) {
        self.emit(TraceDirection::Received, line);
    }

    /// A remark: the chosen address, the source of a setting.
    pub fn note(&self, text: &str) {
        self.emit(TraceDirection::Note, text.as_bytes());
    }

    fn emit(&self, direction: TraceDirection, line: &[u8]) {
        if let Some(sink) = &self.0 {
            sink(direction, line);
        }
    }
}

impl fmt::Debug for ProtocolTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "ProtocolTrace(on)" } else { "ProtocolTrace(off)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn secrets_never_reach_the_sink() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let copy = seen.clone();
        let trace = ProtocolTrace::new(move |direction, line| copy.lock().unwrap().push((direction, line.to_vec())));
        trace.sent(b"USER bob");
        trace.sent_secret("PASS");
        trace.sent_secret("");
        trace.received(b"230 in");
        let lines: Vec<String> = seen.lock().unwrap().iter().map(|l| String::from_utf8_lossy(&l.1).into()).collect();
        assert_eq!(lines, ["USER bob", "PASS ***", "***", "230 in"]);
        ProtocolTrace::default().sent(b"nobody listens");
    }
}
