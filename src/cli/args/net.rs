//! Arguments of clients: connections, TLS, logins, retries.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cli::output::Output;
use crate::cli::{netrc, secret, units, words};
use crate::fault::{Fault, Kind};
use crate::net::deadline::Limits;
use crate::net::dial::{Dialer, Family};
use crate::net::login::Login;
use crate::net::pin::CertificatePin;
use crate::net::proxy::ProxyChoice;
use crate::net::random;
use crate::net::tls::{ClientTls, ClientTlsOptions, TlsMode};
use crate::secret::Secret;

/// How to connect.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct NetArgs {
    /// IPv4 only
    #[arg(short = '4', long = "ipv4", conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long = "ipv6")]
    pub ipv6: bool,
    /// Connect from this local address
    #[arg(long, value_name = "ADDR", value_parser = crate::net::literal::local)]
    pub bind: Option<SocketAddr>,
    /// Give up connecting after this time
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "15")]
    pub connect_timeout: Duration,
    /// Give up when the peer stays silent for this time
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "60")]
    pub timeout: Duration,
    /// Give up a transfer that is slower than RATE bytes per second for the time of --timeout; 0: only the timeout applies
    #[arg(long, value_name = "RATE", value_parser = units::size, default_value = "100")]
    pub min_rate: u64,
    /// End the whole run after this time
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub max_time: Option<Duration>,
    /// Connect through a proxy: socks5://, socks5h:// or http://[USER:PASSWORD@]HOST[:PORT]; `none`: no proxy
    #[arg(long, value_name = "URL")]
    pub proxy: Option<String>,
}

impl NetArgs {
    /// A dialer for `port` of `host` under the URL scheme `scheme`: the `--proxy` flag, else `SCHEME_proxy` and `all_proxy`
    /// unless `no_proxy` covers them. For no host in particular there is no proxy.
    ///
    /// # Errors
    ///
    /// `Usage` if the proxy is no URL of one.
    pub fn dialer(&self, scheme: &str, host: &str, port: u16) -> Result<Dialer, Fault> {
        let family = Family::of_flags(self.ipv4, self.ipv6);
        let in_question = self.proxy.is_some() || !host.is_empty();
        let proxy = if in_question { proxy(self.proxy.as_deref(), scheme)? } else { None };
        let proxy = proxy.and_then(|proxy| proxy.on_the_way(host, port));
        let connect_timeout = match self.max_time {
            Some(whole) => self.connect_timeout.min(whole),
            None => self.connect_timeout,
        };
        Ok(Dialer { family, bind: self.bind, connect_timeout, proxy, ..Dialer::default() })
    }

    /// The limits of a dialogue; `--max-time` counts from this call, so call it once at the start.
    pub fn limits(&self) -> Limits {
        let until = self.max_time.map(|whole| Instant::now() + whole);
        Limits { idle: self.timeout, until, min_rate: NonZeroU64::new(self.min_rate) }
    }
}

/// The proxy that `--proxy` names, else `SCHEME_proxy` or `all_proxy`, save for what `no_proxy` covers.
///
/// # Errors
///
/// `Usage` if it is no URL of a proxy.
pub fn proxy(flag: Option<&str>, scheme: &str) -> Result<Option<ProxyChoice>, Fault> {
    let variable = |name: &str| {
        let found = std::env::var(name.to_ascii_lowercase()).or_else(|_| std::env::var(name.to_ascii_uppercase()));
        found.ok().filter(|value| !value.is_empty())
    };
    let (url, except) = match flag {
        Some("none" | "") => return Ok(None),
        Some(url) => (Some(url.to_owned()), None),
        None => (variable(&format!("{scheme}_proxy")).or_else(|| variable("all_proxy")), variable("no_proxy")),
    };
    url.map(|url| ProxyChoice::new(&url, except.unwrap_or_default())).transpose()
}

/// Whether and how to use TLS.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// When to use TLS: none, try (if offered), starttls (required), implicit
    #[arg(long, value_name = "MODE", value_parser = words::one_of(TLS_MODES), hide_possible_values = true)]
    pub tls: Option<TlsMode>,
    /// Whom to believe.
    #[command(flatten)]
    pub trust: TrustArgs,
}

