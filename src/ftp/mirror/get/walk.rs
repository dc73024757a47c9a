//! One remote directory: what is in it, and what is to be done about each entry.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Download, FileJob, Job};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Client, Way, size_of, time_of};
use crate::ftp::command::Command;
use crate::ftp::glob::{Glob, Walk};
use crate::ftp::listing::{Entry, EntryType, Line};
use crate::ftp::mirror::compare::There;
use crate::ftp::mirror::place::Place;
use crate::ftp::mirror::{Above, Event, Facts, Item, Links, MAX_DEPTH, MAX_LINKS, MAX_TREE, Outcome, link};
use crate::ftp::path::{RemotePath, check_name};
use crate::ftp::transfer::LocalDir;

/// Why a link is neither made again nor followed to a directory.
const UNTOLD: &str = "a symbolic link: the server does not tell where it leads";

/// A directory that is to be walked.
#[derive(Clone)]
pub(super) struct Directory {
    pub(super) root: usize,
    pub(super) path: RemotePath,
    ascii: bool,
    /// The path of the root.
    top: RemotePath,
    /// Its path below the root.
    below: Vec<u8>,
    /// The same after following links: where it really is.
    real: Vec<u8>,
    /// Where links were followed on the way here.
    followed: Vec<Vec<u8>>,
    /// The directories that this one is in, as far as the server can tell them apart.
    above: Above,
    /// The last step was a link: it may lead nowhere.
    pub(super) by_link: bool,
    /// Where its contents go.
    place: Arc<Place>,
    depth: usize,
    /// What of it is wanted; `None`: all of it.
    glob: Option<Step>,
}

/// How far a glob has come.
#[derive(Clone)]
struct Step {
    glob: Arc<Glob>,
    walk: Walk,
    recursive: bool,
}

/// A directory whose listing is complete, for deleting what it does not hold.
pub(super) struct Visited {
    pub(super) root: usize,
    pub(super) below: Vec<u8>,
    pub(super) place: Arc<Place>,
    /// Every name that was listed.
    pub(super) names: HashSet<Vec<u8>>,
}

/// What a listing held.
#[derive(Default)]
struct Found {
    files: Vec<Entry>,
    directories: Vec<Entry>,
    links: Vec<Entry>,
    names: HashSet<Vec<u8>>,
    events: Vec<Event>,
    lines: u64,
    unclear: bool,
}

impl Directory {
    /// The directory of a root.
    pub(super) fn top(root: usize, path: RemotePath, ascii: bool, place: Arc<Place>) -> Directory {
        Directory {
            root,
            top: path.clone(),
            path,
            ascii,
            below: Vec::new(),
            real: Vec::new(),
            followed: Vec::new(),
            above: Above::default(),
            by_link: false,
            place,
            depth: 0,
            glob: None,
        }
    }

    /// Only what the glob stands for, and all that is in directories that match if `recursive`.
    pub(super) fn with_glob(self, glob: Glob, recursive: bool) -> Directory {
        let walk = glob.walk();
        Directory { glob: Some(Step { glob: Arc::new(glob), walk, recursive }), ..self }
    }

    fn join(&self, name: &[u8]) -> Vec<u8> {
        join(&self.below, name)
    }

