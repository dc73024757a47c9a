//! One message over one connection, as a state machine without sockets: what to send, what each reply means, and one
//! outcome per recipient whatever happens.

use std::collections::VecDeque;

use crate::fault::{Enhanced, Fault, Kind};
use crate::smtp::address::Address;
use crate::smtp::command::{Body, Command, MailFrom, RcptTo};
pub use crate::smtp::envelope::{Envelope, Outcome, Recipient, RecipientResult};
use crate::smtp::extension::Capabilities;
use crate::smtp::reply::Reply;

/// The most commands sent ahead of their replies. More could fill both directions' buffers and stop both sides (RFC
/// 2920, section 3.1).
pub const MAX_IN_FLIGHT: usize = 100;

/// A message up to this size is one BDAT chunk, sent behind RCPT without waiting; of a larger one, this much is kept
/// back for the last chunk, so that the commit comes at the end.
pub const LAST_CHUNK: u64 = 64 * 1024;

/// How a transaction is to be carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// Send to those who are accepted although others are refused.
    pub partial: bool,
    /// One final reply per accepted recipient (RFC 2033).
    pub lmtp: bool,
    /// Never use BDAT, even if it is offered.
    pub no_chunking: bool,
    /// Ask before anything of the message is sent ([`Next::Ask`]).
    pub hold: bool,
}

/// How the message itself is put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Behind DATA: dot-stuffed, ended by a lone dot.
    Dot,
    /// In BDAT chunks.
    Bdat,
}

/// What the driver does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send what was put out so far and read one reply.
    Reply,
    /// Whoever is to get the message is accepted: call [`Transaction::released`] with whether it is to be sent.
    Ask,
    /// Send what was put out so far and the message (or its next chunk), then call [`Transaction::sent`].
    Content(Framing),
    /// Every recipient has its outcome.
    Done,
}

/// Which command a reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Mail,
    Rcpt(usize),
    Data,
    Chunk,
    /// The message: for everybody, or for one recipient (LMTP).
    Final(Option<usize>),
    EmptyMessage,
    Rset,
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
enum Standing {
    Asked,
    Accepted,
    Settled(RecipientResult),
}

/// The state machine of one message. The driver asks [`Transaction::next`], does what it says, hands in each
/// [`Transaction::reply`] or the fault that ended the connection, and takes the results.
#[derive(Debug)]
pub struct Transaction {
    envelope: Envelope,
    rules: Rules,
    mail: MailFrom,
    dsn: bool,
    pipelining: bool,
    framing: Framing,
    small: bool,
    stage: Stage,
    mail_sent: bool,
    next_rcpt: usize,
    expected: VecDeque<Expect>,
    standing: Vec<Standing>,
    go: bool,
    /// The answer to [`Next::Ask`].
    released: Option<bool>,
    committed: bool,
    closing: bool,
}

