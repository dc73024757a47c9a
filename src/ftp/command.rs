//! Commands: conversion between wire text and types, for the client that sends them and the server that receives them.
//!
//! Arguments are bytes: a path is everything after the single space that follows the verb, spaces included, in the
//! character set of the server's names (UTF-8 by RFC 2640). CR, LF and NUL are refused in both directions.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::charset::WireCharset;
use super::telnet;
use crate::fault::{Fault, Kind};
use crate::secret::Secret;

/// The longest command line that is accepted or sent, without its CRLF: the longest path of Linux plus a margin.
pub const MAX_COMMAND_LINE: usize = 4096 + 256;
/// The longest verb; all known verbs have at most seven letters.
pub const MAX_VERB: usize = 16;

/// One command of the control connection.
#[derive(Clone, PartialEq, Eq)]
pub enum FtpCommand {
    /// `USER`: the user name (RFC 959, section 4.1.1, as the next seven).
    User(Vec<u8>),
    /// `PASS`: the password.
    Pass(Secret<Vec<u8>>),
    /// `ACCT`: the account, treated as a secret like a password.
    Acct(Secret<Vec<u8>>),
    /// `CWD` (and `XCWD`, RFC 775).
    Cwd(Vec<u8>),
    /// `CDUP` (and `XCUP`).
    Cdup,
    /// `SMNT`: mount a structure.
    Smnt(Vec<u8>),
    /// `REIN`: log out, keep the connection.
    Rein,
    /// `QUIT`.
    Quit,
    /// `PORT h1,h2,h3,h4,p1,p2` (section 4.1.2, as the next five); [`super::address`] parses the argument.
    Port(Vec<u8>),
    /// `PASV`.
    Pasv,
    /// `EPRT |net|address|port|` (RFC 2428, section 2); [`super::address`] parses the argument.
    Eprt(Vec<u8>),
    /// `EPSV` (RFC 2428, section 3).
    Epsv(Epsv),
    /// `TYPE`.
    Type(TypeCode),
    /// `STRU` and its code letter, upper case.
    Stru(u8),
    /// `MODE` and its code letter, upper case.
    Mode(u8),
    /// `RETR`: download (section 4.1.3, as all until `NOOP`).
    Retr(Vec<u8>),
    /// `STOR`: upload.
    Stor(Vec<u8>),
    /// `STOU`: upload under a unique name that the server chooses.
    Stou(Option<Vec<u8>>),
    /// `APPE`: upload to the end of a file.
    Appe(Vec<u8>),
    /// `ALLO`: the size of the next upload.
    Allo(u64),
    /// `REST`: the offset of the next transfer (RFC 3659, section 5).
    Rest(u64),
    /// `RNFR`: rename from.
    Rnfr(Vec<u8>),
    /// `RNTO`: rename to.
    Rnto(Vec<u8>),
    /// `ABOR`.
    Abor,
    /// `DELE`.
    Dele(Vec<u8>),
    /// `RMD` (and `XRMD`).
    Rmd(Vec<u8>),
    /// `MKD` (and `XMKD`).
    Mkd(Vec<u8>),
    /// `PWD` (and `XPWD`).
    Pwd,
    /// `LIST`.
    List(Option<Vec<u8>>),
    /// `NLST`.
    Nlst(Option<Vec<u8>>),
    /// `SITE` and a command specific to the server.
    Site(Vec<u8>),
    /// `SYST`.
    Syst,
    /// `STAT`: the session, a transfer in progress, or a listing on the control connection.
    Stat(Option<Vec<u8>>),
    /// `HELP`.
    Help(Option<Vec<u8>>),
    /// `NOOP`.
    Noop,
    /// `AUTH` and the mechanism, upper case (RFC 2228, section 3; RFC 4217, section 4).
    Auth(String),
    /// `PBSZ`: protection buffer size (RFC 2228, section 3).
    Pbsz(u64),
    /// `PROT` (RFC 2228, section 3).
    Prot(Protection),
    /// `CCC`: clear command channel (RFC 2228, section 3).
    Ccc,
    /// `FEAT` (RFC 2389, section 3).
    Feat,
    /// `OPTS command [parameters]` (RFC 2389, section 4).
    Opts(Vec<u8>),
    /// `MDTM`: modification time (RFC 3659, section 3). Some servers also take `MDTM time path` to set it.
    Mdtm(Vec<u8>),
    /// `SIZE` (RFC 3659, section 4).
    Size(Vec<u8>),
    /// `MLST`: the facts of one name (RFC 3659, section 7).
    Mlst(Option<Vec<u8>>),
    /// `MLSD`: the facts of all names in a directory (RFC 3659, section 7).
    Mlsd(Option<Vec<u8>>),
    /// `MFMT time path`: sets the modification time (draft-somers-ftp-mfxx-04, section 3.1).
    Mfmt {
        /// The new modification time.
        modified: Timestamp,
        /// The path of the file.
        path: Vec<u8>,
    },
    /// `LANG` (RFC 2640, section 4.1).
    Lang(Option<Vec<u8>>),
    /// `HOST` (RFC 7151).
    Host(Vec<u8>),
    /// `HASH path` (draft-bryan-ftpext-hash-02, section 3).
    Hash(Vec<u8>),
    /// `RANG start end`: the byte range of the next RETR or HASH, both ends included (draft-bryan-ftp-range-08, section 3).
    Rang(u64, u64),
    /// Any other verb, upper case, with its argument.
    Other(String, Option<Vec<u8>>),
}

