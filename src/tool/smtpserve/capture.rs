//! `--capture`: a lab server for tests. It takes every message for everyone, delivers none, and fails where it is told to.

mod receive;
mod store;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::cli::args::{ConfineArgs, MetricsArgs, appended_files};
use crate::cli::exit::Exit;
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::cli::reload::Reloader;
use crate::cli::{self, signals, units};
use crate::fault::{Fault, Kind};
use crate::net::activation::ActivatedSockets;
use crate::net::counters::CountedConnection;
use crate::net::listen::Shutdown;
use crate::net::privilege;
use crate::net::sandbox::Sandbox;
use crate::smtp::session::DialoguePhase;
use crate::tool::queue_open;

use super::fail::{FailRule, FailRules};
use super::roles::RoleNeeds;
use super::room::DiskRoom;
use super::{Args, SmtpTlsStart};
use receive::CaptureReceiver;
use store::{CaptureStore, CaptureTarget};

/// How long clients may take to say QUIT after the last expected message.
const QUIT_TIME: Duration = Duration::from_secs(5);

/// Nobody: whom root becomes where no file needs a certain owner.
const NOBODY: &str = "65534:65534";

/// A server for tests.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Capture for tests")]
pub(super) struct CaptureArgs {
    /// Take all mail for tests, deliver none: keep it in DIR or mbox:FILE, or print it (-)
    #[arg(long, value_name = "DIR|-", conflicts_with_all =
        ["domain", "mailboxes", "create", "relay_from", "user_file", "queue_dir", "max_hops", "auth_in_clear",
         "greet_pause", "reject_helo"])]
    capture: Option<CaptureTarget>,
    /// End after N messages; with status 75 if fewer came
    #[arg(long, value_name = "N", requires = "capture", value_parser = clap::value_parser!(u64).range(1..))]
    expect: Option<u64>,
    /// End after this time, whatever came
    #[arg(long, value_name = "TIME", requires = "capture", value_parser = units::duration)]
    max_time: Option<Duration>,
    /// Sync each message to disk before its reply 250
    #[arg(long, requires = "capture")]
    capture_sync: bool,
    /// Fail on purpose: PHASE[=PATTERN],KEY[=VALUE],... (rcpt=bob@*,code=451,percent=30); may be repeated
    ///
    /// Phases: connect, banner, helo, starttls, auth, mail, rcpt, data, body, dot, quit. Keys: code, text, delay, drop, close; percent,
    /// after, times.
    #[arg(long, value_name = "RULE", requires = "capture", value_parser = str::parse::<FailRule>)]
    fail: Vec<FailRule>,
    /// Number that decides which matches fail by percent
    #[arg(long, value_name = "N", requires = "fail", default_value_t = 1)]
    seed: u64,
}

impl CaptureArgs {
    /// The destination of the messages; `None` for a server that delivers.
    pub(super) fn target(&self) -> Option<CaptureTarget> {
        self.capture.clone()
    }
}

