//! Checksums that the server computes.

use super::{FINAL_REPLY, FtpClient};
use crate::fault::{Fault, Kind};
use crate::ftp::checksum::{self, ChecksumAlgorithm};
use crate::ftp::command::FtpCommand;
use crate::ftp::path::RemotePath;

impl FtpClient {
    /// The algorithm that the server would use: the wanted one, else its strongest one.
    pub fn checksum_algorithm(&self, wanted: Option<ChecksumAlgorithm>) -> Option<ChecksumAlgorithm> {
        self.features.checksum().question(wanted, b"").map(|(algorithm, _)| algorithm)
    }

    /// The checksum of a file in lower-case hexadecimal, by the wanted algorithm, else by the server's strongest one. `None`: the
    /// server offers no such algorithm. The idle limit is at least [`FINAL_REPLY`], since a large file takes time.
    ///
    /// # Errors
    /// The kind of the server's refusal (`NoInput` for 550), or of a failure on the connection.
    pub async fn checksum(
        &mut self,
        path: &RemotePath,
        wanted: Option<ChecksumAlgorithm>,
    ) -> Result<Option<(ChecksumAlgorithm, String)>, Fault> {
        let question = self.features.checksum().question(wanted, &path.argument());
        let Some((algorithm, commands)) = question else { return Ok(None) };
        let limits = self.control.limits;
        self.control.limits = limits.with_idle(limits.idle.max(FINAL_REPLY));
        let replies = self.call_all(&commands).await;
        self.control.limits = limits;
        let replies = replies?;
        if let Some((command, reply)) = commands.iter().zip(&replies).find(|(_, reply)| !reply.ok()) {
            let kind = if matches!(command, FtpCommand::Opts(_)) { Kind::Refused } else { Kind::NoInput };
            return Err(reply.fault(command.verb(), kind));
        }
        let answer = replies.last().and_then(|reply| checksum::answer(reply, algorithm));
        let nothing = || {
            let text = replies.last().map(|reply| reply.text()).unwrap_or_default();
            Fault::new(Kind::Protocol, format!("no checksum in: {text}"))
        };
        answer.map(|hash| Some((algorithm, hash))).ok_or_else(nothing)
    }
}
