//! Directory listings over a data connection (MLSD, LIST) or over the control connection (STAT). Listings over a data connection
//! are processed line by line as they arrive: a million entries take no more memory than one.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::data::DataError;
use super::summary::{EachLine, Hearing, ListMethod, ListingSummary};
use super::{FtpClient, ServerQuirks};
use crate::fault::{Fault, Kind};
use crate::ftp::command::FtpCommand;
use crate::ftp::listing::{Lister, ListingLine, MAX_LINE};
use crate::ftp::path::RemotePath;
use crate::ftp::reply::{FtpReply, quoted_path};
use crate::line::{Ends, LineError, Splitter};
use crate::net::clock::unix_seconds;
use crate::net::deadline::RateDeadline;

/// Bytes read at once.
const READ: usize = 64 * 1024;

/// How a server treats the argument of a listing command. Some servers list their current directory for every argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    /// It lists the directory that the argument names.
    Heard,
    /// It lists another directory: each directory has to be entered first.
    Ignored,
    /// An empty listing may belong to a missing directory, or to another one.
    EmptyInDoubt,
}

/// The known [`Argument`] of one listing command.
#[derive(Debug, Default)]
pub(super) struct ArgumentQuirk(AtomicU8);

impl ArgumentQuirk {
    fn get(&self) -> Option<Argument> {
        match self.0.load(Ordering::Relaxed) {
            1 => Some(Argument::Heard),
            2 => Some(Argument::Ignored),
            3 => Some(Argument::EmptyInDoubt),
            _ => None,
        }
    }

    fn set(&self, found: Argument) {
        let number = match found {
            Argument::Heard => 1,
            Argument::Ignored => 2,
            Argument::EmptyInDoubt => 3,
        };
        self.0.store(number, Ordering::Relaxed);
    }
}

/// The listing commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListCommand {
    Mlsd,
    /// `LIST -a` shows hidden files if the server knows the option.
    ListAll,
    List,
    Stat,
}

impl ListCommand {
    fn of(self, path: Option<&RemotePath>) -> FtpCommand {
        let path = path.map(RemotePath::argument);
        match self {
            ListCommand::Mlsd => FtpCommand::Mlsd(path),
            ListCommand::ListAll => FtpCommand::List(Some(match path {
                Some(path) => [b"-a ", path.as_slice()].concat(),
                None => b"-a".to_vec(),
            })),
            ListCommand::List => FtpCommand::List(path),
            // Without an argument it reports on the connection (RFC 959, section 4.1.3).
            ListCommand::Stat => FtpCommand::Stat(Some(path.unwrap_or_else(|| b".".to_vec()))),
        }
    }
}

/// True for a refusal that servers send both for a missing and for an empty directory.
fn may_be_empty(fault: &Fault) -> bool {
    matches!(fault.reply_code(), Some(450 | 550))
}

/// The listing of a directory that is known to exist: a refusal because it holds nothing counts as an empty listing.
fn or_empty(
    command: ListCommand,
    listed: Result<ListingSummary, DataError>,
    heard: &Hearing<'_>,
) -> Result<ListingSummary, DataError> {
    const NOTHING: [&str; 8] =
        ["no file", "no such", "not found", "empty", "no entries", "no members", "no data set", "nothing"];
    match listed {
        Err(error) if heard.lines == 0 && command != ListCommand::ListAll && may_be_empty(&error.fault) => {
            let said = error.fault.detail.to_lowercase();
            let empty = NOTHING.iter().any(|phrase| said.contains(phrase));
            if empty { Ok(ListingSummary::said_to_be_empty()) } else { Err(error) }
        }
        other => other,
    }
}

/// A name that no directory has: a listing for it is the listing of another directory.
const NOBODY: &[u8] = b".applayer-asks-for-what-is-not-there";

