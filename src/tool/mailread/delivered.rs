//! The date of a message: from its Date field, else the time of its delivery.

use std::io::Read;

use jiff::{Timestamp, Zoned, tz::TimeZone};

use super::boxes::OpenMailbox;
use crate::mail::{date, scan};

/// The longest `From ` line that is read, in bytes.
const MAX_SEPARATOR: u64 = 1024;

/// The date of a message, with `delivery` as its source if it is not from a readable Date field.
pub(super) fn date_of(folder: &OpenMailbox, number: usize, header: &[u8]) -> (Option<Zoned>, Option<&'static str>) {
    let [written, received] = scan::pick(header, ["date", "received"]);
    if let Some(date) = written.and_then(scan::date) {
        return (Some(date), None);
    }
    // The last server records the time after the last semicolon (RFC 5321, section 4.4).
    let stamped = || date::parse(scan::decode(received?).rsplit_once(';')?.1);
    let delivered = in_mailbox(folder, number).or_else(stamped);
    let source = delivered.as_ref().map(|_| "delivery");
    (delivered, source)
}

/// The time of delivery in UTC, from the mailbox: the file's name in a Maildir, the `From ` line in an mbox.
pub(super) fn in_mailbox(folder: &OpenMailbox, number: usize) -> Option<Zoned> {
    if let OpenMailbox::Mbox(blob, spans) = folder {
        let end = spans.get(number.checked_sub(1)?)?.start;
        let start = end.saturating_sub(MAX_SEPARATOR);
        let mut before = Vec::new();
        blob.open_at(start).take(end - start).read_to_end(&mut before).ok()?;
        let line = before.trim_ascii_end().rsplit(|byte| *byte == b'\n').next()?;
        // "From sender date": a sender has no blanks.
        let line = String::from_utf8_lossy(line.strip_prefix(b"From ")?).into_owned();
        return date::parse(line.trim_start().split_once(' ')?.1);
    }
    let seconds = i64::try_from(folder.item(number).ok()?.delivered_at()).ok().filter(|seconds| *seconds > 0)?;
    Some(Timestamp::from_second(seconds).ok()?.to_zoned(TimeZone::UTC))
}
