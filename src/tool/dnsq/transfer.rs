//! `dnsq ZONE AXFR` and `dnsq ZONE IXFR=SERIAL`: the records of a zone, printed as they arrive.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

use super::runner::QuestionRunner;
use crate::cli::output::{OutputRecord, TextLine};
use crate::dns::json;
use crate::dns::message::Question;
use crate::dns::present;
use crate::dns::record::{Record, Rtype};
use crate::dns::transfer::{ZoneChange, ZoneTransfer, ZoneTransferSummary};
use crate::dns::transport::Transport;
use crate::fault::{Fault, Kind};
use crate::millis::millis;
use crate::serial::Serial;

/// The approximate size of the pieces in which text is printed.
const CHUNK_BYTES: usize = 64 * 1024;

/// Transfers the zone from the first server that provides it. Printed records cannot be withdrawn, so the next server is tried only
/// if nothing is printed yet.
pub(super) fn run(runner: &QuestionRunner<'_>, question: &Question) -> Result<Result<(), Fault>, Fault> {
    let target = format!("{} {}", question.name, question.rtype);
    let mut result = Err(Fault::new(Kind::Usage, "no server to ask"));
    let until = runner.args.transport.max_time.map(|time| Instant::now() + time);
    for server in runner.servers {
        let mut printed = false;
        let transfer = ZoneTransfer {
            server: server.endpoint.clone(),
            zone: question.name.clone(),
            have: runner.plan.serial.map(Serial).filter(|_| question.rtype == Rtype::IXFR),
            key: runner.client.key.clone(),
            timeout: runner.client.policy.timeout,
            until,
        };
        result = one(runner, &transfer, &mut printed);
        match &result {
            Err(fault) if !printed && !matches!(fault.kind, Kind::CannotCreate | Kind::StorageFull | Kind::Io) => {
                runner.out.note(&format!("{}: {}", server.address(), fault.detail));
            }
            _ => break,
        }
    }
    if let Err(fault) = &result {
        runner.out.error(&target, fault);
    }
    Ok(result)
}

fn one(runner: &QuestionRunner<'_>, transfer: &ZoneTransfer, printed: &mut bool) -> Result<(), Fault> {
    let start = Instant::now();
    let summary = match &runner.args.out {
        Some(path) => to_file(runner, transfer, path)?,
        None if runner.out.json() => transfer.run(&mut |record, change| {
            *printed = true;
            runner.out.emit(&TransferRow { record: json::record(record), change: name_of(change) })
        })?,
        None => {
            let mut text = String::with_capacity(CHUNK_BYTES + 4096);
            let mut wanted = wanted(runner);
            let summary = transfer.run(&mut |record, change| {
                if !wanted(record, change) {
                    return Ok(());
                }
                if !text.is_empty() {
                    text.push('\n');
                }
                present::write_record(record, &runner.plan.show, &mut text);
                if text.len() >= CHUNK_BYTES {
                    *printed = true;
                    let chunk = Chunk { text: std::mem::take(&mut text) };
                    runner.out.emit(&chunk)?;
                    text = chunk.text;
                    text.clear();
                }
                Ok(())
            });
            if !text.is_empty() {
                *printed = true;
                runner.out.emit(&Chunk { text })?;
            }
            summary?
        }
    };
    *printed = true;
    runner.out.emit(&TransferEnd::of(transfer, &summary, start, runner.plan.show.stats && runner.args.out.is_none()))
}

/// Writes the zone to a file, which gets its name only when it is complete.
fn to_file(runner: &QuestionRunner<'_>, transfer: &ZoneTransfer, path: &Path) -> Result<ZoneTransferSummary, Fault> {
    let failed = |error: std::io::Error| Fault::creating(path.display(), &error);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".part");
    let mut file = builder.tempfile_in(directory).map_err(failed)?;
    let mut text = String::with_capacity(CHUNK_BYTES + 4096);
    let mut wanted = wanted(runner);
    let summary = transfer.run(&mut |record, change| {
        if !wanted(record, change) {
            return Ok(());
        }
        present::write_record(record, &runner.plan.show, &mut text);
        text.push('\n');
        if text.len() >= CHUNK_BYTES {
            file.write_all(text.as_bytes()).map_err(failed)?;
            text.clear();
        }
        Ok(())
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(summary)
}

/// The filter for records that are printed as text: all, or all but the SOA record that ends the transfer (`+onesoa`).
fn wanted(runner: &QuestionRunner<'_>) -> impl FnMut(&Record, ZoneChange) -> bool {
    let one_soa = runner.plan.show.one_soa;
    let mut begun = false;
    move |record, change| {
        let ends = begun && change == ZoneChange::Whole && record.rtype == Rtype::SOA;
        begun = true;
        !(one_soa && ends)
    }
}

fn name_of(change: ZoneChange) -> Option<&'static str> {
    match change {
        ZoneChange::Whole => None,
        ZoneChange::Delete => Some("delete"),
        ZoneChange::Add => Some("add"),
    }
}

/// A piece of text with several records.
#[derive(Debug, Serialize)]
struct Chunk {
    text: String,
}

impl OutputRecord for Chunk {
    const TYPE: &'static str = "record";

    fn text(&self, line: &mut TextLine) {
        line.text(&self.text);
    }
}

/// One record of a transfer.
#[derive(Debug, Serialize)]
struct TransferRow {
    #[serde(flatten)]
    record: Value,
    /// The change that an incremental transfer makes with this record.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'static str>,
}

impl OutputRecord for TransferRow {
    const TYPE: &'static str = "record";
}

/// The record at the end of a complete transfer.
#[derive(Debug, Serialize)]
struct TransferEnd {
    zone: String,
    server: String,
    transport: &'static str,
    serial: u32,
    records: u64,
    messages: u64,
    size_bytes: u64,
    incremental: bool,
    elapsed_ms: f64,
    #[serde(skip)]
    shown: bool,
}

impl TransferEnd {
    fn of(transfer: &ZoneTransfer, summary: &ZoneTransferSummary, start: Instant, shown: bool) -> TransferEnd {
        TransferEnd {
            zone: transfer.zone.to_string(),
            server: transfer.server.address.to_string(),
            transport: if transfer.server.transport == Transport::Tls { "tls" } else { "tcp" },
            serial: summary.serial.0,
            records: summary.records,
            messages: summary.messages,
            size_bytes: summary.size_bytes,
            incremental: summary.incremental,
            elapsed_ms: millis(start.elapsed()),
            shown,
        }
    }
}

impl OutputRecord for TransferEnd {
    const TYPE: &'static str = "transfer";

    fn text(&self, line: &mut TextLine) {
        if self.shown {
            line.text(&format!(
                ";; Query time: {:.0} msec\n;; SERVER: {} ({})\n;; XFR size: {} records (messages {}, bytes {})",
                self.elapsed_ms,
                self.server,
                self.transport.to_ascii_uppercase(),
                self.records,
                self.messages,
                self.size_bytes
            ));
        }
    }
}
