//! Conversion of file names between UTF-8 (local) and another charset (on the wire). RFC 2640 requires UTF-8 on the
//! wire too; older servers keep the charset of their users.
//!
//! Both directions are strict: bytes that do not survive a round trip are not accepted as a name. So two names never
//! become one, and a name read from a listing denotes the same file when it is sent.

use std::borrow::Cow;
use std::fmt;

use encoding_rs::Encoding;

use super::listing::{ListingEntry, ListingLine};
use crate::fault::{Fault, Kind};

/// The charset of names on the wire, by the labels of the Encoding Standard (<https://encoding.spec.whatwg.org/#names-and-labels>).
/// Each is a superset of ASCII, so commands, facts and slashes keep their meaning.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WireCharset(&'static Encoding);

impl WireCharset {
    /// The charset with this label, case-insensitive.
    ///
    /// # Errors
    /// The label is unknown, or its charset is not ASCII-compatible.
    pub fn named(label: &str) -> Result<WireCharset, String> {
        let found =
            Encoding::for_label_no_replacement(label.as_bytes()).ok_or("no charset of the Encoding Standard")?;
        // UTF-16 and ISO-2022-JP: a byte in the middle of a name may look like a slash.
        match found.is_ascii_compatible() {
            true => Ok(WireCharset(found)),
            false => Err(format!("{} cannot be used in commands: ASCII looks otherwise in it", found.name())),
        }
    }

    /// The charset's own name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// True for UTF-8.
    pub fn is_utf8(self) -> bool {
        self.0 == encoding_rs::UTF_8
    }

    /// Text as it is sent; `None` if it is not UTF-8 or cannot be encoded in the charset.
    pub fn encode(self, text: &[u8]) -> Option<Cow<'_, [u8]>> {
        if text.is_ascii() {
            return Some(Cow::Borrowed(text));
        }
        let text = std::str::from_utf8(text).ok()?;
        let (bytes, _, lossy) = self.0.encode(text);
        (!lossy && self.decoded(&bytes)? == text).then_some(bytes)
    }

    /// The text of bytes from the wire, in UTF-8; `None` if they are invalid in the charset, or if encoding the text
    /// again would give other bytes.
    pub fn decode(self, bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
        if bytes.is_ascii() {
            return Some(Cow::Borrowed(bytes));
        }
        let text = self.decoded(bytes)?;
        let (again, _, lossy) = self.0.encode(&text);
        (!lossy && *again == *bytes).then(|| Cow::Owned(text.into_owned().into_bytes()))
    }

    /// Encodes a piece of whole lines, and leaves out those that cannot be encoded; returns how many. A name that is written
    /// otherwise would not denote its file.
    pub fn encode_lines(self, piece: &mut Vec<u8>) -> usize {
        if piece.is_ascii() {
            return 0;
        }
        let (mut out, mut missing) = (Vec::with_capacity(piece.len()), 0);
        for line in piece.split_inclusive(|byte| *byte == b'\n') {
            match self.encode(line) {
                Some(line) => out.extend_from_slice(&line),
                None => missing += 1,
            }
        }
        *piece = out;
        missing
    }

    /// Text for people as it is sent: a question mark stands for each character that cannot be encoded.
    pub fn encode_text(self, text: Vec<u8>) -> Vec<u8> {
        if text.is_ascii() {
            return text;
        }
        let letters = String::from_utf8_lossy(&text).into_owned();
        let letter = |letter: char| self.encode(letter.encode_utf8(&mut [0; 4]).as_bytes()).map(Cow::into_owned);
        letters.chars().flat_map(|each| letter(each).unwrap_or_else(|| b"?".to_vec())).collect()
    }

    fn decoded(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        self.0.decode_without_bom_handling_and_without_replacement(bytes)
    }

    fn line(self, line: ListingLine) -> ListingLine {
        let ListingLine::Entry(entry) = line else { return line };
        match self.decode(&entry.name).map(Cow::into_owned) {
            Some(name) => {
                let target = |target: Vec<u8>| self.decode(&target).map(Cow::into_owned);
                ListingLine::Entry(ListingEntry { name, link_target: entry.link_target.and_then(target), ..entry })
            }
            None => ListingLine::Misfit { name: entry.name, charset: self.name() },
        }
    }

    /// The fault for a name that [`WireCharset::encode`] refuses.
    pub fn unsendable(self) -> Fault {
        Fault::new(Kind::BadData, format!("the name cannot be written in {} (--charset)", self.name()))
    }
}

/// A listed entry with its names in UTF-8, if the charset of names is known. A link target that is invalid in the
/// charset becomes unknown.
pub fn listed(charset: Option<WireCharset>, line: ListingLine) -> ListingLine {
    match charset {
        Some(charset) => charset.line(line),
        None => line,
    }
}

