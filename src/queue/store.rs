//! What every engine of the queue promises. The rules are the same for a file on this host and for a database server:
//! only [`QueueStore::enqueue`] and [`QueueStore::edit`] are on the disk before they answer; leases and outcomes may be
//! lost in a power cut, so that a delivery is repeated, never a message lost.

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

/// The outgoing queue. A change that has begun is completed even if its future is dropped.
pub trait QueueStore: Send + Sync {
    /// Where it lies, for records: a path.
    fn location(&self) -> String;

    /// Takes the bytes of a message of any size, in a place from which [`QueueStore::enqueue`] need not copy them.
    ///
    /// # Errors
    /// [`Kind::Unsupported`](crate::fault::Kind::Unsupported) when the engine has no files.
    fn new_body(&self) -> Result<BlobWriter, Fault>;

    /// Takes the messages, all or none: when this answers, they are on the disk. Calls that come together share one sync.
    fn enqueue(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<Vec<QueueId>, Fault>>;

    /// Destinations with recipients that are queued, and when the first of each is due: at most [`MAX_BATCH`] after
    /// `after`, in the order of their names. An empty answer ends the listing.
    fn destinations(&self, after: Option<String>, wanted: Filter) -> BoxFuture<'_, Result<Vec<DueDestination>, Fault>>;

    /// Leases up to `limit` recipients of one destination that are due, as batches of one message each: senders in turn, of
    /// each the first due first, so that one sender's thousands do not keep another's one message waiting.
    /// Their attempt counters have risen when this answers. What cannot be read is held, and named in the answer.
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, Fault>>;

    /// Proves the leases again and prolongs them; `false` for each that was lost. To be asked every [`RENEW_EVERY`] while
    /// waiting, and once more immediately before the final dot or the last BDAT.
    fn renew(&self, leases: Vec<Lease>) -> BoxFuture<'_, Result<Vec<bool>, Fault>>;

    /// Ends leases: each settlement whole or, when one of its leases was lost, not at all (`false`).
    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<Vec<bool>, Fault>>;

    /// Makes everything settled so far outlast a power cut: the end of a run. Without it, what follows a power cut is
    /// marked as a possible duplicate.
    fn sync(&self) -> BoxFuture<'_, Result<(), Fault>>;

    /// Takes back the leases of owners that are proven dead, and our own that are not in `held`: those of a claim or a settlement
    /// that failed. Collects bodies that no message has. How many recipients are queued again. No claim may be under way.
    fn recover(&self, held: Vec<Lease>) -> BoxFuture<'_, Result<u64, Fault>>;

    /// An operator's change of all recipients that the filter lets through; when this answers it is on the disk.
    fn edit(&self, wanted: Filter, change: QueueEdit) -> BoxFuture<'_, Result<Edited, Fault>>;

    /// Messages in the order of arrival, each with the recipients that the filter lets through: at most `limit` after
    /// `after`.
    fn list(&self, wanted: Filter, after: Option<QueueId>, limit: usize) -> BoxFuture<'_, Result<QueuePage, Fault>>;

    /// Counts what the filter lets through.
    fn count(&self, wanted: Filter) -> BoxFuture<'_, Result<QueueCounts, Fault>>;

    /// Recipients that are not final, by domain and age, most recipients first.
    fn summary(&self, wanted: Filter, now: Time) -> BoxFuture<'_, Result<Vec<DomainAges>, Fault>>;

    /// The message's bytes; `None` when it is not in the queue.
    fn content(&self, id: QueueId) -> BoxFuture<'_, Result<Option<Blob>, Fault>>;

    /// Attempts of a message's recipients that did not deliver, oldest first: recipient number and outcome.
    fn history(&self, id: QueueId) -> BoxFuture<'_, Result<Vec<(u32, AttemptResult)>, Fault>>;

    /// Answers when something may have become due by another's doing, or after `at_most`.
    fn wait_for_work(&self, at_most: Duration) -> BoxFuture<'_, Result<(), Fault>>;
}

/// How often a waiting owner renews its leases.
pub const RENEW_EVERY: Duration = Duration::from_secs(30);

/// Which recipients are meant; an empty filter means all. Several values of one field are alternatives, different fields
/// must all agree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// These messages.
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
    /// True when everything is let through.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }
}

