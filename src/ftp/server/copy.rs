//! Moves the bytes of one transfer. Small transfers stay in the task of their connection; a large one gets a thread of its own, on
//! which clear-text downloads use sendfile(2) and clear-text uploads use splice(2), so that no byte is copied through this process.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use super::data::Stop;
use crate::fault::{Fault, Kind, plain};
use crate::ftp::session::{StoreRefusal, TransferFailure};
use crate::ftp::store::{TreeListing, TreeUpload};
use crate::net::deadline::{Limits, RateDeadline};
use crate::net::pace::TransferPace;
use crate::net::stream::Stream;

/// The size in bytes above which a transfer gets a thread.
const SMALL_BYTES: u64 = 256 << 10;
/// The most bytes of one read, write or sendfile.
const CHUNK_BYTES: usize = 128 << 10;
/// The most bytes of one sendfile on a thread, so that a stop is noticed.
const LARGE_CHUNK_BYTES: usize = 4 << 20;
/// The size of the pipe between socket and file; the kernel's limit for unprivileged processes.
const PIPE_BYTES: usize = 1 << 20;
/// The subject of timeout messages.
const DATA: &str = "data connection";
/// The time limit for the end of TLS after the last byte.
const TLS_END_LIMIT: Duration = Duration::from_secs(2);

/// The parameters of a transfer.
#[derive(Debug, Clone)]
pub(super) struct TransferLimits {
    /// Line ends are converted.
    pub(super) ascii: bool,
    /// The longest standstill, and the lowest rate.
    pub(super) limits: Limits,
    /// TLS that ends without close_notify counts as complete.
    pub(super) lenient_end: bool,
    /// The handle that stops the transfer.
    pub(super) stop: Stop,
    /// The speed limit.
    pub(super) pace: Option<Arc<TransferPace>>,
}

impl TransferLimits {
    /// The number of bytes that may move at once, at most `most`.
    fn piece(&self, most: usize) -> usize {
        self.pace.as_ref().map_or(most, |pace| pace.piece(most))
    }

    /// Waits after `bytes` have moved, until more may move.
    async fn moved(&self, bytes: usize) {
        if let Some(pace) = &self.pace {
            tokio::time::sleep(pace.passed(bytes as u64, Instant::now())).await;
        }
    }
}

/// Sends `file` from offset `from` up to `end`; returns the number of bytes of the file that were sent.
pub(super) async fn send(
    stream: Stream,
    file: File,
    from: u64,
    end: u64,
    terms: TransferLimits,
) -> Result<u64, TransferFailure> {
    // A transfer with a speed limit sleeps most of the time, so it occupies no thread.
    if end.saturating_sub(from) <= SMALL_BYTES || terms.pace.is_some() {
        return stoppable(&terms.clone(), send_async(stream, &file, from, end, &terms)).await;
    }
    match stream {
        Stream::Plain(tcp) if !terms.ascii => on_thread(move || send_blocking(tcp, &file, from, end, &terms)).await,
        stream => {
            on_thread(move || block_on(stoppable(&terms.clone(), send_async(stream, &file, from, end, &terms)))).await
        }
    }
}

async fn send_async(
    mut stream: Stream,
    file: &File,
    from: u64,
    end: u64,
    terms: &TransferLimits,
) -> Result<u64, TransferFailure> {
    let mut at = from;
    let mut deadline = RateDeadline::new(terms.limits);
    if let (Some(tcp), false) = (stream.tcp(), terms.ascii) {
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(CHUNK_BYTES).min(terms.piece(CHUNK_BYTES));
            let sent = tcp.async_io(Interest::WRITABLE, || Ok(sendfile(tcp, file, Some(&mut at), wanted)?));
            let sent = deadline.io(DATA, sent).await.map_err(failure)?;
            if sent == 0 {
                // The file shrank under us: what was promised cannot be sent.
                return Err(TransferFailure::Refused(StoreRefusal::Failed("the file shrank".to_owned())));
            }
            terms.moved(sent).await;
        }
        return Ok(at - from);
    }
    let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(end - from).unwrap_or(CHUNK_BYTES).max(1))];
    let (mut wire, mut after_cr) = (Vec::new(), false);
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(buffer.len()).min(terms.piece(buffer.len()));
        let read = match file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), at) {
            Ok(0) => return Err(TransferFailure::Refused(StoreRefusal::Failed("the file shrank".to_owned()))),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(TransferFailure::Refused(StoreRefusal::Failed(plain(&error)))),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        if terms.ascii {
            to_wire(piece, &mut after_cr, &mut wire);
            deadline.write_all(DATA, &mut stream, &wire).await.map_err(failure)?;
        } else {
            deadline.write_all(DATA, &mut stream, piece).await.map_err(failure)?;
        }
        at += read as u64;
        terms.moved(read).await;
    }
    finish(stream, terms).await.map(|()| at - from)
}

