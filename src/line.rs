//! A bounded line splitter for CRLF protocols: it never holds more than its limit, and reports a malformed line end instead
//! of guessing.

use crate::fault::{Fault, Kind};

/// The accepted line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// CRLF only: a bare LF or a bare CR is an error (SMTP, RFC 5321 section 2.3.8).
    Strict,
    /// CRLF or LF; a CR elsewhere stays in the line (FTP replies and listings as servers send them).
    Lenient,
}

/// The reason why a line was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineError {
    /// More than `limit` bytes without a line end.
    TooLong,
    /// A CR without a following LF.
    BareCr,
    /// An LF without a preceding CR.
    BareLf,
}

impl LineError {
    /// The line error as a fault of the peer.
    pub fn fault(self, limit: usize) -> Fault {
        let detail = match self {
            LineError::TooLong => format!("line longer than {limit} bytes"),
            LineError::BareCr => "carriage return without line feed".to_owned(),
            LineError::BareLf => "line feed without carriage return".to_owned(),
        };
        Fault::new(Kind::Protocol, detail)
    }
}

/// Splits bytes that arrive in pieces of any size into lines.
#[derive(Debug)]
pub struct Splitter {
    ends: Ends,
    limit: usize,
    buffer: Vec<u8>,
    /// The start of the next line in `buffer`.
    start: usize,
    /// The end of the part of `buffer` that was already searched for a line end.
    searched: usize,
    /// True while the rest of an over-long line is dropped, so that it never passes for a separate line.
    discarding: bool,
}

impl Splitter {
    /// A splitter for lines of at most `limit` bytes, line end not counted.
    pub fn new(ends: Ends, limit: usize) -> Splitter {
        Splitter { ends, limit, buffer: Vec::new(), start: 0, searched: 0, discarding: false }
    }

    /// Adds bytes from the peer. Callers drain [`Splitter::next_line`] before pushing more, so the buffer stays within one
    /// read plus one line.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line without its end; `None` if more bytes are needed.
    ///
    /// # Errors
    /// A bare CR or LF: the offending line is consumed, so the caller may continue. [`LineError::TooLong`]: everything up to
    /// the line end is consumed.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, LineError> {
        if self.discarding && !self.discard() {
            return Ok(None);
        }
        let from = self.searched.max(self.start);
        let tail = self.buffer.get(from..).unwrap_or_default();
        let Some(offset) = find(b'\n', tail) else {
            self.searched = self.buffer.len();
            let pending = self.buffer.len() - self.start;
            if pending > self.limit + 1 {
                self.discarding = true;
                self.discard();
                return Err(LineError::TooLong);
            }
            return Ok(None);
        };
        let newline = from + offset;
        let begin = self.start;
        self.start = newline + 1;
        self.searched = self.start;
        let line = self.buffer.get(begin..newline).unwrap_or_default();
        let (line, has_cr) = match line.split_last() {
            Some((b'\r', rest)) => (rest, true),
            _ => (line, false),
        };
        if line.len() > self.limit {
            return Err(LineError::TooLong);
        }
        if self.ends == Ends::Strict {
            if find(b'\r', line).is_some() {
                return Err(LineError::BareCr);
            }
            if !has_cr {
                return Err(LineError::BareLf);
            }
        }
        Ok(Some(line))
    }

    /// Drops bytes up to the next line end; true once it was found.
    fn discard(&mut self) -> bool {
        match find(b'\n', self.pending()) {
            Some(offset) => {
                self.start += offset + 1;
                self.discarding = false;
            }
            None => {
                self.buffer.clear();
                self.start = 0;
            }
        }
        self.searched = self.start;
        !self.discarding
    }

    /// Pushed bytes that were not yet handed out. They must be empty when a TLS handshake begins: bytes received in clear
    /// text must not pass for an answer inside TLS (CVE-2011-0411, CVE-2021-22947).
    pub fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Takes the pending bytes, for a protocol that leaves line mode (message data).
    pub fn take_pending(&mut self) -> Vec<u8> {
        let rest = self.pending().to_vec();
        self.buffer.clear();
        (self.start, self.searched) = (0, 0);
        rest
    }

    /// The limit of a line, in bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// The first position of a byte. Most lines are short, and the first call of `memchr` queries the processor's features: in a
/// virtual machine that takes longer (0.07 ms) than searching all lines of a short dialogue byte by byte.
fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    const NEAR: usize = 256;
    let (near, far) = bytes.split_at(bytes.len().min(NEAR));
    match near.iter().position(|it| *it == byte) {
        None if !far.is_empty() => memchr::memchr(byte, far).map(|at| near.len() + at),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(ends: Ends, limit: usize, pieces: &[&[u8]]) -> Vec<Result<String, LineError>> {
        let mut splitter = Splitter::new(ends, limit);
        let mut found = Vec::new();
        for piece in pieces {
            splitter.push(piece);
            loop {
                match splitter.next_line() {
                    Ok(Some(line)) => found.push(Ok(String::from_utf8_lossy(line).into_owned())),
                    Ok(None) => break,
                    Err(error) => found.push(Err(error)),
                }
            }
        }
        found
    }

    #[test]
    fn every_split_gives_the_same_lines() {
        let input: &[u8] = b"220 hello\r\n\r\nEHLO a\r\nx\ny\rz\r\nmuch too long\r\nlast\r\n";
        for ends in [Ends::Strict, Ends::Lenient] {
            let whole = lines(ends, 9, &[input]);
            for first in 0..=input.len() {
                for second in first..=input.len() {
                    let pieces = [&input[..first], &input[first..second], &input[second..]];
                    assert_eq!(lines(ends, 9, &pieces), whole, "split at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn strict_names_bare_ends_and_goes_on() {
        let found = lines(Ends::Strict, 64, &[b"a\nb\rc\r\nd\r\n"]);
        assert_eq!(found, [Err(LineError::BareLf), Err(LineError::BareCr), Ok("d".to_owned())]);
    }

    #[test]
    fn limit_is_exact() {
        assert_eq!(lines(Ends::Strict, 4, &[b"abcd\r\n"]), [Ok("abcd".to_owned())]);
        assert_eq!(lines(Ends::Strict, 4, &[b"abcde\r\n"]), [Err(LineError::TooLong)]);
        assert_eq!(lines(Ends::Strict, 0, &[b"\r\n"]), [Ok(String::new())]);
        assert_eq!(lines(Ends::Lenient, 4, &[b"abcd", b"ef"]), [Err(LineError::TooLong)]);
        let tail = lines(Ends::Strict, 4, &[b"abcdefg", b"hijk", b"QUIT\r\nok\r\n"]);
        assert_eq!(tail, [Err(LineError::TooLong), Ok("ok".to_owned())], "the tail of a long line is no line");
    }

    #[test]
    fn ends_of_lines_are_found_near_and_far() {
        for length in [0, 1, 254, 255, 256, 257, 1000] {
            let mut text = vec![b'a'; length];
            assert_eq!(find(b'\n', &text), None, "{length} bytes without an end");
            text.extend(b"\nb\n");
            assert_eq!(find(b'\n', &text), Some(length));
        }
    }

    #[test]
    fn pending_bytes_are_seen() {
        let mut splitter = Splitter::new(Ends::Strict, 64);
        splitter.push(b"220 go\r\nEHLO evil\r\n");
        assert_eq!(splitter.next_line(), Ok(Some(&b"220 go"[..])));
        assert_eq!(splitter.pending(), b"EHLO evil\r\n");
        assert_eq!(splitter.take_pending(), b"EHLO evil\r\n");
        assert_eq!(splitter.next_line(), Ok(None));
    }
}
