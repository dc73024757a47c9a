//! The order in which to try a peer's addresses: RFC 6724, section 6, as far as a program can apply it, with alternating
//! families (RFC 8305, section 4).

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

/// The default policy table (RFC 6724, section 2.1): prefix, its length, precedence, label. Longer prefixes come first.
const POLICY: [(Ipv6Addr, u32, u8, u8); 9] = [
    (Ipv6Addr::LOCALHOST, 128, 50, 0),
    (Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96, 35, 4),
    (Ipv6Addr::UNSPECIFIED, 96, 1, 3),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32, 5, 5),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, 30, 2),
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16, 1, 12),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, 1, 11),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, 3, 13),
    (Ipv6Addr::UNSPECIFIED, 0, 40, 1),
];
/// The bits of an IPv6 address that identify the network.
const NETWORK_BITS: u32 = 64;

/// Sorts the addresses into the order of attempts; equal ranks keep their order. `bind` is the local address to connect from.
pub fn by_preference(mut addresses: Vec<SocketAddr>, bind: Option<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.len() > 1 {
        addresses.sort_by_cached_key(|to| rank(to.ip(), bind.map(|bind| bind.ip()).or_else(|| source(*to))));
    }
    interleave(addresses)
}

/// The source address that the system would use; `None` if there is no route.
fn source(to: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    // Nothing is sent.
    socket.connect(to).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Rules 1, 2, 5, 6, 8 and 9 in this order; less is better.
fn rank(to: IpAddr, from: Option<IpAddr>) -> impl Ord {
    let Some(from) = from else { return (true, false, false, Reverse(0), 0, Reverse(0)) };
    let common = match (to, from) {
        (IpAddr::V6(to), IpAddr::V6(from)) => (to.to_bits() ^ from.to_bits()).leading_zeros().min(NETWORK_BITS),
        _ => 0,
    };
    let ((precedence, label), (_, own_label)) = (policy(to), policy(from));
    (false, scope(to) != scope(from), label != own_label, Reverse(precedence), scope(to), Reverse(common))
}

/// Precedence and label.
fn policy(address: IpAddr) -> (u8, u8) {
    let bits = bits(address);
    let row = POLICY.iter().find(|(prefix, length, ..)| (prefix.to_bits() ^ bits).leading_zeros() >= *length);
    row.map_or((0, 0), |(_, _, precedence, label)| (*precedence, *label))
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// Link-local, site-local or global (sections 3.1 and 3.2).
fn scope(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_link_local() => 2,
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unicast_link_local() => 2,
        IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfec0 => 5,
        _ => 14,
    }
}

/// Alternates the families, keeping the order within each and the family of the first.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (a, b): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses.into_iter().partition(|ip| ip.is_ipv4() == first_is_v4);
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    let mut mixed = Vec::new();
    loop {
        let pair = [a.next(), b.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 6724, section 10.2, as far as the implemented rules decide them.
    #[test]
    fn ranks() {
        for (better, from, worse, from_other) in [
            ("2001:db8:1::1", Some("2001:db8:1::2"), "198.51.100.121", Some("169.254.13.78")),
            ("198.51.100.121", Some("198.51.100.117"), "2001:db8:1::1", Some("fe80::1")),
            ("2001:db8:1::1", Some("2001:db8:1::2"), "10.1.2.3", Some("10.1.2.4")),
            ("fe80::1", Some("fe80::2"), "2001:db8:1::1", Some("2001:db8:1::2")),
            ("2001:db8:1::1", Some("2001:db8:1::2"), "2002:c633:6401::1", Some("2002:c633:6401::2")),
            ("198.51.100.1", Some("198.51.100.2"), "fd00::1", Some("fd00::2")),
            ("2001:db8:1::1", Some("2001:db8:1::2"), "2001:db8:3ffe::1", Some("2001:db8:3f44::2")),
            ("192.0.2.1", Some("192.0.2.2"), "2001:db8:1::1", None),
            ("::1", Some("::1"), "127.0.0.1", Some("127.0.0.1")),
        ] {
            let ranked = |to: &str, from: Option<&str>| rank(to.parse().unwrap(), from.map(|it| it.parse().unwrap()));
            assert!(ranked(better, from) < ranked(worse, from_other), "{better} before {worse}");
        }
    }

    #[test]
    fn families_take_turns() {
        let parse = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 9)).collect()
        };
        for (addresses, expected) in [
            (&["::1", "127.0.0.1", "127.0.0.2"][..], &["::1", "127.0.0.1", "127.0.0.2"][..]),
            (&["127.0.0.2", "127.0.0.1", "::1"], &["::1", "127.0.0.2", "127.0.0.1"]),
            (&["127.0.0.2"], &["127.0.0.2"]),
            (&[], &[]),
        ] {
            assert_eq!(by_preference(parse(addresses), None), parse(expected));
        }
        assert_eq!(interleave(parse(&["::1", "::2", "127.0.0.1"])), parse(&["::1", "127.0.0.1", "::2"]));
    }
}
