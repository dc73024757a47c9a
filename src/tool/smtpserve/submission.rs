//! The rules for users who send mail: their addresses, their limits per hour, and the completion of their messages (RFC 6409).

use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::blob::Blob;
use crate::blob::file::BlobWriter;
use crate::cli::own_addresses::OwnAddress;
use crate::cli::users::User;
use crate::fault::{Fault, Kind};
use crate::mail::address_list;
use crate::mail::complete::Complete;
use crate::net::rate::RateTable;
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::data::Content as _;
use crate::smtp::reply::SmtpReply;

/// The period of the limits.
const HOUR: Duration = Duration::from_secs(3600);

/// The most letters of an address in a reply.
const MAX_SHOWN: usize = 100;

/// The rules of the command line for users.
#[derive(Debug)]
pub(super) struct UserPolicy {
    /// Users send from every address.
    pub(super) any_sender: bool,
    messages: Option<HourlyLimit>,
    recipients: Option<HourlyLimit>,
}

/// At most so many per hour and user, over all sessions.
#[derive(Debug)]
struct HourlyLimit {
    most: u32,
    table: Mutex<RateTable<String>>,
}

impl HourlyLimit {
    /// The limit of this number; 0 is none.
    fn of(most: u32) -> Option<HourlyLimit> {
        (most > 0).then(|| HourlyLimit { most, table: Mutex::new(RateTable::per(most, HOUR)) })
    }

    /// Counts one; false if there were too many.
    fn take(&self, user: &str) -> bool {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let (user, now) = (user.to_owned(), Instant::now());
        let has_turn = table.wait(&user, now).is_zero();
        if has_turn {
            table.take(&user, now);
        }
        has_turn
    }
}

impl UserPolicy {
    /// The policy with these limits per hour; 0 is none.
    pub(super) fn new(any_sender: bool, messages: u32, recipients: u32) -> UserPolicy {
        UserPolicy { any_sender, messages: HourlyLimit::of(messages), recipients: HourlyLimit::of(recipients) }
    }

    /// Counts a message of this user.
    ///
    /// # Errors
    /// The reply if there were too many in the last hour.
    pub(super) fn message(&self, user: &str) -> Result<(), SmtpReply> {
        count(self.messages.as_ref(), user, "messages")
    }

    /// Counts a recipient of this user.
    ///
    /// # Errors
    /// The reply if there were too many in the last hour.
    pub(super) fn recipient(&self, user: &str) -> Result<(), SmtpReply> {
        count(self.recipients.as_ref(), user, "recipients")
    }
}

fn count(limit: Option<&HourlyLimit>, user: &str, what: &str) -> Result<(), SmtpReply> {
    match limit {
        Some(limit) if !limit.take(user) => Err(SmtpReply::status(
            450,
            7,
            1,
            format!("too many {what}: at most {} per hour; try again later", limit.most),
        )),
        _ => Ok(()),
    }
}

/// The sender addresses of a user: those of the user file, else the name of the user, at each domain of the server unless it is
/// an address itself.
pub(super) fn own_addresses(user: &User, domains: &[String]) -> Vec<OwnAddress> {
    if !user.account.addresses.is_empty() {
        return user.account.addresses.clone();
    }
    if let Ok(own @ OwnAddress::Mailbox(..)) = user.name.parse() {
        return vec![own];
    }
    let at = |domain: &String| Address::of(&user.name, domain).ok().map(|address| OwnAddress::of(&address));
    domains.iter().filter_map(at).collect()
}

/// The reply to a user who sends with the address of another.
pub(super) fn not_own(address: &str) -> SmtpReply {
    let shown = |character: char| if character.is_ascii_graphic() || character == ' ' { character } else { '?' };
    let address: String = address.chars().map(shown).take(MAX_SHOWN).collect();
    SmtpReply::status(553, 7, 1, format!("<{address}> is not an address of yours"))
}

