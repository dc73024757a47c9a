//! Sends messages over the open connections: one after another, several in parallel, with retries.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::job::Sendable;
use super::mx::Exchangers;
use super::queue::Queue;
use super::report::{SendSummary, SettledRecipient, tell};
use super::results::{Noted, RowRecipient, RowRecord};
use super::server::ServerConnection;
use super::together::together;
use super::{Args, SendJob, save};
use crate::cli::exit::Tally;
use crate::cli::output::Output;
use crate::cli::progress::Measure;
use crate::fault::{Fault, Kind};
use crate::relay::route::RouteOverride;
use crate::smtp::address::Address;
use crate::smtp::client::{BeforeCommit, SendOptions};
use crate::smtp::data::Content;
use crate::smtp::transaction::RecipientOutcome;
use crate::tool::smtp_account::Account;

/// The size in bytes from which a message gets a progress bar.
const PROGRESS_BYTES: u64 = 4 * 1024 * 1024;
/// The most messages that are queued together.
const QUEUE_BATCH: usize = 100;

/// Returns the next message. Reports the faults of the messages that it skips.
pub(super) type Messages<'a> = &'a mut dyn FnMut(&mut Tally) -> Option<Sendable>;

/// The state that all connections of a run share.
pub(super) struct SendRun<'a> {
    pub(super) args: &'a Args,
    pub(super) out: &'a Output,
    pub(super) source: RefCell<Messages<'a>>,
    pub(super) summary: RefCell<SendSummary>,
    pub(super) tally: RefCell<Tally>,
    /// The first fault that ends the run.
    pub(super) broken: RefCell<Option<Fault>>,
    /// The results file for the outcomes of the rows.
    pub(super) results: Option<Noted>,
    /// The time at which the next message may be sent, with `--rate`.
    pub(super) next_at: Cell<Option<Instant>>,
}

