//! Downloads of remote files, globs and trees.

mod delete;
mod local;
mod source;
mod walk;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::compare::ReceiverFacts;
use super::lazy_dir::{LazyDir, LazyDirs};
use super::pool::{self, PoolWork};
use super::spool::SpoolWriter;
use super::{Compare, FileFacts, MirrorEvent, MirrorOutcome, MirrorSettings, MirroredFile};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Ahead, FtpClient};
use crate::ftp::glob::Glob;
use crate::ftp::path::RemotePath;
use crate::ftp::transfer::{
    Checks, FinalState, Get, LocalDir, PartFile, Proof, Range, TransferStep, fetch_ahead, fetch_part, fetch_range,
    refusal_of_named,
};
use delete::ListedDirectory;
use source::Fetched;
use walk::{DirectoryRest, RemoteDirectory};

/// A request to fetch.
#[derive(Debug)]
pub struct Wanted {
    /// The files, globs and trees, all on one server. Their indexes number the events.
    pub roots: Vec<FetchRoot>,
    /// The treatment of each source file afterwards.
    pub after: AfterFetch,
    /// Treat a shorter local file of the final name as the beginning of the remote one.
    pub adopt: bool,
    /// Give each file the permission bits that it has on the server.
    pub keep_mode: bool,
    /// Fetch only this range of each file, and never continue it.
    pub range: Option<Range>,
}

/// One item to fetch.
#[derive(Debug)]
pub enum FetchRoot {
    /// The contents of a directory.
    Tree {
        /// The directory.
        path: RemotePath,
        /// Text mode: line ends are converted.
        ascii: bool,
        /// The local directory for its contents.
        local: PathBuf,
    },
    /// The matches of a glob.
    Glob {
        /// The directory that the glob is relative to.
        path: RemotePath,
        /// The glob.
        glob: Glob,
        /// Text mode: line ends are converted.
        ascii: bool,
        /// Matching directories are fetched too.
        recursive: bool,
        /// The local directory for the files, with the directories in the glob below it.
        local: PathBuf,
    },
    /// One file.
    File {
        /// The file.
        path: RemotePath,
        /// Text mode: line ends are converted.
        ascii: bool,
        /// The local directory for it.
        dir: PathBuf,
        /// Directories below that one, created for the file; their names are checked.
        inside: Vec<Vec<u8>>,
        /// Its local name.
        name: Vec<u8>,
        /// The comparison that decides whether it is the same already.
        compare: Compare,
    },
}

/// The treatment of the source after a file was fetched, verified and made durable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AfterFetch {
    /// It stays.
    #[default]
    Keep,
    /// It is deleted.
    Delete,
    /// It is moved into this directory, with its path below the root.
    Move(RemotePath),
}

/// Fetches files, globs and trees.
///
/// # Errors
/// The fault that ended the run; failures of single files are events.
pub async fn get(settings: &MirrorSettings, client: FtpClient, wanted: Wanted) -> Result<(), Fault> {
    if settings.delete.is_none_or(|rule| !rule.first) {
        return fetch(settings, client, wanted).await;
    }
    let deleted = delete_first(settings, client, &wanted.roots).await?;
    let settings = MirrorSettings { delete: settings.delete.filter(|_| !deleted), ..settings.clone() };
    let client = FtpClient::open(&settings.url, &settings.options).await?;
    fetch(&settings, client, wanted).await
}

/// Lists the remote trees and deletes local entries that are not in them. False: a listing was incomplete, nothing was deleted.
async fn delete_first(settings: &MirrorSettings, client: FtpClient, roots: &[FetchRoot]) -> Result<bool, Fault> {
    let work = Arc::new(Downloader::new(settings, roots.len(), true));
    let job = |(number, root): (usize, &FetchRoot)| match root {
        FetchRoot::Tree { path, ascii, local } => {
            let top = RemoteDirectory::top(number, path.clone(), *ascii, LazyDir::root(local.clone()));
            Some(DownloadJob::Directory(top))
        }
        FetchRoot::Glob { .. } | FetchRoot::File { .. } => None,
    };
    pool::run(work.clone(), settings, client, roots.iter().enumerate().filter_map(job).collect()).await?;
    work.only_looks.store(false, Ordering::Relaxed);
    let complete = !work.incomplete.load(Ordering::Relaxed);
    if complete {
        work.delete_extraneous();
    }
    Ok(complete)
}

