//! Makes a message for the queue from an SMTP envelope and a content.

use std::io::{self, Read, Write as _};

use crate::blob::Blob;
use crate::fault::Fault;
use crate::queue::entry::NewMessage;
use crate::queue::store::QueueStore;
use crate::smtp::data::Content;
use crate::smtp::transaction::Envelope;

/// The message for [`QueueStore::enqueue`]: `head` (trace fields, CRLF line ends, may be empty), then the content. The bytes
/// are written directly to the queue's storage; a large body is synced when this returns.
///
/// # Errors
/// The fault of reading the content or of writing the body: [`Kind::Io`](crate::fault::Kind::Io),
/// [`Kind::CannotCreate`](crate::fault::Kind::CannotCreate).
pub fn message(
    store: &dyn QueueStore,
    envelope: &Envelope,
    head: &[u8],
    content: &dyn Content,
) -> Result<NewMessage, Fault> {
    let full = |error: io::Error| Fault::local(store.location(), &error);
    let mut body = store.new_body()?;
    body.write_all(head).map_err(full)?;
    match content.in_memory() {
        Some(bytes) => body.write_all(bytes).map_err(full)?,
        None => copy(&mut *content.open().map_err(full)?, &mut body).map_err(full)?,
    }
    Ok(with_body(envelope, body.finish().map_err(full)?, content.has_8bit()))
}

/// The message for [`QueueStore::enqueue`] with a complete body: one from [`QueueStore::new_body`] is not copied.
pub fn with_body(envelope: &Envelope, body: Blob, has_8bit: bool) -> NewMessage {
    let eight_bit = envelope.eight_bit || has_8bit;
    NewMessage::new(Envelope { eight_bit, ..envelope.clone() }, body)
}

fn copy(from: &mut dyn Read, to: &mut impl io::Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(buffer.get(..count).unwrap_or_default())?,
        }
    }
}
