//! A user name and a password on their way to a peer.

use crate::secret::Secret;

/// What a client proves itself with.
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
