//! Setting up data connections: EPSV, PASV, EPRT, PORT (RFC 959, RFC 2428), and the TLS handshake on them (RFC 4217).

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use super::{FINAL_REPLY, FtpClient, ServerQuirks};
use crate::fault::{Fault, Kind};
use crate::ftp::address::{format_eprt, format_port, parse_epsv, parse_pasv};
use crate::ftp::command::{FtpCommand, TypeCode};
use crate::ftp::reply::{FtpReply, ReplyClass};
use crate::net::stream::Stream;

/// How long a failed data connection waits for the control connection to say why.
const EXPLANATION: Duration = Duration::from_secs(2);
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
}

impl DataError {
    /// Reaching the other end failed: that is no data connection, unless the failure is another one (of the lookup, of TLS).
    fn unreached(fault: Fault) -> DataError {
        let no_connection = matches!(fault.kind, Kind::ConnectRefused | Kind::Unreachable | Kind::TimedOut);
        DataError { fault, no_connection }
    }
}

impl From<Fault> for DataError {
    /// 425 is the server's word for a data connection that it cannot open (RFC 959, section 4.2).
    fn from(fault: Fault) -> DataError {
        DataError { no_connection: fault.reply_code() == Some(425), fault }
    }
}

impl From<DataError> for Fault {
    fn from(error: DataError) -> Fault {
        error.fault
    }
}

