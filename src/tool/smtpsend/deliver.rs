//! Sending messages one after another over the connections that are there, with retries.

use std::sync::Arc;

use super::account::Account;
use super::mx::Exchangers;
use super::report::{Settled, Summary, tell};
use super::server::Way;
use super::{Args, Job};
use crate::cli::exit::Tally;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::net::random;
use crate::smtp::client::SendOptions;
use crate::smtp::data::Content;
use crate::smtp::transaction::Outcome;

/// A message of this size gets a progress bar.
const PROGRESS_BYTES: u64 = 4 * 1024 * 1024;

/// Where messages go, with open connections.
enum Path<'a> {
    Server(Box<Way<'a>>),
    Mx(Box<Exchangers>),
}

impl Path<'_> {
    async fn send(&mut self, job: &Job, options: &SendOptions<'_>) -> Vec<Settled> {
        match self {
            Path::Server(way) => way.send(job, options).await,
            Path::Mx(exchangers) => exchangers.send(job, options).await,
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

pub(super) async fn run(
    args: &Args,
    account: Option<&Account>,
    job: &Job,
    out: &Output,
    summary: &mut Summary,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let mut path = match (&args.way.server, account) {
        (Some(url), _) => Path::Server(Box::new(Way::to_url(url, args, out)?)),
        (None, Some(account)) => Path::Server(Box::new(Way::to_account(account, args, out)?)),
        (None, None) => Path::Mx(Box::new(Exchangers::new(args, out)?)),
    };
    one(&mut path, args, job, out, summary, tally).await?;
    path.close().await;
    Ok(())
}

/// One message, with its retries.
async fn one(
    path: &mut Path<'_>,
    args: &Args,
    job: &Job,
    out: &Output,
    summary: &mut Summary,
    tally: &mut Tally,
) -> Result<(), Fault> {
    summary.messages += 1;
    let size = job.message.size_bytes();
    let bar = (size >= PROGRESS_BYTES).then(|| Arc::new(out.progress(Some(size), "sending")));
    let progress = bar.clone().map(|bar| -> Arc<dyn Fn(u64) + Send + Sync> { Arc::new(move |bytes| bar.add(bytes)) });
    let options = SendOptions { partial: args.partial, progress, ..SendOptions::default() };
    let mut waiting = job.clone();
    let mut attempt = 0;
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
        let (later, done): (Vec<_>, Vec<_>) = settled.into_iter().partition(|settled| retry && again(settled));
        tell(job, &done, &path.name(), out, summary, tally)?;
        let Some(first) = later.first() else { break };
        attempt += 1;
        let wait = crate::retry::delay(attempt, args.retry.retry_delay, None, random::fraction());
        let cause = later.iter().find(|it| it.result.fault.as_ref().is_some_and(|fault| fault.kind != Kind::Cancelled));
        let cause = cause.unwrap_or(first);
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
