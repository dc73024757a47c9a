//! Length-prefixed messages on a byte stream (RFC 1035, section 4.2.2), with many concurrent queries and answers in any
//! order (RFC 7766, sections 6.2.1 and 7): TCP, and TLS over it (RFC 7858).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::dns::message::{HEADER_BYTES, MAX_MESSAGE_BYTES};
use crate::fault::{Fault, Kind};
use crate::net::random;
use crate::net::stream::Stream;

/// The maximum number of messages per connection that match no pending query: enough for late answers only.
const MAX_STRAYS: u32 = 1000;
/// The size at which a batch of queries is written with one call, in bytes.
const MAX_BATCH_BYTES: usize = 64 * 1024;

/// A stream of length-prefixed messages.
#[derive(Debug)]
pub(super) struct Framed {
    outgoing: mpsc::UnboundedSender<Vec<u8>>,
    pending: Arc<Mutex<PendingQueries>>,
    tasks: [JoinHandle<()>; 2],
}

/// The queries that wait for an answer, by identifier.
#[derive(Debug, Default)]
struct PendingQueries {
    waiting: HashMap<u16, oneshot::Sender<Vec<u8>>>,
    /// The number of answered queries.
    answered: u32,
    strays: u32,
    /// The reason why no more queries can be sent.
    ended: Option<Fault>,
}

impl Framed {
    /// Wraps a connected stream.
    pub(super) fn new(stream: Stream) -> Framed {
        // NSD (4.6) reads one message of a TLS record, and the others only when more data arrives: each message gets its own record.
        let batch = if matches!(stream, Stream::Tls(_)) { 1 } else { MAX_BATCH_BYTES };
        let (reader, writer) = tokio::io::split(stream);
        let pending: Arc<Mutex<PendingQueries>> = Arc::default();
        let (outgoing, queue) = mpsc::unbounded_channel();
        let tasks = [
            tokio::spawn(write_on(pending.clone(), writer, queue, batch)),
            tokio::spawn(read_on(pending.clone(), reader)),
        ];
        Framed { outgoing, pending, tasks }
    }

    /// Sends a query and waits for the message with its identifier. An identifier that is already in use is replaced by a free
    /// one on the wire.
    pub(super) async fn ask(&self, query: &[u8]) -> Result<Vec<u8>, Fault> {
        let (length, Some(own)) = (u16::try_from(query.len()), query.first_chunk::<2>()) else {
            return Err(Fault::new(Kind::Internal, "a query without a header"));
        };
        let length = length.map_err(|_| Fault::new(Kind::Usage, "query longer than 65535 bytes"))?;
        let (answered, answer) = oneshot::channel();
        let ticket = self.enlist(u16::from_be_bytes(*own), answered)?;
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend(ticket.id.to_be_bytes());
        frame.extend_from_slice(query.get(2..).unwrap_or_default());
        // If the writer has ended, it has stored the reason.
        let _ = self.outgoing.send(frame);
        let Ok(mut message) = answer.await else { return Err(lock(&self.pending).reason()) };
        if let Some(id) = message.first_chunk_mut::<2>() {
            *id = *own;
        }
        Ok(message)
    }

    /// True while the stream takes queries.
    pub(super) fn is_open(&self) -> bool {
        lock(&self.pending).ended.is_none()
    }

    /// The number of answered queries on this stream.
    pub(super) fn answered(&self) -> u32 {
        lock(&self.pending).answered
    }

    /// Registers a query under a free identifier: `wanted` if possible.
    fn enlist(&self, wanted: u16, answered: oneshot::Sender<Vec<u8>>) -> Result<Ticket<'_>, Fault> {
        let mut pending = lock(&self.pending);
        if pending.ended.is_some() {
            return Err(pending.reason());
        }
        if pending.waiting.len() > usize::from(u16::MAX) / 2 {
            return Err(Fault::new(Kind::Internal, "too many questions on one connection"));
        }
        let mut id = wanted;
        while pending.waiting.contains_key(&id) {
            let mut bytes = [0; 2];
            random::fill(&mut bytes)?;
            id = u16::from_ne_bytes(bytes);
        }
        pending.waiting.insert(id, answered);
        Ok(Ticket { framed: self, id })
    }
}

impl Drop for Framed {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl PendingQueries {
    fn reason(&self) -> Fault {
        self.ended.clone().unwrap_or_else(|| Fault::new(Kind::Disconnected, "the connection is closed"))
    }
}

fn lock(pending: &Mutex<PendingQueries>) -> MutexGuard<'_, PendingQueries> {
    // Nothing panics while it holds the lock.
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The registration of a pending query. Dropping it removes the query.
struct Ticket<'a> {
    framed: &'a Framed,
    id: u16,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        lock(&self.framed.pending).waiting.remove(&self.id);
    }
}

/// Reads until the stream ends, which ends all pending queries.
async fn read_on(pending: Arc<Mutex<PendingQueries>>, reader: ReadHalf<Stream>) {
    let fault = read(reader, &pending).await;
    let mut pending = lock(&pending);
    pending.ended.get_or_insert(fault);
    pending.waiting.clear();
}

/// Writes until writing fails. A peer that accepts no more data may have answered before it closed: pending queries wait until
/// everything is read.
async fn write_on(
    pending: Arc<Mutex<PendingQueries>>,
    writer: WriteHalf<Stream>,
    queue: mpsc::UnboundedReceiver<Vec<u8>>,
    most: usize,
) {
    let fault = write(writer, queue, most).await;
    lock(&pending).ended.get_or_insert(fault);
}

