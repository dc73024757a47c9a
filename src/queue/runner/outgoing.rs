//! From a claimed batch of the queue to what SMTP sends: its envelope and its content.

use crate::queue::store::DeliveryBatch;
use crate::smtp::data::MessageBlob;
use crate::smtp::transaction::{Envelope, Recipient};

/// The envelope of a claimed batch, recipients in the order of the leases.
pub(super) fn envelope(batch: &DeliveryBatch) -> Envelope {
    let recipients = batch.recipients.iter().map(|recipient| Recipient {
        address: recipient.address.clone(),
        notify: recipient.notify.as_deref().and_then(|notify| notify.parse().ok()),
        orcpt: recipient.orcpt.clone(),
    });
    Envelope {
        sender: batch.sender.clone(),
        recipients: recipients.collect(),
        smtputf8: batch.smtputf8,
        eight_bit: batch.eight_bit,
        ret: batch.ret.as_deref().and_then(|ret| ret.parse().ok()),
        envid: batch.envid.clone(),
    }
}

/// The content of a claimed batch as SMTP sends it.
pub(super) fn content(batch: &DeliveryBatch) -> MessageBlob {
    MessageBlob { blob: batch.body.clone(), has_8bit: batch.eight_bit }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::queue::entry::Time;
    use crate::queue::sqlite::{Process, SqliteStore};
    use crate::queue::store::{Claim, Filter, QueueStore as _};
    use crate::queue::submit;
    use crate::smtp::command::{Notify, Ret};
    use crate::smtp::data::Content as _;

    #[tokio::test]
    async fn an_envelope_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), Process::OneShot).unwrap();
        for size in [10, 200_000] {
            let envelope = Envelope {
                sender: "alice@alice.test".to_owned(),
                recipients: vec![
                    Recipient {
                        address: "bob@bob.test".to_owned(),
                        notify: Some(Notify { success: true, failure: true, delay: false }),
                        orcpt: Some("rfc822;b@bob.test".to_owned()),
                    },
                    Recipient { notify: Some(Notify::NEVER), ..Recipient::new("carol@bob.test") },
                ],
                smtputf8: true,
                eight_bit: true,
                ret: Some(Ret::Headers),
                envid: Some("x1".to_owned()),
            };
            let content = MessageBlob::from(vec![b'x'; size]);
            let new = submit::message(&store, &envelope, b"Received: by us\r\n", &content).unwrap();
            store.enqueue(vec![new]).await.unwrap();
            let claim = Claim {
                domain: "bob.test".to_owned(),
                due_until: Time(i64::MAX),
                now: Time(0),
                limit: 9,
                wanted: Filter::default(),
            };
            let batch = store.claim(claim).await.unwrap().remove(0);
            assert_eq!(super::envelope(&batch), envelope);
            let queued = super::content(&batch);
            assert_eq!(queued.size_bytes(), size as u64 + 17);
            let mut bytes = Vec::new();
            queued.open().unwrap().read_to_end(&mut bytes).unwrap();
            assert!(bytes.starts_with(b"Received: by us\r\nxxxx") && bytes.len() == size + 17);
            assert_eq!(queued.in_memory().is_some(), size == 10);
        }
    }
}
