//! The commands that concern files and directories.

use super::path::{quote, resolve, resolve_new, split_pattern, without_options};
use super::{Action, Answer, Data, Format, How, Listing, Op, Pending, Refusal, Rights, Session, Transfer, Via, What};
use crate::ftp::checksum::Algorithm;
use crate::ftp::command::{Command, parse_time};
use crate::ftp::listing::{EntryType, FactSet, format_mdtm, format_mlsd};
use crate::ftp::reply::Reply;

/// What an answer of the tree is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    Cwd(Vec<u8>),
    Size,
    Mdtm,
    Facts(Vec<u8>),
    Modify { text: String, path: Vec<u8> },
    RenameFrom(Vec<u8>),
    MakeDirectory(Vec<u8>),
    Status(Vec<u8>),
    Hash { algorithm: Algorithm, from: u64, path: Vec<u8>, plain: bool },
    Done(&'static str),
}

/// The reply to something that the login does not allow; the same whether the file exists or not.
fn denied() -> Result<(), Refusal> {
    Err(Refusal::Denied)
}

impl Session {
    /// Carries out a command on the tree; false if it is none that is known.
    pub(super) fn file_command(&mut self, command: Command, rights: Rights, rename_from: Option<Vec<u8>>) -> bool {
        match self.try_file_command(command, rights, rename_from) {
            Ok(known) => known,
            Err(refusal) => {
                self.actions.push_back(Action::Reply(refusal.reply()));
                true
            }
        }
    }

    fn try_file_command(
        &mut self,
        command: Command,
        rights: Rights,
        rename_from: Option<Vec<u8>>,
    ) -> Result<bool, Refusal> {
        let need = |right: bool| if right { Ok(()) } else { denied() };
        match command {
            Command::Pwd => {
                let text = [quote(&self.cwd), b" is the current directory.".to_vec()].concat();
                self.reply(257, text);
            }
            Command::Cwd(path) => self.change_directory(&path)?,
            Command::Cdup => self.change_directory(b"..")?,
            Command::Size(_) if self.ascii => self.reply(550, "SIZE needs TYPE I."),
            Command::Size(path) => {
                need(rights.list)?;
                let path = resolve(&self.cwd, &path)?;
                self.ask(Op::Facts(path), Asked::Size);
            }
            Command::Mdtm(argument) => self.mdtm(&argument, rights)?,
            Command::Mfmt { modified, path } => {
                need(rights.change)?;
                self.set_modified(modified.as_second(), &path)?;
            }
            Command::Mlst(argument) => {
                need(rights.list)?;
                let path = resolve(&self.cwd, &argument.unwrap_or_default())?;
                self.ask(Op::Facts(path.clone()), Asked::Facts(path));
            }
            Command::Stat(None) => self.status(),
            Command::Stat(Some(argument)) => {
                need(rights.list)?;
                let (listing, shown) = self.listing(&argument, Format::Long)?;
                self.ask(Op::List(listing), Asked::Status(shown));
            }
            Command::Dele(path) => {
                need(rights.change)?;
                let path = resolve(&self.cwd, &path)?;
                self.ask(Op::Delete(path), Asked::Done("Deleted."));
            }
            Command::Mkd(path) => {
                need(rights.change)?;
                let path = resolve_new(&self.cwd, &path)?;
                self.ask(Op::MakeDirectory(path.clone()), Asked::MakeDirectory(path));
            }
            Command::Rmd(path) => {
                need(rights.change)?;
                let path = resolve(&self.cwd, &path)?;
                self.ask(Op::RemoveDirectory(path), Asked::Done("Directory removed."));
            }
            Command::Rnfr(path) => {
                need(rights.change)?;
                let path = resolve(&self.cwd, &path)?;
                self.ask(Op::Exists(path.clone()), Asked::RenameFrom(path));
            }
            Command::Rnto(path) => {
                need(rights.change)?;
                let Some(from) = rename_from else {
                    self.reply(503, "RNFR first.");
                    return Ok(true);
                };
                let to = resolve_new(&self.cwd, &path)?;
                self.ask(Op::Rename(from, to), Asked::Done("Renamed."));
            }
            Command::Site(argument) => self.site(&argument, rights)?,
            Command::Rest(offset) if self.ascii && offset != 0 => self.reply(554, "REST needs TYPE I."),
            Command::Rest(offset) => {
                self.range = (offset, None);
                self.reply(350, format!("The next transfer starts at {offset}."));
            }
            Command::Rang(..) if self.ascii => self.reply(551, "RANG needs TYPE I."),
            // `RANG 1 0` takes a range back (draft-bryan-ftp-range-08, section 3).
            Command::Rang(1, 0) => {
                self.range = (0, None);
                self.reply(350, "No range.");
            }
            Command::Rang(start, end) if end < start || end == u64::MAX => self.reply(501, "The range is empty."),
            Command::Rang(start, end) => {
                self.range = (start, Some(end + 1));
                self.reply(350, format!("The next transfer is of bytes {start} to {end}."));
            }
            Command::Hash(path) => self.digest(self.algorithm, &path, rights, false)?,
            Command::Other(verb, Some(path)) => {
                let algorithm = match verb.as_str() {
                    "XCRC" => Algorithm::Crc32,
                    "XSHA" | "XSHA1" => Algorithm::Sha1,
                    "XSHA256" => Algorithm::Sha256,
                    "XSHA512" => Algorithm::Sha512,
                    _ => return Ok(false),
                };
                self.digest(algorithm, &path, rights, true)?;
            }
            command => return self.transfer_command(command, rights),
        }
        Ok(true)
    }