impl fmt::Debug for WireCharset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WireCharset({})", self.name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ftp::listing::{EntryType, Lister};

    const LABELS: [&str; 10] =
        ["latin1", "koi8-r", "Shift_JIS", "euc-jp", "big5", "gb18030", "gbk", "euc-kr", "windows-1251", "utf-8"];

    proptest! {
        /// Text that can be encoded decodes to itself, and bytes that can be decoded encode to themselves; nothing changes on the way.
        #[test]
        fn what_fits_comes_back(
            text in "[ -~äéßжяЖ日本表ソ能€¥‾한中\u{85}]{0,12}",
            bytes in prop::collection::vec(any::<u8>(), 0..8),
            label in prop::sample::select(&LABELS[..]),
        ) {
            let charset = WireCharset::named(label).unwrap();
            if let Some(wire) = charset.encode(text.as_bytes()) {
                prop_assert_eq!(charset.decode(&wire).map(Cow::into_owned), Some(text.clone().into_bytes()));
                let slashes = |text: &[u8]| text.iter().filter(|byte| **byte == b'/').count();
                prop_assert_eq!(slashes(&wire), slashes(text.as_bytes()), "a path keeps its parts");
            }
            if let Some(text) = charset.decode(&bytes) {
                prop_assert!(std::str::from_utf8(&text).is_ok());
                prop_assert_eq!(charset.encode(&text).map(Cow::into_owned), Some(bytes.clone()));
            }
        }
    }

    #[test]
    fn names_that_fit_and_others() {
        let wire = |label: &str, text: &str| {
            WireCharset::named(label).unwrap().encode(text.as_bytes()).map(|bytes| bytes.into_owned())
        };
        assert_eq!(wire("KOI8-R", "файл/ё"), Some(b"\xc6\xc1\xca\xcc/\xa3".to_vec()));
        assert_eq!(wire("shift-jis", "表"), Some(b"\x95\\".to_vec()));
        assert_eq!(wire("latin1", "é€"), Some(b"\xe9\x80".to_vec()), "the label means windows-1252 on the web");
        for (label, text) in [("koi8-r", "日本"), ("latin1", "ж"), ("shift_jis", "¥"), ("shift_jis", "‾")] {
            assert_eq!(wire(label, text), None, "{label} {text}");
        }
        let read = |label: &str, bytes: &[u8]| {
            WireCharset::named(label).unwrap().decode(bytes).map(|text| String::from_utf8(text.into_owned()).unwrap())
        };
        assert_eq!(read("koi8-r", b"\xc6\xc1\xca\xcc").as_deref(), Some("файл"));
        // 0xFA54 and 0x81CA are both U+FFE2: one of them is another file's name.
        assert_eq!((read("shift_jis", b"\x81\xca").as_deref(), read("shift_jis", b"\xfa\x54")), (Some("￢"), None));
        for (label, bytes) in [("utf-8", &b"\xe9"[..]), ("shift_jis", b"\x95"), ("euc-kr", b"\xff\xff")] {
            assert_eq!(read(label, bytes), None, "{label} {bytes:?}");
        }
        for label in ["utf-16", "iso-2022-jp", "hz-gb-2312", "klingon", ""] {
            assert!(WireCharset::named(label).is_err(), "{label}");
        }
    }

    #[test]
    fn lines_and_texts_of_a_server() {
        let charset = WireCharset::named("koi8-r").unwrap();
        let mut piece = "type=file; \u{444}\r\ntype=file; 日\r\na\r\n".as_bytes().to_vec();
        piece.extend_from_slice(b"\xff\r\n");
        assert_eq!(charset.encode_lines(&mut piece), 2);
        assert_eq!(piece, b"type=file; \xc6\r\na\r\n");
        assert_eq!(charset.encode_text("ф日 x".into()), b"\xc6? x");
        assert_eq!(charset.encode_text(b"\xff".to_vec()), b"?");
    }

    #[test]
    fn listed_names() {
        let charset = WireCharset::named("koi8-r").unwrap();
        let of = |line: &[u8]| charset.line(Lister::list(0).line(line));
        let line = b"lrwxrwxrwx 1 u g 1 Jan 1 2020 \xc6 -> \xca";
        let ListingLine::Entry(entry) = of(line) else { panic!("no entry") };
        let expected = ("ф".as_bytes(), Some("й".as_bytes()), EntryType::Symlink);
        assert_eq!((entry.name.as_slice(), entry.link_target.as_deref(), entry.entry_type), expected);
        let utf8 = WireCharset::named("utf8").unwrap();
        let misfit = utf8.line(Lister::list(0).line(line));
        assert_eq!(misfit, ListingLine::Misfit { name: b"\xc6".to_vec(), charset: "UTF-8" });
    }
}
