//! One destination being served: workers with a connection each, as many as the destination can handle.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::fault::Fault;
use crate::net::counters::Counter;
use crate::queue::entry::Time;
use crate::queue::runner::ActiveRun;
use crate::queue::store::{Claim, Claimed, DeliveryBatch, Lease};
use crate::relay::connection::RouteConnection;
use crate::relay::deliver::{Delivery, RouteProgress, undelivered};
use crate::relay::route::{Hop, RouteOverride};
use crate::smtp::client::{BeforeCommit, SendOptions};
use crate::smtp::data::MessageBlob;
use crate::smtp::envelope::Envelope;

/// The size of the first claim, in recipients.
const FIRST_CLAIM: usize = 16;
/// The largest claim, in recipients, and so the most in one transaction: the number that every server must accept (RFC 5321,
/// section 4.5.3.1.8).
const MAX_CLAIM: usize = 100;
/// The intended duration of a claim's work: less leaves the connection idle, more makes other senders wait.
const CLAIM_LASTS: Duration = Duration::from_millis(500);
/// In watch mode, the pause after a claim that found less than it asked for: messages that arrive meanwhile are claimed together.
const CLAIMS_APART: Duration = Duration::from_millis(5);
/// The initial number of connections.
const FIRST_WINDOW: f64 = 2.0;
/// The time that an idle connection is kept open in watch mode.
const LINGER: Duration = Duration::from_secs(2);
/// The time after which a route is looked up again.
const ROUTE_FOR: Duration = Duration::from_secs(300);
/// The most consecutive messages that servers broke off before a reply about any recipient: after that the rest is deferred.
const MAX_BROKEN: u32 = 3;

/// A destination and its work in memory.
pub(super) struct Destination {
    domain: String,
    /// Wakes waiting workers: there may be new work.
    work: Notify,
    /// Tells the destination that another worker may help.
    grow: Notify,
    /// Leased batches, not yet given to a worker.
    ready: Mutex<VecDeque<DeliveryBatch>>,
    /// Locked during a claim: one at a time.
    claiming: tokio::sync::Mutex<Claims>,
    /// True if a background claim is running, or would find nothing.
    enough: AtomicBool,
    state: Mutex<DestinationState>,
    finished: AtomicBool,
    /// The time when its servers must be looked up again.
    until: tokio::time::Instant,
    /// Its servers, looked up when the first message without its own next hop is due.
    hops: tokio::sync::OnceCell<Vec<Hop>>,
    /// The time when the next message may begin, if there is a rate.
    next_begin: tokio::sync::Mutex<Option<tokio::time::Instant>>,
}

/// The sequence of claims.
struct Claims {
    /// The size of the next claim, in recipients.
    limit: usize,
    last: tokio::time::Instant,
    /// True if the last claim returned as much as it asked for.
    full: bool,
}

#[derive(Default)]
struct DestinationState {
    /// The number of connections it can handle: grows with success, shrinks with failure.
    window: f64,
    workers: usize,
    /// Workers that got an answer for at least one message.
    proven: usize,
    /// The number of consecutive messages that were broken off.
    broken: u32,
    /// The reason why nothing more is tried.
    verdict: Option<Fault>,
}

impl Destination {
    pub(super) fn new(domain: String) -> Destination {
        Destination {
            domain,
            work: Notify::new(),
            grow: Notify::new(),
            ready: Mutex::default(),
            claiming: tokio::sync::Mutex::new(Claims {
                limit: FIRST_CLAIM,
                last: tokio::time::Instant::now(),
                full: true,
            }),
            enough: AtomicBool::new(false),
            state: Mutex::new(DestinationState { window: FIRST_WINDOW, ..DestinationState::default() }),
            finished: AtomicBool::new(false),
            until: tokio::time::Instant::now() + ROUTE_FOR,
            hops: tokio::sync::OnceCell::new(),
            next_begin: tokio::sync::Mutex::default(),
        }
    }

    /// Announces possible new work.
    pub(super) fn wake(&self) {
        self.work.notify_one();
    }

    /// Ends the wait of all workers for new work.
    pub(super) fn stop(&self) {
        self.work.notify_waiters();
    }

    /// True if it accepts no new work.
    pub(super) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    fn ready(&self) -> std::sync::MutexGuard<'_, VecDeque<DeliveryBatch>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if the servers must be looked up again, by another [`Destination`].
    fn is_outdated(&self) -> bool {
        tokio::time::Instant::now() >= self.until
    }

