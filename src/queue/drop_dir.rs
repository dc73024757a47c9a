//! The drop directory, in which users without access to the queue submit mail. It is beside the queue, `DIR-drop`, mode
//! 1733: each user creates a directory in it, and only its owner can list it. Its contents are not trusted: links are not
//! followed, and entries that are not submissions are set apart.
//!
//! ```text
//! DIR-drop/UID/        made by the user, 0700
//! DIR-drop/UID/NAME    a submission: one line of JSON (the envelope), then the message; tmp.NAME while it is written
//! DIR-drop/UID/queued/  made by the runner: the user's mail in the queue
//! DIR-drop/wake        a FIFO, made by the runner: a byte in it announces a submission
//! DIR/apart/           invalid entries
//! ```

mod queued;

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::fault::{Fault, Kind};
use crate::net::clock::unix_micros;
use crate::queue::entry::{MAX_RECIPIENTS, NewMessage, QueueId, Time};
use crate::queue::store::QueueStore;
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::data::{Content, NewlineCheck};
use crate::smtp::envelope::{Envelope, Recipient};

/// Largest submission.
pub const MAX_DROP_BYTES: u64 = 256 * 1024 * 1024;
/// Longest envelope of a submission, in bytes.
const MAX_ENVELOPE_BYTES: u64 = 8 * 1024 * 1024;
/// The most folders, and the most submissions of one user, handled in one pass: no user delays the others.
const MAX_USERS: usize = 100_000;
const MAX_OF_USER: usize = 1000;
/// The most submissions that are queued with one sync.
const BATCH: usize = 100;
/// The age, in seconds, after which an unfinished submission will not be completed.
const UNFINISHED_SECONDS: i64 = 24 * 3600;
/// The time, in seconds, after which an empty folder is removed.
const EMPTY_SECONDS: i64 = 3600;

pub use queued::forget_what_left;

const WAKE: &str = "wake";
const UNFINISHED_PREFIX: &str = "tmp.";

/// The drop directory of the queue in this directory.
pub fn beside(queue: &Path) -> PathBuf {
    let mut path = queue.as_os_str().to_owned();
    path.push("-drop");
    path.into()
}

/// The envelope in the first line of a submission.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DropEnvelope {
    v: u8,
    sender: String,
    recipients: Vec<DropRecipient>,
    ret: Option<String>,
    envid: Option<String>,
    smtputf8: bool,
    eight_bit: bool,
    size_bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DropRecipient {
    address: String,
    notify: Option<String>,
    orcpt: Option<String>,
}

/// A message that a user submitted.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The name of its file.
    pub name: String,
    /// The time of submission, from the file: seconds since 1970.
    at: i64,
    /// The message's size.
    pub size_bytes: u64,
    /// The reverse-path.
    pub sender: String,
    /// The recipients' addresses.
    pub recipients: Vec<String>,
    /// True if it is in the queue.
    pub taken_up: bool,
}

impl Submission {
    fn new(name: String, at: i64, envelope: DropEnvelope) -> Submission {
        let recipients = envelope.recipients.into_iter().map(|recipient| recipient.address).collect();
        Submission { name, at, size_bytes: envelope.size_bytes, sender: envelope.sender, recipients, taken_up: false }
    }

    /// The time of submission in the queue's time type.
    pub fn time(&self) -> Time {
        Time(self.at.saturating_mul(1000))
    }
}

fn at(path: &Path) -> impl Fn(Errno) -> Fault + '_ {
    move |error| Fault::local(path.display(), &error.into())
}

