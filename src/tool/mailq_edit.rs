//! `mailq-edit VERB ID…|-`: an operator's hand on the outgoing queue, safe beside running runners.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};

use serde::Serialize;

use crate::cli;
use crate::cli::args::{OutputArgs, QueueArgs};
use crate::cli::exit::{Exit, Tally};
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::fault::{Enhanced, Fault, Kind};
use crate::queue::bounce::{self, ReportAction, ReportedRecipient};
use crate::queue::entry::{
    AttemptResult, QueueEntry, QueueId, QueuedRecipient, RecipientState, Transition, destination_of,
};
use crate::queue::runner::settle::{self, SettlementRules};
use crate::queue::schedule::Schedule;
use crate::queue::sqlite::{SqliteStore, now};
use crate::queue::store::{
    Claim, Edited, Filter, LeaseOutcome, LeasedRecipient, MAX_BATCH, QueueEdit, QueueStore, SettledLease, Settlement,
};
use crate::relay::route::RouteTarget;
use crate::tool::mailq_ls::{QueueSelectArgs, QueuedRecipientRecord};
use crate::tool::queue_open;

/// Change messages in the outgoing mail queue.
#[derive(Debug, clap::Parser)]
#[command(name = "mailq-edit", version, about = "Hold, release, retry, redirect, remove or show queued mail")]
pub struct Args {
    /// What to do
    #[arg(value_enum)]
    verb: EditVerb,
    #[command(flatten)]
    select: QueueSelectArgs,
    /// With `readdress`: the new address; with `reroute`: the next hop, or `default` for the usual way
    #[arg(long, value_name = "ADDRESS|URL")]
    to: Option<String>,
    /// With `show`: print the message itself, exactly as it is queued
    #[arg(long, conflicts_with_all = ["header", "body"])]
    message: bool,
    /// With `show`: print the message's header
    #[arg(long, conflicts_with = "body")]
    header: bool,
    /// With `show`: print the message's body
    #[arg(long)]
    body: bool,
    /// With `bounce`: our name in the report (default: the host's)
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// With `bounce`: tell ADDRESS of what cannot be returned because the sender is empty
    #[arg(long, value_name = "ADDRESS")]
    bounce_to: Option<String>,
    /// Say what would be changed, and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EditVerb {
    /// Stop: not tried until released
    Hold,
    /// Let what is held go on
    Release,
    /// Make due now
    Retry,
    /// Take out of the queue, without telling the sender
    Rm,
    /// Return to the sender, with a report
    Bounce,
    /// Print envelope and history
    Show,
    /// Give the recipient another address (--to)
    Readdress,
    /// Send by another way (--to)
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

/// One recipient that was changed, or not.
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

    fn text(&self, _line: &mut TextLine) {}
}

/// One attempt of the past.
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
    /// `show` prints bytes of the message instead of records.
    fn prints_content(&self) -> bool {
        self.message || self.header || self.body
    }
}

crate::cli::tool!("mailq-edit", Args, run);

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
            return missing(&filter, &[], out);
        };
        let before = everything(&store, &filter).await?;
        if args.verb == EditVerb::Show {
            show(&store, &before, &args, out).await?;
            return missing(&filter, &before, out);
        }
        if args.verb == EditVerb::Bounce {
            let returned = if args.dry_run {
                plan(&before, Transition::Bounce)
            } else {
                bounce_now(&store, &before, &args).await?
            };
            let mut tally = Tally::default();
            report(&before, &returned, &args, RecipientState::Failed, &mut tally, out)?;
            return missing(&filter, &before, out).map(|exit| if exit == Exit::OK { tally.exit() } else { exit });
        }
        let edited = match (&change, args.dry_run) {
            (Some(change), false) => store.edit(filter.clone(), change.clone()).await?,
            (Some(change), true) => plan(&before, change.transition()),
            (None, _) => Edited::default(),
        };
        let mut tally = Tally::default();
        let to = change.map_or(RecipientState::Queued, |change| change.transition().to());
        report(&before, &edited, &args, to, &mut tally, out)?;
        match missing(&filter, &before, out)? {
            Exit::OK => Ok(tally.exit()),
            other => Ok(other),
        }
    })
}

/// The change that the command line asks for; `None` for `show`.
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
            crate::smtp::address::Address::parse(to, true)
                .map_err(|error| Fault::new(Kind::Usage, format!("{to:?} is no address: {error}")))?;
            QueueEdit::Readdress(to.clone(), now)
        }
        (EditVerb::Reroute, Some(to)) if to == "default" => QueueEdit::Reroute(None, now),
        (EditVerb::Reroute, Some(to)) => {
            RouteTarget::parse(to)?;
            QueueEdit::Reroute(Some(to.clone()), now)
        }
        (EditVerb::Show | EditVerb::Bounce | EditVerb::Readdress | EditVerb::Reroute, _) => return Ok(None),
    }))
}