    fn state(&self) -> std::sync::MutexGuard<'_, DestinationState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves the destination until none of its work is due.
    pub(super) async fn serve(self: Arc<Self>, run: Arc<ActiveRun>, due_until: Option<Time>) {
        // Without due work no name server is asked.
        if let Some(first) = self.next(&run, due_until).await {
            self.ready().push_front(first);
            self.serve_due(&run, due_until).await;
        }
        // A background claim ends first.
        let _claiming = self.claiming.lock().await;
        self.finished.store(true, Ordering::Release);
        // Workers that gave up may have left batches behind.
        let left: Vec<DeliveryBatch> = self.ready().drain(..).collect();
        left.into_iter().for_each(|batch| run.give_back(&batch));
        run.changed.notify_one();
    }

    async fn serve_due(self: &Arc<Self>, run: &Arc<ActiveRun>, due_until: Option<Time>) {
        let mut workers = JoinSet::new();
        self.state().workers = 1;
        workers.spawn(Arc::clone(self).work(Arc::clone(run), due_until));
        loop {
            let more = {
                let waiting = self.ready().len();
                let mut state = self.state();
                let more = state.verdict.is_none()
                    && waiting > 0
                    && state.workers > 0
                    && state.workers < (state.window as usize).min(run.options.per_destination);
                state.workers += usize::from(more);
                more
            };
            if more {
                workers.spawn(Arc::clone(self).work(Arc::clone(run), due_until));
                continue;
            }
            tokio::select! {
                ended = workers.join_next() => if ended.is_none() { break },
                () = self.grow.notified() => {}
            }
        }
    }

    /// Its servers; a failed look-up is the verdict on all messages without their own next hop.
    async fn hops(&self, run: &ActiveRun) -> Vec<Hop> {
        let look_up = async || match run.route(&self.domain).await {
            Ok(hops) => hops,
            Err(fault) => {
                self.state().verdict = Some(fault);
                Vec::new()
            }
        };
        self.hops.get_or_init(look_up).await.clone()
    }

    /// The next batch: a ready one, or the first of a new claim; `None` if nothing is due. The next claim starts before the
    /// last ready batch is taken.
    async fn next(self: &Arc<Self>, run: &Arc<ActiveRun>, due_until: Option<Time>) -> Option<DeliveryBatch> {
        loop {
            if run.stopping() {
                return None;
            }
            let (batch, left) = {
                let mut ready = self.ready();
                (ready.pop_front(), ready.len())
            };
            if batch.is_none() {
                if self.is_outdated() || !self.claim(run, due_until, 1).await {
                    return None;
                }
                continue;
            }
            if left < FIRST_CLAIM && !self.is_outdated() && !self.enough.swap(true, Ordering::AcqRel) {
                let (this, run) = (Arc::clone(self), Arc::clone(run));
                tokio::spawn(async move {
                    this.claim(&run, due_until, FIRST_CLAIM).await;
                });
            }
            return batch;
        }
    }

    /// Claims more, unless a concurrent claim has just made `enough` batches ready; false if there is nothing.
    async fn claim(&self, run: &ActiveRun, due_until: Option<Time>, enough: usize) -> bool {
        let mut claims = self.claiming.lock().await;
        if run.options.watch && !claims.full {
            tokio::time::sleep_until(claims.last + CLAIMS_APART).await;
        }
        if self.is_finished() || self.ready().len() >= enough {
            self.enough.store(false, Ordering::Release);
            return true;
        }
        // As much as the worker sends in `CLAIM_LASTS`.
        claims.limit = match claims.last.elapsed() < CLAIM_LASTS {
            true => (claims.limit * 2).min(MAX_CLAIM),
            false => (claims.limit / 2).max(FIRST_CLAIM),
        };
        claims.last = tokio::time::Instant::now();
        let now = run.now();
        let claim = Claim {
            domain: self.domain.clone(),
            due_until: due_until.unwrap_or(now),
            now,
            limit: claims.limit,
            wanted: run.options.wanted.clone(),
        };
        match run.claim(claim).await {
            Ok(Claimed { batches, damaged }) => {
                damaged.iter().for_each(|entry| run.troubles.report(&entry.fault));
                let full = batches.iter().map(|batch| batch.envelope.recipients.len()).sum::<usize>() >= claims.limit;
                claims.full = full;
                self.enough.store(!full, Ordering::Release);
                let waiting = {
                    let mut ready = self.ready();
                    ready.extend(batches.into_iter().flat_map(by_route));
                    ready.len()
                };
                if waiting > 1 {
                    self.work.notify_waiters();
                    self.grow.notify_one();
                }
                waiting > 0
            }
            Err(fault) => {
                run.troubles.report(&fault);
                false
            }
        }
    }

