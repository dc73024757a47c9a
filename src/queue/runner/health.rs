//! Which servers did not answer lately: nobody waits for the same dead host twice, and a server of which nothing is known
//! yet is asked about two messages at a time, however many domains it serves.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::fault::Fault;
use crate::relay::lane::Health;
use crate::relay::route::Place;

/// How long a server that did not answer is left alone.
pub const DOWN_FOR: Duration = Duration::from_secs(60);
/// No more servers than this are remembered.
const MAX_REMEMBERED: usize = 10_000;
/// Messages under way at the same time at a server that has not answered to any yet: if it hangs, the others' room is not
/// used up by waiting for it.
const PROBES: usize = 2;

/// The memory of a run.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    down: HashMap<Place, (Instant, Fault)>,
    /// Who answered to the last message.
    alive: HashSet<Place>,
    probes: HashMap<Place, Arc<Semaphore>>,
}

impl Known {
    /// True when nobody need find out whether this server answers.
    fn decided(&self, place: &Place) -> bool {
        self.alive.contains(place) || self.down.get(place).is_some_and(|(until, _)| *until > Instant::now())
    }
}

impl Memory {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn to try a server of which nothing is known. To be kept until it has answered.
    pub async fn probe(&self, place: &Place) -> Option<OwnedSemaphorePermit> {
        loop {
            let turn = {
                let mut known = self.known();
                if known.decided(place) {
                    return None;
                }
                if known.probes.len() >= MAX_REMEMBERED {
                    known.probes.retain(|_, turn| turn.available_permits() < PROBES);
                }
                Arc::clone(known.probes.entry(place.clone()).or_insert_with(|| Arc::new(Semaphore::new(PROBES))))
            };
            let permit = turn.acquire_owned().await.ok()?;
            // While we waited somebody may have found out.
            if !self.known().decided(place) {
                return Some(permit);
            }
        }
    }
}

impl Health for Memory {
    fn down(&self, place: &Place) -> Option<Fault> {
        let mut known = self.known();
        match known.down.get(place) {
            Some((until, fault)) if *until > Instant::now() => Some(fault.clone()),
            Some(_) => {
                known.down.remove(place);
                None
            }
            None => None,
        }
    }

    fn note(&self, place: &Place, failed: Option<&Fault>) {
        let mut known = self.known();
        match failed {
            // Who answers, if only to refuse, is alive: it may just have enough connections.
            Some(fault) if fault.code.is_none() && fault.temporary() => {
                known.alive.remove(place);
                let now = Instant::now();
                if known.down.len() >= MAX_REMEMBERED {
                    known.down.retain(|_, (until, _)| *until > now);
                }
                if known.down.len() < MAX_REMEMBERED {
                    known.down.insert(place.clone(), (now + DOWN_FOR, fault.clone()));
                }
            }
            Some(_) => {}
            None => {
                known.down.remove(place);
                if known.alive.len() >= MAX_REMEMBERED {
                    known.alive.clear();
                }
                known.alive.insert(place.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Kind;

    #[test]
    fn the_dead_are_remembered_and_the_busy_are_not() {
        let memory = Memory::default();
        let place = Place::Unix("/run/x".into());
        assert_eq!(memory.down(&place), None);
        memory.note(&place, Some(&Fault::new(Kind::PeerTemporary, "421 too many connections").with_code(421)));
        assert_eq!(memory.down(&place), None);
        let dead = Fault::new(Kind::ConnectRefused, "refused");
        memory.note(&place, Some(&dead));
        assert_eq!(memory.down(&place), Some(dead));
        memory.note(&place, None);
        assert_eq!(memory.down(&place), None);
    }

    #[tokio::test]
    async fn the_unknown_are_asked_by_two_until_one_knows() {
        let memory = Arc::new(Memory::default());
        let place = Place::Unix("/run/x".into());
        let first = memory.probe(&place).await;
        let second = memory.probe(&place).await;
        assert!(first.is_some() && second.is_some());
        let waiting = {
            let (memory, place) = (Arc::clone(&memory), place.clone());
            tokio::spawn(async move { memory.probe(&place).await.is_none() })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        memory.note(&place, None);
        drop(first);
        assert!(waiting.await.unwrap(), "no turn is needed for who is known");
    }
}
