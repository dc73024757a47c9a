//! The server's state machine, without sockets: it turns bytes into events and verdicts into replies (RFC 5321, section
//! 4; RFC 2033 for LMTP).
//!
//! The driver calls [`SmtpSession::next`] with the bytes it has read and carries out the [`SmtpEvent`]. [`SmtpSession::output`]
//! holds the replies to send before the next read, so that a pipelined group (RFC 2920) gets its replies in one write.

mod budget;
mod login;
mod question;
mod receive;
mod step;

use std::ops::Range;

pub use budget::{MAX_ERRORS, MAX_FAILED_LOGINS, MAX_IDLE_COMMANDS, MAX_OVERSHOOT, MIN_CHUNK};
pub use question::{LoginQuestion, MessageQuestion, RecipientQuestion, SenderQuestion, VerifierQuestion};
pub use step::DialoguePhase;

use crate::foreign::{self, SpokenProtocol};
use crate::smtp::auth::server::{OfferedLogins, ServerLogin};
use crate::smtp::command::{CommandSyntax, MAX_COMMAND_LINE, MailFrom, SmtpCommand, SmtpCommandError};
use crate::smtp::data::{BareLf, DotUnstuffer, NewlineCheck};
use crate::smtp::extension::Capabilities;
use crate::smtp::reply::SmtpReply;
use crate::smtp::transaction::{Envelope, Recipient};

/// The number of bytes beyond the size limit that are read and discarded, so that the client receives the reason.
pub const MAX_EXCESS: u64 = 64 * 1024 * 1024;

/// The hint for clients that send LF alone.
const CURE: &str = ": lines end with CRLF (curl: add --crlf)";

/// The name and limits of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name in the greeting and the EHLO reply.
    pub name: String,
    /// The maximum message size in bytes; 0 means no limit.
    pub max_size: u64,
    /// The maximum number of recipients in one envelope (RFC 5321, section 4.5.3.1.8: at least 100).
    pub max_recipients: usize,
    /// Speak LMTP.
    pub lmtp: bool,
    /// STARTTLS is available.
    pub starttls: bool,
    /// Without TLS, only the commands that lead to it are accepted (RFC 3207, section 4).
    pub tls_required: bool,
    /// Users can log in.
    pub auth: bool,
    /// Accept passwords in clear text.
    pub auth_in_clear: bool,
    /// SCRAM-SHA-256 is offered: every user has a verifier.
    pub scram: bool,
    /// Without a login, only the commands that lead to it are accepted (RFC 6409, section 4.3).
    pub auth_required: bool,
    /// Offer delivery status notifications (RFC 3461); another component must send them.
    pub dsn: bool,
    /// The strictness of the command grammar.
    pub syntax: CommandSyntax,
    /// The treatment of an LF without CR.
    pub bare_lf: BareLf,
}

/// The next action of the driver. A question is answered by the verdict method that takes it.
#[derive(Debug, PartialEq, Eq)]
pub enum SmtpEvent {
    /// Send the output, read more.
    Input,
    /// This step is about to be taken; EHLO has the client's name. Answer by [`SmtpSession::step_verdict`]. Only after
    /// [`SmtpSession::announce_steps`].
    Step(DialoguePhase, String),
    /// Decide on this sender. Answer by [`SmtpSession::sender_verdict`].
    Sender(SenderQuestion),
    /// Decide on this recipient. Answer by [`SmtpSession::recipient_verdict`].
    Recipient(RecipientQuestion),
    /// Find the verifier of this user. Answer by [`SmtpSession::verifier_found`].
    Verifier(VerifierQuestion),
    /// Check this password or proof. Answer by [`SmtpSession::login_verdict`].
    Login(LoginQuestion),
    /// The message begins: discard the data of any earlier one.
    Begin,
    /// The next bytes of the message: this range of the input.
    Content(Range<usize>),
    /// The next bytes of the message are a CRLF that was not received as such.
    LineEnd,
    /// The message is complete. Answer by [`SmtpSession::message_verdict`].
    Message(Envelope, MessageQuestion),
    /// Send the output, then do the TLS handshake and call [`SmtpSession::tls_started`]. Discard the bytes read so far.
    StartTls,
    /// Send the output, then close.
    Close,
}

