//! Commands between wire text and types, in both directions (RFC 5321, section 4.1.1, with the parameters of RFC 1870,
//! 6152, 6531, 3461, 4954, 3030 and the LHLO of RFC 2033).

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use crate::fault::{Enhanced, Fault, Kind};
use crate::hex;
use crate::smtp::address::{self, Address, MAX_ADDRESS};

mod liberal;

pub use liberal::CommandSyntax;

/// The longest command line without its CRLF. RFC 5321 asks for 512, the parameters of RFC 3461 and SMTPUTF8 add to it,
/// and AUTH responses (RFC 4954, section 4) go to 12,288.
pub const MAX_COMMAND_LINE: usize = 12_288;

/// The longest ENVID after decoding (RFC 3461, section 4.4).
pub const MAX_ENVID: usize = 100;

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
    Rcpt(RcptTo),
    /// `DATA`.
    Data,
    /// `BDAT size [LAST]`: so many bytes follow the line.
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
    /// `VRFY` with what to verify.
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
        /// The initial response as it stands on the wire.
        initial: Option<String>,
    },
}

/// `MAIL FROM` and its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailFrom {
    /// The reverse-path; empty for `<>`.
    pub sender: String,
    /// `SIZE` in bytes (RFC 1870).
    pub size: Option<u64>,
    /// `BODY` (RFC 6152).
    pub body: Option<Body>,
    /// `SMTPUTF8` (RFC 6531).
    pub smtputf8: bool,
    /// `RET` (RFC 3461).
    pub ret: Option<Ret>,
    /// `ENVID`, decoded (RFC 3461).
    pub envid: Option<String>,
    /// `AUTH`, decoded; empty for `<>` (RFC 4954, section 5).
    pub auth: Option<String>,
}

/// `RCPT TO` and its parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RcptTo {
    /// The forward-path: `local@domain`, or `postmaster` without a domain (RFC 5321, section 4.1.1.3).
    pub recipient: String,
    /// `NOTIFY` (RFC 3461).
    pub notify: Option<Notify>,
    /// `ORCPT`, decoded: `rfc822;bob@example.com` (RFC 3461).
    pub orcpt: Option<String>,
}

/// The `BODY` parameter (RFC 6152, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// `7BIT`
    SevenBit,
    /// `8BITMIME`
    EightBit,
}

/// The `RET` parameter: how much of the message a failure notice returns (RFC 3461, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ret {
    /// `FULL`: the whole message.
    Full,
    /// `HDRS`: its headers.
    Headers,
}

impl Ret {
    /// As on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ret::Full => "FULL",
            Ret::Headers => "HDRS",
        }
    }
}

impl std::str::FromStr for Ret {
    type Err = ();

    /// `FULL` or `HDRS`, in any case.
    fn from_str(text: &str) -> Result<Ret, ()> {
        match text.to_ascii_uppercase().as_str() {
            "FULL" => Ok(Ret::Full),
            "HDRS" => Ok(Ret::Headers),
            _ => Err(()),
        }
    }
}

/// The `NOTIFY` parameter: when the sender wants a notice (RFC 3461, section 4.1). All false is `NEVER`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notify {
    /// `SUCCESS`
    pub success: bool,
    /// `FAILURE`
    pub failure: bool,
    /// `DELAY`
    pub delay: bool,
}

impl Notify {
    /// `NEVER`
    pub const NEVER: Notify = Notify { success: false, failure: false, delay: false };
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Notify::NEVER {
            return f.write_str("NEVER");
        }
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let mut separator = "";
        for (_, word) in words.into_iter().filter(|(set, _)| *set) {
            write!(f, "{separator}{word}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl std::str::FromStr for Notify {
    type Err = ();

    /// `NEVER`, or a list of `SUCCESS`, `FAILURE` and `DELAY`, in any case.
    fn from_str(text: &str) -> Result<Notify, ()> {
        if text.eq_ignore_ascii_case("NEVER") {
            return Ok(Notify::NEVER);
        }
        let mut notify = Notify::NEVER;
        for word in text.split(',') {
            match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => notify.success = true,
                "FAILURE" => notify.failure = true,
                "DELAY" => notify.delay = true,
                _ => return Err(()),
            }
        }
        Ok(notify)
    }
}

/// Why a command line is refused, as the reply that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpCommandError {
    /// The reply code.
    pub code: u16,
    /// The enhanced status code.
    pub enhanced: Enhanced,
    /// What is wrong, for a person.
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
    /// Why the line is no such command.
    pub fn parse(line: &[u8]) -> Result<SmtpCommand, SmtpCommandError> {
        SmtpCommand::parse_as(line, &CommandSyntax::Strict)
    }

