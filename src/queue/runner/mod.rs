//! Runs the queue: one pass over due messages, or continuously. Safe in parallel with other runners: only the runner that
//! leases a recipient tries it.
//!
//! ```text
//! due destinations -> one task each (destination) -> workers -> relay::deliver
//!                                                        |
//!                      store  <-  recorder (batches)  <- conclude: outcome, next try, reports
//! ```

mod destination;
pub mod health;
pub mod settle;
#[cfg(test)]
mod simulation;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::fault::{Fault, Kind};
use crate::net::listen::Shutdown;
use crate::queue::entry::Time;
use crate::queue::runner::destination::Destination;
use crate::queue::runner::health::ServerMemory;
use crate::queue::runner::settle::{
    AttemptReport, DeliverySettlement, Disposition, RecipientSettlement, SettlementRules, settle,
};
use crate::queue::store::{
    Claim, Claimed, DeliveryBatch, Filter, Lease, LeaseOutcome, QueueStore, RENEW_EVERY, SettledLease, Settlement,
};
use crate::relay::deliver::{Connector, Delivery};
use crate::relay::route::{Hop, MailDns, RouteTarget, Routing};

/// The most destinations that are served concurrently.
const MAX_DESTINATIONS: usize = 500;
/// The most settlements that are recorded together.
const MAX_RECORDED: usize = 64;
/// The time that an outcome waits to be recorded together with others.
const RECORD_WITHIN: Duration = Duration::from_millis(5);
/// The shortest time between two looks of a watching runner, however often it is woken.
const LOOKS_APART: Duration = Duration::from_millis(5);
/// The longest time between two looks of a watching runner: another runner may have died.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The pause of a watching runner after the store failed.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);
/// The shortest time between two reports of the same trouble.
const TROUBLE_EVERY: Duration = Duration::from_secs(300);

/// The settings of a run.
pub struct RunnerOptions {
    /// The connector to servers.
    pub connector: Arc<dyn Connector>,
    /// The routing rules.
    pub routing: Routing,
    /// The DNS for routing.
    pub dns: Arc<dyn MailDns>,
    /// The rules for settling outcomes.
    pub rules: SettlementRules,
    /// The most concurrent messages, over all destinations.
    pub concurrency: usize,
    /// The most connections to one destination.
    pub per_destination: usize,
    /// The minimum time between two messages to one destination.
    pub interval: Option<Duration>,
    /// True to keep waiting for new work.
    pub watch: bool,
    /// The filter of recipients to deliver.
    pub wanted: Filter,
    /// The clock.
    pub clock: Arc<dyn Fn() -> Time + Send + Sync>,
}

/// The result of a run.
#[derive(Debug, Clone, Default)]
pub struct RunSummary {
    /// Recipients delivered.
    pub delivered: u64,
    /// Recipients deferred.
    pub deferred: u64,
    /// Recipients given up.
    pub failed: u64,
    /// Recipients held because there is no address for a report.
    pub held: u64,
    /// Recipients whose lease was lost.
    pub lost: u64,
    /// The first local fault or unusable named server, if any: then the pass may be incomplete.
    pub trouble: Option<Fault>,
}

