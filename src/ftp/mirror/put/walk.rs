//! The upload of one directory: its local entries, the remote ones, and the action for each name.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::tree::{LocalContents, LocalDirectory, LocalMeaning, LocalName, Made};
use super::{FileUpload, UploadJob, Uploader};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{FtpClient, WholeListing, time_of};
use crate::ftp::command::FtpCommand;
use crate::ftp::listing::{ListingEntry, ListingLine, says_missing};
use crate::ftp::mirror::sorted::Sorter;
use crate::ftp::mirror::spool::{FieldReader, FieldWriter, Spool, SpoolReader, Spooled};
use crate::ftp::mirror::{
    Compare, FileFacts, MAX_ODD, MAX_TREE, MirrorEvent, MirrorOutcome, MirroredFile, more_odd_lines,
};
use crate::ftp::part::{unfinished, whole_of};
use crate::ftp::path::check_name;
use crate::ftp::reply::ReplyClass;
use crate::ftp::transfer::TransferStep;

/// A directory that is to be read, created and compared.
pub(super) struct DirectoryUpload {
    pub(super) directory: Arc<LocalDirectory>,
    /// Its contents, after it was read: events of the reading are reported only once.
    contents: Option<LocalContents>,
}

/// The names of a directory that are still to be processed.
pub(super) struct UploadRest {
    pub(super) directory: Arc<LocalDirectory>,
    names: Spool<LocalName>,
    /// The names in the remote directory; empty if they do not matter.
    there: Spool<RemoteName>,
    /// The proof that the remote listing is complete.
    whole: Option<WholeListing>,
    /// The local directory is empty: a file system may not be mounted.
    empty: bool,
    /// Some of its files are sent.
    sends: bool,
    /// Parts of files of these names on the server.
    left_over: Vec<Vec<u8>>,
}

/// One name in a remote directory. The order is by the name of the complete file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct RemoteName {
    /// The name; for an unfinished file, the known beginning of its final name.
    whole: Vec<u8>,
    /// The name of an unfinished file.
    part: Option<Vec<u8>>,
    directory: bool,
    size: Option<u64>,
    /// The modification time, if the server reports it in UTC.
    modified: Option<i64>,
}

impl RemoteName {
    fn of(entry: ListingEntry) -> RemoteName {
        let modified = entry.modified.filter(|modified| modified.utc).map(|modified| modified.seconds);
        let (directory, size) = (entry.is_dir(), entry.size);
        match unfinished(&entry.name).map(|(whole, _)| whole.to_vec()) {
            Some(whole) => RemoteName { whole, part: Some(entry.name), directory, size, modified },
            None => RemoteName { whole: entry.name, part: None, directory, size, modified },
        }
    }

    fn facts(&self) -> FileFacts {
        FileFacts { size: self.size, modified: self.modified }
    }

    fn name(&self) -> &[u8] {
        self.part.as_deref().unwrap_or(&self.whole)
    }

    fn into_name(self) -> Vec<u8> {
        self.part.unwrap_or(self.whole)
    }
}

impl Spooled for RemoteName {
    fn write(&self, to: &mut FieldWriter) {
        to.bytes(Some(&self.whole));
        to.bytes(self.part.as_deref());
        to.number(self.directory.then_some(1));
        to.facts(self.facts());
    }

    fn read(from: &mut FieldReader) -> io::Result<RemoteName> {
        let (whole, part) = (from.bytes()?.unwrap_or_default(), from.bytes()?);
        let directory = from.number()?.is_some();
        let FileFacts { size, modified } = from.facts()?;
        Ok(RemoteName { whole, part, directory, size, modified })
    }
}

/// A reader of sorted remote names, which takes a name only under a condition.
struct RemoteNames {
    reader: SpoolReader<RemoteName>,
    next: Option<RemoteName>,
    /// The names from `next` on.
    left: Spool<RemoteName>,
}

impl RemoteNames {
    fn of(names: &Spool<RemoteName>) -> Result<RemoteNames, Fault> {
        let mut reader = names.read();
        let next = reader.next().transpose()?;
        Ok(RemoteNames { reader, next, left: names.clone() })
    }

    fn take_if(&mut self, wanted: impl FnOnce(&RemoteName) -> bool) -> Result<Option<RemoteName>, Fault> {
        let taken = self.next.take_if(|next| wanted(next));
        if taken.is_some() {
            self.left = self.reader.left();
            self.next = self.reader.next().transpose()?;
        }
        Ok(taken)
    }
}

