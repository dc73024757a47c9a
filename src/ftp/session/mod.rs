//! The server side of one control connection as a state machine: bytes and [`SessionEvent`]s in, [`SessionAction`]s
//! out. It uses no sockets, files, clock or randomness; [`crate::ftp::server`] drives it.
//!
//! Commands run one after the other and are answered in order, even if the client pipelines them. During a transfer,
//! later commands wait; only ABOR takes effect at once, and so does STAT if no command waits before it.

mod action;
mod certificate;
mod files;
pub mod path;
mod pattern;
mod rights;
mod rules;
mod site;
mod talk;

use std::collections::VecDeque;
use std::net::SocketAddr;

pub use action::{
    DataMode, DataTransfer, DigestRange, ListingFormat, ListingRequest, SessionAction, SessionEvent, SessionPolicy,
    StoreAnswer, StoreOp, StoreRefusal, TransferFailure, TransferTask, UploadMode,
};
pub use rights::{Right, Rights};
pub use rules::{RightRule, TreeRights};

use crate::foreign::{self, SpokenProtocol};
use crate::ftp::address::{self, EprtError};
use crate::ftp::checksum::ChecksumAlgorithm;
use crate::ftp::command::{Epsv, FtpCommand, FtpCommandError, MAX_COMMAND_LINE, Protection, TypeCode};
use crate::ftp::listing::FactSet;
use crate::ftp::reply::FtpReply;
use crate::line::{Ends, LineError, Splitter};
use crate::net::login::LoginVerdict;
use crate::secret::Secret;

/// Failed logins before the connection is closed.
pub const MAX_LOGIN_FAILURES: u32 = 3;
/// Invalid or unknown commands in a row before the connection is closed.
pub const MAX_BAD_COMMANDS: u32 = 10;
/// Commands before a login, failed or not, before the connection is closed.
pub const MAX_BEFORE_LOGIN: u32 = 100;
/// Commands in a row that do not use the tree (NOOP, TYPE, PASV …) before the connection is closed. Transfers, listings
/// and all other operations that read or change files are unlimited, since each has its cost and one reply.
pub const MAX_TALK: u32 = 1000;
/// Commands that may be queued behind a transfer.
pub const MAX_QUEUED: usize = 256;
/// Bytes read ahead, in queued commands and not yet parsed, before the driver must stop reading.
pub const MAX_READ_AHEAD: usize = 64 << 10;
/// The longest user name, in bytes.
pub const MAX_USER: usize = 255;

/// The user names that need no account (RFC 1635).
pub fn is_anonymous(user: &[u8]) -> bool {
    matches!(user, b"anonymous" | b"ftp")
}

