//! Users of our servers: a file of `NAME:HASH[:HOME[:FLAGS]]` lines with Argon2 hashes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};

use crate::cli::input;
use crate::fault::{Fault, Kind};

/// A larger file is no user file, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// A longer password is refused before it is hashed, in bytes.
const MAX_PASSWORD: usize = 1024;
/// Passwords checked at once: each costs memory and some 20 ms of a processor.
pub const MAX_CONCURRENT_CHECKS: usize = 2;
/// The most memory that a hash may cost (`m`), in KiB.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
/// The most passes over the memory that a hash may cost (`t`).
const MAX_PASSES: u32 = 16;
/// The most of both together (`m` times `t`), in KiB: about a second of a processor.
const MAX_WORK_KIB: u64 = 1024 * 1024;
/// The most lanes of a hash (`p`).
const MAX_LANES: u32 = 16;

/// The rights given by the FLAGS of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserFlag {
    /// `read`: look and download.
    Read,
    /// `write`: everything.
    Write,
    /// `upload`: everything but download.
    Upload,
    /// `drop`: new files go in, nothing is seen.
    Drop,
}

impl UserFlag {
    fn parse(word: &str) -> Option<UserFlag> {
        Some(match word {
            "read" => UserFlag::Read,
            "write" => UserFlag::Write,
            "upload" => UserFlag::Upload,
            "drop" => UserFlag::Drop,
            _ => return None,
        })
    }
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The home directory, relative to the served one; empty fields are absent.
    pub home: Option<String>,
    /// The user's rights, if they differ from the default.
    pub flag: Option<UserFlag>,
}

/// A hash of the user file, checked and ready for use.
#[derive(Debug)]
struct StoredHash {
    argon2: Argon2<'static>,
    salt: Salt,
    hash: Output,
}

impl StoredHash {
    fn parse(text: &str) -> Result<StoredHash, String> {
        let none = "no Argon2 hash after the name; --hash-password makes one";
        let parsed = PasswordHash::new(text).map_err(|_| none)?;
        let (Some(salt), Some(hash)) = (parsed.salt, parsed.hash) else { return Err(none.to_owned()) };
        let algorithm = Algorithm::try_from(parsed.algorithm.as_str()).map_err(|_| none)?;
        let version = parsed.version.map_or(Ok(Version::V0x13), Version::try_from).map_err(|_| none)?;
        let params = Params::try_from(&parsed).map_err(|error| format!("the hash's parameters: {error}"))?;
        for (name, value, most) in [
            ("m", params.m_cost(), MAX_MEMORY_KIB),
            ("t", params.t_cost(), MAX_PASSES),
            ("p", params.p_cost(), MAX_LANES),
        ] {
            if value > most {
                return Err(format!("the hash costs too much: {name}={value}, at most {most}"));
            }
        }
        if salt.len() < argon2::MIN_SALT_LEN {
            return Err("the hash's salt is too short".to_owned());
        }
        let stored = StoredHash { argon2: Argon2::new(algorithm, version, params), salt, hash };
        match stored.work() {
            work if work > MAX_WORK_KIB => Err(format!("the hash costs too much: m*t={work}, at most {MAX_WORK_KIB}")),
            _ => Ok(stored),
        }
    }

    /// What it costs, in KiB that are passed over.
    fn work(&self) -> u64 {
        let params = self.argon2.params();
        u64::from(params.m_cost()) * u64::from(params.t_cost())
    }

    /// True if this is the password. The comparison takes the same time wherever the hashes differ.
    fn matches(&self, password: &str, memory: &mut [Block]) -> bool {
        let mut computed = [0; Output::MAX_LENGTH];
        let Some(computed) = computed.get_mut(..self.hash.len()) else { return false };
        let hashed = self.argon2.hash_password_into_with_memory(password.as_bytes(), &self.salt, computed, memory);
        hashed.is_ok() && Output::new(computed).is_ok_and(|computed| computed == self.hash)
    }
}

/// The memory in which passwords are hashed: [`MAX_CONCURRENT_CHECKS`] areas of one size, each allocated when it is first
/// needed and kept. Memory that came and went with each check would stay in the allocator's arenas, one for each thread.
#[derive(Debug)]
struct HashMemory {
    blocks: usize,
    free: Mutex<Vec<Vec<Block>>>,
    returned: Condvar,
}

