//! One remote directory: its entries, and the action for each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::delete::{ListedDirectory, LocalNames};
use super::{DownloadJob, Downloader, FileDownload, local};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{FtpClient, ListMethod, ListingSummary, size_of, time_of};
use crate::ftp::command::FtpCommand;
use crate::ftp::glob::{Glob, GlobWalk};
use crate::ftp::listing::{EntryType, ListingEntry, ListingLine};
use crate::ftp::mirror::compare::ReceiverFacts;
use crate::ftp::mirror::lazy_dir::LazyDir;
use crate::ftp::mirror::spool::{Spool, SpoolWriter};
use crate::ftp::mirror::{
    Ancestors, FileFacts, Links, MAX_DEPTH, MAX_LINKS, MAX_ODD, MAX_TREE, MirrorEvent, MirrorOutcome, MirroredFile,
    join, link, more_odd_lines,
};
use crate::ftp::part::unfinished;
use crate::ftp::path::{RemotePath, check_name, local_name};
use crate::ftp::transfer::{LocalDir, TransferStep};

/// The reason why a link is neither recreated nor followed to a directory.
const UNTOLD: &str = "a symbolic link: the server does not tell where it leads";

/// The most links of one directory whose targets come from another listing: the targets are kept in memory.
const MAX_TARGETS: usize = 100_000;

/// A directory that is to be walked.
#[derive(Clone)]
pub(super) struct RemoteDirectory {
    pub(super) root: usize,
    pub(super) path: RemotePath,
    ascii: bool,
    /// The path of the root.
    top: RemotePath,
    /// Its path below the root.
    below: Vec<u8>,
    /// Its path below the root with links resolved.
    real: Vec<u8>,
    /// The directories in which links were followed on the path to this one.
    followed: Vec<Vec<u8>>,
    /// The directories above this one, as far as the server tells them apart.
    above: Ancestors,
    /// The last step was a link: its target may be missing.
    pub(super) by_link: bool,
    /// The local directory for its contents.
    place: Arc<LazyDir>,
    depth: usize,
    /// The part of a glob that its entries must match; `None`: all entries are wanted.
    glob: Option<GlobPosition>,
}

/// The position in a glob.
#[derive(Clone)]
struct GlobPosition {
    glob: Arc<Glob>,
    walk: GlobWalk,
    recursive: bool,
}

/// A listed directory, and the entries of it that are still to be processed.
pub(super) struct DirectoryRest {
    pub(super) directory: Arc<RemoteDirectory>,
    entries: Spool<ListingEntry>,
    /// The targets of links that came from another listing.
    targets: Arc<HashMap<Vec<u8>, Vec<u8>>>,
}

/// The contents of a listing.
struct DirectoryContents {
    entries: SpoolWriter<ListingEntry>,
    local: Option<LocalNames>,
    /// The events to report first.
    events: Vec<MirrorEvent>,
    /// The number of odd lines.
    odd: usize,
    lines: u64,
    /// The number of valid names.
    names: u64,
    /// Some links have unknown targets.
    untold: bool,
}

impl RemoteDirectory {
    /// The directory of a root.
    pub(super) fn top(root: usize, path: RemotePath, ascii: bool, place: Arc<LazyDir>) -> RemoteDirectory {
        RemoteDirectory {
            root,
            top: path.clone(),
            path,
            ascii,
            below: Vec::new(),
            real: Vec::new(),
            followed: Vec::new(),
            above: Ancestors::default(),
            by_link: false,
            place,
            depth: 0,
            glob: None,
        }
    }

    /// Selects only the matches of the glob; if `recursive`, with all contents of matching directories.
    pub(super) fn with_glob(self, glob: Glob, recursive: bool) -> RemoteDirectory {
        let walk = glob.walk();
        RemoteDirectory { glob: Some(GlobPosition { glob: Arc::new(glob), walk, recursive }), ..self }
    }

