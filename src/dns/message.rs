//! Messages (RFC 1035, section 4): parsing that verifies every count and length, composing with name compression.

use super::edns::Edns;
use super::name::Name;
pub use super::rcode::{AnswerMeaning, Rcode};
use super::record::table::{self};
use super::record::{self, Class, Record, Rtype};
use super::wire::Malformed;

/// The maximum size of a message in bytes (its length over TCP has 16 bits).
pub const MAX_MESSAGE_BYTES: usize = 65_535;
/// The length of the header in bytes.
pub const HEADER_BYTES: usize = 12;
/// The maximum number of records in one message: the smallest record has 11 bytes.
pub const MAX_RECORDS: usize = MAX_MESSAGE_BYTES / 11;

/// A whole message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// Identifier.
    pub id: u16,
    /// The second word of the header: flags, opcode and the lower bits of the response code.
    pub flags: Flags,
    /// The questions; one entry in practice (RFC 9619).
    pub question: Vec<Question>,
    /// The answers.
    pub answer: Vec<Record>,
    /// The authorities.
    pub authority: Vec<Record>,
    /// The additional records, without OPT.
    pub additional: Vec<Record>,
    /// The OPT record.
    pub edns: Option<Edns>,
    /// Bytes after the last record.
    pub trailing_bytes: usize,
}

/// A question: name, type, class.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The name that is queried.
    pub name: Name,
    /// The type that is queried.
    pub rtype: Rtype,
    /// The class that is queried.
    pub class: Class,
}

impl Question {
    /// A question of class IN.
    pub fn new(name: Name, rtype: Rtype) -> Question {
        Question { name, rtype, class: Class::IN }
    }
}

/// The flag word of the header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u16);

#[allow(missing_docs)]
impl Flags {
    pub const QR: u16 = 0x8000;
    pub const AA: u16 = 0x0400;
    pub const TC: u16 = 0x0200;
    pub const RD: u16 = 0x0100;
    pub const RA: u16 = 0x0080;
    /// Reserved; zero in queries and answers.
    pub const Z: u16 = 0x0040;
    pub const AD: u16 = 0x0020;
    pub const CD: u16 = 0x0010;
}

impl Flags {
    /// True if this bit is set.
    pub fn has(self, bit: u16) -> bool {
        self.0 & bit != 0
    }

    /// Sets or clears a bit.
    pub fn set(&mut self, bit: u16, on: bool) {
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }

    /// The opcode; 0 is a query.
    pub fn opcode(self) -> u8 {
        (self.0 >> 11) as u8 & 15
    }

    /// The same flags with another opcode.
    pub fn with_opcode(self, opcode: u8) -> Flags {
        Flags(self.0 & !0x7800 | u16::from(opcode & 15) << 11)
    }

    /// The mnemonics of the bits that are set, in header order.
    pub fn names(self) -> Vec<&'static str> {
        let names = [
            (Flags::QR, "qr"),
            (Flags::AA, "aa"),
            (Flags::TC, "tc"),
            (Flags::RD, "rd"),
            (Flags::RA, "ra"),
            (Flags::AD, "ad"),
            (Flags::CD, "cd"),
        ];
        names.into_iter().filter(|(bit, _)| self.has(*bit)).map(|(_, name)| name).collect()
    }
}

const OPCODES: [&str; 16] = [
    "QUERY",
    "IQUERY",
    "STATUS",
    "RESERVED3",
    "NOTIFY",
    "UPDATE",
    "DSO",
    "RESERVED7",
    "RESERVED8",
    "RESERVED9",
    "RESERVED10",
    "RESERVED11",
    "RESERVED12",
    "RESERVED13",
    "RESERVED14",
    "RESERVED15",
];

/// The name of an opcode as dig prints it.
pub fn opcode_name(opcode: u8) -> &'static str {
    OPCODES.get(usize::from(opcode)).copied().unwrap_or("RESERVED15")
}

/// An opcode from its name or number.
pub fn opcode(text: &str) -> Option<u8> {
    let named = OPCODES.iter().position(|name| name.eq_ignore_ascii_case(text)).and_then(|at| u8::try_from(at).ok());
    named.or_else(|| text.parse().ok().filter(|number| *number < 16))
}

