//! Execution of one ftpdo command: its FTP commands, the meaning of the replies, and its record.

use serde::Serialize;

use super::actor::Actor;
use super::meant::{Meant, MeantPaths};
use super::remove::Removed;
use super::script::{Act, ScriptCommand, check_target, literal};
use super::transfer::local_files;
use crate::cli::output::{OutputRecord, TextLine};
use crate::fault::{Fault, Kind};
use crate::ftp::checksum::ChecksumAlgorithm;
use crate::ftp::client::ListMethod;
use crate::ftp::command::FtpCommand;
use crate::ftp::listing::{ListingEntry, ListingLine};
use crate::ftp::path::{FtpUrl, RemotePath};
use crate::ftp::reply::{FtpReply, ReplyClass, quoted_path};
use crate::net::clock::unix_seconds;
use crate::tool::ftp_usage::{Usage, UsageRecord};
use crate::tool::ftpls::EntryRecord;

/// One executed command.
#[derive(Serialize)]
struct CommandRecord {
    verb: &'static str,
    /// The line number in the script.
    #[serde(skip_serializing_if = "is_zero")]
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    /// The local file.
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<String>,
    /// False if no change was necessary.
    changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    removed: Option<Removed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reply: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(line: &u64) -> bool {
    *line == 0
}

impl OutputRecord for CommandRecord {
    const TYPE: &'static str = "command";

    /// The reply of a raw command and the path of `pwd`. The others print nothing on success, except in a dry run.
    fn text(&self, line: &mut TextLine) {
        if self.dry_run {
            line.text(&format!("would {}", self.verb));
            for path in [&self.path, &self.to, &self.local].into_iter().flatten() {
                line.text(" ").escaped(path);
            }
        } else if self.verb == "pwd" {
            line.escaped(self.path.as_deref().unwrap_or_default());
        } else if self.verb == "raw" {
            line.text(&format!("{} ", self.code.unwrap_or(0)));
            for (at, text) in self.reply.iter().enumerate() {
                line.text(if at == 0 { "" } else { "\n" }).escaped(text);
            }
        }
    }
}

/// A checksum.
#[derive(Serialize)]
struct HashRecord {
    url: String,
    path: String,
    algorithm: &'static str,
    hash: String,
    #[serde(skip)]
    shown: Vec<u8>,
}

impl OutputRecord for HashRecord {
    const TYPE: &'static str = "hash";

    /// The format of sha256sum(1), so that `sha256sum -c` reads it.
    fn text(&self, line: &mut TextLine) {
        line.text(&self.hash).text("  ").escaped(&self.shown);
    }
}

/// The matches of an argument. Several matches with a single file as their target are an error.
fn fitting<T>(to: Option<&[u8]>, found: Result<T, Fault>, count: impl Fn(&T) -> usize) -> Result<T, Fault> {
    let found = found?;
    check_target(to, count(&found)).map_err(|why| Fault::new(Kind::Usage, why))?;
    Ok(found)
}

impl Actor<'_> {
    /// Executes one command for each of its paths. Failures are reported and counted. An error is an output error.
    pub(super) async fn run(&mut self, command: &ScriptCommand) -> Result<(), Fault> {
        let words = match (&command.act, command.paths()) {
            (Act::Raw { line }, _) => {
                let result = self.raw(line, command.line).await;
                return self.settle(command, self.url, result);
            }
            (Act::Pwd, _) => {
                let result = self.pwd(command.line).await;
                return self.settle(command, self.url, result);
            }
            (Act::Put { to, files }, _) => {
                for word in files {
                    self.put_files(command, word, to.as_deref()).await?;
                }
                return Ok(());
            }
            (Act::Mv { from, .. }, _) => from.as_slice(),
            (_, words) => words.unwrap_or_default(),
        };
        if words.is_empty() {
            let here = Meant { path: self.url.path.clone(), shown: b".".to_vec(), entry: None };
            return self.each(command, MeantPaths::of([here])?).await;
        }
        for word in words {
            let found = match (&command.act, self.meant(word).await) {
                (Act::Rm { force: true, .. }, Err(fault)) if fault.kind == Kind::Negative => MeantPaths::of([]),
                (Act::Rm { pick, recursive, .. }, Ok(found)) if !pick.is_empty() => {
                    self.picked(pick, *recursive, found).await
                }
                (Act::Mv { to, .. }, found) => fitting(Some(to), found, |found| found.count),
                (Act::Get { to, .. }, found) => fitting(to.as_deref(), found, |found| found.count),
                (_, found) => found,
            };
            match found {
                Ok(found) => self.each(command, found).await?,
                Err(fault) => {
                    let target = self.url.with_path(self.resolve(&literal(word)), false);
                    self.settle(command, &target, Err(fault))?;
                }
            }
            if !self.client.usable() {
                break;
            }
        }
        Ok(())
    }

