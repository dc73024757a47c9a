//! One message over one connection, as a state machine without sockets: the commands to send, the meaning of each
//! reply, and one outcome per recipient in every case.
//!
//! Each reply is paired with the command that it answers. A reply that does not fit its command shows that client and server
//! are out of step. Then no earlier pairing counts either, the connection is closed, and no recipient counts as delivered.

mod outcome;

use std::collections::VecDeque;

use crate::fault::{Enhanced, Fault, Kind};
use crate::smtp::address::Address;
use crate::smtp::command::{Body, MailFrom, SmtpCommand};
pub use crate::smtp::envelope::{Envelope, Recipient};
use crate::smtp::extension::Capabilities;
use crate::smtp::reply::SmtpReply;

pub use outcome::{Accepted, RecipientOutcome, RecipientResult, all_failed};
use outcome::{concluded, put_off, refused, unanswered};

/// The maximum number of commands sent before their replies arrive. More could fill the buffers of both directions and
/// block both sides (RFC 2920, section 3.1).
pub const MAX_IN_FLIGHT: usize = 100;

/// The largest message sent by DATA in any case: 354 answers no other command, so it shows that both sides are in step. A larger
/// one is sent by BDAT if offered; this many bytes are kept back for the last chunk, so that the commit comes at the end.
pub const LAST_CHUNK: u64 = 64 * 1024;

/// Options of a transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransactionOptions {
    /// Send to the accepted recipients even if others are refused.
    pub partial: bool,
    /// One final reply per accepted recipient (RFC 2033).
    pub lmtp: bool,
    /// Never use BDAT, even if it is offered.
    pub no_chunking: bool,
    /// Ask before any of the message is sent ([`TransactionStep::Ask`]).
    pub hold: bool,
    /// Send RCPT for at most this many recipients; the others are [`Transaction::surplus`].
    pub most_recipients: Option<usize>,
}

/// The wire format of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After DATA: dot-stuffed, ended by a lone dot.
    Dot,
    /// In BDAT chunks.
    Bdat,
}

/// The next action of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStep {
    /// Send the pending output and read one reply.
    Reply,
    /// All required recipients are accepted: call [`Transaction::released`] with the decision whether to send the message.
    Ask,
    /// Send the pending output and the message (or its next chunk), then call [`Transaction::sent`].
    Content(Framing),
    /// Every recipient has its outcome.
    Done,
}

/// The command that a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Mail,
    Rcpt(usize),
    Data,
    Chunk,
    /// The end of the message: for all recipients, or for one (LMTP).
    End(Option<usize>),
    EmptyMessage,
    Rset,
}

impl Expect {
    const fn as_str(self) -> &'static str {
        match self {
            Expect::Mail => "MAIL",
            Expect::Rcpt(_) => "RCPT",
            Expect::Data => "DATA",
            Expect::Chunk => "BDAT",
            Expect::End(_) | Expect::EmptyMessage => "message",
            Expect::Rset => "RSET",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Envelope,
    AwaitGo,
    Content,
    Finish,
    Done,
}

/// The state of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RecipientStanding {
    Asked,
    Accepted,
    /// Above the server's limit of recipients for one transaction; with its reply, if RCPT was sent.
    Surplus(Option<SmtpReply>),
    /// The reply to the end of the message. With LMTP it counts only together with the replies for all other recipients.
    Answered(SmtpReply),
    Settled(RecipientResult),
}

/// The state machine of one message. The driver calls [`Transaction::next`], carries out the step, passes each
/// [`Transaction::reply`] or the fault that ended the connection, and takes the results.
#[derive(Debug)]
pub struct Transaction {
    envelope: Envelope,
    options: TransactionOptions,
    mail: MailFrom,
    dsn: bool,
    pipelining: bool,
    framing: Framing,
    stage: Stage,
    mail_sent: bool,
    mail_refused: bool,
    next_rcpt: usize,
    /// The server's limit of recipients in one transaction, if it is known.
    most_recipients: Option<usize>,
    expected: VecDeque<Expect>,
    standing: Vec<RecipientStanding>,
    go: bool,
    /// The answer to [`TransactionStep::Ask`].
    released: Option<bool>,
    committed: bool,
    closing: bool,
    /// Every reply so far accepted its command.
    agreed: bool,
    out_of_step: bool,
    /// The server has sent a reply about this message.
    heard: bool,
    /// The server ended the connection before any reply about this message.
    stale: bool,
}

