//! Textual addresses with the zone that link-local ones need (RFC 4007, section 11): `fe80::1%eth0`, in URLs
//! `[fe80::1%25eth0]` (RFC 6874).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An address and its zone as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScopedAddress<'a> {
    /// The address alone.
    pub ip: IpAddr,
    /// The name or the number of an interface.
    pub zone: Option<&'a str>,
}

impl<'a> ScopedAddress<'a> {
    /// Parses an address with or without brackets and zone; `None` for any other text.
    pub fn parse(text: &'a str) -> Option<ScopedAddress<'a>> {
        let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        match inside.unwrap_or(text).split_once('%') {
            Some((ip, zone)) => {
                // As in the kernel: no slash, no blank, no colon, fewer than 16 bytes.
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

/// True if both texts name the same host: by the same name in any case, or by the same address in any spelling.
pub fn same_host(one: &str, other: &str) -> bool {
    fn address(text: &str) -> Option<(IpAddr, Option<&str>)> {
        ScopedAddress::parse(text).map(|found| (found.ip.to_canonical(), found.zone))
    }
    one.eq_ignore_ascii_case(other) || address(one).is_some_and(|found| address(other) == Some(found))
}

/// The host of a URL in the form used elsewhere, if it has a zone: `fe80::1%25eth0` becomes `fe80::1%eth0`.
pub fn from_url(host: &str) -> Option<String> {
    let (ip, zone) = host.split_once('%')?;
    let plain = format!("{ip}%{}", zone.strip_prefix("25").filter(|rest| !rest.is_empty()).unwrap_or(zone));
    ScopedAddress::parse(&plain).is_some().then_some(plain)
}

/// The host without its zone: a zone has a meaning on this host only, so no certificate and no request holds one.
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

/// Turns an IPv4-mapped address from a dual-stack socket (`::ffff:192.0.2.1`, RFC 4291, section 2.5.5.2) into the IPv4 address.
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

/// An address received from a peer without a zone, with the zone of our own address towards that peer.
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
    fn hosts_that_are_the_same() {
        for (one, other, same) in [
            ("A.test", "a.test", true),
            ("::1", "[0:0:0:0:0:0:0:1]", true),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("FE80::1%eth0", "fe80:0::1%eth0", true),
            ("fe80::1%eth0", "fe80::1%eth1", false),
            ("fe80::1%eth0", "fe80::1", false),
            ("a.test", "b.test", false),
            ("", "::", false),
        ] {
            assert_eq!((same_host(one, other), same_host(other, one)), (same, same), "{one} {other}");
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