/// The argument of `EPSV` (RFC 2428, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epsv {
    /// No argument: the address family of the control connection.
    Same,
    /// `EPSV 1` (IPv4), `EPSV 2` (IPv6) or another network protocol.
    Protocol(u16),
    /// `EPSV ALL`: from now on the client sets up data connections with EPSV only.
    All,
}

/// Representation type (RFC 959, section 3.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeCode {
    /// `A` or `A N`.
    Ascii,
    /// `E` or `E N`.
    Ebcdic,
    /// `I`.
    Image,
    /// `L` and the number of bits per byte.
    Local(u8),
}

/// Protection level of the data connection (RFC 2228, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// `C`: clear text.
    Clear,
    /// `S`: integrity only; TLS has no such level.
    Safe,
    /// `E`: confidentiality only; TLS has no such level.
    Confidential,
    /// `P`: TLS.
    Private,
}

/// The reason for rejecting a command line. [`FtpCommandError::code`] is the code of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FtpCommandError {
    /// No verb: the line is empty, or does not begin with letters.
    NoVerb,
    /// The line holds CR, LF or NUL.
    Forbidden,
    /// The line is longer than [`MAX_COMMAND_LINE`].
    TooLong,
    /// The line is not valid in the charset of names.
    Charset,
    /// An argument is missing, superfluous or malformed.
    Argument,
    /// The argument is well-formed but names an unknown value (RFC 959: 504).
    Parameter,
}

impl FtpCommandError {
    /// The reply code (RFC 959, section 4.2).
    pub const fn code(self) -> u16 {
        match self {
            FtpCommandError::NoVerb | FtpCommandError::TooLong => 500,
            FtpCommandError::Forbidden | FtpCommandError::Charset | FtpCommandError::Argument => 501,
            FtpCommandError::Parameter => 504,
        }
    }

    /// The text for that reply.
    pub const fn text(self) -> &'static str {
        match self {
            FtpCommandError::NoVerb => "No command.",
            FtpCommandError::Forbidden => "CR, LF and NUL are not allowed in a command.",
            FtpCommandError::TooLong => "Command line too long.",
            FtpCommandError::Charset => "The name is not valid in the charset of this server.",
            FtpCommandError::Argument => "Syntax error in the arguments.",
            FtpCommandError::Parameter => "Not implemented for that parameter.",
        }
    }
}

impl FtpCommand {
    /// Parses one line, without its line end.
    ///
    /// # Errors
    /// The error selects the reply that refuses the line.
    pub fn parse(line: &[u8]) -> Result<FtpCommand, FtpCommandError> {
        FtpCommand::parse_in(None, line)
    }

