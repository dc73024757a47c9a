//! The runner on a virtual clock: a week of mail to slow, dead, absent or full servers, checked by numbers.

mod memory;
mod world;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::settle::{Disposition, SettlementRules};
use super::{RunEvent, RunSummary, RunnerOptions, run};
use crate::blob::Blob;
use crate::fault::Enhanced;
use crate::net::listen::Shutdown;
use crate::queue::entry::{NewMessage, RecipientState, Time};
use crate::queue::schedule::Schedule;
use crate::queue::store::{Filter, QueueStore as _};
use crate::relay::route::Routing;
use crate::smtp::envelope::{Envelope, Recipient};
use memory::{Clock, MemoryStore};
use world::{Mood, Server, World};

/// The start of the simulated time.
const START: i64 = 1_764_000_000_000;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// The longest wait of the schedule: an hour and a quarter, and the attempt itself.
const LONGEST: Duration = Duration::from_secs(76 * 60);
/// The domain that receives bounces and warnings.
const HOME: &str = "home.test";

/// The number of domains that share one hanging server.
const HUNG: u32 = 30;

fn good() -> Mood {
    Mood::Takes(Duration::from_millis(80))
}

/// A message that is queued at a given time.
struct Mail {
    at: Duration,
    to: String,
}

/// `count` messages to `domain`, spread evenly from `from` to `until`.
fn mails(domain: &str, count: u32, from: Duration, until: Duration) -> Vec<Mail> {
    let gap = (until - from) / count;
    (0..count).map(|n| Mail { at: from + gap * n, to: format!("r{n}@{domain}") }).collect()
}

/// The history of one recipient.
#[derive(Debug, Clone, Default)]
struct Course {
    queued: Duration,
    attempts: u32,
    /// The time and the result of its end.
    end: Option<(Duration, &'static str)>,
}

impl Course {
    fn took(&self) -> Duration {
        self.end.map_or(Duration::MAX, |(at, _)| at - self.queued)
    }
}

struct Simulation {
    world: Arc<World>,
    store: Arc<MemoryStore>,
    courses: Arc<Mutex<BTreeMap<String, Course>>>,
    clock: Clock,
}

impl Simulation {
    fn new(world: World) -> Simulation {
        let world = Arc::new(world);
        let told = Arc::clone(&world);
        let clock: Clock = Arc::new(move || Time(START).plus(told.now()));
        let store = Arc::new(MemoryStore::new(Arc::clone(&clock)));
        Simulation { world, store, courses: Arc::default(), clock }
    }

    fn options(&self, watch: bool) -> RunnerOptions {
        RunnerOptions {
            connector: Arc::clone(&self.world) as _,
            routing: Routing::default(),
            dns: Arc::clone(&self.world) as _,
            rules: SettlementRules { schedule: Schedule::default(), mta: "us.test".to_owned(), bounce_to: None },
            concurrency: 100,
            per_destination: 20,
            interval: None,
            watch,
            wanted: Filter::default(),
            clock: Arc::clone(&self.clock),
        }
    }

    /// Queues each message at its time.
    async fn feed(&self, mut mails: Vec<Mail>) {
        mails.sort_by_key(|mail| mail.at);
        for mail in mails {
            tokio::time::sleep(mail.at.saturating_sub(self.world.now())).await;
            let course = Course { queued: self.world.now(), ..Course::default() };
            self.courses.lock().unwrap().insert(mail.to.clone(), course);
            let body = Blob::memory(b"Subject: x\r\n\r\ny\r\n".to_vec());
            let sender = format!("sender@{HOME}");
            let envelope = Envelope::new(sender, vec![Recipient::new(mail.to)]);
            self.store.enqueue(vec![NewMessage::new(envelope, body)]).await.unwrap();
        }
    }

