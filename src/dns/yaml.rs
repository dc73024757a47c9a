//! An answer or its query in the format of dig's `+yaml`.

use std::fmt::Write;
use std::net::SocketAddr;

use super::message::{Flags, Message, opcode_name};
use super::present::{Circumstances, Show};
use super::record::text::{self, Style};
use super::record::{Record, Rtype};
use crate::scope::host_of;

/// Times, addresses and transport of a message, for YAML.
#[derive(Debug, Clone)]
pub struct MessageWay<'a> {
    /// The times at which the query was sent and the answer arrived (RFC 3339).
    pub times: [&'a str; 2],
    /// The server; `None` for an answer from the hosts file.
    pub server: Option<SocketAddr>,
    /// The source address of the query, if the user chose one.
    pub bind: Option<SocketAddr>,
    /// The transport, by dig's name.
    pub transport: &'a str,
}

/// The message in YAML, without a line end after the last line.
pub fn yaml(message: &Message, show: &Show, about: &Circumstances<'_>, way: &MessageWay<'_>) -> String {
    let mut out = String::from("- type: MESSAGE\n  message:\n");
    let response = message.flags.has(Flags::QR);
    let kind = match (response, message.flags.has(if response { Flags::RA } else { Flags::RD })) {
        (true, true) => "RECURSIVE_RESPONSE",
        (true, false) => "AUTH_RESPONSE",
        (false, true) => "RECURSIVE_QUERY",
        (false, false) => "AUTH_QUERY",
    };
    let mut line = |depth: usize, text: std::fmt::Arguments<'_>| {
        let _ = writeln!(out, "{:depth$}{text}", "", depth = depth * 2);
    };
    let [sent, came] = way.times;
    line(2, format_args!("type: {kind}"));
    line(2, format_args!("query_time: !!timestamp {sent}"));
    if response {
        line(2, format_args!("response_time: !!timestamp {came}"));
    }
    line(2, format_args!("message_size: {}b", about.size_bytes));
    if let Some(server) = way.server {
        let (family, any) = if server.is_ipv4() { ("INET", "0.0.0.0") } else { ("INET6", "::") };
        line(2, format_args!("socket_family: {family}"));
        line(2, format_args!("socket_protocol: {}", way.transport));
        line(2, format_args!("response_address: \"{}\"", host_of(server)));
        line(2, format_args!("response_port: {}", server.port()));
        line(2, format_args!("query_address: \"{}\"", way.bind.map_or_else(|| any.to_owned(), host_of)));
        line(2, format_args!("query_port: {}", way.bind.map_or(0, |bind| bind.port())));
    }
    line(2, format_args!("{}_message_data:", if response { "response" } else { "query" }));
    line(3, format_args!("opcode: {}", opcode_name(message.flags.opcode())));
    line(3, format_args!("status: {}", message.rcode()));
    line(3, format_args!("id: {}", message.id));
    line(3, format_args!("flags:{}", message.flags.names().iter().map(|name| format!(" {name}")).collect::<String>()));
    line(3, format_args!("QUESTION: {}", message.question.len()));
    line(3, format_args!("ANSWER: {}", message.answer.len()));
    line(3, format_args!("AUTHORITY: {}", message.authority.len()));
    line(3, format_args!("ADDITIONAL: {}", message.additional.len() + usize::from(message.edns.is_some())));
    if let Some(edns) = message.edns.as_ref().filter(|_| show.comments) {
        line(3, format_args!("OPT_PSEUDOSECTION:"));
        line(4, format_args!("EDNS:"));
        line(5, format_args!("version: {}", edns.version));
        line(5, format_args!("flags:{}", if edns.dnssec_ok { " do" } else { "" }));
        line(5, format_args!("udp: {}", edns.udp_size));
        for option in &edns.options {
            match (option.extended_error(), option.dig_value(false)) {
                (Some((code, text)), _) => {
                    line(5, format_args!("EDE:"));
                    line(6, format_args!("INFO-CODE: {code}"));
                    if !text.is_empty() {
                        line(6, format_args!("EXTRA-TEXT: {}", serde_json::Value::from(text)));
                    }
                }
                (None, Some(value)) => line(5, format_args!("{}: {value}", option.dig_name(true))),
                (None, None) => line(5, format_args!("{}:", option.dig_name(true))),
            }
        }
    }
    if show.question && !message.question.is_empty() {
        line(3, format_args!("QUESTION_SECTION:"));
        for question in &message.question {
            line(4, format_args!("- {}", quoted(&format!("{} {} {}", question.name, question.class, question.rtype))));
        }
    }
    let sections = [
        ("ANSWER", &message.answer, show.answer),
        ("AUTHORITY", &message.authority, show.authority),
        ("ADDITIONAL", &message.additional, show.additional),
    ];
    for (name, records, wanted) in sections {
        let mut shown = records.iter().filter(|record| wanted && record.rtype != Rtype::TSIG).peekable();
        if shown.peek().is_some() {
            line(3, format_args!("{name}_SECTION:"));
        }
        for record in shown {
            line(4, format_args!("- {}", quoted(&record_line(record, show.style))));
        }
    }
    out.truncate(out.trim_end_matches('\n').len());
    out
}

fn record_line(record: &Record, style: Style) -> String {
    let style = Style { multiline: false, comments: false, ..style };
    let data = text::rdata(record.rtype, &record.rdata, style);
    format!("{} {} {} {} {data}", record.name, record.ttl, record.class, record.rtype)
}

/// The text in single quotes; quotes inside are doubled.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
