//! FTP replies (RFC 959, section 4.2): parses lines into [`FtpReply`] and composes them. Client and server share it.

use std::collections::VecDeque;

use super::telnet;
use crate::fault::{Fault, Kind, PeerCode};
use crate::line::{Ends, Splitter};

/// The longest accepted reply line, without its line end. RFC 959 sets no limit; a STAT listing puts one path into a line.
pub const MAX_LINE: usize = 8192;

/// The most lines of one reply: a `STAT dir` listing is the longest kind.
pub const MAX_LINES: usize = 200_000;

/// The most bytes of one reply in total.
pub const MAX_BYTES: usize = 16 << 20;

/// One reply: a code and one or more lines of text, without the code, the separator and the line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FtpReply {
    /// The three digits.
    pub code: u16,
    /// The text, per line: bytes, since servers put file names in it.
    pub lines: Vec<Vec<u8>>,
}

/// The meaning of the first digit of a reply (RFC 959, section 4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyClass {
    /// 1yz: action started, another reply follows.
    Preliminary,
    /// 2yz: done.
    Completion,
    /// 3yz: another command is needed.
    Intermediate,
    /// 4yz: temporary failure.
    Transient,
    /// 5yz: permanent failure.
    Permanent,
}

impl FtpReply {
    /// A reply of one line.
    pub fn new(code: u16, text: impl Into<Vec<u8>>) -> FtpReply {
        FtpReply { code, lines: vec![text.into()] }
    }

    /// A reply of several lines; an empty iterator gives one empty line.
    pub fn multi<T: Into<Vec<u8>>>(code: u16, lines: impl IntoIterator<Item = T>) -> FtpReply {
        let mut lines: Vec<Vec<u8>> = lines.into_iter().map(Into::into).collect();
        if lines.is_empty() {
            lines.push(Vec::new());
        }
        FtpReply { code, lines }
    }

    /// The class that its first digit denotes.
    pub fn class(&self) -> ReplyClass {
        match self.code / 100 {
            1 => ReplyClass::Preliminary,
            2 => ReplyClass::Completion,
            3 => ReplyClass::Intermediate,
            4 => ReplyClass::Transient,
            _ => ReplyClass::Permanent,
        }
    }

    /// True for 2yz.
    pub fn ok(&self) -> bool {
        self.class() == ReplyClass::Completion
    }

    /// True for the replies of a server that does not know the command, or not in this form.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.code, 500 | 501 | 502 | 504)
    }

    /// The text of the last line, for messages: servers put the relevant text there.
    pub fn text(&self) -> String {
        let line = self.lines.last().map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(line.trim_ascii()).into_owned()
    }

    /// The first line's bytes.
    pub fn first(&self) -> &[u8] {
        self.lines.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// The lines between the first and the last: the payload of FEAT, MLST and STAT.
    pub fn middle(&self) -> impl Iterator<Item = &[u8]> {
        let count = self.lines.len().saturating_sub(2);
        self.lines.iter().skip(1).take(count).map(Vec::as_slice)
    }

    /// The fault that this reply represents. For 550 the caller gives the kind, which depends on the command.
    pub fn fault(&self, what: impl std::fmt::Display, kind_of_550: Kind) -> Fault {
        let kind = match self.code {
            400..=499 => Kind::PeerTemporary,
            500 | 501 | 502 | 504 | 522 => Kind::Unsupported,
            530 | 532 | 332 => Kind::AuthFailed,
            533 | 534 => Kind::TlsUntrusted,
            550 => kind_of_550,
            500..=599 => Kind::Refused,
            _ => Kind::Protocol,
        };
        Fault::new(kind, format!("{what}: {} {}", self.code, self.text())).with_code(PeerCode::Reply(self.code))
    }

    /// Appends the wire form (RFC 959, section 4.2): `ddd-first`, the lines between unchanged (a line that begins with
    /// a digit gets a leading space, so that it never ends the reply), `ddd last`. CR, LF and NUL inside a line become
    /// spaces: no text can end a reply early.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let last = self.lines.len().saturating_sub(1);
        for (at, line) in self.lines.iter().enumerate() {
            if at == last {
                out.extend_from_slice(format!("{:03} ", self.code).as_bytes());
            } else if at == 0 {
                out.extend_from_slice(format!("{:03}-", self.code).as_bytes());
            } else if line.first().is_some_and(u8::is_ascii_digit) {
                out.push(b' ');
            }
            out.extend(line.iter().map(|byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { *byte }));
            out.extend_from_slice(b"\r\n");
        }
        if self.lines.is_empty() {
            out.extend_from_slice(format!("{:03} \r\n", self.code).as_bytes());
        }
    }

    /// The wire form as a new buffer.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_to(&mut out);
        out
    }
}

