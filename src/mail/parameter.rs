//! Parameters of Content-Type and Content-Disposition (RFC 2045, section 5.1; RFC 2183), with the charsets and pieces
//! of RFC 2231, also in malformed variants. Linear in the field, however many pieces it has.

use std::collections::HashMap;

use super::encoded_word::{decode_piece, decode_text, decode_words};

/// The parameters of one field, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Names in lower case, without the suffixes of RFC 2231.
    names: Vec<String>,
    values: HashMap<String, ParameterForms>,
}

/// The forms of one parameter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ParameterForms {
    /// `name=`.
    plain: Option<Vec<u8>>,
    /// `name*=`.
    extended: Option<Vec<u8>>,
    /// `name*0=`, `name*1*=` …
    pieces: Vec<ParameterPiece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ParameterPiece {
    index: u32,
    extended: bool,
    bytes: Vec<u8>,
}

/// Parses the body of a field: its value in lower case (`text/plain`, `attachment`), and the parameters. Comments are
/// removed. A missing value is empty.
pub fn parse(field_body: &[u8]) -> (String, Parameters) {
    let unfolded: Vec<u8> = field_body.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)).collect();
    let body = unfolded.trim_ascii();
    if body.starts_with(b"=?") {
        // The whole field was written as encoded-words.
        let decoded = decode_text(body);
        if !decoded.starts_with("=?") {
            return parse(decoded.as_bytes());
        }
    }
    let mut reader = ParameterReader { rest: body, comments: true };
    let value = reader.value();
    let mut parameters = Parameters::default();
    while let Some((name, value)) = reader.parameter() {
        parameters.insert(&name, value);
    }
    (value, parameters)
}

impl Parameters {
    /// The text of a parameter: `name*=` is preferred to the pieces `name*0=` …, and these to `name=`; of a repeated
    /// form, the first counts.
    pub fn get(&self, name: &str) -> Option<String> {
        let forms = self.values.get(name.to_ascii_lowercase().as_str())?;
        if let Some(extended) = &forms.extended {
            let (label, bytes) = split_charset(extended);
            let text = labelled(label, &percent_decoded(bytes));
            // An encoded-word inside an extended value: the composer confused the two forms.
            return Some(if label.is_none() { decode_words(&text) } else { text });
        }
        if !forms.pieces.is_empty() {
            return Some(joined(&forms.pieces));
        }
        forms.plain.as_ref().map(|plain| decode_words(&decode_piece(None, plain)))
    }

    /// The names, each once, in lower case and in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    fn insert(&mut self, name: &str, bytes: Vec<u8>) {
        let name = name.to_ascii_lowercase();
        let (stem, starred) = match name.strip_suffix('*') {
            Some(stem) => (stem, true),
            None => (name.as_str(), false),
        };
        let piece = stem.rsplit_once('*').and_then(|(stem, index)| {
            let digits = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
            Some((stem, index.parse::<u32>().ok().filter(|_| digits)?))
        });
        let stem = piece.map_or(stem, |(stem, _)| stem);
        if stem.is_empty() {
            return;
        }
        if !self.values.contains_key(stem) {
            self.names.push(stem.to_owned());
        }
        let forms = self.values.entry(stem.to_owned()).or_default();
        match (piece, starred) {
            (Some((_, index)), extended) => forms.pieces.push(ParameterPiece { index, extended, bytes }),
            (None, true) => _ = forms.extended.get_or_insert(bytes),
            (None, false) => _ = forms.plain.get_or_insert(bytes),
        }
    }
}

/// Joins the pieces in the order of their numbers, as bytes: a character may begin in one and end in the next.
fn joined(pieces: &[ParameterPiece]) -> String {
    let mut order: Vec<&ParameterPiece> = pieces.iter().collect();
    // Stable: of two pieces of one number the first is taken.
    order.sort_by_key(|piece| piece.index);
    order.dedup_by_key(|piece| piece.index);
    let mut label = None;
    let mut bytes = Vec::new();
    for (position, piece) in order.iter().enumerate() {
        let mut raw = piece.bytes.as_slice();
        if position == 0 && piece.extended {
            (label, raw) = split_charset(raw);
        }
        if piece.extended { bytes.extend(percent_decoded(raw)) } else { bytes.extend_from_slice(raw) }
    }
    if order.iter().any(|piece| piece.extended) {
        labelled(label, &bytes)
    } else {
        decode_words(&decode_piece(None, &bytes))
    }
}

