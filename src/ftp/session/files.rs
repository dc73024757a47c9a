//! The commands for files and directories.

use super::path::{quote, resolve, resolve_new, split_pattern, without_options};
use super::{
    Awaited, Data, DataMode, DataTransfer, FtpSession, ListingFormat, ListingRequest, Right, SessionAction,
    StoreAnswer, StoreOp, StoreRefusal, TransferTask, TreeRights, UploadMode,
};
use crate::ftp::checksum::ChecksumAlgorithm;
use crate::ftp::command::{FtpCommand, parse_time};
use crate::ftp::listing::{EntryType, FactSet, format_mdtm, format_mlsd};
use crate::ftp::reply::FtpReply;

/// The reply to ALLO if there is room.
const NO_RESERVATION: &str = "No space needs to be reserved.";

/// The command for which the session awaits an answer of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AwaitedAnswer {
    Cwd(Vec<u8>),
    Size,
    Mdtm,
    Facts(Vec<u8>),
    Modify {
        text: String,
        path: Vec<u8>,
    },
    RenameFrom(Vec<u8>),
    Renamed,
    MakeDirectory(Vec<u8>),
    /// ALLO with this size.
    Room(u64),
    Status(Vec<u8>),
    Hash {
        algorithm: ChecksumAlgorithm,
        from: u64,
        path: Vec<u8>,
    },
    /// XCRC and its relatives.
    Digest,
    /// MD5 of this path.
    Md5(Vec<u8>),
    Available,
    /// MFF with this reply.
    FactsSet(Vec<u8>),
    /// The code and the text of the reply.
    Done(u16, &'static str),
}

impl FtpSession {
    /// The normalized form of a client's path, if the login has this right there. The refusal is the same whether or not the file
    /// exists.
    pub(super) fn allowed(&self, path: &[u8], rights: &TreeRights, right: Right) -> Result<Vec<u8>, StoreRefusal> {
        let path = resolve(&self.cwd, path)?;
        if rights.at(&path).has(right) { Ok(path) } else { Err(StoreRefusal::Denied) }
    }

    fn allowed_new(&self, path: &[u8], rights: &TreeRights, right: Right) -> Result<Vec<u8>, StoreRefusal> {
        let path = resolve_new(&self.cwd, path)?;
        if rights.at(&path).has(right) { Ok(path) } else { Err(StoreRefusal::Denied) }
    }

    /// Runs a command on the tree; false for an unknown command.
    pub(super) fn file_command(
        &mut self,
        command: FtpCommand,
        rights: &TreeRights,
        rename_from: Option<Vec<u8>>,
    ) -> bool {
        let change = match &command {
            FtpCommand::Dele(path) => Some(("DELE", path)),
            FtpCommand::Mkd(path) => Some(("MKD", path)),
            FtpCommand::Rmd(path) => Some(("RMD", path)),
            FtpCommand::Rnfr(path) | FtpCommand::Rnto(path) => Some(("RNTO", path)),
            _ => None,
        };
        let change = change.and_then(|(verb, path)| Some((verb, resolve(&self.cwd, path).ok()?)));
        match self.try_file_command(command, rights, rename_from) {
            Ok(known) => known,
            Err(refusal) => {
                if let Some((verb, path)) = change {
                    self.actions.push_back(SessionAction::Refused { verb, path, refusal: refusal.clone() });
                }
                self.actions.push_back(SessionAction::Reply(refusal.reply()));
                true
            }
        }
    }

