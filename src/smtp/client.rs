//! Drives [`transaction`](crate::smtp::transaction) over a connection: greeting, EHLO or LHLO, STARTTLS, AUTH, messages.

mod content;
mod login;
mod opening;

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use crate::fault::{Fault, Kind};
use crate::net::BoxFuture;
use crate::net::counters::CountedConnection;
use crate::net::deadline::Limits;
use crate::net::login::Login;
use crate::net::stream::Stream;
use crate::net::tls::{ClientTls, TlsMode};
use crate::net::tls_fault;
use crate::net::trace::ProtocolTrace;
use crate::smtp::auth::Mechanism;
use crate::smtp::command::SmtpCommand;
use crate::smtp::data::Content;
use crate::smtp::extension::Capabilities;
use crate::smtp::reply::{SmtpReply, SmtpReplyReader};
use crate::smtp::transaction::{
    Envelope, RecipientResult, Transaction, TransactionOptions, TransactionStep, all_failed,
};

use content::ContentSender;
pub use opening::OpeningFault;

/// The minimum wait for the reply to a complete message (RFC 5321, section 4.5.3.2.6): a client that gives up earlier sends twice.
pub const FINAL_WAIT: Duration = Duration::from_secs(600);

/// The time limit for the final reply of a server that broke off in the middle of a message.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The most recipients of a message for which the next message's commands are sent immediately after it. With more
/// recipients, the server may want the rest in another transaction.
const MAX_BEFORE_NEXT: usize = 10;

/// Called immediately before the end of a message is sent; `false` stops the transfer there.
pub type BeforeCommit = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// Options for opening a connection.
#[derive(Clone)]
pub struct SmtpClientOptions {
    /// The client's name in EHLO, HELO or LHLO.
    pub helo: String,
    /// The mode of TLS. With a login, [`TlsMode::Try`] is as strict as [`TlsMode::Starttls`]; [`TlsMode::None`] allows
    /// the password in clear text.
    pub tls: TlsMode,
    /// The client side of TLS.
    pub tls_client: ClientTls,
    /// The credentials for the login, if any.
    pub login: Option<Login>,
    /// The SASL mechanism; `None` chooses the best.
    pub mechanism: Option<Mechanism>,
    /// Speak LMTP (RFC 2033).
    pub lmtp: bool,
    /// Send nothing after the greeting: the server is only inspected.
    pub greeting_only: bool,
    /// Time limits for the server.
    pub limits: Limits,
    /// The trace of the dialogue.
    pub trace: ProtocolTrace,
}

impl SmtpClientOptions {
    /// Options for plain SMTP without TLS and login.
    pub fn new(helo: impl Into<String>, tls_client: ClientTls) -> SmtpClientOptions {
        SmtpClientOptions {
            helo: helo.into(),
            tls: TlsMode::None,
            tls_client,
            login: None,
            mechanism: None,
            lmtp: false,
            greeting_only: false,
            limits: Limits::default(),
            trace: ProtocolTrace::default(),
        }
    }
}

/// Options for sending one message.
#[derive(Clone, Default)]
pub struct SendOptions<'a> {
    /// Send to the accepted recipients even if others are refused.
    pub partial: bool,
    /// Use DATA even if BDAT is offered.
    pub no_chunking: bool,
    /// Called when all recipients are accepted, before any of the message is sent: `false` stops the transfer there.
    /// Costs a round trip where DATA would go out with RCPT.
    pub before_data: Option<BeforeCommit>,
    /// Called immediately before the final dot or the last BDAT.
    pub before_commit: Option<BeforeCommit>,
    /// Called with the number of message bytes as they are sent.
    pub progress: Option<Arc<dyn Fn(u64) + Send + Sync>>,
    /// The message of the next [`SmtpClient::send`], with the same options. Its commands are sent right after the end
    /// of this message, which saves a round trip if the server has PIPELINING.
    pub next: Option<(&'a Envelope, &'a dyn Content)>,
}

/// The duration of each phase.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// The wait for the greeting.
    pub greeting: Duration,
    /// EHLO.
    pub hello: Duration,
    /// STARTTLS or the TLS handshake.
    pub tls: Duration,
    /// AUTH.
    pub login: Duration,
    /// The last message: MAIL, RCPT and DATA.
    pub envelope: Duration,
    /// The last message: its bytes.
    pub content: Duration,
    /// The last message: the wait for the reply.
    pub answer: Duration,
}

