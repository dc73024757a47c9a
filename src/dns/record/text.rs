//! Record data as text (RFC 1035, section 5.1, and each type's own document), driven by the table.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::atoms::{push_base32, push_base64, push_hex, push_ipv6, push_list, push_mnemonic, push_quoted};
pub use super::layout::Style;
use super::table::{self, RdataField, TypeRow};
use super::{Rtype, layout, special, svcb};
use crate::dns::wire::{Cursor, Malformed};

/// The data in zone file format; data that does not fit its type is in the RFC 3597 form for unknown types.
pub fn rdata(rtype: Rtype, wire: &[u8], style: Style) -> String {
    let mut out = String::with_capacity(wire.len() * 2);
    write_rdata(rtype, wire, style, &mut out);
    out
}

/// Appends the data as text.
pub fn write_rdata(rtype: Rtype, wire: &[u8], style: Style, out: &mut String) {
    if !style.multiline && !style.comments && style.crypto {
        return write_line(rtype, wire, style, out);
    }
    let mut line = String::new();
    write_line(rtype, wire, style, &mut line);
    layout::lay_out(rtype, wire, &line, style, out);
}

/// Appends the data as one line.
fn write_line(rtype: Rtype, wire: &[u8], style: Style, out: &mut String) {
    let before = out.len();
    let row = table::row(rtype).filter(|row| !style.unknown && !row.fields.is_empty());
    if row.is_none_or(|row| typed(row, wire, style, out).is_err()) {
        out.truncate(before);
        generic(wire, style, out);
    }
}

fn typed(row: &TypeRow, wire: &[u8], style: Style, out: &mut String) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(wire);
    fields(row.fields, &mut cursor, style, out)?;
    cursor.finish()
}

/// Checks that data fits its type: every field is present and in its bounds, names have no pointers, and nothing follows
/// the last field. Only such data has a text form. Data of types without a text form may be anything (RFC 3597, section 3).
///
/// # Errors
/// The data does not fit its type.
pub fn check(rtype: Rtype, wire: &[u8]) -> Result<(), Malformed> {
    match table::row(rtype).filter(|row| !row.fields.is_empty()) {
        Some(row) => typed(row, wire, Style::PLAIN, &mut String::new()),
        None => Ok(()),
    }
}

/// Writes `\# length hex` (RFC 3597, section 5).
pub fn generic(wire: &[u8], style: Style, out: &mut String) {
    let _ = write!(out, "\\# {}", wire.len());
    if !wire.is_empty() {
        out.push(' ');
        push_hex(wire, style.split, out);
    }
}

fn fields(
    fields: &[(&'static str, RdataField)],
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
pub(super) fn field(
    kind: RdataField,
    cursor: &mut Cursor<'_>,
    style: Style,
    out: &mut String,
) -> Result<(), Malformed> {
    let number = |out: &mut String, value: u64| {
        let _ = write!(out, "{value}");
    };
    match kind {
        RdataField::Name | RdataField::OldName | RdataField::PlainName => {
            let _ = write!(out, "{}", cursor.name()?);
        }
        RdataField::U8 | RdataField::Algorithm => number(out, cursor.u8()?.into()),
        RdataField::U16 => number(out, cursor.u16()?.into()),
        RdataField::U32 | RdataField::Ttl => number(out, cursor.u32()?.into()),
        RdataField::Time => special::write_time(cursor.u32()?, out),
        RdataField::AlgorithmName => push_mnemonic(cursor.u8()?.into(), special::ALGORITHMS, out),
        RdataField::CertType => push_mnemonic(cursor.u16()?, special::CERT_TYPES, out),
        RdataField::SyncScheme => push_mnemonic(cursor.u8()?.into(), special::SYNC_SCHEMES, out),
        RdataField::Type => {
            let _ = write!(out, "{}", Rtype(cursor.u16()?));
        }
        RdataField::Ipv4 => {
            let _ = write!(out, "{}", Ipv4Addr::from_bits(cursor.u32()?));
        }
        RdataField::Ipv6 => {
            let octets: [u8; 16] = cursor.take(16)?.try_into().map_err(|_| Malformed("cut short"))?;
            if style.expand_ipv6 {
                for (at, segment) in Ipv6Addr::from(octets).segments().iter().enumerate() {
                    let _ = write!(out, "{}{segment:04x}", if at > 0 { ":" } else { "" });
                }
            } else {
                push_ipv6(octets, out);
            }
        }
        RdataField::Text => push_quoted(cursor.string()?, out),
        RdataField::Tag => {
            let tag = cursor.string()?;
            if tag.is_empty() || !tag.iter().all(u8::is_ascii_alphanumeric) {
                return Err(Malformed("bad tag"));
            }
            out.extend(tag.iter().copied().map(char::from));
        }
        RdataField::Texts => {
            if cursor.is_empty() {
                return Err(Malformed("no string"));
            }
            push_list(out, cursor, |out, cursor| {
                push_quoted(cursor.string()?, out);
                Ok(())
            })?;
        }
        RdataField::LongText => push_quoted(cursor.rest(), out),
        RdataField::Hex => filled(cursor.rest()).map(|bytes| push_hex(bytes, style.split, out))?,
        RdataField::HexCounted => match cursor.string()? {
            [] => out.push('-'),
            bytes => push_hex(bytes, 0, out),
        },
        RdataField::Base32Counted => filled(cursor.string()?).map(|bytes| push_base32(bytes, out))?,
        RdataField::Base64 => filled(cursor.rest()).map(|bytes| push_base64(bytes, style.split, out))?,
        RdataField::Base64OrNone => push_base64(cursor.rest(), style.split, out),
        RdataField::Base64OrDash => match cursor.rest() {
            [] => out.push('-'),
            // In one piece, as dig prints it.
            bytes => push_base64(bytes, 0, out),
        },
        RdataField::Types => special::write_types(cursor.rest(), out)?,
        RdataField::OldTypes => special::write_old_types(cursor.rest(), out)?,
        RdataField::Eui48 => pairs(cursor.take(6)?, out),
        RdataField::Eui64 => pairs(cursor.take(8)?, out),
        RdataField::Nid => {
            for part in 0..4 {
                let _ = write!(out, "{}{:x}", if part > 0 { ":" } else { "" }, cursor.u16()?);
            }
        }
        RdataField::Loc => special::write_loc(cursor, out)?,
        RdataField::Apl => special::write_apl(cursor, out)?,
        RdataField::Gateway => special::write_gateway(cursor, style.split, out)?,
        RdataField::Relay => special::write_relay(cursor, out)?,
        RdataField::Hip => special::write_hip(cursor, out)?,
        RdataField::SvcParams => svcb::write(cursor.rest(), out)?,
    }
    Ok(())
}

/// Writes hexadecimal pairs, such as `00-1b-44`.
fn pairs(bytes: &[u8], out: &mut String) {
    for (at, byte) in bytes.iter().enumerate() {
        let _ = write!(out, "{}{byte:02x}", if at > 0 { "-" } else { "" });
    }
}

fn filled(bytes: &[u8]) -> Result<&[u8], Malformed> {
    if bytes.is_empty() { Err(Malformed("empty field")) } else { Ok(bytes) }
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
        push_base32(b"foobar", &mut out);
        assert_eq!(out, "CPNMUOJ1E8", "RFC 4648, section 10, without padding");
    }
}
