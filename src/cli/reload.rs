//! Files that a server reads again while it runs: all of them on HUP, certificates and tables also when they change. The new contents
//! replace the old ones only if all of them are valid.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::cli::args::ServeArgs;
use crate::cli::output::{Output, OutputRecord, Severity, TextLine};
use crate::cli::users::Users;
use crate::fault::Fault;
use crate::net::counters::Counter;
use crate::net::reload::{FileStamp, Reloaded};
use crate::net::tls::ServerTls;

/// A new value that was read and is valid.
pub struct Prepared {
    /// Replaces the old value by the new one.
    pub replace: Box<dyn FnOnce() + Send>,
    /// The parts of the old value that stay in use, in words; `None` if everything is new.
    pub but: Option<String>,
}

impl Prepared {
    /// A new value that replaces the old one completely.
    pub fn whole(replace: impl FnOnce() + Send + 'static) -> Prepared {
        Prepared { replace: Box::new(replace), but: None }
    }
}

type Prepare = Box<dyn Fn() -> Result<Prepared, Fault> + Send + Sync>;

/// The parts of a server that are read again.
pub struct Reloader {
    out: Output,
    parts: Vec<(&'static str, Prepare)>,
    /// The files that are read again.
    files: Vec<PathBuf>,
    /// The files of certificates, keys and tables, with their stamps when they were read.
    watched: Mutex<Vec<(PathBuf, Option<FileStamp>)>>,
}

impl Reloader {
    /// A reloader without parts.
    pub fn new(out: &Output) -> Reloader {
        Reloader { out: out.clone(), parts: Vec::new(), files: Vec::new(), watched: Mutex::default() }
    }

    /// A reloader of the certificate and the users, for a server that has them. Created before root privileges are dropped: the
    /// stamps are those of the files that were read.
    pub fn of(out: &Output, args: &ServeArgs, tls: Option<&ServerTls>, users: Option<&Reloaded<Users>>) -> Reloader {
        let mut reloader = Reloader::new(out);
        reloader.add_tls(tls, args);
        reloader.add_users(users, args);
        reloader
    }

    /// The files that are read again.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    /// Adds the names of files that parts read again.
    pub fn name<P: Into<PathBuf>>(&mut self, files: impl IntoIterator<Item = P>) {
        self.files.extend(files.into_iter().map(Into::into));
    }

    /// Adds the names of files that are read again when they change, too.
    pub fn watch(&mut self, files: &[PathBuf]) {
        self.name(files);
        let stamped = files.iter().map(|file| (file.clone(), FileStamp::of(file)));
        self.watched.get_mut().unwrap_or_else(PoisonError::into_inner).extend(stamped);
    }

    /// Adds a part, with its name in records and the function that reads it.
    pub fn add(&mut self, name: &'static str, prepare: impl Fn() -> Result<Prepared, Fault> + Send + Sync + 'static) {
        self.parts.push((name, Box::new(prepare)));
    }

    /// Adds the certificate, if it was read from a file.
    fn add_tls(&mut self, tls: Option<&ServerTls>, args: &ServeArgs) {
        let mut files = args.cert.iter().chain(&args.key).chain(&args.client_ca).peekable();
        if let Some(tls) = tls.filter(|_| files.peek().is_some()).cloned() {
            self.watch(&files.cloned().collect::<Vec<_>>());
            self.add("certificate", move || Ok(Prepared::whole(tls.renewed()?)));
        }
    }

    /// Adds the user file, if there is one.
    fn add_users(&mut self, users: Option<&Reloaded<Users>>, args: &ServeArgs) {
        if let Some(users) = users.cloned() {
            let (args, out) = (args.clone(), self.out.clone());
            self.name(&args.user_file);
            self.add("users", move || {
                let (users, new) = (users.clone(), args.users(&out)?);
                Ok(Prepared::whole(move || new.into_iter().for_each(|new| users.replace(new))))
            });
        }
    }

    /// Reads all parts again. This call blocks.
    pub fn reload(&self) {
        self.run("signal");
    }

    /// Reads all parts again if a watched file has changed. A file that is missing, or not accessible to the server's
    /// user, counts as unchanged.
    pub fn reload_if_changed(&self) {
        let changed =
            self.watched().iter().any(|(path, seen)| FileStamp::of(path).is_some_and(|now| Some(now) != *seen));
        if changed {
            self.run("changed");
        }
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, Vec<(PathBuf, Option<FileStamp>)>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, why: &'static str) {
        // Stamps are taken before the files are read: a change in between is found the next time.
        let stamps: Vec<_> = self.watched().iter().map(|(path, _)| FileStamp::of(path)).collect();
        let parts: Vec<&'static str> = self.parts.iter().map(|(name, _)| *name).collect();
        let prepared: Result<Vec<Prepared>, Fault> = self.parts.iter().map(|(_, prepare)| prepare()).collect();
        let detail = match prepared {
            Ok(prepared) => {
                let but: Vec<String> = prepared.iter().filter_map(|part| part.but.clone()).collect();
                prepared.into_iter().for_each(|part| (part.replace)());
                self.watched().iter_mut().zip(stamps).for_each(|((_, seen), now)| *seen = now);
                (!but.is_empty()).then(|| but.join("; "))
            }
            Err(fault) => {
                let detail = format!("{}; everything stays as it was", fault.detail);
                self.out.error("reload", &Fault { detail: detail.clone(), ..fault });
                Some(detail)
            }
        };
        if detail.is_none() { Counter::Reloads } else { Counter::ReloadsFailed }.add(1);
        // A closed stdout is reported by the output itself.
        let _ = self.out.emit(&ReloadRecord { ok: detail.is_none(), why, parts, detail });
    }
}

/// The result of a reload.
#[derive(Debug, Serialize)]
struct ReloadRecord {
    ok: bool,
    why: &'static str,
    parts: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl OutputRecord for ReloadRecord {
    const TYPE: &'static str = "reload";

    fn text(&self, line: &mut TextLine) {
        line.field(if self.ok { "reload" } else { "reload failed" }).field(if self.parts.is_empty() {
            "-".to_owned()
        } else {
            self.parts.join(",")
        });
        if let Some(detail) = &self.detail {
            line.field(detail);
        }
    }

    fn severity(&self) -> Severity {
        if self.ok { Severity::Info } else { Severity::Error }
    }
}
