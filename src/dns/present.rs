//! Answers in dig's text format (dig(1)), so that users and scripts that know dig can read them.

use std::fmt::Write;
use std::time::Duration;

use super::edns::Edns;
use super::message::{Flags, Message, opcode_name};
use super::record::text::{self, Style};
use super::record::{Record, Rtype};

/// The parts that are printed: all of them, except those disabled by dig's `+no…` options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Show {
    pub comments: bool,
    pub question: bool,
    pub answer: bool,
    pub authority: bool,
    pub additional: bool,
    pub stats: bool,
    pub ttl: bool,
    /// `1h30m` instead of seconds.
    pub ttl_units: bool,
    pub class: bool,
    /// Names the server that answered (dig's `+identify`), unless the statistics do.
    pub identify: bool,
    /// Omits the SOA record at the end of a transfer.
    pub one_soa: bool,
    /// Microseconds instead of milliseconds.
    pub usec: bool,
    /// Prints the query as well.
    pub query: bool,
    /// YAML instead of text.
    pub yaml: bool,
    /// Comments after records; `None`: only if records are printed over several lines.
    pub rr_comments: Option<bool>,
    /// Splits long data into pieces of this many characters; `None`: as dig does.
    pub split: Option<usize>,
    pub style: Style,
}

impl Show {
    /// All parts (`true`, dig's `+all`) or none (`+noall`).
    pub fn all(on: bool) -> Show {
        Show {
            comments: on,
            question: on,
            answer: on,
            authority: on,
            additional: on,
            stats: on,
            ttl: true,
            ttl_units: false,
            class: true,
            identify: false,
            one_soa: false,
            usec: false,
            query: false,
            yaml: false,
            rr_comments: None,
            split: None,
            style: Style::DIG,
        }
    }
}

impl Show {
    /// Derives the style from all options together.
    pub fn settle(&mut self) {
        let style = &mut self.style;
        style.comments = self.rr_comments.unwrap_or(style.multiline);
        style.split = self.split.unwrap_or(if style.multiline { 44 } else { Style::DIG.split });
    }
}

/// The metadata of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The server as `address#port(name) (TRANSPORT)`.
    pub server: &'a str,
    /// The time between query and answer.
    pub elapsed: Duration,
    /// True if the UDP answer was truncated and this one came over TCP.
    pub over_tcp: bool,
    /// The time of the answer, as date(1) prints it.
    pub when: &'a str,
    /// The length of the message in bytes.
    pub size_bytes: usize,
}

/// The text of a whole answer; the caller adds the last line end.
pub fn full(message: &Message, show: &Show, about: &Circumstances<'_>) -> String {
    let mut out = String::with_capacity(1024);
    if show.comments {
        if about.over_tcp {
            out.push_str(";; Truncated, retrying in TCP mode.\n");
        }
        out.push_str(if message.flags.has(Flags::QR) { ";; Got answer:\n" } else { ";; Sending:\n" });
        header(message, &mut out);
    }
    section(&mut out, show, "QUESTION", show.question && !message.question.is_empty(), |out| {
        for question in &message.question {
            out.push(';'); // which BIND does not count
            let mut line = Columns::new(out);
            let [_, class, rtype, _] = columns(show, false);
            line.put(&question.name, class);
            line.put(question.class, rtype);
            line.put(question.rtype, 0);
            out.push('\n');
        }
    });
    for (name, records, wanted) in [
        ("ANSWER", &message.answer, show.answer),
        ("AUTHORITY", &message.authority, show.authority),
        ("ADDITIONAL", &message.additional, show.additional),
    ] {
        let shown = records.iter().filter(|record| record.rtype != Rtype::TSIG);
        section(&mut out, show, name, wanted && shown.clone().next().is_some(), |out| {
            for record in shown {
                write_record(record, show, out);
                out.push('\n');
            }
        });
    }
    if !message.flags.has(Flags::QR) {
        if show.stats {
            let _ = writeln!(out, ";; QUERY SIZE: {}", about.size_bytes);
        }
    } else if show.stats {
        match show.usec {
            true => _ = writeln!(out, ";; Query time: {} usec", about.elapsed.as_micros()),
            false => _ = writeln!(out, ";; Query time: {} msec", about.elapsed.as_millis()),
        }
        let _ = writeln!(out, ";; SERVER: {}", about.server);
        let _ = writeln!(out, ";; WHEN: {}", about.when);
        let _ = writeln!(out, ";; MSG SIZE  rcvd: {}", about.size_bytes);
    } else if show.identify {
        let _ = writeln!(
            out,
            ";; Received {} bytes from {} in {} ms",
            about.size_bytes,
            about.server.split(" (").next().unwrap_or_default(),
            about.elapsed.as_millis()
        );
    } else {
        // The caller adds the line end after the last line.
        out.truncate(out.trim_end_matches('\n').len());
    }
    out
}