impl Message {
    /// Parses a message. A second OPT record, a name with a pointer loop and a wrong count are errors; trailing bytes are only
    /// counted.
    ///
    /// # Errors
    /// The bytes are not a valid message.
    pub fn parse(bytes: &[u8]) -> Result<Message, Malformed> {
        let mut reader = DnsMessageReader::new(bytes)?;
        let mut message = Message { id: reader.id, flags: reader.flags, ..Message::default() };
        for _ in 0..reader.counts.question {
            message.question.push(reader.question()?);
        }
        let counts = [reader.counts.answer, reader.counts.authority, reader.counts.additional];
        for (section, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                let raw = reader.record()?;
                if raw.rtype == Rtype::OPT && section == 2 {
                    if message.edns.is_some() || !raw.name.is_root() {
                        return Err(Malformed("OPT record twice, or not at the root"));
                    }
                    let rdata = bytes.get(raw.begin..raw.end).unwrap_or_default();
                    message.edns = Some(Edns::parse(raw.class.0, raw.ttl, rdata)?);
                    continue;
                }
                let record = raw.into_record(bytes)?;
                match section {
                    0 => message.answer.push(record),
                    1 => message.authority.push(record),
                    _ => message.additional.push(record),
                }
            }
        }
        message.trailing_bytes = bytes.len() - reader.at;
        Ok(message)
    }

    /// The meaning of the message for a question of this type.
    pub fn meaning(&self, qtype: Rtype) -> AnswerMeaning {
        let answers = self.answer.iter().map(|record| record.rtype);
        let authorities = self.authority.iter().map(|record| record.rtype);
        AnswerMeaning::of(self.rcode(), qtype, self.flags.has(Flags::TC), answers, authorities)
    }

    /// The response code, including the upper bits from EDNS.
    pub fn rcode(&self) -> Rcode {
        let upper = self.edns.as_ref().map_or(0, |edns| u16::from(edns.extended_rcode));
        Rcode(upper << 4 | self.flags.0 & 15)
    }

    /// Removes records of other classes: they belong to no set of the answer (RFC 4035, section 5.3.1). Returns those removed
    /// from the answer section.
    pub(super) fn drop_other_classes(&mut self, class: Class) -> Vec<Record> {
        let other = |record: &Record| record.class != class && class != Class::ANY;
        self.authority.retain(|record| !other(record));
        self.answer.extract_if(.., |record| other(record)).collect()
    }

    /// The message in wire form, at most `limit` bytes. If the answers and authorities do not fit, TC is set and all of them
    /// are omitted (RFC 2181, section 9). Additional records that do not fit are dropped silently.
    pub fn compose(&self, limit: usize) -> Vec<u8> {
        self.compose_with(limit, 0)
    }

    /// As [`Message::compose`], but TC is also set if the first `needed` additional records do not fit (RFC 9471).
    pub fn compose_with(&self, limit: usize, needed: usize) -> Vec<u8> {
        let mut composer = Composer::new(self.id, self.flags);
        let mut opt = Vec::new();
        if let Some(edns) = &self.edns {
            edns.compose(&mut opt);
        }
        let room = limit.saturating_sub(opt.len());
        let (needed, more) = self.additional.split_at(needed.min(self.additional.len()));
        let mut mark = composer.mark();
        let questions = self.question.iter().all(|question| {
            composer.question(question);
            let fits = composer.size() <= room;
            if fits {
                mark = composer.mark();
            }
            fits
        });
        let fits = questions
            && composer.section(1, &self.answer, room)
            && composer.section(2, &self.authority, room)
            && composer.section(3, needed, room);
        if fits {
            composer.section(3, more, room);
        } else {
            composer.rewind(&mark);
            composer.truncated();
        }
        composer.finish(&opt)
    }
}

/// Reads the parts of a message one after the other without storing them, for streams of records.
#[derive(Debug)]
pub struct DnsMessageReader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Identifier.
    pub id: u16,
    /// Flag word.
    pub flags: Flags,
    /// The numbers of entries in the header.
    pub counts: Counts,
}

/// The four counts of a header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions.
    pub question: u16,
    /// Answers.
    pub answer: u16,
    /// Authorities.
    pub authority: u16,
    /// Additional records.
    pub additional: u16,
}

/// A record with its position in the message.
#[derive(Debug)]
pub struct RawRecord {
    /// Owner.
    pub name: Name,
    /// Type.
    pub rtype: Rtype,
    /// Class.
    pub class: Class,
    /// Time to live.
    pub ttl: u32,
    /// The offset of the record, which begins with its owner name.
    pub owner_begin: usize,
    /// The offset of its data.
    pub begin: usize,
    /// The offset of the end of its data.
    pub end: usize,
}

impl RawRecord {
    /// The record with the names in its data uncompressed. A TTL with its highest bit set counts as 0 (RFC 2181, section 8).
    ///
    /// # Errors
    /// The data does not fit its type.
    pub fn into_record(self, message: &[u8]) -> Result<Record, Malformed> {
        let rdata = record::expand(self.rtype, message, self.begin, self.end)?;
        let ttl = if self.rtype == Rtype::OPT { self.ttl } else { lifetime(self.ttl) };
        Ok(Record { name: self.name, rtype: self.rtype, class: self.class, ttl, rdata })
    }
}

