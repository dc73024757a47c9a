//! Users of the servers: a file of `NAME:HASH[:HOME[:FLAGS]]` lines.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use argon2::password_hash::PasswordHasher;
use argon2::{Argon2, Block};

use crate::cli::input;
use crate::cli::password_hash::StoredHash;
use crate::cli::user_terms::UserTerms;
use crate::fault::{Fault, Kind};
use crate::net::certified::CertifiedUser;
use crate::net::login::LoginVerdict;
use crate::smtp::auth::scram::{NEW_ITERATIONS, ScramVerifier};
use crate::smtp::auth::server::LoginProof;

/// The largest user file, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// The longest password, in bytes. A longer one is refused before it is hashed.
const MAX_PASSWORD: usize = 1024;
/// The most passwords checked at the same time: each check costs memory and about 20 ms of processor time.
pub const MAX_CONCURRENT_CHECKS: usize = 2;

/// One user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The home directory, relative to the served directory; `None` if the field is empty.
    pub home: Option<String>,
    /// Rights and terms.
    pub account: UserTerms,
}

/// The memory for password hashing: [`MAX_CONCURRENT_CHECKS`] areas of one size, each allocated on first use and kept. Memory
/// that each check allocates and frees would stay in the allocator's arenas, one per thread.
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

    /// Takes a free area; waits while there is none.
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

/// One area of the memory. A drop returns it, also after a panic.
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
    /// The user with the most expensive hash, which is checked for unknown names.
    dearest: String,
    /// The verifier of the first user, if every user has one: those of unknown names look like it. Lines that are added behind
    /// it change none of them.
    model: Option<ScramVerifier>,
    memory: HashMemory,
}

impl Users {
    /// Reads and checks a user file.
    ///
    /// # Errors
    /// [`Kind::Config`] if it cannot be read, and for the first invalid line, with its number.
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
        let (mut by_name, mut first) = (HashMap::new(), None);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (hash, user) = parse_line(line).map_err(|why| format!("line {}: {why}", number + 1))?;
            if first.is_none() {
                first = hash.scram().cloned();
            }
            if by_name.insert(user.name.clone(), (hash, user)).is_some() {
                return Err(format!("line {}: duplicate user", number + 1));
            }
        }
        // SCRAM is offered if every user has a verifier; the first one is the model of those that unknown names get.
        let model = first.filter(|_| by_name.values().all(|(hash, _): &(StoredHash, User)| hash.scram().is_some()));
        Ok(Users { model, ..Users::of(by_name) })
    }

    /// Users with these names and hashes. A text that is no known hash is no user: the password is locked.
    pub fn of_hashes<'a>(hashes: impl Iterator<Item = (&'a str, &'a str)>) -> Users {
        let user = |(name, hash): (&str, &str)| {
            let user = User { name: name.to_owned(), home: None, account: UserTerms::default() };
            Some((user.name.clone(), (StoredHash::parse(hash).ok()?, user)))
        };
        Users::of(hashes.filter_map(user).collect())
    }

    fn of(by_name: HashMap<String, (StoredHash, User)>) -> Users {
        let blocks = by_name.values().map(|(hash, _)| hash.block_count()).max().unwrap_or(0);
        let dearest = by_name.values().map(|(hash, user)| (hash.work(), &user.name)).max();
        let dearest = dearest.map(|(_, name)| name.clone()).unwrap_or_default();
        Users { by_name, dearest, model: None, memory: HashMemory::new(blocks) }
    }

    /// The users who log in as a user of the system (`as=`), each with that user.
    pub fn of_the_system(&self) -> impl Iterator<Item = (&User, &str)> {
        self.all().filter_map(|user| user.account.system_user.as_deref().map(|named| (user, named)))
    }

    /// The user of this name.
    pub fn named(&self, name: &str) -> Option<&User> {
        self.by_name.get(name).map(|(_, user)| user)
    }

    /// All users.
    pub fn all(&self) -> impl Iterator<Item = &User> {
        self.by_name.values().map(|(_, user)| user)
    }

    /// The user with this name.
    pub fn get(&self, name: &str) -> Option<&User> {
        self.by_name.get(name).map(|(_, user)| user)
    }

    /// True if SCRAM-SHA-256 works for every user. With other hashes in the file a client would choose it and fail.
    pub fn has_scram(&self) -> bool {
        self.model.is_some()
    }

    /// The verifier of a user for SCRAM-SHA-256, or for an unknown name one that nothing fits. `None` unless [`Users::has_scram`].
    pub fn verifier(&self, name: &str) -> Option<ScramVerifier> {
        match (self.by_name.get(name), &self.model) {
            (Some((StoredHash::Scram(verifier), _)), Some(_)) => Some(verifier.clone()),
            (_, model) => model.as_ref().map(|model| model.decoy(name)),
        }
    }

    /// The user with this name and password, or with this name and a verifier that fits the proof.
    pub fn check(&self, name: &str, proof: &LoginProof) -> Option<User> {
        let proof = match proof {
            LoginProof::Password(password) => return self.verify(name, password.expose()),
            LoginProof::Scram(proof) => proof,
        };
        match self.by_name.get(name)? {
            (StoredHash::Scram(verifier), user) if proof.fits(verifier) => Some(user.clone()),
            _ => None,
        }
    }

    /// The user with this name and password. An unknown name costs as much time as the most expensive wrong password. A check takes
    /// about 20 ms of processor time and waits while [`MAX_CONCURRENT_CHECKS`] others run: call it off the event loop.
    pub fn verify(&self, name: &str, password: &str) -> Option<User> {
        if password.len() > MAX_PASSWORD {
            return None;
        }
        // Without a password of its own a user costs as much time as an unknown one.
        let known = self.by_name.get(name).filter(|(hash, _)| !matches!(hash, StoredHash::None));
        let (hash, _) = known.or_else(|| self.by_name.get(&self.dearest))?;
        let matches = hash.matches(password, &mut self.memory.take().blocks);
        known.filter(|_| matches).map(|(_, user)| user.clone())
    }
}

