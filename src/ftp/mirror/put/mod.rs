//! Local files and trees to remote ones.

mod clock;
mod delete;
mod tree;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::pool::{self, PoolWork};
use super::{Compare, FileFacts, MAX_TREE, MirrorEvent, MirrorSettings, MirroredFile};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Ahead, FtpClient, time_of};
use crate::ftp::command::FtpCommand;
use crate::ftp::listing::{ListingEntry, ListingLine, says_missing};
use crate::ftp::part::{PartTag, part_name, unfinished};
use crate::ftp::path::{RemotePath, check_name};
use crate::ftp::reply::{FtpReply, ReplyClass};
use crate::ftp::transfer::{self, PendingUpload, Put, ReplaceMode, SourceClaim, upload, upload_ahead};
use clock::ServerClock;
use delete::ComparedDirectory;
use tree::{LocalDirectory, LocalFile};

/// What is to be stored, all of it at one server.
#[derive(Debug)]
pub struct PutRequest {
    /// Files and directories. Their places here number the events.
    pub sources: Vec<PutSource>,
    /// How an upload takes its place.
    pub replace: ReplaceMode,
    /// Permission bits to set.
    pub mode: FileMode,
}

/// One thing to store.
#[derive(Debug)]
pub enum PutSource {
    /// The contents of a directory.
    Tree {
        /// The directory.
        local: PathBuf,
        /// The directory that they go into.
        remote: RemotePath,
        /// Text: lines are converted.
        ascii: bool,
    },
    /// One file.
    File {
        /// The file.
        local: PathBuf,
        /// Where it goes.
        remote: RemotePath,
        /// Text: lines are converted.
        ascii: bool,
        /// When it is the same already.
        compare: Compare,
    },
}

/// Which permission bits a stored file gets (SITE CHMOD).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileMode {
    /// What the server gives it.
    #[default]
    Server,
    /// Those of the local file.
    Keep,
    /// These.
    Set(u32),
}

/// Stores.
///
/// # Errors
/// What ended the run; failures of single files are events.
pub async fn put(settings: &MirrorSettings, client: FtpClient, offered: PutRequest) -> Result<(), Fault> {
    if settings.delete.is_none_or(|rule| !rule.first) {
        return store(settings, client, offered).await;
    }
    let deleted = delete_first(settings, client, &offered).await?;
    let settings = MirrorSettings { delete: settings.delete.filter(|_| !deleted), ..settings.clone() };
    let client = FtpClient::open(&settings.url, &settings.options).await?;
    store(&settings, client, offered).await
}

/// Lists the trees there and deletes what is not here. False: a listing was not complete, and nothing was deleted.
async fn delete_first(settings: &MirrorSettings, mut client: FtpClient, offered: &PutRequest) -> Result<bool, Fault> {
    let work = Arc::new(Uploader::new(settings, offered, true)?);
    let mut jobs = Vec::new();
    for (root, source) in offered.sources.iter().enumerate() {
        if let PutSource::Tree { local, remote, ascii } = source {
            work.tree(&mut client, root, local.clone(), remote.clone(), *ascii, &mut jobs).await?;
        }
    }
    pool::run(work.clone(), settings, client, jobs).await?;
    work.only_looks.store(false, Ordering::Relaxed);
    let complete = !work.incomplete.load(Ordering::Relaxed);
    if complete {
        work.delete_extraneous().await?;
    }
    Ok(complete)
}

async fn store(settings: &MirrorSettings, mut client: FtpClient, offered: PutRequest) -> Result<(), Fault> {
    let work = Arc::new(Uploader::new(settings, &offered, false)?);
    let mut jobs = Vec::new();
    for (root, source) in offered.sources.into_iter().enumerate() {
        match source {
            PutSource::Tree { local, remote, ascii } => {
                work.tree(&mut client, root, local, remote, ascii, &mut jobs).await?
            }
            PutSource::File { local, remote, ascii, compare } => {
                let job = FileUpload::new(root, local, remote, ascii);
                let job = FileUpload { compare: Some(compare), follow: true, ..job };
                match settings.options.sendable(&job.remote) {
                    Ok(()) => jobs.push(UploadJob::File(job)),
                    Err(fault) => work.failed(UploadJob::File(job), fault),
                }
            }
        }
    }
    pool::run(work.clone(), settings, client, jobs).await?;
    work.delete_extraneous().await
}

struct Uploader {
    settings: MirrorSettings,
    replace: ReplaceMode,
    mode: FileMode,
    /// No other run has it.
    run: Vec<u8>,
    clock: OnceCell<ServerClock>,
    /// What is there and not here is found, and nothing else is done or told.
    only_looks: AtomicBool,
    /// A listing, here or there, was not complete.
    incomplete: AtomicBool,
    visited: Mutex<Vec<ComparedDirectory>>,
}

