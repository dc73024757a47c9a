//! The guarantees of every queue engine. The rules are the same for a file on this host and for a database server: only
//! [`QueueStore::enqueue`] and [`QueueStore::edit`] are on the disk before they answer; leases and outcomes may be lost in a
//! power cut, so that a delivery may be repeated, but a message is never lost.

use std::time::Duration;

use crate::blob::Blob;
use crate::blob::file::BlobWriter;
use crate::fault::{Fault, Kind};
use crate::net::BoxFuture;
use crate::queue::entry::{AttemptResult, NewMessage, QueueEntry, QueueId, RecipientState, Time, Transition};
use crate::relay::deliver::DeliveryProof;
use crate::relay::route::RouteOverride;
use crate::smtp::address::Address;
use crate::smtp::data::MessageBlob;
use crate::smtp::envelope::{Envelope, Recipient};

/// Bodies up to this size are kept in the store itself, larger ones in files.
pub const MAX_INLINE: usize = 64 * 1024;

/// The most messages that one call returns.
pub const MAX_BATCH: usize = 1000;

/// The outgoing queue. A change, once begun, is completed even if its future is dropped.
pub trait QueueStore: Send + Sync {
    /// Its location, for records: a path.
    fn location(&self) -> String;

    /// A writer for the body of a message of any size, stored so that [`QueueStore::enqueue`] need not copy it.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] if the engine has no files.
    fn new_body(&self) -> Result<BlobWriter, Fault>;

    /// Queues the messages, all or none: when this answers, they are on the disk. Concurrent calls share one sync.
    fn enqueue(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<Vec<QueueId>, Fault>>;

    /// Destinations with queued recipients, and the earliest due time of each: at most [`MAX_BATCH`] after `after`, in the
    /// order of their names. An empty answer ends the listing.
    fn destinations(&self, after: Option<String>, wanted: Filter) -> BoxFuture<'_, Result<Vec<DueDestination>, Fault>>;

    /// Leases up to `limit` due recipients of one destination, as batches of one message each: senders in turn, and for each
    /// the earliest due first, so that a sender with thousands of messages does not delay another sender's single message.
    /// Their attempt counters are already raised when this answers. Unreadable entries are held, and listed in the answer.
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, Fault>>;

    /// Verifies and prolongs the leases; `false` for each lost one. Call it every [`RENEW_EVERY`] while waiting, and once
    /// more immediately before the final dot or the last BDAT.
    fn renew(&self, leases: Vec<Lease>) -> BoxFuture<'_, Result<Vec<bool>, Fault>>;

    /// Ends leases: each settlement as a whole or, if one of its leases was lost, not at all (`false`).
    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<Vec<bool>, Fault>>;

    /// Makes all previous settlements survive a power cut: the end of a run. Without it, deliveries after a power cut are
    /// marked as possible duplicates.
    fn sync(&self) -> BoxFuture<'_, Result<(), Fault>>;

    /// Recovers the leases of owners that are proven dead, and this process's own leases that are not in `held` (of a failed claim
    /// or settlement). Collects bodies without a message. Returns the number of requeued recipients. No claim may run meanwhile.
    fn recover(&self, held: Vec<Lease>) -> BoxFuture<'_, Result<u64, Fault>>;

    /// Applies an operator's change to all recipients that match the filter; when this answers it is on the disk.
    fn edit(&self, wanted: Filter, change: QueueEdit) -> BoxFuture<'_, Result<Edited, Fault>>;

    /// Messages in the order of arrival, each with the recipients that match the filter: at most `limit` after `after`.
    fn list(&self, wanted: Filter, after: Option<QueueId>, limit: usize) -> BoxFuture<'_, Result<QueuePage, Fault>>;

    /// Counts the recipients that match the filter, and their messages.
    fn count(&self, wanted: Filter) -> BoxFuture<'_, Result<QueueCounts, Fault>>;

    /// Recipients in non-final states, by domain and age, most recipients first.
    fn summary(&self, wanted: Filter, now: Time) -> BoxFuture<'_, Result<Vec<DomainAges>, Fault>>;

    /// The message's bytes; `None` if it is not in the queue.
    fn content(&self, id: QueueId) -> BoxFuture<'_, Result<Option<Blob>, Fault>>;

    /// Attempts without delivery of a message's recipients, oldest first: recipient number and outcome.
    fn history(&self, id: QueueId) -> BoxFuture<'_, Result<Vec<(u32, AttemptResult)>, Fault>>;

    /// Answers when another process may have made something due, or after `at_most`.
    fn wait_for_work(&self, at_most: Duration) -> BoxFuture<'_, Result<(), Fault>>;
}

/// The interval at which a waiting owner renews its leases.
pub const RENEW_EVERY: Duration = Duration::from_secs(30);

/// A selection of recipients; an empty filter selects all. Several values of one field are alternatives, different fields
/// must all match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Ids of messages.
    pub ids: Vec<QueueId>,
    /// Reverse-paths, compared without case; empty text is the null reverse-path.
    pub senders: Vec<String>,
    /// Recipients' addresses, compared without case.
    pub recipients: Vec<String>,
    /// Recipients' domains, compared without case.
    pub domains: Vec<String>,
    /// States.
    pub states: Vec<RecipientState>,
    /// Text within the last outcome's reply, compared without case.
    pub reason: Option<String>,
    /// Accepted at this time or before.
    pub created_until: Option<Time>,
    /// Accepted at this time or after.
    pub created_from: Option<Time>,
    /// Due at this time or before.
    pub due_until: Option<Time>,
}