/// Which certificates are believed and shown.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct TrustArgs {
    /// Trust the authorities in FILE (PEM) instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
    /// Client certificate (PEM)
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// Key of the certificate (PEM), if it is not in the same file
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Accept only servers whose certificate or public key has this SHA-256 digest, from any issuer (hexadecimal or base64); with
    /// --ca-cert or --tls-name the certificate is checked too; may be repeated
    #[arg(long, value_name = "SHA256", conflicts_with = "insecure")]
    pub pin: Vec<CertificatePin>,
    /// Accept any certificate: an attacker in the network path can read and change the data
    #[arg(long)]
    pub insecure: bool,
    /// Send this name (SNI) and check the certificate against it
    #[arg(long, value_name = "NAME")]
    pub tls_name: Option<String>,
}

const TLS_MODES: &[(&str, TlsMode)] =
    &[("none", TlsMode::None), ("try", TlsMode::Try), ("starttls", TlsMode::Starttls), ("implicit", TlsMode::Implicit)];

impl TlsArgs {
    /// The mode asked for, else `default`. Who names a pin wants that certificate, not clear text.
    pub fn mode(&self, default: TlsMode) -> TlsMode {
        self.tls.unwrap_or(match default {
            TlsMode::Try if !self.trust.pin.is_empty() => TlsMode::Starttls,
            default => default,
        })
    }

    /// The client side that these arguments describe, offering `alpn`; warns about `--insecure`.
    ///
    /// # Errors
    ///
    /// `Usage`, `NoInput` or `Config` if a certificate, key or authority cannot be read.
    pub fn client(&self, out: &Output, alpn: &[&str]) -> Result<ClientTls, Fault> {
        let alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        ClientTls::new(&ClientTlsOptions { alpn, ..self.trust.options(out)? })
    }
}

impl TrustArgs {
    /// What these arguments say; warns about `--insecure`, and looks at who may read or change the key.
    ///
    /// # Errors
    ///
    /// As [`secret::look_at`].
    pub fn options(&self, out: &Output) -> Result<ClientTlsOptions, Fault> {
        if let Some(key) = self.key.as_ref().or(self.cert.as_ref()) {
            secret::look_at_path(out, key)?;
        }
        if self.insecure {
            out.warn("--insecure: the peer's certificate is not checked");
        }
        Ok(ClientTlsOptions {
            ca_cert: self.ca_cert.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            insecure: self.insecure,
            pins: self.pin.clone(),
            tls_name: self.tls_name.clone(),
            ..ClientTlsOptions::default()
        })
    }
}

/// Who we are to the peer.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Login")]
pub struct LoginArgs {
    /// Log in as NAME
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Read the password from the first line of FILE, or of stdin
    #[arg(long, value_name = "FILE|-", conflicts_with = "password_command")]
    pub password_file: Option<PathBuf>,
    /// Read the password from the first line that CMD prints
    #[arg(long, value_name = "CMD")]
    pub password_command: Option<String>,
    /// Look logins up in FILE instead of $NETRC or ~/.netrc
    #[arg(long, value_name = "FILE")]
    pub netrc_file: Option<PathBuf>,
}

impl LoginArgs {
    /// True when the password is to come from stdin, which then nobody else may read.
    pub fn reads_stdin(&self) -> bool {
        self.password_file.as_deref() == Some(Path::new("-"))
    }

    /// The login for `host`: user from `--user`, the URL or netrc, password from `--password-file`,
    /// `--password-command`, the URL (with a warning: `ps` shows it), netrc, or asked for on a terminal. `None` when
    /// nobody named a user.
    ///
    /// # Errors
    ///
    /// `Usage` if there is no password; the fault of the file, command or terminal that should give one.
    pub fn login(
        &self,
        out: &Output,
        host: &str,
        url_user: Option<&str>,
        url_password: Option<&Secret>,
    ) -> Result<Option<Login>, Fault> {
        if self.user.as_deref().is_some_and(|user| user.contains(':')) {
            let fault = Fault::new(Kind::Usage, "--user takes only a name, without a colon");
            return Err(fault.with_hint("--password-file FILE or --password-command CMD give the password"));
        }
        let named = self.user.as_deref().or(url_user);
        let entry = match (named, url_password) {
            (Some(_), Some(_)) => None,
            _ => netrc::lookup(out, self.netrc_file.as_deref(), host, named)?,
        };
        let Some(user) = named.map(str::to_owned).or_else(|| entry.as_ref().map(|entry| entry.user.clone())) else {
            return Ok(None);
        };
        let account = entry.as_ref().and_then(|entry| entry.account.clone());
        let login = |password: Secret| Ok(Some(Login { user: user.clone(), password, account: account.clone() }));
        if let Some(file) = &self.password_file {
            return login(secret::from_file(out, file)?);
        }
        if let Some(command) = &self.password_command {
            return login(secret::from_command(command)?);
        }
        if let Some(password) = url_password {
            out.warn("a password in a URL can be seen by every user of this host; --password-file hides it");
            return login(password.clone());
        }
        if let Some(entry) = entry {
            return login(entry.password);
        }
        if super::can_ask() {
            return login(secret::from_terminal(&format!("password for {user} at {host}: "))?);
        }
        let fault = Fault::new(Kind::Usage, format!("no password for {user} at {host}"));
        Err(fault.with_hint("--password-file FILE, --password-command CMD or ~/.netrc give one"))
    }
}

