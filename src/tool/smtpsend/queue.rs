//! Puts messages into the outgoing queue. On return they are on disk, and will be retried until they are delivered or expire.

use std::path::{Path, PathBuf};

use super::report::{SendSummary, SentRecipientRecord};
use super::{Args, SendJob};
use crate::cli::output::Output;
use crate::fault::{Fault, Kind};
use crate::queue::entry::NewMessage;
use crate::queue::queue_dir::{self, QueueAccess};
use crate::queue::sqlite::{Process, SqliteStore};
use crate::queue::store::QueueStore;
use crate::queue::{drop_dir, submit};
use crate::smtp::data::Content;
use crate::tool::queue_open;

/// The open queue, or the drop directory in front of it.
pub(super) enum Queue {
    Open { store: Box<SqliteStore>, queue_dir: PathBuf },
    Drop(PathBuf),
}

impl Queue {
    pub(super) fn open(args: &Args, out: &Output) -> Result<Queue, Fault> {
        let explicit = args.way.queue_args.queue_dir.as_deref();
        let access = match args.way.system_queue {
            true => queue_dir::of_system(explicit)?,
            false => QueueAccess::Direct(queue_dir::find(explicit)?),
        };
        if let (QueueAccess::Drop(_), Some(name)) = (&access, args.way.account.as_ref().filter(|_| args.way.queue)) {
            let detail = format!("--account {name}: the machine's queue belongs to another user");
            return Err(
                Fault::new(Kind::Usage, detail).with_hint("it goes by the machine's relay: leave out --account")
            );
        }
        Ok(match access {
            QueueAccess::Direct(queue_dir) => {
                let store = Box::new(queue_open::open(&queue_dir, Process::OneShot, out)?);
                Queue::Open { store, queue_dir }
            }
            QueueAccess::Drop(drop) => Queue::Drop(drop),
        })
    }

    /// Queues several messages with a single sync. `why` is the fault that kept them from being delivered at once.
    pub(super) async fn place(
        &self,
        jobs: &[SendJob],
        why: Option<&Fault>,
        out: &Output,
        summary: &mut SendSummary,
    ) -> Result<(), Fault> {
        let (ids, place): (Vec<String>, &Path) = match self {
            Queue::Open { store, queue_dir } => {
                let message = |job: &SendJob| -> Result<NewMessage, Fault> {
                    let message = submit::message(&**store, &job.envelope, b"", &job.message)?;
                    Ok(NewMessage { route: job.route.clone(), ..message })
                };
                let messages = jobs.iter().map(message).collect::<Result<Vec<_>, _>>()?;
                let ids = store.enqueue(messages).await?;
                (ids.iter().map(ToString::to_string).collect(), queue_dir)
            }
            Queue::Drop(drop) => {
                if let Some(route) = jobs.iter().find_map(|job| job.route.as_ref()) {
                    out.warn(&format!(
                        "{}: not known to the machine's queue, which uses its own relay",
                        route.as_str()
                    ));
                }
                let submit = |job: &SendJob| drop_dir::submit(drop, &job.envelope, &job.message);
                (jobs.iter().map(submit).collect::<Result<_, _>>()?, drop)
            }
        };
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
                    queue: Some(place.display().to_string()),
                    queue_id: Some(id.clone()),
                    ..SentRecipientRecord::default()
                })?;
            }
        }
        Ok(())
    }
}
