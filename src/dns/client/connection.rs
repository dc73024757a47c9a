//! One connection to one server that carries many concurrent queries: TCP (RFC 7766), TLS (RFC 7858), HTTPS (RFC 8484)
//! and QUIC (RFC 9250) behind three functions: [`DnsConnection::open`], [`DnsConnection::ask`] (through a shared reference, any
//! number of times and concurrently), [`DnsConnection::close`].
//!
//! Queries and answers are whole messages, and each answer has the identifier of its query. The transport hides its own
//! identifiers and length fields. The caller must check that an answer matches its question ([`crate::dns::exchange`],
//! [`crate::dns::bulk`]). Callers without an async runtime use a [`super::pool::ConnectionPool`].

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;

use super::endpoint::{Endpoint, HttpTarget};
use super::stream::Framed;
pub use super::stream::message as stream_message;
use crate::dns::message::MAX_MESSAGE_BYTES;
use crate::dns::transport::Transport;
use crate::fault::{Fault, Kind, PeerCode};
use crate::net::http::{self, Http2, HttpResponse, Request};
use crate::net::quic::Quic;
use crate::net::stream::TlsInfo;
use crate::scope::without_zone;

/// The media type of DoH messages (RFC 8484, section 6).
const MEDIA_TYPE: &str = "application/dns-message";
/// DOQ_NO_ERROR (RFC 9250, section 4.3).
const DOQ_NO_ERROR: u32 = 0;

/// A connection. Dropping it closes it without a closing handshake.
#[derive(Debug)]
pub struct DnsConnection {
    kind: Carrier,
    /// The result of the TLS handshake.
    tls: Option<TlsInfo>,
    /// The number of answers over HTTPS and QUIC.
    answered: AtomicU32,
    /// Takes no more queries: see [`DnsConnection::abandon`].
    abandoned: AtomicBool,
}

#[derive(Debug)]
enum Carrier {
    Stream(Framed),
    Https { http: Http2, authority: String, target: HttpTarget },
    Quic(Quic),
}

impl DnsConnection {
    /// Connects, performs the handshake and verifies the server. `limit` covers everything.
    ///
    /// # Errors
    /// No connection, or the verification of the server failed.
    pub async fn open(endpoint: &Endpoint, limit: Duration) -> Result<DnsConnection, Fault> {
        let opened = tokio::time::timeout(limit, carrier(endpoint, limit)).await;
        let what = || format!("{} over {}", endpoint.place(), endpoint.transport.name());
        match opened {
            Ok(Ok((kind, tls))) => {
                Ok(DnsConnection { kind, tls, answered: AtomicU32::new(0), abandoned: AtomicBool::new(false) })
            }
            Ok(Err(fault)) => Err(fault.context(what())),
            Err(_) => Err(Fault::new(Kind::TimedOut, format!("{}: no connection in time", what()))),
        }
    }