impl Transaction {
    /// Prepares a message of `size` bytes for a server with these capabilities. Err: what the server lacks or the
    /// envelope violates; nothing may be sent.
    pub fn new(
        envelope: Envelope,
        offer: &Capabilities,
        size: u64,
        has_8bit: bool,
        rules: Rules,
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
            rules,
            mail,
            dsn: offer.dsn,
            pipelining: offer.pipelining,
            framing: if offer.chunking && !rules.no_chunking { Framing::Bdat } else { Framing::Dot },
            small: size <= LAST_CHUNK,
            stage: if recipients == 0 { Stage::Done } else { Stage::Envelope },
            mail_sent: false,
            next_rcpt: 0,
            expected: VecDeque::new(),
            standing: vec![Standing::Asked; recipients],
            go: false,
            released: None,
            committed: false,
            closing: false,
            envelope,
        })
    }

    /// Appends commands to `out` and says what to do when they are sent. Err: an argument that cannot be sent; the
    /// connection is still where it was if nothing had been put out before.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<Next, Fault> {
        loop {
            match self.stage {
                Stage::Envelope => {
                    if let Some(next) = self.envelope_step(out)? {
                        return Ok(next);
                    }
                }
                Stage::AwaitGo if !self.expected.is_empty() => return Ok(Next::Reply),
                Stage::AwaitGo if self.go && self.may_send() => self.stage = Stage::Content,
                Stage::AwaitGo if self.go => {
                    // Nobody was accepted and the server said 354 all the same: a lone dot (RFC 2920, section 3.1).
                    out.extend_from_slice(b".\r\n");
                    self.expected.push_back(Expect::EmptyMessage);
                    self.go = false;
                    return Ok(Next::Reply);
                }
                Stage::AwaitGo => self.give_up(out)?,
                Stage::Content => return Ok(Next::Content(self.framing)),
                Stage::Finish if !self.expected.is_empty() => return Ok(Next::Reply),
                Stage::Finish => self.stage = Stage::Done,
                Stage::Done => return Ok(Next::Done),
            }
        }
    }

    /// MAIL, RCPT and what may follow them in one group. `None`: the stage changed.
    fn envelope_step(&mut self, out: &mut Vec<u8>) -> Result<Option<Next>, Fault> {
        if !self.mail_sent {
            Command::Mail(self.mail.clone()).wire(out)?;
            self.mail_sent = true;
            self.expected.push_back(Expect::Mail);
        }
        let full = if self.pipelining { MAX_IN_FLIGHT } else { 1 };
        while let Some(recipient) = self.envelope.recipients.get(self.next_rcpt).filter(|_| !self.mail_refused()) {
            if self.expected.len() >= full {
                return Ok(Some(Next::Reply));
            }
            let rcpt = RcptTo {
                recipient: recipient.address.clone(),
                notify: recipient.notify.filter(|_| self.dsn),
                orcpt: recipient.orcpt.clone().filter(|_| self.dsn),
            };
            Command::Rcpt(rcpt).wire(out)?;
            self.expected.push_back(Expect::Rcpt(self.next_rcpt));
            self.next_rcpt += 1;
        }
        // With several recipients and all-or-nothing, nothing may follow RCPT before its replies are known.
        let one = self.standing.len() == 1;
        // LMTP must know who was accepted before it knows how many replies the last chunk gets.
        let chunk = self.small && !self.rules.lmtp;
        let eager = self.pipelining
            && !self.rules.hold
            && (self.rules.partial || one)
            && (self.framing == Framing::Dot || chunk);
        let may_follow = self.expected.is_empty() || (eager && self.unsettled() > 0);
        if !may_follow {
            return Ok(Some(Next::Reply));
        }
        if self.expected.is_empty() && (!self.may_send() || self.released == Some(false)) {
            self.give_up(out)?;
        } else if self.rules.hold && self.released.is_none() {
            return Ok(Some(Next::Ask));
        } else if self.framing == Framing::Bdat {
            self.stage = Stage::Content;
        } else {
            Command::Data.wire(out)?;
            self.expected.push_back(Expect::Data);
            self.stage = Stage::AwaitGo;
        }
        Ok(None)
    }

    /// The answer to [`Next::Ask`]: with `false` nobody gets the message.
    pub fn released(&mut self, go: bool) {
        self.released = Some(go);
    }

    /// The driver sent the message, or with `last` false a chunk of it that is not the last.
    pub fn sent(&mut self, last: bool) {
        if !last {
            self.expected.push_back(Expect::Chunk);
            self.stage = Stage::AwaitGo;
            self.go = true;
            return;
        }
        self.stage = Stage::Finish;
        if self.rules.lmtp {
            let accepted = |(index, standing): (usize, &Standing)| (*standing == Standing::Accepted).then_some(index);
            self.expected
                .extend(self.standing.iter().enumerate().filter_map(accepted).map(|index| Expect::Final(Some(index))));
        } else {
            self.expected.push_back(Expect::Final(None));
        }
    }

    /// The end of the message is about to be written: from now on a lost connection leaves the outcome unknown.
    pub fn commit(&mut self) {
        self.committed = true;
    }

    /// True while replies to commands that were sent are still due.
    pub fn awaits_reply(&self) -> bool {
        !self.expected.is_empty()
    }

    /// True once the end of the message may have reached the server.
    pub fn is_committed(&self) -> bool {
        self.committed
    }

    /// The server broke off in the middle of the message and said why.
    pub fn broken_off(&mut self, reply: &Reply) {
        self.settle_all(reply, "message");
    }

    /// Takes the next reply in order.
    pub fn reply(&mut self, reply: &Reply) {
        let Some(expected) = self.expected.pop_front() else {
            // A reply to nothing: the dialogue is out of step.
            return self.lost(&reply.fault("unasked"));
        };
        match expected {
            Expect::Mail if !reply.positive() => self.settle_all(reply, "MAIL"),
            Expect::Mail | Expect::Rset | Expect::EmptyMessage => {}
            Expect::Rcpt(index) if reply.positive() => self.accept(index),
            Expect::Rcpt(index) => self.settle(index, reply, "RCPT"),
            Expect::Data if reply.intermediate() => self.go = true,
            Expect::Data => self.settle_all(reply, "DATA"),
            Expect::Chunk if reply.positive() => {}
            Expect::Chunk => {
                self.go = false;
                self.settle_all(reply, "BDAT");
            }
            Expect::Final(None) => self.settle_all(reply, "message"),
            Expect::Final(Some(index)) => self.settle(index, reply, "message"),
        }
        if reply.code == 421 {
            self.lost(&reply.fault("server"));
        }
    }

    /// The connection is gone, or cannot be used any more. Who has no outcome yet gets one: unknown if the message was
    /// complete, else deferred.
    pub fn lost(&mut self, fault: &Fault) {
        let committed = self.committed;
        for (recipient, standing) in self.envelope.recipients.iter().zip(&mut self.standing) {
            if !matches!(standing, Standing::Settled(_)) {
                *standing = Standing::Settled(unanswered(&recipient.address, fault, committed));
            }
        }
        self.closing = true;
        self.expected.clear();
        self.stage = Stage::Done;
    }

    /// The end of the message was announced by [`Transaction::commit`], but its last byte never left this host.
    pub fn not_committed(&mut self) {
        self.committed = false;
    }

    /// True if the connection must not be used for another message.
    pub fn closing(&self) -> bool {
        self.closing
    }

    /// The envelope this was made from.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// One result per recipient, in the envelope's order.
    pub fn into_results(mut self) -> Vec<RecipientResult> {
        if self.stage != Stage::Done {
            self.lost(&Fault::new(Kind::Cancelled, "stopped before the message was complete"));
        }
        let settled = |standing| if let Standing::Settled(result) = standing { Some(result) } else { None };
        self.standing.into_iter().filter_map(settled).collect()
    }

    /// True if somebody is accepted, and everybody is unless that is not asked.
    fn may_send(&self) -> bool {
        let accepted = self.standing.iter().filter(|standing| **standing == Standing::Accepted).count();
        accepted > 0 && (self.rules.partial || accepted == self.standing.len())
    }

    fn unsettled(&self) -> usize {
        self.standing.iter().filter(|standing| !matches!(standing, Standing::Settled(_))).count()
    }

    /// MAIL was refused: everybody is settled before anybody was asked.
    fn mail_refused(&self) -> bool {
        self.expected.front() != Some(&Expect::Mail) && self.unsettled() == 0
    }

    fn accept(&mut self, index: usize) {
        if let Some(standing @ Standing::Asked) = self.standing.get_mut(index) {
            *standing = Standing::Accepted;
        }
    }

    fn settle(&mut self, index: usize, reply: &Reply, what: &str) {
        let Some(recipient) = self.envelope.recipients.get(index) else { return };
        if let Some(standing) = self.standing.get_mut(index)
            && !matches!(standing, Standing::Settled(_))
        {
            *standing = Standing::Settled(answered(&recipient.address, reply, what, self.committed));
        }
    }

    fn settle_all(&mut self, reply: &Reply, what: &str) {
        for index in 0..self.standing.len() {
            self.settle(index, reply, what);
        }
    }

    /// Nothing will be sent: who was accepted is told that others were refused, and the server forgets the envelope.
    fn give_up(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let refused = self.standing.iter().find_map(|standing| match standing {
            Standing::Settled(result) => Some(result.address.clone()),
            _ => None,
        });
        let refused = refused.unwrap_or_else(|| "a recipient at another server".to_owned());
        let detail = format!("not sent: {refused} was not accepted");
        let fault = Fault::new(Kind::Cancelled, detail);
        for (recipient, standing) in self.envelope.recipients.iter().zip(&mut self.standing) {
            if !matches!(standing, Standing::Settled(_)) {
                *standing = Standing::Settled(unanswered(&recipient.address, &fault, false));
            }
        }
        Command::Rset.wire(out)?;
        self.expected.push_back(Expect::Rset);
        self.stage = Stage::Finish;
        Ok(())
    }
}

