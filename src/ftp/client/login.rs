//! Connecting and logging in: USER, PASS, TYPE and FEAT in one packet, or one after the other for servers that cannot handle
//! that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::control::ControlConnection;
use super::{Features, FtpClient, FtpClientOptions, ServerQuirks, chain};
use crate::fault::{Fault, Kind};
use crate::ftp::charset::WireCharset;
use crate::ftp::command::{FtpCommand, Protection, TypeCode};
use crate::ftp::path::FtpUrl;
use crate::ftp::reply::{FtpReply, ReplyClass};
use crate::net::login::Login;
use crate::net::tls::{ClientTls, TlsMode};
use crate::secret::Secret;

/// The password of an anonymous login if the user gave none.
const ANONYMOUS_PASSWORD: &str = "ftp@";
/// After the first reply to a packet of commands: the longest wait for each further reply before those commands count as
/// lost. It is longer than the pause of servers after a wrong password, so that the password is not sent twice.
const SILENCE: Duration = Duration::from_secs(3);

/// Servers, recognized by their greeting, that read raw lines without TELNET (RFC 959, section 3.1).
const RAW: [&[u8]; 3] = [b"vsFTPd", b"Pure-FTPd", b"pyftpdlib"];

/// The method of a login attempt.
#[derive(Debug, Clone, Copy)]
struct LoginWay {
    lock_step: bool,
    features: bool,
}

/// The change of method with which a login is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OtherWay {
    LockStep,
    NoFeatures,
}

impl FtpClient {
    /// Connects and logs in. If the server cannot handle several commands in one packet, the login is repeated in lock step; if it
    /// cannot handle FEAT, the login is repeated without FEAT.
    ///
    /// # Errors
    /// No connection, no TLS although it was requested, or a refused login (`AuthFailed`).
    pub async fn open(url: &FtpUrl, options: &FtpClientOptions) -> Result<FtpClient, Fault> {
        let quirks = &options.quirks;
        loop {
            let way = LoginWay {
                lock_step: ServerQuirks::get(&quirks.lock_step),
                features: !ServerQuirks::get(&quirks.no_feat),
            };
            // Boxed: this large future would enlarge the future of every command that may need a fresh connection.
            match Box::pin(FtpClient::connect(url, options, way)).await? {
                Ok(client) => return Ok(client),
                Err(OtherWay::LockStep) => options.learn(&quirks.lock_step, "one command at a time"),
                Err(OtherWay::NoFeatures) => options.learn(&quirks.no_feat, "no FEAT: it is not answered"),
            }
        }
    }

    /// One attempt. The returned change of method is never the same twice.
    async fn connect(
        url: &FtpUrl,
        options: &FtpClientOptions,
        way: LoginWay,
    ) -> Result<Result<FtpClient, OtherWay>, Fault> {
        let tls = match options.tls {
            TlsMode::None => None,
            TlsMode::Try | TlsMode::Starttls | TlsMode::Implicit => {
                let tls = options.tls_client.as_ref().ok_or_else(|| Fault::new(Kind::Internal, "no TLS settings"))?;
                Some(tls.own_sessions())
            }
        };
        let (control, greeting) = greeted(url, options, tls.as_ref()).await?;
        let secure = control.stream().is_tls();
        let mut client = FtpClient {
            control,
            host: url.host.clone(),
            data_tls: tls.filter(|_| secure && !options.data_clear),
            options: options.clone(),
            features: Features::default(),
            round_trip: Duration::ZERO,
            login_directory: None,
            url: url.clone(),
            secure,
            resumed_before: false,
            chains: chain::is_safe(&greeting),
            ahead: VecDeque::new(),
        };
        if let Some(other) = client.log_in(way).await? {
            return Ok(Err(other));
        }
        if options.ccc && client.secure {
            client.control = client.control.end_tls().await?;
        }
        client.run_before().await?;
        Ok(Ok(client))
    }

