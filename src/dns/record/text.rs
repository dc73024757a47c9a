//! Record data as text (RFC 1035, section 5.1, and each type's own document), driven by the table.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::table::{self, Field};
use super::{Rtype, special, svcb};
use crate::dns::wire::{Cursor, Malformed};
use crate::hex::push_upper;

/// How long fields are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Hexadecimal and base64 are split into pieces of this many characters; 0 = never.
    pub split: usize,
    /// Every type as RFC 3597 writes unknown ones.
    pub unknown: bool,
    /// All digits of IPv6 addresses.
    pub expand_ipv6: bool,
}

impl Style {
    /// Long fields in one piece.
    pub const PLAIN: Style = Style { split: 0, unknown: false, expand_ipv6: false };
    /// As dig prints them.
    pub const DIG: Style = Style { split: 56, ..Style::PLAIN };
}

/// The data as a zone file takes it; data that does not fit its type as RFC 3597 writes unknown ones.
pub fn rdata(rtype: Rtype, wire: &[u8], style: Style) -> String {
    let mut out = String::with_capacity(wire.len() * 2);
    write_rdata(rtype, wire, style, &mut out);
    out
}

/// Appends the data as text.
pub fn write_rdata(rtype: Rtype, wire: &[u8], style: Style, out: &mut String) {
    let before = out.len();
    let row = table::row(rtype).filter(|row| !style.unknown && !row.fields.is_empty());
    let typed = row.is_some_and(|row| {
        let mut cursor = Cursor::new(wire);
        fields(row.fields, &mut cursor, style, out).and_then(|()| cursor.finish()).is_ok()
    });
    if !typed {
        out.truncate(before);
        generic(wire, style, out);
    }
}

/// `\# length hex` (RFC 3597, section 5).
pub fn generic(wire: &[u8], style: Style, out: &mut String) {
    let _ = write!(out, "\\# {}", wire.len());
    if !wire.is_empty() {
        out.push(' ');
        hex(wire, style.split, out);
    }
}

fn fields(
    fields: &[(&'static str, Field)],
    cursor: &mut Cursor<'_>,
    style: Style,
    out: &mut String,
) -> Result<(), Malformed> {
    for (at, (_, kind)) in fields.iter().enumerate() {
        let before = out.len();
        if at > 0 {
            out.push(' ');
        }
        let begin = out.len();
        field(*kind, cursor, style, out)?;
        if out.len() == begin {
            out.truncate(before); // an empty list leaves no space behind
        }
    }
    Ok(())
}

/// Appends one field as text.
pub fn field(kind: Field, cursor: &mut Cursor<'_>, style: Style, out: &mut String) -> Result<(), Malformed> {
    let number = |out: &mut String, value: u64| {
        let _ = write!(out, "{value}");
    };
    match kind {
        Field::Name | Field::OldName | Field::PlainName => {
            let _ = write!(out, "{}", cursor.name()?);
        }
        Field::PlainNames => list(out, cursor, |out, cursor| {
            let _ = write!(out, "{}", cursor.name()?);
            Ok(())
        })?,
        Field::U8 | Field::Algorithm => number(out, cursor.u8()?.into()),
        Field::U16 => number(out, cursor.u16()?.into()),
        Field::U32 | Field::Ttl => number(out, cursor.u32()?.into()),
        Field::Time => special::write_time(cursor.u32()?, out),
        Field::AlgorithmName => mnemonic(cursor.u8()?.into(), special::ALGORITHMS, out),
        Field::CertType => mnemonic(cursor.u16()?, special::CERT_TYPES, out),
        Field::SyncScheme => mnemonic(cursor.u8()?.into(), special::SYNC_SCHEMES, out),
        Field::Type => {
            let _ = write!(out, "{}", Rtype(cursor.u16()?));
        }
        Field::Ipv4 => {
            let _ = write!(out, "{}", Ipv4Addr::from_bits(cursor.u32()?));
        }
        Field::Ipv6 => {
            let octets: [u8; 16] = cursor.take(16)?.try_into().map_err(|_| Malformed("cut short"))?;
            if style.expand_ipv6 {
                for (at, segment) in Ipv6Addr::from(octets).segments().iter().enumerate() {
                    let _ = write!(out, "{}{segment:04x}", if at > 0 { ":" } else { "" });
                }
            } else {
                write_ipv6(octets, out);
            }
        }
        Field::Text => quoted(cursor.string()?, out),
        Field::Tag => {
            let tag = cursor.string()?;
            if tag.is_empty() || !tag.iter().all(u8::is_ascii_alphanumeric) {
                return Err(Malformed("bad tag"));
            }
            out.extend(tag.iter().copied().map(char::from));
        }
        Field::Texts => {
            if cursor.is_empty() {
                return Err(Malformed("no string"));
            }
            list(out, cursor, |out, cursor| {
                quoted(cursor.string()?, out);
                Ok(())
            })?;
        }
        Field::LongText => quoted(cursor.rest(), out),
        Field::Hex => filled(cursor.rest()).map(|bytes| hex(bytes, style.split, out))?,
        Field::HexPrefixed => {
            out.push_str("0x");
            crate::hex::push_lower(filled(cursor.rest())?, out);
        }
        Field::HexCounted => match cursor.string()? {
            [] => out.push('-'),
            bytes => hex(bytes, 0, out),
        },
        Field::Base32Counted => filled(cursor.string()?).map(|bytes| base32(bytes, out))?,
        Field::Base64 => base64(cursor.rest(), style.split, out),
        Field::Base64OrDash => match cursor.rest() {
            [] => out.push('-'),
            // In one piece, as dig prints it.
            bytes => base64(bytes, 0, out),
        },
        Field::Types => special::write_types(cursor.rest(), out)?,
        Field::OldTypes => special::write_old_types(cursor.rest(), out)?,
        Field::Eui48 => pairs(cursor.take(6)?, out),
        Field::Eui64 => pairs(cursor.take(8)?, out),
        Field::Nid => {
            for part in 0..4 {
                let _ = write!(out, "{}{:x}", if part > 0 { ":" } else { "" }, cursor.u16()?);
            }
        }
        Field::Loc => special::write_loc(cursor, out)?,
        Field::Apl => special::write_apl(cursor, out)?,
        Field::Wks => special::write_wks(cursor, out)?,
        Field::Gateway => special::write_gateway(cursor, style, out)?,
        Field::Relay => special::write_relay(cursor, out)?,
        Field::Hip => special::write_hip(cursor, out)?,
        Field::A6 => special::write_a6(cursor, out)?,
        Field::Atma => special::write_atma(cursor.rest(), out)?,
        Field::SvcParams => svcb::write(cursor.rest(), out)?,
    }
    Ok(())
}

/// Items up to the end, one space between them.
pub fn list(
    out: &mut String,
    cursor: &mut Cursor<'_>,
    mut item: impl FnMut(&mut String, &mut Cursor<'_>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut first = true;
    while !cursor.is_empty() {
        if !std::mem::take(&mut first) {
            out.push(' ');
        }
        item(out, cursor)?;
    }
    Ok(())
}

fn filled(bytes: &[u8]) -> Result<&[u8], Malformed> {
    if bytes.is_empty() { Err(Malformed("empty field")) } else { Ok(bytes) }
}

/// The IPv6 form that dig prints: Rust's, except that RFC 5952 asks for mixed notation only where it is known to hold
/// an IPv4 address (`::ffff:a.b.c.d`), and the C library also writes `::a.b.c.d`.
pub fn write_ipv6(octets: [u8; 16], out: &mut String) {
    let address = Ipv6Addr::from(octets);
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            let _ = write!(out, "::{}", Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
        }
        _ => {
            let _ = write!(out, "{address}");
        }
    }
}

/// A number by its mnemonic if it has one.
pub fn mnemonic(value: u16, names: &[(u16, &str)], out: &mut String) {
    match names.iter().find(|(number, _)| *number == value) {
        Some((_, name)) => out.push_str(name),
        None => {
            let _ = write!(out, "{value}");
        }
    }
}

/// Bytes between quotes, with `"` and `\` escaped and what is not printable ASCII as `\DDD`.
pub fn quoted(bytes: &[u8], out: &mut String) {
    out.push('"');
    escaped(bytes, out);
    out.push('"');
}

/// The same without the quotes.
pub fn escaped(bytes: &[u8], out: &mut String) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            0x20..=0x7e => out.push(char::from(byte)),
            other => {
                let _ = write!(out, "\\{other:03}");
            }
        }
    }
}