fn open_dir(parent: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Submits a message: when this returns, it is on the disk, in a file of the calling user. Returns the file's name, which is its number.
///
/// # Errors
/// [`Kind::BadData`] for a message that is too large, [`Kind::Config`] for a directory that is not set up, else the kinds of
/// [`Fault::local`].
pub fn submit(drop: &Path, envelope: &Envelope, content: &dyn Content) -> Result<String, Fault> {
    if content.size_bytes() > MAX_DROP_BYTES - MAX_ENVELOPE_BYTES {
        return Err(Fault::new(Kind::BadData, "the message is too large to be submitted"));
    }
    match submit_once(drop, envelope, content) {
        // The runner removed the empty folder in between.
        Err(fault) if fault.kind == Kind::NoInput => submit_once(drop, envelope, content),
        other => other,
    }
}

fn submit_once(drop: &Path, envelope: &Envelope, content: &dyn Content) -> Result<String, Fault> {
    let (folder, path) = own_folder(drop)?;
    let random = i64::from(getrandom::u32().unwrap_or_default() & 1023);
    let name = QueueId(QueueId::at_micros(unix_micros()).0 | random).to_string();
    let unfinished = format!("{UNFINISHED_PREFIX}{name}");
    let written = write(&folder, &unfinished, envelope, content).and_then(|()| {
        rustix::fs::renameat(&folder, &unfinished, &folder, &name)?;
        // The folder may be new, and the submitter may not open its parent directory to sync it.
        Ok(rustix::fs::syncfs(&folder)?)
    });
    if let Err(error) = written {
        // A remaining file is unfinished, and is not taken up.
        let _ = rustix::fs::unlinkat(&folder, &unfinished, AtFlags::empty());
        return Err(Fault::local(path.display(), &error));
    }
    ring(drop);
    Ok(name)
}

/// The calling user's own folder in the drop directory, created if missing.
fn own_folder(drop: &Path) -> Result<(OwnedFd, PathBuf), Fault> {
    let around = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let parent = rustix::fs::openat(CWD, drop, around, Mode::empty()).map_err(at(drop))?;
    let user = rustix::process::geteuid().as_raw();
    // If the directory passes its group on, the runner is not root but a member of the group.
    let shared = rustix::fs::fstat(&parent).map_err(at(drop))?.st_mode & 0o2000 != 0;
    let spare = format!("{user}.{:08x}", getrandom::u32().unwrap_or_default());
    for name in [user.to_string(), spare] {
        let path = drop.join(&name);
        let made = match shared {
            false => rustix::fs::mkdirat(&parent, &name, Mode::RWXU),
            // The mode is right from the start: a chmod by a user outside the group clears the set-group-ID bit.
            true => {
                let before = rustix::process::umask(Mode::RWXO);
                let made = rustix::fs::mkdirat(&parent, &name, Mode::RWXU | Mode::RWXG);
                rustix::process::umask(before);
                made
            }
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(at(&path)(error)),
        }
        // Another user may have taken the name, or the folder is older than the use of the group.
        let Ok(folder) = open_dir(&parent, &name) else { continue };
        let found = rustix::fs::fstat(&folder).map_err(at(&path))?;
        if found.st_uid == user && (!shared || found.st_mode & 0o2070 == 0o2070) {
            if !shared {
                rustix::fs::fchmod(&folder, Mode::RWXU).map_err(at(&path))?;
            }
            return Ok((folder, path));
        }
    }
    Err(Fault::new(Kind::Locked, format!("{}: no folder of this user can be made", drop.display())))
}

fn write(folder: &OwnedFd, name: &str, envelope: &Envelope, content: &dyn Content) -> io::Result<()> {
    let mut line = DropEnvelope::of(envelope, content.size_bytes());
    line.eight_bit |= content.has_8bit();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
    if rustix::fs::fstat(folder)?.st_mode & 0o2000 != 0 {
        rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR | Mode::RGRP)?;
    }
    let mut out = io::BufWriter::new(File::from(file));
    serde_json::to_writer(&mut out, &line)?;
    out.write_all(b"\n")?;
    io::copy(&mut *content.open()?, &mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Notifies a listening runner of a submission.
fn ring(drop: &Path) {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if let Ok(wake) = rustix::fs::openat(CWD, drop.join(WAKE), flags, Mode::empty())
        && rustix::fs::fstat(&wake).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo)
    {
        // A runner that is not notified looks by itself.
        let _ = rustix::io::write(&wake, b"\n");
    }
}

/// The submissions of the calling user: those waiting to be taken into the queue, then those in it, each oldest first.
///
/// # Errors
/// The kinds of [`Fault::local`].
pub fn own(drop: &Path) -> Result<Vec<Submission>, Fault> {
    let user = rustix::process::geteuid().as_raw();
    match open_dir(CWD, drop.join(user.to_string())) {
        Ok(folder) => Ok([queued::listed(&folder), listed(&folder)?].concat()),
        Err(Errno::NOENT) => Ok(Vec::new()),
        Err(error) => Err(at(drop)(error)),
    }
}

/// The submissions of all users that are not yet in the queue; the caller must be able to list the directory.
///
/// # Errors
/// The kinds of [`Fault::local`].
pub fn everybodys(drop: &Path) -> Result<Vec<Submission>, Fault> {
    let parent = match open_dir(CWD, drop) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(at(drop)(error)),
    };
    let mut all = Vec::new();
    for name in names(&parent, MAX_USERS).map_err(at(drop))? {
        if let Ok(folder) = open_dir(&parent, name.as_str()) {
            all.extend(listed(&folder)?);
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

fn listed(folder: &OwnedFd) -> Result<Vec<Submission>, Fault> {
    let owner = rustix::fs::fstat(folder).map_err(at(Path::new("drop directory")))?.st_uid;
    let mut found = Vec::new();
    for name in names(folder, MAX_OF_USER).map_err(at(Path::new("drop directory")))? {
        if name.starts_with(UNFINISHED_PREFIX) {
            continue;
        }
        let Ok(DropFile::Submission { file, size_bytes, modified }) = open(folder, &name, owner) else { continue };
        // Invalid entries are the runner's task.
        if let Ok((envelope, _)) = read_envelope(file, size_bytes) {
            found.push(Submission::new(name, modified, envelope));
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// The names in a directory, at most `most`.
fn names(dir: &OwnedFd, most: usize) -> Result<Vec<String>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        // A name that is not UTF-8 is never a submission; the file stays, and counts.
        if let Ok(name) = entry.file_name().to_str()
            && !matches!(name, "." | "..")
        {
            found.push(name.to_owned());
        }
        if found.len() == most {
            break;
        }
    }
    Ok(found)
}

/// The kind of an entry in a user's folder.
enum DropFile {
    Submission {
        file: File,
        size_bytes: u64,
        modified: i64,
    },
    /// It has vanished in the meantime.
    Gone,
    /// Invalid, with the reason.
    Wrong(&'static str),
}

/// Opens a possible submission of this user without following links.
fn open(folder: &OwnedFd, name: &str, owner: u32) -> Result<DropFile, Errno> {
    let look = |found: &Stat| match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile if found.st_uid != owner => Some("it belongs to another user"),
        FileType::RegularFile if found.st_nlink != 1 => Some("it has other names (hard links)"),
        FileType::RegularFile if found.st_size.cast_unsigned() > MAX_DROP_BYTES => Some("it is too large"),
        FileType::RegularFile => None,
        FileType::Symlink => Some("it is a symbolic link"),
        FileType::Fifo => Some("it is a FIFO"),
        FileType::Directory => Some("it is a directory"),
        _ => Some("not a regular file"),
    };
    // Checked before opening: opening a device or a FIFO may have side effects.
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(DropFile::Gone),
        Err(error) => return Err(error),
        Ok(found) => {
            if let Some(why) = look(&found) {
                return Ok(DropFile::Wrong(why));
            }
        }
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(DropFile::Gone),
        // It became a link between the two calls.
        Err(Errno::LOOP) => return Ok(DropFile::Wrong("it is a symbolic link")),
        other => other?,
    };
    let found = rustix::fs::fstat(&file)?;
    Ok(match look(&found) {
        Some(why) => DropFile::Wrong(why),
        None => DropFile::Submission {
            file: file.into(),
            size_bytes: found.st_size.cast_unsigned(),
            modified: found.st_mtime,
        },
    })
}

/// The envelope, and a reader positioned at the first byte of the message.
fn read_envelope(file: File, size_bytes: u64) -> Result<(DropEnvelope, BufReader<File>), &'static str> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    (&mut reader).take(MAX_ENVELOPE_BYTES).read_until(b'\n', &mut line).map_err(|_| "it cannot be read")?;
    if !line.ends_with(b"\n") {
        return Err("its envelope is not complete");
    }
    let envelope: DropEnvelope = serde_json::from_slice(&line).map_err(|_| "its envelope is malformed")?;
    if envelope.v != 1 {
        return Err("its envelope is of another version");
    }
    if envelope.size_bytes != size_bytes.saturating_sub(line.len() as u64) {
        return Err("it is not complete");
    }
    Ok((envelope, reader))
}

/// The result of one pass over the drop directory.
#[derive(Debug, Default)]
pub struct TakenUp {
    /// The number of messages that were queued.
    pub messages: u64,
    /// Faults of entries that were set apart, or could not be, one line each.
    pub said: Vec<Fault>,
}

/// Takes all submissions into the queue: each message is queued and synced before its file is removed. A crash between the
/// two may deliver it twice, but never loses it.
///
/// # Errors
/// The queue's and the drop directory's own faults. Faults of single submissions are in [`TakenUp::said`].
pub async fn take_up(drop: &Path, queue: &Path, host: &str, store: &dyn QueueStore) -> Result<TakenUp, Fault> {
    let mut done = TakenUp::default();
    let parent = match open_dir(CWD, drop) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(done),
        Err(error) => return Err(at(drop)(error)),
    };
    let apart = SetApart { drop, queue };
    for user in names(&parent, MAX_USERS).map_err(at(drop))? {
        let folder = match open_dir(&parent, user.as_str()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => continue,
            Err(_) if user == WAKE => continue,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                done.said.push(apart.set(&parent, Path::new(""), &user, "not a user's folder"));
                continue;
            }
            Err(error) => {
                done.said.push(at(&drop.join(&user))(error));
                continue;
            }
        };
        let mut batch = Vec::new();
        let mut submissions = names(&folder, MAX_OF_USER).map_err(at(drop))?;
        submissions.retain(|name| name != queued::FOLDER);
        submissions.sort();
        let is_old = |found: Stat| age_seconds(found.st_mtime) > EMPTY_SECONDS;
        if submissions.is_empty() && rustix::fs::fstat(&folder).is_ok_and(is_old) {
            // New submissions in the meantime keep the folder.
            let _ = rustix::fs::unlinkat(&parent, user.as_str(), AtFlags::REMOVEDIR);
        }
        for name in submissions {
            match message(&folder, &name, host, store) {
                Ok(Some(message)) => batch.push((name, message)),
                Ok(None) => {}
                Err(Refusal::Wrong(why)) => done.said.push(apart.set(&folder, Path::new(&user), &name, why)),
                Err(Refusal::Fault(fault)) => done.said.push(fault),
            }
            if batch.len() == BATCH {
                done.messages += place(&folder, std::mem::take(&mut batch), store).await?;
            }
        }
        done.messages += place(&folder, batch, store).await?;
    }
    Ok(done)
}

