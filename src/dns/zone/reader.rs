//! Reads the entries of a zone file one by one (RFC 1035, section 5.1; RFC 2308, section 4 for $TTL), with what BIND
//! added: units in times and $GENERATE. Errors name file and line.

use std::path::{Path, PathBuf};

use super::ZoneError;
use super::generate::Generate;
use crate::dns::name::Name;
use crate::dns::record::atoms;
use crate::dns::record::words::{self, RdataWords, ZoneWord};
use crate::dns::record::{Class, Record, Rtype, parse};

/// Files inside files.
pub const MAX_INCLUDE_DEPTH: usize = 8;
/// Words of one entry: a record's data is at most 65,535 bytes.
const MAX_WORDS: usize = 65_536;
/// Signs that a file is in UTF-8 or UTF-16; no master file begins so (RFC 1035, section 5.1).
const BYTE_ORDER_MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];

/// How much one zone may be, with all that it includes and generates.
#[derive(Debug, Clone, Copy)]
pub struct ZoneLimits {
    /// Bytes of files, each time they are read.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Records that $GENERATE makes.
    pub generated: u64,
}

impl Default for ZoneLimits {
    fn default() -> Self {
        ZoneLimits { bytes: 1 << 30, records: 10_000_000, generated: 1_000_000 }
    }
}

/// Gives the text of a file named by $INCLUDE.
pub type Load<'a> = dyn FnMut(&str) -> Result<Vec<u8>, String> + 'a;

/// The text of one file.
#[derive(Debug, Clone)]
pub struct ZoneSource {
    /// Its name, for errors.
    pub name: String,
    /// What it holds.
    pub text: Vec<u8>,
}

/// One record with the place where it stood.
#[derive(Debug, Clone)]
pub struct ZoneEntry {
    /// The record.
    pub record: Record,
    /// The file.
    pub file: std::rc::Rc<str>,
    /// The line where it began.
    pub line: usize,
}

impl ZoneEntry {
    /// An error at this place.
    pub fn error(&self, why: String) -> ZoneError {
        ZoneError { file: self.file.to_string(), line: self.line, why }
    }
}

/// Reads entries from a file and those it includes.
#[derive(Debug)]
pub struct ZoneReader {
    /// The file being read is the last one.
    files: Vec<File>,
    ttl: Option<u32>,
    last_ttl: Option<u32>,
    owner: Option<Name>,
    class: Class,
    generating: Option<(Generate, usize)>,
    limits: ZoneLimits,
    /// The limits are exceeded: nothing more is read.
    is_over: bool,
}

#[derive(Debug)]
struct File {
    name: std::rc::Rc<str>,
    /// How it was named for $INCLUDE, from the first file's folder; empty for the first file.
    path: PathBuf,
    text: std::rc::Rc<[u8]>,
    at: usize,
    line: usize,
    origin: Option<Name>,
    /// The owner to go back to when the file ends (RFC 1035, section 5.1).
    outer_owner: Option<Name>,
}

/// The words of one entry.
struct ZoneLine<'a> {
    words: Vec<ZoneWord<'a>>,
    /// It begins with a blank: the owner is the one before.
    indented: bool,
    /// Its first line.
    line: usize,
}

impl ZoneReader {
    /// A reader at the beginning of a file, with the usual limits.
    pub fn new(source: ZoneSource, origin: Option<Name>) -> ZoneReader {
        ZoneReader::with_limits(source, origin, ZoneLimits::default())
    }

    /// A reader at the beginning of a file.
    pub fn with_limits(source: ZoneSource, origin: Option<Name>, limits: ZoneLimits) -> ZoneReader {
        let mut reader = ZoneReader {
            files: Vec::new(),
            ttl: None,
            last_ttl: None,
            owner: None,
            class: Class::IN,
            generating: None,
            limits,
            is_over: false,
        };
        reader.open(source, PathBuf::new(), origin);
        reader
    }

    fn open(&mut self, source: ZoneSource, path: PathBuf, origin: Option<Name>) {
        self.limits.bytes = self.limits.bytes.saturating_sub(source.text.len() as u64);
        self.files.push(File {
            name: source.name.into(),
            path,
            text: source.text.into(),
            at: 0,
            line: 1,
            origin,
            outer_owner: self.owner.clone(),
        });
    }

