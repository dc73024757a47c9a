//! What smtpserve tells on stdout. As text only of logins that fail: the mailboxes are its output.

use serde::Serialize;

use crate::cli::output::{OutputRecord, TextLine};

/// A message that was taken.
#[derive(Debug, Serialize)]
pub(super) struct MessageTaken<'a> {
    pub(super) id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queue_id: Option<String>,
    /// The queue's name of the notice of its delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) notice_id: Option<String>,
    #[serde(flatten)]
    pub(super) client: ClientRecord<'a>,
    pub(super) sender: &'a str,
    pub(super) recipients: Vec<&'a str>,
    /// The Maildir files written.
    pub(super) files: Vec<String>,
    pub(super) size_bytes: u64,
}

/// Something that was refused.
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

/// Who the client is.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ClientRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<String>,
    pub(super) helo: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<&'a str>,
}

impl OutputRecord for MessageTaken<'_> {
    const TYPE: &'static str = "message";
}

/// A login, good or not.
#[derive(Debug, Serialize)]
pub(super) struct LoginTried<'a> {
    #[serde(flatten)]
    pub(super) client: ClientRecord<'a>,
    pub(super) accepted: bool,
    /// Why the password was not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
}

impl OutputRecord for LoginTried<'_> {
    const TYPE: &'static str = "login";

    /// For those who watch a log for guesses.
    fn text(&self, line: &mut TextLine) {
        if !self.accepted {
            line.field("login refused").field(self.client.user.unwrap_or_default());
            line.field(self.client.ip.as_deref().unwrap_or_default());
        }
    }
}

impl OutputRecord for Refused<'_> {
    const TYPE: &'static str = "refused";
}