    /// Executes a command for each of these paths.
    async fn each(&mut self, command: &ScriptCommand, found: MeantPaths) -> Result<(), Fault> {
        for meant in found.paths.read() {
            let Meant { path, shown, entry } = meant?;
            let result = match (&command.act, entry) {
                (Act::Mv { to, .. }, _) => {
                    // A file that is moved into a directory keeps its name.
                    let into = to.ends_with(b"/").then(|| path.name()).flatten();
                    let to = into.map_or_else(|| self.resolve(to), |name| self.resolve(to).join(name));
                    self.rename(&path, &to, command.line).await
                }
                (Act::Ls { long, .. }, Some(entry)) => self.entry(&path, entry, *long),
                (act, _) => self.path(act, &path, &shown, command.line).await,
            };
            self.settle(command, &self.url.with_path(path, false), result)?;
            if !self.client.usable() {
                break;
            }
        }
        Ok(())
    }

    /// Stores the local files that an argument matches.
    async fn put_files(&mut self, command: &ScriptCommand, word: &[u8], to: Option<&[u8]>) -> Result<(), Fault> {
        let files = match fitting(to, local_files(word), Vec::len) {
            Ok(files) => files,
            Err(fault) => return self.settle(command, self.url, Err(fault)),
        };
        for local in &files {
            if !self.client.usable() {
                break;
            }
            let result = match self.put(local, to).await {
                Ok(path) => self.emit_transfer("put", &path, &local.to_string_lossy(), command.line),
                Err(fault) => Err(fault.context(local.display())),
            };
            self.settle(command, self.url, result)?;
        }
        Ok(())
    }

    fn emit_transfer(&self, verb: &'static str, path: &RemotePath, local: &str, line: u64) -> Result<(), Fault> {
        let mut record = CommandRecord::new(verb, Some(path), line);
        record.local = Some(local.to_owned());
        record.dry_run = self.dry_run;
        self.out.emit(&record)
    }

    /// Counts and reports the outcome of a command. An error is an output error, not a refusal by the server.
    fn settle(&mut self, command: &ScriptCommand, target: &FtpUrl, result: Result<(), Fault>) -> Result<(), Fault> {
        match result {
            Ok(()) if self.dry_run || command.act.may_be_repeated() => self.tally.success(),
            Ok(()) => self.tally.success_once(),
            Err(fault) => {
                self.out.check()?;
                let place =
                    if command.line > 0 { format!("line {}: {target}", command.line) } else { target.to_string() };
                self.out.error(&place, &fault);
                self.tally.fault(&fault);
            }
        }
        Ok(())
    }

    /// A path argument: absolute with a leading slash, else relative to the URL's path.
    pub(super) fn resolve(&self, word: &[u8]) -> RemotePath {
        let (base, path) = (&self.url.path, RemotePath::new(word));
        match word.starts_with(b"/") || base.is_login() {
            true => path,
            false => RemotePath::new(base.join(path.as_bytes()).as_bytes()),
        }
    }

