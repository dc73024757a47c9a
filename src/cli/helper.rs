//! A server whose helper process has ended: its rights cannot be regained, so the server ends as well.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::net::helper::Helper;
use crate::net::listen::Shutdown;

/// Drains the server when the helper ends; `why` says what the server cannot do any more.
pub fn end_with_helper(helper: Arc<Helper>, why: &'static str, out: &Output, shutdown: Shutdown, drain: Duration) {
    let out = out.clone();
    std::thread::spawn(move || {
        helper.outlast();
        out.warn(&format!("the helper process has ended: {why}, so the server ends"));
        shutdown.drain();
        std::thread::sleep(drain);
        shutdown.end();
    });
}

/// The result of a server that ended without a request to stop.
///
/// # Errors
/// [`Kind::Io`] if one of its helpers ended before it.
pub fn verdict<'a>(helpers: impl IntoIterator<Item = &'a Arc<Helper>>) -> Result<(), Fault> {
    match helpers.into_iter().any(|helper| helper.has_ended()) {
        true => Err(Fault::new(Kind::Io, "the helper process has ended").with_hint("start the server again")),
        false => Ok(()),
    }
}
