//! What users write for a server where a URL is wanted.

use std::borrow::Cow;

/// A server's URL from what may be `HOST` or `HOST:PORT` alone, a user before them or not: the port says what is spoken
/// there (RFC 8314, section 3).
pub fn with_scheme(text: &str) -> Cow<'_, str> {
    if text.contains('/') {
        return Cow::Borrowed(text);
    }
    let server = text.rsplit_once('@').map_or(text, |(_, server)| server);
    let (host, port) = match server.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']')) {
        Some((host, port)) => (host, Some(port)),
        None => (server, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
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
