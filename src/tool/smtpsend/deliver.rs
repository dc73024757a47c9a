//! Sending messages over the connections that are there: one after another, several at a time, with retries.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::account::Account;
use super::mx::Exchangers;
use super::queue::Queue;
use super::report::{Settled, Summary, tell};
use super::server::Way;
use super::{Args, Job, save};
use crate::cli::exit::Tally;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::net::random;
use crate::smtp::client::SendOptions;
use crate::smtp::data::Content;
use crate::smtp::transaction::Outcome;

/// A message of this size gets a progress bar.
const PROGRESS_BYTES: u64 = 4 * 1024 * 1024;
/// Messages that go into the queue together.
const QUEUE_BATCH: usize = 100;

/// A message and the account it goes with.
pub(super) type Sendable = (Job, Option<Account>);

/// Gives the next message; it has told what is wrong with those it skipped.
pub(super) type Messages<'a> = &'a mut dyn FnMut(&mut Tally) -> Option<Sendable>;

/// What all connections of a run share.
pub(super) struct Run<'a> {
    pub(super) args: &'a Args,
    pub(super) out: &'a Output,
    pub(super) source: RefCell<Messages<'a>>,
    pub(super) summary: RefCell<Summary>,
    pub(super) tally: RefCell<Tally>,
    /// The first fault that ends the run.
    pub(super) broken: RefCell<Option<Fault>>,
}