    /// The directory `name` in this one, which the glob leads into by `glob`.
    fn enter(&self, name: &[u8], glob: Option<Step>) -> Directory {
        Directory {
            path: self.path.join(name),
            below: self.join(name),
            real: join(&self.real, name),
            place: self.place.below(name),
            depth: self.depth + 1,
            by_link: false,
            glob,
            ..self.clone()
        }
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

impl Download {
    /// Lists a directory and makes jobs of what is in it. Events leave when nothing can fail any more: a retry must not
    /// repeat them.
    pub(super) async fn directory(
        &self,
        client: &mut Client,
        directory: &Directory,
        more: &mut Vec<Job>,
    ) -> Result<(), Fault> {
        if directory.depth > MAX_DEPTH {
            return Err(Fault::new(Kind::Protocol, format!("more than {MAX_DEPTH} directories deep")));
        }
        let mut found = self.list(client, directory).await?;
        let mut links = std::mem::take(&mut found.links);
        let mut jobs = Vec::new();
        if self.settings.links != Links::Skip && links.iter().any(|link| link.link_target.is_none()) {
            self.learn_targets(client, directory, &mut links).await?;
        }
        if !links.is_empty() && (self.settings.links == Links::Follow || directory.glob.is_some()) {
            links = self.follow(client, directory, links, &mut found, &mut jobs).await?;
        }
        self.decide_files(client, directory, std::mem::take(&mut found.files), &mut found.events, &mut jobs).await?;
        self.seen.fetch_add(found.lines, Ordering::Relaxed);
        if found.unclear {
            self.incomplete.store(true, Ordering::Relaxed);
        }
        // From here on nothing asks the server any more.
        let eager = !self.settings.dry_run && !self.settings.select.selects() && directory.glob.is_none();
        if eager {
            self.touch(&directory.place.create()?);
        }
        found.events.into_iter().for_each(|event| self.report(directory.root, event));
        for entry in found.directories {
            self.go_down(directory, &entry, &mut jobs);
        }
        for entry in links {
            let event = self.keep_link(directory, &entry);
            self.report(directory.root, event);
        }
        let led_to = jobs.iter().filter(|job| match job {
            Job::File(_) => true,
            Job::Directory(below) => below.glob.is_none() && !self.settings.select.selects(),
        });
        self.count(directory.root, led_to.count() as u64);
        if self.settings.delete.is_some() && directory.glob.is_none() {
            let Directory { root, below, place, .. } = directory.clone();
            self.ledger().visited.push(Visited { root, below, place, names: found.names });
        }
        more.append(&mut jobs);
        Ok(())
    }

    /// Notes that a root led to something.
    fn count(&self, root: usize, count: u64) {
        if let Some(found) = self.found.get(root) {
            found.fetch_add(count, Ordering::Relaxed);
        }
    }

    async fn list(&self, client: &mut Client, directory: &Directory) -> Result<Found, Fault> {
        let mut found = Found::default();
        let deletes = self.settings.delete.is_some();
        let mut each = |line: Line, raw: &[u8]| -> Result<(), Fault> {
            found.lines += 1;
            if self.seen.load(Ordering::Relaxed) + found.lines > MAX_TREE {
                return Err(Fault::new(Kind::Protocol, format!("a tree of more than {MAX_TREE} entries")));
            }
            let bad = |detail: String| Event::Failed {
                target: self.url(&directory.path, true),
                fault: Fault::new(Kind::BadData, detail),
            };
            let entry = match line {
                Line::Entry(entry) => entry,
                Line::Nothing => return Ok(()),
                Line::Unknown => {
                    let shown: Vec<u8> = raw.iter().copied().take(200).collect();
                    let shown = String::from_utf8_lossy(&shown);
                    found.events.push(bad(format!("a listing line that makes no sense: {shown}")));
                    found.unclear = true;
                    return Ok(());
                }
            };
            if let Err(why) = check_name(&entry.name) {
                let name = String::from_utf8_lossy(&entry.name).into_owned();
                found.events.push(bad(format!("{name}: {}", why.as_str())));
                return Ok(());
            }
            if deletes {
                found.names.insert(entry.name.clone());
            }
            match entry.entry_type {
                EntryType::Directory => found.directories.push(entry),
                EntryType::File if self.wanted(directory, &entry.name) => found.files.push(entry),
                EntryType::Symlink if self.wanted_link(directory, &entry.name) => found.links.push(entry),
                EntryType::Other if self.wanted(directory, &entry.name) => {
                    let target = self.url(&directory.path.join(&entry.name), false);
                    found.events.push(Event::Skipped { target, why: "neither file nor directory" });
                }
                EntryType::File | EntryType::Symlink | EntryType::Other => {}
            }
            Ok(())
        };
        let check = directory.depth == 0 || directory.by_link;
        client.list(&directory.path, self.settings.way, check, &mut each).await?;
        Ok(found)
    }

    /// True when a file of this name is meant.
    fn wanted(&self, directory: &Directory, name: &[u8]) -> bool {
        let by_glob = directory.glob.as_ref().is_none_or(|step| step.glob.step(&step.walk, name).0);
        by_glob && self.settings.select.takes(&directory.join(name))
    }

    /// True when a link of this name is meant, or may lead to a directory that is.
    fn wanted_link(&self, directory: &Directory, name: &[u8]) -> bool {
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

    /// MLSD of many servers says that a link is one, but not where it leads: LIST does.
    async fn learn_targets(
        &self,
        client: &mut Client,
        directory: &Directory,
        links: &mut [Entry],
    ) -> Result<(), Fault> {
        let mut targets = HashMap::new();
        let mut each = |line: Line, _: &[u8]| {
            if let Line::Entry(Entry { name, link_target: Some(target), .. }) = line {
                targets.insert(name, target);
            }
            Ok(())
        };
        match client.list(&directory.path, Way::List, false, &mut each).await {
            Err(fault) if fault.temporary() || !client.usable() => return Err(fault),
            // Then they stay links that lead nobody knows where.
            _ => {}
        }
        for link in links.iter_mut().filter(|link| link.link_target.is_none()) {
            link.link_target = targets.remove(&link.name);
        }
        Ok(())
    }

    /// Turns links into what they lead to. Those that stay links are returned.
    async fn follow(
        &self,
        client: &mut Client,
        directory: &Directory,
        links: Vec<Entry>,
        found: &mut Found,
        jobs: &mut Vec<Job>,
    ) -> Result<Vec<Entry>, Fault> {
        let follow = self.settings.links == Links::Follow;
        let commands: Vec<Command> = links
            .iter()
            .map(|entry| directory.path.join(&entry.name).argument())
            .flat_map(|path| [Command::Size(path.clone()), Command::Mdtm(path)])
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
                found.events.push(Event::Failed { target, fault });
                continue;
            }
            // A link that a glob names is asked for as what it leads to, if that is a file.
            if size.is_some() && (follow || self.settings.links == Links::Skip) {
                if self.wanted(directory, &entry.name) {
                    entry.entry_type = EntryType::File;
                    entry.size = size;
                    entry.modified = replies.get(1).and_then(time_of).map(crate::ftp::listing::Modified::utc);
                    found.files.push(entry);
                }
                continue;
            }
            if !follow {
                rest.push(entry);
                continue;
            }
            // It may lead round in a circle, or out.
            let Some(real) = real.flatten() else {
                found.events.push(Event::Skipped { target, why: UNTOLD });
                continue;
            };
            let circle = link::contains(&real, &directory.real)
                || directory.followed.iter().any(|from| link::contains(&real, from))
                || directory.followed.len() >= MAX_LINKS;
            if circle {
                found.events.push(Event::Skipped { target, why: "a symbolic link that leads in a circle" });
                continue;
            }
            let before = jobs.len();
            self.go_down(directory, &entry, jobs);
            if let Some(Job::Directory(below)) = jobs.get_mut(before) {
                below.followed.push(directory.real.clone());
                below.real = real;
                below.by_link = true;
            }
        }
        Ok(rest)
    }

    /// Compares files with what is here; what differs becomes a job.
    async fn decide_files(
        &self,
        client: &mut Client,
        directory: &Directory,
        files: Vec<Entry>,
        events: &mut Vec<Event>,
        jobs: &mut Vec<Job>,
    ) -> Result<(), Fault> {
        let settings = &self.settings;
        let here = directory.place.find()?;
        let local = |name: &[u8]| here.as_ref().and_then(|dir| dir.plain_file(name));
        // LIST tells times in a zone that it does not name: where they matter, MDTM knows better.
        let mut candidates = Vec::with_capacity(files.len());
        for entry in files {
            let modified = entry.modified.filter(|modified| modified.utc).map(|modified| modified.seconds);
            let facts = Facts { size: entry.size, modified };
            let there = local(&entry.name).map(|(size, time)| Facts { size: Some(size), modified: Some(time) });
            let asks = settings.select.asks_age()
                || there.is_some_and(|there| directory.ascii || settings.compare.asks_time(facts, there));
            candidates.push((entry.name, facts, there, asks && modified.is_none()));
        }
        let asked: Vec<Command> = candidates
            .iter()
            .filter(|candidate| candidate.3)
            .map(|(name, ..)| Command::Mdtm(directory.path.join(name).argument()))
            .collect();
        let mut times = client.call_all(&asked).await?.into_iter();
        for (name, mut facts, there, asks) in candidates {
            if asks {
                facts.modified = times.next().as_ref().and_then(time_of);
            }
            let path = directory.path.join(&name);
            if let Some(why) = settings.select.refuses(facts, settings.now) {
                events.push(Event::LeftOut { target: self.url(&path, false), why });
                continue;
            }
            if settings.no_clobber && here.as_ref().is_some_and(|dir| dir.exists(&name)) {
                events.push(Event::LeftOut { target: self.url(&path, false), why: "is there already" });
                self.count(directory.root, 1);
                continue;
            }
            let file = FileJob {
                root: directory.root,
                below: directory.join(&name),
                place: directory.place.clone(),
                ascii: directory.ascii,
                compare: None,
                path,
                name,
                facts,
            };
            let same = there.zip(here.as_ref()).filter(|(there, _)| {
                settings.compare.same(facts, There { facts: *there, keeps_times: true }, directory.ascii)
            });
            match same {
                Some((there, dir)) => {
                    self.same(&file, there, dir, events);
                    self.count(directory.root, 1);
                }
                None => jobs.push(Job::File(file)),
            }
        }
        Ok(())
    }

    fn same(&self, file: &FileJob, there: Facts, dir: &Arc<LocalDir>, events: &mut Vec<Event>) {
        let facts = Facts { size: there.size, modified: file.facts.modified };
        let item = Item::untouched(self.url(&file.path, false), file.place.path_of(&file.name), facts);
        events.push(Event::Same(item));
        let verified = file.facts.size.is_some() && file.facts == there;
        self.arrived(file, dir, file.facts, verified);
    }

    /// A directory becomes a job, if the rules and the glob lead into it.
    fn go_down(&self, directory: &Directory, entry: &Entry, jobs: &mut Vec<Job>) {
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
                    _ if !walk.is_over() => Some(Step { walk, ..step.clone() }),
                    (true, false) => {
                        let target = self.url(&path, true);
                        self.report(directory.root, Event::Skipped { target, why: "a directory: -r fetches it" });
                        return self.count(directory.root, 1);
                    }
                    (false, _) => return,
                }
            }
        };
        let Some(above) = directory.above.with(entry) else {
            let target = self.url(&directory.path.join(name), true);
            return self.report(directory.root, Event::Skipped { target, why: link::INSIDE_ITSELF });
        };
        jobs.push(Job::Directory(Directory { above, ..directory.enter(name, glob) }));
    }

    /// A link that is not followed: made again here, or left out.
    fn keep_link(&self, directory: &Directory, entry: &Entry) -> Event {
        let url = self.url(&directory.path.join(&entry.name), false);
        self.count(directory.root, 1);
        if self.settings.links != Links::Keep {
            return Event::Skipped { target: url, why: "a symbolic link" };
        }
        let Some(leads_to) = entry.link_target.clone() else {
            return Event::Skipped { target: url, why: UNTOLD };
        };
        let inside = link::resolve(b"", &directory.below, &leads_to);
        if inside.is_none() {
            return Event::Failed { target: url, fault: Fault::new(Kind::BadData, link::LEAVES) };
        }
        let local = directory.place.path_of(&entry.name);
        match self.make_link(directory, &entry.name, &leads_to) {
            Ok(outcome) => Event::Linked { url, local, leads_to, outcome },
            Err(fault) => Event::Failed { target: url, fault },
        }
    }

    fn make_link(&self, directory: &Directory, name: &[u8], leads_to: &[u8]) -> Result<Outcome, Fault> {
        let local = directory.place.path_of(name);
        let found = directory.place.find()?;
        let there = found.as_ref().and_then(|dir| super::delete::read_link(dir, name));
        if there.as_deref() == Some(leads_to) {
            return Ok(Outcome::Same);
        }
        if self.settings.no_clobber && found.as_ref().is_some_and(|dir| dir.exists(name)) {
            return Err(Fault::new(Kind::CannotCreate, format!("{}: is there already", local.display())));
        }
        if self.settings.dry_run {
            return Ok(Outcome::Planned);
        }
        let dir = directory.place.create()?;
        super::delete::place_link(&dir, name, leads_to).map_err(|error| Fault::local(local.display(), &error))?;
        Ok(Outcome::Done)
    }
}
