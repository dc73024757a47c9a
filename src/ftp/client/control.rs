//! The control connection: commands go out in batches, replies are matched to them in order.

use std::collections::VecDeque;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fault::{Fault, Kind};
use crate::ftp::command::FtpCommand;
use crate::ftp::reply::{FtpReply, FtpReplyReader, ReplyClass};
use crate::net::deadline::{Limits, RateDeadline};
use crate::net::stream::Stream;
use crate::net::tls::ClientTls;
use crate::net::trace::ProtocolTrace;

/// The most preliminary replies (1yz) that one command may get.
const MAX_PRELIMINARY: usize = 64;
/// Bytes read at once.
const READ: usize = 8192;

/// What becomes of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Somebody asks for it with [`ControlConnection::reply`].
    Asked,
    /// Nobody: it is dropped, whatever it says.
    Dropped,
}

/// One control connection.
#[derive(Debug)]
pub(super) struct ControlConnection {
    stream: Stream,
    reader: FtpReplyReader,
    out: Vec<u8>,
    buffer: Vec<u8>,
    expected: VecDeque<Expected>,
    preliminary: usize,
    /// Transfers were sent ahead: nothing else may be sent until they are over.
    pub(super) held: bool,
    pub(super) limits: Limits,
    pub(super) trace: ProtocolTrace,
    /// Why the connection cannot be used any more.
    broken: Option<Fault>,
}

impl ControlConnection {
    pub(super) fn new(stream: Stream, limits: Limits, trace: ProtocolTrace) -> ControlConnection {
        ControlConnection {
            stream,
            reader: FtpReplyReader::new(),
            out: Vec::new(),
            buffer: vec![0; READ],
            // The greeting is a reply that no command asked for.
            expected: VecDeque::from([Expected::Asked]),
            preliminary: 0,
            held: false,
            limits,
            trace,
            broken: None,
        }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Adds a command to the batch; its reply is the next one that [`ControlConnection::reply`] has not yet given.
    pub(super) fn queue(&mut self, command: &FtpCommand) -> Result<(), Fault> {
        self.push(command, Expected::Asked)
    }

    /// Adds a command whose reply does not matter.
    pub(super) fn queue_unasked(&mut self, command: &FtpCommand) -> Result<(), Fault> {
        self.push(command, Expected::Dropped)
    }

    fn push(&mut self, command: &FtpCommand, expected: Expected) -> Result<(), Fault> {
        if self.held {
            // Its reply would come after those of the transfers. The caller has changed its mind about them.
            return Err(
                self.fail(Fault::new(Kind::Disconnected, "a transfer that was sent ahead is not wanted any more"))
            );
        }
        let line = command.encode()?;
        match command.is_secret() {
            true => self.trace.sent_secret(command.verb()),
            false => self.trace.sent(line.trim_ascii_end()),
        }
        self.out.extend_from_slice(&line);
        self.expected.push_back(expected);
        Ok(())
    }

    /// Bytes of the batch.
    pub(super) fn queued(&self) -> usize {
        self.out.len()
    }

    /// Sends the batch.
    pub(super) async fn flush(&mut self) -> Result<(), Fault> {
        self.check()?;
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let stream = &mut self.stream;
        let sent = self.limits.io("control connection", async {
            stream.write_all(&out).await?;
            stream.flush().await
        });
        match sent.await {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.lost_after_send(fault).await),
        }
    }

    /// A write fails when the server has hung up; its last words (421 …) explain why and may still be readable.
    async fn lost_after_send(&mut self, fault: Fault) -> Fault {
        let limits = self.limits.with_idle(std::time::Duration::from_millis(200));
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

    /// The next reply that was asked for, preliminary ones (1yz) included.
    pub(super) async fn reply(&mut self) -> Result<FtpReply, Fault> {
        self.check()?;
        let mut deadline = RateDeadline::new(self.limits);
        loop {
            let reply = match self.reader.next_reply() {
                Ok(Some(reply)) => reply,
                Ok(None) => {
                    self.fill(&mut deadline).await?;
                    continue;
                }
                Err(fault) => return Err(self.fail(fault)),
            };
            self.show(&reply);
            if reply.code == 421 {
                return Err(self.fail(reply.fault("server closes", Kind::Refused)));
            }
            let Some(expected) = self.expected.front().copied() else {
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
                self.expected.pop_front();
            }
            if expected == Expected::Asked {
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
        self.final_reply().await
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
        if let (false, Some(tcp)) = (self.expected.is_empty(), self.stream.tcp()) {
            // More is to come while we say nothing. A server without TCP_NODELAY (vsftpd) holds it back until what came is
            // acknowledged, and we would take 40 ms for that. A failure only loses time.
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

    /// The TLS handshake after `AUTH TLS`. What came in clear text after the reply must not pass for an answer inside TLS
    /// (CVE-2021-22947).
    pub(super) async fn start_tls(mut self, tls: &ClientTls, host: &str) -> Result<ControlConnection, Fault> {
        if self.reader.has_pending() || !self.expected.is_empty() {
            return Err(Fault::new(Kind::Protocol, "the server sent more before the TLS handshake"));
        }
        self.stream = self.limits.run("TLS handshake", tls.connect(self.stream, host)).await?;
        if let (true, Some(info)) = (self.trace.is_on(), self.stream.tls_info()) {
            self.trace.note(&format!("{} {}", info.version, info.cipher));
        }
        Ok(self)
    }

    /// Says goodbye without waiting: every transfer has its reply already.
    pub(super) async fn quit(mut self) {
        let clean = self.idle();
        if clean && self.queue(&FtpCommand::Quit).is_ok() && self.flush().await.is_ok() {
            let limits = self.limits.with_idle(std::time::Duration::from_millis(200));
            drop(limits.io("control connection", self.stream.shutdown()).await);
        }
    }

    /// Remembers that the connection is of no more use.
    pub(super) fn fail(&mut self, fault: Fault) -> Fault {
        self.broken.get_or_insert_with(|| fault.clone());
        fault
    }

    /// True when the connection is of no more use.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// True when nobody waits for a reply and the connection is in order: it can be used again.
    pub(super) fn idle(&self) -> bool {
        self.broken.is_none() && self.expected.iter().all(|expected| *expected == Expected::Dropped)
    }

    fn check(&self) -> Result<(), Fault> {
        match &self.broken {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }
}