async fn place(folder: &OwnedFd, batch: Vec<(String, NewMessage)>, store: &dyn QueueStore) -> Result<u64, Fault> {
    if batch.is_empty() {
        return Ok(0);
    }
    let (names, messages): (Vec<String>, Vec<NewMessage>) = batch.into_iter().unzip();
    let of = |message: &NewMessage| DropEnvelope::of(&message.envelope, message.body.size_bytes());
    let envelopes: Vec<DropEnvelope> = messages.iter().map(of).collect();
    let ids = store.enqueue(messages).await?;
    queued::note(folder, ids.into_iter().zip(envelopes));
    for name in &names {
        // A file that stays would be sent again.
        match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(at(Path::new(name))(error).context("drop directory")),
        }
    }
    Ok(names.len() as u64)
}

impl DropEnvelope {
    fn of(envelope: &Envelope, size_bytes: u64) -> DropEnvelope {
        let recipients = envelope.recipients.iter().map(|recipient| DropRecipient {
            address: recipient.address.to_string(),
            notify: recipient.notify.map(|notify| notify.to_string()),
            orcpt: recipient.orcpt.as_ref().map(|orcpt| orcpt.as_str().to_owned()),
        });
        DropEnvelope {
            v: 1,
            sender: envelope.sender.to_string(),
            recipients: recipients.collect(),
            ret: envelope.ret.map(|ret| ret.as_str().to_owned()),
            envid: envelope.envid.as_ref().map(|envid| envid.as_str().to_owned()),
            smtputf8: envelope.smtputf8,
            eight_bit: envelope.eight_bit,
            size_bytes,
        }
    }