impl Users {
    /// The user of a verified certificate, without a password: the verdict is `Wrong` if there is no such user.
    pub fn certified(&self, proof: &CertifiedUser, now: i64) -> LoginVerdict<User> {
        let Some((_, user)) = self.by_name.get(proof.name()) else { return LoginVerdict::Wrong };
        match user.account.barred(Some(proof.client()), now) {
            Some(why) => LoginVerdict::Barred(why),
            None => LoginVerdict::Right(user.clone()),
        }
    }
}

fn parse_line(line: &str) -> Result<(StoredHash, User), String> {
    if line.bytes().any(|byte| byte.is_ascii_control()) {
        return Err("a control character".to_owned());
    }
    let (name, rest) = line.split_once(':').unwrap_or((line, ""));
    if name.is_empty() {
        return Err("no user name".to_owned());
    }
    // A SCRAM verifier has two colons of its own.
    let colons = if rest.starts_with(ScramVerifier::PREFIX) { 2 } else { 0 };
    let end = rest.match_indices(':').nth(colons).map_or(rest.len(), |(at, _)| at);
    let (hash, rest) = rest.split_at(end);
    // FLAGS may contain colons, in addresses and paths.
    let mut fields = rest.splitn(3, ':').skip(1);
    let hash = StoredHash::parse(hash)?;
    let home = fields.next().filter(|home| !home.is_empty()).map(str::to_owned);
    let account = UserTerms::parse(fields.next().unwrap_or_default())?;
    Ok((hash, User { name: name.to_owned(), home, account }))
}

/// The kinds of hashes that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum HashKind {
    /// Argon2id: the best protection of a stolen file; passwords are checked by PLAIN and LOGIN.
    Argon2id,
    /// A verifier for SCRAM-SHA-256, which also works with PLAIN and LOGIN.
    #[value(name = "scram-sha-256")]
    ScramSha256,
}

