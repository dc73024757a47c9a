//! Service parameters of SVCB and HTTPS (RFC 9460, sections 2.1, 2.2 and appendix A).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value};

use super::atoms::{from_base64, push_base64, push_escaped, push_quoted, string};
use super::words::{RdataWords, TextError, ZoneWord};
use crate::dns::wire::{Cursor, Malformed};

const KEYS: &[(u16, &str)] = &[
    (0, "mandatory"),
    (1, "alpn"),
    (2, "no-default-alpn"),
    (3, "port"),
    (4, "ipv4hint"),
    (5, "ech"),
    (6, "ipv6hint"),
    (7, "dohpath"),
    (8, "ohttp"),
];

fn key_name(key: u16) -> String {
    match KEYS.iter().find(|(number, _)| *number == key) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("key{key}"),
    }
}

fn key_number(text: &str) -> Option<u16> {
    let known = KEYS.iter().find(|(_, name)| *name == text).map(|(number, _)| *number);
    known.or_else(|| text.strip_prefix("key")?.parse().ok().filter(|_| !text.starts_with("key+")))
}

/// Calls a function for every parameter in turn; keys must be in ascending order (section 2.2).
fn for_each<'a>(
    bytes: &'a [u8],
    mut item: impl FnMut(u16, &'a [u8]) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut cursor = Cursor::new(bytes);
    let mut least = 0u32;
    while !cursor.is_empty() {
        let (key, length) = (cursor.u16()?, cursor.u16()?);
        if u32::from(key) < least {
            return Err(Malformed("service parameters out of order"));
        }
        least = u32::from(key) + 1;
        item(key, cursor.take(usize::from(length))?)?;
    }
    Ok(())
}

/// Appends the parameters as text.
///
/// # Errors
/// The bytes are not valid parameters.
pub fn write(bytes: &[u8], out: &mut String) -> Result<(), Malformed> {
    let mut first = true;
    consistent(bytes)?;
    for_each(bytes, |key, value| {
        if !std::mem::take(&mut first) {
            out.push(' ');
        }
        out.push_str(&key_name(key));
        match key {
            0 => {
                out.push('=');
                out.push_str(&mandatory(value)?.join(","));
            }
            1 => {
                let mut list = Vec::new();
                for (at, id) in protocols(value)?.into_iter().enumerate() {
                    if at > 0 {
                        list.push(b',');
                    }
                    for &byte in id {
                        if matches!(byte, b',' | b'\\') {
                            list.push(b'\\');
                        }
                        list.push(byte);
                    }
                }
                out.push('=');
                push_quoted(&list, out);
            }
            2 | 8 if value.is_empty() => {}
            2 | 8 => return Err(Malformed("value where none is allowed")),
            3 => {
                let _ = write!(out, "={}", u16::from_be_bytes(value.try_into().map_err(|_| Malformed("bad port"))?));
            }
            4 | 6 => {
                out.push('=');
                out.push_str(&hints(key, value)?.join(","));
            }
            5 | 7 if value.is_empty() => return Err(Malformed("empty value")),
            5 => {
                out.push('=');
                push_base64(value, 0, out);
            }
            _ if key > 7 && value.is_empty() => {}
            _ => {
                out.push('=');
                push_quoted(value, out);
            }
        }
        Ok(())
    })
}

/// The parameters as JSON members.
///
/// # Errors
/// The bytes are not valid parameters.
pub fn json(bytes: &[u8]) -> Result<Value, Malformed> {
    let mut map = Map::new();
    let lossless = |value: &[u8]| {
        let mut out = String::new();
        push_escaped(value, &mut out);
        Value::from(out)
    };
    for_each(bytes, |key, value| {
        let shown = match key {
            0 => mandatory(value)?.into(),
            1 => Value::Array(protocols(value)?.into_iter().map(lossless).collect()),
            2 | 8 => true.into(),
            3 => u16::from_be_bytes(value.try_into().map_err(|_| Malformed("bad port"))?).into(),
            4 | 6 => hints(key, value)?.into(),
            5 => {
                let mut out = String::new();
                push_base64(value, 0, &mut out);
                out.into()
            }
            _ => lossless(value),
        };
        map.insert(key_name(key), shown);
        Ok(())
    })?;
    Ok(Value::Object(map))
}