/// The results for some names of a directory.
#[derive(Default)]
struct NamesFound {
    files: Vec<(FileUpload, FileFacts, Option<FileFacts>)>,
    directories: Vec<Arc<LocalDirectory>>,
    /// The remaining names, local and remote.
    left: Option<(Spool<LocalName>, Spool<RemoteName>)>,
    /// The names that only the server has, and whether they are directories.
    extraneous: Vec<(Vec<u8>, bool)>,
    left_over: Vec<Vec<u8>>,
}

impl DirectoryUpload {
    pub(super) fn new(directory: LocalDirectory) -> DirectoryUpload {
        DirectoryUpload { directory: Arc::new(directory), contents: None }
    }
}

impl UploadRest {
    /// Compares the next local names with the remote ones, and returns the results with the rest of both. Of the names that only the
    /// server has, it returns at most `most` for which `goes` is true.
    fn names(&self, most: usize, goes: impl Fn(&RemoteName) -> bool) -> Result<NamesFound, Fault> {
        let (batch, left) = self.names.batch()?;
        let mut there = RemoteNames::of(&self.there)?;
        let mut found = NamesFound::default();
        let only_there = |found: &mut NamesFound, other: RemoteName| {
            if found.extraneous.len() < most && goes(&other) {
                let directory = other.directory;
                found.extraneous.push((other.into_name(), directory));
            }
        };
        for LocalName { name, meant } in batch {
            while let Some(other) = there.take_if(|other| other.whole < name)? {
                // The name of an unfinished file holds only the beginning of a long name.
                match other.part.is_some() && whole_of(&name) == other.whole {
                    true => found.left_over.push(other.into_name()),
                    false => only_there(&mut found, other),
                }
            }
            let mut facts = None;
            while let Some(same) = there.take_if(|same| same.whole == name)? {
                match same.part.is_some() {
                    true => found.left_over.push(same.into_name()),
                    false => facts = Some(same.facts()),
                }
            }
            match meant {
                LocalMeaning::File { size, modified, through_link } => {
                    let file = FileUpload::below(&self.directory, &name, size, through_link);
                    found.files.push((file, FileFacts { size: Some(size), modified: Some(modified) }, facts));
                }
                LocalMeaning::Directory(linked) => {
                    found.directories.push(Arc::new(self.directory.enter(&name, linked)));
                }
                LocalMeaning::Nothing => {}
            }
        }
        if let Some(names) = left {
            found.left = Some((names, there.left));
            return Ok(found);
        }
        while let Some(other) = there.take_if(|_| true)? {
            only_there(&mut found, other);
        }
        Ok(found)
    }
}

impl Uploader {
    /// Reads a directory, creates the remote one, and lists the remote one if its contents matter.
    pub(super) async fn directory(
        &self,
        client: &mut FtpClient,
        job: &mut DirectoryUpload,
        more: &mut Vec<UploadJob>,
    ) -> Result<(), Fault> {
        let (settings, directory) = (&self.settings, &job.directory);
        let contents = match &job.contents {
            Some(contents) => contents,
            None => match directory.read(settings, &mut |event| self.report(directory.root, event)) {
                Ok(contents) => {
                    self.count(directory.root, contents.files);
                    job.contents.insert(contents)
                }
                Err(fault) => {
                    self.incomplete.store(true, Ordering::Relaxed);
                    let target = directory.local.display().to_string();
                    self.report(directory.root, MirrorEvent::Failed { target, fault });
                    return Ok(());
                }
            },
        };
        let has_place = contents.files > 0 || !settings.select.selects();
        if !settings.dry_run && !self.only_looks() && has_place {
            self.make(client, std::slice::from_ref(directory)).await?;
        }
        let plans = settings.itemize && settings.dry_run && has_place;
        let lists = (self.compares() && contents.files > 0) || settings.delete.is_some() || plans;
        let (there, whole) = match directory.made.get() {
            _ if !lists => Default::default(),
            Some(Made::Fresh) => Default::default(),
            made => self.list(client, directory, made, plans).await?,
        };
        let names = contents.names.clone();
        let (directory, there, empty) = (directory.clone(), there.finish()?, names.is_empty());
        let left_over = Vec::new();
        more.push(UploadJob::Rest(UploadRest { directory, names, there, whole, empty, sends: false, left_over }));
        Ok(())
    }

    /// True when the files on the server matter.
    fn compares(&self) -> bool {
        self.settings.compare != Compare::Never || self.settings.no_clobber || self.settings.itemize
    }

