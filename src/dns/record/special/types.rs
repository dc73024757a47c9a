//! Lists of record types as bit maps (RFC 4034, section 4.1.2; RFC 2535, section 5.2).

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::dns::record::Rtype;
use crate::dns::record::words::{RdataWords, TextError};
use crate::dns::wire::{Cursor, Malformed};

/// Writes the types of a windowed bit map as mnemonics.
pub(crate) fn write_types(bytes: &[u8], out: &mut String) -> Result<(), Malformed> {
    let mut first = true;
    for_each(bytes, |rtype| {
        let _ = write!(out, "{}{rtype}", if std::mem::take(&mut first) { "" } else { " " });
    })
}

/// True if the bit map contains this type. A malformed map contains no type.
pub(crate) fn types_contain(bytes: &[u8], wanted: Rtype) -> bool {
    let mut found = false;
    for_each(bytes, |rtype| found |= rtype == wanted).is_ok() && found
}

fn for_each(bytes: &[u8], mut found: impl FnMut(Rtype)) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(bytes);
    let mut next_window = 0u16;
    while !cursor.is_empty() {
        let window = u16::from(cursor.u8()?);
        let map = cursor.string()?;
        if window < next_window || map.len() > 32 || map.last().is_none_or(|last| *last == 0) {
            return Err(Malformed("bad type bit map"));
        }
        next_window = window + 1;
        for (at, byte) in (0u16..).zip(map) {
            for bit in 0..8 {
                if byte & (0x80 >> bit) != 0 {
                    found(Rtype(window << 8 | at << 3 | bit));
                }
            }
        }
    }
    Ok(())
}

/// Parses a list of mnemonics into a bit map.
pub(crate) fn parse_types(words: &mut RdataWords<'_>, wire: &mut Vec<u8>) -> Result<(), TextError> {
    let mut types = BTreeSet::new();
    while !words.is_empty() {
        let word = words.next("type")?;
        types.insert(Rtype::parse(word.str()?).ok_or_else(|| format!("unknown type {:?}", word.str()))?);
    }
    let mut window = None;
    let mut map = Vec::new();
    let mut flush = |window: Option<u8>, map: &mut Vec<u8>| {
        if let (Some(window), Ok(length)) = (window, u8::try_from(map.len())) {
            wire.extend([window, length]);
            wire.append(map);
        }
    };
    for Rtype(number) in types {
        let [high, low] = number.to_be_bytes();
        if window != Some(high) {
            flush(window, &mut map);
            window = Some(high);
        }
        let at = usize::from(low >> 3);
        map.resize(at + 1, 0);
        if let Some(byte) = map.last_mut() {
            *byte |= 0x80 >> (low & 7);
        }
    }
    flush(window, &mut map);
    Ok(())
}

/// Writes the types below 128 of NXT's single bit map.
pub(crate) fn write_old_types(bytes: &[u8], out: &mut String) -> Result<(), Malformed> {
    let ends_in_zero = bytes.last() == Some(&0);
    if bytes.len() > 16 || ends_in_zero || bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Err(Malformed("bad type bit map"));
    }
    let bits = (0u16..).zip(bytes).flat_map(|(at, byte)| {
        (0u16..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| Rtype(at << 3 | bit))
    });
    for (at, rtype) in bits.enumerate() {
        let _ = write!(out, "{}{rtype}", if at > 0 { " " } else { "" });
    }
    Ok(())
}

/// Parses mnemonics into the single bit map.
pub(crate) fn parse_old_types(words: &mut RdataWords<'_>, wire: &mut Vec<u8>) -> Result<(), TextError> {
    let mut map = [0u8; 16];
    let mut used = 0;
    while !words.is_empty() {
        let word = words.next("type")?;
        let rtype = Rtype::parse(word.str()?).ok_or("unknown type")?;
        let at = usize::from(rtype.0 >> 3);
        *map.get_mut(at).filter(|_| rtype.0 > 0).ok_or("NXT holds types 1 to 127")? |= 0x80 >> (rtype.0 & 7);
        used = used.max(at + 1);
    }
    wire.extend_from_slice(map.get(..used).unwrap_or_default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::record::words;

    #[test]
    fn bit_maps_of_rfc_4034() {
        let words = words::split(b"A MX RRSIG NSEC TYPE1234").unwrap();
        let mut wire = Vec::new();
        parse_types(&mut RdataWords::new(&words, None), &mut wire).unwrap();
        let expected = [&[0, 6, 0x40, 1, 0, 0, 0, 3, 4, 27][..], &[0; 26], &[0x20]].concat();
        assert_eq!(wire, expected);
        let mut text = String::new();
        write_types(&wire, &mut text).unwrap();
        assert_eq!(text, "A MX RRSIG NSEC TYPE1234");
        assert!(types_contain(&wire, Rtype::MX) && !types_contain(&wire, Rtype::TXT));
        for bad in [&[0u8, 0][..], &[0, 33], &[1, 1, 1, 0, 1, 1], &[0, 2, 1], &[0, 1, 1, 0, 1, 1]] {
            assert!(write_types(bad, &mut String::new()).is_err(), "{bad:?}");
        }
    }
}