/// Checks that mandatory parameters are present, and that `no-default-alpn` comes with `alpn` (sections 8 and 7.1.1).
fn consistent(bytes: &[u8]) -> Result<(), Malformed> {
    let (mut keys, mut wanted) = (Vec::new(), Vec::new());
    for_each(bytes, |key, value| {
        keys.push(key);
        match key {
            0 => wanted.extend(value.chunks(2).map(|pair| u16::from_be_bytes(pair.try_into().unwrap_or_default()))),
            2 => wanted.push(1),
            _ => {}
        }
        Ok(())
    })?;
    if wanted.iter().all(|key| keys.contains(key)) { Ok(()) } else { Err(Malformed("parameter is missing")) }
}

fn mandatory(value: &[u8]) -> Result<Vec<String>, Malformed> {
    let keys: Vec<u16> = value.chunks(2).map(|pair| u16::from_be_bytes(pair.try_into().unwrap_or_default())).collect();
    let rising = keys.windows(2).all(|pair| pair.first() < pair.get(1)) && keys.first() != Some(&0);
    if value.is_empty() || !value.len().is_multiple_of(2) || !rising {
        return Err(Malformed("bad list of mandatory keys"));
    }
    Ok(keys.into_iter().map(key_name).collect())
}

fn protocols(value: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut cursor = Cursor::new(value);
    let mut list = Vec::new();
    while !cursor.is_empty() {
        list.push(cursor.string()?);
    }
    if list.is_empty() || list.iter().any(|id| id.is_empty()) { Err(Malformed("bad alpn")) } else { Ok(list) }
}

fn hints(key: u16, value: &[u8]) -> Result<Vec<String>, Malformed> {
    let size = if key == 4 { 4 } else { 16 };
    if value.is_empty() || !value.len().is_multiple_of(size) {
        return Err(Malformed("bad address hint"));
    }
    let shown = value.chunks(size).map(|chunk| match (<[u8; 4]>::try_from(chunk), <[u8; 16]>::try_from(chunk)) {
        (Ok(v4), _) => Ipv4Addr::from(v4).to_string(),
        (_, Ok(v6)) => Ipv6Addr::from(v6).to_string(),
        _ => String::new(),
    });
    Ok(shown.collect())
}

/// Parses the parameters and sorts them by key, as the wire format requires.
///
/// # Errors
/// The words are not valid parameters.
pub fn parse(words: &mut RdataWords<'_>, wire: &mut Vec<u8>) -> Result<(), TextError> {
    let mut params: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    while !words.is_empty() {
        let word = words.next("parameter")?;
        let equals = word.text.iter().position(|byte| *byte == b'=');
        let (name, value) = match equals.and_then(|at| word.text.split_at_checked(at)) {
            Some((name, value)) => (name, value.get(1..)),
            None => (word.text, None),
        };
        let name = String::from_utf8_lossy(name).into_owned();
        let key = key_number(&name).filter(|key| *key != 65535).ok_or_else(|| format!("unknown parameter {name:?}"))?;
        let value = match (value, words.peek()) {
            (Some(b""), Some(quoted)) if quoted.quoted && quoted.glued => Some(words.next("value")?),
            (text, _) => text.map(|text| ZoneWord { text, ..word }),
        };
        if words.peek().is_some_and(|next| next.glued) {
            return Err(format!("{name}: a quote in the middle"));
        }
        let value = value.map(|word| word.bytes()).transpose()?;
        let bytes = value_of(key, value.as_deref()).map_err(|error| format!("{name}: {error}"))?;
        if params.insert(key, bytes).is_some() {
            return Err(format!("{name} occurs twice"));
        }
    }
    if let Some(list) = params.get(&0) {
        for pair in list.chunks(2) {
            let key = u16::from_be_bytes(pair.try_into().unwrap_or_default());
            if !params.contains_key(&key) {
                return Err(format!("mandatory: {} is missing", key_name(key)));
            }
        }
    }
    if params.contains_key(&2) && !params.contains_key(&1) {
        return Err("no-default-alpn needs alpn".to_owned());
    }
    for (key, value) in params {
        wire.extend(key.to_be_bytes());
        wire.extend(u16::try_from(value.len()).map_err(|_| "parameter too long")?.to_be_bytes());
        wire.extend(value);
    }
    Ok(())
}