    /// The size of the message, and its envelope; `None` if the envelope is invalid.
    fn typed(self) -> Option<(u64, Envelope)> {
        fn parsed<T: FromStr>(text: Option<&str>) -> Option<Option<T>> {
            text.map(str::parse).transpose().ok()
        }
        let recipient = |it: &DropRecipient| {
            let address = Address::parse_lenient(&it.address).ok().filter(|address| address.domain().is_some())?;
            Some(Recipient { address, notify: parsed(it.notify.as_deref())?, orcpt: parsed(it.orcpt.as_deref())? })
        };
        let sender = ReversePath::parse_lenient(&self.sender).ok()?;
        if sender.address().is_some_and(|address| address.domain().is_none()) {
            return None;
        }
        let recipients = self.recipients.iter().map(recipient).collect::<Option<Vec<_>>>()?;
        let envelope = Envelope {
            ret: parsed(self.ret.as_deref())?,
            envid: parsed(self.envid.as_deref())?,
            smtputf8: self.smtputf8,
            eight_bit: self.eight_bit,
            ..Envelope::new(sender, recipients)
        };
        Some((self.size_bytes, envelope))
    }
}

fn age_seconds(since: i64) -> i64 {
    (unix_micros() / 1_000_000).saturating_sub(since)
}

/// The reason why a submission is refused.
enum Refusal {
    Wrong(&'static str),
    Fault(Fault),
}

impl From<&'static str> for Refusal {
    fn from(why: &'static str) -> Refusal {
        Refusal::Wrong(why)
    }
}