/// Lines end with LF in files and with CRLF on the wire (RFC 959, section 3.1.1.1); lines that end with CRLF in the
/// file are unchanged. `after_cr`: the previous piece ended with a CR.
fn to_wire(piece: &[u8], after_cr: &mut bool, wire: &mut Vec<u8>) {
    wire.clear();
    for line in piece.split_inclusive(|byte| *byte == b'\n') {
        let before = std::mem::take(after_cr);
        match line.split_last() {
            Some((b'\n', text)) => {
                wire.extend_from_slice(text);
                let has_cr = text.last().map_or(before, |last| *last == b'\r');
                wire.extend_from_slice(if has_cr { b"\n" } else { b"\r\n" });
            }
            last => {
                wire.extend_from_slice(line);
                *after_cr = last.is_some_and(|(last, _)| *last == b'\r');
            }
        }
    }
}

/// Flushes and, with TLS, sends close_notify.
async fn finish(mut stream: Stream, terms: &TransferLimits) -> Result<(), TransferFailure> {
    terms.limits.io(DATA, stream.flush()).await.map_err(failure)?;
    if stream.is_tls() {
        // A client that does not wait for it misses nothing.
        let _ = tokio::time::timeout(TLS_END_LIMIT, stream.shutdown()).await;
    }
    Ok(())
}

fn send_blocking(
    tcp: TcpStream,
    file: &File,
    from: u64,
    end: u64,
    terms: &TransferLimits,
) -> Result<u64, TransferFailure> {
    let socket = blocking(tcp, terms)?;
    let mut at = from;
    let mut deadline = RateDeadline::new(terms.limits);
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(LARGE_CHUNK_BYTES).min(LARGE_CHUNK_BYTES);
        let began = Instant::now();
        match sendfile(&socket, file, Some(&mut at), wanted) {
            Ok(0) => return Err(TransferFailure::Refused(StoreRefusal::Failed("the file shrank".to_owned()))),
            Ok(sent) => deadline.waited(DATA, began.elapsed(), sent as u64).map_err(failure)?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(broken(&error.into(), terms)),
        }
        if terms.stop.is_stopped() {
            return Err(TransferFailure::Aborted);
        }
    }
    Ok(at - from)
}

