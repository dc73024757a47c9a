//! Setting up data connections: EPSV, PASV, EPRT, PORT (RFC 959, RFC 2428), and the TLS handshake on them (RFC 4217).

use std::future::Future;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use super::{FINAL_REPLY, FtpClient, ServerQuirks};
use crate::fault::{Fault, Kind};
use crate::ftp::address::{format_eprt, format_port, parse_epsv, parse_pasv};
use crate::ftp::command::{FtpCommand, TypeCode};
use crate::ftp::reply::{FtpReply, ReplyClass};
use crate::net::stream::Stream;
use crate::scope::with_port;

/// The longest wait for an explanation on the control connection after a data connection failed.
const EXPLANATION: Duration = Duration::from_secs(2);
/// The idle limit of the control connection during another wait, which has its own limit.
const PATIENT: Duration = Duration::from_secs(24 * 3600);
/// How many ports of a range active mode tries after the first one before it gives up.
const MAX_PORTS_TRIED: u16 = 64;

/// The ports on which active mode listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first port; 0 lets the system choose.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl PortRange {
    /// Any port.
    pub const ANY: PortRange = PortRange { first: 0, last: 0 };
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<PortRange, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| {
            text.parse::<u16>().ok().filter(|port| *port != 0).ok_or("not a port range: write 50000-50100")
        };
        let (first, last) = (port(first)?, port(last)?);
        if first > last { Err("the range ends before it begins".to_owned()) } else { Ok(PortRange { first, last }) }
    }
}

/// A transfer that the server has started.
#[derive(Debug)]
pub struct Begun {
    /// The data connection.
    pub stream: Stream,
    /// True when the server refused the offset: the transfer runs from the beginning.
    pub restarted: bool,
    /// The 150 or 125 reply.
    pub opening: FtpReply,
    /// The replies to the questions that were sent along.
    pub answers: Vec<FtpReply>,
}

/// The failure of a transfer, and whether the cause is that no data connection is possible (a firewall).
#[derive(Debug)]
pub(super) struct DataError {
    pub(super) fault: Fault,
    pub(super) no_connection: bool,
    /// The command that sets up the data connection was refused, or its reply holds no address.
    no_set_up: bool,
}

impl DataError {
    /// The peer was not reached. This counts as "no data connection" unless the failure is another one (of the lookup, of TLS).
    fn unreached(fault: Fault) -> DataError {
        let no_connection = matches!(fault.kind, Kind::ConnectRefused | Kind::Unreachable | Kind::TimedOut);
        DataError { fault, no_connection, no_set_up: false }
    }
}

impl From<Fault> for DataError {
    /// 425 is the reply for a data connection that the server cannot open (RFC 959, section 4.2).
    fn from(fault: Fault) -> DataError {
        DataError { no_connection: fault.reply_code() == Some(425), no_set_up: false, fault }
    }
}

impl From<DataError> for Fault {
    fn from(error: DataError) -> Fault {
        error.fault
    }
}

/// How a data connection is set up.
enum DataSetUp {
    Passive(SocketAddr),
    Active(TcpListener),
}

/// The replies so far to a requested transfer.
struct TransferOpening<'a> {
    command: &'a FtpCommand,
    /// The reply to REST is outstanding.
    rest: bool,
    /// The reply to REST did not accept the offset.
    restarted: bool,
    /// 150 or 125.
    go_ahead: Option<FtpReply>,
    /// The final reply has come early, too, and waits in the control connection.
    over: bool,
}

impl FtpClient {
    /// Starts a transfer: the questions, the set-up command and the transfer command are sent in one packet.
    ///
    /// # Errors
    /// The kind of the server's refusal (`NoInput` for 550), or of a failure on the control or the data connection.
    pub async fn begin(&mut self, questions: &[FtpCommand], command: &FtpCommand, offset: u64) -> Result<Begun, Fault> {
        Ok(self.begin_data(questions, command, offset).await?)
    }

