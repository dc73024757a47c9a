//! TLS for both sides on rustls with ring: certificates are checked unless the user explicitly disables it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{Resumption, verify_server_name};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::fault::{Fault, Kind};
use crate::net::certificate;
use crate::net::counters::Counter;
use crate::net::pin::CertificatePin;
use crate::net::reload::Reloaded;
use crate::net::sessions::ControlSessions;
use crate::net::stream::Stream;
use crate::net::tls_fault::{fault_of, pair_words};
use crate::net::untrusted::Untrusted;
use crate::net::verify::{HandshakeVerifier, Trust, provider};
use crate::scope::without_zone;

/// The time that a client has for its part of a server's handshake.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// The start of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    None,
    /// If the peer offers it; an attacker can strip the offer.
    Try,
    /// By STARTTLS or AUTH TLS; without it the dialogue ends.
    Starttls,
    /// Before the first byte.
    Implicit,
}

/// The TLS options of a client.
#[derive(Debug, Clone, Default)]
pub struct ClientTlsOptions {
    /// Trust these certificates (PEM) instead of the system's.
    pub ca_cert: Option<PathBuf>,
    /// Our own certificate chain (PEM).
    pub cert: Option<PathBuf>,
    /// Its key (PEM), possibly in the same file.
    pub key: Option<PathBuf>,
    /// Accept any certificate.
    pub insecure: bool,
    /// Accept servers whose certificate or key has one of these digests. The certificate is checked as well if `ca_cert` or
    /// `tls_name` is set, otherwise the pin alone counts; `insecure` then has no effect.
    pub pins: Vec<CertificatePin>,
    /// Only the pins count, even with `ca_cert` or `tls_name`.
    pub pins_alone: bool,
    /// The server name to send and to check, if it differs from the host.
    pub tls_name: Option<String>,
    /// Application protocols to offer (RFC 7301).
    pub alpn: Vec<Vec<u8>>,
}

/// The client side: one configuration and one session store, shared by its clones.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    tls_name: Option<String>,
    /// The trusted certificates, if certificates are checked.
    trust: Arc<Trust>,
    verifier: Arc<HandshakeVerifier>,
    insecure: bool,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("tls_name", &self.tls_name).field("insecure", &self.insecure).finish()
    }
}