impl<'a> DnsMessageReader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// The header is cut short, or its counts exceed the size of the message.
    pub fn new(bytes: &'a [u8]) -> Result<DnsMessageReader<'a>, Malformed> {
        let header = bytes.get(..HEADER_BYTES).ok_or(Malformed("shorter than a header"))?;
        let mut words = header.chunks_exact(2).map(|pair| u16::from_be_bytes(pair.try_into().unwrap_or_default()));
        let mut word = || words.next().unwrap_or_default();
        let (id, flags) = (word(), Flags(word()));
        let counts = Counts { question: word(), answer: word(), authority: word(), additional: word() };
        let records = usize::from(counts.answer) + usize::from(counts.authority) + usize::from(counts.additional);
        let least = records * 11 + usize::from(counts.question) * 5 + HEADER_BYTES;
        if least > bytes.len() {
            return Err(Malformed("more records announced than the message can hold"));
        }
        Ok(DnsMessageReader { bytes, at: HEADER_BYTES, id, flags, counts })
    }

    /// The next question.
    ///
    /// # Errors
    /// It is malformed.
    pub fn question(&mut self) -> Result<Question, Malformed> {
        let (name, at) = Name::read(self.bytes, self.at, self.bytes.len(), true)?;
        self.at = at;
        Ok(Question { name, rtype: Rtype(self.u16()?), class: Class(self.u16()?) })
    }

    /// The next record.
    ///
    /// # Errors
    /// It is malformed.
    pub fn record(&mut self) -> Result<RawRecord, Malformed> {
        let owner_begin = self.at;
        let (name, at) = Name::read(self.bytes, self.at, self.bytes.len(), true)?;
        self.at = at;
        let (rtype, class) = (Rtype(self.u16()?), Class(self.u16()?));
        let ttl = u32::from(self.u16()?) << 16 | u32::from(self.u16()?);
        let length = usize::from(self.u16()?);
        let begin = self.at;
        let end = begin + length;
        if end > self.bytes.len() {
            return Err(Malformed("record data cut short"));
        }
        self.at = end;
        Ok(RawRecord { name, rtype, class, ttl, owner_begin, begin, end })
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        let pair = self.bytes.get(self.at..self.at + 2).ok_or(Malformed("message cut short"))?;
        self.at += 2;
        Ok(u16::from_be_bytes(pair.try_into().unwrap_or_default()))
    }
}

/// A time to live; a value with the highest bit set counts as 0 (RFC 2181, section 8).
fn lifetime(ttl: u32) -> u32 {
    if ttl > i32::MAX.unsigned_abs() { 0 } else { ttl }
}

/// The offsets and values of the TTLs in a message, except for OPT, which has none. Stops at the first malformed entry.
pub fn ttl_places(message: &[u8]) -> Vec<(usize, u32)> {
    let mut places = Vec::new();
    let Ok(mut reader) = DnsMessageReader::new(message) else { return places };
    let counts = reader.counts;
    if (0..counts.question).any(|_| reader.question().is_err()) {
        return places;
    }
    let records = u32::from(counts.answer) + u32::from(counts.authority) + u32::from(counts.additional);
    for _ in 0..records {
        let Ok(record) = reader.record() else { break };
        if record.rtype != Rtype::OPT {
            // The length of the data is between TTL and data.
            places.push((record.begin - 6, lifetime(record.ttl)));
        }
    }
    places
}

/// Writes a message record by record, compressing names.
#[derive(Debug)]
pub struct Composer {
    out: Vec<u8>,
    /// The offsets of names in `out`, as targets of compression pointers, each with the length of its name: only names of
    /// the same length are compared. Their number is limited, so that a huge message takes no quadratic time.
    names: Vec<(u16, usize)>,
}

/// A saved position in a message that is being composed.
struct ComposerMark {
    bytes: usize,
    names: usize,
    counts: [u8; 8],
}

/// The maximum number of offsets kept for compression.
const MAX_COMPRESSION_TARGETS: usize = 48;

impl Composer {
    /// An empty message with this header.
    pub fn new(id: u16, flags: Flags) -> Composer {
        let mut out = Vec::with_capacity(512);
        out.extend(id.to_be_bytes());
        out.extend(flags.0.to_be_bytes());
        out.extend([0; 8]);
        Composer { out, names: Vec::new() }
    }

    /// The size so far in bytes.
    pub fn size(&self) -> usize {
        self.out.len()
    }

