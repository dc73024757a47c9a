//! Resource records. One declarative table ([`table`]) says which fields each type has; it drives wire, text and JSON,
//! for answers and for zone files alike. Types without a row are written as RFC 3597 says.

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

use std::fmt;
use std::net::IpAddr;

use super::name::{self, Name};
use super::wire::Malformed;
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
    /// Seconds that it may be kept.
    pub ttl: u32,
    /// Data in wire form.
    pub rdata: Vec<u8>,
}

impl Record {
    /// The data as text, as a zone file takes it.
    pub fn rdata_text(&self) -> String {
        text::rdata(self.rtype, &self.rdata, text::Style::PLAIN)
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
    pub const SVCB: Rtype = Rtype(64);
    pub const HTTPS: Rtype = Rtype(65);
    pub const TKEY: Rtype = Rtype(249);
    pub const TSIG: Rtype = Rtype(250);
    pub const IXFR: Rtype = Rtype(251);
    pub const AXFR: Rtype = Rtype(252);
    pub const ANY: Rtype = Rtype(255);
}

impl Rtype {
    /// The type with this mnemonic, or `TYPE123` (RFC 3597, section 5).
    pub fn parse(text: &str) -> Option<Rtype> {
        table::TABLE
            .iter()
            .find(|row| row.name.eq_ignore_ascii_case(text))
            .map(|row| row.rtype)
            .or_else(|| numbered(text, "TYPE").map(Rtype))
    }

    /// True for types that only questions and messages have, never zones (RFC 6895, section 3.1).
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

/// `TYPE123` and `CLASS123`.
fn numbered(text: &str, prefix: &str) -> Option<u16> {
    let (head, digits) = text.split_at_checked(prefix.len())?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (head.eq_ignore_ascii_case(prefix) && plain).then(|| digits.parse().ok())?
}

/// Takes the data of a record out of a message, with its names uncompressed (RFC 3597, section 4: compression is
/// understood in the types of RFC 1035 and a few old ones, and nowhere else).
///
/// # Errors
/// The data does not fit its type.
pub fn expand(rtype: Rtype, message: &[u8], at: usize, end: usize) -> Result<Vec<u8>, Malformed> {
    copy(rtype, message, at, end, false)
}

/// Record data in the canonical form of DNSSEC: the names of the old types in lower case (RFC 4034, section 6.2, with
/// RFC 6840, section 5.1), everything else as it is.
///
/// # Errors
/// The data does not fit its type.
pub fn canonical(rtype: Rtype, rdata: &[u8]) -> Result<Vec<u8>, Malformed> {
    if rtype == Rtype::NSAP_PTR {
        return Ok(rdata.to_vec()); // the one old type that is not on the list
    }
    copy(rtype, rdata, 0, rdata.len(), true)
}

fn copy(rtype: Rtype, message: &[u8], at: usize, end: usize, lower: bool) -> Result<Vec<u8>, Malformed> {
    let raw = message.get(at..end).ok_or(Malformed("record data cut short"))?;
    let Some(row) = table::row(rtype).filter(|row| row.fields.iter().any(|(_, field)| field.may_be_compressed()))
    else {
        return Ok(raw.to_vec());
    };
    let mut wire = Vec::with_capacity(raw.len() + 32);
    let mut here = at;
    for (_, field) in row.fields {
        if field.may_be_compressed() {
            let begin = wire.len();
            here = name::read_into(message, here, end, true, &mut wire)?;
            if lower && let Some(name) = wire.get_mut(begin..) {
                name.make_ascii_lowercase();
            }
            continue;
        }
        let rest = message.get(here..end).unwrap_or_default();
        let size = match field {
            RdataField::U8 | RdataField::Algorithm => 1,
            RdataField::U16 | RdataField::Type => 2,
            RdataField::U32 | RdataField::Ttl | RdataField::Time => 4,
            RdataField::Text => 1 + usize::from(*rest.first().ok_or(Malformed("record data cut short"))?),
            _ => rest.len(),
        };
        wire.extend_from_slice(rest.get(..size).ok_or(Malformed("record data cut short"))?);
        here += size;
    }
    if here != end {
        return Err(Malformed("record data longer than its fields"));
    }
    Ok(wire)
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
}
