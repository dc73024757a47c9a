//! Finds the messages of an mbox, and reads one. A `From ` line separates messages only in forms on which mail programs
//! with mbox files agree; prose that begins with `From ` does not separate.

use std::io::Read;

use crate::blob::Blob;
use crate::fault::{Fault, Kind};
use crate::mail::header_line::{HeaderLine, HeaderLines};

/// The maximum number of messages in one file.
pub const MAX_MESSAGES: usize = 10_000_000;

const SCAN_BYTES: usize = 256 * 1024;
/// The number of bytes examined to recognise an mbox.
const START_BYTES: u64 = 1024;

/// The range of one message in an mbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The offset of its header, after its `From ` line.
    pub start: u64,
    /// The offset after its last byte; the empty line before the next `From ` is not part of it.
    pub end: u64,
}

/// True if these first bytes of a file are the start of an mbox. Blank lines may come first.
pub fn looks_like_mbox(start: &[u8]) -> bool {
    let mut lines = start.split(|byte| *byte == b'\n').skip_while(|line| line.trim_ascii().is_empty());
    let first = FromLine::of(lines.next().unwrap_or_default());
    first.is_some_and(|from| from.separates(true, lines.next().unwrap_or_default()))
}

/// Finds all messages in one pass; `None` if the file is not an mbox.
///
/// # Errors
/// [`Kind::BadData`] for more than [`MAX_MESSAGES`], [`Kind::Io`] if the file cannot be read.
pub fn find(blob: &Blob) -> Result<Option<Vec<Span>>, Fault> {
    let mut start = Vec::new();
    blob.open_at(0).take(START_BYTES).read_to_end(&mut start).map_err(|error| Fault::local("mbox", &error))?;
    if !looks_like_mbox(&start) {
        return Ok(None);
    }
    let mut lines = MboxLines::default();
    let mut reader = blob.open_at(0);
    let mut buffer = vec![0; SCAN_BYTES];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::local("mbox", &error)),
        };
        if count == 0 {
            return Ok(Some(lines.finish()));
        }
        lines.feed(buffer.get(..count).unwrap_or_default());
        if lines.found.len() > MAX_MESSAGES {
            return Err(Fault::new(Kind::BadData, format!("mbox: more than {MAX_MESSAGES} messages")));
        }
    }
}

/// Reads one message of an mbox, and removes the `>` that quoted its `From ` lines.
///
/// # Errors
/// [`Kind::BadData`] for a message beyond the limit, [`Kind::Io`] if the file cannot be read.
pub fn read(blob: &Blob, span: Span, limit: usize) -> Result<Vec<u8>, Fault> {
    let size = span.end.saturating_sub(span.start);
    if size > limit as u64 {
        return Err(Fault::new(Kind::BadData, format!("message larger than {limit} bytes")));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    blob.open_at(span.start).read_exact(&mut bytes).map_err(|error| Fault::local("mbox", &error))?;
    Ok(unquote(&bytes))
}

fn unquote(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let quoted = line.starts_with(b">") && super::after_marks(line).starts_with(b"From ");
        out.extend_from_slice(if quoted { line.get(1..).unwrap_or_default() } else { line });
    }
    out
}

/// The form of a line that begins with `From `.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FromLine {
    /// An optional sender, and a date in the format of asctime(3): prose never has this form.
    Dated,
    /// A sender that only programs write (`-`, `MAILER-DAEMON`, an address), with or without text after it.
    Program,
    /// One word, or a date in another form.
    Loose,
}