impl Filter {
    /// True if the filter selects everything.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }
}

/// A destination with queued recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueDestination {
    /// The domain as [`Address::destination`] gives it.
    pub domain: String,
    /// The earliest due time of a recipient.
    pub due: Time,
}

/// The request of a runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The destination.
    pub domain: String,
    /// Due at this time or before; [`Time`]'s maximum takes everything (`--flush`).
    pub due_until: Time,
    /// The time of the claim.
    pub now: Time,
    /// The most recipients.
    pub limit: usize,
    /// The filter of recipients.
    pub wanted: Filter,
}

/// The right to try one recipient, until it is settled or lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The message.
    pub message: QueueId,
    /// The recipient's index in it.
    pub n: u32,
    /// The owner's number.
    pub owner: u64,
    /// The number of leases of this recipient so far: an old lease never passes for a new one.
    pub generation: u64,
}

/// A message or recipient whose row in the store is unreadable: another program wrote it, or the disk damaged it. It delays
/// nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedEntry {
    /// The message.
    pub id: QueueId,
    /// [`Kind::BadData`]: names the message, the recipient if it is one, and the value.
    pub fault: Fault,
}

impl DamagedEntry {
    /// The message (or its recipient `n`), and the unreadable part.
    pub fn new(id: QueueId, n: Option<u32>, what: &str) -> DamagedEntry {
        let place = n.map_or(String::new(), |n| format!(", recipient {n}"));
        DamagedEntry { id, fault: Fault::new(Kind::BadData, format!("queue entry {id}{place}: {what}")) }
    }
}

/// One page of a listing.
#[derive(Debug, Default)]
pub struct QueuePage {
    /// The readable messages.
    pub entries: Vec<QueueEntry>,
    /// The unreadable ones.
    pub damaged: Vec<DamagedEntry>,
    /// The last message of the page; `None` ends the listing.
    pub last: Option<QueueId>,
}

/// The result of a claim.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The leased recipients, by message.
    pub batches: Vec<DeliveryBatch>,
    /// Unreadable recipients: they are held from now on, as after an attempt with that reason.
    pub damaged: Vec<DamagedEntry>,
}

/// Recipients of one message that one runner may try now.
#[derive(Debug, Clone)]
pub struct DeliveryBatch {
    /// The message.
    pub id: QueueId,
    /// The time when it was accepted.
    pub created: Time,
    /// The destination.
    pub domain: String,
    /// Its envelope with at least one recipient.
    pub envelope: Envelope<LeasedRecipient>,
    /// The message.
    pub body: Blob,
}

