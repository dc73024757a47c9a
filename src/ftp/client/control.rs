//! The control connection: commands are sent in batches, and replies are matched to them in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{FtpClientOptions, ServerQuirks};
use crate::fault::{Fault, Kind};
use crate::ftp::charset::WireCharset;
use crate::ftp::command::{FtpCommand, TypeCode};
use crate::ftp::reply::{FtpReply, FtpReplyReader, ReplyClass};
use crate::ftp::telnet;
use crate::net::deadline::{Limits, RateDeadline};
use crate::net::stream::Stream;
use crate::net::tls::ClientTls;
use crate::net::trace::ProtocolTrace;

/// The most preliminary replies (1yz) that one command may get.
const MAX_PRELIMINARY: usize = 64;
/// Bytes read at once.
const READ: usize = 8192;

/// The longest time from a reply's first byte to its last one, unless the idle limit is longer.
const MAX_REPLY_TIME: Duration = Duration::from_secs(300);
/// A reply may take at most this many idle limits, however slowly its bytes arrive.
const IDLES_OF_A_REPLY: u32 = 5;
/// A reply that may have ended (see [`FtpReplyReader::may_have_ended`]) counts as ended after this long without more bytes.
const OTHER_END: Duration = Duration::from_secs(2);
/// The longest wait for the reply to a line that the server may not understand.
const SILENCE: Duration = Duration::from_secs(3);
/// The longest wait for the server to end TLS after CCC.
const END_OF_TLS: Duration = Duration::from_secs(10);
/// The most changes of directory that are repeated on a fresh connection.
const MAX_CHANGES: usize = 64;

/// A reply that is outstanding.
#[derive(Debug)]
struct AwaitedReply {
    /// A caller asks for it with [`ControlConnection::reply`]; otherwise it is dropped unread.
    asked: bool,
    /// The change of directory that it confirms.
    change: Option<FtpCommand>,
}

/// One control connection.
#[derive(Debug)]
pub(super) struct ControlConnection {
    stream: Stream,
    reader: FtpReplyReader,
    out: Vec<u8>,
    /// Commands in `out`.
    unsent: usize,
    buffer: Vec<u8>,
    expected: VecDeque<AwaitedReply>,
    /// A reply that came early: the next call returns it.
    early: Option<FtpReply>,
    preliminary: usize,
    /// When the reply that is partly here began.
    half_since: Option<Instant>,
    /// The changes of directory since the login.
    changes: Vec<FtpCommand>,
    /// The representation type that was set last.
    pub(super) type_code: TypeCode,
    /// Transfers were sent ahead: no other command may be sent until they are begun.
    pub(super) held: bool,
    pub(super) limits: Limits,
    pub(super) trace: ProtocolTrace,
    quirks: Arc<ServerQuirks>,
    /// The charset of names on the wire.
    charset: Option<WireCharset>,
    /// The reason why the connection is unusable.
    broken: Option<Fault>,
}