    async fn run(&self, watch: bool, shutdown: &Shutdown) -> RunSummary {
        let (courses, world) = (Arc::clone(&self.courses), Arc::clone(&self.world));
        let watcher = move |event: RunEvent<'_>| {
            let RunEvent::Attempt(tried) = event else { panic!("a store in memory does not fail: {event:?}") };
            let mut courses = courses.lock().unwrap();
            // Reports have no history of their own.
            let Some(course) = courses.get_mut(tried.address.as_str()) else { return };
            assert!(course.end.is_none(), "{} goes on after its end", tried.address);
            course.attempts = tried.attempts;
            if !matches!(tried.disposition, Disposition::Deferred(_)) {
                course.end = Some((world.now(), tried.disposition.as_str()));
            }
        };
        run(Arc::clone(&self.store) as _, self.options(watch), shutdown, Arc::new(watcher)).await.unwrap()
    }

    /// Runs a watching runner for the duration `lasts`.
    async fn watch(&self, mails: Vec<Mail>, lasts: Duration) -> RunSummary {
        let shutdown = Shutdown::manual();
        let ending = async {
            tokio::time::sleep(lasts).await;
            shutdown.drain();
        };
        tokio::join!(self.run(true, &shutdown), self.feed(mails), ending).0
    }

    /// The histories of a domain's recipients.
    fn courses(&self, domain: &str) -> Vec<Course> {
        let courses = self.courses.lock().unwrap();
        courses
            .iter()
            .filter(|(to, _)| to.split_once('@').unwrap().1 == domain)
            .map(|(_, course)| course.clone())
            .collect()
    }

    /// The number of warnings and bounces that arrived at [`HOME`].
    fn reports(&self) -> usize {
        self.world.of(HOME, |home| home.taken.len())
    }
}

/// The smallest value that is not below this share of the values.
fn percentile(mut values: Vec<Duration>, share: f64) -> Duration {
    values.sort();
    values[((values.len() - 1) as f64 * share) as usize]
}