impl ClientTls {
    /// Reads the certificates that the options name. The system's roots are read only when a handshake needs them.
    ///
    /// # Errors
    /// [`Kind::Config`] for a file that cannot be read or is not a usable certificate or key.
    pub fn new(options: &ClientTlsOptions) -> Result<ClientTls, Fault> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Fault::new(Kind::Internal, error.to_string()))?;
        let trust = || match &options.ca_cert {
            Some(path) => Trust::files(chain_of(path)?).map_err(|fault| fault.context(path.display())),
            None => Ok(Trust::system()),
        };
        let checked = !options.pins_alone && (options.ca_cert.is_some() || options.tls_name.is_some());
        let trust = Arc::new(match options.pins.as_slice() {
            [] => trust()?,
            pins => Trust::Pinned { pins: pins.to_vec(), and: checked.then(trust).transpose()?.map(Box::new) },
        });
        let insecure = options.insecure && options.pins.is_empty();
        let verifier = Arc::new(HandshakeVerifier::new(trust.clone(), !insecure));
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier.clone());
        let mut config = match &options.cert {
            Some(cert) => {
                let key = options.key.as_deref().unwrap_or(cert);
                builder
                    .with_client_auth_cert(chain_of(cert)?, key_of(key)?)
                    .map_err(|e| unusable(cert, &pair_words(&e)))?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = options.alpn.clone();
        Ok(ClientTls { config: Arc::new(config), tls_name: options.tls_name.clone(), trust, verifier, insecure })
    }

    /// The same configuration with a separate, empty session store. FTP servers demand that a data connection resumes the
    /// session of its own control connection; they refuse a ticket from another one.
    pub fn own_sessions(&self) -> ClientTls {
        self.with_sessions(Arc::default())
    }

    fn with_sessions(&self, sessions: Arc<ControlSessions>) -> ClientTls {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::store(sessions);
        ClientTls { config: Arc::new(config), ..self.clone() }
    }

    /// The same configuration with other application protocols.
    #[must_use]
    pub fn with_alpn(&self, protocols: &[&str]) -> ClientTls {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        ClientTls { config: Arc::new(config), ..self.clone() }
    }

    /// The same configuration that accepts any certificate: to inspect untrusted ones.
    #[must_use]
    pub fn unchecked(&self) -> ClientTls {
        let verifier = Arc::new(HandshakeVerifier::new(self.trust.clone(), false));
        let mut config = ClientConfig::clone(&self.config);
        config.dangerous().set_certificate_verifier(verifier.clone());
        // A checking client must not resume an unchecked session.
        config.resumption = Resumption::default();
        ClientTls { config: Arc::new(config), verifier, insecure: true, ..self.clone() }
    }

    /// Checks whether a chain shown by `host` (DER, its own certificate first) is trusted, even if [`ClientTls::verifies`]
    /// is false.
    ///
    /// # Errors
    /// [`Kind::TlsUntrusted`] with the reason; [`Kind::Usage`] for a name that no certificate can hold.
    pub fn judge(&self, host: &str, chain: &[Vec<u8>]) -> Result<(), Fault> {
        let chain: Vec<CertificateDer<'_>> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let Some((shown, intermediates)) = chain.split_first() else {
            return Err(Fault::new(Kind::TlsUntrusted, "TLS: the peer shows no certificate"));
        };
        let verdict = self.trust.judge(shown, intermediates, &self.name_of(host)?, UnixTime::now());
        verdict.map_err(|untrusted| untrusted.fault())
    }

    /// The configuration, for QUIC.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// The reason why the last certificate of a name was refused.
    pub(super) fn refusal(&self, name: &ServerName<'_>) -> Option<Untrusted> {
        self.verifier.refusal(name)
    }

    /// The name required in the certificate.
    pub(super) fn name_of(&self, host: &str) -> Result<ServerName<'static>, Fault> {
        let name = self.tls_name.as_deref().unwrap_or(without_zone(host)).trim_start_matches('[').trim_end_matches(']');
        ServerName::try_from(name.trim_end_matches('.').to_owned())
            .map_err(|_| Fault::new(Kind::Usage, format!("{name}: not a name that a certificate can hold")))
    }

    /// The handshake with blocking calls, for work that needs no runtime.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a name that no certificate can hold; else the fault of the handshake.
    pub fn connect_blocking(&self, mut tcp: std::net::TcpStream, host: &str) -> Result<BlockingTls, Fault> {
        let mut session = ClientConnection::new(self.config.clone(), self.name_of(host)?)
            .map_err(|_| Fault::new(Kind::Internal, "TLS: no handshake can begin"))?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp).map_err(|error| fault_of("TLS", &error))?;
        }
        Ok(BlockingTls(Box::new(StreamOwned::new(session, tcp))))
    }

    /// True if certificates are checked.
    pub fn verifies(&self) -> bool {
        !self.insecure
    }

    /// The handshake as a client over a plain TCP stream; `host` is the name to check unless `tls_name` was set.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a name that no certificate can hold, [`Kind::Unsupported`] over TLS; else the fault of the
    /// handshake.
    pub async fn connect(&self, stream: Stream, host: &str) -> Result<Stream, Fault> {
        let Stream::Plain(tcp) = stream else {
            return Err(Fault::new(Kind::Unsupported, "TLS needs a plain TCP connection"));
        };
        let name = self.name_of(host)?;
        let connector = TlsConnector::from(self.config.clone());
        match connector.connect(name, tcp).await {
            Ok(tls) => Ok(Stream::Tls(Box::new(TlsStream::Client(tls)))),
            Err(error) => Err(fault_of("TLS", &error)),
        }
    }
}

/// TLS of a client over a TCP stream with blocking calls.
#[derive(Debug)]
pub struct BlockingTls(Box<StreamOwned<ClientConnection, std::net::TcpStream>>);

impl BlockingTls {
    /// The socket, to set its timeouts.
    pub fn socket(&self) -> &std::net::TcpStream {
        self.0.get_ref()
    }
}

