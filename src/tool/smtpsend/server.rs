//! Delivery to one server that the user named.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::report::{SettledRecipient, TimesMs};
use super::{Args, SendJob, job};
use crate::cli::output::Output;
use crate::cli::tls_report::TlsReport;
use crate::fault::{Fault, Kind};
use crate::net::deadline::Limits;
use crate::net::dial::Dialer;
use crate::net::literal::is_loopback;
use crate::net::login::Login;
use crate::net::proxy::{Proxy, ProxyKind};
use crate::net::stream::Stream;
use crate::net::tls::{ClientTls, TlsMode};
use crate::relay::deliver::{NextHopFacts, send_fitted};
use crate::relay::route::RouteOverride;
use crate::relay::server_url;
use crate::secret::{Secret, without_password};
use crate::smtp::auth::Mechanism;
use crate::smtp::client::{SendOptions, SmtpClient, SmtpClientOptions};
use crate::smtp::transaction::all_failed;
use crate::tool::smtp_account::Account;

/// What is spoken at a server that no URL tells about, in the words of msmtp and swaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ServerProtocol {
    /// TLS if it is offered
    #[value(alias = "esmtp")]
    Smtp,
    /// STARTTLS is required
    Esmtps,
    /// TLS from the start
    #[value(aliases = ["ssmtp", "submissions"])]
    Smtps,
    /// Port 587, STARTTLS is required
    Submission,
    /// LMTP
    Lmtp,
}

/// How far a probe goes, in swaks's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum ProbeStage {
    /// The greeting
    #[value(alias = "banner")]
    Connect,
    /// EHLO, HELO or LHLO, before STARTTLS
    #[value(aliases = ["helo", "lhlo", "first-helo", "first-ehlo"])]
    Ehlo,
    /// TLS
    Tls,
    /// The login
    #[value(alias = "login")]
    Auth,
    /// MAIL
    #[value(alias = "from")]
    Mail,
    /// RCPT
    #[value(alias = "to")]
    Rcpt,
}

/// A parsed server URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerAddress {
    pub(super) scheme: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// The UNIX socket that replaces host and port.
    pub(super) socket: Option<PathBuf>,
    pub(super) lmtp: bool,
    pub(super) tls: TlsMode,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
}

impl ServerAddress {
    /// Parses `HOST[:PORT]`, `smtp://`, `smtps://`, `submission://`, `submissions://`, `lmtp://` or `lmtp+unix:PATH`.
    pub(super) fn parse(text: &str) -> Result<ServerAddress, Fault> {
        let bad = |why: &str| {
            Fault::new(Kind::Usage, format!("--server {}: {why}", without_password(text)))
                .with_hint("HOST[:PORT], smtp://, smtps://, submission://, lmtp:// or lmtp+unix:/PATH")
        };
        if let Some(path) = text.strip_prefix("lmtp+unix:") {
            let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
            if !path.starts_with('/') {
                return Err(bad("the path of a socket begins with /"));
            }
            return Ok(ServerAddress {
                scheme: "lmtp+unix".into(),
                host: "localhost".into(),
                port: 0,
                socket: Some(path.into()),
                lmtp: true,
                tls: TlsMode::None,
                user: None,
                password: None,
            });
        }
        let (url, host) = server_url::parse(text).map_err(|why| bad(&why))?;
        let (port, lmtp, tls) = match url.scheme() {
            "smtp" => (25, false, TlsMode::Try),
            "smtps" | "submissions" => (465, false, TlsMode::Implicit),
            "submission" => (587, false, TlsMode::Starttls),
            "lmtp" => (24, true, TlsMode::Try),
            _ => return Err(bad("this scheme is not known")),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(bad("unexpected text after the host"));
        }
        let decode = |text: &str| -> Result<String, Fault> {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8().map_err(|_| bad("not UTF-8"))?;
            if decoded.contains(['\r', '\n', '\0']) {
                return Err(bad("a control character"));
            }
            Ok(decoded.into_owned())
        };
        Ok(ServerAddress {
            scheme: url.scheme().to_owned(),
            host: if host.is_ascii() {
                host
            } else {
                idna::domain_to_ascii(&host).map_err(|_| bad("not a host name"))?
            },
            port: url.port().unwrap_or(port),
            socket: None,
            lmtp,
            tls,
            user: Some(decode(url.username())?).filter(|user| !user.is_empty()),
            password: url.password().map(decode).transpose()?.map(Secret::new),
        })
    }