#[tokio::test(start_paused = true)]
async fn a_week_with_every_kind_of_server() {
    let mut world = World::new();
    let named = |name: &str| vec![name.to_owned()];
    world.add(named(HOME), Server::new(|_| good()));
    world.add((0..10).map(|n| format!("good{n}.test")), Server::new(|_| good()));
    world.add(named("slow.test"), Server::new(|_| Mood::Takes(Duration::from_secs(20))));
    world.add(named("dead.test"), Server::new(|_| Mood::Refuses));
    world.add((0..HUNG).map(|n| format!("hung{n}.test")), Server::new(|_| Mood::Hangs));
    world.add(named("stalls.test"), Server::new(|_| Mood::Stalls));
    let outage = 10 * HOUR..46 * HOUR;
    let away = outage.clone();
    world.add(named("away.test"), Server::new(move |now| if away.contains(&now) { Mood::Refuses } else { good() }));
    world.add(named("grey.test"), Server::new(|_| good()).greylisting(5 * MINUTE));
    world.add(named("full.test"), Server::new(|_| good()).with_room(3));
    let flaky = |now: Duration| {
        if (now.as_millis() / 70).is_multiple_of(3) { Mood::Says(451, Enhanced::new(4, 3, 0)) } else { good() }
    };
    world.add(named("flaky.test"), Server::new(flaky));
    world.add(named("noname.test"), Server::new(|now| if now < 2 * DAY { Mood::NoNames } else { good() }));
    world.add(named("over.test"), Server::new(|_| Mood::Says(452, Enhanced::new(4, 2, 2))));
    world.add(named("never.test"), Server::new(|_| Mood::Says(550, Enhanced::new(5, 1, 1))));
    let week = Simulation::new(world);
    let mut all = Vec::new();
    for n in 0..10 {
        all.extend(mails(&format!("good{n}.test"), 300, Duration::ZERO, 6 * DAY));
    }
    for n in 0..HUNG {
        all.extend(mails(&format!("hung{n}.test"), 2, Duration::from_secs(n.into()), DAY));
    }
    for (domain, count, from, until) in [
        ("slow.test", 100, HOUR, 2 * HOUR),
        ("dead.test", 30, Duration::ZERO, DAY),
        ("stalls.test", 30, HOUR, HOUR + 3 * MINUTE),
        ("away.test", 200, Duration::ZERO, 60 * HOUR),
        ("grey.test", 60, Duration::ZERO, DAY),
        ("full.test", 1000, HOUR, HOUR + 10 * Duration::from_secs(1)),
        ("flaky.test", 200, Duration::ZERO, DAY),
        ("noname.test", 20, Duration::ZERO, HOUR),
        ("over.test", 10, Duration::ZERO, HOUR),
        ("never.test", 10, Duration::ZERO, HOUR),
    ] {
        all.extend(mails(domain, count, from, until));
    }
    let total = all.len();
    let summary = week.watch(all, 7 * DAY).await;

    // No recipient is lost, and none is served twice.
    let courses = week.courses.lock().unwrap().clone();
    assert_eq!(courses.len(), total);
    let open: Vec<_> = courses.iter().filter(|(_, course)| course.end.is_none()).collect();
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(week.store.left(), HashMap::new());
    let mut taken: Vec<String> =
        week.world.servers().iter().flat_map(|server| &server.taken).map(|(_, to)| to.clone()).collect();
    taken.retain(|to| !to.ends_with(HOME));
    taken.sort();
    let delivered: Vec<&String> =
        courses.iter().filter(|it| it.1.end.unwrap().1 == "delivered").map(|it| it.0).collect();
    assert!(taken.iter().eq(delivered), "what servers took is what was recorded, once");
    let ended = |domain: &str, how: &str| week.courses(domain).iter().filter(|it| it.end.unwrap().1 == how).count();
    for domain in ["good0.test", "slow.test", "away.test", "grey.test", "full.test", "flaky.test", "noname.test"] {
        assert_eq!(ended(domain, "delivered"), week.courses(domain).len(), "{domain}");
    }
    assert_eq!(ended("never.test", "failed"), 10);

    // Recipients with a good server do not wait for other servers.
    let quick: Vec<Duration> =
        (0..10).flat_map(|n| week.courses(&format!("good{n}.test"))).map(|it| it.took()).collect();
    let (half, most) = (percentile(quick.clone(), 0.5), percentile(quick, 1.0));
    assert!(half < Duration::from_millis(500) && most < Duration::from_secs(5), "{half:?} {most:?}");

    // Five days, one warning and one bounce each.
    let hopeless: Vec<String> = ["dead.test", "stalls.test", "over.test"].map(str::to_owned).into();
    let hopeless: Vec<String> = hopeless.into_iter().chain((0..HUNG).map(|n| format!("hung{n}.test"))).collect();
    let mut given_up = 0;
    for domain in &hopeless {
        for course in week.courses(domain) {
            let (took, attempts) = (course.took(), course.attempts);
            assert_eq!(course.end.unwrap().1, "expired", "{domain}");
            assert!(took >= 5 * DAY && took < 5 * DAY + LONGEST, "{domain}: {took:?}");
            assert!((100..150).contains(&attempts), "{domain}: {attempts}");
            given_up += 1;
        }
    }
    let longer = |domain: &str| week.courses(domain).iter().filter(|it| it.took() > 4 * HOUR + LONGEST).count();
    let warned: usize = ["away.test", "noname.test"].map(longer).iter().sum();
    let least = 2 * given_up + warned + 10;
    let most = least + week.courses("away.test").len() + 20;
    assert!((least..=most).contains(&week.reports()), "{least} {} {most}", week.reports());
    assert_eq!(summary.failed, (given_up + 10) as u64);

    // After an outage all is delivered within the longest wait; before and after it at once.
    for course in week.courses("away.test") {
        let limit = match outage.contains(&course.queued) {
            true => outage.end - course.queued + LONGEST,
            false => Duration::from_secs(5),
        };
        assert!(course.took() < limit, "{course:?}");
    }
    // Greylisting: twice in the first minutes, in the end within a quarter of an hour.
    for course in week.courses("grey.test") {
        assert!(course.attempts <= 3 && course.took() > 5 * MINUTE && course.took() < 16 * MINUTE, "{course:?}");
    }
    // Attempts to flaky servers: 1.5 on average.
    let attempts: u32 = week.courses("flaky.test").iter().map(|course| course.attempts).sum();
    assert!((240..400).contains(&attempts), "{attempts} for 200");

    // A server's limit is respected, and used: a thousand messages of 80 ms each over three connections take at least 27 s.
    let (most_open, last) = week.world.of("full.test", |it| (it.most_open, it.taken.last().unwrap().0));
    assert!(most_open <= 3 && last < HOUR + 2 * MINUTE, "{most_open} {last:?}");
    // Slow is not dead: the server gets as many messages as twenty connections can carry.
    let (most_open, last) = week.world.of("slow.test", |it| (it.most_open, it.taken.last().unwrap().0));
    assert!((1..=20).contains(&most_open) && last < 2 * HOUR + 2 * MINUTE, "{most_open} {last:?}");
    // A silent server gets at most two connection attempts per minute, and at most two at a time.
    for domain in ["dead.test", "hung0.test"] {
        let (connects, waiting) = week.world.of(domain, |it| (it.connects.clone(), it.most_waiting));
        assert!(waiting <= 2 && connects.len() <= 2 * 7 * 24 * 60, "{domain}: {} {waiting}", connects.len());
        let close = connects.windows(3).filter(|three| three[2] - three[0] < MINUTE).count();
        assert_eq!(close, 0, "{domain}: more than two within a minute");
    }
}

