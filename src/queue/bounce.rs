//! Messages about messages: failure notices, delay warnings and success reports as multipart/report (RFC 3464, RFC 6522;
//! RFC 6533 for addresses outside ASCII). Pure: name, time and boundary come in as arguments.

use std::io::{self, Read};

use crate::fault::Enhanced;
use crate::queue::entry::Time;

/// The most of a returned message's header, and of a message returned whole, in bytes.
pub const MAX_RETURNED: u64 = 50_000;
/// The most of one reply that is quoted, in bytes.
const MAX_REPLY: usize = 1000;

/// What a report says happened (RFC 3464, section 2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Given up.
    Failed,
    /// Still trying.
    Delayed,
    /// Given to a server that reports no success by itself.
    Relayed,
    /// Delivered into a mailbox.
    Delivered,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Relayed => "relayed",
            Action::Delivered => "delivered",
        }
    }

    const fn subject(self) -> &'static str {
        match self {
            Action::Failed => "Undelivered mail returned to sender",
            Action::Delayed => "Delayed mail (still being retried)",
            Action::Relayed | Action::Delivered => "Successful mail delivery report",
        }
    }

    const fn says(self) -> &'static str {
        match self {
            Action::Failed => "Your message could not be delivered to these recipients. It is not tried again.",
            Action::Delayed => {
                "Your message has not reached these recipients yet. You need not send it again: it is tried further."
            }
            Action::Relayed => "Your message was passed on to these recipients' server, which sends no further report.",
            Action::Delivered => "Your message was delivered to these recipients.",
        }
    }

    /// The status when the server named none.
    fn status(self) -> Enhanced {
        match self {
            Action::Failed => Enhanced::new(5, 0, 0),
            Action::Delayed => Enhanced::new(4, 0, 0),
            Action::Relayed | Action::Delivered => Enhanced::new(2, 0, 0),
        }
    }
}

/// One recipient in a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// The address.
    pub address: String,
    /// ORCPT, decoded.
    pub orcpt: Option<String>,
    /// The enhanced code.
    pub enhanced: Option<Enhanced>,
    /// The server that answered.
    pub host: Option<String>,
    /// What the server, or we, had to say.
    pub reply: String,
    /// True when the reply is a server's.
    pub by_server: bool,
    /// When the last attempt ended.
    pub at: Time,
}

/// A report about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What happened.
    pub action: Action,
    /// Our name.
    pub mta: String,
    /// The sender of the message, who reads this.
    pub to: String,
    /// ENVID, decoded.
    pub envid: Option<String>,
    /// When the message was accepted.
    pub arrived: Time,
    /// The queue's name of the message.
    pub queue_id: String,
    /// When it is given up, for a delay warning.
    pub until: Option<Time>,
    /// At least one.
    pub recipients: Vec<Reported>,
    /// The message is returned whole (RET=FULL), not its header alone.
    pub full: bool,
    /// The message needed SMTPUTF8.
    pub smtputf8: bool,
}

