//! Networks in prefix notation (RFC 4632, RFC 4291), as in access lists.

use std::net::IpAddr;
use std::str::FromStr;

/// `192.0.2.0/24`, `2001:db8::/32` or one address. IPv4-mapped addresses of an IPv6 socket (`::ffff:192.0.2.1`) count as
/// IPv4 addresses, both in the network and in the tested address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// The network of an interface from its address and mask; `None` for a mask that is not a prefix, or that covers all addresses.
    pub(super) fn masked(address: IpAddr, mask: IpAddr) -> Option<Network> {
        let (ones, zeros, bits) = match mask {
            IpAddr::V4(mask) => (mask.to_bits().leading_ones(), mask.to_bits().trailing_zeros(), 32),
            IpAddr::V6(mask) => (mask.to_bits().leading_ones(), mask.to_bits().trailing_zeros(), 128),
        };
        let is_prefix = ones + zeros == bits && ones > 0 && address.is_ipv4() == mask.is_ipv4();
        is_prefix.then_some(Network { address, prefix: ones })
    }

    /// True if the network contains the address.
    pub fn contains(self, address: IpAddr) -> bool {
        let common = match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(other)) => (ours.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(ours), IpAddr::V6(other)) => (ours.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => return false,
        };
        common >= self.prefix
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let written: IpAddr = bare.parse().map_err(|_| format!("{address:?} is not an IP address"))?;
        let most = if written.is_ipv4() { 32 } else { 128 };
        let digits = |prefix: &str| prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix: u32 = match prefix {
            None => most,
            Some(prefix) => (prefix.parse().ok())
                .filter(|bits| *bits <= most && digits(prefix))
                .ok_or_else(|| format!("the prefix length of {text} is not a number from 0 to {most}"))?,
        };
        let address = written.to_canonical();
        // The 96 bits before a mapped address count in its prefix length.
        let prefix = if address.is_ipv4() && written.is_ipv6() {
            prefix
                .checked_sub(96)
                .ok_or_else(|| format!("{text} holds more than the IPv4 addresses (::ffff:0:0/96)"))?
        } else {
            prefix
        };
        Ok(Network { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let table = [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.0/8", "127.9.9.9", true),
            ("127.9.9.9/8", "127.0.0.1", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.128/25", "192.0.2.127", false),
            ("192.0.2.128/32", "192.0.2.128", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "8.8.8.8", false),
            ("::/0", "::ffff:8.8.8.8", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("2001:db8::1/128", "2001:db8::1", true),
            ("[::1]", "::1", true),
            ("[2001:db8::]/32", "2001:db8::1", true),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("::ffff:192.0.2.0/120", "192.0.2.7", true),
            ("::ffff:192.0.2.0/120", "::ffff:192.0.2.7", true),
            ("::ffff:192.0.2.0/120", "192.0.3.7", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("::ffff:0:0/96", "203.0.113.1", true),
            ("::ffff:0:0/96", "::1", false),
        ];
        for (network, address, expected) in table {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.contains(address.parse().unwrap()), expected, "{network} {address}");
        }
        for bad in [
            "",
            "x",
            "x/8",
            "1.2.3.4/33",
            "::1/129",
            "::/129",
            "1.2.3.4/",
            "1.2.3.4/-1",
            "1.2.3.4/+8",
            "1.2.3.4/8/8",
            "1.2.3",
            "[::1",
            "::1]",
            "[[::1]]",
            "1.2.3.4 /8",
            " 1.2.3.4",
            "::ffff:192.0.2.0/95",
            "::ffff:0:0/24",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
