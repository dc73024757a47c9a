//! Uploads of local files and trees.

mod clock;
mod delete;
mod tree;
mod walk;

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;

use super::pool::{self, PoolWork};
use super::{Compare, FileFacts, MirrorEvent, MirrorSettings, MirroredFile};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Ahead, FtpClient};
use crate::ftp::command::FtpCommand;
use crate::ftp::part::{PartTag, part_name};
use crate::ftp::path::RemotePath;
use crate::ftp::reply::FtpReply;
use crate::ftp::transfer::{self, PendingUpload, Put, ReplaceMode, SourceClaim, TransferStep, upload, upload_ahead};
use clock::ServerClock;
use delete::Extraneous;
use tree::LocalDirectory;
use walk::{DirectoryUpload, UploadRest};

/// A request to store files and trees on one server.
#[derive(Debug)]
pub struct PutRequest {
    /// Files and directories. Their indexes number the events.
    pub sources: Vec<PutSource>,
    /// How an upload replaces an existing file.
    pub replace: ReplaceMode,
    /// The permission bits to set.
    pub mode: FileMode,
}

/// One item to store.
#[derive(Debug)]
pub enum PutSource {
    /// The contents of a directory.
    Tree {
        /// The directory.
        local: PathBuf,
        /// The remote directory for its contents.
        remote: RemotePath,
        /// Text mode: line ends are converted.
        ascii: bool,
    },
    /// One file.
    File {
        /// The file.
        local: PathBuf,
        /// The remote path for it.
        remote: RemotePath,
        /// Text mode: line ends are converted.
        ascii: bool,
        /// The comparison that decides whether it is the same already.
        compare: Compare,
    },
}

/// The permission bits of a stored file (SITE CHMOD).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FileMode {
    /// The server's default.
    #[default]
    Server,
    /// The bits of the local file.
    Keep,
    /// These bits.
    Set(u32),
}

/// Stores files and trees.
///
/// # Errors
/// The fault that ended the run; failures of single files are events.
pub async fn put(settings: &MirrorSettings, client: FtpClient, offered: PutRequest) -> Result<(), Fault> {
    if settings.delete.is_none_or(|rule| !rule.first) {
        return store(settings, client, offered).await;
    }
    let deleted = delete_first(settings, client, &offered).await?;
    let settings = MirrorSettings { delete: settings.delete.filter(|_| !deleted), ..settings.clone() };
    let client = FtpClient::open(&settings.url, &settings.options).await?;
    store(&settings, client, offered).await
}

