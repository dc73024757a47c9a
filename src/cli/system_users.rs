//! Users of the system who log in with their own passwords: shadow(5), shells(5) and the list of ftpusers(5).

use std::path::Path;

use crate::cli::input;
use crate::cli::users::Users;
use crate::fault::{Fault, Kind};
use crate::net::login::LoginVerdict;
use crate::net::privilege::{UnixAccount, UnixIdentity};

/// The largest of these files, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;
const SHADOW: &str = "/etc/shadow";
const SHELLS: &str = "/etc/shells";
/// The users whom no FTP server lets in.
const REFUSED: &str = "/etc/ftpusers";
const ACCOUNT_EXPIRED: &str = "the account has expired";
const PASSWORD_EXPIRED: &str = "the password has expired";
const REFUSED_USER: &str = "the user is in /etc/ftpusers";
const NO_SHELL: &str = "the user's shell is not in /etc/shells";
/// The reasons why a user with the right password is not let in.
pub const REASONS: [&str; 4] = [ACCOUNT_EXPIRED, PASSWORD_EXPIRED, REFUSED_USER, NO_SHELL];
const SECONDS_A_DAY: i64 = 86_400;
/// The shells of a system without a list (getusershell(3)), and that of a user without one.
const DEFAULT_SHELLS: &str = "/bin/sh\n/bin/csh\n";

/// A line of shadow(5). Times are in days; an absent one means "never".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowLine<'a> {
    /// The user's name.
    pub name: &'a str,
    /// The password hash; anything else locks the password.
    pub hash: &'a str,
    /// The day of the last change of the password, since 1970; 0: it has to be changed first.
    changed: Option<i64>,
    /// The longest age of the password.
    max_age: Option<i64>,
    /// The day from which the account is closed, since 1970.
    expires: Option<i64>,
}

impl<'a> ShadowLine<'a> {
    /// Parses a line; `None` if it is none. A number that is none is as a past day: it closes the account.
    pub fn parse(line: &'a str) -> Option<ShadowLine<'a>> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, hash, changed, _, max_age, _, _, expires, _] = fields[..] else { return None };
        let days = |field: &str| match field {
            "" | "-1" => None,
            field => Some(field.parse().unwrap_or(0)),
        };
        let (changed, max_age, expires) = (days(changed), days(max_age), days(expires));
        (!name.is_empty()).then_some(ShadowLine { name, hash, changed, max_age, expires })
    }

    /// The reason why the user is not let in on this day.
    fn barred(&self, today: i64) -> Option<&'static str> {
        let old = |changed: i64| self.max_age.is_some_and(|most| today.saturating_sub(changed) > most);
        if self.expires.is_some_and(|day| today >= day) {
            Some(ACCOUNT_EXPIRED)
        } else if self.changed.is_some_and(|changed| changed == 0 || old(changed)) {
            Some(PASSWORD_EXPIRED)
        } else {
            None
        }
    }
}

/// True if a file has this line; `#` starts a comment.
fn lists(text: &str, wanted: &str) -> bool {
    text.lines().any(|line| line.split('#').next().unwrap_or_default().trim() == wanted)
}

/// The text of a file; `None` if it does not exist.
fn text(path: &str) -> Result<Option<String>, Fault> {
    match input::read_regular(Path::new(path), MAX_FILE) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(fault) if fault.kind == Kind::NoInput => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Checks that the system has password hashes, and that this process reads them.
///
/// # Errors
/// [`Kind::Config`] if not.
pub fn check_files() -> Result<(), Fault> {
    match text(SHADOW) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => {
            Err(Fault::new(Kind::Config, format!("{SHADOW}: not there: users of the system have no passwords")))
        }
        Err(fault) => Err(Fault { kind: Kind::Config, ..fault }),
    }
}