impl FromLine {
    fn of(line: &[u8]) -> Option<FromLine> {
        let rest = line.strip_prefix(b"From ")?;
        // A quoted local part may hold spaces.
        let mut quoted = false;
        let ends_word = |byte: &u8| {
            quoted ^= *byte == b'"';
            byte.is_ascii_whitespace() && !quoted
        };
        let words: Vec<&[u8]> =
            rest.split(ends_word).filter(|word| !word.is_empty()).take(FromLine::MAX_WORDS).collect();
        let (sender, behind) = words.split_first()?;
        if is_dated(&words) || is_dated(behind) || matches!(behind, [b"at", _, date @ ..] if is_dated(date)) {
            return Some(FromLine::Dated);
        }
        let is_year = |word: &&[u8]| word.len() >= 4 && (word.starts_with(b"19") || word.starts_with(b"20"));
        match *sender {
            b"-" | b"MAILER-DAEMON" => Some(FromLine::Program),
            sender if sender.contains(&b'@') => Some(FromLine::Program),
            _ if behind.is_empty() => Some(FromLine::Loose),
            _ => (behind.iter().any(is_year) && behind.iter().any(|word| is_time(word))).then_some(FromLine::Loose),
        }
    }

    /// The maximum number of words examined: more than a date with two zones needs.
    const MAX_WORDS: usize = 16;

    /// True if the line separates messages. Programs may omit the empty line before it or its date, but not both the
    /// empty line and the header after it. Prose also has colons: without a date, the next line must be a mail field.
    fn separates(self, empty_before: bool, next_line: &[u8]) -> bool {
        match self {
            FromLine::Dated => empty_before || is_header_line(next_line),
            FromLine::Loose if !empty_before => false,
            FromLine::Program | FromLine::Loose => is_mail_field(next_line),
        }
    }
}