    /// As [`FtpCommand::parse`], for a line in this charset; arguments become UTF-8.
    ///
    /// # Errors
    /// As [`FtpCommand::parse`], and for a line that is not valid in the charset.
    pub fn parse_in(charset: Option<WireCharset>, line: &[u8]) -> Result<FtpCommand, FtpCommandError> {
        if line.len() > MAX_COMMAND_LINE {
            return Err(FtpCommandError::TooLong);
        }
        // `IAC IP IAC DM` may stand before ABOR and STAT (RFC 959, section 4.1.3).
        let plain = line.contains(&telnet::IAC).then(|| telnet::plain(line));
        let mut line = plain.as_deref().unwrap_or(line);
        while let Some(rest) = line.strip_prefix(&[telnet::IAC]) {
            line = rest; // no verb begins so: what is left of a mark that came out of order
        }
        let decoded = charset.map(|charset| charset.decode(line).ok_or(FtpCommandError::Charset)).transpose()?;
        let line = decoded.as_deref().unwrap_or(line);
        if !line.iter().all(|byte| passes(*byte)) {
            return Err(FtpCommandError::Forbidden);
        }
        let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (verb, rest) = line.split_at(end);
        if verb.is_empty() || verb.len() > MAX_VERB || !verb.iter().all(u8::is_ascii_alphanumeric) {
            return Err(FtpCommandError::NoVerb);
        }
        let verb = String::from_utf8_lossy(verb).to_ascii_uppercase();
        // One space separates; all others belong to the argument: names may begin and end with spaces.
        FtpCommand::from_parts(verb, rest.get(1..).unwrap_or_default())
    }

    fn from_parts(verb: String, arg: &[u8]) -> Result<FtpCommand, FtpCommandError> {
        let some = || if arg.is_empty() { Err(FtpCommandError::Argument) } else { Ok(arg.to_vec()) };
        let optional = || (!arg.is_empty()).then(|| arg.to_vec());
        let text = arg.trim_ascii();
        let none = |command| if text.is_empty() { Ok(command) } else { Err(FtpCommandError::Argument) };
        Ok(match verb.as_str() {
            "USER" => FtpCommand::User(some()?),
            "PASS" => FtpCommand::Pass(Secret::new(arg.to_vec())), // an empty password is a password
            "ACCT" => FtpCommand::Acct(Secret::new(some()?)),
            "CWD" | "XCWD" => FtpCommand::Cwd(some()?),
            "CDUP" | "XCUP" => none(FtpCommand::Cdup)?,
            "SMNT" => FtpCommand::Smnt(some()?),
            "REIN" => none(FtpCommand::Rein)?,
            "QUIT" => none(FtpCommand::Quit)?,
            "PORT" => FtpCommand::Port(some()?),
            "PASV" => none(FtpCommand::Pasv)?,
            "EPRT" => FtpCommand::Eprt(some()?),
            "EPSV" => FtpCommand::Epsv(match text {
                b"" => Epsv::Same,
                _ if text.eq_ignore_ascii_case(b"ALL") => Epsv::All,
                _ => Epsv::Protocol(number(text).and_then(|n| u16::try_from(n).ok()).ok_or(FtpCommandError::Argument)?),
            }),
            "TYPE" => FtpCommand::Type(type_code(text)?),
            "STRU" => FtpCommand::Stru(letter(text)?),
            "MODE" => FtpCommand::Mode(letter(text)?),
            "RETR" => FtpCommand::Retr(some()?),
            "STOR" => FtpCommand::Stor(some()?),
            "STOU" => FtpCommand::Stou(optional()),
            "APPE" => FtpCommand::Appe(some()?),
            // `ALLO size R recordsize`: the second part concerns record structure, which nobody has.
            "ALLO" => {
                let size = text.split(|byte| *byte == b' ').next().unwrap_or_default();
                FtpCommand::Allo(number(size).ok_or(FtpCommandError::Argument)?)
            }
            "REST" => FtpCommand::Rest(number(text).ok_or(FtpCommandError::Argument)?),
            "RNFR" => FtpCommand::Rnfr(some()?),
            "RNTO" => FtpCommand::Rnto(some()?),
            "ABOR" => none(FtpCommand::Abor)?,
            "DELE" => FtpCommand::Dele(some()?),
            "RMD" | "XRMD" => FtpCommand::Rmd(some()?),
            "MKD" | "XMKD" => FtpCommand::Mkd(some()?),
            "PWD" | "XPWD" => none(FtpCommand::Pwd)?,
            "LIST" => FtpCommand::List(optional()),
            "NLST" => FtpCommand::Nlst(optional()),
            "SITE" => FtpCommand::Site(some()?),
            "SYST" => none(FtpCommand::Syst)?,
            "STAT" => FtpCommand::Stat(optional()),
            "HELP" => FtpCommand::Help(optional()),
            "NOOP" => FtpCommand::Noop,
            "AUTH" if text.is_empty() => return Err(FtpCommandError::Argument),
            "AUTH" => FtpCommand::Auth(String::from_utf8_lossy(text).to_ascii_uppercase()),
            "PBSZ" => FtpCommand::Pbsz(number(text).ok_or(FtpCommandError::Argument)?),
            "PROT" => FtpCommand::Prot(match letter(text)? {
                b'C' => Protection::Clear,
                b'S' => Protection::Safe,
                b'E' => Protection::Confidential,
                b'P' => Protection::Private,
                _ => return Err(FtpCommandError::Parameter),
            }),
            "CCC" => none(FtpCommand::Ccc)?,
            "FEAT" => none(FtpCommand::Feat)?,
            "OPTS" => FtpCommand::Opts(some()?),
            "MDTM" => FtpCommand::Mdtm(some()?),
            "SIZE" => FtpCommand::Size(some()?),
            "MLST" => FtpCommand::Mlst(optional()),
            "MLSD" => FtpCommand::Mlsd(optional()),
            "MFMT" => {
                let space = arg.iter().position(|byte| *byte == b' ').ok_or(FtpCommandError::Argument)?;
                let (time, path) = arg.split_at(space);
                let path = path.get(1..).filter(|path| !path.is_empty()).ok_or(FtpCommandError::Argument)?;
                FtpCommand::Mfmt { modified: parse_time(time).ok_or(FtpCommandError::Argument)?, path: path.to_vec() }
            }
            "LANG" => FtpCommand::Lang(optional()),
            "HOST" => FtpCommand::Host(some()?),
            "HASH" => FtpCommand::Hash(some()?),
            "RANG" => {
                let mut ends = text.splitn(2, |byte| *byte == b' ').map(number);
                match (ends.next().flatten(), ends.next().flatten()) {
                    (Some(start), Some(end)) => FtpCommand::Rang(start, end),
                    _ => return Err(FtpCommandError::Argument),
                }
            }
            _ => FtpCommand::Other(verb, optional()),
        })
    }