/// One control connection.
#[derive(Debug)]
pub struct FtpSession {
    policy: SessionPolicy,
    lines: Splitter,
    /// Commands read ahead while an operation runs, each with the length of its line in bytes.
    queue: VecDeque<(usize, Result<FtpCommand, FtpCommandError>)>,
    /// The sum of these lengths.
    queued_bytes: usize,
    actions: VecDeque<SessionAction>,
    pending: Awaited,
    login: LoginState,
    /// The control connection uses TLS.
    secure: bool,
    buffer_size_set: bool,
    protect: bool,
    cwd: Vec<u8>,
    ascii: bool,
    /// The offset of REST, or the range of RANG.
    range: (u64, Option<u64>),
    rename_from: Option<Vec<u8>>,
    /// The new file that the last transfer stored.
    fresh: Option<Vec<u8>>,
    /// The size of the next upload, as announced by ALLO.
    announced: Option<u64>,
    data: Data,
    /// EPSV ALL was sent: other data connection commands are refused (RFC 2428, section 4).
    only_epsv: bool,
    facts: FactSet,
    algorithm: ChecksumAlgorithm,
    /// The permission bits to clear on new files.
    umask: u32,
    login_failures: u32,
    bad_commands: u32,
    draining: bool,
    closed: bool,
    commands: u64,
    /// Ended transfers and operations on the tree, successful or not.
    work: u64,
    /// Commands since the last of these.
    talk: u32,
    /// The login needed no password.
    certified: bool,
    /// The client has asked for names in UTF-8.
    utf8: bool,
    /// The received commands, for a trace.
    heard: Option<Vec<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum LoginState {
    None,
    Named(Vec<u8>),
    In(Vec<u8>, TreeRights),
}

/// The event for which the session waits.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Awaited {
    Nothing,
    Tls,
    Login(Vec<u8>),
    Certificate(Vec<u8>),
    Listen { extended: bool },
    Store(files::AwaitedAnswer),
    Transfer { opened: bool, stopped: bool, append_name: Option<Vec<u8>>, label: &'static str, path: Vec<u8> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Data {
    None,
    Passive,
    Active(SocketAddr),
}

impl FtpSession {
    /// A new session, whose first action is the greeting.
    pub fn new(policy: SessionPolicy) -> FtpSession {
        let lines: Vec<&str> = policy.greeting.lines().collect();
        let greeting = match lines.as_slice() {
            [] | [_] => FtpReply::new(220, policy.greeting.as_str()),
            lines => FtpReply::multi(220, lines.iter().copied()),
        };
        FtpSession {
            lines: Splitter::new(Ends::Lenient, MAX_COMMAND_LINE),
            queue: VecDeque::new(),
            queued_bytes: 0,
            actions: VecDeque::from([SessionAction::Reply(greeting)]),
            pending: Awaited::Nothing,
            login: LoginState::None,
            secure: policy.tls_implicit,
            buffer_size_set: policy.tls_implicit,
            protect: policy.tls_implicit,
            cwd: b"/".to_vec(),
            ascii: true,
            range: (0, None),
            rename_from: None,
            fresh: None,
            announced: None,
            data: Data::None,
            only_epsv: false,
            facts: FactSet::default(),
            algorithm: ChecksumAlgorithm::Sha256,
            umask: policy.umask,
            login_failures: 0,
            bad_commands: 0,
            draining: false,
            closed: false,
            commands: 0,
            work: 0,
            talk: 0,
            certified: false,
            utf8: false,
            heard: None,
            policy,
        }
    }

    /// Takes input from the control connection.
    pub fn input(&mut self, bytes: &[u8]) {
        self.lines.push(bytes);
    }

    /// True while more input is accepted: this bounds the memory that a client can use.
    pub fn wants_input(&self) -> bool {
        !self.closed && self.may_queue() && self.queued_bytes + self.lines.pending().len() < MAX_READ_AHEAD
    }

    /// True if no operation of the client is running or requested: the idle timeout applies.
    pub fn is_idle(&self) -> bool {
        self.pending == Awaited::Nothing
    }

    /// True after a successful login.
    pub fn is_logged_in(&self) -> bool {
        matches!(self.login, LoginState::In(..))
    }

    /// The user who is logged in.
    pub fn user(&self) -> Option<&[u8]> {
        match &self.login {
            LoginState::In(user, _) => Some(user),
            LoginState::None | LoginState::Named(_) => None,
        }
    }

    /// Records commands for [`FtpSession::heard`].
    pub fn keep_heard(&mut self) {
        self.heard = Some(Vec::new());
    }

