//! Sends the message: dot-stuffed after DATA, or in BDAT chunks. Its end goes out in one write with its last bytes.

use std::io::Read;

use tokio::io::AsyncWriteExt;

use super::{LAST_WORDS, SendOptions, SmtpClient, out_of_step};
use crate::fault::{Fault, Kind};
use crate::net::deadline::RateDeadline;
use crate::smtp::command::SmtpCommand;
use crate::smtp::data::{BareNewline, Content, DotStuffer, NewlineCheck};
use crate::smtp::transaction::{Framing, LAST_CHUNK, Transaction, TransactionOptions};

/// The size of one read from the message, in bytes.
const PIECE: usize = 128 * 1024;

/// The number of bytes collected before they are sent.
const BLOCK: usize = 256 * 1024;

/// The bytes of the message, read on demand.
pub(super) struct ContentSender<'a> {
    content: &'a dyn Content,
    source: Option<ContentSource<'a>>,
    left: u64,
    newlines: NewlineCheck,
}

enum ContentSource<'a> {
    Memory(&'a [u8]),
    Reader { reader: Box<dyn Read + Send>, buffer: Vec<u8> },
}

impl<'a> ContentSender<'a> {
    pub(super) fn new(content: &'a dyn Content) -> ContentSender<'a> {
        ContentSender { content, source: None, left: content.size_bytes(), newlines: NewlineCheck::default() }
    }

    /// The next bytes, at most `limit` of them; `None` at the end. It is an error if the length differs from the
    /// announced one: the message has changed in the meantime.
    fn next(&mut self, limit: u64) -> Result<Option<&[u8]>, Fault> {
        let source = match &mut self.source {
            Some(source) => source,
            none => none.insert(open(self.content)?),
        };
        let limit = usize::try_from(limit).unwrap_or(PIECE).min(PIECE);
        let piece = match source {
            ContentSource::Memory(rest) => {
                let (piece, behind) = rest.split_at(limit.min(rest.len()));
                *rest = behind;
                piece
            }
            ContentSource::Reader { reader, buffer } => {
                let most = limit.min(buffer.len());
                let room = buffer.get_mut(..most).unwrap_or_default();
                let count = fill(reader, room).map_err(|error| Fault::local("message", &error))?;
                buffer.get(..count).unwrap_or_default()
            }
        };
        let count = piece.len() as u64;
        if count > self.left || (count == 0 && limit > 0 && self.left > 0) {
            return Err(Fault::new(Kind::Io, "the message changed its size while it was sent"));
        }
        self.left -= count;
        Ok((count > 0).then_some(piece))
    }
}

fn open(content: &dyn Content) -> Result<ContentSource<'_>, Fault> {
    if let Some(bytes) = content.in_memory() {
        return Ok(ContentSource::Memory(bytes));
    }
    let reader = content.open().map_err(|error| Fault::local("message", &error))?;
    // One byte more than it should be: a message that grew shows.
    let most = usize::try_from(content.size_bytes()).unwrap_or(PIECE).saturating_add(1).min(PIECE);
    Ok(ContentSource::Reader { reader, buffer: vec![0; most] })
}