/// Receives into `upload` until the client ends the connection; the caller commits.
pub(super) async fn receive(
    stream: Stream,
    upload: TreeUpload,
    terms: TransferLimits,
) -> Result<(TreeUpload, u64), (TreeUpload, TransferFailure)> {
    let deadline = RateDeadline::new(terms.limits);
    let first = UploadReceiver { stream, upload, terms, deadline, total: 0, after_cr: false };
    let terms = first.terms.clone();
    let inline = if terms.pace.is_some() { u64::MAX } else { SMALL_BYTES };
    let (mut receiver, done) = match first.some(inline).await {
        (receiver, Ok(done)) => (receiver, done),
        (receiver, Err(failure)) => return Err((receiver.upload, failure)),
    };
    if done {
        return Ok((receiver.upload, receiver.total));
    }
    let result = match receiver.stream {
        Stream::Plain(tcp) if !terms.ascii => {
            let (upload, total) = (receiver.upload, receiver.total);
            tokio::task::spawn_blocking(move || receive_blocking(tcp, upload, total, &terms)).await
        }
        stream => {
            receiver.stream = stream;
            tokio::task::spawn_blocking(move || {
                block_on(async move {
                    match receiver.some(u64::MAX).await {
                        (receiver, Ok(_)) => Ok((receiver.upload, receiver.total)),
                        (receiver, Err(failure)) => Err((receiver.upload, failure)),
                    }
                })
            })
            .await
        }
    };
    match result {
        Ok(result) => result,
        // The thread panicked; the panic hook has spoken.
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

struct UploadReceiver {
    stream: Stream,
    upload: TreeUpload,
    terms: TransferLimits,
    deadline: RateDeadline,
    total: u64,
    /// TYPE A: a CR was received whose LF may come in the next piece.
    after_cr: bool,
}

impl UploadReceiver {
    /// Receives at least `enough` bytes; true if the client ended the connection first.
    async fn some(mut self, enough: u64) -> (UploadReceiver, Result<bool, TransferFailure>) {
        let terms = self.terms.clone();
        let result = stoppable(&terms, self.loop_until(enough)).await;
        (self, result)
    }

    async fn loop_until(&mut self, enough: u64) -> Result<bool, TransferFailure> {
        let mut buffer = vec![0; self.terms.piece(CHUNK_BYTES)];
        let mut text = Vec::new();
        while self.total < enough {
            let (stream, lenient_end) = (&mut self.stream, self.terms.lenient_end);
            let reading = async {
                match stream.read(&mut buffer).await {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && lenient_end => Ok(0),
                    read => read,
                }
            };
            let read = self.deadline.io(DATA, reading).await.map_err(failure)?;
            if read == 0 {
                if self.after_cr {
                    write(&mut self.upload, b"\r")?;
                }
                if self.stream.is_tls() {
                    // Our own end of TLS: clients such as lftp wait for it.
                    let _ = tokio::time::timeout(TLS_END_LIMIT, self.stream.shutdown()).await;
                }
                return Ok(true);
            }
            let piece = buffer.get(..read).unwrap_or_default();
            if self.terms.ascii {
                from_wire(piece, &mut self.after_cr, &mut text);
                write(&mut self.upload, &text)?;
            } else {
                write(&mut self.upload, piece)?;
            }
            self.total += read as u64;
            self.terms.moved(read).await;
        }
        Ok(false)
    }
}

/// CRLF becomes LF; a CR alone is unchanged.
fn from_wire(piece: &[u8], after_cr: &mut bool, text: &mut Vec<u8>) {
    text.clear();
    for byte in piece {
        if std::mem::take(after_cr) && *byte != b'\n' {
            text.push(b'\r');
        }
        match byte {
            b'\r' => *after_cr = true,
            byte => text.push(*byte),
        }
    }
}

fn write(upload: &mut TreeUpload, piece: &[u8]) -> Result<(), TransferFailure> {
    upload.file().write_all(piece).map_err(|error| TransferFailure::Refused(written(&error)))?;
    upload.wrote(piece.len() as u64).map_err(TransferFailure::Refused)
}

fn written(error: &io::Error) -> StoreRefusal {
    match error.kind() {
        io::ErrorKind::StorageFull => StoreRefusal::Full,
        io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => StoreRefusal::TooLarge,
        _ => StoreRefusal::Failed(plain(error)),
    }
}

fn receive_blocking(
    tcp: TcpStream,
    mut upload: TreeUpload,
    total: u64,
    terms: &TransferLimits,
) -> Result<(TreeUpload, u64), (TreeUpload, TransferFailure)> {
    match receive_spliced(tcp, &mut upload, total, terms) {
        Ok(total) => Ok((upload, total)),
        Err(failure) => Err((upload, failure)),
    }
}

fn receive_spliced(
    tcp: TcpStream,
    upload: &mut TreeUpload,
    mut total: u64,
    terms: &TransferLimits,
) -> Result<u64, TransferFailure> {
    let socket = blocking(tcp, terms)?;
    let local = |error: Errno| TransferFailure::Refused(written(&error.into()));
    let (source, sink) = pipe_with(PipeFlags::CLOEXEC).map_err(local)?;
    // Without it the pipe holds 64 KiB: slower, not wrong.
    let _ = fcntl_setpipe_size(&source, PIPE_BYTES);
    let mut deadline = RateDeadline::new(terms.limits);
    loop {
        let wanted = usize::try_from(upload.allowance()).unwrap_or(PIPE_BYTES).clamp(1, PIPE_BYTES);
        let began = Instant::now();
        let got = match splice(&socket, None, &sink, None, wanted, SpliceFlags::MOVE) {
            Ok(0) => break,
            Ok(got) => got,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(broken(&error.into(), terms)),
        };
        deadline.waited(DATA, began.elapsed(), got as u64).map_err(failure)?;
        let mut left = got;
        while left > 0 {
            match splice(&source, None, upload.file().as_fd(), None, left, SpliceFlags::MOVE) {
                Ok(0) => return Err(TransferFailure::Refused(StoreRefusal::Failed("nothing was written".to_owned()))),
                Ok(moved) => left -= moved,
                Err(Errno::INTR) => {}
                Err(error) => return Err(local(error)),
            }
        }
        total += got as u64;
        upload.wrote(got as u64).map_err(TransferFailure::Refused)?;
    }
    // A stop closes the socket under us: that is no end of the file.
    if terms.stop.is_stopped() { Err(TransferFailure::Aborted) } else { Ok(total) }
}

/// Sends a listing; returns the number of bytes.
pub(super) async fn list(stream: Stream, lines: TreeListing, terms: TransferLimits) -> Result<u64, TransferFailure> {
    stoppable(&terms, list_async(stream, lines, &terms)).await
}

async fn list_async(
    mut stream: Stream,
    mut lines: TreeListing,
    terms: &TransferLimits,
) -> Result<u64, TransferFailure> {
    let mut total = 0;
    let mut piece = Vec::new();
    let mut deadline = RateDeadline::new(terms.limits);
    loop {
        piece.clear();
        let more = lines.next_piece(&mut piece).map_err(TransferFailure::Refused)?;
        deadline.write_all(DATA, &mut stream, &piece).await.map_err(failure)?;
        total += piece.len() as u64;
        if !more {
            return finish(stream, terms).await.map(|()| total);
        }
    }
}

/// The failure of a transfer for the fault of a wait.
fn failure(fault: Fault) -> TransferFailure {
    if fault.kind == Kind::TimedOut { TransferFailure::Stalled } else { TransferFailure::Broken }
}

async fn stoppable<T>(
    terms: &TransferLimits,
    work: impl Future<Output = Result<T, TransferFailure>>,
) -> Result<T, TransferFailure> {
    tokio::select! {
        biased;
        () = terms.stop.stopped() => Err(TransferFailure::Aborted),
        result = work => result,
    }
}

async fn on_thread(
    work: impl FnOnce() -> Result<u64, TransferFailure> + Send + 'static,
) -> Result<u64, TransferFailure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Handle::current().block_on(work)
}

/// Makes the socket blocking for a thread, at most for the longest standstill.
fn blocking(tcp: TcpStream, terms: &TransferLimits) -> Result<std::net::TcpStream, TransferFailure> {
    let prepare = || {
        let socket = tcp.into_std()?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(terms.limits.idle))?;
        socket.set_write_timeout(Some(terms.limits.idle))?;
        terms.stop.holds(&socket)?;
        Ok(socket)
    };
    prepare().map_err(|error: io::Error| broken(&error, terms))
}