fn value_of(key: u16, value: Option<&[u8]>) -> Result<Vec<u8>, TextError> {
    let needed = || value.filter(|value| !value.is_empty()).ok_or("value is missing".to_owned());
    let as_text = || Ok::<_, TextError>(String::from_utf8_lossy(needed()?).into_owned());
    match key {
        0 => {
            let keys: Option<Vec<u16>> = as_text()?.split(',').map(key_number).collect();
            let mut keys = keys.ok_or("unknown key")?;
            keys.sort_unstable();
            if keys.first() == Some(&0) || keys.windows(2).any(|pair| pair.first() == pair.get(1)) {
                return Err("a key occurs twice, or is mandatory itself".to_owned());
            }
            Ok(keys.into_iter().flat_map(u16::to_be_bytes).collect())
        }
        1 => {
            let mut wire = Vec::new();
            for id in comma_list(needed()?) {
                if id.is_empty() {
                    return Err("empty protocol".to_owned());
                }
                string(&id, &mut wire)?;
            }
            Ok(wire)
        }
        2 | 8 if value.is_some_and(|value| !value.is_empty()) => Err("takes no value".to_owned()),
        2 | 8 => Ok(Vec::new()),
        3 => {
            let text = as_text()?;
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let port: Option<u16> = text.parse().ok().filter(|_| digits);
            Ok(port.ok_or("bad port")?.to_be_bytes().to_vec())
        }
        4 => {
            let list: Result<Vec<Ipv4Addr>, _> = as_text()?.split(',').map(str::parse).collect();
            Ok(list.map_err(|_| "bad address")?.into_iter().flat_map(|address| address.octets()).collect())
        }
        6 => {
            let list: Result<Vec<Ipv6Addr>, _> = as_text()?.split(',').map(str::parse).collect();
            Ok(list.map_err(|_| "bad address")?.into_iter().flat_map(|address| address.octets()).collect())
        }
        5 => from_base64(needed()?),
        7 => needed().map(<[u8]>::to_vec),
        _ => Ok(value.unwrap_or_default().to_vec()),
    }
}

/// Splits a value at commas; a backslash makes the next byte literal (appendix A.1).
fn comma_list(value: &[u8]) -> Vec<Vec<u8>> {
    let mut items = vec![Vec::new()];
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        let literal = match byte {
            b',' => {
                items.push(Vec::new());
                continue;
            }
            b'\\' => bytes.next().unwrap_or(b'\\'),
            other => other,
        };
        if let Some(last) = items.last_mut() {
            last.push(literal);
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::record::words;

    fn read(text: &str) -> Result<Vec<u8>, TextError> {
        let words = words::split(text.as_bytes())?;
        let mut wire = Vec::new();
        parse(&mut RdataWords::new(&words, None), &mut wire).map(|()| wire)
    }

    /// The test vectors of RFC 9460, appendix D.
    #[test]
    fn vectors() {
        assert_eq!(read("port=53").unwrap(), b"\x00\x03\x00\x02\x00\x35");
        assert_eq!(read("key667=hello").unwrap(), b"\x02\x9b\x00\x05hello");
        assert_eq!(read("key667=\"hello\\210qoo\"").unwrap(), b"\x02\x9b\x00\x09hello\xd2qoo");
        let expected = b"\x00\x01\x00\x0c\x08f\\oo,bar\x02h2";
        assert_eq!(read(r#"alpn="f\\\\oo\\,bar,h2""#).unwrap(), expected);
        assert_eq!(read(r"alpn=f\\\092oo\092,bar,h2").unwrap(), expected);
        let mut out = String::new();
        write(expected, &mut out).unwrap();
        assert_eq!(out, r#"alpn="f\\\\oo\\,bar,h2""#);
        let sorted = read("alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1").unwrap();
        assert!(sorted.starts_with(b"\x00\x00\x00\x04\x00\x01\x00\x04\x00\x01\x00\x09\x02h2"));
        for bad in [
            "key123=abc key123=def",
            "mandatory",
            "alpn",
            "port",
            "ipv4hint",
            "ipv6hint",
            "port=\"\"",
            "no-default-alpn=abc",
            "mandatory=key123",
            "mandatory=mandatory",
            "key65535=x",
            "nokey=1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(write(b"\x00\x03\x00\x01\x00", &mut String::new()).is_err());
        assert!(write(b"\x00\x03\x00\x02\x00\x35\x00\x01\x00\x03\x02h2", &mut String::new()).is_err(), "order");
    }
}
