//! Replies between wire text and types (RFC 5321, section 4.2; enhanced status codes by RFC 2034).

use crate::fault::{Enhanced, Fault, Kind, PeerCode};
use crate::line::{Ends, Splitter};

/// The longest accepted reply line from a server. RFC 5321 says 512 (section 4.5.3.1.5); real servers send whole policies.
pub const MAX_REPLY_LINE: usize = 4_096;

/// The maximum number of lines in one reply.
pub const MAX_REPLY_LINES: usize = 256;

/// One reply: a code and its lines of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpReply {
    /// Three digits, 200 to 599.
    pub code: u16,
    /// The enhanced status code at the start of the text, if present and if its class fits the code.
    pub enhanced: Option<Enhanced>,
    /// The text of each line, without code and enhanced code; at least one line, possibly empty.
    pub lines: Vec<String>,
}

impl SmtpReply {
    /// A reply of one line.
    pub fn new(code: u16, enhanced: Option<Enhanced>, text: impl Into<String>) -> SmtpReply {
        SmtpReply { code, enhanced, lines: vec![text.into()] }
    }

    /// A reply with an enhanced code whose class follows from the code: `SmtpReply::status(550, 1, 1, …)` is `550 5.1.1`.
    pub fn status(code: u16, subject: u16, detail: u16, text: impl Into<String>) -> SmtpReply {
        let class = u8::try_from(code / 100).unwrap_or(5);
        SmtpReply::new(code, Some(Enhanced::new(class, subject, detail)), text)
    }

    /// True for a 2yz code that can answer a command of a transaction. 220 (greeting) and 221 (goodbye) cannot.
    pub fn accepts(&self) -> bool {
        self.code / 100 == 2 && !matches!(self.code, 220 | 221)
    }

    /// True for 4yz (temporary) or 5yz (permanent).
    pub fn refuses(&self) -> bool {
        matches!(self.code / 100, 4 | 5)
    }

    /// True for 5yz (permanent).
    pub fn permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The whole reply as one line for a person: `550 5.1.1 no such user`.
    pub fn text(&self) -> String {
        let mut text = self.code.to_string();
        if let Some(enhanced) = self.enhanced {
            text.push_str(&format!(" {enhanced}"));
        }
        for line in self.lines.iter().filter(|line| !line.is_empty()) {
            text.push(' ');
            text.push_str(line);
        }
        text
    }

    /// Appends the reply in wire format. Control characters in the text become `?`, so that no text, whatever its
    /// origin, adds a line.
    pub fn wire(&self, out: &mut Vec<u8>) {
        let last = self.lines.len().saturating_sub(1);
        for (index, line) in self.lines.iter().enumerate() {
            let separator = if index == last { ' ' } else { '-' };
            out.extend_from_slice(format!("{:03}{separator}", self.code).as_bytes());
            if let Some(enhanced) = self.enhanced {
                out.extend_from_slice(format!("{enhanced} ").as_bytes());
            }
            out.extend(line.bytes().map(|byte| if byte.is_ascii_control() { b'?' } else { byte }));
            out.extend_from_slice(b"\r\n");
        }
    }

    /// A negative or unexpected reply as a fault; `what` names the command it answers.
    pub fn fault(&self, what: &str) -> Fault {
        let kind = match (self.code, self.enhanced) {
            (400..=499, _) => Kind::PeerTemporary,
            (530 | 534 | 535 | 538, _) => Kind::AuthFailed,
            (550 | 551 | 553, Some(Enhanced { class: 5, subject: 1, detail: 1 | 6 })) => Kind::NoUser,
            (500..=599, _) => Kind::Refused,
            _ => Kind::Protocol,
        };
        let detail = match kind {
            Kind::Protocol => format!("{what}: unexpected reply: {}", self.text()),
            _ => format!("{what}: {}", self.text()),
        };
        Fault::new(kind, detail).with_code(PeerCode::Reply(self.code)).with_enhanced(self.enhanced)
    }
}

/// Reads replies from bytes that arrive in pieces of any size.
#[derive(Debug)]
pub struct SmtpReplyReader {
    splitter: Splitter,
    code: u16,
    lines: Vec<String>,
}

