//! Delivery status notifications: failure notices, delay warnings and success reports as multipart/report (RFC 3464, RFC
//! 6522; RFC 6533 for addresses outside ASCII). Pure: name, time and boundary are arguments.

use std::borrow::Cow;
use std::io::{self, Read};

use crate::blob::Blob;
use crate::fault::Enhanced;
use crate::mail::header_line;
use crate::queue::entry::{NewMessage, Time};
use crate::smtp::address::{Address, ReversePath};
use crate::smtp::envelope::{Envelope, Envid, Orcpt, Recipient};

/// The most bytes of a returned header, and of a message that is returned whole.
pub const MAX_RETURNED: u64 = 50_000;
/// The most characters of one reply that are quoted.
const MAX_REPLY: usize = 1000;

/// The action of a report (RFC 3464, section 2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportAction {
    /// Delivery has failed permanently.
    Failed,
    /// Delivery is still being tried.
    Delayed,
    /// Relayed to a server that sends no success reports.
    Relayed,
    /// Delivered into a mailbox.
    Delivered,
    /// Passed on to the members of an alias.
    Expanded,
}

impl ReportAction {
    /// The action's name in the report.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReportAction::Failed => "failed",
            ReportAction::Expanded => "expanded",
            ReportAction::Delayed => "delayed",
            ReportAction::Relayed => "relayed",
            ReportAction::Delivered => "delivered",
        }
    }

    const fn subject(self) -> &'static str {
        match self {
            ReportAction::Failed => "Undelivered mail returned to sender",
            ReportAction::Delayed => "Delayed mail (still being retried)",
            ReportAction::Relayed | ReportAction::Delivered | ReportAction::Expanded => {
                "Successful mail delivery report"
            }
        }
    }

    const fn says(self) -> &'static str {
        match self {
            ReportAction::Failed => "Your message could not be delivered to these recipients. It is not tried again.",
            ReportAction::Delayed => {
                "Your message has not reached these recipients yet. You need not send it again: it is tried further."
            }
            ReportAction::Relayed => {
                "Your message was passed on to these recipients' server, which sends no further report."
            }
            ReportAction::Delivered => "Your message was delivered to these recipients.",
            ReportAction::Expanded => {
                "Your message was passed on to the members of these addresses; no further report comes from them."
            }
        }
    }

    /// The status if the server gave none.
    fn status(self) -> Enhanced {
        match self {
            ReportAction::Failed => Enhanced::new(5, 0, 0),
            ReportAction::Delayed => Enhanced::new(4, 0, 0),
            ReportAction::Relayed | ReportAction::Delivered | ReportAction::Expanded => Enhanced::new(2, 0, 0),
        }
    }
}

/// One recipient in a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedRecipient {
    /// The address.
    pub address: Address,
    /// The original recipient as the sender named it.
    pub orcpt: Option<Orcpt>,
    /// The enhanced code.
    pub enhanced: Option<Enhanced>,
    /// The server that answered.
    pub host: Option<String>,
    /// The reply of the server, or a local diagnosis.
    pub reply: String,
    /// True if the reply came from a server.
    pub by_server: bool,
    /// The end of the last attempt.
    pub at: Time,
}

/// A report about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusReport {
    /// The reported action.
    pub action: ReportAction,
    /// The host name of the reporting MTA.
    pub mta: String,
    /// The sender of the message, who receives the report.
    pub to: Address,
    /// The sender's identifier of the transaction.
    pub envid: Option<Envid>,
    /// The time when the message was accepted.
    pub arrived: Time,
    /// The message's queue id.
    pub queue_id: String,
    /// The time when delivery attempts end, for a delay warning.
    pub until: Option<Time>,
    /// The recipients; at least one.
    pub recipients: Vec<ReportedRecipient>,
    /// True if the message is returned whole (RET=FULL), not its header only.
    pub full: bool,
}

