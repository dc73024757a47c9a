//! The common parts of the four FTP clients: arguments beyond those of every client, reusable connections, and the format of
//! times.

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::cli::args::{LoginArgs, NetArgs, RetryArgs, TlsArgs};
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::ftp::charset::WireCharset;
use crate::ftp::client::{FtpClient, FtpClientOptions, PortRange, tls_mode};
use crate::ftp::listing::{EntryType, Modified, format_rfc3339};
use crate::ftp::path::FtpUrl;
use crate::net::pace::TransferPace;
use crate::net::tls::{ClientTls, TlsMode};
use crate::secret::Secret;

/// How to use an FTP server.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "FTP")]
pub(super) struct FtpArgs {
    /// Let the server open the data connections (EPRT, PORT); not through a proxy
    #[arg(short = 'A', long)]
    pub(super) active: bool,
    /// Ports to listen on for active data connections
    #[arg(long, value_name = "FIRST-LAST", requires = "active")]
    pub(super) port_range: Option<PortRange>,
    /// Address of passive data connections: that of the control connection (control), or the server's reply (trust)
    #[arg(long, value_name = "WHICH", value_parser = ["control", "trust"], default_value = "control")]
    pub(super) pasv_address: String,
    /// Request data connections with PASV, never with EPSV (IPv4)
    #[arg(long)]
    pub(super) disable_epsv: bool,
    /// With --active: use PORT, never EPRT (IPv4)
    #[arg(long)]
    pub(super) disable_eprt: bool,
    /// Send one command at a time, for servers that fail on several in one packet (also detected automatically)
    #[arg(long)]
    pub(super) lock_step: bool,
    /// Account that a server requests after the password (ACCT)
    #[arg(long, value_name = "NAME", visible_alias = "ftp-account")]
    pub(super) account: Option<String>,
    /// With TLS: send files and listings unencrypted (PROT C)
    #[arg(long, visible_alias = "ftp-ssl-control")]
    pub(super) data_clear: bool,
    /// With TLS: end it on the control connection after the login, for firewalls that inspect it (CCC)
    #[arg(long, visible_alias = "ftp-ssl-ccc")]
    pub(super) ccc: bool,
    /// Charset of the server's names (koi8-r, shift_jis ...); local names are UTF-8
    #[arg(long, value_name = "NAME", value_parser = WireCharset::named, visible_alias = "remote-encoding")]
    pub(super) charset: Option<WireCharset>,
    /// Send this command after the login (repeatable; a leading `*`: it may fail)
    #[arg(long, short_alias = 'W', value_name = "CMD")]
    pub(super) before: Vec<String>,
}

/// What ftpget and ftpput share of how files are transferred.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Transfers")]
pub(super) struct TransferArgs {
    /// Transfer at most RATE bytes per second, all connections together
    #[arg(long, value_name = "RATE", value_parser = rate, visible_alias = "limit-rate")]
    rate: Option<NonZeroU64>,
    /// Compare each file with the server's checksum (HASH, XSHA256 ...), or with its size and time if the server computes
    /// none
    #[arg(long, conflicts_with = "ascii")]
    pub(super) verify: bool,
    /// Print one line per file or directory that is new, changed, deleted or skipped; with -n, what would be
    #[arg(long)]
    pub(super) itemize: bool,
}

fn rate(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(crate::cli::units::size(text)?).ok_or_else(|| "the rate must be above 0".to_owned())
}

impl TransferArgs {
    /// The speed limit.
    pub(super) fn pace(&self) -> Option<Arc<TransferPace>> {
        self.rate.map(|rate| Arc::new(TransferPace::new(rate)))
    }
}

/// Commands around the transfers.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "FTP")]
pub(super) struct QuoteArgs {
    /// Send this command at the end, if nothing failed (repeatable; a leading `*`: it may fail)
    #[arg(long, short_alias = 'Y', value_name = "CMD")]
    after: Vec<String>,
    /// As --before; with a leading `-` as --after (curl's -Q)
    #[arg(short = 'Q', long, value_name = "CMD", allow_hyphen_values = true)]
    quote: Vec<String>,
}

impl QuoteArgs {
    /// The commands to send after the login, besides `--before`.
    pub(super) fn before(&self) -> Vec<String> {
        self.quote.iter().filter(|command| !command.starts_with('-')).cloned().collect()
    }

    /// The commands to send at the end.
    pub(super) fn after(&self) -> Vec<String> {
        let quoted = self.quote.iter().filter_map(|command| command.strip_prefix('-')).map(str::to_owned);
        self.after.iter().cloned().chain(quoted).collect()
    }
}

