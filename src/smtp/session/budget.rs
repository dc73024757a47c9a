//! The limits on a client's commands before a message is accepted: commands are counted only here.

use crate::smtp::command::{SmtpCommand, SmtpCommandError};
use crate::smtp::envelope::Envelope;

/// The maximum number of refused commands since the last accepted message (or since the start).
pub const MAX_ERRORS: usize = 50;

/// The maximum number of failed logins in one connection.
pub const MAX_FAILED_LOGINS: usize = 3;

/// The maximum number of commands since the last accepted message (or since the start). Every command counts, whatever its reply,
/// except for accepted recipients and chunks of at least [`MIN_CHUNK`] bytes. A client that sends mail never comes close.
pub const MAX_IDLE_COMMANDS: usize = 200;

/// The number of recipients over the limit that are refused without counting: a client may send that many ahead (RFC
/// 5321, section 4.5.3.1.10; Postfix: smtpd_recipient_overshoot_limit).
pub const MAX_OVERSHOOT: usize = 1000;

/// The size in bytes below which a BDAT chunk counts as a useless command.
pub const MIN_CHUNK: u64 = 64;

/// The commands used since the last accepted message.
#[derive(Debug, Default)]
pub(super) struct CommandBudget {
    errors: usize,
    idle_commands: usize,
    overshoot: usize,
    failed_logins: usize,
    /// The number of accepted messages and logins.
    progress: u64,
}

impl CommandBudget {
    /// Counts a command; false if there were too many.
    pub(super) fn command(
        &mut self,
        command: &Result<SmtpCommand, SmtpCommandError>,
        envelope: Option<&Envelope>,
        max_recipients: usize,
    ) -> bool {
        let full = envelope.is_some_and(|envelope| envelope.recipients.len() >= max_recipients);
        match command {
            Ok(SmtpCommand::Quit) => return true,
            Ok(SmtpCommand::Bdat { size, .. }) if *size >= MIN_CHUNK && envelope.is_some() => {}
            Ok(SmtpCommand::Rcpt(_)) if full && self.overshoot < MAX_OVERSHOOT => self.overshoot += 1,
            _ => self.idle_commands += 1,
        }
        self.idle_commands <= MAX_IDLE_COMMANDS
    }

    /// Counts a permanently refused command; false if there were too many.
    pub(super) fn error(&mut self) -> bool {
        self.errors += 1;
        self.errors < MAX_ERRORS
    }

    /// Counts a failed login; false if there were too many.
    pub(super) fn failed_login(&mut self) -> bool {
        self.failed_logins += 1;
        self.failed_logins < MAX_FAILED_LOGINS
    }

    pub(super) fn logged_in(&mut self) {
        self.progress += 1;
    }

    /// The last command was useful: it does not count.
    pub(super) fn recipient_taken(&mut self) {
        self.idle_commands = self.idle_commands.saturating_sub(1);
    }

    pub(super) fn message_taken(&mut self) {
        *self = CommandBudget { failed_logins: self.failed_logins, progress: self.progress + 1, ..Default::default() };
    }

    pub(super) fn progress(&self) -> u64 {
        self.progress
    }
}