/// The events of a run.
#[derive(Debug, Clone, Copy)]
pub enum RunEvent<'a> {
    /// An attempt with a recorded outcome.
    Attempt(&'a AttemptReport),
    /// The store failed, or holds unreadable data. The run continues as far as possible.
    Trouble(&'a Fault),
}

/// The observer of a run's events.
pub type Watcher = Arc<dyn Fn(RunEvent<'_>) + Send + Sync>;

/// The shared state of a run.
struct ActiveRun {
    store: Arc<dyn QueueStore>,
    options: RunnerOptions,
    health: ServerMemory,
    permits: Semaphore,
    /// The held leases, which are renewed.
    leases: Mutex<HashSet<Lease>>,
    /// Locked for reading from a claim until its leases are recorded in `leases`, for writing while leases are recovered.
    claiming: tokio::sync::RwLock<()>,
    outcomes: mpsc::UnboundedSender<DeliverySettlement>,
    /// Notified when a destination is done.
    changed: Notify,
    stopping: AtomicBool,
    stopped: AtomicBool,
    troubles: Arc<Troubles>,
}

/// The failures of the store: each is reported at once, and leases may have to be recovered.
struct Troubles {
    watcher: Watcher,
    first: Mutex<Option<Fault>>,
    reported: Mutex<Option<(std::time::Instant, String)>>,
    unrecovered: AtomicBool,
    changed: Notify,
}

impl Troubles {
    fn report(&self, fault: &Fault) {
        {
            let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
            let known =
                reported.as_ref().is_some_and(|(at, detail)| *detail == fault.detail && at.elapsed() < TROUBLE_EVERY);
            if !known {
                *reported = Some((std::time::Instant::now(), fault.detail.clone()));
                (self.watcher)(RunEvent::Trouble(fault));
            }
        }
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| fault.clone());
        self.unrecovered.store(true, Ordering::Release);
        self.changed.notify_one();
    }
}

/// Runs the queue until nothing is due (or, watching, until `shutdown` drains).
///
/// # Errors
/// [`Kind::Cancelled`] after a second signal; a failure of the store that prevents the run from continuing.
pub async fn run(
    store: Arc<dyn QueueStore>,
    options: RunnerOptions,
    shutdown: &Shutdown,
    watcher: Watcher,
) -> Result<RunSummary, Fault> {
    store.recover(Vec::new()).await?;
    let troubles = Arc::new(Troubles {
        watcher: Arc::clone(&watcher),
        first: Mutex::default(),
        reported: Mutex::default(),
        unrecovered: AtomicBool::new(false),
        changed: Notify::new(),
    });
    let (outcomes, recorded) = mpsc::unbounded_channel();
    let permits = Semaphore::new(options.concurrency.max(1));
    let run = Arc::new(ActiveRun {
        store: Arc::clone(&store),
        options,
        health: ServerMemory::new({
            let watcher = Arc::clone(&watcher);
            move |fault| watcher(RunEvent::Trouble(fault))
        }),
        permits,
        leases: Mutex::default(),
        claiming: tokio::sync::RwLock::default(),
        outcomes,
        changed: Notify::new(),
        stopping: AtomicBool::new(false),
        stopped: AtomicBool::new(false),
        troubles: Arc::clone(&troubles),
    });
    let recorder =
        tokio::spawn(record(Arc::clone(&store), Arc::downgrade(&run), recorded, watcher, Arc::clone(&troubles)));
    let renewer = tokio::spawn(renew(Arc::clone(&run)));
    let passed = tokio::select! {
        passed = schedule(&run, shutdown) => passed,
        () = shutdown.ended() => {
            // The second signal: running deliveries stop before their final dot; leases are released with the process.
            run.stopped.store(true, Ordering::Release);
            Err(Fault::new(Kind::Cancelled, "ended before everything was delivered"))
        }
    };
    renewer.abort();
    let unusable = run.health.unusable();
    drop(run);
    passed?;
    let mut summary = recorder.await.map_err(|_| Fault::new(Kind::Internal, "the queue's recorder ended"))?;
    summary.trouble = troubles.first.lock().unwrap_or_else(PoisonError::into_inner).take().or(unusable);
    store.sync().await?;
    Ok(summary)
}

/// Starts a task for each destination with due recipients, until there is none.
async fn schedule(run: &Arc<ActiveRun>, shutdown: &Shutdown) -> Result<(), Fault> {
    let watch = run.options.watch;
    let begun = run.now();
    let mut active: HashMap<String, Arc<Destination>> = HashMap::new();
    let mut served: HashSet<String> = HashSet::new();
    let mut tasks = JoinSet::new();
    let mut recovered = std::time::Instant::now();
    loop {
        active.retain(|_, destination| !destination.is_finished());
        let looked = std::time::Instant::now();
        let mut next_due = None;
        if !run.stopping() {
            let troubled = run.troubles.unrecovered.swap(false, Ordering::AcqRel);
            if watch && (troubled || recovered.elapsed() >= LOOK_EVERY) {
                run.recover().await;
                recovered = looked;
            }
            let due_until = if watch { run.now() } else { begun };
            let mut after = None;
            'pages: loop {
                let page = run.store.destinations(after.take(), run.options.wanted.clone()).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.domain.clone());
                for found in page {
                    if found.due > due_until {
                        next_due = Some(next_due.map_or(found.due, |known: Time| known.min(found.due)));
                        continue;
                    }
                    if let Some(known) = active.get(&found.domain) {
                        known.wake();
                    } else if active.len() >= MAX_DESTINATIONS {
                        break 'pages;
                    } else if watch || served.insert(found.domain.clone()) {
                        let destination = Arc::new(Destination::new(found.domain.clone()));
                        active.insert(found.domain, Arc::clone(&destination));
                        let due_until = if watch { None } else { Some(begun) };
                        tasks.spawn(destination.serve(Arc::clone(run), due_until));
                    }
                }
            }
        }
        if active.is_empty() && (!watch || run.stopping()) {
            break;
        }
        // Looking takes at most a tenth of the time, regardless of the number of destinations.
        let pause = looked.elapsed() * 10;
        let wait = next_due.map_or(LOOK_EVERY, |due| due.since(run.now())).max(pause).min(LOOK_EVERY);
        tokio::select! {
            () = run.changed.notified() => {}
            () = run.troubles.changed.notified() => {}
            work = run.store.wait_for_work(wait), if watch => work?,
            () = shutdown.draining(), if !run.stopping() => {
                run.stopping.store(true, Ordering::Release);
                active.values().for_each(|destination| destination.stop());
            }
        }
        if watch {
            let troubled = run.troubles.unrecovered.load(Ordering::Acquire);
            let least = if troubled { TROUBLE_PAUSE } else { LOOKS_APART };
            tokio::time::sleep(pause.clamp(least, TROUBLE_PAUSE)).await;
        }
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Records outcomes in batches and notifies the watcher.
async fn record(
    store: Arc<dyn QueueStore>,
    run: Weak<ActiveRun>,
    mut waiting: mpsc::UnboundedReceiver<DeliverySettlement>,
    watcher: Watcher,
    troubles: Arc<Troubles>,
) -> RunSummary {
    let mut summary = RunSummary::default();
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, MAX_RECORDED).await > 0 {
        let until = tokio::time::Instant::now() + RECORD_WITHIN;
        while batch.len() < MAX_RECORDED {
            let room = MAX_RECORDED - batch.len();
            if !matches!(tokio::time::timeout_at(until, waiting.recv_many(&mut batch, room)).await, Ok(1..)) {
                break;
            }
        }
        let settlement = |one: &mut DeliverySettlement| Settlement {
            leases: one.recipients.iter().map(|recipient| recipient.settled.clone()).collect(),
            reports: std::mem::take(&mut one.reports),
        };
        let done = store.settle(batch.iter_mut().map(settlement).collect()).await;
        let settled = batch.drain(..).map(|one| one.recipients).collect::<Vec<_>>();
        if let Some(run) = run.upgrade() {
            let mut held = run.leases.lock().unwrap_or_else(PoisonError::into_inner);
            for recipient in settled.iter().flatten() {
                held.remove(&recipient.settled.lease);
            }
        }
        let done = match done {
            Ok(done) => done,
            Err(fault) => {
                // The queue does not know of these deliveries: they are repeated, as possible duplicates.
                troubles.report(&fault);
                continue;
            }
        };
        for (mut recipients, done) in settled.into_iter().zip(done) {
            if !done {
                one_by_one(&*store, &mut recipients, &troubles).await;
            }
            for report in recipients.iter().filter_map(|recipient| recipient.report.as_ref()) {
                summary.count(report.disposition);
                watcher(RunEvent::Attempt(report));
            }
        }
    }
    summary
}

