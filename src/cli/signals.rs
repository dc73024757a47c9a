//! Signals that habits and scripts send to servers, and that would end a process that does not mind them.

use std::sync::Arc;

use nix::sys::signal::SigSet;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::output::Output;
use crate::fault::Fault;
use crate::net::activation;

/// What a server does when it gets HUP, on a thread where it may block.
pub type Reload = Arc<dyn Fn() + Send + Sync>;

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

/// From here on HUP reads things again, or is declined with a warning if there is nothing to read; USR1, USR2 and ALRM, which
/// other servers rotate logs and count with, do nothing. Needs a running tokio runtime.
///
/// # Errors
/// What [`Fault::local`] makes of the system's error.
pub fn outlive_habits(out: &Output, reload: Option<Reload>) -> Result<(), Fault> {
    let caught = |kind: SignalKind| signal(kind).map_err(|error| Fault::local("signals", &error));
    let mut hangup = caught(SignalKind::hangup())?;
    let ignored = [SignalKind::user_defined1(), SignalKind::user_defined2(), SignalKind::alarm()];
    let ignored: Vec<Signal> = ignored.into_iter().map(caught).collect::<Result<_, Fault>>()?;
    habits().thread_unblock().map_err(|errno| Fault::local("signals", &errno.into()))?;
    let out = out.clone();
    tokio::spawn(async move {
        let _ignored = ignored;
        while hangup.recv().await.is_some() {
            match reload.clone() {
                // A panic is reported by its hook; the server goes on.
                Some(reload) => {
                    let done = tokio::task::spawn_blocking(move || reload());
                    activation::notify_reload(async { drop(done.await) }).await;
                }
                None => out.warn("HUP: this server reads nothing again; start it anew"),
            }
        }
    });
    Ok(())
}