/// What this server cannot carry at all.
fn check(envelope: &Envelope, offer: &Capabilities, size: u64, has_8bit: bool) -> Result<(), Fault> {
    let lacks = |subject, detail, what: String| {
        Err(Fault::new(Kind::Unsupported, what).with_enhanced(Some(Enhanced::new(5, subject, detail))))
    };
    if let Some(limit) = offer.size.filter(|limit| *limit > 0 && size > *limit) {
        let what = format!("message of {size} bytes is larger than the server's limit of {limit}");
        return Err(Fault::new(Kind::Refused, what).with_enhanced(Some(Enhanced::new(5, 3, 4))));
    }
    let addresses = std::iter::once(&envelope.sender).chain(envelope.recipients.iter().map(|to| &to.address));
    for address in addresses {
        if !address.is_ascii() && !envelope.smtputf8 {
            return Err(Fault::new(Kind::BadData, format!("address outside ASCII without SMTPUTF8: {address}")));
        }
        // Beyond the grammar nothing more is refused than what could change the command (RFC 5321 wants senders strict, but
        // such mailboxes exist and only their own server knows them).
        let harmless = |c: char| !c.is_control() && !c.is_whitespace() && c != '<' && c != '>';
        if Address::parse(address, true).is_err() && !address.chars().all(harmless) {
            return Err(Fault::new(Kind::BadData, format!("malformed address: {address}")));
        }
    }
    if envelope.smtputf8 && !offer.smtputf8 {
        return lacks(6, 7, "the server lacks SMTPUTF8, which this message needs".to_owned());
    }
    if has_8bit && !offer.eight_bit {
        return lacks(6, 3, "the server lacks 8BITMIME, which this message needs".to_owned());
    }
    Ok(())
}

