//! From what the servers said to what the queue does: states, due times, reports to the sender. Pure but for the bytes
//! of the message that a report returns.

use crate::fault::{Enhanced, Fault, Kind};
use crate::queue::bounce::{Action, Report, Reported};
use crate::queue::entry::{Attempt, NewMessage, NewRecipient, QueueId, Time};
use crate::queue::schedule::{Failure, Next, Schedule};
use crate::queue::spool::Body;
use crate::queue::store::{Outcome, Settlement, Unit, UnitRecipient};
use crate::relay::deliver::{Delivery, Peer};
use crate::smtp::command::Notify;
use crate::smtp::transaction::{self, RecipientResult};

/// What conclusions depend on beside the outcome.
#[derive(Debug, Clone)]
pub struct Rules {
    /// When to retry, warn and give up.
    pub schedule: Schedule,
    /// Our name in reports.
    pub mta: String,
    /// Who is told of what cannot be returned because the reverse-path is empty; without it such mail is held.
    pub bounce_to: Option<String>,
}

/// What became of one recipient in one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The next server took it.
    Delivered,
    /// To be tried again at this time.
    Deferred(Time),
    /// Refused for good; the sender was told if that was due.
    Failed,
    /// Too old; the sender was told if that was due.
    Expired,
    /// Nobody can be told: held for the operator.
    Held,
    /// The lease was lost before the message was complete: nothing was sent, or nothing recorded.
    Lost,
}

impl Fate {
    /// The name in text and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fate::Delivered => "delivered",
            Fate::Deferred(_) => "deferred",
            Fate::Failed => "failed",
            Fate::Expired => "expired",
            Fate::Held => "held",
            Fate::Lost => "lost",
        }
    }
}

/// One attempt for one recipient, for those who watch the runner.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The message.
    pub id: QueueId,
    /// Its sender.
    pub sender: String,
    /// The recipient.
    pub address: String,
    /// Size of the message.
    pub size_bytes: u64,
    /// The outcome.
    pub fate: Fate,
    /// What the server said.
    pub attempt: Attempt,
    /// Which server.
    pub peer: Peer,
    /// Attempts begun, this one included.
    pub attempts: u32,
    /// The recipient may have, or now may get, the message twice.
    pub possible_duplicate: bool,
    /// How long connecting took, if that was needed.
    pub connect: Option<std::time::Duration>,
    /// How long the phases took.
    pub times: crate::smtp::client::Times,
}

/// What follows from one delivery: the settlement of its leases, and a line for each recipient.
pub fn conclude(
    unit: &Unit,
    delivery: &Delivery,
    rules: &Rules,
    now: Time,
    random: &mut dyn FnMut() -> u32,
) -> (Settlement, Vec<Tried>) {
    let mut settlement = Settlement::default();
    let mut tried = Vec::with_capacity(unit.recipients.len());
    let mut failed = Vec::new();
    let mut delayed = Vec::new();
    let mut arrived = Vec::new();
    for ((recipient, result), peer) in unit.recipients.iter().zip(&delivery.results).zip(&delivery.peers) {
        let attempt = attempt(result, peer, now);
        let reported = reported(recipient, result, &attempt);
        let notify = notify(recipient);
        let (fate, outcome) = match result.outcome {
            transaction::Outcome::Delivered => {
                if notify.is_some_and(|notify| notify.success) && !peer.dsn {
                    arrived.push((reported, peer.is_final));
                }
                (Fate::Delivered, Outcome::Delivered(attempt.clone()))
            }
            _ if stopped(result) => (Fate::Lost, Outcome::Yielded),
            transaction::Outcome::Refused => {
                give_up(unit, Fate::Failed, &attempt, reported, notify, rules, &mut failed)
            }
            transaction::Outcome::Deferred | transaction::Outcome::Unknown => {
                let failure = Failure {
                    created: unit.created,
                    now,
                    attempts: recipient.attempts,
                    code: attempt.code,
                    enhanced: attempt.enhanced,
                    reply: &attempt.reply,
                    warned: recipient.warned,
                };
                let unknown = result.outcome == transaction::Outcome::Unknown;
                match rules.schedule.after(&failure, f64::from(random()) / f64::from(u32::MAX)) {
                    Next::Expired => give_up(unit, Fate::Expired, &attempt, reported, notify, rules, &mut failed),
                    Next::Retry { due, warn } => {
                        // Without NOTIFY a warning is ours to send or not; with it, DELAY must stand there.
                        if warn && notify.is_none_or(|notify| notify.delay) && !unit.sender.is_empty() {
                            delayed.push(reported);
                        }
                        let possible_duplicate = recipient.possible_duplicate || unknown;
                        let warned = recipient.warned || warn;
                        let attempt = attempt.clone();
                        (Fate::Deferred(due), Outcome::Deferred { attempt, due, possible_duplicate, warned })
                    }
                }
            }
        };
        tried.push(Tried {
            id: unit.id,
            sender: unit.sender.clone(),
            address: recipient.address.clone(),
            size_bytes: unit.body.size_bytes(),
            fate,
            attempt,
            peer: peer.clone(),
            attempts: recipient.attempts,
            possible_duplicate: recipient.possible_duplicate || result.outcome == transaction::Outcome::Unknown,
            connect: delivery.connect,
            times: delivery.times,
        });
        settlement.outcomes.push((recipient.lease.clone(), outcome));
    }
    let (finally, relayed): (Vec<_>, Vec<_>) = arrived.into_iter().partition(|(_, is_final)| *is_final);
    let bare = |list: Vec<(Reported, bool)>| list.into_iter().map(|(reported, _)| reported).collect();
    for (action, recipients) in [
        (Action::Failed, failed),
        (Action::Delayed, delayed),
        (Action::Relayed, bare(relayed)),
        (Action::Delivered, bare(finally)),
    ] {
        settlement.reports.extend(report(unit, action, recipients, rules, now, random));
    }
    (settlement, tried)
}