    /// The verb as it is sent.
    pub fn verb(&self) -> &str {
        self.parts().0
    }

    /// The bytes to send, CRLF included.
    ///
    /// # Errors
    /// `Usage` for CR, LF and NUL in an argument, an empty argument where one is required, and a line that is too long:
    /// a name from a user or from a listing must not become a second command.
    pub fn encode(&self) -> Result<Vec<u8>, Fault> {
        let (verb, argument) = self.parts();
        let mut line = verb.as_bytes().to_vec();
        if let Some(argument) = &argument {
            line.push(b' ');
            line.extend_from_slice(argument);
        }
        let refuse = |why: &str| Err(Fault::new(Kind::Usage, format!("{verb}: {why}")));
        if !line.iter().all(|byte| passes(*byte)) {
            return refuse("CR, LF or NUL in the argument");
        }
        if line.len() > MAX_COMMAND_LINE {
            return refuse("the command is too long");
        }
        if argument.is_some_and(|argument| argument.is_empty()) && !matches!(self, FtpCommand::Pass(_)) {
            return refuse("the argument is empty");
        }
        line.extend_from_slice(b"\r\n");
        Ok(line)
    }

    /// True for commands whose argument must not be displayed.
    pub fn is_secret(&self) -> bool {
        match self {
            FtpCommand::Pass(_) | FtpCommand::Acct(_) => true,
            // Raw, as the user wrote it.
            FtpCommand::Other(verb, argument) => match (verb.as_str(), argument.as_deref()) {
                ("PASS" | "ACCT", _) => true,
                // More than a name: perhaps a password after it.
                ("USER", Some(argument)) => argument.contains(&b' '),
                // Commands of servers that change a password.
                ("SITE", Some(argument)) => {
                    let word = argument.split(|byte| *byte == b' ').next().unwrap_or_default();
                    [&b"PSWD"[..], b"PASSWD", b"CPWD"].iter().any(|known| word.eq_ignore_ascii_case(known))
                }
                _ => false,
            },
            _ => false,
        }
    }