impl HashMemory {
    fn new(blocks: usize) -> HashMemory {
        let free = Mutex::new(vec![Vec::new(); MAX_CONCURRENT_CHECKS]);
        HashMemory { blocks, free, returned: Condvar::new() }
    }

    /// Waits for an area.
    fn take(&self) -> HashArea<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut blocks = loop {
            match free.pop() {
                Some(blocks) => break blocks,
                None => free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(free);
        blocks.resize(self.blocks, Block::new());
        HashArea { memory: self, blocks }
    }
}

/// One area of the memory. It goes back when this is dropped, after a panic too.
#[derive(Debug)]
struct HashArea<'a> {
    memory: &'a HashMemory,
    blocks: Vec<Block>,
}

impl Drop for HashArea<'_> {
    fn drop(&mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        self.memory.free.lock().unwrap_or_else(PoisonError::into_inner).push(blocks);
        self.memory.returned.notify_one();
    }
}

/// All users, in memory.
#[derive(Debug)]
pub struct Users {
    by_name: HashMap<String, (StoredHash, User)>,
    /// The user whose hash costs most: it stands in for those of names that are not there.
    dearest: String,
    memory: HashMemory,
}

impl Users {
    /// Reads and checks a user file.
    ///
    /// # Errors
    /// [`Kind::Config`] when it cannot be read, and for the first line that is wrong, with its number.
    pub fn read(path: &Path) -> Result<Users, Fault> {
        let bytes = input::read(path, MAX_FILE).map_err(|fault| Fault { kind: Kind::Config, ..fault })?;
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| Fault::new(Kind::Config, format!("{}: not UTF-8", path.display())))?;
        Users::parse(&text).map_err(|why| Fault::new(Kind::Config, format!("{}: {why}", path.display())))
    }

    /// Parses the lines; `#` starts a comment line. An unknown field or word is an error.
    ///
    /// # Errors
    /// The fault of the first invalid line, with its number.
    pub fn parse(text: &str) -> Result<Users, String> {
        let mut by_name = HashMap::new();
        let (mut blocks, mut dearest) = (0, (0, String::new()));
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (hash, user) = parse_line(line).map_err(|why| format!("line {}: {why}", number + 1))?;
            blocks = blocks.max(hash.argon2.params().block_count());
            let name = user.name.clone();
            dearest = dearest.max((hash.work(), name.clone()));
            if by_name.insert(name, (hash, user)).is_some() {
                return Err(format!("line {}: this user stands twice", number + 1));
            }
        }
        Ok(Users { by_name, dearest: dearest.1, memory: HashMemory::new(blocks) })
    }

    /// The user whose name and password these are. An unknown name costs as much time as the dearest wrong password. Takes some
    /// 20 ms of processor time, and waits while [`MAX_CONCURRENT_CHECKS`] others are checked: call it off the event loop.
    pub fn verify(&self, name: &str, password: &str) -> Option<User> {
        if password.len() > MAX_PASSWORD {
            return None;
        }
        let known = self.by_name.get(name);
        let (hash, _) = known.or_else(|| self.by_name.get(&self.dearest))?;
        let matches = hash.matches(password, &mut self.memory.take().blocks);
        known.filter(|_| matches).map(|(_, user)| user.clone())
    }
}

fn parse_line(line: &str) -> Result<(StoredHash, User), String> {
    if line.bytes().any(|byte| byte.is_ascii_control()) {
        return Err("a control character".to_owned());
    }
    let mut fields = line.split(':');
    let (name, hash) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
    if name.is_empty() {
        return Err("no user name".to_owned());
    }
    let hash = StoredHash::parse(hash)?;
    let home = fields.next().filter(|home| !home.is_empty()).map(str::to_owned);
    let mut flag = None;
    for word in fields.next().unwrap_or_default().split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let known = UserFlag::parse(word);
        flag = Some(known.ok_or_else(|| format!("{word:?} is no flag (read, write, upload, drop)"))?);
    }
    match fields.next() {
        Some(_) => Err("more than four fields (NAME:HASH:HOME:FLAGS)".to_owned()),
        None => Ok((hash, User { name: name.to_owned(), home, flag })),
    }
}

