//! Writes outcomes as records, one line per question: JSON composed from constant parts, or text. The common answers of
//! bulk runs need no allocation.

use std::collections::HashMap;

use super::Micros;
use super::api::{FinishedQuestion, QueryFailure, QuestionOutcome, ServerLabel};
use super::text::{escape_tail, push_name, push_number, push_rdata};
use super::walk::{self, RecordSpan, ResponseView};
use crate::dns::edns;
use crate::dns::json;
use crate::dns::message::{AnswerMeaning, Flags, Message, Rcode};
use crate::dns::record::json::members;
use crate::dns::record::{Class, Rtype, table};
use crate::dns::template::{FormatPart, Template, TemplateField, member};
use crate::dns::transport::Transport;
use crate::fault::Kind;
use crate::scope::host_of;

/// The format of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordFormat {
    /// JSON Lines.
    Json,
    /// Name, type, status and data, separated by tabs.
    Text,
    /// Name and data, separated by tabs.
    Short,
    /// A user-defined line for each record.
    Format(Template),
}

/// The status of a record, for the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordStatus {
    /// Data.
    Answered,
    /// The name does not exist, or it has no data of this type.
    Negative,
    /// No answer.
    Failed(Kind),
}

/// Writes records.
#[derive(Debug)]
pub struct RecordWriter {
    format: RecordFormat,
    /// The terminator of a record: a line feed, or NUL.
    end: u8,
    servers: Vec<ServerText>,
    /// The JSON array of flag names, by the flags' bits from AA to CD.
    flags: Vec<String>,
    /// Names are written in lower case, since their case was randomized in the query.
    lower: bool,
    /// The input forms of open questions' names that differ from the question, as JSON text.
    inputs: HashMap<u64, Vec<u8>>,
}

#[derive(Debug)]
struct ServerText {
    /// Members of JSON records, for the usual transport and for TCP, if that differs.
    json: [String; 2],
    text: String,
}

impl RecordWriter {
    /// Creates a writer for answers of these servers.
    pub fn new(format: RecordFormat, end: u8, lower: bool, servers: &[ServerLabel]) -> RecordWriter {
        let servers = servers.iter().map(|server| {
            let (address, name) = (server.address, serde_json::Value::from(server.name.as_str()));
            let usual = server.transport;
            let other = if usual == Transport::Udp { Transport::Tcp } else { usual };
            let (ip, port) = (host_of(address), address.port());
            let json = [usual, other].map(|transport| {
                let server = format!("{{\"address\":\"{ip}\",\"port\":{port},\"name\":{name}}}");
                format!("\"server\":{server},\"transport\":\"{}\",", transport.name())
            });
            ServerText { json, text: address.to_string() }
        });
        let flags = (0..128u16).map(|bits| {
            let names = Flags(Flags::QR | bits << 4).names();
            serde_json::Value::from(names).to_string()
        });
        let inputs = HashMap::new();
        RecordWriter { format, end, servers: servers.collect(), flags: flags.collect(), lower, inputs }
    }

    /// Stores the input form of an open question's name, if the record format repeats it.
    pub fn note_input(&mut self, number: u64, input: &[u8]) {
        if self.format == RecordFormat::Json {
            let json = serde_json::Value::from(String::from_utf8_lossy(input)).to_string();
            self.inputs.insert(number, json.get(1..json.len() - 1).unwrap_or_default().as_bytes().to_vec());
        }
    }

    /// Forgets the input form of a question that has its record.
    pub fn forget_input(&mut self, number: u64) {
        self.inputs.remove(&number);
    }

    /// Appends the record of one question.
    pub fn write(&self, done: &FinishedQuestion<'_>, out: &mut Vec<u8>) -> RecordStatus {
        let begin = out.len();
        match done.outcome {
            QuestionOutcome::Answered(walked) => {
                let meaning = walked.meaning(question_type(done.question));
                if meaning == AnswerMeaning::Truncated {
                    return self.failed(done, QueryFailure::Truncated, Some(walked), out);
                }
                let written = match &self.format {
                    RecordFormat::Json => self.json_answer(done, walked, out),
                    RecordFormat::Text => self.line_answer(done, walked, true, out),
                    RecordFormat::Short => self.line_answer(done, walked, false, out),
                    RecordFormat::Format(template) => self.format_answer(done, walked, template, out),
                };
                if written.is_none() {
                    out.truncate(begin);
                    return self.failed(done, QueryFailure::Malformed, None, out);
                }
                match meaning {
                    AnswerMeaning::Data => RecordStatus::Answered,
                    _ => RecordStatus::Negative,
                }
            }
            QuestionOutcome::Failed(failure, walked) => self.failed(done, failure, walked, out),
        }
    }

