//! `~/.netrc`: logins by host name, as ftp(1) and curl read it.

use std::path::{Path, PathBuf};

use crate::cli::input;
use crate::cli::output::Output;
use crate::cli::secret;
use crate::fault::{Fault, Kind};
use crate::net::login::Login;
use crate::scope::same_host;
use crate::secret::{Secret, without_url_password};

/// The largest netrc file, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The login for `host` (and for `user`, if one is given) from `explicit`, `$NETRC` or `~/.netrc`. Only `~/.netrc` may be
/// absent.
///
/// # Errors
///
/// `Config` if the file is too large or malformed; its I/O fault if it cannot be read.
pub fn lookup(out: &Output, explicit: Option<&Path>, host: &str, user: Option<&str>) -> Result<Option<Login>, Fault> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named = explicit.map(Path::to_path_buf).or_else(|| variable("NETRC"));
    let Some(path) = named.clone().or_else(|| variable("HOME").map(|home| home.join(".netrc"))) else {
        return Ok(None);
    };
    let shown = path.to_string_lossy();
    let shown = without_url_password(&shown);
    let failed = |error: std::io::Error| Fault::local(&shown, &error);
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) => metadata,
        // HOME may be a path that is not a directory.
        Err(error) if Fault::local("", &error).kind == Kind::NoInput && named.is_none() => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let bytes = input::read(&path, MAX_FILE).map_err(|fault| match fault.kind {
        Kind::BadData => Fault::new(Kind::Config, format!("{shown}: too large for a netrc file")),
        _ => fault,
    })?;
    let mut odd = None;
    // Bytes that are not UTF-8 matter only in the requested entry.
    let found = find(&String::from_utf8_lossy(&bytes), host, user, &mut odd)
        .map_err(|why| Fault::new(Kind::Config, format!("{shown}: {why}")))?;
    if found.is_some() {
        secret::look_at(out, &path, &metadata)?;
    }
    if let Some(line) = odd {
        // Not the word: it may be a part of a password.
        out.warn(&format!("{shown}: line {line}: unknown words are ignored"));
    }
    Ok(found)
}

/// The first matching entry in the order of the file, as in ftp(1) and curl(1). `default` matches every host, so entries
/// below it are never reached. With a `user`, only entries of that user or without a login match. Faults in other entries are
/// ignored. `odd` receives the number of the first line with an unknown word.
fn find(text: &str, host: &str, user: Option<&str>, odd: &mut Option<usize>) -> Result<Option<Login>, String> {
    let mut words = NetrcWords { text, rest: text.strip_prefix('\u{feff}').unwrap_or(text) };
    let mut current: Option<NetrcEntry> = None;
    let mut best: Option<Result<Login, String>> = None;
    let mut settle = |entry: Option<NetrcEntry>| {
        let Some(entry) = entry.filter(|entry| entry.matches) else { return };
        let login = entry.user.as_deref().or(user).filter(|login| user.is_none_or(|user| user == *login));
        if let (Some(login), None, None) = (login, &entry.wrong, &best) {
            let Some(password) = entry.password else { return };
            let readable = !login.contains(UNREADABLE) && !password.expose().contains(UNREADABLE);
            let found = Login { user: login.to_owned(), password, account: entry.account };
            best = Some(if readable { Ok(found) } else { Err("the login of this host is not UTF-8".to_owned()) });
        } else if let (Some(why), None) = (entry.wrong, &best) {
            best = Some(Err(why));
        }
    };
    while let Some(word) = words.keyword() {
        let line = words.line();
        let mut wrong = None;
        let mut value = || words.value().map_err(|why| wrong = Some(format!("line {line}: {why}"))).unwrap_or_default();
        match (word, &mut current) {
            ("machine", _) => {
                let matches = same_host(&value(), host);
                settle(current.replace(NetrcEntry { matches, ..NetrcEntry::default() }));
            }
            ("default", _) => settle(current.replace(NetrcEntry { matches: true, ..NetrcEntry::default() })),
            ("login" | "user", Some(entry)) => entry.user = Some(value()),
            ("password" | "passwd", Some(entry)) => entry.password = Some(Secret::new(value())),
            ("account", Some(entry)) => entry.account = Some(Secret::new(value())),
            ("macdef", _) => words.skip_macro(),
            _ => *odd = odd.or(Some(line)),
        }
        if let (Some(entry), Some(why)) = (&mut current, wrong) {
            entry.wrong.get_or_insert(why);
        }
    }
    settle(current);
    best.transpose()
}

/// The replacement for bytes that are not UTF-8.
const UNREADABLE: char = char::REPLACEMENT_CHARACTER;

#[derive(Debug, Default)]
struct NetrcEntry {
    matches: bool,
    user: Option<String>,
    password: Option<Secret>,
    account: Option<Secret>,
    /// The fault: a missing value, or a quotation mark that is not closed.
    wrong: Option<String>,
}

