//! Into the outgoing queue: when this returns, the message is on disk and will be tried until it is delivered or expires.

use std::path::PathBuf;

use super::report::{SendSummary, SentRecipientRecord};
use super::{Args, SendJob};
use crate::cli::output::Output;
use crate::fault::Fault;
use crate::queue::sqlite::{Process, SqliteStore};
use crate::queue::store::QueueStore;
use crate::queue::{queue_dir, submit};
use crate::smtp::data::Content;

/// The opened queue.
pub(super) struct Queue {
    store: SqliteStore,
    queue_dir: PathBuf,
}

impl Queue {
    pub(super) fn open(args: &Args) -> Result<Queue, Fault> {
        let queue_dir = queue_dir::find(args.way.queue_args.queue_dir.as_deref())?;
        let store = SqliteStore::open(&queue_dir, Process::OneShot)?;
        Ok(Queue { store, queue_dir })
    }

    /// Places messages together: one sync for all. `why` says what kept them from being delivered at once.
    pub(super) async fn place(
        &self,
        jobs: &[SendJob],
        why: Option<&Fault>,
        out: &Output,
        summary: &mut SendSummary,
    ) -> Result<(), Fault> {
        let message = |job: &SendJob| submit::message(&self.store, &job.envelope, b"", &job.message);
        let messages = jobs.iter().map(message).collect::<Result<Vec<_>, _>>()?;
        let ids = self.store.enqueue(messages).await?;
        for (job, id) in jobs.iter().zip(ids) {
            for recipient in &job.envelope.recipients {
                summary.count("queued");
                out.emit(&SentRecipientRecord {
                    recipient: recipient.address.to_string(),
                    outcome: "queued",
                    source: job.source.clone(),
                    message_id: job.message_id.clone(),
                    detail: why.map(|fault| fault.detail.clone()),
                    size_bytes: job.message.size_bytes(),
                    queue: Some(self.queue_dir.display().to_string()),
                    queue_id: Some(id.to_string()),
                    ..SentRecipientRecord::default()
                })?;
            }
        }
        Ok(())
    }
}
