//! Who gets one of a server's places: how many there are in all and for one address, how fast an address may come, and
//! whose place goes to a new client when all are taken.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::net::rate::RateTable;

/// Clients whose place has gone to another and that are still saying goodbye; nobody is let in while there are more.
const MAX_LEAVING: usize = 64;

/// An address with fewer places gets another one, whose ever it is.
const FEW_PLACES: usize = 4;

/// What the places of a server are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Clients at once.
    pub clients: usize,
    /// Clients at once from one address; half of all places at most, so that no address ever has all.
    pub per_address: usize,
    /// New connections a minute from one address; 0 is no limit.
    pub rate_per_address: u32,
    /// An address that has all of its places gets a new one for its longest idle connection; else it is refused.
    pub replace_own: bool,
}

/// Why a client gets no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdmissionRefusal {
    /// All places are taken by clients that are at work.
    Full,
    /// Its address has as many as it may have.
    Address,
    /// Its address came too often in the last minute.
    Rate,
}

/// Whether a client's place may go to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is silent, or talks, and has shown no right to more.
    Idle,
    /// It is at work, or has logged in: its place is its own.
    Busy,
}

/// The places of a server. One IPv6 client has a network of 64 bits, so that is what counts for an address.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    begun: Instant,
    table: Mutex<PlaceTable>,
    /// Told when a client is gone.
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
    /// When it last got on, in microseconds from the server's beginning.
    since: AtomicU64,
    begun: Instant,
    lost: AtomicBool,
    told: Notify,
}

impl AdmissionLimits {
    /// So many clients, so many of one address, however fast they come.
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
    /// Places that are free.
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

    /// A place for this client until the guard is dropped. It may be the place of another, who then hears of it: of the
    /// address with the most places, if it has no fewer than the new client's own, the one that got on least lately.
    ///
    /// # Errors
    /// Why there is none.
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

    /// Returns when not too many are still saying goodbye.
    pub async fn room(&self) {
        loop {
            let gone = self.gone.notified();
            if self.table.lock().unwrap_or_else(PoisonError::into_inner).leaving < MAX_LEAVING {
                return;
            }
            gone.await;
        }
    }

    /// The part of all places that is free, from 0 to 1.
    pub fn free(&self) -> f64 {
        let taken = self.table.lock().unwrap_or_else(PoisonError::into_inner).held.len();
        (1.0 - taken as f64 / self.limits.clients as f64).max(0.0)
    }
}

impl PlaceTable {
    /// Whose place goes, among those that may be asked: the address with the most places first.
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

/// Keeps a place for as long as it lives.
#[derive(Debug)]
pub struct PlaceGuard {
    admission: Arc<Admission>,
    id: u64,
    place: ClientPlace,
}

impl PlaceGuard {
    /// What its client's server sees of it.
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
    /// A place that nobody else wants.
    pub fn unlimited() -> ClientPlace {
        let now = Instant::now();
        ClientPlace(Arc::new(PlaceState::new(Ipv6Addr::UNSPECIFIED.into(), now, now)))
    }

    /// Notes how the client stands from now on, and whether it got on: a drip of bytes that completes nothing does not.
    pub fn stands(&self, standing: Standing, got_on: bool) {
        let changed = self.0.busy.swap(standing == Standing::Busy, Ordering::Relaxed) != (standing == Standing::Busy);
        if got_on || changed {
            self.0.since.store(micros(self.0.begun, Instant::now()), Ordering::Relaxed);
        }
    }

    /// Returns when the place has gone to another client.
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

/// What counts as one address: of IPv6 the network of 64 bits.
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
        // Never all of them, whatever was asked for.
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
        // One of the address with more than one place, then who never got on, then who did; who works never.
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
