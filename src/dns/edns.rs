//! EDNS (RFC 6891): the OPT record and its options, parsed and composed.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::record::layout::in_words;
use super::wire::{Cursor, Malformed};

/// The announced UDP payload size: below the limit of every common path (DNS flag day 2020).
pub const DEFAULT_UDP_SIZE: u16 = 1232;
/// The maximum number of options in one OPT record.
pub const MAX_OPTIONS: usize = 256;

/// The extended error of a forwarder that gets no answer from any server (RFC 8914, section 4.23).
pub const NO_REACHABLE_AUTHORITY: u16 = 22;

/// The contents of an OPT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edns {
    /// The UDP payload size that the sender accepts, in bytes.
    pub udp_size: u16,
    /// The upper eight bits of the response code.
    pub extended_rcode: u8,
    /// Version; only 0 exists.
    pub version: u8,
    /// The DO bit: the client wants DNSSEC records (RFC 3225).
    pub dnssec_ok: bool,
    /// The other flag bits.
    pub other_flags: u16,
    /// The options in message order.
    pub options: Vec<EdnsOption>,
}

impl Default for Edns {
    fn default() -> Edns {
        Edns {
            udp_size: DEFAULT_UDP_SIZE,
            extended_rcode: 0,
            version: 0,
            dnssec_ok: false,
            other_flags: 0,
            options: Vec::new(),
        }
    }
}

impl Edns {
    /// True if a query may be sent without this record, because it requests nothing. Cookies, padding and the UDP size are not
    /// requests.
    pub fn is_dispensable(&self) -> bool {
        let means = |option: &EdnsOption| matches!(option.code, EdnsOption::COOKIE | EdnsOption::PADDING);
        !self.dnssec_ok && self.version == 0 && self.other_flags == 0 && self.options.iter().all(means)
    }
}

/// One option: code and data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdnsOption {
    /// Code (IANA, DNS EDNS0 Option Codes).
    pub code: u16,
    /// The data in wire form.
    pub data: Vec<u8>,
}

#[allow(missing_docs)]
impl EdnsOption {
    pub const NSID: u16 = 3;
    pub const CLIENT_SUBNET: u16 = 8;
    pub const EXPIRE: u16 = 9;
    pub const COOKIE: u16 = 10;
    pub const KEEPALIVE: u16 = 11;
    pub const PADDING: u16 = 12;
    pub const EXTENDED_ERROR: u16 = 15;
}

impl EdnsOption {
    /// An option of this code.
    pub fn new(code: u16, data: Vec<u8>) -> EdnsOption {
        EdnsOption { code, data }
    }

    /// The client subnet option of a query (RFC 7871, section 6), with only the bytes that the prefix covers.
    pub fn client_subnet(address: IpAddr, prefix: u8) -> EdnsOption {
        let (family, octets) = match address {
            IpAddr::V4(v4) => (1u16, v4.octets().to_vec()),
            IpAddr::V6(v6) => (2, v6.octets().to_vec()),
        };
        let most = u8::try_from(octets.len() * 8).unwrap_or(128);
        let prefix = prefix.min(most);
        let mut data = family.to_be_bytes().to_vec();
        data.extend([prefix, 0]);
        for (at, octet) in (0u8..).step_by(8).zip(octets) {
            if at >= prefix {
                break;
            }
            let keep = (prefix - at).min(8);
            data.push(octet & (0xffu16 << (8 - keep)) as u8);
        }
        EdnsOption::new(EdnsOption::CLIENT_SUBNET, data)
    }

