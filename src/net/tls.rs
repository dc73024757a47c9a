//! TLS for both sides on rustls with ring: certificates are checked unless the user insists otherwise.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::{Resumption, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::fault::{Fault, Kind};
use crate::net::certificate;
use crate::net::counters::Counter;
use crate::net::reload::Reloaded;
use crate::net::sessions::ControlSessions;
use crate::net::stream::Stream;
use crate::net::verify::{Trust, provider};
use crate::scope::without_zone;

/// How long a client may take for its part of a server's handshake.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// When TLS starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    None,
    /// If the peer offers it; an attacker can strip it.
    Try,
    /// By STARTTLS or AUTH TLS; without it the dialogue ends.
    Starttls,
    /// Before the first byte.
    Implicit,
}

/// What a client wants of TLS.
#[derive(Debug, Clone, Default)]
pub struct ClientTlsOptions {
    /// Trust these certificates (PEM) instead of the system's.
    pub ca_cert: Option<PathBuf>,
    /// Our own certificate chain (PEM).
    pub cert: Option<PathBuf>,
    /// Its key (PEM); may stand in the same file.
    pub key: Option<PathBuf>,
    /// Take any certificate.
    pub insecure: bool,
    /// Take the certificate with this SHA-256 fingerprint and no other, whoever issued it.
    pub fingerprint: Option<[u8; 32]>,
    /// Take servers whose public key (SubjectPublicKeyInfo, RFC 7469, section 2.4) has one of these SHA-256 digests. The
    /// certificate is checked as well if `ca_cert` or `tls_name` is there, otherwise the key alone counts.
    pub pins: Vec<[u8; 32]>,
    /// The name to ask for and to check, where it is not the host's.
    pub tls_name: Option<String>,
    /// Application protocols to offer (RFC 7301).
    pub alpn: Vec<Vec<u8>>,
}

/// The client side: one configuration and one session store, shared by its clones.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    tls_name: Option<String>,
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
    /// [`Kind::Config`] for a file that cannot be read or does not serve as certificate or key.
    pub fn new(options: &ClientTlsOptions) -> Result<ClientTls, Fault> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| Fault::new(Kind::Internal, error.to_string()))?;
        let trust = match (&options.fingerprint, &options.ca_cert) {
            (Some(fingerprint), _) => Trust::Fingerprint(*fingerprint),
            (None, _) if options.insecure => Trust::Anything,
            (None, Some(path)) => Trust::files(chain_of(path)?).map_err(|fault| fault.context(path.display()))?,
            (None, None) => Trust::system(),
        };
        let trust = match (options.pins.as_slice(), &options.ca_cert, &options.tls_name) {
            ([], _, _) => trust,
            (pins, None, None) => Trust::pinned(pins, Trust::Anything),
            (pins, _, _) => Trust::pinned(pins, trust),
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(trust));
        let mut config = match &options.cert {
            Some(cert) => {
                let key = options.key.as_deref().unwrap_or(cert);
                builder.with_client_auth_cert(chain_of(cert)?, key_of(key)?).map_err(|e| unusable(cert, &e))?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = options.alpn.clone();
        let (tls_name, insecure) = (options.tls_name.clone(), options.insecure && options.fingerprint.is_none());
        Ok(ClientTls { config: Arc::new(config), tls_name, insecure })
    }

    /// The same configuration with an empty session store of its own. FTP servers demand that a data connection resumes
    /// the session of its very control connection; a ticket from another one is refused.
    pub fn own_sessions(&self) -> ClientTls {
        self.with_sessions(Arc::default())
    }

    fn with_sessions(&self, sessions: Arc<ControlSessions>) -> ClientTls {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::store(sessions);
        ClientTls { config: Arc::new(config), ..self.clone() }
    }

    /// The same with other application protocols.
    #[must_use]
    pub fn with_alpn(&self, protocols: &[&str]) -> ClientTls {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        ClientTls { config: Arc::new(config), ..self.clone() }
    }

    /// The configuration, for QUIC.
    pub(super) fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// The name that the certificate must hold.
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
            .map_err(|error| Fault::new(Kind::Internal, format!("TLS: {error}")))?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp).map_err(|error| fault_of("TLS", &error))?;
        }
        Ok(BlockingTls(Box::new(StreamOwned::new(session, tcp))))
    }

    /// True when certificates are checked.
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

/// A client's TLS over a TCP stream with blocking calls.
#[derive(Debug)]
pub struct BlockingTls(Box<StreamOwned<ClientConnection, std::net::TcpStream>>);

