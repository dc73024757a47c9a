//! The client: one control connection, logged in, and the data connections that it opens.

mod chain;
mod checksum;
mod control;
mod data;
mod feature;
mod list;
mod login;
mod probe;
mod quirks;
mod summary;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fault::{Fault, Kind};
use crate::ftp::charset::WireCharset;
use crate::ftp::command::{FtpCommand, TypeCode};
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
pub use probe::ServerFacts;
pub use quirks::ServerQuirks;
pub use summary::{EachLine, ListMethod, ListingSummary, MAX_ENTRIES, WholeListing};

/// The longest wait for the reply after the last byte of a transfer: servers with slow storage need a minute and more.
pub const FINAL_REPLY: Duration = Duration::from_secs(300);

/// The longest wait for the end of a TLS data connection.
const CLOSE_NOTIFY: Duration = Duration::from_secs(2);

/// The settings for reaching and using a server.
#[derive(Debug, Clone)]
pub struct FtpClientOptions {
    /// The dialer that opens connections.
    pub dialer: Dialer,
    /// The TLS mode: when TLS starts.
    pub tls: TlsMode,
    /// TLS settings; each control connection gets its own session store.
    pub tls_client: Option<ClientTls>,
    /// The user name and password; `None` means an anonymous login.
    pub login: Option<Login>,
    /// The account to send when the server asks for one and the login has none.
    pub account: Option<Secret>,
    /// Deadlines.
    pub limits: Limits,
    /// The wire trace.
    pub trace: ProtocolTrace,
    /// Active mode (PORT, EPRT): the client listens on a port of this range.
    pub active: Option<PortRange>,
    /// Use the address in a 227 reply instead of the control connection's address.
    pub trust_pasv: bool,
    /// Prefer EPSV to PASV.
    pub epsv: bool,
    /// Prefer EPRT to PORT.
    pub eprt: bool,
    /// Inside TLS: data connections in clear text (PROT C).
    pub data_clear: bool,
    /// Inside TLS: the control connection continues in clear text after the login (CCC).
    pub ccc: bool,
    /// The charset of names on the wire, if it differs from the local one; `None`: names are sent byte for byte.
    pub charset: Option<WireCharset>,
    /// Commands to send after the login; a command with a leading `*` may fail.
    pub before: Vec<String>,
    /// The speed limit for all data connections together.
    pub pace: Option<Arc<TransferPace>>,
    /// Counts the file bytes on all data connections, even those of transfers that fail.
    pub transferred: Arc<AtomicU64>,
    /// The quirks that earlier connections to the same server found.
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
            account: None,
            limits: Limits::default(),
            trace: ProtocolTrace::default(),
            active: None,
            trust_pasv: false,
            epsv: true,
            eprt: true,
            data_clear: false,
            ccc: false,
            charset: None,
            before: Vec::new(),
            pace: None,
            transferred: Arc::default(),
            quirks: Arc::default(),
        }
    }

    /// Checks that a path can be sent, before it joins a batch of other commands.
    ///
    /// # Errors
    /// `BadData` with the reason why it cannot be sent.
    pub fn sendable(&self, path: &RemotePath) -> Result<(), Fault> {
        let bad = |fault: Fault| Fault { kind: Kind::BadData, ..fault };
        FtpCommand::Stor(path.argument()).encode().map_err(bad)?;
        match self.charset.filter(|charset| charset.encode(path.as_bytes()).is_none()) {
            Some(charset) => Err(charset.unsendable()),
            None => Ok(()),
        }
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
    /// TLS for data connections, with the session store of this control connection.
    data_tls: Option<ClientTls>,
    options: FtpClientOptions,
    features: Features,
    round_trip: Duration,
    /// The directory after the login, once it was asked for; empty if the server does not report it.
    login_directory: Option<Vec<u8>>,
    url: FtpUrl,
    /// The login was inside TLS.
    secure: bool,
    /// True once a data connection resumed the TLS session.
    resumed_before: bool,
    /// The server is known to answer long chains of commands in order.
    chains: bool,
    /// Transfers whose commands were sent and whose replies are outstanding, each with its set-up command.
    ahead: VecDeque<(Ahead, FtpCommand)>,
}

