//! `mailq-edit VERB ID…|-`: edits the outgoing queue by hand, safely even while runners work on it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};

use serde::Serialize;

use crate::cli;
use crate::cli::args::{OutputArgs, QueueArgs};
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::fault::{Enhanced, Fault, Kind};
use crate::queue::bounce::{self, ReportAction, ReportedRecipient};
use crate::queue::entry::{AttemptResult, QueueEntry, QueueId, QueuedRecipient, RecipientState, Transition};
use crate::queue::runner::settle::{self, SettlementRules};
use crate::queue::schedule::Schedule;
use crate::queue::sqlite::{SqliteStore, now};
use crate::queue::store::{
    Claim, Edited, Filter, LeaseOutcome, LeasedRecipient, MAX_BATCH, QueueEdit, QueuePage, QueueStore, SettledLease,
    Settlement,
};
use crate::smtp::address::Address;
use crate::tool::mailq_ls::{QueueSelectArgs, QueuedRecipientRecord};
use crate::tool::queue_open;

/// Change messages in the outgoing mail queue.
#[derive(Debug, clap::Parser)]
#[command(name = "mailq-edit", version, about = "Hold, release, retry, redirect, remove or show queued mail")]
pub struct Args {
    /// Action
    #[arg(value_enum)]
    verb: EditVerb,
    #[command(flatten)]
    select: QueueSelectArgs,
    /// New address (`readdress`) or next server (`reroute`, `default` for the configured routing)
    #[arg(long, value_name = "ADDRESS|URL")]
    to: Option<String>,
    /// With `show`: print the message exactly as it is queued
    #[arg(long, conflicts_with_all = ["header", "body"])]
    message: bool,
    /// With `show`: print the message's header
    #[arg(long, conflicts_with = "body")]
    header: bool,
    /// With `show`: print the message's body
    #[arg(long)]
    body: bool,
    /// With `bounce`: host name in the report (default: the name of this host)
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// With `bounce`: report mail with an empty sender to ADDRESS
    #[arg(long, value_name = "ADDRESS", value_parser = Address::parse_lenient)]
    bounce_to: Option<Address>,
    /// Print the changes without making them
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EditVerb {
    /// Stop attempts until released
    Hold,
    /// Resume held messages
    Release,
    /// Make due now
    Retry,
    /// Remove from the queue, without a report to the sender
    Rm,
    /// Return to the sender with a report
    Bounce,
    /// Print envelope and history
    Show,
    /// Change the recipient's address (--to)
    Readdress,
    /// Send through another server (--to)
    Reroute,
}

impl EditVerb {
    fn name(self) -> &'static str {
        match self {
            EditVerb::Hold => "hold",
            EditVerb::Release => "release",
            EditVerb::Retry => "retry",
            EditVerb::Rm => "rm",
            EditVerb::Bounce => "bounce",
            EditVerb::Show => "show",
            EditVerb::Readdress => "readdress",
            EditVerb::Reroute => "reroute",
        }
    }
}

/// One recipient, changed or not.
#[derive(Debug, Serialize)]
struct EditRecord<'a> {
    queue_id: String,
    verb: &'static str,
    address: &'a str,
    state: &'static str,
    changed: bool,
}

impl OutputRecord for EditRecord<'_> {
    const TYPE: &'static str = "edit";
}

/// One past attempt.
#[derive(Debug, Serialize)]
struct PastAttemptRecord<'a> {
    queue_id: String,
    address: &'a str,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enhanced: Option<String>,
    reply: &'a str,
}

impl OutputRecord for PastAttemptRecord<'_> {
    const TYPE: &'static str = "attempt";

    fn text(&self, line: &mut TextLine) {
        line.field(&self.queue_id).field("attempt").field(&self.at).field(self.address);
        line.field(self.host.unwrap_or("-")).field(self.ip.unwrap_or("-")).field(self.reply);
    }
}