/// Writes the queued messages, as many as possible with one call.
async fn write(mut writer: WriteHalf<Stream>, mut queue: mpsc::UnboundedReceiver<Vec<u8>>, most: usize) -> Fault {
    while let Some(mut batch) = queue.recv().await {
        while batch.len() < most {
            let Ok(next) = queue.try_recv() else { break };
            batch.extend(next);
        }
        let written = async {
            writer.write_all(&batch).await?;
            writer.flush().await
        };
        if let Err(error) = written.await {
            return Fault::network("sending", &error);
        }
    }
    Fault::new(Kind::Cancelled, "the connection is not needed any more")
}

async fn read(reader: ReadHalf<Stream>, pending: &Mutex<PendingQueries>) -> Fault {
    let mut reader = tokio::io::BufReader::with_capacity(2 + MAX_MESSAGE_BYTES, reader);
    loop {
        let message = match message(&mut reader).await {
            Ok(message) => message,
            Err(error) => return Fault::network("receiving", &error),
        };
        let Some(id) = message.first_chunk::<2>().filter(|_| message.len() >= HEADER_BYTES) else {
            return Fault::new(Kind::Protocol, format!("a message of {} bytes: shorter than a header", message.len()));
        };
        let mut pending = lock(pending);
        match pending.waiting.remove(&u16::from_be_bytes(*id)) {
            Some(waiting) => {
                pending.answered += 1;
                // A query that was cancelled at this very moment needs no answer.
                let _ = waiting.send(message);
            }
            None => {
                pending.strays += 1;
                if pending.strays > MAX_STRAYS {
                    return Fault::new(Kind::Protocol, "answers to questions that were not asked");
                }
            }
        }
    }
}

/// Reads the next length-prefixed message of a stream, without looking at its content.
///
/// # Errors
/// The stream ended or failed.
pub async fn message(reader: &mut (impl AsyncReadExt + Unpin)) -> std::io::Result<Vec<u8>> {
    let length = reader.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    reader.read_exact(&mut message).await?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    /// Both ends of a connection: the framed end and the plain one.
    async fn pair() -> (Framed, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Framed::new(Stream::Plain(near)), listener.accept().await.unwrap().0)
    }

    fn query(id: u16, mark: u8) -> Vec<u8> {
        [&id.to_be_bytes()[..], &[mark; 12]].concat()
    }

    fn framed(message: &[u8]) -> Vec<u8> {
        [&(message.len() as u16).to_be_bytes()[..], message].concat()
    }

    #[tokio::test]
    async fn answers_in_any_order_find_their_questions() {
        let (near, mut far) = pair().await;
        let server = async {
            let mut got = Vec::new();
            for _ in 0..3 {
                got.push(message(&mut far).await.unwrap());
            }
            assert_ne!(got[0][..2], got[1][..2], "no identifier twice on the wire");
            got.reverse();
            let stray = query(9999, 9);
            let all = [framed(&stray), got.iter().flat_map(|it| framed(it)).collect()].concat();
            // In pieces of one byte.
            for byte in all {
                far.write_all(&[byte]).await.unwrap();
            }
        };
        let (a, b, c) = (query(7, 1), query(7, 2), query(8, 3));
        let (a, b, c, ()) = tokio::join!(near.ask(&a), near.ask(&b), near.ask(&c), server);
        assert_eq!((a.unwrap(), b.unwrap(), c.unwrap()), (query(7, 1), query(7, 2), query(8, 3)));
        assert!(near.is_open());
    }

    #[tokio::test]
    async fn every_broken_stream_ends_its_questions() {
        for (bytes, kind) in [
            (&b""[..], Kind::Disconnected),
            (b"\x00", Kind::Disconnected),
            (b"\x00\x14abc", Kind::Disconnected),
            (b"\x00\x00", Kind::Protocol),
            (b"\x00\x05abcde", Kind::Protocol),
        ] {
            let (near, mut far) = pair().await;
            let question = query(1, 1);
            let (asked, ()) = tokio::join!(near.ask(&question), async {
                message(&mut far).await.unwrap();
                far.write_all(bytes).await.unwrap();
                drop(far);
            });
            assert_eq!(asked.unwrap_err().kind, kind, "{bytes:?}");
            assert!(!near.is_open());
            assert_eq!(near.ask(&query(2, 2)).await.unwrap_err().kind, kind, "and those that come later");
        }
    }

    #[tokio::test]
    async fn answers_that_came_before_the_end_count_though_writing_failed() {
        let (near, mut far) = pair().await;
        let questions: Vec<Vec<u8>> = (0..2).map(|id| query(id, 1)).collect();
        let (first, second, ()) = tokio::join!(near.ask(&questions[0]), near.ask(&questions[1]), async {
            let answer = message(&mut far).await.unwrap();
            // The writer notices first that the peer has closed with a query unread.
            lock(&near.pending).ended = Some(Fault::new(Kind::Disconnected, "sending"));
            assert!(!near.is_open());
            far.write_all(&framed(&answer)).await.unwrap();
            drop(far);
        });
        assert_eq!(first.unwrap(), questions[0]);
        assert_eq!(second.unwrap_err().kind, Kind::Disconnected);
        assert_eq!(near.answered(), 1);
    }

    #[tokio::test]
    async fn a_flood_of_strays_ends_it() {
        let (near, mut far) = pair().await;
        let flood = framed(&query(2, 2)).repeat(MAX_STRAYS as usize + 1);
        let question = query(1, 1);
        let (asked, _) = tokio::join!(near.ask(&question), far.write_all(&flood));
        assert_eq!(asked.unwrap_err().kind, Kind::Protocol);
    }

    #[tokio::test]
    async fn given_up_questions_leave_their_place() {
        let (near, _far) = pair().await;
        let short = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(short, near.ask(&query(1, 1))).await.is_err());
        assert!(lock(&near.pending).waiting.is_empty());
    }
}
