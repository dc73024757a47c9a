//! The questions of a session to its driver. Each one is answered by the verdict method that takes it.

use crate::smtp::address::ReversePath;
use crate::smtp::auth::server::{LoginProof, ServerLogin};
use crate::smtp::command::MailFrom;
use crate::smtp::envelope::Recipient;

/// A sender that may begin an envelope, with the parameters of MAIL.
#[derive(Debug, PartialEq, Eq)]
pub struct SenderQuestion(pub(super) MailFrom);

impl SenderQuestion {
    /// The reverse-path in question.
    pub fn sender(&self) -> &ReversePath {
        &self.0.sender
    }

    /// The message length that the client declared (RFC 1870); 0 if it declared none.
    pub fn declared_bytes(&self) -> u64 {
        self.0.size.unwrap_or(0)
    }

    /// The whole command.
    pub fn mail(&self) -> &MailFrom {
        &self.0
    }
}

/// A recipient that may be added to the envelope.
#[derive(Debug, PartialEq, Eq)]
pub struct RecipientQuestion(pub(super) Recipient);

impl RecipientQuestion {
    /// The recipient in question.
    pub fn recipient(&self) -> &Recipient {
        &self.0
    }
}

/// A user whose verifier is needed.
#[derive(Debug, PartialEq, Eq)]
pub struct VerifierQuestion {
    pub(super) user: String,
    pub(super) login: ServerLogin,
}

impl VerifierQuestion {
    /// The user name.
    pub fn user(&self) -> &str {
        &self.user
    }
}

/// A user name and a proof to be checked.
#[derive(Debug, PartialEq, Eq)]
pub struct LoginQuestion {
    pub(super) user: String,
    pub(super) proof: LoginProof,
    pub(super) login: ServerLogin,
}

impl LoginQuestion {
    /// The user name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The password, or the proof that the client knows it.
    pub fn proof(&self) -> &LoginProof {
        &self.proof
    }
}

/// A message whose verdict is due, with its number of recipients.
#[derive(Debug, PartialEq, Eq)]
pub struct MessageQuestion {
    pub(super) recipients: usize,
}