impl Args {
    /// True if `show` prints bytes of the message instead of records.
    fn prints_content(&self) -> bool {
        self.message || self.header || self.body
    }
}

crate::cli::tool!("mailq-edit", Args, guide crate::tool::guides::MAILQ_EDIT, words &[crate::tool::mail_words::EDIT], prints |args| args.output.json || args.verb == EditVerb::Show, run run);

fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    cli::block_on(async move {
        let filter = args.select.filter(now())?;
        if filter.is_empty() && args.select.ids.is_empty() {
            let fault = Fault::new(Kind::Usage, "nothing is selected: name ids, `-` for ids on stdin, or a filter");
            return Err(fault.with_hint("mailq-ls prints the ids").into());
        }
        let change = change(&args)?;
        let (_, store) = queue_open::open_named(&args.queue, out)?;
        let (Some(store), false) = (store, args.select.means_nothing(&filter)) else {
            return missing(&filter, &QueuePage::default(), out);
        };
        let before = everything(&store, &filter).await?;
        let (entries, mut tally) = (&before.entries, Tally::default());
        if args.dry_run || matches!(args.verb, EditVerb::Show | EditVerb::Bounce) {
            // The other edits can be applied to damaged messages.
            for damaged in &before.damaged {
                out.error("", &damaged.fault);
                tally.fault(&damaged.fault);
            }
        }
        if args.verb == EditVerb::Show {
            show(&store, entries, &args, out).await?;
        } else {
            let transition = change.as_ref().map_or(Transition::Bounce, QueueEdit::transition);
            let edited = match change {
                _ if args.dry_run => plan(entries, transition),
                Some(change) => store.edit(filter.clone(), change).await?,
                None => bounce_now(&store, entries, &args).await?,
            };
            report(entries, &edited, &args, transition.to(), &mut tally, out)?;
        }
        Ok(match missing(&filter, &before, out)? {
            Exit::OK => tally.exit(),
            other => other,
        })
    })
}

/// The change that the command line requests; `None` for `show` and `bounce`.
fn change(args: &Args) -> Result<Option<QueueEdit>, Fault> {
    let now = now();
    let wants_to = matches!(args.verb, EditVerb::Readdress | EditVerb::Reroute);
    if args.to.is_some() != wants_to {
        let verb = args.verb.name();
        let detail = if wants_to { format!("{verb} needs --to") } else { format!("--to has no meaning with {verb}") };
        return Err(Fault::new(Kind::Usage, detail));
    }
    if args.prints_content() && args.verb != EditVerb::Show {
        return Err(Fault::new(Kind::Usage, "--message, --header and --body belong to show"));
    }
    if (args.helo.is_some() || args.bounce_to.is_some()) && args.verb != EditVerb::Bounce {
        return Err(Fault::new(Kind::Usage, "--helo and --bounce-to belong to bounce"));
    }
    Ok(Some(match (args.verb, &args.to) {
        (EditVerb::Hold, _) => QueueEdit::Hold,
        (EditVerb::Release, _) => QueueEdit::Release(now),
        (EditVerb::Retry, _) => QueueEdit::Retry(now),
        (EditVerb::Rm, _) => QueueEdit::Remove,
        (EditVerb::Readdress, Some(to)) => {
            let address = Address::parse(to, true)
                .map_err(|error| Fault::new(Kind::Usage, format!("{to:?} is not an address: {error}")))?;
            QueueEdit::Readdress(address, now)
        }
        (EditVerb::Reroute, Some(to)) if to == "default" => QueueEdit::Reroute(None, now),
        (EditVerb::Reroute, Some(to)) => QueueEdit::Reroute(Some(to.parse()?), now),
        (EditVerb::Show | EditVerb::Bounce | EditVerb::Readdress | EditVerb::Reroute, _) => return Ok(None),
    }))
}