    fn join(&self, name: &[u8]) -> Vec<u8> {
        join(&self.below, name)
    }

    /// The directory `name` in this one, with the position `glob`.
    fn enter(&self, name: &[u8], glob: Option<GlobPosition>) -> RemoteDirectory {
        RemoteDirectory {
            path: self.path.join(name),
            below: self.join(name),
            real: join(&self.real, name),
            place: self.place.below(&local_name(name)),
            depth: self.depth + 1,
            by_link: false,
            glob,
            ..self.clone()
        }
    }
}

impl Downloader {
    /// Lists a directory; another job processes its entries.
    pub(super) async fn directory(
        &self,
        client: &mut FtpClient,
        directory: &RemoteDirectory,
        more: &mut Vec<DownloadJob>,
    ) -> Result<(), Fault> {
        if directory.depth > MAX_DEPTH {
            return Err(Fault::new(Kind::Protocol, format!("more than {MAX_DEPTH} directories deep")));
        }
        let (mut found, summary) = self.list(client, directory).await?;
        directory.above.listed(&summary)?;
        let targets = match found.untold {
            true => self.learn_targets(client, directory).await?,
            false => HashMap::new(),
        };
        // From here on no command is sent.
        self.seen.fetch_add(found.lines, Ordering::Relaxed);
        let target = || self.url(&directory.path, true);
        if found.odd > MAX_ODD {
            found.events.push(MirrorEvent::Failed { target: target(), fault: more_odd_lines(found.odd) });
        }
        found.events.extend(summary.cut().map(|fault| MirrorEvent::Failed { target: target(), fault }));
        found.events.extend(summary.warning().map(|why| MirrorEvent::Skipped { target: target(), why }));
        let eager =
            !self.only_looks() && !self.settings.dry_run && !self.settings.select.selects() && directory.glob.is_none();
        if eager {
            self.touch(&self.create(directory.root, &directory.place)?);
        } else if self.settings.dry_run && !self.settings.select.selects() && directory.glob.is_none() {
            self.made(directory.root, self.missing(&directory.place), MirrorOutcome::Planned);
        }
        if let Some(local) = found.local {
            let mut ledger = self.ledger();
            ledger.top.get_or_insert_with(|| (directory.root, directory.place.path().display().to_string()));
            match summary.whole() {
                Some(whole) => {
                    let empty = found.names == 0;
                    let (root, below, place) = (directory.root, directory.below.clone(), directory.place.clone());
                    let listed = ListedDirectory { root, below, place, extraneous: Vec::new(), empty };
                    ledger.note(&self.settings, listed, &local, whole)?;
                }
                None => self.incomplete.store(true, Ordering::Relaxed),
            }
        }
        if summary.whole().is_none() {
            self.incomplete.store(true, Ordering::Relaxed);
        }
        found.events.into_iter().for_each(|event| self.report(directory.root, event));
        let (directory, targets) = (Arc::new(directory.clone()), Arc::new(targets));
        more.push(DownloadJob::Rest(DirectoryRest { directory, entries: found.entries.finish()?, targets }));
        Ok(())
    }

