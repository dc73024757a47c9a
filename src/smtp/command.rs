//! Commands between wire text and types, in both directions (RFC 5321, section 4.1.1, with the parameters of RFC 1870,
//! 6152, 6531, 3461, 4954, 3030 and the LHLO of RFC 2033).

use std::borrow::Cow;
use std::fmt;

use crate::fault::{Enhanced, Fault, Kind};
use crate::smtp::address::{self, Address, AddressError, MAX_ADDRESS, ReversePath};
use crate::smtp::envelope::{Envid, Orcpt, Recipient, Ret};
use crate::smtp::xtext;

mod liberal;

pub use liberal::CommandSyntax;

/// The longest command line without its CRLF. RFC 5321 asks for 512, the parameters of RFC 3461 and SMTPUTF8 add to it,
/// and AUTH responses (RFC 4954, section 4) go to 12,288.
pub const MAX_COMMAND_LINE: usize = 12_288;

/// The most ESMTP parameters in one MAIL or RCPT.
pub const MAX_PARAMETERS: usize = 16;

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SmtpCommand {
    /// `EHLO` with the client's name.
    Ehlo(String),
    /// `HELO` with the client's name.
    Helo(String),
    /// `LHLO` with the client's name (LMTP).
    Lhlo(String),
    /// `MAIL FROM`.
    Mail(MailFrom),
    /// `RCPT TO`.
    Rcpt(Recipient),
    /// `DATA`.
    Data,
    /// `BDAT size [LAST]`: `size` bytes of the message follow the command line.
    Bdat {
        /// The chunk's length in bytes.
        size: u64,
        /// True for the message's last chunk.
        last: bool,
    },
    /// `RSET`.
    Rset,
    /// `NOOP`.
    Noop,
    /// `VRFY` with the string to verify.
    Vrfy(String),
    /// `EXPN` with the list's name.
    Expn(String),
    /// `HELP`, perhaps with a topic.
    Help(Option<String>),
    /// `QUIT`.
    Quit,
    /// `STARTTLS`.
    StartTls,
    /// `AUTH` with its mechanism and the initial response, still in base64 (`=` is the empty one).
    Auth {
        /// The SASL mechanism in upper case.
        mechanism: String,
        /// The initial response as sent on the wire.
        initial: Option<String>,
    },
}

/// `MAIL FROM` and its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailFrom {
    /// The reverse-path.
    pub sender: ReversePath,
    /// `SIZE` in bytes (RFC 1870).
    pub size: Option<u64>,
    /// `BODY` (RFC 6152).
    pub body: Option<Body>,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `RET` (RFC 3461).
    pub ret: Option<Ret>,
    /// `ENVID` (RFC 3461).
    pub envid: Option<Envid>,
    /// `AUTH`, decoded; empty for `<>` (RFC 4954, section 5).
    pub auth: Option<String>,
}

/// The `BODY` parameter (RFC 6152, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBit,
}

/// The reason for the refusal of a command line, as a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpCommandError {
    /// The reply code.
    pub code: u16,
    /// The enhanced status code.
    pub enhanced: Enhanced,
    /// The error text, for a person.
    pub text: &'static str,
}

impl SmtpCommandError {
    const fn new(code: u16, subject: u16, detail: u16, text: &'static str) -> SmtpCommandError {
        SmtpCommandError { code, enhanced: Enhanced::new(5, subject, detail), text }
    }

    /// 501 5.5.4: the arguments are malformed.
    const fn arguments(text: &'static str) -> SmtpCommandError {
        SmtpCommandError::new(501, 5, 4, text)
    }
}

const UNKNOWN: SmtpCommandError = SmtpCommandError::new(500, 5, 1, "command not recognised");
const NO_ARGUMENTS: SmtpCommandError = SmtpCommandError::arguments("no arguments allowed");
const BAD_PARAMETER: SmtpCommandError = SmtpCommandError::arguments("malformed parameter");
const TWICE: SmtpCommandError = SmtpCommandError::arguments("parameter given twice");
const UNKNOWN_PARAMETER: SmtpCommandError = SmtpCommandError::new(555, 5, 4, "parameter not recognised");

impl SmtpCommand {
    /// Parses one command line without its CRLF, strictly. Verbs, mechanisms and parameter names may be in any case.
    ///
    /// # Errors
    /// The reply that refuses the line.
    pub fn parse(line: &[u8]) -> Result<SmtpCommand, SmtpCommandError> {
        SmtpCommand::parse_as(line, &CommandSyntax::Strict)
    }