/// An open connection to a server.
pub struct SmtpClient {
    stream: Stream,
    reader: SmtpReplyReader,
    input: Vec<u8>,
    /// Bytes to be sent, commands and message together.
    out: Vec<u8>,
    host: String,
    lmtp: bool,
    limits: Limits,
    trace: ProtocolTrace,
    offer: Capabilities,
    greeting: SmtpReply,
    /// The refusal of STARTTLS by a server that offered it.
    tls_refusal: Option<SmtpReply>,
    /// The number of recipients that the server took before it wanted the others in another transaction.
    most_recipients: Option<usize>,
    times: Times,
    /// The transaction whose commands were sent after the last message.
    ahead: Option<Transaction>,
    open: bool,
    /// The number of messages with a known outcome.
    served: u64,
    /// The server ended the connection between two messages.
    stale: bool,
    _counted: CountedConnection,
}

impl SmtpClient {
    /// The extensions that the server offers now.
    pub fn capabilities(&self) -> &Capabilities {
        &self.offer
    }

    /// The server's greeting.
    pub fn greeting(&self) -> &SmtpReply {
        &self.greeting
    }

    /// The refusal of STARTTLS by a server that offered it, if there was one; the dialogue continues in clear text.
    pub fn tls_refusal(&self) -> Option<&SmtpReply> {
        self.tls_refusal.as_ref()
    }

    /// The underlying connection, for its addresses and the TLS parameters.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The duration of each phase.
    pub fn times(&self) -> Times {
        self.times
    }

    /// True if another message can be sent.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// True if the last message failed only because the server had ended the connection after an earlier one (idle for too long,
    /// enough messages for one session). The server took nothing of it, and it can be sent again over a new connection.
    pub fn was_stale(&self) -> bool {
        self.stale
    }

    /// Sends one message and returns the outcome for each recipient, in the envelope's order. It never fails as a
    /// whole: a broken connection shows in the results. Recipients beyond the server's limit follow in further
    /// transactions (RFC 5321, section 4.5.3.1.10).
    pub async fn send(
        &mut self,
        envelope: &Envelope,
        content: &dyn Content,
        options: &SendOptions<'_>,
    ) -> Vec<RecipientResult> {
        let before_next = self.most_recipients.map_or(MAX_BEFORE_NEXT, |most| most.min(MAX_BEFORE_NEXT));
        let next = options.next.filter(|_| envelope.recipients.len() <= before_next);
        let mut options = SendOptions { next, ..options.clone() };
        let (mut results, mut surplus) = self.transact(envelope, content, &options).await;
        options.progress = None;
        options.next = None;
        while !surplus.is_empty() && self.open && self.ahead.is_none() {
            let recipients = surplus.iter().filter_map(|index| envelope.recipients.get(*index).cloned()).collect();
            let rest = Envelope { recipients, ..envelope.clone() };
            let (settled, left) = self.transact(&rest, content, &options).await;
            for (index, result) in surplus.iter().zip(settled) {
                if let Some(known) = results.get_mut(*index) {
                    *known = result;
                }
            }
            surplus = left.into_iter().filter_map(|index| surplus.get(index).copied()).collect();
        }
        results
    }

