//! Remote files, globs and trees to local ones.

mod delete;
mod source;
mod walk;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::compare::There;
use super::place::{Place, Places};
use super::pool::{self, Work};
use super::{Compare, Event, Facts, Item, Settings};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Ahead, Client};
use crate::ftp::glob::Glob;
use crate::ftp::path::RemotePath;
use crate::ftp::transfer::{Checks, Get, LocalDir, Origin, Part, Range, fetch_ahead, fetch_part, fetch_range};
use source::Fetched;
use walk::{Directory, Visited};

/// What is to be fetched.
#[derive(Debug)]
pub struct Wanted {
    /// The files, globs and trees, all of one server. Their places here number the events.
    pub roots: Vec<Root>,
    /// What becomes of the source of each file.
    pub after: AfterFetch,
    /// Take a shorter file that stands under the final name for the beginning of the remote one.
    pub adopt: bool,
    /// Only this piece of each file, never continued.
    pub range: Option<Range>,
}

/// One thing to fetch.
#[derive(Debug)]
pub enum Root {
    /// The contents of a directory.
    Tree {
        /// The directory.
        path: RemotePath,
        /// Text: lines are converted.
        ascii: bool,
        /// Where its contents go.
        local: PathBuf,
    },
    /// What a glob stands for.
    Glob {
        /// The directory that the glob is relative to.
        path: RemotePath,
        /// The glob.
        glob: Glob,
        /// Text: lines are converted.
        ascii: bool,
        /// Directories that match are fetched too.
        recursive: bool,
        /// Where the files go, with the directories that the glob names.
        local: PathBuf,
    },
    /// One file.
    File {
        /// The file.
        path: RemotePath,
        /// Text: lines are converted.
        ascii: bool,
        /// The directory that it goes into.
        dir: PathBuf,
        /// Directories below that one, made when the file comes; their names are checked.
        inside: Vec<Vec<u8>>,
        /// Its name there.
        name: Vec<u8>,
        /// When it is the same already.
        compare: Compare,
    },
}

/// What becomes of the source of a file that is here, verified and durable.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AfterFetch {
    /// It stays.
    #[default]
    Keep,
    /// It is deleted.
    Delete,
    /// It goes into this directory, with its path below the root.
    Move(RemotePath),
}

/// Fetches. Failures of single files are events; an error is what ended the run.
pub async fn get(settings: &Settings, client: Client, wanted: Wanted) -> Result<(), Fault> {
    // One file is synced by itself; for more, one sync of the file system serves all.
    let single = matches!(wanted.roots.as_slice(), [Root::File { .. }]);
    let work = Download {
        settings: settings.clone(),
        after: wanted.after,
        adopt: wanted.adopt,
        range: wanted.range,
        single,
        seen: AtomicU64::new(0),
        incomplete: AtomicBool::new(false),
        found: wanted.roots.iter().map(|_| AtomicU64::new(0)).collect(),
        ledger: Mutex::default(),
    };
    let work = Arc::new(work);
    let mut jobs = Vec::with_capacity(wanted.roots.len());
    let (mut choices, mut places) = (Vec::new(), Places::default());
    for (number, root) in wanted.roots.into_iter().enumerate() {
        match &root {
            Root::Glob { path, .. } => choices.push((number, path.clone())),
            Root::Tree { path, .. } if settings.select.selects() => choices.push((number, path.clone())),
            Root::Tree { .. } | Root::File { .. } => {}
        }
        jobs.push(work.job(number, root, &mut places));
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
            work.report(number, Event::Failed { target: work.url(&path, true), fault });
        }
    }
    work.dispose_of_sources().await?;
    work.delete_extraneous();
    Ok(())
}

struct Download {
    settings: Settings,
    after: AfterFetch,
    adopt: bool,
    range: Option<Range>,
    single: bool,
    /// Entries listed so far.
    seen: AtomicU64,
    /// A listing failed or made no sense: nothing may be concluded from what was not listed.
    incomplete: AtomicBool,
    /// What each root has led to: files, links, directories of a tree.
    found: Vec<AtomicU64>,
    ledger: Mutex<Ledger>,
}

/// What is to be done when all transfers are over.
#[derive(Default)]
struct Ledger {
    /// Local directories that something went into.
    known: HashSet<PathBuf>,
    /// One of them in each file system.
    devices: HashMap<u64, Arc<LocalDir>>,
    fetched: Vec<Fetched>,
    visited: Vec<Visited>,
}

enum Job {
    Directory(Directory),
    File(FileJob),
}