    /// The name of the option in text and JSON.
    pub fn name(&self) -> String {
        let known = [
            (1, "LLQ"),
            (2, "UL"),
            (3, "NSID"),
            (5, "DAU"),
            (6, "DHU"),
            (7, "N3U"),
            (8, "CLIENT-SUBNET"),
            (9, "EXPIRE"),
            (10, "COOKIE"),
            (11, "TCP-KEEPALIVE"),
            (12, "PAD"),
            (13, "CHAIN"),
            (14, "KEY-TAG"),
            (15, "EDE"),
            (16, "CLIENT-TAG"),
            (17, "SERVER-TAG"),
            (18, "REPORT-CHANNEL"),
        ];
        known.iter().find(|(code, _)| *code == self.code).map_or(format!("OPT={}", self.code), |row| row.1.to_owned())
    }

    /// The value as text, as dig prints it.
    pub fn value(&self) -> String {
        self.known_value().unwrap_or_else(|_| spaced_hex(&self.data))
    }

    /// The code of an option from its name in dig's `+ednsopt=`, or from its number.
    pub fn code_of(text: &str) -> Option<u16> {
        let names = [
            ("LLQ", 1),
            ("UL", 2),
            ("NSID", 3),
            ("DAU", 5),
            ("DHU", 6),
            ("N3U", 7),
            ("ECS", 8),
            ("EXPIRE", 9),
            ("COOKIE", 10),
            ("KEEPALIVE", 11),
            ("PADDING", 12),
            ("PAD", 12),
            ("CHAIN", 13),
            ("KEY-TAG", 14),
            ("EDE", 15),
            ("CLIENT-TAG", 16),
            ("SERVER-TAG", 17),
            ("DEVICEID", 26946),
        ];
        let named = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, code)| *code);
        named.or_else(|| text.parse().ok())
    }

    /// The name as dig prints it, in text or in YAML.
    pub fn dig_name(&self, yaml: bool) -> String {
        match self.code {
            Self::KEEPALIVE if !yaml => "TCP KEEPALIVE".to_owned(),
            1 | 3 | 8..=12 | 14..=17 => self.name(),
            other => format!("OPT={other}"),
        }
    }

    /// The value as dig prints it; `None` if it is empty. `of_answer`: in an answer a cookie also gets dig's `(good)` or `(echoed)`.
    pub fn dig_value(&self, of_answer: bool) -> Option<String> {
        let value = self.known_value();
        if self.data.is_empty() && self.code != Self::PADDING {
            return None;
        }
        Some(match (self.code, value) {
            (Self::EXPIRE, Ok(value)) => {
                let seconds = value.parse().map(in_words).unwrap_or_default();
                format!("{value} ({seconds})")
            }
            (Self::COOKIE, Ok(value)) if of_answer && self.data.len() >= 16 => format!("{value} (good)"),
            (Self::COOKIE, Ok(value)) if of_answer && self.data.len() == 8 => format!("{value} (echoed)"),
            (14 | 16 | 17, _) if self.data.len().is_multiple_of(2) => {
                let numbers =
                    self.data.chunks_exact(2).filter_map(|pair| Some(u16::from_be_bytes(*pair.first_chunk()?)));
                numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(", ")
            }
            (_, Ok(value)) => value,
            (_, Err(_)) => with_letters(&self.data),
        })
    }

    /// The code with its meaning, and the text, of an extended error (RFC 8914).
    pub fn extended_error(&self) -> Option<(String, String)> {
        let (code, text) = self.data.split_first_chunk().filter(|_| self.code == Self::EXTENDED_ERROR)?;
        let code = u16::from_be_bytes(*code);
        let meaning = extended_error(code).map(|words| format!(" ({words})")).unwrap_or_default();
        Some((format!("{code}{meaning}"), printable(text)))
    }

    fn known_value(&self) -> Result<String, Malformed> {
        let mut cursor = Cursor::new(&self.data);
        let mut out = String::new();
        match self.code {
            Self::NSID => out = with_letters(&self.data),
            Self::CLIENT_SUBNET => {
                let (family, source, scope) = (cursor.u16()?, cursor.u8()?, cursor.u8()?);
                let mut octets = [0; 16];
                let given = cursor.rest();
                octets.get_mut(..given.len()).ok_or(Malformed("subnet too long"))?.copy_from_slice(given);
                let [a, b, c, d, ..] = octets;
                let address = match family {
                    1 if given.len() <= 4 => Ipv4Addr::new(a, b, c, d).to_string(),
                    2 => Ipv6Addr::from(octets).to_string(),
                    _ => return Err(Malformed("unknown family")),
                };
                let _ = write!(out, "{address}/{source}/{scope}");
            }
            Self::EXPIRE if self.data.len() == 4 => {
                let _ = write!(out, "{}", cursor.u32()?);
            }
            Self::COOKIE => crate::hex::push_lower(&self.data, &mut out),
            Self::KEEPALIVE if self.data.len() == 2 => {
                let tenths = cursor.u16()?;
                let _ = write!(out, "{}.{} secs", tenths / 10, tenths % 10);
            }
            Self::PADDING => {
                let _ = write!(out, "({} bytes)", self.data.len());
            }
            Self::EXTENDED_ERROR => {
                let (code, extra) = self.extended_error().ok_or(Malformed("no code"))?;
                out = if extra.is_empty() { code } else { format!("{code}: ({extra})") };
            }
            _ => return Err(Malformed("no words for it")),
        }
        Ok(out)
    }
}

