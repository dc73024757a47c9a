//! Drives [`session`](crate::smtp::session) over a connection: reads, writes, TLS, deadlines. An [`SmtpService`]
//! decides which messages are accepted and where they are stored.

mod mishap;

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::blob::file::BlobWriter;
use crate::fault::{Fault, Kind};
use crate::net::BoxFuture;
use crate::net::admission::{ClientPlace, Standing};
use crate::net::counters::Counter;
use crate::net::deadline::{Limits, RateDeadline};
use crate::net::listen::Shutdown;
use crate::net::login::LoginVerdict;
use crate::net::session_id::SessionId;
use crate::net::stream::Stream;
use crate::net::tls::ServerTls;
use crate::net::trace::ProtocolTrace;
use crate::smtp::address::ReversePath;
use crate::smtp::auth::scram::ScramVerifier;
use crate::smtp::auth::server::LoginProof;
use crate::smtp::command::MailFrom;
use crate::smtp::reply::SmtpReply;
use crate::smtp::role::ServerRole;
use crate::smtp::session::{Config, DialoguePhase, SmtpEvent, SmtpSession};
use crate::smtp::transaction::{Envelope, Recipient};

pub use mishap::{Mishap, MishapEnd};

/// The size of one read, in bytes.
const READ_SIZE: usize = 64 * 1024;

/// The time that the server keeps reading after its last reply, so that the client receives it before the connection is reset.
const LINGER: Duration = Duration::from_secs(2);

/// The time a client may talk (NOOP, RSET) without any accepted mail, as a multiple of the idle time.
const MAX_TALK_IDLES: u32 = 3;

/// The rate, in bytes per second, below which a message loses its right to its place after [`MAX_TALK_IDLES`]. RFC 5321
/// limits each wait (section 4.5.3.2) but no message as a whole, so a slow client is dropped only if others need the place.
const UNHURRIED_RATE: u64 = 4096;

const SHUTTING_DOWN: &str = "the server is shutting down";

/// The maximum number of bytes read during [`LINGER`].
const MAX_LINGER: usize = 16 * 1024 * 1024;

/// The peer, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct SmtpPeer {
    /// The client's address; `None` on a UNIX socket.
    pub address: Option<SocketAddr>,
    /// The name from EHLO, HELO or LHLO.
    pub helo: String,
    /// True after EHLO or LHLO.
    pub extended: bool,
    /// Protocol version and cipher, if TLS is on.
    pub tls: Option<String>,
    /// The user name of the login.
    pub user: Option<String>,
    /// The role of the listener.
    pub role: ServerRole,
    /// The server's identifier for the session.
    pub session: Option<SessionId>,
}

/// The totals of a session at its end.
#[derive(Debug, Clone, Default)]
pub struct SmtpTotals {
    /// The reason: `quit`, `left` (by the client), `timed_out`, `no_mail`, `displaced`, `shutdown`, `closed` (by us); empty after a fault.
    pub why: &'static str,
    /// The number of accepted messages.
    pub messages: u64,
    /// The number of bytes received, commands and messages.
    pub received: u64,
    /// The number of reply bytes sent.
    pub sent: u64,
    /// The client, as far as it was known.
    pub peer: SmtpPeer,
}

/// The answer to a whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageVerdict {
    /// The same reply for every recipient.
    All(SmtpReply),
    /// One reply for each recipient, in the envelope's order. SMTP sends only one: the first that is not positive, else
    /// the first; LMTP sends all (RFC 2033, section 4.2).
    Each(Vec<SmtpReply>),
}

/// Policy and storage of a server: every decision outside the protocol itself. A positive reply accepts; any other
/// refuses, with exactly its text; 421 also ends the connection.
pub trait SmtpService: Send + Sync {
    /// The service's state for one message during its transaction: the decision at RCPT also counts at the end.
    type Transaction: Default + Send;