    /// The commands received since the last call, secrets as `***`.
    pub fn heard(&mut self) -> Vec<String> {
        self.heard.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The number of answered command lines.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// The number of transfers and tree operations that ended, successful or not.
    pub fn work(&self) -> u64 {
        self.work
    }

    /// True if the last command of the client was QUIT: it is then normal that the client closes its side.
    pub fn has_said_quit(&self) -> bool {
        self.closed || matches!(self.queue.back(), Some((_, Ok(FtpCommand::Quit))))
    }

    /// The next action; `None` until more input or an event arrives.
    pub fn poll(&mut self) -> Option<SessionAction> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Some(self.on_the_wire(action));
            }
            if self.closed {
                return None;
            }
            match self.pending {
                Awaited::Nothing if self.draining => self.goodbye(421, "Server is shutting down."),
                Awaited::Nothing => {
                    let command = match self.queue.pop_front() {
                        Some((bytes, command)) => {
                            self.queued_bytes -= bytes;
                            command
                        }
                        None => self.next_line()?,
                    };
                    self.run(command);
                }
                Awaited::Transfer { .. } | Awaited::Store(_) => {
                    self.read_ahead();
                    if self.actions.is_empty() {
                        return None;
                    }
                }
                Awaited::Tls | Awaited::Login(_) | Awaited::Certificate(_) | Awaited::Listen { .. } => return None,
            }
        }
    }

    /// Takes an event from the driver.
    pub fn event(&mut self, event: SessionEvent) {
        if matches!(event, SessionEvent::Stored(_) | SessionEvent::Ended(_)) {
            self.work += 1;
            self.talk = 0;
        }
        match (event, std::mem::replace(&mut self.pending, Awaited::Nothing)) {
            (SessionEvent::Drain, pending) => {
                self.draining = true;
                self.pending = pending;
            }
            (SessionEvent::Idle, Awaited::Nothing) => self.goodbye(421, "Nothing came for too long."),
            (SessionEvent::Lost, _) => self.goodbye(421, "Others need this place."),
            (SessionEvent::TreeLost, _) => self.goodbye(421, "Your files are not served any more; log in again."),
            (SessionEvent::Secured, Awaited::Tls) => {
                self.secure = true;
                self.login = LoginState::None;
            }
            (SessionEvent::Login(verdict), Awaited::Login(user)) => self.logged_in(user, verdict),
            (SessionEvent::Certified(verdict), Awaited::Certificate(user)) => self.certified(user, verdict),
            (SessionEvent::Listening(address), Awaited::Listen { extended }) => self.listening(address, extended),
            (SessionEvent::Stored(result), Awaited::Store(asked)) => self.stored(asked, result),
            (SessionEvent::Opened { size, name }, Awaited::Transfer { stopped, label, path, .. }) => {
                let shown = name.as_deref().unwrap_or(&path);
                let mut text = match &name {
                    Some(name) => [b"FILE: ", name.as_slice()].concat(),
                    None => [b"Opening data connection for ", shown].concat(),
                };
                if let Some(size) = size {
                    text.extend_from_slice(format!(" ({size} bytes)").as_bytes());
                }
                self.reply(150, text);
                self.pending = Awaited::Transfer { opened: true, stopped, append_name: name, label, path };
            }
            (SessionEvent::Ended(result), Awaited::Transfer { append_name, label, .. }) => {
                self.data = Data::None;
                match (result, append_name) {
                    (Ok(_), Some(name)) => {
                        self.reply(226, [b"Transfer complete; unique file name: ", name.as_slice()].concat());
                    }
                    (Ok(_), None) => self.reply(226, label),
                    (Err(failure), _) => {
                        self.fresh = None;
                        self.actions.push_back(SessionAction::Reply(failure.reply()));
                    }
                }
            }
            // Unexpected events are ignored.
            (_, pending) => self.pending = pending,
        }
    }

    fn next_line(&mut self) -> Option<Result<FtpCommand, FtpCommandError>> {
        let charset = self.charset();
        match self.lines.next_line() {
            Ok(Some(line)) => Some(FtpCommand::parse_in(charset, line)),
            Ok(None) => None,
            Err(LineError::TooLong) => Some(Err(FtpCommandError::TooLong)),
            Err(LineError::BareCr | LineError::BareLf) => Some(Err(FtpCommandError::Forbidden)),
        }
    }

    fn may_queue(&self) -> bool {
        self.queue.len() < MAX_QUEUED && self.queued_bytes < MAX_READ_AHEAD
    }

    /// Reads ahead while a transfer or an operation on the tree runs.
    fn read_ahead(&mut self) {
        while self.may_queue() {
            let before = self.lines.pending().len();
            let Some(command) = self.next_line() else { return };
            match (&command, &mut self.pending) {
                (Ok(FtpCommand::Stat(None)), Awaited::Transfer { .. }) if self.queue.is_empty() => {
                    self.reply(213, "A transfer is running.");
                    continue;
                }
                // Its own reply comes in its turn: after the 426 of the transfer, or the 451 of the act.
                (Ok(FtpCommand::Abor), pending) => {
                    let again = match pending {
                        Awaited::Transfer { stopped, .. } => std::mem::replace(stopped, true),
                        _ => false,
                    };
                    if !again {
                        self.actions.push_back(SessionAction::StopTransfer);
                    }
                }
                _ => {}
            }
            let bytes = before - self.lines.pending().len();
            self.queued_bytes += bytes;
            self.queue.push_back((bytes, command));
        }
    }

    fn run(&mut self, command: Result<FtpCommand, FtpCommandError>) {
        self.commands += 1;
        self.talk += 1;
        if self.talk > if self.is_logged_in() { MAX_TALK } else { MAX_BEFORE_LOGIN } {
            return self.goodbye(421, "Too many commands for nothing.");
        }
        let command = match command {
            Ok(command) => command,
            Err(error) => {
                self.reply(error.code(), error.text());
                return self.bad_command();
            }
        };
        if let Some(heard) = &mut self.heard {
            heard.push(command.to_string());
        }
        // RNTO goes with the RNFR right before it (RFC 959, section 4.1.3).
        let rename_from = self.rename_from.take();
        let bad_before = std::mem::take(&mut self.bad_commands);
        match command {
            command if !self.may_do(&command) => self.reply(530, "TLS is required: AUTH TLS first."),
            FtpCommand::User(name) => self.user_named(name),
            FtpCommand::Pass(password) => self.password(password),
            FtpCommand::Acct(_) => self.reply(202, "No account is needed."),
            FtpCommand::Rein => self.reinitialize(),
            FtpCommand::Quit => self.goodbye(221, "Goodbye."),
            FtpCommand::Noop => self.reply(200, "OK."),
            // Before a login as well: RFC 959 has no 530 for it.
            FtpCommand::Abor => {
                self.drop_data();
                self.range = (0, None);
                self.reply(226, "Nothing runs.");
            }
            FtpCommand::Syst => self.reply(215, "UNIX Type: L8"),
            FtpCommand::Feat => self.features(),
            FtpCommand::Help(_) => self.help(),
            FtpCommand::Opts(options) => self.options(&options),
            FtpCommand::Auth(mechanism) => self.auth(&mechanism),
            FtpCommand::Pbsz(_) | FtpCommand::Ccc if !self.secure => self.reply(503, "AUTH first."),
            FtpCommand::Pbsz(_) => {
                self.buffer_size_set = true;
                self.reply(200, "PBSZ=0");
            }
            FtpCommand::Prot(level) => self.protection(level),
            FtpCommand::Ccc => self.reply(534, "The control connection stays protected."),
            FtpCommand::Other(verb, _) if foreign::is_foreign_verb(&verb, SpokenProtocol::Ftp) => {
                self.goodbye(421, "This is an FTP server.")
            }
            FtpCommand::Other(verb, _) if verb == "CLNT" => self.reply(200, "Noted."),
            FtpCommand::Lang(language) => self.language(language.as_deref()),
            FtpCommand::Host(host) => self.host(&host),
            FtpCommand::Other(..) if !self.is_logged_in() => {
                self.bad_commands = bad_before;
                self.reply(530, "Please log in with USER and PASS.");
                self.bad_command();
            }
            command => match self.login.clone() {
                LoginState::In(_, rights) => self.bad_commands_after(command, &rights, rename_from, bad_before),
                LoginState::None | LoginState::Named(_) => self.reply(530, "Please log in with USER and PASS."),
            },
        }
    }

    fn bad_commands_after(
        &mut self,
        command: FtpCommand,
        rights: &TreeRights,
        rename_from: Option<Vec<u8>>,
        bad_before: u32,
    ) {
        match self.data_command(command) {
            Ok(()) => {}
            Err(command) => {
                if !self.file_command(command, rights, rename_from) {
                    self.bad_commands = bad_before;
                    // RFC 959, section 4.2.1: the reply to known verbs that are not implemented.
                    self.reply(502, "Command not implemented.");
                    self.bad_command();
                }
            }
        }
    }

    // Login

    /// True unless this command requires TLS first (RFC 4217, section 4): commands that lead to TLS do not, and unknown
    /// commands have replies of their own.
    fn may_do(&self, command: &FtpCommand) -> bool {
        use FtpCommand as C;
        let leads_there = matches!(command, C::Auth(_) | C::Feat | C::Noop | C::Quit | C::Other(..));
        self.secure || !self.policy.tls_required || leads_there
    }

    fn user_named(&mut self, name: Vec<u8>) {
        let anonymous = is_anonymous(&name);
        if !self.secure && !self.policy.clear_passwords && !anonymous {
            return self.reply(530, "TLS is required: AUTH TLS first.");
        }
        if name.len() > MAX_USER {
            return self.reply(501, "User name too long.");
        }
        self.cwd = b"/".to_vec();
        self.certified = false;
        if self.policy.certificates && self.secure && !anonymous {
            return self.ask_for_certificate(name);
        }
        self.want_password(name);
    }

    fn want_password(&mut self, name: Vec<u8>) {
        // The same reply for every name: it must not reveal which users exist.
        self.login = LoginState::Named(name);
        self.reply(331, "Password, please.");
    }

    fn password(&mut self, password: Secret<Vec<u8>>) {
        match std::mem::replace(&mut self.login, LoginState::None) {
            LoginState::Named(user) => {
                self.actions.push_back(SessionAction::Login { user: user.clone(), password });
                self.pending = Awaited::Login(user);
            }
            other => {
                self.login = other;
                match self.certified {
                    // Clients may send it ahead.
                    true => self.reply(202, "No password is needed."),
                    false => self.reply(503, "USER first."),
                }
            }
        }
    }

    fn logged_in(&mut self, user: Vec<u8>, verdict: LoginVerdict<TreeRights>) {
        match verdict {
            LoginVerdict::Right(rights) => {
                self.login_failures = 0;
                self.login = LoginState::In(user, rights);
                return self.reply(230, "Logged in.");
            }
            LoginVerdict::Wrong | LoginVerdict::Barred(_) => {}
            LoginVerdict::TooMany => return self.goodbye(421, "Too many failed logins; try again later."),
        }
        self.login_failed();
    }

    fn login_failed(&mut self) {
        self.login_failures += 1;
        if self.login_failures >= MAX_LOGIN_FAILURES {
            self.goodbye(530, "Too many failed logins.");
        } else {
            self.reply(530, "Login incorrect.");
        }
    }

    fn reinitialize(&mut self) {
        self.login = LoginState::None;
        self.cwd = b"/".to_vec();
        self.ascii = true;
        self.range = (0, None);
        self.announced = None;
        (self.certified, self.utf8) = (false, false);
        self.drop_data();
        self.only_epsv = false;
        self.facts = FactSet::default();
        self.reply(220, "Ready for a new user.");
    }

    // TLS (RFC 4217)

    fn auth(&mut self, mechanism: &str) {
        let known = matches!(mechanism, "TLS" | "TLS-C" | "SSL" | "TLS-P");
        match (self.policy.tls, self.secure, known) {
            (false, ..) => self.reply(502, "TLS is not offered."),
            (_, true, _) => self.reply(503, "TLS is running."),
            (_, _, false) => self.reply(504, "Only TLS is known."),
            (true, false, true) => {
                // What was sent ahead in clear text is forgotten: it must not pass for something said inside TLS
                // (CVE-2011-1575, CVE-2011-0411).
                drop(self.lines.take_pending());
                self.queue.clear();
                self.queued_bytes = 0;
                self.reply(234, "Begin TLS.");
                self.actions.push_back(SessionAction::StartTls);
                self.pending = Awaited::Tls;
            }
        }
    }

    fn protection(&mut self, level: Protection) {
        match level {
            _ if !self.buffer_size_set => self.reply(503, "PBSZ first."),
            Protection::Private => {
                self.protect = true;
                self.reply(200, "Data connections are private.");
            }
            Protection::Clear if self.policy.tls_required => self.reply(534, "TLS is required."),
            Protection::Clear => {
                self.protect = false;
                self.reply(200, "Data connections are clear.");
            }
            Protection::Safe | Protection::Confidential => self.reply(536, "TLS knows no such level."),
        }
    }

    // Data connections

    /// Commands about data connections and representation; any other command is returned as the error.
    fn data_command(&mut self, command: FtpCommand) -> Result<(), FtpCommand> {
        match command {
            FtpCommand::Port(_) | FtpCommand::Pasv | FtpCommand::Eprt(_) if self.only_epsv => {
                self.reply(501, "EPSV ALL was sent.");
            }
            FtpCommand::Port(argument) => match address::parse_port(&argument) {
                Some(target) => self.active(SocketAddr::V4(target)),
                None => self.reply(501, "Syntax error in the address."),
            },
            FtpCommand::Eprt(argument) => match address::parse_eprt(&argument) {
                Ok(target) => self.active(target),
                Err(EprtError::Syntax) => self.reply(501, "Syntax error in the address."),
                Err(EprtError::Protocol) => self.reply(522, "Network protocol not supported, use (1,2)"),
            },
            FtpCommand::Pasv if self.policy.peer.is_ipv6() => self.reply(502, "PASV is for IPv4: use EPSV."),
            FtpCommand::Pasv => self.listen(false),
            FtpCommand::Epsv(Epsv::All) => {
                self.only_epsv = true;
                self.reply(200, "EPSV it is.");
            }
            FtpCommand::Epsv(Epsv::Protocol(protocol)) if protocol != self.protocol() => {
                self.reply(522, format!("Network protocol not supported, use ({})", self.protocol()));
            }
            FtpCommand::Epsv(_) => self.listen(true),
            FtpCommand::Type(TypeCode::Ascii) => {
                self.ascii = true;
                self.reply(200, "Type is ASCII.");
            }
            FtpCommand::Type(TypeCode::Image | TypeCode::Local(8)) => {
                self.ascii = false;
                self.reply(200, "Type is binary.");
            }
            FtpCommand::Type(_) => self.reply(504, "Only types A and I are known."),
            FtpCommand::Stru(b'F') => self.reply(200, "Structure is file."),
            FtpCommand::Stru(_) => self.reply(504, "Only structure F is known."),
            FtpCommand::Mode(b'S') => self.reply(200, "Mode is stream."),
            FtpCommand::Mode(_) => self.reply(504, "Only mode S is known."),
            other => return Err(other),
        }
        Ok(())
    }

    /// The network protocol number of the control connection (RFC 2428, section 2).
    fn protocol(&self) -> u16 {
        if self.policy.peer.is_ipv4() { 1 } else { 2 }
    }

    /// Accepts the address of PORT or EPRT: only the client's own and no privileged port. Otherwise a client could make
    /// the server connect to other hosts (CVE-1999-0017, "bounce"; RFC 2577, section 3).
    fn active(&mut self, target: SocketAddr) {
        self.drop_data();
        if !self.policy.active {
            self.reply(502, "Active mode is off: use PASV or EPSV.");
        } else if target.ip().to_canonical() != self.policy.peer || target.port() < 1024 {
            self.reply(504, "Data connections go to the client's own address and ports from 1024 only.");
        } else {
            self.data = Data::Active(SocketAddr::new(self.policy.peer, target.port()));
            self.reply(200, "Address taken.");
        }
    }

    fn listen(&mut self, extended: bool) {
        self.data = Data::None;
        self.actions.push_back(SessionAction::Listen);
        self.pending = Awaited::Listen { extended };
    }

    fn listening(&mut self, address: Option<SocketAddr>, extended: bool) {
        let Some(address) = address else {
            return self.reply(425, "No port for the data connection.");
        };
        self.data = Data::Passive;
        if extended {
            return self.reply(229, address::format_epsv(address.port()));
        }
        let shown = match (self.policy.pasv_address, address.ip().to_canonical()) {
            (Some(shown), _) => shown,
            (None, std::net::IpAddr::V4(ip)) => ip,
            (None, std::net::IpAddr::V6(_)) => return self.reply(502, "PASV is for IPv4: use EPSV."),
        };
        self.reply(227, address::format_pasv(std::net::SocketAddrV4::new(shown, address.port())));
    }

    fn drop_data(&mut self) {
        if std::mem::replace(&mut self.data, Data::None) == Data::Passive {
            self.actions.push_back(SessionAction::DropListener);
        }
    }

    fn bad_command(&mut self) {
        self.bad_commands += 1;
        if self.bad_commands >= MAX_BAD_COMMANDS {
            self.goodbye(421, "Too many unknown commands.");
        }
    }

    fn reply(&mut self, code: u16, text: impl Into<Vec<u8>>) {
        self.actions.push_back(SessionAction::Reply(FtpReply::new(code, text)));
    }

    fn goodbye(&mut self, code: u16, text: &str) {
        self.drop_data();
        self.reply(code, text);
        self.actions.push_back(SessionAction::Close);
        self.closed = true;
    }
}

#[cfg(test)]
mod tests;