async fn fetch(settings: &MirrorSettings, client: FtpClient, wanted: Wanted) -> Result<(), Fault> {
    // A single file is synced alone; for several, one sync of the file system serves all.
    let single = matches!(wanted.roots.as_slice(), [FetchRoot::File { .. }]);
    let work = Downloader {
        after: wanted.after,
        adopt: wanted.adopt,
        keep_mode: wanted.keep_mode,
        range: wanted.range,
        single,
        ..Downloader::new(settings, wanted.roots.len(), false)
    };
    let work = Arc::new(work);
    let mut jobs = Vec::with_capacity(wanted.roots.len());
    let (mut choices, mut places) = (Vec::new(), LazyDirs::default());
    for (number, root) in wanted.roots.into_iter().enumerate() {
        match &root {
            FetchRoot::Glob { path, .. } => choices.push((number, path.clone())),
            FetchRoot::Tree { path, .. } if settings.select.selects() => choices.push((number, path.clone())),
            FetchRoot::Tree { .. } | FetchRoot::File { .. } => {}
        }
        let sendable = match &root {
            FetchRoot::Tree { path, .. } | FetchRoot::Glob { path, .. } | FetchRoot::File { path, .. } => {
                settings.options.sendable(path)
            }
        };
        let job = work.job(number, root, &mut places);
        if let DownloadJob::File(file) = &job {
            work.tell(TransferStep::Found(file.facts.size));
        }
        match sendable {
            Ok(()) => jobs.push(job),
            Err(fault) => work.failed(job, fault),
        }
    }
    let result = pool::run(work.clone(), settings, client, jobs).await;
    if !settings.dry_run && !single {
        work.sync()?;
    }
    result?;
    for (number, path) in choices {
        let nothing = work.found.get(number).is_some_and(|found| found.load(Ordering::Relaxed) == 0);
        if nothing && !work.incomplete.load(Ordering::Relaxed) {
            let fault = Fault::new(Kind::Negative, "nothing matches");
            work.report(number, MirrorEvent::Failed { target: work.url(&path, true), fault });
        }
    }
    work.dispose_of_sources().await?;
    work.delete_extraneous();
    Ok(())
}

struct Downloader {
    settings: MirrorSettings,
    after: AfterFetch,
    adopt: bool,
    keep_mode: bool,
    range: Option<Range>,
    single: bool,
    /// Only find local entries that the server does not have; do and report nothing else.
    only_looks: AtomicBool,
    /// Entries listed so far.
    seen: AtomicU64,
    /// A listing failed or was not understood: a name that was not listed may exist.
    incomplete: AtomicBool,
    /// The number of entries found for each root: files, links, directories of a tree.
    found: Vec<AtomicU64>,
    ledger: Mutex<Ledger>,
}

/// The work for the time after all transfers.
#[derive(Default)]
struct Ledger {
    /// For each file system, a local directory with new entries.
    devices: HashMap<u64, Arc<LocalDir>>,
    fetched: SpoolWriter<Fetched>,
    /// The root and the local path of a tree for `--delete`.
    top: Option<(usize, String)>,
    /// The directories with entries that are not on the server.
    visited: Vec<ListedDirectory>,
    /// The number of these entries.
    extraneous: usize,
}

enum DownloadJob {
    Directory(RemoteDirectory),
    /// The remaining entries of a listed directory.
    Rest(DirectoryRest),
    File(FileDownload),
}

struct FileDownload {
    root: usize,
    path: RemotePath,
    /// Its path below the root.
    below: Vec<u8>,
    place: Arc<LazyDir>,
    name: Vec<u8>,
    facts: FileFacts,
    /// The local file of its name.
    there: Option<FileFacts>,
    /// Its permission bits, if a listing reported them.
    mode: Option<u32>,
    ascii: bool,
    /// The comparison that is still to be made; `None`: the walk has made it.
    compare: Option<Compare>,
}

impl PoolWork for Arc<Downloader> {
    type Job = DownloadJob;

    async fn run(
        &self,
        client: &mut FtpClient,
        job: &mut DownloadJob,
        retries: u32,
        more: &mut Vec<DownloadJob>,
    ) -> Result<(), Fault> {
        match job {
            DownloadJob::Directory(directory) => self.directory(client, directory, more).await,
            DownloadJob::Rest(rest) => self.rest(client, rest, more).await,
            DownloadJob::File(file) => match self.file(client, file, retries).await {
                Err(fault) if file.compare.is_some() => Err(refusal_of_named(client, &file.path, fault).await),
                result => result,
            },
        }
    }

    fn is_expanding(&self, job: &DownloadJob) -> bool {
        !matches!(job, DownloadJob::File(_))
    }

