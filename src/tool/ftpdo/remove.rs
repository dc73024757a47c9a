//! `rm`: removes files, and directories with their content. Links are removed, never followed.

use serde::Serialize;

use super::actor::Actor;
use crate::fault::{Fault, Kind};
use crate::ftp::client::ListMethod;
use crate::ftp::command::FtpCommand;
use crate::ftp::listing::{EntryType, ListingEntry, ListingLine};
use crate::ftp::mirror::{Ancestors, MAX_DEPTH, MAX_TREE, SpoolWriter};
use crate::ftp::path::{RemotePath, check_name};
use crate::ftp::reply::{FtpReply, ReplyClass};

/// The number of removed files and directories.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Removed {
    removed_files: u64,
    removed_directories: u64,
}

impl Removed {
    /// True if something was removed.
    pub(super) fn any(self) -> bool {
        self.removed_files + self.removed_directories > 0
    }
}

/// The outcome of a removal.
pub(super) struct Removal {
    pub(super) removed: Option<Removed>,
    /// The reply to the last command, if one was sent.
    pub(super) reply: Option<FtpReply>,
}

/// The type of the entry that is to be removed.
#[derive(PartialEq, Eq)]
enum RemovalTarget {
    Nothing,
    Directory,
    File,
}

impl Actor<'_> {
    /// Removes the entry at a path.
    pub(super) async fn remove(&mut self, path: &RemotePath, recursive: bool, force: bool) -> Result<Removal, Fault> {
        let mut removed = Removed::default();
        if self.dry_run {
            match self.there(path).await? {
                RemovalTarget::Nothing if force => {}
                RemovalTarget::Nothing => return Err(Fault::new(Kind::NoInput, "no such file or directory")),
                RemovalTarget::Directory if recursive => {
                    self.empty(path, 0, &Ancestors::default(), &mut removed).await?
                }
                RemovalTarget::Directory => removed.removed_directories += 1,
                RemovalTarget::File => removed.removed_files += 1,
            }
            return Ok(Removal { removed: Some(removed), reply: None });
        }
        let as_file = self.client.call(&FtpCommand::Dele(path.argument())).await?;
        if as_file.ok() {
            removed.removed_files += 1;
            return Ok(Removal { removed: Some(removed), reply: Some(as_file) });
        }
        if as_file.class() == ReplyClass::Transient {
            return Err(as_file.fault("DELE", Kind::NoInput));
        }
        let as_directory = self.client.call(&FtpCommand::Rmd(path.argument())).await?;
        if as_directory.ok() {
            removed.removed_directories += 1;
            return Ok(Removal { removed: Some(removed), reply: Some(as_directory) });
        }
        match self.there(path).await? {
            RemovalTarget::Nothing if force => Ok(Removal { removed: None, reply: None }),
            RemovalTarget::Nothing => Err(as_file.fault("DELE", Kind::NoInput)),
            RemovalTarget::Directory if recursive => {
                self.empty(path, 0, &Ancestors::default(), &mut removed).await?;
                let reply = self.client.must(&FtpCommand::Rmd(path.argument()), Kind::Refused).await?;
                removed.removed_directories += 1;
                Ok(Removal { removed: Some(removed), reply: Some(reply) })
            }
            RemovalTarget::Directory => {
                Err(as_directory.fault("RMD", Kind::Refused).with_hint("-r removes what is in it"))
            }
            RemovalTarget::File => Err(as_file.fault("DELE", Kind::Refused)),
        }
    }

    /// The type of the entry at a path. Without MLST a server does not distinguish a directory from a link to one, but the listing of
    /// its parent does. The target of a link must not be emptied.
    async fn there(&mut self, path: &RemotePath) -> Result<RemovalTarget, Fault> {
        let Some(entry) = self.client.stat(path).await? else { return Ok(RemovalTarget::Nothing) };
        let (true, false, Some(name)) = (entry.is_dir(), self.client.features().mlst, path.name()) else {
            return Ok(if entry.is_dir() { RemovalTarget::Directory } else { RemovalTarget::File });
        };
        let mut link = false;
        let each = &mut |line: ListingLine, _: &[u8]| {
            if let ListingLine::Entry(entry) = line {
                link |= entry.name == name && entry.entry_type == EntryType::Symlink;
            }
            Ok(())
        };
        let listed = self.client.list(&path.parent().unwrap_or_default(), ListMethod::Any, false, each).await?;
        // A truncated listing may lack the link.
        listed.uncut()?;
        Ok(if link { RemovalTarget::File } else { RemovalTarget::Directory })
    }

    /// Removes the content of a directory in batches, the files of each batch first.
    async fn empty(
        &mut self,
        path: &RemotePath,
        depth: usize,
        above: &Ancestors,
        removed: &mut Removed,
    ) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::new(Kind::Protocol, format!("more than {MAX_DEPTH} directories deep")));
        }
        let (mut inside, mut count) = (SpoolWriter::default(), 0);
        let each = &mut |line: ListingLine, _: &[u8]| match line {
            ListingLine::Entry(entry) => {
                check_name(&entry.name).map_err(|bad| {
                    let name = String::from_utf8_lossy(&entry.name).into_owned();
                    Fault::new(Kind::BadData, format!("{name}: {}", bad.as_str()))
                })?;
                count += 1;
                if count > MAX_TREE {
                    return Err(Fault::new(Kind::Protocol, format!("more than {MAX_TREE} entries in a directory")));
                }
                inside.add(&entry)
            }
            ListingLine::Nothing => Ok(()),
            odd => Err(odd.fault(b"")),
        };
        above.listed(self.client.list(path, ListMethod::Any, true, each).await?.uncut()?)?;
        let mut left = Some(inside.finish()?);
        while let Some(inside) = left {
            let (batch, rest) = inside.batch()?;
            left = rest;
            self.empty_of(path, batch, depth, above, removed).await?;
        }
        Ok(())
    }

    /// Removes one batch of a directory's content.
    async fn empty_of(
        &mut self,
        path: &RemotePath,
        batch: Vec<ListingEntry>,
        depth: usize,
        above: &Ancestors,
        removed: &mut Removed,
    ) -> Result<(), Fault> {
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        for entry in batch {
            let path = path.join(&entry.name);
            // A directory that contains itself is a link that the server does not show as one.
            match above.with(&entry).filter(|_| entry.is_dir()) {
                Some(above) => directories.push((path, above)),
                None => files.push(path),
            }
        }
        if self.dry_run {
            removed.removed_files += u64::try_from(files.len()).unwrap_or(u64::MAX);
        } else {
            for (reply, path) in self.delete(files.iter()).await?.iter().zip(&files) {
                if !reply.ok() {
                    return Err(reply.fault(format!("DELE {path}"), Kind::Refused));
                }
                removed.removed_files += 1;
            }
            // Some servers list a link to a directory as a directory (pyftpdlib): DELE removes the link and refuses the
            // directory, so nothing is ever emptied through a link.
            let replies = self.delete(directories.iter().map(|(path, _)| path)).await?;
            let mut links = replies.iter().map(FtpReply::ok);
            directories.retain(|_| !links.next().unwrap_or(false));
            removed.removed_files += u64::try_from(replies.len() - directories.len()).unwrap_or(u64::MAX);
        }
        for (directory, above) in directories {
            Box::pin(self.empty(&directory, depth + 1, &above, removed)).await?;
            if !self.dry_run {
                let reply = self.client.call(&FtpCommand::Rmd(directory.argument())).await?;
                if !reply.ok() {
                    return Err(reply.fault(format!("RMD {directory}"), Kind::Refused));
                }
            }
            removed.removed_directories += 1;
        }
        Ok(())
    }

    async fn delete(&mut self, paths: impl Iterator<Item = &RemotePath>) -> Result<Vec<FtpReply>, Fault> {
        let commands: Vec<FtpCommand> = paths.map(|path| FtpCommand::Dele(path.argument())).collect();
        self.client.call_all(&commands).await
    }
}