#[tokio::test(start_paused = true)]
async fn passes_from_cron_end_soon_whatever_hangs() {
    let mut world = World::new();
    world.add([HOME.to_owned()], Server::new(|_| good()));
    world.add((0..300).map(|n| format!("hung{n}.test")), Server::new(|_| Mood::Hangs));
    world.add((0..300).map(|n| format!("stalls{n}.test")), Server::new(|_| Mood::Stalls));
    world.add(["good.test".to_owned()], Server::new(|_| good()));
    let cron = Simulation::new(world);
    let mut first = mails("good.test", 200, Duration::ZERO, Duration::from_millis(200));
    for n in 0..300 {
        first.extend(mails(&format!("hung{n}.test"), 3, Duration::ZERO, Duration::from_millis(3)));
        first.extend(mails(&format!("stalls{n}.test"), 3, Duration::ZERO, Duration::from_millis(3)));
    }
    cron.feed(first).await;
    let shutdown = Shutdown::manual();
    let mut longest = Duration::ZERO;
    for pass in 0..100 {
        let began = cron.world.now();
        cron.run(false, &shutdown).await;
        longest = longest.max(cron.world.now() - began);
        if pass == 0 {
            let last = cron.courses("good.test").iter().map(Course::took).max().unwrap();
            assert!(last < Duration::from_secs(10), "the good wait for nobody: {last:?}");
        }
        tokio::time::sleep((5 * MINUTE).saturating_sub(cron.world.now() - began)).await;
    }
    assert!(longest < 3 * MINUTE, "{longest:?}");
    assert_eq!(cron.store.left(), HashMap::from([(RecipientState::Queued, 1800)]), "reports are out, the others wait");
}

#[tokio::test(start_paused = true)]
async fn a_destination_gets_as_many_connections_as_it_bears() {
    let mut world = World::new();
    world.add(["big.test".to_owned()], Server::new(|_| Mood::Takes(Duration::from_secs(1))));
    let falters = |now: Duration| if now > 60 * Duration::from_secs(1) { Mood::Stalls } else { good() };
    world.add(["falters.test".to_owned()], Server::new(falters));
    let growth = Simulation::new(world);
    let begun = Duration::from_millis(1);
    let mut all = mails("big.test", 1000, Duration::ZERO, begun);
    all.extend(mails("falters.test", 50, 50 * Duration::from_secs(1), 70 * Duration::from_secs(1)));
    growth.watch(all, 10 * MINUTE).await;
    let (most, last) = growth.world.of("big.test", |it| (it.most_open, it.taken.last().unwrap().0));
    // Twenty messages per second at best; growing from two takes about as long as twenty messages in sequence.
    assert_eq!(most, 20);
    assert!(last > Duration::from_secs(50) && last < Duration::from_secs(80), "{last:?}");
    // After three consecutive broken messages the rest is deferred without being tried.
    let connects = growth.world.of("falters.test", |it| it.connects.iter().filter(|at| at.as_secs() > 60).count());
    assert!(connects <= 12, "{connects}");
}
