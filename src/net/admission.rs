//! Admission of clients to the places of a server: how many in all and per address, how often an address may connect, and
//! which client loses its place to a new one when all are taken.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::net::rate::RateTable;

/// The most clients that lost their place and are still saying goodbye; while there are that many, no client is admitted.
const MAX_LEAVING: usize = 64;

/// An address with fewer places may take one from any other address.
const FEW_PLACES: usize = 4;

/// The limits on the places of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Concurrent clients.
    pub clients: usize,
    /// Concurrent clients per address; at most half of all places, so that no address ever has all.
    pub per_address: usize,
    /// New connections per minute and address; 0 means no limit.
    pub rate_per_address: u32,
    /// An address with all of its places taken gets a new one in exchange for its longest idle connection; else it is refused.
    pub replace_own: bool,
}

/// The reason why a client gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdmissionRefusal {
    /// All places are taken by clients at work.
    Full,
    /// Its address has its maximum of places.
    Address,
    /// Its address connected too often in the last minute.
    Rate,
}

/// The standing of a client: whether it may lose its place to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is silent, or talks without having earned a place for good.
    Idle,
    /// It is at work, or has logged in: it keeps its place.
    Busy,
}

/// The places of a server. One IPv6 client has a network of 64 bits, so such a network counts as one address.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    begun: Instant,
    table: Mutex<PlaceTable>,
    /// Notified when a client is gone.
    gone: Notify,
}

#[derive(Debug)]
struct PlaceTable {
    next: u64,
    held: HashMap<u64, Arc<PlaceState>>,
    by_address: HashMap<IpAddr, usize>,
    leaving: usize,
    rate: RateTable<IpAddr>,
}

#[derive(Debug)]
struct PlaceState {
    address: IpAddr,
    busy: AtomicBool,
    /// The time of its last progress, in microseconds from the server's start.
    since: AtomicU64,
    begun: Instant,
    lost: AtomicBool,
    told: Notify,
}

impl AdmissionLimits {
    /// Limits on all clients and on those of one address, without a rate limit.
    pub fn of(clients: usize, per_address: usize) -> AdmissionLimits {
        AdmissionLimits { clients, per_address, rate_per_address: 0, replace_own: false }
    }
}

impl PlaceState {
    fn new(address: IpAddr, begun: Instant, now: Instant) -> PlaceState {
        let (busy, lost) = (AtomicBool::new(false), AtomicBool::new(false));
        PlaceState { address, busy, since: AtomicU64::new(micros(begun, now)), begun, lost, told: Notify::new() }
    }
}

impl Admission {
    /// An admission with all places free.
    pub fn new(limits: AdmissionLimits) -> Arc<Admission> {
        let clients = limits.clients.max(1);
        let per_address = limits.per_address.min((clients / 2).max(1));
        let table = PlaceTable {
            next: 0,
            held: HashMap::new(),
            by_address: HashMap::new(),
            leaving: 0,
            rate: RateTable::per_minute(limits.rate_per_address),
        };
        let limits = AdmissionLimits { clients, per_address, ..limits };
        Arc::new(Admission { limits, begun: Instant::now(), table: Mutex::new(table), gone: Notify::new() })
    }

    /// Admits this client to a place until the guard is dropped. It may replace an idle client, which is notified: of the
    /// address with the most places (unless that has fewer than the new client's), the one without progress for longest.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn admit(self: &Arc<Admission>, address: IpAddr, now: Instant) -> Result<PlaceGuard, AdmissionRefusal> {
        let address = network(address);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if self.limits.rate_per_address > 0 {
            if !table.rate.wait(&address, now).is_zero() {
                return Err(AdmissionRefusal::Rate);
            }
            table.rate.take(&address, now);
        }
        let own = table.by_address.get(&address).copied().unwrap_or_default();
        if own >= self.limits.per_address {
            let victim = self.limits.replace_own.then(|| table.victim(|held, _| held.address == address));
            table.evict(victim.flatten().ok_or(AdmissionRefusal::Address)?);
        } else if table.held.len() >= self.limits.clients {
            let victim = table.victim(|_, places| places >= own || own < FEW_PLACES);
            table.evict(victim.ok_or(AdmissionRefusal::Full)?);
        }
        let state = Arc::new(PlaceState::new(address, self.begun, now));
        table.next += 1;
        let id = table.next;
        table.held.insert(id, state.clone());
        *table.by_address.entry(address).or_default() += 1;
        Ok(PlaceGuard { admission: self.clone(), id, place: ClientPlace(state) })
    }

    /// Returns once few enough clients are still saying goodbye.
    pub async fn room(&self) {
        loop {
            let gone = self.gone.notified();
            if self.table.lock().unwrap_or_else(PoisonError::into_inner).leaving < MAX_LEAVING {
                return;
            }
            gone.await;
        }
    }

    /// The free share of all places, from 0 to 1.
    pub fn free(&self) -> f64 {
        let taken = self.table.lock().unwrap_or_else(PoisonError::into_inner).held.len();
        (1.0 - taken as f64 / self.limits.clients as f64).max(0.0)
    }
}