    /// Runs one transaction. Returns the results and the recipients (fewer than before) that the server wants in another transaction.
    async fn transact(
        &mut self,
        envelope: &Envelope,
        content: &dyn Content,
        options: &SendOptions<'_>,
    ) -> (Vec<RecipientResult>, Vec<usize>) {
        self.stale = !self.open;
        if !self.open {
            let fault = Fault::new(Kind::Disconnected, "the connection is closed");
            return (all_failed(envelope, &fault), Vec::new());
        }
        let rules = TransactionOptions {
            partial: options.partial,
            lmtp: self.lmtp,
            no_chunking: options.no_chunking,
            hold: options.before_data.is_some(),
            most_recipients: self.most_recipients,
        };
        let mut transaction = match self.ahead.take() {
            Some(ahead) if ahead.envelope() == envelope => ahead,
            Some(_) => {
                self.open = false;
                let fault = Fault::new(Kind::Cancelled, "the connection was prepared for another message");
                return (all_failed(envelope, &fault), Vec::new());
            }
            None => {
                let size = content.size_bytes();
                match Transaction::new(envelope.clone(), &self.offer, size, content.has_8bit(), rules) {
                    Ok(transaction) => transaction,
                    Err(fault) => return (all_failed(envelope, &fault), Vec::new()),
                }
            }
        };
        let mut sender = ContentSender::new(content);
        match self.drive(&mut transaction, &mut sender, options, rules).await {
            Ok(()) if transaction.is_committed() && !transaction.closing() => self.confirm(&mut transaction).await,
            Ok(()) => {}
            Err(fault) => transaction.lost(&fault),
        }
        self.stale = transaction.stale() && self.served > 0;
        self.served += 1;
        if transaction.closing() {
            self.open = false;
        }
        if !self.open {
            self.ahead = None;
        }
        self.most_recipients = transaction.most_recipients().or(self.most_recipients);
        let (committed, surplus) = (transaction.is_committed(), transaction.surplus());
        let results = transaction.into_results();
        // A message that was refused as such would be refused again.
        let worth_while = !committed || results.iter().any(|result| result.outcome.is_delivered());
        (results, if worth_while { surplus } else { Vec::new() })
    }

    /// Sends QUIT and closes the connection.
    pub async fn quit(mut self) {
        if self.open && self.ahead.is_none() {
            // The goodbye is a courtesy: nothing depends on its answer.
            let _ = tokio::time::timeout(LAST_WORDS, self.exchange(&SmtpCommand::Quit)).await;
        }
        let _ = tokio::time::timeout(LAST_WORDS, self.stream.shutdown()).await;
    }

    /// Sends a command and waits for its reply; for probes and scripts.
    ///
    /// # Errors
    /// `Protocol` if the server sent something unasked before, or if its reply is malformed; `BadData` for an argument
    /// that cannot be sent; otherwise the kind of fault that ended the connection.
    pub async fn exchange(&mut self, command: &SmtpCommand) -> Result<SmtpReply, Fault> {
        self.in_step()?;
        let from = self.out.len();
        command.wire(&mut self.out)?;
        self.trace_lines(from);
        self.flush("command").await?;
        self.read_reply(self.limits, "reply").await
    }

    /// Runs the dialogue from the first command of a message to its outcome.
    async fn drive(
        &mut self,
        transaction: &mut Transaction,
        sender: &mut ContentSender<'_>,
        options: &SendOptions<'_>,
        rules: TransactionOptions,
    ) -> Result<(), Fault> {
        let mut began = Instant::now();
        (self.times.envelope, self.times.content, self.times.answer) = Default::default();
        loop {
            let (from, idle) = (self.out.len(), !transaction.awaits_reply());
            let next = transaction.next(&mut self.out);
            self.trace_lines(from);
            match next? {
                TransactionStep::Done => break,
                TransactionStep::Reply => {
                    if idle && !self.out.is_empty() {
                        self.in_step()?;
                    }
                    self.flush("command").await?;
                    let committed = transaction.is_committed();
                    let limits =
                        if committed { self.limits.with_idle(self.limits.idle.max(FINAL_WAIT)) } else { self.limits };
                    let what = if committed { "answer to the message" } else { "reply" };
                    let reply = self.read_reply(limits, what).await?;
                    transaction.reply(&reply);
                }
                TransactionStep::Ask => {
                    let go = match &options.before_data {
                        Some(asked) => asked().await,
                        None => true,
                    };
                    transaction.released(go);
                }
                TransactionStep::Content(framing) => {
                    self.times.envelope += began.elapsed();
                    began = Instant::now();
                    self.send_content(transaction, framing, sender, options, rules).await?;
                    self.times.content += began.elapsed();
                    began = Instant::now();
                }
            }
        }
        let phase = if transaction.is_committed() { &mut self.times.answer } else { &mut self.times.envelope };
        *phase += began.elapsed();
        Ok(())
    }

    /// Checks, before a command is sent, that no reply is unread: it would be taken for that command's reply.
    fn in_step(&mut self) -> Result<(), Fault> {
        let arrived = self.arrived();
        match self.next_reply()? {
            None if !self.reader.has_pending() => arrived,
            Some(reply) if reply.code == 421 => Err(reply.fault("server")),
            _ => Err(Fault::new(Kind::Protocol, "an unexpected reply")),
        }
    }

