//! The sources of messages: a Maildir, an mbox, or a file or pipe with one message. Messages are numbered from 1.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::blob::Blob;
use crate::cli::input;
use crate::fault::{Fault, Kind};
use crate::mail::gzip;
use crate::mail::maildir::reader::{MaildirItem, ReadableMaildir};
use crate::mail::mbox::spans::{self, Span};
use crate::mail::read::MAX_MESSAGE_BYTES;
use crate::mail::scan;

/// An open mailbox, with its messages at the time of opening.
pub(super) enum OpenMailbox {
    Maildir(ReadableMaildir, Vec<MaildirItem>),
    Mbox(Blob, Vec<Span>),
    Single(Blob),
}

/// The first read of each message, in bytes: most headers fit.
const HEAD_BYTES: usize = 4096;

impl OpenMailbox {
    /// Opens the mailbox of the command line, else `$MAIL`, else `~/Maildir`.
    pub(super) fn open(named: Option<&Path>) -> Result<OpenMailbox, Fault> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => default_mailbox()?,
        };
        if path.is_dir() {
            let maildir = ReadableMaildir::open(&path)?;
            let items = maildir.list()?;
            return Ok(OpenMailbox::Maildir(maildir, items));
        }
        let blob = gzip::unpacked(&path.to_string_lossy(), input::open(&path)?)?;
        Ok(match spans::find(&blob)? {
            Some(spans) => OpenMailbox::Mbox(blob, spans),
            None => OpenMailbox::Single(blob),
        })
    }

    pub(super) fn len(&self) -> usize {
        match self {
            OpenMailbox::Maildir(_, items) => items.len(),
            OpenMailbox::Mbox(_, spans) => spans.len(),
            OpenMailbox::Single(blob) => usize::from(blob.size_bytes() > 0),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole message.
    pub(super) fn message(&self, number: usize) -> Result<Vec<u8>, Fault> {
        match self {
            OpenMailbox::Maildir(maildir, _) => {
                let item = self.item(number)?;
                let mut file = maildir.open_item(item)?.take(MAX_MESSAGE_BYTES as u64 + 1);
                let mut bytes = Vec::new();
                let read = file.read_to_end(&mut bytes);
                read.map_err(|error| Fault::local(maildir.item_path(item).display(), &error))?;
                if bytes.len() > MAX_MESSAGE_BYTES {
                    return Err(Fault::new(Kind::BadData, format!("message larger than {MAX_MESSAGE_BYTES} bytes")));
                }
                Ok(bytes)
            }
            OpenMailbox::Mbox(blob, _) => spans::read(blob, self.span(number)?, MAX_MESSAGE_BYTES),
            OpenMailbox::Single(blob) => blob.read_all("message", MAX_MESSAGE_BYTES),
        }
    }

    /// Reads the header section into `header`, and no more of the message than necessary.
    pub(super) fn header(&self, number: usize, header: &mut Vec<u8>) -> Result<(), Fault> {
        let problem = |error: std::io::Error| Fault::local("message", &error);
        match self {
            OpenMailbox::Maildir(maildir, _) => {
                let item = self.item(number)?;
                let mut file = maildir.open_item(item)?;
                read_header(&mut file, header).map_err(|error| Fault::local(maildir.item_path(item).display(), &error))
            }
            OpenMailbox::Mbox(blob, _) => {
                let span = self.span(number)?;
                let size = span.end.saturating_sub(span.start);
                read_header(&mut blob.open_at(span.start).take(size), header).map_err(problem)
            }
            OpenMailbox::Single(blob) => read_header(&mut blob.open_at(0), header).map_err(problem),
        }
    }

    /// The Maildir letters; empty for an mbox and a single message.
    pub(super) fn flags(&self, number: usize) -> String {
        self.item(number).map(MaildirItem::flags).unwrap_or_default()
    }

    pub(super) fn is_unread(&self, number: usize) -> bool {
        match self {
            OpenMailbox::Maildir(..) => self.item(number).is_ok_and(MaildirItem::is_unread),
            // Mail programs with mbox files mark read messages by a Status field.
            _ => {
                let mut header = Vec::new();
                let found = self.header(number, &mut header).is_ok();
                let [status] = scan::pick(&header, ["status"]);
                found && !status.is_some_and(|status| status.contains(&b'R'))
            }
        }
    }

    pub(super) fn id(&self, number: usize) -> Option<String> {
        self.item(number).ok().map(|item| item.base().to_string_lossy().into_owned())
    }

    /// The path of the message's file, in a Maildir.
    pub(super) fn path(&self, number: usize) -> Option<String> {
        let OpenMailbox::Maildir(maildir, _) = self else { return None };
        self.item(number).ok().map(|item| maildir.item_path(item).to_string_lossy().into_owned())
    }

    pub(super) fn size_bytes(&self, number: usize) -> u64 {
        match self {
            OpenMailbox::Maildir(maildir, _) => {
                self.item(number).and_then(|item| maildir.size_bytes(item)).unwrap_or_default()
            }
            OpenMailbox::Mbox(..) => {
                self.span(number).map(|span| span.end.saturating_sub(span.start)).unwrap_or_default()
            }
            OpenMailbox::Single(blob) => blob.size_bytes(),
        }
    }

    /// The entry of the message, in a Maildir.
    pub(super) fn item(&self, number: usize) -> Result<&MaildirItem, Fault> {
        match self {
            OpenMailbox::Maildir(_, items) => items.get(number.wrapping_sub(1)).ok_or_else(|| missing(number)),
            _ => Err(missing(number)),
        }
    }

    fn span(&self, number: usize) -> Result<Span, Fault> {
        match self {
            OpenMailbox::Mbox(_, spans) => spans.get(number.wrapping_sub(1)).copied().ok_or_else(|| missing(number)),
            _ => Err(missing(number)),
        }
    }
}

fn missing(number: usize) -> Fault {
    Fault::new(Kind::NoInput, format!("message {number}: no such message"))
}

fn default_mailbox() -> Result<PathBuf, Fault> {
    if let Some(mail) = std::env::var_os("MAIL").filter(|mail| !mail.is_empty()) {
        let mail = PathBuf::from(mail);
        if mail.exists() {
            return Ok(mail);
        }
    }
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join("Maildir"));
    match home.filter(|maildir| maildir.is_dir()) {
        Some(maildir) => Ok(maildir),
        None => Err(Fault::new(Kind::NoInput, "no mailbox: neither $MAIL nor ~/Maildir exists")
            .with_hint("-m MAILBOX names one")),
    }
}

/// Reads up to the empty line, the end, or the limit.
fn read_header(from: &mut impl Read, header: &mut Vec<u8>) -> std::io::Result<()> {
    header.clear();
    let mut wanted = HEAD_BYTES;
    loop {
        let before = header.len();
        header.resize(wanted, 0);
        let mut filled = before;
        while let Some(room) = header.get_mut(filled..).filter(|room| !room.is_empty()) {
            match from.read(room) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // A short read is a short message: asking again would cost a call for each message of the list.
            if filled < wanted && before == 0 && scan::header_end(header.get(..filled).unwrap_or_default()).is_some() {
                break;
            }
        }
        header.truncate(filled);
        if let Some(end) = scan::header_end(header) {
            header.truncate(end);
            return Ok(());
        }
        if filled < wanted || wanted >= scan::MAX_HEADER_BYTES {
            return Ok(());
        }
        wanted *= 4;
    }
}
