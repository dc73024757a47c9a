//! Resource records. One declarative table ([`table`]) lists the fields of each type. It drives wire format, text and
//! JSON, for answers and for zone files alike. Types without a row are written in the RFC 3597 form.

pub(crate) mod atoms;
pub mod json;
pub mod layout;
pub mod parse;
pub mod rdata;
pub(crate) mod special;
pub mod svcb;
pub mod table;
pub mod text;
pub mod words;

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use super::name::{self, Name, NameRef};
use super::wire::{Cursor, Malformed};
use table::RdataField;

/// One resource record (RFC 1035, section 4.1.3); names in `rdata` are uncompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Owner name.
    pub name: Name,
    /// Type.
    pub rtype: Rtype,
    /// Class.
    pub class: Class,
    /// Time to live, in seconds.
    pub ttl: u32,
    /// Data in wire form.
    pub rdata: Vec<u8>,
}

impl Record {
    /// The data as text, in zone file format.
    pub fn rdata_text(&self) -> String {
        text::rdata(self.rtype, &self.rdata, text::Style::PLAIN)
    }

    /// True if the record has this data: the case of names is ignored.
    pub fn has_data(&self, rdata: &[u8]) -> bool {
        comparable(self.rtype, &self.rdata) == comparable(self.rtype, rdata)
    }

    /// The address of an A or AAAA record.
    pub fn address(&self) -> Option<IpAddr> {
        match self.rtype {
            Rtype::A => <[u8; 4]>::try_from(self.rdata.as_slice()).ok().map(IpAddr::from),
            Rtype::AAAA => <[u8; 16]>::try_from(self.rdata.as_slice()).ok().map(IpAddr::from),
            _ => None,
        }
    }

    /// The first name in the data, for types that begin with one (NS, CNAME, PTR, DNAME, SOA …).
    pub fn target(&self) -> Option<Name> {
        let row = table::row(self.rtype)?;
        row.fields.first().filter(|(_, field)| field.is_name())?;
        Name::read(&self.rdata, 0, self.rdata.len(), false).ok().map(|(name, _)| name)
    }
}

/// The record on one line, fields separated by one tab.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\t{}\t{}\t{}\t{}", self.name, self.ttl, self.class, self.rtype, self.rdata_text())
    }
}

/// A record type (RFC 1035, section 3.2.2; the IANA registry).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rtype(pub u16);

#[allow(missing_docs)]
impl Rtype {
    pub const A: Rtype = Rtype(1);
    pub const NS: Rtype = Rtype(2);
    pub const CNAME: Rtype = Rtype(5);
    pub const SOA: Rtype = Rtype(6);
    pub const PTR: Rtype = Rtype(12);
    pub const HINFO: Rtype = Rtype(13);
    pub const MX: Rtype = Rtype(15);
    pub const TXT: Rtype = Rtype(16);
    pub const NSAP_PTR: Rtype = Rtype(23);
    pub const SIG: Rtype = Rtype(24);
    pub const AAAA: Rtype = Rtype(28);
    pub const SRV: Rtype = Rtype(33);
    pub const DNAME: Rtype = Rtype(39);
    pub const OPT: Rtype = Rtype(41);
    pub const DS: Rtype = Rtype(43);
    pub const RRSIG: Rtype = Rtype(46);
    pub const NSEC: Rtype = Rtype(47);
    pub const DNSKEY: Rtype = Rtype(48);
    pub const NSEC3: Rtype = Rtype(50);
    pub const NSEC3PARAM: Rtype = Rtype(51);
    pub const TLSA: Rtype = Rtype(52);
    pub const CDS: Rtype = Rtype(59);
    pub const CDNSKEY: Rtype = Rtype(60);
    pub const SVCB: Rtype = Rtype(64);
    pub const HTTPS: Rtype = Rtype(65);
    pub const TKEY: Rtype = Rtype(249);
    pub const TSIG: Rtype = Rtype(250);
    pub const IXFR: Rtype = Rtype(251);
    pub const AXFR: Rtype = Rtype(252);
    pub const ANY: Rtype = Rtype(255);
}

