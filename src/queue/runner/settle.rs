//! Converts the servers' replies into changes of the queue: states, due times, reports to the sender. Pure except for the
//! bytes of the message that a report returns.

use crate::fault::{Enhanced, Fault};
use crate::queue::bounce::{ReportAction, ReportedRecipient, StatusReport};
use crate::queue::entry::{AttemptResult, NewMessage, QueueId, Time};
use crate::queue::schedule::{FailedAttempt, RetryDecision, Schedule};
use crate::queue::store::{DeliveryBatch, LeaseOutcome, LeasedRecipient, SettledLease};
use crate::relay::deliver::{Delivery, HopResult, NextHopFacts, RecipientDelivery};
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::envelope::{Notify, Ret};
use crate::smtp::transaction::RecipientOutcome;

/// The rules for settlements, apart from the outcome.
#[derive(Debug, Clone)]
pub struct SettlementRules {
    /// The schedule of retries, warnings and expiry.
    pub schedule: Schedule,
    /// The host name of this MTA in reports.
    pub mta: String,
    /// The address for mail that cannot be returned because its reverse-path is empty; without it such mail is held.
    pub bounce_to: Option<Address>,
}

/// The result of one attempt for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The next server accepted it.
    Delivered,
    /// To be retried at this time.
    Deferred(Time),
    /// Refused permanently; the sender was notified if required.
    Failed,
    /// Expired; the sender was notified if required.
    Expired,
    /// There is no address for a report: held for the operator.
    Held,
    /// The lease was lost before the message was complete: nothing was sent, or nothing was recorded.
    Lost,
}

impl Disposition {
    /// The name in text and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Disposition::Delivered => "delivered",
            Disposition::Deferred(_) => "deferred",
            Disposition::Failed => "failed",
            Disposition::Expired => "expired",
            Disposition::Held => "held",
            Disposition::Lost => "lost",
        }
    }
}

/// One attempt for one recipient, for watchers of the runner.
#[derive(Debug, Clone)]
pub struct AttemptReport {
    /// The message.
    pub id: QueueId,
    /// Its sender.
    pub sender: ReversePath,
    /// The recipient.
    pub address: Address,
    /// Size of the message.
    pub size_bytes: u64,
    /// The outcome.
    pub disposition: Disposition,
    /// The reply of the server.
    pub attempt: AttemptResult,
    /// The server.
    pub peer: NextHopFacts,
    /// The number of attempts begun, this one included.
    pub attempts: u32,
    /// The recipient may have received the message twice, or may receive it again.
    pub possible_duplicate: bool,
    /// The duration of connecting, if that was needed.
    pub connect: Option<std::time::Duration>,
    /// The durations of the phases.
    pub times: crate::smtp::client::Times,
}

/// The changes that settle one delivery.
#[derive(Debug, Default)]
pub struct DeliverySettlement {
    /// One per recipient of the batch.
    pub recipients: Vec<RecipientSettlement>,
    /// Bounces, warnings, success reports.
    pub reports: Vec<NewMessage>,
}

/// The settlement of one recipient.
#[derive(Debug)]
pub struct RecipientSettlement {
    /// The end of the lease.
    pub settled: SettledLease,
    /// The report for watchers; `None` if nothing was tried.
    pub report: Option<AttemptReport>,
}