/// Checks the password of a user of the system whose number is at least `min_uid`; `now` in seconds since 1970. Others, and root,
/// are as unknown: nobody finds out their passwords here. An unknown name costs the time of a wrong password.
///
/// # Errors
/// A file or the system's database cannot be read.
pub fn check(name: &str, password: &str, min_uid: u32, now: i64) -> Result<LoginVerdict<UnixAccount>, Fault> {
    let account = UnixIdentity::account(name)?.filter(|account| account.identity.is_at_least(min_uid));
    let shadow = text(SHADOW)?.unwrap_or_default();
    let lines: Vec<ShadowLine<'_>> = shadow.lines().filter_map(ShadowLine::parse).collect();
    let line = lines.iter().find(|line| line.name == name).filter(|_| account.is_some());
    let right = Users::of_hashes(lines.iter().map(|line| (line.name, line.hash)))
        .verify(line.map_or("", |line| line.name), password)
        .is_some();
    let (Some(account), Some(line), true) = (account, line, right) else { return Ok(LoginVerdict::Wrong) };
    let shell = Some(&account.shell).filter(|shell| !shell.as_os_str().is_empty());
    let shell = shell.map_or("/bin/sh".into(), |shell| shell.to_string_lossy());
    Ok(if let Some(why) = line.barred(now.div_euclid(SECONDS_A_DAY)) {
        LoginVerdict::Barred(why)
    } else if lists(&text(REFUSED)?.unwrap_or_default(), name) {
        LoginVerdict::Barred(REFUSED_USER)
    } else if !lists(text(SHELLS)?.as_deref().unwrap_or(DEFAULT_SHELLS), &shell) {
        LoginVerdict::Barred(NO_SHELL)
    } else {
        LoginVerdict::Right(account)
    })
}

/// The request for a check: the length of the name, the name, the password. `None` for a name that is too long for any user.
pub fn compose_login(name: &str, password: &str) -> Option<Vec<u8>> {
    let length = u8::try_from(name.len()).ok()?;
    Some([&[length], name.as_bytes(), password.as_bytes()].concat())
}

/// Decodes such a request.
pub fn parse_login(request: &[u8]) -> Option<(&str, &str)> {
    let (length, rest) = request.split_first()?;
    let (name, password) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(password).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_they_were_written() {
        for (name, password) in [("joe", "secret"), ("", ""), ("j\u{f6}rg", "\0"), (&*"x".repeat(255), "")] {
            assert_eq!(parse_login(&compose_login(name, password).unwrap()), Some((name, password)));
        }
        assert_eq!(compose_login(&"x".repeat(256), ""), None);
        for bytes in [&b""[..], b"\x05joe", b"\x01\xff", b"\x01\xc3\xb6", b"\x00\xff"] {
            assert_eq!(parse_login(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn lines_of_shadow_say_who_is_let_in() {
        let barred =
            |fields: &str| ShadowLine::parse(&format!("joe:$6$salt$hash:{fields}")).map(|it| it.barred(20_000));
        let (account, password) = (Some(Some(ACCOUNT_EXPIRED)), Some(Some(PASSWORD_EXPIRED)));
        for (fields, expected) in [
            ("19000:0:99999:7:::", Some(None)),
            ("::::::", Some(None)),
            ("19000:0:::::", Some(None)),
            ("19000:0:-1:7:-1:-1:", Some(None)),
            ("19000:0:1000:7:::", Some(None)),
            ("19000:0:999:7:::", password),
            ("21000:0:999:7:::", Some(None)),
            ("0:0:99999:7:::", password),
            ("19000:0:99999:7::20001:", Some(None)),
            ("19000:0:99999:7::20000:", account),
            ("19000:0:99999:7::0:", account),
            ("19000:0:99999:7::soon:", account),
            ("19000:0:99999999999999999999:7:::", password),
            ("19000:0:99999:7::", None),
            ("19000:0:99999:7::::", None),
        ] {
            assert_eq!(barred(fields), expected, "{fields}");
        }
        assert_eq!(ShadowLine::parse(":x:::::::"), None);
    }

    #[test]
    fn lists_hold_whole_lines() {
        let text = "# none\n/bin/sh\n  root  # never\n";
        for (wanted, there) in [("/bin/sh", true), ("root", true), ("none", false), ("/bin/s", false), ("never", false)]
        {
            assert_eq!(lists(text, wanted), there, "{wanted}");
        }
    }
}