impl Rtype {
    /// The mnemonics of all types.
    pub fn mnemonics() -> impl Iterator<Item = &'static str> {
        table::TABLE.iter().map(|row| row.name)
    }

    /// The type with this mnemonic, or `TYPE123` (RFC 3597, section 5).
    pub fn parse(text: &str) -> Option<Rtype> {
        table::TABLE
            .iter()
            .find(|row| row.name.eq_ignore_ascii_case(text))
            .map(|row| row.rtype)
            .or_else(|| numbered(text, "TYPE").map(Rtype))
    }

    /// True for types that occur only in questions and messages, never in zones (RFC 6895, section 3.1).
    pub fn is_meta(self) -> bool {
        self == Rtype::OPT || (128..=255).contains(&self.0) || self.0 == 0
    }
}

impl fmt::Display for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match table::row(*self) {
            Some(row) => f.write_str(row.name),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl fmt::Debug for Rtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A record class (RFC 1035, section 3.2.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class(pub u16);

const CLASSES: [(&str, u16); 5] = [("IN", 1), ("CH", 3), ("HS", 4), ("NONE", 254), ("ANY", 255)];

impl Class {
    /// The Internet.
    pub const IN: Class = Class(1);
    /// Chaos, for `version.bind`.
    pub const CH: Class = Class(3);
    /// No class (RFC 2136).
    pub const NONE: Class = Class(254);
    /// Any class, in questions.
    pub const ANY: Class = Class(255);

    /// The mnemonics of all classes.
    pub fn mnemonics() -> impl Iterator<Item = &'static str> {
        CLASSES.iter().map(|(name, _)| *name)
    }

    /// The class with this mnemonic, or `CLASS123` (RFC 3597, section 5).
    pub fn parse(text: &str) -> Option<Class> {
        CLASSES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map(|(_, number)| Class(*number))
            .or_else(|| text.eq_ignore_ascii_case("CHAOS").then_some(Class::CH))
            .or_else(|| numbered(text, "CLASS").map(Class))
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match CLASSES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "CLASS{}", self.0),
        }
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parses the number in `TYPE123` or `CLASS123`.
fn numbered(text: &str, prefix: &str) -> Option<u16> {
    let (head, digits) = text.split_at_checked(prefix.len())?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (head.eq_ignore_ascii_case(prefix) && plain).then(|| digits.parse().ok())?
}

/// Extracts the data of a record from a message, with its names uncompressed (RFC 3597, section 4: compression is
/// understood only in the types of RFC 1035 and a few old ones).
///
/// # Errors
/// The data does not fit its type.
pub fn expand(rtype: Rtype, message: &[u8], at: usize, end: usize) -> Result<Vec<u8>, Malformed> {
    let raw = message.get(at..end).ok_or(Malformed("record data cut short"))?;
    let Some(row) = table::row(rtype).filter(|row| row.fields.iter().any(|(_, field)| field.may_be_compressed()))
    else {
        return Ok(raw.to_vec());
    };
    let mut wire = Vec::with_capacity(raw.len() + 32);
    let mut here = at;
    for (_, field) in row.fields {
        if field.may_be_compressed() {
            here = name::read_into(message, here, end, true, &mut wire)?;
            continue;
        }
        let mut cursor = Cursor::new(message.get(here..end).unwrap_or_default());
        wire.extend_from_slice(other_field(*field, &mut cursor)?);
        here += cursor.position();
    }
    if here != end {
        return Err(Malformed("record data longer than its fields"));
    }
    Ok(wire)
}

/// Reads a field before, between or after names.
fn other_field<'a>(field: RdataField, cursor: &mut Cursor<'a>) -> Result<&'a [u8], Malformed> {
    match field {
        RdataField::U8 | RdataField::Algorithm | RdataField::AlgorithmName | RdataField::SyncScheme => cursor.take(1),
        RdataField::U16 | RdataField::Type | RdataField::CertType => cursor.take(2),
        RdataField::U32 | RdataField::Ttl | RdataField::Time | RdataField::Ipv4 => cursor.take(4),
        RdataField::Text | RdataField::Tag | RdataField::HexCounted | RdataField::Base32Counted => {
            let begin = cursor.position();
            cursor.string()?;
            Ok(cursor.whole().get(begin..cursor.position()).unwrap_or_default())
        }
        _ => Ok(cursor.rest()),
    }
}

