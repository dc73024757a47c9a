//! The parts that all kinds of questions share: arguments, servers, output and verdict.

use super::records::{AnswerText, Rfc8427, full};
use super::servers::NamedServer;
use super::words::QueryPlan;
use super::{Args, idn};
use crate::cli::output::Output;
use crate::dns::client::{DnsClient, ExchangeAnswer};
use crate::dns::edns::EdnsOption;
use crate::dns::json;
use crate::dns::message::{AnswerMeaning, Question};
use crate::dns::present;
use crate::dns::record::Rtype;
use crate::dns::template::Template;
use crate::fault::{Fault, Kind, PeerCode};
use crate::scope::host_of;

/// The outcome of a question: an answer, or the reason why there is none.
pub(super) type QuestionResult = Result<(), Fault>;

pub(super) struct QuestionRunner<'a> {
    pub(super) args: &'a Args,
    pub(super) plan: &'a QueryPlan,
    pub(super) servers: &'a [NamedServer],
    pub(super) client: &'a DnsClient,
    pub(super) format: Option<Template>,
    pub(super) out: &'a Output,
}

impl QuestionRunner<'_> {
    /// Reports a failure. "No data" is an answer, so it is reported on stderr only if the output consists of data alone.
    pub(super) fn complain(&self, question: &Question, verdict: &QuestionResult) {
        let Err(fault) = verdict else { return };
        let what = format!("{} {}", question.name, question.rtype);
        match fault.kind {
            Kind::Negative if self.args.short || self.format.is_some() => self.out.tell(&what, fault),
            Kind::Negative => {}
            _ => self.out.error(&what, fault),
        }
    }

    pub(super) fn print(&self, answer: &ExchangeAnswer, server: Option<&NamedServer>) -> Result<(), Fault> {
        if self.args.json_rfc8427 {
            return self.out.emit(&Rfc8427(json::rfc8427(&answer.message)));
        }
        if self.out.json() {
            return self.out.emit(&json::answer(answer, server.map(|server| (server.address(), server.name.as_str()))));
        }
        let shown = |text: String| if self.args.idn { idn::unicode(&text) } else { text };
        let lines: Vec<String> = match &self.format {
            Some(template) => {
                let server = server.map(|server| server.address().to_string()).unwrap_or_default();
                template.lines(answer, &server)
            }
            None if self.args.short => {
                let mut lines = present::short(&answer.message, self.plan.show.style);
                if let Some(server) = server.filter(|_| self.plan.show.identify) {
                    let from =
                        format!(" from server {} in {} ms.", host_of(server.address()), answer.elapsed.as_millis());
                    lines.iter_mut().for_each(|line| line.push_str(&from));
                }
                lines
            }
            None => full(answer, &self.plan.show, server),
        };
        let whole = self.format.is_none() && !self.args.short;
        lines.into_iter().try_for_each(|line| self.out.emit(&AnswerText { text: shown(line), whole }))
    }
}

/// The verdict on an answer, for scripts: data, no data, or no usable answer from the server.
pub(super) fn verdict(answer: &ExchangeAnswer, rtype: Rtype) -> QuestionResult {
    let message = &answer.message;
    let rcode = message.rcode();
    let fault = |kind, text: &str| Err(Fault::new(kind, text).with_code(PeerCode::Rcode(rcode.0)));
    match message.meaning(rtype) {
        AnswerMeaning::Data => Ok(()),
        AnswerMeaning::Truncated => fault(Kind::Incomplete, "the answer was truncated"),
        AnswerMeaning::NoData => fault(Kind::Negative, "no data"),
        AnswerMeaning::NoName => fault(Kind::Negative, "no such name"),
        AnswerMeaning::Failed => fault(rcode.failure_kind(), &with_words(answer, &rcode.to_string())),
    }
}

/// The RCODE, with the text of the extended errors (RFC 8914) if the server sent any.
fn with_words(answer: &ExchangeAnswer, code: &str) -> String {
    let options = answer.message.edns.iter().flat_map(|edns| &edns.options);
    let words: Vec<String> =
        options.filter(|option| option.code == EdnsOption::EXTENDED_ERROR).map(EdnsOption::value).collect();
    if words.is_empty() { code.to_owned() } else { format!("{code}: {}", words.join("; ")) }
}
