//! The records of ftpserve on stdout: one for each login, transfer and change.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::cli::colour;
use crate::cli::output::{OutputRecord, SessionSpan, Severity, TextLine};
use crate::ftp::server::FtpPeer;
use crate::net::session_id::SessionId;

/// The members that identify the client.
#[derive(Debug, Serialize)]
pub(super) struct ClientMembers<'a> {
    pub(super) ip: String,
    pub(super) port: u16,
    pub(super) user: &'a str,
    pub(super) tls: bool,
    #[serde(skip)]
    pub(super) session: SessionId,
}

impl<'a> From<&FtpPeer<'a>> for ClientMembers<'a> {
    fn from(who: &FtpPeer<'a>) -> ClientMembers<'a> {
        let FtpPeer { session, address, user, tls } = *who;
        ClientMembers { ip: address.ip().to_string(), port: address.port(), user, tls, session }
    }
}

/// The methods that all records of a session share.
macro_rules! of_session {
    () => {
        fn session(&self) -> Option<SessionId> {
            Some(self.client.session)
        }
    };
}

/// A path as a member with a given name. If it is not UTF-8, a second member has it in base64.
macro_rules! path_members {
    ($($(#[$meta:meta])* $name:ident $member:ident $exact:ident;)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Serialize)]
        pub(super) struct $name {
            $member: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            $exact: Option<String>,
        }

        impl $name {
            pub(super) fn new(path: &[u8]) -> $name {
                let (text, exact) = lossy(path);
                $name { $member: text, $exact: exact }
            }
        }
    )*};
}

path_members! {
    /// Relative to the user's root.
    PathMembers path path_base64;
    /// The new name after a rename.
    RenamedTo to to_base64;
    /// Relative to the served directory.
    BelowMembers served_path served_path_base64;
    /// In the file system.
    FileMembers file file_base64;
}

fn lossy(path: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(path) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (String::from_utf8_lossy(path).into_owned(), Some(STANDARD.encode(path))),
    }
}

/// A login attempt, successful or not.
#[derive(Debug, Serialize)]
pub(super) struct LoginRecord<'a> {
    #[serde(flatten)]
    pub(super) client: ClientMembers<'a>,
    pub(super) accepted: bool,
    /// The reason why the password was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
    /// `certificate` for a login without a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) method: Option<&'static str>,
}

impl OutputRecord for LoginRecord<'_> {
    const TYPE: &'static str = "login";

    fn text(&self, line: &mut TextLine) {
        let (colour, word) = if self.accepted { ("", "login") } else { (colour::BAD, "login refused") };
        line.field_in(colour, word);
        line.field(self.client.user).field(&self.client.ip);
    }

    of_session!();

    fn severity(&self) -> Severity {
        if self.accepted { Severity::Info } else { Severity::Notice }
    }
}

/// A finished transfer.
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
    pub(super) resumed_from_bytes: Option<u64>,
    /// The same value under its old name, for compatibility.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resumed_from: Option<u64>,
    pub(super) elapsed_ms: f64,
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

    of_session!();
}

/// A complete file under its final name.
#[derive(Debug, Serialize)]
pub(super) struct ArrivedRecord<'a> {
    #[serde(flatten)]
    pub(super) client: ClientMembers<'a>,
    #[serde(flatten)]
    pub(super) path: PathMembers,
    /// Its path relative to the served directory.
    #[serde(flatten)]
    pub(super) below: BelowMembers,
    #[serde(flatten)]
    pub(super) file: FileMembers,
    pub(super) size_bytes: u64,
}

impl OutputRecord for ArrivedRecord<'_> {
    const TYPE: &'static str = "arrived";

    fn text(&self, line: &mut TextLine) {
        line.field_in(colour::GOOD, "arrived").field(&self.file.file).field(self.size_bytes.to_string());
        line.field(self.client.user).field(&self.client.ip);
    }

    of_session!();
}

/// The end of a program of `--exec-upload`.
#[derive(Debug, Serialize)]
pub(super) struct ExecRecord<'a> {
    #[serde(flatten)]
    pub(super) client: ClientMembers<'a>,
    #[serde(flatten)]
    pub(super) path: PathMembers,
    #[serde(flatten)]
    pub(super) file: FileMembers,
    pub(super) ok: bool,
    pub(super) why: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit_status: Option<i32>,
    pub(super) elapsed_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    /// The lines that the program wrote to stdout and stderr.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) output: Vec<String>,
}

impl OutputRecord for ExecRecord<'_> {
    const TYPE: &'static str = "exec";

    fn text(&self, line: &mut TextLine) {
        match &self.detail {
            None => line.field("exec"),
            Some(_) => line.field_in(colour::BAD, "exec failed"),
        };
        line.field(&self.file.file).field(self.client.user).field(&self.client.ip);
        line.field(self.detail.as_deref().unwrap_or("exit status 0"));
        for text in &self.output {
            line.field(text);
        }
    }

    of_session!();

    fn severity(&self) -> Severity {
        if self.ok { Severity::Info } else { Severity::Error }
    }
}

/// The end of a session.
#[derive(Debug, Serialize)]
pub(super) struct SessionRecord<'a> {
    #[serde(flatten)]
    pub(super) client: ClientMembers<'a>,
    #[serde(flatten)]
    pub(super) span: SessionSpan,
    pub(super) why: &'static str,
    pub(super) transfers: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
}

impl OutputRecord for SessionRecord<'_> {
    const TYPE: &'static str = "session";

    fn text(&self, line: &mut TextLine) {
        line.field("session").field(self.why).field(self.received_bytes.to_string());
        line.field(self.sent_bytes.to_string()).field(self.client.user).field(&self.client.ip);
    }

    of_session!();
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

    of_session!();
}

/// A change of the tree that the server refused.
#[derive(Debug, Serialize)]
pub(super) struct RefusedChangeRecord<'a> {
    #[serde(flatten)]
    pub(super) change: TreeChangeRecord<'a>,
    pub(super) code: u16,
    pub(super) detail: String,
}

impl OutputRecord for RefusedChangeRecord<'_> {
    const TYPE: &'static str = "refused";

    fn text(&self, line: &mut TextLine) {
        line.field_in(colour::BAD, "refused");
        self.change.text(line);
        line.field(self.code.to_string()).field(&self.detail);
    }

    fn session(&self) -> Option<SessionId> {
        self.change.session()
    }
}