enum UploadJob {
    /// Compares a directory that is there with the local one.
    Directory {
        root: usize,
        directory: LocalDirectory,
        ascii: bool,
    },
    File(FileUpload),
}

struct FileUpload {
    root: usize,
    local: PathBuf,
    remote: RemotePath,
    ascii: bool,
    /// When it is the same already; `None`: that is decided.
    compare: Option<Compare>,
    /// The user named it: a symbolic link leads where it leads.
    follow: bool,
    /// How large it was when it was seen last.
    size: u64,
    /// What it was when it was opened last, and how often that had changed since the time before.
    seen: Option<PartTag>,
    changes: u32,
    /// The right to continue what an earlier run left.
    claim: Option<SourceClaim>,
    /// What the server has of it, until it is closed.
    stored: Option<Box<PendingUpload>>,
}

impl FileUpload {
    fn new(root: usize, local: PathBuf, remote: RemotePath, ascii: bool) -> FileUpload {
        FileUpload {
            root,
            local,
            remote,
            ascii,
            compare: None,
            follow: false,
            size: u64::MAX,
            seen: None,
            changes: 0,
            claim: None,
            stored: None,
        }
    }
}

impl PoolWork for Arc<Uploader> {
    type Job = UploadJob;

    async fn run(
        &self,
        client: &mut FtpClient,
        job: &mut UploadJob,
        retries: u32,
        more: &mut Vec<UploadJob>,
    ) -> Result<(), Fault> {
        match job {
            UploadJob::Directory { root, directory, ascii } => {
                self.directory(client, *root, directory, *ascii, more).await
            }
            UploadJob::File(file) => self.file(client, file, retries).await,
        }
    }

    fn is_expanding(&self, job: &UploadJob) -> bool {
        matches!(job, UploadJob::Directory { .. })
    }

    fn repeatable(&self, _job: &UploadJob) -> bool {
        self.replace != ReplaceMode::Append
    }

    fn pipelined(&self, job: &UploadJob, _retries: u32) -> Option<Ahead> {
        let UploadJob::File(file) = job else { return None };
        // What was tried before may be another file by now, under another temporary name.
        if self.settings.dry_run || file.compare.is_some() || file.seen.is_some() {
            return None;
        }
        upload_ahead(&self.put(file, false, None), file.size)
    }

    fn finish_commands(&self, client: &FtpClient, job: &mut UploadJob) -> Vec<FtpCommand> {
        let UploadJob::File(FileUpload { stored: Some(stored), .. }) = job else { return Vec::new() };
        stored.commands(client)
    }

    fn on_finished(
        &self,
        client: &FtpClient,
        job: &mut UploadJob,
        retries: u32,
        replies: &[FtpReply],
    ) -> Result<(), Fault> {
        let UploadJob::File(file) = job else { return Ok(()) };
        let Some(stored) = &mut file.stored else { return Ok(()) };
        stored.answers(client, replies)?;
        if stored.is_done() {
            self.done(file, retries);
        }
        Ok(())
    }

    fn on_retry(&self, job: &UploadJob, fault: &Fault, wait: Duration) {
        let (root, target) = self.name_of(job);
        self.report(root, MirrorEvent::Again { target, fault: fault.clone(), wait });
    }

    fn failed(&self, job: UploadJob, fault: Fault) {
        if matches!(job, UploadJob::Directory { .. }) {
            self.incomplete.store(true, Ordering::Relaxed);
        }
        let (root, target) = self.name_of(&job);
        self.report(root, MirrorEvent::Failed { target, fault });
    }
}

impl Uploader {
    fn new(settings: &MirrorSettings, offered: &PutRequest, only_looks: bool) -> Result<Uploader, Fault> {
        Ok(Uploader {
            settings: settings.clone(),
            replace: offered.replace,
            mode: offered.mode,
            run: part_name(b"run", &PartTag::of_run()?),
            clock: OnceCell::new(),
            only_looks: only_looks.into(),
            incomplete: false.into(),
            visited: Mutex::default(),
        })
    }

    fn only_looks(&self) -> bool {
        self.only_looks.load(Ordering::Relaxed)
    }

    /// What a job is called.
    fn name_of(&self, job: &UploadJob) -> (usize, String) {
        match job {
            UploadJob::Directory { root, directory, .. } => (*root, self.url(&directory.remote, true)),
            UploadJob::File(file) => (file.root, self.url(&file.remote, false)),
        }
    }

