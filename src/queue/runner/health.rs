//! Which servers did not answer lately: nobody waits for the same dead host twice, and a server of which nothing is known
//! yet is asked about two messages at a time, however many domains it serves.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::fault::Fault;
use crate::relay::connection::ServerHealth;
use crate::relay::route::HopEndpoint;

/// How long a server that did not answer is left alone.
pub const DOWN_FOR: Duration = Duration::from_secs(60);
/// No more servers than this are remembered.
const MAX_REMEMBERED: usize = 10_000;
/// Messages under way at the same time at a server that has not answered to any yet: if it hangs, the others' room is not
/// used up by waiting for it.
const PROBES: usize = 2;

/// The memory of a run.
#[derive(Debug, Default)]
pub struct ServerMemory(Mutex<KnownServers>);

#[derive(Debug, Default)]
struct KnownServers {
    down: HashMap<HopEndpoint, (Instant, Fault)>,
    /// Who answered to the last message.
    alive: HashSet<HopEndpoint>,
    probes: HashMap<HopEndpoint, Arc<Semaphore>>,
}

impl KnownServers {
    /// True when nobody need find out whether this server answers.
    fn decided(&self, endpoint: &HopEndpoint) -> bool {
        self.alive.contains(endpoint) || self.down.get(endpoint).is_some_and(|(until, _)| *until > Instant::now())
    }
}

impl ServerMemory {
    fn known(&self) -> MutexGuard<'_, KnownServers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn to try a server of which nothing is known. To be kept until it has answered.
    pub async fn probe(&self, endpoint: &HopEndpoint) -> Option<OwnedSemaphorePermit> {
        loop {
            let turn = {
                let mut known = self.known();
                if known.decided(endpoint) {
                    return None;
                }
                if known.probes.len() >= MAX_REMEMBERED {
                    known.probes.retain(|_, turn| turn.available_permits() < PROBES);
                }
                Arc::clone(known.probes.entry(endpoint.clone()).or_insert_with(|| Arc::new(Semaphore::new(PROBES))))
            };
            let permit = turn.acquire_owned().await.ok()?;
            // While we waited somebody may have found out.
            if !self.known().decided(endpoint) {
                return Some(permit);
            }
        }
    }
}

impl ServerHealth for ServerMemory {
    fn down(&self, endpoint: &HopEndpoint) -> Option<Fault> {
        let mut known = self.known();
        match known.down.get(endpoint) {
            Some((until, fault)) if *until > Instant::now() => Some(fault.clone()),
            Some(_) => {
                known.down.remove(endpoint);
                None
            }
            None => None,
        }
    }

    fn note(&self, endpoint: &HopEndpoint, failed: Option<&Fault>) {
        let mut known = self.known();
        match failed {
            // Who answers, if only to refuse, is alive: it may just have enough connections.
            Some(fault) if fault.reply_code().is_none() && fault.temporary() => {
                known.alive.remove(endpoint);
                let now = Instant::now();
                if known.down.len() >= MAX_REMEMBERED {
                    known.down.retain(|_, (until, _)| *until > now);
                }
                if known.down.len() < MAX_REMEMBERED {
                    known.down.insert(endpoint.clone(), (now + DOWN_FOR, fault.clone()));
                }
            }
            Some(_) => {}
            None => {
                known.down.remove(endpoint);
                if known.alive.len() >= MAX_REMEMBERED {
                    known.alive.clear();
                }
                known.alive.insert(endpoint.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Kind, PeerCode};

    #[test]
    fn the_dead_are_remembered_and_the_busy_are_not() {
        let memory = ServerMemory::default();
        let endpoint = HopEndpoint::Unix("/run/x".into());
        assert_eq!(memory.down(&endpoint), None);
        memory.note(
            &endpoint,
            Some(&Fault::new(Kind::PeerTemporary, "421 too many connections").with_code(PeerCode::Reply(421))),
        );
        assert_eq!(memory.down(&endpoint), None);
        let dead = Fault::new(Kind::ConnectRefused, "refused");
        memory.note(&endpoint, Some(&dead));
        assert_eq!(memory.down(&endpoint), Some(dead));
        memory.note(&endpoint, None);
        assert_eq!(memory.down(&endpoint), None);
    }

    #[tokio::test]
    async fn the_unknown_are_asked_by_two_until_one_knows() {
        let memory = Arc::new(ServerMemory::default());
        let endpoint = HopEndpoint::Unix("/run/x".into());
        let first = memory.probe(&endpoint).await;
        let second = memory.probe(&endpoint).await;
        assert!(first.is_some() && second.is_some());
        let waiting = {
            let (memory, endpoint) = (Arc::clone(&memory), endpoint.clone());
            tokio::spawn(async move { memory.probe(&endpoint).await.is_none() })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        memory.note(&endpoint, None);
        drop(first);
        assert!(waiting.await.unwrap(), "no turn is needed for who is known");
    }
}
