//! QUIC as a client (RFC 9000): one connection, a stream for each request.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, ConnectError, ConnectionError, Endpoint, ReadToEndError, TransportConfig, TransportErrorCode, VarInt,
};
use rustls::AlertDescription;

use crate::fault::{Fault, Kind};
use crate::net::tls::{ClientTls, kind_of_alert};

/// The longest silence before a connection is given up.
const MAX_IDLE: Duration = Duration::from_secs(30);

/// A connection that many tasks may use at once.
#[derive(Debug)]
pub struct Quic {
    endpoint: Endpoint,
    connection: quinn::Connection,
}

impl Quic {
    /// Connects to a server whose certificate must hold `host`; the application protocols are those of `tls`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a name that no certificate can hold, [`Kind::TlsUntrusted`] for a certificate that is not believed;
    /// else the fault of the connection.
    pub async fn connect(
        tls: &ClientTls,
        address: SocketAddr,
        host: &str,
        bind: Option<SocketAddr>,
    ) -> Result<Quic, Fault> {
        let any = if address.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        let endpoint = Endpoint::client(bind.unwrap_or(SocketAddr::new(any, 0)))
            .map_err(|error| Fault::network(format!("{address} over quic"), &error))?;
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
        let connection = connecting.await.map_err(|error| fault(&error))?;
        Ok(Quic { endpoint, connection })
    }

    /// Sends a request on a stream of its own, ends it, and reads the answer to its end: at most `most` bytes.
    ///
    /// # Errors
    /// [`Kind::Protocol`] for an answer over `most` bytes; else the fault of the connection.
    pub async fn exchange(&self, request: &[u8], most: usize) -> Result<Vec<u8>, Fault> {
        let (mut sending, mut receiving) = self.connection.open_bi().await.map_err(|error| fault(&error))?;
        let gone = |error: &dyn std::fmt::Display| Fault::new(Kind::Disconnected, format!("QUIC: {error}"));
        sending.write_all(request).await.map_err(|error| gone(&error))?;
        sending.finish().map_err(|error| gone(&error))?;
        receiving.read_to_end(most).await.map_err(|error| match error {
            ReadToEndError::TooLong => Fault::new(Kind::Protocol, format!("QUIC answer longer than {most} bytes")),
            ReadToEndError::Read(quinn::ReadError::ConnectionLost(error)) => fault(&error),
            ReadToEndError::Read(error) => gone(&error),
        })
    }

    /// True while the connection stands.
    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Says farewell with this code of the application, and waits until that has left.
    pub async fn close(&self, code: u32) {
        self.connection.close(VarInt::from_u32(code), b"");
        self.endpoint.wait_idle().await;
    }
}

/// What the end of a connection means. A certificate that is not believed ends it with a crypto error of ours.
fn fault(error: &ConnectionError) -> Fault {
    // TLS alerts stand for crypto errors (RFC 9001, section 4.8).
    let alert =
        |code: TransportErrorCode| u8::try_from(u64::from(code).wrapping_sub(0x100)).ok().map(AlertDescription::from);
    let kind = match error {
        ConnectionError::ConnectionClosed(close) if alert(close.error_code).is_some() => {
            alert(close.error_code).map_or(Kind::Disconnected, kind_of_alert)
        }
        ConnectionError::TimedOut => Kind::TimedOut,
        ConnectionError::Reset | ConnectionError::ConnectionClosed(_) | ConnectionError::ApplicationClosed(_) => {
            Kind::Disconnected
        }
        ConnectionError::LocallyClosed => Kind::Cancelled,
        ConnectionError::VersionMismatch => Kind::Unsupported,
        ConnectionError::TransportError(error) => match alert(error.code) {
            // How we say that a certificate cannot be read or is not signed as it should be.
            Some(AlertDescription::DecodeError | AlertDescription::DecryptError) => Kind::TlsUntrusted,
            Some(alert) => kind_of_alert(alert),
            None => Kind::Protocol,
        },
        ConnectionError::CidsExhausted => Kind::Protocol,
    };
    Fault::new(kind, format!("QUIC: {error}"))
}
