//! The minimum of free space for the mailboxes and the queue (Postfix: queue_minfree). A client that fills the disk leaves this
//! space to others.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::blob::file::free_bytes;

/// The time for which a query of the file system remains valid.
const GOOD_FOR: Duration = Duration::from_millis(200);

/// The file systems that messages are written to.
#[derive(Debug)]
pub(super) struct DiskRoom {
    /// The space that must stay free, in bytes; 0 disables the check.
    pub(super) min_free: u64,
    places: Arc<[PathBuf]>,
    /// The time of the last query, and the least free space that it found.
    seen: Mutex<Option<(Instant, u64)>>,
}

impl DiskRoom {
    pub(super) fn new(min_free: u64, places: Vec<PathBuf>) -> DiskRoom {
        DiskRoom { min_free, places: places.into(), seen: Mutex::default() }
    }

    /// True if a message of this size leaves enough space.
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

/// The least free space. A directory that cannot be queried is ignored: its fault shows when a message is written to it.
fn least_free(places: &[PathBuf]) -> u64 {
    let free = places.iter().filter_map(|place| free_bytes(std::fs::File::open(place).ok()?).ok());
    free.min().unwrap_or(u64::MAX)
}
