//! The reports that a server of final delivery owes the sender: on success, if requested (RFC 3461, section 5.2), and on recipients
//! of an accepted message who did not get it.

use crate::blob::Blob;
use crate::fault::Enhanced;
use crate::queue::bounce::{ReportAction, ReportedRecipient, StatusReport};
use crate::queue::entry::{NewMessage, Time};
use crate::smtp::envelope::{Envelope, Recipient, Ret};

use super::plan::{FailedRecipient, ReachedRecipients};

/// The reports on the recipients with NOTIFY=SUCCESS: those whose mailboxes have the message, and those that became several
/// others. None if the reverse-path is null.
pub(super) fn notices(
    envelope: &Envelope,
    reached: ReachedRecipients,
    failed: &[FailedRecipient],
    names: (&str, &str),
    message: &Blob,
) -> Vec<NewMessage> {
    let failed = |recipient: &Recipient| failed.iter().any(|failed| failed.original == recipient.address);
    let asked = |recipients: Vec<Recipient>, words: &str| -> Vec<ReportedRecipient> {
        let asks = |recipient: &&Recipient| recipient.notify.is_some_and(|notify| notify.success);
        let asked = recipients.iter().filter(asks).filter(|recipient| !failed(recipient));
        asked.map(|recipient| reported(recipient, Enhanced::new(2, 1, 5), words, now())).collect()
    };
    let delivered = asked(reached.delivered, "delivered to the mailbox");
    let expanded = asked(reached.expanded, "passed on to the members of the alias");
    let all = [(ReportAction::Delivered, delivered), (ReportAction::Expanded, expanded)];
    all.into_iter().filter_map(|(action, recipients)| report(envelope, action, recipients, names, message)).collect()
}

/// The report on recipients who failed, unless they asked for none. `None` if there are no such recipients, or if the reverse-path
/// is null.
pub(super) fn failed(
    envelope: &Envelope,
    failed: &[FailedRecipient],
    id: &str,
    mta: &str,
    message: &Blob,
) -> Option<NewMessage> {
    let wanted = |failed: &&FailedRecipient| failed.recipient.notify.is_none_or(|notify| notify.failure);
    let recipients = failed.iter().filter(wanted).map(|failed| {
        // The failure is final, even if its reason is not.
        let enhanced = failed.reply.enhanced.map_or(Enhanced::new(5, 0, 0), |code| Enhanced { class: 5, ..code });
        reported(&failed.recipient, enhanced, &failed.reply.lines.join(" "), failed.at)
    });
    report(envelope, ReportAction::Failed, recipients.collect(), (id, mta), message)
}

fn now() -> Time {
    Time(crate::net::clock::unix_micros() / 1000)
}

fn report(
    envelope: &Envelope,
    action: ReportAction,
    recipients: Vec<ReportedRecipient>,
    (id, mta): (&str, &str),
    message: &Blob,
) -> Option<NewMessage> {
    let to = envelope.sender.address().filter(|_| !recipients.is_empty())?.clone();
    let report = StatusReport {
        action,
        mta: mta.to_owned(),
        to,
        envid: envelope.envid.clone(),
        arrived: now(),
        queue_id: id.to_owned(),
        until: None,
        recipients,
        full: envelope.ret == Some(Ret::Full),
    };
    report.for_queue(message, now(), &format!("{id}.{}", action.as_str()))
}

fn reported(recipient: &Recipient, enhanced: Enhanced, reply: &str, at: Time) -> ReportedRecipient {
    ReportedRecipient {
        address: recipient.address.clone(),
        orcpt: recipient.orcpt.clone(),
        enhanced: Some(enhanced),
        host: None,
        reply: reply.to_owned(),
        by_server: false,
        at,
    }
}