    fn json_answer(&self, done: &FinishedQuestion<'_>, walked: &ResponseView<'_>, out: &mut Vec<u8>) -> Option<()> {
        out.extend_from_slice(b"{\"type\":\"answer\",\"v\":1,");
        self.json_question(done, out)?;
        out.extend_from_slice(b",\"status\":\"");
        push_rcode(walked.rcode, out);
        out.extend_from_slice(b"\",\"rcode\":");
        push_number(walked.rcode.into(), out);
        out.extend_from_slice(b",\"flags\":");
        let bits = walk::flags(walked.message()) >> 4 & 127;
        out.extend_from_slice(self.flags.get(usize::from(bits)).map_or(b"[]", String::as_bytes));
        out.extend_from_slice(b",\"answers\":[");
        let message = walked.message();
        for (at, place) in walked.answers().enumerate() {
            out.extend_from_slice(if at > 0 { b",{\"name\":\"" } else { b"{\"name\":\"" });
            let begin = out.len();
            push_name(message, place.owner, message.len(), out)?;
            self.lower_tail(begin, out);
            escape_tail(out, begin);
            out.extend_from_slice(b"\",\"rtype\":\"");
            push_type(place.rtype, out);
            out.extend_from_slice(b"\",\"class\":\"");
            push_class(place.class, out);
            out.extend_from_slice(b"\",\"ttl\":");
            push_number(place.seconds().into(), out);
            out.extend_from_slice(b",\"rdata\":\"");
            let begin = out.len();
            push_rdata(message, &place, out);
            escape_tail(out, begin);
            out.extend_from_slice(b"\"}");
        }
        out.push(b']');
        push_edns(walked, out);
        push_ede(walked, out);
        out.push(b',');
        self.json_tail(done, out);
        out.extend_from_slice(b",\"size_bytes\":");
        push_number(message.len() as u64, out);
        out.extend_from_slice(b"}\n");
        Some(())
    }

    /// Appends the question, and the name as the input writes it.
    fn json_question(&self, done: &FinishedQuestion<'_>, out: &mut Vec<u8>) -> Option<()> {
        let question = done.question;
        out.extend_from_slice(b"\"question\":{\"name\":\"");
        let begin = out.len();
        let after = push_name(question, 0, question.len(), out)?;
        self.lower_tail(begin, out);
        escape_tail(out, begin);
        out.extend_from_slice(b"\",\"qtype\":\"");
        push_type(question_type(question), out);
        out.extend_from_slice(b"\",\"qclass\":\"");
        push_class(u16_at(question, after + 2), out);
        out.extend_from_slice(b"\"},\"input\":\"");
        match self.inputs.get(&done.number) {
            Some(input) => out.extend_from_slice(input),
            None => {
                let begin = out.len();
                push_name(question, 0, question.len(), out)?;
                out.pop();
                self.lower_tail(begin, out);
                escape_tail(out, begin);
            }
        }
        out.push(b'"');
        Some(())
    }

    fn server(&self, done: &FinishedQuestion<'_>) -> Option<&ServerText> {
        self.servers.get(usize::from(done.resolver?.0))
    }

    /// Appends server, transport, time and tries.
    fn json_tail(&self, done: &FinishedQuestion<'_>, out: &mut Vec<u8>) {
        if let Some(server) = self.server(done) {
            let [usual, tcp] = &server.json;
            out.extend_from_slice(if done.over_connection { tcp } else { usual }.as_bytes());
        }
        out.extend_from_slice(b"\"elapsed_ms\":");
        push_milliseconds(done.elapsed, out);
        out.extend_from_slice(b",\"sent\":");
        push_number(done.tries.into(), out);
    }