/// The settlement of one delivery.
pub fn settle(
    batch: &DeliveryBatch,
    delivery: &Delivery,
    rules: &SettlementRules,
    now: Time,
    random: &mut dyn FnMut() -> u32,
) -> DeliverySettlement {
    let mut settlement = DeliverySettlement::default();
    let mut failed = Vec::new();
    let mut delayed = Vec::new();
    let mut arrived = Vec::new();
    for (recipient, RecipientDelivery { result, peer }) in batch.envelope.recipients.iter().zip(&delivery.recipients) {
        let attempt = attempt(result, peer, now);
        let reported = reported(recipient, result, &attempt);
        let notify = recipient.to.notify;
        let (disposition, outcome) = match &result.outcome {
            RecipientOutcome::Delivered(proof) => {
                if notify.is_some_and(|notify| notify.success) && !peer.dsn {
                    arrived.push((reported, peer.is_final));
                }
                (Disposition::Delivered, LeaseOutcome::Delivered(proof.clone()))
            }
            RecipientOutcome::Stopped => (Disposition::Lost, LeaseOutcome::Yielded),
            RecipientOutcome::Refused => {
                give_up(batch, Disposition::Failed, &attempt, reported, notify, rules, &mut failed)
            }
            RecipientOutcome::Deferred | RecipientOutcome::Unknown => {
                let failure = FailedAttempt {
                    created: batch.created,
                    now,
                    attempts: recipient.attempts,
                    code: attempt.code,
                    enhanced: attempt.enhanced,
                    reply: &attempt.reply,
                    warned: recipient.warned,
                };
                let unknown = result.outcome == RecipientOutcome::Unknown;
                match rules.schedule.after(&failure, f64::from(random()) / f64::from(u32::MAX)) {
                    RetryDecision::Expired => {
                        give_up(batch, Disposition::Expired, &attempt, reported, notify, rules, &mut failed)
                    }
                    RetryDecision::Retry { due, warn } => {
                        // Without NOTIFY a warning is optional; with NOTIFY it must contain DELAY.
                        if warn
                            && notify.is_none_or(|notify| notify.delay)
                            && batch.envelope.sender != ReversePath::Null
                        {
                            delayed.push(reported);
                        }
                        let possible_duplicate = recipient.possible_duplicate || unknown;
                        let warned = recipient.warned || warn;
                        let attempt = attempt.clone();
                        (
                            Disposition::Deferred(due),
                            LeaseOutcome::Deferred { attempt, due, possible_duplicate, warned },
                        )
                    }
                }
            }
        };
        let report = AttemptReport {
            id: batch.id,
            sender: batch.envelope.sender.clone(),
            address: recipient.to.address.clone(),
            size_bytes: batch.body.size_bytes(),
            disposition,
            attempt,
            peer: peer.clone(),
            attempts: recipient.attempts,
            possible_duplicate: recipient.possible_duplicate || result.outcome == RecipientOutcome::Unknown,
            connect: delivery.connect,
            times: delivery.times,
        };
        let settled = SettledLease { lease: recipient.lease.clone(), outcome };
        settlement.recipients.push(RecipientSettlement { settled, report: Some(report) });
    }
    let (finally, relayed): (Vec<_>, Vec<_>) = arrived.into_iter().partition(|(_, is_final)| *is_final);
    let bare = |list: Vec<(ReportedRecipient, bool)>| list.into_iter().map(|(reported, _)| reported).collect();
    for (action, recipients) in [
        (ReportAction::Failed, failed),
        (ReportAction::Delayed, delayed),
        (ReportAction::Relayed, bare(relayed)),
        (ReportAction::Delivered, bare(finally)),
    ] {
        settlement.reports.extend(report(batch, action, recipients, rules, now, random));
    }
    settlement
}

/// Gives up a recipient: reported to the sender, or held if there is no address for the report.
fn give_up(
    batch: &DeliveryBatch,
    disposition: Disposition,
    attempt: &AttemptResult,
    reported: ReportedRecipient,
    notify: Option<Notify>,
    rules: &SettlementRules,
    failed: &mut Vec<ReportedRecipient>,
) -> (Disposition, LeaseOutcome) {
    if notify.is_some_and(|notify| !notify.failure) {
        return (disposition, LeaseOutcome::Failed(attempt.clone()));
    }
    if batch.envelope.sender == ReversePath::Null && rules.bounce_to.is_none() {
        return (Disposition::Held, LeaseOutcome::Quarantined(attempt.clone()));
    }
    failed.push(reported);
    (disposition, LeaseOutcome::Failed(attempt.clone()))
}

fn attempt(result: &HopResult, peer: &NextHopFacts, now: Time) -> AttemptResult {
    let reply = if result.reply.is_empty() {
        result.fault.as_ref().map_or(String::new(), |fault: &Fault| fault.detail.clone())
    } else {
        result.reply.clone()
    };
    AttemptResult {
        at: now,
        host: peer.host.clone(),
        ip: peer.ip.map(|address| address.ip().to_string()),
        kind: result.fault.as_ref().map(|fault| fault.kind),
        code: result.code,
        enhanced: result.enhanced.or_else(|| result.fault.as_ref().and_then(|fault| fault.enhanced)),
        reply,
    }
}

fn reported(recipient: &LeasedRecipient, result: &HopResult, attempt: &AttemptResult) -> ReportedRecipient {
    let by_code = attempt.code.and_then(|code| match code / 100 {
        2 => Some(Enhanced::new(2, 0, 0)),
        4 => Some(Enhanced::new(4, 0, 0)),
        5 => Some(Enhanced::new(5, 0, 0)),
        _ => None,
    });
    ReportedRecipient {
        address: recipient.to.address.clone(),
        orcpt: recipient.to.orcpt.clone(),
        enhanced: attempt.enhanced.or(by_code),
        host: attempt.host.clone(),
        reply: attempt.reply.clone(),
        by_server: result.code.is_some(),
        at: attempt.at,
    }
}