/// Returns recipients to their senders: taken from whoever has them, leased, and settled as failed together with the
/// report. What a runner snatches in between goes its way.
async fn bounce_now(store: &SqliteStore, entries: &[QueueEntry], args: &Args) -> Result<Edited, Fault> {
    let system = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let rules = SettlementRules {
        schedule: Schedule::default(),
        mta: args.helo.clone().unwrap_or_else(system),
        bounce_to: args.bounce_to.clone(),
    };
    let mut edited = Edited::default();
    for entry in entries {
        for domain in
            entry.recipients.iter().map(|recipient| destination_of(&recipient.address)).collect::<BTreeSet<_>>()
        {
            let of_domain = |recipient: &&QueuedRecipient| {
                destination_of(&recipient.address) == domain && !recipient.state.is_final()
            };
            let addresses: Vec<String> =
                entry.recipients.iter().filter(of_domain).map(|recipient| recipient.address.clone()).collect();
            if addresses.is_empty() {
                continue;
            }
            let wanted = Filter { ids: vec![entry.id], recipients: addresses, ..Filter::default() };
            let now = now();
            store.edit(wanted.clone(), QueueEdit::Hold).await?;
            store.edit(wanted.clone(), QueueEdit::Release(now)).await?;
            let claim = Claim { domain, due_until: now, now, limit: MAX_BATCH, wanted };
            for batch in store.claim(claim).await? {
                let attempt =
                    AttemptResult { at: now, reply: "returned by the operator".to_owned(), ..AttemptResult::default() };
                let reported = |recipient: &LeasedRecipient| ReportedRecipient {
                    address: recipient.address.clone(),
                    orcpt: recipient.orcpt.clone(),
                    enhanced: Some(Enhanced::new(5, 0, 0)),
                    host: None,
                    reply: attempt.reply.clone(),
                    by_server: false,
                    at: now,
                };
                let told = batch.recipients.iter().map(reported).collect();
                let mut random = || getrandom::u32().unwrap_or(0);
                let reports = settle::report(&batch, ReportAction::Failed, told, &rules, now, &mut random);
                let leases = batch.recipients.iter().map(|recipient| recipient.lease.clone());
                let settlement = Settlement {
                    leases: leases
                        .map(|lease| SettledLease { lease, outcome: LeaseOutcome::Failed(attempt.clone()) })
                        .collect(),
                    reports: reports.into_iter().collect(),
                };
                if store.settle(vec![settlement]).await? == [true] {
                    edited.changed.extend(batch.recipients.iter().map(|recipient| (batch.id, recipient.lease.n)));
                }
            }
        }
    }
    // What was promised to the operator outlasts a power cut.
    store.sync().await?;
    Ok(edited)
}

/// All that the filter lets through.
async fn everything(store: &SqliteStore, filter: &Filter) -> Result<Vec<QueueEntry>, Fault> {
    let mut entries: Vec<QueueEntry> = Vec::new();
    loop {
        let page = store.list(filter.clone(), entries.last().map(|entry| entry.id), MAX_BATCH).await?;
        if page.is_empty() {
            return Ok(entries);
        }
        entries.extend(page);
    }
}

/// What an edit would do.
fn plan(entries: &[QueueEntry], transition: Transition) -> Edited {
    let mut edited = Edited::default();
    for entry in entries {
        for recipient in entry.recipients.iter().filter(|recipient| !recipient.state.is_final()) {
            match transition.allowed(recipient.state) {
                true => edited.changed.push((entry.id, recipient.n)),
                false => edited.refused.push((entry.id, recipient.n, recipient.state)),
            }
        }
    }
    edited
}

/// One record a recipient; a line on stderr for what could not be changed.
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
        let recipient = entry.and_then(|entry| entry.recipients.iter().find(|recipient| recipient.n == n));
        recipient.map_or("", |recipient| recipient.address.as_str())
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

/// Ids that are not in the queue get a line each; a selection without any match is a "no".
fn missing(filter: &Filter, entries: &[QueueEntry], out: &Output) -> anyhow::Result<Exit> {
    let mut exit = if entries.is_empty() { Exit::NEGATIVE } else { Exit::OK };
    for id in filter.ids.iter().filter(|id| !entries.iter().any(|entry| entry.id == **id)) {
        out.error(&id.to_string(), &Fault::new(Kind::Negative, "not in the queue, or not selected"));
        exit = Exit::NEGATIVE;
    }
    Ok(exit)
}

/// Reads up to the empty line, which belongs to neither header nor body.
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
        for recipient in &entry.recipients {
            out.emit(&QueuedRecipientRecord::new(entry, recipient))?;
        }
        for (n, attempt) in store.history(entry.id).await? {
            let recipient = entry.recipients.iter().find(|recipient| recipient.n == n);
            let Some(recipient) = recipient else { continue };
            out.emit(&attempt_record(entry, &recipient.address, &attempt))?;
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
