//! One stream type for every protocol: plain TCP, TLS over TCP, or a UNIX socket. An enum and not a trait object, so that
//! fast paths (sendfile, splice) can use the plain descriptor.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustls::SupportedCipherSuite;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use crate::net::sys;
use crate::scope::canonical;

/// A connected byte stream.
#[derive(Debug)]
pub enum Stream {
    /// TCP in clear text.
    Plain(TcpStream),
    /// TLS over TCP, either side.
    Tls(Box<TlsStream<TcpStream>>),
    /// A local socket (LMTP).
    Unix(UnixStream),
}

/// The parameters negotiated by a TLS handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's IANA name; `None` for QUIC, which does not report it.
    pub cipher: Option<String>,
    /// The negotiated application protocol (RFC 7301).
    pub alpn: Option<String>,
    /// True if an earlier session was resumed.
    pub resumed: bool,
    /// The peer's certificates, its own first (DER); empty for a client without one.
    pub peer_chain: Vec<Vec<u8>>,
}

impl Stream {
    /// The peer's address, unmapped if IPv4; `None` for a UNIX socket or a dead one.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.socket()?.peer_addr().ok().map(canonical)
    }

    /// The local address, unmapped if IPv4; `None` for a UNIX socket or a dead one.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket()?.local_addr().ok().map(canonical)
    }

    /// True inside TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// True for a UNIX socket: the client is on this host and has no address.
    pub fn is_unix(&self) -> bool {
        matches!(self, Stream::Unix(_))
    }

    /// The negotiated parameters; `None` in clear text.
    pub fn tls_info(&self) -> Option<TlsInfo> {
        let Stream::Tls(tls) = self else { return None };
        let (_, common) = tls.get_ref();
        let version = match common.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        Some(TlsInfo {
            version,
            cipher: common.negotiated_cipher_suite().map(cipher_name),
            alpn: common.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            resumed: common.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
            peer_chain: common.peer_certificates().map_or_else(Vec::new, ders),
        })
    }

    /// The data of the channel binding `tls-exporter` (RFC 9266), equal on both sides of one TLS connection. TLS 1.3 alone: in
    /// earlier versions it needs an extension that rustls does not report.
    pub fn channel_binding(&self) -> Option<Vec<u8>> {
        let Stream::Tls(tls) = self else { return None };
        let (label, context) = (b"EXPORTER-Channel-Binding", Some(&[][..]));
        let is_current = |version| version == Some(rustls::ProtocolVersion::TLSv1_3);
        let data = match &**tls {
            TlsStream::Client(tls) if is_current(tls.get_ref().1.protocol_version()) => {
                tls.get_ref().1.export_keying_material([0; 32], label, context)
            }
            TlsStream::Server(tls) if is_current(tls.get_ref().1.protocol_version()) => {
                tls.get_ref().1.export_keying_material([0; 32], label, context)
            }
            _ => return None,
        };
        data.ok().map(|data| data.to_vec())
    }

    /// The socket of a stream in clear text, for zero-copy transfers; `None` inside TLS, which must encrypt the bytes.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Plain(tcp) => Some(tcp),
            Stream::Tls(_) | Stream::Unix(_) => None,
        }
    }

    /// True once the peer has closed its side, even if its bytes are still unread. The kernel is asked, since it knows
    /// before the runtime does.
    pub fn peer_has_closed(&self) -> bool {
        let closed = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        self.socket().is_some_and(|socket| events(socket).intersects(closed))
    }

    /// The state of the written bytes, as far as this system knows. The peer of a UNIX socket has them at once.
    pub fn acknowledgement(&self) -> Acknowledgement {
        let Some(socket) = self.socket() else { return Acknowledgement::Complete };
        // In this order: bytes acknowledged before the reset did arrive.
        let waiting = sys::unacknowledged(socket.as_fd());
        match waiting {
            _ if events(socket).intersects(PollFlags::HUP | PollFlags::ERR) => Acknowledgement::Reset,
            Ok(0) => Acknowledgement::Complete,
            Ok(_) => Acknowledgement::Pending,
            Err(_) => Acknowledgement::Reset,
        }
    }

    /// Keeps urgent bytes from the peer in line with the others. A failure only loses them.
    pub fn keep_urgent(&self) {
        if let Some(socket) = self.socket() {
            drop(socket2::SockRef::from(socket).set_out_of_band_inline(true));
        }
    }

    /// Reads a stream that may hold urgent bytes. A read stops before an urgent byte, and the runtime takes a short read for
    /// the end of the available bytes: so the kernel is asked first.
    ///
    /// # Errors
    /// Those of a read.
    pub async fn read_with_urgent(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Stream::Plain(tcp) = self {
            match recv(&*tcp, &mut *buffer, RecvFlags::DONTWAIT) {
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Ok((count, _)) => return Ok(count),
                Err(error) => return Err(error.into()),
            }
        }
        self.read(buffer).await
    }

    /// Sets whether a dropped connection is reset, so that its end cannot pass for a proper one. A failure only loses that.
    pub fn reset_when_dropped(&self, reset: bool) {
        if let Some(socket) = self.socket() {
            reset_when_dropped(socket, reset);
        }
    }

    /// The underlying connection, once TLS has ended properly on both sides (close_notify: RFC 5246, section 7.2.1; RFC
    /// 8446, section 6.1).
    ///
    /// # Errors
    /// The socket's error; `InvalidData` if the peer sends more data inside TLS, `UnexpectedEof` if it closes instead.
    pub async fn end_tls(self) -> io::Result<Stream> {
        let Stream::Tls(mut tls) = self else { return Ok(self) };
        tls.get_mut().1.send_close_notify();
        tls.flush().await?;
        if tls.read(&mut [0; 1]).await? > 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more inside TLS after its end"));
        }
        Ok(Stream::Plain(match *tls {
            TlsStream::Client(tls) => tls.into_inner().0,
            TlsStream::Server(tls) => tls.into_inner().0,
        }))
    }

    /// Limits the kernel's send buffer for a peer that does not read. A failure only loses the limit.
    pub fn limit_unsent(&self, bytes: usize) {
        if let Some(socket) = self.socket() {
            drop(socket2::SockRef::from(socket).set_send_buffer_size(bytes));
        }
    }

    /// The underlying socket, TLS or not; `None` for a UNIX socket.
    fn socket(&self) -> Option<&TcpStream> {
        match self {
            Stream::Plain(tcp) => Some(tcp),
            Stream::Tls(tls) => Some(tls.get_ref().0),
            Stream::Unix(_) => None,
        }
    }
}

