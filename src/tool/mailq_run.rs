//! `mailq-run`: delivers the due messages of the outgoing queue.

mod accounts;
mod pickup;
mod plan;
mod routing;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::cli;
use crate::cli::args::{LogArgs, LoginArgs, MetricsArgs, NetArgs, OutputArgs, QueueArgs, ResolverArgs, TlsArgs};
use crate::cli::colour;
use crate::cli::exit::Exit;
use crate::cli::output::{Output, OutputRecord, Severity, TextLine};
use crate::cli::progress::{Bar, Measure};
use crate::cli::{signals, units, words};
use crate::dns::resolve::Resolver;
use crate::fault::{Fault, Kind, PeerCode};
use crate::millis::millis;
use crate::net::counters::Counter;
use crate::net::listen::Shutdown;
use crate::queue::entry::{RecipientState, Time};
use crate::queue::runner::settle::{AttemptReport, Disposition, SettlementRules};
use crate::queue::runner::{self, RunEvent, RunSummary, RunnerOptions};
use crate::queue::schedule::Schedule;
use crate::queue::sqlite::{Process, now};
use crate::queue::store::{Filter, QueueEdit, QueueStore};
use crate::queue::{drop_dir, queue_dir};
use crate::relay::route::RouteRule;
use crate::smtp::address::Address;
use crate::smtp::auth::Mechanism;
use crate::tool::mailq_ls::QueueSelectArgs;
use crate::tool::queue_open;

use pickup::Pickup;

/// Deliver what is due in the outgoing mail queue.
#[derive(Debug, clap::Parser)]
#[command(name = "mailq-run", version, about = "Deliver due messages of the outgoing mail queue")]
pub struct Args {
    /// Keep running; deliver as soon as a message is queued or due
    #[arg(long)]
    watch: bool,
    /// Try all messages now, due or not; a selection does the same for the selected ones
    #[arg(long)]
    flush: bool,
    /// Exit with 75 if anything was deferred
    #[arg(long)]
    strict: bool,
    /// Print the next server of each destination; deliver nothing
    #[arg(short = 'n', long, conflicts_with_all = ["watch", "flush"])]
    dry_run: bool,
    #[command(flatten)]
    select: QueueSelectArgs,
    #[command(flatten)]
    way: RoutingArgs,
    #[command(flatten)]
    schedule: ScheduleArgs,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    resolver: ResolverArgs,
    #[command(flatten)]
    net: NetArgs,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    login: LoginArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Routing")]
struct RoutingArgs {
    /// Port of mail exchangers
    #[arg(long, value_name = "PORT", default_value_t = 25)]
    mx_port: u16,
    /// Send mail for a domain, `.domain` (those below it) or `*` to smtp://, smtps://, submission://, lmtp:, maildir: or mx:;
    /// several of one domain are tried in turn; account:NAME is the server of an account
    #[arg(long, value_name = "DOMAIN=URL", value_parser = RouteRule::parse)]
    route: Vec<RouteRule>,
    /// Send all mail without a --route through this server, with the login of --user; of several, each is tried if those before
    /// it are unreachable or refuse temporarily
    #[arg(long, value_name = "URL", conflicts_with = "account")]
    smarthost: Vec<String>,
    /// Log in at the --smarthost with this mechanism: scram-sha-256, plain, login, cram-md5, oauthbearer, xoauth2 …
    #[arg(long, value_name = "MECHANISM", hide_possible_values = true)]
    #[arg(value_parser = words::listed(words::MECHANISMS, Mechanism::parse))]
    auth: Option<Mechanism>,
    /// Send all mail without a --route through the server of this account of smtpsend's accounts file
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Accounts file, in msmtp's format (default: ~/.config/applayer/accounts, else /etc/applayer/accounts)
    #[arg(long, value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// Host name in EHLO and in reports (default: the name of this host)
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// Address of this host: a mail exchanger with it would be a loop; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    local: Vec<IpAddr>,
    /// Number of messages delivered at the same time
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// Most messages to one destination in this time: 100/1h
    #[arg(long, value_name = "N/TIME", value_parser = units::interval)]
    rate: Option<Duration>,
    /// Most connections to one destination
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    per_destination: u32,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Schedule")]
struct ScheduleArgs {
    /// Wait after the first failed attempt; it doubles up to an hour
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "5m")]
    retry_after: Duration,
    /// Warn the sender when a message is this old; 0: never
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "4h")]
    warn_after: Duration,
    /// Return a message to its sender when it is this old
    #[arg(long, value_name = "TIME", value_parser = units::duration, default_value = "5d")]
    expire: Duration,
    /// Report failures of mail with an empty sender to ADDRESS; the default is to hold such mail
    #[arg(long, value_name = "ADDRESS", value_parser = Address::parse_lenient)]
    bounce_to: Option<Address>,
}