/// The message of one file; `None` if the file is missing or incomplete.
fn message(folder: &OwnedFd, name: &str, host: &str, store: &dyn QueueStore) -> Result<Option<NewMessage>, Refusal> {
    let problem = |error: Errno| Refusal::Fault(at(Path::new(name))(error).context("drop directory"));
    let owner = rustix::fs::fstat(folder).map_err(problem)?.st_uid;
    let (file, size_bytes, modified) = match open(folder, name, owner).map_err(problem)? {
        DropFile::Submission { file, size_bytes, modified } => (file, size_bytes, modified),
        DropFile::Gone => return Ok(None),
        DropFile::Wrong(why) => return Err(why.into()),
    };
    if name.starts_with(UNFINISHED_PREFIX) {
        let is_old = age_seconds(modified) > UNFINISHED_SECONDS;
        return if is_old { Err("it was never completed".into()) } else { Ok(None) };
    }
    let (envelope, mut reader) = read_envelope(file, size_bytes)?;
    if envelope.recipients.is_empty() || envelope.recipients.len() > MAX_RECIPIENTS {
        return Err("it has no recipients, or too many".into());
    }
    let (size_bytes, envelope) = envelope.typed().ok_or("its envelope is malformed")?;
    let full = |error: io::Error| Refusal::Fault(Fault::local(store.location(), &error));
    let mut body = store.new_body().map_err(Refusal::Fault)?;
    // The submitter is recorded, as in Postfix.
    let date = jiff::fmt::rfc2822::to_string(&jiff::Zoned::now()).unwrap_or_default();
    write!(body, "Received: by {host} (applayer, from userid {owner});\r\n\t{date}\r\n").map_err(full)?;
    let (mut left, mut newlines, mut eight_bit) = (size_bytes, NewlineCheck::default(), false);
    while left > 0 {
        let read = reader.fill_buf().map_err(full)?;
        let piece = read.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(read);
        if piece.is_empty() {
            return Err("it is not complete".into());
        }
        newlines.feed(piece).map_err(|_| "its message has bare line ends")?;
        eight_bit |= !piece.is_ascii();
        body.write_all(piece).map_err(full)?;
        let count = piece.len();
        left -= count as u64;
        reader.consume(count);
    }
    newlines.finish().map_err(|_| "its message has bare line ends")?;
    let envelope = Envelope { eight_bit: envelope.eight_bit || eight_bit, ..envelope };
    let message = NewMessage::new(envelope, body.finish().map_err(full)?);
    if message.check().is_err() {
        return Err("its envelope is malformed".into());
    }
    Ok(Some(message))
}

