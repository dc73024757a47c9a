//! `mailq-ls [ID…]`: lists the outgoing queue, one recipient per line.

mod postfix;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::cli;
use crate::cli::args::{OutputArgs, QueueArgs};
use crate::cli::colour;
use crate::cli::exit::Exit;
use crate::cli::input;
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::cli::{units, words};
use crate::fault::{Fault, Kind};
use crate::queue::drop_dir::{self, Submission};
use crate::queue::entry::{QueueEntry, QueueId, QueuedRecipient, RecipientState, Time};
use crate::queue::queue_dir::{self, QueueAccess};
use crate::queue::sqlite::{Process, SqliteStore, now};
use crate::queue::store::{AGES, Filter, MAX_BATCH, QueueCounts, QueueStore};
use crate::relay::route::RouteOverride;
use crate::smtp::envelope::{Envid, Orcpt, Ret};
use crate::tool::queue_open;

/// List the outgoing mail queue.
#[derive(Debug, clap::Parser)]
#[command(name = "mailq-ls", version, about = "List the outgoing mail queue")]
pub struct Args {
    /// Print the number of messages, recipients and bytes instead of a list
    #[arg(long, short = 'c')]
    count: bool,
    /// Print the number of recipients per domain and age instead of a list
    #[arg(long, short = 's', conflicts_with = "count")]
    summary: bool,
    /// Use the system queue; without access to it, the caller's own submissions
    #[arg(long)]
    system_queue: bool,
    /// Print the list as Postfix's mailq does
    #[arg(long, conflicts_with_all = ["count", "summary", "json", "report"])]
    postfix: bool,
    #[command(flatten)]
    select: QueueSelectArgs,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Which recipients are meant. Several values of one option are alternatives; different options must all agree.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Selection")]
pub struct QueueSelectArgs {
    /// Queue ids of messages; `-` reads ids from stdin, one per line
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Only from this sender; `<>` for bounces
    #[arg(long, value_name = "ADDRESS")]
    pub sender: Vec<String>,
    /// Only to this recipient
    #[arg(long, value_name = "ADDRESS")]
    pub recipient: Vec<String>,
    /// Only to recipients of this domain
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Vec<String>,
    /// Only in this state: queued, active or held
    #[arg(long, value_name = "STATE", hide_possible_values = true)]
    #[arg(value_parser = words::listed(["queued", "active", "held"], parse_state))]
    pub state: Vec<RecipientState>,
    /// Only with this text in the last outcome
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Only queued at least this long ago
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub older_than: Option<Duration>,
    /// Only queued at most this long ago
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub newer_than: Option<Duration>,
}

fn parse_state(text: &str) -> Result<RecipientState, ()> {
    RecipientState::from_name(text).filter(|state| !state.is_final()).ok_or(())
}

impl QueueSelectArgs {
    /// The selection as a filter; reads stdin if an id is `-`.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a malformed id, [`Kind::BadData`] for one from stdin; the errors of reading stdin.
    pub fn filter(&self, now: Time) -> Result<Filter, Fault> {
        let mut ids = Vec::new();
        for id in &self.ids {
            if id == "-" {
                let text = std::io::read_to_string(input::stdin()?).map_err(|error| Fault::local("stdin", &error))?;
                for line in text.lines().filter(|line| !line.trim().is_empty()) {
                    // The first field, so that lines of mailq-ls can be piped as they are.
                    let id = line.split_whitespace().next().unwrap_or(line);
                    ids.push(
                        id.parse::<QueueId>()
                            .map_err(|fault| Fault { kind: Kind::BadData, ..fault }.context("stdin"))?,
                    );
                }
            } else {
                ids.push(id.parse::<QueueId>()?);
            }
        }
        let before = |age: Duration| Time(now.0.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        let bare = |text: &String| text.trim_start_matches('<').trim_end_matches('>').to_owned();
        Ok(Filter {
            ids,
            senders: self.sender.iter().map(bare).collect(),
            recipients: self.recipient.iter().map(bare).collect(),
            domains: self.domain.clone(),
            states: self.state.clone(),
            reason: self.reason.clone(),
            created_until: self.older_than.map(before),
            created_from: self.newer_than.map(before),
            due_until: None,
        })
    }

    /// True if ids come from stdin, which has no other reader then.
    pub fn reads_stdin(&self) -> bool {
        self.ids.iter().any(|id| id == "-")
    }

    /// True if the ids come from stdin and there are none: then the selection is empty, not the whole queue.
    pub fn means_nothing(&self, filter: &Filter) -> bool {
        !self.ids.is_empty() && filter.ids.is_empty()
    }
}

/// One recipient in the queue.
#[derive(Debug, Default, Serialize)]
pub struct QueuedRecipientRecord<'a> {
    queue_id: String,
    state: &'static str,
    size_bytes: u64,
    queued_at: String,
    sender: &'a str,
    address: &'a str,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try_at: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    possible_duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_attempt_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enhanced: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orcpt: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    envid: Option<&'a str>,
}

impl<'a> QueuedRecipientRecord<'a> {
    /// The record of one recipient of a message.
    pub fn new(entry: &'a QueueEntry, recipient: &'a QueuedRecipient) -> QueuedRecipientRecord<'a> {
        let last = recipient.last.as_ref();
        QueuedRecipientRecord {
            queue_id: entry.id.to_string(),
            state: recipient.state.as_str(),
            size_bytes: entry.size_bytes,
            queued_at: entry.created.to_string(),
            sender: entry.envelope.sender.as_str(),
            address: recipient.to.address.as_str(),
            attempts: recipient.attempts,
            next_try_at: (recipient.state == RecipientState::Queued).then(|| recipient.due.to_string()),
            possible_duplicate: recipient.possible_duplicate,
            route: recipient.route.as_ref().map(RouteOverride::shown),
            last_attempt_at: last.map(|last| last.at.to_string()),
            host: last.and_then(|last| last.host.as_deref()),
            kind: last.and_then(|last| last.kind).map(Kind::as_str),
            code: last.and_then(|last| last.code),
            enhanced: last.and_then(|last| last.enhanced).map(|code| code.to_string()),
            reply: last.map(|last| last.reply.as_str()),
            notify: recipient.to.notify.map(|notify| notify.to_string()),
            orcpt: recipient.to.orcpt.as_ref().map(Orcpt::as_str),
            ret: entry.envelope.ret.map(Ret::as_str),
            envid: entry.envelope.envid.as_ref().map(Envid::as_str),
        }
    }
}

