//! Commands about the server itself, and the options that clients may choose.

use super::{FtpSession, LoginState, SessionAction, action, files};
use crate::ftp::charset::WireCharset;
use crate::ftp::checksum::ChecksumAlgorithm;
use crate::ftp::reply::FtpReply;

/// The longest host name of HOST, in bytes (RFC 1035, section 2.3.4).
const MAX_HOST: usize = 255;

impl FtpSession {
    pub(super) fn features(&mut self) {
        let mut lines = vec!["Features:".to_owned()];
        let mut add = |feature: &str| lines.push(format!(" {feature}"));
        if self.policy.tls {
            for feature in ["AUTH TLS", "PBSZ", "PROT"] {
                add(feature);
            }
        }
        for feature in [
            "AVBL",
            "CLNT",
            "EPRT",
            "EPSV",
            "HOST",
            "LANG EN*",
            "MD5",
            "MDTM",
            "MFF Modify;UNIX.mode;",
            "MFMT",
            "RANG STREAM",
            "REST STREAM",
            "SITE CHMOD",
            "SITE UMASK",
            "SITE UTIME",
            "SIZE",
            "TVFS",
            "UTF8",
            "XCRC",
            "XMD5",
            "XSHA",
            "XSHA1",
            "XSHA256",
            "XSHA512",
        ] {
            add(feature);
        }
        let mark = |algorithm: ChecksumAlgorithm| if algorithm == self.algorithm { "*" } else { "" };
        let digests: Vec<_> = action::DIGESTS.map(|each| format!("{}{}", each.as_str(), mark(each))).to_vec();
        add(&format!("HASH {}", digests.join(";")));
        add(&format!("MLST {}", files::fact_list(self.facts, true)));
        lines.push("End".to_owned());
        self.actions.push_back(SessionAction::Reply(FtpReply::multi(211, lines)));
    }

    pub(super) fn help(&mut self) {
        let lines = [
            "Commands:",
            " ABOR ACCT ALLO APPE AUTH AVBL CDUP CLNT CWD DELE EPRT EPSV FEAT HASH HELP HOST LANG LIST MD5",
            " MDTM MFF MFMT MKD MLSD MLST MODE NLST NOOP OPTS PASS PASV PBSZ PORT PROT PWD QUIT RANG REIN",
            " REST RETR RMD RNFR RNTO SITE SIZE STAT STOR STOU STRU SYST TYPE USER XCRC XCUP XCWD XMD5",
            " XMKD XPWD XRMD XSHA XSHA1 XSHA256 XSHA512",
            "End",
        ];
        self.actions.push_back(SessionAction::Reply(FtpReply::multi(214, lines)));
    }

    pub(super) fn options(&mut self, options: &[u8]) {
        let text = String::from_utf8_lossy(options).trim().to_ascii_uppercase();
        let (verb, value) = text.split_once(' ').unwrap_or((&text, ""));
        match (verb, value.trim()) {
            ("UTF8", "" | "ON") => {
                self.utf8 = true;
                self.reply(200, "Names are UTF-8.");
            }
            ("UTF8", "OFF") if let Some(charset) = self.policy.charset => {
                self.utf8 = false;
                self.reply(200, format!("Names are {}.", charset.name()));
            }
            ("UTF8", _) => self.reply(501, "Names are UTF-8."),
            ("MLST", value) => {
                self.facts = files::facts_named(value);
                self.reply(200, format!("MLST OPTS {}", files::fact_list(self.facts, false)).trim_end().to_owned());
            }
            ("HASH", "") => self.reply(200, self.algorithm.as_str()),
            ("HASH", name) => match action::DIGESTS.into_iter().find(|algorithm| algorithm.as_str() == name) {
                Some(algorithm) => {
                    self.algorithm = algorithm;
                    self.reply(200, algorithm.as_str());
                }
                None => self.reply(504, "Unknown algorithm."),
            },
            _ => self.reply(501, "Option not understood."),
        }
    }

    /// The charset of names on the wire; `None` for the bytes of the file system, which are UTF-8.
    pub fn charset(&self) -> Option<WireCharset> {
        self.policy.charset.filter(|_| !self.utf8)
    }

    /// The action with the texts of a reply in the charset of the wire.
    pub(super) fn on_the_wire(&self, action: SessionAction) -> SessionAction {
        match (action, self.charset()) {
            (SessionAction::Reply(FtpReply { code, lines }), Some(charset)) => {
                let lines = lines.into_iter().map(|line| charset.encode_text(line)).collect();
                SessionAction::Reply(FtpReply { code, lines })
            }
            (action, _) => action,
        }
    }

    /// LANG (RFC 2640, section 4.1): all replies are English.
    pub(super) fn language(&mut self, language: Option<&[u8]>) {
        let english = language.is_none_or(|language| {
            let language = language.trim_ascii().to_ascii_lowercase();
            language.is_empty() || language == b"en" || language.starts_with(b"en-")
        });
        match english {
            true => self.reply(200, "Replies are in English."),
            false => self.reply(504, "Replies are in English only."),
        }
    }

    /// HOST (RFC 7151): the server has one tree, whatever host name the client used.
    pub(super) fn host(&mut self, host: &[u8]) {
        let literal = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
        let known = match literal {
            Some(address) => std::str::from_utf8(address).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()),
            None => {
                host.len() <= MAX_HOST
                    && host.iter().all(
                        |byte| matches!(byte, b'-' | b'.' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | 0x80..),
                    )
            }
        };
        match (known, &self.login) {
            (false, _) => self.reply(501, "HOST takes the name of a host, or an address in brackets."),
            // Section 3.2: it comes before USER.
            (true, LoginState::None) => self.reply(220, "Host accepted."),
            (true, _) => self.reply(503, "HOST comes before USER."),
        }
    }
}
