//! Records and their two forms: one line of text, or one JSON object.

use std::time::Duration;

use serde::Serialize;

use super::severity::Severity;
use crate::cli::colour;
use crate::cli::escape::{self, Escape, SafeJson};
use crate::fault::{Fault, Kind, PeerCode};
use crate::millis::millis;
use crate::net::session_id::SessionId;

/// A record, printed as one line of text or one JSON object.
pub trait OutputRecord: Serialize {
    /// The object's `"type"`.
    const TYPE: &'static str;

    /// True if the record has its own `at` member.
    const OWN_TIME: bool = false;

    /// True if scripts read the text form as it is: no time stamp precedes it.
    const BARE: bool = false;

    /// True if the text form is for people: it goes to the log, and without `-q` to a terminal, or with `-v` to a pipe.
    const FOR_PEOPLE: bool = false;

    /// Writes the text form; a record that writes nothing prints nothing.
    fn text(&self, _line: &mut TextLine) {}

    /// The session of the record.
    fn session(&self) -> Option<SessionId> {
        None
    }

    /// The severity of the record in a log.
    fn severity(&self) -> Severity {
        Severity::Info
    }
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
    /// Appends a field with its bytes escaped, after a TAB unless it is the first.
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

    /// Appends layout unescaped (newlines too). Never for bytes from a peer.
    pub fn text(&mut self, layout: &str) -> &mut TextLine {
        self.bytes.extend_from_slice(layout.as_bytes());
        self
    }

    /// Appends a field as [`TextLine::field`] does, in a colour if colours are wanted.
    pub fn field_in(&mut self, colour: &str, bytes: impl AsRef<[u8]>) -> &mut TextLine {
        if !self.bytes.is_empty() {
            self.bytes.push(b'\t');
        }
        self.painted(colour, |line| {
            line.escaped(bytes);
        })
    }

    /// Appends layout as [`TextLine::text`] does, in a colour if colours are wanted.
    pub fn text_in(&mut self, colour: &str, layout: &str) -> &mut TextLine {
        self.painted(colour, |line| {
            line.text(layout);
        })
    }

    fn painted(&mut self, colour: &str, write: impl FnOnce(&mut TextLine)) -> &mut TextLine {
        let start = self.bytes.len();
        write(self);
        if self.colour && !colour.is_empty() && self.bytes.len() > start {
            let (begin, end) = colour::around(colour);
            self.bytes.splice(start..start, begin.into_bytes());
            self.text(end);
        }
        self
    }

    /// True if colours are wanted.
    pub fn has_colour(&self) -> bool {
        self.colour
    }
}

/// The form in which a run prints its records.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordForm {
    pub(super) json: bool,
    /// Text records end with NUL.
    pub(super) nul: bool,
    pub(super) colour: bool,
    pub(super) escape: Escape,
}

impl RecordForm {
    /// The whole record with its final byte, and with the time stamp if there is one; empty if it has no text form.
    ///
    /// # Errors
    ///
    /// `Internal` if the record cannot be written as JSON.
    pub(super) fn render<R: OutputRecord>(self, record: &R, at: Option<&str>) -> Result<Vec<u8>, Fault> {
        if self.json {
            return json_line(record, at.filter(|_| !R::OWN_TIME));
        }
        let mut bytes = self.text(record);
        if !bytes.is_empty() {
            if let Some(at) = at.filter(|_| !R::BARE) {
                let session = record.session().map_or("-".to_owned(), |id| id.to_string());
                bytes.splice(0..0, format!("{at}\t{session}\t").into_bytes());
            }
            bytes.push(self.record_end());
        }
        Ok(bytes)
    }

    /// The text form alone; empty if there is none.
    pub(super) fn text<R: OutputRecord>(self, record: &R) -> Vec<u8> {
        let mut line = TextLine { bytes: Vec::new(), escape: self.escape, colour: self.colour };
        record.text(&mut line);
        line.bytes
    }

    /// The byte at the end of a text record.
    pub(super) fn record_end(self) -> u8 {
        if self.nul { 0 } else { b'\n' }
    }
}

