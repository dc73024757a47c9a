//! Fields with special formats: times, mnemonics, type lists, and the formats of old types.

mod address;
mod loc;
mod types;

pub(crate) use address::{
    parse_apl, parse_gateway, parse_hip, parse_relay, skip_to_names, write_apl, write_gateway, write_hip, write_relay,
};
pub(crate) use loc::{LOC_MEMBERS, json_loc, parse_loc, write_loc};
pub(crate) use types::{parse_old_types, parse_types, types_contain, write_old_types, write_types};

use std::fmt::Write;

/// DNSSEC algorithms (IANA, DNS Security Algorithm Numbers).
pub(crate) const ALGORITHMS: &[(u16, &str)] = &[
    (1, "RSAMD5"),
    (2, "DH"),
    (3, "DSA"),
    (5, "RSASHA1"),
    (6, "NSEC3DSA"),
    (7, "NSEC3RSASHA1"),
    (8, "RSASHA256"),
    (10, "RSASHA512"),
    (12, "ECCGOST"),
    (13, "ECDSAP256SHA256"),
    (14, "ECDSAP384SHA384"),
    (15, "ED25519"),
    (16, "ED448"),
    (252, "INDIRECT"),
    (253, "PRIVATEDNS"),
    (254, "PRIVATEOID"),
    // Further names are accepted but not printed: those of the registry that differ from dig's.
    (6, "DSA-NSEC3-SHA1"),
    (7, "RSASHA1-NSEC3-SHA1"),
    (12, "ECC-GOST"),
];

/// Certificate types (RFC 4398, section 2.1).
pub(crate) const CERT_TYPES: &[(u16, &str)] = &[
    (1, "PKIX"),
    (2, "SPKI"),
    (3, "PGP"),
    (4, "IPKIX"),
    (5, "ISPKI"),
    (6, "IPGP"),
    (7, "ACPKIX"),
    (8, "IACPKIX"),
    (253, "URI"),
    (254, "OID"),
];

/// Schemes of DSYNC (RFC 9859, section 2.1).
pub(crate) const SYNC_SCHEMES: &[(u16, &str)] = &[(1, "NOTIFY")];

/// Writes `YYYYMMDDHHmmSS` (RFC 4034, section 3.2).
pub(crate) fn write_time(seconds: u32, out: &mut String) {
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let _ = write!(out, "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}");
}

/// The same time in the format of RFC 3339.
pub(crate) fn json_time(seconds: u32) -> serde_json::Value {
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z").into()
}

/// Parses `YYYYMMDDHHmmSS`, or plain seconds since 1970 (RFC 4034, section 3.2). The result is a serial number, so
/// times after 2106 wrap around (section 3.1.5).
pub(crate) fn parse_time(text: &str) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if text.len() != 14 {
        return text.parse().ok();
    }
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<u32>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    if year < 1970 || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days(year, month, day);
    if civil(u32::try_from(days).ok()?) != (year, month, day) {
        return None;
    }
    Some((days * 86_400 + u64::from(hour * 3600 + minute * 60 + second)) as u32) // modulo 2^32 by definition
}

/// Year, month and day of a day counted from 1970-01-01 (proleptic Gregorian calendar).
fn civil(days: u32) -> (u32, u32, u32) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    (year_of_era + era * 400 + u32::from(month <= 2), month, day)
}

/// The inverse of [`civil`]. An invalid date gives a day that [`civil`] does not convert back to it.
fn days(year: u32, month: u32, day: u32) -> u64 {
    let year = u64::from(year) - u64::from(month <= 2);
    let (month, day) = (u64::from(month), u64::from(day));
    let (era, year_of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.saturating_sub(1);
    (era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year).saturating_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (seconds, text) in [(0, "19700101000000"), (951_782_400, "20000229000000"), (u32::MAX, "21060207062815")] {
            let mut out = String::new();
            write_time(seconds, &mut out);
            assert_eq!(out, text);
            assert_eq!(parse_time(text), Some(seconds));
        }
        assert_eq!(parse_time("86400"), Some(86_400));
        assert_eq!(parse_time("21060207062816"), Some(0));
        assert_eq!(parse_time("99991231235959"), Some((253_402_300_799u64 & 0xffff_ffff) as u32));
        for bad in ["20010229000000", "20011301000000", "20010100000000", "20010101240000", "x", "19691231235959"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