    /// As [`SmtpCommand::parse`], as strictly as is asked for.
    ///
    /// # Errors
    /// Why the line is no such command.
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
            return Err(Fault::new(Kind::BadData, format!("{name:?} is no name to introduce ourselves by")));
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
            SmtpCommand::Rcpt(rcpt) => rcpt.fmt(f),
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
            write!(f, " ENVID={}", xtext(envid))?;
        }
        match self.auth.as_deref() {
            Some("") => f.write_str(" AUTH=<>"),
            Some(auth) => write!(f, " AUTH={}", xtext(auth)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for RcptTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RCPT TO:<{}>", self.recipient)?;
        if let Some(notify) = self.notify {
            write!(f, " NOTIFY={notify}")?;
        }
        if let Some(orcpt) = &self.orcpt {
            let (kind, original) = orcpt.split_once(';').unwrap_or(("rfc822", orcpt));
            write!(f, " ORCPT={kind};{}", xtext(original))?;
        }
        Ok(())
    }
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
            ("ENVID", Some(value)) => {
                set(&mut mail.envid, from_xtext(value).filter(|id| !id.is_empty() && id.len() <= MAX_ENVID))?;
            }
            ("AUTH", Some("<>")) => set(&mut mail.auth, Some(String::new()))?,
            ("AUTH", Some(value)) => set(&mut mail.auth, from_xtext(value).filter(|id| id.len() <= MAX_ADDRESS))?,
            ("SIZE" | "BODY" | "SMTPUTF8" | "RET" | "ENVID" | "AUTH", _) => return Err(BAD_PARAMETER),
            _ => return Err(UNKNOWN_PARAMETER),
        }
    }
    if !path.is_empty() {
        mail.sender = checked(&path, mail.smtputf8, SmtpCommandError::new(553, 1, 7, "malformed sender address"))?;
    }
    Ok(mail)
}

fn rcpt(rest: &str, syntax: &CommandSyntax) -> Result<RcptTo, SmtpCommandError> {
    let (path, parameters) =
        path(rest, "TO:", syntax).ok_or(SmtpCommandError::new(501, 5, 2, "syntax: RCPT TO:<address>"))?;
    let mut rcpt = RcptTo::default();
    for (name, value) in split_parameters(parameters)? {
        match (name.as_str(), value) {
            ("NOTIFY", Some(value)) => set(&mut rcpt.notify, value.parse().ok())?,
            ("ORCPT", Some(value)) => set(&mut rcpt.orcpt, original_recipient(value))?,
            ("NOTIFY" | "ORCPT", None) => return Err(BAD_PARAMETER),
            _ => return Err(UNKNOWN_PARAMETER),
        }
    }
    rcpt.recipient = if path.eq_ignore_ascii_case("postmaster") {
        path.into_owned()
    } else {
        // Whether SMTPUTF8 was asked for is known to the session, which checks it again.
        checked(&path, true, SmtpCommandError::new(553, 1, 3, "malformed recipient address"))?
    };
    Ok(rcpt)
}

fn checked(path: &str, utf8: bool, malformed: SmtpCommandError) -> Result<String, SmtpCommandError> {
    match Address::parse(path, utf8) {
        Ok(address) => Ok(address.as_str().to_owned()),
        Err(address::AddressError::NeedsUtf8) => {
            Err(SmtpCommandError::new(553, 6, 7, "address outside ASCII without SMTPUTF8"))
        }
        Err(_) => Err(malformed),
    }
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

/// One parameter: its name in upper case, its value.
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

/// At most 20 digits (RFC 1870, section 3); what does not fit 64 bits is too big for anybody and is kept as the maximum.
fn number(text: &str) -> Option<u64> {
    (matches!(text.len(), 1..=20) && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().unwrap_or(u64::MAX))
}

fn original_recipient(value: &str) -> Option<String> {
    let (kind, original) = value.split_once(';')?;
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if kind.is_empty() || kind.len() > 32 || !kind.bytes().all(atom) {
        return None;
    }
    let original = from_xtext(original).filter(|text| !text.is_empty() && text.len() <= MAX_ADDRESS)?;
    Some(format!("{kind};{original}"))
}

/// Encodes as `xtext` (RFC 3461, section 4): everything outside `!`..`~`, `+` and `=` becomes `+XX`.
pub fn xtext(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'+' && byte != b'=' => encoded.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(encoded, "+{byte:02X}");
            }
        }
    }
    encoded
}

/// Decodes `xtext`. `None` for what is malformed or hides a control character or bytes that are no UTF-8.
pub fn from_xtext(text: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => {
                let pair = [bytes.next()?, bytes.next()?];
                hex::byte(&pair).filter(|_| !pair.iter().any(u8::is_ascii_lowercase))?
            }
            b'=' => return None,
            _ => byte,
        });
    }
    let plain = String::from_utf8(plain).ok()?;
    (!plain.chars().any(char::is_control)).then_some(plain)
}

#[cfg(test)]
mod tests;