/// Runs the server to its end.
pub(super) fn run(
    mut args: Args,
    target: CaptureTarget,
    out: &Output,
    activated: ActivatedSockets,
) -> anyhow::Result<Exit> {
    signals::hold_habits()?;
    let tls = args.serve.tls(out, &["smtp", "esmtp", "lmtp"])?;
    let plan = args.roles.plan(&args.listen, args.tls)?;
    let (tls_there, client_ca) = (tls.is_some(), args.serve.client_ca.is_some());
    plan.check(&RoleNeeds { users: true, tls: tls_there, client_ca, relay_from: false, domains: true })?;
    super::check_tls(args.tls, tls.as_ref())?;
    let rules = FailRules::new(std::mem::take(&mut args.capture.fail), args.capture.seed);
    if rules.has(DialoguePhase::StartTls) && (tls.is_none() || args.tls == SmtpTlsStart::Implicit) {
        let fault = Fault::new(Kind::Usage, "--fail starttls: STARTTLS is not offered");
        return Err(fault.with_hint("--self-signed localhost offers it").into());
    }
    let hostname = args.hostname.as_deref().map_or_else(|| Ok(super::host_name()), super::local_domain)?;
    serve_as_nobody(&mut args.confine, &target);
    let places: Vec<PathBuf> = target.path().map(PathBuf::from).into_iter().collect();
    if args.operate.check_config {
        args.confine.successor(&places)?;
        return args.operate.healthy(out, &plan.tcp_only(&args.listen), tls.as_ref());
    }
    let listeners = plan.bind(&args.listen, activated)?;
    let metrics = args.operate.metrics.bind(out)?;
    let appended = appended_files(&args.output, &args.log);
    let urls = args.listen.write_urls(listeners.iter().flat_map(|one| one.urls(&plan)).collect())?;
    let reloader = Reloader::of(out, &args.serve, tls.as_ref(), None);
    target.make_directory(args.confine.successor(&places)?.as_ref())?;
    args.confine.give_up_root(out, (&appended, &reloader), &places)?;
    let raw = target == CaptureTarget::Stdout && !out.json();
    if raw && args.output.report.is_none() {
        let nowhere =
            File::options().write(true).open("/dev/null").map_err(|error| Fault::local("/dev/null", &error))?;
        out.records_to(nowhere)?;
    }
    let warning = match (&target, raw) {
        (_, true) => format!("{}: all mail is accepted and printed, none is delivered", urls.text()),
        (CaptureTarget::Stdout, false) => "all mail is accepted and recorded, none is delivered".to_owned(),
        (target, false) => format!("all mail is accepted and kept in {target}, none is delivered"),
    };
    let raw = if raw { Some((out.payload()?, args.capture.expect == Some(1))) } else { None };
    let store = CaptureStore::open(target, raw, args.capture.capture_sync)?;
    let mut sandbox = Sandbox::default();
    sandbox.write(store.directory());
    listeners.iter().for_each(|one| one.name_file(&mut sandbox));
    args.confine.enclose(out, (&appended, &reloader), sandbox)?;
    let shown = tls.clone();
    let mut common = args.server_options(&hostname, &hostname, out);
    let config = &mut common.config;
    (config.auth, config.auth_in_clear, config.dsn) = (true, true, true);
    let served = plan.served(listeners, &common, tls.as_ref());
    let room = DiskRoom::new(args.min_free, vec![store.directory().to_owned()]);
    let service = Arc::new(CaptureReceiver::new(store, rules, args.capture.expect, room, out));
    cli::block_on_threads(async move {
        let shutdown = Shutdown::on_signals(args.listen.drain)?;
        signals::outlive_habits(out, Some(Arc::new(reloader)), args.operate.reload_every)?;
        signals::tell_of_drain(out, &shutdown, Some(args.listen.drain), || {
            vec![(CountedConnection::open(), "connection")]
        });
        urls.announce(out)?;
        out.warn(&warning);
        MetricsArgs::serve(out, metrics, shown, queue_open::gauges(None))?;
        let door = Shutdown::manual();
        let end = tokio::spawn(end_in_time(
            service.clone(),
            (door.clone(), shutdown.clone()),
            args.capture.max_time,
            args.listen.drain,
        ));
        let (served, doors) = ((served, args.strangers.proxy_from), (door, shutdown));
        super::serve(&args.listen, out, served, service.clone(), doors).await?;
        end.abort();
        let why = end.await.ok().unwrap_or("ended");
        let (messages, expected) = (service.messages(), args.capture.expect);
        let missing = expected.filter(|expected| messages < *expected);
        let why = if missing.is_none() && expected.is_some() { "complete" } else { why };
        out.emit(&CaptureSummary { messages, expected, why })?;
        match missing {
            None => Ok(Exit::OK),
            Some(expected) => {
                let kind = if why == "timed_out" { Kind::TimedOut } else { Kind::Incomplete };
                Err(Fault::new(kind, format!("{messages} of {expected} expected messages came")).into())
            }
        }
    })
}

/// Ends the server: when all expected messages are there, at a signal, or after the time limit. New clients find the door closed
/// while those inside still hear the replies to their message and to QUIT. Returns the reason.
async fn end_in_time(
    service: Arc<CaptureReceiver>,
    (door, inside): (Shutdown, Shutdown),
    max_time: Option<Duration>,
    drain: Duration,
) -> &'static str {
    let time_is_over = async {
        match max_time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        () = service.complete() => "complete",
        () = inside.draining() => "ended",
        () = time_is_over => "timed_out",
    };
    door.drain();
    if why == "complete" {
        tokio::select! {
            () = tokio::time::sleep(QUIT_TIME) => inside.drain(),
            () = inside.draining() => {}
        }
    }
    if why != "timed_out" {
        tokio::select! {
            () = tokio::time::sleep(drain) => {}
            () = inside.ended() => {}
        }
    }
    inside.end();
    door.end();
    why
}

/// Root becomes nobody, unless `--run-as` or an existing place says otherwise.
fn serve_as_nobody(confine: &mut ConfineArgs, target: &CaptureTarget) {
    let anybody = match target {
        CaptureTarget::Stdout => true,
        CaptureTarget::Directory(path) => !path.exists(),
        CaptureTarget::Mbox(_) => false,
    };
    if anybody && privilege::is_root() {
        confine.run_as.get_or_insert_with(|| NOBODY.to_owned());
    }
}

/// The last record of a run.
#[derive(Debug, Serialize)]
struct CaptureSummary {
    messages: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<u64>,
    /// `complete`, `timed_out` or `ended` (by a signal).
    why: &'static str,
}

impl OutputRecord for CaptureSummary {
    const TYPE: &'static str = "summary";

    fn text(&self, line: &mut TextLine) {
        line.field("summary").field(self.why).field(self.messages.to_string());
        line.field(self.expected.map_or("-".to_owned(), |expected| expected.to_string()));
    }
}