/// Words separated by white space. A `#` in the position of a keyword starts a comment; a value may begin with `#`.
struct NetrcWords<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> NetrcWords<'a> {
    fn keyword(&mut self) -> Option<&'a str> {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                return Some(self.bare()).filter(|word| !word.is_empty());
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, after)| after);
        }
    }

    /// Reads a value: one word, or `"…"` with backslash escapes on one line.
    fn value(&mut self) -> Result<String, &'static str> {
        self.rest = self.rest.trim_start();
        let Some(quoted) = self.rest.strip_prefix('"') else {
            return Some(self.bare().to_owned()).filter(|word| !word.is_empty()).ok_or("a value is missing");
        };
        let mut word = String::new();
        let mut characters = quoted.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = quoted.get(at + 1..).unwrap_or_default();
                    return Ok(word);
                }
                '\n' => break,
                '\\' => word.extend(characters.next().map(|(_, escaped)| escaped)),
                _ => word.push(character),
            }
        }
        self.rest = quoted.split_once('\n').map_or("", |(_, after)| after);
        Err("a quotation mark is not closed")
    }

    fn bare(&mut self) -> &'a str {
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, after) = self.rest.split_at(end);
        self.rest = after;
        word
    }

    /// The line of the word that was just read.
    fn line(&self) -> usize {
        let read = self.text.get(..self.text.len() - self.rest.len()).unwrap_or_default();
        read.matches('\n').count() + 1
    }

    /// Skips a macro, which ends at the next empty line; macros are never run.
    fn skip_macro(&mut self) {
        while let Some((line, after)) = self.rest.split_once('\n') {
            self.rest = after;
            if line.trim().is_empty() {
                return;
            }
        }
        self.rest = "";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, host: &str, user: Option<&str>) -> Result<Option<Login>, String> {
        super::find(text, host, user, &mut None)
    }

    #[test]
    fn entries_are_found() {
        let text = "# mine\nmachine A.test login alice password \"p w\\\"x\"\nmachine b.test\n login bob\n password b\n\
                    machine a.test login second password 2\nmacdef init\nput x\n\ndefault login anonymous password me@\n";
        let get = |host, user| find(text, host, user).unwrap().map(|login| (login.user, login.password.into_exposed()));
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(get("a.test", None), pair("alice", "p w\"x"));
        assert_eq!(get("a.test", Some("second")), pair("second", "2"));
        assert_eq!(get("b.test", None), pair("bob", "b"));
        assert_eq!(get("c.test", None), pair("anonymous", "me@"));
        assert_eq!(get("c.test", Some("x")), None);
        let early = "default login d password 1\nmachine a login m password 2";
        assert_eq!(
            find(early, "a", None).unwrap(),
            Some(Login::new("d", "1")),
            "default matches first where it stands first"
        );
        assert_eq!(find("machine a password p", "a", Some("u")).unwrap(), Some(Login::new("u", "p")));
    }

    /// Files that Python's netrc and curl read; a fault in one entry does not affect the others.
    #[test]
    fn odd_files() {
        let long = "macdef init\r\nmachine a\r\n\r\nmachine a login u password p";
        for (entry, password, line) in [
            ("machine a login u password #123", "#123", None),
            ("machine a login u password #p # a comment", "#p", None),
            ("machine a login u password \"#1 2\" # password x", "#1 2", None),
            ("machine a\n# password no\nlogin u\npassword p", "p", None),
            ("machine a login u password \"\"", "", None),
            ("machine a login u password p port 21", "p", Some(1)),
            ("machine a\nport 21\nlogin u\npassword p", "p", Some(2)),
            ("machine a login u account acct password p", "p", None),
            ("machine a user u passwd p\"q", "p\"q", None),
            ("\u{feff}machine a login u password p", "p", None),
            ("login x\n<html>\nmachine a login u password p", "p", Some(1)),
            ("machine b login u password \"open\nmachine a login u password p", "p", None),
            ("machine b password \u{fffd}\nmachine a login u password p", "p", None),
            ("machine \u{fffd}\nmachine a login u password machine", "machine", None),
            (long, "p", None),
            ("macdef x\ny\n  \nmachine a login u password p", "p", None),
        ] {
            let mut odd = None;
            let found = super::find(entry, "a", None, &mut odd);
            let account = entry.contains("account acct").then(|| Secret::new("acct".to_owned()));
            assert_eq!((found, odd), (Ok(Some(Login { account, ..Login::new("u", password) })), line), "{entry}");
        }
        for bad in ["machine a login u password \"x", "machine a login", "machine a login u password p\u{fffd}"] {
            assert!(find(bad, "a", None).is_err(), "{bad}");
            assert_eq!(find(bad, "b", None), Ok(None), "{bad}");
        }
        assert_eq!(find("", "a", None), Ok(None));
        let spelled = find("machine [0:0:0:0:0:0:0:1] login u password p", "::1", None);
        assert_eq!(spelled, Ok(Some(Login::new("u", "p"))), "an address in any spelling");
    }
}
