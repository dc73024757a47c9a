//! `--delete-source` and `--move-source`: files that were fetched, verified and made durable are deleted or moved on the server.
//! The server is asked once more before that: a file that has changed since it was fetched stays.

use std::collections::{BTreeSet, HashSet};
use std::io;

use super::{AfterFetch, Downloader};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{FtpClient, size_of, time_of};
use crate::ftp::command::FtpCommand;
use crate::ftp::mirror::spool::{FieldReader, FieldWriter, Spooled};
use crate::ftp::mirror::{FileFacts, MirrorEvent, MirrorOutcome};
use crate::ftp::path::RemotePath;
use crate::ftp::reply::ReplyClass;

/// The number of files that are checked, or deleted, in one packet.
const BATCH: usize = 20;
/// The most directories that are remembered as created; further ones are created again.
const MAX_MADE: usize = 10_000;

/// A file that was fetched.
pub(super) struct Fetched {
    pub(super) root: usize,
    pub(super) path: RemotePath,
    /// Its path below the root.
    pub(super) below: Vec<u8>,
    /// The facts that the server reported when it was fetched.
    pub(super) facts: FileFacts,
    /// The copy's size is known to agree.
    pub(super) verified: bool,
}

impl Spooled for Fetched {
    fn write(&self, to: &mut FieldWriter) {
        to.number(Some(self.root as u64));
        to.bytes(Some(self.path.as_bytes()));
        to.bytes(Some(&self.below));
        to.facts(self.facts);
        to.number(self.verified.then_some(1));
    }

    fn read(from: &mut FieldReader) -> io::Result<Fetched> {
        Ok(Fetched {
            root: from.number()?.and_then(|root| usize::try_from(root).ok()).unwrap_or_default(),
            path: RemotePath::new(&from.bytes()?.unwrap_or_default()),
            below: from.bytes()?.unwrap_or_default(),
            facts: from.facts()?,
            verified: from.number()?.is_some(),
        })
    }
}

impl Downloader {
    /// Deletes or moves the sources of all files that were fetched.
    pub(super) async fn dispose_of_sources(&self) -> Result<(), Fault> {
        let fetched = std::mem::take(&mut self.ledger().fetched).finish()?;
        let (mut client, mut made) = (None, HashSet::new());
        let mut fetched = fetched.read().peekable();
        while fetched.peek().is_some() {
            let batch = fetched.by_ref().take(BATCH).collect::<Result<Vec<Fetched>, Fault>>()?;
            let (sure, unsure): (Vec<Fetched>, Vec<Fetched>) =
                batch.into_iter().partition(|file| file.verified && file.facts.size.is_some());
            for file in unsure {
                let why = "the source stays: the server told no size to verify the copy by";
                self.report(file.root, MirrorEvent::Skipped { target: self.url(&file.path, false), why });
            }
            if sure.is_empty() {
                continue;
            }
            if self.settings.dry_run {
                sure.iter().for_each(|file| self.disposed(file, MirrorOutcome::Planned));
                continue;
            }
            let client = match &mut client {
                Some(client) => client,
                none => {
                    let mut opened = FtpClient::open(&self.settings.url, &self.settings.options).await?;
                    opened.set_type(false).await?;
                    none.insert(opened)
                }
            };
            if let AfterFetch::Move(target) = &self.after {
                make_directories(client, target, &sure, &mut made).await?;
            }
            self.dispose(client, &sure).await?;
        }
        if let Some(client) = client {
            client.quit().await;
        }
        Ok(())
    }

    async fn dispose(&self, client: &mut FtpClient, batch: &[Fetched]) -> Result<(), Fault> {
        let mut questions = Vec::new();
        for file in batch {
            questions.extend([FtpCommand::Size(file.path.argument()), FtpCommand::Mdtm(file.path.argument())]);
            questions.extend(self.target(file).map(|target| FtpCommand::Size(target.argument())));
        }
        let replies = client.call_all(&questions).await?;
        let mut ready = Vec::new();
        for (file, replies) in batch.iter().zip(replies.chunks(questions.len() / batch.len().max(1))) {
            let size = replies.first().and_then(size_of);
            let modified = replies.get(1).and_then(time_of);
            let changed = size != file.facts.size || (file.facts.modified.is_some() && modified != file.facts.modified);
            let target = self.url(&file.path, false);
            if changed {
                let why = "the source stays: it has changed since";
                self.report(file.root, MirrorEvent::Skipped { target, why });
            } else if replies.get(2).and_then(size_of).is_some() {
                let fault = Fault::new(Kind::Refused, "the source is kept: a file of that name already exists");
                self.report(file.root, MirrorEvent::Failed { target, fault });
            } else {
                ready.push(file);
            }
        }
        if ready.is_empty() {
            return Ok(());
        }
        let commands: Vec<FtpCommand> = ready.iter().flat_map(|file| self.commands(file)).collect();
        let replies = client.call_all(&commands).await?;
        for (file, replies) in ready.iter().zip(replies.chunks(commands.len() / ready.len())) {
            match replies.iter().find(|reply| matches!(reply.class(), ReplyClass::Transient | ReplyClass::Permanent)) {
                None => self.disposed(file, MirrorOutcome::Done),
                Some(reply) => {
                    let fault =
                        reply.fault(if self.after == AfterFetch::Delete { "DELE" } else { "RNTO" }, Kind::Refused);
                    self.report(file.root, MirrorEvent::Failed { target: self.url(&file.path, false), fault });
                }
            }
        }
        Ok(())
    }

    fn commands(&self, file: &Fetched) -> Vec<FtpCommand> {
        match self.target(file) {
            Some(target) => vec![FtpCommand::Rnfr(file.path.argument()), FtpCommand::Rnto(target.argument())],
            None => vec![FtpCommand::Dele(file.path.argument())],
        }
    }

    /// The path that a source is moved to.
    fn target(&self, file: &Fetched) -> Option<RemotePath> {
        match &self.after {
            AfterFetch::Move(directory) => Some(RemotePath::new(directory.join(&file.below).as_bytes())),
            AfterFetch::Keep | AfterFetch::Delete => None,
        }
    }

    fn disposed(&self, file: &Fetched, outcome: MirrorOutcome) {
        let from = self.url(&file.path, false);
        let event = match self.target(file) {
            Some(target) => MirrorEvent::Moved { from, to: self.url(&target, false), outcome },
            None => MirrorEvent::Deleted { target: from, outcome },
        };
        self.report(file.root, event);
    }
}

/// Creates the directories for moved files, except those in `made`. Refusals are ignored: existing directories cause them, and
/// a refusal that matters shows when a file is moved.
async fn make_directories(
    client: &mut FtpClient,
    target: &RemotePath,
    files: &[Fetched],
    made: &mut HashSet<RemotePath>,
) -> Result<(), Fault> {
    if made.len() > MAX_MADE {
        made.clear();
    }
    let mut wanted = BTreeSet::new();
    for file in files {
        let mut next = RemotePath::new(target.join(&file.below).as_bytes()).parent();
        while let Some(directory) = next.filter(|directory| directory.name().is_some() && !made.contains(directory)) {
            next = directory.parent();
            wanted.insert(directory);
        }
    }
    // Sorted: parents come before their children.
    let commands: Vec<FtpCommand> = wanted.iter().map(|path| FtpCommand::Mkd(path.argument())).collect();
    client.call_all(&commands).await?;
    made.extend(wanted);
    Ok(())
}
