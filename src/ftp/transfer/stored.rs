//! An upload whose bytes were sent: its size is checked, then it gets its name, time and mode. The commands for that can be
//! sent together with those of the next upload.

use std::time::Instant;

use super::{Proof, Transferred};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{FtpClient, size_of, time_of};
use crate::ftp::command::FtpCommand;
use crate::ftp::path::RemotePath;
use crate::ftp::reply::{FtpReply, ReplyClass};

/// The next step of an upload.
#[derive(Debug)]
pub(super) enum UploadStep {
    /// Check the size.
    Check,
    /// Give the file its name.
    Place,
    /// The file has its name: ask for size and time once more.
    Confirm,
    /// The size was wrong or the name was refused, with this fault: delete the temporary file.
    Clean(Fault),
    /// Nothing is left.
    Over,
}

/// The purpose of a command that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadQuestion {
    Size,
    Delete,
    RenameFrom,
    RenameTo,
    Time,
    Mode,
    Stamp,
    /// The size of the temporary file after its name was refused.
    Left,
    /// The size of the file that has the name instead.
    Winner,
    Clean,
}

/// A file that is on the server, but perhaps not yet under its final name.
#[derive(Debug)]
pub struct PendingUpload {
    pub(super) path: RemotePath,
    pub(super) temporary: Option<RemotePath>,
    /// The old file is deleted before the new one gets its name.
    pub(super) delete_first: bool,
    /// The expected size, if sizes can be compared.
    pub(super) size: Option<u64>,
    pub(super) modified: Option<i64>,
    /// Size and time are compared once more at the end.
    pub(super) confirm: bool,
    pub(super) step: UploadStep,
    pub(super) asked: Vec<UploadQuestion>,
    pub(super) started: Instant,
    pub(super) done: Transferred,
}

impl PendingUpload {
    /// The next commands to send, in one packet; none: the upload is complete. Their replies go to [`PendingUpload::answers`].
    pub fn commands(&mut self, client: &FtpClient) -> Vec<FtpCommand> {
        let name = self.path.argument();
        let mut commands = Vec::new();
        match &self.step {
            UploadStep::Check => {
                let path = self.temporary.as_ref().unwrap_or(&self.path);
                commands.push((UploadQuestion::Size, FtpCommand::Size(path.argument())));
            }
            UploadStep::Place => {
                if let Some(temporary) = &self.temporary {
                    if self.delete_first {
                        commands.push((UploadQuestion::Delete, FtpCommand::Dele(name.clone())));
                    }
                    commands.push((UploadQuestion::RenameFrom, FtpCommand::Rnfr(temporary.argument())));
                    commands.push((UploadQuestion::RenameTo, FtpCommand::Rnto(name.clone())));
                }
            }
            UploadStep::Confirm => {
                commands.push((UploadQuestion::Size, FtpCommand::Size(name.clone())));
                commands.push((UploadQuestion::Stamp, FtpCommand::Mdtm(name.clone())));
            }
            UploadStep::Clean(_) => {
                let path = self.temporary.as_ref().unwrap_or(&self.path).argument();
                commands.push((UploadQuestion::Left, FtpCommand::Size(path.clone())));
                commands.push((UploadQuestion::Winner, FtpCommand::Size(name.clone())));
                commands.push((UploadQuestion::Stamp, FtpCommand::Mdtm(name.clone())));
                commands.push((UploadQuestion::Clean, FtpCommand::Dele(path)));
            }
            UploadStep::Over => {}
        }
        // Without a temporary name, time and mode need not wait for the size.
        let last = matches!(self.step, UploadStep::Place)
            || (self.temporary.is_none() && matches!(self.step, UploadStep::Check));
        if last {
            let time = self.modified.and_then(|seconds| client.time_command(&self.path, seconds));
            commands.extend(time.map(|command| (UploadQuestion::Time, command)));
            let mode = self.done.mode.map(|mode| [format!("CHMOD {mode:04o} ").as_bytes(), &name].concat());
            commands.extend(mode.map(|words| (UploadQuestion::Mode, FtpCommand::Site(words))));
        }
        self.asked = commands.iter().map(|(asked, _)| *asked).collect();
        commands.into_iter().map(|(_, command)| command).collect()
    }