    /// Lists a remote directory. With `planned`, a missing one is reported as a directory that would be created.
    async fn list(
        &self,
        client: &mut FtpClient,
        directory: &LocalDirectory,
        made: Option<&Made>,
        planned: bool,
    ) -> Result<(Sorter<RemoteName>, Option<WholeListing>), Fault> {
        let (mut there, mut events) = (Sorter::default(), Vec::new());
        let (mut count, mut odd) = (0u64, 0);
        let target = || self.url(&directory.remote, true);
        let mut each = |line: ListingLine, raw: &[u8]| -> Result<(), Fault> {
            count += 1;
            if count > MAX_TREE {
                return Err(Fault::new(Kind::Protocol, format!("a directory of more than {MAX_TREE} entries")));
            }
            match line {
                ListingLine::Entry(entry) if check_name(&entry.name).is_ok() => there.add(RemoteName::of(entry))?,
                ListingLine::Nothing => {}
                ListingLine::Unknown if made.is_none() && count == 1 && says_missing(raw) => {}
                line => {
                    odd += 1;
                    if odd <= MAX_ODD {
                        events.push(MirrorEvent::Failed { target: target(), fault: line.fault(raw) });
                    }
                }
            }
            Ok(())
        };
        let listed = match client.list(&directory.remote, self.settings.list_method, false, &mut each).await {
            Ok(listed) => listed,
            // A directory that is not created yet is empty.
            Err(fault) if fault.kind == Kind::NoInput && client.usable() && made.is_none() => {
                if planned {
                    let made = MirrorEvent::Made { target: target(), outcome: MirrorOutcome::Planned };
                    self.report(directory.root, made);
                }
                return Ok(Default::default());
            }
            // It does not exist because it could not be created: that refusal is the cause.
            Err(fault) => {
                return Err(match made {
                    Some(Made::There(Some(refusal))) if fault.kind == Kind::NoInput => {
                        Fault { detail: format!("{}; {}", refusal.detail, fault.detail), ..refusal.clone() }
                    }
                    _ => fault,
                });
            }
        };
        if let Some(fault) = listed.cut() {
            self.incomplete.store(true, Ordering::Relaxed);
            // Omitted files may exist and be newer.
            if self.settings.no_clobber || self.settings.compare == Compare::Newer {
                return Err(fault.context("nothing is stored here"));
            }
            events.push(MirrorEvent::Failed { target: target(), fault });
        }
        if odd > MAX_ODD {
            events.push(MirrorEvent::Failed { target: target(), fault: more_odd_lines(odd) });
        }
        if odd > 0 {
            self.incomplete.store(true, Ordering::Relaxed);
        }
        events.extend(listed.warning().map(|why| MirrorEvent::Skipped { target: target(), why }));
        events.into_iter().for_each(|event| self.report(directory.root, event));
        Ok((there, listed.whole()))
    }

    /// Creates directories and their parents, as far as that was not tried yet. Refusals are ignored: existing directories cause
    /// them, and a real failure shows when the directory is listed or a file is stored in it.
    async fn make(&self, client: &mut FtpClient, directories: &[Arc<LocalDirectory>]) -> Result<(), Fault> {
        let mut wanted: Vec<&LocalDirectory> = Vec::new();
        for directory in directories {
            let up = std::iter::successors(Some(&**directory), |directory| directory.parent.as_deref());
            let from = wanted.len();
            wanted.extend(up.take_while(|directory| directory.made.get().is_none()));
            wanted.get_mut(from..).unwrap_or_default().reverse();
        }
        wanted.retain(|directory| {
            let login = directory.remote.name().is_none();
            if login {
                // The login directory exists.
                drop(directory.made.set(Made::There(None)));
            }
            !login
        });
        for top in wanted.iter().filter(|directory| directory.parent.is_none()) {
            client.make_parents(&top.remote).await?;
        }
        let commands: Vec<FtpCommand> =
            wanted.iter().map(|directory| FtpCommand::Mkd(directory.remote.argument())).collect();
        let replies = client.call_all(&commands).await?;
        if let Some(reply) = replies.iter().find(|reply| reply.class() == ReplyClass::Transient) {
            return Err(reply.fault("MKD", Kind::Refused));
        }
        for (directory, reply) in wanted.iter().zip(&replies) {
            if reply.ok() && self.settings.itemize {
                let (target, outcome) = (self.url(&directory.remote, true), MirrorOutcome::Done);
                self.report(directory.root, MirrorEvent::Made { target, outcome });
            }
            // Another connection may have set it already.
            drop(directory.made.set(match reply.ok() {
                true => Made::Fresh,
                false => Made::There(Some(reply.fault("MKD", Kind::Refused))),
            }));
        }
        Ok(())
    }

