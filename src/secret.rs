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

/// A URL, or what was meant as one, for an error text: what stands before its host may be a password.
pub fn without_password(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = text.split_at_checked(start).unwrap_or(("", text));
    let Some((login, host)) = rest.rsplit_once('@') else { return text.to_owned() };
    match login.contains(':') || !login.contains('/') {
        true => format!("{scheme}***@{host}"),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_in_a_url_that_is_shown() {
        for (text, shown) in [
            ("smtp://u:pw@[", "smtp://***@["),
            ("u:pw@h:99999", "***@h:99999"),
            ("smtp//u:pw@h", "***@h"),
            ("ftp://u:p/w@h/", "ftp://***@h/"),
            ("ftp://u@h/", "ftp://***@h/"),
            ("ftp://h/a@b", "ftp://h/a@b"),
            ("h:21", "h:21"),
        ] {
            assert_eq!(without_password(text), shown);
        }
    }

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