impl PlaceTable {
    /// The client that loses its place, among the idle ones that `may` allows: the address with the most places first.
    fn victim(&self, may: impl Fn(&PlaceState, usize) -> bool) -> Option<u64> {
        let places = |held: &PlaceState| self.by_address.get(&held.address).copied().unwrap_or_default();
        let idle = |held: &PlaceState| !held.busy.load(Ordering::Relaxed);
        let idle = self.held.iter().filter(|(_, held)| idle(held) && may(held, places(held)));
        let key = |id: u64, held: &PlaceState| (usize::MAX - places(held), held.since.load(Ordering::Relaxed), id);
        idle.min_by_key(|(id, held)| key(**id, held)).map(|(id, _)| *id)
    }

    fn evict(&mut self, id: u64) {
        if let Some(state) = self.remove(id) {
            self.leaving += 1;
            state.lost.store(true, Ordering::Release);
            state.told.notify_waiters();
        }
    }

    fn remove(&mut self, id: u64) -> Option<Arc<PlaceState>> {
        let state = self.held.remove(&id)?;
        if let Some(count) = self.by_address.get_mut(&state.address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&state.address);
            }
        }
        Some(state)
    }
}

/// Holds a place until it is dropped.
#[derive(Debug)]
pub struct PlaceGuard {
    admission: Arc<Admission>,
    id: u64,
    place: ClientPlace,
}

impl PlaceGuard {
    /// The view of the place for the session of its client.
    pub fn place(&self) -> ClientPlace {
        self.place.clone()
    }
}

impl Drop for PlaceGuard {
    fn drop(&mut self) {
        let mut table = self.admission.table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.remove(self.id).is_none() {
            table.leaving -= 1;
        }
        drop(table);
        self.admission.gone.notify_waiters();
    }
}

/// The place of one connection.
#[derive(Debug, Clone)]
pub struct ClientPlace(Arc<PlaceState>);

impl ClientPlace {
    /// A place that no other client can take.
    pub fn unlimited() -> ClientPlace {
        let now = Instant::now();
        ClientPlace(Arc::new(PlaceState::new(Ipv6Addr::UNSPECIFIED.into(), now, now)))
    }

    /// Records the client's standing, and whether it made progress: a drip of bytes that completes nothing is no progress.
    pub fn stands(&self, standing: Standing, got_on: bool) {
        let changed = self.0.busy.swap(standing == Standing::Busy, Ordering::Relaxed) != (standing == Standing::Busy);
        if got_on || changed {
            self.0.since.store(micros(self.0.begun, Instant::now()), Ordering::Relaxed);
        }
    }

    /// Returns once another client has taken the place.
    pub async fn lost(&self) {
        let told = self.0.told.notified();
        if !self.0.lost.load(Ordering::Acquire) {
            told.await;
        }
    }
}

fn micros(begun: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(begun).as_micros()).unwrap_or(u64::MAX)
}

