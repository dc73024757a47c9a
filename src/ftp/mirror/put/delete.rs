//! `--delete` on the server: after all transfers, it deletes remote entries that the local side does not have.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Uploader;
use super::tree::LocalDirectory;
use crate::fault::{Fault, Kind};
use crate::ftp::client::{FtpClient, WholeListing};
use crate::ftp::command::FtpCommand;
use crate::ftp::listing::ListingLine;
use crate::ftp::mirror::spool::SpoolWriter;
use crate::ftp::mirror::{
    Ancestors, DeletionPlan, EMPTY, INCOMPLETE, LIED, MAX_DEPTH, MirrorEvent, MirrorOutcome, join,
};
use crate::ftp::part::unfinished;
use crate::ftp::path::{RemotePath, check_name};
use crate::ftp::reply::ReplyClass;

/// The number of deletions in one packet.
const BATCH: usize = 50;

/// A remote directory with a complete listing and with entries that the local one does not have.
pub(super) struct ComparedDirectory {
    directory: Arc<LocalDirectory>,
    /// Names, and whether they are directories.
    extraneous: Vec<(Vec<u8>, bool)>,
}

/// The remote entries that are not here.
#[derive(Default)]
pub(super) struct Extraneous {
    directories: Vec<ComparedDirectory>,
    /// The number of these entries.
    count: usize,
}

/// A remote entry to delete; the contents of a directory come before it.
struct RemoteDeletion {
    root: usize,
    path: RemotePath,
    directory: bool,
}

impl Uploader {
    /// Records the entries of a completely listed remote directory that are not here. Returns an event if they are not deleted.
    pub(super) fn note_extraneous(
        &self,
        directory: &Arc<LocalDirectory>,
        mut extraneous: Vec<(Vec<u8>, bool)>,
        empty: bool,
        _whole: WholeListing,
    ) -> Option<MirrorEvent> {
        let rule = self.settings.delete.filter(|_| !extraneous.is_empty())?;
        if empty && !rule.allow_empty {
            let target = self.url(&directory.remote, true);
            return Some(MirrorEvent::Skipped { target, why: EMPTY });
        }
        let mut noted = self.extraneous();
        noted.count = rule.cap(noted.count, &mut extraneous);
        noted.directories.push(ComparedDirectory { directory: directory.clone(), extraneous });
        None
    }

    /// True when the rules allow deleting a remote entry of this name.
    pub(super) fn goes(&self, directory: &LocalDirectory, name: &[u8], is_directory: bool) -> bool {
        let below = join(&directory.below, meant(name, is_directory));
        let select = &self.settings.select;
        if is_directory { select.enters(&below) } else { select.takes(&below) }
    }

    /// Deletes the remote entries that are not here: all of them, or none if there are too many or a listing was incomplete.
    pub(super) async fn delete_extraneous(&self) -> Result<(), Fault> {
        let Some(rule) = self.settings.delete else { return Ok(()) };
        let noted = std::mem::take(&mut *self.extraneous()).directories;
        let Some(first) = noted.first() else { return Ok(()) };
        let up = std::iter::successors(Some(&*first.directory), |directory| directory.parent.as_deref());
        let top = up.last().unwrap_or(&first.directory);
        let (root, top) = (top.root, self.url(&top.remote, true));
        if self.incomplete.load(Ordering::Relaxed) {
            self.report(root, MirrorEvent::Skipped { target: top, why: INCOMPLETE });
            return Ok(());
        }
        let mut client = FtpClient::open(&self.settings.url, &self.settings.options).await?;
        let mut plan = DeletionPlan::new(rule);
        for ComparedDirectory { directory, extraneous } in &noted {
            for (name, is_directory) in extraneous {
                let below = join(&directory.below, meant(name, *is_directory));
                let path = directory.remote.join(name);
                let entry = RemoteDeletion { root: directory.root, path, directory: *is_directory };
                let above = Ancestors::default();
                Box::pin(self.plan_deletion(&mut client, entry, &below, 0, &above, &mut plan)).await?;
            }
        }
        match plan.settle() {
            Ok(deletions) => self.delete(&mut client, deletions).await?,
            Err(fault) => self.report(root, MirrorEvent::Failed { target: top, fault }),
        }
        client.quit().await;
        Ok(())
    }