    fn parts(&self) -> (&str, Option<Cow<'_, [u8]>>) {
        fn some<'a>(verb: &'static str, argument: &'a [u8]) -> (&'a str, Option<Cow<'a, [u8]>>) {
            (verb, Some(Cow::Borrowed(argument)))
        }
        fn bytes<'a>(verb: &'static str, argument: &[u8]) -> (&'a str, Option<Cow<'a, [u8]>>) {
            (verb, Some(Cow::Owned(argument.to_vec())))
        }
        match self {
            FtpCommand::User(arg) => some("USER", arg),
            FtpCommand::Pass(arg) => some("PASS", arg.expose()),
            FtpCommand::Acct(arg) => some("ACCT", arg.expose()),
            FtpCommand::Cwd(arg) => some("CWD", arg),
            FtpCommand::Cdup => ("CDUP", None),
            FtpCommand::Smnt(arg) => some("SMNT", arg),
            FtpCommand::Rein => ("REIN", None),
            FtpCommand::Quit => ("QUIT", None),
            FtpCommand::Port(arg) => some("PORT", arg),
            FtpCommand::Pasv => ("PASV", None),
            FtpCommand::Eprt(arg) => some("EPRT", arg),
            FtpCommand::Epsv(Epsv::Same) => ("EPSV", None),
            FtpCommand::Epsv(Epsv::All) => bytes("EPSV", b"ALL"),
            FtpCommand::Epsv(Epsv::Protocol(protocol)) => bytes("EPSV", protocol.to_string().as_bytes()),
            FtpCommand::Type(TypeCode::Ascii) => bytes("TYPE", b"A"),
            FtpCommand::Type(TypeCode::Ebcdic) => bytes("TYPE", b"E"),
            FtpCommand::Type(TypeCode::Image) => bytes("TYPE", b"I"),
            FtpCommand::Type(TypeCode::Local(bits)) => bytes("TYPE", format!("L {bits}").as_bytes()),
            FtpCommand::Stru(code) => bytes("STRU", &[*code]),
            FtpCommand::Mode(code) => bytes("MODE", &[*code]),
            FtpCommand::Retr(arg) => some("RETR", arg),
            FtpCommand::Stor(arg) => some("STOR", arg),
            FtpCommand::Stou(arg) => ("STOU", arg.as_deref().map(Cow::Borrowed)),
            FtpCommand::Appe(arg) => some("APPE", arg),
            FtpCommand::Allo(size) => bytes("ALLO", size.to_string().as_bytes()),
            FtpCommand::Rest(offset) => bytes("REST", offset.to_string().as_bytes()),
            FtpCommand::Rnfr(arg) => some("RNFR", arg),
            FtpCommand::Rnto(arg) => some("RNTO", arg),
            FtpCommand::Abor => ("ABOR", None),
            FtpCommand::Dele(arg) => some("DELE", arg),
            FtpCommand::Rmd(arg) => some("RMD", arg),
            FtpCommand::Mkd(arg) => some("MKD", arg),
            FtpCommand::Pwd => ("PWD", None),
            FtpCommand::List(arg) => ("LIST", arg.as_deref().map(Cow::Borrowed)),
            FtpCommand::Nlst(arg) => ("NLST", arg.as_deref().map(Cow::Borrowed)),
            FtpCommand::Site(arg) => some("SITE", arg),
            FtpCommand::Syst => ("SYST", None),
            FtpCommand::Stat(arg) => ("STAT", arg.as_deref().map(Cow::Borrowed)),
            FtpCommand::Help(arg) => ("HELP", arg.as_deref().map(Cow::Borrowed)),
            FtpCommand::Noop => ("NOOP", None),
            FtpCommand::Auth(mechanism) => bytes("AUTH", mechanism.as_bytes()),
            FtpCommand::Pbsz(size) => bytes("PBSZ", size.to_string().as_bytes()),
            FtpCommand::Prot(level) => bytes(
                "PROT",
                match level {
                    Protection::Clear => b"C",
                    Protection::Safe => b"S",
                    Protection::Confidential => b"E",
                    Protection::Private => b"P",
                },
            ),
            FtpCommand::Ccc => ("CCC", None),
            FtpCommand::Feat => ("FEAT", None),
            FtpCommand::Opts(arg) => some("OPTS", arg),
            FtpCommand::Mdtm(arg) => some("MDTM", arg),
            FtpCommand::Size(arg) => some("SIZE", arg),
            FtpCommand::Mlst(arg) => ("MLST", arg.as_deref().map(Cow::Borrowed)),
            FtpCommand::Mlsd(arg) => ("MLSD", arg.as_deref().map(Cow::Borrowed)),
            FtpCommand::Mfmt { modified, path } => {
                let mut argument = format_time(*modified).into_bytes();
                argument.push(b' ');
                argument.extend_from_slice(path);
                ("MFMT", Some(Cow::Owned(argument)))
            }
            FtpCommand::Lang(arg) => ("LANG", arg.as_deref().map(Cow::Borrowed)),
            FtpCommand::Host(arg) => some("HOST", arg),
            FtpCommand::Hash(arg) => some("HASH", arg),
            FtpCommand::Rang(start, end) => bytes("RANG", format!("{start} {end}").as_bytes()),
            FtpCommand::Other(verb, arg) => (verb, arg.as_deref().map(Cow::Borrowed)),
        }
    }
}

