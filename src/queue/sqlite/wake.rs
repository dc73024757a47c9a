//! The wake-up of runners by an enqueue: one byte written to a file that they watch with inotify.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::inotify;
use tokio::net::unix::pipe;

use crate::fault::Fault;
use crate::queue::queue_dir;

#[derive(Debug)]
pub(super) struct Wake {
    path: PathBuf,
    file: File,
    watch: OnceLock<pipe::Receiver>,
}

impl Wake {
    pub(super) fn open(queue: &Path) -> io::Result<Wake> {
        let path = queue.join("wake");
        let file = queue_dir::open_private(&path)?;
        Ok(Wake { path, file, watch: OnceLock::new() })
    }

    /// Notifies every watching runner.
    pub(super) fn ring(&self) {
        // A runner that is not notified looks by itself after its wait.
        let _ = self.file.write_at(b"\n", 0);
    }

    /// Waits for a ring since the last call (or since the first call), or until `at_most` has passed.
    pub(super) async fn heard(&self, at_most: Duration) -> Result<(), Fault> {
        let watch = self.watch().map_err(|error| Fault::local(self.path.display(), &error))?;
        let waited = tokio::time::timeout(at_most, async {
            // All pending events count as one ring.
            let mut events = [0; 4096];
            watch.readable().await?;
            loop {
                match watch.try_read(&mut events) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
        match waited.await {
            Ok(Err(error)) => Err(Fault::local(self.path.display(), &error)),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    fn watch(&self) -> io::Result<&pipe::Receiver> {
        if let Some(watch) = self.watch.get() {
            return Ok(watch);
        }
        let inotify = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(&inotify, &self.path, inotify::WatchFlags::MODIFY)?;
        // For the reactor an inotify descriptor behaves like the end of a pipe: readable, then drained.
        let watch = pipe::Receiver::from_owned_fd_unchecked(inotify)?;
        Ok(self.watch.get_or_init(|| watch))
    }
}
