//! Which servers did not answer lately: nobody waits for the same dead host twice.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::fault::Fault;
use crate::relay::deliver::Health;
use crate::relay::route::Place;

/// How long a server that did not answer is left alone.
pub const DOWN_FOR: Duration = Duration::from_secs(60);
/// No more servers than this are remembered.
const MAX_REMEMBERED: usize = 10_000;

/// The memory of a run.
#[derive(Debug, Default)]
pub struct Memory {
    down: Mutex<HashMap<Place, (Instant, Fault)>>,
}

impl Health for Memory {
    fn down(&self, place: &Place) -> Option<Fault> {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        match down.get(place) {
            Some((until, fault)) if *until > Instant::now() => Some(fault.clone()),
            Some(_) => {
                down.remove(place);
                None
            }
            None => None,
        }
    }

    fn note(&self, place: &Place, failed: Option<&Fault>) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        match failed {
            // Who answers, if only to refuse, is alive: it may just have enough connections.
            Some(fault) if fault.code.is_none() && fault.temporary() => {
                if down.len() >= MAX_REMEMBERED {
                    let now = Instant::now();
                    down.retain(|_, (until, _)| *until > now);
                }
                if down.len() < MAX_REMEMBERED {
                    down.insert(place.clone(), (Instant::now() + DOWN_FOR, fault.clone()));
                }
            }
            Some(_) => {}
            None => {
                down.remove(place);
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
}
