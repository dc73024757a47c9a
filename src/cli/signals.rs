//! Signals of servers: HUP reads files again and reopens the log, USR1 prints the counters, and signals that only other servers
//! use are ignored.

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

/// The time after which a drain reports the open items that it waits for.
const QUICK_DRAIN: Duration = Duration::from_millis(300);

/// Blocks HUP, USR1, USR2 and ALRM while a server starts; they stay pending until [`outlive_habits`] handles them. Called on the
/// main thread, before any other thread starts.
///
/// # Errors
/// The system's error, as [`Fault::local`] converts it.
pub fn hold_habits() -> Result<(), Fault> {
    habits().thread_block().map_err(|errno| Fault::local("signals", &errno.into()))
}

fn habits() -> SigSet {
    use nix::sys::signal::Signal::{SIGALRM, SIGHUP, SIGUSR1, SIGUSR2};
    [SIGHUP, SIGUSR1, SIGUSR2, SIGALRM].into_iter().collect()
}

/// Handles signals from here on: HUP reopens the log and the report and reads files again, USR1 prints the counters, USR2 and
/// ALRM do nothing. Certificates are checked for changes at the interval `every`; zero is never. Needs a running tokio runtime.
///
/// # Errors
/// The system's error, as [`Fault::local`] converts it.
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

/// Warns about the items that a slow drain waits for; `open` counts them. `drain` is `None` for a drain without a time limit.
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