/// The command line for display: lossy, secrets as `***`. It may contain text that the peer chose: escape it when printing.
impl fmt::Display for FtpCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, argument) = self.parts();
        f.write_str(verb)?;
        match argument {
            Some(_) if self.is_secret() => f.write_str(" ***"),
            Some(argument) => write!(f, " {}", String::from_utf8_lossy(&argument)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for FtpCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({:?})", self.to_string())
    }
}

/// Parses a time in the format of FTP: `YYYYMMDDHHMMSS[.fraction]`, UTC (RFC 3659, section 2.3). Second 60 is read as 59.
pub fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let (whole, fraction) = match text.iter().position(|byte| *byte == b'.') {
        Some(dot) => (text.get(..dot)?, text.get(dot + 1..).filter(|digits| !digits.is_empty())?),
        None => (text, &b"0"[..]),
    };
    if whole.len() != 14 || !whole.iter().chain(fraction).all(u8::is_ascii_digit) || fraction.len() > 9 {
        return None;
    }
    let part = |from: usize, to: usize| i16::try_from(number(whole.get(from..to)?)?).ok();
    let small = |from: usize| i8::try_from(part(from, from + 2)?).ok();
    let scale = 10_u64.pow(u32::try_from(9 - fraction.len()).ok()?);
    let nanoseconds = i32::try_from(number(fraction)? * scale).ok()?;
    let (year, second) = (part(0, 4)?, small(12)?);
    if second > 60 {
        return None;
    }
    let time = DateTime::new(year, small(4)?, small(6)?, small(8)?, small(10)?, second.min(59), nanoseconds).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// Formats a time for FTP (RFC 3659, section 2.3), in whole seconds.
pub fn format_time(time: Timestamp) -> String {
    let time = TimeZone::UTC.to_datetime(time);
    let (date, clock) = (time.date(), time.time());
    let (year, month, day) = (date.year().max(0), date.month(), date.day());
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", clock.hour(), clock.minute(), clock.second())
}

/// True for bytes that are allowed in a command.
fn passes(byte: u8) -> bool {
    !matches!(byte, b'\r' | b'\n' | 0)
}

/// A decimal number of at most 20 digits, without surrounding text.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A single letter, converted to upper case.
fn letter(text: &[u8]) -> Result<u8, FtpCommandError> {
    match text {
        [letter] if letter.is_ascii_alphabetic() => Ok(letter.to_ascii_uppercase()),
        _ => Err(FtpCommandError::Argument),
    }
}

fn type_code(text: &[u8]) -> Result<TypeCode, FtpCommandError> {
    match text.to_ascii_uppercase().as_slice() {
        b"A" | b"A N" => Ok(TypeCode::Ascii),
        b"E" | b"E N" => Ok(TypeCode::Ebcdic),
        b"I" => Ok(TypeCode::Image),
        // Some clients leave the blank out.
        [b'L', b' ', bits @ ..] | [b'L', bits @ ..] => {
            number(bits).and_then(|bits| u8::try_from(bits).ok()).map(TypeCode::Local).ok_or(FtpCommandError::Argument)
        }
        [b'A' | b'E', b' ', b'T' | b'C'] => Err(FtpCommandError::Parameter),
        _ => Err(FtpCommandError::Argument),
    }
}

#[cfg(test)]
mod tests;
