//! Addresses as people write them, with the zone that link-local ones need (RFC 4007, section 11): `fe80::1%eth0`, in URLs
//! `[fe80::1%25eth0]` (RFC 6874).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An address, and its zone as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScopedAddress<'a> {
    /// The address alone.
    pub ip: IpAddr,
    /// The name or the number of an interface.
    pub zone: Option<&'a str>,
}

impl<'a> ScopedAddress<'a> {
    /// An address with or without brackets and zone; none: it is something else.
    pub fn parse(text: &'a str) -> Option<ScopedAddress<'a>> {
        let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match inside.unwrap_or(text).split_once('%') {
            Some((ip, zone)) => {
                // As the kernel has it: no slash, no blank, no colon, fewer than 16 bytes.
                let odd = |c: char| matches!(c, '/' | ':' | '%') || !c.is_ascii_graphic();
                let ip = ip.parse::<Ipv6Addr>().ok()?.into();
                (matches!(zone.len(), 1..16) && !zone.contains(odd)).then_some(ScopedAddress { ip, zone: Some(zone) })
            }
            None => {
                let ip = inside.unwrap_or(text).parse::<IpAddr>().ok()?;
                (inside.is_none() || ip.is_ipv6()).then_some(ScopedAddress { ip, zone: None })
            }
        }
    }
}

/// The host of a URL with its zone, if it has one, as it is written elsewhere: `fe80::1%25eth0` means `fe80::1%eth0`.
pub fn from_url(host: &str) -> Option<String> {
    let (ip, zone) = host.split_once('%')?;
    let plain = format!("{ip}%{}", zone.strip_prefix("25").filter(|rest| !rest.is_empty()).unwrap_or(zone));
    ScopedAddress::parse(&plain).is_some().then_some(plain)
}

/// The host without a zone: no certificate and no request holds one, since it means something on this host alone.
pub fn without_zone(host: &str) -> &str {
    match host.split_once('%') {
        Some((ip, _)) if ScopedAddress::parse(host).is_some() => ip.trim_start_matches('['),
        _ => host,
    }
}

/// The address without its port, with its zone as a number.
pub fn host_of(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        other => other.ip().to_string(),
    }
}

/// An IPv4 address that came through a socket for both families (`::ffff:192.0.2.1`, RFC 4291, section 2.5.5.2) as what it is.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// The same address and zone with another port.
pub fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// An address that a peer told without a zone, in the zone of our own address towards that peer.
pub fn on_the_link(mut told: SocketAddr, near: SocketAddr) -> SocketAddr {
    if let (SocketAddr::V6(told), SocketAddr::V6(near)) = (&mut told, near) {
        told.set_scope_id(near.scope_id());
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_what_is_none() {
        for (text, ip, zone) in [
            ("192.0.2.1", "192.0.2.1", None),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("fe80::1%eth0", "fe80::1", Some("eth0")),
            ("[fe80::1%eth0.100]", "fe80::1", Some("eth0.100")),
            ("fe80::1%2", "fe80::1", Some("2")),
        ] {
            assert_eq!(ScopedAddress::parse(text), Some(ScopedAddress { ip: ip.parse().unwrap(), zone }), "{text}");
        }
        for none in [
            "",
            "a.test",
            "[192.0.2.1]",
            "192.0.2.1%eth0",
            "fe80::1%",
            "fe80::1%a/b",
            "fe80::1%a b",
            "fe80::1%1:53",
            "[fe80::1%x",
            "fe80::1%sixteen_is_a_lot",
        ] {
            assert_eq!(ScopedAddress::parse(none), None, "{none}");
        }
    }

    #[test]
    fn zones_in_urls_and_out_of_requests() {
        assert_eq!(from_url("fe80::1%25eth0").as_deref(), Some("fe80::1%eth0"));
        assert_eq!(from_url("fe80::1%eth0").as_deref(), Some("fe80::1%eth0"));
        assert_eq!(from_url("fe80::1%25").as_deref(), Some("fe80::1%25"));
        assert_eq!((from_url("a%20b"), from_url("fe80::1")), (None, None));
        assert_eq!((without_zone("fe80::1%eth0"), without_zone("a%b")), ("fe80::1", "a%b"));
        let address: SocketAddr = "[fe80::1%7]:53".parse().unwrap();
        assert_eq!((host_of(address), with_port(address, 9).to_string()), ("fe80::1%7".into(), "[fe80::1%7]:9".into()));
        let told: SocketAddr = "[fe80::2]:20".parse().unwrap();
        assert_eq!(on_the_link(told, address).to_string(), "[fe80::2%7]:20");
        assert_eq!(host_of("192.0.2.1:53".parse().unwrap()), "192.0.2.1");
        for (address, expected) in [
            ("[::ffff:192.0.2.1]:53", "192.0.2.1:53"),
            ("192.0.2.1:53", "192.0.2.1:53"),
            ("[fe80::1%7]:53", "[fe80::1%7]:53"),
            ("[::192.0.2.1]:53", "[::c000:201]:53"),
        ] {
            assert_eq!(canonical(address.parse().unwrap()).to_string(), expected);
        }
    }
}