impl Edns {
    /// Reads an OPT record from its class, TTL and data fields (RFC 6891, section 6.1.3).
    ///
    /// # Errors
    /// An option is cut short, or there are more than [`MAX_OPTIONS`].
    pub fn parse(class: u16, ttl: u32, rdata: &[u8]) -> Result<Edns, Malformed> {
        let [extended_rcode, version, high, low] = ttl.to_be_bytes();
        let flags = u16::from_be_bytes([high, low]);
        let mut cursor = Cursor::new(rdata);
        let mut options = Vec::new();
        while !cursor.is_empty() {
            let (code, length) = (cursor.u16()?, cursor.u16()?);
            let data = cursor.take(usize::from(length))?.to_vec();
            if options.len() >= MAX_OPTIONS {
                return Err(Malformed("too many EDNS options"));
            }
            options.push(EdnsOption { code, data });
        }
        Ok(Edns {
            udp_size: class,
            extended_rcode,
            version,
            dnssec_ok: flags & 0x8000 != 0,
            other_flags: flags & 0x7fff,
            options,
        })
    }

    /// The first option of this code, mutable.
    pub fn option_mut(&mut self, code: u16) -> Option<&mut EdnsOption> {
        self.options.iter_mut().find(|option| option.code == code)
    }

    /// Appends the OPT record.
    pub fn compose(&self, out: &mut Vec<u8>) {
        out.extend([0, 0, 41]);
        out.extend(self.udp_size.to_be_bytes());
        out.extend([self.extended_rcode, self.version]);
        out.extend((u16::from(self.dnssec_ok) << 15 | self.other_flags).to_be_bytes());
        let length: usize = self.options.iter().map(|option| option.data.len() + 4).sum();
        out.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        for option in &self.options {
            out.extend(option.code.to_be_bytes());
            out.extend(u16::try_from(option.data.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(&option.data);
        }
    }

    /// The option of this code, the first if there are several.
    pub fn option(&self, code: u16) -> Option<&EdnsOption> {
        self.options.iter().find(|option| option.code == code)
    }
}

/// The meaning of an extended error code (RFC 8914, section 4, and the IANA registry).
pub fn extended_error(code: u16) -> Option<&'static str> {
    const WORDS: &[&str] = &[
        "Other",
        "Unsupported DNSKEY Algorithm",
        "Unsupported DS Digest Type",
        "Stale Answer",
        "Forged Answer",
        "DNSSEC Indeterminate",
        "DNSSEC Bogus",
        "Signature Expired",
        "Signature Not Yet Valid",
        "DNSKEY Missing",
        "RRSIGs Missing",
        "No Zone Key Bit Set",
        "NSEC Missing",
        "Cached Error",
        "Not Ready",
        "Blocked",
        "Censored",
        "Filtered",
        "Prohibited",
        "Stale NXDOMAIN Answer",
        "Not Authoritative",
        "Not Supported",
        "No Reachable Authority",
        "Network Error",
        "Invalid Data",
        "Signature Expired before Valid",
        "Too Early",
        "Unsupported NSEC3 Iterations Value",
        "Unable to conform to policy",
        "Synthesized",
        "Invalid Query Type",
    ];
    WORDS.get(usize::from(code)).copied()
}

/// UTF-8 text from a server, made safe for printing: control characters, bidirectional controls and invisible characters are dropped.
pub fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !crate::steering::steers_or_joins(*c)).collect()
}

