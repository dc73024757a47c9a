//! What `dnsq` prints.

use serde::Serialize;
use serde_json::Value;

use super::servers::NamedServer;
use crate::cli::output::{OutputRecord, TextLine};
use crate::dns::client::ExchangeAnswer;
use crate::dns::json::{self, AnswerJson};
use crate::dns::message::Message;
use crate::dns::present::{self, Circumstances, Show};

/// The source of answers that no server gave.
const HOSTS_FILE: &str = "hosts file";

/// The whole answer in dig's text.
#[derive(Debug, Serialize)]
pub(super) struct Full {
    text: String,
}

impl Full {
    pub(super) fn of(
        answer: &ExchangeAnswer,
        show: &Show,
        server: Option<&NamedServer>,
        shown: impl Fn(String) -> String,
    ) -> Full {
        let when = if show.stats {
            crate::cli::clock::now().strftime("%a %b %d %H:%M:%S %Z %Y").to_string()
        } else {
            String::new()
        };
        let transport = answer.transport.name().to_ascii_uppercase();
        let server = server.map(|server| {
            let address = server.address();
            format!("{}#{}({}) ({transport})", address.ip(), address.port(), server.name)
        });
        let about = Circumstances {
            server: server.as_deref().unwrap_or(HOSTS_FILE),
            elapsed_ms: answer.elapsed.as_millis(),
            when: &when,
            size_bytes: answer.wire.len(),
        };
        Full { text: shown(present::full(&answer.message, show, &about)) }
    }
}

impl OutputRecord for Full {
    const TYPE: &'static str = "answer";

    fn text(&self, line: &mut TextLine) {
        // Every byte of a peer's is escaped already, as zone files want it.
        line.text(&self.text);
    }
}

/// One datum.
#[derive(Debug, Serialize)]
pub(super) struct Short {
    pub(super) line: String,
}

impl OutputRecord for Short {
    const TYPE: &'static str = "answer";

    fn text(&self, line: &mut TextLine) {
        line.text(&self.line);
    }
}

/// The answer in our members.
#[derive(Debug, Serialize)]
pub(super) struct Json {
    #[serde(flatten)]
    answer: AnswerJson,
}

impl Json {
    pub(super) fn of(answer: &ExchangeAnswer, server: Option<&NamedServer>) -> Json {
        Json { answer: json::answer(answer, server.map(|server| (server.address(), server.name.as_str()))) }
    }
}

impl OutputRecord for Json {
    const TYPE: &'static str = "answer";

    fn text(&self, _line: &mut TextLine) {}
}

/// The message in the members of RFC 8427.
#[derive(Debug, Serialize)]
pub(super) struct Rfc8427 {
    #[serde(flatten)]
    message: Value,
}

impl Rfc8427 {
    pub(super) fn of(message: &Message) -> Rfc8427 {
        Rfc8427 { message: json::rfc8427(message) }
    }
}

impl OutputRecord for Rfc8427 {
    const TYPE: &'static str = "message";

    fn text(&self, line: &mut TextLine) {
        line.text(&self.message.to_string());
    }
}
