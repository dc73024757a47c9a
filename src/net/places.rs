//! The places of a server's clients: how many are taken, and how many by one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections by the address of their client. One IPv6 client has a network of 64 bits, so that is what counts.
#[derive(Debug)]
pub struct ClientPlaces {
    per_address: usize,
    all: usize,
    taken: Mutex<TakenPlaces>,
}

#[derive(Debug, Default)]
struct TakenPlaces {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl ClientPlaces {
    /// So many places for one address, and so many that the server has; the latter are only counted here.
    pub fn new(per_address: usize, all: usize) -> Arc<ClientPlaces> {
        Arc::new(ClientPlaces { per_address, all, taken: Mutex::default() })
    }

    /// A place for this client until it is dropped; none if its address has as many as it may have.
    pub fn take(self: &Arc<ClientPlaces>, address: IpAddr) -> Option<ClientPlace> {
        let address = network(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.by_address.entry(address).or_default();
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        taken.all += 1;
        Some(ClientPlace { places: self.clone(), address })
    }

    /// The part of all places that is free, from 0 to 1.
    pub fn free(&self) -> f64 {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).all;
        (1.0 - taken as f64 / self.all.max(1) as f64).max(0.0)
    }
}

/// The place of one connection.
#[derive(Debug)]
pub struct ClientPlace {
    places: Arc<ClientPlaces>,
    address: IpAddr,
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_only_so_many() {
        let places = ClientPlaces::new(2, 4);
        let take = |text: &str| places.take(text.parse().unwrap());
        let held: Vec<_> = ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::2:0:0:1"].map(take).into();
        assert!(held.iter().all(Option::is_some));
        assert!(take("192.0.2.1").is_none() && take("2001:db8::3").is_none());
        assert!(take("192.0.2.2").is_some() && take("2001:db8:0:1::1").is_some());
        assert_eq!(places.free(), 0.0);
        drop(held);
        assert_eq!((places.free(), places.taken.lock().unwrap().by_address.len()), (1.0, 0));
    }
}
