//! Moving the bytes. A large transfer in clear text uses its own blocking thread; TLS and small files use a buffer in the
//! event loop.
//!
//! Downloads are spliced; uploads are read and written, because a receiver on the same machine then finds the bytes in the
//! CPU cache, unlike pages sent by sendfile (bench/RESULTS.md has the figures).

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

use super::progress::TransferAttempt;
use super::tap::Tap;
use crate::fault::{Fault, Kind};
use crate::net::deadline::{Limits, RateDeadline};
use crate::net::pace::TransferPace;

/// How many bytes the kernel moves at once, and how many a pipe between two descriptors holds.
const PIECE: usize = 1 << 20;
/// The size of the buffer for bytes that pass through this process.
pub(super) const BUFFER: usize = 256 * 1024;

/// Fewer bytes than this at once mean that this side waits for the peer, not the peer for this side.
const FEW: usize = 256 * 1024;
/// The pause in that case, in which bytes gather: a wake-up per segment costs both sides more than the bytes do.
const GATHER: Duration = Duration::from_micros(20);

/// The settings for the data flow of one transfer.
#[derive(Clone)]
pub(super) struct Flow {
    /// Deadlines.
    pub(super) limits: Limits,
    /// The speed limit.
    pub(super) pace: Option<Arc<TransferPace>>,
    /// Reports the bytes as progress.
    pub(super) attempt: Arc<TransferAttempt>,
    /// Counts the bytes.
    pub(super) transferred: Arc<AtomicU64>,
    /// Computes checksums of the bytes.
    pub(super) tap: Option<Tap>,
}

impl Flow {
    /// Passes bytes to the tap, if there is one.
    pub(super) fn tap(&self, bytes: &[u8]) {
        if let Some(tap) = &self.tap {
            tap.pass(bytes);
        }
    }
}

/// Deadlines and speed limit of a transfer. Only the time from [`Watch::begin`] to [`Watch::note`] counts as waiting for the peer.
pub(super) struct Watch {
    until: Option<Instant>,
    deadline: RateDeadline,
    began: Instant,
    idle: Duration,
    flow: Flow,
}

impl Watch {
    pub(super) fn new(flow: &Flow) -> Watch {
        let limits = &flow.limits;
        let now = Instant::now();
        let idle = limits.until.map_or(limits.idle, |until| limits.idle.min(until.saturating_duration_since(now)));
        let (deadline, idle) = (RateDeadline::new(*limits), idle.max(Duration::from_millis(1)));
        Watch { until: limits.until, deadline, began: now, idle, flow: flow.clone() }
    }

    /// How many bytes may move at once: at most `most`.
    pub(super) fn piece(&self, most: usize) -> usize {
        self.flow.pace.as_ref().map_or(most, |pace| pace.piece(most))
    }

    /// Starts the time that counts as waiting for the peer.
    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// Counts bytes that were received or sent; sleeps as the speed limit requires, on a blocking thread.
    fn note(&mut self, bytes: u64) -> Result<(), Fault> {
        self.count(bytes)?;
        if let Some(wait) = self.wait(bytes) {
            std::thread::sleep(wait);
        }
        Ok(())
    }