/// The names in uncompressed data: the range of each, and true if signatures have it in lower case (RFC 4034, section
/// 6.2, with RFC 6840, section 5.1: in the old types only).
///
/// # Errors
/// The data does not fit its type.
fn name_places(rtype: Rtype, rdata: &[u8]) -> Result<Vec<(Range<usize>, bool)>, Malformed> {
    let mut places = Vec::new();
    let mut cursor = Cursor::new(rdata);
    for (_, field) in table::row(rtype).map_or(&[][..], |row| row.fields) {
        let signed_lower = field.may_be_compressed() && rtype != Rtype::NSAP_PTR; // the one old type not on the list
        let many = match field {
            RdataField::Gateway | RdataField::Relay | RdataField::Hip => special::skip_to_names(*field, &mut cursor)?,
            field if field.is_name() => 1,
            field => {
                other_field(*field, &mut cursor)?;
                0
            }
        };
        for _ in 0..many {
            if cursor.is_empty() && *field == RdataField::Hip {
                break;
            }
            let begin = cursor.position();
            cursor.name_ref()?;
            places.push((begin..cursor.position(), signed_lower));
        }
    }
    Ok(places)
}

fn lowered(rdata: &[u8], places: impl IntoIterator<Item = Range<usize>>) -> Vec<u8> {
    let mut lowered = rdata.to_vec();
    for place in places {
        // A length is below 64, so it is not a letter.
        lowered.get_mut(place).unwrap_or_default().make_ascii_lowercase();
    }
    lowered
}

/// Record data in the canonical form of DNSSEC (RFC 4034, section 6.2), which is signed and sorted.
///
/// # Errors
/// The data does not fit its type.
pub fn canonical(rtype: Rtype, rdata: &[u8]) -> Result<Vec<u8>, Malformed> {
    let places = name_places(rtype, rdata)?;
    Ok(lowered(rdata, places.into_iter().filter(|(_, signed_lower)| *signed_lower).map(|(place, _)| place)))
}

/// Record data in the form for comparison: every name in lower case (RFC 4343, section 3). Data of an unknown type, or
/// data that does not fit its type, is compared byte for byte (RFC 3597, section 6).
pub fn comparable(rtype: Rtype, rdata: &[u8]) -> Cow<'_, [u8]> {
    let holds = table::row(rtype).is_some_and(|row| row.fields.iter().any(|(_, field)| field.may_hold_names()));
    let places = if holds { name_places(rtype, rdata).unwrap_or_default() } else { Vec::new() };
    match places.as_slice() {
        [] => Cow::Borrowed(rdata),
        _ => Cow::Owned(lowered(rdata, places.into_iter().map(|(place, _)| place))),
    }
}

