//! The client: one control connection, logged in, and the data connections that it opens.

mod chain;
mod checksum;
mod control;
mod data;
mod feature;
mod list;
mod summary;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fault::{Fault, Kind};
use crate::ftp::command::{FtpCommand, Protection, TypeCode};
use crate::ftp::listing::{EntryType, ListingEntry, Modified, parse_facts};
use crate::ftp::path::{FtpUrl, RemotePath, Scheme};
use crate::ftp::reply::{FtpReply, ReplyClass};
use crate::net::deadline::Limits;
use crate::net::dial::Dialer;
use crate::net::login::Login;
use crate::net::pace::TransferPace;
use crate::net::tls::{ClientTls, TlsMode};
use crate::net::trace::ProtocolTrace;
use crate::secret::Secret;

pub use chain::{Ahead, MAX_CHAIN_BYTES};
use control::ControlConnection;
pub use data::{Begun, PortRange};
pub use feature::Features;
use list::ArgumentQuirk;
pub use summary::{EachLine, ListMethod, ListingSummary, MAX_ENTRIES, WholeListing};

/// How long the reply after the last byte of a transfer may take: servers with slow storage need a minute and more.
pub const FINAL_REPLY: Duration = Duration::from_secs(300);

/// How long the end of a TLS data connection is waited for.
const CLOSE_NOTIFY: Duration = Duration::from_secs(2);

/// The password of an anonymous login, where the user gave none.
const ANONYMOUS_PASSWORD: &str = "ftp@";

/// How to reach and use a server.
#[derive(Debug, Clone)]
pub struct FtpClientOptions {
    /// Who opens connections.
    pub dialer: Dialer,
    /// When TLS starts.
    pub tls: TlsMode,
    /// TLS settings; each control connection gets a session store of its own.
    pub tls_client: Option<ClientTls>,
    /// Who logs in; `None` is anonymous.
    pub login: Option<Login>,
    /// Deadlines.
    pub limits: Limits,
    /// The wire trace.
    pub trace: ProtocolTrace,
    /// Active mode (PORT, EPRT), listening on a port of this range.
    pub active: Option<PortRange>,
    /// Believe the address in a 227 reply instead of taking the control connection's.
    pub trust_pasv: bool,
    /// Commands to send after the login; one with a leading `*` may fail.
    pub before: Vec<String>,
    /// The speed limit of all data connections together.
    pub pace: Option<Arc<TransferPace>>,
    /// What earlier connections to the same server found out.
    pub quirks: Arc<ServerQuirks>,
}

impl FtpClientOptions {
    /// Plain options: passive, clear text, anonymous.
    pub fn new(dialer: Dialer) -> FtpClientOptions {
        FtpClientOptions {
            dialer,
            tls: TlsMode::None,
            tls_client: None,
            login: None,
            limits: Limits::default(),
            trace: ProtocolTrace::default(),
            active: None,
            trust_pasv: false,
            before: Vec::new(),
            pace: None,
            quirks: Arc::default(),
        }
    }
}

/// What was found out about a server; all connections to it share it.
#[derive(Debug, Default)]
pub struct ServerQuirks {
    lock_step: AtomicBool,
    no_epsv: AtomicBool,
    no_eprt: AtomicBool,
    no_mlsd: AtomicBool,
    no_list_options: AtomicBool,
    mlsd_argument: ArgumentQuirk,
    list_argument: ArgumentQuirk,
    stat_argument: ArgumentQuirk,
    no_set_time: AtomicBool,
    /// No data connection can be had; listings come by STAT.
    no_data: AtomicBool,
    /// Transfers sent ahead went wrong.
    no_chain: AtomicBool,
    /// Connections that the server allows; 0: it has not refused any.
    allowed: AtomicUsize,
}

