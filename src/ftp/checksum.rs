//! Checksums that servers compute: HASH (draft-bryan-ftpext-hash-02), and XSHA256, XMD5, XCRC and the like, which no
//! document describes. Builds the commands and parses the replies.

use serde::{Deserialize, Serialize};

use md5::{Digest as _, Md5};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512};

use crate::ftp::command::FtpCommand;
use crate::ftp::reply::FtpReply;
use crate::hex;

/// A checksum algorithm, in order from the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChecksumAlgorithm {
    /// SHA-512.
    Sha512,
    /// SHA-256.
    Sha256,
    /// SHA-1.
    Sha1,
    /// MD5.
    Md5,
    /// CRC-32 (IEEE 802.3).
    Crc32,
}

impl ChecksumAlgorithm {
    /// All algorithms, in order from the strongest.
    pub const ALL: [ChecksumAlgorithm; 5] = [
        ChecksumAlgorithm::Sha512,
        ChecksumAlgorithm::Sha256,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Md5,
        ChecksumAlgorithm::Crc32,
    ];

    /// Its name in HASH, in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            ChecksumAlgorithm::Sha512 => "SHA-512",
            ChecksumAlgorithm::Sha256 => "SHA-256",
            ChecksumAlgorithm::Sha1 => "SHA-1",
            ChecksumAlgorithm::Md5 => "MD5",
            ChecksumAlgorithm::Crc32 => "CRC32",
        }
    }

    /// Parses a name, case-insensitive, with or without the dash.
    pub fn parse(name: &str) -> Option<ChecksumAlgorithm> {
        let plain = |text: &str| text.replace('-', "").to_ascii_uppercase();
        ChecksumAlgorithm::ALL.into_iter().find(|algorithm| plain(algorithm.as_str()) == plain(name))
    }

    /// The non-standard verbs of servers for this algorithm.
    const fn verbs(self) -> &'static [&'static str] {
        match self {
            ChecksumAlgorithm::Sha512 => &["XSHA512"],
            ChecksumAlgorithm::Sha256 => &["XSHA256"],
            ChecksumAlgorithm::Sha1 => &["XSHA1", "XSHA"],
            ChecksumAlgorithm::Md5 => &["XMD5"],
            ChecksumAlgorithm::Crc32 => &["XCRC"],
        }
    }

    /// The number of hexadecimal digits in its checksum.
    pub const fn digits(self) -> usize {
        match self {
            ChecksumAlgorithm::Sha512 => 128,
            ChecksumAlgorithm::Sha256 => 64,
            ChecksumAlgorithm::Sha1 => 40,
            ChecksumAlgorithm::Md5 => 32,
            ChecksumAlgorithm::Crc32 => 8,
        }
    }
}

/// An incremental checksum.
pub struct Digest {
    algorithm: ChecksumAlgorithm,
    state: DigestState,
}

enum DigestState {
    Crc32(crc32fast::Hasher),
    Md5(Md5),
    Sha(Context),
}

impl Digest {
    /// A checksum of no bytes yet.
    pub fn new(algorithm: ChecksumAlgorithm) -> Digest {
        let state = match algorithm {
            ChecksumAlgorithm::Sha512 => DigestState::Sha(Context::new(&SHA512)),
            ChecksumAlgorithm::Sha256 => DigestState::Sha(Context::new(&SHA256)),
            ChecksumAlgorithm::Sha1 => DigestState::Sha(Context::new(&SHA1_FOR_LEGACY_USE_ONLY)),
            ChecksumAlgorithm::Md5 => DigestState::Md5(Md5::new()),
            ChecksumAlgorithm::Crc32 => DigestState::Crc32(crc32fast::Hasher::new()),
        };
        Digest { algorithm, state }
    }

    /// The algorithm.
    pub fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            DigestState::Crc32(state) => state.update(bytes),
            DigestState::Md5(state) => state.update(bytes),
            DigestState::Sha(state) => state.update(bytes),
        }
    }

    /// The checksum in lower-case hexadecimal.
    pub fn finish(self) -> String {
        match self.state {
            DigestState::Crc32(state) => format!("{:08x}", state.finalize()),
            DigestState::Md5(state) => hex::lower(&state.finalize()),
            DigestState::Sha(state) => hex::lower(state.finish().as_ref()),
        }
    }
}

/// The checksums that FEAT announces.
#[derive(Debug, Clone, Copy, Default)]
pub struct OfferedChecksums<'a> {
    /// The algorithm that HASH uses unless told otherwise.
    pub chosen: Option<&'a str>,
    /// All algorithms of HASH.
    pub hashes: &'a [String],
    /// `XSHA256` and the like.
    pub verbs: &'a [String],
}

impl OfferedChecksums<'_> {
    /// The commands that request the checksum of a file, the last of which returns it: with the wanted algorithm,
    /// otherwise with the strongest offered. `None` if the server does not offer it.
    pub fn question(
        &self,
        wanted: Option<ChecksumAlgorithm>,
        path: &[u8],
    ) -> Option<(ChecksumAlgorithm, Vec<FtpCommand>)> {
        ChecksumAlgorithm::ALL
            .into_iter()
            .filter(|algorithm| wanted.is_none_or(|wanted| wanted == *algorithm))
            .find_map(|algorithm| {
                let is = |name: &str| ChecksumAlgorithm::parse(name) == Some(algorithm);
                if self.hashes.iter().any(|name| is(name)) {
                    let mut commands = vec![FtpCommand::Hash(path.to_vec())];
                    if !self.chosen.is_some_and(is) {
                        commands.insert(0, FtpCommand::Opts(format!("HASH {}", algorithm.as_str()).into_bytes()));
                    }
                    return Some((algorithm, commands));
                }
                let verb = algorithm.verbs().iter().find(|verb| self.verbs.iter().any(|offered| offered == *verb))?;
                Some((algorithm, vec![FtpCommand::Other((*verb).to_owned(), Some(path.to_vec()))]))
            })
    }
}

