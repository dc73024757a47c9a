//! From a claimed batch of the queue to what SMTP sends: its envelope and its content.

use std::io::{self, Read};

use crate::queue::spool::QueuedBody;
use crate::queue::store::DeliveryBatch;
use crate::smtp::data::Content;
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

/// A queued message as SMTP sends it.
#[derive(Debug, Clone)]
pub(super) struct QueuedContent {
    body: QueuedBody,
    eight_bit: bool,
}

impl QueuedContent {
    /// The content of a claimed batch.
    pub(super) fn of(batch: &DeliveryBatch) -> QueuedContent {
        QueuedContent { body: batch.body.clone(), eight_bit: batch.eight_bit }
    }
}

impl Content for QueuedContent {
    fn size_bytes(&self) -> u64 {
        self.body.size_bytes()
    }

    fn has_8bit(&self) -> bool {
        self.eight_bit
    }

    fn open(&self) -> io::Result<Box<dyn Read + Send>> {
        self.body.open()
    }

    fn in_memory(&self) -> Option<&[u8]> {
        match &self.body {
            QueuedBody::Bytes(bytes) => Some(bytes),
            QueuedBody::File(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::entry::Time;
    use crate::queue::sqlite::{Process, SqliteStore};
    use crate::queue::store::{Claim, Filter, QueueStore as _};
    use crate::queue::submit;
    use crate::smtp::command::{Notify, Ret};

    struct Pieces(Vec<u8>);

    impl Content for Pieces {
        fn size_bytes(&self) -> u64 {
            self.0.len() as u64
        }
        fn has_8bit(&self) -> bool {
            !self.0.is_ascii()
        }
        fn open(&self) -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(io::Cursor::new(self.0.clone())))
        }
    }

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
            let content = Pieces(vec![b'x'; size]);
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
            let queued = QueuedContent::of(&batch);
            assert_eq!(queued.size_bytes(), size as u64 + 17);
            let mut bytes = Vec::new();
            queued.open().unwrap().read_to_end(&mut bytes).unwrap();
            assert!(bytes.starts_with(b"Received: by us\r\nxxxx") && bytes.len() == size + 17);
            assert_eq!(queued.in_memory().is_some(), size == 10);
        }
    }
}
