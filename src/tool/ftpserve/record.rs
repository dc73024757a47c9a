//! What ftpserve tells on stdout: one record for each login, transfer and change.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::cli::output::{OutputRecord, TextLine};

/// Who the client is.
#[derive(Debug, Serialize)]
pub(super) struct ClientMembers<'a> {
    pub(super) ip: String,
    pub(super) port: u16,
    pub(super) user: &'a str,
    pub(super) tls: bool,
}

/// A path: what cannot be said in UTF-8 comes in base64 too.
#[derive(Debug, Serialize)]
pub(super) struct PathMembers {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_base64: Option<String>,
}

impl PathMembers {
    pub(super) fn new(path: &[u8]) -> PathMembers {
        let (text, exact) = lossy(path);
        PathMembers { path: text, path_base64: exact }
    }
}

/// Where something was renamed to.
#[derive(Debug, Serialize)]
pub(super) struct RenamedTo {
    to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_base64: Option<String>,
}

impl RenamedTo {
    pub(super) fn new(path: &[u8]) -> RenamedTo {
        let (text, exact) = lossy(path);
        RenamedTo { to: text, to_base64: exact }
    }
}

fn lossy(path: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(path) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (String::from_utf8_lossy(path).into_owned(), Some(STANDARD.encode(path))),
    }
}

/// A login, good or not.
#[derive(Debug, Serialize)]
pub(super) struct LoginRecord<'a> {
    #[serde(flatten)]
    pub(super) client: ClientMembers<'a>,
    pub(super) accepted: bool,
    /// Why the password was not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
}

impl OutputRecord for LoginRecord<'_> {
    const TYPE: &'static str = "login";

    fn text(&self, line: &mut TextLine) {
        line.field(if self.accepted { "login" } else { "login refused" });
        line.field(self.client.user).field(&self.client.ip);
    }
}

/// A transfer that ended.
#[derive(Debug, Serialize)]
pub(super) struct ServedTransferRecord<'a> {
    #[serde(flatten)]
    pub(super) client: ClientMembers<'a>,
    /// `download`, `upload` or `listing`.
    pub(super) direction: &'static str,
    #[serde(flatten)]
    pub(super) path: PathMembers,
    pub(super) size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resumed_from: Option<u64>,
    pub(super) elapsed_ms: u64,
    pub(super) code: u16,
    pub(super) complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
}

impl OutputRecord for ServedTransferRecord<'_> {
    const TYPE: &'static str = "transfer";

    fn text(&self, line: &mut TextLine) {
        // Listings are the noise of every session; JSON has them.
        if self.direction == "listing" && self.complete {
            return;
        }
        line.field(self.direction).field(&self.path.path).field(self.size_bytes.to_string());
        line.field(self.client.user).field(&self.client.ip).field(self.code.to_string());
        if let Some(detail) = &self.detail {
            line.field(detail);
        }
    }
}

/// A change of the tree by a command.
#[derive(Debug, Serialize)]
pub(super) struct TreeChangeRecord<'a> {
    #[serde(flatten)]
    pub(super) client: ClientMembers<'a>,
    pub(super) verb: &'static str,
    #[serde(flatten)]
    pub(super) path: PathMembers,
    #[serde(flatten)]
    pub(super) to: Option<RenamedTo>,
}

impl OutputRecord for TreeChangeRecord<'_> {
    const TYPE: &'static str = "change";

    fn text(&self, line: &mut TextLine) {
        line.field(self.verb).field(&self.path.path);
        if let Some(to) = &self.to {
            line.field(&to.to);
        }
        line.field(self.client.user).field(&self.client.ip);
    }
}