/// Parses replies from bytes that arrive in pieces of any size.
#[derive(Debug)]
pub struct FtpReplyReader {
    splitter: Splitter,
    open: Option<FtpReply>,
    bytes: usize,
    /// The index of the line that ends the open reply with another code, and that code, if no line with its own code follows.
    other_end: Option<(usize, u16)>,
    any_code_ends: bool,
    /// Lines after such an end, to be parsed again.
    again: VecDeque<Vec<u8>>,
}

impl Default for FtpReplyReader {
    fn default() -> FtpReplyReader {
        FtpReplyReader::new()
    }
}

impl FtpReplyReader {
    /// A reader at the start of a connection.
    pub fn new() -> FtpReplyReader {
        FtpReplyReader {
            splitter: Splitter::new(Ends::Lenient, MAX_LINE),
            open: None,
            bytes: 0,
            other_end: None,
            any_code_ends: false,
            again: VecDeque::new(),
        }
    }

    /// True if the reply being read may have ended with another code than it began with (glftpd: `553-`, then `150 `),
    /// which RFC 959 does not allow. It has ended if no more bytes follow.
    pub fn may_have_ended(&self) -> bool {
        self.other_end.is_some()
    }

    /// From now on a line with any code ends a reply; a reply that may have ended is ended now.
    pub fn end_with_any_code(&mut self) {
        self.any_code_ends = true;
        let (Some((at, code)), Some(open)) = (self.other_end.take(), self.open.take()) else { return };
        let mut lines = open.lines;
        let rest = lines.split_off((at + 1).min(lines.len()));
        self.bytes = 0;
        // Read again from its last line on: that one is a whole reply, with the lines before it.
        let last = lines.pop().unwrap_or_default();
        self.open = Some(FtpReply { code, lines });
        self.again = std::iter::once(last).chain(rest).collect();
    }

    /// Adds received bytes. Drain [`FtpReplyReader::next_reply`] before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.splitter.push(bytes);
    }

    /// The next complete reply, `None` if more bytes are needed.
    ///
    /// # Errors
    /// `Protocol` for input that is not a reply. The connection is unusable then: replies can no longer be matched to
    /// commands.
    pub fn next_reply(&mut self) -> Result<Option<FtpReply>, Fault> {
        loop {
            let again = self.again.pop_front();
            let line = match &again {
                Some(line) => line,
                None => match self.splitter.next_line() {
                    Ok(Some(line)) => telnet::without_commands(line),
                    Ok(None) => return Ok(None),
                    Err(error) => return Err(error.fault(MAX_LINE).context("reply")),
                },
            };
            self.bytes += line.len();
            if self.bytes > MAX_BYTES {
                return Err(Fault::new(Kind::Protocol, format!("reply longer than {MAX_BYTES} bytes")));
            }
            let Some(open) = &mut self.open else {
                let (code, more, text) = parse_line(line).ok_or_else(|| {
                    let shown: Vec<u8> = line.iter().copied().take(80).collect();
                    Fault::new(Kind::Protocol, format!("not an FTP reply: {:?}", String::from_utf8_lossy(&shown)))
                        .with_hint("is this an FTP server? ftps:// is implicit TLS, ftpes:// is AUTH TLS")
                })?;
                let reply = FtpReply::new(code, text);
                if more {
                    self.open = Some(reply);
                    continue;
                }
                self.bytes = 0;
                return Ok(Some(reply));
            };
            // Servers prefix the lines between with `ddd-` or not; only `ddd ` with the same code ends the reply, as far as is
            // known of the server.
            match parse_line(line) {
                Some((code, false, text)) if code == open.code || self.any_code_ends => {
                    open.code = code;
                    open.lines.push(text.to_vec());
                }
                Some((code, true, text)) if code == open.code && self.other_end.is_none() => {
                    open.lines.push(text.to_vec());
                    check_count(open)?;
                    continue;
                }
                other => {
                    if let (Some((code, false, _)), None) = (other, self.other_end) {
                        self.other_end = Some((open.lines.len(), code));
                    }
                    open.lines.push(line.to_vec());
                    check_count(open)?;
                    continue;
                }
            }
            self.other_end = None;
            self.bytes = 0;
            return Ok(self.open.take());
        }
    }

    /// True if unparsed bytes are buffered, or a reply is incomplete: at a TLS handshake there must be none
    /// (CVE-2021-22947).
    pub fn has_pending(&self) -> bool {
        self.open.is_some() || !self.again.is_empty() || !self.splitter.pending().is_empty()
    }
}