/// A destination with something queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueDestination {
    /// The domain as [`Address::destination`] gives it.
    pub domain: String,
    /// When the first recipient is due.
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
    /// At most this many recipients.
    pub limit: usize,
    /// Only these.
    pub wanted: Filter,
}

/// The right to try one recipient, until it is settled or lost.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The message.
    pub message: QueueId,
    /// The recipient's index in it.
    pub n: u32,
    /// Who holds it.
    pub owner: u64,
    /// Counts the leases of this recipient: an old lease never passes for a new one.
    pub generation: u64,
}

/// A message or one of its recipients whose row in the store cannot be read: another program wrote there, or the disk did.
/// It keeps nothing else waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedEntry {
    /// The message.
    pub id: QueueId,
    /// [`Kind::BadData`]: names the message, the recipient if it is one, and the value.
    pub fault: Fault,
}

impl DamagedEntry {
    /// The message (or its recipient `n`), and what cannot be read.
    pub fn new(id: QueueId, n: Option<u32>, what: &str) -> DamagedEntry {
        let place = n.map_or(String::new(), |n| format!(", recipient {n}"));
        DamagedEntry { id, fault: Fault::new(Kind::BadData, format!("queue entry {id}{place}: {what}")) }
    }
}

/// One page of a listing.
#[derive(Debug, Default)]
pub struct QueuePage {
    /// What could be read.
    pub entries: Vec<QueueEntry>,
    /// What could not.
    pub damaged: Vec<DamagedEntry>,
    /// The last message of the page; `None` ends the listing.
    pub last: Option<QueueId>,
}

/// The result of a claim.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Recipients to be tried, by message.
    pub batches: Vec<DeliveryBatch>,
    /// Recipients that cannot be read: they are held from now on, as after an attempt that says why.
    pub damaged: Vec<DamagedEntry>,
}

/// Recipients of one message that one runner may try now.
#[derive(Debug, Clone)]
pub struct DeliveryBatch {
    /// The message.
    pub id: QueueId,
    /// When it was accepted.
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
    /// Its address and the wishes about notices.
    pub to: Recipient,
    /// The next hop that overrides every other choice.
    pub route: Option<RouteOverride>,
    /// Attempts begun, this one included.
    pub attempts: u32,
    /// An earlier attempt ended without an answer.
    pub possible_duplicate: bool,
    /// The sender was warned about the delay.
    pub warned: bool,
}

/// How leases of one message end, together with the messages that tell its sender: one whole.
#[derive(Debug, Default)]
pub struct Settlement {
    /// At least one.
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

/// How one lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// The next server took it, or it is in its Maildir.
    Delivered(DeliveryProof),
    /// To be tried again.
    Deferred {
        /// The attempt.
        attempt: AttemptResult,
        /// When.
        due: Time,
        /// The next server may have taken it.
        possible_duplicate: bool,
        /// The sender has been warned about the delay, now or before.
        warned: bool,
    },
    /// Given up.
    Failed(AttemptResult),
    /// Nobody can be told: held for the operator.
    Quarantined(AttemptResult),
    /// Not tried: the attempt does not count.
    Yielded,
}

/// An operator's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueEdit {
    /// Stop.
    Hold,
    /// Go on: due at once.
    Release(Time),
    /// Due now.
    Retry(Time),
    /// Out, without a word.
    Remove,
    /// A new address for the recipient; due at once.
    Readdress(Address, Time),
    /// A next hop that overrides every other choice (`None`: back to the rule); due at once.
    Reroute(Option<RouteOverride>, Time),
}

impl QueueEdit {
    /// Its transition, for the table of permitted transitions.
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
    /// Recipients that the filter let through but whose state does not allow the change.
    pub refused: Vec<(QueueId, u32, RecipientState)>,
}

/// The upper bounds of the ages that [`QueueStore::summary`] counts by, in minutes; the last class has none.
pub const AGES: [u64; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];

/// How much of a domain is how old.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DomainAges {
    /// The domain.
    pub domain: String,
    /// Its recipients.
    pub recipients: u64,
    /// By age, as [`AGES`] divides them.
    pub ages: [u64; AGES.len() + 1],
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Messages with at least one recipient that counts.
    pub messages: u64,
    /// Recipients that wait for their time.
    pub queued: u64,
    /// Recipients under way.
    pub active: u64,
    /// Recipients that are held.
    pub held: u64,
    /// Bytes of the messages.
    pub size_bytes: u64,
}
