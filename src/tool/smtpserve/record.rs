//! The records of smtpserve: one for each login, message, refusal and session.

use std::net::SocketAddr;
use std::time::Instant;

use serde::Serialize;

use crate::cli::colour;
use crate::cli::output::{Output, OutputRecord, SessionSpan, Severity, TextLine};
use crate::net::counters::CountedConnection;
use crate::net::session_id::SessionId;
use crate::smtp::server::{SmtpPeer, SmtpTotals};

/// An accepted message.
#[derive(Debug, Serialize)]
pub(super) struct MessageTaken<'a> {
    pub(super) id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queue_id: Option<String>,
    /// The queue id of the delivery notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) notice_id: Option<String>,
    #[serde(flatten)]
    pub(super) client: ClientRecord<'a>,
    pub(super) sender: &'a str,
    pub(super) recipients: Vec<&'a str>,
    /// The destinations that the recipients alone do not tell.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) deliveries: Vec<DeliveryRecord>,
    /// The Maildir files written.
    pub(super) files: Vec<String>,
    pub(super) size_bytes: u64,
}

/// One destination of a recipient, in the record of the message.
#[derive(Debug, Serialize)]
pub(super) struct DeliveryRecord {
    pub(super) recipient: String,
    /// `mailbox`, `queue`, `command`, `file` or `refused`.
    pub(super) how: &'static str,
    pub(super) to: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) detail: String,
}

/// A refused sender, recipient or message.
#[derive(Debug, Serialize)]
pub(super) struct Refused<'a> {
    /// `sender`, `recipient` or `message`.
    pub(super) what: &'static str,
    #[serde(flatten)]
    pub(super) client: ClientRecord<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sender: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recipient: Option<&'a str>,
    pub(super) code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) enhanced: Option<String>,
    pub(super) reply: String,
}

/// The members that identify the client.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ClientRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<String>,
    /// The role of the listener.
    pub(super) role: &'static str,
    pub(super) helo: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<&'a str>,
    #[serde(skip)]
    pub(super) session: Option<SessionId>,
}

impl<'a> From<&'a SmtpPeer> for ClientRecord<'a> {
    fn from(peer: &'a SmtpPeer) -> ClientRecord<'a> {
        ClientRecord {
            ip: peer.address.map(|address| address.ip().to_canonical().to_string()),
            role: peer.role.as_str(),
            helo: &peer.helo,
            tls: peer.tls.as_deref(),
            user: peer.user.as_deref(),
            session: peer.session,
        }
    }
}

impl ClientRecord<'_> {
    /// Appends the user or a dash, and the address.
    pub(super) fn text(&self, line: &mut TextLine) {
        line.field(self.user.unwrap_or("-")).field(self.ip.as_deref().unwrap_or("-"));
    }
}

/// The end of a session.
#[derive(Debug, Serialize)]
struct SmtpSessionRecord<'a> {
    #[serde(flatten)]
    pub(super) client: ClientRecord<'a>,
    #[serde(flatten)]
    pub(super) span: SessionSpan,
    pub(super) why: &'static str,
    pub(super) messages: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
}

/// A session that emits its record when it ends, for any reason.
pub(super) struct EndingMailSession {
    out: Output,
    pub(super) session: SessionId,
    pub(super) totals: SmtpTotals,
    started: Instant,
    _counted: CountedConnection,
}

impl EndingMailSession {
    pub(super) fn begin(out: Output, address: Option<SocketAddr>) -> EndingMailSession {
        let (session, started) = (SessionId::next(), Instant::now());
        let peer = SmtpPeer { address, session: Some(session), ..SmtpPeer::default() };
        let totals = SmtpTotals { peer, ..SmtpTotals::default() };
        EndingMailSession { out, session, totals, started, _counted: CountedConnection::begin() }
    }
}

impl Drop for EndingMailSession {
    fn drop(&mut self) {
        let totals = &self.totals;
        // A server whose reader went away keeps serving.
        let _ = self.out.emit(&SmtpSessionRecord {
            client: (&totals.peer).into(),
            span: SessionSpan::ending_now(self.started.elapsed()),
            why: if totals.why.is_empty() { "ended" } else { totals.why },
            messages: totals.messages,
            received_bytes: totals.received,
            sent_bytes: totals.sent,
        });
    }
}

impl OutputRecord for MessageTaken<'_> {
    const TYPE: &'static str = "message";

    fn text(&self, line: &mut TextLine) {
        let id = self.queue_id.as_deref().unwrap_or(self.id);
        line.field_in(colour::GOOD, "message").field(id).field(self.size_bytes.to_string());
        line.field(format!("<{}>", self.sender)).field(self.recipients.join(","));
        self.client.text(line);
    }

    fn session(&self) -> Option<SessionId> {
        self.client.session
    }
}

/// A login attempt, successful or not.
#[derive(Debug, Serialize)]
pub(super) struct LoginTried<'a> {
    #[serde(flatten)]
    pub(super) client: ClientRecord<'a>,
    pub(super) accepted: bool,
    /// The reason why the password was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
}

impl OutputRecord for LoginTried<'_> {
    const TYPE: &'static str = "login";

    fn text(&self, line: &mut TextLine) {
        let (colour, word) = if self.accepted { ("", "login") } else { (colour::BAD, "login refused") };
        line.field_in(colour, word);
        self.client.text(line);
    }

    fn session(&self) -> Option<SessionId> {
        self.client.session
    }

    fn severity(&self) -> Severity {
        if self.accepted { Severity::Info } else { Severity::Notice }
    }
}

impl OutputRecord for Refused<'_> {
    const TYPE: &'static str = "refused";

    fn text(&self, line: &mut TextLine) {
        let whom = self.recipient.map(str::to_owned).or(self.sender.map(|sender| format!("<{sender}>")));
        line.field_in(colour::BAD, "refused").field(self.what).field(whom.unwrap_or_else(|| "-".to_owned()));
        self.client.text(line);
        line.field(&self.reply);
    }

    fn session(&self) -> Option<SessionId> {
        self.client.session
    }

    fn severity(&self) -> Severity {
        Severity::Notice
    }
}

impl OutputRecord for SmtpSessionRecord<'_> {
    const TYPE: &'static str = "session";

    fn text(&self, line: &mut TextLine) {
        line.field("session").field(self.why).field(self.received_bytes.to_string()).field(self.sent_bytes.to_string());
        self.client.text(line);
    }

    fn session(&self) -> Option<SessionId> {
        self.client.session
    }
}
