//! Mailboxes of owners other than the server's user: how they are detected, and the helper that delivers as each owner.

use std::fs::{DirEntry, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::args::ConfineArgs;
use crate::cli::output::Output;
use crate::fault::Fault;
use crate::mail::maildir::owners::{MailboxTable, OwnersMailboxes};
use crate::net::privilege::UnixIdentity;
use crate::net::sandbox::Sandbox;

use super::mailbox::{Mailboxes, may_make};

/// The table of the helper, or `None` if it is not needed. It is needed if root is given up for one user, and mailboxes belong to
/// other users or can only be created by root.
pub(super) fn table(confine: &ConfineArgs, base: &Path, domains: &[String], create: bool) -> Option<MailboxTable> {
    // Another function reports the reason why root cannot be given up.
    let server = confine.successor(&[base.to_owned()]).ok().flatten().filter(|server| !server.is_root())?;
    let places = Mailboxes::table(base, domains);
    let needed = are_several(&places, &server) || (create && is_roots_alone(base));
    needed.then_some(MailboxTable { places, server, may_make, create, root_too: confine.i_know })
}

/// Starts the helper. It must start before keys are read, so that it never has them.
///
/// # Errors
/// Those of [`OwnersMailboxes::start`].
pub(super) fn start(table: MailboxTable, confine: &ConfineArgs, out: &Output) -> Result<Arc<OwnersMailboxes>, Fault> {
    let mut sandbox = Sandbox::default();
    // Users are looked up for each message. Their file is replaced when a user is added, so its directory must be readable.
    sandbox.read_again(Path::new("/etc/passwd"));
    table.places.first().into_iter().for_each(|base| sandbox.write(base));
    let owners = OwnersMailboxes::start(table, (!confine.no_sandbox).then_some(sandbox))?;
    out.note("mailboxes have several owners: a helper process delivers as each of them");
    Ok(Arc::new(owners))
}

/// True if a mailbox belongs to a user other than root and the server's user.
fn are_several(places: &[PathBuf], server: &UnixIdentity) -> bool {
    let entries = places.iter().flat_map(|place| std::fs::read_dir(place).into_iter().flatten().flatten());
    let can_be_mailbox =
        |entry: &DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".") && !places.contains(&entry.path());
    let found = entries.filter(can_be_mailbox).filter_map(|entry| entry.metadata().ok());
    found.filter(Metadata::is_dir).any(|found| found.uid() != 0 && !server.owns(&found))
}

/// True if only root can create a mailbox here.
fn is_roots_alone(base: &Path) -> bool {
    base.metadata().is_ok_and(|found| found.is_dir() && found.uid() == 0 && found.mode() & 0o022 == 0)
}