    /// The next record; none at the end.
    ///
    /// # Errors
    /// The entry is malformed: the next call goes on behind it. The limits are exceeded: the next call gives none.
    pub fn next(&mut self, load: &mut Load<'_>) -> Result<Option<ZoneEntry>, ZoneError> {
        let entry = self.read(load)?;
        if let Some(entry) = &entry {
            match self.limits.records.checked_sub(1) {
                Some(left) => self.limits.records = left,
                None => {
                    self.is_over = true;
                    return Err(entry.error("more records than are allowed".to_owned()));
                }
            }
        }
        Ok(entry)
    }

    fn read(&mut self, load: &mut Load<'_>) -> Result<Option<ZoneEntry>, ZoneError> {
        loop {
            if self.is_over {
                return Ok(None);
            }
            if let Some((generate, line)) = &mut self.generating {
                let line = *line;
                let next = match self.limits.generated.checked_sub(1) {
                    Some(left) => generate.next().inspect(|_| self.limits.generated = left),
                    None => generate.next().map(|_| Err("$GENERATE: more records than are allowed".to_owned())),
                };
                match next {
                    Some(text) => {
                        let entry = text.and_then(|text| {
                            let words = words::split(&text)?;
                            self.record(&words, false)
                        });
                        return entry.map(|record| Some(self.entry(record, line))).map_err(|why| {
                            self.generating = None; // its other records are no better
                            self.error(line, why)
                        });
                    }
                    None => self.generating = None,
                }
            }
            let Some(file) = self.files.last_mut() else { return Ok(None) };
            // The text is shared, so that its words can be read while the reader changes.
            let text = file.text.clone();
            let line = match file.line(&text) {
                Ok(Some(line)) => line,
                Ok(None) => {
                    if let Some(file) = self.files.pop() {
                        self.owner = file.outer_owner;
                    }
                    continue;
                }
                Err((line, why)) => {
                    let (here, rest) = (file.at, text.get(file.at..).unwrap_or_default());
                    file.at = memchr::memchr(b'\n', rest).map_or(text.len(), |end| here + end);
                    return Err(self.error(line, why));
                }
            };
            let number = line.line;
            let directive =
                line.words.first().filter(|word| !line.indented && !word.quoted && word.text.starts_with(b"$"));
            let result = match directive {
                Some(_) => self.directive(&line, load).map(|()| None),
                None => self.record(&line.words, line.indented).map(Some),
            };
            match result {
                Ok(Some(record)) => return Ok(Some(self.entry(record, number))),
                Ok(None) => {}
                Err(why) => return Err(self.error(number, why)),
            }
        }
    }

    fn entry(&self, record: Record, line: usize) -> ZoneEntry {
        ZoneEntry { record, file: self.files.last().map_or("".into(), |file| file.name.clone()), line }
    }

    fn error(&self, line: usize, why: String) -> ZoneError {
        let file = self.files.last().map_or_else(String::new, |file| file.name.to_string());
        ZoneError { file, line, why }
    }

    fn origin(&self) -> Option<&Name> {
        self.files.last()?.origin.as_ref()
    }