    fn url(&self, path: &RemotePath, directory: bool) -> String {
        self.settings.url.with_path(path.clone(), directory).to_string()
    }

    fn report(&self, root: usize, event: MirrorEvent) {
        if !self.only_looks() || matches!(event, MirrorEvent::Again { .. }) {
            (self.settings.report)(root, event);
        }
    }

    fn visited(&self) -> std::sync::MutexGuard<'_, Vec<ComparedDirectory>> {
        self.visited.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Walks a local tree, makes its directories, and makes jobs of what may have to be stored.
    async fn tree(
        &self,
        client: &mut FtpClient,
        root: usize,
        local: PathBuf,
        remote: RemotePath,
        ascii: bool,
        jobs: &mut Vec<UploadJob>,
    ) -> Result<(), Fault> {
        let settings = &self.settings;
        let walked = tree::walk(settings, &local, &remote)?;
        walked.events.into_iter().for_each(|event| self.report(root, event));
        if !walked.complete {
            self.incomplete.store(true, Ordering::Relaxed);
        }
        let mut directories = walked.directories;
        if settings.select.selects() && directories.iter().all(|directory| directory.files.is_empty()) {
            let fault = Fault::new(Kind::Negative, "nothing matches");
            self.report(root, MirrorEvent::Failed { target: local.display().to_string(), fault });
        }
        let fresh = match settings.dry_run || self.only_looks() {
            true => HashSet::new(),
            false => make_directories(client, &remote, &mut directories).await?,
        };
        let lists = settings.compare != Compare::Never || settings.no_clobber || settings.delete.is_some();
        for (number, directory) in directories.drain(..).enumerate() {
            if directory.files.is_empty() && settings.delete.is_none() {
                continue;
            }
            if lists && !fresh.contains(&number) {
                jobs.push(UploadJob::Directory { root, directory, ascii });
            } else {
                jobs.extend(
                    directory.files.iter().map(|file| UploadJob::File(file_job(root, &directory, file, ascii))),
                );
            }
        }
        Ok(())
    }

    async fn directory(
        &self,
        client: &mut FtpClient,
        root: usize,
        directory: &LocalDirectory,
        ascii: bool,
        more: &mut Vec<UploadJob>,
    ) -> Result<(), Fault> {
        let (mut there, mut names, mut events) = (HashMap::new(), Vec::new(), Vec::new());
        let (mut count, mut unclear) = (0u64, false);
        // What is not made yet is empty.
        let may_miss = self.settings.dry_run || !directory.made || self.only_looks();
        let mut each = |line: ListingLine, raw: &[u8]| -> Result<(), Fault> {
            count += 1;
            if count > MAX_TREE {
                return Err(Fault::new(Kind::Protocol, format!("a directory of more than {MAX_TREE} entries")));
            }
            match line {
                ListingLine::Entry(entry) if check_name(&entry.name).is_ok() => {
                    names.push((entry.name.clone(), entry.is_dir()));
                    there.insert(entry.name.clone(), entry);
                }
                ListingLine::Nothing => {}
                ListingLine::Unknown if may_miss && count == 1 && says_missing(raw) => {}
                odd => {
                    unclear = true;
                    let fault = odd.fault(raw);
                    events.push(MirrorEvent::Failed { target: self.url(&directory.remote, true), fault });
                }
            }
            Ok(())
        };
        let listed = client.list(&directory.remote, self.settings.list_method, false, &mut each).await;
        let whole = match listed {
            Ok(listed) => {
                let (cut, whole) = (listed.cut(), listed.whole());
                // What was left out may be there, and newer.
                let spares = self.settings.no_clobber || self.settings.compare == Compare::Newer;
                if let Some(fault) = cut {
                    self.incomplete.store(true, Ordering::Relaxed);
                    if spares {
                        return Err(fault.context("nothing is stored here"));
                    }
                    events.push(MirrorEvent::Failed { target: self.url(&directory.remote, true), fault });
                }
                let target = || self.url(&directory.remote, true);
                events.extend(listed.warning().map(|why| MirrorEvent::Skipped { target: target(), why }));
                whole
            }
            Err(fault) if fault.kind == Kind::NoInput && client.usable() && may_miss => None,
            // It is not there because it could not be made: that is the reason.
            Err(fault) if fault.kind == Kind::NoInput => {
                return Err(match directory.refusal.clone() {
                    Some(refusal) => Fault { detail: format!("{}; {}", refusal.detail, fault.detail), ..refusal },
                    None => fault,
                });
            }
            Err(fault) => return Err(fault),
        };
        let jobs = match self.only_looks() {
            true => Vec::new(),
            false => self.decide(client, root, directory, ascii, &there, &mut events).await?,
        };
        // Where files are sent now, they may be what is continued: the next run tells of the others.
        let unfinished = |(name, _): &&(Vec<u8>, bool)| unfinished(name).is_some() && directory.holds(name);
        for (name, _) in names.iter().filter(unfinished).filter(|_| jobs.is_empty()) {
            let target = self.url(&directory.remote.join(name), false);
            events.push(MirrorEvent::Skipped { target, why: "what another run has left, or is sending, of a file" });
        }
        if unclear {
            self.incomplete.store(true, Ordering::Relaxed);
        }
        events.into_iter().for_each(|event| self.report(root, event));
        if let (Some(_), Some(whole)) = (self.settings.delete, whole) {
            let (remote, below) = (directory.remote.clone(), directory.below.clone());
            let extraneous = names.into_iter().filter(|(name, _)| !directory.holds(name)).collect();
            let empty = directory.names.is_empty();
            self.visited().push(ComparedDirectory { root, remote, below, extraneous, empty, _whole: whole });
        }
        more.extend(jobs);
        Ok(())
    }