impl Transaction {
    /// Prepares a message of `size` bytes for a server with these capabilities.
    ///
    /// # Errors
    /// A feature that the server lacks ([`Kind::Unsupported`]), its refusal of the size ([`Kind::Refused`]), or a
    /// violation in the envelope ([`Kind::BadData`]); nothing may be sent.
    pub fn new(
        envelope: Envelope,
        offer: &Capabilities,
        size: u64,
        has_8bit: bool,
        options: TransactionOptions,
    ) -> Result<Transaction, Fault> {
        check(&envelope, offer, size, has_8bit)?;
        let mail = MailFrom {
            sender: envelope.sender.clone(),
            size: offer.size.map(|_| size),
            body: (has_8bit && offer.eight_bit).then_some(Body::EightBit),
            smtputf8: envelope.smtputf8,
            ret: envelope.ret.filter(|_| offer.dsn),
            envid: envelope.envid.clone().filter(|_| offer.dsn),
            auth: None,
        };
        let recipients = envelope.recipients.len();
        Ok(Transaction {
            options,
            mail,
            dsn: offer.dsn,
            pipelining: offer.pipelining,
            framing: match offer.chunking && !options.no_chunking && size > LAST_CHUNK {
                true => Framing::Bdat,
                false => Framing::Dot,
            },
            stage: if recipients == 0 { Stage::Done } else { Stage::Envelope },
            mail_sent: false,
            mail_refused: false,
            next_rcpt: 0,
            most_recipients: options.most_recipients,
            expected: VecDeque::new(),
            standing: vec![RecipientStanding::Asked; recipients],
            go: false,
            released: None,
            committed: false,
            closing: false,
            agreed: true,
            out_of_step: false,
            heard: false,
            stale: false,
            envelope,
        })
    }