impl FtpClient {
    /// Replaces this connection by a fresh one in the same state and the same directory.
    ///
    /// # Errors
    /// Those of [`FtpClient::open`]; `Disconnected` if too many changes of directory would have to be repeated.
    pub async fn renew(&mut self, why: &str) -> Result<(), Fault> {
        let changes = self.control.changes()?;
        self.start_over(why).await?;
        for change in &changes {
            self.must(change, Kind::NoInput).await?;
        }
        Ok(())
    }

    /// Replaces this connection by a fresh one in the login directory.
    async fn start_over(&mut self, why: &str) -> Result<(), Fault> {
        self.options.trace.note(&format!("a fresh control connection: {why}"));
        let ascii = self.control.type_code == TypeCode::Ascii;
        let mut fresh = FtpClient::open(&self.url, &self.options).await?;
        fresh.login_directory = self.login_directory.take();
        std::mem::replace(self, fresh).control.quit().await;
        self.set_type(ascii).await
    }

    async fn run_before(&mut self) -> Result<(), Fault> {
        for line in self.options.before.clone() {
            self.raw(&line).await?;
        }
        Ok(())
    }

    /// Sends a command line as the user wrote it; a line with a leading `*` may fail.
    ///
    /// # Errors
    /// `Usage` for a line that cannot be a command; the kind of a refusal of a line without `*`, or of a failure on the
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

    /// The features that the server announced.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The time from the first login command to its reply.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// True when the login was inside TLS.
    pub fn is_tls(&self) -> bool {
        self.secure
    }

    /// True when the server is this host: no traffic leaves it. False behind a proxy, whose connections lead to an unknown host.
    pub fn is_loopback(&self) -> bool {
        let peer = self.control.stream().peer_addr();
        self.options.dialer.proxy.is_none() && peer.is_none_or(|peer| peer.ip().is_loopback())
    }

    /// True when the connection is in order and nothing is in progress: it can serve the next job. A connection that the server
    /// has closed in the meantime cannot.
    pub fn usable(&self) -> bool {
        self.control.idle() && !self.control.stream().peer_has_closed()
    }

    /// Sends a command and returns its final reply, even a refusal.
    ///
    /// # Errors
    /// `Usage` for an invalid command; the kind of a failure on the connection.
    pub async fn call(&mut self, command: &FtpCommand) -> Result<FtpReply, Fault> {
        self.control.call(command).await
    }

    /// Uploads zero bytes: the file exists afterwards.
    ///
    /// # Errors
    /// As [`FtpClient::must`].
    pub async fn store_nothing(&mut self, command: &FtpCommand) -> Result<FtpReply, Fault> {
        self.set_type(false).await?;
        let mut begun = self.begin(&[], command, 0).await?;
        begun.stream.reset_when_dropped(false);
        let ended = self.control.limits.io("data connection", begun.stream.shutdown()).await;
        if begun.stream.is_tls() {
            // The peer's close_notify: some servers report a transfer as failed if the connection is closed before it came.
            let limits = self.control.limits.with_idle(CLOSE_NOTIFY);
            drop(limits.io("close_notify", begun.stream.read(&mut [0; 16])).await);
        }
        drop(begun);
        ended.map_err(|fault| self.control.fail(fault))?;
        self.finish(command).await
    }