    /// What of a directory has to be stored.
    async fn decide(
        &self,
        client: &mut FtpClient,
        root: usize,
        directory: &LocalDirectory,
        ascii: bool,
        there: &HashMap<Vec<u8>, ListingEntry>,
        events: &mut Vec<MirrorEvent>,
    ) -> Result<Vec<UploadJob>, Fault> {
        let settings = &self.settings;
        let mut candidates = Vec::new();
        let mut jobs = Vec::new();
        for file in &directory.files {
            let job = file_job(root, directory, file, ascii);
            let Some(entry) = there.get(&file.name) else {
                jobs.push(UploadJob::File(job));
                continue;
            };
            if settings.no_clobber {
                let target = self.url(&job.remote, false);
                events.push(MirrorEvent::LeftOut { target, why: "is there already" });
                continue;
            }
            let modified = entry.modified.filter(|modified| modified.utc).map(|modified| modified.seconds);
            let facts = FileFacts { size: entry.size, modified };
            let asks = modified.is_none() && (ascii || settings.compare.asks_time(file.facts, facts));
            candidates.push((file, job, facts, asks));
        }
        let asked: Vec<FtpCommand> = candidates
            .iter()
            .filter(|entry| entry.3)
            .map(|entry| FtpCommand::Mdtm(entry.1.remote.argument()))
            .collect();
        let mut times = client.call_all(&asked).await?.into_iter();
        for (file, job, mut facts, asks) in candidates {
            if asks {
                facts.modified = times.next().as_ref().and_then(time_of);
            }
            let there = self.receiver(client, &job.remote, (file.facts, facts), ascii).await?;
            if settings.compare.same(file.facts, there, ascii) {
                let same = FileFacts { size: file.facts.size, modified: facts.modified };
                events.push(MirrorEvent::Same(MirroredFile::untouched(self.url(&job.remote, false), job.local, same)));
            } else {
                jobs.push(UploadJob::File(job));
            }
        }
        Ok(jobs)
    }

