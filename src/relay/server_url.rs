//! The server arguments of users as URLs.

use std::borrow::Cow;

use crate::net::literal;
use crate::scope::{ScopedAddress, from_url};

/// Parses a server's URL, or `[USER[:PASSWORD]@]HOST[:PORT]` alone, into a URL and the host with its zone.
///
/// # Errors
/// The reason why the text is invalid, without the password.
pub fn parse(text: &str) -> Result<(url::Url, String), String> {
    let full = with_scheme(text);
    match full.contains("://") {
        true => literal::url(&full),
        false => Err("neither HOST[:PORT] nor a URL".to_owned()),
    }
}

/// A server's URL from `HOST` or `HOST:PORT` alone, possibly after a login: the port determines the protocol (RFC 8314,
/// section 3).
fn with_scheme(text: &str) -> Cow<'_, str> {
    let server = match text.rsplit_once('@') {
        Some((login, server)) if !login.contains('/') && !has_scheme(login) => server,
        Some(_) => return Cow::Borrowed(text),
        None => text,
    };
    let (host, port) = match server.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']')) {
        Some((host, port)) => (host, Some(port)),
        None => (server, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = match bracketed {
        Some(address) => {
            ScopedAddress::parse(address).is_some_and(|address| address.ip.is_ipv6()) || from_url(address).is_some()
        }
        None => {
            let letter = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
            host.chars().all(letter) && host.starts_with(char::is_alphanumeric)
        }
    };
    let port = port.map(str::parse::<u16>);
    match (is_host, port) {
        (false, _) | (_, Some(Err(_))) => Cow::Borrowed(text),
        (true, Some(Ok(465))) => format!("smtps://{text}").into(),
        (true, Some(Ok(587))) => format!("submission://{text}").into(),
        (true, _) => format!("smtp://{text}").into(),
    }
}

/// True if the word before the first colon is a known scheme, not a user's name.
fn has_scheme(login: &str) -> bool {
    let word = login.split(':').next().unwrap_or_default().to_ascii_lowercase();
    login.contains(':')
        && matches!(word.as_str(), "smtp" | "smtps" | "submission" | "submissions" | "lmtp" | "lmtp+unix")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_alone_and_what_is_none() {
        for (text, expected) in [
            ("a.test", "smtp://a.test"),
            ("a.test:465", "smtps://a.test:465"),
            ("[::1]:587", "submission://[::1]:587"),
            ("[fe80::1%lo]:587", "submission://[fe80::1]:587"),
            ("u@a.test:2525", "smtp://u@a.test:2525"),
            ("u@b.test:p@a.test:587", "submission://u%40b.test:p@a.test:587"),
            ("SMTP://a.test", "smtp://a.test"),
            ("a.test:99999", "neither HOST[:PORT] nor a URL"),
            ("a.test:x", "neither HOST[:PORT] nor a URL"),
            ("//a.test", "neither HOST[:PORT] nor a URL"),
            ("smtp:a.test:25", "neither HOST[:PORT] nor a URL"),
            ("smtp:u@a.test", "neither HOST[:PORT] nor a URL"),
            ("::1", "neither HOST[:PORT] nor a URL"),
            ("a b", "neither HOST[:PORT] nor a URL"),
            ("", "neither HOST[:PORT] nor a URL"),
            ("smtp://u:p@[", "invalid IPv6 address"),
        ] {
            let found = parse(text).map_or_else(|why| why, |(url, _)| url.to_string());
            assert_eq!(found, expected, "{text}");
        }
    }
}
