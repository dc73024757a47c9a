//! Moves the bytes of one transfer, in its connection's task; clear-text downloads use sendfile(2). A slow client occupies no thread, however many there are.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::sendfile;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use super::data::Stop;
use crate::fault::{Fault, Kind, plain};
use crate::ftp::charset::WireCharset;
use crate::ftp::session::{StoreRefusal, TransferFailure};
use crate::ftp::store::{TreeListing, TreeUpload};
use crate::net::deadline::{Limits, RateDeadline};
use crate::net::file_work::{self, ClosedAside};
use crate::net::pace::TransferPace;
use crate::net::stream::Stream;

/// The size in bytes up to which a file is read when it is opened, and the first buffer of an upload.
const SMALL_BYTES: usize = 16 << 10;
/// The buffer of a larger upload. On loopback splice(2) was slower than reading and writing that much (`bench/ftp-server.sh`).
const UPLOAD_BYTES: usize = 256 << 10;
/// The most bytes that are read of a file at once.
const CHUNK_BYTES: usize = 128 << 10;
/// The most bytes of one sendfile: other clients take turns with it.
const TURN_BYTES: usize = 256 << 10;
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

/// A part of a file that is to be sent.
pub(super) struct FileToSend {
    /// The first bytes, read already.
    first: Vec<u8>,
    file: ClosedAside<File>,
    /// The offset after `first`.
    at: u64,
    end: u64,
}

impl FileToSend {
    /// The part from offset `from` up to `end`. A short one is read at once, together with the other calls at the begin of a transfer.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn new(file: File, from: u64, end: u64) -> Result<FileToSend, StoreRefusal> {
        let short = usize::try_from(end - from).ok().filter(|length| *length <= SMALL_BYTES);
        let mut first = vec![0; short.unwrap_or(0)];
        file.read_exact_at(&mut first, from).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => shrank(),
            _ => StoreRefusal::Failed(plain(&error)),
        })?;
        let at = from + first.len() as u64;
        Ok(FileToSend { first, file: ClosedAside::new(file), at, end })
    }

    /// Reads the next bytes into `buffer`, at least one.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TransferFailure> {
        let at = self.at;
        let read = self.file.with(|file| {
            loop {
                match file.read_at(buffer, at) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    read => return read,
                }
            }
        });
        match read.unwrap_or(Ok(0)) {
            Ok(0) => Err(TransferFailure::Refused(shrank())),
            Ok(read) => {
                self.at += read as u64;
                Ok(read)
            }
            Err(error) => Err(TransferFailure::Refused(StoreRefusal::Failed(plain(&error)))),
        }
    }
}

/// The refusal for a file that became shorter: the promised bytes cannot be sent.
fn shrank() -> StoreRefusal {
    StoreRefusal::Failed("the file shrank".to_owned())
}

/// Sends a part of a file; returns the number of bytes of the file that were sent.
pub(super) async fn send(stream: Stream, file: FileToSend, terms: TransferLimits) -> Result<u64, TransferFailure> {
    stoppable(&terms, send_all(stream, file, &terms)).await
}

async fn send_all(mut stream: Stream, mut file: FileToSend, terms: &TransferLimits) -> Result<u64, TransferFailure> {
    let mut piece = std::mem::take(&mut file.first);
    let total = file.end - file.at + piece.len() as u64;
    let mut deadline = RateDeadline::new(terms.limits);
    let by_kernel = !terms.ascii && stream.tcp().is_some();
    let (mut wire, mut after_cr) = (Vec::new(), false);
    loop {
        let out = if terms.ascii {
            to_wire(&piece, &mut after_cr, &mut wire);
            &wire
        } else {
            &piece
        };
        for part in out.chunks(terms.piece(out.len().max(1))) {
            deadline.write_all(DATA, &mut stream, part).await.map_err(failure)?;
            terms.moved(part.len()).await;
        }
        if file.at == file.end || by_kernel {
            break;
        }
        let wanted = usize::try_from(file.end - file.at).unwrap_or(CHUNK_BYTES).min(terms.piece(CHUNK_BYTES));
        piece.resize(wanted, 0);
        let read = file.read(&mut piece)?;
        piece.truncate(read);
    }
    if let (Some(tcp), true) = (stream.tcp(), by_kernel) {
        send_by_kernel(tcp, file, &mut deadline, terms).await?;
    }
    finish(stream, terms).await.map(|()| total)
}