    /// Appends a question.
    pub fn question(&mut self, question: &Question) {
        self.name(&question.name, true);
        self.out.extend(question.rtype.0.to_be_bytes());
        self.out.extend(question.class.0.to_be_bytes());
        self.count(0);
    }

    /// Appends the records of a section. False if one does not fit into `limit` bytes: it and the following ones are omitted.
    pub fn section(&mut self, section: usize, records: &[Record], limit: usize) -> bool {
        records.iter().all(|record| self.record(section, record, limit))
    }

    /// Appends one record to a section (1 answer, 2 authority, 3 additional). If it does not fit, appends nothing and returns false.
    pub fn record(&mut self, section: usize, record: &Record, limit: usize) -> bool {
        let (before, known) = (self.out.len(), self.names.len());
        self.name(&record.name, true);
        self.out.extend(record.rtype.0.to_be_bytes());
        self.out.extend(record.class.0.to_be_bytes());
        self.out.extend(record.ttl.to_be_bytes());
        let length_at = self.out.len();
        self.out.extend([0, 0]);
        self.rdata(record);
        let length = u16::try_from(self.out.len() - length_at - 2).ok().filter(|_| self.out.len() <= limit);
        let Some(length) = length else {
            self.out.truncate(before);
            self.names.truncate(known);
            return false;
        };
        self.patch(length_at, length);
        self.count(section);
        true
    }

    /// Saves the current position.
    fn mark(&self) -> ComposerMark {
        let counts = self.out.get(4..HEADER_BYTES).and_then(|counts| counts.try_into().ok()).unwrap_or_default();
        ComposerMark { bytes: self.out.len(), names: self.names.len(), counts }
    }

    /// Removes everything after the mark.
    fn rewind(&mut self, mark: &ComposerMark) {
        self.out.truncate(mark.bytes);
        self.names.truncate(mark.names);
        if let Some(counts) = self.out.get_mut(4..HEADER_BYTES) {
            counts.copy_from_slice(&mark.counts);
        }
    }

    /// Sets TC.
    pub fn truncated(&mut self) {
        if let Some(byte) = self.out.get_mut(2) {
            *byte |= 2;
        }
    }

    /// The finished message, with the OPT record `opt` at its end unless `opt` is empty.
    pub fn finish(mut self, opt: &[u8]) -> Vec<u8> {
        if !opt.is_empty() {
            self.out.extend_from_slice(opt);
            self.count(3);
        }
        self.out
    }

    /// Appends the data of a record. Only names in types of RFC 1035 may be compressed (RFC 3597, section 4).
    fn rdata(&mut self, record: &Record) {
        let row = table::row(record.rtype).filter(|row| row.fields.iter().any(|(_, f)| *f == table::RdataField::Name));
        let mut rest = record.rdata.as_slice();
        for (_, field) in row.map(|row| row.fields).unwrap_or_default() {
            let size = match field {
                table::RdataField::Name => match Name::read(rest, 0, rest.len(), false) {
                    Ok((name, used)) => {
                        self.name(&name, true);
                        rest = rest.get(used..).unwrap_or_default();
                        continue;
                    }
                    Err(_) => break,
                },
                table::RdataField::U16 => 2,
                _ => break,
            };
            let Some((bytes, tail)) = rest.split_at_checked(size) else { break };
            self.out.extend_from_slice(bytes);
            rest = tail;
        }
        self.out.extend_from_slice(rest);
    }

    /// Appends a name. The longest suffix that is already in the message, in the same case, becomes a pointer.
    fn name(&mut self, name: &Name, compress: bool) {
        let mut rest = name.as_wire();
        while let Some(&length) = rest.first().filter(|length| **length > 0) {
            let known = compress
                .then(|| self.names.iter().find(|(at, length)| *length == rest.len() && self.stands_at(*at, rest)))
                .flatten();
            if let Some((at, _)) = known {
                self.out.extend((at | 0xc000).to_be_bytes());
                return;
            }
            if let Ok(here) = u16::try_from(self.out.len())
                && here < 0x4000
                && self.names.len() < MAX_COMPRESSION_TARGETS
            {
                self.names.push((here, rest.len()));
            }
            let Some((label, tail)) = rest.split_at_checked(usize::from(length) + 1) else { break };
            self.out.extend_from_slice(label);
            rest = tail;
        }
        self.out.push(0);
    }

