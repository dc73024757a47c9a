//! The address of the data connection: PORT and PASV (RFC 959, section 4.1.2), EPRT and EPSV (RFC 2428), parsed and formatted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// The reason for refusing an EPRT argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EprtError {
    /// The argument is malformed: reply 501.
    Syntax,
    /// The protocol number is neither 1 nor 2: reply 522 `(1,2)` (RFC 2428, section 2).
    Protocol,
}

/// The address of a 227 reply. The text differs between servers, so the first six comma-separated numbers count (RFC
/// 1123, section 4.1.2.6). A client uses the port and, unless told otherwise, ignores the address.
pub fn parse_pasv(text: &[u8]) -> Option<SocketAddrV4> {
    let mut rest = text;
    loop {
        let start = rest.iter().position(u8::is_ascii_digit)?;
        rest = rest.get(start..)?;
        if let Some((address, _)) = six_numbers(rest) {
            return Some(address);
        }
        let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        rest = rest.get(end..)?;
    }
}

/// The text of a 227 reply.
pub fn format_pasv(address: SocketAddrV4) -> String {
    format!("Entering Passive Mode ({})", format_port(address))
}

/// The argument of PORT: `h1,h2,h3,h4,p1,p2` and nothing else.
pub fn parse_port(argument: &[u8]) -> Option<SocketAddrV4> {
    match six_numbers(argument.trim_ascii())? {
        (address, []) => Some(address),
        _ => None,
    }
}

/// The argument of PORT for this address.
pub fn format_port(address: SocketAddrV4) -> String {
    let [a, b, c, d] = address.ip().octets();
    let [high, low] = address.port().to_be_bytes();
    format!("{a},{b},{c},{d},{high},{low}")
}

/// The port of a 229 reply: `(|||port|)` with any printable delimiter (RFC 2428, section 3).
pub fn parse_epsv(text: &[u8]) -> Option<u16> {
    let open = text.iter().position(|byte| *byte == b'(')?;
    let inner = text.get(open + 1..)?;
    let (&delimiter, rest) = inner.split_first()?;
    let rest = rest.strip_prefix(&[delimiter, delimiter])?;
    if !(33..=126).contains(&delimiter) || delimiter.is_ascii_digit() {
        return None;
    }
    let (port, rest) = number(rest, u32::from(u16::MAX))?;
    let port = u16::try_from(port).ok()?;
    (port != 0 && rest.first() == Some(&delimiter)).then_some(port)
}

/// The text of a 229 reply.
pub fn format_epsv(port: u16) -> String {
    format!("Entering Extended Passive Mode (|||{port}|)")
}

/// The argument of EPRT: `|1|192.0.2.1|6275|` or `|2|2001:db8::1|6275|` (RFC 2428, section 2).
///
/// # Errors
/// The error selects the reply that refuses the argument.
pub fn parse_eprt(argument: &[u8]) -> Result<SocketAddr, EprtError> {
    let text = std::str::from_utf8(argument).map_err(|_| EprtError::Syntax)?.trim_ascii();
    let delimiter = text.chars().next().filter(|byte| byte.is_ascii_graphic() && !byte.is_ascii_digit());
    let mut parts = text.split(delimiter.ok_or(EprtError::Syntax)?);
    let mut next = || parts.next().ok_or(EprtError::Syntax);
    let (_, family, ip, port, end) = (next()?, next()?, next()?, next()?, next()?);
    if !end.is_empty() || parts.next().is_some() || port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EprtError::Syntax);
    }
    let ip: IpAddr = match family {
        "1" => IpAddr::V4(ip.parse().map_err(|_| EprtError::Syntax)?),
        "2" => IpAddr::V6(ip.parse().map_err(|_| EprtError::Syntax)?),
        other if !other.is_empty() && other.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(EprtError::Protocol);
        }
        _ => return Err(EprtError::Syntax),
    };
    let port: u16 = port.parse().map_err(|_| EprtError::Syntax)?;
    match port {
        0 => Err(EprtError::Syntax),
        _ => Ok(SocketAddr::new(ip, port)),
    }
}