impl StatusReport {
    /// The report as a message with CRLF line ends, and whether it has bytes above 127. `original` is the reported message;
    /// `unique` is a text for boundary and Message-ID that occurs nowhere else.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn compose(&self, original: impl Read, size: u64, now: Time, unique: &str) -> io::Result<(Vec<u8>, bool)> {
        let full = self.full && size <= MAX_RETURNED && self.action == ReportAction::Failed;
        let returned = if full { whole(original)? } else { header(original)? };
        let (returned, boundary) = (ended(returned), format!("=_{unique}"));
        let mta = clean(&self.mta);
        // Programs look for the types of RFC 3464: those of RFC 6533 are used only if an address needs them.
        let (status_type, returned_type) = if self.is_international() {
            ("message/global-delivery-status", if full { "message/global" } else { "message/global-headers" })
        } else {
            ("message/delivery-status", if full { "message/rfc822" } else { "text/rfc822-headers" })
        };
        let mut parts = Vec::new();
        let text = self.for_people(&mta);
        for (kind, content) in [
            ("text/plain; charset=utf-8", text.as_bytes()),
            (status_type, self.for_programs(&mta).as_bytes()),
            (returned_type, &returned),
        ] {
            parts.extend_from_slice(format!("--{boundary}\r\nContent-Type: {kind}\r\n").as_bytes());
            parts.extend_from_slice(encoding(content).as_bytes());
            parts.extend_from_slice(b"\r\n");
            parts.extend_from_slice(content);
            parts.extend_from_slice(b"\r\n");
        }
        let mut bytes = format!(
            "From: Mail Delivery System <MAILER-DAEMON@{mta}>\r\nTo: <{}>\r\nSubject: {}\r\nDate: {}\r\n\
             Message-ID: <{unique}@{mta}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n{}\r\n\
             This is a report in MIME format.\r\n\r\n",
            self.to,
            self.action.subject(),
            date(now),
            encoding(&parts),
        )
        .into_bytes();
        bytes.append(&mut parts);
        bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let eight_bit = !bytes.is_ascii();
        Ok((bytes, eight_bit))
    }

    /// The report as a message for the queue. An unreadable original is still reported, without its header. `None` only if
    /// not even that can be composed.
    pub fn for_queue(&self, original: &Blob, now: Time, unique: &str) -> Option<NewMessage> {
        let composed = self.compose(original.open_at(0), original.size_bytes(), now, unique);
        let (bytes, eight_bit) = composed.or_else(|_| self.compose(io::empty(), 0, now, unique)).ok()?;
        let smtputf8 = !ascii(&self.to).is_ascii();
        let recipients = vec![Recipient::new(self.to.clone())];
        let envelope = Envelope { smtputf8, eight_bit, ..Envelope::new(ReversePath::Null, recipients) };
        Some(NewMessage::new(envelope, Blob::memory(bytes)))
    }

    /// True if an address cannot be written in ASCII.
    fn is_international(&self) -> bool {
        let original =
            |recipient: &ReportedRecipient| recipient.orcpt.as_ref().is_some_and(|orcpt| !orcpt.address().is_ascii());
        self.recipients.iter().any(|recipient| !ascii(&recipient.address).is_ascii() || original(recipient))
    }

    /// The human-readable part.
    fn for_people(&self, mta: &str) -> String {
        let mut out = format!("This is the mail system at {mta}.\r\n\r\n{}\r\n", self.action.says());
        if let Some(until) = self.until {
            out.push_str(&format!("It is given up on {}.\r\n", date(until)));
        }
        for recipient in &self.recipients {
            out.push_str(&format!("\r\n<{}>\r\n", recipient.address));
            let who = recipient.host.as_deref().filter(|_| recipient.by_server);
            let said = who.map_or(String::new(), |host| format!("{} said: ", clean(host)));
            for piece in wrap(&format!("{said}{}", clean(&recipient.reply)), 76) {
                out.push_str(&format!("    {piece}\r\n"));
            }
        }
        out
    }

    /// The machine-readable part (RFC 3464, section 2): 7-bit, unless the report is about international mail (RFC 6533).
    fn for_programs(&self, mta: &str) -> String {
        let mut out = String::new();
        let international = self.is_international();
        let mut line = |text: String| {
            match international {
                true => out.push_str(&text),
                false => out.extend(text.chars().map(|c| if c.is_ascii() { c } else { '?' })),
            }
            out.push_str("\r\n");
        };
        line(format!("Reporting-MTA: dns; {mta}"));
        if let Some(envid) = &self.envid {
            line(format!("Original-Envelope-Id: {}", envid.as_str()));
        }
        line(format!("X-Applayer-Queue-Id: {}", clean(&self.queue_id)));
        line(format!("Arrival-Date: {}", date(self.arrived)));
        for recipient in &self.recipients {
            line(String::new());
            if let Some(orcpt) = &recipient.orcpt {
                line(format!("Original-Recipient: {}; {}", orcpt.address_type(), orcpt.address()));
            }
            let address = ascii(&recipient.address);
            let kind = if address.is_ascii() { "rfc822" } else { "utf-8" };
            line(format!("Final-Recipient: {kind}; {address}"));
            line(format!("Action: {}", self.action.as_str()));
            line(format!("Status: {}", self.status(recipient)));
            if let Some(host) = recipient.host.as_deref().filter(|_| recipient.by_server) {
                line(format!("Remote-MTA: dns; {}", clean(host)));
            }
            let kind = if recipient.by_server { "smtp" } else { "X-Applayer" };
            for (index, piece) in wrap(&clean(&recipient.reply), 900).into_iter().enumerate() {
                line(if index == 0 { format!("Diagnostic-Code: {kind}; {piece}") } else { format!(" {piece}") });
            }
            line(format!("Last-Attempt-Date: {}", date(recipient.at)));
            if let Some(until) = self.until {
                line(format!("Will-Retry-Until: {}", date(until)));
            }
        }
        out
    }

    /// The server's own code. A message that expired keeps its 4.x.x, so that the reader sees that the failure was
    /// temporary.
    fn status(&self, recipient: &ReportedRecipient) -> Enhanced {
        recipient.enhanced.unwrap_or_else(|| self.action.status())
    }
}