/// The unit that counts as one address: for IPv6 the network of 64 bits.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn is_lost(guard: &PlaceGuard) -> bool {
        guard.place.0.lost.load(Ordering::Acquire)
    }

    #[test]
    fn an_address_has_only_so_many() {
        let admission = Admission::new(AdmissionLimits::of(8, 2));
        let take = |text: &str| admission.admit(text.parse().unwrap(), Instant::now());
        let held: Vec<_> = ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::2:0:0:1"].map(take).into();
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(take("192.0.2.1").unwrap_err(), AdmissionRefusal::Address);
        assert_eq!(take("2001:db8::3").unwrap_err(), AdmissionRefusal::Address);
        assert!(take("192.0.2.2").is_ok() && take("2001:db8:0:1::1").is_ok());
        assert_eq!(admission.free(), 0.5);
        drop(held);
        assert_eq!((admission.free(), admission.table.lock().unwrap().by_address.len()), (1.0, 0));
        // Never all of them, whatever the setting.
        for (clients, most) in [(0, 1), (1, 1), (2, 1), (3, 1), (9, 4)] {
            let admission = Admission::new(AdmissionLimits::of(clients, 100));
            let held: Vec<_> =
                (0..20).map_while(|_| admission.admit([192, 0, 2, 1].into(), Instant::now()).ok()).collect();
            assert_eq!(held.len(), most, "{clients}");
        }
    }

    #[test]
    fn an_address_comes_only_so_often() {
        let admission = Admission::new(AdmissionLimits { rate_per_address: 10, ..AdmissionLimits::of(1000, 1000) });
        let begin = Instant::now();
        let come = |last: u8, second| admission.admit([192, 0, 2, last].into(), begin + Duration::from_secs(second));
        let taken = (0..120).filter(|second| come(1, *second).is_ok()).count();
        assert_eq!(taken, 5 + 9, "half of a minute's at once, then one each 12 seconds");
        assert_eq!(come(1, 119).unwrap_err(), AdmissionRefusal::Rate);
        assert!(come(2, 119).is_ok());
    }

    #[test]
    fn dns_exchanges_the_oldest_idle_connection_of_an_address() {
        let admission = Admission::new(AdmissionLimits { replace_own: true, ..AdmissionLimits::of(100, 2) });
        let come = |last: u8| admission.admit([192, 0, 2, last].into(), Instant::now());
        let (first, second, other) = (come(1).unwrap(), come(1).unwrap(), come(2).unwrap());
        first.place().stands(Standing::Busy, true);
        let third = come(1).unwrap();
        assert!(is_lost(&second) && !is_lost(&first) && !is_lost(&other));
        third.place().stands(Standing::Busy, true);
        assert_eq!(come(1).unwrap_err(), AdmissionRefusal::Address);
        drop(second);
        assert_eq!(admission.table.lock().unwrap().leaving, 0);
    }

    #[tokio::test]
    async fn whose_place_goes() {
        let admission = Admission::new(AdmissionLimits::of(4, 4));
        let come = |last: u8| admission.admit([192, 0, 2, last].into(), Instant::now());
        let (heavy, heavier) = (come(1).unwrap(), come(1).unwrap());
        let (light, silent) = (come(2).unwrap(), come(3).unwrap());
        heavy.place().stands(Standing::Idle, true);
        light.place().stands(Standing::Idle, true);
        silent.place().stands(Standing::Idle, false);
        // First one of the address with several places, then one that never made progress, then one that did; never a busy one.
        let mut newest = Vec::new();
        for (at, victim) in [&heavier, &silent].into_iter().enumerate() {
            newest.push(come(10 + at as u8).unwrap());
            newest[at].place().stands(Standing::Busy, true);
            assert!(is_lost(victim), "{at}");
            victim.place().lost().await;
        }
        assert!(!is_lost(&light) && !is_lost(&heavy));
        heavy.place().stands(Standing::Busy, false);
        newest.push(come(20).unwrap());
        assert!(is_lost(&light));
        newest[2].place().stands(Standing::Busy, true);
        assert_eq!(come(21).unwrap_err(), AdmissionRefusal::Full);
    }

    proptest! {
        #[test]
        fn an_honest_client_gets_in_whatever_others_do(steps in proptest::collection::vec((0u8..30, 0u8..4), 0..300)) {
            let admission = Admission::new(AdmissionLimits::of(10, 8));
            let now = Instant::now();
            let mut held: Vec<PlaceGuard> = Vec::new();
            for (last, act) in steps {
                match act {
                    0 if !held.is_empty() => drop(held.remove(usize::from(last) % held.len())),
                    1 if !held.is_empty() => held[usize::from(last) % held.len()].place().stands(Standing::Idle, true),
                    _ => held.extend(admission.admit([127, 0, 0, last].into(), now)),
                }
                held.retain(|guard| !is_lost(guard));
                let table = admission.table.lock().unwrap();
                prop_assert!(table.held.len() <= 10 && table.leaving == 0);
                prop_assert!(table.by_address.values().all(|count| *count <= 5));
                prop_assert_eq!(table.by_address.values().sum::<usize>(), table.held.len());
            }
            let honest = admission.admit([192, 0, 2, 1].into(), now);
            prop_assert!(honest.is_ok());
            honest.unwrap().place().stands(Standing::Busy, true);
        }
    }
}