    /// Logs in. Returns the change of method if this one does not work.
    async fn log_in(&mut self, way: LoginWay) -> Result<Option<OtherWay>, Fault> {
        let login = self.options.login.clone().unwrap_or_else(|| Login::new("anonymous", ANONYMOUS_PASSWORD));
        let bytes = |secret: Secret| Secret::new(secret.into_exposed().into_bytes());
        let user = FtpCommand::User(login.user.into_bytes());
        let password = FtpCommand::Pass(bytes(login.password));
        let account =
            login.account.or_else(|| self.options.account.clone()).map(|account| FtpCommand::Acct(bytes(account)));
        let level = if self.options.data_clear { Protection::Clear } else { Protection::Private };
        let protect = FtpCommand::Prot(level);
        let other = match way.lock_step {
            true => self.log_in_stepwise(way, [&protect, &user, &password], account.as_ref()).await?,
            false => self.log_in_at_once(way, [&protect, &user, &password], account.as_ref()).await?,
        };
        if other.is_some() {
            return Ok(other);
        }
        if self.features.utf8 {
            // Servers use another charset for clients without UTF-8.
            let utf8 = self.options.charset.is_none_or(WireCharset::is_utf8);
            let utf8 = FtpCommand::Opts(if utf8 { b"UTF8 ON".to_vec() } else { b"UTF8 OFF".to_vec() });
            // Servers that speak UTF-8 anyway may refuse it.
            match way.lock_step {
                true => drop(self.control.call(&utf8).await?),
                // Goes out with the next command.
                false => self.control.queue_unasked(&utf8)?,
            }
        }
        Ok(None)
    }

    async fn log_in_stepwise(
        &mut self,
        way: LoginWay,
        [protect, user, password]: [&FtpCommand; 3],
        account: Option<&FtpCommand>,
    ) -> Result<Option<OtherWay>, Fault> {
        let mut protected = None;
        if self.secure {
            self.control.call(&FtpCommand::Pbsz(0)).await?;
            protected = Some(self.control.call(protect).await?);
        }
        let started = Instant::now();
        let mut reply = self.control.call(user).await?;
        self.round_trip = started.elapsed();
        if reply.code == 331 {
            reply = self.control.call(password).await?;
        }
        self.logged_in("login", &reply, account).await?;
        self.protect(protect, protected).await?;
        self.type_and_features(way).await
    }

    async fn log_in_at_once(
        &mut self,
        way: LoginWay,
        [protect, user, password]: [&FtpCommand; 3],
        account: Option<&FtpCommand>,
    ) -> Result<Option<OtherWay>, Fault> {
        let (pbsz, kind) = (FtpCommand::Pbsz(0), FtpCommand::Type(TypeCode::Image));
        let mut commands = if self.secure { vec![&pbsz, protect] } else { Vec::new() };
        commands.extend([user, password, &kind]);
        commands.extend(way.features.then_some(&FtpCommand::Feat));
        let (mut replies, failed) = self.ask_at_once(&commands).await?;
        let heard = replies.len();
        let first = if self.secure { 2.min(heard) } else { 0 };
        let protected = replies.drain(..first).nth(1);
        if !ServerQuirks::get(&self.options.quirks.pipelines)
            && let Some(other) = other_way(&replies, heard, failed.as_ref(), way)
        {
            return Ok(Some(other));
        }
        let (what, reply) = match replies.first() {
            Some(reply) if reply.code == 331 => ("login", replies.get(1)),
            reply => ("USER", reply),
        };
        let broken = || failed.clone().unwrap_or_else(|| Fault::new(Kind::Internal, "a login without replies"));
        let late = self.logged_in(what, reply.ok_or_else(broken)?, account).await?;
        if late {
            // The server refused these commands before it had the account.
            self.protect(protect, protected).await?;
            return self.type_and_features(way).await;
        }
        if let Some(fault) = failed {
            return Err(fault);
        }
        check_type(replies.get(2).ok_or_else(broken)?)?;
        self.features = replies.get(3).map(Features::parse).unwrap_or_default();
        ServerQuirks::set(&self.options.quirks.pipelines);
        self.protect(protect, protected).await?;
        Ok(None)
    }

