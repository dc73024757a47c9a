//! The features of a server: the reply to FEAT (RFC 2389, section 3).

use crate::ftp::checksum::OfferedChecksums;
use crate::ftp::reply::FtpReply;

/// The features that this client uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// True when the server answered FEAT with 211; without that answer every command is tried.
    pub known: bool,
    /// MLST and MLSD (RFC 3659, section 7).
    pub mlst: bool,
    /// SIZE (RFC 3659, section 4).
    pub size: bool,
    /// MDTM (RFC 3659, section 3).
    pub mdtm: bool,
    /// REST in stream mode (RFC 3659, section 5).
    pub rest: bool,
    /// MFMT (draft-somers-ftp-mfxx-04).
    pub mfmt: bool,
    /// Names are UTF-8 after `OPTS UTF8 ON` (RFC 2640).
    pub utf8: bool,
    /// The `SITE` words that FEAT names (`UTIME`, `CHMOD` …), upper case.
    pub site: Vec<String>,
    /// The selected algorithm of HASH (draft-bryan-ftpext-hash-02).
    pub hash: Option<String>,
    /// All algorithms of HASH.
    pub hashes: Vec<String>,
    /// `XSHA256`, `XCRC` and the like.
    pub checksums: Vec<String>,
}

impl Features {
    /// The checksums that the server offers.
    pub fn checksum(&self) -> OfferedChecksums<'_> {
        OfferedChecksums { chosen: self.hash.as_deref(), hashes: &self.hashes, verbs: &self.checksums }
    }

    /// Parses the reply to FEAT; any code but 211 yields no features.
    pub fn parse(reply: &FtpReply) -> Features {
        let mut features = Features::default();
        if reply.code != 211 {
            return features;
        }
        features.known = true;
        for line in reply.middle() {
            let line = String::from_utf8_lossy(line).trim().to_ascii_uppercase();
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "MLST" | "MLSD" => features.mlst = true,
                "SIZE" => features.size = true,
                "MDTM" => features.mdtm = true,
                "REST" => features.rest = rest.contains("STREAM"),
                "MFMT" => features.mfmt = true,
                "UTF8" => features.utf8 = true,
                "SITE" => features.site.extend(rest.split([' ', ';']).filter(|w| !w.is_empty()).map(str::to_owned)),
                "HASH" => {
                    for name in rest.split(';').map(str::trim).filter(|name| !name.is_empty()) {
                        let plain = name.trim_end_matches('*').to_owned();
                        if name.ends_with('*') {
                            features.hash = Some(plain.clone());
                        }
                        features.hashes.push(plain);
                    }
                }
                "XCRC" | "XMD5" | "XSHA" | "XSHA1" | "XSHA256" | "XSHA512" => {
                    features.checksums.push(word.to_owned());
                }
                _ => {}
            }
        }
        features
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_answer() {
        // proftpd 1.3.8 with mod_digest, shortened
        let reply = FtpReply::multi(
            211,
            [
                "Features:",
                " CLNT",
                " EPRT",
                " EPSV",
                " HASH CRC32;MD5;SHA-1*;SHA-256;",
                " LANG en-US*",
                " MDTM",
                " MFF modify;",
                " MFMT",
                " MLST modify*;perm*;size*;type*;",
                " REST STREAM",
                " SITE CHGRP",
                " SITE CHMOD",
                " SIZE",
                " UTF8",
                " XSHA256",
                "End",
            ],
        );
        let features = Features::parse(&reply);
        assert!(features.known && features.mlst && features.size && features.mdtm && features.rest && features.mfmt);
        assert!(features.utf8);
        assert_eq!(features.site, ["CHGRP", "CHMOD"]);
        assert_eq!(features.hash.as_deref(), Some("SHA-1"));
        assert_eq!(features.hashes.len(), 4);
        assert_eq!(features.checksums, ["XSHA256"]);
        // vsftpd 3.0.3
        let reply = FtpReply::multi(
            211,
            ["Features:", " EPRT", " EPSV", " MDTM", " PASV", " REST STREAM", " SIZE", " TVFS", "End"],
        );
        let features = Features::parse(&reply);
        assert!(features.known && !features.mlst && features.size && features.rest && !features.utf8);
        assert_eq!(Features::parse(&FtpReply::new(500, "Unknown command")), Features::default());
        assert!(Features::parse(&FtpReply::new(211, "no features")).known);
    }
}
