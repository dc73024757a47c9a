//! Failures on purpose, for tests of mail programs: a reply, a delay, the end of the connection at any point of the dialogue.

use std::time::Duration;

use super::{SmtpConnection, SmtpPeer, SmtpService};
use crate::fault::{Fault, Kind};
use crate::net::listen::Shutdown;
use crate::smtp::envelope::Envelope;
use crate::smtp::reply::SmtpReply;
use crate::smtp::session::DialoguePhase;

/// One failure on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mishap {
    /// The time before anything else happens.
    pub delay: Duration,
    /// The reply instead of the usual one; there is none at [`DialoguePhase::Connect`] and [`DialoguePhase::Body`].
    pub reply: Option<SmtpReply>,
    /// What becomes of the connection.
    pub end: MishapEnd,
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MishapEnd {
    /// The dialogue goes on.
    GoesOn,
    /// It is closed after the reply.
    Closes,
    /// It is closed without a reply.
    Drops,
}

/// The mishap of a new connection, before TLS and the greeting.
pub(super) async fn at_connect<S: SmtpService>(service: &S, peer: &SmtpPeer, shutdown: &Shutdown) -> Result<(), Fault> {
    if !service.has_mishaps() {
        return Ok(());
    }
    let address = peer.address.map(|address| address.ip().to_canonical().to_string()).unwrap_or_default();
    match service.mishap(peer, None, DialoguePhase::Connect, &address) {
        Some(mishap) => mishap.suffer(shutdown).await,
        None => Ok(()),
    }
}

impl Mishap {
    /// Waits, and fails if the connection is to be dropped.
    async fn suffer(&self, shutdown: &Shutdown) -> Result<(), Fault> {
        tokio::select! {
            () = tokio::time::sleep(self.delay) => {}
            () = shutdown.ended() => {}
        }
        match self.end {
            MishapEnd::Drops => Err(Fault::new(Kind::Disconnected, "the connection was dropped on purpose")),
            _ => Ok(()),
        }
    }
}

impl<S: SmtpService> SmtpConnection<'_, S> {
    /// The greeting is in the output; a mishap may replace it.
    pub(super) async fn greet(&mut self) -> Result<(), Fault> {
        if !self.service.has_mishaps() {
            return Ok(());
        }
        self.session.announce_steps();
        let greeting = std::mem::take(self.session.output());
        let Some(mishap) = self.service.mishap(&self.totals.peer, None, DialoguePhase::Banner, "") else {
            *self.session.output() = greeting;
            return Ok(());
        };
        mishap.suffer(self.shutdown).await?;
        match mishap.reply {
            Some(reply) => self.session.close(&reply),
            None => *self.session.output() = greeting,
        }
        if mishap.end == MishapEnd::Closes {
            self.session.end();
        }
        Ok(())
    }

    /// The mishap at the first bytes of a message. `envelope` as for [`SmtpConnection::stumble`].
    pub(super) async fn begin_body(&mut self, envelope: Option<&Envelope>) -> Result<(), Fault> {
        if !std::mem::replace(&mut self.body_began, true) {
            self.stumble(DialoguePhase::Body, envelope, "").await?;
        }
        Ok(())
    }

    /// The mishap at this point of the dialogue, if there is one: after its delay, returns the reply that replaces the usual one.
    /// `envelope` is the complete one if the session has given it away.
    ///
    /// # Errors
    /// [`Kind::Disconnected`] if the connection is to be dropped.
    pub(super) async fn stumble(
        &mut self,
        phase: DialoguePhase,
        envelope: Option<&Envelope>,
        subject: &str,
    ) -> Result<Option<SmtpReply>, Fault> {
        if !self.service.has_mishaps() {
            return Ok(None);
        }
        self.refresh_peer();
        let envelope = envelope.or(self.session.envelope());
        let Some(mishap) = self.service.mishap(&self.totals.peer, envelope, phase, subject) else { return Ok(None) };
        // Replies to earlier commands come in time.
        self.flush().await?;
        mishap.suffer(self.shutdown).await?;
        if mishap.end == MishapEnd::Closes {
            self.session.end_with_next_reply();
        }
        Ok(mishap.reply)
    }
}