    /// [`ServerAddress::parse`] for a server without a scheme, with the protocol of `--protocol`.
    fn with_protocol(text: &str, protocol: ServerProtocol) -> Result<ServerAddress, Fault> {
        if text.contains("://") || text.starts_with("lmtp+unix:") {
            return Err(Fault::new(
                Kind::Usage,
                format!("--server {}: the scheme already names the protocol", without_password(text)),
            )
            .with_hint("either a scheme or --protocol"));
        }
        let scheme = match protocol {
            ServerProtocol::Smtp | ServerProtocol::Esmtps => "smtp",
            ServerProtocol::Smtps => "smtps",
            ServerProtocol::Submission => "submission",
            ServerProtocol::Lmtp => "lmtp",
        };
        let mut server = ServerAddress::parse(&format!("{scheme}://{text}"))?;
        if protocol == ServerProtocol::Esmtps {
            server.tls = TlsMode::Starttls;
        }
        Ok(server)
    }

    /// The server of an account.
    fn of(account: &Account) -> Result<ServerAddress, Fault> {
        let (host, port) = account.server()?;
        Ok(ServerAddress {
            scheme: if account.lmtp { "lmtp".into() } else { "smtp".into() },
            host,
            port,
            tls: account.tls(),
            socket: account.socket.clone(),
            lmtp: account.lmtp,
            user: None,
            password: None,
        })
    }

    fn shown(&self) -> String {
        match &self.socket {
            Some(path) => path.display().to_string(),
            None if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }
}

/// One server, and the connection to it.
pub(super) struct ServerConnection<'a> {
    out: &'a Output,
    server: ServerAddress,
    tls: TlsMode,
    tls_client: ClientTls,
    /// True if the user accepts any certificate.
    insecure: bool,
    login: Option<Login>,
    mechanism: Option<Mechanism>,
    helo: Option<String>,
    dialer: Dialer,
    limits: Limits,
    until: Option<ProbeStage>,
    connection: Option<OpenConnection>,
}

/// A server that is being probed.
pub(super) struct ProbedServer<'a> {
    pub(super) client: &'a mut SmtpClient,
    pub(super) peer: &'a NextHopFacts,
    pub(super) connect: Duration,
    pub(super) tls: Option<TlsReport>,
    /// False if the certificate must be trusted and is not.
    pub(super) believed: bool,
}

/// An open connection, and the time that it took to connect.
struct OpenConnection {
    client: SmtpClient,
    connect: Duration,
    peer: NextHopFacts,
}

