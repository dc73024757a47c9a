//! Mail servers and a DNS that exist only in memory, on tokio's paused clock: dead, slow, absent for a day, full, greylisting.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::fault::{Enhanced, Fault, Kind, PeerCode};
use crate::net::BoxFuture;
use crate::relay::deliver::{
    Connector, DeliveryProof, HopResult, NextHopConnection, NextHopFacts, NextHopSession, ReachedServer,
};
use crate::relay::route::{Hop, MailDns};
use crate::smtp::address::Address;
use crate::smtp::client::{SendOptions, Times};
use crate::smtp::data::Content;
use crate::smtp::transaction::{Accepted, Envelope, RecipientOutcome};

/// The behaviour of a server at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Accepts each message after this time.
    Takes(Duration),
    /// No server listens.
    Refuses,
    /// Packets vanish.
    Hangs,
    /// Greets, and does not reply to MAIL.
    Stalls,
    /// Gives this reply to each recipient.
    Says(u16, Enhanced),
    /// The domain's name servers fail.
    NoNames,
}

/// One server: its behaviour, and its record of clients.
pub(super) struct Server {
    mood: Box<dyn Fn(Duration) -> Mood + Send + Sync>,
    /// The most connections that it accepts; further clients are deferred.
    room: usize,
    /// A recipient first seen less than this time ago is deferred.
    greylist: Option<Duration>,
    seen: HashMap<String, Duration>,
    /// Connection attempts, and open connections.
    pub(super) connects: Vec<Duration>,
    pub(super) waiting: usize,
    pub(super) open: usize,
    /// The maximum at any time.
    pub(super) most_waiting: usize,
    pub(super) most_open: usize,
    /// Accepted recipients with their times.
    pub(super) taken: Vec<(Duration, String)>,
}

impl Server {
    pub(super) fn new(mood: impl Fn(Duration) -> Mood + Send + Sync + 'static) -> Server {
        Server {
            mood: Box::new(mood),
            room: usize::MAX,
            greylist: None,
            seen: HashMap::new(),
            connects: Vec::new(),
            waiting: 0,
            open: 0,
            most_waiting: 0,
            most_open: 0,
            taken: Vec::new(),
        }
    }

    pub(super) fn with_room(self, room: usize) -> Server {
        Server { room, ..self }
    }

    pub(super) fn greylisting(self, wait: Duration) -> Server {
        Server { greylist: Some(wait), ..self }
    }

    /// The reply to a recipient at this time; `None` accepts it.
    fn says(&mut self, mood: Mood, address: &str, now: Duration) -> Option<(u16, Enhanced)> {
        if let Mood::Says(code, enhanced) = mood {
            return Some((code, enhanced));
        }
        let wait = self.greylist?;
        let since = *self.seen.entry(address.to_owned()).or_insert(now);
        (now - since < wait).then_some((451, Enhanced::new(4, 7, 1)))
    }
}

/// All servers by number, and the server of each domain.
pub(super) struct World {
    began: Instant,
    servers: Arc<Mutex<Vec<Server>>>,
    domains: HashMap<String, usize>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "World of {} domains", self.domains.len())
    }
}

impl World {
    pub(super) fn new() -> World {
        World { began: Instant::now(), servers: Arc::default(), domains: HashMap::new() }
    }

    /// Adds a server for these domains.
    pub(super) fn add(&mut self, domains: impl IntoIterator<Item = String>, server: Server) {
        let mut servers = self.servers();
        servers.push(server);
        let number = servers.len() - 1;
        drop(servers);
        self.domains.extend(domains.into_iter().map(|domain| (domain, number)));
    }

    /// The virtual time since the start.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn servers(&self) -> MutexGuard<'_, Vec<Server>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the record of a domain's server.
    pub(super) fn of<T>(&self, domain: &str, look: impl FnOnce(&Server) -> T) -> T {
        look(&self.servers()[self.domains[domain]])
    }

    fn mood(&self, number: usize) -> Mood {
        let now = self.now();
        (self.servers()[number].mood)(now)
    }
}

impl MailDns for World {
    fn mx<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Result<Vec<(u16, String)>, Fault>> {
        Box::pin(async move {
            sleep(Duration::from_millis(5)).await;
            let Some(number) = self.domains.get(domain) else {
                return Err(Fault::new(Kind::NoHost, "NXDOMAIN"));
            };
            match self.mood(*number) {
                Mood::NoNames => Err(Fault::new(Kind::LookupFailed, "SERVFAIL")),
                _ => Ok(vec![(10, format!("s{number}"))]),
            }
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, Fault>> {
        let number: u32 = host.trim_start_matches('s').parse().unwrap();
        Box::pin(std::future::ready(Ok(vec![IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number))])))
    }
}

impl Connector for World {
    fn excluded(&self, _hop: &Hop) -> Option<Fault> {
        None
    }