impl io::Read for BlockingTls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Write for BlockingTls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The TLS options of a server: a certificate and its key, or names for a self-signed certificate.
#[derive(Debug, Clone, Default)]
pub struct ServerTlsOptions {
    /// Certificate chains and their keys (PEM), possibly in the same file. A client gets the first chain with the requested
    /// name (SNI, RFC 6066, section 3), else the first one.
    pub certs: Vec<(PathBuf, PathBuf)>,
    /// Make a certificate for these names, valid for this process only.
    pub self_signed: Vec<String>,
    /// Accept only clients with a certificate of this authority (PEM).
    pub client_ca: Option<PathBuf>,
    /// Application protocols to negotiate: a client that offers only others is refused (RFC 7301, section 3.2).
    pub alpn: Vec<Vec<u8>>,
}

/// The number of tickets for a connection with a separate session store: a client may use each only once (RFC 8446, appendix
/// C.4), and each FTP data connection takes one.
const OWN_TICKETS: usize = 8;

/// The server side: one configuration, shared by all connections that begin while it is current.
#[derive(Clone)]
pub struct ServerTls {
    config: Reloaded<ServerConfig>,
    certificate_pem: String,
    options: Arc<ServerTlsOptions>,
    /// The end of the certificate's validity, in seconds since 1970.
    not_after: Reloaded<Option<i64>>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

impl ServerTls {
    /// Reads or makes the certificate of the options.
    ///
    /// # Errors
    /// [`Kind::Config`] for a file that cannot be read or used; else the fault of making a certificate.
    pub fn new(options: &ServerTlsOptions) -> Result<ServerTls, Fault> {
        let (pairs, certificate_pem) = match options.certs.as_slice() {
            [] => {
                let (chain, key, pem) = self_signed(&options.self_signed)?;
                (vec![(chain, key)], pem)
            }
            files => {
                let read = files.iter().map(|(cert, key)| Ok((chain_of(cert)?, key_of(key)?)));
                (read.collect::<Result<_, Fault>>()?, String::new())
            }
        };
        let ends = pairs.iter().filter_map(|(chain, _)| chain.first());
        let not_after = ends.filter_map(|certificate| certificate::not_after(certificate)).min();
        let usable = |(chain, key)| CertifiedKey::from_der(chain, key, &provider()).map(Arc::new);
        let served = pairs.into_iter().map(usable).collect::<Result<_, _>>();
        let served = served.map_err(|error| {
            Fault::new(Kind::Config, format!("certificate and key are unusable: {}", pair_words(&error)))
        })?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Fault::new(Kind::Internal, error.to_string()))?;
        let builder = match &options.client_ca {
            Some(path) => {
                let roots = Arc::new(roots_of(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .build()
                    .map_err(|error| unusable(path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(NamedCertificates(served)));
        config.alpn_protocols = options.alpn.clone();
        config.ticketer = rustls::crypto::ring::Ticketer::new()
            .map_err(|error| Fault::new(Kind::Internal, format!("session tickets: {error}")))?;
        let (config, not_after) = (Reloaded::new(config), Reloaded::new(not_after));
        Ok(ServerTls { config, certificate_pem, options: Arc::new(options.clone()), not_after })
    }

    /// Reads the files again. The returned function makes new handshakes use their content; open connections continue.
    ///
    /// # Errors
    /// As [`ServerTls::new`].
    pub fn renewed(&self) -> Result<impl FnOnce() + Send + 'static, Fault> {
        let (old, new) = (self.clone(), ServerTls::new(&self.options)?);
        Ok(move || {
            old.config.replace(new.config.now());
            old.not_after.replace(new.not_after.now());
        })
    }

    /// The end of the certificate's validity, in seconds since 1970.
    pub fn not_after(&self) -> Option<i64> {
        *self.not_after.now()
    }

    /// The certificate made by `--self-signed`, PEM, for clients that should trust it; empty for one read from a file.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The same configuration with separate session tickets and a separate session cache: only sessions of the one
    /// connection that this was made for can be resumed (FTP data connections, RFC 4217, section 10.2).
    ///
    /// # Errors
    /// [`Kind::Internal`] if no ticket key can be made.
    pub fn own_sessions(&self) -> Result<ServerTls, Fault> {
        let mut config = ServerConfig::clone(&self.config.now());
        config.ticketer = rustls::crypto::ring::Ticketer::new()
            .map_err(|error| Fault::new(Kind::Internal, format!("session tickets: {error}")))?;
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
        config.send_tls13_tickets = OWN_TICKETS;
        Ok(ServerTls { config: Reloaded::new(config), ..self.clone() })
    }

    /// The same configuration, including keys and sessions, that sends `count` tickets for each new TLS 1.3 session.
    #[must_use]
    pub fn with_tickets(&self, count: usize) -> ServerTls {
        let mut config = ServerConfig::clone(&self.config.now());
        config.send_tls13_tickets = count;
        ServerTls { config: Reloaded::new(config), ..self.clone() }
    }

    /// The handshake as a server over a plain TCP stream.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] over TLS; [`Kind::TimedOut`] after [`HANDSHAKE_LIMIT`]; else the fault of the handshake.
    pub async fn accept(&self, stream: Stream) -> Result<Stream, Fault> {
        let Stream::Plain(tcp) = stream else {
            return Err(Fault::new(Kind::Unsupported, "TLS needs a plain TCP connection"));
        };
        let fault = match tokio::time::timeout(HANDSHAKE_LIMIT, TlsAcceptor::from(self.config.now()).accept(tcp)).await
        {
            Ok(Ok(tls)) => return Ok(Stream::Tls(Box::new(TlsStream::Server(tls)))),
            Ok(Err(error)) => fault_of("TLS", &error),
            Err(_) => Fault::new(Kind::TimedOut, format!("TLS handshake: no end in {HANDSHAKE_LIMIT:?}")),
        };
        Counter::RefusedTls.add(1);
        Err(fault)
    }
}

/// The certificates of a server, in the order of the options.
#[derive(Debug)]
struct NamedCertificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for NamedCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let signs = |it: &&Arc<CertifiedKey>| it.key.choose_scheme(hello.signature_schemes()).is_some();
        let asked = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let holds = |it: &&Arc<CertifiedKey>| {
            let certificate = it.end_entity_cert().and_then(ParsedCertificate::try_from);
            asked.as_ref().zip(certificate.ok()).is_some_and(|(name, it)| verify_server_name(&it, name).is_ok())
        };
        let named = self.0.iter().filter(signs).find(holds);
        named.or_else(|| self.0.iter().find(signs)).cloned()
    }
}

fn unusable(path: &Path, error: &dyn fmt::Display) -> Fault {
    Fault::new(Kind::Config, format!("{}: {error}", path.display()))
}

/// The fault of an unusable file of certificates or keys: rustls prints markers and lines as lists of numbers.
fn unreadable(path: &Path, error: &pem::Error) -> Fault {
    let why = match error {
        pem::Error::Io(error) => return unusable(path, error),
        pem::Error::MissingSectionEnd { .. } => "a PEM section has no end",
        pem::Error::IllegalSectionStart { .. } => "a PEM section begins with a malformed line",
        pem::Error::Base64Decode(_) => "a PEM section is not base64",
        pem::Error::NoItemsFound => "no private key in it (PEM)",
        _ => "not PEM",
    };
    unusable(path, &why)
}

fn chain_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, &error))?.collect();
    match found {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(unusable(path, &"no certificate in it")),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn key_of(path: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable(path, &error))
}

fn roots_of(path: &Path) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in chain_of(path)? {
        roots.add(certificate).map_err(|_| unusable(path, &"one of its certificates cannot be an authority"))?;
    }
    Ok(roots)
}

/// Makes a certificate for this run, with P-256: not every peer's default settings support Ed25519.
fn self_signed(names: &[String]) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, String), Fault> {
    let failed = |error: rcgen::Error| Fault::new(Kind::Config, format!("self-signed certificate: {error}"));
    let names = if names.is_empty() { vec!["localhost".to_owned()] } else { names.to_vec() };
    let made = rcgen::generate_simple_self_signed(names).map_err(failed)?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .map_err(|error| Fault::new(Kind::Internal, error.to_owned()))?;
    let pem = made.cert.pem();
    Ok((vec![made.cert.der().clone()], key, pem))
}

#[cfg(test)]
mod tests;