    /// Appends commands to `out` and returns the step to take once they are sent.
    ///
    /// # Errors
    /// [`Kind::BadData`] for an argument that cannot be sent; the state of the connection is unchanged if nothing had
    /// been appended before.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<TransactionStep, Fault> {
        loop {
            match self.stage {
                Stage::Envelope => {
                    if let Some(next) = self.envelope_step(out)? {
                        return Ok(next);
                    }
                }
                Stage::AwaitGo if !self.expected.is_empty() => return Ok(TransactionStep::Reply),
                Stage::AwaitGo if self.go && self.may_send() => self.stage = Stage::Content,
                Stage::AwaitGo if self.go => {
                    // No recipient was accepted, but the server replied 354: send a lone dot (RFC 2920, section 3.1).
                    out.extend_from_slice(b".\r\n");
                    self.expected.push_back(Expect::EmptyMessage);
                    self.go = false;
                    return Ok(TransactionStep::Reply);
                }
                Stage::AwaitGo => self.give_up(out)?,
                Stage::Content => return Ok(TransactionStep::Content(self.framing)),
                Stage::Finish if !self.expected.is_empty() => return Ok(TransactionStep::Reply),
                Stage::Finish => self.stage = Stage::Done,
                Stage::Done => return Ok(TransactionStep::Done),
            }
        }
    }

    /// Appends MAIL, RCPT and the commands that may follow them in one group. `None`: the stage changed.
    fn envelope_step(&mut self, out: &mut Vec<u8>) -> Result<Option<TransactionStep>, Fault> {
        if !self.mail_sent {
            SmtpCommand::Mail(self.mail.clone()).wire(out)?;
            self.mail_sent = true;
            self.expected.push_back(Expect::Mail);
        }
        let full = if self.pipelining { MAX_IN_FLIGHT } else { 1 };
        let most = self.most_recipients.unwrap_or(usize::MAX);
        let more = |at: usize| at < most && !self.mail_refused;
        while let Some(recipient) = self.envelope.recipients.get(self.next_rcpt).filter(|_| more(self.next_rcpt)) {
            if self.expected.len() >= full {
                return Ok(Some(TransactionStep::Reply));
            }
            let rcpt = Recipient {
                address: recipient.address.clone(),
                notify: recipient.notify.filter(|_| self.dsn),
                orcpt: recipient.orcpt.clone().filter(|_| self.dsn),
            };
            SmtpCommand::Rcpt(rcpt).wire(out)?;
            self.expected.push_back(Expect::Rcpt(self.next_rcpt));
            self.next_rcpt += 1;
        }
        self.standing.iter_mut().skip(self.next_rcpt).for_each(|rest| {
            if *rest == RecipientStanding::Asked {
                *rest = RecipientStanding::Surplus(None);
            }
        });
        // With several recipients and all-or-nothing, nothing may follow RCPT before its replies are known.
        let one = self.standing.len() == 1;
        let eager =
            self.pipelining && !self.options.hold && (self.options.partial || one) && self.framing == Framing::Dot;
        let may_follow = self.expected.is_empty() || (eager && self.is_wanted());
        if !may_follow {
            return Ok(Some(TransactionStep::Reply));
        }
        if self.expected.is_empty() && (!self.may_send() || self.released == Some(false)) {
            self.give_up(out)?;
        } else if self.options.hold && self.released.is_none() {
            return Ok(Some(TransactionStep::Ask));
        } else if self.framing == Framing::Bdat {
            self.stage = Stage::Content;
        } else {
            SmtpCommand::Data.wire(out)?;
            self.expected.push_back(Expect::Data);
            self.stage = Stage::AwaitGo;
        }
        Ok(None)
    }

    /// The answer to [`TransactionStep::Ask`]: with `false` the message is sent to nobody.
    pub fn released(&mut self, go: bool) {
        self.released = Some(go);
    }

    /// The driver sent the whole message, or with `last` false a chunk that is not the last.
    pub fn sent(&mut self, last: bool) {
        if !last {
            self.expected.push_back(Expect::Chunk);
            self.stage = Stage::AwaitGo;
            self.go = true;
            return;
        }
        self.stage = Stage::Finish;
        if self.options.lmtp {
            let accepted = |(index, standing): (usize, &_)| (*standing == RecipientStanding::Accepted).then_some(index);
            self.expected
                .extend(self.standing.iter().enumerate().filter_map(accepted).map(|index| Expect::End(Some(index))));
        } else {
            self.expected.push_back(Expect::End(None));
        }
    }

    /// The driver is about to write the end of the message: from now on a lost connection leaves the outcome unknown.
    pub fn commit(&mut self) {
        self.committed = true;
    }

    /// True while replies to sent or pending commands are due.
    pub fn awaits_reply(&self) -> bool {
        !self.expected.is_empty()
    }

    /// True once the end of the message may have reached the server.
    pub fn is_committed(&self) -> bool {
        self.committed
    }

    /// True if the last group of commands ends with DATA, whose 354 will show whether both sides are in step.
    pub fn ends_with_data(&self) -> bool {
        self.expected.back() == Some(&Expect::Data)
    }

    /// The server broke off in the middle of the message with this reply.
    pub fn broken_off(&mut self, reply: &SmtpReply) {
        if reply.refuses() {
            self.refuse_all(reply, "message");
        }
    }

    /// Takes the next reply in order.
    pub fn reply(&mut self, reply: &SmtpReply) {
        let expected = self.expected.pop_front();
        let go_ahead = expected == Some(Expect::Data) && reply.code == 354;
        self.agreed &= reply.accepts() || go_ahead;
        match expected {
            Some(Expect::Data) if go_ahead => self.go = true,
            Some(Expect::Rcpt(index)) if reply.accepts() && !self.mail_refused => self.accept(index),
            Some(Expect::Mail | Expect::Chunk | Expect::Rset | Expect::EmptyMessage) if reply.accepts() => {}
            Some(Expect::End(of)) if reply.accepts() || reply.refuses() => self.answer(of, reply),
            Some(Expect::Rcpt(index)) if reply.refuses() => match self.accepted() {
                count if too_many(reply, count) => self.put_off(index, reply, count),
                _ => self.refuse(index, reply, "RCPT"),
            },
            Some(expected @ (Expect::Mail | Expect::Data | Expect::Chunk)) if reply.refuses() => {
                self.mail_refused |= expected == Expect::Mail;
                self.go = false;
                self.refuse_all(reply, expected.as_str());
            }
            Some(Expect::EmptyMessage) if reply.refuses() => {}
            // A goodbye, or a refused RSET: the results of the recipients stand.
            Some(Expect::Rset) if reply.code / 100 != 3 => self.closing = true,
            other => {
                let what = other.map_or("unasked", Expect::as_str);
                self.out_of_step = true;
                return self.lost(&Fault::new(Kind::Protocol, format!("{what}: unexpected reply: {}", reply.text())));
            }
        }
        if reply.code == 421 {
            self.lost(&reply.fault("server"));
        }
        self.heard = true;
    }

    /// The connection is lost, or unusable. Each recipient without an outcome gets one: unknown if the message was complete,
    /// else deferred. If client and server are out of step, the meaning assigned to earlier replies does not count.
    pub fn lost(&mut self, fault: &Fault) {
        let committed = self.committed;
        let ended = fault.kind == Kind::Disconnected || fault.reply_code() == Some(421);
        self.stale |= ended && !self.heard && !committed;
        let out_of_step = fault.kind == Kind::Protocol;
        let all_here = self.expected.is_empty() && !out_of_step;
        for (recipient, standing) in self.envelope.recipients.iter().zip(&mut self.standing) {
            let counts = match standing {
                RecipientStanding::Settled(_) | RecipientStanding::Surplus(_) => committed || !out_of_step,
                RecipientStanding::Answered(_) => all_here,
                RecipientStanding::Asked | RecipientStanding::Accepted => false,
            };
            if !counts {
                *standing = RecipientStanding::Settled(unanswered(&recipient.address, fault, committed));
            }
        }
        self.closing = true;
        self.expected.clear();
        self.stage = Stage::Done;
    }

    /// The bytes after the reply to the message make it doubtful that the reply belongs to it.
    pub fn doubt(&mut self, fault: &Fault) {
        for (recipient, standing) in self.envelope.recipients.iter().zip(&mut self.standing) {
            if matches!(standing, RecipientStanding::Answered(_)) {
                *standing = RecipientStanding::Settled(unanswered(&recipient.address, fault, true));
            }
        }
        self.closing = true;
    }

    /// [`Transaction::commit`] announced the end of the message, but its last byte never left this host.
    pub fn not_committed(&mut self) {
        self.committed = false;
    }

    /// True if the connection must not be used for another message.
    pub fn closing(&self) -> bool {
        self.closing
    }

    /// The envelope of this transaction.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// True if the server ended the connection before it said anything about this message.
    pub fn stale(&self) -> bool {
        self.stale
    }

    /// True if a reply did not fit its command.
    pub fn out_of_step(&self) -> bool {
        self.out_of_step
    }

    /// True if every reply so far accepted its command.
    pub fn agreed(&self) -> bool {
        self.agreed
    }

    /// The recipients, as indices into the envelope, that the server wants in another transaction.
    pub fn surplus(&self) -> Vec<usize> {
        let is_surplus =
            |(index, standing): (usize, &_)| matches!(standing, RecipientStanding::Surplus(_)).then_some(index);
        self.standing.iter().enumerate().filter_map(is_surplus).collect()
    }

    /// The server's limit of recipients in one transaction, if it is known.
    pub fn most_recipients(&self) -> Option<usize> {
        self.most_recipients
    }

    /// One result per recipient, in the envelope's order.
    pub fn into_results(mut self) -> Vec<RecipientResult> {
        if self.stage != Stage::Done {
            self.lost(&Fault::new(Kind::Cancelled, "stopped before the message was complete"));
        }
        let recipients = self.envelope.recipients.iter().zip(self.standing);
        let result = |(recipient, standing): (&Recipient, _)| match standing {
            RecipientStanding::Settled(result) => Some(result),
            RecipientStanding::Answered(reply) => Some(concluded(&recipient.address, &reply)),
            RecipientStanding::Surplus(reply) => Some(put_off(&recipient.address, reply.as_ref())),
            RecipientStanding::Asked | RecipientStanding::Accepted => None,
        };
        recipients.filter_map(result).collect()
    }

    /// True if a recipient is accepted, and with `partial` false also every other one within the server's limit.
    fn may_send(&self) -> bool {
        let accepted = self.accepted();
        accepted > 0 && (self.options.partial || accepted + self.surplus().len() == self.standing.len())
    }

    fn accepted(&self) -> usize {
        self.standing.iter().filter(|standing| **standing == RecipientStanding::Accepted).count()
    }

    /// True while a recipient is accepted or may yet be accepted.
    fn is_wanted(&self) -> bool {
        let wanted = |it: &_| matches!(it, RecipientStanding::Asked | RecipientStanding::Accepted);
        self.standing.iter().any(wanted)
    }

    /// The server has accepted `count` recipients and takes no more in this transaction: RCPT is sent for no others.
    fn put_off(&mut self, index: usize, reply: &SmtpReply, count: usize) {
        self.most_recipients = Some(count);
        if let Some(standing @ RecipientStanding::Asked) = self.standing.get_mut(index) {
            *standing = RecipientStanding::Surplus(Some(reply.clone()));
        }
    }

    fn accept(&mut self, index: usize) {
        if let Some(standing @ RecipientStanding::Asked) = self.standing.get_mut(index) {
            *standing = RecipientStanding::Accepted;
        }
    }

    /// Stores the reply to the end of the message, for one recipient or for all accepted ones.
    fn answer(&mut self, of: Option<usize>, reply: &SmtpReply) {
        for (index, standing) in self.standing.iter_mut().enumerate() {
            if *standing == RecipientStanding::Accepted && of.is_none_or(|of| of == index) {
                *standing = RecipientStanding::Answered(reply.clone());
            }
        }
    }

    fn refuse(&mut self, index: usize, reply: &SmtpReply, what: &str) {
        let Some(recipient) = self.envelope.recipients.get(index) else { return };
        if let Some(standing) = self.standing.get_mut(index)
            && !matches!(standing, RecipientStanding::Settled(_))
        {
            *standing = RecipientStanding::Settled(refused(&recipient.address, reply, what));
        }
    }

    fn refuse_all(&mut self, reply: &SmtpReply, what: &str) {
        for index in 0..self.standing.len() {
            self.refuse(index, reply, what);
        }
    }

    /// Cancels the message: accepted recipients fail because others were refused, and RSET makes the server forget the envelope.
    fn give_up(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let refused = self.standing.iter().find_map(|standing| match standing {
            RecipientStanding::Settled(result) => Some(result.address.clone()),
            _ => None,
        });
        let refused = refused.as_ref().map_or("a recipient at another server", Address::as_str);
        let detail = format!("not sent: {refused} was not accepted");
        let fault = Fault::new(Kind::Cancelled, detail);
        // With `partial`, the surplus recipients get their turn in another transaction.
        let their_turn = self.options.partial && self.released != Some(false);
        for (recipient, standing) in self.envelope.recipients.iter().zip(&mut self.standing) {
            match standing {
                RecipientStanding::Settled(_) => {}
                RecipientStanding::Surplus(_) if their_turn => {}
                _ => *standing = RecipientStanding::Settled(unanswered(&recipient.address, &fault, false)),
            }
        }
        SmtpCommand::Rset.wire(out)?;
        self.expected.push_back(Expect::Rset);
        self.stage = Stage::Finish;
        Ok(())
    }
}

