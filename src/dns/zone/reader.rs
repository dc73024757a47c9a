//! Reads the entries of a zone file one by one (RFC 1035, section 5.1; RFC 2308, section 4 for $TTL), with what BIND
//! added: units in times and $GENERATE. Errors name file and line.

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
}

#[derive(Debug)]
struct File {
    name: std::rc::Rc<str>,
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
    /// A reader at the beginning of a file.
    pub fn new(source: ZoneSource, origin: Option<Name>) -> ZoneReader {
        let mut reader = ZoneReader {
            files: Vec::new(),
            ttl: None,
            last_ttl: None,
            owner: None,
            class: Class::IN,
            generating: None,
        };
        reader.open(source, origin);
        reader
    }

    fn open(&mut self, source: ZoneSource, origin: Option<Name>) {
        self.files.push(File {
            name: source.name.into(),
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
    /// The entry is malformed.
    pub fn next(&mut self, load: &mut Load<'_>) -> Result<Option<ZoneEntry>, ZoneError> {
        loop {
            if let Some((generate, line)) = &mut self.generating {
                let line = *line;
                match generate.next() {
                    Some(text) => {
                        let entry = text.and_then(|text| {
                            let words = words::split(&text)?;
                            self.record(&words, false)
                        });
                        return entry.map(|record| Some(self.entry(record, line))).map_err(|why| self.error(line, why));
                    }
                    None => self.generating = None,
                }
            }
            let Some(file) = self.files.last_mut() else { return Ok(None) };
            // The text is shared, so that its words can be read while the reader changes.
            let text = file.text.clone();
            let begin = file.line;
            let line = match file.line(&text) {
                Ok(Some(line)) => line,
                Ok(None) => {
                    if let Some(file) = self.files.pop() {
                        self.owner = file.outer_owner;
                    }
                    continue;
                }
                Err(why) => return Err(self.error(begin, why)),
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
                self.ttl = Some(ttl(word.text).ok_or_else(|| format!("$TTL: bad time {:?}", word.str()))?);
            }
            "$INCLUDE" => {
                let path = String::from_utf8(words.next("$INCLUDE: file")?.bytes()?).map_err(|_| "bad file name")?;
                let origin = if words.is_empty() { origin.clone() } else { Some(words.name("$INCLUDE: origin")?) };
                if self.files.len() > MAX_INCLUDE_DEPTH {
                    return Err(format!("more than {MAX_INCLUDE_DEPTH} files inside each other"));
                }
                let text = load(&path)?;
                self.open(ZoneSource { name: path, text }, origin);
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
                own_ttl = Some(ttl(word.text).ok_or_else(|| format!("bad TTL {text:?}"))?);
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
        let ttl = ttl.ok_or("no TTL: write one, or $TTL before")?;
        self.last_ttl = Some(ttl);
        Ok(Record { name: owner, rtype, class, ttl, rdata })
    }
}

/// A time up to 2^31 - 1 (RFC 2181, section 8).
fn ttl(text: &[u8]) -> Option<u32> {
    atoms::ttl(text).filter(|ttl| *ttl <= i32::MAX.unsigned_abs())
}

impl File {
    /// The words of the next entry, over several lines if parentheses say so; none at the end of the file.
    fn line<'a>(&mut self, text: &'a [u8]) -> Result<Option<ZoneLine<'a>>, String> {
        let mut words = Vec::new();
        let mut depth = 0usize;
        let mut indented = matches!(text.get(self.at), Some(b' ' | b'\t'));
        let mut begin = self.line;
        loop {
            let rest = text.get(self.at..).unwrap_or_default();
            let used = match rest.first() {
                None if depth > 0 => return Err("parenthesis without an end".to_owned()),
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
                    depth = depth.checked_sub(1).ok_or("closing parenthesis without an opening one")?;
                    1
                }
                Some(b'"') => {
                    let (word, used) = words::take_quoted(rest).ok_or("quote without an end")?;
                    self.line += memchr::memchr_iter(b'\n', word).count();
                    words.push(ZoneWord { text: word, quoted: true });
                    used
                }
                Some(_) => {
                    let (word, used) = words::take_plain(rest);
                    self.line += memchr::memchr_iter(b'\n', word).count();
                    words.push(ZoneWord { text: word, quoted: false });
                    used.max(1)
                }
            };
            self.at += used;
            if words.len() > MAX_WORDS {
                return Err(format!("more than {MAX_WORDS} words in one record"));
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
            _ => Err(format!("{path}: not there")),
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

    #[test]
    fn errors_name_their_line() {
        for (text, line, part) in [
            ("$TTL 1\nx A 192.0.2\n", 2, "A record of x.o.test.: address: bad address \"192.0.2\""),
            ("\n\nx 5\n", 3, "type is missing"),
            ("x A 192.0.2.1\n", 1, "no TTL"),
            (" 5 A 192.0.2.1\n", 1, "without an owner"),
            ("x 5 NOSUCH 1\n", 1, "unknown type \"NOSUCH\""),
            ("x 5 A 192.0.2.1 extra\n", 1, "unexpected \"extra\""),
            ("x 5 TXT \"open\n", 1, "quote without an end"),
            ("x 5 TXT ( a\n", 1, "parenthesis without an end"),
            ("x 5 TXT a )\n", 1, "closing parenthesis"),
            ("$NOSUCH\n", 1, "unknown directive"),
            ("$TTL 1 2\n", 1, "too many words"),
            ("$INCLUDE missing\n", 1, "missing: not there"),
            ("$INCLUDE self\n", 1, "more than 8 files"),
            ("$GENERATE 1-99999999 x A 1.2.3.4\n", 1, "more than"),
            ("x 4294967295 A 192.0.2.1\n", 1, "bad TTL"),
            ("x 5 SOA a b 1 2 3 4\n", 1, "minimum is missing"),
        ] {
            let error = entries(text).unwrap_err();
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.why.contains(part), "{text}: {error}");
        }
    }
}
