//! A user name and a password for a peer, and a server's decision about them.

use crate::secret::Secret;

/// The reason in records for a password that was not checked.
const TOO_MANY: &str = "too many failed logins";

/// The credentials of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name as it goes over the wire.
    pub user: String,
    /// The password, token or passphrase.
    pub password: Secret,
    /// The account that some FTP servers request as well (ACCT).
    pub account: Option<Secret>,
}

impl Login {
    /// A login from user name and password.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Login {
        Login { user: user.into(), password: Secret::new(password.into()), account: None }
    }
}

/// The verdict of a server on a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginVerdict<T> {
    /// The password is right.
    Right(T),
    /// The password is wrong, or there is no such user.
    Wrong,
    /// The password is right, but the user is barred: the reason, for the log. The client gets the reply for a wrong password.
    Barred(&'static str),
    /// The password was not checked: too many wrong ones from this address, or for this user.
    TooMany,
}

impl<T> LoginVerdict<T> {
    /// The reason for the log why a login failed, other than a wrong password.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            LoginVerdict::TooMany => Some(TOO_MANY),
            LoginVerdict::Barred(why) => Some(why),
            LoginVerdict::Right(_) | LoginVerdict::Wrong => None,
        }
    }

    /// The same verdict with a converted value.
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> LoginVerdict<U> {
        match self {
            LoginVerdict::Right(user) => LoginVerdict::Right(with(user)),
            LoginVerdict::Wrong => LoginVerdict::Wrong,
            LoginVerdict::Barred(why) => LoginVerdict::Barred(why),
            LoginVerdict::TooMany => LoginVerdict::TooMany,
        }
    }
}
