//! One connection to the name server (RFC 7766). Answers are sent as soon as they are ready, interleaved with the messages
//! of transfers. A client that does not read or stays silent is disconnected.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{AskedSession, Asker, LoggedAnswer, ServingState, forwarded};
use crate::dns::answer::transfer::OutgoingTransfer;
use crate::dns::answer::{self, AnswerAction, DnsResponse};
use crate::dns::message::Rcode;
use crate::dns::transport::Transport;
use crate::dns::tsig::TsigSigner;
use crate::fault::{Fault, Kind};
use crate::net::admission::{ClientPlace, Standing};
use crate::net::clock::since_1970;
use crate::net::counters::Counter;
use crate::net::deadline::{Limits, RateDeadline};
use crate::net::stream::Stream;

/// The idle timeout of a connection (RFC 7766, section 6.2.3), while at least half of the places are free.
const MAX_IDLE: Duration = Duration::from_secs(10);
/// The fraction of [`MAX_IDLE`] that applies when no place is free.
const LEAST_IDLE: f64 = 0.05;
/// The interval at which a silent connection checks its idle timeout.
const IDLE_STEP: Duration = Duration::from_millis(500);
/// The total time for which the server waits for a client to read; reading earns the client time back.
const MAX_WRITE_WAIT: Duration = Duration::from_secs(10);
/// The minimum rate at which a client must read while the server waits for it, in bytes per second.
const MIN_RATE: Option<NonZeroU64> = NonZeroU64::new(4096);
/// The maximum number of questions on one connection.
const MAX_QUERIES: u64 = 100_000;
/// The maximum number of pending questions on one connection; the next is read when one of them is answered.
const MAX_WAITING: usize = 32;
/// The minimum size of a read, in bytes.
const READ_BYTES: usize = 1024;
/// The size of the chunks in which ready answers are sent together, in bytes (approximate).
const CHUNK_BYTES: usize = 16_384;

/// The maximum number of unsent answer bytes in the kernel, which counts its own overhead twice.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// Serves one connection to its end.
pub(super) async fn serve(state: &Arc<ServingState>, stream: Stream, place: ClientPlace, ended: &mut AskedSession) {
    let transport = if stream.is_tls() { Transport::Tls } else { Transport::Tcp };
    let Some(server) = stream.local_addr() else { return };
    stream.limit_unsent(SEND_BUFFER_BYTES);
    let (reader, writer) = tokio::io::split(stream);
    // One chunk waits while another is written: a client that does not read occupies no more memory than that.
    let (answers, ready) = mpsc::channel(1);
    let asker = Asker { client: ended.client, server, transport, session: Some(ended.session) };
    let AskedSession { why, queries, received, sent, .. } = ended;
    let (state, tasks) = (state.clone(), JoinSet::new());
    let reading = AskedConnection { state, asker, place, answers, tasks, why, queries, received };
    if let Err(fault) = tokio::try_join!(reading.read(reader), write(writer, ready, sent)) {
        ended.why = fault.kind.as_str();
    }
}

/// Writes ready answers until all their senders are gone.
async fn write(mut writer: WriteHalf<Stream>, mut ready: mpsc::Receiver<Vec<u8>>, sent: &mut u64) -> Result<(), Fault> {
    let mut deadline = RateDeadline::new(Limits { idle: MAX_WRITE_WAIT, until: None, min_rate: MIN_RATE });
    while let Some(piece) = ready.recv().await {
        deadline.write_all("answer", &mut writer, &piece).await?;
        writer.flush().await.map_err(|error| Fault::network("answer", &error))?;
        *sent += piece.len() as u64;
    }
    Ok(())
}

struct AskedConnection<'a> {
    state: Arc<ServingState>,
    asker: Asker,
    place: ClientPlace,
    answers: mpsc::Sender<Vec<u8>>,
    /// The questions that are answered later: forwarded ones and transfers.
    tasks: JoinSet<Result<(), Fault>>,
    why: &'a mut &'static str,
    queries: &'a mut u64,
    received: &'a mut u64,
}