    /// Parses one command line like [`SmtpCommand::parse`], but as strictly as `syntax` says.
    ///
    /// # Errors
    /// The reply that refuses the line.
    pub fn parse_as(line: &[u8], syntax: &CommandSyntax) -> Result<SmtpCommand, SmtpCommandError> {
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(SmtpCommandError::new(500, 5, 2, "control character in a command"));
        }
        let Ok(line) = std::str::from_utf8(line) else {
            return Err(SmtpCommandError::new(500, 5, 2, "command is not UTF-8"));
        };
        let line = line.trim_end_matches([' ', '\t']);
        let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let rest = rest.trim_start_matches([' ', '\t']);
        let bare = |command| if rest.is_empty() { Ok(command) } else { Err(NO_ARGUMENTS) };
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => hello(rest, syntax).map(SmtpCommand::Ehlo),
            "HELO" => hello(rest, syntax).map(SmtpCommand::Helo),
            "LHLO" => hello(rest, syntax).map(SmtpCommand::Lhlo),
            "MAIL" => mail(rest, syntax).map(SmtpCommand::Mail),
            "RCPT" => rcpt(rest, syntax).map(SmtpCommand::Rcpt),
            "DATA" => bare(SmtpCommand::Data),
            "BDAT" => bdat(rest),
            "RSET" => bare(SmtpCommand::Rset),
            "NOOP" => Ok(SmtpCommand::Noop),
            "VRFY" if !rest.is_empty() => Ok(SmtpCommand::Vrfy(rest.to_owned())),
            "EXPN" if !rest.is_empty() => Ok(SmtpCommand::Expn(rest.to_owned())),
            "VRFY" | "EXPN" => Err(SmtpCommandError::arguments("argument missing")),
            "HELP" => Ok(SmtpCommand::Help((!rest.is_empty()).then(|| rest.to_owned()))),
            "QUIT" => bare(SmtpCommand::Quit),
            "STARTTLS" => bare(SmtpCommand::StartTls),
            "AUTH" => auth(rest),
            _ => Err(UNKNOWN),
        }
    }

    /// Appends the command line with its CRLF. Refuses CR, LF, NUL and every other control character in any argument, so
    /// that no value can smuggle a command.
    ///
    /// # Errors
    /// [`Kind::BadData`]; then `out` is unchanged.
    pub fn wire(&self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let line = self.to_string();
        if line.bytes().any(|byte| byte.is_ascii_control()) {
            let verb = line.split(' ').next().unwrap_or_default();
            let verb: String = verb.chars().filter(char::is_ascii_alphabetic).collect();
            return Err(Fault::new(Kind::BadData, format!("control character in an argument of {verb}")));
        }
        if let SmtpCommand::Ehlo(name) | SmtpCommand::Helo(name) | SmtpCommand::Lhlo(name) = self
            && (name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(Fault::new(Kind::BadData, format!("{name:?} is not a valid EHLO name")));
        }
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

impl fmt::Display for SmtpCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SmtpCommand::Ehlo(name) => write!(f, "EHLO {name}"),
            SmtpCommand::Helo(name) => write!(f, "HELO {name}"),
            SmtpCommand::Lhlo(name) => write!(f, "LHLO {name}"),
            SmtpCommand::Mail(mail) => mail.fmt(f),
            SmtpCommand::Rcpt(recipient) => rcpt_line(recipient, f),
            SmtpCommand::Data => f.write_str("DATA"),
            SmtpCommand::Bdat { size, last } => write!(f, "BDAT {size}{}", if *last { " LAST" } else { "" }),
            SmtpCommand::Rset => f.write_str("RSET"),
            SmtpCommand::Noop => f.write_str("NOOP"),
            SmtpCommand::Vrfy(what) => write!(f, "VRFY {what}"),
            SmtpCommand::Expn(what) => write!(f, "EXPN {what}"),
            SmtpCommand::Help(None) => f.write_str("HELP"),
            SmtpCommand::Help(Some(topic)) => write!(f, "HELP {topic}"),
            SmtpCommand::Quit => f.write_str("QUIT"),
            SmtpCommand::StartTls => f.write_str("STARTTLS"),
            SmtpCommand::Auth { mechanism, initial: None } => write!(f, "AUTH {mechanism}"),
            SmtpCommand::Auth { mechanism, initial: Some(initial) } => write!(f, "AUTH {mechanism} {initial}"),
        }
    }
}

