//! Writes names and record data as text directly from the packet to a buffer. The table-driven writer of
//! [`crate::dns::record`] is the reference, and writes the types that are rare in bulk runs.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::walk::RecordSpan;
use crate::dns::record::text::Style;
use crate::dns::record::{self, Rtype};
use crate::dns::wire::walk::labels;

/// True for bytes of a label that need no escape.
#[expect(clippy::indexing_slicing, reason = "computed by the compiler, which would say so")]
static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = !matches!(byte as u8, b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$');
        byte += 1;
    }
    table
};

fn is_plain(byte: u8) -> bool {
    PLAIN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Appends the name at `at`, whose own bytes end before `end`; returns the position after it, or `None` if it is malformed.
#[inline]
pub fn push_name(message: &[u8], at: usize, end: usize, out: &mut Vec<u8>) -> Option<usize> {
    let begin = out.len();
    let after = labels(message, at, end, true, |label| push_label(label.get(1..).unwrap_or_default(), out)).ok()?;
    if out.len() == begin {
        out.push(b'.');
    }
    Some(after)
}

/// Appends a label and its dot (RFC 4343, section 2.1).
fn push_label(label: &[u8], out: &mut Vec<u8>) {
    if label.iter().all(|byte| is_plain(*byte)) {
        out.extend_from_slice(label);
    } else {
        for &byte in label {
            match byte {
                _ if is_plain(byte) => out.push(byte),
                0x21..=0x7e => out.extend_from_slice(&[b'\\', byte]),
                _ => push_decimal_escape(byte, out),
            }
        }
    }
    out.push(b'.');
}

fn push_decimal_escape(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'\\', b'0' + byte / 100, b'0' + byte / 10 % 10, b'0' + byte % 10]);
}

/// Appends a number in decimal.
pub fn push_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
        at -= 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// Appends the data of a record in zone file format; data that does not fit its type is in the RFC 3597 form.
pub fn push_rdata(message: &[u8], place: &RecordSpan, out: &mut Vec<u8>) {
    let begin = out.len();
    if push_common(message, place, out).is_some() {
        return;
    }
    out.truncate(begin);
    let mut text = String::new();
    let rtype = Rtype(place.rtype);
    match record::expand(rtype, message, place.data, place.end) {
        Ok(wire) => record::text::write_rdata(rtype, &wire, Style::PLAIN, &mut text),
        Err(_) => {
            let wire = message.get(place.data..place.end).unwrap_or_default();
            record::text::generic(wire, Style::PLAIN, &mut text);
        }
    }
    out.extend_from_slice(text.as_bytes());
}

/// Appends data of the types that are common in bulk runs; `None` for other types and for data that does not fit.
fn push_common(message: &[u8], place: &RecordSpan, out: &mut Vec<u8>) -> Option<()> {
    let (data, end) = (place.data, place.end);
    let bytes = message.get(data..end)?;
    let number = |at: usize| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let done = match Rtype(place.rtype) {
        Rtype::A => {
            let octets: [u8; 4] = bytes.try_into().ok()?;
            push_ipv4(octets, out);
            end
        }
        Rtype::AAAA => {
            let octets: [u8; 16] = bytes.try_into().ok()?;
            push_ipv6(octets, out);
            end
        }
        Rtype::CNAME | Rtype::NS | Rtype::PTR | Rtype::DNAME => push_name(message, data, end, out)?,
        Rtype::MX => {
            push_number(number(0)?.into(), out);
            out.push(b' ');
            push_name(message, data + 2, end, out)?
        }
        Rtype::SRV => {
            for at in [0, 2, 4] {
                push_number(number(at)?.into(), out);
                out.push(b' ');
            }
            push_name(message, data + 6, end, out)?
        }
        Rtype::SOA => {
            let at = push_name(message, data, end, out)?;
            out.push(b' ');
            let mut at = push_name(message, at, end, out)?;
            for _ in 0..5 {
                out.push(b' ');
                let field = message.get(at..end)?.first_chunk()?;
                push_number(u32::from_be_bytes(*field).into(), out);
                at += 4;
            }
            at
        }
        Rtype::TXT => {
            push_strings(bytes, out)?;
            end
        }
        _ => return None,
    };
    (done == end).then_some(())
}

fn push_ipv4(octets: [u8; 4], out: &mut Vec<u8>) {
    for (at, octet) in octets.into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        push_number(octet.into(), out);
    }
}

/// Appends an address in the C library's form: `::a.b.c.d` for addresses that embed an IPv4 address.
fn push_ipv6(octets: [u8; 16], out: &mut Vec<u8>) {
    let address = Ipv6Addr::from(octets);
    // Writing to a Vec cannot fail.
    let _ = match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
            write!(out, "::{}", Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => write!(out, "{address}"),
    };
}

