//! One type for what must not be shown.

use std::fmt;

/// A password, token or passphrase: its `Debug` form is `***`, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T = String>(T);

impl<T> Secret<T> {
    /// Hides this.
    pub fn new(secret: T) -> Secret<T> {
        Secret(secret)
    }

    /// The secret itself, to be sent or checked.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The same, by value.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let login = crate::net::login::Login::new("bob", "s3cret");
        let step =
            crate::smtp::auth::AuthStep::Credentials { user: "bob".into(), password: Secret::new("s3cret".into()) };
        for shown in [format!("{login:?}"), format!("{step:?}"), format!("{:?}", Secret::new(b"s3cret"))] {
            assert!(shown.contains("***") && !shown.contains("s3cret") && !shown.contains("115, 51"), "{shown}");
        }
    }
}