/// Returns recipients to their senders: takes them from their runners, leases them, and settles them as failed together with the
/// report. A recipient that a runner leases in between is left to that runner.
async fn bounce_now(store: &SqliteStore, entries: &[QueueEntry], args: &Args) -> Result<Edited, Fault> {
    let system = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let rules = SettlementRules {
        schedule: Schedule::default(),
        mta: args.helo.clone().unwrap_or_else(system),
        bounce_to: args.bounce_to.clone(),
    };
    let mut edited = Edited::default();
    for entry in entries {
        for domain in entry
            .envelope
            .recipients
            .iter()
            .map(|recipient| recipient.to.address.destination())
            .collect::<BTreeSet<_>>()
        {
            let of_domain = |recipient: &&QueuedRecipient| {
                recipient.to.address.destination() == domain && !recipient.state.is_final()
            };
            let of_domain = entry.envelope.recipients.iter().filter(of_domain);
            let addresses: Vec<String> = of_domain.map(|recipient| recipient.to.address.to_string()).collect();
            if addresses.is_empty() {
                continue;
            }
            let wanted = Filter { ids: vec![entry.id], recipients: addresses, ..Filter::default() };
            let now = now();
            store.edit(wanted.clone(), QueueEdit::Hold).await?;
            store.edit(wanted.clone(), QueueEdit::Release(now)).await?;
            let claim = Claim { domain, due_until: now, now, limit: MAX_BATCH, wanted };
            for batch in store.claim(claim).await?.batches {
                let attempt =
                    AttemptResult { at: now, reply: "returned by the operator".to_owned(), ..AttemptResult::default() };
                let reported = |recipient: &LeasedRecipient| ReportedRecipient {
                    address: recipient.to.address.clone(),
                    orcpt: recipient.to.orcpt.clone(),
                    enhanced: Some(Enhanced::new(5, 0, 0)),
                    host: None,
                    reply: attempt.reply.clone(),
                    by_server: false,
                    at: now,
                };
                let told = batch.envelope.recipients.iter().map(reported).collect();
                let mut random = || getrandom::u32().unwrap_or(0);
                let reports = settle::report(&batch, ReportAction::Failed, told, &rules, now, &mut random);
                let leases = batch.envelope.recipients.iter().map(|recipient| recipient.lease.clone());
                let settlement = Settlement {
                    leases: leases
                        .map(|lease| SettledLease { lease, outcome: LeaseOutcome::Failed(attempt.clone()) })
                        .collect(),
                    reports: reports.into_iter().collect(),
                };
                if store.settle(vec![settlement]).await? == [true] {
                    edited
                        .changed
                        .extend(batch.envelope.recipients.iter().map(|recipient| (batch.id, recipient.lease.n)));
                }
            }
        }
    }
    // After a success is reported, a power cut must not undo it.
    store.sync().await?;
    Ok(edited)
}

/// All messages that the filter matches, in one page.
async fn everything(store: &SqliteStore, filter: &Filter) -> Result<QueuePage, Fault> {
    let mut all = QueuePage::default();
    loop {
        let page = store.list(filter.clone(), all.last, MAX_BATCH).await?;
        if page.last.is_none() {
            return Ok(all);
        }
        all.entries.extend(page.entries);
        all.damaged.extend(page.damaged);
        all.last = page.last;
    }
}

/// The outcome that an edit would have.
fn plan(entries: &[QueueEntry], transition: Transition) -> Edited {
    let mut edited = Edited::default();
    for entry in entries {
        for recipient in entry.envelope.recipients.iter().filter(|recipient| !recipient.state.is_final()) {
            match transition.allowed(recipient.state) {
                true => edited.changed.push((entry.id, recipient.n)),
                false => edited.refused.push((entry.id, recipient.n, recipient.state)),
            }
        }
    }
    edited
}

