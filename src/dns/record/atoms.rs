//! The basic elements of record data as text, written and parsed: shared by the table's writer, its parser and the
//! types with special formats.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::words::{RdataWords, TextError};
use crate::dns::wire::{Cursor, Malformed};
use crate::hex::push_upper;

/// Appends items up to the end, separated by one space.
pub(crate) fn push_list(
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

/// The IPv6 form that dig prints: Rust's form, except that RFC 5952 uses mixed notation only for addresses known to
/// hold an IPv4 address (`::ffff:a.b.c.d`), and the C library also writes `::a.b.c.d`.
pub(crate) fn push_ipv6(octets: [u8; 16], out: &mut String) {
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

/// Appends a number as its mnemonic if it has one.
pub(crate) fn push_mnemonic(value: u16, names: &[(u16, &str)], out: &mut String) {
    match names.iter().find(|(number, _)| *number == value) {
        Some((_, name)) => out.push_str(name),
        None => {
            let _ = write!(out, "{value}");
        }
    }
}

/// Appends bytes between quotes, with `"` and `\` escaped and bytes that are not printable ASCII as `\DDD`.
pub(crate) fn push_quoted(bytes: &[u8], out: &mut String) {
    out.push('"');
    push_escaped(bytes, out);
    out.push('"');
}

/// Appends the same as [`push_quoted`], without the quotes.
pub(crate) fn push_escaped(bytes: &[u8], out: &mut String) {
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
pub(crate) fn push_hex(bytes: &[u8], split: usize, out: &mut String) {
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
pub(crate) fn push_base64(bytes: &[u8], split: usize, out: &mut String) {
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
pub(crate) fn push_base32(bytes: &[u8], out: &mut String) {
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

/// Seconds, plain or with units: `3600`, `1h`, `1w2d3h4m5s` (BIND's notation).
pub(crate) fn ttl(text: &[u8]) -> Option<u32> {
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

/// Parses a number or one of the mnemonics.
pub(crate) fn named(what: &str, words: &mut RdataWords<'_>, names: &[(u16, &str)]) -> Result<u16, TextError> {
    let word = words.next(what)?;
    let text = word.str()?;
    let known = names.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(number, _)| *number);
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    known.or_else(|| text.parse().ok().filter(|_| digits)).ok_or_else(|| format!("{what}: unknown {text:?}"))
}

/// Parses an address of one family.
pub(crate) fn address<T: std::str::FromStr>(what: &str, words: &mut RdataWords<'_>) -> Result<T, TextError> {
    let word = words.next(what)?;
    word.str()?.parse().map_err(|_| format!("{what}: bad address {:?}", lossy(word.text)))
}

/// Appends a character-string (RFC 1035, section 3.3).
pub(crate) fn string(bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), TextError> {
    let length = u8::try_from(bytes.len()).map_err(|_| "string longer than 255 bytes".to_owned())?;
    wire.push(length);
    wire.extend_from_slice(bytes);
    Ok(())
}

/// Parses hexadecimal digits, two per byte.
pub(crate) fn from_hex(text: &[u8]) -> Result<Vec<u8>, TextError> {
    crate::hex::parse(text).ok_or_else(|| "bad hexadecimal digits".to_owned())
}

/// Parses Base64 (RFC 4648, section 4); padding is optional.
pub(crate) fn from_base64(text: &[u8]) -> Result<Vec<u8>, TextError> {
    use base64::Engine;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG);
    engine.decode(text).map_err(|_| "bad base64".to_owned())
}

/// Parses Base32 with the extended hex alphabet, without padding (RFC 4648, section 7).
pub(crate) fn from_base32(text: &[u8]) -> Option<Vec<u8>> {
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

/// A word in the form for error messages.
pub(crate) fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}
