//! The list in the format of Postfix's mailq, for programs that monitor a queue.

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::fault::Fault;
use crate::queue::drop_dir::Submission;
use crate::queue::entry::{RecipientState, Time};
use crate::queue::sqlite::SqliteStore;
use crate::queue::store::Filter;

/// One message, or the first or last line of the list.
#[derive(Debug, Default, Serialize)]
struct PostfixEntry {
    /// The line of the message.
    line: String,
    sender: Option<String>,
    /// The addresses, each with the reason why it waits.
    recipients: Vec<(String, Option<String>)>,
}

impl OutputRecord for PostfixEntry {
    const TYPE: &'static str = "postfix";

    fn text(&self, line: &mut TextLine) {
        line.text(&self.line);
        let Some(sender) = &self.sender else { return };
        line.escaped(if sender.is_empty() { "MAILER-DAEMON" } else { sender }).text("\n");
        let mut before = None;
        for (address, reason) in &self.recipients {
            if let Some(reason) = reason.as_ref().filter(|reason| before != Some(*reason)) {
                line.text("(").escaped(reason).text(")\n");
            }
            before = reason.as_ref();
            line.text(&" ".repeat(41)).escaped(address).text("\n");
        }
    }
}

fn entry(id: &str, mark: char, size_bytes: u64, at: Time, sender: &str) -> PostfixEntry {
    let local = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default().to_zoned(jiff::tz::TimeZone::system());
    let line = format!("{:<11} {size_bytes:>7} {}  ", format!("{id}{mark}"), local.strftime("%a %b %e %H:%M:%S"));
    PostfixEntry { line, sender: Some(sender.to_owned()), recipients: Vec::new() }
}

/// Prints the list. Returns whether it has messages, and a status if some of them cannot be read.
pub(super) async fn list(
    store: Option<&SqliteStore>,
    filter: &Filter,
    submitted: &[Submission],
    out: &Output,
) -> Result<(bool, Option<Exit>), Fault> {
    let mut bad = None;
    let (mut requests, mut bytes) = (0u64, 0u64);
    let mut tell = |entry: &PostfixEntry, size_bytes: u64| {
        if requests == 0 {
            let heading = "-Queue ID- --Size-- ----Arrival Time---- -Sender/Recipient-------".to_owned();
            out.emit(&PostfixEntry { line: heading, ..PostfixEntry::default() })?;
        }
        requests += 1;
        bytes += size_bytes;
        out.emit(entry)
    };
    if let Some(store) = store {
        bad = super::each_page(store, filter, out, |queued, recipients| {
            let is = |state: RecipientState| recipients.iter().any(|recipient| recipient.state == state);
            let mark = match (is(RecipientState::Active), is(RecipientState::Held)) {
                (true, _) => '*',
                (false, true) => '!',
                (false, false) => ' ',
            };
            let mut message =
                entry(&queued.id.to_string(), mark, queued.size_bytes, queued.created, queued.envelope.sender.as_str());
            let why = |reply: &str| (!reply.is_empty()).then(|| reply.to_owned());
            message.recipients.extend(recipients.iter().map(|recipient| {
                (recipient.to.address.to_string(), recipient.last.as_ref().and_then(|last| why(&last.reply)))
            }));
            if recipients.is_empty() { Ok(()) } else { tell(&message, queued.size_bytes) }
        })
        .await?;
    }
    for submission in submitted {
        let (id, sender) = (&submission.name, &submission.sender);
        let mut message = entry(id, ' ', submission.size_bytes, submission.time(), sender);
        message.recipients.extend(submission.recipients.iter().map(|address| (address.clone(), None)));
        tell(&message, submission.size_bytes)?;
    }
    let last = match requests {
        0 => "Mail queue is empty".to_owned(),
        1 => format!("-- {} Kbytes in 1 Request.", bytes.div_ceil(1024)),
        more => format!("-- {} Kbytes in {more} Requests.", bytes.div_ceil(1024)),
    };
    out.emit(&PostfixEntry { line: last, ..PostfixEntry::default() })?;
    Ok((requests > 0, bad))
}