impl fmt::Display for MailFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MAIL FROM:<{}>", self.sender)?;
        if let Some(size) = self.size {
            write!(f, " SIZE={size}")?;
        }
        match self.body {
            Some(Body::SevenBit) => f.write_str(" BODY=7BIT")?,
            Some(Body::EightBit) => f.write_str(" BODY=8BITMIME")?,
            None => {}
        }
        if self.smtputf8 {
            f.write_str(" SMTPUTF8")?;
        }
        if let Some(ret) = self.ret {
            write!(f, " RET={}", ret.as_str())?;
        }
        if let Some(envid) = &self.envid {
            write!(f, " ENVID={}", xtext::encode(envid.as_str()))?;
        }
        match self.auth.as_deref() {
            Some("") => f.write_str(" AUTH=<>"),
            Some(auth) => write!(f, " AUTH={}", xtext::encode(auth)),
            None => Ok(()),
        }
    }
}

fn rcpt_line(recipient: &Recipient, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "RCPT TO:<{}>", recipient.address)?;
    if let Some(notify) = recipient.notify {
        write!(f, " NOTIFY={notify}")?;
    }
    if let Some(orcpt) = &recipient.orcpt {
        write!(f, " ORCPT={};{}", orcpt.address_type(), xtext::encode(orcpt.address()))?;
    }
    Ok(())
}

fn hello(rest: &str, syntax: &CommandSyntax) -> Result<String, SmtpCommandError> {
    if rest.is_empty() {
        return Err(SmtpCommandError::arguments("your name is missing"));
    }
    match syntax {
        CommandSyntax::Strict if rest.is_ascii() && address::check_domain(rest).is_ok() => Ok(rest.to_owned()),
        CommandSyntax::Strict => Err(SmtpCommandError::arguments("malformed name")),
        CommandSyntax::Liberal { .. } => Ok(liberal::client_name(rest)),
    }
}

fn bdat(rest: &str) -> Result<SmtpCommand, SmtpCommandError> {
    let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
    let size = words.next().and_then(number).ok_or(SmtpCommandError::arguments("malformed chunk size"))?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("LAST") => true,
        Some(_) => return Err(SmtpCommandError::arguments("LAST or nothing may follow the chunk size")),
    };
    if words.next().is_some() {
        return Err(SmtpCommandError::arguments("too many arguments"));
    }
    Ok(SmtpCommand::Bdat { size, last })
}

fn auth(rest: &str) -> Result<SmtpCommand, SmtpCommandError> {
    let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
    let mechanism = words.next().ok_or(SmtpCommandError::arguments("mechanism missing"))?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if mechanism.len() > 20 || !mechanism.bytes().all(allowed) {
        return Err(SmtpCommandError::arguments("malformed mechanism"));
    }
    let initial = words.next().map(str::to_owned);
    if words.next().is_some() {
        return Err(SmtpCommandError::arguments("too many arguments"));
    }
    Ok(SmtpCommand::Auth { mechanism: mechanism.to_ascii_uppercase(), initial })
}

fn mail(rest: &str, syntax: &CommandSyntax) -> Result<MailFrom, SmtpCommandError> {
    let (path, parameters) =
        path(rest, "FROM:", syntax).ok_or(SmtpCommandError::new(501, 5, 2, "syntax: MAIL FROM:<address>"))?;
    let mut mail = MailFrom::default();
    for parameter in split_parameters(parameters)? {
        let (name, value) = parameter;
        match (name.as_str(), value) {
            ("SIZE", Some(value)) => set(&mut mail.size, number(value))?,
            ("BODY", Some(value)) => {
                let body = match value.to_ascii_uppercase().as_str() {
                    "7BIT" => Some(Body::SevenBit),
                    "8BITMIME" => Some(Body::EightBit),
                    _ => None,
                };
                set(&mut mail.body, body)?;
            }
            ("SMTPUTF8", None) if mail.smtputf8 => return Err(TWICE),
            ("SMTPUTF8", None) => mail.smtputf8 = true,
            ("RET", Some(value)) => set(&mut mail.ret, value.parse().ok())?,
            ("ENVID", Some(value)) => set(&mut mail.envid, Envid::from_wire(value))?,
            ("AUTH", Some("<>")) => set(&mut mail.auth, Some(String::new()))?,
            ("AUTH", Some(value)) => set(&mut mail.auth, xtext::decode(value).filter(|id| id.len() <= MAX_ADDRESS))?,
            ("SIZE" | "BODY" | "SMTPUTF8" | "RET" | "ENVID" | "AUTH", _) => return Err(BAD_PARAMETER),
            _ => return Err(UNKNOWN_PARAMETER),
        }
    }
    if !path.is_empty() {
        let malformed = SmtpCommandError::new(553, 1, 7, "malformed sender address");
        mail.sender = checked(&path, mail.smtputf8, malformed)?.into();
    }
    Ok(mail)
}