    /// Appends name, type and status (unless short), and the data of each record. Records of a type other than the one
    /// asked for (a CNAME on the way) have their type before them.
    fn line_answer(
        &self,
        done: &FinishedQuestion<'_>,
        walked: &ResponseView<'_>,
        status: bool,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let qtype = self.line_begin(done.question, status, out)?;
        if status {
            if walked.meaning(qtype) == AnswerMeaning::NoData {
                out.extend_from_slice(b"NODATA");
            } else {
                push_rcode(walked.rcode, out);
            }
        }
        for place in walked.answers() {
            out.push(b'\t');
            if place.rtype != qtype {
                push_type(place.rtype, out);
                out.push(b' ');
            }
            push_rdata(walked.message(), &place, out);
        }
        out.push(self.end);
        Some(())
    }

    fn line_begin(&self, question: &[u8], status: bool, out: &mut Vec<u8>) -> Option<u16> {
        let begin = out.len();
        push_name(question, 0, question.len(), out)?;
        self.lower_tail(begin, out);
        let qtype = question_type(question);
        if status {
            out.push(b'\t');
            push_type(qtype, out);
            out.push(b'\t');
        }
        Some(qtype)
    }

    /// Appends the user's line for each record; one with empty fields if there is no record.
    fn format_answer(
        &self,
        done: &FinishedQuestion<'_>,
        walked: &ResponseView<'_>,
        template: &Template,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let mut status = Vec::new();
        push_rcode(walked.rcode, &mut status);
        // The members of the data come from the full decoder.
        let is_member = |part: &FormatPart| matches!(part, FormatPart::Field(TemplateField::Member(_)));
        let wanted = template.parts().iter().any(is_member);
        let decoded = wanted.then(|| Message::parse(walked.message()).ok()).flatten();
        let decoded = |at: usize| decoded.as_ref().and_then(|message| message.answer.get(at));
        for (at, place) in walked.answers().enumerate() {
            let members = decoded(at).and_then(|record| members(record.rtype, &record.rdata));
            self.format_line(done, Some((walked.message(), &place)), members.as_ref(), &status, template, out)?;
        }
        if walked.answer_count() == 0 {
            self.format_line(done, None, None, &status, template, out)?;
        }
        Some(())
    }

    fn format_line(
        &self,
        done: &FinishedQuestion<'_>,
        record: Option<(&[u8], &RecordSpan)>,
        members: Option<&serde_json::Map<String, serde_json::Value>>,
        status: &[u8],
        template: &Template,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        for part in template.parts() {
            let begin = out.len();
            let field = match part {
                FormatPart::Text(text) => {
                    out.extend_from_slice(text.as_bytes());
                    continue;
                }
                FormatPart::Field(field) => field,
            };
            match (field, record) {
                (TemplateField::Qname, _) => {
                    push_name(done.question, 0, done.question.len(), out)?;
                    self.lower_tail(begin, out);
                }
                (TemplateField::Qtype, _) => push_type(question_type(done.question), out),
                (TemplateField::Status, _) => out.extend_from_slice(status),
                (TemplateField::Server, _) => {
                    out.extend_from_slice(self.server(done).map_or("", |server| &server.text).as_bytes());
                }
                (TemplateField::Name, Some((message, place))) => {
                    push_name(message, place.owner, message.len(), out)?;
                    self.lower_tail(begin, out);
                }
                (TemplateField::Ttl, Some((_, place))) => push_number(place.seconds().into(), out),
                (TemplateField::Class, Some((_, place))) => push_class(place.class, out),
                (TemplateField::Rtype, Some((_, place))) => push_type(place.rtype, out),
                (TemplateField::Rdata, Some((message, place))) => push_rdata(message, place, out),
                (TemplateField::Member(name), _) => out.extend_from_slice(member(members, name).as_bytes()),
                (
                    TemplateField::Name
                    | TemplateField::Ttl
                    | TemplateField::Class
                    | TemplateField::Rtype
                    | TemplateField::Rdata,
                    None,
                ) => {}
            }
        }
        out.push(self.end);
        Some(())
    }