/// True if a server that has accepted this many recipients wants this one in another transaction: reply 452, or 552
/// from servers older than RFC 2821 (RFC 5321, section 4.5.3.1.10), or the enhanced code for it (X.5.3, RFC 3463).
fn too_many(reply: &SmtpReply, accepted: usize) -> bool {
    accepted > 0
        && reply.code != 421
        && match reply.enhanced {
            Some(code) => (code.subject, code.detail) == (5, 3),
            None => matches!(reply.code, 452 | 552),
        }
}

/// Checks that the server can carry this message at all.
fn check(envelope: &Envelope, offer: &Capabilities, size: u64, has_8bit: bool) -> Result<(), Fault> {
    let lacks = |subject, detail, what: String| {
        Err(Fault::new(Kind::Unsupported, what).with_enhanced(Some(Enhanced::new(5, subject, detail))))
    };
    if let Some(limit) = offer.size.filter(|limit| *limit > 0 && size > *limit) {
        let what = format!("message of {size} bytes is larger than the server's limit of {limit}");
        return Err(Fault::new(Kind::Refused, what).with_enhanced(Some(Enhanced::new(5, 3, 4))));
    }
    let recipients = envelope.recipients.iter().map(|recipient| &recipient.address);
    let mut addresses = envelope.sender.address().into_iter().chain(recipients);
    if let Some(address) = addresses.find(|address| !address.is_ascii() && !envelope.smtputf8) {
        return Err(Fault::new(Kind::BadData, format!("address outside ASCII without SMTPUTF8: {address}")));
    }
    if envelope.smtputf8 && !offer.smtputf8 {
        return lacks(6, 7, "the server lacks SMTPUTF8, which this message needs".to_owned());
    }
    if has_8bit && !offer.eight_bit {
        return lacks(6, 3, "the server lacks 8BITMIME, which this message needs".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