struct FileJob {
    root: usize,
    path: RemotePath,
    /// Its path below the root.
    below: Vec<u8>,
    place: Arc<Place>,
    name: Vec<u8>,
    facts: Facts,
    ascii: bool,
    /// When it is the same already; `None`: the walk has decided.
    compare: Option<Compare>,
}

impl Work for Arc<Download> {
    type Job = Job;

    async fn run(&self, client: &mut Client, job: &mut Job, retries: u32, more: &mut Vec<Job>) -> Result<(), Fault> {
        match job {
            Job::Directory(directory) => self.directory(client, directory, more).await,
            Job::File(file) => self.file(client, file, retries).await,
        }
    }

    fn first(&self, job: &Job) -> bool {
        matches!(job, Job::Directory(_))
    }

    fn ahead(&self, job: &Job, _retries: u32) -> Option<Ahead> {
        let Job::File(file) = job else { return None };
        // What is not decided yet may have to be asked for first.
        let asks = self.range.is_some() || self.settings.checks != Checks::default();
        if asks || file.ascii || self.settings.dry_run || self.adopt || file.compare.is_some() {
            return None;
        }
        let dir = file.place.find().ok()?;
        fetch_ahead(&file.path, file.facts.size, file.facts.modified, dir.as_deref(), &file.name)
    }

    fn again(&self, job: &Job, fault: &Fault, wait: Duration) {
        let (root, target) = self.name_of(job);
        self.report(root, Event::Again { target, fault: fault.clone(), wait });
    }

    fn failed(&self, job: Job, fault: Fault) {
        if matches!(&job, Job::Directory(directory) if !directory.by_link) {
            self.incomplete.store(true, Ordering::Relaxed);
        }
        let (root, target) = self.name_of(&job);
        self.report(root, Event::Failed { target, fault });
    }
}

impl Download {
    /// What a job is called.
    fn name_of(&self, job: &Job) -> (usize, String) {
        match job {
            Job::Directory(directory) => (directory.root, self.url(&directory.path, true)),
            Job::File(file) => (file.root, self.url(&file.path, false)),
        }
    }

    fn job(&self, number: usize, root: Root, places: &mut Places) -> Job {
        match root {
            Root::Tree { path, ascii, local } => {
                Job::Directory(Directory::top(number, path, ascii, Place::root(local)))
            }
            Root::Glob { path, glob, ascii, recursive, local } => {
                let top = Directory::top(number, path, ascii, Place::root(local));
                Job::Directory(top.with_glob(glob, recursive))
            }
            Root::File { path, ascii, dir, inside, name, compare } => Job::File(FileJob {
                root: number,
                below: path.name().unwrap_or_default().to_vec(),
                path,
                place: places.get(dir, inside),
                name,
                facts: Facts { size: None, modified: None },
                ascii,
                compare: Some(compare),
            }),
        }
    }

    fn url(&self, path: &RemotePath, directory: bool) -> String {
        self.settings.url.with_path(path.clone(), directory).to_string()
    }