/// The bytes as hexadecimal digits, followed by their ASCII characters.
fn with_letters(bytes: &[u8]) -> String {
    let letters = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
    match bytes {
        [] => String::new(),
        _ => format!("{} (\"{}\")", spaced_hex(bytes), bytes.iter().map(letters).collect::<String>()),
    }
}

fn spaced_hex(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_in_words() {
        let show = |code, data: &[u8]| EdnsOption::new(code, data.to_vec()).value();
        assert_eq!(show(3, b"gpdns-ams"), "67 70 64 6e 73 2d 61 6d 73 (\"gpdns-ams\")");
        assert_eq!(show(8, &[0, 1, 24, 0, 192, 0, 2]), "192.0.2.0/24/0");
        assert_eq!(show(10, &[0xab, 1]), "ab01");
        assert_eq!(show(11, &[0, 105]), "10.5 secs");
        assert_eq!(show(15, b"\x00\x12no\x1b[31m \xe2\x80\xaego"), "18 (Prohibited): (no[31m go)");
        assert_eq!(show(15, b"\x00"), "00", "cut short: as bytes");
        assert_eq!(show(9, &[0, 0, 1, 0]), "256");
        assert_eq!(show(65001, &[1, 2]), "01 02");
        let dig = |code, data: &[u8]| {
            let option = EdnsOption::new(code, data.to_vec());
            option.dig_value(true).map_or(option.dig_name(false), |value| format!("{} {value}", option.dig_name(false)))
        };
        for (code, data, expected) in [
            (3, &b""[..], "NSID"),
            (9, &[0, 9, 0x3a, 0x80], "EXPIRE 604800 (1 week)"),
            (9, &[0, 0], "EXPIRE 00 00 (\"..\")"),
            (10, b"12345678", "COOKIE 3132333435363738 (echoed)"),
            (10, b"1234567812345678", "COOKIE 31323334353637383132333435363738 (good)"),
            (11, &[0, 105], "TCP KEEPALIVE 10.5 secs"),
            (12, &[0, 0], "PAD (2 bytes)"),
            (14, &[0x12, 0x34], "KEY-TAG 4660"),
            (15, &[0, 18, b'f'], "EDE 18 (Prohibited): (f)"),
            (5, &[1, 2], "OPT=5 01 02 (\"..\")"),
            (65001, &[1, b'a'], "OPT=65001 01 61 (\".a\")"),
        ] {
            assert_eq!(dig(code, data), expected);
        }
    }

    #[test]
    fn subnet_sends_only_what_the_prefix_covers() {
        let address: IpAddr = "192.0.2.255".parse().unwrap();
        assert_eq!(EdnsOption::client_subnet(address, 25).data, [0, 1, 25, 0, 192, 0, 2, 128]);
        assert_eq!(EdnsOption::client_subnet(address, 0).data, [0, 1, 0, 0]);
        assert_eq!(EdnsOption::client_subnet(address, 99).data, [0, 1, 32, 0, 192, 0, 2, 255]);
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(EdnsOption::client_subnet(v6, 32).data, [0, 2, 32, 0, 0x20, 1, 0x0d, 0xb8]);
    }
}
