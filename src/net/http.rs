//! HTTP/2 as a client (RFC 9113) on a stream that is already connected and encrypted: small requests and answers, many at
//! once on one connection. Bodies and headers are bounded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::{Request as Head, Uri};
use tokio::task::JoinHandle;

use crate::fault::{Fault, Kind};
use crate::net::stream::Stream;

/// The application protocol to negotiate (RFC 9113, section 3.2).
pub const ALPN: &str = "h2";
/// The longest accepted header list.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Flow-control windows in bytes: of one answer, and of all answers.
const RECEIVE_WINDOWS: (u32, u32) = (128 * 1024, 4 * 1024 * 1024);
/// The most attempts for a request that the server refuses unprocessed, and the first pause, which doubles with each attempt.
const MAX_REFUSALS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// One request; its scheme is HTTPS.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// `GET`, `POST`.
    pub method: &'a str,
    /// Host, with a port unless it is 443.
    pub authority: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Names in lower case, and values.
    pub headers: &'a [(&'static str, &'a str)],
    /// The body; not sent if it is empty.
    pub body: &'a [u8],
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// `content-type`, without parameters, in lower case; empty if there is none.
    pub content_type: String,
    /// Seconds that a cache has held the answer (`age`, RFC 9111, section 5.1).
    pub age: u32,
    /// The body.
    pub body: Vec<u8>,
}

/// A connection for many tasks at once. Dropping it ends it.
#[derive(Debug)]
pub struct Http2 {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<()>,
    /// The server accepts no more requests (GOAWAY), though it may still answer pending ones.
    ended: AtomicBool,
}

impl Http2 {
    /// Sends the preface and settings. TLS must have negotiated [`ALPN`]: otherwise the server does not speak HTTP/2.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if TLS negotiated another protocol; else the fault of the connection.
    pub async fn start(stream: Stream) -> Result<Http2, Fault> {
        if stream.tls_info().is_some_and(|tls| tls.alpn.as_deref() != Some(ALPN)) {
            return Err(Fault::new(Kind::Unsupported, "the server does not speak HTTP/2"));
        }
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).max_header_list_size(MAX_HEADER_BYTES);
        builder.initial_window_size(RECEIVE_WINDOWS.0).initial_connection_window_size(RECEIVE_WINDOWS.1);
        let (sender, connection) = builder.handshake(stream).await.map_err(|error| fault(&error))?;
        let driver = tokio::spawn(async move {
            // Pending requests get their own errors.
            let _ = connection.await;
        });
        Ok(Http2 { sender, driver, ended: AtomicBool::new(false) })
    }

    /// Sends a request and reads the answer, with a body of at most `max_body` bytes. A request that the server refused
    /// unprocessed is sent again (RFC 9113, section 8.7).
    ///
    /// # Errors
    /// [`Kind::Usage`] for an invalid request, [`Kind::Protocol`] for a body over `max_body`; else the fault of the
    /// connection.
    pub async fn request(&self, request: &Request<'_>, max_body: usize) -> Result<HttpResponse, Fault> {
        let bad = |error: http::Error| Fault::new(Kind::Usage, format!("HTTP request: {error}"));
        let uri = Uri::builder().scheme("https").authority(request.authority).path_and_query(request.path);
        let mut head = Head::builder().method(request.method).uri(uri.build().map_err(bad)?);
        for (name, value) in request.headers {
            head = head.header(*name, *value);
        }
        let head = head.body(()).map_err(bad)?;
        let mut refusals = 0;
        loop {
            let error = match self.exchange(head.clone(), request.body, max_body).await {
                Ok(answered) => return answered,
                Err(error) => error,
            };
            if error.is_go_away() || error.is_io() {
                self.ended.store(true, Ordering::Relaxed);
            }
            refusals += 1;
            let refused = error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
            if !refused || refusals >= MAX_REFUSALS {
                return Err(fault(&error));
            }
            tokio::time::sleep(FIRST_PAUSE * (1 << refusals)).await;
        }
    }

    /// One request on its own stream: an error of HTTP/2, or an answer that is accepted or not.
    async fn exchange(
        &self,
        head: Head<()>,
        request: &[u8],
        max_body: usize,
    ) -> Result<Result<HttpResponse, Fault>, h2::Error> {
        let mut sender = self.sender.clone().ready().await?;
        let (answer, mut body) = sender.send_request(head, request.is_empty())?;
        if !request.is_empty() {
            body.send_data(Bytes::copy_from_slice(request), true)?;
        }
        let (head, mut body) = answer.await?.into_parts();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = header("content-type").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let mut response = HttpResponse {
            status: head.status.as_u16(),
            content_type,
            age: header("age").parse().unwrap_or(0),
            body: Vec::new(),
        };
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            if response.body.len() + chunk.len() > max_body {
                return Ok(Err(Fault::new(Kind::Protocol, format!("HTTP answer longer than {max_body} bytes"))));
            }
            response.body.extend_from_slice(&chunk);
            body.flow_control().release_capacity(chunk.len())?;
        }
        Ok(Ok(response))
    }

    /// True if the server accepts no more requests, but still answers pending ones.
    pub fn is_draining(&self) -> bool {
        !self.driver.is_finished() && self.ended.load(Ordering::Relaxed)
    }

    /// True while further requests may be sent.
    pub fn is_open(&self) -> bool {
        !self.driver.is_finished() && !self.ended.load(Ordering::Relaxed)
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The fault for an error of the connection or of one request (RFC 9113, section 7). A connection that the server ends
/// (GOAWAY) may be opened again; a stream that it resets is a temporary refusal.
fn fault(error: &h2::Error) -> Fault {
    if let Some(io) = error.get_io() {
        return Fault::network("HTTP/2", io);
    }
    let kind = match error.reason() {
        Some(
            Reason::NO_ERROR
            | Reason::REFUSED_STREAM
            | Reason::CANCEL
            | Reason::INTERNAL_ERROR
            | Reason::ENHANCE_YOUR_CALM,
        ) if error.is_go_away() => Kind::Disconnected,
        Some(Reason::REFUSED_STREAM | Reason::CANCEL | Reason::INTERNAL_ERROR | Reason::ENHANCE_YOUR_CALM) => {
            Kind::PeerTemporary
        }
        Some(Reason::NO_ERROR) => Kind::Disconnected,
        Some(Reason::HTTP_1_1_REQUIRED) => Kind::Unsupported,
        _ => Kind::Protocol,
    };
    Fault::new(kind, format!("HTTP/2: {error}"))
}
