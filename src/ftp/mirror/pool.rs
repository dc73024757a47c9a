//! A pool of connections for jobs. It starts with one connection and opens more while jobs wait, backs off when the server
//! refuses more, retries temporary failures on a fresh connection, and sends the commands of several jobs ahead.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{MAX_CONNECTIONS, MirrorSettings};
use crate::fault::{Fault, Kind};
use crate::ftp::client::{Ahead, FtpClient, MAX_CHAIN_BYTES};
use crate::ftp::command::FtpCommand;
use crate::ftp::reply::FtpReply;

/// The useful number of connections for each round-trip time: on one machine, more would only make its processes compete.
const BY_DISTANCE: [(Duration, usize); 3] =
    [(Duration::from_millis(2), 4), (Duration::from_millis(10), 8), (Duration::MAX, 16)];
/// The number of waiting jobs per connection that makes another connection worth its login.
const JOBS_PER_CONNECTION: usize = 4;
/// From this number of waiting jobs on, jobs that create more jobs have to wait.
const MAX_WAITING: usize = 4096;
/// The most simultaneous logins: servers have short queues for connections that are not accepted yet.
const MAX_LOGINS: usize = 8;
/// How often a job is repeated without counting as a retry, after a failure that it did not cause: a connection that other
/// jobs broke, a server with too few connections or ports, a stalled transfer.
const MAX_AGAIN: u32 = 5;

/// The kind of work that a pool does.
pub(super) trait PoolWork: Send + Sync + 'static {
    /// One piece of work.
    type Job: Send + 'static;

    /// Runs a job; follow-up jobs go into `more`. The commands of [`PoolWork::finish_commands`] may be sent later.
    fn run(
        &self,
        client: &mut FtpClient,
        job: &mut Self::Job,
        retries: u32,
        more: &mut Vec<Self::Job>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// True for a job that creates other jobs: it goes first.
    fn is_expanding(&self, job: &Self::Job) -> bool;

    /// A job failed permanently.
    fn failed(&self, job: Self::Job, fault: Fault);

    /// Reports that a job failed temporarily and is repeated after a wait.
    fn on_retry(&self, job: &Self::Job, fault: &Fault, wait: Duration);

    /// True for a job that may be repeated, no matter how far it got.
    fn repeatable(&self, _job: &Self::Job) -> bool {
        true
    }

    /// The first commands of a job's transfer, if they need no earlier replies.
    fn pipelined(&self, _job: &Self::Job, _retries: u32) -> Option<Ahead> {
        None
    }

    /// The outstanding commands of a job that has run, best sent together with the next job's commands; empty when it is done.
    fn finish_commands(&self, _client: &FtpClient, _job: &mut Self::Job) -> Vec<FtpCommand> {
        Vec::new()
    }

    /// Evaluates the replies to [`PoolWork::finish_commands`].
    fn on_finished(
        &self,
        _client: &FtpClient,
        _job: &mut Self::Job,
        _retries: u32,
        _replies: &[FtpReply],
    ) -> Result<(), Fault> {
        Ok(())
    }
}

struct QueuedJob<J> {
    job: J,
    retries: u32,
    /// How often it was repeated after failures that it did not cause.
    again: u32,
}

impl<J> QueuedJob<J> {
    fn new(job: J) -> QueuedJob<J> {
        QueuedJob { job, retries: 0, again: 0 }
    }

    fn attempts(&self) -> u32 {
        self.retries + self.again
    }
}

/// The waiting jobs. Jobs that create others go first while few others wait, and the newest of them goes first of all: so a
/// tree of any size is walked with few jobs at a time.
struct JobQueue<J> {
    expanding: VecDeque<QueuedJob<J>>,
    others: VecDeque<QueuedJob<J>>,
}