impl FtpClient {
    /// Lists a directory; `each` gets every line, parsed and raw. `check` makes sure that the directory exists even if LIST
    /// prints nothing (vsftpd lists a missing directory as empty).
    ///
    /// # Errors
    /// `NoInput`: no such directory; else the kind of the server's refusal or of a failure on a connection, or the error of `each`.
    pub async fn list(
        &mut self,
        path: &RemotePath,
        method: ListMethod,
        check: bool,
        each: EachLine<'_>,
    ) -> Result<ListingSummary, Fault> {
        let mut heard = Hearing::new(self.options.charset, each);
        let no_data = ServerQuirks::get(&self.options.quirks.no_data);
        if method == ListMethod::Stat || (method == ListMethod::Any && no_data) {
            return Ok(Box::pin(self.list_at(ListCommand::Stat, path, check, &mut heard)).await?);
        }
        let fault = match Box::pin(self.list_by_data(path, method, check, &mut heard)).await {
            Err(error) if method == ListMethod::Any && error.no_connection && heard.lines == 0 => error.fault,
            other => return Ok(other?),
        };
        self.options.trace.note("no data connection is possible; listing with STAT");
        if !self.usable() {
            self.start_over("the listing by STAT").await?;
        }
        let listed = match Box::pin(self.list_at(ListCommand::Stat, path, check, &mut heard)).await {
            // If STAT fails as well, the first failure is reported.
            Err(error) if error.fault.kind != Kind::NoInput => return Err(fault),
            other => other?,
        };
        ServerQuirks::set(&self.options.quirks.no_data);
        Ok(listed)
    }

    /// MLSD, or LIST if the server does not know MLSD, as far as `method` allows them.
    async fn list_by_data(
        &mut self,
        path: &RemotePath,
        method: ListMethod,
        check: bool,
        heard: &mut Hearing<'_>,
    ) -> Result<ListingSummary, DataError> {
        self.set_type(false).await?;
        let quirks = self.options.quirks.clone();
        let known = self.features.mlst || !self.features.known;
        if method == ListMethod::Mlsd || (method != ListMethod::List && known && !ServerQuirks::get(&quirks.no_mlsd)) {
            match self.list_at(ListCommand::Mlsd, path, false, heard).await {
                // 501: not a directory, or nothing there (RFC 3659, section 7.2.1).
                Err(error) if error.fault.reply_code() == Some(501) => {
                    return Err(Fault { kind: Kind::NoInput, ..error.fault }.into());
                }
                // Lines that were passed to the caller must not be passed again.
                Err(error)
                    if method != ListMethod::Mlsd && error.fault.kind == Kind::Unsupported && heard.lines == 0 =>
                {
                    ServerQuirks::set(&quirks.no_mlsd);
                }
                other => return other,
            }
        }
        if !ServerQuirks::get(&quirks.no_list_options) {
            let listed = self.list_at(ListCommand::ListAll, path, check, heard).await;
            let again = match &listed {
                // The server may have read the option as the name of a missing file.
                Ok(_) => !ServerQuirks::get(&quirks.list_options),
                Err(error) => error.fault.reply_code().is_some_and(|code| code >= 450) && self.usable(),
            };
            if heard.lines > 0 {
                ServerQuirks::set(&quirks.list_options);
            }
            if heard.lines > 0 || !again {
                return listed;
            }
            let plain = self.list_at(ListCommand::List, path, check, heard).await?;
            if heard.lines > 0 {
                self.options.learn(&quirks.no_list_options, "LIST without -a");
            }
            return Ok(plain);
        }
        self.list_at(ListCommand::List, path, check, heard).await
    }