/// One attempt for one recipient.
#[derive(Debug, Serialize)]
struct DeliveryAttemptRecord<'a> {
    queue_id: String,
    sender: &'a str,
    address: &'a str,
    outcome: &'static str,
    attempts: u32,
    size_bytes: u64,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_failed: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enhanced: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reply: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try_at: Option<String>,
    possible_duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    greeting_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hello_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_ms: Option<f64>,
    envelope_ms: f64,
    content_ms: f64,
    answer_ms: f64,
}

#[derive(Debug, Serialize)]
struct TlsRecord {
    version: &'static str,
    cipher: String,
    verified: bool,
}

impl OutputRecord for DeliveryAttemptRecord<'_> {
    const TYPE: &'static str = "attempt";
    const OWN_TIME: bool = true;
    const FOR_PEOPLE: bool = true;

    fn text(&self, line: &mut TextLine) {
        let colour = match self.outcome {
            "delivered" => colour::GOOD,
            "deferred" => colour::CAUTION,
            _ => colour::BAD,
        };
        line.field_in(colour, self.outcome).field(&self.queue_id).field(self.address);
        line.field(self.host.or(self.ip.as_deref()).unwrap_or("-")).field(self.reply);
        if let Some(next) = &self.next_try_at {
            line.field(format!("next try {next}"));
        }
    }

    fn severity(&self) -> Severity {
        if self.kind.is_some() { Severity::Warning } else { Severity::Info }
    }
}

#[derive(Debug, Serialize)]
struct RunSummaryRecord {
    delivered: u64,
    deferred: u64,
    failed: u64,
    held: u64,
    lost: u64,
    queue: String,
}

impl OutputRecord for RunSummaryRecord {
    const TYPE: &'static str = "summary";
    const FOR_PEOPLE: bool = true;

    fn text(&self, line: &mut TextLine) {
        line.field_in(colour::HEADING, "summary");
        for (count, word) in [
            (self.delivered, "delivered"),
            (self.deferred, "deferred"),
            (self.failed, "failed"),
            (self.held, "held"),
            (self.lost, "lost"),
        ] {
            if count > 0 || word == "delivered" {
                line.field(format!("{count} {word}"));
            }
        }
    }
}

crate::cli::tool!("mailq-run", Args, guide crate::tool::guides::MAILQ_RUN, words &[crate::tool::mail_words::RUN], prints |args| args.output.json || args.dry_run, logged in log, run run);

