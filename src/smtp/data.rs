//! Message data on the wire: dot-stuffing and its removal (RFC 5321, section 4.5.2), both on borrowed slices, and the
//! search for bare CR and LF that DATA and BDAT share.

use std::io::{self, Read};

use crate::blob::Blob;

/// A message to be sent: canonical (every line ends with CRLF), not dot-stuffed, and readable more than once.
pub trait Content: Send + Sync {
    /// The exact length of the message in bytes.
    fn size_bytes(&self) -> u64;

    /// True if its header or body contains a byte outside ASCII.
    fn has_8bit(&self) -> bool;

    /// Opens a new reader at the first byte of the message.
    ///
    /// # Errors
    /// The system's error for the file.
    fn open(&self) -> io::Result<Box<dyn Read + Send>>;

    /// The whole message, if it is in memory: saves a copy.
    fn in_memory(&self) -> Option<&[u8]> {
        None
    }
}

/// A message that is stored exactly as it is sent.
#[derive(Debug, Clone)]
pub struct MessageBlob {
    /// The bytes of the message.
    pub blob: Blob,
    /// True if one of the bytes is outside ASCII.
    pub has_8bit: bool,
}

impl From<Vec<u8>> for MessageBlob {
    fn from(bytes: Vec<u8>) -> MessageBlob {
        MessageBlob { has_8bit: !bytes.is_ascii(), blob: Blob::memory(bytes) }
    }
}

impl Content for MessageBlob {
    fn size_bytes(&self) -> u64 {
        self.blob.size_bytes()
    }

    fn has_8bit(&self) -> bool {
        self.has_8bit
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.blob.open_at(0)))
    }

    fn in_memory(&self) -> Option<&[u8]> {
        self.blob.in_memory()
    }
}

/// A bare CR or LF, which no message may contain (RFC 5321, section 2.3.8). Some servers take it for a line end and
/// others do not: for the former, the text after it can become commands (SMTP smuggling).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BareNewline;

/// The treatment of an LF without a preceding CR, by a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BareLf {
    /// The message or command is refused.
    #[default]
    Reject,
    /// The LF ends a line as CRLF does, but never the message. A bare CR is refused all the same.
    Normalize,
}

/// Finds bare CR and LF in data that arrives in pieces of any size.
#[derive(Debug, Clone, Default)]
pub struct NewlineCheck {
    after_cr: bool,
    bare_lf: BareLf,
}

impl NewlineCheck {
    /// Creates a check that expects the first byte of a message.
    pub fn new(bare_lf: BareLf) -> NewlineCheck {
        NewlineCheck { after_cr: false, bare_lf }
    }

    /// Checks the next piece.
    ///
    /// # Errors
    /// [`BareNewline`] for CR without LF or LF without CR.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), BareNewline> {
        if matches!(self.next(piece), (_, Piece::Bare)) { Err(BareNewline) } else { Ok(()) }
    }

    /// Examines the received bytes. Returns the number of bytes consumed and their kind, which is never [`Piece::End`].
    /// Call it again with the rest until no input is left.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Piece<'a>) {
        let mut at = 0;
        loop {
            if self.after_cr
                && let Some(byte) = input.get(at)
            {
                self.after_cr = false;
                if *byte != b'\n' {
                    return (at, Piece::Bare);
                }
                at += 1;
            }
            let rest = input.get(at..).unwrap_or_default();
            match memchr::memchr2(b'\r', b'\n', rest) {
                None => return (input.len(), Piece::Data(input)),
                Some(offset) if rest.get(offset) == Some(&b'\r') => {
                    at += offset + 1;
                    self.after_cr = true;
                    if at == input.len() {
                        return (at, Piece::Data(input));
                    }
                }
                Some(offset) => return bare_lf(self.bare_lf, input, 0, at + offset),
            }
        }
    }

    /// Must be called at the end of the data: a final CR without LF is bare too.
    ///
    /// # Errors
    /// [`BareNewline`] for CR without LF or LF without CR.
    pub fn finish(&self) -> Result<(), BareNewline> {
        if self.after_cr { Err(BareNewline) } else { Ok(()) }
    }
}