async fn send_by_kernel(
    tcp: &TcpStream,
    mut file: FileToSend,
    deadline: &mut RateDeadline,
    terms: &TransferLimits,
) -> Result<(), TransferFailure> {
    while file.at < file.end {
        let wanted = usize::try_from(file.end - file.at).unwrap_or(TURN_BYTES).min(terms.piece(TURN_BYTES));
        let mut at = file.at;
        let sent = tcp.try_io(Interest::WRITABLE, || {
            let sent = file.file.with(|file| sendfile(tcp, file, Some(&mut at), wanted));
            Ok(sent.unwrap_or(Ok(0))?)
        });
        match sent {
            Ok(0) => return Err(TransferFailure::Refused(shrank())),
            Ok(sent) => {
                file.at = at;
                deadline.waited(DATA, Duration::ZERO, sent as u64).map_err(failure)?;
                terms.moved(sent).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                deadline.io(DATA, async { tcp.writable().await.map(|()| 0) }).await.map_err(failure)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(TransferFailure::Broken),
        }
        // Gives other tasks their turn.
        tokio::task::consume_budget().await;
    }
    Ok(())
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

/// Receives into `upload` until the client ends the connection; the caller commits. An upload that was stopped is ended here.
pub(super) async fn receive(
    stream: Stream,
    upload: ClosedAside<TreeUpload>,
    keep_partial: bool,
    terms: TransferLimits,
) -> Result<(ClosedAside<TreeUpload>, u64), TransferFailure> {
    let deadline = RateDeadline::new(terms.limits);
    let mut receiver =
        UploadReceiver { stream, upload, deadline, total: 0, after_cr: false, buffer: Vec::new(), filled: 0 };
    match stoppable(&terms, receiver.receive(&terms)).await {
        Ok(()) => Ok((receiver.upload, receiver.total)),
        Err(failure) => {
            let tail = receiver.tail(&terms);
            receiver.upload.with(|upload| upload.hold(tail));
            match failure {
                TransferFailure::Refused(_) => refuse(receiver.upload),
                _ => break_off(receiver.upload, keep_partial),
            }
            Err(failure)
        }
    }
}

/// Ends an upload that a limit or an error of the system has stopped.
fn refuse(upload: ClosedAside<TreeUpload>) {
    if let Some(upload) = upload.take() {
        file_work::run(|| upload.refused());
    }
}

/// Ends an interrupted upload.
pub(super) fn break_off(upload: ClosedAside<TreeUpload>, keep_partial: bool) {
    if let Some(upload) = upload.take() {
        file_work::run(|| upload.broke_off(keep_partial));
    }
}

struct UploadReceiver {
    stream: Stream,
    upload: ClosedAside<TreeUpload>,
    deadline: RateDeadline,
    total: u64,
    /// TYPE A: a CR was received whose LF may come in the next piece.
    after_cr: bool,
    buffer: Vec<u8>,
    /// The number of bytes in the buffer that are not written yet.
    filled: usize,
}

impl UploadReceiver {
    async fn receive(&mut self, terms: &TransferLimits) -> Result<(), TransferFailure> {
        // Only a new file can wait for the end of a small upload: others may watch a file that grows.
        let at_once = self.upload.get().is_none_or(TreeUpload::is_in_place);
        self.buffer.resize(terms.piece(SMALL_BYTES), 0);
        loop {
            let (stream, buffer) = (&mut self.stream, self.buffer.get_mut(self.filled..).unwrap_or_default());
            let reading = async {
                match stream.read(buffer).await {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && terms.lenient_end => Ok(0),
                    read => read,
                }
            };
            let read = self.deadline.io(DATA, reading).await.map_err(failure)?;
            self.total += read as u64;
            self.filled += read;
            if read == 0 {
                return self.ended(terms).await;
            }
            if at_once || self.filled == self.buffer.len() {
                self.write(terms)?;
                self.buffer.resize(terms.piece(UPLOAD_BYTES), 0);
            }
            terms.moved(read).await;
        }
    }

    /// Takes what is not written yet out of the buffer.
    fn tail(&mut self, terms: &TransferLimits) -> Vec<u8> {
        let mut tail = std::mem::take(&mut self.buffer);
        tail.truncate(std::mem::take(&mut self.filled));
        if terms.ascii {
            let mut text = Vec::new();
            from_wire(&tail, &mut self.after_cr, &mut text);
            return text;
        }
        tail
    }

    fn write(&mut self, terms: &TransferLimits) -> Result<(), TransferFailure> {
        let piece = self.buffer.get(..std::mem::take(&mut self.filled)).unwrap_or_default();
        let mut text = Vec::new();
        if terms.ascii {
            from_wire(piece, &mut self.after_cr, &mut text);
        }
        let written = self.upload.with(|upload| upload.write(if terms.ascii { &text } else { piece }));
        written.unwrap_or(Ok(())).map_err(TransferFailure::Refused)
    }

    /// The client has ended the connection.
    async fn ended(&mut self, terms: &TransferLimits) -> Result<(), TransferFailure> {
        let mut tail = self.tail(terms);
        if self.after_cr {
            tail.push(b'\r');
        }
        self.upload.with(|upload| upload.hold(tail));
        if self.stream.is_tls() {
            // Our own end of TLS: clients such as lftp wait for it.
            let _ = tokio::time::timeout(TLS_END_LIMIT, self.stream.shutdown()).await;
        }
        Ok(())
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

/// A listing that is to be sent: its first lines are ready.
pub(super) struct ListingToSend {
    lines: ClosedAside<TreeListing>,
    first: Vec<u8>,
    more: bool,
}

impl ListingToSend {
    /// Reads the first lines.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn new(mut lines: TreeListing) -> Result<ListingToSend, StoreRefusal> {
        let mut first = Vec::new();
        let more = lines.next_piece(&mut first)?;
        Ok(ListingToSend { lines: ClosedAside::new(lines), first, more })
    }
}

/// How the names of a listing are written.
pub(super) struct ListedNames {
    /// The charset; `None` for the bytes of the file system.
    pub(super) charset: Option<WireCharset>,
    /// Counts the names that cannot be written in it.
    pub(super) missing: Arc<AtomicUsize>,
}

/// Sends a listing; returns the number of bytes.
pub(super) async fn list(
    stream: Stream,
    listing: ListingToSend,
    names: ListedNames,
    terms: TransferLimits,
) -> Result<u64, TransferFailure> {
    stoppable(&terms, list_all(stream, listing, names, &terms)).await
}

async fn list_all(
    mut stream: Stream,
    listing: ListingToSend,
    names: ListedNames,
    terms: &TransferLimits,
) -> Result<u64, TransferFailure> {
    let ListingToSend { mut lines, first: mut piece, mut more } = listing;
    let mut total = 0;
    let mut deadline = RateDeadline::new(terms.limits);
    loop {
        if let Some(charset) = names.charset {
            names.missing.fetch_add(charset.encode_lines(&mut piece), Ordering::Relaxed);
        }
        if piece.is_empty() {
            // Nothing to write, nothing to wait for: others have their turn, and a stop is noticed.
            tokio::task::yield_now().await;
        }
        deadline.write_all(DATA, &mut stream, &piece).await.map_err(failure)?;
        total += piece.len() as u64;
        if !more {
            return finish(stream, terms).await.map(|()| total);
        }
        piece.clear();
        more =
            lines.with(|lines| lines.next_piece(&mut piece)).unwrap_or(Ok(false)).map_err(TransferFailure::Refused)?;
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
