//! HTTP/2 as a client (RFC 9113) on a stream that is connected and encrypted already: small requests and answers, many at
//! once on one connection. Bodies and headers are bounded.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request as Head, Uri};
use tokio::task::JoinHandle;

use crate::fault::{Fault, Kind};
use crate::net::stream::Stream;

/// The application protocol to agree on (RFC 9113, section 3.2).
pub const ALPN: &str = "h2";
/// The longest list of headers that is taken.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// One request; HTTPS is its scheme.
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
    /// The body; none is sent if it is empty.
    pub body: &'a [u8],
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// `content-type`, without parameters, in lower case; empty if there is none.
    pub content_type: String,
    /// Seconds that a cache held it (`age`, RFC 9111, section 5.1).
    pub age: u32,
    /// The body.
    pub body: Vec<u8>,
}

/// A connection that many tasks may use at once. Dropping it ends it.
#[derive(Debug)]
pub struct Http2 {
    sender: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Http2 {
    /// Sends the preface and settings. The stream must have agreed on [`ALPN`]: what a server without it says is no HTTP/2.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] when TLS agreed on another protocol; else the fault of the connection.
    pub async fn start(stream: Stream) -> Result<Http2, Fault> {
        if stream.tls_info().is_some_and(|tls| tls.alpn.as_deref() != Some(ALPN)) {
            return Err(Fault::new(Kind::Unsupported, "the server does not speak HTTP/2"));
        }
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).max_header_list_size(MAX_HEADER_BYTES);
        let (sender, connection) = builder.handshake(stream).await.map_err(|error| fault(&error))?;
        let driver = tokio::spawn(async move {
            // Requests that are under way are told by their own errors.
            let _ = connection.await;
        });
        Ok(Http2 { sender, driver })
    }

    /// Sends a request and reads the answer, whose body may have `max_body` bytes.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a request that is none, [`Kind::Protocol`] for a body over `max_body`; else the fault of the
    /// connection.
    pub async fn request(&self, request: &Request<'_>, max_body: usize) -> Result<HttpResponse, Fault> {
        let bad = |error: http::Error| Fault::new(Kind::Usage, format!("HTTP request: {error}"));
        let uri = Uri::builder().scheme("https").authority(request.authority).path_and_query(request.path);
        let mut head = Head::builder().method(request.method).uri(uri.build().map_err(bad)?);
        for (name, value) in request.headers {
            head = head.header(*name, *value);
        }
        let head = head.body(()).map_err(bad)?;
        let mut sender = self.sender.clone().ready().await.map_err(|error| fault(&error))?;
        let (answer, mut body) = sender.send_request(head, request.body.is_empty()).map_err(|error| fault(&error))?;
        if !request.body.is_empty() {
            body.send_data(Bytes::copy_from_slice(request.body), true).map_err(|error| fault(&error))?;
        }
        let (head, mut body) = answer.await.map_err(|error| fault(&error))?.into_parts();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = header("content-type").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let mut response = HttpResponse {
            status: head.status.as_u16(),
            content_type,
            age: header("age").parse().unwrap_or(0),
            body: Vec::new(),
        };
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(|error| fault(&error))?;
            if response.body.len() + chunk.len() > max_body {
                return Err(Fault::new(Kind::Protocol, format!("HTTP answer longer than {max_body} bytes")));
            }
            response.body.extend_from_slice(&chunk);
            body.flow_control().release_capacity(chunk.len()).map_err(|error| fault(&error))?;
        }
        Ok(response)
    }

    /// True while the connection stands.
    pub fn is_open(&self) -> bool {
        !self.driver.is_finished()
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What an error of the connection or of one request means. Streams that a server refused or a connection that it ends
/// (GOAWAY without an error) may be tried again.
fn fault(error: &h2::Error) -> Fault {
    if let Some(io) = error.get_io() {
        return Fault::network("HTTP/2", io);
    }
    let gone = matches!(error.reason(), Some(h2::Reason::NO_ERROR | h2::Reason::REFUSED_STREAM | h2::Reason::CANCEL));
    Fault::new(if gone { Kind::Disconnected } else { Kind::Protocol }, format!("HTTP/2: {error}"))
}