    /// True if the name at offset `at` equals `wanted` byte for byte.
    fn stands_at(&self, at: u16, mut wanted: &[u8]) -> bool {
        let mut here = usize::from(at);
        loop {
            match self.out.get(here) {
                Some(&length @ 0xc0..) => {
                    let Some(&low) = self.out.get(here + 1) else { return false };
                    here = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                }
                Some(0) => return wanted == [0],
                Some(&length) => {
                    let size = usize::from(length) + 1;
                    if self.out.get(here..here + size) != wanted.get(..size) {
                        return false;
                    }
                    here += size;
                    wanted = wanted.get(size..).unwrap_or_default();
                }
                None => return false,
            }
        }
    }

    fn count(&mut self, section: usize) {
        let at = 4 + section * 2;
        let pair = self.out.get(at..at + 2).and_then(|pair| pair.try_into().ok()).unwrap_or_default();
        self.patch(at, u16::from_be_bytes(pair).saturating_add(1));
    }

    fn patch(&mut self, at: usize, value: u16) {
        if let Some(pair) = self.out.get_mut(at..at + 2) {
            pair.copy_from_slice(&value.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn sample() -> Message {
        let name = |text: &str| Name::parse(text).unwrap();
        let record = |owner: &str, rtype: Rtype, rdata: Vec<u8>| Record {
            name: name(owner),
            rtype,
            class: Class::IN,
            ttl: 300,
            rdata,
        };
        let mx = [&[0, 10][..], name("mx.Example.test").as_wire()].concat();
        Message {
            id: 0x1234,
            flags: Flags(Flags::QR | Flags::AA | Flags::RD),
            question: vec![Question::new(name("example.test"), Rtype::MX)],
            answer: vec![
                record("example.test", Rtype::MX, mx),
                record("example.test", Rtype::NS, name("ns.example.test").as_wire().to_vec()),
            ],
            authority: vec![record("Example.TEST", Rtype::DNAME, name("example.test").as_wire().to_vec())],
            additional: vec![record("mx.Example.test", Rtype::A, vec![192, 0, 2, 1])],
            edns: Some(Edns { dnssec_ok: true, ..Edns::default() }),
            trailing_bytes: 0,
        }
    }

    #[test]
    fn composes_and_parses_back_with_case() {
        let message = sample();
        let bytes = message.compose(MAX_MESSAGE_BYTES);
        let back = Message::parse(&bytes).unwrap();
        assert_eq!(back, message);
        assert_eq!(back.answer[0].rdata, message.answer[0].rdata, "case is kept");
        assert_eq!(back.authority[0].name.to_string(), "Example.TEST.");
        assert_eq!(back.rcode(), Rcode::NOERROR);
        assert!(bytes.windows(2).filter(|pair| pair[0] == 0xc0).count() >= 3, "compressed");
    }

    #[test]
    fn every_cut_is_an_error_or_a_message() {
        let bytes = sample().compose(MAX_MESSAGE_BYTES);
        for cut in 0..bytes.len() {
            assert!(Message::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 63, 64, 0xc0, 0xff] {
                let mut bad = bytes.clone();
                bad[at] = value;
                let _ = Message::parse(&bad);
            }
        }
        let longer = [&bytes[..], b"xx"].concat();
        assert_eq!(Message::parse(&longer).unwrap().trailing_bytes, 2);
    }

    #[test]
    fn truncation_leaves_whole_records() {
        let message = sample();
        let whole = message.compose(MAX_MESSAGE_BYTES).len();
        for limit in 30..=whole {
            let bytes = message.compose(limit);
            let back = Message::parse(&bytes).unwrap();
            assert!(bytes.len() <= limit.max(HEADER_BYTES + 11), "{limit}");
            assert!(back.edns.is_some(), "OPT stays");
            let needed = back.answer.len() + back.authority.len();
            assert_eq!(needed, if back.flags.has(Flags::TC) { 0 } else { 3 }, "{limit}");
            let glue = Message::parse(&message.compose_with(limit, 1)).unwrap();
            assert_eq!(glue.flags.has(Flags::TC), glue.additional.is_empty(), "{limit}");
        }
    }

    #[test]
    fn lies_are_found() {
        let mut bytes = sample().compose(MAX_MESSAGE_BYTES);
        bytes[6..8].copy_from_slice(&[0xff, 0xff]);
        assert!(Message::parse(&bytes).is_err(), "counts that cannot be");
        let mut two = sample();
        two.edns = None;
        let mut bytes = two.compose(MAX_MESSAGE_BYTES);
        for _ in 0..2 {
            Edns::default().compose(&mut bytes);
        }
        bytes[11] = 3;
        assert!(Message::parse(&bytes).is_err(), "two OPT records");
        assert_eq!(Rcode(23).to_string(), "BADCOOKIE");
        assert_eq!(Rcode(3841).to_string(), "RCODE3841");
    }
}
