//! Record data in dig's layouts: over several lines (`+multiline`), with comments (`+rrcomments`), without keys and
//! digests (`+nocrypto`).

use std::fmt::Write;

use super::Rtype;
use super::atoms::push_mnemonic;
use super::rdata::{Dnskey, key_tag};
use super::special::ALGORITHMS;

/// The layout of long fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Hexadecimal and base64 are split into pieces of this many characters; 0 = no split.
    pub split: usize,
    /// Every type is written in the RFC 3597 form for unknown types.
    pub unknown: bool,
    /// IPv6 addresses are written with all digits.
    pub expand_ipv6: bool,
    /// Long data is written over several lines.
    pub multiline: bool,
    /// Comments describe keys and, over several lines, the numbers of an SOA record.
    pub comments: bool,
    /// Keys, digests and signatures are printed.
    pub crypto: bool,
}

impl Style {
    /// Long fields in one piece.
    pub const PLAIN: Style =
        Style { split: 0, unknown: false, expand_ipv6: false, multiline: false, comments: false, crypto: true };
    /// Long fields as dig prints them.
    pub const DIG: Style = Style { split: 56, ..Style::PLAIN };
}

/// The start of a continuation line: the indentation of the data column.
const NEW_LINE: &str = "\n\t\t\t\t";

/// The distribution of a type's words over lines: the number of words before the parenthesis, after it on the same
/// line, and on the next line. Each of the others has its own line.
struct LineLayout(usize, usize, usize);

fn layout(rtype: Rtype) -> Option<LineLayout> {
    Some(match rtype {
        Rtype::DNSKEY | CDNSKEY | KEY | RKEY | Rtype::DS | CDS | DLV | TA | Rtype::TLSA | SMIMEA | CERT | ZONEMD => {
            LineLayout(3, 0, 0)
        }
        SSHFP => LineLayout(2, 0, 0),
        Rtype::RRSIG => LineLayout(4, 0, 4),
        SIG => LineLayout(5, 0, 3),
        Rtype::NSEC3 => LineLayout(4, 0, usize::MAX),
        HIP => LineLayout(0, 2, 0),
        IPSECKEY => LineLayout(0, 4, 0),
        DHCID | OPENPGPKEY | EID | NIMLOC => LineLayout(0, 1, 0),
        _ => return None,
    })
}

const SIG: Rtype = Rtype(24);
const KEY: Rtype = Rtype(25);
const CERT: Rtype = Rtype(37);
const EID: Rtype = Rtype(31);
const NIMLOC: Rtype = Rtype(32);
const SSHFP: Rtype = Rtype(44);
const IPSECKEY: Rtype = Rtype(45);
const DHCID: Rtype = Rtype(49);
const SMIMEA: Rtype = Rtype(53);
const HIP: Rtype = Rtype(55);
const RKEY: Rtype = Rtype(57);
const CDS: Rtype = Rtype(59);
const CDNSKEY: Rtype = Rtype(60);
const OPENPGPKEY: Rtype = Rtype(61);
const ZONEMD: Rtype = Rtype(63);
const TA: Rtype = Rtype(32768);
const DLV: Rtype = Rtype(32769);

/// Lays out data; `text` is its one-line text with long fields split.
pub(super) fn lay_out(rtype: Rtype, wire: &[u8], text: &str, style: Style, out: &mut String) {
    let mut words: Vec<&str> = text.split(' ').collect();
    let typed = !text.starts_with("\\# ");
    if rtype == Rtype::SOA && typed && style.multiline {
        return soa(&words, style.comments, out);
    }
    let layout = if typed { layout(rtype) } else { Some(LineLayout(2, 1, 0)) };
    let Some(LineLayout(before, beside, second)) = layout else { return out.push_str(text) };
    let key = if typed { KeyComment::of(rtype, wire) } else { None };
    let omitted = key.as_ref().map_or_else(|| "[omitted]".to_owned(), |key| format!("[key id = {}]", key.tag));
    if typed && !style.crypto && has_secrets(rtype) {
        words.truncate(before + second);
        words.push(&omitted);
    }
    let comment = key.filter(|_| style.comments);
    let (head, rest) = words.split_at_checked(before).unwrap_or((&words, &[]));
    if !style.multiline || rest.is_empty() {
        out.push_str(&words.join(" "));
        if let Some(comment) = comment {
            let _ = write!(out, " {comment}");
        }
        return;
    }
    for word in head {
        let _ = write!(out, "{word} ");
    }
    out.push('(');
    let (beside, rest) = rest.split_at_checked(beside).unwrap_or((rest, &[]));
    for word in beside {
        let _ = write!(out, " {word}");
    }
    let (second, rest) = rest.split_at(second.min(rest.len()));
    if !second.is_empty() {
        let _ = write!(out, "{NEW_LINE}{}", second.join(" "));
    }
    for word in rest {
        let _ = write!(out, "{NEW_LINE}{word}");
    }
    match comment {
        Some(comment) => {
            let _ = write!(out, "{NEW_LINE}){comment}");
        }
        None => out.push_str(" )"),
    }
    if let (DHCID, Some([a, b, c])) = (rtype, wire.first_chunk()) {
        let _ = write!(out, " ; {} {c} {}", u16::from_be_bytes([*a, *b]), wire.len() - 3);
    }
}