impl AskedConnection<'_> {
    async fn read(mut self, mut reader: ReadHalf<Stream>) -> Result<(), Fault> {
        let (shutdown, place) = (self.state.shutdown.clone(), self.place.clone());
        let mut input = BytesMut::new();
        let mut answered = 0;
        let mut since = Instant::now();
        loop {
            let mut piece = Vec::new();
            while let Some(query) = take_framed(&mut input) {
                *self.queries += 1;
                if *self.queries > MAX_QUERIES || !self.answer(&query, &mut piece) {
                    *self.why = "closed";
                    self.send(piece).await?;
                    return self.finish().await;
                }
                if piece.len() >= CHUNK_BYTES {
                    self.send(std::mem::take(&mut piece)).await?;
                }
                while self.tasks.len() >= MAX_WAITING {
                    self.send(std::mem::take(&mut piece)).await?;
                    self.task_ended().await?;
                }
                since = Instant::now();
            }
            self.send(piece).await?;
            if input.is_empty() {
                input = BytesMut::new(); // what grew for a large question is not kept
            }
            input.reserve(READ_BYTES);
            let standing = if self.tasks.is_empty() { Standing::Idle } else { Standing::Busy };
            place.stands(standing, *self.queries != std::mem::replace(&mut answered, *self.queries));
            tokio::select! {
                read = timeout(IDLE_STEP, reader.read_buf(&mut input)) => match read {
                    Ok(Ok(0)) => {
                        *self.why = "left";
                        return self.finish().await;
                    }
                    Ok(Ok(count)) => {
                        *self.received += count as u64;
                        Counter::BytesReceived.add(count as u64);
                    }
                    Ok(Err(error)) => return Err(Fault::network("question", &error)),
                    Err(_) if self.tasks.is_empty() && since.elapsed() >= self.idle() => {
                        *self.why = "idle";
                        return Ok(());
                    }
                    Err(_) => {}
                },
                ended = self.task_ended(), if !self.tasks.is_empty() => {
                    ended?;
                    since = Instant::now();
                }
                () = shutdown.draining() => {
                    *self.why = "shutdown";
                    return self.finish().await;
                }
                () = place.lost() => {
                    *self.why = "displaced";
                    return Ok(());
                }
            }
        }
    }

    /// The idle timeout: the fewer places are free, the shorter it is.
    fn idle(&self) -> Duration {
        MAX_IDLE.mul_f64((self.state.admission.free() * 2.0).clamp(LEAST_IDLE, 1.0))
    }

    /// Appends the answer to `piece`, or starts a task that will send it. False if the message is no query.
    fn answer(&mut self, query: &[u8], piece: &mut Vec<u8>) -> bool {
        let server = &self.state.server;
        let (action, signer) = server.answer(query, false);
        let response = match action {
            AnswerAction::Send(response) => response,
            AnswerAction::Elsewhere(onward) => match server.forwarder(self.asker.client) {
                Some(forwarder) => {
                    let (state, asker, answers) = (self.state.clone(), self.asker, self.answers.clone());
                    let query = query.to_vec();
                    self.tasks.spawn(async move {
                        let response = forwarded(&forwarder, *onward).await;
                        deliver(&answers, state.framed(asker, &query, response, signer)).await
                    });
                    return true;
                }
                None => onward.unforwarded(),
            },
            AnswerAction::Transfer(message) => {
                let allowed = server.may_transfer(self.asker.client, signer.as_ref());
                match OutgoingTransfer::new(&server.zones.now(), &message, allowed) {
                    Ok(transfer) => {
                        self.stream(query, transfer, signer);
                        return true;
                    }
                    Err(rcode) => answer::refuse(&message, rcode),
                }
            }
            AnswerAction::Drop => return false,
        };
        piece.extend(self.state.framed(self.asker, query, response, signer));
        true
    }

    fn stream(&mut self, query: &[u8], transfer: OutgoingTransfer, signer: Option<TsigSigner>) {
        let transfer = transfer.with_room(signer.as_ref().map_or(0, TsigSigner::size));
        let mut log = TransferLog {
            state: self.state.clone(),
            asker: self.asker,
            query: query.to_vec(),
            size_bytes: 0,
            complete: false,
        };
        let answers = self.answers.clone();
        self.tasks.spawn(async move { stream(transfer, signer, &mut log, answers).await });
    }

    async fn send(&self, piece: Vec<u8>) -> Result<(), Fault> {
        if piece.is_empty() { Ok(()) } else { deliver(&self.answers, piece).await }
    }

    async fn task_ended(&mut self) -> Result<(), Fault> {
        match self.tasks.join_next().await {
            Some(Err(error)) => Err(Fault::new(Kind::Internal, error.to_string())),
            Some(Ok(result)) => result,
            None => Ok(()),
        }
    }

    /// Reads no more questions, but waits for the pending answers.
    async fn finish(mut self) -> Result<(), Fault> {
        while !self.tasks.is_empty() {
            self.task_ended().await?;
        }
        Ok(())
    }
}

