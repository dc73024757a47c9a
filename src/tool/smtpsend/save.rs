//! The sender's copy of a message.

use std::path::Path;

use super::SendJob;
use crate::fault::Fault;
use crate::mail::maildir::Maildir;
use crate::mail::maildir::reader::{MaildirFolder, MaildirItem, ReadableMaildir};
use crate::mail::mbox;

/// Stores the message in a mailbox: a Maildir if it is a directory or its name ends with `/`, else an mbox. The copy is the
/// message as it was sent; a Maildir has it marked as read.
pub(super) fn keep(mailbox: &Path, job: &SendJob) -> Result<(), Fault> {
    let wants_maildir = mailbox.as_os_str().to_string_lossy().ends_with('/');
    let mut reader = job.message.reader();
    if mailbox.is_dir() || wants_maildir {
        let maildir = Maildir::create(mailbox)?;
        let delivered = maildir.deliver(b"", &mut reader)?;
        let name = delivered.into_path().file_name().map(ToOwned::to_owned).unwrap_or_default();
        ReadableMaildir::open(mailbox)?.set_flags(&MaildirItem { place: MaildirFolder::New, name }, "S")?;
        return Ok(());
    }
    let date = jiff::Timestamp::now().strftime(mbox::DATE).to_string();
    mbox::append(mailbox, job.envelope.sender.as_str(), &date, &mut reader)
}
