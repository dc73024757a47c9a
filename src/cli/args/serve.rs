//! Arguments of servers, and of the tools around the queue.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::input;
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::cli::secret;
use crate::cli::units;
use crate::cli::users::{self, HashKind, Users};
use crate::fault::{Fault, Kind};
use crate::net::activation::{self, ActivatedSockets};
use crate::net::admission::{Admission, AdmissionLimits};
use crate::net::deadline::Limits;
use crate::net::listen::Listeners;
use crate::net::literal;
use crate::net::tls::{ServerTls, ServerTlsOptions};
use crate::scope::with_port;

/// Descriptors that a server needs for itself: listeners, the runtime, files, records, the queue.
const OWN_DESCRIPTORS: u64 = 32;

/// Where to listen, and for how many.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ListenArgs {
    /// Listen on ADDRESS:PORT (port 0: any free one), or on PORT of 127.0.0.1; may be repeated
    ///
    /// [::]:PORT is every interface. [::] accepts IPv4 too, unless an IPv4 address with the same port is also named.
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,
    /// Serve at most N connections at once; more are refused
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub max_clients: usize,
    /// Serve at most N connections from one address (IPv6: one /64 network), and no more than half of --max-clients
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub max_per_address: usize,
    /// Accept at most N new connections per minute from one address, half of them at once; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_rate_per_address: u32,
    /// Write the URLs to FILE, one per line, once the server listens
    #[arg(long, value_name = "FILE")]
    pub address_file: Option<PathBuf>,
    /// After INT or TERM, let open connections finish for this time
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "30")]
    pub drain: Duration,
}

/// Who may come in, and how they are kept private.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ServeArgs {
    /// Offer TLS with this certificate chain (PEM); may be repeated: a client gets the first that has the requested name
    #[arg(long, value_name = "FILE")]
    pub cert: Vec<PathBuf>,
    /// The certificate's key (PEM), if not in the same file; one for each --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Vec<PathBuf>,
    /// Offer TLS with a certificate made for NAME at start; may be repeated
    #[arg(long, value_name = "NAME", conflicts_with = "cert")]
    pub self_signed: Vec<String>,
    /// Write the certificate that --self-signed made to FILE, for clients' --ca-cert
    #[arg(long, value_name = "FILE", requires = "self_signed")]
    pub cert_out: Option<PathBuf>,
    /// Accept only clients with a certificate issued by an authority in FILE (PEM); without it no command is obeyed
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// Disconnect a client that is slower than RATE bytes per second for the time of --timeout; 0: only the timeout applies
    #[arg(long, value_name = "RATE", value_parser = units::size, default_value = "100")]
    pub min_rate: u64,
    /// Users who may log in: one NAME:HASH[:HOME[:FLAGS]] per line; --hash-password makes the hash
    #[arg(long, value_name = "FILE")]
    pub user_file: Option<PathBuf>,
    /// Ask for a password (without a terminal: read it from stdin), print its hash for the user file, and exit
    ///
    /// KIND is argon2id (the default), or scram-sha-256: a verifier that works with SCRAM-SHA-256, too.
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true, default_missing_value = "argon2id")]
    #[arg(hide_possible_values = true)]
    pub hash_password: Option<HashKind>,
}

impl ListenArgs {
    /// The sockets that the service manager passed, else what `--listen` says, else `default`.
    ///
    /// # Errors
    /// [`Kind::Config`] for passed sockets that are not TCP; as [`Listeners::bind`].
    pub fn bind(&self, default: &str, activated: ActivatedSockets) -> Result<Listeners, Fault> {
        match activated.tcp_only()? {
            none if none.is_empty() => Listeners::bind(&self.listen, default),
            passed => Ok(Listeners::activated(passed)),
        }
    }

    /// The places for clients: as many as the arguments say and the descriptors allow, where each client may take so many.
    /// `replace_own`: see [`AdmissionLimits`].
    pub fn admission(&self, out: &Output, descriptors_each: u64, replace_own: bool) -> Arc<Admission> {
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let room = most.saturating_sub(OWN_DESCRIPTORS) / descriptors_each;
        let clients = self.max_clients.min(usize::try_from(room).unwrap_or(usize::MAX).max(1));
        if clients < self.max_clients {
            let asked = self.max_clients;
            out.warn(&format!("--max-clients {asked}: {most} descriptors (ulimit -n) are enough for {clients}"));
        }
        let limits = AdmissionLimits {
            clients,
            per_address: self.max_per_address,
            rate_per_address: self.max_rate_per_address,
            replace_own,
        };
        Admission::new(limits)
    }