    /// As [`FtpClient::begin`]; the error tells whether the data connection failed.
    pub(super) async fn begin_data(
        &mut self,
        questions: &[FtpCommand],
        command: &FtpCommand,
        offset: u64,
    ) -> Result<Begun, DataError> {
        let mut renewed = false;
        let mut first: Option<DataError> = None;
        loop {
            let begun = match self.attempt(questions, command, offset).await {
                Ok(begun) => begun,
                Err(error) if first.is_none() && (error.no_set_up || error.no_connection) && self.older_way() => {
                    if !self.usable() {
                        self.renew("this one still waits for a data connection").await?;
                    }
                    first = Some(error);
                    continue;
                }
                Err(error) => {
                    return Err(match first {
                        // The older command does not exist here: the first error is the one to report.
                        Some(first) if error.no_set_up && first.no_connection => {
                            self.forget_older_way();
                            first
                        }
                        _ => error,
                    });
                }
            };
            if let Some(info) = begun.stream.tls_info() {
                // The tickets of this control connection are used up (proftpd gives none on uploads) and a server that
                // insists on resumption would refuse the transfer: a fresh connection has fresh ones.
                if !info.resumed && self.resumed_before && !renewed {
                    drop(begun);
                    self.renew("no TLS session tickets are left").await?;
                    renewed = true;
                    continue;
                }
                self.resumed_before |= info.resumed;
            }
            ServerQuirks::set(&self.options.quirks.data_works);
            return Ok(begun);
        }
    }

    /// One attempt with the set-up command that is believed to work.
    async fn attempt(
        &mut self,
        questions: &[FtpCommand],
        command: &FtpCommand,
        offset: u64,
    ) -> Result<Begun, DataError> {
        let peer = self.control.stream().peer_addr();
        let listener = match self.options.active {
            Some(range) => Some(self.listen(range).await?),
            None => None,
        };
        let ahead = match listener {
            Some(_) => None,
            None => self.take_ahead(questions, command, offset),
        };
        let sent = ahead.is_some();
        let set_up = match (ahead, &listener) {
            (Some(set_up), _) => set_up,
            (None, Some(listener)) => self.active_command(listener)?,
            (None, None) => self.passive_command(),
        };
        let lock_step = ServerQuirks::get(&self.options.quirks.lock_step);
        let together = listener.is_none() && !lock_step;
        let mut answers = Vec::with_capacity(questions.len());
        if lock_step {
            for question in questions {
                answers.push(self.control.call(question).await?);
            }
            self.control.queue(&set_up)?;
        } else if !sent {
            for question in questions {
                self.control.queue(question)?;
            }
            self.control.queue(&set_up)?;
            if together {
                self.queue_transfer(command, offset)?;
            }
        }
        self.control.flush().await?;
        for _ in answers.len()..questions.len() {
            answers.push(self.control.final_reply().await?);
        }
        let reply = self.control.final_reply().await?;
        let waiting = match listener {
            Some(listener) => reply.ok().then_some(DataSetUp::Active(listener)),
            None => self.passive_address(&set_up, &reply, peer).map(DataSetUp::Passive),
        };
        let Some(waiting) = waiting else {
            if together {
                self.disown(offset).await?;
            }
            return Err(DataError { no_set_up: true, ..self.refused_set_up(&set_up, &reply).into() });
        };
        let mut opening = TransferOpening { command, rest: offset > 0, restarted: false, go_ahead: None, over: false };
        let stream = match waiting {
            DataSetUp::Passive(address) => {
                let (dialer, host) = (self.options.dialer.clone(), self.host.clone());
                let reaching = async move {
                    match dialer.proxy {
                        Some(_) => dialer.connect(&host, address.port()).await,
                        None => dialer.connect_addr(address).await,
                    }
                };
                let hint = "a firewall? --active lets the server open it";
                match lock_step {
                    true => {
                        let stream = reaching
                            .await
                            .map_err(|fault| DataError::unreached(fault.context("data connection").with_hint(hint)))?;
                        self.ask_stepwise(command, offset, &mut opening).await?;
                        stream
                    }
                    false => self.meanwhile(reaching, Some(hint), &mut opening).await?,
                }
            }
            // Only now: pyftpdlib connects at once and answers out of order if the transfer command is there already.
            DataSetUp::Active(listener) => {
                match lock_step {
                    true => self.ask_stepwise(command, offset, &mut opening).await?,
                    false => {
                        self.queue_transfer(command, offset)?;
                        self.control.flush().await?;
                    }
                }
                let (limits, trust) = (self.control.limits, self.options.trust_pasv);
                let accepting = async move {
                    limits.run("data connection from the server", accept_from(&listener, peer, trust)).await
                };
                self.meanwhile(accepting, Some("a firewall? without --active this side opens it"), &mut opening).await?
            }
        };
        if matches!(command, FtpCommand::Stor(_) | FtpCommand::Stou(_) | FtpCommand::Appe(_)) {
            // Until the file is complete: a transfer that ends early, even by SIGKILL, must not look like a whole file.
            stream.reset_when_dropped(true);
        }
        while opening.go_ahead.is_none() {
            let reply = self.control.reply().await?;
            self.heard(reply, &mut opening)?;
        }
        let stream = self.secure(stream, &mut opening).await?;
        let go_ahead = opening.go_ahead.ok_or_else(|| Fault::new(Kind::Internal, "no go-ahead"))?;
        Ok(Begun { stream, restarted: opening.restarted, opening: go_ahead, answers })
    }

