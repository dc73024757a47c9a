//! A user name and a password for a peer, and a server's decision about them.

use crate::secret::Secret;

/// Why a password was not looked at, in records.
const TOO_MANY: &str = "too many failed logins";

/// The credentials of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name as it goes over the wire.
    pub user: String,
    /// The password, token or passphrase.
    pub password: Secret,
    /// What some FTP servers want besides (ACCT).
    pub account: Option<Secret>,
}

impl Login {
    /// A login from its two parts.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Login {
        Login { user: user.into(), password: Secret::new(password.into()), account: None }
    }
}

/// What became of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginVerdict<T> {
    /// It is the user's.
    Right(T),
    /// It is not, or there is no such user.
    Wrong,
    /// It is, but the user is not served: why, for the log. The client hears what it hears of a wrong password.
    Barred(&'static str),
    /// It was not looked at: there were too many wrong ones from this address, or for this user.
    TooMany,
}

impl<T> LoginVerdict<T> {
    /// Why a login failed that was no wrong password, for the log.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            LoginVerdict::TooMany => Some(TOO_MANY),
            LoginVerdict::Barred(why) => Some(why),
            LoginVerdict::Right(_) | LoginVerdict::Wrong => None,
        }
    }

    /// The same verdict about something else.
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> LoginVerdict<U> {
        match self {
            LoginVerdict::Right(user) => LoginVerdict::Right(with(user)),
            LoginVerdict::Wrong => LoginVerdict::Wrong,
            LoginVerdict::Barred(why) => LoginVerdict::Barred(why),
            LoginVerdict::TooMany => LoginVerdict::TooMany,
        }
    }
}