/// Settles each recipient separately, after one lease of the settlement was lost. A failed recipient returns to the queue,
/// because its report was dropped with the whole; it fails again later, with a report.
async fn one_by_one(store: &dyn QueueStore, recipients: &mut [RecipientSettlement], troubles: &Troubles) {
    let alone = recipients.len() == 1;
    for recipient in recipients {
        let mut settled = recipient.settled.clone();
        if matches!(settled.outcome, LeaseOutcome::Failed(_)) {
            settled.outcome = LeaseOutcome::Yielded;
        }
        let again = settled.outcome == LeaseOutcome::Yielded;
        let settlement = Settlement { leases: vec![settled], reports: Vec::new() };
        let held = if alone { Ok(vec![false]) } else { store.settle(vec![settlement]).await };
        let held = held.unwrap_or_else(|fault| {
            troubles.report(&fault);
            vec![false]
        });
        if let Some(report) = recipient.report.as_mut().filter(|_| held != [true] || again) {
            report.disposition = Disposition::Lost;
        }
    }
}

impl RunSummary {
    fn count(&mut self, disposition: Disposition) {
        let counter = match disposition {
            Disposition::Delivered => &mut self.delivered,
            Disposition::Deferred(_) => &mut self.deferred,
            Disposition::Failed | Disposition::Expired => &mut self.failed,
            Disposition::Held => &mut self.held,
            Disposition::Lost => &mut self.lost,
        };
        *counter += 1;
    }
}

