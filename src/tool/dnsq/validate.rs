//! `dnsq --validate`: checks the answer against the DNSSEC signatures of its zone.

use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Map, Value};

use super::query::edns;
use super::read_file;
use super::runner::{QuestionResult, QuestionRunner, verdict};
use crate::cli::output::{OutputRecord, TextLine};
use crate::dns::anchor::{Anchors, MAX_ANCHOR_BYTES};
use crate::dns::client::ExchangeAnswer;
use crate::dns::edns::extended_error;
use crate::dns::json;
use crate::dns::message::{Message, Question};
use crate::dns::validate::{self as checked, Reason, Security, chain, lookup, validate};
use crate::fault::{Fault, Kind};

/// The flags of validation.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Validation")]
pub(super) struct ValidateArgs {
    /// Validate the answer (DNSSEC) from a trust anchor downwards, and print the chain; bogus data is not printed
    #[arg(long, conflicts_with_all = ["file", "compare", "json_rfc8427", "no_edns"])]
    pub(super) validate: bool,
    /// Trust the anchors in FILE instead of the root's: DS or DNSKEY records, BIND's or unbound's file, root-anchors.xml
    #[arg(long, value_name = "FILE", requires = "validate")]
    anchor: Option<PathBuf>,
    /// Validate as of TIME: RFC 3339, a date, YYYYMMDDHHMMSS, or seconds since 1970
    #[arg(long, value_name = "TIME", requires = "validate", value_parser = time)]
    at: Option<u64>,
}