    fn try_file_command(
        &mut self,
        command: FtpCommand,
        rights: &TreeRights,
        rename_from: Option<Vec<u8>>,
    ) -> Result<bool, StoreRefusal> {
        let need = |right: bool| if right { Ok(()) } else { Err(StoreRefusal::Denied) };
        let fresh = self.fresh.clone().filter(|fresh| rights.at(fresh).upload);
        // What this session has just stored as a new file is its own, in a drop box as well.
        let is_own = |path: &[u8]| fresh.as_deref() == Some(path);
        match command {
            FtpCommand::Pwd => {
                let text = [quote(&self.cwd), b" is the current directory.".to_vec()].concat();
                self.reply(257, text);
            }
            FtpCommand::Cwd(path) => self.change_directory(&path)?,
            FtpCommand::Cdup => self.change_directory(b"..")?,
            FtpCommand::Size(_) if self.ascii => self.reply(550, "SIZE needs TYPE I."),
            FtpCommand::Size(path) => {
                let path = self.allowed(&path, rights, Right::List)?;
                self.ask(StoreOp::Facts(path), AwaitedAnswer::Size);
            }
            FtpCommand::Allo(size) if rights.at(&self.cwd).upload => {
                self.ask(StoreOp::Room(self.cwd.clone(), size), AwaitedAnswer::Room(size));
            }
            FtpCommand::Allo(_) => self.reply(202, NO_RESERVATION),
            FtpCommand::Mdtm(argument) => self.mdtm(&argument, rights)?,
            FtpCommand::Mfmt { modified, path } => {
                self.set_modified(modified.as_second(), &path, rights)?;
            }
            FtpCommand::Mlst(argument) => {
                let path = self.allowed(&argument.unwrap_or_default(), rights, Right::List)?;
                self.ask(StoreOp::Facts(path.clone()), AwaitedAnswer::Facts(path));
            }
            FtpCommand::Stat(None) => self.status(),
            FtpCommand::Stat(Some(argument)) => {
                let (listing, shown) = self.listing(&argument, ListingFormat::Long, rights)?;
                self.ask(StoreOp::List(listing), AwaitedAnswer::Status(shown));
            }
            FtpCommand::Dele(path) => {
                let path = resolve(&self.cwd, &path)?;
                need((rights.at(&path).delete || is_own(&path)) && !rights.pins(&path))?;
                self.ask(StoreOp::Delete(path), AwaitedAnswer::Done(250, "Deleted."));
            }
            FtpCommand::Mkd(path) => {
                let path = self.allowed_new(&path, rights, Right::Mkdir)?;
                self.ask(StoreOp::MakeDirectory(path.clone()), AwaitedAnswer::MakeDirectory(path));
            }
            FtpCommand::Rmd(path) => {
                let path = self.allowed(&path, rights, Right::Delete)?;
                need(!rights.pins(&path))?;
                self.ask(StoreOp::RemoveDirectory(path), AwaitedAnswer::Done(250, "Directory removed."));
            }
            FtpCommand::Rnfr(path) => {
                let path = resolve(&self.cwd, &path)?;
                need((rights.at(&path).rename || is_own(&path)) && !rights.pins(&path))?;
                self.ask(StoreOp::Exists(path.clone()), AwaitedAnswer::RenameFrom(path));
            }
            FtpCommand::Rnto(path) => {
                let there = rights.at(&resolve(&self.cwd, &path)?);
                need(there.rename || there.upload)?;
                let Some(from) = rename_from else {
                    self.reply(503, "RNFR first.");
                    return Ok(true);
                };
                let to = resolve_new(&self.cwd, &path)?;
                let replace = rights.rename(&from, &to, is_own(&from)).ok_or(StoreRefusal::Denied)?;
                self.ask(StoreOp::Rename(from, to, replace), AwaitedAnswer::Renamed);
            }
            FtpCommand::Site(argument) => self.site(&argument, rights)?,
            FtpCommand::Rest(offset) if self.ascii && offset != 0 => self.reply(501, "REST needs TYPE I."),
            FtpCommand::Rest(offset) => {
                self.range = (offset, None);
                self.reply(350, format!("The next transfer starts at {offset}."));
            }
            FtpCommand::Rang(..) if self.ascii => self.reply(551, "RANG needs TYPE I."),
            // `RANG 1 0` takes a range back (draft-bryan-ftp-range-08, section 3).
            FtpCommand::Rang(1, 0) => {
                self.range = (0, None);
                self.reply(350, "No range.");
            }
            FtpCommand::Rang(start, end) if end < start || end == u64::MAX => self.reply(501, "The range is empty."),
            FtpCommand::Rang(start, end) => {
                self.range = (start, Some(end + 1));
                self.reply(350, format!("The next transfer is of bytes {start} to {end}."));
            }
            FtpCommand::Hash(path) => self.hash(&path, rights)?,
            FtpCommand::Other(verb, Some(path)) => {
                return self.other_command(&verb, &path, rights);
            }
            FtpCommand::Other(verb, None) if verb == "AVBL" => return self.other_command(&verb, b".", rights),
            command => return self.transfer_command(command, rights),
        }
        Ok(true)
    }

    // Transfers