impl ServerQuirks {
    fn get(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    fn set(flag: &AtomicBool) {
        flag.store(true, Ordering::Relaxed);
    }

    /// The server refused a connection beyond this many.
    pub fn allows_only(&self, connections: usize) {
        self.allowed.store(connections.max(1), Ordering::Relaxed);
    }

    /// How many connections the server allows, if it ever refused one.
    pub fn allowed(&self) -> Option<usize> {
        Some(self.allowed.load(Ordering::Relaxed)).filter(|allowed| *allowed > 0)
    }

    /// Sends no more than one transfer ahead from now on.
    pub fn give_up_chains(&self) {
        ServerQuirks::set(&self.no_chain);
    }
}

/// The TLS mode that a URL's scheme fixes.
pub fn tls_mode(scheme: Scheme) -> TlsMode {
    match scheme {
        Scheme::Ftp => TlsMode::None,
        Scheme::Ftpes => TlsMode::Starttls,
        Scheme::Ftps => TlsMode::Implicit,
    }
}

/// A logged-in control connection.
#[derive(Debug)]
pub struct FtpClient {
    control: ControlConnection,
    host: String,
    /// TLS for data connections: the session store of this very control connection.
    data_tls: Option<ClientTls>,
    options: FtpClientOptions,
    features: Features,
    type_code: TypeCode,
    round_trip: Duration,
    /// Where the login landed, once it was asked for; empty where the server does not tell.
    login_directory: Option<Vec<u8>>,
    url: FtpUrl,
    /// True once a data connection resumed the TLS session.
    resumed_before: bool,
    /// The server is known to keep order in long chains of commands.
    chains: bool,
    /// Transfers whose commands have been sent and whose replies are still to come, with the set-up command of each.
    ahead: VecDeque<(Ahead, FtpCommand)>,
}

impl FtpClient {
    /// Connects and logs in. A server whose replies come out of order is asked again in lock step.
    ///
    /// # Errors
    /// No connection, no TLS where it was asked for, or a refused login (`AuthFailed`).
    pub async fn open(url: &FtpUrl, options: &FtpClientOptions) -> Result<FtpClient, Fault> {
        loop {
            let lock_step = ServerQuirks::get(&options.quirks.lock_step);
            // Boxed: a large future, done once, would make that of every command that may need a fresh connection as large.
            match Box::pin(FtpClient::connect(url, options, lock_step)).await? {
                Some(client) => return Ok(client),
                None => ServerQuirks::set(&options.quirks.lock_step),
            }
        }
    }

    async fn connect(url: &FtpUrl, options: &FtpClientOptions, lock_step: bool) -> Result<Option<FtpClient>, Fault> {
        let limits = options.limits;
        let mut stream = options.dialer.connect(&url.host, url.port()).await?;
        if let Some(tcp) = stream.tcp() {
            // Firewalls forget a connection that is silent during a long transfer. A failure only loses that help.
            let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
            drop(socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive));
        }
        let tls = match options.tls {
            TlsMode::None => None,
            TlsMode::Try | TlsMode::Starttls | TlsMode::Implicit => {
                let tls = options.tls_client.as_ref().ok_or_else(|| Fault::new(Kind::Internal, "no TLS settings"))?;
                Some(tls.own_sessions())
            }
        };
        if let (TlsMode::Implicit, Some(tls)) = (options.tls, &tls) {
            stream = limits.run("TLS handshake", tls.connect(stream, &url.host)).await?;
        }
        let mut control = ControlConnection::new(stream, limits, options.trace.clone());
        let greeting = control.final_reply().await?;
        if !greeting.ok() {
            return Err(login_fault("server", &greeting));
        }
        if let (TlsMode::Try | TlsMode::Starttls, Some(tls)) = (options.tls, &tls) {
            let reply = control.call(&FtpCommand::Auth("TLS".to_owned())).await?;
            match reply.code {
                234 | 334 => control = control.start_tls(tls, &url.host).await?,
                _ if options.tls == TlsMode::Try => {
                    options.trace.note("the server offers no TLS: going on in clear text")
                }
                _ => {
                    let fault = reply.fault("AUTH TLS", Kind::TlsUntrusted);
                    return Err(Fault {
                        kind: if fault.temporary() { fault.kind } else { Kind::TlsUntrusted },
                        ..fault
                    }
                    .with_hint(
                        "the server does not offer TLS here: ftps:// is TLS on port 990, ftp:// is clear text",
                    ));
                }
            }
        }
        let data_tls = tls.filter(|_| control.stream().is_tls());
        let mut client = FtpClient {
            control,
            host: url.host.clone(),
            data_tls,
            options: options.clone(),
            features: Features::default(),
            type_code: TypeCode::Image,
            round_trip: Duration::ZERO,
            login_directory: None,
            url: url.clone(),
            resumed_before: false,
            chains: chain::is_safe(&greeting),
            ahead: VecDeque::new(),
        };
        if !client.log_in(lock_step).await? {
            return Ok(None);
        }
        client.run_before().await?;
        Ok(Some(client))
    }