fn run(args: Args, out: &Output) -> anyhow::Result<Exit> {
    cli::block_on(async move {
        if args.net.proxy.is_some() {
            return Err(Fault::new(Kind::Usage, "--proxy: the queue is delivered directly").into());
        }
        if args.login.reads_stdin() && args.select.reads_stdin() {
            return Err(Fault::new(Kind::Usage, "stdin holds either ids or the password").into());
        }
        let (routing, connector) = routing::routing(&args, out)?;
        let resolver = match args.resolver.servers()? {
            servers if servers.is_empty() => Resolver::system()?,
            servers => Resolver::new(servers),
        };
        let queue_dir = queue_dir::find(args.queue.queue_dir.as_deref())?;
        let filter = args.select.filter(now())?;
        let pickup = Pickup {
            drop: drop_dir::beside(&queue_dir),
            queue_dir: queue_dir.clone(),
            host: connector.usual.helo.clone(),
        };
        // A pass over a queue that is not there finds nothing, but one that was named must be there; a watcher waits for it to
        // fill.
        let store = match args.watch || pickup.drop.is_dir() {
            true => Some(queue_open::open(&queue_dir, Process::LongRunning, out)?),
            false => {
                queue_open::check_named(&args.queue, &queue_dir)?;
                queue_open::open_existing(&queue_dir, Process::LongRunning, out)?
            }
        };
        let Some(store) = store.filter(|_| !args.select.means_nothing(&filter)) else {
            return Ok(if filter.is_empty() && args.select.ids.is_empty() { Exit::OK } else { Exit::NEGATIVE });
        };
        if args.dry_run {
            return plan::show(&store, &routing, &resolver, &filter, out).await;
        }
        pickup.pass(&store, out).await;
        if args.flush || !filter.is_empty() {
            let waiting = Filter { states: vec![RecipientState::Queued], ..filter.clone() };
            let edited = store.edit(waiting, QueueEdit::Retry(now())).await?;
            if edited.changed.is_empty() && !filter.is_empty() && !args.watch {
                return Ok(Exit::NEGATIVE);
            }
        }
        let metrics = args.metrics.bind(out)?;
        let options = RunnerOptions {
            rules: rules(&args, &connector.usual.helo),
            connector,
            routing,
            dns: Arc::new(resolver),
            concurrency: args.way.concurrency as usize,
            per_destination: args.way.per_destination as usize,
            interval: args.way.rate,
            watch: args.watch,
            wanted: filter,
            clock: Arc::new(now),
        };
        let shutdown = Shutdown::on_signals(Duration::from_secs(u64::from(u32::MAX)))?;
        signals::tell_of_drain(out, &shutdown, None, || {
            let (begun, ended) = (Counter::DeliveriesBegun.now(), Counter::DeliveriesEnded.now());
            vec![(begun.saturating_sub(ended), "delivery")]
        });
        if args.watch {
            signals::outlive_habits(out, None, Duration::ZERO)?;
            // Deliveries wait for no reader of the records.
            out.queue_all()?;
            cli::args::tell_ready(out);
        }
        let bar = if args.watch { Bar::hidden() } else { out.progress("recipients", Measure::Items) };
        if bar.is_shown() {
            let due_until = Some(if args.flush || !options.wanted.is_empty() { Time(i64::MAX) } else { now() });
            let due = store.count(Filter { due_until, ..options.wanted.clone() }).await?.queued;
            bar.update(|figures| figures.total = due);
        }
        let watcher = {
            let (out, bar) = (out.clone(), bar.clone());
            move |event: RunEvent<'_>| match event {
                RunEvent::Attempt(tried) => {
                    bar.update(|figures| (figures.done, figures.fresh) = (figures.done + 1, figures.fresh + 1));
                    tell(tried, &out);
                }
                RunEvent::Trouble(fault) => out.error("", fault),
            }
        };
        let store = Arc::new(store);
        let counted = Arc::clone(&store) as Arc<dyn QueueStore>;
        MetricsArgs::serve(out, metrics, None, queue_open::gauges(Some(counted)))?;
        let picking_up = args.watch.then(|| tokio::spawn(pickup.clone().watch(Arc::clone(&store), out.clone())));
        let summary =
            runner::run(Arc::clone(&store) as Arc<dyn QueueStore>, options, &shutdown, Arc::new(watcher)).await;
        bar.finish();
        if let Some(task) = picking_up {
            task.abort();
        }
        pickup.forget(&store, out).await;
        let summary = summary?;
        finish(&summary, &queue_dir.display().to_string(), args.strict, out)
    })
}

fn rules(args: &Args, helo: &str) -> SettlementRules {
    let schedule = Schedule {
        first: args.schedule.retry_after,
        warn_after: Some(args.schedule.warn_after).filter(|wait| !wait.is_zero()),
        expire_after: args.schedule.expire,
        ..Schedule::default()
    };
    SettlementRules { schedule, mta: helo.to_owned(), bounce_to: args.schedule.bounce_to.clone() }
}