impl Report {
    /// The report as a message with CRLF line ends, and whether it has bytes above 127. `original` is the message that it
    /// is about; `unique` a text for boundary and Message-ID that occurs nowhere else.
    pub fn compose(&self, original: impl Read, size: u64, now: Time, unique: &str) -> io::Result<(Vec<u8>, bool)> {
        let full = self.full && size <= MAX_RETURNED && self.action == Action::Failed;
        let returned = if full { whole(original)? } else { header(original)? };
        let boundary = format!("=_{unique}");
        let mta = clean(&self.mta);
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(&text);
            out.push_str("\r\n");
        };
        line(format!("From: Mail Delivery System <MAILER-DAEMON@{mta}>"));
        line(format!("To: <{}>", clean(&self.to)));
        line(format!("Subject: {}", self.action.subject()));
        line(format!("Date: {}", date(now)));
        line(format!("Message-ID: <{unique}@{mta}>"));
        line("Auto-Submitted: auto-replied".to_owned());
        line("MIME-Version: 1.0".to_owned());
        let (status_type, address_type, returned_type) = if self.smtputf8 {
            ("message/global-delivery-status", "utf-8", if full { "message/global" } else { "message/global-headers" })
        } else {
            ("message/delivery-status", "rfc822", if full { "message/rfc822" } else { "text/rfc822-headers" })
        };
        line("Content-Type: multipart/report; report-type=delivery-status;".to_owned());
        line(format!("\tboundary=\"{boundary}\""));
        line(String::new());
        line("This is a report in MIME format.".to_owned());
        line(String::new());
        line(format!("--{boundary}"));
        line("Content-Type: text/plain; charset=utf-8".to_owned());
        line("Content-Transfer-Encoding: 8bit".to_owned());
        line(String::new());
        line(format!("This is the mail system at {mta}."));
        line(String::new());
        line(self.action.says().to_owned());
        if let Some(until) = self.until {
            line(format!("It is given up on {}.", date(until)));
        }
        for recipient in &self.recipients {
            line(String::new());
            line(format!("<{}>", clean(&recipient.address)));
            let who = recipient.host.as_deref().filter(|_| recipient.by_server);
            let said = who.map_or(String::new(), |host| format!("{} said: ", clean(host)));
            for piece in wrap(&format!("{said}{}", clean(&recipient.reply)), 76) {
                line(format!("    {piece}"));
            }
        }
        line(String::new());
        line(format!("--{boundary}"));
        line(format!("Content-Type: {status_type}"));
        if self.smtputf8 {
            line("Content-Transfer-Encoding: 8bit".to_owned());
        }
        line(String::new());
        line(format!("Reporting-MTA: dns; {mta}"));
        if let Some(envid) = &self.envid {
            line(format!("Original-Envelope-Id: {}", clean(envid)));
        }
        line(format!("X-Applayer-Queue-Id: {}", clean(&self.queue_id)));
        line(format!("Arrival-Date: {}", date(self.arrived)));
        for recipient in &self.recipients {
            line(String::new());
            if let Some((kind, address)) = recipient.orcpt.as_deref().and_then(|orcpt| orcpt.split_once(';')) {
                line(format!("Original-Recipient: {}; {}", clean(kind), clean(address)));
            }
            line(format!("Final-Recipient: {address_type}; {}", clean(&recipient.address)));
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
        line(String::new());
        line(format!("--{boundary}"));
        line(format!("Content-Type: {returned_type}"));
        if !returned.is_ascii() {
            line("Content-Transfer-Encoding: 8bit".to_owned());
        }
        line(String::new());
        let mut bytes = out.into_bytes();
        bytes.extend_from_slice(&returned);
        if !returned.ends_with(b"\r\n") {
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let eight_bit = !bytes.is_ascii();
        Ok((bytes, eight_bit))
    }

    /// The server's own code: a 4.x.x that ended a message by its age stays one, so that the reader sees that it was a
    /// matter of time.
    fn status(&self, recipient: &Reported) -> Enhanced {
        recipient.enhanced.unwrap_or_else(|| self.action.status())
    }
}

/// The header of a message with CRLF line ends, without the empty line; cut at a line end if it is very long.
pub fn header(message: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = whole(message)?;
    let end = match memchr::memmem::find(&bytes, b"\r\n\r\n") {
        _ if bytes.starts_with(b"\r\n") => 0,
        Some(at) => at + 2,
        None => memchr::memmem::rfind(&bytes, b"\r\n").map_or(0, |at| at + 2),
    };
    bytes.truncate(end);
    Ok(bytes)
}

fn whole(message: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    message.take(MAX_RETURNED).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A value that cannot end its line: control characters are spaces, and it has a limit.
fn clean(text: &str) -> String {
    text.chars().take(MAX_REPLY).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// Breaks a text at spaces into lines of about this length; a longer word is cut.
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
mod tests {
    use super::*;
    use mail_parser::{MessageParser, MimeHeaders as _};

    const ORIGINAL: &[u8] = b"From: alice@alice.test\r\nSubject: hello\r\n\r\nbody\r\n--=_u1\r\n";

    fn report(action: Action) -> Report {
        Report {
            action,
            mta: "mail.alice.test".to_owned(),
            to: "alice@alice.test".to_owned(),
            envid: Some("QQ314159".to_owned()),
            arrived: Time(1_764_000_000_000),
            queue_id: "0000000000001".to_owned(),
            until: None,
            recipients: vec![Reported {
                address: "bob@bob.test".to_owned(),
                orcpt: Some("rfc822;Bob+x@bob.test".to_owned()),
                enhanced: Enhanced::parse("5.1.1"),
                host: Some("mx.bob.test".to_owned()),
                reply: "550 5.1.1 no such\r\nX-Injected: user".to_owned(),
                by_server: true,
                at: Time(1_764_000_001_000),
            }],
            full: false,
            smtputf8: false,
        }
    }

    fn compose(report: &Report) -> String {
        let (bytes, _) = report.compose(ORIGINAL, ORIGINAL.len() as u64, Time(1_764_000_002_000), "u1").unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_bounce_has_three_parts_and_every_required_field() {
        let text = compose(&report(Action::Failed));
        let message = MessageParser::default().parse(text.as_bytes()).unwrap();
        let kind = message.content_type().unwrap();
        assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
        assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
        let kinds: Vec<String> = message
            .parts
            .iter()
            .skip(1)
            .map(|part| {
                part.content_type()
                    .map_or(String::new(), |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("")))
            })
            .collect();
        assert_eq!(kinds, ["text/plain", "message/delivery-status", "text/rfc822-headers"]);
        for field in [
            "To: <alice@alice.test>\r\n",
            "Auto-Submitted: auto-replied\r\n",
            "\r\nReporting-MTA: dns; mail.alice.test\r\nOriginal-Envelope-Id: QQ314159\r\n",
            "\r\nArrival-Date: Mon, 24 Nov 2025 16:00:00 +0000\r\n\r\nOriginal-Recipient: rfc822; Bob+x@bob.test\r\n",
            "Final-Recipient: rfc822; bob@bob.test\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx.bob.test\r\n",
            "Diagnostic-Code: smtp; 550 5.1.1 no such X-Injected: user\r\n",
            "Last-Attempt-Date: Mon, 24 Nov 2025 16:00:01 +0000\r\n",
        ] {
            assert!(text.contains(field), "{field:?} in\n{text}");
        }
        assert!(text.contains("Subject: hello") && !text.contains("\r\nbody"), "the header alone comes back");
    }

    #[test]
    fn ret_full_returns_all_of_it_unless_it_is_large() {
        let full = Report { full: true, ..report(Action::Failed) };
        assert!(compose(&full).contains("message/rfc822\r\n\r\nFrom: alice@alice.test"));
        assert!(compose(&full).contains("\r\nbody\r\n"));
        let (large, _) = full.compose(ORIGINAL, MAX_RETURNED + 1, Time(0), "u1").unwrap();
        assert!(String::from_utf8(large).unwrap().contains("text/rfc822-headers"));
        let delayed = Report { full: true, until: Some(Time(1_764_400_000_000)), ..report(Action::Delayed) };
        let text = compose(&delayed);
        assert!(
            text.contains("text/rfc822-headers") && text.contains("Will-Retry-Until: Sat, 29 Nov 2025 07:06:40 +0000")
        );
    }

    #[test]
    fn addresses_outside_ascii_have_their_types() {
        let report = Report { smtputf8: true, ..report(Action::Failed) };
        let text = compose(&report);
        assert!(text.contains("Content-Type: message/global-delivery-status\r\n"));
        assert!(text.contains("Final-Recipient: utf-8; bob@bob.test\r\n"));
        assert!(text.contains("Content-Type: message/global-headers\r\n"));
    }

    #[test]
    fn our_own_words_are_no_servers_reply() {
        let mut report = report(Action::Failed);
        report.recipients[0].by_server = false;
        report.recipients[0].reply = "MX of bob.test: SERVFAIL ".repeat(60);
        let text = compose(&report);
        assert!(!text.contains("Remote-MTA") && text.contains("Diagnostic-Code: X-Applayer; MX of bob.test"));
        assert!(text.split("\r\n").all(|line| line.len() <= 998), "RFC 5322 section 2.1.1");
    }

    #[test]
    fn headers_end_where_they_end() {
        for (message, expected) in [
            (&b"A: b\r\n\r\nbody\r\n"[..], &b"A: b\r\n"[..]),
            (b"\r\nbody\r\n", b""),
            (b"A: b\r\n", b"A: b\r\n"),
            (b"", b""),
            (b"no line end", b""),
        ] {
            assert_eq!(header(message).unwrap(), expected);
        }
        let endless = b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(5000);
        let cut = header(&endless[..]).unwrap();
        assert!(cut.len() as u64 <= MAX_RETURNED && cut.ends_with(b"\r\n"));
    }

    #[test]
    fn words_are_wrapped_and_cut() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
        assert_eq!(wrap("aaaaaaaa", 3), ["aaa", "aaa", "aa"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(wrap("ééé", 3).concat(), "ééé");
    }
}