/// The piece for the bytes from `from` up to a bare LF at `at`: the data first, and with the next call the LF itself.
fn bare_lf(policy: BareLf, input: &[u8], from: usize, at: usize) -> (usize, Piece<'_>) {
    match policy {
        BareLf::Reject => (at + 1, Piece::Bare),
        BareLf::Normalize if at > from => (at, Piece::Data(input.get(from..at).unwrap_or_default())),
        BareLf::Normalize => (at + 1, Piece::LineEnd),
    }
}

/// Encodes message data for DATA: adds a dot to each line that starts with one, and the final line.
#[derive(Debug)]
pub struct DotStuffer {
    check: NewlineCheck,
    line_start: bool,
}

impl Default for DotStuffer {
    fn default() -> DotStuffer {
        DotStuffer { check: NewlineCheck::default(), line_start: true }
    }
}

impl DotStuffer {
    /// Appends the next piece of the message to `out`, dot-stuffed. After an error the message cannot be sent.
    ///
    /// # Errors
    /// [`BareNewline`] for CR without LF or LF without CR.
    pub fn stuff(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), BareNewline> {
        self.check.feed(piece)?;
        let Some(last) = piece.last() else { return Ok(()) };
        if self.line_start && piece.first() == Some(&b'.') {
            out.push(b'.');
        }
        let mut from = 0;
        for at in memchr::memmem::find_iter(piece, b"\n.") {
            out.extend_from_slice(piece.get(from..=at).unwrap_or_default());
            out.push(b'.');
            from = at + 1;
        }
        out.extend_from_slice(piece.get(from..).unwrap_or_default());
        self.line_start = *last == b'\n';
        Ok(())
    }

    /// Appends the end of data: the dot on its own line, after a CRLF if the message lacks its last one.
    ///
    /// # Errors
    /// [`BareNewline`] for CR without LF or LF without CR.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), BareNewline> {
        self.check.finish()?;
        out.extend_from_slice(if self.line_start { b".\r\n" } else { b"\r\n.\r\n" });
        Ok(())
    }
}

/// The kind of the next bytes of DATA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Message data without the stuffed dots; possibly empty.
    Data(&'a [u8]),
    /// A line end that was not received as CRLF, or whose CR was held back: a CRLF is part of the message.
    LineEnd,
    /// The line with the lone dot: the message is complete.
    End,
    /// A bare CR or LF. The bytes after it still belong to the data up to the real end, but none of them may be used.
    Bare,
}

/// Decodes message data: removes stuffed dots and finds the end, which is CRLF.CRLF and nothing else.
#[derive(Debug, Default)]
pub struct DotUnstuffer {
    state: LineState,
    bare_lf: BareLf,
    /// The previous line ended with a bare LF: a lone dot here does not end the message.
    after_bare: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum LineState {
    #[default]
    LineStart,
    Text,
    TextCr,
    Dot,
    DotCr,
}

impl DotUnstuffer {
    /// Creates a decoder that expects the first byte of a message.
    pub fn new(bare_lf: BareLf) -> DotUnstuffer {
        DotUnstuffer { bare_lf, ..DotUnstuffer::default() }
    }

