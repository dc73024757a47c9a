//! A queue in memory, for simulations: the same guarantees on a virtual clock, without a disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::blob::Blob;
use crate::blob::file::BlobWriter;
use crate::fault::{Fault, Kind};
use crate::net::BoxFuture;
use crate::queue::entry::{AttemptResult, NewMessage, QueueId, RecipientState, Time};
use crate::queue::store::{
    Claim, Claimed, DeliveryBatch, DomainAges, DueDestination, Edited, Filter, Lease, LeaseOutcome, LeasedRecipient,
    MAX_BATCH, QueueCounts, QueueEdit, QueuePage, QueueStore, Settlement,
};
use crate::smtp::envelope::Recipient;

/// The source of the virtual time.
pub(super) type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

struct Stored {
    created: Time,
    message: NewMessage,
    recipients: Vec<Standing>,
}

struct Standing {
    to: Recipient,
    state: RecipientState,
    due: Time,
    attempts: u32,
    generation: u64,
    possible_duplicate: bool,
    warned: bool,
}

#[derive(Default)]
struct Tables {
    messages: BTreeMap<i64, Stored>,
    /// The queued recipients, by domain and due time.
    due: BTreeMap<String, BTreeSet<(Time, i64, u32)>>,
    last_id: i64,
}

/// The queue.
pub(super) struct MemoryStore {
    tables: Mutex<Tables>,
    clock: Clock,
    woken: Notify,
}

fn done<T: Send + 'static>(value: T) -> BoxFuture<'static, Result<T, Fault>> {
    Box::pin(std::future::ready(Ok(value)))
}

fn not_here<T: Send + 'static>() -> BoxFuture<'static, Result<T, Fault>> {
    Box::pin(std::future::ready(Err(Fault::new(Kind::Unsupported, "the queue of a simulation is not for operators"))))
}

impl MemoryStore {
    pub(super) fn new(clock: Clock) -> MemoryStore {
        MemoryStore { tables: Mutex::default(), clock, woken: Notify::new() }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Recipients that are not final, by state.
    pub(super) fn left(&self) -> HashMap<RecipientState, usize> {
        let mut left = HashMap::new();
        for standing in self.tables().messages.values().flat_map(|stored| &stored.recipients) {
            if !standing.state.is_final() {
                *left.entry(standing.state).or_default() += 1;
            }
        }
        left
    }
}

impl Tables {
    fn insert(&mut self, message: NewMessage, now: Time) -> QueueId {
        self.last_id += 1;
        let id = self.last_id;
        let recipients = message.envelope.recipients.iter().map(|to| Standing {
            to: to.clone(),
            state: RecipientState::Queued,
            due: now,
            attempts: 0,
            generation: 0,
            possible_duplicate: false,
            warned: false,
        });
        let stored = Stored { created: now, recipients: recipients.collect(), message };
        for (n, standing) in stored.recipients.iter().enumerate() {
            self.due.entry(standing.to.address.destination()).or_default().insert((now, id, n as u32));
        }
        self.messages.insert(id, stored);
        QueueId(id)
    }

    fn standing(&mut self, lease: &Lease) -> Option<&mut Standing> {
        let standing = self.messages.get_mut(&lease.message.0)?.recipients.get_mut(lease.n as usize)?;
        (standing.state == RecipientState::Active && standing.generation == lease.generation).then_some(standing)
    }

    /// Picks senders in turn, and for each sender the earliest due first.
    fn pick(&self, claim: &Claim) -> Vec<(Time, i64, u32)> {
        let mut senders: BTreeMap<&str, Vec<(Time, i64, u32)>> = BTreeMap::new();
        for key in self.due.get(&claim.domain).into_iter().flatten().take_while(|key| key.0 <= claim.due_until) {
            let sender = self.messages.get(&key.1).map_or("", |stored| stored.message.envelope.sender.as_str());
            senders.entry(sender).or_default().push(*key);
        }
        let longest = senders.values().map(Vec::len).max().unwrap_or(0);
        let in_turn = (0..longest).flat_map(|at| senders.values().filter_map(move |keys| keys.get(at)));
        in_turn.take(claim.limit).copied().collect()
    }

    fn claim(&mut self, claim: &Claim) -> Vec<DeliveryBatch> {
        let mut keys = self.pick(claim);
        keys.sort_by_key(|key| (key.1, key.2));
        let mut batches: Vec<DeliveryBatch> = Vec::new();
        for key in keys {
            self.due.entry(claim.domain.clone()).or_default().remove(&key);
            let Some(stored) = self.messages.get_mut(&key.1) else { continue };
            let Some(standing) = stored.recipients.get_mut(key.2 as usize) else { continue };
            standing.state = RecipientState::Active;
            standing.attempts += 1;
            standing.generation += 1;
            let recipient = LeasedRecipient {
                lease: Lease { message: QueueId(key.1), n: key.2, owner: 1, generation: standing.generation },
                to: standing.to.clone(),
                route: None,
                attempts: standing.attempts,
                possible_duplicate: standing.possible_duplicate,
                warned: standing.warned,
            };
            match batches.last_mut().filter(|batch| batch.id.0 == key.1) {
                Some(batch) => batch.envelope.recipients.push(recipient),
                None => batches.push(DeliveryBatch {
                    id: QueueId(key.1),
                    created: stored.created,
                    domain: claim.domain.clone(),
                    envelope: stored.message.envelope.with_recipients(vec![recipient]),
                    body: stored.message.body.clone(),
                }),
            }
        }
        batches
    }