    /// Creates jobs for the next entries of a listing, and one job for the rest. Events are reported only after the last step that
    /// can fail, because a retry must not repeat them.
    pub(super) async fn rest(
        &self,
        client: &mut FtpClient,
        rest: &DirectoryRest,
        more: &mut Vec<DownloadJob>,
    ) -> Result<(), Fault> {
        let directory = &*rest.directory;
        let (batch, left) = rest.entries.batch()?;
        let (mut files, mut directories, mut links, mut events) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for mut entry in batch {
            let skipped = |why| {
                let target = self.url(&directory.path.join(&entry.name), false);
                MirrorEvent::Skipped { target, why }
            };
            match entry.entry_type {
                EntryType::Directory => directories.push(entry),
                _ if unfinished(&entry.name).is_some() => events.push(skipped("an unfinished file")),
                EntryType::File => files.push(entry),
                EntryType::Symlink => {
                    entry.link_target = entry.link_target.or_else(|| rest.targets.get(&entry.name).cloned());
                    links.push(entry);
                }
                EntryType::Other => events.push(skipped("neither file nor directory")),
            }
        }
        let mut jobs = Vec::new();
        if !links.is_empty() && (self.settings.links == Links::Follow || directory.glob.is_some()) {
            links = self.follow(client, directory, links, &mut files, &mut events, &mut jobs).await?;
        }
        if self.only_looks() {
            (files, links) = (Vec::new(), Vec::new());
        }
        self.decide_files(client, directory, files, &mut events, &mut jobs).await?;
        // From here on no command is sent.
        events.into_iter().for_each(|event| self.report(directory.root, event));
        for entry in directories {
            self.go_down(directory, &entry, &mut jobs);
        }
        for entry in links {
            let event = self.keep_link(directory, &entry);
            self.report(directory.root, event);
        }
        let led_to = jobs.iter().filter(|job| match job {
            DownloadJob::File(_) => true,
            DownloadJob::Directory(below) => below.glob.is_none() && !self.settings.select.selects(),
            DownloadJob::Rest(_) => false,
        });
        self.count(directory.root, led_to.count() as u64);
        // The job pushed last runs first: the directories of this batch come before the next batch.
        let (directory, targets) = (rest.directory.clone(), rest.targets.clone());
        more.extend(left.map(|entries| DownloadJob::Rest(DirectoryRest { directory, entries, targets })));
        more.append(&mut jobs);
        Ok(())
    }

    /// Counts entries found for a root.
    fn count(&self, root: usize, count: u64) {
        if let Some(found) = self.found.get(root) {
            found.fetch_add(count, Ordering::Relaxed);
        }
    }

    async fn list(
        &self,
        client: &mut FtpClient,
        directory: &RemoteDirectory,
    ) -> Result<(DirectoryContents, ListingSummary), Fault> {
        let deletes = self.settings.delete.is_some() && directory.glob.is_none();
        let local = if deletes { Some(LocalNames::of(&directory.place)?) } else { None };
        let (entries, events) = (SpoolWriter::default(), Vec::new());
        let mut found = DirectoryContents { entries, local, events, odd: 0, lines: 0, names: 0, untold: false };
        let mut each = |line: ListingLine, raw: &[u8]| -> Result<(), Fault> {
            found.lines += 1;
            if self.seen.load(Ordering::Relaxed) + found.lines > MAX_TREE {
                return Err(Fault::new(Kind::Protocol, format!("a tree of more than {MAX_TREE} entries")));
            }
            let entry = match line {
                ListingLine::Entry(entry) => entry,
                ListingLine::Nothing => return Ok(()),
                odd => {
                    self.odd(directory, &mut found, || odd.fault(raw));
                    return Ok(());
                }
            };
            if entry.refused() {
                let target = self.url(&directory.path.join(&entry.name), entry.is_dir());
                found.events.push(MirrorEvent::Skipped { target, why: "the server tells no more of it than its name" });
            }
            if let Some(local) = &mut found.local {
                local.strike(&local_name(&entry.name));
            }
            let bad = check_name(&entry.name).err();
            found.names += u64::from(bad.is_none());
            // Names that the rules leave out need not be valid.
            let wanted = match entry.entry_type {
                EntryType::Directory => self.settings.select.enters(&directory.join(&entry.name)),
                EntryType::Symlink => self.wanted_link(directory, &entry.name),
                EntryType::File | EntryType::Other => self.wanted(directory, &entry.name),
            };
            if let (true, Some(why)) = (wanted, bad) {
                let name = String::from_utf8_lossy(&entry.name);
                self.odd(directory, &mut found, || Fault::new(Kind::BadData, format!("{name}: {}", why.as_str())));
            } else if wanted {
                let link = entry.entry_type == EntryType::Symlink && entry.link_target.is_none();
                found.untold |= link && self.settings.links != Links::Skip;
                found.entries.add(&entry)?;
            }
            Ok(())
        };
        let check = directory.depth == 0 || directory.by_link;
        let summary = client.list(&directory.path, self.settings.list_method, check, &mut each).await?;
        Ok((found, summary))
    }