    /// Sends all commands in one packet. Returns the replies, and the fault if some are missing. Until the server is known to
    /// answer such packets, only the first reply may take the whole idle limit.
    async fn ask_at_once(&mut self, commands: &[&FtpCommand]) -> Result<(Vec<FtpReply>, Option<Fault>), Fault> {
        for command in commands {
            self.control.queue(command)?;
        }
        let started = Instant::now();
        self.control.flush().await?;
        let mut replies = Vec::with_capacity(commands.len());
        let known = ServerQuirks::get(&self.options.quirks.pipelines);
        for _ in commands {
            let idle = self.control.limits.idle;
            let patience = if replies.is_empty() || known { idle } else { idle.min(SILENCE) };
            match self.reply_within(patience).await {
                Ok(reply) => replies.push(reply),
                Err(fault) => return Ok((replies, Some(fault))),
            }
            if replies.len() == 1 {
                self.round_trip = started.elapsed();
            }
        }
        Ok((replies, None))
    }

    /// Judges the reply that decides on the login. True: the server asked for an account and accepted it.
    async fn logged_in(&mut self, what: &str, reply: &FtpReply, account: Option<&FtpCommand>) -> Result<bool, Fault> {
        match (reply.code, account) {
            (332, Some(account)) => {
                let reply = self.control.call(account).await?;
                if reply.ok() { Ok(true) } else { Err(login_fault("ACCT", &reply)) }
            }
            (332, None) => {
                Err(login_fault(what, reply).with_hint("--account NAME or `account NAME` in netrc gives one"))
            }
            _ if reply.ok() => Ok(false),
            _ => Err(login_fault(what, reply)),
        }
    }

    /// TYPE, and FEAT with a shorter wait.
    async fn type_and_features(&mut self, way: LoginWay) -> Result<Option<OtherWay>, Fault> {
        check_type(&self.control.call(&FtpCommand::Type(TypeCode::Image)).await?)?;
        if !way.features {
            return Ok(None);
        }
        self.control.queue(&FtpCommand::Feat)?;
        self.control.flush().await?;
        match self.reply_within(self.control.limits.idle.min(SILENCE)).await {
            Ok(reply) => self.features = Features::parse(&reply),
            Err(fault) if lost(&fault) || fault.reply_code() == Some(421) => return Ok(Some(OtherWay::NoFeatures)),
            Err(fault) => return Err(fault),
        }
        Ok(None)
    }

    /// After the login: makes sure that data connections have the requested protection; `said` is the reply to an earlier PROT.
    async fn protect(&mut self, protect: &FtpCommand, said: Option<FtpReply>) -> Result<(), Fault> {
        if !self.secure || self.options.data_clear || said.is_some_and(|reply| reply.ok()) {
            return Ok(());
        }
        // Some servers accept PROT only after the login.
        let reply = self.control.call(protect).await?;
        if reply.ok() {
            return Ok(());
        }
        let fault = Fault { kind: Kind::TlsUntrusted, ..reply.fault("PROT P", Kind::TlsUntrusted) };
        Err(fault.with_hint("--data-clear: the login inside TLS, files and listings in clear text"))
    }
}

/// Connects, reads the greeting, and starts TLS according to the options.
///
/// # Errors
/// No connection, no TLS although it was requested, or a server without a positive greeting.
pub(super) async fn greeted(
    url: &FtpUrl,
    options: &FtpClientOptions,
    tls: Option<&ClientTls>,
) -> Result<(ControlConnection, FtpReply), Fault> {
    let limits = options.limits;
    let mut stream = options.dialer.connect(&url.host, url.port()).await?;
    if let Some(tcp) = stream.tcp() {
        // Firewalls drop an idle connection during a long transfer. A failure here only loses the keepalive.
        let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
        drop(socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive));
    }
    if let (TlsMode::Implicit, Some(tls)) = (options.tls, tls) {
        stream = limits.run("TLS handshake", tls.connect(stream, &url.host)).await.map_err(|mut fault| {
            let hint = "ftps:// begins with TLS; at servers with AUTH TLS the scheme is ftpes://";
            fault.hint.get_or_insert(hint.into());
            fault
        })?;
    }
    let mut control = ControlConnection::new(stream, options);
    let greeting = control.final_reply().await?;
    if !greeting.ok() {
        return Err(login_fault("server", &greeting));
    }
    if greeting.lines.iter().any(|line| RAW.iter().any(|name| memchr::memmem::find(line, name).is_some())) {
        options.quirks.speaks_telnet(false);
    }
    if let (TlsMode::Try | TlsMode::Starttls, Some(tls)) = (options.tls, tls) {
        control = start_tls(control, options, tls, &url.host).await?;
    }
    Ok((control, greeting))
}