/// Upper-case hexadecimal, split into pieces.
pub fn hex(bytes: &[u8], split: usize, out: &mut String) {
    if split == 0 {
        return push_upper(bytes, out);
    }
    for (at, piece) in bytes.chunks(split.div_ceil(2)).enumerate() {
        if at > 0 {
            out.push(' ');
        }
        push_upper(piece, out);
    }
}

/// Base64 (RFC 4648, section 4), split into pieces.
pub fn base64(bytes: &[u8], split: usize, out: &mut String) {
    use base64::Engine;
    if split == 0 {
        base64::engine::general_purpose::STANDARD.encode_string(bytes, out);
        return;
    }
    for (at, piece) in bytes.chunks(split / 4 * 3).enumerate() {
        if at > 0 {
            out.push(' ');
        }
        base64::engine::general_purpose::STANDARD.encode_string(piece, out);
    }
}

/// Base32 with the extended hex alphabet, no padding, upper case as dig prints it (RFC 4648, section 7).
pub fn base32(bytes: &[u8], out: &mut String) {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    let (mut buffer, mut bits) = (0u32, 0);
    let mut push = |value: u32| out.push(DIGITS.get(value as usize & 31).map_or('0', |digit| char::from(*digit)));
    for &byte in bytes {
        buffer = buffer << 8 | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            push(buffer >> bits);
        }
    }
    if bits > 0 {
        push(buffer << (5 - bits));
    }
}

/// `00-1b-44`.
fn pairs(bytes: &[u8], out: &mut String) {
    for (at, byte) in bytes.iter().enumerate() {
        let _ = write!(out, "{}{byte:02x}", if at > 0 { "-" } else { "" });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_does_not_fit_is_generic() {
        assert_eq!(rdata(Rtype::A, &[192, 0, 2, 1], Style::PLAIN), "192.0.2.1");
        assert_eq!(rdata(Rtype::A, &[192, 0, 2], Style::PLAIN), "\\# 3 C00002");
        assert_eq!(rdata(Rtype(65280), &[], Style::PLAIN), "\\# 0");
        assert_eq!(rdata(Rtype::TXT, b"\x03a\"\xff\x01\\", Style::PLAIN), "\"a\\\"\\255\" \"\\\\\"");
        assert_eq!(rdata(Rtype::TXT, b"\x05ab", Style::PLAIN), "\\# 3 056162");
    }

    #[test]
    fn long_fields_are_split_as_dig_does() {
        let wire = [&[0, 1, 8, 2][..], &[0xab; 32]].concat();
        let text = rdata(Rtype::DS, &wire, Style::DIG);
        assert_eq!(text, format!("1 8 2 {} {}", "AB".repeat(28), "AB".repeat(4)));
        let mut out = String::new();
        base32(b"foobar", &mut out);
        assert_eq!(out, "CPNMUOJ1E8", "RFC 4648, section 10, without padding");
    }
}