/// The hash of a password for the user file (a PHC string, or the form of RFC 5803).
///
/// # Errors
/// [`Kind::BadData`] for an empty or too long password, [`Kind::Internal`] if the system gives no random bytes.
pub fn hash_password(password: &str, kind: HashKind) -> Result<String, Fault> {
    if password.is_empty() || password.len() > MAX_PASSWORD {
        return Err(Fault::new(Kind::BadData, format!("a password has 1 to {MAX_PASSWORD} bytes")));
    }
    let failed = |error: &dyn std::fmt::Display| Fault::new(Kind::Internal, format!("hashing: {error}"));
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| failed(&error))?;
    if kind == HashKind::ScramSha256 {
        return Ok(ScramVerifier::of(password, &salt, NEW_ITERATIONS).to_string());
    }
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt).map_err(|error| failed(&error))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::session::Rights;
    use argon2::Params;

    #[test]
    fn hashes_verify() {
        let hash = hash_password("s3cret", HashKind::Argon2id).unwrap();
        let users = Users::parse(&format!("# people\nalice:{hash}:home/alice:read, write\nbob:{hash}\n")).unwrap();
        let alice = users.verify("alice", "s3cret").unwrap();
        assert_eq!((alice.home.as_deref(), alice.account.rights), (Some("home/alice"), Some(Rights::ALL)));
        let bob = users.verify("bob", "s3cret").unwrap();
        assert_eq!((bob.home, bob.account), (None, UserTerms::default()));
        assert_eq!(users.verify("bob", "S3cret"), None);
        assert_eq!(users.verify("carol", "s3cret"), None);
        assert_eq!(users.verify("bob", &"x".repeat(2000)), None);
        assert_eq!(hash_password("", HashKind::Argon2id).unwrap_err().kind, Kind::BadData);
        // A user without a password does not take that of another.
        let users = Users::parse(&format!("key:*::write\nbob:{hash}\n")).unwrap();
        assert_eq!(["s3cret", "*", ""].map(|password| users.verify("key", password)), [None, None, None]);
        assert_eq!(Users::parse("key:*").unwrap().verify("key", "*"), None);
    }

    #[test]
    fn scram_is_for_files_with_nothing_else() {
        let argon = hash_password("x", HashKind::Argon2id).unwrap();
        let scram = ScramVerifier::of("s3cret", b"salt of alice", 4096).to_string();
        let other = ScramVerifier::of("x", b"salt", 4096).to_string();
        let users = Users::parse(&format!("alice:{scram}\nbob:{other}:home:read,root=/a:b\n")).unwrap();
        assert!(users.has_scram() && users.verify("alice", "s3cret").is_some() && users.verify("alice", "x").is_none());
        let bob = users.verify("bob", "x").unwrap();
        assert_eq!((bob.home.as_deref(), bob.account.root), (Some("home"), Some("/a:b".into())));
        assert_eq!(users.verifier("alice").unwrap().to_string(), scram);
        assert!(users.verify("carol", "s3cret").is_none());
        let carol = users.verifier("carol").unwrap();
        let grown = Users::parse(&format!("alice:{scram}\nbob:{other}\ndave:{other}\n")).unwrap();
        assert!(grown.verifier("carol") == Some(carol), "the salt of an unknown name does not change");
        for mixed in [format!("a:{scram}\nb:{argon}"), format!("b:{argon}\na:{scram}"), String::new()] {
            let users = Users::parse(&mixed).unwrap();
            assert!(!users.has_scram() && users.verifier("a").is_none() && users.verifier("x").is_none());
        }
        let made = hash_password("x", HashKind::ScramSha256).unwrap();
        assert!(Users::parse(&format!("a:{made}")).unwrap().verify("a", "x").is_some());
        let error = Users::parse(&format!("a:{}", scram.replace("$4096", "$1"))).unwrap_err();
        assert!(error.starts_with("line 1: 1 iterations"), "{error}");
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
        let hash = hash_password("x", HashKind::Argon2id).unwrap();
        let with = |from: &str, to: &str| {
            assert!(hash.contains(from), "{hash}");
            format!("a:{}", hash.replace(from, to))
        };
        for (text, why) in [
            ("alice".to_owned(), "line 1: no hash of a password"),
            ("\nalice:plain".to_owned(), "line 2: no hash of a password"),
            ("a:$argon2id$v=19$m=19456,t=2,p=1".to_owned(), "line 1: no hash of a password"),
            (with("argon2id", "scrypt"), "line 1: no hash of a password"),
            (with("v=19", "v=18"), "line 1: no hash of a password"),
            (format!(":{hash}"), "line 1: no user name"),
            (format!("a:{hash}\na:{hash}"), "line 2: duplicate user"),
            (format!("joe:{hash}::readonly"), "line 1: \"readonly\" is not a right"),
            (format!("a:{hash}\njoe:{hash}::read,Write"), "line 2: \"Write\" is not a right"),
            (format!("joe:{hash}:home:read:write"), "line 1: \"read:write\" is not a right"),
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
