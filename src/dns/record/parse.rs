//! Parses record data from text (RFC 1035, section 5.1, and each type's own document), driven by the table.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::atoms::{address, from_base32, from_base64, from_hex, lossy, named, string, ttl};
use super::table::{self, RdataField};
use super::words::{RdataWords, TextError};
use super::{Rtype, special, svcb, text};

/// The maximum length of record data (its length field has 16 bits).
pub const MAX_RDATA_BYTES: usize = 65_535;

/// Parses the data of a record of this type; `\# length hex` works for every type (RFC 3597, section 5).
///
/// # Errors
/// The words are not the data of this type.
pub fn rdata(rtype: Rtype, words: &mut RdataWords<'_>) -> Result<Vec<u8>, TextError> {
    let mut wire = Vec::new();
    if words.peek().is_some_and(|word| !word.quoted && word.text == b"\\#") {
        words.next("\\#")?;
        let length: u16 = words.number("length")?;
        wire = from_hex(&words.joined())?;
        if wire.len() != usize::from(length) {
            return Err(format!("{length} bytes announced, {} given", wire.len()));
        }
        text::check(rtype, &wire).map_err(|error| error.to_string())?;
        return Ok(wire);
    }
    let row = table::row(rtype).filter(|row| !row.fields.is_empty());
    let row = row.ok_or_else(|| format!("{rtype} has no text form: write \\# LENGTH HEX"))?;
    for (name, kind) in row.fields {
        field(name, *kind, words, &mut wire)?;
        if wire.len() > MAX_RDATA_BYTES {
            return Err("record data longer than 65535 bytes".to_owned());
        }
    }
    match words.peek() {
        None => Ok(wire),
        Some(word) => Err(format!("unexpected {:?} after the record", String::from_utf8_lossy(word.text))),
    }
}