    fn end(&mut self, lease: &Lease, outcome: LeaseOutcome) {
        let Some(standing) = self.standing(lease) else { return };
        match outcome {
            LeaseOutcome::Delivered(_) => standing.state = RecipientState::Delivered,
            LeaseOutcome::Failed(_) => standing.state = RecipientState::Failed,
            LeaseOutcome::Quarantined(_) => standing.state = RecipientState::Held,
            LeaseOutcome::Deferred { due, possible_duplicate, warned, .. } => {
                standing.state = RecipientState::Queued;
                (standing.due, standing.possible_duplicate, standing.warned) = (due, possible_duplicate, warned);
            }
            LeaseOutcome::Yielded => {
                standing.state = RecipientState::Queued;
                standing.attempts -= 1;
            }
        }
        let (state, key) = (standing.state, (standing.due, lease.message.0, lease.n));
        let domain = standing.to.address.destination();
        if state == RecipientState::Queued {
            self.due.entry(domain).or_default().insert(key);
        }
        let over = |stored: &Stored| stored.recipients.iter().all(|standing| standing.state.is_final());
        if self.messages.get(&lease.message.0).is_some_and(over) {
            self.messages.remove(&lease.message.0);
        }
    }
}

impl QueueStore for MemoryStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn new_body(&self) -> Result<BlobWriter, Fault> {
        Err(Fault::new(Kind::Unsupported, "no files in memory"))
    }

    fn enqueue(&self, messages: Vec<NewMessage>) -> BoxFuture<'_, Result<Vec<QueueId>, Fault>> {
        let now = (self.clock)();
        let mut tables = self.tables();
        let ids = messages.into_iter().map(|message| tables.insert(message, now)).collect();
        self.woken.notify_waiters();
        done(ids)
    }

    fn destinations(
        &self,
        after: Option<String>,
        _wanted: Filter,
    ) -> BoxFuture<'_, Result<Vec<DueDestination>, Fault>> {
        let tables = self.tables();
        let later = tables.due.iter().filter(|(domain, _)| after.as_ref().is_none_or(|after| *domain > after));
        let found = later
            .filter_map(|(domain, keys)| keys.first().map(|key| DueDestination { domain: domain.clone(), due: key.0 }));
        done(found.take(MAX_BATCH).collect())
    }

    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Claimed, Fault>> {
        done(Claimed { batches: self.tables().claim(&claim), damaged: Vec::new() })
    }

    fn renew(&self, leases: Vec<Lease>) -> BoxFuture<'_, Result<Vec<bool>, Fault>> {
        let mut tables = self.tables();
        done(leases.iter().map(|lease| tables.standing(lease).is_some()).collect())
    }

    fn settle(&self, settlements: Vec<Settlement>) -> BoxFuture<'_, Result<Vec<bool>, Fault>> {
        let now = (self.clock)();
        let mut tables = self.tables();
        let mut held = Vec::new();
        for settlement in settlements {
            held.push(settlement.leases.iter().all(|one| tables.standing(&one.lease).is_some()));
            if held.last() == Some(&true) {
                for report in settlement.reports {
                    tables.insert(report, now);
                    self.woken.notify_waiters();
                }
                settlement.leases.into_iter().for_each(|one| tables.end(&one.lease, one.outcome));
            }
        }
        done(held)
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Fault>> {
        done(())
    }

    fn recover(&self, _held: Vec<Lease>) -> BoxFuture<'_, Result<u64, Fault>> {
        done(0)
    }

    fn edit(&self, _wanted: Filter, _change: QueueEdit) -> BoxFuture<'_, Result<Edited, Fault>> {
        not_here()
    }

    fn list(&self, _wanted: Filter, _after: Option<QueueId>, _limit: usize) -> BoxFuture<'_, Result<QueuePage, Fault>> {
        not_here()
    }

    fn count(&self, _wanted: Filter) -> BoxFuture<'_, Result<QueueCounts, Fault>> {
        not_here()
    }

    fn summary(&self, _wanted: Filter, _now: Time) -> BoxFuture<'_, Result<Vec<DomainAges>, Fault>> {
        not_here()
    }

    fn content(&self, _id: QueueId) -> BoxFuture<'_, Result<Option<Blob>, Fault>> {
        not_here()
    }

    fn history(&self, _id: QueueId) -> BoxFuture<'_, Result<Vec<(u32, AttemptResult)>, Fault>> {
        not_here()
    }

    fn wait_for_work(&self, at_most: Duration) -> BoxFuture<'_, Result<(), Fault>> {
        let woken = self.woken.notified();
        Box::pin(async move {
            let _ = tokio::time::timeout(at_most, woken).await;
            Ok(())
        })
    }
}