fn section(out: &mut String, show: &Show, name: &str, wanted: bool, body: impl FnOnce(&mut String)) {
    if !wanted {
        return;
    }
    if show.comments {
        let _ = writeln!(out, ";; {name} SECTION:");
    }
    body(out);
    if show.comments {
        out.push('\n');
    }
}

fn header(message: &Message, out: &mut String) {
    let (opcode, status) = (opcode_name(message.flags.opcode()), message.rcode());
    let _ = writeln!(out, ";; ->>HEADER<<- opcode: {opcode}, status: {status}, id: {}", message.id);
    out.push_str(";; flags:");
    for name in message.flags.names() {
        let _ = write!(out, " {name}");
    }
    let additional = message.additional.len() + usize::from(message.edns.is_some());
    let _ = writeln!(
        out,
        "; QUERY: {}, ANSWER: {}, AUTHORITY: {}, ADDITIONAL: {additional}",
        message.question.len(),
        message.answer.len(),
        message.authority.len()
    );
    if message.flags.has(Flags::RD) && !message.flags.has(Flags::RA) && message.flags.has(Flags::QR) {
        out.push_str(";; WARNING: recursion requested but not available\n");
    }
    if message.trailing_bytes > 0 {
        let _ = writeln!(out, ";; WARNING: Message has {} extra bytes at end", message.trailing_bytes);
    }
    out.push('\n');
    if let Some(edns) = &message.edns {
        opt(edns, message.flags.has(Flags::QR), out);
    }
}

fn opt(edns: &Edns, of_answer: bool, out: &mut String) {
    out.push_str(";; OPT PSEUDOSECTION:\n");
    let flags = if edns.dnssec_ok { " do" } else { "" };
    let _ = write!(out, "; EDNS: version: {}, flags:{flags};", edns.version);
    if edns.other_flags != 0 {
        let _ = write!(out, " MBZ: 0x{:04x},", edns.other_flags);
    }
    let _ = writeln!(out, " udp: {}", edns.udp_size);
    for option in &edns.options {
        let value = option.dig_value(of_answer).map(|value| format!(" {value}")).unwrap_or_default();
        let _ = writeln!(out, "; {}:{value}", option.dig_name(false));
    }
}

/// One record in dig's columns.
pub fn write_record(record: &Record, show: &Show, out: &mut String) {
    let mut line = Columns::new(out);
    let [first, class, rtype, data] = columns(show, true);
    line.put(&record.name, first);
    if show.ttl {
        match show.ttl_units {
            true => line.put(Units(record.ttl), class),
            false => line.put(record.ttl, class),
        }
    }
    if show.class {
        match show.style.unknown {
            true => line.put(format_args!("CLASS{}", record.class.0), rtype),
            false => line.put(record.class, rtype),
        }
    }
    match show.style.unknown {
        true => line.put(format_args!("TYPE{}", record.rtype.0), data),
        false => line.put(record.rtype, data),
    }
    text::write_rdata(record.rtype, &record.rdata, show.style, out);
}

/// The columns of TTL, class, type and data. Questions have no TTL, but leave its column empty.
fn columns(show: &Show, record: bool) -> [usize; 4] {
    if show.style.multiline {
        return [24, 24, 24, 32];
    }
    let class = 24 + 8 * usize::from(show.ttl || !record);
    let rtype = class + 8 * usize::from(show.class || !record);
    [24, class, rtype, rtype + 8]
}