    /// Examines the received bytes. Returns the number of bytes consumed and their kind. Call it again with the rest
    /// until no input is left. After [`Piece::End`] the rest belongs to the next command.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> (usize, Piece<'a>) {
        let mut at = 0;
        let mut from = 0;
        let data = |from: usize, to: usize| Piece::Data(input.get(from..to).unwrap_or_default());
        while let Some(byte) = input.get(at) {
            self.state = match (self.state, byte) {
                (LineState::LineStart, b'.') => {
                    if at > from {
                        return (at, data(from, at));
                    }
                    (at, from) = (at + 1, at + 1);
                    LineState::Dot
                }
                (LineState::TextCr, b'\n') => {
                    at += 1;
                    self.after_bare = false;
                    LineState::LineStart
                }
                // What stands before the CR goes out first: the CR itself may belong to the final line.
                (LineState::Dot, b'\r') => {
                    (at, from) = (at + 1, at + 1);
                    LineState::DotCr
                }
                (LineState::DotCr, b'\n') => {
                    self.state = LineState::LineStart;
                    let ends = !std::mem::take(&mut self.after_bare);
                    return (at + 1, if ends { Piece::End } else { Piece::LineEnd });
                }
                (LineState::TextCr | LineState::DotCr, _) => {
                    self.state = LineState::Text;
                    return (at, Piece::Bare);
                }
                (LineState::LineStart | LineState::Text | LineState::Dot, _) => {
                    match memchr::memchr2(b'\r', b'\n', input.get(at..).unwrap_or_default()) {
                        None => {
                            at = input.len();
                            LineState::Text
                        }
                        Some(offset) if input.get(at + offset) == Some(&b'\r') => {
                            at += offset + 1;
                            LineState::TextCr
                        }
                        Some(offset) => {
                            let (used, piece) = bare_lf(self.bare_lf, input, from, at + offset);
                            self.after_bare = piece == Piece::LineEnd;
                            self.state = if self.after_bare { LineState::LineStart } else { LineState::Text };
                            return (used, piece);
                        }
                    }
                }
            };
        }
        (at, data(from, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuffed(pieces: &[&[u8]]) -> Result<Vec<u8>, BareNewline> {
        let mut stuffer = DotStuffer::default();
        let mut out = Vec::new();
        for piece in pieces {
            stuffer.stuff(piece, &mut out)?;
        }
        stuffer.finish(&mut out)?;
        Ok(out)
    }

    /// The message, whether a bare newline was found, and the bytes after the end (`None`: no end).
    fn unstuffed(pieces: &[&[u8]]) -> (Vec<u8>, bool, Option<Vec<u8>>) {
        unstuffed_by(DotUnstuffer::default(), pieces)
    }

    fn unstuffed_by(mut unstuffer: DotUnstuffer, pieces: &[&[u8]]) -> (Vec<u8>, bool, Option<Vec<u8>>) {
        let (mut message, mut bare, mut end) = (Vec::new(), false, None::<Vec<u8>>);
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                if let Some(behind) = &mut end {
                    behind.extend_from_slice(rest);
                    break;
                }
                let (used, found) = unstuffer.next(rest);
                rest = &rest[used..];
                match found {
                    Piece::Data(data) => message.extend_from_slice(data),
                    Piece::LineEnd => message.extend_from_slice(b"\r\n"),
                    Piece::End => end = Some(Vec::new()),
                    Piece::Bare => bare = true,
                }
            }
        }
        (message, bare, end)
    }

    fn splits(input: &[u8]) -> impl Iterator<Item = [&[u8]; 3]> {
        (0..=input.len()).flat_map(move |first| {
            (first..=input.len()).map(move |second| [&input[..first], &input[first..second], &input[second..]])
        })
    }

    #[test]
    fn stuffing_table_and_every_split() {
        let table: [(&[u8], &[u8]); 9] = [
            (b"", b".\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b".\r\n", b"..\r\n.\r\n"),
            (b"..\r\n.a\r\n", b"...\r\n..a\r\n.\r\n"),
            (b"a.\r\n.\r\n\r\n.b", b"a.\r\n..\r\n\r\n..b\r\n.\r\n"),
            (b"\r\n\r\n", b"\r\n\r\n.\r\n"),
            (b"a\r\n.\r\nQUIT\r\n", b"a\r\n..\r\nQUIT\r\n.\r\n"),
        ];
        for (message, wire) in table {
            for pieces in splits(message) {
                assert_eq!(stuffed(&pieces).as_deref(), Ok(wire), "{pieces:?}");
            }
            for pieces in splits(wire) {
                let mut whole = message.to_vec();
                if !message.is_empty() && !message.ends_with(b"\r\n") {
                    whole.extend_from_slice(b"\r\n");
                }
                assert_eq!(unstuffed(&pieces), (whole, false, Some(Vec::new())), "{pieces:?}");
            }
        }
    }

    #[test]
    fn only_crlf_dot_crlf_ends() {
        for middle in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\r\n.\r\r\n", "\r\n.\0\r\n"] {
            let input = format!("a{middle}QUIT\r\n.\r\nNOOP\r\n");
            for pieces in splits(input.as_bytes()) {
                let (_, bare, end) = unstuffed(&pieces);
                assert_eq!(end.as_deref(), Some(&b"NOOP\r\n"[..]), "{middle:?} in {pieces:?}");
                assert_eq!(bare, middle != "\r\n.\0\r\n", "{middle:?}");
            }
        }
    }