/// The address with its domain in ASCII, if its local part is ASCII.
fn ascii(address: &Address) -> Cow<'_, Address> {
    address.with_ascii_domain().map_or(Cow::Borrowed(address), Cow::Owned)
}

/// The header field that a part, or the whole, needs if it has bytes above 127.
fn encoding(content: &[u8]) -> &'static str {
    if content.is_ascii() { "" } else { "Content-Transfer-Encoding: 8bit\r\n" }
}

/// The bytes with a final line end.
fn ended(mut bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.ends_with(b"\r\n") {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The header of a message with CRLF line ends, without the empty line; cut at a line end if it is very long.
///
/// # Errors
/// Those of the reader.
pub fn header(message: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = whole(message)?;
    // A header that was cut, or without a body, has no end of its own.
    let end = header_line::find_end(&bytes).map(|end| end.fields);
    let end = end.unwrap_or_else(|| memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1));
    bytes.truncate(end);
    Ok(bytes)
}

fn whole(message: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    message.take(MAX_RETURNED).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A value that cannot end its line: control characters become spaces, and its length is limited.
fn clean(text: &str) -> String {
    text.chars().take(MAX_REPLY).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// Breaks a text at spaces into lines of about this length; a longer word is split.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut rest = word;
        while !rest.is_empty() {
            let cut = rest.char_indices().map(|(at, _)| at).find(|at| *at >= width).unwrap_or(rest.len());
            let (piece, tail) = rest.split_at(cut);
            if !line.is_empty() && line.len() + 1 + piece.len() > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(piece);
            rest = tail;
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// A date as in RFC 5322, section 3.3.
fn date(time: Time) -> String {
    let stamp = jiff::Timestamp::from_second(time.0.div_euclid(1000)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    stamp.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests;
