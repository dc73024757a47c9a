//! Password hashes of user files: Argon2, and the hashes of crypt(5) in files from other servers.

use std::str::FromStr;

use argon2::password_hash::PasswordVerifier as _;
use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use sha_crypt::ShaCrypt;
use yescrypt::Yescrypt;

use crate::smtp::auth::scram::ScramVerifier;

/// The most memory that a hash may cost (`m`), in KiB.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
/// The most passes over the memory that a hash may cost (`t`).
const MAX_PASSES: u32 = 16;
/// The highest product of both (`m` times `t`), in KiB: about one second of processor time.
const MAX_WORK_KIB: u64 = 1024 * 1024;
/// The most lanes of a hash (`p`).
const MAX_LANES: u32 = 16;
/// The most work of any other hash: an estimate, in microseconds of processor time.
const MAX_WORK_US: u64 = 1_000_000;
/// The most memory that a yescrypt hash may cost, in KiB.
const MAX_YESCRYPT_KIB: u64 = 64 * 1024;

/// A hash of the user file, checked and ready for use.
#[derive(Debug)]
pub(crate) enum StoredHash {
    /// Argon2 (RFC 9106), as a PHC string.
    Argon2(Box<StoredArgon2>),
    /// SHA-crypt (`$5$`, `$6$`) and its work.
    Sha(String, u64),
    /// bcrypt (`$2a$`, `$2b$`, `$2y$`) and its work.
    Bcrypt(String, u64),
    /// yescrypt (`$y$`) and its work.
    Yescrypt(String, u64),
    /// The verifier of SCRAM-SHA-256 (RFC 5803).
    Scram(ScramVerifier),
    /// `*`: no password is right.
    None,
}

#[derive(Debug)]
pub(crate) struct StoredArgon2 {
    argon2: Argon2<'static>,
    salt: Salt,
    hash: Output,
}

/// The message about a text that is not a known hash.
const NONE: &str = "no hash of a password after the name ($argon2id$, SCRAM-SHA-256$, $y$, $6$, $5$, $2b$, $2y$, $2a$); --hash-password makes one";

impl StoredHash {
    /// Parses a hash.
    ///
    /// # Errors
    /// A message if the hash is unknown, malformed, too weak or too expensive.
    pub(crate) fn parse(text: &str) -> Result<StoredHash, String> {
        if text == "*" {
            return Ok(StoredHash::None);
        }
        let fields: Vec<&str> = text.split('$').collect();
        let (hash, work) = match fields.as_slice() {
            ["SCRAM-SHA-256", ..] => return ScramVerifier::parse(text).map(StoredHash::Scram),
            ["", "1" | "apr1", ..] => {
                return Err("an MD5 hash is too weak; --hash-password makes a better one".to_owned());
            }
            ["", kind @ ("5" | "6"), rest @ ..] => {
                let digits = if *kind == "5" { 43 } else { 86 };
                let (rounds, salt, hash) = match rest {
                    [salt, hash] => (sha_crypt::Params::RECOMMENDED_ROUNDS, salt, hash),
                    [rounds, salt, hash] => {
                        let rounds =
                            rounds.strip_prefix("rounds=").and_then(|rounds| rounds.parse().ok()).ok_or(NONE)?;
                        (rounds, salt, hash)
                    }
                    _ => return Err(NONE.to_owned()),
                };
                if salt.is_empty() || hash.len() != digits || sha_crypt::Params::new(rounds).is_err() {
                    return Err(NONE.to_owned());
                }
                (StoredHash::Sha as fn(String, u64) -> StoredHash, u64::from(rounds) / 2)
            }
            ["", "2a" | "2b" | "2y", ..] => {
                let cost = bcrypt::HashParts::from_str(text).map_err(|_| NONE)?.get_cost();
                // The range of crypt(5).
                if !(4..=31).contains(&cost) {
                    return Err(NONE.to_owned());
                }
                (StoredHash::Bcrypt as _, 45 << cost)
            }
            ["", "y", params, salt, hash] if !salt.is_empty() && hash.len() == 43 => {
                let params = yescrypt::Params::from_str(params).map_err(|_| NONE)?;
                let memory = params.n().saturating_mul(u64::from(params.r())) / 8;
                if memory > MAX_YESCRYPT_KIB {
                    return Err(format!("the hash costs too much: {memory} KiB, at most {MAX_YESCRYPT_KIB}"));
                }
                (StoredHash::Yescrypt as _, memory.saturating_mul(u64::from(params.p())))
            }
            _ => return StoredArgon2::parse(text).map(Box::new).map(StoredHash::Argon2),
        };
        match work {
            work if work > MAX_WORK_US => Err(format!("the hash costs too much: about {} s", work / 1_000_000 + 1)),
            work => Ok(hash(text.to_owned(), work)),
        }
    }

    /// The verifier of SCRAM-SHA-256, if it is one.
    pub(crate) fn scram(&self) -> Option<&ScramVerifier> {
        match self {
            StoredHash::Scram(verifier) => Some(verifier),
            _ => None,
        }
    }

