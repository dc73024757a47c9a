//! A floor of free space below the mailboxes and the queue (Postfix: queue_minfree): who fills the disk keeps nobody else from
//! it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::blob::file::free_bytes;

/// An answer of the file system is good for this long.
const GOOD_FOR: Duration = Duration::from_millis(200);

/// The file systems that messages are written to.
#[derive(Debug)]
pub(super) struct DiskRoom {
    /// Space that stays free; 0 asks nobody.
    pub(super) min_free: u64,
    places: Arc<[PathBuf]>,
    /// The least space that was free on one of them, and when.
    seen: Mutex<Option<(Instant, u64)>>,
}

impl DiskRoom {
    pub(super) fn new(min_free: u64, places: Vec<PathBuf>) -> DiskRoom {
        DiskRoom { min_free, places: places.into(), seen: Mutex::default() }
    }

    /// True if a message of so many bytes leaves enough.
    pub(super) async fn is_left(&self, bytes: u64) -> bool {
        if self.min_free == 0 {
            return true;
        }
        let seen = || self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = seen().filter(|(at, _)| at.elapsed() < GOOD_FOR).map(|(_, free)| free);
        let free = match fresh {
            Some(free) => free,
            None => {
                let places = self.places.clone();
                // A file system that hangs must not hold up other clients.
                let look = tokio::task::spawn_blocking(move || least_free(&places)).await;
                let free = look.unwrap_or_default();
                *seen() = Some((Instant::now(), free));
                free
            }
        };
        free >= self.min_free.saturating_add(bytes)
    }
}

/// A place that cannot be looked at is no reason to refuse: what is wrong with it shows when it is written to.
fn least_free(places: &[PathBuf]) -> u64 {
    let free = places.iter().filter_map(|place| free_bytes(std::fs::File::open(place).ok()?).ok());
    free.min().unwrap_or(u64::MAX)
}