    /// As [`Watch::note`], in the event loop.
    pub(super) async fn noted(&mut self, bytes: u64) -> Result<(), Fault> {
        self.count(bytes)?;
        if let Some(wait) = self.wait(bytes) {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    fn wait(&self, bytes: u64) -> Option<Duration> {
        let wait = self.flow.pace.as_ref()?.passed(bytes, Instant::now());
        Some(self.until.map_or(wait, |until| wait.min(until.saturating_duration_since(Instant::now()))))
    }

    fn count(&mut self, bytes: u64) -> Result<(), Fault> {
        self.flow.attempt.pass(bytes);
        self.flow.transferred.fetch_add(bytes, Ordering::Relaxed);
        let now = Instant::now();
        if self.until.is_some_and(|until| now >= until) {
            return Err(Fault::new(Kind::TimedOut, "--max-time is over"));
        }
        self.deadline.waited("data connection", now.saturating_duration_since(self.began), bytes)
    }
}

/// Receives `most` bytes into a file, or fewer if the peer closes earlier.
pub(super) fn receive(socket: &TcpStream, file: &File, most: u64, mut watch: Watch) -> Result<u64, Fault> {
    prepare(socket, &watch)?;
    match splice_all(socket, file, most, &mut watch) {
        // The target does not support splice (opened for appending, a terminal …): nothing has been read yet.
        Err(SpliceError::Unsupported) => read_all(socket, file, most, &mut watch),
        Err(SpliceError::Failed(fault)) => Err(fault),
        Ok(total) => Ok(total),
    }
}

/// Sends a file from its present position to its end.
pub(super) fn send(file: &File, socket: &TcpStream, mut watch: Watch) -> Result<u64, Fault> {
    prepare(socket, &watch)?;
    write_all(file, socket, &mut watch)
}

/// The size of the next read: the rest of `most`, limited by the piece.
pub(super) fn wanted(watch: &Watch, piece: usize, most: u64, total: u64) -> usize {
    watch.piece(piece).min(usize::try_from(most.saturating_sub(total)).unwrap_or(piece))
}

enum SpliceError {
    Unsupported,
    Failed(Fault),
}

fn splice_all(socket: &TcpStream, file: &File, most: u64, watch: &mut Watch) -> Result<u64, SpliceError> {
    let (reader, writer) = match rustix::pipe::pipe_with(PipeFlags::CLOEXEC) {
        Ok(pipe) => pipe,
        Err(_) => return Err(SpliceError::Unsupported),
    };
    // A smaller pipe only means more calls.
    let _ = rustix::pipe::fcntl_setpipe_size(&writer, PIECE);
    let mut total = 0u64;
    while total < most {
        watch.begin();
        let wanted = wanted(watch, PIECE, most, total);
        let arrived =
            match rustix::pipe::splice(socket, None, &writer, None, wanted, SpliceFlags::MOVE | SpliceFlags::MORE) {
                Ok(0) => return Ok(total),
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(Errno::INVAL | Errno::NOSYS) if total == 0 => return Err(SpliceError::Unsupported),
                Err(errno) => return Err(SpliceError::Failed(socket_fault(errno))),
            };
        watch.note(arrived as u64).map_err(SpliceError::Failed)?;
        let mut left = arrived;
        while left > 0 {
            match rustix::pipe::splice(&reader, None, file, None, left, SpliceFlags::MOVE) {
                Ok(0) => return Err(SpliceError::Failed(local_fault(io::ErrorKind::WriteZero.into()))),
                Ok(count) => left -= count,
                Err(Errno::INTR) => {}
                Err(Errno::INVAL) if total == 0 => {
                    drain_pipe(&reader, left, file).map_err(SpliceError::Failed)?;
                    total += arrived as u64;
                    let rest = read_all(socket, file, most - total, watch);
                    return rest.map(|more| total + more).map_err(SpliceError::Failed);
                }
                Err(errno) => return Err(SpliceError::Failed(local_fault(errno.into()))),
            }
        }
        total += arrived as u64;
        if arrived < FEW {
            std::thread::sleep(GATHER);
        }
    }
    Ok(total)
}

/// Copies the bytes that are already in the pipe with read and write.
fn drain_pipe(reader: &OwnedFd, mut left: usize, mut file: &File) -> Result<(), Fault> {
    let mut buffer = vec![0; left.min(BUFFER)];
    while left > 0 {
        let count = rustix::io::read(reader, &mut buffer).map_err(|errno| local_fault(errno.into()))?;
        file.write_all(buffer.get(..count).unwrap_or_default()).map_err(local_fault)?;
        left = left.saturating_sub(count.max(1));
    }
    Ok(())
}

fn read_all(mut socket: &TcpStream, mut file: &File, most: u64, watch: &mut Watch) -> Result<u64, Fault> {
    let mut buffer = vec![0; BUFFER];
    let mut total = 0u64;
    while total < most {
        watch.begin();
        let wanted = wanted(watch, BUFFER, most, total);
        match socket.read(buffer.get_mut(..wanted).unwrap_or_default()) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                watch.note(count as u64)?;
                file.write_all(buffer.get(..count).unwrap_or_default()).map_err(local_fault)?;
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Fault::network("data connection", &error)),
        }
    }
    Ok(total)
}

fn write_all(mut file: &File, mut socket: &TcpStream, watch: &mut Watch) -> Result<u64, Fault> {
    let mut buffer = vec![0; BUFFER];
    let mut total = 0u64;
    loop {
        let wanted = watch.piece(BUFFER);
        let count = match file.read(buffer.get_mut(..wanted).unwrap_or_default()) {
            Ok(0) => return Ok(total),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault { kind: Kind::Io, ..Fault::local("input", &error) }),
        };
        watch.begin();
        let piece = buffer.get(..count).unwrap_or_default();
        watch.flow.tap(piece);
        let sent = socket.write_all(piece);
        sent.map_err(|error| Fault::network("data connection", &error))?;
        total += count as u64;
        watch.note(count as u64)?;
    }
}

fn prepare(socket: &TcpStream, watch: &Watch) -> Result<(), Fault> {
    let set = || {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(watch.idle))?;
        socket.set_write_timeout(Some(watch.idle))
    };
    set().map_err(|error| Fault::network("data connection", &error))
}

fn socket_fault(errno: Errno) -> Fault {
    match errno {
        Errno::AGAIN => Fault::new(Kind::TimedOut, "data connection: stalled"),
        errno => Fault::network("data connection", &errno.into()),
    }
}

/// The fault of the local end of a download: mostly a full disk.
pub(super) fn local_fault(error: io::Error) -> Fault {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Fault::new(Kind::Cancelled, "the reader of the output is gone");
    }
    let fault = Fault::local("output", &error);
    match fault.kind {
        Kind::CannotCreate | Kind::StorageFull => fault,
        _ => Fault { kind: Kind::Io, ..fault },
    }
}

/// A duplicate of a file's descriptor with a shared position, for another thread.
pub(super) fn share(file: &File) -> Result<File, Fault> {
    file.as_fd().try_clone_to_owned().map(File::from).map_err(local_fault)
}
