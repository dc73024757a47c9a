//! `--delete` at the server: what the local side does not have goes, when everything else is done.

use std::sync::atomic::Ordering;

use super::Uploader;
use crate::fault::{Fault, Kind};
use crate::ftp::client::{FtpClient, WholeListing};
use crate::ftp::command::FtpCommand;
use crate::ftp::listing::ListingLine;
use crate::ftp::mirror::{Ancestors, EMPTY, INCOMPLETE, LIED, MAX_DEPTH, MAX_TREE, MirrorEvent, MirrorOutcome, join};
use crate::ftp::part::unfinished;
use crate::ftp::path::{RemotePath, check_name};
use crate::ftp::reply::ReplyClass;

/// Deletions in one packet.
const BATCH: usize = 50;

/// A remote directory whose listing is complete.
pub(super) struct ComparedDirectory {
    pub(super) root: usize,
    pub(super) remote: RemotePath,
    /// Its path below the root.
    pub(super) below: Vec<u8>,
    /// What it holds and the local one does not: names, and whether they are directories.
    pub(super) extraneous: Vec<(Vec<u8>, bool)>,
    /// The local directory is empty: perhaps something is not mounted.
    pub(super) empty: bool,
    /// Proof that nothing was left out.
    pub(super) _whole: WholeListing,
}

/// Something remote that is to go; what is in a directory comes before it.
struct RemoteDeletion {
    root: usize,
    path: RemotePath,
    directory: bool,
}

impl Uploader {
    /// Deletes what is there and not here: all of it, or nothing if it is too much or a listing was not complete.
    pub(super) async fn delete_extraneous(&self) -> Result<(), Fault> {
        let Some(rule) = self.settings.delete else { return Ok(()) };
        let visited = std::mem::take(&mut *self.visited());
        let Some(first) = visited.iter().min_by_key(|directory| directory.below.len()) else { return Ok(()) };
        let (root, top) = (first.root, self.url(&first.remote, true));
        if visited.iter().all(|directory| directory.extraneous.is_empty()) {
            return Ok(());
        }
        if self.incomplete.load(Ordering::Relaxed) {
            self.report(root, MirrorEvent::Skipped { target: top, why: INCOMPLETE });
            return Ok(());
        }
        let mut client = FtpClient::open(&self.settings.url, &self.settings.options).await?;
        let mut deletions = Vec::new();
        for directory in visited.iter().filter(|directory| !directory.extraneous.is_empty()) {
            if directory.empty && !rule.allow_empty {
                let target = self.url(&directory.remote, true);
                self.report(directory.root, MirrorEvent::Skipped { target, why: EMPTY });
                continue;
            }
            for (name, is_directory) in &directory.extraneous {
                let meant = unfinished(name).filter(|_| !is_directory).map_or(name.as_slice(), |(whole, _)| whole);
                let below = join(&directory.below, meant);
                let path = directory.remote.join(name);
                let entry = RemoteDeletion { root: directory.root, path, directory: *is_directory };
                let above = Ancestors::default();
                Box::pin(self.plan_deletion(&mut client, entry, &below, 0, &above, &mut deletions)).await?;
            }
        }
        if let Some(fault) = rule.refuses(deletions.len()) {
            self.report(root, MirrorEvent::Failed { target: top, fault });
        } else {
            self.delete(&mut client, deletions).await?;
        }
        client.quit().await;
        Ok(())
    }

    /// Adds an entry with all that is in it; what the rules leave out keeps the directories above it. True when all of it
    /// goes.
    async fn plan_deletion(
        &self,
        client: &mut FtpClient,
        entry: RemoteDeletion,
        below: &[u8],
        depth: usize,
        above: &Ancestors,
        deletions: &mut Vec<RemoteDeletion>,
    ) -> Result<bool, Fault> {
        if depth > MAX_DEPTH || deletions.len() as u64 > MAX_TREE {
            return Err(Fault::new(Kind::Protocol, "too many directories, or too deep, to be deleted"));
        }
        let select = &self.settings.select;
        if !entry.directory {
            let goes = select.takes(below);
            deletions.extend(goes.then_some(entry));
            return Ok(goes);
        }
        if !select.enters(below) {
            return Ok(false);
        }
        let mut inside = Vec::new();
        let mut each = |line: ListingLine, _: &[u8]| -> Result<(), Fault> {
            match line {
                ListingLine::Entry(entry) if check_name(&entry.name).is_ok() => {
                    // What is inside itself is a link that the server does not show as one.
                    inside.push((above.with(&entry).filter(|_| entry.is_dir()), entry.name))
                }
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
        for (inner, name) in inside {
            let (root, path, directory) = (entry.root, entry.path.join(&name), inner.is_some());
            let (child, below) = (RemoteDeletion { root, path, directory }, join(below, &name));
            let above = inner.as_ref().unwrap_or(above);
            all &= Box::pin(self.plan_deletion(client, child, &below, depth + 1, above, deletions)).await?;
        }
        deletions.extend(all.then_some(entry));
        Ok(all)
    }

    /// Removes the links among the directories. Some servers list a link to a directory as a directory (pyftpdlib): DELE
    /// removes the link and refuses the directory, so nothing is ever emptied through a link. What is left to be deleted.
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
        // What is around comes before what is inside.
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
            // What was listed is not there: the listing lied, perhaps that of another directory.
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

fn command(entry: &RemoteDeletion) -> FtpCommand {
    match entry.directory {
        true => FtpCommand::Rmd(entry.path.argument()),
        false => FtpCommand::Dele(entry.path.argument()),
    }
}