/// A message of a user, with what completes it.
pub(super) struct SubmittedMail {
    pub(super) blob: Blob,
    /// The message is small: completing it does not wait for the disk.
    pub(super) at_once: bool,
    pub(super) sender: ReversePath,
    /// The addresses for From and Sender; `None` for every address.
    pub(super) own: Option<Vec<OwnAddress>>,
    /// The domain of addresses without one, unless the sender has one.
    pub(super) domain: String,
    pub(super) message_id: String,
}

/// The reason why a user's message is not taken.
pub(super) enum SubmissionRefusal {
    Reply(SmtpReply),
    Fault(Fault),
}

impl From<Fault> for SubmissionRefusal {
    fn from(fault: Fault) -> SubmissionRefusal {
        SubmissionRefusal::Fault(fault)
    }
}

impl SubmittedMail {
    /// Writes the message after `trace`: without Bcc, with a domain in every address, and with From, Date and Message-ID if they
    /// were missing (RFC 6409, section 8). All else stays byte for byte. Returns it with the number of bytes of `trace`.
    ///
    /// # Errors
    /// The reply if From or Sender names another's address, or if the header is unreadable; the fault of the writer.
    pub(super) fn complete(self, trace: &str, mut writer: BlobWriter) -> Result<(Blob, u64), SubmissionRefusal> {
        let refused = |text: String| SubmissionRefusal::Reply(SmtpReply::status(554, 6, 0, text));
        let mut message = Complete::read(&self.blob, false).map_err(|fault| match fault.kind {
            Kind::BadData => refused(format!("malformed message: {}", fault.detail)),
            _ => SubmissionRefusal::Fault(fault),
        })?;
        let domain = self.sender.address().and_then(Address::domain).unwrap_or(&self.domain);
        message.qualify(domain);
        if let Some(address) = self.sender.address() {
            message.add_missing("From", format!("From: <{address}>\r\n"));
        }
        self.check_authors(&message)?;
        let date = jiff::fmt::rfc2822::to_string(&crate::cli::clock::now()).unwrap_or_default();
        message.add_missing("Date", format!("Date: {date}\r\n"));
        message.add_missing("Message-ID", format!("Message-ID: {}\r\n", self.message_id));
        let failed = |error: std::io::Error| SubmissionRefusal::Fault(Fault::local("message", &error));
        writer.write_all(trace.as_bytes()).map_err(failed)?;
        let trace_bytes = writer.size_bytes();
        let message = message.into_message();
        match message.in_memory() {
            Some(bytes) => writer.write_all(bytes).map_err(failed)?,
            None => drop(std::io::copy(&mut message.reader(), &mut writer).map_err(failed)?),
        }
        Ok((writer.finish().map_err(failed)?, trace_bytes))
    }

    /// Every address in every From and Sender field must be the user's: recipients see it, whatever the envelope says.
    fn check_authors(&self, message: &Complete) -> Result<(), SubmissionRefusal> {
        let mut authors = 0;
        for field in message.fields() {
            let is_from = field.name.eq_ignore_ascii_case("from");
            if !is_from && !field.name.eq_ignore_ascii_case("sender") {
                continue;
            }
            let list = address_list::read(field.value().as_bytes());
            let unread = list.unparsed.first().filter(|_| self.own.is_some());
            let mut addresses = list.mailboxes.iter().map(|mailbox| &mailbox.address);
            let other = addresses.find(|address| !self.is_own(address)).map(Address::to_string);
            if let Some(text) = other.or(unread.cloned()) {
                return Err(SubmissionRefusal::Reply(not_own(&text)));
            }
            authors += if is_from { list.mailboxes.len() } else { 0 };
        }
        if authors == 0 && self.own.is_some() {
            return Err(SubmissionRefusal::Reply(SmtpReply::status(554, 6, 0, "From has no address")));
        }
        Ok(())
    }

    fn is_own(&self, address: &Address) -> bool {
        self.own.as_ref().is_none_or(|own| own.iter().any(|own| own.covers(address)))
    }
}