    /// `$ORIGIN`, `$TTL`, `$INCLUDE`, `$GENERATE`.
    fn directive(&mut self, line: &ZoneLine<'_>, load: &mut Load<'_>) -> Result<(), String> {
        let (first, rest) = line.words.split_first().ok_or("empty line")?;
        let name = first.str()?.to_ascii_uppercase();
        let origin = self.origin().cloned();
        let mut words = RdataWords::new(rest, origin.as_ref());
        match name.as_str() {
            "$ORIGIN" => {
                let new = words.name("$ORIGIN")?;
                if let Some(file) = self.files.last_mut() {
                    file.origin = Some(new);
                }
            }
            "$TTL" => {
                let word = words.next("$TTL")?;
                self.ttl = Some(atoms::ttl(word.text).ok_or_else(|| format!("$TTL: bad time {:?}", word.str()))?);
            }
            "$INCLUDE" => {
                // As it is written: no peer resolves escapes in it.
                let path = std::str::from_utf8(words.next("$INCLUDE: file")?.text).map_err(|_| "bad file name")?;
                // Relative to the file that it stands in.
                let folder = self.files.last().and_then(|file| file.path.parent());
                let path = folder.unwrap_or(Path::new("")).join(path);
                let origin = if words.is_empty() { origin.clone() } else { Some(words.name("$INCLUDE: origin")?) };
                if self.files.len() > MAX_INCLUDE_DEPTH {
                    return Err(format!("more than {MAX_INCLUDE_DEPTH} files inside each other"));
                }
                if !words.is_empty() {
                    return Err("too many words after $INCLUDE".to_owned());
                }
                let text = load(&path.to_string_lossy())?;
                self.is_over = text.len() as u64 > self.limits.bytes;
                if self.is_over {
                    return Err("the zone's files are larger than is allowed".to_owned());
                }
                self.open(ZoneSource { name: path.display().to_string(), text }, path, origin);
                return Ok(());
            }
            "$GENERATE" => {
                self.generating = Some((Generate::parse(rest)?, line.line));
                return Ok(());
            }
            other => return Err(format!("unknown directive {other}")),
        }
        if words.is_empty() { Ok(()) } else { Err(format!("too many words after {name}")) }
    }

    /// `[owner] [ttl] [class] type data`, TTL and class in either order.
    fn record(&mut self, words: &[ZoneWord<'_>], indented: bool) -> Result<Record, String> {
        let origin = self.origin().cloned();
        let mut words = RdataWords::new(words, origin.as_ref());
        if !indented {
            self.owner = Some(words.name("owner")?);
        }
        let owner = self.owner.clone().ok_or("a record without an owner, and none before it")?;
        let (mut own_ttl, mut own_class) = (None, None);
        let rtype = loop {
            let word = words.next("type")?;
            let text = word.str()?;
            let digit = text.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
            if own_ttl.is_none() && digit {
                own_ttl = Some(atoms::ttl(word.text).ok_or_else(|| format!("bad TTL {text:?}"))?);
            } else if let Some(class) =
                Class::parse(text).filter(|_| own_class.is_none() && !text.eq_ignore_ascii_case("ANY"))
            {
                own_class = Some(class);
            } else {
                break Rtype::parse(text).ok_or_else(|| format!("unknown type {text:?}"))?;
            }
        };
        let class = own_class.unwrap_or(self.class);
        self.class = class;
        let rdata = parse::rdata(rtype, &mut words).map_err(|why| format!("{rtype} record of {owner}: {why}"))?;
        let soa_minimum = (rtype == Rtype::SOA).then(|| rdata.last_chunk().map(|bytes| u32::from_be_bytes(*bytes)));
        let ttl = own_ttl.or(self.ttl).or(self.last_ttl).or(soa_minimum.flatten());
        let ttl = in_range(ttl.ok_or("no TTL: write one, or $TTL before")?);
        self.last_ttl = Some(ttl);
        Ok(Record { name: owner, rtype, class, ttl, rdata })
    }
}

/// A TTL has 31 bits; with one more it is 0 (RFC 2181, section 8).
fn in_range(ttl: u32) -> u32 {
    if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl }
}

