//! Calls of the file system on the threads of a runtime. Most take microseconds; on a file system that hangs (a dead NFS server) one takes
//! for ever, and must not keep other clients waiting. tokio's `block_in_place` first hands the rest of the runtime to another
//! thread, which costs more than most calls. Here a few calls at a time run where they are, and a watcher looks after them: the
//! runtime has one thread more than there are places for such calls, and if a call takes long, the watcher wakes another
//! thread, which looks after the sockets from then on. Without a free place, `block_in_place` is used.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

/// The interval between two looks of the watcher. A call that is found twice is slow.
const LOOK: Duration = Duration::from_millis(2);
/// The number of times that a slow call makes the watcher wake a thread.
const MAX_KICKS: u32 = 8;
/// The number of looks without any call after which the watcher sleeps.
const MAX_IDLE_LOOKS: u32 = 50;

/// The watch over the runtime of this process.
static WATCH: OnceLock<FileWatch> = OnceLock::new();

/// Runs a call of the file system from a task, so that a slow one keeps no other task waiting. Tasks that this task has woken since it was
/// last polled may wait: so it must not have woken any.
pub fn run<T>(work: impl FnOnce() -> T) -> T {
    match WATCH.get() {
        Some(watch) => watch.run(work),
        None => run_long(work),
    }
}

/// Watches over a runtime of the process, which has more threads than `places`. Only the first call counts.
pub fn watch(runtime: &Handle, places: usize) {
    WATCH.get_or_init(|| FileWatch::new(runtime, places));
}

/// Runs a call that takes long: a sync. The rest of the runtime moves to another thread, if this one is of a runtime that can do so.
pub fn run_long<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => block_in_place(work),
        _ => work(),
    }
}

#[derive(Debug)]
struct FileWatch {
    shared: Arc<WatchedPlaces>,
    /// The watcher, if the system gave it a thread.
    watcher: Option<Thread>,
}

#[derive(Debug)]
struct WatchedPlaces {
    /// For each place the number of the call that runs in it; 0 if it is free.
    calls: Box<[AtomicU64]>,
    /// The number of calls so far.
    count: AtomicU64,
    asleep: AtomicBool,
}

/// The place of a running call.
struct CallPlace<'a>(&'a AtomicU64);

impl Drop for CallPlace<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::SeqCst);
    }
}

impl FileWatch {
    fn new(runtime: &Handle, places: usize) -> FileWatch {
        let calls = (0..places).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(WatchedPlaces { calls, count: AtomicU64::new(0), asleep: AtomicBool::new(false) });
        let (watched, runtime) = (shared.clone(), runtime.clone());
        let watcher = thread::Builder::new().name("file-watch".to_owned()).spawn(move || watched.look_after(&runtime));
        FileWatch { shared, watcher: watcher.ok().map(|watcher| watcher.thread().clone()) }
    }

    fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let Some(_place) = self.place() else { return run_long(work) };
        work()
    }

    fn place(&self) -> Option<CallPlace<'_>> {
        let watcher = self.watcher.as_ref()?;
        let number = self.shared.count.fetch_add(1, Ordering::SeqCst) + 1;
        let free = |call: &&AtomicU64| call.compare_exchange(0, number, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        let place = self.shared.calls.iter().find(free).map(CallPlace);
        if self.shared.asleep.load(Ordering::SeqCst) && self.shared.asleep.swap(false, Ordering::SeqCst) {
            watcher.unpark();
        }
        place
    }
}