/// Parses one field and appends its wire form.
fn field(what: &str, kind: RdataField, words: &mut RdataWords<'_>, wire: &mut Vec<u8>) -> Result<(), TextError> {
    match kind {
        RdataField::Name | RdataField::OldName | RdataField::PlainName => {
            wire.extend_from_slice(words.name(what)?.as_wire())
        }
        RdataField::U8 => wire.push(words.number(what)?),
        RdataField::U16 => wire.extend(words.number::<u16>(what)?.to_be_bytes()),
        RdataField::U32 => wire.extend(words.number::<u32>(what)?.to_be_bytes()),
        RdataField::Ttl => {
            let word = words.next(what)?;
            let seconds = ttl(word.text).ok_or_else(|| format!("{what}: bad time {:?}", lossy(word.text)))?;
            wire.extend(seconds.to_be_bytes());
        }
        RdataField::Time => {
            let word = words.next(what)?;
            let time = special::parse_time(word.str()?).ok_or_else(|| format!("{what}: bad time"))?;
            wire.extend(time.to_be_bytes());
        }
        RdataField::Algorithm | RdataField::AlgorithmName => {
            let number = named(what, words, special::ALGORITHMS)?;
            wire.push(u8::try_from(number).map_err(|_| format!("{what}: number over 255"))?);
        }
        RdataField::SyncScheme => {
            let number = named(what, words, special::SYNC_SCHEMES)?;
            wire.push(u8::try_from(number).map_err(|_| format!("{what}: number over 255"))?);
        }
        RdataField::CertType => wire.extend(named(what, words, special::CERT_TYPES)?.to_be_bytes()),
        RdataField::Type => {
            let word = words.next(what)?;
            let rtype = Rtype::parse(word.str()?).ok_or_else(|| format!("unknown type {:?}", lossy(word.text)))?;
            wire.extend(rtype.0.to_be_bytes());
        }
        RdataField::Ipv4 => wire.extend(address::<Ipv4Addr>(what, words)?.octets()),
        RdataField::Ipv6 => wire.extend(address::<Ipv6Addr>(what, words)?.octets()),
        RdataField::Text => string(&words.next(what)?.bytes()?, wire)?,
        RdataField::Tag => {
            let tag = words.next(what)?.bytes()?;
            if tag.is_empty() || !tag.iter().all(u8::is_ascii_alphanumeric) {
                return Err(format!("{what}: letters and digits expected"));
            }
            string(&tag, wire)?;
        }
        RdataField::Texts => {
            string(&words.next(what)?.bytes()?, wire)?;
            while !words.is_empty() {
                string(&words.next(what)?.bytes()?, wire)?;
            }
        }
        RdataField::LongText => wire.extend(words.next(what)?.bytes()?),
        RdataField::Hex => wire.extend(filled(what, from_hex(&words.joined())?)?),
        RdataField::HexCounted => {
            let word = words.next(what)?;
            let bytes = if word.text == b"-" { Vec::new() } else { from_hex(word.text)? };
            string(&bytes, wire)?;
        }
        RdataField::Base32Counted => {
            let bytes = from_base32(words.next(what)?.text).ok_or_else(|| format!("{what}: bad base32"))?;
            string(&filled(what, bytes)?, wire)?;
        }
        RdataField::Base64 => wire.extend(filled(what, from_base64(&words.joined())?)?),
        RdataField::Base64OrNone => wire.extend(from_base64(&words.joined())?),
        RdataField::Base64OrDash => match words.joined().as_slice() {
            b"-" => {}
            text => wire.extend(filled(what, from_base64(text)?)?),
        },
        RdataField::Types => special::parse_types(words, wire)?,
        RdataField::OldTypes => special::parse_old_types(words, wire)?,
        RdataField::Eui48 => pairs::<6>(what, words, wire)?,
        RdataField::Eui64 => pairs::<8>(what, words, wire)?,
        RdataField::Nid => {
            let word = words.next(what)?;
            let parts: Vec<&str> = word.str()?.split(':').collect();
            if parts.len() != 4 {
                return Err(format!("{what}: four groups of hexadecimal digits expected"));
            }
            for part in parts {
                let good = (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
                let number = u16::from_str_radix(part, 16).ok().filter(|_| good);
                wire.extend(number.ok_or_else(|| format!("{what}: bad group {part:?}"))?.to_be_bytes());
            }
        }
        RdataField::Loc => special::parse_loc(words, wire)?,
        RdataField::Apl => special::parse_apl(words, wire)?,
        RdataField::Gateway => special::parse_gateway(words, wire)?,
        RdataField::Relay => special::parse_relay(words, wire)?,
        RdataField::Hip => special::parse_hip(words, wire)?,
        RdataField::SvcParams => svcb::parse(words, wire)?,
    }
    Ok(())
}

fn filled(what: &str, bytes: Vec<u8>) -> Result<Vec<u8>, TextError> {
    if bytes.is_empty() { Err(format!("{what} is missing")) } else { Ok(bytes) }
}

fn pairs<const N: usize>(what: &str, words: &mut RdataWords<'_>, wire: &mut Vec<u8>) -> Result<(), TextError> {
    let word = words.next(what)?;
    let mut count = 0;
    for pair in word.text.split(|byte| *byte == b'-') {
        if pair.len() != 2 {
            return Err(format!("{what}: pairs of hexadecimal digits expected"));
        }
        wire.extend(from_hex(pair)?);
        count += 1;
    }
    if count == N { Ok(()) } else { Err(format!("{what}: {N} pairs expected, {count} given")) }
}

#[cfg(test)]
mod tests {
    use super::super::text::Style;
    use super::super::words;
    use super::*;
    use crate::dns::name::Name;

    fn read(rtype: &str, text: &str) -> Result<Vec<u8>, TextError> {
        let words = words::split(text.as_bytes())?;
        let root = Name::root();
        rdata(Rtype::parse(rtype).unwrap(), &mut RdataWords::new(&words, Some(&root)))
    }

    /// For every type with a text form: text to wire and back gives the same text. The tests against dig share the file.
    #[test]
    fn text_comes_back_for_every_type() {
        let samples = include_str!("../../../tests/data/dns/rdata.txt");
        let mut seen = std::collections::BTreeSet::new();
        for line in samples.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let (rtype, expected) = line.split_once(' ').unwrap();
            let wire = read(rtype, expected).unwrap_or_else(|error| panic!("{line}: {error}"));
            let rtype = Rtype::parse(rtype).unwrap();
            assert_eq!(text::rdata(rtype, &wire, Style::PLAIN), expected, "{rtype}");
            seen.insert(rtype);
            let mut generic = String::new();
            text::generic(&wire, Style::PLAIN, &mut generic);
            assert_eq!(read(&rtype.to_string(), &generic).unwrap(), wire, "{generic}");
            for cut in 0..wire.len() {
                text::rdata(rtype, &wire[..cut], Style::PLAIN); // must not panic
            }
        }
        for row in table::TABLE.iter().filter(|row| !row.fields.is_empty() && !row.rtype.is_meta()) {
            assert!(seen.contains(&row.rtype), "no sample for {}", row.name);
        }
    }

    #[test]
    fn wrong_text_is_refused() {
        for (rtype, bad) in [
            ("A", "192.0.2"),
            ("A", "192.0.2.1 x"),
            ("A", ""),
            ("AAAA", "1::2::3"),
            ("MX", "mx.test."),
            ("MX", "65536 mx.test."),
            ("TXT", ""),
            ("DS", "1 8 2"),
            ("DS", "1 8 2 abc"),
            ("NSEC3PARAM", "1 0 0 zz"),
            ("EUI48", "00-11-22-33-44"),
            ("EUI48", "00-11-22-33-44-5"),
            ("NID", "10 1:2:3"),
            ("LOC", "91 0 0 N 0 0 0 E 0m"),
            ("LOC", "42 21 54"),
            ("APL", "1:192.0.2.0/33"),
            ("APL", "3:192.0.2.0/3"),
            ("NSEC", "a. NOSUCH"),
            ("DNSKEY", "256 3 8 !!!"),
            ("SVCB", "1 . port=70000"),
            ("SVCB", "1 . port=1 port=2"),
            ("SVCB", "1 . mandatory=port"),
            ("SVCB", "0 . ipv4hint=1.2.3"),
            ("TYPE65280", "abc"),
            ("TYPE65280", "\\# 2 00"),
            ("SOA", "a. b. 1 2 3 4 5x"),
            ("HINFO", "x"),
        ] {
            assert!(read(rtype, bad).is_err(), "{rtype} {bad}");
        }
        let long = format!("\"{}\"", "x".repeat(256));
        assert_eq!(read("TXT", &long).unwrap_err(), "string longer than 255 bytes");
        assert_eq!(read("TXT", &format!("\"{}\"", "x".repeat(255))).unwrap().len(), 256);
    }

    #[test]
    fn times_with_units() {
        assert_eq!(ttl(b"3600"), Some(3600));
        assert_eq!(ttl(b"1w2d3h4m5s"), Some(604_800 + 172_800 + 10_800 + 240 + 5));
        assert_eq!(ttl(b"1H"), Some(3600));
        for bad in [&b""[..], b"1x", b"h", b"1h2", b"4294967296", b"99999999w", b"-1"] {
            assert_eq!(ttl(bad).filter(|_| !bad.is_empty()), None, "{bad:?}");
        }
    }
}