/// The argument of EPRT for this address.
pub fn format_eprt(address: SocketAddr) -> String {
    let family = if address.is_ipv4() { 1 } else { 2 };
    format!("|{family}|{}|{}|", address.ip(), address.port())
}

/// Six comma-separated numbers up to 255, and the rest of the text.
fn six_numbers(text: &[u8]) -> Option<(SocketAddrV4, &[u8])> {
    let mut bytes = [0u8; 6];
    let mut rest = text;
    for (at, slot) in bytes.iter_mut().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix(b",")?;
        }
        let (value, after) = number(rest, 255)?;
        (*slot, rest) = (u8::try_from(value).ok()?, after);
    }
    let [a, b, c, d, high, low] = bytes;
    let port = u16::from_be_bytes([high, low]);
    (port != 0).then_some((SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port), rest))
}

/// A decimal number up to `max`, and the rest of the text.
fn number(text: &[u8], max: u32) -> Option<(u32, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    if digits.is_empty() || digits.len() > 5 {
        return None;
    }
    let value = digits.iter().fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    (value <= max).then_some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasv_in_every_wording() {
        let want: SocketAddrV4 = "192.0.2.7:1025".parse().unwrap();
        for text in [
            "Entering Passive Mode (192,0,2,7,4,1)",
            "Entering Passive Mode (192,0,2,7,4,1).",
            "=192,0,2,7,4,1",
            "Entering Passive Mode. 192,0,2,7,4,1",
            "Passive mode 2 ok (192,0,2,7,4,1)",
        ] {
            assert_eq!(parse_pasv(text.as_bytes()), Some(want), "{text}");
        }
        for text in
            ["", "no", "(1,2,3,4,5)", "(256,0,0,1,4,1)", "(127,0,0,1,256,1)", "(127,0,0,1,0,0)", "(1,2,3,4,,5,6)"]
        {
            assert_eq!(parse_pasv(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_pasv(format_pasv(want).as_bytes()), Some(want));
    }

    #[test]
    fn port_is_exact() {
        let want: SocketAddrV4 = "127.0.0.1:65535".parse().unwrap();
        assert_eq!(parse_port(format_port(want).as_bytes()), Some(want));
        for bad in ["127,0,0,1,4", "127,0,0,1,4,1,1", "x127,0,0,1,4,1", "127.0.0.1.4.1", "127,0,0,1,4,999999", ""] {
            assert_eq!(parse_port(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn epsv() {
        assert_eq!(parse_epsv(b"Entering Extended Passive Mode (|||6446|)"), Some(6446));
        assert_eq!(parse_epsv(b"ok (!!!1!)"), Some(1));
        assert_eq!(parse_epsv(format_epsv(65535).as_bytes()), Some(65535));
        for bad in ["", "(|||0|)", "(|||65536|)", "(||1|)", "(|||1)", "(|||x|)", "|||1|", "(1111111)", "(", "(|"] {
            assert_eq!(parse_epsv(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn eprt() {
        for address in ["192.0.2.1:6275", "[2001:db8::1]:1"] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(parse_eprt(format_eprt(address).as_bytes()), Ok(address));
        }
        assert_eq!(parse_eprt(b"!1!10.0.0.1!99!"), Ok("10.0.0.1:99".parse().unwrap()));
        assert_eq!(parse_eprt(b"|3|10.0.0.1|99|"), Err(EprtError::Protocol));
        for bad in [
            "",
            "|",
            "|1|10.0.0.1|99",
            "|1|10.0.0.1|99||",
            "|1|::1|99|",
            "|2|10.0.0.1|99|",
            "|1|10.0.0.1|0|",
            "|1|10.0.0.1|65536|",
            "|1|10.0.0.1|+9|",
            "||10.0.0.1|9|",
        ] {
            assert_eq!(parse_eprt(bad.as_bytes()), Err(EprtError::Syntax), "{bad}");
        }
    }
}