    /// Creates jobs for the next names of a directory, and one job for the rest.
    pub(super) async fn rest(
        &self,
        client: &mut FtpClient,
        rest: &UploadRest,
        more: &mut Vec<UploadJob>,
    ) -> Result<(), Fault> {
        let (settings, directory) = (&self.settings, &rest.directory);
        let delete = settings.delete.filter(|_| rest.whole.is_some());
        let most = delete.map_or(0, |rule| rule.most().saturating_add(1));
        let found = rest.names(most, |other| self.goes(directory, other.name(), other.directory))?;
        let (mut events, mut jobs) = (Vec::new(), Vec::new());
        let files = if self.only_looks() { Vec::new() } else { found.files };
        self.decide(client, directory, files, &mut events, &mut jobs).await?;
        if !settings.dry_run && !self.only_looks() && !settings.select.selects() {
            self.make(client, &found.directories).await?;
        }
        // From here on no command is sent.
        let sends = rest.sends || !jobs.is_empty();
        let mut left_over = rest.left_over.clone();
        left_over.extend(found.left_over);
        left_over.truncate(MAX_ODD);
        match found.left {
            Some((names, there)) => {
                let (directory, whole, empty) = (directory.clone(), rest.whole, rest.empty);
                let rest = UploadRest { directory, names, there, whole, empty, sends, left_over };
                more.push(UploadJob::Rest(rest));
            }
            // The files that are sent now may continue these parts: the next run reports the others.
            None if sends => {}
            None => events.extend(left_over.iter().map(|name| {
                let target = self.url(&directory.remote.join(name), false);
                MirrorEvent::Skipped { target, why: "what another run has left, or is sending, of a file" }
            })),
        }
        let note = |whole| self.note_extraneous(directory, found.extraneous, rest.empty, whole);
        events.extend(rest.whole.and_then(note));
        events.into_iter().for_each(|event| self.report(directory.root, event));
        more.append(&mut jobs);
        let below = |directory| UploadJob::Directory(DirectoryUpload { directory, contents: None });
        more.extend(found.directories.into_iter().rev().map(below));
        Ok(())
    }

    /// The job for a file that has to be stored; `there` is the file that it replaces.
    fn job(&self, file: FileUpload, there: Option<FileFacts>) -> UploadJob {
        self.tell(TransferStep::Found(Some(file.size)));
        UploadJob::File(FileUpload { there: self.compares().then_some(there), ..file })
    }

    /// Compares files with the remote ones, and creates jobs for those that have to be stored.
    async fn decide(
        &self,
        client: &mut FtpClient,
        directory: &LocalDirectory,
        files: Vec<(FileUpload, FileFacts, Option<FileFacts>)>,
        events: &mut Vec<MirrorEvent>,
        jobs: &mut Vec<UploadJob>,
    ) -> Result<(), Fault> {
        let settings = &self.settings;
        let mut candidates = Vec::new();
        for (file, here, there) in files {
            match there {
                None => jobs.push(self.job(file, None)),
                Some(_) if settings.no_clobber => {
                    let target = self.url(&file.remote, false);
                    events.push(MirrorEvent::LeftOut { target, why: "already exists" });
                }
                Some(there) => {
                    let asks = directory.ascii || settings.compare.asks_time(here, there);
                    candidates.push((file, here, there, asks && there.modified.is_none()));
                }
            }
        }
        let asked: Vec<FtpCommand> = candidates
            .iter()
            .filter(|candidate| candidate.3)
            .map(|(file, ..)| FtpCommand::Mdtm(file.remote.argument()))
            .collect();
        let mut times = client.call_all(&asked).await?.into_iter();
        for (file, here, mut facts, asks) in candidates {
            if asks {
                facts.modified = times.next().as_ref().and_then(time_of);
            }
            let there = self.receiver(client, &file.remote, (here, facts), directory.ascii).await?;
            if settings.compare.same(here, there, directory.ascii) {
                let same = FileFacts { size: here.size, modified: facts.modified };
                let url = self.url(&file.remote, false);
                events.push(MirrorEvent::Same(MirroredFile::untouched(url, file.local, same)));
            } else {
                jobs.push(self.job(file, Some(facts)));
            }
        }
        Ok(())
    }
}
