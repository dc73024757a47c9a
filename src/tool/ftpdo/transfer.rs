//! `get`, `put` and `cat`: file transfers over the connection of a script.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::actor::Actor;
use super::script::{glob_of, literal};
use crate::fault::{Fault, Kind};
use crate::ftp::part::PartTag;
use crate::ftp::path::{RemotePath, check_name, local_name};
use crate::ftp::transfer::{
    Checks, FinalState, Get, LocalDir, OpenFile, Put, ReplaceMode, fetch_part, fetch_to, refusal_of_named, store,
};
use crate::tool::ftp_args::stdout_file;

impl Actor<'_> {
    fn wanted<'a>(&self, path: &'a RemotePath) -> Get<'a> {
        Get {
            path,
            url: self.url.with_path(path.clone(), false).to_string(),
            ascii: false,
            size: None,
            modified: None,
            resume: true,
            again: false,
            adopt: false,
            checks: Checks::default(),
            progress: Arc::new(|_| {}),
        }
    }

    /// Fetches a file to `local`, or into this directory under its own name. The file appears only when it is complete.
    pub(super) async fn get(&mut self, path: &RemotePath, local: Option<&[u8]>) -> Result<PathBuf, Fault> {
        let own = path.name().ok_or_else(|| Fault::new(Kind::Usage, "a directory: ftpget -r fetches it"))?;
        check_name(own).map_err(|bad| Fault::new(Kind::Usage, bad.as_str()))?;
        let own = local_name(own);
        let target = Path::new(OsStr::from_bytes(local.unwrap_or(b".")));
        let into = target.is_dir() || local.is_some_and(|local| local.ends_with(b"/"));
        let whole = if into { target.join(OsStr::from_bytes(&own)) } else { target.to_owned() };
        let name = whole.file_name().ok_or_else(|| Fault::new(Kind::Usage, "not a file name"))?.as_bytes().to_vec();
        if self.dry_run {
            return Ok(whole);
        }
        let parent = whole.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = LocalDir::open(parent)?;
        let get = self.wanted(path);
        let (got, part) = match fetch_part(&mut self.client, &get, &dir, &name).await {
            Ok(got) => got,
            Err(fault) => return Err(refusal_of_named(&mut self.client, path, fault).await),
        };
        part.commit(FinalState { modified: got.modified, mode: got.mode, sync: true, replace: true })?;
        Ok(whole)
    }

    /// Prints the exact bytes of a file.
    pub(super) async fn cat(&mut self, path: &RemotePath) -> Result<(), Fault> {
        drop(self.out.payload()?);
        let (get, file) = (self.wanted(path), stdout_file()?);
        match fetch_to(&mut self.client, &get, &file).await {
            Ok(_) => Ok(()),
            Err(fault) => Err(refusal_of_named(&mut self.client, path, fault).await),
        }
    }

    /// Stores a local file at `to`, or in this directory under its own name. The file appears only when it is complete.
    pub(super) async fn put(&mut self, local: &Path, to: Option<&[u8]>) -> Result<RemotePath, Fault> {
        let fault = |error: &std::io::Error| Fault::local(local.display(), error);
        let own = local.file_name().ok_or_else(|| Fault::new(Kind::Usage, "not a file name"))?.as_bytes();
        let path = match to {
            None => self.url.path.join(own),
            Some(to) if to.ends_with(b"/") => self.resolve(to).join(own),
            Some(to) => self.resolve(to),
        };
        let file = File::open(local).map_err(|error| fault(&error))?;
        let meta = file.metadata().map_err(|error| fault(&error))?;
        if !meta.is_file() {
            return Err(Fault::new(Kind::NoInput, format!("{}: not a plain file", local.display())));
        }
        if self.dry_run {
            return Ok(path);
        }
        let put = Put {
            path: &path,
            replace: ReplaceMode::TempAndRename,
            ascii: false,
            resume: false,
            tag: PartTag::of_run()?,
            mode: None,
            checks: Checks::default(),
            progress: Arc::new(|_| {}),
        };
        let source = OpenFile { file: &file, size: Some(meta.len()), modified: Some(meta.mtime()) };
        store(&mut self.client, &put, &source).await?;
        Ok(path)
    }
}

/// The local files that an argument matches, sorted.
pub(super) fn local_files(word: &[u8]) -> Result<Vec<PathBuf>, Fault> {
    let whole = PathBuf::from(OsStr::from_bytes(&literal(word)));
    let Some(glob) = glob_of(word)? else { return Ok(vec![whole]) };
    // A file with exactly this name takes precedence over the glob.
    if whole.symlink_metadata().is_ok() {
        return Ok(vec![whole]);
    }
    let parent = whole.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let fault = |error: std::io::Error| Fault::local(parent.display(), &error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent).map_err(fault)? {
        let name = entry.map_err(fault)?.file_name();
        if glob.step(&glob.walk(), &name.clone().into_vec()).0 {
            found.push(whole.with_file_name(name));
        }
    }
    found.sort();
    if found.is_empty() { Err(Fault::new(Kind::Negative, "nothing matches")) } else { Ok(found) }
}
