//! What `dnsq` prints.

use serde::Serialize;
use serde_json::Value;

use super::servers::NamedServer;
use crate::cli::output::{OutputRecord, TextLine};
use crate::dns::client::ExchangeAnswer;
use crate::dns::json::AnswerJson;
use crate::dns::present::{self, Circumstances, Show};
use crate::scope::host_of;

/// The source of answers that no server gave.
const HOSTS_FILE: &str = "hosts file";

/// The whole answer in dig's text.
pub(super) fn full(answer: &ExchangeAnswer, show: &Show, server: Option<&NamedServer>) -> String {
    let when = match show.stats {
        true => crate::cli::clock::now().strftime("%a %b %d %H:%M:%S %Z %Y").to_string(),
        false => String::new(),
    };
    let transport = answer.transport.name().to_ascii_uppercase();
    let server = server.map(|server| {
        let address = server.address();
        format!("{}#{}({}) ({transport})", host_of(address), address.port(), server.name)
    });
    let about = Circumstances {
        server: server.as_deref().unwrap_or(HOSTS_FILE),
        elapsed_ms: answer.elapsed.as_millis(),
        when: &when,
        size_bytes: answer.wire.len(),
    };
    present::full(&answer.message, show, &about)
}

/// An answer as text, or one datum of it. Every byte of a peer's is escaped already, as zone files want it.
#[derive(Debug, Serialize)]
pub(super) struct AnswerText(pub(super) String);

impl OutputRecord for AnswerText {
    const TYPE: &'static str = "answer";

    fn text(&self, line: &mut TextLine) {
        line.text(&self.0);
    }
}

/// The answer in our members.
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