    #[test]
    fn a_bare_lf_that_is_normalized_ends_lines_and_never_the_message() {
        // (behind "a", the message behind "a"; none: a bare CR)
        let table: [(&str, Option<&str>); 17] = [
            ("\nb\n", Some("\r\nb\r\n")),
            ("\n\n", Some("\r\n\r\n")),
            ("\n.\n", Some("\r\n\r\n")),
            ("\n.\r\n", Some("\r\n\r\n")),
            ("\r\n.\n", Some("\r\n\r\n")),
            ("\n..\n..\r\n", Some("\r\n.\r\n.\r\n")),
            ("\n.b\nc\r\n", Some("\r\nb\r\nc\r\n")),
            ("\n.\n.\n.\n", Some("\r\n\r\n\r\n\r\n")),
            ("\n.\r\nMAIL\r\n", Some("\r\n\r\nMAIL\r\n")),
            ("\n\r\n", Some("\r\n\r\n")),
            ("b\nc", Some("b\r\nc")),
            ("\n\r", None),
            ("\r.\r", None),
            ("\r.\r\n", None),
            ("\n.\r\r\n", None),
            ("\r\n.\r", None),
            ("\r\r\n", None),
        ];
        for (middle, expected) in table {
            let input = format!("a{middle}\r\nx\r\n.\r\nNOOP\r\n");
            for pieces in splits(input.as_bytes()) {
                let (message, bare, end) = unstuffed_by(DotUnstuffer::new(BareLf::Normalize), &pieces);
                assert_eq!(end.as_deref(), Some(&b"NOOP\r\n"[..]), "{middle:?} in {pieces:?}");
                assert_eq!(bare, expected.is_none(), "{middle:?} in {pieces:?}");
                if let Some(expected) = expected {
                    assert_eq!(String::from_utf8(message).unwrap(), format!("a{expected}\r\nx\r\n"), "{pieces:?}");
                }
            }
        }
    }

    #[test]
    fn chunks_are_normalized_alike() {
        for (input, expected) in [
            ("a\nb\r\n\n.\n.\r\nc", Some("a\r\nb\r\n\r\n.\r\n.\r\nc")),
            ("\n\n", Some("\r\n\r\n")),
            ("a\r", None),
            ("a\rb\n", None),
            ("\r\r\n", None),
        ] {
            for pieces in splits(input.as_bytes()) {
                let (mut check, mut message, mut bare) = (NewlineCheck::new(BareLf::Normalize), Vec::new(), false);
                for mut rest in pieces {
                    while !rest.is_empty() {
                        let (used, piece) = check.next(rest);
                        rest = &rest[used..];
                        match piece {
                            Piece::Data(data) => message.extend_from_slice(data),
                            Piece::LineEnd => message.extend_from_slice(b"\r\n"),
                            Piece::Bare => bare = true,
                            Piece::End => panic!("a chunk has no end of its own"),
                        }
                    }
                }
                bare |= check.finish().is_err();
                assert_eq!(bare, expected.is_none(), "{pieces:?}");
                if let Some(expected) = expected {
                    assert_eq!(String::from_utf8(message).unwrap(), expected, "{pieces:?}");
                }
            }
        }
    }

    #[test]
    fn client_refuses_bare_newlines() {
        for message in ["a\nb", "\n", "a\rb", "a\r", "\r\r\n", "a\r\n\n.\r\n"] {
            for pieces in splits(message.as_bytes()) {
                assert_eq!(stuffed(&pieces), Err(BareNewline), "{pieces:?}");
            }
        }
    }

    #[test]
    fn dots_inside_lines_stay() {
        let (message, bare, end) = unstuffed(&[b"..a\r\n.b.\r\nc.\r\n.\r\nrest"]);
        assert_eq!((message.as_slice(), bare, end.as_deref()), (&b".a\r\nb.\r\nc.\r\n"[..], false, Some(&b"rest"[..])));
    }

    proptest::proptest! {
        #[test]
        fn what_is_stuffed_comes_back(lines in proptest::collection::vec("[ -~.]{0,12}", 0..20), cut in 0usize..200) {
            let message: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let wire = stuffed(&[message.as_bytes()]).unwrap();
            let cut = cut.min(wire.len());
            let back = unstuffed(&[&wire[..cut], &wire[cut..]]);
            proptest::prop_assert_eq!(back, (message.into_bytes(), false, Some(Vec::new())));
        }
    }
}
