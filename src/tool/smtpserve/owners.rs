//! Mailboxes that belong to others than who serves: whether there are any, and the helper that delivers as each owner.

use std::fs::{DirEntry, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cli::args::ConfineArgs;
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::mail::maildir::owners::{MailboxTable, OwnersMailboxes};
use crate::net::listen::Shutdown;
use crate::net::privilege::UnixIdentity;
use crate::net::sandbox::Sandbox;

use super::mailbox::{Mailboxes, may_make};

/// What the helper may do, where one is needed: root is given up for one user, and mailboxes are other users', or can only be
/// made for each.
pub(super) fn table(confine: &ConfineArgs, base: &Path, domains: &[String], create: bool) -> Option<MailboxTable> {
    // Why root cannot be given up is said where it is.
    let server = confine.successor(&[base.to_owned()]).ok().flatten().filter(|server| !server.is_root())?;
    let places = Mailboxes::table(base, domains);
    let needed = are_several(&places, &server) || (create && is_roots_alone(base));
    needed.then_some(MailboxTable { places, server, may_make, create, root_too: confine.i_know })
}

/// Starts the helper. Before keys are read, so that it never has them.
///
/// # Errors
/// Those of [`OwnersMailboxes::start`].
pub(super) fn start(table: MailboxTable, confine: &ConfineArgs, out: &Output) -> Result<Arc<OwnersMailboxes>, Fault> {
    let mut sandbox = Sandbox::default();
    // Users are looked up for each message, in files that are replaced when one is added: with their directory.
    sandbox.read_again(Path::new("/etc/passwd"));
    table.places.first().into_iter().for_each(|base| sandbox.write(base));
    let owners = OwnersMailboxes::start(table, (!confine.no_sandbox).then_some(sandbox))?;
    out.note("mailboxes have several owners: a helper process delivers as each of them");
    Ok(Arc::new(owners))
}

/// Does a mailbox belong to somebody who neither serves nor is root?
fn are_several(places: &[PathBuf], server: &UnixIdentity) -> bool {
    let entries = places.iter().flat_map(|place| std::fs::read_dir(place).into_iter().flatten().flatten());
    let can_be_mailbox =
        |entry: &DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".") && !places.contains(&entry.path());
    let found = entries.filter(can_be_mailbox).filter_map(|entry| entry.metadata().ok());
    found.filter(Metadata::is_dir).any(|found| found.uid() != 0 && !server.owns(&found))
}

/// Can nobody but root make a mailbox here?
fn is_roots_alone(base: &Path) -> bool {
    base.metadata().is_ok_and(|found| found.is_dir() && found.uid() == 0 && found.mode() & 0o022 == 0)
}

/// Drains the server when the helper ends, whose rights nobody can get back.
pub(super) fn end_with_helper(owners: Arc<OwnersMailboxes>, out: &Output, shutdown: Shutdown, drain: Duration) {
    let out = out.clone();
    std::thread::spawn(move || {
        owners.helper().outlast();
        out.warn("the helper process has ended: no mailbox can be opened, so the server ends");
        shutdown.drain();
        std::thread::sleep(drain);
        shutdown.end();
    });
}

/// Why a server has ended that nobody told to.
///
/// # Errors
/// [`Kind::Io`] if its helper ended before it.
pub(super) fn verdict(owners: Option<&Arc<OwnersMailboxes>>) -> Result<(), Fault> {
    match owners.is_some_and(|owners| owners.helper().has_ended()) {
        true => Err(Fault::new(Kind::Io, "the helper process has ended").with_hint("start the server again")),
        false => Ok(()),
    }
}
