//! Receives the message, by DATA or BDAT: counts and checks it, and passes it on unless it is spoiled.

use crate::fault::Enhanced;
use crate::smtp::data::{BareNewline, NewlineCheck, Piece};
use crate::smtp::reply::SmtpReply;

use super::{CURE, MAX_EXCESS, MessageQuestion, SessionMode, SmtpEvent, SmtpSession, Spoiled};

impl SmtpSession {
    /// Handles one piece of DATA, which ends at offset `end` of the input.
    pub(super) fn piece(&mut self, end: usize, piece: Piece<'_>) -> Option<SmtpEvent> {
        match piece {
            Piece::Data(data) => self.content(data, end),
            Piece::LineEnd => self.line_end(),
            Piece::Bare => {
                self.spoiled = Some(Spoiled::BareNewline);
                None
            }
            Piece::End => self.message_end(),
        }
    }

    /// Handles the available part of a BDAT chunk.
    pub(super) fn chunk(&mut self, rest: &[u8]) -> (usize, Option<SmtpEvent>) {
        let SessionMode::Chunk { left, last } = &mut self.mode else { return (0, None) };
        let available = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
        if available > 0 {
            let (step, piece) = self.newlines.next(rest.get(..available).unwrap_or_default());
            *left -= step as u64;
            let bare = piece == Piece::Bare && self.spoiled.is_some();
            return (step, if bare { None } else { self.piece(step, piece) });
        }
        if *last {
            if self.newlines.finish() == Err(BareNewline) && self.spoiled.is_none() {
                self.spoiled = Some(Spoiled::BareNewline);
            }
            return (0, self.message_end());
        }
        self.mode = SessionMode::Command;
        match self.spoiled {
            Some(Spoiled::OutOfOrder) => {
                self.spoiled = None;
                let reply = self.chunk_reply();
                self.say(&reply);
            }
            // The refusal is sent with each chunk: a client may stop early.
            Some(Spoiled::TooBig) => self.say(&self.too_big()),
            Some(Spoiled::BareNewline | Spoiled::Nul) | None => self.say(&SmtpReply::status(250, 0, 0, "chunk taken")),
        }
        (0, None)
    }

    /// Counts message data, which ends at offset `end` of the input, and passes it on unless the message is spoiled.
    fn content(&mut self, data: &[u8], end: usize) -> Option<SmtpEvent> {
        if self.spoiled.is_none() && memchr::memchr(0, data).is_some() {
            self.spoiled = Some(Spoiled::Nul);
        }
        if let Some(event) = self.count(data.len()) {
            return Some(event);
        }
        if self.spoiled.is_some() || data.is_empty() {
            return None;
        }
        if let Some(envelope) = &mut self.envelope {
            envelope.eight_bit = envelope.eight_bit || !data.is_ascii();
        }
        Some(SmtpEvent::Content(end - data.len()..end))
    }

    /// Handles a line end of the message that was not received as CRLF.
    fn line_end(&mut self) -> Option<SmtpEvent> {
        self.count(2).or_else(|| self.spoiled.is_none().then_some(SmtpEvent::LineEnd))
    }

    /// Counts message data. Returns an event if the message is so large that the server stops reading.
    fn count(&mut self, length: usize) -> Option<SmtpEvent> {
        self.received = self.received.saturating_add(length as u64);
        let limit = self.config.max_size;
        if limit > 0 && self.received > limit && self.spoiled.is_none() {
            self.spoiled = Some(Spoiled::TooBig);
        }
        if self.spoiled.is_some() && self.received > limit.saturating_add(MAX_EXCESS) {
            let reply = self.too_big();
            self.close(&reply);
            return Some(SmtpEvent::Close);
        }
        None
    }

    /// Handles the end of the message: a verdict is due, or a reply with the reason why it is spoiled.
    fn message_end(&mut self) -> Option<SmtpEvent> {
        let by_data = matches!(self.mode, SessionMode::Data(_));
        self.mode = SessionMode::Command;
        let reply = match self.spoiled {
            None => {
                self.mode = SessionMode::AwaitVerdict;
                let envelope = self.envelope.take().unwrap_or_default();
                let question = MessageQuestion { recipients: envelope.recipients.len() };
                return Some(SmtpEvent::Message(envelope, question));
            }
            Some(Spoiled::OutOfOrder) => self.chunk_reply(),
            Some(Spoiled::TooBig) => self.too_big(),
            Some(Spoiled::BareNewline) => {
                SmtpReply::new(554, Some(Enhanced::new(5, 6, 0)), format!("bare CR or LF in the message{CURE}"))
            }
            Some(Spoiled::Nul) => SmtpReply::status(554, 6, 0, "NUL in the message"),
        };
        let distrust = by_data && self.spoiled == Some(Spoiled::BareNewline);
        let recipients = self.envelope.take().map_or(0, |envelope| envelope.recipients.len());
        let count = if self.config.lmtp { recipients.max(1) } else { 1 };
        for _ in 1..count {
            reply.wire(&mut self.output);
        }
        self.say(&reply);
        self.forget_message();
        if distrust {
            // A client with other line ends may have ended the message there, too: its further input is not trusted.
            self.mode = SessionMode::Closed;
            return Some(SmtpEvent::Close);
        }
        None
    }

    fn too_big(&self) -> SmtpReply {
        SmtpReply::status(552, 3, 4, format!("message too big: at most {} bytes", self.config.max_size))
    }

    pub(super) fn forget_message(&mut self) {
        self.received = 0;
        self.in_chunks = false;
        self.spoiled = None;
        self.newlines = NewlineCheck::new(self.config.bare_lf);
    }
}