/// Splits `charset'language'value` (RFC 2231, section 4) into the charset, if present, and the value.
fn split_charset(extended: &[u8]) -> (Option<&str>, &[u8]) {
    let mut parts = extended.splitn(3, |byte| *byte == b'\'');
    let (Some(charset), Some(_), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
        return (None, extended);
    };
    let charset = str::from_utf8(charset).ok().map(str::trim).filter(|charset| !charset.is_empty());
    (charset, value)
}

fn labelled(label: Option<&str>, bytes: &[u8]) -> String {
    let text = decode_piece(label, bytes);
    text.chars().filter(|letter| !matches!(letter, '\r' | '\n' | '\0')).collect()
}

fn percent_decoded(bytes: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(bytes).collect()
}

struct ParameterReader<'a> {
    rest: &'a [u8],
    /// False after an unclosed comment was found: no later comment is closed either.
    comments: bool,
}

impl<'a> ParameterReader<'a> {
    /// The value before the parameters; empty if the field begins with a parameter.
    fn value(&mut self) -> String {
        let mut value = Vec::new();
        let mut before = self.rest;
        loop {
            self.skip_space_and_comments();
            match self.rest.first() {
                Some(b'=') => {
                    // "Content-Disposition: filename=x": no value at all.
                    self.rest = before;
                    return String::new();
                }
                // "text / plain".
                Some(b'/') if !value.is_empty() => {}
                Some(_) if value.is_empty() || value.ends_with(b"/") => {}
                _ => break,
            }
            let end = self.rest.iter().position(|byte| b" \t;=(".contains(byte)).unwrap_or(self.rest.len());
            if end == 0 {
                break;
            }
            if value.is_empty() {
                before = self.rest;
            }
            value.extend(self.take(end));
        }
        let value = String::from_utf8_lossy(&value).to_lowercase();
        value.trim_matches(['"', ',', '\'']).to_owned()
    }

    /// The next parameter; text that is not a parameter is skipped.
    fn parameter(&mut self) -> Option<(String, Vec<u8>)> {
        loop {
            self.skip_space_and_comments();
            let at = self.rest.iter().position(|byte| matches!(byte, b'=' | b';'))?;
            let name = self.take(at);
            if self.take(1) == b";" {
                continue;
            }
            let name = String::from_utf8_lossy(name);
            // "text/plain format charset=x": what a lost semicolon leaves before the name says nothing.
            let name = name.split_whitespace().next_back().unwrap_or_default().to_owned();
            let space = self.rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.take(space);
            let value = if self.rest.starts_with(b"\"") { self.quoted() } else { self.token().to_vec() };
            return Some((name, value));
        }
    }

    /// Adjacent quoted strings. A backslash quotes only `"` and itself: other backslashes belong to Windows paths, and
    /// no composer quotes any other character.
    fn quoted(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        while self.rest.starts_with(b"\"") {
            let start = text.len();
            let mut bytes = self.rest.iter().enumerate().skip(1);
            let mut end = None;
            while let Some((at, byte)) = bytes.next() {
                match (byte, self.rest.get(at + 1)) {
                    (b'"', _) => {
                        end = Some(at + 1);
                        break;
                    }
                    (b'\\', Some(escaped @ (b'"' | b'\\'))) => {
                        text.push(*escaped);
                        bytes.next();
                    }
                    (byte, _) => text.push(*byte),
                }
            }
            let Some(end) = end else {
                // Never closed: read as a token.
                text.truncate(start);
                self.take(1);
                text.extend(self.token());
                break;
            };
            self.take(end);
            let space = self.rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            if self.rest.get(space) == Some(&b'"') {
                self.take(space);
            }
        }
        text
    }

    /// The text before the next semicolon, with inner blanks, without a comment at its end.
    fn token(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b';', self.rest).unwrap_or(self.rest.len());
        let token = self.take(end).trim_ascii();
        let comment = token.windows(2).position(|pair| matches!(pair, b" (" | b"\t("));
        match comment.and_then(|at| token.split_at_checked(at + 1)) {
            Some((before, comment)) if comment_length(comment) == Some(comment.len()) => before.trim_ascii_end(),
            _ => token,
        }
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            let space = self.rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.take(space);
            if !(self.comments && self.rest.starts_with(b"(")) {
                return;
            }
            match comment_length(self.rest) {
                Some(length) => _ = self.take(length),
                None => self.comments = false,
            }
        }
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(count).unwrap_or((self.rest, b""));
        self.rest = rest;
        taken
    }
}

