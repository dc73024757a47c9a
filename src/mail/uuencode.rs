//! Files in uuencode (POSIX, uuencode): as a transfer encoding that was never standardised (`x-uuencode`), and as
//! blocks in the text of mail older than MIME.

use std::ops::Range;

use super::transfer::Decoded;

/// A file in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UuencodedBlock {
    /// The range of the block, from its `begin` line to after its `end` line.
    pub span: Range<usize>,
    /// The file name in the `begin` line.
    pub name: Vec<u8>,
}

/// Finds at most `most` files in a text: a `begin` line, then a line of data or the `end` line.
pub fn blocks(text: &[u8], most: usize) -> Vec<UuencodedBlock> {
    let mut found = Vec::new();
    let mut at = 0;
    while found.len() < most {
        let Some(start) = next_begin(text, at) else { break };
        let rest = text.get(start..).unwrap_or_default();
        let mut lines = Lines { rest, at: start };
        let name = lines.next().and_then(|(_, line)| begin_line(line)).unwrap_or_default();
        let (end, whole) = data_end(&mut lines);
        // Prose may begin like this; even an empty file has an `end` line.
        if whole || end > lines_start(rest, start) {
            found.push(UuencodedBlock { span: start..end, name: name.to_vec() });
        }
        at = end;
    }
    found
}

/// Decodes an encoded part or block. Text before the `begin` line is not part of it; without such a line, everything is
/// data.
pub fn decode(text: &[u8]) -> Decoded {
    let start = next_begin(text, 0);
    let mut lines = Lines { rest: text.get(start.unwrap_or_default()..).unwrap_or_default(), at: 0 };
    if start.is_some() {
        lines.next();
    }
    let mut out = Decoded { bytes: Vec::with_capacity(text.len() / 4 * 3), damaged: start.is_none() };
    let mut bad = false;
    for (_, line) in lines {
        if line == b"end" {
            if out.bytes.is_empty() && bad {
                break;
            }
            out.damaged |= bad;
            return out;
        }
        match data_line(line) {
            // Lost trailing white space counts as zeros, but never as more bytes than the text has.
            Some(count) if out.bytes.len() + count > text.len() => bad = true,
            Some(count) => data(line, count, &mut out.bytes),
            None => bad |= !line.is_empty(),
        }
    }
    out.damaged = true;
    if out.bytes.is_empty() && bad { Decoded { bytes: text.to_vec(), damaged: true } } else { out }
}

/// The file name in the first `begin` line.
pub fn name(text: &[u8]) -> Option<&[u8]> {
    let start = next_begin(text, 0)?;
    begin_line(Lines { rest: text.get(start..)?, at: start }.next()?.1)
}

/// Lines without their line ends, each with the offset of the next one.
struct Lines<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let length = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |at| at + 1);
        let (line, rest) = self.rest.split_at_checked(length)?;
        (self.rest, self.at) = (rest, self.at + length);
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        Some((self.at, line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

fn lines_start(rest: &[u8], start: usize) -> usize {
    start + memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1)
}

/// The end of the data that begins here, and whether its `end` line was found.
fn data_end(lines: &mut Lines<'_>) -> (usize, bool) {
    let mut end = lines.at;
    // A line for zero bytes is empty if its white space was lost.
    let mut blank = false;
    for (after, line) in lines {
        match line {
            b"end" => return (after, true),
            b"" if !blank => blank = true,
            _ if blank || data_line(line).is_none() => break,
            _ => end = after,
        }
    }
    (end, false)
}

fn next_begin(text: &[u8], from: usize) -> Option<usize> {
    let tail = text.get(from..)?;
    let found = memchr::memmem::find_iter(tail, b"begin ").map(|at| from + at);
    found.into_iter().find(|at| {
        let starts = *at == 0 || text.get(at - 1) == Some(&b'\n');
        starts
            && Lines { rest: text.get(*at..).unwrap_or_default(), at: *at }
                .next()
                .is_some_and(|(_, line)| begin_line(line).is_some())
    })
}

/// The name in a line `begin 644 name`.
fn begin_line(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"begin ")?;
    let digits = rest.iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    let name = rest.get(digits..)?.strip_prefix(b" ")?.trim_ascii();
    ((3..=6).contains(&digits) && !name.is_empty()).then_some(name)
}