impl<'a> QueuedRecipientRecord<'a> {
    /// The record of one recipient of a message that a user submitted to the drop directory.
    fn submitted(submission: &'a Submission, address: &'a str) -> QueuedRecipientRecord<'a> {
        QueuedRecipientRecord {
            queue_id: submission.name.clone(),
            state: if submission.taken_up { "queued" } else { "submitted" },
            size_bytes: submission.size_bytes,
            queued_at: submission.time().to_string(),
            sender: &submission.sender,
            address,
            ..QueuedRecipientRecord::default()
        }
    }
}

impl OutputRecord for QueuedRecipientRecord<'_> {
    const TYPE: &'static str = "recipient";

    fn text(&self, line: &mut TextLine) {
        let size = self.size_bytes.to_string();
        let sender = if self.sender.is_empty() { "<>" } else { self.sender };
        let colour = match self.state {
            "held" => colour::BAD,
            "active" => colour::GOOD,
            _ => "",
        };
        line.field(&self.queue_id)
            .field_in(colour, self.state)
            .field(size)
            .field(&self.queued_at)
            .field(sender)
            .field(self.address);
        line.field(self.next_try_at.as_deref().unwrap_or("-")).field(self.reply.unwrap_or("-"));
    }
}

#[derive(Debug, Serialize)]
struct CountRecord {
    messages: u64,
    queued: u64,
    active: u64,
    held: u64,
    size_bytes: u64,
    queue: String,
}

impl OutputRecord for CountRecord {
    const TYPE: &'static str = "count";

    fn text(&self, line: &mut TextLine) {
        for (number, unit) in [
            (self.messages, "messages"),
            (self.queued, "queued"),
            (self.active, "active"),
            (self.held, "held"),
            (self.size_bytes, "bytes"),
        ] {
            line.field(format!("{number} {unit}"));
        }
    }
}

/// A domain's recipients by age: younger than 5, 10, 20, 40, 80, 160, 320, 640, 1280 minutes, and older.
#[derive(Debug, Serialize)]
struct DomainRecord<'a> {
    domain: &'a str,
    recipients: u64,
    ages: [u64; AGES.len() + 1],
}

impl OutputRecord for DomainRecord<'_> {
    const TYPE: &'static str = "destination";

    fn text(&self, line: &mut TextLine) {
        line.field(self.domain).field(self.recipients.to_string());
        for age in self.ages {
            line.field(age.to_string());
        }
    }
}