/// What every FTP client is told of the server and the way there.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct FtpClientArgs {
    #[command(flatten)]
    ftp: FtpArgs,
    #[command(flatten)]
    pub(super) login: LoginArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    pub(super) retry: RetryArgs,
}

impl FtpClientArgs {
    /// The charset of file names on the server.
    pub(super) fn charset(&self) -> Option<WireCharset> {
        self.ftp.charset
    }
}

/// Connections by server: several URLs of one server share the login and the connection.
pub(super) struct Servers<'a> {
    out: &'a Output,
    args: &'a FtpClientArgs,
    tls: Option<ClientTls>,
    known: Vec<KnownServer>,
    /// Commands to send after the login, besides `--before`.
    quoted: Vec<String>,
    /// The speed limit for all connections together.
    pace: Option<Arc<TransferPace>>,
    /// No login: the user is not asked for a password.
    nameless: bool,
    /// The bytes of files that all connections transferred.
    pub(super) transferred: Arc<AtomicU64>,
}

struct KnownServer {
    url: FtpUrl,
    options: FtpClientOptions,
    idle: Option<FtpClient>,
}

impl<'a> Servers<'a> {
    /// A table without connections.
    pub(super) fn new(out: &'a Output, args: &'a FtpClientArgs) -> Servers<'a> {
        Servers {
            out,
            args,
            tls: None,
            known: Vec::new(),
            quoted: Vec::new(),
            pace: None,
            transferred: Arc::default(),
            nameless: false,
        }
    }

    /// Adds commands to send after each login.
    pub(super) fn quoting(self, quoted: Vec<String>) -> Servers<'a> {
        Servers { quoted, ..self }
    }

    /// Sets connections that do not log in.
    pub(super) fn without_login(self) -> Servers<'a> {
        Servers { nameless: true, ..self }
    }

    /// Sets the speed limit.
    pub(super) fn at_pace(self, pace: Option<Arc<TransferPace>>) -> Servers<'a> {
        Servers { pace, ..self }
    }

    /// The connection options for the URL's server.
    pub(super) fn options(&mut self, url: &FtpUrl) -> Result<FtpClientOptions, Fault> {
        Ok(self.server(url)?.options.clone())
    }

    /// A logged-in connection: the idle one if it exists, else a new one.
    pub(super) async fn take(&mut self, url: &FtpUrl) -> Result<FtpClient, Fault> {
        let out = self.out;
        let server = self.server(url)?;
        if let Some(client) = server.idle.take().filter(FtpClient::usable) {
            return Ok(client);
        }
        let client = FtpClient::open(url, &server.options).await?;
        let secret = server.options.login.as_ref().is_some_and(|login| !login.user.eq_ignore_ascii_case("anonymous"));
        if secret && !client.is_tls() && !client.is_loopback() {
            out.warn("the password was sent unencrypted; ftpes:// or ftps:// protects it");
        }
        Ok(client)
    }

    /// [`Servers::take`] with the retries that the user asked for.
    pub(super) async fn take_patiently(&mut self, url: &FtpUrl) -> Result<FtpClient, Fault> {
        let (out, args) = (self.out, self.args);
        args.retry.run(out, &url.to_string(), async |_| self.take(url).await).await
    }

    /// Sends the user's commands at the end of a run; one with a leading `*` may fail.
    pub(super) async fn after(&mut self, url: &FtpUrl, commands: &[String]) -> Result<(), Fault> {
        if commands.is_empty() {
            return Ok(());
        }
        let mut client = self.take(url).await?;
        for command in commands {
            client.raw(command).await?;
        }
        self.give_back(url, client);
        Ok(())
    }

    /// Keeps a connection for the next URL of its server.
    pub(super) fn give_back(&mut self, url: &FtpUrl, client: FtpClient) {
        if let Some(server) = self.known.iter_mut().find(|server| server.url.same_server(url)) {
            server.idle = Some(client).filter(FtpClient::usable);
        }
    }

    /// Ends all sessions.
    pub(super) async fn quit(self) {
        for client in self.known.into_iter().filter_map(|server| server.idle) {
            client.quit().await;
        }
    }

    fn server(&mut self, url: &FtpUrl) -> Result<&mut KnownServer, Fault> {
        let at = match self.known.iter().position(|server| server.url.same_server(url)) {
            Some(at) => at,
            None => {
                let options = self.make_options(url)?;
                self.known.push(KnownServer { url: url.clone(), options, idle: None });
                self.known.len() - 1
            }
        };
        self.known.get_mut(at).ok_or_else(|| Fault::new(Kind::Internal, "internal: a server is missing from the table"))
    }

    fn make_options(&mut self, url: &FtpUrl) -> Result<FtpClientOptions, Fault> {
        let (out, FtpClientArgs { ftp, login, tls, net, .. }) = (self.out, self.args);
        let dialer = net.dialer("ftp", &url.host, url.port())?;
        if ftp.active && dialer.proxy.is_some() {
            let fault = Fault::new(Kind::Usage, "--active: a server cannot open data connections through a proxy");
            return Err(fault.with_hint("leave out --active, or go without the proxy: --proxy none"));
        }
        let mut options = FtpClientOptions::new(dialer);
        options.tls = tls.mode(tls_mode(url.scheme));
        if options.tls != TlsMode::None {
            let client = match &self.tls {
                Some(client) => client.clone(),
                None => tls.client(out, &[])?,
            };
            self.tls = Some(client.clone());
            options.tls_client = Some(client);
        }
        if !self.nameless {
            options.login = login.login(out, &url.host, url.user.as_deref(), url.password.as_ref())?;
        }
        options.account = ftp.account.clone().map(Secret::new);
        (options.epsv, options.eprt) = (!ftp.disable_epsv, !ftp.disable_eprt);
        (options.data_clear, options.ccc, options.charset) = (ftp.data_clear, ftp.ccc, ftp.charset);
        if ftp.lock_step {
            options.quirks.use_lock_step();
        }
        if options.tls == TlsMode::None && !tls.trust.pin.is_empty() {
            out.warn("--pin: without TLS no certificate is checked; ftpes:// and ftps:// use TLS");
        }
        if options.tls != TlsMode::None && ftp.data_clear {
            out.warn("files and listings are sent unencrypted and can be modified in transit");
        }
        if options.tls != TlsMode::None && ftp.ccc {
            out.warn("commands and names are sent unencrypted after the login and can be modified in transit");
        }
        options.limits = net.limits();
        options.trace = out.trace();
        options.active = ftp.active.then(|| ftp.port_range.unwrap_or(PortRange::ANY));
        options.trust_pasv = ftp.pasv_address == "trust";
        options.pace.clone_from(&self.pace);
        options.transferred = Arc::clone(&self.transferred);
        options.before = [ftp.before.as_slice(), &self.quoted].concat();
        Ok(options)
    }
}