impl<J> JobQueue<J> {
    fn len(&self) -> usize {
        self.expanding.len() + self.others.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn expands_next(&self) -> bool {
        !self.expanding.is_empty() && self.others.len() < MAX_WAITING
    }

    fn pop(&mut self) -> Option<QueuedJob<J>> {
        if self.expands_next() { self.expanding.pop_front() } else { self.others.pop_front() }
    }

    /// The next job, if it creates no others.
    fn next_plain(&self) -> Option<&QueuedJob<J>> {
        self.others.front().filter(|_| !self.expands_next())
    }
}

struct PoolState<J> {
    waiting: JobQueue<J>,
    /// The number of running jobs: they may create more.
    running: usize,
    workers: usize,
    /// The number of workers that are still logging in.
    logins: usize,
    limit: usize,
    /// The failure that concerns every job; no further job is started.
    stopped: Option<Fault>,
}

struct WorkerPool<W: PoolWork> {
    work: W,
    settings: MirrorSettings,
    state: Mutex<PoolState<W::Job>>,
    wake: Notify,
}

/// The state of one worker.
struct Worker<J> {
    client: Option<FtpClient>,
    /// The connection has run a job: it may have been lost since then, between two jobs or in the next one.
    served: bool,
    /// Jobs that have run and still have commands to send.
    open: Vec<QueuedJob<J>>,
    more: Vec<J>,
}

/// A job, and the commands that may be sent ahead for it.
type PipelinedJob<J> = (QueuedJob<J>, Option<Ahead>);

enum Taken<J> {
    Jobs(VecDeque<PipelinedJob<J>>),
    /// No job waits at present: the open jobs should be closed.
    NothingYet,
    /// The worker is not needed any more, and is no longer counted.
    Over,
}

/// Runs all jobs; `client` is the first connection. Returns the fault that left jobs undone, if there is one.
pub(super) async fn run<W: PoolWork>(
    work: W,
    settings: &MirrorSettings,
    client: FtpClient,
    jobs: Vec<W::Job>,
) -> Result<(), Fault> {
    let near = |(distance, _): &&(Duration, usize)| client.round_trip() < *distance;
    let by_distance = BY_DISTANCE.iter().find(near).map_or(1, |(_, connections)| *connections);
    let allowed = settings.options.quirks.allowed().unwrap_or(MAX_CONNECTIONS);
    let limit = settings.connections.unwrap_or(by_distance).min(allowed).clamp(1, MAX_CONNECTIONS);
    let (expanding, others) = jobs.into_iter().map(QueuedJob::new).partition(|queued| work.is_expanding(&queued.job));
    let waiting = JobQueue { expanding, others };
    let state = PoolState { waiting, running: 0, workers: 0, logins: 0, limit, stopped: None };
    let pool = Arc::new(WorkerPool { work, settings: settings.clone(), state: Mutex::new(state), wake: Notify::new() });
    let mut workers = JoinSet::new();
    pool.state().workers = 1;
    workers.spawn(pool.clone().worker(Some(client)));
    loop {
        // Opens further connections while enough jobs wait; checked whenever jobs arrive.
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
        // The failure itself was reported with its job; only undone jobs make a further fault.
        (Some(_), 0) => Ok(()),
        (Some(fault), left) => Err(fault.context(format_args!("{left} more not tried"))),
        (None, _) => Err(Fault::new(Kind::Internal, "work was left undone")),
    }
}

impl<W: PoolWork> WorkerPool<W> {
    fn state(&self) -> MutexGuard<'_, PoolState<W::Job>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when one more worker is worth it; the worker is then counted.
    fn wants_worker(&self) -> bool {
        let mut state = self.state();
        let wanted = state.stopped.is_none()
            && state.workers < state.limit
            && state.logins < MAX_LOGINS
            && state.waiting.len() > state.workers * JOBS_PER_CONNECTION;
        state.workers += usize::from(wanted);
        state.logins += usize::from(wanted);
        wanted
    }

    async fn worker(self: Arc<Self>, client: Option<FtpClient>) {
        let mut worker = Worker { client, served: false, open: Vec::new(), more: Vec::new() };
        if worker.client.is_none() {
            // A further worker takes no job before its connection is open, and gives up when the others have finished.
            let opened = tokio::select! {
                opened = FtpClient::open(&self.settings.url, &self.settings.options) => Some(opened),
                () = self.through() => None,
            };
            self.state().logins -= 1;
            self.wake_all();
            match opened {
                Some(Ok(client)) => worker.client = Some(client),
                Some(Err(fault)) if self.give_back(&fault) => return self.wake_all(),
                // The last worker: its next attempt to connect fails together with a job.
                Some(Err(_)) => {}
                None => {
                    self.state().workers -= 1;
                    return self.wake_all();
                }
            }
        }
        loop {
            let chain = worker.client.as_ref().filter(|client| client.usable()).map_or(0, FtpClient::chain_length);
            match self.take(chain, !worker.open.is_empty()).await {
                Taken::Jobs(jobs) => {
                    // Boxed: a task is copied several times on the stack while it is spawned.
                    if !Box::pin(self.batch(&mut worker, jobs)).await {
                        return;
                    }
                }
                Taken::NothingYet => self.close(&mut worker).await,
                Taken::Over => break,
            }
        }
        self.wake_all();
        if let Some(client) = worker.client {
            client.quit().await;
        }
    }

