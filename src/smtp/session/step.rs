//! Steps that a driver may refuse before they are taken, and sessions that end with a reply: for servers that fail on purpose.

use crate::smtp::command::SmtpCommand;
use crate::smtp::reply::SmtpReply;

use super::{SessionMode, SmtpEvent, SmtpSession, Spoiled};

/// A point of the dialogue, in the order of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DialoguePhase {
    /// The connection is open; nothing was said.
    Connect,
    /// The greeting is due.
    Banner,
    /// EHLO, HELO or LHLO.
    Helo,
    /// STARTTLS.
    StartTls,
    /// User name and password are known.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, or the first BDAT.
    Data,
    /// The first bytes of the message have arrived.
    Body,
    /// The message is complete.
    Dot,
    /// QUIT.
    Quit,
}

/// The driver's decision about the next command.
#[derive(Debug, Default)]
pub(super) enum StepVerdict {
    /// The driver was not asked yet.
    #[default]
    Open,
    /// It was asked.
    Asked,
    /// The command is obeyed.
    Taken,
    /// The command gets this reply and has no effect.
    Refused(SmtpReply),
}

impl StepVerdict {
    pub(super) fn take_refusal(&mut self) -> Option<SmtpReply> {
        match std::mem::take(self) {
            StepVerdict::Refused(reply) => Some(reply),
            _ => None,
        }
    }
}

impl SmtpSession {
    /// Asks the driver by [`SmtpEvent::Step`] before it obeys EHLO, STARTTLS, DATA, BDAT and QUIT.
    pub fn announce_steps(&mut self) {
        self.announces = true;
    }

    /// The answer to [`SmtpEvent::Step`]: `None` takes the step, a reply refuses it.
    pub fn step_verdict(&mut self, refusal: Option<SmtpReply>) {
        self.step = refusal.map_or(StepVerdict::Taken, StepVerdict::Refused);
    }

    /// The answer to [`SmtpEvent::Login`] that refuses the login by this reply, whatever the password.
    pub fn login_refused(&mut self, _: super::LoginQuestion, reply: &SmtpReply) {
        self.mode = SessionMode::Command;
        self.say(reply);
    }

    /// The session ends with its next reply.
    pub fn end_with_next_reply(&mut self) {
        self.last_reply = true;
    }

    /// The session ends with the replies that are in the output.
    pub fn end(&mut self) {
        self.mode = SessionMode::Closed;
    }

    /// The event that announces this command; `None` if it is no step, or was announced.
    pub(super) fn announced(&mut self, command: &SmtpCommand) -> Option<SmtpEvent> {
        if !self.announces || !matches!(self.step, StepVerdict::Open | StepVerdict::Asked) {
            return None;
        }
        let ready = self.envelope.as_ref().is_some_and(|envelope| !envelope.recipients.is_empty()) && !self.in_chunks;
        let (phase, name) = match command {
            SmtpCommand::Ehlo(name) | SmtpCommand::Helo(name) if !self.config.lmtp => (DialoguePhase::Helo, name),
            SmtpCommand::Lhlo(name) if self.config.lmtp => (DialoguePhase::Helo, name),
            SmtpCommand::StartTls if self.config.starttls && !self.tls && self.envelope.is_none() => {
                (DialoguePhase::StartTls, &String::new())
            }
            SmtpCommand::Data | SmtpCommand::Bdat { .. } if ready => (DialoguePhase::Data, &String::new()),
            SmtpCommand::Quit => (DialoguePhase::Quit, &String::new()),
            _ => return None,
        };
        if !self.may_do(command) {
            return None;
        }
        // A driver that forgot its verdict must not get another step.
        if matches!(self.step, StepVerdict::Asked) {
            self.close(&SmtpReply::status(421, 3, 0, "internal error"));
            return Some(SmtpEvent::Close);
        }
        self.step = StepVerdict::Asked;
        Some(SmtpEvent::Step(phase, name.clone()))
    }

    /// Replies to a command that the driver has refused. The chunk of BDAT is read all the same; its reply comes after it.
    pub(super) fn refuse_step(&mut self, command: &SmtpCommand, refusal: Option<SmtpReply>) {
        if let SmtpCommand::Bdat { size, last } = *command {
            self.mode = SessionMode::Chunk { left: size, last };
            self.spoiled = Some(Spoiled::OutOfOrder);
            self.chunk_refusal = refusal;
        } else if let Some(reply) = refusal {
            self.say(&reply);
        }
    }

    /// The reply to a chunk that was not expected or was refused.
    pub(super) fn chunk_reply(&mut self) -> SmtpReply {
        self.chunk_refusal.take().unwrap_or_else(|| SmtpReply::status(503, 5, 1, "BDAT out of order"))
    }
}