    /// Adds an entry with its contents. Entries that the rules leave out stay, and so do the directories above them. True when the
    /// whole entry is to be deleted.
    async fn plan_deletion(
        &self,
        client: &mut FtpClient,
        entry: RemoteDeletion,
        below: &[u8],
        depth: usize,
        above: &Ancestors,
        plan: &mut DeletionPlan<RemoteDeletion>,
    ) -> Result<bool, Fault> {
        if plan.is_too_much() {
            return Ok(false);
        }
        if depth > MAX_DEPTH {
            return Err(Fault::new(Kind::Protocol, "too many directories, or too deep, to be deleted"));
        }
        let select = &self.settings.select;
        if !entry.directory {
            let goes = select.takes(below);
            goes.then(|| plan.add(entry));
            return Ok(goes);
        }
        if !select.enters(below) {
            return Ok(false);
        }
        let mut inside = SpoolWriter::default();
        let mut each = |line: ListingLine, _: &[u8]| -> Result<(), Fault> {
            match line {
                ListingLine::Entry(entry) if check_name(&entry.name).is_ok() => inside.add(&entry)?,
                ListingLine::Nothing => {}
                odd => return Err(odd.fault(b"nothing is deleted")),
            }
            Ok(())
        };
        let listed = client.list(&entry.path, self.settings.list_method, false, &mut each).await?;
        if listed.whole().is_none() {
            return Err(listed.cut().unwrap_or_else(|| Fault::new(Kind::BadData, INCOMPLETE)));
        }
        above.listed(&listed)?;
        let mut all = true;
        for found in inside.finish()?.read() {
            let found = found?;
            // A directory inside itself is a link that the server does not show as a link.
            let inner = above.with(&found).filter(|_| found.is_dir());
            let (root, path, directory) = (entry.root, entry.path.join(&found.name), inner.is_some());
            let (child, below) = (RemoteDeletion { root, path, directory }, join(below, &found.name));
            let above = inner.as_ref().unwrap_or(above);
            all &= Box::pin(self.plan_deletion(client, child, &below, depth + 1, above, plan)).await?;
        }
        all.then(|| plan.add(entry));
        Ok(all)
    }

    /// Deletes the links among the directories. Some servers list a link to a directory as a directory (pyftpdlib): DELE deletes
    /// a link and refuses a directory, so no directory is emptied through a link. Returns the remaining deletions.
    async fn delete_links(
        &self,
        client: &mut FtpClient,
        deletions: Vec<RemoteDeletion>,
    ) -> Result<Vec<RemoteDeletion>, Fault> {
        if self.settings.dry_run {
            return Ok(deletions);
        }
        let mut links: Vec<RemotePath> = Vec::new();
        let inside = |path: &RemotePath, link: &RemotePath| {
            path.as_bytes().strip_prefix(link.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        // Outer directories come before inner ones.
        for entry in deletions.iter().rev().filter(|entry| entry.directory) {
            if links.iter().any(|link| inside(&entry.path, link)) {
                continue;
            }
            if client.call(&FtpCommand::Dele(entry.path.argument())).await?.ok() {
                links.push(entry.path.clone());
                let target = self.url(&entry.path, false);
                self.report(entry.root, MirrorEvent::Deleted { target, outcome: MirrorOutcome::Done });
            }
        }
        let left = deletions.into_iter().filter(|entry| !links.iter().any(|link| inside(&entry.path, link)));
        Ok(left.collect())
    }

    async fn delete(&self, client: &mut FtpClient, deletions: Vec<RemoteDeletion>) -> Result<(), Fault> {
        let deletions = self.delete_links(client, deletions).await?;
        for batch in deletions.chunks(BATCH) {
            let commands: Vec<FtpCommand> = match self.settings.dry_run {
                true => Vec::new(),
                false => batch.iter().map(command).collect(),
            };
            let mut replies = client.call_all(&commands).await?.into_iter();
            let mut doubtful = None;
            for entry in batch {
                let target = self.url(&entry.path, entry.directory);
                let event = match replies.next() {
                    None => MirrorEvent::Deleted { target, outcome: MirrorOutcome::Planned },
                    Some(reply) if matches!(reply.class(), ReplyClass::Transient | ReplyClass::Permanent) => {
                        let verb = if entry.directory { "RMD" } else { "DELE" };
                        doubtful = doubtful.or_else(|| (reply.code == 550).then_some(entry));
                        MirrorEvent::Failed { target, fault: reply.fault(verb, Kind::Refused) }
                    }
                    Some(_) => MirrorEvent::Deleted { target, outcome: MirrorOutcome::Done },
                };
                self.report(entry.root, event);
            }
            // A listed entry does not exist: the listing was wrong, perhaps that of another directory.
            if let Some(entry) = doubtful
                && client.stat(&entry.path).await?.is_none()
            {
                let target = self.url(&entry.path, entry.directory);
                self.report(entry.root, MirrorEvent::Skipped { target, why: LIED });
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The final name of a part, as far as it is known.
fn meant(name: &[u8], is_directory: bool) -> &[u8] {
    unfinished(name).filter(|_| !is_directory).map_or(name, |(whole, _)| whole)
}

fn command(entry: &RemoteDeletion) -> FtpCommand {
    match entry.directory {
        true => FtpCommand::Rmd(entry.path.argument()),
        false => FtpCommand::Dele(entry.path.argument()),
    }
}