/// True for types whose last field dig omits with `+nocrypto`; SIG is not one of them.
fn has_secrets(rtype: Rtype) -> bool {
    matches!(
        rtype,
        Rtype::DNSKEY | CDNSKEY | KEY | RKEY | Rtype::DS | CDS | DLV | TA | Rtype::RRSIG | OPENPGPKEY | ZONEMD
    )
}

/// The times of a zone, one per line.
fn soa(words: &[&str], comments: bool, out: &mut String) {
    let (names, numbers) = words.split_at_checked(2).unwrap_or_default();
    let _ = write!(out, "{} (", names.join(" "));
    for (number, what) in numbers.iter().zip(["serial", "refresh", "retry", "expire", "minimum"]) {
        let time = number.parse().ok().filter(|_| what != "serial").map(|time| format!(" ({})", in_words(time)));
        match comments {
            true => _ = write!(out, "{NEW_LINE}{number:<10} ; {what}{}", time.unwrap_or_default()),
            false => _ = write!(out, "{NEW_LINE}{number}"),
        }
    }
    out.push_str(if comments { NEW_LINE } else { "" });
    out.push(')');
}

/// A time as in dig's comments: `1 week 2 days`.
pub fn in_words(seconds: u32) -> String {
    let mut rest = seconds;
    let mut words = Vec::new();
    for (unit, length) in [("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)] {
        let count = rest / length;
        if count > 0 || (length == 1 && words.is_empty()) {
            words.push(format!("{count} {unit}{}", if count == 1 { "" } else { "s" }));
        }
        rest %= length;
    }
    words.join(" ")
}

/// Facts about a key that its data does not state directly.
struct KeyComment {
    /// `None` for keys that do not sign zones.
    role: Option<&'static str>,
    algorithm: u8,
    tag: u16,
}

impl KeyComment {
    fn of(rtype: Rtype, wire: &[u8]) -> Option<KeyComment> {
        let zone_key = matches!(rtype, Rtype::DNSKEY | CDNSKEY);
        let key = Dnskey::parse(wire).ok().filter(|_| zone_key || matches!(rtype, KEY | RKEY))?;
        // RFC 4034, section 2.1.1; RFC 5011, section 7.
        let role = match (key.flags & 1 != 0, key.flags & 0x80 != 0) {
            (true, true) => "revoked KSK",
            (true, false) => "KSK",
            (false, _) => "ZSK",
        };
        Some(KeyComment { role: zone_key.then_some(role), algorithm: key.algorithm, tag: key_tag(wire) })
    }
}

impl std::fmt::Display for KeyComment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(role) = self.role {
            write!(f, " ; {role}")?;
        }
        let mut algorithm = String::new();
        push_mnemonic(self.algorithm.into(), ALGORITHMS, &mut algorithm);
        write!(f, "; alg = {algorithm} ; key id = {}", self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::rdata;
    use super::*;

    const MULTI: Style = Style { split: 44, multiline: true, comments: true, ..Style::PLAIN };

    #[test]
    fn soa_and_keys_over_several_lines() {
        let soa = b"\x01a\0\x01b\0\0\0\0\x01\0\0\x1c\x20\0\0\x0e\x10\0\x12\x75\0\0\0\x01\x2c";
        assert_eq!(
            rdata(Rtype::SOA, soa, MULTI).replace(NEW_LINE, "|"),
            "a. b. (|1          ; serial|7200       ; refresh (2 hours)|3600       ; retry (1 hour)\
             |1209600    ; expire (2 weeks)|300        ; minimum (5 minutes)|)"
        );
        let bare = Style { comments: false, ..MULTI };
        assert_eq!(rdata(Rtype::SOA, soa, bare).replace(NEW_LINE, "|"), "a. b. (|1|7200|3600|1209600|300)");
        let key = [&b"\x01\x01\x03\x0d"[..], &[0xab; 40]].concat();
        let text = rdata(Rtype::DNSKEY, &key, MULTI).replace(NEW_LINE, "|");
        assert!(text.starts_with("257 3 13 (|q6ur") && text.matches('|').count() == 3, "{text}");
        assert!(text.ends_with("|) ; KSK; alg = ECDSAP256SHA256 ; key id = 28023"), "{text}");
        let short = Style { crypto: false, ..Style::DIG };
        assert_eq!(rdata(Rtype::DNSKEY, &key, short), "257 3 13 [key id = 28023]");
        assert_eq!(rdata(Rtype::DS, &[0, 1, 8, 2, 0xab], short), "1 8 2 [omitted]");
        assert_eq!(
            rdata(Rtype(65280), &[0xab; 23], MULTI).replace(NEW_LINE, "|"),
            format!("\\# 23 ( {}|AB )", "AB".repeat(22))
        );
        assert_eq!(rdata(Rtype::TXT, b"\x03a b", MULTI), "\"a b\"");
        assert_eq!(
            (in_words(0), in_words(694_861)),
            ("0 seconds".into(), "1 week 1 day 1 hour 1 minute 1 second".into())
        );
    }
}