impl ControlConnection {
    pub(super) fn new(stream: Stream, options: &FtpClientOptions) -> ControlConnection {
        let FtpClientOptions { limits, trace, quirks, charset, .. } = options;
        let mut reader = FtpReplyReader::new();
        if ServerQuirks::get(&quirks.any_code_ends) {
            reader.end_with_any_code();
        }
        ControlConnection {
            stream,
            reader,
            out: Vec::new(),
            unsent: 0,
            buffer: vec![0; READ],
            // The greeting is a reply that no command asked for.
            expected: VecDeque::from([AwaitedReply { asked: true, change: None }]),
            early: None,
            preliminary: 0,
            half_since: None,
            changes: Vec::new(),
            type_code: TypeCode::Image,
            held: false,
            limits: *limits,
            trace: trace.clone(),
            quirks: quirks.clone(),
            charset: *charset,
            broken: None,
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Adds a command to the batch; [`ControlConnection::reply`] returns the replies in the order of the commands.
    pub(super) fn queue(&mut self, command: &FtpCommand) -> Result<(), Fault> {
        self.push(command, true)
    }

    /// Adds a command whose reply does not matter.
    pub(super) fn queue_unasked(&mut self, command: &FtpCommand) -> Result<(), Fault> {
        self.push(command, false)
    }

    fn push(&mut self, command: &FtpCommand, asked: bool) -> Result<(), Fault> {
        if self.held {
            // Its reply would come after those of the transfers. The caller has changed its mind about them.
            return Err(
                self.fail(Fault::new(Kind::Disconnected, "a transfer that was sent ahead is not wanted any more"))
            );
        }
        let line = self.encoded(command)?;
        match command.is_secret() {
            true => self.trace.sent_secret(command.verb()),
            false => self.trace.sent(line.trim_ascii_end()),
        }
        self.out.extend_from_slice(&line);
        self.unsent += 1;
        let change = matches!(command, FtpCommand::Cwd(_) | FtpCommand::Cdup).then(|| command.clone());
        self.expected.push_back(AwaitedReply { asked, change });
        if let FtpCommand::Type(code) = command {
            self.type_code = *code;
        }
        Ok(())
    }

    /// The line of a command, with names in the charset of the wire. A user name is not a file name and stays as it is.
    fn encoded(&self, command: &FtpCommand) -> Result<Vec<u8>, Fault> {
        let line = command.encode()?;
        match self.charset.filter(|_| !command.is_secret() && !matches!(command, FtpCommand::User(_))) {
            Some(charset) => match charset.encode(&line) {
                Some(wire) => Ok(wire.into_owned()),
                None => Err(charset.unsendable().context(command.verb())),
            },
            None => Ok(line),
        }
    }

    /// The number of bytes in the batch.
    pub(super) fn queued(&self) -> usize {
        self.out.len()
    }

    /// Sends the batch.
    pub(super) async fn flush(&mut self) -> Result<(), Fault> {
        self.check()?;
        let mut out = std::mem::take(&mut self.out);
        let unsent = std::mem::take(&mut self.unsent);
        if out.contains(&telnet::IAC) && self.telnet_before(unsent).await? {
            out = telnet::doubled(&out);
        }
        self.send(&out).await
    }

    async fn send(&mut self, out: &[u8]) -> Result<(), Fault> {
        if out.is_empty() {
            return Ok(());
        }
        let stream = &mut self.stream;
        let sent = self.limits.io("control connection", async {
            stream.write_all(out).await?;
            stream.flush().await
        });
        match sent.await {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.lost_after_send(fault).await),
        }
    }

    /// Whether the server interprets TELNET commands, found out before the last `unsent` commands are sent.
    async fn telnet_before(&mut self, unsent: usize) -> Result<bool, Fault> {
        if let Some(known) = self.quirks.telnet() {
            return Ok(known);
        }
        let later = self.expected.split_off(self.expected.len().saturating_sub(unsent));
        if self.expected.iter().any(|awaited| awaited.asked) {
            return Err(self.fail(Fault::new(Kind::Internal, "a command before the replies to others")));
        }
        let found = self.find_telnet().await;
        self.expected.extend(later);
        found
    }

    /// Probes with a command that every server knows, behind a TELNET prefix that makes it unknown to a server which reads raw
    /// lines. The probe is needed because a byte 255 that is sent wrong makes a name that of another file.
    async fn find_telnet(&mut self) -> Result<bool, Fault> {
        self.trace.note("byte 255 in a name: does the server read TELNET's commands?");
        let command = FtpCommand::Type(self.type_code).encode()?;
        let limits = self.limits;
        self.limits = limits.with_idle(SILENCE.min(limits.idle / 2));
        let said = self.ask_raw(&[&telnet::PROBE, command.as_slice()].concat()).await;
        self.limits = limits;
        let speaks = match said {
            Ok(reply) => reply.ok(),
            // pure-ftpd ignores an unknown line. The reply to another command proves that.
            Err(fault) if fault.kind == Kind::TimedOut => {
                (self.broken, self.expected) = (None, VecDeque::new());
                let reply = self.ask_raw(&FtpCommand::Pwd.encode()?).await?;
                if reply.code != 257 {
                    return Err(self.fail(fault));
                }
                false
            }
            Err(fault) => return Err(fault),
        };
        self.trace.note(if speaks {
            "it does: the byte goes out twice"
        } else {
            "it does not: the byte goes out once"
        });
        self.quirks.speaks_telnet(speaks);
        Ok(speaks)
    }

    async fn ask_raw(&mut self, line: &[u8]) -> Result<FtpReply, Fault> {
        self.expected.push_back(AwaitedReply { asked: true, change: None });
        self.send(line).await?;
        self.final_reply().await
    }

    /// A write fails when the server has closed the connection; its last reply (421 …) gives the reason and may still be readable.
    async fn lost_after_send(&mut self, fault: Fault) -> Fault {
        let limits = self.limits.with_idle(Duration::from_millis(200));
        let stream = &mut self.stream;
        let buffer = &mut self.buffer;
        if let Ok(count) = limits.io("last words", stream.read(buffer)).await {
            self.reader.push(buffer.get(..count).unwrap_or_default());
            if let Ok(Some(reply)) = self.reader.next_reply() {
                return self.fail(reply.fault("server", Kind::Refused));
            }
        }
        self.fail(fault)
    }

    /// The next reply that a caller asked for, including preliminary replies (1yz).
    pub(super) async fn reply(&mut self) -> Result<FtpReply, Fault> {
        if let Some(reply) = self.early.take() {
            return Ok(reply);
        }
        self.check()?;
        let mut deadline = RateDeadline::new(self.limits);
        loop {
            let mut reply = match self.reader.next_reply() {
                Ok(Some(reply)) => reply,
                Ok(None) => {
                    self.more(&mut deadline).await?;
                    continue;
                }
                Err(fault) => return Err(self.fail(fault)),
            };
            self.half_since = None;
            if self.quirks.telnet() == Some(true) {
                undouble(&mut reply);
            }
            self.show(&reply);
            if reply.code == 421 {
                return Err(self.fail(reply.fault("server closes", Kind::Refused)));
            }
            let Some(asked) = self.expected.front().map(|awaited| awaited.asked) else {
                let fault = reply.fault("reply without a command", Kind::Protocol);
                return Err(self.fail(Fault { kind: Kind::Protocol, ..fault }));
            };
            if reply.class() == ReplyClass::Preliminary {
                self.preliminary += 1;
                if self.preliminary > MAX_PRELIMINARY {
                    return Err(self.fail(Fault::new(Kind::Protocol, "endless preliminary replies")));
                }
            } else {
                self.preliminary = 0;
                let change = self.expected.pop_front().and_then(|awaited| awaited.change);
                if let Some(change) = change.filter(|_| reply.ok()) {
                    self.changed(change);
                }
            }
            if asked {
                return Ok(reply);
            }
        }
    }

    /// The next reply that is not preliminary.
    pub(super) async fn final_reply(&mut self) -> Result<FtpReply, Fault> {
        loop {
            let reply = self.reply().await?;
            if reply.class() != ReplyClass::Preliminary {
                return Ok(reply);
            }
        }
    }

    /// Sends one command and waits for its final reply.
    pub(super) async fn call(&mut self, command: &FtpCommand) -> Result<FtpReply, Fault> {
        self.queue(command)?;
        self.flush().await?;
        let mut reply = self.final_reply().await?;
        let has_255 = reply.lines.iter().any(|line| line.contains(&telnet::IAC));
        if has_255 && self.quirks.telnet().is_none() && self.idle() && self.find_telnet().await? {
            undouble(&mut reply);
        }
        Ok(reply)
    }

    /// Puts back a reply that came early: it is the next one again.
    pub(super) fn put_back(&mut self, reply: FtpReply) {
        self.early = Some(reply);
    }

    /// Records a change of the server's directory.
    fn changed(&mut self, change: FtpCommand) {
        if matches!(&change, FtpCommand::Cwd(path) if path.starts_with(b"/")) {
            self.changes.clear();
        }
        if self.changes.len() <= MAX_CHANGES {
            self.changes.push(change);
        }
    }

    /// The changes of directory that bring a fresh connection to this one's directory.
    pub(super) fn changes(&self) -> Result<Vec<FtpCommand>, Fault> {
        match self.changes.len() > MAX_CHANGES {
            true => Err(Fault::new(Kind::Disconnected, "a fresh connection would be in another directory")),
            false => Ok(self.changes.clone()),
        }
    }

    /// Reads more bytes, or accepts a last line with another code as the end of the reply.
    async fn more(&mut self, deadline: &mut RateDeadline) -> Result<(), Fault> {
        if !self.reader.may_have_ended() {
            return self.fill(deadline).await;
        }
        if let Ok(filled) = tokio::time::timeout(OTHER_END.min(self.limits.idle / 2), self.fill(deadline)).await {
            return filled;
        }
        self.trace.note("server quirk: the last line of a reply may have another code than the first");
        ServerQuirks::set(&self.quirks.any_code_ends);
        self.reader.end_with_any_code();
        Ok(())
    }

    async fn fill(&mut self, deadline: &mut RateDeadline) -> Result<(), Fault> {
        let (stream, buffer) = (&mut self.stream, &mut self.buffer);
        let count = match deadline.io("control connection", stream.read(buffer)).await {
            Ok(count) => count,
            Err(fault) => return Err(self.fail(fault)),
        };
        if count == 0 {
            let fault = Fault::new(Kind::Disconnected, "the server closed the control connection");
            return Err(self.fail(fault));
        }
        self.reader.push(self.buffer.get(..count).unwrap_or_default());
        let since = *self.half_since.get_or_insert_with(Instant::now);
        let idle = self.limits.idle;
        let most = idle.saturating_mul(IDLES_OF_A_REPLY).min(MAX_REPLY_TIME.max(idle));
        if since.elapsed() > most {
            let fault = format!("control connection: a reply without end within {} s", most.as_secs());
            return Err(self.fail(Fault::new(Kind::TimedOut, fault)));
        }
        if let (false, Some(tcp)) = (self.expected.is_empty(), self.stream.tcp()) {
            // More replies are to come while we send nothing. A server without TCP_NODELAY (vsftpd) holds them back until the last
            // packet is acknowledged, which would take 40 ms. A failure only loses time.
            let _ = rustix::net::sockopt::set_tcp_quickack(tcp, true);
        }
        Ok(())
    }

    fn show(&self, reply: &FtpReply) {
        if self.trace.is_on() {
            for line in reply.to_bytes().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                self.trace.received(line.trim_ascii_end());
            }
        }
    }

