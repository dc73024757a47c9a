//! The words of presentation format (RFC 1035, section 5.1): separated by blanks, quoted or not, with escapes unresolved.

use crate::dns::name::{Name, unescape};

/// The reason why a text is invalid: one line for the user.
pub type TextError = String;

/// One word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneWord<'a> {
    /// Its bytes without the quotes, escapes as written.
    pub text: &'a [u8],
    /// The word was in quotes.
    pub quoted: bool,
    /// No blank separates it from the word before: `key="value"` of service parameters (RFC 9460, section 2.1).
    pub glued: bool,
}

impl ZoneWord<'_> {
    /// The bytes of the word, with escapes resolved.
    ///
    /// # Errors
    /// It has a bad escape.
    pub fn bytes(&self) -> Result<Vec<u8>, TextError> {
        let mut out = Vec::with_capacity(self.text.len());
        let mut bytes = self.text.iter().copied();
        while let Some(byte) = bytes.next() {
            out.push(if byte == b'\\' { unescape(&mut bytes).ok_or("bad escape")? } else { byte });
        }
        Ok(out)
    }

    /// The word as text, for numbers and mnemonics.
    ///
    /// # Errors
    /// It is not ASCII.
    pub fn str(&self) -> Result<&str, TextError> {
        std::str::from_utf8(self.text).map_err(|_| "not ASCII".to_owned())
    }
}

/// The words of one record's data, read from left to right.
#[derive(Debug, Clone)]
pub struct RdataWords<'a> {
    words: &'a [ZoneWord<'a>],
    /// The origin, which completes relative names.
    pub origin: Option<&'a Name>,
}

impl<'a> RdataWords<'a> {
    /// Creates the words, with the origin for relative names.
    pub fn new(words: &'a [ZoneWord<'a>], origin: Option<&'a Name>) -> RdataWords<'a> {
        RdataWords { words, origin }
    }

    /// The next word; `what` names it in the error.
    ///
    /// # Errors
    /// No word is left.
    pub fn next(&mut self, what: &str) -> Result<ZoneWord<'a>, TextError> {
        let (first, rest) = self.words.split_first().ok_or_else(|| format!("{what} is missing"))?;
        self.words = rest;
        Ok(*first)
    }

    /// The next word, without consuming it.
    pub fn peek(&self) -> Option<ZoneWord<'a>> {
        self.words.first().copied()
    }

    /// All remaining words.
    pub fn rest(&mut self) -> &'a [ZoneWord<'a>] {
        std::mem::take(&mut self.words)
    }

    /// True if no word is left.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The next word as a decimal number.
    ///
    /// # Errors
    /// No word is left, or it is not a number of this size.
    pub fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, TextError> {
        let word = self.next(what)?;
        let text = word.str()?;
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| plain && !text.is_empty()).ok_or_else(|| format!("{what}: bad number {text:?}"))
    }

    /// The next word as a name.
    ///
    /// # Errors
    /// No word is left, or it is not a valid name.
    pub fn name(&mut self, what: &str) -> Result<Name, TextError> {
        let word = self.next(what)?;
        Name::parse_in(word.text, self.origin).map_err(|error| format!("{what}: {error}"))
    }

    /// The remaining words joined, for long hexadecimal and base64 fields.
    pub fn joined(&mut self) -> Vec<u8> {
        self.rest().iter().flat_map(|word| word.text.iter().copied()).collect()
    }
}

/// Splits one line into words; a comment ends it. Zone files have their own reader for records over several lines. This
/// one rejects a parenthesis that is neither quoted nor escaped.
///
/// # Errors
/// A quote is not closed, or a parenthesis is neither quoted nor escaped.
pub fn split(line: &[u8]) -> Result<Vec<ZoneWord<'_>>, TextError> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        rest = rest.get(blanks..).unwrap_or_default();
        match rest.first() {
            None | Some(b';') => return Ok(words),
            Some(b'"') => {
                let (text, used) = take_quoted(rest).ok_or(NO_END)?;
                words.push(ZoneWord { text, quoted: true, glued: blanks == 0 && !words.is_empty() });
                rest = rest.get(used..).unwrap_or_default();
            }
            Some(b'(' | b')') => return Err("a parenthesis in a single line".to_owned()),
            Some(_) => {
                let (text, used) = take_plain(rest);
                words.push(ZoneWord { text, quoted: false, glued: blanks == 0 && !words.is_empty() });
                rest = rest.get(used..).unwrap_or_default();
            }
        }
    }
}

/// The error message for an unclosed quote.
pub const NO_END: &str = "quote without an end on its line";

/// The quoted string that begins here, and its length in bytes with its quotes. It must end on its line, so that a
/// forgotten quote does not swallow other records.
pub fn take_quoted(text: &[u8]) -> Option<(&[u8], usize)> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'\\' => at += 2,
            b'\n' => return None,
            b'"' => return Some((text.get(1..at)?, at + 1)),
            _ => at += 1,
        }
    }
}

/// The plain word that begins here. A `"` ends it and begins the next one.
pub fn take_plain(text: &[u8]) -> (&[u8], usize) {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    let at = at.min(text.len());
    (text.get(..at).unwrap_or_default(), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_escapes() {
        let words = split(b"10 \"a b\\\"c\" x\\ y alpn=\"h2,h3\" ; comment").unwrap();
        let texts: Vec<&[u8]> = words.iter().map(|word| word.text).collect();
        assert_eq!(texts, [&b"10"[..], b"a b\\\"c", b"x\\ y", b"alpn=", b"h2,h3"]);
        assert_eq!(words[1].bytes().unwrap(), b"a b\"c");
        assert_eq!(words[2].bytes().unwrap(), b"x y");
        let glued: Vec<bool> = words.iter().map(|word| word.glued).collect();
        assert_eq!(glued, [false, false, false, false, true]);
        assert!(split(b"\"open").is_err());
        assert!(split(b"a\"b").is_err());
        assert!(split(b"\"a\n\"").is_err());
        assert!(split(b"1 .)alpn=h2").is_err());
        assert!(split(b"(").is_err());
        assert_eq!(split(b"\"(\" \\)").unwrap().len(), 2);
        assert!(split(b"").unwrap().is_empty());
        let (word, _) = take_plain(b"ends\\");
        assert_eq!(word, b"ends\\");
    }

    #[test]
    fn numbers_are_plain() {
        let words = split(b"+1").unwrap();
        assert!(RdataWords::new(&words, None).number::<u16>("port").is_err());
        let words = split(b"65536").unwrap();
        assert_eq!(RdataWords::new(&words, None).number::<u16>("port").unwrap_err(), "port: bad number \"65536\"");
        assert_eq!(RdataWords::new(&[], None).number::<u16>("port").unwrap_err(), "port is missing");
    }
}