impl<'a> ServerConnection<'a> {
    /// For the server that a URL names.
    pub(super) fn to_url(url: &str, args: &'a Args, out: &'a Output) -> Result<ServerConnection<'a>, Fault> {
        let server = match args.way.protocol {
            Some(protocol) => ServerAddress::with_protocol(url, protocol)?,
            None => ServerAddress::parse(url)?,
        };
        if let (Some(asked), TlsMode::Implicit) = (args.tls.tls, server.tls)
            && asked != TlsMode::Implicit
        {
            return Err(Fault::new(Kind::Usage, format!("{}:// is TLS from the start", server.scheme)));
        }
        let login = match args.way.auth {
            // The certificate identifies the user.
            Some(Mechanism::External) => {
                let user = args.login.user.clone().or_else(|| server.user.clone());
                Some(Login::new(user.unwrap_or_default(), ""))
            }
            _ => args.login.login(out, &server.host, server.user.as_deref(), server.password.as_ref())?,
        };
        ServerConnection::new(server, login, args.way.auth, &Account::default(), args, out)
    }

    /// For the server of an account. The flags of the command line take precedence.
    pub(super) fn to_account(
        account: &Account,
        args: &'a Args,
        out: &'a Output,
    ) -> Result<ServerConnection<'a>, Fault> {
        let server = ServerAddress::of(account)?;
        let (login, mechanism) = account.login(&server.host, &args.login, args.way.auth, out)?;
        ServerConnection::new(server, login, mechanism, account, args, out)
    }

    fn new(
        server: ServerAddress,
        login: Option<Login>,
        mechanism: Option<Mechanism>,
        account: &Account,
        args: &'a Args,
        out: &'a Output,
    ) -> Result<ServerConnection<'a>, Fault> {
        let tls = args.tls.mode(server.tls);
        if tls == TlsMode::None && login.is_some() && server.socket.is_none() && !is_loopback(&server.host) {
            out.warn("--tls none: the password is sent unencrypted");
        }
        let mut options = account.trust(&args.tls.trust, out)?;
        // Without a login, opportunistic TLS protects against passive listeners only: an attacker who can forge the certificate
        // could also remove STARTTLS. So the certificate is not checked, unless the user names something to check it against.
        let something = options.ca_cert.is_some() || options.tls_name.is_some() || !options.pins.is_empty();
        let insecure = options.insecure;
        options.insecure |= tls == TlsMode::Try && login.is_none() && !something;
        let mut dialer = args.net.dialer("smtp", &server.host, server.port)?;
        dialer.bind = dialer.bind.or(account.bind);
        if let Some(time) = account.timeout {
            dialer.connect_timeout = dialer.connect_timeout.min(time);
        }
        if let (Some(host), None) = (&account.proxy_host, &args.net.proxy) {
            let port = account.proxy_port.unwrap_or(1080);
            dialer.proxy =
                Some(Proxy { kind: ProxyKind::Socks5 { remote_dns: true }, host: host.clone(), port, login: None });
        }
        Ok(ServerConnection {
            out,
            server,
            tls,
            tls_client: ClientTls::new(&options)?,
            insecure,
            login,
            mechanism,
            helo: args.way.helo.clone().or_else(|| account.helo.clone()),
            dialer,
            limits: match account.timeout {
                Some(time) => args.net.limits().with_idle(args.net.timeout.min(time)),
                None => args.net.limits(),
            },
            until: args.way.quit_after,
            connection: None,
        })
    }

    async fn connect(&self) -> Result<OpenConnection, Fault> {
        let began = Instant::now();
        let stream = match &self.server.socket {
            Some(path) => {
                let connecting = tokio::net::UnixStream::connect(path);
                let stream = self.limits.io("connect", connecting).await;
                Stream::Unix(stream.map_err(|fault| fault.context(path.display()))?)
            }
            None => self.dialer.connect(&self.server.host, self.server.port).await?,
        };
        let connect = began.elapsed();
        let helo = match &self.helo {
            Some(name) => name.clone(),
            None => helo(&stream),
        };
        let goes_to = |stage| self.until.is_none_or(|until| until >= stage);
        let options = SmtpClientOptions {
            tls: if self.tls == TlsMode::Implicit || goes_to(ProbeStage::Tls) { self.tls } else { TlsMode::None },
            login: self.login.clone().filter(|_| goes_to(ProbeStage::Auth)),
            greeting_only: !goes_to(ProbeStage::Ehlo),
            mechanism: self.mechanism,
            lmtp: self.server.lmtp,
            limits: self.limits,
            trace: self.out.trace(),
            ..SmtpClientOptions::new(helo, self.tls_client.clone())
        };
        let client = SmtpClient::open(stream, &self.server.host, &options).await?;
        let tls = client.stream().tls_info();
        let peer = NextHopFacts {
            host: Some(self.server.host.clone()),
            ip: client.stream().peer_addr(),
            verified: tls.is_some() && self.tls_client.verifies(),
            tls_failed: client.tls_refusal().map(|reply| format!("STARTTLS: {}", reply.text())),
            tls,
            ..NextHopFacts::default()
        };
        Ok(OpenConnection { client, connect, peer })
    }

    /// Sends one message over the open connection. The connection is opened, reused, or replaced if the server closed it
    /// while it was idle.
    pub(super) async fn send(&mut self, job: &SendJob, options: &SendOptions<'_>) -> Vec<SettledRecipient> {
        loop {
            let current = self.connection.take().filter(|current| current.client.is_open());
            let reused = current.is_some();
            let mut current = match current {
                Some(current) => current,
                None => match self.connect().await {
                    Ok(current) => current,
                    Err(fault) => {
                        let host = Some(self.server.host.clone());
                        let peer = NextHopFacts { host, ..NextHopFacts::default() };
                        let results = all_failed(&job.envelope, &fault);
                        return results.into_iter().map(|it| SettledRecipient::new(it, peer.clone(), None)).collect();
                    }
                },
            };
            let results = send_fitted(&mut current.client, &job.envelope, &job.message, options).await;
            let stale = current.client.was_stale() && reused;
            let times = TimesMs::new(current.connect, current.client.times());
            let peer = current.peer.clone();
            self.connection = Some(current);
            if !stale {
                return results.into_iter().map(|it| SettledRecipient::new(it, peer.clone(), Some(times))).collect();
            }
        }
    }

    /// Opens the connection for a probe, and measures how long connecting takes. If the server's certificate is not trusted, the
    /// dialogue stops after TLS, without a login.
    pub(super) async fn open(&mut self) -> Result<ProbedServer<'_>, Fault> {
        let (connection, believed) = match self.connect().await {
            Err(fault) if fault.kind == Kind::TlsUntrusted => {
                self.tls_client = self.tls_client.unchecked();
                (self.login, self.until) = (None, Some(ProbeStage::Tls));
                // If the fault is not the trust in the certificate, it occurs again.
                (self.connect().await.map_err(|_| fault)?, false)
            }
            connection => (connection?, true),
        };
        let OpenConnection { client, connect, peer } = self.connection.insert(connection);
        let tls = peer.tls.as_ref().map(|info| TlsReport::new(info, &self.tls_client, &self.server.host));
        Ok(ProbedServer { client, peer, connect: *connect, tls, believed })
    }

    /// True if the user accepts any certificate.
    pub(super) fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// The name of the server in messages.
    pub(super) fn name(&self) -> String {
        self.server.shown()
    }

    /// The server as the next hop of a queued message. `None` with a login, which the queue does not keep.
    pub(super) fn route(&self) -> Option<RouteOverride> {
        if self.login.is_some() {
            return None;
        }
        let text = match &self.server.socket {
            Some(path) => format!("lmtp+unix:{}", path.display()),
            None => {
                let scheme = match self.tls {
                    TlsMode::None | TlsMode::Try if self.server.lmtp => "lmtp",
                    // No scheme requires TLS of an LMTP server.
                    _ if self.server.lmtp => return None,
                    TlsMode::None | TlsMode::Try => "smtp",
                    TlsMode::Starttls => "submission",
                    TlsMode::Implicit => "smtps",
                };
                format!("{scheme}://{}", self.server.shown())
            }
        };
        text.parse().ok()
    }

    /// Sends QUIT and closes the connection.
    pub(super) async fn close(self) {
        if let Some(connection) = self.connection {
            connection.client.quit().await;
        }
    }
}