    fn transfer_command(&mut self, command: FtpCommand, rights: &TreeRights) -> Result<bool, StoreRefusal> {
        // REST and RANG count for the next transfer, whether it succeeds or not.
        let range = std::mem::take(&mut self.range);
        let announced = self.announced.take();
        let task = match self.task(command, rights, range) {
            Ok(Some(task)) => task,
            Ok(None) => {
                (self.range, self.announced) = (range, announced);
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
            Data::Passive => DataMode::Passive,
            Data::Active(target) => DataMode::Active(target),
        };
        self.fresh = match &task {
            TransferTask::Receive { path, mode: UploadMode::Whole, replace: false } => Some(path.clone()),
            _ => None,
        };
        let (label, path) = match &task {
            TransferTask::Send { path, .. } | TransferTask::Receive { path, .. } => {
                ("Transfer complete.", path.clone())
            }
            TransferTask::List(listing) => ("Listing complete.", listing.path.clone()),
        };
        let ascii = self.ascii && !matches!(task, TransferTask::List(_));
        // Line ends change the size, and what is continued is only a part.
        let announced = announced.filter(|_| !ascii && range.0 == 0);
        let protect = self.protect;
        self.actions.push_back(SessionAction::Transfer(DataTransfer { task, via, ascii, protect, announced }));
        self.pending = Awaited::Transfer { opened: false, stopped: false, append_name: None, label, path };
        Ok(true)
    }

    fn task(
        &mut self,
        command: FtpCommand,
        rights: &TreeRights,
        (from, to): (u64, Option<u64>),
    ) -> Result<Option<TransferTask>, StoreRefusal> {
        let receive = |path: Vec<u8>, mode| {
            let replace = mode != UploadMode::Unique && rights.at(&path).overwrite;
            TransferTask::Receive { path, mode, replace }
        };
        Ok(Some(match command {
            FtpCommand::Retr(path) => TransferTask::Send { path: self.allowed(&path, rights, Right::Read)?, from, to },
            FtpCommand::Stor(path) if from > 0 => {
                receive(self.allowed_new(&path, rights, Right::Append)?, UploadMode::At(from))
            }
            FtpCommand::Stor(path) => receive(self.allowed_new(&path, rights, Right::Upload)?, UploadMode::Whole),
            FtpCommand::Stou(name) => {
                // The name that a client suggests is the beginning of the one it gets.
                let name = name.as_deref().unwrap_or(b"upload");
                receive(self.allowed_new(name, rights, Right::Upload)?, UploadMode::Unique)
            }
            FtpCommand::Appe(path) => receive(self.allowed_new(&path, rights, Right::Append)?, UploadMode::Append),
            FtpCommand::List(argument) => {
                TransferTask::List(self.listing(&argument.unwrap_or_default(), ListingFormat::Long, rights)?.0)
            }
            FtpCommand::Nlst(argument) => {
                TransferTask::List(self.listing(&argument.unwrap_or_default(), ListingFormat::Names, rights)?.0)
            }
            FtpCommand::Mlsd(argument) => TransferTask::List(ListingRequest {
                path: self.allowed(&argument.unwrap_or_default(), rights, Right::List)?,
                shown: Vec::new(),
                pattern: None,
                hidden: true,
                format: ListingFormat::Facts(self.facts),
            }),
            _ => return Ok(None),
        }))
    }

    /// The listing that LIST, NLST or STAT requests, and its name in the reply.
    fn listing(
        &self,
        argument: &[u8],
        format: ListingFormat,
        rights: &TreeRights,
    ) -> Result<(ListingRequest, Vec<u8>), StoreRefusal> {
        let (hidden, path) = without_options(argument);
        let (directory, pattern) = match split_pattern(path) {
            Some((directory, pattern)) => (directory, Some(pattern.to_vec())),
            None => (path, None),
        };
        let shown = if path.is_empty() { b".".to_vec() } else { path.to_vec() };
        let path = self.allowed(directory, rights, Right::List)?;
        Ok((ListingRequest { path, shown: directory.to_vec(), pattern, hidden, format }, shown))
    }

    // Single acts

    pub(super) fn ask(&mut self, op: StoreOp, asked: AwaitedAnswer) {
        self.actions.push_back(SessionAction::Store(op));
        self.pending = Awaited::Store(asked);
    }

    fn change_directory(&mut self, path: &[u8]) -> Result<(), StoreRefusal> {
        let path = resolve(&self.cwd, path)?;
        self.ask(StoreOp::Directory(path.clone()), AwaitedAnswer::Cwd(path));
        Ok(())
    }

    /// `MDTM path` queries; `MDTM time path` sets, as old clients expect (vsftpd's `mdtm_write`).
    fn mdtm(&mut self, argument: &[u8], rights: &TreeRights) -> Result<(), StoreRefusal> {
        if let Some((time, [b' ', path @ ..])) = argument.split_at_checked(14)
            && let Some(time) = parse_time(time)
            && !path.is_empty()
            && self.allowed(path, rights, Right::Overwrite).is_ok()
        {
            return self.set_modified(time.as_second(), path, rights);
        }
        let path = self.allowed(argument, rights, Right::List)?;
        self.ask(StoreOp::Facts(path), AwaitedAnswer::Mdtm);
        Ok(())
    }

    fn set_modified(&mut self, seconds: i64, path: &[u8], rights: &TreeRights) -> Result<(), StoreRefusal> {
        let path_shown = path.to_vec();
        let path = self.allowed(path, rights, Right::Overwrite)?;
        let asked = AwaitedAnswer::Modify { text: format_mdtm(seconds), path: path_shown };
        self.ask(StoreOp::SetFacts { path, modified: Some(seconds), mode: None }, asked);
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
        self.actions.push_back(SessionAction::Reply(FtpReply::multi(211, lines)));
    }

    /// Replies to the command that waits for the tree.
    pub(super) fn stored(&mut self, asked: AwaitedAnswer, result: Result<StoreAnswer, StoreRefusal>) {
        let answer = match result {
            Ok(answer) => answer,
            Err(refusal) => return self.actions.push_back(SessionAction::Reply(refusal.reply())),
        };
        match (asked, answer) {
            (AwaitedAnswer::Cwd(path), _) => {
                self.reply(250, [quote(&path), b" is the current directory.".to_vec()].concat());
                self.cwd = path;
            }
            (AwaitedAnswer::Size, StoreAnswer::Entry(entry)) => match (entry.entry_type, entry.size) {
                (EntryType::File, Some(size)) => self.reply(213, size.to_string()),
                _ => self.actions.push_back(SessionAction::Reply(StoreRefusal::NotFile.reply())),
            },
            (AwaitedAnswer::Mdtm, StoreAnswer::Entry(entry)) => match entry.modified {
                Some(modified) => self.reply(213, format_mdtm(modified.seconds)),
                None => self.actions.push_back(SessionAction::Reply(StoreRefusal::NotFound.reply())),
            },
            (AwaitedAnswer::Facts(path), StoreAnswer::Entry(mut entry)) => {
                entry.name.clone_from(&path);
                let facts = [b" ".to_vec(), format_mlsd(&entry, self.facts)].concat();
                let lines = [[b"Listing ", path.as_slice()].concat(), facts, b"End".to_vec()];
                self.actions.push_back(SessionAction::Reply(FtpReply::multi(250, lines)));
            }
            (AwaitedAnswer::Room(size), _) => {
                self.announced = Some(size);
                self.reply(202, NO_RESERVATION);
            }
            (AwaitedAnswer::Modify { text, path }, _) => {
                self.reply(213, [format!("Modify={text}; ").as_bytes(), &path].concat());
            }
            (AwaitedAnswer::RenameFrom(path), _) => {
                self.rename_from = Some(path);
                self.reply(350, "RNTO, please.");
            }
            (AwaitedAnswer::Renamed, _) => {
                self.fresh = None;
                self.reply(250, "Renamed.");
            }
            (AwaitedAnswer::MakeDirectory(path), _) => self.reply(257, [quote(&path), b" created.".to_vec()].concat()),
            (AwaitedAnswer::Status(shown), StoreAnswer::Lines(found)) => {
                let mut lines = vec![[b"Status of ", shown.as_slice()].concat()];
                let charset = self.charset();
                lines.extend(found.into_iter().filter(|line| charset.is_none_or(|it| it.encode(line).is_some())));
                lines.push(b"End of status".to_vec());
                self.actions.push_back(SessionAction::Reply(FtpReply::multi(213, lines)));
            }
            (AwaitedAnswer::Digest, StoreAnswer::Digest(digest, _)) => self.reply(250, digest),
            // draft-twine-ftpmd5-00, section 3.1.
            (AwaitedAnswer::Md5(path), StoreAnswer::Digest(digest, _)) => {
                self.reply(251, [path.as_slice(), b" ", digest.to_ascii_uppercase().as_bytes()].concat());
            }
            (AwaitedAnswer::Available, StoreAnswer::Bytes(bytes)) => self.reply(213, bytes.to_string()),
            (AwaitedAnswer::FactsSet(text), _) => self.reply(213, text),
            (AwaitedAnswer::Hash { algorithm, from, path }, StoreAnswer::Digest(digest, end)) => {
                let head = format!("{} {from}-{end} {digest} ", algorithm.as_str());
                self.reply(213, [head.as_bytes(), &path].concat());
            }
            (AwaitedAnswer::Done(code, text), _) => self.reply(code, text),
            (_, _) => self.actions.push_back(SessionAction::Reply(StoreRefusal::Failed(String::new()).reply())),
        }
    }
}

/// The facts that `OPTS MLST` lists (RFC 3659, section 7.9); unknown ones are ignored.
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

/// The fact list of FEAT (all facts, enabled ones marked with `*`) and of OPTS (enabled ones).
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