    /// Records an odd line; only the first [`MAX_ODD`] of them become events.
    fn odd(&self, directory: &RemoteDirectory, found: &mut DirectoryContents, fault: impl FnOnce() -> Fault) {
        found.odd += 1;
        if found.odd <= MAX_ODD {
            found.events.push(MirrorEvent::Failed { target: self.url(&directory.path, true), fault: fault() });
        }
    }

    /// True when a file of this name is selected.
    fn wanted(&self, directory: &RemoteDirectory, name: &[u8]) -> bool {
        let by_glob = directory.glob.as_ref().is_none_or(|step| step.glob.step(&step.walk, name).0);
        by_glob && self.settings.select.takes(&directory.join(name))
    }

    /// True when a link of this name is selected, or may lead to a selected directory.
    fn wanted_link(&self, directory: &RemoteDirectory, name: &[u8]) -> bool {
        let below = directory.join(name);
        match &directory.glob {
            Some(step) => {
                let (matched, walk) = step.glob.step(&step.walk, name);
                let on_the_way = self.settings.links == Links::Follow && !walk.is_over();
                (matched && self.settings.select.takes(&below)) || (on_the_way && self.settings.select.enters(&below))
            }
            None => self.settings.select.takes(&below) || self.settings.select.enters(&below),
        }
    }

    /// The targets of links by LIST: MLSD of many servers reports links without their targets.
    async fn learn_targets(
        &self,
        client: &mut FtpClient,
        directory: &RemoteDirectory,
    ) -> Result<HashMap<Vec<u8>, Vec<u8>>, Fault> {
        let mut targets = HashMap::new();
        let mut each = |line: ListingLine, _: &[u8]| {
            if let ListingLine::Entry(ListingEntry { name, link_target: Some(target), .. }) = line {
                targets.insert(name, target);
            }
            if targets.len() > MAX_TARGETS {
                return Err(Fault::new(
                    Kind::Protocol,
                    format!("more than {MAX_TARGETS} symbolic links in a directory"),
                ));
            }
            Ok(())
        };
        match client.list(&directory.path, ListMethod::List, false, &mut each).await {
            Err(fault) if fault.temporary() || !client.usable() => Err(fault),
            // The other links keep unknown targets.
            _ => Ok(targets),
        }
    }

    /// Replaces links by their targets. Returns those that stay links.
    async fn follow(
        &self,
        client: &mut FtpClient,
        directory: &RemoteDirectory,
        links: Vec<ListingEntry>,
        files: &mut Vec<ListingEntry>,
        events: &mut Vec<MirrorEvent>,
        jobs: &mut Vec<DownloadJob>,
    ) -> Result<Vec<ListingEntry>, Fault> {
        let follow = self.settings.links == Links::Follow;
        let commands: Vec<FtpCommand> = links
            .iter()
            .map(|entry| directory.path.join(&entry.name).argument())
            .flat_map(|path| [FtpCommand::Size(path.clone()), FtpCommand::Mdtm(path)])
            .collect();
        let replies = client.call_all(&commands).await?;
        let mut rest = Vec::new();
        for (mut entry, replies) in links.into_iter().zip(replies.chunks(2)) {
            let target = self.url(&directory.path.join(&entry.name), false);
            let size = replies.first().and_then(size_of);
            let leads = entry.link_target.as_deref();
            let real = leads.map(|to| link::resolve(directory.top.as_bytes(), &directory.real, to));
            if follow && real == Some(None) {
                let fault = Fault::new(Kind::BadData, link::LEAVES);
                events.push(MirrorEvent::Failed { target, fault });
                continue;
            }
            // A link that a glob matches is fetched as its target if that is a file.
            if size.is_some() && (follow || self.settings.links == Links::Skip) {
                if self.wanted(directory, &entry.name) {
                    entry.entry_type = EntryType::File;
                    entry.size = size;
                    entry.modified = replies.get(1).and_then(time_of).map(crate::ftp::listing::Modified::utc);
                    files.push(entry);
                }
                continue;
            }
            if !follow {
                rest.push(entry);
                continue;
            }
            // It may lead in a circle or out of the tree.
            let Some(real) = real.flatten() else {
                events.push(MirrorEvent::Skipped { target, why: UNTOLD });
                continue;
            };
            let circle = link::contains(&real, &directory.real)
                || directory.followed.iter().any(|from| link::contains(&real, from))
                || directory.followed.len() >= MAX_LINKS;
            if circle {
                events.push(MirrorEvent::Skipped { target, why: "a symbolic link that leads in a circle" });
                continue;
            }
            let before = jobs.len();
            self.go_down(directory, &entry, jobs);
            if let Some(DownloadJob::Directory(below)) = jobs.get_mut(before) {
                below.followed.push(directory.real.clone());
                below.real = real;
                below.by_link = true;
            }
        }
        Ok(rest)
    }

