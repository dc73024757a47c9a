//! Directory listings over a data connection (MLSD, LIST) or over the control connection (STAT), line by line as they
//! arrive: a million entries take no more memory than one.

use tokio::io::AsyncReadExt;

use super::data::DataError;
use super::{FtpClient, ServerQuirks};
use crate::fault::{Fault, Kind};
use crate::ftp::command::FtpCommand;
use crate::ftp::listing::{Lister, ListingLine, MAX_LINE};
use crate::ftp::path::RemotePath;
use crate::ftp::reply::{FtpReply, quoted_path};
use crate::line::{Ends, LineError, Splitter};
use crate::net::clock::unix_seconds;
use crate::net::deadline::RateDeadline;

/// The most lines that one listing may have.
pub const MAX_ENTRIES: u64 = 10_000_000;
/// Bytes read at once.
const READ: usize = 64 * 1024;

/// Gets every line of a listing, parsed and raw; an error ends the listing.
pub type EachLine<'a> = &'a mut (dyn FnMut(ListingLine, &[u8]) -> Result<(), Fault> + Send);

/// How a directory is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListMethod {
    /// MLSD where the server knows it, else LIST.
    #[default]
    Auto,
    /// MLSD or nothing.
    Mlsd,
    /// LIST.
    List,
    /// STAT: no data connection is needed.
    Stat,
    /// As [`ListMethod::Auto`], and by STAT where no data connection can be had (a firewall).
    Any,
}

/// How a listing went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingSummary {
    /// The command that gave it.
    pub method: ListMethod,
    /// Lines that were not understood.
    pub unknown: u64,
    /// The final reply.
    pub reply: FtpReply,
}

impl FtpClient {
    /// Lists a directory; `each` gets every line, parsed and raw. `check` makes sure that the directory exists where LIST
    /// would print nothing (vsftpd lists what is not there as empty).
    ///
    /// # Errors
    /// `NoInput`: no such directory; else the kind of the server's refusal, of what failed on a connection, or what `each` says.
    pub async fn list(
        &mut self,
        path: &RemotePath,
        method: ListMethod,
        check: bool,
        each: EachLine<'_>,
    ) -> Result<ListingSummary, Fault> {
        let no_data = ServerQuirks::get(&self.options.quirks.no_data);
        if method == ListMethod::Stat || (method == ListMethod::Any && no_data) {
            return self.list_by_stat(path, check, each).await;
        }
        let mut lines = false;
        let noting = &mut |line: ListingLine, raw: &[u8]| {
            lines = true;
            each(line, raw)
        };
        let fault = match Box::pin(self.list_by_data(path, method, check, noting)).await {
            Err(error) if method == ListMethod::Any && error.no_connection && !lines => error.fault,
            other => return Ok(other?),
        };
        self.options.trace.note("no data connection can be had; listing by STAT");
        if !self.usable() {
            self.renew("by STAT").await?;
        }
        // The first failure is the news if this does not work either.
        let listed = self.list_by_stat(path, check, each).await.map_err(|_| fault)?;
        ServerQuirks::set(&self.options.quirks.no_data);
        Ok(listed)
    }

    /// MLSD, or LIST where the server does not know it, as far as `method` allows either.
    async fn list_by_data(
        &mut self,
        path: &RemotePath,
        method: ListMethod,
        check: bool,
        each: EachLine<'_>,
    ) -> Result<ListingSummary, DataError> {
        self.set_type(false).await?;
        let known = self.features.mlst || !self.features.known;
        if method == ListMethod::Mlsd
            || (method != ListMethod::List && known && !ServerQuirks::get(&self.options.quirks.no_mlsd))
        {
            let argument = (!path.is_login()).then(|| path.as_bytes().to_vec());
            match self.list_with(FtpCommand::Mlsd(argument), Lister::mlsd(), ListMethod::Mlsd, each).await {
                // 501: not a directory, or nothing there (RFC 3659, section 7.2.1).
                Err(error) if error.fault.reply_code() == Some(501) => {
                    return Err(Fault { kind: Kind::NoInput, ..error.fault }.into());
                }
                Err(error) if method != ListMethod::Mlsd && error.fault.kind == Kind::Unsupported => {
                    ServerQuirks::set(&self.options.quirks.no_mlsd);
                }
                other => return other,
            }
        }
        self.list_by_list(path, check, each).await
    }

    async fn list_by_list(
        &mut self,
        path: &RemotePath,
        check: bool,
        each: EachLine<'_>,
    ) -> Result<ListingSummary, DataError> {
        // Servers take globs, options and words out of LIST's argument: such a directory is entered instead.
        let odd = path.as_bytes().first() == Some(&b'-')
            || path.as_bytes().iter().any(|byte| matches!(byte, b' ' | b'*' | b'?' | b'[' | b'{' | b'~' | b'\\'));
        let enter = (odd || check) && !path.is_login();
        if enter {
            self.enter(path).await?;
        }
        let listed = self.list_with_options(if enter { None } else { Some(path) }, each).await;
        if enter && self.usable() {
            self.leave().await?;
        }
        listed
    }