impl Default for SmtpReplyReader {
    fn default() -> SmtpReplyReader {
        SmtpReplyReader { splitter: Splitter::new(Ends::Lenient, MAX_REPLY_LINE), code: 0, lines: Vec::new() }
    }
}

impl SmtpReplyReader {
    /// Adds bytes received from the server. Callers drain [`SmtpReplyReader::next_reply`] before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.splitter.push(bytes);
    }

    /// The next whole reply; `None` if more bytes are needed. After an error the dialogue cannot be trusted any more.
    ///
    /// # Errors
    /// [`Kind::Protocol`] for a malformed or too long reply.
    pub fn next_reply(&mut self) -> Result<Option<SmtpReply>, Fault> {
        loop {
            let line = match self.splitter.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => return Ok(None),
                Err(error) => return Err(error.fault(MAX_REPLY_LINE).context("server reply")),
            };
            let (code, more, text) = parse_line(line).ok_or_else(|| {
                let start: String = String::from_utf8_lossy(line).chars().take(80).collect();
                Fault::new(Kind::Protocol, format!("not a reply: {start}"))
            })?;
            if !self.lines.is_empty() && code != self.code {
                let detail = format!("lines of one reply differ in their code: {} and {code}", self.code);
                return Err(Fault::new(Kind::Protocol, detail));
            }
            if self.lines.len() == MAX_REPLY_LINES {
                return Err(Fault::new(Kind::Protocol, format!("reply of more than {MAX_REPLY_LINES} lines")));
            }
            self.code = code;
            self.lines.push(text);
            if !more {
                return Ok(Some(finish(code, std::mem::take(&mut self.lines))));
            }
        }
    }

    /// True while received bytes are not yet part of a returned reply. Must be false when TLS begins: bytes received in
    /// clear text must not pass for a reply inside TLS (CVE-2011-0411).
    pub fn has_pending(&self) -> bool {
        !self.lines.is_empty() || !self.splitter.pending().is_empty()
    }
}

/// Parses `250-text`, `250 text` or `250` into the code, whether more lines follow, and the text.
fn parse_line(line: &[u8]) -> Option<(u16, bool, String)> {
    let (digits, rest) = line.split_at_checked(3)?;
    let [first @ b'2'..=b'5', second @ b'0'..=b'9', third @ b'0'..=b'9'] = *digits else { return None };
    let code = u16::from(first - b'0') * 100 + u16::from(second - b'0') * 10 + u16::from(third - b'0');
    let (more, text) = match rest.split_first() {
        None => (false, &b""[..]),
        Some((b' ', text)) => (false, text),
        Some((b'-', text)) => (true, text),
        Some(_) => return None,
    };
    Some((code, more, String::from_utf8_lossy(text).into_owned()))
}