    /// Compares files with the local ones; each that differs becomes a job.
    async fn decide_files(
        &self,
        client: &mut FtpClient,
        directory: &RemoteDirectory,
        files: Vec<ListingEntry>,
        events: &mut Vec<MirrorEvent>,
        jobs: &mut Vec<DownloadJob>,
    ) -> Result<(), Fault> {
        let settings = &self.settings;
        let here = directory.place.find()?;
        let local = |name: &[u8]| here.as_ref().and_then(|dir| dir.plain_file(name));
        // LIST prints times in an unknown zone: MDTM is used where they matter.
        let mut candidates = Vec::with_capacity(files.len());
        for entry in files {
            let modified = entry.modified.filter(|modified| modified.utc).map(|modified| modified.seconds);
            let facts = FileFacts { size: entry.size, modified };
            let there = local(&local_name(&entry.name))
                .map(|(size, time)| FileFacts { size: Some(size), modified: Some(time) });
            let asks = settings.select.asks_age()
                || there.is_some_and(|there| directory.ascii || settings.compare.asks_time(facts, there));
            candidates.push((entry.name, facts, entry.mode, there, asks && modified.is_none()));
        }
        let asked: Vec<FtpCommand> = candidates
            .iter()
            .filter(|candidate| candidate.4)
            .map(|(name, ..)| FtpCommand::Mdtm(directory.path.join(name).argument()))
            .collect();
        let mut times = client.call_all(&asked).await?.into_iter();
        for (name, mut facts, mode, there, asks) in candidates {
            if asks {
                facts.modified = times.next().as_ref().and_then(time_of);
            }
            let path = directory.path.join(&name);
            if let Some(why) = settings.select.refuses(facts, settings.now) {
                events.push(MirrorEvent::LeftOut { target: self.url(&path, false), why });
                continue;
            }
            if settings.no_clobber && here.as_ref().is_some_and(|dir| dir.exists(&local_name(&name))) {
                events.push(MirrorEvent::LeftOut { target: self.url(&path, false), why: "already exists" });
                self.count(directory.root, 1);
                continue;
            }
            let file = FileDownload {
                root: directory.root,
                below: directory.join(&name),
                place: directory.place.clone(),
                ascii: directory.ascii,
                compare: None,
                path,
                name: local_name(&name).into_owned(),
                facts,
                there,
                mode,
            };
            let same = there.zip(here.as_ref()).filter(|(there, _)| {
                settings.compare.same(facts, ReceiverFacts { facts: *there, keeps_times: true }, directory.ascii)
            });
            match same {
                Some((there, dir)) => {
                    self.same(&file, there, dir, events);
                    self.count(directory.root, 1);
                }
                None => {
                    self.tell(TransferStep::Found(file.facts.size));
                    jobs.push(DownloadJob::File(file));
                }
            }
        }
        Ok(())
    }