    /// True for a control connection over IPv6, which needs the extended commands.
    pub(super) fn is_v6(&self) -> bool {
        self.control.stream().peer_addr().is_some_and(|peer| peer.is_ipv6())
    }

    /// Switches to the older set-up command, once per host, as long as no data connection has worked.
    fn older_way(&self) -> bool {
        let quirks = &self.options.quirks;
        if ServerQuirks::get(&quirks.data_works) || self.is_v6() {
            return false;
        }
        let (old, unknown, what) = match self.options.active {
            Some(_) => (!self.uses_eprt(), false, "PORT instead of EPRT"),
            None => {
                (self.passive_command() == FtpCommand::Pasv, ServerQuirks::get(&quirks.no_pasv), "PASV instead of EPSV")
            }
        };
        if old || unknown {
            return false;
        }
        self.options.learn(if self.options.active.is_some() { &quirks.no_eprt } else { &quirks.no_epsv }, what);
        true
    }

    fn forget_older_way(&self) {
        let quirks = &self.options.quirks;
        if self.options.active.is_none() {
            self.options.learn(&quirks.no_pasv, "EPSV: there is no PASV");
            quirks.no_epsv.store(false, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn uses_eprt(&self) -> bool {
        self.is_v6() || (self.options.eprt && !ServerQuirks::get(&self.options.quirks.no_eprt))
    }

    /// Discards the reply to a transfer command whose set-up failed: its refusal adds nothing. The connection is unusable if the
    /// server does not answer the transfer command, or begins the transfer.
    async fn disown(&mut self, offset: u64) -> Result<(), Fault> {
        if self.control.held {
            let fault = Fault::new(Kind::Disconnected, "the data connections of transfers sent ahead cannot be set up");
            return Err(self.control.fail(fault));
        }
        if offset > 0 && self.reply_within(EXPLANATION).await.is_err() {
            return Ok(());
        }
        let limits = self.control.limits;
        self.control.limits = limits.with_idle(EXPLANATION.min(limits.idle));
        // A failed reply has marked the connection as broken; a preliminary reply does so below.
        let said = self.control.reply().await;
        self.control.limits = limits;
        match said.map(|reply| (reply.class(), reply)) {
            Ok((ReplyClass::Transient | ReplyClass::Permanent, _)) | Err(_) => Ok(()),
            Ok((ReplyClass::Preliminary, reply)) => {
                self.control.fail(reply.fault("a transfer without a data connection", Kind::Protocol));
                Ok(())
            }
            Ok((_, reply)) => {
                let fault = reply.fault("a transfer without a data connection", Kind::Protocol);
                Err(self.control.fail(Fault { kind: Kind::Protocol, ..fault }))
            }
        }
    }

    /// Lock step: sends the offset, then the transfer command alone.
    async fn ask_stepwise(
        &mut self,
        command: &FtpCommand,
        offset: u64,
        opening: &mut TransferOpening<'_>,
    ) -> Result<(), Fault> {
        if offset > 0 {
            let reply = self.control.call(&FtpCommand::Rest(offset)).await?;
            self.heard(reply, opening)?;
        }
        self.control.queue(command)?;
        self.control.flush().await
    }

    /// Runs a step of the data connection and reads the server's replies meanwhile: a refusal ends the wait.
    async fn meanwhile<T>(
        &mut self,
        other: impl Future<Output = Result<T, Fault>>,
        hint: Option<&'static str>,
        opening: &mut TransferOpening<'_>,
    ) -> Result<T, DataError> {
        let mut other = std::pin::pin!(other);
        let limits = self.control.limits;
        self.control.limits = limits.with_idle(PATIENT);
        let first = tokio::select! {
            biased;
            done = &mut other => done,
            heard = self.hear(opening) => match heard {
                // The end of the transfer came first: the connection must follow soon.
                Ok(()) => match tokio::time::timeout(EXPLANATION, &mut other).await {
                    Ok(done) => done,
                    Err(_) => Err(Fault::new(Kind::Protocol, "the server ended a transfer without a data connection")),
                },
                Err(fault) => {
                    self.control.limits = limits;
                    return Err(fault.into());
                }
            },
        };
        let result = match first {
            Ok(done) => Ok(done),
            // The server may give the reason.
            Err(fault) => Err((fault, tokio::time::timeout(EXPLANATION, self.hear(opening)).await)),
        };
        self.control.limits = limits;
        result.map_err(|(fault, said)| {
            let fault = fault.context("data connection");
            let fault = match hint {
                Some(hint) => fault.with_hint(hint),
                None => fault,
            };
            match said {
                Ok(Err(said)) if said.reply_code().is_some_and(|code| code != 425) => said.into(),
                // The state of the control connection is known.
                Ok(Err(_)) => DataError::unreached(fault),
                _ => DataError::unreached(self.control.fail(fault)),
            }
        })
    }

    /// Reads the replies to a transfer command until the transfer is over or refused.
    async fn hear(&mut self, opening: &mut TransferOpening<'_>) -> Result<(), Fault> {
        while !opening.over {
            let reply = self.control.reply().await?;
            self.heard(reply, opening)?;
        }
        Ok(())
    }

    fn heard(&mut self, reply: FtpReply, opening: &mut TransferOpening<'_>) -> Result<(), Fault> {
        match (reply.class(), &opening.go_ahead) {
            (ReplyClass::Preliminary, _) if opening.rest => {}
            _ if opening.rest => (opening.rest, opening.restarted) = (false, reply.code != 350),
            (ReplyClass::Preliminary, None) => opening.go_ahead = Some(reply),
            (ReplyClass::Preliminary, Some(_)) => {}
            (ReplyClass::Transient | ReplyClass::Permanent, _) => {
                return Err(reply.fault(opening.command.verb(), Kind::NoInput));
            }
            (ReplyClass::Completion, Some(_)) => {
                self.control.put_back(reply);
                opening.over = true;
            }
            _ => {
                let fault = Fault::new(Kind::Protocol, "the server ended a transfer it never began");
                return Err(self.control.fail(fault));
            }
        }
        Ok(())
    }

    fn active_command(&self, listener: &TcpListener) -> Result<FtpCommand, Fault> {
        let address = listener.local_addr().map_err(|error| Fault::network("active mode", &error))?;
        Ok(match address {
            SocketAddr::V4(address) if !self.uses_eprt() => FtpCommand::Port(format_port(address).into_bytes()),
            address => FtpCommand::Eprt(format_eprt(address).into_bytes()),
        })
    }

    /// The address of a passive reply: its port at the control connection's peer, unless the user trusts the address in it.
    fn passive_address(&self, set_up: &FtpCommand, reply: &FtpReply, peer: Option<SocketAddr>) -> Option<SocketAddr> {
        let text = reply.first();
        let own = |port| peer.map(|peer| with_port(peer, port));
        match (set_up, reply.code) {
            (FtpCommand::Epsv(_), 229) => own(parse_epsv(text)?),
            // Some firewalls answer EPSV with 227.
            (_, 227) => {
                let said = parse_pasv(text)?;
                match self.options.trust_pasv {
                    true => Some(SocketAddr::V4(said)),
                    false => own(said.port()),
                }
            }
            _ => None,
        }
    }

    fn queue_transfer(&mut self, command: &FtpCommand, offset: u64) -> Result<(), Fault> {
        if offset > 0 {
            self.control.queue(&FtpCommand::Rest(offset))?;
        }
        self.control.queue(command)
    }

    /// The fault of a failed set-up: the command was refused, or the reply holds no address.
    fn refused_set_up(&self, set_up: &FtpCommand, reply: &FtpReply) -> Fault {
        let fault = match reply.class() {
            ReplyClass::Transient | ReplyClass::Permanent => reply.fault(set_up.verb(), Kind::Unsupported),
            _ => {
                let fault = reply.fault(format_args!("{}: no usable address in", set_up.verb()), Kind::Protocol);
                Fault { kind: Kind::Protocol, ..fault }
            }
        };
        match self.options.active {
            Some(_) => fault,
            None => fault.with_hint("--active lets the server open the data connection"),
        }
    }

    /// TLS on the data connection. It resumes the session of the control connection because servers demand that.
    async fn secure(&mut self, stream: Stream, opening: &mut TransferOpening<'_>) -> Result<Stream, DataError> {
        let Some(tls) = self.data_tls.clone() else { return Ok(stream) };
        let (limits, host) = (self.control.limits, self.host.clone());
        let shaking = async move { limits.run("TLS handshake", tls.connect(stream, &host)).await };
        let stream = self.meanwhile(shaking, None, opening).await?;
        if let (true, Some(info)) = (self.options.trace.is_on(), stream.tls_info()) {
            let resumed = if info.resumed { "resumed" } else { "new session" };
            self.options.trace.note(&format!("data connection: {info}, {resumed}"));
        }
        Ok(stream)
    }

    /// The final reply, with `idle` as the idle limit.
    pub(super) async fn reply_within(&mut self, idle: Duration) -> Result<FtpReply, Fault> {
        let limits = self.control.limits;
        self.control.limits = limits.with_idle(idle);
        let reply = self.control.final_reply().await;
        self.control.limits = limits;
        reply
    }

    /// The server's refusal of a transfer that has already failed on this side (522, 426 …), if it comes soon.
    pub async fn refusal(&mut self) -> Option<FtpReply> {
        let reply = self.reply_within(EXPLANATION).await.ok()?;
        matches!(reply.class(), ReplyClass::Transient | ReplyClass::Permanent).then_some(reply)
    }

    /// The reply after the last byte. The server may still be writing, so it gets more time than the idle limit.
    ///
    /// # Errors
    /// The kind of the server's refusal, or of a failure on the control connection.
    pub async fn finish(&mut self, command: &FtpCommand) -> Result<FtpReply, Fault> {
        let reply = self.reply_within(self.control.limits.idle.max(FINAL_REPLY)).await?;
        match reply.ok() {
            true => Ok(reply),
            false => Err(reply.fault(command.verb(), Kind::Refused)),
        }
    }

    /// Ends a transfer whose further bytes are not wanted. The data connection is closed already; if the server's reply to that
    /// does not come soon, the control connection is unusable.
    pub async fn finish_short(&mut self) -> String {
        let reply = self.reply_within(EXPLANATION).await;
        reply.map_or_else(|_| String::new(), |reply| format!("{} {}", reply.code, reply.text()))
    }

    /// Sets the representation type if it differs from the present one.
    ///
    /// # Errors
    /// The kind of the server's refusal, or of a failure on the connection.
    pub async fn set_type(&mut self, ascii: bool) -> Result<(), Fault> {
        let (wanted, before) = (if ascii { TypeCode::Ascii } else { TypeCode::Image }, self.control.type_code);
        if before != wanted
            && let Err(fault) = self.must(&FtpCommand::Type(wanted), Kind::Refused).await
        {
            self.control.type_code = before;
            return Err(fault);
        }
        Ok(())
    }

    async fn listen(&self, range: PortRange) -> Result<TcpListener, Fault> {
        let local = self.control.stream().local_addr();
        let local = local.ok_or_else(|| Fault::new(Kind::Unsupported, "active mode needs a TCP control connection"))?;
        let span = range.last - range.first;
        // Start anywhere in the range: ports of the last transfers may still be in TIME_WAIT.
        let start = if span == 0 { 0 } else { rand_u16() % (span + 1) };
        let mut last = None;
        for step in 0..=span.min(MAX_PORTS_TRIED) {
            let offset = (u32::from(start) + u32::from(step)) % (u32::from(span) + 1);
            let port = range.first + u16::try_from(offset).unwrap_or(0);
            match bind(with_port(local, port)) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        let error = last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
        Err(Fault::network("active mode", &error))
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1)
}

/// Accepts the connection from the server; a connection from another host is closed (data connection theft).
async fn accept_from(listener: &TcpListener, peer: Option<SocketAddr>, trust: bool) -> Result<Stream, Fault> {
    loop {
        let (stream, from) = listener.accept().await.map_err(|error| Fault::network("data connection", &error))?;
        if trust || peer.is_some_and(|peer| peer.ip() == from.ip()) {
            stream.set_nodelay(true).map_err(|error| Fault::network("data connection", &error))?;
            return Ok(Stream::Plain(stream));
        }
    }
}

fn rand_u16() -> u16 {
    let mut bytes = [0u8; 2];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u16::from_ne_bytes(bytes),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::PeerCode;

    #[test]
    fn port_ranges() {
        assert_eq!("50000-50100".parse(), Ok(PortRange { first: 50000, last: 50100 }));
        assert_eq!("50000".parse(), Ok(PortRange { first: 50000, last: 50000 }));
        for bad in ["", "0", "2-1", "a-b", "1-70000", "1-2-3", "-"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }

    /// The kind and the code decide whether a listing falls back to STAT; the text of the fault does not matter.
    #[test]
    fn no_data_connection_is_told_by_kind_and_code() {
        for kind in Kind::ALL {
            let firewall = matches!(kind, Kind::ConnectRefused | Kind::Unreachable | Kind::TimedOut);
            for words in ["data connection: no", "LIST: 425 no data connection", ""] {
                assert_eq!(DataError::unreached(Fault::new(kind, words)).no_connection, firewall, "{kind} {words}");
                assert!(!DataError::from(Fault::new(kind, words)).no_connection, "{kind} {words}");
            }
        }
        for (code, expected) in [
            (PeerCode::Reply(425), true),
            (PeerCode::Reply(426), false),
            (PeerCode::Rcode(425), false),
            (PeerCode::Http(425), false),
        ] {
            let fault = Fault::new(Kind::PeerTemporary, "data connection: no").with_code(code);
            assert_eq!(DataError::from(fault).no_connection, expected, "{code:?}");
        }
    }
}