/// How a data connection is being made.
enum DataSetUp {
    Passive(Stream),
    Active(TcpListener),
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
        loop {
            let Some(begun) = self.attempt(questions, command, offset).await? else { continue };
            if let Some(info) = begun.stream.tls_info() {
                // The tickets of this control connection are used up (proftpd gives none on uploads) and a server that
                // insists on resumption would refuse the transfer: a fresh connection has fresh ones.
                if !info.resumed && self.resumed_before && !renewed {
                    drop(begun);
                    self.options.trace.note("no TLS session tickets are left");
                    self.renew().await?;
                    renewed = true;
                    continue;
                }
                self.resumed_before |= info.resumed;
            }
            return Ok(begun);
        }
    }

    /// One attempt with the way of setting up that is believed to work; `None`: it does not, another one is to be tried.
    async fn attempt(
        &mut self,
        questions: &[FtpCommand],
        command: &FtpCommand,
        offset: u64,
    ) -> Result<Option<Begun>, DataError> {
        let peer = self.control.stream().peer_addr().map(|address| address.ip());
        let v6 = peer.is_some_and(|ip| matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_none()));
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
            (None, Some(listener)) => self.active_command(listener, v6)?,
            (None, None) => self.passive_command(),
        };
        if !sent {
            for question in questions {
                self.control.queue(question)?;
            }
            self.control.queue(&set_up)?;
            if listener.is_none() {
                self.queue_transfer(command, offset)?;
            }
            self.control.flush().await?;
        }
        let mut answers = Vec::with_capacity(questions.len());
        for _ in questions {
            answers.push(self.control.final_reply().await?);
        }
        let reply = self.control.final_reply().await?;
        let waiting = match listener {
            // pyftpdlib connects at once and answers out of order when the transfer is already asked for: lock step.
            Some(listener) if reply.ok() => {
                self.queue_transfer(command, offset)?;
                self.control.flush().await?;
                DataSetUp::Active(listener)
            }
            Some(_) => {
                self.refused_set_up(&set_up, &reply, v6)?;
                return Ok(None);
            }
            None => match self.passive_address(&set_up, &reply, peer) {
                Some(address) => DataSetUp::Passive(self.reach(address, command).await?),
                None => {
                    // The transfer command went out already; its refusal is no news, unless the other one was none.
                    if offset > 0 {
                        self.control.final_reply().await?;
                    }
                    let refusal = self.control.final_reply().await?;
                    if matches!(refusal.class(), ReplyClass::Completion | ReplyClass::Intermediate) {
                        let fault = refusal.fault("a transfer without a data connection", Kind::Protocol);
                        return Err(self.control.fail(Fault { kind: Kind::Protocol, ..fault }).into());
                    }
                    if reply.ok() {
                        return Err(refusal.fault(command.verb(), Kind::NoInput).into());
                    }
                    self.refused_set_up(&set_up, &reply, v6)?;
                    return match self.control.held {
                        // The rest of the chain was sent with the same command: on a fresh connection with the other one.
                        true => Err(self.control.fail(reply.fault(set_up.verb(), Kind::Unsupported)).into()),
                        false => Ok(None),
                    };
                }
            },
        };
        let restarted = match offset {
            0 => false,
            _ => self.control.final_reply().await?.code != 350,
        };
        let (stream, opening) = self.opened(waiting, command, peer).await?;
        let stream = self.secure(stream).await?;
        Ok(Some(Begun { stream, restarted, opening, answers }))
    }

    fn active_command(&self, listener: &TcpListener, v6: bool) -> Result<FtpCommand, Fault> {
        let address = listener.local_addr().map_err(|error| Fault::network("active mode", &error))?;
        match address {
            SocketAddr::V4(address) if ServerQuirks::get(&self.options.quirks.no_eprt) => {
                Ok(FtpCommand::Port(format_port(address).into_bytes()))
            }
            _ if ServerQuirks::get(&self.options.quirks.no_eprt) && v6 => {
                Err(Fault::new(Kind::Unsupported, "EPRT: the server knows no IPv6 data connections"))
            }
            address => Ok(FtpCommand::Eprt(format_eprt(address).into_bytes())),
        }
    }

    /// Where a passive reply points to: its port at the control connection's peer, unless the user trusts the address.
    fn passive_address(&self, set_up: &FtpCommand, reply: &FtpReply, peer: Option<IpAddr>) -> Option<SocketAddr> {
        let text = reply.first();
        let own = |port| peer.map(|ip| SocketAddr::new(ip, port));
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

    /// The server refused a way of setting up: an older one may be left, and what does not work is remembered.
    fn refused_set_up(&self, set_up: &FtpCommand, reply: &FtpReply, v6: bool) -> Result<(), Fault> {
        let quirks = &self.options.quirks;
        match set_up {
            FtpCommand::Epsv(_) if !v6 && reply.class() == ReplyClass::Permanent => ServerQuirks::set(&quirks.no_epsv),
            FtpCommand::Eprt(_) if !v6 && reply.class() == ReplyClass::Permanent => ServerQuirks::set(&quirks.no_eprt),
            _ => {
                let fault = reply.fault(set_up.verb(), Kind::Unsupported);
                return Err(match self.options.active {
                    Some(_) => fault,
                    None => fault.with_hint("--active lets the server open the data connection"),
                });
            }
        }
        self.options.trace.note("falling back to the older command for data connections");
        Ok(())
    }

    /// Connects to the passive port. When that fails the server may be able to say why.
    async fn reach(&mut self, address: SocketAddr, command: &FtpCommand) -> Result<Stream, DataError> {
        let dialer = &self.options.dialer;
        let connected = match dialer.proxy {
            Some(_) => dialer.connect(&self.host, address.port()).await,
            None => dialer.connect_addr(address).await,
        };
        let fault = match connected {
            Ok(stream) => return Ok(stream),
            Err(fault) => fault.context("data connection"),
        };
        Err(match self.refusal().await {
            Some(reply) if reply.code != 425 => reply.fault(command.verb(), Kind::NoInput).into(),
            _ => {
                let fault = fault.with_hint("a firewall? --active lets the server open it");
                DataError::unreached(self.control.fail(fault))
            }
        })
    }

    /// Waits for the server's go-ahead and, in active mode, for its connection, whichever comes first.
    async fn opened(
        &mut self,
        waiting: DataSetUp,
        command: &FtpCommand,
        peer: Option<IpAddr>,
    ) -> Result<(Stream, FtpReply), DataError> {
        let listener = match waiting {
            DataSetUp::Passive(stream) => return Ok((stream, self.go_ahead(command).await?)),
            DataSetUp::Active(listener) => listener,
        };
        // Accepting in a task of its own: the connection may come before or after the go-ahead.
        let trust = self.options.trust_pasv;
        let accepting = tokio::spawn(async move { accept_from(&listener, peer, trust).await });
        let opening = match self.go_ahead(command).await {
            Ok(opening) => opening,
            Err(fault) => {
                accepting.abort();
                return Err(fault.into());
            }
        };
        let stream = self.control.limits.run("data connection from the server", async {
            accepting.await.map_err(|error| Fault::new(Kind::Internal, error.to_string()))?
        });
        match stream.await {
            Ok(stream) => Ok((stream, opening)),
            Err(fault) => Err(DataError::unreached(self.control.fail(fault))),
        }
    }

    /// The preliminary reply with which a transfer begins.
    async fn go_ahead(&mut self, command: &FtpCommand) -> Result<FtpReply, Fault> {
        let opening = self.control.reply().await?;
        match opening.class() {
            ReplyClass::Preliminary => Ok(opening),
            ReplyClass::Transient | ReplyClass::Permanent => Err(opening.fault(command.verb(), Kind::NoInput)),
            ReplyClass::Completion | ReplyClass::Intermediate => {
                Err(self.control.fail(Fault::new(Kind::Protocol, "the server ended a transfer it never began")))
            }
        }
    }

    /// TLS on the data connection, resuming the session of the control connection: servers demand it.
    async fn secure(&mut self, stream: Stream) -> Result<Stream, DataError> {
        let Some(tls) = &self.data_tls else { return Ok(stream) };
        let fault = match self.control.limits.run("TLS handshake", tls.connect(stream, &self.host)).await {
            Ok(stream) => {
                if let (true, Some(info)) = (self.options.trace.is_on(), stream.tls_info()) {
                    let resumed = if info.resumed { "resumed" } else { "new session" };
                    self.options.trace.note(&format!("data connection: {} {}, {resumed}", info.version, info.cipher));
                }
                return Ok(stream);
            }
            Err(fault) => fault.context("data connection"),
        };
        Err(match self.refusal().await {
            Some(reply) => reply.fault("data connection", Kind::Refused).into(),
            None => DataError::unreached(self.control.fail(fault)),
        })
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
        let wanted = if ascii { TypeCode::Ascii } else { TypeCode::Image };
        if self.type_code != wanted {
            self.must(&FtpCommand::Type(wanted), Kind::Refused).await?;
            self.type_code = wanted;
        }
        Ok(())
    }

    async fn listen(&self, range: PortRange) -> Result<TcpListener, Fault> {
        let local = self.control.stream().local_addr().map(|address| address.ip());
        let ip = local.ok_or_else(|| Fault::new(Kind::Unsupported, "active mode needs a TCP control connection"))?;
        let span = range.last - range.first;
        // Start anywhere in the range: ports of the last transfers may still be in TIME_WAIT.
        let start = if span == 0 { 0 } else { rand_u16() % (span + 1) };
        let mut last = None;
        for step in 0..=span.min(MAX_PORTS_TRIED) {
            let offset = (u32::from(start) + u32::from(step)) % (u32::from(span) + 1);
            let port = range.first + u16::try_from(offset).unwrap_or(0);
            match bind(SocketAddr::new(ip, port)) {
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
async fn accept_from(listener: &TcpListener, peer: Option<IpAddr>, trust: bool) -> Result<Stream, Fault> {
    loop {
        let (stream, from) = listener.accept().await.map_err(|error| Fault::network("data connection", &error))?;
        if trust || Some(from.ip()) == peer {
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