/// Sends AUTH TLS. With [`TlsMode::Try`] a refusal is accepted.
async fn start_tls(
    mut control: ControlConnection,
    options: &FtpClientOptions,
    tls: &ClientTls,
    host: &str,
) -> Result<ControlConnection, Fault> {
    let reply = control.call(&FtpCommand::Auth("TLS".to_owned())).await?;
    if matches!(reply.code, 234 | 334) {
        return control.start_tls(tls, host).await;
    }
    if options.tls == TlsMode::Try {
        options.trace.note("the server offers no TLS: continuing unencrypted");
        return Ok(control);
    }
    let fault = reply.fault("AUTH TLS", Kind::TlsUntrusted);
    let kind = if fault.temporary() { fault.kind } else { Kind::TlsUntrusted };
    let hint = "the server does not offer TLS here: ftps:// is TLS on port 990, ftp:// is clear text";
    Err(Fault { kind, ..fault }.with_hint(hint))
}

/// True when no reply came, or the connection ended.
fn lost(fault: &Fault) -> bool {
    matches!(fault.kind, Kind::TimedOut | Kind::Disconnected)
}

/// Judges the replies to USER, PASS, TYPE and FEAT, all sent at once to a server that may not support that: a server that
/// reads one command per packet drops the others, or reads all as one. `heard`: the total number of replies.
fn other_way(replies: &[FtpReply], heard: usize, failed: Option<&Fault>, way: LoginWay) -> Option<OtherWay> {
    let class = |at: usize| replies.get(at).map(FtpReply::class);
    let unknown = |at: usize| replies.get(at).is_some_and(|reply| reply.is_unsupported() || reply.code == 503);
    let refused = |at: usize| matches!(class(at), Some(ReplyClass::Permanent | ReplyClass::Transient));
    let no_features = failed.is_some_and(|fault| lost(fault) || fault.reply_code() == Some(421));
    // 331 after a refusal belongs to USER, 211 before FEAT's turn to FEAT: answers out of order.
    let shifted = (refused(0) && class(1) == Some(ReplyClass::Intermediate))
        || replies.get(2).is_some_and(|reply| reply.code == 211);
    let user_only = class(0) == Some(ReplyClass::Intermediate);
    if unknown(0) || shifted || (user_only && unknown(1)) {
        return Some(OtherWay::LockStep);
    }
    if refused(0) || (user_only && refused(1)) {
        return None;
    }
    match failed {
        Some(_) if no_features && way.features && replies.len() == 3 => Some(OtherWay::NoFeatures),
        Some(fault) if fault.kind == Kind::Disconnected || (lost(fault) && heard > 0) => Some(OtherWay::LockStep),
        _ => None,
    }
}

fn check_type(reply: &FtpReply) -> Result<(), Fault> {
    match reply.ok() {
        true => Ok(()),
        false => Err(reply.fault("TYPE I", Kind::Refused)),
    }
}

/// The fault of a refused greeting or login. Servers also use 530 for "too many users", which is a temporary failure.
fn login_fault(what: &str, reply: &FtpReply) -> Fault {
    let fault = reply.fault(what, Kind::AuthFailed);
    let kind = match reply.class() {
        ReplyClass::Transient => fault.kind,
        ReplyClass::Permanent if reply.lines.iter().any(|line| is_crowded(&String::from_utf8_lossy(line))) => {
            Kind::PeerTemporary
        }
        ReplyClass::Intermediate => Kind::AuthFailed,
        _ => fault.kind,
    };
    Fault { kind, ..fault }
}

