//! QUIC as a client (RFC 9000): one connection, one stream per request.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig};
use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{
    AsyncUdpSocket, ClientConfig, ConnectError, ConnectionError, Endpoint, EndpointConfig, ReadError, ReadToEndError,
    TokioRuntime, TransportConfig, TransportErrorCode, UdpPoller, VarInt, WriteError,
};
use rustls::AlertDescription;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::Interest;
use tokio::sync::SetOnce;

use crate::fault::{Fault, Kind};
use crate::net::datagram::Datagrams;
use crate::net::stream::{TlsInfo, ders};
use crate::net::tls::ClientTls;
use crate::net::tls_fault::alert_fault;

/// The longest silence before a connection is abandoned.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// A connection for many tasks at once.
#[derive(Debug)]
pub struct Quic {
    endpoint: Endpoint,
    connection: quinn::Connection,
    socket: Arc<ConnectedSocket>,
}

/// A socket for quinn that is connected to the one peer. So the kernel reports ICMP errors, which quinn's own sockets
/// ignore: a closed port is known at once.
#[derive(Debug)]
struct ConnectedSocket {
    io: tokio::net::UdpSocket,
    state: UdpSocketState,
    /// Set once the peer cannot be reached.
    unreachable: SetOnce<io::Error>,
}

impl ConnectedSocket {
    fn open(peer: SocketAddr, bind: Option<SocketAddr>) -> io::Result<Arc<ConnectedSocket>> {
        let socket = Datagrams::connect(peer, bind)?.into_socket();
        let state = UdpSocketState::new((&socket).into())?;
        let io = tokio::net::UdpSocket::from_std(socket)?;
        Ok(Arc::new(ConnectedSocket { io, state, unreachable: SetOnce::new() }))
    }

    /// Records an error of the socket. QUIC treats all as temporary, and repeats lost datagrams.
    fn hear(&self, error: io::Error) {
        if matches!(
            error.kind(),
            ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
        ) {
            let _ = self.unreachable.set(error);
        }
    }

    /// Waits until the kernel reports that the peer is unreachable; quinn waits for datagrams only.
    async fn no_way(&self) -> &io::Error {
        loop {
            tokio::select! {
                error = self.unreachable.wait() => return error,
                _ = self.io.ready(Interest::ERROR) => {
                    let _ = self.io.try_io(Interest::ERROR, || {
                        self.hear(self.io.take_error()?.ok_or(ErrorKind::WouldBlock)?);
                        Ok(())
                    });
                }
            }
        }
    }
}

impl AsyncUdpSocket for ConnectedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(WritePoller(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.io.try_io(Interest::WRITABLE, || self.state.try_send((&self.io).into(), transmit));
        match sent {
            Err(error) if error.kind() != ErrorKind::WouldBlock => {
                self.hear(error);
                Ok(())
            }
            sent => sent,
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            match self.io.try_io(Interest::READABLE, || self.state.recv((&self.io).into(), bufs, meta)) {
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(error) => self.hear(error),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }
}

/// Waits until a socket is writable: for the one connection that uses it.
#[derive(Debug)]
struct WritePoller(Arc<ConnectedSocket>);

impl UdpPoller for WritePoller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.io.poll_send_ready(cx)
    }
}