impl fmt::Display for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cipher = self.cipher.as_deref().map_or_else(String::new, |cipher| format!(" {cipher}"));
        write!(f, "{}{cipher}", self.version)
    }
}

/// The IANA name of a cipher suite: rustls uses another prefix for those of TLS 1.3.
fn cipher_name(suite: SupportedCipherSuite) -> String {
    suite.suite().as_str().map_or_else(String::new, |name| name.replacen("TLS13_", "TLS_", 1))
}

/// The DER bytes of certificates.
pub(super) fn ders(chain: &[CertificateDer<'_>]) -> Vec<Vec<u8>> {
    chain.iter().map(|certificate| certificate.to_vec()).collect()
}

/// The peer system's acknowledgement of the written bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// It has not answered yet.
    Pending,
    /// It received all of them, for a process that may still read them.
    Complete,
    /// The connection was reset, or failed.
    Reset,
}

/// The current events of a socket.
fn events(socket: &impl AsFd) -> PollFlags {
    let mut asked = [PollFd::new(socket, PollFlags::RDHUP)];
    match poll(&mut asked, Some(&Timespec::default())) {
        Ok(_) => asked.iter().fold(PollFlags::empty(), |all, fd| all | fd.revents()),
        Err(_) => PollFlags::empty(),
    }
}

/// As [`Stream::reset_when_dropped`], for a socket taken out of its stream.
pub fn reset_when_dropped(socket: &impl AsFd, reset: bool) {
    drop(socket2::SockRef::from(socket).set_linger(reset.then_some(Duration::ZERO)));
}

macro_rules! each {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Plain($inner) => $call,
            Stream::Tls($inner) => $call,
            Stream::Unix($inner) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, inner => inner.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), inner => Pin::new(inner).poll_shutdown(cx))
    }
}