    // Transfers

    fn transfer_command(&mut self, command: Command, rights: Rights) -> Result<bool, Refusal> {
        // REST and RANG count for the next transfer, whether it succeeds or not.
        let range = std::mem::take(&mut self.range);
        let what = match self.what(command, rights, range) {
            Ok(Some(what)) => what,
            Ok(None) => {
                self.range = range;
                return Ok(false);
            }
            Err(refusal) => {
                self.drop_data();
                return Err(refusal);
            }
        };
        if self.policy.tls_required && !self.protect {
            self.drop_data();
            self.reply(521, "Data connections must be private: PROT P first.");
            return Ok(true);
        }
        let via = match self.data {
            Data::None => {
                self.reply(425, "PASV, EPSV, PORT or EPRT first.");
                return Ok(true);
            }
            Data::Passive => Via::Passive,
            Data::Active(target) => Via::Active(target),
        };
        let (label, path) = match &what {
            What::Send { path, .. } | What::Receive { path, .. } => ("Transfer complete.", path.clone()),
            What::List(listing) => ("Listing complete.", listing.path.clone()),
        };
        let ascii = self.ascii && !matches!(what, What::List(_));
        self.actions.push_back(Action::Transfer(Transfer { what, via, ascii, protect: self.protect }));
        self.pending = Pending::Transfer { opened: false, stopped: false, append_name: None, label, path };
        Ok(true)
    }

    fn what(
        &mut self,
        command: Command,
        rights: Rights,
        (from, to): (u64, Option<u64>),
    ) -> Result<Option<What>, Refusal> {
        let replace = rights.replace;
        let allowed = match &command {
            Command::Retr(_) => rights.read,
            Command::Stor(_) if from > 0 => rights.replace,
            Command::Stor(_) | Command::Stou(_) => rights.store,
            Command::Appe(_) => rights.replace,
            Command::List(_) | Command::Nlst(_) | Command::Mlsd(_) => rights.list,
            _ => return Ok(None),
        };
        if !allowed {
            return Err(Refusal::Denied);
        }
        Ok(Some(match command {
            Command::Retr(path) => What::Send { path: resolve(&self.cwd, &path)?, from, to },
            Command::Stor(path) => {
                let how = if from > 0 { How::At(from) } else { How::Whole };
                What::Receive { path: resolve_new(&self.cwd, &path)?, how, replace }
            }
            Command::Stou(_) => What::Receive { path: self.cwd.clone(), how: How::Unique, replace: false },
            Command::Appe(path) => What::Receive { path: resolve_new(&self.cwd, &path)?, how: How::Append, replace },
            Command::List(argument) => What::List(self.listing(&argument.unwrap_or_default(), Format::Long)?.0),
            Command::Nlst(argument) => What::List(self.listing(&argument.unwrap_or_default(), Format::Names)?.0),
            Command::Mlsd(argument) => What::List(Listing {
                path: resolve(&self.cwd, &argument.unwrap_or_default())?,
                shown: Vec::new(),
                pattern: None,
                hidden: true,
                format: Format::Facts(self.facts),
            }),
            _ => return Ok(None),
        }))
    }