impl Quic {
    /// Connects to a server whose certificate must hold `host`; the application protocols are those of `tls`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a name that no certificate can hold, [`Kind::TlsUntrusted`] for an untrusted certificate; else
    /// the fault of the connection.
    pub async fn connect(
        tls: &ClientTls,
        address: SocketAddr,
        host: &str,
        bind: Option<SocketAddr>,
    ) -> Result<Quic, Fault> {
        let failed = |error: &io::Error| Fault::network(format!("connecting to {address}"), error);
        let socket = ConnectedSocket::open(address, bind).map_err(|error| failed(&error))?;
        let endpoint =
            Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket.clone(), Arc::new(TokioRuntime))
                .map_err(|error| failed(&error))?;
        let (config, name) = (tls.config(), tls.name_of(host)?);
        let crypto =
            QuicClientConfig::try_from(config).map_err(|error| Fault::new(Kind::Internal, format!("QUIC: {error}")))?;
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(MAX_IDLE.try_into().ok()).max_concurrent_uni_streams(VarInt::from_u32(0));
        transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        let connecting = endpoint.connect_with(config, address, &name.to_str()).map_err(|error| match error {
            ConnectError::InvalidServerName(_) => {
                Fault::new(Kind::Usage, format!("{host}: not a name that a certificate can hold"))
            }
            error => Fault::new(Kind::Unreachable, format!("QUIC: {error}")),
        })?;
        let connection = tokio::select! {
            biased;
            connected = connecting => connected.map_err(|error| refusal(&error, tls, &name))?,
            error = socket.no_way() => return Err(failed(error)),
        };
        Ok(Quic { endpoint, connection, socket })
    }

    /// Sends a request on its own stream, ends it, and reads the answer to its end: at most `most` bytes.
    ///
    /// # Errors
    /// [`Kind::Protocol`] for an answer over `most` bytes, [`Kind::PeerTemporary`] if the server ends the stream; else the
    /// fault of the connection.
    pub async fn exchange(&self, request: &[u8], most: usize) -> Result<Vec<u8>, Fault> {
        tokio::select! {
            biased;
            answer = self.on_stream(request, most) => answer,
            error = self.socket.unreachable.wait() => Err(Fault::new(Kind::Disconnected, format!("QUIC: {error}"))),
        }
    }

    async fn on_stream(&self, request: &[u8], most: usize) -> Result<Vec<u8>, Fault> {
        let (mut sending, mut receiving) = self.connection.open_bi().await.map_err(|error| fault(&error))?;
        // The end of one stream is not that of the connection: the server has a reason for it (RFC 9250, section 4.3).
        let ended = |error: &dyn std::fmt::Display| Fault::new(Kind::PeerTemporary, format!("QUIC: {error}"));
        sending.write_all(request).await.map_err(|error| match error {
            WriteError::ConnectionLost(error) => fault(&error),
            error => ended(&error),
        })?;
        sending.finish().map_err(|error| ended(&error))?;
        receiving.read_to_end(most).await.map_err(|error| match error {
            ReadToEndError::TooLong => Fault::new(Kind::Protocol, format!("QUIC answer longer than {most} bytes")),
            ReadToEndError::Read(ReadError::ConnectionLost(error)) => fault(&error),
            ReadToEndError::Read(error) => ended(&error),
        })
    }

    /// The negotiated parameters: QUIC uses only TLS 1.3 (RFC 9001, section 4.2).
    pub fn tls_info(&self) -> TlsInfo {
        let agreed = self.connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        let shown = self.connection.peer_identity().and_then(|it| it.downcast::<Vec<CertificateDer<'static>>>().ok());
        TlsInfo {
            version: "TLSv1.3",
            cipher: None,
            alpn: agreed.and_then(|agreed| agreed.protocol).map(|name| String::from_utf8_lossy(&name).into_owned()),
            resumed: false,
            peer_chain: shown.map_or_else(Vec::new, |chain| ders(&chain)),
        }
    }

    /// True while the connection is open.
    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none() && self.socket.unreachable.get().is_none()
    }

    /// Closes the connection with this code of the application, and waits until that was sent.
    pub async fn close(&self, code: u32) {
        self.connection.close(VarInt::from_u32(code), b"");
        self.endpoint.wait_idle().await;
    }
}

/// The fault of a failed handshake. The alert for a certificate that our verifier refused is certificate_unknown.
fn refusal(error: &ConnectionError, tls: &ClientTls, name: &ServerName<'_>) -> Fault {
    let refused = TransportErrorCode::crypto(AlertDescription::CertificateUnknown.into());
    match (error, tls.refusal(name)) {
        (ConnectionError::TransportError(error), Some(why)) if error.code == refused => why.fault(),
        _ => fault(error),
    }
}

/// The fault for the end of a connection.
fn fault(error: &ConnectionError) -> Fault {
    // Crypto errors carry TLS alerts (RFC 9001, section 4.8).
    let alert =
        |code: TransportErrorCode| u8::try_from(u64::from(code).wrapping_sub(0x100)).ok().map(AlertDescription::from);
    let (kind, words) = match error {
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
            Some(alert) => return alert_fault("QUIC", alert),
            None => (Kind::Disconnected, "the peer closed the connection"),
        },
        ConnectionError::TransportError(error) => match alert(error.code) {
            // Alerts of our side, caused by the peer. An untrusted certificate was reported before; one that cannot be read,
            // or whose key the peer lacks, is reported here.
            Some(AlertDescription::DecodeError | AlertDescription::DecryptError | AlertDescription::BadCertificate) => {
                (Kind::TlsUntrusted, "the peer's certificate cannot be read, or the peer lacks its key")
            }
            Some(AlertDescription::NoApplicationProtocol) => {
                (Kind::Unsupported, "no application protocol in common (ALPN)")
            }
            Some(_) => (Kind::Protocol, "the peer breaks the rules of the handshake"),
            None => (Kind::Protocol, "the peer breaks the rules of QUIC"),
        },
        ConnectionError::TimedOut => (Kind::TimedOut, "no answer in time"),
        ConnectionError::Reset => (Kind::Disconnected, "the peer does not know the connection"),
        ConnectionError::ApplicationClosed(_) => (Kind::Disconnected, "the server closed the connection"),
        ConnectionError::LocallyClosed => (Kind::Cancelled, "the connection is closed"),
        ConnectionError::VersionMismatch => (Kind::Unsupported, "no version in common"),
        ConnectionError::CidsExhausted => (Kind::Protocol, "the peer gives too few connection identifiers"),
    };
    Fault::new(kind, format!("QUIC: {words}"))
}
