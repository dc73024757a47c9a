//! The type of secret values, which are never shown.

use std::borrow::Cow;
use std::fmt;

use crate::scope::ScopedAddress;

/// A password, token or passphrase: its `Debug` form is `***`, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T = String>(T);

impl<T> Secret<T> {
    /// Wraps a secret.
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

/// A URL, or a text meant as one, for an error message. The part before the host may be a password, wherever the text is
/// malformed; so may a non-numeric text in the position of the port.
pub fn without_password(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = text.split_at_checked(start).unwrap_or(("", text));
    match rest.rsplit_once('@') {
        Some((login, host)) if login.contains(':') || !login.contains('/') => format!("{scheme}***@{host}"),
        _ => format!("{scheme}{}", without_port(rest)),
    }
}

/// `HOST:PORT/PATH` with a non-numeric port hidden.
fn without_port(rest: &str) -> String {
    let (host, port) = match rest.strip_prefix('[').and_then(|inside| inside.find(']')) {
        Some(end) => rest.split_at_checked(end + 2).unwrap_or((rest, "")),
        None => rest.find(':').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, "")),
    };
    let (port, path) = port.find('/').and_then(|at| port.split_at_checked(at)).unwrap_or((port, ""));
    let number = port.strip_prefix(':').unwrap_or(port).bytes().all(|byte| byte.is_ascii_digit());
    let address = rest.split('/').next().is_some_and(|all| ScopedAddress::parse(all).is_some());
    match number || address || host.contains('/') {
        true => rest.to_owned(),
        false => format!("{host}:***{path}"),
    }
}

/// A user's text that was given for another purpose, such as a file name: as [`without_password`] if it looks like a URL.
pub fn without_url_password(text: &str) -> Cow<'_, str> {
    match text.contains("://") || text.rsplit_once('@').is_some_and(|(login, _)| login.contains(':')) {
        true => without_password(text).into(),
        false => text.into(),
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
            ("h:", "h:"),
            ("ftp://h:21/a:b", "ftp://h:21/a:b"),
            ("ftp://h/a:b", "ftp://h/a:b"),
            ("[::1]:21", "[::1]:21"),
            ("::1", "::1"),
            ("fe80::1%25eth0", "fe80::1%25eth0"),
            ("h:/path", "h:/path"),
            ("ftp://u:pw", "ftp://u:***"),
            ("ftp://u:pw%40h/x", "ftp://u:***/x"),
            ("ftp:/u:pw@h", "***@h"),
            ("ftp://u:p@w@h:x", "ftp://***@h:x"),
        ] {
            assert_eq!(without_password(text), shown);
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let login = crate::net::login::Login::new("bob", "s3cret");
        let step = crate::smtp::auth::server::LoginProof::Password(Secret::new("s3cret".into()));
        for shown in [format!("{login:?}"), format!("{step:?}"), format!("{:?}", Secret::new(b"s3cret"))] {
            assert!(shown.contains("***") && !shown.contains("s3cret") && !shown.contains("115, 51"), "{shown}");
        }
    }
}