/// Builds the messages of a transfer one after the other, each on a blocking thread, once the queue has room and a permit is free.
async fn stream(
    mut transfer: OutgoingTransfer,
    mut signer: Option<TsigSigner>,
    log: &mut TransferLog,
    answers: mpsc::Sender<Vec<u8>>,
) -> Result<(), Fault> {
    loop {
        let Ok(room) = answers.reserve().await else { return Err(gone()) };
        let Ok(turn) = log.state.transfers.acquire().await else { return Err(gone()) };
        let made = tokio::task::spawn_blocking(move || {
            let mut message = transfer.next_message();
            if let (Some(message), Some(signer)) = (&mut message, &mut signer) {
                signer.sign(message, since_1970().as_secs());
            }
            ((transfer, signer), message)
        });
        let (back, message) = made.await.map_err(|error| Fault::new(Kind::Internal, error.to_string()))?;
        drop(turn);
        (transfer, signer) = back;
        let Some(message) = message else { break };
        log.size_bytes += message.len();
        room.send(with_length(message));
    }
    log.complete = true;
    Ok(())
}

async fn deliver(answers: &mpsc::Sender<Vec<u8>>, piece: Vec<u8>) -> Result<(), Fault> {
    answers.send(piece).await.map_err(|_| gone())
}

/// The fault of the reading side after the writing side has ended; the writing side's own fault is the one reported.
fn gone() -> Fault {
    Fault::new(Kind::Disconnected, "answer: the connection has ended")
}

impl ServingState {
    fn framed(&self, asker: Asker, query: &[u8], response: DnsResponse, signer: Option<TsigSigner>) -> Vec<u8> {
        with_length(self.server.outgoing(asker, query, response, signer).wire)
    }
}

/// Logs a transfer when it ends, for whatever reason.
struct TransferLog {
    state: Arc<ServingState>,
    asker: Asker,
    query: Vec<u8>,
    size_bytes: usize,
    complete: bool,
}

impl Drop for TransferLog {
    fn drop(&mut self) {
        if let Some(log) = &self.state.server.log {
            log(&LoggedAnswer {
                asker: self.asker,
                query: &self.query,
                rcode: Rcode::NOERROR,
                truncated: false,
                size_bytes: self.size_bytes,
                complete: self.complete,
            });
        }
    }
}

/// The message with its length before it (RFC 1035, section 4.2.2).
fn with_length(message: Vec<u8>) -> Vec<u8> {
    debug_assert!(message.len() <= usize::from(u16::MAX), "every message is composed within a limit");
    let length = u16::try_from(message.len()).unwrap_or_default();
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend(length.to_be_bytes());
    framed.extend_from_slice(message.get(..length.into()).unwrap_or_default());
    framed
}

/// Takes the next message, once it is complete.
fn take_framed(input: &mut BytesMut) -> Option<BytesMut> {
    let [high, low, rest @ ..] = input.as_ref() else { return None };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if rest.len() < length {
        return None;
    }
    input.advance(2);
    Some(input.split_to(length))
}
