//! The report on a delivery to a mailbox that the sender requested (RFC 3461, section 5.2): the mailbox is the final destination.

use crate::blob::Blob;
use crate::fault::Enhanced;
use crate::queue::bounce::{ReportAction, ReportedRecipient, StatusReport};
use crate::queue::entry::{NewMessage, Time};
use crate::smtp::envelope::{Envelope, Recipient, Ret};

/// The report on the recipients with NOTIFY=SUCCESS whose mailbox has the message. `None` if there are no such recipients, or if
/// the reverse-path is null.
pub(super) fn delivered(
    envelope: &Envelope,
    local: &[Recipient],
    id: &str,
    mta: &str,
    message: &Blob,
) -> Option<NewMessage> {
    let now = Time(crate::net::clock::unix_micros() / 1000);
    let asked = local.iter().filter(|recipient| recipient.notify.is_some_and(|notify| notify.success));
    let recipients: Vec<ReportedRecipient> = asked.map(|recipient| reported(recipient, now)).collect();
    let to = envelope.sender.address().filter(|_| !recipients.is_empty())?.clone();
    let report = StatusReport {
        action: ReportAction::Delivered,
        mta: mta.to_owned(),
        to,
        envid: envelope.envid.clone(),
        arrived: now,
        queue_id: id.to_owned(),
        until: None,
        recipients,
        full: envelope.ret == Some(Ret::Full),
    };
    report.for_queue(message, now, &format!("{id}.report"))
}

fn reported(recipient: &Recipient, now: Time) -> ReportedRecipient {
    ReportedRecipient {
        address: recipient.address.clone(),
        orcpt: recipient.orcpt.clone(),
        enhanced: Some(Enhanced::new(2, 1, 5)),
        host: None,
        reply: "delivered to the mailbox".to_owned(),
        by_server: false,
        at: now,
    }
}