    fn report(&self, root: usize, event: Event) {
        (self.settings.report)(root, event);
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes everything durable: one sync serves a whole file system.
    fn sync(&self) -> Result<(), Fault> {
        let devices = std::mem::take(&mut self.ledger().devices);
        devices.into_values().try_for_each(|dir| dir.sync_all())
    }

    /// Notes a local directory that something goes into.
    fn touch(&self, dir: &Arc<LocalDir>) {
        let mut ledger = self.ledger();
        if !ledger.known.contains(dir.path()) {
            ledger.known.insert(dir.path().to_owned());
            let device = rustix::fs::fstat(dir).map_or(0, |stat| stat.st_dev);
            ledger.devices.entry(device).or_insert_with(|| dir.clone());
        }
    }

    async fn file(&self, client: &mut Client, file: &mut FileJob, retries: u32) -> Result<(), Fault> {
        if let Some(compare) = file.compare
            && self.decide(client, file, compare).await?
        {
            return Ok(());
        }
        let url = self.url(&file.path, false);
        let local = file.place.path_of(&file.name);
        if self.settings.dry_run {
            self.fetched(file, file.facts, true);
            self.report(file.root, Event::Planned(Item::untouched(url, local, file.facts)));
            return Ok(());
        }
        let dir = file.place.create()?;
        let part = Part::open(&dir, &file.name)?;
        if self.adopt {
            self.adopt(client, file, &dir, &part, &url).await?;
        }
        let get = Get {
            path: &file.path,
            url: url.clone(),
            ascii: file.ascii,
            size: file.facts.size,
            modified: file.facts.modified,
            resume: self.settings.resume || retries > 0,
            checks: self.settings.checks.clone(),
            progress: self.settings.progress.clone(),
        };
        let got = match self.range {
            None => fetch_part(client, &get, &part).await.map_err(|fault| kept(fault, &part))?,
            Some(range) => {
                part.restart()?;
                match fetch_range(client, &get, range, part.file()).await {
                    Ok(got) => got,
                    Err(fault) => {
                        part.discard();
                        return Err(fault);
                    }
                }
            }
        };
        part.commit(got.modified, self.single, !self.settings.no_clobber)?;
        let item = Item {
            url,
            local,
            size: Some(got.size),
            bytes: got.bytes,
            resumed_from: got.resumed_from,
            retries,
            modified: got.modified,
            mode: None,
            verified_by: got.verified_by,
            checksum: got.checksum,
            elapsed: got.elapsed,
            reply: got.reply,
        };
        self.arrived(file, &dir, Facts { size: Some(got.size), modified: got.modified }, got.verified_by != "reply");
        self.report(file.root, Event::Done(item));
        Ok(())
    }

    /// Notes a file that is here, for the end of the run.
    fn arrived(&self, file: &FileJob, dir: &Arc<LocalDir>, facts: Facts, verified: bool) {
        if !self.single {
            self.touch(dir);
        }
        self.fetched(file, facts, verified);
    }

    /// Notes a file whose source is to go.
    fn fetched(&self, file: &FileJob, facts: Facts, verified: bool) {
        if self.after != AfterFetch::Keep {
            let (root, path, below) = (file.root, file.path.clone(), file.below.clone());
            self.ledger().fetched.push(Fetched { root, path, below, facts, verified });
        }
    }

    /// A file that the user named: true when nothing is to be transferred.
    async fn decide(&self, client: &mut Client, file: &mut FileJob, compare: Compare) -> Result<bool, Fault> {
        if let Some(found) = self.found.get(file.root) {
            found.fetch_add(1, Ordering::Relaxed);
        }
        let dir = file.place.find()?;
        let local = dir.as_ref().and_then(|dir| dir.plain_file(&file.name));
        if self.settings.no_clobber && dir.as_ref().is_some_and(|dir| dir.exists(&file.name)) {
            let detail = format!("{}: is there already", file.place.path_of(&file.name).display());
            return Err(Fault::new(Kind::CannotCreate, detail));
        }
        if self.settings.dry_run || (compare != Compare::Never && local.is_some()) {
            let (size, modified) = client.size_and_time(&file.path).await?;
            if size.is_none() && modified.is_none() && client.stat(&file.path).await?.is_none() {
                return Err(Fault::new(Kind::NoInput, "no such file"));
            }
            file.facts = Facts { size, modified };
        }
        let (Some((size, time)), Some(dir)) = (local, dir) else { return Ok(false) };
        let here = There { facts: Facts { size: Some(size), modified: Some(time) }, keeps_times: true };
        if compare.same(file.facts, here, file.ascii) {
            let facts = Facts { size: Some(size), modified: file.facts.modified };
            let item = Item::untouched(self.url(&file.path, false), file.place.path_of(&file.name), facts);
            self.arrived(file, &dir, file.facts, compare == Compare::SizeAndTime);
            self.report(file.root, Event::Same(item));
            return Ok(true);
        }
        Ok(false)
    }

    /// Makes the bytes of a shorter file under the final name the beginning of the part.
    async fn adopt(
        &self,
        client: &mut Client,
        file: &mut FileJob,
        dir: &LocalDir,
        part: &Part,
        url: &str,
    ) -> Result<(), Fault> {
        let Some((have, _)) = dir.plain_file(&file.name).filter(|(have, _)| *have > 0 && !file.ascii) else {
            return Ok(());
        };
        if part.length()? > 0 {
            return Ok(());
        }
        let (size, modified) = client.size_and_time(&file.path).await?;
        let (Some(size), Some(modified)) = (size, modified) else { return Ok(()) };
        file.facts = Facts { size: Some(size), modified: Some(modified) };
        if have > size {
            return Ok(());
        }
        let fault = |error: std::io::Error| Fault::local(file.place.path_of(&file.name).display(), &error);
        let mut old = delete::open_file(dir, &file.name).map_err(fault)?;
        std::io::copy(&mut old, &mut part.file()).map_err(fault)?;
        part.remember(&Origin { url: url.to_owned(), size, modified });
        Ok(())
    }
}

/// Says that a part was kept, where it was.
fn kept(fault: Fault, part: &Part) -> Fault {
    match fault.temporary() && part.length().is_ok_and(|length| length > 0) {
        true => fault.with_hint("what arrived is kept: the same command again continues it"),
        false => fault,
    }
}