/// A time in the notation of BIND's `$TTL`: `1w2d3h4m5s`.
struct Units(u32);

impl std::fmt::Display for Units {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, seconds) in [('w', 604_800), ('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)] {
            if rest >= seconds {
                write!(f, "{}{unit}", rest / seconds)?;
                rest %= seconds;
            }
        }
        Ok(())
    }
}

/// The data of the answer section, one record per line (dig's `+short`).
pub fn short(message: &Message, style: Style) -> Vec<String> {
    let style = Style { multiline: false, comments: style.comments && !style.multiline, ..style };
    let wanted = |record: &&Record| record.rtype != Rtype::RRSIG || asked(message) == Some(Rtype::RRSIG);
    message.answer.iter().filter(wanted).map(|record| text::rdata(record.rtype, &record.rdata, style)).collect()
}

fn asked(message: &Message) -> Option<Rtype> {
    message.question.first().map(|question| question.rtype)
}

/// Aligns columns with tabs of eight as BIND does, with at least one blank after each field.
struct Columns<'a> {
    out: &'a mut String,
    at: usize,
}

impl<'a> Columns<'a> {
    fn new(out: &'a mut String) -> Columns<'a> {
        Columns { out, at: 0 }
    }

    /// Writes a field, then blanks up to column `next` (0: none).
    fn put(&mut self, field: impl std::fmt::Display, next: usize) {
        let before = self.out.len();
        let _ = write!(self.out, "{field}");
        self.at += self.out.len() - before;
        if next > 0 {
            self.indent(next);
        }
    }

    fn indent(&mut self, to: usize) {
        let to = to.max(self.at + 1);
        let tabs = to / 8 - self.at / 8;
        if tabs > 0 {
            self.out.extend(std::iter::repeat_n('\t', tabs));
            self.at = to / 8 * 8;
        }
        self.out.extend(std::iter::repeat_n(' ', to - self.at));
        self.at = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::edns::EdnsOption;
    use crate::dns::message::Question;
    use crate::dns::name::Name;
    use crate::dns::record::Class;

    #[test]
    fn as_dig_prints_it() {
        let name = Name::parse("www.example.test").unwrap();
        let record = |owner: &str| Record {
            name: Name::parse(owner).unwrap(),
            rtype: Rtype::A,
            class: Class::IN,
            ttl: 3600,
            rdata: vec![192, 0, 2, 10],
        };
        let message = Message {
            id: 46100,
            flags: Flags(Flags::QR | Flags::AA | Flags::RD),
            question: vec![Question::new(name, Rtype::A)],
            answer: vec![record("www.example.test"), record("a-rather-long-name.example.test")],
            edns: Some(Edns { options: vec![EdnsOption::new(3, b"ns".to_vec())], ..Edns::default() }),
            ..Message::default()
        };
        let about = Circumstances {
            server: "127.0.0.1#53(localhost) (UDP)",
            elapsed: Duration::from_millis(4),
            over_tcp: false,
            when: "Mon Nov 23 06:27:05 UTC 2026",
            size_bytes: 61,
        };
        let expected = "\
;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: 46100
;; flags: qr aa rd; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 1
;; WARNING: recursion requested but not available

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags:; udp: 1232
; NSID: 6e 73 (\"ns\")
;; QUESTION SECTION:
;www.example.test.\t\tIN\tA

;; ANSWER SECTION:
www.example.test.\t3600\tIN\tA\t192.0.2.10
a-rather-long-name.example.test. 3600 IN A\t192.0.2.10

;; Query time: 4 msec
;; SERVER: 127.0.0.1#53(localhost) (UDP)
;; WHEN: Mon Nov 23 06:27:05 UTC 2026
;; MSG SIZE  rcvd: 61
";
        assert_eq!(full(&message, &Show::all(true), &about), expected);
        let only = Show { answer: true, ttl: false, ..Show::all(false) };
        assert_eq!(full(&message, &only, &about).lines().next().unwrap(), "www.example.test.\tIN\tA\t192.0.2.10");
        assert_eq!(short(&message, Style::DIG), ["192.0.2.10", "192.0.2.10"]);
    }
}