/// The checksum in a reply, in lower case: `213 SHA-256 0-49 6ad9… name` (HASH), `250 6ad9…`, `213 name 6ad9…`. The
/// name may look like a checksum, so the first word of the right form counts. A CRC may lack its leading zeros.
pub fn answer(reply: &FtpReply, algorithm: ChecksumAlgorithm) -> Option<String> {
    if !reply.ok() {
        return None;
    }
    let text = String::from_utf8_lossy(reply.lines.last()?).into_owned();
    let hex = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut words = text.split_ascii_whitespace().map(|word| word.trim_matches('"')).filter(|word| hex(word));
    let found = match algorithm {
        ChecksumAlgorithm::Crc32 => words.find(|word| word.len() <= algorithm.digits())?,
        _ => words.find(|word| word.len() == algorithm.digits())?,
    };
    Some(format!("{:0>width$}", found.to_ascii_lowercase(), width = algorithm.digits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked() {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
        let lines = |offered: &OfferedChecksums<'_>, wanted| {
            offered.question(wanted, b"a b").map(|(algorithm, commands)| {
                let text = |command: &FtpCommand| String::from_utf8(command.encode().unwrap()).unwrap();
                (algorithm, commands.iter().map(text).collect::<String>())
            })
        };
        // proftpd 1.3.8 with mod_digest
        let (hashes, verbs) =
            (own(&["CRC32", "MD5", "SHA-1", "SHA-256"]), own(&["XCRC", "XMD5", "XSHA", "XSHA1", "XSHA256"]));
        let proftpd = OfferedChecksums { chosen: Some("SHA-1"), hashes: &hashes, verbs: &verbs };
        assert_eq!(
            lines(&proftpd, None),
            Some((ChecksumAlgorithm::Sha256, "OPTS HASH SHA-256\r\nHASH a b\r\n".into()))
        );
        assert_eq!(
            lines(&proftpd, Some(ChecksumAlgorithm::Sha1)),
            Some((ChecksumAlgorithm::Sha1, "HASH a b\r\n".into()))
        );
        assert_eq!(lines(&proftpd, Some(ChecksumAlgorithm::Sha512)), None);
        let old = own(&["XCRC", "XSHA"]);
        let old = OfferedChecksums { chosen: None, hashes: &[], verbs: &old };
        assert_eq!(lines(&old, None), Some((ChecksumAlgorithm::Sha1, "XSHA a b\r\n".into())));
        assert_eq!(
            lines(&old, Some(ChecksumAlgorithm::Crc32)),
            Some((ChecksumAlgorithm::Crc32, "XCRC a b\r\n".into()))
        );
        assert_eq!(lines(&OfferedChecksums::default(), None), None);
    }

    #[test]
    fn what_is_answered() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        for (code, text, algorithm, found) in [
            (213, format!("MD5 0-49 {} a name", md5.to_uppercase()), ChecksumAlgorithm::Md5, Some(md5)),
            (250, md5.to_owned(), ChecksumAlgorithm::Md5, Some(md5)),
            (250, format!("\"{md5}\""), ChecksumAlgorithm::Md5, Some(md5)),
            (213, format!("name.txt {md5}"), ChecksumAlgorithm::Md5, Some(md5)),
            (250, "3B0".to_owned(), ChecksumAlgorithm::Crc32, Some("000003b0")),
            (213, "CRC32 0-9 89abcdef x".to_owned(), ChecksumAlgorithm::Crc32, Some("89abcdef")),
            (250, "ok".to_owned(), ChecksumAlgorithm::Md5, None),
            (550, md5.to_owned(), ChecksumAlgorithm::Md5, None),
            (250, format!("{md5}0"), ChecksumAlgorithm::Md5, None),
        ] {
            assert_eq!(answer(&FtpReply::new(code, text.as_str()), algorithm).as_deref(), found, "{text}");
        }
    }

    #[test]
    fn known_checksums_over_every_split() {
        let text = b"123456789";
        for (algorithm, wanted) in [
            (ChecksumAlgorithm::Crc32, "cbf43926"),
            (ChecksumAlgorithm::Md5, "25f9e794323b453885f5181f1b624d0b"),
            (ChecksumAlgorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (ChecksumAlgorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ] {
            for at in 0..=text.len() {
                let mut digest = Digest::new(algorithm);
                digest.update(&text[..at]);
                digest.update(&text[at..]);
                assert_eq!(digest.finish(), wanted, "{algorithm:?}, split at {at}");
            }
        }
        for algorithm in ChecksumAlgorithm::ALL {
            assert_eq!(Digest::new(algorithm).finish().len(), algorithm.digits());
        }
    }

    #[test]
    fn names() {
        for algorithm in ChecksumAlgorithm::ALL {
            assert_eq!(ChecksumAlgorithm::parse(algorithm.as_str()), Some(algorithm));
        }
        assert_eq!(ChecksumAlgorithm::parse("sha256"), Some(ChecksumAlgorithm::Sha256));
        assert_eq!(ChecksumAlgorithm::parse("whirlpool"), None);
    }
}
