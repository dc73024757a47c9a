//! The roles of a server's listeners: the dialect, and what clients may do there.

/// The role of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServerRole {
    /// Mail for the server's domains from everyone, and for others from permitted networks and users.
    #[default]
    Smtp,
    /// Mail for the server's domains from everyone; no logins, nothing is relayed.
    Mx,
    /// Mail from users who have logged in, inside STARTTLS (RFC 6409).
    Submission,
    /// The same with TLS from the first byte (RFC 8314, section 3.3).
    Submissions,
    /// As `Smtp`, in the dialect of LMTP (RFC 2033).
    Lmtp,
}

impl ServerRole {
    /// Every role.
    pub const ALL: [ServerRole; 5] =
        [ServerRole::Smtp, ServerRole::Mx, ServerRole::Submission, ServerRole::Submissions, ServerRole::Lmtp];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            ServerRole::Smtp => "smtp",
            ServerRole::Mx => "mx",
            ServerRole::Submission => "submission",
            ServerRole::Submissions => "submissions",
            ServerRole::Lmtp => "lmtp",
        }
    }

    /// The role with this name.
    pub fn from_name(name: &str) -> Option<ServerRole> {
        ServerRole::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// True if mail comes only from users who have logged in inside TLS.
    pub const fn is_submission(self) -> bool {
        matches!(self, ServerRole::Submission | ServerRole::Submissions)
    }

    /// True if users can log in.
    pub const fn has_logins(self) -> bool {
        !matches!(self, ServerRole::Mx)
    }

    /// True if clients of a permitted network may send mail to other domains without a login.
    pub const fn trusts_networks(self) -> bool {
        matches!(self, ServerRole::Smtp | ServerRole::Lmtp)
    }
}
