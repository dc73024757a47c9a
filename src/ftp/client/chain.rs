//! Transfers sent ahead. The commands of the next transfers are sent in one packet, with the outstanding commands of earlier
//! uploads: before the first transfer or after its 226, never during a transfer (pure-ftpd loses such a command, pyftpdlib
//! hangs, libunftp answers out of order). One transfer ahead is safe everywhere; more are safe only on servers that were measured
//! to keep order in long chains. At a round trip of 40 ms a chain of eight saves a third of the time of each file.

use super::{FtpClient, ServerQuirks};
use crate::fault::Fault;
use crate::ftp::command::{Epsv, FtpCommand};
use crate::ftp::reply::FtpReply;

/// The most transfers sent ahead.
const MAX_CHAIN: usize = 8;
/// The most bytes of a chain. It has to arrive at once: pure-ftpd loses commands that arrive after the first transfer began.
pub const MAX_CHAIN_BYTES: usize = 1300;
/// Words in the greetings of servers that keep order.
const SAFE: [&str; 4] = ["vsFTPd", "Pure-FTPd", "ProFTPD", "ftpserve"];

/// A transfer that can be sent ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// Questions before it; [`Begun::answers`](super::Begun::answers) holds their replies.
    pub questions: Vec<FtpCommand>,
    /// The transfer command.
    pub command: FtpCommand,
}

impl Ahead {
    /// An upper bound of its number of bytes on the wire.
    pub fn length(&self) -> usize {
        /// The set-up command with its line end.
        const SET_UP: usize = 6;
        let length = |command: &FtpCommand| command.encode().map_or(0, |line| line.len());
        SET_UP + length(&self.command) + self.questions.iter().map(length).sum::<usize>()
    }
}

/// True for a server that keeps order in long chains.
pub(super) fn is_safe(greeting: &FtpReply) -> bool {
    greeting.lines.iter().any(|line| {
        let line = String::from_utf8_lossy(line);
        SAFE.iter().any(|name| line.contains(name))
    })
}

impl FtpClient {
    /// How many transfers may be sent ahead; 0 if each must be set up separately.
    pub fn chain_length(&self) -> usize {
        let quirks = &self.options.quirks;
        if self.options.active.is_some() || ServerQuirks::get(&quirks.lock_step) {
            return 0;
        }
        // The working set-up command must be known, and inside TLS a data connection may need a fresh control connection.
        // In another charset, names may be longer than the computed length of a chain.
        let chains = self.chains && self.options.charset.is_none();
        match chains && self.data_tls.is_none() && quirks.chains() {
            true => MAX_CHAIN,
            false => 1,
        }
    }

    /// Sends `first` and then the questions, the set-up command and the transfer command of each transfer, all in one packet;
    /// `replies` gets the final replies to `first`, as many as arrive. [`FtpClient::begin`] then runs the transfers in their
    /// order; until they are begun, no other command can be sent.
    ///
    /// # Errors
    /// `Usage` for an invalid command; the kind of a failure on the connection.
    pub async fn send_ahead(
        &mut self,
        first: &[FtpCommand],
        transfers: &[Ahead],
        replies: &mut Vec<FtpReply>,
    ) -> Result<(), Fault> {
        self.set_type(false).await?;
        if transfers.is_empty() {
            return self.call_into(first, replies).await;
        }
        for command in first {
            self.control.queue(command)?;
        }
        let length = transfers.iter().map(Ahead::length).sum::<usize>() + self.control.queued();
        if transfers.len() > 1 && length > MAX_CHAIN_BYTES {
            // One packet would be too long and arrive in pieces.
            self.first_replies(first.len(), replies).await?;
        }
        let set_up = self.passive_command();
        for transfer in transfers {
            for question in &transfer.questions {
                self.control.queue(question)?;
            }
            self.control.queue(&set_up)?;
            self.control.queue(&transfer.command)?;
            self.ahead.push_back((transfer.clone(), set_up.clone()));
        }
        self.control.held = true;
        let left = first.len() - replies.len();
        self.first_replies(left, replies).await
    }

    async fn first_replies(&mut self, count: usize, replies: &mut Vec<FtpReply>) -> Result<(), Fault> {
        self.control.flush().await?;
        for _ in 0..count {
            replies.push(self.control.final_reply().await?);
        }
        Ok(())
    }

    /// Takes the next transfer that was sent ahead if it is this one, and returns the set-up command that was sent with it. A
    /// transfer that is not wanted any more ends the connection.
    pub(super) fn take_ahead(
        &mut self,
        questions: &[FtpCommand],
        command: &FtpCommand,
        offset: u64,
    ) -> Option<FtpCommand> {
        let (next, _) = self.ahead.front()?;
        if offset != 0 || next.command != *command || next.questions != questions {
            return None;
        }
        let (_, set_up) = self.ahead.pop_front()?;
        self.control.held = !self.ahead.is_empty();
        Some(set_up)
    }

    /// EPSV, or PASV if EPSV is known not to work or switched off.
    pub(super) fn passive_command(&self) -> FtpCommand {
        match self.is_v6() || (self.options.epsv && !ServerQuirks::get(&self.options.quirks.no_epsv)) {
            true => FtpCommand::Epsv(Epsv::Same),
            false => FtpCommand::Pasv,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_of_servers_that_keep_order() {
        assert!(is_safe(&FtpReply::new(220, "(vsFTPd 3.0.3)")));
        assert!(is_safe(&FtpReply::multi(
            220,
            ["---------- Welcome to Pure-FTPd ----------", "You are user 1", "bye"]
        )));
        assert!(is_safe(&FtpReply::new(220, "ProFTPD Server (Debian) [::ffff:127.0.0.1]")));
        assert!(!is_safe(&FtpReply::new(220, "pyftpdlib 1.5.7 ready.")));
    }
}