/// Reads until the buffer is full or the source ends.
fn fill(reader: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match reader.read(buffer.get_mut(count..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

fn passed(count: usize, options: &SendOptions<'_>) {
    if let Some(progress) = &options.progress {
        progress(count as u64);
    }
}

fn bare(_: BareNewline) -> Fault {
    Fault::new(Kind::BadData, "bare CR or LF in the message: lines must end with CRLF")
}

impl SmtpClient {
    /// Sends the message or its next chunk, and reports it to the transaction.
    pub(super) async fn send_content(
        &mut self,
        transaction: &mut Transaction,
        framing: Framing,
        sender: &mut ContentSender<'_>,
        options: &SendOptions<'_>,
        rules: TransactionOptions,
    ) -> Result<(), Fault> {
        match framing {
            Framing::Dot => {
                let mut stuffer = DotStuffer::default();
                let mut deadline = RateDeadline::new(self.limits);
                while let Some(piece) = sender.next(u64::MAX)? {
                    stuffer.stuff(piece, &mut self.out).map_err(bare)?;
                    passed(piece.len(), options);
                    self.send_block(transaction, &mut deadline).await?;
                }
                stuffer.finish(&mut self.out).map_err(bare)?;
            }
            Framing::Bdat => {
                self.in_step()?;
                let last = sender.left <= LAST_CHUNK;
                let mut size = if last { sender.left } else { sender.left - LAST_CHUNK / 2 };
                let from = self.out.len();
                SmtpCommand::Bdat { size, last }.wire(&mut self.out)?;
                self.trace_lines(from);
                let mut deadline = RateDeadline::new(self.limits);
                let mut newlines = std::mem::take(&mut sender.newlines);
                while size > 0 {
                    let Some(piece) = sender.next(size)? else { break };
                    newlines.feed(piece).map_err(bare)?;
                    size -= piece.len() as u64;
                    self.out.extend_from_slice(piece);
                    passed(piece.len(), options);
                    self.send_block(transaction, &mut deadline).await?;
                }
                sender.newlines = newlines;
                if !last {
                    self.flush("message").await?;
                    transaction.sent(false);
                    return Ok(());
                }
                // A message that grew would arrive cut off: asking for one byte more finds it out.
                sender.next(1)?;
                sender.newlines.finish().map_err(bare)?;
            }
        }
        if self.trace.is_on() {
            self.trace.note(&format!("{} bytes of message", sender.content.size_bytes()));
        }
        self.commit(transaction, options, rules).await
    }

    /// Sends the end of the message, with all unsent bytes, in one write.
    async fn commit(
        &mut self,
        transaction: &mut Transaction,
        options: &SendOptions<'_>,
        rules: TransactionOptions,
    ) -> Result<(), Fault> {
        if let Some(before_commit) = &options.before_commit
            && !before_commit().await
        {
            return Err(Fault::new(Kind::Cancelled, "stopped before the end of the message"));
        }
        self.early(transaction)?;
        let end = self.out.len();
        if let Some((envelope, content)) = options.next.filter(|_| self.offer.pipelining) {
            let size = content.size_bytes();
            let next = Transaction::new(envelope.clone(), &self.offer, size, content.has_8bit(), rules);
            // A message that cannot be sent fails later, in its own turn.
            if let Ok(mut next) = next
                && next.next(&mut self.out).is_ok()
                && next.ends_with_data()
            {
                self.trace_lines(end);
                self.ahead = Some(next);
            } else {
                self.out.truncate(end);
            }
        }
        transaction.commit();
        let mut written = 0;
        let (stream, out) = (&mut self.stream, &self.out);
        let tls = stream.is_tls();
        let sent = self.limits.io("end of the message", async {
            while let Some(rest) = out.get(written..).filter(|rest| !rest.is_empty()) {
                match stream.write(rest).await? {
                    0 => return Err(std::io::ErrorKind::WriteZero.into()),
                    count => written += count,
                }
            }
            stream.flush().await
        });
        let sent = sent.await;
        self.out.clear();
        if sent.is_err() && !tls && written < end {
            // The system never took the last byte, so the server cannot have it. Inside TLS this is not known.
            transaction.not_committed();
        }
        transaction.sent(true);
        sent
    }

    /// Handles a reply before the message is complete: if the server has given up, its reply counts; any other reply is
    /// out of step. The end of the message is not sent.
    fn early(&mut self, transaction: &mut Transaction) -> Result<(), Fault> {
        let arrived = self.arrived();
        let Some(reply) = self.next_reply()? else {
            return if self.reader.has_pending() { Err(out_of_step()) } else { arrived };
        };
        if !reply.refuses() {
            return Err(out_of_step());
        }
        transaction.broken_off(&reply);
        Err(Fault::new(Kind::Disconnected, "the server broke off in the middle of the message"))
    }

    /// Sends a full block; a smaller rest waits for the end of the message.
    async fn send_block(&mut self, transaction: &mut Transaction, deadline: &mut RateDeadline) -> Result<(), Fault> {
        if self.out.len() < BLOCK {
            return Ok(());
        }
        let sent = deadline.write_all("message", &mut self.stream, &self.out).await;
        self.out.clear();
        let Err(fault) = sent else { return Ok(()) };
        // A server that breaks off may have said why.
        if fault.kind == Kind::Disconnected
            && let Ok(Ok(reply)) = tokio::time::timeout(LAST_WORDS, self.wait_for_reply("message")).await
        {
            transaction.broken_off(&reply);
        }
        Err(fault)
    }
}