    /// Sends a query and waits for its answer, without a time limit. Drop the future to cancel the query.
    ///
    /// # Errors
    /// [`Kind::Disconnected`]: the connection ended before the answer.
    pub async fn ask(&self, query: &[u8]) -> Result<Vec<u8>, Fault> {
        let answer = match &self.kind {
            Carrier::Stream(framed) => framed.ask(query).await,
            Carrier::Https { http, authority, target } => over_https(http, authority, target, query).await,
            Carrier::Quic(quic) => over_quic(quic, query).await,
        };
        if answer.is_ok() {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    /// The result of the TLS handshake; `None` over TCP.
    pub fn tls_info(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }

    /// True while the connection takes further queries.
    pub fn is_open(&self) -> bool {
        let stands = match &self.kind {
            Carrier::Stream(framed) => framed.is_open(),
            Carrier::Https { http, .. } => http.is_open(),
            Carrier::Quic(quic) => quic.is_open(),
        };
        stands && !self.abandoned.load(Ordering::Relaxed)
    }

    /// True if the connection takes no more queries but still answers some (GOAWAY).
    pub(super) fn is_draining(&self) -> bool {
        matches!(&self.kind, Carrier::Https { http, .. } if http.is_draining())
    }

    /// Stops further queries on this connection. The peer may have vanished without closing it, which TCP and QUIC detect late.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// The number of answered queries. A connection that ends after some answers may have been idle for too long or be limited
    /// by the server: the remaining queries may be sent on another one (RFC 7766, section 6.2.4).
    pub fn answered(&self) -> u32 {
        match &self.kind {
            // Counted on arrival, before the end of the connection fails the unanswered queries.
            Carrier::Stream(framed) => framed.answered(),
            Carrier::Https { .. } | Carrier::Quic(_) => self.answered.load(Ordering::Relaxed),
        }
    }

    /// Closes the connection explicitly if the transport has a close message (QUIC).
    pub async fn close(&self) {
        if let Carrier::Quic(quic) = &self.kind {
            quic.close(DOQ_NO_ERROR).await;
        }
    }
}

async fn carrier(endpoint: &Endpoint, limit: Duration) -> Result<(Carrier, Option<TlsInfo>), Fault> {
    let (protocol, what) = match endpoint.transport {
        Transport::Udp => return Err(Fault::new(Kind::Internal, "UDP has no connections")),
        Transport::Tcp => return Ok((Carrier::Stream(Framed::new(endpoint.connect(limit).await?)), None)),
        Transport::Tls => ("dot", "DNS over TLS"),
        Transport::Https => (http::ALPN, "HTTP/2"),
        Transport::Quic => ("doq", "DNS over QUIC"),
    };
    let refused = |fault: Fault| match fault.kind {
        Kind::Unsupported => fault.context(format_args!("the server does not speak {what}")),
        _ => fault,
    };
    let tls = endpoint.trust()?.with_alpn(&[protocol]);
    if endpoint.transport == Transport::Quic {
        let quic = Quic::connect(&tls, endpoint.address, &endpoint.host, endpoint.bind).await.map_err(refused)?;
        let info = quic.tls_info();
        return Ok((Carrier::Quic(quic), Some(info)));
    }
    let stream = tls.connect(endpoint.connect(limit).await?, &endpoint.host).await.map_err(refused)?;
    let info = stream.tls_info();
    if endpoint.transport == Transport::Tls {
        return Ok((Carrier::Stream(Framed::new(stream)), info));
    }
    let authority = authority(endpoint);
    Ok((Carrier::Https { http: Http2::start(stream).await?, authority, target: endpoint.http.clone() }, info))
}

/// The authority of a DoH server's URI.
fn authority(endpoint: &Endpoint) -> String {
    let host = match without_zone(&endpoint.host).parse::<std::net::Ipv6Addr>() {
        Ok(v6) => format!("[{v6}]"),
        Err(_) => endpoint.host.clone(),
    };
    match endpoint.address.port() {
        443 => host,
        port => format!("{host}:{port}"),
    }
}

/// Sends one query as an HTTP request (RFC 8484, section 4.1). Its identifier is 0, so that caches work.
async fn over_https(http: &Http2, authority: &str, target: &HttpTarget, query: &[u8]) -> Result<Vec<u8>, Fault> {
    let (id, query) = without_id(query)?;
    let length = query.len().to_string();
    let response = if target.get {
        let mark = if target.path.contains('?') { '&' } else { '?' };
        let question = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&query);
        let path = format!("{}{mark}dns={question}", target.path);
        let request = Request { method: "GET", authority, path: &path, headers: &[("accept", MEDIA_TYPE)], body: &[] };
        http.request(&request, MAX_MESSAGE_BYTES).await?
    } else {
        let headers = &[("accept", MEDIA_TYPE), ("content-type", MEDIA_TYPE), ("content-length", length.as_str())];
        let request = Request { method: "POST", authority, path: &target.path, headers, body: &query };
        http.request(&request, MAX_MESSAGE_BYTES).await?
    };
    https_answer(id, response)
}

/// The DNS message in an HTTP response, with its query's identifier.
///
/// # Errors
/// The kind for the HTTP status (RFC 8484, section 4.2.1); `Protocol` for another media type.
pub fn https_answer(id: [u8; 2], response: HttpResponse) -> Result<Vec<u8>, Fault> {
    with_id(id, message_of(response)?)
}

/// The message in an HTTP response, or the fault for its status (RFC 8484, section 4.2.1).
fn message_of(response: HttpResponse) -> Result<Vec<u8>, Fault> {
    let status = response.status;
    let kind = match status {
        200..=299 if response.content_type == MEDIA_TYPE => return Ok(aged(response.body, response.age)),
        200..=299 => {
            let what = format!("HTTP {status} with {:?} instead of a DNS message", response.content_type);
            return Err(Fault::new(Kind::Protocol, what));
        }
        401 | 403 | 407 => Kind::AuthFailed,
        408 | 425 | 429 | 500..=599 => Kind::PeerTemporary,
        404 | 405 | 406 | 415 => Kind::Unsupported,
        _ => Kind::Refused,
    };
    Err(Fault::new(kind, format!("HTTP status {status}")).with_code(PeerCode::Http(status)))
}

/// Subtracts the `age` of an answer in a cache, in seconds, from its TTLs (RFC 8484, section 5.1).
fn aged(mut message: Vec<u8>, age: u32) -> Vec<u8> {
    if age > 0 {
        for (at, ttl) in crate::dns::message::ttl_places(&message) {
            if let Some(place) = message.get_mut(at..at + 4) {
                place.copy_from_slice(&ttl.saturating_sub(age).to_be_bytes());
            }
        }
    }
    message
}

/// Sends one query on its own stream (RFC 9250, sections 4.2 and 4.2.1: identifier 0, length before the message).
async fn over_quic(quic: &Quic, query: &[u8]) -> Result<Vec<u8>, Fault> {
    let (id, query) = without_id(query)?;
    let length = u16::try_from(query.len()).map_err(|_| Fault::new(Kind::Usage, "query longer than 65535 bytes"))?;
    let request = [&length.to_be_bytes()[..], &query].concat();
    quic_answer(id, quic.exchange(&request, 2 + MAX_MESSAGE_BYTES).await?)
}

/// The answer on a query's own stream, with the query's identifier.
///
/// # Errors
/// The bytes are not one DNS message with its correct length before it.
pub fn quic_answer(id: [u8; 2], bytes: Vec<u8>) -> Result<Vec<u8>, Fault> {
    with_id(id, framed(bytes)?)
}

/// The one message on a DoQ stream. Its length field must match the bytes on the stream (RFC 9250, section 4.2).
fn framed(mut bytes: Vec<u8>) -> Result<Vec<u8>, Fault> {
    match bytes.split_first_chunk::<2>() {
        Some((length, rest)) if usize::from(u16::from_be_bytes(*length)) == rest.len() => {
            bytes.drain(..2);
            Ok(bytes)
        }
        Some(_) => Err(Fault::new(Kind::Protocol, "a stream that is not one message")),
        None => Err(Fault::new(Kind::Disconnected, "a stream that ended without an answer")),
    }
}

fn without_id(query: &[u8]) -> Result<([u8; 2], Vec<u8>), Fault> {
    let (id, rest) =
        query.split_first_chunk::<2>().ok_or_else(|| Fault::new(Kind::Internal, "a query without a header"))?;
    Ok((*id, [&[0, 0], rest].concat()))
}

/// The answer with its query's identifier. An answer with an identifier other than 0 is rejected.
fn with_id(id: [u8; 2], mut message: Vec<u8>) -> Result<Vec<u8>, Fault> {
    match message.first_chunk_mut::<2>() {
        Some(place) if *place == [0, 0] => {
            *place = id;
            Ok(message)
        }
        Some(_) => Err(Fault::new(Kind::Protocol, "the answer has another identifier than 0")),
        None => Err(Fault::new(Kind::Protocol, "an answer shorter than a header")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_answers() {
        let answer = |status, content_type: &str| {
            let body = b"\0\0message".to_vec();
            message_of(HttpResponse { status, content_type: content_type.to_owned(), age: 0, body }).map_err(|f| f.kind)
        };
        assert_eq!(answer(200, MEDIA_TYPE), Ok(b"\0\0message".to_vec()));
        for (status, content_type, kind) in [
            (200, "text/html", Kind::Protocol),
            (200, "", Kind::Protocol),
            (301, MEDIA_TYPE, Kind::Refused),
            (400, "", Kind::Refused),
            (403, "", Kind::AuthFailed),
            (404, "", Kind::Unsupported),
            (415, "", Kind::Unsupported),
            (429, "", Kind::PeerTemporary),
            (502, MEDIA_TYPE, Kind::PeerTemporary),
        ] {
            assert_eq!(answer(status, content_type), Err(kind), "{status} {content_type}");
        }
    }

    #[test]
    fn a_quic_stream_is_one_message() {
        assert_eq!(framed(b"\x00\x03abc".to_vec()).unwrap(), b"abc");
        for bad in [&b""[..], b"\x00", b"\x00\x03ab", b"\x00\x03abcd"] {
            assert!(framed(bad.to_vec()).is_err(), "{bad:?}");
        }
        assert_eq!(with_id([1, 2], vec![0, 0, 9]).unwrap(), [1, 2, 9]);
        assert!(with_id([1, 2], vec![1, 2, 9]).is_err() && with_id([1, 2], vec![0]).is_err());
    }

    #[test]
    fn what_a_cache_held_is_older() {
        let query = crate::dns::query::Query::new(
            crate::dns::name::Name::parse("a.test").unwrap(),
            crate::dns::record::Rtype::A,
        );
        let mut wire = query.compose(0);
        wire[7] = 1;
        let opt = wire.split_off(wire.len() - 11);
        wire.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x64\0\x04\xc0\0\x02\x01");
        wire.extend(opt);
        let ttl = |age| {
            let message = crate::dns::message::Message::parse(&aged(wire.clone(), age)).unwrap();
            assert_eq!(message.edns.unwrap().udp_size, 1232, "OPT has no TTL");
            message.answer[0].ttl
        };
        assert_eq!((ttl(0), ttl(30), ttl(1000)), (100, 70, 0));
    }

    #[test]
    fn authorities() {
        let named = |host: &str, port| {
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            authority(&Endpoint { host: host.to_owned(), ..Endpoint::from(address) })
        };
        assert_eq!(named("dns.test", 443), "dns.test");
        assert_eq!(named("dns.test", 8443), "dns.test:8443");
        assert_eq!(named("::1", 443), "[::1]");
    }
}