impl Run<'_> {
    /// Sends everything, over at most `concurrency` connections.
    pub(super) async fn send_all(&self, concurrency: usize) -> Result<(), Fault> {
        let worker = || -> Pin<Box<dyn Future<Output = ()> + '_>> {
            Box::pin(async {
                if let Err(fault) = self.work().await {
                    self.broken.borrow_mut().get_or_insert(fault);
                }
            })
        };
        let mut workers: Vec<_> = (0..concurrency.max(1)).map(|_| worker()).collect();
        std::future::poll_fn(|context| {
            workers.retain_mut(|worker| worker.as_mut().poll(context).is_pending());
            if workers.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.broken.borrow_mut().take().map_or(Ok(()), Err)
    }

    fn next(&self) -> Option<Sendable> {
        if self.broken.borrow().is_some() {
            return None;
        }
        (self.source.borrow_mut())(&mut self.tally.borrow_mut())
    }

    async fn work(&self) -> Result<(), Fault> {
        let mut paths: BTreeMap<String, Path<'_>> = BTreeMap::new();
        let mut next = self.next();
        while let Some((job, account)) = next.take() {
            // With retries the order is not known beforehand.
            if self.args.retry.retry == 0 {
                next = self.next();
            }
            let name = account.as_ref().map(|account| account.name.clone()).unwrap_or_default();
            let follows = next.as_ref().filter(|(following, other)| {
                !following.message.has_8bit()
                    && other.as_ref().map(|account| &account.name) == account.as_ref().map(|it| &it.name)
            });
            let follows = follows.map(|(following, _)| following);
            let path = match paths.entry(name) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(Path::new(self.args, account.as_ref(), self.out)?)
                }
            };
            self.one(path, &job, follows).await?;
            if next.is_none() {
                next = self.next();
            }
        }
        for path in paths.into_values() {
            path.close().await;
        }
        Ok(())
    }

    /// One message, with its retries.
    async fn one(&self, path: &mut Path<'_>, job: &Job, follows: Option<&Job>) -> Result<(), Fault> {
        let (args, out) = (self.args, self.out);
        self.summary.borrow_mut().messages += 1;
        let size = job.message.size_bytes();
        let bar = (size >= PROGRESS_BYTES).then(|| Arc::new(out.progress(Some(size), "sending")));
        let progress =
            bar.clone().map(|bar| -> Arc<dyn Fn(u64) + Send + Sync> { Arc::new(move |bytes| bar.add(bytes)) });
        let next = follows.map(|job| (&job.envelope, &job.message as &dyn Content));
        let options = SendOptions { partial: args.partial, progress, next, ..SendOptions::default() };
        let mut waiting = job.clone();
        let mut attempt = 0;
        let mut kept = false;
        loop {
            let settled = path.send(&waiting, &options).await;
            let temporary = |settled: &Settled| settled.result.fault.as_ref().is_none_or(Fault::temporary);
            let again = |settled: &Settled| match settled.result.outcome {
                Outcome::Deferred => temporary(settled),
                Outcome::Unknown => args.retry_unknown,
                Outcome::Delivered | Outcome::Refused => false,
            };
            // All or nothing: one that is refused for good keeps the others from being tried again.
            let hopeless = |settled: &Settled| settled.result.outcome == Outcome::Refused || !temporary(settled);
            let whole = args.partial || args.way.mx || !settled.iter().any(|it| hopeless(it) && !again(it));
            let retry = attempt < args.retry.retry && whole;
            let (later, mut done): (Vec<_>, Vec<_>) = settled.into_iter().partition(|settled| retry && again(settled));
            let mut queued = Vec::new();
            if args.way.queue_on_failure && whole {
                let for_queue = |it: &Settled| it.result.outcome == Outcome::Deferred && temporary(it);
                (queued, done) = done.into_iter().partition(for_queue);
            }
            tell(job, &done, &path.name(), out, &mut self.summary.borrow_mut(), &mut self.tally.borrow_mut())?;
            if !queued.is_empty() {
                self.fall_back(job, &queued).await?;
            }
            let sent = !queued.is_empty() || done.iter().any(|it| it.result.outcome == Outcome::Delivered);
            if sent && !std::mem::replace(&mut kept, true) {
                self.keep(job);
            }
            let Some(first) = later.first() else { break };
            attempt += 1;
            let wait = crate::retry::delay(attempt, args.retry.retry_delay, None, random::fraction());
            let told = |it: &&Settled| it.result.fault.as_ref().is_some_and(|fault| fault.kind != Kind::Cancelled);
            let cause = later.iter().find(told).unwrap_or(first);
            let why = cause.result.fault.as_ref().map(|fault| fault.detail.as_str()).unwrap_or_default();
            let (seconds, most) = (wait.as_secs_f64(), args.retry.retry);
            let what = &cause.result.address;
            out.warn(&format!("{what}: {why}; trying again in {seconds:.1} s ({attempt}/{most})"));
            waiting.envelope.recipients.retain(|known| later.iter().any(|it| it.result.address == known.address));
            tokio::time::sleep(wait).await;
        }
        if let Some(bar) = bar {
            bar.finish();
        }
        Ok(())
    }

    /// What could not be delivered now waits in the queue.
    async fn fall_back(&self, job: &Job, queued: &[Settled]) -> Result<(), Fault> {
        let mut rest = job.clone();
        rest.envelope.recipients.retain(|known| queued.iter().any(|it| it.result.address == known.address));
        let told = |it: &&Settled| it.result.fault.as_ref().is_some_and(|fault| fault.kind != Kind::Cancelled);
        let why = queued.iter().find(told).and_then(|it| it.result.fault.as_ref());
        if let Some(fault) = why {
            self.out.warn(&format!("{}; queued", fault.detail));
        }
        let queue = Queue::open(self.args)?;
        let mut summary = std::mem::take(&mut *self.summary.borrow_mut());
        let placed = queue.place(std::slice::from_ref(&rest), why, self.out, &mut summary).await;
        *self.summary.borrow_mut() = summary;
        placed?;
        self.tally.borrow_mut().success_once();
        Ok(())
    }

    /// The copy for the sender. The message is on its way: that the copy failed is a fault of its own.
    fn keep(&self, job: &Job) {
        if let Some(mailbox) = &self.args.save_to
            && let Err(fault) = save::keep(mailbox, job)
        {
            self.out.error("--save-to", &fault);
            self.tally.borrow_mut().fault(&fault);
        }
    }

    /// Puts everything into the queue.
    pub(super) async fn queue_all(&self) -> Result<(), Fault> {
        let queue = Queue::open(self.args)?;
        loop {
            let mut batch = Vec::new();
            while let Some((job, _)) = self.next() {
                batch.push(job);
                if batch.len() == QUEUE_BATCH {
                    break;
                }
            }
            if batch.is_empty() {
                return Ok(());
            }
            let mut summary = std::mem::take(&mut *self.summary.borrow_mut());
            summary.messages += batch.len() as u64;
            let placed = queue.place(&batch, None, self.out, &mut summary).await;
            *self.summary.borrow_mut() = summary;
            placed?;
            self.tally.borrow_mut().success_once();
            for job in &batch {
                self.keep(job);
            }
        }
    }
}

/// Where messages go, with open connections.
enum Path<'a> {
    Server(Box<Way<'a>>),
    Mx(Box<Exchangers>),
}

impl<'a> Path<'a> {
    fn new(args: &'a Args, account: Option<&Account>, out: &'a Output) -> Result<Path<'a>, Fault> {
        Ok(match (&args.way.server, account) {
            (Some(url), _) => Path::Server(Box::new(Way::to_url(url, args, out)?)),
            (None, Some(account)) => Path::Server(Box::new(Way::to_account(account, args, out)?)),
            (None, None) => Path::Mx(Box::new(Exchangers::new(args, out)?)),
        })
    }

    async fn send(&mut self, job: &Job, options: &SendOptions<'_>) -> Vec<Settled> {
        match self {
            Path::Server(way) => way.send(job, options).await,
            Path::Mx(exchangers) => exchangers.send(job, &SendOptions { next: None, ..options.clone() }).await,
        }
    }

    /// Stands for faults that are not about one recipient; empty where they are about a recipient's domain.
    fn name(&self) -> String {
        match self {
            Path::Server(way) => way.name(),
            Path::Mx(_) => String::new(),
        }
    }

    async fn close(self) {
        match self {
            Path::Server(way) => way.close().await,
            Path::Mx(exchangers) => exchangers.close().await,
        }
    }
}