impl BlockingTls {
    /// The socket, for its time limits.
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

/// What a server needs for TLS: a certificate and its key, or names for a certificate of its own making.
#[derive(Debug, Clone, Default)]
pub struct ServerTlsOptions {
    /// Certificate chains and their keys (PEM), which may stand in the same file. A client gets the first that holds the
    /// name it asks for (SNI, RFC 6066, section 3), else the first.
    pub certs: Vec<(PathBuf, PathBuf)>,
    /// Make a certificate for these names, valid for this process only.
    pub self_signed: Vec<String>,
    /// Take only clients with a certificate of this authority (PEM).
    pub client_ca: Option<PathBuf>,
    /// Application protocols to agree on: a client that offers others only is refused (RFC 7301, section 3.2).
    pub alpn: Vec<Vec<u8>>,
}

/// How many tickets a connection with sessions of its own gives out: a client may use each only once (RFC 8446, appendix
/// C.4), and each FTP data connection takes one.
const OWN_TICKETS: usize = 8;

/// The server side: one configuration shared by all connections that begin while it is the newest.
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
    /// Reads or makes the certificate that the options name.
    ///
    /// # Errors
    /// [`Kind::Config`] for a file that cannot be read or does not serve; else the fault of making a certificate.
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
        let served =
            served.map_err(|error| Fault::new(Kind::Config, format!("certificate and key are unusable: {error}")))?;
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

    /// Reads the files again. What is returned makes handshakes use what they hold now; connections that are open go on.
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

    /// The certificate that `--self-signed` made, PEM, for clients that are to trust it; empty for one read from a file.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The same configuration with session tickets and a session cache of its own: what resumes there belongs to the very
    /// connection that this was made for (FTP data connections, RFC 4217, section 10.2).
    ///
    /// # Errors
    /// [`Kind::Internal`] when no ticket key can be made.
    pub fn own_sessions(&self) -> Result<ServerTls, Fault> {
        let mut config = ServerConfig::clone(&self.config.now());
        config.ticketer = rustls::crypto::ring::Ticketer::new()
            .map_err(|error| Fault::new(Kind::Internal, format!("session tickets: {error}")))?;
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(8);
        config.send_tls13_tickets = OWN_TICKETS;
        Ok(ServerTls { config: Reloaded::new(config), ..self.clone() })
    }

    /// The same configuration, keys and sessions included, that gives each new TLS 1.3 session `count` tickets.
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

/// The certificates of a server, in the order in which they were named.
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

/// The fault of a handshake, or of reading behind it: in TLS 1.3 a server refuses the client's certificate only there. `what`
/// names what was done, where TLS itself is not at fault.
pub fn fault_of(what: &str, error: &io::Error) -> Fault {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            Fault::new(Kind::TlsUntrusted, format!("TLS: {error}"))
                .with_hint("--ca-cert FILE trusts another authority, --tls-name NAME checks another name")
        }
        Some(rustls::Error::AlertReceived(alert)) => Fault::new(kind_of_alert(*alert), format!("TLS: {error}")),
        Some(_) => Fault::new(Kind::Protocol, format!("TLS: {error}")),
        None => Fault::network(what, error),
    }
}

/// What an alert of the peer says (RFC 8446, section 6): it does not believe a certificate or wants one, it has trouble of
/// its own, it leaves, or the two sides do not come to terms.
pub(super) fn kind_of_alert(alert: AlertDescription) -> Kind {
    use AlertDescription as A;
    match alert {
        A::NoCertificate
        | A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA
        | A::AccessDenied
        | A::CertificateUnobtainable
        | A::BadCertificateStatusResponse
        | A::BadCertificateHashValue
        | A::CertificateRequired => Kind::TlsUntrusted,
        A::InternalError => Kind::PeerTemporary,
        A::CloseNotify | A::UserCanceled => Kind::Disconnected,
        A::NoApplicationProtocol => Kind::Unsupported,
        _ => Kind::Protocol,
    }
}

fn chain_of(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, &error))?.collect();
    match found {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(unusable(path, &"no certificate in it")),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn key_of(path: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unusable(path, &error))
}

fn roots_of(path: &Path) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in chain_of(path)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

