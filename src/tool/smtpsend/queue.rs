//! Into the outgoing queue: when this returns, the message is on disk and will be tried until it is delivered or expires.

use super::report::{RecipientRecord, Summary};
use super::{Args, Job};
use crate::cli::output::Output;
use crate::fault::Fault;
use crate::queue::sqlite::{SqliteStore, Use};
use crate::queue::store::QueueStore;
use crate::queue::{place, submit};
use crate::smtp::data::Content;

pub(super) async fn place(args: &Args, job: &Job, out: &Output, summary: &mut Summary) -> Result<(), Fault> {
    let place = place::find(args.way.queue_args.queue_dir.as_deref())?;
    let store = SqliteStore::open(&place, Use::Brief)?;
    let message = submit::message(&store, &job.envelope, b"", &job.message)?;
    let id = store.enqueue(vec![message]).await?.into_iter().next();
    summary.messages += 1;
    for recipient in &job.envelope.recipients {
        summary.count("queued");
        out.emit(&RecipientRecord {
            recipient: recipient.address.clone(),
            outcome: "queued",
            message_id: job.message_id.clone(),
            size_bytes: job.message.size_bytes(),
            queue: Some(place.display().to_string()),
            queue_id: id.map(|id| id.to_string()),
            ..RecipientRecord::default()
        })?;
    }
    Ok(())
}