    /// USER, PASS, TYPE and FEAT in one packet, or one after the other. False: the replies were out of order.
    async fn log_in(&mut self, lock_step: bool) -> Result<bool, Fault> {
        let login = self.options.login.clone().unwrap_or_else(|| Login::new("anonymous", ANONYMOUS_PASSWORD));
        let user = FtpCommand::User(login.user.into_bytes());
        let password = FtpCommand::Pass(Secret::new(login.password.into_exposed().into_bytes()));
        let secure = self.data_tls.is_some();
        let protect = [FtpCommand::Pbsz(0), FtpCommand::Prot(Protection::Private)];
        let started = std::time::Instant::now();
        let mut protected = !secure;
        if lock_step {
            if secure {
                self.control.call(&protect[0]).await?;
                protected = self.control.call(&protect[1]).await?.ok();
            }
            let reply = self.control.call(&user).await?;
            if !reply.ok() {
                check_user(&reply)?;
                let reply = self.control.call(&password).await?;
                check_password(&reply)?;
            }
            check_type(&self.control.call(&FtpCommand::Type(TypeCode::Image)).await?)?;
            self.features = Features::parse(&self.control.call(&FtpCommand::Feat).await?);
        } else {
            if secure {
                self.control.queue_unasked(&protect[0])?;
                self.control.queue(&protect[1])?;
            }
            for command in [&user, &password, &FtpCommand::Type(TypeCode::Image), &FtpCommand::Feat] {
                self.control.queue(command)?;
            }
            self.control.flush().await?;
            if secure {
                protected = self.control.final_reply().await?.ok();
            }
            let to_user = self.control.final_reply().await?;
            self.round_trip = started.elapsed();
            let to_password = match self.control.final_reply().await {
                // A server that hangs up after its refusal: the refusal is the news.
                Err(_) if to_user.class() == ReplyClass::Permanent => return Err(login_fault("USER", &to_user)),
                to_password => to_password?,
            };
            if !to_user.ok() {
                // 331 after a refusal belongs to USER: this server answers out of order.
                if to_user.class() == ReplyClass::Permanent && to_password.class() == ReplyClass::Intermediate {
                    return Ok(false);
                }
                check_user(&to_user)?;
                check_password(&to_password)?;
            }
            let to_type = self.control.final_reply().await?;
            let to_features = self.control.final_reply().await?;
            if to_type.code == 211 {
                return Ok(false);
            }
            check_type(&to_type)?;
            self.features = Features::parse(&to_features);
        }
        if !protected {
            // Some servers take PROT only from a user who is logged in.
            let reply = self.control.call(&protect[1]).await?;
            if !reply.ok() {
                let fault = reply.fault("PROT P", Kind::TlsUntrusted);
                return Err(Fault { kind: Kind::TlsUntrusted, ..fault });
            }
        }
        if self.features.utf8 {
            // Goes out with the next command; servers that speak UTF-8 anyway may refuse it.
            self.control.queue_unasked(&FtpCommand::Opts(b"UTF8 ON".to_vec()))?;
        }
        Ok(true)
    }

    /// A fresh connection in place of this one, in the same state.
    async fn renew(&mut self) -> Result<(), Fault> {
        self.options.trace.note("a fresh control connection");
        let ascii = self.type_code == TypeCode::Ascii;
        let fresh = FtpClient::open(&self.url, &self.options).await?;
        std::mem::replace(self, fresh).control.quit().await;
        self.set_type(ascii).await
    }