fn broken(error: &io::Error, terms: &TransferLimits) -> TransferFailure {
    match error.kind() {
        _ if terms.stop.is_stopped() => TransferFailure::Aborted,
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => TransferFailure::Stalled,
        _ => TransferFailure::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_change_both_ways_whatever_the_pieces() {
        // Lines that end with CRLF in the file do so on the wire, and come back as the others.
        let (file, wire) = (&b"one\ntwo\r\n\n\rthree\r"[..], &b"one\r\ntwo\r\n\r\n\rthree\r"[..]);
        let back = &b"one\ntwo\n\n\rthree\r"[..];
        let mut text = Vec::new();
        let mut out = Vec::new();
        for size in 1..=file.len() {
            out.clear();
            let mut after_cr = false;
            for piece in file.chunks(size) {
                to_wire(piece, &mut after_cr, &mut text);
                out.extend_from_slice(&text);
            }
            assert_eq!(out, wire, "pieces of {size}");
        }
        for size in 1..=wire.len() {
            out.clear();
            let mut after_cr = false;
            for piece in wire.chunks(size) {
                from_wire(piece, &mut after_cr, &mut text);
                out.extend_from_slice(&text);
            }
            if after_cr {
                out.push(b'\r');
            }
            assert_eq!(out, back, "pieces of {size}");
        }
    }
}