crate::cli::tool!("mailq-ls", Args, guide crate::tool::guides::MAILQ_LS, words &[crate::tool::mail_words::LS], run run);

fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    cli::block_on(async move {
        let filter = args.select.filter(now())?;
        // An empty queue is as it should be; a filter that matches nothing is a "no".
        let asked = !filter.is_empty() || !args.select.ids.is_empty();
        let (queue_dir, store, mut submitted) = open(&args, out)?;
        let store = store.filter(|_| !args.select.means_nothing(&filter));
        if asked {
            submitted.clear();
        }
        if args.postfix {
            let (found, bad) = postfix::list(store.as_ref(), &filter, &submitted, out).await?;
            return Ok(bad.unwrap_or(if found || !asked { Exit::OK } else { Exit::NEGATIVE }));
        }
        if args.summary {
            let domains = match &store {
                Some(store) => store.summary(filter.clone(), now()).await?,
                None => Vec::new(),
            };
            for domain in &domains {
                out.emit(&DomainRecord { domain: &domain.domain, recipients: domain.recipients, ages: domain.ages })?;
            }
            return Ok(if domains.is_empty() && asked { Exit::NEGATIVE } else { Exit::OK });
        }
        if args.count {
            let mut counts = match &store {
                Some(store) => store.count(filter.clone()).await?,
                None => QueueCounts::default(),
            };
            for submission in &submitted {
                counts.messages += 1;
                counts.queued += submission.recipients.len() as u64;
                counts.size_bytes += submission.size_bytes;
            }
            let found = count(counts, &queue_dir.display().to_string(), out)?;
            return Ok(if found || !asked { Exit::OK } else { Exit::NEGATIVE });
        }
        let (mut found, mut bad) = (false, None);
        if let Some(store) = &store {
            bad = each_page(store, &filter, out, |entry, recipients| {
                found |= !recipients.is_empty();
                recipients.iter().try_for_each(|recipient| out.emit(&QueuedRecipientRecord::new(entry, recipient)))
            })
            .await?;
        }
        for submission in &submitted {
            for address in &submission.recipients {
                out.emit(&QueuedRecipientRecord::submitted(submission, address))?;
            }
        }
        if let Some(exit) = bad {
            return Ok(exit);
        }
        Ok(if found || !asked { Exit::OK } else { Exit::NEGATIVE })
    })
}

/// The queue, and the submissions that no runner has picked up: all of them if the user may open the queue, else the user's own.
fn open(args: &Args, out: &Output) -> Result<(PathBuf, Option<SqliteStore>, Vec<Submission>), Fault> {
    let access = match args.system_queue {
        true => queue_dir::of_system(args.queue.queue_dir.as_deref())?,
        false => QueueAccess::Direct(queue_dir::find(args.queue.queue_dir.as_deref())?),
    };
    match access {
        QueueAccess::Drop(drop) => drop_dir::own(&drop).map(|own| (drop, None, own)),
        QueueAccess::Direct(dir) => {
            queue_open::check_named(&args.queue, &dir)?;
            let store = queue_open::open_existing(&dir, Process::OneShot, out)?;
            let submitted = drop_dir::everybodys(&drop_dir::beside(&dir))?;
            Ok((dir, store, submitted))
        }
    }
}

fn count(counts: QueueCounts, queue: &str, out: &Output) -> Result<bool, Fault> {
    let QueueCounts { messages, queued, active, held, size_bytes } = counts;
    out.emit(&CountRecord { messages, queued, active, held, size_bytes, queue: queue.to_owned() })?;
    Ok(messages > 0)
}

/// Calls `tell` for each message with its recipients that are not final. Reports unreadable messages; returns a status if there
/// are any.
async fn each_page(
    store: &SqliteStore,
    filter: &Filter,
    out: &Output,
    mut tell: impl FnMut(&QueueEntry, &[&QueuedRecipient]) -> Result<(), Fault>,
) -> Result<Option<Exit>, Fault> {
    let (mut after, mut bad) = (None, None);
    loop {
        let page = store.list(filter.clone(), after, MAX_BATCH).await?;
        if page.last.is_none() {
            return Ok(bad);
        }
        after = page.last;
        for damaged in &page.damaged {
            out.error("", &damaged.fault);
            bad = Some(damaged.fault.kind.into());
        }
        for entry in &page.entries {
            let open: Vec<_> =
                entry.envelope.recipients.iter().filter(|recipient| !recipient.state.is_final()).collect();
            tell(entry, &open)?;
        }
    }
}