    async fn run_before(&mut self) -> Result<(), Fault> {
        for line in self.options.before.clone() {
            self.raw(&line).await?;
        }
        Ok(())
    }

    /// Sends a command line as the user wrote it; one with a leading `*` may fail.
    ///
    /// # Errors
    /// `Usage` for what cannot be a command; the kind of a refusal that is not allowed for, or of what failed on the
    /// connection.
    pub async fn raw(&mut self, line: &str) -> Result<FtpReply, Fault> {
        let (line, may_fail) = line.strip_prefix('*').map_or((line, false), |line| (line, true));
        let (verb, argument) = line.trim_start().split_once(' ').map_or((line.trim(), None), |(v, a)| (v, Some(a)));
        let command = FtpCommand::Other(verb.to_ascii_uppercase(), argument.map(|a| a.as_bytes().to_vec()));
        let reply = self.control.call(&command).await?;
        match reply.class() {
            ReplyClass::Transient | ReplyClass::Permanent if !may_fail => Err(reply.fault(verb, Kind::Refused)),
            _ => Ok(reply),
        }
    }

    /// What the server says it can do.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The time from the login's packet to its first reply.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// True inside TLS.
    pub fn is_tls(&self) -> bool {
        self.data_tls.is_some()
    }

    /// True when the server is this very host: nothing leaves it.
    pub fn is_loopback(&self) -> bool {
        self.control.stream().peer_addr().is_none_or(|peer| peer.ip().to_canonical().is_loopback())
    }

    /// True when the connection is in order and nothing is under way: it can serve the next job.
    pub fn usable(&self) -> bool {
        self.control.idle()
    }

    /// Sends a command and returns its final reply, whatever it says.
    ///
    /// # Errors
    /// `Usage` for what cannot be a command; the kind of what failed on the connection.
    pub async fn call(&mut self, command: &FtpCommand) -> Result<FtpReply, Fault> {
        self.control.call(command).await
    }

    /// Uploads nothing: the file is there afterwards.
    ///
    /// # Errors
    /// As [`FtpClient::must`].
    pub async fn store_nothing(&mut self, command: &FtpCommand) -> Result<FtpReply, Fault> {
        self.set_type(false).await?;
        let mut begun = self.begin(&[], command, 0).await?;
        let ended = self.control.limits.io("data connection", begun.stream.shutdown()).await;
        if begun.stream.is_tls() {
            // The other end of the connection: some servers call a transfer failed that is closed before it came.
            let limits = self.control.limits.with_idle(CLOSE_NOTIFY);
            drop(limits.io("close_notify", begun.stream.read(&mut [0; 16])).await);
        }
        drop(begun);
        ended.map_err(|fault| self.control.fail(fault))?;
        self.finish(command).await
    }

    /// Sends a command that must succeed; `kind_of_550` is what a 550 means here.
    ///
    /// # Errors
    /// The kind of the server's refusal; else as [`FtpClient::call`].
    pub async fn must(&mut self, command: &FtpCommand, kind_of_550: Kind) -> Result<FtpReply, Fault> {
        let reply = self.control.call(command).await?;
        match reply.class() {
            ReplyClass::Transient | ReplyClass::Permanent => Err(reply.fault(command.verb(), kind_of_550)),
            _ => Ok(reply),
        }
    }

    /// Sends several commands in one packet and returns their final replies in order.
    ///
    /// # Errors
    /// As [`FtpClient::call`].
    pub async fn call_all(&mut self, commands: &[FtpCommand]) -> Result<Vec<FtpReply>, Fault> {
        /// More would fill the buffers of both sides while neither reads.
        const BATCH: usize = 50;
        let mut replies = Vec::with_capacity(commands.len());
        let batch = if ServerQuirks::get(&self.options.quirks.lock_step) { 1 } else { BATCH };
        for batch in commands.chunks(batch) {
            for command in batch {
                self.control.queue(command)?;
            }
            self.control.flush().await?;
            for _ in batch {
                replies.push(self.control.final_reply().await?);
            }
        }
        Ok(replies)
    }