    /// Lists a directory with one command: by its argument if the server is known to honour it, else from inside.
    async fn list_at(
        &mut self,
        command: ListCommand,
        path: &RemotePath,
        check: bool,
        heard: &mut Hearing<'_>,
    ) -> Result<ListingSummary, DataError> {
        if path.is_login() {
            let listed = self.list_with(command, None, heard).await;
            return or_empty(command, listed, heard);
        }
        // Servers interpret globs, options and spaces in an argument of LIST and STAT: such a directory is entered.
        let odd = path.as_bytes().first() == Some(&b'-')
            || path.as_bytes().iter().any(|byte| matches!(byte, b' ' | b'*' | b'?' | b'[' | b'{' | b'~' | b'\\'));
        let enter = match command {
            ListCommand::Mlsd => false,
            ListCommand::List | ListCommand::ListAll => odd || check,
            ListCommand::Stat => odd,
        };
        let argument = if enter { Argument::Ignored } else { self.argument(command, path).await? };
        let mut refused = None;
        if argument != Argument::Ignored {
            match self.list_with(command, Some(path), heard).await {
                // LIST follows without the option, and from inside.
                Err(error) if heard.lines == 0 && command != ListCommand::ListAll && may_be_empty(&error.fault) => {
                    refused = Some(error);
                }
                listed if argument == Argument::Heard || heard.entries > 0 || listed.is_err() => {
                    if heard.entries > 0 {
                        self.argument_quirk(command).set(Argument::Heard);
                    }
                    return listed;
                }
                _ => {}
            }
        }
        if let Err(entering) = self.enter(path).await {
            return Err(refused.filter(|error| error.fault.kind == entering.kind).unwrap_or(entering.into()));
        }
        let listed = self.list_with(command, None, heard).await;
        if self.usable() {
            self.leave().await?;
        }
        or_empty(command, listed, heard)
    }

    fn argument_quirk(&self, command: ListCommand) -> &ArgumentQuirk {
        let quirks = &self.options.quirks;
        match command {
            ListCommand::Mlsd => &quirks.mlsd_argument,
            ListCommand::List | ListCommand::ListAll => &quirks.list_argument,
            ListCommand::Stat => &quirks.stat_argument,
        }
    }

    /// How the server treats the argument of a command. The test is made once, with the name of a missing directory: a server that
    /// lists entries for it has listed another directory.
    async fn argument(&mut self, command: ListCommand, path: &RemotePath) -> Result<Argument, DataError> {
        if let Some(known) = self.argument_quirk(command).get() {
            return Ok(known);
        }
        let mut nobody = |_: ListingLine, _: &[u8]| Ok(());
        let mut heard = Hearing::new(None, &mut nobody);
        let found = match self.list_with(command, Some(&path.join(NOBODY)), &mut heard).await {
            Ok(_) if heard.entries > 0 => Argument::Ignored,
            Ok(_) => Argument::EmptyInDoubt,
            Err(error) if !self.usable() => return Err(error),
            Err(error) => match error.fault.reply_code() {
                // It looked for the directory. (RFC 3659 uses 501 for that.)
                Some(450..=499 | 501 | 550..=599) => Argument::Heard,
                _ => return Err(error),
            },
        };
        if found == Argument::Ignored {
            self.options.trace.note("the server ignores the argument of listing commands: each directory is entered");
        }
        self.argument_quirk(command).set(found);
        Ok(found)
    }