    async fn path(&mut self, act: &Act, path: &RemotePath, shown: &[u8], line: u64) -> Result<(), Fault> {
        let mut record = CommandRecord::new(act.verb(), Some(path), line);
        match act {
            Act::Stat { .. } => return self.stat(path, true).await,
            Act::Ls { long, .. } => return self.ls(path, *long).await,
            Act::Cat { .. } => return self.cat(path).await,
            Act::Get { to, .. } => {
                let local = self.get(path, to.as_deref()).await?;
                return self.emit_transfer("get", path, &local.to_string_lossy(), line);
            }
            Act::Hash { algorithm, .. } => return self.hash(path, shown, *algorithm).await,
            Act::Du { .. } => {
                let usage = Usage::of(&mut self.client, path).await?;
                return self.out.emit(&UsageRecord::new(self.url, path.clone(), shown, usage));
            }
            Act::Rm { recursive, force, .. } => {
                let done = self.remove(path, *recursive, *force).await?;
                record.changed = done.removed.is_some_and(|removed| removed.any());
                record.removed = done.removed.filter(|_| *recursive);
                record.set_reply(done.reply.as_ref());
                record.dry_run = self.dry_run;
            }
            _ if self.dry_run => record.dry_run = true,
            Act::Mkdir { parents, .. } => {
                if *parents {
                    self.client.make_parents(path).await?;
                }
                let reply = self.client.call(&FtpCommand::Mkd(path.argument())).await?;
                record.changed = reply.ok();
                let there = reply.ok() || (*parents && self.is_directory(path).await?);
                if !there {
                    return Err(reply.fault("MKD", Kind::Refused));
                }
                record.set_reply(Some(&reply));
            }
            Act::Rmdir { .. } => {
                record.set_reply(Some(&self.client.must(&FtpCommand::Rmd(path.argument()), Kind::Refused).await?));
            }
            Act::Chmod { mode, .. } => {
                let argument = [format!("CHMOD {mode:03o} ").as_bytes(), &path.argument()].concat();
                let reply = self.client.call(&FtpCommand::Site(argument)).await?;
                if !reply.ok() {
                    // 550 may mean that it is not there, or that it is not allowed.
                    let there = reply.code != 550 || self.client.stat(path).await?.is_some();
                    return Err(reply.fault("SITE CHMOD", if there { Kind::Refused } else { Kind::NoInput }));
                }
                record.set_reply(Some(&reply));
            }
            Act::Touch { time, create, .. } => record.changed = self.touch(path, *time, *create).await?,
            Act::Mv { .. } | Act::Put { .. } | Act::Pwd | Act::Raw { .. } => {
                return Err(Fault::new(Kind::Internal, "not a verb of paths"));
            }
        }
        self.out.emit(&record)
    }

    async fn stat(&mut self, path: &RemotePath, long: bool) -> Result<(), Fault> {
        match self.client.stat(path).await? {
            Some(entry) => self.entry(path, entry, long),
            None => Err(Fault::new(Kind::NoInput, "no such file or directory")),
        }
    }

    /// Prints the entry at a path.
    fn entry(&self, path: &RemotePath, mut entry: ListingEntry, long: bool) -> Result<(), Fault> {
        entry.name = match path.is_login() {
            true => b".".to_vec(),
            false => path.name().unwrap_or(b"/").to_vec(),
        };
        let base = self.url.with_path(path.parent().unwrap_or_default(), true).to_string();
        self.out.emit(&EntryRecord { entry: &entry, path: &entry.name, base: &base, raw: b"", long })
    }

    /// Prints the entries of a directory, or the facts of a file.
    async fn ls(&mut self, path: &RemotePath, long: bool) -> Result<(), Fault> {
        let (out, base) = (self.out, self.url.with_path(path.clone(), true).to_string());
        let each = &mut |line: ListingLine, raw: &[u8]| match line {
            ListingLine::Entry(entry) => {
                out.emit(&EntryRecord { entry: &entry, path: &entry.name, base: &base, raw: b"", long })
            }
            ListingLine::Nothing => Ok(()),
            odd => Err(odd.fault(raw)),
        };
        match self.client.list(path, ListMethod::Any, true, each).await {
            Err(fault) if fault.kind == Kind::NoInput && self.client.usable() => self.stat(path, long).await,
            listed => listed?.uncut().map(drop),
        }
    }

    /// Prints the working directory: relative paths refer to it and the URL's path.
    async fn pwd(&mut self, line: u64) -> Result<(), Fault> {
        let reply = self.client.must(&FtpCommand::Pwd, Kind::Refused).await?;
        let bad = || Fault::new(Kind::Protocol, format!("PWD: no path in: {}", reply.text()));
        let path = quoted_path(reply.first()).and_then(|path| self.client.decode_path(path)).ok_or_else(bad)?;
        let path = RemotePath::new(&path);
        let mut record = CommandRecord::new("pwd", Some(&path), line);
        record.changed = false;
        record.set_reply(Some(&reply));
        self.out.emit(&record)
    }

    async fn hash(&mut self, path: &RemotePath, shown: &[u8], wanted: Option<ChecksumAlgorithm>) -> Result<(), Fault> {
        let Some((algorithm, hash)) = self.client.checksum(path, wanted).await? else {
            let what = wanted.map_or("no checksums".to_owned(), |algorithm| format!("no {}", algorithm.as_str()));
            return Err(Fault::new(Kind::Unsupported, format!("the server computes {what}")));
        };
        self.out.emit(&HashRecord {
            url: self.url.with_path(path.clone(), false).to_string(),
            path: path.to_text(),
            algorithm: algorithm.as_str(),
            hash,
            shown: shown.to_vec(),
        })
    }