/// The destination of invalid entries: inaccessible to their owner, for the administrator.
struct SetApart<'a> {
    drop: &'a Path,
    queue: &'a Path,
}

impl SetApart<'_> {
    fn set(&self, folder: &OwnedFd, user: &Path, name: &str, why: &str) -> Fault {
        let shown = self.drop.join(user).join(name);
        let target = self.queue.join("apart");
        let moved = rustix::fs::mkdir(&target, Mode::RWXU)
            .or_else(|error| if error == Errno::EXIST { Ok(()) } else { Err(error) })
            .and_then(|()| open_dir(CWD, &target))
            .and_then(|target| {
                let number = format!("{}-{:08x}", unix_micros(), getrandom::u32().unwrap_or_default());
                rustix::fs::renameat(folder, name, &target, &number).map(|()| number)
            });
        let detail = match moved {
            Ok(number) => format!("{}: {why}: set apart as {}", shown.display(), target.join(number).display()),
            Err(error) => format!("{}: {why}, and it cannot be set apart: {}", shown.display(), io::Error::from(error)),
        };
        Fault::new(Kind::BadData, detail)
    }
}

/// The runner's end of the FIFO that announces submissions.
#[derive(Debug)]
pub struct DropWatch(Option<tokio::net::unix::pipe::Receiver>);

/// The directory is checked this often without an announcement, and after one not sooner than [`LEAST_WAIT`].
const LOOK_EVERY: Duration = Duration::from_secs(30);
const LEAST_WAIT: Duration = Duration::from_millis(200);

impl DropWatch {
    /// Makes the FIFO in the drop directory. Without it, the directory is checked at intervals.
    pub fn new(drop: &Path) -> DropWatch {
        let path = drop.join(WAKE);
        // A FIFO of another user could be removed by him.
        let _ = std::fs::remove_file(&path);
        let mode = Mode::RUSR | Mode::WUSR | Mode::WGRP | Mode::WOTH;
        let made = rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0)
            .and_then(|()| rustix::fs::chmodat(CWD, &path, mode, AtFlags::empty()));
        let open = || tokio::net::unix::pipe::OpenOptions::new().read_write(true).open_receiver(&path).ok();
        DropWatch(made.ok().and_then(|()| open()))
    }

    /// Waits for an announcement, or until the next regular check is due.
    pub async fn heard(&mut self, drop: &Path) {
        tokio::time::sleep(LEAST_WAIT).await;
        let Some(pipe) = &self.0 else {
            tokio::time::sleep(LOOK_EVERY).await;
            // The directory may have been created in the meantime.
            *self = DropWatch::new(drop);
            return;
        };
        let announced = async {
            let mut bytes = [0; 4096];
            while pipe.readable().await.is_ok() {
                if pipe.try_read(&mut bytes).is_ok() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(LOOK_EVERY, announced).await;
    }
}