    /// Sends the command and reads the listing; without a path it is that of the current directory.
    async fn list_with(
        &mut self,
        command: ListCommand,
        path: Option<&RemotePath>,
        heard: &mut Hearing<'_>,
    ) -> Result<ListingSummary, DataError> {
        let (mut lister, method) = match command {
            ListCommand::Mlsd => (Lister::mlsd(), ListMethod::Mlsd),
            ListCommand::List | ListCommand::ListAll => (Lister::list(unix_seconds()), ListMethod::List),
            ListCommand::Stat => return Ok(self.list_by_stat(path, heard).await?),
        };
        let command = command.of(path);
        let mut begun = self.begin_data(&[], &command, 0).await?;
        let mut splitter = Splitter::new(Ends::Lenient, MAX_LINE);
        let mut buffer = vec![0; READ];
        let mut deadline = RateDeadline::new(self.control.limits);
        let read = async {
            loop {
                let count = deadline.io("listing", begun.stream.read(&mut buffer)).await?;
                if count == 0 {
                    break;
                }
                splitter.push(buffer.get(..count).unwrap_or_default());
                loop {
                    match splitter.next_line() {
                        Ok(Some(line)) => heard.line(&mut lister, line)?,
                        Ok(None) => break,
                        // No file has such a long name; the caller gets the line as not understood.
                        Err(LineError::TooLong) => heard.line(&mut lister, b"(a line that is too long)")?,
                        Err(error) => return Err(error.fault(MAX_LINE).context("listing")),
                    }
                }
            }
            // A last line without a line end.
            match splitter.take_pending() {
                rest if rest.is_empty() => {}
                rest => heard.line(&mut lister, &rest)?,
            }
            heard.end(&mut lister)
        };
        if let Err(fault) = read.await {
            // A truncated TLS connection, a reset, too many lines: the listing may be incomplete.
            return Err(self.control.fail(fault).into());
        }
        // TLS ends on both sides (close_notify): some servers report a transfer as failed otherwise (vsftpd's
        // strict_ssl_write_shutdown). Their reply reports a failure here.
        drop(self.control.limits.io("listing", begun.stream.shutdown()).await);
        drop(begun);
        let reply = self.finish(&command).await?;
        Ok(heard.summary(method, &reply))
    }

    /// `STAT path` lists on the control connection, in LIST's format (RFC 959, section 4.1.3).
    async fn list_by_stat(
        &mut self,
        path: Option<&RemotePath>,
        heard: &mut Hearing<'_>,
    ) -> Result<ListingSummary, Fault> {
        let reply = self.must(&ListCommand::Stat.of(path), Kind::NoInput).await?;
        // Some servers put a space before each line.
        let lines = || reply.middle().map(|line| line.strip_prefix(b" ").unwrap_or(line));
        let mut lister = Lister::list(unix_seconds());
        // Some servers print "no such directory" instead of an entry.
        if let Some(path) = path.filter(|path| path.name() != Some(NOBODY))
            && !lines().any(|line| matches!(lister.line(line), ListingLine::Entry(_)))
        {
            self.enter(path).await?;
            self.leave().await?;
        }
        let mut lister = Lister::list(unix_seconds());
        lines().try_for_each(|line| heard.line(&mut lister, line))?;
        heard.end(&mut lister)?;
        let last = reply.lines.last().cloned().unwrap_or_default();
        Ok(heard.summary(ListMethod::Stat, &FtpReply::new(reply.code, last)))
    }

    /// Changes into a directory. Before the first time it asks for the login directory.
    pub(super) async fn enter(&mut self, path: &RemotePath) -> Result<(), Fault> {
        let enter = FtpCommand::Cwd(path.argument());
        let entered = match &self.login_directory {
            Some(_) => self.control.call(&enter).await?,
            None => {
                let replies = self.call_all(&[FtpCommand::Pwd, enter]).await?;
                let mut replies = replies.into_iter();
                let told = replies.next().filter(FtpReply::ok);
                // Empty: the server does not report it.
                let path = told.and_then(|told| quoted_path(told.first())).and_then(|path| self.decode_path(path));
                self.login_directory = Some(path.unwrap_or_default());
                replies.next().ok_or_else(|| Fault::new(Kind::Internal, "a reply is missing"))?
            }
        };
        match entered.ok() {
            true => Ok(()),
            false => Err(entered.fault("CWD", Kind::NoInput)),
        }
    }

    /// Goes back to the login directory; if the server did not report it, a fresh connection leads there.
    pub(super) async fn leave(&mut self) -> Result<(), Fault> {
        match self.login_directory.clone().filter(|path| !path.is_empty()) {
            Some(back) => self.must(&FtpCommand::Cwd(back), Kind::Refused).await.map(drop),
            None => self.start_over("back where the login landed").await,
        }
    }
}