    /// Decides whether this peer may send from this address; `bytes` is the declared size (0: not declared). Called at MAIL.
    fn sender<'a>(&'a self, peer: &'a SmtpPeer, sender: &'a ReversePath, bytes: u64) -> BoxFuture<'a, SmtpReply>;

    /// Receives the parameters of an accepted MAIL.
    fn mail_begins(&self, _mail: &MailFrom, _transaction: &mut Self::Transaction) {}

    /// The time that a client must wait silently for the greeting; one that speaks earlier is refused.
    fn greet_pause(&self) -> Duration {
        Duration::ZERO
    }

    /// True for a service that fails on purpose: then [`SmtpService::mishap`] is asked.
    fn has_mishaps(&self) -> bool {
        false
    }

    /// The failure on purpose at this point of the dialogue. `subject` is the client's address at
    /// [`DialoguePhase::Connect`], its name, the user, the sender or the recipient at their phases, and else empty.
    fn mishap(&self, _: &SmtpPeer, _: Option<&Envelope>, _: DialoguePhase, _subject: &str) -> Option<Mishap> {
        None
    }

    /// Decides on a recipient. Called at RCPT. A recipient is in the envelope if and only if the reply is positive.
    fn recipient<'a>(
        &'a self,
        peer: &'a SmtpPeer,
        sender: &'a ReversePath,
        recipient: &'a Recipient,
        transaction: &'a mut Self::Transaction,
    ) -> BoxFuture<'a, SmtpReply>;

    /// Checks a password, or the proof that the client knows it. A wrong one is answered slowly, to slow down guessing.
    fn login<'a>(&'a self, peer: &'a SmtpPeer, user: &'a str, proof: &'a LoginProof)
    -> BoxFuture<'a, LoginVerdict<()>>;

    /// True if SCRAM-SHA-256 is offered.
    fn has_scram(&self) -> bool {
        false
    }

    /// The verifier of a user for SCRAM-SHA-256, or a decoy for an unknown one; `None` if the mechanism is not offered.
    fn verifier(&self, _user: &str) -> Option<ScramVerifier> {
        None
    }

    /// Opens the writer for the arriving message; it already contains what the service prepends. Called when the data
    /// begins. If the message breaks off, dropping the writer discards it.
    ///
    /// # Errors
    /// The system's error: the client is told to try again later.
    fn begin(
        &self,
        peer: &SmtpPeer,
        envelope: &Envelope,
        transaction: &mut Self::Transaction,
    ) -> std::io::Result<BlobWriter>;

    /// Takes responsibility for a complete message: replies positively only after it is safe on disk.
    fn accept<'a>(
        &'a self,
        peer: &'a SmtpPeer,
        envelope: Envelope,
        transaction: Self::Transaction,
        message: BlobWriter,
    ) -> BoxFuture<'a, MessageVerdict>;
}

/// The TLS mode of a server, with its certificate.
#[derive(Clone)]
pub enum SmtpServerTls {
    /// Never.
    Off,
    /// By STARTTLS.
    Starttls(ServerTls),
    /// Before the first byte.
    Implicit(ServerTls),
}

/// Options for serving connections.
#[derive(Clone)]
pub struct SmtpServerOptions {
    /// Name and limits of the protocol; `starttls` follows from `tls`, and `scram` from the service.
    pub config: Config,
    /// The role of the listener.
    pub role: ServerRole,
    /// The TLS mode.
    pub tls: SmtpServerTls,
    /// Time limits for the client (RFC 5321, section 4.5.3.2.7: five minutes). A command must be complete within the
    /// idle limit, and a message must not be slower than the minimum rate.
    pub limits: Limits,
    /// The trace of the dialogue.
    pub trace: ProtocolTrace,
}

