//! To one server that the user named.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::report::{RecipientRecord, Summary, TimesMs};
use super::{Args, Job, job};
use crate::cli::exit::Tally;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::net::login::Login;
use crate::net::random;
use crate::net::stream::Stream;
use crate::net::tls::{ClientTls, ClientTlsOptions, TlsMode};
use crate::smtp::client::{Client, Options, SendOptions};
use crate::smtp::data::Content;
use crate::smtp::transaction::{Outcome, RecipientResult, all_failed};

/// A message of this size gets a progress bar.
const PROGRESS_BYTES: u64 = 4 * 1024 * 1024;

/// A server's URL, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) scheme: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// A UNIX socket instead of host and port.
    pub(super) socket: Option<PathBuf>,
    pub(super) lmtp: bool,
    pub(super) tls: TlsMode,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

impl Server {
    /// `smtp://`, `smtps://`, `submission://`, `submissions://`, `lmtp://` or `lmtp+unix:PATH`.
    pub(super) fn parse(text: &str) -> Result<Server, Fault> {
        let bad = |why: &str| {
            Fault::new(Kind::Usage, format!("--server {text}: {why}"))
                .with_hint("smtp://HOST[:PORT], smtps://, submission://, lmtp:// or lmtp+unix:/PATH")
        };
        if let Some(path) = text.strip_prefix("lmtp+unix:") {
            let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
            if !path.starts_with('/') {
                return Err(bad("the path of a socket begins with /"));
            }
            return Ok(Server {
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
        let url = url::Url::parse(text).map_err(|error| bad(&error.to_string()))?;
        let (port, lmtp, tls) = match url.scheme() {
            "smtp" => (25, false, TlsMode::Try),
            "smtps" | "submissions" => (465, false, TlsMode::Implicit),
            "submission" => (587, false, TlsMode::Starttls),
            "lmtp" => (24, true, TlsMode::Try),
            _ => return Err(bad("this scheme is not known")),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad("no host"))?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(bad("something stands behind the host"));
        }
        let decode = |text: &str| -> Result<String, Fault> {
            let decoded = percent_encoding::percent_decode_str(text).decode_utf8().map_err(|_| bad("not UTF-8"))?;
            if decoded.contains(['\r', '\n', '\0']) {
                return Err(bad("a control character"));
            }
            Ok(decoded.into_owned())
        };
        let host = decode(host)?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Server {
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
            password: url.password().map(decode).transpose()?,
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

/// How connections to one server are made, again and again.
pub(super) struct Way<'a> {
    args: &'a Args,
    out: &'a Output,
    server: Server,
    tls: TlsMode,
    tls_client: ClientTls,
    login: Option<Login>,
    limits: crate::net::deadline::Limits,
}

/// An open connection and how long it took.
pub(super) struct Connection {
    client: Client,
    connect: Duration,
    /// The certificate was checked.
    verified: bool,
}

impl<'a> Way<'a> {
    pub(super) fn new(url: &str, args: &'a Args, out: &'a Output) -> Result<Way<'a>, Fault> {
        let server = Server::parse(url)?;
        let login = args.login.login(out, &server.host, server.user.as_deref(), server.password.as_deref())?;
        let tls = match (args.tls.tls, server.tls) {
            (Some(asked), TlsMode::Implicit) if asked != TlsMode::Implicit => {
                return Err(Fault::new(Kind::Usage, format!("{}:// is TLS from the start", server.scheme)));
            }
            (asked, default) => asked.unwrap_or(default),
        };
        if tls == TlsMode::None && login.is_some() && server.socket.is_none() && !is_loopback(&server.host) {
            out.warn("--tls none: the password travels in clear text");
        }
        // Without a login, TLS that is merely tried protects against listeners only: whoever can forge the certificate
        // could as well take STARTTLS away. So it is not checked, unless an authority or a name was given to check.
        let asked_to_check = args.tls.ca_cert.is_some() || args.tls.tls_name.is_some();
        let unchecked = tls == TlsMode::Try && login.is_none() && !asked_to_check && !args.tls.insecure;
        let tls_client = match unchecked {
            true => ClientTls::new(&ClientTlsOptions {
                insecure: true,
                cert: args.tls.cert.clone(),
                key: args.tls.key.clone(),
                ..ClientTlsOptions::default()
            })?,
            false => args.tls.client(out, &[])?,
        };
        Ok(Way { args, out, server, tls, tls_client, login, limits: args.net.limits() })
    }

    async fn connect(&self) -> Result<Connection, Fault> {
        let began = Instant::now();
        let stream = match &self.server.socket {
            Some(path) => {
                let connecting = tokio::net::UnixStream::connect(path);
                let stream = self.limits.io("connect", connecting).await;
                Stream::Unix(stream.map_err(|fault| fault.context(path.display()))?)
            }
            None => {
                let dialer = self.args.net.dialer("smtp", &self.server.host)?;
                dialer.connect(&self.server.host, self.server.port).await?
            }
        };
        let connect = began.elapsed();
        let helo = match &self.args.way.helo {
            Some(name) => name.clone(),
            None => helo(&stream),
        };
        let options = Options {
            tls: self.tls,
            login: self.login.clone(),
            lmtp: self.server.lmtp,
            limits: self.limits,
            trace: self.out.trace(),
            ..Options::new(helo, self.tls_client.clone())
        };
        let client = Client::open(stream, &self.server.host, &options).await?;
        Ok(Connection { client, connect, verified: self.tls_client.verifies() })
    }

    /// Sends one message over `connection`, which is opened, reused, or replaced if the server had closed it meanwhile.
    async fn once(
        &self,
        connection: &mut Option<Connection>,
        job: &Job,
        progress: &Option<Arc<dyn Fn(u64) + Send + Sync>>,
    ) -> Vec<RecipientResult> {
        loop {
            let reused = connection.as_ref().is_some_and(|it| it.client.is_open());
            let mut current = match connection.take().filter(|it| it.client.is_open()) {
                Some(current) => current,
                None => match self.connect().await {
                    Ok(current) => current,
                    Err(fault) => return all_failed(&job.envelope, &fault),
                },
            };
            let options =
                SendOptions { partial: self.args.partial, progress: progress.clone(), ..SendOptions::default() };
            let results = current.client.send(&job.envelope, &job.message, &options).await;
            let stale = current.client.was_stale();
            *connection = Some(current);
            if !(stale && reused) {
                return results;
            }
        }
    }
}

/// Sends one message and reports every recipient.
pub(super) async fn send(
    url: &str,
    args: &Args,
    job: &Job,
    out: &Output,
    summary: &mut Summary,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let began = Instant::now();
    let way = Way::new(url, args, out)?;
    let mut connection = None;
    deliver(&way, &mut connection, job, summary, tally).await?;
    if let Some(connection) = connection {
        connection.client.quit().await;
    }
    summary.elapsed_ms = began.elapsed().as_secs_f64() * 1000.0;
    Ok(())
}

/// One message, with its retries.
pub(super) async fn deliver(
    way: &Way<'_>,
    connection: &mut Option<Connection>,
    job: &Job,
    summary: &mut Summary,
    tally: &mut Tally,
) -> Result<(), Fault> {
    summary.messages += 1;
    let size = job.message.size_bytes();
    let bar = (size >= PROGRESS_BYTES).then(|| Arc::new(way.out.progress(Some(size), "sending")));
    let progress = bar.clone().map(|bar| -> Arc<dyn Fn(u64) + Send + Sync> { Arc::new(move |bytes| bar.add(bytes)) });
    let mut waiting = job.clone();
    let mut attempt = 0;
    loop {
        let results = way.once(connection, &waiting, &progress).await;
        let again = |result: &RecipientResult| match result.outcome {
            Outcome::Deferred => true,
            Outcome::Unknown => way.args.retry_unknown,
            Outcome::Delivered | Outcome::Refused => false,
        };
        // All or nothing: one that is refused for good keeps the others from being tried again.
        let hopeless = !way.args.partial && results.iter().any(|result| result.outcome == Outcome::Refused);
        let retry = attempt < way.args.retry.retry && !hopeless && results.iter().any(again);
        let (later, settled): (Vec<_>, Vec<_>) = results.into_iter().partition(|result| retry && again(result));
        report(way, connection.as_ref(), job, &settled, summary, tally)?;
        let Some(first) = later.first() else { break };
        attempt += 1;
        let wait = crate::retry::delay(attempt, way.args.retry.retry_delay, None, random::fraction());
        let why = first.fault.as_ref().map(|fault| fault.detail.clone()).unwrap_or_default();
        let (seconds, most) = (wait.as_secs_f64(), way.args.retry.retry);
        way.out.warn(&format!("{}: {why}; trying again in {seconds:.1} s ({attempt}/{most})", way.server.shown()));
        waiting.envelope.recipients.retain(|known| later.iter().any(|result| result.address == known.address));
        tokio::time::sleep(wait).await;
    }
    if let Some(bar) = bar {
        bar.finish();
    }
    Ok(())
}

fn report(
    way: &Way<'_>,
    connection: Option<&Connection>,
    job: &Job,
    results: &[RecipientResult],
    summary: &mut Summary,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let stream = connection.map(|connection| connection.client.stream());
    let tls = stream.and_then(Stream::tls_info);
    let address = stream.and_then(Stream::peer_addr);
    let mut said: Option<&Fault> = None;
    for result in results {
        summary.count(result.outcome.as_str());
        way.out.emit(&RecipientRecord {
            recipient: result.address.clone(),
            outcome: result.outcome.as_str(),
            message_id: job.message_id.clone(),
            host: Some(way.server.host.clone()),
            ip: address.map(|address| address.ip().to_string()),
            port: address.map(|address| address.port()),
            tls_version: tls.as_ref().map(|tls| tls.version),
            tls_verified: tls.as_ref().map(|_| connection.is_some_and(|connection| connection.verified)),
            code: result.code,
            enhanced: result.enhanced.map(|code| code.to_string()),
            reply: Some(result.reply.clone()).filter(|reply| !reply.is_empty()),
            kind: result.fault.as_ref().map(|fault| fault.kind.as_str()),
            temporary: result.fault.as_ref().map(Fault::temporary),
            detail: result.fault.as_ref().map(|fault| fault.detail.clone()),
            size_bytes: job.message.size_bytes(),
            times_ms: connection.map(|connection| TimesMs::new(connection.connect, connection.client.times())),
            ..RecipientRecord::default()
        })?;
        match &result.fault {
            None => tally.success_once(),
            Some(fault) => {
                // What stopped the whole message is said once, not once a recipient; that the others were not sent
                // follows from the one that was refused.
                let follows = fault.kind == Kind::Cancelled && results.iter().any(|other| other.code.is_some());
                if said != Some(fault) && !follows {
                    let whole = result.code.is_none() && result.reply.is_empty();
                    way.out.error(&if whole { way.server.shown() } else { result.address.clone() }, fault);
                }
                said = Some(fault);
                tally.fault(fault);
            }
        }
    }
    Ok(())
}

/// Our name in EHLO: this host's if it is a full one, else our address as a literal (RFC 5321, section 4.1.4).
fn helo(stream: &Stream) -> String {
    let name = job::host_name();
    match stream.local_addr().map(|address| address.ip()) {
        _ if name.contains('.') => name,
        Some(std::net::IpAddr::V4(ip)) => format!("[{ip}]"),
        Some(std::net::IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
        None => name,
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parse = |text: &str| {
            let server = Server::parse(text)?;
            Ok::<_, Fault>((server.host, server.port, server.lmtp, server.tls))
        };
        assert_eq!(parse("smtp://mail.test").unwrap(), ("mail.test".into(), 25, false, TlsMode::Try));
        assert_eq!(parse("smtp://127.0.0.1:2525/").unwrap(), ("127.0.0.1".into(), 2525, false, TlsMode::Try));
        assert_eq!(parse("smtp://[::1]:2525").unwrap(), ("::1".into(), 2525, false, TlsMode::Try));
        assert_eq!(parse("smtps://m").unwrap(), ("m".into(), 465, false, TlsMode::Implicit));
        assert_eq!(parse("submission://m").unwrap(), ("m".into(), 587, false, TlsMode::Starttls));
        assert_eq!(parse("submission://bücher.test").unwrap().0, "xn--bcher-kva.test");
        assert_eq!(parse("lmtp://m").unwrap(), ("m".into(), 24, true, TlsMode::Try));
        let unix = Server::parse("lmtp+unix:/run/x").unwrap();
        assert_eq!((unix.socket, unix.lmtp), (Some(PathBuf::from("/run/x")), true));
        assert_eq!(Server::parse("lmtp+unix:///run/x").unwrap().socket, Some(PathBuf::from("/run/x")));
        let login = Server::parse("smtps://al%40x:p%3Aw@m").unwrap();
        assert_eq!((login.user.as_deref(), login.password.as_deref()), (Some("al@x"), Some("p:w")));
        for bad in
            ["mail.test", "http://x", "smtp://", "smtp://m/path", "lmtp+unix:run/x", "smtp://m?x", "smtp://a%0d@m"]
        {
            assert_eq!(Server::parse(bad).unwrap_err().kind, Kind::Usage, "{bad}");
        }
    }
}