/// True for `Mon Nov 23 05:00:00 2026`, possibly with zones before the year.
fn is_dated(words: &[&[u8]]) -> bool {
    const DAYS: [&[u8]; 7] = [b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun"];
    const MONTHS: [&[u8]; 12] =
        [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
    let among = |names: &[&[u8]], word: &[u8]| names.iter().any(|name| name.eq_ignore_ascii_case(word));
    let number = |word: &[u8]| word.first().is_some_and(u8::is_ascii_digit);
    let [weekday, month, day, time, rest @ ..] = words else { return false };
    among(&DAYS, weekday)
        && among(&MONTHS, month.get(..3).unwrap_or_default())
        && number(day)
        && is_time(time)
        && rest.iter().take(3).any(|word| number(word))
}

/// True for `5:00` and `05:00:00`.
fn is_time(word: &[u8]) -> bool {
    let before = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (1..=2).contains(&before)
        && matches!(word.get(before..), Some([b':', ten, one, ..]) if ten.is_ascii_digit() && one.is_ascii_digit())
}

/// True for the start of a header field, or of the `>From ` lines that UUCP put above the header.
fn is_header_line(line: &[u8]) -> bool {
    matches!(HeaderLines::default().line(line), HeaderLine::Field(_)) || line.starts_with(b">From ")
}

/// Like [`is_header_line`], but only for fields typical of mail: a name of RFC 5322 or Usenet, or one with a hyphen.
fn is_mail_field(line: &[u8]) -> bool {
    const NAMES: [&[u8]; 11] = [
        b"from",
        b"to",
        b"cc",
        b"date",
        b"subject",
        b"received",
        b"sender",
        b"status",
        b"path",
        b"newsgroups",
        b"xref",
    ];
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii_end();
    let known = name.contains(&b'-') || NAMES.iter().any(|known| known.eq_ignore_ascii_case(name));
    is_header_line(line) && (known || line.starts_with(b">"))
}

/// The pass over the lines, in pieces of any size.
#[derive(Debug)]
struct MboxLines {
    found: Vec<Span>,
    position: u64,
    /// The first bytes of the current line.
    head: Vec<u8>,
    /// The offset of the current line.
    start: u64,
    /// The offset of the empty line before the current line, if any; the start of the file counts as one.
    empty_before: Option<u64>,
    /// A `From ` line that the next line will decide on.
    waiting: Option<WaitingFrom>,
}

/// A `From ` line that may separate messages.
#[derive(Debug)]
struct WaitingFrom {
    from: FromLine,
    empty_before: bool,
    /// The end of the message before it.
    end: u64,
}

impl Default for MboxLines {
    fn default() -> MboxLines {
        MboxLines { found: Vec::new(), position: 0, head: Vec::new(), start: 0, empty_before: Some(0), waiting: None }
    }
}

impl MboxLines {
    const HEAD_BYTES: usize = 512;

    fn feed(&mut self, bytes: &[u8]) {
        let mut from = 0;
        for at in memchr::memchr_iter(b'\n', bytes) {
            self.keep(bytes.get(from..at).unwrap_or_default());
            self.line_end(self.position + at as u64 + 1);
            from = at + 1;
        }
        self.keep(bytes.get(from..).unwrap_or_default());
        self.position += bytes.len() as u64;
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = MboxLines::HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend_from_slice(piece.get(..room.min(piece.len())).unwrap_or_default());
    }

    /// Ends the current line, before the offset `next`.
    fn line_end(&mut self, next: u64) {
        self.settle();
        if let Some(from) = FromLine::of(&self.head) {
            let end = self.empty_before.unwrap_or(self.start);
            self.waiting = Some(WaitingFrom { from, empty_before: self.empty_before.is_some(), end });
        }
        let line = self.head.strip_suffix(b"\r").unwrap_or(&self.head);
        let is_empty = line.is_empty() || self.found.is_empty() && line.trim_ascii().is_empty();
        self.empty_before = is_empty.then_some(self.start);
        self.head.clear();
        self.start = next;
    }

    /// The current line is complete: it decides whether the waiting `From ` line is a separator.
    fn settle(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        if waiting.from.separates(waiting.empty_before, &self.head) {
            if let Some(previous) = self.found.last_mut() {
                previous.end = waiting.end.max(previous.start);
            }
            self.found.push(Span { start: self.start, end: self.start });
        }
    }

    /// The messages, after all input was fed.
    fn finish(mut self) -> Vec<Span> {
        if self.start < self.position {
            // The last line lacks its end.
            self.line_end(self.position);
        }
        self.settle();
        if let Some(last) = self.found.last_mut() {
            // The empty line that ends the file belongs to the format, not to the message.
            last.end = self.empty_before.unwrap_or(self.position).max(last.start);
        }
        self.found
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const TIME: &str = "Mon Nov 23 05:00:00 2026";

    pub(in super::super) fn messages(bytes: &[u8]) -> Vec<String> {
        let blob = Blob::memory(bytes);
        let read = |span| String::from_utf8(read(&blob, span, 1 << 20).unwrap()).unwrap();
        find(&blob).unwrap().unwrap_or_default().into_iter().map(read).collect()
    }

    #[test]
    fn messages_end_before_the_empty_line_and_lose_their_quotes() {
        let text = format!(
            "From a@b {TIME}\nA: 1\n\nbody\nFrom here it is text {TIME}\n\nFrom me to you\n\n>From x\n>>From y\n> From z\n\
             \nFrom c@d {TIME}\nB: 2\n\nend\n\n"
        );
        let expected = [
            format!("A: 1\n\nbody\nFrom here it is text {TIME}\n\nFrom me to you\n\nFrom x\n>From y\n> From z\n"),
            "B: 2\n\nend\n".to_owned(),
        ];
        assert_eq!(messages(text.as_bytes()), expected);
        let crlf = messages(text.replace('\n', "\r\n").as_bytes());
        assert_eq!(crlf, expected.map(|message| message.replace('\n', "\r\n")));
        assert!(messages(b"").is_empty());
        assert!(messages(b"A: b\n\nno mbox\n").is_empty());
        assert_eq!(messages(format!("From x {TIME}").as_bytes()), [""]);
        assert_eq!(messages(format!("From x {TIME}\nA: 1\n\nno end").as_bytes()), ["A: 1\n\nno end"]);
        assert_eq!(messages(format!("From x {TIME}\n\nFrom y {TIME}\nA: 1\n").as_bytes()), ["", "A: 1\n"]);
    }

    /// Separators found in practice: exports of Netscape, Google and Eudora, pipermail archives, old delivery agents.
    #[test]
    fn separators_and_prose() {
        let two = |before: &str, from: &str, behind: &str| {
            let text = format!("From a@b {TIME}\nA: 1\n\nbody\n{before}{from}\n{behind}");
            let count = messages(text.as_bytes()).len();
            if before == "\n" {
                let first = format!("\n\r\n \n{from}\n{behind}");
                assert_eq!(looks_like_mbox(first.as_bytes()), count == 2, "{from}");
                assert_eq!(messages(first.as_bytes()).len(), count - 1, "{from}");
            }
            count == 2
        };
        let dated = [
            "a@b Mon Nov 23 05:00:00 2026",
            "- Mon Nov  3 05:00 2026",
            "x Mon Nov 23 05:00:00 +0100 2026",
            "x@y.fr Wed Aug  2 00:39:12 MET DST 1995",
            "???@??? Thu Jan 01 00:00:00 1970",
            "me at mutt.org  Mon Nov 23 05:00:00 2026",
            "Mon Nov 23 05:00:00 2026",
            "mon Mon Nov 23 5:00:00 2026",
            "\"a b\"@x.test Mon Nov 23 05:00:00 2026",
            "MAILER-DAEMON Mon Nov 23 05:00:00 2026\r",
        ];
        for from in dated.map(|rest| format!("From {rest}")) {
            assert!(two("\n", &from, "A: 2\n") && two("\n", &from, "text\n") && two("\n", &from, ""), "{from}");
            assert!(two("", &from, "A: 2\n") && !two("", &from, "text\n"), "{from}");
        }
        for rest in ["-", "- ", "MAILER-DAEMON", "1844347792267117879@xxx", "a@b 2026-11-23T05:00:00Z", "- yesterday"] {
            let from = format!("From {rest}");
            assert!(two("\n", &from, "Return-Path: <>\n") && two("\n", &from, ">From x remote from y\n"), "{from}");
            assert!(two("", &from, "Return-Path: <>\n"), "{from}");
            assert!(
                !two("\n", &from, "some text\n") && !two("\n", &from, "\nA: 2\n") && !two("\n", &from, ""),
                "{from}"
            );
        }
        for rest in ["root", "root 2026-11-23 05:00:00", "root Mon, 23 Nov 2026 05:00:00 +0100"] {
            let from = format!("From {rest}");
            assert!(two("\n", &from, "Subject: x\n") && !two("", &from, "Subject: x\n"), "{from}");
            assert!(!two("\n", &from, "some: text here\n\n"), "{from}");
        }
        for from in [
            "From here on it is text",
            "From today",
            "From bob@x.test I heard this",
            "From 10:30 to 11:30 we meet",
            "From Mon to Fri, 9:00 to 17:00",
            "From Monday Nov 23 on",
            "From: a@b",
            "From",
            "From ",
            "from a@b Mon Nov 23 05:00:00 2026",
            ">From a@b Mon Nov 23 05:00:00 2026",
            " From a@b Mon Nov 23 05:00:00 2026",
        ] {
            for behind in ["text\n", "Agenda: x\n", "\n", ""] {
                assert!(!two("\n", from, behind) && !two("", from, behind), "{from}");
            }
        }
    }

    #[test]
    fn every_split_finds_the_same() {
        let text = format!(
            "\nFrom -\r\nTo: 1\n\nFrom\n\nFrom c@d {TIME}\nB: 2\nFrom e@f\nCc: 3\n\nFrom me\nto you\n\n\nFrom x {TIME}"
        );
        let whole = find(&Blob::memory(text.as_bytes())).unwrap().unwrap();
        assert_eq!(whole.len(), 4);
        for at in 0..=text.len() {
            let mut lines = MboxLines::default();
            lines.feed(&text.as_bytes()[..at]);
            lines.feed(&text.as_bytes()[at..]);
            assert_eq!(lines.finish(), whole, "cut at {at}");
        }
    }
}
