//! `~/.netrc`: logins by host name, as ftp(1) and curl read it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::net::login::Login;
use crate::secret::Secret;

/// A larger file is no netrc, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// The login for `host` (and for `user`, if one was named) from `explicit`, `$NETRC` or `~/.netrc`. A file that was
/// not named explicitly may be absent.
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
    let failed = |error: std::io::Error| Fault::local(path.display(), &error);
    let metadata = match std::fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if metadata.len() > MAX_FILE {
        return Err(Fault::new(Kind::Config, format!("{}: too large for a netrc file", path.display())));
    }
    let text = std::fs::read_to_string(&path).map_err(failed)?;
    let found =
        find(&text, host, user).map_err(|why| Fault::new(Kind::Config, format!("{}: {why}", path.display())))?;
    if found.is_some() && metadata.permissions().mode() & 0o077 != 0 {
        out.warn(&format!("{}: others may read it; chmod 600 hides its passwords", path.display()));
    }
    Ok(found)
}

/// The first entry in the file's order that fits, as with ftp(1) and curl(1): `default` fits every host, so entries
/// below it are never reached. With a `user` only entries of that user count.
fn find(text: &str, host: &str, user: Option<&str>) -> Result<Option<Login>, String> {
    let mut words = NetrcWords { rest: text };
    let mut current: Option<NetrcEntry> = None;
    let mut best: Option<Login> = None;
    let mut settle = |entry: Option<NetrcEntry>| {
        let Some(entry) = entry.filter(|entry| entry.matches) else { return };
        let login = entry.user.as_deref().or(user).filter(|login| user.is_none_or(|user| user == *login));
        if let (Some(login), Some(password), None) = (login, entry.password, &best) {
            best = Some(Login { user: login.to_owned(), password, account: entry.account });
        }
    };
    while let Some(word) = words.next()? {
        let mut value = |what: &str| words.next()?.ok_or_else(|| format!("nothing after {what}"));
        match (word.as_str(), &mut current) {
            ("machine", _) => {
                let name = value("machine")?;
                settle(
                    current.replace(NetrcEntry { matches: name.eq_ignore_ascii_case(host), ..NetrcEntry::default() }),
                );
            }
            ("default", _) => settle(current.replace(NetrcEntry { matches: true, ..NetrcEntry::default() })),
            ("login" | "user", Some(entry)) => entry.user = Some(value("login")?),
            ("password" | "passwd", Some(entry)) => entry.password = Some(Secret::new(value("password")?)),
            ("account", Some(entry)) => entry.account = Some(Secret::new(value("account")?)),
            ("macdef", _) => words.skip_macro(),
            (other, _) => return Err(format!("{other:?} where machine, login or password was expected")),
        }
    }
    settle(current);
    Ok(best)
}

#[derive(Debug, Default)]
struct NetrcEntry {
    matches: bool,
    user: Option<String>,
    password: Option<Secret>,
    account: Option<Secret>,
}

/// NetrcWords separated by white space; `"…"` with backslash escapes is one word; `#` starts a comment between words.
struct NetrcWords<'a> {
    rest: &'a str,
}

impl NetrcWords<'_> {
    fn next(&mut self) -> Result<Option<String>, String> {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('#') {
                break;
            }
            self.rest = self.rest.split_once('\n').map_or("", |(_, after)| after);
        }
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let mut word = String::new();
            let mut characters = quoted.char_indices();
            while let Some((at, character)) = characters.next() {
                match character {
                    '"' => {
                        self.rest = quoted.get(at + 1..).unwrap_or_default();
                        return Ok(Some(word));
                    }
                    '\\' => word.extend(characters.next().map(|(_, escaped)| escaped)),
                    _ => word.push(character),
                }
            }
            return Err("a quotation mark is not closed".to_owned());
        }
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, after) = self.rest.split_at(end);
        self.rest = after;
        Ok((!word.is_empty()).then(|| word.to_owned()))
    }

    /// A macro ends at the next empty line; we never run one.
    fn skip_macro(&mut self) {
        self.rest = self.rest.split_once("\n\n").map_or("", |(_, after)| after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn nonsense_is_an_error() {
        for bad in ["login x", "machine", "machine a login", "machine a password \"x", "<html>"] {
            assert!(find(bad, "a", None).is_err(), "{bad}");
        }
        assert_eq!(find("", "a", None), Ok(None));
    }
}
