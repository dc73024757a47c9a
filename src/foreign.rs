//! First words of foreign protocols that a browser or another client may be tricked into speaking to an FTP or SMTP server
//! (CVE-2021-3618, "ALPACA"): the server obeys nothing that follows them.

/// The protocol that the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpokenProtocol {
    /// FTP (RFC 959).
    Ftp,
    /// SMTP or LMTP (RFC 5321, RFC 2033).
    Smtp,
}

/// Methods of HTTP (RFC 9110, RFC 5789, WebDAV by RFC 4918), the preface of HTTP/2 (RFC 9113, section 3.4), and the
/// additional methods of RTSP (RFC 7826) and SIP (RFC 3261).
const WEB: &[&str] = &[
    "ACK",
    "ANNOUNCE",
    "BYE",
    "CANCEL",
    "CONNECT",
    "COPY",
    "DELETE",
    "DESCRIBE",
    "GET",
    "HEAD",
    "INVITE",
    "LOCK",
    "MKCOL",
    "MOVE",
    "OPTIONS",
    "PATCH",
    "PLAY",
    "POST",
    "PRI",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "REFER",
    "REGISTER",
    "REPORT",
    "SETUP",
    "SUBSCRIBE",
    "TEARDOWN",
    "TRACE",
    "UNLOCK",
];

/// Commands that open a POP3 dialogue (RFC 1939, RFC 2595), apart from those shared with FTP.
const POP3: &[&str] = &["APOP", "CAPA", "STLS"];

/// Commands that only SMTP has.
const SMTP: &[&str] = &["BDAT", "DATA", "EHLO", "HELO", "LHLO", "RCPT", "STARTTLS"];

/// Commands that begin a session or a transfer of FTP.
const FTP: &[&str] = &[
    "CWD", "EPRT", "EPSV", "LIST", "MLSD", "NLST", "PASS", "PASV", "PORT", "PROT", "PWD", "RETR", "STOR", "SYST",
    "TYPE", "USER",
];

/// True if a verb, in any case, belongs to a protocol that the server does not speak.
pub fn is_foreign_verb(verb: &str, spoken: SpokenProtocol) -> bool {
    let other = match spoken {
        SpokenProtocol::Ftp => SMTP,
        SpokenProtocol::Smtp => FTP,
    };
    [WEB, POP3, other].into_iter().flatten().any(|foreign| foreign.eq_ignore_ascii_case(verb))
}

/// True if a line, without its end, belongs to another protocol: it has a foreign verb, ends with HTTP's version, is a
/// header field or a greeting of SSH (RFC 4253, section 4.2), or does not begin with a letter as every verb does.
pub fn is_foreign_line(line: &[u8], spoken: SpokenProtocol) -> bool {
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let Some(first) = words.next() else { return false };
    let version = words.next_back().is_some_and(|last| last.starts_with(b"HTTP/") || last.starts_with(b"RTSP/"));
    version
        || first.starts_with(b"SSH-")
        || first.contains(&b':')
        || !first.first().is_some_and(u8::is_ascii_alphabetic)
        || std::str::from_utf8(first).is_ok_and(|verb| is_foreign_verb(verb, spoken))
}

#[cfg(test)]
mod tests {
    use super::SpokenProtocol::{Ftp, Smtp};
    use super::*;

    #[test]
    fn lines_of_other_protocols() {
        for line in [
            "GET / HTTP/1.1",
            "post /x HTTP/1.0",
            "CONNECT a.test:25 HTTP/1.1",
            "PRI * HTTP/2.0",
            "WHATEVER / HTTP/1.1",
            "GET",
            "OPTIONS rtsp://a RTSP/2.0",
            "<html>",
            "\u{16}\u{3}\u{1}",
            "*1",
            "SSH-2.0-x",
            "{\"a\":1}",
            "  GET /",
            "CAPA",
            "Host: a.test",
            "Subject:x",
            "Content-Type:",
        ] {
            for spoken in [Ftp, Smtp] {
                assert!(is_foreign_line(line.as_bytes(), spoken), "{line:?} to {spoken:?}");
            }
        }
        for (line, foreign_to) in [("EHLO a", Ftp), ("rcpt to:<a@b>", Ftp), ("USER a", Smtp), ("RETR x", Smtp)] {
            assert_eq!(
                [Ftp, Smtp].map(|spoken| is_foreign_line(line.as_bytes(), spoken)),
                [Ftp, Smtp].map(|s| s == foreign_to)
            );
        }
        for line in ["", " ", "MAIL FROM:<a@b>", "NOOP GET / x", "QUIT", "FOO", "HELP", "AUTH PLAIN AA==", "GETS x"] {
            assert!(!is_foreign_line(line.as_bytes(), Smtp), "{line:?}");
        }
        assert!(is_foreign_line(b"\xff\xfe", Smtp));
    }
}