    /// Size and modification time in one packet (RFC 3659, sections 3 and 4); what the server does not say is `None`.
    ///
    /// # Errors
    /// As [`FtpClient::call`].
    pub async fn size_and_time(&mut self, path: &RemotePath) -> Result<(Option<u64>, Option<i64>), Fault> {
        let commands = [FtpCommand::Size(path.argument()), FtpCommand::Mdtm(path.argument())];
        let replies = self.call_all(&commands).await?;
        Ok((replies.first().and_then(size_of), replies.get(1).and_then(time_of)))
    }

    /// What stands at a path: MLST, or what SIZE, MDTM and CWD tell. `None`: nothing.
    ///
    /// # Errors
    /// The kind of a refusal that is no "not there", or of what failed on the connection.
    pub async fn stat(&mut self, path: &RemotePath) -> Result<Option<ListingEntry>, Fault> {
        if self.features.mlst {
            let reply = self.control.call(&FtpCommand::Mlst(Some(path.argument()))).await?;
            return match reply.ok() {
                true => Ok(reply.middle().next().and_then(mlst_entry)),
                false if reply.code == 550 || reply.code == 501 => Ok(None),
                false => Err(reply.fault("MLST", Kind::NoInput)),
            };
        }
        self.set_type(false).await?;
        let (size, modified) = self.size_and_time(path).await?;
        let mut entry = ListingEntry::new(path.argument(), EntryType::File);
        if size.is_none() {
            // A directory lets itself be entered; where we were is restored.
            match self.enter(path).await {
                Ok(()) => {
                    self.leave().await?;
                    entry.entry_type = EntryType::Directory;
                }
                Err(fault) if fault.kind == Kind::NoInput => return Ok(None),
                Err(fault) => return Err(fault),
            }
        }
        entry.size = size;
        entry.modified = modified.map(Modified::utc);
        Ok(Some(entry))
    }

    /// The deadlines.
    pub fn limits(&self) -> Limits {
        self.control.limits
    }

    /// The speed limit.
    pub fn pace(&self) -> Option<Arc<TransferPace>> {
        self.options.pace.clone()
    }

    /// Says something in the wire trace.
    pub fn note(&self, text: &str) {
        self.options.trace.note(text);
    }

    /// Marks the connection as of no more use, and hands the reason through.
    pub fn abandon(&mut self, fault: Fault) -> Fault {
        self.control.fail(fault)
    }

    /// True when nothing more can be done with the connection.
    pub fn is_broken(&self) -> bool {
        self.control.is_broken()
    }

    /// Sets a file's modification time: MFMT, or MDTM with two arguments (vsftpd), or SITE UTIME. False: the server took
    /// none of them, which is no failure.
    ///
    /// # Errors
    /// As [`FtpClient::call`].
    pub async fn set_time(&mut self, path: &RemotePath, seconds: i64) -> Result<bool, Fault> {
        let Some(command) = self.time_command(path, seconds) else { return Ok(false) };
        let reply = self.control.call(&command).await?;
        Ok(self.took_time(&reply))
    }

    /// The command that sets a file's modification time, if the server has one.
    pub fn time_command(&self, path: &RemotePath, seconds: i64) -> Option<FtpCommand> {
        let stamp = crate::ftp::listing::format_mdtm(seconds);
        let with_path = |head: String| [head.as_bytes(), b" ", &path.argument()].concat();
        if ServerQuirks::get(&self.options.quirks.no_set_time) {
            None
        } else if self.features.mfmt {
            Some(FtpCommand::Other("MFMT".to_owned(), Some(with_path(stamp))))
        } else if self.features.site.iter().any(|word| word == "UTIME") {
            Some(FtpCommand::Site(with_path(format!("UTIME {stamp}"))))
        } else if self.features.mdtm {
            Some(FtpCommand::Mdtm(with_path(stamp)))
        } else {
            None
        }
    }

