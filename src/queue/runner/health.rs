//! The memory of unresponsive servers: a dead host delays mail once, and an unproven server gets two messages at a time,
//! regardless of the number of its domains.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::fault::{Fault, Kind};
use crate::relay::connection::ServerHealth;
use crate::relay::route::{Hop, HopEndpoint};

/// The time that an unresponsive server is not tried.
pub const DOWN_FOR: Duration = Duration::from_secs(60);
/// The time that a server which refused our login is not tried: each failure may count against the account.
pub const REFUSED_FOR: Duration = Duration::from_secs(15 * 60);
/// The most servers that are remembered.
const MAX_REMEMBERED: usize = 10_000;
/// The most concurrent messages to a server that has not answered any yet: if it hangs, messages to others do not lose their
/// slots to it.
const PROBES: usize = 2;

/// The memory of a run, with a callback that reports, once, an unusable server named by the operator: its mail would
/// otherwise wait silently.
pub struct ServerMemory {
    known: Mutex<KnownServers>,
    tell: Box<dyn Fn(&Fault) + Send + Sync>,
}

/// A server, and the login used there.
type EndpointUser = (HopEndpoint, Option<String>);

#[derive(Debug, Default)]
struct KnownServers {
    down: HashMap<EndpointUser, (Instant, Fault)>,
    /// Servers that answered to the last message.
    alive: HashSet<HopEndpoint>,
    probes: HashMap<HopEndpoint, Arc<Semaphore>>,
    /// Unusable named servers, and the reported fault of each.
    unusable: HashMap<String, Fault>,
}

fn key(hop: &Hop) -> EndpointUser {
    (hop.endpoint.clone(), hop.login.as_ref().map(|login| login.user.clone()))
}

/// The name of a server and its login, as in a URL.
fn name(hop: &Hop) -> String {
    let user = hop.login.as_ref().map_or(String::new(), |login| format!("{}@", login.user));
    format!("{user}{hop}")
}

impl KnownServers {
    /// True if this server's state is known: it answered, or it is down.
    fn decided(&self, hop: &Hop) -> bool {
        self.alive.contains(&hop.endpoint) || self.down.get(&key(hop)).is_some_and(|(until, _)| *until > Instant::now())
    }
}

impl ServerMemory {
    /// An empty memory; `tell` is called for unusable named servers.
    pub fn new(tell: impl Fn(&Fault) + Send + Sync + 'static) -> ServerMemory {
        ServerMemory { known: Mutex::default(), tell: Box::new(tell) }
    }

    fn known(&self) -> MutexGuard<'_, KnownServers> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A named server that could not be used when it was last tried.
    pub fn unusable(&self) -> Option<Fault> {
        self.known().unusable.values().next().cloned()
    }

    /// Records the look-up of a named host's addresses.
    pub fn looked_up(&self, host: &str, failed: Option<&Fault>) {
        self.judge(host.to_owned(), failed);
    }

    /// Reports a permanent fault, unless the same was reported; texts are not compared, since servers put numbers into them.
    fn judge(&self, name: String, failed: Option<&Fault>) {
        let Some(fault) = failed.filter(|fault| !fault.temporary()) else {
            if failed.is_none() {
                self.known().unusable.remove(&name);
            }
            return;
        };
        let same = |told: &Fault| (told.kind, told.code, told.enhanced) == (fault.kind, fault.code, fault.enhanced);
        {
            let mut known = self.known();
            if known.unusable.get(&name).is_some_and(same) || known.unusable.len() >= MAX_REMEMBERED {
                return;
            }
            known.unusable.insert(name, fault.clone());
        }
        (self.tell)(fault);
    }

    /// Waits for a turn to try a server of unknown state. Keep the permit until the server has answered.
    pub async fn probe(&self, hop: &Hop) -> Option<OwnedSemaphorePermit> {
        loop {
            let turn = {
                let mut known = self.known();
                if known.decided(hop) {
                    return None;
                }
                if known.probes.len() >= MAX_REMEMBERED {
                    known.probes.retain(|_, turn| turn.available_permits() < PROBES);
                }
                Arc::clone(known.probes.entry(hop.endpoint.clone()).or_insert_with(|| Arc::new(Semaphore::new(PROBES))))
            };
            let permit = turn.acquire_owned().await.ok()?;
            // In the meantime another worker may have learned the state.
            if !self.known().decided(hop) {
                return Some(permit);
            }
        }
    }
}

impl ServerHealth for ServerMemory {
    fn down(&self, hop: &Hop) -> Option<Fault> {
        let mut known = self.known();
        match known.down.get(&key(hop)) {
            Some((until, fault)) if *until > Instant::now() => Some(fault.clone()),
            Some(_) => {
                known.down.remove(&key(hop));
                None
            }
            None => None,
        }
    }