/// Serves one connection to its end. `Ok` if the client said QUIT or received the reason for the end.
///
/// # Errors
/// [`Kind::Disconnected`], [`Kind::TimedOut`] and errors from TLS or the disk: the connection ended in the middle.
pub async fn serve<S: SmtpService>(
    stream: Stream,
    address: Option<SocketAddr>,
    options: &SmtpServerOptions,
    service: &S,
    place: &ClientPlace,
    shutdown: &Shutdown,
    totals: &mut SmtpTotals,
) -> Result<(), Fault> {
    mishap::at_connect(service, &totals.peer, shutdown).await?;
    let mut config = options.config.clone();
    config.starttls = matches!(options.tls, SmtpServerTls::Starttls(_));
    config.scram = service.has_scram();
    let stream = match &options.tls {
        SmtpServerTls::Implicit(tls) => tls.accept(stream).await?,
        _ => stream,
    };
    let id = totals.peer.session;
    let trace = address.map_or(options.trace.clone(), |address| options.trace.of(address));
    let tls = tls_words(&stream);
    totals.peer = SmtpPeer { address, role: options.role, tls, session: id, ..SmtpPeer::default() };
    let mut session = SmtpSession::new(config, totals.peer.tls.is_some());
    session.bind_to(stream.channel_binding());
    let input = Vec::with_capacity(READ_SIZE);
    let (transaction, deadline) = (S::Transaction::default(), RateDeadline::new(options.limits));
    let (message, progress) = (None, (0, Instant::now()));
    SmtpConnection {
        stream,
        options,
        service,
        place,
        shutdown,
        trace,
        session,
        totals,
        input,
        used: 0,
        transaction,
        message,
        deadline,
        lost: false,
        progress,
        mail_since: None,
        body_began: false,
    }
    .run()
    .await
}

struct SmtpConnection<'a, S: SmtpService> {
    stream: Stream,
    options: &'a SmtpServerOptions,
    service: &'a S,
    place: &'a ClientPlace,
    shutdown: &'a Shutdown,
    trace: ProtocolTrace,
    session: SmtpSession,
    /// The totals, with the known facts about the client.
    totals: &'a mut SmtpTotals,
    /// The bytes read; the session has consumed the first `used` of them.
    input: Vec<u8>,
    used: usize,
    transaction: S::Transaction,
    /// The received part of the message.
    message: Option<BlobWriter>,
    /// The deadline for the command or message that is arriving.
    deadline: RateDeadline,
    /// The place was given to another client.
    lost: bool,
    /// The number of accepted messages and logins, and the time of the last progress.
    progress: (u64, Instant),
    /// The time when the current message got its first recipient, and the number of bytes received by then.
    mail_since: Option<(Instant, u64)>,
    /// The first bytes of the message have arrived.
    body_began: bool,
}