    /// One worker: a connection, and one message after another.
    async fn work(self: Arc<Self>, run: Arc<ActiveRun>, due_until: Option<Time>) {
        let mut route = RouteConnection::new(Vec::new());
        let mut has_route = false;
        let leases: Arc<Mutex<Vec<Lease>>> = Arc::default();
        let commit = ask_for(&run, &leases);
        let mut proven = false;
        let mut upcoming: Option<DeliveryBatch> = None;
        loop {
            let batch = match upcoming.take() {
                Some(batch) => batch,
                None => match self.next(&run, due_until).await {
                    Some(batch) => batch,
                    None if run.options.watch && !run.stopping() && route.is_open() && !self.is_outdated() => {
                        let woken = tokio::time::timeout(LINGER, self.work.notified()).await;
                        if woken.is_err() {
                            break;
                        }
                        continue;
                    }
                    None => break,
                },
            };
            if let Some(route) = batch.envelope.recipients.first().and_then(|recipient| recipient.route.clone()) {
                self.by_own_route(&run, batch, &route, &commit, &leases).await;
                continue;
            }
            if !std::mem::replace(&mut has_route, true) {
                route = RouteConnection::new(self.hops(&run).await);
            }
            let verdict = self.state().verdict.clone();
            if let Some(fault) = verdict {
                run.record(&batch, &undelivered(&batch.to_send(), &fault));
                continue;
            }
            upcoming = self.peek(&run);
            let envelope = batch.to_send();
            let content = batch.content();
            let next = upcoming.as_ref().map(|batch| (batch.to_send(), batch.content()));
            let options = SendOptions {
                partial: true,
                before_commit: Some(commit.clone()),
                next: next.as_ref().map(|(envelope, content)| (envelope, content as _)),
                ..SendOptions::default()
            };
            self.pace(&run).await;
            set(&leases, &batch);
            let delivery = bring(&run, &mut route, &envelope, &content, &options).await;
            if delivery.progress == RouteProgress::Unreached && self.others_get_through(proven) {
                // The server has enough connections: another worker sends the message, this one ends.
                {
                    let mut ready = self.ready();
                    upcoming.into_iter().for_each(|batch| ready.push_front(batch));
                    ready.push_front(batch);
                }
                self.leave(proven, true);
                route.quit().await;
                return;
            }
            proven |= self.learn(&delivery, proven, run.options.per_destination);
            run.record(&batch, &delivery);
            if upcoming.is_none() && self.is_one_too_many() {
                break;
            }
        }
        self.leave(proven, false);
        route.quit().await;
    }

    /// Adapts the destination to the result of a delivery: it grows with success, shrinks with failure, and is given up for
    /// now if no server can be reached or consecutive messages are broken off. True if a server answered for the message.
    fn learn(&self, delivery: &Delivery, proven: bool, most: usize) -> bool {
        let mut state = self.state();
        let fault = || delivery.recipients.iter().find_map(|recipient| recipient.result.fault.clone());
        match delivery.progress {
            RouteProgress::Unreached => {
                state.verdict = fault();
                false
            }
            RouteProgress::Broken => {
                state.window = (state.window / 2.0).max(1.0);
                state.broken += 1;
                if state.broken >= MAX_BROKEN {
                    state.verdict = fault();
                }
                false
            }
            RouteProgress::Answered => {
                state.broken = 0;
                state.proven += usize::from(!proven);
                let before = state.window;
                state.window = (before + 1.0 / before).min(most as f64);
                if before as usize != state.window as usize {
                    self.grow.notify_one();
                }
                true
            }
        }
    }

    /// True if there are more workers than the destination can handle.
    fn is_one_too_many(&self) -> bool {
        let state = self.state();
        state.verdict.is_none() && state.workers > 1 && state.workers > state.window as usize
    }

    /// Waits for this message's turn if the destination has a rate.
    async fn pace(&self, run: &ActiveRun) {
        let Some(interval) = run.options.interval else { return };
        let mut next = self.next_begin.lock().await;
        let now = tokio::time::Instant::now();
        let turn = next.map_or(now, |next| next.max(now));
        *next = Some(turn + interval);
        drop(next);
        tokio::time::sleep_until(turn).await;
    }