/// The result of a reply that decided.
fn answered(address: &str, reply: &Reply, what: &str, committed: bool) -> RecipientResult {
    let (outcome, fault) = match reply.code / 100 {
        2 => (Outcome::Delivered, None),
        4 => (Outcome::Deferred, Some(reply.fault(what))),
        5 => (Outcome::Refused, Some(reply.fault(what))),
        // Neither yes nor no: out of step.
        _ if committed => (Outcome::Unknown, Some(Fault { kind: Kind::Unknown, ..reply.fault(what) })),
        _ => (Outcome::Deferred, Some(reply.fault(what))),
    };
    RecipientResult {
        address: address.to_owned(),
        outcome,
        code: Some(reply.code),
        enhanced: reply.enhanced,
        reply: reply.text(),
        fault,
    }
}

/// The result when no reply decided. A fault that carries the peer's own words (421) keeps them.
fn unanswered(address: &str, fault: &Fault, committed: bool) -> RecipientResult {
    let outcome = match fault.kind {
        _ if committed => Outcome::Unknown,
        Kind::Unsupported | Kind::Refused | Kind::BadData => Outcome::Refused,
        _ => Outcome::Deferred,
    };
    let fault = if committed {
        Fault { kind: Kind::Unknown, ..fault.clone() }.context("no answer after the end of the message")
    } else {
        fault.clone()
    };
    RecipientResult {
        address: address.to_owned(),
        outcome,
        code: fault.code,
        enhanced: fault.enhanced,
        reply: String::new(),
        fault: Some(fault),
    }
}

/// The same outcome for every recipient of a message that could not be tried at all.
pub fn all_failed(envelope: &Envelope, fault: &Fault) -> Vec<RecipientResult> {
    envelope.recipients.iter().map(|recipient| unanswered(&recipient.address, fault, false)).collect()
}

#[cfg(test)]
mod tests;
