//! From a claimed batch of the queue to what SMTP sends: its envelope and its content.

use crate::queue::store::DeliveryBatch;
use crate::smtp::data::MessageBlob;
use crate::smtp::envelope::Envelope;

/// The envelope of a claimed batch, recipients in the order of the leases.
pub(super) fn envelope(batch: &DeliveryBatch) -> Envelope {
    Envelope {
        sender: batch.sender.clone(),
        recipients: batch.recipients.iter().map(|recipient| recipient.to.clone()).collect(),
        smtputf8: batch.smtputf8,
        eight_bit: batch.eight_bit,
        ret: batch.ret,
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
    use crate::smtp::data::Content as _;
    use crate::smtp::envelope::{Notify, Recipient, Ret};

    #[tokio::test]
    async fn an_envelope_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), Process::OneShot).unwrap();
        for size in [10, 200_000] {
            let envelope = Envelope {
                sender: "alice@alice.test".into(),
                recipients: vec![
                    Recipient {
                        address: "bob@bob.test".into(),
                        notify: Some(Notify { success: true, failure: true, delay: false }),
                        orcpt: "rfc822;b@bob.test".parse().ok(),
                    },
                    Recipient { notify: Some(Notify::NEVER), ..Recipient::new("carol@bob.test") },
                ],
                smtputf8: true,
                eight_bit: true,
                ret: Some(Ret::Headers),
                envid: "x1".parse().ok(),
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
            let batch = store.claim(claim).await.unwrap().batches.remove(0);
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