/// Removes the enhanced code from every line that repeats the first line's code (RFC 2034, section 4: all lines do).
fn finish(code: u16, mut lines: Vec<String>) -> SmtpReply {
    let class = code / 100;
    let enhanced = lines
        .first()
        .and_then(|line| Enhanced::parse(line.split(' ').next().unwrap_or_default()))
        .filter(|enhanced| u16::from(enhanced.class) == class);
    if let Some(enhanced) = enhanced {
        let prefix = enhanced.to_string();
        for line in &mut lines {
            if let Some(rest) = line.strip_prefix(&prefix).filter(|rest| rest.is_empty() || rest.starts_with(' ')) {
                *line = rest.trim_start_matches(' ').to_owned();
            }
        }
    }
    SmtpReply { code, enhanced, lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<Result<SmtpReply, Kind>> {
        let mut reader = SmtpReplyReader::default();
        let mut replies = Vec::new();
        for piece in pieces {
            reader.push(piece);
            loop {
                match reader.next_reply() {
                    Ok(Some(reply)) => replies.push(Ok(reply)),
                    Ok(None) => break,
                    Err(fault) => {
                        replies.push(Err(fault.kind));
                        return replies;
                    }
                }
            }
        }
        replies
    }

    #[test]
    fn every_split_gives_the_same_replies() {
        let input: &[u8] =
            b"220 x ESMTP\r\n250-a\r\n250-SIZE 1\r\n250 8BITMIME\r\n550-5.1.1 no\n550 5.1.1 user\n354\r\n";
        let whole = read(&[input]);
        assert_eq!(whole.len(), 4);
        for first in 0..=input.len() {
            for second in first..=input.len() {
                let pieces = [&input[..first], &input[first..second], &input[second..]];
                assert_eq!(read(&pieces), whole, "split at {first} and {second}");
            }
        }
        assert_eq!(
            whole[2],
            Ok(SmtpReply { lines: vec!["no".into(), "user".into()], ..SmtpReply::status(550, 1, 1, "") })
        );
        assert_eq!(whole[3], Ok(SmtpReply::new(354, None, "")));
    }

    #[test]
    fn compose_and_parse_round_trip() {
        let replies = [
            SmtpReply::new(220, None, "bob.test ESMTP"),
            SmtpReply::new(250, None, ""),
            SmtpReply::status(250, 1, 5, "recipient ok"),
            SmtpReply { lines: vec!["one".into(), "two".into(), "three".into()], ..SmtpReply::status(421, 3, 2, "") },
        ];
        for reply in replies {
            let mut wire = Vec::new();
            reply.wire(&mut wire);
            assert_eq!(read(&[&wire]), [Ok(reply)]);
        }
    }

    #[test]
    fn text_never_makes_a_line() {
        let mut wire = Vec::new();
        SmtpReply::new(550, None, "no\r\n250 yes\0").wire(&mut wire);
        assert_eq!(wire, b"550 no??250 yes?\r\n");
    }

    #[test]
    fn what_is_no_reply_is_a_protocol_fault() {
        let long = [b"250 ".as_slice(), &[b'x'; MAX_REPLY_LINE], b"\r\n"].concat();
        let endless = b"250-x\r\n".repeat(MAX_REPLY_LINES + 1);
        let bad: [&[u8]; 9] = [
            b"hello\r\n",
            b"\r\n",
            b"25\r\n",
            b"2500 x\r\n",
            b"199 x\r\n",
            b"600 x\r\n",
            b"250_x\r\n",
            &long,
            &endless,
        ];
        for input in bad {
            assert_eq!(read(&[input]), [Err(Kind::Protocol)], "{:?}", String::from_utf8_lossy(input));
        }
        assert_eq!(read(&[b"250-a\r\n251 b\r\n"]), [Err(Kind::Protocol)]);
    }

    #[test]
    fn limits_are_exact() {
        let longest = [b"250 ".as_slice(), &[b'x'; MAX_REPLY_LINE - 4], b"\r\n"].concat();
        assert!(read(&[&longest])[0].is_ok());
        let most = [b"250-x\r\n".repeat(MAX_REPLY_LINES - 1), b"250 x\r\n".to_vec()].concat();
        assert_eq!(read(&[&most])[0].as_ref().map(|reply| reply.lines.len()), Ok(MAX_REPLY_LINES));
    }

    #[test]
    fn enhanced_code_must_fit_the_reply() {
        let one = |wire: &[u8]| read(&[wire]).remove(0).unwrap();
        assert_eq!(one(b"250 5.1.1 odd\r\n").enhanced, None);
        assert_eq!(one(b"550 5.1.1\r\n"), SmtpReply::status(550, 1, 1, ""));
        assert_eq!(one(b"550 5.1.10.x\r\n").enhanced, None);
        assert_eq!(one(b"250 2.0.0 ok\r\n").text(), "250 2.0.0 ok");
    }

    #[test]
    fn kinds_of_refusals() {
        let table = [
            (SmtpReply::status(450, 2, 0, ""), Kind::PeerTemporary),
            (SmtpReply::status(550, 1, 1, ""), Kind::NoUser),
            (SmtpReply::new(550, None, ""), Kind::Refused),
            (SmtpReply::status(535, 7, 8, ""), Kind::AuthFailed),
            (SmtpReply::status(554, 7, 1, ""), Kind::Refused),
            (SmtpReply::new(250, None, ""), Kind::Protocol),
            (SmtpReply::new(354, None, ""), Kind::Protocol),
        ];
        for (reply, kind) in table {
            assert_eq!(reply.fault("X").kind, kind, "{reply:?}");
        }
    }
}
