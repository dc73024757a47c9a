//! 7-bit charsets that switch between character sets: ISO-2022-JP, -KR and -CN (RFC 1468, 1554, 1557, 1922) and HZ (RFC
//! 1843). Runs in one set are converted to its 8-bit form, which the Encoding Standard covers.

use encoding_rs::{EUC_JP, EUC_KR, GBK, ISO_8859_7, WINDOWS_1252};

const ESCAPE: u8 = 0x1b;
const SHIFT_OUT: u8 = 0x0e;
const SHIFT_IN: u8 = 0x0f;

/// The character set of 7-bit bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GraphicSet {
    Ascii,
    Katakana,
    JisX0208,
    JisX0212,
    Gb2312,
    KsX1001,
    /// An unsupported set with two bytes per character.
    OtherPairs,
    Latin1,
    Greek,
}

/// Decoded text, with the current run of bytes in one set, in its 8-bit form.
struct ShiftedText {
    out: String,
    set: GraphicSet,
    run: Vec<u8>,
}

impl ShiftedText {
    fn new(capacity: usize) -> ShiftedText {
        ShiftedText { out: String::with_capacity(capacity), set: GraphicSet::Ascii, run: Vec::new() }
    }

    /// Takes one or two bytes from the rest of the input as a character of this set; returns their number.
    fn take(&mut self, set: GraphicSet, bytes: &[u8]) -> usize {
        if set != self.set {
            self.flush();
            self.set = set;
        }
        let (first, second) = (bytes.first().copied().unwrap_or_default(), bytes.get(1).copied());
        // Control characters and blanks are themselves in every set.
        if first <= b' ' || set == GraphicSet::Ascii {
            self.flush();
            let letter = if first.is_ascii() { char::from(first) } else { char::REPLACEMENT_CHARACTER };
            self.out.push(letter);
            return 1;
        }
        let high = first | 0x80;
        match set {
            GraphicSet::Katakana => self.run.extend([0x8e, high]),
            GraphicSet::Latin1 | GraphicSet::Greek => self.run.push(high),
            _ => {
                let Some(second) = second.filter(|second| *second > b' ') else {
                    self.flush();
                    self.out.push(char::REPLACEMENT_CHARACTER);
                    return 1;
                };
                if set == GraphicSet::JisX0212 {
                    self.run.push(0x8f);
                }
                self.run.extend([high, second | 0x80]);
                return 2;
            }
        }
        1
    }

    fn flush(&mut self) {
        let encoding = match self.set {
            GraphicSet::Katakana | GraphicSet::JisX0208 | GraphicSet::JisX0212 => EUC_JP,
            GraphicSet::Gb2312 => GBK,
            GraphicSet::KsX1001 => EUC_KR,
            GraphicSet::Greek => ISO_8859_7,
            GraphicSet::Ascii | GraphicSet::Latin1 => WINDOWS_1252,
            GraphicSet::OtherPairs => {
                self.out.extend(self.run.chunks(2).map(|_| char::REPLACEMENT_CHARACTER));
                self.run.clear();
                return;
            }
        };
        self.out.push_str(&encoding.decode_without_bom_handling(&self.run).0);
        self.run.clear();
    }

    fn finish(mut self) -> String {
        self.flush();
        self.out
    }
}

/// Decodes ISO-2022 as used in mail.
pub(super) fn iso_2022(bytes: &[u8]) -> String {
    let mut text = ShiftedText::new(bytes.len());
    // What is designated, and whether a shift chose the second.
    let (mut g0, mut g1, mut g2) = (GraphicSet::Ascii, GraphicSet::KsX1001, GraphicSet::Latin1);
    let mut shifted = false;
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        let set = if shifted { g1 } else { g0 };
        let taken = match rest {
            [ESCAPE, b'N', ..] => 2 + rest.get(2..3).map_or(0, |next| text.take(g2, next)),
            [ESCAPE, ..] => {
                let (length, slot, set) = designation(rest);
                match slot {
                    0 => g0 = set,
                    1 => g1 = set,
                    2 => g2 = set,
                    // No escape sequence of these charsets: it shows as what it is.
                    3 => _ = text.take(GraphicSet::Ascii, rest),
                    _ => {}
                }
                length
            }
            [SHIFT_OUT | SHIFT_IN, ..] => {
                shifted = first == SHIFT_OUT;
                1
            }
            // Katakana of 8 bits, as Microsoft's code page 50221 has it.
            [0xa1..=0xdf, ..] if set == GraphicSet::Ascii => text.take(GraphicSet::Katakana, rest),
            _ => {
                // Each line begins unshifted.
                shifted &= first != b'\n';
                text.take(set, rest)
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    text.finish()
}

/// The escape sequence that begins here: its length, which of G0 to G2 it sets (3: not a sequence, 4: sets none), and to what.
fn designation(bytes: &[u8]) -> (usize, u8, GraphicSet) {
    let pairs = |letter: u8| match letter {
        b'@' | b'B' | b'O' | b'P' | b'Q' => GraphicSet::JisX0208,
        b'D' => GraphicSet::JisX0212,
        b'A' => GraphicSet::Gb2312,
        b'C' => GraphicSet::KsX1001,
        _ => GraphicSet::OtherPairs,
    };
    match bytes {
        [_, b'(', b'I', ..] => (3, 0, GraphicSet::Katakana),
        [_, b'(', b'@'..=b'Z', ..] => (3, 0, GraphicSet::Ascii),
        [_, b'.', b'A', ..] => (3, 2, GraphicSet::Latin1),
        [_, b'.', b'F', ..] => (3, 2, GraphicSet::Greek),
        [_, b'$', letter @ b'@'..=b'C', ..] => (3, 0, pairs(*letter)),
        [_, b'$', b'(', letter, ..] => (4, 0, pairs(*letter)),
        [_, b'$', b')', letter, ..] => (4, 1, pairs(*letter)),
        [_, b'$', b'*', ..] => (4, 2, GraphicSet::OtherPairs),
        [_, b'&', b'@', ..] => (3, 4, GraphicSet::Ascii),
        _ => (1, 3, GraphicSet::Ascii),
    }
}

/// Decodes HZ: GB 2312 between `~{` and `~}`.
pub(super) fn hz(bytes: &[u8]) -> String {
    let mut text = ShiftedText::new(bytes.len());
    let mut set = GraphicSet::Ascii;
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        let taken = match rest {
            [b'~', b'{', ..] => {
                set = GraphicSet::Gb2312;
                2
            }
            [b'~', b'}', ..] => {
                set = GraphicSet::Ascii;
                2
            }
            [b'~', b'~', ..] if set == GraphicSet::Ascii => 1 + text.take(set, rest),
            // A line continued.
            [b'~', b'\n', ..] if set == GraphicSet::Ascii => 2,
            [b'~', b'\r', b'\n', ..] if set == GraphicSet::Ascii => 3,
            _ => {
                if first == b'\n' {
                    set = GraphicSet::Ascii;
                }
                text.take(set, rest)
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    text.finish()
}