    /// Returns when no job waits and no running job can create one.
    async fn through(&self) {
        loop {
            let woken = self.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let over = {
                let state = self.state();
                state.stopped.is_some() || (state.waiting.is_empty() && state.running == 0)
            };
            if over {
                return;
            }
            woken.await;
        }
    }

    /// The next jobs: one, or as many as may be sent ahead together.
    async fn take(&self, chain: usize, open: bool) -> Taken<W::Job> {
        loop {
            let woken = self.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            {
                let mut state = self.state();
                let over = state.stopped.is_some() || state.workers > state.limit;
                let first = if over { None } else { state.waiting.pop() };
                if let Some(first) = first {
                    let mut jobs = VecDeque::with_capacity(chain.max(1));
                    let command = if chain > 0 { self.work.pipelined(&first.job, first.attempts()) } else { None };
                    let chained = command.is_some();
                    let mut length = command.as_ref().map_or(0, Ahead::length);
                    jobs.push_back((first, command));
                    // Each worker takes only a share, so that the last jobs are spread evenly.
                    let share = (state.waiting.len() / (2 * state.limit) + 1).min(chain);
                    while chained && jobs.len() < share {
                        let next = state.waiting.next_plain();
                        let Some(command) = next.and_then(|next| self.work.pipelined(&next.job, next.attempts()))
                        else {
                            break;
                        };
                        length += command.length();
                        if length > MAX_CHAIN_BYTES {
                            break;
                        }
                        jobs.extend(state.waiting.pop().map(|next| (next, Some(command))));
                    }
                    state.running += jobs.len();
                    return Taken::Jobs(jobs);
                }
                if open {
                    return Taken::NothingYet;
                }
                if over || state.running == 0 {
                    state.workers -= 1;
                    return Taken::Over;
                }
            }
            woken.await;
        }
    }

    /// Runs a batch of jobs. False: the worker has given up its connection and ends.
    async fn batch(&self, worker: &mut Worker<W::Job>, mut jobs: VecDeque<PipelinedJob<W::Job>>) -> bool {
        if worker.client.as_ref().is_none_or(|client| !client.usable()) {
            worker.client = None;
            self.lost_open(worker).await;
            match FtpClient::open(&self.settings.url, &self.settings.options).await {
                Ok(opened) => (worker.client, worker.served) = (Some(opened), false),
                Err(fault) if self.give_back(&fault) => {
                    self.put_back(jobs.into_iter().map(|(queued, _)| queued));
                    return false;
                }
                Err(fault) => {
                    if let Some((queued, _)) = jobs.pop_front() {
                        // A server that accepts connections without a greeting is waited for once, not for every job.
                        let silent = fault.kind == Kind::TimedOut && queued.retries >= self.settings.retries;
                        if silent {
                            self.state().stopped.get_or_insert(fault.clone());
                        }
                        self.done(queued, Err(fault), &mut worker.more).await;
                    }
                    self.put_back(jobs.into_iter().map(|(queued, _)| queued));
                    return true;
                }
            }
        }
        let ahead: Vec<Ahead> = jobs.iter().filter_map(|(_, ahead)| ahead.clone()).collect();
        let chained = ahead.len() > 1;
        match ahead.is_empty() {
            true => self.close(worker).await,
            false => self.close_and_send(worker, &ahead).await,
        }
        while let Some((mut queued, _)) = jobs.pop_front() {
            let Some(client) = worker.client.as_mut().filter(|client| !client.is_broken()) else {
                jobs.push_front((queued, None));
                break;
            };
            let attempts = queued.attempts();
            let result = self.work.run(client, &mut queued.job, attempts, &mut worker.more).await;
            let broken = client.is_broken();
            let served = std::mem::replace(&mut worker.served, true);
            match result {
                Ok(()) if broken || self.work.finish_commands(client, &mut queued.job).is_empty() => {
                    self.done(queued, Ok(()), &mut worker.more).await;
                }
                Ok(()) => worker.open.push(queued),
                Err(fault)
                    if broken && chained && (fault.kind == Kind::Protocol || self.may_repeat(&queued, &fault)) =>
                {
                    // The server may be confused by the chain: the jobs are repeated one by one.
                    self.settings.options.trace.note(&format!("no more chains of transfers: {fault}"));
                    self.settings.options.quirks.give_up_chains();
                    self.put_back([queued]);
                }
                // The server ended a connection that had run jobs: the next connection continues.
                Err(fault) if broken && served && hung_up(&fault) && self.may_repeat(&queued, &fault) => {
                    self.settings.options.trace.note(&format!("a fresh connection: {fault}"));
                    self.put_back([queued]);
                }
                Err(fault) => self.done(queued, Err(fault), &mut worker.more).await,
            }
        }
        self.put_back(jobs.into_iter().map(|(queued, _)| queued));
        true
    }