/// True when the text of a refusal says that there are too many users or connections. A limit of attempts does not count.
fn is_crowded(text: &str) -> bool {
    /// Complete phrases.
    const WORDS: [&str; 4] = ["server is full", "server full", "server is busy", "try again later"];
    /// Words for a limit ...
    const LIMITS: [&str; 13] = [
        "too many",
        "maximum",
        "max ",
        "max. ",
        "limit reached",
        "limit exceeded",
        "limit of",
        "exceed",
        "no more",
        "not more",
        "restricted to",
        "simultaneous",
        "concurrent",
    ];
    const LIMITS_TOO: [&str; 7] =
        ["more than", "at most", " limit", "already logged", "already connected", "only allowed", "allows only"];
    /// ... and words for what is limited.
    const CROWDS: [&str; 9] = ["connect", "session", "login", "logged", "logon", "user", "client", "slot", "anonymous"];
    const GUILT: [&str; 7] = ["fail", "attempt", "incorrect", "password", "invalid", "tries", "expire"];
    let text = text.to_ascii_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    !any(&GUILT) && (any(&WORDS) || ((any(&LIMITS) || any(&LIMITS_TOO)) && any(&CROWDS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of servers that allow no more connections, and similar texts that mean something else.
    #[test]
    fn crowded_or_refused() {
        for text in [
            "Sorry, the maximum number of clients (2) from your host are already connected.",
            "Sorry, the maximum number of hosts (3) for this user are already connected.",
            "you have exceeded the number of connections",
            "Sorry, your account is restricted to 2 simultaneous logins.",
            "no more than 2 sessions",
            "There are too many users in your class at this time",
            "User anonymous access denied. Too many users",
            "Not logged in, only 1 sessions from same IP allowed concurrently.",
            "8 users (the maximum) are already logged in, sorry",
            "Maximum session limit exceeded.",
            "Connection limit reached for this account",
            "User limit reached, come back later",
            "The server is busy. Try again later",
            "Server is full",
            "No more connections allowed from your IP.",
            "Sorry, max 5 users",
            "User joe already logged in more than 3 times",
            "Your account allows only one login",
            "There is a limit of 4 connections for each client",
            "All anonymous slots are taken, maximum 10",
        ] {
            let fault = login_fault("login", &FtpReply::new(530, text));
            assert_eq!(fault.kind, Kind::PeerTemporary, "{text}");
        }
        for text in [
            "Login incorrect.",
            "Not logged in",
            "Too many failed logins, connection refused",
            "Maximum number of login attempts exceeded",
            "Too many wrong passwords from this client",
            "This FTP server is anonymous only.",
            "User cannot log in, home directory inaccessible.",
            "Permission denied",
            "Sorry, no ANONYMOUS access allowed.",
        ] {
            assert_eq!(login_fault("login", &FtpReply::new(530, text)).kind, Kind::AuthFailed, "{text}");
        }
    }

    #[test]
    fn what_the_replies_say_of_the_way() {
        let way = |features| LoginWay { lock_step: false, features };
        let silent = Fault::new(Kind::TimedOut, "");
        let gone = Fault::new(Kind::Disconnected, "");
        let (lock_step, no_features) = (Some(OtherWay::LockStep), Some(OtherWay::NoFeatures));
        for (codes, failed, features, expected) in [
            (&[331, 230, 200, 211][..], None, true, None),
            (&[230, 503, 200, 500], None, true, None),
            (&[331, 230, 200], Some(&silent), true, no_features),
            (&[331, 230, 200], Some(&gone), true, no_features),
            (&[331, 230], Some(&silent), false, lock_step),
            (&[331], Some(&silent), true, lock_step),
            (&[331], Some(&gone), true, lock_step),
            (&[], Some(&silent), true, None),
            (&[500], Some(&silent), true, lock_step),
            (&[503], Some(&silent), true, lock_step),
            (&[331, 503, 530, 530], None, true, lock_step),
            (&[530, 331, 530, 211], None, true, lock_step),
            (&[331, 230, 211, 200], None, true, lock_step),
            (&[530], Some(&gone), true, None),
            (&[331, 530], Some(&gone), true, None),
            (&[331, 332, 530, 530], None, true, None),
        ] {
            let replies: Vec<FtpReply> = codes.iter().map(|code| FtpReply::new(*code, "x")).collect();
            assert_eq!(other_way(&replies, replies.len(), failed, way(features)), expected, "{codes:?}");
        }
        assert_eq!(other_way(&[], 1, Some(&silent), way(true)), lock_step, "PBSZ alone was answered");
    }
}