    fn pipelined(&self, job: &DownloadJob, retries: u32) -> Option<Ahead> {
        let DownloadJob::File(file) = job else { return None };
        // Other jobs may need replies before the transfer.
        let asks = self.range.is_some() || self.adopt || self.keep_mode || retries > 0;
        let asks = asks || self.settings.checks != Checks::default();
        if asks || file.ascii || self.settings.dry_run || file.compare.is_some() {
            return None;
        }
        let dir = file.place.find().ok()?;
        fetch_ahead(&file.path, file.facts.size, file.facts.modified, dir.as_deref(), &file.name)
    }

    fn on_retry(&self, job: &DownloadJob, fault: &Fault, wait: Duration) {
        let (root, target) = self.name_of(job);
        self.report(root, MirrorEvent::Again { target, fault: fault.clone(), wait });
    }

    fn failed(&self, job: DownloadJob, fault: Fault) {
        let incomplete = match &job {
            DownloadJob::Directory(directory) => !directory.by_link,
            DownloadJob::Rest(_) => true,
            // A listed file does not exist: the listing was wrong, perhaps that of another directory.
            DownloadJob::File(file) => file.compare.is_none() && fault.kind == Kind::NoInput,
        };
        if incomplete {
            self.incomplete.store(true, Ordering::Relaxed);
        }
        let (root, target) = self.name_of(&job);
        self.report(root, MirrorEvent::Failed { target, fault });
    }
}

impl Downloader {
    fn new(settings: &MirrorSettings, roots: usize, only_looks: bool) -> Downloader {
        Downloader {
            settings: settings.clone(),
            after: AfterFetch::Keep,
            adopt: false,
            keep_mode: false,
            range: None,
            single: false,
            only_looks: only_looks.into(),
            seen: AtomicU64::new(0),
            incomplete: AtomicBool::new(false),
            found: (0..roots).map(|_| AtomicU64::new(0)).collect(),
            ledger: Mutex::default(),
        }
    }

    /// The root and the URL of a job.
    fn name_of(&self, job: &DownloadJob) -> (usize, String) {
        match job {
            DownloadJob::Directory(directory) => (directory.root, self.url(&directory.path, true)),
            DownloadJob::Rest(rest) => (rest.directory.root, self.url(&rest.directory.path, true)),
            DownloadJob::File(file) => (file.root, self.url(&file.path, false)),
        }
    }

