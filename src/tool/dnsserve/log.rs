//! The log of dnsserve: questions, clients and outcomes.

use std::sync::Arc;

use serde::Serialize;

use crate::cli::output::{Output, OutputRecord, SessionSpan, TextLine};
use crate::dns::answer::LoggedQuery;
use crate::dns::message::opcode_name;
use crate::dns::server::{AnswerLog, AskedSession, LoggedAnswer, SessionLog};
use crate::net::session_id::SessionId;

/// Logs each question: as a record with `--json`, as a line with `-v`.
pub(super) fn log(out: &Output) -> Option<Arc<AnswerLog>> {
    if !out.json() && !out.verbose() {
        return None;
    }
    let out = out.clone();
    Some(Arc::new(move |logged: &LoggedAnswer<'_>| {
        let record = QuestionRecord::of(logged);
        if out.json() {
            // A closed stdout is reported once by the output itself; serving goes on.
            let _ = out.emit(&record);
        } else {
            out.note(&record.line());
        }
    }))
}

/// Logs each connection: as a record with `--json`, as a line with `-v` and in the log.
pub(super) fn sessions(out: &Output) -> Option<Arc<SessionLog>> {
    if !out.json() && !out.verbose() && !out.has_log() {
        return None;
    }
    let out = out.clone();
    Some(Arc::new(move |ended: &AskedSession| {
        let _ = out.emit(&ConnectionRecord {
            client: ended.client.to_string(),
            span: SessionSpan::ending_now(ended.elapsed),
            why: ended.why,
            queries: ended.queries,
            received_bytes: ended.received,
            sent_bytes: ended.sent,
            session: ended.session,
        });
    }))
}

/// One connection in the log.
#[derive(Debug, Serialize)]
struct ConnectionRecord {
    client: String,
    #[serde(flatten)]
    span: SessionSpan,
    why: &'static str,
    queries: u64,
    received_bytes: u64,
    sent_bytes: u64,
    #[serde(skip)]
    session: SessionId,
}

impl OutputRecord for ConnectionRecord {
    const TYPE: &'static str = "session";

    fn text(&self, line: &mut TextLine) {
        line.field("session").field(self.why).field(self.queries.to_string());
        line.field(self.received_bytes.to_string()).field(self.sent_bytes.to_string()).field(&self.client);
    }

    fn session(&self) -> Option<SessionId> {
        Some(self.session)
    }
}

/// One question in the log.
#[derive(Debug, Serialize)]
struct QuestionRecord {
    #[serde(skip)]
    session: Option<SessionId>,
    client: String,
    server: String,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qclass: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qtype: Option<String>,
    opcode: &'static str,
    flags: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edns: Option<EdnsMembers>,
    status: String,
    truncated: bool,
    size_bytes: usize,
    complete: bool,
}

#[derive(Debug, Serialize)]
struct EdnsMembers {
    version: u8,
    dnssec_ok: bool,
    udp_size_bytes: u16,
}

impl QuestionRecord {
    fn of(logged: &LoggedAnswer<'_>) -> QuestionRecord {
        let asked = LoggedQuery::read(logged.query);
        let question = asked.question.as_ref();
        QuestionRecord {
            session: logged.asker.session,
            client: logged.asker.client.to_string(),
            server: logged.asker.server.to_string(),
            transport: logged.asker.transport.name(),
            name: question.map(|question| question.name.to_string()),
            qclass: question.map(|question| question.class.to_string()),
            qtype: question.map(|question| question.rtype.to_string()),
            opcode: opcode_name(asked.flags.opcode()),
            flags: asked.flags.names(),
            edns: asked.edns.map(|edns| EdnsMembers {
                version: edns.version,
                dnssec_ok: edns.dnssec_ok,
                udp_size_bytes: edns.udp_size,
            }),
            status: logged.rcode.to_string(),
            truncated: logged.truncated,
            size_bytes: logged.size_bytes,
            complete: logged.complete,
        }
    }

    /// The record as a line of text. A dash stands for an absent value, so that each column keeps its position.
    fn line(&self) -> String {
        let word = |word: &Option<String>| word.as_deref().unwrap_or("-").to_owned();
        let flags = if self.flags.is_empty() { "-".to_owned() } else { self.flags.join(",") };
        let edns = self.edns.as_ref().map_or("-".to_owned(), |edns| {
            let dnssec_ok = if edns.dnssec_ok { ",do" } else { "" };
            format!("edns{},{}{dnssec_ok}", edns.version, edns.udp_size_bytes)
        });
        let asked = [word(&self.name), word(&self.qclass), word(&self.qtype), self.opcode.to_owned(), flags, edns];
        let mut line = format!("{} {} {} {}", self.client, self.server, self.transport, asked.join(" "));
        line.push_str(&format!(" {} {}", self.status, self.size_bytes));
        for (holds, word) in [(self.truncated, " truncated"), (!self.complete, " broken off")] {
            line.push_str(if holds { word } else { "" });
        }
        line
    }
}

impl OutputRecord for QuestionRecord {
    const TYPE: &'static str = "query";

    fn session(&self) -> Option<SessionId> {
        self.session
    }
}