    /// The listing that LIST, NLST or STAT names, and how the reply calls it.
    fn listing(&self, argument: &[u8], format: Format) -> Result<(Listing, Vec<u8>), Refusal> {
        let (hidden, path) = without_options(argument);
        let (directory, pattern) = match split_pattern(path) {
            Some((directory, pattern)) => (directory, Some(pattern.to_vec())),
            None => (path, None),
        };
        let shown = if path.is_empty() { b".".to_vec() } else { path.to_vec() };
        let path = resolve(&self.cwd, directory)?;
        Ok((Listing { path, shown: directory.to_vec(), pattern, hidden, format }, shown))
    }

    // Single acts

    fn ask(&mut self, op: Op, asked: Asked) {
        self.actions.push_back(Action::Store(op));
        self.pending = Pending::Store(asked);
    }

    fn change_directory(&mut self, path: &[u8]) -> Result<(), Refusal> {
        let path = resolve(&self.cwd, path)?;
        self.ask(Op::Directory(path.clone()), Asked::Cwd(path));
        Ok(())
    }

    /// `MDTM path` asks; `MDTM time path` sets, as clients of old do (vsftpd's `mdtm_write`).
    fn mdtm(&mut self, argument: &[u8], rights: Rights) -> Result<(), Refusal> {
        if rights.change
            && let Some((time, [b' ', path @ ..])) = argument.split_at_checked(14)
            && let Some(time) = parse_time(time)
            && !path.is_empty()
        {
            return self.set_modified(time.as_second(), path);
        }
        if !rights.list {
            return denied();
        }
        let path = resolve(&self.cwd, argument)?;
        self.ask(Op::Facts(path), Asked::Mdtm);
        Ok(())
    }

    fn set_modified(&mut self, seconds: i64, path: &[u8]) -> Result<(), Refusal> {
        let path_shown = path.to_vec();
        let path = resolve(&self.cwd, path)?;
        let asked = Asked::Modify { text: format_mdtm(seconds), path: path_shown };
        self.ask(Op::SetModified(path, seconds), asked);
        Ok(())
    }

    fn site(&mut self, argument: &[u8], rights: Rights) -> Result<(), Refusal> {
        let mut words = argument.splitn(3, |byte| *byte == b' ');
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        match (verb.as_slice(), words.next(), words.next()) {
            (b"CHMOD", ..) if !rights.change => return denied(),
            (b"CHMOD", Some(mode), Some(path)) if !path.is_empty() => {
                let digits = std::str::from_utf8(mode).ok().filter(|text| matches!(text.len(), 3..=4));
                match digits.and_then(|text| u32::from_str_radix(text, 8).ok()) {
                    // No setuid, setgid or sticky bit by remote control.
                    Some(mode) if mode <= 0o777 => {
                        let path = resolve(&self.cwd, path)?;
                        self.ask(Op::SetMode(path, mode), Asked::Done("Mode set."));
                    }
                    _ => self.reply(501, "SITE CHMOD takes a mode such as 644."),
                }
            }
            (b"CHMOD", ..) => self.reply(501, "SITE CHMOD mode path"),
            (b"HELP", ..) => self.reply(214, "SITE CHMOD mode path"),
            _ => self.reply(504, "Unknown SITE command."),
        }
        Ok(())
    }

    fn digest(&mut self, algorithm: Algorithm, path: &[u8], rights: Rights, plain: bool) -> Result<(), Refusal> {
        let (from, to) = std::mem::take(&mut self.range);
        if !rights.read {
            return denied();
        }
        let path_shown = path.to_vec();
        let path = resolve(&self.cwd, path)?;
        self.ask(Op::Digest { path, algorithm, from, to }, Asked::Hash { algorithm, from, path: path_shown, plain });
        Ok(())
    }

