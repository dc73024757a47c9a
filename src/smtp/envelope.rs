//! What goes into a transaction and what comes out of it: an envelope, and one result per recipient.

use crate::fault::{Enhanced, Fault};
use crate::smtp::command::{Notify, Ret};

/// Who sends what to whom (RFC 5321, section 2.3.1), with the options of RFC 3461 and RFC 6531.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The reverse-path; empty for the null reverse-path `<>`.
    pub sender: String,
    /// At least one.
    pub recipients: Vec<Recipient>,
    /// Addresses or header fields are outside ASCII (RFC 6531).
    pub smtputf8: bool,
    /// The body is outside ASCII (RFC 6152).
    pub eight_bit: bool,
    /// How much of the message a failure notice returns.
    pub ret: Option<Ret>,
    /// The sender's name for this transaction, decoded.
    pub envid: Option<String>,
}

/// One recipient of an [`Envelope`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipient {
    /// The forward-path: `local@domain`.
    pub address: String,
    /// When the sender wants a notice.
    pub notify: Option<Notify>,
    /// The original recipient, decoded: `rfc822;bob@example.com`.
    pub orcpt: Option<String>,
}

impl Recipient {
    /// A recipient without options.
    pub fn new(address: impl Into<String>) -> Recipient {
        Recipient { address: address.into(), notify: None, orcpt: None }
    }
}

/// What became of the message for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The server took responsibility.
    Delivered,
    /// For good: 5xx, or something the server lacks.
    Refused,
    /// Not now: 4xx, or the connection failed before the message was complete.
    Deferred,
    /// The message was complete and no answer came: it may have been taken.
    Unknown,
}

impl Outcome {
    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Refused => "refused",
            Outcome::Deferred => "deferred",
            Outcome::Unknown => "unknown",
        }
    }
}

/// The outcome for one recipient and the words behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientResult {
    /// The forward-path as it was given.
    pub address: String,
    /// What became of it.
    pub outcome: Outcome,
    /// The code of the reply that decided, if one did.
    pub code: Option<u16>,
    /// Its enhanced status code.
    pub enhanced: Option<Enhanced>,
    /// The whole reply as one line; empty if none decided. The server chose these bytes: escape them when printing.
    pub reply: String,
    /// Why it was not delivered; `None` exactly when it was.
    pub fault: Option<Fault>,
}
