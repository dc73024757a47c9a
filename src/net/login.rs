//! A user name and a password on their way to a peer.

use std::fmt;

/// What a client proves itself with. Its `Debug` form hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name as it goes over the wire.
    pub user: String,
    /// The password, token or passphrase.
    pub password: String,
}

impl Login {
    /// A login from its two parts.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Login {
        Login { user: user.into(), password: password.into() }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("password", &"***").finish()
    }
}