/// The number of bytes that a line claims to contain, if it can be a data line. White space at its end may be missing,
/// and some encoders put a checksum there.
fn data_line(line: &[u8]) -> Option<usize> {
    let (first, digits) = line.split_first()?;
    let count = usize::from(first.checked_sub(b' ')? & 63);
    let valid = *first <= b'`' && digits.iter().all(|byte| (b' '..=b'`').contains(byte));
    (valid && digits.len() <= count.div_ceil(3) * 4 + 2).then_some(count)
}

fn data(line: &[u8], count: usize, out: &mut Vec<u8>) {
    let value = |at: usize| u32::from(line.get(at).map_or(0, |byte| byte.wrapping_sub(b' ') & 63));
    for group in 0..count.div_ceil(3) {
        let at = 1 + group * 4;
        let bits = value(at) << 18 | value(at + 1) << 12 | value(at + 2) << 6 | value(at + 3);
        let [_, bytes @ ..] = bits.to_be_bytes();
        out.extend_from_slice(bytes.get(..(count - group * 3).min(3)).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "begin 644 cat.txt\n#0V%T\n`\nend\n";

    #[test]
    fn contents() {
        for (text, bytes, damaged) in [
            (FILE, "Cat", false),
            ("begin 644 cat.txt\r\n#0V%T\r\n`\r\nend\r\n", "Cat", false),
            ("some words\n\nbegin 644 a b\n#0V%T\n \nend", "Cat", false),
            // White space at line ends was lost.
            ("begin 644 x\n#0V%T\n\nend\n", "Cat", false),
            ("begin 600 zeros\n#\nend\n", "\0\0\0", false),
            ("begin 644 empty\n`\nend\n", "", false),
            // Check sums.
            ("begin 644 x\n#0V%TX\n`\nend\n", "Cat", false),
            ("begin 644 x\n#0V%T\n", "Cat", true),
            ("#0V%T\n`\nend\n", "Cat", true),
            ("begin 644 x\nquite another thing\n#0V%T\n`\nend\n", "Cat", true),
            ("M\nM\nM\n", "M\nM\nM\n", true),
            ("plain text\n", "plain text\n", true),
        ] {
            let found = decode(text.as_bytes());
            assert_eq!((found.bytes.as_slice(), found.damaged), (bytes.as_bytes(), damaged), "{text:?}");
        }
        assert_eq!(name(b"x\nbegin 644 a b.txt \n"), Some(&b"a b.txt"[..]));
    }

    #[test]
    fn blocks_in_texts() {
        let two = format!("Hello\n\n{FILE}between\n{FILE}");
        for (text, expected) in [
            (FILE, vec![FILE]),
            (two.as_str(), vec![FILE, FILE]),
            ("begin 644 cut\n#0V%T\nBye\n", vec!["begin 644 cut\n#0V%T\n"]),
            ("We begin 644 things\n#0V%T\nend\n", vec![]),
            ("begin 644 things at once\nand go on\nend\n", vec![]),
            ("begin 999 x\n#0V%T\nend\n", vec![]),
            ("begin \n", vec![]),
            ("begin 644 x", vec![]),
            ("begin 644 empty\n`\nend\n", vec!["begin 644 empty\n`\nend\n"]),
        ] {
            let found: Vec<&str> = blocks(text.as_bytes(), 10).into_iter().map(|block| &text[block.span]).collect();
            assert_eq!(found, expected, "{text:?}");
        }
        assert_eq!(blocks(two.as_bytes(), 1).len(), 1);
    }
}
