//! Drives [`session`](crate::smtp::session) over a connection: reads, writes, TLS, deadlines. What is accepted and where it
//! goes is decided by a [`SmtpService`].

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

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
use crate::smtp::reply::SmtpReply;
use crate::smtp::session::{Config, SmtpEvent, SmtpSession};
use crate::smtp::transaction::{Envelope, Recipient};

/// How much is read at once.
const READ_SIZE: usize = 64 * 1024;

/// How long the server reads on after its last word, so that the client gets to hear it before the connection breaks.
const LINGER: Duration = Duration::from_secs(2);

/// So many times the idle time a client may talk (NOOP, RSET) without any mail that is taken.
const MAX_TALK_IDLES: u32 = 3;

/// A message that comes slower than this, in bytes a second, has no right to its place after that time: RFC 5321 bounds each
/// wait (section 4.5.3.2) and no message as a whole, so that a slow client goes only where others need the place.
const UNHURRIED_RATE: u64 = 4096;

const SHUTTING_DOWN: &str = "the server is shutting down";

/// How many bytes it reads on at most.
const MAX_LINGER: usize = 16 * 1024 * 1024;

/// Who is at the other end, as far as it is known.
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
    /// The name that logged in.
    pub user: Option<String>,
    /// True if this is LMTP.
    pub lmtp: bool,
    /// Our name for the session.
    pub session: Option<SessionId>,
}

/// A session at its end.
#[derive(Debug, Clone, Default)]
pub struct SmtpTotals {
    /// Why it ended: `quit`, `left` (the client closed), `timed_out`, `shutdown`, or `closed` (we closed); empty after a fault.
    pub why: &'static str,
    /// Messages that were taken.
    pub messages: u64,
    /// Bytes of commands and messages that were received.
    pub received: u64,
    /// Bytes of replies.
    pub sent: u64,
    /// The client, as far as it was known.
    pub peer: SmtpPeer,
}

/// The answer to a whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageVerdict {
    /// The same for every recipient.
    All(SmtpReply),
    /// One for each recipient, in the envelope's order. SMTP has one reply only: the first that is not positive, else
    /// the first; LMTP has them all (RFC 2033, section 4.2).
    Each(Vec<SmtpReply>),
}

/// Policy and storage of a server: every decision that is not the protocol's own. A positive reply accepts, any other
/// refuses with just these words; 421 also ends the connection.
pub trait SmtpService: Send + Sync {
    /// What the service knows of one message while it comes: what it decided at RCPT counts at the end, too.
    type Transaction: Default + Send;

    /// May this sender send from this peer, a message of so many bytes (0: not declared)? Called at MAIL.
    fn sender<'a>(&'a self, peer: &'a SmtpPeer, sender: &'a ReversePath, bytes: u64) -> BoxFuture<'a, SmtpReply>;

    /// Is mail for this recipient taken? Called at RCPT. A recipient is in the envelope exactly if the reply is positive.
    fn recipient<'a>(
        &'a self,
        peer: &'a SmtpPeer,
        sender: &'a ReversePath,
        recipient: &'a Recipient,
        transaction: &'a mut Self::Transaction,
    ) -> BoxFuture<'a, SmtpReply>;

    /// Is this the user's password? Takes its time where it is not: guessing is slow.
    fn login<'a>(&'a self, peer: &'a SmtpPeer, user: &'a str, password: &'a str) -> BoxFuture<'a, LoginVerdict<()>>;

    /// Where the message is written while it arrives; what the service puts in front of it is there already. Called when
    /// the data begins. What is broken off is dropped with the writer.
    ///
    /// # Errors
    /// What the system says: the client is told to come again.
    fn begin(
        &self,
        peer: &SmtpPeer,
        envelope: &Envelope,
        transaction: &mut Self::Transaction,
    ) -> std::io::Result<BlobWriter>;

    /// Takes responsibility for a complete message: a positive answer only when it is safe on disk.
    fn accept<'a>(
        &'a self,
        peer: &'a SmtpPeer,
        envelope: Envelope,
        transaction: Self::Transaction,
        message: BlobWriter,
    ) -> BoxFuture<'a, MessageVerdict>;
}

/// When a server's TLS starts, and with which certificate.
#[derive(Clone)]
pub enum SmtpServerTls {
    /// Never.
    Off,
    /// By STARTTLS.
    Starttls(ServerTls),
    /// Before the first byte.
    Implicit(ServerTls),
}

/// How connections are served.
#[derive(Clone)]
pub struct SmtpServerOptions {
    /// Name and limits of the protocol; `starttls` follows from `tls`.
    pub config: Config,
    /// When TLS starts.
    pub tls: SmtpServerTls,
    /// How long to wait for the client (RFC 5321, section 4.5.3.2.7: five minutes). A command must be complete within the
    /// idle limit, a message must not come slower than the minimum rate.
    pub limits: Limits,
    /// Where the dialogue is shown.
    pub trace: ProtocolTrace,
}