fn check_count(reply: &FtpReply) -> Result<(), Fault> {
    match reply.lines.len() >= MAX_LINES {
        true => Err(Fault::new(Kind::Protocol, format!("reply of more than {MAX_LINES} lines"))),
        false => Ok(()),
    }
}

/// `ddd text`, `ddd-text` or a bare `ddd` (met in the wild): code, whether more lines follow, text.
fn parse_line(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) || !matches!(digits.first(), Some(b'1'..=b'5')) {
        return None;
    }
    let code = digits.iter().fold(0u16, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest.split_first() {
        None => Some((code, false, rest)),
        Some((b' ', text)) => Some((code, false, text)),
        Some((b'-', text)) => Some((code, true, text)),
        Some(_) => None,
    }
}

/// The path of a 257 reply (RFC 959, appendix II): the text between the first quote and the next undoubled one; `""` is a quote.
pub fn quoted_path(text: &[u8]) -> Option<Vec<u8>> {
    let start = memchr::memchr(b'"', text)? + 1;
    let mut path = Vec::new();
    let mut bytes = text.get(start..)?.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'"' {
            if bytes.peek() != Some(&b'"') {
                return Some(path);
            }
            bytes.next();
        }
        path.push(byte);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<FtpReply>, Fault> {
        let mut reader = FtpReplyReader::new();
        let mut replies = Vec::new();
        for piece in pieces {
            reader.push(piece);
            while let Some(reply) = reader.next_reply()? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    #[test]
    fn single_and_multi_line() {
        let input =
            b"220 ready\r\n211-Features:\r\n MDTM\r\n211-REST STREAM\r\n212 not the end\r\n211 End\r\n200\r\n226 \r\n";
        let replies = read(&[input]).unwrap();
        assert_eq!(replies[0], FtpReply::new(220, "ready"));
        assert_eq!(replies[1], FtpReply::multi(211, ["Features:", " MDTM", "REST STREAM", "212 not the end", "End"]));
        assert_eq!(replies[1].middle().count(), 3);
        assert_eq!(replies[1].text(), "End");
        assert_eq!(replies[2..], [FtpReply::new(200, ""), FtpReply::new(226, "")]);
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let split = read(&[&input[..first], &input[first..second], &input[second..]]).unwrap();
                assert_eq!(split, replies, "split at {first} and {second}");
            }
        }
    }

    #[test]
    fn what_is_no_reply() {
        for bad in
            ["hello\r\n", "22 x\r\n", "2200 x\r\n", "\r\n", "220x\r\n", "099 x\r\n", "600 x\r\n", "HTTP/1.1 400\r\n"]
        {
            assert_eq!(read(&[bad.as_bytes()]).unwrap_err().kind, Kind::Protocol, "{bad:?}");
        }
    }

    #[test]
    fn a_reply_that_ends_with_another_code() {
        let input = b"553-full\r\n553-very\r\n150 yet here it comes\r\n226-x\r\n553-y\r\n226 done\r\n200 ok\r\n";
        let want = [
            FtpReply::multi(150, ["full", "very", "yet here it comes"]),
            FtpReply::multi(226, ["x", "553-y", "done"]),
            FtpReply::new(200, "ok"),
        ];
        for split in 0..=input.len() {
            let mut reader = FtpReplyReader::new();
            reader.push(&input[..split]);
            assert_eq!(reader.next_reply(), Ok(None));
            reader.push(&input[split..]);
            assert_eq!(reader.next_reply(), Ok(None));
            assert!(reader.may_have_ended() && reader.has_pending());
            reader.end_with_any_code();
            let read: Vec<_> = std::iter::from_fn(|| reader.next_reply().unwrap()).collect();
            assert_eq!(read, want, "split at {split}");
            assert!(!reader.may_have_ended() && !reader.has_pending());
            reader.push(b"250-a\r\n200 b\r\n");
            assert_eq!(reader.next_reply(), Ok(Some(FtpReply::multi(200, ["a", "b"]))), "learned");
        }
    }

    #[test]
    fn negotiation_before_a_reply() {
        assert_eq!(
            read(&[b"\xff\xfe\x06\xff\xfc\x01200 \xff\xfe\x06\r\n"]).unwrap(),
            [FtpReply::new(200, *b"\xff\xfe\x06")]
        );
    }

    #[test]
    fn limits_hold() {
        let line = |count: usize| [b"220 ".as_slice(), &vec![b'x'; count - 4], b"\r\n"].concat();
        assert_eq!(read(&[&line(MAX_LINE)]).unwrap().len(), 1);
        assert_eq!(read(&[&line(MAX_LINE + 1)]).unwrap_err().kind, Kind::Protocol);
        let lines = |count: usize| [b"220-\r\n".as_slice(), &b"\r\n".repeat(count - 2), b"220 \r\n"].concat();
        assert_eq!(read(&[&lines(MAX_LINES)]).unwrap()[0].lines.len(), MAX_LINES);
        assert!(read(&[&lines(MAX_LINES + 1)]).is_err());
        let fat = [b"220-".as_slice(), &vec![b'x'; 4000], b"\r\n"].concat();
        assert!(read(&[&fat.repeat(MAX_BYTES / 4000 + 1)]).is_err());
    }

    #[test]
    fn compose_then_parse() {
        for reply in [
            FtpReply::new(226, "done"),
            FtpReply::multi(211, ["Features:", " MDTM", " SIZE", "End"]),
            FtpReply::multi(250, ["Listing", " type=file; \u{e9} name", ""]),
            FtpReply { code: 213, lines: vec![vec![0xff, b'"']] },
        ] {
            assert_eq!(read(&[&reply.to_bytes()]).unwrap(), [reply]);
        }
        assert_eq!(FtpReply::multi(214, ["a", "214 evil", "b"]).to_bytes(), b"214-a\r\n 214 evil\r\n214 b\r\n");
        assert_eq!(FtpReply::new(500, "x\r\n230 in").to_bytes(), b"500 x  230 in\r\n");
        assert_eq!(FtpReply { code: 200, lines: vec![] }.to_bytes(), b"200 \r\n");
    }

    #[test]
    fn paths_in_quotes() {
        for path in ["/", "/a b", "/say \"hi\"", "", "\""] {
            let text = [&crate::ftp::session::path::quote(path.as_bytes())[..], b" is cwd"].concat();
            assert_eq!(quoted_path(&text).unwrap(), path.as_bytes());
        }
        assert_eq!(quoted_path(b"no quotes"), None);
        assert_eq!(quoted_path(b"\"open"), None);
        assert_eq!(quoted_path(b"\"open\"\""), None, "an even run of quotes never closes");
    }

    #[test]
    fn faults() {
        let kind = |code| FtpReply::new(code, "x").fault("RETR", Kind::NoInput).kind;
        assert_eq!(kind(421), Kind::PeerTemporary);
        assert_eq!(kind(550), Kind::NoInput);
        assert_eq!(kind(530), Kind::AuthFailed);
        assert_eq!(kind(502), Kind::Unsupported);
        assert_eq!(kind(553), Kind::Refused);
        assert_eq!(kind(226), Kind::Protocol);
        assert!(FtpReply::new(452, "full").fault("STOR", Kind::Refused).temporary());
    }
}
