//! Jobs over connections: starts with one connection and opens more while work waits, backs off when the server refuses
//! more, retries what failed for now on a fresh connection.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{MAX_CONNECTIONS, Settings};
use crate::fault::{Fault, Kind};
use crate::ftp::client::Client;

/// Connections to a server that answers within [`NEAR`]: more only make its processes compete.
const NEAR_CONNECTIONS: usize = 4;
/// Connections to a server farther away.
const FAR_CONNECTIONS: usize = 16;
/// What is near.
const NEAR: Duration = Duration::from_millis(2);
/// Waiting jobs for each connection that make another one worth its login.
const JOBS_PER_CONNECTION: usize = 4;

/// What the jobs of a pool are.
pub(super) trait Work: Send + Sync + 'static {
    /// One piece of work.
    type Job: Send + 'static;

    /// Does a job; follow-up jobs go into `more`.
    fn run(
        &self,
        client: &mut Client,
        job: &mut Self::Job,
        retries: u32,
        more: &mut Vec<Self::Job>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// True for a job that makes other jobs: it goes first.
    fn first(&self, job: &Self::Job) -> bool;

    /// A job failed for good.
    fn failed(&self, job: Self::Job, fault: Fault);
}

struct Queued<J> {
    job: J,
    retries: u32,
}

struct State<J> {
    waiting: VecDeque<Queued<J>>,
    /// Jobs being done: they may make more.
    running: usize,
    workers: usize,
    limit: usize,
    /// Nothing more is started: a failure that concerns every job.
    stopped: Option<Fault>,
}

struct Pool<W: Work> {
    work: W,
    settings: Settings,
    state: Mutex<State<W::Job>>,
    wake: Notify,
}

/// Runs all jobs over connections; `client` is the first one. Returns what stopped the run, if anything did.
pub(super) async fn run<W: Work>(work: W, settings: &Settings, client: Client, jobs: Vec<W::Job>) -> Result<(), Fault> {
    let by_distance = if client.round_trip() < NEAR { NEAR_CONNECTIONS } else { FAR_CONNECTIONS };
    let limit = settings.connections.unwrap_or(by_distance).clamp(1, MAX_CONNECTIONS);
    let waiting = jobs.into_iter().map(|job| Queued { job, retries: 0 }).collect();
    let state = State { waiting, running: 0, workers: 0, limit, stopped: None };
    let pool = Arc::new(Pool { work, settings: settings.clone(), state: Mutex::new(state), wake: Notify::new() });
    let mut workers = JoinSet::new();
    pool.state().workers = 1;
    workers.spawn(pool.clone().worker(Some(client)));
    loop {
        // Another connection while enough work waits; checked whenever work arrives.
        while pool.wants_worker() {
            workers.spawn(pool.clone().worker(None));
        }
        tokio::select! {
            ended = workers.join_next() => match ended {
                Some(Err(error)) => return Err(Fault::new(Kind::Internal, error.to_string())),
                Some(Ok(())) => {}
                None => break,
            },
            () = pool.wake.notified() => {}
        }
    }
    let mut state = pool.state();
    let left = state.waiting.len();
    let stopped = state.stopped.take();
    drop(state);
    match (stopped, left) {
        (None, 0) => Ok(()),
        // The failure itself was reported with its job; what it leaves undone is one more.
        (Some(_), 0) => Ok(()),
        (Some(fault), left) => Err(fault.context(format_args!("{left} more not tried"))),
        (None, _) => Err(Fault::new(Kind::Internal, "work was left undone")),
    }
}

impl<W: Work> Pool<W> {
    fn state(&self) -> MutexGuard<'_, State<W::Job>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True, and counted, when one more worker pays.
    fn wants_worker(&self) -> bool {
        let mut state = self.state();
        let wanted = state.stopped.is_none()
            && state.workers < state.limit
            && state.waiting.len() > state.workers * JOBS_PER_CONNECTION;
        state.workers += usize::from(wanted);
        wanted
    }