    /// Checks whether the reply to the message really belongs to it. A surplus or missing reply shows in the replies
    /// that follow: in those to the next message's group, whose 354 is unmistakable, or in unsolicited bytes. If every
    /// reply that could belong to the message accepts it, it counts all the same.
    async fn confirm(&mut self, transaction: &mut Transaction) {
        let Some(mut ahead) = self.ahead.take() else { return self.confirm_idle(transaction) };
        while ahead.awaits_reply() {
            match self.read_reply(self.limits, "reply").await {
                Ok(reply) => ahead.reply(&reply),
                Err(fault) => {
                    // A silent or closed connection says nothing about the reply, if every reply so far accepts.
                    if fault.kind == Kind::Protocol || !ahead.agreed() {
                        transaction.doubt(&fault);
                    }
                    ahead.lost(&fault);
                }
            }
        }
        if ahead.out_of_step() && !ahead.agreed() {
            transaction.doubt(&out_of_step());
        }
        self.open = !ahead.closing();
        self.ahead = Some(ahead);
    }

    /// Checks the same if no command followed the message: only a 421 or an accepting reply may have arrived after its reply.
    fn confirm_idle(&mut self, transaction: &mut Transaction) {
        // A closed connection says nothing about the reply; the next message detects it again.
        let _ = self.arrived();
        loop {
            match self.next_reply() {
                Ok(None) => break,
                Ok(Some(reply)) if reply.accepts() || reply.code == 421 => {}
                Ok(Some(_)) => transaction.doubt(&out_of_step()),
                Err(fault) => {
                    transaction.doubt(&fault);
                    break;
                }
            }
            self.open = false;
        }
    }

    /// Reads the available bytes, without waiting.
    fn arrived(&mut self) -> Result<(), Fault> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut bytes = [0; 4096];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                self.reader.push(buffer.filled());
                Ok(())
            }
            Poll::Ready(_) => Err(Fault::new(Kind::Disconnected, "the server closed the connection")),
        }
    }

    /// Reads one reply. The limit is for the whole of it: a server that drips bytes gains nothing.
    async fn read_reply(&mut self, limits: Limits, what: &str) -> Result<SmtpReply, Fault> {
        if let Some(reply) = self.next_reply()? {
            return Ok(reply);
        }
        limits.run(what, self.wait_for_reply(what)).await
    }

    async fn wait_for_reply(&mut self, what: &str) -> Result<SmtpReply, Fault> {
        loop {
            self.input.clear();
            let read = self.stream.read_buf(&mut self.input).await;
            if read.map_err(|error| tls_fault::fault_of(what, &error))? == 0 {
                return Err(Fault::new(Kind::Disconnected, format!("{what}: the server closed the connection")));
            }
            self.reader.push(&self.input);
            if let Some(reply) = self.next_reply()? {
                return Ok(reply);
            }
        }
    }

    fn next_reply(&mut self) -> Result<Option<SmtpReply>, Fault> {
        let reply = self.reader.next_reply()?;
        if let (Some(reply), true) = (&reply, self.trace.is_on()) {
            let mut wire = Vec::new();
            reply.wire(&mut wire);
            wire.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(|line| {
                self.trace.received(line.trim_ascii_end());
            });
        }
        Ok(reply)
    }

    /// Sends all pending output.
    async fn flush(&mut self, what: &str) -> Result<(), Fault> {
        if self.out.is_empty() {
            return Ok(());
        }
        let (stream, out) = (&mut self.stream, &self.out);
        let sent = self.limits.io(what, async {
            stream.write_all(out).await?;
            stream.flush().await
        });
        let sent = sent.await;
        self.out.clear();
        sent
    }

    fn trace_lines(&self, from: usize) {
        if self.trace.is_on() {
            let lines = self.out.get(from..).unwrap_or_default();
            lines.split_inclusive(|byte| *byte == b'\n').for_each(|line| self.trace.sent(line.trim_ascii_end()));
        }
    }
}

fn out_of_step() -> Fault {
    Fault::new(Kind::Protocol, "the replies do not fit the commands: the server is out of step")
}

#[cfg(test)]
mod in_step;

#[cfg(test)]
mod recipient_limit;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod transcripts;