    fn connect<'a>(&'a self, hops: &'a [Hop]) -> BoxFuture<'a, ReachedServer> {
        Box::pin(async move {
            let mut reached = ReachedServer::default();
            reached.add(0, self.connect_one(&hops[0]).await);
            reached
        })
    }
}

impl World {
    fn connect_one<'a>(&'a self, hop: &'a Hop) -> BoxFuture<'a, Result<NextHopConnection, Fault>> {
        Box::pin(async move {
            let number: usize = hop.name.trim_start_matches('s').parse().unwrap();
            {
                let now = self.now();
                let server = &mut self.servers()[number];
                server.connects.push(now);
                server.waiting += 1;
                server.most_waiting = server.most_waiting.max(server.waiting);
            }
            let (wait, fault) = match self.mood(number) {
                Mood::Refuses => (1, Some(Fault::new(Kind::ConnectRefused, "refused"))),
                Mood::Hangs => (15_000, Some(Fault::new(Kind::TimedOut, "connect: no answer within 15 s"))),
                _ => (40, None),
            };
            sleep(Duration::from_millis(wait)).await;
            let server = &mut self.servers()[number];
            server.waiting -= 1;
            if let Some(fault) = fault {
                return Err(fault);
            }
            if server.open >= server.room {
                return Err(Fault::new(Kind::PeerTemporary, "421 too many connections").with_code(PeerCode::Reply(421)));
            }
            server.open += 1;
            server.most_open = server.most_open.max(server.open);
            let session = Talk { number, began: self.began, servers: Arc::clone(&self.servers), alive: true };
            Ok(NextHopConnection {
                session: Box::new(session),
                peer: NextHopFacts { host: Some(hop.name.clone()), ..NextHopFacts::default() },
            })
        })
    }
}

/// An open connection.
struct Talk {
    number: usize,
    began: Instant,
    servers: Arc<Mutex<Vec<Server>>>,
    alive: bool,
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)[self.number].open -= 1;
    }
}

impl Talk {
    async fn one(&mut self, envelope: &Envelope, options: &SendOptions<'_>) -> Vec<HopResult> {
        let mood = (self.servers.lock().unwrap()[self.number].mood)(self.began.elapsed());
        let wait = match mood {
            Mood::Takes(wait) => wait,
            Mood::Says(..) | Mood::NoNames => Duration::from_millis(40),
            Mood::Stalls | Mood::Refuses | Mood::Hangs => Duration::from_secs(60),
        };
        sleep(wait).await;
        self.alive = matches!(mood, Mood::Takes(_) | Mood::Says(..) | Mood::NoNames);
        let go = match &options.before_commit {
            Some(asked) => asked().await,
            None => true,
        };
        assert!(go, "nobody takes a lease away here");
        let now = self.began.elapsed();
        let server = &mut self.servers.lock().unwrap()[self.number];
        let result = |address: &Address| {
            let said = if self.alive { server.says(mood, address.as_str(), now) } else { None };
            let (outcome, code, fault) = match said {
                _ if !self.alive => {
                    (RecipientOutcome::Deferred, None, Some(Fault::new(Kind::TimedOut, "reply: no answer")))
                }
                None => (RecipientOutcome::Delivered(DeliveryProof::Accepted(Accepted::simulated())), Some(250), None),
                Some((code, _)) if code < 500 => {
                    (RecipientOutcome::Deferred, Some(code), Some(Fault::new(Kind::PeerTemporary, "later")))
                }
                Some((code, _)) => (RecipientOutcome::Refused, Some(code), Some(Fault::new(Kind::Refused, "no"))),
            };
            if outcome.is_delivered() {
                server.taken.push((now, address.to_string()));
            }
            let enhanced = said.map(|(_, enhanced)| enhanced);
            HopResult { address: address.clone(), outcome, code, enhanced, reply: "said".to_owned(), fault }
        };
        envelope.recipients.iter().map(|recipient| &recipient.address).map(result).collect()
    }
}

impl NextHopSession for Talk {
    fn is_open(&self) -> bool {
        self.alive
    }

    fn send<'a>(
        &'a mut self,
        envelope: &'a Envelope,
        _content: &'a dyn Content,
        options: &'a SendOptions<'_>,
    ) -> BoxFuture<'a, Vec<HopResult>> {
        Box::pin(self.one(envelope, options))
    }

    fn times(&self) -> Times {
        Times::default()
    }

    fn quit(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}