    /// The TLS handshake after `AUTH TLS`. Data in clear text after the reply must not count as an answer inside TLS
    /// (CVE-2021-22947).
    pub(super) async fn start_tls(mut self, tls: &ClientTls, host: &str) -> Result<ControlConnection, Fault> {
        if self.reader.has_pending() || !self.expected.is_empty() {
            return Err(Fault::new(Kind::Protocol, "the server sent more before the TLS handshake"));
        }
        self.stream = self.limits.run("TLS handshake", tls.connect(self.stream, host)).await?;
        if let (true, Some(info)) = (self.trace.is_on(), self.stream.tls_info()) {
            self.trace.note(&info.to_string());
        }
        Ok(self)
    }

    /// Ends TLS on this connection (CCC: RFC 2228, section 3; RFC 4217, section 6): the server agrees inside TLS, and both sides
    /// close TLS before the next command is sent in clear text.
    pub(super) async fn end_tls(mut self) -> Result<ControlConnection, Fault> {
        let reply = self.call(&FtpCommand::Ccc).await?;
        if !reply.ok() {
            let fault = reply.fault("CCC", Kind::Refused);
            return Err(fault.with_hint("without --ccc the control connection stays inside TLS"));
        }
        let broken = |why: String| Fault::new(Kind::Protocol, format!("CCC: the server does not end TLS: {why}"));
        if self.reader.has_pending() || !self.expected.is_empty() {
            return Err(broken("it says more inside".to_owned()));
        }
        let limits = self.limits.with_idle(self.limits.idle.min(END_OF_TLS));
        self.stream = limits.io("end of TLS", self.stream.end_tls()).await.map_err(|fault| broken(fault.detail))?;
        self.trace.note("TLS ended: the control connection continues unencrypted");
        Ok(self)
    }

    /// Sends QUIT without waiting for the reply: every transfer has its reply already.
    pub(super) async fn quit(mut self) {
        let clean = self.idle();
        if clean && self.queue(&FtpCommand::Quit).is_ok() && self.flush().await.is_ok() {
            let limits = self.limits.with_idle(Duration::from_millis(200));
            drop(limits.io("control connection", self.stream.shutdown()).await);
        }
    }

    /// Marks the connection as unusable.
    pub(super) fn fail(&mut self, fault: Fault) -> Fault {
        self.broken.get_or_insert_with(|| fault.clone());
        fault
    }

    /// True when the connection is unusable.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// True when no reply is outstanding and the connection is in order: it can be used again.
    pub(super) fn idle(&self) -> bool {
        self.broken.is_none() && self.early.is_none() && self.expected.iter().all(|awaited| !awaited.asked)
    }

    fn check(&self) -> Result<(), Fault> {
        match &self.broken {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }
}

fn undouble(reply: &mut FtpReply) {
    for line in reply.lines.iter_mut().filter(|line| line.contains(&telnet::IAC)) {
        *line = telnet::plain(line);
    }
}
