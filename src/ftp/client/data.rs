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

/// How long a failed data connection waits for the control connection to say why.
const EXPLANATION: Duration = Duration::from_secs(2);
/// How long the control connection is listened to while something else is awaited, which has a limit of its own.
const PATIENT: Duration = Duration::from_secs(24 * 3600);
/// Ports of a range that are tried before active mode gives up.
const MAX_PORTS_TRIED: u16 = 64;

/// The ports on which active mode listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first; 0 lets the system choose.
    pub first: u16,
    /// The last.
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

/// A transfer that the server has begun.
#[derive(Debug)]
pub struct Begun {
    /// The data connection.
    pub stream: Stream,
    /// True when the server refused the offset: the transfer runs from the beginning.
    pub restarted: bool,
    /// The 150 or 125 reply.
    pub opening: FtpReply,
    /// Replies to the questions that went along.
    pub answers: Vec<FtpReply>,
}

/// A failure of a transfer, and whether the cause is that no data connection can be had (a firewall).
#[derive(Debug)]
pub(super) struct DataError {
    pub(super) fault: Fault,
    pub(super) no_connection: bool,
    /// The command that sets a data connection up was refused, or answered with what is no address.
    no_set_up: bool,
}

impl DataError {
    /// Reaching the other end failed: that is no data connection, unless the failure is another one (of the lookup, of TLS).
    fn unreached(fault: Fault) -> DataError {
        let no_connection = matches!(fault.kind, Kind::ConnectRefused | Kind::Unreachable | Kind::TimedOut);
        DataError { fault, no_connection, no_set_up: false }
    }
}

impl From<Fault> for DataError {
    /// 425 is the server's word for a data connection that it cannot open (RFC 959, section 4.2).
    fn from(fault: Fault) -> DataError {
        DataError { no_connection: fault.reply_code() == Some(425), no_set_up: false, fault }
    }
}

impl From<DataError> for Fault {
    fn from(error: DataError) -> Fault {
        error.fault
    }
}

/// How a data connection is being made.
enum DataSetUp {
    Passive(SocketAddr),
    Active(TcpListener),
}

/// What the server has said so far of a transfer that was asked for.
struct TransferOpening<'a> {
    command: &'a FtpCommand,
    /// The reply to REST is still to come.
    rest: bool,
    /// It was none that allows the offset.
    restarted: bool,
    /// 150 or 125.
    go_ahead: Option<FtpReply>,
    /// The final reply has come as well, before its time, and waits with the control connection.
    over: bool,
}

impl FtpClient {
    /// Starts a transfer: questions, the data connection and the transfer command go out in one packet.
    ///
    /// # Errors
    /// The kind of the server's refusal (`NoInput` for 550), or of what failed on the control or the data connection.
    pub async fn begin(&mut self, questions: &[FtpCommand], command: &FtpCommand, offset: u64) -> Result<Begun, Fault> {
        Ok(self.begin_data(questions, command, offset).await?)
    }

    /// As [`FtpClient::begin`]; the error tells whether a data connection was what failed.
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
                        // The older way is not there at all: what was wrong with the other one is the news.
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

    /// One attempt with the way of setting up that is believed to work.
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
            // pyftpdlib connects at once and answers out of order when the transfer is already asked for: only now.
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
            // Until it is said to be whole: what ends otherwise, even by SIGKILL, must not look like a whole file.
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

    /// True for a control connection over IPv6, where only the extended commands will do.
    pub(super) fn is_v6(&self) -> bool {
        self.control.stream().peer_addr().is_some_and(|peer| peer.is_ipv6())
    }

    /// Turns to the older command for data connections, once a host, as long as none has ever been had.
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

    /// The transfer went out together with a set-up that failed: its own refusal is no news. A server that is silent on it, or
    /// begins it somewhere, cannot be talked to any more.
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
        // A failure has marked the connection; so does a beginning.
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

    /// Lock step: the offset, and the transfer alone.
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

    /// Does what a data connection needs, and hears what the server says meanwhile: a refusal ends the wait.
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
                // The end of the transfer came first: the connection must be about to.
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
            // The server may be able to say why.
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
                // The control connection is in order, or is known not to be.
                Ok(Err(_)) => DataError::unreached(fault),
                _ => DataError::unreached(self.control.fail(fault)),
            }
        })
    }

    /// Takes what the server says of a transfer, until that is over or refused.
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

    /// Where a passive reply points to: its port at the control connection's peer, unless the user trusts the address.
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

    /// Why there is no data connection: the command was refused, or the reply holds no address.
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

    /// TLS on the data connection, resuming the session of the control connection: servers demand it.
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

    /// The final reply, waited for as long as `idle` says.
    pub(super) async fn reply_within(&mut self, idle: Duration) -> Result<FtpReply, Fault> {
        let limits = self.control.limits;
        self.control.limits = limits.with_idle(idle);
        let reply = self.control.final_reply().await;
        self.control.limits = limits;
        reply
    }

    /// The server's refusal of a transfer that went wrong here already (522, 426 …), if it comes soon.
    pub async fn refusal(&mut self) -> Option<FtpReply> {
        let reply = self.reply_within(EXPLANATION).await.ok()?;
        matches!(reply.class(), ReplyClass::Transient | ReplyClass::Permanent).then_some(reply)
    }

    /// The reply after the last byte. The server may still be writing: it gets more time than the idle limit.
    ///
    /// # Errors
    /// The kind of the server's refusal, or of what failed on the control connection.
    pub async fn finish(&mut self, command: &FtpCommand) -> Result<FtpReply, Fault> {
        let reply = self.reply_within(self.control.limits.idle.max(FINAL_REPLY)).await?;
        match reply.ok() {
            true => Ok(reply),
            false => Err(reply.fault(command.verb(), Kind::Refused)),
        }
    }

    /// The end of a transfer of which no more was wanted: the data connection is closed and the server says something about
    /// that, soon, or the connection is of no more use.
    pub async fn finish_short(&mut self) -> String {
        let reply = self.reply_within(EXPLANATION).await;
        reply.map_or_else(|_| String::new(), |reply| format!("{} {}", reply.code, reply.text()))
    }

    /// Sets the representation type, if it is another than the present one.
    ///
    /// # Errors
    /// The kind of the server's refusal, or of what failed on the connection.
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

/// The connection from the server; one from anybody else is turned away (data connection theft).
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

    /// Whether a listing goes on by STAT hangs on this: on the kind and the code, whatever the words are.
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