impl SendRun<'_> {
    /// Sends all messages, over at most `concurrency` connections.
    pub(super) async fn send_all(&self, concurrency: usize) -> Result<(), Fault> {
        let worker = async || {
            if let Err(fault) = self.work().await {
                self.broken.borrow_mut().get_or_insert(fault);
            }
        };
        together((0..concurrency.max(1)).map(|_| worker())).await;
        self.broken.borrow_mut().take().map_or(Ok(()), Err)
    }

    fn next(&self) -> Option<Sendable> {
        if self.broken.borrow().is_some() {
            return None;
        }
        let mut tally = self.tally.borrow_mut();
        let next = (self.source.borrow_mut())(&mut tally);
        for fault in next.iter().flat_map(|(job, _)| &job.malformed) {
            self.out.error("", fault);
            tally.fault(fault);
        }
        next
    }

    async fn work(&self) -> Result<(), Fault> {
        let mut paths: BTreeMap<String, MessagePath<'_>> = BTreeMap::new();
        // With retries the order is not known beforehand; with a rate the time is not.
        let ahead = self.args.retry.retry == 0 && self.args.merge.rate.is_none();
        let mut current = self.next();
        let mut next = if ahead { self.next() } else { None };
        while let Some((job, account)) = current {
            let name = account.as_ref().map(|account| account.name.clone()).unwrap_or_default();
            let follows = next.as_ref().filter(|(following, other)| {
                !following.message.has_8bit()
                    && other.as_ref().map(|account| &account.name) == account.as_ref().map(|it| &it.name)
            });
            let follows = follows.map(|(following, _)| following);
            let path = match paths.entry(name) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(MessagePath::new(self.args, account.as_ref(), self.out)?)
                }
            };
            self.pace().await;
            // While the server processes a message, the one after the next is read.
            let later = async { if next.is_some() { self.next() } else { None } };
            let (sent, later) = tokio::join!(biased; self.one(path, &job, follows), later);
            sent?;
            current = if ahead { std::mem::replace(&mut next, later) } else { self.next() };
        }
        for path in paths.into_values() {
            path.close().await;
        }
        Ok(())
    }

    /// Waits until the next message may be sent.
    async fn pace(&self) {
        let Some(interval) = self.args.merge.rate else { return };
        let now = Instant::now();
        let at = self.next_at.get().map_or(now, |at| at.max(now));
        self.next_at.set(Some(at + interval));
        tokio::time::sleep_until(at.into()).await;
    }

    /// The hook that records in the results file that a row's message is about to be complete.
    fn mark(&self, job: &SendJob) -> Option<BeforeCommit> {
        let (results, row) = (self.results.clone()?, job.row.clone()?);
        Some(Arc::new(move || {
            // A message that cannot be recorded is not sent.
            let noted = results.lock().unwrap_or_else(PoisonError::into_inner).sending(&row).is_ok();
            Box::pin(std::future::ready(noted))
        }))
    }

    /// Records and prints the outcome of a row.
    fn note(&self, job: &SendJob, recipients: Vec<RowRecipient>) -> Result<(), Fault> {
        let Some(row) = &job.row else { return Ok(()) };
        let record = RowRecord::new(row, job.message_id.as_deref(), recipients);
        if let Some(results) = &self.results {
            results.lock().unwrap_or_else(PoisonError::into_inner).done(&record)?;
        }
        self.out.emit(&record)
    }

    /// Sends one message, with its retries.
    async fn one(&self, path: &mut MessagePath<'_>, job: &SendJob, follows: Option<&SendJob>) -> Result<(), Fault> {
        let (args, out) = (self.args, self.out);
        self.summary.borrow_mut().messages += 1;
        let size = job.message.size_bytes();
        let bar = (size >= PROGRESS_BYTES).then(|| out.progress("sending", Measure::Bytes));
        let progress = bar.clone().map(|bar| -> Arc<dyn Fn(u64) + Send + Sync> {
            Arc::new(move |bytes| {
                bar.update(|figures| (figures.done, figures.fresh) = (figures.done + bytes, figures.fresh + bytes));
            })
        });
        let next = follows.map(|job| (&job.envelope, &job.message as &dyn Content));
        let before_commit = self.mark(job);
        let options = SendOptions { partial: args.partial, progress, next, before_commit, ..SendOptions::default() };
        let mut ended = Vec::new();
        let mut waiting = job.clone();
        let mut attempt = 0;
        let mut kept = false;
        loop {
            if let Some(bar) = &bar {
                bar.update(|figures| (figures.done, figures.total) = (0, size));
            }
            let settled = path.send(&waiting, &options).await;
            let temporary = |settled: &SettledRecipient| settled.result.fault.as_ref().is_none_or(Fault::temporary);
            let again = |settled: &SettledRecipient| match settled.result.outcome {
                RecipientOutcome::Deferred | RecipientOutcome::Stopped => temporary(settled),
                RecipientOutcome::Unknown => args.retry_unknown,
                RecipientOutcome::Delivered(_) | RecipientOutcome::Refused => false,
            };
            // All or nothing: one permanent refusal keeps the others from being tried again.
            let hopeless =
                |settled: &SettledRecipient| settled.result.outcome == RecipientOutcome::Refused || !temporary(settled);
            // (Some recipients already have it if a server withdrew its acceptance after the envelope, or if there are several servers.)
            let begun = settled.iter().any(|it| it.result.outcome.is_delivered());
            let whole = args.partial || begun || !settled.iter().any(|it| hopeless(it) && !again(it));
            let retry = attempt < args.retry.retry && whole;
            let (later, mut done): (Vec<_>, Vec<_>) = settled.into_iter().partition(|settled| retry && again(settled));
            let mut queued = Vec::new();
            if args.way.queue_on_failure && whole {
                let put_off = |it: &SettledRecipient| {
                    matches!(it.result.outcome, RecipientOutcome::Deferred | RecipientOutcome::Stopped)
                };
                let for_queue = |it: &SettledRecipient| put_off(it) && temporary(it);
                (queued, done) = done.into_iter().partition(for_queue);
            }
            tell(job, &done, &path.name(), out, &mut self.summary.borrow_mut(), &mut self.tally.borrow_mut())?;
            ended.extend(done.iter().map(|settled| row_recipient(settled, settled.result.outcome.as_str())));
            ended.extend(queued.iter().map(|settled| row_recipient(settled, "queued")));
            if !queued.is_empty() {
                self.fall_back(job, &queued, path).await?;
            }
            let sent = !queued.is_empty() || done.iter().any(|it| it.result.outcome.is_delivered());
            if sent && !std::mem::replace(&mut kept, true) {
                self.keep(job);
            }
            let Some(first) = later.first() else { break };
            attempt += 1;
            let told =
                |it: &&SettledRecipient| it.result.fault.as_ref().is_some_and(|fault| fault.kind != Kind::Cancelled);
            let cause = later.iter().find(told).unwrap_or(first);
            let why = cause.result.fault.as_ref().map(|fault| fault.detail.as_str()).unwrap_or_default();
            waiting.envelope.recipients.retain(|known| later.iter().any(|it| it.result.address == known.address));
            args.retry.pause(out, cause.result.address.as_str(), why, attempt).await;
        }
        if let Some(bar) = bar {
            bar.finish();
        }
        self.note(job, ended)
    }

    /// Queues the message for the recipients that did not get it now.
    async fn fall_back(&self, job: &SendJob, queued: &[SettledRecipient], path: &MessagePath<'_>) -> Result<(), Fault> {
        let mut rest = job.clone();
        if rest.route.is_none() {
            rest.route = path.route();
        }
        if rest.route.is_none() {
            self.out.warn(&format!("{}: the queue keeps no login; mailq-run chooses the server", path.name()));
            self.out.hint("an account (--account) keeps the server and its login");
        }
        rest.envelope.recipients.retain(|known| queued.iter().any(|it| it.result.address == known.address));
        let told = |it: &&SettledRecipient| it.result.fault.as_ref().is_some_and(|fault| fault.kind != Kind::Cancelled);
        let why = queued.iter().find(told).and_then(|it| it.result.fault.as_ref());
        if let Some(fault) = why {
            self.out.warn(&format!("{}; queued", fault.detail));
        }
        let queue = Queue::open(self.args, self.out)?;
        let mut summary = std::mem::take(&mut *self.summary.borrow_mut());
        let placed = queue.place(std::slice::from_ref(&rest), why, self.out, &mut summary).await;
        *self.summary.borrow_mut() = summary;
        placed?;
        job.count_success(&mut self.tally.borrow_mut());
        Ok(())
    }

    /// Stores the sender's copy. The message is already on its way, so a failure of the copy is reported separately.
    fn keep(&self, job: &SendJob) {
        if let Some(mailbox) = &self.args.save_to
            && let Err(fault) = save::keep(mailbox, job)
        {
            self.out.error("--save-to", &fault);
            self.tally.borrow_mut().fault(&fault);
        }
    }

    /// Queues all messages.
    pub(super) async fn queue_all(&self) -> Result<(), Fault> {
        let queue = Queue::open(self.args, self.out)?;
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
            if let Some(results) = &self.results {
                let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                batch.iter().filter_map(|job| job.row.as_ref()).try_for_each(|row| results.sending(row))?;
            }
            let mut summary = std::mem::take(&mut *self.summary.borrow_mut());
            summary.messages += batch.len() as u64;
            let placed = queue.place(&batch, None, self.out, &mut summary).await;
            *self.summary.borrow_mut() = summary;
            placed?;
            for job in &batch {
                job.count_success(&mut self.tally.borrow_mut());
                let queued = |address: &Address| RowRecipient::new(address.as_str(), "queued", None);
                self.note(job, job.envelope.recipients.iter().map(|to| queued(&to.address)).collect())?;
                self.keep(job);
            }
        }
    }
}