    /// Sends a command that must succeed; `kind_of_550` is the meaning of a 550 here.
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
        let mut replies = Vec::with_capacity(commands.len());
        self.call_into(commands, &mut replies).await?;
        Ok(replies)
    }

    async fn call_into(&mut self, commands: &[FtpCommand], replies: &mut Vec<FtpReply>) -> Result<(), Fault> {
        /// A larger batch would fill the buffers of both sides while neither reads.
        const BATCH: usize = 50;
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
        Ok(())
    }

    /// Size and modification time in one packet (RFC 3659, sections 3 and 4); a value that the server does not report is `None`.
    ///
    /// # Errors
    /// As [`FtpClient::call`].
    pub async fn size_and_time(&mut self, path: &RemotePath) -> Result<(Option<u64>, Option<i64>), Fault> {
        let commands = [FtpCommand::Size(path.argument()), FtpCommand::Mdtm(path.argument())];
        let replies = self.call_all(&commands).await?;
        Ok((replies.first().and_then(size_of), replies.get(1).and_then(time_of)))
    }

    /// The entry at a path, by MLST, or by SIZE, MDTM and CWD. `None`: nothing is there.
    ///
    /// # Errors
    /// The kind of a refusal other than "not there", or of a failure on the connection.
    pub async fn stat(&mut self, path: &RemotePath) -> Result<Option<ListingEntry>, Fault> {
        if self.features.mlst {
            let reply = self.control.call(&FtpCommand::Mlst(Some(path.argument()))).await?;
            match reply.ok() {
                true => {
                    return Ok(reply.middle().next().and_then(mlst_entry).map(|entry| ListingEntry {
                        name: path.argument(),
                        link_target: entry.link_target.and_then(|target| self.decode_path(target)),
                        ..entry
                    }));
                }
                // "Not there", or another reason: the replies to SIZE, MDTM and CWD decide.
                false if reply.code == 550 || reply.is_unsupported() => {}
                false => return Err(reply.fault("MLST", Kind::NoInput)),
            }
        }
        self.set_type(false).await?;
        let (size, modified) = self.size_and_time(path).await?;
        let mut entry = ListingEntry::new(path.argument(), EntryType::File);
        if size.is_none() {
            // A path that can be entered is a directory; afterwards the client goes back.
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

    /// A path from the server in the local charset; `None` if it is not valid in the charset of names.
    pub fn decode_path(&self, path: Vec<u8>) -> Option<Vec<u8>> {
        match self.options.charset {
            Some(charset) => charset.decode(&path).map(std::borrow::Cow::into_owned),
            None => Some(path),
        }
    }

    /// The deadlines.
    pub fn limits(&self) -> Limits {
        self.control.limits
    }

    /// The counter of file bytes.
    pub(crate) fn transferred(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.options.transferred)
    }

    /// The speed limit.
    pub fn pace(&self) -> Option<Arc<TransferPace>> {
        self.options.pace.clone()
    }

    /// Writes a note to the wire trace.
    pub fn note(&self, text: &str) {
        self.options.trace.note(text);
    }

    /// Marks the connection as unusable and returns the reason.
    pub fn abandon(&mut self, fault: Fault) -> Fault {
        self.control.fail(fault)
    }

    /// True when the connection is unusable.
    pub fn is_broken(&self) -> bool {
        self.control.is_broken()
    }

    /// Sets a file's modification time: MFMT, or MDTM with two arguments (vsftpd), or SITE UTIME. False: the server accepted
    /// none of them, which is not an error.
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

    /// True when the server accepted a time; a server that never does is not asked again.
    pub fn took_time(&self, reply: &FtpReply) -> bool {
        if self.options.quirks.never_sets_times(reply) {
            self.options.learn(&self.options.quirks.no_set_time, "the server sets no times");
        }
        reply.ok()
    }

    /// True when the server certainly keeps the times that [`FtpClient::set_time`] sets; a server with MDTM alone may not.
    pub fn keeps_times(&self) -> bool {
        self.features.mfmt || self.features.site.iter().any(|word| word == "UTIME")
    }

    /// Creates the directories above a path. False: there was nothing to create, or the server refused.
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
        // MKD of an existing directory is refused, so refusals do not matter.
        let replies = self.call_all(&missing).await?;
        Ok(replies.iter().any(FtpReply::ok))
    }

    /// Ends the session. No transfer depends on the outcome: each has its reply already.
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
