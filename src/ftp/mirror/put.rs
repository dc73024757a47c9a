//! A local tree to a remote one.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::pool::{self, Work};
use super::{Event, Item, MAX_DEPTH, Settings};
use crate::fault::{Fault, Kind};
use crate::ftp::client::Client;
use crate::ftp::command::Command;
use crate::ftp::path::RemotePath;
use crate::ftp::reply::Class;
use crate::ftp::transfer::{Put, Source, store};

/// Copies the contents of the directory `source` into the directory that `settings.url` names. Failures of single files
/// are events; an error is what ended the run.
pub async fn put(settings: &Settings, mut client: Client, source: &Path) -> Result<(), Fault> {
    let mut tree = Tree { directories: Vec::new(), files: Vec::new() };
    tree.walk(settings, source, &settings.url.path, 0)?;
    make_directories(&mut client, &settings.url.path, &tree.directories).await?;
    pool::run(Upload { settings: settings.clone() }, settings, client, tree.files).await
}

struct Tree {
    /// Parents before their children.
    directories: Vec<RemotePath>,
    files: Vec<Job>,
}

struct Job {
    local: PathBuf,
    remote: RemotePath,
}

impl Tree {
    fn walk(&mut self, settings: &Settings, local: &Path, remote: &RemotePath, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            let detail = format!("{}: more than {MAX_DEPTH} directories deep", local.display());
            return Err(Fault::new(Kind::Usage, detail));
        }
        let fault = |error: &std::io::Error| Fault::local(local.display(), error);
        let mut entries: Vec<_> =
            std::fs::read_dir(local).and_then(Iterator::collect::<Result<_, _>>).map_err(|error| fault(&error))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let below = remote.join(entry.file_name().as_bytes());
            let kind = entry.file_type().map_err(|error| fault(&error))?;
            if kind.is_dir() {
                self.directories.push(below.clone());
                self.walk(settings, &path, &below, depth + 1)?;
            } else if kind.is_file() {
                self.files.push(Job { local: path, remote: below });
            } else {
                let why = if kind.is_symlink() { "a symbolic link" } else { "neither file nor directory" };
                (settings.report)(Event::Skipped { target: path.display().to_string(), why });
            }
        }
        Ok(())
    }
}

/// Creates the root with its parents and everything below it, in batches. What is there already refuses, and that is
/// fine; what cannot be created shows when a file is stored in it.
async fn make_directories(client: &mut Client, root: &RemotePath, directories: &[RemotePath]) -> Result<(), Fault> {
    if root.name().is_some() {
        client.make_parents(&root.join(b"x")).await?;
    }
    let commands: Vec<Command> = directories.iter().map(|path| Command::Mkd(path.argument())).collect();
    let replies = client.call_all(&commands).await?;
    match replies.iter().find(|reply| reply.class() == Class::Transient) {
        Some(reply) => Err(reply.fault("MKD", Kind::Refused)),
        None => Ok(()),
    }
}

struct Upload {
    settings: Settings,
}

impl Work for Upload {
    type Job = Job;

    async fn run(&self, client: &mut Client, job: &mut Job, retries: u32, _more: &mut Vec<Job>) -> Result<(), Fault> {
        let fault = |error: &std::io::Error| Fault::local(job.local.display(), error);
        // What was a file during the walk may be a link or a FIFO by now.
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
        let file =
            File::options().read(true).custom_flags(flags.cast_signed()).open(&job.local).map_err(|e| fault(&e))?;
        let meta = file.metadata().map_err(|error| fault(&error))?;
        if !meta.is_file() {
            let detail = format!("{}: not a plain file any more", job.local.display());
            return Err(Fault::new(Kind::NoInput, detail));
        }
        let modified = std::os::unix::fs::MetadataExt::mtime(&meta);
        let source = Source { file: &file, size: Some(meta.len()), modified: Some(modified) };
        let put = Put {
            path: &job.remote,
            replace: self.settings.replace,
            ascii: false,
            resume: self.settings.resume || retries > 0,
            progress: self.settings.progress.clone(),
        };
        let done = store(client, &put, &source).await?;
        let item = Item {
            url: self.url(&job.remote),
            local: job.local.clone(),
            size: meta.len(),
            bytes: done.bytes,
            resumed_from: done.resumed_from,
            retries,
            modified: done.time_kept.then_some(modified),
            verified_by: done.verified_by,
            elapsed: done.elapsed,
            reply: done.reply,
        };
        (self.settings.report)(Event::Done(item));
        Ok(())
    }

    fn first(&self, _job: &Job) -> bool {
        false
    }

    fn failed(&self, job: Job, fault: Fault) {
        (self.settings.report)(Event::Failed { target: self.url(&job.remote), fault });
    }
}

impl Upload {
    fn url(&self, path: &RemotePath) -> String {
        self.settings.url.with_path(path.clone(), false).to_string()
    }
}