    /// Whether the server took a time; one that does not know the command is not asked again. What it says of one path is no
    /// news of another.
    pub fn took_time(&self, reply: &FtpReply) -> bool {
        if matches!(reply.code, 500 | 502 | 504) && !ServerQuirks::get(&self.options.quirks.no_set_time) {
            self.note(&format!("no times are set from now on: {}", reply.text()));
            ServerQuirks::set(&self.options.quirks.no_set_time);
        }
        reply.ok()
    }

    /// True when the server surely keeps the times that [`FtpClient::set_time`] sets; one that only knows MDTM may.
    pub fn keeps_times(&self) -> bool {
        self.features.mfmt || self.features.site.iter().any(|word| word == "UTIME")
    }

    /// Creates the directories above a path. False: there was nothing to create, or it cannot be.
    ///
    /// # Errors
    /// As [`FtpClient::call`].
    pub async fn make_parents(&mut self, path: &RemotePath) -> Result<bool, Fault> {
        let mut missing = Vec::new();
        let mut next = path.parent();
        while let Some(parent) = next {
            if parent.name().is_none() {
                break;
            }
            next = parent.parent();
            missing.push(FtpCommand::Mkd(parent.argument()));
        }
        missing.reverse();
        // Those that exist refuse; only the last one tells whether the way is there now.
        let replies = self.call_all(&missing).await?;
        Ok(replies.iter().any(FtpReply::ok))
    }

    /// Ends the session. Nothing hangs on it: every transfer has its reply.
    pub async fn quit(self) {
        self.control.quit().await;
    }
}

/// The entry in a reply to MLST: its line begins with a space (RFC 3659, section 7.2).
fn mlst_entry(line: &[u8]) -> Option<ListingEntry> {
    let line = line.strip_prefix(b" ").unwrap_or(line);
    let space = memchr::memchr(b' ', line)?;
    let (facts, name) = (line.get(..space)?, line.get(space + 1..)?);
    let mut entry = parse_facts(facts, name).unwrap_or_else(|| ListingEntry::new(name, EntryType::Directory));
    if entry.entry_type == EntryType::Other && facts.to_ascii_lowercase().starts_with(b"type=cdir") {
        entry.entry_type = EntryType::Directory;
    }
    Some(entry)
}

/// The size in a reply to SIZE.
pub(crate) fn size_of(reply: &FtpReply) -> Option<u64> {
    let text = reply.first().trim_ascii();
    let digits = !text.is_empty() && text.len() <= 19 && text.iter().all(u8::is_ascii_digit);
    (reply.code == 213 && digits).then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

/// The time in a reply to MDTM.
pub(crate) fn time_of(reply: &FtpReply) -> Option<i64> {
    (reply.code == 213).then(|| crate::ftp::listing::parse_mdtm(reply.first().trim_ascii()))?
}

fn check_user(reply: &FtpReply) -> Result<(), Fault> {
    match reply.class() {
        ReplyClass::Intermediate if reply.code == 331 => Ok(()),
        ReplyClass::Intermediate => Err(Fault { kind: Kind::AuthFailed, ..login_fault("USER", reply) }),
        _ => Err(login_fault("USER", reply)),
    }
}

fn check_password(reply: &FtpReply) -> Result<(), Fault> {
    match reply.ok() {
        true => Ok(()),
        false => Err(login_fault("login", reply)),
    }
}

fn check_type(reply: &FtpReply) -> Result<(), Fault> {
    match reply.ok() {
        true => Ok(()),
        false => Err(reply.fault("TYPE I", Kind::Refused)),
    }
}

/// A refused greeting or login. Servers say 530 for "too many users" too: that is for later, not for good.
fn login_fault(what: &str, reply: &FtpReply) -> Fault {
    let fault = reply.fault(what, Kind::AuthFailed);
    let text = reply.text().to_ascii_lowercase();
    let crowded =
        ["too many", "maximum number", "connection limit", "server is full"].iter().any(|word| text.contains(word));
    match crowded && fault.kind != Kind::PeerTemporary {
        true => Fault { kind: Kind::PeerTemporary, ..fault },
        false => fault,
    }
}