/// The end of a recipient: reported to the sender, or held when there is none.
fn give_up(
    unit: &Unit,
    fate: Fate,
    attempt: &Attempt,
    reported: Reported,
    notify: Option<Notify>,
    rules: &Rules,
    failed: &mut Vec<Reported>,
) -> (Fate, Outcome) {
    if notify.is_some_and(|notify| !notify.failure) {
        return (fate, Outcome::Failed(attempt.clone()));
    }
    if unit.sender.is_empty() && rules.bounce_to.is_none() {
        return (Fate::Held, Outcome::Quarantined(attempt.clone()));
    }
    failed.push(reported);
    (fate, Outcome::Failed(attempt.clone()))
}

/// True when we stopped it ourselves before it was complete.
fn stopped(result: &RecipientResult) -> bool {
    result.fault.as_ref().is_some_and(|fault| fault.kind == Kind::Cancelled)
}

fn notify(recipient: &UnitRecipient) -> Option<Notify> {
    recipient.notify.as_deref().and_then(|notify| notify.parse().ok())
}

fn attempt(result: &RecipientResult, peer: &Peer, now: Time) -> Attempt {
    let reply = if result.reply.is_empty() {
        result.fault.as_ref().map_or(String::new(), |fault: &Fault| fault.detail.clone())
    } else {
        result.reply.clone()
    };
    Attempt {
        at: now,
        host: peer.host.clone(),
        ip: peer.ip.map(|address| address.ip().to_string()),
        kind: result.fault.as_ref().map(|fault| fault.kind),
        code: result.code,
        enhanced: result.enhanced.or_else(|| result.fault.as_ref().and_then(|fault| fault.enhanced)),
        reply,
    }
}

fn reported(recipient: &UnitRecipient, result: &RecipientResult, attempt: &Attempt) -> Reported {
    let by_code = attempt.code.and_then(|code| match code / 100 {
        2 => Some(Enhanced::new(2, 0, 0)),
        4 => Some(Enhanced::new(4, 0, 0)),
        5 => Some(Enhanced::new(5, 0, 0)),
        _ => None,
    });
    Reported {
        address: recipient.address.clone(),
        orcpt: recipient.orcpt.clone(),
        enhanced: attempt.enhanced.or(by_code),
        host: attempt.host.clone(),
        reply: attempt.reply.clone(),
        by_server: result.code.is_some(),
        at: attempt.at,
    }
}

/// The message that tells the sender; none when there is nothing to tell or nobody to be told.
pub fn report(
    unit: &Unit,
    action: Action,
    recipients: Vec<Reported>,
    rules: &Rules,
    now: Time,
    random: &mut dyn FnMut() -> u32,
) -> Option<NewMessage> {
    let to = match (unit.sender.as_str(), &rules.bounce_to) {
        ("", Some(postmaster)) if action == Action::Failed => postmaster.clone(),
        ("", _) => return None,
        (sender, _) => sender.to_owned(),
    };
    if recipients.is_empty() {
        return None;
    }
    let report = Report {
        action,
        mta: rules.mta.clone(),
        to: to.clone(),
        envid: unit.envid.clone(),
        arrived: unit.created,
        queue_id: unit.id.to_string(),
        until: (action == Action::Delayed).then(|| unit.created.plus(rules.schedule.expire_after)),
        recipients,
        full: unit.ret.as_deref() == Some("FULL"),
        smtputf8: unit.smtputf8,
    };
    let unique = format!("{}.{:08x}{:08x}.report", unit.id, random(), random());
    // A message that cannot be read any more is reported all the same, without its header.
    let opened = unit.body.open();
    let composed = match opened {
        Ok(original) => report.compose(original, unit.body.size_bytes(), now, &unique),
        Err(error) => Err(error),
    };
    let (bytes, eight_bit) = composed.or_else(|_| report.compose(std::io::empty(), 0, now, &unique)).ok()?;
    let mut recipient = NewRecipient::new(to);
    // The bounce of a bounce ends here.
    recipient.notify = Some("NEVER".to_owned()).filter(|_| unit.sender.is_empty());
    let mut message = NewMessage::new("", vec![recipient], Body::from(bytes));
    message.eight_bit = eight_bit;
    message.smtputf8 = unit.smtputf8 && !report.to.is_ascii();
    Some(message)
}