    fn failed(
        &self,
        done: &FinishedQuestion<'_>,
        failure: QueryFailure,
        walked: Option<&ResponseView<'_>>,
        out: &mut Vec<u8>,
    ) -> RecordStatus {
        let kind = kind_of(failure);
        match &self.format {
            RecordFormat::Json => {
                push_error_begin(kind, out);
                if let QueryFailure::Rcode(code) = failure {
                    out.extend_from_slice(b",\"code\":");
                    push_number(code.into(), out);
                }
                out.extend_from_slice(b",\"detail\":\"");
                out.extend_from_slice(detail(failure).as_bytes());
                out.extend_from_slice(b"\",\"target\":\"");
                let begin = out.len();
                // The question is our own: it cannot be malformed.
                let _ = push_name(done.question, 0, done.question.len(), out);
                self.lower_tail(begin, out);
                escape_tail(out, begin);
                out.extend_from_slice(b"\",");
                let _ = self.json_question(done, out);
                if let Some(walked) = walked {
                    push_ede(walked, out);
                }
                out.push(b',');
                self.json_tail(done, out);
                out.extend_from_slice(b"}\n");
            }
            RecordFormat::Text | RecordFormat::Short => {
                let status = self.format == RecordFormat::Text;
                let _ = self.line_begin(done.question, status, out);
                // A semicolon begins a comment in zone files: no data looks like this.
                out.extend_from_slice(if status { b"" } else { b"\t;" });
                out.extend_from_slice(word(failure).as_bytes());
                out.push(self.end);
            }
            RecordFormat::Format(template) => {
                let _ = self.format_line(done, None, None, word(failure).as_bytes(), template, out);
            }
        }
        RecordStatus::Failed(kind)
    }

    /// Appends the record of a line without a question: `name` is the part of it that can be shown.
    pub fn bad_line(&self, line: u64, name: &str, why: &str, out: &mut Vec<u8>) {
        match &self.format {
            RecordFormat::Json => {
                push_error_begin(Kind::BadData, out);
                let detail = serde_json::Value::from(format!("line {line}: {why}"));
                let target = serde_json::Value::from(name);
                let rest = format!(",\"detail\":{detail},\"target\":{target},\"line\":{line}}}\n");
                out.extend_from_slice(rest.as_bytes());
            }
            RecordFormat::Text | RecordFormat::Short | RecordFormat::Format(_) => {
                out.extend_from_slice(format!("; line {line}: {why}: {}", name.escape_debug()).as_bytes());
                out.push(self.end);
            }
        }
    }

    /// Appends a record, marked as made by a wildcard.
    pub fn mark_wildcard(&self, record: &[u8], out: &mut Vec<u8>) {
        let (remark, end): (&str, &[u8]) = match self.format {
            RecordFormat::Json => (",\"wildcard\":true", b"}\n"),
            RecordFormat::Text | RecordFormat::Short | RecordFormat::Format(_) => {
                ("\t;wildcard", std::slice::from_ref(&self.end))
            }
        };
        // A format prints several lines for several records.
        for line in
            record.split_inclusive(|byte| *byte == if self.format == RecordFormat::Json { b'\n' } else { self.end })
        {
            out.extend_from_slice(line.strip_suffix(end).unwrap_or(line));
            out.extend_from_slice(remark.as_bytes());
            out.extend_from_slice(end);
        }
    }

    fn lower_tail(&self, begin: usize, out: &mut [u8]) {
        if self.lower
            && let Some(tail) = out.get_mut(begin..)
        {
            tail.make_ascii_lowercase();
        }
    }
}

/// The kind of the failure.
pub fn kind_of(failure: QueryFailure) -> Kind {
    match failure {
        QueryFailure::TimedOut => Kind::TimedOut,
        QueryFailure::Rcode(code) => Rcode(code).failure_kind(),
        QueryFailure::Malformed | QueryFailure::Mismatched => Kind::Protocol,
        QueryFailure::Truncated => Kind::Incomplete,
        QueryFailure::ConnectRefused => Kind::ConnectRefused,
        QueryFailure::Unreachable => Kind::Unreachable,
        QueryFailure::Disconnected => Kind::Disconnected,
        QueryFailure::Unfit(kind) => kind,
    }
}

