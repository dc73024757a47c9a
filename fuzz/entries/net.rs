//! Entry points of the ground, `net` and `cli` that read a stranger's bytes: one line each, `(name, function)`.

use applayer::cli::system_users::{ShadowLine, compose_login, parse_login};
use applayer::cli::users::Users;
use applayer::line::{Ends, LineError, Splitter};
use applayer::net::certificate::{CertificateFacts, rfc3339};
use applayer::net::certified::login_names;

/// Every entry: used by the fuzz targets and by the replay of the committed corpus.
pub const ENTRIES: &[(&str, fn(&[u8]))] = &[
    ("certificate", certificate),
    ("line_split", line_split),
    ("login_request", login_request),
    ("proxied_client", proxied_client),
    ("proxy_answer", proxy_answer),
    ("shadow_line", shadow_line),
    ("terminal_escape", terminal_escape),
];

/// A PROXY header is whole or refused, and what follows it does not matter.
fn proxied_client(data: &[u8]) {
    if let Ok((client, length)) = applayer::net::proxied::parse(data) {
        assert!(length >= 16 && length <= data.len());
        assert_eq!(applayer::net::proxied::parse(&data[..length]), Ok((client, length)));
        assert!(applayer::net::proxied::parse(&data[..length - 1]).is_err());
    }
}

/// A request that is read is one that would be written.
fn login_request(data: &[u8]) {
    if let Some((name, password)) = parse_login(data) {
        assert_eq!(compose_login(name, password).as_deref(), Some(data));
    }
}

/// A line of shadow(5) is one user or none, and lets nobody in who has no hash.
fn shadow_line(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines: Vec<_> = text.lines().filter_map(ShadowLine::parse).collect();
    let users = Users::of_hashes(lines.iter().map(|line| (line.name, line.hash)));
    assert!(users.all().count() <= lines.len() && lines.iter().all(|line| !line.name.is_empty()));
    let open = lines.iter().filter(|line| line.hash.is_empty()).find(|line| users.named(line.name).is_some());
    assert!(open.is_none_or(|open| lines.iter().any(|line| line.name == open.name && !line.hash.is_empty())));
}

const LIMIT: usize = 32;

fn lines(ends: Ends, pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, LineError>> {
    let mut splitter = Splitter::new(ends, LIMIT);
    let mut found = Vec::new();
    for piece in pieces {
        splitter.push(piece);
        loop {
            match splitter.next_line() {
                Ok(Some(line)) => found.push(Ok(line.to_vec())),
                Ok(None) => break,
                Err(error) => found.push(Err(error)),
            }
        }
    }
    found
}

/// However the bytes arrive, the lines are the same, bounded, and strict ones hold no bare line end.
fn line_split(data: &[u8]) {
    for ends in [Ends::Strict, Ends::Lenient] {
        let whole = lines(ends, &[data]);
        let bytes: Vec<&[u8]> = data.chunks(1).collect();
        assert_eq!(lines(ends, &bytes), whole);
        for line in whole.iter().flatten() {
            assert!(line.len() <= LIMIT && !line.contains(&b'\n'));
            assert!(ends == Ends::Lenient || !line.contains(&b'\r'));
        }
    }
}

/// Whatever a server shows as a certificate, little is kept of it, and its times are times.
fn certificate(data: &[u8]) {
    let facts = CertificateFacts::read(data);
    let texts = facts.names.iter().chain([&facts.subject, &facts.issuer, &facts.key_type, &facts.signature_algorithm]);
    assert!(facts.names.len() <= 1000 && texts.clone().all(|text| text.len() <= 8192));
    assert!(facts.serial.len() <= 128);
    for time in [facts.not_before, facts.not_after].into_iter().flatten() {
        assert!(rfc3339(time).is_some());
    }
    // A name that logs a user in is one that the certificate shows.
    let whole = !facts.key_type.is_empty();
    for name in login_names(data).into_iter().flatten().filter(|_| whole) {
        let shown = ["email", "DNS"].map(|kind| format!("{kind}:{name}"));
        assert!(shown.iter().any(|shown| facts.names.contains(shown)) || facts.subject.contains("CN="), "{name}");
    }
}

/// A status is only taken from an HTTP/1 status line.
fn proxy_answer(data: &[u8]) {
    if let Some(status) = applayer::net::proxy::http_status(data) {
        assert!((100..=999).contains(&status) && data.starts_with(b"HTTP/1."));
    }
}

/// What is shown on a terminal holds no control character and stays one line.
fn terminal_escape(data: &[u8]) {
    let shown = applayer::cli::escape::terminal(data);
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
}