    /// Another batch for the same worker, so that its first commands are pipelined after the message before it; only if
    /// enough is left for the other workers.
    fn peek(&self, run: &ActiveRun) -> Option<DeliveryBatch> {
        let mut ready = self.ready();
        let enough = ready.len() > self.state().workers && !run.stopping();
        let plain = ready.front().is_some_and(|batch| batch.envelope.recipients.iter().all(|one| one.route.is_none()));
        if enough && plain { ready.pop_front() } else { None }
    }

    /// True if this worker never got an answer but others did.
    fn others_get_through(&self, proven: bool) -> bool {
        let state = self.state();
        state.proven > usize::from(proven) && state.workers > 1
    }

    fn leave(&self, proven: bool, shrink: bool) {
        let mut state = self.state();
        state.workers = state.workers.saturating_sub(1);
        state.proven = state.proven.saturating_sub(usize::from(proven));
        if shrink {
            state.window = (state.window / 2.0).max(1.0);
        }
    }

    /// Delivers a batch with a next hop chosen by the operator.
    async fn by_own_route(
        &self,
        run: &ActiveRun,
        batch: DeliveryBatch,
        route: &RouteOverride,
        commit: &BeforeCommit,
        leases: &Mutex<Vec<Lease>>,
    ) {
        let envelope = batch.to_send();
        let delivery = match run.follow(route.target(), &self.domain).await {
            Err(fault) => undelivered(&envelope, &fault),
            Ok(hops) => {
                let mut route = RouteConnection::new(hops);
                let options =
                    SendOptions { partial: true, before_commit: Some(commit.clone()), ..SendOptions::default() };
                self.pace(run).await;
                set(leases, &batch);
                let delivery = bring(run, &mut route, &envelope, &batch.content(), &options).await;
                route.quit().await;
                delivery
            }
        };
        run.record(&batch, &delivery);
    }
}

/// Delivers one message along a route, once there is room for it.
async fn bring(
    run: &ActiveRun,
    route: &mut RouteConnection,
    envelope: &Envelope,
    content: &MessageBlob,
    options: &SendOptions<'_>,
) -> Delivery {
    let probe = match route.goes_to() {
        Some(hop) => run.health.probe(hop).await,
        None => None,
    };
    let permit = run.permits.acquire().await;
    Counter::DeliveriesBegun.add(1);
    let delivery = route.deliver(&*run.options.connector, &run.health, envelope, content, options).await;
    Counter::DeliveriesEnded.add(1);
    drop((permit, probe));
    delivery
}

/// Splits a batch by next hop.
fn by_route(batch: DeliveryBatch) -> Vec<DeliveryBatch> {
    if batch.envelope.recipients.iter().all(|recipient| recipient.route.is_none()) {
        return vec![batch];
    }
    let mut parts: Vec<DeliveryBatch> = Vec::new();
    for recipient in &batch.envelope.recipients {
        let same = parts
            .iter_mut()
            .find(|part| part.envelope.recipients.first().is_some_and(|first| first.route == recipient.route));
        match same {
            Some(part) => part.envelope.recipients.push(recipient.clone()),
            None => parts.push(DeliveryBatch {
                envelope: batch.envelope.with_recipients(vec![recipient.clone()]),
                domain: batch.domain.clone(),
                body: batch.body.clone(),
                ..batch
            }),
        }
    }
    parts
}

fn set(leases: &Mutex<Vec<Lease>>, batch: &DeliveryBatch) {
    let mut current = leases.lock().unwrap_or_else(PoisonError::into_inner);
    current.clear();
    current.extend(batch.envelope.recipients.iter().map(|recipient| recipient.lease.clone()));
}

/// The check before each final dot: are all leases still held?
fn ask_for(run: &Arc<ActiveRun>, leases: &Arc<Mutex<Vec<Lease>>>) -> BeforeCommit {
    let (run, leases) = (Arc::clone(run), Arc::clone(leases));
    Arc::new(move || {
        let run = Arc::clone(&run);
        let current = leases.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            // A store that cannot answer stops the message: better not sent than sent twice.
            !run.stopped() && run.store.renew(current).await.is_ok_and(|held| held.into_iter().all(|held| held))
        })
    })
}
