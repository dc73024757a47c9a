//! An upload whose bytes have passed: its size is checked, then it gets its name, time and mode. What there is to say to
//! the server can go along with the commands of the next upload.

use std::time::Instant;

use super::send::PutDone;
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Client, size_of, time_of};
use crate::ftp::command::Command;
use crate::ftp::path::RemotePath;
use crate::ftp::reply::{Class, Reply};

/// How far it is.
#[derive(Debug)]
pub(super) enum Step {
    /// The size is to be checked.
    Check,
    /// The name is to be given.
    Place,
    /// It has its name: size and time are asked for once more.
    Confirm,
    /// The name was refused, for this reason: the temporary file has to go.
    Clean(Fault),
    /// Nothing is left.
    Over,
}

/// What a command that was sent is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Size,
    Delete,
    RenameFrom,
    RenameTo,
    Time,
    Mode,
    Stamp,
    Clean,
}

/// A file that the server has, but perhaps not yet under its name.
#[derive(Debug)]
pub struct Stored {
    pub(super) path: RemotePath,
    pub(super) temporary: Option<RemotePath>,
    /// The old file is deleted before the new one gets its name.
    pub(super) delete_first: bool,
    /// How large it must be, where that can be compared.
    pub(super) size: Option<u64>,
    pub(super) modified: Option<i64>,
    pub(super) mode: Option<u32>,
    /// Size and time are compared once more when all is done.
    pub(super) confirm: bool,
    pub(super) step: Step,
    pub(super) asked: Vec<Asked>,
    pub(super) started: Instant,
    pub(super) done: PutDone,
}

impl Stored {
    /// What is to be sent next, in one packet; nothing: it is complete. The replies go to [`Stored::answers`].
    pub fn commands(&mut self, client: &Client) -> Vec<Command> {
        let name = self.path.argument();
        let mut commands = Vec::new();
        match &self.step {
            Step::Check => {
                let path = self.temporary.as_ref().unwrap_or(&self.path);
                commands.push((Asked::Size, Command::Size(path.argument())));
            }
            Step::Place => {
                if let Some(temporary) = &self.temporary {
                    if self.delete_first {
                        commands.push((Asked::Delete, Command::Dele(name.clone())));
                    }
                    commands.push((Asked::RenameFrom, Command::Rnfr(temporary.argument())));
                    commands.push((Asked::RenameTo, Command::Rnto(name.clone())));
                }
            }
            Step::Confirm => {
                commands.push((Asked::Size, Command::Size(name.clone())));
                commands.push((Asked::Stamp, Command::Mdtm(name.clone())));
            }
            Step::Clean(_) => {
                let path = self.temporary.as_ref().unwrap_or(&self.path);
                commands.push((Asked::Clean, Command::Dele(path.argument())));
            }
            Step::Over => {}
        }
        // Without a temporary name nothing has to wait for the size.
        let last = matches!(self.step, Step::Place) || (self.temporary.is_none() && matches!(self.step, Step::Check));
        if last {
            let time = self.modified.and_then(|seconds| client.time_command(&self.path, seconds));
            commands.extend(time.map(|command| (Asked::Time, command)));
            let mode = self.mode.map(|mode| [format!("CHMOD {mode:04o} ").as_bytes(), &name].concat());
            commands.extend(mode.map(|words| (Asked::Mode, Command::Site(words))));
        }
        self.asked = commands.iter().map(|(asked, _)| *asked).collect();
        commands.into_iter().map(|(_, command)| command).collect()
    }

    /// Takes the replies to [`Stored::commands`], in their order.
    pub fn answers(&mut self, client: &Client, replies: &[Reply]) -> Result<(), Fault> {
        let asked = std::mem::take(&mut self.asked);
        let reply = |wanted| asked.iter().zip(replies).find(|(asked, _)| **asked == wanted).map(|(_, reply)| reply);
        if let (Some(there), Some(size)) = (reply(Asked::Size).and_then(size_of), self.size) {
            if there != size {
                let detail = format!("{size} bytes were sent, the server holds {there}");
                return Err(Fault::new(Kind::Incomplete, detail));
            }
            if self.done.checksum.is_none() {
                self.done.verified_by = "size";
            }
        }
        if let Some(stamp) = reply(Asked::Stamp)
            && self.done.verified_by == "size"
            && self.done.time_kept
            && time_of(stamp) == self.modified
        {
            self.done.verified_by = "size_and_time";
        }
        if let (Some(from), Some(to)) = (reply(Asked::RenameFrom), reply(Asked::RenameTo))
            && !to.ok()
        {
            // What RNTO says after a refused RNFR is only that there was none.
            let refusal = if from.class() == Class::Intermediate { to } else { from };
            self.step = Step::Clean(
                refusal
                    .fault("renaming the complete upload", Kind::Refused)
                    .with_hint("--replace deletes the old file first, --in-place uploads without a temporary name"),
            );
            return Ok(());
        }
        if let Some(reply) = reply(Asked::Time) {
            self.done.time_kept = client.took_time(reply);
        }
        let step = std::mem::replace(&mut self.step, Step::Over);
        match step {
            Step::Check if self.temporary.is_some() => self.step = Step::Place,
            Step::Check | Step::Place if self.confirm => self.step = Step::Confirm,
            Step::Clean(fault) => return Err(fault),
            Step::Check | Step::Place | Step::Confirm | Step::Over => {}
        }
        match reply(Asked::Mode) {
            Some(reply) if !reply.ok() => {
                let fault = reply.fault("stored, but its mode could not be set: SITE CHMOD", Kind::Unsupported);
                Err(Fault { kind: if fault.temporary() { fault.kind } else { Kind::Unsupported }, ..fault })
            }
            _ => Ok(()),
        }
    }

    /// True when nothing is left to be done.
    pub fn is_done(&self) -> bool {
        matches!(self.step, Step::Over)
    }

    /// What was stored, once nothing is left to be done.
    pub fn done(&self) -> PutDone {
        PutDone { elapsed: self.started.elapsed(), ..self.done.clone() }
    }
}
