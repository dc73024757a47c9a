//! Fields that hold addresses in special formats: APL, and the gateways of IPSECKEY, AMTRELAY and HIP.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::dns::record::atoms::{address, from_base64, from_hex, push_base64, push_hex, push_ipv6, push_list};
use crate::dns::record::table::RdataField;
use crate::dns::record::words::{RdataWords, TextError};
use crate::dns::wire::{Cursor, Malformed};

/// Skips the part of these fields before the names; returns the maximum number of names that follow.
pub(crate) fn skip_to_names(field: RdataField, cursor: &mut Cursor<'_>) -> Result<usize, Malformed> {
    let kind = match field {
        RdataField::Gateway => cursor.whole().get(1).copied().unwrap_or_default(),
        RdataField::Relay => cursor.u8()? & 0x7f,
        RdataField::Hip => {
            let (tag_length, _algorithm, key_length) = (cursor.u8()?, cursor.u8()?, cursor.u16()?);
            cursor.take(usize::from(tag_length) + usize::from(key_length))?;
            return Ok(usize::MAX);
        }
        _ => 0,
    };
    Ok(usize::from(kind == 3))
}

/// Writes `1:192.0.2.0/24 !2:2001:db8::/32` (RFC 3123, section 5).
pub(crate) fn write_apl(cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), Malformed> {
    push_list(out, cursor, |out, cursor| {
        let (family, prefix, length) = (cursor.u16()?, cursor.u8()?, cursor.u8()?);
        let bytes = cursor.take(usize::from(length & 0x7f))?;
        if bytes.last() == Some(&0) {
            return Err(Malformed("APL address with zeros at its end"));
        }
        let negation = if length & 0x80 != 0 { "!" } else { "" };
        let _ = write!(out, "{negation}{family}:");
        match family {
            1 if prefix <= 32 => {
                let _ = write!(out, "{}", Ipv4Addr::from(padded::<4>(bytes)?));
            }
            2 if prefix <= 128 => push_ipv6(padded(bytes)?, out),
            _ => return Err(Malformed("unknown APL address")),
        }
        let _ = write!(out, "/{prefix}");
        Ok(())
    })
}

/// Parses address prefixes.
pub(crate) fn parse_apl(words: &mut RdataWords<'_>, wire: &mut Vec<u8>) -> Result<(), TextError> {
    while !words.is_empty() {
        let word = words.next("prefix")?;
        let text = word.str()?;
        let bad = || format!("bad address prefix {text:?}");
        let (negated, item) = text.strip_prefix('!').map_or((false, text), |item| (true, item));
        let (family, item) = item.split_once(':').ok_or_else(bad)?;
        let (address, prefix) = item.split_once('/').ok_or_else(bad)?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        let (bytes, most) = match family {
            "1" => (address.parse::<Ipv4Addr>().map_err(|_| bad())?.octets().to_vec(), 32),
            "2" => (address.parse::<Ipv6Addr>().map_err(|_| bad())?.octets().to_vec(), 128),
            _ => return Err(bad()),
        };
        if prefix > most {
            return Err(bad());
        }
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        wire.extend(family.parse::<u16>().map_err(|_| bad())?.to_be_bytes());
        wire.push(prefix);
        wire.push(u8::try_from(used).map_err(|_| bad())? | if negated { 0x80 } else { 0 });
        wire.extend_from_slice(bytes.get(..used).unwrap_or_default());
    }
    Ok(())
}

fn padded<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
    let mut whole = [0; N];
    whole.get_mut(..bytes.len()).ok_or(Malformed("address too long"))?.copy_from_slice(bytes);
    Ok(whole)
}

/// Writes a gateway of the type in the second byte, then the key (RFC 4025, section 3.1).
pub(crate) fn write_gateway(cursor: &mut Cursor<'_>, split: usize, out: &mut String) -> Result<(), Malformed> {
    let kind = cursor.whole().get(1).copied().unwrap_or_default();
    write_relayed(kind, cursor, out)?;
    let key = cursor.rest();
    if !key.is_empty() {
        out.push(' ');
        push_base64(key, split, out);
    }
    Ok(())
}