/// Emits a record for every attempt, and prints a line on stderr for each recipient that failed, expired or was held.
fn tell(tried: &AttemptReport, out: &Output) {
    match tried.disposition {
        Disposition::Delivered => Counter::Delivered,
        Disposition::Deferred(_) => Counter::Deferred,
        Disposition::Failed => Counter::Failed,
        Disposition::Expired => Counter::Expired,
        Disposition::Held => Counter::Held,
        Disposition::Lost => Counter::Lost,
    }
    .add(1);
    // Parts of connecting, where this message needed a connection and the part took place.
    let opened = |time: Duration| tried.connect.filter(|_| !time.is_zero()).map(|_| millis(time));
    let record = DeliveryAttemptRecord {
        queue_id: tried.id.to_string(),
        sender: tried.sender.as_str(),
        address: tried.address.as_str(),
        outcome: tried.disposition.as_str(),
        attempts: tried.attempts,
        size_bytes: tried.size_bytes,
        at: tried.attempt.at.to_string(),
        host: tried.attempt.host.as_deref(),
        ip: tried.attempt.ip.clone(),
        port: tried.peer.ip.map(|address| address.port()),
        tls: tried.peer.tls.as_ref().map(|tls| TlsRecord {
            version: tls.version,
            cipher: tls.cipher.clone().unwrap_or_default(),
            verified: tried.peer.verified,
        }),
        tls_failed: tried.peer.tls_failed.as_deref(),
        kind: tried.attempt.kind.map(Kind::as_str),
        code: tried.attempt.code,
        enhanced: tried.attempt.enhanced.map(|code| code.to_string()),
        reply: &tried.attempt.reply,
        next_try_at: if let Disposition::Deferred(due) = tried.disposition { Some(due.to_string()) } else { None },
        possible_duplicate: tried.possible_duplicate,
        connect_ms: tried.connect.map(millis),
        greeting_ms: opened(tried.times.greeting),
        hello_ms: opened(tried.times.hello),
        tls_ms: tried.peer.tls.as_ref().and_then(|_| opened(tried.times.tls)),
        login_ms: opened(tried.times.login),
        envelope_ms: millis(tried.times.envelope),
        content_ms: millis(tried.times.content),
        answer_ms: millis(tried.times.answer),
    };
    // A reader that has gone away ends the output, not the deliveries; the status tells at the end.
    let _ = out.emit(&record);
    if matches!(tried.disposition, Disposition::Failed | Disposition::Expired | Disposition::Held) {
        let kind = tried.attempt.kind.filter(|kind| !kind.temporary()).unwrap_or(Kind::Refused);
        let why = match tried.disposition {
            Disposition::Expired => "given up after too long",
            Disposition::Held => "held: no address for a report",
            _ => "returned to its sender",
        };
        let detail = format!("{}: {why}: {}", tried.address, tried.attempt.reply);
        let fault = Fault {
            code: tried.attempt.code.map(PeerCode::Reply),
            enhanced: tried.attempt.enhanced,
            ..Fault::new(kind, detail)
        };
        out.error(&tried.id.to_string(), &fault);
    }
}

fn finish(summary: &RunSummary, queue: &str, strict: bool, out: &Output) -> anyhow::Result<Exit> {
    let RunSummary { delivered, deferred, failed, held, lost, trouble } = summary;
    out.emit(&RunSummaryRecord {
        delivered: *delivered,
        deferred: *deferred,
        failed: *failed,
        held: *held,
        lost: *lost,
        queue: queue.to_owned(),
    })?;
    if let Some(fault) = trouble {
        // Its line is on stderr already.
        return Ok(Exit::from(fault.kind));
    }
    Ok(match (failed + held, strict && *deferred > 0) {
        (0, true) => Exit::TEMPORARY,
        (0, false) => Exit::OK,
        (_, _) if *delivered > 0 => Exit::PARTLY,
        (_, _) => Exit::from(Kind::Refused),
    })
}