impl File {
    /// The words of the next entry, over several lines if parentheses say so; none at the end of the file.
    /// An error comes with the line that it is about.
    fn line<'a>(&mut self, text: &'a [u8]) -> Result<Option<ZoneLine<'a>>, (usize, String)> {
        if self.at == 0 && BYTE_ORDER_MARKS.iter().any(|mark| text.starts_with(mark)) {
            return Err((1, "a byte order mark (BOM) begins the file: save it as ASCII or plain UTF-8".to_owned()));
        }
        let mut words: Vec<ZoneWord<'a>> = Vec::new();
        let mut word_end = None;
        let mut depth = 0usize;
        let mut indented = matches!(text.get(self.at), Some(b' ' | b'\t'));
        let mut begin = self.line;
        loop {
            let rest = text.get(self.at..).unwrap_or_default();
            let used = match rest.first() {
                None if depth > 0 => return Err((begin, "parenthesis without an end".to_owned())),
                None if words.is_empty() => return Ok(None),
                None => return Ok(Some(ZoneLine { words, indented, line: begin })),
                Some(b'\n') => {
                    self.line += 1;
                    self.at += 1;
                    if depth == 0 {
                        if !words.is_empty() {
                            return Ok(Some(ZoneLine { words, indented, line: begin }));
                        }
                        indented = matches!(text.get(self.at), Some(b' ' | b'\t'));
                        begin = self.line;
                    }
                    continue;
                }
                Some(b' ' | b'\t' | b'\r') => 1,
                Some(b';') => memchr::memchr(b'\n', rest).unwrap_or(rest.len()),
                Some(b'(') => {
                    depth += 1;
                    1
                }
                Some(b')') => {
                    let why = "closing parenthesis without an opening one";
                    depth = depth.checked_sub(1).ok_or_else(|| (self.line, why.to_owned()))?;
                    1
                }
                Some(b'"') => {
                    let (word, used) = words::take_quoted(rest).ok_or_else(|| (self.line, words::NO_END.to_owned()))?;
                    self.line += memchr::memchr_iter(b'\n', word).count();
                    words.push(ZoneWord { text: word, quoted: true, glued: word_end == Some(self.at) });
                    word_end = Some(self.at + used);
                    used
                }
                Some(_) => {
                    let (word, used) = words::take_plain(rest);
                    self.line += memchr::memchr_iter(b'\n', word).count();
                    words.push(ZoneWord { text: word, quoted: false, glued: word_end == Some(self.at) });
                    word_end = Some(self.at + used);
                    used.max(1)
                }
            };
            self.at += used;
            if words.len() > MAX_WORDS {
                return Err((begin, format!("more than {MAX_WORDS} words in one record")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Result<Vec<String>, ZoneError> {
        let source = ZoneSource { name: "z".to_owned(), text: text.as_bytes().to_vec() };
        let mut reader = ZoneReader::new(source, Name::parse("o.test").ok());
        let mut load = |path: &str| match path {
            "self" => Ok(b"$INCLUDE self\n".to_vec()),
            "sub" => Ok(b"x A 192.0.2.9\n$ORIGIN other.test.\ny A 192.0.2.8\n".to_vec()),
            _ => Err(format!("{path}: does not exist")),
        };
        let mut found = Vec::new();
        while let Some(entry) = reader.next(&mut load)? {
            found.push(entry.record.to_string().replace('\t', " "));
        }
        Ok(found)
    }

    #[test]
    fn owners_ttls_classes_and_lines() {
        let text = "$TTL 1h ; an hour\n@ IN SOA ns host (\n 1 ; serial\n 1d 2h\n 1w 5m )\n\tNS ns\nns 60 IN A 192.0.2.1\n \
                    IN 2m AAAA ::1\nA A 192.0.2.2\r\n\n  ; only a comment\n1 A 192.0.2.3\n* TXT \"a;b\" c\\ d\n";
        assert_eq!(
            entries(text).unwrap(),
            [
                "o.test. 3600 IN SOA ns.o.test. host.o.test. 1 86400 7200 604800 300",
                "o.test. 3600 IN NS ns.o.test.",
                "ns.o.test. 60 IN A 192.0.2.1",
                "ns.o.test. 120 IN AAAA ::1",
                "A.o.test. 3600 IN A 192.0.2.2",
                "1.o.test. 3600 IN A 192.0.2.3",
                "*.o.test. 3600 IN TXT \"a;b\" \"c d\"",
            ]
        );
    }

    #[test]
    fn include_and_generate() {
        let text = "$TTL 1\n$INCLUDE sub s.test.\nz A 192.0.2.7\n$GENERATE 1-3 host$ A 192.0.2.$\n\
                    $GENERATE 8-10/2 ${0,3,x}.r PTR h-${-8,2}.\\$x\n";
        assert_eq!(
            entries(text).unwrap(),
            [
                "x.s.test. 1 IN A 192.0.2.9",
                "y.other.test. 1 IN A 192.0.2.8",
                "z.o.test. 1 IN A 192.0.2.7",
                "host1.o.test. 1 IN A 192.0.2.1",
                "host2.o.test. 1 IN A 192.0.2.2",
                "host3.o.test. 1 IN A 192.0.2.3",
                "008.r.o.test. 1 IN PTR h-00.\\$x.o.test.",
                "00a.r.o.test. 1 IN PTR h-02.\\$x.o.test.",
            ]
        );
    }

    /// What named-compilezone makes of the same lines.
    #[test]
    fn numbers_of_generate() {
        for (form, expected) in [
            ("${-1,0,d}", ["14", "15"]),
            ("${-20,4,d}", ["-005", "-004"]),
            ("${-17,0,x}", ["fffffffe", "ffffffff"]),
            ("${-17,0,o}", ["37777777776", "37777777777"]),
            ("${-20,4,X}", ["FFFFFFFB", "FFFFFFFC"]),
            ("${0,1,n}", ["f", "0.1"]),
            ("${0,2,n}x", ["f.x", "0.1x"]),
            ("${0,3,n}", ["f.0", "0.1"]),
            ("${0,4,n}x", ["f.0.x", "0.1.x"]),
            ("${300,8,N}x", ["B.3.1.0.x", "C.3.1.0.x"]),
            ("${+5}", ["20", "21"]),
            ("${2147483632}", ["2147483647", ""]),
        ] {
            let source = format!("$TTL 1\n$GENERATE 15-16 {form} A 192.0.2.1\n");
            let found = entries(&source);
            match expected {
                [_, ""] => assert!(found.unwrap_err().why.contains("bad modifier"), "{form}"),
                _ => {
                    let expected = expected.map(|name| format!("{name}.o.test. 1 IN A 192.0.2.1"));
                    assert_eq!(found.unwrap(), expected, "{form}");
                }
            }
        }
    }

    #[test]
    fn strings_are_split_as_by_named_compilezone() {
        for (text, expected) in [
            ("a\"b c\"", "\"a\" \"b c\""),
            ("\"a\"b", "\"a\" \"b\""),
            ("\"a\"\"b\"", "\"a\" \"b\""),
            ("key=\"b c\"", "\"key=\" \"b c\""),
            ("a\\\"b", "\"a\\\"b\""),
            ("( a\n \"b\" ) c", "\"a\" \"b\" \"c\""),
        ] {
            assert_eq!(
                entries(&format!("x 1 TXT {text}\n")).unwrap(),
                [format!("x.o.test. 1 IN TXT {expected}")],
                "{text}"
            );
        }
    }

    #[test]
    fn errors_name_their_line() {
        for (text, line, part) in [
            ("$TTL 1\nx A 192.0.2\n", 2, "A record of x.o.test.: address: bad address \"192.0.2\""),
            ("\n\nx 5\n", 3, "type is missing"),
            ("x A 192.0.2.1\n", 1, "no TTL"),
            (" 5 A 192.0.2.1\n", 1, "without an owner"),
            ("x 5 NOSUCH 1\n", 1, "unknown type \"NOSUCH\""),
            ("x 5 A 192.0.2.1 extra\n", 1, "unexpected \"extra\""),
            ("\n; comment\nx 5 TXT \"open\n", 3, "quote without an end"),
            ("x 5 TXT ( a\n", 1, "parenthesis without an end"),
            ("x 5 TXT a )\n", 1, "closing parenthesis"),
            ("$NOSUCH\n", 1, "unknown directive"),
            ("$TTL 1 2\n", 1, "too many words"),
            ("$INCLUDE missing\n", 1, "missing: does not exist"),
            ("$INCLUDE self\n", 1, "more than 8 files"),
            ("$TTL 1\n$GENERATE 1-99999999 x A 1.2.3.4\n", 2, "more records than are allowed"),
            ("x 4294967296 A 192.0.2.1\n", 1, "bad TTL"),
            ("\u{feff}x 5 A 192.0.2.1\n", 1, "byte order mark"),
            ("x 5 SOA a b 1 2 3 4\n", 1, "minimum is missing"),
        ] {
            let error = entries(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.why.contains(part), "{text}: {error}");
        }
    }
}