    fn same(&self, file: &FileDownload, there: FileFacts, dir: &Arc<LocalDir>, events: &mut Vec<MirrorEvent>) {
        let facts = FileFacts { size: there.size, modified: file.facts.modified };
        let item = MirroredFile::untouched(self.url(&file.path, false), file.place.path_of(&file.name), facts);
        events.push(MirrorEvent::Same(item));
        let verified = file.facts.size.is_some() && file.facts == there;
        self.arrived(file, dir, file.facts, verified);
    }

    /// Creates a job for a directory, if the rules and the glob lead into it.
    fn go_down(&self, directory: &RemoteDirectory, entry: &ListingEntry, jobs: &mut Vec<DownloadJob>) {
        let name = &entry.name;
        if !self.settings.select.enters(&directory.join(name)) {
            return;
        }
        let glob = match &directory.glob {
            None => None,
            Some(step) => {
                let (matched, walk) = step.glob.step(&step.walk, name);
                let path = directory.path.join(name);
                match (matched, step.recursive) {
                    (true, true) => None,
                    _ if !walk.is_over() => Some(GlobPosition { walk, ..step.clone() }),
                    (true, false) => {
                        let target = self.url(&path, true);
                        self.report(directory.root, MirrorEvent::Skipped { target, why: "a directory: -r fetches it" });
                        return self.count(directory.root, 1);
                    }
                    (false, _) => return,
                }
            }
        };
        let Some(above) = directory.above.with(entry) else {
            let target = self.url(&directory.path.join(name), true);
            return self.report(directory.root, MirrorEvent::Skipped { target, why: link::INSIDE_ITSELF });
        };
        jobs.push(DownloadJob::Directory(RemoteDirectory { above, ..directory.enter(name, glob) }));
    }

    /// Recreates a link that is not followed, or leaves it out.
    fn keep_link(&self, directory: &RemoteDirectory, entry: &ListingEntry) -> MirrorEvent {
        let url = self.url(&directory.path.join(&entry.name), false);
        self.count(directory.root, 1);
        if self.settings.links != Links::Keep {
            return MirrorEvent::Skipped { target: url, why: "a symbolic link" };
        }
        let Some(leads_to) = entry.link_target.clone() else {
            return MirrorEvent::Skipped { target: url, why: UNTOLD };
        };
        let inside = link::resolve(b"", &directory.below, &leads_to);
        if inside.is_none() {
            return MirrorEvent::Failed { target: url, fault: Fault::new(Kind::BadData, link::LEAVES) };
        }
        let name = local_name(&entry.name);
        let local = directory.place.path_of(&name);
        match self.make_link(directory, &name, &leads_to) {
            Ok(outcome) => MirrorEvent::Linked { url, local, leads_to, outcome },
            Err(fault) => MirrorEvent::Failed { target: url, fault },
        }
    }

    fn make_link(&self, directory: &RemoteDirectory, name: &[u8], leads_to: &[u8]) -> Result<MirrorOutcome, Fault> {
        let local = directory.place.path_of(name);
        let found = directory.place.find()?;
        let there = found.as_ref().and_then(|dir| local::read_link(dir, name));
        if there.as_deref() == Some(leads_to) {
            return Ok(MirrorOutcome::Same);
        }
        if self.settings.no_clobber && found.as_ref().is_some_and(|dir| dir.exists(name)) {
            return Err(Fault::new(Kind::CannotCreate, format!("{}: already exists", local.display())));
        }
        if self.settings.dry_run {
            return Ok(MirrorOutcome::Planned);
        }
        let dir = self.create(directory.root, &directory.place)?;
        local::replace_by_link(&dir, name, leads_to)?;
        Ok(MirrorOutcome::Done)
    }
}