    async fn worker(self: Arc<Self>, mut client: Option<Client>) {
        let mut more = Vec::new();
        while let Some(mut queued) = self.next().await {
            let mut result = Ok(());
            if client.as_ref().is_none_or(|client| !client.usable()) {
                client = None;
                match Client::open(&self.settings.url, &self.settings.options).await {
                    Ok(opened) => client = Some(opened),
                    Err(fault) if self.give_back(&fault) => {
                        let mut state = self.state();
                        state.running -= 1;
                        state.waiting.push_front(queued);
                        drop(state);
                        self.wake_all();
                        return;
                    }
                    Err(fault) => result = Err(fault),
                }
            }
            if let Some(client) = &mut client {
                result = self.work.run(client, &mut queued.job, queued.retries, &mut more).await;
            }
            self.done(queued, result, &mut more).await;
        }
        self.state().workers -= 1;
        self.wake_all();
        if let Some(client) = client {
            client.quit().await;
        }
    }

    /// A connection more than the server allows: the others do the work, and no further one is tried.
    fn give_back(&self, fault: &Fault) -> bool {
        let mut state = self.state();
        if state.workers <= 1 {
            return false;
        }
        state.workers -= 1;
        state.limit = state.workers;
        self.settings.options.trace.note(&format!("no more than {} connections: {fault}", state.limit));
        true
    }

    /// The next job, `None` when nothing waits and nobody can make more.
    async fn next(&self) -> Option<Queued<W::Job>> {
        loop {
            let woken = self.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            {
                let mut state = self.state();
                if state.stopped.is_some() {
                    return None;
                }
                if let Some(queued) = state.waiting.pop_front() {
                    state.running += 1;
                    return Some(queued);
                }
                if state.running == 0 {
                    return None;
                }
            }
            woken.await;
        }
    }

    async fn done(&self, queued: Queued<W::Job>, result: Result<(), Fault>, more: &mut Vec<W::Job>) {
        let Queued { job, retries } = queued;
        match result {
            Ok(()) => self.finish(None, more),
            Err(fault) if fault.temporary() && retries < self.settings.retries => {
                let jitter = fraction();
                let wait = crate::retry::delay(retries + 1, self.settings.retry_delay, None, jitter);
                self.settings.options.trace.note(&format!("trying again in {:.1} s: {fault}", wait.as_secs_f64()));
                tokio::time::sleep(wait).await;
                self.finish(Some(Queued { job, retries: retries + 1 }), more);
            }
            Err(fault) => {
                let stop = ends_everything(&fault);
                self.work.failed(job, fault.clone());
                if stop {
                    self.state().stopped.get_or_insert(fault);
                }
                self.finish(None, more);
            }
        }
    }

    fn finish(&self, again: Option<Queued<W::Job>>, more: &mut Vec<W::Job>) {
        let mut state = self.state();
        state.running -= 1;
        state.waiting.extend(again);
        for job in more.drain(..) {
            let queued = Queued { job, retries: 0 };
            match self.work.first(&queued.job) {
                true => state.waiting.push_front(queued),
                false => state.waiting.push_back(queued),
            }
        }
        drop(state);
        self.wake_all();
    }

    fn wake_all(&self) {
        self.wake.notify_waiters();
        // The pool's own loop may be between two waits: it must not miss that work arrived.
        self.wake.notify_one();
    }
}

/// Failures that every further job would meet too: the disk is full (452 there, or ours here), the login is refused, the
/// server is gone.
fn ends_everything(fault: &Fault) -> bool {
    fault.code == Some(452)
        || matches!(
            fault.kind,
            Kind::AuthFailed
                | Kind::TlsUntrusted
                | Kind::NoHost
                | Kind::ConnectRefused
                | Kind::Unreachable
                | Kind::LookupFailed
        )
}

fn fraction() -> f64 {
    let mut bytes = [0u8; 4];
    match getrandom::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