/// The EHLO name: this host's name if it is fully qualified, else the local address as a literal (RFC 5321, section 4.1.4).
fn helo(stream: &Stream) -> String {
    let name = job::host_name();
    match stream.local_addr().map(|address| address.ip()) {
        _ if name.contains('.') => name.to_owned(),
        Some(std::net::IpAddr::V4(ip)) => format!("[{ip}]"),
        Some(std::net::IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parse = |text: &str| {
            let server = ServerAddress::parse(text)?;
            Ok::<_, Fault>((server.host, server.port, server.lmtp, server.tls))
        };
        assert_eq!(parse("smtp://mail.test").unwrap(), ("mail.test".into(), 25, false, TlsMode::Try));
        assert_eq!(parse("mail.test").unwrap(), ("mail.test".into(), 25, false, TlsMode::Try));
        assert_eq!(parse("mail.test:587").unwrap(), ("mail.test".into(), 587, false, TlsMode::Starttls));
        assert_eq!(parse("bücher.test:465").unwrap(), ("xn--bcher-kva.test".into(), 465, false, TlsMode::Implicit));
        assert_eq!(parse("smtp://127.0.0.1:2525/").unwrap(), ("127.0.0.1".into(), 2525, false, TlsMode::Try));
        assert_eq!(parse("smtp://[::1]:2525").unwrap(), ("::1".into(), 2525, false, TlsMode::Try));
        assert_eq!(parse("smtps://m").unwrap(), ("m".into(), 465, false, TlsMode::Implicit));
        assert_eq!(parse("submission://m").unwrap(), ("m".into(), 587, false, TlsMode::Starttls));
        assert_eq!(parse("submission://bücher.test").unwrap().0, "xn--bcher-kva.test");
        assert_eq!(parse("lmtp://m").unwrap(), ("m".into(), 24, true, TlsMode::Try));
        // Without a scheme the port says which it is.
        assert_eq!(parse("mail.test").unwrap(), ("mail.test".into(), 25, false, TlsMode::Try));
        assert_eq!(parse("[::1]:2525").unwrap(), ("::1".into(), 2525, false, TlsMode::Try));
        assert_eq!(parse("m:587").unwrap(), ("m".into(), 587, false, TlsMode::Starttls));
        assert_eq!(parse("me@m:465").unwrap(), ("m".into(), 465, false, TlsMode::Implicit));
        let unix = ServerAddress::parse("lmtp+unix:/run/x").unwrap();
        assert_eq!((unix.socket, unix.lmtp), (Some(PathBuf::from("/run/x")), true));
        assert_eq!(ServerAddress::parse("lmtp+unix:///run/x").unwrap().socket, Some(PathBuf::from("/run/x")));
        let login = ServerAddress::parse("smtps://al%40x:p%3Aw@m").unwrap();
        assert_eq!(login.user.as_deref(), Some("al@x"));
        assert_eq!(login.password.as_ref().map(|password| password.expose().as_str()), Some("p:w"));
        for bad in [
            "mail.test:",
            "mail.test:99999",
            "mail.test/path",
            "http:x",
            "http://x",
            "smtp://",
            "smtp://m/path",
            "lmtp+unix:run/x",
            "smtp://m?x",
            "smtp://a%0d@m",
        ] {
            assert_eq!(ServerAddress::parse(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }
}