/// Renews the held leases, as long as the run lasts.
async fn renew(run: Arc<ActiveRun>) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        // A lost lease is noticed before the final dot; a failed renewal is repeated.
        let _ = run.store.renew(run.held()).await;
    }
}

impl ActiveRun {
    fn now(&self) -> Time {
        (self.options.clock)()
    }

    /// True if no new message may begin.
    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// True if no running delivery may complete.
    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    async fn route(&self, domain: &str) -> Result<Vec<Hop>, Fault> {
        let note = |target: &RouteTarget, failed: Option<&Fault>| self.note_lookup(target, failed);
        self.options.routing.find_noting(domain, &*self.options.dns, &mut random, &note).await
    }

    async fn follow(&self, target: &RouteTarget, domain: &str) -> Result<Vec<Hop>, Fault> {
        let found = self.options.routing.follow(target, domain, &*self.options.dns, &mut random).await;
        self.note_lookup(target, found.as_ref().err());
        found
    }

    fn note_lookup(&self, target: &RouteTarget, failed: Option<&Fault>) {
        match target {
            RouteTarget::Server { host, .. } => self.health.looked_up(host, failed),
            RouteTarget::Account(name) => self.health.looked_up(&format!("account:{name}"), failed),
            RouteTarget::Unix(_) | RouteTarget::Maildir(_) | RouteTarget::Mx(_) => {}
        }
    }

    /// Claims, and records the leases as held.
    async fn claim(&self, claim: Claim) -> Result<Claimed, Fault> {
        let _claiming = self.claiming.read().await;
        let claimed = self.store.claim(claim).await?;
        let recipients = claimed.batches.iter().flat_map(|batch| &batch.envelope.recipients);
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.extend(recipients.map(|recipient| recipient.lease.clone()));
        drop(leases);
        Ok(claimed)
    }

    /// Recovers leases that no owner holds.
    async fn recover(&self) {
        let _alone = self.claiming.write().await;
        if let Err(fault) = self.store.recover(self.held()).await {
            self.troubles.report(&fault);
        }
    }

    fn held(&self) -> Vec<Lease> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Passes an outcome to the recorder.
    fn record(&self, batch: &DeliveryBatch, delivery: &Delivery) {
        let settled = settle(batch, delivery, &self.options.rules, self.now(), &mut random);
        // The recorder lives as long as any sender.
        let _ = self.outcomes.send(settled);
    }

    /// Returns unused leases.
    fn give_back(&self, batch: &DeliveryBatch) {
        let recipients = batch.envelope.recipients.iter().map(|recipient| RecipientSettlement {
            settled: SettledLease { lease: recipient.lease.clone(), outcome: LeaseOutcome::Yielded },
            report: None,
        });
        let _ = self.outcomes.send(DeliverySettlement { recipients: recipients.collect(), reports: Vec::new() });
    }
}

fn random() -> u32 {
    getrandom::u32().unwrap_or(0)
}
