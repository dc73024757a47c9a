//! Notes for users about their mail in the queue, which they may not open: one per message, created by the runner when it
//! takes the message into the queue, removed when the message has left the queue.
//!
//! ```text
//! DIR-drop/UID/queued/ID   the envelope as a line of JSON
//! ```
//!
//! Only listings read the notes, so a note that cannot be written is not a fault.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::{DropEnvelope, MAX_ENVELOPE_BYTES, MAX_USERS, Submission, names, open_dir};
use crate::fault::Fault;
use crate::queue::entry::QueueId;
use crate::queue::store::{Filter, MAX_BATCH, QueueStore};

/// The folder of the notes in a user's folder.
pub(super) const FOLDER: &str = "queued";
/// The most notes of one user: his further queued messages are not listed.
const MAX_NOTES: usize = 10_000;

/// Writes notes that these messages of the folder's owner are in the queue.
pub(super) fn note(folder: &OwnedFd, messages: impl IntoIterator<Item = (QueueId, DropEnvelope)>) {
    let Ok(notes) = own_notes(folder) else { return };
    for (id, envelope) in messages {
        // (A missing note only affects listings.)
        let _ = write(&notes, &id.to_string(), &envelope);
    }
}

/// The folder of the notes, created if missing; never one made by another user.
fn own_notes(folder: &OwnedFd) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(folder, FOLDER, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    let notes = open_dir(folder, FOLDER)?;
    if rustix::fs::fstat(&notes)?.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Errno::ACCESS);
    }
    // The user's own folder around it denies access to others.
    rustix::fs::fchmod(&notes, Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH)?;
    Ok(notes)
}

fn write(notes: &OwnedFd, id: &str, envelope: &DropEnvelope) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(notes, id, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)?;
    let mut line = serde_json::to_vec(envelope)?;
    line.push(b'\n');
    File::from(file).write_all(&line)
}

/// The notes in a user's folder.
pub(super) fn listed(folder: &OwnedFd) -> Vec<Submission> {
    let Ok(notes) = open_dir(folder, FOLDER) else { return Vec::new() };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let read = |name: String| {
        let file = rustix::fs::openat(&notes, &*name, flags, Mode::empty()).ok()?;
        let at = rustix::fs::fstat(&file).ok()?.st_mtime;
        let mut line = Vec::new();
        BufReader::new(File::from(file)).take(MAX_ENVELOPE_BYTES).read_until(b'\n', &mut line).ok()?;
        let envelope: DropEnvelope = serde_json::from_slice(&line).ok()?;
        Some(Submission { taken_up: true, ..Submission::new(name, at, envelope) })
    };
    let mut found: Vec<Submission> =
        names(&notes, MAX_NOTES).unwrap_or_default().into_iter().filter_map(read).collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

/// Removes the notes of messages that have left the queue.
///
/// # Errors
/// The queue's own faults.
pub async fn forget_what_left(drop: &Path, store: &dyn QueueStore) -> Result<(), Fault> {
    let Ok(parent) = open_dir(CWD, drop) else { return Ok(()) };
    for user in names(&parent, MAX_USERS).unwrap_or_default() {
        let Ok(folder) = open_dir(&parent, user.as_str()) else { continue };
        let Ok(notes) = open_dir(&folder, FOLDER) else { continue };
        let all = names(&notes, MAX_NOTES).unwrap_or_default();
        for some in all.chunks(MAX_BATCH) {
            let waiting = waiting(some, store).await?;
            for name in some.iter().filter(|name| !name.parse().is_ok_and(|id| waiting.contains(&id))) {
                // A note that remains is tried again in the next pass.
                let _ = rustix::fs::unlinkat(&notes, name.as_str(), AtFlags::empty());
            }
        }
        // Removed only if it is empty.
        let _ = rustix::fs::unlinkat(&folder, FOLDER, AtFlags::REMOVEDIR);
    }
    Ok(())
}

/// Those of these messages that still have waiting recipients.
async fn waiting(names: &[String], store: &dyn QueueStore) -> Result<HashSet<QueueId>, Fault> {
    let ids: Vec<QueueId> = names.iter().filter_map(|name| name.parse().ok()).collect();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let page = store.list(Filter { ids, ..Filter::default() }, None, MAX_BATCH).await?;
    let waits = page.entries.iter().filter(|entry| entry.envelope.recipients.iter().any(|it| !it.state.is_final()));
    Ok(waits.map(|entry| entry.id).chain(page.damaged.iter().map(|damaged| damaged.id)).collect())
}