/// A point in time as seconds since 1970. A time without a zone is UTC.
fn time(text: &str) -> Result<u64, String> {
    let civil = |format: &str| {
        let time = jiff::civil::DateTime::strptime(format, text).ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let date = || {
        let date = jiff::civil::Date::strptime("%Y-%m-%d", text).ok()?;
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let stamp = match text.len() {
        14 if digits => civil("%Y%m%d%H%M%S"),
        1..=12 if digits => text.parse().ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()),
        _ => text.parse().ok().or_else(date).or_else(|| civil("%Y-%m-%dT%H:%M:%S")),
    };
    let seconds = stamp.and_then(|stamp| u64::try_from(stamp.as_second()).ok());
    seconds.ok_or_else(|| "no time: 2026-06-01T12:00:00Z, 2026-06-01, 20260601120000 or seconds since 1970".to_owned())
}

/// Asks one question, validates the answer and prints the result.
pub(super) fn run(runner: &QuestionRunner<'_>, question: &Question) -> Result<QuestionResult, Fault> {
    let anchors = match &runner.args.validate.anchor {
        Some(path) => {
            let text = read_file(path, MAX_ANCHOR_BYTES)?;
            Anchors::parse(&text).map_err(|why| Fault::new(Kind::BadData, format!("{}: {why}", path.display())))?
        }
        None => Anchors::root(),
    };
    let edns = edns(&runner.args.query)?;
    let recursion = !runner.args.query.no_recurse;
    let mut first: Option<ExchangeAnswer> = None;
    let mut ask = |question: &Question| -> Result<Message, Fault> {
        let answer = lookup::fetch(runner.client, question, &edns, recursion)?;
        let message = answer.message.clone();
        first.get_or_insert(answer);
        Ok(message)
    };
    let at = runner.args.validate.at.unwrap_or_else(lookup::now);
    let judged = validate(question, &anchors, at, &mut ask);
    let result = match (judged, first) {
        (Ok(judged), Some(first)) => {
            let answer = ExchangeAnswer { message: judged.message.clone(), ..first };
            print(runner, question, &judged, &answer)?;
            conclusion(runner, question, &judged, &answer)
        }
        (Err(fault), _) => Err(fault),
        (Ok(_), None) => Err(Fault::new(Kind::Internal, "a verdict without an answer")),
    };
    runner.complain(question, &result);
    Ok(result)
}

/// Prints the answer and the chain. A bogus answer is printed only with --cd.
fn print(
    runner: &QuestionRunner<'_>,
    question: &Question,
    judged: &checked::ValidationVerdict,
    answer: &ExchangeAnswer,
) -> Result<(), Fault> {
    if judged.security != Security::Bogus || runner.args.query.cd {
        runner.print(answer, runner.servers.get(answer.server))?;
    }
    if !runner.out.json() && (runner.args.short || runner.format.is_some()) {
        if !judged.left_out.is_empty() {
            let text = format!("{}: left out, nothing shows that its owner signed it", left_out(judged).join(", "));
            runner.out.warn(&text);
        }
        return Ok(());
    }
    runner.out.emit(&Judged::of(question, judged))
}

/// The RRsets of the answer that the verdict does not cover: owner and type.
fn left_out(judged: &checked::ValidationVerdict) -> Vec<String> {
    let mut sets: Vec<String> =
        judged.left_out.iter().map(|record| format!("{} {}", record.name, record.rtype)).collect();
    sets.sort();
    sets.dedup();
    sets
}

/// The verdict on an answer, for scripts.
fn conclusion(
    runner: &QuestionRunner<'_>,
    question: &Question,
    judged: &checked::ValidationVerdict,
    answer: &ExchangeAnswer,
) -> Result<(), Fault> {
    verdict(answer, question.rtype).or_else(|fault| {
        // The signatures also decide whether a negative answer is true.
        if fault.kind == Kind::Negative && judged.security >= Security::Indeterminate { Ok(()) } else { Err(fault) }
    })?;
    match (judged.security, &judged.reason) {
        (Security::Bogus, reason) => Err(Fault::new(Kind::Bogus, format!("bogus: {}", words(reason.as_ref())))),
        (Security::Indeterminate, reason) => match &judged.fault {
            Some(fault) => Err(Fault { detail: words(reason.as_ref()), ..fault.clone() }),
            None if reason.as_ref().is_some_and(Reason::is_unanswered) => {
                Err(Fault::new(Kind::LookupFailed, words(reason.as_ref())))
            }
            None => {
                runner.out.warn(&format!("not known to be secure: {}", words(reason.as_ref())));
                verdict(answer, question.rtype)
            }
        },
        _ => verdict(answer, question.rtype),
    }
}

fn words(reason: Option<&Reason>) -> String {
    let Some(reason) = reason else { return "for no reason given".to_owned() };
    match reason.ede.and_then(extended_error) {
        Some(meaning) => format!("{} ({meaning})", reason.text),
        None => reason.text.clone(),
    }
}

/// A verdict with its chain.
#[derive(Debug, Serialize)]
struct Judged {
    question: Value,
    #[serde(flatten)]
    judged: Map<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
    chain: Value,
    #[serde(skip)]
    text: String,
}

impl Judged {
    fn of(question: &Question, verdict: &checked::ValidationVerdict) -> Judged {
        let mut judged = Map::new();
        chain::judged(verdict.security, verdict.reason.as_ref(), &mut judged);
        let mut text = format!(";; VALIDATION: {}", verdict.security);
        if let Some(reason) = &verdict.reason {
            let _ = write!(text, ", {}", words(Some(reason)));
        }
        text.push('\n');
        let left_out = left_out(verdict);
        for set in &left_out {
            let _ = writeln!(text, ";; left out, nothing shows that its owner signed it: {set}");
        }
        for line in verdict.tree.text().lines() {
            let _ = writeln!(text, ";; {line}");
        }
        Judged { question: json::question(question), judged, left_out, chain: verdict.tree.json(), text }
    }
}

impl OutputRecord for Judged {
    const TYPE: &'static str = "validation";

    fn text(&self, line: &mut TextLine) {
        line.text(&self.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for text in [
            "2026-06-01T00:00:00Z",
            "2026-06-01T02:00:00+02:00",
            "2026-06-01T00:00:00",
            "2026-06-01",
            "20260601000000",
            "1780272000",
        ] {
            assert_eq!(time(text), Ok(1_780_272_000), "{text}");
        }
        for bad in ["", "yesterday", "2026-13-01", "20261301000000", "-5", "99999999999999999"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