/// The length of the comment at the start of these bytes (RFC 5322, section 3.2.2), if it is closed.
fn comment_length(bytes: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut escaped = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(at + 1),
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 2045 and RFC 2231, then forms found in real mail.
    #[test]
    fn names_of_files() {
        let table: &[(&[u8], Option<&str>)] = &[
            (b"attachment; filename=a.txt", Some("a.txt")),
            (b"attachment", None),
            (
                b"attachment;\r\n filename*0=\"ftp://\";\r\n filename*1=\"cs.utk.edu/x.tar\"",
                Some("ftp://cs.utk.edu/x.tar"),
            ),
            (b"x; filename*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A", Some("This is ***fun***")),
            (
                b"x; filename*0*=us-ascii'en'This%20is%20even%20more%20;\n filename*1*=%2A%2A%2Afun%2A%2A%2A%20;\n \
                  filename*2=\"isn't it!\"",
                Some("This is even more ***fun*** isn't it!"),
            ),
            // The charset of the first piece holds for all; a character may be cut.
            (
                b"x; filename*0*=iso-8859-1''Gr%FC%DFe; filename*1*=%20M%FCller.txt",
                Some("Gr\u{fc}\u{df}e M\u{fc}ller.txt"),
            ),
            (b"x; filename*1*=%BC.txt; filename*0*=utf-8''%C3", Some("\u{fc}.txt")),
            (b"x; filename*0*=utf-8''a%C3; filename*1=\"\xbc.txt\"", Some("a\u{fc}.txt")),
            (b"x; filename*00*=utf-8''a; filename*01*=b; filename*02*=c", Some("abc")),
            (b"x; filename*10=k; filename*0=a; filename*9=j; filename*1=b; filename*2=c", Some("abcjk")),
            (b"x; filename*0=a; filename*0=z; filename*1=b", Some("ab")),
            // The extended form wins wherever it stands.
            (b"x; filename=old.txt; filename*=UTF-8''n%C3%ABu.txt", Some("n\u{eb}u.txt")),
            (b"x; filename*=UTF-8''n%C3%ABu.txt; filename=old.txt", Some("n\u{eb}u.txt")),
            (b"x; filename=old; filename*0=ne; filename*1=w", Some("new")),
            (b"x; filename=one; filename=two", Some("one")),
            (b"x; FileName=One", Some("One")),
            (b"x; filename*=UTF-8''it's%20x.txt", Some("it's x.txt")),
            (b"x; filename*=\"utf-8''SBD%20%C5%A0.jpg\"", Some("SBD \u{160}.jpg")),
            (b"x; filename*=''plain%20x", Some("plain x")),
            (b"x; filename*=plain%20x", Some("plain x")),
            (b"x; filename*=iso-8859-1''50%-%zz%E4", Some("50%-%zz\u{e4}")),
            (b"x; filename*==?utf-8?q?=C3=BC?=", Some("\u{fc}")),
            (b"x; filename*=UTF-8''%3D%3Futf-8%3Fq%3Fx%3F%3D", Some("=?utf-8?q?x?=")),
            // Encoded-words where none may stand.
            (b"x; filename=\"=?utf-8?q?Gr=C3=BC=C3=9Fe?=.pdf\"", Some("Gr\u{fc}\u{df}e.pdf")),
            (b"x; filename==?utf-8?b?R3LDvMOfZQ==?=", Some("Gr\u{fc}\u{df}e")),
            (b"x; filename=\"=?utf-8?q?abschlu=C3?=\r\n =?utf-8?q?=9F_2026.pdf?=\"", Some("abschlu\u{df} 2026.pdf")),
            (b"x; filename=\"=?utf-8?q?a=C3?=\" \"=?utf-8?q?=9F?=\"; y=z", Some("a\u{df}")),
            (b"x; filename*0=\"=?utf-8?q?a=C3\"; filename*1=\"=9F?=\"", Some("a\u{df}")),
            (b"=?utf-8?q?attachment=3B_filename=3D=22=C3=BC=2Etxt=22?=", Some("\u{fc}.txt")),
            // Raw bytes, once.
            (b"x; filename=\"Rechnung_f\xfcr.pdf\"", Some("Rechnung_f\u{fc}r.pdf")),
            (b"x; filename=\"f\xc3\xbcr.pdf\"", Some("f\u{fc}r.pdf")),
            // Quoting, and its lack.
            (b"x; filename=\"a;b=\\\"c\\\\ d\\\"\"; size=1", Some("a;b=\"c\\ d\"")),
            (b"x; filename=\"C:\\temp\\a.doc\"", Some("C:\\temp\\a.doc")),
            (b"x; filename=Monthly report May.pdf ; size=1", Some("Monthly report May.pdf")),
            (b"x; filename = \"a b\" ;size=1", Some("a b")),
            (b"x; size=\"1\" filename=a.txt", Some("a.txt")),
            (b"attachment filename=a.txt", Some("a.txt")),
            (b"filename=a.txt", Some("a.txt")),
            (b"; filename=a.txt;;", Some("a.txt")),
            (b"x; filename=\"open.txt; size=3", Some("open.txt")),
            (b"x; filename=\"open.txt", Some("open.txt")),
            (b"x; filename=\"\"", Some("")),
            (b"x; filename=", Some("")),
            (b"x; filename=\"long\r\n\tname\"", Some("long\tname")),
            (b"x; filename=report (1).pdf", Some("report (1).pdf")),
            (b"x; filename=a.txt (a comment)", Some("a.txt")),
            (b"x (c; filename=no); (filename=no;) filename=yes", Some("yes")),
            (b"x; (open; filename=yes", Some("yes")),
            (b"x; filename", None),
            (b"x; =a; *=b; *0=c", None),
        ];
        for (body, expected) in table {
            let found = parse(body).1.get("filename");
            assert_eq!(found.as_deref(), *expected, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn values() {
        for (body, value, charset) in [
            ("text/plain; charset=us-ascii (Plain text)", "text/plain", Some("us-ascii")),
            ("Text / PLAIN;charset=\"utf-8\"", "text/plain", Some("utf-8")),
            ("text/plain (comment) ; charset=x", "text/plain", Some("x")),
            ("text/plain charset=x", "text/plain", Some("x")),
            ("text/plain junk charset=x", "text/plain", Some("x")),
            ("\"text/html\"; charset=x", "text/html", Some("x")),
            ("text", "text", None),
            ("", "", None),
            (";", "", None),
            ("charset=x", "", Some("x")),
            ("text/plain; charset=\"a\"\"b\"", "text/plain", Some("ab")),
        ] {
            let (found, parameters) = parse(body.as_bytes());
            assert_eq!((found.as_str(), parameters.get("charset").as_deref()), (value, charset), "{body}");
        }
        let (_, parameters) = parse(b"x; b=1; A*0=2; a*1=3; b*=4");
        assert_eq!(parameters.names().collect::<Vec<_>>(), ["b", "a"]);
    }

    proptest::proptest! {
        /// Any parsed field is written as a field that reads back the same.
        #[test]
        fn anything_reads_back(pieces in proptest::collection::vec("x=|x\\*=|x\\*[0-2]\\*?=|[a-z]{1,3}|[ \t]|[\"(),;=%'\\\\]|=\\?utf-8\\?q\\?=C3=BC\\?=|utf-8''|%C3%BC|ü|\\PC", 0..20)) {
            let (_, parameters) = parse(pieces.concat().as_bytes());
            for name in parameters.names() {
                let text = parameters.get(name).unwrap();
                let field = crate::mail::header::with_parameters("A", "b", &[("c", &text)]).unwrap();
                let again = parse(field.strip_prefix("A:").unwrap().as_bytes()).1.get("c");
                proptest::prop_assert_eq!(again, Some(text), "{}", field);
            }
        }
    }

    /// Not a measurement of time: that a million of each ends within the test at all shows that it is not quadratic.
    #[test]
    fn millions_of_pieces_end() {
        const COUNT: usize = 100_000;
        let numbered: String = (0..COUNT).map(|index| format!(";filename*{index}*=%41")).collect();
        assert_eq!(parse(numbered.as_bytes()).1.get("filename").map(|name| name.len()), Some(COUNT));
        for piece in
            ["a=\"", "a=\"\\", "a=(", "(", "a=b (", ";", "=", "\"", "a=\"\" \"", "\\\"", "x*0=", "a;b=\"", "a=?"]
        {
            for start in ["x;", ""] {
                let (_, parameters) = parse(format!("{start}{}", piece.repeat(COUNT)).as_bytes());
                let _ = (parameters.get("a"), parameters.get("x"));
            }
        }
    }
}
