//! The counters over HTTP/1.1, for Prometheus: only `GET /metrics`, for a few clients at once, each with a short time limit.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::fault::{Fault, Kind};
use crate::net::listen;
use crate::secret::without_password;

/// Concurrent clients; others wait.
const MAX_CLIENTS: usize = 8;
/// The longest request, in bytes.
const MAX_REQUEST: usize = 8192;
/// The total time limit of one client.
const CLIENT_LIMIT: Duration = Duration::from_secs(5);
/// The pause after the system refuses a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Parses the address of `--metrics`, as [`listen::parse_listen`] does.
///
/// # Errors
/// [`Kind::Usage`] for text that is not an address, and for all interfaces at once: the counters reveal the activity of all
/// clients, so the address must be explicit.
pub fn parse_address(text: &str) -> Result<SocketAddr, Fault> {
    let address = listen::parse_listen(text)?;
    if address.ip().is_unspecified() {
        let why = format!("--metrics {}: the counters are not for every interface", without_password(text));
        return Err(Fault::new(Kind::Usage, why).with_hint("name one address, or the port alone for 127.0.0.1"));
    }
    Ok(address)
}

/// Binds the listener. Needs no runtime.
///
/// # Errors
/// [`Kind::CannotCreate`] for an address that is in use or not local.
pub fn bind(address: SocketAddr) -> Result<std::net::TcpListener, Fault> {
    let failed = |error| Fault { kind: Kind::CannotCreate, ..Fault::local(format!("--metrics {address}"), &error) };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Answers requests with the result of `text` until it is dropped. Needs a running tokio runtime.
///
/// # Errors
/// [`Kind::Io`] if the listener cannot be registered with the runtime.
pub async fn serve<F, Fut>(listener: std::net::TcpListener, text: F) -> Result<(), Fault>
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = String> + Send + 'static,
{
    let listener = TcpListener::from_std(listener).map_err(|error| Fault::local("--metrics", &error))?;
    let (text, places) = (Arc::new(text), Arc::new(Semaphore::new(MAX_CLIENTS)));
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let text = text.clone();
        tokio::spawn(async move {
            // A client that is too slow, or leaves, gets no answer.
            let _ = tokio::time::timeout(CLIENT_LIMIT, answer(stream, &*text)).await;
            drop(place);
        });
    }
}

async fn answer<F, Fut>(mut stream: TcpStream, text: &F) -> std::io::Result<()>
where
    F: Fn() -> Fut,
    Fut: Future<Output = String>,
{
    let mut head = Vec::new();
    let (status, body) = loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if let Some(status) = status_of(&head) {
            break (status, if status == "200 OK" { text().await } else { format!("{status}\n") });
        }
    };
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let shown = if head.starts_with(b"HEAD ") { "" } else { &body };
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{shown}",
        body.len()
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await?;
    // Unread bytes would reset the connection before the client reads the answer.
    while stream.read_buf(&mut head).await? > 0 && head.len() < 2 * MAX_REQUEST {}
    Ok(())
}

/// The status for a request, once its head is complete (RFC 9112, section 2.1).
fn status_of(head: &[u8]) -> Option<&'static str> {
    let whole = memchr::memmem::find(head, b"\r\n\r\n").or(memchr::memmem::find(head, b"\n\n")).is_some();
    if !whole {
        return (head.len() > MAX_REQUEST).then_some("431 Request Header Fields Too Large");
    }
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next()?, words.next(), words.next());
    Some(match (method, target, version) {
        (b"GET" | b"HEAD", Some(target), Some(version)) if version.starts_with(b"HTTP/1.") => {
            match target.split(|byte| *byte == b'?').next() {
                Some(b"/metrics") => "200 OK",
                _ => "404 Not Found",
            }
        }
        (_, Some(_), Some(version)) if version.starts_with(b"HTTP/1.") => "405 Method Not Allowed",
        _ => "400 Bad Request",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        for (head, status) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Some("200")),
            ("HEAD /metrics?a=b HTTP/1.0\r\n\r\n", Some("200")),
            ("GET /metrics HTTP/1.1\n\n", Some("200")),
            ("GET / HTTP/1.1\r\n\r\n", Some("404")),
            ("GET /../metrics HTTP/1.1\r\n\r\n", Some("404")),
            ("POST /metrics HTTP/1.1\r\n\r\n", Some("405")),
            ("GET /metrics HTTP/2\r\n\r\n", Some("400")),
            ("EHLO a.test\r\n\r\n", Some("400")),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n", None),
            ("", None),
        ] {
            assert_eq!(status_of(head.as_bytes()).map(|status| &status[..3]), status, "{head:?}");
        }
        assert_eq!(status_of(&[b'x'; MAX_REQUEST + 1]).map(|status| &status[..3]), Some("431"));
    }

    #[test]
    fn a_bare_port_is_of_loopback_and_an_address_is_one() {
        for (text, address) in [("9100", "127.0.0.1:9100"), ("[::1]:0", "[::1]:0"), ("192.0.2.1:1", "192.0.2.1:1")] {
            assert_eq!(parse_address(text).unwrap().to_string(), address);
        }
        for bad in [":9100", "0.0.0.0:9100", "[::]:9100", "example:1", "", "70000"] {
            assert_eq!(parse_address(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }
}