#[derive(Debug)]
enum SessionMode {
    Command,
    /// In the middle of an AUTH exchange.
    Auth(ServerLogin),
    /// Inside DATA.
    Data(DotUnstuffer),
    /// Inside a BDAT chunk.
    Chunk {
        left: u64,
        last: bool,
    },
    /// The event to return next.
    Ask(SmtpEvent),
    /// A verdict of the driver is due.
    AwaitVerdict,
    Closed,
}

/// The client's greeting command, with its name.
#[derive(Debug)]
enum Greeted {
    No,
    Helo(String),
    /// EHLO or LHLO.
    Ehlo(String),
}

/// The reason why the message being received will be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoiled {
    TooBig,
    BareNewline,
    /// RFC 5321, section 4.5.2, and RFC 6152 allow every octet but NUL.
    Nul,
    /// BDAT without a valid envelope: its bytes are read, because the client sends them anyway, and discarded.
    OutOfOrder,
}

/// One connection's dialogue.
#[derive(Debug)]
pub struct SmtpSession {
    config: Config,
    mode: SessionMode,
    output: Vec<u8>,
    /// The current line is already too long: the rest of it is discarded.
    discarding: bool,
    greeted: Greeted,
    tls: bool,
    logins: OfferedLogins,
    user: Option<String>,
    envelope: Option<Envelope>,
    received: u64,
    in_chunks: bool,
    newlines: NewlineCheck,
    spoiled: Option<Spoiled>,
    budget: budget::CommandBudget,
    /// The driver is asked before each step.
    announces: bool,
    step: step::StepVerdict,
    /// The reply to the chunk being read, if the driver has refused it.
    chunk_refusal: Option<SmtpReply>,
    /// The next reply ends the session.
    last_reply: bool,
}

impl SmtpSession {
    /// Creates a session with its greeting in the output. `tls`: the connection is already inside TLS.
    pub fn new(config: Config, tls: bool) -> SmtpSession {
        let protocol = if config.lmtp { "LMTP" } else { "ESMTP" };
        let greeting = SmtpReply::new(220, None, format!("{} {protocol} ready", config.name));
        let newlines = NewlineCheck::new(config.bare_lf);
        let logins = OfferedLogins { scram: config.scram, binding: None };
        let mut session = SmtpSession {
            config,
            mode: SessionMode::Command,
            output: Vec::new(),
            discarding: false,
            greeted: Greeted::No,
            tls,
            logins,
            user: None,
            envelope: None,
            received: 0,
            in_chunks: false,
            newlines,
            spoiled: None,
            budget: budget::CommandBudget::default(),
            announces: false,
            step: step::StepVerdict::Open,
            chunk_refusal: None,
            last_reply: false,
        };
        greeting.wire(&mut session.output);
        session
    }