/// `{"type":…,"v":1,…}` and the record's own members.
fn json_line<R: OutputRecord>(record: &R, at: Option<&str>) -> Result<Vec<u8>, Fault> {
    #[derive(Serialize)]
    struct Whole<'a, R> {
        r#type: &'static str,
        v: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        at: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        #[serde(flatten)]
        record: &'a R,
    }
    let session = record.session().map(|id| id.to_string());
    let mut bytes = Vec::with_capacity(256);
    Whole { r#type: R::TYPE, v: 1, at, session, record }
        .serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, SafeJson))
        .map_err(|error| Fault::new(Kind::Internal, format!("JSON: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A failed item.
#[derive(Debug, Serialize)]
pub(super) struct ErrorRecord<'a> {
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
    #[serde(skip)]
    session: Option<SessionId>,
}

impl<'a> ErrorRecord<'a> {
    pub(super) fn new(session: Option<SessionId>, target: &'a str, fault: &'a Fault) -> ErrorRecord<'a> {
        ErrorRecord {
            session,
            kind: fault.kind.as_str(),
            temporary: fault.temporary(),
            exit: fault.exit(),
            code: fault.code.map(PeerCode::number),
            enhanced: fault.enhanced.map(|code| code.to_string()),
            detail: &fault.detail,
            target,
        }
    }
}

impl OutputRecord for ErrorRecord<'_> {
    const TYPE: &'static str = "error";

    fn session(&self) -> Option<SessionId> {
        self.session
    }
}

/// The start and the duration of a session.
#[derive(Debug, Serialize)]
pub struct SessionSpan {
    started_at: String,
    elapsed_ms: f64,
}

impl SessionSpan {
    /// A session that ends now.
    pub fn ending_now(elapsed: Duration) -> SessionSpan {
        let started = jiff::Timestamp::now() - jiff::SignedDuration::try_from(elapsed).unwrap_or_default();
        SessionSpan { started_at: format!("{started:.3}"), elapsed_ms: millis(elapsed) }
    }
}

/// A note that records are missing here: their reader was too slow, and a server does not wait.
#[derive(Debug, Serialize)]
pub(super) struct DroppedRecord {
    /// The number of missing records.
    pub(super) records: u64,
}

impl OutputRecord for DroppedRecord {
    const TYPE: &'static str = "dropped";

    fn text(&self, line: &mut TextLine) {
        line.field("dropped").field(self.records.to_string());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::fault::Enhanced;

    const JSON: RecordForm = RecordForm { json: true, nul: false, colour: false, escape: Escape::Terminal };

    #[derive(Serialize)]
    pub(in super::super) struct Sample {
        pub(in super::super) name: String,
        pub(in super::super) size_bytes: Option<u64>,
    }

    impl OutputRecord for Sample {
        const TYPE: &'static str = "entry";

        fn text(&self, line: &mut TextLine) {
            line.field(&self.name).field("x");
        }
    }

    #[test]
    fn records_and_errors_are_json_lines() {
        let entry = JSON.render(&Sample { name: "a\n\u{1b}".into(), size_bytes: Some(3) }, None).unwrap();
        assert_eq!(entry, b"{\"type\":\"entry\",\"v\":1,\"name\":\"a\\n\\u001b\",\"size_bytes\":3}\n");
        let fault = Fault::new(Kind::NoUser, "who?")
            .with_code(PeerCode::Reply(550))
            .with_enhanced(Some(Enhanced::new(5, 1, 1)));
        let error =
            String::from_utf8(JSON.render(&ErrorRecord::new(None, "bob@b.test", &fault), None).unwrap()).unwrap();
        let expected = r#"{"type":"error","v":1,"kind":"no_user","temporary":false,"exit":67,"code":550,"enhanced":"5.1.1","detail":"who?","target":"bob@b.test"}"#;
        assert_eq!(error, format!("{expected}\n"));
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let line = |colour: bool| {
            let mut line = TextLine { bytes: Vec::new(), escape: Escape::Terminal, colour };
            line.field_in("31", "a\x1b[0m").field("b").field_in("", "c").text_in("1", "\nd").text_in("1", "");
            String::from_utf8(line.bytes).unwrap()
        };
        assert_eq!(line(false), "a\\x1b[0m\tb\tc\nd");
        assert_eq!(line(true), "\x1b[31ma\\x1b[0m\x1b[0m\tb\tc\x1b[1m\nd\x1b[0m");
    }

    #[test]
    fn text_fields_are_escaped() {
        let text = RecordForm { json: false, ..JSON };
        let sample = Sample { name: "a\tb\u{1b}".into(), size_bytes: None };
        assert_eq!(text.render(&sample, None).unwrap(), b"a\\tb\\x1b\tx\n");
        assert_eq!(RecordForm { nul: true, ..text }.render(&sample, None).unwrap(), b"a\\tb\\x1b\tx\0");
        let fault = Fault::new(Kind::NoUser, "who?");
        assert_eq!(text.render(&ErrorRecord::new(None, "", &fault), None).unwrap(), b"");
    }
}