    fn status(&mut self) {
        let user = String::from_utf8_lossy(self.user().unwrap_or_default()).into_owned();
        let lines = vec![
            "Status:".to_owned(),
            format!(" Connected from {}", self.policy.peer),
            format!(" Logged in as {user}"),
            format!(" TYPE: {}; STRU: F; MODE: S", if self.ascii { "A" } else { "I" }),
            format!(" Control connection: {}", if self.secure { "TLS" } else { "clear" }),
            format!(" Data connections: {}", if self.protect { "TLS" } else { "clear" }),
            "End".to_owned(),
        ];
        self.actions.push_back(Action::Reply(Reply::multi(211, lines)));
    }

    /// Answers the command that was waiting for the tree.
    pub(super) fn stored(&mut self, asked: Asked, result: Result<Answer, Refusal>) {
        let answer = match result {
            Ok(answer) => answer,
            Err(refusal) => return self.actions.push_back(Action::Reply(refusal.reply())),
        };
        match (asked, answer) {
            (Asked::Cwd(path), _) => {
                self.reply(250, [quote(&path), b" is the current directory.".to_vec()].concat());
                self.cwd = path;
            }
            (Asked::Size, Answer::Entry(entry)) => match (entry.entry_type, entry.size) {
                (EntryType::File, Some(size)) => self.reply(213, size.to_string()),
                _ => self.actions.push_back(Action::Reply(Refusal::NotFile.reply())),
            },
            (Asked::Mdtm, Answer::Entry(entry)) => match entry.modified {
                Some(modified) => self.reply(213, format_mdtm(modified.seconds)),
                None => self.actions.push_back(Action::Reply(Refusal::NotFound.reply())),
            },
            (Asked::Facts(path), Answer::Entry(mut entry)) => {
                entry.name.clone_from(&path);
                let facts = [b" ".to_vec(), format_mlsd(&entry, self.facts)].concat();
                let lines = [[b"Listing ", path.as_slice()].concat(), facts, b"End".to_vec()];
                self.actions.push_back(Action::Reply(Reply::multi(250, lines)));
            }
            (Asked::Modify { text, path }, _) => {
                self.reply(213, [format!("Modify={text}; ").as_bytes(), &path].concat());
            }
            (Asked::RenameFrom(path), _) => {
                self.rename_from = Some(path);
                self.reply(350, "RNTO, please.");
            }
            (Asked::MakeDirectory(path), _) => self.reply(257, [quote(&path), b" created.".to_vec()].concat()),
            (Asked::Status(shown), Answer::Lines(found)) => {
                let mut lines = vec![[b"Status of ", shown.as_slice()].concat()];
                lines.extend(found);
                lines.push(b"End of status".to_vec());
                self.actions.push_back(Action::Reply(Reply::multi(213, lines)));
            }
            (Asked::Hash { plain: true, .. }, Answer::Digest(digest, _)) => self.reply(250, digest),
            (Asked::Hash { algorithm, from, path, .. }, Answer::Digest(digest, end)) => {
                let head = format!("{} {from}-{end} {digest} ", algorithm.as_str());
                self.reply(213, [head.as_bytes(), &path].concat());
            }
            (Asked::Done(text), _) => self.reply(250, text),
            (_, _) => self.actions.push_back(Action::Reply(Refusal::Failed(String::new()).reply())),
        }
    }
}

/// The facts that `OPTS MLST` names (RFC 3659, section 7.9); unknown ones are left out.
pub(super) fn facts_named(list: &str) -> FactSet {
    let named = |fact: &str| list.split(';').any(|name| name.eq_ignore_ascii_case(fact));
    FactSet {
        entry_type: named("type"),
        size: named("size"),
        modify: named("modify"),
        perm: named("perm"),
        unique: named("unique"),
        unix_mode: named("UNIX.mode"),
    }
}

/// The facts as FEAT (all, those in use with `*`) and OPTS (those in use) write them.
pub(super) fn fact_list(facts: FactSet, all: bool) -> String {
    let table = [
        ("type", facts.entry_type),
        ("size", facts.size),
        ("modify", facts.modify),
        ("perm", facts.perm),
        ("unique", facts.unique),
        ("UNIX.mode", facts.unix_mode),
    ];
    table
        .into_iter()
        .filter(|(_, used)| all || *used)
        .map(|(name, used)| format!("{name}{};", if all && used { "*" } else { "" }))
        .collect()
}