    async fn file(&self, client: &mut FtpClient, job: &mut FileUpload, retries: u32) -> Result<(), Fault> {
        let fault = |error: &std::io::Error| Fault::local(job.local.display(), error);
        // What was a file during the walk may be a link or a FIFO by now.
        let mut flags = rustix::fs::OFlags::NONBLOCK;
        flags.set(rustix::fs::OFlags::NOFOLLOW, !job.follow);
        let options = &mut File::options();
        let file =
            options.read(true).custom_flags(flags.bits().cast_signed()).open(&job.local).map_err(|e| fault(&e))?;
        let meta = file.metadata().map_err(|error| fault(&error))?;
        if !meta.is_file() {
            let detail = format!("{}: not a plain file", job.local.display());
            return Err(Fault::new(Kind::NoInput, detail));
        }
        let (size, modified) = (meta.len(), meta.mtime());
        let facts = FileFacts { size: Some(size), modified: Some(modified) };
        let url = self.url(&job.remote, false);
        if let Some(compare) = job.compare
            && (compare != Compare::Never || self.settings.no_clobber)
        {
            let (size, modified) = client.size_and_time(&job.remote).await?;
            if self.settings.no_clobber && (size.is_some() || client.stat(&job.remote).await?.is_some()) {
                return Err(Fault::new(Kind::CannotCreate, "is there already"));
            }
            let there = (facts, FileFacts { size, modified });
            let there = self.receiver(client, &job.remote, there, job.ascii).await?;
            if compare.same(facts, there, job.ascii) {
                self.report(job.root, MirrorEvent::Same(MirroredFile::untouched(url, job.local.clone(), facts)));
                return Ok(());
            }
        }
        if self.settings.dry_run {
            self.report(job.root, MirrorEvent::Planned(MirroredFile::untouched(url, job.local.clone(), facts)));
            return Ok(());
        }
        let source = transfer::OpenFile { file: &file, size: Some(size), modified: Some(modified) };
        let mode = match self.mode {
            FileMode::Server => None,
            FileMode::Keep => Some(meta.mode() & 0o777),
            FileMode::Set(mode) => Some(mode),
        };
        let source_tag = transfer::source_tag(&meta, &url);
        let same = job.seen.replace(source_tag.clone()).map(|seen| seen == source_tag);
        if same == Some(false) {
            // What an earlier attempt sent of another content is continued by nobody.
            (job.changes, job.claim) = (job.changes + 1, None);
        }
        // One that was small may have been sent ahead already, under this run's name.
        let claims = self.settings.resume && !job.ascii && transfer::is_worth_resuming(job.size.min(size));
        if claims && job.claim.is_none() {
            job.claim = SourceClaim::new(source_tag);
        }
        (job.size, job.stored) = (size, None);
        let mut stored = upload(client, &self.put(job, same == Some(true), mode), &source).await?;
        let over = stored.commands(client).is_empty();
        job.stored = Some(Box::new(stored));
        if over {
            self.done(job, retries);
        }
        Ok(())
    }

    /// `again`: an earlier attempt of this run has sent the same file.
    fn put<'a>(&self, job: &'a FileUpload, again: bool, mode: Option<u32>) -> Put<'a> {
        let own = || {
            let local = job.local.as_os_str().as_bytes();
            let numbers = [job.root.to_be_bytes().as_slice(), &job.changes.to_be_bytes()].concat();
            PartTag::of_source(&[&self.run, local, job.remote.as_bytes(), &numbers])
        };
        Put {
            tag: job.claim.as_ref().map_or_else(own, |claim| claim.tag().clone()),
            path: &job.remote,
            replace: self.replace,
            ascii: job.ascii,
            resume: again || job.claim.is_some() || (self.settings.resume && self.replace == ReplaceMode::InPlace),
            mode,
            checks: self.settings.checks.clone(),
            progress: self.settings.progress.clone(),
        }
    }

    /// Tells of a file that is stored and has its name: of nothing before that.
    fn done(&self, job: &FileUpload, retries: u32) {
        let Some(stored) = &job.stored else { return };
        let (url, local) = (self.url(&job.remote, false), job.local.clone());
        self.report(job.root, MirrorEvent::Done(MirroredFile { url, local, retries, transferred: stored.done() }));
    }
}

fn file_job(root: usize, directory: &LocalDirectory, file: &LocalFile, ascii: bool) -> FileUpload {
    let (remote, size) = (directory.remote.join(&file.name), file.facts.size.unwrap_or(u64::MAX));
    FileUpload { follow: file.through_link, size, ..FileUpload::new(root, file.path.clone(), remote, ascii) }
}

/// Creates the root with its parents and everything below it, in batches; returns which directories are new, and so empty.
/// What is there already refuses, and that is fine; what cannot be created shows when it is listed or a file is stored in it.
async fn make_directories(
    client: &mut FtpClient,
    root: &RemotePath,
    directories: &mut [LocalDirectory],
) -> Result<HashSet<usize>, Fault> {
    if root.name().is_some() {
        client.make_parents(root).await?;
    }
    let wanted: Vec<(usize, FtpCommand)> = directories
        .iter()
        .enumerate()
        .filter(|(_, directory)| directory.made && directory.remote.name().is_some())
        .map(|(number, directory)| (number, FtpCommand::Mkd(directory.remote.argument())))
        .collect();
    let commands: Vec<FtpCommand> = wanted.iter().map(|(_, command)| command.clone()).collect();
    let replies = client.call_all(&commands).await?;
    if let Some(reply) = replies.iter().find(|reply| reply.class() == ReplyClass::Transient) {
        return Err(reply.fault("MKD", Kind::Refused));
    }
    for ((number, _), reply) in wanted.iter().zip(&replies).filter(|(_, reply)| !reply.ok()) {
        if let Some(directory) = directories.get_mut(*number) {
            directory.refusal = Some(reply.fault("MKD", Kind::Refused));
        }
    }
    Ok(wanted.iter().zip(&replies).filter(|(_, reply)| reply.ok()).map(|((number, _), _)| *number).collect())
}