    /// Evaluates the replies to [`PendingUpload::commands`], in the same order.
    ///
    /// # Errors
    /// A refusal of a necessary command, or copies that differ.
    pub fn answers(&mut self, client: &FtpClient, replies: &[FtpReply]) -> Result<(), Fault> {
        let asked = std::mem::take(&mut self.asked);
        let reply = |wanted| asked.iter().zip(replies).find(|(asked, _)| **asked == wanted).map(|(_, reply)| reply);
        if let (Some(there), Some(size)) = (reply(UploadQuestion::Size).and_then(size_of), self.size) {
            if there != size {
                let detail = format!("{size} bytes were sent, the server holds {there}");
                let fault = Fault::new(Kind::Incomplete, detail);
                if self.temporary.is_none() || !matches!(self.step, UploadStep::Check) {
                    return Err(fault);
                }
                self.step = UploadStep::Clean(fault);
                return Ok(());
            }
            if self.done.checksum.is_none() {
                self.done.proof = Proof::Size;
            }
        }
        if let Some(stamp) = reply(UploadQuestion::Stamp)
            && self.done.proof == Proof::Size
            && self.done.modified.is_some()
            && time_of(stamp) == self.modified
        {
            self.done.proof = Proof::SizeAndTime;
        }
        if let (Some(from), Some(to)) = (reply(UploadQuestion::RenameFrom), reply(UploadQuestion::RenameTo))
            && !to.ok()
        {
            // After a refused RNFR, the refusal of RNTO only says that RNFR is missing.
            let refusal = if from.class() == ReplyClass::Intermediate { to } else { from };
            self.step = UploadStep::Clean(
                refusal
                    .fault("renaming the complete upload", Kind::Refused)
                    .with_hint("--replace deletes the old file first, --in-place uploads without a temporary name"),
            );
            return Ok(());
        }
        if let Some(reply) = reply(UploadQuestion::Time) {
            self.done.modified = self.modified.filter(|_| client.took_time(reply));
        }
        // The part was there and is gone, or the file of that name has the size and time of this one: that was another run, and
        // a retry finds its file. Else the refusal is permanent.
        let gone = !matches!(self.done.proof, Proof::Nothing | Proof::Reply)
            && reply(UploadQuestion::Left).is_some_and(|left| left.code == 550 && size_of(left).is_none());
        let won = self.size.is_some()
            && reply(UploadQuestion::Winner).and_then(size_of) == self.size
            && self.modified.is_some()
            && reply(UploadQuestion::Stamp).and_then(time_of) == self.modified;
        let step = std::mem::replace(&mut self.step, UploadStep::Over);
        match step {
            UploadStep::Check if self.temporary.is_some() => self.step = UploadStep::Place,
            UploadStep::Check | UploadStep::Place if self.confirm => self.step = UploadStep::Confirm,
            UploadStep::Clean(fault) if gone || won => {
                return Err(
                    Fault { kind: Kind::Incomplete, hint: None, ..fault }.context("another run was there first")
                );
            }
            UploadStep::Clean(fault) => return Err(fault),
            UploadStep::Check | UploadStep::Place | UploadStep::Confirm | UploadStep::Over => {}
        }
        match reply(UploadQuestion::Mode) {
            Some(reply) if !reply.ok() => {
                let fault = reply.fault("stored, but its mode could not be set: SITE CHMOD", Kind::Unsupported);
                Err(Fault { kind: if fault.temporary() { fault.kind } else { Kind::Unsupported }, ..fault })
            }
            _ => Ok(()),
        }
    }

    /// True when nothing is left to be done.
    pub fn is_done(&self) -> bool {
        matches!(self.step, UploadStep::Over)
    }

    /// The result, once nothing is left to be done.
    pub fn done(&self) -> Transferred {
        Transferred { elapsed: self.started.elapsed(), ..self.done.clone() }
    }
}