impl DeliveryBatch {
    /// The envelope as SMTP sends it, recipients in the order of the leases.
    pub fn to_send(&self) -> Envelope {
        self.envelope.with_recipients(self.envelope.recipients.iter().map(|recipient| recipient.to.clone()).collect())
    }

    /// The content as SMTP sends it.
    pub fn content(&self) -> MessageBlob {
        MessageBlob { blob: self.body.clone(), has_8bit: self.envelope.eight_bit }
    }
}

/// A leased recipient.
#[derive(Debug, Clone)]
pub struct LeasedRecipient {
    /// The lease.
    pub lease: Lease,
    /// Its address and its requests for notices.
    pub to: Recipient,
    /// The next hop that overrides every other rule.
    pub route: Option<RouteOverride>,
    /// The number of attempts begun, this one included.
    pub attempts: u32,
    /// An earlier attempt ended without an answer.
    pub possible_duplicate: bool,
    /// The sender was warned about the delay.
    pub warned: bool,
}

/// The ends of leases of one message, together with the messages that notify its sender: one unit.
#[derive(Debug, Default)]
pub struct Settlement {
    /// The ended leases; at least one.
    pub leases: Vec<SettledLease>,
    /// Bounces, warnings, success reports.
    pub reports: Vec<NewMessage>,
}

/// A lease and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledLease {
    /// The lease.
    pub lease: Lease,
    /// Its end.
    pub outcome: LeaseOutcome,
}

/// The end of one lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// The next server accepted it, or it is in its Maildir.
    Delivered(DeliveryProof),
    /// To be retried.
    Deferred {
        /// The attempt.
        attempt: AttemptResult,
        /// The due time.
        due: Time,
        /// The next server may have accepted it.
        possible_duplicate: bool,
        /// The sender has been warned about the delay, now or before.
        warned: bool,
    },
    /// Given up.
    Failed(AttemptResult),
    /// There is no address for a report: held for the operator.
    Quarantined(AttemptResult),
    /// Not tried: the attempt does not count.
    Yielded,
}

/// An operator's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueEdit {
    /// Hold the recipient.
    Hold,
    /// Release it: due at once.
    Release(Time),
    /// Make it due now.
    Retry(Time),
    /// Remove it without a report.
    Remove,
    /// A new address for the recipient; due at once.
    Readdress(Address, Time),
    /// A next hop that overrides every other rule (`None`: back to the rules); due at once.
    Reroute(Option<RouteOverride>, Time),
}

impl QueueEdit {
    /// Its transition, for the table of allowed transitions.
    pub const fn transition(&self) -> Transition {
        match self {
            QueueEdit::Hold => Transition::Hold,
            QueueEdit::Release(_) => Transition::Release,
            QueueEdit::Retry(_) | QueueEdit::Readdress(..) | QueueEdit::Reroute(..) => Transition::Retry,
            QueueEdit::Remove => Transition::Remove,
        }
    }
}

/// The result of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edited {
    /// Recipients changed, by message and index.
    pub changed: Vec<(QueueId, u32)>,
    /// Recipients that match the filter but whose state does not allow the change.
    pub refused: Vec<(QueueId, u32, RecipientState)>,
}

/// The upper bounds of the age classes of [`QueueStore::summary`], in minutes; the last class has none.
pub const AGES: [u64; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];

/// The number of a domain's recipients by age.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainAges {
    /// The domain.
    pub domain: String,
    /// The number of its recipients.
    pub recipients: u64,
    /// Their number per age class of [`AGES`].
    pub ages: [u64; AGES.len() + 1],
}

/// The size of the queue, or of a selection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Messages with at least one counted recipient.
    pub messages: u64,
    /// Recipients waiting for their due time.
    pub queued: u64,
    /// Recipients that are leased.
    pub active: u64,
    /// Recipients that are held.
    pub held: u64,
    /// Bytes of the messages.
    pub size_bytes: u64,
}
