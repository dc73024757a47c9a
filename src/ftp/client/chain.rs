//! Transfers sent ahead. The commands of the next transfers leave in one packet, together with what earlier uploads still
//! need: before the first transfer or after its 226, never while one runs (pure-ftpd loses such a command, pyftpdlib hangs,
//! libunftp answers out of order). One transfer ahead is safe everywhere; more only at servers that were measured to keep
//! order in long chains. At 40 ms of round trip a chain of eight takes a third off the time of each file.

use super::{FtpClient, ServerQuirks};
use crate::fault::Fault;
use crate::ftp::command::{Epsv, FtpCommand};
use crate::ftp::reply::FtpReply;

/// The most transfers sent ahead.
const MAX_CHAIN: usize = 8;
/// The most bytes of a chain. It has to arrive at once: pure-ftpd loses what comes after the first transfer has begun.
pub const MAX_CHAIN_BYTES: usize = 1300;
/// Servers whose greeting tells that they keep order.
const SAFE: [&str; 4] = ["vsFTPd", "Pure-FTPd", "ProFTPD", "ftpserve"];

/// A transfer that can be sent ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// Questions whose answers come with [`Begun::answers`](super::Begun::answers).
    pub questions: Vec<FtpCommand>,
    /// The transfer command.
    pub command: FtpCommand,
}

impl Ahead {
    /// An upper bound of the bytes that it takes on the wire.
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
    /// How many transfers may be sent ahead; 0 where each must be set up by itself.
    pub fn chain_length(&self) -> usize {
        let quirks = &self.options.quirks;
        if self.options.active.is_some() || ServerQuirks::get(&quirks.lock_step) {
            return 0;
        }
        // How data connections can be had must be known, and inside TLS one may need a fresh control connection.
        // Names may be longer in another charset than a chain is reckoned to be.
        let chains = self.chains && self.options.charset.is_none();
        match chains && self.data_tls.is_none() && quirks.chains() {
            true => MAX_CHAIN,
            false => 1,
        }
    }

    /// Sends `first` and then the questions, set-up and command of each transfer, all in one packet; `replies` gets the final
    /// replies to `first`, as many as come. [`FtpClient::begin`] goes through with the transfers in their order; until then
    /// nothing else can be sent.
    ///
    /// # Errors
    /// `Usage` for what cannot be a command; the kind of what failed on the connection.
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
            // All together would arrive in pieces.
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

    /// Takes the next transfer that was sent ahead, if it is this one; returns the set-up command that went with it. One that
    /// is not wanted any more ends the connection.
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

    /// EPSV, or PASV where it is known not to work.
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
