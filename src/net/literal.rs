//! Address literals with the zones of this host, and the names that are equivalent to addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use nix::net::if_::{if_indextoname, if_nametoindex};

use crate::fault::{Fault, Kind};
use crate::scope::{self, ScopedAddress};

/// The addresses of `localhost` and the names below it, regardless of files and servers (RFC 6761, section 6.3); `None` for
/// any other name.
pub fn loopback(name: &str) -> Option<[IpAddr; 2]> {
    let last = name.strip_suffix('.').unwrap_or(name).rsplit('.').next().unwrap_or_default();
    let own = || [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
    last.eq_ignore_ascii_case("localhost").then(own)
}

/// True if the host is this host, by a loopback address or by a name of [`loopback`].
pub fn is_loopback(host: &str) -> bool {
    loopback(host).is_some() || ScopedAddress::parse(host).is_some_and(|found| found.ip.to_canonical().is_loopback())
}

/// Parses an address, with brackets, a zone, both or neither, as one with port 0; `None` for other text. A zone is the name
/// or the number of an interface, else possibly one in the form of URLs (`%25eth0`, RFC 6874). An IPv4-mapped address
/// (`::ffff:192.0.2.1`) becomes the IPv4 address.
///
/// # Errors
/// [`Kind::Unreachable`]: this host has no such interface.
pub fn address(text: &str) -> Result<Option<SocketAddr>, Fault> {
    let Some(ScopedAddress { ip, zone }) = ScopedAddress::parse(text) else { return Ok(None) };
    let (IpAddr::V6(ip), Some(zone)) = (ip, zone) else { return Ok(Some(SocketAddr::new(ip.to_canonical(), 0))) };
    let index = interface(zone).or_else(|| interface(zone.strip_prefix("25")?));
    let index = index.ok_or_else(|| Fault::new(Kind::Unreachable, format!("{text}: no interface {zone}")))?;
    Ok(Some(SocketAddrV6::new(ip, 0, 0, index).into()))
}

/// The number of an interface.
fn interface(zone: &str) -> Option<u32> {
    // (For a missing interface nix 0.31 returns an empty name.)
    let known = |index: &u32| if_indextoname(*index).is_ok_and(|name| !name.is_empty());
    let number = || zone.parse().ok().filter(known);
    if_nametoindex(zone).ok().or_else(number)
}

/// Parses an address with a port after a colon.
///
/// # Errors
/// As [`address`].
pub fn with_port(text: &str) -> Result<Option<SocketAddr>, Fault> {
    let Some((host, Ok(port))) = text.rsplit_once(':').map(|(host, port)| (host, port.parse())) else {
        return Ok(None);
    };
    // Without brackets the last group of an IPv6 address would be the port.
    if host.contains(':') && !host.starts_with('[') {
        return Ok(None);
    }
    Ok(address(host)?.map(|address| scope::with_port(address, port)))
}

/// Parses the local address of an option.
///
/// # Errors
/// The reason why the text is not an address.
pub fn local(text: &str) -> Result<SocketAddr, String> {
    let found = address(text).map_err(|fault| fault.detail)?;
    found.ok_or_else(|| "not an IP address".to_owned())
}

/// Parses a URL; returns it and its host without brackets, percent-decoded, with the zone that [`url::Url`] does not accept.
///
/// # Errors
/// The reason why the text is not a URL.
pub fn url(text: &str) -> Result<(url::Url, String), String> {
    let cut = |text: &str| {
        let (before, rest) = text.split_once('[')?;
        let (host, after) = rest.split_once(']')?;
        let scoped = scope::from_url(host)?;
        Some((format!("{before}[{}]{after}", scope::without_zone(&scoped)), scoped))
    };
    let (text, scoped) = cut(text).map_or((text.to_owned(), None), |(text, scoped)| (text, Some(scoped)));
    let url = url::Url::parse(&text).map_err(|error| error.to_string())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("no host")?;
    let host = percent_encoding::percent_decode_str(host).decode_utf8().map_err(|_| "not UTF-8")?;
    if host.contains(char::is_control) {
        return Err("a control character".to_owned());
    }
    let host = scoped.unwrap_or_else(|| host.trim_start_matches('[').trim_end_matches(']').to_owned());
    Ok((url, host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_interfaces_of_this_host() {
        let shown = |text: &str| address(text).unwrap().map(|address| address.to_string());
        assert_eq!(shown("fe80::1%lo").as_deref(), Some("[fe80::1%1]:0"));
        assert_eq!(shown("[fe80::1%1]").as_deref(), Some("[fe80::1%1]:0"));
        assert_eq!(shown("192.0.2.1").as_deref(), Some("192.0.2.1:0"));
        assert_eq!(shown("a.test"), None);
        for mapped in ["::ffff:192.0.2.1", "[0:0:0:0:0:ffff:c000:201]"] {
            assert_eq!(shown(mapped).as_deref(), Some("192.0.2.1:0"), "{mapped}");
        }
        assert_eq!(shown("[fe80::1%25lo]").as_deref(), Some("[fe80::1%1]:0"));
        for nowhere in ["fe80::1%nosuch0", "fe80::1%25", "fe80::1%2525lo", "fe80::1%4000000000", "fe80::1%25nosuch0"] {
            assert_eq!(address(nowhere).unwrap_err().kind, Kind::Unreachable, "{nowhere}");
        }
        let port = |text: &str| with_port(text).unwrap().map(|address| address.to_string());
        assert_eq!(port("[fe80::1%lo]:53").as_deref(), Some("[fe80::1%1]:53"));
        assert_eq!(port("192.0.2.1:53").as_deref(), Some("192.0.2.1:53"));
        assert_eq!((port("::1:53"), port("a.test:53"), port("[::1]")), (None, None, None));
    }

    #[test]
    fn names_of_this_host() {
        for (name, own) in [
            ("localhost", true),
            ("LocalHost.", true),
            ("a.b.localhost", true),
            ("localhost.test", false),
            ("notlocalhost", false),
            ("", false),
            ("localhost..", false),
        ] {
            assert_eq!((loopback(name).is_some(), is_loopback(name)), (own, own), "{name}");
        }
        for (host, own) in
            [("127.9.9.9", true), ("::1", true), ("[::1]", true), ("::ffff:127.0.0.1", true), ("192.0.2.1", false)]
        {
            assert_eq!(is_loopback(host), own, "{host}");
        }
    }

    #[test]
    fn urls_keep_the_zone_of_their_host() {
        for (text, host, whole) in [
            ("smtp://[fe80::1%25lo]:25", "fe80::1%lo", "smtp://[fe80::1]:25"),
            ("smtp://u@[fe80::1%lo]", "fe80::1%lo", "smtp://u@[fe80::1]"),
            ("smtp://[::1]:25", "::1", "smtp://[::1]:25"),
            ("smtp://b%C3%BCcher.test", "bücher.test", "smtp://b%C3%BCcher.test"),
        ] {
            let (found, found_host) = url(text).unwrap();
            assert_eq!((found.as_str(), found_host.as_str()), (whole, host), "{text}");
        }
        assert!(url("smtp://[fe80::1%25a b]").is_err() && url("smtp://a%0Ab").is_err() && url("lmtp:/x").is_err());
    }
}
