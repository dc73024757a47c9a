//! Users of our servers: a file of `NAME:HASH[:HOME[:FLAGS]]` lines with Argon2 hashes.

use std::collections::HashMap;
use std::path::Path;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

use crate::fault::{Fault, Kind};

/// A larger file is no user file, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// A longer password is refused before it is hashed, in bytes.
const MAX_PASSWORD: usize = 1024;

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The home directory, relative to what is served; empty fields are absent.
    pub home: Option<String>,
    /// What the server at hand makes of them, e.g. `write`.
    pub flags: Vec<String>,
}

/// All users, in memory.
#[derive(Debug, Clone, Default)]
pub struct Users {
    by_name: HashMap<String, (String, User)>,
}

impl Users {
    /// Reads and checks a user file.
    pub fn read(path: &Path) -> Result<Users, Fault> {
        let failed = |error: std::io::Error| Fault { kind: Kind::Config, ..Fault::local(path.display(), &error) };
        if std::fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
            return Err(Fault::new(Kind::Config, format!("{}: too large for a user file", path.display())));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Users::parse(&text).map_err(|why| Fault::new(Kind::Config, format!("{}: {why}", path.display())))
    }

    /// Parses the lines; `#` starts a comment line.
    pub fn parse(text: &str) -> Result<Users, String> {
        let mut by_name = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| format!("line {}: {why}", number + 1);
            let mut fields = line.split(':');
            let (name, hash) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            if name.is_empty() || name.bytes().any(|byte| byte.is_ascii_control()) {
                return Err(wrong("no user name"));
            }
            PasswordHash::new(hash).map_err(|_| wrong("no Argon2 hash after the name; --hash-password makes one"))?;
            let home = fields.next().filter(|home| !home.is_empty()).map(str::to_owned);
            let flags = fields.next().unwrap_or_default().split(',').map(str::trim).filter(|flag| !flag.is_empty());
            let user = User { name: name.to_owned(), home, flags: flags.map(str::to_owned).collect() };
            if by_name.insert(name.to_owned(), (hash.to_owned(), user)).is_some() {
                return Err(wrong("this user stands twice"));
            }
        }
        Ok(Users { by_name })
    }

    /// The user whose name and password these are. An unknown name costs as much time as a wrong password. Takes some
    /// 20 ms of processor time: call it off the event loop.
    pub fn verify(&self, name: &str, password: &str) -> Option<User> {
        if password.len() > MAX_PASSWORD {
            return None;
        }
        let known = self.by_name.get(name);
        let hash = known.or_else(|| self.by_name.values().next()).map(|(hash, _)| hash.as_str())?;
        let parsed = PasswordHash::new(hash).ok()?;
        let matches = Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok();
        known.filter(|_| matches).map(|(_, user)| user.clone())
    }

    /// The user of this name, without a password (client certificates, look-ups).
    pub fn get(&self, name: &str) -> Option<&User> {
        self.by_name.get(name).map(|(_, user)| user)
    }
}

/// The hash of a password as it stands in the user file (Argon2id, PHC string).
pub fn hash_password(password: &str) -> Result<String, Fault> {
    if password.is_empty() || password.len() > MAX_PASSWORD {
        return Err(Fault::new(Kind::BadData, format!("a password has 1 to {MAX_PASSWORD} bytes")));
    }
    let failed = |error: &dyn std::fmt::Display| Fault::new(Kind::Internal, format!("hashing: {error}"));
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| failed(&error))?;
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt).map_err(|error| failed(&error))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_verify() {
        let hash = hash_password("s3cret").unwrap();
        let users = Users::parse(&format!("# people\nalice:{hash}:home/alice:write, delete\nbob:{hash}\n")).unwrap();
        let alice = users.verify("alice", "s3cret").unwrap();
        assert_eq!((alice.home.as_deref(), alice.flags), (Some("home/alice"), vec!["write".into(), "delete".into()]));
        assert_eq!(users.verify("bob", "s3cret").unwrap().home, None);
        assert_eq!(users.verify("bob", "S3cret"), None);
        assert_eq!(users.verify("carol", "s3cret"), None);
        assert_eq!(users.verify("bob", &"x".repeat(2000)), None);
        assert_eq!(hash_password("").unwrap_err().kind, Kind::BadData);
    }

    #[test]
    fn bad_lines_are_named() {
        let hash = hash_password("x").unwrap();
        for (text, why) in [
            ("alice".to_owned(), "line 1: no Argon2 hash"),
            ("\nalice:plain".to_owned(), "line 2: no Argon2 hash"),
            (format!(":{hash}"), "line 1: no user name"),
            (format!("a:{hash}\na:{hash}"), "line 2: this user stands twice"),
        ] {
            let error = Users::parse(&text).unwrap_err();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