    /// Sends the commands that close the open jobs and the transfers of the next jobs, in one packet.
    async fn close_and_send(&self, worker: &mut Worker<W::Job>, ahead: &[Ahead]) {
        // Callers make sure of a connection; without one the jobs stay open and are repeated as lost jobs.
        let Some(client) = worker.client.as_mut() else { return };
        let open = std::mem::take(&mut worker.open);
        let mut closing = Vec::new();
        let mut counted = Vec::with_capacity(open.len());
        for mut queued in open {
            let commands = self.work.finish_commands(client, &mut queued.job);
            counted.push((queued, commands.len()));
            closing.extend(commands);
        }
        let mut replies = Vec::with_capacity(closing.len());
        let sent = client.send_ahead(&closing, ahead, &mut replies).await;
        let mut replies = replies.as_slice();
        let (mut ended, mut lost) = (Vec::new(), Vec::new());
        for (mut queued, count) in counted {
            // Jobs that were answered before the connection broke are done.
            let Some((own, rest)) = replies.split_at_checked(count) else {
                replies = &[];
                lost.push(queued);
                continue;
            };
            replies = rest;
            let attempts = queued.attempts();
            match self.work.on_finished(client, &mut queued.job, attempts, own) {
                Ok(()) if !self.work.finish_commands(client, &mut queued.job).is_empty() => worker.open.push(queued),
                result => ended.push((queued, result)),
            }
        }
        for (queued, result) in ended {
            self.done(queued, result, &mut worker.more).await;
        }
        if let Err(fault) = sent {
            self.lost(lost, fault, worker).await;
        }
    }

    /// Closes the open jobs without sending anything ahead.
    async fn close(&self, worker: &mut Worker<W::Job>) {
        while !worker.open.is_empty() {
            let usable = worker.client.as_ref().is_some_and(FtpClient::usable);
            if !usable {
                return self.lost_open(worker).await;
            }
            self.close_and_send(worker, &[]).await;
        }
    }

    /// Repeats the open jobs after their connection was lost.
    async fn lost_open(&self, worker: &mut Worker<W::Job>) {
        let open = std::mem::take(&mut worker.open);
        if !open.is_empty() {
            let fault = Fault::new(Kind::Disconnected, "the connection was lost before the upload was complete");
            self.lost(open, fault, worker).await;
        }
    }

    /// Repeats jobs whose connection broke before they were closed, or fails them.
    async fn lost(&self, open: Vec<QueuedJob<W::Job>>, fault: Fault, worker: &mut Worker<W::Job>) {
        for queued in open {
            match self.may_repeat(&queued, &fault) {
                true => self.put_back([queued]),
                false => self.done(queued, Err(fault.clone()), &mut worker.more).await,
            }
        }
    }

