//! Record data from text (RFC 1035, section 5.1, and each type's own document), driven by the table.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::table::{self, Field};
use super::words::{TextError, Words};
use super::{Rtype, special, svcb};

/// The longest record data (its length field has 16 bits).
pub const MAX_RDATA_BYTES: usize = 65_535;

/// Reads the data of a record of this type; `\# length hex` works for every type (RFC 3597, section 5).
pub fn rdata(rtype: Rtype, words: &mut Words<'_>) -> Result<Vec<u8>, TextError> {
    let mut wire = Vec::new();
    if words.peek().is_some_and(|word| !word.quoted && word.text == b"\\#") {
        words.next("\\#")?;
        let length: u16 = words.number("length")?;
        wire = hex(&words.joined())?;
        if wire.len() != usize::from(length) {
            return Err(format!("{length} bytes announced, {} given", wire.len()));
        }
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

/// Reads one field and appends its wire form.
fn field(what: &str, kind: Field, words: &mut Words<'_>, wire: &mut Vec<u8>) -> Result<(), TextError> {
    match kind {
        Field::Name | Field::OldName | Field::PlainName => wire.extend_from_slice(words.name(what)?.as_wire()),
        Field::PlainNames => {
            while !words.is_empty() {
                wire.extend_from_slice(words.name(what)?.as_wire());
            }
        }
        Field::U8 => wire.push(words.number(what)?),
        Field::U16 => wire.extend(words.number::<u16>(what)?.to_be_bytes()),
        Field::U32 => wire.extend(words.number::<u32>(what)?.to_be_bytes()),
        Field::Ttl => {
            let word = words.next(what)?;
            let seconds = ttl(word.text).ok_or_else(|| format!("{what}: bad time {:?}", lossy(word.text)))?;
            wire.extend(seconds.to_be_bytes());
        }
        Field::Time => {
            let word = words.next(what)?;
            let time = special::parse_time(word.str()?).ok_or_else(|| format!("{what}: bad time"))?;
            wire.extend(time.to_be_bytes());
        }
        Field::Algorithm | Field::AlgorithmName => {
            let number = named(what, words, special::ALGORITHMS)?;
            wire.push(u8::try_from(number).map_err(|_| format!("{what}: number over 255"))?);
        }
        Field::SyncScheme => {
            let number = named(what, words, special::SYNC_SCHEMES)?;
            wire.push(u8::try_from(number).map_err(|_| format!("{what}: number over 255"))?);
        }
        Field::CertType => wire.extend(named(what, words, special::CERT_TYPES)?.to_be_bytes()),
        Field::Type => {
            let word = words.next(what)?;
            let rtype = Rtype::parse(word.str()?).ok_or_else(|| format!("unknown type {:?}", lossy(word.text)))?;
            wire.extend(rtype.0.to_be_bytes());
        }
        Field::Ipv4 => wire.extend(address::<Ipv4Addr>(what, words)?.octets()),
        Field::Ipv6 => wire.extend(address::<Ipv6Addr>(what, words)?.octets()),
        Field::Text | Field::Tag => string(&words.next(what)?.bytes()?, wire)?,
        Field::Texts => {
            string(&words.next(what)?.bytes()?, wire)?;
            while !words.is_empty() {
                string(&words.next(what)?.bytes()?, wire)?;
            }
        }
        Field::LongText => wire.extend(words.next(what)?.bytes()?),
        Field::Hex => wire.extend(filled(what, hex(&words.joined())?)?),
        Field::HexPrefixed => {
            let text = words.joined();
            let digits = text.strip_prefix(b"0x").or(text.strip_prefix(b"0X")).ok_or("NSAP begins with 0x")?;
            let digits: Vec<u8> = digits.iter().copied().filter(|byte| *byte != b'.').collect();
            wire.extend(filled(what, hex(&digits)?)?);
        }
        Field::HexCounted => {
            let word = words.next(what)?;
            let bytes = if word.text == b"-" { Vec::new() } else { hex(word.text)? };
            string(&bytes, wire)?;
        }
        Field::Base32Counted => {
            let bytes = base32(words.next(what)?.text).ok_or_else(|| format!("{what}: bad base32"))?;
            string(&filled(what, bytes)?, wire)?;
        }
        Field::Base64 => wire.extend(base64(&words.joined())?),
        Field::Base64OrDash => match words.joined().as_slice() {
            b"-" => {}
            text => wire.extend(base64(text)?),
        },
        Field::Types => special::parse_types(words, wire)?,
        Field::OldTypes => special::parse_old_types(words, wire)?,
        Field::Eui48 => pairs::<6>(what, words, wire)?,
        Field::Eui64 => pairs::<8>(what, words, wire)?,
        Field::Nid => {
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
        Field::Loc => special::parse_loc(words, wire)?,
        Field::Apl => special::parse_apl(words, wire)?,
        Field::Wks => special::parse_wks(words, wire)?,
        Field::Gateway => special::parse_gateway(words, wire)?,
        Field::Relay => special::parse_relay(words, wire)?,
        Field::Hip => special::parse_hip(words, wire)?,
        Field::A6 => special::parse_a6(words, wire)?,
        Field::Atma => special::parse_atma(words, wire)?,
        Field::SvcParams => svcb::parse(words, wire)?,
    }
    Ok(())
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Seconds, plain or with units: `3600`, `1h`, `1w2d3h4m5s` (BIND's notation).
pub fn ttl(text: &[u8]) -> Option<u32> {
    if text.iter().all(u8::is_ascii_digit) {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let (mut total, mut number) = (0u32, None::<u32>);
    for byte in text {
        if byte.is_ascii_digit() {
            number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(u32::from(byte - b'0'))?);
            continue;
        }
        let unit = match byte.to_ascii_lowercase() {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    number.is_none().then_some(total)
}

/// A number or one of the mnemonics.
pub fn named(what: &str, words: &mut Words<'_>, names: &[(u16, &str)]) -> Result<u16, TextError> {
    let word = words.next(what)?;
    let text = word.str()?;
    let known = names.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(number, _)| *number);
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    known.or_else(|| text.parse().ok().filter(|_| digits)).ok_or_else(|| format!("{what}: unknown {text:?}"))
}

/// An address of one family.
pub fn address<T: std::str::FromStr>(what: &str, words: &mut Words<'_>) -> Result<T, TextError> {
    let word = words.next(what)?;
    word.str()?.parse().map_err(|_| format!("{what}: bad address {:?}", lossy(word.text)))
}

/// Appends a character-string (RFC 1035, section 3.3).
pub fn string(bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), TextError> {
    let length = u8::try_from(bytes.len()).map_err(|_| "string longer than 255 bytes".to_owned())?;
    wire.push(length);
    wire.extend_from_slice(bytes);
    Ok(())
}

fn filled(what: &str, bytes: Vec<u8>) -> Result<Vec<u8>, TextError> {
    if bytes.is_empty() { Err(format!("{what} is missing")) } else { Ok(bytes) }
}

/// Hexadecimal digits, two a byte.
pub fn hex(text: &[u8]) -> Result<Vec<u8>, TextError> {
    crate::hex::parse(text).ok_or_else(|| "bad hexadecimal digits".to_owned())
}

/// Base64 (RFC 4648, section 4), padding optional.
pub fn base64(text: &[u8]) -> Result<Vec<u8>, TextError> {
    use base64::Engine;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG);
    engine.decode(text).map_err(|_| "bad base64".to_owned())
}

/// Base32 with the extended hex alphabet, without padding (RFC 4648, section 7).
pub fn base32(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    let (mut buffer, mut bits) = (0u32, 0);
    for byte in text {
        let value = char::from(*byte).to_digit(32)?;
        buffer = (buffer << 5 | value) & 0xffff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push((buffer >> bits) as u8);
        }
    }
    (bits < 5 && buffer & ((1 << bits) - 1) == 0).then_some(out)
}

fn pairs<const N: usize>(what: &str, words: &mut Words<'_>, wire: &mut Vec<u8>) -> Result<(), TextError> {
    let word = words.next(what)?;
    let mut count = 0;
    for pair in word.text.split(|byte| *byte == b'-') {
        if pair.len() != 2 {
            return Err(format!("{what}: pairs of hexadecimal digits expected"));
        }
        wire.extend(hex(pair)?);
        count += 1;
    }
    if count == N { Ok(()) } else { Err(format!("{what}: {N} pairs expected, {count} given")) }
}

#[cfg(test)]
mod tests {
    use super::super::text::{self, Style};
    use super::super::words;
    use super::*;
    use crate::dns::name::Name;

    fn read(rtype: &str, text: &str) -> Result<Vec<u8>, TextError> {
        let words = words::split(text.as_bytes())?;
        let root = Name::root();
        rdata(Rtype::parse(rtype).unwrap(), &mut Words::new(&words, Some(&root)))
    }

    /// Every type with a text form: text -> wire -> the same text. The file is shared with the tests against dig.
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