/// Lists the remote trees and deletes entries that are not here. False: a listing was incomplete, and nothing was deleted.
async fn delete_first(settings: &MirrorSettings, client: FtpClient, offered: &PutRequest) -> Result<bool, Fault> {
    let work = Arc::new(Uploader::new(settings, offered, true)?);
    let mut jobs = Vec::new();
    for (root, source) in offered.sources.iter().enumerate() {
        if let PutSource::Tree { local, remote, ascii } = source {
            let top = LocalDirectory::top(root, local.clone(), remote.clone(), *ascii)?;
            jobs.push(UploadJob::Directory(DirectoryUpload::new(top)));
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

async fn store(settings: &MirrorSettings, client: FtpClient, offered: PutRequest) -> Result<(), Fault> {
    let work = Arc::new(Uploader::new(settings, &offered, false)?);
    let (mut jobs, mut choices) = (Vec::new(), Vec::new());
    for (root, source) in offered.sources.into_iter().enumerate() {
        match source {
            PutSource::Tree { local, remote, ascii } => {
                if settings.select.selects() {
                    choices.push((root, local.display().to_string()));
                }
                let top = LocalDirectory::top(root, local, remote, ascii)?;
                jobs.push(UploadJob::Directory(DirectoryUpload::new(top)));
            }
            PutSource::File { local, remote, ascii, compare } => {
                let job = FileUpload::new(root, local, remote, ascii);
                let job = FileUpload { compare: Some(compare), follow: true, ..job };
                work.tell(TransferStep::Found(std::fs::metadata(&job.local).ok().map(|meta| meta.len())));
                match settings.options.sendable(&job.remote) {
                    Ok(()) => jobs.push(UploadJob::File(job)),
                    Err(fault) => work.failed(UploadJob::File(job), fault),
                }
            }
        }
    }
    pool::run(work.clone(), settings, client, jobs).await?;
    for (root, target) in choices {
        if work.found.get(root).is_some_and(|found| found.load(Ordering::Relaxed) == 0) {
            let fault = Fault::new(Kind::Negative, "nothing matches");
            work.report(root, MirrorEvent::Failed { target, fault });
        }
    }
    work.delete_extraneous().await
}

struct Uploader {
    settings: MirrorSettings,
    replace: ReplaceMode,
    mode: FileMode,
    /// A name that no other run has.
    run: Vec<u8>,
    clock: OnceCell<ServerClock>,
    /// Only find remote entries that are not here; do and report nothing else.
    only_looks: AtomicBool,
    /// A listing, local or remote, was incomplete.
    incomplete: AtomicBool,
    /// The number of selected files of each source.
    found: Vec<AtomicU64>,
    extraneous: Mutex<Extraneous>,
}

enum UploadJob {
    Directory(DirectoryUpload),
    /// The remaining names of a directory that was read.
    Rest(UploadRest),
    File(FileUpload),
}

struct FileUpload {
    root: usize,
    local: PathBuf,
    remote: RemotePath,
    ascii: bool,
    /// The comparison that is still to be made; `None`: it was made.
    compare: Option<Compare>,
    /// The file of its name on the server: `Some(None)` if there is none, `None` if that was not checked.
    there: Option<Option<FileFacts>>,
    /// A symbolic link is followed, because the user named the file or asked for that.
    follow: bool,
    /// Its size when it was last seen.
    size: u64,
    /// The tag of its state when it was last opened. `changes` counts how often that has changed.
    seen: Option<PartTag>,
    changes: u32,
    /// The right to continue the part of an earlier run.
    claim: Option<SourceClaim>,
    /// The upload whose last commands are outstanding.
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
            there: None,
            follow: false,
            size: u64::MAX,
            seen: None,
            changes: 0,
            claim: None,
            stored: None,
        }
    }

    /// The file `name` in a directory.
    fn below(directory: &LocalDirectory, name: &[u8], size: u64, through_link: bool) -> FileUpload {
        let (local, remote) = (directory.path_of(name), directory.remote.join(name));
        FileUpload { follow: through_link, size, ..FileUpload::new(directory.root, local, remote, directory.ascii) }
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
            UploadJob::Directory(directory) => self.directory(client, directory, more).await,
            UploadJob::Rest(rest) => self.rest(client, rest, more).await,
            UploadJob::File(file) => self.file(client, file, retries).await,
        }
    }

    fn is_expanding(&self, job: &UploadJob) -> bool {
        !matches!(job, UploadJob::File(_))
    }

    fn repeatable(&self, _job: &UploadJob) -> bool {
        self.replace != ReplaceMode::Append
    }

    fn pipelined(&self, job: &UploadJob, _retries: u32) -> Option<Ahead> {
        let UploadJob::File(file) = job else { return None };
        // After an earlier attempt the file may have changed, and then has another temporary name.
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
        if self.is_expanding(&job) {
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
            found: offered.sources.iter().map(|_| AtomicU64::new(0)).collect(),
            extraneous: Mutex::default(),
        })
    }

    fn only_looks(&self) -> bool {
        self.only_looks.load(Ordering::Relaxed)
    }

    /// The root and the URL of a job.
    fn name_of(&self, job: &UploadJob) -> (usize, String) {
        match job {
            UploadJob::Directory(DirectoryUpload { directory, .. }) | UploadJob::Rest(UploadRest { directory, .. }) => {
                (directory.root, self.url(&directory.remote, true))
            }
            UploadJob::File(file) => (file.root, self.url(&file.remote, false)),
        }
    }

    fn url(&self, path: &RemotePath, directory: bool) -> String {
        self.settings.url.with_path(path.clone(), directory).to_string()
    }

    fn tell(&self, step: TransferStep) {
        (self.settings.progress)(step);
    }

    fn report(&self, root: usize, event: MirrorEvent) {
        if !self.only_looks() || matches!(event, MirrorEvent::Again { .. }) {
            (self.settings.report)(root, event);
        }
    }

    fn extraneous(&self) -> std::sync::MutexGuard<'_, Extraneous> {
        self.extraneous.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts selected files of a source.
    fn count(&self, root: usize, files: u64) {
        if let Some(found) = self.found.get(root) {
            found.fetch_add(files, Ordering::Relaxed);
        }
    }

    async fn file(&self, client: &mut FtpClient, job: &mut FileUpload, retries: u32) -> Result<(), Fault> {
        let fault = |error: &std::io::Error| Fault::local(job.local.display(), error);
        // The entry was a file during the walk, but may be a link or a FIFO by now.
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
            && (compare != Compare::Never || self.settings.no_clobber || self.settings.itemize)
        {
            let (size, modified) = client.size_and_time(&job.remote).await?;
            if self.settings.no_clobber && (size.is_some() || client.stat(&job.remote).await?.is_some()) {
                return Err(Fault::new(Kind::CannotCreate, "already exists"));
            }
            let replaced = FileFacts { size, modified };
            job.there = Some(Some(replaced).filter(|facts| facts.size.is_some() || facts.modified.is_some()));
            let there = (facts, replaced);
            let there = self.receiver(client, &job.remote, there, job.ascii).await?;
            if compare.same(facts, there, job.ascii) {
                self.tell(TransferStep::Spared(facts.size));
                self.report(job.root, MirrorEvent::Same(MirroredFile::untouched(url, job.local.clone(), facts)));
                return Ok(());
            }
        }
        if self.settings.dry_run {
            let planned = MirroredFile::untouched(url, job.local.clone(), facts);
            self.report(job.root, MirrorEvent::Planned(MirroredFile { replaces: job.there, ..planned }));
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
            // A part with the old content is never continued.
            (job.changes, job.claim) = (job.changes + 1, None);
        }
        // A file that was small before may have been sent ahead already, under this run's name.
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

    /// The request for an upload. `again`: an earlier attempt of this run has sent the same file.
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

    /// Reports a file that is stored under its final name, and not before.
    fn done(&self, job: &FileUpload, retries: u32) {
        let Some(stored) = &job.stored else { return };
        let (url, local) = (self.url(&job.remote, false), job.local.clone());
        let done = MirroredFile { url, local, retries, transferred: stored.done(), replaces: job.there };
        self.report(job.root, MirrorEvent::Done(done));
    }
}