impl WatchedPlaces {
    /// The watcher's whole life.
    fn look_after(&self, runtime: &Handle) {
        let mut seen: Vec<(Option<NonZeroU64>, u32)> = vec![(None, 0); self.calls.len()];
        let (mut count, mut idle) = (0, 0);
        loop {
            if idle > MAX_IDLE_LOOKS {
                self.asleep.store(true, Ordering::SeqCst);
                // A call that began before this store is seen here; a later one ends the sleep.
                if self.count.load(Ordering::SeqCst) == count {
                    while self.asleep.load(Ordering::SeqCst) {
                        thread::park();
                    }
                }
                self.asleep.store(false, Ordering::SeqCst);
            } else {
                thread::sleep(LOOK);
            }
            let before = std::mem::replace(&mut count, self.count.load(Ordering::SeqCst));
            let mut slow = false;
            for (call, (last, kicks)) in self.calls.iter().zip(&mut seen) {
                let now = NonZeroU64::new(call.load(Ordering::SeqCst));
                *kicks = if now.is_some() && now == *last { *kicks + 1 } else { 0 };
                slow |= (1..=MAX_KICKS).contains(kicks);
                *last = now;
            }
            if slow {
                // Any task does: whoever runs it becomes idle afterwards and then waits at the sockets.
                drop(runtime.spawn(async {}));
            }
            idle = if count == before && !slow { idle + 1 } else { 0 };
        }
    }
}

/// A value whose end is a call of the file system: the close of a file may wait for a server, in a task that is cancelled too.
#[derive(Debug)]
pub struct ClosedAside<T>(Option<T>);

impl<T> ClosedAside<T> {
    /// Holds this value.
    pub fn new(value: T) -> ClosedAside<T> {
        ClosedAside(Some(value))
    }

    /// The value; `None` after [`ClosedAside::take`].
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    /// Uses the value in a call of the file system; `None` after [`ClosedAside::take`].
    pub fn with<R>(&mut self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let value = self.0.as_mut()?;
        Some(run(|| work(value)))
    }

    /// As [`ClosedAside::with`], for a call that takes long.
    pub fn with_long<R>(&mut self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        let value = self.0.as_mut()?;
        Some(run_long(|| work(value)))
    }

    /// Takes the value out.
    pub fn take(mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T> Drop for ClosedAside<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            run(|| drop(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::sync::mpsc;
    use tokio::io::AsyncReadExt as _;

    /// As many calls as there are places hang, one of them on the thread that looks after the sockets, and so do as many without a place. Each
    /// ends only when the runtime has read from a socket.
    #[test]
    fn calls_that_hang_do_not_stop_the_runtime() {
        const PLACES: usize = 2;
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(PLACES + 1).enable_all().build().unwrap();
        let watch = Arc::new(FileWatch::new(runtime.handle(), PLACES));
        for _ in 0..20 {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let server = listener.accept().unwrap().0;
            server.set_nonblocking(true).unwrap();
            let (begun, begins) = mpsc::channel();
            let mut ends = Vec::new();
            let mut hanging = Vec::new();
            for _ in 0..2 * PLACES {
                let (end, ended) = mpsc::channel::<()>();
                let (watch, begun) = (watch.clone(), begun.clone());
                ends.push(end);
                hanging.push(runtime.spawn(async move {
                    watch.run(|| {
                        begun.send(()).unwrap();
                        ended.recv().unwrap_err();
                    });
                }));
            }
            let reader = runtime.spawn(async move {
                let mut server = tokio::net::TcpStream::from_std(server).unwrap();
                assert_eq!(server.read_u8().await.unwrap(), b'x');
                drop(ends);
            });
            (0..2 * PLACES).for_each(|_| begins.recv().unwrap());
            client.write_all(b"x").unwrap();
            runtime.block_on(reader).unwrap();
            hanging.into_iter().for_each(|task| runtime.block_on(task).unwrap());
        }
        assert!(watch.shared.calls.iter().all(|call| call.load(Ordering::SeqCst) == 0));
    }

    #[test]
    fn a_watcher_that_sleeps_is_woken_by_a_call() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let watch = FileWatch::new(runtime.handle(), 1);
        for _ in 0..3 {
            while !watch.shared.asleep.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            assert_eq!(watch.run(|| 1), 1);
        }
    }
}