    /// `LIST -a` shows hidden files where servers know the option; one that does not is asked without.
    async fn list_with_options(
        &mut self,
        path: Option<&RemotePath>,
        each: EachLine<'_>,
    ) -> Result<ListingSummary, DataError> {
        let path = path.filter(|path| !path.is_login()).map(|path| path.as_bytes().to_vec());
        if !ServerQuirks::get(&self.options.quirks.no_list_options) {
            let argument = match &path {
                Some(path) => [b"-a ", path.as_slice()].concat(),
                None => b"-a".to_vec(),
            };
            match self
                .list_with(FtpCommand::List(Some(argument)), Lister::list(unix_seconds()), ListMethod::List, each)
                .await
            {
                Err(error) if error.fault.reply_code().is_some_and(|code| code >= 450) && self.usable() => {
                    let second = self
                        .list_with(FtpCommand::List(path), Lister::list(unix_seconds()), ListMethod::List, each)
                        .await?;
                    ServerQuirks::set(&self.options.quirks.no_list_options);
                    return Ok(second);
                }
                other => return other,
            }
        }
        self.list_with(FtpCommand::List(path), Lister::list(unix_seconds()), ListMethod::List, each).await
    }

    async fn list_with(
        &mut self,
        command: FtpCommand,
        mut lister: Lister,
        method: ListMethod,
        each: EachLine<'_>,
    ) -> Result<ListingSummary, DataError> {
        let mut begun = self.begin_data(&[], &command, 0).await?;
        let mut splitter = Splitter::new(Ends::Lenient, MAX_LINE);
        let mut buffer = vec![0; READ];
        let (mut lines, mut unknown) = (0u64, 0u64);
        let mut take = |line: &[u8]| -> Result<(), Fault> {
            lines += 1;
            if lines > MAX_ENTRIES {
                return Err(Fault::new(Kind::Protocol, format!("a listing of more than {MAX_ENTRIES} lines")));
            }
            let parsed = lister.line(line);
            unknown += u64::from(parsed == ListingLine::Unknown);
            each(parsed, line)
        };
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
                        Ok(Some(line)) => take(line)?,
                        Ok(None) => break,
                        // A name that long is nobody's file; the caller sees the line as not understood.
                        Err(LineError::TooLong) => take(b"(a line that is too long)")?,
                        Err(error) => return Err(error.fault(MAX_LINE).context("listing")),
                    }
                }
            }
            // A last line without its end.
            match splitter.take_pending() {
                rest if rest.is_empty() => Ok(()),
                rest => take(&rest),
            }
        };
        if let Err(fault) = read.await {
            // A TLS connection cut off, a reset, too much: what was listed may not be all.
            return Err(self.control.fail(fault).into());
        }
        if lister.finish() == ListingLine::Unknown {
            unknown += 1;
            each(ListingLine::Unknown, HALF)?;
        }
        drop(begun);
        let reply = self.finish(&command).await?;
        Ok(ListingSummary { method, unknown, reply })
    }

    /// `STAT path` lists on the control connection, in LIST's format (RFC 959, section 4.1.3). `check` as for
    /// [`FtpClient::list`]: a listing of nothing may be a directory that is not there.
    async fn list_by_stat(
        &mut self,
        path: &RemotePath,
        check: bool,
        each: EachLine<'_>,
    ) -> Result<ListingSummary, Fault> {
        let reply = match self.must(&FtpCommand::Stat(Some(path.argument())), Kind::NoInput).await {
            // proftpd says 450 for what is not there.
            Err(fault) if fault.reply_code() == Some(450) && !path.is_login() => {
                self.enter(path).await?;
                self.leave().await?;
                return Err(fault);
            }
            other => other?,
        };
        // Some servers put a space before each line.
        let lines = || reply.middle().map(|line| line.strip_prefix(b" ").unwrap_or(line));
        let mut lister = Lister::list(unix_seconds());
        // Some say in the place of an entry that there is no such directory.
        if check && !path.is_login() && !lines().any(|line| matches!(lister.line(line), ListingLine::Entry(_))) {
            self.enter(path).await?;
            self.leave().await?;
        }
        let (mut lister, mut unknown) = (Lister::list(unix_seconds()), 0u64);
        for line in lines() {
            let parsed = lister.line(line);
            unknown += u64::from(parsed == ListingLine::Unknown);
            each(parsed, line)?;
        }
        if lister.finish() == ListingLine::Unknown {
            unknown += 1;
            each(ListingLine::Unknown, HALF)?;
        }
        let reply = FtpReply { code: reply.code, lines: reply.lines.last().cloned().into_iter().collect() };
        Ok(ListingSummary { method: ListMethod::Stat, unknown, reply })
    }

    /// Changes into a directory, after noting where the login landed.
    pub(super) async fn enter(&mut self, path: &RemotePath) -> Result<(), Fault> {
        if self.login_directory.is_none() {
            let reply = self.must(&FtpCommand::Pwd, Kind::Refused).await?;
            let path = quoted_path(reply.first()).filter(|path| !path.is_empty());
            self.login_directory =
                Some(path.ok_or_else(|| Fault::new(Kind::Protocol, format!("PWD: no path in: {}", reply.text())))?);
        }
        self.must(&FtpCommand::Cwd(path.argument()), Kind::NoInput).await?;
        Ok(())
    }

    /// Goes back to where the login landed.
    pub(super) async fn leave(&mut self) -> Result<(), Fault> {
        let back = self.login_directory.clone().unwrap_or_default();
        self.must(&FtpCommand::Cwd(back), Kind::Refused).await.map(drop)
    }
}

/// What stands for the line of an entry of which only the first half came.
const HALF: &[u8] = b"(the listing ends in the middle of an entry)";
