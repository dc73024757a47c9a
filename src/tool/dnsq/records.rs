//! The output records of `dnsq`.

use serde::Serialize;
use serde_json::Value;

use super::servers::NamedServer;
use crate::cli::colour;
use crate::cli::output::{OutputRecord, TextLine};
use crate::dns::client::ExchangeAnswer;
use crate::dns::json::AnswerJson;
use crate::dns::message::Message;
use crate::dns::present::{self, Circumstances, Show};
use crate::dns::transport::Transport;
use crate::dns::yaml::{MessageWay, yaml};
use crate::scope::host_of;

/// The source of answers from the hosts file instead of a server.
const HOSTS_FILE: &str = "hosts file";

/// The whole answer in dig's text or YAML, preceded by the query if the user wants it.
pub(super) fn full(answer: &ExchangeAnswer, show: &Show, server: Option<&NamedServer>) -> Vec<String> {
    let transport = answer.transport.name().to_ascii_uppercase();
    let now = crate::cli::clock::now();
    let when = now.strftime("%a %b %d %H:%M:%S %Z %Y").to_string();
    let stamp = |time: jiff::Timestamp| time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    let came = now.timestamp();
    let [sent, came] = [came.checked_sub(answer.elapsed).unwrap_or(came), came].map(stamp);
    let name = server.map(|server| {
        let address = server.address();
        format!("{}#{}({}) ({transport})", host_of(address), address.port(), server.name)
    });
    let about = Circumstances {
        server: name.as_deref().unwrap_or(HOSTS_FILE),
        elapsed: answer.elapsed,
        over_tcp: answer.transport == Transport::Tcp
            && server.is_some_and(|server| server.endpoint.transport == Transport::Udp),
        when: &when,
        size_bytes: answer.wire.len(),
    };
    let way = MessageWay {
        times: [&sent, &came],
        server: server.map(NamedServer::address),
        bind: server.and_then(|server| server.endpoint.bind),
        transport: &transport,
    };
    let text = |message: &Message, about: &Circumstances<'_>| match show.yaml {
        true => yaml(message, show, about, &way),
        false => present::full(message, show, about),
    };
    let query = Message::parse(&answer.query).ok().filter(|_| show.query);
    let of_query = Circumstances { size_bytes: answer.query.len(), over_tcp: false, ..about };
    let query = query.map(|query| text(&query, &of_query));
    query.into_iter().chain([text(&answer.message, &about)]).collect()
}

/// An answer, or one of its data, as text. The peer's bytes are already escaped as in zone files.
#[derive(Debug, Serialize)]
pub(super) struct AnswerText {
    pub(super) text: String,
    /// The text is dig's whole output: dnsq itself writes the lines that begin with `;;`.
    pub(super) whole: bool,
}

impl OutputRecord for AnswerText {
    const TYPE: &'static str = "answer";

    fn text(&self, line: &mut TextLine) {
        if !self.whole || !line.has_colour() {
            line.text(&self.text);
            return;
        }
        for (number, shown) in self.text.split('\n').enumerate() {
            line.text(if number > 0 { "\n" } else { "" });
            if shown.starts_with(";; ") && shown.ends_with(" SECTION:") {
                line.text_in(colour::HEADING, shown);
            } else if let Some((before, status, after)) = status_in(shown) {
                let colour = if status == "NOERROR" { colour::GOOD } else { colour::BAD };
                line.text(before).text_in(colour, status).text(after);
            } else {
                line.text(shown);
            }
        }
    }
}

/// The status in the header line, with the text before and after it.
fn status_in(line: &str) -> Option<(&str, &str, &str)> {
    let begin = line.strip_prefix(";; ->>HEADER<<-")?.find("status: ")? + ";; ->>HEADER<<-status: ".len();
    let (before, rest) = line.split_at_checked(begin)?;
    let (status, after) = rest.split_at_checked(rest.find(',')?)?;
    Some((before, status, after))
}

/// The answer as JSON in dnsq's own members.
impl OutputRecord for AnswerJson {
    const TYPE: &'static str = "answer";
}

/// The message in the members of RFC 8427.
#[derive(Debug, Serialize)]
pub(super) struct Rfc8427(pub(super) Value);

impl OutputRecord for Rfc8427 {
    const TYPE: &'static str = "message";

    fn text(&self, line: &mut TextLine) {
        line.text(&self.0.to_string());
    }
}