    fn note(&self, hop: &Hop, failed: Option<&Fault>) {
        if !hop.by_mx {
            let told = failed.map(|fault| fault.clone().context(hop));
            self.judge(name(hop), told.as_ref());
        }
        let mut known = self.known();
        let Some(fault) = failed else {
            known.down.remove(&key(hop));
            if known.alive.len() >= MAX_REMEMBERED {
                known.alive.clear();
            }
            known.alive.insert(hop.endpoint.clone());
            return;
        };
        let wait = match fault.kind {
            // (530 is the reply to a client without a login.)
            Kind::AuthFailed if fault.reply_code() != Some(530) => REFUSED_FOR,
            // A server that answers, even with a refusal, is alive: it may just have enough connections.
            _ if fault.reply_code().is_none() && fault.temporary() => DOWN_FOR,
            _ => return,
        };
        if wait == DOWN_FOR {
            known.alive.remove(&hop.endpoint);
        }
        let now = Instant::now();
        if known.down.len() >= MAX_REMEMBERED {
            known.down.retain(|_, (until, _)| *until > now);
        }
        if known.down.len() < MAX_REMEMBERED {
            known.down.insert(key(hop), (now + wait, fault.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::login::Login;
    use crate::net::tls::TlsMode;
    use crate::relay::policy;
    use crate::relay::route::Protocol;

    fn hop(user: &str, by_mx: bool) -> Hop {
        Hop {
            name: "relay.test".to_owned(),
            endpoint: HopEndpoint::Unix("/run/x".into()),
            protocol: Protocol::Smtp,
            policy: policy::for_named(TlsMode::Starttls, true),
            login: Some(Login::new(user, "secret")),
            mechanism: None,
            by_mx,
            account: None,
        }
    }

    #[test]
    fn a_named_server_that_cannot_be_used_is_told_once_until_it_changes() {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let memory = ServerMemory::new({
            let told = Arc::clone(&told);
            move |fault| told.lock().unwrap().push(fault.detail.clone())
        });
        let heard = || std::mem::take(&mut *told.lock().unwrap());
        let password = |id: u32| Fault::new(Kind::AuthFailed, format!("535 no {id}")).with_code(PeerCode::Reply(535));
        let alice = hop("alice", false);
        memory.note(&alice, Some(&password(1)));
        assert_eq!(heard(), ["relay.test (/run/x): 535 no 1"]);
        memory.note(&alice, Some(&password(2)));
        memory.note(&alice, Some(&Fault::new(Kind::ConnectRefused, "refused")));
        memory.note(&hop("mx", true), Some(&password(3)));
        assert!(heard().is_empty(), "the same, what is temporary, and what the DNS chose");
        assert_eq!(memory.unusable().map(|fault| fault.kind), Some(Kind::AuthFailed));
        memory.note(&hop("bob", false), Some(&password(4)));
        memory.note(&alice, Some(&Fault::new(Kind::TlsUntrusted, "expired")));
        assert_eq!(heard(), ["relay.test (/run/x): 535 no 4", "relay.test (/run/x): expired"]);
        memory.note(&alice, None);
        memory.note(&hop("bob", false), None);
        assert_eq!(memory.unusable(), None);
        memory.note(&alice, Some(&password(5)));
        assert_eq!(heard(), ["relay.test (/run/x): 535 no 5"]);
        memory.looked_up("nowhere.test", Some(&Fault::new(Kind::NoHost, "NXDOMAIN")));
        memory.looked_up("nowhere.test", Some(&Fault::new(Kind::NoHost, "NXDOMAIN")));
        memory.looked_up("shaky.test", Some(&Fault::new(Kind::LookupFailed, "SERVFAIL")));
        assert_eq!(heard(), ["NXDOMAIN"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_login_is_not_tried_again_soon() {
        let memory = ServerMemory::new(|_| ());
        let (alice, bob) = (hop("alice", false), hop("bob", false));
        memory.note(&alice, Some(&Fault::new(Kind::AuthFailed, "535").with_code(PeerCode::Reply(535))));
        assert!(memory.down(&alice).is_some() && memory.down(&bob).is_none());
        memory.note(&bob, None);
        tokio::time::advance(REFUSED_FOR - Duration::from_secs(1)).await;
        assert!(memory.down(&alice).is_some(), "that bob is let in says nothing about alice");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(memory.down(&alice).is_none());
    }
    use crate::fault::PeerCode;

    #[test]
    fn the_dead_are_remembered_and_the_busy_are_not() {
        let memory = ServerMemory::new(|_| ());
        let endpoint = hop("", true);
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
        let memory = Arc::new(ServerMemory::new(|_| ()));
        let endpoint = hop("", true);
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