impl<S: SmtpService> SmtpConnection<'_, S> {
    async fn run(mut self) -> Result<(), Fault> {
        self.greet().await?;
        if !self.pause_before_greeting().await? {
            self.totals.why = "left";
            return Ok(());
        }
        loop {
            let rest = self.input.get(self.used..).unwrap_or_default();
            let (step, event) = self.session.next(rest);
            let from = self.used;
            self.used += step;
            match event {
                SmtpEvent::Input => {
                    if !self.session.is_receiving() {
                        // Refused, or given up by RSET: nothing of it stays.
                        self.message = None;
                    }
                    self.flush().await?;
                    if !self.read().await? {
                        self.totals.why = "left";
                        return Ok(());
                    }
                }
                SmtpEvent::Step(phase, name) => {
                    let refusal = self.stumble(phase, None, &name).await?;
                    self.session.step_verdict(refusal);
                }
                SmtpEvent::Sender(question) => {
                    self.refresh_peer();
                    self.transaction = S::Transaction::default();
                    let (sender, bytes) = (question.sender(), question.declared_bytes());
                    let reply = match self.stumble(DialoguePhase::Mail, None, sender.as_str()).await? {
                        Some(refusal) => refusal,
                        None => self.service.sender(&self.totals.peer, sender, bytes).await,
                    };
                    if reply.accepts() {
                        self.service.mail_begins(question.mail(), &mut self.transaction);
                    }
                    self.session.sender_verdict(question, &reply);
                }
                SmtpEvent::Recipient(question) => {
                    let address = question.recipient().address.as_str();
                    if let Some(refusal) = self.stumble(DialoguePhase::Rcpt, None, address).await? {
                        self.session.recipient_verdict(question, &refusal);
                        continue;
                    }
                    let sender = self.session.envelope().map_or(&ReversePath::Null, |envelope| &envelope.sender);
                    let (candidate, transaction) = (question.recipient(), &mut self.transaction);
                    let reply = self.service.recipient(&self.totals.peer, sender, candidate, transaction).await;
                    self.session.recipient_verdict(question, &reply);
                }
                SmtpEvent::Verifier(question) => {
                    let verifier = self.service.verifier(question.user());
                    let nonce = fresh_nonce()?;
                    self.session.verifier_found(question, verifier, &nonce);
                }
                SmtpEvent::Login(question) => {
                    if let Some(refusal) = self.stumble(DialoguePhase::Auth, None, question.user()).await? {
                        self.session.login_refused(question, &refusal);
                        continue;
                    }
                    self.refresh_peer();
                    let verdict = self.service.login(&self.totals.peer, question.user(), question.proof()).await;
                    let accepted = matches!(verdict, LoginVerdict::Right(()));
                    if accepted { Counter::LoginsDone } else { Counter::LoginsFailed }.add(1);
                    self.session.login_verdict(question, verdict);
                    self.refresh_peer();
                }
                SmtpEvent::Begin => {
                    self.body_began = false;
                    let envelope = self.session.envelope().cloned().unwrap_or_default();
                    match self.service.begin(&self.totals.peer, &envelope, &mut self.transaction) {
                        Ok(writer) => self.message = Some(writer),
                        Err(error) => return self.give_up(&error).await,
                    }
                }
                SmtpEvent::Content(range) => {
                    self.begin_body(None).await?;
                    let data = self.input.get(from + range.start..from + range.end).unwrap_or_default();
                    if let Err(error) = store(&mut self.message, data) {
                        return self.give_up(&error).await;
                    }
                }
                SmtpEvent::LineEnd => {
                    self.begin_body(None).await?;
                    if let Err(error) = store(&mut self.message, b"\r\n") {
                        return self.give_up(&error).await;
                    }
                }
                SmtpEvent::Message(envelope, question) => {
                    self.begin_body(Some(&envelope)).await?;
                    let replies = match self.stumble(DialoguePhase::Dot, Some(&envelope), "").await? {
                        Some(refusal) => vec![refusal],
                        None => self.deliver(envelope).await,
                    };
                    let taken = replies.iter().any(SmtpReply::accepts);
                    self.totals.messages += u64::from(taken);
                    if taken { Counter::Messages } else { Counter::MessagesFailed }.add(1);
                    self.session.message_verdict(question, &replies);
                }
                SmtpEvent::StartTls => {
                    self.flush().await?;
                    // What the client sent in clear text behind STARTTLS is void (CVE-2011-0411).
                    self.input.clear();
                    self.used = 0;
                    self = self.start_tls().await?;
                }
                SmtpEvent::Close => {
                    if self.totals.why.is_empty() {
                        self.totals.why = if said_goodbye(self.session.output()) { "quit" } else { "closed" };
                    }
                    self.flush().await?;
                    // If the place was lost, another client waits for it: do not linger.
                    return if self.lost { Ok(()) } else { self.linger().await };
                }
            }
        }
    }

    async fn deliver(&mut self, envelope: Envelope) -> Vec<SmtpReply> {
        let transaction = std::mem::take(&mut self.transaction);
        match self.message.take() {
            Some(message) => match self.service.accept(&self.totals.peer, envelope, transaction, message).await {
                MessageVerdict::All(reply) => vec![reply],
                MessageVerdict::Each(replies) => replies,
            },
            None => vec![SmtpReply::status(451, 3, 0, "the message did not begin")],
        }
    }

    async fn start_tls(mut self) -> Result<Self, Fault> {
        let SmtpServerTls::Starttls(tls) = &self.options.tls else {
            return Err(Fault::new(Kind::Internal, "STARTTLS without a certificate"));
        };
        self.stream = tls.accept(self.stream).await?;
        self.totals.peer = SmtpPeer {
            address: self.totals.peer.address,
            role: self.totals.peer.role,
            tls: tls_words(&self.stream),
            session: self.totals.peer.session,
            ..SmtpPeer::default()
        };
        self.session.tls_started();
        self.session.bind_to(self.stream.channel_binding());
        Ok(self)
    }

    fn refresh_peer(&mut self) {
        if self.totals.peer.helo != self.session.helo() {
            self.totals.peer.helo = self.session.helo().to_owned();
        }
        self.totals.peer.extended = self.session.extended();
        self.totals.peer.user = self.session.user().map(str::to_owned);
    }

    /// Waits before the greeting. A client that speaks meanwhile does not wait for replies either, as programs that send spam; it
    /// gets 554 instead (RFC 5321, section 3.1). False if it left.
    async fn pause_before_greeting(&mut self) -> Result<bool, Fault> {
        let pause = self.service.greet_pause();
        if pause.is_zero() {
            return Ok(true);
        }
        let (stream, input) = (&mut self.stream, &mut self.input);
        tokio::select! {
            read = stream.read_buf(input) => match read {
                Ok(1..) => {
                    self.session.output().clear();
                    self.session.close(&SmtpReply::status(554, 5, 1, "you spoke before the greeting"));
                    Ok(true)
                }
                _ => Ok(false),
            },
            () = tokio::time::sleep(pause) => Ok(true),
            () = self.shutdown.draining() => Ok(true),
        }
    }

    /// Sends the pending replies, in one write.
    async fn flush(&mut self) -> Result<(), Fault> {
        if self.session.output().is_empty() {
            return Ok(());
        }
        // A pending reply means that a command or message is complete, and its client still has the place.
        let standing = self.standing();
        self.place.stands(standing, true);
        let output = self.session.output();
        if self.trace.is_on() {
            output.split_inclusive(|byte| *byte == b'\n').for_each(|line| self.trace.sent(line.trim_ascii_end()));
        }
        let stream = &mut self.stream;
        let written = self.options.limits.io("reply", async {
            stream.write_all(output).await?;
            stream.flush().await
        });
        written.await?;
        let count = output.len() as u64;
        self.totals.sent += count;
        Counter::BytesSent.add(count);
        output.clear();
        self.deadline.renew();
        Ok(())
    }

    /// A client is busy if it has logged in, or sends a message with an accepted recipient fast enough.
    fn standing(&mut self) -> Standing {
        let has_recipients = self.session.envelope().is_some_and(|envelope| !envelope.recipients.is_empty());
        if !has_recipients {
            self.mail_since = None;
        }
        let (now, received) = (Instant::now(), self.totals.received);
        let hurries = has_recipients && {
            let (since, before) = *self.mail_since.get_or_insert((now, received));
            let earned = Duration::from_secs((received - before) / UNHURRIED_RATE);
            now.duration_since(since) < self.options.limits.idle.saturating_mul(MAX_TALK_IDLES).saturating_add(earned)
        };
        if self.session.user().is_some() || hurries { Standing::Busy } else { Standing::Idle }
    }

    /// Reads more; false if the connection is at its end.
    async fn read(&mut self) -> Result<bool, Fault> {
        if self.used == self.input.len() {
            self.input.clear();
        } else if self.used > 0 {
            self.input.drain(..self.used);
        }
        self.used = 0;
        let idle = self.session.is_idle();
        let receiving = self.session.is_receiving();
        if receiving || self.session.progress() != self.progress.0 {
            self.progress = (self.session.progress(), Instant::now());
        }
        let over = self.progress.1.checked_add(self.options.limits.idle.saturating_mul(MAX_TALK_IDLES));
        let standing = self.standing();
        self.place.stands(standing, false);
        let (stream, input, deadline) = (&mut self.stream, &mut self.input, &mut self.deadline);
        let goodbye = |why, code, text: &str| Err((why, SmtpReply::status(421, code, 2, text)));
        let read = tokio::select! {
            biased;
            read = deadline.io("command", stream.read_buf(input)) => Ok(read),
            () = self.shutdown.draining(), if idle => goodbye("shutdown", 3, SHUTTING_DOWN),
            () = self.shutdown.ended() => goodbye("shutdown", 3, SHUTTING_DOWN),
            () = self.place.lost() => {
                self.lost = true;
                goodbye("displaced", 3, "others need this place")
            }
            () = sleep_until(over), if !receiving => goodbye("no_mail", 4, "no mail for too long: goodbye"),
        };
        let (why, goodbye) = match read {
            Ok(Ok(0)) => return Ok(false),
            Ok(Ok(count)) => {
                self.totals.received += count as u64;
                Counter::BytesReceived.add(count as u64);
                return Ok(true);
            }
            Ok(Err(fault)) if fault.kind == Kind::TimedOut => {
                ("timed_out", SmtpReply::status(421, 4, 2, "timeout: goodbye"))
            }
            Ok(Err(fault)) => return Err(fault),
            Err(goodbye) => goodbye,
        };
        self.totals.why = why;
        self.session.close(&goodbye);
        Ok(true)
    }

    /// The message cannot be stored: the client is told to try again later.
    async fn give_up(mut self, error: &std::io::Error) -> Result<(), Fault> {
        let mut reply = no_room(error);
        reply.code = 421;
        self.session.close(&reply);
        self.flush().await?;
        self.linger().await?;
        Err(Fault::local("message", error))
    }

    /// Closes so that the last reply arrives: with unread bytes in its buffer, the system would send a reset.
    async fn linger(mut self) -> Result<(), Fault> {
        let stream = &mut self.stream;
        let input = &mut self.input;
        let drain = async {
            stream.shutdown().await?;
            let mut left = MAX_LINGER;
            while left > 0 {
                input.clear();
                match stream.read_buf(input).await? {
                    0 => break,
                    count => left = left.saturating_sub(count),
                }
            }
            std::io::Result::Ok(())
        };
        // The client need not wait for the end, so errors do not matter.
        let _ = tokio::time::timeout(LINGER, drain).await;
        Ok(())
    }
}

/// Random text of printable ASCII without commas.
fn fresh_nonce() -> Result<String, Fault> {
    let mut nonce = [0; 18];
    getrandom::fill(&mut nonce).map_err(|error| Fault::new(Kind::Io, format!("no randomness: {error}")))?;
    Ok(BASE64.encode(nonce))
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Writes the next bytes of a message to its writer.
fn store(message: &mut Option<BlobWriter>, data: &[u8]) -> std::io::Result<()> {
    match message {
        Some(message) => message.write_all(data),
        None => Err(std::io::Error::other("message data before its beginning")),
    }
}

/// True if the last reply is the reply to QUIT.
fn said_goodbye(output: &[u8]) -> bool {
    output.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().is_some_and(|line| line.starts_with(b"221 "))
}

fn no_room(error: &std::io::Error) -> SmtpReply {
    let full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
    SmtpReply::status(452, 3, 1, if full { "no room for the message now" } else { "cannot keep the message now" })
}

fn tls_words(stream: &Stream) -> Option<String> {
    stream.tls_info().map(|info| info.to_string())
}