fn push_strings(mut bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if bytes.is_empty() {
        return None;
    }
    let mut first = true;
    while let Some((&length, rest)) = bytes.split_first() {
        let (string, rest) = rest.split_at_checked(usize::from(length))?;
        bytes = rest;
        out.extend_from_slice(if std::mem::take(&mut first) { b"\"" } else { b" \"" });
        for &byte in string {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                0x20..=0x7e => out.push(byte),
                _ => push_decimal_escape(byte, out),
            }
        }
        out.push(b'"');
    }
    Some(())
}

/// Escapes for JSON the text appended since `begin`. The text is already printable ASCII, so only two bytes need an
/// escape, and mostly neither occurs.
pub fn escape_tail(out: &mut Vec<u8>, begin: usize) {
    let special = |bytes: &[u8]| memchr::memchr2_iter(b'"', b'\\', bytes).count();
    let Some(extra) = out.get(begin..).map(special).filter(|extra| *extra > 0) else { return };
    let end = out.len();
    out.resize(end + extra, 0);
    let (mut from, mut to) = (end, end + extra);
    // From the back, so that nothing is overwritten before it was moved.
    while to > from {
        from -= 1;
        to -= 1;
        let Some(byte) = out.get(from).copied() else { return };
        if let Some(place) = out.get_mut(to) {
            *place = byte;
        }
        if matches!(byte, b'"' | b'\\') {
            to -= 1;
            if let Some(place) = out.get_mut(to) {
                *place = b'\\';
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::name::Name;

    #[test]
    fn names_are_what_the_full_writer_makes_of_them() {
        for text in
            [".", "a.", "example.com.", "a\\.b.\\000\\255.x.", "a\\\"\\;\\@\\$\\(\\)b.", "sp\\032ace.x.", "*._tcp.x/y."]
        {
            let name = Name::parse(text).unwrap();
            let mut out = Vec::new();
            assert_eq!(push_name(name.as_wire(), 0, name.as_wire().len(), &mut out), Some(name.as_wire().len()));
            assert_eq!(String::from_utf8(out).unwrap(), name.to_string());
        }
        let mut out = Vec::new();
        assert_eq!(push_name(b"\x01a\x00\x01b\xc0\x00", 3, 7, &mut out), Some(7));
        assert_eq!(out, b"b.a.");
        assert_eq!(push_name(b"\xc0\x00", 0, 2, &mut out), None);
        assert_eq!(push_name(b"\x05ab", 0, 3, &mut out), None);
    }

    #[test]
    fn data_is_what_the_full_writer_makes_of_it() {
        let cases: &[(u16, &[u8])] = &[
            (1, &[192, 0, 2, 255]),
            (1, &[1, 2, 3]),
            (28, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            (28, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4]),
            (28, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
            (28, &[0; 16]),
            (5, b"\x01a\x04t\x01\"\\\x00"),
            (5, b"\x01a\x00x"),
            (15, b"\xff\xff\x02mx\x00"),
            (15, b"\x00"),
            (33, b"\x00\x01\x00\x02\x1f\x90\x02mx\x00"),
            (
                6,
                b"\x02ns\x00\x02hm\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\x04\xff\xff\xff\xff",
            ),
            (6, b"\x02ns\x00\x02hm\x00\x00\x00\x00\x01"),
            (16, b"\x03a\"\xff\x01\\\x00"),
            (16, b""),
            (16, b"\x05ab"),
            (43, b"\x00\x01\x08\x02\xab\xcd"),
            (257, b"\x00\x05issueca.test"),
            (65280, b"\x01\x02"),
            (65280, b""),
        ];
        for (rtype, data) in cases {
            let place = RecordSpan { owner: 0, rtype: *rtype, class: 1, ttl: 0, data: 0, end: data.len() };
            let mut out = b"before".to_vec();
            push_rdata(data, &place, &mut out);
            let expected = record::text::rdata(Rtype(*rtype), data, Style::PLAIN);
            assert_eq!(String::from_utf8_lossy(&out), format!("before{expected}"), "type {rtype}");
            let plain = out.get(6..).unwrap().to_vec();
            escape_tail(&mut out, 6);
            let json = serde_json::to_string(&String::from_utf8(plain).unwrap()).unwrap();
            assert_eq!(String::from_utf8(out).unwrap()[6..], json[1..json.len() - 1], "type {rtype}");
        }
    }

    #[test]
    fn numbers() {
        for number in [0, 7, 10, 99, 100, 65_535, u64::MAX] {
            let mut out = Vec::new();
            push_number(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
