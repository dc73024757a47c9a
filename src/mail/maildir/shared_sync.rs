//! Syncs of directories, shared by the threads that wait for one at the same time: a sync covers every change that was made before
//! it began, so one sync is enough for all deliveries that finish while the one before is under way.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::FileIdentity;

/// The directories that threads of this process sync now.
static DIRECTORIES: LazyLock<Mutex<HashMap<FileIdentity, Arc<SharedSync>>>> = LazyLock::new(Mutex::default);

/// The syncs of one directory, numbered from 1.
#[derive(Debug, Default)]
struct SharedSync {
    rounds: Mutex<SyncRounds>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct SyncRounds {
    begun: u64,
    ended: u64,
    /// The rounds that failed.
    failed: Vec<(u64, Errno)>,
}

impl SharedSync {
    /// Returns when a sync that began after this call has ended. The first thread that waits performs the sync.
    fn wait(&self, sync: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
        let mut rounds = lock(&self.rounds);
        let own = rounds.begun + 1;
        while rounds.ended < own {
            if rounds.begun > rounds.ended {
                rounds = self.ended.wait(rounds).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            rounds.begun += 1;
            drop(rounds);
            let result = sync();
            rounds = lock(&self.rounds);
            rounds.ended = rounds.begun;
            let round = rounds.ended;
            rounds.failed.extend(result.err().map(|error| (round, error)));
            self.ended.notify_all();
        }
        let failed = rounds.failed.iter().find(|(round, _)| *round == own);
        failed.map_or(Ok(()), |(_, error)| Err(*error))
    }
}

/// Returns when everything that was done in this directory before the call is on disk.
///
/// # Errors
/// The error of the sync.
pub(super) fn sync_directory(directory: &OwnedFd) -> Result<(), Errno> {
    let identity = FileIdentity::from(rustix::fs::fstat(directory)?);
    let shared = lock(&DIRECTORIES).entry(identity).or_default().clone();
    let result = shared.wait(|| rustix::fs::fsync(directory.as_fd()));
    let mut directories = lock(&DIRECTORIES);
    // One in the table, one here: nobody else waits, and nobody can begin before the table is free again.
    if Arc::strong_count(&shared) == 2 {
        directories.remove(&identity);
    }
    result
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Every change is covered by a sync that began after it, and its caller hears of exactly that sync.
    #[test]
    fn each_change_waits_for_a_sync_that_began_later() {
        let shared = SharedSync::default();
        let (written, synced, rounds) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        // Every third round fails, and syncs nothing.
        let sync = || {
            let seen = written.load(Ordering::SeqCst);
            let round = rounds.fetch_add(1, Ordering::SeqCst);
            std::thread::yield_now();
            if round % 3 == 2 {
                return Err(Errno::IO);
            }
            synced.fetch_max(seen, Ordering::SeqCst);
            Ok(())
        };
        let failures = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let own = written.fetch_add(1, Ordering::SeqCst) + 1;
                        match shared.wait(sync) {
                            Ok(()) => assert!(synced.load(Ordering::SeqCst) >= own),
                            Err(error) => {
                                assert_eq!(error, Errno::IO);
                                failures.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                    }
                });
            }
        });
        let (rounds, failures) = (rounds.load(Ordering::SeqCst), failures.load(Ordering::SeqCst));
        assert!(rounds <= 4000 && (rounds / 3..4000).contains(&failures), "{rounds} rounds, {failures} failures");
    }

    #[test]
    fn a_directory_that_nobody_syncs_is_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let directory = OwnedFd::from(std::fs::File::open(home.path()).unwrap());
        let identity = FileIdentity::of(home.path()).unwrap();
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| (0..50).for_each(|_| sync_directory(&directory).unwrap()))));
        });
        assert!(!lock(&DIRECTORIES).contains_key(&identity));
    }
}
