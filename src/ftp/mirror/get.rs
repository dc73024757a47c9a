//! A remote tree to a local one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pool::{self, Work};
use super::{Event, Item, MAX_DEPTH, MAX_TREE, Settings};
use crate::fault::{Fault, Kind};
use crate::ftp::client::Client;
use crate::ftp::listing::{EntryType, Line};
use crate::ftp::path::{RemotePath, check_name};
use crate::ftp::transfer::{Get, LocalDir, Part, fetch_part};

/// Copies the contents of the directory that `settings.url` names into `target`. Failures of single files are events;
/// an error is what ended the run.
pub async fn get(settings: &Settings, client: Client, target: Arc<LocalDir>) -> Result<(), Fault> {
    let root = Job::Directory { path: settings.url.path.clone(), local: target.clone(), depth: 0 };
    let work = Download { settings: settings.clone(), seen: AtomicU64::new(0) };
    let result = pool::run(work, settings, client, vec![root]).await;
    target.sync_all()?;
    result
}

struct Download {
    settings: Settings,
    seen: AtomicU64,
}

enum Job {
    Directory { path: RemotePath, local: Arc<LocalDir>, depth: usize },
    File { path: RemotePath, local: Arc<LocalDir>, name: Vec<u8>, size: Option<u64>, modified: Option<i64> },
}

impl Job {
    fn path(&self) -> &RemotePath {
        match self {
            Job::Directory { path, .. } | Job::File { path, .. } => path,
        }
    }
}

impl Work for Download {
    type Job = Job;

    async fn run(&self, client: &mut Client, job: &mut Job, retries: u32, more: &mut Vec<Job>) -> Result<(), Fault> {
        match job {
            Job::Directory { path, local, depth } => self.directory(client, path, local, *depth, more).await,
            Job::File { path, local, name, size, modified } => {
                self.file(client, path, local, name, (*size, *modified), retries).await
            }
        }
    }

    fn first(&self, job: &Job) -> bool {
        matches!(job, Job::Directory { .. })
    }

    fn failed(&self, job: Job, fault: Fault) {
        let directory = matches!(job, Job::Directory { .. });
        let target = self.url(job.path(), directory);
        (self.settings.report)(Event::Failed { target, fault });
    }
}

impl Download {
    fn url(&self, path: &RemotePath, directory: bool) -> String {
        self.settings.url.with_path(path.clone(), directory).to_string()
    }

    async fn directory(
        &self,
        client: &mut Client,
        path: &RemotePath,
        local: &Arc<LocalDir>,
        depth: usize,
        more: &mut Vec<Job>,
    ) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::new(Kind::Protocol, format!("more than {MAX_DEPTH} directories deep")));
        }
        let mut jobs = Vec::new();
        let mut events = Vec::new();
        let mut count = 0u64;
        let mut each = |line: Line, raw: &[u8]| -> Result<(), Fault> {
            count += 1;
            if self.seen.load(Ordering::Relaxed) + count > MAX_TREE {
                return Err(Fault::new(Kind::Protocol, format!("a tree of more than {MAX_TREE} entries")));
            }
            let entry = match line {
                Line::Entry(entry) => entry,
                Line::Nothing => return Ok(()),
                Line::Unknown => {
                    let shown: Vec<u8> = raw.iter().copied().take(200).collect();
                    let detail = format!("a listing line that makes no sense: {}", String::from_utf8_lossy(&shown));
                    events
                        .push(Event::Failed { target: self.url(path, true), fault: Fault::new(Kind::BadData, detail) });
                    return Ok(());
                }
            };
            if let Err(bad) = check_name(&entry.name) {
                let detail = format!("{}: {}", String::from_utf8_lossy(&entry.name), bad.as_str());
                events.push(Event::Failed { target: self.url(path, true), fault: Fault::new(Kind::BadData, detail) });
                return Ok(());
            }
            let below = path.join(&entry.name);
            match entry.entry_type {
                EntryType::Directory => jobs.push((below, entry.name, None)),
                EntryType::File => {
                    let modified = entry.modified.filter(|modified| modified.utc).map(|modified| modified.seconds);
                    jobs.push((below, entry.name, Some((entry.size, modified))));
                }
                EntryType::Symlink => {
                    events.push(Event::Skipped { target: self.url(&below, false), why: "a symbolic link" });
                }
                EntryType::Other => {
                    events.push(Event::Skipped { target: self.url(&below, false), why: "neither file nor directory" });
                }
            }
            Ok(())
        };
        client.list(path, self.settings.way, depth == 0, &mut each).await?;
        self.seen.fetch_add(count, Ordering::Relaxed);
        events.into_iter().for_each(|event| (self.settings.report)(event));
        for (path, name, file) in jobs {
            match file {
                Some((size, modified)) => more.push(Job::File { path, local: local.clone(), name, size, modified }),
                None => match local.enter(&name, true) {
                    Ok(local) => more.push(Job::Directory { path, local, depth: depth + 1 }),
                    Err(fault) => (self.settings.report)(Event::Failed { target: self.url(&path, true), fault }),
                },
            }
        }
        Ok(())
    }

    async fn file(
        &self,
        client: &mut Client,
        path: &RemotePath,
        local: &Arc<LocalDir>,
        name: &[u8],
        (size, mut modified): (Option<u64>, Option<i64>),
        retries: u32,
    ) -> Result<(), Fault> {
        let url = self.url(path, false);
        let target = local.path().join(OsStr::from_bytes(name));
        if let Some((have, time)) = local.plain_file(name)
            && Some(have) == size
        {
            if modified.is_none() {
                modified = client.size_and_time(path).await?.1;
            }
            if modified == Some(time) {
                let item = Item {
                    url,
                    local: target,
                    size: have,
                    bytes: 0,
                    resumed_from: 0,
                    retries,
                    modified,
                    verified_by: "size",
                    elapsed: std::time::Duration::ZERO,
                    reply: String::new(),
                };
                (self.settings.report)(Event::Same(item));
                return Ok(());
            }
        }
        let part = Part::open(local, name)?;
        let get = Get {
            path,
            url: url.clone(),
            ascii: false,
            size,
            modified,
            resume: self.settings.resume || retries > 0,
            progress: self.settings.progress.clone(),
        };
        let got = fetch_part(client, &get, &part).await?;
        // Durable all at once at the end: one sync for the whole tree.
        part.commit(got.modified, false, true)?;
        let item = Item {
            url,
            local: target,
            size: got.size,
            bytes: got.bytes,
            resumed_from: got.resumed_from,
            retries,
            modified: got.modified,
            verified_by: got.verified_by,
            elapsed: got.elapsed,
            reply: got.reply,
        };
        (self.settings.report)(Event::Done(item));
        Ok(())
    }
}
