//! The output of smtpsend: one record per recipient, and a summary at the end.

use std::time::Duration;

use serde::Serialize;

use super::SendJob;
use crate::cli::exit::Tally;
use crate::cli::output::{Output, OutputRecord, TextLine};
use crate::fault::{Fault, Kind};
use crate::millis::millis;
use crate::relay::deliver::{HopResult, NextHopFacts};
use crate::smtp::client::Times;
use crate::smtp::data::Content;

/// The outcome for one recipient, with the server that reported it.
#[derive(Debug, Clone)]
pub(super) struct SettledRecipient {
    pub(super) result: HopResult,
    peer: NextHopFacts,
    times: Option<TimesMs>,
}

impl SettledRecipient {
    pub(super) fn new(result: HopResult, peer: NextHopFacts, times: Option<TimesMs>) -> SettledRecipient {
        SettledRecipient { result, peer, times }
    }
}

/// Reports the outcome of one message: one record per recipient, and a line on stderr for each failure. `server` is the name
/// in faults that concern no single recipient.
pub(super) fn tell(
    job: &SendJob,
    settled: &[SettledRecipient],
    server: &str,
    out: &Output,
    summary: &mut SendSummary,
    tally: &mut Tally,
) -> Result<(), Fault> {
    let mut said: Option<&Fault> = None;
    for SettledRecipient { result, peer, times } in settled {
        summary.count(result.outcome.as_str());
        out.emit(&SentRecipientRecord {
            recipient: result.address.to_string(),
            outcome: result.outcome.as_str(),
            source: job.source.clone(),
            message_id: job.message_id.clone(),
            host: peer.host.clone(),
            ip: peer.ip.map(|address| address.ip().to_string()),
            port: peer.ip.map(|address| address.port()),
            tls_version: peer.tls.as_ref().map(|tls| tls.version),
            tls_verified: peer.tls.as_ref().map(|_| peer.verified),
            tls_failed: peer.tls_failed.clone(),
            code: result.code,
            enhanced: result.enhanced.map(|code| code.to_string()),
            reply: Some(result.reply.clone()).filter(|reply| !reply.is_empty() && result.code.is_some()),
            kind: result.fault.as_ref().map(|fault| fault.kind.as_str()),
            temporary: result.fault.as_ref().map(Fault::temporary),
            detail: result.fault.as_ref().map(|fault| fault.detail.clone()),
            size_bytes: job.message.size_bytes(),
            times_ms: *times,
            ..SentRecipientRecord::default()
        })?;
        let Some(fault) = &result.fault else {
            job.count_success(tally);
            continue;
        };
        // A fault of the whole message is reported once, not per recipient. The faults of recipients that were not sent follow from
        // the one that was refused.
        let follows = fault.kind == Kind::Cancelled && settled.iter().any(|other| other.result.code.is_some());
        if said != Some(fault) && !follows {
            out.error(
                if result.code.is_none() && !server.is_empty() { server } else { result.address.as_str() },
                fault,
            );
        }
        said = Some(fault);
        tally.fault(fault);
    }
    Ok(())
}

/// The outcome of one message for one recipient.
#[derive(Debug, Default, Serialize)]
pub(super) struct SentRecipientRecord {
    pub(super) recipient: String,
    /// `delivered`, `queued`, `refused`, `deferred` or `unknown`.
    pub(super) outcome: &'static str,
    /// The file or row that the message comes from, if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls_verified: Option<bool>,
    /// The reason why TLS was not used although the server offered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls_failed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) enhanced: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) temporary: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
    pub(super) size_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) times_ms: Option<TimesMs>,
    /// The directory of the queue; the next member is the message's name in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queue_id: Option<String>,
}

impl OutputRecord for SentRecipientRecord {
    const TYPE: &'static str = "recipient";

    /// Nothing: a tool that sends prints nothing on success, and failures go to stderr.
    fn text(&self, _line: &mut TextLine) {}
}

/// The duration of each phase, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct TimesMs {
    pub(super) connect: f64,
    pub(super) greeting: f64,
    pub(super) hello: f64,
    pub(super) tls: f64,
    pub(super) login: f64,
    pub(super) envelope: f64,
    pub(super) content: f64,
    pub(super) answer: f64,
}

impl TimesMs {
    pub(super) fn new(connect: Duration, times: Times) -> TimesMs {
        TimesMs {
            connect: millis(connect),
            greeting: millis(times.greeting),
            hello: millis(times.hello),
            tls: millis(times.tls),
            login: millis(times.login),
            envelope: millis(times.envelope),
            content: millis(times.content),
            answer: millis(times.answer),
        }
    }
}

/// The summary at the end of a run.
#[derive(Debug, Default, Serialize)]
pub(super) struct SendSummary {
    pub(super) messages: u64,
    pub(super) delivered: u64,
    pub(super) queued: u64,
    pub(super) refused: u64,
    pub(super) deferred: u64,
    pub(super) unknown: u64,
    /// Rows that an earlier run settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<u64>,
    pub(super) elapsed_ms: f64,
}

impl SendSummary {
    pub(super) fn count(&mut self, outcome: &str) {
        match outcome {
            "delivered" => self.delivered += 1,
            "queued" => self.queued += 1,
            "refused" => self.refused += 1,
            "unknown" => self.unknown += 1,
            _ => self.deferred += 1,
        }
    }
}

impl OutputRecord for SendSummary {
    const TYPE: &'static str = "summary";
}
