//! Picks up the messages that users submitted to the drop directory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::output::Output;
use crate::queue::drop_dir::{self, DropWatch};
use crate::queue::sqlite::SqliteStore;

/// The interval at which messages that left the queue are removed from the lists of the users.
const FORGET_EVERY: Duration = Duration::from_secs(20);

/// The drop directory, and the queue that it feeds.
#[derive(Clone)]
pub(super) struct Pickup {
    pub(super) drop: PathBuf,
    pub(super) queue_dir: PathBuf,
    /// The name of this host in the trace field.
    pub(super) host: String,
}

impl Pickup {
    /// Picks up the waiting submissions. An error is reported and does not stop other deliveries.
    pub(super) async fn pass(&self, store: &SqliteStore, out: &Output) {
        match drop_dir::take_up(&self.drop, &self.queue_dir, &self.host, store).await {
            Ok(done) => {
                if done.messages > 0 {
                    out.note(&format!("{} submitted messages taken up", done.messages));
                }
                done.said.iter().for_each(|fault| out.error("", fault));
            }
            Err(fault) => out.error("", &fault),
        }
    }

    /// Removes the messages that left the queue from the lists of the users.
    pub(super) async fn forget(&self, store: &SqliteStore, out: &Output) {
        if let Err(fault) = drop_dir::forget_what_left(&self.drop, store).await {
            out.error("", &fault);
        }
    }

    /// Picks up new submissions until the task is aborted.
    pub(super) async fn watch(self, store: Arc<SqliteStore>, out: Output) {
        let mut watch = DropWatch::new(&self.drop);
        let mut forgot = Instant::now();
        loop {
            watch.heard(&self.drop).await;
            self.pass(&store, &out).await;
            if forgot.elapsed() >= FORGET_EVERY {
                self.forget(&store, &out).await;
                forgot = Instant::now();
            }
        }
    }
}