/// Prints one record per recipient, and a line on stderr for each one that could not be changed.
fn report(
    entries: &[QueueEntry],
    edited: &Edited,
    args: &Args,
    to: RecipientState,
    tally: &mut Tally,
    out: &Output,
) -> Result<(), Fault> {
    let address = |id: QueueId, n: u32| {
        let entry = entries.iter().find(|entry| entry.id == id);
        let recipient = entry.and_then(|entry| entry.envelope.recipients.iter().find(|recipient| recipient.n == n));
        recipient.map_or("", |recipient| recipient.to.address.as_str())
    };
    let verb = args.verb.name();
    for (id, n) in &edited.changed {
        tally.success();
        let state = to.as_str();
        out.emit(&EditRecord {
            queue_id: id.to_string(),
            verb,
            address: address(*id, *n),
            state,
            changed: !args.dry_run,
        })?;
    }
    for (id, n, state) in &edited.refused {
        let address = address(*id, *n);
        out.emit(&EditRecord { queue_id: id.to_string(), verb, address, state: state.as_str(), changed: false })?;
        let kind = if *state == RecipientState::Active { Kind::Locked } else { Kind::Negative };
        let fault = Fault::new(kind, format!("{address}: is {state}, {verb} does not apply"));
        out.error(&id.to_string(), &fault);
        tally.fault(&fault);
    }
    Ok(())
}

/// Reports each id that is not in the queue. A selection without any match gives the status for "no".
fn missing(filter: &Filter, found: &QueuePage, out: &Output) -> anyhow::Result<Exit> {
    let QueuePage { entries, damaged, .. } = found;
    let mut exit = if entries.is_empty() && damaged.is_empty() { Exit::NEGATIVE } else { Exit::OK };
    let known = |id: QueueId| entries.iter().any(|it| it.id == id) || damaged.iter().any(|it| it.id == id);
    for id in filter.ids.iter().filter(|id| !known(**id)) {
        out.error(&id.to_string(), &Fault::new(Kind::Negative, "not in the queue, or not selected"));
        exit = Exit::NEGATIVE;
    }
    Ok(exit)
}

/// Skips the header and the empty line after it.
fn skip_header(message: &mut impl BufRead) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if message.read_until(b'\n', &mut line)? == 0 || matches!(line.as_slice(), b"\r\n" | b"\n") {
            return Ok(());
        }
    }
}

async fn show(store: &SqliteStore, entries: &[QueueEntry], args: &Args, out: &Output) -> anyhow::Result<()> {
    for entry in entries {
        if args.prints_content() {
            let Some(body) = store.content(entry.id).await? else { continue };
            let local = |error: std::io::Error| Fault::local("the queued message", &error);
            let mut payload = out.payload()?;
            let mut message = BufReader::new(body.open_at(0));
            let written = match (args.header, args.body) {
                (true, _) => payload.write_all(&bounce::header(message).map_err(local)?),
                (_, true) => {
                    skip_header(&mut message).and_then(|()| std::io::copy(&mut message, &mut payload).map(drop))
                }
                _ => std::io::copy(&mut message, &mut payload).map(drop),
            };
            written.and_then(|()| payload.flush()).map_err(|error| Fault::local("stdout", &error))?;
            continue;
        }
        for recipient in &entry.envelope.recipients {
            out.emit(&QueuedRecipientRecord::new(entry, recipient))?;
        }
        for (n, attempt) in store.history(entry.id).await? {
            let recipient = entry.envelope.recipients.iter().find(|recipient| recipient.n == n);
            let Some(recipient) = recipient else { continue };
            out.emit(&attempt_record(entry, recipient.to.address.as_str(), &attempt))?;
        }
    }
    Ok(())
}

fn attempt_record<'a>(entry: &QueueEntry, address: &'a str, attempt: &'a AttemptResult) -> PastAttemptRecord<'a> {
    PastAttemptRecord {
        queue_id: entry.id.to_string(),
        address,
        at: attempt.at.to_string(),
        host: attempt.host.as_deref(),
        ip: attempt.ip.as_deref(),
        kind: attempt.kind.map(Kind::as_str),
        code: attempt.code,
        enhanced: attempt.enhanced.map(|code| code.to_string()),
        reply: &attempt.reply,
    }
}