/// Serves one connection to its end. Ok when the client said goodbye or was told why not.
///
/// # Errors
/// [`Kind::Disconnected`], [`Kind::TimedOut`] and what TLS or the disk say: the connection ended in the middle.
pub async fn serve<S: SmtpService>(
    stream: Stream,
    address: Option<SocketAddr>,
    options: &SmtpServerOptions,
    service: &S,
    place: &ClientPlace,
    shutdown: &Shutdown,
    totals: &mut SmtpTotals,
) -> Result<(), Fault> {
    let mut config = options.config.clone();
    config.starttls = matches!(options.tls, SmtpServerTls::Starttls(_));
    let stream = match &options.tls {
        SmtpServerTls::Implicit(tls) => tls.accept(stream).await?,
        _ => stream,
    };
    let id = totals.peer.session;
    let trace = address.map_or(options.trace.clone(), |address| options.trace.of(address));
    totals.peer = SmtpPeer { address, lmtp: config.lmtp, tls: tls_words(&stream), session: id, ..SmtpPeer::default() };
    let session = SmtpSession::new(config, totals.peer.tls.is_some());
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
    /// With what is known of the client.
    totals: &'a mut SmtpTotals,
    /// What was read; the session has used up `used` bytes of it.
    input: Vec<u8>,
    used: usize,
    transaction: S::Transaction,
    /// What arrived of the message.
    message: Option<BlobWriter>,
    /// With the command or message that is arriving.
    deadline: RateDeadline,
    /// The place has gone to another client.
    lost: bool,
    /// How much mail was taken, and since when it is so much.
    progress: (u64, Instant),
    /// When the message under way got its first recipient, and how much had been received then.
    mail_since: Option<(Instant, u64)>,
}

impl<S: SmtpService> SmtpConnection<'_, S> {
    async fn run(mut self) -> Result<(), Fault> {
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
                SmtpEvent::Sender(question) => {
                    self.refresh_peer();
                    self.transaction = S::Transaction::default();
                    let (sender, bytes) = (question.sender(), question.declared_bytes());
                    let reply = self.service.sender(&self.totals.peer, sender, bytes).await;
                    self.session.sender_verdict(question, &reply);
                }
                SmtpEvent::Recipient(question) => {
                    let sender = self.session.envelope().map_or(&ReversePath::Null, |envelope| &envelope.sender);
                    let (candidate, transaction) = (question.recipient(), &mut self.transaction);
                    let reply = self.service.recipient(&self.totals.peer, sender, candidate, transaction).await;
                    self.session.recipient_verdict(question, &reply);
                }
                SmtpEvent::Login(question) => {
                    self.refresh_peer();
                    let verdict = self.service.login(&self.totals.peer, question.user(), question.password()).await;
                    let accepted = matches!(verdict, LoginVerdict::Right(()));
                    if accepted { Counter::LoginsDone } else { Counter::LoginsFailed }.add(1);
                    self.session.login_verdict(question, verdict);
                    self.refresh_peer();
                }
                SmtpEvent::Begin => {
                    let envelope = self.session.envelope().cloned().unwrap_or_default();
                    match self.service.begin(&self.totals.peer, &envelope, &mut self.transaction) {
                        Ok(writer) => self.message = Some(writer),
                        Err(error) => return self.give_up(&error).await,
                    }
                }
                SmtpEvent::Content(range) => {
                    let data = self.input.get(from + range.start..from + range.end).unwrap_or_default();
                    if let Err(error) = store(&mut self.message, data) {
                        return self.give_up(&error).await;
                    }
                }
                SmtpEvent::LineEnd => {
                    if let Err(error) = store(&mut self.message, b"\r\n") {
                        return self.give_up(&error).await;
                    }
                }
                SmtpEvent::Message(envelope, question) => {
                    let replies = self.deliver(envelope).await;
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
                    // Others wait for the place of who lost it.
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
            lmtp: self.totals.peer.lmtp,
            tls: tls_words(&self.stream),
            session: self.totals.peer.session,
            ..SmtpPeer::default()
        };
        self.session.tls_started();
        Ok(self)
    }

    fn refresh_peer(&mut self) {
        if self.totals.peer.helo != self.session.helo() {
            self.totals.peer.helo = self.session.helo().to_owned();
        }
        self.totals.peer.extended = self.session.extended();
        self.totals.peer.user = self.session.user().map(str::to_owned);
    }

    /// Sends the replies that are due, in one write.
    async fn flush(&mut self) -> Result<(), Fault> {
        if self.session.output().is_empty() {
            return Ok(());
        }
        // A reply is due when something is complete. Who hears it has the place already.
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

    /// Whoever has logged in or sends a message that may be taken, and gets on with it, is at work.
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

    /// Reads more; false when the connection is over.
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

    /// The message cannot be kept: the client is told to come again.
    async fn give_up(mut self, error: &std::io::Error) -> Result<(), Fault> {
        let mut reply = no_room(error);
        reply.code = 421;
        self.session.close(&reply);
        self.flush().await?;
        self.linger().await?;
        Err(Fault::local("message", error))
    }

    /// Closes so that the last reply arrives: while unread bytes wait here, the system would answer with a reset.
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
        // Whether the client waits for the end or not is its own affair.
        let _ = tokio::time::timeout(LINGER, drain).await;
        Ok(())
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Writes the next bytes of a message where it is kept.
fn store(message: &mut Option<BlobWriter>, data: &[u8]) -> std::io::Result<()> {
    match message {
        Some(message) => message.write_all(data),
        None => Err(std::io::Error::other("message data before its beginning")),
    }
}

/// True if the last reply is the one to QUIT.
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