fn rcpt(rest: &str, syntax: &CommandSyntax) -> Result<Recipient, SmtpCommandError> {
    let (path, parameters) =
        path(rest, "TO:", syntax).ok_or(SmtpCommandError::new(501, 5, 2, "syntax: RCPT TO:<address>"))?;
    let (mut notify, mut orcpt) = (None, None);
    for (name, value) in split_parameters(parameters)? {
        match (name.as_str(), value) {
            ("NOTIFY", Some(value)) => set(&mut notify, value.parse().ok())?,
            ("ORCPT", Some(value)) => set(&mut orcpt, Orcpt::from_wire(value))?,
            ("NOTIFY" | "ORCPT", None) => return Err(BAD_PARAMETER),
            _ => return Err(UNKNOWN_PARAMETER),
        }
    }
    let malformed = SmtpCommandError::new(553, 1, 3, "malformed recipient address");
    let address = match path.eq_ignore_ascii_case("postmaster") {
        true => Address::parse_lenient(&path).map_err(|_| malformed)?,
        // Whether SMTPUTF8 was asked for is known to the session, which checks it again.
        false => checked(&path, true, malformed)?,
    };
    Ok(Recipient { address, notify, orcpt })
}

fn checked(path: &str, utf8: bool, malformed: SmtpCommandError) -> Result<Address, SmtpCommandError> {
    Address::parse(path, utf8).map_err(|error| match error {
        AddressError::NeedsUtf8 => SmtpCommandError::new(553, 6, 7, "address outside ASCII without SMTPUTF8"),
        _ => malformed,
    })
}

/// Splits `FROM:<path> parameters` at the bracket that ends the path; a source route before the address is dropped (RFC
/// 5321, section 4.1.1.3 and appendix C).
fn path<'a>(rest: &'a str, keyword: &str, syntax: &CommandSyntax) -> Option<(Cow<'a, str>, &'a str)> {
    let (head, tail) = rest.split_at_checked(keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    if let CommandSyntax::Liberal { origin } = syntax {
        return liberal::path(tail, origin).map(|(path, parameters)| (Cow::Owned(path), parameters));
    }
    let inner = tail.trim_start_matches([' ', '\t']).strip_prefix('<')?;
    let (mut quoted, mut escaped, mut end) = (false, false, None);
    for (index, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => {
                end = Some(index);
                break;
            }
            _ => {}
        }
    }
    let (path, parameters) = (inner.get(..end?)?, inner.get(end? + 1..)?);
    let path = match path.strip_prefix('@') {
        Some(route) => route.split_once(':')?.1,
        None => path,
    };
    (parameters.is_empty() || parameters.starts_with([' ', '\t'])).then_some((Cow::Borrowed(path), parameters))
}

/// One parameter: its name in upper case and its value.
type Parameter<'a> = (String, Option<&'a str>);

fn split_parameters(text: &str) -> Result<Vec<Parameter<'_>>, SmtpCommandError> {
    let mut parameters = Vec::new();
    for word in text.split([' ', '\t']).filter(|word| !word.is_empty()) {
        if parameters.len() == MAX_PARAMETERS {
            return Err(SmtpCommandError::arguments("too many parameters"));
        }
        parameters.push(match word.split_once('=') {
            Some((name, value)) => (name.to_ascii_uppercase(), Some(value)),
            None => (word.to_ascii_uppercase(), None),
        });
    }
    Ok(parameters)
}

fn set<T>(slot: &mut Option<T>, value: Option<T>) -> Result<(), SmtpCommandError> {
    if slot.is_some() {
        return Err(TWICE);
    }
    *slot = Some(value.ok_or(BAD_PARAMETER)?);
    Ok(())
}

/// Parses at most 20 digits (RFC 1870, section 3). A value that does not fit 64 bits exceeds every limit: it becomes the maximum.
fn number(text: &str) -> Option<u64> {
    (matches!(text.len(), 1..=20) && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