/// What to do after a temporary failure.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Retries")]
pub struct RetryArgs {
    /// Try again up to N times after a temporary failure
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub retry: u32,
    /// Wait TIME before the first retry; each further wait is twice as long
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "1")]
    pub retry_delay: Duration,
}

impl RetryArgs {
    /// Runs `operation` (given the number of earlier attempts) until it succeeds, fails for good, or the retries are
    /// used up. Each retry is announced by a warning.
    ///
    /// # Errors
    ///
    /// The fault of the last attempt.
    pub async fn run<T>(
        &self,
        out: &Output,
        what: &str,
        mut operation: impl AsyncFnMut(u32) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut attempt = 0;
        loop {
            match operation(attempt).await {
                Err(fault) if fault.temporary() && attempt < self.retry => {
                    attempt += 1;
                    self.pause(out, what, &fault, attempt).await;
                }
                result => return result,
            }
        }
    }

    /// Says why the `attempt`th retry comes, and waits for its time.
    pub async fn pause(&self, out: &Output, what: &str, why: impl std::fmt::Display, attempt: u32) {
        let wait = crate::retry::delay(attempt, self.retry_delay, None, random::fraction());
        out.warn_again(what, why, wait, Some((attempt, self.retry)));
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::OutputArgs;

    fn quiet() -> Output {
        Output::new("test", &OutputArgs { quiet: 1, ..OutputArgs::default() }).unwrap()
    }

    #[tokio::test]
    async fn retries_only_what_is_temporary() {
        let retry = RetryArgs { retry: 2, retry_delay: Duration::from_millis(1) };
        for (kind, expected) in [(Kind::TimedOut, 3), (Kind::Refused, 1)] {
            let mut calls = 0;
            let result: Result<(), Fault> = retry
                .run(&quiet(), "x", |attempt| {
                    assert_eq!(attempt, calls);
                    calls += 1;
                    async move { Err(Fault::new(kind, "no")) }
                })
                .await;
            assert_eq!((result.unwrap_err().kind, calls), (kind, expected));
        }
    }

    #[test]
    fn a_password_comes_from_the_nearest_source() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        std::fs::write(&path, "from file\nmore\n").unwrap();
        let netrc = directory.path().join("netrc");
        std::fs::write(&netrc, "machine a.test login alice password fromnetrc\n").unwrap();
        let file =
            LoginArgs { password_file: Some(path.clone()), netrc_file: Some(netrc.clone()), ..LoginArgs::default() };
        let login = file.login(&quiet(), "a.test", Some("bob"), Some(&Secret::new("url".into()))).unwrap().unwrap();
        assert_eq!((login.user.as_str(), login.password.expose().as_str()), ("bob", "from file"));
        let netrc = LoginArgs { netrc_file: Some(netrc), ..LoginArgs::default() };
        assert_eq!(netrc.login(&quiet(), "a.test", None, None).unwrap(), Some(Login::new("alice", "fromnetrc")));
        assert_eq!(netrc.login(&quiet(), "b.test", None, None).unwrap(), None);
        let command =
            LoginArgs { user: Some("carol".into()), password_command: Some("echo fromcommand".into()), ..netrc };
        assert_eq!(command.login(&quiet(), "b.test", None, None).unwrap(), Some(Login::new("carol", "fromcommand")));
    }
}