    fn job(&self, number: usize, root: FetchRoot, places: &mut LazyDirs) -> DownloadJob {
        match root {
            FetchRoot::Tree { path, ascii, local } => {
                DownloadJob::Directory(RemoteDirectory::top(number, path, ascii, LazyDir::root(local)))
            }
            FetchRoot::Glob { path, glob, ascii, recursive, local } => {
                let top = RemoteDirectory::top(number, path, ascii, LazyDir::root(local));
                DownloadJob::Directory(top.with_glob(glob, recursive))
            }
            FetchRoot::File { path, ascii, dir, inside, name, compare } => DownloadJob::File(FileDownload {
                root: number,
                below: path.name().unwrap_or_default().to_vec(),
                path,
                place: places.get(dir, inside),
                name,
                facts: FileFacts { size: None, modified: None },
                there: None,
                mode: None,
                ascii,
                compare: Some(compare),
            }),
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

    fn only_looks(&self) -> bool {
        self.only_looks.load(Ordering::Relaxed)
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A local directory, created with its parents if it does not exist.
    fn create(&self, root: usize, place: &LazyDir) -> Result<Arc<LocalDir>, Fault> {
        let missing = self.missing(place);
        let dir = place.create()?;
        self.made(root, missing, MirrorOutcome::Done);
        Ok(dir)
    }

    /// The directories that have to be created for `place`; empty unless they are to be reported.
    fn missing(&self, place: &LazyDir) -> Vec<PathBuf> {
        if self.settings.itemize { place.missing() } else { Vec::new() }
    }

    /// Reports directories that were created, or would be.
    fn made(&self, root: usize, directories: Vec<PathBuf>, outcome: MirrorOutcome) {
        for path in directories {
            self.report(root, MirrorEvent::Made { target: path.display().to_string(), outcome });
        }
    }

    /// Makes all files durable with one sync per file system.
    fn sync(&self) -> Result<(), Fault> {
        let devices = std::mem::take(&mut self.ledger().devices);
        devices.into_values().try_for_each(|dir| dir.sync_all())
    }

    /// Records a local directory that gets new entries.
    fn touch(&self, dir: &Arc<LocalDir>) {
        let device = rustix::fs::fstat(dir).map_or(0, |stat| stat.st_dev);
        self.ledger().devices.entry(device).or_insert_with(|| dir.clone());
    }

    async fn file(&self, client: &mut FtpClient, file: &mut FileDownload, retries: u32) -> Result<(), Fault> {
        if let Some(compare) = file.compare
            && self.decide(client, file, compare).await?
        {
            return Ok(());
        }
        let url = self.url(&file.path, false);
        let local = file.place.path_of(&file.name);
        if self.settings.dry_run {
            self.fetched(file, file.facts, true);
            self.made(file.root, self.missing(&file.place), MirrorOutcome::Planned);
            let planned = MirroredFile::untouched(url, local, file.facts).replacing(file.there);
            self.report(file.root, MirrorEvent::Planned(planned));
            return Ok(());
        }
        let dir = self.create(file.root, &file.place)?;
        let get = Get {
            path: &file.path,
            url: url.clone(),
            ascii: file.ascii,
            size: file.facts.size,
            modified: file.facts.modified,
            resume: self.settings.resume || retries > 0,
            again: retries > 0,
            adopt: self.adopt,
            checks: self.settings.checks.clone(),
            progress: self.settings.progress.clone(),
        };
        let (mut got, part) = match self.range {
            None => fetch_part(client, &get, &dir, &file.name).await?,
            Some(range) => {
                let part = PartFile::of_run(&dir, &file.name)?;
                (fetch_range(client, &get, range, part.file()).await?, part)
            }
        };
        if self.keep_mode {
            if file.mode.is_none() {
                file.mode = client.stat(&file.path).await?.and_then(|entry| entry.mode);
            }
            got.mode = file.mode.map(|mode| mode & 0o777);
        }
        let (modified, mode) = (got.modified, got.mode);
        part.commit(FinalState { modified, mode, sync: self.single, replace: !self.settings.no_clobber })?;
        let facts = FileFacts { size: got.size, modified: got.modified };
        self.arrived(file, &dir, facts, got.proof != Proof::Reply);
        let done = MirroredFile { url, local, retries, transferred: got, replaces: Some(file.there) };
        self.report(file.root, MirrorEvent::Done(done));
        Ok(())
    }

    /// Records a fetched file for the end of the run.
    fn arrived(&self, file: &FileDownload, dir: &Arc<LocalDir>, facts: FileFacts, verified: bool) {
        if !self.single {
            self.touch(dir);
        }
        self.fetched(file, facts, verified);
    }

    /// Records a file whose source is to be deleted or moved.
    fn fetched(&self, file: &FileDownload, facts: FileFacts, verified: bool) {
        if self.after == AfterFetch::Keep {
            return;
        }
        let (root, path, below) = (file.root, file.path.clone(), file.below.clone());
        let noted = self.ledger().fetched.add(&Fetched { root, path, below, facts, verified });
        if let Err(fault) = noted {
            let (target, fault) = (self.url(&file.path, false), fault.context("the source stays"));
            self.report(root, MirrorEvent::Failed { target, fault });
        }
    }

    /// Compares a file that the user named: true when it need not be transferred.
    async fn decide(&self, client: &mut FtpClient, file: &mut FileDownload, compare: Compare) -> Result<bool, Fault> {
        if let Some(found) = self.found.get(file.root) {
            found.fetch_add(1, Ordering::Relaxed);
        }
        let dir = file.place.find()?;
        let local = dir.as_ref().and_then(|dir| dir.plain_file(&file.name));
        if self.settings.no_clobber && dir.as_ref().is_some_and(|dir| dir.exists(&file.name)) {
            let detail = format!("{}: already exists", file.place.path_of(&file.name).display());
            return Err(Fault::new(Kind::CannotCreate, detail));
        }
        if self.settings.dry_run || (compare != Compare::Never && local.is_some()) {
            let (size, modified) = client.size_and_time(&file.path).await?;
            if size.is_none() && modified.is_none() && client.stat(&file.path).await?.is_none() {
                return Err(Fault::new(Kind::NoInput, "no such file"));
            }
            if let Some(size) = size.filter(|_| file.facts.size.is_none()) {
                self.tell(TransferStep::Sized(size));
            }
            file.facts = FileFacts { size, modified };
        }
        file.there = local.map(|(size, time)| FileFacts { size: Some(size), modified: Some(time) });
        let (Some((size, time)), Some(dir)) = (local, dir) else { return Ok(false) };
        let here = ReceiverFacts { facts: FileFacts { size: Some(size), modified: Some(time) }, keeps_times: true };
        if compare.same(file.facts, here, file.ascii) {
            let facts = FileFacts { size: Some(size), modified: file.facts.modified };
            let item = MirroredFile::untouched(self.url(&file.path, false), file.place.path_of(&file.name), facts);
            self.tell(TransferStep::Spared(file.facts.size));
            self.arrived(file, &dir, file.facts, compare == Compare::SizeAndTime);
            self.report(file.root, MirrorEvent::Same(item));
            return Ok(true);
        }
        Ok(false)
    }
}