/// The report to the sender; `None` if there is no reason or no address for it.
pub fn report(
    batch: &DeliveryBatch,
    action: ReportAction,
    recipients: Vec<ReportedRecipient>,
    rules: &SettlementRules,
    now: Time,
    random: &mut dyn FnMut() -> u32,
) -> Option<NewMessage> {
    let to = match (&batch.envelope.sender, &rules.bounce_to) {
        (ReversePath::Address(sender), _) => sender,
        (ReversePath::Null, Some(postmaster)) if action == ReportAction::Failed => postmaster,
        (ReversePath::Null, _) => return None,
    };
    if recipients.is_empty() {
        return None;
    }
    let report = StatusReport {
        action,
        mta: rules.mta.clone(),
        to: to.clone(),
        envid: batch.envelope.envid.clone(),
        arrived: batch.created,
        queue_id: batch.id.to_string(),
        until: (action == ReportAction::Delayed).then(|| batch.created.plus(rules.schedule.expire_after)),
        recipients,
        full: batch.envelope.ret == Some(Ret::Full),
    };
    let unique = format!("{}.{:08x}{:08x}.report", batch.id, random(), random());
    let mut message = report.for_queue(&batch.body, now, &unique)?;
    if batch.envelope.sender == ReversePath::Null {
        // A bounce of a bounce is not sent.
        message.envelope.recipients.iter_mut().for_each(|recipient| recipient.notify = Some(Notify::NEVER));
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;
    use crate::fault::Kind;
    use crate::queue::store::Lease;
    use crate::relay::deliver::DeliveryProof;
    use crate::relay::deliver::undelivered;
    use crate::smtp::envelope::{Envelope, Recipient};
    use crate::smtp::transaction::Accepted;

    type Said = RecipientOutcome<DeliveryProof>;

    fn delivered() -> Said {
        Said::Delivered(DeliveryProof::Accepted(Accepted::simulated()))
    }
    use std::io::Read as _;
    use std::time::Duration;

    const NOW: Time = Time(1_764_000_000_000);

    fn batch(sender: &str, notify: &[Option<&str>]) -> DeliveryBatch {
        let id = QueueId(7);
        let recipients = notify.iter().enumerate().map(|(n, notify)| LeasedRecipient {
            lease: Lease { message: id, n: n as u32, owner: 1, generation: 1 },
            to: Recipient {
                notify: notify.map(|notify| notify.parse().unwrap()),
                ..Recipient::new(format!("r{n}@b.test"))
            },
            route: None,
            attempts: 1,
            possible_duplicate: false,
            warned: false,
        });
        DeliveryBatch {
            id,
            created: NOW,
            domain: "b.test".to_owned(),
            envelope: Envelope::new(sender, recipients.collect()),
            body: Blob::memory(b"Subject: x\r\n\r\ny\r\n".to_vec()),
        }
    }

    fn rules() -> SettlementRules {
        SettlementRules { schedule: Schedule::default(), mta: "us.test".to_owned(), bounce_to: None }
    }

    /// One result per recipient; the peer offers DSN or not.
    fn said(batch: &DeliveryBatch, outcomes: &[Said], dsn: bool, is_final: bool) -> Delivery {
        let mut delivery = undelivered(&batch.to_send(), &Fault::new(Kind::TimedOut, "late"));
        for (RecipientDelivery { result, peer }, outcome) in delivery.recipients.iter_mut().zip(outcomes) {
            result.outcome = outcome.clone();
            result.code = match outcome {
                Said::Delivered(_) => Some(250),
                Said::Refused => Some(550),
                Said::Deferred => Some(450),
                Said::Unknown | Said::Stopped => None,
            };
            (peer.dsn, peer.is_final) = (dsn, is_final);
        }
        delivery
    }

    fn dispositions(
        batch: &DeliveryBatch,
        delivery: &Delivery,
        rules: &SettlementRules,
        now: Time,
    ) -> (Vec<&'static str>, Vec<String>) {
        let settlement = settle(batch, delivery, rules, now, &mut || u32::MAX / 2);
        assert_eq!(settlement.recipients.len(), batch.envelope.recipients.len());
        let reports = settlement.reports.iter().map(|report| {
            let mut text = String::new();
            report.body.open_at(0).read_to_string(&mut text).unwrap();
            assert_eq!(report.envelope.sender, ReversePath::Null, "a report has no sender");
            let action = text.lines().find_map(|line| line.strip_prefix("Action: ")).unwrap();
            let about = text.matches("Final-Recipient:").count();
            format!("{} {action} {about}", report.envelope.recipients[0].address)
        });
        let disposition = |one: &RecipientSettlement| one.report.as_ref().unwrap().disposition.as_str();
        (settlement.recipients.iter().map(disposition).collect(), reports.collect())
    }

    #[test]
    fn the_sender_is_told_what_it_asked_for() {
        let later = NOW.plus(Duration::from_secs(5 * 3600));
        // (sender, NOTIFY, the server's reply, whether it offers DSN, time, disposition, report)
        for (sender, notify, outcome, dsn, now, disposition, report) in [
            ("a@a", None, delivered(), false, NOW, "delivered", None),
            ("a@a", Some("SUCCESS"), delivered(), false, NOW, "delivered", Some("a@a relayed 1")),
            ("a@a", Some("SUCCESS"), delivered(), true, NOW, "delivered", None),
            ("a@a", None, Said::Refused, true, NOW, "failed", Some("a@a failed 1")),
            ("a@a", Some("FAILURE"), Said::Refused, false, NOW, "failed", Some("a@a failed 1")),
            ("a@a", Some("SUCCESS"), Said::Refused, false, NOW, "failed", None),
            ("a@a", Some("NEVER"), Said::Refused, false, NOW, "failed", None),
            ("", None, Said::Refused, false, NOW, "held", None),
            ("", Some("NEVER"), Said::Refused, false, NOW, "failed", None),
            ("a@a", None, Said::Deferred, false, NOW, "deferred", None),
            ("a@a", None, Said::Deferred, false, later, "deferred", Some("a@a delayed 1")),
            ("a@a", Some("DELAY"), Said::Unknown, false, later, "deferred", Some("a@a delayed 1")),
            ("a@a", Some("FAILURE"), Said::Deferred, false, later, "deferred", None),
            ("", None, Said::Deferred, false, later, "deferred", None),
        ] {
            let batch = batch(sender, &[notify]);
            let delivery = said(&batch, std::slice::from_ref(&outcome), dsn, false);
            let (found, reports) = dispositions(&batch, &delivery, &rules(), now);
            assert_eq!(found, [disposition], "{sender} {notify:?} {outcome:?}");
            assert_eq!(reports.first().map(String::as_str), report, "{sender} {notify:?} {outcome:?}");
        }
        let batch = batch("a@a", &[Some("SUCCESS")]);
        let (_, reports) = dispositions(&batch, &said(&batch, &[delivered()], false, true), &rules(), NOW);
        assert_eq!(reports, ["a@a delivered 1"], "into the mailbox itself");
    }

    #[test]
    fn one_report_for_all_that_failed_together() {
        let batch = batch("a@a", &[None, None, None]);
        let delivery = said(&batch, &[Said::Refused, delivered(), Said::Refused], false, false);
        assert_eq!(
            dispositions(&batch, &delivery, &rules(), NOW),
            (vec!["failed", "delivered", "failed"], vec!["a@a failed 2".to_owned()])
        );
    }

    #[test]
    fn double_bounces_go_to_the_postmaster_once() {
        let rules = SettlementRules { bounce_to: Some("postmaster@a".into()), ..rules() };
        let batch = batch("", &[None]);
        let delivery = said(&batch, &[Said::Refused], false, false);
        let settlement = settle(&batch, &delivery, &rules, NOW, &mut || 1);
        let [to] = settlement.reports[0].envelope.recipients.as_slice() else { panic!("one recipient") };
        assert_eq!((&to.address, to.notify), (&"postmaster@a".into(), Some(Notify::NEVER)), "and ends there");
    }

    #[test]
    fn no_answer_is_a_possible_duplicate_from_then_on() {
        let batch = batch("a@a", &[None]);
        let settlement = settle(&batch, &said(&batch, &[Said::Unknown], false, false), &rules(), NOW, &mut || 1);
        assert!(settlement.recipients[0].report.as_ref().unwrap().possible_duplicate);
        assert!(matches!(
            settlement.recipients[0].settled.outcome,
            LeaseOutcome::Deferred { possible_duplicate: true, .. }
        ));
        let settlement = settle(&batch, &said(&batch, &[Said::Deferred], false, false), &rules(), NOW, &mut || 1);
        assert!(matches!(
            settlement.recipients[0].settled.outcome,
            LeaseOutcome::Deferred { possible_duplicate: false, .. }
        ));
    }

    #[test]
    fn what_we_stopped_ourselves_does_not_count() {
        let batch = batch("a@a", &[None]);
        let delivery = said(&batch, &[Said::Stopped], false, false);
        let settlement = settle(&batch, &delivery, &rules(), NOW, &mut || 1);
        let RecipientSettlement { settled, report } = &settlement.recipients[0];
        let disposition = report.as_ref().unwrap().disposition;
        assert_eq!((disposition, &settled.outcome), (Disposition::Lost, &LeaseOutcome::Yielded));
    }

    #[test]
    fn old_age_ends_it_and_a_lost_body_is_reported_all_the_same() {
        let mut batch = batch("a@a", &[None]);
        batch.envelope.recipients[0].attempts = 9;
        batch.body = crate::blob::file::named("/nonexistent/body".into(), 5);
        let old = NOW.plus(Duration::from_secs(6 * 86400));
        let (found, reports) = dispositions(&batch, &said(&batch, &[Said::Deferred], false, false), &rules(), old);
        assert_eq!((found, reports), (vec!["expired"], vec!["a@a failed 1".to_owned()]));
    }
}