    /// Writes the address file. Before root is given up, so that it may lie where only root writes (`/run`); clients that
    /// come before the server is ready wait in the backlog of its sockets.
    ///
    /// # Errors
    ///
    /// `CannotCreate` if it cannot be written.
    pub fn write_addresses(&self, scheme: &str, addresses: Vec<SocketAddr>) -> Result<ServedUrls, Fault> {
        self.write_urls(addresses.into_iter().map(|address| ServedUrl::Tcp(scheme.to_owned(), address)).collect())
    }

    /// As [`ListenArgs::write_addresses`], each with a scheme of its own.
    ///
    /// # Errors
    ///
    /// `CannotCreate` if it cannot be written.
    pub fn write_urls(&self, urls: Vec<ServedUrl>) -> Result<ServedUrls, Fault> {
        let urls = ServedUrls(urls.into_iter().map(|served| (served.url(), served)).collect());
        if let Some(path) = &self.address_file {
            let text: String = urls.0.iter().map(|(url, _)| format!("{url}\n")).collect();
            write_whole(path, text.as_bytes())?;
        }
        Ok(urls)
    }
}

/// One place where a server listens.
#[derive(Debug)]
pub enum ServedUrl {
    /// A scheme and an address.
    Tcp(String, SocketAddr),
    /// A scheme and the path of a UNIX socket.
    Unix(String, PathBuf),
}

impl ServedUrl {
    fn url(&self) -> String {
        match self {
            ServedUrl::Tcp(scheme, address) => format!("{scheme}://{address}"),
            ServedUrl::Unix(scheme, path) => format!("{scheme}:{}", path.display()),
        }
    }
}

/// Where a server listens, as the address file says it.
#[derive(Debug)]
pub struct ServedUrls(Vec<(String, ServedUrl)>);

