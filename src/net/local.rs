//! The networks of this host.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::cidr::Network;

/// Interfaces come and go: for an address in none of the known networks they are read again, at most once per this interval.
const REFRESH: Duration = Duration::from_secs(10);

/// The current networks of this host's interfaces, loopback included.
#[derive(Debug, Default)]
pub struct LocalNetworks(Mutex<Option<(Instant, Vec<Network>)>>);

impl LocalNetworks {
    /// True if the address belongs to this host or to one of its networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        if address.to_canonical().is_loopback() {
            return true;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_in = |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        match known.as_ref() {
            Some((at, networks)) if is_in(networks) || at.elapsed() < REFRESH => is_in(networks),
            _ => is_in(&known.insert((Instant::now(), interfaces())).1),
        }
    }
}

/// Empty if the system does not list them: then only the host itself is local.
fn interfaces() -> Vec<Network> {
    let listed = nix::ifaddrs::getifaddrs().into_iter().flatten();
    listed.filter_map(|interface| Network::masked(ip(interface.address?)?, ip(interface.netmask?)?)).collect()
}

fn ip(address: nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_local_and_the_world_is_not() {
        let local = LocalNetworks::default();
        for (address, expected) in
            [("127.0.0.1", true), ("127.9.9.9", true), ("::1", true), ("::ffff:127.0.0.1", true), ("240.0.0.1", false)]
        {
            assert_eq!(local.contains(address.parse().unwrap()), expected, "{address}");
        }
        assert!(interfaces().contains(&"127.0.0.1/8".parse().unwrap()), "{:?}", interfaces());
    }
}