/// The failure in one word for text records, in the column of NOERROR and NXDOMAIN: the server's code, or the kind in upper case.
fn word(failure: QueryFailure) -> String {
    match failure {
        QueryFailure::TimedOut => "TIMEOUT".to_owned(),
        QueryFailure::Rcode(code) => Rcode(code).to_string(),
        other => kind_of(other).as_str().to_ascii_uppercase(),
    }
}

/// The failure in a few words.
pub fn detail(failure: QueryFailure) -> &'static str {
    match failure {
        QueryFailure::TimedOut => "no answer in time",
        QueryFailure::Rcode(1) => "the servers say FORMERR",
        QueryFailure::Rcode(2) => "the servers say SERVFAIL",
        QueryFailure::Rcode(4) => "the servers say NOTIMP",
        QueryFailure::Rcode(5) => "the servers say REFUSED",
        QueryFailure::Rcode(9) => "the servers say NOTAUTH",
        QueryFailure::Rcode(16) => "the servers say BADVERS",
        QueryFailure::Rcode(_) => "the servers answer with an error",
        QueryFailure::Malformed => "the answer cannot be read",
        QueryFailure::Mismatched => "only answers to other questions came",
        QueryFailure::Truncated => "the answer was truncated",
        QueryFailure::ConnectRefused => "nothing listens there",
        QueryFailure::Unreachable => "no way to the server",
        QueryFailure::Disconnected => "the connection ended",
        QueryFailure::Unfit(_) => "the connection is not as it should be",
    }
}

fn push_error_begin(kind: Kind, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"error\",\"v\":1,\"kind\":\"");
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(b"\",\"temporary\":");
    out.extend_from_slice(if kind.temporary() { b"true" } else { b"false" });
    out.extend_from_slice(b",\"exit\":");
    push_number(kind.exit().into(), out);
}

/// Appends the server's EDNS options (NSID, subnet, cookie …), if there are any: they are rare enough for the full decoder.
fn push_edns(walked: &ResponseView<'_>, out: &mut Vec<u8>) {
    if walked.options
        && let Ok(message) = Message::parse(walked.message())
        && let Some(edns) = &message.edns
    {
        out.extend_from_slice(format!(",\"edns\":{}", json::edns(edns)).as_bytes());
    }
}

fn push_ede(walked: &ResponseView<'_>, out: &mut Vec<u8>) {
    let Some((code, text)) = walked.ede() else { return };
    let mut value = serde_json::Map::new();
    value.insert("code".to_owned(), code.into());
    if let Some(meaning) = edns::extended_error(code) {
        value.insert("meaning".to_owned(), meaning.into());
    }
    let text = edns::printable(text);
    if !text.is_empty() {
        value.insert("text".to_owned(), text.into());
    }
    out.extend_from_slice(format!(",\"ede\":[{}]", serde_json::Value::Object(value)).as_bytes());
}

fn push_rcode(rcode: u16, out: &mut Vec<u8>) {
    match rcode {
        0 => out.extend_from_slice(b"NOERROR"),
        3 => out.extend_from_slice(b"NXDOMAIN"),
        other => out.extend_from_slice(Rcode(other).to_string().as_bytes()),
    }
}

fn push_type(rtype: u16, out: &mut Vec<u8>) {
    match rtype {
        1 => out.push(b'A'),
        _ => match table::row(Rtype(rtype)) {
            Some(row) => out.extend_from_slice(row.name.as_bytes()),
            None => {
                out.extend_from_slice(b"TYPE");
                push_number(rtype.into(), out);
            }
        },
    }
}

fn push_class(class: u16, out: &mut Vec<u8>) {
    match class {
        1 => out.extend_from_slice(b"IN"),
        other => out.extend_from_slice(Class(other).to_string().as_bytes()),
    }
}

/// Appends microseconds as milliseconds with three decimals.
fn push_milliseconds(micros: Micros, out: &mut Vec<u8>) {
    push_number(micros / 1000, out);
    let rest = (micros % 1000) as u16;
    out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10 % 10), digit(rest % 10)]);
}

fn digit(number: u16) -> u8 {
    b'0' + number as u8
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |pair| u16::from_be_bytes(*pair))
}

/// The type of a question, which precedes the class at its end.
fn question_type(question: &[u8]) -> u16 {
    u16_at(question, question.len().saturating_sub(4))
}

#[cfg(test)]
mod tests;