    /// Examines the bytes that are read but not yet consumed. Returns the number of bytes consumed now and the event.
    /// After [`SmtpEvent::Input`] the unconsumed rest must be passed in again, followed by more.
    pub fn next(&mut self, input: &[u8]) -> (usize, SmtpEvent) {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let chunk_done = matches!(self.mode, SessionMode::Chunk { left: 0, .. });
            let (step, mut event) = match &mut self.mode {
                SessionMode::Closed => (rest.len(), Some(SmtpEvent::Close)),
                SessionMode::Ask(_) => match std::mem::replace(&mut self.mode, SessionMode::AwaitVerdict) {
                    SessionMode::Ask(event) => (0, Some(event)),
                    _ => (0, None),
                },
                // A driver that forgot its verdict must not take another command for the answer.
                SessionMode::AwaitVerdict => {
                    self.close(&SmtpReply::status(421, 3, 0, "internal error"));
                    (0, None)
                }
                SessionMode::Data(_) | SessionMode::Chunk { .. } if rest.is_empty() && !chunk_done => {
                    (0, Some(SmtpEvent::Input))
                }
                SessionMode::Data(unstuffer) => {
                    let (step, piece) = unstuffer.next(rest);
                    (step, self.piece(step, piece))
                }
                SessionMode::Chunk { .. } => self.chunk(rest),
                SessionMode::Command | SessionMode::Auth(_) => self.line(rest),
            };
            if let Some(SmtpEvent::Content(range)) = &mut event {
                *range = used + range.start..used + range.end;
            }
            used += step;
            if let Some(event) = event {
                return (used, event);
            }
        }
    }

    /// The replies to send; the driver clears the buffer.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The client's name from EHLO, HELO or LHLO; empty before.
    pub fn helo(&self) -> &str {
        match &self.greeted {
            Greeted::No => "",
            Greeted::Helo(name) | Greeted::Ehlo(name) => name,
        }
    }

    /// True after EHLO or LHLO.
    pub fn extended(&self) -> bool {
        matches!(self.greeted, Greeted::Ehlo(_))
    }

    /// The user who logged in.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The envelope with the sender and recipients accepted so far.
    pub fn envelope(&self) -> Option<&Envelope> {
        self.envelope.as_ref()
    }

    /// The number of accepted messages and logins.
    pub fn progress(&self) -> u64 {
        self.budget.progress()
    }

    /// True while a message arrives that may still be accepted.
    pub fn is_receiving(&self) -> bool {
        self.spoiled.is_none() && (self.in_chunks || matches!(self.mode, SessionMode::Data(_)))
    }

    /// True between messages: nothing is lost if the server closes the connection now.
    pub fn is_idle(&self) -> bool {
        self.envelope.is_none() && matches!(self.mode, SessionMode::Command | SessionMode::Auth(_))
    }

    /// The answer to [`SmtpEvent::Sender`]: a positive reply accepts.
    pub fn sender_verdict(&mut self, question: SenderQuestion, reply: &SmtpReply) {
        self.mode = SessionMode::Command;
        let SenderQuestion(MailFrom { sender, smtputf8, ret, envid, .. }) = question;
        let envelope = Envelope { sender, recipients: Vec::new(), smtputf8, eight_bit: false, ret, envid };
        self.envelope = reply.accepts().then_some(envelope);
        self.say(reply);
    }

    /// The answer to [`SmtpEvent::Recipient`]: a positive reply accepts.
    pub fn recipient_verdict(&mut self, question: RecipientQuestion, reply: &SmtpReply) {
        self.mode = SessionMode::Command;
        if reply.accepts() {
            self.budget.recipient_taken();
        }
        if let Some(envelope) = self.envelope.as_mut().filter(|_| reply.accepts()) {
            envelope.recipients.push(question.0);
        }
        self.say(reply);
    }

    /// The answer to [`SmtpEvent::Message`]: one reply, or with LMTP one per recipient.
    pub fn message_verdict(&mut self, question: MessageQuestion, replies: &[SmtpReply]) {
        self.mode = SessionMode::Command;
        let MessageQuestion { recipients } = question;
        let worst = replies.iter().find(|reply| !reply.accepts()).or(replies.first());
        let missing = SmtpReply::status(451, 3, 0, "internal error");
        if self.config.lmtp {
            // However many are refused, it is one command.
            for index in 1..recipients {
                let reply = replies.get(index - 1).or(if replies.len() == 1 { worst } else { None });
                reply.unwrap_or(&missing).wire(&mut self.output);
            }
            let last = replies.last().filter(|_| replies.len() == recipients || replies.len() == 1);
            self.say(last.unwrap_or(&missing));
        } else {
            self.say(worst.unwrap_or(&missing));
        }
        if replies.iter().any(SmtpReply::accepts) {
            self.budget.message_taken();
        }
        self.forget_message();
    }

    /// The TLS handshake is complete: all earlier state is discarded (RFC 3207, section 4.2).
    pub fn tls_started(&mut self) {
        self.tls = true;
        self.logins.binding = None;
        self.greeted = Greeted::No;
        self.user = None;
        self.envelope = None;
    }

    /// Ends the session with a reply from the driver (421 at a timeout or shutdown).
    pub fn close(&mut self, reply: &SmtpReply) {
        reply.wire(&mut self.output);
        self.mode = SessionMode::Closed;
    }

    fn say(&mut self, reply: &SmtpReply) {
        reply.wire(&mut self.output);
        if reply.code == 421 || self.last_reply {
            self.mode = SessionMode::Closed;
        } else if reply.permanent() && !self.budget.error() {
            self.close(&SmtpReply::status(421, 7, 0, "too many errors"));
        }
    }

    fn refuse(&mut self, error: &SmtpCommandError) {
        self.say(&SmtpReply::new(error.code, Some(error.enhanced), error.text));
    }

    /// Takes one line from the input: a command, or a response within AUTH.
    fn line(&mut self, rest: &[u8]) -> (usize, Option<SmtpEvent>) {
        let Some(newline) = memchr::memchr(b'\n', rest) else {
            if rest.len() > MAX_COMMAND_LINE + 1 || self.discarding {
                self.discarding = true;
                return (rest.len(), Some(SmtpEvent::Input));
            }
            return (0, Some(SmtpEvent::Input));
        };
        let step = newline + 1;
        let line = rest.get(..newline).unwrap_or_default();
        let ended = line.strip_suffix(b"\r").or((self.config.bare_lf == BareLf::Normalize).then_some(line));
        let Some(line) = ended.filter(|line| memchr::memchr(b'\r', line).is_none()) else {
            // Text after a bare newline may come from a third party: none of it is read.
            self.close(&SmtpReply::status(554, 5, 2, format!("bare CR or LF{CURE}")));
            return (rest.len(), Some(SmtpEvent::Close));
        };
        if std::mem::take(&mut self.discarding) || line.len() > MAX_COMMAND_LINE {
            self.mode = SessionMode::Command;
            self.say(&SmtpReply::status(500, 5, 2, "line too long"));
            return (step, None);
        }
        if let SessionMode::Auth(login) = &mut self.mode {
            let next = login.response(line);
            self.auth_step(next);
            return (step, None);
        }
        if foreign::is_foreign_line(line, SpokenProtocol::Smtp) {
            // A web page can make a browser send any text after its first lines (CVE-2021-3618).
            self.close(&SmtpReply::status(421, 7, 0, "this is a mail server: goodbye"));
            return (rest.len(), Some(SmtpEvent::Close));
        }
        let command = SmtpCommand::parse_as(line, &self.config.syntax);
        if let Some(event) = command.as_ref().ok().and_then(|command| self.announced(command)) {
            return (0, Some(event));
        }
        let refusal = self.step.take_refusal();
        if !self.budget.command(&command, self.envelope.as_ref(), self.config.max_recipients) {
            self.close(&SmtpReply::status(421, 7, 0, "too many commands without a message"));
            return (step, None);
        }
        match command {
            Ok(command) if refusal.is_some() => self.refuse_step(&command, refusal),
            Err(error) => self.refuse(&error),
            Ok(command) if !self.may_do(&command) => {
                self.say(&SmtpReply::status(530, 7, 0, "must issue a STARTTLS command first"));
            }
            Ok(command) if self.needs_login(&command) => {
                self.say(&SmtpReply::status(530, 7, 0, "authentication required"));
            }
            Ok(SmtpCommand::StartTls) => {
                if self.start_tls() && !self.last_reply {
                    return (rest.len(), Some(SmtpEvent::StartTls));
                }
            }
            Ok(SmtpCommand::Data) => {
                if self.may_receive(false) {
                    self.mode = SessionMode::Data(DotUnstuffer::new(self.config.bare_lf));
                    SmtpReply::new(354, None, "end with a dot on a line of its own").wire(&mut self.output);
                    if self.last_reply {
                        self.end();
                        return (step, None);
                    }
                    return (step, Some(SmtpEvent::Begin));
                }
            }
            Ok(SmtpCommand::Bdat { size, last }) => {
                let first = !self.in_chunks;
                let allowed = self.may_receive(true);
                self.mode = SessionMode::Chunk { left: size, last };
                if !allowed {
                    self.spoiled = Some(Spoiled::OutOfOrder);
                } else if first {
                    self.in_chunks = true;
                    return (step, Some(SmtpEvent::Begin));
                }
            }
            Ok(command) => self.command(command),
        }
        (step, None)
    }

    /// True unless this command requires TLS first. A BDAT chunk has to be read in any case; it is refused for lack of an envelope.
    fn may_do(&self, command: &SmtpCommand) -> bool {
        use SmtpCommand as C;
        let leads_there = matches!(command, C::Ehlo(_) | C::Lhlo(_) | C::Noop | C::StartTls | C::Quit | C::Bdat { .. });
        self.tls || !self.config.tls_required || leads_there
    }

    /// True if this command requires a login first. A BDAT chunk is refused for lack of an envelope.
    fn needs_login(&self, command: &SmtpCommand) -> bool {
        use SmtpCommand as C;
        let for_users = matches!(command, C::Mail(_) | C::Rcpt(_) | C::Data | C::Vrfy(_) | C::Expn(_));
        self.config.auth_required && self.user.is_none() && for_users
    }

    fn command(&mut self, command: SmtpCommand) {
        match command {
            SmtpCommand::Ehlo(name) if !self.config.lmtp => self.hello(name, true),
            SmtpCommand::Lhlo(name) if self.config.lmtp => self.hello(name, true),
            SmtpCommand::Helo(name) if !self.config.lmtp => self.hello(name, false),
            SmtpCommand::Ehlo(_) | SmtpCommand::Helo(_) => {
                self.say(&SmtpReply::status(500, 5, 1, "this is LMTP: say LHLO"))
            }
            SmtpCommand::Lhlo(_) => self.say(&SmtpReply::status(500, 5, 1, "this is SMTP: say EHLO")),
            SmtpCommand::Mail(mail) => self.mail(mail),
            SmtpCommand::Rcpt(recipient) => self.rcpt(recipient),
            SmtpCommand::Auth { mechanism, initial } => self.auth(&mechanism, initial.as_deref()),
            SmtpCommand::Rset => {
                self.envelope = None;
                self.forget_message();
                self.say(&SmtpReply::status(250, 0, 0, "forgotten"));
            }
            SmtpCommand::Noop => self.say(&SmtpReply::status(250, 0, 0, "ok")),
            // The existence of a mailbox is revealed to senders of mail, not to collectors of addresses.
            SmtpCommand::Vrfy(_) => self.say(&SmtpReply::status(252, 5, 0, "send a message and see")),
            SmtpCommand::Expn(_) => self.say(&SmtpReply::status(502, 5, 1, "lists are not expanded")),
            SmtpCommand::Help(_) => self.say(&SmtpReply::status(214, 0, 0, "see RFC 5321")),
            SmtpCommand::Quit => self.close(&SmtpReply::status(221, 0, 0, "goodbye")),
            SmtpCommand::StartTls | SmtpCommand::Data | SmtpCommand::Bdat { .. } => {}
        }
    }

    fn hello(&mut self, name: String, extended: bool) {
        self.greeted = if extended { Greeted::Ehlo(name) } else { Greeted::Helo(name) };
        self.envelope = None;
        self.forget_message();
        let reply = if extended {
            Capabilities {
                name: self.config.name.clone(),
                pipelining: true,
                chunking: true,
                eight_bit: true,
                smtputf8: true,
                dsn: self.config.dsn,
                enhanced: true,
                starttls: self.config.starttls && !self.tls,
                vrfy: false,
                size: Some(self.config.max_size),
                auth: self.mechanisms(),
                // RFC 9422: more recipients get 452.
                other: vec![format!("LIMITS RCPTMAX={}", self.config.max_recipients)],
            }
            .reply()
        } else {
            SmtpReply::new(250, None, self.config.name.clone())
        };
        self.say(&reply);
    }

    fn mail(&mut self, mail: MailFrom) {
        let too_big = self.config.max_size > 0 && mail.size.is_some_and(|size| size > self.config.max_size);
        if matches!(self.greeted, Greeted::No) {
            return self.say(&SmtpReply::status(503, 5, 1, "say EHLO first"));
        }
        if self.envelope.is_some() {
            return self.say(&SmtpReply::status(503, 5, 1, "a message is under way: RSET forgets it"));
        }
        if !self.config.dsn && (mail.ret.is_some() || mail.envid.is_some()) {
            return self.say(&no_dsn());
        }
        if too_big {
            return self.say(&SmtpReply::status(552, 3, 4, format!("at most {} bytes", self.config.max_size)));
        }
        self.mode = SessionMode::Ask(SmtpEvent::Sender(SenderQuestion(mail)));
    }

    fn rcpt(&mut self, recipient: Recipient) {
        let Some(envelope) = &self.envelope else {
            return self.say(&SmtpReply::status(503, 5, 1, "say MAIL first"));
        };
        if self.in_chunks {
            return self.say(&SmtpReply::status(503, 5, 1, "the message has begun"));
        }
        if envelope.recipients.len() >= self.config.max_recipients {
            let text = format!("at most {} recipients a message", self.config.max_recipients);
            return self.say(&SmtpReply::status(452, 5, 3, text));
        }
        if !self.config.dsn && (recipient.notify.is_some() || recipient.orcpt.is_some()) {
            return self.say(&no_dsn());
        }
        if !envelope.smtputf8 && !recipient.address.is_ascii() {
            return self.say(&SmtpReply::status(553, 6, 7, "address outside ASCII without SMTPUTF8"));
        }
        self.mode = SessionMode::Ask(SmtpEvent::Recipient(RecipientQuestion(recipient)));
    }

    /// Checks that DATA or BDAT has an envelope. If not, it replies to DATA; the reply to BDAT comes after its chunk.
    fn may_receive(&mut self, chunk: bool) -> bool {
        let refusal = match &self.envelope {
            None => Some(SmtpReply::status(503, 5, 1, "say MAIL first")),
            Some(envelope) if envelope.recipients.is_empty() => {
                Some(SmtpReply::status(554, 5, 1, "no valid recipients"))
            }
            Some(_) if self.in_chunks && !chunk => {
                Some(SmtpReply::status(503, 5, 1, "BDAT has begun: go on with BDAT"))
            }
            Some(_) => None,
        };
        match refusal {
            Some(reply) if !chunk => {
                self.say(&reply);
                false
            }
            refusal => refusal.is_none(),
        }
    }

    fn start_tls(&mut self) -> bool {
        if !self.config.starttls {
            self.say(&SmtpReply::status(502, 5, 1, "no TLS here"));
        } else if self.tls {
            self.say(&SmtpReply::status(503, 5, 1, "TLS is on"));
        } else if self.envelope.is_some() {
            self.say(&SmtpReply::status(503, 5, 1, "a message is under way"));
        } else {
            self.say(&SmtpReply::status(220, 0, 0, "go ahead"));
            return true;
        }
        false
    }
}

/// The reply to a parameter of an extension that was not offered (RFC 5321, section 4.1.1.11).
fn no_dsn() -> SmtpReply {
    SmtpReply::status(555, 5, 4, "no notifications here: parameter not recognised")
}

#[cfg(test)]
mod tests;