fn row_recipient(settled: &SettledRecipient, outcome: &str) -> RowRecipient {
    let result = &settled.result;
    RowRecipient::new(result.address.as_str(), outcome, result.fault.as_ref().map(|fault| fault.detail.clone()))
}

/// The destination of messages, with its open connections.
enum MessagePath<'a> {
    Server(Box<ServerConnection<'a>>),
    Mx(Box<Exchangers>),
}

impl<'a> MessagePath<'a> {
    fn new(args: &'a Args, account: Option<&Account>, out: &'a Output) -> Result<MessagePath<'a>, Fault> {
        Ok(match (&args.way.server, account) {
            (Some(url), _) => MessagePath::Server(Box::new(ServerConnection::to_url(url, args, out)?)),
            (None, Some(account)) => MessagePath::Server(Box::new(ServerConnection::to_account(account, args, out)?)),
            (None, None) => MessagePath::Mx(Box::new(Exchangers::new(args, out)?)),
        })
    }

    async fn send(&mut self, job: &SendJob, options: &SendOptions<'_>) -> Vec<SettledRecipient> {
        match self {
            MessagePath::Server(way) => way.send(job, options).await,
            MessagePath::Mx(exchangers) => exchangers.send(job, &SendOptions { next: None, ..options.clone() }).await,
        }
    }

    /// The name in faults that concern no single recipient; empty if they concern a recipient's domain.
    fn name(&self) -> String {
        match self {
            MessagePath::Server(way) => way.name(),
            MessagePath::Mx(_) => String::new(),
        }
    }

    /// The next hop for what is queued instead; `None` if the queue cannot keep it.
    fn route(&self) -> Option<RouteOverride> {
        match self {
            MessagePath::Server(way) => way.route(),
            MessagePath::Mx(_) => Some(RouteOverride::own_mx()),
        }
    }

    async fn close(self) {
        match self {
            MessagePath::Server(way) => way.close().await,
            MessagePath::Mx(exchangers) => exchangers.close().await,
        }
    }
}