/// The names in uncompressed data. Data that does not fit its type has none.
pub fn names_in(rtype: Rtype, rdata: &[u8]) -> Vec<NameRef<'_>> {
    let places = name_places(rtype, rdata).unwrap_or_default();
    places.into_iter().filter_map(|(place, _)| Some(NameRef::read(rdata, place.start).ok()?.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mnemonics() {
        for row in table::TABLE {
            assert_eq!(Rtype::parse(row.name), Some(row.rtype));
            assert_eq!(Rtype::parse(&row.name.to_lowercase()), Some(row.rtype));
            assert_eq!(row.rtype.to_string(), row.name);
        }
        assert_eq!(Rtype::parse("type65280"), Some(Rtype(65280)));
        assert_eq!(Rtype::parse("TYPE1"), Some(Rtype::A));
        for bad in ["", "TYPE", "TYPE65536", "TYPE+1", "NOSUCH"] {
            assert_eq!(Rtype::parse(bad), None, "{bad}");
        }
        assert_eq!(Class::parse("class3"), Some(Class::CH));
        assert_eq!(Class(77).to_string(), "CLASS77");
    }

    #[test]
    fn names_in_data_are_uncompressed() {
        let message = b"\x07example\x00\x00\x0a\x02mx\xc0\x00";
        let wire = expand(Rtype::MX, message, 9, message.len()).unwrap();
        assert_eq!(wire, b"\x00\x0a\x02mx\x07example\x00");
        assert!(expand(Rtype::MX, b"\x00", 0, 1).is_err());
        assert!(expand(Rtype::CNAME, b"\x00\x00", 0, 2).is_err(), "bytes after the name");
        assert_eq!(expand(Rtype::HTTPS, b"\x00\x01\xc0\x00", 0, 4).unwrap(), b"\x00\x01\xc0\x00", "left as it came");
    }

    /// For every type with a text form: data stays equal if only the case of its names changes.
    #[test]
    fn names_in_data_have_no_case() {
        let samples = include_str!("../../../tests/data/dns/rdata.txt");
        let root = Name::root();
        let mut with_names = 0;
        for line in samples.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (rtype, text) = line.split_once(' ').unwrap();
            let rtype = Rtype::parse(rtype).unwrap();
            let words = words::split(text.as_bytes()).unwrap();
            let wire = parse::rdata(rtype, &mut words::RdataWords::new(&words, Some(&root))).unwrap();
            let names = names_in(rtype, &wire);
            let shown = |name: &NameRef<'_>| text.to_lowercase().contains(&name.to_string().to_lowercase());
            assert!(names.iter().all(shown), "{line}");
            // "10 0": a gateway or relay that is none.
            let shows_name = text.contains(".test.") || text.ends_with(" .") || text.contains(" . ");
            assert_eq!(names.is_empty(), !shows_name || text.starts_with("10 0 "), "{line}");
            let mut upper = wire.clone();
            for place in name_places(rtype, &wire).unwrap() {
                upper[place.0].make_ascii_uppercase();
            }
            with_names += usize::from(upper != wire);
            assert_eq!(comparable(rtype, &upper), comparable(rtype, &wire), "{line}");
            let signed_alike = canonical(rtype, &upper).unwrap() == canonical(rtype, &wire).unwrap();
            // RFC 4034, section 6.2, with the corrections of RFC 6840, section 5.1.
            let listed = [2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 18, 21, 24, 26, 30, 33, 35, 36, 39, 46];
            assert_eq!(signed_alike, upper == wire || listed.contains(&rtype.0), "{line}");
        }
        assert!(with_names > 25, "{with_names}");
        assert_ne!(comparable(Rtype::TXT, b"\x01a"), comparable(Rtype::TXT, b"\x01A"));
    }

    /// Data that BIND, NSD and Knot refuse, in the RFC 3597 form and in the type's own form.
    #[test]
    fn malformed_data_is_no_record() {
        let root = Name::root();
        let read = |rtype: &str, text: &str| {
            let words = words::split(text.as_bytes())?;
            parse::rdata(Rtype::parse(rtype).unwrap(), &mut words::RdataWords::new(&words, Some(&root)))
        };
        for (rtype, bad) in [
            ("A", "\\# 3 010203"),
            ("AAAA", "\\# 4 01020304"),
            ("MX", "\\# 5 0001c00c00"),
            ("NS", "\\# 2 0161"),
            ("CNAME", "\\# 0"),
            ("PTR", "\\# 2 c00c"),
            ("DS", "\\# 3 000000"),
            ("SRV", "\\# 0"),
            ("RRSIG", "\\# 0"),
            ("NSEC", "\\# 0"),
            ("TXT", "\\# 0"),
            ("HIP", "\\# 4 00010000"),
            ("SVCB", "\\# 4 00010000"),
            ("HTTPS", "\\# 7 000100000300"),
            ("DNSKEY", "\\# 4 01000308"),
            ("DNSKEY", "256 3 8"),
            ("CDNSKEY", "256 3 8"),
            ("RRSIG", "A 8 3 300 20300101000000 20200101000000 1 q.test."),
            ("CERT", "1 1 8"),
            ("OPENPGPKEY", ""),
            ("DHCID", ""),
            ("DOA", "1 1 1 \"\""),
            ("CAA", "0 \"\" \"x\""),
            ("CAA", "0 is-sue \"x\""),
            ("LOC", "42 21 54 N 71 06 18 W 1m 90000001m"),
            ("SVCB", "1 . key65=\"a b\"c"),
            ("SVCB", "1 . key65=a\"b c\""),
        ] {
            assert!(read(rtype, bad).is_err(), "{rtype} {bad}");
        }
        for (rtype, good) in [
            ("KEY", "49152 3 8"),
            ("CDNSKEY", "0 3 0 AA=="),
            ("DNSKEY", "256 3 RSASHA1-NSEC3-SHA1 AAAA"),
            ("APL", "\\# 0"),
            ("NULL", "\\# 0"),
            ("TYPE65280", "\\# 0"),
            ("NSEC", "y."),
            ("RRSIG", "A 8 3 300 21070101000000 20200101000000 1 q.test. AAAA"),
        ] {
            assert!(read(rtype, good).is_ok(), "{rtype} {good}");
        }
    }
}
