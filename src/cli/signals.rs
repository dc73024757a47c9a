//! Signals of servers: HUP reads again and opens the log anew, USR1 tells the counters, and those that other servers know do
//! no harm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::SigSet;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;

use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::cli::reload::Reloader;
use crate::fault::Fault;
use crate::net::activation;
use crate::net::counters;
use crate::net::listen::Shutdown;

/// How long a drain may take before it is said what it waits for.
const QUICK_DRAIN: Duration = Duration::from_millis(300);

/// Signals of habit that come while a server starts wait until it minds them ([`outlive_habits`]). On the main thread, before
/// any other.
///
/// # Errors
/// What [`Fault::local`] makes of the system's error.
pub fn hold_habits() -> Result<(), Fault> {
    habits().thread_block().map_err(|errno| Fault::local("signals", &errno.into()))
}

fn habits() -> SigSet {
    use nix::sys::signal::Signal::{SIGALRM, SIGHUP, SIGUSR1, SIGUSR2};
    [SIGHUP, SIGUSR1, SIGUSR2, SIGALRM].into_iter().collect()
}

/// From here on HUP opens the log and the report anew and reads again what there is to be read, USR1 prints the counters, USR2
/// and ALRM do nothing. Certificates are looked at `every` so often; zero is never. Needs a running tokio runtime.
///
/// # Errors
/// What [`Fault::local`] makes of the system's error.
pub fn outlive_habits(out: &Output, reloader: Option<Arc<Reloader>>, every: Duration) -> Result<(), Fault> {
    let caught = |kind: SignalKind| signal(kind).map_err(|error| Fault::local("signals", &error));
    let mut hangup = caught(SignalKind::hangup())?;
    let mut count = caught(SignalKind::user_defined1())?;
    let ignored = [SignalKind::user_defined2(), SignalKind::alarm()];
    let ignored: Vec<Signal> = ignored.into_iter().map(caught).collect::<Result<_, Fault>>()?;
    habits().thread_unblock().map_err(|errno| Fault::local("signals", &errno.into()))?;
    let out = out.clone();
    tokio::spawn(async move {
        let _ignored = ignored;
        let looks = !every.is_zero() && reloader.is_some();
        let mut ticks = tokio::time::interval(every.max(Duration::from_secs(1)));
        loop {
            // A panic is reported by its hook; the server goes on.
            tokio::select! {
                Some(()) = hangup.recv() => {
                    out.reopen();
                    match reloader.clone() {
                        Some(reloader) => {
                            let done = spawn_blocking(move || reloader.reload());
                            activation::notify_reload(async { drop(done.await) }).await;
                        }
                        None => out.note("HUP: log and report reopened"),
                    }
                }
                Some(()) = count.recv() => {
                    let counters = counters::numbers(out.tool()).collect();
                    let _ = out.emit(&CountersRecord { counters });
                }
                _ = ticks.tick(), if looks => {
                    if let Some(reloader) = reloader.clone() {
                        drop(spawn_blocking(move || reloader.reload_if_changed()).await);
                    }
                }
                else => return,
            }
        }
    });
    Ok(())
}

/// Says what a drain waits for, if it takes its time: `open` counts it. `None` is a drain without an end of its own.
pub fn tell_of_drain(
    out: &Output,
    shutdown: &Shutdown,
    drain: Option<Duration>,
    open: impl Fn() -> Vec<(u64, &'static str)> + Send + 'static,
) {
    let (out, shutdown) = (out.clone(), shutdown.clone());
    tokio::spawn(async move {
        shutdown.draining().await;
        tokio::time::sleep(QUICK_DRAIN).await;
        let open: Vec<String> = open()
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| match what.strip_suffix('y').filter(|_| count != 1) {
                Some(stem) => format!("{count} {stem}ies"),
                None => format!("{count} {what}{}", if count == 1 { "" } else { "s" }),
            })
            .collect();
        if !open.is_empty() {
            let open = open.join(", ");
            let wait = drain.map_or(String::new(), |drain| format!("waiting up to {} s, ", drain.as_secs()));
            out.warn(&format!("{open} open; {wait}Ctrl-C or TERM again ends at once"));
        }
    });
}

/// All counters.
#[derive(Debug, Serialize)]
struct CountersRecord {
    counters: BTreeMap<String, u64>,
}

impl OutputRecord for CountersRecord {
    const TYPE: &'static str = "counters";

    fn text(&self, line: &mut TextLine) {
        line.field("counters");
        for (name, number) in self.counters.iter().filter(|(_, number)| **number > 0) {
            line.field(format!("{name}={number}"));
        }
    }
}
