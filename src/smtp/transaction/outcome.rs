//! The outcome of a message for each recipient, and the proof that a delivery requires.

use super::{Envelope, SmtpReply};
use crate::fault::{Enhanced, Fault, Kind};
use crate::smtp::address::Address;

/// Proof that a server took responsibility for a message: its reply to the final dot or the last BDAT was 2yz, in step.
/// Only a [`Transaction`](super::Transaction) creates one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted(());

#[cfg(test)]
impl Accepted {
    /// A proof for a simulated server.
    pub(crate) fn simulated() -> Accepted {
        Accepted(())
    }
}

/// The outcome of the message for one recipient; `P` proves a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientOutcome<P = Accepted> {
    /// The server took responsibility.
    Delivered(P),
    /// Permanent failure: 5xx, or a feature that the server lacks.
    Refused,
    /// Temporary failure: 4xx, or the connection failed before the message was complete.
    Deferred,
    /// The client stopped before the message was complete.
    Stopped,
    /// The message was complete, but no reply arrived that certainly belongs to it: the server may have accepted the message.
    Unknown,
}

impl<P> RecipientOutcome<P> {
    /// The name used in JSON.
    pub const fn as_str(&self) -> &'static str {
        match self {
            RecipientOutcome::Delivered(_) => "delivered",
            RecipientOutcome::Refused => "refused",
            RecipientOutcome::Deferred | RecipientOutcome::Stopped => "deferred",
            RecipientOutcome::Unknown => "unknown",
        }
    }

    /// True when the message was delivered.
    pub const fn is_delivered(&self) -> bool {
        matches!(self, RecipientOutcome::Delivered(_))
    }
}

/// The outcome for one recipient and the reply behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientResult<P = Accepted> {
    /// The forward-path as it was given.
    pub address: Address,
    /// The outcome.
    pub outcome: RecipientOutcome<P>,
    /// The code of the decisive reply, if there was one.
    pub code: Option<u16>,
    /// Its enhanced status code.
    pub enhanced: Option<Enhanced>,
    /// The whole reply as one line; empty without a decisive reply. The server chose these bytes: escape them when printing.
    pub reply: String,
    /// The reason for the failure; `None` exactly for a delivered message.
    pub fault: Option<Fault>,
}

impl<P> RecipientResult<P> {
    /// The same result with another type of proof.
    pub fn map_proof<Q>(self, map: impl FnOnce(P) -> Q) -> RecipientResult<Q> {
        let outcome = match self.outcome {
            RecipientOutcome::Delivered(proof) => RecipientOutcome::Delivered(map(proof)),
            RecipientOutcome::Refused => RecipientOutcome::Refused,
            RecipientOutcome::Deferred => RecipientOutcome::Deferred,
            RecipientOutcome::Stopped => RecipientOutcome::Stopped,
            RecipientOutcome::Unknown => RecipientOutcome::Unknown,
        };
        RecipientResult {
            outcome,
            address: self.address,
            code: self.code,
            enhanced: self.enhanced,
            reply: self.reply,
            fault: self.fault,
        }
    }
}

/// The result for a reply to the end of the message.
pub(super) fn concluded(address: &Address, reply: &SmtpReply) -> RecipientResult {
    if !reply.accepts() {
        return refused(address, reply, "message");
    }
    RecipientResult {
        address: address.clone(),
        outcome: RecipientOutcome::Delivered(Accepted(())),
        code: Some(reply.code),
        enhanced: reply.enhanced,
        reply: reply.text(),
        fault: None,
    }
}

/// The result for a 4yz or 5yz reply to the command `what`.
pub(super) fn refused(address: &Address, reply: &SmtpReply, what: &str) -> RecipientResult {
    RecipientResult {
        address: address.clone(),
        outcome: if reply.permanent() { RecipientOutcome::Refused } else { RecipientOutcome::Deferred },
        code: Some(reply.code),
        enhanced: reply.enhanced,
        reply: reply.text(),
        fault: Some(reply.fault(what)),
    }
}

/// The result for a recipient beyond the server's limit per transaction.
pub(super) fn put_off(address: &Address, reply: Option<&SmtpReply>) -> RecipientResult {
    let later = |fault: Fault| Fault { kind: Kind::PeerTemporary, ..fault };
    match reply {
        Some(reply) => {
            let fault = Some(later(reply.fault("RCPT")));
            RecipientResult { outcome: RecipientOutcome::Deferred, fault, ..refused(address, reply, "RCPT") }
        }
        None => unanswered(address, &Fault::new(Kind::PeerTemporary, "too many recipients at a time"), false),
    }
}

/// The result without a decisive reply. If the fault contains a reply of the peer (421), that reply is kept.
pub(super) fn unanswered<P>(address: &Address, fault: &Fault, committed: bool) -> RecipientResult<P> {
    let outcome = match fault.kind {
        _ if committed => RecipientOutcome::Unknown,
        Kind::Unsupported | Kind::Refused | Kind::BadData => RecipientOutcome::Refused,
        Kind::Cancelled => RecipientOutcome::Stopped,
        _ => RecipientOutcome::Deferred,
    };
    let fault = if committed {
        Fault { kind: Kind::Unknown, ..fault.clone() }.context("no answer after the end of the message")
    } else {
        fault.clone()
    };
    RecipientResult {
        address: address.clone(),
        outcome,
        code: fault.reply_code(),
        enhanced: fault.enhanced,
        reply: String::new(),
        fault: Some(fault),
    }
}

/// The same outcome for every recipient of a message that could not be attempted.
pub fn all_failed<P>(envelope: &Envelope, fault: &Fault) -> Vec<RecipientResult<P>> {
    envelope.recipients.iter().map(|recipient| unanswered(&recipient.address, fault, false)).collect()
}