    /// The cost of a check: an estimate, in microseconds of processor time.
    pub(crate) fn work(&self) -> u64 {
        match self {
            StoredHash::None => 0,
            StoredHash::Argon2(stored) => stored.work() / 2,
            StoredHash::Sha(_, work) | StoredHash::Bcrypt(_, work) | StoredHash::Yescrypt(_, work) => *work,
            StoredHash::Scram(verifier) => u64::from(verifier.iterations()) / 4,
        }
    }

    /// The number of memory blocks that Argon2 needs; 0 for other hashes.
    pub(crate) fn block_count(&self) -> usize {
        match self {
            StoredHash::Argon2(stored) => stored.argon2.params().block_count(),
            _ => 0,
        }
    }

    /// True if this is the password. The comparison takes the same time wherever the hashes differ.
    pub(crate) fn matches(&self, password: &str, memory: &mut [Block]) -> bool {
        let bytes = password.as_bytes();
        match self {
            StoredHash::None => false,
            StoredHash::Argon2(stored) => stored.matches(bytes, memory),
            StoredHash::Sha(hash, _) => ShaCrypt::default().verify_password(bytes, hash.as_str()).is_ok(),
            // bcrypt uses only the first 72 bytes, as in every implementation.
            StoredHash::Bcrypt(hash, _) => bcrypt::verify(bytes, hash).unwrap_or(false),
            StoredHash::Yescrypt(hash, _) => Yescrypt::default().verify_password(bytes, hash.as_str()).is_ok(),
            StoredHash::Scram(verifier) => verifier.matches(password),
        }
    }
}

impl StoredArgon2 {
    fn parse(text: &str) -> Result<StoredArgon2, String> {
        let parsed = PasswordHash::new(text).map_err(|_| NONE)?;
        let (Some(salt), Some(hash)) = (parsed.salt, parsed.hash) else { return Err(NONE.to_owned()) };
        let algorithm = Algorithm::try_from(parsed.algorithm.as_str()).map_err(|_| NONE)?;
        let version = parsed.version.map_or(Ok(Version::V0x13), Version::try_from).map_err(|_| NONE)?;
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
        let stored = StoredArgon2 { argon2: Argon2::new(algorithm, version, params), salt, hash };
        match stored.work() {
            work if work > MAX_WORK_KIB => Err(format!("the hash costs too much: m*t={work}, at most {MAX_WORK_KIB}")),
            _ => Ok(stored),
        }
    }

    /// The cost of a check: memory in KiB, times passes.
    fn work(&self) -> u64 {
        let params = self.argon2.params();
        u64::from(params.m_cost()) * u64::from(params.t_cost())
    }

    /// True if this is the password. The comparison takes the same time wherever the hashes differ.
    fn matches(&self, password: &[u8], memory: &mut [Block]) -> bool {
        let mut computed = [0; Output::MAX_LENGTH];
        let Some(computed) = computed.get_mut(..self.hash.len()) else { return false };
        let hashed = self.argon2.hash_password_into_with_memory(password, &self.salt, computed, memory);
        hashed.is_ok() && Output::new(computed).is_ok_and(|computed| computed == self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes of the password "secret", in the forms of mkpasswd(1), htpasswd(1) and openssl-passwd(1).
    const KNOWN: [&str; 6] = [
        "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
        "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
        "$6$rounds=1000$saltsalt$LAV5VE5Y7w1d73x1mFNspYWUpazfmwv2SoepNXNKJ/otop/Zok96Hr8Q13LEv0DRY/x8v0/crpIjl8NJSAqXV/",
        "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
        "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
        "$y$j9T$abcdefghijklmnop$3dL1LkYnZM.OVXuVdnnaKVDlLYT92dRwOzDZ5XiVCe.",
    ];

    #[test]
    fn hashes_of_other_tools_are_known() {
        for text in KNOWN {
            let stored = StoredHash::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            let mut memory = vec![Block::new(); stored.block_count()];
            assert!(stored.matches("secret", &mut memory), "{text}");
            for wrong in ["Secret", "", "secret ", "secre"] {
                assert!(!stored.matches(wrong, &mut memory), "{text}: {wrong}");
            }
            assert!(stored.work() > 0);
        }
    }

    #[test]
    fn what_is_none_or_costs_too_much_is_refused() {
        let long = "x".repeat(86);
        for (text, why) in [
            ("$1$salt$hash".to_owned(), "too weak"),
            ("$apr1$salt$hash".to_owned(), "too weak"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".to_owned(), "no hash"),
            ("$6$salt$short".to_owned(), "no hash"),
            (format!("$6$${long}"), "no hash"),
            (format!("$6$rounds=x$salt${long}"), "no hash"),
            (format!("$6$rounds=10$salt${long}"), "no hash"),
            (format!("$6$rounds=999999999$salt${long}"), "costs too much"),
            (KNOWN[3].replacen("$05$", "$31$", 1), "costs too much"),
            (KNOWN[3].replacen("$05$", "$99$", 1), "no hash"),
            ("$2b$05$short".to_owned(), "no hash"),
            (KNOWN[5].replacen("$j9T$", "$jDT$", 1), "costs too much"),
            ("$y$$salt$hash".to_owned(), "no hash"),
            ("$y$j9T$salt$".to_owned(), "no hash"),
            ("!".to_owned(), "no hash"),
            (String::new(), "no hash"),
        ] {
            let error = StoredHash::parse(&text).err().unwrap_or_else(|| panic!("{text} was taken"));
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