/// A certificate for this run: Ed25519 is not understood by every peer's default settings, so P-256 it is.
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
mod tests {
    use super::*;
    use rustls::client::ClientSessionStore as _;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (Stream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Stream::Plain(near), Stream::Plain(listener.accept().await.unwrap().0))
    }

    async fn shake(client: &ClientTls, server: &ServerTls, host: &str) -> (Result<Stream, Fault>, bool) {
        let (near, far) = pair().await;
        let (client, server) = tokio::join!(client.connect(near, host), async {
            let mut stream = server.accept(far).await?;
            stream.write_all(b"hello").await.unwrap();
            stream.flush().await.unwrap();
            Ok::<_, Fault>(stream)
        });
        (client, server.is_ok())
    }

    fn trusting(server: &ServerTls, directory: &tempfile::TempDir) -> ClientTlsOptions {
        let path = directory.path().join("ca.pem");
        std::fs::write(&path, server.certificate_pem()).unwrap();
        ClientTlsOptions { ca_cert: Some(path), ..ClientTlsOptions::default() }
    }

    fn server(name: &str) -> ServerTls {
        ServerTls::new(&ServerTlsOptions { self_signed: vec![name.into()], ..Default::default() }).unwrap()
    }

    #[tokio::test]
    async fn names_and_issuers_are_checked() {
        let server = server("mail.test");
        let directory = tempfile::tempdir().unwrap();
        let options = trusting(&server, &directory);
        let client = ClientTls::new(&options).unwrap();
        let mut stream = shake(&client, &server, "mail.test").await.0.unwrap();
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(stream.tls_info().unwrap().version, "TLSv1.3");
        assert_eq!(shake(&client, &server, "other.test").await.0.unwrap_err().kind, Kind::TlsUntrusted);
        let named = ClientTlsOptions { tls_name: Some("mail.test".into()), ..options };
        assert!(shake(&ClientTls::new(&named).unwrap(), &server, "127.0.0.1").await.0.is_ok());
        let system = ClientTls::new(&ClientTlsOptions::default()).unwrap();
        assert_eq!(shake(&system, &server, "mail.test").await.0.unwrap_err().kind, Kind::TlsUntrusted);
        let careless = ClientTlsOptions { insecure: true, ..Default::default() };
        assert!(shake(&ClientTls::new(&careless).unwrap(), &server, "other.test").await.0.is_ok());
        let shown = CertificateDer::from_pem_slice(server.certificate_pem().as_bytes()).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &shown);
        let mut fingerprint: [u8; 32] = digest.as_ref().try_into().unwrap();
        let pinned =
            |fingerprint| ClientTls::new(&ClientTlsOptions { fingerprint: Some(fingerprint), ..Default::default() });
        assert!(shake(&pinned(fingerprint).unwrap(), &server, "other.test").await.0.is_ok());
        fingerprint[0] ^= 1;
        let other = shake(&pinned(fingerprint).unwrap(), &server, "mail.test").await.0;
        assert_eq!(other.unwrap_err().kind, Kind::TlsUntrusted);
    }

    #[tokio::test]
    async fn the_name_that_is_asked_for_chooses_the_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut certs = Vec::new();
        for names in [&["a.test"][..], &["b.test", "*.c.test"]] {
            let made =
                rcgen::generate_simple_self_signed(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
            let (made, file) = (made.unwrap(), at(names[0]));
            std::fs::write(&file, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
            certs.push((file.clone(), file));
        }
        let server = ServerTls::new(&ServerTlsOptions { certs, ..Default::default() }).unwrap();
        for (asked, trusted, works) in [
            ("a.test", "a.test", true),
            ("b.test", "b.test", true),
            ("x.c.test", "b.test", true),
            ("b.test", "a.test", false),
            ("unknown.test", "a.test", false),
            // No name in an address: the first certificate, which does not hold it.
            ("127.0.0.1", "a.test", false),
        ] {
            let client =
                ClientTls::new(&ClientTlsOptions { ca_cert: Some(at(trusted)), ..Default::default() }).unwrap();
            assert_eq!(shake(&client, &server, asked).await.0.is_ok(), works, "{asked} {trusted}");
        }
        let first =
            ClientTlsOptions { ca_cert: Some(at("a.test")), tls_name: Some("a.test".into()), ..Default::default() };
        assert!(shake(&ClientTls::new(&first).unwrap(), &server, "127.0.0.1").await.0.is_ok());
    }

    #[tokio::test]
    async fn sessions_resume_within_one_store_only() {
        let server = server("ftp.test");
        let directory = tempfile::tempdir().unwrap();
        let shared = ClientTls::new(&trusting(&server, &directory)).unwrap();
        let own = shared.own_sessions();
        for (client, resumed) in [(&own, false), (&own.clone(), true), (&shared.own_sessions(), false)] {
            let mut stream = shake(client, &server, "ftp.test").await.0.unwrap();
            let mut hello = [0; 5];
            stream.read_exact(&mut hello).await.unwrap();
            assert_eq!(stream.tls_info().unwrap().resumed, resumed);
        }
    }

    /// proftpd gives two tickets to a control connection and none to the data connections that resume it.
    #[tokio::test]
    async fn two_tickets_serve_any_number_of_connections() {
        let control = server("ftp.test").with_tickets(2);
        let directory = tempfile::tempdir().unwrap();
        let client = ClientTls::new(&trusting(&control, &directory)).unwrap().own_sessions();
        for connection in 0..20 {
            let server = if connection == 0 { control.clone() } else { control.with_tickets(0) };
            let mut stream = shake(&client, &server, "ftp.test").await.0.unwrap();
            stream.read_exact(&mut [0; 5]).await.unwrap();
            let info = stream.tls_info().unwrap();
            assert_eq!((info.version, info.resumed), ("TLSv1.3", connection > 0), "{connection}");
        }
    }

    /// What a ticket holds, as rustls itself tells it: anything new has to be looked at in `sys::copy_of_ticket`.
    #[tokio::test]
    async fn a_ticket_holds_what_its_copy_takes_along() {
        let (server, directory) = (server("ftp.test").with_tickets(1), tempfile::tempdir().unwrap());
        let sessions = Arc::<ControlSessions>::default();
        let client = ClientTls::new(&trusting(&server, &directory)).unwrap().with_sessions(sessions.clone());
        shake(&client, &server, "ftp.test").await.0.unwrap().read_exact(&mut [0; 5]).await.unwrap();
        let name = ServerName::try_from("ftp.test").unwrap();
        let tickets = [(); 3].map(|()| format!("{:#?}", sessions.take_tls13_ticket(&name).unwrap()));
        assert!(tickets.iter().all(|ticket| *ticket == tickets[0]), "{tickets:?}");
        let field = |line: &str| Some(line.strip_prefix("    ")?.split_once(": ")?.0.to_owned());
        let fields: Vec<String> = tickets[0].lines().filter_map(field).filter(|name| !name.starts_with(' ')).collect();
        assert_eq!(fields, ["suite", "age_add", "max_early_data_size", "common", "quic_params"]);
    }

    #[tokio::test]
    async fn a_peer_without_tls_is_a_protocol_fault() {
        let (near, far) = pair().await;
        let client = ClientTls::new(&ClientTlsOptions::default()).unwrap();
        let (result, _) = tokio::join!(client.connect(near, "a.test"), async {
            let Stream::Plain(mut tcp) = far else { unreachable!() };
            tcp.write_all(b"220 plain text here\r\n").await
        });
        assert_eq!(result.unwrap_err().kind, Kind::Protocol);
    }

    /// The kind of a handshake in which the peer answers with these bytes and goes.
    async fn answered_by(bytes: &[u8]) -> Kind {
        let (near, far) = pair().await;
        let client = ClientTls::new(&ClientTlsOptions::default()).unwrap();
        let (result, ()) = tokio::join!(client.connect(near, "a.test"), async {
            let Stream::Plain(mut tcp) = far else { unreachable!() };
            // The whole hello: bytes left unread would turn the end into a reset.
            let mut head = [0; 5];
            tcp.read_exact(&mut head).await.unwrap();
            let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
            tcp.read_exact(&mut hello).await.unwrap();
            tcp.write_all(bytes).await.unwrap();
        });
        result.unwrap_err().kind
    }

    #[tokio::test]
    async fn an_alert_is_permanent_only_when_it_is_about_certificates() {
        for alert in 0..=255u8 {
            let expected = match alert {
                41..=46 | 48 | 49 | 111 | 113 | 114 | 116 => Kind::TlsUntrusted,
                80 => Kind::PeerTemporary,
                0 | 90 => Kind::Disconnected,
                120 => Kind::Unsupported,
                _ => Kind::Protocol,
            };
            assert_eq!(answered_by(&[21, 3, 3, 0, 2, 2, alert]).await, expected, "alert {alert}");
        }
        assert_eq!(answered_by(b"").await, Kind::Disconnected);
        assert_eq!(answered_by(b"\x16\x03\x03\x40\x00cut").await, Kind::Disconnected);
    }

    #[test]
    fn unreadable_files_are_named() {
        let missing = ClientTlsOptions { ca_cert: Some("/nowhere/ca.pem".into()), ..Default::default() };
        let fault = ClientTls::new(&missing).unwrap_err();
        assert_eq!(fault.kind, Kind::Config);
        assert!(fault.detail.starts_with("/nowhere/ca.pem: "), "{}", fault.detail);
    }
}