/// Parses a gateway and a key.
pub(crate) fn parse_gateway(words: &mut RdataWords<'_>, wire: &mut Vec<u8>) -> Result<(), TextError> {
    let kind = wire.get(1).copied().unwrap_or_default();
    parse_relayed(kind, words, wire)?;
    wire.extend(from_base64(&words.joined())?);
    Ok(())
}

/// Writes discovery bit, relay type and relay (RFC 8777, section 4.2).
pub(crate) fn write_relay(cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), Malformed> {
    let byte = cursor.u8()?;
    let _ = write!(out, "{} {} ", byte >> 7, byte & 0x7f);
    write_relayed(byte & 0x7f, cursor, out)
}

/// Parses discovery bit, relay type and relay.
pub(crate) fn parse_relay(words: &mut RdataWords<'_>, wire: &mut Vec<u8>) -> Result<(), TextError> {
    let discovery: u8 = words.number("discovery")?;
    let kind: u8 = words.number("relay type")?;
    if discovery > 1 || kind > 127 {
        return Err("discovery is 0 or 1, a relay type at most 127".to_owned());
    }
    wire.push(discovery << 7 | kind);
    parse_relayed(kind, words, wire)
}

fn write_relayed(kind: u8, cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), Malformed> {
    match kind {
        0 => out.push('.'),
        1 => {
            let _ = write!(out, "{}", Ipv4Addr::from_bits(cursor.u32()?));
        }
        2 => push_ipv6(padded(cursor.take(16)?)?, out),
        3 => {
            let _ = write!(out, "{}", cursor.name()?);
        }
        _ => return Err(Malformed("unknown gateway type")),
    }
    Ok(())
}

fn parse_relayed(kind: u8, words: &mut RdataWords<'_>, wire: &mut Vec<u8>) -> Result<(), TextError> {
    match kind {
        0 => match words.next("gateway")?.text {
            b"." => Ok(()),
            _ => Err("gateway type 0 takes \".\"".to_owned()),
        },
        1 | 2 => {
            match address::<IpAddr>("gateway", words)? {
                IpAddr::V4(v4) if kind == 1 => wire.extend(v4.octets()),
                IpAddr::V6(v6) if kind == 2 => wire.extend(v6.octets()),
                _ => return Err("gateway is of the other address family".to_owned()),
            }
            Ok(())
        }
        3 => {
            wire.extend_from_slice(words.name("gateway")?.as_wire());
            Ok(())
        }
        _ => Err("unknown gateway type".to_owned()),
    }
}

/// Writes algorithm, identity tag, key and rendezvous servers (RFC 8005, section 6).
pub(crate) fn write_hip(cursor: &mut Cursor<'_>, out: &mut String) -> Result<(), Malformed> {
    let (tag_length, algorithm, key_length) = (cursor.u8()?, cursor.u8()?, cursor.u16()?);
    if tag_length == 0 || key_length == 0 {
        return Err(Malformed("empty HIP field"));
    }
    let _ = write!(out, "{algorithm} ");
    push_hex(cursor.take(usize::from(tag_length))?, 0, out);
    out.push(' ');
    push_base64(cursor.take(usize::from(key_length))?, 0, out);
    while !cursor.is_empty() {
        let _ = write!(out, " {}", cursor.name()?);
    }
    Ok(())
}

/// Parses algorithm, identity tag, key and rendezvous servers.
pub(crate) fn parse_hip(words: &mut RdataWords<'_>, wire: &mut Vec<u8>) -> Result<(), TextError> {
    let algorithm: u8 = words.number("algorithm")?;
    let tag = from_hex(words.next("identity tag")?.text)?;
    let key = from_base64(words.next("key")?.text)?;
    let tag_length = u8::try_from(tag.len()).map_err(|_| "identity tag too long")?;
    let key_length = u16::try_from(key.len()).map_err(|_| "key too long")?;
    if tag_length == 0 || key_length == 0 {
        return Err("identity tag and key must not be empty".to_owned());
    }
    wire.extend([tag_length, algorithm]);
    wire.extend(key_length.to_be_bytes());
    wire.extend(tag);
    wire.extend(key);
    while !words.is_empty() {
        wire.extend_from_slice(words.name("rendezvous server")?.as_wire());
    }
    Ok(())
}