    /// Sets the modification time, and creates an empty file if there is none. Returns false if nothing had to be done.
    async fn touch(&mut self, path: &RemotePath, time: Option<i64>, create: bool) -> Result<bool, Fault> {
        if self.client.stat(path).await?.is_none() {
            if !create {
                return Ok(false);
            }
            // APPE never truncates a file that another client created in the meantime.
            self.client.store_nothing(&FtpCommand::Appe(path.argument())).await?;
            if time.is_none() {
                return Ok(true);
            }
        }
        let time = time.unwrap_or_else(unix_seconds);
        match self.client.set_time(path, time).await? {
            true => Ok(true),
            false => Err(Fault::new(Kind::Unsupported, "the server did not set the time")),
        }
    }

    async fn is_directory(&mut self, path: &RemotePath) -> Result<bool, Fault> {
        Ok(self.client.stat(path).await?.is_some_and(|entry| entry.is_dir()))
    }

    async fn rename(&mut self, from: &RemotePath, to: &RemotePath, line: u64) -> Result<(), Fault> {
        let mut record = CommandRecord::new("mv", Some(from), line);
        record.to = Some(to.to_text());
        record.dry_run = self.dry_run;
        if !self.dry_run {
            // In one packet: nothing may come between them, not even a question about TELNET.
            let commands = [FtpCommand::Rnfr(from.argument()), FtpCommand::Rnto(to.argument())];
            let replies = self.client.call_all(&commands).await?;
            let [found, renamed] = replies.as_slice() else {
                return Err(Fault::new(Kind::Internal, "RNFR: not two replies"));
            };
            if found.class() != ReplyClass::Intermediate {
                return Err(found.fault("RNFR", Kind::NoInput));
            }
            if !renamed.ok() {
                return Err(renamed.fault("RNTO", Kind::Refused));
            }
            record.set_reply(Some(renamed));
        }
        self.out.emit(&record)
    }

    /// Sends a line unchanged; with a leading `*` it may fail.
    async fn raw(&mut self, line: &[u8], number: u64) -> Result<(), Fault> {
        let mut record = CommandRecord::new("raw", None, number);
        if self.dry_run {
            record.dry_run = true;
            record.path = Some(String::from_utf8_lossy(line).into_owned());
            return self.out.emit(&record);
        }
        let (line, may_fail) = line.strip_prefix(b"*").map_or((line, false), |rest| (rest, true));
        let line = line.trim_ascii_start();
        let end = memchr::memchr(b' ', line).unwrap_or(line.len());
        let (verb, rest) = line.split_at_checked(end).unwrap_or_default();
        let verb = String::from_utf8_lossy(verb).to_ascii_uppercase();
        let command = FtpCommand::Other(verb.clone(), rest.get(1..).map(<[u8]>::to_vec));
        let reply = self.client.call(&command).await?;
        if !may_fail && matches!(reply.class(), ReplyClass::Transient | ReplyClass::Permanent) {
            return Err(reply.fault(verb, Kind::Refused));
        }
        record.set_reply(Some(&reply));
        self.out.emit(&record)
    }
}

impl Act {
    /// True for commands that have the same effect when repeated.
    fn may_be_repeated(&self) -> bool {
        match self {
            Act::Mkdir { parents, .. } => *parents,
            Act::Rm { force, .. } => *force,
            Act::Rmdir { .. } | Act::Mv { .. } | Act::Raw { .. } => false,
            Act::Chmod { .. } | Act::Touch { .. } | Act::Stat { .. } | Act::Hash { .. } | Act::Du { .. } => true,
            Act::Ls { .. } | Act::Get { .. } | Act::Put { .. } | Act::Cat { .. } | Act::Pwd => true,
        }
    }
}

impl CommandRecord {
    fn new(verb: &'static str, path: Option<&RemotePath>, line: u64) -> CommandRecord {
        CommandRecord {
            verb,
            line,
            path: path.map(RemotePath::to_text),
            to: None,
            local: None,
            changed: true,
            dry_run: false,
            removed: None,
            code: None,
            reply: Vec::new(),
        }
    }

    fn set_reply(&mut self, reply: Option<&FtpReply>) {
        let Some(reply) = reply else { return };
        self.code = Some(reply.code);
        self.reply = reply.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    }
}