/// The letter of an entry's type, as in `ls -l`.
pub(super) fn letter(entry_type: EntryType) -> &'static str {
    match entry_type {
        EntryType::File => "-",
        EntryType::Directory => "d",
        EntryType::Symlink => "l",
        EntryType::Other => "?",
    }
}

/// The time of a listing: RFC 3339 with `Z` if the time is known to be UTC, else without a zone; truncated to its precision.
pub(super) fn time_text(modified: &Modified) -> String {
    use crate::ftp::listing::Precision;
    let text = format_rfc3339(modified.seconds);
    let end = match modified.precision {
        Precision::Day => 10,
        Precision::Minute => 16,
        Precision::Second => 19,
    };
    let zone = if modified.utc { "Z" } else { "" };
    format!("{}{zone}", text.get(..end).unwrap_or(&text))
}

/// The exact bytes of a name in base64, for JSON. `None` if the name is UTF-8, so that its text is exact.
pub(super) fn base64_unless_utf8(name: &[u8]) -> Option<String> {
    use base64::Engine;
    std::str::from_utf8(name).is_err().then(|| base64::engine::general_purpose::STANDARD.encode(name))
}

/// A URL as the user typed it. A byte that is not UTF-8 becomes `%XX`, which means the same.
pub(super) fn url_text(typed: impl AsRef<[u8]>) -> String {
    let chunk = |text: String, chunk: std::str::Utf8Chunk<'_>| {
        chunk.invalid().iter().fold(text + chunk.valid(), |text, byte| text + &format!("%{byte:02X}"))
    };
    typed.as_ref().utf8_chunks().fold(String::new(), chunk)
}

/// stdout as a separate file, for payloads.
pub(super) fn stdout_file() -> Result<std::fs::File, Fault> {
    use std::os::fd::AsFd;
    let fd = io::stdout().as_fd().try_clone_to_owned();
    fd.map(std::fs::File::from).map_err(|error| Fault::local("stdout", &error))
}