/// The hash of a password for the user file (Argon2id, PHC string).
///
/// # Errors
/// [`Kind::BadData`] for a password without bytes or with too many, [`Kind::Internal`] without randomness.
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
        let users = Users::parse(&format!("# people\nalice:{hash}:home/alice:read, write\nbob:{hash}\n")).unwrap();
        let alice = users.verify("alice", "s3cret").unwrap();
        assert_eq!((alice.home.as_deref(), alice.flag), (Some("home/alice"), Some(UserFlag::Write)));
        let bob = users.verify("bob", "s3cret").unwrap();
        assert_eq!((bob.home, bob.flag), (None, None));
        assert_eq!(users.verify("bob", "S3cret"), None);
        assert_eq!(users.verify("carol", "s3cret"), None);
        assert_eq!(users.verify("bob", &"x".repeat(2000)), None);
        assert_eq!(hash_password("").unwrap_err().kind, Kind::BadData);
    }

    #[test]
    fn hashes_of_different_size_share_the_memory() {
        let hash = |m_cost| {
            let argon2 = Argon2::from(Params::new(m_cost, 1, 2, Some(24)).unwrap());
            argon2.hash_password_with_salt(b"x", b"12345678").unwrap()
        };
        let users = Users::parse(&format!("a:{}\nb:{}\nc:{}", hash(64), hash(1000), hash(16))).unwrap();
        assert_eq!(users.dearest, "b", "what an unknown name costs");
        std::thread::scope(|scope| {
            for at in 0..12 {
                let users = &users;
                let name = ["a", "b", "c"][at % 3];
                scope.spawn(move || {
                    assert!(users.verify(name, "x").is_some(), "{name}");
                    assert!(users.verify(name, "y").is_none(), "{name}");
                });
            }
        });
        let free = users.memory.free.lock().unwrap();
        assert!(free.len() == MAX_CONCURRENT_CHECKS && free.iter().all(|area| area.len() <= users.memory.blocks));
    }

    #[test]
    fn a_panic_gives_the_memory_back() {
        let memory = HashMemory::new(1);
        for _ in 0..=MAX_CONCURRENT_CHECKS {
            let panics = || {
                let _area = memory.take();
                std::panic::resume_unwind(Box::new(()));
            };
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        }
        assert_eq!(memory.free.lock().unwrap().len(), MAX_CONCURRENT_CHECKS);
    }

    #[test]
    fn bad_lines_are_named() {
        let hash = hash_password("x").unwrap();
        let with = |from: &str, to: &str| {
            assert!(hash.contains(from), "{hash}");
            format!("a:{}", hash.replace(from, to))
        };
        for (text, why) in [
            ("alice".to_owned(), "line 1: no Argon2 hash"),
            ("\nalice:plain".to_owned(), "line 2: no Argon2 hash"),
            ("a:$argon2id$v=19$m=19456,t=2,p=1".to_owned(), "line 1: no Argon2 hash"),
            (with("argon2id", "scrypt"), "line 1: no Argon2 hash"),
            (with("v=19", "v=18"), "line 1: no Argon2 hash"),
            (format!(":{hash}"), "line 1: no user name"),
            (format!("a:{hash}\na:{hash}"), "line 2: this user stands twice"),
            (format!("joe:{hash}::readonly"), "line 1: \"readonly\" is no flag"),
            (format!("a:{hash}\njoe:{hash}::read,Write"), "line 2: \"Write\" is no flag"),
            (format!("joe:{hash}:home:read:write"), "line 1: more than four fields"),
            (format!("jo\te:{hash}"), "line 1: a control character"),
            (with("m=19456", "m=262145"), "line 1: the hash costs too much: m=262145, at most 262144"),
            (with("m=19456", "m=4294967295"), "line 1: the hash costs too much"),
            (with("m=19456", "m=1"), "line 1: the hash's parameters"),
            (with("m=19456,t=2", "m=262144,t=5"), "line 1: the hash costs too much: m*t=1310720, at most 1048576"),
            (with("t=2", "t=17"), "line 1: the hash costs too much: t=17, at most 16"),
            (with("t=2", "t=0"), "line 1: the hash's parameters"),
            (with("p=1", "p=17"), "line 1: the hash costs too much: p=17, at most 16"),
            (with("p=1", "p=0"), "line 1: the hash's parameters"),
            (with("p=1", "p=1,q=1"), "line 1: the hash's parameters"),
        ] {
            let error = Users::parse(&text).unwrap_err();
            assert!(error.starts_with(why), "{text}: {error}");
        }
    }
}
