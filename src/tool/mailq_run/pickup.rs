//! Taking up what users submitted to the drop directory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::output::Output;
use crate::queue::drop_dir::{self, DropWatch};
use crate::queue::sqlite::SqliteStore;

/// The lists of users are cleared of what has left the queue this often.
const FORGET_EVERY: Duration = Duration::from_secs(20);

/// Where submissions are, and where they go.
#[derive(Clone)]
pub(super) struct Pickup {
    pub(super) drop: PathBuf,
    pub(super) queue_dir: PathBuf,
    /// Our name in the trace field.
    pub(super) host: String,
}

impl Pickup {
    /// Takes up what is there. What goes wrong is said, and keeps nothing else from being delivered.
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

    /// Users no longer see in their lists what has left the queue.
    pub(super) async fn forget(&self, store: &SqliteStore, out: &Output) {
        if let Err(fault) = drop_dir::forget_what_left(&self.drop, store).await {
            out.error("", &fault);
        }
    }

    /// Takes up what comes, until it is aborted.
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