impl ServedUrls {
    /// The URLs, with blanks between them.
    pub fn text(&self) -> String {
        self.0.iter().map(|(url, _)| url.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Says where the server listens: the first line on stdout (or a `listening` record), and the service manager
    /// (`NOTIFY_SOCKET`, sd_notify(3)). From here on the server waits for no reader of its output.
    ///
    /// # Errors
    ///
    /// `Io` as [`Output::queue_all`].
    pub fn announce(&self, out: &Output) -> Result<(), Fault> {
        out.queue_all()?;
        for (url, served) in &self.0 {
            out.emit(&match served {
                ServedUrl::Tcp(_, address) => Listening::of(url, *address),
                ServedUrl::Unix(_, path) => Listening::at(url, path),
            })?;
        }
        tell_ready(out);
        Ok(())
    }
}

impl ServeArgs {
    /// The TLS side, if a certificate was named or is to be made.
    ///
    /// # Errors
    ///
    /// The fault of the certificate or its key; `CannotCreate` for `--cert-out`.
    pub fn tls(&self, out: &Output, alpn: &[&str]) -> Result<Option<ServerTls>, Fault> {
        if self.cert.is_empty() && self.self_signed.is_empty() {
            return match &self.client_ca {
                Some(_) => Err(Fault::new(Kind::Usage, "--client-ca needs --cert or --self-signed")),
                None => Ok(None),
            };
        }
        let keys = if self.key.is_empty() { &self.cert } else { &self.key };
        if keys.len() != self.cert.len() {
            return Err(Fault::new(Kind::Usage, "--key: one for each --cert, or none"));
        }
        keys.iter().try_for_each(|key| secret::look_at_path(out, key))?;
        let tls = ServerTls::new(&ServerTlsOptions {
            certs: self.cert.iter().cloned().zip(keys.iter().cloned()).collect(),
            self_signed: self.self_signed.clone(),
            client_ca: self.client_ca.clone(),
            alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
        })?;
        if let Some(path) = &self.cert_out {
            write_whole(path, tls.certificate_pem().as_bytes())?;
        }
        Ok(Some(tls))
    }

    /// How long a client may stay silent, and how slow it may be.
    pub fn limits(&self, idle: Duration) -> Limits {
        Limits { idle, until: None, min_rate: NonZeroU64::new(self.min_rate) }
    }

    /// The user file, read and checked.
    ///
    /// # Errors
    ///
    /// As [`Users::read`] and [`secret::look_at`].
    pub fn users(&self, out: &Output) -> Result<Option<Users>, Fault> {
        let Some(path) = &self.user_file else { return Ok(None) };
        secret::look_at_path(out, path)?;
        Users::read(path).map(Some)
    }
}

/// Tells the service manager that a server or watcher is ready. Needs a running tokio runtime.
pub fn tell_ready(out: &Output) {
    if let Err(error) = activation::notify_ready() {
        out.warn(&format!("NOTIFY_SOCKET: {error}"));
    }
}

/// `--hash-password`: a line for the user file.
///
/// # Errors
///
/// The fault of stdin, or of the hashing.
pub fn print_password_hash(kind: HashKind, out: &Output) -> anyhow::Result<Exit> {
    let stdin = input::stdin()?;
    let hash = if stdin.is_terminal() {
        let password = secret::from_terminal("password to hash: ")?;
        if password != secret::from_terminal("the same again: ")? {
            return Err(Fault::new(Kind::BadData, "the two passwords differ").into());
        }
        users::hash_password(password.expose(), kind)?
    } else {
        let mut line = String::new();
        BufReader::new(stdin).read_line(&mut line).map_err(|error| Fault::local("stdin", &error))?;
        users::hash_password(line.trim_end_matches(['\r', '\n']), kind)?
    };
    out.emit(&PasswordHash { hash })?;
    Ok(Exit::OK)
}

/// A password's hash for the user file.
#[derive(Debug, Serialize)]
struct PasswordHash {
    hash: String,
}

impl OutputRecord for PasswordHash {
    const TYPE: &'static str = "hash";
    const BARE: bool = true;

    fn text(&self, line: &mut TextLine) {
        line.field(&self.hash);
    }
}

/// Where a server listens.
#[derive(Debug, Serialize)]
pub(super) struct Listening<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// The UNIX socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl<'a> Listening<'a> {
    pub(super) fn of(url: &'a str, address: SocketAddr) -> Listening<'a> {
        Listening { url, address: Some(address.ip().to_string()), port: Some(address.port()), path: None }
    }

    fn at(url: &'a str, path: &Path) -> Listening<'a> {
        Listening { url, address: None, port: None, path: Some(path.to_string_lossy().into_owned()) }
    }
}

impl OutputRecord for Listening<'_> {
    const TYPE: &'static str = "listening";
    const BARE: bool = true;

    fn text(&self, line: &mut TextLine) {
        line.field(self.url);
    }
}

/// Writes a small file so that a reader sees all of it or nothing.
fn write_whole(path: &Path, content: &[u8]) -> Result<(), Fault> {
    let failed = |error: std::io::Error| Fault::creating(path.display(), &error);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new("."))).map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    // Others are to read it: it holds an address or a certificate, no secret.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}

/// Where the outgoing queue lies.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Queue")]
pub struct QueueArgs {
    // The variable is read where it is used: clap takes an empty one for a missing value, and it is unset.
    /// Queue directory (default: $APPLAYER_QUEUE, else /var/spool/applayer where you may write, else below
    /// $XDG_STATE_HOME)
    ///
    /// An empty $APPLAYER_QUEUE counts as unset.
    #[arg(long, value_name = "DIR")]
    pub queue_dir: Option<PathBuf>,
}

/// Which name servers to ask.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Name resolution")]
pub struct ResolverArgs {
    /// Query this name server, ADDRESS[:PORT] (default: the system's); may be repeated
    #[arg(long, value_name = "ADDR")]
    pub resolver: Vec<String>,
}

impl ResolverArgs {
    /// The servers that were named; the port is 53 where none is given (`ADDR`, `ADDR:PORT`, `ADDR#PORT`,
    /// `dns://ADDR:PORT`, `[V6]:PORT`).
    ///
    /// # Errors
    ///
    /// `Usage` for what is no address.
    pub fn servers(&self) -> Result<Vec<SocketAddr>, Fault> {
        self.resolver.iter().map(|text| parse_server(text)).collect()
    }
}

fn parse_server(text: &str) -> Result<SocketAddr, Fault> {
    let bare = text.strip_prefix("dns://").or_else(|| text.strip_prefix("udp://")).unwrap_or(text);
    let bare = bare.trim_end_matches('/');
    let found = match bare.split_once('#') {
        Some((ip, port)) => {
            literal::address(ip)?.zip(port.parse().ok()).map(|(address, port)| with_port(address, port))
        }
        None => match literal::address(bare)? {
            Some(address) => Some(with_port(address, 53)),
            None => literal::with_port(bare)?,
        },
    };
    found.ok_or_else(|| {
        Fault::new(Kind::Usage, format!("--resolver {text}: not the address of a name server"))
            .with_hint("a resolver is named by address, 192.0.2.1 or 192.0.2.1:5353")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers() {
        for (text, expected) in [
            ("127.0.0.1", "127.0.0.1:53"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("127.0.0.1#5353", "127.0.0.1:5353"),
            ("dns://127.0.0.1:5353", "127.0.0.1:5353"),
            ("::1", "[::1]:53"),
            ("[::1]", "[::1]:53"),
            ("[::1]:5353", "[::1]:5353"),
            ("::1#5353", "[::1]:5353"),
        ] {
            assert_eq!(parse_server(text).unwrap().to_string(), expected, "{text}");
        }
        for bad in ["", "localhost", "127.0.0.1:x", "tls://127.0.0.1", "1.2.3"] {
            assert_eq!(parse_server(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }

    #[test]
    fn small_files_are_written_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("address");
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(write_whole("/nowhere/x".as_ref(), b"").unwrap_err().kind, Kind::CannotCreate);
    }
}
