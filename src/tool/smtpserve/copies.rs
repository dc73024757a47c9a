//! Delivery of one message to several mailboxes: the number of files, and the recipients that each file names.

use std::collections::HashMap;
use std::io::{BufReader, Read as _};
use std::path::PathBuf;

use crate::blob::Blob;
use crate::fault::Fault;
use crate::mail::maildir::FileIdentity;
use crate::mail::maildir::quota::MailboxLimit;
use crate::mail::trace::without_return_path;
use crate::smtp::address::Address;

use super::mailbox::{FoundMailbox, Mailboxes, StagedMail};

/// The most copies of one message in one mailbox. All further recipients share the last copy.
const MAX_COPIES: usize = 16;

/// A recipient with a mailbox on this server.
#[derive(Debug, Clone)]
pub(super) struct LocalRecipient {
    /// The address as the client wrote it.
    pub(super) address: String,
    /// Its domain, in the form for comparisons.
    pub(super) domain: String,
    pub(super) mailbox: FoundMailbox,
    /// The limit of the mailbox.
    pub(super) limit: Option<MailboxLimit>,
}

impl LocalRecipient {
    /// The address to which mail for this mailbox is delivered, in one spelling.
    pub(super) fn delivered_to(&self) -> String {
        Address::of(&self.mailbox.local, &self.domain)
            .map_or_else(|_| self.address.clone(), |address| address.to_string())
    }

    /// The same for reports; `original` is the address that the client named.
    pub(super) fn final_address(&self, original: &Address) -> Address {
        Address::of(&self.mailbox.local, &self.domain).unwrap_or_else(|_| original.clone())
    }
}

/// The fields of final delivery (RFC 5321, section 4.4; Delivered-To: RFC 9228), the newest first. `originals` are the recipients as
/// the client named them.
pub(super) fn head<'a>(sender: &str, originals: impl Iterator<Item = &'a str>, delivered_to: Option<&str>) -> String {
    let mut head = format!("Return-Path: <{sender}>\r\n");
    let mut named: Vec<&str> = Vec::new();
    for original in originals {
        if !named.contains(&original) && named.len() < MAX_COPIES {
            named.push(original);
            head.push_str(&format!("X-Original-To: {original}\r\n"));
        }
    }
    if let Some(address) = delivered_to {
        head.push_str(&format!("Delivered-To: {address}\r\n"));
    }
    head
}

/// One file: a mailbox, and the recipients of this copy.
struct MailboxCopy<'a> {
    path: &'a PathBuf,
    detail: &'a str,
    recipients: Vec<&'a LocalRecipient>,
}

/// The copies of a message: one per mailbox, whatever names lead to it, and one per `+detail` in it.
fn copies<'a>(mailboxes: &Mailboxes, locals: &'a [LocalRecipient]) -> Result<Vec<MailboxCopy<'a>>, Fault> {
    let mut copies: Vec<MailboxCopy<'a>> = Vec::new();
    let mut of_mailbox: HashMap<FileIdentity, Vec<usize>> = HashMap::new();
    for local in locals {
        let FoundMailbox { path, detail, .. } = &local.mailbox;
        let known = of_mailbox.entry(mailboxes.identity(path)?).or_default();
        let same = known.iter().copied().find(|at| copies.get(*at).is_some_and(|copy| copy.detail == detail));
        let last = known.last().copied().filter(|_| known.len() == MAX_COPIES);
        match same.or(last).and_then(|at| copies.get_mut(at)) {
            Some(copy) => copy.recipients.push(local),
            None => {
                known.push(copies.len());
                copies.push(MailboxCopy { path, detail, recipients: vec![local] });
            }
        }
    }
    Ok(copies)
}

impl MailboxCopy<'_> {
    fn head(&self, sender: &str) -> String {
        let delivered_to = self.recipients.first().map(|recipient| recipient.delivered_to());
        head(sender, self.recipients.iter().map(|recipient| &*recipient.address), delivered_to.as_deref())
    }
}

/// A message in all of its mailboxes, not yet visible.
#[derive(Default)]
pub(super) struct StagedCopies {
    /// The copies, each with its recipients.
    pub(super) staged: Vec<(StagedMail, Vec<LocalRecipient>)>,
    /// The recipients whose mailboxes have no room for it.
    pub(super) full: Vec<LocalRecipient>,
}

/// Stages the message in every mailbox, after the fields of the copy and `trace`, and without its own Return-Path fields.
///
/// # Errors
/// The fault of the first mailbox that cannot be written; no copy remains then.
pub(super) fn stage(
    mailboxes: &Mailboxes,
    locals: &[LocalRecipient],
    sender: &str,
    trace: &str,
    message: &Blob,
) -> Result<StagedCopies, Fault> {
    let mut copied = StagedCopies::default();
    if locals.is_empty() {
        return Ok(copied);
    }
    let header = without_return_path(BufReader::new(message.open_at(0)));
    let (header, length) = header.map_err(|error| Fault::local("message", &error))?;
    for copy in copies(mailboxes, locals)? {
        let recipients = copy.recipients.iter().map(|recipient| (*recipient).clone()).collect();
        let limit = copy.recipients.iter().find_map(|recipient| recipient.limit);
        if let Some(limit) = limit
            && !mailboxes.has_room(copy.path, limit, message.size_bytes())?
        {
            copied.full.extend::<Vec<LocalRecipient>>(recipients);
            continue;
        }
        let head = format!("{}{trace}", copy.head(sender));
        let mut content = header.as_slice().chain(message.open_at(length));
        copied.staged.push((mailboxes.stage(copy.path, head.as_bytes(), &mut content)?, recipients));
    }
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_for_a_mailbox_and_a_detail() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path();
        ["bob", "eve"].iter().for_each(|name| std::fs::create_dir(base.join(name)).unwrap());
        std::os::unix::fs::symlink("bob", base.join("rob")).unwrap();
        let mailboxes = Mailboxes::open(base, &["x.test".to_owned()]).unwrap();
        let local = |address: &str| LocalRecipient {
            address: format!("{address}@X.test"),
            domain: "x.test".to_owned(),
            mailbox: mailboxes.find(address, "x.test").unwrap().unwrap(),
            limit: None,
        };
        let heads = |names: &[&str]| -> Vec<String> {
            let locals: Vec<LocalRecipient> = names.iter().map(|name| local(name)).collect();
            let found = copies(&mailboxes, &locals).unwrap();
            found.iter().map(|copy| copy.head("a@b").replace("\r\n", "|").replace("@X.test", "")).collect()
        };
        assert_eq!(
            heads(&["Bob", "bob", "rob", "eve", "bob+A", "Rob+a", "bob+b"]),
            [
                "Return-Path: <a@b>|X-Original-To: Bob|X-Original-To: bob|X-Original-To: rob|Delivered-To: bob@x.test|",
                "Return-Path: <a@b>|X-Original-To: eve|Delivered-To: eve@x.test|",
                "Return-Path: <a@b>|X-Original-To: bob+A|X-Original-To: Rob+a|Delivered-To: bob+A@x.test|",
                "Return-Path: <a@b>|X-Original-To: bob+b|Delivered-To: bob+b@x.test|",
            ]
        );
        let many: Vec<String> = (0..100).map(|n| format!("bob+{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let found = heads(&many);
        assert_eq!((found.len(), found[MAX_COPIES - 1].matches("X-Original-To").count()), (MAX_COPIES, MAX_COPIES));
    }
}
