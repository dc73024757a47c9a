//! What goes into a transaction: who sends what to whom.

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