    /// Gives up a refused connection: the other workers continue, and no further connection is tried. False for the last worker.
    fn give_back(&self, fault: &Fault) -> bool {
        let mut state = self.state();
        if state.workers <= 1 {
            return false;
        }
        state.workers -= 1;
        let connections = state.workers;
        self.shrink(&mut state, connections, fault);
        true
    }

    /// Limits the number of connections, now and for later runs.
    fn shrink(&self, state: &mut PoolState<W::Job>, connections: usize, fault: &Fault) {
        state.limit = connections.max(1);
        self.settings.options.quirks.allows_only(state.limit);
        self.settings.options.trace.note(&format!("no more than {} connections: {fault}", state.limit));
    }

    /// Puts back jobs that were taken and could not be done: they go first, and that does not count as a retry.
    fn put_back(&self, jobs: impl IntoIterator<Item = QueuedJob<W::Job>, IntoIter: DoubleEndedIterator>) {
        let mut state = self.state();
        for mut queued in jobs.into_iter().rev() {
            queued.again += 1;
            state.running -= 1;
            let waiting = &mut state.waiting;
            let queue = if self.work.is_expanding(&queued.job) { &mut waiting.expanding } else { &mut waiting.others };
            queue.push_front(queued);
        }
        drop(state);
        self.wake_all();
    }

    fn may_repeat(&self, queued: &QueuedJob<W::Job>, fault: &Fault) -> bool {
        fault.temporary() && queued.again < MAX_AGAIN && self.work.repeatable(&queued.job)
    }

    /// True for a failure that fewer connections or a fresh connection may cure, even if the user allows no retries.
    fn cures_itself(&self, fault: &Fault) -> bool {
        let mut state = self.state();
        match fault.reply_code() {
            // Too many connections, or no port left for another one.
            Some(421 | 425) if state.workers > 1 => {
                let connections = state.workers.min(state.limit) - 1;
                self.shrink(&mut state, connections, fault);
                true
            }
            // The port was in use: the next one may be free.
            Some(425) => true,
            // Below the minimum rate for too long: continued on a fresh connection.
            None if fault.kind == Kind::TimedOut => self.settings.options.limits.min_rate.is_some(),
            _ => false,
        }
    }

    async fn done(&self, queued: QueuedJob<W::Job>, result: Result<(), Fault>, more: &mut Vec<W::Job>) {
        match result {
            Ok(()) => self.finish(None, more),
            Err(fault) if self.may_repeat(&queued, &fault) && self.cures_itself(&fault) => {
                self.settings.options.trace.note(&format!("retrying: {fault}"));
                self.put_back([queued]);
            }
            Err(fault) if fault.temporary() && queued.retries < self.settings.retries => {
                let jitter = crate::net::random::fraction();
                let wait = crate::retry::delay(queued.retries + 1, self.settings.retry_delay, None, jitter);
                self.work.on_retry(&queued.job, &fault, wait);
                tokio::time::sleep(wait).await;
                self.finish(Some(QueuedJob { retries: queued.retries + 1, ..queued }), more);
            }
            Err(fault) => {
                let stop = ends_everything(&fault);
                self.work.failed(queued.job, fault.clone());
                if stop {
                    self.state().stopped.get_or_insert(fault);
                }
                self.finish(None, more);
            }
        }
    }

    fn finish(&self, again: Option<QueuedJob<W::Job>>, more: &mut Vec<W::Job>) {
        let mut state = self.state();
        state.running -= 1;
        for queued in again.into_iter().chain(more.drain(..).map(QueuedJob::new)) {
            match self.work.is_expanding(&queued.job) {
                true => state.waiting.expanding.push_front(queued),
                false => state.waiting.others.push_back(queued),
            }
        }
        drop(state);
        self.wake_all();
    }

    fn wake_all(&self) {
        self.wake.notify_waiters();
        // The pool's own loop may be between two waits: it must not miss new jobs.
        self.wake.notify_one();
    }
}

/// True when the server has ended the connection, with or without a 421 reply.
fn hung_up(fault: &Fault) -> bool {
    fault.kind == Kind::Disconnected || (fault.reply_code() == Some(421) && fault.temporary())
}

/// True for a failure that every further job would have too: the server's disk is full (452), the login is refused, or the
/// server is unreachable.
fn ends_everything(fault: &Fault) -> bool {
    fault.reply_code() == Some(452)
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
